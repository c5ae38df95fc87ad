//! `twinset-jepsen kills`: traffic, one kill -9 after the other, then an account of every request. Puts the parts
//! together and prints the verdict; judges nothing itself.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use futures::future::LocalBoxFuture;
use serde::Serialize;
use twinset_tools::cluster::{LocalCluster, LocalOptions, Ports};
use twinset_tools::load::random::Random;
use twinset_tools::{out, verify};

use crate::history::{Answer, History};
use crate::traffic::{self, Traffic};
use crate::{books, check, death, logs, wait};

/// What `twinset-jepsen kills --help` says.
pub const HELP: &str = "Kill processes with SIGKILL under traffic, one after the other; then account for every request.\n\n\
    Starts a local cluster (two sites of two nodes, an arbiter, two routers). Clients book transfers through both routers \
    and send many requests again. Leaders, followers, learners, the arbiter and routers are killed at random moments and \
    started again. In the end every request is looked up, every transaction listed, every balance added up, and all \
    replicas are compared. The choices come from the seed; the timing is the machine's.\n\n\
    Examples:\n  twinset-jepsen kills --kills 20\n  twinset-jepsen kills --kills 200 --seed 7 --json";

/// Kill processes with SIGKILL under traffic; then account for every request.
#[derive(Clone, Debug, Args)]
pub struct Kills {
    /// How many processes to kill.
    #[arg(long, default_value_t = 20)]
    pub kills: u32,
    /// Where all choices come from; default: another one each time.
    #[arg(long)]
    pub seed: Option<u64>,
    /// The cluster's directory; what an earlier cluster left there is thrown away.
    #[arg(long, default_value = ".twinset-jepsen", value_name = "DIR")]
    pub dir: PathBuf,
    /// Ports count from here; default: a free range.
    #[arg(long, value_name = "PORT")]
    pub base_port: Option<u16>,
    /// New requests per second.
    #[arg(long, default_value_t = 300)]
    pub rate: u32,
    /// Print the report as JSON.
    #[arg(long)]
    pub json: bool,
}

const SETS: u32 = 2;
const CLIENTS: usize = 24;
const ACCOUNTS: usize = 200;
/// Bounds the journal: about a gigabyte.
const REQUESTS_MAX: usize = 2_000_000;
const VERIFY: Duration = Duration::from_secs(60);
/// Violations of one check that are printed; all are counted, and stand in the JSON report.
const PRINTED: usize = 3;

/// What happened, and the verdict.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// No violation.
    pub clean: bool,
    /// The seed.
    pub seed: u64,
    /// The command that repeats it.
    pub repeat: String,
    /// How long it took.
    pub seconds: f64,
    /// Kills by process.
    pub kills: BTreeMap<String, u32>,
    /// What clients did and saw.
    pub seen: Seen,
    /// What `verify` said.
    pub verify: Vec<verify::Line>,
    /// Everything that is wrong.
    pub violations: Vec<String>,
}

/// What clients did and saw.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Seen {
    /// Request ids.
    pub requests: usize,
    /// Of those, asked more than once with the same body.
    pub repeated: usize,
    /// Balances read meanwhile.
    pub reads: usize,
    /// Calls, all told.
    pub calls: usize,
    /// Calls with the id of a decided request and another body.
    pub other_bodies: usize,
    /// Requests booked.
    pub booked: usize,
    /// Requests rejected.
    pub rejected: usize,
    /// Calls that ended as unknown.
    pub unknown: usize,
    /// Calls that ended as not applied.
    pub not_applied: usize,
    /// The slowest call.
    pub slowest_ms: u64,
}

impl Seen {
    /// Counts a history.
    pub fn of(history: &History) -> Self {
        let mut seen =
            Seen { requests: history.requests.len(), reads: history.reads.len(), ..Seen::default() };
        for asked in &history.requests {
            seen.repeated += usize::from(asked.same_body().count() > 1);
            seen.calls += asked.calls.len();
            seen.other_bodies += asked.calls.iter().filter(|call| call.other_body).count();
            match asked.decided().map(|call| &call.answer) {
                Some(Answer::Booked { .. }) => seen.booked += 1,
                Some(_) => seen.rejected += 1,
                None => {}
            }
            for call in &asked.calls {
                seen.slowest_ms = seen.slowest_ms.max((call.end_us - call.begin_us) / 1_000);
                match call.answer {
                    Answer::Unknown => seen.unknown += 1,
                    Answer::NotApplied { .. } => seen.not_applied += 1,
                    _ => {}
                }
            }
        }
        seen
    }
}

/// Runs `twinset-jepsen kills`. True if nothing is wrong.
pub fn run(arguments: Kills) -> LocalBoxFuture<'static, anyhow::Result<bool>> {
    Box::pin(async move {
        let seed = arguments.seed.unwrap_or_else(|| Random::new().bits() >> 32);
        out::say(&format!("seed {seed}; repeat with: {}", repeat(&arguments, seed)));
        let report = play(&arguments, seed, &mut |text| out::say(text)).await?;
        if arguments.json {
            out::json(&report)?;
        } else {
            print(&report, &arguments.dir)?;
        }
        Ok(report.clean)
    })
}

fn repeat(arguments: &Kills, seed: u64) -> String {
    format!(
        "twinset-jepsen kills --kills {} --seed {seed} --rate {} --dir {}",
        arguments.kills,
        arguments.rate,
        arguments.dir.display()
    )
}

/// The whole run; `narrate` hears what happens. An error means that it could not be judged, or did not heal.
pub fn play<'a>(
    arguments: &'a Kills,
    seed: u64,
    narrate: &'a mut dyn FnMut(&str),
) -> LocalBoxFuture<'a, anyhow::Result<Report>> {
    Box::pin(async move {
        let began = Instant::now();
        let options = LocalOptions {
            sets: SETS,
            ports: arguments.base_port.map_or(Ports::Free, Ports::Base),
            ..LocalOptions::fresh(&arguments.dir)
        };
        let mut cluster = LocalCluster::start(&options, narrate).await?;
        let survey = wait::whole(cluster.layout()).await?;
        let traffic = Traffic::start(&traffic::Options {
            routers: cluster.layout().routers().map(|router| router.http.clone()).collect(),
            slots: survey.catalogue()?.slot_table(),
            seed,
            clients: CLIENTS,
            accounts: ACCOUNTS,
            rate: arguments.rate,
            requests_max: REQUESTS_MAX,
        })
        .await?;
        let sets: Vec<u32> = survey.catalogue()?.sets.keys().copied().collect();
        let mut violations = Vec::new();
        let killed = kill_all(&mut cluster, arguments.kills, seed, &sets, &mut violations, narrate).await;
        let clock = traffic.began();
        let mut history = traffic.stop().await?;
        let (kills, healed) = match killed {
            Ok(kills) => (kills, true),
            Err(error) => {
                violations.push(format!("the cluster did not heal: {error:#}"));
                (BTreeMap::new(), false)
            }
        };
        let mut verdict = Vec::new();
        if healed {
            verdict = account_for(&cluster, &mut history, &sets, clock, &mut violations, narrate).await?;
        }
        violations.extend(logs::read(&cluster.layout().dir.join("log"), logs::AFTER_KILLS)?);
        let forced = cluster.stop().await?;
        violations.extend(forced.iter().map(|name| format!("{name} did not stop when it was asked to")));
        Ok(Report {
            clean: violations.is_empty(),
            seed,
            repeat: repeat(arguments, seed),
            seconds: began.elapsed().as_secs_f64(),
            kills,
            seen: Seen::of(&history),
            verify: verdict,
            violations,
        })
    })
}

async fn kill_all(
    cluster: &mut LocalCluster,
    count: u32,
    seed: u64,
    sets: &[u32],
    violations: &mut Vec<String>,
    narrate: &mut dyn FnMut(&str),
) -> anyhow::Result<BTreeMap<String, u32>> {
    let mut random = Random::seeded(seed);
    let mut kills = BTreeMap::new();
    for number in 1..=count {
        let death = death::next(&mut random, cluster.layout(), sets);
        let began = Instant::now();
        let victim = death::kill(cluster, &death).await;
        let victim = victim.map_err(|error| error.context(format!("kill {number}: {death:?}")))?;
        narrate(&format!(
            "kill {number}/{count}: {victim} ({:?}, dead for {} ms{}); whole again after {} ms",
            death.victim,
            death.down.as_millis(),
            if death.again.is_some() { ", and once more" } else { "" },
            (began.elapsed() - death.after).as_millis(),
        ));
        *kills.entry(victim).or_default() += 1;
        let missing = death::missing(cluster)?;
        violations.extend(missing.iter().map(|name| format!("{name} died by itself around kill {number}")));
    }
    Ok(kills)
}

/// Resolves what is open, reads everything, verifies; adds what is wrong.
pub async fn account_for(
    cluster: &LocalCluster,
    history: &mut History,
    sets: &[u32],
    clock: Instant,
    violations: &mut Vec<String>,
    narrate: &mut dyn FnMut(&str),
) -> anyhow::Result<Vec<verify::Line>> {
    let routers: Vec<String> = cluster.layout().routers().map(|router| router.http.clone()).collect();
    let resolved = books::resolve(history, &routers, || traffic::micros(clock)).await;
    narrate(&format!("traffic stopped: {} requests, {resolved} asked again", history.requests.len()));
    let books = books::read(history, &routers, sets).await?;
    narrate(&format!(
        "looked up {} requests, listed {} transactions",
        books.lookups.len(),
        books.listed.len()
    ));
    violations.extend(check::all(history, &books));
    let survey = wait::whole(cluster.layout()).await?;
    let report = verify::verify(&survey, survey.catalogue()?, VERIFY).await;
    violations.extend(
        report
            .lines
            .iter()
            .filter(|line| !line.clean)
            .map(|line| format!("verify: {} {}", line.subject, line.detail)),
    );
    if report.transactions != books.listed.len() as u64 {
        violations.push(format!(
            "verify counts {} transactions, {} are listed",
            report.transactions,
            books.listed.len()
        ));
    }
    Ok(report.lines)
}

fn print(report: &Report, dir: &Path) -> anyhow::Result<()> {
    let seen = &report.seen;
    let kills: Vec<String> = report.kills.iter().map(|(name, count)| format!("{name} {count}")).collect();
    out::line(&format!("kills      {} ({})", report.kills.values().sum::<u32>(), kills.join(", ")))?;
    out::line(&format!(
        "requests   {} ({} sent again: {}%), {} calls, {} with another body, {} reads; slowest {} ms",
        seen.requests,
        seen.repeated,
        seen.repeated * 100 / seen.requests.max(1),
        seen.calls,
        seen.other_bodies,
        seen.reads,
        seen.slowest_ms
    ))?;
    out::line(&format!(
        "answers    {} booked, {} rejected; calls without an end: {} unknown, {} not applied",
        seen.booked, seen.rejected, seen.unknown, seen.not_applied
    ))?;
    for line in &report.verify {
        out::line(&format!("verify     {}: {}", line.subject, line.detail))?;
    }
    let mut by_check: BTreeMap<&str, Vec<&String>> = BTreeMap::new();
    for violation in &report.violations {
        by_check.entry(violation.split(':').next().unwrap_or_default()).or_default().push(violation);
    }
    for (check, found) in by_check {
        out::line(&format!("VIOLATED   {check}: {} times, the first:", found.len()))?;
        for violation in found.iter().take(PRINTED) {
            out::line(&format!("           {violation}"))?;
        }
    }
    let logs = dir.join("log");
    match report.clean {
        true => out::line(&format!("verdict    clean, in {:.0} s; seed {}", report.seconds, report.seed)),
        false => out::line(&format!(
            "verdict    {} VIOLATIONS; logs in {}; repeat with: {}",
            report.violations.len(),
            logs.display(),
            report.repeat
        )),
    }
}
