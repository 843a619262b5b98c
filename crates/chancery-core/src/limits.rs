//! Every bound the service holds to, in one place, each with its unit and its reason.
//!
//! Bounds that depend on each other are checked when the crate is compiled.

use std::time::Duration;

/// The environment of scratch keys: `drill`. A rollout of such a key alone can be made to stand still.
pub const DRILL_ENVIRONMENT: &str = "drill";

/// For how long a rollout of a scratch key stands still at most: 10 minutes.
pub const STILL_MAX: Duration = Duration::from_mins(10);

/// The longest message that is signed, verified, authenticated or encrypted in one request: 64 KiB.
///
/// Callers with more send the digest where the format allows it, or encrypt with a data key.
pub const MESSAGE_BYTES_MAX: usize = 64 * 1024;

/// The most items one batch may carry: 256. With the largest records a whole batch still fits in one frame of the log.
pub const BATCH_ITEMS_MAX: usize = 256;

/// The largest body of one frame between front and signer: 2 MiB, which bounds what a lane buffers.
///
/// The largest request of a caller takes under 1.2 MiB in a frame; its answer, where a format writes the
/// payload in base64, under 1.6. An answer that did not fit would close the front's stream for everybody.
pub const FRAME_BYTES_MAX: usize = 2 * 1024 * 1024;

/// The largest HTTP request body: 1.5 MiB, since base64 needs 4 bytes for 3.
pub const REQUEST_BYTES_MAX: usize = 1024 * 1024 / 2 * 3;

/// The deepest nesting of a JSON request: 8; our deepest document needs 4.
pub const JSON_DEPTH_MAX: usize = 8;

/// The most operations that may be outstanding on one lane: 4 096; beyond, the front answers 429.
pub const LANE_OPERATIONS_MAX: usize = 4_096;

/// The most records in one audit frame: 8 192, so that a receipt's path has at most 13 hashes.
pub const FRAME_RECORDS_MAX: usize = 8_192;

/// The largest audit frame: 4 MiB, the most that one `pwrite` hands to the disk.
pub const FRAME_AUDIT_BYTES_MAX: usize = 4 * 1024 * 1024;

/// The longest name of a key, tenant, environment, region or service, in bytes: 64.
pub const NAME_BYTES_MAX: usize = 64;

/// The longest domain of a purpose, in bytes: 128, enough for every registered media type in use.
pub const DOMAIN_BYTES_MAX: usize = 128;

/// The most pairs in a context: 16.
pub const CONTEXT_PAIRS_MAX: usize = 16;

/// The longest name in a context, in bytes: 32.
pub const CONTEXT_NAME_BYTES_MAX: usize = 32;

/// The longest value in a context, in bytes: 128.
pub const CONTEXT_VALUE_BYTES_MAX: usize = 128;

/// The most caveats a handle may carry: 16, which bounds the cost of checking one to 17 MACs.
pub const CAVEATS_MAX: usize = 16;

/// The longest handle, in bytes: 4 KiB. Sixteen caveats at their longest take under 3 KiB.
pub const HANDLE_BYTES_MAX: usize = 4 * 1024;

/// The longest life of a handle: 24 hours. A handle is narrow and short; a key is for long.
pub const HANDLE_TTL_MAX: Duration = Duration::from_hours(24);

/// How long an operation's answer is remembered by its id: 24 hours.
pub const OPERATION_RETENTION: Duration = Duration::from_hours(24);

/// How far ahead of ours a caller's clock may be: 60 seconds.
pub const CLOCK_DRIFT_MAX: Duration = Duration::from_mins(1);

/// The longest validity of a principal's signature over a command: 5 minutes.
pub const COMMAND_VALIDITY_MAX: Duration = Duration::from_mins(5);

/// How far ahead of every clock here a reduction may be dated while they are suspect: a year, for a machine that
/// was off for months and whose own clock has stopped.
pub const REDUCTION_AHEAD_MAX: Duration = Duration::from_hours(366 * 24);

/// The longest validity of a holder's proof: 60 seconds, which bounds the replay cache.
pub const PROOF_VALIDITY_MAX: Duration = Duration::from_mins(1);

/// How far ahead of the service's time a holder's proof may be dated: 5 seconds. The cache of proofs does not
/// outlive the process; what was dated ahead when it ended is what could be shown to the next one again.
pub const PROOF_AHEAD_MAX: Duration = Duration::from_secs(5);

/// The most proofs remembered of one handle at once: a sixteenth of all, 16 384, so that no holder keeps
/// another's proofs out.
pub const PROOF_NONCES_OF_ONE_HANDLE_MAX: usize = PROOF_NONCES_MAX / 16;

/// The most live idempotency entries in memory: 1 000 000, about 120 MB. A full index refuses new ids and evicts none.
pub const IDEMPOTENCY_ENTRIES_MAX: usize = 1_000_000;

/// The most proof nonces remembered at once: 262 144; a full cache refuses proofs and forgets none early.
pub const PROOF_NONCES_MAX: usize = 262_144;

/// The most caveats of a handle that bound its uses: 4, since each writes a record of its own for every use.
pub const USE_BOUNDS_MAX: usize = 4;

/// The most links of handles whose uses are counted at once: 262 144, about 50 MB. Each is remembered until it has
/// run out; when there are as many, no other is counted, and none is forgotten early.
pub const COUNTED_LINKS_MAX: usize = 262_144;

/// The most of them that belong to one subject: a sixteenth of all, 16 384, so that no holder keeps another's
/// out.
pub const COUNTED_LINKS_OF_ONE_SUBJECT_MAX: usize = COUNTED_LINKS_MAX / 16;

/// The most of those that were narrowed from one handle: a quarter, 4 096. Whoever hands out more at once asks
/// for another handle.
pub const COUNTED_LINKS_OF_ONE_HANDLE_MAX: usize = COUNTED_LINKS_OF_ONE_SUBJECT_MAX / 4;

/// The most revoked handles remembered one by one in a tenant: 65 536; beyond, `min_issue_epoch` is raised.
pub const REVOCATIONS_MAX: usize = 65_536;

/// The most keys one tenant may have: 1 000 000.
pub const KEYS_MAX: usize = 1_000_000;

/// The most proposals of a tenant that are remembered: 64, some 60 KiB. The place of one that is over is taken again.
pub const PROPOSALS_MAX: u8 = 64;

/// The most open proposals of one principal: 16, a quarter, so that nobody keeps others from proposing.
pub const PROPOSALS_OF_ONE_MAX: usize = 16;

/// The longest life of a proposal: 7 days. Who approves looks at what holds then, not at what held months ago.
pub const PROPOSAL_TTL_MAX: Duration = Duration::from_hours(7 * 24);

/// The most approvals that can be asked for: 4. More people than that are not found in the night in which it matters.
pub const APPROVALS_MAX: u8 = 4;

/// The longest routing key of a request, in bytes: 128, enough for a SPIFFE path or a digest in any spelling.
pub const ROUTING_KEY_BYTES_MAX: usize = 128;

/// How long a version waits from scheduling to destruction: 30 days.
pub const DESTRUCTION_DELAY: Duration = Duration::from_hours(30 * 24);

/// The most versions of one key: 256; a key that rotates each month has room for twenty years.
pub const KEY_VERSIONS_MAX: usize = 256;

/// The most bytes that the public halves of one key's versions take: 48 KiB, of the 64 of its row. That is 24 versions of
/// ML-DSA-65, and as many as there may be of ECDSA.
pub const KEY_PUBLIC_BYTES_MAX: usize = 48 * 1024;

/// The most stages of a rollout's plan: 16, which leaves room for nine steps of a ramp.
pub const PLAN_STAGES_MAX: usize = 16;

/// The most triggers of one stage: 8; there are seven metrics.
pub const STAGE_TRIGGERS_MAX: usize = 8;

/// The most names in one list of a selector: 16.
pub const SELECTOR_NAMES_MAX: usize = 16;

/// The longest duration in a plan: twenty years, the longest life of an artefact that is signed today.
pub const PLAN_DURATION_MAX: Duration = Duration::from_hours(20 * 366 * 24);

/// The longest stage: 400 days, a year and what an audit takes; a rollout that takes longer is forgotten.
pub const STAGE_DURATION_MAX: Duration = Duration::from_hours(400 * 24);

/// How long what verifiers report is kept: an hour, and so the longest window of a trigger on it.
pub const REPORTS_KEPT: Duration = Duration::from_hours(1);

/// The most that a trigger looks back over: 30 days, the period of an error budget.
pub const TRIGGER_WINDOW_MAX: Duration = Duration::from_hours(30 * 24);

/// The fewest verifiers whose reports move a trigger: 2, so that nobody causes a rollback by reports alone. One can hold a gate
/// closed until the stage's deadline, whatever the plan has happen then.
pub const REPORTERS_MIN: u16 = 2;

/// The least fraction of registered verifiers that a plan may ask for, in parts per million: nine of ten. Who must go
/// on with fewer overrides that by name.
pub const ACKNOWLEDGED_MIN_PPM: u32 = 900_000;

/// The largest canary, in parts per million: a tenth. What is larger is no canary.
pub const CANARY_MAX_PPM: u32 = 100_000;

/// The most keys that a trust bundle holds: 100 000. Making one is some tenths of a second of hashing with the longest
/// public halves, and a verifier holds all of them.
pub const BUNDLE_KEYS_MAX: usize = 100_000;

/// The most bytes of a bundle's entries: 512 MiB, so that verifiers can say what they take before they fetch it. 100 000
/// keys of ML-DSA-87 take 270 MB with one version each.
pub const BUNDLE_BYTES_MAX: u64 = 512 * 1024 * 1024;

/// How many issued bundles are remembered by their digests: 64, at least a minute of constant change. Whoever uses an
/// older one has acknowledged nothing that is asked about.
pub const BUNDLES_REMEMBERED: usize = 64;

/// The most registered verifiers of a tenant: 256.
pub const VERIFIERS_MAX: usize = 256;

/// The most keys that one verifier is registered for by name: 64. One for more is registered for all.
pub const VERIFIER_KEYS_MAX: usize = 64;

/// The most versions that one report counts: 256, some 12 KiB of a command's 32.
pub const REPORT_COUNTS_MAX: usize = 256;

/// The most rollouts of a tenant that are under way because a rule began them: 10 000, each of which is looked at within some
/// five seconds, and at once if something was seen of it. One lasts for days, most of which it waits.
pub const AUTOMATIC_UNDER_WAY_MAX: usize = 10_000;

/// How many rollouts that rules began may stand paused, or have gone back within a day, before no more are begun: 10.
/// What is wrong with so many is not wrong with a key.
pub const AUTOMATIC_HALTED_MAX: usize = 10;
/// The most inventories of one key: 16, with all versions of the key counted in each under 100 KiB.
pub const KEY_INVENTORIES_MAX: usize = 16;

/// The most inventories of a tenant: 16 384, some 100 MB where every key has as many versions as it may.
pub const INVENTORIES_MAX: usize = 16_384;

/// How far ahead of the mark a wall clock may be after a restart: 7 days.
pub const OFFLINE_MAX: Duration = Duration::from_hours(7 * 24);

// A message at its longest, with its handle, fits in one frame.
const _: () = assert!(MESSAGE_BYTES_MAX + HANDLE_BYTES_MAX + 4_096 <= FRAME_BYTES_MAX);
// The largest request, its payload in base64 again in the answer, fits in one frame with its headers.
const _: () = assert!(REQUEST_BYTES_MAX + BATCH_ITEMS_MAX * 512 <= FRAME_BYTES_MAX);
// Every caveat at its longest, and the root, fit in a handle.
const _: () = assert!(
    CAVEATS_MAX * (CONTEXT_NAME_BYTES_MAX + CONTEXT_VALUE_BYTES_MAX + 8) + 512 <= HANDLE_BYTES_MAX
);
