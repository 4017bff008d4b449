//! How a slashed bond is shared between the node and the wronged counterparty.

use thiserror::Error;

use super::millionths::Millionths;

/// The node's share of a slashed bond, a fraction from 0 to 1 with at most six decimal places
/// (`slash_node_share_pct`, taken from the text of the setting).
pub type NodeShare = Millionths;

/// A slashed bond in two parts, in sats. Frozen when the slash is decided: no later change of the settings moves a sat.
///
/// Only the amount and the node's part are kept. The counterparty's part is always derived, so the two sum to the
/// amount by construction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Split {
    amount_sats: u64,
    node_sats: u64,
}

/// Why a stored split can't be trusted. There is no default to fall back on: the run stops where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SplitError {
    /// The row has no node share although the bond is slashed.
    #[error("the bond has no stored node share")]
    Missing,
    /// The stored node share is negative or above the bond.
    #[error("the stored node share of {node_sats} sats is outside 0..={amount_sats}")]
    OutOfRange {
        /// What the row says.
        node_sats: i64,
        /// The bond, in sats.
        amount_sats: u64,
    },
}

impl Split {
    /// Shares a bond that is being slashed: the node gets `floor(amount × share)`.
    pub fn new(amount_sats: u64, share: NodeShare) -> Self {
        Self { amount_sats, node_sats: share.floor_of(amount_sats) }
    }

    /// The split when both parties of an order are slashed: nobody was wronged, so the node keeps the whole bond.
    pub fn all_to_node(amount_sats: u64) -> Self {
        Self { amount_sats, node_sats: amount_sats }
    }

    /// The split as it was frozen, read back from `amount_sats` and `node_share_sats` of the bond's row.
    ///
    /// # Errors
    /// When the stored share is missing or not within the bond.
    pub fn frozen(amount_sats: u64, stored_node_share: Option<i64>) -> Result<Self, SplitError> {
        let stored = stored_node_share.ok_or(SplitError::Missing)?;
        match u64::try_from(stored) {
            Ok(node_sats) if node_sats <= amount_sats => Ok(Self { amount_sats, node_sats }),
            _ => Err(SplitError::OutOfRange { node_sats: stored, amount_sats }),
        }
    }

    /// The whole bond, in sats.
    pub fn amount_sats(self) -> u64 {
        self.amount_sats
    }

    /// What the node keeps, in sats.
    pub fn node_sats(self) -> u64 {
        self.node_sats
    }

    /// What the winner is owed, in sats. Zero means that there is no counterparty leg: nothing is asked for or paid.
    pub fn counterparty_sats(self) -> u64 {
        self.amount_sats - self.node_sats
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// All the sats that will ever be.
    const SUPPLY: u64 = 2_100_000_000_000_000;

    fn share(text: &str) -> NodeShare {
        text.parse().unwrap()
    }

    #[test]
    fn no_float_loses_a_sat() {
        for (amount, text, node) in [
            (100, "0.29", 29),
            (100, "0.57", 57),
            (1_000, "0.5", 500),
            (1_001, "0.5", 500),
            (1, "0.999999", 0),
            (SUPPLY, "0.999999", SUPPLY - 2_100_000_000),
            (1_000, "0", 0),
            (1_000, "1.0", 1_000),
            (0, "0.5", 0),
        ] {
            let split = Split::new(amount, share(text));
            assert_eq!((split.node_sats(), split.counterparty_sats()), (node, amount - node), "{amount} × {text}");
        }
        assert_eq!(Split::all_to_node(1_000).counterparty_sats(), 0);
    }

    #[test]
    fn a_stored_share_is_read_or_refused() {
        assert_eq!(Split::frozen(1_000, Some(500)), Ok(Split::new(1_000, share("0.5"))));
        assert_eq!(Split::frozen(1_000, Some(0)).map(Split::counterparty_sats), Ok(1_000));
        assert_eq!(Split::frozen(1_000, Some(1_000)), Ok(Split::all_to_node(1_000)));
        assert_eq!(Split::frozen(1_000, None), Err(SplitError::Missing));
        for stored in [-1, 1_001, i64::MIN, i64::MAX] {
            assert_eq!(
                Split::frozen(1_000, Some(stored)),
                Err(SplitError::OutOfRange { node_sats: stored, amount_sats: 1_000 })
            );
        }
    }

    /// Each of the million shares with six decimals, at the amounts where rounding shows.
    #[test]
    fn no_share_leaks_a_sat() {
        for amount in [1, 2, 999_999, 1_000_000, 1_000_001, SUPPLY - 1, SUPPLY] {
            let mut last = 0;
            for millionths in 0..=1_000_000_u32 {
                let split = Split::new(amount, NodeShare::new(millionths).unwrap());
                let (node, counterparty) = (split.node_sats(), split.counterparty_sats());
                let exact = u128::from(amount) * u128::from(millionths);
                assert!(u128::from(node) * 1_000_000 <= exact && exact < (u128::from(node) + 1) * 1_000_000);
                assert!(node + counterparty == amount && node >= last, "{amount} × {millionths}");
                last = node;
            }
            assert_eq!(last, amount);
        }
    }

    proptest! {
        #[test]
        fn no_sat_leaks(amount in 0..=SUPPLY, millionths in 0u32..=1_000_000) {
            let split = Split::new(amount, NodeShare::new(millionths).unwrap());
            prop_assert_eq!(split.node_sats() + split.counterparty_sats(), amount);
            // The node never takes more than its fraction, nor a whole sat less.
            let exact = u128::from(amount) * u128::from(millionths);
            let node = u128::from(split.node_sats()) * 1_000_000;
            prop_assert!(node <= exact && exact - node < 1_000_000);
            prop_assert_eq!(Split::frozen(amount, Some(split.node_sats() as i64)), Ok(split));
        }

        #[test]
        fn monotone_in_amount_and_share(
            amounts in (0..=SUPPLY, 0..=SUPPLY), shares in (0u32..=1_000_000, 0u32..=1_000_000),
        ) {
            let node = |amount, millionths| Split::new(amount, NodeShare::new(millionths).unwrap()).node_sats();
            let (low, high) = (amounts.0.min(amounts.1), amounts.0.max(amounts.1));
            prop_assert!(node(low, shares.0) <= node(high, shares.0));
            let (less, more) = (shares.0.min(shares.1), shares.0.max(shares.1));
            prop_assert!(node(amounts.0, less) <= node(amounts.0, more));
        }

        #[test]
        fn every_two_place_share_of_a_hundred_is_itself(percent in 0u64..=100) {
            let text = format!("{}.{:02}", percent / 100, percent % 100);
            prop_assert_eq!(Split::new(100, share(&text)).node_sats(), percent);
        }
    }
}
