//! `docs/reference/configuration.md` has every key of the example files, in their order, with their values as defaults; that
//! the examples have every key and the true defaults is tested beside each program.

#![allow(clippy::unwrap_used, reason = "a test may panic anywhere, in its helpers too")]

use std::collections::BTreeMap;

const PAGE: &str = include_str!("../../docs/reference/configuration.md");
const EXAMPLES: [(&str, &str); 4] = [
    ("node.toml", include_str!("../../deploy/examples/node.toml")),
    ("router.toml", include_str!("../../deploy/examples/router.toml")),
    ("relay.toml", include_str!("../../deploy/examples/relay.toml")),
    ("topology.toml", include_str!("../../deploy/examples/topology.toml")),
];

/// Keys with their section and their values, in the order of the file. A key that is off stands there as a comment.
fn keys(text: &str) -> Vec<(String, String)> {
    let mut section = String::new();
    let mut found: Vec<(String, String)> = Vec::new();
    for line in text.lines() {
        let commented = line.strip_prefix("# ").filter(|line| is_key(line) || line.starts_with('['));
        let line = commented.unwrap_or(line);
        if let Some(name) = line.strip_prefix('[') {
            section = format!("{}.", name.trim_matches(['[', ']']));
        } else if let Some((key, value)) = line.split_once(" = ").filter(|_| is_key(line)) {
            let key = format!("{section}{key}");
            if !found.iter().any(|(known, _)| *known == key) {
                found.push((key, value.trim().to_owned()));
            }
        }
    }
    found
}

fn is_key(line: &str) -> bool {
    let word = |key: &str| !key.is_empty() && key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    line.split_once(" = ").is_some_and(|(key, _)| word(key))
}

/// Keys and defaults as a section of the page lists them.
fn listed(file: &str) -> Vec<(String, String)> {
    let section = PAGE.split("\n## ").find(|section| section.starts_with(file)).unwrap();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `"));
    rows.map(|row| {
        let mut cells = row.split(" | ");
        let key = cells.next().unwrap().trim_end_matches('`').to_owned();
        (key, cells.next().unwrap().trim_matches('`').to_owned())
    })
    .collect()
}

#[test]
fn the_page_has_every_key_in_the_order_of_the_examples() {
    for (file, example) in EXAMPLES {
        let names = |keys: Vec<(String, String)>| keys.into_iter().map(|(key, _)| key).collect::<Vec<_>>();
        assert_eq!(names(listed(file)), names(keys(example)), "{file}");
    }
}

#[test]
fn the_page_tells_the_defaults_of_the_examples() {
    for (file, example) in EXAMPLES {
        let values: BTreeMap<String, String> = keys(example).into_iter().collect();
        for (key, default) in listed(file) {
            if default != "required" && default != "off" {
                // The one arbiter of the topology is the one that says so.
                let default =
                    if (file, key.as_str()) == ("topology.toml", "node.arbiter") { "true" } else { &default };
                assert_eq!(default, values[&key], "{file}: {key}");
            }
        }
    }
}
