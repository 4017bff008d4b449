//! What was lost and what was doubled, by the database, by lnd's ledger, and by what the relay has.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bondflow::engine::Store;
use bondflow::engine::store::RunFilter;
use bondflow::payout::invariants::{Frozen, Invariant, Outside, Records, check, notices, one_effect, outside};
use bondflow::sandbox::lnd::Hash32;
use nostr_sdk::Kind;
use tonic_lnd::lnrpc::invoice::InvoiceState;

use super::bed::Bed;
use super::crowd::Crowd;
use super::fleet::Fleet;
use super::plot::Plot;

/// What was found, each thing as a line.
#[derive(Debug, Default)]
pub struct Found {
    pub runs: usize,
    /// Requests that were made.
    pub messages: usize,
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
        if store.runs(&open).await.is_ok_and(|runs| runs.is_empty())
            && store.outbox_next().await.is_ok_and(|next| next.is_none())
        {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Where the open runs are, in one line.
pub async fn waiting(store: &dyn Store) -> String {
    let open = store.runs(&RunFilter { open: true, ..RunFilter::default() }).await.unwrap_or_default();
    let mut places: BTreeMap<String, usize> = BTreeMap::new();
    for run in &open {
        *places.entry(format!("{} at {} ({})", run.pin.workflow, run.step, run.status)).or_default() += 1;
    }
    let places: Vec<String> = places.iter().map(|(place, count)| format!("{count} × {place}")).collect();
    format!("{} runs are open: {}", open.len(), places.join(", "))
}

/// What never holds may be broken for a moment and mended later: looked for while daemons are at work.
#[derive(Default)]
pub struct Watch {
    frozen: Frozen,
    broken: BTreeSet<String>,
}

impl Watch {
    pub async fn look(&mut self, store: &dyn Store) {
        // A server that is being restarted is looked at the next time.
        let Ok(records) = Records::read(store).await else { return };
        let found = check(&records).into_iter().chain(self.frozen.look(&records));
        self.broken.extend(found.map(|violation| violation.to_string()));
    }
}

/// Judges, once everything has come to its end or should have.
pub async fn reach(
    bed: &Bed,
    store: &dyn Store,
    crowd: &Crowd,
    plots: &[Plot],
    fleet: &Fleet,
    mut watch: Watch,
) -> Found {
    let records = Records::read(store).await.unwrap();
    let mut found = Found { runs: records.runs.len(), ..Found::default() };
    for plot in plots {
        for (workflow, key) in plot.runs() {
            match records.run(workflow, &key) {
                Some(run) if run.status.is_final() => {}
                Some(run) => found.lost.push(format!("{workflow} {key} is {} at {}: {plot:?}", run.status, run.step)),
                None => found.lost.push(format!("{workflow} {key} was never started: {plot:?}")),
            }
        }
    }
    let (asked, told) = crowd.talk();
    found.messages = asked.len();
    let published = bed.relay.events().await;
    let direct = published.iter().filter(|event| event.pubkey == bed.node.public_key());
    let direct = direct.filter(|event| event.kind == Kind::PrivateDirectMessage).map(|event| event.id.to_hex());
    let mut decided = Vec::new();
    for id in bed.database.direct_messages().await {
        decided.push(store.outbox(&id).await.unwrap().unwrap());
    }
    let violations =
        [outside(&records, &books(bed, plots)), one_effect(&asked, &told, true), notices(&decided, &direct.collect())];
    for violation in violations.into_iter().flatten() {
        let place = match violation.invariant {
            Invariant::NothingForgotten => &mut found.lost,
            Invariant::OneEffect if violation.found == "not answered" => &mut found.lost,
            Invariant::OneEffect | Invariant::PaidOnce => &mut found.doubled,
            _ => &mut found.broken,
        };
        place.push(violation.to_string());
    }
    watch.look(store).await;
    found.broken.extend(watch.broken);
    found.broken.extend(fleet.said("panicked"));
    found
}

/// lnd's own books.
fn books(bed: &Bed, plots: &[Plot]) -> Outside {
    let (node, ledger) = (&bed.lnd.node, bed.lnd.node.ledger());
    let paid = ledger.paid.iter().map(|(hash, times)| {
        let sats = ledger.attempts[hash].last().unwrap().amount_msat / 1_000;
        (hash.to_string(), vec![sats; *times as usize])
    });
    let secrets =
        plots.iter().flat_map(|plot| plot.trade.bonds.iter().map(|bond| bond.preimage).chain(plot.trade.escrow));
    let settled = secrets
        .map(|secret| Hash32::of(&secret))
        .filter(|hash| node.invoice_state(*hash) == Some(InvoiceState::Settled));
    Outside { paid: paid.collect(), settled: settled.map(|hash| hash.to_string()).collect() }
}
