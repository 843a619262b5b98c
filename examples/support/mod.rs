//! What the examples share: a client, and a handle for a key of their own.

use std::error::Error;
use std::path::PathBuf;

use chancery_api::http::problem::Code;
use chancery_api::http::replies::{AnswerObject, KeyObject};
use chancery_client::{Client, KeyHandle, Outcome, Profile, operation_id};
use chancery_core::command::{Command, NewHandle, NewKey};
use chancery_core::context::Pair;
use chancery_core::handle::Operations;
use chancery_core::name::{Name, Scope};
use chancery_core::reason::Reason;

/// How long the handles of the examples live: 5 minutes.
const TTL_MS: u64 = 5 * 60 * 1_000;

/// What a key of an example is to be.
pub(crate) struct Wanted {
    /// Its name.
    pub(crate) name: &'static str,
    /// What it is for.
    pub(crate) purpose: &'static str,
    /// Its algorithm.
    pub(crate) algorithm: &'static str,
    /// What the context of each use must contain.
    pub(crate) pins: &'static [&'static str],
}

/// A client for the service that `$CHANCERY_CONTEXT`, or the data directory here, names.
pub(crate) fn client() -> Result<Client, Box<dyn Error>> {
    let path = std::env::var_os("CHANCERY_CONTEXT").map(PathBuf::from);
    let path = path.unwrap_or_else(|| "chancery-data/admin.toml".into());
    Ok(Client::new(&Profile::load(&path)?)?)
}

/// The key, made if it is not there yet, and a fresh handle for it.
pub(crate) fn key_and_handle(
    client: &Client,
    wanted: &Wanted,
) -> Result<(KeyObject, KeyHandle), Box<dyn Error>> {
    let name: Name = wanted.name.parse()?;
    create(client, wanted, name.clone())?;
    let shown =
        client.command(&Command::ShowKey { key: name.clone() }, operation_id()?).committed()?;
    let AnswerObject::Key(key) = shown.answer else {
        return Err("the service showed no key".into());
    };
    let pins = wanted.pins.iter().map(|pin| Pair::parse(pin)).collect::<Result<_, _>>()?;
    let new = NewHandle {
        key: name,
        operations: Operations::usual(key.purpose.usage()),
        ttl_ms: TTL_MS,
        pins,
        holder: Vec::new(),
        subject: None,
        max_uses: None,
    };
    let issued = client.command(&Command::IssueHandle(new), operation_id()?).committed()?;
    let AnswerObject::Handle(token) = issued.answer else {
        return Err("the service issued no handle".into());
    };
    Ok((key, KeyHandle::parse(&token.0)?))
}

fn create(client: &Client, wanted: &Wanted, name: Name) -> Result<(), Box<dyn Error>> {
    let default = || "default".parse::<Name>();
    let new = NewKey {
        name,
        purpose: wanted.purpose.parse()?,
        suite: wanted.algorithm.parse()?,
        scope: Scope { environment: default()?, region: default()?, service: default()? },
        witnessed: false,
    };
    match client.command(&Command::CreateKey(new), operation_id()?) {
        // From an earlier run of the example.
        Outcome::Refused(refusal) if refusal.code == Code::Reason(Reason::NameTaken) => Ok(()),
        outcome => Ok(outcome.committed().map(|_| ())?),
    }
}
