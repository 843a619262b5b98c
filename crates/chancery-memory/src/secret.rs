//! A box of secret bytes in the arena.
//!
//! Invariant: the bytes come out through [`SecretBytes::expose_secret`] alone, and are
//! zeroized when the box is dropped.
//!
//! The type has no `Clone`, no equality and no serialization, on purpose.

use std::fmt;

use crate::arena::{Arena, Exhausted, Slot};

/// Secret bytes of a fixed length, kept in an [`Arena`].
#[must_use]
pub struct SecretBytes {
    slot: Slot,
}

impl SecretBytes {
    /// Makes a secret of `len` bytes, written in place by `write`.
    ///
    /// The bytes handed to `write` are zero.
    ///
    /// # Errors
    ///
    /// [`Exhausted`] if the arena has no room.
    pub fn fill(
        arena: &Arena,
        len: usize,
        write: impl FnOnce(&mut [u8]),
    ) -> Result<Self, Exhausted> {
        Self::try_fill(arena, len, |bytes| {
            write(bytes);
            Ok(())
        })
    }

    /// Makes a secret of `len` bytes, written in place by `write`, which may fail.
    ///
    /// The bytes handed to `write` are zero; what it wrote before it failed is zeroized.
    ///
    /// # Errors
    ///
    /// [`Exhausted`] if the arena has no room; otherwise what `write` returned.
    pub fn try_fill<E: From<Exhausted>>(
        arena: &Arena,
        len: usize,
        write: impl FnOnce(&mut [u8]) -> Result<(), E>,
    ) -> Result<Self, E> {
        let mut slot = Slot::take(arena, len)?;
        write(slot.bytes_mut())?;
        Ok(Self { slot })
    }

    /// The secret bytes.
    ///
    /// # Security
    ///
    /// Whatever the caller copies out of the slice is no longer protected.
    #[must_use]
    pub fn expose_secret(&self) -> &[u8] {
        self.slot.bytes()
    }

    /// How many bytes there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slot.bytes().len()
    }

    /// Whether there are no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl fmt::Debug for SecretBytes {
    /// Writes neither the bytes nor how many there are.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretBytes([redacted])")
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    const CAPACITY: usize = 1 << 16;

    fn arena() -> Arena {
        Arena::with_capacity(CAPACITY).unwrap()
    }

    #[test]
    fn a_secret_is_what_was_written_in_place() {
        let secret = SecretBytes::fill(&arena(), 5, |bytes| bytes.copy_from_slice(b"12345"));
        let secret = secret.unwrap();
        assert_eq!(secret.expose_secret(), b"12345");
        assert_eq!((secret.len(), secret.is_empty()), (5, false));
    }

    #[test]
    fn a_secret_of_no_bytes_is_empty() {
        assert!(SecretBytes::fill(&arena(), 0, |_| ()).unwrap().is_empty());
    }

    #[test]
    fn a_dropped_secret_is_gone_from_its_slot() {
        let arena = arena();
        let secret = SecretBytes::fill(&arena, 32, |bytes| bytes.fill(0xa5)).unwrap();
        let place = secret.expose_secret().as_ptr();
        drop(secret);
        let again = SecretBytes::fill(&arena, 32, |_| ()).unwrap();
        assert_eq!(again.expose_secret().as_ptr(), place);
        assert_eq!(again.expose_secret(), [0; 32]);
    }

    #[derive(Debug, PartialEq)]
    enum WriteError {
        Exhausted,
        Refused,
    }

    impl From<Exhausted> for WriteError {
        fn from(_: Exhausted) -> Self {
            Self::Exhausted
        }
    }

    #[test]
    fn a_failed_write_leaves_nothing_behind() {
        let arena = arena();
        let failed = SecretBytes::try_fill(&arena, 32, |bytes| {
            bytes.fill(0xa5);
            Err(WriteError::Refused)
        });
        assert_eq!(failed.err(), Some(WriteError::Refused));
        assert_eq!(arena.in_use(), 0);
        let next = SecretBytes::fill(&arena, 32, |_| ()).unwrap();
        assert_eq!(next.expose_secret(), [0; 32]);
    }

    #[test]
    fn a_full_arena_is_an_error() {
        let arena = arena();
        let failed = SecretBytes::try_fill(&arena, CAPACITY + 1, |_| Ok::<_, WriteError>(()));
        assert_eq!(failed.err(), Some(WriteError::Exhausted));
        let error = SecretBytes::fill(&arena, CAPACITY + 1, |_| ()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "no room for 65537 bytes in the arena, 0 of 65536 are in use"
        );
    }

    #[test]
    fn a_secret_starts_at_a_multiple_of_sixteen() {
        let arena = arena();
        let secrets: Vec<_> =
            (1..100).map(|len| SecretBytes::fill(&arena, len, |_| ()).unwrap()).collect();
        assert!(secrets.iter().all(|secret| secret.expose_secret().as_ptr().addr() % 16 == 0));
    }

    #[test]
    fn debug_shows_nothing_of_the_secret() {
        let secret = SecretBytes::fill(&arena(), 32, |bytes| bytes.fill(b'S')).unwrap();
        for shown in [format!("{secret:?}"), format!("{secret:#?}"), format!("{:?}", Some(&secret))]
        {
            assert!(shown.contains("SecretBytes([redacted])"));
            assert!(!shown.contains("83") && !shown.contains("SS") && !shown.contains("0x53"));
        }
    }

    /// Many threads take, check and drop secrets of one arena; each finds only its own.
    #[test]
    fn threads_never_see_each_others_secrets() {
        let arena = arena();
        thread::scope(|scope| {
            for mark in 1..=8_u8 {
                let arena = &arena;
                scope.spawn(move || {
                    for round in 0..2_000_usize {
                        let len = 1 + (round * usize::from(mark)) % 700;
                        let secret = SecretBytes::fill(arena, len, |bytes| {
                            assert!(bytes.iter().all(|byte| *byte == 0));
                            bytes.fill(mark);
                        });
                        assert!(secret.unwrap().expose_secret().iter().all(|byte| *byte == mark));
                    }
                });
            }
        });
        assert_eq!(arena.in_use(), 0);
    }

    #[test]
    fn a_secret_made_in_one_thread_is_used_and_dropped_in_another() {
        let arena = arena();
        let secret = SecretBytes::fill(&arena, 16, |bytes| bytes.fill(9)).unwrap();
        let used = thread::spawn(move || secret.expose_secret() == [9; 16]).join();
        assert!(used.unwrap());
        assert_eq!(arena.in_use(), 0);
    }
}
