//! What can be made to go wrong between a client and the node.

use std::collections::VecDeque;
use std::time::Duration;
use tonic_lnd::tonic::Code;

/// One thing that goes wrong with one call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The connection dies before lnd reads the request: nothing happened.
    DropBeforeActing,
    /// The connection dies after lnd acted: the client never learns it.
    DropAfterActing,
    /// The request is taken and nothing happens, ever.
    Stall,
    /// lnd acts, and never answers.
    StallAfterActing,
    /// The request reaches lnd late, by tokio's clock: authentication, too, happens only then.
    Delay(Duration),
    /// lnd answers this instead of acting.
    Answer(Code, String),
}

/// The faults that are still to come, by method.
#[derive(Debug, Default)]
pub(super) struct Faults(VecDeque<(String, Fault, u32)>);

impl Faults {
    pub(super) fn add(&mut self, method: &str, fault: Fault, times: u32) {
        if times > 0 {
            self.0.push_back((method.to_owned(), fault, times));
        }
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// How many calls will still go wrong.
    pub(super) fn to_come(&self) -> u32 {
        self.0.iter().map(|(_, _, times)| times).sum()
    }

    /// The fault for a call of the method at `path`, once less of it left.
    pub(super) fn take(&mut self, path: &str) -> Option<Fault> {
        let method = path.rsplit('/').next().unwrap_or(path);
        let found = self.0.iter().position(|(name, _, _)| name == method || name == "*")?;
        let (_, fault, times) = &mut self.0[found];
        let fault = fault.clone();
        *times -= 1;
        if *times == 0 {
            self.0.remove(found);
        }
        Some(fault)
    }
}
