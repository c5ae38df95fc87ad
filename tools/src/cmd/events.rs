//! `twinset events`: what was decided in one set or in all, and what is being decided, through a router: one line per event.

use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use http::{HeaderValue, Method, Uri, header};
use http_body_util::BodyExt;
use serde_json::Value;

use super::Context;
use super::router::{self, CallError, Problem, Router, segment};
use crate::{error, http1, out};

/// What `--help` says.
pub const HELP: &str = "Show what was decided in one set or in all, and changed something: bookings, holds, accounts, definitions, marks of \
    durability; each set in the order of its log.\n\n\
    One line per event; with --json one object per line, as docs/reference/events.md describes it. --after takes \"resume\" \
    of an event. --follow goes on for ever, through failover and switch, and at the next router if one goes away.\n\n\
    Examples:\n  twinset events --set 1\n  twinset events --follow\n  \
    twinset events --set 1 --after 1-1-1842-17 --limit 10\n  \
    twinset events --follow --json | jq -r 'select(.kind == \"booked\") | .transaction.request_id'";

/// Events of a page at most.
const PAGE_MAX: u64 = 1000;
/// A router that is silent for so long is gone: it says something every ten seconds.
const SILENCE: Duration = Duration::from_secs(30);
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// Show what was decided in a set or in all, in order, and follow it.
#[derive(Debug, Args)]
pub struct Events {
    /// Only this set; without it, all.
    #[arg(long)]
    set: Option<u32>,
    /// Behind this event: its `resume`.
    #[arg(long, value_name = "EVENT")]
    after: Option<String>,
    /// Go on with what happens.
    #[arg(long, conflicts_with = "limit")]
    follow: bool,
    /// Events at most.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    limit: u64,
}

impl Events {
    fn path(&self) -> String {
        self.set.map_or_else(|| "/v1/events".to_owned(), |set| format!("/v1/sets/{set}/events"))
    }
}

/// Runs `twinset events`.
pub async fn run(asked: Events, context: &Context) -> anyhow::Result<()> {
    let after = asked.after.clone().unwrap_or_default();
    if asked.follow { follow(&asked, after, context).await } else { list(&asked, after, context).await }
}

async fn list(asked: &Events, mut after: String, context: &Context) -> anyhow::Result<()> {
    let mut router = Router::new(&context.routers()?[0])?;
    let mut left = asked.limit;
    loop {
        let at = if after.is_empty() { String::new() } else { format!("&after={}", segment(&after)) };
        let path = format!("{}?page_size={}{at}", asked.path(), left.min(PAGE_MAX));
        let page = router.call(Method::GET, &path, None).await.map_err(failed)?;
        // Of all sets a page has as many of each.
        for event in page["events"].as_array().into_iter().flatten().take(left as usize) {
            show(event, context.json)?;
            left -= 1;
            event["resume"].as_str().unwrap_or_default().clone_into(&mut after);
        }
        if left == 0 {
            out::say(&format!("more: the same command with --after {after}"));
            return Ok(());
        }
        page["next"].as_str().unwrap_or_default().clone_into(&mut after);
        if page["more"] != true {
            return Ok(());
        }
    }
}

async fn follow(asked: &Events, mut after: String, context: &Context) -> anyhow::Result<()> {
    let routers = context.routers()?;
    let mut said = String::new();
    for router in routers.iter().cycle() {
        let Err(error) = read(router, asked, &mut after, context.json).await else { continue };
        match error {
            Ended::Problem(problem) if ["malformed", "not_found"].contains(&&*problem.code) => {
                return Err(failed(CallError::Problem(problem)));
            }
            Ended::Output(error) => return Err(error),
            Ended::Problem(problem) => said = told(said, format!("{router}: {}", problem.detail)),
            Ended::Broken(why) => said = told(said, format!("{router}: {why}")),
        }
        tokio::time::sleep(AGAIN_AFTER).await;
    }
    Ok(())
}

/// Says why a stream has ended, but not the same over and over.
fn told(before: String, now: String) -> String {
    if before != now {
        out::say(&format!("{now}; going on at the next router"));
    }
    now
}

/// Why a stream has ended.
enum Ended {
    Problem(Problem),
    Broken(String),
    Output(anyhow::Error),
}

/// Reads a stream until it ends.
async fn read(router: &str, asked: &Events, after: &mut String, json: bool) -> Result<(), Ended> {
    let broken = |error: http1::Error| Ended::Broken(error.to_string());
    let addr = http1::authority(router).map_err(broken)?;
    let mut connection = http1::Connection::open(&addr, SILENCE).await.map_err(broken)?;
    let path: Uri = asked.path().parse().expect("it is a path");
    let mut request = http1::request(Method::GET, &addr, &path, Bytes::new());
    request.headers_mut().insert(header::ACCEPT, HeaderValue::from_static("text/event-stream"));
    if !after.is_empty() {
        let seen =
            HeaderValue::from_str(after).map_err(|_| Ended::Broken("--after is no text of ASCII".into()))?;
        request.headers_mut().insert("last-event-id", seen);
    }
    let response = connection.begin(request, SILENCE).await.map_err(broken)?;
    let status = response.status();
    let mut body = response.into_body();
    if !status.is_success() {
        let body = body.collect().await.map_err(|error| Ended::Broken(error.to_string()))?.to_bytes();
        return Err(match serde_json::from_slice(&body) {
            Ok(problem) => Ended::Problem(problem),
            Err(_) => Ended::Broken(format!("{status}")),
        });
    }
    let mut rest = Vec::new();
    loop {
        let frame = tokio::time::timeout(SILENCE, body.frame()).await;
        let frame = frame.map_err(|_| Ended::Broken("it has gone silent".into()))?;
        let Some(frame) = frame else { return Err(Ended::Broken("the stream has ended".into())) };
        let frame = frame.map_err(|error| Ended::Broken(error.to_string()))?;
        rest.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
        while let Some(end) = rest.windows(2).position(|two| two == b"\n\n") {
            let block: Vec<u8> = rest.drain(..end + 2).collect();
            take(&String::from_utf8_lossy(&block), after, json)?;
        }
    }
}

/// One block of a stream.
fn take(block: &str, after: &mut String, json: bool) -> Result<(), Ended> {
    let line = |name: &str| block.lines().find_map(|line| line.strip_prefix(name));
    let Some(data) = line("data: ") else { return Ok(()) };
    if line("event: ") == Some("problem") {
        let unread = || Ended::Broken("the stream has ended".into());
        return Err(serde_json::from_str(data).map_or_else(|_| unread(), Ended::Problem));
    }
    let event = serde_json::from_str(data).map_err(|error| Ended::Broken(error.to_string()))?;
    show(&event, json).map_err(Ended::Output)?;
    line("id: ").unwrap_or_default().clone_into(after);
    Ok(())
}

fn show(event: &Value, json: bool) -> anyhow::Result<()> {
    out::line(&if json { event.to_string() } else { text(event) })
}

/// For people: when, which, what.
fn text(event: &Value) -> String {
    let field = |name: &str| event[name].as_str().unwrap_or_default();
    let time = event["position"]["time"].as_str().unwrap_or_default();
    format!("{time:<30}  {:<16}  {:<17}  {}", field("event"), field("kind"), about(event))
        .trim_end()
        .to_owned()
}

fn about(event: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let transaction = &event["transaction"];
    if transaction.is_object() {
        let leg = |leg: &Value| {
            let sign = if leg["side"] == "debit" { "+" } else { "-" };
            format!("{} {sign}{} {}", text(&leg["account"]), text(&leg["amount"]), text(&leg["currency"]))
        };
        let legs: Vec<String> = transaction["legs"].as_array().into_iter().flatten().map(leg).collect();
        let mut parts = vec![legs.join(", ")];
        for (name, word) in [("request_id", "request"), ("reverses", "reverses"), ("part_of", "part of")] {
            let value = text(&transaction[name]);
            parts.extend((!value.is_empty()).then(|| format!("{word} {value}")));
        }
        return parts.join("; ");
    }
    let hold = &event["hold"];
    if hold.is_object() {
        let [account, amount, left, currency] =
            ["account", "amount", "left", "currency"].map(|name| text(&hold[name]));
        return format!("{account}: {left} of {amount} {currency} left in {}", text(&hold["hold"]));
    }
    let restriction = &event["restriction"];
    if restriction.is_object() {
        let [account, left, currency] = ["account", "left", "currency"].map(|name| text(&restriction[name]));
        let (released, name) = (text(&event["released"]), text(&restriction["restriction"]));
        return format!("{account}: {released} {currency} released, {left} left of {name}");
    }
    let refused = &event["sweep_refused"];
    if refused.is_object() {
        let [account, sweep, detail] = ["account", "sweep", "detail"].map(|name| text(&refused[name]));
        return format!("{account}: run {} of {sweep} refused: {detail}", refused["run"]);
    }
    let change = &event["change"];
    let names = ["account", "code", "subject", "currency", "limit", "mode", "name"];
    let mut parts: Vec<String> = names.iter().map(|name| text(&change[*name])).collect();
    parts.push(text(&event["durability"]));
    parts.retain(|part| !part.is_empty());
    parts.join(" ")
}

fn failed(error: CallError) -> anyhow::Error {
    match &error {
        CallError::Problem(problem) if problem.code == "malformed" => error::failure(
            format!("there are no such events: {error}"),
            "--after takes `resume` of an event, of the same set or of all; --json shows it",
        ),
        CallError::Problem(problem) if problem.code == "not_found" => error::failure(
            format!("there are no such events: {error}"),
            "`twinset status` lists the sets; docs/reference/events.md says when an event is not there any more",
        ),
        _ => router::read_failed("the events cannot be read", error),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_event_is_a_line() {
        let leg = |account: &str, side: &str| json!({"account": account, "side": side, "amount": "2.50", "currency": "EUR"});
        let position = json!({"set": 1, "index": 5, "time": "2026-03-01T12:00:00.000000001Z"});
        let booked = json!({
            "event": "1-1-5-0", "kind": "booked", "position": position,
            "transaction": {
                "legs": [leg("{s}:a", "debit"), leg("{s}:b", "credit")], "request_id": "order-1", "part_of": "2-1-9-0",
            },
        });
        assert_eq!(
            text(&booked),
            "2026-03-01T12:00:00.000000001Z  1-1-5-0           booked             \
             {s}:a +2.50 EUR, {s}:b -2.50 EUR; request order-1; part of 2-1-9-0"
        );
        let hold =
            json!({"hold": "1-1-4-0", "account": "a", "amount": "5.00", "left": "2.00", "currency": "EUR"});
        assert_eq!(
            about(&json!({"kind": "hold_released", "hold": hold})),
            "a: 2.00 of 5.00 EUR left in 1-1-4-0"
        );
        let restriction =
            json!({"restriction": "1-1-4-0", "account": "a", "left": "2.00", "currency": "EUR"});
        assert_eq!(
            about(&json!({"kind": "restriction_released", "restriction": restriction, "released": "3.00"})),
            "a: 3.00 EUR released, 2.00 left of 1-1-4-0"
        );
        assert_eq!(about(&json!({"change": {"account": "a", "limit": "none"}})), "a none");
        let refused =
            json!({"account": "a", "sweep": "1-1-4-0", "run": 3, "detail": "the account b is closed"});
        assert_eq!(
            about(&json!({"kind": "sweep_refused", "sweep_refused": refused})),
            "a: run 3 of 1-1-4-0 refused: the account b is closed"
        );
        assert_eq!(about(&json!({"durability": "DEGRADED"})), "DEGRADED");
    }

    #[test]
    fn a_block_moves_the_place_and_a_problem_ends_it() {
        let mut after = "1-1-4-0".to_owned();
        for quiet in ["retry: 1000\n\n", ": nothing happens\n\n"] {
            assert!(take(quiet, &mut after, true).is_ok());
        }
        assert_eq!(after, "1-1-4-0");
        assert!(take("id: 1-1-5-0,2-1-3-0\ndata: {\"event\":\"1-1-5-0\"}\n\n", &mut after, true).is_ok());
        assert_eq!(after, "1-1-5-0,2-1-3-0");
        let problem = "event: problem\ndata: {\"code\":\"not_found\",\"detail\":\"gone\"}\n\n";
        assert!(
            matches!(take(problem, &mut after, true), Err(Ended::Problem(problem)) if problem.detail == "gone")
        );
        assert!(matches!(take("id: x\ndata: {\n\n", &mut after, true), Err(Ended::Broken(_))));
        assert_eq!(after, "1-1-5-0,2-1-3-0");
    }
}
