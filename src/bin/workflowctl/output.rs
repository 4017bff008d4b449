//! Data on stdout: a table for people, JSON or ids for programs. Everything else goes to stderr.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::sync::{Mutex, PoisonError};

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
    aside: Mutex<Box<dyn Write + Send>>,
    colors: bool,
    /// How many characters a line of a table may have; none: as many as it needs.
    width: Option<usize>,
    terminal: bool,
    /// Those of the columns of the table that was written last.
    widths: Vec<usize>,
}

impl Output {
    /// To stdout, in colors if it is a terminal and nobody minds.
    pub fn stdout(format: Format) -> Self {
        let stdout = io::stdout();
        let terminal = stdout.is_terminal();
        let colors = terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        // A pipe gets all of it, unless somebody says how wide it is.
        let columns = std::env::var("COLUMNS").ok().and_then(|text| text.parse().ok());
        let seen = terminal_size::terminal_size_of(&stdout).map(|(width, _)| usize::from(width.0));
        let width = columns.or(seen.filter(|_| terminal)).filter(|width| *width > 0);
        let aside = Mutex::new(Box::new(io::stderr()) as Box<dyn Write + Send>);
        Self { format, sink: Box::new(stdout), aside, colors, width, terminal, widths: Vec::new() }
    }

    /// Takes what is on the terminal away, for what is shown again and again.
    pub fn clear(&mut self) -> io::Result<()> {
        if self.terminal && self.format == Format::Table {
            write!(self.sink, "\x1b[2J\x1b[H")?;
        }
        self.sink.flush()
    }

    /// To anything, without colors.
    #[cfg(test)]
    pub fn to(format: Format, sink: Box<dyn Write + Send>, aside: Box<dyn Write + Send>) -> Self {
        Self { format, sink, aside: Mutex::new(aside), colors: false, width: None, terminal: false, widths: Vec::new() }
    }

    /// Tells the operator a line that is no data.
    pub fn tell(&self, text: impl Display) {
        self.say(format_args!("{text}\n"));
    }

    /// The same without an end of the line: an answer is to follow on it.
    pub fn ask(&self, text: impl Display) {
        self.say(text);
    }

    fn say(&self, text: impl Display) {
        let mut aside = self.aside.lock().unwrap_or_else(PoisonError::into_inner);
        // Nobody can be told that nobody can be told.
        let _ = write!(aside, "{text}").and_then(|()| aside.flush());
    }

    /// Writes records under these headings.
    pub fn records(&mut self, headings: &[&str], records: &[Record]) -> io::Result<()> {
        match self.format {
            Format::Table => self.lines(headings, records, true),
            Format::Json => {
                let all: Vec<_> = records.iter().map(|record| &record.json).collect();
                self.json(&Value::from_iter(all.into_iter().cloned()))
            }
            Format::Jsonl => records.iter().try_for_each(|record| writeln!(self.sink, "{}", record.json)),
            Format::Ids => records.iter().try_for_each(|record| writeln!(self.sink, "{}", record.id)),
        }
    }

    /// Writes further records of what began with [`Output::records`].
    pub fn more(&mut self, headings: &[&str], records: &[Record]) -> io::Result<()> {
        match self.format {
            Format::Table => self.lines(headings, records, false),
            _ if records.is_empty() => Ok(()),
            _ => self.records(headings, records),
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
            Format::Ids if id.is_empty() => Ok(()),
            Format::Ids => writeln!(self.sink, "{id}"),
        }
    }

    fn json(&mut self, value: &Value) -> io::Result<()> {
        writeln!(self.sink, "{value:#}")
    }

    /// The lines of a table, each column as wide as its widest cell or heading.
    fn lines(&mut self, headings: &[&str], records: &[Record], headed: bool) -> io::Result<()> {
        let mut widths: Vec<usize> = headings
            .iter()
            .enumerate()
            .map(|(column, heading)| {
                let cells = records.iter().filter_map(|record| record.cells.get(column));
                cells.map(|cell| printable(cell).chars().count()).chain([heading.len()]).max().unwrap_or(0)
            })
            .collect();
        if !headed {
            // Under what was written before.
            widths.iter_mut().zip(&self.widths).for_each(|(width, before)| *width = (*width).max(*before));
        }
        if let Some(width) = self.width {
            fit(&mut widths, headings, width);
        }
        let line = |cells: &mut dyn Iterator<Item = String>| {
            let cut = cells.zip(&widths).map(|(cell, width)| (cut(&cell, *width), width));
            let padded: Vec<_> = cut.map(|(cell, width)| format!("{cell:<width$}")).collect();
            padded.join("  ").trim_end().to_owned()
        };
        if headed {
            let heading = line(&mut headings.iter().map(|heading| heading.to_uppercase()));
            let heading = self.bold(&heading);
            writeln!(self.sink, "{heading}")?;
        }
        for record in records {
            writeln!(self.sink, "{}", line(&mut record.cells.iter().map(|cell| printable(cell))))?;
        }
        self.widths = widths;
        Ok(())
    }

    fn bold(&self, text: &str) -> String {
        if self.colors { format!("\x1b[1m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// Characters between two columns.
const GAP: usize = 2;
/// A column is not cut to less than this, nor than its heading.
const NARROWEST: usize = 8;

/// Narrows the widest columns, as far as they can be, until a line fits.
fn fit(widths: &mut [usize], headings: &[&str], width: usize) {
    let least = |place: usize| headings.get(place).map_or(0, |heading| heading.len()).max(NARROWEST);
    while widths.iter().sum::<usize>() + GAP * widths.len().saturating_sub(1) > width {
        let widest =
            (0..widths.len()).filter(|place| widths[*place] > least(*place)).max_by_key(|place| widths[*place]);
        match widest {
            Some(place) => widths[place] -= 1,
            None => return,
        }
    }
}

/// A text in so many characters; an ellipsis stands for what is cut off.
fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(width.saturating_sub(1)).collect();
    short.push('…');
    short
}

/// Text of the outside can't steer the terminal.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// What a secret is shown as.
const MASK: &str = "***";

/// Fields whose names have one of these words hold secrets: what proves or makes a payment, opens lnd, or signs.
const SECRETS: [&str; 5] = ["preimage", "evidence", "macaroon", "nsec", "privkey"];

/// The value without its secrets.
pub fn masked(value: Value) -> Value {
    match value {
        Value::Object(fields) => Value::Object(
            fields
                .into_iter()
                .map(|(name, value)| {
                    let secret = SECRETS.iter().any(|word| name.contains(word)) && !value.is_null();
                    let value = if secret { Value::from(MASK) } else { masked(value) };
                    (name, value)
                })
                .collect::<Map<_, _>>(),
        ),
        Value::Array(values) => values.into_iter().map(masked).collect(),
        other => other,
    }
}
