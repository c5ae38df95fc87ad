//! A call to a router's HTTP API, and its honest errors turned into words and a next step. Shared by the commands that
//! read and write accounts and transactions, and by the import and export of journals.

use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use http::{Method, Request, StatusCode, Uri};
use http_body_util::Full;
use serde::Deserialize;
use serde_json::Value;

pub use crate::journal::api::segment;
use crate::{error, http1, out};

/// More than the longest deadline a router grants.
const PATIENCE: Duration = Duration::from_secs(65);

/// Every write has an id; repeating it books once.
#[derive(Debug, Args)]
pub struct RequestId {
    /// Repeats an earlier request instead of making a new one.
    #[arg(long, value_name = "ID")]
    request_id: Option<String>,
}

impl RequestId {
    /// The one that was given, or a new one.
    pub fn or_new(self) -> String {
        self.request_id.unwrap_or_else(|| uuid::Uuid::new_v4().to_string())
    }
}

/// How fresh a read is to be.
#[derive(Clone, Copy, Debug, Args)]
pub struct Freshness {
    /// Answer from any replica, with its age, instead of the newest state.
    #[arg(long)]
    stale: bool,
}

impl Freshness {
    /// The value of the parameter `consistency`; none: the newest state.
    pub fn consistency(self) -> Option<&'static str> {
        self.stale.then_some("stale")
    }

    /// The query of a read that has no other parameters.
    pub fn query(self) -> &'static str {
        if self.stale { "?consistency=stale" } else { "" }
    }
}

/// Speaks to one router, one call at a time over one connection that is opened again after it broke.
pub struct Router {
    addr: String,
    open: Option<http1::Connection>,
}

/// A problem as the router tells it.
#[derive(Clone, Debug, Deserialize)]
pub struct Problem {
    /// Stable and documented.
    pub code: String,
    /// "rejected", "not_applied" or "unknown"; reads and malformed requests may have none.
    #[serde(default)]
    pub outcome: String,
    /// One sentence.
    #[serde(default)]
    pub detail: String,
    /// A rejection's own fields, among them what is unknown.
    #[serde(flatten)]
    pub fields: serde_json::Map<String, Value>,
}

/// A call that did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The router answered with a problem.
    #[error("{} ({})", .0.detail, .0.code)]
    Problem(Problem),
    /// There was no answer, or none that can be read.
    #[error("{reason}")]
    NoAnswer {
        /// Why.
        reason: String,
        /// Whether the request may have arrived all the same.
        sent: bool,
    },
}

impl Problem {
    /// A field of the rejection, or what stands for it.
    fn field<'a>(&'a self, name: &str, otherwise: &'a str) -> &'a str {
        self.fields.get(name).and_then(Value::as_str).unwrap_or(otherwise)
    }
}

impl CallError {
    /// Whether the request may have been booked.
    pub fn unknown(&self) -> bool {
        match self {
            CallError::Problem(problem) => problem.outcome == "unknown",
            CallError::NoAnswer { sent, .. } => *sent,
        }
    }

    /// The stable code, if the router answered.
    pub fn code(&self) -> Option<&str> {
        match self {
            CallError::Problem(problem) => Some(&problem.code),
            CallError::NoAnswer { .. } => None,
        }
    }
}

impl Router {
    /// Will speak to the router at `url` (`http://ADDRESS:PORT`).
    pub fn new(url: &str) -> anyhow::Result<Self> {
        let addr = http1::authority(url)
            .map_err(|cause| error::usage(cause.to_string(), "give it as --router http://ADDRESS:PORT"))?;
        Ok(Router { addr, open: None })
    }

    /// Sends one request and reads the JSON of a successful answer.
    pub async fn call(
        &mut self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, CallError> {
        let no_answer = |reason: String, sent| CallError::NoAnswer { reason, sent };
        let body = body.map_or_else(Bytes::new, |value| Bytes::from(value.to_string()));
        let uri: Uri = path.parse().map_err(|_| no_answer(format!("{path} is no path"), false))?;
        let request = http1::request(method, &self.addr, &uri, body);
        let (status, body) =
            self.send(request).await.map_err(|error| no_answer(with_sources(&error), !error.unsent()))?;
        if status.is_success() {
            return serde_json::from_slice(&body)
                .map_err(|cause| no_answer(format!("the answer cannot be read: {cause}"), true));
        }
        Err(match serde_json::from_slice::<Problem>(&body) {
            Ok(problem) => CallError::Problem(problem),
            Err(_) => no_answer(format!("{status}: {}", String::from_utf8_lossy(&body)), true),
        })
    }

    /// Reads; a failure in words, which begin with `failed`: what could not be done.
    pub async fn read(&mut self, path: &str, failed: &str) -> anyhow::Result<Value> {
        self.call(Method::GET, path, None).await.map_err(|error| read_failed(failed, error))
    }

    /// Writes; a failure in words about what was asked. The request id is said before anything is sent: whoever loses the
    /// terminal, the command or the connection can ask again, and books at most once.
    pub async fn write(&mut self, path: &str, body: &Value, asked: Asked<'_>) -> anyhow::Result<Value> {
        let id = asked.id;
        out::say(&format!(
            "request id {id}: should no answer come, the same command with --request-id {id} does it at most once"
        ));
        self.call(Method::POST, path, Some(body)).await.map_err(|error| write_failed(asked, error))
    }

    async fn send(&mut self, request: Request<Full<Bytes>>) -> Result<(StatusCode, Bytes), http1::Error> {
        // A connection that the router closed meanwhile, or that failed, is not used again.
        let mut connection = match self.open.take().filter(http1::Connection::is_open) {
            Some(connection) => connection,
            None => http1::Connection::open(&self.addr, PATIENCE).await?,
        };
        let answer = connection.call(request, PATIENCE).await?;
        self.open = Some(connection);
        Ok(answer)
    }
}

fn with_sources(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    text
}

/// A failed read in words.
pub fn read_failed(what: &str, error: CallError) -> anyhow::Error {
    let next = match &error {
        CallError::Problem(problem) if problem.code.ends_with("not_found") => {
            "check the id; `twinset transaction list --set N` shows what a set has booked"
        }
        CallError::Problem(_) => "docs/reference/errors.md explains the code",
        CallError::NoAnswer { .. } => {
            "is a router listening there? `twinset dev ps`, or name one with --router"
        }
    };
    error::failure(format!("{what}: {error}"), next)
}

/// What was asked of a router.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// What should have been changed.
    pub what: &'a str,
    /// How: "opened", "booked".
    pub done: &'a str,
    /// The request id.
    pub id: &'a str,
    /// The account in whose scope it is unique, if that is known.
    pub scope: Option<&'a str>,
}

/// A failed write in words: `unknown` tells how to ask again without booking twice.
pub fn write_failed(Asked { what, done, id, scope }: Asked<'_>, error: CallError) -> anyhow::Error {
    let next = if error.unknown() {
        let scope = scope.map_or("ACCOUNT".to_owned(), |scope| format!("'{scope}'"));
        format!(
            "it may have been booked: run the same command with --request-id {id}, which books at most once, or look: \
             twinset transaction request --scope {scope} --id {id}"
        )
    } else {
        match &error {
            CallError::Problem(problem) if problem.code == "currency_unknown" => {
                format!("define it: twinset currency define {} --scale N", problem.field("currency", "CODE"))
            }
            CallError::Problem(problem) if problem.code == "subject_unknown" => format!(
                "define it: twinset subject define {} --name NAME --side debit|credit",
                problem.field("subject", "CODE")
            ),
            CallError::Problem(problem) if problem.outcome == "rejected" => {
                "the ledger refused it, and will under the same request id; docs/reference/errors.md explains the code"
                    .to_owned()
            }
            CallError::Problem(_) => "nothing was booked: correct it or try again".to_owned(),
            CallError::NoAnswer { .. } => {
                "nothing was sent: is a router listening there? `twinset dev ps`, or name one with --router".to_owned()
            }
        }
    };
    let end = match error.unknown() {
        true => format!("it is not known whether {what} was {done}"),
        false => format!("{what} was not {done}"),
    };
    error::failure(format!("{end}: {error}"), next)
}

/// What people are told of a write that was booked before.
pub fn again(reply: &Value) -> &'static str {
    if reply["replayed"] == true { " before, under the same request id" } else { "" }
}

/// Adds a field to a body, if there is a value.
pub fn add(body: &mut Value, name: &str, value: Option<impl Into<Value>>) {
    if let Some(value) = value {
        body[name] = value.into();
    }
}

/// `KEY=VALUE` pairs as a JSON object.
pub fn metadata(pairs: &[String]) -> anyhow::Result<Value> {
    let mut map = serde_json::Map::new();
    for pair in pairs {
        let Some((key, value)) = pair.split_once('=') else {
            return Err(error::usage(format!("{pair} is no metadata"), "give it as --metadata KEY=VALUE"));
        };
        map.insert(key.to_owned(), value.into());
    }
    Ok(Value::Object(map))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_end_names_the_request_id() {
        let problem = r#"{"code":"deadline_exceeded","outcome":"unknown","detail":"late"}"#;
        let asked = Asked { what: "{s}:a", done: "opened", id: "r-1", scope: Some("{s}:a") };
        let text = error::text(&write_failed(asked, told(problem)));
        assert!(text.contains("it is not known whether {s}:a was opened: late"), "{text}");
        assert!(text.contains("--request-id r-1"), "{text}");
        assert!(text.contains("twinset transaction request --scope '{s}:a' --id r-1"), "{text}");
    }

    fn told(problem: &str) -> CallError {
        CallError::Problem(serde_json::from_str(problem).unwrap())
    }

    #[test]
    fn what_is_not_defined_says_how_to_define_it() {
        for (problem, next) in [
            (
                r#"{"code":"currency_unknown","outcome":"rejected","currency":"POINTS"}"#,
                "twinset currency define POINTS --scale",
            ),
            (
                r#"{"code":"subject_unknown","outcome":"rejected","subject":"clearing"}"#,
                "twinset subject define clearing --name",
            ),
        ] {
            let asked = Asked { what: "a", done: "opened", id: "r", scope: Some("a") };
            let text = error::text(&write_failed(asked, told(problem)));
            assert!(text.contains("a was not opened: ") && text.contains(next), "{text}");
        }
    }

    #[test]
    fn metadata_wants_an_equals_sign() {
        assert_eq!(metadata(&["a=b=c".into()]).unwrap()["a"], "b=c");
        assert!(metadata(&["a".into()]).is_err());
    }
}
