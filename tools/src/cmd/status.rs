//! `twinset status`: the cluster on one screen. The picture is made in [`crate::view`].

use std::io::{IsTerminal, Write};
use std::time::Duration;

use clap::Args;

use super::Context;
use crate::cluster::admin;
use crate::out;
use crate::replace;
use crate::view::{self, ReplicaView, SetView, View};

/// What `twinset status --help` says.
pub const HELP: &str = "Show sets, homes, leaders, durability and lag.\n\n\
    Asks every node. For each set: its home site, who leads it, what an acknowledgement proves, and the indexes \
    committed (on a majority's disks), applied (in the leader's state) and safe (on disk in each site). \"RPO 0 proven\" \
    means that the loss of either site loses nothing that was acknowledged. In the copies, * leads, ~ learns, +N is N \
    entries behind on disk, ! is down or stopped.\n\n\
    Examples:\n  twinset status\n  twinset status --watch\n  twinset status --nodes 10.0.0.1:7101 --json | jq .sets";

/// Show sets, homes, leaders, durability and lag.
#[derive(Debug, Args)]
pub struct Status {
    /// Show it again every second until Ctrl-C.
    #[arg(long)]
    watch: bool,
}

/// Runs `twinset status`.
pub async fn run(arguments: Status, context: &Context) -> anyhow::Result<()> {
    let nodes = context.nodes()?;
    if !arguments.watch {
        return show(&nodes, context.json, false).await;
    }
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    let clear = std::io::stdout().is_terminal();
    loop {
        tokio::select! {
            _ = tick.tick() => show(&nodes, context.json, clear).await?,
            _ = tokio::signal::ctrl_c() => return Ok(()),
        }
    }
}

async fn show(nodes: &[String], json: bool, clear: bool) -> anyhow::Result<()> {
    let survey = admin::survey(nodes).await;
    survey.catalogue()?;
    let Some(view) = view::view(&survey) else { return Ok(()) };
    if clear {
        write!(std::io::stdout(), "\x1b[H\x1b[2J")?;
    }
    if json { out::json(&view) } else { out::line(&text(&view)) }
}

fn text(view: &View) -> String {
    let nodes: Vec<Vec<String>> = view
        .nodes
        .iter()
        .map(|node| {
            let state = match (node.up, node.ready) {
                (true, true) => "up",
                (true, false) => "not ready",
                (false, _) => "down",
            };
            let problem = node.problem.clone().unwrap_or_default();
            vec![node.name.clone(), node.site.clone(), state.to_owned(), node.api.clone(), problem]
        })
        .collect();
    let sets: Vec<Vec<String>> = std::iter::once(&view.control).chain(&view.sets).map(row).collect();
    let headings = [
        "SET",
        "HOME",
        "LEADER",
        "TERM",
        "DURABILITY",
        "COMMITTED",
        "APPLIED",
        "SAFE",
        "RPO",
        "EPOCH",
        "INC",
        "COPIES",
    ];
    let mut text = format!(
        "cluster {} ({}), catalogue {}\n\n{}\n\n{}",
        view.cluster_name,
        view.cluster_id,
        view.catalogue_version,
        out::table(&["NODE", "SITE", "STATE", "API", ""], &nodes),
        out::table(&headings, &sets),
    );
    for site in &view.isolated_sites {
        text.push_str(&format!(
            "\nsite {site} is isolated: nothing moves into it until `twinset return {site}`"
        ));
    }
    for plan in &view.plans {
        text.push_str(&format!(
            "\nplan {} ({}) is {}, {} of {} sets done, for {} ({})",
            plan.id, plan.what, plan.state, plan.done, plan.sets, plan.who, plan.why
        ));
    }
    for set in std::iter::once(&view.control).chain(&view.sets) {
        if let Some(switch) = &set.switch {
            text.push_str(&format!(
                "\nset {} switches from {} to {}, by {} for {} ({})",
                set.set, switch.from, switch.to, switch.owner, switch.who, switch.why
            ));
        }
        if let Some(open) = &set.replacement {
            let given_up = if open.given_up { ", given up" } else { "" };
            text.push_str(&format!(
                "\n{}: replica {} on {} is replaced by {} on {}{given_up}, for {} ({})",
                replace::name(set.set),
                open.old,
                open.node,
                open.new,
                open.by,
                open.who,
                open.why
            ));
        }
        for replica in &set.replicas {
            if let Some(fault) = &replica.fault {
                text.push_str(&format!("\nset {} on {}: {fault}", set.set, replica.node));
            }
        }
    }
    text
}

fn row(set: &SetView) -> Vec<String> {
    let number = |value: Option<u64>| value.map_or("-".to_owned(), |value| value.to_string());
    let name = if set.set == 0 { "control".to_owned() } else { set.set.to_string() };
    let home = match (&set.home, &set.configured_home) {
        (Some(home), Some(configured)) => format!("{home} (of {configured})"),
        (Some(home), None) => home.clone(),
        (None, _) => "-".to_owned(),
    };
    vec![
        name,
        home,
        set.leader.clone().unwrap_or_else(|| "none".to_owned()),
        number(set.term),
        durability(set),
        number(set.indexes.map(|indexes| indexes.committed)),
        number(set.indexes.map(|indexes| indexes.applied)),
        number(set.indexes.map(|indexes| indexes.safe)),
        set.rpo.to_string(),
        number(set.epoch),
        set.incarnation.to_string(),
        set.replicas.iter().map(copy).collect::<Vec<_>>().join(" "),
    ]
}

/// What is in force, and what the leader is doing about it where that is something else.
fn durability(set: &SetView) -> String {
    let in_force = set.durability.as_deref().unwrap_or("-");
    match set.phase.as_deref().filter(|phase| *phase != in_force) {
        Some(phase) => format!("{in_force} ({phase})"),
        None if set.pinned => format!("{in_force} (by hand)"),
        None => in_force.to_owned(),
    }
}

fn copy(replica: &ReplicaView) -> String {
    let mark = match replica.role.as_str() {
        "leader" => "*",
        "learner" => "~",
        "follower" => "",
        "candidate" => "?",
        _ => "!",
    };
    let lag = match replica.lag {
        Some(lag) if lag > 0 => format!("+{lag}"),
        _ => String::new(),
    };
    format!("{}{mark}{lag}", replica.node)
}
