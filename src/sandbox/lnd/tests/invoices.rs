//! Hold invoices: `invoicesrpc.Invoices`.

use super::*;

#[tokio::test]
async fn settles_as_lnd_does() {
    let mut bench = Bench::new().await;
    let preimage = [7; 32];
    assert_eq!(unknown(bench.settle(&preimage).await), "unable to locate invoice");
    assert_eq!(unknown(bench.settle(&[7; 31]).await), "invalid preimage length of 31, want 32");
    let hash = bench.add_hold(preimage).await.unwrap();
    assert_eq!(unknown(bench.settle(&preimage).await), "invoice still open");
    assert!(bench.lnd.node.accept(hash));
    assert_eq!(bench.lookup(hash).await.unwrap(), InvoiceState::Accepted);
    bench.settle(&preimage).await.unwrap();
    bench.settle(&preimage).await.unwrap();
    assert_eq!(unknown(bench.cancel(&hash).await), "invoice already settled");
    assert_eq!(bench.lookup(hash).await.unwrap(), InvoiceState::Settled);
    let ledger = bench.lnd.node.ledger();
    assert_eq!(ledger.claimed_msat, 1_000_000);
    let refusals: Vec<_> = ledger.settles.iter().map(|call| call.refusal.as_deref()).collect();
    assert_eq!(refusals, [Some("unable to locate invoice"), Some("invoice still open"), None, None]);
}

#[tokio::test]
async fn cancels_as_lnd_does() {
    let mut bench = Bench::new().await;
    assert_eq!(unknown(bench.cancel(&[9; 32]).await), "unable to locate invoice");
    let hash = bench.add_hold([1; 32]).await.unwrap();
    bench.cancel(&hash).await.unwrap();
    bench.cancel(&hash).await.unwrap();
    assert_eq!(unknown(bench.settle(&[1; 32]).await), "invoice already canceled");
    assert_eq!(unknown(bench.add_hold([1; 32]).await), "invoice with payment hash already exists");
}

#[tokio::test]
async fn an_accepted_invoice_dies_near_its_htlc_expiry() {
    let mut bench = Bench::new().await;
    let hash = bench.add_hold([1; 32]).await.unwrap();
    assert!(bench.lnd.node.accept(hash));
    // 80 blocks and 3 of padding, less the 12 before the expiry.
    bench.lnd.node.mine(70);
    assert_eq!(bench.lookup(hash).await.unwrap(), InvoiceState::Accepted);
    bench.lnd.node.mine(1);
    assert_eq!(unknown(bench.settle(&[1; 32]).await), "invoice already canceled");
}

#[tokio::test]
async fn looks_up_differently_on_a_virgin_node() {
    let mut bench = Bench::new().await;
    assert_eq!(unknown(bench.lookup([9; 32]).await), "there are no existing invoices");
    bench.add_hold([1; 32]).await.unwrap();
    let missing = shown(bench.lookup([9; 32]).await.unwrap_err());
    assert_eq!(missing, (Code::NotFound, "unable to locate invoice".into()));
}

#[tokio::test]
async fn a_subscription_waits_for_its_invoice_and_ends_with_it() {
    let mut bench = Bench::new().await;
    let r_hash = Hash32::of(&[1; 32]).0.to_vec();
    let mut other = bench.client.clone();
    let follow = tokio::spawn(async move {
        let request = SubscribeSingleInvoiceRequest { r_hash };
        let mut stream = other.invoices().subscribe_single_invoice(request).await?.into_inner();
        let mut states = Vec::new();
        while let Some(invoice) = stream.message().await? {
            states.push(invoice.state());
        }
        Ok::<_, tonic::Status>(states)
    });
    let hash = bench.add_hold([1; 32]).await.unwrap();
    let request = SubscribeSingleInvoiceRequest { r_hash: hash.to_vec() };
    let mut own = bench.client.invoices().subscribe_single_invoice(request).await.unwrap().into_inner();
    assert_eq!(own.message().await.unwrap().unwrap().state(), InvoiceState::Open);
    bench.lnd.node.accept(hash);
    assert_eq!(own.message().await.unwrap().unwrap().state(), InvoiceState::Accepted);
    bench.settle(&[1; 32]).await.unwrap();
    assert_eq!(own.message().await.unwrap().unwrap().state(), InvoiceState::Settled);
    assert!(own.message().await.unwrap().is_none());
    assert_eq!(follow.await.unwrap().unwrap().last(), Some(&InvoiceState::Settled));
}

#[tokio::test]
async fn a_shutdown_ends_an_invoice_stream_without_error() {
    let mut bench = Bench::new().await;
    let hash = bench.add_hold([1; 32]).await.unwrap();
    let request = SubscribeSingleInvoiceRequest { r_hash: hash.to_vec() };
    let mut stream = bench.client.invoices().subscribe_single_invoice(request).await.unwrap().into_inner();
    stream.message().await.unwrap().unwrap();
    bench.lnd.shutdown().await;
    assert!(stream.message().await.unwrap().is_none());
}
