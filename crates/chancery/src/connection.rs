//! Which service is asked, and as whom.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use chancery_client::{Client, Profile};

use crate::cli::Shared;

/// Where the admin file of a service started here is.
const DEFAULT: &str = "chancery-data/admin.toml";

/// A client for the service that `--context-file`, `$CHANCERY_CONTEXT` or the data directory here names.
pub(crate) fn client(shared: &Shared) -> Result<Client> {
    client_at(shared, &context_file(shared)?)
}

/// A client for the service in a data directory, unless another is named.
pub(crate) fn client_of(shared: &Shared, data: &Path) -> Result<Client> {
    match &shared.context_file {
        Some(path) => client_at(shared, path),
        None => client_at(shared, &data.join("admin.toml")),
    }
}

fn client_at(shared: &Shared, path: &Path) -> Result<Client> {
    let profile = Profile::load(path)?;
    let client =
        Client::new(&profile).with_context(|| format!("cannot use `{}`", path.display()))?;
    Ok(match &shared.past_the_front {
        Some(socket) => client.past_the_front(socket.clone()),
        None => client,
    })
}

/// The profile that commands are given with.
pub(crate) fn profile(shared: &Shared) -> Result<Profile> {
    Ok(Profile::load(&context_file(shared)?)?)
}

fn context_file(shared: &Shared) -> Result<PathBuf> {
    match &shared.context_file {
        Some(path) => Ok(path.clone()),
        None if Path::new(DEFAULT).exists() => Ok(DEFAULT.into()),
        None => bail!(
            "no service is named: give `--context-file FILE`, set CHANCERY_CONTEXT, or run where \
             `{DEFAULT}` is; `chancery serve` makes that file at its first start"
        ),
    }
}
