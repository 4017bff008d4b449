//! The files for those who run it as a service.

use std::io::ErrorKind;
use std::path::Path;
use std::process::Command;

fn unit() -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("contrib/bondflowd.service")).unwrap()
}

/// Where systemd is not installed there is nobody to ask.
#[test]
fn systemd_takes_the_unit_as_it_is() {
    const PROGRAM: &str = "/usr/local/bin/bondflowd";
    let folder = tempfile::tempdir().unwrap();
    let verify = |text: &str| {
        let file = folder.path().join("bondflowd.service");
        std::fs::write(&file, text).unwrap();
        Command::new("systemd-analyze").arg("verify").arg(&file).output()
    };
    assert!(unit().contains(&format!("ExecStart={PROGRAM} run")));
    // The program is not installed where the test runs.
    let text = unit().replace(PROGRAM, env!("CARGO_BIN_EXE_bondflowd"));
    match verify(&text) {
        Ok(verified) => {
            let told = String::from_utf8_lossy(&verified.stderr);
            assert!(verified.status.success() && told.trim().is_empty(), "{told}");
            let wrong = verify(&text.replace("UMask=0077", "UMaks=0077")).unwrap();
            assert!(String::from_utf8_lossy(&wrong.stderr).contains("UMaks"), "a wrong key would not be seen");
        }
        Err(error) => assert_eq!(error.kind(), ErrorKind::NotFound),
    }
}
