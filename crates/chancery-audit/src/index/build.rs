//! Makes a part of the index from frames.

use std::collections::BTreeMap;

use chancery_core::cbor;
use chancery_core::id::TenantId;

use super::part::{Body, Listed, Part, PartHead, Partition};
use super::{FIELDS, FramePlace, Term, Terms};
use crate::codec::LayoutError;
use crate::frame::{FrameFacts, FrameView, ItemView};
use crate::sealer::Month;
use crate::segment::BLOCK_BYTES;

/// So many bytes of frames a part covers, and a frame more: 16 MiB, which is read in some hundredths of a second where
/// there is no part yet.
pub const PART_LOG_BYTES: u64 = 16 * 1024 * 1024;

/// The terms of a field, each with a record that has it, counted from the part's first, in the order of the records.
type Lists = Vec<(Term, u64)>;

/// A part that is being made.
#[derive(Debug)]
pub struct Builder {
    head: PartHead,
    frames: Vec<u8>,
    partitions: BTreeMap<(TenantId, Month), [Lists; FIELDS]>,
}

impl Builder {
    /// Begins a part with the frame at `place`.
    #[must_use]
    pub fn new(log_id: [u8; 32], place: FramePlace) -> Self {
        let head = PartHead::new(log_id, place.segment, place.offset, place.first_index);
        Self { head, frames: Vec::new(), partitions: BTreeMap::new() }
    }

    /// What it covers so far.
    #[must_use]
    pub fn head(&self) -> &PartHead {
        &self.head
    }

    /// Whether it covers as much as a part shall.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.head.end_offset - self.head.offset >= PART_LOG_BYTES
    }

    /// Whether the frame at `place` is the one that comes next in the same segment.
    #[must_use]
    pub fn goes_on_at(&self, place: FramePlace) -> bool {
        let next = (self.head.segment, self.head.end_offset, self.head.end_index());
        next == (place.segment, place.offset, place.first_index)
    }

    /// Takes the next frame, which is `length` bytes long with its padding. `terms` says by what a record is found;
    /// one that nobody can open any more is found by nothing.
    ///
    /// # Errors
    ///
    /// [`LayoutError`] if an item is none; the part is of no more use then.
    pub fn add(
        &mut self,
        frame: &FrameView<'_>,
        length: u64,
        mut terms: impl FnMut(&ItemView<'_>) -> Option<Terms>,
    ) -> Result<(), LayoutError> {
        for item in frame.items() {
            let item = item?;
            if let Some(terms) = terms(&item) {
                self.record((item.tenant, item.month), &terms);
            }
            self.head.records += 1;
        }
        let blocks = length / u64::try_from(BLOCK_BYTES).unwrap_or(u64::MAX);
        let FrameFacts { records, unix_ms, tree_root, .. } = frame.facts;
        cbor::append(&mut self.frames, &u64::from(records));
        cbor::append(&mut self.frames, &blocks);
        self.head.end_offset += length;
        self.head.earliest_ms = self.head.earliest_ms.min(unix_ms);
        self.head.latest_ms = self.head.latest_ms.max(unix_ms);
        self.head.tree_root = tree_root;
        Ok(())
    }

    fn record(&mut self, partition: (TenantId, Month), terms: &Terms) {
        let lists = self.partitions.entry(partition).or_default();
        for (list, term) in lists.iter_mut().zip(terms) {
            if let Some(term) = term {
                list.push((*term, self.head.records));
            }
        }
    }

    /// The part, and its bytes with a body that `seal` seals.
    ///
    /// # Errors
    ///
    /// Those of `seal`.
    pub fn finish<E>(
        self,
        seal: impl FnOnce(&PartHead, &[u8]) -> Result<Vec<u8>, E>,
    ) -> Result<(Part, Vec<u8>), E> {
        let partitions = self.partitions.into_iter().map(|((tenant, month), lists)| {
            let fields = lists.into_iter().map(listed).collect();
            Partition { tenant, month, fields }
        });
        let body = Body { frames: self.frames.into(), partitions: partitions.collect() };
        Part::new(self.head, body, seal)
    }
}

fn listed(mut lists: Lists) -> Listed {
    // The sort is stable, so that the records of a term stay in their order.
    lists.sort_by_key(|(term, _)| *term);
    let (mut terms, mut encoded) = (Vec::new(), Vec::new());
    for of_one in lists.chunk_by(|(one, _), (next, _)| one == next) {
        terms.extend(of_one.first().into_iter().flat_map(|(term, _)| *term));
        let mut before = 0;
        let further =
            of_one.iter().map(|(_, record)| record - std::mem::replace(&mut before, *record));
        cbor::append(&mut encoded, &further.collect::<Vec<_>>());
    }
    Listed { terms: terms.into(), lists: encoded.into() }
}
