//! Names of sealed files, which are neither those of rows nor of one another.

use chancery_audit::index::PartHead;

/// What a sealed file is called, which is bound to its contents.
pub(crate) struct FileName(Vec<u8>);

impl FileName {
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Of the resume file of a log.
    pub(crate) fn resume(log_id: &[u8; 32]) -> Self {
        Self([b"resume".as_slice(), log_id].concat())
    }

    /// Of a part of a log's index.
    pub(crate) fn part(head: &PartHead) -> Self {
        Self([b"index".as_slice(), &head.binding()].concat())
    }
}
