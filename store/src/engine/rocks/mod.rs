//! What is special about the real database: the files beside it and a look at its log before it opens. Above it is
//! [`crate::engine`].

pub(super) mod format;
pub(super) mod marker;
pub(super) mod wal;
