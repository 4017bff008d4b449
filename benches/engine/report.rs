//! The table, for people and for programs.

use std::fmt::Write as _;
use std::path::Path;

use serde::Serialize;

/// One figure.
#[derive(Debug, Serialize)]
pub struct Figure {
    /// What was measured.
    pub row: String,
    /// On which store.
    pub store: &'static str,
    /// The figure.
    pub value: f64,
    /// Its unit.
    pub unit: &'static str,
    /// What it is to be, if anything is asked of it: `>= 40000` or `<= 3`.
    pub target: Option<String>,
    /// Whether it is.
    pub reached: Option<bool>,
}

/// What a figure is to be.
#[derive(Debug, Clone, Copy)]
pub enum Target {
    /// At least so much.
    AtLeast(f64),
    /// At most so much.
    AtMost(f64),
    /// Nothing is asked of it.
    None,
}

/// All figures so far.
#[derive(Debug, Default)]
pub struct Report {
    figures: Vec<Figure>,
}

impl Report {
    /// Adds a figure, and tells it at once: a bench takes its time.
    pub fn add(&mut self, row: impl Into<String>, store: &'static str, value: f64, unit: &'static str, target: Target) {
        let (target, reached) = match target {
            Target::AtLeast(least) => (Some(format!(">= {least}")), Some(value >= least)),
            Target::AtMost(most) => (Some(format!("<= {most}")), Some(value <= most)),
            Target::None => (None, None),
        };
        let figure = Figure { row: row.into(), store, value, unit, target, reached };
        eprintln!("{}", line(&figure));
        self.figures.push(figure);
    }

    /// Adds what a figure is in comparison with another one.
    pub fn add_ratio(&mut self, row: impl Into<String>, store: &'static str, of: &str, to: &str) {
        let value = |row: &str| {
            self.figures.iter().find(|figure| figure.row == row && figure.store == store).map(|figure| figure.value)
        };
        if let (Some(of), Some(to)) = (value(of), value(to)) {
            self.add(row, store, of / to, "x", Target::None);
        }
    }

    /// The whole table.
    pub fn table(&self) -> String {
        let mut table = format!("{:<58} {:<10} {:>12} {:<14} {:<10} \n", "ROW", "STORE", "VALUE", "UNIT", "TARGET");
        for figure in &self.figures {
            // Writing to a string can't fail.
            let _ = writeln!(table, "{}", line(figure));
        }
        table
    }

    /// Writes it for programs.
    pub fn write(&self, path: &Path) -> anyhow::Result<()> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        Ok(std::fs::write(path, serde_json::to_string_pretty(&self.figures)? + "\n")?)
    }
}

fn line(figure: &Figure) -> String {
    let Figure { row, store, value, unit, target, reached } = figure;
    let digits = match value.abs() {
        0.0 => 0,
        1000.0.. => 0,
        10.0.. => 1,
        0.1.. => 2,
        _ => 4,
    };
    let reached = match reached {
        Some(true) => "reached",
        Some(false) => "NOT REACHED",
        None => "",
    };
    let target = target.as_deref().unwrap_or("");
    format!("{row:<58} {store:<10} {value:>12.digits$} {unit:<14} {target:<10} {reached}").trim_end().to_owned()
}
