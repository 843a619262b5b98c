//! How durations are spelt, in plans, answers and errors alike.

/// The units of durations, the longest first, in milliseconds.
pub const UNITS: [(&str, u64); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// A duration in milliseconds as text: in the longest unit that it is a whole number of.
#[must_use]
pub fn duration_text(ms: u64) -> String {
    let unit = UNITS.iter().find(|(_, unit)| ms > 0 && ms.is_multiple_of(*unit));
    unit.map_or_else(|| "0s".into(), |(name, unit)| format!("{}{name}", ms / unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_spelt_in_the_longest_unit_that_it_is_whole_in() {
        let spelt = [0, 1, 1_000, 90_000, 3_600_000, 129_600_000, 172_800_000].map(duration_text);
        assert_eq!(spelt, ["0s", "1ms", "1s", "90s", "1h", "36h", "2d"]);
    }
}
