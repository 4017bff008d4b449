//! The acceptance scenarios at the ports, and further ones that lead through the rest of the
//! definitions. A scenario is a plan, and what must have come of it however often the daemon died.

use bondflow::engine::store::Row;
use serde_json::{Value, json};

use crate::ports::lnd::{Fate, Own};
use crate::ports::people::{bond_id, order_id};
use crate::ports::plan::{Answer, Command, Happening, OrderPlan, Plan, TermsPlan, Which, With};
use crate::ports::world::Ended;

const HOUR: u32 = 3_600_000;
/// When everything works at the latest, after every claim window.
const CALM: u32 = 54 * HOUR;

/// A scenario.
pub struct Scenario {
    pub name: &'static str,
    pub plan: Plan,
    /// What a bond's row has in the end: order, maker's or taker's, columns.
    pub bonds: Vec<(usize, bool, Value)>,
    /// What an order's row has in the end.
    pub orders: Vec<(usize, Value)>,
    /// What lnd has really paid in the end, sats, in any order.
    pub paid: Vec<u64>,
    /// How often the bond of the first order may have been sent for; none: as often as it likes.
    pub most_sends: Option<usize>,
}

impl Scenario {
    fn new(name: &'static str, plan: Plan) -> Self {
        // Whatever goes wrong may do so to the very end.
        let plan = Plan { calm_from: CALM, ..plan };
        Self { name, plan, bonds: vec![], orders: vec![], paid: vec![], most_sends: None }
    }

    fn bond(mut self, maker: bool, columns: Value) -> Self {
        self.bonds.push((0, maker, columns));
        self
    }

    fn order(mut self, columns: Value) -> Self {
        self.orders.push((0, columns));
        self
    }

    fn pays(mut self, sats: &[u64]) -> Self {
        self.paid = sats.to_vec();
        self
    }

    /// What is wrong with an end.
    pub fn wrong(&self, ended: &Ended) -> Vec<String> {
        let mut wrong: Vec<String> = ended.violations.iter().map(ToString::to_string).collect();
        let differs = |row: Option<&Row>, columns: &Value| -> Vec<String> {
            let found = |column: &String| row.and_then(|row| row.get(column)).cloned().unwrap_or_default();
            let columns = columns.as_object().unwrap();
            columns
                .iter()
                .filter(|(column, value)| found(column) != **value)
                .map(|(column, value)| format!("{column} is {} and not {value}", found(column)))
                .collect()
        };
        for (order, maker, columns) in &self.bonds {
            let id = bond_id(*order, *maker);
            let said = differs(ended.records.bonds.get(&id), columns);
            wrong.extend(said.into_iter().map(|text| format!("{id}: {text}")));
        }
        for (order, columns) in &self.orders {
            let id = order_id(*order);
            let said = differs(ended.records.orders.get(&id), columns);
            wrong.extend(said.into_iter().map(|text| format!("{id}: {text}")));
        }
        let mut paid: Vec<u64> = ended.ledger.paid.iter().map(|(_, sats)| *sats).collect();
        let mut expected = self.paid.clone();
        paid.sort_unstable();
        expected.sort_unstable();
        if paid != expected {
            wrong.push(format!("lnd paid {paid:?} and not {expected:?}"));
        }
        let sends = ended.ledger.sends.iter().filter(|send| send.taken.is_some()).count();
        if self.most_sends.is_some_and(|most| sends > most) {
            wrong.push(format!("lnd took {sends} sends"));
        }
        wrong
    }
}

fn one(order: OrderPlan) -> Plan {
    Plan { orders: vec![order], ..Plan::default() }
}

fn answering(answers: Vec<Answer>) -> OrderPlan {
    OrderPlan { share_answers: answers, ..OrderPlan::default() }
}

fn long(terms: TermsPlan) -> TermsPlan {
    TermsPlan { interval_secs: 6 * 3_600, ..terms }
}

fn paid() -> Value {
    json!({ "state": "slashed", "node_share_sats": 500, "payout_recipient": "seller-0", "slashed_reason": "lost-dispute" })
}

/// Ruled for the buyer, whose counterparty is slashed.
fn settled(order: OrderPlan) -> OrderPlan {
    OrderPlan { slash_seller: true, ..ruled_for_the_buyer(order) }
}

/// Ruled for the buyer, and nobody is slashed.
fn ruled_for_the_buyer(order: OrderPlan) -> OrderPlan {
    OrderPlan { settle: true, slash_seller: false, slash_buyer: false, ..order }
}

/// All of them.
pub fn scenarios() -> Vec<Scenario> {
    let released = || json!({ "state": "released", "node_share_sats": null });
    let canceled = || json!({ "status": "canceled-by-admin" });
    let default = OrderPlan::default;
    let forfeited = || json!({ "state": "forfeited", "payout_invoice": null, "payout_payment_hash": null });
    let silent = || OrderPlan { vanishes: true, ..default() };
    let failing = |times: usize| Answer::of(vec![Fate::Unroutable; times]);
    let held = |hours: u32, claims: bool| {
        let fate = if claims { Fate::HeldThenPaid } else { Fate::HeldThenGivenBack };
        Answer::of(vec![fate(hours * HOUR)])
    };
    vec![
        Scenario::new("s01", one(default())).bond(false, paid()).bond(true, released()).order(canceled()).pays(&[500]),
        Scenario::new("s02", Plan { terms: long(TermsPlan::default()), ..one(silent()) })
            .bond(false, forfeited())
            .order(canceled()),
        Scenario::new(
            "s03",
            Plan {
                terms: long(TermsPlan::default()),
                happenings: vec![(25 * HOUR, Happening::Unasked(0))],
                ..one(silent())
            },
        )
        .bond(false, forfeited()),
        Scenario::new(
            "s04",
            Plan { terms: TermsPlan { share_millionths: 1_000_000, ..TermsPlan::default() }, ..one(default()) },
        )
        .bond(
            false,
            json!({ "state": "slashed", "node_share_sats": 1_000, "payout_recipient": null, "payout_invoice": null }),
        ),
        Scenario::new(
            "s05",
            Plan {
                terms: TermsPlan { max_retries: 3, ..TermsPlan::default() },
                ..one(answering(vec![failing(3), Answer::paid()]))
            },
        )
        .bond(false, paid())
        .pays(&[500]),
        Scenario::new(
            "s05_past_the_window",
            Plan {
                terms: long(TermsPlan { max_retries: 3, ..TermsPlan::default() }),
                ..one(OrderPlan { vanishes: true, ..answering(vec![failing(3)]) })
            },
        )
        .bond(false, json!({ "state": "failed", "failed_reason": null, "payout_attempts": 3 })),
        Scenario::new(
            "s06",
            one(settled(OrderPlan { buy: true, buyer_left: Some(Answer::of(vec![Fate::Paid(900)])), ..default() })),
        )
        .bond(false, json!({ "state": "slashed", "payout_recipient": "buyer-0" }))
        .order(json!({ "status": "settled-by-admin" }))
        .pays(&[500, 99_400]),
        Scenario::new(
            "s07",
            Plan {
                happenings: vec![
                    // Late enough for a ruling that was read again after a restart.
                    (6_000, Happening::Reload(TermsPlan { share_millionths: 900_000, ..TermsPlan::default() })),
                    (6_500, Happening::Kill(500)),
                ],
                ..one(answering(vec![Answer { after: 8_000, ..Answer::paid() }]))
            },
        )
        .bond(false, paid())
        .pays(&[500]),
        Scenario::new("s08", one(OrderPlan { slash_seller: true, ..default() }))
            .bond(false, json!({ "state": "slashed", "node_share_sats": 1_000, "payout_recipient": null }))
            .bond(true, json!({ "state": "slashed", "node_share_sats": 1_000, "payout_recipient": null })),
        Scenario::new("s09", one(OrderPlan { slash_buyer: false, ..default() }))
            .bond(false, released())
            .bond(true, released()),
        Scenario::new(
            "s10",
            Plan {
                happenings: vec![(0, Happening::LndGone(60_000)), (100_000, Happening::LndLocked(60_000))],
                ..one(answering(vec![Answer { after: 30_000, ..Answer::of(vec![Fate::HeldThenPaid(40_000)]) }]))
            },
        )
        .bond(false, paid())
        .pays(&[500]),
        Scenario::new(
            "s11",
            one(answering(vec![
                Answer::with(With::Race(vec![Fate::Rejected], vec![Fate::Rejected])),
                Answer::with(With::Race(vec![], vec![])),
            ])),
        )
        .bond(false, paid())
        .pays(&[500]),
        Scenario::new(
            "s12",
            Plan {
                orders: vec![answering(vec![held(1, true)]), default()],
                happenings: vec![
                    (HOUR / 6, Happening::Kill(1_000)),
                    (HOUR / 3, Happening::Unasked(0)),
                    (HOUR / 2, Happening::LndRestarts),
                ],
                ..Plan::default()
            },
        )
        .bond(false, paid())
        .pays(&[500, 500])
        .sends(2),
        Scenario::new("s12_given_back", one(answering(vec![held(1, false), Answer::paid()])))
            .bond(false, paid())
            .pays(&[500]),
        Scenario::new(
            "given_back_after_the_window",
            Plan {
                terms: long(TermsPlan::default()),
                ..one(OrderPlan { vanishes: true, ..answering(vec![held(30, false)]) })
            },
        )
        .bond(false, json!({ "state": "failed", "failed_reason": null, "payout_attempts": 1 })),
        Scenario::new(
            "s14",
            Plan {
                terms: TermsPlan { interval_secs: 600, ..TermsPlan::default() },
                happenings: vec![(1_600, Happening::RelayGone(0, HOUR))],
                ..one(default())
            },
        )
        .bond(false, paid())
        .pays(&[500]),
        Scenario::new(
            "caps_are_full",
            Plan {
                terms: TermsPlan { max_inflight: 1, max_per_payee: Some(1), ..TermsPlan::default() },
                orders: vec![answering(vec![Answer::of(vec![Fate::Paid(3_000)])]); 3],
                ..Plan::default()
            },
        )
        .bond(false, paid())
        .pays(&[500, 500, 500]),
        Scenario::new(
            "caps_are_full_for_a_trade",
            Plan {
                terms: TermsPlan { max_inflight: 1, ..TermsPlan::default() },
                orders: vec![
                    ruled_for_the_buyer(OrderPlan {
                        buyer_left: Some(Answer::of(vec![Fate::Paid(3_000)])),
                        ..default()
                    });
                    3
                ],
                ..Plan::default()
            },
        )
        .order(json!({ "status": "settled-by-admin" }))
        .pays(&[99_400, 99_400, 99_400]),
        Scenario::new(
            "the_bond_is_lost",
            one(OrderPlan { bonds: [Some(Own::Accepted), Some(Own::Canceled)], ..default() }),
        )
        .bond(false, json!({ "state": "failed", "failed_reason": "htlc-canceled", "payout_invoice": null })),
        Scenario::new("no_escrow", one(OrderPlan { escrow: None, settle: true, ..default() }))
            .bond(false, paid())
            .order(json!({ "status": "settled-by-admin" }))
            .pays(&[500]),
        Scenario::new(
            "a_bad_invoice_after_the_other",
            one(answering(vec![
                Answer::with(With::Garbage),
                Answer::with(With::WrongAmount),
                Answer::with(With::NoPayload),
                Answer { copies: 3, ..Answer::paid() },
            ])),
        )
        .bond(false, paid())
        .pays(&[500]),
        Scenario::new(
            "lnd_is_short",
            one(answering(vec![Answer::of(vec![Fate::Short, Fate::Short, Fate::Paid(100)])])),
        )
        .bond(false, json!({ "state": "slashed", "payout_attempts": 0 }))
        .pays(&[500]),
        Scenario::new("lnd_refuses_the_sends", one(answering(vec![Answer::with(With::Odd), Answer::paid()])))
            .bond(false, paid())
            .pays(&[500]),
        Scenario::new(
            "an_invoice_expires_while_lnd_is_away",
            Plan {
                terms: TermsPlan { interval_secs: 1_800, ..TermsPlan::default() },
                happenings: vec![(1_550, Happening::LndUnsynced(2 * HOUR))],
                ..one(answering(vec![Answer::with(With::Short(3_700, vec![]))]))
            },
        )
        .bond(false, paid())
        .pays(&[500]),
        Scenario::new(
            "the_window_of_the_settings_moves",
            Plan {
                terms: long(TermsPlan::default()),
                happenings: vec![
                    (10 * HOUR, Happening::Reload(long(TermsPlan { window_days: 2, ..TermsPlan::default() }))),
                    (11 * HOUR, Happening::Operator(0, Which::TakerPayout, Command::Resume, false)),
                ],
                ..one(silent())
            },
        )
        .bond(false, forfeited()),
        Scenario::new(
            "the_buyer_is_asked",
            Plan {
                happenings: vec![(400_000, Happening::Operator(0, Which::Trade, Command::Resume, false))],
                ..one(ruled_for_the_buyer(OrderPlan {
                    trade_answers: vec![
                        Answer::with(With::Garbage),
                        Answer::with(With::Silence),
                        failing(5),
                        Answer::with(With::Odd),
                        Answer::of(vec![Fate::Short, Fate::Rejected]),
                        Answer { copies: 2, ..Answer::paid() },
                    ],
                    ..default()
                }))
            },
        )
        .order(json!({ "status": "settled-by-admin" }))
        .pays(&[99_400]),
        Scenario::new(
            "the_buyer_s_invoice_expires_while_lnd_is_away",
            Plan {
                terms: TermsPlan { interval_secs: 1_800, ..TermsPlan::default() },
                happenings: vec![(1_600, Happening::LndUnsynced(2 * HOUR))],
                ..one(ruled_for_the_buyer(OrderPlan {
                    trade_answers: vec![Answer::with(With::Short(3_700, vec![]))],
                    ..default()
                }))
            },
        )
        .order(json!({ "status": "settled-by-admin" }))
        .pays(&[99_400]),
        Scenario::new(
            "the_relay_is_away_while_the_buyer_is_asked",
            Plan {
                terms: TermsPlan { interval_secs: 600, ..TermsPlan::default() },
                happenings: vec![(1_600, Happening::RelayGone(0, HOUR))],
                ..one(ruled_for_the_buyer(OrderPlan { trade_answers: vec![Answer::with(With::Silence)], ..default() }))
            },
        )
        .order(json!({ "status": "settled-by-admin" }))
        .pays(&[99_400]),
        Scenario::new(
            "an_operator_stops_and_goes_on",
            Plan {
                happenings: vec![
                    (5_000, Happening::Operator(0, Which::TakerPayout, Command::Pause, false)),
                    (60_000, Happening::Operator(0, Which::TakerPayout, Command::Resume, false)),
                ],
                ..one(answering(vec![Answer { after: 90_000, ..Answer::paid() }]))
            },
        )
        .bond(false, paid())
        .pays(&[500]),
        Scenario::new(
            "an_old_backup_is_put_back",
            Plan {
                happenings: vec![
                    // The bond is not claimed yet.
                    (0, Happening::LndGone(3_000)),
                    (1_600, Happening::BackedUp),
                    (60_000, Happening::PutBack),
                ],
                ..one(answering(vec![Answer { after: 8_000, ..Answer::paid() }]))
            },
        )
        .bond(false, paid())
        .pays(&[500]),
        Scenario::new(
            "the_dispute_is_taken_first",
            Plan { relays: 3, ..one(OrderPlan { takes_first: true, rulings: 3, ..default() }) },
        )
        .bond(false, paid())
        .pays(&[500]),
    ]
}

impl Scenario {
    fn sends(mut self, most: usize) -> Self {
        self.most_sends = Some(most);
        self
    }
}
