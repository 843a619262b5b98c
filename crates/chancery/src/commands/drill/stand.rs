//! What a drill sets up, and takes down again: a scratch key, a handle, three verifiers.
//!
//! **Invariant:** what was set up is taken down however the drill ends, also by a signal, and what could not be is said. Keys
//! and principals are never removed by the service: the key's versions are scheduled for destruction, and a principal that was
//! made is left with no registration and a key that nobody has.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};
use chancery_api::http::replies::{AnswerObject, KeyObject};
use chancery_client::{BundleSource as _, Client, KeyHandle, Profile, operation_id};
use chancery_core::command::{Command, NewHandle, NewKey};
use chancery_core::handle::Operations;
use chancery_core::id::PrincipalId;
use chancery_core::name::{Name, Scope};
use chancery_core::principal::Role;
use chancery_core::purpose::Purpose;
use chancery_core::rollout::Order;
use chancery_core::state::KeyState;
use chancery_core::suite::Suite;
use chancery_core::verifier::NewVerifier;
use chancery_crypto::bundle::{Assembly, Pins, claimed_signers};
use chancery_crypto::key::{PrivateKey, PublicKey};
use zeroize::Zeroizing;

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

/// How long it is tried to take something down, where the service is away: 30 s.
const PATIENCE: Duration = Duration::from_secs(30);

/// What was set up.
pub(super) struct Stand {
    pub(super) client: Client,
    pub(super) key: Name,
    pub(super) purpose: Purpose,
    pub(super) scope: Scope,
    pub(super) handle: KeyHandle,
    pub(super) watchers: Vec<Watcher>,
    registered: Vec<PrincipalId>,
    is_down: bool,
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
    pub(super) fn set_up(setup: &Setup<'_>) -> Result<Self, Failure> {
        let issuer = connection::profile(setup.shared)?;
        let client = connection::client_for(setup.shared, &issuer)?;
        let given = given(&client, setup.profiles)?;
        let key: Name = setup.name.parse().map_err(|_| unexpected())?;
        let part: Name = ENVIRONMENT.parse().map_err(|_| unexpected())?;
        let scope = Scope { environment: part.clone(), region: part.clone(), service: part };
        let purpose: Purpose = PURPOSE.parse().map_err(|_| unexpected())?;
        let new = NewKey {
            name: key.clone(),
            purpose: purpose.clone(),
            suite: Suite::Ed25519,
            scope: scope.clone(),
            witnessed: false,
        };
        let made = command(&client, &Command::CreateKey(new), fresh_operation()?)?;
        let AnswerObject::Key(made) = made.answer else { return Err(unexpected()) };
        let handle = issue(&client, &made)?;
        let (watchers, registered) = (Vec::new(), Vec::new());
        let mut stand =
            Self { client, key, purpose, scope, handle, watchers, registered, is_down: false };
        stand.add_verifiers(setup, &issuer, given)?;
        Ok(stand)
    }

    fn add_verifiers(
        &mut self,
        setup: &Setup<'_>,
        issuer: &Profile,
        given: Vec<Profile>,
    ) -> Result<(), Failure> {
        let pins = pins(&self.client)?;
        let mut given = given.into_iter();
        for number in 1..=VERIFIERS {
            let profile = match given.next() {
                Some(profile) => profile,
                None => self.make_principal(setup.name, number, issuer)?,
            };
            let registration =
                NewVerifier { principal: profile.principal, keys: vec![self.key.clone()] };
            let asked = Command::RegisterVerifier(registration);
            command(&self.client, &asked, fresh_operation()?)?;
            self.registered.push(profile.principal);
            let directory = setup.directory.join(format!("verifier-{number}"));
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
        let answer = command(&self.client, &asked, fresh_operation()?)?.answer;
        let AnswerObject::Principal(principal) = answer else { return Err(unexpected()) };
        let secret = key.expose_secret().context("the key cannot be read")?;
        let seed = secret.first_chunk::<32>().context("the key cannot be read")?;
        let signing_key = Zeroizing::new(*seed);
        let (endpoint, tenant, ca) =
            (issuer.endpoint.clone(), issuer.tenant.clone(), issuer.ca.clone());
        Ok(Profile { endpoint, tenant, principal, role: Role::Verifier, signing_key, ca })
    }

    /// The key as it is now.
    fn key_now(&self) -> Result<KeyObject, Failure> {
        match read(&self.client, &Command::ShowKey { key: self.key.clone() })? {
            AnswerObject::Key(key) => Ok(key),
            _ => Err(unexpected()),
        }
    }

    /// Takes it down, and says what was done and what could not be.
    pub(super) fn take_down(&mut self) -> Vec<String> {
        if std::mem::replace(&mut self.is_down, true) {
            return Vec::new();
        }
        // Verifiers stop first, so that none reports when it is removed.
        self.watchers.clear();
        let mut said = Vec::new();
        if let Some(rollout) = self.key_now().ok().and_then(|key| key.rollout) {
            // Past the point of no return there is no giving up.
            let order = Command::OrderRollout { rollout, order: Order::Abort };
            said.push(told(&format!("rollout {rollout} given up"), self.patiently(&order)));
        }
        for principal in std::mem::take(&mut self.registered) {
            let asked = Command::RemoveVerifier { principal };
            said.push(told(&format!("verifier {principal} removed"), self.patiently(&asked)));
        }
        let revoked = self.patiently(&Command::RevokeIssued { key: self.key.clone() });
        said.push(told(&format!("handles of `{}` revoked", self.key), revoked));
        said.extend(self.schedule_destruction());
        said
    }

    /// Each version that is left is retired, and its destruction scheduled.
    fn schedule_destruction(&self) -> Vec<String> {
        let Ok(key) = self.key_now() else {
            return vec![format!(
                "`{}` could not be read: schedule its destruction by hand",
                self.key
            )];
        };
        let left = key.versions.iter().filter(|version| {
            version.state != KeyState::Destroyed && version.destruction_served_ms.is_none()
        });
        left.map(|version| {
            let (key, version) = (self.key.clone(), version.version);
            let asked = Command::ScheduleDestruction { key, version };
            let what = format!("destruction of version {version} of `{}` scheduled", self.key);
            told(&what, self.patiently(&asked))
        })
        .collect()
    }

    /// Gives a command until it is answered.
    fn patiently(&self, asked: &Command) -> Result<(), String> {
        let operation = operation_id().map_err(|error| error.to_string())?;
        let began = Instant::now();
        loop {
            let failure = match command(&self.client, asked, operation) {
                Ok(_) => return Ok(()),
                Err(Failure::Refused(refusal)) if !super::may_pass(&refusal) => {
                    return Err(refusal.to_string());
                }
                Err(Failure::Refused(refusal)) => refusal.to_string(),
                Err(_) => "no answer came".to_owned(),
            };
            if began.elapsed() > PATIENCE {
                return Err(failure);
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}

impl Drop for Stand {
    fn drop(&mut self) {
        for said in self.take_down() {
            eprintln!("chancery drill: {said}");
        }
    }
}

/// The profiles that are to be used. One that is registered is refused: a drill registers it for its own key, and removes it.
fn given(client: &Client, paths: &[PathBuf]) -> Result<Vec<Profile>, Failure> {
    let load = |path: &PathBuf| Profile::load(path).map_err(anyhow::Error::new);
    let profiles = paths.iter().map(load).collect::<anyhow::Result<Vec<_>>>()?;
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

fn told(what: &str, done: Result<(), String>) -> String {
    match done {
        Ok(()) => what.to_owned(),
        Err(why) => format!("NOT {what}: {why}"),
    }
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
