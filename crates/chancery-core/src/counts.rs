//! How often a handle was used whose caveats say how often it may be.
//!
//! A caveat bounds the uses of its own link, and so of everything that was narrowed from it, together. A use
//! is *taken* under the lock in which it is permitted, *given back* if it comes to nothing, and *recorded*
//! when its record is durable. Each recorded use stands in the log under the link's name with the next index,
//! in the frame of the use itself; so the count is the same after a restart.
//!
//! **Invariant:** no more uses of a link are taken than the least of what its caveats allow. A link is
//! forgotten when no handle that has it can be alive and no use of it is in flight.

use std::collections::{BTreeMap, BTreeSet};

use crate::clock::millis;
use crate::handle::{Handle, LinkId};
use crate::id::{NodeId, PrincipalId};
use crate::limits::{COUNTED_LINKS_MAX, COUNTED_LINKS_OF_ONE_SUBJECT_MAX, HANDLE_TTL_MAX};
use crate::reason::Reason;

/// A caveat that bounds the uses of its link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    /// The link that carries it.
    pub link: LinkId,
    /// How often.
    pub most: u64,
    /// Where that is counted.
    pub node: NodeId,
}

/// The recorded uses of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// The link.
    pub link: LinkId,
    /// Whose handle it is.
    pub subject: PrincipalId,
    /// Until when a handle with this link may live, in milliseconds since 1970.
    pub until_ms: u64,
    /// How often it was used.
    pub uses: u64,
}

#[derive(Clone, Copy, Debug)]
struct Count {
    subject: PrincipalId,
    until_ms: u64,
    recorded: u64,
    in_flight: u64,
}

/// The counts that this node keeps.
#[derive(Debug)]
pub struct Counts {
    node: NodeId,
    links: BTreeMap<LinkId, Count>,
    by_time: BTreeSet<(u64, LinkId)>,
    by_subject: BTreeMap<PrincipalId, usize>,
}

impl Counts {
    /// The counts of the node of that name, with none so far.
    #[must_use]
    pub fn of(node: NodeId) -> Self {
        let (by_time, by_subject) = (BTreeSet::new(), BTreeMap::new());
        Self { node, links: BTreeMap::new(), by_time, by_subject }
    }

    /// Takes one use of every link of `handle` that is counted, or of none.
    ///
    /// # Errors
    ///
    /// [`Reason::NotAuthorized`] if another node counts it; [`Reason::UsesExhausted`] if it was used as often
    /// as it may be; [`Reason::Overloaded`] if no more links can be counted.
    pub fn take(&mut self, handle: &Handle, now_ms: u64) -> Result<(), Reason> {
        if handle.bounds().is_empty() {
            return Ok(());
        }
        self.expire(now_ms);
        for bound in handle.bounds() {
            self.check(bound)?;
        }
        self.check_room(handle)?;
        let root = handle.root();
        for bound in handle.bounds() {
            self.entry(bound.link, root.subject, root.expires_ms).in_flight += 1;
        }
        Ok(())
    }

    /// A use that was taken came to nothing.
    pub fn give_back(&mut self, handle: &Handle) {
        for bound in handle.bounds() {
            if let Some(count) = self.links.get_mut(&bound.link) {
                count.in_flight = count.in_flight.saturating_sub(1);
            }
        }
    }

    /// The record of a use that was taken is durable.
    pub fn record(&mut self, link: LinkId) {
        if let Some(count) = self.links.get_mut(&link) {
            count.in_flight = count.in_flight.saturating_sub(1);
            count.recorded += 1;
        }
    }

    /// Puts a count back that the resume file remembers.
    pub fn restore(&mut self, recorded: Recorded) {
        self.entry(recorded.link, recorded.subject, recorded.until_ms).recorded = recorded.uses;
    }

    /// Puts a use back that was read from the log, where it is dated `used_ms`.
    pub fn replay(&mut self, link: LinkId, subject: PrincipalId, used_ms: u64) {
        // When the handle runs out is not on record; it lived when it was used.
        let until_ms = used_ms.saturating_add(millis(HANDLE_TTL_MAX));
        self.entry(link, subject, until_ms).recorded += 1;
    }

    /// What is remembered.
    pub fn recorded(&self) -> impl Iterator<Item = Recorded> {
        self.links.iter().map(|(link, count)| Recorded {
            link: *link,
            subject: count.subject,
            until_ms: count.until_ms,
            uses: count.recorded,
        })
    }

    /// Whether a link is remembered.
    #[must_use]
    pub fn remembers(&self, link: LinkId) -> bool {
        self.links.contains_key(&link)
    }

    fn check(&self, bound: &Bound) -> Result<(), Reason> {
        if bound.node != self.node {
            return Err(Reason::NotAuthorized);
        }
        let taken = self.links.get(&bound.link).map_or(0, |count| count.recorded + count.in_flight);
        if taken < bound.most { Ok(()) } else { Err(Reason::UsesExhausted) }
    }

    fn check_room(&self, handle: &Handle) -> Result<(), Reason> {
        let new = handle.bounds().iter().filter(|bound| !self.remembers(bound.link)).count();
        let of_the_subject =
            self.by_subject.get(&handle.root().subject).copied().unwrap_or_default();
        let is_full = self.links.len() + new > COUNTED_LINKS_MAX
            || of_the_subject + new > COUNTED_LINKS_OF_ONE_SUBJECT_MAX;
        if new > 0 && is_full { Err(Reason::Overloaded) } else { Ok(()) }
    }

    fn entry(&mut self, link: LinkId, subject: PrincipalId, until_ms: u64) -> &mut Count {
        self.links.entry(link).or_insert_with(|| {
            self.by_time.insert((until_ms, link));
            *self.by_subject.entry(subject).or_default() += 1;
            Count { subject, until_ms, recorded: 0, in_flight: 0 }
        })
    }

    /// Forgets what no living handle has. One that is in flight stays, and all behind it for the moment.
    fn expire(&mut self, now_ms: u64) {
        while let Some(&(until_ms, link)) = self.by_time.first() {
            let is_over = until_ms < now_ms;
            let is_in_flight = self.links.get(&link).is_some_and(|count| count.in_flight > 0);
            if !is_over || is_in_flight {
                return;
            }
            self.by_time.pop_first();
            if let Some(count) = self.links.remove(&link) {
                self.forget_of(count.subject);
            }
        }
    }

    fn forget_of(&mut self, subject: PrincipalId) {
        let count = self.by_subject.entry(subject).or_default();
        *count = count.saturating_sub(1);
        if *count == 0 {
            self.by_subject.remove(&subject);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handle::tests::{Mixer, root};
    use crate::handle::{Caveat, HandleKeyId, mint, narrow};

    const NODE: NodeId = NodeId::from_bytes([4; 16]);

    fn uses(most: u64) -> Caveat {
        Caveat::Uses { most, node: NODE }
    }

    fn narrowed(bytes: &[u8], caveats: &[Caveat]) -> Vec<u8> {
        narrow(bytes, caveats, &Mixer).unwrap()
    }

    fn minted() -> Vec<u8> {
        mint(HandleKeyId(1), &root(), &Mixer).unwrap()
    }

    fn open(bytes: &[u8]) -> Handle {
        Handle::open(bytes, &Mixer).unwrap()
    }

    #[test]
    fn a_handle_is_used_as_often_as_it_says() {
        let handle = open(&narrowed(&minted(), &[uses(2)]));
        let mut counts = Counts::of(NODE);
        assert_eq!(counts.take(&handle, 1_000), Ok(()));
        counts.record(handle.bounds()[0].link);
        assert_eq!(counts.take(&handle, 1_000), Ok(()));
        assert_eq!(counts.take(&handle, 1_000), Err(Reason::UsesExhausted));
        counts.give_back(&handle);
        assert_eq!(counts.take(&handle, 1_000), Ok(()));
        assert_eq!(counts.take(&handle, 1_000), Err(Reason::UsesExhausted));
    }

    #[test]
    fn all_that_was_narrowed_from_a_link_counts_together_and_can_only_have_less() {
        let shared = narrowed(&minted(), &[uses(3)]);
        let one = open(&narrowed(&shared, &[uses(1)]));
        let other = open(&narrowed(&shared, &[uses(9), Caveat::Expires(1_900)]));
        let mut counts = Counts::of(NODE);
        assert_eq!(counts.take(&one, 1_000), Ok(()));
        assert_eq!(counts.take(&one, 1_000), Err(Reason::UsesExhausted));
        assert_eq!(counts.take(&other, 1_000), Ok(()));
        assert_eq!(counts.take(&other, 1_000), Ok(()));
        assert_eq!(counts.take(&other, 1_000), Err(Reason::UsesExhausted));
        // What was refused took nothing of any link.
        assert_eq!(counts.links.values().map(|count| count.in_flight).sum::<u64>(), 3 + 1 + 2);
    }

    #[test]
    fn a_handle_that_another_node_counts_is_no_good_here() {
        let handle = open(&narrowed(&minted(), &[uses(2)]));
        let mut counts = Counts::of(NodeId::from_bytes([5; 16]));
        assert_eq!(counts.take(&handle, 1_000), Err(Reason::NotAuthorized));
    }

    #[test]
    fn counts_are_the_same_after_a_restart() {
        let handle = open(&narrowed(&minted(), &[uses(3)]));
        let link = handle.bounds()[0].link;
        let mut before = Counts::of(NODE);
        before.take(&handle, 1_000).unwrap();
        before.record(link);
        before.take(&handle, 1_000).unwrap();
        let mut after = Counts::of(NODE);
        before.recorded().for_each(|recorded| after.restore(recorded));
        after.replay(link, root().subject, 1_100);
        assert_eq!(after.take(&handle, 1_200), Ok(()));
        assert_eq!(after.take(&handle, 1_200), Err(Reason::UsesExhausted));
    }

    #[test]
    fn a_link_is_forgotten_when_its_handle_has_run_out_and_nothing_is_in_flight() {
        let handle = open(&narrowed(&minted(), &[uses(3)]));
        let link = handle.bounds()[0].link;
        let mut counts = Counts::of(NODE);
        counts.take(&handle, 1_000).unwrap();
        let until_ms = root().expires_ms;
        counts.expire(until_ms + 1);
        assert!(counts.remembers(link));
        counts.record(link);
        counts.expire(until_ms);
        assert!(counts.remembers(link));
        counts.expire(until_ms + 1);
        assert!(!counts.remembers(link) && counts.by_subject.is_empty());
    }

    #[test]
    fn one_subject_does_not_keep_another_from_being_counted() {
        let mut counts = Counts::of(NODE);
        for n in 0..COUNTED_LINKS_OF_ONE_SUBJECT_MAX {
            let mut link = [0; 16];
            link[..8].copy_from_slice(&n.to_be_bytes());
            counts.replay(LinkId(link), root().subject, 1_000);
        }
        let handle = open(&narrowed(&minted(), &[uses(1)]));
        assert_eq!(counts.take(&handle, 1_000), Err(Reason::Overloaded));
        let mut other = root();
        other.subject = PrincipalId::from_bytes([6; 16]);
        let other = mint(HandleKeyId(1), &other, &Mixer).unwrap();
        assert_eq!(counts.take(&open(&narrowed(&other, &[uses(1)])), 1_000), Ok(()));
    }
}
