//! TLS, macaroons, the wallet's state and what is not served.

use super::*;

#[tokio::test]
async fn a_send_dies_with_its_macaroon() {
    let bench = Bench::new().await;
    let caveat = "time-before 2026-01-31T12:00:30Z";
    let mut client = bench.client_with(&bench.admin().with_caveat(caveat)).await;
    let (bolt11, hash) = bench.invoice(InvoiceSpec::default());
    bench.clock.store(NOON + 30, Ordering::SeqCst);
    let late = unknown(client.router().send_payment_v2(request(&bolt11)).await);
    assert_eq!(late, format!("caveat \"{caveat}\" not satisfied: macaroon has expired"));
    assert!(bench.lnd.node.ledger().sends.is_empty());
    bench.clock.store(NOON + 29, Ordering::SeqCst);
    client.router().send_payment_v2(request(&bolt11)).await.unwrap();
    bench.lnd.node.wait_for_send(hash).await;
    assert_eq!(bench.lnd.node.ledger().sends_of(hash)[0].caveats, [caveat]);
}

#[tokio::test]
async fn a_macaroon_grants_what_it_names_and_no_more() {
    let bench = Bench::new().await;
    let narrow = bench.lnd.bake(&["uri:/lnrpc.Lightning/GetInfo", "offchain:read"]);
    let mut client = bench.client_with(&narrow).await;
    client.lightning().get_info(GetInfoRequest {}).await.unwrap();
    client.lightning().list_payments(ListPaymentsRequest::default()).await.unwrap();
    let denied = unknown(client.invoices().settle_invoice(SettleInvoiceMsg::default()).await);
    assert_eq!(denied, "permission denied");
    let forged = Macaroon::mint(b"guessed", bench.admin().identifier(), "lnd");
    let mut client = bench.client_with(&forged).await;
    let text = unknown(client.lightning().get_info(GetInfoRequest {}).await);
    assert_eq!(text, "verification failed: signature mismatch after caveat verification");
    let mut client = bench.client_with(&bench.admin().with_caveat("moon full")).await;
    let text = unknown(client.lightning().get_info(GetInfoRequest {}).await);
    assert_eq!(text, "caveat \"moon full\" not satisfied: caveat not recognized");
}

#[tokio::test]
async fn says_when_the_wallet_is_not_ready() {
    let mut bench = Bench::new().await;
    let rows = [
        (WalletState::Locked, "wallet locked, unlock it to enable full RPC access"),
        (WalletState::Unlocked, "the RPC server is in the process of starting up, but not yet ready to accept calls"),
    ];
    for (wallet, text) in rows {
        bench.lnd.node.set_wallet(wallet);
        assert_eq!(unknown(bench.client.lightning().get_info(GetInfoRequest {}).await), text);
    }
    bench.lnd.node.set_wallet(WalletState::ServerActive);
    bench.lnd.node.set_synced(false);
    let info = bench.client.lightning().get_info(GetInfoRequest {}).await.unwrap().into_inner();
    assert!(!info.synced_to_chain);
    assert_eq!((info.block_height, info.identity_pubkey), (500, bench.lnd.node.identity()));
    assert_eq!(info.chains[0].network, "simnet");
}

#[tokio::test]
async fn what_lnd_does_not_serve_is_unimplemented() {
    let mut bench = Bench::new().await;
    let request = NewAddressRequest { r#type: AddressType::WitnessPubkeyHash.into(), ..Default::default() };
    let method = shown(bench.client.lightning().new_address(request).await.unwrap_err());
    assert_eq!(method, (Code::Unimplemented, "unknown method NewAddress for service lnrpc.Lightning".into()));
    let service = shown(bench.client.state().get_state(GetStateRequest {}).await.unwrap_err());
    assert_eq!(service, (Code::Unimplemented, "unknown service staterpc.State".into()));
}

/// The client's own type names `staterpc.State`; a real lnd serves `lnrpc.State`, without a macaroon.
#[tokio::test]
async fn tells_its_state_to_anyone() {
    let bench = Bench::new().await;
    bench.lnd.node.set_wallet(WalletState::Locked);
    let cert = std::fs::read(bench.lnd.cert_path()).unwrap();
    let trust = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(cert)).domain_name("localhost");
    let endpoint = Endpoint::from_shared(bench.lnd.address()).unwrap().tls_config(trust).unwrap();
    let mut grpc = tonic::client::Grpc::new(endpoint.connect().await.unwrap());
    grpc.ready().await.unwrap();
    let path = PathAndQuery::from_static("/lnrpc.State/GetState");
    let codec = ProstCodec::<GetStateRequest, GetStateResponse>::default();
    let now = grpc.unary(tonic::Request::new(GetStateRequest {}), path, codec).await.unwrap();
    assert_eq!(now.into_inner().state(), WalletState::Locked);
    grpc.ready().await.unwrap();
    let path = PathAndQuery::from_static("/lnrpc.State/SubscribeState");
    let codec = ProstCodec::<SubscribeStateRequest, SubscribeStateResponse>::default();
    let request = tonic::Request::new(SubscribeStateRequest {});
    let mut states = grpc.server_streaming(request, path, codec).await.unwrap().into_inner();
    assert_eq!(states.message().await.unwrap().unwrap().state(), WalletState::Locked);
    bench.lnd.node.set_wallet(WalletState::ServerActive);
    assert_eq!(states.message().await.unwrap().unwrap().state(), WalletState::ServerActive);
}

#[tokio::test]
async fn a_renewed_certificate_is_refused_by_those_who_pinned_the_old_one() {
    let mut bench = Bench::new().await;
    bench.lnd.stop().await;
    bench.lnd.expire_certificate().unwrap();
    bench.lnd.restart().await.unwrap();
    bench.client.lightning().get_info(GetInfoRequest {}).await.unwrap_err();
    let mut fresh = connect(&bench.lnd, bench.lnd.macaroon_path()).await;
    fresh.lightning().get_info(GetInfoRequest {}).await.unwrap();
}
