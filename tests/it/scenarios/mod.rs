//! The acceptance scenarios, end to end: real gRPC to an lnd stand-in, a real websocket to a
//! relay, a real database: a file, or one on a PostgreSQL server (`STORE=postgres`).

mod caps;
mod daemon;
mod escrow;
mod expiry;
mod flood;
mod import;
mod invoices;
mod kill;
mod liquidity;
mod load;
mod paid_elsewhere;
mod presence;
pub mod process;
mod race;
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
mod trade_payout;
pub mod world;
