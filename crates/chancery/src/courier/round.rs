//! Rounds of the courier: when one begins, what it still waits for, and what is written down of it.
//!
//! A round carries one checkpoint to all witnesses at once. What enough of them cosigned is written down at that moment;
//! the next round may begin then, and those that have not answered yet are asked again when they have. A report waits
//! for everybody who was asked, as long as they may take.
//!
//! **Invariant:** a report that answers a wish says of everybody what they answered since the wish.

use std::fs::{self, File, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use chancery_audit::proof::Trust;
use chancery_audit::publish::{CHECKPOINT_FILE, POLICY_FILE};
use chancery_audit::shelf::Shelf;
use chancery_audit::witnessed::{
    ASKED_FILE, Asked, COSIGNED_FILE, HURRY_FILE, REPORT_FILE, Report, policy_of, seen_file,
};
use chancery_log::TreeHead;
use chancery_log::checkpoint::Checkpoint;
use chancery_log::note::{KeyName, Note, NoteSignature};

use super::party::{Known, Question, Said, Who};
use super::places::Places;
use crate::cosigning::{Exchange, Fault, WITNESS_MAX, Watch, lost};
use crate::published::Published;

/// Of an answer: who reaches its directory may read it.
const ANSWER_MODE: u32 = 0o644;

/// How much later than its deadline an answer is still taken: 500 ms, for what notices the deadline.
const LEEWAY: Duration = Duration::from_millis(500);

/// How long a report waits: for an answer, and for what the witness shows that contradicts the log.
const REPORT_PATIENCE: Duration = WITNESS_MAX.saturating_add(WITNESS_MAX).saturating_add(LEEWAY);

/// What goes round.
pub(super) struct Courier {
    lines: String,
    parties: Vec<Known>,
    said: Receiver<Said>,
    log: PathBuf,
    asked: PathBuf,
    answers: PathBuf,
    last_asked: Option<Asked>,
    last_hurry: Option<Asked>,
    last_checkpoint: Vec<u8>,
    /// The last round that was begun.
    round: Option<Round>,
    /// The report that is waited for.
    due: Option<Due>,
    watch: Watch,
}

/// Why a round may be wanted.
pub(super) struct Wanted {
    /// The service asks for all.
    pub(super) is_asked: bool,
    /// Answers wait for a quorum.
    pub(super) is_hurried: bool,
    /// There is a checkpoint that was not carried, or that no quorum has cosigned.
    pub(super) is_new: bool,
}

/// What this log has published.
pub(super) struct Own {
    pub(super) published: Published,
    pub(super) log: Trust,
    pub(super) trust: Trust,
    pub(super) note: Note,
    pub(super) tree: TreeHead,
    pub(super) origin: KeyName,
}

/// A checkpoint on its way.
struct Round {
    number: u64,
    /// The last that went to all: this one, or one before it.
    all: u64,
    asked: Option<Asked>,
    begun: Instant,
    own: Arc<Own>,
    /// It with the cosignatures that came.
    note: Note,
    is_enough: bool,
}

/// A report that waits for those who were asked in a round, or in the last that went to all.
struct Due {
    round: u64,
    all: u64,
    asked: Option<Asked>,
    until: Instant,
    size: u64,
    is_enough: bool,
}

impl Courier {
    /// With the directories of the published log, of the wish for a round, and of the answers.
    pub(super) fn new(
        places: Places,
        exchange: Exchange,
        [log, asked, answers]: [PathBuf; 3],
    ) -> Self {
        let Places { lines, witnesses, peers } = places;
        let exchange = Arc::new(exchange);
        let (answer, said) = channel();
        let all = witnesses.into_iter().map(Who::Witness).chain(peers.into_iter().map(Who::Peer));
        let start =
            |(number, who)| Known::start(who, number, Arc::clone(&exchange), answer.clone());
        Self {
            lines,
            parties: all.enumerate().map(start).collect(),
            said,
            log,
            asked,
            answers,
            last_asked: None,
            last_hurry: None,
            last_checkpoint: Vec::new(),
            round: None,
            due: None,
            watch: Watch::default(),
        }
    }

    /// What there is to do.
    pub(super) fn looks(&self) -> Wanted {
        let is_other = |now: Option<Asked>, last| now.is_some() && now != last;
        let checkpoint = fs::read(self.log.join(CHECKPOINT_FILE)).unwrap_or_default();
        Wanted {
            is_asked: is_other(self.wish(ASKED_FILE), self.last_asked),
            is_hurried: is_other(self.wish(HURRY_FILE), self.last_hurry),
            is_new: !checkpoint.is_empty()
                && (checkpoint != self.last_checkpoint || self.lacks_quorum()),
        }
    }

    fn wish(&self, file: &str) -> Option<Asked> {
        Asked::parse(&fs::read(self.asked.join(file)).ok()?)
    }

    fn lacks_quorum(&self) -> bool {
        !self.lines.is_empty() && self.round.as_ref().is_some_and(|round| !round.is_enough)
    }

    /// Whether another round may begin: the last one has its quorum, or comes to none.
    pub(super) fn is_free(&self) -> bool {
        self.round.as_ref().is_none_or(|round| {
            let mut witnesses = self.parties.iter().filter(|party| party.is_witness);
            round.is_enough
                || round.begun.elapsed() > WITNESS_MAX + LEEWAY
                || !witnesses.any(|party| party.owes(round.number))
        })
    }

    /// Begins a round: to all, or to witnesses alone. What goes wrong is said on standard error, and in the report as far
    /// as it comes to one.
    pub(super) fn begin(&mut self, is_all: bool) {
        let asked = if is_all { self.wish(ASKED_FILE) } else { self.last_asked };
        let hurry = self.wish(HURRY_FILE);
        let checkpoint = fs::read(self.log.join(CHECKPOINT_FILE)).unwrap_or_default();
        // Before the first checkpoint there is nothing to carry; whoever asks, asks after it.
        if checkpoint.is_empty() {
            return;
        }
        (self.last_asked, self.last_hurry, self.last_checkpoint) = (asked, hurry, checkpoint);
        match self.own() {
            Ok(own) => self.carry(own, is_all),
            Err(error) => eprintln!("chancery courier: {error:#}"),
        }
    }

    fn own(&self) -> Result<Own> {
        let text =
            fs::read_to_string(self.log.join(POLICY_FILE)).context("the log's own policy")?;
        let log = Trust::parse(&text)?;
        let trust = Trust::parse(&policy_of(log.log_keys(), &self.lines));
        let published = Published::Directory(self.log.clone(), Shelf::at(&self.log));
        let (note, tree) = published.checkpoint()?;
        let checkpoint = log.signed_by_log(note.clone());
        let Checkpoint { origin, .. } =
            checkpoint.context("the published checkpoint is not this log's")?;
        // Without witnesses the log's own policy is all there is.
        let trust = if self.lines.is_empty() { Trust::parse(&text)? } else { trust? };
        Ok(Own { published, log, trust, note, tree, origin })
    }

    fn carry(&mut self, own: Own, is_all: bool) {
        let begun = Instant::now();
        let (last, last_all) = self.round.as_ref().map_or((0, 0), |last| (last.number, last.all));
        let number = last + 1;
        let all = if is_all { number } else { last_all };
        let own = Arc::new(own);
        for party in self.parties.iter_mut().filter(|party| is_all || party.is_witness) {
            let own = Arc::clone(&own);
            party.ask(Question { own, round: number, deadline: begun + WITNESS_MAX });
        }
        let note = own.note.clone();
        let asked = self.last_asked;
        let round = Round { number, all, asked, begun, own, note, is_enough: false };
        self.due.get_or_insert_with(|| Due::of(&round));
        self.round = Some(round);
    }

    /// Takes in what comes within so long, or at once if something comes.
    pub(super) fn hear(&mut self, patience: Duration) {
        let first = self.said.recv_timeout(patience);
        if matches!(first, Err(RecvTimeoutError::Disconnected)) {
            thread::sleep(patience);
        }
        let all: Vec<Said> = first.into_iter().chain(self.said.try_iter()).collect();
        let mut lines = Vec::new();
        for mut said in all {
            let is_last = self.round.as_ref().is_some_and(|round| round.number == said.round);
            lines.extend(std::mem::take(&mut said.lines).into_iter().filter(|_| is_last));
            if let Some(party) = self.parties.get_mut(said.party) {
                party.hear(said);
            }
        }
        if let Err(error) = self.cosigned(lines).and_then(|()| self.report()) {
            eprintln!("chancery courier: {error:#}");
        }
    }

    /// Adds cosignatures to the checkpoint, and writes it down once they are enough.
    fn cosigned(&mut self, lines: Vec<NoteSignature>) -> Result<()> {
        let Some(round) = self.round.as_mut().filter(|_| !lines.is_empty()) else { return Ok(()) };
        for line in lines {
            round.note.add(line);
        }
        // As everybody will read it: a note has a longest length and a number of signatures.
        let note = Note::parse(round.note.to_string().as_bytes())?;
        if round.own.trust.vouched(note.clone()).is_err() {
            return Ok(());
        }
        round.is_enough = true;
        let (kept, size) = (round.own.trust.kept(&note), round.own.tree.size);
        if let Some(due) = &mut self.due {
            (due.is_enough, due.size) = (true, size);
        }
        Ok(self.put(COSIGNED_FILE, kept.to_string().as_bytes())?)
    }

    /// Writes the report that is due, if everybody has answered or had their time. What was begun since has one of its
    /// own.
    fn report(&mut self) -> Result<()> {
        let is_over = |due: &mut Due| {
            Instant::now() > due.until || !self.parties.iter().any(|party| due.awaits(party))
        };
        let Some(due) = self.due.take_if(is_over) else { return Ok(()) };
        for party in self.parties.iter_mut().filter(|party| due.awaits(party)) {
            party.give_up();
        }
        let later = self.round.as_ref().filter(|round| round.number > due.round);
        self.due = later.map(Due::of);
        self.tell(&due);
        let seen: Vec<&Note> = self.parties.iter().filter_map(Known::seen).collect();
        for (number, note) in seen.iter().enumerate() {
            self.put(&seen_file(number), note.to_string().as_bytes())?;
        }
        // Last: whoever waits for it finds the rest.
        let parties = self.parties.iter().filter_map(Known::party).collect();
        let Due { asked, size, is_enough, .. } = due;
        let report = Report { asked, size, is_enough, parties };
        Ok(self.put(REPORT_FILE, report.to_text().as_bytes())?)
    }

    /// Says what was lost, and what is back.
    fn tell(&mut self, due: &Due) {
        if self.lines.is_empty() {
            return;
        }
        let faults: Vec<Fault> = self.parties.iter().filter_map(Known::fault).collect();
        let kept = if due.is_enough { Ok(()) } else { Err(lost(&faults)) };
        for said in self.watch.after(Some(&faults), &kept) {
            eprintln!("chancery courier: {said}");
        }
    }

    /// Puts an answer in its place, whole.
    fn put(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let new = self.answers.join(format!("{name}.new"));
        let mut file = File::options().write(true).create(true).truncate(true).open(&new)?;
        // The signer may be of another user, and reads it whatever the umask.
        file.set_permissions(Permissions::from_mode(ANSWER_MODE))?;
        file.write_all(bytes)?;
        fs::rename(new, self.answers.join(name))
    }
}

impl Due {
    /// Whether it waits for that one.
    fn awaits(&self, party: &Known) -> bool {
        party.owes(self.round) || party.owes(self.all)
    }

    fn of(round: &Round) -> Self {
        Self {
            round: round.number,
            all: round.all,
            asked: round.asked,
            until: round.begun + REPORT_PATIENCE,
            size: round.own.tree.size,
            is_enough: round.is_enough,
        }
    }
}
