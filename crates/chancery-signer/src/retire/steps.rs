//! The steps of a retirement, each durable before the next is begun, and found done where it was.
//!
//! The store goes first: what it says afterwards goes with no log but the one that is begun, so whoever takes the journal
//! away meanwhile gets a service that refuses to start.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use chancery_audit::disk::{DirectoryDisk, Disk as _};
use chancery_audit::gap::{Gap, SignedGap};
use chancery_audit::index::INDEX_DIRECTORY;
use chancery_audit::journal::{Entry, JOURNAL_FILE, Journal};
use chancery_audit::origin::Origin;
use chancery_audit::publish::{GAP_FILE, LOG_DIRECTORY};
use chancery_audit::record::Authentication;
use chancery_audit::shelf::make_root;
use chancery_audit::verify::AUDIT_DIRECTORY;
use chancery_core::action::RETIRE_ORIGIN;
use chancery_core::authority::{Authority, Row, TenantRow};
use chancery_core::cbor;
use chancery_core::clock::{Quality, Reading, Served};
use chancery_core::epoch::Epoch;
use chancery_core::id::TenantId;
use chancery_store::private_dir;

use super::{RETIRED_DIRECTORY, RETIRING_FILE, RetireError, found, publish, secrets};
use crate::config::SignerError;
use crate::outbox::OutboxEntry;
use crate::reduce_only::REDUCTIONS_DIRECTORY;
use crate::stored;
use crate::vault::{Change, Vault};

/// What the directory of reductions is called until it is whole.
const UNMADE_REDUCTIONS: &str = "reductions.new";

/// What a retirement has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The statement is written down.
    Begun,
    /// Handles from before are void.
    Raised,
    /// The service has the keys of the log that is to begin.
    Replaced,
    /// The records are aside.
    MovedAudit,
    /// What was published is aside.
    MovedLog,
    /// The index is aside.
    MovedIndex,
    /// The reductions that wait are carried over.
    CarriedReductions,
    /// The statement is published.
    Published,
}

impl Step {
    /// Every step, in their order.
    pub const ALL: [Self; 8] = [
        Self::Begun,
        Self::Raised,
        Self::Replaced,
        Self::MovedAudit,
        Self::MovedLog,
        Self::MovedIndex,
        Self::CarriedReductions,
        Self::Published,
    ];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Begun => "begun",
            Self::Raised => "raised",
            Self::Replaced => "replaced",
            Self::MovedAudit => "moved-audit",
            Self::MovedLog => "moved-log",
            Self::MovedIndex => "moved-index",
            Self::CarriedReductions => "carried-reductions",
            Self::Published => "published",
        }
    }
}

/// What was retired, and what follows it.
#[derive(Debug)]
pub struct Retired {
    /// The log that was.
    pub old: String,
    /// The log that the next start begins.
    pub new: String,
    /// Where the files of the old one are.
    pub directory: PathBuf,
    /// Operation ids that are dated up to then are refused, in milliseconds since 1970.
    pub unknown_to_ms: u64,
}

/// Where the files of a retired log are put.
pub(super) fn directory(data: &Path, gap: &Gap) -> PathBuf {
    data.join(RETIRED_DIRECTORY).join(gap.short_name())
}

/// Fails if reductions wait that cannot be read.
pub(super) fn check_reductions(data: &Path, gap: &Gap) -> Result<(), RetireError> {
    waiting(&data.join(REDUCTIONS_DIRECTORY), gap).map(|_| ())
}

/// Takes all steps that were not taken.
pub(super) fn take(
    data: &Path,
    vault: &mut Vault,
    signed: &SignedGap,
    after: &mut dyn FnMut(Step),
) -> Result<Retired, RetireError> {
    let gap = signed.gap();
    if secrets(vault)?.follows.as_deref() != Some(signed.text()) {
        raise(data, vault, signed)?;
        after(Step::Raised);
        secrets(vault)?.behind(signed)?.replace(vault)?;
    }
    after(Step::Replaced);
    let own = secrets(vault)?;
    let receipt_key = own.receipt_key()?;
    let origin = Origin::of_signer(&receipt_key).map_err(|_| SignerError::Certificate)?;
    let aside = directory(data, gap);
    private_dir(&data.join(RETIRED_DIRECTORY)).map_err(SignerError::from)?;
    private_dir(&aside).map_err(SignerError::from)?;
    let moves = [
        (AUDIT_DIRECTORY, Step::MovedAudit),
        (LOG_DIRECTORY, Step::MovedLog),
        (INDEX_DIRECTORY, Step::MovedIndex),
    ];
    for (name, step) in moves {
        move_aside(data, &aside, name)?;
        after(step);
    }
    carry_reductions(data, &aside, gap, &origin)?;
    after(Step::CarriedReductions);
    DirectoryDisk::open(&aside)
        .and_then(|disk| disk.write_whole(GAP_FILE, signed.text().as_bytes()))
        .map_err(RetireError::system("the statement cannot be put beside the retired log"))?;
    make_root(&data.join(LOG_DIRECTORY))
        .map_err(RetireError::system("the directory of the published log cannot be made"))?;
    publish(data, signed, &origin, &receipt_key)?;
    after(Step::Published);
    let disk = DirectoryDisk::open(data);
    disk.and_then(|disk| disk.remove(RETIRING_FILE).and_then(|()| disk.sync_directory()))
        .map_err(RetireError::system("the retirement cannot be ended"))?;
    Ok(Retired {
        old: gap.origin.clone(),
        new: origin.name(),
        directory: aside,
        unknown_to_ms: super::unknown_to_ms(signed),
    })
}

/// Voids every handle that was issued, tenant by tenant, each with the record by which the log that begins carries the
/// tenant's head over.
fn raise(data: &Path, vault: &mut Vault, signed: &SignedGap) -> Result<(), RetireError> {
    let on_record = found::last_command(data, vault, &secrets(vault)?)?;
    let (authority, last_command) = stored::authority(vault)?;
    let mut outbox = outbox(vault)?;
    let stale: Vec<u64> = outbox
        .extract_if(.., |(number, _)| *number <= on_record)
        .map(|(number, _)| number)
        .collect();
    vault.delete_outbox(&stale)?;
    let last_waiting = outbox.iter().map(|(number, _)| *number).max().unwrap_or_default();
    let mut command = last_command.max(last_waiting).max(on_record);
    for tenant in authority.tenants().collect::<Vec<_>>() {
        if outbox.iter().any(|(_, entry)| is_of(entry, tenant, signed)) {
            continue;
        }
        command += 1;
        raise_one(vault, &authority, (tenant, command), signed)?;
    }
    Ok(())
}

/// Whether an entry of the outbox is a tenant's record of this retirement.
fn is_of(entry: &OutboxEntry, tenant: TenantId, signed: &SignedGap) -> bool {
    entry.tenant == tenant && entry.operation == RETIRE_ORIGIN && entry.message == signed.digest()
}

fn raise_one(
    vault: &mut Vault,
    authority: &Authority,
    (tenant, command): (TenantId, u64),
    signed: &SignedGap,
) -> Result<(), RetireError> {
    let gap = signed.gap();
    let missing = SignerError::Inconsistent("a tenant's row is missing");
    let row = authority.tenant(tenant).ok_or(missing)?;
    let epoch = Epoch { generation: generation(row.epoch, gap.at_ms), ..row.epoch.next() };
    // Of a state that was taken back it may say that fewer were enough.
    let approvals = u8::try_from(signed.approvals().len()).unwrap_or(u8::MAX).max(row.approvals);
    let row = TenantRow { epoch, min_issue_epoch: epoch, approvals, ..row.clone() };
    let rows = vec![Row::Tenant(row)];
    let change = Change { tenant, epoch, rows, materials: Vec::new(), erased: None, command };
    let now = Reading {
        unix_ms: gap.at_ms,
        quality: Quality::Plausible,
        served: Served::default(),
        wall_ms: gap.at_ms,
    };
    let entry = OutboxEntry {
        operation: RETIRE_ORIGIN,
        actor: Some(gap.operator),
        authentication: Authentication::Signature,
        message: signed.digest(),
        cause: Some(gap.cause.number()),
        approvals: u8::try_from(signed.approvals().len()).unwrap_or(u8::MAX),
        ..OutboxEntry::of_service(tenant, now, authority.posture().epoch)
    };
    vault.commit(&change, |head| vec![entry.with_head(head)], &[])?;
    Ok(())
}

/// A generation that no handle has which was ever issued: the time of the retirement in seconds since 1970, so that two
/// retirements of one state, of which the first was lost, do not have the same.
fn generation(before: Epoch, at_ms: u64) -> u32 {
    let seconds = u32::try_from(at_ms / 1_000).unwrap_or(u32::MAX);
    seconds.max(before.generation.saturating_add(1))
}

fn outbox(vault: &Vault) -> Result<Vec<(u64, OutboxEntry)>, SignerError> {
    let altered = |_| SignerError::Inconsistent("an outbox row is altered");
    let rows = vault.outbox()?.into_iter();
    let entries = rows.map(|(number, bytes)| {
        Ok((number, cbor::decode(&bytes, "outbox entry").map_err(altered)?))
    });
    entries.collect()
}

/// Moves a directory of the log aside. Where there is none, an empty one is put there, so that one of the next log's is
/// never taken for it.
fn move_aside(data: &Path, aside: &Path, name: &str) -> Result<(), RetireError> {
    let (from, to) = (data.join(name), aside.join(name));
    if to.exists() {
        return sync(&[data, aside]);
    }
    match fs::rename(&from, &to) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            private_dir(&to).map_err(SignerError::from)?;
        }
        moved => moved.map_err(RetireError::system("the retired log cannot be moved aside"))?,
    }
    sync(&[data, aside])
}

/// Moves the reductions aside, and puts those that wait into a journal of the log that begins.
fn carry_reductions(
    data: &Path,
    aside: &Path,
    gap: &Gap,
    origin: &Origin,
) -> Result<(), RetireError> {
    move_aside(data, aside, REDUCTIONS_DIRECTORY)?;
    let place = data.join(REDUCTIONS_DIRECTORY);
    if place.exists() {
        return sync(&[data]);
    }
    let entries = waiting(&aside.join(REDUCTIONS_DIRECTORY), gap)?;
    let unmade = data.join(UNMADE_REDUCTIONS);
    match fs::remove_dir_all(&unmade) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(RetireError::system("an unfinished journal cannot be removed")(error));
        }
        _ => {}
    }
    private_dir(&unmade).map_err(SignerError::from)?;
    let disk = DirectoryDisk::open(&unmade)
        .map_err(RetireError::system("the reduction journal cannot be opened"))?;
    let (mut journal, _) = Journal::open(&disk, origin.log_id).map_err(SignerError::from)?;
    for entry in &entries {
        journal.append(entry).map_err(SignerError::from)?;
    }
    fs::rename(&unmade, &place)
        .map_err(RetireError::system("the reduction journal cannot be put in its place"))?;
    sync(&[data])
}

/// The reductions in the journal of a log.
fn waiting(directory: &Path, gap: &Gap) -> Result<Vec<Entry>, RetireError> {
    if !directory.join(JOURNAL_FILE).exists() {
        return Ok(Vec::new());
    }
    let disk = DirectoryDisk::open(directory)
        .map_err(RetireError::system("the reduction journal cannot be opened"))?;
    let (_, entries) = Journal::open(&disk, gap.log_id).map_err(SignerError::from)?;
    Ok(entries)
}

fn sync(directories: &[&Path]) -> Result<(), RetireError> {
    let synced = directories.iter().try_for_each(|path| File::open(path)?.sync_all());
    synced.map_err(RetireError::system("a directory cannot be synced"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generation_is_above_the_one_before_and_another_each_second() {
        let before = |generation| Epoch { generation, number: 9 };
        assert_eq!(generation(before(0), 1_795_996_800_999), 1_795_996_800);
        assert_eq!(generation(before(0), 1_795_996_801_000), 1_795_996_801);
        assert_eq!(generation(before(1_795_996_800), 5_000), 1_795_996_801);
        assert_eq!(generation(before(0), u64::MAX), u32::MAX);
    }

    #[test]
    fn each_step_has_a_name_of_its_own() {
        let names: std::collections::BTreeSet<_> = Step::ALL.map(Step::name).into();
        assert_eq!(names.len(), Step::ALL.len());
    }
}
