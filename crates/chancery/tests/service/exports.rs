//! The export over real processes: every sink, whatever it answers; an exporter that is killed; and that nobody who signs
//! waits for any of it.

mod client_certificates;
mod http;
mod scene;
mod sealed;
mod syslog;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use chancery_core::principal::Role;
use rustix::process::Signal;
use serde_json::Value;

use self::http::{Answer, HttpSink, OK};
use self::scene::{Scene, assert_all_in_order, indices_of, lines, write_profile};
use self::syslog::{Identity, Manner, Receiver, Rsyslog};
use super::people::Person;
use crate::harness::{Service, eventually, is_alive, signal, text};

#[test]
fn a_file_gets_each_record_once_while_nothing_breaks_and_the_cursor_goes_on() {
    let scene = Scene::with(3);
    let file = ["--cursor", "c"];
    let first = scene.indices();
    scene.exported("file:a.jsonl", &file);
    assert_eq!(indices_of(&lines(&scene.read("a.jsonl"))), first);
    // What is new is that keys were disclosed for it.
    scene.exported("file:a.jsonl", &file);
    assert_eq!(lines(&scene.read("a.jsonl")).len(), first.len() + 1);
    scene.sign(2);
    let every = scene.indices();
    // As a rotation of logs does it.
    fs::rename(scene.path("a.jsonl"), scene.path("a.jsonl.1")).unwrap();
    scene.exported("file:a.jsonl", &file);
    assert_eq!(indices_of(&lines(&scene.read("a.jsonl"))), every[first.len() + 1..]);
    for name in ["a.jsonl", "c"] {
        let mode = fs::metadata(scene.path(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
}

#[test]
fn an_event_has_the_leaf_that_the_proof_of_its_record_leads_to() {
    let scene = Scene::with(1);
    let every = scene.indices();
    let output = scene.export("stdout", &["--once"]);
    let events = lines(&text(&output.stdout));
    assert_eq!(indices_of(&events), every);
    let event = events.iter().find(|event| event["api"]["operation"] == "sign").unwrap();
    let (index, leaf) = (&event["unmapped"]["log_index"], &event["unmapped"]["leaf_hash"]);
    let records = scene.service.done(&["audit", "query", "--format", "json"]);
    let records: Vec<Value> = serde_json::from_str(&records).unwrap();
    let record = records.iter().find(|record| record["log_index"] == *index).unwrap();
    assert_eq!((&record["leaf"], &record["operation"]), (leaf, &"sign".into()));
    assert!(text(&output.stderr).contains(" records exported to standard output"));
}

#[test]
fn records_from_a_time_on_are_those_since_then() {
    let scene = Scene::with(1);
    scene.exported("file:none.jsonl", &["--since", "2100-01-01"]);
    assert_eq!(scene.read("none.jsonl"), "");
    let every = scene.indices();
    scene.exported("file:all.jsonl", &["--since", "1h"]);
    assert_eq!(indices_of(&lines(&scene.read("all.jsonl"))), every);
}

/// Exports to a sink that fails once, and looks at what was said and counted.
fn recovered(scene: &Scene, (first, kind): (&[Answer], &str), more: &[&str]) -> HttpSink {
    let sink = HttpSink::answering(first);
    let every = scene.indices();
    let said = scene.exported(&sink.url(), &[&["--metrics", "m"], more].concat());
    let arrived = sink.acknowledged();
    assert_eq!(arrived, every, "{kind}: {said}");
    for line in ["the sink is lost: ", "the sink is back"] {
        assert_eq!(said.matches(line).count(), 1, "{kind}: {said}");
    }
    let counted = format!("chancery_export_failures_total{{kind=\"{kind}\"}} {}\n", first.len());
    let metrics = scene.read("m");
    assert!(metrics.contains(&counted), "{counted}{metrics}");
    // Behind is the record of the keys that it was given, which came after the end that it had to reach.
    for line in ["chancery_export_sink_up 1\n", "chancery_export_lag_records 1\n"] {
        assert!(metrics.contains(line), "{line}{metrics}");
    }
    sink
}

#[test]
fn a_sink_that_fails_gets_the_batch_again() {
    let scene = Scene::with(3);
    let busy = Answer::Say(429, "retry-after: 0\r\n", "");
    let moved = Answer::Say(302, "location: http://127.0.0.1:1/\r\n", "");
    recovered(&scene, (&[Answer::Say(500, "", "")], "server"), &[]);
    recovered(&scene, (&[busy, busy, busy], "busy"), &[]);
    recovered(&scene, (&[Answer::Reset], "connection"), &[]);
    recovered(&scene, (&[Answer::Hang], "timeout"), &["--timeout", "1s"]);
    recovered(&scene, (&[moved], "not-admitted"), &[]);
    let token = "Authorization: Bearer t0ken\n";
    fs::write(scene.path("h"), token).unwrap();
    let denied =
        recovered(&scene, (&[Answer::Say(401, "", "")], "not-admitted"), &["--header-file", "h"]);
    let heads: Vec<_> = denied.requests().into_iter().map(|request| request.head).collect();
    assert_eq!(heads.len(), 2);
    assert!(heads.iter().all(|head| head.contains("authorization: bearer t0ken\r\n")));
}

#[test]
fn a_sink_that_takes_its_time_gets_every_batch_once() {
    let scene = Scene::with(3);
    let sink = HttpSink::always(Answer::Slow(Duration::from_millis(100)));
    let every = scene.indices();
    scene.exported(&sink.url(), &["--batch", "2"]);
    assert_eq!(sink.acknowledged(), every);
}

#[test]
fn a_sink_that_stays_away_ends_a_single_export_which_begins_where_it_was() {
    let scene = Scene::with(3);
    let sink = HttpSink::answering(&[OK, Answer::Hang, Answer::Hang, Answer::Hang, Answer::Hang]);
    let arguments =
        ["--batch", "4", "--cursor", "c", "--once", "--timeout", "1s", "--give-up", "1s"];
    let output = scene.export(&sink.url(), &arguments);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("the sink is lost"), "{said}");
    assert_eq!(sink.acknowledged(), scene.indices()[..4]);
    sink.recover();
    let every = scene.indices();
    scene.exported(&sink.url(), &["--cursor", "c"]);
    assert_eq!(sink.acknowledged(), every);
}

#[test]
fn a_record_that_is_refused_for_good_is_put_aside_alone() {
    let scene = Scene::with(2);
    scene.make_key("poison");
    scene.sign(3);
    let sink = HttpSink::refusing("poison");
    let every = scene.indices();
    let output = scene.export(&sink.url(), &["--once", "--cursor", "c"]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("refuses record") && said.contains("not to my taste"), "{said}");
    let before = sink.acknowledged();
    assert_eq!(before, every[..before.len()]);
    let every = scene.indices();
    let said = scene.exported(&sink.url(), &["--cursor", "c", "--dead-letter", "dead"]);
    let letters = lines(&scene.read("dead"));
    assert_eq!(letters.len(), 1, "{letters:?}");
    assert_eq!(letters[0]["event"]["entity"]["name"], "poison");
    let refused = letters[0]["event"]["unmapped"]["log_index"].as_u64().unwrap();
    assert_eq!(refused, every[before.len()]);
    assert!(said.contains(&format!("refuses record {refused}")), "{said}");
    let mut arrived = sink.acknowledged();
    arrived.insert(before.len(), refused);
    assert_eq!(arrived, every);
}

#[test]
fn otlp_gets_log_records_and_what_it_rejects_in_part_is_put_aside_and_not_sent_again() {
    let scene = Scene::with(2);
    let rejects = r#"{"partialSuccess":{"rejectedLogRecords":"1","errorMessage":"too old"}}"#;
    let sink = HttpSink::answering(&[Answer::Say(200, "", rejects)]);
    let every = scene.indices();
    let said = scene.exported(&sink.otlp(), &["--batch", "2", "--dead-letter", "dead"]);
    assert!(said.contains("1 of 2 rejected: too old"), "{said}");
    let letters: Vec<_> =
        lines(&scene.read("dead")).iter().map(|line| line["event"].clone()).collect();
    assert_eq!(indices_of(&letters), every[..2]);
    let mut bodies = Vec::new();
    for request in sink.requests() {
        assert!(request.head.starts_with("post /v1/logs "), "{}", request.head);
        let body: Value = serde_json::from_str(&request.body).unwrap();
        let records = &body["resourceLogs"][0]["scopeLogs"][0]["logRecords"];
        bodies.extend(records.as_array().unwrap().clone());
    }
    assert_eq!(bodies.len(), every.len());
    let names: Vec<_> = bodies.iter().map(|record| record["eventName"].as_str().unwrap()).collect();
    assert_eq!(names.iter().filter(|name| **name == "chancery.audit.sign").count(), 2);
}

#[test]
fn syslog_gets_messages_over_tls_and_again_those_of_a_connection_that_was_cut() {
    let scene = Scene::with(3);
    let identity = Identity::new();
    fs::write(scene.path("ca.pem"), &identity.authority).unwrap();
    for manner in [Manner::Reads, Manner::CutsFirst] {
        let every = scene.indices();
        let receiver = Receiver::new(&identity, manner);
        let to = format!("syslog+tls://127.0.0.1:{}", receiver.port);
        let said = scene.exported(&to, &["--ca", "ca.pem", "--batch", "3"]);
        assert_eq!(
            said.contains("the sink is back"),
            matches!(manner, Manner::CutsFirst),
            "{said}"
        );
        let messages = receiver.messages();
        let texts: Vec<_> = messages.iter().map(|message| message.text.as_str()).collect();
        assert_eq!(indices_of(&lines(&texts.join("\n"))), every);
        let signed = messages.iter().find(|message| message.id == "sign").unwrap();
        assert_eq!((signed.priority, signed.app.as_str()), (110, "chancery"));
        assert!(signed.time.starts_with("20") && signed.time.ends_with('Z'), "{}", signed.time);
    }
}

#[test]
fn syslog_to_somebody_whom_nobody_vouches_for_gets_nothing() {
    let scene = Scene::with(1);
    let receiver = Receiver::new(&Identity::new(), Manner::Reads);
    fs::write(scene.path("ca.pem"), Identity::new().authority).unwrap();
    let to = format!("syslog+tls://127.0.0.1:{}", receiver.port);
    let output = scene.export(&to, &["--once", "--ca", "ca.pem", "--give-up", "1s"]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("certificate"), "{said}");
    assert!(receiver.messages().is_empty());
}

#[test]
fn rsyslog_of_the_distribution_writes_every_event_down() {
    let scene = Scene::with(20);
    let identity = Identity::new();
    let rsyslog = Rsyslog::start(&identity, &scene.service.path("rsyslog"));
    fs::write(scene.path("ca.pem"), &identity.authority).unwrap();
    let to = format!("syslog+tls://127.0.0.1:{}", rsyslog.port);
    let every = scene.indices();
    scene.exported(&to, &["--ca", "ca.pem", "--batch", "7", "--cursor", "c"]);
    eventually("rsyslog has written", || rsyslog.lines().len() >= every.len());
    let written = rsyslog.lines();
    let events: Vec<_> = written.iter().map(|line| line[3].trim()).collect();
    assert_eq!(indices_of(&lines(&events.join("\n"))), every);
    let signed = written.iter().find(|line| line[2] == "sign").unwrap();
    assert_eq!(signed[..3], ["110", "chancery", "sign"]);
}

#[test]
fn an_exporter_that_is_killed_again_and_again_leaves_nothing_out_and_keeps_the_order() {
    let scene = Scene::with(40);
    let sink = HttpSink::always(Answer::Slow(Duration::from_millis(2)));
    let arguments = ["--cursor", "c", "--batch", "3"];
    for round in 1..=6 {
        let mut exporter = scene.exporter(&sink.url(), &arguments);
        eventually("some batches arrived", || sink.acknowledged().len() >= round * 6);
        exporter.kill();
    }
    let every = scene.indices();
    scene.exported(&sink.url(), &arguments);
    let arrived = sink.acknowledged();
    assert_all_in_order(&arrived, &every, 3);
    // The same to a file, in which a batch is durable before the cursor moves.
    for _ in 0..4 {
        let mut exporter = scene.exporter("file:a.jsonl", &["--cursor", "f", "--batch", "1"]);
        let before = scene.read("a.jsonl").len();
        eventually("a line was written", || scene.read("a.jsonl").len() > before);
        exporter.kill();
    }
    let every = scene.indices();
    scene.exported("file:a.jsonl", &["--cursor", "f", "--batch", "1"]);
    let text = scene.read("a.jsonl");
    let whole = text.lines().filter_map(|line| serde_json::from_str(line).ok());
    assert_all_in_order(&indices_of(&whole.collect::<Vec<_>>()), &every, 1);
}

#[test]
fn an_exporter_whose_sink_hangs_ends_at_once_when_told_to() {
    let scene = Scene::with(1);
    let sink = HttpSink::always(Answer::Hang);
    for asked in [Signal::TERM, Signal::INT] {
        let before = sink.requests().len();
        let mut exporter = scene.exporter(&sink.url(), &["--cursor", "c"]);
        eventually("the sink hangs", || sink.requests().len() > before);
        let begun = Instant::now();
        signal(exporter.0.id(), asked);
        eventually("the exporter has ended", || !is_alive(exporter.0.id()));
        // Half a second for what is under way, and as much for a machine that is busy.
        assert!(begun.elapsed() < Duration::from_millis(1_500), "{:?}", begun.elapsed());
        assert!(exporter.0.wait().unwrap().success());
    }
    sink.recover();
    let every = scene.indices();
    scene.exported(&sink.url(), &["--cursor", "c"]);
    assert_eq!(sink.acknowledged(), every);
}

#[test]
fn an_exporter_outlives_its_service() {
    let mut scene = Scene::with(1);
    let sink = HttpSink::answering(&[]);
    let _exporter = scene.exporter(&sink.url(), &["--cursor", "c", "--metrics", "m"]);
    eventually("all arrived", || sink.acknowledged() == scene.indices());
    scene.service.stop();
    let down = "chancery_export_service_up 0\n";
    eventually("the loss is in the metrics", || scene.read("m").contains(down));
    scene.service.launch();
    scene.service.wait_until_up();
    scene.sign(1);
    eventually("what came later arrived", || sink.acknowledged() == scene.indices());
}

/// How long each of some signatures took.
fn times(scene: &Scene, count: usize) -> Vec<Duration> {
    let once = || {
        let begun = Instant::now();
        scene.sign_once();
        begun.elapsed()
    };
    (0..count).map(|_| once()).collect()
}

fn p99(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times[times.len() * 99 / 100]
}

/// Four sinks that hang, fail, cut and dawdle, while the service signs: an operation that waited for one of them would
/// take the second that the sink hangs for. Quiet rounds and others alternate in one run, so that the machine is the same.
#[test]
fn no_operation_waits_for_a_sink_and_every_record_arrives_after_it_recovered() {
    let scene = Scene::with(20);
    let dawdle = Answer::Slow(Duration::from_millis(500));
    let sinks =
        [Answer::Hang, Answer::Say(500, "", ""), Answer::Reset, dawdle].map(HttpSink::always);
    let (mut quiet, mut loaded) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        quiet.extend(times(&scene, 100));
        let begin = |(name, sink): (&str, &HttpSink)| {
            let more = ["--cursor", name, "--batch", "10", "--timeout", "1s"];
            scene.exporter(&sink.url(), &more)
        };
        let before: Vec<_> = sinks.iter().map(|sink| sink.requests().len()).collect();
        let exporters: Vec<_> =
            ["c0", "c1", "c2", "c3"].into_iter().zip(&sinks).map(begin).collect();
        let asks = |(sink, before): (&HttpSink, &usize)| sink.requests().len() > *before;
        eventually("each sink was asked", || sinks.iter().zip(&before).all(asks));
        loaded.extend(times(&scene, 100));
        drop(exporters);
    }
    let (quiet, loaded) = (p99(&mut quiet), p99(&mut loaded));
    eprintln!(
        "p99 of a signature: {quiet:?} without exporters, {loaded:?} with four whose sinks fail"
    );
    let noise = Duration::from_millis(50);
    assert!(loaded < quiet * 3 + noise, "{loaded:?} after {quiet:?}");
    for (name, sink) in ["c0", "c1", "c2", "c3"].into_iter().zip(&sinks) {
        sink.recover();
        let every = scene.indices();
        scene.exported(&sink.url(), &["--cursor", name]);
        assert_all_in_order(&sink.acknowledged(), &every, 10);
    }
}

#[track_caller]
fn fails(scene: &Scene, profile: &str, (to, more): (&str, &[&str]), (code, why): (i32, &str)) {
    let output = scene.export_as(profile, to, &[&["--once"], more].concat());
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{said}");
    assert!(said.contains(why), "{said}");
}

#[test]
fn what_cannot_be_exported_is_said_and_nothing_is_sent() {
    let scene = Scene::with(1);
    let developer = Person::new(&scene.service, "dev", Role::Developer, 8);
    write_profile(&scene.service, "dev.toml", &developer);
    let to = ("file:a.jsonl", &[][..]);
    fails(&scene, "dev.toml", to, (1, "the service does not show its records"));
    fs::write(scene.path("c"), "chancery-export-cursor 1\norigin x\n").unwrap();
    let kept = ("file:a.jsonl", &["--cursor", "c"][..]);
    fails(&scene, "siem.toml", kept, (1, "the cursor is damaged"));
    let other = Service::start();
    fs::copy(other.data().join("admin.toml"), scene.path("other.toml")).unwrap();
    fs::remove_file(scene.path("c")).unwrap();
    scene.exported("file:b.jsonl", &["--cursor", "c"]);
    fails(&scene, "other.toml", kept, (1, "each log needs a cursor of its own"));
    assert_eq!(scene.read("a.jsonl"), "");
    let usage = |to: &str, more: &[&str]| fails(&scene, "siem.toml", (to, more), (2, ""));
    usage("http://198.51.100.1/", &[]);
    usage("https://u:p@siem.example/", &[]);
    usage("file:a.jsonl", &["--ca", "x"]);
    usage("file:a.jsonl", &["--header-file", "x"]);
    usage("stdout", &["--body", "ndjson"]);
    assert!(!Path::new(&scene.path("x")).exists());
}
