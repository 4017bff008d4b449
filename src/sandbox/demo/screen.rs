//! What the demo writes: one line for each step, with the time since the start.

use std::fmt::Display;
use std::io::{IsTerminal, Write};

use tokio::time::Instant;

/// Who does what a line says.
#[derive(Debug, Clone, Copy)]
pub enum Who {
    Relay,
    Lnd,
    Mostrod,
    Workflowctl,
    Bondflowd,
    Solver,
    Winner,
    Slashed,
    Demo,
}

impl Who {
    /// The name and its color, in the terminal's codes.
    const fn shown(self) -> (&'static str, &'static str) {
        match self {
            Self::Relay => ("relay", "36"),
            Self::Lnd => ("lnd", "33"),
            Self::Mostrod => ("mostrod", "2"),
            Self::Workflowctl => ("workflowctl", "32"),
            Self::Bondflowd => ("bondflowd", "32;1"),
            Self::Solver => ("solver", "35"),
            Self::Winner => ("winner", "34;1"),
            Self::Slashed => ("slashed", "35"),
            Self::Demo => ("kill -9", "31;1"),
        }
    }
}

const BOLD: &str = "1";
const FAINT: &str = "2";
const GREEN: &str = "32;1";
const RED: &str = "31;1";
const YELLOW: &str = "33";

/// Standard output. Copies write to the same.
#[derive(Debug, Clone, Copy)]
pub struct Screen {
    begun: Instant,
    colors: bool,
}

impl Screen {
    /// Standard output, in colors if it is a terminal and `NO_COLOR` is not set.
    pub fn stdout() -> Self {
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self { begun: Instant::now(), colors: wanted && std::io::stdout().is_terminal() }
    }

    /// Something has happened.
    pub fn step(&self, who: Who, text: impl Display) {
        let ms = format!("{:>6} ms", self.begun.elapsed().as_millis());
        let (name, color) = who.shown();
        let name = format!("{name:<11}");
        self.line(format_args!("{}  {}  {text}", self.paint(FAINT, &ms), self.paint(color, &name)));
    }

    /// Begins a part.
    pub fn heading(&self, text: &str) {
        self.line("");
        self.line(self.paint(BOLD, text));
    }

    /// A sum.
    pub fn amount(&self, what: &str, sats: i64, why: &str) {
        let sats = format!("{:>8}", grouped(sats));
        self.line(format_args!("  {what:<28}{}  {}", self.paint(BOLD, &sats), self.paint(FAINT, why)));
    }

    /// A duration against its bound.
    pub fn latency(&self, what: &str, took_ms: u128, bound_ms: u128) {
        let (color, note) = if took_ms <= bound_ms {
            (GREEN, format!("at most {bound_ms} ms"))
        } else {
            (YELLOW, format!("more than {bound_ms} ms{}", load()))
        };
        let took = format!("{took_ms:>5} ms");
        self.line(format_args!("  {what:<58}{}  {}", self.paint(color, &took), self.paint(FAINT, &note)));
    }

    /// Whether something came true.
    pub fn check(&self, holds: bool, what: &str) {
        let mark = if holds { self.paint(GREEN, "PASS") } else { self.paint(RED, "FAIL") };
        self.line(format_args!("  {mark}  {what}"));
    }

    /// A line of its own.
    pub fn line(&self, text: impl Display) {
        // Who closes the output has seen enough; the demo still ends as it must.
        let _ = writeln!(std::io::stdout(), "{text}");
    }

    fn paint(&self, color: &str, text: &str) -> String {
        if self.colors { format!("\x1b[{color}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// The digits in groups of three.
pub fn grouped(number: i64) -> String {
    let digits = number.unsigned_abs().to_string();
    let mut text = if number < 0 { "-".to_owned() } else { String::new() };
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// What may excuse a slow answer: how busy the machine is, where it says so.
fn load() -> String {
    let all = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    match all.split_whitespace().next() {
        Some(load) => format!(": the bound is for an idle machine, this one has a load of {load} on {cores} cores"),
        None => ": the bound is for an idle machine".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_grouped_from_the_right() {
        for (number, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (-1_234_567, "-1,234,567")] {
            assert_eq!(grouped(number), text);
        }
    }
}
