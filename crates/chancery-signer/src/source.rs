//! What a search reads: the log, its index, keys of months, and who is called what.
//!
//! The service that runs is one such source ([`Shared`]); the files of one that does not are another
//! ([`Archive`](crate::offline::Archive)). A search is the same over both. They differ in what becomes of records that
//! cannot be read: the service answers nothing then, and whoever looks at files is shown the rest and told what is
//! missing ([`OnDamage`]).

use std::sync::Arc;

use chancery_audit::disk::Disk;
use chancery_audit::frame::{Frame, Item};
use chancery_audit::frames::ReadBackError;
use chancery_audit::index::{Part, PartHead};
use chancery_audit::pruned::Pruned;
use chancery_audit::sealer::{Month, MonthKeys};
use chancery_core::id::{KeyId, PrincipalId, TenantId};
use chancery_core::name::Name;
use chancery_log::Hash;

use crate::config::SignerError;
use crate::counters::lock;
use crate::index::Span;
use crate::query::may_see;
use crate::service::Shared;

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

    /// All of the log, span by span.
    fn spans(&self) -> Vec<Span>;

    /// A part of the index; nothing if it cannot be read, and what it covered is a gap.
    fn part(&self, head: &PartHead) -> Option<Arc<Part>>;

    /// Takes a part out that is not what it says.
    fn discard(&self, head: &PartHead);

    /// The frame that holds the record at `index`, if that is durable.
    fn frame_of(&self, index: u64) -> Result<Option<Frame>, ReadBackError>;

    /// Whether a record is shown to who asks about a tenant.
    fn shows(&self, tenant: TenantId, item: &Item) -> bool;

    /// How many records there are.
    fn size(&self) -> u64;

    /// What was pruned, if anything was.
    fn pruned(&self) -> Option<Pruned>;

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

    /// The key of that name in a tenant.
    fn key_named(&self, tenant: TenantId, name: &Name) -> Option<KeyId>;

    /// The keys of a tenant.
    fn keys(&self, tenant: TenantId) -> Vec<(KeyId, Name)>;

    /// The principals of a tenant.
    fn principals(&self, tenant: TenantId) -> Vec<PrincipalId>;

    /// Why the record at `index`, whose leaf has that hash, is not the one that the log promised.
    fn contradicts(&self, index: u64, leaf: &Hash) -> Option<&'static str>;
}

impl Source for Shared {
    fn disk(&self) -> &dyn Disk {
        &*self.disk
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
        self.index.frame_of(&*self.disk, &self.vault, index)
    }

    fn shows(&self, tenant: TenantId, item: &Item) -> bool {
        may_see(tenant, item)
    }

    fn size(&self) -> u64 {
        lock(&self.progress).size
    }

    fn pruned(&self) -> Option<Pruned> {
        lock(&self.pruned).clone()
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

    fn key_named(&self, tenant: TenantId, name: &Name) -> Option<KeyId> {
        names::key_named(&lock(&self.core).authority, tenant, name)
    }

    fn keys(&self, tenant: TenantId) -> Vec<(KeyId, Name)> {
        names::keys(&lock(&self.core).authority, tenant)
    }

    fn principals(&self, tenant: TenantId) -> Vec<PrincipalId> {
        names::principals(&lock(&self.core).authority, tenant)
    }

    /// The log was held against its lock record and its checkpoint when the service started.
    fn contradicts(&self, _: u64, _: &Hash) -> Option<&'static str> {
        None
    }
}

/// Who and what there is, out of the core's rows.
pub(crate) mod names {
    use chancery_core::authority::Authority;
    use chancery_core::id::{KeyId, PrincipalId, TenantId};
    use chancery_core::name::Name;

    pub(crate) fn key_named(all: &Authority, tenant: TenantId, name: &Name) -> Option<KeyId> {
        all.key_named(tenant, name).map(|key| key.id)
    }

    pub(crate) fn keys(all: &Authority, tenant: TenantId) -> Vec<(KeyId, Name)> {
        all.keys_after(tenant, None).map(|key| (key.id, key.name.clone())).collect()
    }

    pub(crate) fn principals(all: &Authority, tenant: TenantId) -> Vec<PrincipalId> {
        let own = all.principals().filter(|principal| principal.tenant == tenant);
        own.map(|principal| principal.id).collect()
    }
}
