//! A campaign from where it stands to its end.

use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow};
use chancery_api::http::problem::Code;
use chancery_api::http::replies::{
    AnswerObject, CampaignObject, EpochObject, KeyCensusObject, VersionUseObject,
};
use chancery_client::{Client, Outcome};
use chancery_core::campaign::{CampaignOrder, CampaignState, Progress};
use chancery_core::census::{Declaration, Found, Scan, VersionCount};
use chancery_core::command::Command;
use chancery_core::epoch::Epoch;
use chancery_core::id::CampaignId;
use chancery_core::name::Name;
use chancery_core::reason::Reason;
use rustix::fs::{FlockOperation, flock};

use super::asked::{Control, Rewrapper, census_again, census_of, given};
use super::failures::Failures;
use super::item::{Of, Tally};
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
        fs::create_dir_all(&state).with_context(cannot)?;
        let path = state.join("lock");
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(path);
        let file = file.with_context(cannot)?;
        flock(&file, FlockOperation::NonBlockingLockExclusive).map_err(|_| {
            Failure::Failed(anyhow!("another campaign works on `{}` now", place.display()))
        })?;
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
    place: &Place,
) -> Result<Scanned, Failure> {
    let census = census_of(client, names.0)?;
    declare_as_of(client, names, place, census)
}

/// The same, as of what was known before.
fn declare_as_of(
    client: &Client,
    (key, inventory): (&Name, &Name),
    place: &Place,
    (as_of, census): (EpochObject, KeyCensusObject),
) -> Result<Scanned, Failure> {
    let of = of(&census);
    let bar = Bar::counting("scanning", None);
    let tally = place.scan(&of, &mut |seen| bar.at(seen))?;
    drop(bar);
    let count = |it: &VersionUseObject| VersionCount {
        version: it.version,
        ciphertexts: tally.of(it.version),
        uses: it.uses,
    };
    let scan = Scan {
        as_of: Epoch { generation: as_of.generation, number: as_of.number },
        counts: census.versions.iter().map(count).collect(),
        others: tally.others(),
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
        declare(&self.client, (&self.key, &self.inventory), &self.place)
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
                scanned = declare_as_of(&self.client, names, &self.place, census)?;
                came
            };
            rewrapped += came.rewrapped;
            let left = scanned.tally.total() - scanned.tally.of(target);
            // What is left failed, or another way through would come to nothing either.
            if left <= came.failed || came.rewrapped == 0 {
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
            Ok(Rewrapper { client, usage, key, control: &control })
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
            // The campaign is not there, or not this principal's to run.
            Outcome::Refused(refusal) if refusal.code == Code::Reason(Reason::Forbidden) => {
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
