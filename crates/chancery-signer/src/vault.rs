//! The store as the signer uses it: rows sealed to their place, and a head that no row escapes.
//!
//! The store is untrusted. Every row is sealed under a scope key with its place ([`chancery_crypto::seal`]),
//! and each authority transaction rewrites the tenant's *head*: epoch, the digest of all authority rows
//! ([`chancery_crypto::lthash`]), and the number of the last command. SHA-256 of the sealed head goes into
//! the command's audit record, so a head taken back is found against the log.
//!
//! Names of rows: tenant (16) ‖ kind (1) ‖ id. Kinds 1 to 13 are authority ([`Row::name`]); from 16 on:
//!
//! | kind | what | sealed under |
//! |---|---|---|
//! | 16 | scope key of an environment and region | root |
//! | 17 | material of a key version | its scope key |
//! | 18 | audit keys of a month | the tenant's own scope key |
//! | 19 | head | the tenant's own scope key |
//! | 20 | outbox: a command whose record may not be in the log yet | the system's scope key |
//! | 21 | secrets of the service | root |
//!
//! **Invariant:** the digest is over every row of kinds 1 to 13, 16 and 17, no more and no fewer.

mod bundle_keys;
mod files;
mod months;
mod replaced;
mod steps;

use std::collections::BTreeMap;

use chancery_core::authority::Row;
use chancery_core::cbor;
use chancery_core::epoch::Epoch;
use chancery_core::id::{KeyId, TenantId};
use chancery_core::name::Scope;
use chancery_crypto::labels;
use chancery_crypto::lthash::{DIGEST_BYTES, RowMark, RowsDigest};
use chancery_crypto::mac::KeyedHash;
use chancery_crypto::primitive::sha256;
use chancery_crypto::seal::{NotSealedHere, RowPlace, SealingKey, claimed_place, seal_tag};
use chancery_memory::Arena;
use chancery_store::{
    Expected, RANGE_ROWS_MAX, Revision, RowName, Store, TRANSACTION_OPERATIONS_MAX, Transaction,
};
use minicbor::{Decode, Encode};
use zeroize::Zeroizing;

use crate::config::SignerError;

pub(crate) use files::FileName;
use steps::Trail;

pub(crate) use steps::NextStep;

/// An outbox row: the command's number, and what was sealed.
pub(crate) type OutboxRow = (u64, Zeroizing<Vec<u8>>);

/// The kinds of rows that are not the core's.
pub(crate) mod kind {
    pub(crate) const SCOPE_KEY: u8 = 16;
    pub(crate) const MATERIAL: u8 = 17;
    pub(crate) const MONTH: u8 = 18;
    pub(crate) const HEAD: u8 = 19;
    pub(crate) const OUTBOX: u8 = 20;
    pub(crate) const SECRETS: u8 = 21;
}

const _: () = assert!(Row::KIND_MAX < kind::SCOPE_KEY);

/// A tenant's head.
#[derive(Clone, Debug, Encode, Decode)]
#[cbor(array)]
struct HeadRow {
    #[n(0)]
    epoch: Epoch,
    #[cbor(n(1), with = "minicbor::bytes")]
    digest: Vec<u8>,
    #[n(2)]
    command: u64,
}

/// A tenant as the vault keeps it in memory.
struct Tenant {
    key: SealingKey,
    digest: RowsDigest,
    epoch: Epoch,
    head: Option<(Revision, u64)>,
    head_hash: [u8; 32],
    rows: BTreeMap<Vec<u8>, Mark>,
    trail: Trail,
}

/// Against what a later read of a row is checked.
#[derive(Clone, Copy)]
struct Mark {
    version: u64,
    tag: [u8; 16],
}

impl Mark {
    fn of<'n>(&self, name: &'n [u8]) -> RowMark<'n> {
        RowMark { name, version: self.version, tag: self.tag }
    }
}

/// Rows that are written together.
pub(crate) struct Change {
    pub(crate) tenant: TenantId,
    pub(crate) epoch: Epoch,
    pub(crate) rows: Vec<Row>,
    pub(crate) materials: Vec<Material>,
    /// The version whose material is erased.
    pub(crate) erased: Option<(KeyId, u32)>,
    /// The number of the last command of it.
    pub(crate) command: u64,
}

/// The material of a new version.
pub(crate) struct Material {
    pub(crate) key: KeyId,
    pub(crate) version: u32,
    pub(crate) scope: Scope,
    pub(crate) secret: Zeroizing<Vec<u8>>,
}

/// A change that is durable.
pub(crate) struct Committed {
    /// SHA-256 of the sealed head.
    pub(crate) head_hash: [u8; 32],
}

/// The store, sealed.
pub(crate) struct Vault {
    store: Box<dyn Store>,
    arena: Arena,
    root: SealingKey,
    lthash: KeyedHash,
    system: Option<SealingKey>,
    tenants: BTreeMap<TenantId, Tenant>,
    scopes: BTreeMap<Vec<u8>, SealingKey>,
}

/// The name of a row.
pub(crate) fn name(tenant: TenantId, kind: u8, id: &[u8]) -> Vec<u8> {
    [tenant.as_bytes().as_slice(), &[kind], id].concat()
}

fn material_name(tenant: TenantId, key: KeyId, version: u32) -> Vec<u8> {
    name(tenant, kind::MATERIAL, &[key.as_bytes().as_slice(), &version.to_be_bytes()].concat())
}

fn own_key_name(tenant: TenantId) -> Vec<u8> {
    name(tenant, kind::SCOPE_KEY, &scope_id("", ""))
}

fn scope_id(environment: &str, region: &str) -> [u8; 32] {
    sha256(&[environment.as_bytes(), &[0], region.as_bytes()])
}

pub(crate) fn row_name(name: &[u8]) -> Result<RowName, SignerError> {
    RowName::new(name).map_err(|_| SignerError::Inconsistent("a row's name is too long"))
}

impl Vault {
    pub(crate) fn new(
        store: Box<dyn Store>,
        arena: Arena,
        root: SealingKey,
    ) -> Result<Self, SignerError> {
        let lthash = KeyedHash::new(&*root.subkey(labels::LTHASH_ROW, &[])?);
        let (tenants, scopes) = (BTreeMap::new(), BTreeMap::new());
        Ok(Self { store, arena, root, lthash, system: None, tenants, scopes })
    }

    pub(crate) fn store(&self) -> &dyn Store {
        &*self.store
    }

    /// A row sealed under the root, with a version of 1: written once.
    pub(crate) fn write_root_row(
        &self,
        transaction: Transaction,
        name: &[u8],
        row: &[u8],
    ) -> Result<Transaction, SignerError> {
        let place = root_place(name)?;
        let sealed = self.root.seal(&place, row)?;
        Ok(transaction.expect_absent(row_name(name)?).put(row_name(name)?, sealed))
    }

    pub(crate) fn read_root_row(
        &self,
        name: &[u8],
    ) -> Result<Option<Zeroizing<Vec<u8>>>, SignerError> {
        let row = self.store.get(&row_name(name)?)?;
        let opened = row
            .map(|row| self.root.open(&root_place(name)?, &row.value).map_err(SignerError::from));
        opened.transpose()
    }

    /// Loads a scope key, or makes it within `transaction`.
    fn scope_key(
        &mut self,
        tenant: TenantId,
        environment: &str,
        region: &str,
        transaction: Transaction,
    ) -> Result<(Vec<u8>, Transaction), SignerError> {
        let name = name(tenant, kind::SCOPE_KEY, &scope_id(environment, region));
        if self.scopes.contains_key(&name) {
            return Ok((name, transaction));
        }
        let (key, transaction) = if let Some(bytes) = self.read_root_row(&name)? {
            (self.sealing_key(&bytes)?, transaction)
        } else {
            let key = SealingKey::generate(&self.arena)?;
            let transaction = self.write_root_row(transaction, &name, key.expose_secret())?;
            (key, transaction)
        };
        self.scopes.insert(name.clone(), key);
        Ok((name, transaction))
    }

    fn sealing_key(&self, bytes: &[u8]) -> Result<SealingKey, SignerError> {
        let key = bytes.try_into().map_err(|_| NotSealedHere)?;
        Ok(SealingKey::from_bytes(&self.arena, key)?)
    }

    /// A tenant's own scope key, of no environment and no region.
    fn own_key(&self, tenant: TenantId) -> Result<SealingKey, SignerError> {
        let row = self.read_root_row(&own_key_name(tenant))?;
        self.sealing_key(&row.ok_or(SignerError::Inconsistent("a tenant's scope key is missing"))?)
    }

    /// Makes a tenant's own scope key within `transaction`.
    pub(crate) fn make_own_key(
        &self,
        tenant: TenantId,
        transaction: Transaction,
    ) -> Result<Transaction, SignerError> {
        let key = SealingKey::generate(&self.arena)?;
        self.write_root_row(transaction, &own_key_name(tenant), key.expose_secret())
    }

    /// Makes the system's scope key ready.
    pub(crate) fn open_system(&mut self) -> Result<(), SignerError> {
        self.system = Some(self.own_key(TenantId::SYSTEM)?);
        Ok(())
    }

    /// Begins a tenant that is not stored yet.
    pub(crate) fn begin_tenant(&mut self, id: TenantId) -> Result<(), SignerError> {
        let transaction = self.make_own_key(id, Transaction::new())?;
        let marks = Self::new_marks(&transaction)?;
        self.store.commit(transaction)?;
        let mut tenant = Tenant::new(self.own_key(id)?);
        for (name, mark) in marks {
            tenant.digest.add(&self.lthash, &mark.of(&name))?;
            tenant.rows.insert(name, mark);
        }
        self.tenants.insert(id, tenant);
        Ok(())
    }

    /// The marks of the scope keys that a transaction writes.
    fn new_marks(transaction: &Transaction) -> Result<Vec<(Vec<u8>, Mark)>, SignerError> {
        let writes = transaction.writes().iter();
        let marks =
            writes.filter_map(|write| Some((write.name().as_bytes().to_vec(), write.value()?)));
        let marks = marks.map(|(name, value)| {
            let tag = seal_tag(value).ok_or(NotSealedHere)?;
            Ok((name, Mark { version: 1, tag }))
        });
        marks.collect()
    }

    /// Commits a change with its head, and the outbox rows `outbox` of its commands, of which the last has the change's
    /// number.
    pub(crate) fn commit(
        &mut self,
        change: &Change,
        outbox: impl FnOnce([u8; 32]) -> Vec<Vec<u8>>,
        drained: &[u64],
    ) -> Result<Committed, SignerError> {
        let mut transaction = Transaction::new();
        let mut scopes = Vec::new();
        for Material { scope, .. } in &change.materials {
            let (environment, region) = (scope.environment.as_str(), scope.region.as_str());
            let (name, with_scope) =
                self.scope_key(change.tenant, environment, region, transaction)?;
            transaction = with_scope;
            scopes.push(name);
        }
        let (draft, mut transaction) = self.draft(change, &scopes, transaction)?;
        let head = draft.head;
        let committed = Committed { head_hash: sha256(&[&head]) };
        transaction = transaction
            .expect(row_name(&draft.head_name)?, draft.head_expected)
            .put(row_name(&draft.head_name)?, head);
        let system = self.system.as_ref().ok_or(NotSealedHere)?;
        for (back, row) in (0..).zip(outbox(committed.head_hash).iter().rev()) {
            let number = change.command.saturating_sub(back);
            let outbox_name = name(TenantId::SYSTEM, kind::OUTBOX, &number.to_be_bytes());
            let sealed = system.seal(&fixed_place(TenantId::SYSTEM, &outbox_name), row)?;
            transaction = transaction.put(row_name(&outbox_name)?, sealed);
        }
        for number in drained {
            let name = name(TenantId::SYSTEM, kind::OUTBOX, &number.to_be_bytes());
            transaction = transaction.delete(row_name(&name)?);
        }
        // A scope key that this would have stored is not to seal another key's material.
        let revision = self.store.commit(transaction).inspect_err(|_| self.scopes.clear())?;
        let tenant = self.tenants.get_mut(&change.tenant).ok_or(NotSealedHere)?;
        tenant.digest = draft.digest;
        tenant.rows.extend(draft.marks);
        for row in &change.rows {
            if let Row::Step(step) = row {
                tenant.trail.note(step);
            }
        }
        if let Some((key, version)) = change.erased {
            tenant.rows.remove(&material_name(change.tenant, key, version));
        }
        tenant.epoch = change.epoch;
        tenant.head = Some((revision, draft.head_version));
        tenant.head_hash = committed.head_hash;
        Ok(committed)
    }

    fn draft(
        &self,
        change: &Change,
        scopes: &[Vec<u8>],
        mut transaction: Transaction,
    ) -> Result<(Draft, Transaction), SignerError> {
        let tenant = self.tenants.get(&change.tenant).ok_or(NotSealedHere)?;
        let mut digest = tenant.digest.clone();
        let mut marks = Self::new_marks(&transaction)?;
        for (name, mark) in &marks {
            digest.add(&self.lthash, &mark.of(name))?;
        }
        let rows = change
            .rows
            .iter()
            .map(|row| (row.name(), &tenant.key, Zeroizing::new(cbor::encode(row))));
        let materials = change.materials.iter().zip(scopes).filter_map(|(material, scope)| {
            let name = material_name(change.tenant, material.key, material.version);
            Some((name, self.scopes.get(scope)?, material.secret.clone()))
        });
        for (name, key, bytes) in rows.chain(materials) {
            let version = tenant.rows.get(&name).map_or(1, |mark| mark.version + 1);
            let place =
                RowPlace { tenant: change.tenant, name: &name, version, epoch: change.epoch };
            let sealed = key.seal(&place, &bytes)?;
            let tag = seal_tag(&sealed).ok_or(NotSealedHere)?;
            if let Some(old) = tenant.rows.get(&name) {
                digest.subtract(&self.lthash, &old.of(&name))?;
            }
            digest.add(&self.lthash, &Mark { version, tag }.of(&name))?;
            transaction = transaction.put(row_name(&name)?, sealed);
            marks.push((name, Mark { version, tag }));
        }
        if let Some((key, version)) = change.erased {
            let name = material_name(change.tenant, key, version);
            let old = tenant.rows.get(&name).ok_or(NotSealedHere)?;
            digest.subtract(&self.lthash, &old.of(&name))?;
            transaction = transaction.delete(row_name(&name)?);
        }
        let head_name = name(change.tenant, kind::HEAD, &[]);
        let head_version = tenant.head.map_or(1, |(_, version)| version + 1);
        let row =
            HeadRow { epoch: change.epoch, digest: digest.to_bytes(), command: change.command };
        let place = RowPlace {
            tenant: change.tenant,
            name: &head_name,
            version: head_version,
            epoch: change.epoch,
        };
        let head = tenant.key.seal(&place, &cbor::encode(&row))?;
        let head_expected =
            tenant.head.map_or(Expected::Absent, |(revision, _)| Expected::At(revision));
        Ok((Draft { digest, marks, head, head_name, head_version, head_expected }, transaction))
    }

    /// Loads a tenant: checks every row against the head's digest, and gives the core's rows.
    pub(crate) fn load_tenant(&mut self, id: TenantId) -> Result<(Vec<Row>, u64), SignerError> {
        let mut tenant = Tenant::new(self.own_key(id)?);
        let mut rows = Vec::new();
        let mut after: Option<RowName> = None;
        loop {
            let page = self.store.range(id.as_bytes(), after.as_ref(), RANGE_ROWS_MAX)?;
            let Some(last) = page.last() else { break };
            after = Some(last.name.clone());
            for row in &page {
                self.load_row(id, &mut tenant, row, &mut rows)?;
            }
        }
        let command = self.load_head(id, &mut tenant)?;
        self.tenants.insert(id, tenant);
        Ok((rows, command))
    }

    fn load_row(
        &self,
        id: TenantId,
        tenant: &mut Tenant,
        row: &chancery_store::Row,
        rows: &mut Vec<Row>,
    ) -> Result<(), SignerError> {
        let name = row.name.as_bytes();
        let kind = name.get(16).copied().ok_or(NotSealedHere)?;
        if kind > Row::KIND_MAX && ![kind::MATERIAL, kind::SCOPE_KEY].contains(&kind) {
            return Ok(());
        }
        let (version, epoch) = claimed_place(&row.value)?;
        let tag = seal_tag(&row.value).ok_or(NotSealedHere)?;
        tenant.digest.add(&self.lthash, &RowMark { name, version, tag })?;
        tenant.rows.insert(name.to_vec(), Mark { version, tag });
        if kind <= Row::KIND_MAX {
            let place = RowPlace { tenant: id, name, version, epoch };
            let opened = tenant.key.open(&place, &row.value)?;
            let decoded: Row = cbor::decode(&opened, "row").map_err(|_| NotSealedHere)?;
            if decoded.name() != name {
                return Err(NotSealedHere.into());
            }
            match decoded {
                // It decides nothing: where it leads on to is all that is remembered of it.
                Row::Step(step) => tenant.trail.note(&step),
                decoded => rows.push(decoded),
            }
        }
        Ok(())
    }

    fn load_head(&self, id: TenantId, tenant: &mut Tenant) -> Result<u64, SignerError> {
        let name = name(id, kind::HEAD, &[]);
        let missing = SignerError::Inconsistent("a tenant's head is missing");
        let row = self.store.get(&row_name(&name)?)?.ok_or(missing)?;
        let (version, epoch) = claimed_place(&row.value)?;
        let place = RowPlace { tenant: id, name: &name, version, epoch };
        let opened = tenant.key.open(&place, &row.value)?;
        let head: HeadRow = cbor::decode(&opened, "head").map_err(|_| NotSealedHere)?;
        if head.digest.len() != DIGEST_BYTES || head.digest != tenant.digest.to_bytes() {
            return Err(SignerError::Inconsistent("a tenant's rows are not those of its head"));
        }
        tenant.epoch = head.epoch;
        tenant.head = Some((row.revision, version));
        tenant.head_hash = sha256(&[&row.value]);
        Ok(head.command)
    }

    /// SHA-256 of a tenant's sealed head.
    pub(crate) fn head_hash(&self, tenant: TenantId) -> Option<[u8; 32]> {
        self.tenants.get(&tenant).map(|tenant| tenant.head_hash)
    }

    /// Every tenant that has a head.
    pub(crate) fn stored_tenants(&self) -> Result<Vec<TenantId>, SignerError> {
        let mut tenants = Vec::new();
        let mut after: Option<RowName> = None;
        loop {
            let page = self.store.range(&[], after.as_ref(), RANGE_ROWS_MAX)?;
            let Some(last) = page.last() else { return Ok(tenants) };
            after = Some(last.name.clone());
            for row in &page {
                let Some((id, rest)) = row.name.as_bytes().split_first_chunk::<16>() else {
                    continue;
                };
                if rest.first() == Some(&kind::HEAD) {
                    tenants.push(TenantId::from_bytes(*id));
                }
            }
        }
    }

    /// Reads the material of a key version.
    pub(crate) fn material(
        &mut self,
        tenant: TenantId,
        key: KeyId,
        version: u32,
        scope: &Scope,
    ) -> Result<Zeroizing<Vec<u8>>, SignerError> {
        let (environment, region) = (scope.environment.as_str(), scope.region.as_str());
        let (scope_name, transaction) =
            self.scope_key(tenant, environment, region, Transaction::new())?;
        if !transaction.writes().is_empty() {
            self.scopes.remove(&scope_name);
            return Err(SignerError::Inconsistent("a scope key is missing"));
        }
        let name = material_name(tenant, key, version);
        let row = self.store.get(&row_name(&name)?)?;
        let row = row.ok_or(SignerError::Inconsistent("a key version's material is missing"))?;
        let known = self.tenants.get(&tenant).and_then(|tenant| tenant.rows.get(&name));
        let (row_version, epoch) = claimed_place(&row.value)?;
        let is_known = known.is_some_and(|mark| {
            mark.version == row_version && seal_tag(&row.value) == Some(mark.tag)
        });
        if !is_known {
            return Err(SignerError::Inconsistent("a key version's material was taken back"));
        }
        let scope_key = self.scopes.get(&scope_name).ok_or(NotSealedHere)?;
        let place = RowPlace { tenant, name: &name, version: row_version, epoch };
        Ok(scope_key.open(&place, &row.value)?)
    }

    fn tenant_key(&self, tenant: TenantId) -> Result<&SealingKey, SignerError> {
        if tenant == TenantId::SYSTEM {
            return self.system.as_ref().ok_or_else(|| NotSealedHere.into());
        }
        Ok(&self.tenants.get(&tenant).ok_or(NotSealedHere)?.key)
    }

    /// Seals a file of that name, which is neither that of a row nor of another file.
    pub(crate) fn seal_file(&self, name: &FileName, bytes: &[u8]) -> Result<Vec<u8>, SignerError> {
        let system = self.system.as_ref().ok_or(NotSealedHere)?;
        Ok(system.seal(&fixed_place(TenantId::SYSTEM, name.as_bytes()), bytes)?)
    }

    /// Opens it.
    pub(crate) fn open_file(&self, name: &FileName, sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        self.system.as_ref()?.open(&fixed_place(TenantId::SYSTEM, name.as_bytes()), sealed).ok()
    }

    /// The outbox, in order: commands whose records may not be in the log.
    pub(crate) fn outbox(&self) -> Result<Vec<OutboxRow>, SignerError> {
        let system = self.system.as_ref().ok_or(NotSealedHere)?;
        let prefix = name(TenantId::SYSTEM, kind::OUTBOX, &[]);
        let (mut entries, mut after) = (Vec::new(), None);
        loop {
            let page = self.store.range(&prefix, after.as_ref(), RANGE_ROWS_MAX)?;
            let Some(last) = page.last() else { return Ok(entries) };
            after = Some(last.name.clone());
            for row in &page {
                let name = row.name.as_bytes();
                let number = name.last_chunk::<8>().ok_or(NotSealedHere)?;
                let opened = system.open(&fixed_place(TenantId::SYSTEM, name), &row.value)?;
                entries.push((u64::from_be_bytes(*number), opened));
            }
        }
    }

    /// Deletes outbox rows whose records are in the log.
    pub(crate) fn delete_outbox(&self, numbers: &[u64]) -> Result<(), SignerError> {
        for numbers in numbers.chunks(TRANSACTION_OPERATIONS_MAX) {
            let mut transaction = Transaction::new();
            for number in numbers {
                let name = name(TenantId::SYSTEM, kind::OUTBOX, &number.to_be_bytes());
                transaction = transaction.delete(row_name(&name)?);
            }
            self.store.commit(transaction)?;
        }
        Ok(())
    }
}

/// A change as it will be written.
struct Draft {
    digest: RowsDigest,
    marks: Vec<(Vec<u8>, Mark)>,
    head: Vec<u8>,
    head_name: Vec<u8>,
    head_version: u64,
    head_expected: Expected,
}

impl Tenant {
    fn new(key: SealingKey) -> Self {
        Self {
            key,
            digest: RowsDigest::default(),
            epoch: Epoch::default(),
            head: None,
            head_hash: [0; 32],
            rows: BTreeMap::new(),
            trail: Trail::default(),
        }
    }
}

/// Rows under the root are written once and belong to the tenant their names begin with.
fn root_place(name: &[u8]) -> Result<RowPlace<'_>, SignerError> {
    let tenant = TenantId::from_bytes(*name.first_chunk::<16>().ok_or(NotSealedHere)?);
    Ok(RowPlace { tenant, name, version: 1, epoch: Epoch::default() })
}

/// What has no versions and no epochs: the seal tells it by its name alone.
fn fixed_place(tenant: TenantId, name: &[u8]) -> RowPlace<'_> {
    RowPlace { tenant, name, version: 1, epoch: Epoch::default() }
}
