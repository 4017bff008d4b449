//! Invoices: who may send one, and when.

use crate::engine::store::{Guard, NewSignal};
use crate::engine::{Effects, RunId, Status};
use crate::payout::books::{self, Bond};
use crate::payout::debt::{InvoiceSignal, SIGNAL};
use crate::payout::messages::{Incoming, Refusal};
use crate::payout::{bond_payout, trade_payout};

use super::{Decided, Intake, Refused};

impl Intake {
    /// `add-bond-invoice`: checked in the order shape, order, sender and state; the invoice itself
    /// is checked by the run that waits for it.
    pub(super) async fn bond_invoice(&self, incoming: &Incoming, bolt11: Option<&str>) -> Decided {
        let (Some(order), Some(bolt11)) = (&incoming.about, bolt11) else { return Err(Refusal::InvalidPayload.into()) };
        let store = self.world.store.as_ref();
        if books::order(store, order).await?.is_none() {
            return Err(Refusal::NotFound.into());
        }
        let bonds = books::bonds_of(store, order).await?;
        let owed = bonds.iter().find(|bond| bond.payout_recipient.as_deref() == Some(&incoming.sender));
        let Some(Bond { id, .. }) = owed else { return Err(Refusal::NotAllowedByStatus.into()) };
        self.to_mailbox(incoming, bolt11, bond_payout::NAME, id).await
    }

    /// `add-invoice`: the buyer's answer when the invoice that he left can't be paid.
    pub(super) async fn trade_invoice(&self, incoming: &Incoming, bolt11: Option<&str>) -> Decided {
        let (Some(order), Some(bolt11)) = (&incoming.about, bolt11) else { return Err(Refusal::InvalidPayload.into()) };
        let Some(row) = books::order(self.world.store.as_ref(), order).await? else {
            return Err(Refusal::NotFound.into());
        };
        if row.buyer_pubkey.as_deref() != Some(&incoming.sender) {
            return Err(Refusal::InvalidPeer.into());
        }
        self.to_mailbox(incoming, bolt11, trade_payout::NAME, order).await
    }

    /// Puts an invoice into the mailbox of a run that waits for one, if it still does when this is
    /// committed.
    async fn to_mailbox(
        &self,
        incoming: &Incoming,
        bolt11: &str,
        workflow: &str,
        key: &str,
    ) -> Result<Effects, Refused> {
        let id = RunId::of(workflow, key);
        let wanted = |step: &str, status| {
            ["request_invoice", "await_invoice"].contains(&step)
                && matches!(status, Status::Waiting | Status::Running | Status::BackingOff)
        };
        match self.world.store.run(&id).await? {
            Some(run) if wanted(&run.step, run.status) => {
                let signal = InvoiceSignal {
                    bolt11: bolt11.to_owned(),
                    from: incoming.sender.clone(),
                    request_id: incoming.request_id,
                    made_at: Some(incoming.made_at),
                    by_operator: false,
                    insists: false,
                };
                Ok(Effects {
                    guards: vec![Guard::Revision { run: id.clone(), revision: run.revision }],
                    signals: vec![NewSignal {
                        run: id,
                        name: SIGNAL.to_owned(),
                        payload: serde_json::to_string(&signal)?,
                        dedup: incoming.event.clone(),
                    }],
                    ..Effects::default()
                })
            }
            _ => Err(Refusal::NotAllowedByStatus.into()),
        }
    }
}
