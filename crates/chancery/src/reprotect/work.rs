//! A campaign from where it stands to its end.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow};
use chancery_api::http::replies::{
    AnswerObject, CampaignObject, EpochObject, KeyCensusObject, VersionUseObject,
};
use chancery_client::{Client, Outcome};
use chancery_core::campaign::{CampaignOrder, CampaignState, Progress};
use chancery_core::census::{Declaration, Found, Scan, VersionCount, Vouched};
use chancery_core::command::Command;
use chancery_core::epoch::Epoch;
use chancery_core::id::CampaignId;
use chancery_core::name::Name;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::asked::{Control, Meaning, Rewrapper, census_again, census_of, given, meaning};
use super::failures::Failures;
use super::item::{Of, Tally};
use super::opened;
use super::pass::{Came, Pass};
use super::{Place, state_directory};
use crate::cli::Shared;
use crate::commands::{Use, fresh_operation, unexpected};
use crate::connection;
use crate::exit::Failure;
use crate::progress::Progress as Bar;

/// How often the service is told how far it is, and tells whether it may go on: each 250 ms.
const TELL_EVERY: Duration = Duration::from_millis(250);

/// How many threads ask for batches: 4. Two keep two cores busy, the others hide the waiting.
const ASKING: usize = 4;

/// That nobody else works on a place.
pub(crate) struct Lock {
    _file: File,
    state: PathBuf,
}

impl Lock {
    /// Takes a place, and makes the directory beside it.
    pub(crate) fn take(place: &Path) -> Result<Self, Failure> {
        let state = state_directory(place)?;
        let cannot = || format!("cannot prepare `{}`", state.display());
        opened::own_directory(&state).with_context(cannot)?;
        let file = opened::own(&state.join("lock")).with_context(cannot)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => {
                let what = anyhow!("another campaign works on `{}` now", place.display());
                return Err(Failure::Failed(what));
            }
            Err(error) => return Err(Failure::Failed(anyhow!(error).context(cannot()))),
        }
        Ok(Self { _file: file, state })
    }
}

/// How a campaign ended.
pub(crate) struct Ended {
    pub(crate) campaign: CampaignObject,
    /// How many were encrypted again, and how long that took.
    pub(crate) rewrapped: u64,
    pub(crate) took: Duration,
    /// Where failures are listed.
    pub(crate) failures: PathBuf,
}

/// Who works on a campaign.
pub(crate) struct Campaigner<'c> {
    pub(crate) shared: &'c Shared,
    pub(crate) client: Client,
    pub(crate) usage: Use,
    pub(crate) key: Name,
    pub(crate) inventory: Name,
    pub(crate) place: Place,
    /// What is said of the place, besides what a scan finds.
    pub(crate) vouched: Option<Vouched>,
    pub(crate) lock: Lock,
}

/// What a scan came to, and what was known of the key when it began.
pub(crate) struct Scanned {
    pub(crate) tally: Tally,
    pub(crate) census: KeyCensusObject,
}

/// Counts what lies in a place, and declares that.
pub(crate) fn declare(
    client: &Client,
    names: (&Name, &Name),
    place: (&Place, Option<Vouched>),
) -> Result<Scanned, Failure> {
    let census = census_of(client, names.0)?;
    declare_as_of(client, names, place, census)
}

/// The same, as of what was known before.
fn declare_as_of(
    client: &Client,
    (key, inventory): (&Name, &Name),
    (place, vouched): (&Place, Option<Vouched>),
    (as_of, census): (EpochObject, KeyCensusObject),
) -> Result<Scanned, Failure> {
    let of = of(&census);
    let bar = Bar::counting("scanning", None);
    let tally = place.scan(&of, &mut |seen| bar.at(seen))?;
    drop(bar);
    if vouched == Some(Vouched::Empty) && tally.total() > 0 {
        return Err(Failure::Failed(anyhow!(
            "the place is not empty: {} things lie there, {} of them not recognized as ciphertexts of the key; nothing is \
             declared",
            tally.total(),
            tally.others()
        )));
    }
    let count = |it: &VersionUseObject| VersionCount {
        version: it.version,
        ciphertexts: tally.of(it.version),
        uses: it.uses,
    };
    let scan = Scan {
        as_of: Epoch { generation: as_of.generation, number: as_of.number },
        counts: census.versions.iter().map(count).collect(),
        others: tally.others(),
        vouched,
    };
    let (key, inventory, found) = (key.clone(), inventory.clone(), Found::Scanned(scan));
    given(client, &Command::DeclareInventory(Declaration { key, inventory, found }))?;
    Ok(Scanned { tally, census })
}

fn of(census: &KeyCensusObject) -> Of {
    Of { key: census.id, versions: census.versions.iter().map(|it| it.version).collect() }
}

impl Campaigner<'_> {
    /// Begins a campaign and works on it to its end.
    pub(crate) fn start(&self) -> Result<Ended, Failure> {
        let scanned = self.declare()?;
        let (key, inventory) = (self.key.clone(), self.inventory.clone());
        let order = Command::OrderCampaign(CampaignOrder::Start { key, inventory });
        let campaign = campaign(given(&self.client, &order)?.answer)?;
        eprintln!("chancery: campaign {} over {} ciphertexts", campaign.id, campaign.total);
        self.work(campaign.id, scanned)
    }

    /// Takes a campaign up that was begun, and works on it to its end.
    pub(crate) fn resume(&self) -> Result<Ended, Failure> {
        let (_, census) = census_of(&self.client, &self.key)?;
        let found = latest(&census, &self.inventory)?;
        if found.state == CampaignState::Paused {
            given(&self.client, &Command::OrderCampaign(CampaignOrder::Resume(found.id)))?;
        }
        let scanned = self.declare()?;
        self.work(found.id, scanned)
    }

    fn declare(&self) -> Result<Scanned, Failure> {
        declare(&self.client, (&self.key, &self.inventory), (&self.place, self.vouched))
    }

    fn work(&self, id: CampaignId, mut scanned: Scanned) -> Result<Ended, Failure> {
        let (began, mut rewrapped) = (Instant::now(), 0);
        loop {
            let target = self.target(id, &scanned)?;
            let left = scanned.tally.total() - scanned.tally.of(target);
            let came = if left == 0 {
                Came::default()
            } else {
                let came = self.pass((id, target), &scanned)?;
                // By now the service may be away.
                let census = census_again(&self.client, &self.key)?;
                let names = (&self.key, &self.inventory);
                let place = (&self.place, self.vouched);
                scanned = declare_as_of(&self.client, names, place, census)?;
                came
            };
            rewrapped += came.rewrapped;
            let left = scanned.tally.total() - scanned.tally.of(target);
            // What is left failed, or another way through would come to nothing either. What was changed meanwhile, would not.
            if left <= came.failed - came.changed || came.rewrapped == 0 {
                let took = began.elapsed();
                let campaign = self.end(id, &scanned, target)?;
                let failures = Failures::path(&self.lock.state);
                return Ok(Ended { campaign, rewrapped, took, failures });
            }
        }
    }

    /// The version that protects for everybody, once one does.
    fn target(&self, id: CampaignId, scanned: &Scanned) -> Result<u32, Failure> {
        let mut target = scanned.census.target;
        let mut is_said = false;
        loop {
            if let Some(target) = target {
                return Ok(target);
            }
            if !std::mem::replace(&mut is_said, true) {
                eprintln!(
                    "chancery: no version of `{}` protects for everybody now; the campaign goes on when one does",
                    self.key
                );
            }
            std::thread::sleep(TELL_EVERY);
            let progress = Progress { total: scanned.tally.total(), ..Progress::default() };
            if let Some(campaign) = self.report(id, progress)? {
                target = campaign.target;
            }
        }
    }

    fn pass(&self, (id, target): (CampaignId, u32), scanned: &Scanned) -> Result<Came, Failure> {
        let (control, of, tally) = (Control::default(), of(&scanned.census), &scanned.tally);
        let done = tally.of(target);
        let pass = Pass {
            place: &self.place,
            of: &of,
            target,
            done,
            state: &self.lock.state,
            control: &control,
        };
        let rewrapper = || {
            let (usage, key) = (&self.usage, &self.key);
            let client = connection::client(self.shared)?;
            Ok(Rewrapper { client, usage, key, of: &of, control: &control })
        };
        let rewrappers = (0..ASKING).map(|_| rewrapper()).collect::<Result<_, anyhow::Error>>()?;
        let bar = Bar::counting("re-protecting", Some(tally.total()));
        let mut told: Option<Instant> = None;
        let mut tell = |came: Came| {
            bar.at(came.done + came.failed);
            if told.is_some_and(|at| at.elapsed() < TELL_EVERY) || control.stops() {
                return;
            }
            told = Some(Instant::now());
            let total = tally.total().max(came.done + came.failed);
            let progress = Progress { total, done: came.done, failed: came.failed };
            if let Err(failure) = self.report(id, progress) {
                control.fail(failure);
            }
        };
        pass.run(rewrappers, &mut tell)
    }

    /// Says how far the campaign is, if the service is there to hear it.
    fn report(
        &self,
        campaign: CampaignId,
        progress: Progress,
    ) -> Result<Option<CampaignObject>, Failure> {
        let report = Command::ReportCampaign { campaign, progress };
        let answer = match self.client.command(&report, fresh_operation()?) {
            Outcome::Committed(answer) => answer.answer,
            // It is not there, not this principal's to run, or nothing is any more.
            Outcome::Refused(refusal) if meaning(&refusal) == Meaning::OfAll => {
                return Err(Failure::Refused(refusal));
            }
            Outcome::Refused(_) | Outcome::Unknown(_) => return Ok(None),
        };
        let AnswerObject::Campaign(campaign) = answer else { return Err(unexpected()) };
        match campaign.state {
            CampaignState::Running => Ok(Some(*campaign)),
            state => Err(Failure::Failed(anyhow!(
                "campaign {} is {} by {}; `chancery reprotect resume` takes it up again",
                campaign.id,
                state.code(),
                campaign.moved_by
            ))),
        }
    }

    fn end(
        &self,
        campaign: CampaignId,
        scanned: &Scanned,
        target: u32,
    ) -> Result<CampaignObject, Failure> {
        let (total, done) = (scanned.tally.total(), scanned.tally.of(target));
        let progress = Progress { total, done, failed: total - done };
        let order = CampaignOrder::End { campaign, progress };
        self::campaign(given(&self.client, &Command::OrderCampaign(order))?.answer)
    }
}

/// The campaign of an inventory that can be worked on.
pub(crate) fn latest<'c>(
    census: &'c KeyCensusObject,
    inventory: &Name,
) -> Result<&'c CampaignObject, Failure> {
    let found = census.campaigns.iter().find(|it| it.inventory == *inventory);
    match found {
        None => Err(Failure::Failed(anyhow!(
            "there is no campaign over the inventory `{inventory}`; `chancery reprotect start` begins one"
        ))),
        Some(campaign) if campaign.state.is_over() => Err(Failure::Failed(anyhow!(
            "the campaign over `{inventory}` is {}; `chancery reprotect start` begins another",
            campaign.state.code()
        ))),
        Some(campaign) => Ok(campaign),
    }
}

/// The campaign that a command was answered with.
pub(crate) fn campaign(answer: AnswerObject) -> Result<CampaignObject, Failure> {
    match answer {
        AnswerObject::Campaign(campaign) => Ok(*campaign),
        _ => Err(unexpected()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt as _, symlink};

    use super::*;
    use crate::testing::Scratch;

    #[test]
    fn a_place_is_one_workers_and_what_lies_beside_it_its_users_alone() {
        let scratch = Scratch::new("work-lock");
        let (place, state) = (scratch.path("place"), scratch.path("place.reprotect"));
        fs::create_dir(&place).unwrap();
        let lock = Lock::take(&place).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
        assert_eq!([mode(&state), mode(&state.join("lock"))], [0o700, 0o600]);
        let refused = |place: &Path| match Lock::take(place) {
            Err(Failure::Failed(error)) => format!("{error:#}"),
            _ => panic!("it was taken"),
        };
        assert!(refused(&place).contains("another campaign works on"));
        drop(lock);
        fs::remove_dir_all(&state).unwrap();
        let elsewhere = scratch.path("elsewhere");
        fs::create_dir(&elsewhere).unwrap();
        symlink(&elsewhere, &state).unwrap();
        assert!(refused(&place).contains("is a link"));
        assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 0);
    }
}
