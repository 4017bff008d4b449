//! Data on stdout: a table for people, JSON or ids for programs.

use std::io::{self, IsTerminal, Write};

use clap::ValueEnum;
use serde_json::{Map, Value};

/// How data is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Table,
    /// One JSON document.
    Json,
    /// One JSON object on each line.
    Jsonl,
    /// Ids alone, one on each line.
    Ids,
}

/// A record that is written: its id, its cells for people, and all of it for programs.
pub struct Record {
    /// What `-o ids` writes.
    pub id: String,
    /// One for each column.
    pub cells: Vec<String>,
    /// What `-o json` writes.
    pub json: Value,
}

/// Where data goes.
pub struct Output {
    /// How.
    pub format: Format,
    sink: Box<dyn Write + Send>,
    colors: bool,
}

impl Output {
    /// To stdout, in colors if it is a terminal and nobody minds.
    pub fn stdout(format: Format) -> Self {
        let stdout = io::stdout();
        let colors = stdout.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self { format, sink: Box::new(stdout), colors }
    }

    /// To anything, without colors.
    #[cfg(test)]
    pub fn to(format: Format, sink: Box<dyn Write + Send>) -> Self {
        Self { format, sink, colors: false }
    }

    /// Writes records under these headings.
    pub fn records(&mut self, headings: &[&str], records: &[Record]) -> io::Result<()> {
        match self.format {
            Format::Table => self.table(headings, records),
            Format::Json => {
                let all: Vec<_> = records.iter().map(|record| &record.json).collect();
                self.json(&Value::from_iter(all.into_iter().cloned()))
            }
            Format::Jsonl => records.iter().try_for_each(|record| writeln!(self.sink, "{}", record.json)),
            Format::Ids => records.iter().try_for_each(|record| writeln!(self.sink, "{}", record.id)),
        }
    }

    /// Writes one thing, a field a line.
    pub fn fields(&mut self, id: &str, fields: &[(&str, String)], json: &Value) -> io::Result<()> {
        match self.format {
            Format::Table => {
                let width = fields.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
                for (name, value) in fields {
                    let name = self.bold(&format!("{name:<width$}"));
                    writeln!(self.sink, "{name}  {}", printable(value))?;
                }
                Ok(())
            }
            Format::Json => self.json(json),
            Format::Jsonl => writeln!(self.sink, "{json}"),
            Format::Ids => writeln!(self.sink, "{id}"),
        }
    }

    /// Writes a text that is for people, or `json` for programs.
    pub fn text(&mut self, id: &str, text: &str, json: &Value) -> io::Result<()> {
        match self.format {
            Format::Table => writeln!(self.sink, "{}", text.trim_end()),
            Format::Json => self.json(json),
            Format::Jsonl => writeln!(self.sink, "{json}"),
            Format::Ids => writeln!(self.sink, "{id}"),
        }
    }

    fn json(&mut self, value: &Value) -> io::Result<()> {
        writeln!(self.sink, "{value:#}")
    }

    fn table(&mut self, headings: &[&str], records: &[Record]) -> io::Result<()> {
        let widths: Vec<usize> = headings
            .iter()
            .enumerate()
            .map(|(column, heading)| {
                let cells = records.iter().filter_map(|record| record.cells.get(column));
                cells.map(|cell| printable(cell).chars().count()).chain([heading.len()]).max().unwrap_or(0)
            })
            .collect();
        let line = |cells: &mut dyn Iterator<Item = String>| {
            let padded: Vec<_> = cells.zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
            padded.join("  ").trim_end().to_owned()
        };
        let heading = line(&mut headings.iter().map(|heading| heading.to_uppercase()));
        let heading = self.bold(&heading);
        writeln!(self.sink, "{heading}")?;
        for record in records {
            writeln!(self.sink, "{}", line(&mut record.cells.iter().map(|cell| printable(cell))))?;
        }
        Ok(())
    }

    fn bold(&self, text: &str) -> String {
        if self.colors { format!("\x1b[1m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// Text of the outside can't steer the terminal.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// What a secret is shown as.
const MASK: &str = "***";

/// The value without its secrets: whatever a key calls a preimage.
pub fn masked(value: Value) -> Value {
    match value {
        Value::Object(fields) => Value::Object(
            fields
                .into_iter()
                .map(|(name, value)| {
                    let secret = name.contains("preimage") && !value.is_null();
                    let value = if secret { Value::from(MASK) } else { masked(value) };
                    (name, value)
                })
                .collect::<Map<_, _>>(),
        ),
        Value::Array(values) => values.into_iter().map(masked).collect(),
        other => other,
    }
}
