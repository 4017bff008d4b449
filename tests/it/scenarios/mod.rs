//! The acceptance scenarios, end to end: real gRPC to an lnd stand-in, a real websocket to a
//! relay, a real database file.

mod daemon;
mod flood;
mod kill;
mod load;
mod process;
mod s01;
mod s10;
mod s12;
mod s14;
mod world;
