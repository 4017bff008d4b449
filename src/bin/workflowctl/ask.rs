//! Asking something of runs: a request into each one's mailbox, and a nudge for the daemon.

use std::io::{self, BufRead};

use bondflow::engine::operator::{Asked, Request};
use bondflow::engine::store::NewSignal;
use bondflow::engine::{Commit, Run, Status};

use clap::Args;
use serde_json::json;

use crate::desk::Desk;
use crate::failure::Failure;
use crate::find::find;
use crate::output::Record;
use bondflow::store::wake::wake;

/// Which runs, and why.
#[derive(Args)]
pub struct Ask {
    /// Runs, or their bonds or orders; may be shortened; `-` reads them from stdin.
    #[arg(required = true, value_name = "ID")]
    pub ids: Vec<String>,
    /// Why, for the journal.
    #[arg(long)]
    pub reason: Option<String>,
}

const HEADINGS: &[&str] = &["id", "asked", "step"];

impl Ask {
    /// Asks each of them; what fails is told on stderr and does not hinder the others.
    pub async fn of_all(self, desk: &mut Desk, request: Request) -> Result<(), Failure> {
        let ids = named(self.ids, io::stdin().lock())?;
        let asked = Asked { by: desk.operator.clone(), reason: self.reason };
        let (mut records, mut failures) = (Vec::new(), Vec::new());
        for id in &ids {
            match ask(desk, request, &asked, id).await {
                Ok(run) => records.push(Record {
                    id: run.id.to_string(),
                    cells: vec![run.id.to_string(), request.name()[1..].to_owned(), run.step.clone()],
                    json: json!({ "id": run.id, "asked": request.name(), "step": run.step }),
                }),
                Err(failure) => failures.push(failure),
            }
        }
        if !records.is_empty() {
            desk.output.records(HEADINGS, &records)?;
            nudge(desk).await;
        }
        let (done, all) = (records.len(), ids.len());
        if done == 0 && failures.len() == 1 {
            return failures.pop().map_or(Ok(()), Err);
        }
        for failure in &failures {
            eprintln!("workflowctl: {failure}");
        }
        match failures.pop() {
            None => Ok(()),
            Some(_) if done > 0 => Err(Failure::Partly { done, all }),
            Some(last) if failures.iter().all(|failure| failure.code() == last.code()) => Err(match last {
                Failure::NotFound(_) => Failure::NotFound("none of them was found".to_owned()),
                _ => Failure::Error("nothing was asked".to_owned()),
            }),
            Some(_) => Err(Failure::Error("nothing was asked".to_owned())),
        }
    }
}

/// The ids, with stdin's words in the place of `-`.
fn named(ids: Vec<String>, stdin: impl BufRead) -> Result<Vec<String>, Failure> {
    let piped = ids.iter().filter(|id| *id == "-").count();
    if piped > 1 {
        return Err(Failure::Usage("`-` can be given once".to_owned()));
    }
    if piped == 0 {
        return Ok(ids);
    }
    let text = io::read_to_string(stdin).map_err(|error| Failure::Error(format!("stdin can't be read: {error}")))?;
    let words = text.split_whitespace().map(str::to_owned);
    Ok(ids.into_iter().filter(|id| id != "-").chain(words).collect())
}

async fn ask(desk: &Desk, request: Request, asked: &Asked, id: &str) -> Result<Run, Failure> {
    let run = find(desk.store.as_ref(), id).await?;
    if run.status.is_final() {
        return Err(Failure::Error(format!("run {} has ended ({}), nothing can be asked of it", run.id, run.step)));
    }
    // The daemon decides; what it would refuse now is not even asked.
    if run.status == Status::InDoubt && request != Request::Resume {
        return Err(Failure::Error(format!(
            "run {} has a payment in doubt: it can be stopped once lnd has told the payment's end, see `why {}`",
            run.id, run.id
        )));
    }
    let now = desk.now();
    let payload = serde_json::to_string(asked).map_err(|error| Failure::Error(error.to_string()))?;
    let signal = NewSignal {
        run: run.id.clone(),
        name: request.name().to_owned(),
        payload,
        // Two requests are one only when one invocation names a run twice.
        dedup: format!("{} {} {}", request.name(), std::process::id(), now.millis()),
    };
    desk.store.commit(Commit { at: now, signals: vec![signal], ..Commit::default() }).await?;
    Ok(run)
}

/// Wakes the daemon, or says that it does not answer.
pub async fn nudge(desk: &Desk) {
    let woken = match &desk.socket {
        Some(socket) => wake(socket).await.is_ok(),
        None => true,
    };
    if !woken {
        eprintln!("the daemon does not answer: it does what was asked when it runs");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stdin_takes_the_place_of_a_dash() {
        let ids = named(vec!["a".into(), "-".into()], "b\n c d\n".as_bytes()).unwrap();
        assert_eq!(ids, ["a", "b", "c", "d"]);
        assert!(named(vec!["-".into(), "-".into()], "".as_bytes()).is_err());
    }
}
