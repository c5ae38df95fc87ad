//! The verdict on a run, as `results.json` and as text: findings per checker, counts, faults with their evidence, latencies.
//! Made from a stored history alone, so that `check` gives what `run` gave. Starts and asks nothing.

use std::collections::BTreeMap;
use std::path::Path;

use hdrhistogram::Histogram;
use serde::Serialize;
use twinset_tools::out;

use crate::check::{self, Case, Finding, Verdict};
use crate::history::{Answer, Ask, History, Phase};
use crate::nemesis::{Evidence, Fault};

/// The file that a run leaves.
pub const RESULTS_JSON: &str = "results.json";
/// What a call can take at most, in microseconds: anything longer counts as this.
const LONGEST_US: u64 = 600_000_000;
/// Examples per checker that are printed; more stand in the file.
const PRINTED: usize = 3;

/// What a run was, and what is to be thought of it.
#[derive(Clone, Debug, Serialize)]
pub struct Results {
    /// The worst of all checkers.
    pub verdict: Verdict,
    /// The seed.
    pub seed: u64,
    /// The command that repeats it.
    pub repeat: String,
    /// The commit of the checkout that the run was started in; empty outside of one.
    pub commit: String,
    /// Cores and memory.
    pub machine: String,
    /// By name.
    pub workloads: Vec<String>,
    /// By name.
    pub nemeses: Vec<String>,
    /// How long the traffic flowed.
    pub seconds: f64,
    /// What clients did and saw.
    pub counts: Counts,
    /// Faults by the nemesis that draws such.
    pub faults_by_nemesis: BTreeMap<&'static str, usize>,
    /// What was done to the cluster.
    pub faults: Vec<Done>,
    /// Changes of leaders that were seen.
    pub leader_changes: usize,
    /// While the traffic flowed, by what was asked, in microseconds.
    pub latency_us: BTreeMap<&'static str, Latency>,
    /// One per checker.
    pub checkers: Vec<Finding>,
}

/// A fault that was done.
#[derive(Clone, Debug, Serialize)]
pub struct Done {
    /// What.
    pub fault: Fault,
    /// When it began, on the history's clock.
    pub begin_ms: u64,
    /// When the cluster was whole again.
    pub end_ms: Option<u64>,
    /// What was seen of it.
    pub evidence: Option<Evidence>,
}

/// What clients did and saw.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Counts {
    /// Operations in all.
    pub operations: usize,
    /// While the traffic flowed.
    pub in_traffic: usize,
    /// Of those, per second.
    pub per_second: f64,
    /// Writes while the traffic flowed.
    pub writes: usize,
    /// Of those, asked again with the same request id.
    pub retries: usize,
    /// Retries by their kind.
    pub retries_by_kind: BTreeMap<String, usize>,
    /// Operations by how they ended.
    pub ends: BTreeMap<&'static str, usize>,
    /// Operations by what was asked.
    pub asked: BTreeMap<&'static str, usize>,
    /// Rejections by code.
    pub rejections: BTreeMap<String, usize>,
}

/// Percentiles.
#[derive(Clone, Debug, Serialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Latency {
    pub count: u64,
    pub p50: u64,
    pub p90: u64,
    pub p99: u64,
    pub max: u64,
}

impl Results {
    /// Checks a history.
    pub fn of(case: &Case<'_>, repeat: String) -> Self {
        let history = case.history;
        let checkers = check::all(case);
        let (counts, latency_us, seconds) = count(history);
        let ms = |ns: u64| ns / 1_000_000;
        let faults = history.faults.iter().map(|span| Done {
            fault: span.fault.clone(),
            begin_ms: ms(span.begin_ns),
            end_ms: span.end_ns.map(ms),
            evidence: span.evidence.clone(),
        });
        Results {
            verdict: check::overall(&checkers),
            seed: history.meta.seed,
            repeat,
            commit: history.meta.commit.clone(),
            machine: history.meta.machine.clone(),
            workloads: history.meta.workloads.clone(),
            nemeses: history.meta.nemeses.clone(),
            seconds,
            counts,
            faults_by_nemesis: by_nemesis(history),
            faults: faults.collect(),
            leader_changes: history.leaders.len(),
            latency_us,
            checkers,
        }
    }

    /// Whether everything is as it must be.
    pub fn is_valid(&self) -> bool {
        self.verdict == Verdict::Valid
    }

    /// Whether that checker is the only one that is red.
    pub fn only(&self, name: &str) -> bool {
        let red: Vec<_> = self.checkers.iter().filter(|one| one.verdict.is_red()).collect();
        matches!(red.as_slice(), [one] if one.checker == name)
    }

    /// Writes the file into `dir`.
    pub fn write(&self, dir: &Path) -> anyhow::Result<()> {
        Ok(std::fs::write(dir.join(RESULTS_JSON), serde_json::to_vec_pretty(self)?)?)
    }

    /// For a person.
    pub fn print(&self, dir: &Path) -> anyhow::Result<()> {
        let counts = &self.counts;
        out::line(&format!(
            "operations {} in {:.0} s ({:.0}/s); of {} writes {}% sent again; {} in all",
            counts.in_traffic,
            self.seconds,
            counts.per_second,
            counts.writes,
            counts.retries * 100 / counts.writes.max(1),
            counts.operations
        ))?;
        out::line(&format!("ends       {}", pairs(&counts.ends)))?;
        out::line(&format!(
            "faults     {} ({} changes of leaders): {}",
            self.faults.len(),
            self.leader_changes,
            pairs(&self.faults_by_nemesis)
        ))?;
        if let Some(all) = self.latency_us.get("all") {
            out::line(&format!(
                "latency    p50 {:.1} ms, p99 {:.1} ms, longest {:.0} ms",
                all.p50 as f64 / 1e3,
                all.p99 as f64 / 1e3,
                all.max as f64 / 1e3
            ))?;
        }
        let rows: Vec<Vec<String>> = self
            .checkers
            .iter()
            .map(|one| {
                let verdict = format!("{:?}", one.verdict).to_lowercase();
                vec![
                    one.checker.into(),
                    one.claim.into(),
                    verdict,
                    one.checked.to_string(),
                    one.wrong.to_string(),
                ]
            })
            .collect();
        out::line(&out::table(&["CHECKER", "CLAIM", "VERDICT", "CHECKED", "WRONG"], &rows))?;
        for one in self.checkers.iter().filter(|one| one.verdict.is_red()) {
            out::line(&format!("{}:", one.checker))?;
            for example in one.examples.iter().take(PRINTED) {
                out::line(&format!("  {example}"))?;
            }
        }
        match self.verdict {
            Verdict::Valid => out::line(&format!("verdict    valid; seed {}", self.seed)),
            verdict => out::line(&format!(
                "verdict    {}; everything is in {}; repeat with: {}",
                format!("{verdict:?}").to_uppercase(),
                dir.display(),
                self.repeat
            )),
        }
    }
}

fn pairs(counts: &BTreeMap<&'static str, usize>) -> String {
    counts.iter().map(|(name, count)| format!("{name} {count}")).collect::<Vec<_>>().join(", ")
}

fn by_nemesis(history: &History) -> BTreeMap<&'static str, usize> {
    let mut counts = BTreeMap::new();
    for span in &history.faults {
        *counts.entry(span.fault.nemesis()).or_default() += 1;
    }
    counts
}

fn count(history: &History) -> (Counts, BTreeMap<&'static str, Latency>, f64) {
    let from = history.phase(Phase::Traffic).unwrap_or(0);
    let to =
        history.phase(Phase::Resolve).or_else(|| history.ops.last().and_then(|op| op.end_ns)).unwrap_or(from);
    let mut counts = Counts { operations: history.ops.len(), ..Counts::default() };
    let mut latencies: BTreeMap<&'static str, Histogram<u64>> = BTreeMap::new();
    for op in history.ops.iter().filter(|op| (from..=to).contains(&op.begin_ns)) {
        counts.in_traffic += 1;
        *counts.ends.entry(op.answer.kind()).or_default() += 1;
        *counts.asked.entry(asked(&op.ask)).or_default() += 1;
        if op.ask.is_write() {
            counts.writes += 1;
        }
        if let Some(retry) = op.retry {
            counts.retries += 1;
            *counts.retries_by_kind.entry(format!("{retry:?}").to_lowercase()).or_default() += 1;
        }
        if let Answer::Rejected { code, .. } = &op.answer {
            *counts.rejections.entry(code.clone()).or_default() += 1;
        }
        if let Some(end) = op.end_ns {
            for name in ["all", asked(&op.ask)] {
                let latency = latencies
                    .entry(name)
                    .or_insert_with(|| Histogram::new_with_bounds(1, LONGEST_US, 3).expect("valid bounds"));
                latency.saturating_record((end - op.begin_ns) / 1_000);
            }
        }
    }
    let seconds = to.saturating_sub(from) as f64 / 1e9;
    counts.per_second = counts.in_traffic as f64 / seconds.max(1e-9);
    let latencies = latencies.into_iter().map(|(name, all)| {
        let at = |quantile| all.value_at_quantile(quantile);
        (name, Latency { count: all.len(), p50: at(0.5), p90: at(0.9), p99: at(0.99), max: all.max() })
    });
    (counts, latencies.collect(), seconds)
}

fn asked(ask: &Ask) -> &'static str {
    match ask {
        Ask::Open { .. }
        | Ask::SetLimit { .. }
        | Ask::Freeze { .. }
        | Ask::Close { .. }
        | Ask::SetMode { .. } => "account",
        Ask::ResolveSuspense { .. } => "resolution",
        Ask::ReadTransit { .. } => "in_transit",
        Ask::ListSuspense { .. } => "suspense",
        Ask::SetSweep { .. } | Ask::RemoveSweep { .. } => "sweep",
        Ask::ReadSweep { .. } | Ask::ListSweeps { .. } => "read_sweep",
        Ask::Transfer(_) => "transfer",
        Ask::DryRun(_) => "dry_run",
        Ask::Reverse { .. } => "reversal",
        Ask::Batch { .. } => "batch",
        Ask::PlaceHold { .. } | Ask::ReleaseHold { .. } | Ask::ExtendHold { .. } => "hold",
        Ask::ReadHold { .. } | Ask::ListHolds { .. } => "read_hold",
        Ask::ReleaseRestriction { .. } => "restriction",
        Ask::ReadRestriction { .. } | Ask::ListRestrictions { .. } => "read_restriction",
        Ask::Statement { .. } | Ask::Balance { .. } => "statement",
        Ask::Events { .. } => "events",
        Ask::ReadAccount { .. } => "read_account",
        Ask::ReadGroup { .. } => "read_group",
        Ask::ReadTransaction { .. } => "read_transaction",
        Ask::ReadRequest { .. } => "read_request",
        Ask::List { .. } => "list",
    }
}
