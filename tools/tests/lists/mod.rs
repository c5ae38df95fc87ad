//! Lists that come page by page: what each asks a router for, and how it says that there is more.

use std::sync::{Arc, Mutex};

use serde_json::json;

use crate::{against, fakes, stderr, stdout};

/// A router whose every page goes on behind "n"; and the paths it was asked for.
async fn router() -> (String, Arc<Mutex<Vec<String>>>) {
    let asked = Arc::<Mutex<Vec<String>>>::default();
    let seen = asked.clone();
    let url = fakes::router::start(move |_, path, _| {
        seen.lock().unwrap().push(path.to_owned());
        let page = json!({
            "holds": [{}], "restrictions": [{}], "sweeps": [{}], "credits": [{"item": "2-1-9-0"}],
            "transactions": [{"transaction": "2-1-8-0"}], "next": "n",
        });
        Some((200, page.to_string()))
    })
    .await;
    (url, asked)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_names_the_command_that_goes_on() {
    let (url, asked) = router().await;
    for (list, path, sizes, more) in [
        (&["hold", "list", "a"][..], "accounts/a/holds", (20, 100), "'a' --after n"),
        (&["restriction", "list", "a"], "accounts/a/restrictions", (20, 100), "'a' --after n"),
        (&["sweep", "list", "--set", "2"], "sets/2/sweeps", (20, 100), "--set 2 --after 'n'"),
        (&["suspense", "list", "--set", "2"], "sets/2/suspense", (100, 100), "--set 2 --after n"),
        (&["transaction", "list", "--set", "2"], "sets/2/transactions", (20, 1000), "--set 2 --after n"),
    ] {
        let (usual, most) = sizes;
        let listed = against(&url, list).await;
        assert_eq!(stderr(&listed), format!("more: twinset {} list {more}\n", list[0]));
        assert!(!stdout(&listed).contains("more:"), "{}", stdout(&listed));
        assert_eq!(asked.lock().unwrap().pop(), Some(format!("/v1/{path}?page_size={usual}")));

        let size = most.to_string();
        let json = [list, &["--after", "{s}:b", "--page-size", &size, "--json"]].concat();
        assert_eq!(stderr(&against(&url, &json).await), "");
        assert_eq!(asked.lock().unwrap().pop(), Some(format!("/v1/{path}?page_size={most}&after=%7Bs%7D:b")));

        for none in ["0".to_owned(), (most + 1).to_string()] {
            let refused = against(&url, &[list, &["--page-size", &none]].concat()).await;
            assert_eq!(refused.status.code(), Some(64), "{list:?} {none}");
        }
    }
    assert!(asked.lock().unwrap().is_empty(), "nothing more was asked");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reference_finds_its_transactions_and_says_who_was_silent() {
    let asked = Arc::<Mutex<Vec<String>>>::default();
    let seen = asked.clone();
    let url = fakes::router::start(move |_, path, _| {
        seen.lock().unwrap().push(path.to_owned());
        let transaction = json!({
            "transaction": "2-1-8-0", "accounting_date": "2026-03-01", "request_id": "r",
            "legs": [{"account": "a", "side": "debit", "amount": "5.00", "currency": "EUR"}],
            "metadata": {"reference": "it's 1/2"},
        });
        Some(match path.contains("nobody") {
            true => (200, json!({"transactions": [], "next": "", "silent": []}).to_string()),
            false => {
                (200, json!({"transactions": [transaction], "next": "2-1-8-0", "silent": [3]}).to_string())
            }
        })
    })
    .await;
    let found =
        against(&url, &["transaction", "find", "--reference", "it's 1/2", "--set", "2", "--stale"]).await;
    let lines: Vec<String> =
        stdout(&found).lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    assert_eq!(lines, ["2-1-8-0 2026-03-01 request r", "debit a 5.00 EUR", "reference = it's 1/2"]);
    assert_eq!(
        stderr(&found),
        "set 3 does not answer: what is there is not known\n\
         more: twinset transaction find --reference 'it'\\''s 1/2' --set 2 --after 2-1-8-0\n"
    );
    let path = asked.lock().unwrap().pop();
    let expected = "/v1/transactions?page_size=20&reference=it%27s%201%2F2&set=2&consistency=stale";
    assert_eq!(path.as_deref(), Some(expected));
    let none = against(&url, &["transaction", "find", "--reference", "nobody's"]).await;
    assert_eq!(
        (stdout(&none), stderr(&none), none.status.code()),
        (String::new(), "nothing has that reference\n".to_owned(), Some(0))
    );
    let json = against(&url, &["transaction", "find", "--reference", "x", "--json"]).await;
    assert_eq!(serde_json::from_slice::<serde_json::Value>(&json.stdout).unwrap()["silent"], json!([3]));
    assert_eq!(stderr(&json), "");
    assert_eq!(against(&url, &["transaction", "find"]).await.status.code(), Some(64));
}
