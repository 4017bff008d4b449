//! What the node says.

use mostro_core::transport::unwrap_message_nip44;
use nostr_sdk::nips::nip44;
use serde_json::{Map, json};

use super::*;
use crate::payout::messages::{DisputeBrief, HealthFacts, InfoFacts, OrderSummary, Refusal, Said, Standing};

/// The tags of the real node's event of that kind.
fn recorded_tags(kind: u16) -> Vec<Value> {
    let event = include_str!("../../../../tests/data/events.jsonl")
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .find(|event| event["kind"] == kind)
        .unwrap();
    event["tags"].as_array().unwrap().clone()
}

fn tags(event: &Event) -> Vec<Value> {
    event.tags.iter().map(|tag| json!(tag.as_slice())).collect()
}

fn profile() -> Profile {
    Profile {
        version: "0.20.2".into(),
        network: "simnet".into(),
        bonds: Some(BondTerms {
            apply_to: "both".into(),
            amount_pct: "0.01".into(),
            base_amount_sats: 1000,
            slash_on_waiting_timeout: false,
            slash_node_share_pct: "0.5".into(),
            payout_claim_window_days: 15,
        }),
        ..Profile::default()
    }
}

fn summary(amount_sats: u64) -> OrderSummary {
    OrderSummary {
        id: ORDER.into(),
        kind: "sell".into(),
        status: None,
        amount_sats,
        fiat_code: "USD".into(),
        fiat_amount: 100,
        payment_method: "bank".into(),
        premium: 0,
    }
}

/// The order's row, as the recorded brief and events have it.
fn order_row() -> Map<String, Value> {
    let brief = recorded("admin-took-dispute").remove(0)["dispute"]["payload"]["dispute"][1].take();
    let mut row = brief.as_object().unwrap().clone();
    row.insert("fiat_code".into(), json!("USD"));
    row.insert("expires_at".into(), json!(1_795_512_848));
    row
}

/// What the receiver reads, seen through mostro-core, and the plain text.
fn said(about: &str, request_id: Option<u64>, said: Said) -> Value {
    let (node, client) = (Keys::generate(), Keys::generate());
    let outgoing = Outgoing::Direct { to: client.public_key().to_hex(), about: Some(about.into()), request_id, said };
    let event = encode(&outgoing, &node, &profile(), NOW, None).unwrap();
    let opened = unwrap_message_nip44(&event, &client).unwrap().unwrap();
    assert_eq!((opened.sender, opened.identity), (node.public_key(), node.public_key()));
    assert_eq!((event.kind.as_u16(), event.created_at.as_secs()), (14, 1_795_426_573));
    assert_eq!(tags(&event), [json!(["p", client.public_key().to_hex()]), json!(["expiration", "1798018573"])],);
    let plain = nip44::decrypt(client.secret_key(), &node.public_key(), &event.content).unwrap();
    let tuple: Value = serde_json::from_str(&plain).unwrap();
    assert_eq!((&tuple[1], &tuple[2]), (&Value::Null, &Value::Null));
    tuple[0].clone()
}

#[test]
fn the_ruling_is_told_as_a_real_node_tells_it() {
    assert_eq!(said(ORDER, None, Said::AdminCanceled), recorded("admin-canceled")[0]);
    let settled = said(ORDER, Some(3), Said::AdminSettled);
    assert_eq!(settled["order"]["action"], "admin-settled");
    assert_eq!((&settled["order"]["request_id"], &settled["order"]["payload"]), (&json!(3), &Value::Null));
}

#[test]
fn the_bonds_messages_are_those_of_a_real_node() {
    assert_eq!(said(ORDER, None, Said::BondSlashed(summary(1000))), recorded("bond-slashed")[0]);
    let wanted = Said::BondInvoiceWanted { order: summary(500), slashed_at: 1_795_426_573 };
    assert_eq!(said(ORDER, None, wanted), recorded("add-bond-invoice")[0]);
    assert_eq!(said(ORDER, None, Said::BondInvoiceAccepted(summary(500))), recorded("bond-invoice-accepted")[0]);
    assert_eq!(said(ORDER, None, Said::BondPayoutCompleted(summary(500))), recorded("bond-payout-completed")[0]);
}

#[test]
fn refusals_are_those_of_a_real_node() {
    let refused = Said::CantDo(Refusal::NotAllowedByStatus);
    let [to_seller, to_solver] = &recorded("cant-do")[..] else { panic!("two refusals were recorded") };
    assert_eq!(&said(ORDER, Some(10_212_747_705_648_727_446), refused.clone()), to_seller);
    assert_eq!(&said(ORDER, None, refused), to_solver);
}

#[test]
fn a_taken_dispute_is_told_as_a_real_node_tells_it() {
    let standing = Standing { rating: 0.0, reviews: 0, since: 1_795_400_000 };
    let mut order = order_row();
    order.insert("premium".into(), Value::Null);
    let brief = DisputeBrief {
        dispute: DISPUTE.into(),
        order,
        previous_status: "fiat-sent".into(),
        initiator: SELLER.into(),
        initiator_standing: Some(standing),
        counterpart_standing: Some(standing),
    };
    let [to_solver, to_party, _] = &recorded("admin-took-dispute")[..] else { panic!("three were recorded") };
    assert_eq!(&said(DISPUTE, None, Said::TookDispute(Box::new(brief.clone()))), to_solver);
    assert_eq!(&said(ORDER, None, Said::SolverAssigned(SOLVER.into())), to_party);

    let private = DisputeBrief { initiator_standing: None, ..brief };
    let told = said(DISPUTE, None, Said::TookDispute(Box::new(private)));
    let info = &told["dispute"]["payload"]["dispute"][1];
    assert_eq!((&info["initiator_full_privacy"], &info["initiator_info"]), (&json!(true), &Value::Null));
}

#[test]
fn the_buyer_is_asked_for_another_invoice_with_an_order() {
    let wanted = OrderSummary { status: Some("settled-hold-invoice".into()), ..summary(99_000) };
    let told = said(ORDER, None, Said::InvoiceWanted(wanted));
    assert_eq!(told["order"]["action"], "add-invoice");
    let order = &told["order"]["payload"]["order"];
    assert_eq!((&order["amount"], &order["status"]), (&json!(99_000), &json!("settled-hold-invoice")));
}

#[test]
fn public_events_carry_the_tags_of_a_real_node() {
    let node = Keys::generate();
    let order = Outgoing::OrderEvent { order: order_row(), status: "canceled".into() };
    let event = encode(&order, &node, &profile(), NOW, None).unwrap();
    assert_eq!(tags(&event), recorded_tags(38383));
    assert_eq!((event.kind.as_u16(), event.content.as_str()), (38383, ""));

    let dispute = Outgoing::DisputeEvent {
        id: DISPUTE.into(),
        status: "seller-refunded".into(),
        initiator: "seller".into(),
        created_at: 1_795_426_502,
    };
    let event = encode(&dispute, &node, &profile(), NOW, Some(NOW.secs() + 5)).unwrap();
    assert_eq!(tags(&event), recorded_tags(38386));
    assert_eq!(event.created_at.as_secs(), 1_795_426_579, "newer than the one before");
}

#[test]
fn the_info_event_has_the_tags_that_clients_read() {
    const UNSERVED: [&str; 16] = [
        "mostro_commit_hash",
        "max_order_amount",
        "min_order_amount",
        "expiration_hours",
        "expiration_seconds",
        "fiat_currencies_accepted",
        "max_orders_per_response",
        "fee",
        "escrow_mode",
        "hold_invoice_cltv_delta",
        "escrow_deadline_margin_blocks",
        "lnd_commit_hash",
        "lnd_chains",
        "lnd_uris",
        "hold_invoice_expiration_window",
        "maintenance_mode",
    ];
    let node = Keys::generate();
    let mut expected = recorded_tags(38385);
    expected.retain(|tag| tag[0] != "invoice_expiration_window" && !UNSERVED.iter().any(|name| tag[0] == *name));
    expected[0] = json!(["d", node.public_key().to_hex()]);
    let facts = InfoFacts {
        lnd_version: "0.20.3-beta commit=".into(),
        lnd_node_pubkey: "026cf65f6253d3f0af42bae65707ead06065dfade4c625b39c8e9b8105fbd6d3cf".into(),
        lnd_node_alias: "a".into(),
        lnd_networks: "simnet".into(),
    };
    let event = encode(&Outgoing::Info(facts.clone()), &node, &profile(), NOW, None).unwrap();
    assert_eq!(tags(&event), expected);

    let other = Profile { name: Some(" here ".into()), pow: 3, pow_first_contact: Some(2), bonds: None, ..profile() };
    let event = encode(&Outgoing::Info(facts), &node, &other, NOW, None).unwrap();
    let tags = tags(&event);
    assert!(tags.contains(&json!(["y", "mostro", "here"])));
    assert!(tags.contains(&json!(["pow_first_contact", "3"])));
    assert_eq!(tags.last().unwrap(), &json!(["bond_enabled", "false"]));
}

#[test]
fn the_health_event_has_the_tags_of_a_real_node_and_names_its_installation() {
    let node = Keys::generate();
    let facts = HealthFacts {
        installation: "here".into(),
        seq: 7,
        interval_secs: 60,
        checks: ["lnd_sync", "payouts", "relays", "database"].map(|check| (check.to_owned(), true)).into(),
        block_height: Some(413),
        synced_to_chain: Some(true),
    };
    let found_at = 1_795_426_551;
    let event = |facts: &HealthFacts| {
        encode(&Outgoing::Health(facts.clone()), &node, &profile(), Timestamp::from_secs(found_at), None).unwrap()
    };
    // What only a mostrod can tell of itself is left out.
    let mut expected = recorded_tags(38389);
    expected.retain(|tag| tag[0] != "escrow_mode" && tag[0] != "maintenance_mode");
    expected[0] = json!(["d", node.public_key().to_hex()]);
    for tag in expected.iter_mut().filter(|tag| tag[0] == "expiration") {
        tag[1] = json!((found_at + 7 * 60).to_string());
    }
    expected.push(json!(["installation", "here"]));
    assert_eq!(tags(&event(&facts)), expected);
    assert_eq!((event(&facts).kind.as_u16(), event(&facts).created_at.as_secs()), (38389, 1_795_426_551));

    let sick = HealthFacts {
        checks: vec![("lnd_sync".into(), false), ("database".into(), true)],
        block_height: None,
        synced_to_chain: None,
        ..facts
    };
    let tags = tags(&event(&sick));
    assert!(tags.contains(&json!(["status", "degraded"])));
    assert!(tags.contains(&json!(["check", "lnd_sync", "error", "1795426551"])));
    assert!(!tags.iter().any(|tag| tag[0] == "lnd_block_height" || tag[0] == "lnd_synced_to_chain"));
}

#[test]
fn what_is_no_key_id_or_status_is_an_error() {
    let to = Keys::generate().public_key().to_hex();
    let direct = |to: &str, about: &str, said| Outgoing::Direct {
        to: to.into(),
        about: Some(about.into()),
        request_id: None,
        said,
    };
    let seal = |outgoing| encode(&outgoing, &Keys::generate(), &profile(), NOW, None).unwrap_err();
    assert_eq!(seal(direct("02", ORDER, Said::AdminSettled)), EncodeError::invalid("receiver", "02"));
    assert_eq!(seal(direct(&to, "1", Said::AdminSettled)), EncodeError::invalid("id", "1"));
    let odd = OrderSummary { kind: "swap".into(), ..summary(1) };
    assert_eq!(seal(direct(&to, ORDER, Said::BondSlashed(odd))), EncodeError::invalid("order kind", "swap"));
}

#[test]
fn a_message_to_the_nodes_own_key_is_addressed_to_it() {
    let node = Keys::generate();
    let to = node.public_key().to_hex();
    let said = Said::AdminSettled;
    let outgoing = Outgoing::Direct { to: to.clone(), about: Some(ORDER.into()), request_id: None, said };
    let event = encode(&outgoing, &node, &profile(), NOW, None).unwrap();
    assert_eq!(tags(&event)[0], json!(["p", to]));
}
