//! One of the node's own invoices: its standing, what may become of it, and how lnd shows it.

use super::bolt11;
use super::hash::Hash32;
use super::node::State;
use serde::{Deserialize, Serialize};
use tonic_lnd::lnrpc::invoice::InvoiceState;
use tonic_lnd::lnrpc::{Invoice, InvoiceHtlc, InvoiceHtlcState};
use tonic_lnd::tonic::Status;

/// `lncfg.DefaultHoldInvoiceExpiryDelta`: blocks before the HTLC's expiry at which lnd gives up the invoice.
const HOLD_EXPIRY_DELTA: u32 = 12;

/// The feature bits of every invoice that lnd makes by default.
const FEATURES: [u32; 4] = [8, 14, 17, 25];

/// One invoice in the node's database.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct OwnInvoice {
    pub bolt11: String,
    pub memo: String,
    pub payment_addr: Hash32,
    pub amount_msat: u64,
    pub created_at: i64,
    pub expiry: i64,
    pub cltv_expiry: u64,
    pub add_index: u64,
    pub standing: Standing,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Standing {
    Open,
    Accepted { height: u32, htlc_expiry: u32, at: i64 },
    Settled { preimage: Hash32, at: i64 },
    Canceled,
}

impl OwnInvoice {
    pub(super) fn is_final(&self) -> bool {
        matches!(self.standing, Standing::Settled { .. } | Standing::Canceled)
    }

    pub(super) fn rpc(&self, hash: Hash32) -> Invoice {
        let mut invoice = Invoice {
            memo: self.memo.clone(),
            r_hash: hash.0.to_vec(),
            value: (self.amount_msat / 1000) as i64,
            value_msat: self.amount_msat as i64,
            creation_date: self.created_at,
            payment_request: self.bolt11.clone(),
            expiry: self.expiry,
            cltv_expiry: self.cltv_expiry,
            add_index: self.add_index,
            payment_addr: self.payment_addr.0.to_vec(),
            features: bolt11::features(&FEATURES),
            ..Default::default()
        };
        match self.standing {
            Standing::Open => invoice.set_state(InvoiceState::Open),
            Standing::Canceled => invoice.set_state(InvoiceState::Canceled),
            Standing::Accepted { height, htlc_expiry, at } => {
                invoice.set_state(InvoiceState::Accepted);
                invoice.htlcs.push(InvoiceHtlc {
                    accept_height: height as i32,
                    accept_time: at,
                    expiry_height: htlc_expiry as i32,
                    amt_msat: self.amount_msat,
                    state: InvoiceHtlcState::Accepted.into(),
                    ..Default::default()
                });
            }
            Standing::Settled { preimage, at } => {
                invoice.set_state(InvoiceState::Settled);
                invoice.r_preimage = preimage.0.to_vec();
                invoice.settle_date = at;
                invoice.settle_index = 1;
                invoice.amt_paid_sat = (self.amount_msat / 1000) as i64;
                invoice.amt_paid_msat = self.amount_msat as i64;
            }
        }
        invoice
    }
}

fn not_located() -> Status {
    Status::unknown("unable to locate invoice")
}

impl State {
    /// Changes how an invoice stands, and tells its followers.
    pub(super) fn put(&mut self, hash: Hash32, standing: Standing) {
        if let Some(invoice) = self.invoices.get_mut(&hash) {
            invoice.standing = standing;
            self.invoice_watchers.tell(hash, invoice.rpc(hash), invoice.is_final());
        }
    }

    /// Open invoices die at their expiry, accepted ones near their HTLC's.
    pub(super) fn cancel_near_expiry(&mut self, now: i64) {
        let height = self.height;
        let dead: Vec<Hash32> = self
            .invoices
            .iter()
            .filter(|(_, invoice)| match invoice.standing {
                Standing::Open => now > invoice.created_at + invoice.expiry,
                Standing::Accepted { htlc_expiry, .. } => height + HOLD_EXPIRY_DELTA >= htlc_expiry,
                _ => false,
            })
            .map(|(hash, _)| *hash)
            .collect();
        for hash in dead {
            self.put(hash, Standing::Canceled);
        }
    }

    pub(super) fn settle(&mut self, preimage: Hash32, now: i64) -> Result<(), Status> {
        let hash = Hash32::of(&preimage.0);
        let invoice = self.invoices.get(&hash).ok_or_else(not_located)?;
        match invoice.standing {
            Standing::Open => Err(Status::unknown("invoice still open")),
            Standing::Canceled => Err(Status::unknown("invoice already canceled")),
            Standing::Settled { .. } => Ok(()),
            Standing::Accepted { .. } => {
                self.ledger.claimed_msat += invoice.amount_msat;
                self.put(hash, Standing::Settled { preimage, at: now });
                Ok(())
            }
        }
    }

    pub(super) fn cancel(&mut self, hash: Hash32) -> Result<(), Status> {
        match self.invoices.get(&hash).ok_or_else(not_located)?.standing {
            Standing::Settled { .. } => Err(Status::unknown("invoice already settled")),
            Standing::Canceled => Ok(()),
            Standing::Open | Standing::Accepted { .. } => {
                self.put(hash, Standing::Canceled);
                Ok(())
            }
        }
    }
}
