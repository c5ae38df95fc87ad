//! The command as a person meets it: exit codes, streams, and errors that say what to try next.

#![allow(clippy::unwrap_used, reason = "a test may panic anywhere, in its helpers too")]

mod audit;
mod control;
mod fakes;
mod holds;
mod lists;
mod nodes;
mod restrictions;
mod sweeps;

use std::io::{BufRead, BufReader};
use std::process::{Command, Output, Stdio};

use twinset_tools::cluster::bootstrap;

fn twinset(arguments: &[&str]) -> Output {
    let dir = tempfile::tempdir().unwrap();
    Command::new(env!("CARGO_BIN_EXE_twinset")).args(arguments).current_dir(dir.path()).output().unwrap()
}

/// Runs the command while the fakes of this process answer it.
async fn beside(arguments: Vec<String>) -> Output {
    tokio::task::spawn_blocking(move || twinset(&arguments.iter().map(String::as_str).collect::<Vec<_>>()))
        .await
        .unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn wrong_questions_exit_with_64_and_say_what_to_try() {
    for arguments in [
        &["frobnicate"][..],
        &["switch", "--set", "x", "--to", "B"],
        &["audit", "--since", "yesterday"],
        &["audit", "verify", "--head", "7"],
        &["status", "--operator-token-file", "no/such/file"],
        &["durability", "--set", "1"],
        &["recover", "control", "apply", "--plan", "7"],
        &["node", "replace", "a1"],
        &["node", "replace", "a1", "--by", "a3", "--dry-run", "--yes"],
        &["node", "add", "a3", "--site", "A"],
        &["fault", "begin", "a1", "pause", "--why", "a drill"],
        &["fault", "begin", "a1", "pause", "--for", "10", "--why", "a drill"],
        &["fault", "begin", "a1", "pause", "--for", "10s", "--why", "a drill"],
        &["status"],
        &["bench", "--router", "localhost"],
        &["import", "books.ledger", "--subject", "Funds"],
        &["import", "books.ledger", "--subject", "Funds=money"],
        &["import", "books.beancount", "--subject", "Funds=asset"],
        &["currency", "define", "X", "--scale", "13"],
        &["statement", "a", "--limit", "0"],
        &["statement", "a", "--kind", "65536"],
        &["events", "--follow", "--limit", "7"],
        &["account", "balance", "a", "--time", "2026-03-01", "--position", "7"],
        &["subject", "define", "x", "--name", "X"],
        &["cluster", "bootstrap", "--topology", "nowhere.toml"],
    ] {
        let output = twinset(arguments);
        assert_eq!(output.status.code(), Some(64), "{arguments:?}: {}", stderr(&output));
        assert!(output.stdout.is_empty(), "{arguments:?} wrote to stdout");
    }
    let said = stderr(&twinset(&["status"]));
    assert!(said.contains("no local cluster") && said.contains("next: "), "{said}");
}

#[test]
fn help_goes_to_stdout_and_teaches_by_example() {
    for command in [
        &["switch", "--help"][..],
        &["audit", "--help"],
        &["audit", "verify", "--help"],
        &["bench", "--help"],
        &["dev", "up", "--help"],
        &["dev", "add", "--help"],
        &["recover", "control", "--help"],
        &["node", "--help"],
        &["node", "add", "--help"],
        &["node", "replace", "--help"],
        &["node", "remove", "--help"],
        &["fault", "begin", "--help"],
        &["statement", "--help"],
        &["events", "--help"],
        &["account", "get", "--help"],
        &["account", "balance", "--help"],
    ] {
        let output = twinset(command);
        assert_eq!(output.status.code(), Some(0));
        assert!(String::from_utf8_lossy(&output.stdout).contains("Example"), "{command:?}");
    }
}

#[test]
fn a_cluster_that_does_not_answer_is_a_failure_with_a_next_step() {
    let output = twinset(&["status", "--nodes", "127.0.0.1:1"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("next: "), "{}", stderr(&output));
}

#[tokio::test(flavor = "multi_thread")]
async fn status_is_data_on_stdout_as_text_or_json() {
    let (nodes, topology) = fakes::node::five().await;
    bootstrap::bootstrap(&topology, std::time::Duration::from_secs(10)).await.unwrap();
    let asked = |more: &[&str]| {
        let mut arguments = vec!["status".to_owned(), "--nodes".to_owned(), nodes[0].addr.clone()];
        arguments.extend(more.iter().map(|text| (*text).to_owned()));
        arguments
    };
    let text = beside(asked(&[])).await;
    let said = String::from_utf8_lossy(&text.stdout).into_owned();
    assert!(said.contains("RPO 0 proven") && said.contains("control"), "{said}");
    let json: serde_json::Value = serde_json::from_slice(&beside(asked(&["--json"])).await.stdout).unwrap();
    assert_eq!(json["sets"][0]["rpo"]["state"], "proven");
    assert_eq!(json["nodes"].as_array().unwrap().len(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_switch_without_yes_prints_the_plan_and_does_nothing() {
    let (nodes, topology) = fakes::node::five().await;
    bootstrap::bootstrap(&topology, std::time::Duration::from_secs(10)).await.unwrap();
    let arguments = ["switch", "--set", "1", "--to", "B", "--nodes", nodes[0].addr.as_str()];
    let output = beside(arguments.iter().map(|text| (*text).to_owned()).collect()).await;
    assert_eq!(output.status.code(), Some(64));
    assert!(stderr(&output).contains("plan: move the home of set 1 from A to B"), "{}", stderr(&output));
    assert!(nodes.iter().all(|node| node.with(|script| script.switches.is_empty())));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_end_of_a_write_tells_how_to_ask_again() {
    let problem = r#"{"code":"deadline_exceeded","outcome":"unknown","detail":"no answer in time"}"#;
    let url = fakes::router::start(move |_, _, _| Some((504, problem.into()))).await;
    let arguments = [
        "transaction",
        "post",
        "--debit",
        "{s}:a:1.00",
        "--credit",
        "{s}:b:1.00",
        "--request-id",
        "r-7",
        "--router",
        &url,
    ];
    let output = beside(arguments.iter().map(|text| (*text).to_owned()).collect()).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("--request-id r-7"), "{}", stderr(&output));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_write_says_its_request_id_before_it_is_answered() {
    let (asked, mut bodies) = tokio::sync::mpsc::channel(4);
    let (answer, answers) = std::sync::mpsc::channel();
    let answers = std::sync::Mutex::new(answers);
    let url = fakes::router::start(move |method, path, body| {
        if method == "GET" {
            return Some((200, r#"{"account":{"account":"a","normal_side":"credit"}}"#.into()));
        }
        let body: serde_json::Value = serde_json::from_slice(body).unwrap();
        asked.try_send((path.to_owned(), body["request_id"].as_str().unwrap().to_owned())).unwrap();
        // Not before the test has read what the command has said by now; if it panics instead, there is no answer.
        answers.lock().unwrap().recv().ok()?;
        Some((200, r#"{"position":{"set":1,"index":1},"replayed":false}"#.into()))
    })
    .await;
    for command in [
        &["account", "open", "a", "--subject", "asset", "--currency", "EUR"][..],
        &["account", "limit", "a", "none"],
        &["account", "freeze", "a"],
        &["account", "unfreeze", "a"],
        &["account", "mode", "a", "buffered"],
        &["account", "close", "a"],
        &["transaction", "post", "--debit", "a:1", "--credit", "b:1"],
        &["transaction", "reverse", "1-1-5-0"],
        &["hold", "place", "a", "1"],
        &["hold", "capture", "a", "1-1-5-0", "--to", "b", "1"],
        &["hold", "release", "a", "1-1-5-0"],
        &["hold", "extend", "a", "1-1-5-0", "--no-end"],
        &["restriction", "release", "a", "1-1-5-0"],
        &["sweep", "set", "a", "--to", "b", "--daily"],
        &["sweep", "remove", "a"],
        &["suspense", "resolve", "1-1-5-0", "--to", "a"],
    ] {
        let mut running = Command::new(env!("CARGO_BIN_EXE_twinset"))
            .args(command)
            .args(["--router", &url])
            .stderr(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let mut said = BufReader::new(running.stderr.take().unwrap());
        let read = tokio::task::spawn_blocking(move || {
            let mut line = String::new();
            said.read_line(&mut line).unwrap();
            line
        });
        let line = read.await.unwrap();
        assert!(line.starts_with("request id "), "{command:?}: {line}");
        let (path, id) = bodies.recv().await.unwrap();
        let expected = format!(
            "request id {id}: should no answer come, the same command with --request-id {id} does it at most once\n"
        );
        assert_eq!(line, expected, "{command:?} at {path}");
        answer.send(()).unwrap();
        let ended = tokio::task::spawn_blocking(move || running.wait()).await.unwrap().unwrap();
        assert!(ended.success(), "{command:?}");
    }
    // What books nothing has nothing to be asked again, and what was given is said as it was given.
    let dry = ["transaction", "post", "--dry-run", "--debit", "a:1", "--credit", "b:1"];
    answer.send(()).unwrap();
    assert_eq!(stderr(&against(&url, &dry).await), "");
    answer.send(()).unwrap();
    let given = against(&url, &["account", "close", "a", "--request-id", "mine"]).await;
    assert!(stderr(&given).starts_with("request id mine: "), "{}", stderr(&given));
}

/// Runs the command against a router that answers so.
async fn against(url: &str, arguments: &[&str]) -> Output {
    let mut all: Vec<String> = arguments.iter().map(|text| (*text).to_owned()).collect();
    all.extend(["--router".to_owned(), url.to_owned()]);
    beside(all).await
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bench_with_failed_requests_fails_and_names_the_commonest_error() {
    let url = fakes::router::start(|_, path, _| match path {
        "/v1/accounts" => Some((200, r#"{"position":{"set":1,"index":1},"replayed":false}"#.into())),
        _ => Some((503, r#"{"code":"set_queue_full","outcome":"not_applied"}"#.into())),
    })
    .await;
    let bench =
        ["bench", "--accounts", "4", "--connections", "2", "--requests", "8", "--warmup", "0", "--json"];
    let output = against(&url, &bench).await;
    assert_eq!(output.status.code(), Some(1));
    let said = stderr(&output);
    assert!(said.contains("8 of 8 requests failed") && said.contains("set_queue_full"), "{said}");
    let figures: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(figures["report"]["errors"]["set_queue_full"], 8);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_request_can_be_looked_up() {
    let url = fakes::router::start(|method, path, _| {
        assert_eq!(method, "GET");
        let rejected = r#"{"code":"limit_exceeded","outcome":"rejected","detail":"the limit"}"#;
        let unknown = r#"{"code":"not_found","outcome":"not_applied","detail":"no such request"}"#;
        match path {
            "/v1/requests/%7Bs%7D:a/booked" => {
                Some((200, r#"{"transaction":{"transaction":"1-1-5-0","request_id":"booked"}}"#.into()))
            }
            "/v1/requests/%7Bs%7D:a/opened" => Some((200, r#"{"account":{"account":"{s}:a"}}"#.into())),
            "/v1/requests/%7Bs%7D:a/rejected" => Some((422, rejected.into())),
            _ => Some((404, unknown.into())),
        }
    })
    .await;
    let look = async |id: &str| {
        let output = against(&url, &["transaction", "request", "--scope", "{s}:a", "--id", id]).await;
        (output.status.code(), stdout(&output), stderr(&output))
    };
    let (code, said, _) = look("booked").await;
    assert!(code == Some(0) && said.starts_with("1-1-5-0"), "{said}");
    let (code, said, _) = look("opened").await;
    assert!(code == Some(0) && said.contains("{s}:a"), "{said}");
    let (code, _, said) = look("rejected").await;
    assert!(code == Some(1) && said.contains("request rejected was rejected: the limit"), "{said}");
    let (code, _, said) = look("lost").await;
    assert!(code == Some(1) && said.contains("knows of no request lost"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_tells_what_would_come_of_a_transaction() {
    let url = fakes::router::start(|method, path, body| {
        assert_eq!((method, path), ("POST", "/v1/transactions?dry_run=true"));
        let body: serde_json::Value = serde_json::from_slice(body).unwrap();
        match body["legs"][0]["amount"].as_str() {
            Some("1") => Some((
                200,
                r#"{"dry_run":true,"replayed":false,"postings":[
                    {"account":"{s}:a","side":"debit","amount":"1.00","posted":"9.00","available":"9.00"},
                    {"account":"far","side":"credit","amount":"1.00"}]}"#
                    .into(),
            )),
            Some("2") => Some((200, r#"{"dry_run":true,"replayed":true,"transaction":"1-1-5-0"}"#.into())),
            _ => Some((422, r#"{"code":"limit_exceeded","outcome":"rejected","detail":"the limit"}"#.into())),
        }
    })
    .await;
    let post = async |amount: &str| {
        let legs = [format!("{{s}}:a:{amount}"), format!("far:{amount}")];
        let asked = ["transaction", "post", "--dry-run", "--debit", &legs[0], "--credit", &legs[1]];
        let output = against(&url, &asked).await;
        (output.status.code(), stdout(&output), stderr(&output))
    };
    let (code, said, _) = post("1").await;
    let lines: Vec<&str> = said.lines().collect();
    assert!(code == Some(0) && lines[0] == "it would be booked now", "{said}");
    assert!(lines[1].contains("9.00") && lines[2].ends_with("1.00"), "{said}");
    let (code, said, _) = post("2").await;
    assert!(code == Some(0) && said.starts_with("1-1-5-0 (booked before"), "{said}");
    let (code, _, said) = post("3").await;
    assert!(code == Some(1) && said.contains("would be refused: the limit"), "{said}");
    assert!(said.contains("nothing was booked"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn currencies_and_subjects_are_defined_by_command() {
    let url = fakes::router::start(|method, path, body| {
        let body: serde_json::Value = serde_json::from_slice(body).unwrap();
        match (method, path) {
            ("PUT", "/v1/currencies/POINTS") if body == serde_json::json!({ "scale": 0 }) => {
                Some((200, r#"{"changed":true}"#.into()))
            }
            ("PUT", "/v1/subjects/clearing") => {
                assert_eq!(body, serde_json::json!({ "name": "Clearing", "normal_side": "debit" }));
                Some((200, r#"{"changed":false}"#.into()))
            }
            _ => Some((
                422,
                r#"{"code":"currency_conflict","outcome":"rejected","detail":"other scale"}"#.into(),
            )),
        }
    })
    .await;
    let points = against(&url, &["currency", "define", "POINTS", "--scale", "0"]).await;
    assert_eq!(stdout(&points), "currency POINTS is defined in every set\n");
    let clearing =
        against(&url, &["subject", "define", "clearing", "--name", "Clearing", "--side", "debit"]).await;
    assert_eq!(stdout(&clearing), "subject clearing is defined in every set (as it was before)\n");
    let other = against(&url, &["currency", "define", "POINTS", "--scale", "2"]).await;
    assert_eq!(other.status.code(), Some(1));
    assert!(stderr(&other).contains("next: a definition cannot be changed"), "{}", stderr(&other));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_is_asked_for_until_it_ends_or_is_long_enough() {
    let url = fakes::router::start(|method, path, _| {
        let page = |lines: &str, next: &str| {
            let about = r#""account":"{s}:a","currency":"EUR","normal_side":"credit""#;
            Some((
                200,
                format!(r#"{{{about},"opening":"0.00","closing":"3.00","lines":[{lines}],"next":"{next}"}}"#),
            ))
        };
        let line = |posted: &str| format!(r#"{{"side":"credit","amount":"1.00","posted":"{posted}"}}"#);
        assert_eq!(method, "GET");
        match path.strip_prefix("/v1/accounts/%7Bs%7D:a/").unwrap() {
            "statement?page_size=100&from=2026-03-01T00:00:00Z" => page("", "1.2.3.0"),
            "statement?page_size=100&from=2026-03-01T00:00:00Z&cursor=1.2.3.0" => {
                page(&line("1.00"), "1.4.0.0")
            }
            "statement?page_size=99&from=2026-03-01T00:00:00Z&cursor=1.4.0.0" => page(&line("2.00"), ""),
            "statement?page_size=1" => page(&line("1.00"), "1.4.0.0"),
            "balance?time=2026-03-01T00:00:00Z" => {
                let position = r#"{"set":1,"index":9,"time":"2026-02-28T23:59:59Z"}"#;
                Some((200, format!(r#"{{"posted":"3.00","currency":"EUR","position":{position}}}"#)))
            }
            "balance?" => Some((200, r#"{"posted":"0.00","currency":"EUR"}"#.into())),
            _ => Some((400, r#"{"code":"malformed","outcome":"not_applied","detail":"from is bad"}"#.into())),
        }
    })
    .await;
    let ask = async |arguments: &[&str]| against(&url, &[&["statement", "{s}:a"], arguments].concat()).await;
    let whole = ask(&["--from", "2026-03-01", "--json"]).await;
    let whole: serde_json::Value = serde_json::from_slice(&whole.stdout).unwrap();
    assert_eq!((whole["lines"].as_array().unwrap().len(), &whole["next"]), (2, &"".into()));
    let short = ask(&["--limit", "1"]).await;
    assert!(stdout(&short).contains("opening balance 0.00, closing balance 3.00"), "{}", stdout(&short));
    assert!(stderr(&short).contains("--cursor 1.4.0.0"), "{}", stderr(&short));
    let bad = ask(&["--from", "tomorrow"]).await;
    assert_eq!(bad.status.code(), Some(1));
    assert!(stderr(&bad).contains("from is bad") && stderr(&bad).contains("next: "), "{}", stderr(&bad));

    let then = against(&url, &["account", "balance", "{s}:a", "--time", "2026-03-01"]).await;
    assert_eq!(stdout(&then), "3.00 EUR at 2026-02-28T23:59:59Z, position 9 of set 1\n");
    let never = against(&url, &["account", "balance", "{s}:a"]).await;
    assert_eq!(stdout(&never), "0.00 EUR before the set's first command\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_is_shown_with_what_is_on_its_way_to_it() {
    let url = fakes::router::start(|_, path, _| {
        let account = r#""account":{"account":"shop","posted":"120.00"}"#;
        let in_transit = r#"{"account":"shop","currency":"EUR","amount":"3.50","silent":[3],
            "from":[{"set":1,"credits":2,"amount":"3.50"}]}"#;
        match path {
            "/v1/accounts/shop" => Some((200, format!("{{{account}}}"))),
            "/v1/accounts/shop?in_transit=true" | "/v1/accounts/shop?consistency=stale&in_transit=true" => {
                Some((200, format!(r#"{{{account},"in_transit":{in_transit}}}"#)))
            }
            "/v1/accounts/shop/in-transit" => Some((200, in_transit.into())),
            _ => None,
        }
    })
    .await;
    let by_set = "  from set 1: 3.50 in 2 credits\n  from set 3: not known, it does not answer\n";
    let plain = "account        shop\nposted         120.00\n";
    assert_eq!(stdout(&against(&url, &["account", "get", "shop"]).await), plain);
    let both = against(&url, &["account", "get", "shop", "--in-transit"]).await;
    assert_eq!(stdout(&both), format!("{plain}in_transit     3.50\n{by_set}"));
    let stale = against(&url, &["account", "get", "shop", "--in-transit", "--stale"]).await;
    assert_eq!(stale.stdout, both.stdout);
    let alone = against(&url, &["account", "in-transit", "shop"]).await;
    assert_eq!(stdout(&alone), format!("3.50 EUR\n{by_set}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_asked_for_until_they_end_or_are_enough() {
    let url = fakes::router::start(|_, path, _| {
        let event = |n: u32| format!(r#"{{"event":"1-1-{n}-0","resume":"1-1-{n}-0","kind":"booked"}}"#);
        let page = |events: &[u32], next: &str, more: bool| {
            let events: Vec<String> = events.iter().map(|n| event(*n)).collect();
            Some((200, format!(r#"{{"events":[{}],"next":"{next}","more":{more}}}"#, events.join(","))))
        };
        match path {
            "/v1/sets/1/events?page_size=100" => page(&[1, 2], "1-1-2-0", true),
            "/v1/sets/1/events?page_size=98&after=1-1-2-0" => page(&[], "1-1-2-0+1-1-9-0", true),
            "/v1/events?page_size=1" => page(&[1, 2], "1-1-2-0", true),
            _ if path.starts_with("/v1/sets/1/events?page_size=98&after=") => page(&[3], "1-1-3-0", false),
            _ => Some((404, r#"{"code":"not_found","outcome":"not_applied","detail":"no set"}"#.into())),
        }
    })
    .await;
    let all = against(&url, &["events", "--set", "1", "--json"]).await;
    let lines: Vec<serde_json::Value> =
        stdout(&all).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let names: Vec<&str> = lines.iter().filter_map(|event| event["event"].as_str()).collect();
    assert_eq!(names, ["1-1-1-0", "1-1-2-0", "1-1-3-0"]);
    let one = against(&url, &["events", "--limit", "1"]).await;
    assert_eq!(stdout(&one).lines().count(), 1);
    assert!(stderr(&one).contains("--after 1-1-1-0"), "{}", stderr(&one));
    let none = against(&url, &["events", "--set", "9", "--follow"]).await;
    assert_eq!(none.status.code(), Some(1));
    assert!(stderr(&none).contains("no set") && stderr(&none).contains("next: "), "{}", stderr(&none));
}

#[test]
fn a_journal_that_is_not_there_has_no_lines_to_mend() {
    let said = stderr(&twinset(&["import", "nowhere.beancount"]));
    assert!(said.contains("nowhere.beancount cannot be read") && !said.contains("mend"), "{said}");
}

#[test]
fn the_journal_of_the_readme_can_be_imported() {
    let journal = std::fs::canonicalize("../deploy/examples/books.beancount").unwrap();
    let output = twinset(&["import", journal.to_str().unwrap(), "--dry-run"]);
    assert_eq!(stdout(&output).split(':').next(), Some("5 transactions on 10 accounts in 2 currencies"));
}
