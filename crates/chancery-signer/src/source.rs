//! What a search reads: the log, its index, keys of months, and who is called what.
//!
//! The service that runs is one such source ([`Shared`]); the files of one that does not are another
//! ([`Archive`](crate::offline::Archive)). A search is the same over both. They differ in what becomes of records that
//! cannot be read: the service answers nothing then, and whoever looks at files is shown the rest and told what is
//! missing ([`OnDamage`]).

use std::sync::{Arc, Mutex};

use chancery_audit::disk::Disk;
use chancery_audit::sealer::{Month, MonthKeys};
use chancery_core::authority::Authority;
use chancery_core::id::TenantId;
use chancery_log::Hash;

use crate::config::SignerError;
use crate::counters::lock;
use crate::index::Index;
use crate::service::Shared;
use crate::vault::Vault;

/// What is done where the log cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnDamage {
    /// What can be read behind it is looked for, and what cannot is told.
    GoOn,
    /// The search ends.
    Stop,
}

/// What a search reads.
pub(crate) trait Source {
    /// The log's files.
    fn disk(&self) -> &dyn Disk;

    /// The index of the log.
    fn index(&self) -> &Index;

    /// What opens the parts of the index.
    fn vault(&self) -> &Mutex<Vault>;

    /// How many records there are.
    fn size(&self) -> u64;

    /// What is done where the log cannot be read.
    fn on_damage(&self) -> OnDamage;

    /// The audit keys of a tenant and month, for the start whose boot nonce that was; `None` where they are gone.
    fn month_keys(
        &self,
        tenant: TenantId,
        month: Month,
        boot_nonce: [u8; 16],
    ) -> Result<Option<Arc<MonthKeys>>, SignerError>;

    /// Those by which names are hashed, which are the same for every start.
    fn month_names(
        &self,
        tenant: TenantId,
        month: Month,
    ) -> Result<Option<Arc<MonthKeys>>, SignerError>;

    /// Shows who and what there is.
    fn with_authority<T>(&self, look: impl FnOnce(&Authority) -> T) -> T;

    /// Why the record at `index`, whose leaf has that hash, is not the one that the log promised.
    fn contradicts(&self, index: u64, leaf: &Hash) -> Option<&'static str>;
}

impl Source for Shared {
    fn disk(&self) -> &dyn Disk {
        &*self.disk
    }

    fn index(&self) -> &Index {
        &self.index
    }

    fn vault(&self) -> &Mutex<Vault> {
        &self.vault
    }

    fn size(&self) -> u64 {
        lock(&self.progress).size
    }

    fn on_damage(&self) -> OnDamage {
        OnDamage::Stop
    }

    fn month_keys(
        &self,
        tenant: TenantId,
        month: Month,
        boot_nonce: [u8; 16],
    ) -> Result<Option<Arc<MonthKeys>>, SignerError> {
        self.read_month_keys(tenant, month, boot_nonce)
    }

    fn month_names(
        &self,
        tenant: TenantId,
        month: Month,
    ) -> Result<Option<Arc<MonthKeys>>, SignerError> {
        Self::month_names(self, tenant, month)
    }

    fn with_authority<T>(&self, look: impl FnOnce(&Authority) -> T) -> T {
        look(&lock(&self.core).authority)
    }

    /// The log was held against its lock record and its checkpoint when the service started.
    fn contradicts(&self, _: u64, _: &Hash) -> Option<&'static str> {
        None
    }
}
