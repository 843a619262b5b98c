//! Openings: some groups of a record, shown to somebody who has nothing but its leaf.
//!
//! ```text
//! opening         = CBOR [1, root (32), [group opening, …], payload opening]     the last only with group 5
//! group opening   = [group, salt (32), value (bytes), [sibling (32) × 3]]
//! payload opening = [3, seed (32), payload section, names]     the last only of a count, where it names months
//! ```
//!
//! A group leads by its commitment and three siblings to the root, and the root to the leaf. Groups that are
//! not shown stay as closed as they were.
//!
//! **Invariant:** an [`Opened`] holds nothing that the leaf does not commit to.

use chancery_core::cbor;
use chancery_core::record_group::{RecordGroup, RecordGroups};
use chancery_crypto::section::{commit_group, salts};
use chancery_log::{Hash, Leaf, TreeHead, verify_inclusion};
use minicbor::bytes::ByteArray;
use minicbor::{Decode, Encode};

use crate::called::Names;
use crate::record::{
    ActorGroup, AuthorizationGroup, BuildGroup, CountedKeyGroup, Kind, OperationGroup,
    PayloadGroup, PayloadSection, SourceGroup, TimeGroup, hash_of_leaf,
};
use crate::sealer::payload_group;

const FORMAT: u8 = 1;

/// The number of the payload section.
const PAYLOAD_SECTION: u8 = 3;

/// So many groups a record has.
const GROUPS: u64 = 8;

/// What shows some of a record's groups.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct Opening {
    #[n(0)]
    format: u8,
    #[n(1)]
    root: ByteArray<32>,
    #[n(2)]
    groups: Vec<GroupOpening>,
    #[n(3)]
    payload: Option<PayloadOpening>,
}

/// What shows one group.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub(crate) struct GroupOpening {
    #[n(0)]
    pub(crate) group: u8,
    #[n(1)]
    pub(crate) salt: ByteArray<32>,
    #[cbor(n(2), with = "minicbor::bytes")]
    pub(crate) value: Vec<u8>,
    #[n(3)]
    pub(crate) siblings: [ByteArray<32>; 3],
}

/// What shows the digests that the payload group commits to.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub(crate) struct PayloadOpening {
    #[n(0)]
    pub(crate) section: u8,
    #[n(1)]
    pub(crate) seed: ByteArray<32>,
    #[n(2)]
    pub(crate) payload: PayloadSection,
    #[n(3)]
    pub(crate) names: Option<Names>,
}

/// A record, as far as it was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Opened {
    /// When.
    pub time: Option<TimeGroup>,
    /// What, and what came of it.
    pub operation: Option<OperationGroup>,
    /// By which key version, as its how-manieth use.
    pub key: Option<CountedKeyGroup>,
    /// By whom, under pseudonyms.
    pub actor: Option<ActorGroup>,
    /// Under which policy.
    pub authorization: Option<AuthorizationGroup>,
    /// On which bytes, and with which result, as digests.
    pub payload: Option<PayloadSection>,
    /// Of a count: what the key version was called in the months before.
    pub names: Option<Names>,
    /// On which node.
    pub source: Option<SourceGroup>,
    /// By which program.
    pub build: Option<BuildGroup>,
}

/// The opening opens nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpeningError {
    /// The bytes are no opening.
    #[error("not the opening of a record")]
    NotAnOpening,
    /// What it shows is not what the leaf commits to.
    #[error("what is shown of the record is not what its leaf commits to")]
    NotCommitted,
}

impl Opening {
    /// Of groups of one record, in the order of their numbers; `payload` if the payload group is among them.
    pub(crate) fn new(
        root: Hash,
        groups: Vec<GroupOpening>,
        payload: Option<(&[u8; 32], PayloadSection)>,
    ) -> Self {
        let payload = payload.map(|(seed, payload)| PayloadOpening {
            section: PAYLOAD_SECTION,
            seed: (*seed).into(),
            payload,
            names: None,
        });
        Self { format: FORMAT, root: (*root.as_bytes()).into(), groups, payload }
    }

    /// Its encoding.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        cbor::encode(self)
    }

    /// Reads one.
    ///
    /// # Errors
    ///
    /// [`OpeningError::NotAnOpening`] if the bytes are none.
    pub fn parse(bytes: &[u8]) -> Result<Self, OpeningError> {
        let opening: Self =
            cbor::decode(bytes, "opening").map_err(|_| OpeningError::NotAnOpening)?;
        let is_ordered = opening.groups.is_sorted_by(|one, next| one.group < next.group);
        let is_one = opening.format == FORMAT && is_ordered && !opening.groups.is_empty();
        is_one.then_some(opening).ok_or(OpeningError::NotAnOpening)
    }

    /// The same, of these groups alone.
    #[must_use]
    pub fn only(mut self, groups: RecordGroups) -> Self {
        self.groups.retain(|opening| groups.iter().any(|group| is(opening, group)));
        self.payload = self.payload.filter(|_| groups.iter().any(|it| it == RecordGroup::Payload));
        self
    }

    /// The same, with the names that the payload's output digest is of; nothing if it is of others, or not shown.
    #[must_use]
    pub fn with_names(mut self, names: Names) -> Option<Self> {
        let payload = self.payload.as_mut()?;
        let is_of_them = payload.payload.output == names.digest();
        payload.names = Some(names);
        is_of_them.then_some(self)
    }

    /// The hash of the leaf whose record it opens.
    #[must_use]
    pub fn leaf(&self) -> Hash {
        hash_of_leaf(&Hash::from(*self.root))
    }

    /// What it shows.
    ///
    /// # Errors
    ///
    /// [`OpeningError`], which says what does not hold.
    pub fn open(&self) -> Result<Opened, OpeningError> {
        let mut opened = Opened::default();
        for group in &self.groups {
            group.check(&Hash::from(*self.root))?;
            opened.take(group)?;
        }
        let payload = self.groups.iter().find(|group| is(group, RecordGroup::Payload));
        opened.payload = match (payload, &self.payload) {
            (Some(group), Some(payload)) => Some(payload.check(group)?),
            (None, None) => None,
            _ => return Err(OpeningError::NotAnOpening),
        };
        if let Some(names) = self.payload.as_ref().and_then(|payload| payload.names.as_ref()) {
            opened.name(names)?;
        }
        Ok(opened)
    }
}

impl GroupOpening {
    fn check(&self, root: &Hash) -> Result<(), OpeningError> {
        let commitment = commit_group(self.group, &self.salt, &self.value);
        let leaf =
            Leaf { index: u64::from(self.group), hash: chancery_log::leaf_hash(&commitment) };
        let siblings: Vec<Hash> = self.siblings.iter().map(|hash| Hash::from(**hash)).collect();
        let tree = TreeHead { size: GROUPS, root: *root };
        verify_inclusion(&leaf, &tree, &siblings).map_err(|_| OpeningError::NotCommitted)
    }
}

impl PayloadOpening {
    /// The digests, if they are those that the group's fields commit to.
    fn check(&self, group: &GroupOpening) -> Result<PayloadSection, OpeningError> {
        let (salts, _) = salts::<4>(&self.seed).map_err(|_| OpeningError::NotCommitted)?;
        let fields: PayloadGroup = decode(&group.value)?;
        let is_committed = self.section == PAYLOAD_SECTION
            && salts.last() == Some(&group.salt)
            && payload_group(&salts, &self.payload) == fields;
        is_committed.then(|| self.payload.clone()).ok_or(OpeningError::NotCommitted)
    }
}

impl Opened {
    /// Takes names, if a count says them: what comes out of anything else may be whatever a caller made it.
    fn name(&mut self, names: &Names) -> Result<(), OpeningError> {
        let operation = self.operation.as_ref().ok_or(OpeningError::NotAnOpening)?;
        let payload = self.payload.as_ref().ok_or(OpeningError::NotAnOpening)?;
        if operation.kind != Kind::Count || !names.is_one() {
            return Err(OpeningError::NotAnOpening);
        }
        self.names = Some(names.clone());
        let is_committed = payload.output == names.digest();
        is_committed.then_some(()).ok_or(OpeningError::NotCommitted)
    }

    fn take(&mut self, opening: &GroupOpening) -> Result<(), OpeningError> {
        let known = RecordGroup::ALL.into_iter().find(|group| is(opening, *group));
        let value = &opening.value;
        match known.ok_or(OpeningError::NotAnOpening)? {
            RecordGroup::Time => self.time = Some(decode(value)?),
            RecordGroup::Operation => self.operation = Some(decode(value)?),
            RecordGroup::Key => self.key = Some(decode(value)?),
            RecordGroup::Actor => self.actor = Some(decode(value)?),
            RecordGroup::Authorization => self.authorization = Some(decode(value)?),
            // Its digests are shown by the seed of their section.
            RecordGroup::Payload => {}
            RecordGroup::Source => self.source = Some(decode(value)?),
            RecordGroup::Build => self.build = Some(decode(value)?),
        }
        Ok(())
    }
}

fn is(opening: &GroupOpening, group: RecordGroup) -> bool {
    opening.group == group.number()
}

fn decode<'b, T: Decode<'b, ()> + Encode<()>>(value: &'b [u8]) -> Result<T, OpeningError> {
    cbor::decode(value, "group").map_err(|_| OpeningError::NotAnOpening)
}
