//! `twinset cluster`: makes a cluster out of blank nodes. The work is in [`crate::cluster::bootstrap`].

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::json;

use super::Context;
use crate::cluster::bootstrap;
use crate::out;

/// Make a cluster out of blank nodes.
#[derive(Debug, Subcommand)]
pub enum Cluster {
    /// Give the nodes of a topology file their cluster, and wait until every set has a leader.
    #[command(
        long_about = "Give the nodes of a topology file their cluster, and wait until every set has a leader.\n\n\
        All nodes must be running and answer. Repeating it is harmless: an earlier bootstrap that was cut short is \
        finished under its cluster id, a running cluster is left as it is. Nodes of different clusters are refused.\n\n\
        Example:\n  twinset cluster bootstrap --topology deploy/examples/topology.toml"
    )]
    Bootstrap(Bootstrap),
}

/// Arguments of `cluster bootstrap`.
#[derive(Debug, Args)]
pub struct Bootstrap {
    /// The topology file: cluster, sites, nodes.
    #[arg(long, value_name = "FILE")]
    topology: PathBuf,
    /// How long it may take, in seconds.
    #[arg(long, default_value_t = 30)]
    patience: u64,
}

/// Runs `twinset cluster ...`.
pub async fn run(command: Cluster, context: &Context) -> anyhow::Result<()> {
    let Cluster::Bootstrap(arguments) = command;
    let topology = bootstrap::read_topology(&arguments.topology)?;
    let spinner = out::spinner("bootstrapping");
    let done = bootstrap::bootstrap(&topology, Duration::from_secs(arguments.patience)).await;
    spinner.finish_and_clear();
    let done = done?;
    let sets = done.survey.catalogue()?.sets.keys().copied().collect::<Vec<_>>();
    let leaders: Vec<(u32, String)> = sets
        .iter()
        .filter_map(|&set| done.survey.leader(set).map(|(_, reply)| (set, reply.node.clone())))
        .collect();
    if context.json {
        let leaders: Vec<_> =
            leaders.iter().map(|(set, node)| json!({ "set": set, "leader": node })).collect();
        return out::json(&json!({ "cluster_id": done.cluster_id, "given": done.given, "sets": leaders }));
    }
    out::line(&format!("cluster {}", done.cluster_id))?;
    match done.given.len() {
        0 => out::line("no node was blank: nothing was changed")?,
        _ => out::line(&format!("given to {}", done.given.join(" ")))?,
    }
    for (set, node) in leaders {
        out::line(&format!("set {set} is led by {node}"))?;
    }
    Ok(())
}
