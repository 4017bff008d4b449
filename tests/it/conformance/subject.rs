//! The stores that are tested.

use bondflow::engine::Store;
use bondflow::payout::tables::TABLES;
use bondflow::store::memory::{Dump, MemoryStore};

/// A store with a place that outlives it.
pub trait StoreUnderTest: Sized {
    /// An empty store in a place of its own.
    async fn fresh() -> Self;
    /// What the next daemon finds when this one is gone.
    async fn reopen(self) -> Self;
    /// The store.
    fn store(&self) -> &dyn Store;
    /// All tables, as they are now.
    async fn dump(&self) -> Dump;
}

/// The oracle.
pub struct Memory(pub MemoryStore);

impl StoreUnderTest for Memory {
    async fn fresh() -> Self {
        Self(MemoryStore::new(TABLES))
    }

    async fn reopen(self) -> Self {
        Self(self.0.reopen())
    }

    fn store(&self) -> &dyn Store {
        &self.0
    }

    async fn dump(&self) -> Dump {
        self.0.snapshot().dump()
    }
}
