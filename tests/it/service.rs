//! The files for those who run it as a service.

use std::path::Path;
use std::process::Command;

fn unit() -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("contrib/bondflowd.service")).unwrap()
}

#[cfg_attr(not(systemd), ignore = "systemd-analyze is not installed")]
#[test]
fn systemd_takes_the_unit_as_it_is() {
    const PROGRAM: &str = "/usr/local/bin/bondflowd";
    let folder = tempfile::tempdir().unwrap();
    let verify = |text: &str| {
        let file = folder.path().join("bondflowd.service");
        std::fs::write(&file, text).unwrap();
        Command::new("systemd-analyze").arg("verify").arg(&file).output().unwrap()
    };
    assert!(unit().contains(&format!("ExecStart={PROGRAM} run")));
    // The program is not installed where the test runs.
    let text = unit().replace(PROGRAM, env!("CARGO_BIN_EXE_bondflowd"));
    let verified = verify(&text);
    let told = String::from_utf8_lossy(&verified.stderr);
    assert!(verified.status.success() && told.trim().is_empty(), "{told}");
    let wrong = verify(&text.replace("UMask=0077", "UMaks=0077"));
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("UMaks"), "a wrong key would not be seen");
}

/// What it may do, as systemd reckons: 0 is nothing, 10 everything.
#[cfg_attr(not(systemd), ignore = "systemd-analyze is not installed")]
#[test]
fn the_unit_leaves_the_daemon_little() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bondflowd.service");
    std::fs::write(&file, unit()).unwrap();
    let asked =
        Command::new("systemd-analyze").args(["security", "--offline=true", "--threshold=15"]).arg(&file).output();
    let asked = asked.unwrap();
    let (told, wrong) = (String::from_utf8_lossy(&asked.stdout), String::from_utf8_lossy(&asked.stderr));
    assert!(asked.status.success(), "{wrong}{told}");
}
