//! Evidence that a service exported (`vectors/evidence`): it holds, and nothing else that can be made of it does.

use chancery_core::epoch::Epoch;
use chancery_core::rollout::{Gate, Ground, Halt, Status, Why};

use super::*;

const ROTATION: (&[u8], &str) = (
    include_bytes!("../../../../vectors/evidence/rotation.evidence"),
    include_str!("../../../../vectors/evidence/rotation.policy"),
);
const ROLLBACK: (&[u8], &str) = (
    include_bytes!("../../../../vectors/evidence/rollback.evidence"),
    include_str!("../../../../vectors/evidence/rollback.policy"),
);

/// Every so many bytes of a body one is altered and the digest made anew: 16, so that this takes a few seconds.
const EVERY: usize = 16;

fn read(bytes: &[u8]) -> Evidence {
    Evidence::parse(bytes).unwrap()
}

fn check(evidence: &Evidence, policy: &str) -> Result<Proved, EvidenceError> {
    // As whoever has the file does it.
    Evidence::parse(&evidence.to_bytes())?.check(&Trust::parse(policy).unwrap())
}

#[test]
fn what_a_service_exported_holds() {
    for (bytes, policy) in [ROTATION, ROLLBACK] {
        let evidence = read(bytes);
        assert_eq!(evidence.to_bytes(), bytes);
        let proved = check(&evidence, policy).unwrap();
        let last = proved.steps.last().unwrap();
        assert!(last.step.taken.after.status.is_over());
        assert_eq!(proved.steps.first().unwrap().step.number, 0);
        assert_eq!(proved.steps.len(), evidence.steps.len());
    }
    let proved = check(&read(ROLLBACK.0), ROLLBACK.1).unwrap();
    let last = &proved.steps.last().unwrap().step.taken;
    assert_eq!(last.why, Why::Ground(Ground::VerifyFailureRate));
    assert_eq!(last.after.status, Status::RolledBack(Halt::Trigger));
    let fired = last.counted.iter().find(|it| Some(it.trigger) == last.trigger).unwrap();
    assert!(fired.long.new.part > 0 && !fired.points.is_empty());
    assert!(proved.bundles.iter().all(|(_, index)| index.is_some()));
}

#[test]
fn every_flipped_bit_is_refused() {
    let (bytes, policy) = ROLLBACK;
    let trust = Trust::parse(policy).unwrap();
    let mut copy = bytes.to_vec();
    for place in 0..copy.len() {
        for bit in 0..8 {
            copy[place] ^= 1 << bit;
            let found = Evidence::parse(&copy).and_then(|evidence| evidence.check(&trust));
            assert!(found.is_err(), "bit {bit} of byte {place}");
            copy[place] ^= 1 << bit;
        }
    }
    for length in (0..bytes.len()).step_by(97) {
        assert!(Evidence::parse(&bytes[..length]).is_err());
    }
}

/// A file whose digest is that of its body, whatever that is.
fn sealed(body: Vec<u8>) -> Vec<u8> {
    let digest = sha256(&[&body]).into();
    cbor::encode(&File { format: FORMAT, body, digest })
}

#[test]
fn who_makes_the_digest_anew_alters_nothing_that_is_vouched_for() {
    let (bytes, policy) = ROLLBACK;
    let (evidence, trust) = (read(bytes), Trust::parse(policy).unwrap());
    let body = cbor::encode(&evidence);
    let place_of = |part: &[u8]| body.windows(part.len()).position(|it| it == part).unwrap();
    // The signatures under the checkpoint begin behind its empty line; the name of the policy is the end of the body.
    let (text, signatures) = evidence.checkpoint.split_once("\n\n").unwrap();
    let from = place_of(text.as_bytes()) + text.len();
    let unvouched = from..from + signatures.len() + 2;
    let named = body.len() - 32..body.len();
    let mut accepted = 0;
    for place in (0..body.len()).step_by(EVERY) {
        let mut copy = body.clone();
        copy[place] ^= 1;
        let found = Evidence::parse(&sealed(copy)).and_then(|evidence| evidence.check(&trust));
        if found.is_ok() {
            accepted += 1;
            assert!(unvouched.contains(&place) || named.contains(&place), "byte {place}");
        }
    }
    // Of the signatures themselves, names and ids of keys alone: what they sign is held against them.
    assert!(accepted < 20, "{accepted}");
}

fn altered(change: impl FnOnce(&mut Evidence)) -> EvidenceError {
    let mut evidence = read(ROTATION.0);
    change(&mut evidence);
    check(&evidence, ROTATION.1).unwrap_err()
}

#[test]
fn a_step_that_is_left_out_moved_or_made_up_is_missed() {
    let without = |at: usize| {
        altered(|it| {
            it.steps.remove(at);
            it.records.remove(at);
        })
    };
    assert_eq!(without(3), EvidenceError::Chain(4));
    let swapped = altered(|it| {
        it.steps.swap(3, 4);
        it.records.swap(3, 4);
    });
    assert_eq!(swapped, EvidenceError::Chain(4));
    let records = altered(|it| it.records.swap(3, 4));
    assert!(matches!(records, EvidenceError::Record { step: 3, .. }), "{records:?}");
    let doubled = altered(|it| {
        it.steps.push(it.steps.last().unwrap().clone());
        it.records.push(it.records.last().unwrap().clone());
    });
    assert!(matches!(doubled, EvidenceError::Chain(_)), "{doubled:?}");
    assert_eq!(altered(|it| it.steps.clear()), EvidenceError::NotEvidence);
    let renumbered = altered(|it| it.steps.iter_mut().for_each(|step| step.number += 1));
    assert_eq!(renumbered, EvidenceError::Chain(1));
}

#[test]
fn what_begins_later_holds_and_says_so() {
    let mut evidence = read(ROTATION.0);
    evidence.steps.drain(..2);
    evidence.records.drain(..2);
    let proved = check(&evidence, ROTATION.1).unwrap();
    assert_eq!(proved.steps[0].step.number, 2);
}

#[test]
fn what_a_step_says_otherwise_is_missed() {
    let step = |change: fn(&mut StepRow)| altered(|it| change(&mut it.steps[2]));
    let unsound = |why| EvidenceError::Unsound { step: 2, why };
    assert_eq!(step(|it| it.taken.why = Why::Halt(Halt::Person)), unsound(Unsound::OtherReason));
    assert_eq!(step(|it| it.taken.gates = vec![Gate::Person]), unsound(Unsound::Gates));
    assert_eq!(step(|it| it.taken.after.stage += 1), unsound(Unsound::OtherStep));
    assert_eq!(step(|it| it.row = [0; 32]), EvidenceError::Row(2));
    assert_eq!(step(|it| it.taken.lasting.plan_digest = [0; 32]), EvidenceError::Chain(2));
    // What the engine does not look at there is in the digest of the step all the same.
    assert_eq!(step(|it| it.taken.unix_ms += 1), EvidenceError::Chain(3));
    let none = Epoch { generation: 0, number: 0 };
    let issued = |it: &mut StepRow| {
        it.taken.bundle = Some(Issued { number: none, as_of: none, digest: [1; 32] });
    };
    assert_eq!(altered(|it| issued(&mut it.steps[2])), EvidenceError::Chain(3));
    let last = altered(|it| it.steps.last_mut().unwrap().taken.unix_ms += 1);
    assert!(matches!(last, EvidenceError::Record { .. }), "{last:?}");
    assert_eq!(altered(|it| it.plan.stages[0].min_ms += 1), EvidenceError::Plan(0));
    // A verdict that the counts do not bear.
    let counted = {
        let mut evidence = read(ROLLBACK.0);
        let taken = &mut evidence.steps.last_mut().unwrap().taken;
        let (place, fired) = (taken.trigger.unwrap(), taken.trigger);
        let of = taken.counted.iter_mut().find(|it| Some(it.trigger) == fired).unwrap();
        of.long.new.part = 0;
        (place, check(&evidence, ROLLBACK.1).unwrap_err())
    };
    assert!(
        matches!(counted.1, EvidenceError::Unsound { why: Unsound::Verdict(at), .. } if at == counted.0),
        "{counted:?}"
    );
}

#[test]
fn the_log_of_another_service_vouches_for_nothing() {
    let found = check(&read(ROTATION.0), ROLLBACK.1).unwrap_err();
    assert_eq!(found, EvidenceError::Proof(ProofError::Unsigned));
    let other = altered(|it| it.checkpoint = read(ROLLBACK.0).checkpoint);
    assert_eq!(other, EvidenceError::Proof(ProofError::Unsigned));
    let bundles = {
        let mut evidence = read(ROLLBACK.0);
        evidence.bundles[0] = evidence.records[0].clone();
        check(&evidence, ROLLBACK.1).unwrap_err()
    };
    assert!(matches!(bundles, EvidenceError::Bundle(_)), "{bundles:?}");
}
