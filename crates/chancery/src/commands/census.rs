//! `census`: where ciphertexts of a key lie, and how many of them each version encrypted.

use std::path::PathBuf;

use anyhow::anyhow;
use chancery_core::census::{Declaration, Found, Vouched};
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
  chancery census cards --inventory warehouse --others-are-none /var/lib/cards
  chancery census cards --inventory archive --empty /var/lib/archive

A version is retired by a rollout when every place that was declared was scanned since the version protected last, none
holds a ciphertext of it, and nothing was decrypted with it since the scan began. A place in which a scan did not recognize
everything, or found nothing, may be the wrong one: nobody knows what it holds until its owner says so. A declaration is on
record.")]
pub(crate) struct CensusArgs {
    /// The key.
    key: Name,
    /// What the place is called.
    #[arg(long, value_name = "NAME")]
    inventory: Option<Name>,
    /// Declare that the place is no more, so that it counts no longer.
    #[arg(long, requires = "inventory", conflicts_with = "place")]
    withdraw: bool,
    #[command(flatten)]
    others: OthersArgs,
    /// Declare that the place is the one that is meant, and that nothing lies in it. A scan sees to the latter.
    #[arg(long, requires = "place", conflicts_with = "others_are_none")]
    empty: bool,
    /// The place.
    #[arg(requires = "inventory")]
    place: Option<PathBuf>,
}

/// What is said of the things in a place that a scan does not recognize.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct OthersArgs {
    /// Declare that what a scan does not recognize holds no ciphertexts of the key: links, other files, other keys' ciphertexts.
    #[arg(long, requires = "place")]
    others_are_none: bool,
}

impl OthersArgs {
    /// What is said.
    pub(crate) fn vouched(self) -> Option<Vouched> {
        self.others_are_none.then_some(Vouched::OthersAreNone)
    }
}

/// Carries `census` out.
pub(crate) fn run(shared: &Shared, args: &CensusArgs) -> Result<(), Failure> {
    let client = connection::client(shared)?;
    match (&args.inventory, &args.place) {
        (Some(inventory), Some(place)) => {
            let place = Place::at(place)?;
            let vouched = if args.empty { Some(Vouched::Empty) } else { args.others.vouched() };
            declare(&client, (&args.key, inventory), (&place, vouched))?;
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
