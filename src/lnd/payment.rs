//! What lnd shows of a payment, in the payout's words.

use tonic_lnd::lnrpc::payment::PaymentStatus as Shown;
use tonic_lnd::lnrpc::{Payment, PaymentFailureReason};

use crate::payout::policy::verdict::{FailureReason, Observation, PaymentStatus, Preimage};
use crate::payout::ports::{Hash, Made};

/// Reads a payment that was asked for by `hash`. It is decided on its status alone: a payment in flight may already carry a failure
/// reason, and a status that is not known here may be in flight.
pub(super) fn observe(payment: &Payment, hash: Hash) -> Observation {
    if payment.payment_hash != hex::encode(hash) {
        tracing::error!(asked = %hex::encode(hash), shown = %payment.payment_hash, "lnd shows another payment");
        return Observation::Silent;
    }
    let status = match Shown::try_from(payment.status) {
        Ok(Shown::Succeeded) => PaymentStatus::Succeeded {
            preimage: preimage_of(payment),
            fee_msat: u64::try_from(payment.fee_msat).unwrap_or_default(),
        },
        Ok(Shown::Failed) => PaymentStatus::Failed(reason_of(payment)),
        Ok(Shown::InFlight | Shown::Initiated) => PaymentStatus::InFlight,
        _ => PaymentStatus::Unknown,
    };
    Observation::Payment { index: payment.payment_index, status }
}

/// A payment of a list, unless it has failed or its hash makes no sense.
pub(super) fn made(payment: &Payment) -> Option<Made> {
    let status = Shown::try_from(payment.status);
    let mut hash = [0; 32];
    hex::decode_to_slice(&payment.payment_hash, &mut hash).ok()?;
    (status != Ok(Shown::Failed)).then(|| Made {
        hash,
        amount_msat: u64::try_from(payment.value_msat).unwrap_or_default(),
        made_at: payment.creation_time_ns / 1_000_000_000,
        succeeded: status == Ok(Shown::Succeeded),
    })
}

/// Whether lnd is done with the payment.
pub(super) fn is_over(payment: &Payment) -> bool {
    matches!(Shown::try_from(payment.status), Ok(Shown::Succeeded | Shown::Failed))
}

/// Anything but 32 bytes of hexadecimal is as good as none, which lnd shows as zeros.
fn preimage_of(payment: &Payment) -> Preimage {
    let mut preimage = [0; 32];
    match hex::decode_to_slice(&payment.payment_preimage, &mut preimage) {
        Ok(()) => Preimage(preimage),
        Err(_) => Preimage([0; 32]),
    }
}

fn reason_of(payment: &Payment) -> FailureReason {
    match PaymentFailureReason::try_from(payment.failure_reason) {
        Ok(PaymentFailureReason::FailureReasonIncorrectPaymentDetails) => FailureReason::IncorrectPaymentDetails,
        Ok(PaymentFailureReason::FailureReasonInsufficientBalance) => FailureReason::InsufficientBalance,
        _ => FailureReason::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: Hash = [7; 32];

    fn shown(status: i32, reason: i32) -> Payment {
        Payment {
            payment_hash: hex::encode(HASH),
            payment_preimage: hex::encode([9; 32]),
            fee_msat: 1_001,
            payment_index: 5,
            status,
            failure_reason: reason,
            ..Payment::default()
        }
    }

    fn status(payment: &Payment) -> PaymentStatus {
        match observe(payment, HASH) {
            Observation::Payment { index: 5, status } => status,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_status_alone_decides() {
        for reason in 0..=7 {
            assert_eq!(status(&shown(0, reason)), PaymentStatus::Unknown);
            assert_eq!(status(&shown(1, reason)), PaymentStatus::InFlight);
            let paid = PaymentStatus::Succeeded { preimage: Preimage([9; 32]), fee_msat: 1_001 };
            assert_eq!(status(&shown(2, reason)), paid);
            assert!(matches!(status(&shown(3, reason)), PaymentStatus::Failed(_)));
            assert_eq!(status(&shown(4, reason)), PaymentStatus::InFlight);
            for unknown in [-1, 5, 99] {
                assert_eq!(status(&shown(unknown, reason)), PaymentStatus::Unknown);
                assert!(!is_over(&shown(unknown, reason)));
            }
        }
    }

    #[test]
    fn a_list_leaves_out_what_has_failed_and_nothing_else() {
        for (status_code, succeeded) in [(0, false), (1, false), (2, true), (4, false), (9, false)] {
            let payment = Payment { value_msat: 5_000, creation_time_ns: 7_999_999_999, ..shown(status_code, 0) };
            assert_eq!(made(&payment), Some(Made { hash: HASH, amount_msat: 5_000, made_at: 7, succeeded }));
        }
        assert_eq!(made(&shown(3, 0)), None);
    }

    #[test]
    fn only_two_failure_reasons_say_something() {
        // PaymentFailureReason: none, timeout, no route, error, incorrect details, insufficient balance, canceled.
        let reasons: Vec<_> = (0..=7).map(|reason| status(&shown(3, reason))).collect();
        let mut expected = vec![PaymentStatus::Failed(FailureReason::Other); 8];
        expected[4] = PaymentStatus::Failed(FailureReason::IncorrectPaymentDetails);
        expected[5] = PaymentStatus::Failed(FailureReason::InsufficientBalance);
        assert_eq!(reasons, expected);
    }

    #[test]
    fn a_preimage_of_another_shape_is_none() {
        let half_written = format!("{}zz", "09".repeat(31));
        for text in ["", "09", &"09".repeat(33), &half_written] {
            let payment = Payment { payment_preimage: text.to_owned(), ..shown(2, 0) };
            let none = PaymentStatus::Succeeded { preimage: Preimage([0; 32]), fee_msat: 1_001 };
            assert_eq!(status(&payment), none);
        }
    }

    #[test]
    fn another_payment_is_no_answer() {
        assert_eq!(observe(&shown(2, 0), [8; 32]), Observation::Silent);
    }
}
