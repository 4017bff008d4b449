//! The rows of the trades and the names of their people.

use bondflow::engine::RunId;
use bondflow::engine::store::{Commit, RowWrite};
use bondflow::payout::books::insert;
use bondflow::payout::messages::Outgoing;
use bondflow::payout::policy::{FeePolicy, Millionths, Network, NodeShare};
use bondflow::payout::tables::{BONDS, DISPUTES, ORDERS, USERS};
use bondflow::payout::{Terms, bond_payout, order_resolution, trade_payout};
use serde_json::json;

use super::invoices::secret;
use super::lnd::{Lnd, hash_of};
use super::plan::{OrderPlan, TermsPlan, Which};
use super::time::START;

pub const NODE: &str = "node";
pub const SOLVER: &str = "solver";

pub fn order_id(order: usize) -> String {
    format!("order-{order}")
}

pub fn dispute_id(order: usize) -> String {
    format!("dispute-{order}")
}

pub fn bond_id(order: usize, maker: bool) -> String {
    format!("bond-{order}-{}", if maker { "maker" } else { "taker" })
}

pub fn seller(order: usize) -> String {
    format!("seller-{order}")
}

pub fn buyer(order: usize) -> String {
    format!("buyer-{order}")
}

/// The order of an id.
pub fn order_of(id: &str) -> Option<usize> {
    id.strip_prefix("order-")?.parse().ok()
}

/// The one who wins the counterparty's share of an order's slashed bond.
pub fn winner(order: usize, plan: &OrderPlan) -> String {
    if plan.slash_seller { buyer(order) } else { seller(order) }
}

/// The other one.
pub fn loser(order: usize, plan: &OrderPlan) -> String {
    if plan.slash_seller { seller(order) } else { buyer(order) }
}

/// Workflow and key of one of an order's runs.
pub fn run_of(order: usize, which: Which) -> (&'static str, String) {
    match which {
        Which::MakerPayout => (bond_payout::NAME, bond_id(order, true)),
        Which::TakerPayout => (bond_payout::NAME, bond_id(order, false)),
        Which::Trade => (trade_payout::NAME, order_id(order)),
        Which::Resolution => (order_resolution::NAME, order_id(order)),
    }
}

/// The run that pays an order's share, or its trade.
pub fn payout_of(order: usize, plan: &OrderPlan, share: bool) -> RunId {
    let which = match (share, plan.slash_seller == plan.buy) {
        (false, _) => Which::Trade,
        (true, false) => Which::MakerPayout,
        (true, true) => Which::TakerPayout,
    };
    let (workflow, key) = run_of(order, which);
    RunId::of(workflow, &key)
}

/// What the winner is owed of the slashed bond.
pub fn share_of(plan: &OrderPlan, share: u32) -> u64 {
    let bond = u64::from(plan.bond_sats);
    bond - NodeShare::new(share).unwrap().floor_of(bond)
}

/// What the buyer is owed after a settlement.
pub fn trade_sats(plan: &OrderPlan) -> u64 {
    u64::from(plan.amount_sats - plan.fee_sats)
}

pub fn terms(plan: &TermsPlan) -> Terms {
    Terms {
        node_share: NodeShare::new(plan.share_millionths).unwrap(),
        fees: FeePolicy { max_routing_fee: Millionths::new(2_000).unwrap(), min_routing_fee_sats: 10 },
        request_interval_secs: plan.interval_secs,
        max_retries: plan.max_retries,
        window_days: plan.window_days,
        invoice_expiration_window: 3_600,
        max_final_cltv_expiry_delta: 144,
        payment_timeout_secs: 60,
        cltv_limit: 1_008,
        max_inflight: plan.max_inflight,
        max_inflight_per_destination: plan.max_per_payee,
        look_again_secs: 300,
        network: Network::Simnet,
        own_nodes: vec![[2; 33]],
        node_key: NODE.to_owned(),
    }
}

/// The books of mostrod, and lnd's invoices that go with them; `left` is each buyer's invoice.
pub fn books(orders: &[OrderPlan], left: &[Option<String>], lnd: &Lnd) -> Commit {
    let mut rows = vec![insert(USERS, SOLVER, json!({ "is_solver": 1, "category": 2 }))];
    for (at, plan) in orders.iter().enumerate() {
        rows.extend(trade(at, plan, left[at].as_deref(), lnd));
    }
    Commit { at: START, rows, ..Commit::default() }
}

fn trade(at: usize, plan: &OrderPlan, left: Option<&str>, lnd: &Lnd) -> Vec<RowWrite> {
    let kept = |name: &str| {
        let preimage = secret(name);
        (hex::encode(hash_of(preimage)), hex::encode(preimage), preimage)
    };
    let escrow = plan.escrow.map(|state| {
        let (hash, text, preimage) = kept(&format!("escrow {at}"));
        lnd.own(preimage, state);
        (hash, text)
    });
    let (hash, preimage) = escrow.unzip();
    let order = json!({
        "kind": if plan.buy { "buy" } else { "sell" }, "status": "dispute", "hash": hash, "preimage": preimage,
        "buyer_pubkey": buyer(at), "seller_pubkey": seller(at), "amount": plan.amount_sats, "fee": plan.fee_sats,
        "fiat_code": "EUR", "fiat_amount": 50, "payment_method": "cash", "premium": 0, "buyer_invoice": left,
        "buyer_dispute": 1, "seller_dispute": 0, "created_at": START.secs(),
    });
    let taken = (!plan.takes_first).then_some(SOLVER);
    let status = if plan.takes_first { "initiated" } else { "in-progress" };
    let dispute = json!({
        "order_id": order_id(at), "status": status, "order_previous_status": "active", "solver_pubkey": taken,
        "created_at": START.secs(),
    });
    let mut rows = vec![insert(ORDERS, &order_id(at), order), insert(DISPUTES, &dispute_id(at), dispute)];
    for (maker, state) in [(true, plan.bonds[0]), (false, plan.bonds[1])] {
        let id = bond_id(at, maker);
        let (hash, text, preimage) = kept(&id);
        if let Some(state) = state {
            lnd.own(preimage, state);
        }
        let sells = maker != plan.buy;
        let bond = json!({
            "order_id": order_id(at), "pubkey": if sells { seller(at) } else { buyer(at) },
            "role": if maker { "maker" } else { "taker" }, "amount_sats": plan.bond_sats, "state": "locked",
            "hash": hash, "preimage": text, "locked_at": START.secs(), "created_at": START.secs(),
        });
        rows.push(insert(BONDS, &id, bond));
    }
    rows
}

/// To whom a message is, under which number, if it answers one.
pub fn addressed(outgoing: &Outgoing) -> Option<(&str, Option<u64>)> {
    match outgoing {
        Outgoing::Direct { to, request_id, .. } => Some((to, *request_id)),
        _ => None,
    }
}
