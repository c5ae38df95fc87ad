//! `twinset drill watch`: looking on, and keeping a report of whatever nobody planned.

use std::path::PathBuf;

use clap::Args;

use super::Context;
use crate::drill::cast::{Process, local_routers};
use crate::drill::shelf;
use crate::drill::watch::{self, Options};
use crate::{http1, out};

/// What `twinset drill watch --help` says.
pub const HELP: &str = "Look at the cluster every second, and keep a report of whatever nobody planned.\n\n\
    That is a set without a leader, led by another node, recovered or not SYNC, or a process that does not answer. The report \
    looks like that of a drill. It is there some seconds after every set serves again, and once more, as a whole, when all is as \
    before. What clients went through is what the routers count. Plans, drills and isolated sites are no news. Changes nothing; \
    Ctrl-C ends it.\n\n\
    Examples:\n  twinset drill watch\n  \
    twinset drill watch --records reports --nodes a1:7301,b1:7301 --router http://ra:7401";

/// Keep a report of whatever nobody planned.
#[derive(Clone, Debug, Args)]
pub struct Watch {
    /// Directory of the records.
    #[arg(long, value_name = "DIR", default_value = shelf::RECORDS)]
    records: PathBuf,
}

/// Runs `twinset drill watch`.
pub async fn run(arguments: Watch, context: &Context) -> anyhow::Result<()> {
    let local = context.local();
    let routers = match &local {
        Some(layout) => local_routers(layout),
        None => context.routers()?.iter().map(|url| router(url)).collect::<anyhow::Result<_>>()?,
    };
    let options = Options { seeds: context.nodes()?, routers, records: arguments.records };
    out::say(&format!("looking at the cluster every second; reports go to {}", options.records.display()));
    let mut hear = |line: &str| {
        // Nobody reads on: the reports are kept all the same.
        let _ = out::line(line);
    };
    tokio::select! {
        ended = watch::watch(&options, &mut hear) => ended,
        stopped = tokio::signal::ctrl_c() => Ok(stopped?),
    }
}

/// A router of which only its URL is known.
fn router(url: &str) -> anyhow::Result<Process> {
    let http = http1::authority(url)?;
    Ok(Process { name: http.clone(), addr: http.clone(), http, site: String::new(), router: true })
}
