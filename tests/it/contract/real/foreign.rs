//! Invoices that no lnd here would make.

use std::time::Duration;

use bitcoin::secp256k1::{Message, PublicKey, SECP256K1, SecretKey};
use bondflow::engine::Timestamp;
use lightning_invoice::{
    Currency, InvoiceBuilder, PaymentSecret, RawTaggedField, RouteHint, RouteHintHop, RoutingFees, TaggedField,
};

use super::super::bed::{FINAL_CLTV, hash_of, secret};

/// An invoice of a node that nobody has heard of, one hop behind a node that is known, with these feature bits.
pub fn invoice_behind(known: &str, now: Timestamp, sats: u64, expiry: Duration, bits: &[usize]) -> String {
    let hop = RouteHintHop {
        src_node_id: known.parse::<PublicKey>().unwrap(),
        short_channel_id: 1 << 40,
        fees: RoutingFees { base_msat: 0, proportional_millionths: 0 },
        cltv_expiry_delta: 40,
        htlc_minimum_msat: None,
        htlc_maximum_msat: None,
    };
    let mut raw = InvoiceBuilder::new(Currency::Simnet)
        .description("unheard of".to_owned())
        .payment_hash(bitcoin::hashes::Hash::from_byte_array(hash_of(secret())))
        .duration_since_epoch(Duration::from_secs(now.secs() as u64))
        .min_final_cltv_expiry_delta(FINAL_CLTV)
        .payment_secret(PaymentSecret(secret()))
        .basic_mpp()
        .amount_milli_satoshis(sats * 1_000)
        .expiry_time(expiry)
        .private_route(RouteHint(vec![hop]))
        .build_raw()
        .unwrap();
    for field in &mut raw.data.tagged_fields {
        if let RawTaggedField::KnownSemantics(TaggedField::Features(features)) = field {
            for &bit in bits {
                features.set_required_feature_bit(bit).unwrap();
            }
        }
    }
    let key = SecretKey::from_slice(&secret()).unwrap();
    let sign = |message: &Message| Ok::<_, ()>(SECP256K1.sign_ecdsa_recoverable(message, &key));
    raw.sign(sign).unwrap().to_string()
}
