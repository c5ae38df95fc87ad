//! The files around the program: the example configuration, the mistakes one can make in it, and the pages of the reference.

use std::process::{Command, Stdio};

use prometheus::Registry;
use twinset_relay::config::{Config, DeadLetters, Limits, Retry};
use twinset_relay::event::Filter;
use twinset_relay::metrics::Metrics;

use crate::support::{OTHER_SECRET, Relay, SECRET, Stage, secret, until};

const EXAMPLE: &str = include_str!("../../../deploy/examples/relay.toml");
const METRICS: &str = include_str!("../../../docs/reference/metrics.md");
const PAGE: &str = include_str!("../../../docs/reference/relay.md");

fn keys(value: &toml::Value, prefix: &str, into: &mut Vec<String>) {
    match value {
        toml::Value::Table(table) => {
            table.iter().for_each(|(key, value)| keys(value, &format!("{prefix}.{key}"), into));
        }
        toml::Value::Array(list) if list.iter().any(toml::Value::is_table) => {
            list.iter().for_each(|value| keys(value, prefix, into));
        }
        _ => into.push(prefix.to_string()),
    }
}

fn keys_of(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    keys(&toml::from_str(text).expect("TOML"), "", &mut found);
    found.sort();
    found
}

/// The example with what is off in it.
fn everything_on() -> String {
    let on = |line: &str| {
        let key = line.strip_prefix("# ").filter(|rest| {
            rest.split_once(" = ")
                .is_some_and(|(key, _)| key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'))
        });
        format!("{}\n", key.unwrap_or(line))
    };
    EXAMPLE.lines().map(on).collect()
}

#[test]
fn the_example_has_every_key_and_the_defaults() {
    let config: Config = toml::from_str(EXAMPLE).expect("the example parses");
    config.validate().expect("the example is valid");
    let full: Config = toml::from_str(&everything_on()).expect("it parses with everything on");
    full.validate().expect("and is valid");
    assert_eq!(keys_of(&everything_on()), keys_of(&full.to_toml()));
    assert_eq!(toml::from_str::<Config>(&full.to_toml()).expect("the dump parses"), full);
    assert_eq!(config.limits, Limits::default());
    let (webhook, nats) = (&config.webhook[0], &config.nats[0]);
    let shared = (Filter::default(), Retry::default(), DeadLetters::default());
    assert_eq!((webhook.filter.clone(), webhook.retry.clone(), webhook.dead_letters.clone()), shared);
    assert_eq!((nats.filter.clone(), nats.retry.clone(), nats.dead_letters.clone()), shared);
    // With what must be there and nothing else, the others have the example's values.
    let least = r#"
        routers = ["http://127.0.0.1:8080", "http://127.0.0.1:8180"]
        data_dir = "/var/lib/twinset-relay"
        listen = { http = "127.0.0.1:8090" }
        [[webhook]]
        name = "billing"
        url = "https://billing.example.com/twinset"
        secrets = [{ id = "2026-11", file = "/etc/twinset/billing.secret" }]
        [[nats]]
        name = "bus"
        servers = ["nats://127.0.0.1:4222"]
    "#;
    assert_eq!(toml::from_str::<Config>(least).expect("it parses"), config);
}

#[test]
fn mistakes_are_named() {
    let table = [
        (
            "http = \"127.0.0.1:8090\"",
            "http = \"0.0.0.0:8090\"",
            "listen.http: 0.0.0.0:8090 is not a loopback",
        ),
        ("\"http://127.0.0.1:8080\"", "\"127.0.0.1:8080\"", "routers: \"127.0.0.1:8080\" is not http://"),
        ("drain_ms = 10000", "drain = 1", "unknown field `drain`"),
        ("read_ahead_events = 256", "read_ahead_events = 0", "limits.read_ahead_events: 0 is not between"),
        ("name = \"bus\"", "name = \"billing\"", "two sinks are called \"billing\""),
        ("name = \"billing\"", "name = \"../x\"", "name: \"../x\" is not"),
        ("https://billing", "http://billing", "webhook \"billing\": url: http:// to another machine"),
        ("https://billing", "ftp://billing", "url: neither http"),
        ("https://billing", "https://me:word@billing", "url: no user"),
        ("id = \"2026-11\"", "id = \"a,b\"", "secrets: id \"a,b\""),
        ("secrets = [{", "secrets = []\n# [{", "secrets: one, or two"),
        ("batch_max = 100", "batch_max = 0", "batch_max: 0 is not between 1 and 1000"),
        ("in_flight_max = 16", "in_flight_max = 0", "in_flight_max: 0"),
        ("kinds = []", "kinds = [\"boked\"]", "filter.kinds: \"boked\" is no kind of event"),
        ("accounts = []", "accounts = [\"\"]", "filter.accounts: an empty beginning"),
        ("max_ms = 60000", "max_ms = 100", "retry.max_ms: 100 is not between 200"),
        ("on_dead = \"halt\"", "on_dead = \"stop\"", "unknown variant `stop`"),
        ("max = 1000", "max = 0", "dead_letters.max: 0"),
        ("nats://127.0.0.1:4222", "127.0.0.1:4222", "servers: \"127.0.0.1:4222\" is neither nats://"),
        ("stream = \"TWINSET\"", "stream = \"A.B\"", "stream: 1 to 64"),
        ("subject = \"twinset.events\"", "subject = \"twinset.>\"", "subject: words"),
        ("# user = ", "user = ", "user: user and password_file come together"),
        ("replicas = 1", "replicas = 6", "replicas: 6"),
    ];
    let dir = tempfile::tempdir().expect("a directory");
    for (n, (from, to, expected)) in table.into_iter().enumerate() {
        assert!(EXAMPLE.contains(from), "{from}");
        let path = dir.path().join(format!("{n}.toml"));
        std::fs::write(&path, EXAMPLE.replacen(from, to, 1)).expect("written");
        let error = Config::load(&path).expect_err(to).to_string();
        assert!(error.contains(expected), "{to}: {error}");
    }
    let missing = Config::load(&dir.path().join("none.toml")).expect_err("no such file").to_string();
    assert!(missing.contains("cannot read") && missing.contains("none.toml"), "{missing}");
}

#[test]
fn the_page_of_metrics_lists_them_all() {
    let registry = Registry::new();
    let metrics = Metrics::new(registry.clone());
    drop(metrics.lane("billing", 1));
    let mut rows = Vec::new();
    for family in registry.gather() {
        let labels: Vec<&str> = family.get_metric()[0].get_label().iter().map(|label| label.name()).collect();
        let labels = if labels.is_empty() { "-".to_owned() } else { labels.join(", ") };
        let kind = format!("{:?}", family.get_field_type()).to_lowercase();
        rows.push(format!("| `{}` | {kind} | {labels} | {} |", family.name(), family.help()));
    }
    let section = METRICS.split("\n## Relay").nth(1).expect("the section is there");
    let section = section.split("\n## ").next().expect("it is");
    let listed: Vec<&str> = section.lines().filter(|line| line.starts_with("| `")).collect();
    assert_eq!(listed, rows, "{}", rows.join("\n"));
}

/// The receiver of the page, as it stands there, takes what the relay sends, and refuses what somebody else sends.
#[tokio::test]
async fn the_receiver_of_the_page_works() {
    let stage = Stage::new(1).await;
    let dir = stage.dir.path();
    let program =
        PAGE.split("```python\n").nth(1).and_then(|rest| rest.split("```").next()).expect("it is there");
    std::fs::write(dir.join("receiver.py"), program).expect("written");
    secret(dir, "next", OTHER_SECRET);
    // It knows only the second of two keys, as one that was changed already.
    let mut python = Command::new("python3")
        .args(["-u", "receiver.py", "0", "k2", "next", "events.sqlite"])
        .current_dir(dir)
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3 runs");
    let mut said = std::io::BufReader::new(python.stdout.take().expect("piped"));
    let mut line = String::new();
    std::io::BufRead::read_line(&mut said, &mut line).expect("it says where it listens");
    let port: u16 = line.trim().rsplit(':').next().and_then(|port| port.parse().ok()).expect(&line);

    let mut config = stage.config(crate::support::QUICK);
    config.webhook[0].url = format!("http://127.0.0.1:{port}/");
    let key = |id: &str, file: &str| twinset_relay::config::Secret { id: id.into(), file: dir.join(file) };
    config.webhook[0].secrets = vec![key("k1", "secret"), key("k2", "next")];
    stage.ledger.book(1, "{a}:cash", 250);
    let relay = Relay::start(config.clone()).await;
    relay.metric_is("twinset_relay_events_total{end=\"delivered\",sink=\"hook\"}", 250.0).await;
    relay.stop().await;
    // Everything again: it knows all of it.
    std::fs::remove_dir_all(config.data_dir.join("cursors")).expect("removed");
    let relay = Relay::start(config.clone()).await;
    relay.metric_is("twinset_relay_events_total{end=\"delivered\",sink=\"hook\"}", 250.0).await;
    relay.stop().await;
    let count = "import sqlite3; print(sqlite3.connect('events.sqlite').execute('select count(*) from events').fetchone()[0])";
    let counted =
        Command::new("python3").args(["-c", count]).current_dir(dir).output().expect("python3 runs");
    assert_eq!(String::from_utf8_lossy(&counted.stdout).trim(), "250");

    // A key that it does not know.
    secret(dir, "next", SECRET);
    std::fs::remove_dir_all(config.data_dir.join("cursors")).expect("removed");
    let relay = Relay::start(config).await;
    let failed = "twinset_relay_attempts_total{end=\"failed\",sink=\"hook\"}";
    until("it is refused", async || (relay.metric(failed).await >= 2.0).then_some(())).await;
    assert_eq!(relay.metric("twinset_relay_events_total{end=\"delivered\",sink=\"hook\"}").await, 0.0);
    python.kill().expect("killed");
    python.wait().expect("gone");
}
