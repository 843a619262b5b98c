//! The trust bundle of the second implementation (`vectors/bundles.json`) is read and verified alike, and what it refuses
//! is refused.

#[cfg(test)]
mod bundles {
    use std::fs;
    use std::path::Path;

    use chancery_core::context::Context;
    use chancery_core::name::Scope;
    use chancery_crypto::bundle::{Assembly, Expected, Pins};
    use chancery_crypto::formats::Payload;
    use serde_json::Value;

    fn vectors() -> Value {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../vectors/bundles.json");
        serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
    }

    fn bytes(value: &Value) -> Vec<u8> {
        let pair =
            |pair: &[u8; 2]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
        value.as_str().unwrap().as_bytes().as_chunks::<2>().0.iter().map(pair).collect()
    }

    fn pins(vectors: &Value) -> Pins {
        Pins::parse(vectors["pins"].as_str().unwrap()).unwrap()
    }

    #[test]
    fn a_bundle_of_the_second_implementation_verifies_alike() {
        let vectors = vectors();
        let file = bytes(&vectors["file"]);
        let bundle = Assembly::whole(&file, &pins(&vectors)).unwrap();
        assert_eq!(bundle.digest().to_vec(), bytes(&vectors["digest"]));
        assert_eq!(bundle.to_file(), file);
        let part = |at: usize| vectors["scope"][at].as_str().unwrap().parse().unwrap();
        let scope = Scope { environment: part(0), region: part(1), service: part(2) };
        let purpose = vectors["purpose"].as_str().unwrap().parse().unwrap();
        let (message, context) = (bytes(&vectors["message"]), Context::default());
        for vector in vectors["verified"].as_array().unwrap() {
            let key = vector["key"].as_str().unwrap().parse().unwrap();
            let expected = Expected {
                key: &key,
                purpose: &purpose,
                scope: &scope,
                context: &context,
                payload: Some(Payload::Message(&message)),
                now_ms: vectors["now_ms"].as_u64().unwrap(),
            };
            let result = bundle.verify(&bytes(&vector["signature"]), &expected);
            let versions = result.map(|accepted| accepted.versions).ok();
            let version = u32::try_from(vector["version"].as_u64().unwrap()).unwrap();
            let holds = vector["holds"].as_bool().unwrap();
            assert_eq!(versions, holds.then(|| vec![version]), "version {version}");
        }
    }

    #[test]
    fn what_it_refuses_is_refused() {
        let vectors = vectors();
        for vector in vectors["refused"].as_array().unwrap() {
            let result = Assembly::whole(&bytes(&vector["file"]), &pins(&vectors));
            assert!(result.is_err(), "{}", vector["fault"]);
        }
    }
}
