//! A solver takes a dispute.

use serde_json::json;

use crate::engine::store::Guard;
use crate::engine::{Effects, Store, Timestamp};
use crate::payout::books::{self, BookError, User, columns, update};
use crate::payout::messages::{DisputeBrief, Incoming, Outgoing, Refusal, Said, Standing};
use crate::payout::tables::{DISPUTES, ORDERS};

use super::{Decided, Intake, Refused, notice, reply};

impl Intake {
    /// `admin-take-dispute`, about the dispute's id: any solver may take a fresh one; one that is
    /// taken stays with its solver, unless that one may only read and the other may rule, or the
    /// node itself takes it.
    pub(super) async fn take_dispute(&self, incoming: &Incoming, now: Timestamp) -> Decided {
        let Some(id) = &incoming.about else { return Err(Refusal::InvalidPayload.into()) };
        let store = self.world.store.as_ref();
        let Some(dispute) = books::dispute(store, id).await? else { return Err(Refusal::NotFound.into()) };
        let fresh = dispute.status == "initiated";
        if !fresh && dispute.status != "in-progress" {
            return Err(Refusal::InvalidPubkey.into());
        }
        if incoming.identity != self.world.terms().node_key {
            let user = books::user(store, &incoming.identity).await?;
            let may = match (user, &dispute.solver_pubkey) {
                (Some(user), _) if fresh => user.is_solver == Some(1),
                (Some(user), Some(present)) if user.is_solver == Some(1) => {
                    let holder = books::user(store, present).await?;
                    *present == incoming.identity
                        || user.category == Some(2)
                            && holder.is_some_and(|holder| holder.is_solver == Some(1) && holder.category == Some(1))
                }
                _ => false,
            };
            if !may {
                return Err(Refusal::InvalidPubkey.into());
            }
        }
        let Some(order) = books::order(store, &dispute.order_id).await? else { return Err(Refusal::NotFound.into()) };
        let row = store.row(ORDERS.name, &order.id).await?.unwrap_or_default();
        let Some(initiator) = order.initiator() else {
            return Err(Refused::Unread(format!("order {}: nobody knows which side opened the dispute", order.id)));
        };
        let of = |side: &str| row.get(side).and_then(serde_json::Value::as_str).map(str::to_owned);
        let (first, second) = if initiator == "seller" { ("seller", "buyer") } else { ("buyer", "seller") };
        let standing = |side: &str| {
            let (trade, identity) = (of(&format!("{side}_pubkey")), of(&format!("master_{side}_pubkey")));
            async move { standing(store, trade, identity).await }
        };
        let brief = DisputeBrief {
            dispute: id.clone(),
            previous_status: dispute.order_previous_status.clone().unwrap_or_default(),
            initiator: of(&format!("{first}_pubkey")).unwrap_or_default(),
            initiator_standing: standing(first).await?,
            counterpart_standing: standing(second).await?,
            order: row.clone(),
        };
        let mut effects = Effects {
            guards: vec![Guard::Row {
                table: ORDERS.name,
                key: order.id.clone(),
                expect: columns(json!({ "status": order.status })),
            }],
            ..Effects::default()
        };
        effects.rows.push(update(
            DISPUTES,
            id,
            json!({ "status": "in-progress", "solver_pubkey": incoming.identity, "taken_at": now.secs() }),
            json!({ "status": dispute.status, "solver_pubkey": dispute.solver_pubkey }),
        ));
        effects.drafts.push(reply(incoming, Said::TookDispute(Box::new(brief))).draft("admin-took-dispute"));
        for party in [&order.buyer_pubkey, &order.seller_pubkey].into_iter().flatten() {
            let said = Said::SolverAssigned(incoming.identity.clone());
            effects.drafts.push(notice(party, &order.id, said).draft("admin-took-dispute"));
        }
        let event = Outgoing::DisputeEvent {
            id: id.clone(),
            status: "in-progress".to_owned(),
            initiator: initiator.to_owned(),
            created_at: dispute.created_at.unwrap_or_default(),
        };
        effects.drafts.push(event.draft("dispute event"));
        Ok(effects)
    }
}

/// What is known of a party; nothing when it trades in full privacy, its identity being the trade
/// key itself.
async fn standing(
    store: &dyn Store,
    trade: Option<String>,
    identity: Option<String>,
) -> Result<Option<Standing>, BookError> {
    let Some(identity) = identity.filter(|identity| Some(identity) != trade.as_ref()) else { return Ok(None) };
    let user = books::user(store, &identity).await?;
    Ok(user.map(|User { total_reviews, total_rating, created_at, .. }| Standing {
        rating: total_rating.unwrap_or_default(),
        reviews: total_reviews.unwrap_or_default(),
        since: created_at.unwrap_or_default(),
    }))
}
