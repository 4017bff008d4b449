//! The daemon as a process of its own under load, killed with SIGKILL at random moments and started
//! again, beside a relay and an lnd that go away and come back too.
//!
//! Everything that people will do is drawn from one seed before it begins ([`plot`]), so is every
//! moment at which something is killed. The same seed makes the same plan; what the machine makes of
//! it differs from run to run, and that is what this is for: the crash matrix and the simulation
//! replay exactly.
//!
//! It ends when every trade has come to its end, and then counts what was lost and what was doubled.

mod bed;
mod crowd;
mod database;
mod fleet;
mod plot;
mod story;
mod verdict;

use std::time::Duration;

use bondflow::engine::{Clock, SystemClock};
use bondflow::sandbox::lnd::Fault;
use nostr_sdk::Keys;
use tokio::task::JoinSet;
use tonic_lnd::tonic::Code;

use crate::dice::Dice;
use bed::Bed;
use crowd::Crowd;
use database::Database;
use fleet::Fleet;
use plot::Plot;
use story::{Cast, Stage, play};
use verdict::Watch;

/// What is asked for.
struct Plan {
    seed: u64,
    kills: usize,
    trades: usize,
    /// Several share a server, and a kill may be a standstill instead.
    daemons: usize,
    server: bool,
    /// lnd goes away and answers badly: then a send may be lost on the way, and its run waits two
    /// minutes until it can't arrive any more.
    lnd_fails: bool,
    /// How long everything may take once nothing is killed any more.
    patience: Duration,
}

/// A number from the environment.
fn asked(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok().filter(|text| !text.is_empty())?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is a number, not {text}")))
}

/// A short one for every day: only the daemon and the relay go away.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_lose_nothing_and_double_nothing() {
    let patience = Duration::from_secs(240);
    carry_out(Plan { seed: 20, kills: 5, trades: 12, daemons: 1, server: false, lnd_fails: false, patience }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes: make chaos KILLS=200"]
async fn as_long_as_asked() {
    let kills = usize::try_from(asked("KILLS").unwrap_or(200)).unwrap();
    let seed = asked("SEED").unwrap_or_else(|| SystemClock.now().millis().unsigned_abs() % 1_000_000);
    let server = match std::env::var("STORE").unwrap_or_default().as_str() {
        "" | "sqlite" => false,
        "postgres" => true,
        other => panic!("STORE is sqlite or postgres, not {other}"),
    };
    let daemons = usize::try_from(asked("DAEMONS").unwrap_or(1)).unwrap();
    assert!(daemons == 1 || server && daemons > 1, "one daemon has a file, several need STORE=postgres");
    let patience = Duration::from_secs(420);
    carry_out(Plan { seed, kills, trades: kills * 2, daemons, server, lnd_fails: true, patience }).await;
}

async fn carry_out(plan: Plan) {
    let store = if plan.server { "postgres" } else { "sqlite" };
    let Plan { seed, kills, trades, daemons, .. } = plan;
    println!("chaos: SEED={seed} KILLS={kills} STORE={store} DAEMONS={daemons} ({trades} trades)");
    let mut dice = Dice::new(plan.seed);
    let bed = Bed::new(plan.server).await;
    let solver = Keys::generate();
    // A kill and what comes before it take about that long.
    let spell = Duration::from_millis(1_200 * plan.kills as u64);
    let plots: Vec<Plot> = (0..plan.trades).map(|_| Plot::draw(&mut dice, &solver, spell, bed.began.secs())).collect();
    bed.fill(&plots).await;
    let crowd = Crowd::gather(bed.node.public_key(), bed.relay.clone());
    let stage = Stage { solver: crowd.join(solver), node: bed.lnd.node.clone(), began: bed.began };
    let mut casts: Vec<Cast> = plots.iter().map(|plot| Cast::of(plot.clone(), &crowd)).collect();
    let store = bed.database.look().await;
    let mut fleet = Fleet::new(&bed.settings(), bed.folder.path(), plan.daemons);

    let (mut stories, mut watch) = (JoinSet::new(), Watch::default());
    let mut troubles = Troubles::default();
    let mut told = SystemClock.now();
    for kill in 1..=plan.kills {
        let left = plan.kills - kill + 1;
        for cast in casts.split_off(casts.len() - casts.len().div_ceil(left)) {
            stories.spawn(play(stage.clone(), cast));
        }
        let life = if dice.chance(25) { dice.between(0, 250) } else { dice.between(250, 1_800) };
        troubles.make(&mut dice, &bed, plan.lnd_fails).await;
        tokio::time::sleep(Duration::from_millis(life.unsigned_abs())).await;
        let which = usize::try_from(dice.between(0, plan.daemons as i64 - 1)).unwrap();
        if plan.daemons > 1 && dice.chance(30) {
            // Beyond the end of its leases, as often as not.
            fleet.freeze(which, true).await;
            tokio::time::sleep(Duration::from_millis(dice.between(500, 4_000).unsigned_abs())).await;
            troubles.end(&mut dice, &bed).await;
            fleet.freeze(which, false).await;
            troubles.standstills += 1;
        } else {
            fleet.kill(which).await;
            if dice.chance(25) {
                tokio::time::sleep(Duration::from_millis(dice.between(0, 1_000).unsigned_abs())).await;
            }
            troubles.end(&mut dice, &bed).await;
            fleet.start(which);
        }
        if let Some(ended) = fleet.ended() {
            panic!("SEED={seed}: {ended}");
        }
        while let Some(ended) = stories.try_join_next() {
            ended.unwrap();
        }
        let now = SystemClock.now();
        if told.until(now) >= Duration::from_secs(5) || kill == plan.kills {
            told = now;
            watch.look(store.as_ref()).await;
            println!("chaos: {kill} of {} kills, {} trades under way, {troubles}", plan.kills, stories.len());
        }
    }
    troubles.clear(&bed).await;

    let ends = async {
        while let Some(ended) = stories.join_next().await {
            ended.unwrap();
        }
        verdict::settled(store.as_ref()).await;
    };
    tokio::pin!(ends);
    let deadline = SystemClock.now().after(plan.patience);
    let failed = loop {
        tokio::select! {
            () = &mut ends => break None,
            () = tokio::time::sleep(Duration::from_secs(1)) => {}
        }
        if let Some(ended) = fleet.ended() {
            break Some(ended);
        }
        let now = SystemClock.now();
        if now > deadline {
            break Some(format!("not everything came to its end within {} s", plan.patience.as_secs()));
        }
        if told.until(now) >= Duration::from_secs(10) {
            told = now;
            println!("chaos: {}", verdict::waiting(store.as_ref()).await);
        }
    };
    if failed.is_none() {
        fleet.stop().await;
    }
    let found = verdict::reach(&bed, store.as_ref(), &crowd, &plots, &fleet, watch).await;
    let took = bed.began.until(SystemClock.now()).as_secs();
    println!("chaos: {troubles}, {} requests, {took} s, SEED={}", found.messages, plan.seed);
    println!("kills={} runs={} lost={} doubled={}", plan.kills, found.runs, found.lost.len(), found.doubled.len());
    let wrong: Vec<String> = failed.into_iter().chain(found.lost).chain(found.doubled).chain(found.broken).collect();
    if !wrong.is_empty() {
        let kept = bed.folder.keep();
        panic!("SEED={}, the database and the logs are in {}\n{}", plan.seed, kept.display(), wrong.join("\n"));
    }
}

/// What goes wrong around the daemon.
#[derive(Default)]
struct Troubles {
    relay_restarts: u32,
    lnd_restarts: u32,
    lnd_faults: u32,
    server_restarts: u32,
    standstills: u32,
    relay_away: bool,
    lnd_away: bool,
}

impl std::fmt::Display for Troubles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { relay_restarts, lnd_restarts, lnd_faults, server_restarts, standstills, .. } = self;
        write!(f, "relay restarts={relay_restarts}, lnd restarts={lnd_restarts}, lnd faults={lnd_faults}")?;
        write!(f, ", server restarts={server_restarts}, standstills={standstills}")
    }
}

impl Troubles {
    async fn make(&mut self, dice: &mut Dice, bed: &Bed, lnd_fails: bool) {
        if !self.relay_away && dice.chance(20) {
            bed.relay.shut().await;
            self.relay_away = true;
            self.relay_restarts += 1;
        }
        if !lnd_fails {
            return;
        }
        if dice.chance(10) {
            bed.database.restart(dice.chance(50));
            self.server_restarts += u32::from(matches!(bed.database, Database::Server { .. }));
        }
        if !self.lnd_away && dice.chance(15) {
            if dice.chance(50) {
                bed.lnd.stop().await
            } else {
                bed.lnd.shutdown().await
            }
            self.lnd_away = true;
            self.lnd_restarts += 1;
        }
        if dice.chance(30) {
            let method = dice.pick(&["SendPaymentV2", "TrackPaymentV2", "SettleInvoice", "CancelInvoice", "GetInfo"]);
            let late = Duration::from_millis(dice.between(10, 1_000).unsigned_abs());
            let fault = dice.pick(&[
                Fault::DropBeforeActing,
                Fault::DropAfterActing,
                Fault::StallAfterActing,
                Fault::Delay(late),
                Fault::Answer(Code::Unavailable, "away".to_owned()),
            ]);
            bed.lnd.node.inject(method, fault, 1);
            self.lnd_faults += 1;
        }
    }

    /// What was away comes back, sooner or later.
    async fn end(&mut self, dice: &mut Dice, bed: &Bed) {
        if self.relay_away && dice.chance(70) {
            self.relay_away = false;
            bed.relay.open().await.unwrap();
        }
        if self.lnd_away && dice.chance(70) {
            self.lnd_away = false;
            bed.lnd.restart().await.unwrap();
        }
    }

    async fn clear(&mut self, bed: &Bed) {
        bed.relay.open().await.unwrap();
        if self.lnd_away {
            bed.lnd.restart().await.unwrap();
        }
        bed.lnd.node.clear_faults();
        (self.relay_away, self.lnd_away) = (false, false);
    }
}
