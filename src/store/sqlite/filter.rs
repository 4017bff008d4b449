//! The query of a [`RunFilter`]: each way of asking is led to an index that has little more than what
//! is asked for, so that an answer does not grow with the runs that have ended.

use sqlx::{QueryBuilder, Sqlite};

use super::sql;
use crate::engine::Status;
use crate::engine::store::RunFilter;
use crate::store::group::json;
use crate::store::own::beyond;

/// The runs that a filter lets through, newest first.
pub(super) fn runs(filter: &RunFilter) -> QueryBuilder<Sqlite> {
    let mut query = QueryBuilder::new(sql::RUNS);
    let named = filter.names_runs();
    let open = filter.open || filter.stuck.is_some() || filter.status.is_some_and(|status| !status.is_final());
    let troubled = matches!(filter.status, Some(Status::Paused | Status::InDoubt));
    if named || filter.stuck.is_some() {
        query.push(" WHERE ").push(if open { sql::OPEN } else { "true" });
    } else if troubled {
        query.push(" INDEXED BY runs_troubled WHERE ").push(sql::TROUBLED);
    } else if open {
        // Only numbers are sorted, never rows, and no more rows are read than are wanted.
        query.push(" WHERE seq IN (SELECT seq FROM runs INDEXED BY runs_open WHERE ").push(sql::OPEN);
        alike(&mut query, filter);
        limited(&mut query, filter);
        query.push(")");
    } else {
        query.push(" WHERE retired_at IS NULL");
    }
    alike(&mut query, filter);
    if let Some(prefix) = filter.prefix.as_ref().filter(|prefix| !prefix.is_empty()) {
        query.push(" AND seq IN (");
        for (text, bound) in sql::BEGIN_SO.iter().zip([prefix.clone(), beyond(prefix)].iter().cycle()) {
            query.push(text).push_bind(bound.clone());
        }
        query.push(")");
    }
    if let Some(keys) = &filter.keys {
        query.push(" AND seq IN (").push(sql::OF_KEYS).push_bind(json(keys)).push(")))");
    }
    if let Some(late) = filter.stuck {
        query.push(" AND seq IN (SELECT seq FROM runs INDEXED BY runs_troubled WHERE ").push(sql::TROUBLED);
        query.push(" AND (error IS NOT NULL OR status = 'paused')");
        query.push(" UNION SELECT seq FROM runs INDEXED BY runs_due WHERE owner IS NULL AND due_at < ");
        query.push_bind(late.millis()).push(")");
    }
    limited(&mut query, filter);
    query
}

/// What a run's own row tells.
fn alike(query: &mut QueryBuilder<Sqlite>, filter: &RunFilter) {
    if let Some(status) = filter.status {
        query.push(" AND status = ").push_bind(status.as_str());
    }
    if let Some(since) = filter.since {
        query.push(" AND created_at >= ").push_bind(since.millis());
    }
    for (column, value) in [("step", &filter.step), ("workflow", &filter.workflow)] {
        if let Some(value) = value {
            query.push(" AND ").push(column).push(" = ").push_bind(value.clone());
        }
    }
}

fn limited(query: &mut QueryBuilder<Sqlite>, filter: &RunFilter) {
    query.push(" ORDER BY seq DESC");
    if let Some(limit) = filter.limit {
        query.push(" LIMIT ").push_bind(limit);
    }
}
