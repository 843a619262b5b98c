//! The reduction journal: nothing acknowledged is lost, whatever power cuts and failing calls leave.

use chancery_audit::journal::{
    ENTRIES_MAX, Entry, JOURNAL_FILE, Journal, JournalError, REQUEST_BYTES_MAX,
};

use super::model::{Event, Extent, Fault, Image, Model};
use super::replay::{Random, Replay};

const LOG: [u8; 32] = [7; 32];
const EIO: i32 = 5;

/// A life: what is done, one after the other.
#[derive(Clone, Copy)]
enum Step {
    Append(u8),
    Clear,
}

const LIFE: [Step; 9] = [
    Step::Append(1),
    Step::Append(2),
    Step::Append(3),
    Step::Clear,
    Step::Append(4),
    Step::Clear,
    Step::Append(5),
    Step::Append(6),
    Step::Append(7),
];

fn entry(number: u8) -> Entry {
    // From one sector to all eight of a block.
    let length = REQUEST_BYTES_MAX / usize::from(number);
    Entry { alive_ms: u64::from(number), request: vec![number; length] }
}

/// What is there after so many steps.
fn after(steps: usize) -> Vec<Entry> {
    LIFE[..steps].iter().fold(Vec::new(), |mut entries, step| {
        match step {
            Step::Append(number) => entries.push(entry(*number)),
            Step::Clear => entries.clear(),
        }
        entries
    })
}

fn lead(model: &Model) -> Result<(), JournalError> {
    let (mut journal, _) = Journal::open(model, LOG)?;
    for (number, step) in (0..).zip(LIFE) {
        model.note(Event::Composed([number; 32]));
        match step {
            Step::Append(number) => journal.append(&entry(number))?,
            Step::Clear => journal.clear()?,
        }
        model.note(Event::Acknowledged);
    }
    Ok(())
}

/// What is found is what was acknowledged, or that and what was in flight; and it can be gone on with.
fn judge(image: &Image, replay: &Replay) -> Result<(), String> {
    let model = Model::of(image);
    let (mut journal, found) = Journal::open(&model, LOG).map_err(|error| error.to_string())?;
    let done = replay.acknowledged.len();
    let in_flight = replay.in_flight.is_some().then(|| after(done + 1));
    if found != after(done) && Some(&found) != in_flight.as_ref() {
        return Err(format!("{done} steps were acknowledged, and {} entries found", found.len()));
    }
    journal.append(&entry(9)).map_err(|error| error.to_string())?;
    let (_, again) = Journal::open(&model, LOG).map_err(|error| error.to_string())?;
    let expected = [found, vec![entry(9)]].concat();
    if again == expected { Ok(()) } else { Err("what was appended then is not there".into()) }
}

#[test]
fn power_is_lost_at_every_point_and_nothing_acknowledged_is() {
    let model = Model::default();
    lead(&model).unwrap();
    let (mut replay, mut random) = (Replay::of(&Image::new()), Random::seeded(3));
    let mut states = 0;
    for event in model.trace() {
        replay.apply(&event);
        // Before anything was acknowledged there may be no journal: it is made.
        replay.states(&mut random, &mut |image| {
            states += 1;
            judge(&image, &replay)
                .unwrap_or_else(|failure| panic!("after {event:.60?}: {failure}"));
        });
    }
    assert!(states > 1_000, "{states}");
}

#[test]
fn every_call_fails_once_and_nothing_acknowledged_is_lost() {
    let counted = Model::default();
    lead(&counted).unwrap();
    for call in 1..=counted.calls() {
        for extent in [Extent::Nothing, Extent::Half, Extent::All] {
            let model = Model::default();
            model.fail(Fault { call, errno: EIO, extent });
            assert!(matches!(lead(&model), Err(JournalError::Io(_))), "call {call}");
            let mut replay = Replay::of(&Image::new());
            model.trace().iter().for_each(|event| replay.apply(event));
            judge(&model.image(), &replay)
                .unwrap_or_else(|failure| panic!("call {call}, {extent:?}: {failure}"));
        }
    }
}

#[test]
fn after_a_failed_write_no_other_entry_is_taken() {
    let model = Model::default();
    let (mut journal, _) = Journal::open(&model, LOG).unwrap();
    journal.append(&entry(1)).unwrap();
    model.fail(Fault { call: model.calls() + 2, errno: EIO, extent: Extent::All });
    assert!(matches!(journal.append(&entry(2)), Err(JournalError::Io(_))));
    let calls = model.calls();
    assert!(matches!(journal.append(&entry(3)), Err(JournalError::Io(_))));
    assert!(matches!(journal.clear(), Err(JournalError::Io(_))));
    assert_eq!(model.calls(), calls, "the disk is not asked again");
}

#[test]
fn an_altered_entry_with_others_behind_it_is_damage_and_an_altered_last_one_is_torn() {
    let model = Model::default();
    let (mut journal, _) = Journal::open(&model, LOG).unwrap();
    (1..=3).for_each(|number| journal.append(&entry(number)).unwrap());
    let image = model.image();
    let altered = |block: u64, at: u64| {
        let model = Model::of(&image);
        let file = chancery_audit::disk::Disk::open(&model, JOURNAL_FILE).unwrap();
        let byte = file.read_at(block * 4_096 + at, 1).unwrap()[0];
        file.write_at(&[byte ^ 1], block * 4_096 + at).unwrap();
        Journal::open(&model, LOG).map(|(_, entries)| entries)
    };
    for at in [0, 9, 17, 21, 25, 40, 4_095] {
        assert!(matches!(altered(2, at), Err(JournalError::Damaged { block: 2 })), "byte {at}");
        assert!(matches!(altered(3, at), Err(JournalError::Damaged { block: 3 })), "byte {at}");
        assert_eq!(altered(4, at).unwrap(), [entry(1), entry(2)], "byte {at}");
        assert!(matches!(altered(0, at), Err(JournalError::Damaged { block: 0 })), "byte {at}");
    }
}

#[test]
fn a_lost_header_does_not_bring_an_older_generation_back() {
    let model = Model::default();
    let (mut journal, _) = Journal::open(&model, LOG).unwrap();
    (1..=2).for_each(|number| journal.append(&entry(number)).unwrap());
    journal.clear().unwrap();
    journal.append(&entry(3)).unwrap();
    let file = chancery_audit::disk::Disk::open(&model, JOURNAL_FILE).unwrap();
    file.write_at(&[0; 8], 4_096).unwrap();
    assert!(matches!(Journal::open(&model, LOG), Err(JournalError::Damaged { .. })));
}

#[test]
fn a_full_journal_and_a_long_request_are_refused_without_effect() {
    let model = Model::default();
    let (mut journal, _) = Journal::open(&model, LOG).unwrap();
    let long = Entry { alive_ms: 0, request: vec![0; REQUEST_BYTES_MAX + 1] };
    let too_long = journal.append(&long);
    assert!(matches!(too_long, Err(JournalError::TooLong { bytes }) if bytes == 4_061));
    journal.append(&Entry { request: vec![0; REQUEST_BYTES_MAX], ..long }).unwrap();
    for _ in 1..ENTRIES_MAX {
        journal.append(&entry(200)).unwrap();
    }
    assert!(matches!(journal.append(&entry(1)), Err(JournalError::Full)));
    let (reopened, entries) = Journal::open(&model, LOG).unwrap();
    assert_eq!((reopened.len(), entries.len()), (1_022, 1_022));
}

#[test]
fn the_journal_of_another_log_is_refused() {
    let model = Model::default();
    Journal::open(&model, LOG).unwrap();
    assert!(matches!(Journal::open(&model, [8; 32]), Err(JournalError::OtherLog)));
}
