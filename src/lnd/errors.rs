//! What an error at a call to lnd means: the one place where codes and texts are read.
//!
//! Most of lnd's handlers return plain Go errors, which gRPC carries as `Unknown` with a text. So a meaning is read from
//! the code *and* the text, and whatever is not recognised here is [`Meaning::InDoubt`]: no answer is not "no".

use std::error::Error;

use tonic_lnd::tonic::{Code, Status};

use super::connect::NotConnected;

/// What an error at a call means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Meaning {
    /// lnd took the call and refused it: it changed nothing.
    Refused(Refusal),
    /// lnd did not take the call: it changed nothing, and the next one may fare better.
    Unavailable(Outage),
    /// The call may or may not have had its effect.
    InDoubt,
}

/// Why lnd refused a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// The hold invoice is canceled, by a call or by lnd itself near the HTLC's expiry.
    AlreadyCanceled,
    /// The hold invoice is settled.
    AlreadySettled,
    /// The hold invoice has no HTLC locked in.
    StillOpen,
    /// lnd has no invoice of that hash.
    UnknownInvoice,
    /// lnd has an invoice of that hash.
    DuplicateInvoice,
    /// The invoice has expired. Checked before lnd looks for an earlier payment: it is no proof of "not paid".
    InvoiceExpired,
    /// The invoice pays the node itself.
    SelfPayment,
    /// The payee asks for more blocks than the send's limit allows.
    CltvLimit,
    /// The limit on blocks is above lnd's own.
    CltvLimitTooHigh,
    /// The invoice is for another network.
    WrongNetwork,
    /// The invoice has no amount and the send none either.
    AmountNeeded,
    /// The invoice has an amount and the send one too.
    AmountNotWanted,
    /// The invoice is of a kind that this daemon never sends: AMP, or without a payment address.
    InvoiceKind,
    /// A payment of that hash was initiated before.
    PaymentExists,
    /// A payment of that hash is in flight.
    PaymentInFlight,
    /// A payment of that hash has succeeded.
    AlreadyPaid,
    /// No payment of that hash was ever initiated.
    UnknownPayment,
    /// The request's fields are of a shape that lnd does not read.
    Malformed,
}

/// Why lnd did not take a call.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Outage {
    /// There is no connection, so that nothing was sent.
    #[error("{0}")]
    NotConnected(NotConnected),
    /// The wallet waits for its password.
    #[error("lnd's wallet is locked")]
    WalletLocked,
    /// lnd is up but does not serve yet.
    #[error("lnd is still starting")]
    Starting,
    /// lnd serves no such call.
    #[error("lnd does not serve this call")]
    NotServed,
    /// The macaroon grants other calls only.
    #[error("the macaroon does not permit this call")]
    PermissionDenied,
    /// The macaroon's time has passed.
    #[error("the macaroon has expired")]
    MacaroonExpired,
    /// The macaroon is of another node, was revoked, or is locked to another client.
    #[error("lnd does not accept the macaroon: of another node, revoked, or restricted")]
    MacaroonRefused,
}

/// How a text is recognised.
enum Text {
    Is(&'static str),
    Starts(&'static str),
    Frames(&'static str, &'static str),
}

impl Text {
    fn fits(&self, text: &str) -> bool {
        match self {
            Self::Is(whole) => text == *whole,
            Self::Starts(start) => text.starts_with(start),
            Self::Frames(start, end) => text.starts_with(start) && text.ends_with(end),
        }
    }
}

use Code::{AlreadyExists, InvalidArgument, NotFound, Unimplemented, Unknown};
use Meaning::{Refused, Unavailable};
use Text::{Frames, Is, Starts};

/// lnd's own texts; the first row that fits counts.
const KNOWN: &[(Code, Text, Meaning)] = &[
    // invoices/errors.go
    (Unknown, Is("invoice already canceled"), Refused(Refusal::AlreadyCanceled)),
    (Unknown, Is("invoice already settled"), Refused(Refusal::AlreadySettled)),
    (Unknown, Is("invoice still open"), Refused(Refusal::StillOpen)),
    (Unknown, Is("unable to locate invoice"), Refused(Refusal::UnknownInvoice)),
    (Unknown, Is("there are no existing invoices"), Refused(Refusal::UnknownInvoice)),
    (NotFound, Starts("unable to locate invoice"), Refused(Refusal::UnknownInvoice)),
    (Unknown, Is("invoice with payment hash already exists"), Refused(Refusal::DuplicateInvoice)),
    // lnrpc/routerrpc/router_backend.go, zpay32/decode.go, routing/payment_session.go
    (Unknown, Starts("invoice expired. Valid until "), Refused(Refusal::InvoiceExpired)),
    (Unknown, Is("self-payments not allowed"), Refused(Refusal::SelfPayment)),
    (Unknown, Starts("cltv limit "), Refused(Refusal::CltvLimit)),
    (Unknown, Starts("total time lock of "), Refused(Refusal::CltvLimitTooHigh)),
    (Unknown, Starts("invoice not for current active network "), Refused(Refusal::WrongNetwork)),
    (Unknown, Is("amount must be specified when paying a zero amount invoice"), Refused(Refusal::AmountNeeded)),
    (
        Unknown,
        Is("amount must not be specified when paying a non-zero amount invoice"),
        Refused(Refusal::AmountNotWanted),
    ),
    (Unknown, Starts("the AMP flag "), Refused(Refusal::InvoiceKind)),
    (Unknown, Starts("payment request must contain "), Refused(Refusal::InvoiceKind)),
    // payments/db/errors.go
    (AlreadyExists, Is("payment already exists"), Refused(Refusal::PaymentExists)),
    (AlreadyExists, Is("payment is in transition"), Refused(Refusal::PaymentInFlight)),
    (AlreadyExists, Is("invoice is already paid"), Refused(Refusal::AlreadyPaid)),
    (NotFound, Is("payment isn't initiated"), Refused(Refusal::UnknownPayment)),
    // Checks of a request's fields, before anything else is looked at.
    (Unknown, Starts("invalid preimage length of "), Refused(Refusal::Malformed)),
    (Unknown, Starts("invalid hash length of "), Refused(Refusal::Malformed)),
    (Unknown, Is("time preference out of range"), Refused(Refusal::Malformed)),
    (Unknown, Is("sat and msat arguments are mutually exclusive"), Refused(Refusal::Malformed)),
    (InvalidArgument, Is("invoice ref must be set"), Refused(Refusal::Malformed)),
    // rpcperms/interceptor.go
    (Unknown, Starts("wallet locked, "), Unavailable(Outage::WalletLocked)),
    (Unknown, Starts("macaroon store is locked"), Unavailable(Outage::WalletLocked)),
    (Unknown, Starts("the RPC server is in the process of starting up"), Unavailable(Outage::Starting)),
    (Unknown, Starts("waiting to start, "), Unavailable(Outage::Starting)),
    (Unknown, Starts("wallet not created, "), Unavailable(Outage::Starting)),
    (Unimplemented, Starts("unknown service "), Unavailable(Outage::NotServed)),
    (Unimplemented, Starts("unknown method "), Unavailable(Outage::NotServed)),
    // macaroons/service.go, and the libraries macaroon-bakery.v2 and macaroon.v2
    (Unknown, Is("permission denied"), Unavailable(Outage::PermissionDenied)),
    (
        Unknown,
        Frames("caveat \"time-before ", "not satisfied: macaroon has expired"),
        Unavailable(Outage::MacaroonExpired),
    ),
    (Unknown, Starts("caveat \""), Unavailable(Outage::MacaroonRefused)),
    (Unknown, Starts("verification failed: "), Unavailable(Outage::MacaroonRefused)),
    (Unknown, Starts("cannot retrieve macaroon: "), Unavailable(Outage::MacaroonRefused)),
    (Unknown, Starts("expected 1 macaroon, got "), Unavailable(Outage::MacaroonRefused)),
    (Unknown, Starts("cannot determine data format of "), Unavailable(Outage::MacaroonRefused)),
    (Unknown, Starts("unmarshal v2: "), Unavailable(Outage::MacaroonRefused)),
    (Unknown, Is("invalid ID"), Unavailable(Outage::MacaroonRefused)),
    (Unknown, Starts("unknown macaroon version"), Unavailable(Outage::MacaroonRefused)),
];

/// Reads an error.
pub fn meaning(status: &Status) -> Meaning {
    if let Some(cause) = not_connected(status) {
        return Unavailable(Outage::NotConnected(cause.clone()));
    }
    // lnd's own words have travelled over the wire; an error that grew here has a source.
    if status.source().is_some() {
        return Meaning::InDoubt;
    }
    KNOWN
        .iter()
        .find(|(code, text, _)| *code == status.code() && text.fits(status.message()))
        .map_or(Meaning::InDoubt, |(_, _, meaning)| meaning.clone())
}

/// The error, one short line for the operator.
pub fn line(status: &Status) -> String {
    if let Some(cause) = not_connected(status) {
        return cause.to_string();
    }
    const LONGEST: usize = 200;
    let text: String = status.message().chars().map(|c| if c.is_control() { ' ' } else { c }).take(LONGEST).collect();
    format!("{:?}: {text}", status.code())
}

/// What kept the call from leaving.
fn not_connected(status: &Status) -> Option<&NotConnected> {
    let mut source = status.source();
    while let Some(error) = source {
        if let Some(cause) = error.downcast_ref::<NotConnected>() {
            return Some(cause);
        }
        source = error.source();
    }
    None
}

#[cfg(test)]
mod tests;
