use super::*;

const CODES: [Code; 17] = [
    Code::Ok,
    Code::Cancelled,
    Code::Unknown,
    Code::InvalidArgument,
    Code::DeadlineExceeded,
    Code::NotFound,
    Code::AlreadyExists,
    Code::PermissionDenied,
    Code::ResourceExhausted,
    Code::FailedPrecondition,
    Code::Aborted,
    Code::OutOfRange,
    Code::Unimplemented,
    Code::Internal,
    Code::Unavailable,
    Code::DataLoss,
    Code::Unauthenticated,
];

fn refused(refusal: Refusal) -> Meaning {
    Meaning::Refused(refusal)
}

fn out(outage: Outage) -> Meaning {
    Meaning::Unavailable(outage)
}

/// What lnd 0.20.3-beta answers, word by word, and what it means.
fn seen() -> Vec<(Code, &'static str, Meaning)> {
    use Code::*;
    vec![
        (Unknown, "invoice already canceled", refused(Refusal::AlreadyCanceled)),
        (Unknown, "invoice already settled", refused(Refusal::AlreadySettled)),
        (Unknown, "invoice still open", refused(Refusal::StillOpen)),
        (Unknown, "unable to locate invoice", refused(Refusal::UnknownInvoice)),
        (NotFound, "unable to locate invoice", refused(Refusal::UnknownInvoice)),
        (Unknown, "there are no existing invoices", refused(Refusal::UnknownInvoice)),
        (Unknown, "invoice with payment hash already exists", refused(Refusal::DuplicateInvoice)),
        (Unknown, "invalid preimage length of 31, want 32", refused(Refusal::Malformed)),
        (Unknown, "invalid hash length of 0, want 32", refused(Refusal::Malformed)),
        (Unknown, "time preference out of range", refused(Refusal::Malformed)),
        (Unknown, "sat and msat arguments are mutually exclusive", refused(Refusal::Malformed)),
        (InvalidArgument, "invoice ref must be set", refused(Refusal::Malformed)),
        (Unknown, "invoice expired. Valid until 2026-01-31 12:00:00 +0000 UTC", refused(Refusal::InvoiceExpired)),
        (Unknown, "self-payments not allowed", refused(Refusal::SelfPayment)),
        (Unknown, "cltv limit 20 should be greater than 83", refused(Refusal::CltvLimit)),
        (Unknown, "total time lock of 3000 exceeds max allowed 2016", refused(Refusal::CltvLimitTooHigh)),
        (Unknown, "invoice not for current active network 'simnet'", refused(Refusal::WrongNetwork)),
        (Unknown, "amount must be specified when paying a zero amount invoice", refused(Refusal::AmountNeeded)),
        (
            Unknown,
            "amount must not be specified when paying a non-zero amount invoice",
            refused(Refusal::AmountNotWanted),
        ),
        (
            Unknown,
            "the AMP flag (--amp or SendPaymentRequest.Amp) must be set to pay an AMP invoice",
            refused(Refusal::InvoiceKind),
        ),
        (
            Unknown,
            "payment request must contain either a payment address or blinded paths",
            refused(Refusal::InvoiceKind),
        ),
        (AlreadyExists, "payment already exists", refused(Refusal::PaymentExists)),
        (AlreadyExists, "payment is in transition", refused(Refusal::PaymentInFlight)),
        (AlreadyExists, "invoice is already paid", refused(Refusal::AlreadyPaid)),
        (NotFound, "payment isn't initiated", refused(Refusal::UnknownPayment)),
        (Unknown, "wallet locked, unlock it to enable full RPC access", out(Outage::WalletLocked)),
        (
            Unknown,
            "the RPC server is in the process of starting up, but not yet ready to accept calls",
            out(Outage::Starting),
        ),
        (Unknown, "waiting to start, RPC services not available", out(Outage::Starting)),
        (Unknown, "wallet not created, create one to enable full RPC access", out(Outage::Starting)),
        (Unimplemented, "unknown service routerrpc.Router", out(Outage::NotServed)),
        (Unknown, "permission denied", out(Outage::PermissionDenied)),
        (
            Unknown,
            "caveat \"time-before 2026-01-31T12:00:00Z\" not satisfied: macaroon has expired",
            out(Outage::MacaroonExpired),
        ),
        (
            Unknown,
            "caveat \"ipaddr 10.0.0.1\" not satisfied: macaroon locked to different IP address",
            out(Outage::MacaroonRefused),
        ),
        (Unknown, "verification failed: signature mismatch after caveat verification", out(Outage::MacaroonRefused)),
        (
            Unknown,
            "cannot retrieve macaroon: cannot get macaroon: root key with id 0 doesn't exist",
            out(Outage::MacaroonRefused),
        ),
        (Unknown, "expected 1 macaroon, got 0", out(Outage::MacaroonRefused)),
    ]
}

#[test]
fn lnds_words_mean_what_they_say() {
    for (code, text, expected) in seen() {
        assert_eq!(meaning(&Status::new(code, text)), expected, "{code:?} {text}");
    }
}

#[test]
fn under_any_other_code_they_mean_nothing() {
    for code in CODES {
        for (_, text, expected) in seen() {
            let real = seen().iter().any(|row| row.0 == code && row.1 == text);
            if !real {
                assert_eq!(meaning(&Status::new(code, text)), Meaning::InDoubt, "{code:?} {text} is not {expected:?}");
            }
        }
    }
}

#[test]
fn unknown_words_are_no_verdict_under_any_code() {
    let texts = [
        "",
        "something new",
        "error: invoice already canceled",
        "invoice already canceled by peer",
        "router shutting down",
        "transport error",
        "payment isn't initiated yet",
        "PERMISSION DENIED",
    ];
    for code in CODES {
        for text in texts {
            assert_eq!(meaning(&Status::new(code, text)), Meaning::InDoubt, "{code:?} {text}");
        }
    }
}

#[test]
fn an_error_that_grew_on_this_side_is_not_lnds_word() {
    #[derive(Debug, thiserror::Error)]
    #[error("invoice already canceled")]
    struct Local;
    let status = Status::from_error(Box::new(Local));
    assert_eq!((status.code(), status.message()), (Code::Unknown, "invoice already canceled"));
    assert_eq!(meaning(&status), Meaning::InDoubt);
}

#[test]
fn a_call_that_never_left_is_unavailable() {
    let cause = NotConnected::Refused("127.0.0.1:1".to_owned());
    let status = Status::from_error(Box::new(cause.clone()));
    assert_eq!(meaning(&status), out(Outage::NotConnected(cause.clone())));
    assert_eq!(line(&status), cause.to_string());
}

#[test]
fn a_line_is_one_short_line() {
    let status = Status::unknown(format!("first\nsecond {}", "x".repeat(1000)));
    let line = line(&status);
    assert!(line.starts_with("Unknown: first second x"), "{line}");
    assert!(line.chars().count() <= 210);
}
