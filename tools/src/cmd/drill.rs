//! `twinset drill`: practise. Looks for the scenario, shows what would be done, plays it, and keeps and shows the report; what a
//! drill does is in [`crate::drill`].

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::json;

use super::fault::TokenFile;
use super::{Context, watch};
use crate::cluster::admin;
use crate::drill::before;
use crate::drill::calendar::{Schedule, Time};
use crate::drill::cast::{Cast, Process, local_routers};
use crate::drill::lot::{self, Drawn};
use crate::drill::play::{self, Options, Starter};
use crate::drill::record::{Record, Verdict};
use crate::drill::scenario::{Act, Scenario, word};
use crate::drill::{figures, hold, shelf};
use crate::load::random::Random;
use crate::{error, out};

/// What `twinset drill --help` says.
pub const HELP: &str = "Practise moves and failures on live traffic, with guardrails, and keep a report of each.\n\n\
    A drill plays a scenario: stages of planned moves and of faults that end by themselves. It begins only with a cluster \
    that is well, looks at it every second, stops when a guardrail breaks or something fails that it has not touched, and \
    brings every set home whatever has happened. The report says what clients and sets went through, and whether the \
    scenario's criteria hold.\n\n\
    Examples:\n  twinset drill list\n  twinset drill plan leader-killed\n  \
    twinset drill run leader-killed --yes --why 'weekly drill'\n  twinset drill report\n  \
    twinset drill run --surprise --schedule drills.toml --yes --why 'nobody knows when'";

const POLL: Duration = Duration::from_millis(200);
/// How long a drill may take to bring everything home.
const HOME_WITHIN: Duration = Duration::from_secs(300);

/// Practise moves and failures on live traffic.
#[derive(Debug, Subcommand)]
pub enum Drill {
    /// List scenarios, and the drills that are on record.
    List(Places),
    /// Show what a drill would do and to whom, and whether it could begin.
    Plan(Plan),
    /// Hold drills, one after the other.
    #[command(long_about = "Hold drills, one after the other; the exit code is 0 if all have passed.\n\n\
        Faults want a cluster whose processes are configured for them (docs/reference/drill-faults.md) and their token. \
        Processes that a drill has killed are started again by whoever supervises them; those of a local cluster by the \
        drill itself, others by --start-command, which is given TWINSET_PROCESS and TWINSET_ADDRESS.\n\n\
        Ctrl-C ends the stages and brings everything home; so does a guardrail.\n\n\
        Examples:\n  twinset dev up --detach --drill-faults\n  \
        twinset drill run leader-killed --yes --why 'first drill'\n  \
        twinset drill run --all --load 100 --yes --why 'release 12'\n  \
        twinset drill run evacuate-staged --load 5000 --set 3 --yes --why 'as much as a real failure'\n  \
        twinset drill run --surprise --schedule drills.toml --yes --why 'some time this week'")]
    Run(Run),
    /// Stop the drill under way, wherever it is run, and wait until everything is home.
    Stop(Stop),
    /// Show the report of a drill.
    Report(Report),
    /// Keep a report of whatever nobody planned, until it is stopped.
    #[command(long_about = watch::HELP)]
    Watch(watch::Watch),
    /// Show what all drills on record say together: pauses by scenario and stage.
    Figures(Places),
}

/// Where scenarios and records are.
#[derive(Clone, Debug, Args)]
pub struct Places {
    /// Directory of the scenarios.
    #[arg(long, value_name = "DIR", default_value = shelf::SCENARIOS)]
    scenarios: PathBuf,
    /// Directory of the records.
    #[arg(long, value_name = "DIR", default_value = shelf::RECORDS)]
    records: PathBuf,
}

/// What is played on what.
#[derive(Clone, Debug, Args)]
pub struct Setting {
    /// The set that it is about [default: the first one].
    #[arg(long, value_name = "N")]
    set: Option<u32>,
    /// Payments per second on test accounts that are added to whatever traffic there is; 0: none.
    #[arg(long, default_value_t = 100, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=100_000))]
    load: u32,
    /// Test accounts for them.
    #[arg(long, default_value_t = 200, value_name = "N", value_parser = clap::value_parser!(u32).range(2..=1_000_000))]
    accounts: u32,
    /// Factor on every limit of time, for machines that are slower than those the scenarios were written for.
    #[arg(long, default_value_t = 1.0, value_name = "FACTOR", value_parser = patience)]
    patience: f64,
    /// Let plans go on although this check refuses.
    #[arg(long = "override", value_name = "CHECK", value_delimiter = ',')]
    #[arg(value_parser = crate::plan::checks::NAMES)]
    overridden: Vec<String>,
    #[command(flatten)]
    token: TokenFile,
    /// A router as a process that may be killed: NAME:SITE:GRPC-ADDRESS:PORT:HTTP-ADDRESS:PORT. Those of a local cluster are known.
    #[arg(long = "router-process", value_name = "ROUTER", value_parser = router_process)]
    router_processes: Vec<Process>,
    /// How a process is started that has died, for sh. A local cluster's are known.
    #[arg(long, value_name = "COMMAND")]
    start_command: Option<String>,
}

/// Arguments of `drill plan`.
#[derive(Debug, Args)]
pub struct Plan {
    /// The scenario's name, or its file.
    scenario: String,
    #[command(flatten)]
    setting: Setting,
    #[command(flatten)]
    places: Places,
}

/// Arguments of `drill run`.
#[derive(Debug, Args)]
pub struct Run {
    /// The scenarios' names, or their files.
    #[arg(required_unless_present_any = ["all", "surprise", "schedule"])]
    names: Vec<String>,
    /// Every scenario that there is.
    #[arg(long, conflicts_with_all = ["names", "surprise", "schedule"])]
    all: bool,
    /// Draw scenario, set and time by lot; what was drawn is said afterwards.
    #[arg(long)]
    surprise: bool,
    /// Wait for this schedule's window; it names the scenarios too.
    #[arg(long, value_name = "FILE", conflicts_with = "names")]
    schedule: Option<PathBuf>,
    /// Draw as in an earlier drill.
    #[arg(long, value_name = "SEED", requires = "surprise")]
    seed: Option<u64>,
    /// Seconds of traffic before the first stage, with which everything later is compared.
    #[arg(long, default_value_t = 5, value_name = "SECONDS")]
    baseline: u64,
    /// Seconds of traffic when all are home.
    #[arg(long, default_value_t = 5, value_name = "SECONDS")]
    after: u64,
    /// Do it.
    #[arg(long)]
    yes: bool,
    /// Why, for the audit log.
    #[arg(long, value_name = "TEXT", default_value = "by hand")]
    why: String,
    #[command(flatten)]
    setting: Setting,
    #[command(flatten)]
    places: Places,
}

/// Arguments of `drill stop`.
#[derive(Debug, Args)]
pub struct Stop {
    /// Why, for the audit log.
    #[arg(long, value_name = "TEXT", default_value = "by hand")]
    why: String,
}

/// Arguments of `drill report`.
#[derive(Debug, Args)]
pub struct Report {
    /// The drill's id; the newest one's if it is left out.
    id: Option<String>,
    #[command(flatten)]
    places: Places,
}

fn patience(text: &str) -> Result<f64, String> {
    let factor: f64 = text.parse().map_err(|_| "give a number such as 2 or 1.5".to_owned())?;
    if (0.1..=100.0).contains(&factor) { Ok(factor) } else { Err("it is within 0.1 and 100".to_owned()) }
}

fn router_process(text: &str) -> Result<Process, String> {
    let parts: Vec<&str> = text.split(':').collect();
    let &[name, site, grpc, grpc_port, http, http_port] = parts.as_slice() else {
        return Err("give it as NAME:SITE:GRPC-ADDRESS:PORT:HTTP-ADDRESS:PORT".to_owned());
    };
    Ok(Process {
        name: name.to_owned(),
        site: site.to_owned(),
        addr: format!("{grpc}:{grpc_port}"),
        http: format!("{http}:{http_port}"),
        router: true,
    })
}

/// Runs `twinset drill ...`.
pub async fn run(command: Drill, context: &Context) -> anyhow::Result<()> {
    match command {
        Drill::List(places) => list(&places, context).await,
        Drill::Plan(asked) => plan(asked, context).await,
        Drill::Run(asked) => hold(asked, context).await,
        Drill::Stop(asked) => stop(asked, context).await,
        Drill::Report(asked) => report(&asked, context),
        Drill::Watch(asked) => watch::run(asked, context).await,
        Drill::Figures(places) => figures(&places, context),
    }
}

async fn list(places: &Places, context: &Context) -> anyhow::Result<()> {
    let scenarios = shelf::scenarios(&places.scenarios)?;
    let records = shelf::records(&places.records)?;
    // Scenarios can be read where there is no cluster.
    let survey = match context.nodes() {
        Ok(nodes) => Some(admin::survey(&nodes).await),
        Err(_) => None,
    };
    let under_way = survey.as_ref().and_then(|survey| survey.catalogue.as_ref()?.active_drill());
    if context.json {
        let scenario = |one: &Scenario| json!({ "name": one.name, "title": one.title, "proves": one.proves, "faults": one.has_faults() });
        let held = |one: &Record| {
            json!({
                "id": one.id, "scenario": one.scenario.name, "verdict": one.verdict, "who": one.who, "why": one.why,
                "began_unix_ms": one.began_unix_ms, "took_ms": one.took_ms,
            })
        };
        return out::json(&json!({
            "scenarios": scenarios.iter().map(scenario).collect::<Vec<_>>(),
            "under_way": under_way,
            "drills": records.iter().map(held).collect::<Vec<_>>(),
        }));
    }
    let kind = |one: &Scenario| if one.has_faults() { "faults" } else { "moves" };
    let row = |one: &Scenario| vec![one.name.clone(), kind(one).to_owned(), one.title.clone()];
    out::line(&out::table(
        &["SCENARIO", "OF", "WHAT HAPPENS"],
        &scenarios.iter().map(row).collect::<Vec<_>>(),
    ))?;
    if let Some(drill) = under_way {
        let twinset_control::Drill { id, scenario, set, who, why, .. } = drill;
        out::line(&format!("\nunder way: drill {id}, {scenario} on set {set}, by {who}: {why}"))?;
    }
    if records.is_empty() {
        return Ok(());
    }
    let row = |one: &Record| {
        let took = format!("{:.0} s", one.took_ms as f64 / 1e3);
        vec![one.id.clone(), one.verdict.to_string(), took, one.who.clone(), one.why.clone()]
    };
    out::line("")?;
    out::line(&out::table(
        &["DRILL", "VERDICT", "TOOK", "WHO", "WHY"],
        &records.iter().map(row).collect::<Vec<_>>(),
    ))
}

async fn plan(asked: Plan, context: &Context) -> anyhow::Result<()> {
    let scenario = shelf::scenario(&asked.places.scenarios, &asked.scenario)?;
    let survey = admin::survey(&context.nodes()?).await;
    let set = asked.setting.set_in(&survey)?;
    let options = asked.setting.options(scenario, set, context)?;
    let checks = before::run(&options, &survey).await;
    if context.json {
        return out::json(&json!({ "scenario": options.scenario, "set": set, "checks": checks }));
    }
    show(&options, &survey)?;
    for check in &checks {
        let verdict = check.refused.as_ref().map_or("pass".to_owned(), |why| format!("REFUSES  {why}"));
        out::line(&format!("check {:<10} {verdict}", check.check))?;
    }
    Ok(())
}

fn show(options: &Options, survey: &admin::Survey) -> anyhow::Result<()> {
    let scenario = &options.scenario;
    out::line(&format!("{}: {}. {}", scenario.name, scenario.title, scenario.proves))?;
    let cast = Cast::new(survey.catalogue()?, options.set, options.routers.clone());
    let cast = cast.map_err(|why| error::usage(why, "`twinset status` shows the sets"))?;
    out::line(&format!("set {}, home {}, other site {}", options.set, cast.home, cast.away))?;
    for stage in &scenario.stages {
        let times = if stage.repeat > 1 { format!(", {} times", stage.repeat) } else { String::new() };
        out::line(&format!("stage: {} (within {} s{times})", stage.name, stage.within_s))?;
        for act in &stage.acts {
            out::line(&format!("  do     {}{}", act.text(), whom(act, &cast, survey)))?;
        }
        if !stage.until.is_empty() {
            let until: Vec<String> = stage.until.iter().map(word).collect();
            out::line(&format!("  until  {}", until.join(", ")))?;
        }
        if stage.soak_s > 0 {
            out::line(&format!("  watch  {} s", stage.soak_s))?;
        }
    }
    let criteria = &scenario.criteria;
    out::line(&format!(
        "passes if at most {} payments fail, no set pauses for more than {} ms, and all is well again in the end",
        criteria.failed_max, criteria.pause_ms_max
    ))
}

/// Who a role is at this moment.
fn whom(act: &Act, cast: &Cast, survey: &admin::Survey) -> String {
    let Act::Fault { on, .. } = act else { return String::new() };
    match cast.players(*on, survey) {
        Ok(players) => {
            let names: Vec<String> = players.into_iter().map(|process| process.name).collect();
            format!("  (now {})", names.join(" "))
        }
        Err(why) => format!("  ({why})"),
    }
}

impl Setting {
    fn set_in(&self, survey: &admin::Survey) -> anyhow::Result<u32> {
        let catalogue = survey.catalogue()?;
        let first = catalogue.sets.keys().next().copied();
        self.set.or(first).ok_or_else(|| error::failure("the cluster has no set", "`twinset status`"))
    }

    fn options(&self, scenario: Scenario, set: u32, context: &Context) -> anyhow::Result<Options> {
        let local = context.local();
        let routers = match &local {
            Some(layout) if self.router_processes.is_empty() => local_routers(layout),
            _ => self.router_processes.clone(),
        };
        let starter = match (&self.start_command, &local) {
            (Some(command), _) => Starter::Command(command.clone()),
            (None, Some(layout)) => Starter::Local(layout.dir.clone()),
            (None, None) => Starter::Others,
        };
        let token = if scenario.has_faults() { self.token.read(context).ok() } else { None };
        Ok(Options {
            id: play::id(&scenario.name),
            scenario,
            set,
            load: self.load,
            accounts: self.accounts as usize,
            baseline: Duration::ZERO,
            after: Duration::ZERO,
            patience: self.patience,
            overridden: self.overridden.clone(),
            who: super::who(),
            why: String::new(),
            seed: None,
            seeds: context.nodes()?,
            router_urls: if self.load > 0 { context.routers()? } else { Vec::new() },
            routers,
            token,
            starter,
        })
    }
}

async fn hold(asked: Run, context: &Context) -> anyhow::Result<()> {
    let drawn =
        if asked.surprise || asked.schedule.is_some() { Some(appoint(&asked, context).await?) } else { None };
    let mut records = Vec::new();
    let scenarios = match &drawn {
        Some((drawn, _)) => vec![shelf::scenario(&asked.places.scenarios, &drawn.scenario)?],
        None if asked.all => shelf::scenarios(&asked.places.scenarios)?,
        None => {
            let named = asked.names.iter().map(|name| shelf::scenario(&asked.places.scenarios, name));
            named.collect::<anyhow::Result<_>>()?
        }
    };
    for scenario in scenarios {
        let survey = admin::survey(&context.nodes()?).await;
        let set = drawn.as_ref().map_or_else(|| asked.setting.set_in(&survey), |(drawn, _)| Ok(drawn.set))?;
        let options = Options {
            baseline: Duration::from_secs(asked.baseline),
            after: Duration::from_secs(asked.after),
            why: asked.why.clone(),
            seed: drawn.as_ref().and_then(|(_, seed)| *seed),
            ..asked.setting.options(scenario, set, context)?
        };
        if !asked.yes {
            show(&options, &survey)?;
            let next = "repeat it with --yes; `twinset drill plan` shows whether it could begin";
            return Err(error::usage("nothing was done", next));
        }
        out::say(&format!("drill {}: {}, set {set}", options.id, options.scenario.title));
        let record = play::play(&options, &mut |line| out::say(line)).await?;
        let page = shelf::write(&asked.places.records, &record)?;
        tell(&record, &page, context)?;
        let ends = record.verdict == Verdict::Stopped || !record.is_home();
        records.push(record);
        if ends {
            // Somebody, or something, wants no more of it now.
            out::say("no other drill is begun");
            break;
        }
    }
    verdict(&records, context)
}

/// The end of it all: an error unless every drill has passed.
fn verdict(records: &[Record], context: &Context) -> anyhow::Result<()> {
    if context.json {
        out::json(&records)?;
    } else if records.len() > 1 {
        let row = |one: &Record| vec![one.id.clone(), one.verdict.to_string(), first_reason(one)];
        out::line(&out::table(&["DRILL", "VERDICT", ""], &records.iter().map(row).collect::<Vec<_>>()))?;
    }
    let bad: Vec<&str> = records
        .iter()
        .filter(|record| record.verdict != Verdict::Passed)
        .map(|record| record.scenario.name.as_str())
        .collect();
    if bad.is_empty() {
        return Ok(());
    }
    Err(error::failure(
        format!("{} of {} drills have not passed: {}", bad.len(), records.len(), bad.join(", ")),
        "`twinset drill report` shows why; docs/operating/drills.md says how to read it",
    ))
}

fn first_reason(record: &Record) -> String {
    let bad = record.criteria.iter().find(|one| !one.held);
    bad.map_or(String::new(), |one| format!("{}: {}", one.name, one.found))
}

/// Draws if it is to be a surprise, and waits for the window.
async fn appoint(asked: &Run, context: &Context) -> anyhow::Result<(Drawn, Option<u64>)> {
    let schedule = asked.schedule.as_ref().map(|path| Schedule::load(path)).transpose()?;
    let now_s = play::now_unix_ms() / 1_000;
    let window = match &schedule {
        None => now_s..now_s + 1,
        Some(schedule) => schedule.window(Time::from_unix_ms(now_s * 1_000)).ok_or_else(|| {
            error::usage("the schedule has no window within a year", "its `blocked` days leave none")
        })?,
    };
    let names: Vec<String> = match &schedule {
        Some(schedule) => schedule.scenarios.clone(),
        None if asked.names.is_empty() => {
            shelf::scenarios(&asked.places.scenarios)?.into_iter().map(|scenario| scenario.name).collect()
        }
        None => asked.names.clone(),
    };
    // A name that is wrong is found now, not at night.
    for name in &names {
        shelf::scenario(&asked.places.scenarios, name)?;
    }
    let survey = admin::survey(&context.nodes()?).await;
    let sets: Vec<u32> = match asked.setting.set {
        Some(set) => vec![set],
        None if asked.surprise => survey.catalogue()?.sets.keys().copied().collect(),
        None => vec![asked.setting.set_in(&survey)?],
    };
    let seed = asked.seed.unwrap_or_else(|| Random::new().bits());
    let (names, window) = match asked.surprise {
        true => (names, window),
        // Without a surprise: the first scenario, as soon as the window opens.
        false => (names[..1].to_vec(), window.start..window.start + 1),
    };
    let from = Time::from_unix_ms(window.start * 1_000);
    let to = Time::from_unix_ms(window.end * 1_000);
    let drawn = lot::draw(seed, &names, &sets, window)
        .ok_or_else(|| error::usage("there is nothing to draw from", "name scenarios, or a schedule"))?;
    if asked.yes {
        out::say(&format!("a drill will begin between {from} and {to} UTC"));
        let wait_ms = (drawn.at_unix_s * 1_000).saturating_sub(play::now_unix_ms());
        tokio::time::sleep(Duration::from_millis(wait_ms)).await;
    }
    Ok((drawn, asked.surprise.then_some(seed)))
}

async fn stop(asked: Stop, context: &Context) -> anyhow::Result<()> {
    let seeds = context.nodes()?;
    let stopping = hold::stop(&seeds, &super::who(), &asked.why).await?;
    let Some(id) = stopping else {
        return match context.json {
            true => out::json(&json!({ "drill": null })),
            false => out::line("no drill is under way"),
        };
    };
    out::say(&format!("drill {id} is to stop; whoever runs it brings everything home"));
    let deadline = tokio::time::Instant::now() + HOME_WITHIN;
    loop {
        let survey = admin::survey(&seeds).await;
        let known = survey.catalogue.as_ref().and_then(|catalogue| catalogue.drills.get(&id));
        if let Some(drill) = known.filter(|drill| !drill.is_active()) {
            return match context.json {
                true => out::json(drill),
                false => out::line(&format!("drill {id} ({}) has ended", drill.scenario)),
            };
        }
        if tokio::time::Instant::now() >= deadline {
            return Err(error::failure(
                format!("drill {id} has not ended within {HOME_WITHIN:?}"),
                "`twinset status` shows what is not home yet; a drill whose player is dead is ended by the cluster",
            ));
        }
        tokio::time::sleep(POLL).await;
    }
}

fn report(asked: &Report, context: &Context) -> anyhow::Result<()> {
    let record = shelf::record(&asked.places.records, asked.id.as_deref())?;
    if context.json {
        return out::json(&record);
    }
    let page = shelf::page_of(&asked.places.records, &record.id);
    tell(&record, &page, context)
}

fn figures(places: &Places, context: &Context) -> anyhow::Result<()> {
    let all = figures::of(&shelf::records(&places.records)?);
    if context.json {
        return out::json(&all);
    }
    let ms = |ms: f64| format!("{ms:.1} ms");
    let mut rows = Vec::new();
    for one in &all {
        let what = |kind: &str, spread: &figures::Spread| {
            let times = [spread.p50_ms, spread.p99_ms, spread.max_ms].map(ms);
            let words =
                [one.scenario.clone(), kind.to_owned(), spread.name.clone(), spread.count.to_string()];
            words.into_iter().chain(times).collect::<Vec<String>>()
        };
        rows.extend(one.stages.iter().map(|stage| what("longest pause of a set", stage)));
        rows.extend(one.acts.iter().map(|act| what("took", act)));
        rows.extend(one.moves.iter().map(|moves| what("writes paused", moves)));
    }
    for one in &all {
        out::line(&format!(
            "{}: {} of {} drills passed, {} of {} payments failed",
            one.scenario, one.passed, one.drills, one.failed, one.payments
        ))?;
    }
    out::line(&out::table(&["SCENARIO", "FIGURE", "OF", "TIMES", "P50", "P99", "LONGEST"], &rows))
}

/// A record in a few lines.
fn tell(record: &Record, page: &Path, context: &Context) -> anyhow::Result<()> {
    if context.json {
        return Ok(());
    }
    let seed = record.seed.map_or(String::new(), |seed| format!(", drawn by seed {seed}"));
    out::line(&format!("drill {} {}{seed}", record.id, record.verdict))?;
    for one in &record.criteria {
        let mark = if one.held { "ok " } else { "BAD" };
        out::line(&format!("  {mark} {:<24} {}; wanted: {}", one.name, one.found, one.wanted))?;
    }
    let [before, meanwhile, _] = &record.payments;
    if record.load > 0 {
        out::line(&format!(
            "  payments: {} before, p99 {:.1} ms; {} meanwhile, p99 {:.1} ms, slowest {:.0} ms, {} repeated",
            before.ended, before.p99_ms, meanwhile.ended, meanwhile.p99_ms, meanwhile.max_ms, record.repeated
        ))?;
    }
    out::line(&format!("  report: {}", page.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_router_is_named_with_its_site_and_both_addresses() {
        let router = router_process("ra:A:10.0.0.1:7501:10.0.0.1:7401").unwrap();
        assert_eq!((router.name.as_str(), router.site.as_str(), router.router), ("ra", "A", true));
        assert_eq!((router.addr.as_str(), router.http.as_str()), ("10.0.0.1:7501", "10.0.0.1:7401"));
        assert!(router_process("ra:A:10.0.0.1:7501").is_err());
    }

    #[test]
    fn patience_is_a_sensible_factor() {
        assert_eq!(patience("1.5"), Ok(1.5));
        for wrong in ["", "x", "0", "-1", "1000", "NaN"] {
            assert!(patience(wrong).is_err(), "{wrong}");
        }
    }
}
