//! The store as it is sealed, for whoever must look inside while the service runs.
//!
//! What is shown is names, revisions, lengths and the first sealed bytes, of the reader's tenant and of the
//! service itself. No row is opened for it.

use chancery_api::message::{StorePage, StoreRow};
use chancery_core::id::TenantId;
use chancery_store::{DUMP_VALUE_BYTES, RANGE_ROWS_MAX, Row, RowName, Store, StoreError};

use crate::vault::row_name;

/// No page is to be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InspectError {
    /// The name is of no row that is shown.
    #[error("`after` is the name of a row, as a page gave it")]
    Foreign,
    /// The store does not answer.
    #[error("the store cannot be read")]
    Store(#[from] StoreError),
}

/// A page of rows behind a name; from the beginning, if that is empty. The service's own come first.
///
/// # Errors
///
/// [`InspectError::Foreign`] if the name is none of these rows'; [`InspectError::Store`].
pub(crate) fn page(
    store: &dyn Store,
    tenant: TenantId,
    after: &[u8],
) -> Result<StorePage, InspectError> {
    let (system, own) = (TenantId::SYSTEM.as_bytes(), tenant.as_bytes());
    let after_of = |prefix: &[u8]| -> Result<Option<RowName>, InspectError> {
        let after = Some(after).filter(|after| after.starts_with(prefix));
        after.map(row_name).transpose().map_err(|_| InspectError::Foreign)
    };
    let (after_system, after_own) = (after_of(system)?, after_of(own)?);
    if !after.is_empty() && after_system.is_none() && after_own.is_none() {
        return Err(InspectError::Foreign);
    }
    let mut rows = Vec::new();
    if after_own.is_none() {
        rows = store.range(system, after_system.as_ref(), RANGE_ROWS_MAX)?;
    }
    if rows.is_empty() {
        rows = store.range(own, after_own.as_ref(), RANGE_ROWS_MAX)?;
    }
    let next = rows.last().map(|row| row.name.as_bytes().to_vec()).unwrap_or_default();
    let revision = store.revision()?.get();
    Ok(StorePage { revision, rows: rows.iter().map(shown).collect(), next })
}

fn shown(row: &Row) -> StoreRow {
    StoreRow {
        name: row.name.as_bytes().to_vec(),
        revision: row.revision.get(),
        bytes: u32::try_from(row.value.len()).unwrap_or(u32::MAX),
        head: row.value.get(..DUMP_VALUE_BYTES).unwrap_or(&row.value).to_vec(),
    }
}
