//! `twinset node add`: a blank node becomes one of a running cluster. It hosts nothing until something is placed there.

use std::time::Duration;

use clap::Args;
use serde_json::json;
use tokio::time::Instant;
use twinset_control::Command;
use twinset_proto::cluster::v1::BootstrapRequest;

use super::super::{Context, who};
use super::PATIENCE;
use crate::cluster::{admin, bootstrap, control};
use crate::{error, out};

/// What `twinset node add --help` says.
pub(super) const HELP: &str = "Add a node that is new, and started with an empty data directory.\n\n\
    Give the addresses as they stand in its configuration. The node is recorded in the control set, given the catalogue, and asks \
    the control set itself whether anything was ever placed on it: a node that has lost its data is refused, and replaced by \
    another one. A name that was taken out is never used again. Repeating it is harmless.\n\n\
    Example:\n  twinset node add a3 --site A --api 10.0.0.3:7101 --peer 10.0.0.3:7201 --http 10.0.0.3:7301 --yes --why 'a1 burnt'";

const POLL: Duration = Duration::from_millis(100);
/// For the node to take its cluster and to be ready.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// Add a node that is new.
#[derive(Debug, Args)]
pub struct Add {
    /// Its name.
    node: String,
    /// Its site, which never changes.
    #[arg(long)]
    site: String,
    /// Where routers and tools reach it.
    #[arg(long, value_name = "ADDR")]
    api: String,
    /// Where the other nodes reach it.
    #[arg(long, value_name = "ADDR")]
    peer: String,
    /// Where it shows health and metrics.
    #[arg(long, value_name = "ADDR")]
    http: String,
    /// Do it.
    #[arg(long)]
    yes: bool,
    /// Why, for the audit log.
    #[arg(long, value_name = "TEXT")]
    why: String,
}

pub(super) async fn run(arguments: Add, context: &Context) -> anyhow::Result<()> {
    let Add { node, site, api, peer, http, yes, why } = arguments;
    let seeds = context.nodes()?;
    let survey = admin::survey(&seeds).await;
    let catalogue = survey.catalogue()?;
    let found = admin::identify(&api).await.map_err(|reason| {
        error::failure(
            format!("nothing answers at {api}: {reason}"),
            "start the node first, with an empty data directory",
        )
    })?;
    if found.node != node || found.site != site {
        return Err(error::usage(
            format!("at {api} node {} of site {} answers, not {node} of site {site}", found.node, found.site),
            "name and site are those of the node's configuration",
        ));
    }
    if !found.cluster_id.is_empty() && found.cluster_id != catalogue.cluster_id {
        return Err(error::usage(
            format!("node {node} belongs to cluster {} already", found.cluster_id),
            "start it with an empty data directory, or name the nodes of its own cluster",
        ));
    }
    if !yes {
        out::say(&format!(
            "plan: node {node} joins site {site} of cluster {}, and hosts nothing yet",
            catalogue.cluster_id
        ));
        return Err(error::usage("nothing was done", "repeat it with --yes"));
    }
    let command = Command::UpsertNodeAddress {
        node: node.clone(),
        site: site.clone(),
        api_addr: api.clone(),
        peer_addr: peer,
        http_addr: http,
        who: who(),
        why,
    };
    let reply = control::propose(&survey, catalogue, &command, PATIENCE).await.map_err(|error| {
        error::failure(format!("node {node} was not added: {error}"), "`twinset node list` shows the nodes")
    })?;
    let deadline = Instant::now() + READY_WITHIN;
    let late = |what: String| error::failure(what, "run the same command again: it goes on");
    let catalogue = loop {
        let known = admin::survey(&seeds).await.catalogue.filter(|known| known.version >= reply.version);
        if let Some(known) = known {
            break known;
        }
        if Instant::now() >= deadline {
            return Err(late(format!("no node has catalogue {} yet", reply.version)));
        }
        tokio::time::sleep(POLL).await;
    };
    let request = BootstrapRequest {
        cluster_id: catalogue.cluster_id.clone(),
        catalogue_json: catalogue.to_json().into(),
    };
    bootstrap::send(&node, &api, request, deadline).await?;
    loop {
        let missing = match admin::status(&api).await {
            Ok(status) if status.ready => break,
            Ok(status) => status.not_ready_because,
            Err(reason) => reason,
        };
        if Instant::now() >= deadline {
            return Err(late(format!("node {node} is not ready yet: {missing}")));
        }
        tokio::time::sleep(POLL).await;
    }
    if context.json {
        return out::json(&json!({ "node": node, "site": site, "changed": reply.changed }));
    }
    out::line(&format!("node {node} belongs to site {site}; it hosts nothing yet"))
}
