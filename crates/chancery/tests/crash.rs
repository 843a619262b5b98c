//! Crashes of the real binary, judged by a journal that its client keeps in a file outside the service's
//! directory, synced per answer, and reads back.
//!
//! | suite | what happens |
//! |---|---|
//! | [`sweep`](crash::sweep) | each system call of signer and supervisor that changes a file is the last one before or after which the process dies, or fails with `EIO` or `ENOSPC` |
//! | [`planted`](crash::planted) | a write is lost though it was reported done, a frame is cut off: the journal must notice |
//! | [`disk`](crash::disk) | the disk of a running service fails, or is full: reductions are still taken |
//! | [`hanging`](crash::hanging) | the store of a running service hangs: the last trust bundle is handed out, and the next one once it is on record |
//! | [`power`](crash::power) | all that a run did to its files is replayed, and power is lost at each call: unsynced sectors are lost or torn |
//! | [`published`](crash::published) | the same, at each call on what is published: it holds by itself wherever power is lost, and a later start contradicts no checkpoint that was there to be read |
//! | [`first_start`](crash::first_start) | the same of a first start, with the keys and the directories that it makes |
//! | [`retire`](crash::retire) | the same of `chancery audit retire`: the old log is the log, or the new one stands behind its gap |
//! | [`deaths`](crash::deaths) | all three processes are killed at random under load |
//!
//! The processes that are traced are traced with `strace`, which must be on the machine; its path filter
//! reads the file descriptors of a process that gave up being traced by its equals, so the tests run as root.
//!
//! What `kill -9` cannot show is a sync that is missing, because the page cache outlives every process: the
//! replay shows that, and the in-memory disk of the tests of `chancery-audit`. `CHANCERY_CRASH=all` runs every point instead
//! of a sample, `CHANCERY_SOAK_SECONDS` lengthens the random deaths; `cargo xtask` has a command for each.

#[cfg(test)]
mod harness;
#[cfg(test)]
mod opened;

#[cfg(test)]
mod crash {
    mod deaths;
    mod disk;
    mod first_start;
    mod hanging;
    mod journal;
    // The disk in memory of the tests of the audit crate, and its states without power.
    #[expect(dead_code, reason = "faults are for the tests that drive the disk call by call")]
    #[path = "../../../chancery-audit/tests/audit/model.rs"]
    mod model;
    mod planted;
    mod points;
    mod power;
    mod published;
    mod recorded;
    #[expect(dead_code, reason = "only some states of a point are run over real processes")]
    #[path = "../../../chancery-audit/tests/audit/replay.rs"]
    mod replay;
    mod retire;
    mod scene;
    mod supervisor;
    mod sweep;
    mod traced;
    mod tree;
    mod workload;
    mod written;
}
