//! Client, relay, wire and connection together, a few lines of a node in between.

use std::collections::HashMap;

use super::*;
use crate::engine::{Timestamp, VirtualClock};
use crate::nostr::relays::{Inbound, Mail, Patience, Relays};
use crate::nostr::wire::{self, Profile, Rules};
use crate::payout::messages::{Incoming, Outgoing, Request, Ruling, Said, Slash};
use crate::sandbox::relay::{Limits, SandboxRelay};

const LONG: Duration = Duration::from_secs(30);
const ORDER: Uuid = Uuid::from_u128(7);

fn known(_: &str) -> bool {
    true
}

const RULES: Rules<'static> = Rules { pow: 0, pow_first_contact: None, known: &known, not_before: None };

struct Node {
    keys: Keys,
    clock: VirtualClock,
    relays: Relays,
    inbound: tokio::sync::mpsc::Receiver<Inbound>,
}

impl Node {
    fn start(url: &str) -> Self {
        let (keys, clock) = (Keys::generate(), VirtualClock::starting_at(Timestamp::from_secs(4_000_000_000)));
        let patience = Patience {
            first_retry: Duration::from_millis(10),
            longest_retry: Duration::from_millis(50),
            ..Patience::default()
        };
        let (relays, inbound) = Relays::connect(
            &[url.to_owned()],
            &keys,
            Mail::To(keys.public_key()),
            Arc::new(clock.clone()),
            &HashMap::new(),
            Timestamp(0),
            patience,
        )
        .unwrap();
        Self { keys, clock, relays, inbound }
    }

    async fn hear(&mut self) -> Incoming {
        loop {
            let inbound = tokio::time::timeout(LONG, self.inbound.recv()).await.unwrap().unwrap();
            if let Inbound::Event { event, .. } = inbound {
                return wire::decode(&event, &self.keys, &RULES).unwrap();
            }
        }
    }

    async fn say(&self, to: &str, request_id: Option<u64>, said: Said) {
        let outgoing = Outgoing::Direct { to: to.to_owned(), about: Some(ORDER.to_string()), request_id, said };
        let event = wire::encode(&outgoing, &self.keys, &Profile::default(), self.clock.now(), None).unwrap();
        let outcome = self.relays.publish(&event.as_json()).await;
        assert!(outcome.acknowledged(), "{outcome:?}");
    }

    async fn client(&self, url: &str) -> Client {
        let (identity, trade) = (Keys::generate(), Keys::generate());
        let clock = Arc::new(self.clock.clone());
        Client::connect(&[url.to_owned()], identity, trade, self.keys.public_key(), clock).await.unwrap()
    }
}

#[tokio::test]
async fn a_ruling_is_heard_and_its_answer_comes_back_with_its_number() {
    let relay = SandboxRelay::start(0, Limits::default()).await.unwrap();
    let mut node = Node::start(&relay.url());
    let solver = node.client(&relay.url()).await;
    let ruling = solver.ruling(ORDER, Action::AdminCancel, false, true);
    let (answer, heard) = tokio::join!(solver.request(&ruling, LONG), async {
        let heard = node.hear().await;
        node.say(&heard.sender, None, Said::PurchaseCompleted).await;
        node.say(&heard.sender, heard.request_id, Said::AdminCanceled).await;
        heard
    });
    assert_eq!((heard.identity, heard.sender), (solver.identity.public_key().to_hex(), solver.key().to_hex()));
    let slash = Some(Slash { seller: false, buyer: true });
    assert_eq!(heard.request, Request::Rule { ruling: Ruling::Cancel, slash });
    assert_eq!(heard.about, Some(ORDER.to_string()));
    let answer = answer.unwrap();
    assert_eq!((answer.action(), answer.created_at), (Action::AdminCanceled, 4_000_000_000));
    assert_eq!(solver.heard().len(), 2);
}

#[tokio::test]
async fn what_both_sides_say_during_an_absence_of_the_relay_arrives_once_afterwards() {
    let relay = SandboxRelay::start(0, Limits::default()).await.unwrap();
    let mut node = Node::start(&relay.url());
    let winner = node.client(&relay.url()).await;
    let invoice = winner.wrap(&winner.bond_invoice(ORDER, "lnbc1")).unwrap();
    relay.shut().await;
    assert!(winner.publish(&invoice).await.is_err());
    relay.open().await.unwrap();
    while winner.publish(&invoice).await.is_err() {
        tokio::task::yield_now().await;
    }
    let heard = node.hear().await;
    assert_eq!((heard.event, heard.request), (invoice.id.to_hex(), Request::BondInvoice(Some("lnbc1".into()))));
    node.say(&heard.sender, heard.request_id, Said::InvoiceUpdated).await;
    let answer = winner.wait_for(LONG, |heard| heard.action() == Action::InvoiceUpdated).await.unwrap();
    assert_eq!(answer.request_id(), heard.request_id);
    assert_eq!(winner.count(&Action::InvoiceUpdated), 1);
}

#[tokio::test]
async fn a_client_that_hears_nothing_says_what_it_heard() {
    let relay = SandboxRelay::start(0, Limits::default()).await.unwrap();
    let node = Node::start(&relay.url());
    let client = node.client(&relay.url()).await;
    let silence = client.wait_for(Duration::from_millis(20), |_| true).await;
    assert!(matches!(silence, Err(ClientError::Silence(heard)) if heard.is_empty()));
}

#[tokio::test]
async fn clients_on_one_line_hear_each_only_what_is_said_to_it() {
    let relay = SandboxRelay::start(0, Limits::default()).await.unwrap();
    let mut node = Node::start(&relay.url());
    let clock = Arc::new(node.clock.clone());
    let line = Line::shared(&[relay.url()], node.keys.public_key(), clock).await.unwrap();
    let client = || Client::on(&line, Keys::generate(), Keys::generate());
    let clients = [client(), client()];
    for client in &clients {
        client.send(&client.trade_invoice(ORDER, "lnbc1")).await.unwrap();
        let heard = node.hear().await;
        node.say(&heard.sender, heard.request_id, Said::InvoiceUpdated).await;
        client.wait_for(LONG, |heard| heard.action() == Action::InvoiceUpdated).await.unwrap();
    }
    assert_eq!(clients.map(|client| client.heard().len()), [1, 1]);
}
