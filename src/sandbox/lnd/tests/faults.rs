//! Lost answers, kills, and lost databases.

use super::*;

#[tokio::test]
async fn a_lost_answer_is_still_a_payment() {
    let mut bench = Bench::new().await;
    let (bolt11, hash) = bench.invoice(InvoiceSpec::default());
    bench.lnd.node.inject("SendPaymentV2", Fault::DropBeforeActing, 1);
    bench.send(&bolt11).await.unwrap_err();
    assert!(bench.lnd.node.ledger().sends.is_empty());
    bench.lnd.node.inject("SendPaymentV2", Fault::DropAfterActing, 1);
    bench.send(&bolt11).await.unwrap_err();
    let last = all(bench.track(&hash).await.unwrap()).await.pop().unwrap();
    assert_eq!(last.status(), PaymentStatus::Succeeded);
    assert_eq!(bench.lnd.node.ledger().times_paid(hash), 1);
}

#[tokio::test]
async fn other_faults_strike_as_often_as_told() {
    let mut bench = Bench::new().await;
    bench.lnd.node.inject("*", Fault::Answer(Code::Internal, "disk full".into()), 2);
    for _ in 0..2 {
        assert_eq!(bench.lookup([1; 32]).await.unwrap_err().code(), Code::Internal);
    }
    assert_eq!(bench.lookup([1; 32]).await.unwrap_err().code(), Code::Unknown);
    let (bolt11, hash) = bench.invoice(InvoiceSpec::default());
    bench.lnd.node.inject("SendPaymentV2", Fault::StallAfterActing, 1);
    let mut other = bench.client.clone();
    let stalled = tokio::spawn(async move { other.router().send_payment_v2(request(&bolt11)).await });
    bench.lnd.node.wait_until(|ledger| ledger.times_paid(hash) == 1).await;
    assert!(!stalled.is_finished());
    bench.lnd.stop().await;
    stalled.await.unwrap().unwrap_err();
}

#[tokio::test]
async fn a_killed_node_comes_back_with_its_payments() {
    let mut bench = Bench::new().await;
    let (held, held_hash) = bench.invoice(InvoiceSpec { hold: true, ..Default::default() });
    let (lost, lost_hash) = bench.invoice(InvoiceSpec { hold: true, ..Default::default() });
    let mut stream = bench.send(&held).await.unwrap();
    bench.send(&lost).await.unwrap();
    bench.lnd.node.wait_for_htlc(held_hash).await;
    bench.lnd.node.wait_for_htlc(lost_hash).await;
    bench.lnd.stop().await;
    while let Ok(Some(_)) = stream.message().await {}
    let error = bench.track(&held_hash).await.unwrap_err();
    assert!(format!("{error:?}").contains("ConnectionRefused"), "{error:?}");
    bench.lnd.restart().await.unwrap();
    assert_eq!(bench.shown(held_hash).await.status(), PaymentStatus::InFlight);
    bench.lnd.node.release(held_hash);
    assert_eq!(bench.shown(held_hash).await.status(), PaymentStatus::Succeeded);
    bench.lnd.node.fail(lost_hash);
    assert_eq!(bench.shown(lost_hash).await.failure_reason(), Why::FailureReasonIncorrectPaymentDetails);
    let (next, _) = bench.invoice(InvoiceSpec::default());
    assert_eq!(bench.pay(&next).await.payment_index, 1001);
}

#[tokio::test]
async fn another_process_takes_over_the_folder() {
    let mut bench = Bench::with(|options| options.persist = true).await;
    let own = bench.add_hold([1; 32]).await.unwrap();
    let (bolt11, hash) = bench.invoice(InvoiceSpec { hold: true, ..Default::default() });
    bench.send(&bolt11).await.unwrap();
    bench.lnd.node.wait_for_htlc(hash).await;
    let Bench { lnd, clock, folder, .. } = bench;
    let (cert, macaroon) = (std::fs::read(lnd.cert_path()).unwrap(), std::fs::read(lnd.macaroon_path()).unwrap());
    drop(lnd);
    let mut options = options(&folder, &clock);
    options.persist = true;
    let lnd = StandIn::start(options).await.unwrap();
    assert_eq!(std::fs::read(lnd.cert_path()).unwrap(), cert);
    assert_eq!(std::fs::read(lnd.macaroon_path()).unwrap(), macaroon);
    let client = connect(&lnd, lnd.macaroon_path()).await;
    let payee = Payee::of(&lnd.node, "bob");
    let mut bench = Bench { lnd, clock, folder, client, payee };
    assert_eq!(bench.lookup(own).await.unwrap(), InvoiceState::Open);
    assert_eq!(bench.shown(hash).await.status(), PaymentStatus::InFlight);
    assert!(bench.lnd.node.release(hash));
    assert_eq!(bench.shown(hash).await.status(), PaymentStatus::Succeeded);
}

#[tokio::test]
async fn a_wiped_database_knows_nothing_but_the_payee_does() {
    let mut bench = Bench::new().await;
    let (bolt11, hash) = bench.invoice(InvoiceSpec::default());
    bench.pay(&bolt11).await;
    bench.lnd.node.wipe_payments();
    assert_eq!(bench.track(&hash).await.unwrap_err().code(), Code::NotFound);
    let again = bench.pay(&bolt11).await;
    assert_eq!((again.payment_index, again.failure_reason()), (1, Why::FailureReasonIncorrectPaymentDetails));
    assert_eq!(bench.lnd.node.ledger().times_paid(hash), 1);
}

#[tokio::test]
async fn a_payee_claims_by_itself_after_its_time() {
    let mut bench = Bench::new().await;
    let time = Duration::from_millis(30);
    bench.payee.next(Behaviour::Pay { fee_sat: 0, after: time }, 1);
    let (bolt11, hash) = bench.invoice(InvoiceSpec::default());
    let sent = tokio::time::Instant::now();
    assert_eq!(bench.pay(&bolt11).await.status(), PaymentStatus::Succeeded);
    assert!(sent.elapsed() >= time);
    assert_eq!(bench.lnd.node.ledger().times_paid(hash), 1);
}

#[tokio::test]
async fn what_a_killed_process_left_over_is_claimed() {
    let mut bench = Bench::with(|options| options.persist = true).await;
    bench.payee.next(Behaviour::Pay { fee_sat: 0, after: Duration::from_secs(3600) }, 1);
    let (bolt11, hash) = bench.invoice(InvoiceSpec::default());
    bench.send(&bolt11).await.unwrap();
    bench.lnd.node.wait_for_htlc(hash).await;
    bench.lnd.stop().await;
    let mut again = options(&bench.folder, &bench.clock);
    again.persist = true;
    let lnd = StandIn::start(again).await.unwrap();
    assert_eq!(lnd.node.ledger().times_paid(hash), 1);
}
