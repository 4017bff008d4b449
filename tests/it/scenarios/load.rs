//! Many bonds at once: nothing is serial, and a payment that is held delays no other.

use std::path::Path;
use std::time::Duration;

use bondflow::sandbox::load::{self, Plan, Report};

async fn loaded(plan: Plan) -> Report {
    let folder = tempfile::tempdir().unwrap();
    let bondflowd = Path::new(env!("CARGO_BIN_EXE_bondflowd"));
    let report =
        load::run(bondflowd, folder.path().to_owned(), &plan).await.unwrap_or_else(|error| panic!("{error:#}"));
    println!("{report}");
    report
}

/// What `make load` is told to do, or else what it does.
fn told(variable: &str, otherwise: usize) -> usize {
    let told = std::env::var(variable).ok().filter(|text| !text.is_empty());
    told.map_or(otherwise, |text| text.parse().unwrap_or_else(|_| panic!("{variable}={text} is no number")))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_bonds_are_paid_at_once_beside_ten_that_are_held() {
    let payment = Duration::from_millis(500);
    let report = loaded(Plan { bonds: 100, held: 10, payment, ..Plan::default() }).await;
    // One after the other they would take fifty seconds.
    assert!(report.paid < Duration::from_secs(20), "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures: make load"]
async fn load() {
    let plan = Plan {
        bonds: told("LOAD_BONDS", 1_000),
        held: told("LOAD_HELD", 0),
        payment: Duration::from_millis(told("LOAD_PAYMENT_MS", 50) as u64),
        ..Plan::default()
    };
    let limit = Duration::from_secs(told("LOAD_LIMIT_SECONDS", 5) as u64);
    let report = loaded(plan).await;
    assert!(report.paid <= limit, "it took longer than {} s", limit.as_secs());
}
