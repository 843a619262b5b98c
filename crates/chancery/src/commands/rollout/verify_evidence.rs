//! `rollout verify-evidence`: what a rollout's evidence shows, with no service and no network.

use std::path::PathBuf;

use chancery_audit::evidence::{EVIDENCE_BYTES_MAX, Evidence, OnRecord, Proved};
use chancery_core::bundle::Issued;
use chancery_core::rollout::{Counted, STEPS_KEPT, StepRow};
use clap::Args;
use serde_json::{Value, json};

use super::steps;
use crate::cli::Shared;
use crate::commands::audit::shown::Shown;
use crate::exit::Failure;
use crate::files::Input;
use crate::moment;
use crate::parse::hex;
use crate::policy;
use crate::render::{View, show};

/// Say what the evidence of a rollout shows, from the file and a policy alone: no network, no service.
///
/// Every step is held against its record in the log, and the rules of the engine are run again on what the step says was
/// seen. The policy names the keys of the log, and the witnesses that must have signed; get it from whom you trust, not with
/// the file. Exits with 4 if anything does not hold.
#[derive(Args, Debug)]
#[command(after_help = "\
Example:
  chancery rollout verify-evidence invoices.evidence --policy log.policy

Shown is that the log has these steps, in this order, with nothing missing in this chain and nothing altered since; that each
follows by the plan from what the service says that it saw; and of what was ordered, which order, under somebody's signature.
Not shown is that what the service says that it saw was so, and who gave an order: the service's word, whose record has a
pseudonym. Whoever made the file can leave out steps at its beginning and at its end; it says where it begins and ends.")]
pub(super) struct VerifyEvidenceArgs {
    /// The evidence.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Whose signatures count.
    #[arg(long, value_name = "FILE")]
    policy: PathBuf,
}

/// Carries `rollout verify-evidence` out.
pub(super) fn run(shared: &Shared, args: &VerifyEvidenceArgs) -> Result<(), Failure> {
    let trust = policy::trust(&args.policy)?;
    let bytes = Input::open(&args.file)?.read_all(EVIDENCE_BYTES_MAX)?;
    let nothing =
        |error| Failure::NotVerified(format!("`{}` shows nothing: {error}", args.file.display()));
    let evidence = Evidence::parse(&bytes).map_err(nothing)?;
    let proved = evidence.check(&trust).map_err(nothing)?;
    let mut shown = of(&proved);
    shown.policy(&trust.digest(), evidence.policy().as_ref());
    Ok(show(shared.format, &View::Fields(shown.lines), &Value::Object(shown.json))?)
}

fn of(proved: &Proved) -> Shown {
    let mut shown = Shown::of("rollout");
    let (Some(first), Some(last)) = (proved.steps.first(), proved.steps.last()) else {
        return shown;
    };
    let (lasting, seen) = (&first.step.taken.lasting, &first.step.taken.seen);
    let (id, key) = (first.step.rollout.to_string(), seen.key.name.to_string());
    shown.say("rollout", id.clone(), json!(id));
    shown.say("key", format!("{key}, id {}", first.step.key), json!(key));
    let way = format!("{} → {}", lasting.from, lasting.to);
    shown.say("version", way, json!({"from": lasting.from, "to": lasting.to}));
    let plan = hex(&lasting.plan_digest);
    let text = format!("{}, {} stages, SHA-256 {plan}", proved.plan.name, proved.plan.stages.len());
    shown.say("plan", text, json!({"name": proved.plan.name.to_string(), "digest": plan}));
    for one in &proved.steps {
        step(&mut shown, one);
    }
    let all: Vec<Value> = proved.steps.iter().map(in_json).collect();
    shown.json.insert("steps".into(), json!(all));
    for (issued, index) in &proved.bundles {
        bundle(&mut shown, issued, *index);
    }
    let all: Vec<Value> = proved.bundles.iter().map(|(it, at)| bundle_json(it, *at)).collect();
    shown.json.insert("bundles".into(), json!(all));
    shown.checkpoints(&[&proved.vouched]);
    shown.say(
        "complete",
        completeness(&first.step, &last.step),
        complete_json(&first.step, &last.step),
    );
    shown.mean(
        "the log has these steps at these places, each follows by the plan's rules from what the service says that it saw, \
         and nothing of it can be denied or altered. That it was so is the service's word: counts, acknowledgements, the \
         key's versions and times, and who gave each order. A rotation takes no second person's approval",
    );
    shown
}

fn step(shown: &mut Shown, one: &OnRecord) {
    let OnRecord { index, step, .. } = one;
    let taken = &step.taken;
    let text = format!(
        "{} in record {index}, {}: stage {}, {}, epoch {}; {}, by {}",
        step.number,
        moment::text(taken.unix_ms),
        steps::way(step),
        taken.after.status.code(),
        taken.after.epoch.number,
        steps::reason(step),
        steps::by(step),
    );
    shown.lines.push(("step", text));
    let fired = taken.counted.iter().filter(|counted| Some(counted.trigger) == taken.trigger);
    for counted in fired {
        shown.lines.push(("counted", counts(counted)));
    }
}

/// What fired, in numbers.
fn counts(counted: &Counted) -> String {
    let (new, old) = (counted.long.new, counted.long.old);
    match &counted.long.latency {
        Some(_) => format!(
            "99th percentile {} ns of {} answers of the new version, {} ns of {} of the old one",
            new.part, new.of, old.part, old.of
        ),
        None => format!(
            "{} of {} of the new version, {} of {} of the old one",
            new.part, new.of, old.part, old.of
        ),
    }
}

fn in_json(one: &OnRecord) -> Value {
    let mut value = steps::in_json(&one.step);
    if let Some(object) = value.as_object_mut() {
        object.insert("record".into(), json!(one.index));
        object.insert("approvals".into(), json!(one.approvals));
    }
    value
}

fn bundle(shown: &mut Shown, issued: &Issued, index: Option<u64>) {
    let on_record = match index {
        Some(index) => format!("issued in record {index}"),
        None => "its issue is not shown".to_owned(),
    };
    let text = format!(
        "number {} as of epoch {}, SHA-256 {}, {on_record}",
        issued.number.number,
        issued.as_of.number,
        hex(&issued.digest)
    );
    shown.lines.push(("bundle", text));
}

fn bundle_json(issued: &Issued, index: Option<u64>) -> Value {
    json!({
        "number": issued.number.number,
        "as_of": issued.as_of.number,
        "digest": hex(&issued.digest),
        "record": index,
    })
}

fn completeness(first: &StepRow, last: &StepRow) -> String {
    let begins = begins((first.number, last.number));
    let ends = if last.taken.after.status.is_over() {
        "to its end"
    } else {
        "to where it stood; steps that came later are not shown"
    };
    format!("{begins}, {ends}")
}

/// Where it begins. What the service had when it took the last step, whoever made the file could have shown.
fn begins((first, last): (u32, u32)) -> String {
    if first == 0 {
        return "from its beginning".to_owned();
    }
    let begins = format!("from step {first}; the steps before are not shown");
    match last.saturating_add(1).saturating_sub(STEPS_KEPT) {
        kept if kept >= first => begins,
        0 => format!("{begins}, though the service had all of them when it took step {last}"),
        kept => format!(
            "{begins}, though the service had those from step {kept} on when it took step {last}"
        ),
    }
}

fn complete_json(first: &StepRow, last: &StepRow) -> Value {
    json!({"from_beginning": first.number == 0, "to_end": last.taken.after.status.is_over()})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_beginning_that_is_left_out_is_told_from_one_that_the_service_no_longer_has() {
        let says = |first, last| begins((first, last));
        assert_eq!(says(0, 7), "from its beginning");
        let kept = "from step 2; the steps before are not shown";
        assert_eq!(
            says(2, STEPS_KEPT - 1),
            format!("{kept}, though the service had all of them when it took step 127")
        );
        assert_eq!(
            says(2, STEPS_KEPT),
            format!("{kept}, though the service had those from step 1 on when it took step 128")
        );
        assert_eq!(says(2, STEPS_KEPT + 1), kept);
    }
}
