//! How each act of a scenario is done. Every act leaves a record: when, to whom, through which phases, and how it ended.

use std::time::Duration;

use futures::future::join_all;
use tokio::time::Instant;
use twinset_control::Command;
use twinset_control::plan::{self, CONCURRENCY_MAX, Kind, Pace, State};
use twinset_proto::cluster::v1::SwitchRequest;

use super::cast::Process;
use super::play::{Play, Starter};
use super::record::{ActRecord, Phase};
use super::scenario::{Act, Direction, FaultKind, Place, Role};
use crate::cluster::faults::{Asker, At};
use crate::cluster::{LocalCluster, admin, control};
use crate::cmd::{planned, switch};
use crate::http1;
use crate::plan::{follow, ready};

const POLL: Duration = Duration::from_millis(100);
/// How long the control set may take to record a command.
const RECORD_WITHIN: Duration = Duration::from_secs(10);
/// How long plans may go on after they were halted: what is promised of `twinset stop`.
const HALTED_WITHIN: Duration = Duration::from_secs(1);

/// Whoever does the acts of one stage.
pub(super) struct Hands<'p, 'a> {
    pub play: &'p Play<'a>,
    /// When the stage must be over.
    pub deadline: Instant,
}

/// What an act has come to, before it is put on record.
#[derive(Default)]
struct Done {
    targets: Vec<String>,
    phases: Vec<Phase>,
    failed: Option<String>,
}

impl Done {
    fn failed(reason: impl ToString) -> Done {
        Done { failed: Some(reason.to_string()), ..Done::default() }
    }

    fn of(result: anyhow::Result<Vec<Phase>>) -> Done {
        result.map_or_else(Done::failed, |phases| Done { phases, ..Done::default() })
    }
}

impl Hands<'_, '_> {
    /// Does one act and records it.
    pub async fn act(&self, act: &Act) -> Result<(), String> {
        let (at_ms, what) = (self.play.now_ms(), act.text());
        // On record from its beginning: what a guardrail cuts off was begun all the same.
        let number = self.play.acts.borrow().len();
        self.play.acts.borrow_mut().push(ActRecord {
            at_ms,
            took_ms: 0,
            what: what.clone(),
            targets: Vec::new(),
            phases: Vec::new(),
            failed: Some("the drill was stopped before it had ended".to_owned()),
        });
        let done = self.done(act).await;
        let targets = done.targets.join(" ");
        let to = if targets.is_empty() { String::new() } else { format!(": {targets}") };
        match &done.failed {
            None => self.play.say(&format!("  {what}{to}")),
            Some(reason) => self.play.say(&format!("  {what}{to}: FAILED: {reason}")),
        }
        let ended = done.failed.clone().map_or(Ok(()), |reason| Err(format!("{what}: {reason}")));
        let Done { targets, phases, failed } = done;
        let took_ms = self.play.now_ms() - at_ms;
        self.play.acts.borrow_mut()[number] = ActRecord { at_ms, took_ms, what, targets, phases, failed };
        ended
    }

    async fn done(&self, act: &Act) -> Done {
        match act {
            Act::Fault { on, kind, for_s, by_ms, with, direction } => {
                let time = Duration::from_secs(*for_s);
                self.fault(*on, *kind, time, *by_ms, *with, *direction).await
            }
            Act::Start {} => self.start().await,
            Act::Heal {} => self.heal().await,
            Act::Switch {} => Done::of(self.switch().await),
            Act::Evacuate { site, emergency, stages, soak_ms, detach } => {
                let kind = Kind::Evacuate { site: self.site(*site), emergency: *emergency };
                Done::of(self.plan(kind, stages.clone(), *soak_ms, *detach).await)
            }
            Act::Isolate { site } => {
                Done::of(self.plan(Kind::Isolate { site: self.site(*site) }, vec![100], 0, false).await)
            }
            Act::Return { detach } => {
                Done::of(self.plan(Kind::Return { site: None }, vec![100], 0, *detach).await)
            }
            Act::IsolateReady { site } => self.ready(&self.site(*site)).await,
            Act::Stop {} => self.halt_plans().await.map_or_else(Done::failed, |()| Done::default()),
        }
    }

    fn site(&self, place: Place) -> String {
        self.play.cast.site(place).to_owned()
    }

    fn seeds(&self) -> &[String] {
        &self.play.options.seeds
    }

    fn asker(&self) -> Result<Asker, String> {
        let options = self.play.options;
        let token = options.token.clone().ok_or("there is no token")?;
        Ok(Asker { token, who: options.who.clone(), why: format!("drill {}", options.id) })
    }

    async fn fault(
        &self,
        on: Role,
        kind: FaultKind,
        time: Duration,
        by_ms: Option<i64>,
        with: Option<Role>,
        direction: Option<Direction>,
    ) -> Done {
        let cast = &self.play.cast;
        let survey = admin::survey_within(self.seeds(), admin::ASK).await;
        let players = match cast.players(on, &survey) {
            Ok(players) => players,
            Err(why) => return Done::failed(why),
        };
        let fault = match cast.fault(kind, by_ms, with, direction, &survey) {
            Ok(fault) => fault,
            Err(why) => return Done::failed(why),
        };
        let asker = match self.asker() {
            Ok(asker) => asker,
            Err(why) => return Done::failed(why),
        };
        // A router knows this kind alone.
        let able = |process: &&Process| !process.router || kind == FaultKind::Kill;
        let players: Vec<Process> = players.iter().filter(able).cloned().collect();
        self.touch(players.iter().map(|process| process.name.clone()));
        let begun = players.iter().map(async |process| {
            let at = At { process: &process.name, addr: &process.addr };
            at.begin(fault.clone(), time, &asker).await
        });
        let failed = join_all(begun).await.into_iter().find_map(Result::err);
        if failed.is_none() && kind == FaultKind::Kill {
            self.gone(&players).await;
        }
        let targets = players.into_iter().map(|process| process.name).collect();
        Done { targets, phases: Vec::new(), failed: failed.map(|error| error.to_string()) }
    }

    /// Waits until nobody listens there any more: a process answers the call that kills it, and what is asked next must not meet it.
    async fn gone(&self, players: &[Process]) {
        for process in players {
            while Instant::now() < self.deadline && http1::listens(&process.addr, POLL).await {
                tokio::time::sleep(POLL / 10).await;
            }
        }
    }

    fn touch(&self, names: impl Iterator<Item = String>) {
        let mut touched = self.play.touched.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        touched.extend(names);
    }

    /// Processes that this drill has harmed.
    fn harmed(&self) -> Vec<Process> {
        let touched = self.play.touched.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
        self.play.everybody.iter().filter(|process| touched.contains(&process.name)).cloned().collect()
    }

    async fn start(&self) -> Done {
        let harmed = self.harmed();
        let started = match &self.play.options.starter {
            Starter::Others => Ok(Vec::new()),
            Starter::Local(dir) => start_local(dir, &harmed),
            Starter::Command(command) => start_by(command, &harmed).await,
        };
        match started {
            Ok(targets) => Done { targets, ..Done::default() },
            Err(error) => Done::failed(error),
        }
    }

    /// Ends the faults of this drill that still act. One that cannot be ended ends by itself, and is waited for.
    async fn heal(&self) -> Done {
        let Ok(asker) = self.asker() else { return Done::default() };
        let mut targets = Vec::new();
        for process in self.harmed() {
            loop {
                let at = At { process: &process.name, addr: &process.addr };
                let Ok(acting) = at.list().await else {
                    // One that is dead suffers nothing any more.
                    let dead = !http1::listens(&process.addr, POLL).await;
                    if dead || Instant::now() >= self.deadline {
                        break;
                    }
                    tokio::time::sleep(POLL).await;
                    continue;
                };
                let ours: Vec<u64> =
                    acting.iter().filter(|fault| fault.why == asker.why).map(|fault| fault.id).collect();
                let mut refused = false;
                for id in ours {
                    match at.end(id, &asker.token).await {
                        Ok(()) => targets.push(process.name.clone()),
                        Err(_) => refused = true,
                    }
                }
                if !refused || Instant::now() >= self.deadline {
                    break;
                }
                tokio::time::sleep(POLL).await;
            }
        }
        Done { targets, ..Done::default() }
    }

    async fn switch(&self) -> anyhow::Result<Vec<Phase>> {
        let survey = admin::survey(self.seeds()).await;
        let catalogue = survey.catalogue()?;
        let set = self.play.cast.set;
        let home = &catalogue.sets[&set].home;
        let request = SwitchRequest {
            set,
            to_site: catalogue.other_site(home).unwrap_or_default().to_owned(),
            who: self.play.options.who.clone(),
            why: format!("drill {}", self.play.options.id),
            dry_run: false,
            plan: 0,
        };
        let outcome = switch::switch(&survey, request, &mut |_| {}).await?;
        Ok(outcome.phases.into_iter().map(Phase::from).collect())
    }

    /// Begins a plan and follows it to its end.
    async fn plan(
        &self,
        kind: Kind,
        stages: Vec<u8>,
        soak_ms: u64,
        detach: bool,
    ) -> anyhow::Result<Vec<Phase>> {
        let options = self.play.options;
        let concurrency = if kind.is_emergency() { CONCURRENCY_MAX } else { 4 };
        let pace = Pace { stages, soak_ms, concurrency, failures_max: 0, roll_back: false };
        let (begun, why) = (Instant::now(), format!("drill {}", options.id));
        let id = planned::begin_checked(self.seeds(), kind, pace, &options.overridden, &why).await?;
        if detach {
            return Ok(Vec::new());
        }
        let mut phases = Vec::new();
        let mut hear = |line: &str| {
            self.play.say(&format!("    {}", line.trim()));
            let at_ms = begun.elapsed().as_secs_f64() * 1e3;
            phases.push(Phase { name: format!("plan {id}"), detail: line.trim().to_owned(), at_ms });
        };
        let plan = follow::follow(self.seeds(), id, &mut hear).await?;
        follow::end(&plan)?;
        Ok(phases)
    }

    async fn ready(&self, site: &str) -> Done {
        loop {
            let survey = admin::survey(self.seeds()).await;
            let Some(catalogue) = &survey.catalogue else { return Done::failed("no node knows a catalogue") };
            let readiness = ready::judge(&survey, catalogue, site);
            if readiness.ready {
                return Done { targets: vec![format!("site {site}")], ..Done::default() };
            }
            if Instant::now() + POLL >= self.deadline {
                let parts = std::iter::once(&readiness.control).chain(&readiness.sets);
                let why: Vec<String> = parts.flat_map(|part| part.why_not.clone()).collect();
                return Done::failed(format!("site {site} must not be powered off: {}", why.join("; ")));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Halts all plans; an error if one goes on for longer than is promised.
    pub async fn halt_plans(&self) -> Result<(), String> {
        let survey = admin::survey(self.seeds()).await;
        let catalogue = survey.catalogue().map_err(|error| error.to_string())?;
        if catalogue.active_plans().next().is_none() {
            return Ok(());
        }
        let options = self.play.options;
        let (who, why) = (options.who.clone(), format!("drill {}", options.id));
        let command = Command::Plan(plan::Command::Stop { who, why });
        let recorded = control::propose(&survey, catalogue, &command, RECORD_WITHIN).await;
        recorded.map_err(|error| error.to_string())?;
        let deadline = Instant::now() + self.play.stretched(HALTED_WITHIN);
        loop {
            let survey = admin::survey(self.seeds()).await;
            let mut plans = survey.catalogue.iter().flat_map(|catalogue| catalogue.plans.values());
            let Some(moving) = plans.find(|plan| matches!(plan.state, State::Running | State::Stopping))
            else {
                return Ok(());
            };
            if Instant::now() >= deadline {
                return Err(format!("plan {} is still {} a second later", moving.id, moving.state));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Brings every set home that is not, again and again while that is refused.
    pub async fn return_all(&self) -> Result<(), String> {
        loop {
            let survey = admin::survey(self.seeds()).await;
            let catalogue = survey.catalogue().map_err(|error| error.to_string())?;
            if !catalogue.is_away() {
                return Ok(());
            }
            let Err(reason) = self.act(&Act::Return { detach: false }).await else { continue };
            if Instant::now() >= self.deadline {
                return Err(reason);
            }
            tokio::time::sleep(POLL).await;
        }
    }
}

fn start_local(dir: &std::path::Path, harmed: &[Process]) -> anyhow::Result<Vec<String>> {
    let mut cluster = LocalCluster::attach(dir)?;
    let mut started = Vec::new();
    for process in harmed {
        if !cluster.alive(&process.name)? {
            cluster.start_process(&process.name)?;
            started.push(process.name.clone());
        }
    }
    Ok(started)
}

async fn start_by(command: &str, harmed: &[Process]) -> anyhow::Result<Vec<String>> {
    let mut started = Vec::new();
    for process in harmed {
        let answers = http1::listens(&process.addr, POLL).await;
        if answers {
            continue;
        }
        let status = tokio::process::Command::new("sh")
            .args(["-c", command])
            .env("TWINSET_PROCESS", &process.name)
            .env("TWINSET_ADDRESS", &process.addr)
            .kill_on_drop(true)
            .status()
            .await?;
        anyhow::ensure!(
            status.success(),
            "{} could not be started: {command:?} ended with {status}",
            process.name
        );
        started.push(process.name.clone());
    }
    Ok(started)
}
