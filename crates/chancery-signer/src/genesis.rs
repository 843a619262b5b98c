//! The first start: root key, recovery key, secrets, the log's origin, and the tenant `default` with its operator.
//!
//! Each step can be found done, so a first start that was cut short goes on where it stopped: until the
//! tenant is stored nobody was told anything. The operator's key is put into the administrator's file before
//! the tenant that trusts it is stored.

use std::fmt::Write as _;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chancery_audit::disk::Disk;
use chancery_audit::gap::SignedGap;
use chancery_audit::origin::{ORIGIN_FILE, Origin};
use chancery_core::authority::{Row, TenantRow};
use chancery_core::cbor;
use chancery_core::clock::Reading;
use chancery_core::epoch::Epoch;
use chancery_core::id::{PrincipalId, TenantId};
use chancery_core::posture::Posture;
use chancery_core::principal::{Principal, Role};
use chancery_core::suite::Suite;
use chancery_crypto::key::PrivateKey;
use chancery_store::{Revision, Transaction};
use minicbor::{Decode, Encode};
use zeroize::Zeroizing;

use crate::authority_tls::LocalAuthority;
use crate::config::{SignerConfig, SignerError};
use crate::entropy;
use crate::outbox::OutboxEntry;
use crate::root;
use crate::vault::{Change, Vault, kind, name};

/// The administrator's file in the data directory.
pub(crate) const ADMIN_FILE: &str = "admin.toml";

/// More than the administrator's file has besides the endpoint and the certificate, in bytes.
const ADMIN_BYTES: usize = 512;

/// What the service keeps for itself, in one row under the root key.
#[derive(Encode, Decode)]
#[cbor(array)]
pub(crate) struct Secrets {
    /// Seed of the Ed25519 key that signs frame heads.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub(crate) receipt: [u8; 32],
    /// Key of the hashes that stand for operation ids.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub(crate) operations: [u8; 32],
    /// Key that chains of handles begin with.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub(crate) handles: [u8; 32],
    /// The local authority's key, as PKCS#8.
    #[cbor(n(3), with = "minicbor::bytes")]
    pub(crate) authority: Vec<u8>,
    /// The local authority's certificate.
    #[n(4)]
    pub(crate) authority_pem: String,
    /// The public half of the recovery key, as `SubjectPublicKeyInfo`.
    #[cbor(n(5), with = "minicbor::bytes")]
    pub(crate) recovery: Vec<u8>,
    /// Seed of the Ed25519 key that signs checkpoints.
    #[cbor(n(6), with = "minicbor::bytes")]
    pub(crate) checkpoint_ed25519: [u8; 32],
    /// Seed of the ML-DSA-44 key that signs checkpoints.
    #[cbor(n(7), with = "minicbor::bytes")]
    pub(crate) checkpoint_ml_dsa_44: [u8; 32],
    /// The statement of the gap behind which this log begins, where it follows one that was retired.
    #[n(8)]
    pub(crate) follows: Option<String>,
}

impl Secrets {
    /// The same service's for a log that is begun anew: nothing that the log before has signed can be taken for one of its
    /// own.
    pub(crate) fn behind(&self, gap: &SignedGap) -> Result<Self, SignerError> {
        Ok(Self {
            receipt: entropy::bytes()?,
            operations: self.operations,
            handles: self.handles,
            authority: self.authority.clone(),
            authority_pem: self.authority_pem.clone(),
            recovery: self.recovery.clone(),
            checkpoint_ed25519: entropy::bytes()?,
            checkpoint_ml_dsa_44: entropy::bytes()?,
            follows: Some(gap.text().to_owned()),
        })
    }

    /// The key that signs frame heads.
    pub(crate) fn receipt_key(&self) -> Result<PrivateKey, SignerError> {
        PrivateKey::from_secret(Suite::Ed25519, &self.receipt).map_err(|_| SignerError::Certificate)
    }

    /// The gap behind which this log begins, if there is one.
    pub(crate) fn gap(&self) -> Result<Option<SignedGap>, SignerError> {
        let parsed = self.follows.as_ref().map(|text| SignedGap::parse(text.as_bytes()));
        let altered = |_| SignerError::Inconsistent("the statement of the gap is altered");
        parsed.transpose().map_err(altered)
    }

    /// Stores them in the place of those that there are.
    pub(crate) fn replace(&self, vault: &Vault) -> Result<(), SignerError> {
        vault.replace_root_row(&secrets_name(), &Zeroizing::new(cbor::encode(self)))
    }
}

impl Drop for Secrets {
    fn drop(&mut self) {
        use zeroize::Zeroize;
        self.receipt.zeroize();
        self.operations.zeroize();
        self.handles.zeroize();
        self.authority.zeroize();
        self.checkpoint_ed25519.zeroize();
        self.checkpoint_ml_dsa_44.zeroize();
    }
}

fn secrets_name() -> Vec<u8> {
    name(TenantId::SYSTEM, kind::SECRETS, &[])
}

/// Reads the secrets, if there are any.
pub(crate) fn stored_secrets(vault: &Vault) -> Result<Option<Secrets>, SignerError> {
    let Some(row) = vault.read_root_row(&secrets_name())? else { return Ok(None) };
    let altered = |_| SignerError::Inconsistent("the service's secrets are altered");
    cbor::decode(&row, "secrets").map(Some).map_err(altered)
}

/// Reads the secrets, or makes them at first start.
pub(crate) fn secrets(vault: &Vault, config: &SignerConfig) -> Result<Secrets, SignerError> {
    if let Some(secrets) = stored_secrets(vault)? {
        return Ok(secrets);
    }
    // They are the first thing that is ever stored.
    if vault.store().revision()? != Revision::ZERO {
        return Err(SignerError::Inconsistent("the service's secrets are missing"));
    }
    let recovery = PrivateKey::generate(Suite::Ed25519).map_err(|_| SignerError::Certificate)?;
    replace_unfinished(&config.recovery_key)?;
    root::create_recovery(&config.recovery_key, &recovery)?;
    let now_s = i64::try_from(entropy::sample().wall_ms / 1_000).unwrap_or_default();
    let authority = LocalAuthority::create(now_s)?;
    let secrets = Secrets {
        receipt: entropy::bytes()?,
        operations: entropy::bytes()?,
        handles: entropy::bytes()?,
        authority: authority.pkcs8.to_vec(),
        authority_pem: authority.pem,
        recovery: recovery.public().map(|public| public.spki().to_vec()).unwrap_or_default(),
        checkpoint_ed25519: entropy::bytes()?,
        checkpoint_ml_dsa_44: entropy::bytes()?,
        follows: None,
    };
    let row = Zeroizing::new(cbor::encode(&secrets));
    let transaction = vault.write_root_row(Transaction::new(), &secrets_name(), &row)?;
    let transaction = vault.make_own_key(TenantId::SYSTEM, transaction)?;
    vault.store().commit(transaction)?;
    Ok(secrets)
}

/// A recovery key whose public half was never stored belongs to a first start that was cut short: it is moved
/// aside, never deleted.
fn replace_unfinished(path: &Path) -> Result<(), SignerError> {
    if !path.exists() {
        return Ok(());
    }
    let aside = path.with_extension("unfinished");
    let moved = std::fs::rename(path, aside);
    moved.map_err(SignerError::system(
        "the recovery key of an unfinished first start cannot be moved aside",
    ))
}

/// Writes the log's origin at first start, and holds it to the secrets afterwards.
pub(crate) fn origin(disk: &dyn Disk, receipt: &PrivateKey) -> Result<Origin, SignerError> {
    let ours = Origin::of_signer(receipt).map_err(|_| SignerError::Certificate)?;
    let names = disk.list().map_err(SignerError::system("the audit directory cannot be read"))?;
    if names.iter().any(|name| name == ORIGIN_FILE) {
        let stored = chancery_audit::recovery::read_origin(disk)?;
        let is_ours = stored == ours;
        return is_ours
            .then_some(ours)
            .ok_or(SignerError::Inconsistent("the audit log is of another service"));
    }
    let is_empty = names.iter().all(|name| name.strip_suffix(".new").is_some());
    if !is_empty {
        return Err(SignerError::Inconsistent("the audit log's origin is missing"));
    }
    let written = disk.write_whole(ORIGIN_FILE, ours.to_text().as_bytes());
    written.map_err(SignerError::system("the audit log's origin cannot be written"))?;
    Ok(ours)
}

/// Makes the tenant `default` and its operator, and the administrator's file.
pub(crate) fn first_tenant(
    vault: &mut Vault,
    config: &SignerConfig,
    secrets: &Secrets,
    now: Reading,
) -> Result<(), SignerError> {
    let key = PrivateKey::generate(Suite::Ed25519).map_err(|_| SignerError::Certificate)?;
    let seed = key.expose_secret().map_err(|_| SignerError::Certificate)?;
    let tenant = TenantId::v7(now.unix_ms, entropy::bytes()?);
    let operator = Principal {
        id: PrincipalId::v7(now.unix_ms, entropy::bytes()?),
        tenant,
        name: "operator".parse().map_err(|_| SignerError::Certificate)?,
        role: Role::Operator,
        public: raw_public(&key)?,
        min_issue_epoch: Epoch::default(),
    };
    let path = config.data.join(ADMIN_FILE);
    if path.exists() {
        // Of a first start that was cut short: the key in it is trusted by nobody.
        std::fs::remove_file(&path)
            .map_err(SignerError::system("the unfinished admin.toml cannot be removed"))?;
    }
    let text = Zeroizing::new(admin_text(config, &operator, &seed, &secrets.authority_pem));
    root::write_private(&path, text.as_bytes())?;
    let epoch = Epoch { generation: 0, number: 1 };
    let row = TenantRow {
        id: tenant,
        name: "default".parse().map_err(|_| SignerError::Certificate)?,
        epoch,
        min_issue_epoch: Epoch::default(),
        approvals: 0,
    };
    vault.begin_tenant(tenant)?;
    let rows = vec![Row::Tenant(row), Row::Principal(operator)];
    let change = Change { tenant, epoch, rows, materials: Vec::new(), erased: None, command: 1 };
    let entry = OutboxEntry::of_service(tenant, now, Posture::SOLO.epoch);
    vault.commit(&change, |head| vec![entry.with_head(head)], &[])?;
    Ok(())
}

/// Writes the address into the administrator's file that the front is reached at now, if it is another one.
pub(crate) fn refresh_endpoint(config: &SignerConfig) -> Result<(), SignerError> {
    let failed = SignerError::system;
    let path = config.data.join(ADMIN_FILE);
    // Who has moved it away administers from elsewhere.
    let Ok(text) = std::fs::read_to_string(&path).map(Zeroizing::new) else { return Ok(()) };
    let wanted = format!("endpoint = \"{}\"", config.endpoint);
    let Some((first, rest)) = text.split_once('\n') else { return Ok(()) };
    if first == wanted || !first.starts_with("endpoint = ") {
        return Ok(());
    }
    let renewed = Zeroizing::new(format!("{wanted}\n{rest}"));
    let temporary = config.data.join(format!("{ADMIN_FILE}.new"));
    if temporary.exists() {
        std::fs::remove_file(&temporary)
            .map_err(failed("an unfinished admin.toml cannot be removed"))?;
    }
    root::write_private(&temporary, renewed.as_bytes())?;
    std::fs::rename(&temporary, &path).map_err(failed("admin.toml cannot be replaced"))?;
    let directory = std::fs::File::open(&config.data).and_then(|directory| directory.sync_all());
    directory.map_err(failed("the data directory cannot be synced"))
}

fn raw_public(key: &PrivateKey) -> Result<[u8; 32], SignerError> {
    let spki = key.public().map(|public| public.spki().to_vec()).unwrap_or_default();
    spki.last_chunk::<32>().copied().ok_or(SignerError::Certificate)
}

/// The text of `admin.toml`; the client crate reads it and pins the same form.
fn admin_text(config: &SignerConfig, operator: &Principal, seed: &[u8], ca: &str) -> String {
    let seed = Zeroizing::new(STANDARD.encode(seed));
    // Of enough room from the start, since what grows leaves what it outgrew behind.
    let mut text = String::with_capacity(ADMIN_BYTES + config.endpoint.len() + ca.len());
    // Writing to a `String` cannot fail.
    let _ = write!(
        text,
        "endpoint = \"{}\"\ntenant = \"default\"\nprincipal = \"{}\"\nrole = \"{}\"\nsigning_key = \"{}\"\nca = \"\"\"\n{}\"\"\"\n",
        config.endpoint,
        operator.id,
        operator.role.name(),
        seed.as_str(),
        ca
    );
    text
}
