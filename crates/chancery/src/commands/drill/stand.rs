//! What a drill sets up: a scratch key, a handle, three verifiers.
//!
//! **Invariant:** what was set up is taken down however the drill ends, also by a signal, and also if it ends while it is set
//! up. What is on the service is [`Scratch`]'s to take down; what runs and lies here is taken down before that.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use chancery_api::http::replies::{AnswerObject, KeyObject};
use chancery_client::{BundleSource as _, Client, KeyHandle, Profile};
use chancery_core::command::{Command, NewHandle, NewKey};
use chancery_core::handle::Operations;
use chancery_core::name::{Name, Scope};
use chancery_core::principal::Role;
use chancery_core::purpose::Purpose;
use chancery_core::suite::Suite;
use chancery_crypto::bundle::{Assembly, Pins, claimed_signers};
use chancery_crypto::key::{PrivateKey, PublicKey};
use zeroize::Zeroizing;

use super::scratch::Scratch;
use super::verifiers::{Following, Watcher};
use crate::cli::Shared;
use crate::commands::{command, fresh_operation, read, unexpected};
use crate::connection;
use crate::exit::Failure;

/// The environment of scratch keys: what a drill may do to a rollout reaches no other.
const ENVIRONMENT: &str = chancery_core::limits::DRILL_ENVIRONMENT;

/// What scratch keys are for.
const PURPOSE: &str = "sign.bound:drill";

/// How long the handle of a drill lives: an hour, far longer than a drill takes.
const HANDLE_MS: u64 = 3_600_000;

/// Verifiers of a drill: three, of whom two report and one can be bad.
pub(super) const VERIFIERS: usize = 3;

/// What was set up.
pub(super) struct Stand {
    // Verifiers go first, so that none reports when it is removed.
    pub(super) watchers: Vec<Watcher>,
    pub(super) scratch: Scratch,
    pub(super) purpose: Purpose,
    pub(super) scope: Scope,
    pub(super) handle: KeyHandle,
    directory: PathBuf,
}

/// It was not set up, and what became of what there was of it.
pub(super) struct NotSetUp {
    pub(super) failure: Failure,
    pub(super) taken_down: Vec<String>,
}

impl<E: Into<Failure>> From<E> for NotSetUp {
    /// Before anything was made.
    fn from(failure: E) -> Self {
        Self { failure: failure.into(), taken_down: Vec::new() }
    }
}

/// What a drill is set up with.
pub(super) struct Setup<'a> {
    pub(super) shared: &'a Shared,
    /// The drill's name, which the key has as well.
    pub(super) name: &'a str,
    /// Where verifiers keep their bundles.
    pub(super) directory: &'a Path,
    /// Profiles of verifiers that are there; new ones are made if none are named.
    pub(super) profiles: &'a [PathBuf],
    /// Whether the last verifier follows bundles.
    pub(super) last: Following,
}

impl Stand {
    /// Sets it up. If that fails in the middle, what was set up is taken down.
    pub(super) fn set_up(setup: &Setup<'_>) -> Result<Self, NotSetUp> {
        let issuer = connection::profile(setup.shared)?;
        let client = connection::client_for(setup.shared, &issuer)?;
        let given = given(&client, setup.profiles)?;
        let new = new_key(setup.name)?;
        let (purpose, scope) = (new.purpose.clone(), new.scope.clone());
        let mut scratch = Scratch::new(client, new.name.clone());
        let made = scratch.make_key(new).and_then(|made| issue(&scratch.client, &made));
        let handle = match made {
            Ok(handle) => handle,
            Err(failure) => return Err(NotSetUp { failure, taken_down: scratch.take_down() }),
        };
        let directory = setup.directory.to_owned();
        let mut stand = Self { watchers: Vec::new(), scratch, purpose, scope, handle, directory };
        match stand.add_verifiers(setup, &issuer, given) {
            Ok(()) => Ok(stand),
            Err(failure) => Err(NotSetUp { failure, taken_down: stand.take_down() }),
        }
    }

    fn add_verifiers(
        &mut self,
        setup: &Setup<'_>,
        issuer: &Profile,
        given: Vec<Profile>,
    ) -> Result<(), Failure> {
        let pins = pins(&self.scratch.client)?;
        let mut given = given.into_iter();
        for number in 1..=VERIFIERS {
            let profile = match given.next() {
                Some(profile) => profile,
                None => self.make_principal(setup.name, number, issuer)?,
            };
            self.scratch.register(profile.principal)?;
            let directory = place(setup.directory, number);
            let following = if number == VERIFIERS { setup.last } else { Following::Bundles };
            let place = (directory.as_path(), pins.clone());
            self.watchers.push(Watcher::start(setup.shared, &profile, place, following)?);
        }
        Ok(())
    }

    /// Makes a principal whose key lives in this process alone.
    fn make_principal(
        &self,
        name: &str,
        number: usize,
        issuer: &Profile,
    ) -> Result<Profile, Failure> {
        let key = PrivateKey::generate(Suite::Ed25519).context("no key can be made")?;
        let public = key.public().map(PublicKey::spki).and_then(<[u8]>::last_chunk::<32>);
        let public = *public.context("the key has no public half")?;
        let name: Name = format!("{name}-{number}").parse().map_err(|_| unexpected())?;
        let asked = Command::CreatePrincipal { name, role: Role::Verifier, public };
        let answer = command(&self.scratch.client, &asked, fresh_operation()?)?.answer;
        let AnswerObject::Principal(principal) = answer else { return Err(unexpected()) };
        let secret = key.expose_secret().context("the key cannot be read")?;
        let seed = secret.first_chunk::<32>().context("the key cannot be read")?;
        let signing_key = Zeroizing::new(*seed);
        let (endpoint, tenant, ca) =
            (issuer.endpoint.clone(), issuer.tenant.clone(), issuer.ca.clone());
        Ok(Profile { endpoint, tenant, principal, role: Role::Verifier, signing_key, ca })
    }

    /// Takes it down, and says what was done and what could not be.
    pub(super) fn take_down(&mut self) -> Vec<String> {
        self.watchers.clear();
        let places = (1..=VERIFIERS).map(|number| place(&self.directory, number));
        let kept: Vec<_> = places.filter_map(|place| remove(&place)).collect();
        let mut said = self.scratch.take_down();
        said.extend(kept);
        said
    }
}

/// Where a verifier keeps its bundle for as long as the drill lasts.
fn place(directory: &Path, number: usize) -> PathBuf {
    directory.join(format!("verifier-{number}"))
}

/// Removes a directory, and says if that cannot be.
fn remove(directory: &Path) -> Option<String> {
    match std::fs::remove_dir_all(directory) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Some(format!("NOT `{}` removed: {error}", directory.display()))
        }
        _ => None,
    }
}

/// The key of a drill, named after it.
fn new_key(name: &str) -> Result<NewKey, Failure> {
    let name: Name = name.parse().map_err(|_| unexpected())?;
    let part: Name = ENVIRONMENT.parse().map_err(|_| unexpected())?;
    let scope = Scope { environment: part.clone(), region: part.clone(), service: part };
    let purpose: Purpose = PURPOSE.parse().map_err(|_| unexpected())?;
    Ok(NewKey { name, purpose, suite: Suite::Ed25519, scope, witnessed: false })
}

/// The profiles that are to be used. One that is registered is refused: a drill registers it for its own key, and removes it.
fn given(client: &Client, paths: &[PathBuf]) -> Result<Vec<Profile>, Failure> {
    let load = |path: &PathBuf| Profile::load(path).map_err(anyhow::Error::new);
    let profiles = paths.iter().map(load).collect::<anyhow::Result<Vec<_>>>()?;
    let mut principals = BTreeSet::new();
    if let Some(twice) = profiles.iter().find(|it| !principals.insert(it.principal)) {
        let what =
            format!("verifier {} is named twice: name three different ones", twice.principal);
        return Err(Failure::Failed(anyhow!(what)));
    }
    let AnswerObject::Verifiers(known) = read(client, &Command::ListVerifiers)? else {
        return Err(unexpected());
    };
    let is_known = |it: &&Profile| known.iter().any(|known| known.principal == it.principal);
    if let Some(known) = profiles.iter().find(is_known) {
        let what = format!(
            "verifier {} is registered already, and a drill would take that away: name principals of the role `verifier` \
             that are kept for drills",
            known.principal
        );
        return Err(Failure::Failed(anyhow!(what)));
    }
    Ok(profiles)
}

fn issue(client: &Client, key: &KeyObject) -> Result<KeyHandle, Failure> {
    let new = NewHandle {
        key: key.name.clone(),
        operations: Operations::usual(key.purpose.usage()),
        ttl_ms: HANDLE_MS,
        pins: Vec::new(),
        holder: Vec::new(),
        subject: None,
        max_uses: None,
    };
    let answer = command(client, &Command::IssueHandle(new), fresh_operation()?)?.answer;
    let AnswerObject::Handle(token) = answer else { return Err(unexpected()) };
    Ok(KeyHandle::parse(&token.0).context("the service's handle cannot be read")?)
}

/// Who signs the service's bundles now, as the service says it over TLS.
fn pins(client: &Client) -> Result<Pins, Failure> {
    let signed = client.head(None, Duration::ZERO).map_err(anyhow::Error::new)?;
    let signed = signed.context("the service answered no trust bundle")?;
    let signers = claimed_signers(&signed).context("the service answered no trust bundle")?;
    let pins = Pins::of_signers(&signers).context("its bundle names no usable signers")?;
    Assembly::begin(&signed, &pins).context("its bundle is not signed by its signers")?;
    Ok(pins)
}
