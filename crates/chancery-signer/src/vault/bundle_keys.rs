//! The keys that sign trust bundles, which hang from the root key as everything in the store does.

use chancery_core::id::TenantId;
use chancery_crypto::bundle::BundleKeys;
use chancery_crypto::key::KeyError;

use super::Vault;

impl Vault {
    /// The keys that sign a tenant's trust bundles. They are made anew each time and never stored.
    pub(crate) fn bundle_keys(&self, tenant: TenantId) -> Result<BundleKeys, KeyError> {
        BundleKeys::derive(&self.root, tenant)
    }
}
