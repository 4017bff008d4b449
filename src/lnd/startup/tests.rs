use std::path::Path;

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;

use super::*;
use crate::lnd::bench::Bench;
use crate::lnd::macaroon::Macaroon;

const ENOUGH: [&str; 6] = [
    "uri:/lnrpc.Lightning/GetInfo",
    "uri:/invoicesrpc.Invoices/SettleInvoice",
    "uri:/invoicesrpc.Invoices/CancelInvoice",
    "uri:/invoicesrpc.Invoices/LookupInvoiceV2",
    "uri:/routerrpc.Router/SendPaymentV2",
    "uri:/routerrpc.Router/TrackPaymentV2",
];

/// Where nothing listens, once it is dropped.
async fn listener() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("https://{}", listener.local_addr().unwrap());
    (listener, address)
}

fn node_at(address: &str, certificate: &Path, bench: &Bench) -> Node {
    Node::new(address, certificate.to_owned(), bench.lnd.macaroon_path()).unwrap()
}

/// The error, which fits in one line and gives nothing away.
async fn problem(node: &Node) -> (Unusable, String) {
    let problem = check(node, Some("simnet")).await.unwrap_err();
    let line = problem.to_string();
    assert!(!line.contains('\n') && line.len() < 300, "{line}");
    (problem, line)
}

#[tokio::test]
async fn the_least_macaroon_suffices_and_nothing_is_changed() {
    let bench = Bench::new().await;
    let info = check(&bench.granted(&ENOUGH), Some("simnet")).await.unwrap();
    assert_eq!(info.identity, bench.lnd.node.identity());
    assert_eq!(check(&bench.node, None).await, Ok(info));
    let ledger = bench.lnd.node.ledger();
    assert!(ledger.attempts.is_empty() && ledger.settles.iter().all(|call| call.refusal.is_some()));
}

#[tokio::test]
async fn each_missing_permission_is_named() {
    let bench = Bench::new().await;
    for missing in ENOUGH {
        let rest: Vec<_> = ENOUGH.into_iter().filter(|uri| *uri != missing).collect();
        let (problem, line) = problem(&bench.granted(&rest)).await;
        let uri = missing.trim_start_matches("uri:");
        assert_eq!(problem, Unusable::MacaroonTooSmall(BTreeSet::from([uri])));
        assert!(line.contains(missing), "{line}");
    }
    let (problem, _) = problem(&bench.granted(&["onchain:read"])).await;
    let Unusable::MacaroonTooSmall(missing) = problem else { panic!("{problem:?}") };
    assert_eq!(missing.len(), ENOUGH.len());
}

#[tokio::test]
async fn a_macaroon_of_another_node_or_time_is_told() {
    let bench = Bench::new().await;
    let admin = Macaroon::from_bytes(&std::fs::read(bench.lnd.macaroon_path()).unwrap()).unwrap();
    let foreign = Macaroon::mint(b"another root key", admin.identifier(), "lnd");
    let outdated = admin.with_caveat("time-before 2020-01-01T00:00:00Z");
    let (refused, _) = problem(&bench.with_macaroon(&foreign)).await;
    assert_eq!(refused, Unusable::Macaroon(Outage::MacaroonRefused));
    let (expired, _) = problem(&bench.with_macaroon(&outdated)).await;
    assert_eq!(expired, Unusable::Macaroon(Outage::MacaroonExpired));
    let file = bench.file("no.macaroon", b"hello");
    let node = Node::new(&bench.lnd.address(), bench.lnd.cert_path(), file.clone()).unwrap();
    assert_eq!(problem(&node).await.0, Unusable::NotConnected(NotConnected::NoMacaroon(file)));
}

#[tokio::test]
async fn another_network_and_a_node_that_syncs_are_told() {
    let bench = Bench::new().await;
    let other = Unusable::OtherNetwork { expected: "mainnet".to_owned(), actual: "simnet".to_owned() };
    assert_eq!(check(&bench.node, Some("mainnet")).await, Err(other));
    bench.lnd.node.set_synced(false);
    let (problem, line) = problem(&bench.node).await;
    assert!(matches!(problem, Unusable::Syncing(info) if info.block_height == 500), "{line}");
}

#[tokio::test]
async fn another_certificate_is_told() {
    let bench = Bench::new().await;
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let other = bench.file("other.cert", made.cert.pem().as_bytes());
    let (problem, _) = problem(&node_at(&bench.lnd.address(), &other, &bench)).await;
    assert!(matches!(problem, Unusable::NotConnected(NotConnected::OtherCertificate(_))), "{problem:?}");
}

#[tokio::test]
async fn files_that_are_not_there_are_told() {
    let bench = Bench::new().await;
    let absent = bench.folder.path().join("absent");
    let (no_file, line) = problem(&node_at(&bench.lnd.address(), &absent, &bench)).await;
    assert!(matches!(no_file, Unusable::NotConnected(NotConnected::File { .. })), "{line}");
    let empty = bench.file("empty.cert", b"");
    let (no_certificate, _) = problem(&node_at(&bench.lnd.address(), &empty, &bench)).await;
    assert_eq!(no_certificate, Unusable::NotConnected(NotConnected::NoCertificate(empty)));
}

#[tokio::test]
async fn a_refused_connection_is_told() {
    let bench = Bench::new().await;
    let (listener, address) = listener().await;
    drop(listener);
    let (problem, line) = problem(&node_at(&address, &bench.lnd.cert_path(), &bench)).await;
    assert!(matches!(problem, Unusable::NotConnected(NotConnected::Refused(_))), "{line}");
}

#[tokio::test]
async fn a_server_that_never_answers_is_told() {
    let bench = Bench::new().await;
    let (_listener, address) = listener().await;
    let (problem, line) = problem(&node_at(&address, &bench.lnd.cert_path(), &bench)).await;
    assert!(matches!(problem, Unusable::NotConnected(NotConnected::Mute(_))), "{line}");
}

#[tokio::test]
async fn a_server_without_tls_is_told() {
    let bench = Bench::new().await;
    let (listener, address) = listener().await;
    tokio::spawn(async move {
        while let Ok((mut tcp, _)) = listener.accept().await {
            tcp.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        }
    });
    let (problem, line) = problem(&node_at(&address, &bench.lnd.cert_path(), &bench)).await;
    assert!(matches!(problem, Unusable::NotConnected(NotConnected::NotTls { .. })), "{line}");
}

#[tokio::test]
async fn a_state_that_is_not_yet_active_is_told_to_whomever_asks() {
    let bench = Bench::new().await;
    // The State service needs no macaroon: one without any right does.
    let node = bench.granted(&["onchain:read"]);
    for (state, name) in [(WalletState::Locked, "LOCKED"), (WalletState::RpcActive, "RPC_ACTIVE")] {
        bench.lnd.node.set_wallet(state);
        let (problem, line) = problem(&node).await;
        assert_eq!(problem, Unusable::NotReady(name));
        assert!(line.ends_with(name), "{line}");
    }
}
