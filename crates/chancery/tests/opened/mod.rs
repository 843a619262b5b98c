//! A service that has ended, opened with its root key: what its store holds sealed, for tests that must know it.
//!
//! It reads the formats anew and from the files alone, without the signer's own code: rows' names as the
//! signer's vault has them, their seals through `chancery-crypto`.

use std::collections::BTreeMap;
use std::path::Path;

use chancery_core::cbor;
use chancery_core::epoch::Epoch;
use chancery_core::id::TenantId;
use chancery_crypto::seal::{RowPlace, SealingKey, claimed_place};
use chancery_memory::Arena;
use chancery_store::{Embedded, OpenMode, RANGE_ROWS_MAX, RowName, Store as _};
use minicbor::{Decode, Encode};

use crate::harness::Service;

/// Kinds of rows, by the byte after the tenant in their names.
mod kind {
    pub(super) const SCOPE_KEY: u8 = 16;
    pub(super) const MATERIAL: u8 = 17;
    pub(super) const MONTH: u8 = 18;
    pub(super) const SECRETS: u8 = 21;
}

/// The arena of the keys that are read here.
const ARENA_BYTES: usize = 1 << 16;

/// Rows that were opened, by their names.
type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

/// What a service keeps for itself.
#[derive(Clone, Encode, Decode)]
#[cbor(array)]
pub(crate) struct Secrets {
    #[cbor(n(0), with = "minicbor::bytes")]
    pub(crate) receipt: [u8; 32],
    #[cbor(n(1), with = "minicbor::bytes")]
    pub(crate) operations: [u8; 32],
    #[cbor(n(2), with = "minicbor::bytes")]
    pub(crate) handles: [u8; 32],
    #[cbor(n(3), with = "minicbor::bytes")]
    pub(crate) authority: Vec<u8>,
    #[n(4)]
    authority_pem: String,
    /// The public half of the recovery key.
    #[cbor(n(5), with = "minicbor::bytes")]
    pub(crate) recovery: Vec<u8>,
    #[cbor(n(6), with = "minicbor::bytes")]
    pub(crate) checkpoint_ed25519: [u8; 32],
    #[cbor(n(7), with = "minicbor::bytes")]
    pub(crate) checkpoint_ml_dsa_44: [u8; 32],
}

/// All that hangs from the root key.
pub(crate) struct Opened {
    pub(crate) secrets: Secrets,
    /// Each tenant's own key, the system's too, and those of environments and regions.
    pub(crate) scope_keys: Rows,
    /// The material of every key version: seeds, scalars, plain bytes, PKCS#8.
    pub(crate) materials: Rows,
    /// The audit secrets of each tenant and month, 32 bytes each.
    pub(crate) months: Rows,
}

impl Opened {
    /// Opens what a service left; what is wrong where it does not belong together.
    pub(crate) fn of(service: &Service) -> Result<Self, String> {
        let sealed = sealed_rows(service)?;
        let arena = Arena::with_capacity(ARENA_BYTES).unwrap();
        let root = from_key_file(&service.key_file("root.key"))?;
        let root = SealingKey::from_bytes(&arena, &root).unwrap();
        let secrets = opened(&sealed, kind::SECRETS, &[&root])?;
        let secrets = secrets.values().next().ok_or("there is no row of secrets")?;
        let secrets = cbor::decode(secrets, "secrets").map_err(|error| error.to_string())?;
        let scope_keys = opened(&sealed, kind::SCOPE_KEY, &[&root])?;
        let keys = scope_keys.values().map(|key| {
            SealingKey::from_bytes(&arena, &<[u8; 32]>::try_from(key.as_slice()).unwrap()).unwrap()
        });
        let keys: Vec<SealingKey> = keys.collect();
        let keys: Vec<&SealingKey> = keys.iter().collect();
        let materials = opened(&sealed, kind::MATERIAL, &keys)?;
        let months = opened(&sealed, kind::MONTH, &keys)?;
        Ok(Self { secrets, scope_keys, materials, months })
    }
}

/// The 32 bytes of a key file: hexadecimal after one word.
pub(crate) fn from_key_file(path: &Path) -> Result<[u8; 32], String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("{path:?}: {error}"))?;
    let digits = text.trim_end().split_once(' ').ok_or("no key file")?.1;
    let pairs = digits.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
    let bytes = pairs.map(|pair| u8::from_str_radix(pair, 16).map_err(|error| error.to_string()));
    bytes.collect::<Result<Vec<u8>, String>>()?.try_into().map_err(|_| "another length".into())
}

/// A signer that ends does not close its store cleanly, so a copy is opened, which may be repaired.
fn sealed_rows(service: &Service) -> Result<Rows, String> {
    let copy = service.path("store.copy");
    std::fs::copy(service.data().join("store.redb"), &copy).map_err(|error| error.to_string())?;
    let rows = rows(&copy);
    std::fs::remove_file(&copy).unwrap();
    rows
}

fn rows(path: &Path) -> Result<Rows, String> {
    let failed = |error: &dyn std::error::Error| format!("the store: {error}");
    let store = Embedded::open(path, OpenMode::ReadWrite).map_err(|error| failed(&error))?;
    let mut rows = Rows::new();
    let mut after: Option<RowName> = None;
    loop {
        let page = store.range(&[], after.as_ref(), RANGE_ROWS_MAX);
        let page = page.map_err(|error| failed(&error))?;
        let Some(last) = page.last() else { return Ok(rows) };
        after = Some(last.name.clone());
        rows.extend(page.iter().map(|row| (row.name.as_bytes().to_vec(), row.value.clone())));
    }
}

/// Every row of a kind, each opened with one of these keys.
fn opened(sealed: &Rows, kind: u8, keys: &[&SealingKey]) -> Result<Rows, String> {
    let of_kind = sealed.iter().filter(|(name, _)| name.get(16) == Some(&kind));
    of_kind.map(|(name, row)| Ok((name.clone(), open(kind, name, row, keys)?))).collect()
}

fn open(kind: u8, name: &[u8], row: &[u8], keys: &[&SealingKey]) -> Result<Vec<u8>, String> {
    let tenant = TenantId::from_bytes(*name.first_chunk().ok_or("a name without a tenant")?);
    // Rows of material are written again; the others once.
    let (version, epoch) = match kind {
        kind::MATERIAL => claimed_place(row).map_err(|error| error.to_string())?,
        _ => (1, Epoch::default()),
    };
    let place = RowPlace { tenant, name, version, epoch };
    let opened = keys.iter().find_map(|key| key.open(&place, row).ok());
    opened.map(|row| row.to_vec()).ok_or(format!("a row of kind {kind} does not open"))
}

/// No test file uses all of this module; what one leaves out is still meant to be here.
const _: () = {
    let _ = |opened: Opened| (opened.scope_keys, opened.materials, opened.months);
    let _ = |secrets: Secrets| (secrets.operations, secrets.handles, secrets.authority);
};
