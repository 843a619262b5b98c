//! Which consumers a share is for: a stable hash of the rollout and of what requests are routed by.
//!
//! The routing key is the caller's, or the handle's subject where it gives none. Another rollout has another order, so
//! that it is not always the same consumers who go first.
//!
//! The core has no hash of its own; the shell hands one in.

use crate::id::RolloutId;
use crate::schedule::Point;

/// A hash of its own for cohorts.
pub trait Cohorts: std::fmt::Debug {
    /// A digest of the rollout's id and the routing key, under a label that is used for nothing else.
    fn digest(&self, rollout: &RolloutId, routing_key: &[u8]) -> [u8; 32];
}

/// Where a consumer stands in a rollout's order. The same for as long as the rollout lasts.
#[must_use]
pub fn point(rollout: &RolloutId, routing_key: &[u8], cohorts: &dyn Cohorts) -> Point {
    Point::of_digest(&cohorts.digest(rollout, routing_key))
}
