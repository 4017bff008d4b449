//! What came of it, in sats, and whether that is what was promised.

use std::time::Duration;

use mostro_core::message::Action;
use serde_json::Value;

use crate::sandbox::lnd::{Hash32, Ledger};

use super::screen::Screen;
use super::stage::BOND_SATS;

/// The longest that each latency may be on an idle machine.
const BOUND: Duration = Duration::from_millis(50);

/// A measured time. It is measured from outside, and so includes a client's part of the way.
pub struct Latency {
    /// From what to what.
    pub what: &'static str,
    /// How long that took.
    pub took: Duration,
}

/// What lnd, the database and the winner know at the end.
pub struct Evidence {
    /// lnd's.
    pub ledger: Ledger,
    /// The bond's hold invoice.
    pub bond_hash: Hash32,
    /// The escrow's hold invoice.
    pub escrow_hash: Hash32,
    /// The winner's invoice.
    pub hash: Hash32,
    /// The bond's row.
    pub row: Value,
    /// Whether the payment had not ended when the daemon was dead.
    pub in_flight_at_kill: bool,
    /// What the winner was told.
    pub told: Vec<Action>,
}

impl Evidence {
    /// Shows the sums, the latencies and the checks; whether all checks hold.
    pub fn show(&self, latencies: &[Latency], screen: Screen) -> bool {
        screen.heading("ledger, in sats");
        let (node, winner) = (self.node_sats(), self.paid_sats());
        screen.amount("bond of the slashed buyer", self.column("amount_sats"), "its hold invoice, settled");
        screen.amount("= share of the node", node, "kept");
        screen.amount("+ share of the winner", winner, "paid over Lightning");
        screen.amount("routing fee", self.fee_sats(), "paid by the node, out of its share");

        screen.heading("latency");
        for latency in latencies {
            screen.latency(latency.what, latency.took.as_millis(), BOUND.as_millis());
        }

        screen.heading("checks");
        let checks = self.checks();
        for (what, holds) in &checks {
            screen.check(*holds, what);
        }
        checks.iter().all(|(_, holds)| *holds)
    }

    fn checks(&self) -> Vec<(&'static str, bool)> {
        let granted = |calls: &[crate::sandbox::lnd::InvoiceCall], hash: Hash32| {
            calls.iter().filter(|call| call.hash == hash && call.refusal.is_none()).count()
        };
        let settles = self.ledger.settles.iter().filter(|call| call.refusal.is_none()).count();
        let once = |action| self.told.iter().filter(|told| **told == action).count() == 1;
        let bond = i64::try_from(BOND_SATS).unwrap_or(i64::MAX);
        vec![
            (
                "the bond was settled once, and nothing else was",
                settles == 1 && granted(&self.ledger.settles, self.bond_hash) == 1,
            ),
            ("the escrow went back to the seller", granted(&self.ledger.cancels, self.escrow_hash) == 1),
            ("the payment was in flight at the kill", self.in_flight_at_kill),
            ("one send of its hash, before and after the kill together", self.ledger.sends_of(self.hash).len() == 1),
            (
                "exactly one payment",
                self.ledger.times_paid(self.hash) == 1 && self.ledger.paid.values().sum::<u32>() == 1,
            ),
            ("one request for an invoice", once(Action::AddBondInvoice)),
            ("one acceptance of it", once(Action::BondInvoiceAccepted)),
            ("one bond-payout-completed", once(Action::BondPayoutCompleted)),
            ("the bond's row says slashed", self.row["state"] == "slashed"),
            (
                "the shares add up to the bond",
                self.column("amount_sats") == bond && self.node_sats() + self.paid_sats() == bond,
            ),
            ("the fee in the row is the fee that lnd took", self.column("payout_routing_fee_sats") == self.fee_sats()),
        ]
    }

    fn column(&self, name: &str) -> i64 {
        self.row[name].as_i64().unwrap_or(-1)
    }

    fn node_sats(&self) -> i64 {
        self.column("node_share_sats")
    }

    fn paid_sats(&self) -> i64 {
        i64::try_from(self.ledger.spent_msat / 1000).unwrap_or(i64::MAX)
    }

    fn fee_sats(&self) -> i64 {
        i64::try_from(self.ledger.fees_msat / 1000).unwrap_or(i64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::sandbox::lnd::{InvoiceCall, ReceivedSend};

    fn good() -> Evidence {
        let call = |byte: u8| InvoiceCall { hash: Hash32([byte; 32]), refusal: None };
        let send = ReceivedSend {
            hash: Some(Hash32([3; 32])),
            amount_msat: 500_000,
            fee_limit_msat: 10_000,
            cltv_limit: 1008,
            timeout_seconds: 60,
            caveats: Vec::new(),
            received_at: 0,
            received_ms: 0,
            outcome: Ok(1),
        };
        Evidence {
            ledger: Ledger {
                sends: vec![send],
                settles: vec![call(1)],
                cancels: vec![call(2)],
                paid: [(Hash32([3; 32]), 1)].into(),
                spent_msat: 500_000,
                fees_msat: 2_000,
                ..Ledger::default()
            },
            bond_hash: Hash32([1; 32]),
            escrow_hash: Hash32([2; 32]),
            hash: Hash32([3; 32]),
            row: json!({
                "state": "slashed", "amount_sats": 1_000, "node_share_sats": 500, "payout_routing_fee_sats": 2,
            }),
            in_flight_at_kill: true,
            told: vec![Action::AddBondInvoice, Action::BondInvoiceAccepted, Action::BondPayoutCompleted],
        }
    }

    fn failing(spoil: impl FnOnce(&mut Evidence)) -> Vec<&'static str> {
        let mut evidence = good();
        spoil(&mut evidence);
        evidence.checks().into_iter().filter(|(_, holds)| !holds).map(|(what, _)| what).collect()
    }

    #[test]
    fn what_does_not_come_true_fails() {
        assert!(failing(|_| ()).is_empty());
        let spoils: [fn(&mut Evidence); 11] = [
            |seen| seen.ledger.settles.push(seen.ledger.settles[0].clone()),
            |seen| seen.ledger.cancels.clear(),
            |seen| seen.in_flight_at_kill = false,
            |seen| seen.ledger.sends.push(seen.ledger.sends[0].clone()),
            |seen| *seen.ledger.paid.entry(seen.hash).or_default() += 1,
            |seen| seen.told.push(Action::AddBondInvoice),
            |seen| seen.told.push(Action::BondInvoiceAccepted),
            |seen| seen.told.push(Action::BondPayoutCompleted),
            |seen| seen.row["state"] = "pending-payout".into(),
            |seen| seen.row["node_share_sats"] = 499.into(),
            |seen| seen.row["payout_routing_fee_sats"] = 10.into(),
        ];
        for (number, spoil) in spoils.into_iter().enumerate() {
            assert_eq!(failing(spoil), [good().checks()[number].0]);
        }
    }
}
