//! What the first line of a history says of the cluster that it is taken from.

use twinset_control::{Catalogue, Policy};
use twinset_tools::cluster::layout::{Kind, Layout};

use crate::books::replicas;
use crate::history::Meta;
use crate::history::event::FORMAT;

/// Sets, sites, routers and nodes; nothing of what is done to them.
pub fn meta(layout: &Layout, catalogue: &Catalogue) -> Meta {
    let nodes = layout.nodes().filter(|node| node.kind == Kind::Node);
    Meta {
        format: FORMAT,
        sets: catalogue.sets.keys().copied().collect(),
        slots: catalogue.slot_table(),
        sites: layout.routers().map(|router| router.site.clone()).collect(),
        routers: layout.routers().map(|router| router.name.clone()).collect(),
        nodes: nodes.map(|node| (node.name.clone(), node.site.clone())).collect(),
        replicas: replicas::placed(catalogue),
        go_on: catalogue.sets.values().any(|set| set.policy == Policy::MaxAvailability),
        ..Meta::default()
    }
}
