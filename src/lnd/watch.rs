//! Following a payment until it is over.

use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::node::Node;
use super::payment;
use crate::payout::ports::Hash;

/// The longest time that one payment is followed before the caller looks for itself.
const LONGEST: Duration = Duration::from_secs(600);
/// How long a watch lasts at least that found the payment over already: whoever watches has just tracked it and was none
/// the wiser, so that it must not be asked to look again at once.
const AFTER_OVER: Duration = Duration::from_secs(1);
/// How long a watch lasts at least that found no payment to follow, or lost it.
const AFTER_FAILURE: Duration = Duration::from_secs(5);

/// What came of following a payment.
enum Followed {
    /// It was under way and came to an end.
    ToItsEnd,
    /// It was over from the start.
    Over,
    /// It is under way, for all that is known.
    Lost,
}

/// Resolves when it is worth tracking the payment again.
pub(super) async fn watch(node: Node, hash: Hash, seen: bool) {
    match timeout(LONGEST, follow(&node, hash)).await {
        Ok(Followed::ToItsEnd) | Err(_) => {}
        Ok(Followed::Over) if seen => {}
        Ok(Followed::Over) => sleep(AFTER_OVER).await,
        Ok(Followed::Lost) => sleep(AFTER_FAILURE).await,
    }
}

async fn follow(node: &Node, hash: Hash) -> Followed {
    let Ok((Some(first), mut stream)) = node.track_payment(hash).await else {
        return Followed::Lost;
    };
    if payment::is_over(&first) {
        return Followed::Over;
    }
    while let Ok(Some(next)) = stream.message().await {
        if payment::is_over(&next) {
            return Followed::ToItsEnd;
        }
    }
    Followed::Lost
}
