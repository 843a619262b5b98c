//! Audit records: eight groups of fixed shape, in three sealed sections.
//!
//! ```text
//! group  what it says                                          salt from     opened by
//! 0      [time ms, clock quality, boot nonce, lane, counter]   section 1     section 1
//! 1      [kind, operation, suite, outcome, reason, size bucket, operation id hash, flags]  1      1
//! 2      [tenant, key, version, use index, counted, protection]                1      1
//! 3      [actor, authentication, credential, identity commitment]              1      1
//! 4      [policy digest, rule, approvals, posture epoch, head digest]          1      1
//! 5      [message commitment, output commitment, context commitment]           3      3
//! 6      [node, source]                                                        1      1
//! 7      [build hash, configuration hash]                                      1      1
//!
//! section 1, pseudonymous: CBOR [group 0, 1, 2 without the use index, 3, 4, 6, 7]; its keystream gives the
//!                          salts of those groups in that order, then the mask of the use index
//! section 2, identity:     CBOR [principal, credential]; its keystream gives the salt of the commitment
//! section 3, payload:      CBOR [message digest, output digest, context digest]; its keystream gives the
//!                          salts of the three fields, then that of group 5
//!
//! leaf = CBOR [1, 1, root]      root = RFC 6962 root of the eight group commitments as leaves
//! ```
//!
//! Everything is a number or a byte string of fixed length. Names are keyed hashes, and there is no text: a
//! caller chooses nothing in a record but the digests, and those are behind commitments.

use chancery_core::clock::{Quality, Reading};
use chancery_core::id::{HandleId, KeyId, OperationId, PrincipalId, TenantId};
use chancery_core::reason::Reason;
use chancery_crypto::section::RecordNonce;
use chancery_log::{Hash, leaf_hash, node_hash};
use minicbor::{Decode, Encode};

/// The most bytes the three sections take in clear.
pub const RECORD_BYTES_MAX: usize = 640;

/// The version byte of records and leaves.
pub const FORMAT: u8 = 1;

/// What a record is about. The number stands beside the record in clear.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Kind {
    /// A use of a key.
    #[n(1)]
    Use,
    /// A command of a principal.
    #[n(2)]
    Command,
    /// The service started.
    #[n(3)]
    Start,
    /// Refusals before authentication, summed up.
    #[n(4)]
    Refusals,
    /// The use in the record before it, counted under a link of its handle.
    #[n(5)]
    LinkUse,
    /// How many uses of a key version there were before it.
    #[n(6)]
    Count,
}

impl Kind {
    /// Its number.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Use => 1,
            Self::Command => 2,
            Self::Start => 3,
            Self::Refusals => 4,
            Self::LinkUse => 5,
            Self::Count => 6,
        }
    }

    /// The kind of a number.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        [Self::Use, Self::Command, Self::Start, Self::Refusals, Self::LinkUse, Self::Count]
            .into_iter()
            .find(|kind| kind.number() == number)
    }
}

/// How the actor was known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Authentication {
    /// It is the service itself.
    #[n(0)]
    Service,
    /// By a handle.
    #[n(1)]
    Handle,
    /// By its signature.
    #[n(2)]
    Signature,
    /// By its signature, which came through the reduction journal.
    #[n(3)]
    JournaledSignature,
}

/// What happened, before it is given a place.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Whose record it is.
    pub tenant: TenantId,
    /// When.
    pub now: Reading,
    /// What it is about.
    pub kind: Kind,
    /// The operation's or command's number.
    pub operation: u8,
    /// The suite's number, or 0.
    pub suite: u16,
    /// Why it was refused, if it was.
    pub refused: Option<Reason>,
    /// The registered number of why it was done: of a retirement, or of a step of a rollout.
    pub cause: Option<u16>,
    /// The size of the input in bytes; the record holds its logarithm.
    pub input_bytes: usize,
    /// The operation id.
    pub operation_id: Option<OperationId>,
    /// The key and version.
    pub key: Option<(KeyId, u32)>,
    /// Whether it is counted: as a use of the key version, or of the link.
    pub counted: Counted,
    /// [`RAW`], [`CONTEXT_AUDITED`] and [`BOTH_VERSIONS`], or 0.
    pub flags: u8,
    /// Who.
    pub actor: Option<PrincipalId>,
    /// How that was known.
    pub authentication: Authentication,
    /// The handle, if one was used; the link whose uses are counted, if that is what it is about.
    pub credential: Option<HandleId>,
    /// The posture's epoch.
    pub posture_epoch: u64,
    /// How many people have approved what a command carries out.
    pub approvals: u8,
    /// SHA-256 of the tenant's sealed head, for a change of authority; of the kept bytes, for a start; a
    /// [`LinkLife`], for the use of a link; else zeros.
    pub head_digest: [u8; 32],
    /// SHA-256 of the message, or zeros.
    pub message: [u8; 32],
    /// SHA-256 of the output, or zeros.
    pub output: [u8; 32],
    /// SHA-256 of the canonical context, or zeros.
    pub context: [u8; 32],
}

/// What a start needs to know of a link besides its name, in the place of a digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkLife {
    /// The handle it was narrowed from.
    pub handle: HandleId,
    /// When it runs out, in milliseconds since 1970.
    pub until_ms: u64,
}

impl LinkLife {
    /// The handle (16) ‖ the time (8) ‖ zeros (8).
    #[must_use]
    pub fn to_bytes(self) -> [u8; 32] {
        let mut bytes = [0; 32];
        let (handle, rest) = bytes.split_at_mut(16);
        handle.copy_from_slice(self.handle.as_bytes());
        rest.split_at_mut(8).0.copy_from_slice(&self.until_ms.to_be_bytes());
        bytes
    }

    /// Reads it back.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; 32]) -> Option<Self> {
        let (handle, rest) = bytes.split_first_chunk::<16>()?;
        let (until, zeros) = rest.split_first_chunk::<8>()?;
        let life =
            Self { handle: HandleId::from_bytes(*handle), until_ms: u64::from_be_bytes(*until) };
        (zeros == [0; 8]).then_some(life)
    }
}

/// Whether a record takes the next use index of its key version, or of its link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Counted {
    /// No.
    #[n(0)]
    No,
    /// Yes.
    #[n(1)]
    Yes,
}

impl Facts {
    /// Facts about nothing in particular, to be filled in.
    #[must_use]
    pub fn new(tenant: TenantId, now: Reading, kind: Kind) -> Self {
        Self {
            tenant,
            now,
            kind,
            operation: 0,
            suite: 0,
            refused: None,
            cause: None,
            input_bytes: 0,
            operation_id: None,
            key: None,
            counted: Counted::No,
            flags: 0,
            actor: None,
            authentication: Authentication::Service,
            credential: None,
            posture_epoch: 0,
            approvals: 0,
            head_digest: [0; 32],
            message: [0; 32],
            output: [0; 32],
            context: [0; 32],
        }
    }
}

/// A keyed hash that stands for a name.
pub type Pseudonym = [u8; 16];

/// Group 0.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct TimeGroup {
    /// Milliseconds since 1970.
    #[n(0)]
    pub unix_ms: u64,
    /// How good that is.
    #[n(1)]
    pub quality: Quality,
    /// Of this start.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub boot_nonce: [u8; 16],
    /// The lane.
    #[n(3)]
    pub lane: u32,
    /// The lane's counter.
    #[n(4)]
    pub counter: u64,
}

/// Group 1.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct OperationGroup {
    /// What the record is about.
    #[n(0)]
    pub kind: Kind,
    /// The operation's or command's number.
    #[n(1)]
    pub operation: u8,
    /// The suite's number, or 0.
    #[n(2)]
    pub suite: u16,
    /// 0 committed, 1 refused.
    #[n(3)]
    pub outcome: u8,
    /// The number of the reason for which it was refused, or of the cause for which it was done, or 0.
    #[n(4)]
    pub reason: u16,
    /// The number of bits of the input's size.
    #[n(5)]
    pub size_bucket: u8,
    /// The keyed hash of the operation id, or zeros.
    #[cbor(n(6), with = "minicbor::bytes")]
    pub operation_id: Pseudonym,
    /// [`RAW`], [`CONTEXT_AUDITED`] and [`BOTH_VERSIONS`], or 0.
    #[n(7)]
    pub flags: u8,
}

/// A flag: what was signed are the caller's own bytes, as they came.
pub const RAW: u8 = 1;

/// A flag: the output does not hold the context; only this record does, as a commitment to its digest.
pub const CONTEXT_AUDITED: u8 = 2;

/// A flag: two versions of the key were used. Each has a record with its own use index, in one frame.
pub const BOTH_VERSIONS: u8 = 4;

/// Group 2, without the use index.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct KeyGroup {
    /// The tenant.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub tenant: Pseudonym,
    /// The key, or zeros.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub key: Pseudonym,
    /// The version, or 0.
    #[n(2)]
    pub version: u32,
    /// Whether the use is counted.
    #[n(3)]
    pub counted: Counted,
    /// Where the key is: 1 software.
    #[n(4)]
    pub protection: u8,
}

/// Group 2 as it is committed.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct CountedKeyGroup {
    /// Everything but the use index.
    #[n(0)]
    pub group: KeyGroup,
    /// The use index, or 0 if none is counted.
    #[n(1)]
    pub use_index: u64,
}

/// Group 3.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct ActorGroup {
    /// The principal, or zeros.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub actor: Pseudonym,
    /// How it was known.
    #[n(1)]
    pub authentication: Authentication,
    /// The handle, or zeros.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub credential: Pseudonym,
    /// Commitment to the identity section.
    #[cbor(n(3), with = "minicbor::bytes")]
    pub identity: [u8; 32],
}

/// Group 4.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct AuthorizationGroup {
    /// The policy's digest; zeros for the built-in roles.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub policy: [u8; 32],
    /// The rule's number.
    #[n(1)]
    pub rule: u16,
    /// How many approved.
    #[n(2)]
    pub approvals: u8,
    /// The posture's epoch.
    #[n(3)]
    pub posture_epoch: u64,
    /// See [`Facts::head_digest`].
    #[cbor(n(4), with = "minicbor::bytes")]
    pub head_digest: [u8; 32],
}

/// Group 5.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct PayloadGroup {
    /// Commitment to the message's digest.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub message: [u8; 32],
    /// Commitment to the output's digest.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub output: [u8; 32],
    /// Commitment to the context's digest.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub context: [u8; 32],
}

/// Group 6.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct SourceGroup {
    /// The node.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub node: Pseudonym,
    /// Reserved, 0.
    #[n(1)]
    pub source: u8,
}

/// Group 7.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct BuildGroup {
    /// What runs.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub build: [u8; 32],
    /// With which configuration.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub configuration: [u8; 32],
}

/// Section 1 in clear.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct PseudonymousSection {
    /// Group 0.
    #[n(0)]
    pub time: TimeGroup,
    /// Group 1.
    #[n(1)]
    pub operation: OperationGroup,
    /// Group 2, without the use index.
    #[n(2)]
    pub key: KeyGroup,
    /// Group 3.
    #[n(3)]
    pub actor: ActorGroup,
    /// Group 4.
    #[n(4)]
    pub authorization: AuthorizationGroup,
    /// Group 6.
    #[n(5)]
    pub source: SourceGroup,
    /// Group 7.
    #[n(6)]
    pub build: BuildGroup,
}

/// Section 2 in clear.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct IdentitySection {
    /// The principal, or zeros.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub principal: [u8; 16],
    /// The handle, or zeros.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub credential: [u8; 16],
}

/// Section 3 in clear.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct PayloadSection {
    /// SHA-256 of the message, or zeros.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub message: [u8; 32],
    /// SHA-256 of the output, or zeros.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub output: [u8; 32],
    /// SHA-256 of the canonical context, or zeros.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub context: [u8; 32],
}

/// The numbers of the sections, as they are bound in their seals.
pub const SECTIONS: [u8; 3] = [1, 2, 3];

/// The bytes of a leaf: CBOR `[1, 1, root]`.
#[must_use]
pub fn leaf(root: &Hash) -> [u8; 37] {
    let mut leaf = [0; 37];
    let (head, tail) = leaf.split_at_mut(5);
    head.copy_from_slice(&[0x83, FORMAT, 1, 0x58, 32]);
    tail.copy_from_slice(root.as_bytes());
    leaf
}

/// The hash of a leaf in the log.
#[must_use]
pub fn hash_of_leaf(root: &Hash) -> Hash {
    leaf_hash(&leaf(root))
}

/// What is known of the tree over the eight commitments before the key group's is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenRoot {
    groups_0_1: Hash,
    group_3: Hash,
    group_4: Hash,
    groups_6_7: Hash,
    groups_4_to_7: Hash,
}

/// The three hashes that lead from the payload group's commitment to the root: beside it, beside its pair,
/// beside its half.
pub type PayloadPath = [Hash; 3];

impl OpenRoot {
    /// From the commitments of all groups but 2, in order.
    #[must_use]
    pub fn new([c0, c1, c3, c4, c5, c6, c7]: [[u8; 32]; 7]) -> Self {
        let pair = |one: &[u8; 32], two: &[u8; 32]| node_hash(&leaf_hash(one), &leaf_hash(two));
        let (group_4, groups_6_7) = (leaf_hash(&c4), pair(&c6, &c7));
        Self {
            groups_0_1: pair(&c0, &c1),
            group_3: leaf_hash(&c3),
            group_4,
            groups_6_7,
            groups_4_to_7: node_hash(&node_hash(&group_4, &leaf_hash(&c5)), &groups_6_7),
        }
    }

    /// The root, once the key group is committed.
    #[must_use]
    pub fn close(&self, group_2: &[u8; 32]) -> Hash {
        node_hash(&self.groups_0_to_3(group_2), &self.groups_4_to_7)
    }

    /// The way from the payload group to the root, once the key group is committed.
    #[must_use]
    pub fn payload_path(&self, group_2: &[u8; 32]) -> PayloadPath {
        [self.group_4, self.groups_6_7, self.groups_0_to_3(group_2)]
    }

    fn groups_0_to_3(&self, group_2: &[u8; 32]) -> Hash {
        node_hash(&self.groups_0_1, &node_hash(&leaf_hash(group_2), &self.group_3))
    }
}

/// The root that the payload group's commitment and its path lead to.
#[must_use]
pub fn root_by_payload(
    commitment: &[u8; 32],
    [group_4, groups_6_7, groups_0_to_3]: &PayloadPath,
) -> Hash {
    let groups_4_5 = node_hash(group_4, &leaf_hash(commitment));
    node_hash(groups_0_to_3, &node_hash(&groups_4_5, groups_6_7))
}

/// What makes a record unique under its boot nonce.
#[must_use]
pub fn record_nonce(lane: u32, counter: u64) -> RecordNonce {
    let mut nonce = [0; 12];
    let (first, second) = nonce.split_at_mut(4);
    first.copy_from_slice(&lane.to_be_bytes());
    second.copy_from_slice(&counter.to_be_bytes());
    nonce
}

#[cfg(test)]
mod tests {
    use chancery_log::root_of;

    use super::*;

    #[test]
    fn the_root_is_that_of_rfc_6962_over_the_eight_commitments() {
        let commitments: [[u8; 32]; 8] = std::array::from_fn(|i| [u8::try_from(i).unwrap(); 32]);
        let expected = root_of(&commitments.map(|commitment| leaf_hash(&commitment)));
        let [c0, c1, c2, c3, c4, c5, c6, c7] = commitments;
        let open = OpenRoot::new([c0, c1, c3, c4, c5, c6, c7]);
        assert_eq!(open.close(&c2), expected);
        assert_eq!(root_by_payload(&c5, &open.payload_path(&c2)), expected);
    }

    #[test]
    fn a_leaf_is_the_cbor_that_its_format_says() {
        let root = Hash::from([9; 32]);
        let mut expected = Vec::new();
        let mut encoder = minicbor::Encoder::new(&mut expected);
        encoder.array(3).unwrap().u8(1).unwrap().u8(1).unwrap().bytes(&[9; 32]).unwrap();
        assert_eq!(leaf(&root).as_slice(), expected);
    }
}
