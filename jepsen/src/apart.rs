//! `twinset-jepsen apart`: a cluster for measuring and for playing with, whose sites are as far apart as two data centres. Nothing is
//! judged here; `twinset`, its drills and its benchmarks find the cluster by its directory.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use futures::future::LocalBoxFuture;
use tokio::signal::unix::{SignalKind, signal};
use twinset_tools::cluster::{LocalCluster, LocalOptions, Ports};
use twinset_tools::out;

use crate::nemesis::links;
use crate::net::Net;

/// What `twinset-jepsen apart --help` says.
pub const HELP: &str = "Run a local cluster with a network of its own for each process, and the sites so far apart, until it is stopped.\n\n\
    Every packet between the sites waits so many milliseconds in each direction, which makes twice as many for a question \
    and its answer. Faults for drills are on. The cluster is used by its directory: `twinset status --dir DIR`, \
    `twinset bench --dir DIR`, `twinset drill run --dir DIR ...`. Ctrl-C ends it. Needs root, or user namespaces.\n\n\
    Examples:\n  twinset-jepsen apart --dir far --delay-ms 1\n  twinset-jepsen apart --dir far --delay-ms 5 --sets 64 --base-port 7600";

/// Runs a cluster whose sites are apart.
#[derive(Clone, Debug, Args)]
pub struct Apart {
    /// Where it lives; what an earlier one left there is thrown away.
    #[arg(long, default_value = ".twinset-apart", value_name = "DIR")]
    dir: PathBuf,
    /// How long a packet between the sites is on its way.
    #[arg(long, default_value_t = 1, value_name = "MS")]
    delay_ms: u64,
    /// How many sets.
    #[arg(long, default_value_t = 4)]
    sets: u32,
    /// Ports count from here; default: a free range.
    #[arg(long, value_name = "PORT")]
    base_port: Option<u16>,
}

/// How long the start may take: many sets take their time.
const PATIENCE: Duration = Duration::from_secs(180);

/// Runs `twinset-jepsen apart`. True when it was stopped.
pub fn run(arguments: Apart) -> LocalBoxFuture<'static, anyhow::Result<bool>> {
    Box::pin(async move {
        // Heard from the start, so that nobody has to be killed.
        let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let net = Net::open(arguments.base_port.map_or(Ports::Free, Ports::Base)).await?;
        let options = LocalOptions {
            sets: arguments.sets,
            ports: net.ports(),
            launch: net.launch(),
            drill_faults: true,
            patience: PATIENCE,
            ..LocalOptions::fresh(&arguments.dir)
        };
        let cluster = LocalCluster::start(&options, &mut |text| out::say(text)).await?;
        if arguments.delay_ms > 0 {
            net.inject(&links::between(cluster.layout(), arguments.delay_ms)).await?;
        }
        let far = format!("{} ms each way between the sites", arguments.delay_ms);
        out::line(&format!("{} runs, {far}; Ctrl-C ends it", arguments.dir.display()))?;
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
        let forced = cluster.stop().await?;
        net.close().await;
        anyhow::ensure!(forced.is_empty(), "{forced:?} did not stop when asked to");
        Ok(true)
    })
}
