//! Keys and handles, made through the client as anybody makes them.

use anyhow::{Result, bail};
use chancery_api::http::replies::{AnswerObject, KeyObject};
use chancery_client::{Client, KeyHandle, operation_id};
use chancery_core::command::{Command, NewHandle, NewKey};
use chancery_core::handle::Operations;
use chancery_core::limits::HANDLE_TTL_MAX;
use chancery_core::name::{Name, Scope};

/// A key that is to be made.
pub(crate) struct New<'n> {
    pub(crate) name: &'n str,
    pub(crate) purpose: &'n str,
    pub(crate) algorithm: &'n str,
}

/// Makes a key.
pub(crate) fn create(client: &Client, new: &New<'_>) -> Result<KeyObject> {
    let scope = || "bench".parse::<Name>();
    let name: Name = new.name.parse()?;
    let command = NewKey {
        name: name.clone(),
        purpose: new.purpose.parse()?,
        suite: new.algorithm.parse()?,
        scope: Scope { environment: scope()?, region: scope()?, service: scope()? },
        witnessed: false,
    };
    match ask(client, &Command::CreateKey(command))? {
        AnswerObject::Key(key) => Ok(key),
        _ => match ask(client, &Command::ShowKey { key: name })? {
            AnswerObject::Key(key) => Ok(key),
            other => bail!("the service showed no key but {other:?}"),
        },
    }
}

/// Issues a handle for all that a key's usage is for, for as long as may be.
pub(crate) fn issue(client: &Client, key: &KeyObject) -> Result<KeyHandle> {
    let new = NewHandle {
        key: key.name.clone(),
        operations: Operations::usual(key.purpose.usage()),
        ttl_ms: u64::try_from(HANDLE_TTL_MAX.as_millis())?,
        pins: Vec::new(),
        holder: Vec::new(),
        subject: None,
        max_uses: None,
    };
    match ask(client, &Command::IssueHandle(new))? {
        AnswerObject::Handle(text) => Ok(KeyHandle::parse(&text.0)?),
        other => bail!("the service issued no handle but {other:?}"),
    }
}

/// Gives a command, which must be committed.
pub(crate) fn ask(client: &Client, command: &Command) -> Result<AnswerObject> {
    Ok(client.command(command, operation_id()?).committed()?.answer)
}
