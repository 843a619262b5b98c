//! What the store holds of authority: every tenant's rows, against its head.

use chancery_core::authority::Authority;

use crate::config::SignerError;
use crate::vault::Vault;

/// The store's file in the data directory.
pub(crate) const STORE_FILE: &str = "store.redb";

/// Loads all of it, and the number of the last command.
pub(crate) fn authority(vault: &mut Vault) -> Result<(Authority, u64), SignerError> {
    let mut authority = Authority::default();
    let mut last_command = 0;
    for tenant in vault.stored_tenants()? {
        let (rows, command) = vault.load_tenant(tenant)?;
        last_command = last_command.max(command);
        for row in rows {
            authority.apply(row)?;
        }
    }
    Ok((authority, last_command))
}
