//! Power is lost at every point of a log's life, and again at every point of its recovery.
//!
//! The judge goes by a journal of what was acknowledged: nothing acknowledged is missing, nothing is half
//! there, and recovery needs no hand. That the judge can condemn is shown by drivers that are wrong.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io;
use std::sync::Arc;

use chancery_audit::disk::Disk;
use chancery_audit::recovery::{Settled, Walked, settle};
use chancery_audit::segment::file_name;
use chancery_audit::verify::verify_disk;
use chancery_crypto::primitive::sha256;

use super::life::{Found, Life, SMALL, Shape, read};
use super::model::{Event, Image, Model};
use super::replay::{Random, Replay};
use super::wrong::{Wrong, WrongDisk};

/// Three small frames fill a segment.
pub(super) const LIFE: Life = Life::of(16 * 1024);

/// From three small frames in a segment to all of a life in one.
const SEGMENTS_BYTES: [u64; 3] = [16 * 1024, 32 * 1024, 64 * 1024];

/// Rolls over several segments, and starts again twice.
pub(super) const LIVES: [&[Shape]; 3] = [
    &[SMALL, SMALL, &[100, 100], SMALL, &[4_000, 3_000], SMALL, SMALL, SMALL],
    &[SMALL, &[100, 5_000], SMALL],
    &[SMALL],
];

/// What an exploration came to.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) states: u64,
    pub(super) failures: Vec<String>,
    seen: HashSet<u64>,
}

impl Tally {
    /// Judges every state in which the machine may come up, at every point of the trace.
    fn explore(
        &mut self,
        mut replay: Replay,
        trace: &[Event],
        judge: &mut dyn FnMut(Image, &Replay) -> Result<(), String>,
    ) {
        let mut random = Random::seeded(0x0063_6861_6e63_6572);
        for (position, event) in trace.iter().enumerate() {
            replay.apply(event);
            let promised = (&replay.acknowledged, &replay.in_flight);
            replay.states(&mut random, &mut |image| {
                let mut hasher = DefaultHasher::new();
                (&image, promised).hash(&mut hasher);
                if !self.seen.insert(hasher.finish()) {
                    return;
                }
                self.states += 1;
                if let Err(failure) = judge(image, &replay) {
                    self.failures.push(format!("after event {position}, {event:.60?}: {failure}"));
                }
            });
        }
    }

    fn assert_clean(&self) {
        let failures = self.failures.len();
        assert!(failures == 0, "{failures} of {}: {:#?}", self.states, self.failures.first());
    }
}

/// What the journal says must be found.
#[derive(Clone, Copy)]
pub(super) struct Promised<'j> {
    pub(super) acknowledged: &'j [[u8; 32]],
    pub(super) in_flight: Option<[u8; 32]>,
}

impl Promised<'_> {
    fn check(&self, found: &[[u8; 32]]) -> Result<(), String> {
        let rest =
            found.strip_prefix(self.acknowledged).ok_or("an acknowledged frame is missing")?;
        match rest {
            [] => Ok(()),
            [one] if Some(*one) == self.in_flight => Ok(()),
            _ => Err("a frame stands there that was never composed".into()),
        }
    }
}

/// Recovers, writes one more frame, and reads the log again.
pub(super) fn judge(
    life: Life,
    image: &Image,
    promised: Promised<'_>,
) -> Result<(Found, Image), String> {
    let model = Model::of(image);
    let disk: Arc<dyn Disk> = Arc::new(model.clone());
    let found = life.lead(&disk, &model, &[SMALL]).map_err(|error| error.to_string())?;
    promised.check(&found.frames)?;
    let after = model.image();
    let (frames, walked) = read(&Model::of(&after)).map_err(|error| error.to_string())?;
    if frames.split_last().map(|(_, rest)| rest) != Some(&found.frames) || walked.torn.is_some() {
        return Err("what recovery found is not what stands there afterwards".into());
    }
    check_torn(&found, &after)?;
    Ok((found, after))
}

/// Torn bytes are kept, and the log goes on in the next incarnation.
fn check_torn(found: &Found, after: &Image) -> Result<(), String> {
    let Some(torn) = &found.torn else { return Ok(()) };
    let is_kept = after.values().any(|file| file.to_bytes() == torn.bytes);
    let (last, next) = found.incarnations;
    if !is_kept || found.kept != Some(sha256(&[&torn.bytes])) || next != last + 1 {
        return Err("torn bytes are gone".into());
    }
    Ok(())
}

fn promised(replay: &Replay) -> Promised<'_> {
    Promised { acknowledged: &replay.acknowledged, in_flight: replay.in_flight }
}

/// Leads the lives one after the other on a disk that `wrap` makes of the model; gives the trace.
fn traced(life: Life, lives: &[&[Shape]], wrap: &dyn Fn(Model) -> Arc<dyn Disk>) -> Vec<Event> {
    let model = Model::default();
    for frames in lives {
        life.lead(&wrap(model.clone()), &model, frames).unwrap();
    }
    model.trace()
}

pub(super) fn explore_lives(
    life: Life,
    lives: &[&[Shape]],
    wrap: &dyn Fn(Model) -> Arc<dyn Disk>,
) -> Tally {
    let mut tally = Tally::default();
    let mut count = 0_u64;
    tally.explore(Replay::of(&Image::new()), &traced(life, lives, wrap), &mut |image, replay| {
        let (_, after) = judge(life, &image, promised(replay))?;
        count += 1;
        // Signatures are slow to verify, and no crash alters a valid frame.
        if count.is_multiple_of(16) {
            let report = verify_disk(&Model::of(&after)).map_err(|error| error.to_string())?;
            let closed = report.padded + report.dense - 1;
            if life.repack.is_some() && (report.padded, report.dense) != (1, closed) {
                return Err("a closed segment was not repacked, or is there twice".into());
            }
        }
        Ok(())
    });
    tally
}

#[test]
fn nothing_acknowledged_is_lost_wherever_power_is_lost() {
    for segment_bytes in SEGMENTS_BYTES {
        let tally = explore_lives(Life::of(segment_bytes), &LIVES, &|model| Arc::new(model));
        println!("segments of {segment_bytes} bytes: {} crash states", tally.states);
        tally.assert_clean();
        assert!(tally.states > 1_000, "{} states are too few", tally.states);
    }
}

/// The same with every closed segment repacked as soon as another is open: wherever power is lost, the log reads as
/// before, and whoever starts next repacks what was not.
#[test]
fn nothing_acknowledged_is_lost_wherever_power_is_lost_in_a_repack() {
    for segment_bytes in SEGMENTS_BYTES {
        let life = Life::of(segment_bytes).repacking();
        let tally = explore_lives(life, &LIVES, &|model| Arc::new(model));
        println!("segments of {segment_bytes} bytes, repacked: {} crash states", tally.states);
        tally.assert_clean();
        assert!(tally.states > 1_000, "{} states are too few", tally.states);
    }
}

/// Every distinct state that a short life may leave, as the journal stands there.
fn left_by(lives: &[&[Shape]]) -> Vec<(Image, Found)> {
    let mut left = Vec::new();
    let mut tally = Tally::default();
    let trace = traced(LIFE, lives, &|model| Arc::new(model));
    tally.explore(Replay::of(&Image::new()), &trace, &mut |image, replay| {
        let (found, _) = judge(LIFE, &image, promised(replay))?;
        left.push((image, found));
        Ok(())
    });
    tally.assert_clean();
    left
}

/// Recovers from `image` with a driver of ours, and loses power at every point of that.
fn explore_recovery(life: Life, image: &Image, before: &Found, tally: &mut Tally) {
    let model = Model::of(image);
    let disk: Arc<dyn Disk> = Arc::new(model.clone());
    life.lead(&disk, &model, &[SMALL]).unwrap();
    let mut replay = Replay::of(image);
    // Whatever the first recovery found is on the disk: none of it may go.
    replay.acknowledged.clone_from(&before.frames);
    tally.explore(replay, &model.trace(), &mut |image, replay| {
        let (_, after) = judge(LIFE, &image, promised(replay))?;
        check_torn(before, &after)
    });
}

#[test]
fn recovery_can_be_cut_short_anywhere_and_done_again() {
    let mut tally = Tally::default();
    let left = left_by(&[&[SMALL, SMALL], &[SMALL]]);
    for (image, found) in &left {
        tally.seen.clear();
        explore_recovery(LIFE, image, found, &mut tally);
    }
    let torn = left.iter().filter(|(_, found)| found.torn.is_some()).count();
    println!(
        "{} states, {torn} of them torn; {} crash states of their recovery",
        left.len(),
        tally.states
    );
    tally.assert_clean();
    assert!(torn > 0 && tally.states > 1_000);
}

fn assert_condemned(wrong: Wrong) {
    let tally = explore_lives(LIFE, &LIVES[..1], &|model| Arc::new(WrongDisk { model, wrong }));
    println!("{wrong:?}: {} of {} crash states fail", tally.failures.len(), tally.states);
    assert!(!tally.failures.is_empty(), "{wrong:?} was not found");
}

#[test]
fn a_writer_that_does_not_sync_is_condemned() {
    assert_condemned(Wrong::NoSync);
}

#[test]
fn a_writer_that_does_not_sync_the_directory_is_condemned() {
    assert_condemned(Wrong::NoDirectorySync);
}

#[test]
fn a_writer_that_acknowledges_before_the_sync_is_condemned() {
    assert_condemned(Wrong::AcknowledgedBeforeSync);
}

#[test]
fn a_writer_that_names_a_segment_before_its_header_is_synced_is_condemned() {
    assert_condemned(Wrong::NamedBeforeHeaderSync);
}

/// Cuts torn bytes off before it keeps them.
fn settle_cutting_first(disk: &dyn Disk, walked: Walked) -> io::Result<Settled> {
    if let Some((number, end)) = walked.last {
        disk.open(&file_name(number))?.truncate(end)?;
    }
    settle(disk, walked)
}

#[test]
fn a_recovery_that_cuts_torn_bytes_before_they_are_kept_is_condemned() {
    let mut tally = Tally::default();
    for (image, found) in &left_by(&[&[SMALL, SMALL]]) {
        tally.seen.clear();
        explore_recovery(Life { settle: settle_cutting_first, ..LIFE }, image, found, &mut tally);
    }
    println!("{} of {} crash states fail", tally.failures.len(), tally.states);
    assert!(tally.failures.iter().any(|failure| failure.contains("torn bytes are gone")));
}
