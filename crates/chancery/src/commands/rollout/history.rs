//! `rollout history`: the rollouts of a key of which steps are kept.

use chancery_api::http::replies::{AnswerObject, KeptRolloutObject};
use chancery_client::Client;
use chancery_core::command::Command;
use chancery_core::name::Name;

use crate::cli::Shared;
use crate::commands::{answer_json, read, unexpected};
use crate::exit::Failure;
use crate::moment;
use crate::render::{View, show};

/// Carries `rollout history` out.
pub(super) fn run(shared: &Shared, client: &Client, key: &Name) -> Result<(), Failure> {
    let answer = read(client, &Command::ListKeptRollouts { key: key.clone() })?;
    let AnswerObject::KeptRollouts(kept) = answer else { return Err(unexpected()) };
    let head = vec!["rollout", "version", "reason", "by", "state", "begun", "last step", "steps"];
    let view = View::Rows { head, rows: kept.iter().map(row).collect() };
    Ok(show(shared.format, &view, &answer_json(&kept)?)?)
}

fn row(kept: &KeptRolloutObject) -> Vec<String> {
    let is_whole = kept.first_step == 0;
    let steps = if is_whole {
        format!("{}", u64::from(kept.last_step) + 1)
    } else {
        format!("from {} to {}", kept.first_step, kept.last_step)
    };
    let halt = kept.halt.map(|halt| format!(" ({halt})")).unwrap_or_default();
    vec![
        kept.id.to_string(),
        format!("{} → {}", kept.from, kept.to),
        kept.reason.to_string(),
        kept.by.map_or_else(|| "the service".to_owned(), |by| by.to_string()),
        format!("{}{halt}", kept.status),
        if is_whole { moment::text(kept.first_ms) } else { String::new() },
        moment::text(kept.last_ms),
        steps,
    ]
}
