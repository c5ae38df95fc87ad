//! `twinset-jepsen shrink`: from a run that went wrong to the smallest one that still goes wrong in the same way: fewer faults
//! first, then one workload, less time, fewer clients. Each smaller run is tried some times, because the timing is the
//! machine's; what does not go wrong in them is taken as harmless. Plays runs, judges nothing itself.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use futures::future::LocalBoxFuture;
use twinset_tools::{error, out};

use crate::check::{self, Case, Finding, Verdict};
use crate::nemesis::Fault;
use crate::run::{self, RUN_JSON, Run, Until};
use crate::{history, workload};

/// What `twinset-jepsen shrink --help` says.
pub const HELP: &str = "Look for the smallest run that goes wrong as the run in DIR did.\n\n\
    Plays the faults that the run had, first none of them, then halves and quarters, and keeps what a checker calls invalid that \
    did so before. Then it tries each workload alone, less time and fewer clients. The smallest run that went wrong is in \
    DIR/shrunk, with its faults in faults.json and the command that repeats it. A run that goes wrong only now and then \
    shrinks badly: give it more --tries.\n\n\
    Example:\n  twinset-jepsen shrink .twinset-jepsen --tries 3";

/// Look for the smallest run that goes wrong as the run in DIR did.
#[derive(Clone, Debug, Args)]
pub struct Shrink {
    /// The directory of a run that went wrong.
    dir: PathBuf,
    /// How often a smaller run is tried before it counts as harmless.
    #[arg(long, default_value_t = 2)]
    tries: u32,
    /// How many runs there may be in all.
    #[arg(long, default_value_t = 40)]
    runs: u32,
}

const SHRUNK: &str = "shrunk";
const TRIAL: &str = "shrink-trial";
const FAULTS_JSON: &str = "faults.json";
/// Shorter runs ask for too little to prove anything.
const SECONDS_LEAST: u64 = 2;
const CLIENTS_LEAST: usize = 2;

/// A run that could be smaller.
#[derive(Clone, Debug)]
struct Size {
    faults: Vec<Fault>,
    run: Run,
}

/// Plays smaller runs.
struct Search {
    dir: PathBuf,
    tries: u32,
    left: u32,
    wanted: BTreeSet<&'static str>,
}

/// Runs `twinset-jepsen shrink`. True if a smaller run was found.
pub fn run(arguments: Shrink) -> LocalBoxFuture<'static, anyhow::Result<bool>> {
    Box::pin(async move {
        let (first, wanted) = read(&arguments.dir)?;
        let names = wanted.iter().copied().collect::<Vec<_>>().join(", ");
        out::say(&format!("{} said something; {}", names, in_words(&first)));
        let Shrink { dir, tries, runs } = arguments;
        let mut search = Search { dir, tries: tries.max(1), left: runs, wanted };
        let mut best = first.clone();
        best.faults = fewest(first.faults.clone(), &mut async |faults: &[Fault]| {
            search.goes_wrong(&Size { faults: faults.to_vec(), ..first.clone() }).await
        })
        .await?;
        for smaller in workloads(&best) {
            if search.goes_wrong(&smaller).await? {
                best = smaller;
                break;
            }
        }
        for halve in [shorter as fn(&Size) -> Option<Size>, emptier] {
            while let Some(smaller) = halve(&best) {
                if !search.goes_wrong(&smaller).await? {
                    break;
                }
                best = smaller;
            }
        }
        search.tell(&first, &best)
    })
}

/// What the run was, and the checkers that found something.
fn read(dir: &Path) -> anyhow::Result<(Size, BTreeSet<&'static str>)> {
    let asked = dir.join(RUN_JSON);
    let run: Run = match std::fs::read(&asked) {
        Ok(text) => serde_json::from_slice(&text)?,
        Err(_) => {
            let next = "name the directory of a run, such as .twinset-jepsen";
            return Err(error::usage(format!("{} is not there", asked.display()), next));
        }
    };
    let history = history::read(&dir.join(run::HISTORY_JSONL))?;
    let wanted = invalid(&check::all(&Case::of(&history)));
    if wanted.is_empty() {
        return Err(error::usage(
            format!("no checker found anything in {}", dir.display()),
            "there is nothing to shrink; `twinset-jepsen check` says what is unknown",
        ));
    }
    let faults = history.faults.into_iter().map(|span| span.fault).collect();
    Ok((Size { faults, run }, wanted))
}

fn invalid(findings: &[Finding]) -> BTreeSet<&'static str> {
    findings.iter().filter(|one| one.verdict == Verdict::Invalid).map(|one| one.checker).collect()
}

fn in_words(size: &Size) -> String {
    format!(
        "{} faults, workload {}, {} s, {} clients",
        size.faults.len(),
        size.run.workload.join(","),
        size.run.time,
        size.run.clients
    )
}

fn workloads(size: &Size) -> Vec<Size> {
    let kinds = workload::ALL.iter().filter(|kind| size.run.workload != [kind.name] && kind.name != "mixed");
    let with = |name: &str| Size {
        run: Run { workload: vec![name.to_owned()], ..size.run.clone() },
        faults: size.faults.clone(),
    };
    // One that is alone already cannot be fewer.
    let alone = size.run.workload.len() == 1 && size.run.workload != ["mixed"];
    kinds.filter(|_| !alone).map(|kind| with(kind.name)).collect()
}

fn shorter(size: &Size) -> Option<Size> {
    let time = size.run.time / 2;
    let run = Run { time, ..size.run.clone() };
    (time >= SECONDS_LEAST).then(|| Size { run, faults: size.faults.clone() })
}

fn emptier(size: &Size) -> Option<Size> {
    let clients = size.run.clients / 2;
    let run = Run { clients, ..size.run.clone() };
    (clients >= CLIENTS_LEAST).then(|| Size { run, faults: size.faults.clone() })
}

impl Search {
    /// Whether a run of that size goes wrong in one of some tries. If it does, it is kept.
    async fn goes_wrong(&mut self, size: &Size) -> anyhow::Result<bool> {
        for _ in 0..self.tries {
            if self.left == 0 {
                return Ok(false);
            }
            self.left -= 1;
            let trial = self.dir.join(TRIAL);
            let run = Run { dir: trial.clone(), faults: None, json: false, ..size.run.clone() };
            let seed = run.seed.unwrap_or(0);
            let until = Until::Script(size.faults.clone(), Duration::from_secs(run.time));
            let results = run::play(&run, seed, until, run.repeat(seed), &mut |_| {}).await;
            let said = match &results {
                Ok(results) => invalid(&results.checkers),
                Err(_) => BTreeSet::new(),
            };
            let wrong = !said.is_disjoint(&self.wanted);
            let verdict = if wrong { "goes wrong too" } else { "does not go wrong" };
            out::say(&format!("{}: {verdict}; {} runs left", in_words(size), self.left));
            if wrong {
                let kept = self.dir.join(SHRUNK);
                if kept.exists() {
                    std::fs::remove_dir_all(&kept)?;
                }
                std::fs::rename(&trial, &kept)?;
                std::fs::write(kept.join(FAULTS_JSON), serde_json::to_vec_pretty(&size.faults)?)?;
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn tell(&self, first: &Size, best: &Size) -> anyhow::Result<bool> {
        let kept = self.dir.join(SHRUNK);
        if !kept.exists() {
            out::line("no smaller run went wrong; try again with more --tries")?;
            return Ok(false);
        }
        let faults = Some(kept.join(FAULTS_JSON));
        let run = Run { faults, dir: kept.join("again"), ..best.run.clone() };
        out::line(&format!("from {}", in_words(first)))?;
        out::line(&format!("to   {}; it is in {}", in_words(best), kept.display()))?;
        out::line(&format!("repeat with: {}", run.repeat(run.seed.unwrap_or(0))))?;
        Ok(true)
    }
}

/// The fewest of `items` for which something still fails, by delta debugging (Zeller and Hildebrandt, 2002): without any,
/// then without each half, each quarter and so on. `fails` is not asked about all of them.
async fn fewest<T: Clone>(
    mut items: Vec<T>,
    fails: &mut impl AsyncFnMut(&[T]) -> anyhow::Result<bool>,
) -> anyhow::Result<Vec<T>> {
    if items.is_empty() || fails(&[]).await? {
        return Ok(Vec::new());
    }
    let mut parts = 2;
    while items.len() > 1 {
        let size = items.len().div_ceil(parts);
        let mut reduced = None;
        for at in (0..items.len()).step_by(size) {
            let end = items.len().min(at + size);
            let (part, rest) = (items[at..end].to_vec(), [&items[..at], &items[end..]].concat());
            if fails(&part).await? {
                reduced = Some((part, 2));
                break;
            }
            // With two parts, the rest of one is the other.
            if parts > 2 && fails(&rest).await? {
                reduced = Some((rest, parts - 1));
                break;
            }
        }
        match reduced {
            Some((fewer, next)) => (items, parts) = (fewer, next),
            None if size == 1 => break,
            None => parts = items.len().min(parts * 2),
        }
    }
    Ok(items)
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    /// What is left of 0..count for which `fails` holds, and how often it was asked.
    fn shrunk(count: u32, fails: impl Fn(&[u32]) -> bool) -> (Vec<u32>, usize) {
        let mut asked = 0;
        let mut ask = async |items: &[u32]| {
            asked += 1;
            Ok(fails(items))
        };
        let left = fewest((0..count).collect(), &mut ask).now_or_never().unwrap().unwrap();
        (left, asked)
    }

    #[test]
    fn what_fails_without_any_needs_none() {
        assert_eq!(shrunk(30, |_| true), (vec![], 1));
        assert_eq!(shrunk(0, |_| true), (vec![], 0));
    }

    #[test]
    fn the_needed_ones_are_left_in_their_order() {
        for needed in [vec![7], vec![0, 29], vec![3, 4, 20], (0..30).collect()] {
            let has_all = |items: &[u32]| needed.iter().all(|one| items.contains(one));
            let (left, asked) = shrunk(30, has_all);
            assert_eq!(left, needed);
            assert!(asked < 200, "{asked} runs");
        }
    }

    #[test]
    fn what_never_fails_again_stays_whole() {
        assert_eq!(shrunk(5, |_| false).0, vec![0, 1, 2, 3, 4]);
    }

    #[test]
    fn a_run_gets_smaller_until_it_would_prove_nothing() {
        let run = Run { time: 10, clients: 5, ..Run::default() };
        let size = Size { faults: vec![Fault::RollingRestart], run };
        assert_eq!(workloads(&size).len(), workload::ALL.len() - 1);
        let alone = &workloads(&size)[0];
        assert!(workloads(alone).is_empty() && alone.faults.len() == 1);
        let times = std::iter::successors(Some(size.clone()), shorter).map(|size| size.run.time);
        assert_eq!(times.collect::<Vec<_>>(), [10, 5, 2]);
        let clients = std::iter::successors(Some(size), emptier).map(|size| size.run.clients);
        assert_eq!(clients.collect::<Vec<_>>(), [5, 2]);
    }
}
