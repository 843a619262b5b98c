//! Random histories, against the model.

use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::{Dir, open};
use crate::contract::{CommitError, Store};
use crate::embedded::{Embedded, OpenMode};
use crate::model::Model;
use crate::row::{Revision, Row, RowName};
use crate::transaction::{Expected, Transaction};

#[derive(Clone, Debug)]
enum Step {
    Commit { compares: Vec<(RowName, Guess)>, writes: Vec<(RowName, Option<Vec<u8>>)> },
    Range { prefix: Vec<u8>, after: Option<RowName>, limit: usize },
    Reopen,
}

/// What a comparison expects; mostly what is there, so that most transactions happen.
#[derive(Clone, Debug)]
enum Guess {
    Absent,
    Found,
    Some(Index),
}

fn names() -> impl Strategy<Value = RowName> {
    // Few names, so that they meet; some are prefixes of others.
    let bytes = prop::collection::vec(select(vec![0x00, b'a', 0xff]), 1..=3);
    bytes.prop_map(|bytes| RowName::new(bytes).unwrap())
}

fn steps() -> impl Strategy<Value = Step> {
    let guess = prop_oneof![
        1 => Just(Guess::Absent),
        6 => Just(Guess::Found),
        1 => any::<Index>().prop_map(Guess::Some),
    ];
    let compares = prop::collection::vec((names(), guess), 0..3);
    // Mostly small; a few values need redb's pages of several sizes.
    let value = prop_oneof![
        8 => prop::collection::vec(any::<u8>(), 0..20),
        1 => prop::collection::vec(any::<u8>(), 3000..9000),
    ];
    let writes = prop::collection::vec((names(), prop::option::weighted(0.7, value)), 0..6);
    let prefix = prop::collection::vec(select(vec![0x00, b'a', 0xff]), 0..=2);
    prop_oneof![
        8 => (compares, writes).prop_map(|(compares, writes)| Step::Commit { compares, writes }),
        4 => (prefix, prop::option::of(names()), 0_usize..6)
            .prop_map(|(prefix, after, limit)| Step::Range { prefix, after, limit }),
        1 => Just(Step::Reopen),
    ]
}

/// What came of a commit, without the source of a failure.
#[derive(Debug, PartialEq)]
enum Came {
    Committed(Revision),
    Conflict(RowName, Expected, Option<Revision>),
    Invalid(String),
    Other(String),
}

fn came(result: Result<Revision, CommitError>) -> Came {
    match result {
        Ok(revision) => Came::Committed(revision),
        Err(CommitError::Conflict { name, expected, found }) => {
            Came::Conflict(name, expected, found)
        }
        Err(CommitError::Invalid(invalid)) => Came::Invalid(invalid.to_string()),
        Err(other) => Came::Other(other.to_string()),
    }
}

fn transaction(
    model: &Model,
    compares: Vec<(RowName, Guess)>,
    writes: Vec<(RowName, Option<Vec<u8>>)>,
) -> Transaction {
    let mut transaction = Transaction::new();
    for (name, guess) in compares {
        let found = model.get(&name).unwrap().map(|row| row.revision);
        let newest = usize::try_from(model.revision().unwrap().get()).unwrap();
        let expected = match guess {
            Guess::Absent => Expected::Absent,
            Guess::Found => found.map_or(Expected::Absent, Expected::At),
            Guess::Some(index) => Expected::At(Revision::new(index.index(newest + 2) as u64)),
        };
        transaction = transaction.expect(name, expected);
    }
    for (name, value) in writes {
        transaction = match value {
            Some(value) => transaction.put(name, value),
            None => transaction.delete(name),
        };
    }
    transaction
}

fn all(store: &dyn Store) -> Vec<Row> {
    store.range(b"", None, 1000).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_embedded_driver_and_the_model_agree(
        history in prop::collection::vec(steps(), 1..40)
    ) {
        let dir = Dir::new();
        let mut store: Embedded = open(&dir.file(), OpenMode::Create);
        let mut model = Model::new();
        for step in history {
            match step {
                Step::Commit { compares, writes } => {
                    let transaction = transaction(&model, compares, writes);
                    let expected = came(model.commit(transaction.clone()));
                    prop_assert_eq!(came(store.commit(transaction)), expected);
                    prop_assert_eq!(all(&store), all(&model));
                }
                Step::Range { prefix, after, limit } => {
                    let expected = model.range(&prefix, after.as_ref(), limit).unwrap();
                    prop_assert_eq!(store.range(&prefix, after.as_ref(), limit).unwrap(), expected);
                }
                Step::Reopen => {
                    drop(store);
                    store = open(&dir.file(), OpenMode::ReadWrite);
                    model = model.reopened();
                    prop_assert_eq!(all(&store), all(&model));
                }
            }
            prop_assert_eq!(store.revision().unwrap(), model.revision().unwrap());
        }
    }
}
