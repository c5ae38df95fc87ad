//! How commands about buffered accounts are spelled.

use http::Method;

use super::escaped;
use crate::history::{Ask, Recorder};

/// Method, path and body of one.
pub fn write(accounts: &Recorder, ask: &Ask) -> (Method, String, String) {
    let (path, body) = match ask {
        Ask::SetMode { id, account, buffered } => {
            let mode = if *buffered { "buffered" } else { "strict" };
            let path = format!("/v1/accounts/{}/posting-mode", escaped(&accounts.account_id(*account)));
            (path, format!("{{\"request_id\":\"{id}\",\"mode\":\"{mode}\"}}"))
        }
        Ask::ResolveSuspense { id, item, account } => {
            let account = accounts.account_id(*account);
            let body = format!("{{\"request_id\":\"{id}\",\"account\":\"{account}\"}}");
            (format!("/v1/suspense/{item}/resolve"), body)
        }
        other => unreachable!("{other:?} is no command about buffered accounts"),
    };
    (Method::POST, path, body)
}
