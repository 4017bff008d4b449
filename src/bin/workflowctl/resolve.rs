//! `resolve`

use bondflow::engine::operator::{Request, Word};
use bondflow::engine::{Run, StepKind};
use bondflow::payout::books::secret32;
use bondflow::payout::policy::verdict::SKEW_MARGIN_SECS;
use bondflow::payout::policy::{HashRecord, Preimage};
use clap::{ArgGroup, Args};

use crate::ask::{Question, Terms};
use crate::desk::Desk;
use crate::failure::Failure;
use crate::find::find;
use crate::graph::definition;
use crate::stake::debt_of;
use crate::when::dated;

/// Asks for a payment in doubt to be ended by your word.
///
/// A preimage is verified: its SHA-256 must be the payment's hash. A denial needs --reason, and is refused while
/// a send could still reach lnd and while lnd knows the payment; the denied invoice is never paid again,
/// the winner is asked for another.
#[derive(Args)]
#[command(group(ArgGroup::new("word").required(true).args(["paid", "not_paid"])))]
#[command(after_help = "Examples:
  workflowctl resolve 3f9a --paid 6b2f…64 hex digits…e1 --reason 'the winner showed the receipt'
  workflowctl resolve 3f9a --not-paid --reason 'payee and routing node both have no trace of it'")]
pub struct Resolve {
    /// The run, or its bond or order; may be shortened.
    id: String,
    /// It was paid: the preimage, 64 hex digits; `-` reads it from stdin, so that no list of processes shows it.
    #[arg(long, value_name = "PREIMAGE")]
    paid: Option<String>,
    /// It was not paid, and never will be.
    #[arg(long, requires = "reason")]
    not_paid: bool,
    #[command(flatten)]
    terms: Terms,
}

impl Resolve {
    /// Asks.
    pub async fn run(self, desk: &mut Desk) -> Result<(), Failure> {
        let paid = match self.paid.as_deref() {
            Some("-") => Some(desk.input.text()?),
            _ => self.paid,
        };
        let word = match paid {
            Some(evidence) if secret32(evidence.trim()).is_none() => {
                return Err(Failure::Usage("a preimage has 64 hex digits".to_owned()));
            }
            Some(evidence) => Word::Happened { evidence: evidence.trim().to_ascii_lowercase() },
            None => Word::DidNot,
        };
        let run = find(desk.store.as_ref(), &self.id).await?;
        counts(desk, &run, &word)
            .map_err(|why| Failure::Error(format!("run {}: {why}; nothing was written", run.id)))?;
        let question = Question { request: Request::Resolve { word }, force: false, terms: self.terms };
        question.of_all(desk, vec![Ok(run)]).await
    }
}

/// What can be said of the word without asking lnd: the daemon looks at all of it again.
fn counts(desk: &Desk, run: &Run, word: &Word) -> Result<(), String> {
    let in_doubt = definition(&run.pin.workflow)
        .and_then(|definition| Some(definition.step(&run.step)?.kind == StepKind::InDoubt))
        .unwrap_or_default();
    if !in_doubt {
        return Err(format!("no payment is in doubt, it is {} at `{}`", run.status, run.step));
    }
    let debt = debt_of(run).ok_or("its state can't be read")?;
    let record: &HashRecord = debt.open_record().ok_or("there is no payment to speak of")?;
    match word {
        Word::Happened { evidence } => {
            let preimage = secret32(evidence).ok_or("a preimage has 64 hex digits")?;
            record
                .affirmed(&Preimage(preimage))
                .map(drop)
                .map_err(|refused| format!("{refused} ({})", hex::encode(record.payment_hash)))
        }
        Word::DidNot => match record.undecided {
            Some(send) => {
                let from = bondflow::engine::Timestamp::from_secs(
                    send.send_valid_until.saturating_add(SKEW_MARGIN_SECS).saturating_add(1),
                );
                if desk.now() < from {
                    return Err(format!(
                        "a send could still reach lnd: it can be denied at {}",
                        dated(from, desk.now())
                    ));
                }
                Ok(())
            }
            None => Ok(()),
        },
    }
}
