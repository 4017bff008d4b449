//! The runs that settle what was taken over.
//!
//! mostrod's word on what it paid is not taken: each debt re-enters at its workflow's first step,
//! every hash that mostrod may have paid under is looked up at lnd before anything else is done,
//! and splits and recipients stay as they were frozen.

use std::str::FromStr;

use lightning_invoice::Bolt11Invoice;
use serde_json::Value;

use crate::engine::store::{NewRun, Row};
use crate::engine::{Definition, Timestamp};
use crate::payout::bond_payout::{self, BondPayout, BondView};
use crate::payout::books::{Order, secret32};
use crate::payout::debt::Debt;
use crate::payout::policy::{Amountless, Split};
use crate::payout::trade_payout::{self, TradePayout};

use super::inventory::Inventory;
use super::taken::{TakenBond, UnpaidTrade};

/// One run for each debt; a debt whose run can't be made is named.
///
/// # Errors
/// With the debt and what is wrong.
pub(super) fn starts(inventory: &Inventory, at: Timestamp) -> Result<Vec<NewRun>, String> {
    let bonds = inventory.bonds.iter().filter(|bond| bond.state != "locked");
    let bonds = bonds.map(|bond| {
        let order = order_of(inventory, &bond.order_id)?;
        start(bond_payout::DEFINITION, &bond.id, &bond_state(bond, &order, at), at)
    });
    let trades = inventory.trades.iter().map(|trade| {
        let order = order_of(inventory, &trade.order_id)?;
        start(trade_payout::DEFINITION, &trade.order_id, &trade_state(trade, &order, at), at)
    });
    bonds.chain(trades).collect()
}

fn start<S: serde::Serialize>(definition: &str, key: &str, state: &S, at: Timestamp) -> Result<NewRun, String> {
    let definition = Definition::parse(definition).map_err(|error| error.to_string())?;
    definition.start_run(key, state, at).map_err(|error| format!("{key}: {error}"))
}

fn order_of(inventory: &Inventory, id: &str) -> Result<Order, String> {
    let row: Option<&Row> = inventory.order(id);
    let row = row.ok_or_else(|| format!("order {id} is not there"))?;
    serde_json::from_value(Value::Object(row.clone())).map_err(|_| format!("order {id} can't be read"))
}

fn bond_state(bond: &TakenBond, order: &Order, at: Timestamp) -> BondPayout {
    let split = Split::frozen(bond.amount_sats, bond.node_share_sats).ok();
    // Without a sound split the first step pauses: nothing is owed by a guess.
    let owed = split.map_or(0, Split::counterparty_sats);
    let tried = bond.payout_payment_hash.as_deref().and_then(secret32);
    let failed = bond.state == "failed";
    let mut debt = Debt::taken_over(owed, bond.payout_invoice.as_deref(), Amountless::Refuse, tried.as_slice(), at);
    debt.attempts = u32::try_from(bond.payout_attempts).unwrap_or(u32::MAX);
    debt.spent = failed;
    BondPayout {
        order: order.summary(0, None),
        slashed: bond.pubkey.clone(),
        recipient: bond.recipient.clone().or_else(|| wronged(bond, order)),
        amount_sats: bond.amount_sats,
        node_share_sats: bond.node_share_sats,
        slashed_at: bond.slashed_at,
        bond: if failed { BondView::Failed } else { BondView::PendingPayout },
        requests: 0,
        last_request_at: None,
        reopened_at: None,
        debt,
    }
}

/// The other side of the order: who is owed the share where mostrod did not write it down.
fn wronged(bond: &TakenBond, order: &Order) -> Option<String> {
    let slashed = Some(&bond.pubkey);
    match (order.seller_pubkey.as_ref() == slashed, order.buyer_pubkey.as_ref() == slashed) {
        (true, false) => order.buyer_pubkey.clone(),
        (false, true) => order.seller_pubkey.clone(),
        _ => None,
    }
}

fn trade_state(trade: &UnpaidTrade, order: &Order, at: Timestamp) -> TradePayout {
    let claimed = trade.payout_payment_hash.as_deref().and_then(secret32);
    // mostrod forgets the hash of a payment that it takes for failed: the invoice's own may be one.
    let invoice = trade.buyer_invoice.as_deref();
    let own = invoice.and_then(|text| Some(*Bolt11Invoice::from_str(text).ok()?.payment_hash().as_ref()));
    let tried: Vec<[u8; 32]> = claimed.into_iter().chain(own.filter(|hash| Some(*hash) != claimed)).collect();
    let state = TradePayout::owed(order);
    let debt = Debt::taken_over(state.debt.owed_sats, invoice, Amountless::Allow, &tried, at);
    TradePayout { left_invoice: None, debt, ..state }
}
