//! The adapter against the stand-in, over real TLS.

use std::sync::atomic::Ordering;

use tokio::time::timeout;
use tonic_lnd::staterpc::WalletState;
use tonic_lnd::tonic::Code;

use super::*;
use crate::lnd::bench::{Bench, NOON, PATIENCE, send};
use crate::payout::policy::verdict::{FailureReason, PaymentStatus};
use crate::sandbox::lnd::{Behaviour, Currency, Fault, InvoiceSpec};

fn status(seen: Observation) -> PaymentStatus {
    match seen {
        Observation::Payment { status, .. } => status,
        other => panic!("no payment: {other:?}"),
    }
}

fn invoice(bench: &Bench) -> String {
    bench.payee.invoice(500, InvoiceSpec::default())
}

#[tokio::test]
async fn settling_a_hold_invoice_again_succeeds() {
    let bench = Bench::new().await;
    let hash = bench.accepted_invoice([1; 32]).await;
    assert_eq!(bench.node.settle([1; 32]).await, HoldAnswer::Settled);
    assert_eq!(bench.node.settle([1; 32]).await, HoldAnswer::Settled);
    assert_eq!(bench.node.cancel(hash).await, HoldAnswer::Settled);
    assert_eq!(bench.node.hold_state(hash).await, Ok(HoldState::Settled));
    assert_eq!(bench.lnd.node.ledger().claimed_msat, 1_000_000);
}

#[tokio::test]
async fn a_canceled_hold_invoice_can_not_be_settled() {
    let bench = Bench::new().await;
    let hash = bench.accepted_invoice([1; 32]).await;
    assert_eq!(bench.node.cancel(hash).await, HoldAnswer::Canceled);
    assert_eq!(bench.node.cancel(hash).await, HoldAnswer::Canceled);
    assert_eq!(bench.node.settle([1; 32]).await, HoldAnswer::Canceled);
    assert_eq!(bench.node.hold_state(hash).await, Ok(HoldState::Canceled));
}

#[tokio::test]
async fn open_and_unknown_hold_invoices_are_told_apart() {
    let bench = Bench::new().await;
    assert_eq!(bench.node.settle([1; 32]).await, HoldAnswer::Unknown);
    assert_eq!(bench.node.cancel([1; 32]).await, HoldAnswer::Unknown);
    assert_eq!(bench.node.hold_state([1; 32]).await, Ok(HoldState::Unknown));
    let (hash, _) = bench.hold_invoice([1; 32]).await;
    assert_eq!(bench.node.settle([1; 32]).await, HoldAnswer::StillOpen);
    assert_eq!(bench.node.hold_state(hash).await, Ok(HoldState::Open));
    assert_eq!(bench.node.hold_state([2; 32]).await, Ok(HoldState::Unknown));
}

#[tokio::test]
async fn an_accepted_hold_invoice_shows_when_its_htlc_expires() {
    let bench = Bench::new().await;
    let hash = bench.accepted_invoice([1; 32]).await;
    let Ok(HoldState::Accepted { expiry_height }) = bench.node.hold_state(hash).await else {
        panic!("not accepted");
    };
    bench.lnd.node.mine(expiry_height - 500 - 13);
    assert_eq!(bench.node.hold_state(hash).await, Ok(HoldState::Accepted { expiry_height }));
    bench.lnd.node.mine(1);
    assert_eq!(bench.node.hold_state(hash).await, Ok(HoldState::Canceled));
}

#[test]
fn the_lowest_expiry_is_that_of_an_htlc_still_held() {
    let htlc = |expiry_height, state: InvoiceHtlcState| tonic_lnd::lnrpc::InvoiceHtlc {
        expiry_height,
        state: state as i32,
        ..Default::default()
    };
    let held =
        |htlcs| Invoice { r_hash: vec![1; 32], state: InvoiceState::Accepted as i32, htlcs, ..Default::default() };
    let two = held(vec![
        htlc(700, InvoiceHtlcState::Accepted),
        htlc(650, InvoiceHtlcState::Accepted),
        htlc(600, InvoiceHtlcState::Canceled),
    ]);
    assert_eq!(hold_state(&two, [1; 32]), Ok(HoldState::Accepted { expiry_height: 650 }));
    assert!(hold_state(&two, [2; 32]).is_err());
    assert!(hold_state(&held(vec![htlc(600, InvoiceHtlcState::Canceled)]), [1; 32]).is_err());
    assert!(hold_state(&Invoice { state: 9, ..two }, [1; 32]).is_err());
}

#[tokio::test]
async fn a_send_is_paid_with_proof() {
    let bench = Bench::new().await;
    let bolt11 = invoice(&bench);
    let wanted = send(&bolt11);
    status(bench.node.send(&wanted).await);
    timeout(PATIENCE, bench.node.watch(wanted.hash, false)).await.unwrap();
    let PaymentStatus::Succeeded { preimage, fee_msat: 0 } = status(bench.node.track(wanted.hash).await) else {
        panic!("not paid");
    };
    assert!(preimage.proves(&wanted.hash));
    assert_eq!(bench.lnd.node.ledger().times_paid(wanted.hash), 1);
}

#[tokio::test]
async fn a_send_carries_its_limits_and_dies_in_time() {
    let bench = Bench::new().await;
    let bolt11 = bench.payee.invoice(500, InvoiceSpec { amountless: true, ..InvoiceSpec::default() });
    let wanted = Send { amount_sats: Some(321), valid_until: Timestamp(NOON * 1000 + 1_999), ..send(&bolt11) };
    status(bench.node.send(&wanted).await);
    let ledger = bench.lnd.node.ledger();
    let [seen] = ledger.sends.as_slice() else { panic!("one send") };
    assert_eq!((seen.amount_msat, seen.fee_limit_msat), (321_000, 10_000));
    assert_eq!((seen.cltv_limit, seen.timeout_seconds), (1_008, 60));
    assert_eq!(seen.caveats, ["time-before 2026-01-31T12:00:01Z"]);
}

#[test]
fn no_limit_is_ever_left_to_lnd() {
    let zero = Send { fee_limit_sats: u64::MAX, cltv_limit: 0, timeout_secs: 0, ..send(BOLT11) };
    let request = payment_request(&zero);
    assert_eq!((request.fee_limit_sat, request.fee_limit_msat), (2_100_000_000_000_000, 0));
    assert_eq!((request.cltv_limit, request.timeout_seconds), (1, 1));
    assert!(!request.no_inflight_updates && !request.allow_self_payment && !request.amp && !request.cancelable);
}

/// A donation to the Lightning specification's examples.
const BOLT11: &str = "lnbc1pvjluezsp5zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zygspp5qqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqypqdpl2pkx2ctnv5sxxmmwwd5kgetjypeh2ursdae8g6twvus8g6rfwvs8qun0dfjkxaq9qrsgq357wnc5r2ueh7ck6q93dj32dlqnls087fxdwk8qakdyafkq3yap9us6v52vjjsrvywa6rt52cm9r9zqt8r2t7mlcwspyetp5h2tztugp9lfyql";

#[tokio::test]
async fn a_late_send_is_refused_by_lnd_and_says_nothing() {
    let bench = Bench::new().await;
    let wanted = Send { valid_until: Timestamp::from_secs(NOON), ..send(&invoice(&bench)) };
    assert_eq!(bench.node.send(&wanted).await, Observation::Silent);
    assert_eq!(bench.node.track(wanted.hash).await, Observation::NotFound);
    assert!(bench.lnd.node.ledger().sends.is_empty());
}

#[tokio::test]
async fn a_hash_that_was_never_sent_is_not_found() {
    let bench = Bench::new().await;
    assert_eq!(bench.node.track([1; 32]).await, Observation::NotFound);
}

#[tokio::test]
async fn an_answer_lost_on_the_way_is_no_verdict() {
    let bench = Bench::new().await;
    let wanted = send(&invoice(&bench));
    bench.lnd.node.inject("SendPaymentV2", Fault::DropBeforeActing, 1);
    assert_eq!(bench.node.send(&wanted).await, Observation::Silent);
    bench.until_it_answers().await;
    assert_eq!(bench.node.track(wanted.hash).await, Observation::NotFound);

    bench.lnd.node.inject("SendPaymentV2", Fault::DropAfterActing, 1);
    assert_eq!(bench.node.send(&wanted).await, Observation::Silent);
    bench.until_it_answers().await;
    timeout(PATIENCE, bench.node.watch(wanted.hash, false)).await.unwrap();
    assert!(matches!(status(bench.node.track(wanted.hash).await), PaymentStatus::Succeeded { .. }));
    assert_eq!(bench.lnd.node.ledger().times_paid(wanted.hash), 1);
}

#[tokio::test]
async fn a_settle_whose_answer_was_lost_can_be_repeated() {
    let bench = Bench::new().await;
    bench.accepted_invoice([1; 32]).await;
    bench.lnd.node.inject("SettleInvoice", Fault::DropAfterActing, 1);
    assert!(matches!(bench.node.settle([1; 32]).await, HoldAnswer::Unavailable(_)));
    bench.until_it_answers().await;
    assert_eq!(bench.node.settle([1; 32]).await, HoldAnswer::Settled);
}

#[tokio::test]
async fn a_call_that_is_never_answered_ends_at_its_deadline() {
    let bench = Bench::new().await;
    let (node, wanted) = (bench.impatient(), send(&invoice(&bench)));
    bench.lnd.node.inject("*", Fault::Stall, u32::MAX);
    let late = || "DeadlineExceeded: no answer within 300 ms".to_owned();
    let all = async {
        assert_eq!(node.send(&wanted).await, Observation::Silent);
        assert_eq!(node.track(wanted.hash).await, Observation::Silent);
        assert_eq!(node.settle([1; 32]).await, HoldAnswer::Unavailable(late()));
        assert_eq!(node.cancel([1; 32]).await, HoldAnswer::Unavailable(late()));
        assert_eq!(node.hold_state([1; 32]).await, Err(Unavailable(late())));
        assert_eq!(node.info().await, Err(Unavailable(late())));
    };
    timeout(PATIENCE, all).await.unwrap();
}

#[tokio::test]
async fn an_error_that_nobody_knows_is_no_refusal() {
    let bench = Bench::new().await;
    let wanted = send(&invoice(&bench));
    for code in (1..=16).map(Code::from_i32) {
        bench.lnd.node.inject("*", Fault::Answer(code, "something new".to_owned()), 4);
        assert_eq!(bench.node.send(&wanted).await, Observation::Silent);
        assert_eq!(bench.node.track(wanted.hash).await, Observation::Silent);
        assert!(matches!(bench.node.settle([1; 32]).await, HoldAnswer::Unavailable(_)));
        assert!(bench.node.hold_state([1; 32]).await.is_err());
    }
}

#[tokio::test]
async fn a_payment_that_exists_is_no_refusal() {
    let bench = Bench::new().await;
    let wanted = send(&bench.payee.invoice(500, InvoiceSpec { hold: true, ..InvoiceSpec::default() }));
    assert_eq!(status(bench.node.send(&wanted).await), PaymentStatus::InFlight);
    assert_eq!(bench.node.send(&wanted).await, Observation::Silent);
    assert_eq!(status(bench.node.track(wanted.hash).await), PaymentStatus::InFlight);
}

#[tokio::test]
async fn what_lnd_refuses_to_send_is_refused() {
    let bench = Bench::new().await;
    let refused_for_good = Observation::Refused(verdict::Refusal::Invoice);
    let expired = InvoiceSpec { created_at: Some(NOON - 4_000), ..InvoiceSpec::default() };
    let elsewhere = InvoiceSpec { network: Some(Currency::Bitcoin), ..InvoiceSpec::default() };
    for spec in [expired, elsewhere] {
        let wanted = send(&bench.payee.invoice(500, spec));
        assert_eq!(bench.node.send(&wanted).await, refused_for_good);
        assert_eq!(bench.node.track(wanted.hash).await, Observation::NotFound);
    }
    let (_, own) = bench.hold_invoice([1; 32]).await;
    assert_eq!(bench.node.send(&send(&own)).await, refused_for_good);
    let far = Send { cltv_limit: 20, ..send(&invoice(&bench)) };
    assert_eq!(bench.node.send(&far).await, refused_for_good);

    let amountless = bench.payee.invoice(500, InvoiceSpec { amountless: true, ..InvoiceSpec::default() });
    assert_eq!(bench.node.send(&send(&amountless)).await, Observation::Refused(verdict::Refusal::Other));
    let twice = Send { amount_sats: Some(1), ..send(&invoice(&bench)) };
    assert_eq!(bench.node.send(&twice).await, Observation::Refused(verdict::Refusal::Other));
}

#[tokio::test]
async fn each_failed_attempt_has_its_own_index() {
    let bench = Bench::new().await;
    let wanted = send(&invoice(&bench));
    let mut indexes = Vec::new();
    for (behaviour, reason) in [
        (Behaviour::UNROUTABLE, FailureReason::Other),
        (Behaviour::INSUFFICIENT_BALANCE, FailureReason::InsufficientBalance),
        (Behaviour::INCORRECT_DETAILS, FailureReason::IncorrectPaymentDetails),
    ] {
        bench.payee.next_of(wanted.hash, behaviour, 1);
        status(bench.node.send(&wanted).await);
        timeout(PATIENCE, bench.node.watch(wanted.hash, false)).await.unwrap();
        let Observation::Payment { index, status } = bench.node.track(wanted.hash).await else { panic!("no payment") };
        assert_eq!(status, PaymentStatus::Failed(reason));
        indexes.push(index);
    }
    assert!(indexes.is_sorted_by(|a, b| a < b), "{indexes:?}");
}

#[tokio::test]
async fn a_watch_lasts_as_long_as_the_payment() {
    let bench = Bench::new().await;
    let wanted = send(&bench.payee.invoice(500, InvoiceSpec { hold: true, ..InvoiceSpec::default() }));
    bench.node.send(&wanted).await;
    bench.lnd.node.wait_for_htlc(wanted.hash).await;
    let mut watch = tokio::spawn(bench.node.watch(wanted.hash, false));
    assert!(timeout(Duration::from_millis(300), &mut watch).await.is_err());
    assert!(bench.lnd.node.release(wanted.hash));
    timeout(PATIENCE, watch).await.unwrap().unwrap();
    assert!(matches!(status(bench.node.track(wanted.hash).await), PaymentStatus::Succeeded { .. }));
}

#[tokio::test]
async fn a_watch_of_nothing_does_not_return_at_once() {
    let bench = Bench::new().await;
    assert!(timeout(Duration::from_millis(500), bench.node.watch([1; 32], false)).await.is_err());
}

#[tokio::test]
async fn works_again_after_a_restart_on_the_same_port() {
    let bench = Bench::new().await;
    let hash = bench.accepted_invoice([1; 32]).await;
    bench.lnd.stop().await;
    let HoldAnswer::Unavailable(why) = bench.node.settle([1; 32]).await else { panic!("lnd is down") };
    assert!(!why.is_empty());
    let refused = async {
        while bench.node.track(hash).await != Observation::Unavailable {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, refused).await.unwrap();
    bench.lnd.restart().await.unwrap();
    bench.until_it_answers().await;
    assert_eq!(bench.node.settle([1; 32]).await, HoldAnswer::Settled);
}

#[tokio::test]
async fn a_renewed_certificate_is_read_again() {
    let bench = Bench::new().await;
    bench.until_it_answers().await;
    let old = std::fs::read(bench.lnd.cert_path()).unwrap();
    bench.lnd.expire_certificate().unwrap();
    bench.lnd.restart().await.unwrap();
    assert_ne!(std::fs::read(bench.lnd.cert_path()).unwrap(), old);
    bench.until_it_answers().await;
}

#[tokio::test]
async fn a_replaced_macaroon_is_read_again() {
    let bench = Bench::new().await;
    let node = bench.granted(&["info:read"]);
    assert_eq!(node.track([1; 32]).await, Observation::Unavailable);
    bench.file("other.macaroon", &std::fs::read(bench.lnd.macaroon_path()).unwrap());
    assert_eq!(node.track([1; 32]).await, Observation::NotFound);
}

#[tokio::test]
async fn a_locked_wallet_is_an_outage() {
    let bench = Bench::new().await;
    let wanted = send(&invoice(&bench));
    for wallet in [WalletState::Locked, WalletState::Unlocked] {
        bench.lnd.node.set_wallet(wallet);
        assert_eq!(bench.node.send(&wanted).await, Observation::Unavailable);
        assert_eq!(bench.node.track(wanted.hash).await, Observation::Unavailable);
        assert!(matches!(bench.node.settle([1; 32]).await, HoldAnswer::Unavailable(_)));
    }
    bench.lnd.node.set_wallet(WalletState::ServerActive);
    assert_eq!(bench.node.track(wanted.hash).await, Observation::NotFound);
}

#[tokio::test]
async fn tells_the_nodes_own_standing() {
    let bench = Bench::new().await;
    bench.lnd.node.mine(3);
    bench.clock.store(NOON + 5, Ordering::SeqCst);
    let info = bench.node.info().await.unwrap();
    assert_eq!((info.identity, info.network), (bench.lnd.node.identity(), "simnet".to_owned()));
    assert_eq!((info.block_height, info.best_block_time, info.synced_to_chain), (503, NOON + 5, true));
}

#[tokio::test]
async fn shows_no_secret() {
    let bench = Bench::new().await;
    let secret = hex::encode(std::fs::read(bench.lnd.macaroon_path()).unwrap());
    let request = bench.node.lnd.request(()).await.unwrap();
    let shown = format!("{:?} {request:?}", bench.node);
    assert!(!shown.contains(&secret[..32]) && !shown.contains(&secret[secret.len() - 32..]), "{shown}");
}
