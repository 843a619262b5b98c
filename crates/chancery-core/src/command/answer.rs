//! What commands are answered.

use minicbor::{Decode, Encode};

use crate::automatic::{RotationView, RuleRow};
use crate::campaign::CampaignView;
use crate::id::PrincipalId;
use crate::key::Key;
use crate::proposal::Proposal;
use crate::rollout::RolloutView;

/// What a command was answered.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Answer {
    /// It was done; there is nothing to say about it.
    #[n(0)]
    Done,
    /// The key as it is now.
    #[n(1)]
    Key(#[n(0)] Key),
    /// The handle.
    #[n(2)]
    Handle(#[cbor(n(0), with = "minicbor::bytes")] Vec<u8>),
    /// The principal's id.
    #[n(3)]
    Principal(#[n(0)] PrincipalId),
    /// Keys, and whether there are more.
    #[n(4)]
    Keys {
        /// This page.
        #[n(0)]
        keys: Vec<Key>,
        /// Whether another page follows.
        #[n(1)]
        more: bool,
    },
    /// A one-time key to wrap an import to.
    #[n(5)]
    OneTimeKey {
        /// Its name.
        #[cbor(n(0), with = "minicbor::bytes")]
        id: [u8; 16],
        /// Its public half (X25519).
        #[cbor(n(1), with = "minicbor::bytes")]
        public: Vec<u8>,
    },
    /// What opens records, sealed to who may open them.
    #[n(6)]
    Disclosure(#[cbor(n(0), with = "minicbor::bytes")] Vec<u8>),
    /// A proposal as it is now.
    #[n(7)]
    Proposal(#[n(0)] Proposal),
    /// Proposals, in the order in which they were made.
    #[n(8)]
    Proposals(#[n(0)] Vec<Proposal>),
    /// A rollout as it is now.
    #[n(9)]
    Rollout(#[n(0)] Box<RolloutView>),
    /// Rollouts, and whether there are more.
    #[n(10)]
    Rollouts {
        /// This page.
        #[n(0)]
        rollouts: Vec<RolloutView>,
        /// Whether another page follows.
        #[n(1)]
        more: bool,
    },
    /// Which keys are rotated without anybody asking, and whether there are more.
    #[n(11)]
    Rotations {
        /// The rules of usages, on the first page.
        #[n(0)]
        rules: Vec<RuleRow>,
        /// The keys of this page.
        #[n(1)]
        keys: Vec<RotationView>,
        /// Whether another page follows.
        #[n(2)]
        more: bool,
    },
    /// A campaign as it is now.
    #[n(12)]
    Campaign(#[n(0)] Box<CampaignView>),
}
