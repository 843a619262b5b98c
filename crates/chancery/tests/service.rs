//! The service as a whole: three real processes, real TLS, the real command line.
//!
//! What is held here is what no crate can hold alone: the walk of the README, every algorithm in every
//! format, operation ids, answers that are lost, reductions under load, rotations, the death of each process, a front that lies, a store
//! that was altered while the service was down, and witnesses of its log.

#[cfg(test)]
mod harness;

#[cfg(test)]
mod wire;

#[cfg(test)]
mod service {
    mod algorithms;
    mod archives;
    mod automatic;
    mod broken_off;
    mod bundles;
    mod campaigns;
    mod checkpoints;
    mod counts;
    mod damage;
    mod disclosures;
    mod drills;
    mod evidence;
    mod exports;
    mod frames;
    mod front_user;
    mod guesser;
    mod handles;
    mod heavy;
    mod idempotency;
    mod json;
    mod lost_answers;
    mod lying_front;
    mod middleman;
    mod migrations;
    mod months;
    mod offline;
    mod operations;
    mod people;
    mod processes;
    mod proofs;
    mod proposals;
    mod prunes;
    mod queries;
    mod readiness;
    mod reductions;
    mod repacks;
    mod retire;
    mod rollouts;
    mod root_key;
    mod rows;
    mod sampled;
    mod seaweed;
    mod terminal;
    mod unknown;
    mod verified;
    mod verified_rollouts;
    mod verifying;
    mod walk;
    mod witnessed;
    mod witnesses;
}
