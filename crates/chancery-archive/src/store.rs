//! An object store as an archive uses it: what is there is read, what is not is put there once.

use std::future::Future;
use std::io;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use object_store::aws::{AmazonS3, AmazonS3Builder, Checksum};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{
    ClientOptions, Error, ObjectStore, ObjectStoreExt as _, PutMode, PutOptions, PutPayload,
    RetryConfig,
};
use tokio::runtime::Runtime;
use ureq::http::{HeaderMap, HeaderName, HeaderValue};
use ureq::tls::TlsConfig;

use crate::http::{Connector, LOCK_MODE, LOCK_UNTIL, Told};
use crate::target::{Access, Target};

/// A store that is away or busy is asked again for so long: 1 min.
const PATIENCE: Duration = Duration::from_mins(1);

/// A time up to its seconds: `2030-01-31T00:00:00`; what stores write behind that differs.
const SECOND_CHARS: usize = 19;

/// How firmly a bucket keeps what is put there (object lock).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockMode {
    /// Who has the right to may still remove it.
    Governance,
    /// Nobody may.
    Compliance,
}

/// What a bucket is asked to keep, and until when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lock {
    /// How firmly.
    pub mode: LockMode,
    /// Until then, to the second: `2030-01-31T00:00:00Z`.
    pub until: String,
}

/// An open archive.
pub struct Store {
    objects: Arc<dyn ObjectStore>,
    /// By which objects are put.
    puts: Arc<dyn ObjectStore>,
    /// What is asked for each of them, and what was told of the last that was read.
    lock: Option<Lock>,
    told: Told,
    runtime: Runtime,
}

impl LockMode {
    /// As the protocol has it.
    const fn name(self) -> &'static str {
        match self {
            Self::Governance => "GOVERNANCE",
            Self::Compliance => "COMPLIANCE",
        }
    }
}

/// Whether an object was put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    /// Now.
    New,
    /// The same stood there already.
    Same,
}

/// The store does not do what it is asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It cannot be opened.
    #[error("the archive cannot be opened")]
    Unopened(#[source] io::Error),
    /// It says no, or nothing.
    #[error("`{path}` of the archive: {what}")]
    Failed {
        /// The object.
        path: String,
        /// What was tried.
        what: &'static str,
        /// What it said.
        #[source]
        source: Box<Error>,
    },
    /// Another object is in the place.
    #[error(
        "`{path}` of the archive is another object than what is to be put there; nothing is overwritten"
    )]
    Differs {
        /// The object.
        path: String,
    },
    /// It is there, and not locked as it should be.
    #[error(
        "`{path}` is in the archive, and the store does not say that it keeps it as long as was asked: object lock must \
         be on for the bucket, and reading an object's retention allowed"
    )]
    NotLocked {
        /// The object.
        path: String,
    },
    /// What was put is not what is read.
    #[error("`{path}` of the archive does not come back as it was put there")]
    NotBack {
        /// The object.
        path: String,
    },
}

impl Store {
    /// Opens an archive. `access` says how a bucket is asked, `tls` how it is reached; each object that is put is to be
    /// locked so.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unopened`] if the directory cannot be made, or the bucket cannot be asked so.
    pub fn open(
        target: &Target,
        access: Option<&Access>,
        tls: &TlsConfig,
        lock: Option<Lock>,
    ) -> Result<Self, StoreError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(StoreError::Unopened)?;
        let refused = |error: Error| StoreError::Unopened(io::Error::other(error));
        let told = Told::default();
        let (objects, puts): (Arc<dyn ObjectStore>, Arc<dyn ObjectStore>) = match target {
            Target::Directory(_) if lock.is_some() => {
                let what = io::Error::other("a directory has no object lock; a bucket has");
                return Err(StoreError::Unopened(what));
            }
            Target::Directory(path) => {
                std::fs::create_dir_all(path).map_err(StoreError::Unopened)?;
                let files = LocalFileSystem::new_with_prefix(path).map_err(refused)?;
                let files: Arc<dyn ObjectStore> = Arc::new(files.with_fsync(true));
                (Arc::clone(&files), files)
            }
            Target::Bucket { bucket, prefix } => {
                let missing =
                    || io::Error::other("a bucket needs the file that says how it is asked");
                let access = access.ok_or_else(missing).map_err(StoreError::Unopened)?;
                let open = |lock: Option<&Lock>| {
                    let connector = Connector { tls: tls.clone(), told: Arc::clone(&told) };
                    let store = bucket_of(bucket, access, connector, lock).map_err(refused)?;
                    Ok(Arc::new(PrefixStore::new(store, prefix.as_str())))
                };
                (open(None)?, open(lock.as_ref())?)
            }
        };
        Ok(Self { objects, puts, lock, told, runtime })
    }

    /// An object's bytes, if it is there.
    ///
    /// # Errors
    ///
    /// [`StoreError::Failed`].
    pub fn get(&self, path: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let read = async {
            let found = self.objects.get(&Path::from(path)).await?;
            found.bytes().await
        };
        match self.wait(read) {
            Ok(bytes) => Ok(Some(bytes.to_vec())),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(failed(path, "it cannot be read", error)),
        }
    }

    /// Puts an object where none is, and reads it back; or finds that the same is there.
    ///
    /// # Errors
    ///
    /// [`StoreError`]; what stands there is never another object than before.
    pub fn put_once(&self, path: &str, bytes: &[u8]) -> Result<Put, StoreError> {
        if let Some(found) = self.get(path)? {
            return if found == bytes { Ok(Put::Same) } else { Err(differs(path)) };
        }
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        let place = Path::from(path);
        let payload = PutPayload::from(bytes.to_vec());
        match self.wait(self.puts.put_opts(&place, payload, options)) {
            Ok(_) => {}
            // Somebody else came between: what they put must be the same.
            Err(Error::AlreadyExists { .. } | Error::Precondition { .. }) => {
                return if self.get(path)?.as_deref() == Some(bytes) {
                    Ok(Put::Same)
                } else {
                    Err(differs(path))
                };
            }
            Err(error) => return Err(failed(path, "it cannot be put there", error)),
        }
        if self.get(path)?.as_deref() != Some(bytes) {
            return Err(StoreError::NotBack { path: path.to_owned() });
        }
        if !self.is_locked() {
            return Err(StoreError::NotLocked { path: path.to_owned() });
        }
        Ok(Put::New)
    }

    /// Whether the store said of what was read last that it is locked as was asked.
    fn is_locked(&self) -> bool {
        let Some(lock) = &self.lock else { return true };
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let second = |time: &str| time.get(..SECOND_CHARS).map(str::to_owned);
        told.as_ref().is_some_and(|(mode, until)| {
            mode == lock.mode.name() && second(until) == second(&lock.until)
        })
    }

    /// The paths of the objects below a path, in order.
    ///
    /// # Errors
    ///
    /// [`StoreError::Failed`].
    pub fn list(&self, below: &str) -> Result<Vec<String>, StoreError> {
        let prefix = (!below.is_empty()).then(|| Path::from(below));
        let listed = self.wait(self.objects.list_with_delimiter(prefix.as_ref()));
        let listed = listed.map_err(|error| failed(below, "it cannot be listed", error))?;
        let objects = listed.objects.into_iter().map(|object| object.location.to_string());
        let mut paths: Vec<String> = objects.collect();
        paths.sort_unstable();
        Ok(paths)
    }

    /// The names that the paths of objects begin with.
    ///
    /// # Errors
    ///
    /// [`StoreError::Failed`].
    pub fn tops(&self) -> Result<Vec<String>, StoreError> {
        let listed = self.wait(self.objects.list_with_delimiter(None));
        let listed = listed.map_err(|error| failed("", "it cannot be listed", error))?;
        let tops = listed.common_prefixes.into_iter().map(|prefix| prefix.to_string());
        let mut tops: Vec<String> = tops.collect();
        tops.sort_unstable();
        Ok(tops)
    }

    fn wait<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }
}

fn bucket_of(
    bucket: &str,
    access: &Access,
    connector: Connector,
    lock: Option<&Lock>,
) -> Result<AmazonS3, Error> {
    let mut builder = AmazonS3Builder::new();
    if let Some(Lock { mode, until }) = lock {
        let value = |text: &str| {
            let generic = |error| Error::Generic { store: "S3", source: Box::new(error) };
            HeaderValue::from_str(text).map_err(generic)
        };
        let mode = (HeaderName::from_static(LOCK_MODE), value(mode.name())?);
        let until = (HeaderName::from_static(LOCK_UNTIL), value(until)?);
        let headers = HeaderMap::from_iter([mode, until]);
        // The protocol asks for a checksum beside a lock.
        builder = builder
            .with_client_options(ClientOptions::new().with_default_headers(headers))
            .with_checksum_algorithm(Checksum::SHA256);
    }
    let builder = builder
        .with_bucket_name(bucket)
        .with_endpoint(&access.endpoint)
        .with_allow_http(access.is_to_this_machine())
        .with_region(&access.region)
        .with_access_key_id(&access.access_key_id)
        .with_secret_access_key(&access.secret_access_key)
        .with_retry(RetryConfig { retry_timeout: PATIENCE, ..RetryConfig::default() })
        .with_http_connector(connector);
    match &access.session_token {
        Some(token) => builder.with_token(token).build(),
        None => builder.build(),
    }
}

fn failed(path: &str, what: &'static str, source: Error) -> StoreError {
    StoreError::Failed { path: path.to_owned(), what, source: Box::new(source) }
}

fn differs(path: &str) -> StoreError {
    StoreError::Differs { path: path.to_owned() }
}
