//! Who may connect: a bound on all connections, and one on those of a source.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use crate::limits::FrontLimits;

/// Counts connections, for all runtimes.
#[derive(Debug)]
pub(crate) struct Admission {
    total: usize,
    per_source: usize,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    count: usize,
    by_source: HashMap<u128, usize>,
}

/// A connection that was let in; counts until it is dropped.
#[derive(Debug)]
pub(crate) struct Admitted {
    admission: Arc<Admission>,
    source: u128,
}

/// Why a connection was turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Full {
    /// There are as many as there may be.
    All,
    /// Its source has as many as one may have.
    Source,
}

impl Admission {
    pub(crate) fn new(limits: &FrontLimits) -> Arc<Self> {
        Arc::new(Self {
            total: limits.connections,
            per_source: limits.connections_per_source,
            open: Mutex::default(),
        })
    }

    /// Lets a connection in, if there is room.
    pub(crate) fn admit(self: &Arc<Self>, address: IpAddr) -> Result<Admitted, Full> {
        let source = source(address);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.count >= self.total {
            return Err(Full::All);
        }
        let of_source = open.by_source.entry(source).or_default();
        if *of_source >= self.per_source {
            return Err(Full::Source);
        }
        *of_source += 1;
        open.count += 1;
        Ok(Admitted { admission: Arc::clone(self), source })
    }

    /// How many are open.
    pub(crate) fn count(&self) -> usize {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).count
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let mut open = self.admission.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.count = open.count.saturating_sub(1);
        if let Some(of_source) = open.by_source.get_mut(&self.source) {
            *of_source = of_source.saturating_sub(1);
            if *of_source == 0 {
                open.by_source.remove(&self.source);
            }
        }
    }
}

/// What counts as one source: an IPv4 address, or the 64 bits of an IPv6 address that one host is given.
fn source(address: IpAddr) -> u128 {
    match address.to_canonical() {
        IpAddr::V4(address) => u128::from(address.to_bits()),
        IpAddr::V6(address) => address.to_bits() >> 64 << 64 | 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admission(total: usize, per_source: usize) -> Arc<Admission> {
        Admission::new(&FrontLimits {
            connections: total,
            connections_per_source: per_source,
            ..FrontLimits::STANDARD
        })
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn one_source_has_its_share_and_all_have_the_whole() {
        let admission = admission(3, 2);
        let one = address("192.0.2.1");
        let held = [admission.admit(one).unwrap(), admission.admit(one).unwrap()];
        assert_eq!(admission.admit(one).unwrap_err(), Full::Source);
        let other = admission.admit(address("192.0.2.2")).unwrap();
        assert_eq!(admission.admit(address("192.0.2.3")).unwrap_err(), Full::All);
        drop(other);
        drop(held);
        assert_eq!(admission.count(), 0);
        assert!(admission.open.lock().unwrap().by_source.is_empty());
    }

    #[test]
    fn the_addresses_of_one_network_are_one_source() {
        assert_eq!(source(address("2001:db8:0:1::1")), source(address("2001:db8:0:1:ffff::2")));
        assert_ne!(source(address("2001:db8:0:1::1")), source(address("2001:db8:0:2::1")));
        assert_eq!(source(address("::ffff:192.0.2.1")), source(address("192.0.2.1")));
        assert_ne!(source(address("::")), source(address("0.0.0.0")));
    }
}
