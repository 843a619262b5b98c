//! Which parts of an arena are free: a buddy allocator over offsets.
//!
//! The arena is halved until a block just fits; a block given back joins its free
//! neighbour into the block they came from (Knuth, *The Art of Computer Programming*,
//! volume 1, section 2.5, "the buddy system"). Both take a bounded number of steps.
//!
//! Invariant: no two blocks that are out overlap, and every block starts at a
//! multiple of its own size.
//!
//! The bookkeeping lies outside the arena, so that an overrun there cannot reach it.
//! This module touches no secret memory; it only counts.

/// The smallest block: 64 bytes, one cache line, so that two secrets share none.
pub(crate) const BLOCK_BYTES_MIN: usize = 64;

/// The bits in one word of a [`FreeSet`].
const WORD_BITS: usize = u64::BITS as usize;

/// A part of the arena that was handed out.
///
/// It is not `Clone`: whoever holds it is the only one to touch its bytes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Block {
    offset: usize,
    len: usize,
}

impl Block {
    /// Names the block that was handed out at `offset` for `len` bytes.
    pub(crate) fn named(offset: usize, len: usize) -> Self {
        Self { offset, len }
    }

    /// Where it begins, from the start of the arena.
    pub(crate) fn offset(&self) -> usize {
        self.offset
    }

    /// The bytes that were asked for; the block itself may be larger.
    pub(crate) fn len(&self) -> usize {
        self.len
    }
}

/// The free blocks of an arena, by size.
#[derive(Debug)]
pub(crate) struct Buddy {
    // Invariant: `orders[k]` has the free blocks of `BLOCK_BYTES_MIN << k` bytes.
    orders: Vec<FreeSet>,
    in_use: usize,
}

impl Buddy {
    /// One free block of `capacity` bytes, which is a power of two.
    pub(crate) fn new(capacity: usize) -> Self {
        let blocks = capacity / BLOCK_BYTES_MIN;
        let mut orders: Vec<FreeSet> =
            (0..=blocks.ilog2()).map(|order| FreeSet::new(blocks >> order)).collect();
        if let Some(whole) = orders.last_mut() {
            whole.insert(0);
        }
        Self { orders, in_use: 0 }
    }

    /// The bytes in blocks that are out, each rounded up to its block.
    pub(crate) fn in_use(&self) -> usize {
        self.in_use
    }

    /// Hands out a block of at least `len` bytes, if one is free.
    pub(crate) fn take(&mut self, len: usize) -> Option<Block> {
        let wanted = order_of(len)?;
        let (found, mut index) = self.smallest_free(wanted)?;
        for order in (wanted..found).rev() {
            index *= 2;
            self.orders.get_mut(order)?.insert(index + 1);
        }
        let bytes = BLOCK_BYTES_MIN << wanted;
        self.in_use += bytes;
        Some(Block { offset: index * bytes, len })
    }

    /// Takes a block out of the smallest order from `wanted` on that has one.
    fn smallest_free(&mut self, wanted: usize) -> Option<(usize, usize)> {
        self.orders.iter_mut().enumerate().skip(wanted).find_map(|(order, free)| {
            let index = free.first()?;
            free.remove(index);
            Some((order, index))
        })
    }

    /// Takes a block back and joins it with its free neighbours.
    pub(crate) fn give(&mut self, block: &Block) {
        let Some(order) = order_of(block.len) else { return };
        let bytes = BLOCK_BYTES_MIN << order;
        self.in_use -= bytes;
        let mut index = block.offset / bytes;
        let last = self.orders.len() - 1;
        for (order, free) in self.orders.iter_mut().enumerate().skip(order) {
            let neighbour = index ^ 1;
            if order == last || !free.remove(neighbour) {
                free.insert(index);
                return;
            }
            index /= 2;
        }
    }
}

/// The order of the smallest block with room for `len` bytes.
fn order_of(len: usize) -> Option<usize> {
    let bytes = len.max(BLOCK_BYTES_MIN).checked_next_power_of_two()?;
    Some((bytes / BLOCK_BYTES_MIN).ilog2() as usize)
}

/// A set of block numbers, as bits; a second level says which words have any.
#[derive(Debug)]
struct FreeSet {
    words: Vec<u64>,
    // Invariant: bit k is set exactly when `words[k]` is not zero.
    summary: Vec<u64>,
}

impl FreeSet {
    fn new(blocks: usize) -> Self {
        let words = blocks.div_ceil(WORD_BITS);
        Self { words: vec![0; words], summary: vec![0; words.div_ceil(WORD_BITS)] }
    }

    /// The smallest number in the set.
    fn first(&self) -> Option<usize> {
        let word = first_bit(&self.summary)?;
        let bits = self.words.get(word)?;
        Some(word * WORD_BITS + bits.trailing_zeros() as usize)
    }

    fn insert(&mut self, number: usize) {
        let word = number / WORD_BITS;
        if let Some(bits) = self.words.get_mut(word) {
            *bits |= bit(number);
        }
        if let Some(bits) = self.summary.get_mut(word / WORD_BITS) {
            *bits |= bit(word);
        }
    }

    /// Removes `number`; true if it was there.
    fn remove(&mut self, number: usize) -> bool {
        let word = number / WORD_BITS;
        let Some(bits) = self.words.get_mut(word) else { return false };
        let present = *bits & bit(number) != 0;
        *bits &= !bit(number);
        if *bits == 0
            && let Some(summary) = self.summary.get_mut(word / WORD_BITS)
        {
            *summary &= !bit(word);
        }
        present
    }
}

fn first_bit(words: &[u64]) -> Option<usize> {
    let (place, word) = words.iter().enumerate().find(|(_, word)| **word != 0)?;
    Some(place * WORD_BITS + word.trailing_zeros() as usize)
}

fn bit(number: usize) -> u64 {
    1 << (number % WORD_BITS)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAPACITY: usize = 1 << 20;

    #[test]
    fn a_block_has_room_for_what_was_asked_and_no_more_than_twice_that() {
        let rounded = |len: usize| {
            let mut buddy = Buddy::new(CAPACITY);
            buddy.take(len).unwrap();
            buddy.in_use()
        };
        assert_eq!([0, 1, 64, 65, 128, 4000].map(rounded), [64, 64, 64, 128, 128, 4096]);
    }

    #[test]
    fn blocks_that_are_out_do_not_overlap() {
        let mut buddy = Buddy::new(CAPACITY);
        let lengths = [1, 5000, 64, 65, 300, 70_000, 16, 129, 4096, 1];
        let blocks: Vec<Block> =
            (0..50).map(|round| buddy.take(lengths[round % 10]).unwrap()).collect();
        let mut ends: Vec<(usize, usize)> =
            blocks.iter().map(|block| (block.offset, block.offset + block.len)).collect();
        ends.sort_unstable();
        assert!(ends.windows(2).all(|pair| pair[0].1 <= pair[1].0));
    }

    #[test]
    fn every_block_starts_at_a_multiple_of_its_size() {
        let mut buddy = Buddy::new(CAPACITY);
        for len in [1, 100, 1000, 10_000, 64, 500] {
            let block = buddy.take(len).unwrap();
            let bytes = len.max(BLOCK_BYTES_MIN).next_power_of_two();
            assert_eq!(block.offset % bytes, 0);
        }
    }

    #[test]
    fn the_whole_arena_can_be_handed_out_in_smallest_blocks() {
        let mut buddy = Buddy::new(CAPACITY);
        let count = (0..).map_while(|_| buddy.take(1)).count();
        assert_eq!(count, CAPACITY / BLOCK_BYTES_MIN);
        assert_eq!(buddy.in_use(), CAPACITY);
    }

    #[test]
    fn all_blocks_given_back_join_into_the_whole_arena() {
        let mut buddy = Buddy::new(CAPACITY);
        let blocks: Vec<Block> = (0..500).map(|len| buddy.take(len * 3).unwrap()).collect();
        let (even, odd): (Vec<_>, Vec<_>) =
            blocks.into_iter().enumerate().partition(|(place, _)| place % 2 == 0);
        for (_, block) in even.iter().chain(&odd) {
            buddy.give(block);
        }
        assert_eq!(buddy.in_use(), 0);
        assert_eq!(buddy.take(CAPACITY), Some(Block { offset: 0, len: CAPACITY }));
    }

    #[test]
    fn more_than_there_is_cannot_be_taken() {
        let mut buddy = Buddy::new(CAPACITY);
        assert_eq!(buddy.take(CAPACITY + 1), None);
        assert_eq!(buddy.take(usize::MAX), None);
        assert!(buddy.take(CAPACITY).is_some());
        assert_eq!(buddy.take(0), None);
    }
}
