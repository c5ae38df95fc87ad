//! `twinset-jepsen run`: a local cluster, clients at both sites, faults one after the other, healing, the last look at
//! everything, and the verdict. Puts the parts together; judges nothing itself.

mod arguments;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures::future::LocalBoxFuture;
use tokio::time::Instant;
use twinset_tools::cluster::{LocalCluster, LocalOptions, Ports, layout};
use twinset_tools::load::random::Random;
use twinset_tools::{error, out};

use crate::check::Case;
use crate::clients::{Clients, Flow, Site};
use crate::history::event::FORMAT;
use crate::history::{History, Meta, Phase, Recorder};
use crate::net::Net;
use crate::play::nemeses::Nemesis;
use crate::play::{self, Stage};
use crate::preload::Machines;
use crate::report::{self, Page};
use crate::results::{RESULTS_JSON, Results};
use crate::workload::{self, Ground, Kind};
pub use arguments::{HELP, Run, Until};

use crate::{books, canaries, clients, death, export, history, logs, wait};

/// What a run was asked, in its directory.
pub const RUN_JSON: &str = "run.json";
/// The history of a run in its directory.
pub const HISTORY_JSONL: &str = "history.jsonl";
const SETS: u32 = 2;
/// Snapshots so often that a node needs one after it was away for a few seconds.
const SNAPSHOTS: &str = "[raft]\nsnapshot_entries = 500\nkeep_entries = 0\n";
/// Bounds memory and disk: about two gigabytes.
const OPS_MAX: u64 = 6_000_000;
/// The cluster works undisturbed between faults for up to so long.
const CALM_MS: usize = 1_500;
/// Clients go on for so long after the last fault.
const HEALED: Duration = Duration::from_secs(4);

/// Runs `twinset-jepsen run`. True if everything is valid.
pub fn run(arguments: Run) -> LocalBoxFuture<'static, anyhow::Result<bool>> {
    Box::pin(async move {
        let seed = arguments.seed.unwrap_or_else(|| Random::new().bits() >> 32);
        out::say(&format!("seed {seed}; repeat with: {}", arguments.repeat(seed)));
        let until = arguments.until()?;
        let results =
            play(&arguments, seed, until, arguments.repeat(seed), &mut |text| out::say(text)).await?;
        if arguments.json {
            out::json(&results)?;
        } else {
            results.print(&arguments.dir)?;
        }
        Ok(results.is_valid())
    })
}

/// The whole run; `narrate` hears what happens. An error means that it could not be judged.
pub fn play<'a>(
    arguments: &'a Run,
    seed: u64,
    until: Until,
    repeat: String,
    narrate: &'a mut dyn FnMut(&str),
) -> LocalBoxFuture<'a, anyhow::Result<Results>> {
    Box::pin(async move {
        let (kinds, nemeses) = (workload::named(&arguments.workload)?, arguments.nemeses()?);
        if arguments.clients == 0 || arguments.rate == 0 {
            return Err(error::usage("there is no traffic", "give --clients and --rate at least 1"));
        }
        std::fs::create_dir_all(&arguments.dir)?;
        for name in [RESULTS_JSON, HISTORY_JSONL, report::FILE, export::HISTORY_EDN, export::APPEND_EDN] {
            let left = arguments.dir.join(name);
            if left.exists() {
                std::fs::remove_file(left)?;
            }
        }
        std::fs::write(
            arguments.dir.join(RUN_JSON),
            serde_json::to_vec_pretty(&Run { seed: Some(seed), ..arguments.clone() })?,
        )?;
        let ports = arguments.base_port.map_or(Ports::Free, Ports::Base);
        let net = if arguments.plain { Net::plain(ports)? } else { Net::open(ports).await? };
        let mut options = LocalOptions {
            sets: SETS,
            ports: net.ports(),
            launch: net.launch(),
            bin_dir: arguments.bin_dir.clone(),
            node_config: SNAPSHOTS.to_owned(),
            ..LocalOptions::fresh(&arguments.dir.join("cluster"))
        };
        let machines = Machines::around(&mut options)?;
        if let Some(name) = &arguments.canary {
            canaries::let_out(name, &mut options)?;
        }
        let cluster = LocalCluster::start(&options, narrate).await?;
        let survey = wait::whole(cluster.layout()).await?;
        let slots = survey.catalogue()?.slot_table();
        let sets: Vec<u32> = survey.catalogue()?.sets.keys().copied().collect();
        let path = arguments.dir.join(HISTORY_JSONL);
        let mut meta = meta(arguments, seed, &cluster, &sets, slots.clone());
        if matches!(&until, Until::Script(script, _) if script.is_empty()) {
            meta.nemeses.clear();
        }
        let recorder = Recorder::to_file(&path, meta)?;
        let mut stage = Stage { cluster, net, machines, sets };
        let acted =
            act(&mut stage, arguments, (&kinds, &nemeses), (seed, until), &slots, &recorder, narrate).await;
        if let Err(error) = acted {
            narrate(&format!("the run broke off: {error:#}"));
            recorder.note(format!("the run broke off: {error:#}"));
        }
        for name in death::missing(&stage.cluster)? {
            recorder.note(format!("{name} died by itself after the faults"));
        }
        let log = stage.cluster.layout().dir.join("log");
        for name in stage.cluster.stop().await? {
            recorder.note(format!("{name} did not stop when it was asked to"));
        }
        let mut allowed = logs::AFTER_KILLS.to_vec();
        allowed.extend(nemeses.iter().flat_map(|nemesis| nemesis.allowed).copied().flatten());
        for line in logs::read(&log, &allowed)? {
            recorder.note(line);
        }
        stage.net.close().await;
        Arc::into_inner(recorder).ok_or_else(|| anyhow::anyhow!("somebody still records"))?.close()?;
        narrate("reading and checking the history");
        let history = history::read(&path)?;
        judge(&history, &arguments.dir, repeat)
    })
}

/// Checks a history and leaves the results, and the files for other checkers, in `dir`.
pub fn judge(history: &History, dir: &Path, repeat: String) -> anyhow::Result<Results> {
    let case = Case::of(history);
    let results = Results::of(&case, repeat);
    results.write(dir)?;
    std::fs::write(dir.join(report::FILE), report::html(&Page::of(history, &results)))?;
    export::write(&case, dir)?;
    Ok(results)
}

fn meta(arguments: &Run, seed: u64, cluster: &LocalCluster, sets: &[u32], slots: Vec<u32>) -> Meta {
    let layout = cluster.layout();
    let nodes = layout.nodes().filter(|node| node.kind == layout::Kind::Node);
    Meta {
        format: FORMAT,
        seed,
        workloads: arguments.workload.clone(),
        nemeses: match &arguments.faults {
            Some(file) => vec![file.display().to_string()],
            None if arguments.nemesis == ["none"] => Vec::new(),
            None => arguments.nemesis.clone(),
        },
        commit: commit(),
        machine: machine(),
        sets: sets.to_vec(),
        slots,
        sites: layout.routers().map(|router| router.site.clone()).collect(),
        routers: layout.routers().map(|router| router.name.clone()).collect(),
        nodes: nodes.map(|node| (node.name.clone(), node.site.clone())).collect(),
    }
}

/// The commit of the checkout that this runs in; empty outside of one.
fn commit() -> String {
    let output = std::process::Command::new("git").args(["describe", "--always", "--dirty"]).output();
    let text = output.ok().filter(|output| output.status.success()).map(|output| output.stdout);
    text.map(|text| String::from_utf8_lossy(&text).trim().to_owned()).unwrap_or_default()
}

fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kilobytes = memory.lines().find_map(|line| line.strip_prefix("MemTotal:")?.split_whitespace().next());
    let gigabytes = kilobytes.and_then(|text| text.parse::<u64>().ok()).unwrap_or(0) >> 20;
    format!("{cores} cores, {gigabytes} GiB")
}

/// Traffic, faults, healing, and the last look.
async fn act(
    stage: &mut Stage,
    arguments: &Run,
    (kinds, nemeses): (&[&'static Kind], &[&'static Nemesis]),
    (seed, until): (u64, Until),
    slots: &[u32],
    recorder: &Arc<Recorder>,
    narrate: &mut dyn FnMut(&str),
) -> anyhow::Result<()> {
    let routers: Vec<String> = stage.cluster.layout().routers().map(|router| router.http.clone()).collect();
    let layout = stage.cluster.layout();
    let site = |own: &twinset_tools::cluster::layout::Process| {
        let reached = layout.routers().map(|router| stage.net.router_addr(&own.site, &router.name));
        anyhow::Ok(Site { name: own.site.clone(), routers: reached.collect::<anyhow::Result<_>>()? })
    };
    let sites: Vec<Site> = layout.routers().map(site).collect::<anyhow::Result<_>>()?;
    recorder.phase(Phase::Setup);
    let ground = Ground::new(recorder.clone(), slots, kinds);
    clients::open(recorder, &ground, &routers).await?;
    recorder.phase(Phase::Traffic);
    let flow = Flow {
        sites,
        ground,
        kinds: kinds.to_vec(),
        seed,
        clients: arguments.clients,
        rate: arguments.rate,
        ops_max: OPS_MAX,
    };
    let working = Clients::start(recorder, &flow);
    let watch = play::watch_leaders(
        stage.cluster.layout().node_addrs(),
        stage.sets.clone(),
        recorder.clone(),
        working.failovers.clone(),
    );
    let disturbed = tokio::select! {
        disturbed = disturb(stage, nemeses, seed, &until, recorder, narrate) => disturbed,
        () = watch => unreachable!("it watches for ever"),
    };
    let left = working.stop().await?;
    recorder.phase(Phase::Resolve);
    disturbed?;
    books::last_look(&stage.cluster, recorder, &left, narrate).await
}

/// One fault after the other, then calm.
async fn disturb(
    stage: &mut Stage,
    nemeses: &[&'static Nemesis],
    seed: u64,
    until: &Until,
    recorder: &Recorder,
    narrate: &mut dyn FnMut(&str),
) -> anyhow::Result<()> {
    let (mut random, mut players) = (Random::seeded(seed), play::players());
    let (began, mut number, mut undrawn) = (Instant::now(), 0, nemeses.to_vec());
    let (_, length, unit) = until.progress(Duration::ZERO, 0);
    let bar = out::bar(length, unit);
    while !until.is_over(began.elapsed(), number) {
        bar.set_position(until.progress(began.elapsed(), number).0);
        bar.set_message(format!("{} operations, {number} faults", recorder.ops()));
        let scripted = until.scripted(number);
        if scripted.is_none() && (nemeses.is_empty() || matches!(until, Until::Script(..))) {
            tokio::time::sleep(Duration::from_millis(250)).await;
            continue;
        }
        tokio::time::sleep(Duration::from_millis(random.below(CALM_MS) as u64)).await;
        let survey = wait::whole(stage.cluster.layout()).await?;
        let fault = match scripted {
            Some(fault) => fault.clone(),
            None => {
                // Each once, then any.
                let among = if undrawn.is_empty() { nemeses.len() } else { undrawn.len() };
                let at = random.below(among);
                let nemesis = if undrawn.is_empty() { nemeses[at] } else { undrawn.swap_remove(at) };
                (nemesis.draw)(&mut random, stage, &survey)
            }
        };
        number += 1;
        let fault_began = Instant::now();
        let evidence = play::play(stage, &mut players, &fault, recorder).await;
        let evidence = evidence.map_err(|error| error.context(format!("fault {number}: {fault:?}")))?;
        narrate(&format!(
            "fault {number}, {} ms: {fault:?}: {}",
            fault_began.elapsed().as_millis(),
            evidence.detail
        ));
        for name in death::missing(&stage.cluster)? {
            recorder.note(format!("{name} died by itself around fault {number}"));
        }
    }
    bar.finish_and_clear();
    recorder.phase(Phase::Healed);
    tokio::time::sleep(HEALED).await;
    Ok(())
}
