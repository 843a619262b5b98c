//! `handle`: capabilities, issued and revoked by the service, narrowed and read without it.

use std::num::NonZeroU64;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};
use chancery_api::http::replies::AnswerObject;
use chancery_client::{KeyHandle, public_from_pem, unix_ms};
use chancery_core::command::{Command, NewHandle};
use chancery_core::context::Pair;
use chancery_core::handle::{Caveat, LinkId, Operation, Operations};
use chancery_core::id::{HandleId, NodeId, PrincipalId};
use chancery_core::name::Name;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::cli::Shared;
use crate::commands::key::key;
use crate::commands::{PEM_BYTES_MAX, RepeatArgs, answer_json, command, load_handle, unexpected};
use crate::connection;
use crate::exit::{Failure, Misuse};
use crate::files::{OutputArgs, Secrecy, read_text};
use crate::moment;
use crate::parse;
use crate::render::{View, show};

/// Issue, narrow, read and revoke handles.
///
/// A handle is a capability: whoever has it can use its key, for what the handle says and until it expires.
#[derive(Args, Debug)]
#[command(
    arg_required_else_help = true,
    after_help = "\
Examples:
  chancery handle issue invoices --ttl 15m --out invoices.handle
  chancery handle narrow invoices.handle --context customer=7 --ttl 5m --out customer-7.handle
  chancery handle show customer-7.handle"
)]
pub(crate) struct HandleArgs {
    #[command(subcommand)]
    command: HandleCommand,
}

#[derive(Debug, Subcommand)]
enum HandleCommand {
    Issue(IssueArgs),
    Narrow(NarrowArgs),
    Show(ShowArgs),
    Revoke(RevokeArgs),
}

/// Issue a handle for a key.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  chancery handle issue invoices --ttl 15m --out invoices.handle
  chancery handle issue invoices --operations verify --ttl 24h --out verify-only.handle
  chancery handle issue cards --context customer=7 --holder job.pem --out job.handle
  chancery handle issue releases --operations sign --max-uses 1 --out one-release.handle

The file is the owner's alone. Without --operations it allows all that the key's purpose is for.
--holder binds it to an Ed25519 key (public or private PEM): its user then proves possession of it.")]
struct IssueArgs {
    /// The key.
    key: Name,
    /// What may be done: sign,verify,…
    #[arg(long, value_parser = parse::operations)]
    operations: Option<Operations>,
    /// How long it lives, at most 24h.
    #[arg(long, value_parser = parse::life, default_value = "15m")]
    ttl: Duration,
    /// A pair that the context must contain.
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse::pair)]
    context: Vec<Pair>,
    /// The Ed25519 key whose possession its user must prove.
    #[arg(long, value_name = "KEY.pem")]
    holder: Option<PathBuf>,
    /// How often it, and all that is narrowed from it, may be used together.
    #[arg(long, value_name = "N")]
    max_uses: Option<NonZeroU64>,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    repeat: RepeatArgs,
}

/// Narrow a handle, without the service. The new one can do less, never more.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  chancery handle narrow invoices.handle --ttl 5m --operations sign --out short.handle
  chancery handle narrow invoices.handle --context customer=7 --out customer-7.handle

The old handle stays what it was. Revoking it revokes the new one too, and not the other way round.")]
struct NarrowArgs {
    /// The handle's file, or `-`.
    file: PathBuf,
    /// How long the new handle lives, from now.
    #[arg(long, value_parser = parse::duration)]
    ttl: Option<Duration>,
    /// What may still be done: sign,verify,…
    #[arg(long, value_parser = parse::operations)]
    operations: Option<Operations>,
    /// A pair that the context must contain.
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse::pair)]
    context: Vec<Pair>,
    /// How often the new handle, and all that is narrowed from it, may be used together.
    #[arg(long, value_name = "N")]
    max_uses: Option<NonZeroU64>,
    /// The node that counts, as `chancery status` names it; that of the handle's other counts if it has any.
    #[arg(long, value_name = "ID", requires = "max_uses")]
    node: Option<NodeId>,
    #[command(flatten)]
    output: OutputArgs,
}

/// Show what a handle says, without the service.
#[derive(Args, Debug)]
#[command(after_help = "\
Example:
  chancery handle show invoices.handle

That a handle says something does not make it so: only the service can check it.")]
struct ShowArgs {
    /// The handle's file, or `-`.
    file: PathBuf,
}

/// Revoke a handle and all that was narrowed from it, every handle of a key, or all of a principal.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  chancery handle revoke invoices.handle
  chancery handle revoke --id 01990000-0000-7000-8000-000000000000
  chancery handle revoke --key invoices --issued-before-now
  chancery handle revoke --principal 01990000-0000-7000-8000-000000000000 --issued-before-now")]
struct RevokeArgs {
    #[command(flatten)]
    which: RevokedArgs,
    #[command(flatten)]
    repeat: RepeatArgs,
    /// Every handle of `--key`, or of `--principal`, that was issued until now.
    #[arg(long, conflicts_with_all = ["file", "id"])]
    issued_before_now: bool,
}

#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
struct RevokedArgs {
    /// The handle's file, or `-`.
    file: Option<PathBuf>,
    /// The revocation id that `handle show` names.
    #[arg(long, value_name = "ID")]
    id: Option<HandleId>,
    /// The key whose handles are revoked.
    #[arg(long, value_name = "KEY", requires = "issued_before_now")]
    key: Option<Name>,
    /// The principal that issued the handles, or was issued them.
    #[arg(long, value_name = "ID", requires = "issued_before_now")]
    principal: Option<PrincipalId>,
}

/// Carries `handle` out.
pub(crate) fn run(shared: &Shared, args: HandleArgs) -> Result<(), Failure> {
    match args.command {
        HandleCommand::Issue(args) => issue(shared, args),
        HandleCommand::Narrow(args) => Ok(narrow(shared, args)?),
        HandleCommand::Show(args) => Ok(show_one(shared, &load_handle(&args.file)?, None)?),
        HandleCommand::Revoke(args) => revoke(shared, args),
    }
}

fn issue(shared: &Shared, args: IssueArgs) -> Result<(), Failure> {
    args.output.check()?;
    let operation = args.repeat.operation()?;
    let holder = args.holder.as_ref().map(|path| holder(path)).transpose()?.unwrap_or_default();
    let client = connection::client(shared)?;
    let operations = match args.operations {
        Some(operations) => operations,
        None => Operations::usual(key(&client, &args.key)?.purpose.usage()),
    };
    let asked = Command::IssueHandle(NewHandle {
        key: args.key,
        operations,
        ttl_ms: parse::milliseconds(args.ttl),
        pins: args.context,
        holder,
        subject: None,
        max_uses: args.max_uses.map(NonZeroU64::get),
    });
    let answer = command(&client, &asked, operation)?;
    let AnswerObject::Handle(token) = answer.answer else { return Err(unexpected()) };
    let handle = KeyHandle::parse(&token.0).context("the service gave no usable handle")?;
    Ok(write(shared, &handle, &args.output)?)
}

fn holder(path: &std::path::Path) -> Result<Vec<u8>> {
    let text = zeroize::Zeroizing::new(read_text(path, PEM_BYTES_MAX)?);
    let public = public_from_pem(&text).with_context(|| format!("`{}`", path.display()))?;
    Ok(public.to_vec())
}

fn narrow(shared: &Shared, args: NarrowArgs) -> Result<()> {
    args.output.check()?;
    let handle = load_handle(&args.file)?;
    let mut caveats = caveats(args.ttl, args.operations, args.context);
    if let Some(most) = args.max_uses {
        caveats.push(Caveat::Uses { most: most.get(), node: counting_node(&handle, args.node)? });
    }
    if caveats.is_empty() {
        let what = "nothing to narrow: give `--ttl`, `--operations`, `--context` or `--max-uses`";
        anyhow::bail!(Misuse(what.into()));
    }
    let narrowed = handle.narrow(&caveats).context("cannot narrow the handle")?;
    write(shared, &narrowed, &args.output)
}

fn caveats(ttl: Option<Duration>, operations: Option<Operations>, pins: Vec<Pair>) -> Vec<Caveat> {
    let expiry = ttl.map(|ttl| Caveat::Expires(unix_ms().saturating_add(parse::milliseconds(ttl))));
    let operations = operations.map(Caveat::Operations);
    expiry.into_iter().chain(operations).chain(pins.into_iter().map(Caveat::Pin)).collect()
}

/// The node that counts: the one that is named, or that of the handle's own counts.
fn counting_node(handle: &KeyHandle, named: Option<NodeId>) -> Result<NodeId> {
    let counts = handle.constraints().uses.last().map(|(_, node)| *node);
    named.or(counts).with_context(|| {
        let what = "`--max-uses` needs to know where uses are counted: give `--node ID`, as `chancery \
                    status` names it";
        Misuse(what.into())
    })
}

fn write(shared: &Shared, handle: &KeyHandle, output: &OutputArgs) -> Result<()> {
    output.write(Secrecy::Secret, format!("{}\n", handle.expose_text()).as_bytes())?;
    if output.is_standard() {
        return Ok(());
    }
    show_one(shared, handle, Some(&output.out.display().to_string()))
}

fn show_one(shared: &Shared, handle: &KeyHandle, written: Option<&str>) -> Result<()> {
    let link = HandleId::from_bytes(handle.revocation_id()?.0);
    let mut view: Vec<_> = written.iter().map(|&file| ("written", file.to_owned())).collect();
    view.extend(fields(handle, link));
    show(shared.format, &View::Fields(view), &to_json(handle, link, written))
}

fn fields(handle: &KeyHandle, link: HandleId) -> Vec<(&'static str, String)> {
    let root = &handle.described().root;
    let mut fields = vec![
        ("handle", handle.id().to_string()),
        ("key", handle.key().to_string()),
        ("purpose", handle.purpose().to_string()),
        ("operations", handle.constraints().operations.to_string()),
        ("subject", root.subject.to_string()),
        ("issued", moment::text(root.issued_ms)),
        ("expires", expiry(handle.expires_ms(), unix_ms())),
        ("revocation id", link.to_string()),
    ];
    fields.extend(pins(handle).into_iter().map(|pin| ("context", pin)));
    fields.extend(holders(handle).into_iter().map(|key| ("holder", key)));
    let uses = handle.constraints().uses.iter();
    fields.extend(uses.map(|(most, node)| ("uses", format!("at most {most}, counted by {node}"))));
    fields
}

fn to_json(handle: &KeyHandle, link: HandleId, written: Option<&str>) -> Value {
    let root = &handle.described().root;
    json!({
        "written": written,
        "handle": handle.id().to_string(),
        "key": handle.key().to_string(),
        "purpose": handle.purpose().to_string(),
        "operations": handle.constraints().operations.iter().map(Operation::name).collect::<Vec<_>>(),
        "subject": root.subject.to_string(),
        "issued_ms": root.issued_ms,
        "expires_ms": handle.expires_ms(),
        "revocation_id": link.to_string(),
        "context": pins(handle),
        "holders": holders(handle),
        "max_uses": max_uses(handle),
    })
}

fn pins(handle: &KeyHandle) -> Vec<String> {
    let pins = handle.constraints().pins.iter();
    pins.map(|pin| format!("{}={}", pin.name(), pin.value())).collect()
}

fn holders(handle: &KeyHandle) -> Vec<String> {
    handle.constraints().holders.iter().map(|key| parse::hex(key)).collect()
}

fn max_uses(handle: &KeyHandle) -> Vec<Value> {
    let uses = handle.constraints().uses.iter();
    uses.map(|(most, node)| json!({"most": most, "node": node.to_string()})).collect()
}

fn expiry(expires_ms: u64, now_ms: u64) -> String {
    let at = moment::text(expires_ms);
    match expires_ms.checked_sub(now_ms) {
        Some(left) if left > 0 => format!("{at}, in {} s", left / 1_000),
        _ => format!("{at}, it has run out"),
    }
}

fn revoke(shared: &Shared, args: RevokeArgs) -> Result<(), Failure> {
    let operation = args.repeat.operation()?;
    let RevokedArgs { file, id, key, principal } = args.which;
    let asked = match (file, id, key, principal) {
        (Some(file), ..) => {
            let link = load_handle(&file)?.revocation_id().map_err(anyhow::Error::from)?;
            Command::RevokeHandle { link }
        }
        (None, Some(id), ..) => Command::RevokeHandle { link: LinkId(*id.as_bytes()) },
        (None, None, Some(key), _) => Command::RevokeIssued { key },
        (None, None, None, Some(principal)) => Command::RevokeIssuedOf { principal },
        // Invariant: the group above requires one of the four.
        (None, None, None, None) => return Err(unexpected()),
    };
    let answer = command(&connection::client(shared)?, &asked, operation)?;
    let index = answer.log_index.map_or("none".into(), |index| index.to_string());
    let view = View::Fields(vec![
        ("revoked", "yes".into()),
        ("log index", index),
        ("operation", operation.to_string()),
    ]);
    Ok(show(shared.format, &view, &answer_json(&answer)?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_narrowing_is_one_caveat() {
        let pins = vec![Pair::parse("a=1").unwrap(), Pair::parse("b=2").unwrap()];
        let caveats = caveats(Some(Duration::from_mins(1)), parse::operations("sign").ok(), pins);
        assert_eq!(caveats.len(), 4);
        let Caveat::Expires(at) = caveats[0] else { panic!("{caveats:?}") };
        assert!(at > unix_ms() && at <= unix_ms() + 60_000);
    }

    #[test]
    fn an_expiry_says_what_is_left_of_it() {
        assert_eq!(expiry(61_000, 1_000), "1970-01-01T00:01:01Z, in 60 s");
        assert_eq!(expiry(1_000, 1_000), "1970-01-01T00:00:01Z, it has run out");
    }
}
