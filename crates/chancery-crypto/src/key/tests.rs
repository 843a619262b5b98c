//! Every suite: made, stored, brought in, used, and misused.

use chancery_core::suite::SUITES;

use super::*;

const ED25519: &[u8] = include_bytes!("../../vectors/pkcs8/ed25519.der");
const RSA_3072: &[u8] = include_bytes!("../../vectors/pkcs8/rsa-3072.der");
const RSA_4096: &[u8] = include_bytes!("../../vectors/pkcs8/rsa-4096.der");

/// Suites that sign, with the length of their signatures in bytes.
const SIGNING: [(Suite, usize); 10] = [
    (Suite::Ed25519, 64),
    (Suite::EcdsaP256, 64),
    (Suite::EcdsaP384, 96),
    (Suite::RsaPss3072, 384),
    (Suite::RsaPss4096, 512),
    (Suite::RsaPkcs1Sha256With3072, 384),
    (Suite::RsaPkcs1Sha256With4096, 512),
    (Suite::MlDsa44, 2_420),
    (Suite::MlDsa65, 3_309),
    (Suite::MlDsa87, 4_627),
];

/// A key of `suite`; those of RSA from a file, since making one takes seconds.
fn key(suite: Suite) -> PrivateKey {
    match suite {
        Suite::RsaPss3072 | Suite::RsaPkcs1Sha256With3072 => {
            PrivateKey::from_pkcs8(suite, RSA_3072).unwrap()
        }
        Suite::RsaPss4096 | Suite::RsaPkcs1Sha256With4096 => {
            PrivateKey::from_pkcs8(suite, RSA_4096).unwrap()
        }
        _ => PrivateKey::generate(suite).unwrap(),
    }
}

#[test]
fn every_signing_suite_signs_and_verifies() {
    for (suite, length) in SIGNING {
        let key = key(suite);
        let public = key.public().unwrap();
        for message in [&b""[..], b"message", &vec![0xa5; 70_000]] {
            let signature = key.sign_and_verify(message).unwrap();
            assert_eq!(signature.len(), length, "{suite}");
            assert_eq!(public.verify(message, &signature), Ok(()), "{suite}");
        }
    }
}

#[test]
fn a_changed_bit_anywhere_makes_a_bad_signature() {
    for (suite, length) in SIGNING {
        let key = key(suite);
        let public = key.public().unwrap();
        let signature = key.sign(b"message").unwrap();
        // Every 13th bit, so that every byte position of the short ones is met.
        for bit in (0..length * 8).step_by(if length > 100 { 997 } else { 13 }) {
            let mut changed = signature.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(
                public.verify(b"message", &changed),
                Err(BadSignature),
                "{suite}, bit {bit}"
            );
        }
        assert_eq!(public.verify(b"massage", &signature), Err(BadSignature), "{suite}");
        assert_eq!(
            public.verify(b"message", &signature[..length - 1]),
            Err(BadSignature),
            "{suite}"
        );
        assert_eq!(
            public.verify(b"message", &[&signature[..], &[0]].concat()),
            Err(BadSignature),
            "{suite}"
        );
        assert_eq!(public.verify(b"message", &[]), Err(BadSignature), "{suite}");
    }
}

#[test]
fn another_key_of_the_same_suite_does_not_verify() {
    for suite in [Suite::Ed25519, Suite::EcdsaP256, Suite::EcdsaP384, Suite::MlDsa44] {
        let signature = key(suite).sign(b"message").unwrap();
        assert_eq!(
            key(suite).public().unwrap().verify(b"message", &signature),
            Err(BadSignature),
            "{suite}"
        );
    }
}

#[test]
fn one_rsa_key_under_the_other_padding_does_not_verify() {
    let signature = key(Suite::RsaPkcs1Sha256With3072).sign(b"message").unwrap();
    assert_eq!(
        key(Suite::RsaPss3072).public().unwrap().verify(b"message", &signature),
        Err(BadSignature)
    );
    let signature = key(Suite::RsaPss3072).sign(b"message").unwrap();
    let public = key(Suite::RsaPkcs1Sha256With3072);
    assert_eq!(public.public().unwrap().verify(b"message", &signature), Err(BadSignature));
}

#[test]
fn the_stored_form_of_every_suite_gives_the_same_key() {
    for row in SUITES {
        let key = key(row.suite);
        let secret = key.expose_secret().unwrap();
        let again = PrivateKey::from_secret(row.suite, &secret).unwrap();
        assert_eq!(again.public(), key.public(), "{}", row.suite);
        assert_eq!(again.expose_secret().unwrap(), secret, "{}", row.suite);
        assert_eq!(again.suite(), row.suite);
    }
}

#[test]
fn a_stored_form_is_as_short_as_the_suite_allows() {
    let length = |suite| key(suite).expose_secret().unwrap().len();
    for suite in [Suite::Ed25519, Suite::EcdsaP256, Suite::MlDsa44, Suite::MlDsa65, Suite::MlDsa87]
    {
        assert_eq!(length(suite), 32, "{suite}");
    }
    assert_eq!([length(Suite::EcdsaP384), length(Suite::HmacSha384)], [48, 48]);
    assert_eq!(
        [length(Suite::HmacSha256), length(Suite::HmacSha512), length(Suite::Aes256Gcm)],
        [32, 64, 32]
    );
}

#[test]
fn a_stored_form_of_another_length_is_refused() {
    for row in SUITES {
        let secret = key(row.suite).expose_secret().unwrap();
        assert!(PrivateKey::from_secret(row.suite, &secret[1..]).is_err(), "{}", row.suite);
        assert!(
            PrivateKey::from_secret(row.suite, &[&secret[..], &[0]].concat()).is_err(),
            "{}",
            row.suite
        );
        assert!(PrivateKey::from_secret(row.suite, &[]).is_err(), "{}", row.suite);
    }
}

#[test]
fn scalars_outside_the_group_are_refused() {
    for suite in [Suite::EcdsaP256, Suite::EcdsaP384] {
        let length = key(suite).expose_secret().unwrap().len();
        for byte in [0x00, 0xff] {
            assert_eq!(
                PrivateKey::from_secret(suite, &vec![byte; length]).unwrap_err(),
                KeyError::Rejected { suite }
            );
        }
    }
}

#[test]
fn a_key_does_what_its_suite_does_and_nothing_else() {
    for row in SUITES {
        let (suite, key) = (row.suite, key(row.suite));
        let signs = SIGNING.iter().any(|(signing, _)| *signing == suite);
        assert_eq!(key.public().is_some(), signs, "{suite}");
        assert_eq!(key.sign(b"m") == Err(SignError::NotASigningKey { suite }), !signs, "{suite}");
        let others =
            [key.mac_key().is_some(), key.derive_key().is_some(), key.envelope_key().is_some()];
        assert_eq!(others.iter().filter(|is| **is).count(), usize::from(!signs), "{suite}");
    }
}

#[test]
fn debug_output_holds_no_key_bytes() {
    for row in SUITES {
        let key =
            PrivateKey::from_secret(row.suite, &key(row.suite).expose_secret().unwrap()).unwrap();
        assert_eq!(format!("{key:?}"), format!("PrivateKey({}, redacted)", row.suite));
        let inner = format!("{:?}{:?}{:?}", key.mac_key(), key.derive_key(), key.envelope_key());
        assert!(inner.len() < 60, "{inner}");
    }
}

#[test]
fn keys_are_shared_between_threads() {
    fn is_shared<T: Send + Sync>() {}
    is_shared::<PrivateKey>();
    is_shared::<PublicKey>();
}

#[test]
fn files_of_openssl_are_imported_and_keep_their_public_half() {
    let files: [(Suite, &[u8], &[u8]); 5] = [
        (Suite::Ed25519, ED25519, include_bytes!("../../vectors/pkcs8/ed25519.spki.der")),
        (
            Suite::EcdsaP256,
            include_bytes!("../../vectors/pkcs8/ecdsa-p256.der"),
            include_bytes!("../../vectors/export/ecdsa-p256.spki.der"),
        ),
        (
            Suite::EcdsaP384,
            include_bytes!("../../vectors/pkcs8/ecdsa-p384.der"),
            include_bytes!("../../vectors/export/ecdsa-p384.spki.der"),
        ),
        (Suite::RsaPss3072, RSA_3072, include_bytes!("../../vectors/export/rsa-3072.spki.der")),
        (
            Suite::RsaPkcs1Sha256With4096,
            RSA_4096,
            include_bytes!("../../vectors/export/rsa-4096.spki.der"),
        ),
    ];
    for (suite, file, spki) in files {
        let key = PrivateKey::from_pkcs8(suite, file).unwrap();
        assert_eq!(key.public(), Some(&PublicKey::from_spki(suite, spki).unwrap()), "{suite}");
        assert!(key.sign_and_verify(b"message").is_ok(), "{suite}");
    }
}

#[test]
fn a_file_of_another_type_is_refused_with_both_names() {
    let wrong = |suite, file: &[u8]| PrivateKey::from_pkcs8(suite, file).unwrap_err();
    assert_eq!(
        wrong(Suite::EcdsaP256, include_bytes!("../../vectors/pkcs8/ecdsa-p384.der")).to_string(),
        "the file holds a key of type ECDSA on P-384; this algorithm takes ECDSA on P-256"
    );
    assert_eq!(
        wrong(Suite::Ed25519, include_bytes!("../../vectors/pkcs8/x25519.der")),
        ImportError::WrongType { expected: "Ed25519", found: "X25519" }
    );
    assert_eq!(
        wrong(Suite::RsaPss3072, include_bytes!("../../vectors/pkcs8/rsa-pss-3072.der")),
        ImportError::WrongType { expected: "RSA", found: "RSA restricted to PSS" }
    );
    assert_eq!(
        wrong(Suite::MlDsa65, ED25519),
        ImportError::WrongType { expected: "ML-DSA-65", found: "Ed25519" }
    );
    assert_eq!(
        wrong(Suite::HmacSha256, ED25519),
        ImportError::NotAsymmetric { suite: Suite::HmacSha256 }
    );
}

#[test]
fn an_rsa_file_of_another_size_or_exponent_is_refused() {
    let refused = |suite, file: &[u8]| match PrivateKey::from_pkcs8(suite, file).unwrap_err() {
        ImportError::Key(KeyError::Public(error)) => error,
        other => panic!("{other}"),
    };
    let two_thousand = include_bytes!("../../vectors/pkcs8/rsa-2048.der");
    let modulus = |expected, found| PublicKeyError::RsaModulus { expected, found };
    assert_eq!(refused(Suite::RsaPss3072, two_thousand), modulus(3072, 2048));
    assert_eq!(refused(Suite::RsaPss3072, RSA_4096), modulus(3072, 4096));
    assert_eq!(refused(Suite::RsaPkcs1Sha256With4096, RSA_3072), modulus(4096, 3072));
    let three = include_bytes!("../../vectors/pkcs8/rsa-3072-exponent-3.der");
    assert_eq!(refused(Suite::RsaPss3072, three), PublicKeyError::RsaExponent);
}

#[test]
fn a_file_whose_halves_do_not_belong_together_is_refused() {
    let ed25519 = include_bytes!("../../vectors/pkcs8/ed25519-public-of-another.der");
    assert_eq!(
        PrivateKey::from_pkcs8(Suite::Ed25519, ed25519).unwrap_err(),
        ImportError::Inconsistent { key_type: "Ed25519" }
    );
    let rsa = include_bytes!("../../vectors/pkcs8/rsa-3072-private-exponent-changed.der");
    assert_eq!(
        PrivateKey::from_pkcs8(Suite::RsaPss3072, rsa).unwrap_err(),
        ImportError::Inconsistent { key_type: "RSA" }
    );
    // The last byte of an ECDSA file belongs to its public point.
    let mut ecdsa = include_bytes!("../../vectors/pkcs8/ecdsa-p256.der").to_vec();
    *ecdsa.last_mut().unwrap() ^= 1;
    assert_eq!(
        PrivateKey::from_pkcs8(Suite::EcdsaP256, &ecdsa).unwrap_err(),
        ImportError::Inconsistent { key_type: "ECDSA on P-256" }
    );
}

#[test]
fn what_is_not_one_pkcs8_structure_is_refused() {
    let refused = |file: &[u8]| PrivateKey::from_pkcs8(Suite::Ed25519, file).unwrap_err();
    assert_eq!(refused(b""), ImportError::NotPkcs8);
    assert_eq!(refused(b"-----BEGIN PRIVATE KEY-----"), ImportError::NotPkcs8);
    assert_eq!(
        refused(include_bytes!("../../vectors/pkcs8/ecdsa-p256-sec1.der")),
        ImportError::NotPkcs8
    );
    assert_eq!(refused(&[ED25519, &[0]].concat()), ImportError::NotPkcs8);
    assert_eq!(refused(&vec![0x30; PKCS8_BYTES_MAX]), ImportError::NotPkcs8);
    let found = PKCS8_BYTES_MAX + 1;
    assert_eq!(refused(&vec![0x30; found]), ImportError::TooLarge { found });
    for length in 0..ED25519.len() {
        assert!(PrivateKey::from_pkcs8(Suite::Ed25519, &ED25519[..length]).is_err(), "{length}");
    }
}

#[test]
fn an_ml_dsa_file_is_imported_by_its_seed() {
    let key = PrivateKey::generate(Suite::MlDsa44).unwrap();
    let seed = key.expose_secret().unwrap();
    // PrivateKeyInfo around `seed [0]` (RFC 9881, 6).
    let head = [0x30, 0x34, 2, 1, 0, 0x30, 0x0b, 6, 9, 0x60, 0x86, 0x48, 1, 0x65, 3, 4, 3, 0x11];
    let file = [&head[..], &[4, 0x22, 0x80, 0x20], &seed].concat();
    let imported = PrivateKey::from_pkcs8(Suite::MlDsa44, &file).unwrap();
    assert_eq!(imported.public(), key.public());
    assert_eq!(imported.expose_secret().unwrap(), seed);
}

#[test]
fn a_public_key_has_one_encoding() {
    for suite in [Suite::Ed25519, Suite::EcdsaP256, Suite::RsaPss3072, Suite::MlDsa44] {
        let key = key(suite);
        let spki = key.public().unwrap().spki();
        let malformed = Err(PublicKeyError::Malformed { suite });
        assert_eq!(PublicKey::from_spki(suite, spki).as_ref(), Ok(key.public().unwrap()));
        assert_eq!(PublicKey::from_spki(suite, &[spki, &[0]].concat()), malformed, "{suite}");
        assert_eq!(PublicKey::from_spki(suite, &spki[..spki.len() - 1]), malformed, "{suite}");
        let raw = key.public().unwrap().subject_public_key();
        assert_eq!(PublicKey::from_spki(suite, raw), malformed, "{suite}");
        assert_eq!(PublicKey::from_spki(suite, &[]), malformed, "{suite}");
    }
}

#[test]
fn a_public_key_of_another_suite_is_refused() {
    let spki = |suite| key(suite).public().unwrap().spki().to_vec();
    let p384 = spki(Suite::EcdsaP384);
    assert!(PublicKey::from_spki(Suite::EcdsaP256, &p384).is_err());
    assert!(PublicKey::from_spki(Suite::Ed25519, &p384).is_err());
    assert!(PublicKey::from_spki(Suite::MlDsa44, &spki(Suite::MlDsa65)).is_err());
    assert_eq!(
        PublicKey::from_spki(Suite::RsaPss4096, &spki(Suite::RsaPss3072)),
        Err(PublicKeyError::RsaModulus { expected: 4096, found: 3072 })
    );
    let suite = Suite::HmacSha256;
    assert_eq!(PublicKey::from_spki(suite, &p384), Err(PublicKeyError::NoPublicHalf { suite }));
    let found = PUBLIC_KEY_BYTES_MAX + 1;
    assert_eq!(
        PublicKey::from_spki(Suite::Ed25519, &vec![0; found]),
        Err(PublicKeyError::TooLarge { found })
    );
}

#[test]
fn a_mac_covers_the_concatenation_and_is_not_shortened() {
    for suite in [Suite::HmacSha256, Suite::HmacSha384, Suite::HmacSha512] {
        let key = key(suite);
        let mac = key.mac_key().unwrap();
        let tag = mac.mac(&[b"one", b"two"]);
        assert_eq!(mac.verify(&[b"onetwo"], &tag), Ok(()));
        assert_eq!(mac.verify(&[b"onetwo "], &tag), Err(BadTag));
        assert_eq!(mac.verify(&[b"onetwo"], &tag[..16]), Err(BadTag));
        for bit in 0..tag.len() * 8 {
            let mut changed = tag.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(mac.verify(&[b"onetwo"], &changed), Err(BadTag));
        }
    }
}

#[test]
fn a_derived_key_depends_on_purpose_context_and_length() {
    use chancery_core::context::{Context, Pair};
    let key = PrivateKey::from_secret(Suite::HkdfSha256, &[7; 32]).unwrap();
    let derive = |purpose: &str, context: &[&str], length| {
        let pairs = context.iter().map(|pair| Pair::parse(pair).unwrap()).collect();
        let context = Context::new(pairs).unwrap();
        key.derive_key().unwrap().derive(&purpose.parse().unwrap(), &context, length).unwrap()
    };
    let one = derive("derive.hkdf:session", &["a=1"], 32);
    assert_eq!(derive("derive.hkdf:session", &["a=1"], 32), one);
    assert_ne!(derive("derive.hkdf:other", &["a=1"], 32), one);
    assert_ne!(derive("derive.hkdf:session", &["a=2"], 32), one);
    assert_ne!(derive("derive.hkdf:session", &[], 32), one);
    assert_ne!(derive("derive.hkdf:session", &["a=1"], 64)[..32], one[..]);
    let refused = |length| {
        let purpose = "derive.hkdf:session".parse().unwrap();
        key.derive_key().unwrap().derive(&purpose, &Context::default(), length).unwrap_err()
    };
    assert_eq!(refused(0), DeriveError::Length { found: 0 });
    assert_eq!(
        refused(DERIVED_BYTES_MAX + 1),
        DeriveError::Length { found: DERIVED_BYTES_MAX + 1 }
    );
}
