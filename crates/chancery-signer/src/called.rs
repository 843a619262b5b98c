//! What a key was called in the months before this one, as far as their keys are there.
//!
//! Each month has pseudonyms of its own, so nobody outside can tell that a key of one month is one of the next. A
//! statement of how many uses there were commits to these names; an opening of it shows them
//! ([`chancery_audit::called`]).

use chancery_audit::called::{Called, Names};
use chancery_audit::sealer::Month;
use chancery_core::id::{KeyId, TenantId};

use crate::config::SignerError;
use crate::source::Source;

/// The names of a key in the months before `month`; nothing if there are none.
///
/// # Errors
///
/// [`SignerError`] if the keys of a month cannot be read.
pub(crate) fn before(
    source: &impl Source,
    (tenant, key): (TenantId, KeyId),
    month: Month,
) -> Result<Option<Names>, SignerError> {
    let mut months = Vec::new();
    for month in 0..month {
        let keys = source.month_names(tenant, month)?;
        months.extend(keys.map(|keys| Called::by(&keys, tenant, key)));
    }
    Ok(Names::of(&months))
}
