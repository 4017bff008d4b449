//! `reconcile`

use bondflow::app::lineage::{Word, ask, held};
use bondflow::engine::RunId;
use clap::Args;
use serde_json::json;

use crate::ask::NOBODY;
use crate::desk::Desk;
use crate::failure::Failure;
use crate::find::find;

/// Shows why a restored database is held, or says that it may go on.
///
/// After a backup was restored no run asks for, takes or pays an invoice. Without --reason this
/// tells why, and which payments of lnd must be assigned; with it the daemon goes on once each of
/// them is.
#[derive(Args)]
#[command(after_help = "Examples:
  workflowctl reconcile
  workflowctl reconcile --reason 'the old machine is off' --paid 10b1…48d7=3f9a
  workflowctl reconcile --reason 'a payment of the shop' --not-ours 10b1…48d7")]
pub struct Reconcile {
    /// Why it may go on: no other daemon works on a copy of this database.
    #[arg(long)]
    reason: Option<String>,
    /// A payment that paid the debt of a run; may be repeated.
    #[arg(long, value_name = "HASH=RUN", requires = "reason")]
    paid: Vec<String>,
    /// A payment that has nothing to do with this database; may be repeated.
    #[arg(long, value_name = "HASH", requires = "reason")]
    not_ours: Vec<String>,
}

impl Reconcile {
    /// Tells, or asks.
    pub async fn run(self, desk: &mut Desk) -> Result<(), Failure> {
        let Some(held) = held(desk.store.as_ref()).await? else {
            desk.output.text("", "Nothing is held: the database is the one that was seen committed.", &json!(null))?;
            return Ok(());
        };
        let Some(reason) = self.reason else {
            let hashes: Vec<&str> = held.found.iter().map(|found| found.hash.as_str()).collect();
            desk.output.text(&hashes.join("\n"), &held.paragraph(), &json!(held))?;
            return Ok(());
        };
        let now = desk.now();
        let mut word = Word { by: desk.operator.clone(), reason, at: now.millis(), ..Word::default() };
        for pair in &self.paid {
            let (hash, run) =
                pair.split_once('=').ok_or_else(|| Failure::Usage(format!("`{pair}`: write HASH=RUN")))?;
            let id: RunId = find(desk.store.as_ref(), run).await?.id;
            word.paid.insert(payment_hash(hash)?, id);
        }
        for hash in &self.not_ours {
            word.not_ours.insert(payment_hash(hash)?);
        }
        let open: Vec<&str> = held
            .found
            .iter()
            .map(|found| found.hash.as_str())
            .filter(|hash| !word.paid.contains_key(*hash) && !word.not_ours.contains(*hash))
            .collect();
        if !open.is_empty() {
            return Err(Failure::Error(format!(
                "nothing was asked: say --paid HASH=RUN or --not-ours HASH of {}, see `reconcile`",
                open.join(" and ")
            )));
        }
        ask(desk.store.as_ref(), now, &word).await?;
        desk.output.tell(match desk.wake().await? {
            true => "asked; `reconcile` tells when the daemon goes on, or why it can't",
            false => NOBODY,
        });
        Ok(())
    }
}

/// A payment hash in the form in which it is kept.
fn payment_hash(text: &str) -> Result<String, Failure> {
    let hash = text.to_ascii_lowercase();
    let sound = hash.len() == 64 && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
    if sound { Ok(hash) } else { Err(Failure::Usage(format!("`{text}` is no payment hash: 64 hex digits"))) }
}
