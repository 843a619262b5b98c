//! The log, as the service shows it to an auditor.

use chancery_api::http::replies::{AnswerObject, RecordObject};
use chancery_client::{Client, Next, Outcome, operation_id};
use chancery_core::command::{AuditQuery, Command, QUERY_RECORDS_MAX};
use chancery_export::exporter::{Log, ReadError, Records};

/// Reads records by signed commands.
pub(super) struct Reader {
    client: Client,
    since_ms: Option<u64>,
}

impl Reader {
    pub(super) fn new(client: Client, since_ms: Option<u64>) -> Self {
        Self { client, since_ms }
    }

    fn ask(&self, command: &Command) -> Result<AnswerObject, ReadError> {
        let operation = operation_id().map_err(|error| ReadError::Lost(error.to_string()))?;
        match self.client.command(command, operation) {
            Outcome::Committed(answer) => Ok(answer.answer),
            Outcome::Unknown(_) => Err(ReadError::Lost("no answer came".into())),
            Outcome::Refused(refusal) => Err(match refusal.next() {
                // A suspect clock and an audit that cannot be written are mended without this process.
                Next::TryLater | Next::AskAgain => ReadError::Lost(refusal.to_string()),
                _ => ReadError::Refused(refusal.to_string()),
            }),
        }
    }

    fn query(&self, query: AuditQuery) -> Result<Vec<RecordObject>, ReadError> {
        let query = AuditQuery { since_ms: self.since_ms, limit: QUERY_RECORDS_MAX, ..query };
        match self.ask(&Command::QueryAudit(query))? {
            AnswerObject::Records(records) => Ok(records),
            _ => Err(odd()),
        }
    }
}

impl Records for Reader {
    fn log(&mut self) -> Result<Log, ReadError> {
        match self.ask(&Command::ReadStatus)? {
            AnswerObject::Status(status) => {
                Ok(Log { origin: status.origin, size: status.log_size })
            }
            _ => Err(odd()),
        }
    }

    fn page(&mut self, from: u64) -> Result<Vec<RecordObject>, ReadError> {
        let behind = |index| AuditQuery { after: Some(index), ..AuditQuery::default() };
        if let Some(before) = from.checked_sub(1) {
            return self.query(behind(before));
        }
        // Nothing lies before the first record, which `after` could name.
        let first = AuditQuery { before: Some(1), ..AuditQuery::default() };
        let mut records = self.query(first)?;
        records.extend(self.query(behind(0))?);
        Ok(records)
    }
}

fn odd() -> ReadError {
    ReadError::Refused(
        "the service answered something else than was asked; is it of another version?".into(),
    )
}
