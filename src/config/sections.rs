//! The sections of `settings.toml`, one struct each: types, ranges and defaults.
//!
//! What each key means to an operator is said in `settings.tpl.toml`; a test keeps the two equal.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use cron::Schedule;
use nostr_sdk::{PublicKey, RelayUrl};
use serde::Deserialize;

use super::decimal::{Decimal6, fraction};
use super::secret::Secret;
use super::values::{DatabaseUrl, https_host, int, optional_http_host, optional_int, public_keys, relays, schedule};

/// All sats that will ever exist.
const MAX_SATS: i128 = 2_100_000_000_000_000;

/// `[lightning]`: the lnd node and the terms of invoices and payments.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LightningSettings {
    /// lnd's `tls.cert`, read again at each reconnect.
    pub lnd_cert_file: PathBuf,
    /// The macaroon; the least that it must permit is probed at start.
    pub lnd_macaroon_file: PathBuf,
    /// `https://HOST:PORT` of lnd's gRPC.
    #[serde(deserialize_with = "https_host")]
    pub lnd_grpc_host: String,
    /// Seconds that an incoming invoice must still be valid.
    #[serde(deserialize_with = "int::<1, 604_800, _, _>")]
    pub invoice_expiration_window: u32,
    /// Blocks; the largest `min_final_cltv_expiry_delta` accepted in an invoice.
    #[serde(deserialize_with = "int::<18, 2_016, _, _>")]
    pub max_final_cltv_expiry_delta: u32,
    /// Seconds during which lnd may start new attempts for one send.
    #[serde(deserialize_with = "int::<1, 3_600, _, _>")]
    pub payment_timeout: u32,
    /// Blocks; the longest time-lock of a payment's route.
    #[serde(deserialize_with = "int::<18, 2_016, _, _>")]
    pub payment_cltv_limit: u32,
    /// Payments in flight at a time, over all daemons on one database.
    #[serde(deserialize_with = "int::<1, 10_000, _, _>")]
    pub max_inflight_payouts: u32,
    /// Payments in flight to one payee node; see [`Self::per_destination_cap`].
    #[serde(deserialize_with = "int::<0, 10_000, _, _>")]
    pub max_inflight_payouts_per_destination: u32,
    /// Whether an lnd with another identity key than the one that holds the open bonds is accepted.
    pub allow_node_change: bool,
}

impl LightningSettings {
    /// The cap per payee node; `None` when it is off (0).
    pub fn per_destination_cap(&self) -> Option<u32> {
        Some(self.max_inflight_payouts_per_destination).filter(|cap| *cap > 0)
    }
}

impl Default for LightningSettings {
    fn default() -> Self {
        Self {
            lnd_cert_file: PathBuf::from("/etc/bondflow/tls.cert"),
            lnd_macaroon_file: PathBuf::from("/etc/bondflow/bondflow.macaroon"),
            lnd_grpc_host: "https://127.0.0.1:10009".to_owned(),
            invoice_expiration_window: 3_600,
            max_final_cltv_expiry_delta: 144,
            payment_timeout: 60,
            payment_cltv_limit: 1_008,
            max_inflight_payouts: 100,
            max_inflight_payouts_per_destination: 10,
            allow_node_change: false,
        }
    }
}

/// `[nostr]`: the node's key and its relays.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NostrSettings {
    /// The node's private key (nsec or hex). Once loaded it is always set, also when it came from
    /// `nsec_privkey_file`.
    pub nsec_privkey: Secret,
    /// The file that the key was read from, if it was.
    pub nsec_privkey_file: Option<PathBuf>,
    /// At least one, none twice.
    #[serde(deserialize_with = "relays")]
    pub relays: Vec<RelayUrl>,
}

impl Default for NostrSettings {
    fn default() -> Self {
        Self {
            nsec_privkey: Secret::default(),
            nsec_privkey_file: None,
            relays: vec![RelayUrl::parse("ws://localhost:7000").expect("a constant ws:// address")],
        }
    }
}

/// `[mostro]`: what the node shows of itself, asks of senders and pays for routing.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MostroSettings {
    /// The instance's name in the info event.
    pub name: Option<String>,
    /// Leading zero bits demanded of an incoming event.
    #[serde(deserialize_with = "int::<0, 64, _, _>")]
    pub pow: u8,
    /// The same for senders without an open trade; see [`Self::first_contact_pow`].
    #[serde(deserialize_with = "optional_int::<0, 64, _, _>")]
    pub pow_first_contact: Option<u8>,
    /// Largest routing fee, as a fraction of the amount paid.
    #[serde(deserialize_with = "fraction")]
    pub max_routing_fee: Decimal6,
    /// Sats; the fee limit is never below this.
    #[serde(deserialize_with = "int::<0, 1_000_000, _, _>")]
    pub min_routing_fee_sats: u64,
    /// Public keys of the solvers, upserted with read-write permission and never removed.
    #[serde(deserialize_with = "public_keys")]
    pub solvers: Vec<PublicKey>,
}

impl MostroSettings {
    /// Proof of work demanded of unknown senders: `pow` unless set.
    pub fn first_contact_pow(&self) -> u8 {
        self.pow_first_contact.unwrap_or(self.pow)
    }
}

impl Default for MostroSettings {
    fn default() -> Self {
        Self {
            name: None,
            pow: 0,
            pow_first_contact: None,
            max_routing_fee: Decimal6::from_millionths(2_000),
            min_routing_fee_sats: 10,
            solvers: Vec::new(),
        }
    }
}

/// `[database]`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DatabaseSettings {
    /// Where runs, bonds and messages are kept.
    pub url: DatabaseUrl,
    /// File that tells what was seen committed; none: the one beside a SQLite file.
    pub witness: Option<PathBuf>,
}

impl Default for DatabaseSettings {
    fn default() -> Self {
        Self { url: DatabaseUrl::Sqlite("sqlite://bondflow.db".to_owned()), witness: None }
    }
}

/// Which side of a trade posts a bond.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ApplyTo {
    /// The taker.
    Take,
    /// The maker.
    Make,
    /// Both sides.
    Both,
}

impl ApplyTo {
    /// The word of the settings and of the info event.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Take => "take",
            Self::Make => "make",
            Self::Both => "both",
        }
    }
}

/// `[anti_abuse_bond]`: what is published for new bonds, and the payout of slashed ones.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AntiAbuseBondSettings {
    /// Published only; open runs go on whatever it says.
    pub enabled: bool,
    /// Published only.
    pub apply_to: ApplyTo,
    /// Published only: a bond's size as a fraction of the order.
    #[serde(deserialize_with = "fraction")]
    pub amount_pct: Decimal6,
    /// Published only: a bond's least size in sats.
    #[serde(deserialize_with = "int::<0, MAX_SATS, _, _>")]
    pub base_amount_sats: u64,
    /// Published only.
    pub slash_on_waiting_timeout: bool,
    /// The node's share of a slashed bond; frozen for a bond when its slash is decided.
    #[serde(deserialize_with = "fraction")]
    pub slash_node_share_pct: Decimal6,
    /// Seconds between two requests for the winner's invoice.
    #[serde(deserialize_with = "int::<1, 604_800, _, _>")]
    pub payout_invoice_window_seconds: u32,
    /// Sends of one invoice before the bond is `failed`.
    #[serde(deserialize_with = "int::<1, 1_000, _, _>")]
    pub payout_max_retries: u32,
    /// Days from the slash until an unclaimed share is forfeited.
    #[serde(deserialize_with = "int::<1, 365, _, _>")]
    pub payout_claim_window_days: u32,
}

impl Default for AntiAbuseBondSettings {
    fn default() -> Self {
        Self {
            enabled: false,
            apply_to: ApplyTo::Take,
            amount_pct: Decimal6::from_millionths(10_000),
            base_amount_sats: 1_000,
            slash_on_waiting_timeout: false,
            slash_node_share_pct: Decimal6::from_millionths(500_000),
            payout_invoice_window_seconds: 300,
            payout_max_retries: 5,
            payout_claim_window_days: 15,
        }
    }
}

/// `[engine]`: how runs are driven.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EngineSettings {
    /// Seconds that a worker holds a run; another daemon takes over within this time.
    #[serde(deserialize_with = "int::<2, 600, _, _>")]
    pub lease_seconds: u32,
    /// Steps that run side by side.
    #[serde(deserialize_with = "int::<1, 4_096, _, _>")]
    pub workers: u32,
    /// Days that a finished run is kept before only its tombstone is left.
    #[serde(deserialize_with = "int::<1, 3_650, _, _>")]
    pub retention_days: u32,
    /// Seconds between two looks at a payment in doubt.
    #[serde(deserialize_with = "int::<1, 3_600, _, _>")]
    pub in_doubt_recheck_seconds: u32,
}

impl Default for EngineSettings {
    fn default() -> Self {
        Self { lease_seconds: 15, workers: 256, retention_days: 90, in_doubt_recheck_seconds: 60 }
    }
}

/// `[http]`: `/metrics`, `/healthz` and `/readyz`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HttpSettings {
    /// Whether to listen at all.
    pub enabled: bool,
    /// Address and port; no authentication, so loopback unless a proxy stands before it.
    pub listen: SocketAddr,
}

impl Default for HttpSettings {
    fn default() -> Self {
        Self { enabled: true, listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 9760)) }
    }
}

/// `[telemetry]`: where spans go.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TelemetrySettings {
    /// `http://HOST:PORT` of a collector that takes OTLP over gRPC; `None`: no spans are exported.
    #[serde(deserialize_with = "optional_http_host")]
    pub otlp_endpoint: Option<String>,
}

/// `[schedules]`: cron expressions, in UTC.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SchedulesSettings {
    /// When the info event is published again.
    #[serde(deserialize_with = "schedule")]
    pub info_event: Schedule,
    /// When finished runs older than `engine.retention_days` are removed.
    #[serde(deserialize_with = "schedule")]
    pub retention: Schedule,
}

impl Default for SchedulesSettings {
    fn default() -> Self {
        let constant = |text: &str| text.parse().expect("a constant cron expression");
        Self { info_event: constant("0 0 * * * *"), retention: constant("0 30 3 * * *") }
    }
}
