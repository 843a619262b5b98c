//! Signs the body of a webhook, and verifies it as its receiver does: offline, with the public key alone.
//!
//! The handle pins the endpoint, so that a signature made for one endpoint means nothing at another.
//!
//! ```text
//! cargo run --release -p chancery-client --example sign_webhook
//! ```

#![expect(clippy::print_stdout, reason = "an example shows what it did")]

mod support;

use std::error::Error;

use chancery_client::{Outcome, Signature, Signer as _, unix_ms};
use chancery_core::context::{Context, Pair};
use chancery_crypto::formats::{KeyVersion, Payload, Verifier, Verifying, verify};
use chancery_crypto::key::PublicKey;

const WANTED: support::Wanted = support::Wanted {
    name: "example-webhook",
    purpose: "sign.bound:webhook",
    algorithm: "ed25519",
    pins: &["endpoint=orders"],
};

fn main() -> Result<(), Box<dyn Error>> {
    let body = br#"{"event":"order.paid","order":42}"#;
    let client = support::client()?;
    let (key, handle) = support::key_and_handle(&client, &WANTED)?;

    // Each of the three outcomes asks for something else.
    let signature: Signature = match client.sign(&handle, body) {
        Outcome::Committed(signature) => signature,
        Outcome::Refused(refusal) => return Err(format!("not signed: {refusal}").into()),
        Outcome::Unknown(operation) => {
            return Err(format!("no answer; ask again with operation id {operation}").into());
        }
    };
    println!("signed by version {} at log index {}", signature.version, signature.log_index);

    // The receiver knows the key, its purpose and its own endpoint, and takes nothing from the message.
    let version = key.versions.iter().find(|version| version.version == signature.version);
    let spki = version
        .and_then(|version| version.public_key.as_ref())
        .ok_or("the version has no public key")?;
    let public = PublicKey::from_spki(key.algorithm, &spki.0)?;
    let expected = Verifying {
        purpose: &key.purpose,
        key: KeyVersion { key: key.id, version: signature.version },
        verifier: Verifier::Public(&public),
        context: &Context::new(vec![Pair::parse("endpoint=orders")?])?,
        payload: Some(Payload::Message(body)),
        now_ms: unix_ms(),
    };
    verify(&signature.bytes, &expected)?;
    let elsewhere = Context::new(vec![Pair::parse("endpoint=refunds")?])?;
    if verify(&signature.bytes, &Verifying { context: &elsewhere, ..expected }).is_ok() {
        return Err("the signature holds for another endpoint".into());
    }
    println!("the receiver at `orders` accepts it, the one at `refunds` does not");
    Ok(())
}
