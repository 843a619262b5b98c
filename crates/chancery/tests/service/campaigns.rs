//! Campaigns over real places: through kills of who works and of the service, and what a rollout makes of the census.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command as Process, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chancery_api::http::replies::{AnswerObject, KeyCensusObject, RolloutObject};
use chancery_client::{Client, Input, Item, KeyHandle, Manner, Outcome};
use chancery_core::action::Action;
use chancery_core::campaign::CampaignState;
use chancery_core::command::{AuditQuery, CensusQuery, Command};
use chancery_core::context::{Context, Pair};
use chancery_core::handle::Operation;
use chancery_core::id::RolloutId;
use chancery_core::principal::Role;
use chancery_core::rollout::{Cause, Order, Overridable, Rotation, StageName};
use chancery_crypto::envelope::Header;
use serde_json::Value;

use super::people::{Person, query};
use super::rollouts::{CONSUMERS, is_open, quick, rollout_of, stage_of};
use crate::harness::{
    Service, ask, binary, committed, eventually, fresh, key_and_handle, name, plainly, refused,
    text,
};

/// How many ciphertexts a place here has: 4 000, enough to be killed in the middle.
const MANY: usize = 4_000;

/// A key that encrypts, and a rollout of it.
struct Encrypting {
    service: Service,
    client: Client,
    handle: KeyHandle,
}

impl Encrypting {
    fn new() -> Self {
        let service = Service::start();
        let client = service.client();
        let (_, handle) = key_and_handle(&client, "cards", "encrypt.aead:card", "aes-256-gcm");
        let issue = "handle issue cards --operations rewrap --out cards.handle";
        service.done(&issue.split(' ').collect::<Vec<_>>());
        Self { service, client, handle }
    }

    fn encrypt(&self, plaintexts: &[String]) -> Vec<Vec<u8>> {
        let context = Context::default();
        let mut all = Vec::new();
        for part in plaintexts.chunks(256) {
            let item = |text: &String| (fresh(), text.clone());
            let named: Vec<_> = part.iter().map(item).collect();
            let items: Vec<_> = named
                .iter()
                .map(|(operation, text)| Item {
                    input: Input::Message(text.as_bytes()),
                    operation: *operation,
                    context: &context,
                })
                .collect();
            let manner = plainly(fresh());
            let made = self.client.batch(&self.handle, Operation::Encrypt, &items, &manner);
            all.extend(committed(made).into_iter().map(|made| committed(made).output));
        }
        all
    }

    fn decrypt(&self, ciphertext: &[u8]) -> Outcome<Vec<u8>> {
        let used = self.client.decrypt(&self.handle, ciphertext, &plainly(fresh()));
        used.map(|used| used.output)
    }

    /// A directory of ciphertexts by their plaintexts, some deeper than others.
    fn directory(&self, called: &str, many: usize) -> PathBuf {
        let root = self.service.path(called);
        let plaintexts: Vec<_> = (0..many).map(|n| format!("{called}-{n}")).collect();
        for (n, ciphertext) in self.encrypt(&plaintexts).iter().enumerate() {
            let directory = root.join(format!("d{}", n % 7));
            fs::create_dir_all(&directory).unwrap();
            fs::write(directory.join(&plaintexts[n]), ciphertext).unwrap();
        }
        root
    }

    /// A file of ciphertexts, every other line an object.
    fn lines(&self, called: &str, many: usize) -> PathBuf {
        let path = self.service.path(called);
        let plaintexts: Vec<_> = (0..many).map(|n| format!("line-{n}")).collect();
        let mut file = String::new();
        for (n, ciphertext) in self.encrypt(&plaintexts).iter().enumerate() {
            let ciphertext = STANDARD.encode(ciphertext);
            // Writing to a `String` cannot fail.
            let _ = match n % 2 {
                0 => writeln!(file, "{ciphertext}"),
                _ => write!(file, "{{\"id\":{n},  \"ciphertext\":\"{ciphertext}\"}}\r\n"),
            };
        }
        fs::write(&path, file).unwrap();
        path
    }

    fn rotate(&self) -> RolloutId {
        let (key, plan, cause) = (name("cards"), quick(), Cause::Requested);
        let rotation = Rotation { key, plan, cause, suite: None, version: None };
        rollout_of(committed(ask(&self.client, &Command::Rotate(rotation))).answer).id
    }

    fn shown(&self, rollout: RolloutId) -> RolloutObject {
        rollout_of(committed(ask(&self.client, &Command::ShowRollout { rollout })).answer)
    }

    fn order(&self, rollout: RolloutId, order: Order) -> Outcome<RolloutObject> {
        let asked = Command::OrderRollout { rollout, order };
        ask(&self.client, &asked).map(|answer| rollout_of(answer.answer))
    }

    /// Encrypts for everybody, and opens something of each version that did.
    fn use_key(&self) {
        let mut made = BTreeMap::new();
        for consumer in 0..CONSUMERS {
            let consumer = format!("consumer-{consumer}");
            let manner = Manner { routing_key: Some(&consumer), ..plainly(fresh()) };
            let used = self.client.encrypt(&self.handle, consumer.as_bytes(), &manner);
            let used = committed(used);
            made.insert(used.version, used.output);
        }
        for ciphertext in made.values() {
            committed(self.decrypt(ciphertext));
        }
    }

    /// Uses the key until the rollout is in that stage.
    fn until(&self, rollout: RolloutId, stage: StageName) {
        eventually(&format!("{} comes", stage.code()), || {
            let is_there = stage_of(&self.shown(rollout)) == stage;
            if !is_there {
                self.use_key();
            }
            is_there
        });
    }

    fn census(&self) -> KeyCensusObject {
        let asked = Command::ReadCensus(CensusQuery::Of(name("cards")));
        let AnswerObject::Census(mut census) = committed(ask(&self.client, &asked)).answer else {
            panic!("no census")
        };
        census.keys.pop().unwrap()
    }

    /// A worker over a place; `how` is `start` or `resume`.
    fn worker(&self, how: &str, place: &Path) -> Child {
        let mut command: Process = binary();
        command.arg("--context-file").arg(self.service.data().join("admin.toml"));
        command.args(["--format", "json", "reprotect", how, "cards", "--inventory", "place"]);
        command.arg("--handle").arg(self.service.path("cards.handle")).arg(place);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    fn done(&self, arguments: &str) -> String {
        self.service.done(&arguments.split(' ').collect::<Vec<_>>())
    }

    /// A version that protects alone, and a place that another one encrypted.
    fn at_full(&self) -> RolloutId {
        let rollout = self.rotate();
        self.until(rollout, StageName::Full);
        rollout
    }
}

/// Every file below a directory, with what it holds.
fn files(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    let mut waiting = vec![root.to_owned()];
    while let Some(directory) = waiting.pop() {
        for entry in fs::read_dir(directory).unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_dir() {
                waiting.push(entry.path());
            } else {
                all.insert(entry.path(), fs::read(entry.path()).unwrap());
            }
        }
    }
    all
}

fn version(ciphertext: &[u8]) -> u32 {
    Header::parse(ciphertext).unwrap().origin.key.version
}

fn under(version_is: u32, files: &BTreeMap<PathBuf, Vec<u8>>) -> usize {
    files.values().filter(|it| version(it) == version_is).count()
}

/// Waits until a worker has put some in their places, and kills it there. How many those are.
fn killed_midway(mut worker: Child, root: &Path) -> usize {
    eventually("some are encrypted again", || under(2, &files(root)) > 0);
    // As `kill -9` does.
    worker.kill().unwrap();
    worker.wait().unwrap();
    under(2, &files(root))
}

fn ended(worker: Child) -> Value {
    let output = worker.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn a_campaign_over_a_directory_goes_through_kills_of_who_works_and_of_the_service() {
    let mut scene = Encrypting::new();
    let root = scene.directory("warehouse", MANY);
    scene.at_full();
    let done = killed_midway(scene.worker("start", &root), &root);
    let halfway = files(&root);
    assert!(done < MANY && halfway.len() == MANY, "{done} of {MANY} were done when it was killed");
    assert_eq!(under(1, &halfway) + under(2, &halfway), MANY);
    // It is not over, so another cannot begin; and whoever takes it up passes over what is done.
    let another = scene.worker("start", &root).wait_with_output().unwrap();
    assert!(text(&another.stderr).contains("is running already"), "{}", text(&another.stderr));
    let resumed = scene.worker("resume", &root);
    eventually("it goes on", || under(2, &files(&root)) > done);
    let before = under(2, &files(&root));
    scene.service.kill_all();
    assert!(before < MANY, "all were done before the service was killed");
    scene.service.launch();
    scene.service.wait_until_up();
    let document = ended(resumed);
    assert_eq!(document["campaign"]["state"], "done", "{document}");
    assert_eq!(document["campaign"]["done"], MANY, "{document}");
    let after = files(&root);
    assert_eq!((after.len(), under(2, &after)), (MANY, MANY));
    for (path, ciphertext) in &after {
        let plaintext = committed(scene.decrypt(ciphertext));
        assert_eq!(plaintext, path.file_name().unwrap().as_encoded_bytes());
    }
    // Nothing is left beside but the lock and an empty list.
    let census = scene.census();
    assert_eq!(census.campaigns[0].state, CampaignState::Done);
    let scan = census.inventories[0].scan.as_ref().unwrap();
    let counts: Vec<_> = scan.counts.iter().map(|it| (it.version, it.ciphertexts)).collect();
    assert_eq!(counts, [(1, 0), (2, MANY as u64)]);
}

#[test]
fn a_campaign_over_a_file_of_lines_goes_on_from_its_journal_and_keeps_everything_else_of_a_line() {
    let mut scene = Encrypting::new();
    // So many that the journal is written before the end: each line has some 200 bytes.
    let many = 40_000;
    let path = scene.lines("exports.ndjson", many);
    let before = fs::read_to_string(&path).unwrap();
    scene.at_full();
    let mut worker = scene.worker("start", &path);
    let journal = scene.service.path("exports.ndjson.reprotect/journal.json");
    eventually("the journal is written", || journal.exists());
    worker.kill().unwrap();
    worker.wait().unwrap();
    // What the owner has is untouched until all of it is done.
    assert!(fs::read_to_string(&path).unwrap() == before, "the old file was changed");
    let resumed = scene.worker("resume", &path);
    scene.service.kill_all();
    scene.service.launch();
    scene.service.wait_until_up();
    let document = ended(resumed);
    assert_eq!(document["campaign"]["done"], many, "{document}");
    let rewrapped = document["rewrapped"].as_u64().unwrap();
    assert!(rewrapped < many as u64, "{rewrapped}: it began anew");
    let after = fs::read_to_string(&path).unwrap();
    assert_eq!(after.lines().count(), many);
    for (n, (old, new)) in before.split('\n').zip(after.split('\n')).enumerate().take(many) {
        let taken = |line: &str| {
            let start = line.find("\"ciphertext\":\"").map_or(0, |at| at + 14);
            let end = line[start..].find('"').map_or(line.len(), |at| start + at);
            (line[..start].to_owned(), line[start..end].to_owned(), line[end..].to_owned())
        };
        let (old, new) = (taken(old), taken(new));
        assert_eq!((&old.0, &old.2), (&new.0, &new.2), "line {n}");
        let ciphertext = STANDARD.decode(&new.1).unwrap();
        assert_eq!(version(&ciphertext), 2, "line {n}");
        if n % 97 == 0 {
            let plaintext = committed(scene.decrypt(&ciphertext));
            assert_eq!(plaintext, format!("line-{n}").into_bytes());
        }
    }
}

/// The census is believed when every place was looked through since the old version protected nothing any more, and for as
/// long as nobody opens anything with it.
#[test]
fn a_version_is_retired_when_the_census_says_zero_and_one_decryption_contradicts_it() {
    let scene = Encrypting::new();
    let root = scene.directory("warehouse", 300);
    let forgotten = scene.encrypt(&["forgotten".to_owned()]).remove(0);
    let census = format!("census cards --inventory place {}", root.display());
    scene.done(&census);
    let rollout = scene.rotate();
    scene.until(rollout, StageName::Ramp);
    // Two versions protect, and a campaign would leave it to chance which.
    let early = scene.worker("start", &root).wait_with_output().unwrap();
    assert!(text(&early.stderr).contains("no version of the key protects for everybody"));
    scene.until(rollout, StageName::Soak);
    let counted = |expected: Option<u64>| {
        let shown = scene.shown(rollout);
        let gate = shown.gates.iter().find(|gate| gate.gate == "counted").unwrap();
        assert_eq!((gate.have, gate.open), (expected, expected == Some(0)), "{shown:?}");
        assert_eq!(scene.census().remaining, expected);
    };
    // What was declared before is not believed any more: others could be made since.
    counted(None);
    scene.done(&census);
    counted(Some(300));
    assert_eq!(refused(scene.order(rollout, Order::Advance)), "illegal-transition");
    ended(scene.worker("start", &root));
    counted(Some(0));
    // A ciphertext that no inventory knows.
    assert_eq!(committed(scene.decrypt(&forgotten)), b"forgotten");
    counted(Some(1));
    assert_eq!(refused(scene.order(rollout, Order::Advance)), "illegal-transition");
    let status = scene.done("reprotect status cards");
    assert!(status.contains("1 ciphertexts left"), "{status}");
    // A scan from before that does not help: it is declared again, and says when it began.
    scene.done(&census);
    counted(Some(0));
    // What the new version makes and opens, which the stage asks for, is no use of the old one.
    scene.use_key();
    counted(Some(0));
    eventually("it waits for a person alone", || {
        let shown = scene.shown(rollout);
        shown.gates.iter().all(|gate| gate.open || gate.gate == "person")
    });
    let retired = committed(scene.order(rollout, Order::Advance));
    assert_eq!(stage_of(&retired), StageName::Retire);
    for (path, ciphertext) in files(&root) {
        let plaintext = committed(scene.decrypt(&ciphertext));
        assert_eq!(plaintext, path.file_name().unwrap().as_encoded_bytes());
    }
}

/// What was said and what contradicts it is the same after a restart: both are on disk.
#[test]
fn a_contradiction_outlives_the_service_and_so_does_its_absence() {
    let mut scene = Encrypting::new();
    let root = scene.directory("warehouse", 20);
    let forgotten = scene.encrypt(&["forgotten".to_owned()]).remove(0);
    let rollout = scene.rotate();
    scene.until(rollout, StageName::Soak);
    ended(scene.worker("start", &root));
    assert_eq!(scene.census().remaining, Some(0));
    scene.service.kill_all();
    scene.service.launch();
    scene.service.wait_until_up();
    scene.client = scene.service.client();
    assert_eq!(scene.census().remaining, Some(0));
    committed(scene.decrypt(&forgotten));
    assert_eq!(scene.census().remaining, Some(1));
    scene.service.restart();
    scene.client = scene.service.client();
    assert_eq!(scene.census().remaining, Some(1));
}

#[test]
fn a_person_goes_past_the_census_on_record() {
    let scene = Encrypting::new();
    let rollout = scene.rotate();
    scene.until(rollout, StageName::Soak);
    assert!(!is_open(&scene.shown(rollout), "counted"));
    let passed = committed(scene.order(rollout, Order::Override(Overridable::Remaining)));
    assert!(is_open(&passed, "counted"));
    let operator = scene.service.profile().principal;
    assert!(passed.overrides.iter().any(|it| it.gate == "counted" && it.by == operator));
    let action = Action { kind: 2, number: 23 };
    let asked = AuditQuery { action: Some(action), limit: 10, ..AuditQuery::default() };
    let found = query(&scene.client, asked);
    assert!(found.iter().any(|record| record.actor == Some(operator)), "{found:?}");
}

#[test]
fn what_cannot_be_encrypted_again_stays_is_listed_and_ends_the_campaign_as_incomplete() {
    let scene = Encrypting::new();
    let root = scene.directory("warehouse", 50);
    let whole = files(&root);
    let paths: Vec<_> = whole.keys().cloned().collect();
    // One that was altered, one of another key, and one that is no ciphertext at all.
    let mut altered = whole[&paths[0]].clone();
    *altered.last_mut().unwrap() ^= 1;
    fs::write(&paths[0], &altered).unwrap();
    let (_, other) = key_and_handle(&scene.client, "other", "encrypt.aead:card", "aes-256-gcm");
    let foreign = committed(scene.client.encrypt(&other, b"foreign", &plainly(fresh()))).output;
    fs::write(root.join("foreign"), &foreign).unwrap();
    fs::write(root.join("readme"), b"no ciphertext").unwrap();
    scene.at_full();
    let output = scene.worker("start", &root).wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    let campaign = &document["campaign"];
    assert_eq!(campaign["state"], "incomplete", "{document}");
    assert_eq!((&campaign["done"], &campaign["failed"]), (&49.into(), &3.into()), "{document}");
    let listed = fs::read_to_string(document["failures"].as_str().unwrap()).unwrap();
    let mut listed: Vec<Value> =
        listed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    listed.sort_by_key(|line| line["at"].as_str().unwrap().to_owned());
    let at: Vec<_> = listed.iter().map(|line| line["at"].as_str().unwrap()).collect();
    let expected = [&paths[0], &root.join("foreign"), &root.join("readme")];
    assert_eq!(at, expected.map(|path| path.to_str().unwrap()));
    assert_eq!(listed[0]["code"], "verification-failed");
    assert_eq!(fs::read(&paths[0]).unwrap(), altered);
    assert_eq!(fs::read(root.join("foreign")).unwrap(), foreign);
    assert_eq!(fs::read(root.join("readme")).unwrap(), b"no ciphertext");
    // What was not recognized may be anything; and once its owner says that it is none, the header is believed.
    let census = scene.census();
    assert_eq!(census.remaining, None);
    assert_eq!(census.inventories[0].scan.as_ref().unwrap().others, 2);
    let status = scene.done("reprotect status cards");
    assert!(status.contains("of `place` 2 were not recognized"), "{status}");
    let said = format!("census cards --inventory place --others-are-none {}", root.display());
    scene.done(&said);
    assert_eq!(scene.census().remaining, Some(1));
}

/// A mistyped place, or an empty one: a scan cannot tell which.
#[test]
fn an_empty_place_is_free_of_a_version_once_its_owner_says_that_it_is_the_right_one() {
    let scene = Encrypting::new();
    let (root, full) = (scene.service.path("empty"), scene.directory("warehouse", 3));
    fs::create_dir(&root).unwrap();
    scene.at_full();
    scene.done(&format!("census cards --inventory place {}", root.display()));
    assert_eq!(scene.census().remaining, None);
    let status = scene.done("reprotect status cards");
    assert!(status.contains("of `place` nothing was found"), "{status}");
    let full = full.to_str().unwrap();
    let refused = scene.service.cli(&["census", "cards", "--inventory", "place", "--empty", full]);
    assert_eq!(refused.status.code(), Some(1), "{}", text(&refused.stderr));
    assert!(text(&refused.stderr).contains("is not empty"), "{}", text(&refused.stderr));
    assert_eq!(scene.census().remaining, None);
    scene.done(&format!("census cards --inventory place --empty {}", root.display()));
    assert_eq!(scene.census().remaining, Some(0));
}

/// One line with a slip in it, and one in a context that the handle does not allow: the others are encrypted again.
#[test]
fn a_line_that_the_handle_does_not_allow_is_listed_and_the_others_are_encrypted_again() {
    let scene = Encrypting::new();
    let path = scene.service.path("lines");
    let pinned = Context::new(vec![Pair::parse("customer=7").unwrap()]).unwrap();
    let sealed = |context: &Context| {
        let manner = Manner { context, ..plainly(fresh()) };
        STANDARD.encode(committed(scene.client.encrypt(&scene.handle, b"a card", &manner)).output)
    };
    let line = |context: &str| {
        format!("{{\"ciphertext\":\"{}\",\"context\":{context}}}", sealed(&Context::default()))
    };
    let lines = [sealed(&pinned), line("{\"customer\":\"8\"}"), line("8"), sealed(&pinned)];
    fs::write(&path, lines.join("\n")).unwrap();
    scene.at_full();
    scene.done(
        "handle issue cards --operations rewrap --context customer=7 --force --out cards.handle",
    );
    let output = scene.worker("start", &path).wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    let listed = fs::read_to_string(document["failures"].as_str().unwrap()).unwrap();
    let listed: Vec<Value> =
        listed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let codes: Vec<_> = listed.iter().map(|line| [&line["at"], &line["code"]]).collect();
    assert_eq!(codes, [["line 2", "not-authorized"], ["line 3", "not-rewrapped"]]);
    let after = fs::read_to_string(&path).unwrap();
    let after: Vec<_> = after.split('\n').collect();
    assert_eq!(after[1..3], lines[1..3]);
    for again in [after[0], after[3]] {
        assert_eq!(version(&STANDARD.decode(again).unwrap()), 2);
    }
    // Each that is left counts for the old version, the one with the slip too.
    assert_eq!(scene.census().remaining, Some(2));
}

#[test]
fn a_handle_of_another_key_is_refused_before_anything_is_looked_at() {
    let scene = Encrypting::new();
    let root = scene.directory("warehouse", 3);
    key_and_handle(&scene.client, "other", "encrypt.aead:card", "aes-256-gcm");
    scene.done("handle issue other --operations rewrap --force --out cards.handle");
    let output = scene.worker("start", &root).wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", text(&output.stderr));
    assert!(
        text(&output.stderr).contains("of another key than `cards`"),
        "{}",
        text(&output.stderr)
    );
    assert!(scene.census().inventories.is_empty());
    assert!(!scene.service.path("warehouse.reprotect").exists());
}

#[test]
fn whoever_pauses_a_campaign_stops_who_works_on_it_and_it_goes_on_when_let() {
    let scene = Encrypting::new();
    let root = scene.directory("warehouse", 20_000);
    scene.at_full();
    let worker = scene.worker("start", &root);
    eventually("it is heard", || {
        scene.census().campaigns.iter().any(|campaign| campaign.heard_ago_ms.is_some())
    });
    let developer = Person::new(&scene.service, "ada", Role::Developer, 61);
    let id = scene.census().campaigns[0].id;
    let order = chancery_core::campaign::CampaignOrder::Pause(id);
    committed(ask(&developer.client(), &Command::OrderCampaign(order)));
    let output = worker.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    let said = text(&output.stderr);
    assert!(said.contains("is paused") && said.contains(&developer.id.to_string()), "{said}");
    let halfway = files(&root);
    assert_eq!(under(1, &halfway) + under(2, &halfway), 20_000);
    assert_eq!(scene.census().campaigns[0].state, CampaignState::Paused);
    let document = ended(scene.worker("resume", &root));
    assert_eq!(document["campaign"]["done"], 20_000, "{document}");
    assert_eq!(under(2, &files(&root)), 20_000);
}

/// Each person as a role allows, and the places of one another are kept apart.
#[test]
fn an_auditor_reads_the_census_and_changes_nothing() {
    let scene = Encrypting::new();
    let root = scene.directory("warehouse", 3);
    scene.done(&format!("census cards --inventory place {}", root.display()));
    let auditor = Person::new(&scene.service, "eve", Role::Auditor, 62);
    let client = auditor.client();
    let read = committed(ask(&client, &Command::ReadCensus(CensusQuery::After(None))));
    let AnswerObject::Census(census) = read.answer else { panic!("no census") };
    assert_eq!(census.keys.len(), 1);
    let (key, inventory) = (name("cards"), name("place"));
    let order = chancery_core::campaign::CampaignOrder::Start { key, inventory };
    assert_eq!(refused(ask(&client, &Command::OrderCampaign(order))), "forbidden");
    let withdraw = "census cards --inventory place --withdraw";
    let shown = scene.done(withdraw);
    assert!(shown.contains("withdrawn"), "{shown}");
    assert_eq!(scene.census().remaining, None);
}
