//! Adapters of the store port [`crate::engine::store::Store`], one a folder: SQLite, PostgreSQL,
//! and the oracle in memory. The two databases share `group` (how commits become one
//! transaction) and what their rows mean. The oracle shares nothing with them, not even `rows`, so
//! that comparing can find a mistake in either.

mod columns;
mod group;
pub mod memory;
pub mod moving;
mod own;
pub mod postgres;
mod rows;
pub mod sqlite;
pub mod wake;
