//! What is here of a log, how far it holds, and what is remembered of it elsewhere.

use std::collections::BTreeMap;
use std::path::Path;

use chancery_audit::disk::{DirectoryDisk, Disk};
use chancery_audit::frame::{Frame, Head};
use chancery_audit::gap::{FINDING_BYTES_MAX, REMEMBERED_MAX, Remembered, SignedGap};
use chancery_audit::origin::Origin;
use chancery_audit::proof::Trust;
use chancery_audit::pruned::{BASE_FILE, Pruned};
use chancery_audit::publish::LOG_DIRECTORY;
use chancery_audit::recovery::{WalkError, read_origin, read_pruned, walk};
use chancery_audit::resume::{RESUME_FILE, Resume};
use chancery_audit::verify::AUDIT_DIRECTORY;
use chancery_audit::witnessed::{ANSWERS_DIRECTORY, WITNESS_DIRECTORY, policy_of};
use chancery_crypto::key::PublicKey;
use chancery_crypto::notes::{CheckpointSeeds, CheckpointSigner};
use chancery_log::{Frontier, Hash, TreeHead};

use crate::checkpoints;
use crate::config::SignerError;
use crate::genesis::Secrets;
use crate::lock_record::LockRecord;
use crate::offline::key_name;
use crate::others::answers::Answers;
use crate::prunes::read_resume;
use crate::vault::Vault;

/// What was found.
#[derive(Debug)]
pub struct Found {
    /// The log.
    pub origin: Origin,
    /// The records that are here and hold, from the first.
    pub here: TreeHead,
    /// The head of their last frame, if there is one.
    pub head: Option<Head>,
    /// Why the log does not hold behind them, if it does not.
    pub finding: Option<String>,
    /// What is remembered, and where.
    pub remembered: Vec<Remembered>,
    /// Which of that is not here.
    pub lost: Vec<Remembered>,
    /// How many approvals the lock directory remembers that the service asks for.
    pub(super) approvals: u8,
    /// The time of the last frame that holds, in milliseconds since 1970.
    pub(super) last_ms: Option<u64>,
}

impl Found {
    /// The size of the largest tree that is remembered; of what is here, if nothing is.
    #[must_use]
    pub fn largest(&self) -> u64 {
        self.remembered.iter().map(|known| known.tree.size).max().unwrap_or(self.here.size)
    }

    /// Whether anything is missing, different or damaged.
    #[must_use]
    pub fn is_something_lost(&self) -> bool {
        !self.lost.is_empty() || self.finding.is_some()
    }
}

/// Looks at the log of a data directory.
pub(super) fn look(
    data: &Path,
    vault: &Vault,
    secrets: &Secrets,
    lock_directory: &Path,
) -> Result<Found, SignerError> {
    let origin = origin_of(secrets)?;
    let (mut remembered, finding) = remembered(data, secrets, &origin, lock_directory)?;
    let approvals = LockRecord::open(lock_directory, &key_name(&origin)?)?
        .approvals()
        .map_err(SignerError::system("it cannot be read how many approvals are asked for"))?;
    let disk = DirectoryDisk::open_read_only(&data.join(AUDIT_DIRECTORY));
    if let Some(resume) = disk.as_ref().ok().and_then(|disk| resume(disk, vault, &origin)) {
        let frontier = &resume.tail.frontier;
        let tree = TreeHead { size: frontier.size(), root: frontier.root() };
        remembered.insert(0, Remembered { who: "resume-file".into(), tree });
    }
    remembered.truncate(REMEMBERED_MAX);
    let mut here = Here::begin(&origin, &remembered)?;
    let unread = match disk {
        Err(error) => Some(format!("the directory `{AUDIT_DIRECTORY}`: {error}")),
        Ok(disk) => here.read(&disk, &origin).err().map(|error| error.to_string()),
    };
    let finding = unread.or(finding);
    let lost = remembered.iter().filter(|known| !here.has(&known.tree)).cloned().collect();
    Ok(Found {
        here: here.tree,
        head: here.head,
        finding: finding.as_deref().map(one_line),
        remembered,
        lost,
        approvals,
        last_ms: here.last_ms,
        origin,
    })
}

/// How many approvals the lock directory remembers of the log that a statement is of.
pub(super) fn approvals(lock_directory: &Path, gap: &SignedGap) -> Result<u8, SignerError> {
    let name = gap.gap().origin.parse().map_err(|_| SignerError::Certificate)?;
    let unread = "it cannot be read how many approvals are asked for";
    LockRecord::open(lock_directory, &name)?.approvals().map_err(SignerError::system(unread))
}

/// The number of the last command that is on record in the log of a data directory.
pub(super) fn last_command(
    data: &Path,
    vault: &Vault,
    secrets: &Secrets,
) -> Result<u64, SignerError> {
    let origin = origin_of(secrets)?;
    let mut here = Here::begin(&origin, &[])?;
    let Ok(disk) = DirectoryDisk::open_read_only(&data.join(AUDIT_DIRECTORY)) else { return Ok(0) };
    // What does not hold stands in the statement.
    let _ = here.read(&disk, &origin);
    let resumed = resume(&disk, vault, &origin).map_or(0, |resume| resume.last_command);
    Ok(here.last_command.max(resumed))
}

fn origin_of(secrets: &Secrets) -> Result<Origin, SignerError> {
    Origin::of_signer(&secrets.receipt_key()?).map_err(|_| SignerError::Certificate)
}

/// The resume file, if one is whole.
fn resume(disk: &dyn Disk, vault: &Vault, origin: &Origin) -> Option<Resume> {
    let read = |file| read_resume(disk, vault, &origin.log_id, file);
    read(RESUME_FILE).or_else(|| read(BASE_FILE))
}

/// A finding as it can stand in a statement.
fn one_line(text: &str) -> String {
    let mut line: String = text.chars().filter(|c| !c.is_control()).collect();
    while line.len() > FINDING_BYTES_MAX {
        line.pop();
    }
    line
}

/// The trees that are remembered; and what is wrong with the published one, if something is.
fn remembered(
    data: &Path,
    secrets: &Secrets,
    origin: &Origin,
    lock_directory: &Path,
) -> Result<(Vec<Remembered>, Option<String>), SignerError> {
    let name = key_name(origin)?;
    let record = LockRecord::open(lock_directory, &name)?;
    let seeds = CheckpointSeeds {
        ed25519: &secrets.checkpoint_ed25519,
        ml_dsa_44: &secrets.checkpoint_ml_dsa_44,
    };
    let signer = CheckpointSigner::new(name, &seeds, None);
    let signer = signer.map_err(|_| SignerError::Certificate)?;
    let published = checkpoints::published(&data.join(LOG_DIRECTORY), &signer);
    let (published, finding) = match published {
        Ok(published) => (published, None),
        Err(error) => (None, Some(error.to_string())),
    };
    let of = |who: String, tree| Remembered { who, tree };
    let own = record.remembered().map(|tree| of("lock-record".into(), tree));
    let published = published.map(|tree| of("checkpoint".into(), tree));
    let seen = seen(data, &signer)?.into_iter().enumerate();
    let seen = seen.map(|(number, tree)| of(format!("seen-{number}"), tree));
    let all = own.into_iter().chain(published).chain(seen).collect();
    Ok((all, finding))
}

/// The trees that others have shown, by this log's own signature.
fn seen(data: &Path, signer: &CheckpointSigner) -> Result<Vec<TreeHead>, SignerError> {
    let policy = policy_of(signer.verifier_keys(), "quorum none");
    let trust = Trust::parse(&policy).map_err(|_| SignerError::Certificate)?;
    let answers = Answers::at(data.join(WITNESS_DIRECTORY).join(ANSWERS_DIRECTORY));
    let own = answers.seen().into_iter().filter_map(|note| trust.signed_by_log(note).ok());
    Ok(own.map(|checkpoint| checkpoint.tree).collect())
}

/// The log as far as it was read and holds.
struct Here {
    key: PublicKey,
    log_id: [u8; 32],
    tree: TreeHead,
    head: Option<Head>,
    last_ms: Option<u64>,
    last_command: u64,
    /// The roots at the sizes that are remembered.
    roots: BTreeMap<u64, Option<Hash>>,
    pruned: Option<Pruned>,
}

impl Here {
    fn begin(origin: &Origin, remembered: &[Remembered]) -> Result<Self, SignerError> {
        let key = origin.verifier().map_err(|_| SignerError::Certificate)?;
        let frontier = Frontier::default();
        Ok(Self {
            key,
            log_id: origin.log_id,
            tree: TreeHead { size: frontier.size(), root: frontier.root() },
            head: None,
            last_ms: None,
            last_command: 0,
            roots: remembered.iter().map(|known| (known.tree.size, None)).collect(),
            pruned: None,
        })
    }

    fn read(&mut self, disk: &dyn Disk, origin: &Origin) -> Result<(), WalkError> {
        if read_origin(disk)? != *origin {
            let what = "this is the origin of another log than the service's";
            let file = chancery_audit::origin::ORIGIN_FILE.into();
            return Err(WalkError::Corrupt { file, offset: 0, what });
        }
        self.pruned = read_pruned(disk, origin)?;
        if let Some(pruned) = &self.pruned {
            (self.tree, self.head) = (pruned.tree, Some(pruned.head));
            self.last_ms = Some(pruned.latest_ms);
        }
        walk(disk, origin, &mut |frame, _| self.frame(frame)).map(|_| ())
    }

    fn frame(&mut self, frame: &Frame) -> Result<(), &'static str> {
        if let Some(head) = &self.head {
            let held = self.key.verify(&head.to_signed_bytes(), &frame.previous_signature);
            held.map_err(|_| "the signature of the frame before does not hold")?;
        }
        self.head = Some(frame.head(self.log_id));
        self.tree = TreeHead { size: frame.end_index(), root: frame.tree_root };
        self.last_ms = self.last_ms.max(Some(frame.unix_ms));
        let commands = frame.items.iter().map(|item| item.command);
        self.last_command = commands.fold(self.last_command, u64::max);
        if let Some(root) = self.roots.get_mut(&frame.end_index()) {
            *root = Some(frame.tree_root);
        }
        Ok(())
    }

    /// Whether the log begins with this tree, as far as that can be told from what was not pruned.
    fn has(&self, tree: &TreeHead) -> bool {
        match &self.pruned {
            _ if tree.size == 0 => true,
            Some(pruned) if tree.size < pruned.tree.size => true,
            Some(pruned) if tree.size == pruned.tree.size => tree.root == pruned.tree.root,
            _ => self.roots.get(&tree.size).copied().flatten() == Some(tree.root),
        }
    }
}
