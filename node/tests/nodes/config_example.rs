//! `deploy/examples/node.toml` is complete and true: it parses, has every key there is, says what each is for, and states
//! the defaults.
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

use twinset_node::config::{Config, ProposerConfig, RaftConfig, StoreConfig};

fn path() -> PathBuf {
    PathBuf::from("../deploy/examples/node.toml")
}

fn text() -> String {
    std::fs::read_to_string(path()).unwrap()
}

/// Every key with its section, and its value.
fn flat(text: &str) -> BTreeMap<String, toml::Value> {
    let mut keys = BTreeMap::new();
    let tables: toml::Table = toml::from_str(text).unwrap();
    for (section, table) in tables {
        for (key, value) in table.as_table().unwrap() {
            keys.insert(format!("{section}.{key}"), value.clone());
        }
    }
    keys
}

#[test]
fn it_is_a_valid_configuration() {
    Config::load(&path()).unwrap();
}

#[test]
fn it_has_every_key_that_dump_config_shows() {
    let output = Command::new(env!("CARGO_BIN_EXE_twinset-node"))
        .arg("--config")
        .arg(path())
        .arg("--dump-config")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let dumped = flat(&String::from_utf8(output.stdout).unwrap());
    // Keys and values: what is printed is what was read.
    assert_eq!(flat(&text()), dumped);
}

#[test]
fn what_need_not_be_given_has_its_default() {
    let minimal: String = {
        let required =
            ["node.name", "node.site", "node.data_dir", "listen.api", "listen.peer", "listen.http"];
        let keys = flat(&text());
        required.iter().map(|key| format!("{key} = {}\n", keys[*key])).collect()
    };
    let minimal: Config = toml::from_str(&minimal).unwrap();
    assert_eq!(flat(&toml::to_string(&minimal).unwrap()), flat(&text()));
    let example = Config::load(&path()).unwrap();
    assert_eq!(toml::to_string(&example.raft), toml::to_string(&RaftConfig::default()));
    assert_eq!(toml::to_string(&example.proposer), toml::to_string(&ProposerConfig::default()));
    assert_eq!(toml::to_string(&example.store), toml::to_string(&StoreConfig::default()));
}

#[test]
fn the_initiators_that_are_commented_out_have_the_defaults() {
    let text = text();
    let lines =
        text.lines().skip_while(|line| *line != "# [[initiators]]").take_while(|line| !line.is_empty());
    let lines = lines.filter_map(|line| line.strip_prefix("# "));
    let lines: Vec<&str> = lines.filter(|line| line.starts_with('[') || line.contains(" = ")).collect();
    let required = |line: &&str| ["[[", "name", "url", "secret_file"].iter().any(|key| line.starts_with(key));
    let read = |lines: &[&str]| {
        let config: Config = toml::from_str(&format!("{text}\n{}", lines.join("\n"))).unwrap();
        config.validate().unwrap();
        toml::to_string(&config).unwrap()
    };
    let short: Vec<&str> = lines.iter().copied().filter(required).collect();
    assert_eq!((lines.len(), short.len()), (10, 4), "{lines:?}");
    assert_eq!(read(&lines), read(&short));
}

#[test]
fn every_section_and_key_is_explained() {
    let text = text();
    let mut before = "";
    for line in text.lines() {
        let is_key = line.contains('=') && !line.starts_with('#');
        if is_key || line.starts_with('[') {
            assert!(before.starts_with("# "), "no comment above: {line}");
        }
        before = line;
    }
}

#[test]
fn an_unknown_key_is_refused() {
    for section in ["node", "listen", "raft", "proposer", "store"] {
        let with = text().replace(&format!("[{section}]"), &format!("[{section}]\nno_such_key = 1"));
        let refused = toml::from_str::<Config>(&with).unwrap_err().to_string();
        assert!(refused.contains("no_such_key"), "{section}: {refused}");
    }
}
