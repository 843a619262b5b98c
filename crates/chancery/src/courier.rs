//! The courier: the child that carries the log's checkpoints to witnesses, and brings back what they and peers say.
//!
//! It holds no key and reaches no file but the published log, the wish for a round, and the directory of its answers;
//! of the network it reaches the ports that witnesses and peers have. What it brings back is believed as far as it is
//! signed ([`chancery_audit::witnessed`]): in other hands it can keep a service from starting, and no more.
//!
//! A round is made when the service asks for one, when there is a new checkpoint and the last round was long enough
//! ago, and once a minute in any case. Peers are asked when the service asks for all, and once a minute. Each of them is
//! asked by a thread of its own, so that one that hangs is in nobody's way: what a quorum has cosigned is written down
//! at once, and the next round begins without those that have not answered.

mod party;
mod places;
mod round;

use std::ffi::OsString;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use chancery_audit::publish::LOG_DIRECTORY;
use chancery_audit::witnessed::{ANSWERS_DIRECTORY, WITNESS_DIRECTORY};
use chancery_log::policy::Policy;
use clap::Args;
use rustix::fs::{Mode, OFlags, open};
use rustix::process::{Gid, Uid};

use self::places::Places;
use self::round::{Courier, Wanted};
use crate::children;
use crate::cosigning::Exchange;
use crate::exit::Failure;
use crate::parse;
use crate::policy;
use crate::privileges::{User, become_user, drop_capabilities};
use crate::sandbox;
use crate::supervisor::Asked;

/// How often it is looked for a wish and a new checkpoint: 20 ms, which answers that wait for witnesses wait as well.
const POLL: Duration = Duration::from_millis(20);

/// A round is made at least so often: once a minute, as the log makes a checkpoint.
const HEARTBEAT: Duration = Duration::from_mins(1);

/// Run the courier; `chancery serve` does this.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  chancery serve --witness-policy witnesses.policy")]
pub(crate) struct CourierArgs {
    /// The supervisor's process id.
    #[arg(long, value_name = "PID")]
    parent: u32,
    /// The data directory.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// The witnesses.
    #[arg(long, value_name = "FILE")]
    witness_policy: Option<PathBuf>,
    /// The authorities of witnesses and peers.
    #[arg(long, value_name = "FILE")]
    witness_ca: Option<PathBuf>,
    /// Who publishes this log's files as well.
    #[arg(long = "peer", value_name = "URL")]
    peers: Vec<String>,
    /// The least time between two rounds that nobody asked for.
    #[arg(long, value_name = "DURATION", value_parser = parse::duration)]
    witness_every: Duration,
    /// The user to become.
    #[arg(long, value_name = "UID", requires = "gid")]
    uid: Option<u32>,
    /// The group to become.
    #[arg(long, value_name = "GID", requires = "uid")]
    gid: Option<u32>,
}

/// Checks who is to be asked, before anything is started.
pub(crate) fn check(asked: &Asked) -> Result<(), Failure> {
    let check = || {
        let text = asked.witness_policy.as_deref().map(policy::text).transpose()?;
        let text = text.unwrap_or_default();
        if asked.witness_policy.is_some() && !Policy::parse(&text)?.asks_for_witnesses() {
            bail!("the policy of witnesses says `quorum none`: name those that are enough");
        }
        Exchange::new(asked.witness_ca.as_deref())?;
        Places::new(text, asked.peers.clone())
    };
    check().map(drop).map_err(Failure::Usage)
}

/// The arguments of a courier, but for those that every child gets.
pub(crate) fn arguments(asked: &Asked, data: &Path, user: Option<User>) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = vec!["--data".into(), data.into()];
    let every = format!("{}s", asked.witness_every.as_secs());
    arguments.extend(["--witness-every".into(), every.into()]);
    for (option, file) in
        [("--witness-policy", &asked.witness_policy), ("--witness-ca", &asked.witness_ca)]
    {
        arguments.extend(file.iter().flat_map(|file| [option.into(), file.into()]));
    }
    arguments.extend(asked.peers.iter().map(|url| format!("--peer={url}").into()));
    arguments.extend(user.into_iter().flat_map(|user| {
        let ids = [("--uid", user.uid.as_raw()), ("--gid", user.gid.as_raw())];
        ids.map(|(option, id)| OsString::from(format!("{option}={id}")))
    }));
    arguments
}

/// A directory that is reached by a handle, whatever the directories above it allow.
struct Reached {
    handle: OwnedFd,
    path: PathBuf,
}

impl Reached {
    fn open(path: &Path) -> Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let handle = open(path, flags, Mode::empty());
        let handle = handle.with_context(|| format!("cannot find `{}`", path.display()))?;
        let path = format!("/proc/self/fd/{}", handle.as_raw_fd()).into();
        Ok(Self { handle, path })
    }
}

/// Becomes the courier.
pub(crate) fn run(args: &CourierArgs) -> Result<(), Failure> {
    let word = children::begin()?;
    let text = args.witness_policy.as_deref().map(policy::text).transpose()?.unwrap_or_default();
    let places = Places::new(text, args.peers.clone())?;
    let exchange = Exchange::new(args.witness_ca.as_deref())?;
    let witness = args.data.join(WITNESS_DIRECTORY);
    let [log, asked, answers] =
        [&args.data.join(LOG_DIRECTORY), &witness, &witness.join(ANSWERS_DIRECTORY)]
            .map(|path| Reached::open(path));
    let (log, asked, answers) = (log?, asked?, answers?);
    // A directory that others may enter could lie where they may not, and this is a way past.
    std::env::set_current_dir("/").context("cannot leave the working directory")?;
    match (args.uid, args.gid) {
        (Some(uid), Some(gid)) => {
            become_user(User { uid: Uid::from_raw(uid), gid: Gid::from_raw(gid) })?;
        }
        _ => drop_capabilities()?,
    }
    children::confine(args.parent)?;
    sandbox::courier(&log.handle, &asked.handle, &answers.handle, &places.ports())?;
    word.say();
    let courier = Courier::new(places, exchange, [log.path, asked.path, answers.path]);
    go_round(courier, args.witness_every)
}

fn go_round(mut courier: Courier, every: Duration) -> ! {
    let mut next: Option<(Instant, Instant)> = None;
    loop {
        courier.hear(POLL);
        let Wanted { is_asked, is_hurried, is_new } = courier.looks();
        let now = Instant::now();
        let is_all = is_asked || next.is_none_or(|(_, latest)| now >= latest);
        let is_due = next.is_none_or(|(soonest, _)| is_new && now >= soonest);
        if courier.is_free() && (is_all || is_hurried || is_due) {
            courier.begin(is_all);
            let latest = next.filter(|_| !is_all).map_or(now + HEARTBEAT, |(_, latest)| latest);
            next = Some((now + every, latest));
        }
    }
}
