//! Tells the tests whether a PostgreSQL server can be started here, and whether systemd's and
//! Prometheus's tools can be asked; without them those that need them are ignored, with the reason.

use std::path::Path;

fn main() {
    println!("cargo::rustc-check-cfg=cfg(postgres)");
    println!("cargo::rustc-check-cfg=cfg(systemd)");
    println!("cargo::rustc-check-cfg=cfg(promtool)");
    println!("cargo::rerun-if-env-changed=PATH");
    println!("cargo::rerun-if-changed=build.rs");
    let mut folders: Vec<_> = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()).collect();
    for (program, cfg) in [("systemd-analyze", "systemd"), ("promtool", "promtool")] {
        if folders.iter().any(|folder| folder.join(program).is_file()) {
            println!("cargo::rustc-cfg={cfg}");
        }
    }
    for packaged in ["/usr/lib/postgresql", "/usr/pgsql"] {
        if Path::new(packaged).exists() {
            println!("cargo::rerun-if-changed={packaged}");
        }
        let versions = std::fs::read_dir(packaged).into_iter().flatten().flatten();
        folders.extend(versions.map(|version| version.path().join("bin")));
    }
    if folders.iter().any(|folder| folder.join("initdb").is_file()) {
        println!("cargo::rustc-cfg=postgres");
    }
}
