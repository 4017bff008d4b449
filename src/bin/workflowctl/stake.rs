//! What a run is about: the bond, the order, and the sats at risk.

use bondflow::engine::{Run, Store, StoreError};
use bondflow::payout::bond_payout::{self, BondPayout};
use bondflow::payout::debt::Debt;
use bondflow::payout::tables::BONDS;
use bondflow::payout::trade_payout::{self, TradePayout};
use bondflow::payout::{bond_release, order_resolution};
use serde_json::Value;

/// What a run is about.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stake {
    /// The bond, if it is about one.
    pub bond: Option<String>,
    /// The order.
    pub order: Option<String>,
    /// What somebody is still to be paid by it; none when its state can't be read.
    pub sats_at_risk: Option<u64>,
    /// When the bond was claimed, Unix seconds.
    pub slashed_at: Option<i64>,
    /// The keys of those whom it sends messages to.
    pub parties: Vec<String>,
}

/// What a run owes, and all that was done to pay it; none when it owes nothing or can't be read.
pub fn debt_of(run: &Run) -> Option<Debt> {
    match run.pin.workflow.as_str() {
        bond_payout::NAME => serde_json::from_str::<BondPayout>(&run.state).ok().map(|payout| payout.debt),
        trade_payout::NAME => serde_json::from_str::<TradePayout>(&run.state).ok().map(|payout| payout.debt),
        _ => None,
    }
}

impl Stake {
    /// Reads it from the run, and from the bond's row where the run does not know the order.
    pub async fn of(run: &Run, store: &dyn Store) -> Result<Self, StoreError> {
        let open = |sats: u64| if run.status.is_final() { 0 } else { sats };
        let key = Some(run.key.clone());
        Ok(match run.pin.workflow.as_str() {
            bond_payout::NAME => match serde_json::from_str::<BondPayout>(&run.state) {
                Ok(payout) => {
                    let share =
                        payout.slashed_at.and(payout.node_share_sats).and_then(|share| u64::try_from(share).ok());
                    let owed = payout.amount_sats.saturating_sub(share.unwrap_or(0));
                    Self {
                        bond: key,
                        order: Some(payout.order.id),
                        sats_at_risk: Some(open(owed)),
                        slashed_at: payout.slashed_at,
                        parties: payout.recipient.into_iter().chain([payout.slashed]).collect(),
                    }
                }
                Err(_) => Self { bond: key, ..Self::default() },
            },
            trade_payout::NAME => {
                let payout: Option<TradePayout> = serde_json::from_str(&run.state).ok();
                let sats_at_risk = payout.as_ref().map(|payout| open(payout.debt.owed_sats));
                let parties = payout.and_then(|payout| payout.buyer).into_iter().collect();
                Self { order: key, sats_at_risk, parties, ..Self::default() }
            }
            order_resolution::NAME => Self { order: key, sats_at_risk: Some(0), ..Self::default() },
            bond_release::NAME => {
                let row = store.row(BONDS.name, &run.key).await?;
                let order = row.as_ref().and_then(|row| row.get("order_id")).and_then(Value::as_str);
                let order = order.map(str::to_owned);
                Self { bond: key, order, sats_at_risk: Some(0), ..Self::default() }
            }
            _ => Self::default(),
        })
    }

    /// The bond, or the order where there is none.
    pub fn name(&self) -> String {
        match (&self.bond, &self.order) {
            (Some(bond), _) => bond.clone(),
            (None, Some(order)) => format!("order {order}"),
            (None, None) => "-".to_owned(),
        }
    }
}
