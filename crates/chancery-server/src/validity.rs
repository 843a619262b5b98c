//! When a certificate's life begins and ends, read from its DER (RFC 5280, 4.1.2.5).
//!
//! Reads the two times and no more: the front checks no certificate, it only asks for the next in time.

/// Tags in DER (X.690).
const SEQUENCE: u8 = 0x30;
const EXPLICIT_VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// When a certificate is valid, in seconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Validity {
    /// From when.
    pub not_before_s: u64,
    /// Until when.
    pub not_after_s: u64,
}

impl Validity {
    /// Reads it from a certificate; `None` if the bytes are none.
    pub(crate) fn of(certificate: &[u8]) -> Option<Self> {
        let (certificate, _) = element(certificate, SEQUENCE)?;
        let (mut rest, _) = element(certificate, SEQUENCE)?;
        if rest.first() == Some(&EXPLICIT_VERSION) {
            rest = skip(rest)?;
        }
        // Serial number, signature algorithm, issuer.
        let rest = skip(skip(skip(rest)?)?)?;
        let (validity, _) = element(rest, SEQUENCE)?;
        let (not_before_s, rest) = time(validity)?;
        let (not_after_s, _) = time(rest)?;
        Some(Self { not_before_s, not_after_s })
    }

    /// When another is due: after two thirds of its life.
    pub(crate) fn renewal_s(self) -> u64 {
        self.not_before_s + self.not_after_s.saturating_sub(self.not_before_s) / 3 * 2
    }
}

/// The content of the element at the start, if it has the tag, and what follows it.
fn element(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&found, bytes) = bytes.split_first()?;
    let (&first, bytes) = bytes.split_first()?;
    let (length, bytes) = match first {
        0..=0x7f => (usize::from(first), bytes),
        0x81..=0x83 => {
            let (number, bytes) = bytes.split_at_checked(usize::from(first & 0x7f))?;
            (number.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), bytes)
        }
        _ => return None,
    };
    if found == tag { bytes.split_at_checked(length) } else { None }
}

fn skip(bytes: &[u8]) -> Option<&[u8]> {
    element(bytes, *bytes.first()?).map(|(_, rest)| rest)
}

fn time(bytes: &[u8]) -> Option<(u64, &[u8])> {
    if let Some((text, rest)) = element(bytes, UTC_TIME) {
        let (year, text) = number(text, 2)?;
        // RFC 5280, 4.1.2.5.1: "Where YY is greater than or equal to 50, the year SHALL be interpreted as 19YY".
        let year = if year >= 50 { 1900 + year } else { 2000 + year };
        return Some((seconds(year, text)?, rest));
    }
    let (text, rest) = element(bytes, GENERALIZED_TIME)?;
    let (year, text) = number(text, 4)?;
    Some((seconds(year, text)?, rest))
}

fn number(text: &[u8], digits: usize) -> Option<(u64, &[u8])> {
    let (digits, rest) = text.split_at_checked(digits)?;
    let digits =
        std::str::from_utf8(digits).ok().filter(|text| text.bytes().all(|c| c.is_ascii_digit()))?;
    Some((digits.parse().ok()?, rest))
}

/// Seconds since 1970 of a year and `MMDDhhmmssZ`.
fn seconds(year: u64, text: &[u8]) -> Option<u64> {
    let (month, text) = number(text, 2)?;
    let (day, text) = number(text, 2)?;
    let (hour, text) = number(text, 2)?;
    let (minute, text) = number(text, 2)?;
    let (second, text) = number(text, 2)?;
    if text != b"Z" || year < 1970 || !(1..=12).contains(&month) || day == 0 {
        return None;
    }
    Some(((days(year, month, day) * 24 + hour) * 60 + minute) * 60 + second)
}

/// Days from 1970 to a day of the Gregorian calendar; years are counted from March, so that a leap day is a year's last.
fn days(year: u64, month: u64, day: u64) -> u64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let to_year = year * 365 + year / 4 - year / 100 + year / 400;
    // 719 468 days lie between the 1st of March of the year 0 and 1970.
    to_year + (153 * month + 2) / 5 + day - 1 - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    fn certificate(from: (i32, u8, u8), to: (i32, u8, u8)) -> Vec<u8> {
        let mut params = CertificateParams::new(vec!["front.test".into()]).unwrap();
        params.not_before = date_time_ymd(from.0, from.1, from.2);
        params.not_after = date_time_ymd(to.0, to.1, to.2);
        let key = KeyPair::generate().unwrap();
        params.self_signed(&key).unwrap().der().to_vec()
    }

    #[test]
    fn both_spellings_of_time_are_read() {
        // `date -u -d 2026-11-30 +%s`, and so on.
        let validity = Validity::of(&certificate((2026, 11, 30), (2050, 3, 1))).unwrap();
        assert_eq!(validity, Validity { not_before_s: 1_795_996_800, not_after_s: 2_529_705_600 });
        let leap = Validity::of(&certificate((1970, 1, 1), (2024, 2, 29))).unwrap();
        assert_eq!(leap, Validity { not_before_s: 0, not_after_s: 1_709_164_800 });
    }

    #[test]
    fn the_next_is_due_after_two_thirds_of_a_life() {
        assert_eq!(Validity { not_before_s: 100, not_after_s: 400 }.renewal_s(), 300);
    }

    #[test]
    fn every_cut_of_the_head_is_refused() {
        let bytes = certificate((2026, 1, 1), (2027, 1, 1));
        for length in 0..bytes.len() {
            assert_eq!(Validity::of(&bytes[..length]), None);
        }
    }
}
