//! A contender: a running server and what is asked of it.

use std::rc::Rc;

use anyhow::{Result, ensure};
use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};

use crate::load::Target;
use crate::options::Name;
use crate::order::Form;
use crate::process::{Cpu, Directory, Server};

/// A server and the directory it works in; the server ends first.
pub(crate) struct Running {
    pub(crate) server: Server,
    /// Removed behind the server.
    pub(crate) directory: Directory,
}

/// A server under one of its names.
pub(crate) struct Contender {
    pub(crate) name: Name,
    pub(crate) running: Rc<Running>,
    pub(crate) single: Rc<Target>,
    pub(crate) batch: Rc<Target>,
}

impl Contender {
    /// What is asked in this form.
    pub(crate) fn target(&self, form: Form) -> Rc<Target> {
        Rc::clone(match form {
            Form::Batch => &self.batch,
            Form::Single => &self.single,
        })
    }

    /// The processor time of all its processes.
    pub(crate) fn cpu(&self) -> Result<Cpu> {
        self.running.server.cpu()
    }
}

/// Checks plain Ed25519 signatures (RFC 8032) of messages, one each.
pub(crate) fn check_ed25519(
    public: &[u8],
    messages: &[Vec<u8>],
    signatures: &[Vec<u8>],
) -> Result<()> {
    ensure!(messages.len() == signatures.len(), "{} signatures came", signatures.len());
    let key = UnparsedPublicKey::new(&ED25519, public);
    let hold = messages
        .iter()
        .zip(signatures)
        .all(|(message, signature)| key.verify(message, signature).is_ok());
    ensure!(hold, "a signature does not verify");
    Ok(())
}
