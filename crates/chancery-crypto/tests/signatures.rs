//! What the second implementation signs (`vectors/signatures.json`) is made here byte for byte, and verifies.

#[cfg(test)]
mod signatures {
    use std::collections::BTreeMap;
    use std::fs;
    use std::path::Path;

    use chancery_core::context::{Context, Pair};
    use chancery_core::id::KeyId;
    use chancery_core::purpose::Purpose;
    use chancery_core::suite::Suite;
    use chancery_crypto::formats::{
        self, KeyVersion, Payload, Signatures, Signing, Verifier, Verifying, to_be_signed,
    };
    use chancery_crypto::key::{PrivateKey, PublicKey};
    use serde_json::Value;

    /// The file, and the keys in it by their versions.
    struct Vectors {
        file: Value,
        keys: BTreeMap<u32, PrivateKey>,
    }

    /// One output, and what it was made of.
    struct Signed {
        purpose: Purpose,
        context: Context,
        message: Vec<u8>,
        versions: Vec<u32>,
        output: Vec<u8>,
    }

    fn bytes(value: &Value) -> Vec<u8> {
        let pair =
            |pair: &[u8; 2]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
        value.as_str().unwrap().as_bytes().as_chunks::<2>().0.iter().map(pair).collect()
    }

    fn version(value: &Value) -> u32 {
        value.as_u64().unwrap().try_into().unwrap()
    }

    impl Vectors {
        fn read() -> Self {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../vectors/signatures.json");
            let file: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
            let key = |key: &Value| {
                let private =
                    PrivateKey::from_secret(Suite::Ed25519, &bytes(&key["seed"])).unwrap();
                (version(&key["version"]), private)
            };
            let keys = file["keys"].as_array().unwrap().iter().map(key).collect();
            Self { file, keys }
        }

        fn signed(&self) -> Vec<Signed> {
            let pair = |pair: &Value| {
                Pair::new(pair[0].as_str().unwrap(), pair[1].as_str().unwrap()).unwrap()
            };
            let signed = |signed: &Value| Signed {
                purpose: signed["purpose"].as_str().unwrap().parse().unwrap(),
                context: Context::new(
                    signed["context"].as_array().unwrap().iter().map(pair).collect(),
                )
                .unwrap(),
                message: bytes(&signed["message"]),
                versions: signed["versions"].as_array().unwrap().iter().map(version).collect(),
                output: bytes(&signed["output"]),
            };
            self.file["signed"].as_array().unwrap().iter().map(signed).collect()
        }

        fn key(&self) -> KeyId {
            KeyId::from_bytes(bytes(&self.file["key"]).try_into().unwrap())
        }

        fn number(&self, name: &str) -> u64 {
            self.file[name].as_u64().unwrap()
        }

        fn public(&self, version: u32) -> &PublicKey {
            self.keys[&version].public().unwrap()
        }

        /// The same output, made here.
        fn again(&self, signed: &Signed) -> Vec<u8> {
            let signatures =
                if signed.versions.len() == 1 { Signatures::One } else { Signatures::Two };
            let mut made = signed.versions.iter().map(|&version| {
                let signing = Signing {
                    purpose: &signed.purpose,
                    suite: Suite::Ed25519,
                    key: self.key(),
                    version,
                    public: self.public(version).spki(),
                    posture_epoch: self.number("posture_epoch"),
                    context: &signed.context,
                    payload: Payload::Message(&signed.message),
                    signatures,
                    now_ms: self.number("time_ms"),
                };
                let to_be_signed = to_be_signed(&signing).unwrap();
                let signature = self.keys[&version].sign(to_be_signed.bytes()).unwrap();
                (to_be_signed, signature)
            });
            let (one, signature) = made.next().unwrap();
            match made.next() {
                None => one.assemble(&signature),
                Some((other, beside)) => {
                    formats::assemble_both((one, &signature), (other, &beside)).unwrap()
                }
            }
        }
    }

    #[test]
    fn what_is_signed_here_is_what_the_second_implementation_signs() {
        let vectors = Vectors::read();
        let signed = vectors.signed();
        for signed in &signed {
            let ours = vectors.again(signed);
            assert_eq!(ours, signed.output, "{}: {:?}", signed.purpose, signed.versions);
        }
        assert_eq!(signed.len(), 13);
    }

    #[test]
    fn what_the_second_implementation_signs_verifies_by_each_of_its_versions() {
        let vectors = Vectors::read();
        for signed in vectors.signed() {
            let carries = signed.purpose.format().carries_payload();
            let verify = |version, by| {
                let expected = Verifying {
                    purpose: &signed.purpose,
                    key: KeyVersion { key: vectors.key(), version },
                    verifier: Verifier::Public(vectors.public(by)),
                    context: &signed.context,
                    payload: (!carries).then_some(Payload::Message(&signed.message)),
                    now_ms: vectors.number("time_ms"),
                };
                formats::verify(&signed.output, &expected)
            };
            for &version in &signed.versions {
                assert!(verify(version, version).is_ok(), "{}: {version}", signed.purpose);
                assert!(verify(version, 3 - version).is_err() || names_both(&signed));
            }
        }
    }

    /// Whether an output names two public halves and no version, so that either verifies.
    fn names_both(signed: &Signed) -> bool {
        formats::names_public_halves(signed.purpose.format()) && signed.versions.len() == 2
    }
}
