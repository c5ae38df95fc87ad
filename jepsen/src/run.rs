//! `twinset-jepsen run`: a local cluster, clients at both sites, faults one after the other, healing, the last look at
//! everything, and the verdict. Puts the parts together; judges nothing itself.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use futures::future::LocalBoxFuture;
use tokio::time::Instant;
use twinset_tools::cluster::{LocalCluster, LocalOptions, Ports};
use twinset_tools::load::random::Random;
use twinset_tools::{error, out, verify};

use crate::clients::{Clients, Flow, Left, Site};
use crate::history::event::FORMAT;
use crate::history::{Event, History, Meta, Phase, Recorder, VerifyLine};
use crate::net::Net;
use crate::play::{self, Nemesis, Stage};
use crate::preload::Machines;
use crate::report::{self, Page};
use crate::results::Results;
use crate::workload::{self, Ground, Kind};
use crate::{books, clients, death, export, history, logs, wait};

/// What `twinset-jepsen run --help` says.
pub const HELP: &str = "Run workloads against a local cluster under faults, then check everything.\n\n\
    Starts two sites of two nodes, an arbiter and two routers as processes of this machine. Clients of both sites ask through \
    the routers and send much of it again; the nemesis does one fault after the other. In the end all faults are undone, what \
    was left open is asked again, everything is read, and each promise of docs/reference/guarantees.md is checked. The \
    history stays in DIR: `twinset-jepsen check DIR` checks it again. The choices come from the seed; the timing is the \
    machine's.\n\n\
    Examples:\n  twinset-jepsen run --time 60\n  twinset-jepsen run --workload limits,reversals --nemesis kill,pause --time 120 --seed 7\n  \
    twinset-jepsen list";

/// Run workloads against a local cluster under faults, then check everything.
#[derive(Clone, Debug, Args)]
pub struct Run {
    /// The workloads; clients are dealt over them. `list` names them.
    #[arg(long, value_delimiter = ',', default_value = "mixed", value_name = "NAME,..")]
    pub workload: Vec<String>,
    /// The nemeses; each fault is drawn from one of them. `none`: no faults.
    #[arg(long, value_delimiter = ',', default_value = "kill,pause,switches", value_name = "NAME,..")]
    pub nemesis: Vec<String>,
    /// How long faults come and go.
    #[arg(long, default_value_t = 60, value_name = "SECONDS")]
    pub time: u64,
    /// Where all choices come from; default: another one each time.
    #[arg(long)]
    pub seed: Option<u64>,
    /// Where everything goes; what an earlier run left there is thrown away.
    #[arg(long, default_value = ".twinset-jepsen", value_name = "DIR")]
    pub dir: PathBuf,
    /// Operations per second.
    #[arg(long, default_value_t = 1_500)]
    pub rate: u32,
    /// Clients, both sites together.
    #[arg(long, default_value_t = 64)]
    pub clients: usize,
    /// Ports count from here; default: a free range.
    #[arg(long, value_name = "PORT")]
    pub base_port: Option<u16>,
    /// Where the node's and the router's binaries are; default: beside this program.
    #[arg(long, value_name = "DIR")]
    pub bin_dir: Option<PathBuf>,
    /// All processes in the host's own network: no partitions, delays and losses.
    #[arg(long)]
    pub plain: bool,
    /// Print the results as JSON.
    #[arg(long)]
    pub json: bool,
}

/// The history of a run in its directory.
pub const HISTORY_JSONL: &str = "history.jsonl";
const SETS: u32 = 2;
/// Bounds memory and disk: about two gigabytes.
const OPS_MAX: u64 = 6_000_000;
/// The cluster works undisturbed between faults for up to so long.
const CALM_MS: usize = 1_500;
/// Clients go on for so long after the last fault.
const HEALED: Duration = Duration::from_secs(4);
const VERIFY: Duration = Duration::from_secs(60);

/// What a run is told when it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// So long after the first fault may begin.
    Time(Duration),
    /// So many faults were done.
    Faults(u32),
}

/// Runs `twinset-jepsen run`. True if everything is valid.
pub fn run(arguments: Run) -> LocalBoxFuture<'static, anyhow::Result<bool>> {
    Box::pin(async move {
        let seed = arguments.seed.unwrap_or_else(|| Random::new().bits() >> 32);
        out::say(&format!("seed {seed}; repeat with: {}", arguments.repeat(seed)));
        let until = Until::Time(Duration::from_secs(arguments.time));
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

impl Run {
    /// The command that repeats it.
    pub fn repeat(&self, seed: u64) -> String {
        format!(
            "twinset-jepsen run --workload {} --nemesis {} --time {} --rate {} --clients {} --seed {seed} --dir {}{}",
            self.workload.join(","),
            self.nemesis.join(","),
            self.time,
            self.rate,
            self.clients,
            self.dir.display(),
            if self.plain { " --plain" } else { "" }
        )
    }

    fn nemeses(&self) -> anyhow::Result<Vec<&'static Nemesis>> {
        if self.nemesis == ["none"] {
            return Ok(Vec::new());
        }
        if self.nemesis == [play::EVERY] {
            return Ok(play::ALL.iter().filter(|nemesis| !self.plain || !nemesis.on_links).collect());
        }
        let named = play::named(&self.nemesis)?;
        match named.iter().find(|nemesis| self.plain && nemesis.on_links) {
            None => Ok(named),
            Some(nemesis) => Err(error::usage(
                format!("{} wants networks of our own", nemesis.name),
                "leave --plain away, as root or where users may have namespaces",
            )),
        }
    }
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
        let ports = arguments.base_port.map_or(Ports::Free, Ports::Base);
        let net = if arguments.plain { Net::plain(ports)? } else { Net::open(ports).await? };
        let mut options = LocalOptions {
            sets: SETS,
            ports: net.ports(),
            launch: net.launch(),
            bin_dir: arguments.bin_dir.clone(),
            ..LocalOptions::fresh(&arguments.dir.join("cluster"))
        };
        let machines = Machines::around(&mut options)?;
        let cluster = LocalCluster::start(&options, narrate).await?;
        let survey = wait::whole(cluster.layout()).await?;
        let slots = survey.catalogue()?.slot_table();
        let sets: Vec<u32> = survey.catalogue()?.sets.keys().copied().collect();
        let path = arguments.dir.join(HISTORY_JSONL);
        let meta = meta(arguments, seed, &cluster, &sets, slots.clone());
        let recorder = Recorder::to_file(&path, meta)?;
        let mut stage = Stage { cluster, net, machines, sets };
        let acted =
            act(&mut stage, arguments, (&kinds, &nemeses), (seed, until), &slots, &recorder, narrate).await;
        if let Err(error) = acted {
            narrate(&format!("the run broke off: {error:#}"));
            recorder.note(format!("the run broke off: {error:#}"));
        }
        let mut allowed = logs::AFTER_KILLS.to_vec();
        allowed.extend(nemeses.iter().flat_map(|nemesis| nemesis.allowed));
        for line in logs::read(&stage.cluster.layout().dir.join("log"), &allowed)? {
            recorder.note(line);
        }
        for name in stage.cluster.stop().await? {
            recorder.note(format!("{name} did not stop when it was asked to"));
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
    let results = Results::of(history, repeat);
    results.write(dir)?;
    std::fs::write(dir.join(report::FILE), report::html(&Page::of(history, &results)))?;
    export::write(history, dir)?;
    Ok(results)
}

fn meta(arguments: &Run, seed: u64, cluster: &LocalCluster, sets: &[u32], slots: Vec<u32>) -> Meta {
    let layout = cluster.layout();
    Meta {
        format: FORMAT,
        seed,
        workloads: arguments.workload.clone(),
        nemeses: if arguments.nemesis == ["none"] { Vec::new() } else { arguments.nemesis.clone() },
        commit: commit(),
        machine: machine(),
        sets: sets.to_vec(),
        slots,
        sites: layout.routers().map(|router| router.site.clone()).collect(),
        routers: layout.routers().map(|router| router.name.clone()).collect(),
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
        disturbed = disturb(stage, nemeses, seed, until, recorder, narrate) => disturbed,
        () = watch => unreachable!("it watches for ever"),
    };
    let left = working.stop().await?;
    recorder.phase(Phase::Resolve);
    disturbed?;
    finish(stage, &left, &routers, recorder, narrate).await
}

/// One fault after the other, then calm.
async fn disturb(
    stage: &mut Stage,
    nemeses: &[&'static Nemesis],
    seed: u64,
    until: Until,
    recorder: &Recorder,
    narrate: &mut dyn FnMut(&str),
) -> anyhow::Result<()> {
    let (mut random, mut players) = (Random::seeded(seed), play::players());
    let (began, mut number) = (Instant::now(), 0);
    let bar = match until {
        Until::Time(time) => out::bar(time.as_secs(), "s"),
        Until::Faults(count) => out::bar(count.into(), "faults"),
    };
    loop {
        let over = match until {
            Until::Time(time) => began.elapsed() >= time,
            Until::Faults(count) => number >= count,
        };
        if over {
            break;
        }
        bar.set_position(match until {
            Until::Time(_) => began.elapsed().as_secs(),
            Until::Faults(_) => number.into(),
        });
        bar.set_message(format!("{} operations, {number} faults", recorder.ops()));
        if nemeses.is_empty() {
            tokio::time::sleep(Duration::from_millis(250)).await;
            continue;
        }
        tokio::time::sleep(Duration::from_millis(random.below(CALM_MS) as u64)).await;
        let survey = wait::whole(stage.cluster.layout()).await?;
        let nemesis = nemeses[random.below(nemeses.len())];
        let fault = (nemesis.draw)(&mut random, stage, &survey);
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

/// Resolves what is open, reads everything, compares the replicas.
async fn finish(
    stage: &Stage,
    left: &Left,
    routers: &[String],
    recorder: &Arc<Recorder>,
    narrate: &mut dyn FnMut(&str),
) -> anyhow::Result<()> {
    let resolved = books::resolve(recorder, left, routers).await;
    narrate(&format!(
        "the traffic has stopped after {} operations; {resolved} were asked again",
        recorder.ops()
    ));
    recorder.phase(Phase::Final);
    let listed = books::read(recorder, left, routers, &stage.sets).await;
    narrate(&format!("read everything: {listed} transactions"));
    let survey = wait::whole(stage.cluster.layout()).await?;
    let report = verify::verify(&survey, survey.catalogue()?, VERIFY).await;
    if report.transactions != listed as u64 {
        recorder
            .note(format!("the replicas count {} transactions, {listed} are listed", report.transactions));
    }
    let line =
        |line: verify::Line| VerifyLine { subject: line.subject, clean: line.clean, detail: line.detail };
    recorder.add(Event::Verify { lines: report.lines.into_iter().map(line).collect() });
    recorder.phase(Phase::Done);
    Ok(())
}
