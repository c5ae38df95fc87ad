//! The configuration: the example names every key with its default, and every mistake is said before a port is opened.

use twinset_router::config::{Config, Limits};

const EXAMPLE: &str = include_str!("../../deploy/examples/router.toml");

fn keys(value: &toml::Value, prefix: &str, into: &mut Vec<String>) {
    match value.as_table() {
        Some(table) => table.iter().for_each(|(key, value)| keys(value, &format!("{prefix}.{key}"), into)),
        None => into.push(prefix.to_string()),
    }
}

fn keys_of(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    keys(&toml::from_str(text).expect("TOML"), "", &mut found);
    found.sort();
    found
}

#[test]
fn the_example_has_every_key_and_the_defaults() {
    let config: Config = toml::from_str(EXAMPLE).expect("the example parses");
    config.validate().expect("the example is valid");
    assert_eq!(keys_of(EXAMPLE), keys_of(&config.to_toml()));
    assert_eq!(config.limits, Limits::default());
    assert_eq!(toml::from_str::<Config>(&config.to_toml()).expect("the dump parses"), config);
}

#[test]
fn mistakes_are_named() {
    let table = [
        (
            "http = \"127.0.0.1:8080\"",
            "http = \"0.0.0.0:8080\"",
            "listen.http: 0.0.0.0:8080 is not a loopback address",
        ),
        (
            "grpc = \"127.0.0.1:8081\"",
            "grpc = \"10.0.0.1:8081\"",
            "listen.grpc: 10.0.0.1:8081 is not a loopback",
        ),
        ("grpc = \"127.0.0.1:8081\"", "grpc = \"127.0.0.1:8080\"", "the same address as listen.http"),
        ("grpc = \"127.0.0.1:8081\"", "grcp = \"127.0.0.1:8081\"", "unknown field `grcp`"),
        ("name = \"ra\"", "name = \"\"", "router.name"),
        ("site = \"A\"\n", "", "missing field `site`"),
        ("batch_max = 8190", "batch_max = 0", "limits.batch_max: 0 is not between 1 and 65535"),
        ("deadline_ms = 5000", "deadline_ms = 60001", "limits.deadline_ms"),
        ("deadline_ms = 5000", "deadline = 5", "unknown field `deadline`"),
        ("body_bytes_max = 8388608", "body_bytes_max = 134217728", "limits.queue_per_set_bytes"),
        ("\"127.0.0.1:7101\"", "\"nowhere\"", "seeds: \"nowhere\" is not name:port"),
    ];
    let dir = tempfile::tempdir().expect("a directory");
    for (n, (from, to, expected)) in table.into_iter().enumerate() {
        assert!(EXAMPLE.contains(from), "{from}");
        let path = dir.path().join(format!("{n}.toml"));
        std::fs::write(&path, EXAMPLE.replace(from, to)).expect("written");
        let error = Config::load(&path).expect_err(to).to_string();
        assert!(error.contains(expected), "{to}: {error}");
    }
    let missing = Config::load(&dir.path().join("none.toml")).expect_err("no such file").to_string();
    assert!(missing.contains("cannot read") && missing.contains("none.toml"), "{missing}");
}
