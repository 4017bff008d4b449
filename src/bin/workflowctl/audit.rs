//! `audit`

use bondflow::engine::Timestamp;
use bondflow::engine::operator::AUDIT;
use bondflow::engine::store::{Page, Row};
use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use crate::desk::Desk;
use crate::failure::Failure;
use crate::find::find;
use crate::output::{Format, Record};
use crate::when::Since;

/// Shows what operators asked of runs, who, when and why, and what came of it: the newest first.
#[derive(Args)]
#[command(after_help = "Examples:
  workflowctl audit --since 7d
  workflowctl audit 3f9a
  workflowctl audit --by alice --request cancel -o json")]
pub struct Audit {
    /// Only of this run, or of its bond or order; may be shortened.
    id: Option<String>,
    /// Only what was asked since: 90m, 12h, 3d, 2026-11-23 or 2026-11-23T09:00:00Z.
    #[arg(long, value_name = "WHEN")]
    since: Option<Since>,
    /// Only what this person asked.
    #[arg(long, value_name = "NAME")]
    by: Option<String>,
    /// Only this request: resume, pause, cancel, retry, signal, resolve.
    #[arg(long, value_name = "NAME")]
    request: Option<String>,
    /// Only with this outcome.
    #[arg(long, value_enum)]
    outcome: Option<Outcome>,
    /// At most so many, 0 for all.
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Outcome {
    Applied,
    Refused,
}

const HEADINGS: &[&str] = &["asked at", "by", "request", "run", "key", "outcome", "reason", "detail"];

/// Rows that are read at once.
const PAGE: u32 = 500;

impl Audit {
    /// Shows it.
    pub async fn run(self, desk: &mut Desk) -> Result<(), Failure> {
        let rows = match &self.id {
            Some(id) => {
                let run = find(desk.store.as_ref(), id).await?;
                let mut rows = desk.store.rows(AUDIT.name, "run", &Value::from(run.id.0)).await?;
                rows.reverse();
                rows.retain(|row| self.wants(row, desk.now()));
                rows.truncate(self.most());
                rows
            }
            None => self.pages(desk).await?,
        };
        let records: Vec<_> = rows.iter().map(record).collect();
        desk.output.records(HEADINGS, &records)?;
        if records.is_empty() && desk.output.format == Format::Table {
            desk.output.tell("nothing was asked");
        }
        Ok(())
    }

    async fn pages(&self, desk: &Desk) -> Result<Vec<Row>, Failure> {
        let since = self.since.map_or(Timestamp(0), |since| since.before(desk.now()));
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let page = Page { after, descending: true, limit: PAGE, ..Page::default() };
            let rows = desk.store.page(AUDIT.name, &page).await?;
            let last = rows.last();
            let over = rows.len() < PAGE as usize || last.is_some_and(|row| asked_at(row) < since);
            after = last.and_then(|row| row.get("id")?.as_str().map(str::to_owned));
            found.extend(rows.into_iter().filter(|row| self.wants(row, desk.now())));
            if over || found.len() >= self.most() {
                found.truncate(self.most());
                return Ok(found);
            }
        }
    }

    const fn most(&self) -> usize {
        if self.limit == 0 { usize::MAX } else { self.limit }
    }

    fn wants(&self, row: &Row, now: Timestamp) -> bool {
        let is = |column: &str, wanted: Option<&str>| wanted.is_none_or(|wanted| text(row, column) == Some(wanted));
        let outcome = self.outcome.map(|outcome| match outcome {
            Outcome::Applied => "applied",
            Outcome::Refused => "refused",
        });
        is("asked_by", self.by.as_deref())
            && is("request", self.request.as_deref())
            && is("outcome", outcome)
            && self.since.is_none_or(|since| asked_at(row) >= since.before(now))
    }
}

fn text<'a>(row: &'a Row, column: &str) -> Option<&'a str> {
    row.get(column).and_then(Value::as_str)
}

fn asked_at(row: &Row) -> Timestamp {
    Timestamp(row.get("asked_at").and_then(Value::as_i64).unwrap_or_default())
}

/// A row for programs.
pub fn json_of(row: &Row) -> Value {
    let at = |column: &str| row.get(column).and_then(Value::as_i64).map(|at| Timestamp(at).to_string());
    let arguments: Option<Value> = text(row, "arguments").and_then(|text| serde_json::from_str(text).ok());
    json!({
        "id": row.get("id"), "run": row.get("run"), "workflow": row.get("workflow"), "key": row.get("key"),
        "request": row.get("request"), "arguments": arguments, "force": row.get("forced") == Some(&json!(1)),
        "by": row.get("asked_by"), "reason": row.get("reason"), "asked_at": at("asked_at"),
        "applied_at": at("applied_at"), "outcome": row.get("outcome"), "detail": row.get("detail"),
        "step": row.get("step"), "status": row.get("status"), "revision": row.get("revision"),
    })
}

fn record(row: &Row) -> Record {
    let cell = |column: &str| text(row, column).unwrap_or("-").to_owned();
    let forced = row.get("forced") == Some(&json!(1));
    let request = format!("{}{}", cell("request"), if forced { " --force" } else { "" });
    let run = text(row, "run").unwrap_or_default();
    Record {
        id: cell("id"),
        cells: vec![
            Timestamp::from_secs(asked_at(row).secs()).to_string().replace(".000Z", "Z"),
            cell("asked_by"),
            request,
            run.chars().take(12).collect(),
            cell("key"),
            cell("outcome"),
            cell("reason"),
            cell("detail"),
        ],
        json: json_of(row),
    }
}
