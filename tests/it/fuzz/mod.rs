//! Hostile inputs against everything that reads them: events, payloads, invoices, settings and
//! definitions. None may panic, take a second, or make memory grow.
//!
//! One number decides an input: its place in the sequence of a seed. A failure prints both, and
//! `FUZZ_SEED=… FUZZ_ONLY=… make fuzz` brings that one input again. The corpus is `corpus/`, the
//! settings' template, the workflows, and what a real node said (`tests/data`).

mod invoices;
mod mutate;
mod node;

use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bondflow::config::Settings;
use bondflow::engine::{Clock as _, Definition, SystemClock, Timestamp};
use bondflow::nostr::wire::{DIRECT, MAX_CONTENT_BYTES, Rules, decode};
use bondflow::payout::policy::admit;
use mostro_core::message::{Action, Message};
use mostro_core::nip59::WrapOptions;
use mostro_core::transport::wrap_message_nip44;
use nostr_sdk::nips::nip44;
use nostr_sdk::{Event, EventBuilder, JsonUtil, Keys, Tag, Timestamp as NostrTime};
use serde_json::{Value, json};

use crate::dice::Dice;
use node::{Node, ORDER, People, RULED};

/// The time at which all of it happens, Unix seconds.
const NOW: i64 = 1_795_426_600;

/// The words of the protocol.
const ACTIONS: [&str; 22] = [
    "admin-settle",
    "admin-cancel",
    "admin-take-dispute",
    "add-bond-invoice",
    "add-invoice",
    "admin-settled",
    "admin-took-dispute",
    "bond-slashed",
    "cant-do",
    "new-order",
    "take-sell",
    "fiat-sent",
    "release",
    "cancel",
    "dispute",
    "rate-user",
    "send-dm",
    "restore-session",
    "last-trade-index",
    "orders",
    "admin-add-solver",
    "pay-bond-invoice",
];

const TEMPLATE: &str = include_str!("../../../settings.tpl.toml");
const DEFINITIONS: [&str; 4] = [
    bondflow::payout::bond_payout::DEFINITION,
    bondflow::payout::bond_release::DEFINITION,
    bondflow::payout::order_resolution::DEFINITION,
    bondflow::payout::trade_payout::DEFINITION,
];
/// A secret of the settings: no error may repeat it.
const SECRET: &str = "nsec1vl029mgpspedva04g90vltkh6fvh240zqtv9k0t9af8935ke9laqsnlfe5";

/// All that is changed, and who reads it.
struct Fuzz {
    people: People,
    messages: Vec<Value>,
    invoices: Vec<String>,
    settings: String,
    settings_file: PathBuf,
    node: Node,
    taken: u32,
    _folder: tempfile::TempDir,
}

/// After so many messages the node begins anew: what it stored is not what is looked for.
const MESSAGES_TO_A_NODE: u32 = 64;

impl Fuzz {
    async fn new() -> Self {
        let people = People::known();
        let requests = include_str!("corpus/requests.jsonl").lines().map(|line| serde_json::from_str(line).unwrap());
        let heard = include_str!("../../data/trade.jsonl").lines().map(|line| {
            let recorded: Value = serde_json::from_str(line).unwrap();
            recorded["message"].clone()
        });
        let folder = tempfile::tempdir().unwrap();
        Self {
            node: Node::new(&people).await,
            people,
            messages: requests.chain(heard).collect(),
            invoices: include_str!("corpus/invoices.txt").lines().map(str::to_owned).collect(),
            settings: with_secret(),
            settings_file: folder.path().join("settings.toml"),
            taken: 0,
            _folder: folder,
        }
    }

    /// Makes the input of that number and has it read.
    async fn one(&mut self, seed: u64, number: u64, watched: &Watched) {
        let mut dice = Dice::new(seed ^ number.wrapping_mul(0xd129_0d3b_3f4c_a9b7));
        match dice.between(0, 99) {
            0..20 => self.settings(&mut dice, watched),
            20..40 => self.definition(&mut dice, watched),
            40..65 => self.invoice(&mut dice, watched),
            65..80 => self.event(&mut dice, watched),
            _ => self.message(&mut dice, watched).await,
        }
    }

    fn settings(&self, dice: &mut Dice, watched: &Watched) {
        let other = dice.pick(&DEFINITIONS);
        let text = if dice.chance(70) {
            mutate::lines(dice, &self.settings, other)
        } else {
            mutate::text(dice, &self.settings, other)
        };
        watched.begin("settings", &text);
        let mut file = std::fs::File::create(&self.settings_file).unwrap();
        file.write_all(text.as_bytes()).unwrap();
        private(&file);
        let variable = (dice.pick(&["BONDFLOW__MOSTRO__POW", "BONDFLOW__NOSTR__RELAYS"]), dice.next().to_string());
        let variable = dice.chance(10).then(|| (variable.0.to_owned(), variable.1));
        if let Err(error) = Settings::load(&self.settings_file, variable.into_iter()) {
            let told = format!("{error} {error:?}");
            assert!(!told.contains(SECRET) && !told.contains('\n'), "the error tells too much: {told}");
        }
    }

    fn definition(&self, dice: &mut Dice, watched: &Watched) {
        let (original, other) = (dice.pick(&DEFINITIONS), dice.pick(&DEFINITIONS));
        let text =
            if dice.chance(80) { mutate::lines(dice, original, other) } else { mutate::text(dice, original, TEMPLATE) };
        watched.begin("definition", &text);
        let _ = Definition::parse(&text);
    }

    fn invoice(&self, dice: &mut Dice, watched: &Watched) {
        let text = self.any_invoice(dice);
        watched.begin("invoice", &text);
        let rules = node::rules(&self.people);
        if let Ok(accepted) = admit(&text, &rules, NOW) {
            // Whatever it is made of, what passes is what was asked for.
            assert_eq!((accepted.amount_sats, accepted.amountless), (500, false));
            let left = accepted.expires_at - NOW;
            assert!((3_600..=30 * 86_400).contains(&left) && accepted.min_final_cltv_expiry_delta <= 144);
        }
    }

    fn any_invoice(&self, dice: &mut Dice) -> String {
        let signed = if dice.chance(50) { invoices::signed(dice, 500) } else { dice.pick(&self.invoices) };
        if dice.chance(40) {
            return signed;
        }
        let other = dice.pick(&self.invoices);
        mutate::text(dice, &signed, &other)
    }

    /// An event as a relay hands it over: broken as text, or sound as an event and empty of sense.
    fn event(&self, dice: &mut Dice, watched: &Watched) {
        let to = self.people.node.public_key();
        let sender = self.sender(dice);
        let content = match dice.between(0, 4) {
            0 => "x".repeat(MAX_CONTENT_BYTES + dice.place(3)),
            1 => self.any_invoice(dice),
            2 => {
                nip44::encrypt(sender.secret_key(), &to, self.any_invoice(dice), nip44::Version::V2).unwrap_or_default()
            }
            _ => mutate::text(dice, "AhKzqf1mUo1DDnYpOmJxLhmu", TEMPLATE),
        };
        let event = EventBuilder::new(DIRECT, content)
            .tag(Tag::public_key(to))
            .custom_created_at(NostrTime::from_secs(NOW as u64))
            .sign_with_keys(&sender)
            .unwrap()
            .as_json();
        let text = if dice.chance(60) { mutate::text(dice, &event, &event) } else { event };
        watched.begin("event", &text);
        if let Ok(event) = Event::from_json(&text) {
            self.decoded(&event);
        }
    }

    /// A message in good order on the outside, from somebody with or without a say.
    async fn message(&mut self, dice: &mut Dice, watched: &Watched) {
        let (original, other) = (dice.pick(&self.messages), dice.pick(&self.messages));
        let mut message = mutate::message(dice, &original, &other, &ACTIONS);
        for kind in message.as_object_mut().into_iter().flat_map(|wrapper| wrapper.values_mut()) {
            if dice.chance(60) && kind.get("id").is_some_and(|id| !id.is_null()) {
                kind["id"] = json!(dice.pick(&[ORDER, RULED]));
            }
            if let Some(payment) = kind.pointer_mut("/payload/payment_request/1") {
                *payment = json!(self.any_invoice(dice));
            }
        }
        let (sender, identity) = (self.sender(dice), self.sender(dice));
        watched.begin("message", &message.to_string());
        let event = match serde_json::from_value::<Message>(message.clone()) {
            Ok(message) if dice.chance(80) => self.wrapped(&message, &identity, &sender),
            _ => self.unproven(dice, &message, &sender, &identity),
        };
        let Some(event) = event else { return };
        let Some(incoming) = self.decoded(&event) else { return };
        if self.taken == MESSAGES_TO_A_NODE {
            (self.node, self.taken) = (Node::new(&self.people).await, 0);
        }
        self.taken += 1;
        self.node.receive(&incoming).await;
    }

    fn wrapped(&self, message: &Message, identity: &Keys, sender: &Keys) -> Option<Event> {
        wrap_message_nip44(message, identity, sender, self.people.node.public_key(), WrapOptions::default()).ok()
    }

    /// The tuple with whatever for a signature and a proof.
    fn unproven(&self, dice: &mut Dice, message: &Value, sender: &Keys, identity: &Keys) -> Option<Event> {
        let forged = [Value::Null, json!("00"), json!([identity.public_key().to_hex(), "00"]), json!({})];
        let tuple = json!([message, dice.pick(&forged), dice.pick(&forged)]).to_string();
        let to = self.people.node.public_key();
        let content = nip44::encrypt(sender.secret_key(), &to, tuple, nip44::Version::V2).ok()?;
        EventBuilder::new(DIRECT, content).tag(Tag::public_key(to)).sign_with_keys(sender).ok()
    }

    fn decoded(&self, event: &Event) -> Option<bondflow::payout::messages::Incoming> {
        let known = |_: &str| true;
        let rules = Rules { pow: 0, pow_first_contact: None, known: &known, not_before: Some(Timestamp::from_secs(1)) };
        decode(event, &self.people.node, &rules).ok()
    }

    fn sender(&self, dice: &mut Dice) -> Keys {
        let People { node, solver, seller, buyer, stranger } = &self.people;
        dice.pick(&[solver, seller, seller, buyer, stranger, node]).clone()
    }
}

/// The template with a key.
fn with_secret() -> String {
    let lines = TEMPLATE.lines().map(|line| match line.starts_with("nsec_privkey =") {
        true => format!("nsec_privkey = \"{SECRET}\""),
        false => line.to_owned(),
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn private(file: &std::fs::File) {
    use std::os::unix::fs::PermissionsExt;
    file.set_permissions(std::fs::Permissions::from_mode(0o600)).unwrap();
}

/// Since when an input is being read, its number, and what it is.
type Reading = (Timestamp, u64, String);

/// The input that is being read.
#[derive(Clone)]
struct Watched(Arc<(Mutex<Reading>, AtomicU64)>);

impl Watched {
    /// Ends the process when one input takes longer than `patience`: a hang can't be ended otherwise.
    fn over(seed: u64, patience: Duration) -> Self {
        let watched = Self(Arc::new((Mutex::new((SystemClock.now(), 0, String::new())), AtomicU64::new(0))));
        let guard = Arc::downgrade(&watched.0);
        std::thread::spawn(move || {
            while let Some(guard) = guard.upgrade() {
                let (since, number, input) = guard.0.lock().unwrap().clone();
                if since.until(SystemClock.now()) > patience {
                    eprintln!("{}", accused(seed, number, &format!("it takes longer than {patience:?}"), &input));
                    std::process::abort();
                }
                drop(guard);
                std::thread::sleep(patience / 10);
            }
        });
        watched
    }

    fn next(&self, number: u64) {
        self.0.1.store(number, Ordering::Relaxed);
        self.begin("nothing yet", "");
    }

    fn begin(&self, what: &str, input: &str) {
        *self.0.0.lock().unwrap() = (SystemClock.now(), self.0.1.load(Ordering::Relaxed), format!("{what}: {input:?}"));
    }

    fn input(&self) -> String {
        self.0.0.lock().unwrap().2.clone()
    }
}

/// What to say of a bad input.
fn accused(seed: u64, number: u64, why: &str, input: &str) -> String {
    format!("input {number} of seed {seed}: {why}\nFUZZ_SEED={seed} FUZZ_ONLY={number} make fuzz\n{input}")
}

/// Reads these inputs of a seed; says what the first bad one was.
pub fn read(seed: u64, numbers: impl Iterator<Item = u64>, patience: Duration, after: impl Fn(u64)) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut fuzz = runtime.block_on(Fuzz::new());
    let watched = Watched::over(seed, patience);
    for number in numbers {
        watched.next(number);
        let one = AssertUnwindSafe(|| runtime.block_on(fuzz.one(seed, number, &watched)));
        if let Err(panic) = catch_unwind(one) {
            eprintln!("{}", accused(seed, number, "it panicked", &watched.input()));
            resume_unwind(panic);
        }
        after(number);
    }
}

/// Without this the inputs could be nonsense that no reader gets far into.
#[tokio::test]
async fn the_corpus_is_read_to_the_end() {
    let fuzz = Fuzz::new().await;
    let mut file = std::fs::File::create(&fuzz.settings_file).unwrap();
    file.write_all(fuzz.settings.as_bytes()).unwrap();
    private(&file);
    Settings::load(&fuzz.settings_file, std::iter::empty()).unwrap();
    for definition in DEFINITIONS {
        Definition::parse(definition).unwrap();
    }
    let mut dice = Dice::new(1);
    let rules = node::rules(&fuzz.people);
    let admitted = (0..500).filter(|_| admit(&invoices::signed(&mut dice, 500), &rules, NOW).is_ok()).count();
    assert!((20..400).contains(&admitted), "{admitted} of 500 signed invoices were admitted");
    for message in &fuzz.messages {
        let message: Message = serde_json::from_value(message.clone()).unwrap();
        let event = fuzz.wrapped(&message, &fuzz.people.solver, &fuzz.people.solver).unwrap();
        // What the node itself refuses to answer is a refusal.
        assert!(fuzz.decoded(&event).is_some() || message.get_inner_message_kind().action == Action::CantDo);
    }
}

#[test]
fn hostile_inputs_are_survived() {
    // Elsewhere on the machine somebody may be busy: only a hang takes that long.
    read(1, 0..2_000, Duration::from_secs(20), |_| {});
}
