//! The run that an operator means.

use bondflow::engine::store::RunFilter;
use bondflow::engine::{Run, Store};

use crate::failure::Failure;

/// The shortest beginning of an id that is looked up: a shorter one is a slip.
const SHORTEST: usize = 3;

/// Most runs that an ambiguous beginning is told of.
const MOST_NAMED: u32 = 5;

/// The one run whose id, or whose bond's or order's id, begins so.
pub async fn find(store: &dyn Store, beginning: &str) -> Result<Run, Failure> {
    let beginning = beginning.trim().to_ascii_lowercase();
    if beginning.len() < SHORTEST {
        return Err(Failure::Usage(format!(
            "`{beginning}` is too short for an id, write {SHORTEST} characters or more"
        )));
    }
    let filter = RunFilter { prefix: Some(beginning.clone()), limit: Some(MOST_NAMED), ..RunFilter::default() };
    let mut runs = store.runs(&filter).await?;
    if let Some(exact) = runs.iter().position(|run| run.id.0 == beginning) {
        return Ok(runs.swap_remove(exact));
    }
    match runs.len() {
        0 => Err(Failure::NotFound(format!(
            "no run's, bond's or order's id begins with `{beginning}`: see `list --all`"
        ))),
        1 => Ok(runs.swap_remove(0)),
        _ => {
            let names: Vec<_> = runs.iter().map(|run| format!("{} ({})", run.id, run.pin.workflow)).collect();
            Err(Failure::Error(format!("`{beginning}` could be any of {}: write more of the id", names.join(", "))))
        }
    }
}
