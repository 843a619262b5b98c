//! `census`: where ciphertexts of a key lie, and how many of them each version encrypted.

use std::path::PathBuf;

use anyhow::anyhow;
use chancery_core::census::{Declaration, Found};
use chancery_core::command::Command;
use chancery_core::name::Name;
use clap::Args;

use crate::cli::Shared;
use crate::commands::reprotect;
use crate::connection;
use crate::exit::Failure;
use crate::reprotect::{Place, declare, given};

/// Count the ciphertexts of a key that lie in a place, and declare that; or show what is declared.
///
/// A place is a directory of files with one ciphertext each, however deep, or a file with one on each line: base64, or a
/// JSON object with `ciphertext` (or `output`, as the API answers). Headers alone are read, and nothing is decrypted.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  chancery census cards
  chancery census cards --inventory warehouse /var/lib/cards
  chancery census cards --inventory exports cards.ndjson
  chancery census cards --inventory exports --withdraw

A version is retired by a rollout when every place that was declared was scanned since the version protected last, none
holds a ciphertext of it, and nothing was opened with it since the scan began. A declaration is on record.")]
pub(crate) struct CensusArgs {
    /// The key.
    key: Name,
    /// What the place is called.
    #[arg(long, value_name = "NAME")]
    inventory: Option<Name>,
    /// Declare that the place is no more, so that it counts no longer.
    #[arg(long, requires = "inventory", conflicts_with = "place")]
    withdraw: bool,
    /// The place.
    #[arg(requires = "inventory")]
    place: Option<PathBuf>,
}

/// Carries `census` out.
pub(crate) fn run(shared: &Shared, args: &CensusArgs) -> Result<(), Failure> {
    let client = connection::client(shared)?;
    match (&args.inventory, &args.place) {
        (Some(inventory), Some(place)) => {
            let place = Place::at(place)?;
            declare(&client, (&args.key, inventory), &place)?;
        }
        (Some(inventory), None) if args.withdraw => {
            let (key, inventory) = (args.key.clone(), inventory.clone());
            let declaration = Declaration { key, inventory, found: Found::Withdrawn };
            given(&client, &Command::DeclareInventory(declaration))?;
        }
        (Some(_), None) => {
            let what = "name the place to scan as well, or `--withdraw`";
            return Err(Failure::Usage(anyhow!(what)));
        }
        (None, _) => {}
    }
    reprotect::show_keys(shared, &client, Some(&args.key))
}
