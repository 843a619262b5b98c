//! Epochs: what orders authority.
//!
//! A tenant's [`Epoch`] grows with every commit that changes its authority. Epochs compare as
//! (generation, number); only a restore or a retirement of the log raises a generation. Clocks annotate and expire; they order nothing.

use minicbor::{Decode, Encode};

/// A place in a tenant's authority history.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Encode, Decode)]
#[cbor(array)]
pub struct Epoch {
    /// Raised by a restore and by a retirement of the log alone.
    #[n(0)]
    pub generation: u32,
    /// Raised by one with each authority change.
    #[n(1)]
    pub number: u64,
}

impl Epoch {
    /// The epoch after this one, in the same generation.
    #[must_use]
    pub fn next(self) -> Self {
        // 2^64 changes do not happen; saturating keeps the order total if they did.
        Self { number: self.number.saturating_add(1), ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_generation_outranks_any_number() {
        let late = Epoch { generation: 1, number: 0 };
        assert!(late > Epoch { generation: 0, number: u64::MAX });
        assert!(late.next() > late);
    }
}
