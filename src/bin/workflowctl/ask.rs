//! Asking something of runs: a request into each one's mailbox, a nudge for the daemon, and what came of
//! it.

use std::time::Duration;

use bondflow::engine::operator::{AUDIT, Asked, Request};
use bondflow::engine::store::{NewSignal, Row};
use bondflow::engine::{Commit, Run, Status, Timestamp};
use clap::Args;
use serde_json::{Value, json};

use crate::desk::Desk;
use crate::failure::Failure;
use crate::output::{Output, Record};

/// What goes with every request.
#[derive(Args)]
pub struct Terms {
    /// Why, for the journal.
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    /// Does not wait for the daemon to say what came of it.
    #[arg(long)]
    pub no_wait: bool,
}

/// The same, with insisting.
#[derive(Args)]
pub struct Insistence {
    /// Insists on what is refused otherwise; needs --reason.
    #[arg(long, requires = "reason")]
    pub force: bool,
    #[command(flatten)]
    pub terms: Terms,
}

const HEADINGS: &[&str] = &["id", "asked", "outcome", "step", "detail"];

/// How long the daemon's answer is waited for. A step under way comes first, and may take longer.
const PATIENCE: Duration = Duration::from_secs(5);
/// What is told when nobody is there to answer.
pub const NOBODY: &str = "no daemon is at work on this database: it is stored, and done at the daemon's next start";
/// How often its answer is looked for.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// A request that is stored.
struct Stored {
    run: Run,
    ticket: String,
}

/// Who asks what.
pub struct Question {
    /// What.
    pub request: Request,
    /// Whether the person insists.
    pub force: bool,
    /// What goes with it.
    pub terms: Terms,
}

impl Question {
    /// Asks each of these runs, or tells why it was not found; what fails is told on stderr and does not
    /// hinder the others.
    pub async fn of_all(self, desk: &mut Desk, runs: Vec<Result<Run, Failure>>) -> Result<(), Failure> {
        let all = runs.len();
        let (mut stored, mut failures) = (Vec::new(), Vec::new());
        for run in runs {
            let asked = match run {
                Ok(run) => self.of(desk, run).await,
                Err(failure) => Err(failure),
            };
            match asked {
                Ok(one) => stored.push(one),
                Err(failure) => failures.push(failure),
            }
        }
        let answered = if stored.is_empty() { Vec::new() } else { self.answers(desk, &stored).await? };
        let mut records = Vec::new();
        for (one, answer) in stored.iter().zip(answered) {
            match answer {
                Some(row) if row.get("outcome").and_then(Value::as_str) == Some("refused") => {
                    let why = row.get("detail").and_then(Value::as_str).unwrap_or("no reason given");
                    failures.push(Failure::Error(format!(
                        "run {}: {} is refused: {why}",
                        one.run.id,
                        self.request.name()
                    )));
                }
                answer => records.push(self.record(&one.run, answer.as_ref())),
            }
        }
        if !records.is_empty() {
            desk.output.records(HEADINGS, &records)?;
        }
        ended(&desk.output, records.len(), all, failures)
    }

    async fn of(&self, desk: &Desk, run: Run) -> Result<Stored, Failure> {
        self.fits(&run)?;
        let now = desk.now();
        let ticket = desk.ticket();
        let asked = Asked {
            ticket: ticket.clone(),
            by: desk.operator.clone(),
            reason: self.terms.reason.clone(),
            force: self.force,
            request: self.request.clone(),
        };
        let payload = serde_json::to_string(&asked).map_err(|error| Failure::Error(error.to_string()))?;
        let signal =
            NewSignal { run: run.id.clone(), name: self.request.signal(), payload, dedup: format!("request {ticket}") };
        desk.store.commit(Commit { at: now, signals: vec![signal], ..Commit::default() }).await?;
        Ok(Stored { run, ticket })
    }

    /// The daemon decides; what it would refuse now is not even stored.
    fn fits(&self, run: &Run) -> Result<(), Failure> {
        let refused = |why: String| Err(Failure::Error(why));
        let may_reopen = matches!(self.request, Request::Signal { .. }) && self.force;
        if run.status.is_final() && !may_reopen {
            let hint = match self.request {
                Request::Signal { .. } => "; --force --reason reopens what was forfeited",
                _ => "",
            };
            let ended = format!("run {} has ended ({} at `{}`)", run.id, run.status, run.step);
            return refused(format!("{ended}, nothing can be asked of it{hint}"));
        }
        let stops = matches!(self.request, Request::Pause | Request::Cancel);
        if run.status == Status::InDoubt && stops && !self.force {
            return refused(format!(
                "run {} has a payment in doubt: it can be stopped once lnd has told the payment's end (`why {}`), or by \
                 --force --reason",
                run.id, run.id
            ));
        }
        Ok(())
    }

    /// The journal's rows about these requests, as far as the daemon has come in time.
    async fn answers(&self, desk: &Desk, stored: &[Stored]) -> Result<Vec<Option<Row>>, Failure> {
        let mut answers = vec![None; stored.len()];
        let there = desk.wake().await?;
        if self.terms.no_wait {
            return Ok(answers);
        }
        if !there {
            desk.output.tell(NOBODY);
            return Ok(answers);
        }
        let until = desk.now().after(PATIENCE);
        loop {
            for (one, answer) in stored.iter().zip(&mut answers).filter(|(_, answer)| answer.is_none()) {
                let rows = desk.store.rows(AUDIT.name, "run", &Value::from(one.run.id.0.as_str())).await?;
                *answer = rows.into_iter().find(|row| row.get("ticket").and_then(Value::as_str) == Some(&one.ticket));
            }
            let now = desk.now();
            if answers.iter().all(Option::is_some) {
                return Ok(answers);
            }
            if now >= until {
                desk.output.tell(match desk.wake().await? {
                    true => "the daemon has not come to all of it yet: it is stored and will be done; `workflowctl audit` tells",
                    false => NOBODY,
                });
                return Ok(answers);
            }
            desk.clock.sleep_until(now.after(LOOK_AGAIN)).await;
        }
    }

    fn record(&self, run: &Run, answer: Option<&Row>) -> Record {
        let text = |column: &str| answer.and_then(|row| row.get(column)?.as_str());
        let outcome = text("outcome").unwrap_or("stored");
        let step = text("step").unwrap_or(&run.step);
        let at = answer.and_then(|row| row.get("applied_at")?.as_i64()).map(Timestamp);
        Record {
            id: run.id.to_string(),
            cells: vec![
                run.id.to_string(),
                self.request.name().to_owned(),
                outcome.to_owned(),
                step.to_owned(),
                text("detail").unwrap_or("-").to_owned(),
            ],
            json: json!({
                "id": run.id, "asked": self.request.name(), "outcome": outcome, "step": step,
                "status": text("status"), "detail": text("detail"), "applied_at": at.map(|at| at.to_string()),
            }),
        }
    }
}

/// What a command over several runs comes to: those that failed are told.
fn ended(output: &Output, done: usize, all: usize, mut failures: Vec<Failure>) -> Result<(), Failure> {
    if failures.len() == 1 && all == 1 {
        return failures.pop().map_or(Ok(()), Err);
    }
    for failure in &failures {
        output.tell(format_args!("workflowctl: {failure}"));
    }
    match failures.pop() {
        None => Ok(()),
        Some(_) if done > 0 => Err(Failure::Partly { done, all }),
        Some(last) if failures.iter().all(|failure| failure.code() == last.code()) => Err(match last {
            Failure::NotFound(_) => Failure::NotFound("none of them was found".to_owned()),
            _ => Failure::Error("nothing was done".to_owned()),
        }),
        Some(_) => Err(Failure::Error("nothing was done".to_owned())),
    }
}
