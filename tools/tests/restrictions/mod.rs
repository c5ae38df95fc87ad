//! `twinset restriction`, and the legs of `twinset transaction post` that are about restricted funds: what they ask a router
//! for, and what they print of the answer.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::{against, fakes, stderr, stdout};

const NAME: &str = "1-1-8-0";
const PATH: &str = "/v1/accounts/%7Bs%7D:a/restrictions";

/// What the router was asked: method, path and body.
type Asked = Arc<Mutex<Vec<(String, String, Value)>>>;

fn restriction() -> Value {
    json!({
        "restriction": NAME, "account": "{s}:a", "currency": "EUR", "state": "open", "amount": "25.00",
        "left": "20.00", "until": "2026-12-24T18:00:00Z",
        "made": {"set": 1, "index": 8, "time": "2026-11-29T10:00:00Z"},
    })
}

async fn router() -> (String, Asked) {
    let asked = Asked::default();
    let seen = asked.clone();
    let url = fakes::router::start(move |method, path, body| {
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        seen.lock().unwrap().push((method.to_owned(), path.to_owned(), body));
        let position = json!({"set": 1, "index": 11});
        let reply = match (method, path.strip_prefix(PATH)) {
            ("GET", Some(rest)) if rest.starts_with('?') => {
                json!({"restrictions": [restriction()], "next": NAME})
            }
            ("GET", _) => json!({"restriction": restriction(), "age_ms": 0}),
            ("POST", Some(_)) => json!({
                "restriction": restriction(), "released": "5.00", "withdrawable": "80.00",
                "position": position, "replayed": false,
            }),
            _ => json!({"transaction": "1-1-11-0", "replayed": false, "position": position, "postings": []}),
        };
        Some((200, reply.to_string()))
    })
    .await;
    (url, asked)
}

/// The last call; of a write without the request id that the command made up.
fn last(asked: &Asked) -> (String, Value) {
    let (_, path, mut body) = asked.lock().unwrap().last().unwrap().clone();
    if let Some(body) = body.as_object_mut() {
        body.remove("request_id");
    }
    (path, body)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restriction_is_released_shown_and_listed() {
    let (url, asked) = router().await;
    let released = against(&url, &["restriction", "release", "{s}:a", NAME, "--amount", "5.00"]).await;
    let expected = "5.00 released of 1-1-8-0: open, 20.00 of 25.00 left; 80.00 withdrawable on {s}:a\n";
    assert_eq!(stdout(&released), expected, "{}", stderr(&released));
    assert_eq!(last(&asked), (format!("{PATH}/{NAME}/release"), json!({"amount": "5.00"})));

    let shown = stdout(&against(&url, &["restriction", "show", "{s}:a", NAME]).await);
    for line in ["left           20.00", "made           2026-11-29T10:00:00Z (set 1, index 8)"] {
        assert!(shown.lines().any(|shown| shown == line), "{line} is missing in\n{shown}");
    }
    assert_eq!(last(&asked).0, format!("{PATH}/{NAME}"));

    let list = ["restriction", "list", "{s}:a", "--state", "open", "--page-size", "1", "--stale"];
    let listed = against(&url, &list).await;
    assert!(stdout(&listed).contains("20.00"), "{}", stdout(&listed));
    assert!(stderr(&listed).contains("twinset restriction list '{s}:a' --state open --after 1-1-8-0"));
    assert_eq!(last(&asked).0, format!("{PATH}?page_size=1&state=open&consistency=stale"));
}

#[tokio::test(flavor = "multi_thread")]
async fn legs_are_marked_as_they_are_posted() {
    let (url, asked) = router().await;
    let post = |more: &'static [&'static str]| {
        let mut arguments = vec!["transaction", "post", "--debit", "{s}:a:5", "--credit", "{s}:b:5"];
        arguments.extend(more);
        arguments
    };
    let marks: &[&str] = &["--withdrawal", "{s}:a", "--restricted", "{s}:b=2026-12-24T18:00:00Z"];
    let posted = against(&url, &post(marks)).await;
    assert!(stdout(&posted).starts_with("1-1-11-0"), "{}", stderr(&posted));
    let legs = json!([
        {"account": "{s}:a", "side": "debit", "amount": "5", "withdrawal": true},
        {"account": "{s}:b", "side": "credit", "amount": "5", "restricted": {"until": "2026-12-24T18:00:00Z"}},
    ]);
    assert_eq!(last(&asked).1["legs"], legs);
    assert_eq!(against(&url, &post(&["--restricted", "{s}:b"])).await.status.code(), Some(0));
    assert_eq!(last(&asked).1["legs"][1]["restricted"], json!({}));
    assert_eq!(against(&url, &post(&["--withdrawal", "{s}:c"])).await.status.code(), Some(64));
}
