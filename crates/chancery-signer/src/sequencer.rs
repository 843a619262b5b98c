//! The sequencer's thread: gives results their places, makes them durable, lets their answers go.
//!
//! It takes what has come, in order; what was decided before its tenant's authority moved goes back to be
//! decided again; the rest becomes one frame, written and synced once; then the answers leave, whole frames
//! in order. While the disk works, lanes compute what the next frame will hold.
//!
//! **Invariant:** one frame is in flight at a time. After a failed write or sync the process ends at once,
//! with status 74: nothing is retried, nothing leaves.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use chancery_api::message::Receipt as ReceiptWish;
use chancery_audit::frame::{FRAME_HEADER_BYTES, Head};
use chancery_audit::page::LastFrame;
use chancery_audit::partner::{self, Partner};
use chancery_audit::receipt::Receipt;
use chancery_audit::resume::Resume;
use chancery_audit::sealer::{Keyring, Prepared};
use chancery_audit::wal::{
    self, Address, Begun, Chain, Composed, SegmentStart, Tail, Wal, WalError,
};
use chancery_core::authority::UseCounts;
use chancery_core::clock::Reading;
use chancery_core::id::{KeyId, TenantId};
use chancery_core::idempotency::{EntryName, Place};
use chancery_core::limits::{CAVEATS_MAX, FRAME_AUDIT_BYTES_MAX, FRAME_RECORDS_MAX};
use chancery_core::reason::Reason;
use chancery_core::sequencer::{
    Claim, Counted, Counting, Durable, Mark, Released, Sealed, Seat, Sequencer,
};
use chancery_core::step::Core;
use chancery_crypto::key::PrivateKey;
use chancery_log::Frontier;

use crate::aside::PutAside;
use crate::barrier::{self, Barrier, Held};
use crate::census::{self, Used};
use crate::config::EXIT_AUDIT_FAILED;
use crate::counters::{Counters, lock};
use crate::held::{HeldAnswer, HeldAnswers};
use crate::inbox::{CommandWay, Finished, Inbox, ItemWay, Repeated, Submission, Way};
use crate::outlet::{Answer, Outlet, Recorded, recorded_result};
use crate::pool::Pool;
use crate::resumes::Resumes;
use crate::spare::Spare;
use crate::summaries::{Summaries, Summary};
use crate::uses::Redo;

/// How often it is checked that the open segment is still the file of its name.
const LINK_CHECK: Duration = Duration::from_secs(1);

/// How often it is checked whether a held answer may go: 1 ms.
const BARRIER_CHECK: Duration = Duration::from_millis(1);

/// With less than this part of a segment left, and no next one, reductions go into the journal: a sixteenth,
/// 4 MiB of the usual 64, a thousand frames for what the store holds already.
const LOW_PART: u64 = 16;

/// A frame's items take at most this many bytes; the rest is for its header and checksum.
const ITEMS_BYTES_MAX: usize = FRAME_AUDIT_BYTES_MAX - FRAME_HEADER_BYTES - 4;

/// No more results join a frame that holds so many records: what may follow is a result that is counted under
/// as many links as a handle has and for two versions of a key, and a summary of early refusals for each reason.
const RECORDS_CLOSE_AT: usize = FRAME_RECORDS_MAX - 2 - CAVEATS_MAX - Reason::ALL.len();

/// What the sequencer's thread owns.
pub(crate) struct Thread {
    pub(crate) inbox: Arc<Inbox>,
    pub(crate) core: Arc<Mutex<Core>>,
    pub(crate) sequencer: Sequencer,
    pub(crate) chain: Chain,
    pub(crate) wal: Wal,
    pub(crate) log_id: [u8; 32],
    pub(crate) receipt_key: Arc<PrivateKey>,
    pub(crate) keyring: Arc<Keyring>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) pool: Arc<Pool>,
    pub(crate) spare: Arc<Spare>,
    pub(crate) progress: Arc<Mutex<Progress>>,
    pub(crate) summaries: Summaries,
    pub(crate) resumes: Resumes,
    pub(crate) barrier: Barrier,
    pub(crate) held: HeldAnswers,
    pub(crate) partner: Partner,
    pub(crate) used: Arc<Used>,
}

/// How far the log is, for status.
#[derive(Clone, Debug, Default)]
pub(crate) struct Progress {
    pub(crate) size: u64,
    pub(crate) root: Vec<u8>,
    pub(crate) frames: u64,
    pub(crate) incarnation: u32,
    /// The last frame.
    pub(crate) last: LastFrame,
    /// Whether what is left of the open segment is kept for what is stored already.
    pub(crate) is_low: bool,
}

/// A result that has its place in the open batch.
struct Placed {
    sealed: Sealed<Answer>,
    seat: Seat,
    entry: Option<EntryName>,
    way: Way,
    /// The version that was used, and how often it was with this, if the census counts it.
    used: Option<((KeyId, u32), u64)>,
}

/// The open batch.
struct Open {
    records: Vec<partner::Placed>,
    placed: Vec<Placed>,
    repeated: Vec<Repeated>,
    bytes: usize,
}

impl Open {
    fn with_room_for(records: usize) -> Self {
        // One more may ride along: the summary of early refusals.
        let records = (records + 1).min(FRAME_RECORDS_MAX);
        Self {
            records: Vec::with_capacity(records),
            placed: Vec::with_capacity(records),
            repeated: Vec::new(),
            bytes: 0,
        }
    }

    fn push(&mut self, record: partner::Placed) {
        self.bytes += record.encoded_bytes();
        self.records.push(record);
    }
}

/// What a result says of how often a version was used, if the census counts that.
fn used(claim: &Claim, seat: &Seat, way: &Way) -> Option<((KeyId, u32), u64)> {
    let Counting::Use(Counted::Version(key, version)) = claim.counting else { return None };
    let Way::Item(ItemWay { redo: Some(redo), .. }) = way else { return None };
    let is_counted = census::is_counted(redo.request.operation);
    let index = seat.use_index.filter(|_| is_counted)?;
    Some(((key, version), index.saturating_add(1)))
}

/// Why a batch is closed.
enum Closed {
    /// Nothing more waits, or it is full.
    Full,
    /// The process is to end in order.
    Stop,
    /// What came before goes out before a reduction is answered.
    Aside(Box<PutAside>),
}

/// Ends the process: what the disk holds is unknown.
pub(crate) fn halt(error: &dyn std::error::Error) -> ! {
    eprintln!(
        "chancery signer: {error}: {}",
        error.source().map(ToString::to_string).unwrap_or_default()
    );
    std::process::exit(i32::from(EXIT_AUDIT_FAILED));
}

impl Thread {
    /// Runs until it is told to stop.
    pub(crate) fn run(mut self) {
        let mut waiting = VecDeque::new();
        let mut checked = Instant::now();
        loop {
            let patience = if self.barrier.is_waiting() { BARRIER_CHECK } else { LINK_CHECK };
            self.inbox.wait(&mut waiting, patience);
            if checked.elapsed() >= LINK_CHECK {
                checked = Instant::now();
                self.wal.check_linked().unwrap_or_else(|error| halt(&error));
                if self.spare.wants_restart() {
                    self.inbox.send(Submission::Stop);
                }
            }
            let mut open = Open::with_room_for(waiting.len());
            let closed = self.collect(&mut waiting, &mut open);
            self.commit(open);
            match closed {
                Closed::Full => {}
                Closed::Aside(aside) => self.barrier.hold(aside.tenant, Held::Aside(aside), &[]),
                Closed::Stop => self.stop(),
            }
            self.barrier.settle();
        }
    }

    /// Takes what goes into one frame.
    fn collect(&mut self, waiting: &mut VecDeque<Submission>, open: &mut Open) -> Closed {
        while open.records.len() < RECORDS_CLOSE_AT {
            match waiting.pop_front() {
                None => return Closed::Full,
                Some(Submission::Stop) => return Closed::Stop,
                Some(Submission::Aside(aside)) => return Closed::Aside(aside),
                Some(Submission::Witnessed(size)) => self.witnessed(size),
                Some(Submission::Asked(versions, asker)) => {
                    // Who asked may have gone.
                    let _ = asker.try_send(self.uses_of(&versions));
                }
                Some(Submission::Repeated(repeated)) => {
                    if self.sequencer.admit(&repeated.claim).is_ok() {
                        open.repeated.push(*repeated);
                    } else {
                        self.pool.redo(repeated.redo);
                    }
                }
                Some(Submission::Moved(tenant, mark)) => {
                    self.sequencer.authority_moved(tenant, mark);
                }
                Some(Submission::Finished(finished)) => {
                    if let Some(finished) = self.place(finished, open) {
                        waiting.push_front(Submission::Finished(finished));
                        return Closed::Full;
                    }
                }
            }
        }
        Closed::Full
    }

    /// How often versions were used, records of this frame included.
    fn uses_of(&self, versions: &[(KeyId, u32)]) -> UseCounts {
        let uses = self.sequencer.uses();
        let of = |version: &(KeyId, u32)| {
            let counted = Counted::Version(version.0, version.1);
            Some((*version, uses.get(&counted).copied()?))
        };
        versions.iter().filter_map(of).collect()
    }

    /// Lets go what waited for witnesses and need not wait any longer.
    fn witnessed(&mut self, size: u64) {
        for outlet in self.held.witnessed(size) {
            outlet.flush();
            self.barrier.flushed(&outlet);
        }
    }

    /// Gives a result its place. Gives it back if the frame is full.
    fn place(&mut self, finished: Box<Finished>, open: &mut Open) -> Option<Box<Finished>> {
        if open.bytes + finished.encoded_bytes() > ITEMS_BYTES_MAX {
            return Some(finished);
        }
        let Ok(seat) = self.sequencer.join(&finished.claim) else {
            self.decide_again(*finished);
            return None;
        };
        let Finished { claim, prepared, beside, command, entry, answer, way } = *finished;
        let used = used(&claim, &seat, &way);
        self.resumes.note(command, &way);
        open.push(partner::Placed::new(prepared, seat.use_index, command));
        let sealed = self.sequencer.seal(answer, &seat);
        open.placed.push(Placed { sealed, seat, entry, way, used });
        for (counted, prepared) in beside {
            self.count_beside(claim.tenant, counted, prepared, open);
        }
        None
    }

    /// Counts a use that has its place for something else too, a link of its handle or another version of its key: in
    /// the same frame, so with it or not at all.
    fn count_beside(
        &mut self,
        tenant: TenantId,
        counted: Counted,
        prepared: Prepared,
        open: &mut Open,
    ) {
        let counting = Counting::Use(counted);
        let claim = Claim { tenant, decided: Mark::STANDING, counting };
        // It stands whatever authority does, so it always joins.
        let Ok(seat) = self.sequencer.join(&claim) else { return };
        open.push(partner::Placed::new(prepared, seat.use_index, 0));
        let sealed = self.sequencer.seal(Answer::None, &seat);
        let way = match counted {
            Counted::Link(link) => Way::LinkUse(link),
            Counted::Version(..) => Way::Nowhere,
        };
        open.placed.push(Placed { sealed, seat, entry: None, way, used: None });
    }

    /// The authority moved since it was decided: nothing of it leaves, and it is decided anew.
    fn decide_again(&self, finished: Finished) {
        if let Way::Item(ItemWay { redo: Some(redo), .. }) = finished.way {
            self.pool.redo(redo);
        }
    }

    fn commit(&mut self, mut open: Open) {
        self.give_again(std::mem::take(&mut open.repeated));
        if open.records.is_empty() {
            return;
        }
        let now = lock(&self.core).now(crate::entropy::sample());
        self.summarise(now, &mut open);
        let Some(batch) = self.sequencer.close() else { return };
        let before = self.chain.frontier().clone();
        let records = partner::finish(open.records, &self.partner);
        let begun = self.chain.begin((records, now.unix_ms), &self.partner);
        let wants_receipt = open.placed.iter().any(Placed::wants_receipt);
        let receipts = if wants_receipt { ReceiptWish::Wanted } else { ReceiptWish::Unwanted };
        let (address, (hash, signature)) =
            self.write(&begun, before, receipts).unwrap_or_else(|error| halt(&error));
        let composed = self.chain.complete(begun, hash);
        let durable = self.sequencer.synced(&batch);
        self.count(&composed);
        self.release(open.placed, durable, &Written { composed: &composed, address, signature });
        // Off the path of the answers: the next frame stores it.
        let signature = signature.unwrap_or_else(|| sign(&self.receipt_key, &composed.head));
        self.chain.signed(signature);
        self.resumes.head = Some(composed.head);
        self.resumes.note_growth(u64::try_from(composed.encoded.bytes.len()).unwrap_or_default());
        self.chain.reuse(composed.encoded.bytes);
        self.partner.discard(composed.frame);
        self.roll_ahead();
    }

    /// Lets answers go that are on record already. What took effect since they were decided is behind them.
    fn give_again(&mut self, repeated: Vec<Repeated>) {
        for Repeated { claim, result, redo } in repeated {
            let Redo { request, position, room, .. } = redo;
            let assembly = &request.assembly;
            if let Some(room) = room {
                let assembly = Arc::clone(assembly);
                self.held.take(HeldAnswer { room, assembly, position, result });
            } else {
                assembly.repeat(position, result);
            }
            self.barrier.note(claim.tenant, assembly);
            assembly.outlet().flush();
            self.barrier.flushed(assembly.outlet());
        }
    }

    /// Ends a segment that is nearly full, with all that joined on record: what the resume file can say.
    fn roll_ahead(&mut self) {
        if self.wal.room() > self.wal.segment_bytes() / 8 || !self.spare.is_ready() {
            return;
        }
        let next = self.wal.next_segment();
        let tail = self.chain.tail(next, self.resumes.head);
        self.wal.roll(&SegmentStart::at(&tail)).unwrap_or_else(|error| halt(&error));
        self.spare.taken();
        lock(&self.progress).is_low = false;
        if self.resumes.is_due() {
            let resume = self.resume(tail);
            self.resumes.write_soon(resume);
        }
    }

    /// An orderly stop: everything is durable; the segment is cut, and the resume file says where it ends.
    fn stop(&mut self) -> ! {
        self.wal.finish().unwrap_or_else(|error| halt(&error));
        self.resumes.last_checkpoint();
        let tail = self.chain.tail(self.wal.next_segment(), self.resumes.head);
        let resume = self.resume(tail);
        self.resumes.write_last(&resume);
        std::process::exit(0);
    }

    /// What the resume file says at a segment's end, at which everything that joined is on record.
    fn resume(&mut self, tail: Tail) -> Resume {
        let mut core = lock(&self.core);
        let now = core.now(crate::entropy::sample());
        self.sequencer.forget_links(|link| core.counts.remembers(link));
        self.resumes.resume(tail, &core, now, self.sequencer.uses())
    }

    /// Records of early refusals ride along in a frame that is written anyway.
    fn summarise(&mut self, now: Reading, open: &mut Open) {
        for Summary { reason, count, prepared } in self.summaries.due(now, &self.counters) {
            if open.bytes + prepared.encoded_bytes() > ITEMS_BYTES_MAX {
                self.counters.unsummarised_many(reason, count);
                continue;
            }
            let claim = Claim {
                tenant: TenantId::SYSTEM,
                decided: Mark::STANDING,
                counting: Counting::Nothing,
            };
            let Ok(seat) = self.sequencer.join(&claim) else { return };
            open.push(partner::Placed::new(prepared, Some(count), 0));
            let sealed = self.sequencer.seal(Answer::None, &seat);
            let (entry, way, used) = (None, Way::Nowhere, None);
            open.placed.push(Placed { sealed, seat, entry, way, used });
        }
    }

    /// Writes a frame, and hashes it and signs its head while the disk works. Where nobody writes beside this thread, the
    /// signature is made only if it is wanted at once: an answer need not wait for it.
    fn write(
        &mut self,
        begun: &Begun,
        before: Frontier,
        receipts: ReceiptWish,
    ) -> Result<(Address, Made), WalError> {
        if !self.wal.fits(begun.padded_bytes()) {
            self.spare.wait()?;
            self.wal.roll(&self.chain.segment_start(begun.frame(), before))?;
            self.spare.taken();
        }
        let key = &self.receipt_key;
        let is_large = self.partner.helps_with(begun.frame().items.len());
        let meanwhile = || {
            let signature =
                (is_large || receipts == ReceiptWish::Wanted).then(|| sign(key, begun.head()));
            (begun.hash(), signature)
        };
        let apart = (&self.partner, Instant::now as fn() -> Instant);
        let (wal::Written { address, took }, made) =
            self.wal.write_while(begun, apart, meanwhile)?;
        let took = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        Counters::add(&self.counters.sync_nanoseconds, took);
        Ok((address, made))
    }

    fn count(&self, composed: &Composed) {
        Counters::add(&self.counters.frames, 1);
        let records = u64::try_from(composed.frame.items.len()).unwrap_or_default();
        Counters::add(&self.counters.records, records);
        let bytes = u64::try_from(composed.encoded.bytes.len()).unwrap_or_default();
        Counters::add(&self.counters.frame_bytes, bytes);
        *lock(&self.progress) = Progress {
            size: composed.head.tree_size,
            root: composed.head.tree_root.as_bytes().to_vec(),
            frames: composed.frame.number + 1,
            incarnation: composed.frame.incarnation,
            last: LastFrame {
                number: composed.frame.number,
                tree_size: composed.head.tree_size,
                hash: composed.encoded.hash,
            },
            is_low: self.wal.room() < self.wal.segment_bytes() / LOW_PART,
        };
    }

    fn release(&mut self, placed: Vec<Placed>, durable: Durable, written: &Written<'_>) {
        self.complete(&placed, written);
        let mut outlets: Vec<Arc<Outlet>> = Vec::new();
        for (position, placed) in (0..).zip(placed) {
            let Placed { sealed, seat, way, .. } = placed;
            let Ok(released) = sealed.release(durable) else {
                // It joined this batch, and the batch is durable: property 2 would be broken here.
                Counters::add(&self.counters.violations, 1);
                continue;
            };
            let outlet = match way {
                Way::Item(mut way) => {
                    let receipt = self.receipt(&way, position, written);
                    self.put(&mut way, released, Recorded { index: seat.index.0, receipt });
                    self.barrier.note(way.tenant, &way.assembly);
                    Some(Arc::clone(way.assembly.outlet()))
                }
                Way::Command(way) => self.end_command(way, (released, seat.index.0), &outlets),
                Way::Nowhere | Way::LinkUse(_) => None,
            };
            outlets
                .extend(outlet.filter(|new| !outlets.iter().any(|known| Arc::ptr_eq(known, new))));
        }
        for outlet in outlets {
            outlet.flush();
            self.barrier.flushed(&outlet);
        }
    }

    /// Puts a result in its place, or has it wait for witnesses.
    fn put(&mut self, way: &mut ItemWay, released: Released<Answer>, recorded: Recorded) {
        let Some(room) = way.redo.as_mut().and_then(|redo| redo.room.take()) else {
            return way.assembly.put(way.position, released, recorded);
        };
        let Some(result) = recorded_result(released, recorded) else { return };
        let assembly = Arc::clone(&way.assembly);
        self.held.take(HeldAnswer { room, assembly, position: way.position, result });
    }

    /// The ids of a durable frame are carried out, the uses of its handles counted, and its bytes charged.
    fn complete(&self, placed: &[Placed], written: &Written<'_>) {
        let frame = &written.composed.frame;
        let mut bytes: BTreeMap<TenantId, u64> = BTreeMap::new();
        for item in &frame.items {
            let size = u64::try_from(item.encoded_bytes()).unwrap_or(u64::MAX);
            *bytes.entry(item.tenant).or_default() += size;
        }
        // In the order of their places, so that the last one of a version says how often it was used.
        self.used.reached(&placed.iter().filter_map(|placed| placed.used).collect());
        let mut core = lock(&self.core);
        for (item, placed) in (0..).zip(placed) {
            if let Some(entry) = &placed.entry {
                let place = Place { address: written.address.to_number(), item };
                core.operations.complete(entry, place);
            }
            if let Way::LinkUse(link) = placed.way {
                core.counts.record(link);
            }
        }
        for (tenant, bytes) in bytes {
            core.budget.charge(tenant, bytes, frame.unix_ms);
        }
    }

    fn end_command(
        &mut self,
        way: CommandWay,
        (answer, index): (Released<Answer>, u64),
        outlets: &[Arc<Outlet>],
    ) -> Option<Arc<Outlet>> {
        if !way.rows.is_empty() {
            let mut core = lock(&self.core);
            for row in way.rows {
                // Commands come one at a time, so the state is the one that was decided on.
                core.authority.apply(row).unwrap_or_else(|error| halt(&error));
            }
        }
        if let Some(done) = way.done {
            let _ = done.send(());
        }
        let asker = way.asker?;
        if let Some(tenant) = way.reduces {
            let recorded = barrier::Recorded { asker, answer, index };
            self.barrier.hold(tenant, Held::Recorded(Box::new(recorded)), outlets);
            return None;
        }
        asker.outlet.answer(asker.tag, answer, index);
        Some(asker.outlet)
    }

    fn receipt(&self, way: &ItemWay, position: u32, written: &Written<'_>) -> Vec<u8> {
        if way.receipt == ReceiptWish::Unwanted {
            return Vec::new();
        }
        let frame = &written.composed.frame;
        let item = usize::try_from(position).ok().and_then(|position| frame.items.get(position));
        let keys = item.and_then(|item| self.keyring.get(way.tenant, item.month));
        let made = keys.zip(written.signature).and_then(|(keys, signature)| {
            Receipt::make(frame, self.log_id, signature, position, &keys)
        });
        made.unwrap_or_default()
    }
}

/// What is made of a frame while it is written: its hash, and the signature of its head.
type Made = ([u8; 32], Option<[u8; 64]>);

fn sign(key: &PrivateKey, head: &Head) -> [u8; 64] {
    let signed = key.sign(&head.to_signed_bytes());
    let signature = signed.ok().and_then(|signature| signature.try_into().ok());
    // A log whose heads are not signed is no log: better to end here than to go on without.
    signature.unwrap_or_else(|| halt(&chancery_crypto::primitive::PrimitiveError))
}

/// A frame that is on the disk.
struct Written<'c> {
    composed: &'c Composed,
    address: Address,
    signature: Option<[u8; 64]>,
}

impl Finished {
    fn encoded_bytes(&self) -> usize {
        let beside = self.beside.iter().map(|(_, prepared)| prepared.encoded_bytes());
        self.prepared.encoded_bytes() + beside.sum::<usize>()
    }
}

impl Placed {
    fn wants_receipt(&self) -> bool {
        matches!(&self.way, Way::Item(ItemWay { receipt: ReceiptWish::Wanted, .. }))
    }
}
