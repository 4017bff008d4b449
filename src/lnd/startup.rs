//! Whether lnd serves, is the one that was meant, and grants all that the payout asks of it.

use std::collections::BTreeSet;
use std::path::Path;

use tonic_lnd::invoicesrpc::{CancelInvoiceMsg, LookupInvoiceMsg, SettleInvoiceMsg};
use tonic_lnd::routerrpc::{SendPaymentRequest, TrackPaymentRequest};
use tonic_lnd::staterpc::WalletState;
use tonic_lnd::tonic::{Code, Status};

use super::channel::GET_STATE;
use super::connect::{NotConnected, read};
use super::errors::{Meaning, Outage, line, meaning};
use super::macaroon::Macaroon;
use super::node::{Node, node_info};
use super::pin;
use crate::payout::ports::NodeInfo;

/// Why lnd can't be used as it is. One line each, no secrets.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// No connection can be made, or a file is missing.
    #[error("{0}")]
    NotConnected(NotConnected),
    /// lnd waits for its wallet or is still starting.
    #[error("lnd is not ready: its state is {0}")]
    NotReady(&'static str),
    /// lnd takes the call and gives no answer that says anything.
    #[error("lnd gives no usable answer to {uri}: {answer}")]
    NoAnswer {
        /// The call.
        uri: &'static str,
        /// What came.
        answer: String,
    },
    /// lnd does not take the macaroon for any call.
    #[error("{0}")]
    Macaroon(Outage),
    /// The macaroon does not grant these calls.
    #[error("the macaroon does not permit {}: bake one with `lncli bakemacaroon`", list(.0))]
    MacaroonTooSmall(BTreeSet<&'static str>),
    /// lnd is on another network than the settings say.
    #[error("lnd is on {actual}, not on {expected}")]
    OtherNetwork {
        /// The network of the settings.
        expected: String,
        /// lnd's.
        actual: String,
    },
    /// lnd serves, is the right one and grants all, but is catching up with its chain; so is its idea of what has expired.
    #[error("lnd is still syncing to its chain, at block {}", .0.block_height)]
    Syncing(NodeInfo),
}

fn list(uris: &BTreeSet<&'static str>) -> String {
    uris.iter().map(|uri| format!("uri:{uri}")).collect::<Vec<_>>().join(" ")
}

/// Looks once whether the two files that lnd wrote are there and hold what they should: a wrong path does not mend
/// itself, so it is worth saying before anything waits for lnd.
///
/// # Errors
/// With the first of them that can't be used.
pub async fn check_files(certificate: &Path, macaroon: &Path) -> Result<(), NotConnected> {
    let pem = read(certificate).await?;
    pin::certificate_of(&pem).ok_or_else(|| NotConnected::NoCertificate(certificate.to_owned()))?;
    let bytes = read(macaroon).await?;
    Macaroon::from_bytes(&bytes).map(drop).map_err(|_| NotConnected::NoMacaroon(macaroon.to_owned()))
}

/// Looks once whether lnd is active, on the `expected` network, synced to its chain, and grants the daemon's calls.
///
/// # Errors
/// With the first reason that it can't be used, and all missing permissions at once.
pub async fn check(node: &Node, expected: Option<&str>) -> Result<NodeInfo, Unusable> {
    active(node).await?;
    let mut missing = BTreeSet::new();
    for (uri, answer) in harmless_calls(node).await {
        match granted(uri, answer) {
            Ok(true) => {}
            Ok(false) => drop(missing.insert(uri)),
            Err(reason) => return Err(reason),
        }
    }
    const GET_INFO: &str = "/lnrpc.Lightning/GetInfo";
    let info = match node.get_info().await {
        Ok(info) => node_info(info)
            .ok_or_else(|| Unusable::NoAnswer { uri: GET_INFO, answer: "it names no network".to_owned() })
            .map(Some)?,
        Err(status) if !granted(GET_INFO, Err(status.clone()))? => {
            missing.insert(GET_INFO);
            None
        }
        Err(status) => return Err(Unusable::NoAnswer { uri: GET_INFO, answer: line(&status) }),
    };
    let Some(info) = info.filter(|_| missing.is_empty()) else {
        return Err(Unusable::MacaroonTooSmall(missing));
    };
    if let Some(expected) = expected.filter(|expected| *expected != info.network) {
        return Err(Unusable::OtherNetwork { expected: expected.to_owned(), actual: info.network });
    }
    if !info.synced_to_chain {
        return Err(Unusable::Syncing(info));
    }
    Ok(info)
}

async fn active(node: &Node) -> Result<(), Unusable> {
    match node.lnd.wallet_state().await {
        Ok(state) => match WalletState::try_from(state.state) {
            Ok(WalletState::ServerActive) => Ok(()),
            Ok(other) => Err(Unusable::NotReady(other.as_str_name())),
            Err(_) => Err(Unusable::NotReady("unknown")),
        },
        Err(status) => Err(unusable(GET_STATE, &status)),
    }
}

/// Calls that lnd can't but refuse for what they ask, once it has let the macaroon pass.
async fn harmless_calls(node: &Node) -> [(&'static str, Result<(), Status>); 5] {
    let lnd = &node.lnd;
    [
        (
            "/invoicesrpc.Invoices/SettleInvoice",
            async {
                let request = lnd.request(SettleInvoiceMsg::default()).await?;
                lnd.answer(lnd.invoices().settle_invoice(request)).await.map(drop)
            }
            .await,
        ),
        (
            "/invoicesrpc.Invoices/CancelInvoice",
            async {
                let request = lnd.request(CancelInvoiceMsg::default()).await?;
                lnd.answer(lnd.invoices().cancel_invoice(request)).await.map(drop)
            }
            .await,
        ),
        (
            "/invoicesrpc.Invoices/LookupInvoiceV2",
            async {
                let request = lnd.request(LookupInvoiceMsg::default()).await?;
                lnd.answer(lnd.invoices().lookup_invoice_v2(request)).await.map(drop)
            }
            .await,
        ),
        (
            "/routerrpc.Router/SendPaymentV2",
            async {
                // No invoice, no payee, no amount, and a preference out of its range.
                let message = SendPaymentRequest { time_pref: 2.0, ..SendPaymentRequest::default() };
                let request = lnd.request(message).await?;
                lnd.first(lnd.router().send_payment_v2(request)).await.map(drop)
            }
            .await,
        ),
        (
            "/routerrpc.Router/TrackPaymentV2",
            async {
                let request = lnd.request(TrackPaymentRequest::default()).await?;
                lnd.first(lnd.router().track_payment_v2(request)).await.map(drop)
            }
            .await,
        ),
    ]
}

/// Whether the answer to a harmless call shows that the macaroon grants it.
fn granted(uri: &'static str, answer: Result<(), Status>) -> Result<bool, Unusable> {
    let Err(status) = answer else { return Ok(true) };
    match meaning(&status) {
        Meaning::Refused(_) => Ok(true),
        Meaning::Unavailable(Outage::PermissionDenied) => Ok(false),
        // A text of another lnd for the same refusal.
        Meaning::InDoubt if lnd_spoke(&status) => Ok(true),
        _ => Err(unusable(uri, &status)),
    }
}

fn lnd_spoke(status: &Status) -> bool {
    std::error::Error::source(status).is_none()
        && matches!(status.code(), Code::Unknown | Code::InvalidArgument | Code::NotFound)
}

fn unusable(uri: &'static str, status: &Status) -> Unusable {
    match meaning(status) {
        Meaning::Unavailable(Outage::NotConnected(cause)) => Unusable::NotConnected(cause),
        Meaning::Unavailable(Outage::WalletLocked) => Unusable::NotReady("LOCKED"),
        Meaning::Unavailable(Outage::Starting) => Unusable::NotReady("starting"),
        Meaning::Unavailable(outage @ (Outage::MacaroonExpired | Outage::MacaroonRefused)) => {
            Unusable::Macaroon(outage)
        }
        _ => Unusable::NoAnswer { uri, answer: line(status) },
    }
}

#[cfg(test)]
mod tests;
