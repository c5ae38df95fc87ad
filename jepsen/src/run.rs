//! `twinset-jepsen run`: a local cluster, clients at both sites, faults one after the other, healing, the last look at
//! everything, and the verdict. Puts the parts together; judges nothing itself.

mod arguments;
mod disturb;
mod opening;

use std::path::Path;

use futures::future::LocalBoxFuture;
use twinset_tools::cluster::admin;
use twinset_tools::cluster::layout::Process;
use twinset_tools::load::random::Random;
use twinset_tools::{error, out};

use crate::check::Case;
use crate::clients::{Clients, Flow, Site};
use crate::history::{History, Phase};
use crate::play::nemeses::Nemesis;
use crate::report::{self, Page};
use crate::results::Results;
use crate::workload::{self, Ground, Kind};
use crate::{books, clients, export, founding, history, play};
pub use arguments::{HELP, Run, Until};
use opening::Opened;

/// What a run was asked, in its directory.
pub const RUN_JSON: &str = "run.json";
/// The history of a run in its directory.
pub const HISTORY_JSONL: &str = "history.jsonl";
/// Bounds memory and disk: about two gigabytes.
const OPS_MAX: u64 = 6_000_000;

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
        opening::clear(arguments, seed)?;
        let mut opened = opening::open(arguments, seed, &until, narrate).await?;
        if let Err(error) = act(&mut opened, arguments, (&kinds, &nemeses), (seed, until), narrate).await {
            narrate(&format!("the run broke off: {error:#}"));
            opened.recorder.note(format!("the run broke off: {error:#}"));
        }
        opened.close().await?;
        narrate("reading and checking the history");
        judge(&history::read(&arguments.dir.join(HISTORY_JSONL))?, &arguments.dir, repeat)
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

/// Traffic, faults, healing, and the last look.
async fn act(
    opened: &mut Opened,
    arguments: &Run,
    (kinds, nemeses): (&[&'static Kind], &[&'static Nemesis]),
    (seed, until): (u64, Until),
    narrate: &mut dyn FnMut(&str),
) -> anyhow::Result<()> {
    let (recorder, layout) = (opened.recorder.clone(), opened.stage.cluster.layout());
    let routers: Vec<String> = layout.routers().map(|router| router.http.clone()).collect();
    let site = |own: &Process| {
        let reached = layout.routers().map(|router| opened.stage.net.router_addr(&own.site, &router.name));
        anyhow::Ok(Site { name: own.site.clone(), routers: reached.collect::<anyhow::Result<_>>()? })
    };
    let sites: Vec<Site> = layout.routers().map(site).collect::<anyhow::Result<_>>()?;
    recorder.phase(Phase::Setup);
    let ground = Ground::new(recorder.clone(), &opened.slots, kinds);
    clients::open(&recorder, &ground, &routers).await?;
    founding::found(&opened.stage.cluster, &ground, &recorder).await?;
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
    let working = Clients::start(&recorder, &flow);
    let (seeds, mut records) =
        (opened.stage.cluster.layout().node_addrs(), std::mem::take(&mut opened.records));
    let watch = play::watch(
        seeds.clone(),
        opened.stage.sets.clone(),
        recorder.clone(),
        working.failovers.clone(),
        &mut records,
    );
    let disturbed = tokio::select! {
        disturbed = disturb::disturb(opened, nemeses, seed, &until, narrate) => disturbed,
        () = watch => unreachable!("it watches for ever"),
    };
    let left = working.stop().await?;
    recorder.phase(Phase::Resolve);
    disturbed?;
    books::last_look(&opened.stage.cluster, &recorder, &left, narrate).await?;
    records.look(admin::survey(&seeds).await.catalogue()?, &recorder);
    Ok(())
}
