//! What others hold of this log: peers, which publish its files, and witnesses, which show what they cosigned last.
//!
//! **Invariant:** a checkpoint that is kept as seen was signed by a key of this log.

use std::time::Instant;

use chancery_audit::proof::Trust;
use chancery_audit::publish::CHECKPOINT_FILE;
use chancery_audit::witnessed::{Party, Standing};
use chancery_crypto::primitive::sha256;
use chancery_log::TreeHead;
use chancery_log::note::{KeyName, Note};
use chancery_log::tile::{TileReader, TileTree};

use super::exchange::Exchange;
use crate::parse::hex;

/// Where a peer publishes its checkpoint.
pub(crate) fn of_peer(url: &str) -> String {
    format!("{}/{CHECKPOINT_FILE}", url.trim_end_matches('/'))
}

/// Where a witness shows what it cosigned last of a log.
pub(crate) fn of_witness(url: &str, origin: &KeyName) -> String {
    let name = hex(&sha256(&[origin.as_str().as_bytes()]));
    format!("{}/{name}/{CHECKPOINT_FILE}", url.trim_end_matches('/'))
}

/// Looks at a checkpoint that is held elsewhere, and holds it against this log's tree. The note comes back where it
/// says what this log does not have.
pub(crate) fn look(
    exchange: &Exchange,
    url: &str,
    (log, tree): (&Trust, TreeHead),
    tiles: impl TileReader,
    deadline: Instant,
) -> (Party, Option<Note>) {
    let told = |standing| Party { name: url.to_owned(), standing };
    let note = match exchange.note(url, deadline) {
        Ok(note) => note,
        Err(error) => return (told(Standing::Away(error.to_string())), None),
    };
    let vouched = match log.vouched(note.clone()) {
        Ok(vouched) => vouched,
        Err(error) => return (told(Standing::Away(error.to_string())), None),
    };
    let held = vouched.checkpoint.tree;
    if held.size > tree.size {
        return (told(Standing::Ahead(held.size)), Some(log.kept(&note)));
    }
    match TileTree::new(tree.size, tiles).root_at(held.size) {
        Ok(root) if root == held.root => (told(Standing::Holds(held.size)), None),
        Ok(_) => (told(Standing::Differs), Some(log.kept(&note))),
        Err(error) => (told(Standing::Away(format!("this log's tiles: {error}"))), None),
    }
}
