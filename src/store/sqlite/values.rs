//! Statements that read their rows from bound values: for what every step writes.
//!
//! SQLite reads a bound value at a third of what a field of a JSON list costs it, but a statement's
//! text then depends on the number of rows. So there are texts for a few numbers only, each of
//! which is prepared once, and a batch is split into as few of them as make up its length.

use sqlx::{AssertSqlSafe, SqlSafeStr, SqlStr};

/// The numbers of rows that there are texts for.
const SIZES: [usize; 5] = [256, 64, 16, 4, 1];

/// One statement for any number of rows.
pub(super) struct Values([SqlStr; SIZES.len()]);

impl Values {
    /// A statement of `before`, as many times `row` as there are rows, and `after`.
    pub(super) fn new(before: &str, row: &str, after: &str) -> Self {
        Self(SIZES.map(|size| {
            let rows = vec![row; size].join(", ");
            AssertSqlSafe(std::sync::Arc::<str>::from(format!("{before}{rows}{after}"))).into_sql_str()
        }))
    }

    /// The texts to be run for these rows, each with its part of them, in their order.
    pub(super) fn split<'a, T>(&'a self, mut rows: &'a [T]) -> impl Iterator<Item = (SqlStr, &'a [T])> {
        let sized = || SIZES.iter().zip(&self.0);
        std::iter::from_fn(move || {
            let (size, text) = sized().find(|(size, _)| **size <= rows.len())?;
            let (part, rest) = rows.split_at(*size);
            rows = rest;
            Some((text.clone(), part))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_split_into_the_largest_parts() {
        let values = Values::new("(", "?", ")");
        let rows: Vec<usize> = (0..277).collect();
        let parts: Vec<_> = values.split(&rows).collect();
        assert_eq!(parts.iter().map(|(_, part)| part.len()).collect::<Vec<_>>(), [256, 16, 4, 1]);
        assert_eq!(parts.iter().flat_map(|(_, part)| *part).copied().collect::<Vec<_>>(), rows);
        assert_eq!(parts[2].0.as_str(), "(?, ?, ?, ?)");
        assert_eq!(values.split(&[0; 0]).count(), 0);
    }
}
