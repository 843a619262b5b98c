//! The format `sshsig`: a signature that `ssh-keygen -Y verify`, and git, take.
//!
//! Follows OpenSSH `PROTOCOL.sshsig`. What is signed is
//!
//! ```text
//! "SSHSIG" ‖ string(namespace) ‖ string(reserved) ‖ string("sha256") ‖ string(SHA-256(message))
//! ```
//!
//! and what leaves is, in base64 between lines that say what it is,
//!
//! ```text
//! "SSHSIG" ‖ version (4, is 1) ‖ string(public key) ‖ string(namespace) ‖ string(reserved) ‖ string("sha256") ‖ string(signature)
//! ```
//!
//! The namespace is the domain of the purpose, which is what a verifier asks for; it keeps apart what two uses sign with
//! one key. Narrowed: the hash is SHA-256, of the two that there are, so that a caller may keep the message and send its
//! digest; what is reserved is empty; lines have [`LINE_CHARACTERS`] characters, as `ssh-keygen` writes them. RSA keys sign
//! as `rsa-sha2-256`, for a key has one algorithm and those of RSASSA-PKCS1-v1_5 here have that one.
//!
//! An output names the public half, and no version; [`is_by`] says whose it is. Neither context nor posture epoch is in
//! it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chancery_core::suite::Suite;

use super::{
    Assembly, FormatError, Signing, ToBeSigned, Verified, VerifyError, Verifying, unbound,
};
use crate::der;
use crate::export::{mpint, ssh_public, string};

/// What blobs and signed bytes begin with.
const MAGIC: &[u8] = b"SSHSIG";

/// The version of the blob.
const VERSION: u32 = 1;

/// The hash of messages.
const HASH: &[u8] = b"sha256";

/// The first line and the last.
const BEGIN: &str = "-----BEGIN SSH SIGNATURE-----\n";
const END: &str = "-----END SSH SIGNATURE-----\n";

/// Characters of base64 in one line, as `ssh-keygen` writes them.
const LINE_CHARACTERS: usize = 70;

/// The longest output, in bytes: 4 KiB; one of RSA with 4 096 bits has some 1 600.
pub const SSHSIG_BYTES_MAX: usize = 4 * 1024;

/// What an output is assembled from.
#[derive(Clone, Debug)]
pub(super) struct Envelope {
    suite: Suite,
    public: Vec<u8>,
    namespace: String,
}

pub(super) fn to_be_signed(signing: &Signing<'_>) -> Result<ToBeSigned, FormatError> {
    let digest = signing.payload.digest()?;
    let context = unbound(signing.purpose, signing.context)?;
    let envelope = Envelope::new(signing.suite, signing.public, signing.purpose.domain());
    let envelope = envelope.ok_or(FormatError::NoPublicKey)?;
    let bytes = signed_bytes(&envelope.namespace, &digest);
    Ok(ToBeSigned { bytes, context, assembly: Assembly::SshSig(envelope) })
}

fn signed_bytes(namespace: &str, digest: &[u8; 32]) -> Vec<u8> {
    [MAGIC, &string(namespace.as_bytes()), &string(b""), &string(HASH), &string(digest)].concat()
}

impl Envelope {
    fn new(suite: Suite, spki: &[u8], namespace: &str) -> Option<Self> {
        let public = ssh_public(suite, der::subject_public_key(spki)?)?;
        Some(Self { suite, public, namespace: namespace.into() })
    }

    pub(super) fn assemble(&self, signature: &[u8]) -> Vec<u8> {
        let parts: [&[u8]; 7] = [
            MAGIC,
            &VERSION.to_be_bytes(),
            &string(&self.public),
            &string(self.namespace.as_bytes()),
            &string(b""),
            &string(HASH),
            &string(&of_ssh(self.suite, signature)),
        ];
        armour(&parts.concat())
    }
}

/// A signature as OpenSSH has it: the name of its algorithm, and its own form (RFC 5656, 3.1.2; RFC 8332, 3; RFC 8709, 6).
fn of_ssh(suite: Suite, signature: &[u8]) -> Vec<u8> {
    let name: &[u8] = match suite {
        Suite::EcdsaP256 => b"ecdsa-sha2-nistp256",
        Suite::EcdsaP384 => b"ecdsa-sha2-nistp384",
        Suite::RsaPkcs1Sha256With3072 | Suite::RsaPkcs1Sha256With4096 => b"rsa-sha2-256",
        _ => b"ssh-ed25519",
    };
    let value = match suite {
        Suite::EcdsaP256 | Suite::EcdsaP384 => {
            let (r, s) = signature.split_at(signature.len() / 2);
            [mpint(magnitude(r)), mpint(magnitude(s))].concat()
        }
        _ => signature.to_vec(),
    };
    [string(name), string(&value)].concat()
}

/// A number without leading zeros.
fn magnitude(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    number.get(zeros..).unwrap_or_default()
}

/// A signature in the form of [`crate::key`], from that of OpenSSH.
fn from_ssh(suite: Suite, signature: &[u8]) -> Option<Vec<u8>> {
    let mut fields = Fields(signature);
    let (_, value) = (fields.string()?, fields.string()?);
    let bytes: usize = match suite {
        Suite::EcdsaP256 => 32,
        Suite::EcdsaP384 => 48,
        _ => return Some(value.to_vec()),
    };
    let mut numbers = Fields(value);
    let of_length = |number: &[u8]| {
        let number = magnitude(number);
        let zeros = bytes.checked_sub(number.len())?;
        Some([&vec![0; zeros][..], number].concat())
    };
    Some([of_length(numbers.string()?)?, of_length(numbers.string()?)?].concat())
}

fn armour(blob: &[u8]) -> Vec<u8> {
    let base64 = STANDARD.encode(blob);
    let mut text = String::from(BEGIN);
    let mut rest = base64.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(LINE_CHARACTERS));
        text.push_str(line);
        text.push('\n');
        rest = after;
    }
    text.push_str(END);
    text.into_bytes()
}

fn blob_of(output: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(output).ok().filter(|it| it.len() <= SSHSIG_BYTES_MAX)?;
    let base64 = text.strip_prefix(BEGIN)?.strip_suffix(END)?;
    STANDARD.decode(base64.replace('\n', "")).ok()
}

pub(super) fn verify(output: &[u8], expected: &Verifying<'_>) -> Result<Verified, VerifyError> {
    let digest = expected.detached_payload()?.digest()?;
    let (suite, spki) = expected.verifier.public().ok_or(VerifyError::OtherOrigin)?;
    let blob = blob_of(output).ok_or(VerifyError::Malformed)?;
    let taken = Taken::parse(&blob).ok_or(VerifyError::Malformed)?;
    let envelope = Envelope::new(suite, spki, expected.purpose.domain());
    let envelope = envelope.ok_or(FormatError::NoPublicKey)?;
    if taken.public != envelope.public || taken.namespace != envelope.namespace.as_bytes() {
        return Err(VerifyError::OtherOrigin);
    }
    let signature = from_ssh(suite, taken.signature).ok_or(VerifyError::Malformed)?;
    // An output has one form: another encoding of it is none that was made here.
    if envelope.assemble(&signature) != output {
        return Err(VerifyError::Malformed);
    }
    expected.verifier.verify(&signed_bytes(&envelope.namespace, &digest), &signature)?;
    Ok(Verified::SshSig)
}

/// Whether an output names this public half as its signer's. Nothing in it is verified.
#[must_use]
pub fn is_by(output: &[u8], suite: Suite, spki: &[u8]) -> bool {
    let public = der::subject_public_key(spki).and_then(|value| ssh_public(suite, value));
    let blob = blob_of(output);
    let taken = blob.as_deref().and_then(Taken::parse);
    taken.zip(public).is_some_and(|(taken, public)| taken.public == public)
}

/// A blob taken apart.
struct Taken<'b> {
    public: &'b [u8],
    namespace: &'b [u8],
    signature: &'b [u8],
}

impl<'b> Taken<'b> {
    fn parse(blob: &'b [u8]) -> Option<Self> {
        let rest = blob.strip_prefix(MAGIC)?.strip_prefix(&VERSION.to_be_bytes())?;
        let mut fields = Fields(rest);
        let (public, namespace) = (fields.string()?, fields.string()?);
        let (reserved, hash, signature) = (fields.string()?, fields.string()?, fields.string()?);
        let is_ours = reserved.is_empty() && hash == HASH && fields.0.is_empty();
        is_ours.then_some(Self { public, namespace, signature })
    }
}

/// What is left of a row of strings (RFC 4251, 5).
struct Fields<'b>(&'b [u8]);

impl<'b> Fields<'b> {
    fn string(&mut self) -> Option<&'b [u8]> {
        let (length, rest) = self.0.split_first_chunk::<4>()?;
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
        let (string, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some(string)
    }
}

#[cfg(test)]
mod tests;
