//! Checkpoints: the size and root of a log's tree, as the text of a note (C2SP tlog-checkpoint v1.0.0).
//!
//! ```text
//! origin "\n" size in decimal "\n" base64(root hash) "\n"
//! ```
//!
//! Narrowed: there are no extension lines, since an ML-DSA signature would not cover them.
//!
//! **Invariant:** a checkpoint has one spelling; what is read and written again is the same bytes.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::hash::Hash;
use crate::note::{KeyName, NoteError};
use crate::proof::TreeHead;
use crate::tree::TREE_SIZE_MAX;

/// The state of one log, as its operator states it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Which log.
    pub origin: KeyName,
    /// Its tree.
    pub tree: TreeHead,
}

/// The text is no checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a checkpoint")]
pub struct CheckpointError;

impl From<NoteError> for CheckpointError {
    fn from(_: NoteError) -> Self {
        Self
    }
}

impl FromStr for Checkpoint {
    type Err = CheckpointError;

    fn from_str(text: &str) -> Result<Self, CheckpointError> {
        let mut lines = text.strip_suffix('\n').ok_or(CheckpointError)?.split('\n');
        let (Some(origin), Some(size), Some(root), None) =
            (lines.next(), lines.next(), lines.next(), lines.next())
        else {
            return Err(CheckpointError);
        };
        let size = parse_decimal(size).filter(|size| *size <= TREE_SIZE_MAX);
        let root = parse_hash(root).ok_or(CheckpointError)?;
        let tree = TreeHead { size: size.ok_or(CheckpointError)?, root };
        Ok(Self { origin: origin.parse()?, tree })
    }
}

impl fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let root = encode_hash(&self.tree.root);
        write!(f, "{}\n{}\n{root}\n", self.origin, self.tree.size)
    }
}

/// A hash in base64 (RFC 4648, 4).
pub(crate) fn encode_hash(hash: &Hash) -> String {
    STANDARD.encode(hash.as_bytes())
}

pub(crate) fn parse_hash(text: &str) -> Option<Hash> {
    let bytes: [u8; 32] = STANDARD.decode(text).ok()?.try_into().ok()?;
    Some(Hash::from(bytes))
}

/// A number in decimal, without sign or leading zero.
pub(crate) fn parse_decimal(text: &str) -> Option<u64> {
    let number: u64 = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::EMPTY_ROOT;

    const TEXT: &str =
        "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n";

    #[test]
    fn the_example_of_the_specification_is_read_and_written() {
        let checkpoint: Checkpoint = TEXT.parse().unwrap();
        assert_eq!(checkpoint.origin.as_str(), "example.com/behind-the-sofa");
        assert_eq!(checkpoint.tree.size, 20_852_163);
        assert_eq!(checkpoint.to_string(), TEXT);
    }

    #[test]
    fn an_empty_tree_has_a_checkpoint() {
        let tree = TreeHead { size: 0, root: EMPTY_ROOT };
        let checkpoint = Checkpoint { origin: "a".parse().unwrap(), tree };
        assert_eq!(checkpoint.to_string().parse(), Ok(checkpoint));
    }

    #[test]
    fn every_other_spelling_is_refused() {
        let root = "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=";
        for text in [
            format!("a\n1\n{root}"),
            format!("a\n01\n{root}\n"),
            format!("a\n+1\n{root}\n"),
            format!("a\n-1\n{root}\n"),
            format!("a\n\n{root}\n"),
            format!("\n1\n{root}\n"),
            format!("a b\n1\n{root}\n"),
            format!("a\n1\n{root}\nextension\n"),
            format!("a\n1\n{}\n", &root[..40]),
            format!("a\n9223372036854775808\n{root}\n"),
            "a\n1\n".into(),
        ] {
            assert_eq!(text.parse::<Checkpoint>(), Err(CheckpointError), "{text:?}");
        }
    }
}
