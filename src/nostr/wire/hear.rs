//! Received events: what is dropped unheard, and what the rest ask for.

use std::fmt;

use mostro_core::error::{MostroError, ServiceError};
use mostro_core::message::{Action, MessageKind, Payload};
use mostro_core::transport::unwrap_message_nip44;
use nostr_sdk::{Event, Keys};

use super::DIRECT;
use crate::engine::Timestamp;
use crate::payout::messages::{Incoming, Request, Ruling, Slash};

/// The longest content that is looked at.
pub const MAX_CONTENT_BYTES: usize = 64 * 1024;

/// What an incoming event must satisfy.
#[derive(Clone, Copy)]
pub struct Rules<'a> {
    /// The work that every event must show, leading zero bits of its id.
    pub pow: u8,
    /// The work that an event of an unknown key must show; none: as any other.
    pub pow_first_contact: Option<u8>,
    /// Whether a key (hex) is known: a trade key of an open order, or an assigned solver. The
    /// node's own key always is.
    pub known: &'a (dyn Fn(&str) -> bool + Sync),
    /// Events from before this time count as seen: the daemon before this one had them.
    pub not_before: Option<Timestamp>,
}

impl fmt::Debug for Rules<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rules")
            .field("pow", &self.pow)
            .field("pow_first_contact", &self.pow_first_contact)
            .field("not_before", &self.not_before)
            .finish_non_exhaustive()
    }
}

/// Why an event is dropped without an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Dropped {
    /// It is no direct message.
    #[error("not a direct message")]
    Kind,
    /// It is from before the time from which this daemon answers.
    #[error("older than this installation")]
    Old,
    /// Its content is longer than [`MAX_CONTENT_BYTES`].
    #[error("oversized")]
    Oversized,
    /// It shows too little work.
    #[error("too little proof of work")]
    Work,
    /// Its id or signature is wrong.
    #[error("bad signature")]
    Signature,
    /// It is not encrypted to the node.
    #[error("undecryptable")]
    Undecryptable,
    /// The sender claims another identity and does not sign, or a proof inside is wrong.
    #[error("identity not proven")]
    Identity,
    /// mostro-core can't read it.
    #[error("unreadable")]
    Unreadable,
    /// A refusal, or what the node itself said to its own key: an answer could go on for ever.
    #[error("not a request")]
    NoRequest,
}

/// Opens an event. Cheap checks come first: nothing is decrypted for a sender who has not shown
/// the work.
pub fn decode(event: &Event, keys: &Keys, rules: &Rules<'_>) -> Result<Incoming, Dropped> {
    if event.kind != DIRECT {
        return Err(Dropped::Kind);
    }
    let created_at = i64::try_from(event.created_at.as_secs()).unwrap_or(i64::MAX);
    if rules.not_before.is_some_and(|not_before| created_at < not_before.secs()) {
        return Err(Dropped::Old);
    }
    if event.content.len() > MAX_CONTENT_BYTES {
        return Err(Dropped::Oversized);
    }
    let sender = event.pubkey.to_hex();
    let own = event.pubkey == keys.public_key();
    let work = match rules.pow_first_contact {
        Some(first) if !own && !(rules.known)(&sender) => first.max(rules.pow),
        _ => rules.pow,
    };
    if !event.check_pow(work) {
        return Err(Dropped::Work);
    }
    if event.verify().is_err() {
        return Err(Dropped::Signature);
    }
    let opened = match unwrap_message_nip44(event, keys) {
        Ok(Some(opened)) => opened,
        Ok(None) => return Err(Dropped::Undecryptable),
        Err(MostroError::MostroInternalErr(ServiceError::MessageSerializationError)) => {
            return Err(Dropped::Unreadable);
        }
        Err(_) => return Err(Dropped::Identity),
    };
    if opened.signature.is_none() && opened.identity != opened.sender {
        return Err(Dropped::Identity);
    }
    let kind = opened.message.get_inner_message_kind();
    if kind.action == Action::CantDo || own && is_echo(kind) {
        return Err(Dropped::NoRequest);
    }
    Ok(Incoming {
        event: event.id.to_hex(),
        sender,
        identity: opened.identity.to_hex(),
        made_at: created_at,
        request_id: kind.request_id,
        about: kind.id.map(|id| id.to_string()),
        request: request(kind),
    })
}

/// Dispatches on the action; the wrapper says nothing (clients send rulings as `dispute`).
fn request(kind: &MessageKind) -> Request {
    match &kind.action {
        Action::AdminSettle => Request::Rule { ruling: Ruling::Settle, slash: slash(kind) },
        Action::AdminCancel => Request::Rule { ruling: Ruling::Cancel, slash: slash(kind) },
        Action::AddBondInvoice => Request::BondInvoice(bolt11(kind)),
        Action::AddInvoice => Request::TradeInvoice(bolt11(kind)),
        _ if !kind.verify() => Request::Malformed,
        Action::AdminTakeDispute => Request::TakeDispute,
        _ => Request::Other,
    }
}

fn slash(kind: &MessageKind) -> Option<Slash> {
    match &kind.payload {
        None => Some(Slash::default()),
        Some(Payload::BondResolution(resolution)) => {
            Some(Slash { seller: resolution.slash_seller, buyer: resolution.slash_buyer })
        }
        Some(_) => None,
    }
}

/// The second element; the order and the amount beside it are ignored.
fn bolt11(kind: &MessageKind) -> Option<String> {
    match &kind.payload {
        Some(Payload::PaymentRequest(_, bolt11, _)) => Some(bolt11.clone()),
        _ => None,
    }
}

/// Whether the node says such things. Its own key may also be a solver's: then what it says to
/// itself comes back over the relays.
fn is_echo(kind: &MessageKind) -> bool {
    match kind.action {
        Action::AdminSettled
        | Action::AdminCanceled
        | Action::AdminTookDispute
        | Action::BondSlashed
        | Action::BondInvoiceAccepted
        | Action::BondPayoutCompleted
        | Action::InvoiceUpdated
        | Action::PurchaseCompleted => true,
        Action::AddBondInvoice | Action::AddInvoice => bolt11(kind).is_none(),
        _ => false,
    }
}
