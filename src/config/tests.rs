use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use super::*;

const NSEC: &str = "nsec1vl029mgpspedva04g90vltkh6fvh240zqtv9k0t9af8935ke9laqsnlfe5";
const HEX: &str = "67dea2ed018072d675f5415ecfaed7d2597555e202d85b3d65ea4e58d2d92ffa";
const TEMPLATE: &str = include_str!("../../settings.tpl.toml");

/// A directory with a `settings.toml` that only its owner can read.
struct Files(tempfile::TempDir);

impl Files {
    fn new(settings: &str) -> Self {
        let files = Self(tempfile::tempdir().unwrap());
        files.write("settings.toml", settings, 0o600);
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str, mode: u32) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    fn load(&self, env: &[(&str, &str)]) -> Result<Settings, ConfigError> {
        let env = env.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        Settings::load(&self.path("settings.toml"), env)
    }
}

/// `text` with the node's key before it.
fn load_with(text: &str, env: &[(&str, &str)]) -> Result<Settings, ConfigError> {
    Files::new(&format!("nostr.nsec_privkey = '{NSEC}'\n{text}")).load(env)
}

/// The one line of the refusal, without the directory of the file.
fn refusal(result: Result<Settings, ConfigError>) -> String {
    let line = result.expect_err("refused").to_string();
    assert!(!line.contains('\n'), "{line}");
    assert!(!line.contains(NSEC) && !line.contains(HEX), "{line}");
    match line.find("settings.toml") {
        Some(at) if line.starts_with('/') => line[at..].to_owned(),
        _ => line,
    }
}

#[test]
fn the_template_is_the_defaults() {
    let tree = Node::parse(TEMPLATE).unwrap();
    assert_eq!(Settings::deserialize(&tree), Ok(Settings::default()));

    let Node::Table(sections) = &tree else { panic!("a document is a table") };
    let written: BTreeSet<String> = sections
        .iter()
        .flat_map(|(section, keys)| match keys {
            Node::Table(keys) => keys.keys().map(move |key| format!("{section}.{key}")),
            _ => panic!("{section} is no section"),
        })
        .collect();
    let known: BTreeSet<String> = Settings::KEYS.iter().map(|key| (*key).to_owned()).collect();
    assert_eq!(written, known);
    assert_eq!(known.len(), Settings::KEYS.len());

    for (above, line) in TEMPLATE.lines().zip(TEMPLATE.lines().skip(1)) {
        assert!(!line.contains(" = ") || line.starts_with('#') || above.starts_with('#'), "{line}");
    }
}

#[test]
fn the_template_with_a_key_loads() {
    let text = TEMPLATE.replace("nsec_privkey = ''", &format!("nsec_privkey = '{NSEC}'"));
    let settings = Files::new(&text).load(&[]).unwrap();
    let mut expected = Settings::default();
    expected.nostr.nsec_privkey = Secret::new(NSEC);
    assert_eq!(settings, expected);
}

#[test]
fn keys_left_out_have_their_defaults() {
    let settings = load_with("[mostro]\npow = 3\n", &[]).unwrap();
    assert_eq!(settings.mostro.pow, 3);
    assert_eq!(settings.mostro.first_contact_pow(), 3);
    assert_eq!(settings.mostro.min_routing_fee_sats, 10);
    assert_eq!(settings.engine, EngineSettings::default());
}

/// A line of settings, and what is said of its key.
const FAULTS: &str = "
anti_abuse_bond.slash_node_share_pct = 1.5 => 1.5 is out of range, allowed 0 to 1
anti_abuse_bond.slash_node_share_pct = 1.000001 => 1.000001 is out of range, allowed 0 to 1
anti_abuse_bond.slash_node_share_pct = -0.1 => -0.1 is out of range, allowed 0 to 1
anti_abuse_bond.slash_node_share_pct = 0.1234567 => 0.1234567 has more than six decimal places
anti_abuse_bond.slash_node_share_pct = 5e-1 => 5e-1 is not a plain decimal like 0.25
anti_abuse_bond.slash_node_share_pct = nan => nan is not a plain decimal like 0.25
anti_abuse_bond.slash_node_share_pct = inf => inf is not a plain decimal like 0.25
anti_abuse_bond.slash_node_share_pct = '0.5' => expected a number, found a string
anti_abuse_bond.amount_pct = 2 => 2 is out of range, allowed 0 to 1
anti_abuse_bond.base_amount_sats = -1 => -1 is out of range, allowed 0 to 2100000000000000
anti_abuse_bond.apply_to = 'taker' => taker is not allowed, allowed are take, make, both
anti_abuse_bond.enabled = 'yes' => expected true or false, found a string
anti_abuse_bond.payout_claim_window_days = 0 => 0 is out of range, allowed 1 to 365
anti_abuse_bond.payout_max_retries = 0 => 0 is out of range, allowed 1 to 1000
anti_abuse_bond.payout_invoice_window_seconds = 0 => 0 is out of range, allowed 1 to 604800
mostro.max_routing_fee = 0.0000001 => 0.0000001 has more than six decimal places
mostro.min_routing_fee_sats = -1 => -1 is out of range, allowed 0 to 1000000
mostro.pow = 256 => 256 is out of range, allowed 0 to 64
mostro.pow = 0x41 => 65 is out of range, allowed 0 to 64
mostro.pow = 1.0 => expected a whole number
mostro.pow_first_contact = 65 => 65 is out of range, allowed 0 to 64
mostro.name = 1979-05-27 => expected a string, found a date
mostro.fee = 0 => unknown key, known are name, pow, pow_first_contact, max_routing_fee, min_routing_fee_sats, solvers
mostro.solvers = 'npub1' => expected a list, found a string
mostro.solvers = ['npub1zz'] => entry 1: expected a public key, npub or 64 hex digits
mostro.solvers = ['ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff'] => entry 1: expected a public key, npub or 64 hex digits
mostro.solvers = [7] => entry 1: expected a string, found a number
nostr.relays = [] => needs at least one relay
nostr.relays = ['https://relay.example'] => entry 1: expected a ws:// or wss:// address
nostr.relays = ['wss://a.example', 'relay'] => entry 2: expected a ws:// or wss:// address
nostr.relays = ['wss://a.example', 'wss://a.example/'] => entry 2: is there twice
lightning.lnd_grpc_host = 'http://127.0.0.1:10009' => http:// is refused, lnd is reached over TLS only: write https://HOST:PORT
lightning.lnd_grpc_host = '127.0.0.1:10009' => expected https://HOST:PORT
lightning.lnd_grpc_host = 'https://127.0.0.1' => expected https://HOST:PORT
lightning.lnd_grpc_host = 'https://lnd:0' => expected https://HOST:PORT
lightning.lnd_grpc_host = 'https://lnd:10009/x:1' => expected https://HOST:PORT
lightning.lnd_cert_file = '' => must not be empty
lightning.invoice_expiration_window = 0 => 0 is out of range, allowed 1 to 604800
lightning.max_final_cltv_expiry_delta = 17 => 17 is out of range, allowed 18 to 2016
lightning.payment_timeout = 0 => 0 is out of range, allowed 1 to 3600
lightning.payment_cltv_limit = 2017 => 2017 is out of range, allowed 18 to 2016
lightning.payment_cltv_limit = 144 => must be above `lightning.max_final_cltv_expiry_delta`
lightning.max_inflight_payouts = 0 => 0 is out of range, allowed 1 to 10000
lightning.max_inflight_payouts_per_destination = -1 => -1 is out of range, allowed 0 to 10000
database.url = 'mysql://x' => expected a sqlite:// or postgres:// address
database.url = 'bondflow.db' => expected a sqlite:// or postgres:// address
database.url = 'sqlite://' => names no database
database.url = 'sqlite://:memory:' => a database in memory would forget its debts, name a file
engine.workers = 0 => 0 is out of range, allowed 1 to 4096
engine.workers = many => line 2: string values must be quoted, expected literal string
engine.lease_seconds = true => expected a number, found true or false
engine.retention_days = 0 => 0 is out of range, allowed 1 to 3650
engine.in_doubt_recheck_seconds = 0 => 0 is out of range, allowed 1 to 3600
http.listen = 'localhost' => invalid socket address syntax
telemetry.otlp_endpoint = 'https://127.0.0.1:4317' => https:// is not spoken: name a collector nearby, which passes it on over TLS
telemetry.otlp_endpoint = 'http://127.0.0.1' => expected http://HOST:PORT
telemetry.otlp_endpoint = 'http://user:word@collector:4317' => expected http://HOST:PORT
telemetry.otlp_endpoint = 'collector:4317' => expected http://HOST:PORT
schedules.info_event = '0 * * * *' => 0 * * * * is not a cron expression: sec min hour day-of-month month day-of-week [year]
schedules.retention = '0 61 * * * *' => 0 61 * * * * is not a cron expression: sec min hour day-of-month month day-of-week [year]
price = 1 => unknown key, known are lightning, nostr, mostro, database, anti_abuse_bond, engine, http, telemetry, schedules
engine = 5 => expected a table, found a number
";

#[test]
fn each_fault_is_refused_by_its_key() {
    for case in FAULTS.trim().lines() {
        let (text, problem) = case.split_once(" => ").unwrap();
        let (key, _) = text.split_once(" = ").unwrap();
        let error = load_with(text, &[]).expect_err(text);
        assert_eq!(error.key(), Some(key));
        let line = refusal(Err(error));
        assert_eq!(line, format!("settings.toml: `{key}`: {problem}"), "{text}");
    }
}

#[test]
fn what_is_no_toml_is_refused_by_key_and_line() {
    let twice = "[engine]\nworkers = 1\nworkers = 2";
    let line = refusal(load_with(twice, &[]));
    assert_eq!(line, "settings.toml: `engine.workers`: line 4: duplicate key");
    let line = refusal(load_with("[engine\n", &[]));
    assert!(line.starts_with("settings.toml: line 2: "), "{line}");
}

#[test]
fn solvers_are_taken_in_both_forms_but_not_twice() {
    let hex = "7e7e9c42a91bfef19fa929e5fda1b72e0ebc1a4c1141673e2794234d86addf4e";
    let npub = "npub10elfcs4fr0l0r8af98jlmgdh9c8tcxjvz9qkw038js35mp4dma8qzvjptg";
    let one = load_with(&format!("mostro.solvers = ['{hex}']"), &[]).unwrap();
    let other = load_with(&format!("mostro.solvers = ['{npub}']"), &[]).unwrap();
    assert_eq!(one.mostro.solvers, other.mostro.solvers);
    assert_eq!(one.mostro.solvers[0].to_hex(), hex);
    let line = refusal(load_with(&format!("mostro.solvers = ['{hex}', '{npub}']"), &[]));
    assert_eq!(line, "settings.toml: `mostro.solvers`: entry 2: is there twice");
}

#[test]
fn decimals_are_the_written_ones() {
    for (token, millionths) in [
        ("0.29", 290_000),
        ("0", 0),
        ("1", 1_000_000),
        ("1.0", 1_000_000),
        ("0.000001", 1),
        ("0.999999", 999_999),
        ("0.1_5", 150_000),
        ("-0.0", 0),
    ] {
        let text = format!("anti_abuse_bond.slash_node_share_pct = {token}");
        let settings = load_with(&text, &[]).unwrap();
        let share = settings.anti_abuse_bond.slash_node_share_pct;
        assert_eq!(share.millionths(), millionths, "{token}");
        assert_eq!(share.to_string().parse(), Ok(share));
    }
    assert_eq!(Decimal6::from_millionths(290_000).to_string(), "0.29");
    assert_eq!(Decimal6::from_millionths(12_000_000).to_string(), "12");
    for text in ["", ".", ".5", "1.", "1.2.3", "0x1", " 1", "--1", "1,5", "١"] {
        assert_eq!(text.parse::<Decimal6>(), Err(DecimalError::Malformed), "{text}");
    }
    assert_eq!("99999999999999999999".parse::<Decimal6>(), Err(DecimalError::TooLarge));
}

#[test]
fn variables_override_keys_of_every_type() {
    let relays = "wss://a.example, wss://b.example";
    let settings = load_with(
        "[mostro]\npow = 3\npow_first_contact = 5",
        &[
            ("PATH", "/bin"),
            ("BONDFLOW__MOSTRO__POW", "4"),
            ("BONDFLOW__MOSTRO__POW_FIRST_CONTACT", ""),
            ("BONDFLOW__MOSTRO__NAME", "7"),
            ("BONDFLOW__MOSTRO__SOLVERS", ""),
            ("BONDFLOW__ANTI_ABUSE_BOND__ENABLED", "true"),
            ("BONDFLOW__ANTI_ABUSE_BOND__APPLY_TO", "both"),
            ("BONDFLOW__ANTI_ABUSE_BOND__SLASH_NODE_SHARE_PCT", "0.29"),
            ("BONDFLOW__HTTP__LISTEN", "[::1]:80"),
            ("BONDFLOW__DATABASE__URL", "postgres://u:p@db/bondflow"),
            ("BONDFLOW__SCHEDULES__INFO_EVENT", "0 0/5 * * * *"),
            ("BONDFLOW__NOSTR__RELAYS", relays),
        ],
    )
    .unwrap();
    assert_eq!(settings.mostro.pow, 4);
    assert_eq!(settings.mostro.pow_first_contact, None);
    assert_eq!(settings.mostro.name.as_deref(), Some("7"));
    assert!(settings.anti_abuse_bond.enabled);
    assert_eq!(settings.anti_abuse_bond.apply_to, ApplyTo::Both);
    assert_eq!(settings.anti_abuse_bond.slash_node_share_pct.millionths(), 290_000);
    assert_eq!(settings.http.listen.to_string(), "[::1]:80");
    assert!(matches!(settings.database.url, DatabaseUrl::Postgres(_)));
    assert_eq!(settings.schedules.info_event.source(), "0 0/5 * * * *");
    assert_eq!(settings.nostr.relays.len(), 2);
}

/// A variable without its prefix, and what is said of it.
const VARIABLE_FAULTS: &str = "
ENGINE__WORKERS=0 => `engine.workers`: 0 is out of range, allowed 1 to 4096
ENGINE__WORKERS=many => `engine.workers`: expected a whole number
ENGINE__WORKERS= => `engine.workers`: expected a whole number
ENGINE__WORKER=1 => `engine.worker`: unknown key, known are lease_seconds, workers, retention_days, in_doubt_recheck_seconds
ENGINE__WORKERS__X=1 => `engine.workers__x`: unknown key, known are lease_seconds, workers, retention_days, in_doubt_recheck_seconds
ENGIN__WORKERS=1 => `engin`: unknown key, known are lightning, nostr, mostro, database, anti_abuse_bond, engine, http, telemetry, schedules
WORKERS=1 => unknown variable, expected BONDFLOW__SECTION__KEY
engine__workers=1 => unknown variable, section and key are written in capitals
MOSTRO__NAME=a\u{fffd} => the value is not valid UTF-8
MOSTRO__SOLVERS=x => `mostro.solvers`: entry 1: expected a public key, npub or 64 hex digits
MOSTRO__SOLVERS=x, => `mostro.solvers`: entry 2: must not be empty
HTTP__ENABLED=1 => `http.enabled`: expected true or false
NOSTR__NSEC_PRIVKEY=nsec1oops => `nostr.nsec_privkey`: expected a private key, nsec or 64 hex digits
";

#[test]
fn a_variable_at_fault_is_named() {
    for case in VARIABLE_FAULTS.trim().lines() {
        let (variable, problem) = case.split_once(" => ").unwrap();
        let (name, value) = variable.split_once('=').unwrap();
        let name = format!("BONDFLOW__{name}");
        let line = refusal(load_with("", &[(name.as_str(), value)]));
        assert_eq!(line, format!("environment variable {name}: {problem}"));
    }
    let name = "BONDFLOW__ENGINE__WORKERS";
    let line = refusal(load_with("", &[(name, "1"), (name, "2")]));
    assert_eq!(line, format!("environment variable {name}: is set twice"));
}

#[test]
fn a_missing_file_is_named() {
    let path = tempfile::tempdir().unwrap().path().join("settings.toml");
    let line = refusal(Settings::load(&path, std::iter::empty()));
    assert!(line.starts_with("settings.toml: cannot be read: No such file"), "{line}");
}

#[test]
fn exactly_one_source_of_the_private_key() {
    let neither = refusal(Files::new("").load(&[]));
    assert_eq!(neither, "settings.toml: `nostr.nsec_privkey`: needs this key or `nostr.nsec_privkey_file`");

    let files = Files::new("");
    let key_file = files.write("key", &format!("{HEX}\n"), 0o600);
    let key_file = key_file.to_str().unwrap();
    let name = "BONDFLOW__NOSTR__NSEC_PRIVKEY_FILE";
    let settings = files.load(&[(name, key_file)]).unwrap();
    assert_eq!(settings.nostr.nsec_privkey.expose(), HEX);

    let both = refusal(load_with("", &[(name, key_file)]));
    assert_eq!(
        both,
        format!(
            "environment variable {name}: `nostr.nsec_privkey_file`: set together with `nostr.nsec_privkey`, allowed is one of them"
        )
    );

    files.write("key", NSEC, 0o640);
    let exposed = refusal(files.load(&[(name, key_file)]));
    assert_eq!(exposed, format!("environment variable {name}: `nostr.nsec_privkey_file`: {EXPOSED}"));

    files.write("key", "not a key", 0o600);
    let line = refusal(files.load(&[(name, key_file)]));
    assert!(line.ends_with("the file holds no nsec or 64 hex digits"), "{line}");

    let line = refusal(files.load(&[(name, "/nowhere/key")]));
    assert!(line.contains("`nostr.nsec_privkey_file`: cannot be read: No such file"), "{line}");
}

#[test]
fn a_settings_file_open_to_others_may_hold_no_secret() {
    let env = [("BONDFLOW__NOSTR__NSEC_PRIVKEY", HEX)];
    let url = "postgres://user:password@db/bondflow";
    for (text, key) in [
        (format!("nostr.nsec_privkey = '{NSEC}'"), Some("nostr.nsec_privkey")),
        (format!("database.url = '{url}'"), Some("database.url")),
        ("database.url = 'postgres://db/bondflow'".to_owned(), None),
        ("nostr.nsec_privkey = ''".to_owned(), None),
    ] {
        for mode in [0o600, 0o400, 0o640, 0o604, 0o622] {
            let files = Files::new("");
            files.write("settings.toml", &text, mode);
            let result = files.load(&env);
            match key.filter(|_| mode & 0o077 != 0) {
                None => assert!(result.is_ok(), "{text} {mode:o} {result:?}"),
                Some(key) => assert_eq!(refusal(result), format!("settings.toml: `{key}`: {EXPOSED}")),
            }
        }
    }
}

#[test]
fn secrets_are_never_printed() {
    let settings = load_with("", &[("BONDFLOW__DATABASE__URL", "postgres://u:hunter2@db/b")]);
    let settings = settings.unwrap();
    let shown = format!("{settings:?} {}", settings.nostr.nsec_privkey);
    assert!(!shown.contains(NSEC) && !shown.contains("hunter2"), "{shown}");

    // Pasted where no secret belongs; `refusal` looks for it in the error.
    for text in [
        format!("[mostro]\nsolvers = ['{NSEC}']"),
        format!("[anti_abuse_bond]\napply_to = '{NSEC}'"),
        format!("[anti_abuse_bond]\napply_to = '{HEX}'"),
        format!("[nostr]\nnsec_privkey = {NSEC}"),
        format!("[nostr]\n{NSEC} = 1"),
        format!("[nostr]\n{HEX} = 1"),
        format!("[schedules]\ninfo_event = '{NSEC}'"),
        format!("[http]\nlisten = '{HEX}'"),
        format!("[nostr]\nnsec_privkey = '{NSEC}x'"),
        format!("[nostr]\nnsec_privkey = ['{NSEC}']"),
        format!("[nostr]\nnsec_privkey = '{NSEC}"),
        NSEC.to_owned(),
    ] {
        refusal(Files::new(&text).load(&[]));
    }
}

#[test]
fn a_reload_tells_keys_and_which_need_a_restart() {
    let old = load_with("", &[]).unwrap();
    assert_eq!(old.diff(&old.clone()), []);
    let new = load_with("mostro.pow = 9\nengine.workers = 2", &[("BONDFLOW__NOSTR__NSEC_PRIVKEY", &"01".repeat(32))])
        .unwrap();
    let change = |key, needs_restart| Change { key, needs_restart };
    assert_eq!(
        old.diff(&new),
        [change("nostr.nsec_privkey", true), change("mostro.pow", false), change("engine.workers", true),]
    );
}

#[test]
fn the_cap_per_destination_can_be_off() {
    let off = load_with("lightning.max_inflight_payouts_per_destination = 0", &[]).unwrap();
    assert_eq!(off.lightning.per_destination_cap(), None);
    assert_eq!(LightningSettings::default().per_destination_cap(), Some(10));
}
