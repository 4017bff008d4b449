//! Decimal fractions as they stand in the settings, kept as integers.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// One whole, in millionths.
const ONE: u32 = 1_000_000;
/// The most decimal places that a millionth can hold.
const MAX_PLACES: usize = 6;

/// A decimal fraction from 0 to 1 with at most six places, as a whole number of millionths.
///
/// It is parsed from the *text* of a TOML number, never from a float: the nearest double to 0.29 is below it, and a
/// floor of 0.29 × 100 through floats is 28, one sat short.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Millionths(u32);

/// Why a text is not a [`Millionths`].
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum FractionError {
    /// Not digits, optionally followed by a point and more digits.
    #[error("`{0}` is not a plain decimal number such as 0.5 (no sign, exponent or separator)")]
    NotDecimal(String),
    /// More places than are kept exactly.
    #[error("`{0}` has more than six decimal places")]
    TooPrecise(String),
    /// Above one.
    #[error("`{0}` is not between 0 and 1")]
    OutOfRange(String),
}

impl Millionths {
    /// Nothing.
    pub const ZERO: Self = Self(0);
    /// The whole.
    pub const ONE: Self = Self(ONE);

    /// A fraction of so many millionths, or `None` above one.
    pub const fn new(millionths: u32) -> Option<Self> {
        if millionths <= ONE { Some(Self(millionths)) } else { None }
    }

    /// The number of millionths.
    pub const fn get(self) -> u32 {
        self.0
    }

    /// `floor(amount × self)`, in the unit of the amount; never above the amount.
    pub fn floor_of(self, amount: u64) -> u64 {
        Self::narrow(u128::from(amount) * u128::from(self.0) / u128::from(ONE))
    }

    /// `ceil(amount × self)`, in the unit of the amount; never above the amount.
    pub fn ceil_of(self, amount: u64) -> u64 {
        Self::narrow((u128::from(amount) * u128::from(self.0)).div_ceil(u128::from(ONE)))
    }

    fn narrow(part: u128) -> u64 {
        u64::try_from(part).expect("a fraction of at most one keeps a u64 within u64")
    }
}

impl FromStr for Millionths {
    type Err = FractionError;

    fn from_str(text: &str) -> Result<Self, FractionError> {
        let not_decimal = || FractionError::NotDecimal(text.chars().take(32).collect());
        let (whole, places) = match text.split_once('.') {
            Some((whole, places)) if !places.is_empty() => (whole, places),
            Some(_) => return Err(not_decimal()),
            None => (text, ""),
        };
        let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
        let padded = whole.len() > 1 && whole.starts_with('0');
        if whole.is_empty() || padded || !digits(whole) || !digits(places) {
            return Err(not_decimal());
        }
        if places.len() > MAX_PLACES {
            return Err(FractionError::TooPrecise(text.chars().take(32).collect()));
        }
        let out_of_range = || FractionError::OutOfRange(text.chars().take(32).collect());
        let whole: u32 = match whole {
            "0" => 0,
            "1" => ONE,
            _ => return Err(out_of_range()),
        };
        let part = places
            .bytes()
            .chain(std::iter::repeat(b'0'))
            .take(MAX_PLACES)
            .fold(0, |sum, digit| sum * 10 + u32::from(digit - b'0'));
        Self::new(whole + part).ok_or_else(out_of_range)
    }
}

/// Canonical: no trailing zeros, no point when whole (`0.5`, `0.29`, `1`).
impl fmt::Display for Millionths {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => f.write_str("0"),
            ONE => f.write_str("1"),
            part => write!(f, "0.{}", format!("{part:06}").trim_end_matches('0')),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parsed(text: &str) -> Result<u32, FractionError> {
        text.parse::<Millionths>().map(Millionths::get)
    }

    #[test]
    fn reads_the_forms_of_a_toml_number() {
        for (text, millionths) in [
            ("0", 0),
            ("0.0", 0),
            ("0.000001", 1),
            ("0.002", 2_000),
            ("0.29", 290_000),
            ("0.500000", 500_000),
            ("0.999999", 999_999),
            ("1", ONE),
            ("1.0", ONE),
            ("1.000000", ONE),
        ] {
            assert_eq!(parsed(text), Ok(millionths), "{text}");
        }
    }

    #[test]
    fn names_what_is_wrong() {
        for text in [
            "", ".", ".5", "1.", "-0.5", "+0.5", "-0", "5e-1", "0.5_0", "0,5", " 0.5", "0.5 ", "nan", "inf", "00.5",
            "0.5.0", "٠.٥", "0x1",
        ] {
            assert!(matches!(parsed(text), Err(FractionError::NotDecimal(_))), "{text}");
        }
        for text in ["0.5000000", "0.1234567", "1.0000001"] {
            assert!(matches!(parsed(text), Err(FractionError::TooPrecise(_))), "{text}");
        }
        for text in ["1.000001", "1.5", "2", "10", "99999999999999999999"] {
            assert!(matches!(parsed(text), Err(FractionError::OutOfRange(_))), "{text}");
        }
    }

    proptest! {
        #[test]
        fn display_and_parse_are_inverse(millionths in 0..=ONE) {
            let fraction = Millionths::new(millionths).unwrap();
            prop_assert_eq!(fraction.to_string().parse(), Ok(fraction));
            prop_assert_eq!(format!("{}.{:06}", millionths / ONE, millionths % ONE).parse(), Ok(fraction));
        }

        #[test]
        fn any_text_is_read_or_refused(text in ".{0,20}") {
            let _ = parsed(&text);
        }

        #[test]
        fn floor_and_ceil_enclose_the_exact_product(amount: u64, millionths in 0..=ONE) {
            let fraction = Millionths::new(millionths).unwrap();
            let (floor, ceil) = (fraction.floor_of(amount), fraction.ceil_of(amount));
            let exact = u128::from(amount) * u128::from(millionths);
            prop_assert!(u128::from(floor) * u128::from(ONE) <= exact);
            prop_assert!(u128::from(ceil) * u128::from(ONE) >= exact);
            prop_assert!(ceil - floor <= 1 && ceil <= amount);
        }
    }
}
