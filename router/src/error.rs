//! What a call can end with other than success. Three outcomes and no fourth: `rejected` (the ledger's deterministic
//! no), `not_applied` (certainly nothing happened) and `unknown` (it may have happened). Which status a code becomes
//! is [`crate::status`]'s business; which outcome is honest is
//! [`twinset_dispatch::retry`]'s.

use twinset_dispatch::failure::{Failure, Kind};
use twinset_ledger::Rejection;
use twinset_ledger::malformed::Malformed;

/// The router's own codes. The ledger's rejections have codes of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Code {
    /// The request does not say anything that could be done.
    Malformed,
    /// The body is larger than the router takes.
    BodyTooLarge,
    /// More transactions than one batch may have.
    BatchTooLarge,
    /// No such account, transaction, set or request.
    NotFound,
    /// No such path.
    RouteNotFound,
    /// The path knows other methods.
    MethodNotAllowed,
    /// A URL that is longer than any of this API.
    UrlTooLong,
    /// A larger head than the router takes.
    HeadersTooLarge,
    /// A body in another form than the one that is served.
    UnsupportedMediaType,
    /// Asked in the name of another host while there is no authentication.
    NotLoopback,
    /// Too many calls in progress.
    Overloaded,
    /// Too many requests wait for the set.
    SetQueueFull,
    /// No catalogue was seen yet.
    NoCatalogue,
    /// The set had no leader until the deadline.
    NoLeader,
    /// The deadline passed first.
    DeadlineExceeded,
    /// The node disagrees about whose account it is.
    WrongSet,
    /// Sent, and its end is not known.
    Unknown,
    /// An atomic batch with accounts of several sets.
    BatchAcrossSets,
    /// A group that this router has not heard of yet.
    GroupUnknown,
    /// What answers the question is still being put together.
    IndexBuilding,
}

impl Code {
    /// Every code, in the order of the documentation.
    pub const ALL: [Code; 20] = [
        Code::Malformed,
        Code::BodyTooLarge,
        Code::BatchTooLarge,
        Code::NotFound,
        Code::RouteNotFound,
        Code::MethodNotAllowed,
        Code::UrlTooLong,
        Code::HeadersTooLarge,
        Code::UnsupportedMediaType,
        Code::NotLoopback,
        Code::Overloaded,
        Code::SetQueueFull,
        Code::NoCatalogue,
        Code::NoLeader,
        Code::DeadlineExceeded,
        Code::WrongSet,
        Code::Unknown,
        Code::BatchAcrossSets,
        Code::GroupUnknown,
        Code::IndexBuilding,
    ];

    /// What clients see. Never changes.
    pub fn as_str(self) -> &'static str {
        match self {
            Code::Malformed => "malformed",
            Code::BodyTooLarge => "body_too_large",
            Code::BatchTooLarge => "batch_too_large",
            Code::NotFound => "not_found",
            Code::RouteNotFound => "route_not_found",
            Code::MethodNotAllowed => "method_not_allowed",
            Code::UrlTooLong => "url_too_long",
            Code::HeadersTooLarge => "headers_too_large",
            Code::UnsupportedMediaType => "unsupported_media_type",
            Code::NotLoopback => "not_loopback",
            Code::Overloaded => "overloaded",
            Code::SetQueueFull => "set_queue_full",
            Code::NoCatalogue => "no_catalogue",
            Code::NoLeader => "no_leader",
            Code::DeadlineExceeded => "deadline_exceeded",
            Code::WrongSet => "wrong_set",
            Code::Unknown => "unknown",
            Code::BatchAcrossSets => "batch_across_sets",
            Code::GroupUnknown => "group_unknown",
            Code::IndexBuilding => "index_building",
        }
    }
}

impl From<Kind> for Code {
    fn from(kind: Kind) -> Code {
        match kind {
            Kind::Malformed => Code::Malformed,
            Kind::NotFound => Code::NotFound,
            Kind::WrongSet => Code::WrongSet,
            Kind::IndexBuilding => Code::IndexBuilding,
            Kind::QueueFull => Code::SetQueueFull,
            Kind::NoLeader => Code::NoLeader,
            Kind::DeadlineExceeded => Code::DeadlineExceeded,
            Kind::Unknown => Code::Unknown,
        }
    }
}

/// Whether anything happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// The ledger said no, for good.
    Rejected,
    /// Certainly nothing happened.
    NotApplied,
    /// It may have happened: ask again with the same request id.
    Unknown,
}

impl Outcome {
    /// What clients see. Never changes.
    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::Rejected => "rejected",
            Outcome::NotApplied => "not_applied",
            Outcome::Unknown => "unknown",
        }
    }
}

/// Where something was decided: a client can check the promises from these alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct At {
    /// The set.
    pub set: u32,
    /// The index of the entry in the set's log.
    pub index: u64,
    /// Ledger time, in nanoseconds since the Unix epoch.
    pub time_unix_ns: u64,
}

/// Why a call did not succeed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Nothing happened, or it is not known whether: the code tells which.
    #[error("{detail}")]
    Router {
        /// The stable code.
        code: Code,
        /// For people.
        detail: String,
        /// As of when, if a set was asked.
        as_of: Option<At>,
        /// How old that may be; only after a stale read.
        age_ms: Option<u64>,
    },
    /// A command that the ledger would never take.
    #[error("{0}")]
    Malformed(#[from] Malformed),
    /// The same, of one transaction of an atomic batch: none of it was sent.
    #[error("transaction {item} of the batch: {malformed}")]
    MalformedItem {
        /// Its place, from 0.
        item: usize,
        /// What is wrong with it.
        malformed: Malformed,
    },
    /// The ledger's deterministic no.
    #[error("{0}")]
    Rejected(Box<Rejected>),
    /// What a call would be told: a dry run.
    #[error("{0}")]
    DryRun(Box<Error>),
}

/// A rejection with its place in the log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{rejection}")]
pub struct Rejected {
    /// The reason.
    pub rejection: Rejection,
    /// Where it was (first) decided.
    pub at: At,
    /// Whether this is the first answer given again.
    pub replayed: bool,
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Error {
        Error::new(failure.kind.into(), failure.detail)
    }
}

impl Error {
    /// An error of the router itself.
    pub fn new(code: Code, detail: impl Into<String>) -> Error {
        Error::Router { code, detail: detail.into(), as_of: None, age_ms: None }
    }

    /// A request that says nothing that could be done.
    pub fn malformed(detail: impl Into<String>) -> Error {
        Error::new(Code::Malformed, detail)
    }

    /// A set was asked and has no such thing, as far as an answer of that age can know.
    pub fn not_found(detail: impl Into<String>, as_of: Option<At>, age_ms: u64) -> Error {
        let age_ms = (age_ms > 0).then_some(age_ms);
        Error::Router { code: Code::NotFound, detail: detail.into(), as_of, age_ms }
    }

    /// The same, told by a dry run.
    pub fn of_dry_run(self) -> Error {
        Error::DryRun(Box::new(self))
    }

    /// Whether a dry run tells it.
    pub fn is_of_dry_run(&self) -> bool {
        matches!(self, Error::DryRun(_))
    }

    /// The error itself, whoever tells it.
    pub fn itself(&self) -> &Error {
        match self {
            Error::DryRun(error) => error.itself(),
            error => error,
        }
    }

    /// Where and when it was decided or found, and whether it was a replay.
    pub fn position(&self) -> Option<(At, bool)> {
        match self {
            Error::Router { as_of, .. } => as_of.map(|at| (at, false)),
            Error::Malformed(_) | Error::MalformedItem { .. } => None,
            Error::Rejected(rejected) => Some((rejected.at, rejected.replayed)),
            Error::DryRun(error) => error.position(),
        }
    }

    /// The stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Error::Router { code, .. } => code.as_str(),
            Error::Malformed(malformed) | Error::MalformedItem { malformed, .. } => malformed.code(),
            Error::Rejected(rejected) => rejected.rejection.code(),
            Error::DryRun(error) => error.code(),
        }
    }

    /// Whether anything happened.
    pub fn outcome(&self) -> Outcome {
        match self {
            Error::Router { code: Code::Unknown, .. } => Outcome::Unknown,
            Error::Router { .. } | Error::Malformed(_) | Error::MalformedItem { .. } => Outcome::NotApplied,
            Error::Rejected(rejected) => match rejected.rejection {
                // Not the last word: the same request may be tried again.
                Rejection::SetUnavailable { .. } | Rejection::LegOnGroup { .. } => Outcome::NotApplied,
                _ => Outcome::Rejected,
            },
            Error::DryRun(error) => error.outcome(),
        }
    }
}
