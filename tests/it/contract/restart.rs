//! lnd killed, started, and locked.

use bondflow::lnd::NotConnected;
use bondflow::lnd::errors::{Meaning, Outage, meaning};
use bondflow::lnd::startup::{self, Unusable};
use tonic_lnd::lnrpc::PaymentFailureReason as Why;
use tonic_lnd::lnrpc::payment::PaymentStatus::{Failed, InFlight, Succeeded};
use tonic_lnd::staterpc::GetStateRequest;
use tonic_lnd::tonic::{Code, Status};

use super::bed::{Ask, Bed, secret};
use super::calls::{Lnd, PAUSE, answers, paying, within};
use super::port::adapter;

/// What lnd answers between its start and its first word on a payment.
async fn until_it_tracks(lnd: &Lnd, hash: &[u8]) -> Vec<Status> {
    within("an lnd that serves", async {
        let mut errors: Vec<Status> = Vec::new();
        loop {
            match lnd.track(hash).await {
                Ok(payment) => {
                    assert_eq!(payment.status(), InFlight, "as before");
                    return errors;
                }
                Err(error) => errors.push(error),
            }
            tokio::time::sleep(PAUSE).await;
        }
    })
    .await
}

pub async fn a_killed_node_takes_up_its_payments(bed: &dyn Bed) {
    let lnd = Lnd::at(&bed.node()).await;
    let (paid, failed) = (bed.invoice(Ask::hold()).await, bed.invoice(Ask::hold()).await);
    for invoice in [&paid, &failed] {
        lnd.send(paying(&invoice.bolt11)).await.unwrap();
        bed.winner_holds(invoice).await;
    }
    let index = lnd.track(&paid.hash).await.unwrap().payment_index;
    bed.kill().await;
    // At first a call may find the old connection broken.
    within("a refused connection", async {
        while !format!("{:?}", lnd.track(&paid.hash).await.unwrap_err()).contains("ConnectionRefused") {}
    })
    .await;
    bed.start().await;
    let errors = until_it_tracks(&lnd, &paid.hash).await;
    let starting = Meaning::Unavailable(Outage::Starting);
    assert!(errors.iter().any(|error| meaning(error) == starting), "{errors:?}");
    // A wallet that opens by itself is locked for a moment.
    let locked = Meaning::Unavailable(Outage::WalletLocked);
    for error in errors.into_iter().filter(|error| ![&starting, &locked].contains(&&meaning(error))) {
        assert!(format!("{error:?}").contains("client error"), "lnd says {error:?}");
    }
    bed.serves().await;
    bed.winner_settles(&paid).await;
    let end = lnd.until_payment(&paid.hash, |payment| payment.status() == Succeeded).await;
    assert_eq!((end.payment_index, end.payment_preimage), (index, hex::encode(paid.preimage)));
    // What the payee says of the HTLC is heard as before, although lnd has no route left to try.
    bed.winner_cancels(&failed).await;
    let end = lnd.until_payment(&failed.hash, |payment| payment.status() == Failed).await;
    assert_eq!(end.failure_reason(), Why::FailureReasonIncorrectPaymentDetails);
    let next = bed.invoice(Ask::default()).await;
    assert!(lnd.pay(paying(&next.bolt11)).await.payment_index > index + 1, "indexes are not used again");
}

pub async fn an_accepted_invoice_outlives_a_kill(bed: &dyn Bed) {
    let lnd = Lnd::at(&bed.node()).await;
    let invoice = lnd.hold_invoice().await;
    bed.slashed_pays(&invoice).await;
    bed.kill().await;
    bed.start().await;
    bed.serves().await;
    lnd.settle(&invoice.preimage).await.unwrap();
}

pub async fn a_locked_wallet_serves_nothing_but_its_state(bed: &dyn Bed) {
    let lnd = Lnd::at(&bed.node()).await;
    bed.lock().await;
    let text = "wallet locked, unlock it to enable full RPC access";
    let locked = Meaning::Unavailable(Outage::WalletLocked);
    // Before it is locked, it is starting; and the adapter asks without a macaroon.
    let state = within("a wallet that is locked", async {
        loop {
            match startup::check(&adapter(&bed.node()), Some("simnet")).await {
                Err(Unusable::NotReady("LOCKED")) => return "LOCKED",
                Err(Unusable::NotReady(_) | Unusable::NotConnected(NotConnected::Refused(_))) => {}
                other => panic!("{other:?}"),
            }
            tokio::time::sleep(PAUSE).await;
        }
    })
    .await;
    assert_eq!(state, "LOCKED");
    answers("Lightning.GetInfo", lnd.info().await, Code::Unknown, text, &locked);
    answers("Invoices.SettleInvoice", lnd.settle(&secret()).await, Code::Unknown, text, &locked);
    answers("Router.TrackPaymentV2", lnd.track(&secret()).await, Code::Unknown, text, &locked);
    answers("Router.SendPaymentV2", lnd.send(paying("")).await, Code::Unknown, text, &locked);
    bed.unlock().await;
    bed.serves().await;
    startup::check(&adapter(&bed.node()), Some("simnet")).await.unwrap();
}

/// The client types name the service `staterpc.State`; lnd serves it as `lnrpc.State`.
pub async fn the_state_service_has_another_name(bed: &dyn Bed) {
    let lnd = Lnd::at(&bed.node()).await;
    let state = lnd.client().state().get_state(GetStateRequest {}).await;
    let not_served = Meaning::Unavailable(Outage::NotServed);
    answers("State.GetState", state, Code::Unimplemented, "unknown service staterpc.State", &not_served);
}

/// Not so a payment's: it breaks off, and says nothing of the payment.
pub async fn a_shutdown_breaks_a_payment_stream_off(bed: &dyn Bed) {
    let lnd = Lnd::at(&bed.node()).await;
    let invoice = bed.invoice(Ask::hold()).await;
    lnd.send(paying(&invoice.bolt11)).await.unwrap();
    bed.winner_holds(&invoice).await;
    let mut updates = lnd.follow_payment(&invoice.hash).await.unwrap();
    assert_eq!(updates.message().await.unwrap().unwrap().status(), InFlight);
    bed.shut_down().await;
    let end = within("the end of a stream", async {
        loop {
            match updates.message().await {
                Ok(Some(update)) => assert_eq!(update.status(), InFlight),
                other => return other,
            }
        }
    })
    .await;
    assert_eq!(meaning(&end.unwrap_err()), Meaning::InDoubt);
    bed.start().await;
    bed.serves().await;
    assert_eq!(lnd.track(&invoice.hash).await.unwrap().status(), InFlight);
    bed.winner_settles(&invoice).await;
    lnd.until_payment(&invoice.hash, |payment| payment.status() == Succeeded).await;
}
