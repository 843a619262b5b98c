//! The one row under the root that is ever written again: the service's secrets, when its log is retired.

use chancery_store::{Expected, Transaction};

use super::{Vault, root_place, row_name};
use crate::config::SignerError;

impl Vault {
    /// Puts a row under the root in the place of the one there is.
    pub(crate) fn replace_root_row(&self, name: &[u8], row: &[u8]) -> Result<(), SignerError> {
        let known = self.store.get(&row_name(name)?)?;
        let known = known.ok_or(SignerError::Inconsistent("a row under the root is missing"))?;
        let sealed = self.root.seal(&root_place(name)?, row)?;
        let transaction = Transaction::new()
            .expect(row_name(name)?, Expected::At(known.revision))
            .put(row_name(name)?, sealed);
        self.store.commit(transaction)?;
        Ok(())
    }
}
