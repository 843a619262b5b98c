//! The seeds of a witness' two keys, in a file of its owner's alone.
//!
//! ```text
//! "chancery-witness-key-1 " name " " hex(Ed25519 seed (32) ‖ ML-DSA-44 seed (32)) "\n"
//! ```
//!
//! The name stands there because it is part of the keys' ids: under another name they would be other keys.
//!
//! **Invariant:** the file is there whole or not at all, and is never replaced.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use chancery_crypto::notes::{CheckpointSeeds, CosignError, Cosigner};
use chancery_crypto::primitive::random;
use chancery_log::note::KeyName;
use rustix::fs::{CWD, OFlags, RenameFlags, renameat_with};
use zeroize::Zeroizing;

use crate::hexadecimal::unhex;

const FORMAT: &str = "chancery-witness-key-1";

/// The longest file: a name of 255 bytes and two seeds, in bytes.
const FILE_BYTES_MAX: u64 = 512;

/// Permissions of others.
const MODE_OTHERS: u32 = 0o077;

/// Two seeds of 32 bytes.
const SEEDS_BYTES: usize = 64;

type Seeds = Zeroizing<[u8; SEEDS_BYTES]>;

/// The keys cannot be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyfileError {
    /// The keys do not sign.
    #[error(transparent)]
    Cosign(#[from] CosignError),
    /// The file has another form.
    #[error("not the key file of a witness")]
    Form,
    /// The file cannot be read or made.
    #[error("the key file cannot be used")]
    Io(#[from] io::Error),
    /// The file is of a witness of another name.
    #[error("the keys are those of `{found}`: a witness keeps its name")]
    Name {
        /// Its name.
        found: KeyName,
    },
    /// Others may read the file.
    #[error(
        "others may read the key file; run `chmod 600` on it, and take the keys for known to them"
    )]
    Open,
    /// No random bytes are to be had.
    #[error("no random bytes can be drawn")]
    Random,
}

/// Makes the key file of a new witness.
///
/// # Errors
///
/// [`KeyfileError`]; a file that is there is as it was.
pub fn make(path: &Path, name: &KeyName) -> Result<Cosigner, KeyfileError> {
    let mut seeds = Seeds::new([0; SEEDS_BYTES]);
    random(seeds.as_mut_slice()).map_err(|_| KeyfileError::Random)?;
    let cosigner = cosigner(name, &seeds)?;
    let text = Zeroizing::new(format!("{FORMAT} {name} {}\n", hex(seeds.as_slice()).as_str()));
    write_private(path, text.as_bytes())?;
    Ok(cosigner)
}

/// Reads the key file of the witness `name`.
///
/// # Errors
///
/// [`KeyfileError`].
pub fn load(path: &Path, name: &KeyName) -> Result<Cosigner, KeyfileError> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let flags = i32::try_from(flags.bits()).map_err(io::Error::other)?;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(KeyfileError::Form);
    }
    if metadata.mode() & MODE_OTHERS != 0 {
        return Err(KeyfileError::Open);
    }
    let mut text = Zeroizing::new(String::new());
    file.take(FILE_BYTES_MAX).read_to_string(&mut text)?;
    let (found, seeds) = parse(&text).ok_or(KeyfileError::Form)?;
    if found == *name { cosigner(name, &seeds) } else { Err(KeyfileError::Name { found }) }
}

fn cosigner(name: &KeyName, seeds: &Seeds) -> Result<Cosigner, KeyfileError> {
    let ([ed25519, ml_dsa_44], []) = seeds.as_chunks::<32>() else {
        return Err(KeyfileError::Form);
    };
    Ok(Cosigner::new(name.clone(), &CheckpointSeeds { ed25519, ml_dsa_44 })?)
}

fn parse(text: &str) -> Option<(KeyName, Seeds)> {
    let rest = text.strip_prefix(FORMAT)?.strip_prefix(' ')?.strip_suffix('\n')?;
    let (name, digits) = rest.split_once(' ')?;
    let mut seeds = Seeds::new([0; SEEDS_BYTES]);
    unhex(digits, seeds.as_mut_slice())?;
    Some((name.parse().ok()?, seeds))
}

fn hex(bytes: &[u8]) -> Zeroizing<String> {
    // Of its full length from the beginning: growing would leave copies behind.
    let mut text = Zeroizing::new(String::with_capacity(2 * bytes.len()));
    for byte in bytes {
        for digit in [byte >> 4, byte & 15] {
            text.push(char::from_digit(u32::from(digit), 16).unwrap_or_default());
        }
    }
    text
}

/// Writes a new file of mode 0600 and makes it and its name durable. A draft that an earlier attempt left is
/// replaced.
fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let draft = path.with_added_extension("draft");
    match std::fs::remove_file(&draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    renameat_with(CWD, &draft, CWD, path, RenameFlags::NOREPLACE)?;
    let parent = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    File::open(parent)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::witness::testing::Scratch;

    fn name() -> KeyName {
        "witness.example/w1".parse().unwrap()
    }

    #[test]
    fn keys_that_were_made_are_read_again_and_never_replaced() {
        let scratch = Scratch::new();
        let path = scratch.path("witness.key");
        let made = make(&path, &name()).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
        let loaded = load(&path, &name()).unwrap();
        assert_eq!(loaded.verifier_keys(), made.verifier_keys());
        assert!(matches!(make(&path, &name()), Err(KeyfileError::Io(_))));
        assert_eq!(load(&path, &name()).unwrap().verifier_keys(), made.verifier_keys());
        let other = make(&scratch.path("other.key"), &name()).unwrap();
        assert_ne!(other.verifier_keys(), made.verifier_keys());
    }

    #[test]
    fn a_file_of_another_name_or_form_or_that_others_may_read_is_refused() {
        let scratch = Scratch::new();
        let path = scratch.path("witness.key");
        make(&path, &name()).unwrap();
        let other = load(&path, &"w2".parse().unwrap()).err().unwrap();
        assert!(matches!(other, KeyfileError::Name { found } if found == name()));
        let text = fs::read_to_string(&path).unwrap();
        for altered in [
            String::new(),
            text.trim_end().to_owned(),
            text.clone() + "\n",
            text.replace("key-1", "key-2"),
            text.replace("w1 ", "w1 0"),
            text.replace("w1 ", "w1  "),
            text.to_uppercase(),
        ] {
            fs::write(&path, altered).unwrap();
            assert!(matches!(load(&path, &name()), Err(KeyfileError::Form)));
        }
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(load(&path, &name()), Err(KeyfileError::Open)));
        let link = scratch.path("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(matches!(load(&link, &name()), Err(KeyfileError::Io(_))));
    }
}
