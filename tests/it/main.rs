//! The integration tests of real parts; worlds at the ports are a program of their own, `tests/worlds`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod architecture;
mod chaos;
mod cli;
mod cluster;
mod conformance;
mod contract;
mod demo;
mod dice;
mod differential;
mod engine;
mod failover;
mod fuzz;
mod graphs;
mod monitoring;
mod mutants;
mod prometheus;
mod scenarios;
mod service;
