//! How restricted legs, commands on restrictions and their reads are spelled.

use std::fmt::Write as _;

use http::Method;
use twinset_ledger::date;

use super::{decimal, escaped};
use crate::history::marks::{Figure, Mark};
use crate::history::restrictions::RestrictionState;
use crate::history::{Name, Recorder};

/// What is said of a leg beside its account, side and amount, as members that follow others.
pub fn put_marks(text: &mut String, marks: &[(u8, Mark)], leg: usize) {
    for (_, mark) in marks.iter().filter(|(number, _)| usize::from(*number) == leg) {
        // Writing to a String cannot fail.
        let _ = match mark {
            Mark::Withdrawal => write!(text, ",\"withdrawal\":true"),
            Mark::Restricted { until_ns: None } => write!(text, ",\"restricted\":{{}}"),
            // The account says so.
            Mark::Group { .. } => Ok(()),
            // They stand together: below.
            Mark::Expects { .. } => Ok(()),
            Mark::Restricted { until_ns: Some(ns) } => {
                write!(text, ",\"restricted\":{{\"until\":\"{}\"}}", date::timestamp(*ns))
            }
        };
    }
    put_preconditions(text, marks, leg);
}

fn put_preconditions(text: &mut String, marks: &[(u8, Mark)], leg: usize) {
    let of_leg = marks.iter().filter(|(number, _)| usize::from(*number) == leg);
    let wanted = of_leg.filter_map(|(_, mark)| match mark {
        Mark::Expects { figure: Figure::Version, value } => Some(format!("\"version\":{value}")),
        Mark::Expects { figure, value } => Some(format!("\"{}\":\"{}\"", figure.word(), decimal(*value))),
        _ => None,
    });
    let wanted: Vec<String> = wanted.collect();
    if !wanted.is_empty() {
        // Writing to a String cannot fail.
        let _ = write!(text, ",\"preconditions\":{{{}}}", wanted.join(","));
    }
}

/// Method, path and body of a release.
pub fn release(
    accounts: &Recorder,
    (id, account, restriction): (&str, u32, &Name),
    cents: Option<i64>,
) -> (Method, String, String) {
    let part = cents.map_or_else(String::new, |cents| format!(",\"amount\":\"{}\"", decimal(cents)));
    let path = path(accounts, account, Some(restriction)) + "/release";
    (Method::POST, path, format!("{{\"request_id\":\"{id}\"{part}}}"))
}

/// The path of an account's restrictions, or of one of them.
pub fn path(accounts: &Recorder, account: u32, restriction: Option<&Name>) -> String {
    let restriction = restriction.map_or_else(String::new, |name| format!("/{name}"));
    format!("/v1/accounts/{}/restrictions{restriction}", escaped(&accounts.account_id(account)))
}

/// The path of a page of them.
pub fn page(
    accounts: &Recorder,
    account: u32,
    (state, after): (Option<RestrictionState>, Option<Name>),
    page_size: u32,
) -> String {
    let state = state.map_or_else(String::new, |state| format!("&state={}", state.word()));
    let after = after.map_or_else(String::new, |after| format!("&after={after}"));
    format!("{}?page_size={page_size}{state}{after}", path(accounts, account, None))
}
