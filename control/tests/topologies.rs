//! What a topology file may not say, as a table, and the example that the project ships.

mod common;

use twinset_control::Topology;
use twinset_control::topology::{Error, TopologyNode, is_address, is_name};

/// What is done to a good topology of two sites, four nodes (a1 a2 b1 b2) and the arbiter c1.
type Spoil = fn(&mut Topology);

const TABLE: &[(Spoil, &str)] = &[
    (|t| t.cluster.name = String::new(), r#"cluster "": a name is 1 to 64 of A-Z a-z 0-9 . _ -"#),
    (|t| t.cluster.sets = 0, "cluster.sets is 0: it may be 2 to 512"),
    (|t| t.cluster.sets = 1, "cluster.sets is 1: it may be 2 to 512"),
    (|t| t.cluster.sets = 513, "cluster.sets is 513: it may be 2 to 512"),
    (|t| t.nodes[0].name = "a 1".into(), r#"node "a 1": a name is 1 to 64 of A-Z a-z 0-9 . _ -"#),
    (|t| t.nodes[0].site = "A/1".into(), r#"site "A/1": a name is 1 to 64 of A-Z a-z 0-9 . _ -"#),
    (|t| t.nodes[1].name = "a1".into(), r#"two nodes are named "a1""#),
    (
        |t| t.nodes[0].api = "127.0.0.1".into(),
        r#"node "a1", api: "127.0.0.1" is not name:port with a port from 1 to 65535"#,
    ),
    (
        |t| t.nodes[2].peer = t.nodes[0].api.clone(),
        r#"node "b1", peer: "127.0.0.1:7101" is taken by node "a1", api"#,
    ),
    (
        |t| t.nodes[0].http = t.nodes[0].api.clone(),
        r#"node "a1", http: "127.0.0.1:7101" is taken by node "a1", api"#,
    ),
    (|t| t.nodes.clear(), "exactly two sites hold nodes other than the arbiter, here 0: []"),
    (
        |t| t.nodes.retain(|n| n.site != "B"),
        r#"exactly two sites hold nodes other than the arbiter, here 1: ["A"]"#,
    ),
    (
        |t| t.nodes[4].arbiter = false,
        r#"exactly two sites hold nodes other than the arbiter, here 3: ["A", "B", "C"]"#,
    ),
    (
        |t| drop(t.nodes.remove(3)),
        r#"site "B" has 1 node: each site needs at least two, for two copies of every set"#,
    ),
    (
        |t| t.nodes.push(another_arbiter("c2", "C")),
        r#"nodes "c1" and "c2" are both arbiters: a cluster has at most one"#,
    ),
    (
        |t| t.nodes[4].site = "A".into(),
        r#"arbiter "c1" stands in site "A" with data nodes: it belongs in a third place"#,
    ),
];

fn another_arbiter(name: &str, site: &str) -> TopologyNode {
    TopologyNode {
        name: name.into(),
        site: site.into(),
        api: "127.0.0.1:7901".into(),
        peer: "127.0.0.1:7902".into(),
        http: "127.0.0.1:7903".into(),
        arbiter: true,
    }
}

#[test]
fn each_mistake_is_named() {
    for (spoil, expected) in TABLE {
        let mut topology = common::topology(2, 2, 2, true);
        assert_eq!(topology.validate(), Ok(()));
        spoil(&mut topology);
        let error = topology.validate().unwrap_err();
        assert_eq!(error.to_string(), *expected);
        assert_eq!(topology.place("cluster-1"), Err(error), "what is not valid is not placed");
    }
}

#[test]
fn a_cluster_id_is_a_name() {
    let error = common::topology(2, 2, 2, true).place("").unwrap_err();
    assert_eq!(error, Error::BadName { what: "cluster id", name: String::new() });
}

#[test]
fn the_order_of_the_file_does_not_matter() {
    let mut topology = common::topology(7, 3, 2, true);
    let placed = topology.place("cluster-1").unwrap();
    topology.nodes.reverse();
    assert_eq!(topology.place("cluster-1").unwrap(), placed);
}

#[test]
fn addresses() {
    for good in ["127.0.0.1:1", "localhost:65535", "b3.example-1.com:7101", "[::1]:80"] {
        assert!(is_address(good), "{good}");
    }
    let bad =
        ["", ":", "a:", ":1", "a:0", "a:65536", "a:+1", "a:01", "a:-1", "a b:1", "::1:80", "[::1]", "[x]:1"];
    for bad in bad {
        assert!(!is_address(bad), "{bad}");
    }
}

#[test]
fn names() {
    let longest = "x".repeat(64);
    assert!(["a", "A-1_b.c", &longest].into_iter().all(is_name));
    let too_long = "x".repeat(65);
    assert!(!["", "a b", "a/b", "é", &too_long].into_iter().any(is_name));
}

#[test]
fn the_shipped_example_makes_a_cluster() {
    let text = include_str!("../../deploy/examples/topology.toml");
    let topology: Topology = toml::from_str(text).unwrap();
    let catalogue = topology.place("cluster-1").unwrap();
    assert_eq!((catalogue.sets.len(), catalogue.nodes.len(), catalogue.control.replicas.len()), (2, 5, 3));
}

#[test]
fn unknown_and_missing_keys_are_refused() {
    let node = "[[node]]\nname = 'a1'\nsite = 'A'\napi = 'h:1'\npeer = 'h:2'\nhttp = 'h:3'\n";
    let read = |text: &str| toml::from_str::<Topology>(text);
    let good = read(&format!("[cluster]\nname = 'x'\n{node}")).unwrap();
    assert_eq!((good.cluster.sets, good.nodes[0].arbiter), (2, false), "the defaults");
    let bad = [
        format!("[cluster]\nname = 'x'\nset = 2\n{node}"),
        format!("[cluster]\nname = 'x'\n{node}port = 1\n"),
        format!("[cluster]\nname = 'x'\n[arbiter]\n{node}"),
        format!("[cluster]\n{node}"),
        "[cluster]\nname = 'x'\n[[node]]\nname = 'a1'\n".to_string(),
    ];
    for text in bad {
        assert!(read(&text).is_err(), "{text}");
    }
}
