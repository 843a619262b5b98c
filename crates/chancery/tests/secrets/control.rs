//! The control: this test's own executable as its child, which takes a sealed key as the signer does.
//!
//! The child has the signer's arena, its hooks under the crypto library and its wiping allocator. It opens a
//! sealed row, parses the key in it, signs, and waits. Of the key nothing may be found outside the arena, and the
//! key inside it where that can be read. A child that is told to leak one copy of the seed on its heap is then
//! found out: a search that finds nothing in the service finds nothing because nothing is there.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::process::{Child, Command, Stdio};

use chancery_core::epoch::Epoch;
use chancery_core::id::TenantId;
use chancery_core::suite::Suite;
use chancery_crypto::key::PrivateKey;
use chancery_crypto::seal::{RowPlace, SEALING_BYTES, SealingKey};
use chancery_memory::{ARENA_BYTES, Arena, ArenaKind, hooks, wiping};
use zeroize::Zeroizing;

use super::planted::{arenas, drawn, is_root};
use crate::search::{Found, Needles};

/// Tells the child what to do: the kind of its arena, and whether it leaks.
const ROLE: &str = "CHANCERY_TEST_CONTROL";

/// The child's test.
const CHILD: &str = "secrets::control::a_child_holds_a_key_as_the_signer_does";

/// What the child says when it holds the key.
const READY: &str = "the key is held";

/// The bytes of the sealed row: a seed and what seals it.
const ROW_BYTES: usize = SEALING_BYTES + 32;

/// Where the row stands.
const PLACE: RowPlace<'static> = RowPlace {
    tenant: TenantId::SYSTEM,
    name: b"control",
    version: 1,
    epoch: Epoch { generation: 0, number: 0 },
};

/// What the child did with the seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Conduct {
    Keeps,
    Leaks,
}

#[test]
fn a_child_holds_a_key_as_the_signer_does() {
    let Some(role) = std::env::var_os(ROLE) else { return };
    let role = role.into_string().unwrap();
    let kind = if role.contains("locked") { ArenaKind::Locked } else { ArenaKind::MemfdSecret };
    wiping::begin();
    let arena = Arena::with_kind(kind, ARENA_BYTES).unwrap();
    hooks::install(&arena).unwrap();
    // Past the buffer of the standard input, which nobody would wipe.
    let mut input = File::from(std::io::stdin().as_fd().try_clone_to_owned().unwrap());
    let key = held(&arena, &mut input, role.contains("leaks"));
    assert!(hooks::allocations().in_arena > 0);
    println!("{READY}");
    // Until the parent has seen enough.
    let _ = input.read(&mut [0]);
    drop(key);
}

/// Reads a scope key and a row that is sealed under it, and gives the key in the row, used once.
fn held(arena: &Arena, input: &mut File, is_leaking: bool) -> (SealingKey, PrivateKey) {
    let mut scope = Box::new(Zeroizing::new([0; 32]));
    input.read_exact(scope.as_mut_slice()).unwrap();
    let scope = SealingKey::from_bytes(arena, &scope).unwrap();
    let mut row = [0; ROW_BYTES];
    input.read_exact(&mut row).unwrap();
    let seed = scope.open(&PLACE, &row).unwrap();
    if is_leaking {
        // What nobody looks at, the compiler would not copy.
        std::hint::black_box(Box::leak(seed.to_vec().into_boxed_slice()));
    }
    let key = PrivateKey::from_secret(Suite::Ed25519, &seed).unwrap();
    key.sign(b"message").unwrap();
    (scope, key)
}

/// Starts the child, hands it a sealed key, and searches its memory: what is outside its arena, and in it.
fn searched(kind: ArenaKind, conduct: Conduct) -> (Vec<Found>, Vec<Found>) {
    let (scope, seed) = (drawn(), drawn());
    let mut needles = Needles::new();
    needles.add("the scope key", &scope);
    needles.add("the seed", &seed);
    let arena = Arena::with_capacity(1 << 16).unwrap();
    let row = SealingKey::from_bytes(&arena, &scope).unwrap().seal(&PLACE, &seed).unwrap();
    let mut child = start(kind, conduct);
    let mut input = child.stdin.take().unwrap();
    input.write_all(&[&scope[..], &row].concat()).unwrap();
    let mut said = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert!(said.any(|line| line.contains(READY)), "the child ended: {:?}", child.wait());
    let arenas = arenas(child.id());
    let found = needles.in_process(child.id()).unwrap();
    drop(input);
    assert!(child.wait().unwrap().success());
    found
        .into_iter()
        .partition(|found| !arenas.iter().any(|(start, end)| (*start..*end).contains(&found.at)))
}

fn start(kind: ArenaKind, conduct: Conduct) -> Child {
    let kind = if kind == ArenaKind::Locked { "locked" } else { "secret" };
    let conduct = if conduct == Conduct::Leaks { "leaks" } else { "keeps" };
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", CHILD, "--nocapture"])
        .env(ROLE, format!("{kind} {conduct}"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

fn kinds() -> impl Iterator<Item = ArenaKind> {
    let kinds = [ArenaKind::Locked, ArenaKind::MemfdSecret];
    kinds.into_iter().filter(|kind| Arena::with_kind(*kind, 1 << 16).is_ok())
}

#[test]
fn the_search_finds_a_key_that_is_held_in_its_arena_alone() {
    if !is_root() {
        return println!("memory is not searched: that takes root");
    }
    for kind in kinds() {
        let (outside, inside) = searched(kind, Conduct::Keeps);
        assert_eq!(outside, [], "{kind:?}");
        let is_inside = |secret: &str| inside.iter().any(|found| found.secret == secret);
        let found = [is_inside("the scope key"), is_inside("the seed")];
        assert_eq!(found, [kind == ArenaKind::Locked; 2], "{kind:?}: {inside:?}");
    }
}

#[test]
fn the_search_finds_one_copy_that_was_left_on_the_heap() {
    if !is_root() {
        return println!("memory is not searched: that takes root");
    }
    for kind in kinds() {
        let (outside, _) = searched(kind, Conduct::Leaks);
        // Both ends of the one copy, 16 bytes each.
        let found: Vec<_> = outside.iter().map(|found| (found.secret, found.form)).collect();
        assert_eq!(found, [("the seed", "raw"); 2], "{kind:?}: {outside:?}");
        assert_eq!(outside[1].at - outside[0].at, 16, "{outside:?}");
    }
}
