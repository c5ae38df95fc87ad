//! `twinset sweep`: what it asks a router for, and what it prints of the answer.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::{against, fakes, stderr, stdout};

const PATH: &str = "/v1/accounts/%7Bs%7D:till/sweep";

/// What the router was asked: method, path and body.
type Asked = Arc<Mutex<Vec<(String, String, Value)>>>;

fn sweep() -> Value {
    json!({
        "sweep": "1-1-8-0", "account": "{s}:till", "currency": "EUR", "to": "vault", "keep": "5.00",
        "every": {"seconds": 3600, "from": "2026-12-24T18:00:00Z"}, "runs": 7, "next_at": "2026-12-25T01:00:00Z",
    })
}

async fn router() -> (String, Asked) {
    let asked = Asked::default();
    let seen = asked.clone();
    let url = fakes::router::start(move |method, path, body| {
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        seen.lock().unwrap().push((method.to_owned(), path.to_owned(), body));
        let reply = match (method, path.starts_with("/v1/sets/")) {
            ("GET", true) => json!({"sweeps": [sweep()], "next": "{s}:till"}),
            ("GET", false) => json!({"sweep": sweep(), "age_ms": 0}),
            _ => json!({"position": {"set": 1, "index": 11}, "replayed": false}),
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
        assert!(body.remove("request_id").is_some());
    }
    (path, body)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_is_set_removed_shown_and_listed() {
    let (url, asked) = router().await;
    for (schedule, body) in [
        (
            &["--every", "3600", "--from", "2026-12-24T18:00:00Z", "--keep", "5.00"][..],
            json!({"to": "vault", "keep": "5.00", "every": {"seconds": 3600, "from": "2026-12-24T18:00:00Z"}}),
        ),
        (&["--every", "60"], json!({"to": "vault", "every": {"seconds": 60}})),
        (&["--above", "10"], json!({"to": "vault", "above": "10"})),
        (&["--daily"], json!({"to": "vault", "daily": true})),
    ] {
        let arguments = [&["sweep", "set", "{s}:till", "--to", "vault"], schedule].concat();
        let set = against(&url, &arguments).await;
        assert_eq!(stdout(&set), "the sweep of {s}:till is set\n", "{}", stderr(&set));
        assert_eq!(last(&asked), (PATH.to_owned(), body));
    }
    let removed = against(&url, &["sweep", "remove", "{s}:till"]).await;
    assert_eq!(stdout(&removed), "the sweep of {s}:till is removed\n", "{}", stderr(&removed));
    assert_eq!(last(&asked), (format!("{PATH}/remove"), json!({})));

    let shown = stdout(&against(&url, &["sweep", "show", "{s}:till", "--stale"]).await);
    for line in ["keep           5.00", "every          3600 s, counted from 2026-12-24T18:00:00Z"] {
        assert!(shown.lines().any(|shown| shown == line), "{line} is missing in\n{shown}");
    }
    assert_eq!(asked.lock().unwrap().last().unwrap().1, format!("{PATH}?consistency=stale"));

    let listed = against(&url, &["sweep", "list", "--set", "1", "--page-size", "1", "--after", "a"]).await;
    let row = stdout(&listed).lines().nth(1).unwrap_or_default().to_owned();
    for cell in ["{s}:till", "vault", "5.00", "every 3600 s", "7", "2026-12-25T01:00:00Z"] {
        assert!(row.contains(cell), "{cell} is missing in {row}");
    }
    assert!(stderr(&listed).contains("twinset sweep list --set 1 --after '{s}:till'"));
    assert_eq!(asked.lock().unwrap().last().unwrap().1, "/v1/sets/1/sweeps?page_size=1&after=a");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_schedule_is_said_and_no_more() {
    let (url, asked) = router().await;
    for schedule in [&[][..], &["--daily", "--every", "60"], &["--daily", "--from", "x"], &["--every", "0"]] {
        let arguments = [&["sweep", "set", "a", "--to", "b"], schedule].concat();
        assert_eq!(against(&url, &arguments).await.status.code(), Some(64), "{schedule:?}");
    }
    assert!(asked.lock().unwrap().is_empty(), "nothing was asked");
}
