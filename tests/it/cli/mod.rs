//! `workflowctl` as operators and their scripts meet it: the program itself, on a real file.

mod bad_files;
mod golden;
mod home;
mod import;
mod migrate_store;
mod requests;

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use bondflow::engine::store::NewRun;
use bondflow::engine::{Commit, Definition, Pin, RunId, Store, Timestamp};
use bondflow::payout::bond_release;
use bondflow::payout::tables::TABLES;
use bondflow::store::sqlite::{OpenMode, SqliteStore};
use tempfile::TempDir;

/// A folder with a database in it.
struct Place {
    folder: TempDir,
    /// The database, as the command line names it.
    url: String,
}

/// What a command wrote, and its exit code.
#[derive(Debug)]
struct Answer {
    code: Option<i32>,
    data: String,
    told: String,
}

impl Place {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), url: "sqlite://bondflow.db".to_owned() }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    async fn daemon(&self) -> SqliteStore {
        SqliteStore::open(&self.file("bondflow.db"), TABLES, OpenMode::Daemon).await.unwrap()
    }

    /// A database with a run for each key, as a daemon leaves it.
    async fn with_runs(keys: &[&str]) -> Self {
        let place = Self::new();
        let store = place.daemon().await;
        let definition = Definition::parse(bond_release::DEFINITION).unwrap();
        let pin = Pin { workflow: definition.name, version: definition.version, hash: definition.hash };
        let at = Timestamp(1_795_426_000_000);
        let start = |key: &&str| NewRun {
            pin: pin.clone(),
            key: (*key).to_owned(),
            step: definition.start.clone(),
            state: "{}".to_owned(),
            due_at: at,
        };
        let starts = keys.iter().map(start).collect();
        store.commit(Commit { at, starts, ..Commit::default() }).await.unwrap();
        store.close().await;
        place
    }

    fn ctl(&self, args: &[&str]) -> Answer {
        self.ctl_fed(args, "")
    }

    fn ctl_fed(&self, args: &[&str], stdin: &str) -> Answer {
        if args.contains(&"--database") {
            return self.bare(args, stdin);
        }
        let located: Vec<&str> = ["--database", self.url.as_str()].iter().chain(args).copied().collect();
        self.bare(&located, stdin)
    }

    /// The program without being told of a database.
    fn bare(&self, args: &[&str], stdin: &str) -> Answer {
        let mut program = Command::new(env!("CARGO_BIN_EXE_workflowctl"))
            .args(args)
            .current_dir(self.folder.path())
            .env("USER", "alice")
            .env_remove("SUDO_USER")
            .env_remove("COLUMNS")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // A program that reads no stdin may be gone already.
        let _ = program.stdin.take().unwrap().write_all(stdin.as_bytes());
        let output = program.wait_with_output().unwrap();
        Answer {
            code: output.status.code(),
            data: String::from_utf8(output.stdout).unwrap(),
            told: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

fn release(key: &str) -> RunId {
    RunId::of(bond_release::NAME, key)
}
