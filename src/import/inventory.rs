//! Pure: which of mostrod's rows are taken over, listed, or left out, and why.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use lightning_invoice::Bolt11Invoice;
use serde_json::{Value, json};

use crate::engine::Timestamp;
use crate::engine::store::{Row, RowWrite, Table};
use crate::payout::books::{insert, upsert};
use crate::payout::tables;

use super::columns::{BONDS, DISPUTES, Foreign, ORDERS, Raw, USERS, hex32, id};
use super::report::{Item, Report};
use super::source::Books;
use super::taken::{TakenBond, UnpaidTrade, count, text};

/// All of a mostrod database that matters here.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Inventory {
    /// Bonds that are taken over.
    pub bonds: Vec<TakenBond>,
    /// Trades that are taken over because their buyers are unpaid.
    pub trades: Vec<UnpaidTrade>,
    /// Ids of the orders in dispute that are taken over.
    pub disputed: Vec<String>,
    /// The identity key of the lnd that holds the bonds, hex.
    pub lnd_identity: Option<String>,
    /// Every payment hash that mostrod ever had, finished rows included → what used it: `escrow`,
    /// `trade` or `dev-fee` and the order, `hold` or `payout` and the bond. Its own hash is no
    /// reason for a debt to refuse an invoice.
    pub hashes: BTreeMap<String, String>,
    orders: BTreeMap<String, Row>,
    bond_rows: BTreeMap<String, Row>,
    disputes: BTreeMap<String, Row>,
    users: BTreeMap<String, Row>,
    report: Report,
}

/// Statuses in which a trade is over, one way or the other.
const OVER: &[&str] = &[
    "success",
    "canceled",
    "expired",
    "canceled-by-admin",
    "settled-by-admin",
    "completed-by-admin",
    "cooperatively-canceled",
];

/// What is to become of a bond.
enum Fate {
    Taken,
    Listed(&'static str),
    LeftOut(String),
    Finished,
}

impl Inventory {
    /// The bonds and orders that somebody may still be owed for.
    pub(super) fn debts(&self) -> impl Iterator<Item = &str> {
        let bonds = self.bonds.iter().filter(|bond| bond.state != "locked").map(|bond| bond.id.as_str());
        bonds.chain(self.trades.iter().map(|trade| trade.order_id.as_str()))
    }

    /// The row of an order that is taken over.
    pub(super) fn order(&self, id: &str) -> Option<&Row> {
        self.orders.get(id)
    }

    pub(super) fn of(books: &Books) -> Self {
        let mut it = Self { lnd_identity: lnd_identity(books), ..Self::default() };
        let orders = it.read(ORDERS, "order", &books.orders);
        let bonds = it.read(BONDS, "bond", &books.bonds);
        let disputes = it.read(DISPUTES, "dispute", &books.disputes);
        let users = it.read(USERS, "user", &books.users);
        for order in orders.values() {
            it.sort_order(order);
        }
        let parents: BTreeSet<_> =
            books.bonds.iter().flatten().filter_map(|raw| id(raw.get("parent_bond_id")?)).collect();
        for bond in bonds.values() {
            it.sort_bond(bond, &orders, &parents);
        }
        for dispute in disputes.values() {
            it.sort_dispute(dispute);
        }
        it.take_users(&users);
        it.collect_hashes(&orders, &bonds);
        it
    }

    /// The rows that can be read, by id; the others are left out.
    fn read(&mut self, table: Foreign, what: &'static str, raws: &[Result<Raw, i64>]) -> BTreeMap<String, Row> {
        let key = table.read[0].0;
        let mut rows = BTreeMap::new();
        for (place, raw) in raws.iter().enumerate() {
            let mut left_out = |id: Option<String>, raw: Option<&Raw>, why: String| {
                let id = id.unwrap_or_else(|| format!("row {}", place + 1));
                let word = |name: &str| raw?.get(name)?.as_str().map(str::to_owned);
                let sats = |name: &str| raw?.get(name)?.as_u64();
                self.report.left_out.push(Item {
                    what,
                    id,
                    state: word("state").or_else(|| word("status")),
                    sats: sats("amount_sats").or_else(|| sats("amount")),
                    why,
                });
            };
            let Ok(raw) = raw else {
                left_out(None, None, "is not text".into());
                continue;
            };
            let row_id = raw.get(key).and_then(|value| id(value).or_else(|| hex32(value.as_str()?)));
            match table.read(raw) {
                Err(why) => left_out(row_id, Some(raw), why),
                Ok(row) => {
                    let row_id = text(&row, key).unwrap_or_default();
                    match rows.entry(row_id) {
                        Entry::Vacant(place) => {
                            place.insert(row);
                        }
                        Entry::Occupied(place) => {
                            left_out(Some(place.key().clone()), Some(raw), "its id is there twice".into());
                        }
                    }
                }
            }
        }
        rows
    }

    fn sort_order(&mut self, order: &Row) {
        let id = text(order, "id").unwrap_or_default();
        let status = text(order, "status").unwrap_or_default();
        let (amount, fee) = (count(order, "amount"), count(order, "fee"));
        // A crash between the escrow's settling and the status leaves the earlier status.
        let settled = order["hold_settled_at"].as_i64().unwrap_or(0) > 0
            && order["success_at"].is_null()
            && ["active", "fiat-sent"].contains(&status.as_str());
        let unpaid = status == "settled-hold-invoice" || settled;
        let item = |why: &str| Item {
            what: "order",
            id: id.clone(),
            state: Some(status.clone()),
            sats: Some(amount),
            why: why.to_owned(),
        };
        if (unpaid || status == "dispute") && !order["cashu_escrow_token"].is_null() {
            self.report.left_out.push(item("its escrow is a Cashu token"));
        } else if unpaid {
            let mut row = order.clone();
            row.insert("status".into(), "settled-hold-invoice".into());
            self.orders.insert(id.clone(), row);
            self.report.unpaid_trades.add(amount.saturating_sub(fee));
            self.trades.push(UnpaidTrade::of(order));
        } else if status == "dispute" {
            self.orders.insert(id.clone(), order.clone());
            self.report.orders_in_dispute.add(amount);
            self.disputed.push(id);
        } else if !OVER.contains(&status.as_str()) && !order["hash"].is_null() {
            self.report.listed.push(item("its trade is not in dispute: lnd may hold its escrow"));
        }
    }

    fn sort_bond(&mut self, bond: &Row, orders: &BTreeMap<String, Row>, parents: &BTreeSet<String>) {
        let id = text(bond, "id").unwrap_or_default();
        let order_id = text(bond, "order_id").unwrap_or_default();
        let state = text(bond, "state").unwrap_or_default();
        let sats = count(bond, "amount_sats");
        self.report.bonds.entry(state.clone()).or_default().add(sats);
        let item =
            |why: String| Item { what: "bond", id: id.clone(), state: Some(state.clone()), sats: Some(sats), why };
        match self.fate(bond, &id, &state, orders.get(&order_id), parents) {
            Fate::Finished => {}
            Fate::Listed(why) => self.report.listed.push(item(why.into())),
            Fate::LeftOut(why) => self.report.left_out.push(item(why)),
            Fate::Taken => {
                self.report.bonds_taken.entry(state.clone()).or_default().add(sats);
                if let Some(order) = orders.get(&order_id) {
                    self.orders.entry(order_id.clone()).or_insert_with(|| order.clone());
                }
                self.bond_rows.insert(id.clone(), bond.clone());
                self.bonds.push(TakenBond::of(bond));
            }
        }
    }

    fn fate(&self, bond: &Row, id: &str, state: &str, order: Option<&Row>, parents: &BTreeSet<String>) -> Fate {
        // A parent whose slices were slashed is no longer worth its whole amount.
        let sliced = bond["slashed_share_sats"].as_i64().unwrap_or(0) != 0 || parents.contains(id);
        if !bond["parent_bond_id"].is_null() || !bond["child_order_id"].is_null() || sliced {
            return Fate::LeftOut("it belongs to a range order".into());
        }
        if ["released", "slashed", "forfeited"].contains(&state) {
            return Fate::Finished;
        }
        if state == "requested" {
            return Fate::Listed("it is not locked");
        }
        let Some(order) = order else {
            return Fate::LeftOut("its order is missing or can't be read".into());
        };
        if !order["cashu_escrow_token"].is_null() {
            return Fate::LeftOut("its order's escrow is a Cashu token".into());
        }
        match state {
            "locked" if order["status"] != "dispute" => Fate::Listed("its order is not in dispute"),
            _ => Fate::Taken,
        }
    }

    fn sort_dispute(&mut self, dispute: &Row) {
        let order = text(dispute, "order_id").unwrap_or_default();
        if !self.orders.contains_key(&order) {
            return;
        }
        let id = text(dispute, "id").unwrap_or_default();
        if self.disputes.values().any(|other| other["order_id"] == dispute["order_id"]) {
            let why = "its order has another dispute".into();
            self.report.left_out.push(Item { what: "dispute", id, state: text(dispute, "status"), sats: None, why });
        } else {
            self.disputes.insert(id, dispute.clone());
        }
    }

    /// Solvers, and the parties of what is taken over.
    fn take_users(&mut self, users: &BTreeMap<String, Row>) {
        let parties: BTreeSet<_> = self
            .orders
            .values()
            .flat_map(|order| ["master_buyer_pubkey", "master_seller_pubkey"].map(|name| text(order, name)))
            .chain(self.disputes.values().map(|dispute| text(dispute, "solver_pubkey")))
            .flatten()
            .collect();
        let wanted = |key: &str, user: &Row| user["is_solver"].as_i64() == Some(1) || parties.contains(key);
        self.users = users
            .iter()
            .filter(|(key, user)| wanted(key, user))
            .map(|(key, user)| (key.clone(), user.clone()))
            .collect();
    }

    fn collect_hashes(&mut self, orders: &BTreeMap<String, Row>, bonds: &BTreeMap<String, Row>) {
        let mut note = |hash: Option<String>, what: &str, id: &str| {
            if let Some(hash) = hash {
                self.hashes.entry(hash).or_insert_with(|| format!("{what} {id}"));
            }
        };
        for (id, order) in orders {
            note(text(order, "hash"), "escrow", id);
            note(text(order, "payout_payment_hash"), "trade", id);
            note(invoice_hash(order, "buyer_invoice"), "trade", id);
            // mostrod writes words in these while a payment is pending.
            note(text(order, "dev_fee_payment_hash").and_then(|hash| hex32(&hash)), "dev-fee", id);
            note(text(order, "dev_fee_failed_hash").and_then(|hash| hex32(&hash)), "dev-fee", id);
        }
        for (id, bond) in bonds {
            note(text(bond, "hash"), "hold", id);
            note(text(bond, "payout_payment_hash"), "payout", id);
            note(invoice_hash(bond, "payout_invoice"), "payout", id);
        }
    }

    /// Everything that is written, the facts aside.
    pub(super) fn rows(&self, now: Timestamp) -> Vec<RowWrite> {
        let mut rows = Vec::new();
        for (table, taken) in
            [(tables::ORDERS, &self.orders), (tables::DISPUTES, &self.disputes), (tables::BONDS, &self.bond_rows)]
        {
            rows.extend(taken.iter().map(|(id, row)| insert(table, id, ours(table, row))));
        }
        // A solver of the settings may be there already.
        rows.extend(self.users.iter().map(|(key, user)| upsert(tables::USERS, key, ours(tables::USERS, user))));
        rows.extend(self.hashes.iter().map(|(hash, used_by)| {
            insert(tables::HASHES, hash, json!({ "used_by": used_by, "created_at": now.secs() }))
        }));
        rows
    }

    pub(super) fn report(&self, path: &str) -> Report {
        let solvers = self.users.values().filter(|user| user["is_solver"].as_i64() == Some(1)).count();
        let also_taken = [
            ("disputes", self.disputes.len()),
            ("solvers", solvers),
            ("other users", self.users.len() - solvers),
            ("payment hashes", self.hashes.len()),
        ];
        let also_taken = also_taken.into_iter().map(|(what, count)| (what, count as u64)).collect();
        Report { path: path.to_owned(), also_taken, ..self.report.clone() }
    }
}

/// Those columns that our table has, and that say something.
fn ours(table: Table, row: &Row) -> Value {
    let known = row.iter().filter(|(name, value)| table.columns.contains(&name.as_str()) && !value.is_null());
    Value::Object(known.map(|(name, value)| (name.clone(), value.clone())).collect())
}

fn lnd_identity(books: &Books) -> Option<String> {
    let row = books.state.iter().flatten().find(|row| row.get("key").is_some_and(|key| key == "ln_node_pubkey"))?;
    row.get("value")?.as_str().filter(|key| !key.is_empty()).map(str::to_owned)
}

fn invoice_hash(row: &Row, column: &str) -> Option<String> {
    let invoice: Bolt11Invoice = text(row, column)?.parse().ok()?;
    Some(invoice.payment_hash().to_string())
}
