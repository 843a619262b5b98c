//! How the words of a plan are spelt, in files and in JSON alike.

use super::plan::{Advance, Comparator, Kind, Lacking, Metric, Path, Response, StageName};
use crate::schedule::{Accept, Mode};

/// A word of a plan, which has one spelling.
pub trait Word: Copy + PartialEq + 'static {
    /// Every word of its kind, with its spelling.
    fn all() -> Vec<(&'static str, Self)>;

    /// Its spelling.
    fn spelt(self) -> &'static str {
        Self::all().iter().find(|(_, word)| *word == self).map_or("", |(text, _)| text)
    }

    /// The word of a spelling.
    ///
    /// # Errors
    ///
    /// Those that there are, in words.
    fn of(text: &str) -> Result<Self, String> {
        let all = Self::all();
        let found = all.iter().find(|(spelling, _)| *spelling == text).map(|(_, word)| *word);
        found.ok_or_else(|| {
            let there: Vec<_> = all.iter().map(|(spelling, _)| *spelling).collect();
            format!("`{text}` is none of {}", there.join(", "))
        })
    }
}

macro_rules! words {
    ($($kind:ident: $($text:literal = $word:ident),*;)*) => {$(
        impl Word for $kind {
            fn all() -> Vec<(&'static str, Self)> {
                vec![$(($text, Self::$word),)*]
            }
        }
    )*};
}

words! {
    Accept: "any-of" = AnyOf, "all-of" = AllOf;
    Advance: "automatic" = Automatic, "person" = Person;
    Comparator: "above" = Above, "at-least" = AtLeast, "below" = Below;
    Kind: "routine" = Routine, "emergency" = Emergency;
    Lacking: "wait" = Wait, "pause" = Pause, "roll-back" = RollBack;
    Mode: "publish-only" = PublishOnly, "dual-sign" = DualSign, "new-only" = NewOnly;
    Response: "pause" = Pause, "roll-back" = RollBack;
}

impl Word for Metric {
    fn all() -> Vec<(&'static str, Self)> {
        Self::ALL.map(|metric| (metric.code(), metric)).into()
    }
}

impl Word for Path {
    fn all() -> Vec<(&'static str, Self)> {
        Self::ALL.map(|path| (path.code(), path)).into()
    }
}

impl Word for StageName {
    fn all() -> Vec<(&'static str, Self)> {
        Self::ALL.map(|name| (name.code(), name)).into()
    }
}
