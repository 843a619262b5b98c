//! Starting the signer, and what its threads share.
//!
//! The order matters: memory is locked before the first key; the log is settled and held against the store
//! before anything is decided; the start record and the outbox are durable before a lane is opened.

mod begin;

use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chancery_audit::disk::{DirectoryDisk, Disk};
use chancery_audit::frame::Frame;
use chancery_audit::gap::{Gap, SignedGap};
use chancery_audit::journal::Journal;
use chancery_audit::origin::{ORIGIN_FILE, Origin};
use chancery_audit::pruned::Pruned;
use chancery_audit::receipt::Receipt;
use chancery_audit::record::BuildGroup;
use chancery_audit::sealer::{Keyring, Month, MonthKeys, MonthSecrets, Sealer, month_of};
use chancery_audit::verify::AUDIT_DIRECTORY;
use chancery_audit::wal::{Address, Chain, Wal, read_frame};
use chancery_core::authority::{Authority, Fresh};
use chancery_core::clock::{Clock, Sample, Served};
use chancery_core::handle::HandleKeyId;
use chancery_core::id::{
    CampaignId, HandleId, KeyId, NodeId, OperationId, PrincipalId, ProposalId, RolloutId, TenantId,
};
use chancery_core::idempotency::{EntryName, Place};
use chancery_core::limits::LANE_OPERATIONS_MAX;
use chancery_core::reason::Reason;
use chancery_core::sequencer::Sequencer;
use chancery_core::step::Core;
use chancery_crypto::key::PrivateKey;
use chancery_crypto::labels;
use chancery_crypto::mac::{HandleMac, KeyedHash};
use chancery_crypto::notes::CheckpointSeeds;
use chancery_crypto::section::Boot;
use chancery_memory::{Arena, hooks, wiping};
use chancery_store::{Embedded, OpenMode, private_dir};

use self::begin::{open_log, start_sequencer};
use crate::aside::Aside;
use crate::audit::{self, Opened};
use crate::authority_tls::LocalAuthority;
use crate::build;
use crate::bundles::{self, Bundles};
use crate::census::{Heard, Used};
use crate::checkpoints::{self, Checkpoints, Opening};
use crate::config::{IndexWish, LockRecordWish, SignerConfig, SignerError, WallClock};
use crate::counters::{Counters, lock};
use crate::entropy;
use crate::genesis::{self, Secrets};
use crate::held::Waiting;
use crate::housekeeping::{self, Months, ensure_months};
use crate::imports::Imports;
use crate::inbox::{Inbox, Submission};
use crate::index::Index;
use crate::indexer;
use crate::jobs::Jobs;
use crate::lane::Lane;
use crate::materials::Materials;
use crate::metered::Metered;
use crate::others::{self, Others};
use crate::outbox::OutboxEntry;
use crate::overdue::Overdue;
use crate::pages::Readers;
use crate::peers::Peers;
use crate::pool::Pool;
use crate::reduce_only;
use crate::repacker::{self, RepackCounters};
use crate::resumes::Resumes;
use crate::retire;
use crate::rollouts::{self, Steps, Stilled};
use crate::root;
use crate::roots::Roots;
use crate::rotator::{self, Rotations};
use crate::sequencer::{Progress, halt};
use crate::sightings::Sightings;
use crate::spare::Spare;
use crate::store_thread::StoreThread;
use crate::stored::{self, STORE_FILE};
use crate::vault::Vault;
use crate::verifiers::Verifiers;

/// The handle key that new handles are made with.
const HANDLE_KEY: HandleKeyId = HandleKeyId(1);

// What one lane may have outstanding, answers included, is bounded by its frames.
const _: () = assert!(LANE_OPERATIONS_MAX <= 4_096);

/// What the threads share.
pub(crate) struct Shared {
    pub(crate) core: Arc<Mutex<Core>>,
    pub(crate) vault: Mutex<Vault>,
    pub(crate) materials: Materials,
    pub(crate) inbox: Arc<Inbox>,
    pub(crate) pool: Arc<Pool>,
    pub(crate) spare: Arc<Spare>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) progress: Arc<Mutex<Progress>>,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) origin: Origin,
    pub(crate) mac: HandleMac,
    pub(crate) handle_key: HandleKeyId,
    pub(crate) operation_key: KeyedHash,
    pub(crate) authority: LocalAuthority,
    pub(crate) imports: Imports,
    pub(crate) jobs: Jobs,
    pub(crate) sightings: Sightings,
    pub(crate) steps: Steps,
    pub(crate) stilled: Stilled,
    pub(crate) overdue: Overdue,
    pub(crate) rotations: Rotations,
    pub(crate) arena: Arena,
    pub(crate) recovery_key: PathBuf,
    pub(crate) checkpoints: Mutex<Checkpoints>,
    pub(crate) others: Option<Others>,
    pub(crate) waiting: Arc<Waiting>,
    pub(crate) checkpoint_every: Duration,
    pub(crate) bundles: Bundles,
    pub(crate) verifiers: Verifiers,
    pub(crate) used: Arc<Used>,
    pub(crate) heard: Heard,
    pub(crate) index: Index,
    pub(crate) readers: Readers,
    pub(crate) index_wish: IndexWish,
    pub(crate) repacked: RepackCounters,
    pub(crate) retention_ms: Option<u64>,
    pub(crate) pruned: Mutex<Option<Pruned>>,
    /// The gap behind which the log begins, if there is one.
    pub(crate) gap: Option<Gap>,
    reductions: DirectoryDisk,
    pub(crate) keyring: Arc<Keyring>,
    pub(crate) receipt_key: Arc<PrivateKey>,
    pub(crate) boot: Boot,
    build: BuildGroup,
    lanes: AtomicU32,
}

impl Shared {
    /// A sealer for a new lane of this start.
    pub(crate) fn sealer(&self) -> Sealer {
        let lane = self.lanes.fetch_add(1, Ordering::Relaxed);
        if lane == u32::MAX {
            // The next numbers were given out before, and record nonces would repeat.
            halt(&SignerError::Inconsistent("every lane number of this start is used up"));
        }
        Sealer::new(Arc::clone(&self.keyring), self.boot, lane, self.build)
    }

    /// The name of an operation id in the index.
    pub(crate) fn entry_name(
        &self,
        tenant: TenantId,
        principal: PrincipalId,
        id: OperationId,
    ) -> EntryName {
        let parts: [&[u8]; 3] = [tenant.as_bytes(), principal.as_bytes(), id.as_bytes()];
        self.operation_key.of(labels::AUDIT_OPERATION_ID, &parts)
    }

    /// Fresh values for a command that uses none.
    pub(crate) fn no_fresh() -> Fresh {
        Fresh {
            node: NodeId::from_bytes([0; 16]),
            key: KeyId::from_bytes([0; 16]),
            handle: HandleId::from_bytes([0; 16]),
            principal: PrincipalId::from_bytes([0; 16]),
            proposal: ProposalId::from_bytes([0; 16]),
            rollout: RolloutId::from_bytes([0; 16]),
            campaign: CampaignId::from_bytes([0; 16]),
            plan_digest: [0; 32],
            public: Vec::new(),
        }
    }

    /// The audit keys of a tenant and month, for the start whose boot nonce that was.
    pub(crate) fn month_keys(
        &self,
        tenant: TenantId,
        month: Month,
        boot_nonce: [u8; 16],
    ) -> Option<Arc<MonthKeys>> {
        self.read_month_keys(tenant, month, boot_nonce).ok().flatten()
    }

    /// The same, and told apart whether they are gone or cannot be read.
    pub(crate) fn read_month_keys(
        &self,
        tenant: TenantId,
        month: Month,
        boot_nonce: [u8; 16],
    ) -> Result<Option<Arc<MonthKeys>>, SignerError> {
        if boot_nonce == self.boot.boot_nonce {
            return Ok(self.keyring.get(tenant, month));
        }
        let boot = Boot { boot_nonce, ..self.boot };
        wiping::on_wiped_stack(|| self.derive_month(tenant, month, boot))
    }

    /// The keys of a tenant and month by which names are hashed, which are the same for every start.
    pub(crate) fn month_names(
        &self,
        tenant: TenantId,
        month: Month,
    ) -> Result<Option<Arc<MonthKeys>>, SignerError> {
        match self.keyring.get(tenant, month) {
            Some(keys) => Ok(Some(keys)),
            None => wiping::on_wiped_stack(|| self.derive_month(tenant, month, self.boot)),
        }
    }

    fn derive_month(
        &self,
        tenant: TenantId,
        month: Month,
        boot: Boot,
    ) -> Result<Option<Arc<MonthKeys>>, SignerError> {
        let Some(secrets) = lock(&self.vault).month(tenant, month)? else { return Ok(None) };
        let altered = SignerError::Inconsistent("a month's audit keys are none");
        let secrets = MonthSecrets::from_bytes(&secrets).ok_or(altered)?;
        let keys = MonthKeys::derive(&secrets, boot).map_err(|_| SignerError::Certificate)?;
        Ok(Some(Arc::new(keys)))
    }

    /// The position in the log of what stands at a place.
    pub(crate) fn index_of(&self, place: Place) -> Option<u64> {
        let frame = read_frame(&*self.disk, Address::from_number(place.address)).ok()?;
        Some(frame.first_index + u64::from(place.item))
    }

    /// The receipt of an item, made again: signing is deterministic, so it is the same one.
    pub(crate) fn receipt_again(
        &self,
        frame: &Frame,
        item: u32,
        keys: &MonthKeys,
    ) -> Option<Vec<u8>> {
        let head = frame.head(self.origin.log_id).to_signed_bytes();
        let signature = self.receipt_key.sign(&head).ok()?.try_into().ok()?;
        Receipt::make(frame, self.origin.log_id, signature, item, keys)
    }

    /// Writes down who may take authority away while no secret is at hand.
    pub(crate) fn write_roots(&self) -> Result<(), SignerError> {
        let mut core = lock(&self.core);
        let now = core.now(entropy::sample());
        let roots = Roots::of(&core.authority, self.origin.log_id, now.unix_ms);
        drop(core);
        roots.write(&self.reductions, &self.receipt_key)
    }

    /// Why no key is used now, if none is.
    pub(crate) fn uses_no_key(&self) -> Option<Reason> {
        if self.spare.is_full() {
            return Some(Reason::AuditFull);
        }
        let is_over = self.others.as_ref().is_some_and(Others::forbids_use);
        is_over.then_some(Reason::Unwitnessed)
    }

    /// The mode that the service is in.
    pub(crate) fn mode(&self) -> &'static str {
        self.uses_no_key().map_or("normal", Reason::code)
    }
}

/// Runs the signer on the sockets that come through `listener`, until the process ends. `serves` is told once,
/// when the start is on record and lanes are taken.
///
/// # Errors
///
/// [`SignerError`], whose [`exit_status`](SignerError::exit_status) tells the supervisor what to do.
pub fn run(
    config: SignerConfig,
    listener: &UnixListener,
    serves: impl FnOnce(),
) -> Result<(), SignerError> {
    std::panic::set_hook(Box::new(|panic| {
        // A state that nobody expected: what is on the disk is read again, by a new process.
        eprintln!("chancery signer: {panic}");
        std::process::abort();
    }));
    wiping::begin();
    let arena = Arena::new()?;
    let _ = hooks::install(&arena);
    let peers = Peers::new(config.front_user);
    let wish = config.lock_record;
    let shared = start(config, arena)?;
    // The secrets came by there.
    wiping::wipe_stack();
    stop_on_signal(&shared)?;
    if wish == LockRecordWish::New {
        // Who said that it is lost is not asked again: a start that serves leaves a record behind.
        checkpoints::make(&shared, &shared.checkpoints);
    }
    others::await_quorum(&shared)?;
    serves();
    serve(&shared, listener, &peers)
}

fn serve(shared: &Arc<Shared>, listener: &UnixListener, peers: &Peers) -> Result<(), SignerError> {
    for stream in listener.incoming() {
        let stream = stream.map_err(SignerError::system("the socket cannot be listened on"))?;
        if let Some(seat) = peers.admit(&stream) {
            Lane::start(Arc::clone(shared), stream, seat)?;
        }
    }
    Ok(())
}

/// On SIGTERM or SIGINT, what came before is made durable, and the process ends in order.
fn stop_on_signal(shared: &Arc<Shared>) -> Result<(), SignerError> {
    use signal_hook::consts::{SIGINT, SIGTERM};
    let signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM]);
    let mut signals = signals.map_err(SignerError::system("signals cannot be listened to"))?;
    let inbox = Arc::clone(&shared.inbox);
    std::thread::spawn(move || {
        for _ in signals.forever() {
            inbox.send(Submission::Stop);
        }
    });
    Ok(())
}

/// What is loaded before the log is opened.
struct Loaded {
    vault: Vault,
    secrets: Secrets,
    authority: Authority,
    outbox: Vec<(u64, OutboxEntry)>,
    last_command: u64,
    gap: Option<SignedGap>,
}

// Never a part of its caller, so that the stack that it used can be wiped.
#[inline(never)]
fn start(config: SignerConfig, arena: Arena) -> Result<Arc<Shared>, SignerError> {
    retire::refuse_begun(&config.data)?;
    let mut loaded = load(&config, &arena)?;
    let receipt_key = Arc::new(loaded.secrets.receipt_key()?);
    let audit = config.data.join(AUDIT_DIRECTORY);
    private_dir(&audit)?;
    let disk = DirectoryDisk::open(&audit)
        .map_err(SignerError::system("the audit directory cannot be opened"))?;
    let disk = Metered::new(disk);
    let read = disk.read();
    let disk: Arc<dyn Disk> = Arc::new(disk);
    let origin = genesis::origin(&*disk, &receipt_key)?;
    let boot = Boot { log_id: origin.log_id, boot_nonce: entropy::bytes()? };
    let opened = audit::open(&disk, &origin, &loaded.vault, &loaded.authority)?;
    let recorded = |(number, _): &mut (u64, OutboxEntry)| *number <= opened.last_command;
    let stale: Vec<u64> =
        loaded.outbox.extract_if(.., recorded).map(|(number, _)| number).collect();
    loaded.vault.delete_outbox(&stale)?;
    check_heads(&loaded, &opened)?;
    let mut checkpoints = Checkpoints::open(&Opening {
        data: &config.data,
        lock_directory: &config.lock_directory,
        wish: config.lock_record,
        disk: &*disk,
        origin: &origin,
        seeds: CheckpointSeeds {
            ed25519: &loaded.secrets.checkpoint_ed25519,
            ml_dsa_44: &loaded.secrets.checkpoint_ml_dsa_44,
        },
        size: opened.recovered.size,
    })?;
    checkpoints.hold_approvals(loaded.authority.approvals())?;
    if let Some(gap) = &loaded.gap {
        retire::publish(&config.data, gap, &origin, &receipt_key)?;
    }
    let others = Others::of(&config, &mut checkpoints, &*disk)?;
    let checkpoints = Mutex::new(checkpoints);
    let index = Index::open(&config.data, origin.log_id, opened.recovered.size)?;
    let keyring = Arc::new(Keyring::default());
    let reductions = reduce_only::open_directory(&config.data)?;
    let waiting_ms: Vec<u64> = loaded.outbox.iter().map(|(_, entry)| entry.unix_ms).collect();
    let mark_ms = opened.mark_ms.max(waiting_ms.iter().copied().max());
    let mark_ms = last_known_ms(mark_ms, &reductions, &origin);
    let mut clock = Clock::start(mark_ms, opened.served, entropy::sample());
    if config.wall_clock == WallClock::Vouched
        && let Some(why) = vouch(&mut clock, entropy::sample())
    {
        eprintln!("chancery signer: {why}");
    }
    let tenants: Vec<_> = loaded.authority.tenants().collect();
    let recorded = opened.mark_ms.map(month_of);
    // What waits in the outbox is recorded with its own time.
    for now_ms in waiting_ms.into_iter().chain([clock.mark_ms()]) {
        ensure_months(&loaded.vault, &tenants, &keyring, boot, Months { now_ms, recorded })?;
    }
    let parts = Parts {
        config,
        arena,
        disk,
        reductions,
        origin,
        boot,
        receipt_key,
        keyring,
        clock,
        checkpoints,
        others,
        index,
    };
    let shared = assemble(parts, loaded, opened)?;
    Counters::add(&shared.counters.start_bytes_read, read.load(Ordering::Relaxed));
    begin_derived(&shared);
    Ok(shared)
}

/// Takes the operator's word for the wall clock; or why it was not taken.
fn vouch(clock: &mut Clock, now: Sample) -> Option<&'static str> {
    (!clock.resume(now)).then_some(
        "the wall clock is behind the last record, and `--wall-clock-is-right` is not taken for it: time does not \
         go back",
    )
}

/// The latest time that an earlier start has put down: a frame says it where there is one, and while the clock is
/// suspect the roots say it each minute.
fn last_known_ms(log_ms: Option<u64>, reductions: &dyn Disk, origin: &Origin) -> Option<u64> {
    let roots = Roots::read(reductions, origin).ok();
    log_ms.max(roots.map(|roots| roots.written_ms))
}

fn load(config: &SignerConfig, arena: &Arena) -> Result<Loaded, SignerError> {
    let store = config.data.join(STORE_FILE);
    if !config.root_key.file().exists() && !store.exists() {
        root::create(&config.root_key)?;
    }
    let root = root::read(arena, &config.root_key)?;
    // The origin is written when a first start has stored all there is to store: from then on, nothing is
    // made anew in the place of what is missing.
    let is_begun = config.data.join(AUDIT_DIRECTORY).join(ORIGIN_FILE).exists();
    if is_begun && !store.exists() {
        return Err(SignerError::Inconsistent("there is a log, and no store"));
    }
    let mode = if store.exists() { OpenMode::ReadWrite } else { OpenMode::Create };
    let store = Embedded::open(&store, mode)?;
    let mut vault = Vault::new(Box::new(store), arena.clone(), root)?;
    let secrets = genesis::secrets(&vault, config)?;
    vault.open_system()?;
    if vault.stored_tenants()?.is_empty() {
        if is_begun {
            return Err(SignerError::Inconsistent("there is a log, and no tenant"));
        }
        let mut clock = Clock::start(None, Served::default(), entropy::sample());
        let now = clock.read(entropy::sample());
        genesis::first_tenant(&mut vault, config, &secrets, now)?;
    }
    genesis::refresh_endpoint(config)?;
    let (authority, last_command) = stored::authority(&mut vault)?;
    let outbox = vault.outbox()?.into_iter().map(|(number, bytes)| {
        let entry = chancery_core::cbor::decode(&bytes, "outbox entry");
        Ok((number, entry.map_err(|_| SignerError::Inconsistent("an outbox row is altered"))?))
    });
    let outbox = outbox.collect::<Result<Vec<_>, SignerError>>()?;
    let gap = secrets.gap()?;
    Ok(Loaded { vault, secrets, authority, outbox, last_command, gap })
}

/// Each tenant's head must be the last one on record, or one whose record is still in the outbox.
fn check_heads(loaded: &Loaded, opened: &Opened) -> Result<(), SignerError> {
    let mut heads = opened.heads.clone();
    heads.extend(loaded.outbox.iter().map(|(_, entry)| entry.head()));
    for (tenant, head) in &heads {
        if loaded.vault.head_hash(*tenant) != Some(*head) {
            return Err(SignerError::Inconsistent(
                "a tenant's rows are not the ones last recorded",
            ));
        }
    }
    let all_recorded = loaded.authority.tenants().all(|tenant| heads.contains_key(&tenant));
    if !all_recorded || opened.last_command > loaded.last_command {
        return Err(SignerError::Inconsistent(
            "the log and the store do not know the same commands",
        ));
    }
    Ok(())
}

/// What the start has gathered besides what was loaded.
struct Parts {
    config: SignerConfig,
    arena: Arena,
    disk: Arc<dyn Disk>,
    reductions: DirectoryDisk,
    origin: Origin,
    boot: Boot,
    receipt_key: Arc<PrivateKey>,
    keyring: Arc<Keyring>,
    clock: Clock,
    checkpoints: Mutex<Checkpoints>,
    others: Option<Others>,
    index: Index,
}

fn assemble(parts: Parts, loaded: Loaded, opened: Opened) -> Result<Arc<Shared>, SignerError> {
    let Parts { config, arena, disk, reductions, origin, boot, receipt_key, keyring, .. } = parts;
    let Loaded { vault, secrets, authority, outbox, last_command, gap } = loaded;
    let tail = &opened.settled.tail;
    let previous_signature = match &tail.last_head {
        None => [0; 64],
        Some(head) => sign(&receipt_key, &head.to_signed_bytes())?,
    };
    let (journal, entries) = Journal::open(&reductions, origin.log_id)?;
    let aside = Aside::new(journal, &entries)?;
    let wal = Wal::begin(Arc::clone(&disk), origin.log_id, config.segment_bytes, tail)?;
    let chain = Chain::resume(tail, origin.log_id, boot.boot_nonce, previous_signature);
    let build = build::group(&config);
    let mut core = Core::new(authority, opened.operations, opened.counts, parts.clock);
    core.budget = opened.budget;
    core.unknown_to_ms = gap.as_ref().map_or(0, retire::unknown_to_ms);
    let used = Arc::new(Used::of(&core.authority, &opened.recovered));
    let shared = Arc::new(Shared {
        core: Arc::new(Mutex::new(core)),
        vault: Mutex::new(vault),
        materials: Materials::default(),
        inbox: Arc::default(),
        pool: Arc::default(),
        spare: Spare::start(Arc::clone(&disk), config.segment_bytes),
        counters: Arc::default(),
        progress: Arc::default(),
        disk,
        mac: HandleMac::new([(HANDLE_KEY, &secrets.handles)]),
        handle_key: HANDLE_KEY,
        operation_key: KeyedHash::new(&secrets.operations),
        authority: LocalAuthority::open(&secrets.authority, config.names)?,
        imports: Imports::default(),
        jobs: Jobs::default(),
        sightings: Sightings::default(),
        steps: Steps::default(),
        stilled: Stilled::default(),
        overdue: Overdue::default(),
        rotations: Rotations::default(),
        arena,
        recovery_key: config.recovery_key,
        checkpoints: parts.checkpoints,
        others: parts.others,
        waiting: Arc::default(),
        checkpoint_every: config.checkpoint_every,
        bundles: Bundles::default(),
        verifiers: Verifiers::default(),
        used,
        heard: Heard::default(),
        index: parts.index,
        readers: Readers::default(),
        index_wish: config.index,
        repacked: RepackCounters::default(),
        retention_ms: config.retention_ms,
        gap: gap.map(|signed| signed.gap().clone()),
        pruned: Mutex::new(opened.pruned),
        reductions,
        keyring,
        receipt_key,
        boot,
        build,
        lanes: AtomicU32::new(1),
        origin,
    });
    let sequencer = Sequencer::resume(opened.recovered);
    let resumes = Resumes::start(&shared, opened.last_command, opened.heads);
    start_sequencer(&shared, sequencer, (chain, wal), resumes);
    Pool::start(&shared);
    open_log(&shared, opened.settled.kept, &outbox)?;
    let last_command = last_command.max(opened.last_command);
    StoreThread::start(&shared, last_command, (aside, entries))?;
    shared.write_roots()?;
    housekeeping::start(&shared);
    rollouts::start(&shared);
    rotator::start(&shared);
    Ok(shared)
}

/// Starts what is derived from the log while it grows.
fn begin_derived(shared: &Arc<Shared>) {
    checkpoints::start(shared);
    others::start(shared);
    repacker::start(shared);
    indexer::start(shared);
    bundles::start(shared);
}

fn sign(key: &PrivateKey, bytes: &[u8]) -> Result<[u8; 64], SignerError> {
    let signature = key.sign(bytes).map_err(|_| SignerError::Certificate)?;
    signature.try_into().map_err(|_| SignerError::Certificate)
}

#[cfg(test)]
mod tests;
