//! What an operator does.

use std::time::Duration;

use bondflow::engine::operator::{Asked, Request, Word};
use bondflow::engine::store::{Commit, NewSignal, RunFilter};
use bondflow::engine::{Run, RunId, Status, Store};

use super::super::lnd::Truth;
use super::super::people;
use super::super::plan::{Command, RETRIED, Which};
use super::{Act, World};

impl World<'_> {
    pub(super) async fn operate(&mut self, order: usize, which: Which, command: Command, forced: bool) {
        let (workflow, key) = people::run_of(order, which);
        let run = RunId::of(workflow, &key);
        let request = match command {
            Command::Resolve(true) => return self.resolve(run).await,
            Command::Resolve(false) => Request::Resolve { word: Word::Happened { evidence: "11".repeat(32) } },
            Command::Signal(fates) => {
                let plan = &self.plan.orders[order];
                let sats = if which == Which::Trade { people::trade_sats(plan) } else { self.owed(order) };
                let bolt11 = self.clients.invoice((order, which != Which::Trade), sats, 43_200, &fates);
                Request::Signal { name: "invoice".into(), payload: serde_json::json!({ "bolt11": bolt11 }) }
            }
            Command::Resume => Request::Resume,
            Command::Pause => Request::Pause,
            Command::Cancel => Request::Cancel,
            Command::Retry(from) => Request::Retry { from: RETRIED[from as usize % RETRIED.len()].to_owned() },
        };
        self.ask(run, request, forced).await;
    }

    /// A person finds out what became of a payment that is in doubt, and says so.
    async fn resolve(&mut self, run: RunId) {
        let Some(found) = self.outside.store.run(&run).await.unwrap() else { return };
        let Some(hash) = looked_at(&found) else { return };
        let word = match self.outside.lnd.truth(hash) {
            Truth::Paid(preimage) => Word::Happened { evidence: hex::encode(preimage) },
            Truth::Nothing => Word::DidNot,
            Truth::UnderWay => return,
        };
        self.ask(run, Request::Resolve { word }, false).await;
    }

    /// As `workflowctl` does: a signal in the database, and a nudge.
    async fn ask(&mut self, run: RunId, request: Request, force: bool) {
        self.acts += 1;
        let ticket = format!("request-{}", self.acts);
        let name = request.signal();
        let asked =
            Asked { ticket: ticket.clone(), by: "operator".into(), reason: Some("a reason".into()), force, request };
        let payload = serde_json::to_string(&asked).unwrap();
        let signal = NewSignal { run, name, payload, dedup: ticket };
        let commit = Commit { at: self.now(), signals: vec![signal], ..Commit::default() };
        self.outside.store.commit(commit).await.unwrap();
        self.outside.store.announce();
    }

    pub(super) async fn resume_all(&mut self, again: bool) {
        let paused = RunFilter { status: Some(Status::Paused), ..RunFilter::default() };
        for run in self.outside.store.runs(&paused).await.unwrap() {
            self.ask(run.id, Request::Resume, false).await;
        }
        if again {
            self.after(Duration::from_secs(600), Act::ResumeAll { again: false });
        } else if self.wiped {
            self.after(Duration::ZERO, Act::ResolveAll);
        }
    }

    /// What lnd has forgotten only a person can end; who looks again as long as anything may still get into doubt.
    pub(super) async fn resolve_all(&mut self) {
        let in_doubt = RunFilter { status: Some(Status::InDoubt), ..RunFilter::default() };
        for run in self.outside.store.runs(&in_doubt).await.unwrap() {
            self.resolve(run.id).await;
        }
        if !self.is_over().await {
            self.after(Duration::from_secs(3_600), Act::ResolveAll);
        }
    }
}

/// The hash of the payment that the run looks at: one that has no verdict, or the present invoice's.
fn looked_at(run: &Run) -> Option<[u8; 32]> {
    let state: serde_json::Value = serde_json::from_str(&run.state).ok()?;
    let hashes = state["debt"]["hashes"].as_array()?;
    let record = hashes.iter().find(|record| !record["undecided"].is_null());
    let hash = record.map_or(&state["debt"]["invoice"]["hash"], |record| &record["payment_hash"]);
    hex::decode(hash.as_str()?).ok()?.try_into().ok()
}

/// Whether the run has a send without a verdict that was intended before lnd was known to have any payment.
pub(super) fn is_unwitnessed(run: &Run) -> bool {
    let state: serde_json::Value = serde_json::from_str(&run.state).unwrap_or_default();
    let hashes = state["debt"]["hashes"].as_array().cloned().unwrap_or_default();
    hashes.iter().any(|record| record["undecided"].is_object() && record["undecided"]["witness"].is_null())
}
