use std::time::Duration;

use bitcoin::bech32::Fe32;
use bitcoin::hashes::{Hash, sha256};
use bitcoin::secp256k1::{PublicKey, Secp256k1, SecretKey};
use lightning_invoice::{InvoiceBuilder, PaymentSecret, RouteHint, RouteHintHop, RoutingFees, Sha256, TaggedField};
use proptest::prelude::*;

use super::*;

const NOW: i64 = 1_800_000_000;
const WINDOW: u32 = 3_600;
const HASH: [u8; 32] = [7; 32];
const TAG_CLTV: u8 = 24;
const TAG_FEATURES: u8 = 5;

fn rules() -> GateRules {
    GateRules {
        network: Network::Regtest,
        expected_sats: 500,
        amountless: Amountless::Refuse,
        min_remaining_expiry_secs: WINDOW,
        max_expiry_secs: MAX_EXPIRY_SECS,
        max_final_cltv_expiry_delta: 144,
        own_nodes: vec![key(9).1.serialize()],
    }
}

fn trade_rules() -> GateRules {
    GateRules { amountless: Amountless::Allow, ..rules() }
}

fn key(byte: u8) -> (SecretKey, PublicKey) {
    let secret = SecretKey::from_slice(&[byte; 32]).unwrap();
    (secret, secret.public_key(&Secp256k1::new()))
}

type Edit = fn(&mut RawBolt11Invoice);

/// An invoice that passes, with single things to spoil.
struct Draft {
    currency: Currency,
    msat: Option<u64>,
    created: i64,
    expiry: u64,
    cltv: u64,
    signer: u8,
    edit: Edit,
}

fn draft() -> Draft {
    Draft {
        currency: Currency::Regtest,
        msat: Some(500_000),
        created: NOW,
        expiry: 86_400,
        cltv: 40,
        signer: 1,
        edit: |_| {},
    }
}

impl Draft {
    fn raw(&self) -> RawBolt11Invoice {
        let mut builder = InvoiceBuilder::new(self.currency.clone())
            .description("payout".into())
            .payment_hash(sha256::Hash::from_byte_array(HASH))
            .payment_secret(PaymentSecret([3; 32]))
            .duration_since_epoch(Duration::from_secs(self.created as u64))
            .min_final_cltv_expiry_delta(self.cltv)
            .basic_mpp()
            .expiry_time(Duration::from_secs(self.expiry));
        if let Some(msat) = self.msat {
            builder = builder.amount_milli_satoshis(msat);
        }
        let mut raw = builder.build_raw().unwrap();
        (self.edit)(&mut raw);
        raw
    }

    fn sign(&self) -> String {
        let secret = key(self.signer).0;
        self.raw().sign::<_, ()>(|hash| Ok(Secp256k1::new().sign_ecdsa_recoverable(hash, &secret))).unwrap().to_string()
    }
}

fn verdict(draft: &Draft, rules: &GateRules) -> Option<InvoiceDefect> {
    admit(&draft.sign(), rules, NOW).err()
}

/// A tagged field written word by word, as the decoder would never write it itself.
fn field(tag: u8, words: &[u8]) -> RawTaggedField {
    let length = [(words.len() / 32) as u8, (words.len() % 32) as u8];
    let all = [&[tag], &length[..], words].concat();
    RawTaggedField::UnknownSemantics(all.into_iter().map(|word| Fe32::try_from(word).unwrap()).collect())
}

fn drop_field(raw: &mut RawBolt11Invoice, dropped: fn(&TaggedField) -> bool) {
    raw.data.tagged_fields.retain(|field| !matches!(field, RawTaggedField::KnownSemantics(known) if dropped(known)));
}

fn set_features(raw: &mut RawBolt11Invoice, bits: &[usize]) {
    drop_field(raw, |field| matches!(field, TaggedField::Features(_)));
    let length = bits.iter().max().map_or(0, |top| top / 5 + 1);
    let mut words = vec![0u8; length];
    for bit in bits {
        words[length - 1 - bit / 5] |= 1 << (bit % 5);
    }
    raw.data.tagged_fields.push(field(TAG_FEATURES, &words));
}

#[test]
fn a_good_invoice_is_admitted_with_what_the_payment_needs() {
    let text = draft().sign();
    let accepted = AcceptedInvoice {
        bolt11: text.clone(),
        payment_hash: HASH,
        payee: key(1).1.serialize(),
        amount_sats: 500,
        amountless: false,
        expires_at: NOW + 86_400,
        min_final_cltv_expiry_delta: 40,
    };
    assert_eq!(admit(&text, &rules(), NOW), Ok(accepted.clone()));
    assert_eq!(admit(&text, &trade_rules(), NOW), Ok(accepted.clone()));
    assert_eq!(admit(&text.to_uppercase(), &rules(), NOW), Ok(accepted), "upper case is stored in lower case");
}

#[test]
fn texts_that_are_no_invoice() {
    let good = draft().sign();
    let lnurl = "LNURL1DP68GURN8GHJ7UM9WFMXJCM99E3K7MF0V9CXJ0M385EKVCENXC6R2C35XVUKXEFCV5MKVV34X5EKZD3EV56NYD3HXQURZEPEXEJXXEPNXSCRVWFNV9NXZCN9XQ6XYEFHVGCXXCMYXYMNSERXFQ5FNS";
    for (text, defect) in [
        (lnurl.to_string(), InvoiceDefect::Lnurl),
        (lnurl.to_lowercase(), InvoiceDefect::Lnurl),
        (format!("lightning:{lnurl}"), InvoiceDefect::Lnurl),
        ("lnurlp://domain.com/pay".into(), InvoiceDefect::Lnurl),
        ("user@domain.com".into(), InvoiceDefect::LightningAddress),
        ("User.Name+tag@sub.domain.com".into(), InvoiceDefect::LightningAddress),
        ("@".into(), InvoiceDefect::Undecodable),
        (String::new(), InvoiceDefect::Undecodable),
        ("lnbcrt".into(), InvoiceDefect::Undecodable),
        (
            "lno1pqps7sjqpgtyzm3qv4uxzmtsd3jjqer9wd3hy6tsw35k7msjzfpy7nz5yqcnygrfdej82um5wf5k2uckyypwa3e".into(),
            InvoiceDefect::Undecodable,
        ),
        (format!("lightning:{good}"), InvoiceDefect::Undecodable),
        (format!(" {good}"), InvoiceDefect::Undecodable),
        (format!("{good}\n"), InvoiceDefect::Undecodable),
        (good.replacen("lnbcrt", "LNBCRT", 1), InvoiceDefect::Undecodable),
        (good[..good.len() - 1].to_string(), InvoiceDefect::Undecodable),
        (format!("{good}{}", "q".repeat(MAX_INVOICE_LEN - good.len())), InvoiceDefect::Undecodable),
        (format!("{good}{}", "q".repeat(MAX_INVOICE_LEN + 1 - good.len())), InvoiceDefect::TooLong),
    ] {
        assert_eq!(admit(&text, &rules(), NOW), Err(defect), "{text:.60}");
    }
}

#[test]
fn only_the_chain_of_lnd() {
    let all = [
        (Network::Mainnet, Currency::Bitcoin, "mainnet"),
        (Network::Testnet, Currency::BitcoinTestnet, "testnet"),
        (Network::Signet, Currency::Signet, "signet"),
        (Network::Simnet, Currency::Simnet, "simnet"),
        (Network::Regtest, Currency::Regtest, "regtest"),
    ];
    for (network, _, name) in &all {
        assert_eq!(Network::from_lnd_name(name), Some(*network));
        for (issued_for, currency, _) in &all {
            let expected = (network != issued_for).then_some(InvoiceDefect::WrongNetwork);
            let draft = Draft { currency: currency.clone(), ..draft() };
            assert_eq!(verdict(&draft, &GateRules { network: *network, ..rules() }), expected);
        }
    }
    assert_eq!(Network::from_lnd_name("litecoin"), None);
}

#[test]
fn exactly_the_amount_to_the_millisatoshi() {
    for msat in [0, 1, 499_000, 499_999, 500_001, 500_999, 501_000, 500_000_000, u64::MAX / 10] {
        let draft = Draft { msat: Some(msat), ..draft() };
        assert_eq!(verdict(&draft, &rules()), Some(InvoiceDefect::WrongAmount), "{msat}");
        assert_eq!(verdict(&draft, &trade_rules()), Some(InvoiceDefect::WrongAmount), "{msat}");
    }
    // A tenth of a millisatoshi above.
    let edit = |raw: &mut RawBolt11Invoice| {
        (raw.hrp.raw_amount, raw.hrp.si_prefix) = (Some(5_000_001), Some(lightning_invoice::SiPrefix::Pico));
    };
    assert_eq!(verdict(&Draft { edit, ..draft() }, &rules()), Some(InvoiceDefect::WrongAmount));
    // So many bitcoins that the amount overflows, which the decoder reports as no amount at all.
    let edit = |raw: &mut RawBolt11Invoice| (raw.hrp.raw_amount, raw.hrp.si_prefix) = (Some(u64::MAX), None);
    assert_eq!(verdict(&Draft { edit, ..draft() }, &trade_rules()), Some(InvoiceDefect::WrongAmount));
}

#[test]
fn an_amountless_invoice_is_for_the_trade_payout_only() {
    let amountless = Draft { msat: None, ..draft() };
    assert_eq!(verdict(&amountless, &rules()), Some(InvoiceDefect::MissingAmount));
    let accepted = admit(&amountless.sign(), &trade_rules(), NOW).unwrap();
    assert_eq!((accepted.amount_sats, accepted.amountless), (500, true));
}

#[test]
fn nothing_is_admitted_when_nothing_is_owed() {
    for msat in [None, Some(0), Some(1)] {
        let rules = GateRules { expected_sats: 0, ..trade_rules() };
        assert_eq!(verdict(&Draft { msat, ..draft() }, &rules), Some(InvoiceDefect::WrongAmount));
    }
}

#[test]
fn each_bound_of_the_expiry_to_the_second() {
    let window = u64::from(WINDOW);
    let month = u64::from(MAX_EXPIRY_SECS);
    for (expiry, expected) in [
        (0, Some(InvoiceDefect::Expired)),
        (1, Some(InvoiceDefect::ExpiresTooSoon)),
        (window - 1, Some(InvoiceDefect::ExpiresTooSoon)),
        (window, None),
        (window + 1, None),
        (month - 1, None),
        (month, None),
        (month + 1, Some(InvoiceDefect::ExpiresTooLate)),
        (u64::MAX, Some(InvoiceDefect::ExpiresTooLate)),
    ] {
        assert_eq!(verdict(&Draft { expiry, ..draft() }, &rules()), expected, "{expiry}");
    }
    // The same bounds when the invoice is old: it is the time left that counts, not the invoice's life.
    for (created, expected) in [
        (NOW - 86_400 - 1, Some(InvoiceDefect::Expired)),
        (NOW - 86_400, Some(InvoiceDefect::Expired)),
        (NOW - 86_400 + 1, Some(InvoiceDefect::ExpiresTooSoon)),
        (NOW - 86_400 + i64::from(WINDOW) - 1, Some(InvoiceDefect::ExpiresTooSoon)),
        (NOW - 86_400 + i64::from(WINDOW), None),
        (NOW + i64::from(MAX_EXPIRY_SECS) - 86_400, None),
        (NOW + i64::from(MAX_EXPIRY_SECS) - 86_400 + 1, Some(InvoiceDefect::ExpiresTooLate)),
    ] {
        assert_eq!(verdict(&Draft { created, ..draft() }, &rules()), expected, "{}", created - NOW);
    }
    let no_window = GateRules { min_remaining_expiry_secs: 0, ..rules() };
    assert_eq!(verdict(&Draft { expiry: 0, ..draft() }, &no_window), Some(InvoiceDefect::Expired));
    assert_eq!(verdict(&Draft { expiry: 1, ..draft() }, &no_window), None);
}

#[test]
fn an_unset_expiry_is_an_hour_and_an_unset_cltv_18_blocks() {
    let edit = |raw: &mut RawBolt11Invoice| {
        drop_field(raw, |field| matches!(field, TaggedField::ExpiryTime(_) | TaggedField::MinFinalCltvExpiryDelta(_)));
    };
    let accepted = admit(&Draft { edit, ..draft() }.sign(), &rules(), NOW).unwrap();
    assert_eq!((accepted.expires_at, accepted.min_final_cltv_expiry_delta), (NOW + 3_600, 18));
}

#[test]
fn the_final_cltv_delta_is_bounded() {
    for (cltv, expected) in [
        (0, None),
        (143, None),
        (144, None),
        (145, Some(InvoiceDefect::FinalCltvTooHigh)),
        // lnd keeps 16 bits, this is 40 there.
        (65_536 + 40, Some(InvoiceDefect::FinalCltvTooHigh)),
        (u64::from(u32::MAX) + 41, Some(InvoiceDefect::FinalCltvTooHigh)),
        (u64::MAX, Some(InvoiceDefect::FinalCltvTooHigh)),
    ] {
        assert_eq!(verdict(&Draft { cltv, ..draft() }, &rules()), expected, "{cltv}");
    }
}

#[test]
fn features_that_lnd_cannot_meet() {
    let cases: [(Edit, Option<InvoiceDefect>); 13] = [
        (|raw| set_features(raw, &[9, 15]), None),
        (|raw| set_features(raw, &[8, 14, 16, 48]), None),
        (|raw| set_features(raw, &[9, 15, 25, 57, 101, 263]), None),
        (|raw| set_features(raw, &[9, 15, 30]), Some(InvoiceDefect::Amp)),
        (|raw| set_features(raw, &[9, 15, 31]), Some(InvoiceDefect::Amp)),
        (|raw| set_features(raw, &[9, 15, 56]), Some(InvoiceDefect::UnknownRequiredFeatures)),
        (|raw| set_features(raw, &[9, 15, 100]), Some(InvoiceDefect::UnknownRequiredFeatures)),
        (|raw| set_features(raw, &[9, 15, 262]), Some(InvoiceDefect::UnknownRequiredFeatures)),
        (|raw| set_features(raw, &[0, 9, 15]), Some(InvoiceDefect::UnknownRequiredFeatures)),
        (|raw| set_features(raw, &[9, 15, 1_000]), Some(InvoiceDefect::UnknownRequiredFeatures)),
        (|raw| set_features(raw, &[9, 17]), Some(InvoiceDefect::NoPaymentSecret)),
        (|raw| set_features(raw, &[15]), Some(InvoiceDefect::IncompleteFeatures)),
        (
            |raw| drop_field(raw, |field| matches!(field, TaggedField::Features(_))),
            Some(InvoiceDefect::NoPaymentSecret),
        ),
    ];
    for (at, (edit, expected)) in cases.into_iter().enumerate() {
        assert_eq!(verdict(&Draft { edit, ..draft() }, &rules()), expected, "case {at}");
    }
}

#[test]
fn fields_missing_or_doubled() {
    let cases: [(Edit, InvoiceDefect); 6] = [
        (|raw| drop_field(raw, |field| matches!(field, TaggedField::PaymentSecret(_))), InvoiceDefect::NoPaymentSecret),
        (|raw| drop_field(raw, |field| matches!(field, TaggedField::PaymentHash(_))), InvoiceDefect::Undecodable),
        (|raw| drop_field(raw, |field| matches!(field, TaggedField::Description(_))), InvoiceDefect::Undecodable),
        (
            |raw| {
                let other = Sha256(sha256::Hash::from_byte_array([8; 32]));
                raw.data.tagged_fields.push(TaggedField::PaymentHash(other).into());
            },
            InvoiceDefect::Undecodable,
        ),
        (
            |raw| raw.data.tagged_fields.push(TaggedField::PaymentSecret(PaymentSecret([4; 32])).into()),
            InvoiceDefect::Undecodable,
        ),
        (|raw| raw.data.tagged_fields.push(field(3, &[])), InvoiceDefect::Undecodable),
    ];
    for (at, (edit, expected)) in cases.into_iter().enumerate() {
        assert_eq!(verdict(&Draft { edit, ..draft() }, &rules()), Some(expected), "case {at}");
    }
}

#[test]
fn what_lnd_would_read_differently() {
    let edit = |raw: &mut RawBolt11Invoice| raw.data.tagged_fields.push(field(TAG_BLINDED_PATH, &[1; 52]));
    assert_eq!(verdict(&Draft { edit, ..draft() }, &rules()), Some(InvoiceDefect::BlindedPath));

    // A delta of 40 behind a leading zero: signed over a text that the decoder would shorten.
    let edit = |raw: &mut RawBolt11Invoice| {
        drop_field(raw, |field| matches!(field, TaggedField::MinFinalCltvExpiryDelta(_)));
        raw.data.tagged_fields.push(field(TAG_CLTV, &[0, 1, 8]));
    };
    assert_eq!(verdict(&Draft { edit, ..draft() }, &rules()), Some(InvoiceDefect::NotCanonical));

    // A field that nobody knows changes nothing.
    let edit = |raw: &mut RawBolt11Invoice| raw.data.tagged_fields.push(field(2, &[1; 52]));
    assert_eq!(verdict(&Draft { edit, ..draft() }, &rules()), None);
}

#[test]
fn the_payee_must_be_another_node() {
    assert_eq!(verdict(&Draft { signer: 9, ..draft() }, &rules()), Some(InvoiceDefect::OwnNode));

    let edit = |raw: &mut RawBolt11Invoice| {
        raw.data.tagged_fields.push(TaggedField::PayeePubKey(key(9).1.into()).into());
    };
    assert_eq!(verdict(&Draft { edit, signer: 9, ..draft() }, &rules()), Some(InvoiceDefect::OwnNode));
    assert_eq!(
        verdict(&Draft { edit, ..draft() }, &rules()),
        Some(InvoiceDefect::Undecodable),
        "another key than the signer's"
    );

    let edit = |raw: &mut RawBolt11Invoice| {
        let hop = RouteHintHop {
            src_node_id: key(9).1,
            short_channel_id: 1,
            fees: RoutingFees { base_msat: 0, proportional_millionths: 0 },
            cltv_expiry_delta: 40,
            htlc_minimum_msat: None,
            htlc_maximum_msat: None,
        };
        let route = lightning_invoice::PrivateRoute::new(RouteHint(vec![hop])).unwrap();
        raw.data.tagged_fields.push(TaggedField::PrivateRoute(route).into());
    };
    assert_eq!(verdict(&Draft { edit, ..draft() }, &rules()), None, "a peer reached through the node's own channel");
}

#[test]
fn invoices_of_the_real_lnd_are_canonical() {
    // As lnd 0.20 writes it, on simnet, 100 000 sats.
    let text = "lnsb1m1p4sgzynpp56przqp0s2c4ldu7g6yeeygp77htrehr3a9w5lclfrta5drr75fjqdqqcqzzsxqyz5vqsp5gp86xrllkhxhj3td9cm3pr7gv0u9g2kh6e02mmywagcznvspsupq9qxpqysgqshht4fxeprem5pdjnjv3wscurwhxh0aspst0wjlc3vugtj2xcxwy5crepdamyt6s9wakzjnlv4qtrawrylvrfdagvgnswqpthq6cf8qphp3exs";
    let issued = text.parse::<Bolt11Invoice>().unwrap().duration_since_epoch().as_secs() as i64;
    let rules =
        GateRules { network: Network::Simnet, expected_sats: 100_000, min_remaining_expiry_secs: 60, ..rules() };
    let accepted = admit(text, &rules, issued).unwrap();
    assert_eq!((accepted.amount_sats, accepted.min_final_cltv_expiry_delta), (100_000, 80));
}

proptest! {
    #[test]
    fn no_text_panics(text in ".{0,200}", now: i64) {
        prop_assert!(admit(&text, &rules(), now).is_err());
    }

    #[test]
    fn no_bech32_panics(words in proptest::collection::vec(0u8..32, 0..400), amount in "[0-9]{0,20}[munp]?", now: i64) {
        use bitcoin::bech32::{Bech32, Fe32IterExt, Hrp};
        let hrp = Hrp::parse(&format!("lnbcrt{amount}")).unwrap();
        let words = words.into_iter().map(|word| Fe32::try_from(word).unwrap());
        let text: String = words.with_checksum::<Bech32>(&hrp).chars().collect();
        let _ = admit(&text, &trade_rules(), now);
    }

    #[test]
    fn a_broken_copy_is_never_admitted(at: proptest::sample::Index, put in "[a-z0-9]") {
        let good = draft().sign();
        let at = at.index(good.len());
        let broken = format!("{}{put}{}", &good[..at], &good[at + 1..]);
        prop_assert_eq!(admit(&broken, &rules(), NOW).is_ok(), broken == good);
    }

    #[test]
    fn any_clock_is_survived(now: i64, created in 0u64..(1 << 35), expiry: u64) {
        let text = Draft { created: created as i64, expiry, ..draft() }.sign();
        if let Ok(accepted) = admit(&text, &rules(), now) {
            let left = accepted.expires_at - now;
            prop_assert!((i64::from(WINDOW)..=i64::from(MAX_EXPIRY_SECS)).contains(&left));
        }
    }
}
