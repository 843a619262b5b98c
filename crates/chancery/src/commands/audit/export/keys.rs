//! The keys by which an export opens records, month by month, and what keys are called.
//!
//! A month's keys are asked for when a record of it comes, and again when one comes that is younger than the answer, since
//! keys may have been made meanwhile. A record that was there already, and whose keys were not, is of a month that was
//! destroyed, or of another tenant: nobody here opens it.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::sleep;
use std::time::Duration;

use chancery_audit::disclosure::EventsDisclosed;
use chancery_audit::frame::ItemView;
use chancery_audit::record::Pseudonym;
use chancery_audit::sealer::{EventKeys, EventSecrets, Month};
use chancery_core::id::{KeyId, TenantId};
use chancery_core::name::Name;
use chancery_crypto::section::Boot;
use chancery_export::exporter::ReadError;

/// How long a key that was just made gets to be listed: 50 ms. Its record is durable shortly before.
const LISTED_WAIT: Duration = Duration::from_millis(50);

/// Who hands keys out, and says what they are called.
pub(super) trait Discloses {
    /// What opens what events say of a month of the log; nothing if no keys of it are there. It is on record.
    fn events(&self, origin: &str, month: Month) -> Result<Option<EventsDisclosed>, ReadError>;

    /// Every key of the tenant.
    fn keys(&self) -> Result<Vec<(TenantId, KeyId, Name)>, ReadError>;
}

/// A place in the log where keys are needed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// The record's index.
    pub(super) index: u64,
    /// How many records there are at least.
    pub(super) size: u64,
    /// The log and the start that wrote the record.
    pub(super) boot: Boot,
}

/// A month's keys, as they were disclosed.
struct Asked {
    /// How many records there were then.
    size: u64,
    /// Of one tenant, and of the service itself; none if it has none.
    tenants: BTreeMap<TenantId, Option<EventSecrets>>,
}

/// The keys of a tenant's month, for one start of the service.
pub(super) struct Opener {
    pub(super) keys: EventKeys,
    tenant: TenantId,
    month: Month,
    boot: Boot,
}

/// What keys are called, by the pseudonyms of a tenant's month; nothing for one that has no name.
type Names = BTreeMap<Pseudonym, Option<Arc<str>>>;

/// All that opens records.
#[derive(Default)]
pub(super) struct Keyring {
    months: BTreeMap<Month, Asked>,
    /// The one that was used last, which nearly always is the next.
    last: Option<Rc<Opener>>,
    openers: BTreeMap<(TenantId, Month, [u8; 16]), Rc<Opener>>,
    names: BTreeMap<(TenantId, Month), Names>,
}

impl Keyring {
    /// What opens an item; nothing if it is not for this auditor, or its month's keys are gone.
    pub(super) fn opener(
        &mut self,
        service: &impl Discloses,
        origin: &str,
        (item, place): (&ItemView<'_>, Place),
    ) -> Result<Option<Rc<Opener>>, ReadError> {
        let is_it = |opener: &&Rc<Opener>| {
            (opener.tenant, opener.month) == (item.tenant, item.month) && opener.boot == place.boot
        };
        if let Some(last) = self.last.as_ref().filter(is_it) {
            return Ok(Some(Rc::clone(last)));
        }
        let (tenant, month, boot) = (item.tenant, item.month, place.boot);
        let name = (tenant, month, boot.boot_nonce);
        if !self.openers.contains_key(&name) {
            let Some(secrets) = self.secrets(service, origin, (item, place))? else {
                return Ok(None);
            };
            let keys = EventKeys::derive(secrets, boot);
            let keys = keys.map_err(|error| ReadError::Lost(error.to_string()))?;
            self.openers.insert(name, Rc::new(Opener { keys, tenant, month, boot }));
        }
        self.last = self.openers.get(&name).cloned();
        Ok(self.last.clone())
    }

    fn secrets(
        &mut self,
        service: &impl Discloses,
        origin: &str,
        (item, place): (&ItemView<'_>, Place),
    ) -> Result<Option<&EventSecrets>, ReadError> {
        let known = self.months.get(&item.month);
        let is_known = known.is_some_and(|asked| match asked.tenants.get(&item.tenant) {
            Some(Some(_)) => true,
            // Keys may have been made for a record that came later.
            Some(None) => place.index < asked.size,
            None => place.index < asked.size || !asked.tenants.is_empty(),
        });
        if !is_known {
            let disclosed = service.events(origin, item.month)?;
            let tenants = disclosed.map(|events| events.tenants).unwrap_or_default();
            let tenants = tenants.into_iter().map(|it| (it.tenant, it.secrets)).collect();
            self.months.insert(item.month, Asked { size: place.size, tenants });
        }
        let asked = self.months.get(&item.month);
        Ok(asked.and_then(|asked| asked.tenants.get(&item.tenant)?.as_ref()))
    }

    /// What a key is called.
    pub(super) fn name(
        &mut self,
        service: &impl Discloses,
        opener: &Opener,
        pseudonym: &Pseudonym,
    ) -> Result<Option<Arc<str>>, ReadError> {
        if *pseudonym == [0; 16] {
            return Ok(None);
        }
        let month = (opener.tenant, opener.month);
        if let Some(known) = self.names.get(&month).and_then(|names| names.get(pseudonym)) {
            return Ok(known.clone());
        }
        self.list(service, opener)?;
        let is_there = |names: &Names| names.contains_key(pseudonym);
        if !self.names.get(&month).is_some_and(is_there) {
            sleep(LISTED_WAIT);
            self.list(service, opener)?;
        }
        let names = self.names.entry(month).or_default();
        Ok(names.entry(*pseudonym).or_default().clone())
    }

    /// Asks for the names of all keys.
    fn list(&mut self, service: &impl Discloses, opener: &Opener) -> Result<(), ReadError> {
        let own = service.keys()?.into_iter().filter(|(tenant, ..)| *tenant == opener.tenant);
        let named = own
            .map(|(_, id, name)| (opener.keys.key_pseudonym(id), Some(Arc::from(name.as_str()))));
        self.names.entry((opener.tenant, opener.month)).or_default().extend(named);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
