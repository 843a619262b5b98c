//! Who must have signed a checkpoint for it to count (C2SP tlog-policy).
//!
//! ```text
//! log VKEY [URL]
//! witness NAME VKEY [URL]
//! group NAME all|any|K NAME …
//! quorum NAME|none
//! ```
//!
//! One item a line, parted by spaces and tabs; empty lines and lines that begin with `#` say nothing.
//!
//! Narrowed: a policy has at most [`POLICY_LINES_MAX`] lines that say something.
//!
//! **Invariant:** the quorum of a [`Policy`] is made of witnesses and groups that stand before it, so that it
//! is finite, and no key counts twice.

use std::collections::BTreeMap;

use crate::note::{Signed, VerifierKey};

/// The most lines: 256, far more than there are witnesses.
pub const POLICY_LINES_MAX: usize = 256;

/// A log that is trusted, or a witness.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Party {
    /// Its key.
    pub key: VerifierKey,
    /// Where it is to be found, if that is said.
    pub url: Option<String>,
}

/// A policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    logs: Vec<Party>,
    witnesses: Vec<(String, Party)>,
    quorum: Quorum,
}

/// What is enough.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Quorum {
    /// Nothing is asked for.
    None,
    /// This witness, by its place in the list.
    Witness(usize),
    /// So many of these.
    Of(usize, Vec<Quorum>),
}

/// The text is no policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line} of the policy: {what}")]
pub struct PolicyError {
    line: usize,
    what: &'static str,
}

impl Policy {
    /// Reads a policy.
    ///
    /// # Errors
    ///
    /// [`PolicyError`], which names the line and what is wrong there.
    pub fn parse(text: &str) -> Result<Self, PolicyError> {
        let mut reader = PolicyReader::default();
        let said = (1..).zip(text.lines()).filter_map(|(number, line)| {
            let items: Vec<&str> = items(line).collect();
            let says = items.first().is_some_and(|first| !first.starts_with('#'));
            says.then_some((number, items))
        });
        let mut last = 0;
        for (count, (line, items)) in said.enumerate() {
            if count == POLICY_LINES_MAX {
                return Err(PolicyError { line, what: "there are too many lines" });
            }
            reader.line(&items).map_err(|what| PolicyError { line, what })?;
            last = line;
        }
        let missing = PolicyError { line: last + 1, what: "a policy has one line `quorum NAME`" };
        let PolicyReader { logs, witnesses, quorum, .. } = reader;
        Ok(Self { logs, witnesses, quorum: quorum.ok_or(missing)? })
    }

    /// What a policy says, in one spelling: its lines without comments and empty ones, items parted by one space, each
    /// line with a line feed.
    #[must_use]
    pub fn plain(text: &str) -> String {
        let said = text.lines().filter_map(|line| {
            let items: Vec<&str> = items(line).collect();
            let says = items.first().is_some_and(|first| !first.starts_with('#'));
            says.then(|| items.join(" ") + "\n")
        });
        said.collect()
    }

    /// The logs whose checkpoints are taken.
    #[must_use]
    pub fn logs(&self) -> &[Party] {
        &self.logs
    }

    /// The witnesses, each with its name in the policy.
    #[must_use]
    pub fn witnesses(&self) -> &[(String, Party)] {
        &self.witnesses
    }

    /// Whether anybody but the log has to sign.
    #[must_use]
    pub fn asks_for_witnesses(&self) -> bool {
        self.quorum != Quorum::None
    }

    /// Whether enough witnesses signed a note.
    #[must_use]
    pub fn is_met_by(&self, signed: &Signed) -> bool {
        let has_signed = |place: usize| {
            let witness = self.witnesses.get(place);
            witness.is_some_and(|(_, party)| signed.by().contains(&party.key))
        };
        self.quorum.is_met(&has_signed)
    }
}

/// The items of a line.
fn items(line: &str) -> impl Iterator<Item = &str> {
    line.split([' ', '\t']).filter(|item| !item.is_empty())
}

impl Quorum {
    fn is_met(&self, has_signed: &dyn Fn(usize) -> bool) -> bool {
        match self {
            Self::None => true,
            Self::Witness(place) => has_signed(*place),
            Self::Of(least, members) => {
                members.iter().filter(|member| member.is_met(has_signed)).count() >= *least
            }
        }
    }
}

#[derive(Default)]
struct PolicyReader {
    logs: Vec<Party>,
    witnesses: Vec<(String, Party)>,
    names: BTreeMap<String, Quorum>,
    quorum: Option<Quorum>,
}

impl PolicyReader {
    fn line(&mut self, items: &[&str]) -> Result<(), &'static str> {
        match *items {
            ["log", key, ref url @ ..] => {
                let party = party(key, url, self.logs.iter())?;
                self.logs.push(party);
                Ok(())
            }
            ["witness", name, key, ref url @ ..] => {
                let known = self.witnesses.iter().map(|(_, party)| party);
                let party = party(key, url, known)?;
                self.define(name, Quorum::Witness(self.witnesses.len()))?;
                self.witnesses.push((name.to_owned(), party));
                Ok(())
            }
            ["group", name, least, ref members @ ..] => {
                let group = self.group(least, members)?;
                self.define(name, group)
            }
            ["quorum", name] => {
                let quorum = if name == "none" { Quorum::None } else { self.named(name)? };
                match self.quorum.replace(quorum) {
                    None => Ok(()),
                    Some(_) => Err("there is a quorum already"),
                }
            }
            _ => Err("a line is `log`, `witness`, `group` or `quorum` with what belongs to it"),
        }
    }

    fn group(&self, least: &str, members: &[&str]) -> Result<Quorum, &'static str> {
        let members: Vec<Quorum> =
            members.iter().map(|name| self.named(name)).collect::<Result<_, _>>()?;
        let least = match least {
            "all" => members.len(),
            "any" => 1,
            number => number.parse().map_err(|_| "a group is of `all`, `any` or a number")?,
        };
        if (1..=members.len()).contains(&least) {
            Ok(Quorum::Of(least, members))
        } else {
            Err("a group asks for at least one of its members, and for no more than it has")
        }
    }

    fn named(&self, name: &str) -> Result<Quorum, &'static str> {
        self.names.get(name).cloned().ok_or("there is no witness or group of that name before it")
    }

    fn define(&mut self, name: &str, quorum: Quorum) -> Result<(), &'static str> {
        if name == "none" {
            return Err("`none` is no name");
        }
        match self.names.insert(name.to_owned(), quorum) {
            None => Ok(()),
            Some(_) => Err("the name is taken"),
        }
    }
}

/// A party that is not among those `known`.
fn party<'p>(
    key: &str,
    url: &[&str],
    mut known: impl Iterator<Item = &'p Party>,
) -> Result<Party, &'static str> {
    let key: VerifierKey = key.parse().map_err(|_| "that is no verifier key")?;
    let url = match *url {
        [] => None,
        [url] => Some(url.to_owned()),
        _ => return Err("there is more than a key and a URL"),
    };
    if known.any(|party| party.key.public() == key.public()) {
        return Err("this key stands there already");
    }
    Ok(Party { key, url })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::note::{Note, NoteVerifier, SignatureType};

    fn key(name: &str, byte: u8) -> VerifierKey {
        let kind = SignatureType::Ed25519Cosignature;
        VerifierKey::new(name.parse().unwrap(), kind, &[byte; 32]).unwrap()
    }

    struct Trusts(VerifierKey);

    impl NoteVerifier for Trusts {
        fn key(&self) -> &VerifierKey {
            &self.0
        }

        fn verifies(&self, _: &str, _: &[u8]) -> bool {
            true
        }
    }

    /// A note that the witnesses of these bytes signed.
    fn signed_by(bytes: &[u8]) -> Signed {
        let keys: Vec<_> = bytes.iter().map(|byte| Trusts(key("w", *byte))).collect();
        let mut note = Note::new("text\n").unwrap();
        for key in &keys {
            note.add(key.0.signature(&[1]));
        }
        let known: Vec<&dyn NoteVerifier> = keys.iter().map(|key| key as _).collect();
        note.verify(&known).unwrap()
    }

    fn policy(rest: &str) -> Result<Policy, PolicyError> {
        let witness =
            |byte: u8| format!("witness w{byte} {} https://w{byte}.example\n", key("w", byte));
        let log = format!("# a comment\n\n  log\t{}\n", key("log", 9));
        Policy::parse(&format!("{log}{}{}{}{rest}", witness(1), witness(2), witness(3)))
    }

    #[test]
    fn a_quorum_is_met_by_those_it_names() {
        let nested = "group two 2 w1 w2\ngroup either any two w3\nquorum either\n";
        for (rest, met, unmet) in [
            ("quorum w1\n", vec![vec![1], vec![1, 2]], vec![vec![2, 3]]),
            ("group g all w1 w2\nquorum g\n", vec![vec![1, 2, 3]], vec![vec![1], vec![2, 3]]),
            (nested, vec![vec![3], vec![1, 2]], vec![vec![1], vec![2]]),
            ("quorum none\n", vec![vec![1]], vec![]),
        ] {
            let policy = policy(rest).unwrap();
            let is_met = |by: &Vec<u8>| policy.is_met_by(&signed_by(by));
            assert!(met.iter().all(is_met) && !unmet.iter().any(is_met), "{rest}");
        }
    }

    #[test]
    fn what_is_no_policy_is_refused_by_line() {
        let again = format!("witness w4 {}\nquorum w4\n", key("other", 1));
        for (rest, line) in [
            ("", 7),
            ("quorum w4\n", 7),
            ("quorum w1\nquorum w1\n", 8),
            ("group g 2 w1\nquorum g\n", 7),
            ("group g 0 w1\nquorum g\n", 7),
            ("group g any\nquorum g\n", 7),
            ("group g any none\nquorum g\n", 7),
            ("group w1 any w2\nquorum w1\n", 7),
            ("group none any w2\nquorum none\n", 7),
            ("group a any b\ngroup b any a\nquorum a\n", 7),
            ("witness w4 no-key\nquorum none\n", 7),
            ("mirror w4\nquorum none\n", 7),
            (again.as_str(), 7),
        ] {
            assert_eq!(policy(rest).unwrap_err().line, line, "{rest:?}");
        }
    }

    #[test]
    fn logs_and_places_are_read() {
        let policy = policy("quorum none\n").unwrap();
        assert_eq!(policy.logs()[0].key, key("log", 9));
        assert_eq!(policy.logs()[0].url, None);
        assert_eq!(policy.witnesses()[0].1.url.as_deref(), Some("https://w1.example"));
        assert!(!policy.asks_for_witnesses());
    }
}
