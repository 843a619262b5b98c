//! What the signer does for one request: the lane's part and the sequencer's, without threads and disk.
//!
//! The state is made by the same decisions as in the service: a tenant, an operator, a key, a handle.

use std::cell::RefCell;
use std::sync::Arc;

use anyhow::{Context as _, Result, anyhow};
use chancery_audit::frame::Item;
use chancery_audit::record::{Authentication, BuildGroup, Counted, Facts, Kind};
use chancery_audit::sealer::{Keyring, MonthKeys, MonthSecrets, Prepared, Sealer, month_of};
use chancery_audit::wal::{Chain, Tail};
use chancery_client::unix_ms;
use chancery_core::authority::{Authority, Fresh, Permit, Routing, Row, TenantRow, Use};
use chancery_core::cbor;
use chancery_core::clock::{Clock, Reading, Sample, Served};
use chancery_core::command::{Command, NewHandle, NewKey};
use chancery_core::context::Context;
use chancery_core::counts::Counts;
use chancery_core::epoch::Epoch;
use chancery_core::handle::{Handle, HandleKeyId, Operation, Operations, mint};
use chancery_core::id::{
    CampaignId, HandleId, KeyId, NodeId, OperationId, PrincipalId, ProposalId, RolloutId, TenantId,
};
use chancery_core::idempotency::Index;
use chancery_core::name::Scope;
use chancery_core::principal::{Principal, Role};
use chancery_core::sequencer::{Claim, Counted as CountedUse, Counting, Recovered, Sequencer};
use chancery_core::step::{Core, UseDecision};
use chancery_core::suite::Suite;
use chancery_crypto::formats::{Payload, Signatures, Signing, ToBeSigned, to_be_signed};
use chancery_crypto::key::PrivateKey;
use chancery_crypto::mac::HandleMac;
use chancery_crypto::primitive::{RandomPool, sha256};
use chancery_crypto::rollout::Sha256Cohorts;
use chancery_crypto::section::Boot;
use chancery_log::{Frontier, Hash};

use super::{Timing, Title};
use crate::report::{Belongs, Part};

const TENANT: TenantId = TenantId::from_bytes([1; 16]);
const OPERATOR: PrincipalId = PrincipalId::from_bytes([2; 16]);
const KEY: KeyId = KeyId::from_bytes([3; 16]);
const HANDLE: HandleId = HandleId::from_bytes([4; 16]);
const NODE: NodeId = NodeId::from_bytes([6; 16]);
const HANDLE_KEY: HandleKeyId = HandleKeyId(1);
/// The start that records are of.
pub(crate) const BOOT: Boot = Boot { log_id: [5; 32], boot_nonce: [6; 16] };

/// What the signer has of one tenant, one key and one handle.
pub(crate) struct Signer {
    /// The handle's bytes.
    pub(super) handle: Vec<u8>,
    /// What is signed: 128 bytes.
    pub(super) message: Vec<u8>,
    /// Its digest, which the service computes once, for record and format alike; timed with the record.
    digest: [u8; 32],
    mac: HandleMac,
    core: RefCell<Core>,
    context: Context,
    key: PrivateKey,
    sealer: RefCell<Sealer>,
    ids: RefCell<RandomPool<10>>,
}

impl Signer {
    /// Makes it, as the service does at its first start.
    pub(crate) fn make() -> Result<Self> {
        let mac = HandleMac::new([(HANDLE_KEY, &[7; 32])]);
        let key = PrivateKey::generate(Suite::Ed25519)?;
        let mut core = Core::new(
            genesis()?,
            Index::default(),
            Counts::of(NODE),
            Clock::start(None, Served::default(), now()),
        );
        let handle = issue(&mut core, &mac, key.public().context("a public half")?.spki())?;
        let keyring = Arc::new(Keyring::default());
        let secrets = MonthSecrets {
            sections: [[1; 32], [2; 32], [3; 32]],
            pseudonyms: [4; 32],
            answers: [5; 32],
        };
        keyring.insert(TENANT, month_of(unix_ms()), MonthKeys::derive(&secrets, BOOT)?);
        let build = BuildGroup { build: [0; 32], configuration: [0; 32] };
        let message = vec![0x5a; 128];
        Ok(Self {
            handle,
            digest: sha256(&[&message]),
            message,
            mac,
            core: RefCell::new(core),
            context: Context::default(),
            key,
            sealer: RefCell::new(Sealer::new(keyring, BOOT, 1, build)),
            ids: RefCell::default(),
        })
    }

    fn open(&self) -> Result<Handle> {
        Ok(Handle::open(&self.handle, &self.mac)?)
    }

    fn decide(&self, handle: &Handle) -> Result<Permit> {
        let mut core = self.core.borrow_mut();
        let asked = Use {
            handle,
            operation: Operation::Sign,
            context: &self.context,
            version: None,
            also: None,
            routing: Routing { key: &[], cohorts: &Sha256Cohorts },
            proven: &[],
            is_cosigned: false,
            now: core.now(now()),
        };
        match core.step_use(&asked, None) {
            UseDecision::Permitted(permit) => Ok(permit),
            other => Err(anyhow!("not permitted: {other:?}")),
        }
    }

    fn format(&self, permit: &Permit) -> Result<ToBeSigned> {
        let key = permit.key();
        Ok(to_be_signed(&Signing {
            purpose: &key.purpose,
            suite: key.suite,
            key: key.id,
            version: permit.version(),
            public: &[],
            posture_epoch: permit.posture().epoch,
            context: &self.context,
            payload: Payload::Digest(self.digest),
            signatures: Signatures::One,
            now_ms: permit.now().unix_ms,
        })?)
    }

    fn facts(&self, handle: &Handle, permit: &Permit, output: &[u8]) -> Result<Facts> {
        let root = handle.root();
        let mut facts = Facts::new(root.tenant, permit.now(), Kind::Use);
        facts.operation = Operation::Sign.number();
        facts.input_bytes = self.message.len();
        facts.actor = Some(root.subject);
        facts.authentication = Authentication::Handle;
        facts.credential = Some(root.id);
        facts.message = sha256(&[&self.message]);
        facts.context = sha256(&[&cbor::encode(&self.context)]);
        let entropy = self.ids.borrow_mut().next_value()?;
        facts.operation_id = Some(OperationId::v7(permit.now().unix_ms, entropy));
        facts.suite = permit.key().suite.number();
        facts.key = Some((permit.key().id, permit.version()));
        facts.counted = Counted::Yes;
        facts.posture_epoch = permit.posture().epoch;
        facts.output = sha256(&[output]);
        Ok(facts)
    }

    fn record(&self, handle: &Handle, permit: &Permit, output: &[u8]) -> Result<Prepared> {
        let facts = self.facts(handle, permit, output)?;
        Ok(self.sealer.borrow_mut().prepare(&facts, None)?)
    }

    /// A record of a use as a lane hands it over: it lacks its place.
    pub(crate) fn prepared(&self) -> Result<Prepared> {
        let handle = self.open()?;
        let permit = self.decide(&handle)?;
        self.record(&handle, &permit, &[0x5a; 92])
    }

    /// What a record claims of the sequencer.
    pub(crate) fn claim(&self) -> Result<Claim> {
        let decided = self.decide(&self.open()?)?.decided();
        let counting = Counting::Use(CountedUse::Version(KEY, 1));
        Ok(Claim { tenant: TENANT, decided, counting })
    }

    fn records(&self, count: usize) -> Result<Vec<(Item, Hash)>> {
        let handle = self.open()?;
        let permit = self.decide(&handle)?;
        let record = |index| {
            let prepared = self.record(&handle, &permit, &[0x5a; 92])?;
            Ok(prepared.finish(Some(u64::try_from(index)?), 0))
        };
        (0..count).map(record).collect()
    }
}

/// The parts that a request has by itself.
pub(super) fn parts(timing: Timing) -> Result<Vec<Part>> {
    let signer = Signer::make()?;
    let handle = signer.open()?;
    let permit = signer.decide(&handle)?;
    let formatted = signer.format(&permit)?;
    let output = formatted.clone().assemble(&signer.key.sign(formatted.bytes())?);
    let budget = |name| Title { name, belongs: Belongs::Budget };
    let signature = |name| Title { name, belongs: Belongs::Signature };
    Ok(vec![
        timing.each(budget("handle opened"), || signer.open())?,
        timing.each(budget("use decided"), || signer.decide(&handle))?,
        timing.each(signature("payload formatted"), || signer.format(&permit))?,
        timing.each(signature("Ed25519"), || Ok(signer.key.sign(formatted.bytes())?))?,
        timing.each(budget("facts of the record, with three digests and an id"), || {
            signer.facts(&handle, &permit, &output)
        })?,
        timing.staged(
            budget("record committed and sealed"),
            None,
            || signer.facts(&handle, &permit, &output),
            |facts| Ok(signer.sealer.borrow_mut().prepare(&facts, None)?),
        )?,
        timing.staged(
            budget("record given its use index"),
            None,
            || signer.record(&handle, &permit, &output),
            |prepared| Ok(prepared.finish(Some(7), 0)),
        )?,
    ])
}

/// The parts that the records of a frame share.
pub(super) fn parts_of_frame(timing: Timing, records: usize) -> Result<Vec<Part>> {
    let signer = Signer::make()?;
    let budget = |name| Title { name, belongs: Belongs::Budget };
    let claim = signer.claim()?;
    let mut sequencer = Sequencer::resume(Recovered::default());
    let mut chain = chain();
    let head = chain.compose(signer.records(records)?, unix_ms()).head;
    Ok(vec![
        timing.staged(
            budget("places given and answers released"),
            Some(records),
            || Ok(()),
            |()| sequence(&mut sequencer, &claim, records),
        )?,
        timing.staged(
            budget("frame composed, with tree and checksum"),
            Some(records),
            || signer.records(records),
            |made| Ok(chain.compose(made, 0)),
        )?,
        timing.staged(
            budget("frame's head signed"),
            Some(records),
            || Ok(()),
            |()| Ok(signer.key.sign(&head.to_signed_bytes())?),
        )?,
    ])
}

fn sequence(sequencer: &mut Sequencer, claim: &Claim, records: usize) -> Result<()> {
    let mut sealed = Vec::with_capacity(records);
    for _ in 0..records {
        let seat = sequencer.join(claim).map_err(|_| anyhow!("the authority moved"))?;
        sealed.push(sequencer.seal(seat.index, &seat));
    }
    let batch = sequencer.close().context("a batch")?;
    let durable = sequencer.synced(&batch);
    for sealed in sealed {
        let released = sealed.release(durable).map_err(|_| anyhow!("a result is not durable"))?;
        std::hint::black_box(released.into_inner());
    }
    Ok(())
}

fn chain() -> Chain {
    let tail = Tail {
        incarnation: 0,
        next_frame: 0,
        previous_hash: [0; 32],
        frontier: Frontier::new(),
        last_head: None,
        next_segment: 0,
    };
    Chain::resume(&tail, BOOT.log_id, BOOT.boot_nonce, [0; 64])
}

/// A tenant and its operator.
fn genesis() -> Result<Authority> {
    let mut authority = Authority::default();
    let epoch = Epoch::default();
    let row = TenantRow {
        id: TENANT,
        name: "bench".parse()?,
        epoch,
        min_issue_epoch: epoch,
        approvals: 0,
    };
    authority.apply(Row::Tenant(row))?;
    authority.apply(Row::Principal(operator()?))?;
    Ok(authority)
}

fn operator() -> Result<Principal> {
    let (name, public) = ("bench".parse()?, [0; 32]);
    Ok(Principal {
        id: OPERATOR,
        tenant: TENANT,
        name,
        role: Role::Operator,
        public,
        min_issue_epoch: Epoch::default(),
    })
}

/// Makes the key, and a handle for it.
fn issue(core: &mut Core, mac: &HandleMac, public: &[u8]) -> Result<Vec<u8>> {
    let new = NewKey {
        name: "bench".parse()?,
        purpose: "sign.bound:bench".parse()?,
        suite: Suite::Ed25519,
        scope: Scope {
            environment: "bench".parse()?,
            region: "bench".parse()?,
            service: "bench".parse()?,
        },
        witnessed: false,
    };
    let now = core.now(now());
    let made = decide(core, &Command::CreateKey(new), now, public)?;
    for row in made.rows {
        core.authority.apply(row)?;
    }
    let new = NewHandle {
        key: "bench".parse()?,
        operations: Operations::of(&[Operation::Sign, Operation::Verify]),
        ttl_ms: 3_600_000,
        pins: Vec::new(),
        holder: Vec::new(),
        subject: None,
        max_uses: None,
    };
    let issued = decide(core, &Command::IssueHandle(new), now, public)?;
    let (root, _) = issued.handle.context("a handle")?;
    Ok(mint(HANDLE_KEY, &root, mac)?)
}

fn decide(
    core: &Core,
    command: &Command,
    now: Reading,
    public: &[u8],
) -> Result<chancery_core::authority::Decided> {
    let fresh = Fresh {
        node: NODE,
        key: KEY,
        handle: HANDLE,
        principal: OPERATOR,
        proposal: ProposalId::from_bytes([0; 16]),
        rollout: RolloutId::from_bytes([0; 16]),
        campaign: CampaignId::from_bytes([0; 16]),
        plan_digest: [0; 32],
        public: public.to_vec(),
    };
    Ok(core.authority.decide(&operator()?, command, fresh, now)?)
}

fn now() -> Sample {
    let boot = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let boot_ms = boot.tv_sec.unsigned_abs() * 1_000 + boot.tv_nsec.unsigned_abs() / 1_000_000;
    Sample { wall_ms: unix_ms(), boot_ms }
}
