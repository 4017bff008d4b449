//! The Lightning node that stands in for lnd in `tests/worlds`.

#![allow(dead_code, reason = "worlds ask for more of it")]

#[path = "../../worlds/ports/invoices.rs"]
pub mod invoices;
#[path = "../../worlds/ports/lnd.rs"]
pub mod lnd;
#[path = "../../worlds/ports/time.rs"]
pub mod time;
