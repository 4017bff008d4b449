//! Adapters of the store port [`crate::engine::store::Store`], one a folder: SQLite, and the
//! oracle in memory. The oracle shares nothing with a database's adapter, not even `rows`, so
//! that comparing the two can find a mistake in either.

pub mod memory;
mod rows;
pub mod sqlite;
pub mod wake;
