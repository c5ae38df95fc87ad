//! The one place where errors become statuses: HTTP and gRPC, and what each code means. `docs/reference/errors.md` is
//! this table in prose; a test compares them. Everything else speaks [`Error`].

use std::collections::BTreeMap;

use tonic::Code as Grpc;
use twinset_ledger::Rejection;
use twinset_ledger::account::Side;
use twinset_ledger::amount::to_decimal_string;
use twinset_ledger::date;

use crate::error::{Code, Error};
use crate::json::reply::{Position, Problem};

/// What there is to say about a code.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// As stable as the code. A rejection's is the ledger's own; those of malformed commands begin at 1001, the router's at
    /// 2001.
    pub number: u16,
    /// The stable code.
    pub code: &'static str,
    /// "rejected", "not_applied" or "unknown".
    pub outcome: &'static str,
    /// HTTP status.
    pub http: u16,
    /// gRPC status.
    pub grpc: Grpc,
    /// What it means.
    pub title: &'static str,
    /// What to do about it.
    pub advice: &'static str,
}

const fn entry(
    number: u16,
    code: &'static str,
    outcome: &'static str,
    http: u16,
    grpc: Grpc,
    title: &'static str,
    advice: &'static str,
) -> Entry {
    Entry { number, code, outcome, http, grpc, title, advice }
}

impl Entry {
    /// Whether the same request, under the same request id, may come to another end later.
    pub const fn retryable(&self) -> bool {
        matches!(self.http, 429 | 503 | 504)
    }
}

const N: &str = "not_applied";
const FIX: &str = "Correct the request.";
const NEW_ID: &str = "Correct the request and send it with a new request id: this one is used up.";
const NEW_ID_THERE: &str = "Name the right transaction. With the same one, this request id stays used up.";
const LATER: &str = "Send it again later, with the same request id.";

/// The router's own codes, in the order of [`Code`].
pub const ROUTER: [Entry; 20] = [
    entry(
        2001,
        "malformed",
        N,
        400,
        Grpc::InvalidArgument,
        "The request does not say anything that could be done.",
        FIX,
    ),
    entry(
        2002,
        "body_too_large",
        N,
        413,
        Grpc::ResourceExhausted,
        "The body is larger than this router takes.",
        "Split it.",
    ),
    entry(
        2003,
        "batch_too_large",
        N,
        413,
        Grpc::ResourceExhausted,
        "The batch has more transactions than this router takes.",
        "Split it.",
    ),
    entry(
        2004,
        "not_found",
        N,
        404,
        Grpc::NotFound,
        "There is no such account, transaction, hold, set or request.",
        "Check the id.",
    ),
    entry(
        2005,
        "route_not_found",
        N,
        404,
        Grpc::Unimplemented,
        "There is no such path.",
        "See /openapi.json.",
    ),
    entry(
        2006,
        "method_not_allowed",
        N,
        405,
        Grpc::Unimplemented,
        "The path does not know this method.",
        "See /openapi.json.",
    ),
    entry(
        2007,
        "url_too_long",
        N,
        414,
        Grpc::InvalidArgument,
        "The URL is longer than any of this API.",
        FIX,
    ),
    entry(
        2008,
        "headers_too_large",
        N,
        431,
        Grpc::ResourceExhausted,
        "The head of the request is larger than this router takes.",
        FIX,
    ),
    entry(
        2009,
        "unsupported_media_type",
        N,
        415,
        Grpc::InvalidArgument,
        "The body is not of the type that is served here, or is compressed.",
        "Send application/json in UTF-8 over HTTP, application/grpc over gRPC, and do not compress it.",
    ),
    entry(
        2010,
        "not_loopback",
        N,
        403,
        Grpc::PermissionDenied,
        "The request names another host (header Host or Origin) than this one. While there is no authentication, \
         only programs on this host are served, and no web pages of others.",
        "Use localhost, 127.0.0.1 or [::1] in the URL.",
    ),
    entry(
        2011,
        "overloaded",
        N,
        429,
        Grpc::ResourceExhausted,
        "Too many calls are in progress at this router.",
        LATER,
    ),
    entry(2012, "set_queue_full", N, 503, Grpc::Unavailable, "Too many requests wait for the set.", LATER),
    entry(
        2013,
        "no_catalogue",
        N,
        503,
        Grpc::Unavailable,
        "This router has not heard of the cluster yet.",
        LATER,
    ),
    entry(2014, "no_leader", N, 503, Grpc::Unavailable, "The set had no leader until the deadline.", LATER),
    entry(
        2015,
        "deadline_exceeded",
        N,
        503,
        Grpc::Unavailable,
        "The set had too much to do until the deadline.",
        LATER,
    ),
    entry(
        2016,
        "wrong_set",
        N,
        503,
        Grpc::Unavailable,
        "The node and the router disagree about whose account it is.",
        LATER,
    ),
    entry(
        2017,
        "unknown",
        "unknown",
        504,
        Grpc::Unknown,
        "It was sent, and whether it happened is not known.",
        "Send it again with the same request id, until another answer comes. A new id could book it twice.",
    ),
    entry(
        2018,
        "batch_across_sets",
        N,
        400,
        Grpc::InvalidArgument,
        "An atomic batch names accounts of several sets.",
        "Take accounts with the same part in braces, or book each transaction by itself.",
    ),
    entry(
        2019,
        "group_unknown",
        N,
        503,
        Grpc::Unavailable,
        "The id is kept for a group of accounts that this router has not heard of yet.",
        LATER,
    ),
    entry(
        2020,
        "index_building",
        N,
        503,
        Grpc::Unavailable,
        "A set is still reading its log for references that were booked before it kept an index of them; the detail says how \
         far it has come.",
        "Ask again later.",
    ),
];

/// The codes of commands that the ledger would never take.
pub const MALFORMED: [Entry; 24] = [
    malformed(1001, "malformed_request_id", "The request id is not 1-64 of A-Za-z0-9._:-{}."),
    malformed(1002, "malformed_account_id", "An account id is not 1-64 of A-Za-z0-9._:-{}."),
    malformed(1003, "malformed_currency", "A currency code is not 1-64 of A-Za-z0-9._:-{}."),
    malformed(1004, "malformed_subject", "A subject code is not 1-64 of A-Za-z0-9._:-{}."),
    malformed(1005, "malformed_name", "A subject's name is empty or too long."),
    malformed(1006, "scale_too_large", "A currency has too many decimal places."),
    malformed(1007, "too_few_legs", "A transaction has fewer than two legs."),
    malformed(1008, "too_many_legs", "A transaction has too many legs."),
    malformed(1009, "same_account", "Both legs of a two-leg transaction name the same account."),
    malformed(1010, "scope_account_without_leg", "The scope account is not an account of the legs."),
    malformed(1011, "too_many_legs_across_sets", "A transaction over several sets has more than 64 legs."),
    malformed(1012, "too_many_sets", "A transaction touches more than 16 sets."),
    malformed(1013, "malformed_step", "A step between nodes does not fit together. Clients never see it."),
    malformed(
        1017,
        "capture_without_scope_account",
        "A capture does not name the held account as its scope account.",
    ),
    malformed(1033, "check_back_without_expiry", "A hold that is to be checked back has no expiry."),
    malformed(1034, "malformed_initiator", "An initiator's name is not 1-64 of A-Za-z0-9._:-{}."),
    malformed(
        1018,
        "malformed_precondition",
        "A leg has a precondition twice, or its version is no whole number.",
    ),
    malformed(1014, "amount_not_positive", "An amount is zero or negative."),
    malformed(1015, "date_out_of_range", "The accounting date is outside the years 1 to 9999."),
    malformed(
        1016,
        "metadata_too_large",
        "The metadata has too many pairs, or a key or value that is too long.",
    ),
    malformed(
        1036,
        "malformed_sweep",
        "A sweep keeps less than nothing, or its interval is not 1 to 31622400 seconds, or its threshold is below what it keeps.",
    ),
    malformed(
        1037,
        "malformed_reversal_legs",
        "A reversal names both an amount and legs, or no leg, or one twice, or one that no transaction has.",
    ),
    malformed(1019, "empty_batch", "An atomic batch has no transaction."),
    malformed(
        1020,
        "restricted_leg_not_alone",
        "An account with a restricted leg has another leg in the transaction.",
    ),
];

const fn malformed(number: u16, code: &'static str, title: &'static str) -> Entry {
    entry(number, code, N, 400, Grpc::InvalidArgument, title, FIX)
}

/// The ledger's rejections, in the order of their numbers.
pub const REJECTIONS: [Entry; 39] = [
    entry(
        1,
        "request_mismatch",
        "rejected",
        409,
        Grpc::AlreadyExists,
        "The request id was used before for something else.",
        "Find out which of the two was meant; use a new request id for a new wish.",
    ),
    rejected(2, "account_not_found", "There is no such account."),
    rejected(3, "account_exists", "The account exists already."),
    rejected(4, "subject_unknown", "There is no such subject."),
    rejected(5, "subject_conflict", "The subject is defined differently."),
    rejected(6, "currency_unknown", "There is no such currency."),
    rejected(7, "currency_conflict", "The currency is defined with another scale."),
    rejected(8, "currency_mismatch", "A leg names another currency than its account's."),
    rejected(
        9,
        "excess_scale",
        "An amount has more decimal places than its currency. Nothing is ever rounded.",
    ),
    rejected(10, "amount_overflow", "An amount or a balance would be too large to keep."),
    rejected(11, "unbalanced", "Debits and credits of a currency differ."),
    rejected(12, "account_closed", "The account is closed, for good."),
    rejected(13, "account_frozen", "The account is frozen for this side."),
    rejected(14, "limit_exceeded", "The available balance would fall below the account's floor."),
    rejected(15, "account_not_empty", "Only an account whose figures are all zero can be closed."),
    refused_there(16, "transaction_not_found", "There is no such transaction."),
    refused_there(17, "not_reversible", "It is a reversal itself, or was never booked."),
    rejected(18, "reversal_exceeds", "More than what is left of the original."),
    rejected(
        19,
        "partial_reversal_of_many_legs",
        "A part of a transaction of more than two legs is reversed by naming `legs`, not an amount.",
    ),
    entry(
        20,
        "step_out_of_place",
        "rejected",
        422,
        Grpc::FailedPrecondition,
        "A step between nodes does not fit the transaction. Clients never see it.",
        FIX,
    ),
    entry(
        21,
        "set_unavailable",
        N,
        503,
        Grpc::Unavailable,
        "A set that the transaction touches did not answer the one that coordinates it in time. Nothing was booked.",
        LATER,
    ),
    rejected(22, "hold_not_found", "The account has no such hold."),
    rejected(23, "hold_ended", "The hold was captured, released or expired."),
    rejected(24, "hold_exceeded", "More than what is left of the hold."),
    rejected(
        25,
        "capture_without_outflow",
        "The legs of a capture together take nothing from the held account.",
    ),
    rejected(26, "expiry_too_early", "The end of a hold would be past, or not later than it is."),
    rejected(27, "precondition_failed", "A figure of an account is not as a leg expects it."),
    rejected(28, "batch_refused", "Another transaction of the same atomic batch was refused."),
    rejected(29, "hold_journal_full", "So much has happened to the hold that it takes only what ends it."),
    rejected(30, "restricted_outflow", "A leg says that it is restricted, and takes money from its account."),
    rejected(
        31,
        "withdrawable_exceeded",
        "What of the account may be withdrawn would fall below the account's floor.",
    ),
    rejected(
        32,
        "restriction_exceeded",
        "More than what is left of the restriction; of one that has ended, or never was, nothing is.",
    ),
    rejected(33, "account_buffered", "The account is not strict: other sets may pay it without asking."),
    refused_there(34, "suspense_not_found", "Nothing of that name is in suspense, or ever was."),
    refused_there(35, "suspense_resolved", "What was in suspense under that name was booked on before."),
    rejected(36, "sweep_not_found", "The account has no sweep."),
    rejected(37, "too_many_sweeps", "The set of the account has as many sweeps as it can have."),
    entry(
        38,
        "leg_on_group",
        N,
        503,
        Grpc::Unavailable,
        "A leg is on a group of accounts that this router has not heard of yet. Nothing was booked, or looked for.",
        LATER,
    ),
    rejected(39, "leg_not_found", "A reversal names a leg that the original does not have."),
];

const fn rejected(number: u16, code: &'static str, title: &'static str) -> Entry {
    entry(number, code, "rejected", 422, Grpc::FailedPrecondition, title, NEW_ID)
}

/// Remembered under the transaction that was to be reversed, not under an account.
const fn refused_there(number: u16, code: &'static str, title: &'static str) -> Entry {
    entry(number, code, "rejected", 422, Grpc::FailedPrecondition, title, NEW_ID_THERE)
}

/// What there is to say about an error's code.
pub fn of(error: &Error) -> &'static Entry {
    match error.itself() {
        Error::Router { code, .. } => &ROUTER[*code as usize],
        Error::Rejected(rejected) => &REJECTIONS[usize::from(rejected.rejection.number()) - 1],
        error => MALFORMED
            .iter()
            .find(|entry| entry.code == error.code())
            .unwrap_or(&ROUTER[Code::Malformed as usize]),
    }
}

/// Seconds after which trying again makes sense; None if it does not.
pub fn retry_after(error: &Error) -> Option<&'static str> {
    matches!(of(error).http, 429 | 503).then_some("1")
}

/// The error as a client sees it in JSON.
pub fn problem(error: &Error) -> Problem {
    let entry = of(error);
    let position = error.position();
    let replayed = match error.itself() {
        Error::Rejected(rejected) => Some(rejected.replayed),
        _ => None,
    };
    Problem {
        kind: "about:blank",
        title: entry.title,
        status: entry.http,
        code: error.code(),
        number: entry.number,
        outcome: error.outcome().as_str(),
        retryable: entry.retryable(),
        detail: error.to_string(),
        position: position.map(|(at, _)| Position::from(at)),
        replayed,
        dry_run: error.is_of_dry_run().then_some(true),
        fields: error_fields(error),
    }
}

/// The error as a client sees it in gRPC: what the problem over HTTP has as fields stands in the metadata.
pub fn grpc(error: &Error) -> tonic::Status {
    let entry = of(error);
    let mut status = tonic::Status::new(entry.grpc, error.to_string());
    let metadata = status.metadata_mut();
    metadata.insert("twinset-number", entry.number.into());
    let retryable = if entry.retryable() { "true" } else { "false" };
    metadata.insert("twinset-retryable", tonic::metadata::MetadataValue::from_static(retryable));
    metadata.insert("twinset-code", tonic::metadata::MetadataValue::from_static(error.code()));
    metadata.insert("twinset-outcome", tonic::metadata::MetadataValue::from_static(error.outcome().as_str()));
    if let Some((at, replayed)) = error.position() {
        let position = format!("{}-{}-{}", at.set, at.index, at.time_unix_ns);
        if let Ok(position) = position.parse() {
            metadata.insert("twinset-position", position);
        }
        let replayed = if replayed { "true" } else { "false" };
        metadata.insert("twinset-replayed", tonic::metadata::MetadataValue::from_static(replayed));
    }
    if error.is_of_dry_run() {
        metadata.insert("twinset-dry-run", tonic::metadata::MetadataValue::from_static("true"));
    }
    for (name, value) in error_fields(error) {
        let key = format!("twinset-{}", name.replace('_', "-"));
        if let (Ok(key), Ok(value)) = (key.parse::<tonic::metadata::AsciiMetadataKey>(), value.parse()) {
            metadata.insert(key, value);
        }
    }
    status
}

/// What an error says beside its code: a rejection's own fields, amounts in major units; the age of a stale answer.
pub fn error_fields(error: &Error) -> BTreeMap<&'static str, String> {
    match error.itself() {
        Error::MalformedItem { item, .. } => BTreeMap::from([("item", item.to_string())]),
        Error::Rejected(rejected) => fields(&rejected.rejection),
        Error::Router { age_ms: Some(age_ms), .. } => BTreeMap::from([("age_ms", age_ms.to_string())]),
        _ => BTreeMap::new(),
    }
}

fn fields(rejection: &Rejection) -> BTreeMap<&'static str, String> {
    let money = |minor: &i128, scale: &u8| to_decimal_string(*minor, *scale);
    let pairs = match rejection {
        Rejection::RequestMismatch { field, original } => vec![
            ("field", field.clone()),
            ("original_index", original.index().to_string()),
            ("original_offset", original.offset().to_string()),
        ],
        Rejection::AccountNotFound { account }
        | Rejection::AccountExists { account }
        | Rejection::AmountOverflow { account }
        | Rejection::AccountClosed { account }
        | Rejection::AccountBuffered { account }
        | Rejection::SweepNotFound { account }
        | Rejection::AccountNotEmpty { account } => vec![("account", account.clone())],
        Rejection::LegOnGroup { group } => vec![("group", group.clone())],
        Rejection::TooManySweeps { most } => vec![("most", most.to_string())],
        Rejection::SubjectUnknown { subject } | Rejection::SubjectConflict { subject } => {
            vec![("subject", subject.clone())]
        }
        Rejection::CurrencyUnknown { currency } | Rejection::CurrencyConflict { currency } => {
            vec![("currency", currency.clone())]
        }
        Rejection::CurrencyMismatch { account, expected } => {
            vec![("account", account.clone()), ("expected", expected.clone())]
        }
        Rejection::ExcessScale { account, scale } => {
            vec![("account", account.clone()), ("scale", scale.to_string())]
        }
        Rejection::Unbalanced { currency, debits, credits, scale } => vec![
            ("currency", currency.clone()),
            ("debits", money(debits, scale)),
            ("credits", money(credits, scale)),
        ],
        Rejection::AccountFrozen { account, side } => {
            let side = if *side == Side::Debit { "debit" } else { "credit" };
            vec![("account", account.clone()), ("side", side.to_string())]
        }
        Rejection::LimitExceeded { account, available, limit, needed, scale } => vec![
            ("account", account.clone()),
            ("available", money(available, scale)),
            ("limit", money(limit, scale)),
            ("needed", money(needed, scale)),
        ],
        Rejection::WithdrawableExceeded { account, withdrawable, limit, needed, scale } => vec![
            ("account", account.clone()),
            ("withdrawable", money(withdrawable, scale)),
            ("limit", money(limit, scale)),
            ("needed", money(needed, scale)),
        ],
        Rejection::RestrictionExceeded { account, restriction, left, scale } => vec![
            ("account", account.clone()),
            ("restriction", restriction.to_string()),
            ("left", money(left, scale)),
        ],
        Rejection::TransactionNotFound { transaction }
        | Rejection::NotReversible { transaction }
        | Rejection::PartialReversalOfManyLegs { transaction } => {
            vec![("transaction", transaction.to_string())]
        }
        Rejection::SuspenseNotFound { item } | Rejection::SuspenseResolved { item } => {
            vec![("suspended", item.to_string())]
        }
        Rejection::ReversalExceeds { left, scale, leg } => {
            let leg = leg.map(|leg| ("leg", leg.to_string()));
            [("left", money(left, scale))].into_iter().chain(leg).collect()
        }
        Rejection::LegNotFound { transaction, leg } => {
            vec![("transaction", transaction.to_string()), ("leg", leg.to_string())]
        }
        Rejection::StepOutOfPlace { attempt } => vec![("attempt", attempt.to_string())],
        Rejection::SetUnavailable { set } => vec![("set", set.to_string())],
        Rejection::HoldNotFound { account, hold } => {
            vec![("account", account.clone()), ("hold", hold.to_string())]
        }
        Rejection::HoldEnded { hold } | Rejection::HoldJournalFull { hold } => {
            vec![("hold", hold.to_string())]
        }
        Rejection::HoldExceeded { hold, left, needed, scale } => {
            vec![("hold", hold.to_string()), ("left", money(left, scale)), ("needed", money(needed, scale))]
        }
        Rejection::BatchRefused { item } => vec![("item", item.to_string())],
        Rejection::CaptureWithoutOutflow { account } | Rejection::RestrictedOutflow { account } => {
            vec![("account", account.clone())]
        }
        Rejection::ExpiryTooEarly { after_ns } => vec![("after", date::timestamp(*after_ns))],
        Rejection::PreconditionFailed { account, expected, found, wanted, scale } => vec![
            ("account", account.clone()),
            ("precondition", expected.name().to_string()),
            ("found", money(found, scale)),
            ("wanted", money(wanted, scale)),
        ],
    };
    pairs.into_iter().collect()
}

#[cfg(test)]
#[path = "status_tests.rs"]
mod tests;
