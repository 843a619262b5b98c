//! Where audit records are read: at the service, or from the files of one that does not run.

use std::cell::RefCell;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, bail};
use chancery_api::http::replies::{AnswerObject, RecordObject};
use chancery_audit::opening::Opening;
use chancery_client::Client;
use chancery_core::command::{AuditQuery, Command};
use chancery_core::id::TenantId;
use chancery_core::name::Name;
use chancery_core::record_group::RecordGroups;
use chancery_memory::process::harden;
use chancery_signer::{Archive, ArchiveError, RootSource};
use clap::Args;

use super::note::{Note, Seen};
use crate::cli::Shared;
use crate::commands::serve::state_directory;
use crate::commands::{read, unexpected};
use crate::connection;
use crate::exit::Failure;

/// The directory of the log's published files in a data directory.
const LOG_DIRECTORY: &str = chancery_audit::publish::LOG_DIRECTORY;

/// Whose files are read, if no service is asked.
#[derive(Args, Debug)]
pub(super) struct FilesArgs {
    /// Ask no service: read the files of this data directory, or of a whole copy of one. Nothing in it is changed.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Of `--dir`: the root key's file; where `chancery serve` would look for it if not given.
    #[arg(long, value_name = "FILE", requires = "dir")]
    root_key: Option<PathBuf>,
    /// Of `--dir`: the file whose first line is the passphrase that the root key is wrapped under.
    #[arg(long, value_name = "FILE", requires = "dir")]
    passphrase_file: Option<PathBuf>,
    /// Of `--dir`: whose records, where there are several tenants.
    #[arg(long, value_name = "NAME", requires = "dir")]
    tenant: Option<Name>,
}

/// What answers.
pub(super) enum Reader {
    /// A service.
    Service(Box<Client>),
    /// Files.
    Files(Box<Files>),
}

/// Files that were opened with their root key.
pub(super) struct Files {
    directory: PathBuf,
    archive: Archive,
    tenant: TenantId,
    /// What the answers so far said besides their records.
    seen: RefCell<Seen>,
}

impl FilesArgs {
    /// Where the log's published files are, if no service is asked for them.
    pub(super) fn published(&self) -> Option<PathBuf> {
        self.dir.as_ref().map(|directory| directory.join(LOG_DIRECTORY))
    }

    /// Opens what is to be read.
    pub(super) fn open(&self, shared: &Shared) -> Result<Reader, Failure> {
        match &self.dir {
            None => Ok(Reader::Service(Box::new(connection::client(shared)?))),
            Some(directory) => Ok(Reader::Files(Box::new(self.open_files(directory)?))),
        }
    }

    fn open_files(&self, directory: &Path) -> Result<Files, Failure> {
        // From here on the root key is in this process.
        harden().context("this process cannot be hardened to hold the root key")?;
        let archive = Archive::open(directory, &self.root_source(directory)?);
        let archive = archive.map_err(|error| failure(directory, error))?;
        let tenant = tenant(&archive, self.tenant.as_ref())?;
        let (directory, seen) = (directory.to_owned(), RefCell::default());
        Ok(Files { directory, archive, tenant, seen })
    }

    fn root_source(&self, directory: &Path) -> Result<RootSource> {
        let file = match &self.root_key {
            Some(file) => file.clone(),
            None => {
                let data = directory.canonicalize();
                let data =
                    data.with_context(|| format!("cannot find `{}`", directory.display()))?;
                state_directory(&data)?.join("root.key")
            }
        };
        Ok(match &self.passphrase_file {
            None => RootSource::Keyfile(file),
            Some(passphrase) => RootSource::Passphrase { file, passphrase: passphrase.clone() },
        })
    }
}

/// What was altered is a result; what cannot be opened is a failure.
fn failure(directory: &Path, error: ArchiveError) -> Failure {
    let what = format!("the files in `{}` cannot be read", directory.display());
    Failure::Failed(anyhow!(error).context(what))
}

/// The tenant of that name, or the only one.
fn tenant(archive: &Archive, name: Option<&Name>) -> Result<TenantId> {
    let all: Vec<_> = archive.tenants().collect();
    let names = || all.iter().map(|(_, name)| name.as_str()).collect::<Vec<_>>().join(", ");
    match (name, all.as_slice()) {
        (None, [(id, _)]) => Ok(*id),
        (None, _) => {
            bail!("there are several tenants: name one with --tenant; there are {}", names())
        }
        (Some(name), _) => {
            let found = all.iter().find(|(_, known)| known == name);
            let found =
                found.with_context(|| format!("no tenant is `{name}`; there are {}", names()));
            Ok(found?.0)
        }
    }
}

impl Reader {
    /// The records that fit a query.
    pub(super) fn page(&self, query: &AuditQuery) -> Result<Vec<RecordObject>, Failure> {
        match self {
            Self::Service(client) => {
                let answer = read(client, &Command::QueryAudit(query.clone()))?;
                let AnswerObject::Records(records) = answer else { return Err(unexpected()) };
                Ok(records)
            }
            Self::Files(files) => Ok(files.page(query)),
        }
    }

    /// Groups of a record, opened.
    pub(super) fn opened(&self, index: u64, groups: RecordGroups) -> Result<Opening, Failure> {
        match self {
            Self::Service(client) => {
                let answer = read(client, &Command::OpenRecord { index, groups })?;
                let AnswerObject::Opening(bytes) = answer else { return Err(unexpected()) };
                Ok(Opening::parse(&bytes.0).context("the service's answer is no opening")?)
            }
            Self::Files(files) => {
                let opening = files.archive.opening(files.tenant, index, groups);
                opening.map_err(|refusal| {
                    let what = format!("record {index} cannot be opened: {}", refusal.detail);
                    Failure::Failed(anyhow!(what))
                })
            }
        }
    }

    /// What is to be said of files besides the records.
    pub(super) fn note(&self) -> Option<Note> {
        match self {
            Self::Service(_) => None,
            Self::Files(files) => {
                Some(Note::of(&files.directory, &files.archive, &files.seen.borrow()))
            }
        }
    }

    /// Fails if not everything that was looked at could be read, so that what was found is not all there is.
    pub(super) fn all_was_read(&self) -> Result<(), Failure> {
        match self {
            Self::Service(_) => Ok(()),
            Self::Files(files) => files.seen.borrow().all_was_read(),
        }
    }

    /// Fails if something does not hold. What could be read was shown.
    pub(super) fn end(&self) -> Result<(), Failure> {
        self.note().map_or(Ok(()), |note| note.end())
    }
}

impl Files {
    fn page(&self, query: &AuditQuery) -> Vec<RecordObject> {
        let answer = self.archive.query(self.tenant, query);
        let mut seen = self.seen.borrow_mut();
        seen.unread.extend(answer.unread);
        seen.gone.extend(answer.gone);
        seen.unindexed.extend(answer.unindexed);
        answer.records.into_iter().map(RecordObject::from).collect()
    }
}
