//! Authentication as lnd does it: what each method demands, and what a macaroon grants.
//!
//! The identifier is a version byte 3 and macaroon-bakery's protobuf `nonce = 1, storageId = 2, ops = 3` with
//! `Op { entity = 1, actions = 2 }`.

use super::hash::Hash32;
use crate::lnd::macaroon::Macaroon;
use tonic_lnd::tonic::Status;

const BAKERY_VERSION: u8 = 3;
/// lnd's `DefaultRootKeyID`, whose key can't be deleted.
pub(super) const ROOT_KEY_ID: &str = "0";
/// Another id, whose key can be.
pub(super) const REVOCABLE_ROOT_KEY_ID: &str = "7";
const ENTITIES: [&str; 9] =
    ["onchain", "offchain", "address", "message", "peers", "info", "invoices", "signer", "macaroon"];

/// The entity and the action that a method demands; `None` for a method that is not served here.
pub(super) fn permission(path: &str) -> Option<(&'static str, &'static str)> {
    Some(match path {
        "/lnrpc.Lightning/GetInfo" => ("info", "read"),
        "/lnrpc.Lightning/DecodePayReq" | "/lnrpc.Lightning/ListPayments" => ("offchain", "read"),
        "/lnrpc.Lightning/LookupInvoice" | "/invoicesrpc.Invoices/SubscribeSingleInvoice" => ("invoices", "read"),
        "/invoicesrpc.Invoices/SettleInvoice"
        | "/invoicesrpc.Invoices/CancelInvoice"
        | "/invoicesrpc.Invoices/AddHoldInvoice"
        | "/invoicesrpc.Invoices/LookupInvoiceV2" => ("invoices", "write"),
        "/routerrpc.Router/SendPaymentV2" => ("offchain", "write"),
        "/routerrpc.Router/TrackPaymentV2" => ("offchain", "read"),
        _ => return None,
    })
}

/// Mints a macaroon for `permissions`, each `entity:action` or `uri:/package.Service/Method`.
pub(super) fn bake(root_key: &[u8], root_key_id: &str, nonce: &[u8], permissions: &[impl AsRef<str>]) -> Macaroon {
    let mut identifier = vec![BAKERY_VERSION];
    put(&mut identifier, 1, &nonce[..16]);
    put(&mut identifier, 2, root_key_id.as_bytes());
    for permission in permissions {
        let permission = permission.as_ref();
        let (entity, action) = permission.split_once(':').unwrap_or((permission, ""));
        let mut op = Vec::new();
        put(&mut op, 1, entity.as_bytes());
        put(&mut op, 2, action.as_bytes());
        put(&mut identifier, 3, &op);
    }
    Macaroon::mint(root_key, &identifier, "lnd")
}

/// Everything that lnd's `admin.macaroon` grants.
pub(super) fn admin_permissions() -> Vec<String> {
    let both = |entity: &&str| [format!("{entity}:read"), format!("{entity}:write")];
    ENTITIES.iter().flat_map(both).chain(["macaroon:generate".to_owned()]).collect()
}

/// Checks the header's macaroon for the method at `path`, at `now` in unix seconds, and returns its caveats. `root_key`
/// is the key of an id, unless it was deleted.
pub(super) fn authorise(
    root_key: impl Fn(&str) -> Option<Hash32>,
    header: &[&str],
    path: &str,
    now: i64,
) -> Result<Vec<String>, Status> {
    let [text] = header else {
        return Err(Status::unknown(format!("expected 1 macaroon, got {}", header.len())));
    };
    let bytes = hex::decode(text).map_err(|error| Status::unknown(format!("encoding/hex: {error}")))?;
    let macaroon = Macaroon::from_bytes(&bytes).map_err(|error| Status::unknown(error.to_string()))?;
    let Some((&BAKERY_VERSION, id)) = macaroon.identifier().split_first() else {
        return Err(Status::unknown("invalid ID"));
    };
    let (storage_id, granted) =
        parse_id(id).ok_or_else(|| Status::unknown("cannot retrieve macaroon: cannot unmarshal macaroon id"))?;
    let id = String::from_utf8_lossy(storage_id);
    let root_key = root_key(&id).ok_or_else(|| {
        let text = format!("cannot retrieve macaroon: cannot get macaroon: root key with id {id} doesn't exist");
        Status::unknown(text)
    })?;
    if !macaroon.is_signed_by(&root_key.0) {
        return Err(Status::unknown("verification failed: signature mismatch after caveat verification"));
    }
    let caveats = macaroon.caveats();
    for caveat in &caveats {
        check_caveat(caveat, now).map_err(|why| Status::unknown(format!("caveat {caveat:?} not satisfied: {why}")))?;
    }
    let allowed = granted
        .iter()
        .any(|(entity, action)| permission(path) == Some((entity, action)) || (*entity == "uri" && *action == path));
    if allowed { Ok(caveats) } else { Err(Status::unknown("permission denied")) }
}

fn check_caveat(caveat: &str, now: i64) -> Result<(), String> {
    let (condition, argument) = caveat.split_once(' ').unwrap_or((caveat, ""));
    match condition {
        "time-before" => {
            let until = chrono::DateTime::parse_from_rfc3339(argument).map_err(|_| {
                format!(
                    "parsing time {argument:?} as \"2006-01-02T15:04:05.999999999Z07:00\": \
                     cannot parse {argument:?} as \"2006\""
                )
            })?;
            let now = chrono::DateTime::from_timestamp(now, 0).unwrap_or_default();
            if now < until { Ok(()) } else { Err("macaroon has expired".to_owned()) }
        }
        "ipaddr" if argument == "127.0.0.1" => Ok(()),
        "ipaddr" => Err("macaroon locked to different IP address".to_owned()),
        _ => Err("caveat not recognized".to_owned()),
    }
}

fn put(bytes: &mut Vec<u8>, field: u8, data: &[u8]) {
    let length = u8::try_from(data.len()).expect("the names that are granted are short");
    assert!(length < 0x80, "the names that are granted are short");
    bytes.extend([field << 3 | 2, length]);
    bytes.extend_from_slice(data);
}

type Granted<'a> = Vec<(&'a str, &'a str)>;

fn parse_id(id: &[u8]) -> Option<(&[u8], Granted<'_>)> {
    let (mut storage_id, mut granted) = (&[][..], Vec::new());
    for (field, data) in parse_message(id)? {
        match field {
            2 => storage_id = data,
            3 => {
                let mut entity = "";
                for (field, data) in parse_message(data)? {
                    match field {
                        1 => entity = std::str::from_utf8(data).ok()?,
                        2 => granted.push((entity, std::str::from_utf8(data).ok()?)),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    Some((storage_id, granted))
}

/// The length-delimited fields of a protobuf message; the identifier has no other kind.
fn parse_message(mut bytes: &[u8]) -> Option<Vec<(u8, &[u8])>> {
    let mut fields = Vec::new();
    while let [tag, length, rest @ ..] = bytes {
        if tag & 7 != 2 || *length >= 0x80 {
            return None;
        }
        let (data, rest) = rest.split_at_checked(usize::from(*length))?;
        fields.push((tag >> 3, data));
        bytes = rest;
    }
    bytes.is_empty().then_some(fields)
}
