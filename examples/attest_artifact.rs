//! Attests an artifact: an in-toto statement in a DSSE envelope.
//!
//! ```text
//! cargo run --release -p chancery-client --example attest_artifact
//! ```

#![expect(clippy::print_stdout, reason = "an example shows what it did")]

mod support;

use std::error::Error;
use std::fmt::Write as _;

use chancery_client::{Signer as _, sha256_of, unix_ms};
use chancery_core::context::Context;
use chancery_crypto::formats::{KeyVersion, Verified, Verifier, Verifying, verify};
use chancery_crypto::key::PublicKey;

const WANTED: support::Wanted = support::Wanted {
    name: "example-artifact",
    purpose: "sign.dsse:application/vnd.in-toto+json",
    algorithm: "ecdsa-p384",
    pins: &[],
};

fn main() -> Result<(), Box<dyn Error>> {
    let artifact = b"the bytes of a release";
    let mut digest = String::new();
    sha256_of(&artifact[..])?.iter().try_for_each(|byte| write!(digest, "{byte:02x}"))?;
    let statement = format!(
        r#"{{"_type":"https://in-toto.io/Statement/v1","subject":[{{"name":"release.tar","digest":{{"sha256":"{digest}"}}}}],"predicateType":"https://slsa.dev/provenance/v1","predicate":{{}}}}"#
    );
    let client = support::client()?;
    let (key, handle) = support::key_and_handle(&client, &WANTED)?;
    let envelope = client.sign(&handle, statement.as_bytes()).committed()?;
    println!("{}", std::str::from_utf8(&envelope.bytes)?);

    // Who installs the artifact expects this key and this type, and reads the statement after verifying.
    let version = key.versions.iter().find(|version| version.version == envelope.version);
    let spki = version
        .and_then(|version| version.public_key.as_ref())
        .ok_or("the version has no public key")?;
    let public = PublicKey::from_spki(key.algorithm, &spki.0)?;
    let expected = Verifying {
        purpose: &key.purpose,
        key: KeyVersion { key: key.id, version: envelope.version },
        verifier: Verifier::Public(&public),
        context: &Context::default(),
        payload: None,
        now_ms: unix_ms(),
    };
    let Verified::Dsse { payload } = verify(&envelope.bytes, &expected)? else {
        return Err("not an envelope".into());
    };
    if payload != statement.as_bytes() {
        return Err("another statement".into());
    }
    println!("verified: the statement about sha256:{digest} is as it was signed");
    Ok(())
}
