//! How commands on holds are spelled.

use http::Method;
use twinset_ledger::date;

use super::{decimal, escaped};
use crate::history::{Ask, Name, Recorder};

/// Method, path and body of a command on a hold. A capture is a transaction, and spelled as one.
pub fn write(accounts: &Recorder, ask: &Ask) -> (Method, String, String) {
    let time = |ns: u64| format!("\"{}\"", date::timestamp(ns));
    let (path, body) = match ask {
        Ask::PlaceHold { id, account, cents, expires_ns } => {
            let end = expires_ns.map_or_else(String::new, |ns| format!(",\"expires_at\":{}", time(ns)));
            let amount = decimal(*cents);
            let body = format!("{{\"request_id\":\"{id}\",\"amount\":\"{amount}\"{end}}}");
            (path(accounts, *account, None), body)
        }
        Ask::ReleaseHold { id, account, hold, cents } => {
            let part = cents.map_or_else(String::new, |cents| format!(",\"amount\":\"{}\"", decimal(cents)));
            let path = path(accounts, *account, Some(hold)) + "/release";
            (path, format!("{{\"request_id\":\"{id}\"{part}}}"))
        }
        Ask::ExtendHold { id, account, hold, expires_ns } => {
            let end = expires_ns.map_or_else(|| "null".to_owned(), time);
            let path = path(accounts, *account, Some(hold)) + "/extend";
            (path, format!("{{\"request_id\":\"{id}\",\"expires_at\":{end}}}"))
        }
        other => unreachable!("{other:?} is no command on a hold"),
    };
    (Method::POST, path, body)
}

/// The path of an account's holds, or of one of them.
pub fn path(accounts: &Recorder, account: u32, hold: Option<&Name>) -> String {
    let hold = hold.map_or_else(String::new, |hold| format!("/{hold}"));
    format!("/v1/accounts/{}/holds{hold}", escaped(&accounts.account_id(account)))
}
