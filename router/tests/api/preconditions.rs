//! Preconditions of legs over HTTP: in transactions, captures and batches.

use serde_json::{Value, json};

use crate::holds::{Ground, leg};

#[tokio::test]
async fn a_leg_may_say_what_it_expects() {
    let ground = Ground::new().await;
    let id = ground.place("h", "40").await;
    let legs = |preconditions: &Value| {
        let mut first = leg("{t}:a", "debit", "1");
        first["preconditions"] = preconditions.clone();
        json!([first, leg("{t}:b", "credit", "1")])
    };
    // Posted 100, 40 of it held, and one posting.
    let fulfilled = [
        json!({}),
        Value::Null,
        json!({"available_min": "60", "available_max": "60.00", "posted_min": "100", "posted_max": "100", "version": 1}),
        json!({"available_min": "-5", "posted_max": "99.00", "version": 2}),
    ];
    for (n, preconditions) in fulfilled.iter().enumerate().skip(2) {
        let body = json!({"request_id": format!("y-{n}"), "legs": legs(preconditions)});
        assert_eq!(ground.post("/v1/transactions", body).await.status, 200, "{preconditions}");
    }
    for (n, preconditions) in fulfilled.iter().enumerate().take(2) {
        let body = json!({"request_id": format!("y-{n}"), "legs": legs(preconditions)});
        assert_eq!(ground.act(&id, "captures", body).await.status, 200, "{preconditions}");
    }
    // Posted 96, 38 of it held, and five postings.
    let table = [
        (json!({"available_min": "58.01"}), "available_min", "58.00", "58.01"),
        (json!({"available_max": "57"}), "available_max", "58.00", "57.00"),
        (json!({"posted_min": "97"}), "posted_min", "96.00", "97.00"),
        (json!({"posted_max": "-1"}), "posted_max", "96.00", "-1.00"),
        (json!({"version": 4}), "version", "5", "4"),
        (json!({"version": u64::MAX}), "version", "5", "18446744073709551615"),
    ];
    for (n, (preconditions, name, found, wanted)) in table.into_iter().enumerate() {
        let body = json!({"request_id": format!("n-{n}"), "legs": legs(&preconditions)});
        let in_batch = json!({"transactions": [body.clone()]});
        let refused = match n % 2 {
            0 => ground.post("/v1/transactions", body).await,
            _ => ground.act(&id, "captures", body).await,
        };
        assert_eq!(
            refused.problem(),
            (422, "precondition_failed".into(), "rejected".into()),
            "{preconditions}"
        );
        let problem = refused.json();
        let said = ["account", "precondition", "found", "wanted"].map(|field| problem[field].clone());
        assert_eq!(said, [json!("{t}:a"), json!(name), json!(found), json!(wanted)]);
        if n % 2 == 0 {
            let results = ground.post("/v1/batches", in_batch).await.json()["results"].take();
            assert_eq!(results[0]["problem"]["code"], "precondition_failed", "{results}");
            assert_eq!(results[0]["problem"]["replayed"], true);
        }
    }
    let body = json!({"request_id": "y-2", "legs": legs(&json!({"version": 1}))});
    assert_eq!(ground.post("/v1/transactions", body).await.problem().1, "request_mismatch");
}
