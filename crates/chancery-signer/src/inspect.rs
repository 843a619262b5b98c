//! The store as it is sealed, for whoever must look inside while the service runs.
//!
//! What is shown is names, revisions, lengths and the first sealed bytes, of the reader's tenant and of the
//! service itself. No row is opened for it.

use chancery_api::message::{StorePage, StoreRow};
use chancery_core::id::TenantId;
use chancery_store::{DUMP_VALUE_BYTES, RANGE_ROWS_MAX, Row, Store};

use crate::config::SignerError;
use crate::vault::row_name;

/// A page of rows behind a name; from the beginning, if that is empty.
pub(crate) fn page(
    store: &dyn Store,
    tenant: TenantId,
    after: &[u8],
) -> Result<StorePage, SignerError> {
    let after = if after.is_empty() { None } else { Some(row_name(after)?) };
    let page = store.range(b"", after.as_ref(), RANGE_ROWS_MAX)?;
    let next = page.last().map(|row| row.name.as_bytes().to_vec()).unwrap_or_default();
    let whose = [tenant, TenantId::SYSTEM];
    let is_shown =
        |row: &&Row| whose.iter().any(|tenant| row.name.as_bytes().starts_with(tenant.as_bytes()));
    let rows = page.iter().filter(is_shown).map(|row| StoreRow {
        name: row.name.as_bytes().to_vec(),
        revision: row.revision.get(),
        bytes: u32::try_from(row.value.len()).unwrap_or(u32::MAX),
        head: row.value.get(..DUMP_VALUE_BYTES).unwrap_or(&row.value).to_vec(),
    });
    Ok(StorePage { revision: store.revision()?.get(), rows: rows.collect(), next })
}
