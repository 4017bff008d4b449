//! A solver's ruling: everything is checked before anything is written, and what is written first
//! starts everything that follows.

use serde_json::json;

use crate::engine::store::Guard;
use crate::engine::{Effects, Timestamp};
use crate::payout::bond_payout::BondPayout;
use crate::payout::bond_release::BondRelease;
use crate::payout::books::{self, Bond, BondState, Order, Role, columns, update};
use crate::payout::messages::{Incoming, Refusal, Ruling, Said, Slash};
use crate::payout::order_resolution::OrderResolution;
use crate::payout::policy::Split;
use crate::payout::tables::{BONDS, DISPUTES};

use super::{Decided, Intake, Refused, reply};

/// Users of this category may rule, and not only read.
const READ_WRITE: i64 = 2;

impl Intake {
    /// `admin-settle`, `admin-cancel`. The checks come in the protocol's order; the node's own key
    /// passes all but those of status and bonds.
    pub(super) async fn rule(
        &self,
        incoming: &Incoming,
        ruling: Ruling,
        slash: Option<Slash>,
        now: Timestamp,
    ) -> Decided {
        let (Some(id), Some(slash)) = (&incoming.about, slash) else { return Err(Refusal::InvalidPayload.into()) };
        let store = self.world.store.as_ref();
        let Some(order) = books::order(store, id).await? else { return Err(Refusal::NotFound.into()) };
        let dispute = books::dispute_of(store, id).await?;
        let node = &self.world.terms().node_key;
        let solver = dispute.as_ref().and_then(|dispute| dispute.solver_pubkey.as_ref());
        if incoming.identity != *node {
            if solver != Some(&incoming.identity) {
                let taken = if solver == Some(node) { Refusal::DisputeTakenByAdmin } else { Refusal::IsNotYourDispute };
                return Err(taken.into());
            }
            let user = books::user(store, &incoming.identity).await?;
            if !user.is_some_and(|user| user.is_solver == Some(1) && user.category == Some(READ_WRITE)) {
                return Err(Refusal::NotAuthorized.into());
            }
        }
        let resolution = self.workflows.order_resolution.id(id);
        let Some(dispute) = dispute.filter(|_| order.status == "dispute") else {
            return Err(Refusal::NotAllowedByStatus.into());
        };
        if store.run(&resolution).await?.is_some() {
            return Err(Refusal::NotAllowedByStatus.into());
        }
        let bonds = books::bonds_of(store, id).await?;
        let slashed = slashed_bonds(&order, &bonds, slash)?;
        if order.initiator().is_none() {
            // Nothing can be published about such a dispute: no ruling, until a person mends the books.
            let text = format!("order {id}: nobody knows which side opened the dispute, so it can't be ruled on");
            return Ok(Effects { alarms: vec![("books", text)], ..Effects::default() });
        }

        let mut effects = Effects {
            guards: vec![
                Guard::NoRun { run: resolution },
                Guard::Row {
                    table: crate::payout::tables::ORDERS.name,
                    key: id.clone(),
                    expect: columns(json!({ "status": "dispute" })),
                },
                Guard::Row {
                    table: DISPUTES.name,
                    key: dispute.id.clone(),
                    expect: columns(json!({ "solver_pubkey": dispute.solver_pubkey })),
                },
            ],
            ..Effects::default()
        };
        let said = match ruling {
            Ruling::Settle => Said::AdminSettled,
            Ruling::Cancel => Said::AdminCanceled,
        };
        effects.drafts.push(reply(incoming, said).draft("ruling"));
        let state = OrderResolution { ruling, solver: incoming.sender.clone(), escrow: None };
        effects.starts.push(self.workflows.order_resolution.start(id, &state, now)?);
        let both = slashed.len() > 1;
        for bond in &bonds {
            if slashed.iter().any(|slashed| slashed.id == bond.id) {
                self.slash(&mut effects, &order, bond, both, now)?;
            } else if bond.state == BondState::Locked {
                let state = BondRelease { amount_sats: bond.amount_sats };
                effects.starts.push(self.workflows.bond_release.start(&bond.id, &state, now)?);
                effects.guards.push(still_locked(bond));
            }
        }
        effects.notes.push(format!("order {id}: ruled {ruling:?}, {} bonds slashed", slashed.len()));
        Ok(effects)
    }

    /// Starts the payout of one slashed bond. Who is owed what is decided here, once.
    fn slash(
        &self,
        effects: &mut Effects,
        order: &Order,
        bond: &Bond,
        both: bool,
        now: Timestamp,
    ) -> Result<(), Refused> {
        let split = if both {
            Split::all_to_node(bond.amount_sats)
        } else {
            Split::new(bond.amount_sats, self.world.terms().node_share)
        };
        let wronged = if bond.role == order.kind.seller() { &order.buyer_pubkey } else { &order.seller_pubkey };
        let recipient = wronged.clone().filter(|_| split.counterparty_sats() > 0);
        let set = json!({ "payout_recipient": recipient });
        effects.rows.push(update(BONDS, &bond.id, set, json!({ "state": "locked" })));
        let state = BondPayout::decided(order.summary(0, None), bond.pubkey.clone(), recipient, split);
        effects.starts.push(self.workflows.bond_payout.start(&bond.id, &state, now)?);
        Ok(())
    }
}

fn still_locked(bond: &Bond) -> Guard {
    Guard::Row { table: BONDS.name, key: bond.id.clone(), expect: columns(json!({ "state": "locked" })) }
}

/// The bonds that a ruling slashes: one slashable bond for each side that it names.
fn slashed_bonds<'a>(order: &Order, bonds: &'a [Bond], slash: Slash) -> Result<Vec<&'a Bond>, Refusal> {
    let seller = order.kind.seller();
    let buyer = if seller == Role::Maker { Role::Taker } else { Role::Maker };
    [(slash.seller, seller), (slash.buyer, buyer)]
        .into_iter()
        .filter(|(slashed, _)| *slashed)
        .map(|(_, role)| {
            let mut of_role = bonds.iter().filter(|bond| bond.role == role && bond.is_slashable());
            // Two bonds of one side are books that nobody should act on.
            of_role.next().filter(|_| of_role.next().is_none()).ok_or(Refusal::InvalidPayload)
        })
        .collect()
}
