//! A whole world on one machine, for the demo and for tests: an embedded relay on a real
//! websocket, an lnd stand-in that serves real gRPC, clients that speak the real protocol, and
//! the database that a mostrod leaves behind, and a PostgreSQL of one's own.

pub mod clients;
pub mod demo;
pub mod lnd;
pub mod load;
pub mod mostrod;
pub mod postgres;
pub mod relay;
