//! Messages to sign, MAC or verify: as they are when they fit, as their digest when they do not.

use std::io::Read as _;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use chancery_client::{Input as Signed, sha256_of};
use chancery_core::limits::MESSAGE_BYTES_MAX;
use chancery_core::purpose::Purpose;

use crate::files::Input;

/// What goes to the service.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Message {
    /// The whole message.
    Whole(Vec<u8>),
    /// The SHA-256 of one that is too long.
    Digest([u8; 32]),
}

impl Message {
    /// Reads a message for a key of this purpose.
    pub(crate) fn read(path: &Path, purpose: &Purpose) -> Result<Self> {
        let mut input = Input::open(path)?;
        let start = input.read_start(MESSAGE_BYTES_MAX + 1)?;
        if start.len() <= MESSAGE_BYTES_MAX {
            return Ok(Self::Whole(start));
        }
        if !purpose.format().takes_digest() {
            bail!(
                "{} has more than {MESSAGE_BYTES_MAX} bytes; a key for `{purpose}` takes whole messages, \
                 only `sign.bound`, `mac.bound` and `sign.sshsig` take a digest",
                input.name()
            );
        }
        let name = input.name().to_owned();
        let digest =
            sha256_of(start.chain(input)).with_context(|| format!("cannot read {name}"))?;
        Ok(Self::Digest(digest))
    }

    /// As the client takes it.
    pub(crate) fn as_input(&self) -> Signed<'_> {
        match self {
            Self::Whole(message) => Signed::Message(message),
            Self::Digest(digest) => Signed::Digest(digest),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Scratch;

    fn read(length: usize, purpose: &str) -> Result<Message> {
        let scratch = Scratch::new(&format!("message-{length}-{}", purpose.len()));
        let path = scratch.path("message");
        std::fs::write(&path, vec![7; length]).unwrap();
        Message::read(&path, &purpose.parse().unwrap())
    }

    #[test]
    fn the_longest_message_goes_whole_and_one_byte_more_as_digest() {
        let whole = read(MESSAGE_BYTES_MAX, "sign.bound:x").unwrap();
        assert_eq!(whole, Message::Whole(vec![7; MESSAGE_BYTES_MAX]));
        let expected = sha256_of(vec![7; MESSAGE_BYTES_MAX + 1].as_slice()).unwrap();
        assert_eq!(read(MESSAGE_BYTES_MAX + 1, "sign.bound:x").unwrap(), Message::Digest(expected));
    }

    #[test]
    fn a_format_that_takes_no_digest_says_so() {
        let refusal = read(MESSAGE_BYTES_MAX + 1, "sign.jws:at+jwt").unwrap_err().to_string();
        assert!(refusal.contains("sign.jws:at+jwt") && refusal.contains("digest"), "{refusal}");
    }
}
