//! The material of a version that a command makes: drawn in the pool before, or brought in with the command.

use chancery_core::authority::Refusal;
use chancery_core::command::{Command, NewKey};
use chancery_core::name::Scope;
use chancery_core::reason::Reason;
use chancery_crypto::key::PrivateKey;
use zeroize::Zeroizing;

use super::{StoreThread, unavailable};
use crate::commands::{CommandJob, Verified};
use crate::counters::lock;
use crate::others::Others;

/// Material made or brought in for a new version.
pub(super) struct NewMaterial {
    pub(super) secret: Zeroizing<Vec<u8>>,
    pub(super) public: Vec<u8>,
    pub(super) scope: Scope,
}

impl NewMaterial {
    pub(super) fn of(key: &PrivateKey, scope: Scope) -> Result<Self, Refusal> {
        let secret = key.expose_secret().map_err(|_| unavailable())?;
        let public = key.public().map(|public| public.spki().to_vec()).unwrap_or_default();
        Ok(Self { secret, public, scope })
    }
}

impl StoreThread {
    /// The key material that was made, or what was brought in, after it was checked that there is a use for it.
    pub(super) fn material(&self, job: &CommandJob) -> Result<Option<NewMaterial>, Refusal> {
        let Verified { principal, command, .. } = &job.verified;
        match command {
            Command::CreateKey(new) | Command::ImportKey { new, .. } => {
                lock(&self.shared.core).authority.check_new_key(principal, new)?;
                self.check_witnesses(new)?;
                let key = match command {
                    Command::ImportKey { one_time, sealed, .. } => {
                        &self.shared.imports.open(new, one_time, sealed)?
                    }
                    _ => job.made.as_ref().ok_or_else(unavailable)?,
                };
                NewMaterial::of(key, new.scope.clone()).map(Some)
            }
            Command::Rotate(rotation) => {
                let core = lock(&self.shared.core);
                let wanted = core.authority.check_rotation(principal, rotation)?;
                let Some((suite, key)) = wanted else { return Ok(None) };
                // A rollout that ended in between left another algorithm behind: the command is given again.
                let made = job.made.as_ref().filter(|made| made.suite() == suite);
                NewMaterial::of(made.ok_or_else(unavailable)?, key.scope.clone()).map(Some)
            }
            _ => Ok(None),
        }
    }

    fn check_witnesses(&self, new: &NewKey) -> Result<(), Refusal> {
        let asks = self.shared.others.as_ref().is_some_and(Others::asks_for_witnesses);
        if !new.witnessed || asks {
            return Ok(());
        }
        let detail = "this service has no witnesses; `serve --witness-policy FILE` names them";
        Err(Refusal { reason: Reason::Unwitnessed, detail: detail.to_owned() })
    }
}
