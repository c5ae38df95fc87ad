//! Faults for drills: a node harms itself when whoever has the token asks, and ends each fault by itself, at its
//! deadline at the latest, whatever has become of who began it. Nothing of a fault outlives the process. Off unless
//! `[drill_faults]` of the configuration says otherwise; then the log says so at the start. Faults at named points,
//! for tests, are [`crate::faults`]. Why it is so: `docs/adr/0022-faults-for-drills.md`.
//!
//! [`harm`] says what there is; [`lines`], [`stream`] and [`platform`] are the network and the clock, the store's
//! [`Brake`] the disk, [`signals`] the process. Above: `api/drill_faults.rs`.

mod harm;
pub(crate) mod lines;
mod platform;
mod signals;
pub(crate) mod stream;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use prometheus::IntGaugeVec;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tracing::{error, warn};
use twinset_control::Catalogue;
use twinset_dispatch::drill::{self, Caller, REPLY_LEAVES, Refused, Token};
use twinset_proto::cluster::v1 as wire;
use twinset_store::Brake;

use crate::config::Config;
use crate::faults;
use crate::platform::{Platform, blocking};
pub use harm::KINDS;
use harm::{Far, Harm};
use lines::Lines;
use platform::HarmableMachine;

/// The faults of a node. It is shared by all who need it; [`DrillFaults::run`] ends them.
pub struct DrillFaults {
    token: Token,
    me: Caller,
    /// Below what is harmed.
    below: Arc<dyn Platform>,
    lines: Arc<Lines>,
    ahead_ns: Arc<AtomicI64>,
    brake: Brake,
    active: IntGaugeVec,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    last_id: u64,
    faults: BTreeMap<u64, Active>,
}

struct Active {
    harm: Harm,
    asked: wire::DrillFault,
    deadline_ms: u32,
    until: Instant,
    /// When the process is to get its signal, if it is to get one.
    strikes: Option<Instant>,
    who: String,
    why: String,
}

/// A fault that has ended before its deadline.
pub struct Ended {
    /// The id that it had.
    pub id: u64,
    /// As it was asked for.
    pub fault: wire::DrillFault,
    /// How long it was to act.
    pub deadline_ms: u32,
}

impl State {
    fn check_alone(&self, kind: &'static str) -> Result<(), Refused> {
        match self.faults.iter().find(|(_, active)| active.harm.kind() == kind) {
            Some((&id, _)) => Err(Refused::Twice { kind, id }),
            None => Ok(()),
        }
    }
}

impl Active {
    fn left(&self) -> Duration {
        self.until.saturating_duration_since(Instant::now())
    }
}

impl DrillFaults {
    /// None unless the configuration asks for it. `brake` is of the node's store, `active` the gauge of the kinds
    /// that act.
    pub fn load(
        config: &Config,
        below: Arc<dyn Platform>,
        brake: Brake,
        active: IntGaugeVec,
    ) -> Result<Option<Arc<DrillFaults>>, drill::Error> {
        let Some(token) = Token::load(&config.drill_faults)? else { return Ok(None) };
        warn!("drill faults are enabled: whoever has the token can make this node harm itself");
        let (name, site) = (config.node.name.clone(), config.node.site.clone());
        Ok(Some(Arc::new(DrillFaults {
            token,
            lines: Lines::new(name.clone()),
            me: Caller { name, site, router: false },
            below,
            ahead_ns: Arc::default(),
            brake,
            active,
            state: Mutex::default(),
            changed: Notify::new(),
        })))
    }

    /// The machine, as the node is to see it.
    pub(crate) fn machine(&self) -> Arc<dyn Platform> {
        Arc::new(HarmableMachine {
            below: self.below.clone(),
            lines: self.lines.clone(),
            ahead_ns: self.ahead_ns.clone(),
            user_agent: self.me.user_agent(),
        })
    }

    /// Where nodes are is looked up here from now on.
    pub(crate) fn follow(&self, catalogue: watch::Receiver<Option<Arc<Catalogue>>>) {
        self.lines.follow(catalogue);
    }

    /// The node's connections.
    pub(crate) fn lines(&self) -> &Arc<Lines> {
        &self.lines
    }

    /// Whether a fault can begin now, and the id that it will have: what is to be on record before it acts.
    pub fn prepare(&self, request: &wire::BeginFaultRequest) -> Result<u64, Refused> {
        self.admit(request)?;
        let mut state = self.state.lock();
        let harm = self.harm(request)?;
        state.check_alone(harm.kind())?;
        // Of the time, so that an id from before a restart is not taken for a new one.
        state.last_id = (self.below.now_unix_ns() / 1_000_000).max(state.last_id + 1);
        Ok(state.last_id)
    }

    fn admit(&self, request: &wire::BeginFaultRequest) -> Result<Duration, Refused> {
        self.token.admit(request).inspect_err(|refused| {
            warn!(who = request.who, %refused, "a drill's fault was refused");
        })
    }

    fn harm(&self, request: &wire::BeginFaultRequest) -> Result<Harm, Refused> {
        let asked = request.fault.as_ref();
        let asked = asked.ok_or_else(|| Refused::Senseless("no fault was named".to_owned()))?;
        let harm = Harm::asked(asked).map_err(Refused::Senseless)?;
        self.check_far(&harm)?;
        Ok(harm)
    }

    /// Begins a fault that was prepared under an id, by which it can be ended before its deadline.
    pub fn begin(&self, id: u64, request: wire::BeginFaultRequest) -> Result<(), Refused> {
        let time = self.admit(&request)?;
        let harm = self.harm(&request)?;
        let wire::BeginFaultRequest { fault, deadline_ms, who, why, .. } = request;
        let asked = fault.unwrap_or_default();
        let kind = harm.kind();
        let now = Instant::now();
        let until = now + time;
        let strikes = matches!(harm, Harm::Kill | Harm::Pause).then(|| until.min(now + REPLY_LEAVES));
        let mut state = self.state.lock();
        state.check_alone(kind)?;
        warn!(id, kind, fault = ?harm, ?time, who, why, "a drill's fault begins: this node harms itself");
        match &harm {
            Harm::Disk(strain) => self.brake.press(*strain, until.into_std()),
            Harm::StepClock(by_ns) => self.ahead_ns.store(*by_ns, Ordering::Relaxed),
            Harm::Drop(_) | Harm::Delay(..) | Harm::Silence => self.lines.cut(id, &harm),
            Harm::Kill | Harm::Pause => {}
        }
        self.active.with_label_values(&[kind]).set(1);
        state.faults.insert(id, Active { harm, asked, deadline_ms, until, strikes, who, why });
        drop(state);
        self.changed.notify_one();
        Ok(())
    }

    /// Ends a fault before its deadline, and gives what it was.
    pub fn end(&self, request: &wire::EndFaultRequest) -> Result<Ended, Refused> {
        self.token.check(&request.token)?;
        let id = request.id;
        let was = self.state.lock().faults.get(&id).map(|active| Ended {
            id,
            fault: active.asked.clone(),
            deadline_ms: active.deadline_ms,
        });
        let ended = self.end_one(id, "asked for");
        self.changed.notify_one();
        was.filter(|_| ended).ok_or(Refused::Over { id })
    }

    /// What acts now, in the order of its beginning.
    pub fn list(&self) -> Vec<wire::ActiveFault> {
        let state = self.state.lock();
        let one = |(&id, active): (&u64, &Active)| wire::ActiveFault {
            id,
            fault: Some(active.asked.clone()),
            left_ms: u32::try_from(active.left().as_millis()).unwrap_or(u32::MAX),
            who: active.who.clone(),
            why: active.why.clone(),
        };
        state.faults.iter().map(one).collect()
    }

    /// Ends each fault at its deadline, for as long as it runs.
    pub(crate) async fn run(self: Arc<Self>) {
        loop {
            let (strikes, next) = self.due();
            if let Some((id, left)) = strikes {
                self.strike(id, left).await;
                continue;
            }
            let deadline = async {
                match next {
                    Some(next) => tokio::time::sleep_until(next).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = deadline => {}
                () = self.changed.notified() => {}
            }
        }
    }

    /// Ends all, because the process is about to end.
    pub(crate) fn end_all(&self) {
        let ids: Vec<u64> = self.state.lock().faults.keys().copied().collect();
        for id in ids {
            self.end_one(id, "the process ends");
        }
    }

    /// Ends what is over. Then a fault whose process is to get its signal now, with its time, and the next moment to
    /// look.
    fn due(&self) -> (Option<(u64, Duration)>, Option<Instant>) {
        let now = Instant::now();
        let over: Vec<u64> = {
            let state = self.state.lock();
            let struck = state.faults.iter().filter(|(_, active)| active.strikes.is_none());
            let over = struck.filter(|(_, active)| active.until <= now);
            over.map(|(id, _)| *id).collect()
        };
        for id in over {
            self.end_one(id, "its deadline has come");
        }
        let state = self.state.lock();
        let mut waiting =
            state.faults.iter().filter(|(_, active)| active.strikes.is_some_and(|at| at <= now));
        let strikes = waiting.next().map(|(id, active)| (*id, active.left()));
        let moments = state.faults.values().map(|active| active.strikes.unwrap_or(active.until));
        (strikes, moments.min())
    }

    async fn strike(&self, id: u64, left: Duration) {
        let harm = self.state.lock().faults.get_mut(&id).map(|active| {
            active.strikes = None;
            active.harm.clone()
        });
        match harm {
            Some(Harm::Kill) => faults::strike(libc::SIGKILL),
            Some(Harm::Pause) => match blocking(&*self.below, move || signals::pause(left)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => error!(id, %error, "the process cannot be paused"),
                Err(error) => error!(id, %error, "the process cannot be paused"),
            },
            // It was ended before.
            _ => {}
        }
    }

    fn end_one(&self, id: u64, because: &str) -> bool {
        let mut state = self.state.lock();
        let Some(Active { harm, .. }) = state.faults.remove(&id) else { return false };
        match &harm {
            Harm::Disk(strain) => self.brake.release(*strain),
            Harm::StepClock(_) => self.ahead_ns.store(0, Ordering::Relaxed),
            Harm::Drop(_) | Harm::Delay(..) | Harm::Silence => self.lines.mend(id),
            Harm::Kill | Harm::Pause => {}
        }
        self.active.with_label_values(&[harm.kind()]).set(0);
        warn!(id, kind = harm.kind(), because, "a drill's fault has ended");
        true
    }

    /// A cut from nobody would be no drill.
    fn check_far(&self, harm: &Harm) -> Result<(), Refused> {
        let (Harm::Drop(link) | Harm::Delay(link, _)) = harm else { return Ok(()) };
        let senseless = |reason: String| Err(Refused::Senseless(reason));
        let Some(catalogue) = self.lines.catalogue() else {
            return senseless("this node has no place in a cluster yet: it knows no other node".to_owned());
        };
        match &link.far {
            Far::Process(node) if *node == self.me.name => {
                senseless(format!("{node} is this node: what it says to itself goes over no network"))
            }
            Far::Process(node) if !catalogue.nodes.contains_key(node) => {
                senseless(format!("the catalogue has no node {node}"))
            }
            Far::Site(site) if catalogue.nodes.values().all(|node| node.site != *site) => {
                senseless(format!("the catalogue has no site {site}"))
            }
            _ => Ok(()),
        }
    }
}
