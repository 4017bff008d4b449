//! Direct messages: what is said becomes what mostro-core serialises, encrypted to one key.

use std::str::FromStr;

use mostro_core::dispute::SolverDisputeInfo;
use mostro_core::error::CantDoReason;
use mostro_core::message::{Action, BondPayoutRequest, Message, Payload, Peer};
use mostro_core::order::{Kind as OrderKind, SmallOrder, Status as OrderStatus};
use mostro_core::user::UserInfo;
use nostr_sdk::nips::nip44;
use nostr_sdk::{Keys, PublicKey};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::{DAY, EncodeError};
use crate::payout::messages::{DisputeBrief, OrderSummary, Refusal, Said, Standing};

/// The message as JSON. `now` (Unix seconds) is what a user's age is reckoned from.
pub(super) fn message(
    about: Option<&str>,
    request_id: Option<u64>,
    said: &Said,
    now: i64,
) -> Result<Value, EncodeError> {
    let id = about.map(uuid).transpose()?;
    let order = |action, payload| Message::new_order(id, request_id, None, action, payload);
    let message = match said {
        Said::CantDo(refusal) => Message::cant_do(id, request_id, Some(Payload::CantDo(Some(reason(*refusal))))),
        Said::AdminSettled => order(Action::AdminSettled, None),
        Said::AdminCanceled => order(Action::AdminCanceled, None),
        Said::TookDispute(brief) => return took_dispute(id, request_id, brief, now),
        Said::SolverAssigned(solver) => {
            order(Action::AdminTookDispute, Some(Payload::Peer(Peer::new(solver.clone(), None))))
        }
        Said::BondSlashed(summary) => order(Action::BondSlashed, Some(Payload::Order(small_order(summary)?))),
        Said::BondInvoiceWanted { order: summary, slashed_at } => {
            let request = BondPayoutRequest { order: small_order(summary)?, slashed_at: *slashed_at };
            order(Action::AddBondInvoice, Some(Payload::BondPayoutRequest(request)))
        }
        Said::BondInvoiceAccepted(summary) => {
            order(Action::BondInvoiceAccepted, Some(Payload::Order(small_order(summary)?)))
        }
        Said::BondPayoutCompleted(summary) => {
            order(Action::BondPayoutCompleted, Some(Payload::Order(small_order(summary)?)))
        }
        Said::InvoiceWanted(summary) => order(Action::AddInvoice, Some(Payload::Order(small_order(summary)?))),
        Said::InvoiceUpdated => order(Action::InvoiceUpdated, None),
        Said::PurchaseCompleted => order(Action::PurchaseCompleted, None),
    };
    to_json(&message)
}

/// Encrypts `[message, null, null]`: the node is its own identity, so there is nothing to prove
/// beyond the event's signature.
pub(super) fn encrypt(message: &Value, keys: &Keys, to: &PublicKey) -> Result<String, EncodeError> {
    let plain = json!([message, null, null]).to_string();
    nip44::encrypt(keys.secret_key(), to, plain, nip44::Version::V2)
        .map_err(|error| EncodeError::Seal(error.to_string()))
}

fn to_json(message: &Message) -> Result<Value, EncodeError> {
    serde_json::to_value(message).map_err(|error| EncodeError::Seal(error.to_string()))
}

fn uuid(id: &str) -> Result<Uuid, EncodeError> {
    Uuid::parse_str(id).map_err(|_| EncodeError::invalid("id", id))
}

fn small_order(summary: &OrderSummary) -> Result<SmallOrder, EncodeError> {
    let kind = OrderKind::from_str(&summary.kind).map_err(|()| EncodeError::invalid("order kind", &summary.kind))?;
    let status = summary
        .status
        .as_deref()
        .map(|status| OrderStatus::from_str(status).map_err(|()| EncodeError::invalid("order status", status)))
        .transpose()?;
    let amount = i64::try_from(summary.amount_sats).map_err(|_| EncodeError::invalid("amount", summary.amount_sats))?;
    Ok(SmallOrder {
        id: Some(uuid(&summary.id)?),
        kind: Some(kind),
        status,
        amount,
        fiat_code: summary.fiat_code.clone(),
        fiat_amount: summary.fiat_amount,
        payment_method: summary.payment_method.clone(),
        premium: summary.premium,
        ..SmallOrder::default()
    })
}

/// The brief goes to the solver only; it is the one message in the `dispute` wrapper.
fn took_dispute(
    id: Option<Uuid>,
    request_id: Option<u64>,
    brief: &DisputeBrief,
    now: i64,
) -> Result<Value, EncodeError> {
    let order = &brief.order;
    let info = SolverDisputeInfo {
        id: uuid(&text(order, "id")?.unwrap_or_default())?,
        kind: text(order, "kind")?.unwrap_or_default(),
        status: text(order, "status")?.unwrap_or_default(),
        hash: text(order, "hash")?,
        preimage: text(order, "preimage")?,
        order_previous_status: brief.previous_status.clone(),
        initiator_pubkey: brief.initiator.clone(),
        buyer_pubkey: text(order, "buyer_pubkey")?,
        seller_pubkey: text(order, "seller_pubkey")?,
        initiator_full_privacy: brief.initiator_standing.is_none(),
        counterpart_full_privacy: brief.counterpart_standing.is_none(),
        initiator_info: brief.initiator_standing.map(|standing| user_info(standing, now)),
        counterpart_info: brief.counterpart_standing.map(|standing| user_info(standing, now)),
        premium: number(order, "premium")?,
        payment_method: text(order, "payment_method")?.unwrap_or_default(),
        amount: number(order, "amount")?,
        fiat_amount: number(order, "fiat_amount")?,
        fee: number(order, "fee")?,
        routing_fee: number(order, "routing_fee")?,
        buyer_invoice: text(order, "buyer_invoice")?,
        invoice_held_at: number(order, "invoice_held_at")?,
        taken_at: number(order, "taken_at")?,
        created_at: number(order, "created_at")?,
    };
    let payload = Payload::Dispute(uuid(&brief.dispute)?, Some(info));
    let message = Message::new_dispute(id, request_id, None, Action::AdminTookDispute, Some(payload));
    let mut message = to_json(&message)?;
    // Clients reckon a user's age from `since`, which this version of mostro-core does not have.
    for (field, standing) in
        [("initiator_info", brief.initiator_standing), ("counterpart_info", brief.counterpart_standing)]
    {
        let info = message.pointer_mut(&format!("/dispute/payload/dispute/1/{field}")).and_then(Value::as_object_mut);
        if let (Some(info), Some(standing)) = (info, standing) {
            info.insert("since".to_owned(), json!(first_day(standing)));
        }
    }
    Ok(message)
}

/// The start of the user's first day: a second would link his trade keys to each other.
fn first_day(standing: Standing) -> i64 {
    standing.since.max(0) / DAY * DAY
}

fn user_info(standing: Standing, now: i64) -> UserInfo {
    let days = now.saturating_sub(standing.since.max(0)).max(0) / DAY;
    UserInfo { rating: standing.rating, reviews: standing.reviews, operating_days: u64::try_from(days).unwrap_or(0) }
}

/// A column that holds a text or nothing.
pub(super) fn text(row: &Map<String, Value>, column: &'static str) -> Result<Option<String>, EncodeError> {
    match row.get(column) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(other) => Err(EncodeError::invalid(column, other)),
    }
}

/// A column that holds a whole number; nothing counts as 0, as it does in mostrod's rows.
pub(super) fn number(row: &Map<String, Value>, column: &'static str) -> Result<i64, EncodeError> {
    match row.get(column) {
        None | Some(Value::Null) => Ok(0),
        Some(value) => value.as_i64().ok_or_else(|| EncodeError::invalid(column, value)),
    }
}

fn reason(refusal: Refusal) -> CantDoReason {
    match refusal {
        Refusal::InvalidInvoice => CantDoReason::InvalidInvoice,
        Refusal::InvalidPayload => CantDoReason::InvalidPayload,
        Refusal::NotFound => CantDoReason::NotFound,
        Refusal::NotAllowedByStatus => CantDoReason::NotAllowedByStatus,
        Refusal::IsNotYourDispute => CantDoReason::IsNotYourDispute,
        Refusal::DisputeTakenByAdmin => CantDoReason::DisputeTakenByAdmin,
        Refusal::NotAuthorized => CantDoReason::NotAuthorized,
        Refusal::InvalidPeer => CantDoReason::InvalidPeer,
        Refusal::InvalidAction => CantDoReason::InvalidAction,
        Refusal::InvalidPubkey => CantDoReason::InvalidPubkey,
    }
}
