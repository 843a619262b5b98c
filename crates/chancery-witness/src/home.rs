//! The directory of a witness: its keys, and what it cosigned last.
//!
//! ```text
//! witness.key      the seeds of its keys (see `keyfile`)
//! witness.redb     the store (see `latest`)
//! ```
//!
//! **Invariant:** keys that have cosigned are used with the state that says what they cosigned, or not at all. A
//! witness that has lost its state would cosign a second history.

use std::io;
use std::path::{Path, PathBuf};

use chancery_crypto::notes::Cosigner;
use chancery_log::note::KeyName;
use chancery_store::{
    Embedded, OpenError, OpenMode, PrivateDirError, Revision, Store, StoreError, private_dir,
};

use crate::keyfile::{self, KeyfileError};

/// The file of the keys.
pub const KEY_FILE: &str = "witness.key";

/// The file of the store.
pub const STORE_FILE: &str = "witness.redb";

/// The directory is not that of a witness that can go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HomeError {
    /// The directory cannot be made, or others may look into it.
    #[error("the directory cannot be used")]
    Directory(#[from] PrivateDirError),
    /// The keys cannot be had.
    #[error("`{}`", path.display())]
    Key {
        /// Their file.
        path: PathBuf,
        /// What is wrong with it.
        source: KeyfileError,
    },
    /// There is a state, and no keys.
    #[error("`{}` is missing, and `{STORE_FILE}` says what its keys have cosigned: bring it back", path.display())]
    KeyLost {
        /// Where they were.
        path: PathBuf,
    },
    /// Whether a file is there cannot be told.
    #[error("`{}` cannot be looked at", path.display())]
    Look {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// There are keys, and no state.
    #[error(
        "`{}` is missing, and the keys have been used: without it they could cosign another history. Bring it back, \
         or begin a witness of another name and keys in another directory",
        path.display()
    )]
    StateLost {
        /// Where it was.
        path: PathBuf,
    },
    /// The store cannot be opened.
    #[error("`{}`", path.display())]
    Store {
        /// Its file.
        path: PathBuf,
        /// What is wrong with it.
        source: OpenError,
    },
    /// The store cannot be read.
    #[error(transparent)]
    Unread(#[from] StoreError),
}

/// Opens the directory of the witness `name`, and makes what is in it if it is new. Nobody else can open it
/// until the store is dropped.
///
/// # Errors
///
/// [`HomeError`].
pub fn open(directory: &Path, name: &KeyName) -> Result<(Box<dyn Store>, Cosigner), HomeError> {
    private_dir(directory)?;
    let (key, store) = (directory.join(KEY_FILE), directory.join(STORE_FILE));
    let (has_key, has_store) = (is_there(&key)?, is_there(&store)?);
    if has_key && !has_store {
        return Err(HomeError::StateLost { path: store });
    }
    // The store comes first: a start that ends here leaves one in which nothing was cosigned.
    let mode = if has_store { OpenMode::ReadWrite } else { OpenMode::Create };
    let store = Embedded::open(&store, mode)
        .map_err(|source| HomeError::Store { path: store.clone(), source })?;
    let cosigner = if has_key {
        keyfile::load(&key, name)
    } else if store.revision()? == Revision::ZERO {
        keyfile::make(&key, name)
    } else {
        return Err(HomeError::KeyLost { path: key });
    };
    let cosigner = cosigner.map_err(|source| HomeError::Key { path: key, source })?;
    Ok((Box::new(store), cosigner))
}

fn is_there(path: &Path) -> Result<bool, HomeError> {
    match path.symlink_metadata() {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(source) => Err(HomeError::Look { path: path.to_owned(), source }),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

    use chancery_store::{RowName, Transaction};

    use super::*;
    use crate::witness::testing::Scratch;

    fn name() -> KeyName {
        "witness.example/w1".parse().unwrap()
    }

    fn keys(directory: &Path) -> Result<[String; 2], HomeError> {
        open(directory, &name())
            .map(|(_, cosigner)| cosigner.verifier_keys().map(ToString::to_string))
    }

    /// What a witness that has cosigned leaves.
    fn used(directory: &Path) -> [String; 2] {
        let (store, cosigner) = open(directory, &name()).unwrap();
        store.commit(Transaction::new().put(RowName::new(*b"row").unwrap(), vec![1])).unwrap();
        cosigner.verifier_keys().map(ToString::to_string)
    }

    #[test]
    fn a_new_directory_is_its_owners_alone_and_is_opened_again() {
        let scratch = Scratch::new();
        let directory = scratch.path("w");
        let made = used(&directory);
        assert_eq!(fs::metadata(&directory).unwrap().mode() & 0o7777, 0o700);
        assert_eq!(keys(&directory).unwrap(), made);
        let held = open(&directory, &name()).unwrap();
        assert!(matches!(keys(&directory), Err(HomeError::Store { .. })), "one at a time");
        drop(held);
        let other = open(&directory, &"w2".parse().unwrap());
        assert!(matches!(other.err(), Some(HomeError::Key { .. })));
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o750)).unwrap();
        assert!(matches!(keys(&directory), Err(HomeError::Directory(_))));
    }

    #[test]
    fn a_first_start_that_was_cut_short_is_gone_on_with() {
        let scratch = Scratch::new();
        let directory = scratch.path("w");
        drop(open(&directory, &name()).unwrap());
        fs::remove_file(directory.join(KEY_FILE)).unwrap();
        fs::write(directory.join("witness.key.draft"), b"half").unwrap();
        assert!(keys(&directory).is_ok());
    }

    #[test]
    fn keys_without_state_and_state_without_keys_are_refused() {
        let scratch = Scratch::new();
        let directory = scratch.path("w");
        used(&directory);
        let (key, aside) = (directory.join(KEY_FILE), scratch.path("aside"));
        fs::rename(&key, &aside).unwrap();
        assert!(matches!(keys(&directory), Err(HomeError::KeyLost { .. })));
        assert!(!key.exists());
        fs::rename(&aside, &key).unwrap();
        let store = directory.join(STORE_FILE);
        fs::rename(&store, &aside).unwrap();
        assert!(matches!(keys(&directory), Err(HomeError::StateLost { .. })));
        assert!(!store.exists());
        fs::rename(&aside, &store).unwrap();
        assert!(keys(&directory).is_ok());
    }

    #[test]
    fn a_torn_state_is_refused_and_no_other_is_begun() {
        let scratch = Scratch::new();
        let directory = scratch.path("w");
        used(&directory);
        let store = directory.join(STORE_FILE);
        let whole = fs::read(&store).unwrap();
        let mut altered = whole.clone();
        // Both copies of the header's account of the last commit.
        altered[64..320].fill(0xa5);
        for torn in [&[][..], &whole[..1], &whole[..whole.len() / 2], &altered] {
            fs::write(&store, torn).unwrap();
            let refused = keys(&directory);
            assert!(matches!(refused, Err(HomeError::Store { .. })), "{}: {refused:?}", torn.len());
        }
        fs::write(&store, whole).unwrap();
        assert!(keys(&directory).is_ok());
    }
}
