//! What a macaroon grants, and until when.

use std::time::Duration;

use bondflow::engine::Timestamp;
use bondflow::lnd::errors::{Meaning, Outage, Refusal};
use bondflow::lnd::macaroon::Macaroon;
use bondflow::lnd::startup::{self, Unusable};
use bondflow::payout::policy::verdict::Observation;
use bondflow::payout::policy::verdict::PaymentStatus::Succeeded;
use bondflow::payout::ports::{HoldAnswer, HoldState, Lightning as _};
use tonic_lnd::lnrpc::payment::PaymentStatus;
use tonic_lnd::lnrpc::{ListPaymentsRequest, PayReqString};
use tonic_lnd::tonic::Code;

use super::bed::{Access, Ask, Bed, secret};
use super::calls::{Lnd, all, answers, paying, refused, within};
use super::port::{adapter_under, send};

/// What the runbook has an operator bake: the calls of its `lncli bakemacaroon`.
pub fn documented() -> Vec<&'static str> {
    let runbook = include_str!("../../../docs/operations.md");
    let (_, command) = runbook.split_once("lncli bakemacaroon").expect("the runbook bakes a macaroon");
    let (command, _) = command.split_once("```").expect("the command ends");
    command.split_whitespace().filter_map(|word| word.strip_prefix("uri:")).collect()
}

/// All calls that this page of the contract is about.
pub const LEAST: [&str; 10] = [
    "/invoicesrpc.Invoices/SettleInvoice",
    "/invoicesrpc.Invoices/CancelInvoice",
    "/invoicesrpc.Invoices/AddHoldInvoice",
    "/invoicesrpc.Invoices/LookupInvoiceV2",
    "/invoicesrpc.Invoices/SubscribeSingleInvoice",
    "/routerrpc.Router/SendPaymentV2",
    "/routerrpc.Router/TrackPaymentV2",
    "/lnrpc.Lightning/GetInfo",
    "/lnrpc.Lightning/DecodePayReq",
    "/lnrpc.Lightning/ListPayments",
];

fn all_powerful(access: &Access) -> Macaroon {
    Macaroon::from_bytes(&std::fs::read(&access.macaroon).unwrap()).unwrap()
}

/// The condition under which lnd takes a call before that second only.
fn before(time: Timestamp) -> String {
    let text = time.to_string();
    format!("time-before {}Z", text.split('.').next().unwrap())
}

pub async fn a_send_dies_with_its_macaroon(bed: &dyn Bed) {
    let macaroon = all_powerful(&bed.node());
    let invoice = bed.invoice(Ask::default()).await;
    let condition = before(bed.now().after(Duration::from_secs(3)));
    let lnd = Lnd::under(&bed.node(), &macaroon.with_caveat(&condition)).await;
    lnd.info().await.unwrap();
    bed.pass(Duration::from_secs(4)).await;
    let text = format!("caveat \"{condition}\" not satisfied: macaroon has expired");
    let expired = Meaning::Unavailable(Outage::MacaroonExpired);
    answers("Router.SendPaymentV2", lnd.send(paying(&invoice.bolt11)).await, Code::Unknown, &text, &expired);
    answers("Lightning.GetInfo", lnd.info().await, Code::Unknown, &text, &expired);
    let tracked = Lnd::at(&bed.node()).await.track(&invoice.hash).await;
    let text = "payment isn't initiated";
    refused("Router.TrackPaymentV2", tracked, Code::NotFound, text, Refusal::UnknownPayment);
}

/// The clock is looked at when the call comes in, not while a stream lasts.
pub async fn a_stream_outlives_its_macaroon(bed: &dyn Bed) {
    let macaroon = all_powerful(&bed.node());
    let invoice = bed.invoice(Ask::hold()).await;
    let condition = before(bed.now().after(Duration::from_secs(3)));
    let lnd = Lnd::under(&bed.node(), &macaroon.with_caveat(&condition)).await;
    let updates = lnd.send(paying(&invoice.bolt11)).await.unwrap();
    bed.pass(Duration::from_secs(4)).await;
    bed.winner_settles(&invoice).await;
    let end = all(updates).await.pop().unwrap();
    assert_eq!(end.status(), PaymentStatus::Succeeded);
}

pub async fn the_least_macaroon_suffices(bed: &dyn Bed) {
    let macaroon = bed.bake(&LEAST).await;
    let info = startup::check(&adapter_under(&bed.node(), &macaroon).0, Some("simnet")).await.unwrap();
    assert_eq!(info.network, "simnet");
    let lnd = Lnd::under(&bed.node(), &macaroon).await;
    let bond = lnd.hold_invoice().await;
    bed.slashed_pays(&bond).await;
    lnd.look_up(&bond.hash).await.unwrap();
    lnd.settle(&bond.preimage).await.unwrap();
    lnd.follow_invoice(&bond.hash).await.unwrap();
    let other = lnd.hold_invoice().await;
    lnd.cancel(&other.hash).await.unwrap();
    let invoice = bed.invoice(Ask::default()).await;
    let read = PayReqString { pay_req: invoice.bolt11.clone() };
    let read = lnd.client().lightning().decode_pay_req(read).await.unwrap().into_inner();
    assert_eq!((read.payment_hash, read.num_satoshis), (hex::encode(invoice.hash), 5_000));
    assert_eq!((read.cltv_expiry, read.expiry), (80, 3_600));
    assert_eq!(lnd.pay(paying(&invoice.bolt11)).await.status(), PaymentStatus::Succeeded);
    lnd.track(&invoice.hash).await.unwrap();
    lnd.client().lightning().list_payments(ListPaymentsRequest::default()).await.unwrap();
}

/// The daemon makes no call that the runbook's command does not grant.
pub async fn the_runbooks_macaroon_suffices(bed: &dyn Bed) {
    let calls = documented();
    assert!(calls.iter().all(|call| LEAST.contains(call)), "{calls:?}");
    let macaroon = bed.bake(&calls).await;
    let (node, _folder) = adapter_under(&bed.node(), &macaroon);
    startup::check(&node, Some("simnet")).await.unwrap();
    let lnd = Lnd::at(&bed.node()).await;
    let (claimed, released, invoice) =
        (lnd.hold_invoice().await, lnd.hold_invoice().await, bed.invoice(Ask::default()).await);
    bed.slashed_pays(&claimed).await;
    assert!(matches!(node.hold_state(claimed.hash).await, Ok(HoldState::Accepted { .. })));
    assert_eq!(node.settle(claimed.preimage).await, HoldAnswer::Settled);
    assert_eq!(node.cancel(released.hash).await, HoldAnswer::Canceled);
    assert_eq!(node.track(invoice.hash).await, Observation::NotFound);
    node.send(&send(bed.now(), &invoice)).await;
    within("the end of the payment", node.watch(invoice.hash, false)).await;
    let Observation::Payment { status: Succeeded { .. }, .. } = node.track(invoice.hash).await else { panic!("paid") };
}

pub async fn a_call_that_is_not_granted_is_denied(bed: &dyn Bed) {
    let macaroon = bed.bake(&["/lnrpc.Lightning/GetInfo", "/routerrpc.Router/TrackPaymentV2"]).await;
    let lnd = Lnd::under(&bed.node(), &macaroon).await;
    lnd.info().await.unwrap();
    let (text, denied) = ("permission denied", Meaning::Unavailable(Outage::PermissionDenied));
    let invoice = bed.invoice(Ask::default()).await;
    answers("Router.SendPaymentV2", lnd.send(paying(&invoice.bolt11)).await, Code::Unknown, text, &denied);
    answers("Invoices.SettleInvoice", lnd.settle(&secret()).await, Code::Unknown, text, &denied);
    answers("Invoices.CancelInvoice", lnd.cancel(&secret()).await, Code::Unknown, text, &denied);
    answers("Invoices.LookupInvoiceV2", lnd.look_up(&secret()).await, Code::Unknown, text, &denied);
    let missing = [LEAST[0], LEAST[1], LEAST[3], LEAST[5], LEAST[9]].into_iter().collect();
    let checked = startup::check(&adapter_under(&bed.node(), &macaroon).0, None).await;
    assert_eq!(checked, Err(Unusable::MacaroonTooSmall(missing)));
}

pub async fn a_macaroon_of_another_node_is_refused(bed: &dyn Bed) {
    let foreign = all_powerful(&bed.virgin());
    let lnd = Lnd::under(&bed.node(), &foreign).await;
    let refused = Meaning::Unavailable(Outage::MacaroonRefused);
    let text = "verification failed: signature mismatch after caveat verification";
    answers("Lightning.GetInfo", lnd.info().await, Code::Unknown, text, &refused);
}

pub async fn a_caveat_that_lnd_does_not_know_is_not_satisfied(bed: &dyn Bed) {
    let macaroon = all_powerful(&bed.node());
    let refused = Meaning::Unavailable(Outage::MacaroonRefused);
    let lnd = Lnd::under(&bed.node(), &macaroon.with_caveat("moon full")).await;
    let text = "caveat \"moon full\" not satisfied: caveat not recognized";
    answers("Lightning.GetInfo", lnd.info().await, Code::Unknown, text, &refused);
    let lnd = Lnd::under(&bed.node(), &macaroon.with_caveat("ipaddr 10.0.0.1")).await;
    let text = "caveat \"ipaddr 10.0.0.1\" not satisfied: macaroon locked to different IP address";
    answers("Lightning.GetInfo", lnd.info().await, Code::Unknown, text, &refused);
    Lnd::under(&bed.node(), &macaroon.with_caveat("ipaddr 127.0.0.1")).await.info().await.unwrap();
}
