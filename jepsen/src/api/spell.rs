//! How a call is spelled over HTTP: method, path and JSON body. Pure text, written by hand, since ids and amounts need no
//! escapes and thousands are written each second; but for metadata, which are anything.

mod buffered;
mod holds;
mod restrictions;
mod sweeps;

use std::fmt::Write as _;

use http::Method;
use twinset_ledger::date;

use crate::history::holds::Capture;
use crate::history::label::{Written, written};
use crate::history::{Ask, Level, Mode, Recorder, Transfer, clearing};

/// Method, path and body of what is asked.
pub fn call(accounts: &Recorder, ask: &Ask) -> (Method, String, String) {
    let id_of = |account: &u32| accounts.account_id(*account);
    match ask {
        Ask::Transfer(transfer) => (Method::POST, "/v1/transactions".into(), transaction(accounts, transfer)),
        Ask::DryRun(transfer) => {
            (Method::POST, "/v1/transactions?dry_run=true".into(), transaction(accounts, transfer))
        }
        Ask::Batch { items, with_postings, atomic } => {
            let items: Vec<String> = items.iter().map(|item| transaction(accounts, item)).collect();
            let atomic = if *atomic { ",\"atomic\":true" } else { "" };
            let items = items.join(",");
            let body = format!("{{\"transactions\":[{items}],\"with_postings\":{with_postings}{atomic}}}");
            (Method::POST, "/v1/batches".into(), body)
        }
        Ask::Reverse { id, transaction, cents, parts } => {
            let amount =
                cents.map_or_else(String::new, |cents| format!(",\"amount\":\"{}\"", decimal(cents)));
            let part =
                |(leg, cents): &(u16, i64)| format!("{{\"leg\":{leg},\"amount\":\"{}\"}}", decimal(*cents));
            let parts: Vec<String> = parts.iter().map(part).collect();
            let legs = match parts.is_empty() {
                true => String::new(),
                false => format!(",\"legs\":[{}]", parts.join(",")),
            };
            let body = format!("{{\"request_id\":\"{id}\"{amount}{legs}}}");
            (Method::POST, format!("/v1/transactions/{transaction}/reversals"), body)
        }
        Ask::Open { id, account, subject, currency, limit } => {
            let body = format!(
                "{{\"request_id\":\"{id}\",\"account\":\"{}\",\"subject\":\"{subject}\",\"currency\":\"{currency}\",\"limit\":\"{}\"}}",
                id_of(account),
                floor(*limit)
            );
            (Method::POST, "/v1/accounts".into(), body)
        }
        Ask::SetLimit { id, account, limit } => {
            let body = format!("{{\"request_id\":\"{id}\",\"limit\":\"{}\"}}", floor(*limit));
            (Method::POST, format!("/v1/accounts/{}/limit", escaped(&id_of(account))), body)
        }
        Ask::Freeze { id, account, mode, on } => {
            let mode = match mode {
                Mode::Debit => "debit",
                Mode::Credit => "credit",
                Mode::Both => "both",
            };
            let verb = if *on { "freeze" } else { "unfreeze" };
            let body = format!("{{\"request_id\":\"{id}\",\"mode\":\"{mode}\"}}");
            (Method::POST, format!("/v1/accounts/{}/{verb}", escaped(&id_of(account))), body)
        }
        Ask::Close { id, account } => {
            let path = format!("/v1/accounts/{}/close", escaped(&id_of(account)));
            (Method::POST, path, format!("{{\"request_id\":\"{id}\"}}"))
        }
        Ask::PlaceHold { .. } | Ask::ReleaseHold { .. } | Ask::ExtendHold { .. } => {
            holds::write(accounts, ask)
        }
        Ask::SetMode { .. } | Ask::ResolveSuspense { .. } => buffered::write(accounts, ask),
        Ask::SetSweep { .. } | Ask::RemoveSweep { .. } => sweeps::write(accounts, ask),
        Ask::ReleaseRestriction { id, account, restriction, cents } => {
            restrictions::release(accounts, (id, *account, restriction), *cents)
        }
        read => (Method::GET, read_path(accounts, read), String::new()),
    }
}

fn read_path(accounts: &Recorder, ask: &Ask) -> String {
    let id_of = |account: &u32| escaped(&accounts.account_id(*account));
    let (path, level) = match ask {
        Ask::ReadAccount { account, level } => {
            let path = match clearing(&accounts.account_id(*account)) {
                Some((set, currency)) => format!("/v1/sets/{set}/clearing/{currency}"),
                None => format!("/v1/accounts/{}", id_of(account)),
            };
            (path, level)
        }
        Ask::ReadGroup { group, level } => (format!("/v1/accounts/{}", id_of(group)), level),
        Ask::ReadTransaction { transaction, level } => (format!("/v1/transactions/{transaction}"), level),
        Ask::ReadRequest { scope, id, level } => (format!("/v1/requests/{}/{id}", id_of(scope)), level),
        Ask::List { set, after, page_size, level } => {
            let after = after.map_or_else(String::new, |after| after.to_string());
            let path = format!("/v1/sets/{set}/transactions?page_size={page_size}&after={after}");
            return paged(&path, *level);
        }
        Ask::ReadTransit { account, level } => (format!("/v1/accounts/{}/in-transit", id_of(account)), level),
        Ask::ListSuspense { set, after, page_size, level } => {
            let after = after.map_or_else(String::new, |after| format!("&after={after}"));
            return paged(&format!("/v1/sets/{set}/suspense?page_size={page_size}{after}"), *level);
        }
        Ask::ReadSweep { account, level } => (format!("/v1/accounts/{}/sweep", id_of(account)), level),
        Ask::ListSweeps { set, level } => {
            return paged(&format!("/v1/sets/{set}/sweeps?page_size={}", sweeps::PAGE_SIZE), *level);
        }
        Ask::ReadHold { account, hold, level } => (holds::path(accounts, *account, Some(hold)), level),
        Ask::ListHolds { account, after, page_size, level } => {
            let after = after.map_or_else(String::new, |after| after.to_string());
            let path = holds::path(accounts, *account, None);
            return paged(&format!("{path}?page_size={page_size}&after={after}"), *level);
        }
        Ask::ReadRestriction { account, restriction, level } => {
            (restrictions::path(accounts, *account, Some(restriction)), level)
        }
        Ask::ListRestrictions { account, state, after, page_size, level } => {
            let path = restrictions::page(accounts, *account, (*state, *after), *page_size);
            return paged(&path, *level);
        }
        Ask::Statement { account, cursor, page_size, level } => {
            // A parameter that is there says something.
            let cursor = if cursor.is_empty() { String::new() } else { format!("&cursor={cursor}") };
            let path = format!("/v1/accounts/{}/statement?page_size={page_size}{cursor}", id_of(account));
            return paged(&path, *level);
        }
        Ask::Balance { account, index, level } => {
            return paged(&format!("/v1/accounts/{}/balance?position={index}", id_of(account)), *level);
        }
        Ask::Events { set, after, page_size, level } => {
            let of = set.map_or_else(String::new, |set| format!("/sets/{set}"));
            let after = if after.is_empty() { String::new() } else { format!("&after={}", plus(after)) };
            return paged(&format!("/v1{of}/events?page_size={page_size}{after}"), *level);
        }
        write => unreachable!("{write:?} is not read"),
    };
    if *level == Level::Stale { path + "?consistency=stale" } else { path }
}

/// A path that has a query, at that level.
fn paged(path: &str, level: Level) -> String {
    let stale = if level == Level::Stale { "&consistency=stale" } else { "" };
    format!("{path}{stale}")
}

/// In a query a plus is a space, unless it is escaped.
fn plus(text: &str) -> String {
    text.replace('+', "%2B")
}

fn transaction(accounts: &Recorder, transfer: &Transfer) -> String {
    let mut text = format!("{{\"request_id\":\"{}\"", transfer.id);
    // Writing to a String cannot fail.
    if let Some(scope) = transfer.scope {
        let _ = write!(text, ",\"scope_account\":\"{}\"", accounts.account_id(scope));
    }
    text.push_str(",\"legs\":[");
    for (number, (account, cents)) in transfer.legs.iter().enumerate() {
        let comma = if number == 0 { "" } else { "," };
        let side = if *cents > 0 { "debit" } else { "credit" };
        let of_group = transfer.groups().find(|(leg, _)| *leg == number);
        let account = accounts.account_id(of_group.map_or(*account, |(_, group)| group));
        let amount = decimal(cents.abs());
        let _ =
            write!(text, "{comma}{{\"account\":\"{account}\",\"side\":\"{side}\",\"amount\":\"{amount}\"");
        restrictions::put_marks(&mut text, &transfer.marks, number);
        text.push('}');
    }
    text.push(']');
    if let Some(Capture { hold, is_final }) = transfer.capture {
        let _ = write!(text, ",\"capture\":{{\"hold\":\"{hold}\",\"final\":{is_final}}}");
    }
    put_written(&mut text, written(transfer.label));
    text.push('}');
    text
}

/// What else is written on a transaction, where there is something.
fn put_written(text: &mut String, written: Written) {
    let Written { kind, reason, accounting_date, metadata } = written;
    if let Some(day) = accounting_date {
        let day = date::format(day);
        let _ = write!(text, ",\"kind\":{kind},\"reason\":{reason},\"accounting_date\":\"{day}\"");
    }
    if !metadata.is_empty() {
        let _ = write!(text, ",\"metadata\":{}", serde_json::json!(metadata));
    }
}

fn floor(limit: Option<i64>) -> String {
    limit.map_or_else(|| "none".to_owned(), decimal)
}

/// Cents as decimal text.
pub fn decimal(cents: i64) -> String {
    let sign = if cents < 0 { "-" } else { "" };
    format!("{sign}{}.{:02}", cents.unsigned_abs() / 100, cents.unsigned_abs() % 100)
}

/// As a part of a path: of what an id may hold, only braces need it.
pub fn escaped(text: &str) -> String {
    text.replace('{', "%7B").replace('}', "%7D")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Meta;

    #[test]
    fn a_transaction_and_a_read_are_spelled() {
        let accounts = Recorder::in_memory(Meta::default());
        let (one, two) = (accounts.account("{t}:1"), accounts.account("{t}:2"));
        let transfer = Transfer {
            id: "x".into(),
            scope: Some(two),
            label: Some(3),
            capture: None,
            marks: vec![],
            legs: vec![(one, 1205), (two, -1205)],
        };
        let (method, path, body) = call(&accounts, &Ask::Transfer(transfer));
        assert_eq!((method, path.as_str()), (Method::POST, "/v1/transactions"));
        let body: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!(body["scope_account"], "{t}:2");
        assert_eq!((&body["kind"], &body["accounting_date"]), (&4.into(), &"2026-01-04".into()));
        assert_eq!(body["metadata"]["label"], "no 3; ü \"quoted\"");
        assert_eq!(body["legs"][0]["side"], "debit");
        assert_eq!(
            body["legs"][1],
            serde_json::json!({"account": "{t}:2", "side": "credit", "amount": "12.05"})
        );
        let (_, path, _) = call(&accounts, &Ask::ReadAccount { account: one, level: Level::Stale });
        assert_eq!(path, "/v1/accounts/%7Bt%7D:1?consistency=stale");
        let clearing = accounts.account("@clearing-2:JPY");
        let ask = Ask::ReadAccount { account: clearing, level: Level::Linearizable };
        assert_eq!(call(&accounts, &ask).1, "/v1/sets/2/clearing/JPY");
        assert_eq!(decimal(-7), "-0.07");
    }
}
