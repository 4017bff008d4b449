//! Signs and reads real BOLT 11 invoices, with lnd's tolerance: unknown feature bits are no error here.

use super::hash::Hash32;
use lightning_invoice::{Currency, InvoiceBuilder, PaymentSecret, RawTaggedField, SignedRawBolt11Invoice, TaggedField};
use nostr_sdk::hashes::{Hash as _, sha256};
use nostr_sdk::secp256k1::{Message, PublicKey, SECP256K1, SecretKey};
use std::collections::HashMap;
use std::time::Duration;
use tonic_lnd::lnrpc::Feature;
use tonic_lnd::tonic::Status;

/// `zpay32.DefaultAssumedFinalCLTVDelta`.
const DEFAULT_FINAL_CLTV: u64 = 18;
/// `zpay32.DefaultInvoiceExpiry`, seconds.
const DEFAULT_EXPIRY: u64 = 3600;

/// What an invoice is signed over.
pub(super) struct Draft {
    pub network: Currency,
    pub hash: Hash32,
    pub payment_addr: Hash32,
    pub amount_msat: Option<u64>,
    pub created_at: i64,
    pub expiry: u64,
    pub min_final_cltv: u64,
    pub description: String,
    /// Set on top of TLV onion, payment address and optional MPP.
    pub feature_bits: Vec<usize>,
}

/// What a payer reads from an invoice.
#[derive(Clone)]
pub(super) struct Decoded {
    pub hash: Hash32,
    pub payee: PublicKey,
    pub payment_addr: Option<Hash32>,
    pub amount_msat: Option<u64>,
    pub created_at: i64,
    pub expiry: i64,
    pub min_final_cltv: u64,
    pub description: String,
    pub description_hash: Option<Hash32>,
    pub feature_bits: Vec<u32>,
}

/// The secret key of a simulated node.
pub(super) fn key(seed: &str) -> SecretKey {
    SecretKey::from_slice(&Hash32::of(seed.as_bytes()).0).expect("a hash is below the curve's order")
}

pub(super) fn public_key(secret: &SecretKey) -> PublicKey {
    secret.public_key(SECP256K1)
}

pub(super) fn sign(draft: Draft, secret: &SecretKey) -> Result<String, Status> {
    let unusable = |text: String| Status::unknown(text);
    let mut builder = InvoiceBuilder::new(draft.network)
        .description(draft.description)
        .payment_hash(sha256::Hash::from_byte_array(draft.hash.0))
        .duration_since_epoch(Duration::from_secs(draft.created_at.max(0) as u64))
        .min_final_cltv_expiry_delta(draft.min_final_cltv)
        .payment_secret(PaymentSecret(draft.payment_addr.0))
        .basic_mpp()
        .expiry_time(Duration::from_secs(draft.expiry));
    if let Some(amount) = draft.amount_msat {
        builder = builder.amount_milli_satoshis(amount);
    }
    let mut raw = builder.build_raw().map_err(|error| unusable(error.to_string()))?;
    for field in &mut raw.data.tagged_fields {
        if let RawTaggedField::KnownSemantics(TaggedField::Features(features)) = field {
            for &bit in &draft.feature_bits {
                let set = match bit % 2 {
                    0 => features.set_required_feature_bit(bit),
                    _ => features.set_optional_feature_bit(bit),
                };
                set.map_err(|()| unusable(format!("no feature bit {bit}")))?;
            }
        }
    }
    let sign = |message: &Message| Ok(SECP256K1.sign_ecdsa_recoverable(message, secret));
    raw.sign::<_, Status>(sign).map(|signed| signed.to_string())
}

/// Reads an invoice as `zpay32.Decode` does: the network before anything else.
pub(super) fn decode(text: &str, network: Currency) -> Result<Decoded, Status> {
    let signed: SignedRawBolt11Invoice =
        text.parse().map_err(|error| Status::unknown(format!("invalid invoice: {error}")))?;
    let invoice = signed.raw_invoice();
    if invoice.currency() != network {
        let name = active_network(&network);
        return Err(Status::unknown(format!("invoice not for current active network '{name}'")));
    }
    let payee = match invoice.payee_pub_key() {
        Some(key) if signed.check_signature() => key.0,
        Some(_) => return Err(Status::unknown("invalid invoice signature")),
        None => signed.recover_payee_pub_key().map_err(|error| Status::unknown(error.to_string()))?.0,
    };
    let hash = invoice.payment_hash().ok_or_else(|| Status::unknown("no payment hash found"))?;
    let flags = invoice.features().map(|features| features.le_flags().to_vec()).unwrap_or_default();
    Ok(Decoded {
        hash: Hash32(hash.0.to_byte_array()),
        payee,
        payment_addr: invoice.payment_secret().map(|secret| Hash32(secret.0)),
        amount_msat: invoice.amount_pico_btc().map(|pico| pico / 10),
        created_at: invoice.data.timestamp.as_unix_timestamp() as i64,
        expiry: invoice.expiry_time().map_or(DEFAULT_EXPIRY, |expiry| expiry.as_seconds()) as i64,
        min_final_cltv: invoice.min_final_cltv_expiry_delta().map_or(DEFAULT_FINAL_CLTV, |delta| delta.0),
        description: invoice.description().map(|text| text.to_string()).unwrap_or_default(),
        description_hash: invoice.description_hash().map(|hash| Hash32(hash.0.to_byte_array())),
        feature_bits: (0..flags.len() as u32 * 8)
            .filter(|bit| flags[*bit as usize / 8] >> (bit % 8) & 1 == 1)
            .collect(),
    })
}

/// The name of btcd's chain parameters, as lnd's errors print it.
pub(super) fn active_network(network: &Currency) -> &'static str {
    match network {
        Currency::Bitcoin => "mainnet",
        Currency::BitcoinTestnet => "testnet3",
        Currency::Regtest => "regtest",
        Currency::Simnet => "simnet",
        Currency::Signet => "signet",
    }
}

/// The feature bits as lnd lists them.
pub(super) fn features(bits: &[u32]) -> HashMap<u32, Feature> {
    let feature = |bit: &u32| {
        let name = feature_name(*bit);
        let feature = Feature {
            name: name.unwrap_or("unknown").to_owned(),
            is_required: bit.is_multiple_of(2),
            is_known: name.is_some(),
        };
        (*bit, feature)
    };
    bits.iter().map(feature).collect()
}

/// lnd's name of a feature bit that an invoice may carry, if lnd knows it.
pub(super) fn feature_name(bit: u32) -> Option<&'static str> {
    match bit / 2 * 2 {
        8 => Some("tlv-onion"),
        14 => Some("payment-addr"),
        16 => Some("multi-path-payments"),
        24 => Some("route-blinding"),
        30 => Some("amp"),
        _ => None,
    }
}
