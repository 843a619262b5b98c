//! One suite that every driver passes.
//!
//! A driver's tests hand in a [`Harness`] and call [`run`]. The cases hold a driver to the
//! [contract](crate::contract), its bounds one below and one above, and show that a caller who
//! follows the contract comes out right whichever way any of its commits goes wrong.
//!
//! Not here: crashes and damaged files, which every driver tests against its own medium.
//!
//! A case fails by an assertion or by an error; both name what went wrong.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::contract::{CommitError, RANGE_BYTES_MAX, RANGE_ROWS_MAX, Source, Store};
use crate::row::{ROW_NAME_BYTES_MAX, ROW_VALUE_BYTES_MAX, Revision, Row, RowName};
use crate::transaction::{
    Expected, TRANSACTION_BYTES_MAX, TRANSACTION_OPERATIONS_MAX, Transaction, TransactionInvalid,
};
use crate::watch::{
    Change, HISTORY_CHANGES_MAX, QUEUE_CHANGES_MAX, WATCHES_MAX, Watch, WatchError,
};

mod faults;

/// How the suite comes by its stores.
pub struct Harness<'a> {
    /// Makes an empty store.
    pub fresh: &'a dyn Fn() -> Box<dyn Store>,
    /// Closes the store that was last made, and opens it again.
    pub reopen: &'a dyn Fn(Box<dyn Store>) -> Box<dyn Store>,
}

/// A case did not hold.
#[derive(Debug, thiserror::Error)]
#[error("conformance case `{case}` failed: {source}")]
pub struct Failure {
    case: &'static str,
    source: Source,
}

type Outcome = Result<(), Source>;

type Case = (&'static str, fn(&Harness<'_>) -> Outcome);

const CASES: &[Case] = &[
    ("a_new_store_is_empty", a_new_store_is_empty),
    ("a_row_carries_its_last_writer", a_row_carries_its_last_writer),
    ("ranges_are_ordered_and_cut_at_the_prefix", ranges_are_ordered_and_cut_at_the_prefix),
    ("pages_neither_skip_nor_repeat", pages_neither_skip_nor_repeat),
    ("answers_are_bounded", answers_are_bounded),
    ("comparisons_hold_for_exactly_what_they_name", comparisons_hold_for_exactly_what_they_name),
    ("a_conflict_leaves_nothing", a_conflict_leaves_nothing),
    ("comparisons_see_the_store_before", comparisons_see_the_store_before),
    ("a_transaction_is_one_revision", a_transaction_is_one_revision),
    ("everything_survives_reopening", everything_survives_reopening),
    ("every_bound_is_held", every_bound_is_held),
    ("racing_writers_lose_no_update", racing_writers_lose_no_update),
    ("a_watch_gives_changes_in_order", a_watch_gives_changes_in_order),
    ("a_watch_gives_nothing_at_or_before_its_start", a_watch_gives_nothing_at_or_before_its_start),
    ("a_slow_watch_lags", a_slow_watch_lags),
    ("a_late_watch_is_compacted", a_late_watch_is_compacted),
    ("watches_are_limited", watches_are_limited),
    ("one_fault_at_each_commit", faults::one_fault_at_each_commit),
    ("any_faults_at_all_commits", faults::any_faults_at_all_commits),
];

/// Runs every case.
///
/// # Errors
///
/// The first case that failed.
///
/// # Panics
///
/// If a case's assertion fails, which is how most of them do.
pub fn run(harness: &Harness<'_>) -> Result<(), Failure> {
    for (case, check) in CASES {
        check(harness).map_err(|source| Failure { case, source })?;
    }
    Ok(())
}

fn a_new_store_is_empty(harness: &Harness<'_>) -> Outcome {
    let store = (harness.fresh)();
    assert_eq!(store.revision()?, Revision::ZERO);
    assert_eq!(store.get(&name("a")?)?, None);
    assert_eq!(store.range(b"", None, 1)?, []);
    Ok(())
}

fn a_row_carries_its_last_writer(harness: &Harness<'_>) -> Outcome {
    let store = (harness.fresh)();
    let (a, b) = (name("a")?, name("b")?);
    assert_eq!(store.commit(put(&a, "one"))?, Revision::new(1));
    assert_eq!(store.commit(put(&b, ""))?, Revision::new(2));
    assert_eq!(store.get(&a)?, Some(row(&a, "one", 1)));
    assert_eq!(store.get(&b)?, Some(row(&b, "", 2)));
    assert_eq!(store.commit(put(&a, "two"))?, Revision::new(3));
    assert_eq!(store.get(&a)?, Some(row(&a, "two", 3)));
    assert_eq!(store.commit(Transaction::new().delete(a.clone()))?, Revision::new(4));
    assert_eq!(store.get(&a)?, None);
    assert_eq!(store.get(&b)?, Some(row(&b, "", 2)));
    // A row that comes back is a new one, and deleting what is not there is a transaction too.
    assert_eq!(store.commit(put(&a, "three"))?, Revision::new(5));
    assert_eq!(store.get(&a)?, Some(row(&a, "three", 5)));
    assert_eq!(store.commit(Transaction::new().delete(name("c")?))?, Revision::new(6));
    assert_eq!(store.revision()?, Revision::new(6));
    Ok(())
}

/// Names that sort apart from how they read, and prefixes that end in the highest byte.
const AWKWARD_NAMES: [&[u8]; 10] = [
    b"\x00",
    b"\x00\x00",
    b"a",
    b"a\x00",
    b"a\x00\xff",
    b"a\xff",
    b"a\xff\xff",
    b"b",
    b"\xff",
    b"\xff\xff",
];

fn ranges_are_ordered_and_cut_at_the_prefix(harness: &Harness<'_>) -> Outcome {
    let store = awkward_store(harness)?;
    for prefix in AWKWARD_NAMES.into_iter().chain([&b""[..], b"a\x01", b"c"]) {
        let expected: Vec<_> =
            AWKWARD_NAMES.into_iter().filter(|name| name.starts_with(prefix)).collect();
        assert_eq!(names(&store.range(prefix, None, 100)?), expected, "prefix {prefix:x?}");
    }
    let longest = [b'a'; ROW_NAME_BYTES_MAX];
    store.commit(put(&RowName::new(longest)?, "longest"))?;
    assert_eq!(names(&store.range(&longest, None, 100)?), [&longest[..]]);
    assert_eq!(store.range(&[b'a'; ROW_NAME_BYTES_MAX + 1], None, 100)?, []);
    Ok(())
}

fn pages_neither_skip_nor_repeat(harness: &Harness<'_>) -> Outcome {
    let store = awkward_store(harness)?;
    let all = AWKWARD_NAMES.to_vec();
    for limit in 1..=all.len() + 1 {
        assert_eq!(names(&paged(store.as_ref(), limit)?), all, "limit {limit}");
    }
    assert_eq!(store.range(b"", None, 0)?, []);
    // What lies before the prefix, or behind its last row, or is no row, is a place to start too.
    let after = |bytes: &[u8], prefix: &[u8]| -> Result<Vec<Row>, Source> {
        Ok(store.range(prefix, Some(&RowName::new(bytes)?), 100)?)
    };
    assert_eq!(names(&after(b"\x00", b"b")?), [b"b"]);
    assert_eq!(names(&after(b"b", b"a")?), [] as [&[u8]; 0]);
    assert_eq!(names(&after(b"b", b"b")?), [] as [&[u8]; 0]);
    assert_eq!(names(&after(b"a\x01", b"a")?), [&b"a\xff"[..], b"a\xff\xff"]);
    assert_eq!(names(&after(b"a", b"a\x00")?), [&b"a\x00"[..], b"a\x00\xff"]);
    Ok(())
}

fn answers_are_bounded(harness: &Harness<'_>) -> Outcome {
    let store = (harness.fresh)();
    put_many(store.as_ref(), RANGE_ROWS_MAX + 1, 0)?;
    assert_eq!(store.range(b"", None, RANGE_ROWS_MAX - 1)?.len(), RANGE_ROWS_MAX - 1);
    assert_eq!(store.range(b"", None, RANGE_ROWS_MAX)?.len(), RANGE_ROWS_MAX);
    assert_eq!(store.range(b"", None, usize::MAX)?.len(), RANGE_ROWS_MAX);
    assert_eq!(paged(store.as_ref(), usize::MAX)?.len(), RANGE_ROWS_MAX + 1);

    let store = (harness.fresh)();
    let count = RANGE_BYTES_MAX / ROW_VALUE_BYTES_MAX + 1;
    put_many(store.as_ref(), count, ROW_VALUE_BYTES_MAX)?;
    let first = store.range(b"", None, count)?;
    let bytes: usize = first.iter().map(|row| row.name.as_bytes().len() + row.value.len()).sum();
    assert!(bytes <= RANGE_BYTES_MAX && !first.is_empty(), "an answer of {bytes} bytes");
    assert_eq!(paged(store.as_ref(), count)?.len(), count);
    Ok(())
}

fn comparisons_hold_for_exactly_what_they_name(harness: &Harness<'_>) -> Outcome {
    let store = (harness.fresh)();
    let (present, absent) = (name("present")?, name("absent")?);
    store.commit(put(&present, "old"))?;
    store.commit(put(&present, "new"))?;
    let (old, now, next) = (Revision::new(1), Revision::new(2), Revision::new(3));
    let refused = [
        (&present, Expected::Absent, Some(now)),
        (&present, Expected::At(old), Some(now)),
        (&present, Expected::At(next), Some(now)),
        (&present, Expected::At(Revision::ZERO), Some(now)),
        (&absent, Expected::At(old), None),
        (&absent, Expected::At(now), None),
        (&absent, Expected::At(Revision::ZERO), None),
    ];
    for (name, expected, found) in refused {
        let result = store.commit(put(name, "x").expect(name.clone(), expected));
        assert_conflict(&result, name, expected, found);
    }
    assert_eq!(store.revision()?, now);
    let holds = Transaction::new().expect_at(present.clone(), now).expect_absent(absent.clone());
    assert_eq!(store.commit(holds.put(absent.clone(), b"x".to_vec()))?, next);
    Ok(())
}

fn a_conflict_leaves_nothing(harness: &Harness<'_>) -> Outcome {
    let store = (harness.fresh)();
    let (a, b, c) = (name("a")?, name("b")?, name("c")?);
    store.commit(put(&a, "a").put(b.clone(), b"b".to_vec()))?;
    let before = paged(store.as_ref(), 100)?;
    // The last comparison fails after two that hold, whatever the writes are.
    let transaction = Transaction::new()
        .expect_at(a.clone(), Revision::new(1))
        .expect_absent(c.clone())
        .expect_absent(b.clone())
        .put(a, b"changed".to_vec())
        .delete(b.clone())
        .put(c, b"created".to_vec());
    let result = store.commit(transaction);
    assert_conflict(&result, &b, Expected::Absent, Some(Revision::new(1)));
    assert_eq!(paged(store.as_ref(), 100)?, before);
    assert_eq!(store.revision()?, Revision::new(1));
    let store = (harness.reopen)(store);
    assert_eq!(paged(store.as_ref(), 100)?, before);
    assert_eq!(store.revision()?, Revision::new(1));
    Ok(())
}

fn comparisons_see_the_store_before(harness: &Harness<'_>) -> Outcome {
    let store = (harness.fresh)();
    let (a, b) = (name("a")?, name("b")?);
    store.commit(put(&a, "1").expect_absent(a.clone()))?;
    let moved = Transaction::new().delete(a.clone()).put(b.clone(), b"1".to_vec());
    let moved = moved.expect_at(a.clone(), Revision::new(1)).expect_absent(b.clone());
    assert_eq!(store.commit(moved.clone())?, Revision::new(2));
    assert_conflict(&store.commit(moved), &a, Expected::At(Revision::new(1)), None);
    assert_eq!(paged(store.as_ref(), 100)?, [row(&b, "1", 2)]);
    Ok(())
}

fn a_transaction_is_one_revision(harness: &Harness<'_>) -> Outcome {
    let store = (harness.fresh)();
    put_many(store.as_ref(), TRANSACTION_OPERATIONS_MAX, 3)?;
    let rows = paged(store.as_ref(), 100)?;
    assert_eq!(rows.len(), TRANSACTION_OPERATIONS_MAX);
    assert!(rows.iter().all(|row| row.revision == Revision::new(1)));
    assert_eq!(store.revision()?, Revision::new(1));
    Ok(())
}

fn everything_survives_reopening(harness: &Harness<'_>) -> Outcome {
    let mut store = (harness.fresh)();
    let mut expected = BTreeMap::new();
    for round in 1..=5_u64 {
        let (kept, gone) = (numbered(round)?, name("gone")?);
        let value = round.to_string();
        store.commit(put(&kept, &value).put(gone.clone(), Vec::new()))?;
        store.commit(Transaction::new().delete(gone))?;
        let revision = round * 2 - 1;
        expected.insert(kept.clone(), row(&kept, &value, revision));
        store = (harness.reopen)(store);
        assert_eq!(store.revision()?, Revision::new(round * 2));
        assert_eq!(paged(store.as_ref(), 2)?, expected.values().cloned().collect::<Vec<_>>());
    }
    Ok(())
}

fn every_bound_is_held(harness: &Harness<'_>) -> Outcome {
    let store = (harness.fresh)();
    let a = name("a")?;
    let refused =
        |transaction: Transaction, expected: TransactionInvalid| match store.commit(transaction) {
            Err(CommitError::Invalid(found)) => assert_eq!(found, expected),
            other => assert_eq!(format!("{other:?}"), format!("{expected:?}")),
        };
    let compared = Transaction::new().expect_absent(a.clone());
    refused(Transaction::new(), TransactionInvalid::NoWrites);
    refused(compared, TransactionInvalid::NoWrites);
    refused(put(&a, "1").put(a.clone(), Vec::new()), duplicate(&a));
    refused(put(&a, "1").delete(a.clone()), duplicate(&a));
    let found = TRANSACTION_OPERATIONS_MAX + 1;
    refused(operations(found)?, TransactionInvalid::TooManyOperations { found });
    let found = ROW_VALUE_BYTES_MAX + 1;
    let too_long = TransactionInvalid::ValueTooLong { name: a.clone(), found };
    refused(Transaction::new().put(a.clone(), vec![0; found]), too_long);
    let found = TRANSACTION_BYTES_MAX + 1;
    refused(bytes(found)?, TransactionInvalid::TooManyBytes { found });
    assert_eq!(store.revision()?, Revision::ZERO);
    assert_eq!(store.range(b"", None, 1)?, []);

    let longest = RowName::new([0xff; ROW_NAME_BYTES_MAX])?;
    let value = vec![0xff; ROW_VALUE_BYTES_MAX];
    store.commit(Transaction::new().put(longest.clone(), value.clone()))?;
    let row = Row { name: longest.clone(), value, revision: Revision::new(1) };
    assert_eq!(store.get(&longest)?, Some(row));
    store.commit(operations(TRANSACTION_OPERATIONS_MAX)?)?;
    store.commit(bytes(TRANSACTION_BYTES_MAX)?)?;
    assert_eq!(store.revision()?, Revision::new(3));
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "writers race in threads, in tests alone")]
fn racing_writers_lose_no_update(harness: &Harness<'_>) -> Outcome {
    const WRITERS: u64 = 3;
    const UPDATES: u64 = 10;
    let store = (harness.fresh)();
    let counter = name("counter")?;
    store.commit(put(&counter, "0"))?;
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|_| {
                scope.spawn(|| (0..UPDATES).try_for_each(|_| count_up(store.as_ref(), &counter)))
            })
            .collect();
        writers.into_iter().try_for_each(|writer| {
            writer.join().unwrap_or_else(|_| Err("a writer panicked".into()))
        })
    })?;
    let total = WRITERS * UPDATES;
    assert_eq!(store.get(&counter)?, Some(row(&counter, &total.to_string(), total + 1)));
    Ok(())
}

/// Adds one to the number in a row, again and again until nobody else was first.
fn count_up(store: &dyn Store, counter: &RowName) -> Outcome {
    loop {
        let row = store.get(counter)?.ok_or("the counter is gone")?;
        let count: u64 = std::str::from_utf8(&row.value)?.parse()?;
        let next = put(counter, &(count + 1).to_string());
        match store.commit(next.expect_at(counter.clone(), row.revision)) {
            Ok(_) => return Ok(()),
            Err(CommitError::Conflict { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn a_watch_gives_changes_in_order(harness: &Harness<'_>) -> Outcome {
    let store = (harness.fresh)();
    let (a, b) = (name("a")?, name("b")?);
    let mut watch = store.watch(Revision::ZERO)?;
    assert_eq!(watch.next(Duration::ZERO)?, None);
    store.commit(put(&b, "b1").put(a.clone(), b"a1".to_vec()))?;
    assert!(store.commit(put(&a, "x").expect_absent(a.clone())).is_err());
    store.commit(Transaction::new().delete(b.clone()).delete(name("c")?))?;
    store.commit(put(&a, "a3"))?;
    let expected = [
        change(1, &b, Some("b1")),
        change(1, &a, Some("a1")),
        change(2, &b, None),
        change(3, &a, Some("a3")),
    ];
    assert_eq!(drain(&mut watch)?, expected);
    // A second watch, and one that comes a little later, see the same.
    assert_eq!(drain(&mut store.watch(Revision::ZERO)?)?, expected);
    store.commit(put(&b, "b4"))?;
    assert_eq!(drain(&mut watch)?, [change(4, &b, Some("b4"))]);
    drop(store);
    assert_eq!(watch.next(Duration::ZERO), Err(WatchError::Unavailable));
    Ok(())
}

fn a_watch_gives_nothing_at_or_before_its_start(harness: &Harness<'_>) -> Outcome {
    let store = (harness.fresh)();
    let a = name("a")?;
    store.commit(put(&a, "1"))?;
    store.commit(put(&a, "2"))?;
    let mut past = store.watch(Revision::new(1))?;
    let mut present = store.watch(Revision::new(2))?;
    let mut future = store.watch(Revision::new(3))?;
    store.commit(put(&a, "3"))?;
    store.commit(put(&a, "4"))?;
    let all = [change(2, &a, Some("2")), change(3, &a, Some("3")), change(4, &a, Some("4"))];
    assert_eq!(drain(&mut past)?, all);
    assert_eq!(drain(&mut present)?, all.iter().skip(1).cloned().collect::<Vec<_>>());
    assert_eq!(drain(&mut future)?, all.iter().skip(2).cloned().collect::<Vec<_>>());
    Ok(())
}

fn a_slow_watch_lags(harness: &Harness<'_>) -> Outcome {
    let store = (harness.fresh)();
    let mut watch = store.watch(Revision::ZERO)?;
    put_many(store.as_ref(), QUEUE_CHANGES_MAX, 0)?;
    let mut full = store.watch(store.revision()?)?;
    assert_eq!(drain(&mut watch)?.len(), QUEUE_CHANGES_MAX);
    put_many(store.as_ref(), QUEUE_CHANGES_MAX + 1, 0)?;
    assert_eq!(watch.next(Duration::ZERO), Err(WatchError::Lagged));
    assert_eq!(full.next(Duration::ZERO), Err(WatchError::Lagged));
    // It reads anew and watches from there.
    let mut again = store.watch(store.revision()?)?;
    store.commit(put(&name("a")?, ""))?;
    assert_eq!(drain(&mut again)?.len(), 1);
    Ok(())
}

fn a_late_watch_is_compacted(harness: &Harness<'_>) -> Outcome {
    let store = (harness.fresh)();
    store.commit(put(&name("a")?, ""))?;
    put_many(store.as_ref(), HISTORY_CHANGES_MAX + 1, 0)?;
    let revision = store.revision()?;
    assert_eq!(store.watch(Revision::ZERO)?.next(Duration::ZERO), Err(WatchError::Compacted));
    assert_eq!(store.watch(revision)?.next(Duration::ZERO), Ok(None));
    Ok(())
}

fn watches_are_limited(harness: &Harness<'_>) -> Outcome {
    let store = (harness.fresh)();
    let watches =
        (0..WATCHES_MAX).map(|_| store.watch(Revision::ZERO)).collect::<Result<Vec<_>, _>>()?;
    assert!(store.watch(Revision::ZERO).is_err());
    drop(watches);
    store.watch(Revision::ZERO)?;
    Ok(())
}

fn assert_conflict(
    result: &Result<Revision, CommitError>,
    name: &RowName,
    expected: Expected,
    found: Option<Revision>,
) {
    let Err(CommitError::Conflict { name: its_name, expected: its_expected, found: its_found }) =
        result
    else {
        assert_eq!(format!("{result:?}"), "Conflict", "row {name}, {expected:?}");
        return;
    };
    assert_eq!((its_name, *its_expected, *its_found), (name, expected, found));
}

fn awkward_store(harness: &Harness<'_>) -> Result<Box<dyn Store>, Source> {
    let store = (harness.fresh)();
    // Written from the middle outwards, so that the order of names is not that of writes.
    let (low, high) = AWKWARD_NAMES.split_at(AWKWARD_NAMES.len() / 2);
    for bytes in high.iter().chain(low.iter().rev()) {
        store.commit(put(&RowName::new(*bytes)?, "value"))?;
    }
    Ok(store)
}

/// Puts `count` rows with values of `length` bytes, in as few transactions as possible.
fn put_many(store: &dyn Store, count: usize, length: usize) -> Outcome {
    let rows = TRANSACTION_OPERATIONS_MAX.min(TRANSACTION_BYTES_MAX / (length + size_of::<u64>()));
    let numbers: Vec<u64> = (0..count as u64).collect();
    for numbers in numbers.chunks(rows) {
        let mut transaction = Transaction::new();
        for number in numbers {
            transaction = transaction.put(numbered(*number)?, vec![0xab; length]);
        }
        store.commit(transaction)?;
    }
    Ok(())
}

/// A transaction of that many operations, half of them comparisons.
fn operations(count: usize) -> Result<Transaction, Source> {
    let mut transaction = Transaction::new();
    for number in 0..count {
        let name = RowName::new(format!("operation {number}"))?;
        transaction = match number % 2 {
            0 => transaction.put(name, Vec::new()),
            _ => transaction.expect_absent(name),
        };
    }
    Ok(transaction)
}

/// A transaction of exactly that many bytes.
fn bytes(count: usize) -> Result<Transaction, Source> {
    let mut transaction = Transaction::new();
    let mut left = count;
    let mut number = 0;
    while left > 0 {
        let name = numbered(number)?;
        let length = (left - name.as_bytes().len()).min(ROW_VALUE_BYTES_MAX - 1024);
        left -= name.as_bytes().len() + length;
        transaction = transaction.put(name, vec![0; length]);
        number += 1;
    }
    Ok(transaction)
}

/// All rows, in pages.
fn paged(store: &dyn Store, limit: usize) -> Result<Vec<Row>, Source> {
    let mut rows: Vec<Row> = Vec::new();
    loop {
        let after = rows.last().map(|row| row.name.clone());
        let page = store.range(b"", after.as_ref(), limit)?;
        assert!(page.len() <= limit, "a page of {} rows for a limit of {limit}", page.len());
        let Some(first) = page.first() else { return Ok(rows) };
        assert!(after.is_none_or(|after| after < first.name), "a page starts before its place");
        rows.extend(page);
    }
}

fn drain(watch: &mut Watch) -> Result<Vec<Change>, Source> {
    let mut changes = Vec::new();
    while let Some(change) = watch.next(Duration::ZERO)? {
        changes.push(change);
    }
    Ok(changes)
}

fn name(text: &str) -> Result<RowName, Source> {
    Ok(RowName::new(text)?)
}

fn numbered(number: u64) -> Result<RowName, Source> {
    Ok(RowName::new(number.to_be_bytes())?)
}

fn names(rows: &[Row]) -> Vec<&[u8]> {
    rows.iter().map(|row| row.name.as_bytes()).collect()
}

fn put(name: &RowName, value: &str) -> Transaction {
    Transaction::new().put(name.clone(), value.into())
}

fn row(name: &RowName, value: &str, revision: u64) -> Row {
    Row { name: name.clone(), value: value.into(), revision: Revision::new(revision) }
}

fn change(revision: u64, name: &RowName, value: Option<&str>) -> Change {
    let revision = Revision::new(revision);
    Change { revision, name: name.clone(), value: value.map(Into::into) }
}

fn duplicate(name: &RowName) -> TransactionInvalid {
    TransactionInvalid::DuplicateWrite { name: name.clone() }
}
