//! Issues an access token: a compact JWS (RFC 7519, RFC 9068) whose header the service builds.
//!
//! The caller hands in claims, never a header: `alg`, `kid` and `typ` come from the key and its purpose.
//!
//! ```text
//! cargo run --release -p chancery-client --example issue_token
//! ```

#![expect(clippy::print_stdout, reason = "an example shows what it did")]

mod support;

use std::error::Error;

use chancery_client::{Signer as _, unix_ms};
use chancery_core::context::Context;
use chancery_crypto::formats::{Verified, Verifier, Verifying, jws, verify};
use chancery_crypto::key::PublicKey;

const WANTED: support::Wanted = support::Wanted {
    name: "example-token",
    purpose: "sign.jws:at+jwt",
    algorithm: "ecdsa-p256",
    pins: &[],
};

fn main() -> Result<(), Box<dyn Error>> {
    let client = support::client()?;
    let (key, handle) = support::key_and_handle(&client, &WANTED)?;
    let now_s = unix_ms() / 1_000;
    let claims = format!(
        r#"{{"iss":"https://login.example","aud":"https://api.example","sub":"user-7","iat":{now_s},"exp":{}}}"#,
        now_s + 300
    );
    let token = client.sign(&handle, claims.as_bytes()).committed()?;
    println!("{}", std::str::from_utf8(&token.bytes)?);

    // Who checks the token finds the version by `kid`, and takes the algorithm from the key.
    let named = jws::key_version(&token.bytes)?;
    let version = key.versions.iter().find(|version| version.version == named.version);
    let spki = version
        .and_then(|version| version.public_key.as_ref())
        .ok_or("the version has no public key")?;
    let public = PublicKey::from_spki(key.algorithm, &spki.0)?;
    let expected = Verifying {
        purpose: &key.purpose,
        key: named,
        verifier: Verifier::Public(&public),
        context: &Context::default(),
        payload: None,
        now_ms: unix_ms(),
    };
    let Verified::Jws { claims } = verify(&token.bytes, &expected)? else {
        return Err("not a token".into());
    };
    println!("verified: {}", String::from_utf8(claims)?);
    Ok(())
}
