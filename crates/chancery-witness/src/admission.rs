//! Who may connect: a bound on all connections, and one on those of a source.
//!
//! The bound of a source is what keeps one stranger from taking every place. Behind a proxy all are one source.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::limits::{CONNECTIONS_MAX, CONNECTIONS_OF_SOURCE_MAX};

/// Counts connections.
pub(crate) struct Admission {
    room: Arc<Semaphore>,
    by_source: Mutex<BTreeMap<u128, usize>>,
}

/// A connection that was let in; it counts until this is dropped.
pub(crate) struct Admitted {
    admission: Arc<Admission>,
    source: u128,
    _place: OwnedSemaphorePermit,
}

impl Admission {
    pub(crate) fn new() -> Arc<Self> {
        let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        Arc::new(Self { room, by_source: Mutex::default() })
    }

    /// Lets a connection in, if there is room for it.
    pub(crate) fn admit(self: &Arc<Self>, address: IpAddr) -> Option<Admitted> {
        let place = Arc::clone(&self.room).try_acquire_owned().ok()?;
        let source = source(address);
        let mut by_source = self.by_source.lock().unwrap_or_else(PoisonError::into_inner);
        let count = by_source.entry(source).or_default();
        if *count == CONNECTIONS_OF_SOURCE_MAX {
            return None;
        }
        *count += 1;
        Some(Admitted { admission: Arc::clone(self), source, _place: place })
    }

    /// Waits until none is open.
    pub(crate) async fn empty(&self) {
        let all = u32::try_from(CONNECTIONS_MAX).unwrap_or(u32::MAX);
        let _ = self.room.acquire_many(all).await;
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let by_source = self.admission.by_source.lock();
        let mut by_source = by_source.unwrap_or_else(PoisonError::into_inner);
        let Some(count) = by_source.get_mut(&self.source) else { return };
        *count -= 1;
        if *count == 0 {
            by_source.remove(&self.source);
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

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_source_has_its_share_and_all_have_the_whole() {
        let admission = Admission::new();
        let share = |address: &str, count: usize| -> Vec<_> {
            (0..count).map(|_| admission.admit(self::address(address)).unwrap()).collect()
        };
        let first = share("192.0.2.1", CONNECTIONS_OF_SOURCE_MAX);
        assert!(admission.admit(address("192.0.2.1")).is_none());
        assert!(admission.admit(address("::ffff:192.0.2.1")).is_none());
        // Being turned away takes no place.
        let sources = CONNECTIONS_MAX / CONNECTIONS_OF_SOURCE_MAX;
        let others: Vec<_> = (2..=sources)
            .map(|host| share(&format!("192.0.2.{host}"), CONNECTIONS_OF_SOURCE_MAX))
            .collect();
        assert!(admission.admit(address("198.51.100.1")).is_none());
        drop(others);
        assert!(admission.admit(address("192.0.2.1")).is_none());
        drop(first);
        assert!(admission.admit(address("192.0.2.1")).is_some());
        assert!(admission.by_source.lock().unwrap().is_empty());
    }

    #[test]
    fn the_addresses_of_one_network_are_one_source() {
        assert_eq!(source(address("2001:db8:0:1::1")), source(address("2001:db8:0:1:ffff::2")));
        assert_ne!(source(address("2001:db8:0:1::1")), source(address("2001:db8:0:2::1")));
        assert_ne!(source(address("::")), source(address("0.0.0.0")));
    }
}
