//! The pure core of Chancery: who may do what to which key, in which order, and when an answer may leave.
//!
//! The core is *sans-I/O*: it is told what happened and says what to do. It reads no clock, draws no
//! randomness, touches no disk and holds no key bytes; the time is a value handed in, and message
//! authentication goes through [`handle::Mac`]. The signer and the simulator drive this same code, and
//! authority is decided here and nowhere else.
//!
//! **Invariant:** an answer that leaves the service is a [`sequencer::Released`], and only a
//! [`sequencer::Durable`] position opens a result into one.

#![deny(clippy::disallowed_methods)]

pub mod action;
pub mod authority;
pub mod automatic;
pub mod budget;
pub mod bundle;
pub mod campaign;
pub mod cbor;
pub mod census;
pub mod clock;
pub mod command;
pub mod context;
pub mod counts;
pub mod cryptoperiod;
pub mod disclosure;
pub mod duration;
pub mod epoch;
pub mod handle;
pub mod id;
pub mod idempotency;
pub mod key;
pub mod limits;
pub mod name;
pub mod posture;
pub mod principal;
pub mod proposal;
pub mod purpose;
pub mod reason;
pub mod record_group;
pub mod retirement;
pub mod rollout;
pub mod schedule;
pub mod sequencer;
pub mod state;
pub mod step;
pub mod suite;
pub mod verifier;
