//! Aligned tables.

use std::fmt;

/// Spaces between columns.
const GAP: &str = "  ";

/// A table: titles, and rows of as many cells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Table {
    /// Titles, and whether the column is aligned to the right, as numbers are.
    pub(crate) columns: Vec<(&'static str, bool)>,
    /// The cells.
    pub(crate) rows: Vec<Vec<String>>,
    /// What is said instead of a table without rows.
    pub(crate) empty: &'static str,
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.rows.is_empty() {
            return writeln!(f, "{}", self.empty);
        }
        let titles: Vec<String> = self
            .columns
            .iter()
            .map(|(title, _)| (*title).into())
            .collect();
        let widths: Vec<usize> = (0..titles.len())
            .map(|column| {
                let cells = self.rows.iter().map(|row| row[column].chars().count());
                cells.max().unwrap_or(0).max(titles[column].len())
            })
            .collect();
        for row in std::iter::once(&titles).chain(&self.rows) {
            let mut line = String::new();
            for ((cell, width), (_, right)) in row.iter().zip(&widths).zip(&self.columns) {
                if *right {
                    line += &format!("{cell:>width$}{GAP}");
                } else {
                    line += &format!("{cell:<width$}{GAP}");
                }
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stand_right_and_words_left() {
        let mut table = Table {
            columns: vec![("NAME", false), ("LEAD", true)],
            rows: vec![
                vec!["core".into(), "7".into()],
                vec!["lh-one".into(), "50000".into()],
            ],
            empty: "nothing",
        };
        assert_eq!(
            table.to_string(),
            "NAME     LEAD\ncore        7\nlh-one  50000\n"
        );
        table.rows.clear();
        assert_eq!(table.to_string(), "nothing\n");
    }
}
