//! Invoices that came in, and which of them is taken.

use serde::{Deserialize, Serialize};

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
    /// The answers to the refused ones about that order.
    pub fn refusals(&self, order: &str) -> impl Iterator<Item = Outgoing> {
        self.refused.iter().map(move |(signal, refusal, _)| Outgoing::Direct {
            to: signal.from.clone(),
            about: Some(order.to_owned()),
            request_id: signal.request_id,
            said: Said::CantDo(*refusal),
        })
    }
}

/// Holds invoices against the gate, in the order in which they came: the first good one wins, and
/// whatever comes after it is too late. With `rules` none, all are too late.
pub async fn consider(
    store: &dyn Store,
    signals: &[Signal],
    rules: Option<&GateRules>,
    now: Timestamp,
) -> Result<Considered, StoreError> {
    let mut considered = Considered::default();
    for signal in signals {
        let Ok(asked) = serde_json::from_str::<InvoiceSignal>(&signal.payload) else { continue };
        let (Some(rules), None) = (rules, &considered.accepted) else {
            considered.refused.push((asked, Refusal::NotAllowedByStatus, "no invoice is wanted".to_owned()));
            continue;
        };
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
