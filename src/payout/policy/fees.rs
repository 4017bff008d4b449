//! The most that a payout may cost in routing fees.

use super::millionths::Millionths;

/// What the operator is ready to pay for routing, on top of the share and never out of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FeePolicy {
    /// `max_routing_fee`: fraction of the paid amount.
    pub max_routing_fee: Millionths,
    /// `min_routing_fee_sats`: a floor, so that a small payment finds a route at all.
    pub min_routing_fee_sats: u64,
}

impl FeePolicy {
    /// `max(min_routing_fee_sats, ceil(share × max_routing_fee))`, in sats.
    ///
    /// A larger share never gets a smaller limit. The limit is always sent to lnd, where an absent one means zero.
    pub fn limit_sats(&self, share_sats: u64) -> u64 {
        self.max_routing_fee.ceil_of(share_sats).max(self.min_routing_fee_sats)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn policy(fraction: &str, min_routing_fee_sats: u64) -> FeePolicy {
        FeePolicy { max_routing_fee: fraction.parse().unwrap(), min_routing_fee_sats }
    }

    #[test]
    fn the_floor_holds_until_the_fraction_exceeds_it() {
        let defaults = policy("0.002", 10);
        for (share, limit) in [(0, 10), (1, 10), (500, 10), (5_000, 10), (5_001, 11), (5_500, 11), (5_501, 12)] {
            assert_eq!(defaults.limit_sats(share), limit, "{share}");
        }
        assert_eq!(policy("0", 0).limit_sats(1_000), 0);
        assert_eq!(policy("1", 0).limit_sats(u64::MAX), u64::MAX);
    }

    proptest! {
        #[test]
        fn monotone_in_the_share(a: u64, b: u64, millionths in 0u32..=1_000_000, min: u64) {
            let policy = FeePolicy {
                max_routing_fee: Millionths::new(millionths).unwrap(), min_routing_fee_sats: min,
            };
            prop_assert!(policy.limit_sats(a.min(b)) <= policy.limit_sats(a.max(b)));
            prop_assert!(policy.limit_sats(a) >= min);
        }
    }
}
