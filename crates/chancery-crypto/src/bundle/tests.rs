//! What is taken for a bundle, and what one bundle says of an output.

use chancery_core::bundle::{Entry, Floors, Head, Revoked};
use chancery_core::cbor;
use chancery_core::context::Context;
use chancery_core::id::RolloutId;
use chancery_core::key::Key;
use chancery_core::name::{Name, Scope};
use chancery_core::purpose::Purpose;
use chancery_core::schedule::{Accept, Fraction, Mode, Moving, Selector, Share};
use chancery_core::state::{KeyEvent, KeyState};
use chancery_core::suite::Suite;

use super::testing::{
    EXPIRES_MS, MADE_MS, assembled, bundle, head, key, keys, pins, private, scope,
};
use super::*;
use crate::formats::{self, Payload, Signatures, Signing, ToBeSigned};

const MESSAGE: &[u8] = br#"{"aud":"a","exp":1795996900,"iat":1795996700,"iss":"i"}"#;

/// What a version of a key signs, in the form of its purpose.
fn output(key: &Key, version: u32, message: &[u8]) -> Vec<u8> {
    let (prepared, signature) = signed(key, version, (message, Signatures::One));
    prepared.assemble(&signature)
}

fn signed(
    key: &Key,
    version: u32,
    (message, signatures): (&[u8], Signatures),
) -> (ToBeSigned, Vec<u8>) {
    let id = key.id.as_bytes()[0];
    let context = Context::default();
    let signing = Signing {
        purpose: &key.purpose,
        suite: Suite::Ed25519,
        key: key.id,
        version,
        public: &[],
        posture_epoch: 1,
        context: &context,
        payload: Payload::Message(message),
        signatures,
        now_ms: MADE_MS,
    };
    let prepared = formats::to_be_signed(&signing).unwrap();
    let signature = private(id, version).sign(prepared.bytes()).unwrap();
    (prepared, signature)
}

struct Asked {
    key: Name,
    purpose: Purpose,
    scope: Scope,
    message: Option<&'static [u8]>,
    now_ms: u64,
}

impl Asked {
    fn of(key: &Key) -> Self {
        let carries = ["sign.jws", "sign.dsse"];
        let detached = !carries.iter().any(|it| key.purpose.to_string().starts_with(it));
        Self {
            key: key.name.clone(),
            purpose: key.purpose.clone(),
            scope: scope(),
            message: detached.then_some(MESSAGE),
            now_ms: MADE_MS,
        }
    }

    fn verify(&self, bundle: &TrustBundle, output: &[u8]) -> Result<Accepted, Rejected> {
        let context = Context::default();
        let payload = self.message.map(Payload::Message);
        let Self { key, purpose, scope, now_ms, .. } = self;
        let expected =
            Expected { key, purpose, scope, context: &context, payload, now_ms: *now_ms };
        bundle.verify(output, &expected)
    }
}

const PURPOSES: [&str; 5] = [
    "sign.bound:invoice",
    "sign.jws:access",
    "sign.jws-json:grant",
    "sign.dsse:application/x",
    "sign.raw:legacy",
];

#[test]
fn every_format_is_verified_against_the_bundle_alone() {
    for purpose in PURPOSES {
        let key = key(7, purpose, 2);
        let bundle = bundle(std::slice::from_ref(&key));
        for version in [1, 2] {
            let accepted = Asked::of(&key).verify(&bundle, &output(&key, version, MESSAGE));
            assert_eq!(accepted.unwrap().versions, [version], "{purpose}");
        }
        let other = super::testing::key(9, purpose, 1);
        assert!(Asked::of(&key).verify(&bundle, &output(&other, 1, MESSAGE)).is_err(), "{purpose}");
    }
}

#[test]
fn all_that_is_expected_is_asked_at_once() {
    let key = key(7, "sign.bound:invoice", 1);
    let bundle = bundle(std::slice::from_ref(&key));
    let output = output(&key, 1, MESSAGE);
    let asked = || Asked::of(&key);
    let check = |asked: &Asked| asked.verify(&bundle, &output).unwrap_err();
    let service = "other".parse().unwrap();
    assert_eq!(
        check(&Asked { scope: Scope { service, ..scope() }, ..asked() }),
        Rejected::OtherScope
    );
    let purpose: Purpose = "sign.bound:receipt".parse().unwrap();
    assert_eq!(check(&Asked { purpose, ..asked() }), Rejected::OtherPurpose(key.purpose.clone()));
    let name: Name = "k8".parse().unwrap();
    assert_eq!(check(&Asked { key: name.clone(), ..asked() }), Rejected::UnknownKey(name));
    assert_eq!(check(&Asked { now_ms: EXPIRES_MS, ..asked() }), Rejected::Expired);
    assert!(matches!(check(&Asked { message: Some(b"x"), ..asked() }), Rejected::NotHeld(..)));
    assert!(Asked { now_ms: EXPIRES_MS - 1, ..asked() }.verify(&bundle, &output).is_ok());
}

fn rejected(key: &Key, version: u32) -> Rejected {
    let bundle = bundle(std::slice::from_ref(key));
    Asked::of(key).verify(&bundle, &output(key, version, MESSAGE)).unwrap_err()
}

#[test]
fn a_version_verifies_by_its_state_and_a_revoked_one_never() {
    for purpose in PURPOSES.into_iter().filter(|purpose| !purpose.starts_with("sign.raw")) {
        let mut key = key(7, purpose, 3);
        key.apply(2, KeyEvent::Suspend).unwrap();
        assert!(matches!(rejected(&key, 2), Rejected::NotVerifying(_, KeyState::Suspended)));
        key.apply(2, KeyEvent::ReportCompromise).unwrap();
        assert!(matches!(rejected(&key, 2), Rejected::Revoked(named) if named.version == 2));
        key.versions.pop();
        assert!(matches!(rejected(&key, 3), Rejected::UnknownVersion(named) if named.version == 3));
    }
}

#[test]
fn revoked_bytes_without_a_name_are_refused_too() {
    let mut key = key(7, "sign.raw:legacy", 2);
    key.apply(2, KeyEvent::ReportCompromise).unwrap();
    assert!(matches!(rejected(&key, 2), Rejected::NotHeld(..)));
}

#[test]
fn that_everything_is_revoked_is_not_that_there_is_nothing() {
    let mut key = key(7, "sign.bound:invoice", 1);
    let empty: [Key; 0] = [];
    assert!(!head(1, &empty).revoke_all);
    assert!(!head(1, std::slice::from_ref(&key)).revoke_all);
    key.apply(1, KeyEvent::ReportCompromise).unwrap();
    assert!(head(1, std::slice::from_ref(&key)).revoke_all);
    assert_eq!(rejected(&key, 1), Rejected::RevokedAll);
}

#[test]
fn what_is_below_a_floor_is_refused() {
    let key = key(7, "sign.bound:invoice", 1);
    let over = std::slice::from_ref(&key);
    for floors in [
        Floors { posture_epoch: 2, ..Floors::STANDARD },
        Floors { strength_bits: 129, ..Floors::STANDARD },
    ] {
        let bundle = assembled(&Head { floors, ..head(1, over) }, over).unwrap();
        let result = Asked::of(&key).verify(&bundle, &output(&key, 1, MESSAGE));
        assert!(matches!(result, Err(Rejected::BelowFloor(_))), "{floors:?}");
    }
}

/// An output with the signatures of both versions, the second spoilt or not.
fn both(key: &Key, spoilt: bool) -> Vec<u8> {
    let [(one, signature), (other, mut beside)] =
        [1, 2].map(|version| signed(key, version, (MESSAGE, Signatures::Two)));
    if spoilt {
        beside[0] ^= 1;
    }
    formats::assemble_both((one, &signature), (other, &beside)).unwrap()
}

#[test]
fn of_two_signatures_one_or_both_must_hold_as_the_bundle_says() {
    for purpose in ["sign.bound:invoice", "sign.dsse:application/x", "sign.jws-json:grant"] {
        let mut key = key(7, purpose, 2);
        let mut verify = |accept, output: &dyn Fn(&Key) -> Vec<u8>| {
            let (mode, selector) = (Mode::DualSign, Selector::default());
            let share = Share { version: 2, fraction: Fraction::WHOLE, mode, accept, selector };
            let rollout = RolloutId::from_bytes([3; 16]);
            key.moving = Some(Box::new(Moving { rollout, share: Some(share) }));
            let bundle = bundle(std::slice::from_ref(&key));
            Asked::of(&key).verify(&bundle, &output(&key)).map(|accepted| accepted.versions)
        };
        for accept in [Accept::AnyOf, Accept::AllOf] {
            assert_eq!(verify(accept, &|key| both(key, false)), Ok(vec![1, 2]), "{purpose}");
        }
        // A plan asks for both where nothing with one is alive: else whoever breaks one algorithm would sign for two.
        assert_eq!(verify(Accept::AnyOf, &|key| output(key, 1, MESSAGE)), Ok(vec![1]), "{purpose}");
        assert!(verify(Accept::AllOf, &|key| output(key, 1, MESSAGE)).is_err(), "{purpose}");
        assert_eq!(verify(Accept::AnyOf, &|key| both(key, true)), Ok(vec![1]), "{purpose}");
        assert!(verify(Accept::AllOf, &|key| both(key, true)).is_err(), "{purpose}");
    }
}

/// An output with the signatures of two versions.
fn of_two(key: &Key, versions: [u32; 2]) -> Vec<u8> {
    let [(one, signature), (other, beside)] =
        versions.map(|version| signed(key, version, (MESSAGE, Signatures::Two)));
    formats::assemble_both((one, &signature), (other, &beside)).unwrap()
}

/// The first version may be retired and of the old algorithm like the second: whoever breaks that has both.
#[test]
fn where_both_are_asked_for_they_are_the_two_of_the_rollout_and_no_others() {
    for purpose in ["sign.bound:invoice", "sign.dsse:application/x", "sign.jws-json:grant"] {
        let mut key = key(7, purpose, 3);
        key.scheduled = 2;
        let share = Share {
            version: 3,
            fraction: Fraction::WHOLE,
            mode: Mode::DualSign,
            accept: Accept::AllOf,
            selector: Selector::default(),
        };
        let rollout = RolloutId::from_bytes([3; 16]);
        key.moving = Some(Box::new(Moving { rollout, share: Some(share) }));
        for state in [KeyState::Active, KeyState::Deactivated] {
            key.versions[0].state = state;
            let bundle = bundle(std::slice::from_ref(&key));
            let verify = |versions| Asked::of(&key).verify(&bundle, &of_two(&key, versions));
            assert_eq!(verify([2, 3]).map(|it| it.versions), Ok(vec![2, 3]), "{purpose}");
            assert!(verify([1, 2]).is_err() && verify([1, 3]).is_err(), "{purpose} {state:?}");
        }
    }
}

/// What one signature is put beside another to pass for it, where both are asked for.
#[test]
fn a_signature_that_is_there_twice_is_not_two() {
    let mut key = key(7, "sign.jws-json:grant", 2);
    let share = Share {
        version: 2,
        fraction: Fraction::WHOLE,
        mode: Mode::DualSign,
        accept: Accept::AllOf,
        selector: Selector::default(),
    };
    let rollout = RolloutId::from_bytes([3; 16]);
    key.moving = Some(Box::new(Moving { rollout, share: Some(share) }));
    let bundle = bundle(std::slice::from_ref(&key));
    let flattened = String::from_utf8(output(&key, 1, MESSAGE)).unwrap();
    let (payload, one) = flattened.strip_suffix('}').unwrap().split_once(',').unwrap();
    let theirs = r#"{"protected":"eyJhbGciOiJFUzI1NiJ9","signature":"AAAA"}"#;
    for beside in [format!("{{{one}}}"), theirs.into()] {
        let twice = format!(r#"{payload},"signatures":[{{{one}}},{beside}]}}"#);
        assert!(Asked::of(&key).verify(&bundle, twice.as_bytes()).is_err(), "{twice}");
    }
}

#[test]
fn a_bundle_survives_its_file() {
    let mut over = [key(7, "sign.bound:invoice", 2), key(9, "sign.raw:x", 1)];
    over[0].apply(2, KeyEvent::ReportCompromise).unwrap();
    let bundle = bundle(&over);
    let file = bundle.to_file();
    assert_eq!(Assembly::whole(&file, &pins()), Ok(bundle));
    for length in 0..file.len() {
        assert!(Assembly::whole(&file[..length], &pins()).is_err(), "{length}");
    }
    for byte in 0..file.len() {
        let mut altered = file.clone();
        altered[byte] ^= 1 << (byte % 8);
        assert!(Assembly::whole(&altered, &pins()).is_err(), "byte {byte}");
    }
}

#[test]
fn fewer_signatures_than_are_asked_for_are_refused() {
    let over = [key(7, "sign.raw:x", 1)];
    let (_, signed) = keys().sign(&head(1, &over)).unwrap();
    let stranger = BundleKeys::from_seeds(&[3; 32], &[2; 32]).unwrap();
    let publics = |signers: &[BundleSigner]| {
        let parse = |it: &BundleSigner| PublicKey::from_spki(it.suite, &it.public).unwrap();
        signers.iter().map(parse).collect::<Vec<_>>()
    };
    let mixed = publics(&stranger.signers());
    let both = Pins::new(mixed.clone(), 2).unwrap();
    let result = Assembly::begin(&signed, &both).map(|it| it.digest());
    assert_eq!(result, Err(BundleError::Signatures { have: 1, need: 2 }));
    assert!(Assembly::begin(&signed, &Pins::new(mixed, 1).unwrap()).is_ok());
    // One signature that stands there twice is one signature.
    let mut opened: SignedHead = cbor::decode(&signed, "signed head").unwrap();
    opened.signatures[1] = opened.signatures[0].clone();
    let result = Assembly::begin(&cbor::encode(&opened), &pins()).map(|it| it.digest());
    assert_eq!(result, Err(BundleError::Signatures { have: 1, need: 2 }));
}

/// So many keys, whose entries take more than one page.
fn many() -> Vec<Key> {
    let public = private(1, 1).public().unwrap().spki().to_vec();
    let one = |n: u32| {
        let mut key = key(1, "sign.raw:x", 1);
        let mut id = [0; 16];
        id[..4].copy_from_slice(&n.to_be_bytes());
        key.id = chancery_core::id::KeyId::from_bytes(id);
        key.name = format!("k{n}").parse().unwrap();
        key.versions[0].public.clone_from(&public);
        key
    };
    (0..12_000).map(one).collect()
}

#[test]
fn pages_come_in_their_order_and_are_all_needed() {
    let over = many();
    let head = head(1, &over);
    let (_, signed) = keys().sign(&head).unwrap();
    let begin = || Assembly::begin(&signed, &pins()).unwrap();
    let first = page(head.number, &over, 0).unwrap();
    let mut assembly = begin();
    assembly.page(&first).unwrap();
    let from = assembly.next_entry().unwrap();
    assert!(first.len() <= PAGE_BYTES_MAX && from > 1_000);
    let second = page(head.number, &over, from).unwrap();
    assert_eq!(begin().page(&second), Err(BundleError::OtherPage));
    assert_eq!(assembly.page(&first), Err(BundleError::OtherPage));
    let other_number = page(super::testing::epoch(2), &over, from).unwrap();
    assert_eq!(assembly.page(&other_number), Err(BundleError::OtherPage));
    assert_eq!(assembly.finish(), Err(BundleError::OtherEntries));
    let mut whole = begin();
    whole.page(&first).unwrap();
    while let Some(from) = whole.next_entry() {
        whole.page(&page(head.number, &over, from).unwrap()).unwrap();
    }
    assert_eq!(whole.finish().unwrap().keys().len(), 12_000);
}

#[test]
fn entries_that_were_not_signed_over_are_refused() {
    let mut over = [key(7, "sign.raw:x", 1), key(9, "sign.raw:x", 1)];
    let signed_over = head(1, &over);
    over[1].apply(1, KeyEvent::Suspend).unwrap();
    assert_eq!(assembled(&signed_over, &over), Err(BundleError::OtherEntries));
    over.swap(0, 1);
    assert_eq!(assembled(&head(1, &over), &over), Err(BundleError::OtherEntries));
}

#[test]
fn a_revocation_that_contradicts_its_key_is_refused() {
    let mut over = [key(7, "sign.raw:x", 1)];
    over[0].apply(1, KeyEvent::ReportCompromise).unwrap();
    let key_entry = Entry::Key(KeyEntry::of(&over[0]).unwrap());
    let other = Entry::Revoked(Revoked { key: over[0].id, version: 2 });
    let encoded = [key_entry, other].map(|entry| cbor::encode(&entry));
    let mut frontier = Frontier::new();
    for entry in &encoded {
        frontier.append(leaf_hash(entry));
    }
    let bytes = encoded.iter().map(|entry| u64::try_from(entry.len()).unwrap()).sum();
    let head = Head { root: *frontier.root().as_bytes(), bytes, ..head(1, &over) };
    let (_, signed) = keys().sign(&head).unwrap();
    let entries = encoded.map(ByteVec::from).to_vec();
    let file = BundleFile { format: FORMAT, signed: signed.into(), entries };
    let result = Assembly::whole(&cbor::encode(&file), &pins());
    assert_eq!(result, Err(BundleError::OtherEntries));
}

#[test]
fn a_bundle_that_says_it_is_endless_is_refused_before_its_pages() {
    let over = [key(7, "sign.raw:x", 1)];
    let bytes = chancery_core::limits::BUNDLE_BYTES_MAX + 1;
    let keys_max = u64::try_from(chancery_core::limits::BUNDLE_KEYS_MAX).unwrap();
    for endless in [Head { bytes, ..head(1, &over) }, Head { keys: keys_max + 1, ..head(1, &over) }]
    {
        let (_, signed) = keys().sign(&endless).unwrap();
        let result = Assembly::begin(&signed, &pins()).map(|it| it.digest());
        assert_eq!(result, Err(BundleError::TooLarge));
    }
}

#[test]
fn a_tenants_keys_are_its_own_and_stay() {
    let arena = chancery_memory::Arena::with_capacity(1 << 16).unwrap();
    let root = SealingKey::from_bytes(&arena, &[5; 32]).unwrap();
    let of = |tenant| BundleKeys::derive(&root, TenantId::from_bytes([tenant; 16])).unwrap();
    assert_eq!(of(1).signers(), of(1).signers());
    assert_ne!(of(1).signers(), of(2).signers());
}
