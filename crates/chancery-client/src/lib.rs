//! The client: handles, a capability-style signer and its three outcomes.
//!
//! A caller holds a [`KeyHandle`], a narrow and expiring capability for one key, and asks a [`Signer`] or the
//! whole [`Client`] to use it. Every answer is one of three: Committed, Refused, or Unknown with the
//! operation id that resolves it. What changes authority is signed by the [`Principal`] of a [`Profile`].
//!
//! ```no_run
//! use std::path::Path;
//!
//! use chancery_client::{Client, KeyHandle, Outcome, Profile, Signer as _};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::new(&Profile::load(Path::new("chancery-data/admin.toml"))?)?;
//! let handle = KeyHandle::parse(&std::fs::read_to_string("invoices.handle")?)?;
//! match client.sign(&handle, b"invoice 42") {
//!     Outcome::Committed(signature) => println!("{} bytes", signature.bytes.len()),
//!     Outcome::Refused(refusal) => println!("not done: {refusal}"),
//!     Outcome::Unknown(operation) => println!("ask again with {operation}"),
//! }
//! # Ok(())
//! # }
//! ```
//!
//! What is deliberately not here: retries. Whether an unknown outcome is worth asking about again is for the
//! caller to say, with the same operation id.

mod carried;
mod client;
mod data_key;
mod digest;
mod handle;
mod hints;
mod holder;
mod import;
mod moment;
mod outcome;
mod pem;
mod principal;
mod profile;
mod socket;
mod transport;
mod uses;
mod verifier;

pub use carried::{carries_payload, is_about};
pub use client::{Client, ClientError, Item, Signature, Signer};
pub use data_key::{DataKeyError, MadeDataKey};
pub use digest::sha256_of;
pub use handle::{Constraints, HandleError, KeyHandle};
pub use hints::Next;
pub use holder::{HolderError, HolderKey, public_from_pem};
pub use import::{SealImportError, seal_import};
pub use moment::{operation_id, unix_ms};
pub use outcome::{NotCommitted, Outcome, Refusal};
pub use pem::{PemError, decode as decode_pem};
pub use principal::{CommandSignature, Occasion, Principal};
pub use profile::{PROFILE_BYTES_MAX, Profile, ProfileError};
pub use transport::CaError;
pub use uses::{Input, Manner, Receipt, Used};
pub use verifier::{
    BundleSource, Clock, NotAccepted, PlaceError, REFETCH_FLOOR, RefreshError, Refreshed,
    SourceError, SystemClock, Verifier, Wanted,
};
