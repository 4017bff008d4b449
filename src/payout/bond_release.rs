//! Gives back a bond that was not slashed.

use std::sync::{Arc, LazyLock};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::engine::operator::Reentry;
use crate::engine::{
    Bound, Cause, Context, Definition, DefinitionError, Step, StepError, Timestamp, Transition, erase,
};

use super::books::{self, secret32, update};
use super::debt::reentry;
use super::ports::HoldAnswer;
use super::tables::BONDS;
use super::world::World;

/// The workflow's name.
pub const NAME: &str = "bond_release";

/// Its definition.
pub const DEFINITION: &str = include_str!("../../workflows/bond_release.toml");
/// The definition as it was read: once, however often it is bound.
static READ: LazyLock<Result<Definition, DefinitionError>> = LazyLock::new(|| Definition::parse(DEFINITION));

/// A release knows nothing but its key, the bond's id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BondRelease {
    /// The bond, sats.
    pub amount_sats: u64,
}

crate::outcomes! {
    /// What came of the release.
    pub enum Released {
        /// lnd holds nothing of it any more.
        GivenBack => "given_back",
    }
}

struct Cancel(World);

#[async_trait]
impl Step<BondRelease> for Cancel {
    const NAME: &'static str = "cancel";
    type Outcome = Released;

    async fn act(&self, cx: &Context<'_, BondRelease>) -> Result<Released, StepError> {
        let bond = books::bond(self.0.store.as_ref(), cx.key).await?;
        let Some(hash) = bond.and_then(|bond| secret32(&bond.hash?)) else {
            return Err(StepError::pause("books", "the bond's row or hash is missing"));
        };
        match self.0.lightning.cancel(hash).await {
            HoldAnswer::Canceled | HoldAnswer::Unknown => Ok(Released::GivenBack),
            HoldAnswer::Settled => Err(StepError::pause("release", "the bond is settled: it can't be given back")),
            HoldAnswer::StillOpen => Err(StepError::retry("lnd says that nobody has paid the bond")),
            HoldAnswer::Refused(text) => Err(StepError::pause("release", format!("lnd refuses: {text}"))),
            HoldAnswer::Unavailable(text) => Err(StepError::Retry(Cause::alarming("lnd-unavailable", text))),
        }
    }

    fn transition(&self, _outcome: Released, tx: &mut Transition<'_, BondRelease>) {
        let released = json!({ "state": "released", "released_at": tx.now.secs() });
        tx.effects.rows.push(update(BONDS, tx.key, released, json!({})));
        tx.effects.notes.push(format!("gave back a bond of {} sats", tx.state.amount_sats));
    }
}

/// The rule for an operator's `retry`; see [`crate::engine::operator::RetryRule`].
///
/// # Errors
/// When the state can't be read.
pub fn retry(_bond: &str, state: &str, _step: &str, _now: Timestamp) -> Result<Reentry, String> {
    let again = "cancels the bond's hold invoice; canceling a canceled one changes nothing";
    reentry::<BondRelease>(state, |_| Ok(again.to_owned())).map(|(_, reentry)| reentry)
}

/// Binds the definition to its step.
///
/// # Errors
/// When they differ.
pub fn bind(world: &World) -> Result<Arc<Bound>, DefinitionError> {
    let steps = vec![erase::<BondRelease, _>(Cancel(world.clone()))];
    Ok(Arc::new(Bound::new(READ.clone()?, steps)?.with_retry(retry)))
}
