//! Adapters of the store port [`crate::engine::store::Store`], one a folder: SQLite here, and
//! the oracle in memory beside it. What they must agree on in the workflow's own rows is in
//! [`rows`].

pub mod memory;
mod rows;
pub mod sqlite;
pub mod wake;
