//! The node's own HTTP listener: what it serves and what it does not, and that `docs/reference/metrics.md` lists the metrics of
//! a node as it tells them itself.

use std::collections::{BTreeMap, BTreeSet};

use crate::whole::{Cluster, Running, alone, ports};

const PAGE: &str = include_str!("../../../docs/reference/metrics.md");

/// What is known of a metric besides its name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Metric {
    kind: String,
    labels: BTreeSet<String>,
    meaning: String,
}

/// What a scrape gives.
fn served(running: &Running) -> BTreeMap<String, Metric> {
    let (status, head, body) = running.get("/metrics");
    assert_eq!(status, 200, "{body}");
    assert!(head.contains("content-type: text/plain; version=0.0.4"), "{head}");
    let mut found: BTreeMap<String, Metric> = BTreeMap::new();
    for line in body.lines() {
        if let Some((name, meaning)) = line.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' ')) {
            found.entry(name.to_owned()).or_default().meaning = meaning.to_owned();
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' '))
        {
            found.entry(name.to_owned()).or_default().kind = kind.to_owned();
        } else {
            let (name, mut labels) = sample(line);
            // Of a histogram's series the page names the whole, and not the bounds.
            let base = ["_bucket", "_sum", "_count"].iter().find_map(|part| name.strip_suffix(part));
            let base = base.filter(|base| found.get(*base).is_some_and(|whole| whole.kind == "histogram"));
            let name = base.unwrap_or(name);
            labels.remove("le");
            let metric = found.get_mut(name).unwrap_or_else(|| panic!("nothing is said of {line}"));
            metric.labels.extend(labels.into_keys());
        }
    }
    found
}

/// Name and labels of a line like `name{label="value",...} 7`.
fn sample(line: &str) -> (&str, BTreeMap<String, String>) {
    let (name, value) = line.rsplit_once(' ').unwrap();
    value.parse::<f64>().unwrap();
    let Some((name, labels)) = name.split_once('{') else { return (name, BTreeMap::new()) };
    let labels = labels.trim_end_matches('}').split(',').map(|label| label.split_once('=').unwrap());
    (name, labels.map(|(label, value)| (label.to_owned(), value.trim_matches('"').to_owned())).collect())
}

/// What the page lists.
fn listed() -> BTreeMap<String, Metric> {
    let section = PAGE.split("\n## ").find(|section| section.starts_with("Node ")).unwrap();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `"));
    rows.map(|row| {
        let cells: Vec<&str> = row.trim_end_matches(" |").split(" | ").collect();
        let [name, kind, labels, meaning] = cells[..] else { panic!("not four cells: {row}") };
        let labels = labels.split(", ").filter(|label| *label != "-").map(str::to_owned).collect();
        let metric = Metric { kind: kind.to_owned(), labels, meaning: meaning.to_owned() };
        (name.trim_end_matches('`').to_owned(), metric)
    })
    .collect()
}

#[test]
fn the_page_lists_the_metrics_that_a_node_serves() {
    let _alone = alone();
    let cluster = Cluster::start(&["a1", "a2", "b1", "b2"]);
    for running in &cluster.nodes {
        assert_eq!(served(running), listed(), "{}", running.node.config.node.name);
    }
    // A label with a closed list: the page names its values.
    let (_, _, body) = cluster.nodes[0].get("/metrics");
    let lines = body.lines().filter(|line| line.starts_with("twinset_set_index{"));
    let kinds: BTreeSet<String> = lines.filter_map(|line| sample(line).1.remove("kind")).collect();
    let meaning = listed()["twinset_set_index"].meaning.clone();
    let (_, named) = meaning.trim_end_matches('.').split_once("by kind: ").unwrap();
    assert_eq!(kinds, named.split(", ").map(str::to_owned).collect());
    cluster.stop();
}

#[test]
fn a_blank_node_says_that_it_lives_and_serves_nothing_else() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let running = Running::start("a1", ports(), dir.path());
    assert_eq!(running.get("/healthz").0, 200);
    assert_eq!(running.get("/healthz").2, "ok\n");
    assert_eq!(running.get("/readyz").0, 503);
    // From the start, with the exception that the page makes.
    let mut from_the_start = listed();
    from_the_start.retain(|_, metric| !metric.labels.contains("set"));
    assert!(!from_the_start.is_empty());
    assert_eq!(served(&running), from_the_start);
    for path in ["/", "/metric", "/metrics/", "/healthz/x", "/v1/accounts"] {
        assert_eq!(running.get(path).0, 404, "{path}");
    }
    running.ask_to_stop();
    running.ended().unwrap();
}
