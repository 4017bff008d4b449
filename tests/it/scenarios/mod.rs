//! The acceptance scenarios, end to end: real gRPC to an lnd stand-in, a real websocket to a
//! relay, a real database: a file, or one on a PostgreSQL server (`STORE=postgres`).

mod commands;
mod daemon;
mod disk;
mod flood;
mod invoices;
mod kill;
mod kill_commits;
mod kill_held;
mod load;
mod paid_elsewhere;
mod parts;
pub mod process;
mod rulings;
mod s01;
mod s02;
mod s03;
mod s04;
mod s05;
mod s06;
mod s07;
mod s08;
mod s09;
mod s10;
mod s11;
mod s12;
mod s14;
mod side;
mod told;
mod trouble;
pub mod world;
