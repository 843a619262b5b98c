//! The thread that makes the parts of the index, from frames that are durable.
//!
//! It reads them back as the checkpoints do, and holds up nobody: whatever it has not come to yet is a gap, which
//! queries read for themselves.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chancery_audit::frame::{Frame, Item};
use chancery_audit::frames::FrameReader;
use chancery_audit::index::{Builder, Terms};
use chancery_audit::sealer::{FewTerms, Month, MonthKeys};
use chancery_core::id::TenantId;

use crate::config::IndexWish;
use crate::counters::lock;
use crate::index::{Gap, IndexError};
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
            let Some(frame) = work.reader.next_frame(&*disk)? else {
                self.work = Some(work);
                return Ok(());
            };
            self.take(work, &frame)?;
        }
    }

    /// Takes a frame into the part under way, or ends that where its segment does.
    fn take(&mut self, mut work: Work, frame: &Frame) -> Result<(), IndexError> {
        let Some((place, length)) = work.reader.last() else { return Ok(()) };
        if work.builder.as_ref().is_some_and(|builder| !builder.goes_on_at(place)) {
            // The frame is read again, as the first of the next part.
            return self.put(work);
        }
        let index = &self.shared.index;
        let builder = work.builder.get_or_insert_with(|| index.builder(place));
        let openers = &mut self.openers;
        // A record whose keys cannot be read now is not left out: all of it is tried again.
        openers.prepare(frame)?;
        builder.add(frame, length, |frame, item| openers.terms(frame, item));
        if builder.is_full() {
            return self.put(work);
        }
        self.work = Some(work);
        Ok(())
    }

    fn put(&mut self, work: Work) -> Result<(), IndexError> {
        self.work = None;
        match work.builder {
            Some(builder) => self.shared.index.put(builder, &self.shared.vault),
            None => Ok(()),
        }
    }
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
    /// Reads the keys of every record of a frame.
    fn prepare(&mut self, frame: &Frame) -> Result<(), IndexError> {
        if self.known.len() > KEYS_MAX {
            self.known.clear();
        }
        for item in &frame.items {
            let (tenant, month, nonce) = (item.tenant, item.month, frame.boot_nonce);
            if !self.known.contains_key(&(tenant, month, nonce)) {
                let keys = self.shared.read_month_keys(tenant, month, nonce);
                let keys = keys.map_err(|_| IndexError::Keys)?;
                self.known
                    .insert((tenant, month, nonce), Opener { keys, few: FewTerms::default() });
            }
        }
        Ok(())
    }

    fn terms(&mut self, frame: &Frame, item: &Item) -> Option<Terms> {
        let opener = self.known.get_mut(&(item.tenant, item.month, frame.boot_nonce))?;
        opener.keys.as_ref()?.terms(item, &mut opener.few)
    }
}
