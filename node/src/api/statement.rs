//! Statements and balances of the past: what the wire asks, read strictly, and the store's answer in the wire's terms.

use twinset_ledger::amount::{self, to_decimal_string};
use twinset_ledger::id::Position;
use twinset_ledger::{TransactionId, date};
use twinset_proto::cluster::v1 as wire;
use twinset_proto::ledger::v1 as api;
use twinset_store::{Balance, Moment, Spot, Statement, StatementFilter, StatementLine, StatementQuery};
use wire::read_reply::Result as ReadResult;

use super::convert;
use super::sets::{as_of, not_found};
use crate::freshness::Basis;
use crate::set::Ledger;

const PAGE_MAX: u32 = 1000;

/// A page of an account's statement. The error says why nothing can be read.
pub async fn statement(
    ledger: &Ledger,
    asked: api::GetStatementRequest,
    set: u32,
    basis: Basis,
) -> Result<ReadResult, String> {
    let query = query(&asked, set)?;
    let read = ledger.reader.read_at_disk(move |state| state.statement(&asked.account, &query)).await;
    let (as_of, age_ms) = as_of(ledger, &read, set, basis);
    let Some(page) = read.value else { return Ok(not_found(as_of, age_ms)) };
    Ok(ReadResult::Statement(api::GetStatementReply { as_of, age_ms, ..shown(page, set) }))
}

/// The balance of an account at a moment.
pub async fn balance(
    ledger: &Ledger,
    asked: api::GetBalanceRequest,
    set: u32,
    basis: Basis,
) -> Result<ReadResult, String> {
    use api::get_balance_request::At;
    let moment = match asked.at {
        None => Moment::Now,
        Some(At::TimeUnixNs(time)) => Moment::Time(time),
        Some(At::Index(index)) => Moment::Index(index),
    };
    let read = ledger.reader.read_at_disk(move |state| state.balance(&asked.account, moment)).await;
    let (as_of, age_ms) = as_of(ledger, &read, set, basis);
    let Some(Balance { account, posted, position }) = read.value else {
        return Ok(not_found(as_of, age_ms));
    };
    Ok(ReadResult::Balance(api::GetBalanceReply {
        posted: to_decimal_string(posted, account.scale),
        account: account.id,
        currency: account.currency,
        normal_side: convert::side(account.normal_side),
        position: position.map(|(index, time)| convert::position(set, index, time)),
        as_of,
        age_ms,
        parts: Vec::new(),
    }))
}

/// A router is not trusted to have looked.
fn query(asked: &api::GetStatementRequest, set: u32) -> Result<StatementQuery, String> {
    let day = |text: &str, name: &str| match text {
        "" => Ok(None),
        text => date::parse(text).map(Some).ok_or_else(|| format!("{name} {text:?} is not \"YYYY-MM-DD\"")),
    };
    let number = |number: Option<u32>, name: &str| {
        let narrow = |number| u16::try_from(number).map_err(|_| format!("{name} {number} is too large"));
        number.map(narrow).transpose()
    };
    let money = |text: &str, name: &str| match text {
        "" => Ok(None),
        text => amount::parse(text).map(Some).map_err(|error| format!("{name}: {error}")),
    };
    let filter = StatementFilter {
        from_day: day(&asked.from_date, "from_date")?,
        until_day: day(&asked.until_date, "until_date")?,
        kind: number(asked.kind, "kind")?,
        reason: number(asked.reason, "reason")?,
        amount_min: money(&asked.min_amount, "min_amount")?,
        amount_max: money(&asked.max_amount, "max_amount")?,
        metadata: (!asked.metadata_key.is_empty())
            .then(|| (asked.metadata_key.clone(), asked.metadata_value.clone())),
    };
    Ok(StatementQuery {
        times: (asked.from_unix_ns, asked.until_unix_ns),
        filter,
        newest_first: asked.newest_first,
        at: (!asked.cursor.is_empty()).then(|| spot(&asked.cursor, set)).transpose()?,
        limit: asked.page_size.unwrap_or(PAGE_MAX).clamp(1, PAGE_MAX) as usize,
    })
}

/// A place in a statement: `SET.INDEX.OFFSET.NTH`. It does not depend on the replica that gave it, nor on its term.
fn cursor(spot: Spot, set: u32) -> String {
    format!("{set}.{}.{}.{}", spot.position.index(), spot.position.offset(), spot.nth)
}

fn spot(text: &str, set: u32) -> Result<Spot, String> {
    let bad = || format!("cursor {text:?} is none: take `next` of the page before as it is");
    let numbers: Vec<u64> = text
        .split('.')
        .map(|part| part.parse().ok().filter(|_| part.bytes().all(|b| b.is_ascii_digit())))
        .collect::<Option<_>>()
        .ok_or_else(bad)?;
    let &[of, index, offset, nth] = numbers.as_slice() else { return Err(bad()) };
    let (Ok(of), Ok(offset), Ok(nth)) = (u32::try_from(of), u16::try_from(offset), u32::try_from(nth)) else {
        return Err(bad());
    };
    if of != set {
        return Err(format!("cursor {text:?} is of set {of}, and the account is in set {set}"));
    }
    if index >= 1 << 48 {
        return Err(bad());
    }
    Ok(Spot { position: Position::new(index, offset), nth })
}

fn shown(page: Statement, set: u32) -> api::GetStatementReply {
    let Statement { account, lines, next, ends } = page;
    let money = |minor| to_decimal_string(minor, account.scale);
    api::GetStatementReply {
        lines: lines.into_iter().map(|one| line(one, account.scale)).collect(),
        next: next.map_or_else(String::new, |next| cursor(next, set)),
        opening: ends.map(|(opening, _)| money(opening)),
        closing: ends.map(|(_, closing)| money(closing)),
        normal_side: convert::side(account.normal_side),
        account: account.id,
        currency: account.currency,
        ..api::GetStatementReply::default()
    }
}

fn line(line: StatementLine, scale: u8) -> api::StatementLine {
    let name = |id: Option<TransactionId>| id.map_or_else(String::new, |id| id.to_string());
    let TransactionId { set, position, .. } = line.transaction;
    api::StatementLine {
        transaction: line.transaction.to_string(),
        position: Some(convert::position(set, position.index(), line.time_unix_ns)),
        side: convert::side(line.side),
        amount: to_decimal_string(line.amount, scale),
        posted: to_decimal_string(line.posted, scale),
        kind: line.kind.into(),
        reason: line.reason.into(),
        accounting_date: date::format(line.accounting_day),
        request_id: line.request_id,
        metadata: line.metadata.into_iter().collect(),
        part_of: name(line.part_of),
        reverses: name(line.reverses),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_comes_back_as_the_place_it_named() {
        for (index, offset, nth) in [(0, 0, 0), (77, 65_535, 255), ((1 << 48) - 1, 1, u32::MAX)] {
            let spot = Spot { position: Position::new(index, offset), nth };
            assert_eq!(super::spot(&cursor(spot, 3), 3), Ok(spot));
        }
        assert!(spot("2.1.0.0", 3).unwrap_err().contains("of set 2"));
        let long = format!("3.{}.0.0", 1u64 << 48);
        for bad in
            ["1-1-1-0", "3.1.0", "3.1.0.0.0", "3.+1.0.0", "3..0.0", "3.1.65536.0", "3.1.0.4294967296", &long]
        {
            assert!(spot(bad, 3).unwrap_err().contains("`next`"), "{bad}");
        }
    }

    #[test]
    fn what_cannot_be_asked_is_named() {
        let whole = api::GetStatementRequest { account: "a".to_owned(), ..Default::default() };
        assert_eq!(query(&whole, 1).unwrap().limit, 1000);
        let table = [
            (api::GetStatementRequest { from_date: "2026-02-30".to_owned(), ..whole.clone() }, "from_date"),
            (api::GetStatementRequest { until_date: "today".to_owned(), ..whole.clone() }, "until_date"),
            (api::GetStatementRequest { kind: Some(65_536), ..whole.clone() }, "kind 65536"),
            (api::GetStatementRequest { reason: Some(65_536), ..whole.clone() }, "reason 65536"),
            (api::GetStatementRequest { min_amount: "1,5".to_owned(), ..whole.clone() }, "min_amount"),
            (api::GetStatementRequest { max_amount: "1e3".to_owned(), ..whole.clone() }, "max_amount"),
            (api::GetStatementRequest { cursor: "x".to_owned(), ..whole }, "cursor"),
        ];
        for (asked, word) in table {
            let said = query(&asked, 1).unwrap_err();
            assert!(said.contains(word), "{said}");
        }
    }
}
