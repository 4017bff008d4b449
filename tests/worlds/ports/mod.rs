//! The daemon's core at its ports: engine, intake and courier over the store in memory, a
//! Lightning node and relays that are doubles, in one thread, on a clock that passes only when
//! everybody waits for it. A [`Plan`](plan::Plan) decides all that happens; the same plan is the
//! same world to the last call.
//!
//! The doubles stand in the place of real adapters because they pass the same suites: the store
//! `conformance`, the Lightning node the rows of `contract::port`.

mod clients;
mod daemon;
pub mod faults;
mod invoices;
pub mod journal;
#[allow(dead_code, reason = "the contract asks for more of it")]
pub mod lnd;
pub mod people;
pub mod plan;
mod relays;
mod restored;
mod time;
pub mod world;
