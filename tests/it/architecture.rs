//! What holds for the sources as a whole: who may name whom, how long a file may get, and that
//! no workflow definition changes under the runs that follow it.

mod source;

use std::collections::{BTreeMap, BTreeSet};

use bondflow::engine::Definition;

use source::{Source, root, sources};

/// What a part of the library may name, besides itself.
const ARROWS: [(&str, &[&str]); 10] = [
    ("engine", &[]),
    ("payout", &["engine"]),
    ("lnd", &["engine", "payout"]),
    ("nostr", &["engine", "payout"]),
    ("store", &["engine"]),
    ("config", &[]),
    ("import", &["engine", "payout"]),
    ("app", &["config", "engine", "import", "lnd", "nostr", "payout", "store"]),
    ("sandbox", &["config", "engine", "import", "lnd", "nostr", "payout", "store"]),
    ("bin", &["app", "config", "engine", "import", "lnd", "nostr", "payout", "sandbox", "store"]),
];

/// Crates of the outside, and the parts that keep clear of them.
const KEPT_OUT: [(&str, &[&str]); 6] = [
    ("sqlx", &["engine", "payout", "lnd", "nostr", "config"]),
    ("tonic", &["engine", "payout", "nostr", "store", "config", "import"]),
    ("tonic_lnd", &["engine", "payout", "nostr", "store", "config", "import"]),
    ("nostr_sdk", &["engine", "payout", "lnd", "store"]),
    ("nostr_relay_builder", &["engine", "payout", "lnd", "nostr", "store", "config", "import", "app"]),
    ("mostro_core", &["engine", "payout", "lnd", "store", "config"]),
];

/// The most lines of code, without comments, blank lines and tests, that a file may have.
const LONGEST: usize = 400;

fn production() -> Vec<Source> {
    let sources: Vec<Source> = sources().into_iter().filter(|source| !source.is_test).collect();
    assert!(sources.len() > 50, "the sources were not found");
    sources
}

/// Fails with all that is wrong, one a line.
fn nothing_of(wrong: Vec<String>) {
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

fn forbidden(source: &Source) -> Vec<String> {
    let Some((part, allowed)) = ARROWS.iter().find(|(part, _)| *part == source.part()) else {
        return if source.path == "src/lib.rs" { vec![] } else { vec![format!("{} is in no known part", source.path)] };
    };
    let parts: BTreeSet<&str> = ARROWS.iter().map(|(part, _)| *part).collect();
    let mut wrong: Vec<String> = source
        .imports()
        .into_iter()
        .filter(|import| parts.contains(import.as_str()) && import != part && !allowed.contains(&import.as_str()))
        .map(|import| format!("{}: `{part}` must not name `{import}`", source.path))
        .collect();
    wrong.extend(
        KEPT_OUT
            .iter()
            .filter(|(outside, parts)| parts.contains(part) && source.names(outside))
            .map(|(outside, _)| format!("{}: `{part}` must not name the crate `{outside}`", source.path)),
    );
    wrong
}

#[test]
fn the_arrows_point_one_way() {
    let sources = production();
    let named: usize = sources.iter().map(|source| source.imports().len()).sum();
    assert!(named > 100, "the imports were not found");
    nothing_of(sources.iter().flat_map(forbidden).collect());
}

#[test]
fn a_forbidden_arrow_is_seen() {
    for (path, text) in [
        ("src/engine/worker.rs", "use crate::payout::ports;"),
        ("src/engine/worker.rs", "fn f() { sqlx::query(\"\") }"),
        ("src/engine/worker.rs", "use super::super::store::memory;"),
        ("src/payout/debt/pay.rs", "use crate::lnd::node;"),
        ("src/payout/debt/pay.rs", "use mostro_core::prelude::*;"),
        ("src/lnd/node.rs", "use crate::nostr::wire;"),
        ("src/nostr/seal.rs", "use crate::config::Config;"),
        ("src/store/sqlite/mod.rs", "use crate::payout::tables;"),
        ("src/config/mod.rs", "use crate::engine::Clock;"),
        ("src/app/mod.rs", "use crate::sandbox::relay;"),
        ("src/sandbox/mod.rs", "use crate::app::Daemon;"),
        ("src/other/mod.rs", ""),
    ] {
        assert_eq!(forbidden(&Source::of(path, text, false)).len(), 1, "{path}: {text}");
    }
    for (path, text) in [
        ("src/engine/worker.rs", "use super::store::Store; // crate::payout"),
        ("src/payout/debt/pay.rs", "use crate::engine::Step; crate::outcomes! {}"),
        ("src/bin/bondflowd.rs", "use bondflow::sandbox::demo;"),
    ] {
        assert!(forbidden(&Source::of(path, text, false)).is_empty(), "{path}: {text}");
    }
}

/// An event that did not wait in the outbox would be lost in a crash, or said of what never was
/// committed.
#[test]
fn events_reach_the_relays_through_the_outbox_only() {
    const SENDING: [&str; 9] = [
        "send_event",
        "send_event_to",
        "send_event_builder",
        "send_event_builder_to",
        "send_private_msg",
        "send_private_msg_to",
        "send_msg",
        "send_msg_to",
        "batch_msg_to",
    ];
    let sources = production();
    let outside = |source: &&Source| !source.path.starts_with("src/nostr/relays") && source.part() != "sandbox";
    let sends = |source: &Source| SENDING.iter().find(|name| source.names(name)).copied();
    assert!(sources.iter().any(|source| sends(source).is_some()), "nobody sends: the names have changed");
    nothing_of(
        sources
            .iter()
            .filter(outside)
            .filter_map(|source| Some(format!("{} calls `{}`", source.path, sends(source)?)))
            .collect(),
    );
    let publishing: Vec<&Source> = sources.iter().filter(outside).filter(|source| source.calls("publish")).collect();
    assert_eq!(publishing.len(), 1, "only the outbox's publisher publishes");
    assert!(publishing[0].names("Publisher"), "{} publishes without being the outbox's publisher", publishing[0].path);
}

#[test]
fn files_stay_short() {
    nothing_of(
        production()
            .iter()
            .filter(|source| source.lines > LONGEST)
            .map(|source| format!("{} has {} lines of code, more than {LONGEST}", source.path, source.lines))
            .collect(),
    );
}

/// The lines `name version sha256` of `workflows/versions.lock`.
fn versions(text: &str) -> BTreeMap<(String, u32), String> {
    let mut versions = BTreeMap::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let [name, version, hash] = words[..] else { panic!("not `name version sha256`: {line}") };
        let version: u32 = version.parse().unwrap();
        let before = version == 1 || versions.contains_key(&(name.to_owned(), version - 1));
        assert!(before, "{name} {version} does not follow {name} {}", version - 1);
        let former = versions.insert((name.to_owned(), version), hash.to_owned());
        assert!(former.is_none(), "{name} {version} is there twice: a version never changes");
    }
    versions
}

/// What is wrong with a definition whose version is pinned already, or not yet.
fn unpinned(text: &str, versions: &BTreeMap<(String, u32), String>) -> Option<String> {
    let definition = Definition::parse(text).unwrap();
    let Definition { name, version, hash, .. } = &definition;
    match versions.get(&(name.clone(), *version)) {
        Some(pinned) if pinned == hash => None,
        Some(_) => Some(format!(
            "`{name}` version {version} has changed: keep its text, and make this version {}",
            version + 1
        )),
        None => Some(format!("append to workflows/versions.lock: {name} {version} {hash}")),
    }
}

#[test]
fn a_definition_never_changes_within_its_version() {
    let folder = root().join("workflows");
    let versions = versions(&std::fs::read_to_string(folder.join("versions.lock")).unwrap());
    let mut wrong = vec![];
    let mut found = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            found += 1;
            wrong.extend(unpinned(&std::fs::read_to_string(path).unwrap(), &versions));
        }
    }
    assert!(found > 0);
    nothing_of(wrong);
}

#[test]
fn a_changed_definition_is_seen() {
    let text = super::engine::DEFINITION;
    let hash = Definition::parse(text).unwrap().hash;
    let pinned = versions(&format!("errand 1 {hash}\n"));
    assert_eq!(unpinned(text, &pinned), None);
    let edited = text.replace("Says so.", "Says it.");
    assert!(unpinned(&edited, &pinned).unwrap().contains("make this version 2"));
    let next = edited.replace("version = 1", "version = 2");
    assert!(unpinned(&next, &pinned).unwrap().starts_with("append to workflows/versions.lock: errand 2 "));
}

#[test]
#[should_panic(expected = "is there twice")]
fn a_version_is_pinned_once() {
    versions("errand 1 aa\nerrand 1 bb\n");
}
