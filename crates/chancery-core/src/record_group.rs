//! The groups of an audit record, of which each can be opened without the others.

use minicbor::decode::{Decoder, Error};
use minicbor::encode::{Encoder, Write};
use minicbor::{Decode, Encode};

/// A group of an audit record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum RecordGroup {
    /// When.
    Time = 0,
    /// What, and what came of it.
    Operation = 1,
    /// By which key version, as its how-manieth use.
    Key = 2,
    /// By whom, under pseudonyms.
    Actor = 3,
    /// Under which policy.
    Authorization = 4,
    /// On which bytes, and with which result, as digests.
    Payload = 5,
    /// On which node.
    Source = 6,
    /// By which program.
    Build = 7,
}

impl RecordGroup {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 8] = [
        Self::Time,
        Self::Operation,
        Self::Key,
        Self::Actor,
        Self::Authorization,
        Self::Payload,
        Self::Source,
        Self::Build,
    ];

    /// Its number.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Time => "time",
            Self::Operation => "operation",
            Self::Key => "key",
            Self::Actor => "actor",
            Self::Authorization => "authorization",
            Self::Payload => "payload",
            Self::Source => "source",
            Self::Build => "build",
        }
    }

    /// The group of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|group| group.name() == name)
    }

    const fn bit(self) -> u8 {
        1 << self.number()
    }
}

/// Some of the groups, one at least.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordGroups(u8);

impl RecordGroups {
    /// All of them.
    pub const ALL: Self = Self(u8::MAX);

    /// These; `None` if there is none, or one twice.
    #[must_use]
    pub fn of(groups: &[RecordGroup]) -> Option<Self> {
        let mut bits = 0;
        for group in groups {
            if bits & group.bit() != 0 {
                return None;
            }
            bits |= group.bit();
        }
        (bits != 0).then_some(Self(bits))
    }

    /// In the order of their numbers.
    pub fn iter(self) -> impl Iterator<Item = RecordGroup> {
        RecordGroup::ALL.into_iter().filter(move |group| self.0 & group.bit() != 0)
    }
}

impl<C> Encode<C> for RecordGroups {
    fn encode<W: Write>(
        &self,
        encoder: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        encoder.u8(self.0)?.ok()
    }
}

impl<'b, C> Decode<'b, C> for RecordGroups {
    fn decode(decoder: &mut Decoder<'b>, _: &mut C) -> Result<Self, Error> {
        match decoder.u8()? {
            0 => Err(Error::message("no group is asked for")),
            bits => Ok(Self(bits)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cbor;

    #[test]
    fn groups_have_the_names_and_numbers_of_the_format() {
        for (number, group) in (0..).zip(RecordGroup::ALL) {
            assert_eq!(group.number(), number);
            assert_eq!(RecordGroup::from_name(group.name()), Some(group));
        }
        assert_eq!(RecordGroup::from_name("Time"), None);
    }

    #[test]
    fn a_set_holds_what_it_was_made_of_and_is_never_empty() {
        let some = [RecordGroup::Build, RecordGroup::Time];
        let set = RecordGroups::of(&some).unwrap();
        assert!(set.iter().eq([RecordGroup::Time, RecordGroup::Build]));
        assert_eq!(cbor::decode::<RecordGroups>(&cbor::encode(&set), "groups").unwrap(), set);
        assert_eq!(RecordGroups::of(&[]), None);
        assert_eq!(RecordGroups::of(&[some[0], some[0]]), None);
        assert!(cbor::decode::<RecordGroups>(&[0], "groups").is_err());
    }
}
