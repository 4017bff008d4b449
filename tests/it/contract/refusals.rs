//! `routerrpc.Router/SendPaymentV2`: the sends that lnd does not take.

use std::time::Duration;

use bondflow::lnd::errors::{Meaning, Refusal, meaning};
use tonic_lnd::lnrpc::Payment;
use tonic_lnd::lnrpc::payment::PaymentStatus;
use tonic_lnd::routerrpc::SendPaymentRequest;
use tonic_lnd::tonic::{Code, Status};

use super::bed::{Ask, Bed, secret};
use super::calls::{Lnd, paying, refused};

const SEND: &str = "Router.SendPaymentV2";
const TRACK: &str = "Router.TrackPaymentV2";

/// lnd's `--max-cltv-expiry`.
const MAX_CLTV: i32 = 2_016;

/// A donation to the Lightning specification's examples, on mainnet.
const MAINNET: &str = "lnbc1pvjluezsp5zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zygspp5qqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqypqdpl2pkx2ctnv5sxxmmwwd5kgetjypeh2ursdae8g6twvus8g6rfwvs8qun0dfjkxaq9qrsgq357wnc5r2ueh7ck6q93dj32dlqnls087fxdwk8qakdyafkq3yap9us6v52vjjsrvywa6rt52cm9r9zqt8r2t7mlcwspyetp5h2tztugp9lfyql";

pub async fn an_unknown_payment_is_not_found(bed: &dyn Bed) {
    let lnd = Lnd::at(&bed.node()).await;
    let tracked = lnd.track(&secret()).await;
    refused(TRACK, tracked, Code::NotFound, "payment isn't initiated", Refusal::UnknownPayment);
}

pub async fn a_payment_in_flight_is_not_sent_again(bed: &dyn Bed) {
    let lnd = Lnd::at(&bed.node()).await;
    let invoice = bed.invoice(Ask::hold()).await;
    lnd.send_htlc(&invoice).await;
    let again = lnd.send(paying(&invoice.bolt11)).await;
    refused(SEND, again, Code::AlreadyExists, "payment is in transition", Refusal::PaymentInFlight);
    bed.winner_settles(&invoice).await;
    lnd.until_payment(&invoice.hash, |payment| payment.status() == PaymentStatus::Succeeded).await;
    let again = lnd.send(paying(&invoice.bolt11)).await;
    refused(SEND, again, Code::AlreadyExists, "invoice is already paid", Refusal::AlreadyPaid);
}

/// One makes the payment; all the others hear that it is initiated, in flight or paid, as it happens to be.
pub async fn of_many_sends_at_once_one_is_taken(bed: &dyn Bed) {
    let lnd = Lnd::at(&bed.node()).await;
    let invoice = bed.invoice(Ask::default()).await;
    let sends = (0..20).map(|_| {
        let (lnd, message) = (lnd.clone(), paying(&invoice.bolt11));
        async move { first(lnd.send(message).await).await }
    });
    let answers = futures_util::future::join_all(sends).await;
    let taken: Vec<u64> = answers.iter().flatten().map(|payment| payment.payment_index).collect();
    assert_eq!(taken.len(), 1, "{answers:?}");
    for refusal in answers.into_iter().filter_map(Result::err) {
        assert_eq!(refusal.code(), Code::AlreadyExists, "{refusal:?}");
        let expected = [Refusal::PaymentExists, Refusal::PaymentInFlight, Refusal::AlreadyPaid];
        assert!(expected.map(Meaning::Refused).contains(&meaning(&refusal)), "{refusal:?}");
    }
    let end = lnd.until_payment(&invoice.hash, |payment| payment.status() == PaymentStatus::Succeeded).await;
    assert_eq!(end.payment_index, taken[0]);
}

async fn first(answer: Result<tonic_lnd::tonic::Streaming<Payment>, Status>) -> Result<Payment, Status> {
    Ok(answer?.message().await?.expect("a send that is taken shows its payment"))
}

/// Never read "expired" as "not paid".
pub async fn expiry_is_checked_before_duplicates(bed: &dyn Bed) {
    let lnd = Lnd::at(&bed.node()).await;
    let expiry = Duration::from_secs(3);
    let never_sent = bed.invoice(Ask { expiry, ..Ask::default() }).await;
    let invoice = bed.invoice(Ask { expiry, ..Ask::hold() }).await;
    lnd.send_htlc(&invoice).await;
    bed.pass(expiry + Duration::from_secs(2)).await;
    let expired =
        |answer| refused(SEND, answer, Code::Unknown, "invoice expired. Valid until 2", Refusal::InvoiceExpired);
    expired(lnd.send(paying(&never_sent.bolt11)).await);
    let tracked = lnd.track(&never_sent.hash).await;
    refused(TRACK, tracked, Code::NotFound, "payment isn't initiated", Refusal::UnknownPayment);
    expired(lnd.send(paying(&invoice.bolt11)).await);
    assert_eq!(lnd.track(&invoice.hash).await.unwrap().status(), PaymentStatus::InFlight);
    bed.winner_settles(&invoice).await;
    lnd.until_payment(&invoice.hash, |payment| payment.status() == PaymentStatus::Succeeded).await;
    expired(lnd.send(paying(&invoice.bolt11)).await);
}

pub async fn the_node_does_not_pay_itself(bed: &dyn Bed) {
    let lnd = Lnd::at(&bed.node()).await;
    let own = lnd.hold_invoice().await;
    let sent = lnd.send(paying(&own.bolt11)).await;
    refused(SEND, sent, Code::Unknown, "self-payments not allowed", Refusal::SelfPayment);
}

pub async fn an_invoice_of_another_network_is_refused(bed: &dyn Bed) {
    let lnd = Lnd::at(&bed.node()).await;
    let sent = lnd.send(paying(MAINNET)).await;
    refused(SEND, sent, Code::Unknown, "invoice not for current active network 'simnet'", Refusal::WrongNetwork);
}

pub async fn the_amount_is_named_once(bed: &dyn Bed) {
    let lnd = Lnd::at(&bed.node()).await;
    let without = bed.invoice(Ask { amount_sat: None, ..Ask::default() }).await;
    let text = "amount must be specified when paying a zero amount invoice";
    refused(SEND, lnd.send(paying(&without.bolt11)).await, Code::Unknown, text, Refusal::AmountNeeded);
    let with = bed.invoice(Ask::default()).await;
    let twice = SendPaymentRequest { amt: 9, ..paying(&with.bolt11) };
    let text = "amount must not be specified when paying a non-zero amount invoice";
    refused(SEND, lnd.send(twice).await, Code::Unknown, text, Refusal::AmountNotWanted);
    let once = SendPaymentRequest { amt: 321, ..paying(&without.bolt11) };
    let paid = lnd.pay(once).await;
    assert_eq!((paid.status(), paid.value_sat), (PaymentStatus::Succeeded, 321));
}

/// The payee's CLTV and three blocks of padding must stay below the limit, which is 2016 when unset.
pub async fn the_cltv_limit_leaves_room_for_the_payee(bed: &dyn Bed) {
    let lnd = Lnd::at(&bed.node()).await;
    let invoice = bed.invoice(Ask::default()).await;
    let limited = |cltv_limit| SendPaymentRequest { cltv_limit, ..paying(&invoice.bolt11) };
    for limit in [20, 83] {
        let text = format!("cltv limit {limit} should be greater than 83");
        refused(SEND, lnd.send(limited(limit)).await, Code::Unknown, &text, Refusal::CltvLimit);
    }
    let text = "total time lock of 2017 exceeds max allowed 2016";
    refused(SEND, lnd.send(limited(MAX_CLTV + 1)).await, Code::Unknown, text, Refusal::CltvLimitTooHigh);
    let far = bed.invoice(Ask { final_cltv: 2_014, ..Ask::default() }).await;
    let unlimited = SendPaymentRequest { cltv_limit: 0, ..paying(&far.bolt11) };
    let text = "cltv limit 2016 should be greater than 2017";
    refused(SEND, lnd.send(unlimited).await, Code::Unknown, text, Refusal::CltvLimit);
}

pub async fn there_is_one_fee_limit(bed: &dyn Bed) {
    let lnd = Lnd::at(&bed.node()).await;
    let invoice = bed.invoice(Ask::default()).await;
    let both = SendPaymentRequest { fee_limit_msat: 1, ..paying(&invoice.bolt11) };
    let text = "sat and msat arguments are mutually exclusive";
    refused(SEND, lnd.send(both).await, Code::Unknown, text, Refusal::Malformed);
}

pub async fn an_amp_invoice_wants_a_flag(bed: &dyn Bed) {
    let lnd = Lnd::at(&bed.node()).await;
    let amp = bed.amp_invoice().await;
    let text = "the AMP flag (--amp or SendPaymentRequest.Amp) must be set to pay an AMP invoice";
    refused(SEND, lnd.send(paying(&amp)).await, Code::Unknown, text, Refusal::InvoiceKind);
}

/// What `startup` asks to learn whether a macaroon suffices changes nothing.
pub async fn an_empty_send_is_refused(bed: &dyn Bed) {
    let lnd = Lnd::at(&bed.node()).await;
    let empty = SendPaymentRequest { time_pref: 2.0, ..SendPaymentRequest::default() };
    refused(SEND, lnd.send(empty).await, Code::Unknown, "time preference out of range", Refusal::Malformed);
}
