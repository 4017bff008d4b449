//! Publishing one event to a quorum.

use std::sync::Arc;
use std::time::Duration;

use nostr_sdk::{Event, JsonUtil};
use tokio::sync::{mpsc, watch};

use super::connection::Connection;
use super::{Link, quorum};

/// What a relay said to an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It has it: now, or it had it already, or it has a newer one at the same address.
    Acknowledged,
    /// It has not said; or it is busy, or away. Worth trying again.
    Later(String),
    /// It does not want it.
    Refused(String),
}

/// What came of publishing an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishOutcome {
    /// How many acknowledgments are a quorum.
    pub needed: usize,
    /// The answers that had come when the outcome was clear, by relay.
    pub answers: Vec<(Arc<str>, Answer)>,
}

impl PublishOutcome {
    /// Whether a quorum has it.
    pub fn acknowledged(&self) -> bool {
        self.count(|answer| *answer == Answer::Acknowledged) >= self.needed
    }

    /// Whether so many relays refuse it that no quorum can have it.
    pub fn refused(&self) -> bool {
        let refusals = self.count(|answer| matches!(answer, Answer::Refused(_)));
        !self.acknowledged() && self.answers.len() - refusals < self.needed
    }

    fn count(&self, is: impl Fn(&Answer) -> bool) -> usize {
        self.answers.iter().filter(|(_, answer)| is(answer)).count()
    }
}

pub(super) async fn publish(links: &[Link], event: &str, patience: Duration) -> PublishOutcome {
    let mut outcome = PublishOutcome { needed: quorum(links.len()), answers: Vec::new() };
    let event = match Event::from_json(event) {
        Ok(event) => Arc::new(event),
        Err(error) => {
            let refused = Answer::Refused(format!("not an event: {error}"));
            outcome.answers = links.iter().map(|link| (link.name.clone(), refused.clone())).collect();
            return outcome;
        }
    };
    let (answered, mut answers) = mpsc::channel(links.len());
    for link in links {
        let (name, connection) = (link.name.clone(), link.connection.clone());
        let (event, answered) = (event.clone(), answered.clone());
        // On its own, so that a slow relay gets the event although nobody waits for it any more.
        tokio::spawn(async move {
            let answer = offer(connection, &event, patience).await;
            let _ = answered.send((name, answer)).await;
        });
    }
    drop(answered);
    while let Some(answer) = answers.recv().await {
        outcome.answers.push(answer);
        if outcome.acknowledged() {
            break;
        }
    }
    outcome
}

async fn offer(mut current: watch::Receiver<Option<Connection>>, event: &Event, patience: Duration) -> Answer {
    let Some(connection) = current.borrow_and_update().clone() else {
        return Answer::Later("not connected".to_owned());
    };
    let said = tokio::select! {
        said = tokio::time::timeout(patience, connection.offer(event)) => said,
        _ = current.changed() => return Answer::Later("the connection ended".to_owned()),
    };
    match said {
        Ok(Ok((true, _))) => Answer::Acknowledged,
        Ok(Ok((false, message))) => judge(message),
        Ok(Err(error)) => Answer::Later(error),
        Err(_) => Answer::Later("no answer in time".to_owned()),
    }
}

/// Sorts a relay's "no" by its machine-readable prefix (NIP-01).
fn judge(message: String) -> Answer {
    match message.split(':').next().unwrap_or_default().trim() {
        "duplicate" | "replaced" => Answer::Acknowledged,
        "rate-limited" | "error" | "auth-required" => Answer::Later(message),
        _ => Answer::Refused(message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relays_no_is_sorted_by_its_prefix() {
        assert_eq!(judge("duplicate: have it".into()), Answer::Acknowledged);
        assert_eq!(judge("replaced: have newer event".into()), Answer::Acknowledged);
        assert_eq!(judge("rate-limited: slow down".into()), Answer::Later("rate-limited: slow down".into()));
        assert_eq!(judge("error: database".into()), Answer::Later("error: database".into()));
        assert_eq!(judge("blocked: spam".into()), Answer::Refused("blocked: spam".into()));
        assert_eq!(judge("no".into()), Answer::Refused("no".into()));
    }

    #[test]
    fn an_outcome_is_judged_by_its_quorum() {
        let outcome = |answers: &[Answer]| PublishOutcome {
            needed: 2,
            answers: answers.iter().map(|answer| ("r".into(), answer.clone())).collect(),
        };
        let (yes, later, no) = (Answer::Acknowledged, Answer::Later(String::new()), Answer::Refused(String::new()));
        assert!(outcome(&[yes.clone(), yes.clone()]).acknowledged());
        assert!(!outcome(&[yes.clone(), yes.clone()]).refused());
        let open = outcome(&[yes.clone(), later, no.clone()]);
        assert!(!open.acknowledged() && !open.refused());
        assert!(outcome(&[yes, no.clone(), no]).refused());
    }
}
