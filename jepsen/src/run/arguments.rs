//! What a run is asked: the arguments of `twinset-jepsen run`, which faults it does, and when it is over. Does nothing.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde::{Deserialize, Serialize};
use twinset_tools::error;

use crate::nemesis::{Fault, points};
use crate::play::nemeses::{self, Nemesis};

/// What `twinset-jepsen run --help` says.
pub const HELP: &str = "Run workloads against a local cluster under faults, then check everything.\n\n\
    Starts two sites of two nodes, an arbiter and two routers as processes of this machine. Clients of both sites ask through \
    the routers and send much of it again; the nemesis does one fault after the other. In the end all faults are undone, what \
    was left open is asked again, everything is read, and each promise of docs/reference/guarantees.md is checked. The \
    history stays in DIR: `twinset-jepsen check DIR` checks it again. The choices come from the seed; the timing is the \
    machine's.\n\n\
    Examples:\n  twinset-jepsen run --time 60\n  twinset-jepsen run --workload limits,reversals --nemesis kill,pause --time 120 --seed 7\n  \
    twinset-jepsen list";

const WORKLOAD: &str = "mixed";
const NEMESES: &str = "kill,pause,switches";
const SECONDS: u64 = 60;
const DIR: &str = ".twinset-jepsen";
const RATE: u32 = 2_000;
const CLIENTS: usize = 64;

/// Run workloads against a local cluster under faults, then check everything.
#[derive(Clone, Debug, Args, Serialize, Deserialize)]
pub struct Run {
    /// The workloads; clients are dealt over them. `list` names them.
    #[arg(long, value_delimiter = ',', default_value = WORKLOAD, value_name = "NAME,..")]
    pub workload: Vec<String>,
    /// The nemeses: each is drawn from once, in any order, and then again. `all`: every one that can be done here, but for those of whole
    /// sites (`site`, `arbiter`, `plans`), with which sets may go on in one site; `none`: no faults.
    #[arg(long, value_delimiter = ',', default_value = NEMESES, value_name = "NAME,..")]
    pub nemesis: Vec<String>,
    /// Do these faults, one after the other, instead of drawing any: a JSON list, as `shrink` leaves it.
    #[arg(long, value_name = "FILE")]
    pub faults: Option<PathBuf>,
    /// How long faults come and go.
    #[arg(long, default_value_t = SECONDS, value_name = "SECONDS")]
    pub time: u64,
    /// Where all choices come from; default: another one each time.
    #[arg(long)]
    pub seed: Option<u64>,
    /// Where everything goes; what an earlier run left there is thrown away.
    #[arg(long, default_value = DIR, value_name = "DIR")]
    pub dir: PathBuf,
    /// Operations per second.
    #[arg(long, default_value_t = RATE)]
    pub rate: u32,
    /// Clients, both sites together.
    #[arg(long, default_value_t = CLIENTS)]
    pub clients: usize,
    /// Ports count from here; default: a free range.
    #[arg(long, value_name = "PORT")]
    pub base_port: Option<u16>,
    /// Where the node's and the router's binaries are; default: beside this program.
    #[arg(long, value_name = "DIR")]
    pub bin_dir: Option<PathBuf>,
    /// Switch on a bug on purpose, in binaries that have them (docs/reference/consistency.md).
    #[arg(long, value_name = "NAME")]
    pub canary: Option<String>,
    /// All processes in the host's own network: no partitions, delays and losses.
    #[arg(long)]
    pub plain: bool,
    /// Print the results as JSON.
    #[arg(long)]
    pub json: bool,
}

impl Default for Run {
    fn default() -> Self {
        Run {
            workload: vec![WORKLOAD.to_owned()],
            nemesis: NEMESES.split(',').map(str::to_owned).collect(),
            faults: None,
            time: SECONDS,
            seed: None,
            dir: PathBuf::from(DIR),
            rate: RATE,
            clients: CLIENTS,
            base_port: None,
            bin_dir: None,
            canary: None,
            plain: false,
            json: false,
        }
    }
}

/// What a run is told of its faults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Until {
    /// So long after the first fault may begin.
    Time(Duration),
    /// So many faults were done.
    Faults(u32),
    /// These faults were done, and so much time has passed.
    Script(Vec<Fault>, Duration),
}

impl Until {
    /// After so long and so many faults.
    pub fn is_over(&self, elapsed: Duration, faults: usize) -> bool {
        match self {
            Until::Time(time) => elapsed >= *time,
            Until::Faults(count) => faults >= *count as usize,
            Until::Script(script, time) => faults >= script.len() && elapsed >= *time,
        }
    }

    /// The fault of that number, if it is not to be drawn.
    pub fn scripted(&self, number: usize) -> Option<&Fault> {
        match self {
            Until::Script(script, _) => script.get(number),
            _ => None,
        }
    }

    /// Of a progress bar: how far, of how many, and of what.
    pub fn progress(&self, elapsed: Duration, faults: usize) -> (u64, u64, &'static str) {
        match self {
            Until::Time(time) | Until::Script(_, time) => (elapsed.as_secs(), time.as_secs(), "s"),
            Until::Faults(count) => (faults as u64, (*count).into(), "faults"),
        }
    }
}

impl Run {
    /// The command that repeats it.
    pub fn repeat(&self, seed: u64) -> String {
        let faults = match &self.faults {
            Some(file) => format!("--faults {}", file.display()),
            None => format!("--nemesis {}", self.nemesis.join(",")),
        };
        format!(
            "twinset-jepsen run --workload {} {faults} --time {} --rate {} --clients {} --seed {seed} --dir {}{}{}{}",
            self.workload.join(","),
            self.time,
            self.rate,
            self.clients,
            self.dir.display(),
            self.bin_dir.as_ref().map(|dir| format!(" --bin-dir {}", dir.display())).unwrap_or_default(),
            self.canary.as_ref().map(|name| format!(" --canary {name}")).unwrap_or_default(),
            if self.plain { " --plain" } else { "" }
        )
    }

    /// When it is over, and with which faults.
    pub fn until(&self) -> anyhow::Result<Until> {
        let time = Duration::from_secs(self.time);
        let Some(file) = &self.faults else { return Ok(Until::Time(time)) };
        let script = std::fs::read(file).map_err(anyhow::Error::from);
        let script = script.and_then(|text| Ok(serde_json::from_slice(&text)?)).map_err(|cause| {
            let next = "`twinset-jepsen shrink` writes such files; results.json has the faults of a run";
            error::usage(format!("{} is no list of faults: {cause}", file.display()), next)
        })?;
        Ok(Until::Script(script, time))
    }

    /// Those that faults are drawn from, or could be.
    pub fn nemeses(&self) -> anyhow::Result<Vec<&'static Nemesis>> {
        if self.faults.is_some() {
            return Ok(nemeses::ALL.iter().collect());
        }
        if self.nemesis == ["none"] {
            return Ok(Vec::new());
        }
        let mut named = nemeses::named(&self.nemesis, self.plain)?;
        if !points::are_met(&self.workload) {
            if self.nemesis.iter().any(|name| name == points::NAME) {
                let workloads = self.workload.join(",");
                return Err(error::usage(
                    format!("no leader gets to any of the points in a run of {workloads}"),
                    "--workload across, holds, buffered, restricted, sweeps or mixed brings some there",
                ));
            }
            named.retain(|nemesis| nemesis.name != points::NAME);
        }
        match named.iter().find(|nemesis| self.plain && nemesis.on_links) {
            None => Ok(named),
            Some(nemesis) => Err(error::usage(
                format!("{} wants networks of our own", nemesis.name),
                "leave --plain away, as root or where users may have namespaces",
            )),
        }
    }
}

impl Run {
    /// Whether its sets may go on with one site, and are recovered when they have lost the other.
    pub fn goes_on(&self, until: &Until) -> anyhow::Result<bool> {
        Ok(self.meets(until)?.iter().any(|nemesis| nemesis.goes_on))
    }

    /// Whether its sets move by plan.
    pub fn has_plans(&self, until: &Until) -> anyhow::Result<bool> {
        Ok(self.meets(until)?.iter().any(|nemesis| nemesis.name == nemeses::PLANS))
    }

    /// The nemeses of the faults that it does, or draws from.
    fn meets(&self, until: &Until) -> anyhow::Result<Vec<&'static Nemesis>> {
        let Until::Script(faults, _) = until else { return self.nemeses() };
        let of_a_fault = |nemesis: &&Nemesis| faults.iter().any(|fault| fault.nemesis() == nemesis.name);
        Ok(nemeses::ALL.iter().filter(of_a_fault).collect())
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        run: Run,
    }

    fn parsed(words: &str) -> serde_json::Value {
        serde_json::to_value(Cli::try_parse_from(words.split(' ')).unwrap().run).unwrap()
    }

    #[test]
    fn the_default_is_what_no_arguments_mean() {
        assert_eq!(parsed("run"), serde_json::to_value(Run::default()).unwrap());
    }

    #[test]
    fn points_are_struck_only_where_a_workload_gets_to_some() {
        let names = |workload: &str, nemesis: &str| -> anyhow::Result<Vec<&str>> {
            let (workload, nemesis) = (vec![workload.to_owned()], vec![nemesis.to_owned()]);
            let run = Run { workload, nemesis, ..Run::default() };
            Ok(run.nemeses()?.iter().map(|nemesis| nemesis.name).collect())
        };
        assert_eq!(names("across", "points").unwrap(), ["points"]);
        assert!(names("limits", "points").is_err());
        assert!(names("mixed", "all").unwrap().contains(&"points"));
        assert!(!names("limits", "all").unwrap().contains(&"points"));
    }

    #[test]
    fn the_command_that_repeats_a_run_means_the_same_run() {
        let run = Run {
            workload: vec!["limits".into(), "stale".into()],
            nemesis: vec!["kill".into()],
            time: 7,
            seed: Some(3),
            bin_dir: Some("bins".into()),
            canary: Some("no-sync".into()),
            plain: true,
            ..Run::default()
        };
        for run in [Run { seed: Some(3), ..Run::default() }, run] {
            let words = run.repeat(3);
            assert_eq!(
                parsed(words.strip_prefix("twinset-jepsen ").unwrap()),
                serde_json::to_value(&run).unwrap()
            );
        }
    }
}
