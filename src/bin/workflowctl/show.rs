//! `show`

use bondflow::engine::{Run, Status, Timestamp};
use clap::Args;
use serde_json::{Value, json};

use crate::desk::Desk;
use crate::failure::Failure;
use crate::find::find;
use crate::list::{json_of, next_wake};
use crate::outbox::about;
use crate::output::masked;
use crate::stake::Stake;
use crate::when::dated;

/// Shows all of one run: state, what it waits on, deadline, last error, lease, undelivered messages.
#[derive(Args)]
#[command(after_help = "Examples:
  workflowctl show 3f9a
  workflowctl show 5a6a786d -o json | jq .state")]
pub struct Show {
    /// The run, or its bond or order; may be shortened.
    id: String,
}

const DAY: i64 = 86_400;

impl Show {
    /// Shows it.
    pub async fn run(self, desk: &mut Desk) -> Result<(), Failure> {
        let run = find(desk.store.as_ref(), &self.id).await?;
        let now = desk.now();
        let stake = Stake::of(&run, desk.store.as_ref()).await?;
        let mailbox = desk.store.mailbox(run.seq).await?;
        let undelivered: Vec<String> =
            about(desk, &run, &stake).await?.into_iter().map(|entry| entry.message.topic).collect();
        let days = desk.window_days.map(i64::from);
        let deadline = stake.slashed_at.zip(days).map(|(at, days)| Timestamp::from_secs(at + days * DAY));
        let state = masked(serde_json::from_str(&run.state).unwrap_or(Value::Null));

        let mut json = json_of(&run, &stake);
        json["state"] = state.clone();
        json["deadline"] = json!(deadline.map(|at| at.to_string()));
        json["mailbox"] =
            mailbox.iter().map(|signal| json!({ "name": signal.name, "at": signal.at.to_string() })).collect();
        json["undelivered"] = undelivered.iter().map(|topic| Value::from(topic.as_str())).collect();

        if let Some(at) = run.retired_at {
            json["retired_at"] = Value::from(at.to_string());
        }

        let or_none = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        let listed = |texts: Vec<String>| if texts.is_empty() { "none".to_owned() } else { texts.join(", ") };
        let mut fields = vec![
            ("run", run.id.to_string()),
            ("workflow", format!("{} version {}", run.pin.workflow, run.pin.version)),
            ("bond", or_none(stake.bond.clone())),
            ("order", or_none(stake.order.clone())),
            ("status", format!("{} since {}", run.status, dated(run.updated_at, now))),
            ("step", format!("{}, attempt {}", run.step, run.attempt)),
            ("waiting on", waiting_on(&run)),
            ("next wake", next_wake(&run, now)),
            ("deadline", deadline.map_or_else(|| unknown_deadline(&stake, days), |at| dated(at, now))),
            ("sats at risk", stake.sats_at_risk.map_or_else(|| "?".to_owned(), |sats| sats.to_string())),
            ("last error", or_none(run.error.clone())),
            (
                "lease",
                run.owner
                    .as_ref()
                    .map_or_else(|| "nobody's".to_owned(), |owner| format!("{owner}, token {}", run.token)),
            ),
            (
                "mailbox",
                listed(mailbox.iter().map(|signal| format!("{} {}", signal.name, dated(signal.at, now))).collect()),
            ),
            ("undelivered", listed(undelivered)),
            ("started", dated(run.created_at, now)),
            ("revision", run.revision.to_string()),
            ("state", state.to_string()),
        ];
        if let Some(at) = run.retired_at {
            let what = format!("{}: its history and what it knew are gone", dated(at, now));
            fields.insert(5, ("retired", what));
        }
        desk.output.fields(&run.id.0, &fields, &json)?;
        Ok(())
    }
}

fn waiting_on(run: &Run) -> String {
    let definition = crate::graph::definition(&run.pin.workflow);
    let signals = definition.as_ref().and_then(|definition| definition.step(&run.step)).map(|step| &step.signals);
    match run.status {
        Status::Waiting => match signals {
            Some(signals) if !signals.is_empty() => {
                let names: Vec<_> = signals.iter().map(String::as_str).collect();
                format!("the signal {}, or its timer", names.join(" or "))
            }
            _ => "its timer".to_owned(),
        },
        Status::Running => "a worker".to_owned(),
        Status::BackingOff => "its next try".to_owned(),
        Status::InDoubt => "a verdict on a payment".to_owned(),
        Status::Paused => "a person".to_owned(),
        Status::Completed | Status::Failed | Status::Canceled => "nothing, it has ended".to_owned(),
    }
}

fn unknown_deadline(stake: &Stake, days: Option<i64>) -> String {
    match (stake.slashed_at, days) {
        (Some(_), None) => "unknown without the settings: give --config".to_owned(),
        _ => "-".to_owned(),
    }
}
