//! What the fake nodes say of an account's past: from the in-memory ledger, two lines to a page at most, unfiltered.

use twinset_ledger::amount::to_decimal_string;
use twinset_ledger::memory::MemoryState;
use twinset_ledger::{Effect, State, TransactionId};
use twinset_proto::cluster::v1::{NotFound, read_reply};
use twinset_proto::ledger::v1 as wire;

/// A page; the cursor counts the lines before it.
pub fn statement(
    state: &MemoryState,
    asked: &wire::GetStatementRequest,
    as_of: Option<wire::Position>,
) -> read_reply::Result {
    let Some(no) = state.account_no(&asked.account) else { return not_found(as_of) };
    let account = state.account(no);
    let money = |minor| to_decimal_string(minor, account.scale);
    let (begin, mut posted) = (asked.cursor.parse::<usize>().unwrap_or(0), 0);
    let mut lines = Vec::new();
    for posting in state.postings(no) {
        posted += posting.delta;
        let Ok(Some((_, outcome))) = state.original(posting.position) else { panic!("it was booked") };
        assert!(matches!(outcome.result, Ok(Effect::Posted(_))));
        let (set, incarnation, position) = (state.set(), outcome.incarnation, posting.position);
        let index = position.index();
        lines.push(wire::StatementLine {
            transaction: TransactionId { set, incarnation, position }.to_string(),
            position: Some(wire::Position { set, index, time_unix_ns: outcome.time_unix_ns }),
            side: if posting.delta > 0 { wire::Side::Debit } else { wire::Side::Credit }.into(),
            amount: money(posting.delta.abs()),
            posted: money(posted),
            accounting_date: "1970-01-01".into(),
            ..wire::StatementLine::default()
        });
    }
    let next = if lines.len() > begin + 2 { (begin + 2).to_string() } else { String::new() };
    read_reply::Result::Statement(wire::GetStatementReply {
        account: account.id.clone(),
        currency: account.currency.clone(),
        normal_side: wire::Side::Debit.into(),
        lines: lines.into_iter().skip(begin).take(2).collect(),
        next,
        opening: asked.from_date.is_empty().then(|| money(0)),
        closing: asked.from_date.is_empty().then(|| money(posted)),
        as_of,
        age_ms: 0,
    })
}

/// The balance as it is, whenever it is asked for.
pub fn balance(
    state: &MemoryState,
    asked: &wire::GetBalanceRequest,
    as_of: Option<wire::Position>,
) -> read_reply::Result {
    use wire::get_balance_request::At;
    let Some(no) = state.account_no(&asked.account) else { return not_found(as_of) };
    let reached = as_of.as_ref().map_or(0, |as_of| as_of.index);
    if matches!(asked.at, Some(At::Index(index)) if index > reached) {
        return not_found(as_of);
    }
    let account = state.account(no);
    read_reply::Result::Balance(wire::GetBalanceReply {
        account: account.id.clone(),
        currency: account.currency.clone(),
        normal_side: wire::Side::Debit.into(),
        posted: to_decimal_string(account.posted(), account.scale),
        position: asked.at.map(|_| wire::Position { set: state.set(), index: 1, time_unix_ns: 1 }),
        as_of,
        age_ms: 0,
        parts: Vec::new(),
    })
}

fn not_found(as_of: Option<wire::Position>) -> read_reply::Result {
    read_reply::Result::NotFound(NotFound { as_of, ..NotFound::default() })
}
