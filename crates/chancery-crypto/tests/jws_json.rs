//! JWS in the JSON serialization: the cases of the second implementation (`vectors/jws_json.json`), and joserfc, which
//! verifies what is made here.
//!
//! joserfc is where `cargo xtask prerequisites` puts it; where it is missing these tests fail and say so.

#[cfg(test)]
mod jws_json {
    use std::fs;
    use std::path::{Path, PathBuf};
    use std::process::{Command, Output};

    use chancery_core::context::Context;
    use chancery_core::id::KeyId;
    use chancery_core::purpose::{Format, Purpose};
    use chancery_core::suite::Suite;
    use chancery_crypto::export::jwks;
    use chancery_crypto::formats::{
        self, KeyVersion, Payload, Signatures, Signing, ToBeSigned, Verifier, Verifying,
    };
    use chancery_crypto::key::{PrivateKey, PublicKey};
    use serde_json::{Value, json};

    /// 1 700 000 000 seconds, in milliseconds.
    const NOW_MS: u64 = 1_700_000_000_000;
    const CLAIMS: &[u8] =
        br#"{"iss":"https://issuer.example","aud":"api","iat":1700000000,"exp":1700000600}"#;
    const PURPOSE: &str = "sign.jws-json:grant+jwt";

    fn vectors() -> Value {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../vectors/jws_json.json");
        serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
    }

    fn bytes(value: &Value) -> Vec<u8> {
        let pair =
            |pair: &[u8; 2]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
        value.as_str().unwrap().as_bytes().as_chunks::<2>().0.iter().map(pair).collect()
    }

    /// The keys of versions 1 and 2.
    fn keys(vectors: &Value) -> [PrivateKey; 2] {
        let key = |at: usize| {
            PrivateKey::from_secret(Suite::Ed25519, &bytes(&vectors["keys"][at]["seed"]))
        };
        [key(0).unwrap(), key(1).unwrap()]
    }

    /// The versions that an output names, those of them that hold, each once and in its order; nothing where it is no JWS.
    fn held(vectors: &Value, output: &[u8]) -> Vec<u32> {
        let purpose: Purpose = vectors["purpose"].as_str().unwrap().parse().unwrap();
        let key = KeyId::from_bytes(bytes(&vectors["key"]).try_into().unwrap());
        let keys = keys(vectors);
        let mut held = Vec::new();
        for named in formats::key_versions(Format::JwsJson, output) {
            let place = usize::try_from(named.version).unwrap().checked_sub(1).unwrap();
            let Some(private) = keys.get(place).filter(|_| named.key == key) else { continue };
            let expected = Verifying {
                purpose: &purpose,
                key: named,
                verifier: Verifier::Public(private.public().unwrap()),
                context: &Context::default(),
                payload: None,
                now_ms: vectors["time_ms"].as_u64().unwrap(),
            };
            if !held.contains(&named.version) && formats::verify(output, &expected).is_ok() {
                held.push(named.version);
            }
        }
        held
    }

    #[test]
    fn each_case_of_the_second_implementation_is_judged_alike() {
        let vectors = vectors();
        let cases = vectors["cases"].as_array().unwrap();
        for case in cases {
            let output = case["output"].as_str().unwrap().as_bytes();
            assert_eq!(json!(held(&vectors, output)), case["holds"], "{}", case["name"]);
            let is_malformed = formats::jws_json::key_versions(output).is_err();
            assert_eq!(json!(is_malformed), case["is_malformed"], "{}", case["name"]);
        }
        let refused = cases.iter().filter(|case| case["holds"] == json!([])).count();
        assert_eq!((cases.len(), refused), (83, 68));
    }

    /// Whether or not the output is found to name it.
    #[test]
    fn a_version_that_does_not_hold_does_not_verify() {
        let vectors = vectors();
        let purpose: Purpose = vectors["purpose"].as_str().unwrap().parse().unwrap();
        let key = KeyId::from_bytes(bytes(&vectors["key"]).try_into().unwrap());
        for case in vectors["cases"].as_array().unwrap() {
            let output = case["output"].as_str().unwrap().as_bytes();
            for (version, private) in (1..).zip(keys(&vectors)) {
                let expected = Verifying {
                    purpose: &purpose,
                    key: KeyVersion { key, version },
                    verifier: Verifier::Public(private.public().unwrap()),
                    context: &Context::default(),
                    payload: None,
                    now_ms: vectors["time_ms"].as_u64().unwrap(),
                };
                let holds = case["holds"].as_array().unwrap().contains(&json!(version));
                let verified = formats::verify(output, &expected);
                assert_eq!(verified.is_ok(), holds, "{}: {version}", case["name"]);
            }
        }
    }

    fn joserfc() -> PathBuf {
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
        let path = target.join("tools/joserfc/bin/python");
        assert!(path.exists(), "`{}` is missing: run `cargo xtask prerequisites`", path.display());
        path
    }

    /// Whether each output holds under the keys of a JWK Set, by RFC 7515 alone: every signature of it must. ML-DSA, which
    /// joserfc does not have, is taught to it where Python's `cryptography` has it (RFC 9964).
    const VERIFY: &str = r"
import json, sys, warnings
warnings.simplefilter('ignore')
from joserfc import jws
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey
from joserfc.util import urlsafe_b64decode
given = json.load(sys.stdin)
keys = {key['kid']: key for key in given['keys']}
algorithms = ['EdDSA', 'ES256', 'ES384', 'PS256', 'RS256']
try:
    from cryptography.hazmat.primitives.asymmetric import mldsa
    class MlDsa(jws.JWSAlgModel):
        key_type, recommended = 'oct', True
        def __init__(self, name, public): self.name, self.description, self.public = name, name, public
        def sign(self, msg, key): raise NotImplementedError
        def verify(self, msg, sig, key):
            try:
                self.public.from_public_bytes(key.raw_value).verify(sig, msg)
                return True
            except Exception:
                return False
    for name, public in [('ML-DSA-65', mldsa.MLDSA65PublicKey)]:
        jws.JWSRegistry.register(MlDsa(name, public))
        algorithms.append(name)
except ImportError:
    pass
kinds = {'EC': ECKey.import_key, 'OKP': OKPKey.import_key, 'RSA': RSAKey.import_key}
# The library has no such key: the bytes of the public half are one of bytes to it.
kinds['AKP'] = lambda jwk: OctKey.import_key(urlsafe_b64decode(jwk['pub'].encode()))
def find(obj):
    jwk = keys[obj.headers()['kid']]
    return kinds[jwk['kty']](jwk)
registry = jws.JWSRegistry(algorithms=algorithms)
registry.max_signature_length = 8192
results = []
for output in given['outputs']:
    try:
        found = jws.deserialize_json(json.loads(output), find, registry=registry)
        results.append(json.loads(found.payload)['aud'] == 'api')
    except Exception as error:
        results.append(repr(error))
print(json.dumps({'algorithms': algorithms, 'results': results}))
";

    /// What joserfc says of outputs, and the algorithms that it has.
    fn said(keys: &str, outputs: &[String]) -> (Vec<Value>, Vec<Value>) {
        use std::io::Write as _;
        let mut keys: Value = serde_json::from_str(keys).unwrap();
        let given = json!({ "keys": keys["keys"].take(), "outputs": outputs });
        let mut command = Command::new(joserfc());
        command.args(["-B", "-c", VERIFY]).stdin(std::process::Stdio::piped());
        command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(given.to_string().as_bytes()).unwrap();
        let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
        assert!(status.success(), "{}", String::from_utf8_lossy(&stderr));
        let mut said: Value = serde_json::from_slice(&stdout).unwrap();
        let mut list = |name: &str| match said[name].take() {
            Value::Array(list) => list,
            other => panic!("{other}"),
        };
        (list("algorithms"), list("results"))
    }

    struct Signer {
        key: KeyVersion,
        private: PrivateKey,
    }

    impl Signer {
        fn new(version: u32, suite: Suite) -> Self {
            let key = KeyVersion { key: KeyId::from_bytes([7; 16]), version };
            Self { key, private: PrivateKey::generate(suite).unwrap() }
        }

        fn sign(&self, signatures: Signatures) -> (ToBeSigned, Vec<u8>) {
            let signing = Signing {
                purpose: &PURPOSE.parse().unwrap(),
                suite: self.private.suite(),
                key: self.key.key,
                version: self.key.version,
                public: self.private.public().map(PublicKey::spki).unwrap(),
                posture_epoch: 1,
                context: &Context::default(),
                payload: Payload::Message(CLAIMS),
                signatures,
                now_ms: NOW_MS,
            };
            let prepared = formats::to_be_signed(&signing).unwrap();
            let signature = self.private.sign(prepared.bytes()).unwrap();
            (prepared, signature)
        }

        fn alone(&self) -> String {
            let (prepared, signature) = self.sign(Signatures::One);
            String::from_utf8(prepared.assemble(&signature)).unwrap()
        }

        fn beside(&self, other: &Self) -> String {
            let [(one, signature), (two, beside)] =
                [self, other].map(|signer| signer.sign(Signatures::Two));
            let both = formats::assemble_both((one, &signature), (two, &beside)).unwrap();
            String::from_utf8(both).unwrap()
        }
    }

    /// The same output with another payload, which no signature in it is about.
    fn about_another(output: &str) -> String {
        let changed = output.replacen("\"payload\":\"e", "\"payload\":\"f", 1);
        assert_ne!(changed, output);
        changed
    }

    #[test]
    fn a_second_library_verifies_what_is_signed_here_and_nothing_altered() {
        let suites = [
            Suite::Ed25519,
            Suite::EcdsaP256,
            Suite::EcdsaP384,
            Suite::RsaPss3072,
            Suite::RsaPkcs1Sha256With3072,
            Suite::MlDsa65,
        ];
        let signers: Vec<_> =
            (1..).zip(suites).map(|(version, suite)| Signer::new(version, suite)).collect();
        let publics = signers.iter().map(|it| (it.private.public().unwrap(), it.key));
        let keys = jwks(publics).unwrap();
        let pairs = signers.windows(2).map(|pair| pair[0].beside(&pair[1]));
        let outputs: Vec<_> = signers.iter().map(Signer::alone).chain(pairs).collect();
        let names_ml_dsa = |at: usize| at == suites.len() - 1 || at == outputs.len() - 1;
        let (algorithms, results) = said(&keys, &outputs);
        let has_ml_dsa = algorithms.contains(&json!("ML-DSA-65"));
        for (at, result) in results.iter().enumerate() {
            let holds = has_ml_dsa || !names_ml_dsa(at);
            assert_eq!(*result == json!(true), holds, "{}: {result}", outputs[at]);
        }
        assert_eq!(results.len(), 11);
        let altered: Vec<_> = outputs.iter().map(|output| about_another(output)).collect();
        let (_, results) = said(&keys, &altered);
        assert!(results.iter().all(|result| *result != json!(true)), "{results:?}");
    }

    /// The other way round is not so: the library knows neither our types nor our claims, and takes names twice.
    #[test]
    fn where_every_signature_holds_here_it_holds_for_a_second_library() {
        let vectors = vectors();
        let keys = keys(&vectors);
        let id = KeyId::from_bytes(bytes(&vectors["key"]).try_into().unwrap());
        let named = |version| KeyVersion { key: id, version };
        let publics =
            keys.iter().zip(1..).map(|(it, version)| (it.public().unwrap(), named(version)));
        let keys = jwks(publics).unwrap();
        let cases = vectors["cases"].as_array().unwrap();
        let count = |case: &Value| {
            let output: Value = serde_json::from_str(case["output"].as_str().unwrap()).unwrap();
            output["signatures"].as_array().map_or(1, Vec::len)
        };
        let whole = |case: &&Value| {
            let holding = case["holds"].as_array().unwrap().len();
            holding > 0 && holding == count(case)
        };
        let outputs: Vec<_> = cases
            .iter()
            .filter(whole)
            .map(|case| case["output"].as_str().unwrap().to_owned())
            .collect();
        let (_, results) = said(&keys, &outputs);
        assert!(results.iter().all(|result| *result == json!(true)), "{results:?}");
        assert_eq!(results.len(), 7);
    }
}
