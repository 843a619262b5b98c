//! Encrypts one field of a database row, bound to that row: moved to another row, it does not decrypt.
//!
//! ```text
//! cargo run --release -p chancery-client --example encrypt_field
//! ```

#![expect(clippy::print_stdout, reason = "an example shows what it did")]

mod support;

use std::error::Error;

use chancery_client::{Client, KeyHandle, Manner, Outcome, Receipt, Used, operation_id};
use chancery_core::context::{Context, Pair};

const WANTED: support::Wanted = support::Wanted {
    name: "example-field",
    purpose: "encrypt.aead:card-number",
    algorithm: "aes-256-gcm",
    pins: &["table=customers"],
};

/// Where a field stands.
fn row(id: u32) -> Result<Context, Box<dyn Error>> {
    Ok(Context::new(vec![Pair::new("row", &id.to_string())?])?)
}

fn manner(context: &Context) -> Result<Manner<'_>, Box<dyn Error>> {
    Ok(Manner {
        operation: operation_id()?,
        context,
        receipt: Receipt::Unwanted,
        holders: &[],
        routing_key: None,
    })
}

fn decrypt(
    client: &Client,
    handle: &KeyHandle,
    stored: &[u8],
    context: &Context,
) -> Result<Outcome<Used>, Box<dyn Error>> {
    Ok(client.decrypt(handle, stored, &manner(context)?))
}

fn main() -> Result<(), Box<dyn Error>> {
    let client = support::client()?;
    let (_, handle) = support::key_and_handle(&client, &WANTED)?;
    let (here, elsewhere) = (row(7)?, row(8)?);

    // The operation id is made before the request: the same call with the same id never encrypts twice.
    let stored =
        client.encrypt(&handle, b"4111 1111 1111 1111", &manner(&here)?).committed()?.output;
    println!("stored: {} bytes", stored.len());

    let read = decrypt(&client, &handle, &stored, &here)?.committed()?.output;
    if read != b"4111 1111 1111 1111" {
        return Err("another plaintext".into());
    }
    println!("row 7 reads it back");

    match decrypt(&client, &handle, &stored, &elsewhere)? {
        Outcome::Refused(refusal) => println!("in row 8 it is refused: {}", refusal.code),
        Outcome::Committed(_) => return Err("the field decrypts in another row".into()),
        Outcome::Unknown(operation) => return Err(format!("no answer to {operation}").into()),
    }
    Ok(())
}
