//! `serve`: where things are, and then the supervisor.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use chancery_audit::segment::SEGMENT_BYTES;
use chancery_crypto::primitive::sha256;
use chancery_signer::{IndexWish, LockRecordWish, WallClock};
use clap::{Args, ValueEnum};
use rustix::process::geteuid;

use crate::accounts;
use crate::courier;
use crate::exit::Failure;
use crate::parse;
use crate::privileges::{User, may_run_another_user};
use crate::state;
use crate::supervisor::{self, Asked, Plan, private_directory};

/// Run the service.
///
/// The first start makes what is missing: root key and recovery key outside the data directory, the local
/// authority, the operator's key, the tenant `default`, and the admin file DIR/admin.toml.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  chancery serve
  chancery serve --data /var/lib/chancery --listen 0.0.0.0:8440 --root-key /etc/chancery/root.key

Without --root-key and --recovery-key these are in $XDG_STATE_HOME/chancery (or ~/.local/state/chancery),
in a directory named for the data directory. Move the recovery key offline.
Started as root, the service runs the front, which callers talk to, as another user: the account
chancery-front if there is one, or else nobody. Make one, so that no other program shares it.
SIGTERM or Ctrl-C stops the service; a signer or front that dies is started again.")]
pub(crate) struct ServeArgs {
    /// The data directory.
    #[arg(long, value_name = "DIR", default_value = "chancery-data")]
    data: PathBuf,
    /// The address to listen on.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8440")]
    listen: SocketAddr,
    /// The root key's file; keep it apart from the data directory and its backups.
    #[arg(long, value_name = "FILE")]
    root_key: Option<PathBuf>,
    /// A file whose first line is a passphrase: the root key is wrapped under it. It is read at each start of
    /// the signer; keep it where backups of the root key's file do not go.
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
    /// The recovery key's file; move it offline after the first start.
    #[arg(long, value_name = "FILE")]
    recovery_key: Option<PathBuf>,
    /// A host name that clients reach the service by; it comes into the certificate and the admin file.
    #[arg(long = "name", value_name = "HOST")]
    names: Vec<String>,
    /// The user that the front runs as, by name or number, out of /etc/passwd; for a service of root's alone.
    #[arg(long, value_name = "USER")]
    front_user: Option<String>,
    /// The directory of the log's lock record, by which a data directory that was taken back is noticed; keep it
    /// apart from the data directory and its backups. The root key's if not given.
    #[arg(long, value_name = "DIR")]
    lock_directory: Option<PathBuf>,
    /// The lock record is lost: make it anew, once: until a signer serves with it.
    #[arg(long)]
    new_lock_record: bool,
    /// The wall clock is right, however long the service was down: say so once, when `status` calls the clock
    /// suspect and you have set it. It holds until a signer serves; a clock behind the last record is not taken.
    #[arg(long)]
    wall_clock_is_right: bool,
    #[command(flatten)]
    others: OthersArgs,
    /// How often a checkpoint is made while the log grows, from 1s to 1h. What none covers yet cannot be proved.
    #[arg(long, value_name = "DURATION", value_parser = parse::checkpoint_every, default_value = "1s")]
    checkpoint_every: Duration,
    /// Whether the index of the log is made, by which records are found. Without it queries are refused.
    #[arg(long, value_enum, default_value_t = Switch::On)]
    index: Switch,
    /// For how long segments of the audit log stay in the data directory at least, such as 400d; `chancery audit prune`
    /// removes older ones that are archived. If not given, none is ever removed.
    #[arg(long, value_name = "DURATION", value_parser = parse::duration)]
    retention: Option<Duration>,
    /// The bytes of an audit segment; tests make them small.
    #[arg(long, value_name = "BYTES", default_value_t = SEGMENT_BYTES, hide = true)]
    segment_bytes: u64,
}

/// Who else remembers the log.
#[derive(Args, Debug)]
struct OthersArgs {
    /// Have the log's checkpoints cosigned by these witnesses: a policy with `witness`, `group` and `quorum` lines. A
    /// start is held against what they remember.
    #[arg(long, value_name = "FILE")]
    witness_policy: Option<PathBuf>,
    /// The authorities of witnesses and peers with an https:// URL, in PEM; none of the system's are taken.
    #[arg(long, value_name = "FILE")]
    witness_ca: Option<PathBuf>,
    /// Have witnesses cosign at most this often, unless a key waits for them.
    #[arg(long, value_name = "DURATION", value_parser = parse::duration, default_value = "10s")]
    witness_every: Duration,
    /// A start that no quorum of witnesses has cosigned uses keys all the same, for this long; without this it uses
    /// none.
    #[arg(long, value_name = "DURATION", value_parser = parse::duration, requires = "witness_policy")]
    unwitnessed_for: Option<Duration>,
    /// Somebody who publishes this log's files as well, a mirror say: the directory's URL. A start is held against what
    /// is there.
    #[arg(long = "peer", value_name = "URL")]
    peers: Vec<String>,
}

impl OthersArgs {
    /// Who is asked, if anybody is.
    fn asked(&self) -> Result<Option<Asked>, Failure> {
        if self.witness_policy.is_none() && self.peers.is_empty() {
            return Ok(None);
        }
        let asked = Asked {
            witness_policy: self.witness_policy.as_deref().map(absolute).transpose()?,
            witness_ca: self.witness_ca.as_deref().map(absolute).transpose()?,
            witness_every: self.witness_every,
            unwitnessed_for: self.unwitnessed_for,
            peers: self.peers.clone(),
        };
        // What is wrong with them is said before anything is started.
        courier::check(&asked)?;
        Ok(Some(asked))
    }
}

/// Whether something is done.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Switch {
    /// It is not.
    Off,
    /// It is.
    On,
}

impl From<Switch> for IndexWish {
    fn from(switch: Switch) -> Self {
        match switch {
            Switch::Off => Self::Off,
            Switch::On => Self::On,
        }
    }
}

/// Carries `serve` out.
pub(crate) fn run(args: &ServeArgs) -> Result<(), Failure> {
    let front_user = front_user(args.front_user.as_deref())?;
    let others = args.others.asked()?;
    private_directory(&args.data)?;
    let data = args.data.canonicalize();
    let data = data.with_context(|| format!("cannot find `{}`", args.data.display()))?;
    let (root_key, recovery_key) = match (&args.root_key, &args.recovery_key) {
        (Some(root_key), Some(recovery_key)) => (absolute(root_key)?, absolute(recovery_key)?),
        (root_key, recovery_key) => {
            let state = state_directory(&data)?;
            private_directory(&state)?;
            let given = |path: &Option<PathBuf>, name| {
                path.as_deref().map_or_else(|| Ok(state.join(name)), absolute)
            };
            (given(root_key, "root.key")?, given(recovery_key, "recovery.key")?)
        }
    };
    let lock_directory = match (&args.lock_directory, root_key.parent()) {
        (Some(directory), _) => {
            private_directory(directory)?;
            absolute(directory)?
        }
        (None, Some(keys)) => keys.to_owned(),
        (None, None) => return Err(anyhow::anyhow!("the root key's file has no directory").into()),
    };
    supervisor::run(&Plan {
        data,
        listen: args.listen,
        root_key,
        passphrase_file: args.passphrase_file.as_deref().map(absolute).transpose()?,
        recovery_key,
        names: args.names.clone(),
        front_user,
        lock_directory,
        lock_record: if args.new_lock_record { LockRecordWish::New } else { LockRecordWish::Kept },
        wall_clock: if args.wall_clock_is_right { WallClock::Vouched } else { WallClock::Checked },
        segment_bytes: args.segment_bytes,
        others,
        checkpoint_every: args.checkpoint_every,
        index: args.index.into(),
        retention_ms: args.retention.map(parse::milliseconds),
    })
}

/// The user of the front, if it is another than the service's.
fn front_user(asked: Option<&str>) -> Result<Option<User>, Failure> {
    let passwd = fs::read_to_string(accounts::FILE).unwrap_or_default();
    let user = accounts::front_user(asked, geteuid(), &passwd).map_err(Failure::Usage)?;
    if user.is_some() {
        may_run_another_user()?;
    }
    Ok(user)
}

/// Children are started with absolute paths: what a relative one means would be theirs to guess.
fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).with_context(|| format!("`{}` names no file", path.display()))
}

/// The user's state directory, then `chancery`, then a name made of the data directory's path.
pub(crate) fn state_directory(data: &Path) -> Result<PathBuf> {
    let state = state::directory().context(
        "neither XDG_STATE_HOME nor HOME says where keys belong; give `--root-key` and `--recovery-key`",
    )?;
    Ok(state.join(directory_name(data)))
}

/// The first eight bytes of the SHA-256 of a path, in hexadecimal.
fn directory_name(data: &Path) -> String {
    let digest = sha256(&[data.as_os_str().as_bytes()]);
    parse::hex(digest.first_chunk::<8>().map_or(&[], |start| start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_data_directory_has_a_name_of_its_own() {
        assert_eq!(directory_name(Path::new("/a")), directory_name(Path::new("/a")));
        assert_ne!(directory_name(Path::new("/a")), directory_name(Path::new("/b")));
        assert_eq!(directory_name(Path::new("/a")).len(), 16);
    }
}
