//! Inputs that are nearly right: the corpus, changed where a parser could stumble.

use serde_json::{Map, Value};

use crate::dice::Dice;

/// Strings at which something might break.
const ODD: [&str; 14] = [
    "",
    " ",
    "\0",
    "-1",
    "0.0000001",
    "1e999",
    "nan",
    "9223372036854775808",
    "\u{202e}\u{feff}",
    "💥",
    "%s%n",
    "'; DROP TABLE bonds; --",
    "../../etc/passwd",
    "11111111-1111-4111-8111-111111111111",
];

/// Numbers at the ends of their kinds.
const ENDS: [i64; 12] = [
    0,
    1,
    -1,
    i64::MAX,
    i64::MIN,
    u32::MAX as i64,
    i32::MIN as i64,
    2_100_000_000_000_000,
    2_100_000_000_000_001,
    21_000_000,
    255,
    86_400,
];

/// Changes a text in a few places: bytes, tokens, lines, or a stretch of another text.
pub fn text(dice: &mut Dice, original: &str, other: &str) -> String {
    let mut bytes = original.as_bytes().to_vec();
    for _ in 0..dice.between(1, 4) {
        if bytes.is_empty() {
            bytes.extend_from_slice(other.as_bytes());
            continue;
        }
        let at = dice.place(bytes.len());
        match dice.between(0, 9) {
            0 => bytes[at] ^= 1 << dice.between(0, 7),
            1 => bytes[at] = dice.between(0, 255) as u8,
            2 => drop(bytes.remove(at)),
            3 => bytes.truncate(at),
            4 => drop(bytes.splice(at..at, dice.pick(&ODD).bytes())),
            5 => drop(bytes.splice(at..at, dice.pick(&ENDS).to_string().into_bytes())),
            6 => {
                let end = at + dice.place(bytes.len() - at + 1);
                let stretch = bytes[at..end].to_vec();
                for _ in 0..dice.between(1, 30) {
                    bytes.splice(at..at, stretch.iter().copied());
                }
            }
            7 => {
                let end = at + dice.place((bytes.len() - at).min(64));
                bytes.drain(at..end);
            }
            8 if !other.is_empty() => {
                let from = dice.place(other.len());
                bytes.splice(at.., other.as_bytes()[from..].iter().copied());
            }
            _ => bytes.insert(at, b"\n[]{}=\"'#.,:-"[dice.place(13)]),
        }
        // What is longer than a message can be tests only the patience.
        bytes.truncate(200_000);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Changes a document line by line: one gone, doubled, moved, or with another value.
pub fn lines(dice: &mut Dice, original: &str, other: &str) -> String {
    let mut lines: Vec<String> = original.lines().map(str::to_owned).collect();
    for _ in 0..dice.between(1, 5) {
        if lines.is_empty() {
            break;
        }
        let at = dice.place(lines.len());
        match dice.between(0, 5) {
            0 => drop(lines.remove(at)),
            1 => lines.insert(at, lines[at].clone()),
            2 => {
                let to = dice.place(lines.len());
                lines.swap(at, to);
            }
            3 => {
                let foreign: Vec<&str> = other.lines().collect();
                if !foreign.is_empty() {
                    lines[at] = foreign[dice.place(foreign.len())].to_owned();
                }
            }
            4 => {
                let key = lines[at].split('=').next().unwrap_or_default().trim_start_matches('#').trim().to_owned();
                let value = match dice.between(0, 5) {
                    0 => dice.pick(&ENDS).to_string(),
                    1 => format!("{:?}", dice.pick(&ODD)),
                    2 => "[]".to_owned(),
                    3 => "{ to = \"nowhere\", backoff = true }".to_owned(),
                    4 => "true".to_owned(),
                    _ => format!("0.{:07}", dice.between(0, 9_999_999)),
                };
                lines[at] = format!("{key} = {value}");
            }
            _ => lines[at] = text(dice, &lines[at].clone(), other),
        }
    }
    lines.join("\n")
}

/// Changes a message in a few of its parts; `actions` are words that the protocol has.
pub fn message(dice: &mut Dice, original: &Value, other: &Value, actions: &[&str]) -> Value {
    let mut changed = original.clone();
    for _ in 0..dice.between(0, 3) {
        let replaced = any(dice, other, actions);
        let depth = dice.between(0, 6);
        change(dice, &mut changed, depth, replaced);
    }
    changed
}

/// Something to put in a part's place.
fn any(dice: &mut Dice, other: &Value, actions: &[&str]) -> Value {
    match dice.between(0, 11) {
        0 => Value::Null,
        1 => Value::Bool(dice.chance(50)),
        2 | 3 => Value::from(dice.pick(&ENDS)),
        4 => Value::from(u64::MAX),
        5 => Value::from(1.5e300),
        6 => Value::from(dice.pick(&ODD)),
        7 | 8 => Value::from(dice.pick(actions)),
        9 => Value::Array(vec![other.clone(), Value::Null]),
        10 => {
            // As deep as it may get before a parser gives up by itself.
            let depth = dice.between(1, 140);
            (0..depth).fold(Value::Null, |inner, _| Value::Array(vec![inner]))
        }
        _ => other.clone(),
    }
}

fn change(dice: &mut Dice, value: &mut Value, depth: i64, replaced: Value) {
    let inner = match value {
        Value::Object(map) if !map.is_empty() && depth > 0 => {
            let key = map.keys().nth(dice.place(map.len())).cloned().unwrap_or_default();
            if dice.chance(8) {
                map.remove(&key);
                return;
            }
            if dice.chance(8) {
                rename(dice, map, &key);
                return;
            }
            map.get_mut(&key)
        }
        Value::Array(items) if !items.is_empty() && depth > 0 => {
            let at = dice.place(items.len());
            if dice.chance(10) {
                items.remove(at);
                return;
            }
            items.get_mut(at)
        }
        _ => None,
    };
    match inner {
        Some(inner) => change(dice, inner, depth - 1, replaced),
        None => *value = replaced,
    }
}

fn rename(dice: &mut Dice, map: &mut Map<String, Value>, key: &str) {
    if let Some(value) = map.remove(key) {
        map.insert(dice.pick(&["order", "dispute", "payment_request", "id", "payload", "x"]).to_owned(), value);
    }
}
