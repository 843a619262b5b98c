//! Whose checkpoints a witness cosigns: the `log` lines of a policy, by the origin that is their name.

use std::collections::BTreeMap;

use chancery_crypto::notes::NoteKey;
use chancery_log::note::{KeyName, NoteVerifier, VerifierKey};
use chancery_log::policy::Policy;

use crate::limits::KEYS_OF_LOG_MAX;

/// The longest origin, in bytes: what one byte of length can say (C2SP tlog-cosignature).
const ORIGIN_BYTES_MAX: usize = 255;

/// The logs that a witness knows.
pub struct Logs(BTreeMap<String, Vec<NoteKey>>);

/// A policy names no logs that can be witnessed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogsError {
    /// A key is none.
    #[error("the policy names a key that is none: {0}")]
    Key(VerifierKey),
    /// It names no log.
    #[error("the policy has no line `log VKEY`, so there is nothing to witness")]
    None,
    /// An origin is longer than a cosignature can say.
    #[error("`{0}` has more than {ORIGIN_BYTES_MAX} bytes, and no cosignature can name it")]
    TooLong(KeyName),
    /// A log has too many keys.
    #[error("`{0}` has more than {KEYS_OF_LOG_MAX} keys in the policy")]
    TooMany(KeyName),
}

impl Logs {
    /// The logs of a policy.
    ///
    /// # Errors
    ///
    /// [`LogsError`].
    pub fn of(policy: &Policy) -> Result<Self, LogsError> {
        let mut logs: BTreeMap<String, Vec<NoteKey>> = BTreeMap::new();
        for key in policy.logs().iter().map(|log| &log.key) {
            let note_key = NoteKey::new(key.clone()).map_err(|_| LogsError::Key(key.clone()))?;
            if key.name().as_str().len() > ORIGIN_BYTES_MAX {
                return Err(LogsError::TooLong(key.name().clone()));
            }
            let keys = logs.entry(key.name().to_string()).or_default();
            if keys.len() == KEYS_OF_LOG_MAX {
                return Err(LogsError::TooMany(key.name().clone()));
            }
            keys.push(note_key);
        }
        if logs.is_empty() { Err(LogsError::None) } else { Ok(Self(logs)) }
    }

    /// The keys that sign for an origin; none if it is unknown.
    #[must_use]
    pub fn keys(&self, origin: &KeyName) -> Vec<&dyn NoteVerifier> {
        let keys = self.0.get(origin.as_str()).into_iter().flatten();
        keys.map(|key| key as &dyn NoteVerifier).collect()
    }

    /// The origins.
    pub fn origins(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use chancery_crypto::notes::{CheckpointSeeds, CheckpointSigner};

    use super::*;

    fn line(origin: &str, byte: u8) -> String {
        let seeds = CheckpointSeeds { ed25519: &[byte; 32], ml_dsa_44: &[byte; 32] };
        let signer = CheckpointSigner::new(origin.parse().unwrap(), &seeds, None).unwrap();
        format!("log {}\n", signer.verifier_keys()[0])
    }

    fn logs(lines: &[String]) -> Result<Logs, LogsError> {
        Logs::of(&Policy::parse(&format!("{}quorum none\n", lines.concat())).unwrap())
    }

    #[test]
    fn keys_are_found_by_their_origin() {
        let logs = logs(&[line("a", 1), line("b", 2), line("a", 3)]).unwrap();
        let count = |origin: &str| logs.keys(&origin.parse().unwrap()).len();
        assert_eq!((count("a"), count("b"), count("c")), (2, 1, 0));
        assert_eq!(logs.origins().collect::<Vec<_>>(), ["a", "b"]);
    }

    #[test]
    fn a_log_has_so_many_keys_and_there_is_one_log_at_least() {
        assert_eq!(logs(&[]).err(), Some(LogsError::None));
        let mut lines: Vec<_> = (1..=8).map(|byte| line("a", byte)).collect();
        assert!(logs(&lines).is_ok());
        lines.push(line("a", 9));
        assert_eq!(logs(&lines).err(), Some(LogsError::TooMany("a".parse().unwrap())));
        assert!(logs(&[line(&"o".repeat(255), 1)]).is_ok());
        let long = "o".repeat(256);
        let refused = logs(&[line(&long, 1)]).err();
        assert_eq!(refused, Some(LogsError::TooLong(long.parse().unwrap())));
    }
}
