//! `twinset fault`: faults for drills. A process harms itself when it is asked with its token, and ends the fault by
//! itself.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use clap::{Args, Subcommand};
use futures::future::join_all;
use serde_json::json;
use twinset_proto::cluster::v1::{ActiveFault, DrillFault};

use super::Context;
use crate::cluster::faults::{Asker, At};
use crate::cluster::{Layout, admin};
use crate::drill::scenario::{Direction, FaultKind, word};
use crate::{error, out};

/// Harm a process for a drill, and see it end by itself.
#[derive(Debug, Subcommand)]
pub enum Fault {
    /// Begin a fault on one node or router.
    #[command(
        long_about = "Begin a fault on one node or router. It ends by itself after --for, whatever becomes of whoever \
        began it, and is gone when the process is started anew. One of each kind at a time.\n\n\
        kill        the process dies, as by kill -9; a router knows this kind alone\n\
        pause       it stands still, and goes on by itself\n\
        stall-disk  syncs of its disk do not begin\n\
        slow-disk   each of them begins --by later\n\
        fill-disk   the next one finds no space: the node stops, as on a full disk\n\
        drop        nothing passes on its connections with --node or --site, in one --direction or both\n\
        delay       what passes there arrives --by later\n\
        step-clock  its wall clock is --by ahead (or behind: --by=-5s)\n\
        silence     nothing passes on any of its connections, but for this command\n\n\
        The process must be configured for it: drill_faults.enabled and drill_faults.token_file, as `twinset dev up \
        --drill-faults` does.\n\n\
        Examples:\n  twinset fault begin a1 pause --for 3s --why 'drill 12'\n  \
        twinset fault begin a1 drop --site B --direction out --for 10s --why 'drill 12'\n  \
        twinset fault begin b2 slow-disk --by 50ms --for 30s --why 'drill 12'\n  \
        twinset fault begin 10.0.0.7:7101 silence --for 10s --token-file drill.token --why 'drill 12'"
    )]
    Begin(Begin),
    /// List the faults that act.
    #[command(
        long_about = "List the faults that act, on all nodes and, of a local cluster, on its routers.\n\n\
        Examples:\n  twinset fault list\n  twinset fault list --json | jq -r '.faults[].id'"
    )]
    List,
    /// End faults of one process before their time.
    #[command(
        long_about = "End a fault of one process before its time; without an id, all that act there.\n\n\
        Examples:\n  twinset fault end a1\n  twinset fault end a1 1796055072123"
    )]
    End(End),
}

/// Arguments of `fault begin`.
#[derive(Debug, Args)]
pub struct Begin {
    /// The node's name, or a router's of a local cluster; or the ADDRESS:PORT where it listens for gRPC.
    process: String,
    /// What happens to it.
    kind: FaultKind,
    /// How long it acts: 500ms, 10s, 2m; at most 10m.
    #[arg(long = "for", value_name = "TIME", value_parser = time)]
    time: Duration,
    /// How much, for slow-disk, delay and step-clock: 50ms, 5s.
    #[arg(long, value_name = "TIME", value_parser = signed_ms, allow_hyphen_values = true)]
    by: Option<i64>,
    /// At the other end, for drop and delay: this node.
    #[arg(long, value_name = "NAME", conflicts_with = "site")]
    node: Option<String>,
    /// At the other end, for drop and delay: the nodes of this site, and its routers if they are configured for drill
    /// faults.
    #[arg(long, value_name = "NAME")]
    site: Option<String>,
    /// Which way, for drop and delay, as the process itself sees it [default: both].
    #[arg(long)]
    direction: Option<Direction>,
    /// Why, for the log.
    #[arg(long, value_name = "TEXT")]
    why: String,
    #[command(flatten)]
    token: TokenFile,
}

/// Arguments of `fault end`.
#[derive(Debug, Args)]
pub struct End {
    /// The node's name, or a router's of a local cluster; or the ADDRESS:PORT where it listens for gRPC.
    process: String,
    /// As `fault begin` has printed and `fault list` shows it.
    id: Option<u64>,
    #[command(flatten)]
    token: TokenFile,
}

/// Where the token is.
#[derive(Clone, Debug, Args)]
pub struct TokenFile {
    /// The file with the token that the process was given. Default: the one of the local cluster.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

/// Runs `twinset fault ...`.
pub async fn run(command: Fault, context: &Context) -> anyhow::Result<()> {
    match command {
        Fault::Begin(asked) => begin(asked, context).await,
        Fault::List => list(context).await,
        Fault::End(asked) => end(asked, context).await,
    }
}

async fn begin(asked: Begin, context: &Context) -> anyhow::Result<()> {
    let Begin { process, kind, time, by, node, site, direction, why, token } = asked;
    let token = token.read(context)?;
    let kind = word(&kind);
    let linked = node.is_some() || site.is_some();
    let direction = direction.or(linked.then_some(Direction::Both)).map(|way| word(&way)).unwrap_or_default();
    let fault = DrillFault {
        kind: kind.clone(),
        by_ms: by.unwrap_or_default(),
        node: node.unwrap_or_default(),
        site: site.unwrap_or_default(),
        direction,
    };
    let addr = address(&process, context).await?;
    let at = At { process: &process, addr: &addr };
    let id = at.begin(fault, time, &Asker { token, who: super::who(), why }).await?;
    if context.json {
        let deadline_ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        return out::json(&json!({ "process": process, "kind": kind, "id": id, "deadline_ms": deadline_ms }));
    }
    out::line(&format!("{process}: {kind} has begun for {time:?}, id {id}"))
}

async fn end(asked: End, context: &Context) -> anyhow::Result<()> {
    let End { process, id, token } = asked;
    let token = token.read(context)?;
    let addr = address(&process, context).await?;
    let at = At { process: &process, addr: &addr };
    let ids = match id {
        Some(id) => vec![id],
        None => at.list().await?.iter().map(|fault| fault.id).collect(),
    };
    for id in &ids {
        at.end(*id, &token).await?;
    }
    if context.json {
        return out::json(&json!({ "process": process, "ended": ids }));
    }
    match ids.as_slice() {
        [] => out::line(&format!("no fault acts on {process}")),
        ids => ids.iter().try_for_each(|id| out::line(&format!("{process}: fault {id} is ended"))),
    }
}

async fn list(context: &Context) -> anyhow::Result<()> {
    let processes = all(context).await?;
    let asked = processes.iter().map(async |(process, addr)| At { process, addr }.list().await);
    let answers = join_all(asked).await;
    let mut found = Vec::new();
    for ((name, _), answer) in processes.iter().zip(answers) {
        match answer {
            Ok(faults) => found.extend(faults.into_iter().map(|fault| (name, fault))),
            Err(error) => out::say(&error.to_string()),
        }
    }
    if context.json {
        let one = |(name, fault): &(&String, ActiveFault)| {
            let asked = fault.fault.clone().unwrap_or_default();
            json!({
                "process": name, "id": fault.id, "kind": asked.kind, "by_ms": asked.by_ms, "node": asked.node,
                "site": asked.site, "direction": asked.direction, "left_ms": fault.left_ms, "who": fault.who,
                "why": fault.why,
            })
        };
        return out::json(&json!({ "faults": found.iter().map(one).collect::<Vec<_>>() }));
    }
    if found.is_empty() {
        return out::line("no fault acts");
    }
    let row = |(name, fault): &(&String, ActiveFault)| {
        let left = Duration::from_millis(fault.left_ms.into());
        let what = what(&fault.fault.clone().unwrap_or_default());
        vec![
            (*name).clone(),
            fault.id.to_string(),
            what,
            format!("{left:.1?}"),
            fault.who.clone(),
            fault.why.clone(),
        ]
    };
    let rows: Vec<_> = found.iter().map(row).collect();
    out::line(&out::table(&["PROCESS", "ID", "FAULT", "LEFT", "WHO", "WHY"], &rows))
}

/// A fault in a few words.
fn what(fault: &DrillFault) -> String {
    let by = if fault.by_ms == 0 { String::new() } else { format!(" by {} ms", fault.by_ms) };
    let far = [("node", &fault.node), ("site", &fault.site)].into_iter().find(|(_, name)| !name.is_empty());
    let far = far.map(|(what, name)| format!(" with {what} {name}, {}", fault.direction)).unwrap_or_default();
    format!("{}{by}{far}", fault.kind)
}

impl TokenFile {
    /// Reads it.
    pub fn read(&self, context: &Context) -> anyhow::Result<Bytes> {
        let file = match &self.token_file {
            Some(file) => file.clone(),
            None => Layout::load(&context.place.dir)
                .map_err(|cause| error::usage(cause.to_string(), "name the file with --token-file FILE"))?
                .drill_token_path(),
        };
        std::fs::read(&file).map(Bytes::from).map_err(|cause| {
            error::usage(
                format!("the token cannot be read from {}: {cause}", file.display()),
                "name the file with --token-file FILE, or start the local cluster with `twinset dev up --drill-faults`",
            )
        })
    }
}

/// Where a process listens for gRPC. A local cluster is not asked: its nodes may be silent.
async fn address(process: &str, context: &Context) -> anyhow::Result<String> {
    if process.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok()) {
        return Ok(process.to_owned());
    }
    if context.place.nodes.is_empty()
        && let Ok(layout) = Layout::load(&context.place.dir)
    {
        return Ok(layout.process(process)?.api.clone());
    }
    let survey = admin::survey(&context.nodes()?).await;
    let node = survey.catalogue()?.nodes.get(process).map(|node| node.api_addr.clone());
    node.ok_or_else(|| {
        error::usage(
            format!("the catalogue has no node {process}"),
            "name a node of the cluster, or a router by the ADDRESS:PORT where it listens for gRPC",
        )
    })
}

/// All processes that can be found, with where they listen for gRPC.
async fn all(context: &Context) -> anyhow::Result<Vec<(String, String)>> {
    if context.place.nodes.is_empty()
        && let Ok(layout) = Layout::load(&context.place.dir)
    {
        return Ok(layout.processes.iter().map(|p| (p.name.clone(), p.api.clone())).collect());
    }
    let survey = admin::survey(&context.nodes()?).await;
    let nodes = &survey.catalogue()?.nodes;
    Ok(nodes.iter().map(|(name, node)| (name.clone(), node.api_addr.clone())).collect())
}

fn time(text: &str) -> Result<Duration, String> {
    let units = [("ms", 1), ("s", 1_000), ("m", 60_000)];
    let parsed = units.iter().find_map(|(unit, ms)| {
        let count: u64 = text.strip_suffix(unit)?.parse().ok()?;
        count.checked_mul(*ms).map(Duration::from_millis)
    });
    parsed.ok_or_else(|| "give a time as 500ms, 10s or 2m".to_owned())
}

fn signed_ms(text: &str) -> Result<i64, String> {
    let (back, text) = text.strip_prefix('-').map_or((false, text), |text| (true, text));
    let ms = i64::try_from(time(text)?.as_millis()).map_err(|_| "that is too long".to_owned())?;
    Ok(if back { -ms } else { ms })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_with_their_units() {
        let read = ["500ms", "10s", "2m"].map(|text| time(text).unwrap().as_millis());
        assert_eq!(read, [500, 10_000, 120_000]);
        assert_eq!((signed_ms("-5s"), signed_ms("20ms")), (Ok(-5_000), Ok(20)));
        for wrong in ["", "10", "s", "1h", "-1s", "1.5s", "99999999999999999999s"] {
            assert!(time(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_fault_is_told_in_a_few_words() {
        let silence = DrillFault { kind: "silence".into(), ..DrillFault::default() };
        assert_eq!(what(&silence), "silence");
        let delay = DrillFault {
            kind: "delay".into(),
            by_ms: 20,
            site: "B".into(),
            direction: "out".into(),
            ..silence
        };
        assert_eq!(what(&delay), "delay by 20 ms with site B, out");
    }
}
