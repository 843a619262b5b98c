//! The published files of the log, which anybody may read.
//!
//! Where they are, and which there are, is for whoever starts the front to say: it hands in what reads them.

use std::fmt;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use chancery_api::chancery_core::reason::Reason;
use chancery_api::http::HttpError;
use chancery_api::http::problem::{Code, Problem};

use crate::reply::{Caching, Refusal, Reply};

/// Reads published files of a log.
pub trait LogFiles: fmt::Debug + Send + Sync {
    /// The file at a path within the log's directory. `None` if there is none, or the path is none of a log's.
    ///
    /// # Errors
    ///
    /// The system's.
    fn read(&self, path: &str) -> io::Result<Option<LogFile>>;
}

/// A published file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFile {
    /// What is in it.
    pub bytes: Vec<u8>,
    /// Its media type.
    pub media: &'static str,
    /// Whether it stays as it is for good.
    pub is_final: bool,
}

/// Answers with the file at `path`. Reading is left to a thread of its own, so that a slow disk keeps no other
/// request.
pub(crate) async fn answer(files: Arc<dyn LogFiles>, path: &str) -> Result<Reply, Refusal> {
    let path = path.to_owned();
    let read = tokio::task::spawn_blocking(move || files.read(&path)).await;
    let unavailable = || Problem::refused(Code::Reason(Reason::Unavailable));
    match read {
        Ok(Ok(Some(LogFile { bytes, media, is_final }))) => {
            let caching = if is_final { Caching::ForGood } else { Caching::AskAgain };
            Ok(Reply::text(media, Bytes::from(bytes)).cached(caching))
        }
        Ok(Ok(None)) => Err(HttpError::UnknownRoute.into()),
        Ok(Err(error)) => {
            Err(unavailable().because(format!("the file cannot be read: {error}")).into())
        }
        Err(_) => Err(unavailable().into()),
    }
}
