//! What asking a set can end with other than an answer of the set. Whether anything may have happened follows from the
//! kind alone: only [`Kind::Unknown`] leaves it open.

/// The kinds of failures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The node says that the request does not say anything that could be done.
    Malformed,
    /// There is no such set.
    NotFound,
    /// The node disagrees about whose account it is.
    WrongSet,
    /// What answers the question is still being put together from the set's log.
    IndexBuilding,
    /// Too many requests wait for the set.
    QueueFull,
    /// The set had no leader until the deadline.
    NoLeader,
    /// The deadline passed first.
    DeadlineExceeded,
    /// Sent, and its end is not known.
    Unknown,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct Failure {
    /// What it means.
    pub kind: Kind,
    /// For people.
    pub detail: String,
}

impl Failure {
    /// A failure of that kind.
    pub fn new(kind: Kind, detail: impl Into<String>) -> Failure {
        Failure { kind, detail: detail.into() }
    }
}
