//! Building a copy with a bug in it, and running the tests that should notice.

use std::fmt;
use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use bondflow::engine::{Clock, SystemClock};

use super::Mutant;
use super::copy::Copy;

/// How long the tests of one bug may take; a bug that stops everything is caught, too.
const PATIENCE: Duration = Duration::from_secs(900);
/// How many failed tests are named.
const NAMED: usize = 3;

/// Where tests are, as cargo names it, and which of them should notice a bug.
type Target = (&'static [&'static str], fn(&Mutant) -> &Vec<String>);

/// The quickest to build first.
const TARGETS: [Target; 3] = [
    (&["--lib"], |mutant| &mutant.lib),
    (&["--test", "worlds"], |mutant| &mutant.worlds),
    (&["--test", "it"], |mutant| &mutant.it),
];

/// What became of a bug.
pub enum Outcome {
    /// These tests failed, or none of them ended.
    Caught(Vec<String>),
    Survived,
    /// The compiler refused it, which proves nothing.
    NotBuilt(String),
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Caught(tests) => {
                write!(f, "caught by {}", tests[..tests.len().min(NAMED)].join(", "))?;
                match tests.len().saturating_sub(NAMED) {
                    0 => Ok(()),
                    more => write!(f, " and {more} more"),
                }
            }
            Self::Survived => f.write_str("SURVIVED"),
            Self::NotBuilt(why) => write!(f, "NOT BUILT: {why}"),
        }
    }
}

/// What cargo said to a test run.
struct Run {
    text: String,
    success: bool,
    in_time: bool,
}

impl Run {
    fn failed(&self) -> Vec<String> {
        let failed = self.text.lines().filter_map(|line| line.strip_prefix("test ")?.strip_suffix(" ... FAILED"));
        failed.map(str::to_owned).collect()
    }

    fn has(&self, filter: &str) -> bool {
        self.text.lines().any(|line| line.strip_prefix("test ").is_some_and(|test| test.contains(filter)))
    }
}

/// Plants a bug, and takes it out again.
pub fn of(copy: &Copy, mutant: &Mutant) -> Outcome {
    let file = Path::new(&mutant.file);
    let sound = copy.read(file);
    copy.put(file, mutant.seeded(&sound).unwrap().as_bytes());
    let outcome = tried(copy, mutant);
    copy.put(file, sound.as_bytes());
    outcome
}

fn tried(copy: &Copy, mutant: &Mutant) -> Outcome {
    for (target, of) in TARGETS {
        let filters = of(mutant);
        if filters.is_empty() {
            continue;
        }
        let run = cargo(copy, target, filters);
        let failed = run.failed();
        if !failed.is_empty() {
            return Outcome::Caught(failed);
        }
        if !run.in_time {
            return Outcome::Caught(vec![format!("{} (not one ended)", filters.join(", "))]);
        }
        if !run.success {
            let error = run.text.lines().find(|line| line.starts_with("error"));
            return Outcome::NotBuilt(error.unwrap_or("the tests did not run").to_owned());
        }
    }
    Outcome::Survived
}

/// All the tests that are named must be there, and pass on sources without a bug.
pub fn without_a_bug(copy: &Copy, mutants: &[Mutant]) -> Option<String> {
    for (target, of) in TARGETS {
        let mut filters: Vec<String> = mutants.iter().flat_map(|mutant| of(mutant).clone()).collect();
        filters.sort_unstable();
        filters.dedup();
        if filters.is_empty() {
            continue;
        }
        let run = cargo(copy, target, &filters);
        if !run.success {
            let end: Vec<&str> = run.text.lines().rev().take(40).collect();
            return Some(format!("it fails:\n{}", end.into_iter().rev().collect::<Vec<_>>().join("\n")));
        }
        if let Some(none) = filters.iter().find(|filter| !run.has(filter)) {
            return Some(format!("no test is called like {none}"));
        }
    }
    None
}

fn cargo(copy: &Copy, target: &[&str], filters: &[String]) -> Run {
    let log = copy.target.join("trial.log");
    let file = File::create(&log).unwrap();
    let mut child = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned()))
        .args(["test", "--locked"])
        .args(target)
        .arg("--")
        .args(filters)
        .current_dir(&copy.tree)
        .env("CARGO_TARGET_DIR", &copy.target)
        .env_remove("RUST_LOG")
        .stdin(Stdio::null())
        .stdout(file.try_clone().unwrap())
        .stderr(file)
        .spawn()
        .unwrap();
    let deadline = SystemClock.now().after(PATIENCE);
    let (success, in_time) = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break (status.success(), true);
        }
        if SystemClock.now() > deadline {
            child.kill().unwrap();
            child.wait().unwrap();
            break (false, false);
        }
        std::thread::sleep(Duration::from_millis(100));
    };
    Run { text: std::fs::read_to_string(log).unwrap(), success, in_time }
}
