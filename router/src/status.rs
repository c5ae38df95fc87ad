//! The one place where errors become statuses: HTTP and gRPC, and what each code means. `docs/reference/errors.md` is
//! this table in prose; a test compares them. Everything else speaks [`Error`].

use std::collections::BTreeMap;

use tonic::Code as Grpc;
use twinset_ledger::Rejection;
use twinset_ledger::account::Side;
use twinset_ledger::amount::to_decimal_string;

use crate::error::{Code, Error};
use crate::json::reply::{Position, Problem};

/// What there is to say about a code.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
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
    code: &'static str,
    outcome: &'static str,
    http: u16,
    grpc: Grpc,
    title: &'static str,
    advice: &'static str,
) -> Entry {
    Entry { code, outcome, http, grpc, title, advice }
}

const N: &str = "not_applied";
const FIX: &str = "Correct the request.";
const NEW_ID: &str = "Correct the request and send it with a new request id: this one is used up.";
const NEW_ID_THERE: &str = "Name the right transaction. With the same one, this request id stays used up.";
const LATER: &str = "Send it again later, with the same request id.";

/// The router's own codes, in the order of [`Code`].
pub const ROUTER: [Entry; 17] = [
    entry(
        "malformed",
        N,
        400,
        Grpc::InvalidArgument,
        "The request does not say anything that could be done.",
        FIX,
    ),
    entry(
        "body_too_large",
        N,
        413,
        Grpc::ResourceExhausted,
        "The body is larger than this router takes.",
        "Split it.",
    ),
    entry(
        "batch_too_large",
        N,
        413,
        Grpc::ResourceExhausted,
        "The batch has more transactions than this router takes.",
        "Split it.",
    ),
    entry(
        "not_found",
        N,
        404,
        Grpc::NotFound,
        "There is no such account, transaction, set or request.",
        "Check the id.",
    ),
    entry("route_not_found", N, 404, Grpc::Unimplemented, "There is no such path.", "See /openapi.json."),
    entry(
        "method_not_allowed",
        N,
        405,
        Grpc::Unimplemented,
        "The path does not know this method.",
        "See /openapi.json.",
    ),
    entry("url_too_long", N, 414, Grpc::InvalidArgument, "The URL is longer than any of this API.", FIX),
    entry(
        "headers_too_large",
        N,
        431,
        Grpc::ResourceExhausted,
        "The head of the request is larger than this router takes.",
        FIX,
    ),
    entry(
        "unsupported_media_type",
        N,
        415,
        Grpc::InvalidArgument,
        "The body is not of the type that is served here, or is compressed.",
        "Send application/json in UTF-8 over HTTP, application/grpc over gRPC, and do not compress it.",
    ),
    entry(
        "not_loopback",
        N,
        403,
        Grpc::PermissionDenied,
        "The request names another host (header Host or Origin) than this one. While there is no authentication, \
         only programs on this host are served, and no web pages of others.",
        "Use localhost, 127.0.0.1 or [::1] in the URL.",
    ),
    entry(
        "overloaded",
        N,
        429,
        Grpc::ResourceExhausted,
        "Too many calls are in progress at this router.",
        LATER,
    ),
    entry("set_queue_full", N, 503, Grpc::Unavailable, "Too many requests wait for the set.", LATER),
    entry("no_catalogue", N, 503, Grpc::Unavailable, "This router has not heard of the cluster yet.", LATER),
    entry("no_leader", N, 503, Grpc::Unavailable, "The set had no leader until the deadline.", LATER),
    entry(
        "deadline_exceeded",
        N,
        503,
        Grpc::Unavailable,
        "The set had too much to do until the deadline.",
        LATER,
    ),
    entry(
        "wrong_set",
        N,
        503,
        Grpc::Unavailable,
        "The node and the router disagree about whose account it is.",
        LATER,
    ),
    entry(
        "unknown",
        "unknown",
        504,
        Grpc::Unknown,
        "It was sent, and whether it happened is not known.",
        "Send it again with the same request id, until another answer comes. A new id could book it twice.",
    ),
];

/// The codes of commands that the ledger would never take.
pub const MALFORMED: [Entry; 16] = [
    malformed("malformed_request_id", "The request id is not 1-64 of A-Za-z0-9._:-{}."),
    malformed("malformed_account_id", "An account id is not 1-64 of A-Za-z0-9._:-{}."),
    malformed("malformed_currency", "A currency code is not 1-64 of A-Za-z0-9._:-{}."),
    malformed("malformed_subject", "A subject code is not 1-64 of A-Za-z0-9._:-{}."),
    malformed("malformed_name", "A subject's name is empty or too long."),
    malformed("scale_too_large", "A currency has too many decimal places."),
    malformed("too_few_legs", "A transaction has fewer than two legs."),
    malformed("too_many_legs", "A transaction has too many legs."),
    malformed("same_account", "Both legs of a two-leg transaction name the same account."),
    malformed("scope_account_without_leg", "The scope account is not an account of the legs."),
    malformed("too_many_legs_across_sets", "A transaction over several sets has more than 64 legs."),
    malformed("too_many_sets", "A transaction touches more than 16 sets."),
    malformed("malformed_step", "A step between nodes does not fit together. Clients never see it."),
    malformed("amount_not_positive", "An amount is zero or negative."),
    malformed("date_out_of_range", "The accounting date is outside the years 1 to 9999."),
    malformed("metadata_too_large", "The metadata has too many pairs, or a key or value that is too long."),
];

const fn malformed(code: &'static str, title: &'static str) -> Entry {
    entry(code, N, 400, Grpc::InvalidArgument, title, FIX)
}

/// The ledger's rejections, in the order of their numbers.
pub const REJECTIONS: [Entry; 21] = [
    entry(
        "request_mismatch",
        "rejected",
        409,
        Grpc::AlreadyExists,
        "The request id was used before for something else.",
        "Find out which of the two was meant; use a new request id for a new wish.",
    ),
    rejected("account_not_found", "There is no such account."),
    rejected("account_exists", "The account exists already."),
    rejected("subject_unknown", "There is no such subject."),
    rejected("subject_conflict", "The subject is defined differently."),
    rejected("currency_unknown", "There is no such currency."),
    rejected("currency_conflict", "The currency is defined with another scale."),
    rejected("currency_mismatch", "A leg names another currency than its account's."),
    rejected("excess_scale", "An amount has more decimal places than its currency. Nothing is ever rounded."),
    rejected("amount_overflow", "An amount or a balance would be too large to keep."),
    rejected("unbalanced", "Debits and credits of a currency differ."),
    rejected("account_closed", "The account is closed, for good."),
    rejected("account_frozen", "The account is frozen for this side."),
    rejected("limit_exceeded", "The available balance would fall below the account's floor."),
    rejected("account_not_empty", "Only an account whose figures are all zero can be closed."),
    refused_there("transaction_not_found", "There is no such transaction."),
    refused_there("not_reversible", "It is a reversal itself, or was never booked."),
    rejected("reversal_exceeds", "More than what is left of the original."),
    rejected(
        "partial_reversal_of_many_legs",
        "A transaction of more than two legs can only be reversed as a whole.",
    ),
    entry(
        "step_out_of_place",
        "rejected",
        422,
        Grpc::FailedPrecondition,
        "A step between nodes does not fit the transaction. Clients never see it.",
        FIX,
    ),
    entry(
        "set_unavailable",
        N,
        503,
        Grpc::Unavailable,
        "A set that the transaction touches did not answer the one that coordinates it in time. Nothing was booked.",
        LATER,
    ),
];

const fn rejected(code: &'static str, title: &'static str) -> Entry {
    entry(code, "rejected", 422, Grpc::FailedPrecondition, title, NEW_ID)
}

/// Remembered under the transaction that was to be reversed, not under an account.
const fn refused_there(code: &'static str, title: &'static str) -> Entry {
    entry(code, "rejected", 422, Grpc::FailedPrecondition, title, NEW_ID_THERE)
}

/// What there is to say about an error's code.
pub fn of(error: &Error) -> &'static Entry {
    match error {
        Error::Router { code, .. } => &ROUTER[*code as usize],
        Error::Rejected(rejected) => &REJECTIONS[usize::from(rejected.rejection.number()) - 1],
        Error::Malformed(malformed) => MALFORMED
            .iter()
            .find(|entry| entry.code == malformed.code())
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
    let replayed = match error {
        Error::Rejected(rejected) => Some(rejected.replayed),
        _ => None,
    };
    Problem {
        kind: "about:blank",
        title: entry.title,
        status: entry.http,
        code: error.code(),
        outcome: error.outcome().as_str(),
        detail: error.to_string(),
        position: position.map(|(at, _)| Position::from(at)),
        replayed,
        fields: error_fields(error),
    }
}

/// The error as a client sees it in gRPC: what the problem over HTTP has as fields stands in the metadata.
pub fn grpc(error: &Error) -> tonic::Status {
    let mut status = tonic::Status::new(of(error).grpc, error.to_string());
    let metadata = status.metadata_mut();
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
    match error {
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
        | Rejection::AccountNotEmpty { account } => vec![("account", account.clone())],
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
        Rejection::TransactionNotFound { transaction }
        | Rejection::NotReversible { transaction }
        | Rejection::PartialReversalOfManyLegs { transaction } => {
            vec![("transaction", transaction.to_string())]
        }
        Rejection::ReversalExceeds { left, scale } => vec![("left", money(left, scale))],
        Rejection::StepOutOfPlace { attempt } => vec![("attempt", attempt.to_string())],
        Rejection::SetUnavailable { set } => vec![("set", set.to_string())],
    };
    pairs.into_iter().collect()
}

/// The reference page of all codes.
pub fn reference() -> String {
    let mut page = String::from(REFERENCE_HEAD);
    let parts = [
        ("From the router", &ROUTER[..]),
        ("Malformed commands", &MALFORMED[..]),
        ("Rejections of the ledger", &REJECTIONS[..]),
    ];
    for (title, entries) in parts {
        page.push_str(&format!("\n## {title}\n\n| code | outcome | HTTP | gRPC | meaning | what to do |\n|---|---|---|---|---|---|\n"));
        for e in entries {
            let row = format!(
                "| `{}` | `{}` | {} | {:?} | {} | {} |\n",
                e.code, e.outcome, e.http, e.grpc, e.title, e.advice
            );
            page.push_str(&row);
        }
    }
    page
}

const REFERENCE_HEAD: &str = "\
# Errors

Every error of the public API says three things: a stable `code`, an `outcome`, and a `detail` for people. Over HTTP it
is `application/problem+json`; over gRPC the code and the outcome stand in the metadata `twinset-code` and
`twinset-outcome`. A stale read that finds nothing says how old its answer may be (`age_ms`). A rejection carries its
fields, its position and whether it is a replay: over HTTP beside the others, over gRPC as `twinset-account`,
`twinset-original-index` and so on, and in `Problem.fields` of a batch.

| outcome | what it says |
|---|---|
| `rejected` | The ledger's deterministic no. It is remembered with the request id (all but `request_mismatch` are): the same request gets the same answer for ever. |
| `not_applied` | Certainly nothing happened in this call. |
| `unknown` | It may have happened. Send it again with the same request id: the first result comes back, if there is one. |

A new request id is safe only if every call with the old one said `not_applied`, or one of them was `rejected` with another
code than `request_mismatch`: that one says that the id is taken, and what was sent with it first may be booked.
`set_unavailable` comes from a ledger as well, and is the one refusal that is not the last word: nothing was booked, and the
same request may be tried again. Where an earlier attempt to send it has no known end, it comes as `unknown`.
A call names its own deadline with the header `Twinset-Deadline-Ms` (or the gRPC timeout), at most 60000. Status 429 and
503 carry `Retry-After`, status 405 `Allow`. This page is generated from the router's table of codes; a test compares
the two.

`/readyz` answers 200 or 503 with a line of plain text, not with a problem. A router is ready when it holds a catalogue
and at least one node that hosts sets answers it (a node that is silent for 3 s does not). A set without a leader does
not make it unready: requests for that set are held, those for the others are served.
";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{At, Outcome, Rejected};

    #[test]
    fn every_code_has_its_line() {
        for (code, entry) in Code::ALL.into_iter().zip(&ROUTER) {
            assert_eq!(code.as_str(), entry.code);
            assert_eq!(of(&Error::new(code, "x")).code, code.as_str());
            assert_eq!(Error::new(code, "x").outcome().as_str(), entry.outcome);
            assert_eq!(entry.outcome == Outcome::Unknown.as_str(), entry.http == 504);
        }
        let codes: Vec<_> = REJECTIONS.iter().map(|entry| entry.code).collect();
        assert_eq!(codes, twinset_ledger::rejection::CODES);
        let rejected = |rejection| {
            let at = At { set: 1, index: 4, time_unix_ns: 9 };
            Error::Rejected(Box::new(Rejected { rejection, at, replayed: false }))
        };
        for rejection in [
            Rejection::SetUnavailable { set: 2 },
            Rejection::AccountNotFound { account: "a".to_owned() },
            Rejection::SubjectUnknown { subject: "s".to_owned() },
        ] {
            let error = rejected(rejection);
            assert_eq!(error.outcome().as_str(), of(&error).outcome, "{error}");
        }
    }

    #[test]
    fn limits_are_told_as_they_are() {
        use twinset_ledger::attempt::{LEGS_ACROSS_MAX, SETS_MAX};
        let limits = [("too_many_legs_across_sets", LEGS_ACROSS_MAX), ("too_many_sets", SETS_MAX)];
        for (code, limit) in limits {
            let entry = MALFORMED.iter().find(|entry| entry.code == code).expect("it has its line");
            assert!(entry.title.contains(&format!(" {limit} ")), "{}", entry.title);
        }
    }

    #[test]
    fn the_reference_page_is_this_table() {
        let path = "../docs/reference/errors.md";
        if std::env::var_os("UPDATE_GOLDENFILES").is_some() {
            std::fs::write(path, reference()).expect("the page can be written");
        }
        let page = std::fs::read_to_string(path).expect("the page is there");
        assert!(page == reference(), "docs/reference/errors.md should be:\n{}", reference());
    }
}
