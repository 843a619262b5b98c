//! What comes due by itself: the coming month's audit keys, the destruction of versions, one-time keys that nobody used,
//! versions that protect for too long; and while the clock is suspect its mark, so that no restart takes more than a minute back.

use std::sync::Arc;
use std::time::Duration;

use chancery_audit::sealer::{Keyring, Month, MonthKeys, MonthSecrets, month_of};
use chancery_core::clock::{Quality, Reading};
use chancery_core::id::TenantId;
use chancery_crypto::section::Boot;
use chancery_memory::wiping;

use crate::config::{EXIT_AUDIT_FAILED, SignerError};
use crate::counters::lock;
use crate::entropy;
use crate::jobs::Job;
use crate::overdue;
use crate::sequencer::halt;
use crate::service::Shared;
use crate::vault::Vault;

/// How often it is checked that the coming month's audit keys are there, and whether destructions are due.
const HOUSEKEEPING: Duration = Duration::from_mins(1);

/// Makes the coming month's audit keys before the month begins, and has versions destroyed that are due.
pub(crate) fn start(shared: &Arc<Shared>) {
    let shared = Arc::clone(shared);
    std::thread::spawn(move || {
        loop {
            std::thread::sleep(HOUSEKEEPING);
            let (tenants, due, now) = {
                let mut core = lock(&shared.core);
                let now = core.now(entropy::sample());
                let tenants: Vec<_> = core.authority.tenants().collect();
                (tenants, core.authority.due_destructions(now), now)
            };
            keep_mark(&shared, now);
            shared.imports.forget_old();
            overdue::look(&shared, &tenants);
            for due in due {
                // A full queue is tried again next time.
                let _ = shared.jobs.send(Job::Destroy(due));
            }
            let vault = lock(&shared.vault);
            // What was there at the start is loaded; what is missing now was never made, so nothing stands under it.
            let months = Months { now_ms: now.unix_ms, recorded: None };
            let made = wiping::on_wiped_stack(|| {
                ensure_months(&vault, &tenants, &shared.keyring, shared.boot, months)
            });
            if let Err(error) = made {
                if error.exit_status() == EXIT_AUDIT_FAILED {
                    halt(&error);
                }
                eprintln!("chancery signer: the coming month's audit keys cannot be made: {error}");
            }
        }
    });
}

/// A clock that is believed at the next start needs no mark; after a suspect one the time since the last frame
/// would be lost, and handles that expired in it would live again.
pub(crate) fn keep_mark(shared: &Shared, now: Reading) {
    if now.quality == Quality::Suspect
        && let Err(error) = shared.write_roots()
    {
        eprintln!("chancery signer: the time cannot be kept: {error}");
    }
}

/// Loads or makes the audit keys of this month and the next, for these tenants and the service itself.
pub(crate) fn ensure_months(
    vault: &Vault,
    tenants: &[TenantId],
    keyring: &Keyring,
    boot: Boot,
    months: Months,
) -> Result<(), SignerError> {
    let month = month_of(months.now_ms);
    for tenant in tenants.iter().copied().chain([TenantId::SYSTEM]) {
        for month in [month, month + 1] {
            if keyring.get(tenant, month).is_some() {
                continue;
            }
            let secrets = if let Some(bytes) = vault.month(tenant, month)? {
                bytes
            } else if months.recorded.is_some_and(|recorded| month <= recorded) {
                // Records may stand under them; new ones in their place would make those unreadable for good.
                return Err(SignerError::Inconsistent("the audit keys of a month are missing"));
            } else {
                let fresh =
                    zeroize::Zeroizing::new(entropy::bytes::<{ MonthSecrets::BYTES }>()?.to_vec());
                vault.put_month(tenant, month, &fresh)?;
                fresh
            };
            let secrets = MonthSecrets::from_bytes(&secrets);
            let secrets =
                secrets.ok_or(SignerError::Inconsistent("a month's audit keys are altered"))?;
            keyring.insert(tenant, month, MonthKeys::derive(&secrets, boot)?);
        }
    }
    Ok(())
}

/// Which months' audit keys are wanted.
#[derive(Clone, Copy)]
pub(crate) struct Months {
    /// Those of this time, and the month after.
    pub(crate) now_ms: u64,
    /// The month of the log's last record: keys up to there were made before, and are never made anew.
    pub(crate) recorded: Option<Month>,
}
