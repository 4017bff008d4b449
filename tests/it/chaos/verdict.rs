//! What was lost and what was doubled, by the database, by lnd's ledger, and by what the relay has.

use std::collections::BTreeMap;
use std::time::Duration;

use bondflow::engine::store::RunFilter;
use bondflow::engine::{RunId, Store};

use super::bed::Bed;
use super::crowd::Crowd;
use super::fleet::Fleet;
use super::plot::Plot;

/// What was found, each thing as a line.
#[derive(Debug, Default)]
pub struct Found {
    pub runs: usize,
    /// Trades and messages that did not come to their end.
    pub lost: Vec<String>,
    /// Payments and answers that were made more than once.
    pub doubled: Vec<String>,
    /// Anything else that must hold and does not.
    pub broken: Vec<String>,
}

/// Waits until no run is open and no message waits.
pub async fn settled(store: &dyn Store) {
    let open = RunFilter { open: true, ..RunFilter::default() };
    loop {
        let runs = store.runs(&open).await.unwrap();
        if runs.is_empty() && store.outbox_next().await.unwrap().is_none() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Where the open runs are, in one line.
pub async fn waiting(store: &dyn Store) -> String {
    let open = store.runs(&RunFilter { open: true, ..RunFilter::default() }).await.unwrap();
    let mut places: BTreeMap<String, usize> = BTreeMap::new();
    for run in &open {
        *places.entry(format!("{} at {} ({})", run.pin.workflow, run.step, run.status)).or_default() += 1;
    }
    let places: Vec<String> = places.iter().map(|(place, count)| format!("{count} × {place}")).collect();
    format!("{} runs are open: {}", open.len(), places.join(", "))
}

pub async fn reach(bed: &Bed, store: &dyn Store, crowd: &Crowd, plots: &[Plot], fleet: &Fleet) -> Found {
    let mut found = Found { runs: store.runs(&RunFilter::default()).await.unwrap().len(), ..Found::default() };
    for plot in plots {
        for (workflow, key) in plot.runs() {
            match store.run(&RunId::of(workflow, &key)).await.unwrap() {
                Some(run) if run.status.is_final() => {}
                Some(run) => found.lost.push(format!("{workflow} {key} is {} at {}: {plot:?}", run.status, run.step)),
                None => found.lost.push(format!("{workflow} {key} was never started: {plot:?}")),
            }
        }
    }
    for asked in crowd.asked() {
        match crowd.answers(&asked) {
            1 => {}
            0 => found.lost.push(format!("no answer to the request {} of {}", asked.event, asked.from)),
            more => found.doubled.push(format!("{more} answers to the request {} of {}", asked.event, asked.from)),
        }
    }
    let ledger = bed.lnd.node.ledger();
    for (hash, times) in ledger.paid.iter().filter(|(_, times)| **times > 1) {
        found.doubled.push(format!("{hash} was paid {times} times"));
    }
    found.broken.extend(fleet.said("panicked"));
    found
}
