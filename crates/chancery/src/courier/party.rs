//! A witness or peer, asked by a thread of its own.
//!
//! **Invariant:** each has one question under way at most. What comes to be asked meanwhile is asked by the last of it, so
//! that one that hangs costs a thread and keeps nobody waiting.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Instant;

use chancery_audit::witnessed::{Party, Standing};
use chancery_log::note::{Note, NoteSignature};

use super::round::Own;
use crate::cosigning::{self, Exchange, Fault, WITNESS_MAX, look, of_peer, of_witness};

/// Whom it is asked of, by URL.
#[derive(Clone)]
pub(super) enum Who {
    /// It cosigns.
    Witness(String),
    /// It publishes the log's files.
    Peer(String),
}

/// What is asked.
pub(super) struct Question {
    pub(super) own: Arc<Own>,
    pub(super) round: u64,
    pub(super) deadline: Instant,
}

/// What came of it.
pub(super) struct Said {
    /// Which of them.
    pub(super) party: usize,
    pub(super) round: u64,
    pub(super) name: String,
    pub(super) standing: Standing,
    /// What was wrong, if anything was.
    pub(super) what: String,
    /// Cosignatures that hold.
    pub(super) lines: Vec<NoteSignature>,
    /// A checkpoint that it holds and this log does not have.
    pub(super) seen: Option<Note>,
}

/// What is known of one.
pub(super) struct Known {
    pub(super) is_witness: bool,
    questions: Sender<Question>,
    /// The last round in which it was asked, and that of its last answer.
    asked: u64,
    heard: u64,
    name: String,
    standing: Option<Standing>,
    what: String,
    seen: Option<Note>,
}

impl Known {
    /// Starts the thread that asks the `party`th of them.
    pub(super) fn start(
        who: Who,
        party: usize,
        exchange: Arc<Exchange>,
        answers: Sender<Said>,
    ) -> Self {
        let (questions, asked) = channel();
        let (is_witness, name) = match &who {
            Who::Witness(url) => (true, url.clone()),
            Who::Peer(url) => (false, url.clone()),
        };
        thread::spawn(move || ask_all(&who, party, &exchange, &asked, &answers));
        Self {
            is_witness,
            questions,
            asked: 0,
            heard: 0,
            name,
            standing: None,
            what: String::new(),
            seen: None,
        }
    }

    /// Has it asked.
    pub(super) fn ask(&mut self, question: Question) {
        self.asked = question.round;
        // Where its thread is gone, no answer comes either, and that is said.
        let _ = self.questions.send(question);
    }

    /// Whether it was asked in that round, or later, and has not answered since.
    pub(super) fn owes(&self, round: u64) -> bool {
        self.asked >= round && self.heard < round
    }

    /// Takes in what it said.
    pub(super) fn hear(&mut self, said: Said) {
        self.heard = said.round;
        (self.name, self.standing, self.what) = (said.name, Some(said.standing), said.what);
        // What was signed stays signed, whatever it shows next.
        self.seen = said.seen.or(self.seen.take());
    }

    /// It did not answer, and is not waited for any longer.
    pub(super) fn give_up(&mut self) {
        self.heard = self.asked;
        let what = "it did not answer in time".to_owned();
        self.standing = Some(Standing::Away(what.clone()));
        self.what = what;
    }

    /// What it came to, once it was asked.
    pub(super) fn party(&self) -> Option<Party> {
        let standing = self.standing.clone()?;
        Some(Party { name: self.name.clone(), standing })
    }

    /// What is wrong with a witness.
    pub(super) fn fault(&self) -> Option<Fault> {
        let standing = self.standing.as_ref().filter(|_| self.is_witness)?;
        let fault = || Fault { witness: self.name.clone(), what: self.what.clone() };
        (*standing != Standing::Cosigned).then(fault)
    }

    /// What it holds and this log does not.
    pub(super) fn seen(&self) -> Option<&Note> {
        self.seen.as_ref()
    }
}

fn ask_all(
    who: &Who,
    party: usize,
    exchange: &Exchange,
    questions: &Receiver<Question>,
    answers: &Sender<Said>,
) {
    while let Ok(question) = questions.recv() {
        let question = questions.try_iter().last().unwrap_or(question);
        let said = who.ask(exchange, &question);
        if answers.send(Said { party, round: question.round, ..said }).is_err() {
            return;
        }
    }
}

impl Who {
    fn ask(&self, exchange: &Exchange, question: &Question) -> Said {
        match self {
            Self::Witness(url) => ask_witness(url, exchange, question),
            Self::Peer(url) => {
                let (party, seen) = hold(exchange, &of_peer(url), question, question.deadline);
                let what = party.standing.to_string();
                Said::new(url.clone(), party.standing, what, seen)
            }
        }
    }
}

fn ask_witness(url: &str, exchange: &Exchange, question: &Question) -> Said {
    let Question { own, deadline, .. } = question;
    let places = cosigning::places(&own.trust);
    let Some(place) = places.iter().find(|place| place.url == url) else {
        let what = "the policy does not name it".to_owned();
        return Said::new(url.to_owned(), Standing::Away(what.clone()), what, None);
    };
    let checkpoint = (&own.note, own.tree);
    match place.ask(exchange, checkpoint, own.published.tiles(), *deadline) {
        Ok(lines) => {
            Said { lines, ..Said::new(place.name(), Standing::Cosigned, String::new(), None) }
        }
        Err(error) => {
            let standing = error.standing();
            // What it holds that contradicts this log, by its own word and with the log's signature.
            let show = || {
                let url = of_witness(url, &own.origin);
                hold(exchange, &url, question, Instant::now() + WITNESS_MAX).1
            };
            let seen = standing.contradicts().then(show).flatten();
            Said::new(place.name(), standing, error.to_string(), seen)
        }
    }
}

fn hold(
    exchange: &Exchange,
    url: &str,
    question: &Question,
    deadline: Instant,
) -> (Party, Option<Note>) {
    let own = &question.own;
    look(exchange, url, (&own.log, own.tree), own.published.tiles(), deadline)
}

impl Said {
    fn new(name: String, standing: Standing, what: String, seen: Option<Note>) -> Self {
        Self { party: 0, round: 0, name, standing, what, lines: Vec::new(), seen }
    }
}
