//! `twinset node`: who belongs to the cluster. Adds nodes, gives what a lost one hosts to another, and takes nodes out.

mod add;
mod replace;

use clap::{Args, Subcommand};
use serde_json::json;
use twinset_control::{Command, Role};

use super::Context;
use crate::cluster::{admin, control};
use crate::{error, out, view};

pub use add::Add;
pub use replace::{PATIENCE, Replace};

/// What `twinset node --help` says.
pub const HELP: &str = "See, add, replace and take out nodes.\n\n\
    A node that is lost with its data does not come back: its replicas may have voted and acknowledged, and a copy that has \
    forgotten that could break a promise. Add a new node to the same site, let it replace the lost one, and put the old disk away.\n\n\
    Examples:\n  twinset node list\n  \
    twinset node add a3 --site A --api 10.0.0.3:7101 --peer 10.0.0.3:7201 --http 10.0.0.3:7301 --yes --why 'a1 burnt'\n  \
    twinset node replace a1 --by a3 --dry-run\n  twinset node replace a1 --by a3 --yes --why 'a1 burnt'";

/// See, add, replace and take out nodes.
#[derive(Debug, Subcommand)]
pub enum Node {
    /// List the nodes, and what each hosts.
    List,
    /// Add a node that is new, and started with an empty data directory.
    #[command(long_about = add::HELP)]
    Add(Add),
    /// Give everything that a lost node hosts to another one of its site, and take it out of the cluster.
    #[command(long_about = replace::HELP)]
    Replace(Replace),
    /// Take a node that hosts nothing out of the cluster.
    #[command(
        long_about = "Take a node that hosts nothing out of the cluster.\n\nIts name is never used again. `twinset node replace` \
        does this at its end.\n\nExample:\n  twinset node remove a3 --yes --why 'never needed'"
    )]
    Remove(Remove),
}

/// Arguments of `node remove`.
#[derive(Debug, Args)]
pub struct Remove {
    /// The node.
    node: String,
    /// Do it.
    #[arg(long)]
    yes: bool,
    /// Why, for the audit log.
    #[arg(long, value_name = "TEXT")]
    why: String,
}

/// Runs `twinset node ...`.
pub async fn run(command: Node, context: &Context) -> anyhow::Result<()> {
    match command {
        Node::List => list(context).await,
        Node::Add(arguments) => add::run(arguments, context).await,
        Node::Replace(arguments) => replace::run(arguments, context).await,
        Node::Remove(arguments) => remove(arguments, context).await,
    }
}

async fn list(context: &Context) -> anyhow::Result<()> {
    let survey = admin::survey(&context.nodes()?).await;
    let catalogue = survey.catalogue()?;
    let Some(view) = view::view(&survey) else { return Ok(()) };
    let mut rows = Vec::new();
    let mut nodes = Vec::new();
    for node in &view.nodes {
        let hosted: Vec<_> = catalogue.replicas_on(&node.name).collect();
        let votes = hosted.iter().filter(|(_, replica)| replica.role == Role::Voter).count();
        let state = match (node.up, node.ready) {
            (true, true) => "up",
            (true, false) => "not ready",
            (false, _) => "down",
        };
        let problem = node.problem.clone().unwrap_or_default();
        rows.push(vec![
            node.name.clone(),
            node.site.clone(),
            state.to_owned(),
            node.api.clone(),
            hosted.len().to_string(),
            votes.to_string(),
            problem,
        ]);
        nodes.push(json!({
            "name": node.name, "site": node.site, "state": state, "api": node.api, "replicas": hosted.len(),
            "votes": votes, "problem": node.problem,
        }));
    }
    if context.json {
        return out::json(&json!({ "nodes": nodes, "removed": catalogue.removed_nodes }));
    }
    let mut text = out::table(&["NODE", "SITE", "STATE", "API", "REPLICAS", "VOTES", ""], &rows);
    if !catalogue.removed_nodes.is_empty() {
        let removed: Vec<&str> = catalogue.removed_nodes.iter().map(String::as_str).collect();
        text.push_str(&format!("\ntaken out: {}", removed.join(" ")));
    }
    out::line(&text)
}

async fn remove(arguments: Remove, context: &Context) -> anyhow::Result<()> {
    let Remove { node, yes, why } = arguments;
    if !yes {
        out::say(&format!("plan: node {node} is taken out of the cluster; its name is never used again"));
        return Err(error::usage("nothing was done", "repeat it with --yes"));
    }
    let survey = admin::survey(&context.nodes()?).await;
    let command = Command::RemoveNode { node: node.clone(), who: super::who(), why };
    control::propose(&survey, survey.catalogue()?, &command, PATIENCE).await.map_err(|error| {
        error::failure(
            format!("node {node} was not taken out: {error}"),
            "`twinset node list` shows what it hosts; `twinset node replace` gives that to another one",
        )
    })?;
    if context.json {
        return out::json(&json!({ "node": node, "removed": true }));
    }
    out::line(&format!("node {node} is none of the cluster any more"))
}
