//! Where audit records are read: at the service, or from the files of one that does not run.

use std::cell::RefCell;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, bail};
use chancery_api::http::replies::{AnswerObject, RecordObject};
use chancery_audit::opening::Opening;
use chancery_client::Client;
use chancery_core::authority::Refusal;
use chancery_core::command::{AuditQuery, Command};
use chancery_core::id::TenantId;
use chancery_core::name::Name;
use chancery_core::record_group::RecordGroups;
use chancery_memory::process::harden;
use chancery_signer::{Answer, Archive, ArchiveError, Disclosed, Reach, RootSource};
use clap::Args;

use super::note::{Note, Seen};
use super::recipient;
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
    /// Of `--dir`: no root key, but what was disclosed of it, sealed to your key.
    #[arg(long, value_name = "FILE", requires_all = ["dir", "recipient_keys"], conflicts_with_all = ["root_key", "passphrase_file", "tenant"])]
    disclosure: Option<PathBuf>,
    /// Of `--disclosure`: your private key, as `chancery audit recipient` made it; of what takes two people, both.
    #[arg(long = "recipient-key", value_name = "FILE", requires = "disclosure")]
    recipient_keys: Vec<PathBuf>,
}

/// What answers.
pub(super) enum Reader {
    /// A service.
    Service(Box<Client>),
    /// Files.
    Files(Box<Files>),
}

/// Files that were opened.
pub(super) struct Files {
    directory: PathBuf,
    opened: Opened,
    /// What the answers so far said besides their records.
    seen: RefCell<Seen>,
}

/// With what they were opened.
pub(super) enum Opened {
    /// With the root key, for a tenant.
    Archive(Box<Archive>, TenantId),
    /// With what was disclosed.
    Disclosed(Box<Disclosed>),
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
        // From here on there are keys in this process.
        harden().context("this process cannot be hardened to hold keys")?;
        let failed = |error| failure(directory, error);
        let opened = if let Some(file) = &self.disclosure {
            let disclosed =
                Disclosed::open(directory, recipient::open(file, &self.recipient_keys)?);
            Opened::Disclosed(Box::new(disclosed.map_err(failed)?))
        } else {
            let archive = Archive::open(directory, &self.root_source(directory)?);
            let archive = archive.map_err(failed)?;
            let tenant = tenant(&archive, self.tenant.as_ref())?;
            Opened::Archive(Box::new(archive), tenant)
        };
        Ok(Files { directory: directory.to_owned(), opened, seen: RefCell::default() })
    }

    fn root_source(&self, directory: &Path) -> Result<RootSource> {
        let file = if let Some(file) = &self.root_key {
            file.clone()
        } else {
            let data = directory.canonicalize();
            let data = data.with_context(|| format!("cannot find `{}`", directory.display()))?;
            state_directory(&data)?.join("root.key")
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
            Self::Files(files) => files.page(query),
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
                let opening = files.opened.opening(index, groups);
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
                Some(Note::of(&files.directory, &files.opened, &files.seen.borrow()))
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
    fn page(&self, query: &AuditQuery) -> Result<Vec<RecordObject>, Failure> {
        let answer = self.opened.query(query);
        let answer = answer.map_err(|refusal| Failure::Failed(anyhow!(refusal.detail)))?;
        let mut seen = self.seen.borrow_mut();
        seen.unread.extend(answer.unread);
        seen.gone.extend(answer.gone);
        seen.unindexed.extend(answer.unindexed);
        Ok(answer.records.into_iter().map(RecordObject::from).collect())
    }
}

impl Opened {
    fn query(&self, query: &AuditQuery) -> Result<Answer, Refusal> {
        match self {
            Self::Archive(archive, tenant) => Ok(archive.query(*tenant, query)),
            Self::Disclosed(disclosed) => disclosed.query(query),
        }
    }

    fn opening(&self, index: u64, groups: RecordGroups) -> Result<Opening, Refusal> {
        match self {
            Self::Archive(archive, tenant) => archive.opening(*tenant, index, groups),
            Self::Disclosed(disclosed) => disclosed.opening(index, groups),
        }
    }

    /// How far the log reaches.
    pub(super) fn reach(&self) -> &Reach {
        match self {
            Self::Archive(archive, _) => archive.reach(),
            Self::Disclosed(disclosed) => disclosed.reach(),
        }
    }

    /// How often a record could not be held against the checkpoint.
    pub(super) fn unheld(&self) -> u64 {
        match self {
            Self::Archive(archive, _) => archive.unheld(),
            Self::Disclosed(disclosed) => disclosed.unheld(),
        }
    }

    /// The files of the index that are damaged or none of it; nothing where the index cannot be read at all.
    pub(super) fn damaged_index(&self) -> Option<Vec<String>> {
        match self {
            Self::Archive(archive, _) => Some(archive.damaged_index()),
            Self::Disclosed(_) => None,
        }
    }

    /// What was disclosed, if that is what they were opened with.
    pub(super) fn scope(&self) -> Option<String> {
        match self {
            Self::Archive(..) => None,
            Self::Disclosed(disclosed) => Some(disclosed.scope()),
        }
    }
}
