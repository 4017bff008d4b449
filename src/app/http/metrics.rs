//! The series of `/metrics`. What the parts of the daemon count they keep themselves; the rest is
//! read from the database each time. Labels are names that this build knows, never ids.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::prometheus_text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use crate::app::lineage::held;
use crate::engine::{Alarms, Status, Store, StoreError, Timestamp};
use crate::nostr::relays::Relays;
use crate::payout::risk;

use super::ready::Report;

/// A label set of one or more names.
type Labels<const N: usize> = [(&'static str, String); N];

type Seconds = Gauge<f64, AtomicU64>;

/// An empty registry: all series are of this program.
pub(super) fn registry() -> Registry {
    Registry::with_prefix("bondflow")
}

/// The registries, one after the other.
pub(super) fn text(registries: &[&Registry]) -> String {
    let mut text = String::new();
    for registry in registries {
        // A string takes whatever is written to it.
        let _ = prometheus_text::encode(&mut text, registry);
    }
    text
}

/// What runs, and since when.
pub(super) fn this_program(registry: &mut Registry, now: Timestamp) {
    let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
    registry.register("build", "The version of the daemon", build);
    let started = Seconds::default();
    started.set(Duration::from_millis(now.millis().try_into().unwrap_or(0)).as_secs_f64());
    registry.register_with_unit("start_time", "When the daemon was started, Unix time", Unit::Seconds, started);
}

/// What the daemon depends on.
pub(super) fn surroundings(registry: &mut Registry, report: &Report, relays: Option<&Relays>) {
    let up = Family::<Labels<1>, Gauge>::default();
    for (name, dependency) in report.each() {
        up.get_or_create(&[("dependency", name.to_owned())]).set(i64::from(dependency.0.is_ok()));
    }
    registry.register("up", "Whether database, lnd and a quorum of the relays are there, as /readyz has it", up);
    let gauge = |registry: &mut Registry, name: &str, help: &str, count: usize| {
        registry.register(name, help, counted(count.try_into().unwrap_or(u64::MAX)));
    };
    let connected = relays.map_or(0, |relays| relays.connected().len());
    gauge(registry, "relays_connected", "Relays that the daemon is connected to", connected);
    gauge(registry, "relays_configured", "Relays of the settings", relays.map_or(0, |relays| relays.names().len()));
}

/// Alarms by kind.
pub(super) fn alarms(registry: &mut Registry, alarms: &Alarms) {
    let raised = Family::<Labels<1>, Counter>::default();
    for (kind, count) in alarms.counts() {
        raised.get_or_create(&[("kind", kind.to_owned())]).inc_by(count);
    }
    registry.register("alarms", "Alarms raised since the start, by kind; docs/operations.md tells what to do", raised);
}

/// What the database tells.
///
/// # Errors
/// When it can't be read within a while: some of the series are missing then.
pub(super) async fn database(registry: &mut Registry, store: &dyn Store, now: Timestamp) -> Result<(), StoreError> {
    let read = async { tokio::try_join!(store.tally(true), store.outbox_depth(), risk::at_risk(store), held(store)) };
    let too_late = |_| Err(StoreError("no answer".to_owned()));
    let (tallies, (pending, oldest), at_risk, held) =
        tokio::time::timeout(super::ready::PATIENCE, read).await.unwrap_or_else(too_late)?;

    let runs = Family::<Labels<3>, Gauge>::default();
    let (mut in_doubt, mut waiting_since) = (0, now);
    for tally in tallies {
        let count = i64::try_from(tally.runs).unwrap_or(i64::MAX);
        match tally.status {
            Status::InDoubt => in_doubt += tally.runs,
            Status::Waiting => waiting_since = waiting_since.min(tally.oldest),
            _ => {}
        }
        let labels = [("workflow", tally.workflow), ("status", tally.status.to_string()), ("step", tally.step)];
        runs.get_or_create(&labels).set(count);
    }
    registry.register("runs", "Open runs by workflow, status and step", runs);
    registry.register("runs_in_doubt", "Open runs with an effect whose end is not known", counted(in_doubt));
    let waiting = age(waiting_since, now);
    let help = "Age of the oldest run that waits for a signal or a timer; 0 when none does";
    registry.register_with_unit("oldest_waiting_run", help, Unit::Seconds, waiting);

    let sats = Family::<Labels<1>, Gauge>::default();
    for (owed_for, owed) in [("bonds", at_risk.bonds_sats), ("trades", at_risk.trades_sats)] {
        sats.get_or_create(&[("owed_for", owed_for.to_owned())]).set(owed);
    }
    let help = "What the node has claimed and still owes: the shares of bonds, and the amounts of trades";
    registry.register_with_unit("at_risk", help, Unit::Other("sats".to_owned()), sats);

    registry.register("outbox_messages", "Messages that no quorum of relays has acknowledged yet", counted(pending));
    let help = "Age of the oldest message that no quorum of relays has acknowledged yet; 0 when there is none";
    registry.register_with_unit("outbox_oldest_message", help, Unit::Seconds, age(oldest.unwrap_or(now), now));
    let help = "1 while no run goes on, because the database is not the one that was seen committed";
    registry.register("held", help, counted(u64::from(held.is_some())));
    Ok(())
}

fn counted(count: u64) -> Gauge {
    let gauge = Gauge::default();
    gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
    gauge
}

fn age(since: Timestamp, now: Timestamp) -> Seconds {
    let seconds = Seconds::default();
    seconds.set(since.until(now).as_secs_f64());
    seconds
}
