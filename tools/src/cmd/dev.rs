//! `twinset dev`: a whole cluster on this machine. Prints and waits for signals; the cluster is
//! [`crate::cluster::local`].

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;

use super::Context;
use crate::cluster::layout::{DEV_JSON, Kind, Layout, Process};
use crate::cluster::local::Stopped;
use crate::cluster::process::{Pid, Signal};
use crate::cluster::{LocalCluster, LocalOptions, Ports, admin};
use crate::{error, out, view};

const POLL: Duration = Duration::from_millis(50);

/// Run a cluster of real processes on this machine.
#[derive(Debug, Subcommand)]
pub enum Dev {
    /// Start the cluster: sites A and B of two nodes each, arbiter c1, routers ra and rb.
    #[command(
        long_about = "Start the cluster: sites A and B of two nodes each, arbiter c1, routers ra and rb.\n\n\
        Writes configs, data and logs under --dir, starts the processes, bootstraps them, and waits until every set has \
        a leader and both routers are ready. Stays in the foreground until Ctrl-C or SIGTERM, then stops everything \
        cleanly. Run again without --fresh, it takes up the cluster as it was left.\n\n\
        Examples:\n  twinset dev up\n  twinset dev up --detach --sets 4 --base-port 9100 --dir /tmp/four\n  \
        twinset dev up --fresh --drill-faults"
    )]
    Up(Up),
    /// Stop the cluster of --dir.
    Down,
    /// Show the processes of the cluster, their addresses and logs.
    Ps,
    /// Stop one process cleanly and start it again.
    Restart(Name),
    /// Kill one process as a power cut would (or freeze it: --signal STOP, CONT).
    Kill(Kill),
    /// Start one process that does not run.
    Start(Name),
    /// Start one more node, blank, on ports of this cluster.
    #[command(
        long_about = "Start one more node, blank, on ports of this cluster, and print the command that adds it.\n\n\
        Example:\n  twinset dev add a3 --site A"
    )]
    Add(AddNode),
    /// Stop a node and forget it; its files stay.
    Remove(Name),
}

/// Arguments of `dev up`.
#[derive(Debug, Args)]
pub struct Up {
    /// How many sets (a new cluster: 2).
    #[arg(long)]
    sets: Option<u32>,
    /// Ports count from here (a new cluster: 7100).
    #[arg(long)]
    base_port: Option<u16>,
    /// Return when the cluster serves, and leave it running.
    #[arg(long)]
    detach: bool,
    /// Throw away what the directory holds of an earlier cluster.
    #[arg(long)]
    fresh: bool,
    /// Let `twinset fault` harm the processes, with the token in drill.token of the directory.
    #[arg(long)]
    drill_faults: bool,
    /// Where twinset-node and twinset-router are. Default: beside this program.
    #[arg(long, value_name = "DIR")]
    bin_dir: Option<PathBuf>,
    /// How long the start may take, in seconds.
    #[arg(long, default_value_t = 60)]
    patience: u64,
}

/// Names one process.
#[derive(Debug, Args)]
pub struct Name {
    /// a1, a2, b1, b2, c1, ra or rb.
    name: String,
}

/// Arguments of `dev add`.
#[derive(Debug, Args)]
pub struct AddNode {
    /// Its name, which no node has had yet.
    name: String,
    /// Its site: A or B.
    #[arg(long)]
    site: String,
}

/// Arguments of `dev kill`.
#[derive(Debug, Args)]
pub struct Kill {
    /// a1, a2, b1, b2, c1, ra or rb.
    name: String,
    /// KILL, TERM, STOP or CONT.
    #[arg(long, default_value = "KILL")]
    signal: Signal,
}

/// Runs `twinset dev ...`.
pub async fn run(command: Dev, context: &Context) -> anyhow::Result<()> {
    let dir = &context.place.dir;
    match command {
        Dev::Up(up) => run_up(up, context).await,
        Dev::Down => {
            let forced = LocalCluster::attach(dir)?.stop().await?;
            said_stopped(&forced);
            Ok(())
        }
        Dev::Ps => print_processes(&Layout::load(dir)?, context.json),
        Dev::Restart(Name { name }) => {
            let mut cluster = LocalCluster::attach(dir)?;
            if cluster.alive(&name)? && cluster.stop_process(&name).await? == Stopped::ByForce {
                out::say(&format!("{name} did not stop in time and was killed"));
            }
            start_one(cluster, &name)
        }
        Dev::Kill(Kill { name, signal }) => {
            LocalCluster::attach(dir)?.signal(&name, signal).await?;
            out::say(&format!("sent {signal:?} to {name}"));
            Ok(())
        }
        Dev::Add(AddNode { name, site }) => add_node(LocalCluster::attach(dir)?, &name, &site),
        Dev::Remove(Name { name }) => {
            LocalCluster::attach(dir)?.forget_node(&name).await?;
            out::say(&format!("{name} is stopped and forgotten"));
            Ok(())
        }
        Dev::Start(Name { name }) => start_one(LocalCluster::attach(dir)?, &name),
    }
}

fn add_node(mut cluster: LocalCluster, name: &str, site: &str) -> anyhow::Result<()> {
    cluster.start_new_node(name, site, "")?;
    let node = cluster.layout().process(name)?;
    let peer = node.peer.as_deref().unwrap_or_default();
    out::say(&format!("started {name}, log in {}; add it with", cluster.layout().log_path(name).display()));
    out::line(&format!(
        "twinset node add {name} --site {site} --api {} --peer {peer} --http {} --yes --why 'a new node'",
        node.api, node.http
    ))
}

fn start_one(mut cluster: LocalCluster, name: &str) -> anyhow::Result<()> {
    cluster.start_process(name)?;
    out::say(&format!("started {name}, log in {}", cluster.layout().log_path(name).display()));
    Ok(())
}

async fn run_up(up: Up, context: &Context) -> anyhow::Result<()> {
    let dir = &context.place.dir;
    // An existing cluster keeps its shape unless the flags name another.
    let kept = if up.fresh || !dir.join(DEV_JSON).exists() { None } else { Some(Layout::load(dir)?) };
    let base_port = up.base_port.or(kept.as_ref().map(|layout| layout.base_port)).unwrap_or(7100);
    let options = LocalOptions {
        sets: up.sets.or(kept.as_ref().map(|layout| layout.sets)).unwrap_or(2),
        ports: Ports::Base(base_port),
        fresh: up.fresh,
        drill_faults: up.drill_faults,
        detach: up.detach,
        bin_dir: up.bin_dir,
        patience: Duration::from_secs(up.patience),
        ..LocalOptions::fresh(dir)
    };
    // Listened for from the start, so that Ctrl-C during the start stops everything too.
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let mut narrate = |text: &str| out::say(text);
    let cluster = tokio::select! {
        started = LocalCluster::start(&options, &mut narrate) => started?,
        _ = interrupt.recv() => return Err(interrupted()),
        _ = terminate.recv() => return Err(interrupted()),
    };
    let seeds = cluster.layout().node_addrs();
    let missing = tokio::select! {
        missing = settled(&seeds, options.patience) => Some(missing),
        _ = interrupt.recv() => None,
        _ = terminate.recv() => None,
    };
    let Some(missing) = missing else {
        cluster.stop().await?;
        return Err(interrupted());
    };
    for (set, node) in missing {
        out::say(&format!("the copy of set {set} on {node} is no member yet: the set cannot be moved"));
    }
    print_processes(cluster.layout(), context.json)?;
    if up.detach {
        out::say(&format!("runs on; stop it with `twinset dev down --dir {}`", dir.display()));
        return Ok(());
    }
    out::say("Ctrl-C stops it; try `twinset status` in another terminal");
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    out::say("stopping");
    let forced = cluster.stop().await?;
    said_stopped(&forced);
    Ok(())
}

/// Waits until every copy of every set is a member of it, so that sets can be moved from the start; gives those that are
/// not when the patience ends.
async fn settled(seeds: &[String], patience: Duration) -> Vec<(u32, String)> {
    let deadline = Instant::now() + patience;
    loop {
        let missing = view::outsiders(&admin::survey(seeds).await);
        if missing.is_empty() || Instant::now() >= deadline {
            return missing;
        }
        tokio::time::sleep(POLL).await;
    }
}

fn interrupted() -> anyhow::Error {
    error::failure("the start was interrupted; what had been started was stopped", "run it again")
}

fn said_stopped(forced: &[String]) {
    match forced {
        [] => out::say("stopped cleanly"),
        _ => out::say(&format!("stopped; had to be killed: {}", forced.join(" "))),
    }
}

fn print_processes(layout: &Layout, json: bool) -> anyhow::Result<()> {
    let alive = |process: &Process| process.pid.is_some_and(Pid::alive);
    if json {
        let one = |p: &Process| {
            json!({
                "name": p.name, "kind": p.kind, "site": p.site, "http": p.http, "api": p.api, "peer": p.peer,
                "pid": p.pid.filter(|pid| pid.alive()).map(|pid| pid.number), "up": alive(p),
                "log": layout.log_path(&p.name),
            })
        };
        let processes: Vec<_> = layout.processes.iter().map(one).collect();
        return out::json(&json!({ "dir": layout.dir, "sets": layout.sets, "processes": processes }));
    }
    let row = |p: &Process| {
        let state = match p.pid {
            Some(pid) if pid.alive() => format!("up {}", pid.number),
            _ => "down".to_owned(),
        };
        let kind = match p.kind {
            Kind::Node => "node",
            Kind::Arbiter => "arbiter",
            Kind::Router => "router",
        };
        let api = if p.kind == Kind::Router { format!("grpc {}", p.api) } else { format!("api {}", p.api) };
        let log = layout.log_path(&p.name).display().to_string();
        vec![p.name.clone(), kind.into(), p.site.clone(), state, format!("http://{}", p.http), api, log]
    };
    let rows: Vec<_> = layout.processes.iter().map(row).collect();
    out::line(&out::table(&["NAME", "KIND", "SITE", "STATE", "HTTP", "OTHER", "LOG"], &rows))
}
