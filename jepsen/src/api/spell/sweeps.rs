//! How commands about sweeps are spelled.

use http::Method;

use super::{decimal, escaped};
use crate::history::sweeps::{Terms, When};
use crate::history::{Ask, Recorder};

/// All sweeps of a set of these tests stand on one page.
pub const PAGE_SIZE: u32 = 100;

/// Method, path and body of one.
pub fn write(accounts: &Recorder, ask: &Ask) -> (Method, String, String) {
    let path =
        |account: &u32, rest| format!("/v1/accounts/{}/sweep{rest}", escaped(&accounts.account_id(*account)));
    let (path, body) = match ask {
        Ask::SetSweep { id, account, terms: Terms { to, keep, when } } => {
            let (to, keep) = (accounts.account_id(*to), decimal(*keep));
            let when = match when {
                When::Every(seconds) => format!("\"every\":{{\"seconds\":{seconds}}}"),
                When::Above(cents) => format!("\"above\":\"{}\"", decimal(*cents)),
                When::Daily => "\"daily\":true".to_owned(),
            };
            let body = format!("{{\"request_id\":\"{id}\",\"to\":\"{to}\",\"keep\":\"{keep}\",{when}}}");
            (path(account, ""), body)
        }
        Ask::RemoveSweep { id, account } => {
            (path(account, "/remove"), format!("{{\"request_id\":\"{id}\"}}"))
        }
        other => unreachable!("{other:?} is no command about sweeps"),
    };
    (Method::POST, path, body)
}
