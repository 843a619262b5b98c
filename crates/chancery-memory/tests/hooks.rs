//! That the crypto library's allocations go to the arena, in this build of it.
//!
//! The hooks serve one arena for the life of a process, so the story is told in one
//! test. It fails when a later version of the library no longer finds the hooks.

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use chancery_memory::hooks::{self, AlreadyInstalled};
use chancery_memory::{Arena, SecretBytes};

/// A seed that is easy to tell from other bytes.
const SEED: [u8; 32] = *b"a seed that is planted to be met";

const CAPACITY: usize = 1 << 20;

/// Takes whatever is left of the arena, block by block.
fn fill_up(arena: &Arena) -> Vec<SecretBytes> {
    let halves = (6..=20).rev().map(|order| 1 << order);
    halves
        .flat_map(|len| std::iter::from_fn(move || SecretBytes::fill(arena, len, |_| ()).ok()))
        .collect()
}

fn signs(key: &Ed25519KeyPair) -> bool {
    let signature = key.sign(b"message");
    let public = UnparsedPublicKey::new(&ED25519, key.public_key());
    public.verify(b"message", signature.as_ref()).is_ok()
}

#[test]
fn the_crypto_library_keeps_its_keys_in_the_arena() {
    let early = Ed25519KeyPair::from_seed_unchecked(&SEED).unwrap();
    assert!(hooks::allocations().before_install > 0, "the library does not call the hooks");
    assert_eq!(hooks::allocations().in_arena, 0);

    let arena = Arena::with_capacity(CAPACITY).unwrap();
    hooks::install(&arena).unwrap();
    assert_eq!(hooks::install(&arena), Err(AlreadyInstalled));
    let before_install = hooks::allocations().before_install;

    // A key parsed now lives in the arena, and leaves it when dropped.
    let empty = arena.in_use();
    let key = Ed25519KeyPair::from_seed_unchecked(&SEED).unwrap();
    assert!(arena.in_use() > empty);
    assert!(signs(&key));
    drop(key);
    assert_eq!(arena.in_use(), empty);

    // What came from the heap goes back there.
    assert!(signs(&early));
    drop(early);
    assert_eq!(arena.in_use(), empty);
    assert_eq!(hooks::fallbacks(), 0);

    // With the arena full the library goes on, from the heap, and that is counted.
    let all = fill_up(&arena);
    assert_eq!(arena.in_use(), CAPACITY);
    let late = Ed25519KeyPair::from_seed_unchecked(&SEED).unwrap();
    assert!(hooks::fallbacks() > 0);
    drop(all);
    assert!(signs(&late));
    drop(late);
    assert_eq!(arena.in_use(), empty);
    assert_eq!(hooks::allocations().before_install, before_install);
}
