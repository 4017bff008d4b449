//! A person's word on a payment that lnd gives no verdict on.

use thiserror::Error;

use super::{Circumstances, HashRecord, Observation, PaymentStatus, Preimage};

/// Why a person's word does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum WordRefused {
    /// The preimage proves nothing of this payment.
    #[error("the SHA-256 of that preimage is not the hash of the payment in doubt")]
    NoProof,
    /// The send may still arrive.
    #[error("a send could still reach lnd: it can be denied from {from} on, Unix time")]
    MayArrive {
        /// The first second at which it can't, Unix time.
        from: i64,
    },
    /// lnd has a word of its own.
    #[error("lnd knows the payment: `resume` takes lnd's own word")]
    Known,
    /// lnd says nothing.
    #[error("lnd gives no answer, so that nobody can say whether it knows the payment: ask again when it serves")]
    NoAnswer,
}

impl HashRecord {
    /// The record of a payment that a person shows to be made.
    ///
    /// # Errors
    /// When the preimage is not the hash's.
    pub fn affirmed(&self, preimage: &Preimage) -> Result<Self, WordRefused> {
        if preimage.proves(&self.payment_hash) {
            Ok(Self { undecided: None, paid: true, ..*self })
        } else {
            Err(WordRefused::NoProof)
        }
    }

    /// The record of a payment that a person denies, given what lnd said just now. What lnd can still take,
    /// or knows, nobody can deny: only attempts that were judged before may be there.
    ///
    /// # Errors
    /// Why the word does not count.
    pub fn denied(&self, seen: Observation, at: &Circumstances) -> Result<Self, WordRefused> {
        if let Some(send) = self.undecided.filter(|send| !send.is_past(at)) {
            let from = send.send_valid_until.saturating_add(at.skew_margin_secs).saturating_add(1);
            return Err(WordRefused::MayArrive { from });
        }
        match seen {
            Observation::NotFound if !self.paid => Ok(Self { undecided: None, denied: true, ..*self }),
            Observation::Payment { index, status: PaymentStatus::Failed(_) }
                if !self.paid && index != 0 && index <= self.judged_index =>
            {
                Ok(Self { undecided: None, denied: true, ..*self })
            }
            Observation::NotFound | Observation::Payment { .. } => Err(WordRefused::Known),
            Observation::Refused(_) | Observation::Unavailable | Observation::Silent => Err(WordRefused::NoAnswer),
        }
    }
}

#[cfg(test)]
mod tests {
    use sha2::{Digest, Sha256};

    use super::*;
    use crate::payout::policy::{FailureReason, Ledger, SendForbidden};

    const NOW: i64 = 1_800_000_000;

    fn record() -> HashRecord {
        let hash = Sha256::digest([9; 32]).into();
        HashRecord { judged_index: 4, ..HashRecord::new(hash, NOW + 3_600) }.begin_send(NOW).unwrap()
    }

    fn asked(after: i64) -> Circumstances {
        Circumstances { asked_at: NOW + after, ledger: Ledger::Gap, skew_margin_secs: 120 }
    }

    #[test]
    fn a_preimage_is_verified() {
        assert!(record().affirmed(&Preimage([9; 32])).is_ok_and(|record| record.paid && record.undecided.is_none()));
        assert_eq!(record().affirmed(&Preimage([8; 32])), Err(WordRefused::NoProof));
    }

    #[test]
    fn nothing_is_denied_while_the_send_could_still_arrive() {
        let early = record().denied(Observation::NotFound, &asked(120));
        assert_eq!(early, Err(WordRefused::MayArrive { from: NOW + 121 }));
        let denied = record().denied(Observation::NotFound, &asked(121)).unwrap();
        assert!(denied.undecided.is_none());
        assert_eq!(denied.begin_send(NOW + 200), Err(SendForbidden::Denied), "it is never sent again");
    }

    #[test]
    fn nothing_is_denied_that_lnd_knows_or_does_not_answer_for() {
        let failed = |index| Observation::Payment { index, status: PaymentStatus::Failed(FailureReason::Other) };
        for (seen, refused) in [
            (Observation::Payment { index: 5, status: PaymentStatus::InFlight }, WordRefused::Known),
            (Observation::Payment { index: 5, status: PaymentStatus::Unknown }, WordRefused::Known),
            (
                Observation::Payment {
                    index: 4,
                    status: PaymentStatus::Succeeded { preimage: Preimage([9; 32]), fee_msat: 0 },
                },
                WordRefused::Known,
            ),
            (failed(5), WordRefused::Known),
            (failed(0), WordRefused::Known),
            (Observation::Silent, WordRefused::NoAnswer),
            (Observation::Unavailable, WordRefused::NoAnswer),
        ] {
            assert_eq!(record().denied(seen, &asked(1_000)), Err(refused), "{seen:?}");
        }
        assert!(record().denied(failed(4), &asked(1_000)).is_ok(), "an echo of what was judged before");
        let paid = HashRecord { paid: true, undecided: None, ..record() };
        assert_eq!(paid.denied(Observation::NotFound, &asked(1_000)), Err(WordRefused::Known));
    }
}
