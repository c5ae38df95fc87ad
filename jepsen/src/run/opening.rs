//! The begin and the end of a run: an empty directory, a cluster on its machines and links, a history with its first line;
//! and, when everything was done, the end of all of them. What is done in between is not its business.

use std::sync::Arc;

use twinset_control::{Catalogue, Policy};
use twinset_tools::cluster::{Layout, LocalCluster, LocalOptions, Ports};

use super::{HISTORY_JSONL, RUN_JSON, Run, Until};
use crate::history::{Meta, Recorder};
use crate::nemesis::Fault;
use crate::net::Net;
use crate::play::Stage;
use crate::play::records::Records;
use crate::preload::Machines;
use crate::results::RESULTS_JSON;
use crate::{canaries, death, export, logs, of_cluster, report, wait, workload};

/// Sets of a run with plans: enough of them to stop one half-way.
const SETS_OF_PLANS: u32 = 4;
/// Sets of a run; of one over several sets alone one more, so that one can refuse what another has set aside.
const SETS: u32 = 2;
/// Snapshots so often that a node needs one after it was away for a few seconds.
const SNAPSHOTS: &str = "[raft]\nsnapshot_entries = 500\nkeep_entries = 0\n";
/// The checkers hold every acknowledgement against both sites: no set may go on with one.
const STAYS: &str = "[recovery]\nautomatic = false\n";
/// Sets go on with one site, and may return to SYNC soon after they last did: sites are lost more often than a set returns otherwise.
const GOES_ON: &str = "[durability]\nbetween_returns_ms = 2000\n";

/// What a run has while it lasts.
pub struct Opened {
    /// What faults are played on.
    pub stage: Stage,
    /// Takes everything down.
    pub recorder: Arc<Recorder>,
    /// The owning set of every slot.
    pub slots: Vec<u32>,
    /// What clients do.
    pub workloads: Vec<String>,
    /// Puts down what the control set has on record.
    pub records: Records,
    /// What the processes say.
    logs: logs::Reader,
    /// Whether sets may go on with one site.
    goes_on: bool,
}

/// Throws away what an earlier run left, and notes what this one is asked.
pub fn clear(arguments: &Run, seed: u64) -> anyhow::Result<()> {
    std::fs::create_dir_all(&arguments.dir)?;
    for name in [RESULTS_JSON, HISTORY_JSONL, report::FILE, export::HISTORY_EDN, export::APPEND_EDN] {
        let left = arguments.dir.join(name);
        if left.exists() {
            std::fs::remove_file(left)?;
        }
    }
    let asked = Run { seed: Some(seed), ..arguments.clone() };
    std::fs::write(arguments.dir.join(RUN_JSON), serde_json::to_vec_pretty(&asked)?)?;
    Ok(())
}

/// Starts the cluster and the history.
pub async fn open(
    arguments: &Run,
    seed: u64,
    until: &Until,
    narrate: &mut dyn FnMut(&str),
) -> anyhow::Result<Opened> {
    let ports = arguments.base_port.map_or(Ports::Free, Ports::Base);
    let net = if arguments.plain { Net::plain(ports)? } else { Net::open(ports).await? };
    let (goes_on, plans) = (arguments.goes_on(until)?, arguments.has_plans(until)?);
    let mut options = LocalOptions {
        sets: match plans {
            true => SETS_OF_PLANS,
            false => SETS + u32::from(arguments.workload == [workload::ACROSS]),
        },
        ports: net.ports(),
        launch: net.launch(),
        bin_dir: arguments.bin_dir.clone(),
        node_config: format!("{SNAPSHOTS}{}", if goes_on { GOES_ON } else { STAYS }),
        durability: if goes_on { Policy::MaxAvailability } else { Policy::MaxProtection },
        ..LocalOptions::fresh(&arguments.dir.join("cluster"))
    };
    let machines = Machines::around(&mut options)?;
    if let Some(name) = &arguments.canary {
        canaries::let_out(name, &mut options)?;
    }
    let cluster = LocalCluster::start(&options, narrate).await?;
    let survey = wait::whole(cluster.layout()).await?;
    let catalogue = survey.catalogue()?;
    let mut meta = meta(arguments, seed, cluster.layout(), catalogue)?;
    if matches!(until, Until::Script(script, _) if script.is_empty()) {
        meta.nemeses.clear();
    }
    let (sets, slots) = (meta.sets.clone(), meta.slots.clone());
    let recorder = Recorder::to_file(&arguments.dir.join(HISTORY_JSONL), meta)?;
    let logs = logs::Reader::new(&cluster.layout().dir.join("log"));
    let (records, stage) = (Records::since(catalogue), Stage { cluster, net, machines, sets });
    let workloads = arguments.workload.clone();
    Ok(Opened { stage, recorder, slots, workloads, records, logs, goes_on })
}

impl Opened {
    /// Notes what the processes have said since it was last asked, but for what the last fault excuses.
    pub fn listen(&mut self, last: Option<&Fault>) -> anyhow::Result<()> {
        let anybody = if self.goes_on { logs::AFTER_LOST_SITES } else { &[] };
        let excused = |process: &str| {
            let fault = last.map(|fault| fault.excuses(process)).unwrap_or_default();
            [anybody, &fault].concat()
        };
        for line in self.logs.since(excused)? {
            self.recorder.note(line);
        }
        Ok(())
    }

    /// Stops everything and closes the history.
    pub async fn close(self) -> anyhow::Result<()> {
        let Opened { stage, recorder, mut logs, goes_on, .. } = self;
        for name in death::missing(&stage.cluster)? {
            recorder.note(format!("{name} died by itself after the faults"));
        }
        for name in stage.cluster.stop().await? {
            recorder.note(format!("{name} did not stop when it was asked to"));
        }
        let excused = if goes_on { logs::AFTER_LOST_SITES } else { &[] };
        for line in logs.since(|_| excused.to_vec())? {
            recorder.note(line);
        }
        stage.net.close().await;
        let recorder = Arc::into_inner(recorder);
        recorder.ok_or_else(|| anyhow::anyhow!("somebody still records"))?.close()?;
        Ok(())
    }
}

fn meta(arguments: &Run, seed: u64, layout: &Layout, catalogue: &Catalogue) -> anyhow::Result<Meta> {
    Ok(Meta {
        seed,
        workloads: arguments.workload.clone(),
        nemeses: match &arguments.faults {
            Some(file) => vec![file.display().to_string()],
            None => arguments.nemeses()?.iter().map(|nemesis| nemesis.name.to_owned()).collect(),
        },
        commit: commit(),
        machine: machine(),
        ..of_cluster::meta(layout, catalogue)
    })
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
