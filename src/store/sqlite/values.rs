//! Statements that read their rows from bound values: for what every step writes.
//!
//! SQLite reads a bound value at a third of what a field of a JSON list costs it, but a statement's
//! text then depends on the number of rows. So there are texts for a few numbers only, each of
//! which is prepared once. What is bound to no value is null: a text for more rows than there are
//! leaves out those whose first column is null.

/// The numbers of rows that there are texts for.
const SIZES: [usize; 9] = [1, 2, 4, 8, 16, 32, 64, 128, 256];

/// One statement for any number of rows.
pub(super) struct Values([String; SIZES.len()]);

impl Values {
    /// A statement of `before`, as many times `row` as there are rows, and `after`.
    pub(super) fn new(before: &str, row: &str, after: &str) -> Self {
        Self(SIZES.map(|size| format!("{before}{}{after}", vec![row; size].join(", "))))
    }

    /// The texts to be run for these rows, each with its part of them, in their order.
    pub(super) fn split<'a, T>(&'a self, rows: &'a [T]) -> impl Iterator<Item = (&'a str, &'a [T])> {
        rows.chunks(SIZES[SIZES.len() - 1]).map(|part| {
            let place = SIZES.partition_point(|size| *size < part.len());
            (self.0[place].as_str(), part)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_have_the_least_text_that_holds_them() {
        let values = Values::new("(", "?", ")");
        let rows: Vec<usize> = (0..259).collect();
        let parts: Vec<_> = values.split(&rows).collect();
        assert_eq!(parts.iter().map(|(_, part)| part.len()).collect::<Vec<_>>(), [256, 3]);
        assert_eq!(parts.iter().flat_map(|(_, part)| *part).copied().collect::<Vec<_>>(), rows);
        assert_eq!(parts[1].0, "(?, ?, ?, ?)");
        assert_eq!(values.split(&[0; 1]).collect::<Vec<_>>(), [("(?)", &[0][..])]);
        assert_eq!(values.split(&[0; 0]).count(), 0);
    }
}
