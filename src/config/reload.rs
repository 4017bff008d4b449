//! What a reload would change, key by key.

use super::{
    AntiAbuseBondSettings, DatabaseSettings, EngineSettings, HttpSettings, LightningSettings, MostroSettings,
    NostrSettings, SchedulesSettings, Settings, TelemetrySettings,
};

/// A key whose value differs between two settings. The values themselves are not told: one of them
/// may be a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    /// `section.key`.
    pub key: &'static str,
    /// Whether the new value takes effect only after a restart.
    pub needs_restart: bool,
}

/// Lists the keys of every section, those that a reload applies and those that need a restart. The
/// sections are taken apart without `..`, so a key that is missing here does not compile.
macro_rules! keys {
    ($($section:ident: $type:ident { live: [$($live:ident),*], restart: [$($restart:ident),*] })*) => {
        impl Settings {
            /// Every key there is, as [`Change::key`] names it.
            pub const KEYS: &'static [&'static str] = &[$(
                $(concat!(stringify!($section), ".", stringify!($live)),)*
                $(concat!(stringify!($section), ".", stringify!($restart)),)*
            )*];

            /// The keys whose values differ in `new`.
            pub fn diff(&self, new: &Settings) -> Vec<Change> {
                let mut changes = Vec::new();
                $(
                    let $type { $($live,)* $($restart,)* } = &self.$section;
                    $(if *$live != new.$section.$live {
                        let key = concat!(stringify!($section), ".", stringify!($live));
                        changes.push(Change { key, needs_restart: false });
                    })*
                    $(if *$restart != new.$section.$restart {
                        let key = concat!(stringify!($section), ".", stringify!($restart));
                        changes.push(Change { key, needs_restart: true });
                    })*
                )*
                changes
            }
        }
    };
}

keys! {
    lightning: LightningSettings {
        live: [
            invoice_expiration_window, max_final_cltv_expiry_delta, payment_timeout,
            payment_cltv_limit, max_inflight_payouts, max_inflight_payouts_per_destination
        ],
        restart: [lnd_cert_file, lnd_macaroon_file, lnd_grpc_host, allow_node_change]
    }
    nostr: NostrSettings {
        live: [],
        restart: [nsec_privkey, nsec_privkey_file, relays]
    }
    mostro: MostroSettings {
        live: [
            name, pow, pow_first_contact, max_routing_fee, min_routing_fee_sats
        ],
        restart: [solvers]
    }
    database: DatabaseSettings {
        live: [],
        restart: [url, witness]
    }
    anti_abuse_bond: AntiAbuseBondSettings {
        live: [
            enabled, apply_to, amount_pct, base_amount_sats, slash_on_waiting_timeout,
            slash_node_share_pct, payout_invoice_window_seconds, payout_max_retries,
            payout_claim_window_days
        ],
        restart: []
    }
    engine: EngineSettings {
        live: [retention_days, in_doubt_recheck_seconds],
        restart: [lease_seconds, workers]
    }
    http: HttpSettings {
        live: [],
        restart: [enabled, listen]
    }
    telemetry: TelemetrySettings {
        live: [],
        restart: [otlp_endpoint]
    }
    schedules: SchedulesSettings {
        live: [retention],
        restart: [info_event]
    }
}
