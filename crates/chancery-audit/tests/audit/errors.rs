//! Every call of the disk fails once, in every way: the writer says so, and whoever stops then loses nothing.

use std::sync::Arc;

use chancery_audit::disk::Disk;
use chancery_audit::wal::prepare_spare;

use super::crash::{Promised, judge};
use super::life::{Life, LifeError, SMALL, Shape};
use super::model::{Extent, Fault, Image, Model};
use super::replay::{Random, Replay};
use super::wrong::{Wrong, WrongDisk};

const LIFE: Life = Life::of(12 * 1024);

/// Two starts, and a roll in each.
const LIVES: [&[Shape]; 2] = [&[SMALL, SMALL, SMALL], &[SMALL, &[100, 3_000], SMALL]];

const EIO: i32 = 5;
const ENOSPC: i32 = 28;

fn lead(life: Life, disk: &Arc<dyn Disk>, model: &Model) -> Result<(), LifeError> {
    LIVES.iter().try_for_each(|frames| life.lead(disk, model, frames).map(|_| ()))
}

fn faults(life: Life) -> Vec<Fault> {
    let model = Model::default();
    let disk: Arc<dyn Disk> = Arc::new(model.clone());
    lead(life, &disk, &model).unwrap();
    let mut faults = Vec::new();
    for call in 1..=model.calls() {
        for errno in [EIO, ENOSPC] {
            for extent in [Extent::Nothing, Extent::Half, Extent::All] {
                faults.push(Fault { call, errno, extent });
            }
        }
    }
    faults
}

/// Judges what is found by who starts next, whether or not power was lost too.
fn judge_end(life: Life, model: &Model) -> Result<u64, String> {
    let mut replay = Replay::of(&Image::new());
    model.trace().iter().for_each(|event| replay.apply(event));
    let promised = Promised { acknowledged: &replay.acknowledged, in_flight: replay.in_flight };
    let mut verdict = judge(life, &model.image(), promised).map(|_| 1);
    replay.states(&mut Random::seeded(1), &mut |image| {
        let judged = judge(life, &image, promised);
        verdict = verdict.clone().and_then(|count| judged.map(|_| count + 1));
    });
    verdict
}

fn check_every_fault(life: Life) {
    let mut states = 0;
    let faults = faults(life);
    for fault in &faults {
        let model = Model::default();
        model.fail(*fault);
        let disk: Arc<dyn Disk> = Arc::new(model.clone());
        assert!(lead(life, &disk, &model).is_err(), "{fault:?} went unnoticed");
        states += judge_end(life, &model).unwrap_or_else(|failure| panic!("{fault:?}: {failure}"));
    }
    println!("{} faults, {states} states behind them", faults.len());
}

#[test]
fn every_call_fails_once_and_nothing_acknowledged_is_lost() {
    check_every_fault(LIFE);
}

#[test]
fn every_call_of_a_repack_fails_once_and_nothing_acknowledged_is_lost() {
    assert!(faults(LIFE.repacking()).len() > faults(LIFE).len() + 100);
    check_every_fault(LIFE.repacking());
}

/// The signer goes on while there is no room for a spare, and tries again.
#[test]
fn a_spare_whose_making_failed_is_made_anew() {
    for extent in [Extent::Nothing, Extent::Half, Extent::All] {
        for call in 1..=4 {
            let model = Model::default();
            let failed = model.calls() + call;
            model.fail(Fault { call: failed, errno: EIO, extent });
            let _ = prepare_spare(&model, LIFE.segment_bytes);
            prepare_spare(&model, LIFE.segment_bytes).unwrap();
            let disk: Arc<dyn Disk> = Arc::new(model.clone());
            lead(LIFE, &disk, &model).unwrap();
            judge_end_of_each_frame(&model)
                .unwrap_or_else(|failure| panic!("call {call}, {extent:?}: {failure}"));
        }
    }
}

#[test]
fn a_writer_that_syncs_again_after_an_error_is_condemned() {
    let mut faults = faults(LIFE).into_iter();
    let is_condemned = faults.any(|fault| {
        let model = Model::default();
        model.fail(fault);
        let disk: Arc<dyn Disk> =
            Arc::new(WrongDisk { model: model.clone(), wrong: Wrong::SyncRetried });
        lead(LIFE, &disk, &model).is_ok() && judge_end_of_each_frame(&model).is_err()
    });
    assert!(is_condemned);
}

/// As [`judge_end`], after each acknowledgement: what comes later may hide what was lost.
fn judge_end_of_each_frame(model: &Model) -> Result<(), String> {
    let mut replay = Replay::of(&Image::new());
    for event in model.trace() {
        replay.apply(&event);
        let promised = Promised { acknowledged: &replay.acknowledged, in_flight: replay.in_flight };
        if replay.in_flight.is_some() {
            continue;
        }
        let mut verdict = Ok(());
        replay.states(&mut Random::seeded(1), &mut |image| {
            let judged = judge(LIFE, &image, promised);
            verdict = verdict.clone().and_then(|()| judged.map(|_| ()));
        });
        verdict?;
    }
    Ok(())
}
