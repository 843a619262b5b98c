//! The body of `Command::Disclose`.

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
    /// The X25519 key of the second person: then the months are those of everything, the service's own records too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub second_recipient: Option<Base64>,
}

impl From<&Disclosure> for DiscloseBody {
    fn from(disclosure: &Disclosure) -> Self {
        let recipient = Base64(disclosure.recipient.to_vec());
        let (mut first_month, mut last_month, mut log_indices) = (None, None, None);
        let (mut event_month, mut second_recipient) = (None, None);
        match &disclosure.what {
            Disclosed::Months { first, last } => {
                (first_month, last_month) = (Some(*first), Some(*last));
            }
            Disclosed::Records { indices } => log_indices = Some(indices.clone()),
            Disclosed::Everything { first, last, second } => {
                (first_month, last_month) = (Some(*first), Some(*last));
                second_recipient = Some(Base64(second.to_vec()));
            }
            Disclosed::Events { month } => event_month = Some(*month),
        }
        Self { first_month, last_month, log_indices, event_month, recipient, second_recipient }
    }
}

/// The disclosure that a body asks for.
pub(super) fn disclosure(body: DiscloseBody) -> Result<Disclosure, HttpError> {
    let second = body
        .second_recipient
        .map(|key| recipient(key, "`second_recipient` is an X25519 key of 32 bytes"))
        .transpose()?;
    let months = body.first_month.zip(body.last_month);
    let is_half = body.first_month.is_some() != body.last_month.is_some();
    let what = match (months, body.log_indices, body.event_month, second) {
        (Some((first, last)), None, None, None) => Disclosed::Months { first, last },
        (Some((first, last)), None, None, Some(second)) => {
            Disclosed::Everything { first, last, second }
        }
        (None, Some(indices), None, None) if !is_half => Disclosed::Records { indices },
        (None, None, Some(month), None) if !is_half => Disclosed::Events { month },
        _ => {
            let what = "what is disclosed is `first_month` and `last_month`, or `log_indices`, or `event_month`";
            return Err(HttpError::Malformed(what));
        }
    };
    let recipient = recipient(body.recipient, "`recipient` is an X25519 key of 32 bytes")?;
    Ok(Disclosure { what, recipient })
}

fn recipient(key: Base64, wrong: &'static str) -> Result<[u8; 32], HttpError> {
    key.0.try_into().map_err(|_| HttpError::Malformed(wrong))
}
