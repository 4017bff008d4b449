//! The one integration binary.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod architecture;
mod chaos;
mod cli;
mod cluster;
mod conformance;
mod contract;
mod crash_matrix;
mod demo;
mod dice;
mod differential;
mod engine;
mod failover;
mod fuzz;
mod graphs;
mod monitoring;
mod mutants;
mod ports;
mod prometheus;
mod scenarios;
mod service;
mod simulation;
