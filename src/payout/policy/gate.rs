//! What an invoice must be before the node takes it as the one that it will pay.
//!
//! Two parsers read each invoice: this gate's, and lnd's when the payment is sent. The gate refuses everything that the
//! two could read differently, so that the hash, amount and payee judged here are those that lnd pays.

use lightning_invoice::{
    Bolt11Invoice, Bolt11SemanticError, Currency, RawBolt11Invoice, RawTaggedField, SignedRawBolt11Invoice,
};
use thiserror::Error;

/// A node's identity: a compressed secp256k1 public key.
pub type NodeKey = [u8; 33];

/// The longest invoice that is looked at, in bytes: the limit of lnd's own decoder.
pub const MAX_INVOICE_LEN: usize = 7_089;

/// An invoice that expires later than this many seconds from now is refused: 30 days.
pub const MAX_EXPIRY_SECS: u32 = 30 * 86_400;

/// BOLT 11's tag for a blinded path (`b`), which lnd reads and `lightning-invoice` skips.
const TAG_BLINDED_PATH: u8 = 20;

/// Features that an invoice may require, as lnd can meet them: variable-length onion, payment secret, multi-part
/// payment, payment metadata.
const PAYABLE_REQUIRED_BITS: [usize; 4] = [8, 14, 16, 48];

/// The chain that lnd runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// Bitcoin's main chain.
    Mainnet,
    /// The public test chains; invoices don't tell testnet3 from testnet4.
    Testnet,
    /// A signet.
    Signet,
    /// A simulation chain of btcd.
    Simnet,
    /// A private regression chain.
    Regtest,
}

impl Network {
    /// The network by the name that lnd reports for it, or `None` for one whose invoices can't be told.
    pub fn from_lnd_name(name: &str) -> Option<Self> {
        match name {
            "mainnet" => Some(Self::Mainnet),
            "testnet" | "testnet3" | "testnet4" => Some(Self::Testnet),
            "signet" => Some(Self::Signet),
            "simnet" => Some(Self::Simnet),
            "regtest" => Some(Self::Regtest),
            _ => None,
        }
    }

    fn issued(self, currency: &Currency) -> bool {
        match self {
            Self::Mainnet => *currency == Currency::Bitcoin,
            Self::Testnet => *currency == Currency::BitcoinTestnet,
            Self::Signet => *currency == Currency::Signet,
            Self::Simnet => *currency == Currency::Simnet,
            Self::Regtest => *currency == Currency::Regtest,
        }
    }
}

/// Whether an invoice may leave the amount to the payer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Amountless {
    /// The payout of a bond: the invoice names exactly the share.
    Refuse,
    /// The buyer's trade payout: an amountless invoice is paid with the amount set by the node.
    Allow,
}

/// What an invoice is held against.
#[derive(Clone, Debug)]
pub struct GateRules {
    /// The chain that lnd runs on.
    pub network: Network,
    /// The exact amount owed, in sats. With zero owed, nothing is admitted.
    pub expected_sats: u64,
    /// Whether an invoice without an amount will do.
    pub amountless: Amountless,
    /// `invoice_expiration_window`: the least time that must be left, in seconds. Exactly this much is enough.
    pub min_remaining_expiry_secs: u32,
    /// The longest time that may be left, in seconds ([`MAX_EXPIRY_SECS`]). Exactly this much is allowed.
    pub max_expiry_secs: u32,
    /// `max_final_cltv_expiry_delta`: a payee that asks for more could pin the node's funds for that many blocks.
    pub max_final_cltv_expiry_delta: u32,
    /// The identity keys of the node's own lnd; a payment to them can't be made.
    pub own_nodes: Vec<NodeKey>,
}

/// An invoice that passed the gate, with what the payment needs of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcceptedInvoice {
    /// The invoice in lower case: the one form that is stored, sent to lnd and compared.
    pub bolt11: String,
    /// SHA-256 of the preimage that will prove the payment.
    pub payment_hash: [u8; 32],
    /// Whom lnd will pay.
    pub payee: NodeKey,
    /// What will be paid, in sats.
    pub amount_sats: u64,
    /// The invoice leaves the amount to the payer: the send must name it, and must not otherwise.
    pub amountless: bool,
    /// The last second at which lnd takes the invoice, Unix time.
    pub expires_at: i64,
    /// Blocks that the payee asks for on the last hop.
    pub min_final_cltv_expiry_delta: u32,
}

/// Why an invoice is refused. All are one `invalid-invoice` on the wire; the log and the operator see which.
///
/// A payment hash that was ever used before is refused too, by whoever holds the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum InvoiceDefect {
    /// Longer than lnd would decode.
    #[error("longer than {MAX_INVOICE_LEN} bytes")]
    TooLong,
    /// An LNURL: what it leads to is unknown until it is fetched, and different at each fetch.
    #[error("an LNURL, not an invoice")]
    Lnurl,
    /// `user@domain`: the same as an LNURL.
    #[error("a lightning address, not an invoice")]
    LightningAddress,
    /// No well-formed, correctly signed BOLT 11 invoice. Surrounding blanks and a `lightning:` prefix are not
    /// stripped: lnd doesn't take them, and no Mostro client sends them.
    #[error("not a valid BOLT 11 invoice")]
    Undecodable,
    /// Valid, but not written the one way that BOLT 11 asks for (leading zeros). The signature covers the text, so
    /// two readers could disagree on who signed it.
    #[error("not written in BOLT 11's shortest form")]
    NotCanonical,
    /// For a chain that lnd is not on.
    #[error("for another network")]
    WrongNetwork,
    /// No amount where one is needed.
    #[error("names no amount")]
    MissingAmount,
    /// Not exactly the amount owed, to the millisatoshi.
    #[error("the amount is not exactly what is owed")]
    WrongAmount,
    /// An AMP invoice: each send makes up a new payment hash, so lnd no longer refuses the second one.
    #[error("an AMP invoice")]
    Amp,
    /// Needs something that lnd can't do; sent, it would look like a missing route.
    #[error("requires unknown features")]
    UnknownRequiredFeatures,
    /// Declares no variable-length onion, upon which the payment secret builds: lnd finds no route for such a payee.
    #[error("declares a feature without the one it depends on")]
    IncompleteFeatures,
    /// No payment secret, or the feature for it isn't declared: anyone on the route could probe the payee.
    #[error("has no payment secret")]
    NoPaymentSecret,
    /// Has a blinded path: lnd would pay the end of that path and not the payee that is judged here.
    #[error("pays through a blinded path")]
    BlindedPath,
    /// Can't be paid any more.
    #[error("expired")]
    Expired,
    /// Leaves less time than `invoice_expiration_window` for the payment and its retries.
    #[error("expires too soon")]
    ExpiresTooSoon,
    /// Expires later than 30 days: the node would be bound to it for that long.
    #[error("expires too late")]
    ExpiresTooLate,
    /// Asks for more blocks on the last hop than the node lets its funds be pinned for.
    #[error("the final CLTV delta is too high")]
    FinalCltvTooHigh,
    /// Pays the node itself.
    #[error("pays this node itself")]
    OwnNode,
}

/// Judges an invoice at `now_secs` (Unix time), without any side effect.
///
/// # Errors
/// The first defect found; the invoice is then forgotten, never kept for later.
pub fn admit(bolt11: &str, rules: &GateRules, now_secs: i64) -> Result<AcceptedInvoice, InvoiceDefect> {
    if bolt11.len() > MAX_INVOICE_LEN {
        return Err(InvoiceDefect::TooLong);
    }
    let signed: SignedRawBolt11Invoice = bolt11.parse().map_err(|_| not_an_invoice(bolt11))?;
    let raw = signed.raw_invoice();
    if !rules.network.issued(&raw.hrp.currency) {
        return Err(InvoiceDefect::WrongNetwork);
    }
    let canonical = bolt11.to_ascii_lowercase();
    if signed.to_string() != canonical {
        return Err(InvoiceDefect::NotCanonical);
    }
    let amountless = check_amount(raw, rules)?;
    check_fields(raw)?;
    check_features(raw)?;
    let invoice = Bolt11Invoice::from_signed(signed).map_err(defect)?;
    let expires_at = check_expiry(&invoice, rules, now_secs)?;
    let min_final_cltv_expiry_delta = u32::try_from(invoice.min_final_cltv_expiry_delta())
        .ok()
        .filter(|delta| *delta <= rules.max_final_cltv_expiry_delta)
        .ok_or(InvoiceDefect::FinalCltvTooHigh)?;
    // Only the payee counts: a route hint through the node's own lnd is how a channel peer of it is reached.
    let payee = invoice.get_payee_pub_key().serialize();
    if rules.own_nodes.contains(&payee) {
        return Err(InvoiceDefect::OwnNode);
    }
    Ok(AcceptedInvoice {
        bolt11: canonical,
        payment_hash: *invoice.payment_hash().as_ref(),
        payee,
        amount_sats: rules.expected_sats,
        amountless,
        expires_at,
        min_final_cltv_expiry_delta,
    })
}

/// Tells the texts that users take for invoices from mere noise.
fn not_an_invoice(text: &str) -> InvoiceDefect {
    let lower = text.to_ascii_lowercase();
    let bare = lower.strip_prefix("lightning:").unwrap_or(&lower);
    if bare.starts_with("lnurl") {
        InvoiceDefect::Lnurl
    } else if bare.split_once('@').is_some_and(|(user, domain)| !user.is_empty() && !domain.is_empty()) {
        InvoiceDefect::LightningAddress
    } else {
        InvoiceDefect::Undecodable
    }
}

/// Compares exactly, to a tenth of a millisatoshi; answers whether the amount is left to the payer.
fn check_amount(raw: &RawBolt11Invoice, rules: &GateRules) -> Result<bool, InvoiceDefect> {
    // An amount that overflows is absent for the decoder and something arbitrary for lnd: only the text decides
    // whether there is one.
    if raw.hrp.raw_amount.is_none() {
        return match rules.amountless {
            Amountless::Allow if rules.expected_sats > 0 => Ok(true),
            Amountless::Allow => Err(InvoiceDefect::WrongAmount),
            Amountless::Refuse => Err(InvoiceDefect::MissingAmount),
        };
    }
    const PICO_BTC_PER_SAT: u64 = 10_000;
    let expected = rules.expected_sats.checked_mul(PICO_BTC_PER_SAT).filter(|pico| *pico > 0);
    match (raw.amount_pico_btc(), expected) {
        (Some(named), Some(expected)) if named == expected => Ok(false),
        _ => Err(InvoiceDefect::WrongAmount),
    }
}

/// Refuses the fields on which lnd's decoder differs from this one.
fn check_fields(raw: &RawBolt11Invoice) -> Result<(), InvoiceDefect> {
    let blinded = |field: &RawTaggedField| match field {
        RawTaggedField::UnknownSemantics(words) => words.first().is_some_and(|tag| tag.to_u8() == TAG_BLINDED_PATH),
        RawTaggedField::KnownSemantics(_) => false,
    };
    if raw.data.tagged_fields.iter().any(blinded) {
        return Err(InvoiceDefect::BlindedPath);
    }
    if raw.private_routes().iter().any(|hint| hint.0.is_empty()) {
        return Err(InvoiceDefect::Undecodable);
    }
    Ok(())
}

fn check_features(raw: &RawBolt11Invoice) -> Result<(), InvoiceDefect> {
    let flags = raw.features().map_or(&[][..], |features| features.le_flags());
    let set = |bit: usize| flags.get(bit / 8).is_some_and(|byte| byte >> (bit % 8) & 1 == 1);
    if set(30) || set(31) {
        return Err(InvoiceDefect::Amp);
    }
    if (0..flags.len() * 8).step_by(2).any(|bit| set(bit) && !PAYABLE_REQUIRED_BITS.contains(&bit)) {
        return Err(InvoiceDefect::UnknownRequiredFeatures);
    }
    if !(set(14) || set(15)) {
        return Err(InvoiceDefect::NoPaymentSecret);
    }
    if !(set(8) || set(9)) {
        return Err(InvoiceDefect::IncompleteFeatures);
    }
    Ok(())
}

fn defect(error: Bolt11SemanticError) -> InvoiceDefect {
    match error {
        Bolt11SemanticError::NoPaymentSecret => InvoiceDefect::NoPaymentSecret,
        Bolt11SemanticError::InvalidFeatures => InvoiceDefect::UnknownRequiredFeatures,
        Bolt11SemanticError::ImpreciseAmount => InvoiceDefect::WrongAmount,
        _ => InvoiceDefect::Undecodable,
    }
}

/// Answers the Unix second until which lnd takes the invoice.
fn check_expiry(invoice: &Bolt11Invoice, rules: &GateRules, now_secs: i64) -> Result<i64, InvoiceDefect> {
    let expires_at =
        invoice.expires_at().and_then(|at| i64::try_from(at.as_secs()).ok()).ok_or(InvoiceDefect::ExpiresTooLate)?;
    let remaining = expires_at.saturating_sub(now_secs);
    if remaining <= 0 {
        Err(InvoiceDefect::Expired)
    } else if remaining < i64::from(rules.min_remaining_expiry_secs) {
        Err(InvoiceDefect::ExpiresTooSoon)
    } else if remaining > i64::from(rules.max_expiry_secs) {
        Err(InvoiceDefect::ExpiresTooLate)
    } else {
        Ok(expires_at)
    }
}

#[cfg(test)]
mod tests;
