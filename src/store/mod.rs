//! Adapters of the store port [`crate::engine::store::Store`], one a folder: SQLite, PostgreSQL,
//! and the oracle in memory. The two databases share `group` (how commits become one
//! transaction), `readers` and what their rows mean. The oracle shares nothing with them, not even `rows`, so
//! that comparing can find a mistake in either.

mod columns;
mod group;
pub mod memory;
pub mod moving;
mod own;
pub mod postgres;
mod readers;
mod rows;
pub mod sqlite;
pub mod wake;

pub use group::CommitMeters;

use crate::engine::Pin;

/// What is known of a database before it is opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Survey {
    /// The version of its schema.
    pub version: i64,
    /// The version that this build works with.
    pub known: i64,
    /// The definitions that its open runs follow, with their number.
    pub pins: Vec<(Pin, u64)>,
}
