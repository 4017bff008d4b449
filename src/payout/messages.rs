//! What the node says and hears, in the payout's own words.
//!
//! The Nostr adapter turns an [`Outgoing`] into a signed event and a received event into an
//! [`Incoming`]; how they look on the wire is its business alone. An `Outgoing` travels through
//! the engine as the content of a [`Draft`], JSON text.

use serde::{Deserialize, Serialize};

use crate::engine::Draft;

/// Why a request is refused, in the words of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Refusal {
    /// The invoice can't be paid as it must be.
    InvalidInvoice,
    /// The message's payload is not what the action needs.
    InvalidPayload,
    /// There is no such order.
    NotFound,
    /// Not in this state, or not any more.
    NotAllowedByStatus,
    /// The sender is not the solver of the dispute.
    IsNotYourDispute,
    /// The node's own key has the dispute.
    DisputeTakenByAdmin,
    /// The solver may read but not rule.
    NotAuthorized,
    /// The sender is not the party that was asked.
    InvalidPeer,
    /// This node does not serve the action.
    InvalidAction,
    /// The sender's key does not give the right.
    InvalidPubkey,
}

/// An order as messages about it carry it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderSummary {
    /// The order's id.
    pub id: String,
    /// `buy` or `sell`.
    pub kind: String,
    /// The order's status, where the message has one.
    pub status: Option<String>,
    /// The sats that the message is about.
    pub amount_sats: u64,
    /// The fiat currency.
    pub fiat_code: String,
    /// The fiat amount.
    pub fiat_amount: i64,
    /// How the fiat is paid.
    pub payment_method: String,
    /// The premium in percent.
    pub premium: i64,
}

/// What a solver is told about a dispute that he took.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DisputeBrief {
    /// The dispute's id.
    pub dispute: String,
    /// The order, all columns, as the database has them.
    pub order: serde_json::Map<String, serde_json::Value>,
    /// The status that the order had before the dispute.
    pub previous_status: String,
    /// The trade key of the side that opened the dispute.
    pub initiator: String,
    /// What is known of the side that opened it; none: it trades in full privacy.
    pub initiator_standing: Option<Standing>,
    /// What is known of the other side; none: it trades in full privacy.
    pub counterpart_standing: Option<Standing>,
}

/// A user's reputation.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Standing {
    /// The mean of the ratings.
    pub rating: f64,
    /// How many there are.
    pub reviews: i64,
    /// When the user was first seen, Unix seconds.
    pub since: i64,
}

/// What a direct message says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Said {
    /// `cant-do` with its reason.
    CantDo(Refusal),
    /// `admin-settled`.
    AdminSettled,
    /// `admin-canceled`.
    AdminCanceled,
    /// `admin-took-dispute` to the solver.
    TookDispute(Box<DisputeBrief>),
    /// `admin-took-dispute` to a party: the solver's key.
    SolverAssigned(String),
    /// `bond-slashed`; the amount is the slashed bond.
    BondSlashed(OrderSummary),
    /// `add-bond-invoice`: asks for an invoice; the amount is the counterparty's share.
    BondInvoiceWanted {
        /// The order.
        order: OrderSummary,
        /// When the bond was slashed, Unix seconds.
        slashed_at: i64,
    },
    /// `bond-invoice-accepted`.
    BondInvoiceAccepted(OrderSummary),
    /// `bond-payout-completed`.
    BondPayoutCompleted(OrderSummary),
    /// `add-invoice`: asks the buyer for another invoice for the trade's sats.
    InvoiceWanted(OrderSummary),
    /// `invoice-updated`.
    InvoiceUpdated,
    /// `purchase-completed`.
    PurchaseCompleted,
}

/// The node's public standing (kind 38385), beyond what the settings say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InfoFacts {
    /// lnd's version.
    pub lnd_version: String,
    /// lnd's identity key.
    pub lnd_node_pubkey: String,
    /// lnd's alias.
    pub lnd_node_alias: String,
    /// lnd's networks.
    pub lnd_networks: String,
}

/// How the node is (kind 38389): a sign of life, and what was found by the last look.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthFacts {
    /// Names the database that this daemon works on: another daemon on the node's key has another.
    pub installation: String,
    /// Counts the events of this process.
    pub seq: u64,
    /// Seconds until the next one.
    pub interval_secs: u32,
    /// What was looked at, in the events' words, and whether it is well.
    pub checks: Vec<(String, bool)>,
    /// lnd's block height, where lnd told it.
    pub block_height: Option<u32>,
    /// Whether lnd is synced to its chain, where lnd told it.
    pub synced_to_chain: Option<bool>,
}

/// A message to the outside.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outgoing {
    /// To one key, encrypted.
    Direct {
        /// The receiver's key, hex.
        to: String,
        /// The order, or for a dispute's messages the dispute.
        about: Option<String>,
        /// The id of the request that this answers; none for a notice.
        request_id: Option<u64>,
        /// What it says.
        said: Said,
    },
    /// The order's public event (kind 38383), replacing the one before.
    OrderEvent {
        /// The order, all columns, as the database has them.
        order: serde_json::Map<String, serde_json::Value>,
        /// The public status: the event's `s` tag.
        status: String,
    },
    /// The dispute's public event (kind 38386), replacing the one before.
    DisputeEvent {
        /// The dispute's id.
        id: String,
        /// The public status: the event's `s` tag.
        status: String,
        /// `buyer` or `seller`.
        initiator: String,
        /// When the dispute was opened, Unix seconds.
        created_at: i64,
    },
    /// The node's info event (kind 38385), replacing the one before.
    Info(InfoFacts),
    /// The node's health event (kind 38389), replacing the one before.
    Health(HealthFacts),
}

impl Outgoing {
    /// The draft that carries it.
    pub fn draft(&self, topic: impl Into<String>) -> Draft {
        let content = serde_json::to_string(self).expect("strings, numbers and maps with text keys are always JSON");
        Draft { topic: topic.into(), content }
    }
}

/// Which way a solver ruled on the trade itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ruling {
    /// `admin-settle`: the buyer gets the sats.
    Settle,
    /// `admin-cancel`: the seller gets them back.
    Cancel,
}

/// What a message asks for. A payload of another shape than the action needs is `None`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// `admin-settle`, `admin-cancel`.
    Rule {
        /// Which.
        ruling: Ruling,
        /// Who is to be slashed.
        slash: Option<Slash>,
    },
    /// `admin-take-dispute`.
    TakeDispute,
    /// `add-bond-invoice`: the bolt11.
    BondInvoice(Option<String>),
    /// `add-invoice`: the bolt11.
    TradeInvoice(Option<String>),
    /// `admin-take-dispute` or an action that is not served, and the message is not well formed
    /// for it: no id, or a payload that it can't have.
    Malformed,
    /// Any other action, well formed.
    Other,
}

/// Who a ruling slashes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Slash {
    /// The seller's bond.
    pub seller: bool,
    /// The buyer's bond.
    pub buyer: bool,
}

/// A message that came in, its signatures verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incoming {
    /// The event's id.
    pub event: String,
    /// The event's author: where replies go, hex.
    pub sender: String,
    /// The proven identity key: who has authority, hex.
    pub identity: String,
    /// When its sender says that it was made, Unix seconds.
    pub made_at: i64,
    /// The client's own number for the request.
    pub request_id: Option<u64>,
    /// The id in the message: the order's, or the dispute's.
    pub about: Option<String>,
    /// What is asked for.
    pub request: Request,
}
