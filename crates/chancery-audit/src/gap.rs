//! The statement that a log is retired: where it ends as it is here, what is remembered of it elsewhere, who says so.
//!
//! ```text
//! chancery audit gap 1
//! origin NAME                the log that is retired
//! log HEX                    its id
//! size N                     so many records are here and hold, from the first
//! root HEX                   the tree over them
//! head HEX                   the head of their last frame; - where there is none
//! finding TEXT               why the log does not hold behind them; - where it does
//! remembered N HEX WHO       size and root of a tree that is remembered, a line for each, as they were found
//! reason CODE                one of the registered causes
//! at N                       milliseconds since 1970
//! operator UUID              the principal
//! key HEX                    its Ed25519 public key
//! signature HEX              of that key, over AUDIT_GAP ‖ every line before
//! approved UUID HEX HEX      another principal, its key, and that one's signature over AUDIT_GAP_APPROVAL ‖ every line to
//!                            `signature`; a line for each, in the order in which they were given
//! ```
//!
//! What follows the retired log publishes the statement as `log/gap`, with two lines more:
//!
//! ```text
//! successor NAME             the log that is begun in its place
//! vouched HEX                of that log's receipt key, over AUDIT_FOLLOWS ‖ every line before
//! ```
//!
//! **Invariant:** there is one text for one statement: what is parsed is written again and compared.

use std::fmt::Write as _;

use chancery_core::id::PrincipalId;
use chancery_core::limits::APPROVALS_MAX;
use chancery_core::retirement::Cause;
use chancery_core::suite::Suite;
use chancery_crypto::key::{PrivateKey, PublicKey};
use chancery_crypto::labels;
use chancery_crypto::primitive::sha256;
use chancery_log::{Hash, TreeHead};

use crate::frame::Head;
use crate::origin::{ED25519_SPKI_PREFIX, Origin, hex};

const FORMAT: &str = "chancery audit gap 1";

/// What stands for nothing.
const NONE: &str = "-";

/// The most trees that a statement names: resume file, lock record, checkpoint, and what 64 others showed.
pub const REMEMBERED_MAX: usize = 67;

/// The longest finding, in bytes: 256, a file's name and what is wrong with it.
pub const FINDING_BYTES_MAX: usize = 256;

/// The longest statement, in bytes: 16 KiB; one with every line at its longest has some 9 000.
pub const GAP_BYTES_MAX: usize = 16 * 1024;

const _: () = assert!(REMEMBERED_MAX * 128 + FINDING_BYTES_MAX + 1_024 <= GAP_BYTES_MAX);

/// A tree that is remembered somewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remembered {
    /// Where: a word such as `lock-record`, at most 24 letters, digits and hyphens.
    pub who: String,
    /// The tree.
    pub tree: TreeHead,
}

/// What is said of a log that is retired.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The log's name.
    pub origin: String,
    /// The log's id.
    pub log_id: [u8; 32],
    /// The records that are here and hold.
    pub here: TreeHead,
    /// The head of their last frame, if there is one.
    pub head: Option<Head>,
    /// Why the log does not hold behind them, if it does not.
    pub finding: Option<String>,
    /// What is remembered.
    pub remembered: Vec<Remembered>,
    /// Why the log is retired.
    pub cause: Cause,
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// By whom.
    pub operator: PrincipalId,
    /// The Ed25519 public key of the operator.
    pub key: [u8; 32],
}

/// It is no statement that was signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is no statement of a gap that an operator has signed, or it was altered")]
pub struct GapError;

/// Somebody else's approval of a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Approval {
    /// Who.
    pub principal: PrincipalId,
    /// The Ed25519 public key of theirs.
    pub key: [u8; 32],
}

/// A statement, signed by its operator, and by who has approved it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedGap {
    gap: Gap,
    approvals: Vec<Approval>,
    text: String,
}

impl Gap {
    /// The largest tree that is remembered; what is here, if nothing is.
    #[must_use]
    pub fn largest(&self) -> TreeHead {
        let trees = self.remembered.iter().map(|known| known.tree);
        trees.max_by_key(|tree| tree.size).unwrap_or(self.here)
    }

    /// The log's own part of its name.
    #[must_use]
    pub fn short_name(&self) -> &str {
        self.origin.rsplit('/').next().unwrap_or_default()
    }

    /// What whoever asks for the log before is told.
    #[must_use]
    pub fn told(&self) -> String {
        let remembered = self.remembered.iter().map(|known| known.tree.size).max();
        let remembered = remembered.map_or("none".into(), |size| size.to_string());
        format!(
            "this log follows {}, which was retired ({}) with {} records here, of {remembered} remembered",
            self.origin, self.cause, self.here.size
        )
    }

    fn lines(&self) -> String {
        let Self { origin, here, cause, at_ms, operator, .. } = self;
        let head = self.head.map_or(NONE.into(), |head| hex(&head.to_bytes()));
        let finding = self.finding.as_deref().unwrap_or(NONE);
        let mut lines = format!(
            "{FORMAT}\norigin {origin}\nlog {}\nsize {}\nroot {}\nhead {head}\nfinding {finding}\n",
            hex(&self.log_id),
            here.size,
            hex(here.root.as_bytes())
        );
        for Remembered { who, tree } in &self.remembered {
            // Writing to a `String` cannot fail.
            let _ = writeln!(lines, "remembered {} {} {who}", tree.size, hex(tree.root.as_bytes()));
        }
        let key = hex(&self.key);
        let _ = write!(lines, "reason {cause}\nat {at_ms}\noperator {operator}\nkey {key}\n");
        lines
    }

    /// Signs it with the operator's key, whose public half it must name.
    ///
    /// # Errors
    ///
    /// [`GapError`] if the key does not sign or is another one, or a line is none.
    pub fn sign(self, key: &PrivateKey) -> Result<SignedGap, GapError> {
        let lines = self.lines();
        let signature = key.sign(&[labels::AUDIT_GAP, lines.as_bytes()].concat());
        let signature = signature.map_err(|_| GapError)?;
        let signed = SignedGap::parse(format!("{lines}signature {}\n", hex(&signature)).as_bytes());
        signed.ok().filter(|signed| signed.gap == self).ok_or(GapError)
    }
}

impl SignedGap {
    /// Reads a statement.
    ///
    /// # Errors
    ///
    /// [`GapError`] if the key that it names has not signed exactly that.
    pub fn parse(bytes: &[u8]) -> Result<Self, GapError> {
        let text = std::str::from_utf8(bytes).map_err(|_| GapError)?;
        let is_short = text.len() <= GAP_BYTES_MAX;
        let gap = read(text).filter(|_| is_short).ok_or(GapError)?;
        let lines = gap.lines();
        let rest = text.strip_prefix(&lines).ok_or(GapError)?;
        let end = rest.find('\n').ok_or(GapError)? + 1;
        let (signature, rest) = rest.split_at_checked(end).ok_or(GapError)?;
        let signature = field::<64>(signature, "signature ").ok_or(GapError)?;
        verify(&gap.key, &[labels::AUDIT_GAP, lines.as_bytes()], &signature)?;
        let mut signed = Self { gap, approvals: Vec::new(), text: text.to_owned() };
        let stated = signed.stated().to_owned();
        for line in rest.split_inclusive('\n') {
            let approval = read_approval(line, &stated).filter(|one| signed.takes(one));
            signed.approvals.push(approval.ok_or(GapError)?);
        }
        Ok(signed)
    }

    /// The statement with its signature, without approvals.
    fn stated(&self) -> &str {
        let end = self.text.find("\nsignature ").map_or(0, |start| start + 1);
        let (_, rest) = self.text.split_at(end);
        let line = rest.find('\n').map_or(rest.len(), |length| length + 1);
        self.text.get(..end + line).unwrap_or_default()
    }

    /// Whether an approval is of somebody else than whoever has signed until now, and there is room for it.
    fn takes(&self, approval: &Approval) -> bool {
        let is_new = |id, key| id != approval.principal && key != approval.key;
        is_new(self.gap.operator, self.gap.key)
            && self.approvals.iter().all(|known| is_new(known.principal, known.key))
            && self.approvals.len() < usize::from(APPROVALS_MAX)
    }

    /// The same, approved by somebody else with their key.
    ///
    /// # Errors
    ///
    /// [`GapError`] if they have signed it already, or the key does not sign.
    pub fn approve(&self, principal: PrincipalId, key: &PrivateKey) -> Result<Self, GapError> {
        let public = Origin::of_signer(key).map_err(|_| GapError)?.receipt_key;
        let signature = key.sign(&[labels::AUDIT_GAP_APPROVAL, self.stated().as_bytes()].concat());
        let signature = hex(&signature.map_err(|_| GapError)?);
        let text = format!("{}approved {principal} {} {signature}\n", self.text, hex(&public));
        Self::parse(text.as_bytes())
    }

    /// Who has approved it.
    #[must_use]
    pub fn approvals(&self) -> &[Approval] {
        &self.approvals
    }

    /// What it says.
    #[must_use]
    pub fn gap(&self) -> &Gap {
        &self.gap
    }

    /// Its text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// SHA-256 of its text.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        sha256(&[self.text.as_bytes()])
    }

    /// The text that the log behind the gap publishes, by its receipt key.
    ///
    /// # Errors
    ///
    /// [`GapError`] if the key does not sign.
    pub fn published(&self, successor: &Origin, key: &PrivateKey) -> Result<String, GapError> {
        let lines = self.followed_by(successor);
        let signature = key.sign(&[labels::AUDIT_FOLLOWS, lines.as_bytes()].concat());
        Ok(format!("{lines}vouched {}\n", hex(&signature.map_err(|_| GapError)?)))
    }

    /// Reads what the log of that origin has published.
    ///
    /// # Errors
    ///
    /// [`GapError`] if operator and log have not signed exactly that.
    pub fn parse_published(bytes: &[u8], successor: &Origin) -> Result<Self, GapError> {
        let text = std::str::from_utf8(bytes).map_err(|_| GapError)?;
        let end = text.find("\nsuccessor ").ok_or(GapError)? + 1;
        let (statement, rest) = text.split_at_checked(end).ok_or(GapError)?;
        let signed = Self::parse(statement.as_bytes())?;
        let lines = signed.followed_by(successor);
        let own = lines.strip_prefix(statement).ok_or(GapError)?;
        let vouched = field::<64>(rest.strip_prefix(own).ok_or(GapError)?, "vouched ");
        let parts = [labels::AUDIT_FOLLOWS, lines.as_bytes()];
        verify(&successor.receipt_key, &parts, &vouched.ok_or(GapError)?)?;
        Ok(signed)
    }

    fn followed_by(&self, successor: &Origin) -> String {
        format!("{}successor {}\n", self.text, successor.name())
    }
}

fn verify(key: &[u8; 32], parts: &[&[u8]; 2], signature: &[u8; 64]) -> Result<(), GapError> {
    let spki = [ED25519_SPKI_PREFIX.as_slice(), key].concat();
    let key = PublicKey::from_spki(Suite::Ed25519, &spki).map_err(|_| GapError)?;
    key.verify(&parts.concat(), signature).map_err(|_| GapError)
}

/// An approval of what is stated, if it is one line and its signature holds.
fn read_approval(line: &str, stated: &str) -> Option<Approval> {
    let rest = line.strip_prefix("approved ")?.strip_suffix('\n')?;
    let (principal, rest) = rest.split_once(' ')?;
    let (key, signature) = rest.split_once(' ')?;
    let (principal, key) = (principal.parse().ok()?, unhex(key)?);
    let parts = [labels::AUDIT_GAP_APPROVAL, stated.as_bytes()];
    verify(&key, &parts, &unhex(signature)?).ok()?;
    Some(Approval { principal, key })
}

/// The bytes in the one line that there is.
fn field<const N: usize>(line: &str, name: &str) -> Option<[u8; N]> {
    unhex(line.strip_prefix(name)?.strip_suffix('\n')?)
}

fn read(text: &str) -> Option<Gap> {
    let mut lines = text.lines().peekable();
    (lines.next()? == FORMAT).then_some(())?;
    let origin = lines.next()?.strip_prefix("origin ")?.to_owned();
    let log_id = unhex(lines.next()?.strip_prefix("log ")?)?;
    let size = lines.next()?.strip_prefix("size ")?.parse().ok()?;
    let root = Hash::from(unhex::<32>(lines.next()?.strip_prefix("root ")?)?);
    let head = match lines.next()?.strip_prefix("head ")? {
        NONE => None,
        digits => Some(Head::parse(&unhex::<HEAD_BYTES>(digits)?)?),
    };
    let finding = match lines.next()?.strip_prefix("finding ")? {
        NONE => None,
        finding => Some(finding.to_owned()),
    };
    let mut remembered = Vec::new();
    while let Some(rest) = lines.peek().and_then(|line| line.strip_prefix("remembered ")) {
        remembered.push(read_remembered(rest)?);
        lines.next();
    }
    let cause = lines.next()?.strip_prefix("reason ")?.parse().ok()?;
    let at_ms = lines.next()?.strip_prefix("at ")?.parse().ok()?;
    let operator = lines.next()?.strip_prefix("operator ")?.parse().ok()?;
    let key = unhex(lines.next()?.strip_prefix("key ")?)?;
    let here = TreeHead { size, root };
    let gap = Gap { origin, log_id, here, head, finding, remembered, cause, at_ms, operator, key };
    is_bounded(&gap).then_some(gap)
}

fn read_remembered(text: &str) -> Option<Remembered> {
    let (size, rest) = text.split_once(' ')?;
    let (root, who) = rest.split_once(' ')?;
    let tree = TreeHead { size: size.parse().ok()?, root: Hash::from(unhex::<32>(root)?) };
    Some(Remembered { who: who.to_owned(), tree })
}

/// Whether each part is short, and of one line.
fn is_bounded(gap: &Gap) -> bool {
    let is_word = |who: &str| {
        (1..=24).contains(&who.len())
            && who.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    let is_line = |text: &str| {
        !text.is_empty() && text.len() <= FINDING_BYTES_MAX && !text.chars().any(char::is_control)
    };
    is_line(&gap.origin)
        && gap.finding.as_deref().is_none_or(|finding| is_line(finding) && finding != NONE)
        && gap.remembered.len() <= REMEMBERED_MAX
        && gap.remembered.iter().all(|known| is_word(&known.who))
}

/// The bytes of a head without its label.
const HEAD_BYTES: usize = 32 + 4 + 8 + 8 + 8 + 32 + 32;

fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let pairs = text.as_bytes().as_chunks::<2>().0.iter();
    let bytes = pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok());
    let bytes: [u8; N] = bytes.collect::<Option<Vec<u8>>>()?.try_into().ok()?;
    (hex(&bytes) == text).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> PrivateKey {
        PrivateKey::from_secret(Suite::Ed25519, &[byte; 32]).unwrap()
    }

    fn gap() -> Gap {
        let old = Origin::of_signer(&key(1)).unwrap();
        let here = TreeHead { size: 90, root: Hash::from([2; 32]) };
        let head = Head {
            log_id: old.log_id,
            incarnation: 1,
            number: 40,
            first_index: 88,
            tree_size: 90,
            tree_root: here.root,
            frame_root: Hash::from([3; 32]),
        };
        let tree = |size| TreeHead { size, root: Hash::from([4; 32]) };
        let remembered = |who: &str, size| Remembered { who: who.into(), tree: tree(size) };
        Gap {
            origin: old.name(),
            log_id: old.log_id,
            here,
            head: Some(head),
            finding: Some("`00.seg` is missing".into()),
            remembered: vec![remembered("lock-record", 120), remembered("seen-0", 100)],
            cause: Cause::Lost,
            at_ms: 1_795_996_800_000,
            operator: PrincipalId::from_bytes([5; 16]),
            key: Origin::of_signer(&key(9)).unwrap().receipt_key,
        }
    }

    fn every_altered_bit_is_found(text: &str, holds: impl Fn(&[u8]) -> bool) {
        assert!(holds(text.as_bytes()));
        for bit in 0..text.len() * 8 {
            let mut altered = text.as_bytes().to_vec();
            altered[bit / 8] ^= 1 << (bit % 8);
            assert!(!holds(&altered), "bit {bit}");
        }
    }

    #[test]
    fn a_statement_is_taken_as_its_operator_signed_it_and_not_otherwise() {
        let signed = gap().sign(&key(9)).unwrap();
        assert_eq!((signed.gap(), signed.gap().largest().size), (&gap(), 120));
        every_altered_bit_is_found(signed.text(), |bytes| SignedGap::parse(bytes).is_ok());
        let bare = Gap { head: None, finding: None, remembered: Vec::new(), ..gap() };
        let bare = bare.sign(&key(9)).unwrap();
        assert_eq!(SignedGap::parse(bare.text().as_bytes()), Ok(bare.clone()));
        assert_eq!(bare.gap().largest(), bare.gap().here);
    }

    #[test]
    fn what_follows_it_vouches_for_it() {
        let (signed, new) = (gap().sign(&key(9)).unwrap(), Origin::of_signer(&key(2)).unwrap());
        let published = signed.published(&new, &key(2)).unwrap();
        let read = |bytes: &[u8]| SignedGap::parse_published(bytes, &new);
        assert_eq!(read(published.as_bytes()), Ok(signed.clone()));
        every_altered_bit_is_found(&published, |bytes| read(bytes).is_ok());
        assert!(read(signed.published(&new, &key(3)).unwrap().as_bytes()).is_err());
        assert!(read(signed.text().as_bytes()).is_err());
        let other = Origin::of_signer(&key(3)).unwrap();
        assert!(read(signed.published(&other, &key(2)).unwrap().as_bytes()).is_err());
    }

    #[test]
    fn what_is_no_line_or_of_another_key_is_not_signed() {
        assert!(gap().sign(&key(8)).is_err());
        let finding = Some("a\nreason other".to_owned());
        assert!(Gap { finding, ..gap() }.sign(&key(9)).is_err());
        let who = "two words".to_owned();
        let remembered = vec![Remembered { who, tree: gap().here }];
        assert!(Gap { remembered, ..gap() }.sign(&key(9)).is_err());
        assert!(Gap { finding: Some(NONE.into()), ..gap() }.sign(&key(9)).is_err());
    }
}
