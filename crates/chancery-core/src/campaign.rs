//! Campaigns: the work of encrypting an inventory again, under the version that protects now.
//!
//! Who holds the ciphertexts does the work, in batches, by a handle; the service shows no plaintext to it. A campaign is
//! what the service remembers of that: who began it, how far it is, and whether it may go on. So the work can end at any
//! moment and be taken up by anybody who has the handle and the place.
//!
//! **Invariant:** an inventory has one campaign at most that is not over, and one that is over stays so.

use minicbor::{Decode, Encode};

use crate::epoch::Epoch;
use crate::id::{CampaignId, KeyId, PrincipalId, TenantId};
use crate::name::Name;

/// How a campaign stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum CampaignState {
    /// Whoever has the place may work on it.
    #[n(0)]
    Running,
    /// Nobody works on it until a person lets it go on.
    #[n(1)]
    Paused,
    /// Everything in the place is encrypted under the version that protects.
    #[n(2)]
    Done,
    /// It ended, and something is not.
    #[n(3)]
    Incomplete,
}

impl CampaignState {
    /// Every state, in the order of their numbers.
    pub const ALL: [Self; 4] = [Self::Running, Self::Paused, Self::Done, Self::Incomplete];

    /// Its spelling in views.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Done => "done",
            Self::Incomplete => "incomplete",
        }
    }

    /// Whether nothing comes after it.
    #[must_use]
    pub const fn is_over(self) -> bool {
        matches!(self, Self::Done | Self::Incomplete)
    }
}

/// How far a campaign is, in ciphertexts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct Progress {
    /// How many there are.
    #[n(0)]
    pub total: u64,
    /// How many are under the version that protects.
    #[n(1)]
    pub done: u64,
    /// How many could not be encrypted again.
    #[n(2)]
    pub failed: u64,
}

impl Progress {
    /// Whether no more are done and failed than there are.
    #[must_use]
    pub fn is_well_formed(&self) -> bool {
        self.done.saturating_add(self.failed) <= self.total
    }

    /// How many are neither done nor failed.
    #[must_use]
    pub fn left(&self) -> u64 {
        self.total.saturating_sub(self.done).saturating_sub(self.failed)
    }
}

/// A campaign as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct Campaign {
    /// What names it.
    #[n(0)]
    pub id: CampaignId,
    /// In which tenant.
    #[n(1)]
    pub tenant: TenantId,
    /// The key.
    #[n(2)]
    pub key: KeyId,
    /// The inventory.
    #[n(3)]
    pub inventory: Name,
    /// How it stands.
    #[n(4)]
    pub state: CampaignState,
    /// How far it was when it came to stand so.
    #[n(5)]
    pub progress: Progress,
    /// Who began it.
    #[n(6)]
    pub by: PrincipalId,
    /// When, in milliseconds since 1970.
    #[n(7)]
    pub began_ms: u64,
    /// Who brought it into its state.
    #[n(8)]
    pub moved_by: PrincipalId,
    /// When, in milliseconds since 1970.
    #[n(9)]
    pub moved_ms: u64,
    /// The epoch of this row.
    #[n(10)]
    pub epoch: Epoch,
}

impl Campaign {
    /// Whether `self` may stand where `before` stood: the same one goes on until it is over, then another begins.
    #[must_use]
    pub fn follows(&self, before: &Self) -> bool {
        let lasting = |it: &Self| (it.id, it.tenant, it.key, it.by, it.began_ms);
        let goes_on = if self.id == before.id {
            lasting(self) == lasting(before) && !before.state.is_over()
        } else {
            before.state.is_over()
        };
        goes_on && self.epoch > before.epoch
    }
}

/// What is ordered of campaigns.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum CampaignOrder {
    /// Begin one.
    #[n(0)]
    Start {
        /// The key.
        #[n(0)]
        key: Name,
        /// The inventory, which is declared already.
        #[n(1)]
        inventory: Name,
    },
    /// Stay where it is.
    #[n(1)]
    Pause(#[n(0)] CampaignId),
    /// Go on.
    #[n(2)]
    Resume(#[n(0)] CampaignId),
    /// It is over: the place was scanned once more, and this is what came of it.
    #[n(3)]
    End {
        /// Which.
        #[n(0)]
        campaign: CampaignId,
        /// What the scan came to.
        #[n(1)]
        progress: Progress,
    },
}

impl CampaignOrder {
    /// The last part of the path by which it is asked for; nothing for a new one.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Start { .. } => "",
            Self::Pause(_) => "pause",
            Self::Resume(_) => "resume",
            Self::End { .. } => "end",
        }
    }
}

/// A campaign as people are shown it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct CampaignView {
    /// The key's name.
    #[n(0)]
    pub key: Name,
    /// What is stored; while it runs, with the progress that was heard of last.
    #[n(1)]
    pub campaign: Campaign,
    /// The version that protects for everybody now; nothing while two do, or none.
    #[n(2)]
    pub target: Option<u32>,
    /// How long ago somebody who works on it was heard, in milliseconds of time served.
    #[n(3)]
    pub heard_ago_ms: Option<u64>,
    /// How many ciphertexts were done in a second of late.
    #[n(4)]
    pub per_second: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn campaign(id: u8, state: CampaignState, number: u64) -> Campaign {
        let by = PrincipalId::from_bytes([3; 16]);
        Campaign {
            id: CampaignId::from_bytes([id; 16]),
            tenant: TenantId::from_bytes([1; 16]),
            key: KeyId::from_bytes([2; 16]),
            inventory: "cards".parse().unwrap(),
            state,
            progress: Progress::default(),
            by,
            began_ms: 0,
            moved_by: by,
            moved_ms: 0,
            epoch: Epoch { generation: 0, number },
        }
    }

    /// Every state after every other, of the same campaign and of another one.
    #[test]
    fn what_may_stand_where_another_stood() {
        for before in CampaignState::ALL {
            for after in CampaignState::ALL {
                let follows =
                    |id, number| campaign(id, after, number).follows(&campaign(1, before, 5));
                assert_eq!(follows(1, 6), !before.is_over(), "{before:?} {after:?}");
                assert_eq!(follows(2, 6), before.is_over(), "{before:?} {after:?}");
                assert!(!follows(1, 5) && !follows(2, 5));
            }
        }
    }

    #[test]
    fn no_more_are_done_and_failed_than_there_are() {
        let progress = |total, done, failed| Progress { total, done, failed };
        assert!(progress(3, 2, 1).is_well_formed());
        assert!(!progress(3, 2, 2).is_well_formed());
        assert!(!progress(3, u64::MAX, 2).is_well_formed());
        assert_eq!(progress(9, 2, 3).left(), 4);
        assert_eq!(progress(1, u64::MAX, 2).left(), 0);
    }
}
