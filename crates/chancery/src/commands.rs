//! The commands, one module for each group, and what the groups share.

pub(crate) mod audit;
pub(crate) mod bench;
pub(crate) mod bundle;
pub(crate) mod census;
pub(crate) mod cipher;
pub(crate) mod data_key;
pub(crate) mod derive;
pub(crate) mod drill;
pub(crate) mod handle;
pub(crate) mod key;
pub(crate) mod mac;
pub(crate) mod message;
pub(crate) mod offline;
pub(crate) mod operation;
pub(crate) mod plan;
pub(crate) mod posture;
pub(crate) mod principal;
pub(crate) mod proposal;
pub(crate) mod reprotect;
pub(crate) mod rollout;
pub(crate) mod rotate;
pub(crate) mod rotation;
pub(crate) mod serve;
pub(crate) mod sign;
pub(crate) mod status;
pub(crate) mod store;
pub(crate) mod verifier;
pub(crate) mod witness;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use chancery_api::http::replies::{AnswerObject, Audit, CommandAnswer};
use chancery_api::token::TOKEN_BYTES_MAX;
use chancery_client::{Client, HolderKey, KeyHandle, Manner, Receipt, Used, operation_id};
use chancery_core::command::Command;
use chancery_core::context::{Context, Pair};
use chancery_core::id::OperationId;
use clap::Args;
use serde_json::{Value, json};

use crate::exit::{Failure, settle};
use crate::files::{OutputArgs, read_text};
use crate::parse;
use crate::render::{Format, View, remark, show};

/// The longest PEM file of a holder's key, in bytes: 4 KiB. One has about 120.
const PEM_BYTES_MAX: usize = 4 * 1024;

/// How a handle is used.
#[derive(Args, Debug)]
pub(crate) struct UseArgs {
    /// The handle's file, or `-`.
    #[arg(long, value_name = "FILE")]
    pub(crate) handle: PathBuf,
    /// A pair of the context; what the handle pins need not be said again.
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse::pair)]
    pub(crate) context: Vec<Pair>,
    /// The private key of a holder that the handle is bound to (Ed25519, PKCS#8 in PEM).
    #[arg(long, value_name = "KEY.pem")]
    pub(crate) holder: Vec<PathBuf>,
    /// For whom, while a rollout moves the key: whoever has the same sees one version at a time.
    #[arg(long, value_name = "TEXT")]
    pub(crate) routing_key: Option<String>,
}

/// How an operation is repeated.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct RepeatArgs {
    /// The operation id of an earlier attempt whose outcome is unknown: whatever happened, it has its effect once.
    #[arg(long, value_name = "UUID")]
    pub(crate) operation_id: Option<OperationId>,
}

impl RepeatArgs {
    /// Of a command that cannot be repeated.
    pub(crate) const NEVER: Self = Self { operation_id: None };

    /// The id that was given, or a fresh one.
    pub(crate) fn operation(self) -> Result<OperationId> {
        self.operation_id.map_or_else(fresh_operation, Ok)
    }
}

/// A fresh operation id.
pub(crate) fn fresh_operation() -> Result<OperationId> {
    operation_id().context("no operation id could be drawn")
}

/// A handle with all that its use takes.
pub(crate) struct Use {
    pub(crate) handle: KeyHandle,
    pub(crate) context: Context,
    pub(crate) holders: Vec<HolderKey>,
    pub(crate) operation: OperationId,
    pub(crate) routing_key: Option<String>,
}

impl UseArgs {
    /// Reads handle and holders, and completes the context by what the handle pins.
    pub(crate) fn load(&self, repeat: RepeatArgs) -> Result<Use> {
        let handle = load_handle(&self.handle)?;
        let context = handle.complete(&parse::context(&self.context)?);
        let context = context.context("the handle's pins and `--context` make no context")?;
        let holders = self.holder.iter().map(|path| load_holder(path)).collect::<Result<_>>()?;
        let (operation, routing_key) = (repeat.operation()?, self.routing_key.clone());
        Ok(Use { handle, context, holders, operation, routing_key })
    }
}

impl Use {
    /// The manner of one request.
    pub(crate) fn manner(&self, receipt: Receipt) -> Manner<'_> {
        Manner {
            operation: self.operation,
            context: &self.context,
            receipt,
            holders: &self.holders,
            routing_key: self.routing_key.as_deref(),
        }
    }
}

/// Reads a handle's file.
pub(crate) fn load_handle(path: &Path) -> Result<KeyHandle> {
    // One byte more for the line end.
    let text = read_text(path, TOKEN_BYTES_MAX + 1)?;
    KeyHandle::parse(&text).with_context(|| format!("`{}`", path.display()))
}

fn load_holder(path: &Path) -> Result<HolderKey> {
    let text = zeroize::Zeroizing::new(read_text(path, PEM_BYTES_MAX)?);
    HolderKey::from_pem(&text).with_context(|| format!("`{}`", path.display()))
}

/// Says what a use gave, unless the result itself went to standard output.
pub(crate) fn report_use(format: Format, used: &Used, output: &OutputArgs) -> Result<()> {
    if output.is_standard() {
        return Ok(());
    }
    let file = output.out.display().to_string();
    let view = View::Fields(vec![
        ("written", file.clone()),
        ("key version", used.version.to_string()),
        ("log index", used.log_index.to_string()),
        ("operation", used.operation.to_string()),
    ]);
    show(format, &view, &use_json(used, Some(&file)))
}

/// A use as JSON, without its output.
pub(crate) fn use_json(used: &Used, file: Option<&str>) -> Value {
    json!({
        "outcome": "committed",
        "operation_id": used.operation.to_string(),
        "version": used.version,
        "log_index": used.log_index,
        "written": file,
    })
}

/// Gives a command and waits for its answer.
pub(crate) fn command(
    client: &Client,
    command: &Command,
    operation: OperationId,
) -> Result<CommandAnswer, Failure> {
    let answer = settle(client.command(command, operation))?;
    if answer.audit == Some(Audit::Pending) {
        remark(
            "chancery: it is in effect and durable in the reduction journal; its record follows when the \
             service can write again, before any key is used",
        );
    }
    Ok(answer)
}

/// Reads something; a read that is not answered has no effect to ask about.
pub(crate) fn read(client: &Client, command: &Command) -> Result<AnswerObject, Failure> {
    match settle(client.command(command, fresh_operation()?)) {
        Ok(answer) => Ok(answer.answer),
        Err(Failure::Unknown { .. }) => {
            Err(Failure::Failed(anyhow::anyhow!("no answer came; try again")))
        }
        Err(other) => Err(other),
    }
}

/// The service answered with something that the command does not ask for. Asked again, it answers the same.
#[derive(Debug, thiserror::Error)]
#[error("the service answered something else than was asked; is it of another version?")]
pub(crate) struct Unexpected;

/// [`Unexpected`], as a failure.
pub(crate) fn unexpected() -> Failure {
    Failure::Failed(Unexpected.into())
}

/// A command's answer as JSON.
pub(crate) fn answer_json<T: serde::Serialize>(answer: &T) -> Result<Value> {
    serde_json::to_value(answer).context("the answer has no JSON form")
}
