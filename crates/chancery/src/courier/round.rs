//! One round of the courier: who is asked, and what is written down of it.

use std::collections::BTreeSet;
use std::fs::{self, File, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::thread::{self, ScopedJoinHandle};
use std::time::Instant;

use anyhow::{Context as _, Result, anyhow, bail};
use chancery_audit::proof::Trust;
use chancery_audit::publish::{CHECKPOINT_FILE, POLICY_FILE};
use chancery_audit::shelf::Shelf;
use chancery_audit::witnessed::{
    ASKED_FILE, Asked, COSIGNED_FILE, HURRY_FILE, PARTIES_MAX, Party, REPORT_FILE, Report,
    Standing, policy_of, seen_file,
};
use chancery_log::TreeHead;
use chancery_log::checkpoint::Checkpoint;
use chancery_log::note::{KeyName, Note};
use chancery_log::policy::Policy;

use crate::cosigning::{self, Exchange, Round, WITNESS_MAX, Watch, look, of_peer, of_witness};
use crate::published::Published;

/// Of an answer: who reaches its directory may read it.
const ANSWER_MODE: u32 = 0o644;

/// Who is asked.
pub(super) struct Places {
    /// The lines of a policy that name witnesses, or nothing.
    witnesses: String,
    peers: Vec<String>,
}

impl Places {
    /// Checks that there is somebody to ask, and where.
    pub(super) fn new(witnesses: String, peers: Vec<String>) -> Result<Self> {
        let places = Self { witnesses, peers };
        for url in places.urls()? {
            port(&url)?;
        }
        if places.urls()?.len() > PARTIES_MAX {
            bail!("there are more than {PARTIES_MAX} witnesses and peers");
        }
        Ok(places)
    }

    fn urls(&self) -> Result<BTreeSet<String>> {
        let mut urls: BTreeSet<String> = self.peers.iter().cloned().collect();
        if !self.witnesses.is_empty() {
            let policy = Policy::parse(&self.witnesses)?;
            urls.extend(policy.witnesses().iter().filter_map(|(_, party)| party.url.clone()));
        }
        Ok(urls)
    }

    /// The ports of all of them.
    pub(super) fn ports(&self) -> BTreeSet<u16> {
        let urls = self.urls().unwrap_or_default();
        urls.iter().filter_map(|url| port(url).ok()).collect()
    }
}

/// The port of a URL.
fn port(url: &str) -> Result<u16> {
    let what = || anyhow!("`{url}` is not a URL such as https://witness.example/w1");
    let uri: ureq::http::Uri = url.parse().map_err(|_| what())?;
    match (uri.scheme_str(), uri.host(), uri.port_u16()) {
        (Some("http" | "https"), Some(_), Some(port)) => Ok(port),
        (Some("http"), Some(_), None) => Ok(80),
        (Some("https"), Some(_), None) => Ok(443),
        _ => Err(what()),
    }
}

/// What goes round.
pub(super) struct Courier {
    places: Places,
    exchange: Exchange,
    log: PathBuf,
    asked: PathBuf,
    answers: PathBuf,
    last_asked: Option<Asked>,
    last_hurry: Option<Asked>,
    last_checkpoint: Vec<u8>,
    /// What peers said when they were asked last.
    peers: Vec<Party>,
    watch: Watch,
}

/// Why a round may be wanted.
pub(super) struct Wanted {
    /// The service asks for all.
    pub(super) is_asked: bool,
    /// Answers wait for a quorum.
    pub(super) is_hurried: bool,
    /// There is a checkpoint that was not carried.
    pub(super) is_new: bool,
}

/// What this log has published.
struct Own {
    published: Published,
    log: Trust,
    trust: Trust,
    tree: TreeHead,
    origin: KeyName,
}

impl Courier {
    /// With the directories of the published log, of the wish for a round, and of the answers.
    pub(super) fn new(
        places: Places,
        exchange: Exchange,
        [log, asked, answers]: [PathBuf; 3],
    ) -> Self {
        Self {
            places,
            exchange,
            log,
            asked,
            answers,
            last_asked: None,
            last_hurry: None,
            last_checkpoint: Vec::new(),
            peers: Vec::new(),
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
            is_new: !checkpoint.is_empty() && checkpoint != self.last_checkpoint,
        }
    }

    fn wish(&self, file: &str) -> Option<Asked> {
        Asked::parse(&fs::read(self.asked.join(file)).ok()?)
    }

    /// Makes a round: to all, or to witnesses alone. What goes wrong is said on standard error, and in the report as far
    /// as it comes to one.
    pub(super) fn round(&mut self, is_all: bool) {
        let asked = if is_all { self.wish(ASKED_FILE) } else { self.last_asked };
        let hurry = self.wish(HURRY_FILE);
        let checkpoint = fs::read(self.log.join(CHECKPOINT_FILE)).unwrap_or_default();
        // Before the first checkpoint there is nothing to carry; whoever asks, asks after it.
        if checkpoint.is_empty() {
            return;
        }
        if let Err(error) = self.carry(asked, is_all) {
            eprintln!("chancery courier: {error:#}");
        }
        (self.last_asked, self.last_hurry, self.last_checkpoint) = (asked, hurry, checkpoint);
    }

    fn own(&self) -> Result<Own> {
        let text =
            fs::read_to_string(self.log.join(POLICY_FILE)).context("the log's own policy")?;
        let log = Trust::parse(&text)?;
        let trust = Trust::parse(&policy_of(log.log_keys(), &self.places.witnesses));
        let published = Published::Directory(self.log.clone(), Shelf::at(&self.log));
        let (note, tree) = published.checkpoint()?;
        let checkpoint: Checkpoint = note.unverified_text().parse()?;
        // Without witnesses the log's own policy is all there is.
        let trust = if self.places.witnesses.is_empty() { Trust::parse(&text)? } else { trust? };
        Ok(Own { published, log, trust, tree, origin: checkpoint.origin })
    }

    fn carry(&mut self, asked: Option<Asked>, is_all: bool) -> Result<()> {
        let own = self.own()?;
        let mut parties = Vec::new();
        let mut seen = Vec::new();
        let mut is_enough = false;
        if own.trust.witnesses().next().is_some() {
            let round = cosigning::run(&self.exchange, &own.trust, &own.published)?;
            for said in self.watch.after(Some(&round.faults), &lost(&round)) {
                eprintln!("chancery courier: {said}");
            }
            parties.extend(standings(&round));
            seen.extend(self.evidence(&own, &parties));
            is_enough = round.vouched.is_some();
            if is_enough {
                let note = own.trust.kept(&round.note);
                self.put(COSIGNED_FILE, note.to_string().as_bytes())?;
            }
        }
        if is_all {
            let (peers, notes) = self.ask_peers(&own).into_iter().unzip();
            self.peers = peers;
            seen.extend(Vec::<Option<Note>>::into_iter(notes).flatten());
        }
        parties.extend(self.peers.iter().cloned());
        for (number, note) in seen.iter().enumerate() {
            self.put(&seen_file(number), note.to_string().as_bytes())?;
        }
        // Last: whoever waits for it finds the rest.
        let report = Report { asked, size: own.tree.size, is_enough, parties };
        Ok(self.put(REPORT_FILE, report.to_text().as_bytes())?)
    }

    /// What peers hold, all asked at once; one that hangs keeps none of the others.
    fn ask_peers(&self, own: &Own) -> Vec<(Party, Option<Note>)> {
        let deadline = Instant::now() + WITNESS_MAX;
        let ask = |url: &String| {
            let log = (&own.log, own.tree);
            let (party, note) =
                look(&self.exchange, &of_peer(url), log, own.published.tiles(), deadline);
            (Party { name: url.clone(), ..party }, note)
        };
        thread::scope(|scope| {
            let asking: Vec<_> =
                self.places.peers.iter().map(|url| scope.spawn(move || ask(url))).collect();
            let end = |asking: ScopedJoinHandle<'_, _>| {
                asking.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            };
            asking.into_iter().map(end).collect()
        })
    }

    /// What witnesses hold that contradict this log, by their own word and with the log's signature.
    fn evidence(&self, own: &Own, parties: &[Party]) -> Vec<Note> {
        if !parties.iter().any(|party| party.standing.contradicts()) {
            return Vec::new();
        }
        let places = cosigning::places(&own.trust);
        let deadline = Instant::now() + WITNESS_MAX;
        let shown = places.iter().filter_map(|place| {
            let url = of_witness(place.url, &own.origin);
            let log = (&own.log, own.tree);
            look(&self.exchange, &url, log, own.published.tiles(), deadline).1
        });
        shown.collect()
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

fn lost(round: &Round) -> Result<()> {
    match round.vouched {
        Some(_) => Ok(()),
        None => Err(round.lost()),
    }
}

fn standings(round: &Round) -> Vec<Party> {
    let cosigned = round.cosigned.iter();
    let cosigned = cosigned.map(|name| Party { name: name.clone(), standing: Standing::Cosigned });
    let faults = round.faults.iter();
    let faults =
        faults.map(|fault| Party { name: fault.witness.clone(), standing: fault.standing.clone() });
    cosigned.chain(faults).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_that_of_the_url_or_of_its_scheme() {
        for (url, expected) in [
            ("http://w.example", Some(80)),
            ("https://w.example/w1", Some(443)),
            ("http://127.0.0.1:9000/", Some(9000)),
            ("https://[::1]:8443", Some(8443)),
            ("ftp://w.example", None),
            ("w.example", None),
            ("https://", None),
            ("/w1", None),
        ] {
            assert_eq!(port(url).ok(), expected, "{url}");
        }
    }
}
