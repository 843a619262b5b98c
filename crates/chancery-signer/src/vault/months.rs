//! The audit keys of tenants' months, each a row that is written once.

use chancery_core::id::TenantId;
use chancery_store::Transaction;
use zeroize::Zeroizing;

use super::{Vault, fixed_place, kind, name, row_name};
use crate::config::SignerError;

impl Vault {
    /// Reads the audit keys of a tenant's month.
    pub(crate) fn month(
        &self,
        tenant: TenantId,
        month: u16,
    ) -> Result<Option<Zeroizing<Vec<u8>>>, SignerError> {
        let name = name(tenant, kind::MONTH, &month.to_be_bytes());
        let Some(row) = self.store.get(&row_name(&name)?)? else { return Ok(None) };
        Ok(Some(self.tenant_key(tenant)?.open(&fixed_place(tenant, &name), &row.value)?))
    }

    /// Stores the audit keys of a tenant's month.
    pub(crate) fn put_month(
        &self,
        tenant: TenantId,
        month: u16,
        secrets: &[u8],
    ) -> Result<(), SignerError> {
        let name = name(tenant, kind::MONTH, &month.to_be_bytes());
        let sealed = self.tenant_key(tenant)?.seal(&fixed_place(tenant, &name), secrets)?;
        let transaction =
            Transaction::new().expect_absent(row_name(&name)?).put(row_name(&name)?, sealed);
        self.store.commit(transaction)?;
        Ok(())
    }
}
