//! Real BOLT 11 invoices of payees that the node double knows.

use std::time::Duration;

use bitcoin::hashes::{Hash as _, sha256};
use bitcoin::secp256k1::{All, Secp256k1, SecretKey};
use lightning_invoice::{Currency, InvoiceBuilder, PaymentSecret};
use sha2::{Digest, Sha256};

use super::lnd::hash_of;

/// What an invoice says.
pub struct Draft {
    pub preimage: [u8; 32],
    pub sats: u64,
    pub created_at: i64,
    pub expiry_secs: u32,
    pub final_cltv: u32,
    pub payee: u8,
}

/// A secret that follows from its name.
pub fn secret(name: &str) -> [u8; 32] {
    Sha256::digest(name).into()
}

/// Signs it; the payee's key is recovered from the signature as any reader does.
pub fn sign(draft: &Draft) -> String {
    thread_local! {
        static CURVE: Secp256k1<All> = Secp256k1::new();
    }
    let raw = InvoiceBuilder::new(Currency::Simnet)
        .description("payout".into())
        .payment_hash(sha256::Hash::from_byte_array(hash_of(draft.preimage)))
        .payment_secret(PaymentSecret(secret("payment secret")))
        .duration_since_epoch(Duration::from_secs(u64::try_from(draft.created_at).unwrap()))
        .min_final_cltv_expiry_delta(u64::from(draft.final_cltv))
        .basic_mpp()
        .expiry_time(Duration::from_secs(u64::from(draft.expiry_secs)))
        .amount_milli_satoshis(draft.sats * 1_000)
        .build_raw()
        .unwrap();
    let payee = SecretKey::from_slice(&[draft.payee.max(1); 32]).unwrap();
    CURVE.with(|curve| raw.sign::<_, ()>(|hash| Ok(curve.sign_ecdsa_recoverable(hash, &payee))).unwrap().to_string())
}
