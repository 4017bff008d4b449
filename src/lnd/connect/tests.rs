use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::net::TcpListener;
use tower_service::Service as _;

use super::*;

fn target(address: &str) -> Result<Target, BadAddress> {
    Target::new(address, PathBuf::from("tls.cert"))
}

#[test]
fn an_address_is_https_with_a_port_and_nothing_else() {
    assert_eq!(target("https://127.0.0.1:10009").unwrap().authority(), "127.0.0.1:10009");
    assert_eq!(target("https://[::1]:10009").unwrap().authority(), "[::1]:10009");
    assert_eq!(target("https://lnd.example/").map(|target| target.authority()), Err(BadAddress));
    assert_eq!(target("https://lnd.example:443/").unwrap().authority(), "lnd.example:443");
    for bad in [
        "",
        "127.0.0.1:10009",
        "http://127.0.0.1:10009",
        "https://127.0.0.1",
        "https://user@127.0.0.1:10009",
        "https://127.0.0.1:10009/path",
        "https://127.0.0.1:10009?query",
        "unix:///lnd.sock",
    ] {
        assert_eq!(target(bad).map(|target| target.authority()), Err(BadAddress), "{bad}");
    }
}

#[tokio::test]
async fn however_many_ask_lnd_is_tried_once_a_second() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("https://{}", listener.local_addr().unwrap());
    let attempts = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&attempts);
    tokio::spawn(async move {
        while listener.accept().await.is_ok() {
            counter.fetch_add(1, Ordering::SeqCst);
        }
    });
    let folder = tempfile::TempDir::new().unwrap();
    let certificate = folder.path().join("tls.cert");
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    let mut connector = Connector::new(Target::new(&address, certificate).unwrap());
    let uri = Uri::from_static("http://unused");
    let start = Instant::now();
    let mut asked = 0;
    while start.elapsed() < Duration::from_millis(1_500) {
        assert!(connector.call(uri.clone()).await.is_err());
        asked += 1;
        tokio::task::yield_now().await;
    }
    let tried = attempts.load(Ordering::SeqCst);
    assert!(asked > 10 && (1..=2).contains(&tried), "{tried} attempts for {asked} calls");
}
