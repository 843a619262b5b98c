//! `verify --bundle`: a signature against a trust bundle, without the service.

use std::path::PathBuf;

use chancery_client::{Clock as _, SystemClock, carries_payload};
use chancery_core::context::Context;
use chancery_core::name::{Name, Scope};
use chancery_core::purpose::Purpose;
use chancery_crypto::bundle::{Accepted, Expected};
use chancery_crypto::formats::Payload;
use clap::Args;
use serde_json::json;

use crate::cli::Shared;
use crate::commands::bundle;
use crate::commands::message::Message;
use crate::exit::Failure;
use crate::render::{View, show};

/// What is asked of a signature that no service is asked about.
#[derive(Args, Debug)]
pub(crate) struct OfflineArgs {
    /// A trust bundle's file (`chancery bundle fetch`): nothing is asked of the service.
    #[arg(long, value_name = "FILE", requires_all = ["pins", "key", "purpose"])]
    pub(crate) bundle: Option<PathBuf>,
    /// The keys that must have signed the bundle (`chancery bundle pin`).
    #[arg(long, value_name = "FILE", requires = "bundle")]
    pins: Option<PathBuf>,
    /// The name of the key that must have signed.
    #[arg(long, requires = "bundle")]
    key: Option<Name>,
    /// What the key must be for: USAGE.FORMAT:DOMAIN.
    #[arg(long, requires = "bundle")]
    purpose: Option<Purpose>,
    #[command(flatten)]
    scope: ScopeArgs,
}

/// Where a key must belong.
#[derive(Args, Debug)]
pub(crate) struct ScopeArgs {
    /// The environment that the key must belong to.
    #[arg(long, default_value = "default")]
    environment: Name,
    /// The region that the key must belong to.
    #[arg(long, default_value = "default")]
    region: Name,
    /// The service that the key must belong to.
    #[arg(long, default_value = "default")]
    service: Name,
}

impl ScopeArgs {
    /// As keys have it.
    fn scope(&self) -> Scope {
        let Self { environment, region, service } = self;
        Scope { environment: environment.clone(), region: region.clone(), service: service.clone() }
    }
}

/// What is verified.
pub(crate) struct Given<'a> {
    /// The file that was signed.
    pub(crate) input: &'a std::path::Path,
    /// The signature.
    pub(crate) signature: &'a [u8],
    /// The context that it was signed with.
    pub(crate) context: &'a Context,
}

/// Verifies against the bundle, and says what was found.
pub(crate) fn verify(
    shared: &Shared,
    args: &OfflineArgs,
    given: &Given<'_>,
) -> Result<(), Failure> {
    let (Some(file), Some(pins), Some(key), Some(purpose)) =
        (&args.bundle, &args.pins, &args.key, &args.purpose)
    else {
        return Err(Failure::Usage(anyhow::anyhow!(
            "`--bundle` needs `--pins`, `--key` and `--purpose`"
        )));
    };
    let bundle = bundle::load(file, &bundle::load_pins(pins)?)?;
    let message = Message::read(given.input, purpose)?;
    let detached = !carries_payload(purpose.format());
    let payload = match &message {
        Message::Whole(message) => Payload::Message(message),
        Message::Digest(digest) => Payload::Digest(*digest),
    };
    let scope = args.scope.scope();
    let expected = Expected {
        key,
        purpose,
        scope: &scope,
        context: given.context,
        payload: detached.then_some(payload),
        now_ms: SystemClock.unix_ms(),
    };
    let accepted = bundle.verify(given.signature, &expected);
    let accepted =
        accepted.map_err(|error| Failure::NotVerified(format!("verification failed: {error}")))?;
    super::sign::check_payload(purpose.format(), given.signature, &message)?;
    report(shared, &accepted, &bundle::epoch_text(bundle.head().number))
}

fn report(shared: &Shared, accepted: &Accepted, number: &str) -> Result<(), Failure> {
    let versions: Vec<_> = accepted.versions.iter().map(ToString::to_string).collect();
    let view = View::Fields(vec![
        ("signature", "holds".into()),
        ("key version", versions.join(" ")),
        ("bundle", number.to_owned()),
    ]);
    let json = json!({
        "outcome": "verified",
        "key": accepted.key.to_string(),
        "versions": accepted.versions,
        "bundle": number,
    });
    Ok(show(shared.format, &view, &json)?)
}
