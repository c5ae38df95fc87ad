//! The reference page of all errors, `docs/reference/errors.md`: the tables of [`crate::status`] in prose. A test compares the
//! two.

use crate::status::{MALFORMED, REJECTIONS, ROUTER};

/// The reference page of all codes.
pub fn reference() -> String {
    let mut page = String::from(REFERENCE_HEAD);
    let parts = [
        ("From the router", &ROUTER[..]),
        ("Malformed commands", &MALFORMED[..]),
        ("Rejections of the ledger", &REJECTIONS[..]),
    ];
    for (title, entries) in parts {
        page.push_str(&format!(
            "\n## {title}\n\n| number | code | outcome | retryable | HTTP | gRPC | meaning | what to do |\n\
             |---|---|---|---|---|---|---|---|\n"
        ));
        for e in entries {
            let retryable = if e.retryable() { "yes" } else { "no" };
            let row = format!(
                "| {} | `{}` | `{}` | {retryable} | {} | {:?} | {} | {} |\n",
                e.number, e.code, e.outcome, e.http, e.grpc, e.title, e.advice
            );
            page.push_str(&row);
        }
    }
    page.push_str(PRECEDENCE_HEAD);
    for (rank, (booking, command)) in RANKS.iter().enumerate() {
        page.push_str(&format!("| {rank} | {booking} | {command} |\n").replace("|  |", "| |"));
    }
    page.push_str(PRECEDENCE_TAIL);
    page
}

const REFERENCE_HEAD: &str = "\
# Errors

Every error of the public API says a stable `code` with its `number`, an `outcome`, whether it is `retryable`, and a `detail`
for people. These are all there are: no code or number is used for anything else later. Over HTTP an error is
`application/problem+json`; over gRPC the four stand in the metadata `twinset-code`, `twinset-number`, `twinset-outcome` and
`twinset-retryable`, and in the same fields of a batch's `Problem`. `retryable` says that the same request, under the same
request id, may come to another end later. A stale read that finds nothing says how old its answer may be (`age_ms`). A
rejection carries its fields, its position and whether it is a replay: over HTTP beside the others, over gRPC as
`twinset-account`, `twinset-original-index` and so on, and in `Problem.fields` of a batch. Amounts among them are in major
units, times are RFC 3339 in UTC. What a [dry run](batches.md#dry-runs) is told is the same with `dry_run` (over gRPC
`twinset-dry-run`, `Problem.dry_run`): then nothing happened, and nothing is remembered, whatever the outcome says.

| outcome | what it says |
|---|---|
| `rejected` | The ledger's deterministic no. It is remembered with the request id (all but `request_mismatch` are): the same request gets the same answer for ever. |
| `not_applied` | Certainly nothing happened in this call. |
| `unknown` | It may have happened. Send it again with the same request id: the first result comes back, if there is one. |

A new request id is safe only if every call with the old one said `not_applied`, or one of them was `rejected` with another
code than `request_mismatch`: that one says that the id is taken, and what was sent with it first may be booked.
`set_unavailable` and `leg_on_group` come from a ledger as well, and are the refusals that are not the last word: nothing was
booked, and the same request may be tried again. Where an earlier attempt to send it has no known end, `set_unavailable` comes
as `unknown`.
A call names its own deadline with the header `Twinset-Deadline-Ms` (or the gRPC timeout), at most 60000. Status 429 and
503 carry `Retry-After`, status 405 `Allow`. This page is generated from the router's table of codes; a test compares
the two.

`/readyz` answers 200 or 503 with a line of plain text, not with a problem. A router is ready when it holds a catalogue
and at least one node that hosts sets answers it (a node that is silent for 3 s does not). A set without a leader does
not make it unready: requests for that set are held, those for the others are served.
";

/// What is refused first where several reasons hold at once: the ledger's ranks, as its own source tells them. Transactions,
/// captures and reversals; then commands of accounts, holds, restrictions and sweeps.
const RANKS: [(&str, &str); 13] = [
    ("`leg_on_group`, then `request_mismatch`", "`request_mismatch`"),
    (
        "`account_not_found`, `transaction_not_found`",
        "`suspense_not_found`, `suspense_resolved`; then `account_exists`, `account_not_found`, then `sweep_not_found`",
    ),
    (
        "`not_reversible`, `partial_reversal_of_many_legs`, `leg_not_found`",
        "`subject_unknown`, then `currency_unknown`",
    ),
    (
        "`currency_mismatch`",
        "`currency_mismatch`, of a hold, of what is suspended, and of who gets what is swept",
    ),
    (
        "`excess_scale`, and `amount_overflow` of an amount that no minor units can hold; then the same of the leg's preconditions",
        "the same, of the limit or amount, or of what a sweep keeps and then its threshold",
    ),
    (
        "`restricted_outflow`; then `hold_not_found`, `hold_ended`, `capture_without_outflow`, `hold_exceeded`, `hold_journal_full`",
        "`hold_not_found`, `hold_ended`, then `hold_exceeded` or `expiry_too_early`, then `hold_journal_full`; `restriction_exceeded`",
    ),
    ("`unbalanced`, then `reversal_exceeds`", ""),
    ("`account_closed`", "`account_closed`"),
    ("`account_frozen`", "`account_frozen`, of placing a hold"),
    ("`precondition_failed`", ""),
    ("`amount_overflow` of a balance", "`amount_overflow` of what is held"),
    (
        "`limit_exceeded`",
        "`account_not_empty`, then `account_buffered`; `limit_exceeded`, of placing a hold; `too_many_sweeps`",
    ),
    ("`withdrawable_exceeded`", ""),
];

const PRECEDENCE_HEAD: &str = "
## Which one, where several hold

1. What the head of the request says: `url_too_long`, `headers_too_large`, `not_loopback`, `route_not_found`,
   `method_not_allowed`, `overloaded`, `unsupported_media_type`; then its size, `body_too_large`.
2. What cannot be read: `malformed`, the first in the text. `batch_too_large`.
3. What no ledger would take: the request id, the number of legs, the legs in their order (account, currency, amount,
   preconditions), `same_account`, `restricted_leg_not_alone`, `scope_account_without_leg`, `capture_without_scope_account`, the date, `malformed_reversal_legs`, the metadata. Of an
   atomic batch `empty_batch`, then its first transaction that is malformed (`item` is its place), and none is sent.
4. Where it would go: `no_catalogue`; `not_found` of a set; `too_many_legs_across_sets`, then `too_many_sets`; of an atomic
   batch `batch_across_sets`.
5. Whether it gets there: `set_queue_full`, `no_leader`, `deadline_exceeded`, `wrong_set`, `unknown`.
6. The ledger's rejections, by the rank below; for one reason the first leg in the request's order (for `unbalanced`, the
   smallest currency code).

| rank | transaction, capture and reversal | account, hold, restriction and sweep commands |
|---|---|---|
";

const PRECEDENCE_TAIL: &str = "
Of a transaction over several sets each set gives its own first reason for its own legs: the coordinator before the others are
asked, then whichever other set refuses, the first in the coordinator's log. Whether all legs together balance is seen last. Of an
atomic batch the first transaction that is refused gives its own reason, and all others `batch_refused`.
";

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_ranks_are_those_of_the_ledger() {
        let source = std::fs::read_to_string("../ledger/src/rejection.rs").expect("the ledger's source");
        let row = |line: &str| {
            line.strip_prefix("//! | ").filter(|row| row.starts_with(char::is_numeric)).map(str::to_owned)
        };
        let told: Vec<String> = source.lines().filter_map(row).collect();
        let here = RANKS.iter().enumerate();
        let here = here.map(|(rank, (booking, command))| {
            format!("{rank} | {booking} | {command} |").replace("|  |", "| |")
        });
        assert_eq!(told, here.collect::<Vec<_>>());
    }

    #[test]
    fn every_code_and_number_is_used_once() {
        let all = || ROUTER.iter().chain(&MALFORMED).chain(&REJECTIONS);
        let codes: BTreeSet<&str> = all().map(|entry| entry.code).collect();
        let numbers: BTreeSet<u16> = all().map(|entry| entry.number).collect();
        assert_eq!((codes.len(), numbers.len()), (all().count(), all().count()));
        let of_the_ledger = REJECTIONS.iter().zip(1..).all(|(entry, number)| entry.number == number);
        assert!(of_the_ledger, "a rejection's number is the ledger's own");
        assert!(MALFORMED.iter().all(|entry| (1_001..2_000).contains(&entry.number)));
        assert!(ROUTER.iter().all(|entry| (2_001..3_000).contains(&entry.number)));
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
