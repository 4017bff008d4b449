//! lnd

pub mod macaroon;
