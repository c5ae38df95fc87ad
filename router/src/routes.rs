//! The paths of the HTTP API, as one table: what a method and a path mean. Pure. `/openapi.json` is made from the same
//! table, so that neither can forget the other.

use http::Method;

use crate::error::{Code, Error};

/// What an HTTP request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// Defines a currency.
    DefineCurrency,
    /// Defines a subject.
    DefineSubject,
    /// Opens an account.
    OpenAccount,
    /// Reads an account.
    GetAccount,
    /// Reads a page of an account's statement.
    GetStatement,
    /// Reads an account's balance of a time or a position.
    GetBalance,
    /// Changes an account's floor.
    SetLimit,
    /// Freezes an account.
    Freeze,
    /// Ends a freeze.
    Unfreeze,
    /// Closes an account.
    CloseAccount,
    /// Books a transaction.
    PostTransaction,
    /// Books many.
    PostBatch,
    /// Reads a transaction.
    GetTransaction,
    /// Takes a transaction back.
    Reverse,
    /// Reads a page of transactions.
    ListTransactions,
    /// Reads the recovery account of a set.
    GetRecovery,
    /// Reads the transactions that have a reference of the client's own.
    FindTransactions,
    /// Reads the clearing account of a set.
    GetClearing,
    /// Reads what became of a request id.
    GetRequest,
    /// Sets an amount aside.
    PlaceHold,
    /// Books what a hold has set aside.
    CaptureHold,
    /// Gives back what a hold has set aside.
    ReleaseHold,
    /// Moves the end of a hold.
    ExtendHold,
    /// Reads a hold.
    GetHold,
    /// Reads the holds of an account.
    ListHolds,
    /// Reads the overdue holds of all accounts.
    ListOverdueHolds,
    /// Says whether sets whose accounts pay an account ask it first.
    SetPostingMode,
    /// Reads what is on its way to an account.
    GetInTransit,
    /// Reads what could not be booked where it should be.
    ListSuspense,
    /// Books such a credit on.
    ResolveSuspense,
    /// Lets restricted money be withdrawn.
    ReleaseRestriction,
    /// Reads a restriction.
    GetRestriction,
    /// Reads the restrictions of an account.
    ListRestrictions,
    /// Sets the sweep of an account.
    SetSweep,
    /// Takes it away.
    RemoveSweep,
    /// Reads the sweep of an account.
    GetSweep,
    /// Reads the sweeps of a set.
    ListSweeps,
    /// Reads events of a set, in pages or as a stream.
    ListEvents,
    /// Reads events of all sets.
    ListAllEvents,
    /// The description of the API.
    OpenApi,
    /// Whether the process is alive.
    Health,
    /// Whether it should get traffic.
    Ready,
    /// Figures.
    Metrics,
}

/// Every route: its method and path, with parameters in braces.
pub const TABLE: [(Route, Method, &str); 43] = [
    (Route::PostTransaction, Method::POST, "/v1/transactions"),
    (Route::FindTransactions, Method::GET, "/v1/transactions"),
    (Route::PostBatch, Method::POST, "/v1/batches"),
    (Route::GetAccount, Method::GET, "/v1/accounts/{account}"),
    (Route::GetStatement, Method::GET, "/v1/accounts/{account}/statement"),
    (Route::GetBalance, Method::GET, "/v1/accounts/{account}/balance"),
    (Route::GetTransaction, Method::GET, "/v1/transactions/{transaction}"),
    (Route::Reverse, Method::POST, "/v1/transactions/{transaction}/reversals"),
    (Route::OpenAccount, Method::POST, "/v1/accounts"),
    (Route::SetLimit, Method::POST, "/v1/accounts/{account}/limit"),
    (Route::Freeze, Method::POST, "/v1/accounts/{account}/freeze"),
    (Route::Unfreeze, Method::POST, "/v1/accounts/{account}/unfreeze"),
    (Route::CloseAccount, Method::POST, "/v1/accounts/{account}/close"),
    (Route::ListTransactions, Method::GET, "/v1/sets/{set}/transactions"),
    (Route::ListEvents, Method::GET, "/v1/sets/{set}/events"),
    (Route::ListAllEvents, Method::GET, "/v1/events"),
    (Route::GetClearing, Method::GET, "/v1/sets/{set}/clearing/{currency}"),
    (Route::GetRecovery, Method::GET, "/v1/sets/{set}/recovery/{currency}"),
    (Route::GetRequest, Method::GET, "/v1/requests/{scope_account}/{request_id}"),
    (Route::PlaceHold, Method::POST, "/v1/accounts/{account}/holds"),
    (Route::ListHolds, Method::GET, "/v1/accounts/{account}/holds"),
    (Route::ListOverdueHolds, Method::GET, "/v1/holds"),
    (Route::GetHold, Method::GET, "/v1/accounts/{account}/holds/{hold}"),
    (Route::CaptureHold, Method::POST, "/v1/accounts/{account}/holds/{hold}/captures"),
    (Route::ReleaseHold, Method::POST, "/v1/accounts/{account}/holds/{hold}/release"),
    (Route::ExtendHold, Method::POST, "/v1/accounts/{account}/holds/{hold}/extend"),
    (Route::SetPostingMode, Method::POST, "/v1/accounts/{account}/posting-mode"),
    (Route::GetInTransit, Method::GET, "/v1/accounts/{account}/in-transit"),
    (Route::ListSuspense, Method::GET, "/v1/sets/{set}/suspense"),
    (Route::ResolveSuspense, Method::POST, "/v1/suspense/{item}/resolve"),
    (Route::ListRestrictions, Method::GET, "/v1/accounts/{account}/restrictions"),
    (Route::GetRestriction, Method::GET, "/v1/accounts/{account}/restrictions/{restriction}"),
    (Route::ReleaseRestriction, Method::POST, "/v1/accounts/{account}/restrictions/{restriction}/release"),
    (Route::SetSweep, Method::POST, "/v1/accounts/{account}/sweep"),
    (Route::RemoveSweep, Method::POST, "/v1/accounts/{account}/sweep/remove"),
    (Route::GetSweep, Method::GET, "/v1/accounts/{account}/sweep"),
    (Route::ListSweeps, Method::GET, "/v1/sets/{set}/sweeps"),
    (Route::DefineCurrency, Method::PUT, "/v1/currencies/{code}"),
    (Route::DefineSubject, Method::PUT, "/v1/subjects/{code}"),
    (Route::OpenApi, Method::GET, "/openapi.json"),
    (Route::Health, Method::GET, "/healthz"),
    (Route::Ready, Method::GET, "/readyz"),
    (Route::Metrics, Method::GET, "/metrics"),
];

/// The parameters of a path, decoded, in their order.
pub type Params = Vec<String>;

/// What a request means. HEAD means GET; its reply is sent without its body.
pub fn find(method: &Method, path: &str) -> Result<(Route, Params), Error> {
    let method = if method == Method::HEAD { &Method::GET } else { method };
    let mut known = false;
    for (route, of, pattern) in &TABLE {
        let Some(params) = matches(pattern, path) else { continue };
        if method == of {
            let decoded =
                params.into_iter().map(|text| decode(text).ok_or(text)).collect::<Result<Params, &str>>();
            let decoded =
                decoded.map_err(|text| Error::malformed(format!("{text:?} is not percent-encoded UTF-8")))?;
            return Ok((*route, decoded));
        }
        known = true;
    }
    match known {
        true => Err(Error::new(Code::MethodNotAllowed, format!("{path} does not know {method}"))),
        false => Err(Error::new(Code::RouteNotFound, format!("there is no path {path}"))),
    }
}

/// The methods that a path knows, as in the header Allow.
pub fn allowed(path: &str) -> String {
    let of_path = TABLE.iter().filter(|(.., pattern)| matches(pattern, path).is_some());
    let spelled =
        |method: &Method| if *method == Method::GET { "GET, HEAD" } else { method.as_str() }.to_string();
    of_path.map(|(_, method, _)| spelled(method)).collect::<Vec<_>>().join(", ")
}

fn matches<'a>(pattern: &str, path: &'a str) -> Option<Vec<&'a str>> {
    let mut params = Vec::new();
    let (mut left, mut right) = (pattern.split('/'), path.split('/'));
    loop {
        match (left.next(), right.next()) {
            (None, None) => return Some(params),
            (Some(name), Some(text)) if name.starts_with('{') && !text.is_empty() => params.push(text),
            (Some(name), Some(text)) if name == text => {}
            _ => return None,
        }
    }
}

/// Undoes percent-encoding; None if what comes out is no text.
pub fn decode(text: &str) -> Option<String> {
    if !text.contains('%') {
        return Some(text.to_string());
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let mut digit = || rest.next().and_then(|b| (b as char).to_digit(16));
            let (high, low) = (digit()?, digit()?);
            bytes.push((high * 16 + low) as u8);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_is_found_by_its_own_path() {
        for (route, method, pattern) in &TABLE {
            let path = pattern.replace(['{', '}'], "");
            assert_eq!(find(method, &path).expect("found").0, *route, "{path}");
        }
    }

    #[test]
    fn paths_mean_one_thing_or_nothing() {
        type Expected = Result<(Route, &'static [&'static str]), &'static str>;
        let table: &[(Method, &str, Expected)] = &[
            (Method::GET, "/v1/accounts/%7Bm42%7D:fees", Ok((Route::GetAccount, &["{m42}:fees"]))),
            (Method::GET, "/v1/accounts/{m42}:fees", Ok((Route::GetAccount, &["{m42}:fees"]))),
            (Method::HEAD, "/v1/requests/a/b", Ok((Route::GetRequest, &["a", "b"]))),
            (Method::HEAD, "/v1/transactions", Ok((Route::FindTransactions, &[]))),
            (Method::HEAD, "/v1/batches", Err("method_not_allowed")),
            (Method::GET, "/v1/requests/a/b", Ok((Route::GetRequest, &["a", "b"]))),
            (Method::GET, "/v1/accounts/", Err("route_not_found")),
            (Method::GET, "/v1/accounts/a/", Err("route_not_found")),
            (Method::GET, "/v1/accounts/a/limit", Err("method_not_allowed")),
            (Method::DELETE, "/v1/accounts/a", Err("method_not_allowed")),
            (Method::GET, "/v1/accounts/%7", Err("malformed")),
            (Method::GET, "/v1/accounts/%ff", Err("malformed")),
            (Method::GET, "/", Err("route_not_found")),
            (Method::GET, "", Err("route_not_found")),
        ];
        for (method, path, expected) in table {
            let found = find(method, path);
            let found = found
                .as_ref()
                .map(|(route, params)| (*route, params.iter().map(String::as_str).collect::<Vec<_>>()));
            let expected =
                expected.as_ref().map(|(route, params)| (*route, params.to_vec())).map_err(|code| *code);
            assert_eq!(found.map_err(|error| error.code()), expected, "{method} {path}");
        }
    }

    #[test]
    fn a_path_tells_its_methods() {
        let table = [
            ("/v1/transactions", "POST, GET, HEAD"),
            ("/v1/batches", "POST"),
            ("/v1/accounts/a", "GET, HEAD"),
            ("/v1/currencies/EUR", "PUT"),
            ("/v1/accounts/a/holds", "POST, GET, HEAD"),
            ("/metrics", "GET, HEAD"),
            ("/v2", ""),
        ];
        for (path, expected) in table {
            assert_eq!(allowed(path), expected, "{path}");
        }
    }
}
