//! Invoices that are really signed, over anything.

use std::time::Duration;

use bitcoin::hashes::{Hash as _, sha256};
use bitcoin::secp256k1::{Message, Secp256k1, SecretKey};
use lightning_invoice::{Currency, InvoiceBuilder, PaymentSecret, RawTaggedField, TaggedField};

use super::NOW;
use crate::dice::Dice;

/// Signed with a key of the dice's; every field somewhere between usual and absurd.
pub fn signed(dice: &mut Dice, usual_sats: u64) -> String {
    let bytes = |dice: &mut Dice| -> [u8; 32] { std::array::from_fn(|_| dice.between(0, 255) as u8) };
    let key = SecretKey::from_slice(&[dice.between(1, 200) as u8; 32]).expect("a key");
    let networks = [Currency::Simnet, Currency::Simnet, Currency::Bitcoin, Currency::BitcoinTestnet, Currency::Regtest];
    let created = match dice.between(0, 3) {
        0 => dice.between(0, 1 << 34),
        _ => NOW + dice.between(-100_000, 100_000),
    };
    let expiry = match dice.between(0, 5) {
        0 => dice.next(),
        1 => 30 * 86_400 + dice.between(0, 2) as u64,
        2 => 3_600 + dice.between(0, 2) as u64,
        _ => dice.between(0, 40 * 86_400) as u64,
    };
    let cltv = match dice.between(0, 4) {
        0 => dice.next(),
        _ => dice.between(0, 200) as u64,
    };
    let (hash, secret) = (bytes(dice), bytes(dice));
    let mut builder = InvoiceBuilder::new(dice.pick(&networks))
        .description("x".repeat(dice.place(640)))
        .payment_hash(sha256::Hash::from_byte_array(hash))
        .duration_since_epoch(Duration::from_secs(created as u64))
        .min_final_cltv_expiry_delta(cltv)
        .payment_secret(PaymentSecret(secret))
        .basic_mpp()
        .expiry_time(Duration::from_secs(expiry));
    if dice.chance(90) {
        let msat = if dice.chance(20) { dice.next() >> 1 } else { usual_sats * 1_000 };
        builder = builder.amount_milli_satoshis(msat);
    }
    // What can't be built at all is nothing that a client could send.
    let Ok(mut raw) = builder.build_raw() else { return String::new() };
    for field in &mut raw.data.tagged_fields {
        if let RawTaggedField::KnownSemantics(TaggedField::Features(features)) = field
            && dice.chance(30)
        {
            let bit = dice.place(256);
            let _ = if bit.is_multiple_of(2) {
                features.set_required_feature_bit(bit)
            } else {
                features.set_optional_feature_bit(bit)
            };
        }
    }
    if dice.chance(10) && !raw.data.tagged_fields.is_empty() {
        let at = dice.place(raw.data.tagged_fields.len());
        let field = raw.data.tagged_fields.remove(at);
        if dice.chance(50) {
            raw.data.tagged_fields.push(field.clone());
            raw.data.tagged_fields.push(field);
        }
    }
    let secp = Secp256k1::new();
    let sign = |message: &Message| Ok::<_, ()>(secp.sign_ecdsa_recoverable(message, &key));
    raw.sign(sign).map(|signed| signed.to_string()).unwrap_or_default()
}
