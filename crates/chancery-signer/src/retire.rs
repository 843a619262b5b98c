//! Retiring a log: the way on where what others remember of it is lost for good.
//!
//! No service runs. First it is [found](Retirement::look) what is here, how far that holds, and what is remembered
//! elsewhere; then an operator signs a [statement](chancery_audit::gap) of the gap, which is the journal of what follows
//! ([`Retirement::begin`]); then the steps are taken ([`Retirement::finish`]), each of which can be found done. Until the last
//! of them no service starts.
//!
//! What is known of authority is what the store has, which may be as old as the log. So nothing that was handed out counts
//! any more: every tenant's generation is raised, and handles from before are void. Which keys were suspended, compromised
//! or destroyed since then nobody here can know; the operator says it again.
//!
//! **Invariant:** nothing of the retired log is removed, and nothing that it has signed can be taken for a word of the log
//! behind it, which has a name and keys of its own.

mod found;
mod steps;

use std::io;
use std::path::{Path, PathBuf};

use chancery_audit::disk::{DirectoryDisk, Disk as _};
use chancery_audit::gap::{Approval, Gap, GapError, SignedGap};
use chancery_audit::origin::Origin;
use chancery_audit::publish::{GAP_FILE, LOG_DIRECTORY};
use chancery_audit::shelf::Shelf;
use chancery_core::authority::Authority;
use chancery_core::clock::millis;
use chancery_core::id::PrincipalId;
use chancery_core::limits::{CLOCK_DRIFT_MAX, PROPOSAL_TTL_MAX};
use chancery_core::principal::{Right, Role};
use chancery_core::retirement::Cause;
use chancery_crypto::key::PrivateKey;
use chancery_memory::Arena;
use chancery_store::{Embedded, OpenMode};

use crate::config::{RootSource, SignerError};
use crate::entropy;
use crate::genesis::{self, Secrets};
use crate::offline::{ArchiveError, open_vault};
use crate::root;
use crate::stored::{self, STORE_FILE};
use crate::vault::Vault;
pub use found::Found;
pub use steps::{Retired, Step};

/// The journal of a retirement, in the data directory: the signed statement.
const RETIRING_FILE: &str = "retiring";

/// The directory in the data directory below which retired logs are.
const RETIRED_DIRECTORY: &str = "retired";

/// The memory for keys: 256 KiB, as for reading an archive.
const ARENA_BYTES: usize = 256 * 1024;

/// A log is not retired.
#[derive(Debug, thiserror::Error)]
pub enum RetireError {
    /// There is something in the way.
    #[error("`{0}` is there already, where the retired log is to go; move it away first")]
    InTheWay(PathBuf),
    /// The journal is none of this service.
    #[error(
        "`{0}` is not what an operator of this service has signed; it is no retirement that can be finished, and no \
         key is used while it is there"
    )]
    Altered(PathBuf),
    /// More is needed than one person.
    #[error(
        "this takes {needed} other people, and {has} have approved it: `--propose FILE` writes the statement, they approve \
         it with `chancery audit approve-gap FILE`, and `--approved FILE` retires the log"
    )]
    Approvals {
        /// How many people must approve.
        needed: u8,
        /// How many of those who may have.
        has: usize,
    },
    /// What was approved is not what is here, or too old.
    #[error(
        "the statement is not of what is here and remembered now, or more than 7 days old: propose it again, and have it \
         approved again"
    )]
    Another,
    /// The files cannot be read.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// The wall clock is wrong.
    #[error(
        "the wall clock is behind the log's last record; set it right first: what the log has taken until now is told \
         by its time"
    )]
    Clock,
    /// The statement is none.
    #[error("the statement of the gap cannot be signed")]
    Gap(#[from] GapError),
    /// Whoever asks may not.
    #[error(
        "the principal `{0}` is no operator of this service with that key; only an operator retires its log"
    )]
    NotAnOperator(PrincipalId),
    /// Store or keys cannot be used.
    #[error(transparent)]
    Signer(#[from] SignerError),
    /// The system refused.
    #[error("{what}")]
    System {
        /// What was tried.
        what: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Nothing is lost.
    #[error(
        "the log holds, and has all that is remembered of it: there is no gap to retire it for. Retiring it voids every \
         handle and begins another log; if that is wanted, say so with `--whole`"
    )]
    Whole,
}

impl RetireError {
    fn system(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::System { what, source }
    }
}

/// Who retires a log, and why.
pub struct Asked<'k> {
    /// The principal.
    pub operator: PrincipalId,
    /// Its key.
    pub key: &'k PrivateKey,
    /// Why.
    pub cause: Cause,
    /// Whether also a log is retired of which nothing is lost.
    pub is_whole_taken: bool,
}

/// A data directory whose log is to be retired, and what opens it.
pub struct Retirement {
    data: PathBuf,
    root_key: RootSource,
    vault: Vault,
    secrets: Secrets,
    authority: Authority,
    begun: Option<SignedGap>,
}

impl Retirement {
    /// Opens the data directory of a service that does not run; nothing in it is changed.
    ///
    /// # Errors
    ///
    /// [`RetireError`] if the store cannot be read, or a retirement was begun that is none of this service.
    pub fn open(data: &Path, root_key: &RootSource) -> Result<Self, RetireError> {
        let (mut vault, secrets) = open_vault(data, root_key)?;
        let (authority, _) = stored::authority(&mut vault)?;
        let begun = read_begun(data)?;
        let (data, root_key) = (data.to_owned(), root_key.clone());
        let retirement = Self { data, root_key, vault, secrets, authority, begun };
        if let Some(begun) = &retirement.begun {
            retirement.check_begun(begun)?;
        }
        Ok(retirement)
    }

    /// The statement of a retirement that was begun and is not finished.
    #[must_use]
    pub fn begun(&self) -> Option<&SignedGap> {
        self.begun.as_ref()
    }

    /// Looks what is here of the log, and what is remembered of it.
    ///
    /// # Errors
    ///
    /// [`RetireError`] if that cannot be told.
    pub fn look(&self, lock_directory: &Path) -> Result<Found, RetireError> {
        Ok(found::look(&self.data, &self.vault, &self.secrets, lock_directory)?)
    }

    /// Signs the statement. Nothing has begun then.
    ///
    /// # Errors
    ///
    /// [`RetireError`] if there is nothing to retire the log for, or whoever asks may not.
    pub fn propose(&self, found: &Found, asked: &Asked<'_>) -> Result<SignedGap, RetireError> {
        let key = Origin::of_signer(asked.key).map_err(|_| GapError)?.receipt_key;
        if !self.is_operator(asked.operator, &key) {
            return Err(RetireError::NotAnOperator(asked.operator));
        }
        if !found.is_something_lost() && !asked.is_whole_taken {
            return Err(RetireError::Whole);
        }
        let at_ms = entropy::sample().wall_ms;
        if found.last_ms.is_some_and(|last_ms| at_ms < last_ms) {
            return Err(RetireError::Clock);
        }
        Ok(Gap {
            origin: found.origin.name(),
            log_id: found.origin.log_id,
            here: found.here,
            head: found.head,
            finding: found.finding.clone(),
            remembered: found.remembered.clone(),
            cause: asked.cause,
            at_ms,
            operator: asked.operator,
            key,
        }
        .sign(asked.key)?)
    }

    /// Writes a signed statement down, if as many people have approved it as it takes. From then on the retirement is to
    /// be finished.
    ///
    /// # Errors
    ///
    /// [`RetireError`]; then nothing has begun.
    pub fn begin(&self, found: &Found, signed: &SignedGap) -> Result<(), RetireError> {
        let gap = signed.gap();
        if !self.is_operator(gap.operator, &gap.key) {
            return Err(RetireError::NotAnOperator(gap.operator));
        }
        self.check_approvals(found.approvals, signed)?;
        if !is_of(gap, found) || !is_recent(gap) {
            return Err(RetireError::Another);
        }
        let aside = steps::directory(&self.data, gap);
        if aside.exists() {
            return Err(RetireError::InTheWay(aside));
        }
        // What cannot be carried over is found before anything has begun.
        steps::check_reductions(&self.data, gap)?;
        let written = DirectoryDisk::open(&self.data)
            .and_then(|disk| disk.write_whole(RETIRING_FILE, signed.text().as_bytes()));
        written.map_err(RetireError::system("the retirement cannot be begun"))
    }

    /// A data directory that was taken back may say that one person is enough; the lock directory remembers that it takes
    /// more.
    fn check_approvals(&self, remembered: u8, signed: &SignedGap) -> Result<(), RetireError> {
        let needed = self.authority.approvals().max(remembered);
        let counts = |approval: &&Approval| {
            self.authority
                .principal(approval.principal)
                .is_some_and(|known| known.role.may(Right::Approve) && known.public == approval.key)
        };
        let has = signed.approvals().iter().filter(counts).count();
        if has < usize::from(needed) {
            return Err(RetireError::Approvals { needed, has });
        }
        Ok(())
    }

    /// Takes the steps of a retirement that was begun, and says after each that it is durable. It is asked again whether
    /// as many people have approved it as it takes: anybody can put a file where one that was begun stands.
    ///
    /// # Errors
    ///
    /// [`RetireError`]; then it can be finished by doing it again.
    pub fn finish(
        self,
        (gap, lock_directory): (&SignedGap, &Path),
        after: &mut dyn FnMut(Step),
    ) -> Result<Retired, RetireError> {
        self.check_approvals(found::approvals(lock_directory, gap)?, gap)?;
        let Self { data, root_key, .. } = self;
        after(Step::Begun);
        let arena = Arena::with_capacity(ARENA_BYTES).map_err(SignerError::from)?;
        let root = root::read(&arena, &root_key)?;
        let store = Embedded::open(&data.join(STORE_FILE), OpenMode::ReadWrite);
        let store = Box::new(store.map_err(SignerError::from)?);
        let mut vault = Vault::new(store, arena, root)?;
        vault.open_system()?;
        steps::take(&data, &mut vault, gap, after)
    }

    fn is_operator(&self, id: PrincipalId, key: &[u8; 32]) -> bool {
        let known = self.authority.principal(id);
        known.is_some_and(|known| known.role == Role::Operator && known.public == *key)
    }

    /// It must be signed by an operator of this service, and of its log or of the one that its log follows.
    fn check_begun(&self, begun: &SignedGap) -> Result<(), RetireError> {
        let gap = begun.gap();
        let own = Origin::of_signer(&self.secrets.receipt_key()?).map_err(|_| GapError)?;
        let is_done = self.secrets.follows.as_deref() == Some(begun.text());
        let is_ours = is_done || own.log_id == gap.log_id;
        if is_ours && self.is_operator(gap.operator, &gap.key) {
            return Ok(());
        }
        Err(RetireError::Altered(self.data.join(RETIRING_FILE)))
    }
}

/// Whether a statement says what was found.
fn is_of(gap: &Gap, found: &Found) -> bool {
    gap.log_id == found.origin.log_id
        && gap.here == found.here
        && gap.head == found.head
        && gap.finding == found.finding
        && gap.remembered == found.remembered
        && found.last_ms.is_none_or(|last_ms| gap.at_ms >= last_ms)
}

/// Whether it is no older than a proposal may be, and not of the time to come.
fn is_recent(gap: &Gap) -> bool {
    let now_ms = entropy::sample().wall_ms;
    let is_past = gap.at_ms <= now_ms.saturating_add(millis(CLOCK_DRIFT_MAX));
    is_past && now_ms.saturating_sub(gap.at_ms) <= millis(PROPOSAL_TTL_MAX)
}

fn read_begun(data: &Path) -> Result<Option<SignedGap>, RetireError> {
    let path = data.join(RETIRING_FILE);
    match std::fs::read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => {
            Err(RetireError::system("the retirement that was begun cannot be read")(error))
        }
        Ok(bytes) => SignedGap::parse(&bytes).map(Some).map_err(|_| RetireError::Altered(path)),
    }
}

/// Refuses a start while a retirement is not finished.
pub(crate) fn refuse_begun(data: &Path) -> Result<(), SignerError> {
    if data.join(RETIRING_FILE).exists() { Err(SignerError::Retiring) } else { Ok(()) }
}

/// The latest date of an operation id that the retired log can have taken: its callers' clocks may be ahead.
pub(crate) fn unknown_to_ms(gap: &SignedGap) -> u64 {
    gap.gap().at_ms.saturating_add(millis(CLOCK_DRIFT_MAX))
}

/// Publishes the statement of the gap behind which a log begins, if it is not there as it must be.
pub(crate) fn publish(
    data: &Path,
    gap: &SignedGap,
    origin: &Origin,
    receipt_key: &PrivateKey,
) -> Result<(), SignerError> {
    let altered = |_| SignerError::Inconsistent("the statement of the gap is altered");
    let text = gap.published(origin, receipt_key).map_err(altered)?;
    let mut shelf = Shelf::at(&data.join(LOG_DIRECTORY));
    if shelf.read(GAP_FILE).is_ok_and(|known| known == text.as_bytes()) {
        return Ok(());
    }
    let put = shelf.put(GAP_FILE, text.as_bytes());
    put.map_err(SignerError::disk("the statement of the gap cannot be published"))
}

/// The service's secrets, which must be there.
fn secrets(vault: &Vault) -> Result<Secrets, SignerError> {
    let missing = SignerError::Inconsistent("the service's secrets are missing");
    genesis::stored_secrets(vault)?.ok_or(missing)
}
