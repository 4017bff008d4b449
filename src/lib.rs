//! bondflow settles the debt of a slashed Mostro bond: once the node has claimed the bond, the
//! wronged party's share is asked for, paid over Lightning and accounted for, and no crash,
//! restart or duplicate message pays it twice or forgets it.
//!
//! The map, from the outside in; `docs/architecture.md` walks through it.
//!
//! | | |
//! |---|---|
//! | `bin/bondflowd`, `bin/workflowctl` | the daemon, and the operator's view of it |
//! | [`app`] | the composition root: settings, adapters, engine and payout become a daemon |
//! | [`config`] | typed settings; all is checked before anything is used |
//! | [`payout`] | what a slashed bond leads to: the workflows, their rules, the [ports](payout::ports) to the world |
//! | [`engine`] | durable runs of workflow definitions; knows nothing of bonds, lnd or Nostr |
//! | [`lnd`] | the [`Lightning`](payout::ports::Lightning) port over lnd's gRPC |
//! | [`nostr`] | what is said and heard, as signed events; the connection to the relays |
//! | [`store`] | the engine's [`Store`](engine::Store) port on SQLite, and in memory for tests |
//! | [`import`] | takes the open debts of a mostrod database over, once |
//! | [`sandbox`] | a relay, an lnd stand-in and clients of its own, for the demo and for tests |
//!
//! The arrows point one way: binaries → `app` → (`payout` → `engine`'s ports) ← adapters. `engine`
//! names no database, Lightning node or Nostr type; `payout` reaches the world through ports only.
//!
//! To follow one payout, begin with `workflows/bond_payout.toml`, then read
//! [`payout::bond_payout`] for what each transaction makes true, and [`payout::debt`] for why a
//! payment is never made twice. How runs survive, and how to use the engine for a workflow of one's own,
//! is told in [`engine`]; `examples/order` is one.

pub mod app;
pub mod config;
pub mod engine;
pub mod import;
pub mod lnd;
pub mod nostr;
pub mod payout;
pub mod sandbox;
pub mod store;
