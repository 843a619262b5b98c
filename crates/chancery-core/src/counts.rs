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

use crate::handle::{Handle, LinkId};
use crate::id::{HandleId, NodeId, PrincipalId};
use crate::limits::{
    COUNTED_LINKS_MAX, COUNTED_LINKS_OF_ONE_HANDLE_MAX, COUNTED_LINKS_OF_ONE_SUBJECT_MAX,
};
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
    /// When the link runs out, in milliseconds since 1970; all that is narrowed from it runs out by then.
    pub until_ms: u64,
}

/// The recorded uses of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// The link.
    pub link: LinkId,
    /// Whose handle it is.
    pub subject: PrincipalId,
    /// The handle it was narrowed from.
    pub handle: HandleId,
    /// Until when a handle with this link may live, in milliseconds since 1970.
    pub until_ms: u64,
    /// How often it was used.
    pub uses: u64,
}

#[derive(Clone, Copy, Debug)]
struct Count {
    subject: PrincipalId,
    handle: HandleId,
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
    by_handle: BTreeMap<HandleId, usize>,
}

impl Counts {
    /// The counts of the node of that name, with none so far.
    #[must_use]
    pub fn of(node: NodeId) -> Self {
        let (by_time, by_subject) = (BTreeSet::new(), BTreeMap::new());
        Self { node, links: BTreeMap::new(), by_time, by_subject, by_handle: BTreeMap::new() }
    }

    /// Takes one use of every link of `handle` that is counted, or of none.
    ///
    /// # Errors
    ///
    /// [`Reason::NotAuthorized`] if another node counts it; [`Reason::UsesExhausted`] if it was used as often
    /// as it may be; [`Reason::Overloaded`] if it may be when all that is under way is done, or if no more
    /// links can be counted.
    pub fn take(&mut self, handle: &Handle, now_ms: u64) -> Result<(), Reason> {
        if handle.bounds().is_empty() {
            return Ok(());
        }
        self.forget_before(now_ms);
        for bound in handle.bounds() {
            self.check(bound)?;
        }
        self.check_room(handle)?;
        let root = handle.root();
        for bound in handle.bounds() {
            let new = Count::new(root.subject, root.id, bound.until_ms);
            self.entry(bound.link, new).in_flight += 1;
        }
        Ok(())
    }

    /// A use that was taken came to nothing.
    pub fn give_back(&mut self, handle: &Handle) {
        for bound in handle.bounds() {
            let Some(count) = self.links.get_mut(&bound.link) else { continue };
            count.in_flight = count.in_flight.saturating_sub(1);
            if count.in_flight == 0 && count.recorded == 0 {
                // Nothing is on record of it, so there is nothing to remember.
                self.forget(bound.link);
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
        let Recorded { link, subject, handle, until_ms, uses } = recorded;
        self.entry(link, Count::new(subject, handle, until_ms)).recorded += uses;
    }

    /// What is remembered.
    pub fn recorded(&self) -> impl Iterator<Item = Recorded> {
        self.links.iter().map(|(link, count)| Recorded {
            link: *link,
            subject: count.subject,
            handle: count.handle,
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
        let Some(count) = self.links.get(&bound.link) else {
            return if bound.most > 0 { Ok(()) } else { Err(Reason::UsesExhausted) };
        };
        match count.recorded + count.in_flight {
            taken if taken < bound.most => Ok(()),
            // What is under way may still come to nothing.
            _ if count.recorded < bound.most => Err(Reason::Overloaded),
            _ => Err(Reason::UsesExhausted),
        }
    }

    fn check_room(&self, handle: &Handle) -> Result<(), Reason> {
        let new = handle.bounds().iter().filter(|bound| !self.remembers(bound.link)).count();
        let root = handle.root();
        let of_the_subject = self.by_subject.get(&root.subject).copied().unwrap_or_default();
        let of_the_handle = self.by_handle.get(&root.id).copied().unwrap_or_default();
        let is_full = self.links.len() + new > COUNTED_LINKS_MAX
            || of_the_subject + new > COUNTED_LINKS_OF_ONE_SUBJECT_MAX
            || of_the_handle + new > COUNTED_LINKS_OF_ONE_HANDLE_MAX;
        if new > 0 && is_full { Err(Reason::Overloaded) } else { Ok(()) }
    }

    fn entry(&mut self, link: LinkId, new: Count) -> &mut Count {
        self.links.entry(link).or_insert_with(|| {
            self.by_time.insert((new.until_ms, link));
            *self.by_subject.entry(new.subject).or_default() += 1;
            *self.by_handle.entry(new.handle).or_default() += 1;
            new
        })
    }

    /// Forgets what no handle has that is alive at `now_ms`, and says which. One that is in flight stays, and for
    /// the moment all that run out after it.
    pub fn forget_before(&mut self, now_ms: u64) -> Vec<LinkId> {
        let mut forgotten = Vec::new();
        while let Some(&(until_ms, link)) = self.by_time.first() {
            let is_over = until_ms < now_ms;
            let is_in_flight = self.links.get(&link).is_some_and(|count| count.in_flight > 0);
            if !is_over || is_in_flight {
                break;
            }
            self.forget(link);
            forgotten.push(link);
        }
        forgotten
    }

    fn forget(&mut self, link: LinkId) {
        let Some(count) = self.links.remove(&link) else { return };
        self.by_time.remove(&(count.until_ms, link));
        one_less(&mut self.by_subject, &count.subject);
        one_less(&mut self.by_handle, &count.handle);
    }
}

impl Count {
    fn new(subject: PrincipalId, handle: HandleId, until_ms: u64) -> Self {
        Self { subject, handle, until_ms, recorded: 0, in_flight: 0 }
    }
}

fn one_less<K: Ord>(counts: &mut BTreeMap<K, usize>, of: &K) {
    if let Some(count) = counts.get_mut(of) {
        *count -= 1;
        if *count == 0 {
            counts.remove(of);
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
        assert_eq!(counts.take(&handle, 1_000), Err(Reason::Overloaded));
        counts.give_back(&handle);
        assert_eq!(counts.take(&handle, 1_000), Ok(()));
        counts.record(handle.bounds()[0].link);
        assert_eq!(counts.take(&handle, 1_000), Err(Reason::UsesExhausted));
    }

    #[test]
    fn all_that_was_narrowed_from_a_link_counts_together_and_can_only_have_less() {
        let shared = narrowed(&minted(), &[uses(3)]);
        let one = open(&narrowed(&shared, &[uses(1)]));
        let other = open(&narrowed(&shared, &[uses(9), Caveat::Expires(1_900)]));
        let mut counts = Counts::of(NODE);
        assert_eq!(counts.take(&one, 1_000), Ok(()));
        assert_eq!(counts.take(&one, 1_000), Err(Reason::Overloaded));
        assert_eq!(counts.take(&other, 1_000), Ok(()));
        assert_eq!(counts.take(&other, 1_000), Ok(()));
        assert_eq!(counts.take(&other, 1_000), Err(Reason::Overloaded));
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
        let again = before.recorded().next().unwrap();
        after.restore(Recorded { uses: 1, ..again });
        assert_eq!(after.take(&handle, 1_200), Ok(()));
        after.record(link);
        assert_eq!(after.take(&handle, 1_200), Err(Reason::UsesExhausted));
    }

    #[test]
    fn a_link_is_forgotten_when_it_has_run_out_and_nothing_is_in_flight() {
        let handle = open(&narrowed(&minted(), &[Caveat::Expires(1_500), uses(3)]));
        let link = handle.bounds()[0].link;
        let mut counts = Counts::of(NODE);
        counts.take(&handle, 1_000).unwrap();
        counts.forget_before(1_501);
        assert!(counts.remembers(link));
        counts.record(link);
        counts.forget_before(1_500);
        assert!(counts.remembers(link));
        counts.forget_before(1_501);
        assert!(!counts.remembers(link) && counts.by_subject.is_empty());
        assert!(counts.by_handle.is_empty());
    }

    #[test]
    fn what_came_to_nothing_is_not_remembered() {
        let handle = open(&narrowed(&minted(), &[uses(3)]));
        let mut counts = Counts::of(NODE);
        counts.take(&handle, 1_000).unwrap();
        counts.give_back(&handle);
        assert!(counts.links.is_empty() && counts.by_time.is_empty());
    }

    #[test]
    fn one_subject_does_not_keep_another_from_being_counted() {
        let mut counts = Counts::of(NODE);
        fill(&mut counts, root().subject, COUNTED_LINKS_OF_ONE_SUBJECT_MAX);
        let handle = open(&narrowed(&minted(), &[uses(1)]));
        assert_eq!(counts.take(&handle, 1_000), Err(Reason::Overloaded));
        let mut other = root();
        other.subject = PrincipalId::from_bytes([6; 16]);
        let other = mint(HandleKeyId(1), &other, &Mixer).unwrap();
        assert_eq!(counts.take(&open(&narrowed(&other, &[uses(1)])), 1_000), Ok(()));
    }

    #[test]
    fn there_is_room_for_so_many_links_of_a_handle_a_subject_and_in_all() {
        let other = root().subject;
        for (subject, most) in [
            (other, COUNTED_LINKS_OF_ONE_SUBJECT_MAX),
            (PrincipalId::from_bytes([6; 16]), COUNTED_LINKS_MAX),
        ] {
            let mut counts = Counts::of(NODE);
            fill(&mut counts, subject, most - 1);
            let one = open(&narrowed(&minted(), &[uses(1)]));
            assert_eq!(counts.take(&one, 1_000), Ok(()));
            let another = open(&narrowed(&minted(), &[uses(2)]));
            assert_eq!(counts.take(&another, 1_000), Err(Reason::Overloaded));
        }
        let mut counts = Counts::of(NODE);
        for n in 0..u64::try_from(COUNTED_LINKS_OF_ONE_HANDLE_MAX).unwrap() {
            assert_eq!(counts.take(&open(&narrowed(&minted(), &[uses(n + 1)])), 1_000), Ok(()));
        }
        let next = open(&narrowed(&minted(), &[uses(u64::MAX)]));
        assert_eq!(counts.take(&next, 1_000), Err(Reason::Overloaded));
    }

    /// So many links, each of a handle of its own.
    fn fill(counts: &mut Counts, subject: PrincipalId, count: usize) {
        for n in 0..count {
            let mut id = [0; 16];
            id[..8].copy_from_slice(&n.to_be_bytes());
            let (link, handle) = (LinkId(id), HandleId::from_bytes(id));
            counts.restore(Recorded { link, subject, handle, until_ms: 2_000, uses: 1 });
        }
    }
}
