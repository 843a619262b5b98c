//! What the service and the process that asks its witnesses tell each other, as files; and what the service publishes
//! of it.
//!
//! ```text
//! witness/asked              16 random bytes, in hexadecimal, and a line feed: a round to all is wanted now
//! witness/hurry              the same: answers wait for a quorum, so a round to witnesses alone
//! witness/answers/report     what came of the last round
//! witness/answers/cosigned   the checkpoint with the cosignatures that came
//! witness/answers/seen-N     a checkpoint of this log that somebody else holds
//! log/witnessed.checkpoint   the last checkpoint that enough witnesses cosigned
//! log/witnessed.policy       who they are, and how many are enough
//! ```
//!
//! The first is the service's, the answers are of a process that the network reaches. So a report is a claim, by
//! which a start can be refused and nothing allowed; what counts is the signatures in the other files.

use std::fmt;

use chancery_crypto::primitive::sha256;
use chancery_log::note::VerifierKey;

use crate::origin::hex;

/// The directory, in the data directory.
pub const WITNESS_DIRECTORY: &str = "witness";

/// The service's file: a round is wanted.
pub const ASKED_FILE: &str = "asked";

/// The service's file: answers wait for a quorum.
pub const HURRY_FILE: &str = "hurry";

/// The directory of the answers, in that of the witnesses.
pub const ANSWERS_DIRECTORY: &str = "answers";

/// What came of the last round.
pub const REPORT_FILE: &str = "report";

/// The checkpoint with cosignatures.
pub const COSIGNED_FILE: &str = "cosigned";

/// The published checkpoint that enough witnesses cosigned.
pub const WITNESSED_CHECKPOINT: &str = "witnessed.checkpoint";

/// The published policy that says who they are.
pub const WITNESSED_POLICY: &str = "witnessed.policy";

/// The most parties that a report speaks of: 64, more witnesses and peers than anybody has.
pub const PARTIES_MAX: usize = 64;

/// The longest name or remark in a report, in bytes: 256, a URL and what was wrong with it.
const TEXT_BYTES_MAX: usize = 256;

/// The longest report: a name and a remark for each party, and three lines.
pub const REPORT_BYTES_MAX: usize = (PARTIES_MAX + 1) * (2 * TEXT_BYTES_MAX + 64);

/// A wish for a round, by which its report is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked(pub [u8; 16]);

/// What came of a round.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The wish that it answers, if it was asked for.
    pub asked: Option<Asked>,
    /// How many records the checkpoint had.
    pub size: u64,
    /// Whether enough witnesses cosigned it.
    pub is_enough: bool,
    /// What each witness and peer came to.
    pub parties: Vec<Party>,
}

/// A witness or a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Party {
    /// What it is called, and where it is.
    pub name: String,
    /// What it holds.
    pub standing: Standing,
}

/// What a witness or a peer holds of this log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The witness cosigned the checkpoint.
    Cosigned,
    /// The peer has so many records, which this log has as well.
    Holds(u64),
    /// It has more records than this log.
    Ahead(u64),
    /// It has other records than this log.
    Differs,
    /// Nothing was to be had of it; why.
    Away(String),
}

/// The file of the `number`th checkpoint that was seen elsewhere.
#[must_use]
pub fn seen_file(number: usize) -> String {
    format!("seen-{number}")
}

impl Asked {
    /// Reads the file.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let digits = bytes.strip_suffix(b"\n")?;
        let text = std::str::from_utf8(digits).ok().filter(|text| text.len() == 32)?;
        let pairs = text.as_bytes().as_chunks::<2>().0.iter();
        let bytes = pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok());
        let asked = Self(bytes.collect::<Option<Vec<u8>>>()?.try_into().ok()?);
        (asked.to_string().as_bytes() == digits).then_some(asked)
    }
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl Standing {
    /// Whether it is a reason not to use a key: somebody remembers what is not here.
    #[must_use]
    pub fn contradicts(&self) -> bool {
        matches!(self, Self::Ahead(_) | Self::Differs)
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cosigned => f.write_str("cosigned"),
            Self::Holds(size) => write!(f, "has {size} records, which are here"),
            Self::Ahead(size) => write!(f, "has {size} records, more than are here"),
            Self::Differs => f.write_str("has other records than are here"),
            Self::Away(why) => write!(f, "away: {why}"),
        }
    }
}

impl Report {
    /// The text of it.
    #[must_use]
    pub fn to_text(&self) -> String {
        let asked = self.asked.map_or_else(|| "-".to_owned(), |asked| asked.to_string());
        let enough = if self.is_enough { "enough" } else { "few" };
        let mut text = format!("{asked}\n{}\n{enough}\n", self.size);
        for party in self.parties.iter().take(PARTIES_MAX) {
            let (word, number, remark) = match &party.standing {
                Standing::Cosigned => ("cosigned", 0, ""),
                Standing::Holds(size) => ("holds", *size, ""),
                Standing::Ahead(size) => ("ahead", *size, ""),
                Standing::Differs => ("differs", 0, ""),
                Standing::Away(why) => ("away", 0, why.as_str()),
            };
            let (name, remark) = (plain(&party.name), plain(remark));
            text.extend([word, "\t", &number.to_string(), "\t", &name, "\t", &remark, "\n"]);
        }
        text
    }

    /// Reads it.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok().filter(|text| text.ends_with('\n'))?;
        let mut lines = text.split_terminator('\n');
        let asked = match lines.next()? {
            "-" => None,
            hex => Some(Asked::parse(format!("{hex}\n").as_bytes())?),
        };
        let size = lines.next()?.parse().ok()?;
        let is_enough = match lines.next()? {
            "enough" => true,
            "few" => false,
            _ => return None,
        };
        let parties: Vec<Party> = lines.map(party).collect::<Option<_>>()?;
        (parties.len() <= PARTIES_MAX).then_some(Self { asked, size, is_enough, parties })
    }
}

fn party(line: &str) -> Option<Party> {
    let fields: Vec<&str> = line.split('\t').collect();
    let [word, number, name, remark] = *fields.as_slice() else { return None };
    let is_plain = |text: &str| plain(text) == text;
    let number: u64 = number.parse().ok().filter(|_| is_plain(name) && is_plain(remark))?;
    let standing = match word {
        "cosigned" => Standing::Cosigned,
        "holds" => Standing::Holds(number),
        "ahead" => Standing::Ahead(number),
        "differs" => Standing::Differs,
        "away" => Standing::Away(remark.to_owned()),
        _ => return None,
    };
    Some(Party { name: name.to_owned(), standing })
}

/// A text that is fit to be shown on a terminal: printable ASCII, and not too long.
fn plain(text: &str) -> String {
    let shown = text.chars().map(|c| if c.is_ascii_graphic() || c == ' ' { c } else { '?' });
    shown.take(TEXT_BYTES_MAX).collect()
}

/// The policy of a log and its witnesses: the log's own keys, and what `witnesses` says of those. What that says of
/// logs is left out.
#[must_use]
pub fn policy_of<'k>(keys: impl IntoIterator<Item = &'k VerifierKey>, witnesses: &str) -> String {
    let logs = keys.into_iter().map(|key| format!("log {key}\n"));
    let said = witnesses.lines().filter(|line| {
        let first = line.split([' ', '\t']).find(|item| !item.is_empty());
        first.is_some_and(|first| first != "log" && !first.starts_with('#'))
    });
    logs.chain(said.map(|line| format!("{line}\n"))).collect::<Vec<_>>().concat()
}

/// What the published policy begins with, so that every altered bit of it is found.
#[must_use]
pub fn with_digest(policy: &str) -> String {
    format!("# sha256 {}\n{policy}", hex(&sha256(&[policy.as_bytes()])))
}

/// Whether a published policy is one that [`with_digest`] has made.
#[must_use]
pub fn has_digest(text: &str) -> bool {
    text.split_once('\n').is_some_and(|(_, policy)| with_digest(policy) == text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let party = |name: &str, standing| Party { name: name.into(), standing };
        Report {
            asked: Some(Asked([7; 16])),
            size: 12,
            is_enough: true,
            parties: vec![
                party("w1 at http://w1.example", Standing::Cosigned),
                party("http://peer.example", Standing::Holds(11)),
                party("w2", Standing::Ahead(99)),
                party("w3", Standing::Differs),
                party("w4", Standing::Away("no answer in time".into())),
            ],
        }
    }

    #[test]
    fn a_report_is_read_as_it_was_written() {
        for report in [report(), Report::default()] {
            assert_eq!(Report::parse(report.to_text().as_bytes()), Some(report));
        }
    }

    #[test]
    fn what_is_no_report_is_none() {
        let text = report().to_text();
        for cut in 0..text.len() {
            // Whole lines may be missing: who writes it may say what it likes.
            let is_lines = text[..cut].ends_with('\n') && text[..cut].lines().count() >= 3;
            assert_eq!(Report::parse(&text.as_bytes()[..cut]).is_some(), is_lines, "{cut}");
        }
        for (from, to) in
            [("cosigned", "signed"), ("\t99", "\t-9"), ("12\n", "x\n"), ("w3", "\x1b[2J")]
        {
            assert_eq!(Report::parse(text.replace(from, to).as_bytes()), None, "{from}");
        }
        let many = "away\t0\tw\t\n".repeat(PARTIES_MAX + 1);
        assert_eq!(Report::parse(format!("-\n1\nfew\n{many}").as_bytes()), None);
    }

    #[test]
    fn what_a_witness_says_of_itself_is_fit_for_a_terminal() {
        let away = Standing::Away("\x1b[2J\tnext\nline".repeat(100));
        let said =
            Report { parties: vec![Party { name: "é".into(), standing: away }], ..report() };
        let read = Report::parse(said.to_text().as_bytes()).unwrap();
        assert_eq!(read.parties[0].name, "?");
        assert!(
            matches!(&read.parties[0].standing, Standing::Away(why) if why.len() == TEXT_BYTES_MAX && !why.contains('\x1b'))
        );
    }

    #[test]
    fn a_policy_has_the_own_keys_and_the_witnesses_of_another() {
        let text = policy_of([], "# mine\nlog x\n\n witness w k\nquorum w\n");
        assert_eq!(text, " witness w k\nquorum w\n");
        let published = with_digest(&text);
        assert!(has_digest(&published));
        for bit in 0..published.len() * 8 {
            let mut altered = published.clone().into_bytes();
            altered[bit / 8] ^= 1 << (bit % 8);
            assert!(!String::from_utf8(altered).is_ok_and(|text| has_digest(&text)), "{bit}");
        }
    }

    #[test]
    fn a_wish_has_one_spelling() {
        let asked = Asked([0xa5; 16]);
        let text = format!("{asked}\n");
        assert_eq!(Asked::parse(text.as_bytes()), Some(asked));
        for other in [
            text.to_uppercase(),
            text.trim_end().to_owned(),
            format!("{text}\n"),
            format!("+{text}"),
        ] {
            assert_eq!(Asked::parse(other.as_bytes()), None, "{other:?}");
        }
    }
}
