//! The real NATS server: every event is in its stream once, in the order of its set, whatever becomes of the server meanwhile.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use async_nats::jetstream::{self, stream};

use crate::support::{Relay, Stage, address, until};

/// A server on loopback; killed when it is dropped.
struct Server {
    port: u16,
    process: std::process::Child,
}

impl Server {
    fn start(dir: &Path, port: u16) -> Server {
        // Debian puts it where only administrators look.
        let path = format!("{}:/usr/sbin:/usr/local/sbin", std::env::var("PATH").unwrap_or_default());
        let process = Command::new("nats-server")
            .env("PATH", path)
            .args(["--addr", "127.0.0.1", "--port", &port.to_string(), "--jetstream", "--store_dir"])
            .arg(dir)
            .stderr(Stdio::null())
            .spawn();
        let process = process.unwrap_or_else(|error| {
            panic!("nats-server cannot be started: {error}; `make setup` installs it (Debian: apt-get install nats-server)")
        });
        Server { port, process }
    }

    fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.process.kill().expect("killed");
        self.process.wait().expect("gone");
    }
}

fn config(stage: &Stage, server: &Server, more: &str) -> twinset_relay::config::Config {
    let text = stage.text("");
    let (head, _) = text.split_once("[[webhook]]").expect("there is one");
    let text = format!(
        "{head}[[nats]]\nname = \"bus\"\nservers = [\"{}\"]\ntimeout_ms = 500\n{more}\n\
         [nats.retry]\nmin_ms = 1\nmax_ms = 50\n",
        server.url()
    );
    let config: twinset_relay::config::Config = toml::from_str(&text).expect("a configuration");
    config.validate().expect("a good one");
    config
}

async fn context(server: &Server) -> jetstream::Context {
    let connected = until("the server answers", async || async_nats::connect(server.url()).await.ok()).await;
    jetstream::new(connected)
}

/// Subject, message id and payload of everything in the stream.
async fn messages(server: &Server) -> Vec<(String, String, String)> {
    let stream = context(server).await.get_stream("TWINSET").await.expect("it is there");
    let mut found = Vec::new();
    for sequence in 1..=stream.cached_info().state.messages {
        let message = stream.get_raw_message(sequence).await.expect("it is there");
        let id = message.headers.get("Nats-Msg-Id").expect("it has one").to_string();
        found.push((
            message.subject.to_string(),
            id,
            String::from_utf8(message.payload.to_vec()).expect("text"),
        ));
    }
    found
}

async fn messages_are(server: &Server, count: usize) -> Vec<(String, String, String)> {
    until(&format!("{count} messages"), async || {
        let stream = context(server).await.get_stream("TWINSET").await.ok()?;
        (stream.cached_info().state.messages >= count as u64).then_some(())
    })
    .await;
    messages(server).await
}

fn of_set(messages: &[(String, String, String)], set: u32) -> Vec<String> {
    let prefix = format!("twinset.events.{set}.");
    messages
        .iter()
        .filter(|(subject, ..)| subject.starts_with(&prefix))
        .map(|(_, id, _)| id.clone())
        .collect()
}

#[tokio::test]
async fn every_event_is_in_the_stream_once_and_in_order_though_the_server_is_killed() {
    let stage = Stage::new(2).await;
    let (dir, port) = (stage.dir.path().join("nats"), address().port());
    let mut server = Server::start(&dir, port);
    let relay = Relay::start(config(&stage, &server, "create = true")).await;
    stage.ledger.add(1, "currency_defined", r#""change":{"code":"PTS","scale":0}"#);
    let mut booked = 0;
    for _ in 0..3 {
        stage.ledger.book(1, "{a}:cash", 200);
        stage.ledger.book(2, "{b}:cash", 200);
        let delivered = "twinset_relay_events_total{end=\"delivered\",sink=\"bus\"}";
        until("some are there", async || {
            (relay.metric(delivered).await > f64::from(booked) + 50.0).then_some(())
        })
        .await;
        booked += 400;
        drop(server);
        stage.ledger.book(1, "{a}:cash", 20);
        booked += 20;
        let failed = "twinset_relay_attempts_total{end=\"failed\",sink=\"bus\"}";
        let before = relay.metric(failed).await;
        until("it is missed", async || (relay.metric(failed).await > before).then_some(())).await;
        server = Server::start(&dir, port);
    }
    let found = messages_are(&server, booked as usize + 1).await;
    assert_eq!(of_set(&found, 1), stage.ledger.keys(1));
    assert_eq!(of_set(&found, 2), stage.ledger.keys(2));
    let (subject, id, text) = &found.iter().find(|(subject, ..)| !subject.ends_with(".booked")).expect("one");
    assert_eq!(subject, "twinset.events.1.currency_defined");
    assert!(text.starts_with(&format!("{{\"event\":\"{id}\"")), "{text}");
    relay.stop().await;
}

#[tokio::test]
async fn what_is_sent_again_after_a_lost_cursor_is_recognised() {
    let stage = Stage::new(1).await;
    let server = Server::start(&stage.dir.path().join("nats"), address().port());
    stage.ledger.book(1, "{a}:cash", 50);
    let config = config(&stage, &server, "create = true");
    let relay = Relay::start(config.clone()).await;
    messages_are(&server, 50).await;
    relay.stop().await;
    std::fs::remove_dir_all(config.data_dir.join("cursors")).expect("removed");
    stage.ledger.book(1, "{a}:cash", 1);
    let relay = Relay::start(config).await;
    let found = messages_are(&server, 51).await;
    assert_eq!(of_set(&found, 1), stage.ledger.keys(1));
    relay.metric_is("twinset_relay_events_total{end=\"delivered\",sink=\"bus\"}", 51.0).await;
    relay.stop().await;
}

#[tokio::test]
async fn a_stream_that_somebody_else_makes_is_waited_for_and_what_is_too_large_for_it_is_a_dead_letter() {
    let stage = Stage::new(1).await;
    let server = Server::start(&stage.dir.path().join("nats"), address().port());
    let relay = Relay::start(config(&stage, &server, "")).await;
    stage.ledger.book(1, "{a}:cash", 2);
    let failed = "twinset_relay_attempts_total{end=\"failed\",sink=\"bus\"}";
    until("there is no stream", async || (relay.metric(failed).await >= 2.0).then_some(())).await;
    let wanted = stream::Config {
        name: "TWINSET".into(),
        subjects: vec!["twinset.events.>".into()],
        duplicate_window: Duration::from_secs(60),
        ..stream::Config::default()
    };
    context(&server).await.create_stream(wanted).await.expect("made");
    messages_are(&server, 2).await;
    // A server takes a megabyte as it is.
    stage.ledger.book(1, &"x".repeat(2 << 20), 1);
    relay.metric_is("twinset_relay_halted{set=\"1\",sink=\"bus\"}", 1.0).await;
    let list = relay.command(&["dead-letters", "list"]).expect("listed");
    assert!(list.contains("max payload size exceeded"), "{list}");
    relay.stop().await;
}
