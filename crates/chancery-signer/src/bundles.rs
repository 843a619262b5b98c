//! Trust bundles: made when the tenant's epoch has moved and somebody asks, and handed out to anybody.
//!
//! One thread answers all that is asked without a credential, so that no lane works for strangers. Another makes a bundle
//! for it, at most once a second and one at a time, from a picture of the keys that it takes under the core's lock in one go
//! (pointers, not copies); hashing and signing happen outside. A bundle is handed out once it is in the store, under the
//! tenant's head, and on record: so its number is never another's, whatever is taken back while the service is down.
//!
//! While the store neither takes a bundle nor refuses it, the one before is handed out, once who asked has waited for
//! [`ISSUE_WITHIN`]; it holds until its end. The draft is not given up, since it may be in the store already: it is handed
//! out when it is on record, and no other is made before.
//!
//! **Invariant:** no more wait than may, and who waits is answered in bounded time. The thread that answers waits for
//! neither store nor vault. What is handed out stands in [`chancery_core::authority::Authority::bundle`].

mod made;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use chancery_api::frame::Kind;
use chancery_api::message::{PublicReply, PublicRequest};
use chancery_core::authority::Refusal;
use chancery_core::id::TenantId;
use chancery_core::reason::Reason;

use self::made::{Draft, Made};
use crate::counters::{Counters, lock};
use crate::entropy;
use crate::jobs::Job;
use crate::outlet::Outlet;
use crate::service::Shared;
use crate::store_thread::BundleJob;

/// The most questions that wait to be looked at: 1 024. Each takes some microseconds, a page of entries some milliseconds.
const QUESTIONS_MAX: usize = 1_024;

/// The most that wait for a newer bundle: 256, a connection each; whoever finds no place asks again by itself.
const WAITING_MAX: usize = 256;

/// The longest wait for a newer bundle: 25 s, less than a front gives a request.
const WAIT_MAX: Duration = Duration::from_secs(25);

/// How often it is looked whether there is something new while somebody waits: five times a second.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// The least time between two bundles of a tenant: 1 s.
const MAKE_EVERY: Duration = Duration::from_secs(1);

/// How long who asks waits for a bundle that is being made: 2 s. The store takes one in milliseconds, and what can be queued
/// before it takes about a second.
const ISSUE_WITHIN: Duration = Duration::from_secs(2);

// Nobody waits for a bundle longer than for a newer one.
const _: () = assert!(ISSUE_WITHIN.as_secs() < WAIT_MAX.as_secs());

/// So many superseded bundles still have their entries: 4, so that who fetches pages is not overtaken at once.
const SUPERSEDED_MAX: usize = 4;

/// What comes to the thread that answers.
#[derive(Default)]
pub(crate) struct Bundles {
    incoming: Mutex<Incoming>,
    arrived: Condvar,
    issued: AtomicU64,
    waiting: AtomicU64,
    unissued: AtomicU64,
}

/// What it has not looked at yet.
#[derive(Default)]
struct Incoming {
    questions: VecDeque<Question>,
    /// What became of the draft that was under way.
    drafted: Option<Result<Made, Refusal>>,
}

impl Incoming {
    fn is_empty(&self) -> bool {
        self.questions.is_empty() && self.drafted.is_none()
    }
}

/// A question, and where its answer goes.
struct Question {
    outlet: Arc<Outlet>,
    tag: u64,
    asked: PublicRequest,
}

impl Question {
    fn say(&self, reply: &PublicReply) {
        self.outlet.say(Kind::PublicReply, self.tag, reply);
    }
}

impl Bundles {
    /// Takes a question; refuses it at once if as many wait as may.
    pub(crate) fn ask(
        &self,
        counters: &Counters,
        (outlet, tag): (Arc<Outlet>, u64),
        asked: PublicRequest,
    ) {
        let question = Question { outlet, tag, asked };
        let mut incoming = lock(&self.incoming);
        if incoming.questions.len() >= QUESTIONS_MAX {
            drop(incoming);
            counters.refused(Reason::Overloaded);
            return question.say(&refusal(overloaded()));
        }
        incoming.questions.push_back(question);
        self.arrived.notify_one();
    }

    /// Says what became of the draft that was under way.
    fn put(&self, drafted: Result<Made, Refusal>) {
        lock(&self.incoming).drafted = Some(drafted);
        self.arrived.notify_one();
    }

    /// What has come; waits for something, or for so long.
    fn take(&self, patience: Option<Duration>) -> Incoming {
        let mut incoming = lock(&self.incoming);
        while incoming.is_empty() {
            let Some(patience) = patience else {
                let waited = self.arrived.wait(incoming);
                incoming = waited.unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let waited = self.arrived.wait_timeout(incoming, patience);
            incoming = waited.unwrap_or_else(PoisonError::into_inner).0;
            break;
        }
        std::mem::take(&mut incoming)
    }

    /// Its counters, named as Prometheus names them.
    pub(crate) fn exposition(&self) -> Vec<(String, u64)> {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        vec![
            ("chancery_bundles_issued_total".to_owned(), load(&self.issued)),
            ("chancery_bundles_unissued_total".to_owned(), load(&self.unissued)),
            ("chancery_bundle_waiting".to_owned(), load(&self.waiting)),
        ]
    }
}

/// Starts the threads.
pub(crate) fn start(shared: &Arc<Shared>) {
    let (drafts, wanted) = sync_channel(1);
    let drafting = Arc::clone(shared);
    spawn(move || draft(&drafting, &wanted));
    let shared = Arc::clone(shared);
    spawn(move || {
        let (held, waiting) = (Held::default(), Vec::new());
        let mut desk = Desk { shared, held, waiting, drafts, under_way: None };
        loop {
            desk.turn();
        }
    });
}

fn spawn(run: impl FnOnce() + Send + 'static) {
    std::thread::spawn(move || {
        // A kernel that refuses leaves it at the common priority, which is slower, not wrong.
        let _ = rustix::process::nice(crate::pool::NICENESS);
        run();
    });
}

/// Makes one bundle after another, each of them when it is wanted. Vault and store are waited for here.
fn draft(shared: &Shared, wanted: &Receiver<TenantId>) {
    for tenant in wanted {
        let drafted = Draft::of(shared, tenant).and_then(|draft| issue(shared, draft));
        shared.bundles.put(drafted);
    }
}

/// Has a draft stored and recorded; then it is a bundle.
fn issue(shared: &Shared, draft: Draft) -> Result<Made, Refusal> {
    let (done, issued) = sync_channel(1);
    let (row, digest) = (draft.row.clone(), draft.digest());
    let job = Job::Bundle(Box::new(BundleJob { row, digest, done }));
    shared.jobs.send(job).map_err(|_| overloaded())?;
    issued.recv().map_err(|_| unissued())?;
    Ok(draft.into_made())
}

/// Somebody who waits, for the latest bundle or for a newer one.
struct Waiting {
    question: Question,
    patience: Duration,
    until: Instant,
}

/// What there is of a tenant's bundles.
#[derive(Default)]
struct Held {
    /// The latest first.
    made: VecDeque<Arc<Made>>,
    tried: Option<Instant>,
}

/// Who answers.
struct Desk {
    shared: Arc<Shared>,
    held: Held,
    waiting: Vec<Waiting>,
    /// Where a draft is asked for.
    drafts: SyncSender<TenantId>,
    /// The only draft that there may be.
    under_way: Option<UnderWay>,
}

/// A draft that is neither a bundle yet nor refused.
struct UnderWay {
    since: Instant,
    /// Whether it was counted that nobody waits for it any more.
    is_late: bool,
}

/// Whether the latest bundle is as new as can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Freshness {
    /// It is.
    Fresh,
    /// A newer one is made in a moment.
    Due,
    /// A newer one is made, and nobody can say when.
    Late,
}

impl Desk {
    fn turn(&mut self) {
        let patience = (!self.waiting.is_empty()).then_some(LOOK_EVERY);
        let Incoming { questions, drafted } = self.shared.bundles.take(patience);
        let refused = drafted.and_then(|drafted| self.take_up(drafted).err());
        for question in questions {
            self.look_at(question);
        }
        self.answer_waiting(refused);
        let waiting = u64::try_from(self.waiting.len()).unwrap_or(u64::MAX);
        self.shared.bundles.waiting.store(waiting, Ordering::Relaxed);
    }

    fn look_at(&mut self, question: Question) {
        let wait = match &question.asked {
            PublicRequest::Bundle { wait_ms, .. } => Duration::from_millis(u64::from(*wait_ms)),
            PublicRequest::Jwks { .. } => Duration::ZERO,
            PublicRequest::Entries { number, from } => {
                let made = self.held.made.iter().find(|made| made.number() == *number);
                let reply = made.and_then(|made| made.page(*from));
                return self.reply(&question, reply.ok_or_else(superseded));
            }
        };
        // Those who wait for long keep nobody out who wants what there is.
        let long = self.waiting.iter().filter(|waiting| waiting.patience > Duration::ZERO).count();
        let is_full = if wait.is_zero() {
            self.waiting.len() >= WAITING_MAX + QUESTIONS_MAX
        } else {
            long >= WAITING_MAX
        };
        if is_full {
            return self.reply(&question, Err(overloaded()));
        }
        let patience = wait.min(WAIT_MAX);
        let until = Instant::now() + patience;
        self.waiting.push(Waiting { question, patience, until });
    }

    /// Answers who need not wait any longer; `refused` says why the latest draft is no bundle.
    fn answer_waiting(&mut self, refused: Option<Refusal>) {
        if self.waiting.is_empty() {
            return;
        }
        let freshness = self.refresh(refused);
        let latest = self.held.made.front().cloned();
        let now = Instant::now();
        for waiting in std::mem::take(&mut self.waiting) {
            match (&latest, &freshness) {
                (_, Ok(Freshness::Due)) => self.waiting.push(waiting),
                (Some(made), _) => match made.answer(&waiting.question.asked) {
                    Ok(PublicReply::Known { .. }) if now < waiting.until => {
                        self.waiting.push(waiting);
                    }
                    answer => self.reply(&waiting.question, answer),
                },
                (None, Err(refusal)) => self.reply(&waiting.question, Err(refusal.clone())),
                (None, Ok(_)) => self.reply(&waiting.question, Err(unissued())),
            }
        }
    }

    fn reply(&self, question: &Question, reply: Result<PublicReply, Refusal>) {
        let reply = reply.unwrap_or_else(|refused| {
            self.shared.counters.refused(refused.reason);
            refusal(refused)
        });
        question.say(&reply);
    }

    /// Has a bundle made, if the latest one is not as new as can be, none is under way, and the last try is long enough ago.
    fn refresh(&mut self, refused: Option<Refusal>) -> Result<Freshness, Refusal> {
        let tenant = self.tenant().ok_or_else(unissued)?;
        if self.held.made.is_empty() {
            // What was handed out before a start is handed out after it, if nothing has changed since.
            self.held.made.extend(Made::again(&self.shared, tenant).map(Arc::new));
        }
        if self.held.made.front().is_some_and(|made| made.is_current(&self.shared, tenant)) {
            return Ok(Freshness::Fresh);
        }
        if let Some(refusal) = refused {
            return Err(refusal);
        }
        if let Some(under_way) = &mut self.under_way {
            return Ok(under_way.freshness(&self.shared.bundles));
        }
        if self.held.tried.is_none_or(|tried| tried.elapsed() >= MAKE_EVERY) {
            let now = Instant::now();
            self.held.tried = Some(now);
            self.under_way = Some(UnderWay { since: now, is_late: false });
            // There is room, since none is under way.
            self.drafts.try_send(tenant).map_err(|_| unissued())?;
        }
        Ok(Freshness::Due)
    }

    /// Takes up a draft that became a bundle, or did not.
    fn take_up(&mut self, drafted: Result<Made, Refusal>) -> Result<(), Refusal> {
        self.under_way = None;
        let bundles = &self.shared.bundles;
        let made = drafted.inspect_err(|_| Counters::add(&bundles.unissued, 1))?;
        self.held.made.push_front(Arc::new(made));
        self.held.made.truncate(1 + SUPERSEDED_MAX);
        Counters::add(&bundles.issued, 1);
        Ok(())
    }

    /// The tenant whose bundle anybody may ask for: the one that there is.
    fn tenant(&self) -> Option<TenantId> {
        lock(&self.shared.core).authority.tenants().next()
    }
}

impl UnderWay {
    /// Whether it is waited for. When it no longer is, that is counted, once.
    fn freshness(&mut self, bundles: &Bundles) -> Freshness {
        if self.since.elapsed() < ISSUE_WITHIN {
            return Freshness::Due;
        }
        if !self.is_late {
            Counters::add(&bundles.unissued, 1);
        }
        self.is_late = true;
        Freshness::Late
    }
}

/// The time, in milliseconds since 1970. While the clock is suspect it is behind and never ahead, so that a bundle then
/// expires too early and not too late.
fn now_ms(shared: &Shared) -> u64 {
    lock(&shared.core).now(entropy::sample()).unix_ms
}

fn refusal(refused: Refusal) -> PublicReply {
    PublicReply::Refused { reason: refused.reason, detail: refused.detail }
}

fn overloaded() -> Refusal {
    let detail = "more ask than are answered at once; ask again later".to_owned();
    Refusal { reason: Reason::Overloaded, detail }
}

fn superseded() -> Refusal {
    let detail = "no entries of that bundle are here, or none at that place; fetch the latest one";
    Refusal { reason: Reason::BundleUnknown, detail: detail.to_owned() }
}

fn unissued() -> Refusal {
    let detail = "no trust bundle can be issued now".to_owned();
    Refusal { reason: Reason::Unavailable, detail }
}
