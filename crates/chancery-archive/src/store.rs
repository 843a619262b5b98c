//! An object store as an archive uses it: what is there is read, what is not is put there once.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::AmazonS3Builder;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{
    Error, ObjectStore, ObjectStoreExt as _, PutMode, PutOptions, PutPayload, RetryConfig,
};
use tokio::runtime::Runtime;

use crate::http::{Authorities, Connector};
use crate::target::{Access, Target};

/// A store that is away or busy is asked again for so long: 1 min.
const PATIENCE: Duration = Duration::from_mins(1);

/// An open archive.
pub struct Store {
    objects: Arc<dyn ObjectStore>,
    runtime: Runtime,
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
    /// What was put is not what is read.
    #[error("`{path}` of the archive does not come back as it was put there")]
    NotBack {
        /// The object.
        path: String,
    },
}

impl Store {
    /// Opens an archive. `access` says how a bucket is asked; its authorities are those of `authorities`.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unopened`] if the directory cannot be made, or the bucket cannot be asked so.
    pub fn open(
        target: &Target,
        access: Option<&Access>,
        authorities: Authorities,
    ) -> Result<Self, StoreError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(StoreError::Unopened)?;
        let refused = |error: Error| StoreError::Unopened(io::Error::other(error));
        let objects: Arc<dyn ObjectStore> = match target {
            Target::Directory(path) => {
                std::fs::create_dir_all(path).map_err(StoreError::Unopened)?;
                let files = LocalFileSystem::new_with_prefix(path).map_err(refused)?;
                Arc::new(files.with_fsync(true))
            }
            Target::Bucket { bucket, prefix } => {
                let missing =
                    || io::Error::other("a bucket needs the file that says how it is asked");
                let access = access.ok_or_else(missing).map_err(StoreError::Unopened)?;
                let store = bucket_of(bucket, access, authorities).map_err(refused)?;
                Arc::new(PrefixStore::new(store, prefix.as_str()))
            }
        };
        Ok(Self { objects, runtime })
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
        match self.wait(self.objects.put_opts(&place, payload, options)) {
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
        let is_back = self.get(path)?.as_deref() == Some(bytes);
        is_back.then_some(Put::New).ok_or_else(|| StoreError::NotBack { path: path.to_owned() })
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
    authorities: Authorities,
) -> Result<impl ObjectStore, Error> {
    let builder = AmazonS3Builder::new()
        .with_bucket_name(bucket)
        .with_endpoint(&access.endpoint)
        .with_allow_http(access.is_to_this_machine())
        .with_region(&access.region)
        .with_access_key_id(&access.access_key_id)
        .with_secret_access_key(&access.secret_access_key)
        .with_retry(RetryConfig { retry_timeout: PATIENCE, ..RetryConfig::default() })
        .with_http_connector(Connector(authorities));
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
