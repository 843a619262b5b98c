//! One key of each kind, and what the service keeps for itself: what of it lies outside the arena is what
//! SECURITY.md says, in the signer alone, and nothing else does.
//!
//! Keys with a public half are imported. The others cannot be: they are made by the service and read out of its
//! store, which a test can open because it has the root key.

use std::collections::BTreeSet;

use chancery_client::{Client, Input, KeyHandle};
use chancery_core::id::KeyId;

use super::planted::{
    LOCKED_ONLY, Planted, again_in_locked_memory, drawn, import, in_memory, is_root,
};
use crate::harness::{Service, committed, fresh, key_and_handle, plainly, sign};
use crate::opened::Opened;
use crate::search::Needles;

/// What SECURITY.md says lies in ordinary memory, of what is looked for here. The service's other keys for itself
/// lie there as what is made of them, which a search for their bytes does not find: inner states of HMAC, subkeys.
const ORDINARY: [&str; 5] =
    ["an AES key", "an HKDF key", "an HMAC key", "an ML-DSA seed", "the local authority's key"];

/// RFC 9881, 6: the seed alone.
fn ml_dsa() -> Planted {
    let seed = drawn();
    let head = [
        0x30, 0x34, 2, 1, 0, 0x30, 0x0b, 6, 9, 0x60, 0x86, 0x48, 1, 0x65, 3, 4, 3, 0x11, 4, 0x22,
        0x80, 0x20,
    ];
    Planted {
        name: "planted-ml-dsa",
        purpose: "sign.bound:planted",
        algorithm: "ml-dsa-44",
        pkcs8: [&head[..], &seed].concat(),
        secrets: vec![("an ML-DSA seed", seed.to_vec())],
    }
}

/// Keys of the service's own making, and handles for them.
struct Made {
    mac: (KeyId, KeyHandle),
    derive: (KeyId, KeyHandle),
    field: (KeyId, KeyHandle),
    signing: KeyHandle,
}

impl Made {
    fn by(service: &Service) -> Self {
        let client = service.client();
        let made = |name: &str, purpose: &str, suite: &str| {
            let (key, handle) = key_and_handle(&client, name, purpose, suite);
            (key.id, handle)
        };
        Self {
            mac: made("made-mac", "mac.bound:planted", "hmac-sha-256"),
            derive: made("made-derive", "derive.hkdf:planted", "hkdf-sha-256"),
            field: made("made-field", "encrypt.aead:planted", "aes-256-gcm"),
            signing: super::planted::handle(&client, "planted-ml-dsa"),
        }
    }

    fn use_each(&self, client: &Client) {
        for _ in 0..2 {
            let input = Input::Message(b"message");
            committed(client.mac(&self.mac.1, input, &plainly(fresh())));
            committed(client.derive(&self.derive.1, 32, &plainly(fresh())));
            let sealed = committed(client.encrypt(&self.field.1, b"field", &plainly(fresh())));
            committed(client.decrypt(&self.field.1, &sealed.output, &plainly(fresh())));
            committed(sign(client, &self.signing, b"message", fresh()));
        }
    }

    /// Everything that is secret of them and of the service, as its store has it.
    fn needles(&self, opened: &Opened, planted: &Planted) -> Needles {
        let mut needles = Needles::new();
        let material = |id: KeyId| {
            let of_key = opened.materials.iter().find(|(name, _)| name[17..33] == *id.as_bytes());
            of_key.expect("its material is stored").1
        };
        needles.add("an HMAC key", material(self.mac.0));
        needles.add("an HKDF key", material(self.derive.0));
        needles.add("an AES key", material(self.field.0));
        needles.add("an ML-DSA seed", &planted.secrets[0].1);
        for key in opened.scope_keys.values() {
            needles.add("a scope key", key);
        }
        for secret in opened.months.values().flat_map(|month| month.chunks(32)) {
            needles.add("the key of audit sections", secret);
        }
        needles.add("the seed of the receipt key", &opened.secrets.receipt);
        needles.add("a checkpoint key's seed, of Ed25519", &opened.secrets.checkpoint_ed25519);
        needles.add("the key of operation ids", &opened.secrets.operations);
        needles.add("the key of handles", &opened.secrets.handles);
        // The scalar of a P-256 key in PKCS#8 is what follows `02 01 01 04 20` (RFC 5915, 3).
        let authority = &opened.secrets.authority;
        let at = authority.windows(5).position(|five| five == [2, 1, 1, 4, 0x20]).unwrap() + 5;
        needles.add("the local authority's key", &authority[at..at + 32]);
        needles
    }
}

#[test]
fn what_lies_in_ordinary_memory_is_what_is_said_to_and_in_the_signer_alone() {
    let mut service = Service::start();
    let planted = ml_dsa();
    import(&service, &planted);
    let made = Made::by(&service);
    made.use_each(&service.client());
    service.stop();
    let needles = made.needles(&Opened::of(&service).unwrap(), &planted);
    assert_eq!(needles.in_directory(service.directory()), []);
    service.launch();
    service.wait_until_up();
    made.use_each(&service.client());
    if !is_root() {
        return println!("memory is not searched: that takes root");
    }
    let (outside, inside) = in_memory(&service, &needles);
    let lines: Vec<_> = outside.iter().map(ToString::to_string).collect();
    println!("{} outside of the arena, {inside} in it:\n{}", lines.len(), lines.join("\n"));
    // What the arena holds of this can be read where it is locked memory: the scope keys at least.
    assert_eq!(inside > 0, std::env::var_os(LOCKED_ONLY).is_some());
    assert!(outside.iter().all(|found| found.place.starts_with("Signer")), "{}", lines.join("\n"));
    let found: BTreeSet<&str> = outside.iter().map(|found| found.secret).collect();
    assert_eq!(found, BTreeSet::from(ORDINARY), "{}", lines.join("\n"));
}

#[test]
fn the_same_lies_there_where_the_arena_is_locked_memory() {
    again_in_locked_memory(
        "secrets::ordinary::what_lies_in_ordinary_memory_is_what_is_said_to_and_in_the_signer_alone",
    );
}
