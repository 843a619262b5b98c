//! Following a log by its pages: each frame is held against the one before it and its own leaves, and each page against
//! the log's signature, before anything of it is looked at.
//!
//! **Invariant:** a [`Taken`] holds frames that go on where the page before it ended, and the log has signed the last of
//! them. Whoever carries pages can withhold them and can alter nothing.
//!
//! What is deliberately not here: the tree over all leaves, whose root each frame states. `chancery audit verify` and
//! witnesses hold that.

use std::ops::Range;

use chancery_crypto::key::PublicKey;
use chancery_log::{Hash, root_of};

use super::{LastFrame, PAGE_HEAD_BYTES, PageHead};
use crate::codec::LayoutError;
use crate::frame::{FrameView, length_at};
use crate::origin::Origin;

/// A page is not what it must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FollowError {
    /// It is none.
    #[error("the service's answer is no page of frames; is it of another version?")]
    NotAPage,
    /// The page is of another log.
    #[error("the page is of another log than the one that was asked for")]
    OtherLog,
    /// What stands at a record is no frame, or not all of one.
    #[error("the frame with record {0} is altered or cut")]
    Altered(u64),
    /// A frame does not follow the one before it.
    #[error("the frame with record {0} does not follow the one before it: one of them was altered")]
    NotNext(u64),
    /// A frame's leaves are not those of its root.
    #[error("the frame with record {0} has other records than its root says: it was altered")]
    OtherLeaves(u64),
    /// The log did not sign it.
    #[error("the log has not signed the frame with record {0}: it was altered")]
    NotSigned(u64),
}

/// Where the log was followed to.
#[derive(Clone, Copy, Debug)]
struct At {
    last: LastFrame,
    incarnation: u32,
}

/// Somebody who follows a log.
#[derive(Debug)]
pub struct Follower {
    /// The log's name.
    name: String,
    /// Its id and the key that it signs with, once a page has shown them.
    log: Option<([u8; 32], PublicKey)>,
    /// Nothing before the first frame, which may be any.
    at: Option<At>,
    /// The beginning of a frame of which no page had more yet.
    begun: Vec<u8>,
}

/// Frames that were checked.
#[derive(Debug)]
pub struct Taken {
    /// How many records of the log are durable, as the page says.
    pub size: u64,
    bytes: Vec<u8>,
    frames: Vec<Range<usize>>,
    leaves: Vec<Hash>,
}

impl Follower {
    /// Follows the log of that name from wherever its first page begins.
    #[must_use]
    pub fn new(name: String) -> Self {
        Self { name, log: None, at: None, begun: Vec::new() }
    }

    /// The log's id, once a page has shown it.
    #[must_use]
    pub fn log_id(&self) -> Option<[u8; 32]> {
        self.log.as_ref().map(|(log_id, _)| *log_id)
    }

    /// The record that comes next, if a frame was taken.
    #[must_use]
    pub fn next_index(&self) -> Option<u64> {
        self.at.map(|at| at.last.tree_size)
    }

    /// How many bytes of the next frame are there.
    #[must_use]
    pub fn begun_bytes(&self) -> usize {
        self.begun.len()
    }

    /// Takes the page that was asked for from the record at `from` on.
    ///
    /// # Errors
    ///
    /// [`FollowError`]; nothing of the page is believed then.
    pub fn take(&mut self, from: u64, page: Vec<u8>) -> Result<Taken, FollowError> {
        let head = PageHead::parse(&page).map_err(|_| FollowError::NotAPage)?;
        self.check_log(&head)?;
        let (bytes, start) = if self.begun.is_empty() {
            (page, PAGE_HEAD_BYTES)
        } else {
            let rest = page.get(PAGE_HEAD_BYTES..).unwrap_or_default();
            ([&self.begun, rest].concat(), 0)
        };
        let mut taken = Taken { size: head.size, bytes, frames: Vec::new(), leaves: Vec::new() };
        let (at, end) = self.frames(from, start, &mut taken)?;
        self.check_signed(&head, at.filter(|_| !taken.frames.is_empty()))?;
        self.begun = taken.bytes.get(end..).unwrap_or_default().to_vec();
        self.at = at;
        Ok(taken)
    }

    /// Checks frame by frame; where it came to, in the log and in the bytes.
    fn frames(
        &self,
        from: u64,
        start: usize,
        taken: &mut Taken,
    ) -> Result<(Option<At>, usize), FollowError> {
        let (mut at, mut end) = (self.at, start);
        loop {
            let rest = taken.bytes.get(end..).unwrap_or_default();
            let next = at.map_or(from, |at| at.last.tree_size);
            if rest.is_empty() || is_begun(rest) {
                return Ok((at, end));
            }
            let frame = FrameView::read(rest).map_err(|_| FollowError::Altered(next))?;
            at = Some(check(at.as_ref(), next, &frame)?);
            check_leaves(&frame, next, &mut taken.leaves)?;
            let begin = end;
            end += frame.bytes().len();
            taken.frames.push(begin..end);
        }
    }

    /// The name is made of the key, so that no other key has it.
    fn check_log(&mut self, head: &PageHead) -> Result<(), FollowError> {
        let origin = Origin::of(head.receipt_key);
        let is_known = self.log.as_ref().is_some_and(|(log_id, _)| *log_id == origin.log_id);
        if is_known {
            return Ok(());
        }
        let key = origin.verifier().ok().filter(|_| origin.name() == self.name);
        self.log = Some((origin.log_id, key.ok_or(FollowError::OtherLog)?));
        Ok(())
    }

    /// The last frame must be the one that the log has signed.
    fn check_signed(&self, head: &PageHead, at: Option<At>) -> Result<(), FollowError> {
        let Some(At { last, .. }) = at else {
            // A signature without a frame says that something was left out.
            return head.last.map_or(Ok(()), |_| Err(FollowError::NotAPage));
        };
        let not_signed = FollowError::NotSigned(last.tree_size.saturating_sub(1));
        let (named, signature) = head.last.filter(|(named, _)| *named == last).ok_or(not_signed)?;
        let (log_id, key) = self.log.as_ref().ok_or(not_signed)?;
        key.verify(&named.to_signed_bytes(log_id), &signature).map_err(|_| not_signed)
    }
}

/// Whether the bytes are the beginning of a frame that goes on in the next page.
fn is_begun(bytes: &[u8]) -> bool {
    length_at(bytes).is_some_and(|length| length > bytes.len())
}

/// Holds a frame against the one before it; the first must have the record that was asked for.
fn check(before: Option<&At>, next: u64, frame: &FrameView<'_>) -> Result<At, FollowError> {
    let facts = &frame.facts;
    let follows = match before {
        None => (facts.first_index..facts.end_index()).contains(&next),
        Some(At { last, incarnation }) => {
            facts.first_index == last.tree_size
                && Some(facts.number) == last.number.checked_add(1)
                && facts.previous_hash == last.hash
                && facts.incarnation >= *incarnation
        }
    };
    if !follows || facts.records == 0 {
        return Err(FollowError::NotNext(next));
    }
    let (number, tree_size) = (facts.number, facts.end_index());
    let last = LastFrame { number, tree_size, hash: frame.hash() };
    Ok(At { last, incarnation: facts.incarnation })
}

fn check_leaves(
    frame: &FrameView<'_>,
    next: u64,
    leaves: &mut Vec<Hash>,
) -> Result<(), FollowError> {
    let first = leaves.len();
    for item in frame.items() {
        leaves.push(item.map_err(|LayoutError| FollowError::Altered(next))?.leaf_hash());
    }
    let is_root = root_of(leaves.get(first..).unwrap_or_default()) == frame.facts.frame_root;
    is_root.then_some(()).ok_or(FollowError::OtherLeaves(next))
}

impl Taken {
    /// The frames, each with its leaves.
    pub fn frames(&self) -> impl Iterator<Item = (FrameView<'_>, &[Hash])> {
        let mut first = 0;
        self.frames.iter().filter_map(move |range| {
            let frame = FrameView::of_checked(self.bytes.get(range.clone())?).ok()?;
            let end = first + usize::try_from(frame.facts.records).ok()?;
            let leaves = self.leaves.get(first..end)?;
            first = end;
            Some((frame, leaves))
        })
    }
}

#[cfg(test)]
mod tests;
