//! The audit from files and a disclosure: no root key, no store, and no more than what was disclosed.
//!
//! Of a tenant's months the frames are read, as an [`Archive`](super::Archive) reads them, without the index, which is
//! sealed. Of a case nothing but the published log is needed: it holds what opens its records.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::sleep;

use chancery_audit::disclosure::{Contents, DisclosureFile, TenantDisclosed, secrets_of};
use chancery_audit::disk::{DirectoryDisk, Disk};
use chancery_audit::frame::{Frame, Item};
use chancery_audit::frames::{FrameReader, ReadBackError};
use chancery_audit::index::{Part, PartHead};
use chancery_audit::opening::Opening;
use chancery_audit::pruned::Pruned;
use chancery_audit::publish::{CHECKPOINT_FILE, LOG_DIRECTORY};
use chancery_audit::recovery::{read_origin, read_pruned};
use chancery_audit::sealer::{Month, MonthKeys, MonthSecrets};
use chancery_core::authority::Refusal;
use chancery_core::command::AuditQuery;
use chancery_core::id::{KeyId, PrincipalId, TenantId};
use chancery_core::name::Name;
use chancery_core::record_group::RecordGroups;
use chancery_crypto::section::Boot;
use chancery_log::Hash;

use super::case::Case;
use super::promised::Promised;
use super::reach::{Reach, Remembered, reach};
use super::{Answer, ArchiveError, SETTLING, open_log, opening};
use crate::config::SignerError;
use crate::index::{Gap, Span};
use crate::search;
use crate::source::{OnDamage, Source};

/// Files, with a disclosure that opens some of their records.
pub struct Disclosed(Kind);

enum Kind {
    Case(Box<Case>),
    Tenant(Box<Months>),
}

/// A tenant's months.
struct Months {
    disk: DirectoryDisk,
    tenant: TenantDisclosed,
    secrets: BTreeMap<Month, MonthSecrets>,
    /// Of what the service itself records.
    service: BTreeMap<Month, MonthSecrets>,
    log_id: [u8; 32],
    promised: Promised,
    pruned: Option<Pruned>,
    reach: Reach,
}

impl Disclosed {
    /// Opens the files in `directory`: a copy of a data directory without its store, or, for a case, a mirror of what the
    /// log has published.
    ///
    /// # Errors
    ///
    /// [`ArchiveError`].
    pub fn open(directory: &Path, file: DisclosureFile) -> Result<Self, ArchiveError> {
        let origin = file.origin();
        let keys = file.verifier_keys().map_err(|_| SignerError::Certificate)?;
        let keys: Vec<_> = keys.iter().collect();
        let (promised, finding) = Promised::read(&published(directory), &keys);
        let (tenant, service) = match file.contents {
            Contents::Case(records) => {
                let case = Case::new(records, promised, origin.name(), finding);
                return Ok(Self(Kind::Case(Box::new(case))));
            }
            Contents::Tenant(tenant) => (tenant, BTreeMap::new()),
            Contents::Everything { tenant, service } => (tenant, secrets_of(&service)),
            Contents::Events(_) => return Err(ArchiveError::EventsAlone),
        };
        let disk = open_log(directory)?;
        if read_origin(&disk).map_err(SignerError::from)? != origin {
            return Err(ArchiveError::OtherLog(directory.to_owned()));
        }
        let pruned = read_pruned(&disk, &origin).map_err(SignerError::from)?;
        let remembered =
            Remembered { resume: None, checkpoint: promised.tree(), lock_record: None };
        let mut reach = reach(&disk, &origin, &remembered, || sleep(SETTLING))?;
        reach.findings.extend(finding);
        let (secrets, log_id) = (tenant.secrets(), origin.log_id);
        let months = Months { disk, tenant, secrets, service, log_id, promised, pruned, reach };
        Ok(Self(Kind::Tenant(Box::new(months))))
    }

    /// How far the log reaches; of a case, how far its checkpoint does.
    #[must_use]
    pub fn reach(&self) -> &Reach {
        match &self.0 {
            Kind::Case(case) => case.reach(),
            Kind::Tenant(months) => &months.reach,
        }
    }

    /// As [`Archive::unheld`](super::Archive::unheld); a record of a case that cannot be held against a checkpoint is not
    /// shown.
    #[must_use]
    pub fn unheld(&self) -> u64 {
        match &self.0 {
            Kind::Case(_) => 0,
            Kind::Tenant(months) => months.promised.unheld(),
        }
    }

    /// What was disclosed, for people.
    #[must_use]
    pub fn scope(&self) -> String {
        match &self.0 {
            Kind::Case(case) => case.scope(),
            Kind::Tenant(months) => {
                let number = months.secrets.len();
                let own = match months.service.len() {
                    0 => String::new(),
                    own => format!(", and {own} of the service's own records"),
                };
                format!("{number} months of the tenant `{}`{own}", months.tenant.name)
            }
        }
    }

    /// The disclosed records that fit a query.
    ///
    /// # Errors
    ///
    /// [`Refusal`] if what is asked for cannot be told from what was disclosed.
    pub fn query(&self, query: &AuditQuery) -> Result<Answer, Refusal> {
        match &self.0 {
            Kind::Case(case) => case.query(query),
            Kind::Tenant(months) => {
                Ok(search::records(&**months, months.tenant.tenant, query).into())
            }
        }
    }

    /// Opens groups of a disclosed record.
    ///
    /// # Errors
    ///
    /// [`Refusal`] if it was not disclosed, or is another one.
    pub fn opening(&self, index: u64, groups: RecordGroups) -> Result<Opening, Refusal> {
        match &self.0 {
            Kind::Case(case) => case.opening(index, groups),
            Kind::Tenant(months) => opening(&**months, months.tenant.tenant, index, groups),
        }
    }
}

/// Where the published files are: below a copy of a data directory, or in a mirror of them.
fn published(directory: &Path) -> PathBuf {
    let below = directory.join(LOG_DIRECTORY);
    let is_mirror = !below.is_dir() && directory.join(CHECKPOINT_FILE).is_file();
    if is_mirror { directory.to_owned() } else { below }
}

impl Months {
    /// The keys of a tenant's months, if any were disclosed.
    fn secrets_of(&self, tenant: TenantId) -> Option<&BTreeMap<Month, MonthSecrets>> {
        match tenant {
            TenantId::SYSTEM => Some(&self.service),
            tenant if tenant == self.tenant.tenant => Some(&self.secrets),
            _ => None,
        }
    }

    fn keys_of(
        &self,
        tenant: TenantId,
        month: Month,
        boot_nonce: [u8; 16],
    ) -> Result<Option<Arc<MonthKeys>>, SignerError> {
        let secrets = self.secrets_of(tenant).and_then(|secrets| secrets.get(&month));
        let boot = Boot { log_id: self.log_id, boot_nonce };
        let keys = secrets.map(|secrets| MonthKeys::derive(secrets, boot)).transpose()?;
        Ok(keys.map(Arc::new))
    }
}

impl Source for Months {
    fn disk(&self) -> &dyn Disk {
        &self.disk
    }

    fn spans(&self) -> Vec<Span> {
        vec![Span::Gap(Gap { place: None, first_index: 0, end_index: None })]
    }

    /// The index is sealed to the service.
    fn part(&self, _: &PartHead) -> Option<Arc<Part>> {
        None
    }

    fn discard(&self, _: &PartHead) {}

    fn frame_of(&self, index: u64) -> Result<Option<Frame>, ReadBackError> {
        FrameReader::frame_of(&self.disk, index)
    }

    /// What was not disclosed is not there.
    fn shows(&self, _: TenantId, item: &Item) -> bool {
        self.secrets_of(item.tenant).is_some_and(|secrets| secrets.contains_key(&item.month))
    }

    fn pruned(&self) -> Option<Pruned> {
        self.pruned.clone()
    }

    fn size(&self) -> u64 {
        self.reach.size
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
        self.keys_of(tenant, month, boot_nonce)
    }

    fn month_names(
        &self,
        tenant: TenantId,
        month: Month,
    ) -> Result<Option<Arc<MonthKeys>>, SignerError> {
        self.keys_of(tenant, month, [0; 16])
    }

    fn key_named(&self, _: TenantId, name: &Name) -> Option<KeyId> {
        self.tenant.keys.iter().find(|key| key.name == *name).map(|key| key.id)
    }

    fn keys(&self, _: TenantId) -> Vec<(KeyId, Name)> {
        self.tenant.keys.iter().map(|key| (key.id, key.name.clone())).collect()
    }

    /// They are asked for by the index alone.
    fn principals(&self, _: TenantId) -> Vec<PrincipalId> {
        Vec::new()
    }

    fn contradicts(&self, index: u64, leaf: &Hash) -> Option<&'static str> {
        self.promised.contradicts(index, leaf)
    }
}
