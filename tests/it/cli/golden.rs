//! What each command writes, and its exit code, word for word: `golden/NAME.txt` beside this file.
//! `UPDATE=1` writes the files anew; look at what has changed before it is committed.
//!
//! Times and ages are of the machine's clock, and shown as `TIME` and `AGE`.

use std::path::Path;

use bondflow::engine::operator::AUDIT;
use bondflow::engine::store::{Lease, NewRun, OutboxMessage, RowWrite, RunFilter, StepCommit};
use bondflow::engine::{Clock, Commit, Definition, HistoryEntry, RunId, Status, Store, SystemClock, Timestamp};
use bondflow::payout::books::insert;
use bondflow::payout::policy::HashRecord;
use bondflow::payout::tables::{BONDS, DISPUTES, HASHES, ORDERS, PAYMENTS};
use bondflow::payout::{bond_payout, bond_release, trade_payout};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::Place;
use super::home::{Home, on_every_home};

on_every_home! {
    what_is_shown,
    what_is_asked_without_a_daemon,
    what_is_refused_and_writes_nothing,
    what_looks_at_all_of_it,
}

const WAITS: &str = "11111111-0000-4000-8000-000000000000";
const DOUBT: &str = "22222222-0000-4000-8000-000000000000";
const FAILED: &str = "33333333-0000-4000-8000-000000000000";
const PAID: &str = "44444444-0000-4000-8000-000000000000";
const TRADE: &str = "55555555-0000-4000-8000-000000000000";
const LOCKED: &str = "66666666-0000-4000-8000-000000000000";
const ALIKE: [&str; 2] = ["88888888-0000-4000-8000-000000000000", "88888888-0000-4000-8000-000000000001"];
const ORDER: &str = "77777777-0000-4000-8000-000000000000";
const DAY: i64 = 86_400;
const PREIMAGE: [u8; 32] = [0x5e; 32];

fn now() -> Timestamp {
    SystemClock.now()
}

fn ago(secs: i64) -> Timestamp {
    Timestamp(now().0 - secs * 1_000)
}

fn payout(slashed_ago: i64, bond: &str, change: impl FnOnce(&mut Value)) -> Value {
    let mut state = json!({
        "order": { "id": ORDER, "kind": "sell", "status": null, "amount_sats": 0, "fiat_code": "USD", "fiat_amount": 100,
            "payment_method": "bank", "premium": 0 },
        "slashed": "aa".repeat(32), "recipient": "bb".repeat(32), "amount_sats": 1_000, "node_share_sats": 500,
        "slashed_at": ago(slashed_ago).secs(), "bond": bond, "requests": 1, "last_request_at": ago(60).secs(),
        "reopened_at": null,
        "debt": { "owed_sats": 500, "invoice": null, "spent": false, "attempts": 0, "hashes": [], "send_now": false,
            "paid": null },
    });
    change(&mut state);
    state
}

fn invoice(hash: &[u8], expires: i64) -> Value {
    json!({ "bolt11": "lnbc5u1example", "hash": hex::encode(hash), "payee": "02".repeat(33), "amountless": false,
        "expires_at": ago(-expires).secs() })
}

fn start(definition: &str, key: &str, state: &Value, at: Timestamp) -> NewRun {
    Definition::parse(definition).unwrap().start_run(key, state, at).unwrap()
}

/// Brings a run to a step, as a worker does.
async fn go(
    store: &dyn Store,
    id: &RunId,
    outcome: &str,
    to: &str,
    status: Status,
    due: Option<i64>,
    error: Option<&str>,
) {
    let at = store.run(id).await.unwrap().unwrap().created_at;
    store.wake(store.run(id).await.unwrap().unwrap().seq, at).await.unwrap();
    let claimed = store.claim("worker", at, Timestamp(at.0 + 15_000), 100).await.unwrap();
    let run = claimed.into_iter().find(|run| run.id == *id).unwrap();
    let history = HistoryEntry {
        revision: run.revision + 1,
        step: run.step.clone(),
        attempt: run.attempt,
        outcome: outcome.to_owned(),
        to: to.to_owned(),
        status,
        detail: error.map(str::to_owned),
        at,
    };
    let step = StepCommit {
        seq: run.seq,
        revision: run.revision,
        token: run.token,
        mailbox: None,
        known_signals: run.signals,
        consumed: Vec::new(),
        status,
        step: to.to_owned(),
        attempt: 0,
        state: None,
        error: error.map(str::to_owned),
        lease: Lease::Release(due.map(|secs| ago(-secs))),
        history,
    };
    store.commit(Commit { at, step: Some(step), ..Commit::default() }).await.unwrap();
}

/// A database with a run in each kind of standing.
async fn filled<H: Home>() -> H {
    let home = H::fresh().await;
    let store = home.store().await;
    let store = store.as_ref();
    let hash: [u8; 32] = Sha256::digest(PREIMAGE).into();
    // lnd could still take this send.
    let sent = HashRecord::new(hash, ago(-DAY).secs()).begin_send(ago(-10).secs()).unwrap();
    let doubt = payout(3_600, "pending-payout", |state| {
        state["debt"]["invoice"] = invoice(&hash, DAY);
        state["debt"]["hashes"] = json!([sent]);
    });
    let spent: [u8; 32] = [3; 32];
    let failed = payout(16 * DAY, "failed", |state| {
        state["debt"]["invoice"] = invoice(&spent, -DAY);
        state["debt"]["spent"] = json!(true);
        state["debt"]["attempts"] = json!(5);
        state["debt"]["hashes"] = json!([HashRecord::new(spent, ago(DAY).secs())]);
    });
    let paid = payout(2 * DAY, "slashed", |state| {
        state["debt"]["paid"] = json!({ "hash": hex::encode(hash), "preimage": hex::encode(PREIMAGE), "fee_sats": 2 });
    });
    let trade = json!({ "order": payout(0, "locked", |_| {})["order"], "buyer": "cc".repeat(32), "left_invoice": null,
        "requests": 0, "last_request_at": null,
        "debt": { "owed_sats": 99_000, "invoice": null, "spent": false, "attempts": 0, "hashes": [], "send_now": false,
            "paid": null } });
    let bond = |id: &str, state: &str| -> RowWrite {
        insert(
            BONDS,
            id,
            json!({ "order_id": ORDER, "pubkey": "aa".repeat(32), "role": "maker", "amount_sats": 1_000,
            "state": state, "node_share_sats": 500, "hash": hex::encode(hash), "preimage": hex::encode(PREIMAGE) }),
        )
    };
    let rows = vec![
        insert(ORDERS, ORDER, json!({ "kind": "sell", "status": "canceled-by-admin", "amount": 100_000, "fee": 0 })),
        insert(
            ORDERS,
            TRADE,
            json!({ "kind": "sell", "status": "settled-hold-invoice", "amount": 99_300, "fee": 300,
            "preimage": hex::encode(PREIMAGE) }),
        ),
        insert(DISPUTES, "d", json!({ "order_id": ORDER, "status": "seller-refunded" })),
        insert(
            PAYMENTS,
            &hex::encode(hash),
            json!({ "run": DOUBT, "destination": "02".repeat(33), "amount_sats": 500 }),
        ),
        insert(HASHES, &hex::encode(hash), json!({ "used_by": format!("payout {DOUBT}") })),
        bond(WAITS, "pending-payout"),
        bond(DOUBT, "pending-payout"),
        bond(FAILED, "failed"),
        bond(PAID, "slashed"),
        bond(LOCKED, "locked"),
    ];
    store.commit(Commit { at: ago(9 * DAY), rows, ..Commit::default() }).await.unwrap();
    let waits = payout(7_200, "pending-payout", |_| {});
    for (definition, key, state, age) in [
        (bond_payout::DEFINITION, FAILED, &failed, 16 * DAY),
        (bond_payout::DEFINITION, PAID, &paid, 2 * DAY),
        (bond_payout::DEFINITION, WAITS, &waits, 7_200),
        (bond_payout::DEFINITION, DOUBT, &doubt, 3_600),
        (bond_release::DEFINITION, LOCKED, &json!({ "amount_sats": 1_000 }), 30),
        (bond_release::DEFINITION, ALIKE[0], &json!({ "amount_sats": 1_000 }), 5 * DAY),
        (bond_release::DEFINITION, ALIKE[1], &json!({ "amount_sats": 1_000 }), 5 * DAY),
        (trade_payout::DEFINITION, TRADE, &trade, 10),
    ] {
        let at = ago(age);
        store
            .commit(Commit { at, starts: vec![start(definition, key, state, at)], ..Commit::default() })
            .await
            .unwrap();
        let id = RunId::of(&Definition::parse(definition).unwrap().name, key);
        match key {
            FAILED => {
                let why = "the claim window is closed and the last payment failed: 500 sats are owed";
                go(store, &id, "@pause", "await_invoice", Status::Paused, None, Some(why)).await;
            }
            PAID => go(store, &id, "paid_out", "slashed", Status::Completed, None, None).await,
            WAITS => {
                go(store, &id, "claimed", "request_invoice", Status::Running, Some(-7_100), None).await;
                go(store, &id, "asked", "await_invoice", Status::Waiting, Some(240), None).await;
            }
            DOUBT => go(store, &id, "@doubt", "pay", Status::InDoubt, Some(45), Some("lnd gave no answer")).await,
            LOCKED => go(store, &id, "@retry", "cancel", Status::BackingOff, Some(20), Some("lnd is away")).await,
            TRADE => {}
            _ => go(store, &id, "@cancel", "cancel", Status::Canceled, None, None).await,
        }
    }
    let message = OutboxMessage {
        id: "ee".repeat(32),
        lane: "bb".repeat(32),
        topic: format!("add-bond-invoice {WAITS}"),
        slot: None,
        body: "sealed".to_owned(),
        expires_at: None,
    };
    store.commit(Commit { at: ago(60), outbox: vec![message], ..Commit::default() }).await.unwrap();
    home
}

fn words(line: &str) -> Vec<String> {
    // Only quotes matter here: a blank within them is part of a word.
    let (mut words, mut word, mut quoted) = (Vec::new(), String::new(), false);
    for c in line.chars() {
        match c {
            '\'' => quoted = !quoted,
            ' ' if !quoted => words.push(std::mem::take(&mut word)),
            c => word.push(c),
        }
    }
    words.push(word);
    words
}

/// Runs the commands and holds what they say against the file of that name.
fn golden(place: &Place, name: &str, lines: &[&str]) {
    let mut said = String::new();
    for line in lines {
        let words = words(line);
        let answer = place.ctl(&words.iter().map(String::as_str).collect::<Vec<_>>());
        said += &format!("$ workflowctl {line}\n");
        said += &shown(place, &answer.data);
        for told in shown(place, &answer.told).lines() {
            said += &format!("! {told}\n");
        }
        said += &format!("= {}\n\n", answer.code.unwrap());
    }
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/cli/golden").join(format!("{name}.txt"));
    if std::env::var_os("UPDATE").is_some() {
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, &said).unwrap();
    }
    let expected = std::fs::read_to_string(&file).unwrap_or_default();
    for (found, expected) in said.split("\n\n").zip(expected.split("\n\n")) {
        assert_eq!(found, expected, "{name}: see UPDATE=1");
    }
    assert_eq!(said, expected, "{name}: see UPDATE=1");
}

/// The text without what differs from run to run.
fn shown(place: &Place, text: &str) -> String {
    let folder = place.folder.path().display().to_string();
    let text = text.replace(&folder, "PLACE");
    let mut shown = String::new();
    for line in text.lines() {
        let mut rest = line;
        let mut out = String::new();
        while let Some(c) = rest.chars().next() {
            let at_word = out.chars().last().is_none_or(|c| !c.is_alphanumeric());
            if let Some(length) = at_word.then(|| time(rest).or_else(|| age(rest))).flatten() {
                out += if rest.as_bytes()[..length].contains(&b'T') { "TIME" } else { "AGE" };
                rest = &rest[length..];
            } else {
                out.push(c);
                rest = &rest[c.len_utf8()..];
            }
        }
        // Columns are as wide as what was replaced.
        while out.contains("   ") && !out.starts_with(' ') {
            out = out.replace("   ", "  ");
        }
        shown += out.trim_end();
        shown.push('\n');
    }
    shown
}

/// The length of a date and time at the beginning.
fn time(text: &str) -> Option<usize> {
    let pattern = "dddd-dd-ddTdd:dd:dd";
    let fits = text.len() > pattern.len()
        && text.bytes().zip(pattern.bytes()).all(|(c, p)| if p == b'd' { c.is_ascii_digit() } else { c == p });
    let rest = text.get(pattern.len()..)?;
    let fraction = rest.bytes().take_while(|c| *c == b'.' || c.is_ascii_digit()).count();
    (fits && rest.as_bytes().get(fraction) == Some(&b'Z')).then_some(pattern.len() + fraction + 1)
}

/// The length of an age at the beginning: 3d04h, 2h00m, 1m05s, 30s.
fn age(text: &str) -> Option<usize> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let unit = *text.as_bytes().get(digits).filter(|_| digits > 0)?;
    let next = match unit {
        b'd' => b'h',
        b'h' => b'm',
        b'm' => b's',
        b's' => return ends(text, digits + 1),
        _ => return None,
    };
    let second = text.get(digits + 1..digits + 4)?.as_bytes();
    (second[0].is_ascii_digit() && second[1].is_ascii_digit() && second[2] == next)
        .then(|| ends(text, digits + 4))
        .flatten()
}

fn ends(text: &str, length: usize) -> Option<usize> {
    text.as_bytes().get(length).is_none_or(|c| !c.is_ascii_alphanumeric()).then_some(length)
}

async fn what_is_shown<H: Home>() {
    let home = filled::<H>().await;
    let place = home.place();
    golden(
        place,
        "list",
        &[
            "list",
            "list --all",
            "list -o ids",
            "list --stuck",
            "list --in-doubt",
            "list --status waiting",
            "list --status completed -o ids",
            "list --step pay -o ids",
            "list --workflow trade_payout",
            "list --order 7777 -o ids",
            "list --order 7777 --status paused -o ids",
            "list --order 9999",
            "list --since 1h",
            "list --limit 1",
            "list --limit 2 -o ids",
            "list --workflow bond_payout --status in-doubt -o json",
            "list --workflow bond_release -o jsonl",
            "list --status asleep",
            "list --since yesterday",
            "list --watch -o json",
        ],
    );
    golden(
        place,
        "show",
        &["show 1111", "show 2222", "show 3333", "show 4444", "show 5555 -o json", "show 6666 -o ids"],
    );
    golden(
        place,
        "history",
        &["history 1111", "history 1111 -o jsonl", "history 4444 --follow", "history 4444 --follow -o json"],
    );
    golden(place, "why", &["why 1111", "why 2222", "why 3333", "why 4444", "why 5555", "why 6666 -o json"]);
    golden(place, "graph", &["graph 2222", "graph 1111 --as dot", "graph bond_release --as mermaid", "graph no_such"]);
    golden(place, "stats", &["stats", "stats --all -o jsonl", "stats -o json", "stats -o ids"]);
    golden(place, "export", &["export 2222", "export 4444 -o jsonl"]);
    let export = place.ctl(&["export", "4444"]);
    assert!(!export.data.contains(&hex::encode(PREIMAGE)), "a preimage is never shown");
}

async fn what_is_asked_without_a_daemon<H: Home>() {
    let home = filled::<H>().await;
    let place = home.place();
    golden(
        place,
        "requests",
        &[
            "resume 6666 --reason 'lnd is back' --no-wait",
            "resume 1111 3333 9999 --no-wait",
            "resume --all-stuck --plan",
            "resume --all-stuck",
            "resume --all-stuck --yes --reason 'all is well' --no-wait",
            "resume --where status=paused --where order=7777 --yes -o ids --no-wait",
            "resume --where status=completed --yes",
            "resume --where colour=red",
            "resume --where workflow=order_resolution --yes --no-wait",
            "pause 1111 --plan",
            "pause 1111 -o json --no-wait",
            "cancel 2222 --force --reason 'paid in cash' --no-wait",
            "retry 6666 --from-step cancel --plan",
            "retry 3333 --from-step request_invoice --plan -o json",
            "retry 3333 --from-step request_invoice --reason 'ask again' --no-wait",
            "signal 3333 invoice '{\"bolt11\":\"lnbc5u1x\"}' --force --reason 'by mail' --no-wait",
            "resolve 2222 --paid 5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e --reason 'a receipt' --no-wait",
            "audit",
            "audit 1111 -o jsonl",
            "audit --request dance --outcome sideways",
        ],
    );
    let store = home.store().await;
    let doubt = store.run(&RunId::of(bond_payout::NAME, DOUBT)).await.unwrap().unwrap();
    let mail = store.mailbox(doubt.seq).await.unwrap();
    assert_eq!(mail.iter().map(|signal| signal.name.as_str()).collect::<Vec<_>>(), ["@cancel", "@resolve"]);
    let shown = place.ctl(&["export", "2222"]);
    assert!(!shown.data.contains(&hex::encode(PREIMAGE)), "neither is one that a person gave");
}

async fn what_is_refused_and_writes_nothing<H: Home>() {
    let home = filled::<H>().await;
    golden(
        home.place(),
        "refused",
        &[
            "show 9999",
            "show 1",
            "resume 9999",
            "resume 9999 8888",
            "resume",
            "resume -",
            "resume 1111 --all-stuck",
            "why 7777",
            "show 8888",
            "pause 2222",
            "cancel 2222",
            "cancel 2222 --force",
            "cancel 4444 --reason x",
            "retry 2222 --from-step intend",
            "retry 2222 --from-step pay",
            "retry 3333 --from-step intend",
            "retry 3333 --from-step nowhere --plan",
            "retry 4444 --from-step intend",
            "retry 1111",
            "resolve 2222",
            "resolve 2222 --not-paid",
            "resolve 2222 --not-paid --reason 'no trace'",
            "resolve 2222 --paid 00",
            "resolve 2222 --paid 0000000000000000000000000000000000000000000000000000000000000000",
            "resolve 1111 --not-paid --reason 'no trace'",
            "resolve 2222 --paid 00 --not-paid --reason x",
            "signal 4444 invoice '{}'",
            "signal 6666 invoice '{}'",
            "signal 1111 shout '{}'",
            "signal 1111 invoice lnbc",
            "signal 1111 invoice '{}' --force",
            "dance",
            "list --colour",
        ],
    );
    let store = home.store().await;
    for run in store.runs(&RunFilter::default()).await.unwrap() {
        assert_eq!(run.signals, 0, "{run:?}");
    }
    let page = bondflow::engine::store::Page { limit: 9, ..Default::default() };
    assert_eq!(store.page(AUDIT.name, &page).await.unwrap().len(), 0);
}

async fn what_looks_at_all_of_it<H: Home>() {
    let home = filled::<H>().await;
    let upgrade = home.place().ctl(&["check-upgrade"]);
    assert_eq!(upgrade.code, Some(0), "{upgrade:?}");
    assert!(upgrade.data.contains("5 open runs: this build has the definitions of all"), "{upgrade:?}");
    let doctor = home.place().ctl(&["doctor", "--offline", "-o", "jsonl"]);
    assert_eq!(doctor.code, Some(1), "{doctor:?}");
    let found: Vec<Value> = doctor.data.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for (check, state, said) in [
        ("settings", "fail", "settings.toml"),
        ("database", "ok", "schema"),
        ("definitions", "ok", "all 5 open runs"),
        ("alarms", "warn", "1 run: lnd is away"),
        ("alarms", "warn", "1 run: the claim window is closed"),
        ("payments", "warn", "1 are in doubt"),
        ("sats at risk", "ok", "100500"),
        ("invariants", "fail", "are broken"),
    ] {
        let seen = found.iter().any(|line| {
            line["check"] == check && line["state"] == state && line["found"].as_str().unwrap().contains(said)
        });
        assert!(seen, "{check} {state} {said}: {}", doctor.data);
    }
}
