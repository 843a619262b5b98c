//! Pages of a log in either form of its segments, of every size: whoever follows them has every frame, once.

use std::sync::Arc;

use chancery_audit::disk::Disk;
use chancery_audit::frame::{Item, ItemView};
use chancery_audit::frames::FrameReader;
use chancery_audit::page::{Follower, LastFrame, PAGE_HEAD_BYTES, PageHead, Wanted, fill};
use chancery_audit::repack::repack;
use chancery_audit::segment::file_name;

use super::genuine::{read_frames, write_log};
use super::life::{origin, receipt_key};
use super::model::Model;

/// Three segments, and frames of one record to 300.
const FRAMES: [usize; 12] = [1, 1, 3, 300, 1, 2, 290, 1, 1, 1, 290, 1];

fn written() -> Model {
    let model = Model::default();
    let disk: Arc<dyn Disk> = Arc::new(model.clone());
    write_log(&disk, 288 * 1024, &FRAMES);
    model
}

/// The last frame that is durable, as the one who wrote it knows it.
fn tail(model: &Model) -> LastFrame {
    let frames = read_frames(model);
    let frame = frames.last().unwrap();
    let hash = frame.encode().hash;
    LastFrame { number: frame.number, tree_size: frame.end_index(), hash }
}

/// Follows a log by pages with so much room, from a record on, by a reader that is kept or by one that is made anew.
fn followed(model: &Model, (from, room): (u64, usize), kept: bool) -> Vec<Item> {
    let tail = tail(model);
    let mut follower = Follower::new(origin().name());
    let mut items = Vec::new();
    let mut reader: Option<FrameReader> = None;
    let mut next = from;
    while next < tail.tree_size {
        let mut at = reader.take().filter(|_| kept).unwrap_or_else(|| {
            let mut at = FrameReader::in_segment_of(model, next).unwrap();
            assert!(at.seek(model, next).unwrap());
            at
        });
        let skip = follower.begun_bytes();
        let wanted = Wanted { skip, end: tail.tree_size, room, tail };
        let mut page = vec![0; PAGE_HEAD_BYTES];
        let last = fill(&mut at, model, &wanted, &mut page).unwrap();
        assert!(page.len() <= PAGE_HEAD_BYTES + room && page.len() > PAGE_HEAD_BYTES);
        let head = PageHead::sign(tail.tree_size, last, (origin(), receipt_key())).unwrap();
        page[..PAGE_HEAD_BYTES].copy_from_slice(&head.to_bytes());
        reader = Some(at);
        let taken = follower.take(next, page).unwrap();
        let seen = taken.frames().flat_map(|(frame, _)| frame.items());
        items.extend(seen.map(|item| item.unwrap()).map(ItemView::to_item));
        next = follower.next_index().unwrap_or(next);
    }
    items
}

#[test]
fn pages_of_every_size_and_form_have_every_frame_once() {
    let padded = written();
    let every: Vec<_> = read_frames(&padded).into_iter().flat_map(|frame| frame.items).collect();
    let dense = Model::of(&padded.image());
    repack(&dense, 0).unwrap();
    repack(&dense, 1).unwrap();
    for model in [&padded, &dense] {
        // Less than most frames take, about as much, and more than all of them.
        for room in [700, 4_096, 100_000, 10_000_000] {
            for kept in [true, false] {
                assert!(followed(model, (0, room), kept) == every, "{room} {kept}");
            }
        }
        // From within a frame it begins with that.
        assert!(followed(model, (200, 100_000), true) == every[5..]);
    }
}

/// Who reads on while a segment is repacked goes on in the other form.
#[test]
fn a_segment_may_be_repacked_between_two_pages() {
    let model = written();
    let tail = tail(&model);
    let mut reader = FrameReader::from_record(&model, 0).unwrap();
    let mut follower = Follower::new(origin().name());
    let mut next = 0;
    while next < tail.tree_size {
        let wanted = Wanted { skip: 0, end: tail.tree_size, room: 250_000, tail };
        let mut page = vec![0; PAGE_HEAD_BYTES];
        let last = fill(&mut reader, &model, &wanted, &mut page).unwrap();
        let head = PageHead::sign(tail.tree_size, last, (origin(), receipt_key())).unwrap();
        page[..PAGE_HEAD_BYTES].copy_from_slice(&head.to_bytes());
        follower.take(next, page).unwrap();
        if next == 0 {
            repack(&model, 0).unwrap();
            repack(&model, 1).unwrap();
        }
        next = follower.next_index().unwrap();
    }
}

#[test]
fn a_log_that_is_damaged_fills_no_page() {
    let model = written();
    let damaged = Model::of(&model.image());
    let segment = damaged.open(&file_name(0)).unwrap();
    let byte = segment.read_at(20_000, 1).unwrap();
    segment.write_at(&[byte[0] ^ 1], 20_000).unwrap();
    let mut reader = FrameReader::from_record(&damaged, 0).unwrap();
    let wanted = Wanted { skip: 0, end: 5 + 300, room: 10_000_000, tail: tail(&model) };
    let mut page = vec![0; PAGE_HEAD_BYTES];
    assert!(fill(&mut reader, &damaged, &wanted, &mut page).is_err());
}
