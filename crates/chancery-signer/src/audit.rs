//! Opening the audit log at start: its end, and what the records before it say.
//!
//! From the records come the use index of each key version, the uses of handles that are counted, the operation
//! ids that are still remembered, the number of the last command, and the last head of each tenant, against which the store is held.

use std::collections::BTreeMap;
use std::sync::Arc;

use chancery_audit::disk::Disk;
use chancery_audit::frame::{Frame, Head, Item};
use chancery_audit::origin::Origin;
use chancery_audit::pruned::{BASE_FILE, Pruned};
use chancery_audit::record::{IdentitySection, Kind, LinkLife, PseudonymousSection};
use chancery_audit::recovery::{Settled, WalkError, Walked, read_pruned, settle, walk, walk_from};
use chancery_audit::resume::{RESUME_FILE, Resume, SpentBytes};
use chancery_audit::sealer::{Month, MonthKeys, MonthSecrets, NameClass};
use chancery_audit::wal::{Address, Tail};
use chancery_core::authority::Authority;
use chancery_core::budget::{AuditBudget, Spent};
use chancery_core::clock::Served;
use chancery_core::counts::{Counts, Recorded};
use chancery_core::handle::LinkId;
use chancery_core::id::{KeyId, PrincipalId, TenantId};
use chancery_core::idempotency::{EntryName, Index, Place, RequestDigest};
use chancery_core::sequencer::{Counted, Recovered};
use chancery_crypto::key::PublicKey;
use chancery_crypto::section::Boot;

use crate::config::SignerError;
use crate::prunes::read_resume;
use crate::vault::Vault;

/// A frame is dated no more than this after what it holds was decided: 1 hour, far beyond any queue here.
const FRAME_LAG_MAX_MS: u64 = 3_600_000;

/// What the log says.
pub(crate) struct Opened {
    pub(crate) settled: Settled,
    pub(crate) recovered: Recovered,
    pub(crate) operations: Index,
    pub(crate) counts: Counts,
    pub(crate) budget: AuditBudget,
    pub(crate) last_command: u64,
    pub(crate) heads: BTreeMap<TenantId, [u8; 32]>,
    pub(crate) mark_ms: Option<u64>,
    pub(crate) served: Served,
    pub(crate) pruned: Option<Pruned>,
}

/// Reads the log and settles its end.
pub(crate) fn open(
    disk: &Arc<dyn Disk>,
    origin: &Origin,
    vault: &Vault,
    authority: &Authority,
) -> Result<Opened, SignerError> {
    let resume = |file| read_resume(&**disk, vault, &origin.log_id, file);
    let known = resume(RESUME_FILE).or_else(|| resume(BASE_FILE));
    let served = Served::from_ms(known.as_ref().map_or(0, |resume| resume.served_ms));
    let remembered = known.as_ref().map_or(0, |resume| resume.tail.frontier.size());
    let pruned = read_pruned(&**disk, origin)?;
    let new_reader = |resume: Option<Resume>| {
        // Without the first frames nothing but such a file says what they said.
        if resume.is_none() && pruned.is_some() {
            return Err(SignerError::Pruned);
        }
        Reader::new(vault, authority, origin, resume)
    };
    let read = match read(disk, origin, new_reader(known)?) {
        // The resume file may be of another moment than the frames; then they alone count, and where they are gone the
        // file that was there when they went.
        Err(SignerError::Audit(WalkError::Corrupt { .. })) if remembered > 0 => {
            let base = if pruned.is_some() { resume(BASE_FILE) } else { None };
            read(disk, origin, new_reader(base)?)
        }
        read => read,
    };
    let (walked, reader) = read?;
    if walked.tail.frontier.size() < remembered {
        return Err(SignerError::Inconsistent("the log is shorter than its resume file remembers"));
    }
    let settled = settle(&**disk, walked)
        .map_err(SignerError::system("the audit log's end cannot be settled"))?;
    let mut operations = Index::default();
    for (name, digest, id_ms, place) in reader.entries {
        operations.restore(name, digest, id_ms, place);
    }
    Ok(Opened {
        recovered: Recovered {
            size: settled.tail.frontier.size(),
            next_frame: settled.tail.next_frame,
            uses: reader.uses,
        },
        settled,
        operations,
        counts: reader.counts,
        budget: reader.budget,
        last_command: reader.last_command,
        heads: reader.heads,
        mark_ms: reader.mark_ms,
        served,
        pruned,
    })
}

/// Reads the log from where the resume file says, or all of it.
fn read<'v>(
    disk: &Arc<dyn Disk>,
    origin: &Origin,
    mut reader: Reader<'v>,
) -> Result<(Walked, Reader<'v>), SignerError> {
    let start = reader.start.take();
    let visit = &mut |frame: &Frame, address| reader.frame(frame, address);
    let walked = match start {
        Some(start) => walk_from(&**disk, origin, start, visit),
        None => walk(&**disk, origin, visit),
    };
    Ok((walked?, reader))
}

struct Reader<'v> {
    start: Option<Tail>,
    key: PublicKey,
    head: Option<Head>,
    vault: &'v Vault,
    authority: &'v Authority,
    log_id: [u8; 32],
    months: BTreeMap<(TenantId, Month, [u8; 16]), MonthKeys>,
    names: BTreeMap<(TenantId, Month), BTreeMap<[u8; 16], KeyId>>,
    uses: BTreeMap<Counted, u64>,
    counts: Counts,
    budget: AuditBudget,
    entries: Vec<(EntryName, RequestDigest, u64, Place)>,
    last_command: u64,
    heads: BTreeMap<TenantId, [u8; 32]>,
    mark_ms: Option<u64>,
}

impl<'v> Reader<'v> {
    fn new(
        vault: &'v Vault,
        authority: &'v Authority,
        origin: &Origin,
        resume: Option<Resume>,
    ) -> Result<Self, SignerError> {
        let key = origin
            .verifier()
            .map_err(|_| SignerError::Inconsistent("the receipt key is no key"))?;
        let mut reader = Self {
            start: None,
            key,
            head: None,
            vault,
            authority,
            log_id: origin.log_id,
            months: BTreeMap::new(),
            names: BTreeMap::new(),
            uses: BTreeMap::new(),
            counts: Counts::of(origin.node()),
            budget: AuditBudget::default(),
            entries: Vec::new(),
            last_command: 0,
            heads: BTreeMap::new(),
            mark_ms: None,
        };
        if let Some(resume) = resume {
            let entries = resume.entries.iter();
            reader.entries = entries
                .map(|entry| (entry.name, entry.digest, entry.id_ms, entry.place()))
                .collect();
            let versions = resume.uses.iter();
            reader.uses = versions
                .map(|uses| (Counted::Version(uses.key, uses.version), uses.next))
                .collect();
            for SpentBytes { tenant, day, bytes } in resume.spent {
                reader.budget.restore(tenant, Spent { day, bytes });
            }
            for recorded in resume.links.into_iter().map(Recorded::from) {
                reader.uses.insert(Counted::Link(recorded.link), recorded.uses);
                reader.counts.restore(recorded);
            }
            reader.heads = resume.heads.iter().map(|head| (head.tenant, head.hash)).collect();
            reader.last_command = resume.last_command;
            reader.mark_ms = resume.mark_ms;
            reader.head = resume.tail.last_head;
            reader.start = Some(resume.tail);
        }
        Ok(reader)
    }

    fn frame(&mut self, frame: &Frame, address: Address) -> Result<(), &'static str> {
        if let Some(head) = self.head.replace(frame.head(self.log_id)) {
            let held = self.key.verify(&head.to_signed_bytes(), &frame.previous_signature);
            held.map_err(|_| "the signature of the frame before does not hold")?;
        }
        self.mark_ms = self.mark_ms.max(Some(frame.unix_ms));
        self.forget_links(frame.unix_ms);
        for (position, item) in (0..).zip(&frame.items) {
            if let Some(block) = &item.answer {
                let place = Place { address: address.to_number(), item: position };
                self.entries.push((block.name, block.digest, block.id_ms, place));
            }
            let bytes = u64::try_from(item.encoded_bytes()).unwrap_or(u64::MAX);
            self.budget.charge(item.tenant, bytes, frame.unix_ms);
            self.item(frame, item)?;
        }
        Ok(())
    }

    /// Forgets what ran out, as the service did. Not at once: a use stands in a frame that is dated after it.
    fn forget_links(&mut self, now_ms: u64) {
        for link in self.counts.forget_before(now_ms.saturating_sub(FRAME_LAG_MAX_MS)) {
            self.uses.remove(&Counted::Link(link));
        }
    }

    fn item(&mut self, frame: &Frame, item: &Item) -> Result<(), &'static str> {
        let boot = Boot { log_id: self.log_id, boot_nonce: frame.boot_nonce };
        let keys = self.keys(item, boot)?;
        let (section, use_index) = keys.open(item).ok_or("a record does not open")?;
        let identity = (item.kind == Kind::LinkUse).then(|| keys.open_identity(item)).flatten();
        if section.operation.kind != item.kind {
            return Err("a record is of another kind than it says");
        }
        if item.kind == Kind::Command && item.command != 0 {
            if item.command <= self.last_command {
                return Err("a command stands out of order, or twice");
            }
            self.last_command = item.command;
            self.heads.insert(item.tenant, section.authorization.head_digest);
        }
        match (item.kind, use_index, identity) {
            (Kind::LinkUse, Some(index), Some(identity)) => {
                let life = LinkLife::from_bytes(&section.authorization.head_digest);
                let life = life.ok_or("a use of a handle does not say which")?;
                self.link_used(&identity, life, index)
            }
            (Kind::LinkUse, ..) => Err("a use of a handle does not say which"),
            (Kind::Use, Some(index), _) => {
                let version = self.version(item, &section)?;
                self.next_use(version, index)
            }
            (Kind::Count, Some(index), _) => {
                let version = self.version(item, &section)?;
                let so_far = self.uses.get(&version).copied().unwrap_or_default();
                (index == so_far).then_some(()).ok_or("a count is not that of the uses before it")
            }
            // Of refusals it says how many they were.
            _ => Ok(()),
        }
    }

    fn link_used(
        &mut self,
        identity: &IdentitySection,
        life: LinkLife,
        index: u64,
    ) -> Result<(), &'static str> {
        let link = LinkId(identity.credential);
        let subject = PrincipalId::from_bytes(identity.principal);
        let LinkLife { handle, until_ms } = life;
        self.counts.restore(Recorded { link, subject, handle, until_ms, uses: 1 });
        self.next_use(Counted::Link(link), index)
    }

    /// The key version that a record names.
    fn version(
        &mut self,
        item: &Item,
        section: &PseudonymousSection,
    ) -> Result<Counted, &'static str> {
        let names = self.names(item)?;
        let key = *names.get(&section.key.key).ok_or("a record names a key that is not there")?;
        Ok(Counted::Version(key, section.key.version))
    }

    fn next_use(&mut self, counted: Counted, index: u64) -> Result<(), &'static str> {
        let next = self.uses.entry(counted).or_default();
        if index != *next {
            return Err("a use is missing, or stands twice");
        }
        *next += 1;
        Ok(())
    }

    fn keys(&mut self, item: &Item, boot: Boot) -> Result<&MonthKeys, &'static str> {
        let id = (item.tenant, item.month, boot.boot_nonce);
        if !self.months.contains_key(&id) {
            let secrets = self.vault.month(item.tenant, item.month).ok().flatten();
            let secrets = secrets.and_then(|bytes| MonthSecrets::from_bytes(&bytes));
            let secrets = secrets.ok_or("the audit keys of a month are missing")?;
            let keys = MonthKeys::derive(&secrets, boot).map_err(|_| "the provider failed")?;
            self.months.insert(id, keys);
        }
        self.months.get(&id).ok_or("the audit keys of a month are missing")
    }

    fn names(&mut self, item: &Item) -> Result<&BTreeMap<[u8; 16], KeyId>, &'static str> {
        let id = (item.tenant, item.month);
        if !self.names.contains_key(&id) {
            let keys = self.months.range((item.tenant, item.month, [0; 16])..).next();
            let keys = keys.map(|(_, keys)| keys).ok_or("the audit keys of a month are missing")?;
            let ids = self.authority.keys_after(item.tenant, None).map(|key| key.id);
            let names = ids.map(|id| (keys.pseudonym(NameClass::Key, id.as_bytes()), id)).collect();
            self.names.insert(id, names);
        }
        self.names.get(&id).ok_or("the audit keys of a month are missing")
    }
}
