//! The settings and the lnd in force, and what follows from both.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cron::Schedule;
use tokio::sync::watch;

use crate::config::{Change, Settings};
use crate::nostr::wire::{BondTerms, Profile};
use crate::payout::Terms;

use super::AppError;
use super::terms::{KnownNode, terms};

/// Whenever the settings or the lnd change, terms and profile follow at once.
pub(super) struct InForce {
    node_key: String,
    both: Mutex<(Settings, KnownNode)>,
    terms: watch::Sender<Arc<Terms>>,
    profile: watch::Sender<Profile>,
}

impl InForce {
    /// In force at start; `node_key` is the node's Nostr key, hex.
    ///
    /// # Errors
    /// When there are no terms under these settings on that lnd.
    pub(super) fn new(settings: Settings, known: KnownNode, node_key: String) -> Result<Self, AppError> {
        let terms = terms(&settings, &known, node_key.clone()).map_err(AppError::Setting)?;
        let profile = watch::Sender::new(profile_of(&settings, &known));
        Ok(Self { node_key, terms: watch::Sender::new(Arc::new(terms)), profile, both: Mutex::new((settings, known)) })
    }

    pub(super) fn terms(&self) -> watch::Receiver<Arc<Terms>> {
        self.terms.subscribe()
    }

    pub(super) fn profile(&self) -> watch::Receiver<Profile> {
        self.profile.subscribe()
    }

    /// When the info event is due.
    pub(super) fn info_schedule(&self) -> Schedule {
        self.both().0.schedules.info_event.clone()
    }

    /// When finished runs are retired, and after how many days.
    pub(super) fn retention(&self) -> (Schedule, u32) {
        let both = self.both();
        (both.0.schedules.retention.clone(), both.0.engine.retention_days)
    }

    /// Takes new settings over; says what has changed.
    ///
    /// # Errors
    /// When they can't be used: nothing has changed then.
    pub(super) fn settings(&self, new: Settings) -> Result<Vec<Change>, AppError> {
        let mut both = self.both();
        let changes = both.0.diff(&new);
        let known = both.1.clone();
        self.put(&mut both, new, known)?;
        Ok(changes)
    }

    /// Takes an lnd over that was met.
    ///
    /// # Errors
    /// When invoices can't be held against it.
    pub(super) fn met(&self, known: KnownNode) -> Result<(), AppError> {
        let mut both = self.both();
        let settings = both.0.clone();
        self.put(&mut both, settings, known)
    }

    fn put(&self, both: &mut (Settings, KnownNode), settings: Settings, known: KnownNode) -> Result<(), AppError> {
        let terms = terms(&settings, &known, self.node_key.clone()).map_err(AppError::Setting)?;
        self.terms.send_replace(Arc::new(terms));
        self.profile.send_replace(profile_of(&settings, &known));
        *both = (settings, known);
        Ok(())
    }

    fn both(&self) -> MutexGuard<'_, (Settings, KnownNode)> {
        self.both.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn profile_of(settings: &Settings, known: &KnownNode) -> Profile {
    let bond = &settings.anti_abuse_bond;
    Profile {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        name: settings.mostro.name.clone(),
        network: known.network.clone(),
        pow: settings.mostro.pow,
        pow_first_contact: settings.mostro.pow_first_contact,
        bonds: bond.enabled.then(|| BondTerms {
            apply_to: bond.apply_to.as_str().to_owned(),
            amount_pct: bond.amount_pct.to_string(),
            base_amount_sats: bond.base_amount_sats,
            slash_on_waiting_timeout: bond.slash_on_waiting_timeout,
            slash_node_share_pct: bond.slash_node_share_pct.to_string(),
            payout_claim_window_days: bond.payout_claim_window_days,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(byte: u8) -> KnownNode {
        KnownNode { identity: hex::encode([byte; 33]), network: "simnet".to_owned() }
    }

    #[test]
    fn terms_follow_the_lnd_that_was_met_and_the_settings_whichever_comes_last() {
        let in_force = InForce::new(Settings::default(), known(2), "node".to_owned()).unwrap();
        let terms = in_force.terms();
        in_force.met(known(3)).unwrap();
        assert_eq!(terms.borrow().own_nodes, vec![[3; 33]]);
        let mut settings = Settings::default();
        settings.anti_abuse_bond.payout_claim_window_days = 3;
        assert_eq!(in_force.settings(settings).unwrap().len(), 1);
        assert_eq!((terms.borrow().window_days, terms.borrow().own_nodes.clone()), (3, vec![[3; 33]]));
        in_force.met(known(2)).unwrap();
        assert_eq!((terms.borrow().window_days, terms.borrow().own_nodes.clone()), (3, vec![[2; 33]]));
        assert!(in_force.met(KnownNode { network: "none".to_owned(), ..known(4) }).is_err());
        assert_eq!(terms.borrow().own_nodes, vec![[2; 33]]);
    }
}
