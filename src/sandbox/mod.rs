//! A whole world on one machine, for the demo and for tests: an lnd stand-in that serves real
//! gRPC, and the database that a mostrod leaves behind.

pub mod lnd;
pub mod mostrod;
