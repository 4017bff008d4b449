//! The query of a [`RunFilter`].

use sqlx::{Postgres, QueryBuilder};

use super::sql;
use crate::engine::store::RunFilter;
use crate::store::own::beyond;

/// The runs that a filter lets through, newest first.
pub(super) fn runs(filter: &RunFilter) -> QueryBuilder<Postgres> {
    let mut query = QueryBuilder::new(sql::RUNS);
    let open = filter.open || filter.stuck.is_some() || filter.status.is_some_and(|status| !status.is_final());
    query.push(" WHERE ").push(if open { sql::OPEN } else { "true" });
    if !open && !filter.names_runs() {
        query.push(" AND retired_at IS NULL");
    }
    if let Some(status) = filter.status {
        query.push(" AND status = ").push_bind(status.as_str());
    }
    for (column, value) in [("step", &filter.step), ("workflow", &filter.workflow)] {
        if let Some(value) = value {
            query.push(" AND ").push(column).push(" = ").push_bind(value.clone());
        }
    }
    if let Some(prefix) = filter.prefix.as_ref().filter(|prefix| !prefix.is_empty()) {
        query.push(" AND seq IN (");
        for (text, bound) in sql::BEGIN_SO.iter().zip([prefix.clone(), beyond(prefix)].iter().cycle()) {
            query.push(text).push_bind(bound.clone());
        }
        query.push(")");
    }
    if let Some(keys) = &filter.keys {
        query.push(" AND seq IN (").push(sql::OF_KEYS).push_bind(keys.clone()).push("))");
    }
    if let Some(since) = filter.since {
        query.push(" AND created_at >= ").push_bind(since.millis());
    }
    if let Some(late) = filter.stuck {
        query.push(" AND (error IS NOT NULL OR status = 'paused' OR owner IS NULL AND due_at < ");
        query.push_bind(late.millis()).push(")");
    }
    query.push(" ORDER BY seq DESC");
    if let Some(limit) = filter.limit {
        query.push(" LIMIT ").push_bind(i64::from(limit));
    }
    query
}
