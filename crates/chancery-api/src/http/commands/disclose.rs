//! The body of `Command::Disclose`.

use chancery_core::command::Command;
use chancery_core::disclosure::{Disclosed, Disclosure};
use serde::{Deserialize, Serialize};

use super::HttpError;
use crate::http::fields::Base64;

/// What is disclosed, and to whom: months, records, or what events say of a month.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DiscloseBody {
    /// The first of the months, counted since January 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_month: Option<u16>,
    /// The last of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_month: Option<u16>,
    /// The records' indices in the log, ascending.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_indices: Option<Vec<u64>>,
    /// The month, counted since January 1970, of which is disclosed what events say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_month: Option<u16>,
    /// The X25519 key of who may open it.
    pub recipient: Base64,
}

impl From<&Disclosure> for DiscloseBody {
    fn from(disclosure: &Disclosure) -> Self {
        let recipient = Base64(disclosure.recipient.to_vec());
        let (mut first_month, mut last_month) = (None, None);
        let (mut log_indices, mut event_month) = (None, None);
        match &disclosure.what {
            Disclosed::Months { first, last } => {
                (first_month, last_month) = (Some(*first), Some(*last));
            }
            Disclosed::Records { indices } => log_indices = Some(indices.clone()),
            Disclosed::Events { month } => event_month = Some(*month),
        }
        Self { first_month, last_month, log_indices, event_month, recipient }
    }
}

/// The command that a body asks for.
pub(super) fn disclose(body: DiscloseBody) -> Result<Command, HttpError> {
    let DiscloseBody { first_month, last_month, log_indices, event_month, .. } = body;
    let what = match (first_month, last_month, log_indices, event_month) {
        (Some(first), Some(last), None, None) => Disclosed::Months { first, last },
        (None, None, Some(indices), None) => Disclosed::Records { indices },
        (None, None, None, Some(month)) => Disclosed::Events { month },
        _ => {
            let what = "what is disclosed is `first_month` and `last_month`, or `log_indices`, or `event_month`";
            return Err(HttpError::Malformed(what));
        }
    };
    let recipient = body.recipient.0.try_into();
    let recipient =
        recipient.map_err(|_| HttpError::Malformed("`recipient` is an X25519 key of 32 bytes"))?;
    Ok(Command::Disclose(Disclosure { what, recipient }))
}
