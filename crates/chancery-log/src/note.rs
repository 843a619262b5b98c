//! Signed notes: a text with the signatures of named keys (C2SP signed-note v1.0.0).
//!
//! ```text
//! note      = text "\n" signature line …          the text ends in a line feed
//! line      = "— " key name " " base64(key id (4) ‖ signature) "\n"
//! key id    = SHA-256(key name ‖ "\n" ‖ signature type (1) ‖ public key)[:4]
//! vkey      = key name "+" hex(key id) "+" base64(signature type (1) ‖ public key)
//! ```
//!
//! Narrowed: a note has at most [`NOTE_BYTES_MAX`] bytes and [`NOTE_SIGNATURES_MAX`] signatures, a signature
//! line has one spelling, and a vkey's id must be the recommended one.
//!
//! **Invariant:** the text of a note is not to be had before its signatures were looked at:
//! [`Note::verify`] alone gives it out, as a [`Signed`].
//!
//! How a signature is checked is behind [`NoteVerifier`]; no key is held here.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

/// The longest note: 64 KiB. Sixteen ML-DSA-44 cosignatures take 53 KiB.
pub const NOTE_BYTES_MAX: usize = 64 * 1024;

/// The most signatures a note may have: 32; the specification asks for at least 16.
pub const NOTE_SIGNATURES_MAX: usize = 32;

/// What a signature line begins with.
const LINE_START: &str = "\u{2014} ";

/// The kinds of signatures that are used here, by their type byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum SignatureType {
    /// Ed25519 over the note's text.
    Ed25519 = 0x01,
    /// A cosignature over a checkpoint, with a time (C2SP tlog-cosignature).
    Ed25519Cosignature = 0x04,
    /// A cosignature over a checkpoint or subtree (C2SP tlog-cosignature).
    MlDsa44Cosignature = 0x06,
}

impl SignatureType {
    fn from_byte(byte: u8) -> Option<Self> {
        [Self::Ed25519, Self::Ed25519Cosignature, Self::MlDsa44Cosignature]
            .into_iter()
            .find(|kind| *kind as u8 == byte)
    }
}

/// The text is no note, no key, or not signed as it must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoteError {
    /// A signature by a known key does not hold.
    #[error("a signature by a known key does not verify")]
    BadSignature,
    /// A name is empty, or has spaces, control characters or a plus sign.
    #[error("a key name is not empty and has no space, control character or `+`")]
    KeyName,
    /// The text is not of the form of a note.
    #[error("not a signed note")]
    NotANote,
    /// The text is not of the form of a verifier key.
    #[error("not a verifier key")]
    NotAVerifierKey,
    /// It is longer, or has more signatures, than is read.
    #[error("a note has at most {NOTE_BYTES_MAX} bytes and {NOTE_SIGNATURES_MAX} signatures")]
    TooLarge,
    /// None of the known keys signed it.
    #[error("no known key signed the note")]
    Unsigned,
}

/// The name of a key: what its owner calls itself.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyName(String);

impl KeyName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for KeyName {
    type Err = NoteError;

    fn from_str(text: &str) -> Result<Self, NoteError> {
        let is_bad = |c: char| c.is_whitespace() || c.is_control() || c == '+';
        if text.is_empty() || text.chars().any(is_bad) {
            return Err(NoteError::KeyName);
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A short name of a key and its signature type. Not collision-resistant, and need not be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NoteKeyId([u8; 4]);

/// A public key that signs notes, with its name and type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifierKey {
    name: KeyName,
    id: NoteKeyId,
    kind: SignatureType,
    public: Vec<u8>,
}

impl VerifierKey {
    /// The key of that name. `public` is encoded as its type says: 32 bytes for Ed25519, 1 312 for ML-DSA-44.
    ///
    /// # Errors
    ///
    /// [`NoteError::NotAVerifierKey`] if `public` has another length.
    pub fn new(name: KeyName, kind: SignatureType, public: &[u8]) -> Result<Self, NoteError> {
        let expected = match kind {
            SignatureType::Ed25519 | SignatureType::Ed25519Cosignature => 32,
            SignatureType::MlDsa44Cosignature => 1_312,
        };
        if public.len() != expected {
            return Err(NoteError::NotAVerifierKey);
        }
        let id = key_id(&name, kind, public);
        Ok(Self { name, id, kind, public: public.to_vec() })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &KeyName {
        &self.name
    }

    /// The kind of its signatures.
    #[must_use]
    pub fn kind(&self) -> SignatureType {
        self.kind
    }

    /// The public key, encoded as its type says.
    #[must_use]
    pub fn public(&self) -> &[u8] {
        &self.public
    }

    /// A signature of this key, to be put under a note.
    #[must_use]
    pub fn signature(&self, bytes: &[u8]) -> NoteSignature {
        NoteSignature { name: self.name.clone(), id: self.id, bytes: bytes.to_vec() }
    }

    /// Whether a signature says that this key made it.
    #[must_use]
    pub fn made(&self, signature: &NoteSignature) -> bool {
        signature.id == self.id && signature.name == self.name
    }
}

fn key_id(name: &KeyName, kind: SignatureType, public: &[u8]) -> NoteKeyId {
    let hash = Sha256::new().chain_update(name.as_str()).chain_update([b'\n', kind as u8]);
    let hash: [u8; 32] = hash.chain_update(public).finalize().into();
    let [a, b, c, d, ..] = hash;
    NoteKeyId([a, b, c, d])
}

impl FromStr for VerifierKey {
    type Err = NoteError;

    fn from_str(text: &str) -> Result<Self, NoteError> {
        let refused = NoteError::NotAVerifierKey;
        let mut parts = text.splitn(3, '+');
        let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(refused);
        };
        let key = STANDARD.decode(key).map_err(|_| refused)?;
        let (kind, public) = key.split_first().ok_or(refused)?;
        let kind = SignatureType::from_byte(*kind).ok_or(refused)?;
        let key = Self::new(name.parse()?, kind, public)?;
        if key.id.to_string() == id { Ok(key) } else { Err(refused) }
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = STANDARD.encode([&[self.kind as u8], self.public.as_slice()].concat());
        write!(f, "{}+{}+{key}", self.name, self.id)
    }
}

impl fmt::Display for NoteKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A signature line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoteSignature {
    name: KeyName,
    id: NoteKeyId,
    bytes: Vec<u8>,
}

impl NoteSignature {
    /// Reads a line, which does not hold its line feed.
    pub(crate) fn parse(line: &str) -> Option<Self> {
        let (name, signature) = line.strip_prefix(LINE_START)?.split_once(' ')?;
        let decoded = STANDARD.decode(signature).ok()?;
        let (id, bytes) = decoded.split_first_chunk::<4>()?;
        let is_empty = bytes.is_empty();
        let name = name.parse().ok()?;
        (!is_empty).then(|| Self { name, id: NoteKeyId(*id), bytes: bytes.to_vec() })
    }

    /// The signature's own bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl fmt::Display for NoteSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let signature = STANDARD.encode([self.id.0.as_slice(), &self.bytes].concat());
        writeln!(f, "{LINE_START}{} {signature}", self.name)
    }
}

/// Checks the signatures of one key.
pub trait NoteVerifier {
    /// The key.
    fn key(&self) -> &VerifierKey;

    /// Whether `signature` is the key's over `text`.
    fn verifies(&self, text: &str, signature: &[u8]) -> bool;
}

/// A note whose signatures were not checked yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    text: String,
    signatures: Vec<NoteSignature>,
}

/// A note with a known key's signature, and which of the known keys signed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    text: String,
    by: Vec<VerifierKey>,
}

impl Signed {
    /// The text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The known keys whose signatures hold, in the order in which they were known.
    #[must_use]
    pub fn by(&self) -> &[VerifierKey] {
        &self.by
    }
}

impl Note {
    /// A note of `text`, without signatures yet.
    ///
    /// # Errors
    ///
    /// [`NoteError::NotANote`] if the text does not end in a line feed, or has control characters;
    /// [`NoteError::TooLarge`].
    pub fn new(text: &str) -> Result<Self, NoteError> {
        if text.len() > NOTE_BYTES_MAX {
            return Err(NoteError::TooLarge);
        }
        if !text.ends_with('\n') || text.bytes().any(|byte| byte < 0x20 && byte != b'\n') {
            return Err(NoteError::NotANote);
        }
        Ok(Self { text: text.to_owned(), signatures: Vec::new() })
    }

    /// Puts a signature under it.
    pub fn add(&mut self, signature: NoteSignature) {
        self.signatures.push(signature);
    }

    /// The same text with these signatures, and no others.
    #[must_use]
    pub fn with_signatures(&self, signatures: Vec<NoteSignature>) -> Self {
        Self { text: self.text.clone(), signatures }
    }

    /// Its text, which nobody may have signed.
    #[must_use]
    pub fn unverified_text(&self) -> &str {
        &self.text
    }

    /// Its signatures, unchecked.
    #[must_use]
    pub fn signatures(&self) -> &[NoteSignature] {
        &self.signatures
    }

    /// Reads a note with its signatures.
    ///
    /// # Errors
    ///
    /// [`NoteError::NotANote`] or [`NoteError::TooLarge`].
    pub fn parse(bytes: &[u8]) -> Result<Self, NoteError> {
        if bytes.len() > NOTE_BYTES_MAX {
            return Err(NoteError::TooLarge);
        }
        let note = std::str::from_utf8(bytes).map_err(|_| NoteError::NotANote)?;
        // The last empty line parts the text from the signatures.
        let (text, lines) = note.rsplit_once("\n\n").ok_or(NoteError::NotANote)?;
        let mut parsed = Self::new(&format!("{text}\n"))?;
        let lines = lines.strip_suffix('\n').ok_or(NoteError::NotANote)?;
        for line in lines.split('\n') {
            if parsed.signatures.len() == NOTE_SIGNATURES_MAX {
                return Err(NoteError::TooLarge);
            }
            parsed.add(NoteSignature::parse(line).ok_or(NoteError::NotANote)?);
        }
        Ok(parsed)
    }

    /// Checks the signatures of the keys that are known, and gives the text out. Signatures of others are
    /// passed over.
    ///
    /// # Errors
    ///
    /// [`NoteError::BadSignature`] if one of a known key does not hold; [`NoteError::Unsigned`] if there is
    /// none.
    pub fn verify(self, known: &[&dyn NoteVerifier]) -> Result<Signed, NoteError> {
        let mut by = Vec::new();
        for verifier in known {
            let mut made = self.signatures.iter().filter(|one| verifier.key().made(one)).peekable();
            let has_signed = made.peek().is_some();
            if !made.all(|one| verifier.verifies(&self.text, &one.bytes)) {
                return Err(NoteError::BadSignature);
            }
            if has_signed {
                by.push(verifier.key().clone());
            }
        }
        if by.is_empty() {
            return Err(NoteError::Unsigned);
        }
        Ok(Signed { text: self.text, by })
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.text)?;
        self.signatures.iter().try_for_each(|signature| signature.fmt(f))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the specification.
    const VKEY: &str = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";
    const NOTE: &str = "This is an example message.\n\n\u{2014} example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n";

    /// Takes one signature for good.
    struct Knows {
        key: VerifierKey,
        good: Vec<u8>,
    }

    impl NoteVerifier for Knows {
        fn key(&self) -> &VerifierKey {
            &self.key
        }

        fn verifies(&self, _: &str, signature: &[u8]) -> bool {
            signature == self.good
        }
    }

    fn example() -> (Note, Knows) {
        let note = Note::parse(NOTE.as_bytes()).unwrap();
        let good = note.signatures()[0].bytes().to_vec();
        (note, Knows { key: VKEY.parse().unwrap(), good })
    }

    #[test]
    fn the_example_of_the_specification_is_read_and_written() {
        let (note, knows) = example();
        assert_eq!(note.to_string(), NOTE);
        assert_eq!(knows.key.to_string(), VKEY);
        let signed = note.verify(&[&knows]).unwrap();
        assert_eq!(signed.text(), "This is an example message.\n");
        assert_eq!(signed.by(), [knows.key]);
    }

    #[test]
    fn a_signature_of_a_stranger_is_passed_over_and_a_bad_one_of_a_friend_is_not() {
        let (note, mut knows) = example();
        let stranger = "example.org/bar".parse().unwrap();
        let stranger = VerifierKey::new(stranger, SignatureType::Ed25519, &[7; 32]).unwrap();
        let strange = Knows { key: stranger.clone(), good: vec![1] };
        assert_eq!(note.clone().verify(&[&strange]), Err(NoteError::Unsigned));
        let mut both = note.clone();
        both.add(stranger.signature(&[2]));
        assert_eq!(both.clone().verify(&[&knows]).unwrap().by().len(), 1);
        assert_eq!(both.verify(&[&knows, &strange]), Err(NoteError::BadSignature));
        knows.good = vec![1];
        assert_eq!(note.verify(&[&knows]), Err(NoteError::BadSignature));
    }

    #[test]
    fn what_is_no_note_is_refused() {
        for text in [
            "",
            "\n",
            "no signature\n",
            "no signature\n\n",
            "no line feed at the end\n\n\u{2014} a AAAAAAA=",
            "a hyphen\n\n- a AAAAAAA=\n",
            "no key id\n\n\u{2014} a AAA=\n",
            "no signature behind the key id\n\n\u{2014} a AAAAAA==\n",
            "another base64\n\n\u{2014} a AAAAAAA\n",
            "two spaces\n\n\u{2014} a  AAAAAAA=\n",
            "a tab\there\n\n\u{2014} a AAAAAAA=\n",
            "a plus in the name\n\n\u{2014} a+b AAAAAAA=\n",
        ] {
            assert_eq!(Note::parse(text.as_bytes()), Err(NoteError::NotANote), "{text:?}");
        }
        assert_eq!(Note::parse(b"\xff\n\n"), Err(NoteError::NotANote));
    }

    #[test]
    fn the_text_may_hold_empty_lines() {
        let text = "one\n\ntwo\n\n\u{2014} a AAAAAAA=\n";
        assert_eq!(Note::parse(text.as_bytes()).unwrap().text, "one\n\ntwo\n");
    }

    #[test]
    fn as_many_signatures_are_read_as_may_be_and_no_more() {
        let line = "\u{2014} a AAAAAAA=\n";
        let note = |count: usize| format!("text\n\n{}", line.repeat(count));
        assert!(Note::parse(note(NOTE_SIGNATURES_MAX).as_bytes()).is_ok());
        let refused = Note::parse(note(NOTE_SIGNATURES_MAX + 1).as_bytes());
        assert_eq!(refused, Err(NoteError::TooLarge));
    }

    #[test]
    fn a_key_of_another_id_length_or_kind_is_refused() {
        for text in [
            "example.com/foo+530d903b+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
            "example.com/foo+530D903A+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
            "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3Q==",
            "example.com/foo+530d903a+/+kyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
            "example.com/foo+530d903a",
        ] {
            assert_eq!(text.parse::<VerifierKey>(), Err(NoteError::NotAVerifierKey), "{text}");
        }
    }
}
