//! Times in UTC as text (RFC 3339, to the second), in the proleptic Gregorian calendar.

/// The milliseconds of a day.
const DAY_MS: u64 = 24 * 60 * 60 * 1_000;

/// The days from the first of March of the year 0 to the first of January 1970.
const EPOCH_DAYS: u64 = 719_468;

/// The days of 400 years, after which the calendar repeats.
const ERA_DAYS: u64 = 146_097;

/// The days of a month at most.
const MONTH_DAYS_MAX: u64 = 31;

struct Date {
    year: u64,
    month: u64,
    day: u64,
}

/// `2026-11-24T06:00:00Z`.
pub(crate) fn text(unix_ms: u64) -> String {
    let Date { year, month, day } = date(unix_ms / DAY_MS);
    let seconds = unix_ms % DAY_MS / 1_000;
    let (hour, minute, second) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// `2026-11`, of a month counted since January 1970.
pub(crate) fn month(month: u16) -> String {
    format!("{:04}-{:02}", 1970 + month / 12, month % 12 + 1)
}

/// The milliseconds since 1970 of a time or a day; `None` if the text is neither.
pub(crate) fn parse(text: &str) -> Option<u64> {
    let (day, time) = match text.split_once('T') {
        Some((day, time)) => (day, time.strip_suffix('Z')?),
        None => (text, "00:00:00"),
    };
    let [year, month, day] = numbers(day, '-', [4, 2, 2])?;
    let [hour, minute, second] = numbers(time, ':', [2, 2, 2])?;
    let is_date = year >= 1970 && (1..=12).contains(&month) && (1..=MONTH_DAYS_MAX).contains(&day);
    if !is_date || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let days = days(&Date { year, month, day });
    let unix_ms = days * DAY_MS + ((hour * 60 + minute) * 60 + second) * 1_000;
    // A day that its month does not have comes out as another.
    (self::text(unix_ms).get(..10) == text.get(..10)).then_some(unix_ms)
}

fn numbers<const N: usize>(text: &str, separator: char, widths: [usize; N]) -> Option<[u64; N]> {
    let mut parts = text.split(separator);
    let mut numbers = [0; N];
    for (number, width) in numbers.iter_mut().zip(widths) {
        let part = parts.next().filter(|part| part.len() == width)?;
        *number = part.bytes().all(|c| c.is_ascii_digit()).then(|| part.parse().ok())??;
    }
    parts.next().is_none().then_some(numbers)
}

/// Days since 1970 to a date. Years are counted from March, so that a leap day is a year's last.
fn date(days: u64) -> Date {
    let shifted = days + EPOCH_DAYS;
    let (era, of_era) = (shifted / ERA_DAYS, shifted % ERA_DAYS);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    Date { year: era * 400 + year_of_era + u64::from(month <= 2), month, day }
}

/// A date to days since 1970.
fn days(date: &Date) -> u64 {
    let year = date.year - u64::from(date.month <= 2);
    let (era, year_of_era) = (year / 400, year % 400);
    let from_march = if date.month > 2 { date.month - 3 } else { date.month + 9 };
    let of_year = (153 * from_march + 2) / 5 + date.day - 1;
    let of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + of_year;
    era * ERA_DAYS + of_era - EPOCH_DAYS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_moments() {
        for (unix_ms, expected) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400_000, "2000-02-29T00:00:00Z"),
            (1_763_964_305_999, "2025-11-24T06:05:05Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(text(unix_ms), expected);
            assert_eq!(parse(expected), Some(unix_ms / 1_000 * 1_000));
        }
    }

    #[test]
    fn every_day_of_two_centuries_is_read_back() {
        for day in 0..73_000 {
            assert_eq!(parse(&text(day * DAY_MS)), Some(day * DAY_MS));
        }
    }

    #[test]
    fn what_is_no_moment_is_refused() {
        for text in [
            "",
            "2025-02-29",
            "2025-13-01",
            "2025-00-01",
            "2025-1-01",
            "1969-12-31",
            "2025-01-01T24:00:00Z",
            "2025-01-01T00:00:00",
            "2025-01-01T00:00:00.5Z",
            "2025-01-01-01",
            "+025-01-01",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
