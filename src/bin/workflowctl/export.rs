//! `export`

use bondflow::engine::Run;
use bondflow::engine::operator::AUDIT;
use bondflow::engine::store::{OutboxEntry, Row};
use bondflow::payout::tables::{BONDS, DISPUTES, HASHES, ORDERS, PAYMENTS};
use clap::Args;
use serde_json::{Value, json};

use crate::audit;
use crate::desk::Desk;
use crate::failure::Failure;
use crate::find::find;
use crate::list::json_of;
use crate::outbox::about;
use crate::output::{Format, masked};
use crate::stake::{Stake, debt_of};

/// Writes all that the database knows about a run as JSON, secrets masked: for a report, or to look at elsewhere.
///
/// The run with its state, history, mailbox, journal of requests, the rows of its bond, order, dispute and
/// payments, and its messages that are not delivered.
#[derive(Args)]
#[command(after_help = "Examples:
  workflowctl export 3f9a > run.json
  workflowctl export 5a6a786d | jq .history")]
pub struct Export {
    /// The run, or its bond or order; may be shortened.
    id: String,
}

impl Export {
    /// Writes it.
    pub async fn run(self, desk: &mut Desk) -> Result<(), Failure> {
        let run = find(desk.store.as_ref(), &self.id).await?;
        let json = all_of(desk, &run).await?;
        if desk.output.format == Format::Table {
            desk.output.format = Format::Json;
        }
        desk.output.text(&run.id.0, "", &json)?;
        Ok(())
    }
}

async fn all_of(desk: &Desk, run: &Run) -> Result<Value, Failure> {
    let store = desk.store.as_ref();
    let stake = Stake::of(run, store).await?;
    let mut json = json_of(run, &stake);
    let state: Value = serde_json::from_str(&run.state).unwrap_or(Value::Null);
    let mailbox = store.mailbox(run.seq).await?;
    let audit = store.rows(AUDIT.name, "run", &Value::from(run.id.0.as_str())).await?;
    let row = async |table: &'static str, key: Option<&String>| match key {
        Some(key) => store.row(table, key).await.map(|row| row.map(Value::Object)),
        None => Ok(None),
    };
    let mut payments = Vec::new();
    for record in debt_of(run).into_iter().flat_map(|debt| debt.hashes) {
        let hash = hex::encode(record.payment_hash);
        let used: Option<Row> = store.row(HASHES.name, &hash).await?;
        payments.push(json!({ "hash": hash, "row": store.row(PAYMENTS.name, &hash).await?, "used": used }));
    }
    let dispute = match &stake.order {
        Some(order) => store.rows(DISPUTES.name, "order_id", &Value::from(order.as_str())).await?,
        None => Vec::new(),
    };
    let said = |payload: &str| serde_json::from_str(payload).unwrap_or(Value::Null);
    let message = |entry: &OutboxEntry| {
        json!({ "id": entry.message.id, "topic": entry.message.topic, "state": entry.state,
            "attempts": entry.attempts, "created_at": entry.created_at.to_string() })
    };
    json["state"] = state;
    json["token"] = json!(run.token);
    json["revision"] = json!(run.revision);
    json["definition"] = json!(run.pin.hash);
    json["history"] = json!(store.history(run.seq).await?);
    json["mailbox"] = mailbox
        .iter()
        .map(|signal| {
            json!({ "number": signal.number, "name": signal.name, "at": signal.at.to_string(),
            "payload": said(&signal.payload) })
        })
        .collect();
    json["audit"] = audit.iter().map(audit::json_of).collect();
    json["rows"] = json!({
        "bond": row(BONDS.name, stake.bond.as_ref()).await?,
        "order": row(ORDERS.name, stake.order.as_ref()).await?,
        "dispute": dispute.first(),
        "payments": payments,
    });
    json["undelivered"] = about(desk, run, &stake).await?.iter().map(message).collect();
    Ok(masked(json))
}
