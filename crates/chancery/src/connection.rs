//! Which service is asked, and as whom.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, bail};
use chancery_client::{Client, PROFILE_BYTES_MAX, Profile};
use zeroize::Zeroizing;

use crate::cli::Shared;
use crate::files;

/// Where the admin file of a service started here is.
const DEFAULT: &str = "chancery-data/admin.toml";

/// A client for the service that `--context-file`, `$CHANCERY_CONTEXT` or the data directory here names.
pub(crate) fn client(shared: &Shared) -> Result<Client> {
    client_for(shared, &profile(shared)?)
}

/// A client for the service in a data directory, unless another is named.
pub(crate) fn client_of(shared: &Shared, data: &Path) -> Result<Client> {
    match &shared.context_file {
        Some(_) => client(shared),
        None => client_for(shared, &Profile::load(&data.join("admin.toml"))?),
    }
}

/// A client with a profile that was read already.
pub(crate) fn client_for(shared: &Shared, profile: &Profile) -> Result<Client> {
    let client = Client::new(profile).context("the context names no usable service")?;
    Ok(match &shared.past_the_front {
        Some(socket) => client.past_the_front(socket.clone()),
        None => client,
    })
}

/// The profile that commands are given with.
pub(crate) fn profile(shared: &Shared) -> Result<Profile> {
    let path = context_file(shared)?;
    if !files::is_standard(&path) {
        return Ok(Profile::load(&path)?);
    }
    let most = usize::try_from(PROFILE_BYTES_MAX).unwrap_or(usize::MAX);
    let text = Zeroizing::new(files::read_text(&path, most)?);
    Profile::parse(&text).map_err(|what| anyhow!("standard input is not a profile: {what}"))
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
