//! What the signer is started with, and how it ends.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use chancery_audit::journal::JournalError;
use chancery_audit::recovery::WalkError;
use chancery_audit::wal::WalError;
use chancery_core::authority::Contradiction;
use chancery_crypto::passphrase::PassphraseError;
use chancery_crypto::primitive::PrimitiveError;
use chancery_crypto::seal::{NotSealedHere, SealError};
use chancery_memory::ArenaError;
use chancery_store::{CommitError, OpenError, PrivateDirError, StoreError};
use rustix::process::Uid;

/// The exit status after a write or a sync failed: the disk's state is unknown until it is read again.
pub const EXIT_AUDIT_FAILED: u8 = 74;

/// How often a checkpoint is made while the log grows, unless it is said: once a second.
pub const CHECKPOINT_EVERY: Duration = Duration::from_secs(1);

/// The longest that may lie between two: an hour. What no checkpoint covers can be proved to nobody, and is read back
/// all at once when one is made.
pub const CHECKPOINT_EVERY_MAX: Duration = Duration::from_hours(1);

/// Where the root key comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RootSource {
    /// From a file of mode 0600; made at first start if it is missing.
    Keyfile(PathBuf),
    /// From such a file, in which it is wrapped under a passphrase.
    Passphrase {
        /// The file.
        file: PathBuf,
        /// The file whose first line is the passphrase, of mode 0600; read at each start.
        passphrase: PathBuf,
    },
}

impl RootSource {
    /// The root key's file.
    #[must_use]
    pub fn file(&self) -> &Path {
        match self {
            Self::Keyfile(file) | Self::Passphrase { file, .. } => file,
        }
    }
}

/// What is thought of the wall clock at a start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WallClock {
    /// It is believed within the bounds of what may have happened since the last record.
    Checked,
    /// The operator says that it is right.
    Vouched,
}

/// What is to be done about the lock record at this start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockRecordWish {
    /// It must be there, if there ever was one.
    Kept,
    /// The operator says that it is lost: it is made anew.
    New,
}

/// What a start does that no quorum of witnesses has cosigned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unwitnessed {
    /// It uses no key.
    Refuse,
    /// It uses keys for so long, from the start on.
    ServeFor(Duration),
}

/// Who else is asked what they remember of the log, by a courier that the supervisor runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OthersWish {
    /// The lines of a policy that name witnesses and their quorum; none if only peers are asked.
    pub witnesses: String,
    /// What a start does without them.
    pub unwitnessed: Unwitnessed,
}

/// Whether the index of the log is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IndexWish {
    /// It is not, and queries are refused. What there is of it stays, and is gone on with when it is made again.
    Off,
    /// It is.
    On,
}

/// What the signer is started with.
#[derive(Clone, Debug)]
pub struct SignerConfig {
    /// The data directory, which is there already, 0700.
    pub data: PathBuf,
    /// Where the root key comes from.
    pub root_key: RootSource,
    /// Where the recovery key is put at first start.
    pub recovery_key: PathBuf,
    /// The address that clients reach the front at, for the administrator's file.
    pub endpoint: String,
    /// The names for which the front's certificate holds.
    pub names: Vec<String>,
    /// The front's user, if it is another than the signer's.
    pub front_user: Option<Uid>,
    /// The bytes of an audit segment.
    pub segment_bytes: u64,
    /// What is thought of the wall clock at this start.
    pub wall_clock: WallClock,
    /// The directory of the log's lock record, outside the data directory.
    pub lock_directory: PathBuf,
    /// What is to be done about it at this start.
    pub lock_record: LockRecordWish,
    /// Who else is asked what they remember of the log, if anybody is.
    pub others: Option<OthersWish>,
    /// How often a checkpoint is made while the log grows: from a second to [`CHECKPOINT_EVERY_MAX`].
    pub checkpoint_every: Duration,
    /// Whether the index is made.
    pub index: IndexWish,
    /// For how long segments of the log stay in the data directory, in milliseconds; nothing is ever pruned if it is
    /// not said.
    pub retention_ms: Option<u64>,
}

/// The signer cannot start, or cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum SignerError {
    /// Locked memory is not to be had.
    #[error("no locked memory for keys")]
    Arena(#[from] ArenaError),
    /// A file is not what it must be, or cannot be used.
    #[error("`{path}`: {what}")]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong, and what to do.
        what: &'static str,
        /// What the system said.
        #[source]
        source: Option<io::Error>,
    },
    /// The audit log does not hold.
    #[error("the audit log does not hold; no key is used until that is resolved")]
    Audit(#[from] WalkError),
    /// The audit log cannot be written.
    #[error(transparent)]
    Wal(#[from] WalError),
    /// What is stored and what the log says do not go together.
    #[error(
        "store and audit log contradict each other: {0}; no key is used until that is resolved"
    )]
    Inconsistent(&'static str),
    /// The root key does not come out of its wrapping.
    #[error("the root key's file cannot be opened")]
    Passphrase(#[from] PassphraseError),
    /// The provider failed.
    #[error(transparent)]
    Primitive(#[from] PrimitiveError),
    /// A row does not open.
    #[error(transparent)]
    Row(#[from] NotSealedHere),
    /// A row cannot be sealed.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// The store cannot be opened.
    #[error("the store cannot be opened")]
    Open(#[from] OpenError),
    /// The store does not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The store does not take a transaction.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// Nothing says any more what the log's first segments said.
    #[error(
        "segments of the log were pruned, and no resume file is whole: restore them with `chancery audit restore`, \
         then remove the file `audit/pruned`; no key is used until then"
    )]
    Pruned,
    /// A directory is not private.
    #[error(transparent)]
    Directory(#[from] PrivateDirError),
    /// What is stored contradicts itself.
    #[error(transparent)]
    Contradiction(#[from] Contradiction),
    /// The system refused.
    #[error("{what}")]
    System {
        /// What was tried.
        what: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The disk failed under what must be durable.
    #[error("{what}")]
    Disk {
        /// What was tried.
        what: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Reduction journal or roots file are not what they must be.
    #[error(
        "{0}; acknowledged reductions may be in danger, so no key is used until that is resolved"
    )]
    Reductions(&'static str),
    /// The reduction journal cannot be used.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The log cannot be read back, or what is published of it is not of it.
    #[error("the log's checkpoints do not hold: {0}; no key is used until that is resolved")]
    Checkpoint(String),
    /// The log has other records than its lock record remembers.
    #[error(
        "the log is not the one that its lock record remembers: it was taken back and went on from there, or was \
         altered; no key is used until the log that is remembered is back, or, if it is lost for good, an operator has \
         retired this one with `chancery audit retire`"
    )]
    Fork,
    /// There was a lock record.
    #[error(
        "the lock record `{0}` is missing, without which nobody here can tell whether the data directory was taken \
         back; put it back, or, if it is lost, start once with `--new-lock-record`"
    )]
    LockRecordMissing(PathBuf),
    /// The log is shorter than it was.
    #[error(
        "the log has {found} records, and {remembered} are remembered by `{record}`: it was taken back; no key is \
         used until the files that are missing are back, or, if they are lost for good, an operator has retired the \
         log with `chancery audit retire`"
    )]
    TakenBack {
        /// How many records are remembered.
        remembered: u64,
        /// How many there are.
        found: u64,
        /// Where that is remembered.
        record: PathBuf,
    },
    /// The policy of witnesses cannot be used.
    #[error("witnesses cannot be asked: {0}")]
    Witnesses(String),
    /// Somebody else remembers what is not in the log.
    #[error(
        "{who}: the log was taken back, or went on elsewhere; no key is used until the files that are missing are back, or, \
         if they are lost for good, an operator has retired the log with `chancery audit retire`. Whoever says so falsely is to be taken out of `--witness-policy` or `--peer`"
    )]
    Remembered {
        /// Who, and what of.
        who: String,
    },
    /// A retirement of the log was begun.
    #[error(
        "a retirement of the log was begun and is not finished; no key is used until `chancery audit retire` was run \
         again and has finished it"
    )]
    Retiring,
    /// No quorum of witnesses has cosigned the start.
    #[error(
        "no quorum of witnesses has cosigned this start ({0}); no key is used. `--unwitnessed-for DURATION` serves \
         without them for a time"
    )]
    Unwitnessed(String),
    /// The local authority's certificate cannot be made.
    #[error("the local authority's certificate cannot be made")]
    Certificate,
}

impl SignerError {
    /// The exit status that tells the supervisor what to do.
    #[must_use]
    pub fn exit_status(&self) -> u8 {
        match self {
            Self::Wal(_)
            | Self::Disk { .. }
            | Self::Commit(CommitError::Failed { .. } | CommitError::Unknown { .. }) => {
                EXIT_AUDIT_FAILED
            }
            other if is_of_the_disk(other) => EXIT_AUDIT_FAILED,
            _ => 1,
        }
    }

    /// A write or a sync failed.
    pub(crate) fn disk(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Disk { what, source }
    }

    pub(crate) fn system(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::System { what, source }
    }
}

/// Whether the system said, somewhere down the chain of causes, that a disk failed or has no room. Anything
/// else, a missing permission say, is no better after a restart.
fn is_of_the_disk(error: &SignerError) -> bool {
    use rustix::io::Errno;
    const OF_DISKS: [Errno; 4] = [Errno::IO, Errno::NOSPC, Errno::DQUOT, Errno::ROFS];
    let first: &(dyn std::error::Error + 'static) = error;
    std::iter::successors(Some(first), |error| error.source())
        .filter_map(|error| error.downcast_ref::<io::Error>())
        .any(|error| {
            OF_DISKS.iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_disk_is_told_from_a_missing_permission() {
        let of = |errno: rustix::io::Errno| {
            SignerError::system("tried")(io::Error::from_raw_os_error(errno.raw_os_error()))
        };
        assert_eq!(of(rustix::io::Errno::IO).exit_status(), EXIT_AUDIT_FAILED);
        assert_eq!(of(rustix::io::Errno::NOSPC).exit_status(), EXIT_AUDIT_FAILED);
        assert_eq!(of(rustix::io::Errno::ACCESS).exit_status(), 1);
        let journal = JournalError::Io(rustix::io::Errno::IO.into());
        assert_eq!(SignerError::from(journal).exit_status(), EXIT_AUDIT_FAILED);
        assert_eq!(SignerError::from(JournalError::OtherLog).exit_status(), 1);
    }
}
