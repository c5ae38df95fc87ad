//! The command as a person meets it: exit codes, streams, and errors that say what to try next.

#![allow(clippy::unwrap_used, reason = "a test may panic anywhere, in its helpers too")]

mod fakes;

use std::process::{Command, Output};

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
        &["durability", "--set", "1"],
        &["status"],
        &["bench", "--router", "localhost"],
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
    for command in [&["switch", "--help"][..], &["bench", "--help"], &["dev", "up", "--help"]] {
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
