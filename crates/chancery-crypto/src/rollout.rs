//! What rollouts need of a hash: the order of consumers, and the digest of a plan.
//!
//! ```text
//! cohort = SHA-256(label ‖ rollout id (16) ‖ routing key)
//! plan   = SHA-256(label ‖ CBOR of the plan)
//! ```
//!
//! Neither is keyed: a consumer may know when its turn comes, every node comes to the same, and whoever checks the
//! evidence of a rollout later has no key.

use chancery_core::cbor;
use chancery_core::id::RolloutId;
use chancery_core::rollout::{Cohorts, Plan};

use crate::labels;
use crate::primitive::sha256;

/// Cohorts by SHA-256.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sha256Cohorts;

impl Cohorts for Sha256Cohorts {
    fn digest(&self, rollout: &RolloutId, routing_key: &[u8]) -> [u8; 32] {
        sha256(&[labels::COHORT, rollout.as_bytes(), routing_key])
    }
}

/// The digest of a plan, by which approvals and evidence name it.
#[must_use]
pub fn plan_digest(plan: &Plan) -> [u8; 32] {
    sha256(&[labels::ROLLOUT_PLAN, &cbor::encode(plan)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use chancery_core::rollout::{Builtin, point};
    use chancery_core::schedule::{Fraction, Point};

    const ROLLOUT: RolloutId = RolloutId::from_bytes([1; 16]);
    const OTHER: RolloutId = RolloutId::from_bytes([2; 16]);

    /// How many consumers are tried: 200 000, whose standard deviation is 224 at most.
    const CONSUMERS: u32 = 200_000;

    fn at(rollout: &RolloutId, consumer: u32) -> Point {
        point(rollout, format!("consumer-{consumer}").as_bytes(), &Sha256Cohorts)
    }

    #[test]
    fn a_share_is_as_large_as_it_says_within_the_binomial_error() {
        let points: Vec<_> = (0..CONSUMERS).map(|consumer| at(&ROLLOUT, consumer)).collect();
        for ppm in [1_000, 10_000, 50_000, 250_000, 500_000, 900_000] {
            let fraction = Fraction::from_ppm(ppm).unwrap();
            let within = points.iter().filter(|point| point.is_within(fraction)).count();
            let (n, p) = (f64::from(CONSUMERS), f64::from(ppm) / 1e6);
            let off = f64::from(u32::try_from(within).unwrap()) - n * p;
            // Four standard deviations: one in 16 000 fair hashes would be farther off.
            assert!(off.abs() < 4.0 * (n * p * (1.0 - p)).sqrt(), "{ppm}: {within}");
        }
    }

    #[test]
    fn a_share_that_grows_keeps_whom_it_has() {
        for consumer in 0..1_000 {
            let point = at(&ROLLOUT, consumer);
            let is_in = |ppm| point.is_within(Fraction::from_ppm(ppm).unwrap());
            let seen: Vec<_> = (0..=1_000_000).step_by(10_000).map(is_in).collect();
            assert!(seen.is_sorted() && !seen[0] && seen[100]);
            assert_eq!(point, at(&ROLLOUT, consumer));
        }
    }

    #[test]
    fn another_rollout_takes_others_first() {
        let tenth = Fraction::from_ppm(100_000).unwrap();
        let first = |rollout| (0..CONSUMERS).filter(move |n| at(rollout, *n).is_within(tenth));
        let both = first(&ROLLOUT).filter(|n| at(&OTHER, *n).is_within(tenth)).count();
        // A hundredth is in both if neither knows of the other: 2 000, within five deviations of 44.
        assert!((1_780..2_220).contains(&both), "{both}");
    }

    #[test]
    fn the_order_is_what_the_document_says() {
        let digest = Sha256Cohorts.digest(&ROLLOUT, b"consumer-1");
        let first = [0x29, 0x78, 0x63, 0x87, 0xe1, 0xbd, 0x45, 0x44];
        assert_eq!(digest[..8], first);
    }

    #[test]
    fn two_plans_have_two_digests() {
        let digests = Builtin::ALL.map(|builtin| plan_digest(&builtin.plan().unwrap()));
        for (position, digest) in digests.iter().enumerate() {
            assert!(!digests[..position].contains(digest));
        }
    }
}
