//! What a cosigner signs of a checkpoint, and how its signature says when (C2SP tlog-cosignature v1.1.0).
//!
//! ```text
//! signature       = time in seconds (8) ‖ Ed25519 (64) or ML-DSA-44 (2 420)
//!
//! Ed25519 signs     "cosignature/v1\n" "time " time "\n" the checkpoint's text
//! ML-DSA-44 signs   "subtree/v1\n\0" ‖ length (1) ‖ cosigner's name ‖ time (8) ‖ length (1) ‖ origin
//!                   ‖ start (8) ‖ end (8) ‖ root hash (32)
//! ```
//!
//! A log signs its own checkpoints with ML-DSA-44 in the same form, as the cosigner whose name is its origin.
//! Of subtrees only those that start at 0, which are checkpoints, are signed here.

use crate::checkpoint::Checkpoint;
use crate::note::KeyName;

/// The label of ML-DSA cosignatures.
const SUBTREE_LABEL: &[u8; 12] = b"subtree/v1\n\0";

/// The latest time that may stand in a cosignature, in seconds since 1970.
pub const TIME_MAX: u64 = i64::MAX.cast_unsigned();

/// What Ed25519 signs of a checkpoint at `time_s`, in seconds since 1970.
#[must_use]
pub fn ed25519_message(checkpoint: &Checkpoint, time_s: u64) -> Vec<u8> {
    format!("cosignature/v1\ntime {time_s}\n{checkpoint}").into_bytes()
}

/// What ML-DSA-44 signs of a checkpoint at `time_s`, in seconds since 1970. `None` if a name has more than
/// 255 bytes.
#[must_use]
pub fn ml_dsa_44_message(
    cosigner: &KeyName,
    checkpoint: &Checkpoint,
    time_s: u64,
) -> Option<Vec<u8>> {
    let mut message = SUBTREE_LABEL.to_vec();
    push_name(&mut message, cosigner)?;
    message.extend_from_slice(&time_s.to_be_bytes());
    push_name(&mut message, &checkpoint.origin)?;
    message.extend_from_slice(&0_u64.to_be_bytes());
    message.extend_from_slice(&checkpoint.tree.size.to_be_bytes());
    message.extend_from_slice(checkpoint.tree.root.as_bytes());
    Some(message)
}

fn push_name(message: &mut Vec<u8>, name: &KeyName) -> Option<()> {
    let name = name.as_str().as_bytes();
    message.push(u8::try_from(name.len()).ok()?);
    message.extend_from_slice(name);
    Some(())
}

/// The bytes of a signature line: when, and what was signed then.
#[must_use]
pub fn with_time(time_s: u64, signature: &[u8]) -> Vec<u8> {
    [time_s.to_be_bytes().as_slice(), signature].concat()
}

/// When, and the signature itself; `None` if there is no time, or one that may not be.
#[must_use]
pub fn split_time(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (time, signature) = bytes.split_first_chunk::<8>()?;
    let time_s = u64::from_be_bytes(*time);
    (time_s <= TIME_MAX).then_some((time_s, signature))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkpoint() -> Checkpoint {
        "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"
            .parse()
            .unwrap()
    }

    #[test]
    fn ed25519_signs_what_the_specification_shows() {
        let expected = "cosignature/v1\ntime 1679315147\nexample.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n";
        assert_eq!(ed25519_message(&checkpoint(), 1_679_315_147), expected.as_bytes());
    }

    #[test]
    fn ml_dsa_signs_every_field_with_its_length() {
        let name = "w.example".parse().unwrap();
        let checkpoint = checkpoint();
        let message = ml_dsa_44_message(&name, &checkpoint, 5).unwrap();
        let expected = [
            b"subtree/v1\n\0\x09w.example".as_slice(),
            &5_u64.to_be_bytes(),
            b"\x1bexample.com/behind-the-sofa",
            &[0; 8],
            &20_852_163_u64.to_be_bytes(),
            checkpoint.tree.root.as_bytes(),
        ];
        assert_eq!(message, expected.concat());
        let long = "n".repeat(256).parse().unwrap();
        assert_eq!(ml_dsa_44_message(&long, &checkpoint, 5), None);
    }

    #[test]
    fn a_time_comes_off_as_it_was_put_on() {
        assert_eq!(split_time(&with_time(7, b"signature")), Some((7, b"signature".as_slice())));
        assert_eq!(split_time(&with_time(TIME_MAX + 1, b"signature")), None);
        assert_eq!(split_time(b"short"), None);
    }
}
