//! `bundle`: trust bundles as files, for those who verify without the service.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use chancery_api::http::replies::state_name;
use chancery_client::BundleSource;
use chancery_core::bundle::{Head, KeyEntry};
use chancery_crypto::bundle::{Assembly, PINS_BYTES_MAX, Pins, TrustBundle, claimed_signers};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::cli::Shared;
use crate::connection;
use crate::exit::Failure;
use crate::files::{self, Input, OutputArgs, Secrecy};
use crate::moment;
use crate::parse;
use crate::render::{View, show};

/// The longest file of a bundle that is read, in bytes: 1 GiB.
const BUNDLE_FILE_BYTES_MAX: usize = 1024 * 1024 * 1024;

/// Fetch trust bundles, pin who signs them, and look at them.
#[derive(Args, Debug)]
#[command(
    arg_required_else_help = true,
    after_help = "\
Example:
  chancery bundle pin --out bundle.pins
  chancery bundle fetch --pins bundle.pins --out tenant.bundle
  chancery bundle show tenant.bundle --pins bundle.pins
  chancery verify --bundle tenant.bundle --pins bundle.pins --key invoices --purpose sign.bound:invoice \\
      invoice.pdf --signature invoice.sig"
)]
pub(crate) struct BundleArgs {
    #[command(subcommand)]
    command: BundleCommand,
}

#[derive(Debug, Subcommand)]
enum BundleCommand {
    Pin(PinArgs),
    Fetch(FetchArgs),
    Show(ShowArgs),
}

/// Pin the keys that sign the service's bundles now.
///
/// They are taken from the service over TLS, whose authority the context file names: who has that file trusts the service
/// to say which they are. Verifiers then trust nothing but the pins.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  chancery bundle pin --out bundle.pins")]
struct PinArgs {
    #[command(flatten)]
    output: OutputArgs,
}

/// Fetch the latest bundle, and write it once the pinned keys have signed all of it.
#[derive(Args, Debug)]
#[command(
    after_help = "Example:\n  chancery bundle fetch --pins bundle.pins --out tenant.bundle --force"
)]
struct FetchArgs {
    #[command(flatten)]
    pins: PinsArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// Show a bundle's head and keys.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  chancery bundle show tenant.bundle --pins bundle.pins")]
struct ShowArgs {
    /// The bundle's file, or `-`.
    bundle: PathBuf,
    #[command(flatten)]
    pins: PinsArgs,
}

/// Who must have signed a bundle.
#[derive(Args, Debug)]
pub(crate) struct PinsArgs {
    /// The pinned keys, as `bundle pin` writes them.
    #[arg(long, value_name = "FILE")]
    pub(crate) pins: PathBuf,
}

impl PinsArgs {
    /// Reads them.
    pub(crate) fn load(&self) -> Result<Pins> {
        load_pins(&self.pins)
    }
}

/// Reads a file of pins.
pub(crate) fn load_pins(path: &Path) -> Result<Pins> {
    let text = files::read_text(path, PINS_BYTES_MAX)?;
    Pins::parse(&text).with_context(|| format!("`{}`", path.display()))
}

/// Reads a bundle that pinned keys have signed.
pub(crate) fn load(path: &Path, pins: &Pins) -> Result<TrustBundle> {
    let bytes = Input::open(path)?.read_all(BUNDLE_FILE_BYTES_MAX)?;
    Assembly::whole(&bytes, pins).with_context(|| format!("`{}`", path.display()))
}

/// Carries `bundle` out.
pub(crate) fn run(shared: &Shared, args: &BundleArgs) -> Result<(), Failure> {
    match &args.command {
        BundleCommand::Pin(args) => pin(shared, args),
        BundleCommand::Fetch(args) => fetch(shared, args),
        BundleCommand::Show(args) => Ok(show_bundle(shared, args)?),
    }
}

fn pin(shared: &Shared, args: &PinArgs) -> Result<(), Failure> {
    args.output.check()?;
    let signed = head(&connection::client(shared)?)?;
    let pins = claimed_signers(&signed).context("the service answered no trust bundle")?;
    let pins = Pins::of_signers(&pins).context("the service's bundle names no usable signers")?;
    // They are its signers: it was signed by them.
    Assembly::begin(&signed, &pins).context("the service's bundle is not signed by its signers")?;
    args.output.write(Secrecy::Public, pins.to_text().as_bytes())?;
    if args.output.is_standard() {
        return Ok(());
    }
    let file = args.output.out.display().to_string();
    let fingerprints: Vec<_> =
        pins.keys().iter().map(|key| parse::hex(&key.fingerprint())).collect();
    let view = View::Fields(vec![
        ("written", file.clone()),
        ("threshold", pins.threshold().to_string()),
        ("keys", fingerprints.join(" ")),
    ]);
    let json = json!({ "written": file, "threshold": pins.threshold(), "keys": fingerprints });
    Ok(show(shared.format, &view, &json)?)
}

fn head(source: &impl BundleSource) -> Result<Vec<u8>> {
    source.head(None, Duration::ZERO)?.context("the service answered no trust bundle")
}

fn fetch(shared: &Shared, args: &FetchArgs) -> Result<(), Failure> {
    args.output.check()?;
    let pins = args.pins.load()?;
    let client = connection::client(shared)?;
    let trusted = |error| anyhow::Error::new(error).context("the service's bundle is not trusted");
    let mut assembly = Assembly::begin(&head(&client)?, &pins).map_err(trusted)?;
    while let Some(from) = assembly.next_entry() {
        let page = client.page(assembly.head().number, from).map_err(anyhow::Error::new)?;
        assembly.page(&page).map_err(trusted)?;
    }
    let bundle = assembly.finish().map_err(trusted)?;
    args.output.write(Secrecy::Public, &bundle.to_file())?;
    if args.output.is_standard() {
        return Ok(());
    }
    let mut json = head_json(&bundle);
    let file = args.output.out.display().to_string();
    if let Some(fields) = json.as_object_mut() {
        fields.insert("written".into(), file.clone().into());
    }
    let mut fields = vec![("written", file)];
    fields.extend(head_fields(&bundle));
    Ok(show(shared.format, &View::Fields(fields), &json)?)
}

fn show_bundle(shared: &Shared, args: &ShowArgs) -> Result<()> {
    let bundle = load(&args.bundle, &args.pins.load()?)?;
    let mut json = head_json(&bundle);
    if let Some(fields) = json.as_object_mut() {
        let keys: Vec<_> = bundle.keys().iter().map(key_json).collect();
        fields.insert("keys".into(), keys.into());
    }
    if shared.format != crate::render::Format::Json {
        crate::render::print(View::Fields(head_fields(&bundle)).to_text().as_bytes())?;
        crate::render::print(b"\n")?;
    }
    let head = vec!["name", "purpose", "version", "algorithm", "state", "verifies", "scope"];
    let rows = bundle.keys().iter().flat_map(rows).collect();
    show(shared.format, &View::Rows { head, rows }, &json)
}

/// `0.17`, of generation and number.
pub(crate) fn epoch_text(epoch: chancery_core::epoch::Epoch) -> String {
    format!("{}.{}", epoch.generation, epoch.number)
}

fn head_fields(bundle: &TrustBundle) -> Vec<(&'static str, String)> {
    let Head { number, as_of, made_ms, expires_ms, keys, revoked, revoke_all, .. } =
        bundle.head().clone();
    vec![
        ("bundle", epoch_text(number)),
        ("digest", parse::hex(&bundle.digest())),
        ("shows epoch", epoch_text(as_of)),
        ("made", moment::text(made_ms)),
        ("expires", moment::text(expires_ms)),
        ("keys", keys.to_string()),
        ("revoked", if revoke_all { "everything".into() } else { revoked.to_string() }),
    ]
}

fn head_json(bundle: &TrustBundle) -> Value {
    let head = bundle.head();
    json!({
        "bundle": epoch_text(head.number),
        "digest": parse::hex(&bundle.digest()),
        "as_of": epoch_text(head.as_of),
        "previous": head.previous.map(|digest| parse::hex(&digest)),
        "made_ms": head.made_ms,
        "refresh_ms": head.refresh_ms,
        "max_staleness_ms": head.max_staleness_ms,
        "expires_ms": head.expires_ms,
        "revoke_all": head.revoke_all,
        "revoked": head.revoked,
        "floors": {
            "posture_epoch": head.floors.posture_epoch, "strength_bits": head.floors.strength_bits,
        },
    })
}

fn key_json(key: &KeyEntry) -> Value {
    let versions = key.versions.iter().map(|version| {
        json!({
            "version": version.number,
            "algorithm": version.suite.to_string(),
            "state": state_name(version.state),
            "verifies": version.verifies(),
            "published": epoch_text(version.published),
        })
    });
    let versions: Vec<_> = versions.collect();
    json!({
        "id": key.id.to_string(),
        "name": key.name.to_string(),
        "purpose": key.purpose.to_string(),
        "scope": scope_text(key),
        "versions": versions,
    })
}

fn rows(key: &KeyEntry) -> Vec<Vec<String>> {
    let row = |version: &chancery_core::bundle::VersionEntry| {
        vec![
            key.name.to_string(),
            key.purpose.to_string(),
            version.number.to_string(),
            version.suite.to_string(),
            state_name(version.state).to_owned(),
            if version.verifies() { "yes" } else { "no" }.to_owned(),
            scope_text(key),
        ]
    };
    key.versions.iter().map(row).collect()
}

fn scope_text(key: &KeyEntry) -> String {
    format!("{}/{}/{}", key.scope.environment, key.scope.region, key.scope.service)
}
