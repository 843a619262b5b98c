//! A key wrapped under a passphrase: Argon2id (RFC 9106) and AES-256-GCM.
//!
//! ```text
//! line   = head ‖ hex(sealed) ‖ "\n"
//! head   = "chancery-root-key-2 argon2id m=" KiB " t=" passes " p=" lanes " " hex(salt (16)) " "
//! sealed = AES-256-GCM[Argon2id(passphrase, salt), 0](key (32); ROOT_KEY_WRAP ‖ head)
//! ```
//!
//! The salt is drawn for each wrapping, so the nonce is never used twice under one key. What the line says
//! about itself is bound by the seal, and bounded before any memory is taken.

use argon2::{Algorithm, Argon2, Params, Version};
use zeroize::Zeroizing;

use crate::labels;
use crate::primitive::{GCM_TAG_BYTES, Gcm, PrimitiveError};

/// The format's name, with which a line begins.
pub const WRAPPED_KEY: &str = "chancery-root-key-2 ";

/// What a new wrapping costs: the second recommendation of RFC 9106, 4: 64 MiB, 3 passes, 4 lanes.
const COST: Cost = Cost { memory_kib: 64 * 1024, passes: 3, lanes: 4 };

/// The most that a line may ask for: 1 GiB, 16 passes, 16 lanes.
const COST_MAX: Cost = Cost { memory_kib: 1024 * 1024, passes: 16, lanes: 16 };

const SALT_BYTES: usize = 16;
const SEALED_BYTES: usize = 32 + GCM_TAG_BYTES;

/// The shortest passphrase, in bytes: 12.
pub const PASSPHRASE_BYTES_MIN: usize = 12;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cost {
    memory_kib: u32,
    passes: u32,
    lanes: u32,
}

/// The key does not come out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PassphraseError {
    /// The line is none of these.
    #[error("this is no key wrapped under a passphrase, or it asks for more than is given to it")]
    Malformed,
    /// The passphrase is another one, or the line was altered.
    #[error(
        "the passphrase is not the one that the key was wrapped under, or the file was altered"
    )]
    Wrong,
    /// The passphrase is too short to protect a key.
    #[error("a passphrase has at least {PASSPHRASE_BYTES_MIN} bytes")]
    TooShort,
    /// The provider failed.
    #[error(transparent)]
    Primitive(#[from] PrimitiveError),
}

/// Wraps a key under a passphrase, with a salt that was drawn for it.
///
/// # Errors
///
/// [`PassphraseError::TooShort`]; [`PassphraseError::Primitive`] if there is no memory for it.
pub fn wrap(
    passphrase: &[u8],
    key: &[u8; 32],
    salt: [u8; SALT_BYTES],
) -> Result<String, PassphraseError> {
    if passphrase.len() < PASSPHRASE_BYTES_MIN {
        return Err(PassphraseError::TooShort);
    }
    let head = head(COST, &salt);
    let gcm = Gcm::new(&*derive(COST, passphrase, &salt)?)?;
    let mut sealed = key.to_vec();
    let tag = gcm.seal([0; 12], &associated_data(&head), &mut sealed)?;
    sealed.extend_from_slice(&tag);
    Ok(format!("{head}{}\n", hex(&sealed)))
}

/// Takes a key out of its line.
///
/// # Errors
///
/// [`PassphraseError`].
pub fn unwrap(passphrase: &[u8], line: &str) -> Result<Zeroizing<[u8; 32]>, PassphraseError> {
    let (cost, salt, sealed) = parse(line).ok_or(PassphraseError::Malformed)?;
    let head = head(cost, &salt);
    let gcm = Gcm::new(&*derive(cost, passphrase, &salt)?)?;
    let mut sealed = Zeroizing::new(sealed);
    let opened = gcm.open([0; 12], &associated_data(&head), sealed.as_mut_slice());
    let opened = opened.map_err(|_| PassphraseError::Wrong)?;
    let key: &[u8; 32] = (&*opened).try_into().map_err(|_| PassphraseError::Malformed)?;
    Ok(Zeroizing::new(*key))
}

fn derive(
    cost: Cost,
    passphrase: &[u8],
    salt: &[u8; SALT_BYTES],
) -> Result<Zeroizing<[u8; 32]>, PrimitiveError> {
    let params = Params::new(cost.memory_kib, cost.passes, cost.lanes, Some(32));
    let params = params.map_err(|_| PrimitiveError)?;
    let mut key = Zeroizing::new([0; 32]);
    let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let filled = argon.hash_password_into(passphrase, salt, key.as_mut_slice());
    filled.map(|()| key).map_err(|_| PrimitiveError)
}

fn head(cost: Cost, salt: &[u8; SALT_BYTES]) -> String {
    let Cost { memory_kib, passes, lanes } = cost;
    format!("{WRAPPED_KEY}argon2id m={memory_kib} t={passes} p={lanes} {} ", hex(salt))
}

fn associated_data(head: &str) -> Vec<u8> {
    [labels::ROOT_KEY_WRAP, head.as_bytes()].concat()
}

/// Reads a line; it is taken only if writing what was read gives the same line again.
fn parse(line: &str) -> Option<(Cost, [u8; SALT_BYTES], [u8; SEALED_BYTES])> {
    let rest = line.strip_prefix(WRAPPED_KEY)?.strip_prefix("argon2id ")?.strip_suffix('\n')?;
    let mut words = rest.split(' ');
    let mut number = |name| words.next()?.strip_prefix(name)?.parse::<u32>().ok();
    let cost = Cost { memory_kib: number("m=")?, passes: number("t=")?, lanes: number("p=")? };
    let (salt, sealed) = (unhex(words.next()?)?, unhex(words.next()?)?);
    let is_bounded = cost.memory_kib <= COST_MAX.memory_kib
        && cost.passes <= COST_MAX.passes
        && cost.lanes <= COST_MAX.lanes;
    let is_same = line == format!("{}{}\n", head(cost, &salt), hex(&sealed));
    (is_bounded && is_same).then_some((cost, salt, sealed))
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        // Writing to a `String` cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let pairs = text.as_bytes().as_chunks::<2>().0;
    let byte = |pair: &[u8; 2]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    pairs.iter().map(byte).collect::<Option<Vec<u8>>>()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSPHRASE: &[u8] = b"correct horse battery staple";

    #[test]
    fn argon2id_is_that_of_rfc_9106() {
        // RFC 9106, 5.3, has a secret and associated data; without them the reference implementation gives this
        // for `password`, `somesalt`, m=65536, t=2, p=1.
        let cost = Cost { memory_kib: 65_536, passes: 2, lanes: 1 };
        let params = Params::new(cost.memory_kib, cost.passes, cost.lanes, Some(32)).unwrap();
        let mut out = [0; 32];
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into(b"password", b"somesalt", &mut out)
            .unwrap();
        assert_eq!(hex(&out), "09316115d5cf24ed5a15a31a3ba326e5cf32edc24702987c02b6566f61913cf7");
    }

    #[test]
    fn a_key_comes_out_under_its_passphrase_alone() {
        let line = wrap(PASSPHRASE, &[7; 32], [1; 16]).unwrap();
        assert_eq!(unwrap(PASSPHRASE, &line).as_deref(), Ok(&[7; 32]));
        assert_eq!(unwrap(b"correct horse battery stapl", &line), Err(PassphraseError::Wrong));
        assert_eq!(wrap(b"elevenbytes", &[7; 32], [1; 16]), Err(PassphraseError::TooShort));
    }

    #[test]
    fn an_altered_line_is_refused_and_one_that_asks_for_too_much_costs_nothing() {
        let line = wrap(PASSPHRASE, &[7; 32], [1; 16]).unwrap();
        for (from, to) in [(" t=3", " t=2"), ("01010101", "01010102"), ("p=4", "p=3")] {
            let altered = line.replacen(from, to, 1);
            assert_eq!(unwrap(PASSPHRASE, &altered), Err(PassphraseError::Wrong), "{altered}");
        }
        for (from, to) in [
            ("m=65536", "m=4000000000"),
            ("m=65536", "m=065536"),
            ("argon2id", "argon2i"),
            ("\n", ""),
            ("\n", " x\n"),
            ("-2 ", "-1 "),
        ] {
            let altered = line.replacen(from, to, 1);
            assert_eq!(unwrap(PASSPHRASE, &altered), Err(PassphraseError::Malformed), "{altered}");
        }
    }
}
