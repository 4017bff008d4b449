//! No run is forgotten, and nobody who is owed is without a run.

use crate::engine::Status;
use crate::payout::bond_payout;

use super::records::{named, text};
use super::{Found, Invariant, Records};

pub(super) fn check(records: &Records, found: &mut Found) {
    for run in &records.runs {
        let mail = records.mail.get(&run.seq);
        let asked = mail.is_some_and(|mail| mail.iter().any(|signal| signal.name.starts_with('@')));
        if run.status.is_final() {
            found.unless(run.due_at.is_none() || asked, Invariant::NothingForgotten, named(run), || {
                "it has ended, and is due".to_owned()
            });
            continue;
        }
        if run.due_at.is_some() {
            continue;
        }
        let waits_for_a_person = run.status == Status::Paused && run.owner.is_none();
        found.unless(waits_for_a_person && !asked, Invariant::NothingForgotten, named(run), || {
            let what = if asked { ", and an operator's request waits" } else { "" };
            format!("{} at {}, and never due{what}", run.status, run.step)
        });
    }
    for (id, bond) in &records.bonds {
        let owed = match text(bond, "state") {
            Some("pending-payout") => true,
            Some("failed") => text(bond, "failed_reason").is_none(),
            _ => false,
        };
        found.unless(
            !owed || records.run(bond_payout::NAME, id).is_some(),
            Invariant::NothingForgotten,
            format_args!("bonds {id}"),
            || format!("{:?}, and no run pays it", text(bond, "state")),
        );
    }
}
