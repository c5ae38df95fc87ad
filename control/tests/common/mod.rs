//! Clusters to test with. Shared by the test programs; it asserts nothing itself.

use twinset_control::topology::{Cluster, TopologyNode};
use twinset_control::{Policy, Topology};

/// A topology with sites A and B of so many nodes (a1, a2, .. b1, b2, ..) and, if asked for, the arbiter c1.
pub fn topology(sets: u32, nodes_a: u16, nodes_b: u16, arbiter: bool) -> Topology {
    let mut nodes: Vec<TopologyNode> = Vec::new();
    for (site, name, count) in [("A", 'a', nodes_a), ("B", 'b', nodes_b), ("C", 'c', u16::from(arbiter))] {
        for no in 1..=count {
            let place = nodes.len() + 1;
            nodes.push(TopologyNode {
                name: format!("{name}{no}"),
                site: site.into(),
                api: format!("127.0.0.1:{}", 7100 + place),
                peer: format!("127.0.0.1:{}", 7200 + place),
                http: format!("127.0.0.1:{}", 7300 + place),
                arbiter: site == "C",
            });
        }
    }
    Topology { cluster: Cluster { name: "test".into(), sets, durability: Policy::default() }, nodes }
}
