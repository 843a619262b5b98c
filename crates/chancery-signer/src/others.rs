//! Who else remembers this log: witnesses that cosign its checkpoints, and peers that publish its files.
//!
//! A process of its own, the courier, asks them; what it brings is read here. A start is held against it twice. Before
//! anything is written, whoever has more or other records than there are keeps every key unused ([`Others::of`]).
//! Then the start itself is recorded and put under a checkpoint, and keys are used once a quorum of witnesses has
//! cosigned that ([`await_quorum`]): nobody can have cosigned a record of this very start before, so that no
//! clock and no word of the courier is believed.
//!
//! **Invariant:** a checkpoint counts as witnessed if it is signed as the policy asks and this log has its tree.

pub(crate) mod answers;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use chancery_audit::disk::{DirectoryDisk, Disk};
use chancery_audit::proof::Trust;
use chancery_audit::publish::LOG_DIRECTORY;
use chancery_audit::shelf::Shelf;
use chancery_audit::witnessed::{
    ANSWERS_DIRECTORY, ASKED_FILE, Asked, HURRY_FILE, Party, Report, WITNESS_DIRECTORY,
    WITNESSED_CHECKPOINT, WITNESSED_POLICY, policy_of, with_digest,
};
use chancery_log::TreeHead;
use chancery_log::note::VerifierKey;

use self::answers::Answers;
use crate::checkpoints::{self, Checkpoints};
use crate::config::{OthersWish, SignerConfig, SignerError, Unwitnessed};
use crate::counters::lock;
use crate::entropy;
use crate::inbox::Submission;
use crate::sequencer::halt;
use crate::service::Shared;

/// How often it is looked for answers: 20 ms, which answers that wait for witnesses wait as well.
const POLL: Duration = Duration::from_millis(20);

/// How often a checkpoint is made for answers that wait: each 100 ms at most, whatever callers do.
const HURRY_EVERY: Duration = Duration::from_millis(100);

/// How long a start waits between two rounds that bring no quorum.
const BETWEEN_ROUNDS: Duration = Duration::from_secs(2);

/// How long a start waits for what others hold: 15 s, three times what one of them may take.
const COMPARE_PATIENCE: Duration = Duration::from_secs(15);

/// How long a start waits for a quorum: 30 s, some rounds.
const QUORUM_PATIENCE: Duration = Duration::from_secs(30);

/// How long after a checkpoint that no quorum has cosigned they are called lost: 2 min, two heartbeats of the log.
const LOST_AFTER: Duration = Duration::from_mins(2);

/// A checkpoint that enough of them cosigned.
#[derive(Clone, Copy)]
struct Witnessed {
    size: u64,
    /// When they did, by their own clocks, in seconds since 1970: a checkpoint of the same size is another if it is
    /// later, and one that is shown again is not.
    time_s: u64,
    /// How many signatures are under it: those of more witnesses may come later.
    signatures: usize,
    /// When it came.
    at: Instant,
}

/// What is known of them.
#[derive(Default)]
struct Known {
    /// The last.
    witnessed: Option<Witnessed>,
    /// The size of the log with this start's own record.
    needed: Option<u64>,
    report: Option<Report>,
    /// Whether the loss was said.
    is_told: bool,
}

/// How the quorum of witnesses stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Quorum {
    /// None is asked for.
    None,
    /// None has cosigned this start yet.
    Awaited,
    /// Enough of them cosign.
    Kept,
    /// The last checkpoint that enough of them cosigned is older than it should be.
    Lost,
}

/// What is shown of them.
#[derive(Clone, Debug)]
pub(crate) struct Standings {
    pub(crate) quorum: Quorum,
    /// How many records were cosigned by enough of them; 0 before any were.
    pub(crate) witnessed_size: u64,
    /// Each of them.
    pub(crate) parties: Vec<Party>,
}

/// Those who are asked.
pub(crate) struct Others {
    trust: Trust,
    asks_for_witnesses: bool,
    unwitnessed: Unwitnessed,
    started: Instant,
    wishes: DirectoryDisk,
    answers: Answers,
    published: PathBuf,
    policy: String,
    known: Mutex<Known>,
    /// Whether the time is over for which keys are used without a quorum.
    is_over: AtomicBool,
    /// Whether a quorum cosigns.
    is_kept: AtomicBool,
}

impl Others {
    /// Those that are to be asked, if there are any, held against a log that is about to be taken up.
    ///
    /// # Errors
    ///
    /// [`SignerError::Remembered`] if one of them has what the log has not.
    pub(crate) fn of(
        config: &SignerConfig,
        checkpoints: &mut Checkpoints,
        disk: &dyn Disk,
    ) -> Result<Option<Self>, SignerError> {
        let Some(wish) = &config.others else {
            let removed = remove_published(&mut Shelf::at(&config.data.join(LOG_DIRECTORY)));
            return removed.map(|()| None).map_err(unpublished);
        };
        let others = Self::open(&config.data, checkpoints.verifier_keys(), wish)?;
        others.compare(checkpoints, disk)?;
        Ok(Some(others))
    }

    /// Takes up the directories by which the courier is spoken with.
    fn open(data: &Path, keys: [&VerifierKey; 2], wish: &OthersWish) -> Result<Self, SignerError> {
        let witness = data.join(WITNESS_DIRECTORY);
        let asks_for_witnesses = !wish.witnesses.is_empty();
        let lines = if asks_for_witnesses { wish.witnesses.as_str() } else { "quorum none" };
        let policy = policy_of(keys, lines);
        let trust = Trust::parse(&policy)
            .map_err(|error| SignerError::Witnesses(format!("the policy: {error}")))?;
        let wishes = DirectoryDisk::open_public(&witness);
        Ok(Self {
            trust,
            asks_for_witnesses,
            unwitnessed: wish.unwitnessed,
            started: Instant::now(),
            wishes: wishes.map_err(SignerError::system("`witness` cannot be opened"))?,
            answers: Answers::at(witness.join(ANSWERS_DIRECTORY)),
            published: data.join(LOG_DIRECTORY),
            policy,
            known: Mutex::default(),
            is_over: AtomicBool::new(false),
            is_kept: AtomicBool::new(false),
        })
    }

    /// Asks for a round to all.
    fn ask(&self) -> Result<Asked, SignerError> {
        self.wish(ASKED_FILE)
    }

    fn wish(&self, file: &str) -> Result<Asked, SignerError> {
        let asked = Asked(entropy::bytes()?);
        self.wishes
            .write_whole(file, format!("{asked}\n").as_bytes())
            .map_err(SignerError::disk("the wish for witnesses cannot be written"))?;
        Ok(asked)
    }

    /// Holds a log that is about to be taken up against what others hold. Whoever cannot be reached says nothing; where
    /// a quorum must say something, nothing is written before it did.
    fn compare(&self, checkpoints: &mut Checkpoints, disk: &dyn Disk) -> Result<(), SignerError> {
        self.publish_policy()?;
        if !checkpoints.is_published() {
            // There is nothing yet that anybody could remember.
            return Ok(());
        }
        let deadline = Instant::now() + COMPARE_PATIENCE;
        loop {
            let report = self.round(deadline)?;
            self.contradicted(&report, checkpoints, disk)?;
            let is_enough = report.is_enough || !self.must_be_witnessed();
            lock(&self.known).report = Some(report);
            if is_enough {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(SignerError::Unwitnessed(self.said()));
            }
            std::thread::sleep(BETWEEN_ROUNDS);
        }
    }

    /// Whether a start that no quorum has cosigned uses no key.
    fn must_be_witnessed(&self) -> bool {
        self.asks_for_witnesses && self.unwitnessed == Unwitnessed::Refuse
    }

    /// Asks for a round, and waits for what comes of it.
    fn round(&self, deadline: Instant) -> Result<Report, SignerError> {
        let asked = self.ask()?;
        loop {
            match self.answers.report().filter(|report| report.asked == Some(asked)) {
                Some(report) => return Ok(report),
                None if Instant::now() < deadline => std::thread::sleep(POLL),
                None if self.must_be_witnessed() => {
                    return Err(SignerError::Unwitnessed(self.said()));
                }
                None => {
                    eprintln!(
                        "chancery signer: the courier did not answer: nobody else was asked what they hold of the log"
                    );
                    return Ok(Report::default());
                }
            }
        }
    }

    /// What others remember must be there.
    fn contradicted(
        &self,
        report: &Report,
        checkpoints: &mut Checkpoints,
        disk: &dyn Disk,
    ) -> Result<(), SignerError> {
        let mut absent = None;
        for tree in self.seen() {
            if !checkpoints.has(tree, disk)? {
                absent = Some(tree.size);
            }
        }
        let said = report.parties.iter().find(|party| party.standing.contradicts());
        let who = match (said, absent) {
            (None, None) => return Ok(()),
            (Some(Party { name, standing }), None) => format!("by its own word {name} {standing}"),
            (Some(Party { name, standing }), Some(size)) => {
                format!("{name} {standing}, and shows this log's signature under {size}")
            }
            (None, Some(size)) => {
                format!(
                    "a checkpoint of {size} records with this log's signature was seen elsewhere, and they are not here"
                )
            }
        };
        Err(SignerError::Remembered { who })
    }

    /// The trees that others hold, by this log's own signature.
    fn seen(&self) -> Vec<TreeHead> {
        let notes = self.answers.seen().into_iter();
        let own = notes.filter_map(|note| self.trust.signed_by_log(note).ok());
        own.map(|checkpoint| checkpoint.tree).collect()
    }

    /// Whether a quorum has cosigned this start.
    fn is_witnessed(&self) -> bool {
        let known = lock(&self.known);
        known.witnessed.is_some_and(|last| known.needed.is_some_and(|needed| last.size >= needed))
    }

    /// What each of them came to, in one line.
    fn said(&self) -> String {
        let known = lock(&self.known);
        let parties = known.report.iter().flat_map(|report| &report.parties);
        let said: Vec<_> =
            parties.map(|party| format!("{}: {}", party.name, party.standing)).collect();
        if said.is_empty() { "the courier brought no answer".into() } else { said.join("; ") }
    }

    /// Takes in what the courier has brought.
    fn look(&self, checkpoints: &Mutex<Checkpoints>, disk: &dyn Disk) {
        if let Some(report) = self.answers.report() {
            lock(&self.known).report = Some(report);
        }
        let Some(note) = self.answers.cosigned() else { return };
        // What does not hold is as good as nothing, and is asked for again.
        let Ok(vouched) = self.trust.vouched(note.clone()) else { return };
        let tree = vouched.checkpoint.tree;
        let Some(time_s) = self.trust.cosigned_s(&note) else { return };
        let note = self.trust.kept(&note);
        let signatures = note.signatures().len();
        let is_later = |known: Witnessed| {
            (tree.size, time_s, signatures) > (known.size, known.time_s, known.signatures)
        };
        if !lock(&self.known).witnessed.is_none_or(is_later) {
            return;
        }
        match lock(checkpoints).has(tree, disk) {
            Ok(true) => {}
            // Signed with this log's keys, and not by this log as it is.
            Ok(false) => halt(&SignerError::Fork),
            Err(error) => {
                eprintln!(
                    "chancery signer: what was cosigned cannot be held against the log: {error}"
                );
                return;
            }
        }
        let put = Shelf::at(&self.published).put(WITNESSED_CHECKPOINT, note.to_string().as_bytes());
        if let Err(error) = put {
            eprintln!("chancery signer: what was cosigned cannot be published: {error}");
        }
        lock(&self.known).witnessed =
            Some(Witnessed { size: tree.size, time_s, signatures, at: Instant::now() });
    }

    /// Whether there are witnesses that are to cosign.
    pub(crate) fn asks_for_witnesses(&self) -> bool {
        self.asks_for_witnesses
    }

    /// Whether a quorum of witnesses cosigns the log.
    pub(crate) fn is_cosigned(&self) -> bool {
        self.is_kept.load(Ordering::Relaxed)
    }

    /// What answers that wait for witnesses are waiting for: a round soon, its result, and that they have waited long.
    fn serve_waiting(&self, shared: &Shared, hurried: &mut Option<Instant>) {
        let may_hurry = hurried.is_none_or(|at| at.elapsed() >= HURRY_EVERY);
        if may_hurry && shared.waiting.take_urgency() {
            *hurried = Some(Instant::now());
            checkpoints::make(shared, &shared.checkpoints);
            if let Err(error) = self.wish(HURRY_FILE) {
                eprintln!("chancery signer: {error}");
            }
        }
        if shared.waiting.is_any() {
            let size = lock(&self.known).witnessed.map_or(0, |known| known.size);
            shared.inbox.send(Submission::Witnessed(size));
        }
    }

    /// Publishes who the witnesses are. What was cosigned under another policy goes first.
    fn publish_policy(&self) -> Result<(), SignerError> {
        let mut files = Shelf::at(&self.published);
        if !self.asks_for_witnesses {
            return remove_published(&mut files).map_err(unpublished);
        }
        let text = with_digest(&self.policy);
        if files.read(WITNESSED_POLICY).is_ok_and(|known| known == text.as_bytes()) {
            return Ok(());
        }
        remove_published(&mut files).map_err(unpublished)?;
        files.put(WITNESSED_POLICY, text.as_bytes()).map_err(unpublished)
    }

    /// Says once that they are lost, and once that they are back.
    fn tell(&self) {
        let quorum = self.quorum();
        self.is_kept.store(quorum == Quorum::Kept, Ordering::Relaxed);
        let is_lost = quorum == Quorum::Lost;
        let mut known = lock(&self.known);
        if is_lost != known.is_told {
            known.is_told = is_lost;
            drop(known);
            let what = if is_lost {
                "the quorum of witnesses is lost"
            } else {
                "the quorum of witnesses is back"
            };
            eprintln!("chancery signer: {what}: {}", self.said());
        }
    }

    fn quorum(&self) -> Quorum {
        if !self.asks_for_witnesses {
            return Quorum::None;
        }
        let since = lock(&self.known).witnessed.map_or(self.started, |known| known.at);
        match self.is_witnessed() {
            _ if since.elapsed() > LOST_AFTER => Quorum::Lost,
            true => Quorum::Kept,
            false => Quorum::Awaited,
        }
    }

    /// What is shown of them.
    pub(crate) fn standings(&self) -> Standings {
        let quorum = self.quorum();
        let known = lock(&self.known);
        Standings {
            quorum,
            witnessed_size: known.witnessed.map_or(0, |known| known.size),
            parties: known.report.iter().flat_map(|report| report.parties.clone()).collect(),
        }
    }

    /// What is measured of them, named as Prometheus names it.
    pub(crate) fn exposition(&self) -> Vec<(String, u64)> {
        if !self.asks_for_witnesses {
            return Vec::new();
        }
        let Standings { quorum, witnessed_size, .. } = self.standings();
        vec![
            ("chancery_witnessed_size".to_owned(), witnessed_size),
            ("chancery_witnesses_kept".to_owned(), u64::from(quorum == Quorum::Kept)),
        ]
    }

    /// Whether keys may not be used: the time is over for which they may be without a quorum.
    pub(crate) fn forbids_use(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    fn watch_deadline(&self) {
        let is_over = match self.unwitnessed {
            Unwitnessed::ServeFor(most) if self.asks_for_witnesses => {
                self.started.elapsed() > most && !self.is_witnessed()
            }
            _ => false,
        };
        if is_over != self.is_over.swap(is_over, Ordering::Relaxed) {
            let what = if is_over { "no key is used any more" } else { "keys are used again" };
            eprintln!("chancery signer: {what}: {}", self.said());
        }
    }
}

/// Waits until a quorum has cosigned this start, which is on record, as long as the posture says.
pub(crate) fn await_quorum(shared: &Shared) -> Result<(), SignerError> {
    let Some(others) = shared.others.as_ref().filter(|others| others.asks_for_witnesses) else {
        return Ok(());
    };
    lock(&others.known).needed = Some(lock(&shared.progress).size);
    checkpoints::make(shared, &shared.checkpoints);
    let deadline = Instant::now() + QUORUM_PATIENCE;
    let mut asked_at = None;
    while !others.is_witnessed() {
        if asked_at.is_none_or(|at: Instant| at.elapsed() >= BETWEEN_ROUNDS) {
            others.ask()?;
            asked_at = Some(Instant::now());
        }
        if !others.must_be_witnessed() {
            // What is served meanwhile is stopped when the time is over.
            return Ok(());
        }
        if Instant::now() >= deadline {
            return Err(SignerError::Unwitnessed(others.said()));
        }
        std::thread::sleep(POLL);
    }
    Ok(())
}

fn unpublished(source: io::Error) -> SignerError {
    SignerError::Disk { what: "the witnesses' policy cannot be published", source }
}

/// Removes what was published of witnesses that are not asked any more.
fn remove_published(shelf: &mut Shelf) -> io::Result<()> {
    shelf.remove(WITNESSED_CHECKPOINT)?;
    shelf.remove(WITNESSED_POLICY)
}

/// Starts the thread that takes in what the courier brings.
pub(crate) fn start(shared: &Arc<Shared>) {
    let shared = Arc::clone(shared);
    if shared.others.is_none() {
        return;
    }
    std::thread::spawn(move || {
        let mut hurried = None;
        while let Some(others) = &shared.others {
            std::thread::sleep(POLL);
            others.look(&shared.checkpoints, &*shared.disk);
            others.serve_waiting(&shared, &mut hurried);
            others.tell();
            others.watch_deadline();
        }
    });
}
