//! Sending, tracking and reading: `routerrpc.Router` and `lnrpc.Lightning`.

use super::*;

#[tokio::test]
async fn pays_with_a_real_preimage_once() {
    let mut bench = Bench::new().await;
    bench.payee.next(Behaviour::Pay { fee_sat: 3, after: Duration::ZERO }, 1);
    let (bolt11, hash) = bench.invoice(InvoiceSpec::default());
    let paid = bench.pay(&bolt11).await;
    assert_eq!((paid.status(), paid.fee_sat, paid.payment_index), (PaymentStatus::Succeeded, 3, 1));
    let preimage = hex::decode(&paid.payment_preimage).unwrap();
    assert_eq!(Hash32::of(&preimage).0, hash);
    let again = bench.refusal(request(&bolt11)).await;
    assert_eq!(again, (Code::AlreadyExists, "invoice is already paid".into()));
    let ledger = bench.lnd.node.ledger();
    assert_eq!((ledger.times_paid(hash), ledger.spent_msat, ledger.fees_msat), (1, 5_000_000, 3_000));
    assert_eq!(bench.lnd.node.spendable_msat(), 100_000_000_000 - 5_003_000);
}

#[tokio::test]
async fn a_held_payment_is_in_transition_until_it_is_released() {
    let mut bench = Bench::new().await;
    let (bolt11, hash) = bench.invoice(InvoiceSpec { hold: true, ..Default::default() });
    let mut stream = bench.send(&bolt11).await.unwrap();
    let first = stream.message().await.unwrap().unwrap();
    assert_eq!((first.status(), first.htlcs.len()), (PaymentStatus::InFlight, 0));
    assert_eq!(first.payment_preimage, "0".repeat(64));
    let second = stream.message().await.unwrap().unwrap();
    assert_eq!((second.status(), second.htlcs.len()), (PaymentStatus::InFlight, 1));
    let again = bench.refusal(request(&bolt11)).await;
    assert_eq!(again, (Code::AlreadyExists, "payment is in transition".into()));
    bench.lnd.node.show_reason(hash, Reason::NoRoute);
    let stuck = stream.message().await.unwrap().unwrap();
    assert_eq!((stuck.status(), stuck.failure_reason()), (PaymentStatus::InFlight, Why::FailureReasonNoRoute));
    assert!(bench.lnd.node.release(hash));
    assert_eq!(all(stream).await.pop().unwrap().status(), PaymentStatus::Succeeded);
}

#[tokio::test]
async fn a_canceled_payment_shows_its_reason_while_in_flight() {
    let mut bench = Bench::new().await;
    let (bolt11, hash) = bench.invoice(InvoiceSpec { hold: true, ..Default::default() });
    let mut stream = bench.send(&bolt11).await.unwrap();
    while stream.message().await.unwrap().unwrap().htlcs.is_empty() {}
    assert!(bench.lnd.node.fail(hash));
    let end: Vec<_> = all(stream).await.iter().map(|at| (at.status(), at.failure_reason())).collect();
    let why = Why::FailureReasonIncorrectPaymentDetails;
    assert_eq!(end, [(PaymentStatus::InFlight, why), (PaymentStatus::Failed, why)]);
    assert_eq!(bench.lnd.node.spendable_msat(), 100_000_000_000);
}

#[tokio::test]
async fn a_failed_hash_may_be_sent_again_under_a_new_index() {
    let mut bench = Bench::new().await;
    bench.payee.next(Behaviour::UNROUTABLE, 1);
    bench.payee.next(Behaviour::TIMEOUT, 1);
    let (bolt11, hash) = bench.invoice(InvoiceSpec::default());
    let ends = [bench.pay(&bolt11).await, bench.pay(&bolt11).await, bench.pay(&bolt11).await];
    let seen = ends.map(|end| (end.payment_index, end.failure_reason()));
    use Why::*;
    assert_eq!(seen, [(1, FailureReasonNoRoute), (2, FailureReasonTimeout), (3, FailureReasonNone)]);
    let request = ListPaymentsRequest { include_incomplete: true, ..Default::default() };
    let list = bench.client.lightning().list_payments(request).await.unwrap().into_inner();
    assert_eq!(list.payments.len(), 1, "one payment per hash");
    assert_eq!(list.last_index_offset, 3);
    assert_eq!(bench.lnd.node.ledger().attempts[&Hash32(hash)].len(), 3);
}

#[tokio::test]
async fn an_initiated_payment_already_exists() {
    let mut bench = Bench::new().await;
    bench.payee.next(Behaviour::Initiated, 1);
    let (bolt11, hash) = bench.invoice(InvoiceSpec::default());
    bench.send(&bolt11).await.unwrap();
    let again = bench.refusal(request(&bolt11)).await;
    assert_eq!(again, (Code::AlreadyExists, "payment already exists".into()));
    assert_eq!(bench.shown(hash).await.status(), PaymentStatus::InFlight);
}

#[tokio::test]
async fn expiry_is_checked_before_duplicates() {
    let mut bench = Bench::new().await;
    let (bolt11, hash) = bench.invoice(InvoiceSpec { hold: true, expiry: 600, ..Default::default() });
    bench.send(&bolt11).await.unwrap();
    bench.lnd.node.wait_for_htlc(hash).await;
    bench.clock.store(NOON + 600, Ordering::SeqCst);
    assert_eq!(bench.refusal(request(&bolt11)).await.0, Code::AlreadyExists);
    bench.clock.store(NOON + 601, Ordering::SeqCst);
    let late = "invoice expired. Valid until 2026-01-31 12:10:00 +0000 UTC".to_owned();
    assert_eq!(bench.refusal(request(&bolt11)).await, (Code::Unknown, late.clone()));
    bench.lnd.node.release(hash);
    assert_eq!(bench.refusal(request(&bolt11)).await, (Code::Unknown, late));
    assert_eq!(bench.shown(hash).await.status(), PaymentStatus::Succeeded);
}

#[tokio::test]
async fn refuses_a_send_with_lnds_words() {
    let mut bench = Bench::new().await;
    let (plain, hash) = bench.invoice(InvoiceSpec::default());
    let (amountless, _) = bench.invoice(InvoiceSpec { amountless: true, ..Default::default() });
    let (foreign, _) = bench.invoice(InvoiceSpec { network: Some(Currency::Bitcoin), ..Default::default() });
    let (amp, _) = bench.invoice(InvoiceSpec { feature_bits: vec![30], ..Default::default() });
    let own = AddHoldInvoiceRequest { hash: vec![3; 32], value: 10, ..Default::default() };
    let own = bench.client.invoices().add_hold_invoice(own).await.unwrap().into_inner().payment_request;
    let rows = [
        (SendPaymentRequest { fee_limit_msat: 1, ..request(&plain) }, "sat and msat arguments are mutually exclusive"),
        (SendPaymentRequest { cltv_limit: 20, ..request(&plain) }, "cltv limit 20 should be greater than 83"),
        (SendPaymentRequest { cltv_limit: 83, ..request(&plain) }, "cltv limit 83 should be greater than 83"),
        (
            SendPaymentRequest { cltv_limit: 2017, ..request(&plain) },
            "total time lock of 2017 exceeds max allowed 2016",
        ),
        (
            SendPaymentRequest { amt: 9, ..request(&plain) },
            "amount must not be specified when paying a non-zero amount invoice",
        ),
        (request(&amountless), "amount must be specified when paying a zero amount invoice"),
        (request(&foreign), "invoice not for current active network 'simnet'"),
        (request(&amp), "the AMP flag (--amp or SendPaymentRequest.Amp) must be set to pay an AMP invoice"),
        (request(&own), "self-payments not allowed"),
    ];
    for (request, text) in rows {
        assert_eq!(bench.refusal(request).await, (Code::Unknown, text.to_owned()));
    }
    let untouched = shown(bench.track(&hash).await.unwrap_err());
    assert_eq!(untouched, (Code::NotFound, "payment isn't initiated".into()));
    assert_eq!(unknown(bench.track(&[1; 31]).await), "invalid hash length of 31, want 32");
}

#[tokio::test]
async fn limits_and_features_surface_as_no_route() {
    let mut bench = Bench::new().await;
    let (bolt11, _) = bench.invoice(InvoiceSpec::default());
    bench.payee.always(Behaviour::Pay { fee_sat: 1, after: Duration::ZERO });
    let no_fee = SendPaymentRequest { fee_limit_sat: 0, ..request(&bolt11) };
    let stream = bench.send_as(no_fee).await.unwrap();
    assert_eq!(all(stream).await.pop().unwrap().failure_reason(), Why::FailureReasonNoRoute);
    bench.payee.set_route_cltv(418);
    assert_eq!(bench.pay(&bolt11).await.failure_reason(), Why::FailureReasonNoRoute);
    bench.payee.set_route_cltv(417);
    assert_eq!(bench.pay(&bolt11).await.status(), PaymentStatus::Succeeded);
    let (odd, _) = bench.invoice(InvoiceSpec { feature_bits: vec![200], ..Default::default() });
    assert_eq!(bench.pay(&odd).await.failure_reason(), Why::FailureReasonNoRoute);
    let (dear, _) = bench.invoice(InvoiceSpec::default());
    bench.lnd.node.set_spendable_sat(4999);
    assert_eq!(bench.pay(&dear).await.failure_reason(), Why::FailureReasonInsufficientBalance);
}

#[tokio::test]
async fn decodes_an_invoice() {
    let mut bench = Bench::new().await;
    let (bolt11, hash) = bench.invoice(InvoiceSpec { feature_bits: vec![200], ..Default::default() });
    assert!(bolt11.starts_with("lnsb"));
    let request = PayReqString { pay_req: bolt11 };
    let read = bench.client.lightning().decode_pay_req(request).await.unwrap().into_inner();
    assert_eq!(read.destination, bench.payee.identity());
    assert_eq!((read.payment_hash, read.num_satoshis), (hex::encode(hash), 5000));
    assert_eq!((read.timestamp, read.expiry, read.cltv_expiry), (NOON, 3600, 80));
    let mut bits: Vec<_> = read.features.iter().map(|(bit, at)| (*bit, at.is_required, at.is_known)).collect();
    bits.sort_unstable();
    assert_eq!(bits, [(8, true, true), (14, true, true), (17, false, true), (200, true, false)]);
}

#[tokio::test]
async fn regtest_invoices_carry_their_prefix() {
    let mut bench = Bench::with(|options| options.network = Currency::Regtest).await;
    let (bolt11, _) = bench.invoice(InvoiceSpec::default());
    assert!(bolt11.starts_with("lnbcrt"));
    assert_eq!(bench.pay(&bolt11).await.status(), PaymentStatus::Succeeded);
    let (foreign, _) = bench.invoice(InvoiceSpec { network: Some(Currency::Simnet), ..Default::default() });
    let text = "invoice not for current active network 'regtest'".to_owned();
    assert_eq!(bench.refusal(request(&foreign)).await, (Code::Unknown, text));
}
