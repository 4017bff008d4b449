//! What can be made to go wrong between a client and the node.

use super::wire::Scissors;
use std::collections::VecDeque;
use std::time::Duration;
use tonic_lnd::tonic::{Code, Status};

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

/// Lets what goes wrong before lnd reads the request go wrong; otherwise what is left for when it has acted.
pub(super) async fn before_acting(
    fault: Option<Fault>,
    connection: Option<&Scissors>,
) -> Result<Option<Fault>, Status> {
    match fault {
        Some(Fault::DropBeforeActing) => {
            cut(connection);
            std::future::pending().await
        }
        Some(Fault::Stall) => std::future::pending().await,
        Some(Fault::Delay(time)) => {
            tokio::time::sleep(time).await;
            Ok(None)
        }
        Some(Fault::Answer(code, text)) => Err(Status::new(code, text)),
        after @ (None | Some(Fault::DropAfterActing | Fault::StallAfterActing)) => Ok(after),
    }
}

/// Lets what is left go wrong: lnd has acted.
pub(super) async fn after_acting(fault: Option<Fault>, connection: Option<&Scissors>) {
    if fault == Some(Fault::DropAfterActing) {
        cut(connection);
    }
    if fault.is_some() {
        std::future::pending::<()>().await;
    }
}

/// Cuts a connection, if there is one.
pub(super) fn cut(connection: Option<&Scissors>) {
    if let Some(scissors) = connection {
        scissors.cut();
    }
}
