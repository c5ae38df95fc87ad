//! `twinset hold`: what it asks a router for, and what it prints of the answer.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::{against, fakes, stderr, stdout, twinset};

const HOLD: &str = "1-1-8-0";
const PATH: &str = "/v1/accounts/%7Bs%7D:a/holds";

/// What the router was asked: method, path and body.
type Asked = Arc<Mutex<Vec<(String, String, Value)>>>;

fn hold() -> Value {
    json!({
        "hold": HOLD, "account": "{s}:a", "currency": "EUR", "state": "open", "amount": "25.00",
        "captured": "5.00", "capturing": "0.00", "released": "0.00", "left": "20.00",
        "expires_at": "2026-12-24T18:00:00Z",
        "placed": {"set": 1, "index": 8, "time": "2026-11-29T10:00:00Z"}, "request_id": "h", "reason": 0,
        "metadata": {"order": "4711"},
        "journal": [
            {"position": {"set": 1, "index": 9, "time": "2026-11-29T10:01:00Z"}, "change": "captured",
                "amount": "5.00", "transaction": "1-1-9-0"},
            {"position": {"set": 1, "index": 10, "time": "2026-11-29T10:02:00Z"}, "change": "extended"},
        ],
    })
}

/// A router with one hold, which answers every command on it.
async fn router() -> (String, Asked) {
    let asked = Asked::default();
    let seen = asked.clone();
    let url = fakes::router::start(move |method, path, body| {
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        seen.lock().unwrap().push((method.to_owned(), path.to_owned(), body));
        let position = json!({"set": 1, "index": 11});
        let rest = path.strip_prefix(PATH).unwrap_or("no hold");
        let reply = match (method, rest) {
            ("GET", "no hold") => json!({"account": {"account": "{s}:a", "normal_side": "credit"}}),
            ("GET", rest) if rest.starts_with('?') => json!({"holds": [hold()], "next": HOLD}),
            ("GET", _) => json!({"hold": hold(), "age_ms": 0}),
            ("POST", rest) if rest.ends_with("/captures") => json!({
                "transaction": "1-1-11-0", "replayed": false, "position": position,
                "postings": [{"side": "debit", "account": "{s}:a", "amount": "20.00", "posted": "75.00"}],
            }),
            ("POST", rest) if rest.ends_with("/release") => {
                let problem = json!({"code": "hold_ended", "outcome": "rejected", "detail": "it has ended"});
                return Some((422, problem.to_string()));
            }
            _ => json!({"hold": hold(), "available": "75.00", "position": position, "replayed": false}),
        };
        Some((200, reply.to_string()))
    })
    .await;
    (url, asked)
}

/// The last body without the request id that the command made up.
fn last(asked: &Asked) -> (String, Value) {
    let (_, path, mut body) = asked.lock().unwrap().last().unwrap().clone();
    assert!(body["request_id"].as_str().is_some_and(|id| !id.is_empty()), "{body}");
    body.as_object_mut().unwrap().remove("request_id");
    (path, body)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_is_placed_and_extended() {
    let (url, asked) = router().await;
    let place =
        ["hold", "place", "{s}:a", "25.00", "--until", "2026-12-24T18:00:00Z", "--metadata", "order=4711"];
    let placed = against(&url, &place).await;
    let expected =
        "1-1-8-0 placed: open until 2026-12-24T18:00:00Z, 20.00 of 25.00 left; 75.00 available on {s}:a\n";
    assert_eq!(stdout(&placed), expected, "{}", stderr(&placed));
    let body =
        json!({"amount": "25.00", "expires_at": "2026-12-24T18:00:00Z", "metadata": {"order": "4711"}});
    assert_eq!(last(&asked), (PATH.to_owned(), body));
    let until = ["--until", "2026-12-24T18:00:00Z"];
    let back = ["hold", "place", "{s}:a", "25.00", "--check-back", "shop", "--to", "{s}:b"];
    let placed = against(&url, &[&back[..], &until].concat()).await;
    assert!(placed.status.success(), "{}", stderr(&placed));
    let terms = json!({"check_back": {"initiator": "shop", "to": "{s}:b"}});
    assert_eq!(last(&asked).1["on_expiry"], terms);
    let endless = against(&url, &back).await;
    assert!(stderr(&endless).contains("--until"), "{}", stderr(&endless));
    let extended = against(&url, &["hold", "extend", "{s}:a", HOLD, "--no-end", "--json"]).await;
    let reply: Value = serde_json::from_slice(&extended.stdout).unwrap();
    assert_eq!(reply["available"], "75.00");
    assert_eq!(last(&asked), (format!("{PATH}/{HOLD}/extend"), json!({ "expires_at": null })));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_capture_names_payees_or_all_legs() {
    let (url, asked) = router().await;
    let to = ["hold", "capture", "{s}:a", HOLD, "--to", "{s}:b", "19.5", "--to", "{s}:c", "0.50", "--final"];
    let captured = against(&url, &to).await;
    assert!(stdout(&captured).starts_with("1-1-11-0\n"), "{} {}", stdout(&captured), stderr(&captured));
    let leg =
        |account: &str, side: &str, amount: &str| json!({"account": account, "side": side, "amount": amount});
    let legs =
        [leg("{s}:a", "debit", "20.00"), leg("{s}:b", "credit", "19.5"), leg("{s}:c", "credit", "0.50")];
    let body = json!({"legs": legs, "final": true, "metadata": {}});
    assert_eq!(last(&asked), (format!("{PATH}/{HOLD}/captures"), body));
    let named =
        ["hold", "capture", "{s}:a", HOLD, "--debit", "{s}:a:5", "--credit", "{s}:b:5", "--kind", "7"];
    assert_eq!(against(&url, &named).await.status.code(), Some(0));
    let legs = [leg("{s}:a", "debit", "5"), leg("{s}:b", "credit", "5")];
    assert_eq!(last(&asked).1, json!({"legs": legs, "final": false, "metadata": {}, "kind": 7}));
}

#[tokio::test(flavor = "multi_thread")]
async fn holds_are_shown_and_listed() {
    let (url, asked) = router().await;
    let shown = stdout(&against(&url, &["hold", "show", "{s}:a", HOLD]).await);
    for line in [
        "left           20.00",
        "placed         2026-11-29T10:00:00Z (set 1, index 8)",
        "  order = 4711",
        "  2026-11-29T10:01:00Z  captured 5.00 by 1-1-9-0",
        "  2026-11-29T10:02:00Z  extended to no end",
    ] {
        assert!(shown.lines().any(|found| found == line), "{line} is not in:\n{shown}");
    }
    let listed =
        against(&url, &["hold", "list", "{s}:a", "--state", "open", "--page-size", "1", "--stale"]).await;
    let lines: Vec<String> =
        stdout(&listed).lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    let expected = [
        "HOLD STATE AMOUNT CAPTURED CAPTURING RELEASED LEFT EXPIRES AT",
        "1-1-8-0 open 25.00 5.00 0.00 0.00 20.00 2026-12-24T18:00:00Z",
    ];
    assert_eq!(lines, expected);
    assert!(
        stderr(&listed).contains("more: twinset hold list '{s}:a' --state open --after 1-1-8-0"),
        "{}",
        stderr(&listed)
    );
    let path = asked.lock().unwrap().last().unwrap().1.clone();
    assert_eq!(path, format!("{PATH}?page_size=1&state=open&consistency=stale"));
    let request = stdout(&against(&url, &["hold", "list", "{s}:a", "--json"]).await);
    assert_eq!(serde_json::from_str::<Value>(&request).unwrap()["holds"][0], hold());
}

#[tokio::test(flavor = "multi_thread")]
async fn overdue_holds_say_what_they_wait_for() {
    let seen = Asked::default();
    let heard = seen.clone();
    let url = fakes::router::start(move |method, path, _| {
        heard.lock().unwrap().push((method.to_owned(), path.to_owned(), Value::Null));
        let hold = |name: &str, state: Value| {
            let mut hold = hold();
            (hold["hold"], hold["state"]) = (name.into(), "overdue".into());
            hold["on_expiry"] = json!({"check_back": state});
            hold
        };
        let holds = [
            hold("1-1-8-0", json!({"initiator": "shop", "tries": 5, "kept": true})),
            hold("2-1-9-0", json!({"initiator": "shop", "tries": 1, "next_at": "2026-12-24T18:05:00Z"})),
            hold("2-1-10-0", json!({"initiator": "bank", "tries": 1, "confirming": true})),
            hold("2-1-11-0", json!({"initiator": "bank", "tries": 0})),
        ];
        Some((200, json!({"holds": holds, "next": "7.2-1-11-0", "silent": [3]}).to_string()))
    })
    .await;
    let listed = against(&url, &["hold", "overdue", "--set", "2", "--after", "5.1-1-2-0", "--stale"]).await;
    let lines: Vec<String> =
        stdout(&listed).lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    let expected = [
        "HOLD ACCOUNT LEFT CURRENCY OVERDUE SINCE ASKS TRIES WAITS FOR",
        "1-1-8-0 {s}:a 20.00 EUR 2026-12-24T18:00:00Z shop 5 a person",
        "2-1-9-0 {s}:a 20.00 EUR 2026-12-24T18:00:00Z shop 1 a try from 2026-12-24T18:05:00Z",
        "2-1-10-0 {s}:a 20.00 EUR 2026-12-24T18:00:00Z bank 1 its confirmation",
        "2-1-11-0 {s}:a 20.00 EUR 2026-12-24T18:00:00Z bank 0 a try",
    ];
    assert_eq!(lines, expected);
    assert_eq!(
        stderr(&listed),
        "set 3 does not answer: what is overdue there is not known\n\
         more: twinset hold overdue --set 2 --after 7.2-1-11-0\n"
    );
    let path = seen.lock().unwrap().last().unwrap().1.clone();
    assert_eq!(path, "/v1/holds?page_size=20&state=overdue&set=2&consistency=stale&after=5.1-1-2-0");
    let json = against(&url, &["hold", "overdue", "--json"]).await;
    assert_eq!(serde_json::from_slice::<Value>(&json.stdout).unwrap()["silent"], json!([3]));
    assert_eq!(stderr(&json), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_or_asked_wrongly_says_what_to_try() {
    let (url, _) = router().await;
    let refused = against(&url, &["hold", "release", "{s}:a", HOLD]).await;
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        stderr(&refused).contains("1-1-8-0 was not released: it has ended (hold_ended)"),
        "{}",
        stderr(&refused)
    );
    for arguments in [
        &["hold", "place", "{s}:a"][..],
        &["hold", "capture", "{s}:a", HOLD],
        &["hold", "capture", "{s}:a", HOLD, "--to", "{s}:b"],
        &["hold", "capture", "{s}:a", HOLD, "--to", "{s}:b", "1", "--debit", "{s}:a:1"],
        &["hold", "capture", "{s}:a", HOLD, "--to", "{s}:b", "ten", "--router", &url],
        &["hold", "extend", "{s}:a", HOLD],
        &["hold", "extend", "{s}:a", HOLD, "--until", "x", "--no-end"],
        &["hold", "list", "{s}:a", "--state", "closed"],
    ] {
        let arguments: Vec<String> = arguments.iter().map(|text| (*text).to_owned()).collect();
        let said = format!("{arguments:?}");
        let output = crate::beside(arguments).await;
        assert_eq!(output.status.code(), Some(64), "{said}: {}", stderr(&output));
    }
    for command in ["place", "capture", "release", "extend", "show", "list", "overdue"] {
        let help = stdout(&twinset(&["hold", command, "--help"]));
        assert!(help.contains("Example"), "{command}: {help}");
    }
}
