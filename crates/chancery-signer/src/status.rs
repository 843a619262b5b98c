//! How the service stands, for people.

use chancery_api::message::{OtherView, Status as Answer};
use chancery_audit::gap::Gap;
use chancery_audit::witnessed::{Party, Standing};
use chancery_core::authority::Authority;
use chancery_core::clock::Quality;
use chancery_core::id::TenantId;
use chancery_core::proposal::{Ending, Proposal};
use chancery_core::rollout::Status;
use chancery_memory::ArenaKind;

use crate::counters::lock;
use crate::entropy;
use crate::others::{Others, Quorum, Standings};
use crate::service::Shared;

/// The most paused rotations that the status names: 16; `chancery rollout list` has them all.
const ROLLOUTS_TOLD: usize = 16;

const NOBODY_REMEMBERS: &str = "no witness or peer remembers this log: whoever takes data directory and lock record back together goes unnoticed";

const NOBODY_ANSWERS: &str = "no witness or peer answers: whoever takes data directory and lock record back together goes unnoticed until one does";

const WITNESSES_LOST: &str = "the quorum of witnesses is lost: no checkpoint was cosigned by enough of them for two minutes or more";

/// The status as a tenant's reader sees it.
pub(crate) fn status(shared: &Shared, tenant: TenantId) -> Answer {
    let progress = lock(&shared.progress).clone();
    let mut core = lock(&shared.core);
    let reading = core.now(entropy::sample());
    let row = core.authority.tenant(tenant).cloned();
    let keys = core.authority.keys_after(tenant, None).count();
    let approvals = row.as_ref().map_or(0, |row| row.approvals);
    let proposed = of_proposals(core.authority.proposals(tenant), reading.unix_ms);
    let paused = of_rollouts(&core.authority, tenant);
    drop(core);
    let (lock_record, locked_size) = lock(&shared.checkpoints).lock_record();
    let standings = shared.others.as_ref().map(Others::standings);
    let is_solo = approvals == 0;
    let clock = if reading.quality == Quality::Plausible { "plausible" } else { "suspect" };
    Answer {
        mode: shared.mode().into(),
        posture: posture_name(approvals),
        origin: shared.origin.name(),
        log_size: progress.size,
        log_root: progress.root,
        frames: progress.frames,
        incarnation: progress.incarnation,
        keys: u64::try_from(keys).unwrap_or(u64::MAX),
        generation: row.as_ref().map_or(0, |row| row.epoch.generation),
        epoch: row.as_ref().map_or(0, |row| row.epoch.number),
        clock: clock.into(),
        arena: arena_name(shared.arena.kind()).into(),
        advice: [proposed, paused, advice(shared, (tenant, is_solo), clock, standings.as_ref())]
            .concat(),
        node: shared.origin.node(),
        lock_record,
        locked_size,
        witnesses: standings.as_ref().map_or("none", |known| quorum_name(known.quorum)).into(),
        witnessed_size: standings.as_ref().map_or(0, |known| known.witnessed_size),
        others: standings.into_iter().flat_map(|known| known.parties).map(other).collect(),
    }
}

fn posture_name(approvals: u8) -> String {
    match approvals {
        0 => "solo".into(),
        1 => "1 approval".into(),
        more => format!("{more} approvals"),
    }
}

/// What is open, and the break-glass of the last days.
fn of_proposals<'p>(proposals: impl Iterator<Item = &'p Proposal>, now_ms: u64) -> Vec<String> {
    let (mut told, mut open) = (Vec::new(), 0);
    for proposal in proposals.filter(|proposal| now_ms < proposal.expires_ms) {
        match proposal.ending {
            None => open += 1,
            Some(Ending::CarriedOut) if proposal.proposed.is_everything() => told.push(format!(
                "break-glass: everything of the log was disclosed (proposal {}, by {})",
                proposal.id, proposal.proposer
            )),
            Some(_) => {}
        }
    }
    if open > 0 {
        told.push(format!("{open} proposals are open (`chancery proposal list`)"));
    }
    told
}

/// The rollouts that wait for a person since something stopped them.
fn of_rollouts(authority: &Authority, tenant: TenantId) -> Vec<String> {
    let moved = authority.moved().into_iter().filter(|moving| moving.tenant == tenant);
    let stopped = moved.filter_map(|moving| {
        let (rollout, key) = authority.rollout_of(&moving)?;
        let Status::Paused(halt) = rollout.status else { return None };
        Some(format!(
            "the rotation of `{0}` is paused: {halt} (`chancery rollout show {0}`)",
            key.name
        ))
    });
    stopped.take(ROLLOUTS_TOLD).collect()
}

fn quorum_name(quorum: Quorum) -> &'static str {
    match quorum {
        Quorum::None => "none",
        Quorum::Awaited => "awaited",
        Quorum::Kept => "kept",
        Quorum::Lost => "lost",
    }
}

fn other(party: Party) -> OtherView {
    OtherView { name: party.name, standing: party.standing.to_string() }
}

fn arena_name(kind: ArenaKind) -> &'static str {
    match kind {
        ArenaKind::Locked => "locked",
        ArenaKind::MemfdSecret => "memfd-secret",
    }
}

fn advice(
    shared: &Shared,
    (tenant, is_solo): (TenantId, bool),
    clock: &str,
    others: Option<&Standings>,
) -> Vec<String> {
    let mut advice = Vec::new();
    if is_solo {
        advice.push(
            "posture is `solo`: one person can do everything; nothing needs approval".to_owned(),
        );
    }
    if shared.recovery_key.exists() {
        let path = shared.recovery_key.display();
        advice.push(format!("move the recovery key offline: {path}"));
    }
    if clock == "suspect" {
        advice.push(
            "the clock is suspect: tokens that carry time are refused until it is right".to_owned(),
        );
    }
    advice.extend(shared.overdue.advice(tenant));
    advice.extend(shared.rotations.advice(shared, tenant));
    advice.extend(shared.gap.as_ref().map(Gap::told));
    if let Some(pruned) = lock(&shared.pruned).as_ref() {
        advice.push(pruned.told());
    }
    advice.extend(others.map_or(Some(NOBODY_REMEMBERS), of_others).map(str::to_owned));
    advice
}

/// What others that are asked, and do not answer, ask for.
fn of_others(others: &Standings) -> Option<&'static str> {
    let answers = |party: &Party| !matches!(party.standing, Standing::Away(_));
    match others.quorum {
        Quorum::Lost => Some(WITNESSES_LOST),
        _ if others.parties.iter().any(answers) => None,
        _ => Some(NOBODY_ANSWERS),
    }
}
