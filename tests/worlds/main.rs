//! Worlds at the daemon's ports: the crash matrix and the simulation. A program of its own, so that it alone is built
//! anew, and optimised, where worlds are lived by the thousand.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod crash_matrix;
#[allow(dead_code, reason = "chaos and the hostile inputs ask for more of it")]
#[path = "../it/dice.rs"]
mod dice;
mod ports;
mod simulation;
