//! The one integration binary.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod architecture;
mod chaos;
mod cli;
mod cluster;
mod conformance;
mod contract;
mod demo;
mod differential;
mod engine;
mod failover;
mod graphs;
mod mutants;
mod scenarios;
