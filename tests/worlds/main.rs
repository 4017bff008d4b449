//! Worlds at the daemon's ports: the crash matrix and the simulation. A program of its own, so that it alone is built
//! anew, and optimised, where worlds are lived by the thousand.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[allow(dead_code, reason = "a server that crashes is asked for elsewhere")]
#[path = "../it/cluster.rs"]
mod cluster;
mod crash_matrix;
#[allow(dead_code, reason = "chaos and the hostile inputs ask for more of it")]
#[path = "../it/dice.rs"]
mod dice;
#[allow(dead_code, reason = "worlds read without it")]
#[path = "../it/differential/operation.rs"]
mod operation;
mod ports;
mod simulation;
#[allow(dead_code, reason = "the conformance suite reads files as well")]
#[path = "../it/conformance/subject/tables.rs"]
mod tables;

/// As in the daemon.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
