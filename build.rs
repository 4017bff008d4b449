//! Tells the tests whether a PostgreSQL server can be started here; without one those that need
//! it are ignored, with the reason.

use std::path::Path;

fn main() {
    println!("cargo::rustc-check-cfg=cfg(postgres)");
    println!("cargo::rerun-if-env-changed=PATH");
    println!("cargo::rerun-if-changed=build.rs");
    let mut folders: Vec<_> = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()).collect();
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
