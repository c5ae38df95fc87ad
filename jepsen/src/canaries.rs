//! `twinset-jepsen canaries`: one run for each bug on purpose, in binaries that have them, and whether it was caught, by the
//! checkers that are for it. First a run of the same binaries without a bug under each nemesis that is used, which has to be
//! valid: what catches everything catches nothing. Where a new canary goes: its name in `ledger/src/canary.rs`, its line in [`CAGES`].

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use clap::Args;
use futures::future::LocalBoxFuture;
use serde::Serialize;
use twinset_ledger::canary::{Canary, MARK, VARIABLE};
use twinset_tools::cluster::local::beside_this_program;
use twinset_tools::cluster::{Layout, LocalOptions};
use twinset_tools::load::random::Random;
use twinset_tools::{error, out};

use crate::check::Verdict;
use crate::named::named;
use crate::results::Results;
use crate::run::{self, Run, Until};

/// What `twinset-jepsen canaries --help` says.
pub const HELP: &str = "Let out bugs that are built in on purpose, one after the other, and see whether each is caught.\n\n\
    Wants a node and a router with the feature `canaries`, in a directory of their own (`make canaries` builds them). Each bug \
    has a workload, a nemesis and a time in which one of its checkers has to find it; it gets three runs with different seeds, \
    because the timing is the machine's. The first run under each nemesis has no bug, and has to be valid.\n\n\
    Examples:\n  twinset-jepsen canaries --bin-dir target/canaries\n  twinset-jepsen canaries --bin-dir target/canaries \
    stale-leader-read no-sync\n  twinset-jepsen canaries --bin-dir target/canaries --sample 3 --seed 7";

/// Let out bugs that are built in on purpose, and see whether each is caught.
#[derive(Clone, Debug, Args)]
pub struct Canaries {
    /// Which; default: all.
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// Only so many of them, drawn from the seed; without those of lost sites and of plans.
    #[arg(long, value_name = "COUNT")]
    sample: Option<usize>,
    /// Where all choices come from; default: another one each time.
    #[arg(long)]
    seed: Option<u64>,
    /// Where the binaries with the bugs are; default: the directory `canaries` beside this program's.
    #[arg(long, value_name = "DIR")]
    bin_dir: Option<PathBuf>,
    /// Where everything goes; each run throws away what the one before has left.
    #[arg(long, default_value = ".twinset-jepsen", value_name = "DIR")]
    dir: PathBuf,
    /// Print the results as JSON.
    #[arg(long)]
    json: bool,
}

/// In what kind of run a bug shows.
struct Cage {
    canary: Canary,
    workload: &'static str,
    nemesis: &'static str,
    seconds: u64,
    /// One of them has to find it.
    checkers: &'static [&'static str],
}

const fn cage(
    canary: Canary,
    (workload, nemesis): (&'static str, &'static str),
    seconds: u64,
    checkers: &'static [&'static str],
) -> Cage {
    Cage { canary, workload, nemesis, seconds, checkers }
}

/// The rules of the ledger need traffic alone; a kill or two come for free.
const QUICK: (&str, &str) = ("mixed", "kill");

/// The same for transactions over several sets.
const SEVERAL: (&str, &str) = ("across", "kill");

/// The same for holds.
const HELD: (&str, &str) = ("holds", "kill");

/// The same for buffered credits.
const BUFFERED: (&str, &str) = ("buffered", "kill");

/// The same for sweeps.
const SWEPT: (&str, &str) = ("sweeps", "kill");

/// The same for preconditions and dry runs.
const CONDITIONAL: (&str, &str) = ("preconditions", "kill");

/// A site is lost, and back; then the next one.
const LOST: (&str, &str) = ("mixed", "site");

const CAGES: &[Cage] = &[
    cage(Canary::ReplyBeforeSafe, ("mixed", "split"), 10, &["both_sites"]),
    cage(Canary::ForgottenRequests, QUICK, 6, &["answers", "exactly_once"]),
    cage(
        Canary::StaleLeaderRead,
        ("mixed", "isolate"),
        30,
        &["real_time_order", "linearizable_reads", "sessions"],
    ),
    cage(
        Canary::ReadBeforeApply,
        ("mixed", "power"),
        40,
        &["real_time_order", "linearizable_reads", "sessions"],
    ),
    cage(Canary::NoAge, QUICK, 4, &["stale_reads"]),
    cage(Canary::LimitOfTheFirst, QUICK, 4, &["answers", "limits"]),
    cage(Canary::UnknownToldAsNotApplied, ("mixed", "split"), 20, &["refused_is_never"]),
    cage(Canary::NoSync, ("mixed", "power"), 30, &["answers", "exactly_once", "replicas", "real_time_order"]),
    cage(Canary::ClockAsLedgerTime, ("mixed", "clock"), 10, &["ledger_time"]),
    cage(Canary::ShortPage, QUICK, 4, &["lists"]),
    cage(Canary::AnyBodyIsTheSame, QUICK, 4, &["exactly_once"]),
    cage(Canary::ForgottenRejections, QUICK, 4, &["answers", "exactly_once"]),
    cage(Canary::EndlessReversal, QUICK, 4, &["answers"]),
    cage(Canary::LegSumsForgotten, ("reversals", "kill"), 4, &["answers"]),
    cage(Canary::IgnoredFreeze, QUICK, 4, &["answers"]),
    cage(Canary::ExchangedResults, QUICK, 4, &["answers"]),
    cage(Canary::ReplayInANewPlace, QUICK, 4, &["answers", "exactly_once"]),
    cage(Canary::LostCent, QUICK, 4, &["answers", "conservation"]),
    cage(Canary::ClosedWithMoney, QUICK, 4, &["answers"]),
    cage(Canary::SnapshotWithoutRequests, ("mixed", "restart"), 40, &["answers", "exactly_once", "replicas"]),
    cage(Canary::UngatedRead, ("mixed", "split"), 10, &["both_sites"]),
    cage(Canary::SlotsBackwards, QUICK, 4, &["fits"]),
    cage(Canary::LostReplies, QUICK, 10, &["liveness"]),
    cage(Canary::EndlessPause, ("mixed", "switches"), 25, &["liveness"]),
    cage(Canary::ReadWithoutAwaySite, ("mixed", "split"), 20, &["both_sites"]),
    cage(Canary::CommitToAllButOne, SEVERAL, 4, &["clearing"]),
    // A leader that is asked to stop leaves more between decision and booking than one that is killed.
    cage(Canary::DecisionForgotten, ("across", "restart"), 8, &["atomicity"]),
    cage(Canary::ClearingLegLeftOut, SEVERAL, 4, &["atomicity", "conservation"]),
    cage(Canary::NothingSetAside, SEVERAL, 4, &["linearizable_reads", "limits"]),
    cage(Canary::AnsweredBeforeBooked, SEVERAL, 4, &["visibility"]),
    cage(Canary::RetryBeginsAnew, SEVERAL, 4, &["one_answer", "exactly_once"]),
    // Something must be decided and not booked when the sites split: two splits are surer than one.
    cage(Canary::AbortsByItself, ("across", "split"), 12, &["atomicity"]),
    cage(Canary::OpenReversalsDoNotCount, SEVERAL, 6, &["answers"]),
    cage(Canary::PartBookedTwice, SEVERAL, 4, &["linearizable_reads", "answers"]),
    cage(Canary::GivesNothingBack, SEVERAL, 4, &["in_doubt"]),
    cage(Canary::AnythingBalances, SEVERAL, 4, &["answers", "clearing"]),
    cage(Canary::CaptureLeavesTheHold, HELD, 6, &["holds"]),
    cage(Canary::IgnoredExpiry, HELD, 10, &["holds"]),
    cage(Canary::ReleasedStaysHeld, HELD, 6, &["answers", "put_away"]),
    cage(Canary::FinalKeepsTheRest, HELD, 6, &["linearizable_reads", "put_away"]),
    cage(Canary::ReversalIntoTheHold, HELD, 8, &["linearizable_reads", "put_away"]),
    cage(Canary::HoldsAreKept, HELD, 6, &["put_away"]),
    cage(Canary::PartOfABatch, ("batches", "kill"), 4, &["together"]),
    cage(Canary::SkippedPosting, ("statements", "kill"), 4, &["statements"]),
    cage(Canary::BalanceTooEarly, ("statements", "kill"), 4, &["statements"]),
    cage(Canary::LostEvent, ("events", "kill"), 4, &["events"]),
    cage(Canary::OutboxReplayed, BUFFERED, 6, &["buffered"]),
    cage(Canary::ParcelForgotten, BUFFERED, 6, &["buffered"]),
    cage(Canary::CreditWithoutClearingLeg, BUFFERED, 4, &["buffered"]),
    cage(Canary::SweptTwice, SWEPT, 6, &["sweeps"]),
    cage(Canary::NothingStays, SWEPT, 6, &["answers"]),
    cage(Canary::ForgottenSweep, SWEPT, 6, &["sweeps"]),
    cage(Canary::WithdrawalOfRestricted, ("restricted", "kill"), 4, &["limits", "withdrawals"]),
    cage(Canary::GroupWithoutAPart, ("groups", "kill"), 4, &["groups"]),
    cage(Canary::VersionOverlooked, CONDITIONAL, 4, &["preconditions"]),
    cage(Canary::AtLeastIsMore, CONDITIONAL, 6, &["preconditions"]),
    cage(Canary::DryRunOfNewIds, CONDITIONAL, 4, &["dry_runs"]),
    cage(Canary::DryRunBooks, CONDITIONAL, 4, &["dry_runs"]),
    cage(Canary::DegradedBeforeRecord, LOST, 30, &["both_sites"]),
    // A voter must lag behind the learner when its other site is lost: that is drawn half the time.
    cage(Canary::LearnerNotAsked, LOST, 60, &["lives", "exactly_once", "replicas", "harness"]),
    // Its leader's keeper finds out within a second, puts it right and warns; who has lost something by then was unlucky.
    cage(Canary::SyncBeforeGate, LOST, 40, &["both_sites", "lives", "exactly_once", "harness"]),
    cage(Canary::OldLogGoesOn, LOST, 40, &["replicas", "answers", "exactly_once", "harness"]),
    cage(Canary::PlanResumedTwice, ("mixed", "plans"), 60, &["faults_act"]),
];

/// Bugs that need more than a run does, each with the test that fails when it is let out: see deploy/checks/canaries.sh.
const NAMED_TESTS: &[(Canary, &str)] = &[(
    Canary::LeaseNotWaitedOut,
    "net sites::a_site_that_is_cut_off_answers_nothing_once_its_set_has_answered_in_the_other_one",
)];

/// Runs that a bug gets before it counts as missed.
const RUNS: u64 = 3;
const RATE: u32 = 1_000;
/// How long a run without a bug is.
const WITHOUT: u64 = 10;

/// What became of one bug.
#[derive(Clone, Debug, Serialize)]
struct Fate {
    canary: &'static str,
    caught: bool,
    /// The checkers that said something, or why there is no verdict.
    by: Vec<String>,
    runs: u64,
    seconds: u64,
    /// Of the last run.
    repeat: String,
}

/// Runs `twinset-jepsen canaries`. True if every one was caught.
pub fn run(arguments: Canaries) -> LocalBoxFuture<'static, anyhow::Result<bool>> {
    Box::pin(async move {
        let bin_dir = match &arguments.bin_dir {
            Some(dir) => dir.clone(),
            None => beside_this_program()?.join("../canaries"),
        };
        let seed = arguments.seed.unwrap_or_else(|| Random::new().bits() >> 32);
        let cages = chosen(&arguments, seed)?;
        out::say(&format!("seed {seed}; {} bugs", cages.len()));
        let play = async |canary: Option<&str>, (workload, nemesis): (&str, &str), seconds, seed| {
            let run = Run {
                workload: vec![workload.into()],
                nemesis: vec![nemesis.into()],
                time: seconds,
                seed: Some(seed),
                dir: arguments.dir.clone(),
                rate: RATE,
                bin_dir: Some(bin_dir.clone()),
                canary: canary.map(str::to_owned),
                ..Run::default()
            };
            let until = Until::Time(Duration::from_secs(seconds));
            (run.repeat(seed), run::play(&run, seed, until, run.repeat(seed), &mut |_| {}).await)
        };
        let places: BTreeSet<_> = cages.iter().map(|cage| (cage.workload, cage.nemesis)).collect();
        for (workload, nemesis) in places {
            let mut without = play(None, (workload, nemesis), WITHOUT, seed).await.1?;
            if without.only("faults_act") {
                // A short fault had nothing to act on.
                without = play(None, (workload, nemesis), WITHOUT, seed + 1).await.1?;
            }
            if !without.is_valid() {
                without.print(&arguments.dir)?;
                anyhow::bail!(
                    "{workload} under {nemesis} is not valid without any bug: what is found with one says nothing"
                );
            }
            out::say(&format!("{workload} under {nemesis} without a bug: valid, as it must be"));
        }
        let mut fates = Vec::new();
        for cage in cages {
            let began = Instant::now();
            let mut fate = Fate::of(cage.canary.as_str());
            while !fate.caught && fate.runs < RUNS {
                let place = (cage.workload, cage.nemesis);
                let (repeat, results) = play(Some(fate.canary), place, cage.seconds, seed + fate.runs).await;
                fate.runs += 1;
                (fate.repeat, fate.seconds) = (repeat, began.elapsed().as_secs());
                fate.take(cage, results);
            }
            out::say(&format!("{}: {}", fate.canary, fate.in_words()));
            fates.push(fate);
        }
        for (canary, test) in NAMED_TESTS {
            out::say(&format!("{}: no run lets it happen; it fails the test {test}", canary.as_str()));
        }
        report(&fates, arguments.json)
    })
}

fn chosen(arguments: &Canaries, seed: u64) -> anyhow::Result<Vec<&'static Cage>> {
    let mut cages: Vec<&Cage> = match arguments.names.is_empty() {
        true => CAGES.iter().collect(),
        false => named(CAGES, |cage| cage.canary.as_str(), "canary", &arguments.names)?,
    };
    let mut random = Random::seeded(seed);
    // Those of lost sites and of plans take minutes each, and what they need does not come in every run.
    if arguments.sample.is_some() && arguments.names.is_empty() {
        cages.retain(|cage| !["site", "plans"].contains(&cage.nemesis));
    }
    while arguments.sample.is_some_and(|sample| cages.len() > sample) {
        cages.remove(random.below(cages.len()));
    }
    Ok(cages)
}

fn report(fates: &[Fate], json: bool) -> anyhow::Result<bool> {
    if json {
        out::json(&fates)?;
    } else {
        let row = |fate: &Fate| {
            let caught = if fate.caught { "caught" } else { "MISSED" };
            vec![
                fate.canary.to_owned(),
                caught.to_owned(),
                fate.runs.to_string(),
                fate.seconds.to_string(),
                fate.by.join(", "),
            ]
        };
        let rows: Vec<Vec<String>> = fates.iter().map(row).collect();
        out::line(&out::table(&["CANARY", "VERDICT", "RUNS", "SECONDS", "BY"], &rows))?;
        for fate in fates.iter().filter(|fate| !fate.caught) {
            out::line(&format!("{} was missed; repeat with: {}", fate.canary, fate.repeat))?;
        }
    }
    Ok(fates.iter().all(|fate| fate.caught))
}

impl Fate {
    fn of(canary: &'static str) -> Self {
        Fate { canary, caught: false, by: Vec::new(), runs: 0, seconds: 0, repeat: String::new() }
    }

    fn take(&mut self, cage: &Cage, results: anyhow::Result<Results>) {
        match results {
            Ok(results) => {
                // A bug may break the run off: what a checker has seen by then is Unknown, and wrong.
                let said =
                    results.checkers.iter().filter(|one| one.verdict == Verdict::Invalid || one.wrong > 0);
                self.by = said.map(|one| one.checker.to_owned()).collect();
                self.caught = self.by.iter().any(|name| cage.checkers.contains(&name.as_str()));
            }
            Err(error) => self.by = vec![format!("no verdict: {error:#}")],
        }
    }

    fn in_words(&self) -> String {
        let caught = if self.caught { "caught" } else { "missed" };
        let by = if self.by.is_empty() { "nobody".to_owned() } else { self.by.join(", ") };
        format!("{caught} in {} s, in run {}; {by} said something", self.seconds, self.runs)
    }
}

/// Switches a bug on in every process that `options` will start.
pub fn let_out(name: &str, options: &mut LocalOptions) -> anyhow::Result<()> {
    let bin_dir = match &options.bin_dir {
        Some(dir) => dir.clone(),
        None => beside_this_program()?,
    };
    for binary in ["twinset-node", "twinset-router"] {
        has_them(&bin_dir.join(binary))?;
    }
    for process in Layout::new(&options.dir, &bin_dir, options.sets, 0).processes {
        let launch = options.launch.entry(process.name).or_default();
        launch.env.push((VARIABLE.to_owned(), name.to_owned()));
    }
    Ok(())
}

/// A bug that is not there would pass for one that is missed, or a healthy run for a caught one.
fn has_them(binary: &Path) -> anyhow::Result<()> {
    let version = Command::new(binary).arg("--version").output();
    let told = version.map(|output| String::from_utf8_lossy(&output.stdout).trim().ends_with(MARK));
    match told {
        Ok(true) => Ok(()),
        _ => Err(error::usage(
            format!("{} has no bugs built in", binary.display()),
            "`make canaries` builds one that has, or name its directory with --bin-dir",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::play::nemeses;
    use crate::{check, workload};

    #[test]
    fn every_canary_has_a_cage_that_there_is() {
        let caged = CAGES.iter().map(|cage| cage.canary).chain(NAMED_TESTS.iter().map(|(canary, _)| *canary));
        let mut caged: Vec<Canary> = caged.collect();
        caged.sort_by_key(|canary| *canary as u8);
        assert_eq!(caged, Canary::ALL);
        for cage in CAGES {
            assert!(workload::named(&[cage.workload.to_owned()]).is_ok(), "{}", cage.workload);
            assert!(nemeses::named(&[cage.nemesis.to_owned()], false).is_ok(), "{}", cage.nemesis);
            let known = |name: &&str| check::ALL.iter().any(|checker| checker.name == *name);
            assert!(!cage.checkers.is_empty() && cage.checkers.iter().all(known), "{:?}", cage.checkers);
        }
    }

    #[test]
    fn a_sample_is_drawn_from_the_seed_and_an_unknown_name_refused() {
        let asked = |names: &[&str], sample| Canaries {
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            sample,
            seed: None,
            bin_dir: None,
            dir: PathBuf::new(),
            json: false,
        };
        let names = |seed| {
            let cages = chosen(&asked(&[], Some(3)), seed).unwrap();
            cages.iter().map(|cage| cage.canary.as_str()).collect::<Vec<_>>()
        };
        assert_eq!((names(1).len(), names(1)), (3, names(1)));
        assert!((0..20).any(|seed| names(seed) != names(1)));
        assert_eq!(chosen(&asked(&["no-sync"], None), 1).unwrap().len(), 1);
        assert!(chosen(&asked(&["nobody"], None), 1).is_err());
    }

    #[test]
    fn a_bug_that_another_checker_stumbles_over_is_not_caught() {
        let cage = &CAGES[0];
        let history = crate::synthetic::history(500, 1).unwrap();
        let mut results = Results::of(&check::Case::of(&history), String::new());
        let mut fate = Fate::of("x");
        fate.take(cage, Ok(results.clone()));
        assert!(!fate.caught && fate.by.is_empty(), "{fate:?}");
        let mut say = |name: &str| {
            let one = results.checkers.iter_mut().find(|one| one.checker == name).unwrap();
            one.verdict = Verdict::Invalid;
            results.clone()
        };
        fate.take(cage, Ok(say("harness")));
        assert!(!fate.caught, "{fate:?}");
        fate.take(cage, Ok(say("both_sites")));
        assert!(fate.caught && fate.by.len() == 2, "{fate:?}");
        fate.caught = false;
        fate.take(cage, Err(anyhow::anyhow!("broken")));
        assert!(!fate.caught);
    }
}
