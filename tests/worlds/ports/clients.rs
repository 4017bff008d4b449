//! What clients say, in answer to what they hear or by themselves.

use std::collections::{BTreeMap, VecDeque};

use bondflow::payout::messages::{Incoming, Outgoing, Request, Ruling, Said, Slash};
use bondflow::payout::ports::Hash;

use super::invoices::{Draft, secret, sign};
use super::lnd::{Fate, Lnd, Payable, hash_of};
use super::people::{self, SOLVER};
use super::plan::{Answer, OrderPlan, With};
use super::time::Time;

/// For how long invoices last, unless a plan says otherwise: half a day.
const LASTS: u32 = 43_200;

/// All of them.
pub struct Clients {
    time: Time,
    lnd: Lnd,
    said: u64,
    /// How many requests each order's winner and buyer have heard.
    heard: BTreeMap<(usize, bool), usize>,
    /// Which order's share, or trade, each invoice is for.
    made: BTreeMap<Hash, (usize, bool)>,
    /// The last invoice of each.
    last: BTreeMap<(usize, bool), String>,
}

impl Clients {
    pub fn new(time: &Time, lnd: &Lnd) -> Self {
        Self {
            time: time.clone(),
            lnd: lnd.clone(),
            said: 0,
            heard: BTreeMap::new(),
            made: BTreeMap::new(),
            last: BTreeMap::new(),
        }
    }

    /// Whose request for an invoice this is, for the bond's share or the trade's sats, how many sats,
    /// and what is answered to it.
    pub fn hear(&mut self, outgoing: &Outgoing, orders: &[OrderPlan]) -> Option<(usize, bool, u64, Answer)> {
        let Outgoing::Direct { about, said, .. } = outgoing else { return None };
        let (share, sats) = match said {
            Said::BondInvoiceWanted { order, .. } => (true, order.amount_sats),
            Said::InvoiceWanted(order) => (false, order.amount_sats),
            _ => return None,
        };
        let order = people::order_of(about.as_deref()?)?;
        let plan = &orders[order];
        let nth = self.heard.entry((order, share)).or_default();
        let answers = if share { &plan.share_answers } else { &plan.trade_answers };
        let answer = answers.get(*nth).cloned();
        *nth += 1;
        Some((order, share, sats, answer.or_else(|| (!plan.vanishes).then(Answer::paid))?))
    }

    fn message(&mut self, sender: String, identity: &str, about: String, request: Request) -> Incoming {
        self.said += 1;
        Incoming {
            event: format!("event-{}", self.said),
            identity: if identity.is_empty() { sender.clone() } else { identity.to_owned() },
            sender,
            made_at: self.time.now().secs(),
            request_id: Some(self.said),
            about: Some(about),
            request,
        }
    }

    /// Which order's share, or trade, each invoice is for.
    pub fn made(&self) -> &BTreeMap<Hash, (usize, bool)> {
        &self.made
    }

    /// An invoice that the network knows, for so long: for an order's share, or for its trade.
    pub fn invoice(&mut self, (order, share): (usize, bool), sats: u64, lasts: u32, fates: &[Fate]) -> String {
        self.said += 1;
        let (preimage, created_at) = (secret(&format!("invoice {}", self.said)), self.time.now().secs());
        let payee = u8::try_from(order % 200 + 10).unwrap();
        self.made.insert(hash_of(preimage), (order, share));
        self.lnd.offer(Payable {
            preimage,
            sats: Some(sats),
            expires_at: created_at + i64::from(lasts),
            final_cltv: 80,
            own: false,
            fates: fates.iter().copied().collect(),
        });
        sign(&Draft { preimage, sats, created_at, expiry_secs: lasts, final_cltv: 80, payee })
    }

    /// What is said with an answer over so many sats.
    pub fn answer(&mut self, order: usize, plan: &OrderPlan, share: bool, sats: u64, with: &With) -> Vec<Incoming> {
        let of = (order, share);
        let texts: Vec<Option<String>> = match with {
            With::Silence => vec![],
            With::Invoice(fates) => vec![Some(self.invoice(of, sats, LASTS, fates))],
            With::Short(secs, fates) => vec![Some(self.invoice(of, sats, *secs, fates))],
            With::Race(one, other) => {
                vec![Some(self.invoice(of, sats, LASTS, one)), Some(self.invoice(of, sats, LASTS, other))]
            }
            With::Again => vec![self.last.get(&of).cloned()],
            With::WrongAmount => vec![Some(self.invoice(of, sats + 1, LASTS, &[]))],
            With::Odd => vec![Some(self.odd(of, sats))],
            With::Garbage => vec![Some("no invoice".to_owned())],
            With::NoPayload => vec![None],
        };
        if let Some(Some(last)) = texts.last() {
            self.last.insert(of, last.clone());
        }
        let sender = if share { people::winner(order, plan) } else { people::buyer(order) };
        texts
            .into_iter()
            .map(|text| {
                let request = if share { Request::BondInvoice(text) } else { Request::TradeInvoice(text) };
                self.message(sender.clone(), "", people::order_id(order), request)
            })
            .collect()
    }

    /// The node takes it for one without an amount, and so refuses a send that names none.
    fn odd(&mut self, of: (usize, bool), sats: u64) -> String {
        let text = self.invoice(of, sats, LASTS, &[]);
        let preimage = secret(&format!("invoice {}", self.said));
        let expires_at = self.time.now().secs() + i64::from(LASTS);
        let fates = VecDeque::new();
        self.lnd.offer(Payable { preimage, sats: None, expires_at, final_cltv: 80, own: false, fates });
        text
    }

    pub fn lie(&mut self, order: usize, plan: &OrderPlan, sats: u64) -> Incoming {
        let text = self.invoice((order, true), sats, LASTS, &[]);
        let request = Request::BondInvoice(Some(text));
        self.message(people::loser(order, plan), "", people::order_id(order), request)
    }

    pub fn ruling(&mut self, order: usize, plan: &OrderPlan, turned: bool) -> Incoming {
        let ruling = if plan.settle != turned { Ruling::Settle } else { Ruling::Cancel };
        let slash = Some(Slash { seller: plan.slash_seller, buyer: plan.slash_buyer });
        self.message("solver-trade-key".into(), SOLVER, people::order_id(order), Request::Rule { ruling, slash })
    }

    pub fn stranger(&mut self, order: usize) -> Incoming {
        let slash = Some(Slash { seller: true, buyer: true });
        let request = Request::Rule { ruling: Ruling::Settle, slash };
        self.message("stranger".into(), "", people::order_id(order), request)
    }

    pub fn takes(&mut self, order: usize) -> Incoming {
        self.message("solver-trade-key".into(), SOLVER, people::dispute_id(order), Request::TakeDispute)
    }
}
