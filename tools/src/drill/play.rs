//! Plays a scenario: looks first, lets payments flow, carries out one stage after the other, and brings everything home
//! whatever has happened. What can end badly meanwhile (a guardrail, a stage that does not come to its end, an operator who wants
//! it to stop) ends the stages, never the way home. Faults are ended by the processes themselves and plans are carried out by the
//! cluster, so that nothing stays behind when whoever plays it dies.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use futures::future::{LocalBoxFuture, join_all};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::acts::Hands;
use super::calendar::Time;
use super::cast::{Cast, Process, local_routers};
use super::guard::{Breach, Guard};
use super::hold::Hold;
use super::judge::{self, Seen};
use super::moment::{self, Moment};
use super::record::{FORMAT, Record, Span, Stopped, Verdict};
use super::scenario::{Act, Condition, Role, Scenario, Stage};
use super::traffic::{self, Traffic};
use super::{before, moves, wait};
use crate::cluster::{Layout, admin};
use crate::cmd::verify;
use crate::http1;
use crate::load::random::Random;
use crate::load::record::Sample;

/// How long each part of the way home may take, before patience.
const HOME: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(100);
/// How long the books may take to be compared.
const BOOKS: Duration = Duration::from_secs(60);

/// What is played, and on what.
#[derive(Clone, Debug)]
pub struct Options {
    /// Names the drill.
    pub id: String,
    /// What is played.
    pub scenario: Scenario,
    /// The set that it is about.
    pub set: u32,
    /// Payments per second that are added; 0: none.
    pub load: u32,
    /// Test accounts for them.
    pub accounts: usize,
    /// How long payments flow before the first stage.
    pub baseline: Duration,
    /// How long they flow when all are home.
    pub after: Duration,
    /// Factor on every limit of time.
    pub patience: f64,
    /// Pre-checks of plans that warn instead of refusing.
    pub overridden: Vec<String>,
    /// Who plays it.
    pub who: String,
    /// Why.
    pub why: String,
    /// If it was drawn by lot.
    pub seed: Option<u64>,
    /// Nodes to ask.
    pub seeds: Vec<String>,
    /// The routers' URLs.
    pub router_urls: Vec<String>,
    /// The routers as processes, as far as they are known.
    pub routers: Vec<Process>,
    /// For faults.
    pub token: Option<Bytes>,
    /// Who starts processes that have died.
    pub starter: Starter,
}

impl Options {
    /// What is played on set 1 of a local cluster that knows faults, without payments.
    pub fn local(layout: &Layout, scenario: Scenario, (who, why): (&str, &str)) -> anyhow::Result<Options> {
        Ok(Options {
            id: id(&scenario.name),
            scenario,
            set: 1,
            load: 0,
            accounts: 200,
            baseline: Duration::ZERO,
            after: Duration::ZERO,
            patience: 1.0,
            // All processes have the same processors: what a site that takes over would use says nothing here.
            overridden: vec!["capacity".to_owned()],
            who: who.to_owned(),
            why: why.to_owned(),
            seed: None,
            seeds: layout.node_addrs(),
            router_urls: layout.router_urls(),
            routers: local_routers(layout),
            token: Some(std::fs::read(layout.drill_token_path())?.into()),
            starter: Starter::Local(layout.dir.clone()),
        })
    }
}

/// The name of a drill that begins now.
pub fn id(scenario: &str) -> String {
    format!("{}-{scenario}", Time::from_unix_ms(now_unix_ms()).compact())
}

/// Who starts processes that have died.
#[derive(Clone, Debug)]
pub enum Starter {
    /// The local cluster of this directory.
    Local(PathBuf),
    /// A shell command, which is given TWINSET_PROCESS and TWINSET_ADDRESS.
    Command(String),
    /// A supervisor, or somebody: it is waited for.
    Others,
}

/// What is known of a drill while it is played.
pub(super) struct Play<'a> {
    pub options: &'a Options,
    pub cast: Cast,
    pub base: wait::Base,
    /// Every process that there is.
    pub everybody: Vec<Process>,
    began: Instant,
    hear: RefCell<&'a mut dyn FnMut(&str)>,
    spans: RefCell<Vec<Span>>,
    pub acts: RefCell<Vec<super::record::ActRecord>>,
    /// Processes that this drill has harmed.
    pub touched: Arc<Mutex<BTreeSet<String>>>,
}

impl Play<'_> {
    /// Milliseconds since the drill began.
    pub fn now_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Tells whoever listens, with the time.
    pub fn say(&self, text: &str) {
        (self.hear.borrow_mut())(&format!("{:>7.1} s  {text}", self.began.elapsed().as_secs_f64()));
    }

    /// A limit of time, stretched.
    pub fn stretched(&self, time: Duration) -> Duration {
        time.mul_f64(self.options.patience)
    }

    fn open_span(&self, name: &str) {
        self.close_span(None);
        let from_ms = self.now_ms();
        self.spans.borrow_mut().push(Span {
            name: name.to_owned(),
            from_ms,
            to_ms: 0,
            pause_ms: None,
            failed: None,
        });
    }

    /// Closes the last span unless it is closed.
    fn close_span(&self, failed: Option<String>) {
        if let Some(last) = self.spans.borrow_mut().last_mut().filter(|span| span.to_ms == 0) {
            last.to_ms = self.now_ms().max(1);
            last.failed = failed;
        }
    }

    async fn stages(&self) -> Result<(), Stopped> {
        for stage in &self.options.scenario.stages {
            for turn in 1..=stage.repeat {
                let name = match stage.repeat {
                    1 => stage.name.clone(),
                    times => format!("{} ({turn} of {times})", stage.name),
                };
                self.open_span(&name);
                self.say(&name);
                if let Err(reason) = self.stage(stage).await {
                    self.close_span(Some(reason.clone()));
                    return Err(Stopped::Stage { name, reason });
                }
                self.close_span(None);
            }
        }
        Ok(())
    }

    async fn stage(&self, stage: &Stage) -> Result<(), String> {
        let within = self.stretched(Duration::from_secs(stage.within_s));
        let deadline = Instant::now() + within;
        let hands = Hands { play: self, deadline };
        let acts = join_all(stage.acts.iter().map(|act| hands.act(act)));
        match tokio::time::timeout_at(deadline, acts).await {
            Ok(ended) => ended.into_iter().collect::<Result<(), String>>()?,
            Err(_) => return Err(format!("what is done in it has not ended within {within:.0?}")),
        }
        wait::until(&self.options.seeds, &stage.until, &self.cast, &self.base, deadline).await?;
        tokio::time::sleep(Duration::from_secs(stage.soak_s)).await;
        Ok(())
    }

    /// Halts plans, ends faults, starts what has died, moves sets home, and waits until all is as it was. Each of these is tried whatever
    /// came of the one before.
    async fn home(&self) -> Result<(), String> {
        let within = self.stretched(HOME);
        let until = async |conditions: &[Condition]| {
            let seeds = &self.options.seeds;
            wait::until(seeds, conditions, &self.cast, &self.base, Instant::now() + within).await
        };
        let bounded = async |act: &Act| {
            let hands = Hands { play: self, deadline: Instant::now() + within };
            let done = tokio::time::timeout(within, hands.act(act)).await;
            done.unwrap_or_else(|_| Err(format!("{} has not ended within {within:.0?}", act.text())))
        };
        let hands = Hands { play: self, deadline: Instant::now() + within };
        let mut reasons = Vec::new();
        // What is under way yet is waited for below.
        if let Err(reason) = hands.halt_plans().await {
            self.say(&format!("  {reason}"));
        }
        reasons.extend(bounded(&Act::Heal {}).await.err());
        reasons.extend(bounded(&Act::Start {}).await.err());
        reasons.extend(until(&[Condition::Leaders, Condition::Answering, Condition::NoPlan]).await.err());
        reasons.extend(self.routers_answer(Instant::now() + within).await.err());
        let hands = Hands { play: self, deadline: Instant::now() + within };
        let returned = tokio::time::timeout(within * 2, hands.return_all()).await;
        reasons.extend(returned.unwrap_or_else(|_| Err("sets are not moved home yet".to_owned())).err());
        let whole = [Condition::Leaders, Condition::Answering, Condition::Sync, Condition::Home];
        // What did not succeed on the way counts only if it shows in the end.
        until(&whole).await.map_err(|last| {
            reasons.push(last);
            reasons.join("; ")
        })?;
        self.routers_answer(Instant::now() + POLL).await
    }

    /// Waits until every router that is known takes connections.
    async fn routers_answer(&self, deadline: Instant) -> Result<(), String> {
        for router in &self.options.routers {
            while !http1::listens(&router.http, POLL * 10).await {
                if Instant::now() >= deadline {
                    return Err(format!("router {} does not answer", router.name));
                }
                tokio::time::sleep(POLL).await;
            }
        }
        Ok(())
    }
}

/// Plays a scenario to its end; `hear` gets what happens. An error only if nothing was begun.
pub fn play<'a>(
    options: &'a Options,
    hear: &'a mut dyn FnMut(&str),
) -> LocalBoxFuture<'a, anyhow::Result<Record>> {
    Box::pin(async move {
        let survey = admin::survey(&options.seeds).await;
        let catalogue = survey.catalogue()?;
        before::refuse(options, &survey).await?;
        let cast = Cast::new(catalogue, options.set, options.routers.clone())
            .map_err(|why| crate::error::usage(why, "`twinset status` shows the sets"))?;
        // Two players may begin in the same second.
        let request_id = format!("{}-{:x}", options.id, Random::new().bits());
        let (named, whose) = ((&*request_id, &*options.scenario.name), (&*options.who, &*options.why));
        let hold = Hold::begin(&options.seeds, named, options.set, whose).await?;
        let (began, began_unix_ms) = (Instant::now(), now_unix_ms());
        let everybody = [Role::HomeSite, Role::AwaySite, Role::Arbiter];
        let everybody =
            everybody.iter().filter_map(|role| cast.players(*role, &survey).ok()).flatten().collect();
        let play = Play {
            options,
            everybody,
            cast,
            base: wait::Base::of(&survey, catalogue),
            began,
            hear: RefCell::new(hear),
            spans: RefCell::default(),
            acts: RefCell::default(),
            touched: Arc::default(),
        };
        let flowing = match options.load {
            0 => None,
            rate => {
                play.say(&format!("{rate} payments per second begin"));
                let slots = catalogue.slot_table();
                let (routers, accounts) = (options.router_urls.clone(), options.accounts);
                let flow = traffic::Options { routers, rate, accounts, slots };
                match Traffic::start(&flow, began).await {
                    Ok(flowing) => Some(flowing),
                    Err(error) => {
                        // Nothing was done yet: it is not to wait for its lease.
                        let _ = hold.end(Verdict::Stopped).await;
                        return Err(error);
                    }
                }
            }
        };
        let (shown, mut looks) = watch::channel(Vec::new());
        let look = moment::look(
            options.seeds.clone(),
            options.routers.clone(),
            flowing.as_ref().map(Traffic::watch),
            began,
            shown,
        );
        let looking = AbortOnDropHandle::new(tokio::spawn(look));

        play.open_span("baseline");
        tokio::time::sleep(options.baseline).await;
        let acted_from = play.now_ms();
        let rails = options.scenario.guardrails.stretched(options.patience);
        let guard = Guard::new(&rails, &looks.borrow_and_update());
        let stopped = tokio::select! {
            played = play.stages() => played.err(),
            breach = broken(guard, looks.clone(), play.touched.clone()) => Some(Stopped::Guardrail(breach)),
            how = wanted() => Some(Stopped::Operator { how }),
            how = hold.wanted() => Some(Stopped::Operator { how }),
        };
        if let Some(why) = &stopped {
            play.close_span(Some(why.to_string()));
            play.say(&format!("the drill stops: {why}"));
        }
        play.open_span(judge::HOME);
        play.say("everything goes home");
        let home = tokio::select! {
            home = play.home() => home,
            how = wanted() => Err(format!("given up by {how}: the cluster goes on with it")),
        };
        play.close_span(home.err());
        let acted_to = play.now_ms();
        play.open_span("after");
        tokio::time::sleep(options.after).await;
        play.close_span(None);
        drop(looking);
        let moments = looks.borrow().clone();
        let record = finish(&play, flowing, moments, stopped, (acted_from, acted_to), began_unix_ms).await?;
        if !record.is_home() {
            // Its lease runs out, and the cluster sees to the rest.
            play.say("not everything is home: the cluster takes over within a minute");
        } else if let Err(reason) = hold.end(record.verdict).await {
            play.say(&format!("its end is not on record in the control set: {reason}"));
        }
        Ok(record)
    })
}

/// Waits for a breach.
async fn broken(
    mut guard: Guard,
    mut looks: watch::Receiver<Vec<Moment>>,
    touched: Arc<Mutex<BTreeSet<String>>>,
) -> Breach {
    let mut seen = looks.borrow_and_update().len();
    loop {
        if looks.changed().await.is_err() {
            // Whoever looks has ended: a drill that nobody watches is not gone on with.
            let detail = "nobody looks at the cluster any more".to_owned();
            return Breach { guardrail: "silent_s_max".to_owned(), detail };
        }
        let new: Vec<Moment> = looks.borrow_and_update().get(seen..).unwrap_or_default().to_vec();
        seen += new.len();
        let touched = touched.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(breach) = new.iter().find_map(|moment| guard.look(moment, &touched)) {
            return breach;
        }
    }
}

/// Waits until somebody wants the drill to stop.
async fn wanted() -> String {
    match tokio::signal::ctrl_c().await {
        Ok(()) => "Ctrl-C".to_owned(),
        // Without that signal there is no such wish.
        Err(_) => std::future::pending().await,
    }
}

async fn finish(
    play: &Play<'_>,
    flowing: Option<Traffic>,
    moments: Vec<Moment>,
    stopped: Option<Stopped>,
    acted_ms: (u64, u64),
    began_unix_ms: u64,
) -> anyhow::Result<Record> {
    let options = play.options;
    let ended_ms = play.now_ms();
    let (seen, settled) = match flowing {
        Some(flowing) => {
            let (seen, settled) = flowing.stop().await?;
            (Some(seen), Some(settled))
        }
        None => (None, None),
    };
    play.say("the books are compared");
    let proof = match &settled {
        Some(settled) => Some(settled.prove().await),
        None => None,
    };
    let report = verify::report(&options.seeds, BOOKS).await;
    let survey = admin::survey(&options.seeds).await;
    let books = report.map_err(|error| error.to_string());
    let spans = play.spans.take();
    let judged = Seen {
        criteria: &options.scenario.criteria,
        patience: options.patience,
        spans: &spans,
        acted_ms,
        ended_ms,
        stopped: stopped.as_ref(),
        moments: &moments,
        payments: seen.as_ref().map(|seen| seen.samples.as_slice() as &[Sample]),
        proof: proof.as_ref(),
        books: &books,
    };
    let sets = judged.sets();
    let criteria = judged.criteria(&sets);
    let timed = judged.spans();
    let moves = moves::since(&survey, began_unix_ms).await;
    let audit = survey.catalogue.as_ref().map(|catalogue| before::audit_since(catalogue, began_unix_ms));
    Ok(Record {
        format: FORMAT,
        id: options.id.clone(),
        scenario: options.scenario.clone(),
        cluster: survey.catalogue.as_ref().map(|c| c.cluster_name.clone()).unwrap_or_default(),
        set: options.set,
        home: play.cast.home.clone(),
        away: play.cast.away.clone(),
        who: options.who.clone(),
        why: options.why.clone(),
        seed: options.seed,
        began_unix_ms,
        took_ms: play.now_ms(),
        load: options.load,
        patience: options.patience,
        payments: judged.thirds(),
        seconds: judged.seconds(),
        verdict: judge::verdict(&criteria, stopped.is_some()),
        criteria,
        sets,
        acts: play.acts.take(),
        moves,
        repeated: seen.as_ref().map_or(0, |seen| seen.repeated),
        errors: seen.map(|seen| seen.errors).unwrap_or_default(),
        stopped,
        moments,
        spans: timed,
        audit: audit.unwrap_or_default(),
    })
}

/// Milliseconds since 1970.
pub fn now_unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
