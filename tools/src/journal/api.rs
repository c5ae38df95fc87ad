//! What the import and the export need of a router: one call, JSON in, JSON out. The command gives its HTTP client,
//! tests a router in memory.

use std::collections::BTreeMap;
use std::future::Future;

use http::Method;
use serde_json::Value;

/// A router's HTTP API.
pub trait HttpApi: Sync {
    /// Sends one request; gives the JSON of a successful answer.
    fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> impl Future<Output = Result<Value, CallFailed>> + Send;
}

/// A call that did not succeed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{detail} ({code})")]
pub struct CallFailed {
    /// Stable and documented; [`NO_ANSWER`] if the router said nothing.
    pub code: String,
    /// "rejected", "not_applied" or "unknown".
    pub outcome: String,
    /// One sentence.
    pub detail: String,
}

/// The code of a call without answer.
pub const NO_ANSWER: &str = "no_answer";

impl CallFailed {
    /// From the `problem+json` of a router, or of one item of a batch.
    pub fn of_problem(problem: &Value) -> Self {
        let text = |key: &str| problem.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        CallFailed { code: text("code"), outcome: text("outcome"), detail: text("detail") }
    }

    /// Whether the same request may end otherwise when it is sent again. Safe for every write here, because each
    /// carries a request id.
    pub fn passes(&self) -> bool {
        const PASSING: [&str; 8] = [
            NO_ANSWER,
            "overloaded",
            "set_queue_full",
            "no_catalogue",
            "no_leader",
            "deadline_exceeded",
            "wrong_set",
            "draining",
        ];
        self.outcome == "unknown" || (self.outcome != "rejected" && PASSING.contains(&self.code.as_str()))
    }
}

/// An id as a part of a path: braces and everything else outside the plain alphabet are escaped.
pub fn segment(id: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:".contains(&byte);
    id.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

/// A string-to-string object, as the router gives metadata.
pub fn metadata_of(value: &Value) -> BTreeMap<String, String> {
    let object = value.get("metadata").and_then(Value::as_object);
    let text = |(key, value): (&String, &Value)| Some((key.clone(), value.as_str()?.to_owned()));
    object.map(|object| object.iter().filter_map(text).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_passing_troubles_are_worth_another_try() {
        let failed = |code: &str, outcome: &str| CallFailed {
            code: code.into(),
            outcome: outcome.into(),
            detail: String::new(),
        };
        assert!(failed("unknown", "unknown").passes());
        assert!(failed("set_queue_full", "not_applied").passes());
        assert!(failed(NO_ANSWER, "").passes());
        assert!(!failed("malformed", "not_applied").passes());
        assert!(!failed("unbalanced", "rejected").passes());
    }

    #[test]
    fn ids_with_braces_become_path_segments() {
        assert_eq!(segment("{m42}:fees"), "%7Bm42%7D:fees");
        assert_eq!(segment("a/b?c"), "a%2Fb%3Fc");
    }
}
