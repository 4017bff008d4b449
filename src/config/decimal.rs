//! A decimal fraction of at most six places, read from the text of the settings and never from a float.

use std::fmt;
use std::str::FromStr;

use serde::de::{Deserializer, Error, Visitor};

/// A non-negative decimal with at most six places, held as a count of millionths.
///
/// A share of a bond decides sats, so 0.29 has to be exactly 0.29: the value is taken from the TOML
/// token. `0.29` and `0.290000` are equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Decimal6 {
    millionths: u64,
}

impl Decimal6 {
    /// The number 1.
    pub const ONE: Self = Self::from_millionths(1_000_000);

    /// The name under which a settings value is asked for the text of its number.
    pub(super) const TOKEN: &'static str = "Decimal6";

    /// `millionths` / 1 000 000.
    pub const fn from_millionths(millionths: u64) -> Self {
        Self { millionths }
    }

    /// The value times 1 000 000.
    pub const fn millionths(self) -> u64 {
        self.millionths
    }
}

impl FromStr for Decimal6 {
    type Err = DecimalError;

    fn from_str(text: &str) -> Result<Self, DecimalError> {
        let unsigned = text.strip_prefix('+').unwrap_or(text);
        let (negative, unsigned) = match unsigned.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, unsigned),
        };
        let (whole, places) = match unsigned.split_once('.') {
            Some((_, "")) => return Err(DecimalError::Malformed),
            Some((whole, places)) => (whole, places),
            None => (unsigned, ""),
        };
        let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || !digits(whole) || !digits(places) {
            return Err(DecimalError::Malformed);
        }
        if places.len() > 6 {
            return Err(DecimalError::TooManyPlaces);
        }
        // Only digits are left, so the one way to fail is a number too large for u64.
        let millionths = format!("{whole}{places:0<6}").parse::<u64>().map_err(|_| DecimalError::TooLarge)?;
        if negative && millionths > 0 {
            return Err(DecimalError::Negative);
        }
        Ok(Self { millionths })
    }
}

impl fmt::Display for Decimal6 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, places) = (self.millionths / 1_000_000, self.millionths % 1_000_000);
        let places = format!("{places:06}");
        match places.trim_end_matches('0') {
            "" => write!(f, "{whole}"),
            places => write!(f, "{whole}.{places}"),
        }
    }
}

/// Why a text is no [`Decimal6`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecimalError {
    /// Not digits with at most one point between them; an exponent is refused too.
    #[error("is not a plain decimal like 0.25")]
    Malformed,
    /// More than six digits after the point, even if the last ones are zero.
    #[error("has more than six decimal places")]
    TooManyPlaces,
    /// Below zero.
    #[error("is below zero")]
    Negative,
    /// More than 18 446 744 073 709 (u64 millionths).
    #[error("is too large")]
    TooLarge,
}

/// A fraction of a whole: a decimal from 0 to 1, both included.
pub(super) fn fraction<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Decimal6, D::Error> {
    deserializer.deserialize_newtype_struct(Decimal6::TOKEN, FractionVisitor)
}

struct FractionVisitor;

impl Visitor<'_> for FractionVisitor {
    type Value = Decimal6;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a decimal")
    }

    fn visit_str<E: Error>(self, token: &str) -> Result<Decimal6, E> {
        match token.parse() {
            Ok(value) if value <= Decimal6::ONE => Ok(value),
            Ok(_) | Err(DecimalError::Negative | DecimalError::TooLarge) => {
                Err(E::custom(format_args!("{token} is out of range, allowed 0 to 1")))
            }
            Err(problem) => Err(E::custom(format_args!("{token} {problem}"))),
        }
    }
}
