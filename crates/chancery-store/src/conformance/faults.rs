//! A caller that follows the contract, and every way its commits can go wrong.
//!
//! The caller moves one unit from one row to another with each operation, and writes the
//! operation's own row in the same transaction, as the signer does. Whatever fails, at the end
//! each operation has had its effect exactly once.

use super::{Harness, Outcome, name, numbered, paged, put};
use crate::contract::{CommitError, ReadBack, Source, Store, read_back};
use crate::faulty::{Fault, Faulty, Plan};
use crate::row::{Revision, RowName};
use crate::transaction::Transaction;

/// How many operations a run makes.
const OPERATIONS: u64 = 6;

/// What the first row holds at the start.
const UNITS: u64 = 1000;

/// How many runs toss a coin for each commit.
const RUNS: u64 = 12;

/// How many commits such a run can make go wrong, several times as many as it needs.
const COMMITS: u64 = 8 * OPERATIONS;

pub(super) fn one_fault_at_each_commit(harness: &Harness<'_>) -> Outcome {
    for fault in Fault::ALL {
        // One commit before the operations makes the rows; it goes wrong too.
        for commit in 0..=OPERATIONS {
            Caller::new(harness, Plan::from([(commit, fault)])).run()?;
        }
    }
    Ok(())
}

pub(super) fn any_faults_at_all_commits(harness: &Harness<'_>) -> Outcome {
    for seed in 0..RUNS {
        let mut random = Random(seed);
        let mut plan = Plan::new();
        for commit in 0..COMMITS {
            match random.below_four() {
                0 => _ = plan.insert(commit, Fault::Failed),
                1 => _ = plan.insert(commit, Fault::FailedButPersisted),
                2 => _ = plan.insert(commit, Fault::UnknownAndLost),
                _ => {}
            }
        }
        Caller::new(harness, plan).run().map_err(|source| format!("seed {seed}: {source}"))?;
    }
    Ok(())
}

struct Caller<'a> {
    harness: &'a Harness<'a>,
    plan: Plan,
    store: Option<Faulty>,
}

impl<'a> Caller<'a> {
    fn new(harness: &'a Harness<'a>, plan: Plan) -> Self {
        let store = Some(Faulty::new((harness.fresh)(), plan.clone(), 0));
        Self { harness, plan, store }
    }

    fn run(mut self) -> Outcome {
        let (from, to) = (name("from")?, name("to")?);
        let start = put(&from, &UNITS.to_string()).put(to.clone(), b"0".to_vec());
        self.settle(&|_| Ok(start.clone().expect_absent(from.clone())))?;
        for operation in 0..OPERATIONS {
            self.settle(&|store| transfer(store, operation))?;
        }
        self.judge()
    }

    /// Makes a transaction happen once, by the rules of the contract.
    fn settle(&mut self, build: &dyn Fn(&dyn Store) -> Result<Transaction, Source>) -> Outcome {
        loop {
            let since = self.store()?.revision()?;
            let before = paged(self.store()?, 100)?;
            let transaction = build(self.store()?)?;
            match self.store()?.commit(transaction.clone()) {
                Ok(revision) => {
                    assert_eq!(Some(revision), since.next());
                    return Ok(());
                }
                Err(CommitError::Failed { .. }) => {
                    self.reopen()?;
                    assert_eq!(paged(self.store()?, 100)?, before, "a failure had an effect");
                    assert_eq!(self.store()?.revision()?, since, "a failure had an effect");
                }
                Err(CommitError::Unknown { .. }) => {
                    assert!(self.store()?.revision().is_err(), "it answers in doubt");
                    self.reopen()?;
                    match read_back(self.store()?, &transaction, since)? {
                        ReadBack::Applied(revision) => {
                            assert_eq!(Some(revision), since.next());
                            return Ok(());
                        }
                        ReadBack::NotApplied => {
                            assert_eq!(paged(self.store()?, 100)?, before, "a lost one persisted");
                        }
                        ReadBack::Unclear => return Err("nobody else writes here".into()),
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Every operation happened exactly once, and no unit came or went.
    fn judge(mut self) -> Outcome {
        self.reopen()?;
        let store = self.store()?;
        assert_eq!(number(store, &name("from")?)?.0, UNITS - OPERATIONS);
        assert_eq!(number(store, &name("to")?)?.0, OPERATIONS);
        for operation in 0..OPERATIONS {
            let row = store.get(&numbered(operation)?)?.ok_or("an operation is missing")?;
            assert_eq!(row.revision, Revision::new(operation + 2));
        }
        assert_eq!(store.revision()?, Revision::new(OPERATIONS + 1));
        Ok(())
    }

    fn store(&self) -> Result<&Faulty, Source> {
        self.store.as_ref().ok_or_else(|| "the store is closed".into())
    }

    fn reopen(&mut self) -> Outcome {
        let closed = self.store.take().ok_or("the store is closed")?;
        let tried = closed.tried();
        let opened = (self.harness.reopen)(closed.into_inner());
        self.store = Some(Faulty::new(opened, self.plan.clone(), tried));
        Ok(())
    }
}

fn transfer(store: &dyn Store, operation: u64) -> Result<Transaction, Source> {
    let (from, to) = (name("from")?, name("to")?);
    let ((have, have_at), (got, got_at)) = (number(store, &from)?, number(store, &to)?);
    Ok(Transaction::new()
        .expect_at(from.clone(), have_at)
        .expect_at(to.clone(), got_at)
        .expect_absent(numbered(operation)?)
        .put(numbered(operation)?, b"done".to_vec())
        .put(from, (have - 1).to_string().into_bytes())
        .put(to, (got + 1).to_string().into_bytes()))
}

fn number(store: &dyn Store, name: &RowName) -> Result<(u64, Revision), Source> {
    let row = store.get(name)?.ok_or("a balance is missing")?;
    Ok((std::str::from_utf8(&row.value)?.parse()?, row.revision))
}

/// `SplitMix64` (Steele, Lea and Flood, OOPSLA 2014): enough to toss coins that a seed repeats.
struct Random(u64);

impl Random {
    fn below_four(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) >> 62
    }
}
