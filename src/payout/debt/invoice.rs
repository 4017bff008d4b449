//! Invoices that came in, and which of them is taken.

use serde::{Deserialize, Serialize};

use crate::engine::operator::Offered;
use crate::engine::{Signal, Store, StoreError, Timestamp};
use crate::payout::messages::{Outgoing, Refusal, Said};
use crate::payout::policy::{AcceptedInvoice, GateRules, admit};
use crate::payout::tables::HASHES;

/// The name of the signal that carries an invoice.
pub const SIGNAL: &str = "invoice";

/// What the signal says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InvoiceSignal {
    /// The invoice, as it came.
    pub bolt11: String,
    /// Whom the answer goes to, hex.
    pub from: String,
    /// The number of the client's request.
    pub request_id: Option<u64>,
    /// When its sender says that it was sent, Unix seconds; none for an operator's.
    #[serde(default)]
    pub made_at: Option<i64>,
    /// An operator gave it, who got it from the recipient some other way: a refusal is no answer to
    /// anything that the recipient has said.
    #[serde(default)]
    pub by_operator: bool,
    /// The operator insists on it although the time for it is over.
    #[serde(default)]
    pub insists: bool,
}

/// Whether an operator insists on that invoice although the time for it is over.
pub fn insisted(signal: &Signal) -> bool {
    serde_json::from_str::<InvoiceSignal>(&signal.payload).is_ok_and(|asked| asked.by_operator && asked.insists)
}

/// An invoice that an operator gives, as the signal of the mailbox: held against the same rules as one that
/// the recipient sends, here so that the operator is told, and again by the step that takes it. `to` is
/// the recipient.
///
/// # Errors
/// Why it is not taken.
pub async fn offered(
    store: &dyn Store,
    offered: Offered<'_>,
    rules: &GateRules,
    to: &str,
    now: Timestamp,
) -> Result<String, String> {
    let bolt11 = offered.payload.as_str().or_else(|| offered.payload.get("bolt11")?.as_str());
    let bolt11 = bolt11.ok_or("the signal `invoice` says {\"bolt11\": \"lnbc…\"}")?;
    let invoice = admit(bolt11, rules, now.secs()).map_err(|defect| format!("the invoice is refused: {defect}"))?;
    let known = store.row(HASHES.name, &hex::encode(invoice.payment_hash)).await.map_err(|error| error.to_string())?;
    if known.is_some() {
        return Err("the invoice is refused: its payment hash was used before".to_owned());
    }
    let signal = InvoiceSignal {
        bolt11: bolt11.to_owned(),
        from: to.to_owned(),
        request_id: None,
        made_at: None,
        by_operator: true,
        insists: offered.insists,
    };
    serde_json::to_string(&signal).map_err(|error| error.to_string())
}

/// When an invoice was given, Unix seconds: when it was sent, even if the node was away then and
/// read it later. A sender who dates it back gains no more than the time until the node, which is
/// there again, has read its relays.
pub fn given_at(signal: &Signal) -> i64 {
    let asked = serde_json::from_str::<InvoiceSignal>(&signal.payload);
    let made_at = asked.ok().and_then(|asked| asked.made_at);
    made_at.map_or(signal.at.secs(), |made_at| made_at.min(signal.at.secs()))
}

/// What came of looking at the invoices of a mailbox.
#[derive(Debug, Clone, Default)]
pub struct Considered {
    /// The first one that is good, and whom to tell so.
    pub accepted: Option<(InvoiceSignal, AcceptedInvoice)>,
    /// The others, each with its answer.
    pub refused: Vec<(InvoiceSignal, Refusal, String)>,
}

impl Considered {
    /// The answers to the refused ones about that order, to those who sent them.
    pub fn refusals(&self, order: &str) -> impl Iterator<Item = Outgoing> {
        let sent = self.refused.iter().filter(|(signal, ..)| !signal.by_operator);
        sent.map(move |(signal, refusal, _)| Outgoing::Direct {
            to: signal.from.clone(),
            about: Some(order.to_owned()),
            request_id: signal.request_id,
            said: Said::CantDo(*refusal),
        })
    }
}

fn asked_in(signal: &Signal) -> Option<InvoiceSignal> {
    serde_json::from_str(&signal.payload).ok()
}

fn too_late(asked: InvoiceSignal) -> (InvoiceSignal, Refusal, String) {
    (asked, Refusal::NotAllowedByStatus, "no invoice is wanted".to_owned())
}

/// Refuses all of them: none is wanted.
pub fn unwanted(signals: &[Signal]) -> Considered {
    Considered { accepted: None, refused: signals.iter().filter_map(asked_in).map(too_late).collect() }
}

/// Holds invoices against the gate, in the order in which they came: the first good one wins, and
/// whatever comes after it is too late.
pub async fn consider(
    store: &dyn Store,
    signals: &[Signal],
    rules: &GateRules,
    now: Timestamp,
) -> Result<Considered, StoreError> {
    let mut considered = Considered::default();
    for asked in signals.iter().filter_map(asked_in) {
        if considered.accepted.is_some() {
            considered.refused.push(too_late(asked));
            continue;
        }
        match admit(&asked.bolt11, rules, now.secs()) {
            Err(defect) => considered.refused.push((asked, Refusal::InvalidInvoice, defect.to_string())),
            Ok(invoice) => {
                let known = store.row(HASHES.name, &hex::encode(invoice.payment_hash)).await?;
                if known.is_some() {
                    let why = "its payment hash was used before".to_owned();
                    considered.refused.push((asked, Refusal::InvalidInvoice, why));
                } else {
                    considered.accepted = Some((asked, invoice));
                }
            }
        }
    }
    Ok(considered)
}
