//! The engine over the store in memory and a clock that stands still: what it promises to a
//! workflow, each promise as a test.

mod courier;
mod crash;
mod doubt;
mod errand;
mod leases;
mod mailbox;
mod operator;
mod registry;
mod retries;
mod routes;
mod scene;

pub use errand::TEXT as DEFINITION;
