//! The thread that makes the parts of the index, from frames that are durable.
//!
//! It reads them back as the checkpoints do, and holds up nobody: whatever it has not come to yet is a gap, which
//! queries read for themselves.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chancery_audit::codec::LayoutError;
use chancery_audit::frame::{FrameView, ItemView};
use chancery_audit::frames::FrameReader;
use chancery_audit::index::{Builder, FramePlace, Terms};
use chancery_audit::sealer::{FewTerms, Month, MonthKeys};
use chancery_core::id::TenantId;

use crate::config::IndexWish;
use crate::counters::lock;
use crate::index::{Gap, Index, IndexError};
use crate::prunes;
use crate::service::Shared;

/// How often it is looked for new frames.
const ROUND: Duration = Duration::from_secs(1);

/// The most keys that are kept at hand; when there are more, all are forgotten.
const KEYS_MAX: usize = 256;

/// A part under way: the gap that it fills, and how far it has come.
struct Work {
    gap: Gap,
    reader: FrameReader,
    builder: Option<Builder>,
}

/// What makes the parts.
struct Indexer {
    shared: Arc<Shared>,
    work: Option<Work>,
    openers: Openers,
}

/// Starts the thread, if there is to be an index.
pub(crate) fn start(shared: &Arc<Shared>) {
    if shared.index_wish == IndexWish::Off {
        return;
    }
    let openers = Openers { shared: Arc::clone(shared), known: BTreeMap::new() };
    let mut indexer = Indexer { shared: Arc::clone(shared), work: None, openers };
    std::thread::spawn(move || {
        // For who looks at the process; without it nothing is wrong.
        let _ = rustix::thread::set_name(c"index");
        let mut is_failing = false;
        loop {
            std::thread::sleep(ROUND);
            let done = indexer.round();
            if let Err(error) = &done {
                indexer.work = None;
                if !is_failing {
                    eprintln!("chancery signer: the index does not go on: {error}");
                }
            }
            is_failing = done.is_err();
        }
    });
}

impl Indexer {
    /// Takes what is durable by now.
    fn round(&mut self) -> Result<(), IndexError> {
        let size = lock(&self.shared.progress).size;
        let disk = Arc::clone(&self.shared.disk);
        loop {
            let first = prunes::first_index(lock(&self.shared.pruned).as_ref());
            let gap = self.shared.index.first_gap(first);
            // A part may have been taken out meanwhile, and what lies behind it waits.
            let mut work = match self.work.take().filter(|work| work.gap == gap) {
                Some(work) => work,
                None => Work { gap, reader: gap.reader(&*disk)?, builder: None },
            };
            let next = work.reader.next_index();
            if gap.end_index == Some(next) {
                self.put(work)?;
                continue;
            }
            if next >= size {
                self.work = Some(work);
                return Ok(());
            }
            let (index, openers) = (&self.shared.index, &mut self.openers);
            let (reader, builder) = (&mut work.reader, &mut work.builder);
            let took = reader.look_at_next(&*disk, |frame, place| {
                take((index, openers), builder, (frame, place))
            })?;
            match took {
                None => {
                    self.work = Some(work);
                    return Ok(());
                }
                Some(Took::NoKeys) => return Err(IndexError::Keys),
                // The frame is read again, as the first of the next part.
                Some(Took::NextPart) => self.put(work)?,
                Some(Took::Added) if work.builder.as_ref().is_some_and(Builder::is_full) => {
                    self.put(work)?;
                }
                Some(Took::Added) => self.work = Some(work),
            }
        }
    }

    fn put(&mut self, work: Work) -> Result<(), IndexError> {
        self.work = None;
        match work.builder {
            Some(builder) => self.shared.index.put(builder, &self.shared.vault),
            None => Ok(()),
        }
    }
}

/// What became of a frame.
enum Took {
    /// It is in the part.
    Added,
    /// It is the first of the next part, since the segment of this one has ended.
    NextPart,
    /// The keys of a record cannot be read now. It is not left out: all of it is tried again.
    NoKeys,
}

/// Takes a frame into the part under way, or begins one with it.
fn take(
    (index, openers): (&Index, &mut Openers),
    builder: &mut Option<Builder>,
    (frame, place): (&FrameView<'_>, FramePlace),
) -> Result<Took, LayoutError> {
    if builder.as_ref().is_some_and(|builder| !builder.goes_on_at(place)) {
        return Ok(Took::NextPart);
    }
    if !openers.prepare(frame)? {
        return Ok(Took::NoKeys);
    }
    let builder = builder.get_or_insert_with(|| index.builder(place));
    let length = u64::try_from(frame.padded_bytes()).unwrap_or(u64::MAX);
    builder.add(frame, length, |item| openers.terms(frame, item))?;
    Ok(Took::Added)
}

/// The keys of a tenant and month, and the terms that many records have.
struct Opener {
    keys: Option<Arc<MonthKeys>>,
    few: FewTerms,
}

/// What opens records, for each start that wrote some.
struct Openers {
    shared: Arc<Shared>,
    known: BTreeMap<(TenantId, Month, [u8; 16]), Opener>,
}

impl Openers {
    /// Reads the keys of every record of a frame; whether they could be read.
    fn prepare(&mut self, frame: &FrameView<'_>) -> Result<bool, LayoutError> {
        if self.known.len() > KEYS_MAX {
            self.known.clear();
        }
        for item in frame.items() {
            let item = item?;
            let (tenant, month, nonce) = (item.tenant, item.month, frame.facts.boot_nonce);
            if !self.known.contains_key(&(tenant, month, nonce)) {
                let Ok(keys) = self.shared.read_month_keys(tenant, month, nonce) else {
                    return Ok(false);
                };
                self.known
                    .insert((tenant, month, nonce), Opener { keys, few: FewTerms::default() });
            }
        }
        Ok(true)
    }

    fn terms(&mut self, frame: &FrameView<'_>, item: &ItemView<'_>) -> Option<Terms> {
        let name = (item.tenant, item.month, frame.facts.boot_nonce);
        let opener = self.known.get_mut(&name)?;
        opener.keys.as_ref()?.terms(item, &mut opener.few)
    }
}
