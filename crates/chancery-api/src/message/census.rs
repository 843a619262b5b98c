//! What is known of the ciphertexts of keys.

use chancery_core::campaign::CampaignView;
use chancery_core::census::Inventory;
use chancery_core::epoch::Epoch;
use chancery_core::id::{KeyId, RolloutId};
use chancery_core::name::Name;
use chancery_core::schedule::Fraction;
use chancery_core::state::KeyState;
use minicbor::{Decode, Encode};

/// The census of some keys, in the order of their names.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct CensusPage {
    /// The tenant's epoch, under which a scan begins that follows.
    #[n(0)]
    pub as_of: Epoch,
    /// The keys.
    #[n(1)]
    pub keys: Vec<CensusView>,
    /// Whether another page follows.
    #[n(2)]
    pub more: bool,
}

/// What is known of the ciphertexts of one key.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct CensusView {
    /// The key, as ciphertexts name it.
    #[n(0)]
    pub id: KeyId,
    /// Its name.
    #[n(1)]
    pub key: Name,
    /// Its versions, in the order of their numbers.
    #[n(2)]
    pub versions: Vec<VersionUse>,
    /// The version that protects for everybody; nothing while two do, or none.
    #[n(3)]
    pub target: Option<u32>,
    /// The rollout that moves it.
    #[n(4)]
    pub rollout: Option<RolloutId>,
    /// The version that the rollout retires.
    #[n(5)]
    pub leaving: Option<u32>,
    /// How many ciphertexts of that are left; nothing if nobody knows.
    #[n(6)]
    pub remaining: Option<u64>,
    /// Its inventories, in the order of their names; of one that was withdrawn its last word.
    #[n(7)]
    pub inventories: Vec<Inventory>,
    /// The latest campaign over each, in the same order.
    #[n(8)]
    pub campaigns: Vec<CampaignView>,
}

/// A version, and what was done with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct VersionUse {
    /// The version.
    #[n(0)]
    pub version: u32,
    /// Its state.
    #[n(1)]
    pub state: KeyState,
    /// Which part of all consumers it protects for; where a rollout selects some by place, of those.
    #[n(2)]
    pub share: Fraction,
    /// How often it was used, as far as that is on record.
    #[n(3)]
    pub uses: u64,
}
