//! What each command writes to stdout and stderr, and its exit code, word for word, on a real database of each
//! kind: the program but for its first three lines. `UPDATE=1` writes the files of `tests/goldens` anew.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bondflow::engine::operator::AUDIT;
use bondflow::engine::store::RunFilter;
use bondflow::engine::{Clock, Commit, RunId, Store, Timestamp, VirtualClock};
use bondflow::payout::bond_release;
use bondflow::payout::books::{insert, upsert};
use bondflow::payout::tables::{FACTS, TABLES};
#[cfg(postgres)]
use bondflow::sandbox::postgres::{Cluster, Place};
use bondflow::store::postgres::{self, PostgresStore, Reckoning};
use bondflow::store::sqlite::{OpenMode, SqliteStore};
use clap::Parser;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::input::Input;
use crate::output::Output;
use crate::{Cli, Shared};

use super::world::{BOND, DOUBTED, ORDER, PREIMAGE, Paper, STUCK, World};

/// A database with a world in it, and what was said of it so far.
struct Session {
    folder: TempDir,
    url: String,
    clock: VirtualClock,
    said: String,
}

impl Session {
    /// A command that nobody types anything at.
    async fn ctl(&mut self, line: &str) {
        self.fed(line, "", false).await;
    }

    /// A command with something on its stdin; `person`: somebody typed it.
    async fn fed(&mut self, line: &str, stdin: &str, person: bool) {
        let (data, told) = (Paper::default(), Paper::default());
        let code = self.run(line, Input::of(stdin, person), &data, &told).await;
        let fed = if stdin.is_empty() { String::new() } else { format!("  <<< {stdin:?}") };
        self.said += &format!("$ workflowctl {line}{fed}\n{}", self.stable(&data.text()));
        for line in self.stable(&told.text()).lines() {
            self.said += &format!("! {line}\n");
        }
        self.said += &format!("= {code}\n\n");
    }

    async fn run(&self, line: &str, input: Input, data: &Paper, told: &Paper) -> u8 {
        let at = ["workflowctl".to_owned(), "--database".into(), self.url.clone()];
        let words = words(line).into_iter().map(|word| self.named(&word));
        let tell = |text: &str| {
            Output::to(crate::output::Format::Table, Box::new(told.clone()), Box::new(told.clone())).tell(text)
        };
        let cli = match Cli::try_parse_from(at.into_iter().chain(words)) {
            Ok(cli) => cli,
            Err(error) => {
                let paper = if error.use_stderr() { told } else { data };
                write!(paper.clone(), "{}", error.render()).unwrap();
                return u8::try_from(error.exit_code()).unwrap();
            }
        };
        let shared = Shared {
            config: self.folder.path().join("settings.toml"),
            database: cli.database,
            output: Output::to(cli.output, Box::new(data.clone()), Box::new(told.clone())),
            input,
            clock: Arc::new(self.clock.clone()),
            operator: "alice".to_owned(),
        };
        match cli.command.run(shared).await {
            Ok(()) => 0,
            Err(failure) => {
                failure.line().into_iter().for_each(|line| tell(&line));
                failure.code()
            }
        }
    }

    /// A word of a command line with the places that it names.
    fn named(&self, word: &str) -> String {
        let folder = self.folder.path().display().to_string();
        word.replace("FOLDER", &folder).replace("PREIMAGE", &hex::encode(PREIMAGE))
    }

    /// The text without what differs from one run of the test to the next.
    fn stable(&self, text: &str) -> String {
        let folder = self.folder.path().canonicalize().unwrap().display().to_string();
        let server = self.url.split_once('@').map_or(self.url.as_str(), |(_, place)| place).replace("%2F", "/");
        let places =
            [(self.url.as_str(), "DATABASE"), (&format!("postgres://{server}"), "DATABASE"), (&folder, "FOLDER")];
        let mut stable = text.replace(&hex::encode(PREIMAGE), "PREIMAGE");
        for (place, name) in places.into_iter().filter(|(place, _)| text.contains(place)) {
            // Columns are as wide as the name of the place.
            let lines = stable.replace(place, name);
            stable = lines
                .lines()
                .map(|line| {
                    line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect::<Vec<_>>().join("  ")
                        + "\n"
                })
                .collect();
        }
        stable = stable.replace(env!("CARGO_PKG_VERSION"), "VERSION");
        let differing = [
            ("\"ticket\": \"", "TICKET"),
            (" runs, ", "SIZE"),
            (": schema ", "N"),
            ("\nschema ", "N"),
            ("\"schema\": ", "N"),
            ("\"schema_known\": ", "N"),
        ];
        let mut stable = format!("\n{stable}");
        for (before, name) in differing {
            let mut parts = stable.split(before);
            let first = parts.next().unwrap_or_default().to_owned();
            stable = parts.fold(first, |text, part| {
                let digit = |c: char| if name == "TICKET" { c.is_ascii_hexdigit() } else { c.is_ascii_digit() };
                let rest = part.trim_start_matches(digit);
                format!("{text}{before}{}{rest}", if rest.len() < part.len() { name } else { "" })
            });
        }
        stable.remove(0);
        stable
    }
}

/// As a shell takes a line apart: at blanks, but for what is quoted.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut quoted) = (vec![String::new()], false);
    for c in line.chars() {
        match c {
            '\'' => quoted = !quoted,
            ' ' if !quoted => words.push(String::new()),
            c => words.last_mut().unwrap().push(c),
        }
    }
    words
}

/// What makes databases of one kind.
enum Ground {
    File,
    #[cfg(postgres)]
    Server(Cluster),
}

impl Ground {
    const fn name(&self) -> &'static str {
        match self {
            Self::File => "sqlite",
            #[cfg(postgres)]
            Self::Server(_) => "postgres",
        }
    }

    /// An address at which there is nothing yet.
    async fn place(&self) -> (TempDir, String) {
        let folder = tempfile::tempdir().unwrap();
        let url = match self {
            Self::File => format!("sqlite://{}", folder.path().canonicalize().unwrap().join("bondflow.db").display()),
            #[cfg(postgres)]
            Self::Server(cluster) => cluster.database("template1").await.unwrap(),
        };
        (folder, url)
    }

    /// The database as a daemon opens it.
    async fn daemon(&self, url: &str) -> Arc<dyn Store> {
        match self {
            Self::File => {
                let file = PathBuf::from(url.trim_start_matches("sqlite://"));
                Arc::new(SqliteStore::open(&file, TABLES, OpenMode::Daemon).await.unwrap())
            }
            #[cfg(postgres)]
            Self::Server(_) => {
                let mode = postgres::OpenMode::Daemon;
                Arc::new(PostgresStore::open(url, TABLES, mode, Reckoning::Caller).await.unwrap())
            }
        }
    }

    /// A world whose daemon has stopped.
    async fn session(&self) -> Session {
        let (folder, url) = self.place().await;
        let store = self.daemon(&url).await;
        let world = World::large(Arc::clone(&store)).await;
        store.close().await;
        settings(&folder, &url);
        Session { folder, url, clock: world.clock, said: String::new() }
    }
}

/// Settings that the daemon would take.
fn settings(folder: &TempDir, url: &str) {
    use std::os::unix::fs::PermissionsExt;
    let path = folder.path().join("settings.toml");
    let text = format!(
        "[lightning]\nlnd_cert_file = 'tls.cert'\nlnd_macaroon_file = 'bondflow.macaroon'\n\
         lnd_grpc_host = 'https://127.0.0.1:1'\n[nostr]\nrelays = ['wss://relay.example']\n\
         nsec_privkey = 'nsec1vl029mgpspedva04g90vltkh6fvh240zqtv9k0t9af8935ke9laqsnlfe5'\n[database]\nurl = '{url}'\n",
    );
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

/// Compares what was said with the file of that name, or writes the file.
fn golden(name: &str, said: &str) -> Option<String> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/goldens").join(format!("{name}.out"));
    if std::env::var_os("UPDATE").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, said).unwrap();
        return None;
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    let (place, (kept, said)) =
        kept.lines().chain([""]).zip(said.lines().chain([""])).enumerate().find(|(_, (kept, said))| kept != said)?;
    Some(format!("{name}.out, line {}:\n  kept  {kept}\n  said  {said}", place + 1))
}

/// All sessions on databases of one kind, each with the name of its file.
async fn all(ground: &Ground) -> Vec<(String, String)> {
    let mut said = Vec::new();
    for (name, lines) in SESSIONS {
        let mut session = ground.session().await;
        for line in *lines {
            match line.split_once(" <<< ") {
                None => session.ctl(line).await,
                Some((line, typed)) => {
                    let person = typed.starts_with("? ");
                    session.fed(line, typed.trim_start_matches("? "), person).await;
                }
            }
        }
        said.push(((*name).to_owned(), session.said));
    }
    said.push(("answers".to_owned(), answered(ground).await));
    said.push(("reconcile".to_owned(), restored(ground).await));
    for name in ["doctor", "import"] {
        said.push((format!("{name}.{}", ground.name()), of_its_own(ground, name).await));
    }
    said
}

fn compare(said: &[(String, String)]) {
    let differing: Vec<String> = said.iter().filter_map(|(name, said)| golden(name, said)).collect();
    assert!(differing.is_empty(), "{}\nUPDATE=1 writes them anew", differing.join("\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_file() {
    compare(&all(&Ground::File).await);
}

#[cfg(postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_server() {
    let cluster = Cluster::start(Place::Memory, "-c shared_buffers=32MB").unwrap();
    let mut said = all(&Ground::Server(cluster)).await;
    if std::env::var_os("UPDATE").is_some() {
        // What is the same on a file is that test's to write.
        said.retain(|(name, _)| name.ends_with("postgres"));
    }
    compare(&said);
}

/// Requests that a daemon answers.
async fn answered(ground: &Ground) -> String {
    let mut session = ground.session().await;
    let store = ground.daemon(&session.url).await;
    // On a server it is known by the part that it plays.
    store.hold("courier", "a daemon", session.clock.now(), Timestamp(i64::MAX / 2)).await.unwrap();
    let answering = answers(Arc::clone(&store), session.clock.clone());
    let typed = async {
        session.ctl("pause 5a6a --reason 'the winner called'").await;
        session.ctl("pause 5a6a -o json").await;
        session.ctl("cancel c0ff").await;
        session.ctl("resume 5a6a c0ff -o ids").await;
        session.ctl("cancel c0ff dead").await;
        session.ctl("resume 5a6a --no-wait").await;
    };
    tokio::select! {
        () = typed => {}
        () = answering => unreachable!("it answers for ever"),
    }
    store.close().await;
    session.said
}

/// Journals each request as a daemon does: those of one run are refused. Time goes by.
async fn answers(store: Arc<dyn Store>, clock: VirtualClock) {
    let at = clock.now().millis();
    let refusing = RunId::of(bond_release::NAME, STUCK);
    loop {
        for run in store.runs(&RunFilter { open: true, ..RunFilter::default() }).await.unwrap() {
            for signal in store.mailbox(run.seq).await.unwrap() {
                let asked: Value = serde_json::from_str(&signal.payload).unwrap();
                let (outcome, detail) = match run.id == refusing {
                    true => ("refused", "a payment of this debt is undecided".to_owned()),
                    false => ("applied", format!("stands at `{}` until it is resumed", run.step)),
                };
                let row = json!({ "ticket": asked["ticket"], "run": run.id, "workflow": run.pin.workflow,
                    "key": run.key, "request": asked["request"], "asked_by": "alice", "asked_at": at,
                    "applied_at": at, "outcome": outcome, "detail": detail, "step": run.step,
                    "status": "paused" });
                let key = format!("{at:013}-{}-{}", run.id, signal.number);
                let rows = vec![insert(AUDIT, &key, row)];
                // Those that were answered before are there.
                let _ = store.commit(Commit { at: clock.now(), rows, ..Commit::default() }).await;
            }
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
        clock.advance(Duration::from_millis(20));
    }
}

/// A database that was restored, and what is said to it.
async fn restored(ground: &Ground) -> String {
    let mut session = ground.session().await;
    session.ctl("reconcile").await;
    session.ctl("reconcile -o json").await;
    let store = ground.daemon(&session.url).await;
    let held = json!({ "since": session.clock.now().millis(), "last_commit": null,
        "evidence": ["it lacks 3 commits that were seen"], "needs_word": true,
        "found": [{ "hash": "ab".repeat(32), "sats": 500, "made_at": 0, "succeeded": true,
            "runs": [RunId::of("bond_payout", BOND)], "others": [] }],
        "waits_for": ["a word"], "refused": null });
    let rows = vec![upsert(FACTS, "restored", json!({ "value": held.to_string() }))];
    store.commit(Commit { at: session.clock.now(), rows, ..Commit::default() }).await.unwrap();
    store.close().await;
    let hash = "ab".repeat(32);
    for line in [
        "reconcile".to_owned(),
        "reconcile -o ids".to_owned(),
        "list -o ids".to_owned(),
        "reconcile --paid abc=5a6a".to_owned(),
        "reconcile --reason x".to_owned(),
        format!("reconcile --reason x --paid {hash}"),
        "reconcile --reason x --paid abc=5a6a".to_owned(),
        format!("reconcile --reason x --paid {hash}=dead"),
        format!("reconcile --reason 'the old machine is off' --paid {hash}=5a6a"),
    ] {
        session.ctl(&line).await;
    }
    session.said
}

/// What is told of one kind of database only.
async fn of_its_own(ground: &Ground, name: &str) -> String {
    let mut session = ground.session().await;
    if name == "doctor" {
        for line in [
            "doctor --offline",
            "doctor --offline --quick -o ids",
            "doctor --offline --quick -o jsonl",
            "check-upgrade",
            "check-upgrade -o json",
            "backup FOLDER/copy.db",
            "backup FOLDER/copy.db",
            "migrate-store sqlite://FOLDER/none.db sqlite://FOLDER/other.db",
        ] {
            session.ctl(line).await;
        }
        std::fs::remove_file(session.folder.path().join("settings.toml")).unwrap();
        session.ctl("doctor --offline --quick").await;
        return session.said;
    }
    let (folder, url) = ground.place().await;
    std::fs::copy("tests/data/mostrod-0.20.2.db", folder.path().join("mostro.db")).unwrap();
    (session.folder, session.url) = (folder, url);
    for line in [
        "import FOLDER/none.db",
        "list",
        "import FOLDER/mostro.db --plan",
        "import FOLDER/mostro.db",
        "import FOLDER/mostro.db -o json",
        "list",
    ] {
        session.ctl(line).await;
    }
    session.said
}

/// The sessions: a name, and what is typed. After `<<<` comes what is on stdin; `?` says that a person types it.
const SESSIONS: &[(&str, &[&str])] = &[
    (
        "list",
        &[
            "list",
            "list --all",
            "list --status waiting",
            "list --status completed",
            "list --step pay -o ids",
            "list --workflow bond_release -o ids",
            "list --since 1h -o ids",
            "list --since 2024-11-23T11:00:00Z -o ids",
            "list --stuck -o ids",
            "list --in-doubt",
            "list --order 34d2 -o ids",
            "list --order 9f0e --all -o ids",
            "list --order dead",
            "list --limit 1",
            "list --limit 0 -o ids",
            "list --status paused -o json",
            "list -o jsonl",
            "list --status asleep",
            "list --since yesterday",
            "list --in-doubt --status paused",
            "list --watch -o json",
        ],
    ),
    (
        "show",
        &[
            "show 5a6a",
            "show 0d0a",
            "show c0ff",
            "show 9f0e",
            "show 5a6a -o json",
            "show 5a6a -o jsonl",
            "show 5a6a -o ids",
            "show 34d2",
            "show dead",
            "show 5a",
            "show",
        ],
    ),
    (
        "history",
        &[
            "history 5a6a",
            "history 9f0e --follow",
            "history 9f0e --follow -o jsonl",
            "history 9f0e -o json",
            "history 9f0e --follow -o json",
            "history dead",
        ],
    ),
    ("why", &["why 5a6a", "why 0d0a", "why c0ff", "why 9f0e", "why 34d2", "why 5a6a -o json", "why dead"]),
    (
        "graph",
        &[
            "graph bond_payout",
            "graph order_resolution --as mermaid",
            "graph 0d0a",
            "graph 9f0e --as dot",
            "graph bond_release -o json",
            "graph dead",
            "graph 5a6a --as svg",
        ],
    ),
    (
        "resume",
        &[
            "resume --all-stuck --plan",
            "resume --all-stuck",
            "resume --all-stuck <<< ? n",
            "resume --all-stuck --reason 'lnd is back' <<< ? y",
            "resume --where status=paused --yes",
            "resume --where status=paused --where status=waiting --yes",
            "resume --where status=completed",
            "resume --where colour=red",
            "resume --where bond=5a6a --where workflow=bond_payout --yes -o ids",
            "resume --where order=9f0e --yes -o ids",
            "resume --where step=dance --yes",
            "resume - -o ids <<< 5a6a c0ff 5a6a",
            "resume - <<<  ",
            "resume - -",
            "resume 5a6a --plan",
            "resume 5a6a dead",
            "resume dead beef",
            "resume 9f0e",
            "resume",
            "show 5a6a",
        ],
    ),
    (
        "pause",
        &[
            "pause 5a6a --reason 'the winner called'",
            "pause 0d0a",
            "pause 0d0a --force",
            "pause 0d0a --force --reason 'a look at lnd' -o json",
            "pause --where workflow=bond_release --yes",
            "pause 9f0e",
        ],
    ),
    (
        "cancel",
        &[
            "cancel 5a6a --reason 'settled by hand'",
            "cancel 0d0a --reason 'settled by hand'",
            "cancel 0d0a --force --reason 'paid in cash'",
            "cancel --where order=34d2 --plan",
            "cancel --where order=34d2 <<< ? yes",
            "cancel 9f0e",
        ],
    ),
    (
        "retry",
        &[
            "retry 5a6a --from-step request_invoice --plan",
            "retry 5a6a --from-step request_invoice --plan -o json",
            "retry 5a6a --from-step intend --plan",
            "retry 5a6a --from-step pay",
            "retry 5a6a --from-step dance",
            "retry 0d0a --from-step request_invoice",
            "retry 9f0e --from-step escrow",
            "retry c0ff --from-step cancel --reason 'lnd is right again'",
            "retry c0ff",
            "retry dead --from-step cancel",
        ],
    ),
    (
        "resolve",
        &[
            "resolve 0d0a",
            "resolve 0d0a --not-paid",
            "resolve 0d0a --paid abc",
            "resolve 0d0a --paid 0000000000000000000000000000000000000000000000000000000000000000",
            "resolve 5a6a --paid PREIMAGE",
            "resolve 0d0a --paid PREIMAGE --reason 'the winner showed the receipt'",
            "resolve 0d0a --paid - -o ids <<< 0909090909090909090909090909090909090909090909090909090909090909",
            "resolve 0d0a --not-paid --reason 'no trace of it'",
            "resolve dead --not-paid --reason 'no trace of it'",
            "export 0d0a",
        ],
    ),
    (
        "signal",
        &[
            "signal 5a6a invoice '{\"bolt11\":\"lnbc5u1\"}' --reason 'sent by mail'",
            "signal 5a6a invoice lnbc5u1",
            "signal 5a6a dance {}",
            "signal c0ff invoice {}",
            "signal 9f0e invoice {}",
            "signal 0d0a invoice '{\"bolt11\":\"lnbc5u1\"}' --force",
            "signal dead invoice {}",
        ],
    ),
    (
        "audit",
        &[
            "audit",
            "audit c0ff",
            "audit 5a6a",
            "audit --by bob",
            "audit --request resume -o json",
            "audit --outcome refused -o ids",
            "audit --since 1s",
            "audit --limit 1 -o ids",
            "audit --limit 0 -o ids",
            "audit --outcome granted",
        ],
    ),
    ("stats", &["stats", "stats --all", "stats -o json", "stats -o jsonl", "stats -o ids", "stats --watch -o json"]),
    ("export", &["export 5a6a", "export 9f0e -o jsonl", "export c0ff -o ids", "export dead"]),
    ("usage", &["dance", "list --colour", "--version", "--help"]),
];

#[test]
fn each_command_that_knows_runs_has_a_session() {
    let told: Vec<&str> = SESSIONS.iter().flat_map(|(_, lines)| lines.iter().copied()).collect();
    let cli = <Cli as clap::CommandFactory>::command();
    // These write elsewhere than to the output, or are told of by kind of database.
    let others = ["completions", "man", "doctor", "check-upgrade", "backup", "migrate-store", "import", "reconcile"];
    for command in cli.get_subcommands().map(clap::Command::get_name).filter(|name| !others.contains(name)) {
        assert!(told.iter().any(|line| line.starts_with(command)), "{command}");
    }
    assert!([BOND, ORDER, DOUBTED].iter().all(|id| told.iter().any(|line| line.contains(&id[..4]))));
}
