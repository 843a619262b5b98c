//! What callers ask for: the same messages of every contender, rendered once, before anything is measured.

use anyhow::Result;
use bytes::Bytes;
use serde::Serialize;

/// The items of a batch.
pub(crate) const BATCH_ITEMS: usize = 100;

/// The lengths of messages, in bytes, from a digest to a short document.
const LENGTHS: [usize; 8] = [32, 300, 64, 250, 100, 200, 150, 128];

/// How many different requests a caller goes through.
const ORDERS: usize = 8;

/// How messages are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Form {
    /// Many in one request.
    Batch,
    /// One in each request.
    Single,
}

impl Form {
    /// The messages in a request.
    pub(crate) fn items(self) -> usize {
        match self {
            Self::Batch => BATCH_ITEMS,
            Self::Single => 1,
        }
    }

    /// What the table calls it.
    pub(crate) fn text(self) -> String {
        match self {
            Self::Batch => format!("batch of {BATCH_ITEMS}"),
            Self::Single => "single".into(),
        }
    }
}

/// One request body and the messages in it.
#[derive(Clone, Debug)]
pub(crate) struct Order {
    pub(crate) body: Bytes,
    pub(crate) messages: Vec<Vec<u8>>,
}

/// The messages of the requests that a caller goes through.
pub(crate) fn messages(form: Form) -> Vec<Vec<Vec<u8>>> {
    let all: Vec<Vec<u8>> = (0..ORDERS * form.items()).map(message).collect();
    all.chunks(form.items()).map(<[Vec<u8>]>::to_vec).collect()
}

/// The requests, each rendered as a contender wants it.
pub(crate) fn orders(
    form: Form,
    render: impl Fn(&[Vec<u8>]) -> Result<Vec<u8>>,
) -> Result<Vec<Order>> {
    let rendered = messages(form).into_iter().map(|messages| {
        let body = Bytes::from(render(&messages)?);
        Ok(Order { body, messages })
    });
    rendered.collect()
}

/// A message that differs from every other.
fn message(number: usize) -> Vec<u8> {
    let length = LENGTHS.get(number % LENGTHS.len()).copied().unwrap_or(32);
    let text = format!("message {number} ");
    text.bytes().cycle().take(length).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_differ_and_have_32_to_300_bytes() {
        for form in [Form::Batch, Form::Single] {
            let orders = messages(form);
            assert!(orders.iter().all(|messages| messages.len() == form.items()));
            let all: std::collections::BTreeSet<_> = orders.iter().flatten().collect();
            assert_eq!(all.len(), ORDERS * form.items());
            assert!(all.iter().all(|message| (32..=300).contains(&message.len())));
        }
    }
}
