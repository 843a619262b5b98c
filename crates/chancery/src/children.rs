//! The two child processes: what a child does before it becomes the signer or the front.
//!
//! A child gives up what it does not need, is tied to the life of the supervisor that started it, and takes
//! its listener from its standard input. Nobody else is meant to run these commands.
//!
//! The order matters. The terminal goes first, then privileges, while there is one thread: giving up the user
//! clears the signal of the parent's death. Then come limits, and last what may no longer be opened or called. When a child serves,
//! it says so on its standard output ([`crate::readiness`]).

use std::io;
use std::net::TcpListener;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::Duration;

use anyhow::{Context as _, Result};
use chancery_audit::segment::SEGMENT_BYTES;
use chancery_memory::process::{Signal, die_with_parent, harden};
use chancery_server::{FrontConfig, FrontLimits, LogFiles};
use chancery_signer::{
    LockRecordWish, OthersWish, RootSource, SignerConfig, SignerError, Unwitnessed, WallClock,
};
use clap::Args;
use rustix::fs::{Mode, OFlags, open};
use rustix::process::{Gid, Resource, Rlimit, Uid, getrlimit, setrlimit, setsid};

use crate::commands::serve::Switch;
use crate::exit::Failure;
use crate::log_files::PublishedFiles;
use crate::parse;
use crate::policy;
use crate::privileges::{User, become_user, drop_capabilities, drop_capabilities_but_for_locking};
use crate::readiness::Word;
use crate::sandbox;
use crate::supervisor::Lock;

/// The longest wait for an earlier signer to be gone: 10 s, as long as a supervisor lets one stop.
const PREDECESSOR_MAX: Duration = Duration::from_secs(10);

/// What both children are told.
#[derive(Args, Debug)]
struct ChildArgs {
    /// The supervisor's process id.
    #[arg(long, value_name = "PID")]
    parent: u32,
    /// A name in the front's certificate.
    #[arg(long = "name", value_name = "HOST", required = true)]
    names: Vec<String>,
}

/// Run the signer; `chancery serve` does this.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  chancery serve")]
pub(crate) struct SignerArgs {
    #[command(flatten)]
    child: ChildArgs,
    /// The data directory.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// The root key's file.
    #[arg(long, value_name = "FILE")]
    root_key: PathBuf,
    /// The file that holds the root key's passphrase.
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
    /// The recovery key's file.
    #[arg(long, value_name = "FILE")]
    recovery_key: PathBuf,
    /// The front's URL, for the admin file.
    #[arg(long, value_name = "URL")]
    endpoint: String,
    /// The front's user, if it is another.
    #[arg(long, value_name = "UID")]
    front_uid: Option<u32>,
    /// The bytes of an audit segment.
    #[arg(long, value_name = "BYTES", default_value_t = SEGMENT_BYTES)]
    segment_bytes: u64,
    /// How often a checkpoint is made.
    #[arg(long, value_name = "DURATION", value_parser = parse::checkpoint_every, default_value = "1s")]
    checkpoint_every: Duration,
    /// Whether the index is made.
    #[arg(long, value_enum, default_value_t = Switch::On)]
    index: Switch,
    /// The operator says that the wall clock is right.
    #[arg(long)]
    wall_clock_is_right: bool,
    /// The directory of the log's lock record.
    #[arg(long, value_name = "DIR")]
    lock_directory: PathBuf,
    /// The operator says that the lock record is lost.
    #[arg(long)]
    new_lock_record: bool,
    /// The witnesses that the courier asks.
    #[arg(long, value_name = "FILE")]
    witness_policy: Option<PathBuf>,
    /// There is a courier, who asks others what they hold of the log.
    #[arg(long)]
    asks_others: bool,
    /// For how long keys are used although no witness has cosigned this start; not at all if not given.
    #[arg(long, value_name = "DURATION", value_parser = parse::duration)]
    unwitnessed_for: Option<Duration>,
    /// For how long segments stay at least, in milliseconds.
    #[arg(long, value_name = "MS")]
    retention_ms: Option<u64>,
}

/// Take reductions alone; `chancery serve` does this when the signer's disk fails again and again.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  chancery serve")]
pub(crate) struct ReduceOnlyArgs {
    /// The supervisor's process id.
    #[arg(long, value_name = "PID")]
    parent: u32,
    /// The data directory.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// The front's user, if it is another.
    #[arg(long, value_name = "UID")]
    front_uid: Option<u32>,
}

/// Run the front; `chancery serve` does this.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  chancery serve")]
pub(crate) struct FrontArgs {
    #[command(flatten)]
    child: ChildArgs,
    /// The signer's socket.
    #[arg(long, value_name = "FILE")]
    signer: PathBuf,
    /// The directory of the log's published files.
    #[arg(long, value_name = "DIR")]
    log: Option<PathBuf>,
    /// The user to become.
    #[arg(long, value_name = "UID", requires = "gid")]
    uid: Option<u32>,
    /// The group to become.
    #[arg(long, value_name = "GID", requires = "uid")]
    gid: Option<u32>,
}

/// Becomes the signer.
pub(crate) fn signer(args: SignerArgs) -> Result<(), Failure> {
    let word = begin()?;
    drop_capabilities_but_for_locking()?;
    confine(args.child.parent)?;
    let witnesses = args.witness_policy.as_deref().map(policy::text).transpose()?;
    let key_files = [&args.root_key, &args.recovery_key];
    let homes = key_files.iter().filter_map(|file| file.parent()).map(PathBuf::from);
    let homes: Vec<_> = homes.chain([args.data.clone(), args.lock_directory.clone()]).collect();
    sandbox::signer(&homes, args.passphrase_file.as_deref())?;
    // A signer of a supervisor that was killed may still be on its way out.
    let _alone = Lock::await_free(&args.data.join("run/signer.lock"), PREDECESSOR_MAX)?;
    let listener = UnixListener::from(standard_input()?);
    let config = SignerConfig {
        data: args.data,
        root_key: match args.passphrase_file {
            None => RootSource::Keyfile(args.root_key),
            Some(passphrase) => RootSource::Passphrase { file: args.root_key, passphrase },
        },
        recovery_key: args.recovery_key,
        endpoint: args.endpoint,
        names: args.child.names,
        front_user: args.front_uid.map(Uid::from_raw),
        segment_bytes: args.segment_bytes,
        wall_clock: if args.wall_clock_is_right { WallClock::Vouched } else { WallClock::Checked },
        checkpoint_every: args.checkpoint_every,
        index: args.index.into(),
        lock_directory: args.lock_directory,
        lock_record: if args.new_lock_record { LockRecordWish::New } else { LockRecordWish::Kept },
        others: args.asks_others.then_some(OthersWish {
            witnesses: witnesses.unwrap_or_default(),
            unwitnessed: match args.unwitnessed_for {
                Some(duration) => Unwitnessed::ServeFor(duration),
                None => Unwitnessed::Refuse,
            },
        }),
        retention_ms: args.retention_ms,
    };
    chancery_signer::run(config, &listener, || word.say()).map_err(|error| ended(error, "signer"))
}

/// Becomes the process that only takes reductions.
pub(crate) fn reduce_only(args: &ReduceOnlyArgs) -> Result<(), Failure> {
    // It serves nothing that counts as the service being up.
    drop(begin()?);
    drop_capabilities()?;
    confine(args.parent)?;
    sandbox::reduce_only(&args.data)?;
    let _alone = Lock::await_free(&args.data.join("run/signer.lock"), PREDECESSOR_MAX)?;
    let listener = UnixListener::from(standard_input()?);
    let front_user = args.front_uid.map(Uid::from_raw);
    let ran = chancery_signer::run_reduce_only(&args.data, &listener, front_user);
    ran.map_err(|error| ended(error, "reduce-only process"))
}

fn ended(error: SignerError, name: &'static str) -> Failure {
    Failure::Child { code: error.exit_status(), error: anyhow::Error::from(error).context(name) }
}

/// Becomes the front.
pub(crate) fn front(args: &FrontArgs) -> Result<(), Failure> {
    let word = begin()?;
    let signer = handle_on(&args.signer)?;
    let log = args.log.as_deref().map(published_files).transpose()?;
    // A directory that others may enter could lie where they may not, and this is a way past.
    std::env::set_current_dir("/").context("cannot leave the working directory")?;
    match (args.uid, args.gid) {
        (Some(uid), Some(gid)) => {
            become_user(User { uid: Uid::from_raw(uid), gid: Gid::from_raw(gid) })?;
        }
        _ => drop_capabilities()?,
    }
    confine(args.child.parent)?;
    // A connection takes a file, and the usual soft limit of 1 024 is less than the front lets in.
    let files = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: files, maximum: files })
        .context("cannot raise the limit on open files")?;
    let runtimes = runtimes();
    sandbox::front(log.as_ref().map(PublishedFiles::directory))?;
    let listener = TcpListener::from(standard_input()?);
    let signer_socket = format!("/proc/self/fd/{}", signer.as_raw_fd()).into();
    let log = log.map(|files| -> Arc<dyn LogFiles> { Arc::new(files) });
    let config = FrontConfig { signer_socket, runtimes, limits: FrontLimits::STANDARD, log };
    Ok(chancery_server::run(config, listener, || word.say()).context("front")?)
}

/// A handle on the signer's socket, by which it is reached whatever the directories above allow. The socket
/// is the supervisor's and outlives a signer; the supervisor outlives the handle.
fn handle_on(socket: &Path) -> Result<OwnedFd> {
    let opened = open(socket, OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
    opened.with_context(|| format!("cannot find the signer's socket `{}`", socket.display()))
}

fn published_files(directory: &Path) -> Result<PublishedFiles> {
    let opened = PublishedFiles::open(directory);
    opened.with_context(|| format!("cannot open the published log `{}`", directory.display()))
}

/// Ties the process to its supervisor, and gives up dumps, tracing and new privileges.
pub(crate) fn confine(supervisor: u32) -> Result<()> {
    // Whatever a killed child leaves is what a crash leaves, so that no orphan is worth a slower end.
    die_with_parent(Signal::KILL, supervisor)
        .context("cannot tie this process to its supervisor")?;
    harden().context("cannot harden this process")
}

/// Leaves the supervisor's session, and takes the pipe for the word. In that session the terminal that the
/// service was started in would be this process's as well: it could type there (`TIOCSTI`), and Ctrl-C, which is
/// for the supervisor to hear, would end it out of order.
pub(crate) fn begin() -> Result<Word> {
    setsid().context("cannot leave the terminal's session")?;
    Word::take().context("cannot take the pipe from standard output")
}

/// The listener that the supervisor passed on.
fn standard_input() -> Result<OwnedFd> {
    let listener = io::stdin().as_fd().try_clone_to_owned();
    listener.context("cannot take the listener from standard input")
}

/// Half the cores, and at least one: the other half is the signer's.
fn runtimes() -> usize {
    available_parallelism().map_or(1, |cores| (cores.get() / 2).max(1))
}
