//! What a test asks of a world besides what [`super::world`] has: all that the node ever told a
//! key, the rows as they are, and common beginnings.

use std::time::Duration;

use bondflow::config::Settings;
use bondflow::engine::store::{Commit, Row, RowChange, RowWrite, RunFilter, Table};
use bondflow::engine::{Clock, RunId, Status, Timestamp};
use bondflow::lnd::Node;
use bondflow::payout::ports::{Lightning, Send};
use bondflow::payout::tables::{BONDS, DISPUTES, ORDERS};
use bondflow::sandbox::clients::Client;
use mostro_core::message::{Action, Message};
use nostr_sdk::nips::nip44;
use nostr_sdk::{Event, JsonUtil};
use serde_json::{Value, json};
use tonic_lnd::invoicesrpc::AddHoldInvoiceRequest;

use super::side::Side;
use super::world::{PATIENCE, Setup, World};

impl World {
    /// lnd in somebody else's hands, as `lncli` is in the operator's.
    pub fn by_hand(&self) -> Node {
        Node::new(&self.lnd.address(), self.lnd.cert_path(), self.lnd.macaroon_path()).unwrap()
    }

    /// Somebody else has lnd pay an invoice, or begin to.
    pub async fn pay_by_hand(&self, bolt11: &str, hash: [u8; 32]) {
        let valid_until = self.clock.now().after(Duration::from_secs(60));
        let send = Send {
            bolt11: bolt11.to_owned(),
            hash,
            amount_sats: None,
            fee_limit_sats: 1_000,
            cltv_limit: 1_008,
            timeout_secs: 60,
            valid_until,
        };
        self.by_hand().send(&send).await;
    }

    /// [`World::asked_for`] beside a stand-in.
    pub async fn asking(setup: Setup) -> Self {
        Self::asked_for(setup).await
    }

    /// How many payments lnd was asked to send; the probes of the macaroon name no invoice.
    pub fn sends(&self) -> usize {
        self.lnd.node.ledger().sends.iter().filter(|send| send.hash.is_some()).count()
    }

    /// An invoice of the node's own lnd, good in all else.
    pub async fn node_invoice(&self, sats: i64) -> String {
        self.unpaid_invoice(sats, [7; 32]).await
    }

    /// A hold invoice of the node's own lnd that nobody has paid.
    pub async fn unpaid_invoice(&self, sats: i64, hash: [u8; 32]) -> String {
        // A second installation is refused, and the first one serves.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let lnd = tonic_lnd::connect(self.lnd.address(), self.lnd.cert_path(), self.lnd.macaroon_path()).await;
        let request = AddHoldInvoiceRequest {
            hash: hash.to_vec(),
            value: sats,
            expiry: 86_400,
            ..AddHoldInvoiceRequest::default()
        };
        lnd.unwrap().invoices().add_hold_invoice(request).await.unwrap().into_inner().payment_request
    }
}

impl<L: Side> World<L> {
    /// A world in which the buyer of a sell order was slashed and the seller is asked for an
    /// invoice.
    pub async fn asked_for(setup: Setup) -> Self {
        let world = Self::at_work(setup).await;
        world.rule(Action::AdminCancel, false, true).await;
        world.is_resolved().await;
        world.run_is("bond_release", &world.maker_bond(), "released", Status::Completed).await;
        world.hears(&world.seller, Action::AddBondInvoice, 1).await;
        world.rests(&world.taker_bond()).await;
        world
    }

    /// Waits until a bond's payout waits for an invoice, with nothing left to be published.
    pub async fn rests(&self, bond: &str) {
        self.run_is("bond_payout", bond, "await_invoice", Status::Waiting).await;
        self.drained().await;
    }

    /// Waits until the ruling on the trade itself is carried out.
    pub async fn is_resolved(&self) {
        self.run_is("order_resolution", &self.trade.order.to_string(), "resolved", Status::Completed).await;
    }

    /// Puts another value into the bond settings and has the daemon take it over.
    pub async fn reload(&mut self, key: &str, value: u32) {
        self.setup.settings.retain(|(_, line)| !line.starts_with(key));
        self.setup.settings.push(("anti_abuse_bond", format!("{key} = {value}")));
        let settings = Settings::load(&self.settings_file(), std::iter::empty()).unwrap();
        self.daemon().reload(settings).await.unwrap();
    }

    /// Waits until everything that was decided to be said is acknowledged. A health event lives for minutes only: the
    /// relay takes none from a world that begins in the past.
    pub async fn drained(&self) {
        self.until(|| async {
            let left = self.store().outbox_due(Timestamp::from_secs(1 << 40), 1_000).await.unwrap();
            let told = left.iter().all(|entry| entry.message.topic == "health event");
            told.then_some(()).ok_or_else(|| "messages are left in the outbox".to_owned())
        })
        .await;
    }

    /// All that the node ever told a client, as it lies at the relay: the messages' kinds, by age.
    pub async fn told(&self, client: &Client) -> Vec<Value> {
        self.drained().await;
        let key = client.key();
        let to_client = |event: &Event| {
            event.pubkey == self.node.public_key() && event.tags.public_keys().any(|tagged| *tagged == key)
        };
        let mut events: Vec<Event> = self.relay.events().await.into_iter().filter(to_client).collect();
        events.sort_by_key(|event| event.created_at);
        let open = |event: &Event| {
            let plain = nip44::decrypt(self.node.secret_key(), &key, &event.content).unwrap();
            let tuple: Value = serde_json::from_str(&plain).unwrap();
            tuple[0].as_object().unwrap().values().next().unwrap().clone()
        };
        events.iter().map(open).collect()
    }

    /// How often the node told a client that.
    pub async fn times_told(&self, client: &Client, action: Action) -> usize {
        let action = serde_json::to_value(action).unwrap();
        self.told(client).await.iter().filter(|kind| kind["action"] == action).count()
    }

    /// Sends a request that is to be refused: the reason as the wire has it. The refusal is the
    /// one answer to that request.
    pub async fn refusal(&self, client: &Client, message: &Message) -> String {
        let number = message.get_inner_message_kind().request_id;
        let answer = client.request(message, PATIENCE).await.unwrap();
        assert_eq!(answer.action(), Action::CantDo, "{:?}", answer.message);
        let told = self.told(client).await;
        assert_eq!(told.iter().filter(|kind| kind["request_id"] == json!(number)).count(), 1, "{told:?}");
        let reason = serde_json::to_value(answer.payload().unwrap()).unwrap();
        reason["cant_do"].as_str().unwrap().to_owned()
    }

    /// Sends an invoice that is to be refused, and sees to it that the refusal changes no bond.
    pub async fn invoice_refusal(&self, client: &Client, bolt11: &str) -> String {
        self.unchanged(self.refusal(client, &client.bond_invoice(self.trade.order, bolt11))).await
    }

    /// Awaits something that must change no order, dispute or bond, and start no run.
    pub async fn unchanged<T>(&self, act: impl Future<Output = T>) -> T {
        let before = self.books().await;
        let result = act.await;
        assert_eq!(self.books().await, before);
        result
    }

    /// The trade's rows, and the runs there are.
    pub async fn books(&self) -> String {
        let store = self.store();
        let mut rows: Vec<Row> = vec![self.order().await, self.dispute().await];
        for bond in &self.trade.bonds {
            rows.push(self.bond(&bond.id.to_string()).await);
        }
        let runs = store.runs(&RunFilter::default()).await.unwrap();
        let mut runs: Vec<String> = runs.iter().map(|run| format!("{} {}", run.pin.workflow, run.key)).collect();
        runs.sort();
        serde_json::to_string_pretty(&json!({ "rows": rows, "runs": runs })).unwrap()
    }

    pub async fn dispute(&self) -> Row {
        self.store().row(DISPUTES.name, &self.trade.dispute.to_string()).await.unwrap().unwrap()
    }

    /// Writes columns of a row from outside.
    pub async fn write(&self, table: Table, key: &str, set: Value) {
        let Value::Object(set) = set else { panic!("not columns: {set}") };
        let change = RowChange::Upsert(set);
        let rows = vec![RowWrite { table: table.name, key: key.to_owned(), change }];
        self.store().commit(Commit { at: self.clock.now(), rows, ..Commit::default() }).await.unwrap();
    }

    pub async fn write_order(&self, set: Value) {
        self.write(ORDERS, &self.trade.order.to_string(), set).await;
    }

    pub async fn write_dispute(&self, set: Value) {
        self.write(DISPUTES, &self.trade.dispute.to_string(), set).await;
    }

    pub async fn write_bond(&self, id: &str, set: Value) {
        self.write(BONDS, id, set).await;
    }

    /// Whether there is a run of a workflow with that key.
    pub async fn has_run(&self, workflow: &str, key: &str) -> bool {
        self.store().run(&RunId::of(workflow, key)).await.unwrap().is_some()
    }

    /// Whether an invoice for a bond's share was ever asked for.
    pub async fn was_asked_for(&self, bond: &str) -> bool {
        self.store().outbox_topic(&format!("add-bond-invoice {bond}")).await.unwrap().is_some()
    }

    /// Sets the clock to so many seconds from a bond's deadline under the settings' defaults.
    pub async fn set_to_deadline(&self, bond: &str, seconds: i64) {
        self.set_to_slash(bond, 15 * 86_400 + seconds).await;
    }

    /// Sets the clock to so many seconds after the slash.
    pub async fn set_to_slash(&self, bond: &str, seconds: i64) {
        let slashed_at = self.bond(bond).await["slashed_at"].as_i64().unwrap();
        let to = Timestamp::from_secs(slashed_at + seconds);
        assert!(to > self.clock.now(), "the clock only goes forward");
        self.clock.set(to);
    }

    /// Waits until a payment's attempt has failed and the run backs off, then lets the time go by.
    pub async fn back_off(&self, bond: &str, attempt: u32) {
        self.bond_is(bond, "payout_attempts", attempt).await;
        self.run_is("bond_payout", bond, "intend", Status::BackingOff).await;
        self.clock.advance(Duration::from_secs(1 << (attempt - 1)));
    }

    /// The node's public events of a kind, as the relay has them.
    pub async fn public(&self, kind: u16) -> Vec<Event> {
        let mut events = self.relay.events().await;
        events.retain(|event| event.kind.as_u16() == kind && event.pubkey == self.node.public_key());
        events
    }

    /// The public events of a kind, each with its `s` tag.
    pub async fn published(&self, kind: u16) -> Vec<String> {
        self.drained().await;
        let of_kind = |event: &Event| event.kind.as_u16() == kind && event.pubkey == self.node.public_key();
        let tag = |event: &Event, name: &str| {
            let found = event.tags.iter().find(|tag| tag.as_slice()[0] == name).and_then(|tag| tag.content());
            found.unwrap_or_else(|| panic!("no {name}: {}", event.as_json())).to_owned()
        };
        self.relay.events().await.iter().filter(|event| of_kind(event)).map(|event| tag(event, "s")).collect()
    }
}
