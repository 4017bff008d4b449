//! lnd
