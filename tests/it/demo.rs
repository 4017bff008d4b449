//! The demo comes true, within its time.

use std::process::{Command, Stdio};

#[test]
fn the_demo_comes_true() {
    let place = tempfile::tempdir().unwrap();
    std::fs::create_dir(place.path().join("target")).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_bondflowd"))
        .arg("demo")
        .current_dir(place.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let shown = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{shown}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(!shown.contains('\x1b'), "no colors without a terminal");
    assert!(!shown.contains("nsec1"), "no secrets");
    for line in ["one send of its hash", "exactly one payment", "bond-payout-completed", "slash command →"] {
        assert!(shown.contains(line), "{line}\n{shown}");
    }
    assert!(place.path().join("target/demo/bondflow.db").is_file(), "it leaves the database");
}
