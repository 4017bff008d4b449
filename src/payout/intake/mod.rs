//! What comes in: each message has exactly one effect, decided here and committed together with
//! the message's id.
//!
//! The intake decides on what it read; guards in the commit make sure that it still holds when it
//! is written, else it reads and decides again. An invoice for a run that waits for one is put
//! into the run's mailbox, where the run itself decides between it and the deadline; everything
//! else is answered here.

mod dispute;
mod invoice;
mod ruling;

use tracing::debug;

use crate::engine::{CommitError, Effects, Engine, StepError, Timestamp};

use super::Workflows;
use super::books::BookError;
use super::messages::{Incoming, Outgoing, Refusal, Request, Said};
use super::world::World;

/// How often a decision is made anew when what it was made on has changed.
const TRIES: u32 = 32;

/// Why a message could not be taken in; it was not lost, and is to be offered again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a message could not be taken in yet: {0}")]
pub struct NotYet(pub String);

/// Takes messages in.
#[derive(Clone)]
pub struct Intake {
    world: World,
    engine: Engine,
    workflows: Workflows,
}

/// What a message leads to: effects, or a refusal.
type Decided = Result<Effects, Refused>;

/// Why a message has no effects of its own.
#[derive(Debug)]
enum Refused {
    /// The sender is told so.
    Answer(Refusal),
    /// The database does not give what the decision needs.
    Unread(String),
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self::Answer(refusal)
    }
}

impl From<BookError> for Refused {
    fn from(error: BookError) -> Self {
        Self::Unread(error.to_string())
    }
}

impl From<crate::engine::StoreError> for Refused {
    fn from(error: crate::engine::StoreError) -> Self {
        Self::Unread(error.to_string())
    }
}

impl Intake {
    /// An intake that starts runs of these workflows.
    pub const fn new(world: World, engine: Engine, workflows: Workflows) -> Self {
        Self { world, engine, workflows }
    }

    /// Takes a message in; one that was seen before has no effect.
    ///
    /// # Errors
    /// When the database could not take it: offer it again.
    pub async fn receive(&self, incoming: &Incoming, now: Timestamp) -> Result<(), NotYet> {
        let mut why = "what it depends on changes all the time".to_owned();
        for _ in 0..TRIES {
            if self.world.store.seen(&incoming.event).await.map_err(|error| NotYet(error.to_string()))? {
                debug!(event = incoming.event, "seen before");
                return Ok(());
            }
            let effects = match self.decide(incoming, now).await {
                Ok(effects) => effects,
                Err(Refused::Answer(refusal)) => {
                    debug!(event = incoming.event, ?refusal, "refused");
                    let mut effects = Effects::default();
                    effects.drafts.push(reply(incoming, Said::CantDo(refusal)).draft("cant-do"));
                    effects
                }
                Err(Refused::Unread(reason)) => return Err(NotYet(reason)),
            };
            match self.engine.submit(effects, Some(incoming.event.clone())).await {
                Ok(_) | Err(CommitError::Seen) => return Ok(()),
                // Decided on what is no longer so; after an unknown end the id tells what became of it.
                Err(CommitError::Conflict(_) | CommitError::Mail | CommitError::Fenced) => {}
                Err(CommitError::Unknown(reason)) => why = reason,
                Err(CommitError::Unavailable(reason)) => return Err(NotYet(reason)),
            }
        }
        Err(NotYet(why))
    }

    async fn decide(&self, incoming: &Incoming, now: Timestamp) -> Decided {
        match &incoming.request {
            Request::Rule { ruling, slash } => self.rule(incoming, *ruling, *slash, now).await,
            Request::TakeDispute => self.take_dispute(incoming, now).await,
            Request::BondInvoice(bolt11) => self.bond_invoice(incoming, bolt11.as_deref()).await,
            Request::TradeInvoice(bolt11) => self.trade_invoice(incoming, bolt11.as_deref()).await,
            Request::Malformed => Err(Refusal::InvalidPayload.into()),
            Request::Other => Err(Refusal::InvalidAction.into()),
        }
    }
}

/// The direct answer to a message: to its author, under its number.
fn reply(incoming: &Incoming, said: Said) -> Outgoing {
    Outgoing::Direct {
        to: incoming.sender.clone(),
        about: incoming.about.clone(),
        request_id: incoming.request_id,
        said,
    }
}

/// A notice that answers nothing.
fn notice(to: &str, about: &str, said: Said) -> Outgoing {
    Outgoing::Direct { to: to.to_owned(), about: Some(about.to_owned()), request_id: None, said }
}

impl From<serde_json::Error> for Refused {
    fn from(error: serde_json::Error) -> Self {
        Self::Unread(error.to_string())
    }
}

impl From<StepError> for Refused {
    fn from(error: StepError) -> Self {
        Self::Unread(format!("{error:?}"))
    }
}
