//! What can be wrong between the daemon and lnd: each has an error of its own, lnd is tried at most once a second, and
//! the same adapter works again once it is mended.

use std::path::Path;
use std::time::Duration;

use bondflow::lnd::errors::{Meaning, Outage};
use bondflow::lnd::startup::{self, Unusable};
use bondflow::lnd::{Node, NotConnected};
use bondflow::payout::policy::verdict::Observation;
use bondflow::payout::ports::Lightning as _;
use tempfile::TempDir;
use tokio::time::Instant;
use tonic_lnd::tonic::Code;

use super::bed::{Access, Bed, secret};
use super::calls::{Lnd, PAUSE, answers, within};
use super::door::Door;
use super::macaroons::documented;
use super::port::adapter;

/// The adapter, with files that the row can replace.
struct Client {
    node: Node,
    files: TempDir,
}

impl Client {
    fn at(address: &str, access: &Access) -> Self {
        let files = TempDir::new().unwrap();
        let (certificate, macaroon) = (files.path().join("tls.cert"), files.path().join("macaroon"));
        std::fs::copy(&access.certificate, &certificate).unwrap();
        std::fs::copy(&access.macaroon, &macaroon).unwrap();
        Self { node: Node::new(address, certificate, macaroon).unwrap(), files }
    }

    fn replace(&self, file: &str, bytes: impl AsRef<[u8]>) {
        std::fs::write(self.files.path().join(file), bytes).unwrap();
    }

    async fn trouble(&self) -> Unusable {
        startup::check(&self.node, Some("simnet")).await.unwrap_err()
    }

    /// The trouble in one line that holds no secret.
    async fn is_told(&self, expected: &Unusable, line: &str) {
        let trouble = self.trouble().await;
        assert_eq!(trouble, *expected);
        let told = trouble.to_string();
        assert!(told.contains(line) && !told.contains('\n'), "{told}");
    }

    /// Works again, by itself.
    async fn recovers(&self) {
        within("a node that can be used", async {
            while startup::check(&self.node, Some("simnet")).await.is_err() {
                tokio::time::sleep(PAUSE).await;
            }
        })
        .await;
    }

    /// Many ask at once, again and again: lnd is tried once a second.
    async fn is_tried_once_a_second(&self, door: &Door) {
        const TIME: Duration = Duration::from_millis(2_500);
        let (since, before) = (Instant::now(), door.came());
        let ask = || async {
            while since.elapsed() < TIME {
                assert_ne!(self.node.track(secret()).await, Observation::NotFound, "lnd can't be reached");
                tokio::task::yield_now().await;
            }
        };
        futures_util::future::join_all([(); 10].map(|()| ask())).await;
        let (tries, seconds) = (door.came() - before, since.elapsed().as_secs() as usize);
        assert!(tries <= seconds + 1, "{tries} attempts in {seconds} s");
    }
}

fn another_certificate() -> String {
    rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap().cert.pem()
}

fn file(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap()
}

pub async fn an_address_that_refuses_is_told(bed: &dyn Bed) {
    let mut door = Door::before(&bed.node().address).await;
    let client = Client::at(&door.address(), &bed.node());
    let trouble = client.trouble().await;
    assert!(matches!(trouble, Unusable::NotConnected(NotConnected::Refused(_))), "{trouble}");
    door.open().await;
    client.recovers().await;
}

pub async fn an_address_that_never_answers_is_told(bed: &dyn Bed) {
    let mut door = Door::before(&bed.node().address).await;
    let client = Client::at(&door.address(), &bed.node());
    door.nobody_answers().await;
    let trouble = client.trouble().await;
    assert!(matches!(trouble, Unusable::NotConnected(NotConnected::Mute(_))), "{trouble}");
    client.is_tried_once_a_second(&door).await;
    door.open().await;
    client.recovers().await;
}

pub async fn another_certificate_is_told(bed: &dyn Bed) {
    let mut door = Door::before(&bed.node().address).await;
    let client = Client::at(&door.address(), &bed.node());
    door.open().await;
    client.replace("tls.cert", another_certificate());
    let trouble = client.trouble().await;
    assert!(matches!(trouble, Unusable::NotConnected(NotConnected::OtherCertificate(_))), "{trouble}");
    client.is_tried_once_a_second(&door).await;
    client.replace("tls.cert", file(&bed.node().certificate));
    client.recovers().await;
}

/// lnd makes a new one at its start when the old one has run out; whoever holds the old one reads the file again.
pub async fn a_renewed_certificate_is_read_again(bed: &dyn Bed) {
    let (node, before) = (adapter(&bed.node()), file(&bed.node().certificate));
    node.info().await.unwrap();
    bed.renew_certificate().await;
    assert_ne!(file(&bed.node().certificate), before);
    within("an lnd that is back", async {
        while node.info().await.is_err() {
            tokio::time::sleep(PAUSE).await;
        }
    })
    .await;
}

pub async fn a_revoked_macaroon_is_told(bed: &dyn Bed) {
    let macaroon = bed.bake_revocable(&documented()).await;
    let client = Client::at(&bed.node().address, &bed.node());
    client.replace("macaroon", macaroon.to_bytes());
    client.recovers().await;
    bed.revoke().await;
    let refused = Outage::MacaroonRefused;
    let lnd = Lnd::under(&bed.node(), &macaroon).await;
    let text = "cannot retrieve macaroon: cannot get macaroon: root key with id 7 doesn't exist";
    answers("Lightning.GetInfo", lnd.info().await, Code::Unknown, text, &Meaning::Unavailable(refused.clone()));
    client.is_told(&Unusable::Macaroon(refused), "does not accept the macaroon").await;
    client.replace("macaroon", file(&bed.node().macaroon));
    client.recovers().await;
}

pub async fn a_macaroon_that_is_too_small_is_told(bed: &dyn Bed) {
    let client = Client::at(&bed.node().address, &bed.node());
    let all = documented();
    for missing in &all {
        let rest: Vec<&str> = all.iter().copied().filter(|call| call != missing).collect();
        client.replace("macaroon", bed.bake(&rest).await.to_bytes());
        let expected = Unusable::MacaroonTooSmall([*missing].into());
        client.is_told(&expected, &format!("does not permit uri:{missing}: bake one")).await;
    }
    client.replace("macaroon", bed.bake(&all).await.to_bytes());
    client.recovers().await;
}

pub async fn another_network_is_told(bed: &dyn Bed) {
    let node = adapter(&bed.node());
    let other = Unusable::OtherNetwork { expected: "mainnet".to_owned(), actual: "simnet".to_owned() };
    assert_eq!(startup::check(&node, Some("mainnet")).await, Err(other.clone()));
    assert_eq!(other.to_string(), "lnd is on simnet, not on mainnet");
    startup::check(&node, Some("simnet")).await.unwrap();
}

/// Since its start; one that has served and lost its chain says so in `GetInfo`.
pub async fn a_node_that_syncs_is_told(bed: &dyn Bed) {
    let access = bed.syncing().await;
    assert!(!Lnd::at(&access).await.info().await.unwrap().synced_to_chain);
    let client = Client::at(&access.address, &access);
    client.is_told(&Unusable::NotReady("RPC_ACTIVE"), "lnd is not ready").await;
    bed.sync().await;
    client.recovers().await;
}

/// Its connection stands, and calls end at their deadline; what they came to is in doubt.
pub async fn a_node_that_hangs_is_in_doubt(bed: &dyn Bed) {
    let access = bed.node();
    let deadline = Duration::from_secs(2);
    let node = Node::with_deadline(&access.address, access.certificate, access.macaroon, deadline).unwrap();
    assert_eq!(node.track(secret()).await, Observation::NotFound);
    bed.hang().await;
    assert_eq!(node.track(secret()).await, Observation::Silent);
    assert!(node.info().await.unwrap_err().to_string().contains("no answer within 2000 ms"));
    bed.wake().await;
    within("an lnd that is awake", async {
        while node.track(secret()).await != Observation::NotFound {
            tokio::time::sleep(PAUSE).await;
        }
    })
    .await;
}
