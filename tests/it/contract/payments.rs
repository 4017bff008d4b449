//! `routerrpc.Router`: what becomes of a payment that lnd has taken, and how it shows.

use std::time::Duration;

use tonic_lnd::lnrpc::payment::PaymentStatus::{Failed, InFlight, Succeeded};
use tonic_lnd::lnrpc::{ListPaymentsRequest, PaymentFailureReason as Why};
use tonic_lnd::routerrpc::{SendPaymentRequest, TrackPaymentRequest};
use tonic_lnd::tonic::Code;

use bondflow::lnd::errors::Refusal;

use super::bed::{Ask, BLOCK_PADDING, Bed, FINAL_CLTV, MORE_THAN_THE_NODE_HAS, ROUTER_CLTV, hash_of};
use super::calls::{Lnd, SILENCE, all, in_flight, paying, refused};

pub async fn a_payment_ends_with_its_preimage_and_fee(bed: &dyn Bed) {
    let lnd = Lnd::at(&bed.node()).await;
    let invoice = bed.invoice(Ask::default()).await;
    let updates = all(lnd.send(paying(&invoice.bolt11)).await.unwrap()).await;
    let (end, before) = updates.split_last().unwrap();
    assert!(!before.is_empty() && before.iter().all(in_flight), "{updates:?}");
    assert!(before.iter().all(|update| update.payment_preimage == "0".repeat(64)), "{updates:?}");
    assert_eq!((end.status(), end.failure_reason()), (Succeeded, Why::FailureReasonNone));
    assert_eq!(end.payment_hash, hex::encode(invoice.hash));
    assert_eq!(end.payment_preimage, hex::encode(invoice.preimage));
    assert_eq!((end.value_sat, end.payment_request.as_str()), (5_000, invoice.bolt11.as_str()));
    assert!(end.fee_msat >= 1_000 && end.fee_sat == end.fee_msat / 1_000, "{end:?}");
    assert_eq!(lnd.track(&invoice.hash).await.unwrap().payment_preimage, end.payment_preimage);
}

/// A FAILED with an index that was judged before says nothing of the send after it.
pub async fn each_attempt_has_its_own_index(bed: &dyn Bed) {
    let lnd = Lnd::at(&bed.node()).await;
    let invoice = bed.invoice(Ask::default()).await;
    let no_fee = SendPaymentRequest { fee_limit_sat: 0, ..paying(&invoice.bolt11) };
    let failed = [lnd.pay(no_fee.clone()).await, lnd.pay(no_fee).await];
    for attempt in &failed {
        assert_eq!((attempt.status(), attempt.failure_reason()), (Failed, Why::FailureReasonNoRoute));
    }
    assert_eq!(lnd.track(&invoice.hash).await.unwrap().payment_index, failed[1].payment_index);
    let paid = lnd.pay(paying(&invoice.bolt11)).await;
    assert_eq!((paid.status(), paid.failure_reason()), (Succeeded, Why::FailureReasonNone));
    let indexes = [failed[0].payment_index, failed[1].payment_index, paid.payment_index];
    assert!(0 < indexes[0] && indexes.is_sorted_by(|a, b| a < b), "{indexes:?}");
    let newest =
        ListPaymentsRequest { include_incomplete: true, reversed: true, max_payments: 3, ..Default::default() };
    let list = lnd.client().lightning().list_payments(newest).await.unwrap().into_inner().payments;
    assert_eq!(list.last().map(|payment| payment.payment_index), Some(paid.payment_index));
    let of_this = list.iter().filter(|payment| payment.payment_hash == paid.payment_hash);
    assert_eq!(of_this.count(), 1, "the failed attempts are gone");
}

pub async fn an_unset_fee_limit_is_zero(bed: &dyn Bed) {
    let lnd = Lnd::at(&bed.node()).await;
    let invoice = bed.invoice(Ask::default()).await;
    let unset = SendPaymentRequest { fee_limit_sat: 0, fee_limit_msat: 0, ..paying(&invoice.bolt11) };
    let end = lnd.pay(unset).await;
    assert_eq!((end.status(), end.failure_reason()), (Failed, Why::FailureReasonNoRoute));
    assert!(end.htlcs.is_empty(), "nothing was sent out");
}

/// The limit counts the payee's CLTV, its padding, and every router's.
pub async fn the_cltv_limit_holds_for_the_whole_route(bed: &dyn Bed) {
    let lnd = Lnd::at(&bed.node()).await;
    let invoice = bed.invoice(Ask::default()).await;
    let needed = (FINAL_CLTV + BLOCK_PADDING + ROUTER_CLTV) as i32;
    let limited = |cltv_limit| SendPaymentRequest { cltv_limit, ..paying(&invoice.bolt11) };
    let end = lnd.pay(limited(needed - 1)).await;
    assert_eq!((end.status(), end.failure_reason()), (Failed, Why::FailureReasonNoRoute));
    assert_eq!(lnd.pay(limited(needed)).await.status(), Succeeded);
}

pub async fn unknown_required_features_are_no_route(bed: &dyn Bed) {
    let lnd = Lnd::at(&bed.node()).await;
    let plain = bed.invoice_with_features(&[]).await;
    assert!(!lnd.pay(paying(&plain)).await.htlcs.is_empty(), "a route is known");
    let odd = bed.invoice_with_features(&[200]).await;
    let end = lnd.pay(paying(&odd)).await;
    assert_eq!((end.status(), end.failure_reason()), (Failed, Why::FailureReasonNoRoute));
    assert!(end.htlcs.is_empty(), "and none is tried");
}

pub async fn too_little_balance_has_a_reason_of_its_own(bed: &dyn Bed) {
    let lnd = Lnd::at(&bed.node()).await;
    let dear = bed.invoice(Ask { amount_sat: Some(MORE_THAN_THE_NODE_HAS), ..Ask::default() }).await;
    let end = lnd.pay(SendPaymentRequest { fee_limit_sat: 100_000, ..paying(&dear.bolt11) }).await;
    assert_eq!((end.status(), end.failure_reason()), (Failed, Why::FailureReasonInsufficientBalance));
}

/// Decide on the status: the reason is there before the verdict.
pub async fn a_reason_shows_while_in_flight(bed: &dyn Bed) {
    let lnd = Lnd::at(&bed.node()).await;
    let invoice = bed.invoice(Ask::hold()).await;
    let updates = lnd.send(paying(&invoice.bolt11)).await.unwrap();
    lnd.until_payment(&invoice.hash, |payment| !payment.htlcs.is_empty()).await;
    bed.winner_cancels(&invoice).await;
    let seen: Vec<_> = all(updates).await.iter().map(|update| (update.status(), update.failure_reason())).collect();
    let why = Why::FailureReasonIncorrectPaymentDetails;
    assert_eq!(seen[seen.len() - 2..], [(InFlight, why), (Failed, why)], "{seen:?}");
}

/// And so it is of an invoice that was canceled before.
pub async fn what_the_payee_does_not_want_has_incorrect_details(bed: &dyn Bed) {
    let lnd = Lnd::at(&bed.node()).await;
    let invoice = bed.invoice(Ask::hold()).await;
    bed.winner_cancels(&invoice).await;
    let ends = [lnd.pay(paying(&invoice.bolt11)).await, lnd.pay(paying(&invoice.bolt11)).await];
    for end in &ends {
        let why = Why::FailureReasonIncorrectPaymentDetails;
        assert_eq!((end.status(), end.failure_reason(), end.htlcs.len()), (Failed, why, 1));
    }
    assert!(ends[0].payment_index < ends[1].payment_index);
}

/// A time-out only keeps lnd from further attempts.
pub async fn a_locked_htlc_outlives_the_time_out(bed: &dyn Bed) {
    let lnd = Lnd::at(&bed.node()).await;
    let invoice = bed.invoice(Ask::hold()).await;
    lnd.send(SendPaymentRequest { timeout_seconds: 1, ..paying(&invoice.bolt11) }).await.unwrap();
    lnd.until_payment(&invoice.hash, |payment| !payment.htlcs.is_empty()).await;
    bed.pass(Duration::from_secs(3)).await;
    assert_eq!(lnd.track(&invoice.hash).await.unwrap().status(), InFlight);
    bed.winner_settles(&invoice).await;
    lnd.until_payment(&invoice.hash, |payment| payment.status() == Succeeded).await;
}

pub async fn a_payment_in_parts_stays_in_flight_without_a_route(bed: &dyn Bed) {
    let lnd = Lnd::at(&bed.node()).await;
    let invoice = bed.narrow_invoice().await;
    let message = SendPaymentRequest { fee_limit_sat: 1_000, timeout_seconds: 5, ..paying(&invoice.bolt11) };
    lnd.send(message).await.unwrap();
    bed.rest_finds_no_route(&invoice).await;
    let stuck = lnd.until_payment(&invoice.hash, |payment| payment.failure_reason() == Why::FailureReasonNoRoute).await;
    assert_eq!(stuck.status(), InFlight);
    bed.pass(Duration::from_secs(6)).await;
    let later = lnd.track(&invoice.hash).await.unwrap();
    assert_eq!((later.status(), later.failure_reason()), (InFlight, Why::FailureReasonNoRoute));
    let again = lnd.send(paying(&invoice.bolt11)).await;
    refused("Router.SendPaymentV2", again, Code::AlreadyExists, "payment is in transition", Refusal::PaymentInFlight);
}

pub async fn a_client_that_leaves_changes_nothing(bed: &dyn Bed) {
    let lnd = Lnd::at(&bed.node()).await;
    let invoice = bed.invoice(Ask::hold()).await;
    let mut updates = lnd.send(paying(&invoice.bolt11)).await.unwrap();
    assert_eq!(updates.message().await.unwrap().unwrap().status(), InFlight);
    drop(updates);
    bed.winner_settles(&invoice).await;
    lnd.until_payment(&invoice.hash, |payment| payment.status() == Succeeded).await;
}

/// So a deadline is needed around the very call.
pub async fn without_in_flight_updates_not_even_headers_come(bed: &dyn Bed) {
    let lnd = Lnd::at(&bed.node()).await;
    let invoice = bed.invoice(Ask::hold()).await;
    lnd.send_htlc(&invoice).await;
    let message = TrackPaymentRequest { payment_hash: invoice.hash.to_vec(), no_inflight_updates: true };
    let mut client = lnd.client();
    let headers = client.router().track_payment_v2(message);
    assert!(tokio::time::timeout(SILENCE, headers).await.is_err(), "the response has begun");
    bed.winner_settles(&invoice).await;
    lnd.until_payment(&invoice.hash, |payment| payment.status() == Succeeded).await;
}

/// lnd then sends a paid invoice again, and only the payee stands against it.
pub async fn a_wiped_database_knows_no_payment(bed: &dyn Bed) {
    let lnd = Lnd::at(&bed.node()).await;
    let invoice = bed.invoice(Ask::default()).await;
    assert_eq!(lnd.pay(paying(&invoice.bolt11)).await.status(), Succeeded);
    bed.wipe_payments().await;
    let tracked = lnd.track(&invoice.hash).await;
    let text = "payment isn't initiated";
    refused("Router.TrackPaymentV2", tracked, Code::NotFound, text, Refusal::UnknownPayment);
    let again = lnd.pay(paying(&invoice.bolt11)).await;
    let why = Why::FailureReasonIncorrectPaymentDetails;
    assert_eq!((again.status(), again.failure_reason()), (Failed, why));
    assert_eq!(hash_of(invoice.preimage), invoice.hash);
}
