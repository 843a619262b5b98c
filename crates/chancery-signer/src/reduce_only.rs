//! The process that only takes reductions, where the signer's disk fails again and again.
//!
//! It unwraps no key and opens neither store nor log: a reduction is checked against the public keys of the
//! roots file, put into the reduction journal, and answered as committed with its audit pending. The next
//! signer records it before any key is used again. Everything else is refused as `audit-failed`.
//!
//! What it does not do: say whether the key or the handle that a reduction names exists. Whatever it finds,
//! it takes nothing but authority away; what came of it is on record after the next start.

use std::io::{Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chancery_api::frame::{self, Decoder, Header, Kind};
use chancery_api::message::{
    CertificateReply, CommandReply, CommandRequest, HealthReply, PublicReply, UseReply, UseRequest,
    UseResult,
};
use chancery_audit::disk::DirectoryDisk;
use chancery_audit::journal::{Journal, JournalError};
use chancery_audit::recovery::read_origin;
use chancery_audit::verify::AUDIT_DIRECTORY;
use chancery_core::cbor;
use chancery_core::limits::BATCH_ITEMS_MAX;
use chancery_core::reason::Reason;
use chancery_store::private_dir;
use rustix::process::Uid;

use crate::aside::Aside;
use crate::config::SignerError;
use crate::counters::{Counters, lock};
use crate::entropy;
use crate::peers::Peers;
use crate::retire;
use crate::roots::Roots;
use crate::sequencer::halt;
use crate::signature::{self, Checked, When};

/// The directory of journal and roots file, in the data directory.
pub(crate) const REDUCTIONS_DIRECTORY: &str = "reductions";

/// How long an answer waits for a socket: 5 s; then the socket is given up.
const WRITE_PATIENCE: Duration = Duration::from_secs(5);

/// The most bytes taken from a socket at once: 16 KiB; a reduction is far shorter.
const READ_BYTES: usize = 16 * 1_024;

/// Opens the directory of journal and roots file, and makes it if it is not there.
pub(crate) fn open_directory(data: &Path) -> Result<DirectoryDisk, SignerError> {
    let path = data.join(REDUCTIONS_DIRECTORY);
    private_dir(&path)?;
    DirectoryDisk::open(&path).map_err(SignerError::system("the reductions cannot be opened"))
}

/// What the connections share.
struct Office {
    roots: Roots,
    aside: Mutex<Aside>,
    counters: Counters,
}

/// Takes reductions on the sockets that come through `listener`, until the process ends.
///
/// # Errors
///
/// [`SignerError`] if roots file or journal cannot be used; a journal that fails later ends the process.
pub fn run(
    data: &Path,
    listener: &UnixListener,
    front_user: Option<Uid>,
) -> Result<(), SignerError> {
    retire::refuse_begun(data)?;
    let peers = Peers::new(front_user);
    let office = Arc::new(Office::open(data)?);
    for stream in listener.incoming() {
        let stream = stream.map_err(SignerError::system("the socket cannot be listened on"))?;
        if let Some(seat) = peers.admit(&stream) {
            let office = Arc::clone(&office);
            std::thread::spawn(move || {
                serve(&office, stream);
                drop(seat);
            });
        }
    }
    Ok(())
}

/// Answers one connection until it ends, or sends what is no frame.
fn serve(office: &Office, mut stream: UnixStream) {
    let mut decoder = Decoder::default();
    let mut buffer = vec![0; READ_BYTES];
    if stream.set_write_timeout(Some(WRITE_PATIENCE)).is_err() {
        return;
    }
    loop {
        let read = match stream.read(&mut buffer) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Ok(0) | Err(_) => return,
            Ok(read) => read,
        };
        decoder.push(buffer.get(..read).unwrap_or_default());
        loop {
            let answer = match decoder.next_frame() {
                Ok(None) => break,
                Ok(Some((header, body))) => office.answer(header, body),
                Err(_) => return,
            };
            let Some(answer) = answer else { return };
            if stream.write_all(&answer).is_err() {
                return;
            }
        }
    }
}

impl Office {
    fn open(data: &Path) -> Result<Self, SignerError> {
        let audit = DirectoryDisk::open(&data.join(AUDIT_DIRECTORY))
            .map_err(SignerError::system("the audit directory cannot be opened"))?;
        let origin = read_origin(&audit)?;
        let disk = open_directory(data)?;
        let roots = Roots::read(&disk, &origin)?;
        let (journal, entries) = Journal::open(&disk, origin.log_id)?;
        let aside = Mutex::new(Aside::new(journal, &entries)?);
        eprintln!(
            "chancery: only reductions are taken now, into the reduction journal ({} wait in it)",
            entries.len()
        );
        Ok(Self { roots, aside, counters: Counters::default() })
    }

    /// The frame that answers a frame; nothing for what only a signer says, or what has no form.
    fn answer(&self, header: Header, body: &[u8]) -> Option<Vec<u8>> {
        match header.kind {
            Kind::Command => {
                let request = cbor::decode(body, "command request").ok()?;
                write(Kind::CommandReply, header.tag, &self.command(&request))
            }
            Kind::Use => {
                let request: UseRequest<'_> = cbor::decode(body, "use request").ok()?;
                let items = request.items.len().clamp(1, BATCH_ITEMS_MAX);
                self.counters.refused(Reason::AuditFailed);
                let refused = UseResult::Refused { id: None, reason: Reason::AuditFailed };
                write(Kind::UseReply, header.tag, &UseReply { results: vec![refused; items] })
            }
            Kind::Health => {
                let counters = self.counters.exposition();
                write(
                    Kind::HealthReply,
                    header.tag,
                    &HealthReply { mode: Reason::AuditFailed.code().into(), counters },
                )
            }
            // The authority's key is sealed like any other; a front that is up keeps its certificate.
            Kind::Certificate => {
                let none = CertificateReply { certificate: Vec::new() };
                write(Kind::CertificateReply, header.tag, &none)
            }
            // Bundles are signed with what hangs from the root key, and that is not here.
            Kind::Public => {
                let detail =
                    "audit or store cannot be written; verifiers use the bundle that they have";
                let reason = Reason::AuditFailed;
                let refused = PublicReply::Refused { reason, detail: detail.to_owned() };
                write(Kind::PublicReply, header.tag, &refused)
            }
            Kind::UseReply
            | Kind::CommandReply
            | Kind::HealthReply
            | Kind::CertificateReply
            | Kind::PublicReply => None,
        }
    }

    fn command(&self, request: &CommandRequest<'_>) -> CommandReply {
        self.take(request).unwrap_or_else(|(reason, detail)| {
            self.counters.refused(reason);
            CommandReply::Refused { reason, detail }
        })
    }

    fn take(&self, request: &CommandRequest<'_>) -> Result<CommandReply, (Reason, String)> {
        let early = |reason| (reason, signature::early_detail(reason).to_owned());
        let principal = self.roots.principal(request.parameters.principal);
        let principal = principal.ok_or_else(|| {
            let detail = "no principal of that id is in the roots file, which was written when the signer last \
                          could; one who was there before is";
            (Reason::SignatureInvalid, detail.to_owned())
        })?;
        // How long ago the roots were written is not known here: no clock is more than suspect.
        let when =
            When::Suspect { mark_ms: self.roots.written_ms, wall_ms: entropy::sample().wall_ms };
        let Checked { command, alive_ms } =
            signature::check(request, principal, when).map_err(early)?;
        if !command.is_reduction() {
            let detail =
                "audit or store cannot be written; only what takes authority away is taken";
            return Err((Reason::AuditFailed, detail.to_owned()));
        }
        if !principal.role.may(command.right()) {
            let detail = format!("the role `{}` does not include this", principal.role.name());
            return Err((Reason::Forbidden, detail));
        }
        let parameters = &request.parameters;
        parameters.operation.unix_ms().ok_or_else(|| early(Reason::Malformed))?;
        let mut aside = lock(&self.aside);
        if let Some(reply) = aside.reply(principal.id, parameters.operation, request.command) {
            return Ok(reply);
        }
        match aside.append(request, alive_ms) {
            Ok(()) => Ok(CommandReply::Pending),
            Err(error @ JournalError::Io(_)) => halt(&error),
            Err(error) => Err((Reason::Unavailable, error.to_string())),
        }
    }
}

fn write<T: minicbor::Encode<()>>(kind: Kind, tag: u64, body: &T) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    frame::write(&mut bytes, kind, tag, body).ok()?;
    Some(bytes)
}
