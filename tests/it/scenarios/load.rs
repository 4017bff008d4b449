//! Many bonds at once: nothing is serial, and a payment that is held delays no other.

use std::path::Path;
use std::time::Duration;

use bondflow::sandbox::load::{self, Plan};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_bonds_are_paid_at_once_beside_ten_that_are_held() {
    let folder = tempfile::tempdir().unwrap();
    let bondflowd = Path::new(env!("CARGO_BIN_EXE_bondflowd"));
    let plan = Plan { bonds: 100, held: 10, payment: Duration::from_millis(500), ..Plan::default() };
    let report = load::run(bondflowd, folder.path().to_owned(), &plan).await.unwrap();
    // One after the other they would take fifty seconds.
    assert!(report.paid < Duration::from_secs(20), "{report}");
}
