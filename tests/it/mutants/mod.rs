//! The proof, proven: bugs that would lose or double money are put into a copy of the sources, one
//! at a time, and the tests must fail.
//!
//! `mutants.toml` has the bugs. A copy of the tree lies in `target/mutants`, with compiled
//! dependencies taken over from `target`; the sources themselves are never touched.

mod copy;
mod trial;

use std::path::PathBuf;

use serde::Deserialize;

use copy::Copy;
use trial::Outcome;

/// A seeded bug.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Mutant {
    /// What the bug does, in a few words with hyphens.
    name: String,
    /// The file that it is in.
    file: String,
    /// What is there: once, exactly so.
    find: String,
    /// What is there instead.
    with: String,
    /// The tests of the library that should notice, as filters.
    #[serde(default)]
    lib: Vec<String>,
    /// The integration tests that should notice, as filters.
    #[serde(default)]
    it: Vec<String>,
    /// The worlds at the ports that should notice, as filters.
    #[serde(default)]
    worlds: Vec<String>,
}

impl Mutant {
    /// The file's text with the bug in it.
    fn seeded(&self, text: &str) -> Result<String, String> {
        match text.matches(&self.find).count() {
            1 => Ok(text.replacen(&self.find, &self.with, 1)),
            times => Err(format!("{}: its text occurs {times} times in {}, not once", self.name, self.file)),
        }
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn mutants() -> Vec<Mutant> {
    #[derive(Deserialize)]
    struct List {
        mutant: Vec<Mutant>,
    }
    let text = std::fs::read_to_string(root().join("tests/it/mutants/mutants.toml")).unwrap();
    toml::from_str::<List>(&text).unwrap().mutant
}

/// The code that a bug is seeded in changes, and the bug must go with it.
#[test]
fn every_bug_can_still_be_seeded() {
    let mutants = mutants();
    assert!(mutants.len() >= 12, "only {} bugs", mutants.len());
    let wrong: Vec<String> = mutants
        .iter()
        .filter_map(|mutant| {
            let text = std::fs::read_to_string(root().join(&mutant.file)).unwrap_or_default();
            mutant.seeded(&text).err()
        })
        .collect();
    assert!(wrong.is_empty(), "tests/it/mutants/mutants.toml:\n{}\n", wrong.join("\n"));
    let mut names: Vec<&str> = mutants.iter().map(|mutant| mutant.name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), mutants.len(), "two bugs have one name");
    assert!(
        mutants.iter().all(|mutant| !mutant.lib.is_empty() || !mutant.it.is_empty() || !mutant.worlds.is_empty()),
        "a bug that no test looks for"
    );
}

/// Prints each bug with the tests that failed of it.
#[test]
#[ignore = "builds everything once for each bug: make mutants"]
fn every_bug_is_caught() {
    let only = std::env::var("ONLY").unwrap_or_default();
    let mutants: Vec<Mutant> = mutants().into_iter().filter(|mutant| mutant.name.contains(&only)).collect();
    assert!(!mutants.is_empty(), "no bug's name contains {only:?}");
    let copy = Copy::make(&root());
    println!("mutants: {} bugs, in {}", mutants.len(), copy.tree.display());
    if let Some(wrong) = trial::without_a_bug(&copy, &mutants) {
        panic!("without any bug, {wrong}");
    }
    let mut survivors = Vec::new();
    for (number, mutant) in mutants.iter().enumerate() {
        let outcome = trial::of(&copy, mutant);
        println!("{:>2} of {}  {:<44} {outcome}", number + 1, mutants.len(), mutant.name);
        if !matches!(outcome, Outcome::Caught(_)) {
            survivors.push(mutant.name.as_str());
        }
    }
    println!("mutants={} caught={}", mutants.len(), mutants.len() - survivors.len());
    assert!(survivors.is_empty(), "not caught: {}", survivors.join(", "));
}
