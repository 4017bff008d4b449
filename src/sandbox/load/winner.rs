//! A winner, whose messages are made before the clock runs.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use mostro_core::message::Action;
use nostr_sdk::{Event, Keys};
use uuid::Uuid;

use crate::engine::{Clock, SystemClock, Timestamp};
use crate::sandbox::clients::{Client, Line};
use crate::sandbox::lnd::{InvoiceSpec, Payee, payment_hash};
use crate::sandbox::mostrod::{Bond, Trade};

/// Sats of each bond.
const BOND_SATS: u64 = 1_000;
/// The winner's share of it.
const SHARE_SATS: u64 = BOND_SATS / 2;

/// One slashed bond's winner, and what is to be said about it.
pub struct Winner {
    /// The order in dispute; there is no escrow.
    pub trade: Trade,
    /// The payment hash of its invoice.
    pub hash: [u8; 32],
    client: Client,
    ruling: Event,
    answer: Event,
}

impl Winner {
    /// A seller whose buyer's bond is to be slashed.
    pub fn new(line: &Arc<Line>, solver: &Client, wallet: &Payee) -> anyhow::Result<Self> {
        let keys = Keys::generate();
        let client = Client::on(line, keys.clone(), keys);
        let secret = || Keys::generate().secret_key().to_secret_bytes();
        let bond =
            |maker| Bond { id: Uuid::new_v4(), maker, amount_sats: BOND_SATS, preimage: secret(), state: "locked" };
        let trade = Trade {
            order: Uuid::new_v4(),
            dispute: Uuid::new_v4(),
            kind: "sell",
            amount_sats: 100_000,
            fee_sats: 0,
            seller: client.key().to_hex(),
            buyer: Keys::generate().public_key().to_hex(),
            solver: Some(solver.key().to_hex()),
            escrow: None,
            buyer_invoice: None,
            bonds: vec![bond(true), bond(false)],
            at: SystemClock.now().secs(),
        };
        let bolt11 = wallet.invoice(SHARE_SATS, InvoiceSpec { expiry: 86_400, ..InvoiceSpec::default() });
        let ruling = solver.wrap(&solver.ruling(trade.order, Action::AdminCancel, false, true))?;
        let answer = client.wrap(&client.bond_invoice(trade.order, &bolt11))?;
        Ok(Self { hash: payment_hash(&bolt11), trade, client, ruling, answer })
    }

    /// The id of the bond that is slashed.
    pub fn bond(&self) -> String {
        self.trade.bonds[1].id.to_string()
    }

    /// The solver rules in its favour.
    pub async fn is_ruled(&self, solver: &Client) -> anyhow::Result<()> {
        solver.publish(&self.ruling).await.context("a ruling was not taken by the relay")
    }

    /// Answers the request for an invoice as soon as it comes; says when that was.
    pub async fn answers(&self, patience: Duration) -> anyhow::Result<Timestamp> {
        self.hears(Action::AddBondInvoice, patience).await?;
        let asked_at = SystemClock.now();
        self.client.publish(&self.answer).await.context("an invoice was not taken by the relay")?;
        Ok(asked_at)
    }

    /// Is told that the sats have arrived.
    pub async fn is_told(&self, patience: Duration) -> anyhow::Result<()> {
        self.hears(Action::BondPayoutCompleted, patience).await
    }

    async fn hears(&self, action: Action, patience: Duration) -> anyhow::Result<()> {
        let heard = self.client.wait_for(patience, |heard| heard.action() == action).await;
        heard.map(drop).with_context(|| format!("waited in vain for {action:?}"))
    }
}
