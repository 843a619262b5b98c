//! Where pages of the log ended that were read lately, so that the next page begins there.
//!
//! Whoever reads the log on and on asks for a page behind the last. Without this each page would begin with the segment that
//! it is in, and a reader in a full segment would read all of it each time.
//!
//! **Invariant:** a place is one of a frame that was read back whole. Frames on the disk do not change, so a place stays
//! right; it is only where to begin, and what is shown from there is compared with its leaf as ever.

use std::collections::VecDeque;
use std::sync::Mutex;

use chancery_audit::index::FramePlace;

use crate::counters::lock;

/// The most places that are remembered: 16, a few for each of several readers.
const PLACES_MAX: usize = 16;

/// The places.
#[derive(Debug, Default)]
pub(crate) struct Pages(Mutex<VecDeque<FramePlace>>);

impl Pages {
    /// Remembers the last frame of a page.
    pub(crate) fn keep(&self, place: FramePlace) {
        let mut places = lock(&self.0);
        places.retain(|kept| *kept != place);
        places.push_back(place);
        if places.len() > PLACES_MAX {
            places.pop_front();
        }
    }

    /// The last remembered frame that begins at or before a record.
    pub(crate) fn before(&self, index: u64) -> Option<FramePlace> {
        let places = lock(&self.0);
        let before = places.iter().filter(|place| place.first_index <= index);
        before.max_by_key(|place| place.first_index).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_place_before_a_record_is_found_and_the_oldest_is_forgotten() {
        let place = |first_index| FramePlace { segment: 0, offset: first_index, first_index };
        let pages = Pages::default();
        assert_eq!(pages.before(7), None);
        for first_index in [30, 10, 20, 10] {
            pages.keep(place(first_index));
        }
        assert_eq!(pages.before(9), None);
        assert_eq!(pages.before(10), Some(place(10)));
        assert_eq!(pages.before(29), Some(place(20)));
        for first_index in 100..116 {
            pages.keep(place(first_index));
        }
        assert_eq!((pages.before(99), pages.before(100)), (None, Some(place(100))));
        assert_eq!(lock(&pages.0).len(), PLACES_MAX);
    }
}
