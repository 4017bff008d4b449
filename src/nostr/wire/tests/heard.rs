//! What the node hears.

use mostro_core::message::{Action, BondResolution, Message, Payload, Peer};
use mostro_core::nip59::WrapOptions;
use mostro_core::transport::wrap_message_nip44;
use nostr_sdk::nips::nip44;
use serde_json::json;
use uuid::Uuid;

use super::*;
use crate::payout::messages::{Incoming, Request, Ruling, Slash};

fn nobody(_: &str) -> bool {
    false
}

const OPEN: Rules<'static> = Rules { pow: 0, pow_first_contact: None, known: &nobody, not_before: None };

fn ask(action: Action, payload: Option<Payload>) -> Message {
    Message::new_order(Some(Uuid::parse_str(ORDER).unwrap()), Some(9), None, action, payload)
}

fn event(message: &Message, identity: &Keys, trade: &Keys, node: &Keys, signed: bool) -> Event {
    let options = WrapOptions { signed, ..WrapOptions::default() };
    wrap_message_nip44(message, identity, trade, node.public_key(), options).unwrap()
}

fn heard(message: &Message) -> Incoming {
    let (client, node) = (Keys::generate(), Keys::generate());
    decode(&event(message, &client, &client, &node, false), &node, &OPEN).unwrap()
}

#[test]
fn a_request_is_heard_with_its_sender_identity_and_number() {
    let (identity, trade, node) = (Keys::generate(), Keys::generate(), Keys::generate());
    let message = ask(Action::AddBondInvoice, Some(Payload::PaymentRequest(None, "lnbc1".into(), None)));
    let event = event(&message, &identity, &trade, &node, true);
    assert_eq!(
        decode(&event, &node, &OPEN),
        Ok(Incoming {
            event: event.id.to_hex(),
            sender: trade.public_key().to_hex(),
            identity: identity.public_key().to_hex(),
            made_at: i64::try_from(event.created_at.as_secs()).unwrap(),
            request_id: Some(9),
            about: Some(ORDER.into()),
            request: Request::BondInvoice(Some("lnbc1".into())),
        })
    );
}

#[test]
fn rulings_are_heard_in_any_wrapper() {
    let both = Some(Payload::BondResolution(BondResolution { slash_seller: true, slash_buyer: false }));
    let id = Some(Uuid::parse_str(ORDER).unwrap());
    let message = Message::new_dispute(id, None, None, Action::AdminCancel, both);
    let slash = Some(Slash { seller: true, buyer: false });
    assert_eq!(heard(&message).request, Request::Rule { ruling: Ruling::Cancel, slash });
    assert_eq!(
        heard(&ask(Action::AdminSettle, None)).request,
        Request::Rule { ruling: Ruling::Settle, slash: Some(Slash::default()) }
    );
    assert_eq!(heard(&ask(Action::AdminTakeDispute, None)).request, Request::TakeDispute);
}

#[test]
fn wrong_payloads_outbound_shapes_and_unserved_actions_are_told_apart() {
    let text = || Some(Payload::TextMessage("x".into()));
    let rule = |message| match heard(&message).request {
        Request::Rule { slash, .. } => slash,
        other => panic!("{other:?}"),
    };
    assert_eq!(rule(ask(Action::AdminSettle, text())), None);
    assert_eq!(heard(&ask(Action::AddInvoice, text())).request, Request::TradeInvoice(None));
    assert_eq!(heard(&ask(Action::AddBondInvoice, None)).request, Request::BondInvoice(None));
    let wanted: Message = serde_json::from_value(recorded("add-bond-invoice").remove(0)).unwrap();
    assert_eq!(heard(&wanted).request, Request::BondInvoice(None), "the node's own shape");
    let resolution = || Some(Payload::BondResolution(BondResolution::default()));
    assert_eq!(heard(&ask(Action::AdminTakeDispute, resolution())).request, Request::Malformed);
    assert_eq!(heard(&ask(Action::Release, resolution())).request, Request::Malformed);
    assert_eq!(heard(&ask(Action::Release, None)).request, Request::Other);
    let nameless = Message::new_order(None, Some(1), None, Action::AdminTakeDispute, None);
    assert_eq!((heard(&nameless).about, heard(&nameless).request), (None, Request::Malformed));
}

#[test]
fn an_unsigned_message_of_another_identity_is_dropped() {
    let (identity, trade, node) = (Keys::generate(), Keys::generate(), Keys::generate());
    let message = ask(Action::AdminSettle, None);
    assert_eq!(decode(&event(&message, &identity, &trade, &node, false), &node, &OPEN), Err(Dropped::Identity));
}

#[test]
fn a_proof_taken_from_another_event_is_dropped() {
    let (identity, trade, thief, node) = (Keys::generate(), Keys::generate(), Keys::generate(), Keys::generate());
    let honest = event(&ask(Action::AdminSettle, None), &identity, &trade, &node, true);
    let plain = nip44::decrypt(node.secret_key(), &trade.public_key(), &honest.content).unwrap();
    assert_eq!(decode(&raw(&plain, &thief, &node), &node, &OPEN), Err(Dropped::Identity));
}

/// An event of `sender` with that plain text, encrypted to the node.
fn raw(plain: &str, sender: &Keys, node: &Keys) -> Event {
    let content = nip44::encrypt(sender.secret_key(), &node.public_key(), plain, nip44::Version::V2).unwrap();
    sign(DIRECT, content, vec![Tag::public_key(node.public_key())], NOW.secs(), sender).unwrap()
}

#[test]
fn what_cannot_be_read_is_dropped() {
    let (client, node) = (Keys::generate(), Keys::generate());
    let good = event(&ask(Action::AdminSettle, None), &client, &client, &node, false);
    assert_eq!(decode(&good, &Keys::generate(), &OPEN), Err(Dropped::Undecryptable));
    assert_eq!(decode(&raw("[1,null,null]", &client, &node), &node, &OPEN), Err(Dropped::Unreadable));
    let note = sign(Kind::TextNote, "hello".into(), vec![], NOW.secs(), &client).unwrap();
    assert_eq!(decode(&note, &node, &OPEN), Err(Dropped::Kind));

    let mut forged = good.clone();
    forged.sig = note.sig;
    assert_eq!(decode(&forged, &node, &OPEN), Err(Dropped::Signature));
    let mut altered = good;
    altered.content.push(' ');
    assert_eq!(decode(&altered, &node, &OPEN), Err(Dropped::Signature));
}

#[test]
fn content_above_64_kib_is_dropped_and_exactly_64_kib_is_looked_at() {
    let (client, node) = (Keys::generate(), Keys::generate());
    let sized = |bytes| sign(DIRECT, "a".repeat(bytes), vec![], NOW.secs(), &client).unwrap();
    assert_eq!(decode(&sized(64 * 1024 + 1), &node, &OPEN), Err(Dropped::Oversized));
    assert_eq!(decode(&sized(64 * 1024), &node, &OPEN), Err(Dropped::Undecryptable));
}

#[test]
fn work_is_asked_before_anything_is_decrypted() {
    let (client, node) = (Keys::generate(), Keys::generate());
    let message = ask(Action::AdminSettle, None);
    let wrap = |pow| {
        let options = WrapOptions { pow, signed: false, ..WrapOptions::default() };
        wrap_message_nip44(&message, &client, &client, node.public_key(), options).unwrap()
    };
    let weak = std::iter::repeat_with(|| wrap(0)).find(|event| !event.check_pow(2)).unwrap();
    let strict = Rules { pow: 2, ..OPEN };
    assert_eq!(decode(&weak, &node, &strict), Err(Dropped::Work));
    assert_eq!(decode(&weak, &Keys::generate(), &strict), Err(Dropped::Work), "although it can't be decrypted");
    assert!(decode(&wrap(2), &node, &strict).is_ok());

    let some = std::iter::repeat_with(|| wrap(2)).find(|event| !event.check_pow(9)).unwrap();
    let first = Rules { pow: 2, pow_first_contact: Some(9), ..OPEN };
    assert_eq!(decode(&some, &node, &first), Err(Dropped::Work));
    let sender = client.public_key().to_hex();
    let known = move |key: &str| key == sender;
    assert!(decode(&some, &node, &Rules { known: &known, ..first }).is_ok());
    let lower = Rules { pow: 9, pow_first_contact: Some(2), ..OPEN };
    assert_eq!(decode(&some, &node, &lower), Err(Dropped::Work), "an unknown key needs both");
}

#[test]
fn events_from_before_the_installation_count_as_seen() {
    let (client, node) = (Keys::generate(), Keys::generate());
    let plain = json!([ask(Action::AdminSettle, None), null, null]).to_string();
    let event = raw(&plain, &client, &node);
    let from = |secs| Rules { not_before: Some(Timestamp::from_secs(secs)), ..OPEN };
    assert!(decode(&event, &node, &from(NOW.secs())).is_ok());
    assert_eq!(decode(&event, &node, &from(NOW.secs() + 1)), Err(Dropped::Old));
}

#[test]
fn nothing_answers_a_refusal_or_its_own_words() {
    let (client, node) = (Keys::generate(), Keys::generate());
    let refusal: Message = serde_json::from_value(recorded("cant-do").remove(0)).unwrap();
    assert_eq!(decode(&event(&refusal, &client, &client, &node, false), &node, &OPEN), Err(Dropped::NoRequest));
    let settled = ask(Action::AdminSettled, None);
    assert_eq!(decode(&event(&settled, &node, &node, &node, false), &node, &OPEN), Err(Dropped::NoRequest));
    assert_eq!(heard(&settled).request, Request::Other, "of anybody else it is an action that is not served");
    let ruling = event(&ask(Action::AdminSettle, None), &node, &node, &node, false);
    assert!(decode(&ruling, &node, &OPEN).is_ok(), "the node's own key may rule");
    let peer = Some(Payload::Peer(Peer::new(SOLVER.into(), None)));
    let told = ask(Action::AdminTookDispute, peer);
    assert_eq!(decode(&event(&told, &node, &node, &node, false), &node, &OPEN), Err(Dropped::NoRequest));
}
