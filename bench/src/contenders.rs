//! The contenders.

pub(crate) mod bare;
pub(crate) mod openbao;
pub(crate) mod raw;
pub(crate) mod service;
