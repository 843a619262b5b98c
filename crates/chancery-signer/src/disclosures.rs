//! Disclosures: what opens records, made here, and sealed to somebody who has the log's files.
//!
//! ```text
//! file = "CHYDSC1\n" ‖ enc (32) ‖ HPKE.Seal[DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-256-GCM](
//!            info = DISCLOSURE, associated data = nothing, plaintext = signed disclosure)
//! ```
//!
//! RFC 9180, base mode, single shot. What takes two people to open is sealed to the second, and that file to the first.
//! What is in it says [`chancery_audit::disclosure`]; the log has signed it.
//!
//! **Invariant:** a disclosure leaves behind its record, as every answer to a command does.

use chancery_audit::disclosure::{
    CaseRecord, Contents, DisclosureFile, EventsDisclosed, MonthDisclosed, Named, NotADisclosure,
    TenantDisclosed, TenantEvents,
};
use chancery_audit::sealer::{EventSecrets, Month, MonthSecrets, NameClass};
use chancery_core::authority::Refusal;
use chancery_core::command::Answer;
use chancery_core::disclosure::{Disclosed, Disclosure};
use chancery_core::id::{KeyId, TenantId};
use chancery_core::name::Name;
use chancery_core::reason::Reason;
use chancery_core::record_group::RecordGroups;
use chancery_crypto::labels::DISCLOSURE;
use rustls::crypto::aws_lc_rs::hpke::DH_KEM_X25519_HKDF_SHA256_AES_256;
use rustls::crypto::hpke::{EncapsulatedSecret, Hpke, HpkePrivateKey, HpkePublicKey};
use zeroize::Zeroizing;

use crate::counters::lock;
use crate::query::{altered, located};
use crate::service::Shared;
use crate::source::Source as _;

const MAGIC: &[u8; 8] = b"CHYDSC1\n";

/// The bytes of an encapsulated X25519 key (RFC 9180, 7.1).
const ENC_BYTES: usize = 32;

/// So many keys of a tenant are named in a disclosure: 4 096, some 200 KiB. Of a tenant with more, none is: a record then
/// shows its key's version and no name.
const NAMED_KEYS_MAX: usize = 4_096;

/// Makes what is asked for, and seals it to its recipient.
pub(crate) fn make(
    shared: &Shared,
    tenant: TenantId,
    disclosure: &Disclosure,
    made_ms: u64,
) -> Result<Answer, Refusal> {
    let contents = match &disclosure.what {
        Disclosed::Months { first, last } => {
            Contents::Tenant(of_tenant(shared, tenant, (*first, *last), names(shared, tenant))?)
        }
        Disclosed::Everything { first, last, .. } => Contents::Everything {
            tenant: of_tenant(shared, tenant, (*first, *last), names(shared, tenant))?,
            service: months(shared, TenantId::SYSTEM, (*first, *last))?,
        },
        Disclosed::Records { indices } => {
            let names = names(shared, tenant);
            let record = |index: &u64| record(shared, tenant, *index, &names);
            Contents::Case(indices.iter().map(record).collect::<Result<_, _>>()?)
        }
        Disclosed::Events { month } => Contents::Events(events(shared, tenant, *month)?),
    };
    let keys = lock(&shared.checkpoints).verifier_keys().map(Clone::clone);
    let file = DisclosureFile::new(&shared.origin, made_ms, &keys.each_ref(), contents);
    let signed = file.sign(&shared.receipt_key).map(Zeroizing::new).ok_or_else(unavailable)?;
    let file = match &disclosure.what {
        Disclosed::Everything { second, .. } => {
            seal(&seal(&signed, second)?, &disclosure.recipient)?
        }
        _ => seal(&signed, &disclosure.recipient)?,
    };
    Ok(Answer::Disclosure(file))
}

/// Seals to a recipient.
fn seal(plaintext: &[u8], recipient: &[u8; 32]) -> Result<Vec<u8>, Refusal> {
    let recipient = HpkePublicKey(recipient.to_vec());
    let sealed = DH_KEM_X25519_HKDF_SHA256_AES_256.seal(DISCLOSURE, &[], plaintext, &recipient);
    let (enc, ciphertext) = sealed.map_err(|_| Refusal {
        reason: Reason::Malformed,
        detail: "a recipient's key is no X25519 key that can be sealed to".to_owned(),
    })?;
    Ok([&MAGIC[..], &enc.0, &ciphertext].concat())
}

/// The keys of a tenant by their names.
fn names(shared: &Shared, tenant: TenantId) -> Vec<(KeyId, Name)> {
    let names = shared.keys(tenant);
    if names.len() > NAMED_KEYS_MAX { Vec::new() } else { names }
}

/// The keys of a month that open what events say, of a tenant and of the service itself.
fn events(shared: &Shared, tenant: TenantId, month: Month) -> Result<EventsDisclosed, Refusal> {
    let vault = lock(&shared.vault);
    let of = |tenant| -> Result<TenantEvents, Refusal> {
        let secrets = vault.month(tenant, month).map_err(|_| unavailable())?;
        let secrets = secrets.and_then(|bytes| MonthSecrets::from_bytes(&bytes));
        Ok(TenantEvents { tenant, secrets: secrets.as_ref().map(EventSecrets::of) })
    };
    let tenants = [tenant, TenantId::SYSTEM].map(of).into_iter().collect::<Result<Vec<_>, _>>()?;
    if tenants.iter().all(|tenant| tenant.secrets.is_none()) {
        return Err(no_keys());
    }
    Ok(EventsDisclosed { month, tenants })
}

/// The keys of those months that have any.
fn months(
    shared: &Shared,
    tenant: TenantId,
    (first, last): (u16, u16),
) -> Result<Vec<MonthDisclosed>, Refusal> {
    let vault = lock(&shared.vault);
    let mut months = Vec::new();
    for month in first..=last {
        let secrets = vault.month(tenant, month).map_err(|_| unavailable())?;
        let secrets = secrets.and_then(|bytes| MonthSecrets::from_bytes(&bytes));
        months.extend(secrets.map(|secrets| MonthDisclosed::of(month, &secrets)));
    }
    Ok(months)
}

/// A tenant's months, with the names of its keys.
fn of_tenant(
    shared: &Shared,
    tenant: TenantId,
    range: (u16, u16),
    names: Vec<(KeyId, Name)>,
) -> Result<TenantDisclosed, Refusal> {
    let months = months(shared, tenant, range)?;
    if months.is_empty() {
        return Err(no_keys());
    }
    let name = lock(&shared.core).authority.tenant(tenant).map(|tenant| tenant.name.clone());
    let keys = names.into_iter().map(|(id, name)| Named { id, name }).collect();
    Ok(TenantDisclosed { tenant, name: name.ok_or_else(unavailable)?, months, keys })
}

/// One record, with all that it says.
fn record(
    shared: &Shared,
    tenant: TenantId,
    index: u64,
    names: &[(KeyId, Name)],
) -> Result<CaseRecord, Refusal> {
    let (item, keys) = located(shared, tenant, index)?;
    let opening = keys.opening(&item, RecordGroups::ALL).ok_or_else(altered)?;
    let identity = keys.identity_opening(&item).ok_or_else(altered)?;
    let (section, _) = keys.open(&item).ok_or_else(altered)?;
    let is_its =
        |(id, _): &&(KeyId, Name)| keys.pseudonym(NameClass::Key, id.as_bytes()) == section.key.key;
    let key = names.iter().find(is_its).map(|(_, name)| name.to_string());
    Ok(CaseRecord::new(index, key.unwrap_or_default(), &opening, identity))
}

fn no_keys() -> Refusal {
    let detail = "there are no keys of those months: nothing was recorded, or they are gone";
    Refusal { reason: Reason::Forbidden, detail: detail.to_owned() }
}

fn unavailable() -> Refusal {
    let detail = "the service could not do this; nothing was disclosed".to_owned();
    Refusal { reason: Reason::Unavailable, detail }
}

/// Who opens disclosures: an X25519 key pair.
pub struct Recipient {
    private: HpkePrivateKey,
}

/// A disclosure does not open, or no key is to be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecipientError {
    /// It is none.
    #[error(transparent)]
    NotADisclosure(#[from] NotADisclosure),
    /// It takes the other person's key too.
    #[error(
        "the disclosure is for two people: it opens with both their keys (`--recipient-key` twice)"
    )]
    NotAlone,
    /// It is sealed to another key, or was altered.
    #[error("the disclosure does not open with that key: it is sealed to another, or was altered")]
    NotForUs,
    /// The provider failed.
    #[error("no key pair could be made")]
    Provider,
}

impl Recipient {
    /// A new key pair: the private key, and the public one, to which disclosures are sealed.
    ///
    /// # Errors
    ///
    /// [`RecipientError::Provider`].
    pub fn new_pair() -> Result<(Zeroizing<Vec<u8>>, Vec<u8>), RecipientError> {
        let pair = DH_KEM_X25519_HKDF_SHA256_AES_256.generate_key_pair();
        let (public, private) = pair.map_err(|_| RecipientError::Provider)?;
        Ok((Zeroizing::new(private.secret_bytes().to_vec()), public.0))
    }

    /// Who has that private key, 32 bytes.
    #[must_use]
    pub fn with_key(private: &[u8; 32]) -> Self {
        Self { private: HpkePrivateKey::from(private.to_vec()) }
    }

    /// Opens a disclosure's file; with the other person's key, where it takes two, in whichever order they are given.
    ///
    /// # Errors
    ///
    /// [`RecipientError`].
    pub fn open(
        &self,
        file: &[u8],
        other: Option<&Self>,
    ) -> Result<DisclosureFile, RecipientError> {
        let (opened, inner) = match (self.unseal(file), other) {
            (Err(RecipientError::NotForUs), Some(other)) => (other.unseal(file)?, Some(self)),
            (opened, other) => (opened?, other),
        };
        if !opened.starts_with(MAGIC) {
            return Ok(DisclosureFile::parse(&opened)?);
        }
        let opened = inner.ok_or(RecipientError::NotAlone)?.unseal(&opened)?;
        Ok(DisclosureFile::parse(&opened)?)
    }

    /// What is sealed to it.
    fn unseal(&self, file: &[u8]) -> Result<Zeroizing<Vec<u8>>, RecipientError> {
        let sealed = file.strip_prefix(MAGIC).ok_or(NotADisclosure)?;
        let (enc, ciphertext) = sealed.split_at_checked(ENC_BYTES).ok_or(NotADisclosure)?;
        let enc = EncapsulatedSecret(enc.to_vec());
        let opened = DH_KEM_X25519_HKDF_SHA256_AES_256
            .open(&enc, DISCLOSURE, &[], ciphertext, &self.private)
            .map_err(|_| RecipientError::NotForUs)?;
        Ok(Zeroizing::new(opened))
    }
}
