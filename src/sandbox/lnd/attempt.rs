//! How lnd shows an attempt.

use super::hash::Hash32;
use super::ledger::{Attempt, Reason, Status};
use tonic_lnd::lnrpc::htlc_attempt::HtlcStatus;
use tonic_lnd::lnrpc::payment::PaymentStatus;
use tonic_lnd::lnrpc::{Failure, HtlcAttempt, Payment, PaymentFailureReason, Route, failure::FailureCode};

impl Attempt {
    /// Whether lnd sends no further update.
    pub(super) fn is_final(&self) -> bool {
        matches!(self.status, Status::Succeeded | Status::Failed)
    }

    /// As `MarshallPayment` shows it: no `INITIATED`, a fee only once paid, 64 zeros for no preimage.
    pub(super) fn rpc(&self, hash: Hash32) -> Payment {
        let paid = self.status == Status::Succeeded;
        let fee_msat = if paid { self.fee_msat as i64 } else { 0 };
        let mut payment = Payment {
            payment_hash: hash.to_string(),
            payment_preimage: self.preimage.unwrap_or(Hash32([0; 32])).to_string(),
            value_sat: (self.amount_msat / 1000) as i64,
            value_msat: self.amount_msat as i64,
            payment_request: self.payment_request.clone(),
            fee_sat: fee_msat / 1000,
            fee_msat,
            creation_time_ns: self.created_at * 1_000_000_000,
            payment_index: self.payment_index,
            ..Default::default()
        };
        payment.set_status(match self.status {
            Status::Initiated | Status::InFlight => PaymentStatus::InFlight,
            Status::Succeeded => PaymentStatus::Succeeded,
            Status::Failed => PaymentStatus::Failed,
        });
        payment.set_failure_reason(match self.reason {
            Reason::None => PaymentFailureReason::FailureReasonNone,
            Reason::Timeout => PaymentFailureReason::FailureReasonTimeout,
            Reason::NoRoute => PaymentFailureReason::FailureReasonNoRoute,
            Reason::Error => PaymentFailureReason::FailureReasonError,
            Reason::IncorrectPaymentDetails => PaymentFailureReason::FailureReasonIncorrectPaymentDetails,
            Reason::InsufficientBalance => PaymentFailureReason::FailureReasonInsufficientBalance,
            Reason::Canceled => PaymentFailureReason::FailureReasonCanceled,
        });
        if self.has_htlc {
            payment.htlcs.push(self.htlc());
        }
        payment
    }

    fn htlc(&self) -> HtlcAttempt {
        let mut htlc = HtlcAttempt {
            attempt_id: self.payment_index,
            attempt_time_ns: self.created_at * 1_000_000_000,
            route: Some(Route {
                total_amt_msat: (self.amount_msat + self.fee_msat) as i64,
                total_fees_msat: self.fee_msat as i64,
                ..Default::default()
            }),
            preimage: self.preimage.map(|preimage| preimage.0.to_vec()).unwrap_or_default(),
            ..Default::default()
        };
        match self.status {
            Status::Initiated | Status::InFlight => htlc.set_status(HtlcStatus::InFlight),
            Status::Succeeded => htlc.set_status(HtlcStatus::Succeeded),
            Status::Failed => {
                htlc.set_status(HtlcStatus::Failed);
                let mut failure = Failure::default();
                failure.set_code(FailureCode::IncorrectOrUnknownPaymentDetails);
                htlc.failure = Some(failure);
            }
        }
        htlc
    }
}
