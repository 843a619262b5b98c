//! Plans as text: what is read, what is refused, and in which line.

use chancery_core::rollout::{Builtin, Metric, Rule};

use super::spellings::{duration_ms, duration_text, millionths, millionths_text};
use super::*;

fn standard() -> String {
    text(&Builtin::Standard.plan().unwrap())
}

/// What reading says of a text in which something was replaced once.
fn wrong(from: &str, to: &str) -> String {
    let text = standard();
    assert!(text.contains(from), "{from}");
    Written::read(&text.replacen(from, to, 1)).unwrap_err().to_string()
}

/// The rules that a text breaks in which something was replaced once, each with what stands in its line.
fn broken(from: &str, to: &str) -> Vec<(Rule, String)> {
    let text = standard();
    assert!(text.contains(from), "{from}");
    let text = text.replacen(from, to, 1);
    let written = Written::read(&text).unwrap();
    let line = |finding| text.lines().nth(written.line(finding) - 1).unwrap_or_default().to_owned();
    written.plan.check().iter().map(|finding| (finding.rule, line(finding))).collect()
}

#[test]
fn each_plan_that_comes_with_the_service_reads_as_it_is_written() {
    for builtin in Builtin::ALL {
        let plan = builtin.plan().unwrap();
        let text = text(&plan);
        assert!(text.len() <= PLAN_BYTES_MAX);
        assert_eq!(Written::read(&text).unwrap().plan, plan, "{text}");
    }
}

#[test]
fn what_is_counted_is_compared_with_a_whole_number() {
    let (from, one) = ("threshold = 0.0\n", "threshold = 1.0\n");
    let plan = Written::read(&standard().replacen(from, one, 1)).unwrap().plan;
    let probes = plan.stages.iter().flat_map(|stage| &stage.triggers);
    let probes: Vec<_> = probes.filter(|it| it.metric == Metric::ProbeFailures).collect();
    assert_eq!(probes.first().map(|it| it.threshold), Some(1));
    assert!(text(&plan).contains(one));
    assert!(wrong(from, "threshold = 0.5\n").ends_with("a count is a whole number"));
}

#[test]
fn what_has_another_form_is_named_with_its_line() {
    assert!(
        wrong("kind = \"routine\"", "kind = \"rutine\"").starts_with("line 2: `rutine` is none of")
    );
    assert!(wrong("propagation = \"5m\"", "propagation = \"5 minutes\"").starts_with("line 5: "));
    assert!(wrong("propagation = \"5m\"\n", "").contains("missing field `propagation`"));
    let unknown = wrong("kind = \"routine\"", "kind = \"routine\"\nowner = \"me\"");
    assert!(unknown.starts_with("line 3: unknown field `owner`"), "{unknown}");
    assert!(wrong("fraction = 0.01", "fraction = 1.5").ends_with("a fraction is from 0 to 1"));
    assert!(wrong("fraction = 0.01", "fraction = 0.0000001").contains("at most 6 decimals"));
    assert!(wrong("fraction = 0.01", "fraction = -0.1").contains("is not a number from 0 up"));
    assert!(wrong("fraction = 0.01", "fraction = nan").contains("is not a number from 0 up"));
    assert!(Written::read("name = ").unwrap_err().to_string().starts_with("line 1: "));
}

#[test]
fn a_rule_that_is_broken_is_found_at_its_line() {
    assert_eq!(broken("name = \"standard\"", "name = \"mine\""), []);
    assert_eq!(
        broken("advance = \"person\"", "advance = \"automatic\""),
        [(Rule::AutomaticPastNoReturn, "advance = \"automatic\"".into())]
    );
    assert_eq!(
        broken("cryptoperiod = \"366d\"", "cryptoperiod = \"1s\""),
        [(Rule::Cryptoperiod, "cryptoperiod = \"1s\"".into())]
    );
    assert_eq!(
        broken("reporters = 2", "reporters = 1"),
        [(Rule::Reporters, "reporters = 1".into())]
    );
    // What is not written is found where it is missing.
    assert_eq!(broken("reporters = 2\n", ""), [(Rule::Reporters, "[[stage.trigger]]".into())]);
    assert_eq!(broken("min = \"2d\"", "min = \"1h\""), [(Rule::RetireWait, "min = \"1h\"".into())]);
}

#[test]
fn durations_and_numbers_have_one_value_and_are_exact() {
    for (text, ms) in
        [("0s", 0), ("500ms", 500), ("90s", 90_000), ("15m", 900_000), ("366d", 31_622_400_000)]
    {
        assert_eq!((duration_ms(text), duration_text(ms)), (Ok(ms), text.to_owned()));
    }
    for text in ["", "5", "m", "-1s", "1 s", "1.5h", "1w", "99999999999999999d", "+1s"] {
        assert!(duration_ms(text).is_err(), "{text}");
    }
    for (text, value) in [("0.0", 0), ("0.000001", 1), ("0.01", 10_000), ("14.4", 14_400_000)] {
        assert_eq!((millionths(text), millionths_text(value)), (Ok(value), text.to_owned()));
    }
    assert_eq!(millionths("1"), Ok(1_000_000));
    for text in ["", ".", "1.", ".5", "1e3", "-1", "inf", "0.0000001", "99999999999999999999"] {
        assert!(millionths(text).is_err(), "{text}");
    }
}
