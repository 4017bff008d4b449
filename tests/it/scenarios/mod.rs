//! The acceptance scenarios, end to end: real gRPC to an lnd stand-in, a real websocket to a
//! relay, a real database file.

mod paid_elsewhere;
mod s01;
mod world;
