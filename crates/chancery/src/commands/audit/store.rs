//! Which archive a command is about, and how it is asked.

use std::path::PathBuf;

use anyhow::{Context as _, Error, Result};
use chancery_archive::archiving::ArchiveError;
use chancery_archive::restoring::RestoreError;
use chancery_archive::store::{Lock, Store};
use chancery_archive::target::{Access, Target};
use clap::Args;

use crate::authorities::Authorities;
use crate::exit::{Failure, Misuse};
use crate::files::read_text;

/// The longest file that says how a store is asked: 1 MiB.
const TEXT_BYTES_MAX: usize = 1024 * 1024;

/// How an archive is asked.
#[derive(Args, Debug)]
pub(super) struct AccessArgs {
    /// How a bucket is asked, as TOML: `endpoint`, `access_key_id`, `secret_access_key`, and if need be `region` and
    /// `session_token`.
    #[arg(long, value_name = "FILE")]
    s3: Option<PathBuf>,
    /// The authorities of the bucket's endpoint, in PEM; none of the system's are taken.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
}

impl AccessArgs {
    /// Opens an archive.
    pub(super) fn open(&self, target: &Target) -> Result<Store> {
        self.open_with(target, None)
    }

    /// Opens an archive in which each object that is put is to be locked so.
    pub(super) fn open_with(&self, target: &Target, lock: Option<Lock>) -> Result<Store> {
        let is_bucket = matches!(target, Target::Bucket { .. });
        if is_bucket != self.s3.is_some() {
            let what = "`--s3 FILE` is what a bucket is asked with, and s3://… names one";
            return Err(Misuse(what.into()).into());
        }
        let access = self.s3.as_ref().map(|path| {
            let text = read_text(path, TEXT_BYTES_MAX)?;
            Access::parse(&text).with_context(|| format!("`{}`", path.display()))
        });
        let tls = Authorities::load(self.ca.as_deref())?.of_http();
        let access = access.transpose()?;
        Store::open(target, access.as_ref(), &tls, lock).with_context(|| format!("`{target}`"))
    }
}

/// What cannot be read is a failure; what was read and does not hold is a result.
pub(super) fn failure(target: &Target, error: RestoreError) -> Failure {
    use ArchiveError as A;
    let holds_not = match &error {
        RestoreError::Altered { .. } | RestoreError::OtherEntries | RestoreError::Unsealed(_) => {
            true
        }
        RestoreError::Archive(inner) => matches!(
            inner,
            A::Manifest { .. } | A::Missing { .. } | A::OtherSegment { .. } | A::Walk(_)
        ),
        RestoreError::Which { .. } | RestoreError::OtherLog(_) => false,
    };
    let error = Error::from(error).context(format!("`{target}`"));
    if holds_not { Failure::NotVerified(format!("{error:#}")) } else { Failure::Failed(error) }
}
