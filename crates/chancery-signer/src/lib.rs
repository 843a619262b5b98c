//! The signer: the shell that drives the core with a real clock, real disk, real keys.
//!
//! ```text
//! front ═ socket ═ lane ─┬─▶ core (one lock, no I/O) ─▶ key ─▶ record ─┐
//!                        └─▶ slow pool (RSA, ML-DSA, redone uses) ─────┤
//!                   commands ─▶ store thread ─▶ store ─▶ record ───────┴─▶ sequencer ─▶ disk ─▶ answers
//! ```
//!
//! **Invariant:** whatever leaves on a socket went through [`release`](sequencer), and that needs a position
//! that is on the disk. Authority is decided in `chancery-core`; this crate carries out.
//!
//! What it deliberately does not do: it parses no HTTP and no JSON, believes no identity that the front
//! states, and retries no failed write.

mod aside;
mod audit;
mod authority_tls;
mod barrier;
mod build;
mod bundles;
mod called;
mod census;
mod checkpoints;
mod commands;
mod config;
mod counters;
mod disclosures;
mod entropy;
mod genesis;
mod held;
mod housekeeping;
mod imports;
mod inbox;
mod index;
mod indexer;
mod inspect;
mod jobs;
mod lane;
mod lock_record;
mod materials;
mod metered;
mod offline;
mod others;
mod outbox;
mod outlet;
mod overdue;
mod pages;
mod peers;
mod pool;
mod prunes;
mod query;
mod reduce_only;
mod repacker;
mod resumes;
mod retire;
mod rollouts;
mod root;
mod roots;
mod rotator;
mod search;
mod sequencer;
mod service;
mod sightings;
mod signature;
mod source;
mod spare;
mod status;
mod store_thread;
mod stored;
mod summaries;
mod uses;
mod vault;
mod verifiers;

pub use config::{
    CHECKPOINT_EVERY, CHECKPOINT_EVERY_MAX, EXIT_AUDIT_FAILED, IndexWish, LockRecordWish,
    OthersWish, RootSource, SignerConfig, SignerError, Unwitnessed, WallClock,
};
pub use disclosures::{Recipient, RecipientError};
pub use offline::{Answer, Archive, ArchiveError, Disclosed, Reach};
pub use reduce_only::run as run_reduce_only;
pub use retire::{Asked, Found, RetireError, Retired, Retirement, Step};
pub use search::Unread;
pub use service::run;
