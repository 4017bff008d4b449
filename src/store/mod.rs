//! Adapters behind the store port.

pub mod memory;
pub mod wake;
