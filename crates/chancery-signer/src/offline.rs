//! The audit from files alone: a data directory whose service does not run, or a copy of one, and its root key.
//!
//! An [`Archive`] answers what the service answers ([`crate::search`]), and says how far the log reaches and how that
//! is known ([`Reach`]). Whoever has the root key can read everything; it asks for no other right.
//!
//! **Invariant:** nothing in the directory is written, made, removed or locked. The store is read into memory whole,
//! and the log and its index through a disk that refuses to write. So a service may be running there, or start
//! meanwhile: what it is writing is not seen yet, or found not to hold and looked at again. Every row of the store is
//! sealed and stands under its tenant's head, so a mixture of two states is none that opens.

mod case;
mod disclosed;
mod promised;
mod reach;

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread::sleep;
use std::time::Duration;

use chancery_api::message::RecordView;
use chancery_audit::disk::{DirectoryDisk, Disk};
use chancery_audit::frame::{Frame, Item};
use chancery_audit::frames::ReadBackError;
use chancery_audit::index::{Part, PartHead};
use chancery_audit::opening::{Opening, OpeningError};
use chancery_audit::origin::Origin;
use chancery_audit::pruned::{BASE_FILE, Pruned};
use chancery_audit::publish::LOG_DIRECTORY;
use chancery_audit::recovery::{read_origin, read_pruned};
use chancery_audit::resume::RESUME_FILE;
use chancery_audit::sealer::{Month, MonthKeys, MonthSecrets};
use chancery_audit::verify::AUDIT_DIRECTORY;
use chancery_core::authority::{Authority, Refusal};
use chancery_core::command::AuditQuery;
use chancery_core::id::{KeyId, PrincipalId, TenantId};
use chancery_core::name::Name;
use chancery_core::reason::Reason;
use chancery_core::record_group::RecordGroups;
use chancery_core::suite::Suite;
use chancery_crypto::key::PrivateKey;
use chancery_crypto::notes::{CheckpointSeeds, CheckpointSigner};
use chancery_crypto::section::Boot;
use chancery_log::Hash;
use chancery_log::note::KeyName;
use chancery_memory::Arena;
use chancery_store::{Embedded, OpenError};

use crate::config::{RootSource, SignerError};
use crate::counters::lock;
use crate::genesis::{Secrets, stored_secrets};
use crate::index::{Index, Span};
use crate::lock_record::LockRecord;
use crate::prunes::read_resume;
use crate::query;
use crate::root;
use crate::search::{self, Found, Unread};
use crate::source::{OnDamage, Source, names};
use crate::stored::{self, STORE_FILE};
use crate::vault::Vault;
pub use disclosed::Disclosed;
use promised::Promised;
pub use reach::Reach;
use reach::Remembered;

/// The memory for keys: 256 KiB, which holds those of some thousand tenants and is little enough to be locked anywhere.
const ARENA_BYTES: usize = 256 * 1024;

/// How often a store is read that does not hold and is another one each time: 20, as it is where a service writes to it.
const LOOKS_MAX: u32 = 20;

/// How long a service gets to finish what it is writing: 50 ms, many times what a commit takes.
const SETTLING: Duration = Duration::from_millis(50);

/// A data directory cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// There is no log in it.
    #[error("`{0}` has no audit log; name the data directory of a service, or a whole copy of one")]
    NoLog(PathBuf),
    /// There is no store in it.
    #[error(
        "`{0}` is not there: the store holds the keys that open the audit, so nothing of it can be shown; \
         `chancery audit verify` needs no store"
    )]
    NoStore(PathBuf),
    /// The store is none of a service that ever started.
    #[error("`{0}` is the store of no service")]
    NoService(PathBuf),
    /// The root key opens nothing in it.
    #[error(
        "the root key `{root_key}` is not the one of `{data}`, or the store was altered: nothing was opened; name \
         the right one with --root-key"
    )]
    WrongKey {
        /// The key's file.
        root_key: PathBuf,
        /// The data directory.
        data: PathBuf,
    },
    /// The store is written to all the time.
    #[error("`{0}` changes while it is read; ask the service that writes to it, or read a copy")]
    Changing(PathBuf),
    /// The files are of another log than the disclosure.
    #[error("`{0}` is not the log of the disclosure, or its `origin` was altered")]
    OtherLog(PathBuf),
    /// What was disclosed opens events and no files.
    #[error("the disclosure opens what an export sends, and no files")]
    EventsAlone,
    /// A file cannot be read.
    #[error("`{path}` cannot be read")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// It does not hold.
    #[error(transparent)]
    Signer(#[from] SignerError),
}

/// What was found, and what was not.
#[derive(Debug)]
pub struct Answer {
    /// The records that fit, the oldest first.
    pub records: Vec<RecordView>,
    /// What could not be read of what was looked at: whether it fits is not known.
    pub unread: Vec<Unread>,
    /// Months since January 1970 whose keys are gone: their records are shown to nobody any more.
    pub gone: BTreeSet<Month>,
    /// Records that no part of the index covers, and that were read one by one.
    pub unindexed: Vec<Range<u64>>,
}

/// The files of a service, with what opens them.
pub struct Archive {
    disk: DirectoryDisk,
    index: Index,
    vault: Mutex<Vault>,
    authority: Authority,
    log_id: [u8; 32],
    promised: Promised,
    pruned: Option<Pruned>,
    reach: Reach,
}

impl Archive {
    /// Opens the data directory `data`.
    ///
    /// # Errors
    ///
    /// [`ArchiveError`], if nothing can be shown. A log that is damaged is opened all the same
    /// ([`Reach::findings`]).
    pub fn open(data: &Path, root_key: &RootSource) -> Result<Self, ArchiveError> {
        let disk = open_log(data)?;
        let (mut vault, secrets) = open_vault(data, root_key)?;
        let (authority, _) = stored::authority(&mut vault)?;
        let origin = origin(&disk, &secrets)?;
        let (promised, finding) = promised(data, &origin, &secrets)?;
        let pruned = read_pruned(&disk, &origin).map_err(SignerError::from)?;
        let resume = |file| read_resume(&disk, &vault, &origin.log_id, file);
        let resume = resume(RESUME_FILE).or_else(|| resume(BASE_FILE));
        let remembered = Remembered {
            resume: resume.map(|resume| resume.tail),
            checkpoint: promised.tree(),
            lock_record: lock_record(root_key, &origin),
        };
        let mut reach = reach::reach(&disk, &origin, &remembered, || sleep(SETTLING))?;
        reach.findings.extend(finding);
        let index = Index::look(data, origin.log_id, reach.size)?;
        let vault = Mutex::new(vault);
        Ok(Self { disk, index, vault, authority, log_id: origin.log_id, promised, pruned, reach })
    }

    /// How far the log reaches.
    #[must_use]
    pub fn reach(&self) -> &Reach {
        &self.reach
    }

    /// Files of the index that are damaged or none of it: the log was read in their place.
    #[must_use]
    pub fn damaged_index(&self) -> Vec<String> {
        self.index.left()
    }

    /// How often a record that was shown is covered by the checkpoint and could not be held against it, since tiles are
    /// missing or altered.
    #[must_use]
    pub fn unheld(&self) -> u64 {
        self.promised.unheld()
    }

    /// The tenants.
    pub fn tenants(&self) -> impl Iterator<Item = (TenantId, Name)> {
        self.authority
            .tenants()
            .filter_map(|id| Some((id, self.authority.tenant(id)?.name.clone())))
    }

    /// The records of a tenant and of the service itself that fit a query, as its auditors are shown them.
    #[must_use]
    pub fn query(&self, tenant: TenantId, query: &AuditQuery) -> Answer {
        search::records(self, tenant, query).into()
    }

    /// Opens groups of a record of a tenant, or of the service itself.
    ///
    /// # Errors
    ///
    /// [`Refusal`], as the service refuses.
    pub fn opening(
        &self,
        tenant: TenantId,
        index: u64,
        groups: RecordGroups,
    ) -> Result<Opening, Refusal> {
        opening(self, tenant, index, groups)
    }

    fn month(
        &self,
        tenant: TenantId,
        month: Month,
        boot_nonce: [u8; 16],
    ) -> Result<Option<Arc<MonthKeys>>, SignerError> {
        let Some(secrets) = lock(&self.vault).month(tenant, month)? else { return Ok(None) };
        let altered = SignerError::Inconsistent("a month's audit keys are none");
        let secrets = MonthSecrets::from_bytes(&secrets).ok_or(altered)?;
        let keys = MonthKeys::derive(&secrets, Boot { log_id: self.log_id, boot_nonce })?;
        Ok(Some(Arc::new(keys)))
    }
}

impl Source for Archive {
    fn disk(&self) -> &dyn Disk {
        &self.disk
    }

    fn spans(&self) -> Vec<Span> {
        self.index.spans()
    }

    fn part(&self, head: &PartHead) -> Option<Arc<Part>> {
        self.index.part(head, &self.vault)
    }

    fn discard(&self, head: &PartHead) {
        self.index.discard(head);
    }

    fn frame_of(&self, index: u64) -> Result<Option<Frame>, ReadBackError> {
        self.index.frame_of(&self.disk, &self.vault, index)
    }

    fn shows(&self, tenant: TenantId, item: &Item) -> bool {
        query::may_see(tenant, item)
    }

    fn size(&self) -> u64 {
        self.reach.size
    }

    fn pruned(&self) -> Option<Pruned> {
        self.pruned.clone()
    }

    fn on_damage(&self) -> OnDamage {
        OnDamage::GoOn
    }

    fn month_keys(
        &self,
        tenant: TenantId,
        month: Month,
        boot_nonce: [u8; 16],
    ) -> Result<Option<Arc<MonthKeys>>, SignerError> {
        self.month(tenant, month, boot_nonce)
    }

    fn month_names(
        &self,
        tenant: TenantId,
        month: Month,
    ) -> Result<Option<Arc<MonthKeys>>, SignerError> {
        self.month(tenant, month, [0; 16])
    }

    fn key_named(&self, tenant: TenantId, name: &Name) -> Option<KeyId> {
        names::key_named(&self.authority, tenant, name)
    }

    fn keys(&self, tenant: TenantId) -> Vec<(KeyId, Name)> {
        names::keys(&self.authority, tenant)
    }

    fn principals(&self, tenant: TenantId) -> Vec<PrincipalId> {
        names::principals(&self.authority, tenant)
    }

    fn contradicts(&self, index: u64, leaf: &Hash) -> Option<&'static str> {
        self.promised.contradicts(index, leaf)
    }
}

/// Opens groups of a record, as the service does.
fn opening(
    source: &impl Source,
    tenant: TenantId,
    index: u64,
    groups: RecordGroups,
) -> Result<Opening, Refusal> {
    let bytes = query::opening(source, tenant, index, groups)?;
    let refused = |error: OpeningError| unavailable(&error.to_string());
    Opening::parse(&bytes).map_err(refused)
}

fn unavailable(detail: &str) -> Refusal {
    Refusal { reason: Reason::Unavailable, detail: detail.to_owned() }
}

impl From<Found> for Answer {
    fn from(found: Found) -> Self {
        Self {
            records: found.records.into(),
            unread: found.unread,
            gone: found.gone,
            unindexed: found.unindexed,
        }
    }
}

/// The log's directory, of which nothing is changed.
fn open_log(data: &Path) -> Result<DirectoryDisk, ArchiveError> {
    let path = data.join(AUDIT_DIRECTORY);
    match DirectoryDisk::open_read_only(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(ArchiveError::NoLog(data.to_owned()))
        }
        disk => disk.map_err(|source| ArchiveError::Unreadable { path, source }),
    }
}

/// The store, opened with the root key, and the service's secrets.
pub(crate) fn open_vault(
    data: &Path,
    root_key: &RootSource,
) -> Result<(Vault, Secrets), ArchiveError> {
    let path = data.join(STORE_FILE);
    let store = read_store(&path)?;
    let arena = Arena::with_capacity(ARENA_BYTES).map_err(SignerError::from)?;
    let root = root::read(&arena, root_key)?;
    let mut vault = Vault::new(Box::new(store), arena, root)?;
    let secrets = match stored_secrets(&vault) {
        Err(SignerError::Row(_)) => {
            let root_key = root_key.file().to_owned();
            return Err(ArchiveError::WrongKey { root_key, data: data.to_owned() });
        }
        secrets => secrets?.ok_or(ArchiveError::NoService(path))?,
    };
    vault.open_system()?;
    Ok((vault, secrets))
}

/// The store's file as it was at one moment, in memory.
fn read_store(path: &Path) -> Result<Embedded, ArchiveError> {
    let mut seen = None;
    for _ in 0..LOOKS_MAX {
        let bytes = match fs::read(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(ArchiveError::NoStore(path.to_owned()));
            }
            bytes => bytes
                .map_err(|source| ArchiveError::Unreadable { path: path.to_owned(), source })?,
        };
        match Embedded::of_bytes(&bytes) {
            Err(OpenError::Corrupt { .. }) if seen.as_ref() != Some(&bytes) => {
                seen = Some(bytes);
                sleep(SETTLING);
            }
            opened => return Ok(opened.map_err(SignerError::from)?),
        }
    }
    Err(ArchiveError::Changing(path.to_owned()))
}

/// The log's origin, which must be that of the service.
fn origin(disk: &dyn Disk, secrets: &Secrets) -> Result<Origin, SignerError> {
    let key = PrivateKey::from_secret(Suite::Ed25519, &secrets.receipt);
    let ours = key.ok().and_then(|key| Origin::of_signer(&key).ok());
    let ours = ours.ok_or(SignerError::Certificate)?;
    let is_ours = read_origin(disk)? == ours;
    is_ours.then_some(ours).ok_or(SignerError::Inconsistent("the audit log is of another service"))
}

/// What the log has promised others, as far as its published files are there; and what is wrong with them.
fn promised(
    data: &Path,
    origin: &Origin,
    secrets: &Secrets,
) -> Result<(Promised, Option<String>), SignerError> {
    let seeds = CheckpointSeeds {
        ed25519: &secrets.checkpoint_ed25519,
        ml_dsa_44: &secrets.checkpoint_ml_dsa_44,
    };
    let signer = CheckpointSigner::new(key_name(origin)?, &seeds, None);
    let signer = signer.map_err(|_| SignerError::Certificate)?;
    Ok(Promised::read(&data.join(LOG_DIRECTORY), &signer.verifier_keys()))
}

/// How many records the lock record remembers that lies beside the root key.
fn lock_record(root_key: &RootSource, origin: &Origin) -> Option<u64> {
    let file = std::path::absolute(root_key.file()).ok()?;
    let record = LockRecord::open(file.parent()?, &key_name(origin).ok()?).ok()?;
    Some(record.remembered()?.size)
}

pub(crate) fn key_name(origin: &Origin) -> Result<KeyName, SignerError> {
    origin.name().parse().map_err(|_| SignerError::Certificate)
}
