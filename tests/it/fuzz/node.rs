//! A node without a daemon: the intake over a database in memory, with a trade in dispute and a
//! payout that waits for an invoice. lnd and the relays are not there, and are never asked.

use std::sync::Arc;

use async_trait::async_trait;
use bondflow::engine::store::Commit;
use bondflow::engine::{Alarms, Clock, Engine, Options, Parts, Store, Timestamp, VirtualClock};
use bondflow::nostr::seal::NostrSealer;
use bondflow::nostr::wire::Profile;
use bondflow::payout::bond_payout::{BondPayout, BondView};
use bondflow::payout::books::insert;
use bondflow::payout::messages::{Incoming, OrderSummary};
use bondflow::payout::policy::{Amountless, FeePolicy, GateRules, Network, Observation, Split};
use bondflow::payout::ports::{Hash, HoldAnswer, HoldState, Lightning, NodeInfo, Send, Unavailable};
use bondflow::payout::tables::{BONDS, DISPUTES, ORDERS, TABLES, USERS};
use bondflow::payout::{Attendance, Intake, Terms, Workflows, World};
use bondflow::store::memory::{Dump, MemoryStore};
use futures_util::future::BoxFuture;
use nostr_sdk::Keys;
use serde_json::json;
use tokio::sync::watch;

use super::NOW;

pub const ORDER: &str = "11111111-1111-4111-8111-111111111111";
/// A second order, whose buyer's bond is slashed already and whose seller is asked.
pub const RULED: &str = "33333333-3333-4333-8333-333333333333";

struct Nobody;

#[async_trait]
impl Lightning for Nobody {
    async fn settle(&self, _: [u8; 32]) -> HoldAnswer {
        panic!("the intake never asks lnd")
    }
    async fn cancel(&self, _: Hash) -> HoldAnswer {
        panic!("the intake never asks lnd")
    }
    async fn hold_state(&self, _: Hash) -> Result<HoldState, Unavailable> {
        panic!("the intake never asks lnd")
    }
    async fn send(&self, _: &Send) -> Observation {
        panic!("the intake never sends")
    }
    async fn track(&self, _: Hash) -> Observation {
        panic!("the intake never asks lnd")
    }
    fn watch(&self, _: Hash, _: bool) -> BoxFuture<'static, ()> {
        panic!("the intake never asks lnd")
    }
    async fn info(&self) -> Result<NodeInfo, Unavailable> {
        panic!("the intake never asks lnd")
    }
}

#[async_trait]
impl Attendance for Nobody {
    async fn catch_up(&self) -> Result<Timestamp, Unavailable> {
        panic!("the intake never reads the relays")
    }
}

/// Who is who.
pub struct People {
    pub node: Keys,
    pub solver: Keys,
    pub seller: Keys,
    pub buyer: Keys,
    pub stranger: Keys,
}

impl People {
    /// The same ones each time.
    pub fn known() -> Self {
        let keys = |byte: u8| Keys::parse(&hex::encode([byte; 32])).unwrap();
        Self { node: keys(1), solver: keys(2), seller: keys(3), buyer: keys(4), stranger: keys(5) }
    }
}

pub fn terms(people: &People) -> Terms {
    Terms {
        node_share: "0.5".parse().unwrap(),
        fees: FeePolicy { max_routing_fee: "0.002".parse().unwrap(), min_routing_fee_sats: 10 },
        request_interval_secs: 300,
        max_retries: 5,
        window_days: 15,
        invoice_expiration_window: 3_600,
        max_final_cltv_expiry_delta: 144,
        payment_timeout_secs: 60,
        cltv_limit: 1_008,
        max_inflight: 100,
        max_inflight_per_destination: None,
        look_again_secs: 60,
        network: Network::Simnet,
        own_nodes: vec![[2; 33]],
        node_key: people.node.public_key().to_hex(),
    }
}

/// What an invoice over the share is held against.
pub fn rules(people: &People) -> GateRules {
    terms(people).gate(500, Amountless::Refuse)
}

/// The node's intake and its database.
pub struct Node {
    store: Arc<MemoryStore>,
    intake: Intake,
}

impl Node {
    pub async fn new(people: &People) -> Self {
        let store = Arc::new(MemoryStore::new(TABLES));
        let clock: Arc<dyn Clock> = Arc::new(VirtualClock::starting_at(Timestamp::from_secs(NOW)));
        let world = World {
            store: Arc::clone(&store) as Arc<dyn Store>,
            lightning: Arc::new(Nobody),
            attendance: Arc::new(Nobody),
            terms: watch::Sender::new(Arc::new(terms(people))).subscribe(),
        };
        let workflows = Workflows::bind(&world).unwrap();
        let profile = watch::Sender::new(Profile { network: "simnet".into(), ..Profile::default() });
        let engine = Engine::new(Parts {
            store: Arc::clone(&store) as Arc<dyn Store>,
            clock,
            registry: workflows.registry(),
            sealer: Arc::new(NostrSealer::new(people.node.clone(), profile.subscribe())),
            alarms: Alarms::default(),
            owner: "fuzz".to_owned(),
            options: Options::default(),
        });
        let node = Self { intake: Intake::new(world, engine, workflows.clone()), store };
        node.fill(people, &workflows).await;
        node
    }

    async fn fill(&self, people: &People, workflows: &Workflows) {
        let key = |keys: &Keys| keys.public_key().to_hex();
        let secret = "22".repeat(32);
        let hash = hex::encode(<sha2::Sha256 as sha2::Digest>::digest([0x22; 32]));
        let order = |status: &str| {
            json!({
                "kind": "sell", "status": status, "hash": hash, "preimage": secret, "amount": 100_000, "fee": 0,
                "seller_pubkey": key(&people.seller), "buyer_pubkey": key(&people.buyer), "fiat_code": "USD",
                "fiat_amount": 100, "payment_method": "bank", "premium": 0, "seller_dispute": 1, "buyer_dispute": 0,
                "created_at": NOW, "expires_at": NOW,
            })
        };
        let bond = |order: &str, role: &str, state: &str, recipient: Option<String>| {
            json!({
                "order_id": order, "pubkey": key(if role == "maker" { &people.seller } else { &people.buyer }),
                "role": role, "amount_sats": 1_000, "state": state, "hash": hash, "preimage": secret,
                "payout_recipient": recipient,
            })
        };
        let waits = "55555555-5555-4555-8555-555555555555";
        let rows = vec![
            insert(ORDERS, ORDER, order("dispute")),
            insert(ORDERS, RULED, order("canceled-by-admin")),
            insert(
                DISPUTES,
                "22222222-2222-4222-8222-222222222222",
                json!({ "order_id": ORDER, "status": "in-progress", "solver_pubkey": key(&people.solver), "created_at": NOW }),
            ),
            insert(USERS, &key(&people.solver), json!({ "is_solver": 1, "category": 2 })),
            insert(BONDS, "44444444-4444-4444-8444-444444444441", bond(ORDER, "maker", "locked", None)),
            insert(BONDS, "44444444-4444-4444-8444-444444444442", bond(ORDER, "taker", "locked", None)),
            insert(BONDS, waits, bond(RULED, "taker", "pending-payout", Some(key(&people.seller)))),
        ];
        let summary = OrderSummary {
            id: RULED.to_owned(),
            kind: "sell".to_owned(),
            status: None,
            amount_sats: 0,
            fiat_code: "USD".to_owned(),
            fiat_amount: 100,
            payment_method: "bank".to_owned(),
            premium: 0,
        };
        let split = Split::frozen(1_000, Some(500)).unwrap();
        let mut state = BondPayout::decided(summary, key(&people.buyer), Some(key(&people.seller)), split);
        (state.bond, state.slashed_at) = (BondView::PendingPayout, Some(NOW));
        let at = Timestamp::from_secs(NOW);
        let mut start = workflows.bond_payout.start(waits, &state, at).unwrap();
        start.step = "await_invoice".to_owned();
        let commit = Commit { at, rows, starts: vec![start], ..Commit::default() };
        self.store.commit(commit).await.unwrap();
    }

    /// Takes a message in: it is seen then, it led to one refusal or to something else, and it
    /// leads to nothing a second time.
    pub async fn receive(&self, incoming: &Incoming) {
        let now = Timestamp::from_secs(NOW);
        let before = self.store.snapshot();
        self.intake.receive(incoming, now).await.unwrap();
        assert!(self.store.seen(&incoming.event).await.unwrap(), "not seen: {incoming:?}");
        let after = self.store.snapshot();
        self.intake.receive(incoming, now).await.unwrap();
        assert!(self.store.snapshot() == after, "a second effect: {incoming:?}");
        refusal_changes_nothing(&before.dump(), &after.dump(), incoming);
    }
}

/// Whoever is refused gets one `cant-do`, and every row is as it was.
fn refusal_changes_nothing(before: &Dump, after: &Dump, incoming: &Incoming) {
    let refusals_in = |dump: &Dump| dump["outbox"].iter().filter(|row| row["topic"] == "cant-do").count();
    let refusals = refusals_in(after) - refusals_in(before);
    if refusals == 0 {
        return;
    }
    assert_eq!((refusals, after["outbox"].len() - before["outbox"].len()), (1, 1), "{incoming:?}");
    for (table, rows) in before.iter().filter(|(table, _)| !["outbox", "inbox"].contains(&table.as_str())) {
        assert!(after[table] == *rows, "a refusal changed `{table}`: {incoming:?}");
    }
}
