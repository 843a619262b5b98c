//! What a proof shows, in plain words and for programs.

use std::path::Path;

use chancery_audit::opening::Opened;
use chancery_audit::proof::{Trees, Used, Uses, Vouched};
use chancery_audit::record::{Counted, CountedKeyGroup, Kind, OperationGroup, Pseudonym};
use chancery_audit::shown;
use chancery_core::clock::Quality;
use chancery_core::handle::Operation;
use chancery_core::reason::Reason;
use chancery_core::suite::Suite;
use chancery_log::note::SignatureType;
use serde_json::{Map, Value, json};

use crate::moment;
use crate::parse::hex;

/// What a proof shows.
pub(crate) struct Shown {
    /// For people.
    pub(crate) lines: Vec<(&'static str, String)>,
    /// For programs.
    pub(crate) json: Map<String, Value>,
}

/// What the proof of one record shows.
pub(super) fn of_record(used: &Used, compared: &[(&'static str, &Path)]) -> Shown {
    let mut shown = Shown::of("used");
    shown.say("record", used.index.to_string(), json!(used.index));
    shown.groups(&used.opened);
    for (name, path) in compared {
        let path = path.display().to_string();
        shown.say(name, format!("`{path}` is what the record is about"), json!(path));
    }
    let closed = closed(&used.opened);
    let text = if closed.is_empty() { "nothing".into() } else { closed.join(", ") };
    shown.say("not shown", text, json!(closed));
    shown.checkpoints(&[&used.vouched]);
    shown.mean(
        "the log has this record at this place, and its signers cannot deny it; the time is the log's own. What was \
         done elsewhere with stolen key bytes is in no log",
    );
    shown
}

impl Shown {
    pub(crate) fn of(claim: &str) -> Self {
        let lines = vec![("proof", "holds".to_owned()), ("claim", claim.to_owned())];
        let json = [("outcome", json!("verified")), ("claim", json!(claim))];
        let json = json.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        Self { lines, json }
    }

    pub(crate) fn say(&mut self, name: &'static str, text: String, value: Value) {
        self.lines.push((name, text));
        self.json.insert(name.replace(' ', "_"), value);
    }

    pub(crate) fn mean(&mut self, text: &str) {
        self.lines.push(("means", text.to_owned()));
    }

    fn groups(&mut self, opened: &Opened) {
        if let Some(time) = &opened.time {
            let suspect = " (the clock was suspect)";
            let quality = if time.quality == Quality::Suspect { suspect } else { "" };
            self.say("time", moment::text(time.unix_ms) + quality, json!(time.unix_ms));
        }
        if let Some(operation) = &opened.operation {
            let text = operation_text(operation);
            self.say("operation", text.clone(), json!(text));
        }
        if let Some(key) = &opened.key {
            self.key(key);
        }
        if let Some(actor) = &opened.actor {
            let pseudonym = hex(&actor.actor);
            self.say("actor", format!("pseudonym {pseudonym} of this month"), json!(pseudonym));
        }
        if let Some(authorization) = &opened.authorization {
            let policy = if authorization.policy == [0; 32] {
                "the built-in roles".to_owned()
            } else {
                format!("the policy {}", hex(&authorization.policy))
            };
            let text = format!("under {policy}, posture epoch {}", authorization.posture_epoch);
            self.say("authorization", text.clone(), json!(text));
        }
        if let Some(payload) = &opened.payload {
            self.digest("message", &payload.message);
            self.digest("output", &payload.output);
            self.digest("context", &payload.context);
        }
        if let Some(source) = &opened.source {
            let pseudonym = hex(&source.node);
            self.say("source", format!("node {pseudonym}"), json!(pseudonym));
        }
        if let Some(build) = &opened.build {
            self.digest("build", &build.build);
        }
    }

    fn key(&mut self, key: &CountedKeyGroup) {
        let (pseudonym, version) = (hex(&key.group.key), key.group.version);
        let index = (key.group.counted == Counted::Yes).then_some(key.use_index);
        let uses = index.map_or(String::new(), |index| format!(", its use {index}"));
        self.say(
            "key",
            format!("pseudonym {pseudonym} of this month, version {version}{uses}"),
            json!({"pseudonym": pseudonym, "version": version, "use_index": index}),
        );
    }

    fn digest(&mut self, name: &'static str, digest: &[u8; 32]) {
        self.say(name, format!("SHA-256 {}", hex(digest)), json!(hex(digest)));
    }

    pub(crate) fn checkpoints(&mut self, all: &[&Vouched]) {
        for vouched in all {
            let tree = vouched.checkpoint.tree;
            let root = hex(tree.root.as_bytes());
            let witnesses = match (vouched.witnesses.as_slice(), vouched.asks_for_witnesses) {
                ([], false) => "none; the policy asks for none, so it is the log's own word".into(),
                (names, _) => names.join(", "),
            };
            self.lines.extend([
                ("log", vouched.checkpoint.origin.to_string()),
                ("checkpoint", format!("{} records, root {root}", tree.size)),
                ("signed with", signers(vouched).join(" and ")),
                ("witnesses", witnesses),
            ]);
        }
        let all: Vec<_> = all.iter().map(|vouched| checkpoint_json(vouched)).collect();
        self.json.insert("checkpoints".to_owned(), Value::Array(all));
    }
}

fn operation_text(group: &OperationGroup) -> String {
    let suite = Suite::from_number(group.suite).map(|suite| format!(" with {suite}"));
    let what = match group.kind {
        Kind::Use => Operation::ALL
            .into_iter()
            .find(|operation| operation.number() == group.operation)
            .map_or("an operation", Operation::name)
            .to_owned(),
        Kind::Command => format!("command {}", group.operation),
        Kind::Start => "start of the service".to_owned(),
        Kind::Refusals => "sum of refusals".to_owned(),
        Kind::LinkUse => "use of a link of a handle".to_owned(),
        Kind::Count => "statement of how many uses there are so far".to_owned(),
    };
    let came = match (group.outcome, Reason::from_number(group.reason)) {
        (0, _) => match shown::reason(group.reason) {
            "" => "committed".to_owned(),
            why => format!("committed, {why}"),
        },
        (_, Some(reason)) => format!("refused, {reason}"),
        (_, None) => "refused".to_owned(),
    };
    format!("{what}{}: {came}", suite.unwrap_or_default())
}

/// The names of the groups that stay closed.
fn closed(opened: &Opened) -> Vec<&'static str> {
    let groups = [
        ("time", opened.time.is_none()),
        ("operation", opened.operation.is_none()),
        ("key", opened.key.is_none()),
        ("actor", opened.actor.is_none()),
        ("authorization", opened.authorization.is_none()),
        ("payload", opened.payload.is_none()),
        ("source", opened.source.is_none()),
        ("build", opened.build.is_none()),
    ];
    groups.into_iter().filter(|group| group.1).map(|group| group.0).collect()
}

impl Shown {
    /// Says whether the policy is the one that the proof names.
    pub(crate) fn policy(&mut self, given: &[u8; 32], named: Option<&[u8; 32]>) {
        let text = match named {
            None => "the proof names none".to_owned(),
            Some(named) if named == given => "the one that the proof names".to_owned(),
            Some(named) => format!(
                "another than the one under which the proof was made, of SHA-256 {}: it holds under yours, which may ask \
                 for less, or for others",
                hex(named)
            ),
        };
        let (given, named) = (hex(given), named.map(|named| hex(named)));
        let is_named = named.as_ref().map(|named| *named == given);
        self.say("policy", text, json!({"given": given, "named": named, "is_named": is_named}));
    }
}

/// What the proof of all uses of a key version shows.
pub(super) fn of_uses(proved: &Uses) -> Shown {
    let Uses { from, to, version, before, uses, vouched } = proved;
    let claim = if uses.is_empty() { "not-used" } else { "complete" };
    let mut shown = Shown::of(claim);
    let pseudonym = hex(&version.key);
    shown.say(
        "key",
        format!("pseudonym {pseudonym} of the last month, version {}", version.version),
        json!({"pseudonym": pseudonym, "version": version.version, "before": names_before(before)}),
    );
    for (index, pseudonym) in before {
        shown.lines.push(("before that", format!("{} from record {index} on", hex(pseudonym))));
    }
    shown.say("from record", from.to_string(), json!(from));
    shown.say("to record", to.to_string(), json!(to));
    shown.lines.push(("uses", uses.len().to_string()));
    for (index, number, opened) in uses {
        let time = opened.time.as_ref().map(|time| moment::text(time.unix_ms));
        let operation = opened.operation.as_ref().map(operation_text);
        let said: Vec<String> = time.into_iter().chain(operation).collect();
        shown.lines.push(("use", format!("{number} in record {index}: {}", said.join(", "))));
    }
    let all = uses.iter().map(|(index, number, opened)| {
        let mut one = Shown { lines: Vec::new(), json: Map::new() };
        one.say("record", String::new(), json!(index));
        one.say("use_index", String::new(), json!(number));
        one.groups(opened);
        Value::Object(one.json)
    });
    shown.json.insert("uses".into(), all.collect());
    shown.checkpoints(&[vouched]);
    shown.mean(
        "between these two records, themselves included, the log has these uses of the key version and no other. What \
         was done elsewhere with stolen key bytes is in no log",
    );
    shown
}

/// What the key was called before.
fn names_before(before: &[(u64, Pseudonym)]) -> Value {
    let all = before.iter();
    all.map(|(index, name)| json!({"pseudonym": hex(name), "from_record": index})).collect()
}

/// What the proof about two trees shows.
pub(super) fn of_trees(trees: &Trees) -> Shown {
    let (claim, means, pair) = match trees {
        Trees::Consistent { old, new } => (
            "consistent",
            "the later log holds all of the earlier one, in the same order, and nothing of it was altered",
            [old, new],
        ),
        Trees::Fork { one, other } => (
            "fork",
            "the log signed two histories of which none continues the other: its signers have shown one to some and \
             the other to others, or their keys are in other hands. Neither can be believed",
            [one, other],
        ),
    };
    let mut shown = Shown::of(claim);
    shown.checkpoints(&pair);
    shown.mean(means);
    shown
}

fn signers(vouched: &Vouched) -> Vec<&'static str> {
    let name = |kind| match kind {
        SignatureType::Ed25519 | SignatureType::Ed25519Cosignature => "Ed25519",
        SignatureType::MlDsa44Cosignature => "ML-DSA-44",
    };
    vouched.logs.iter().map(|key| name(key.kind())).collect()
}

fn checkpoint_json(vouched: &Vouched) -> Value {
    json!({
        "origin": vouched.checkpoint.origin.to_string(),
        "size": vouched.checkpoint.tree.size,
        "root": hex(vouched.checkpoint.tree.root.as_bytes()),
        "signed_with": signers(vouched),
        "witnesses": vouched.witnesses,
    })
}
