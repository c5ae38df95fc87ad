//! The planned switch of one set's home, carried out by the node that leads the set: check, record, membership, pause,
//! catch-up, transfer, resume, record. openraft's transfer is fire and forget; everything that makes it safe and short is
//! here. Any failure before the transfer gives writes back at once. What is left open when this node dies is finished
//! or undone by the set's next leader (`crate::keeper`).

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;
use tracing::{info, warn};
use twinset_control::{Catalogue, Command, Durability, Effect, Proof, Set};
use twinset_proto::cluster::v1 as wire;

use crate::catalogue::CatalogueCell;
use crate::control_client::ControlClient;
use crate::faults::{self, Point};
use crate::gate::Gate;
use crate::handover::{self, Step};
use crate::raft::{Group, Role};
use crate::set::{Ledger, Replica};

/// Entries that the target may lack before the pause begins.
const LAG_MAX: u64 = 2000;
/// A target that has not answered a heartbeat for longer than this is not there.
const SILENCE_MAX: Duration = Duration::from_millis(500);
/// How long the targets may take to be there, and to be known to follow: one that has just been busy answers soon, a new leader
/// soon knows, and nothing waits for it meanwhile.
const TARGETS_MAX: Duration = Duration::from_secs(2);
/// For the membership change under load.
const MEMBERSHIP_MAX: Duration = Duration::from_secs(10);

/// Why a switch did not happen. The text says what to do next.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A pre-check says no; nothing was touched.
    #[error("pre-check {check}: {reason}")]
    Check {
        /// Its name.
        check: &'static str,
        /// What it found.
        reason: String,
    },
    /// A step failed, and the set is as before: it has committed its old membership again.
    #[error("{failed}; writes go on where they were")]
    Undone {
        /// The step.
        failed: Failed,
    },
    /// A step failed, and the undoing did not succeed here. The set's leader goes on with it.
    #[error(
        "{failed}; not undone yet: {undo}. The set's leader goes on to settle it as soon as it can commit; \
         `twinset status` shows when"
    )]
    Open {
        /// The step.
        failed: Failed,
        /// Why it could not be undone here.
        undo: String,
    },
}

/// A step that did not succeed.
#[derive(Debug, thiserror::Error)]
#[error("{step}: {reason}")]
pub struct Failed {
    /// Which.
    pub step: &'static str,
    /// What happened.
    pub reason: String,
}

/// What a switch needs of the node.
pub struct Context {
    /// The set's replica on this node.
    pub replica: Arc<Replica>,
    /// The catalogue.
    pub cell: CatalogueCell,
    /// The control set.
    pub control: ControlClient,
    /// This node's name.
    pub me: String,
}

/// What was asked for.
pub struct Request {
    /// The new home.
    pub to: String,
    /// Who asks.
    pub who: String,
    /// What speaks for that.
    pub proof: Proof,
    /// Why.
    pub why: String,
    /// Only the checks.
    pub dry_run: bool,
    /// The plan that it is a step of.
    pub plan: Option<u64>,
}

/// Tells the operator where the switch is. A watcher that has gone away stops nothing.
pub struct Reporter {
    began: Instant,
    progress: mpsc::Sender<wire::SwitchProgress>,
}

impl Reporter {
    /// Reports to `progress`.
    pub fn new(progress: mpsc::Sender<wire::SwitchProgress>) -> Self {
        Reporter { began: Instant::now(), progress }
    }

    fn say(&self, phase: &str, detail: impl Into<String>, pause: Option<Duration>, failed: bool) {
        let progress = wire::SwitchProgress {
            phase: phase.into(),
            detail: detail.into(),
            elapsed_us: micros(self.began.elapsed()),
            pause_us: pause.map_or(0, micros),
            failed,
        };
        // The operator may have hung up; the switch goes on.
        let _ = self.progress.try_send(progress);
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// Carries out a switch and reports its end.
pub async fn run(context: Context, request: Request, reporter: Reporter) {
    match steps(&context, &request, &reporter).await {
        Ok(Some(pause)) => {
            info!(set = context.replica.fence.set, to = request.to, pause_us = micros(pause), "switched");
            reporter.say(
                "done",
                format!("set {} is at home in {}", context.replica.fence.set, request.to),
                Some(pause),
                false,
            );
        }
        Ok(None) => reporter.say("done", "all checks pass; nothing was changed", None, false),
        Err(error) => {
            warn!(set = context.replica.fence.set, to = request.to, %error, "switch given up");
            let phase = if matches!(error, Error::Open { .. }) { "open" } else { "aborted" };
            reporter.say(phase, error.to_string(), None, true);
        }
    }
}

async fn steps(context: &Context, request: &Request, reporter: &Reporter) -> Result<Option<Duration>, Error> {
    let set_no = context.replica.fence.set;
    let group = &context.replica.group;
    let ledger = context.replica.ledger().ok_or_else(|| check("set", "the control set has no home"))?;
    let catalogue = context.cell.get().ok_or_else(|| check("catalogue", "no catalogue yet"))?;
    let set = catalogue.sets.get(&set_no).ok_or_else(|| check("set", "not in the catalogue"))?;
    let check_all = || checks(context, ledger, &catalogue, set, &request.to);
    let targets = unless_answered(&context.replica.fence.gate, check_all).await?;
    reporter.say("check", format!("targets {targets:?}"), None, false);
    if request.dry_run {
        return Ok(None);
    }

    let begin = Command::BeginSwitch {
        set: set_no,
        to: request.to.clone(),
        owner: context.me.clone(),
        who: request.who.clone(),
        why: request.why.clone(),
        expected_epoch: set.epoch,
        plan: request.plan,
    };
    let reply = context
        .control
        .propose_for(&request.proof, &begin)
        .await
        .map_err(|e| check("record", e.to_string()))?;
    let Effect::SwitchBegun { id, keep } = reply.effect else {
        return Err(check("record", "the control set answered something else"));
    };
    reporter.say("record", format!("switch {id}"), None, false);
    faults::reached(Point::SwitchRecorded);

    let (end, outcome) = match move_set(context, ledger, set, (&targets, keep), reporter).await {
        Ok(pause) => (Command::CompleteSwitch { set: set_no, id }, Ok(Some(pause))),
        Err(failed) => {
            if let Err(undo) = restore(group, &catalogue, set).await {
                return Err(Error::Open { failed, undo });
            }
            let reason = shorten(&failed.to_string());
            (Command::AbortSwitch { set: set_no, id, reason }, Err(Error::Undone { failed }))
        }
    };
    match context.control.propose(&end).await {
        Ok(_) => faults::reached(Point::SwitchCompleted),
        // The set's leader sees the open intent and settles it.
        Err(error) => warn!(set = set_no, id, %error, "the end of the switch is not recorded yet"),
    }
    outcome
}

fn shorten(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(200).collect()
}

fn check(check: &'static str, reason: impl Into<String>) -> Error {
    Error::Check { check, reason: reason.into() }
}

fn failed(step: &'static str, reason: impl Into<String>) -> Failed {
    Failed { step, reason: reason.into() }
}

/// The check that is met by whoever has answered lately.
const TARGETS: &str = "targets";
/// The check that is met by whoever is known to follow. A new leader learns that from a few answers of each replica.
const LAG: &str = "lag";

/// What `check_all` finds; while it is only what a target's answers will tell, it is asked again for a while.
async fn unless_answered<T>(gate: &Gate, check_all: impl Fn() -> Result<T, Error>) -> Result<T, Error> {
    let until = Instant::now() + TARGETS_MAX;
    let mut contacted = gate.contacted();
    loop {
        let found = check_all();
        let waits = matches!(&found, Err(Error::Check { check: TARGETS | LAG, .. }));
        if !waits || tokio::time::timeout_at(until, contacted.changed()).await.is_err() {
            return found;
        }
    }
}

/// The replicas of the new home, best first; or the first thing that is wrong.
fn checks(
    context: &Context,
    ledger: &Ledger,
    catalogue: &Catalogue,
    set: &Set,
    to: &str,
) -> Result<Vec<u64>, Error> {
    let group = &context.replica.group;
    let view = group.view().borrow().clone();
    if view.role != Role::Leader {
        return Err(check("leader", "this node does not lead the set any more; ask again"));
    }
    if !catalogue.is_data_site(to) {
        return Err(check("site", format!("{to} is no data site of this cluster")));
    }
    if set.home == to {
        return Err(check("home", format!("the set is at home in {to} already")));
    }
    if let Some(other) = &set.switch {
        return Err(check("switch", format!("switch {} of {} is under way", other.id, other.owner)));
    }
    if set.durability != Durability::Sync || ledger.state.durability() != twinset_ledger::Durability::Sync {
        return Err(check("durability", "the set is DEGRADED; return it to SYNC first"));
    }
    if view.changing || view.voters != catalogue.placement(set).voters {
        return Err(check("membership", "a change of membership is under way; ask again"));
    }
    let (progress, own) = (group.progress(), context.replica.fence.replica);
    let mut targets: Vec<(u64, u64)> = Vec::new();
    for replica in set.replicas.iter().filter(|r| catalogue.site_of_node(&r.node) == Some(to)) {
        let id = replica.id;
        if id == own {
            // An election has been there before.
            targets.push((0, id));
            continue;
        }
        if !view.voters.contains(&id) && !view.learners.contains(&id) {
            return Err(check("replicas", format!("replica {id} on {} is not a member yet", replica.node)));
        }
        // A dead replica of an idle set lacks nothing; and a majority that has moved to it commits nothing.
        let silence = context.replica.fence.gate.silence(id);
        if silence.is_none_or(|silence| silence > SILENCE_MAX) {
            let last =
                silence.map_or("never".into(), |silence| format!("last {} ms ago", silence.as_millis()));
            return Err(check(TARGETS, format!("replica {id} on {} does not answer ({last})", replica.node)));
        }
        let lag = progress.lag(id);
        if lag > LAG_MAX {
            return Err(check(LAG, format!("replica {id} on {} lacks {lag} entries", replica.node)));
        }
        targets.push((lag, id));
    }
    if targets.len() < 2 {
        return Err(check("replicas", format!("the set has fewer than two replicas in {to}")));
    }
    targets.sort_unstable();
    // A voter of the new home is already part of every commit: it goes first.
    targets.sort_by_key(|(_, id)| !view.voters.contains(id));
    Ok(targets.into_iter().map(|(_, id)| id).collect())
}

async fn move_set(
    context: &Context,
    ledger: &Ledger,
    set: &Set,
    (targets, keep): (&[u64], u64),
    reporter: &Reporter,
) -> Result<Duration, Failed> {
    let group = &context.replica.group;
    let voters = targets.iter().copied().chain([keep]).collect();
    faults::reached_when(Point::SwitchJoint, group.view(), |view| view.changing);
    let change = tokio::time::timeout(MEMBERSHIP_MAX, group.change_voters(voters)).await;
    change
        .map_err(|_| failed("membership", "not committed in time"))?
        .map_err(|e| failed("membership", format!("{e:?}")))?;
    reporter.say("membership", format!("the majority is in the new home; voter {keep} stays"), None, false);
    faults::reached(Point::SwitchMembership);

    if targets.contains(&context.replica.fence.replica) {
        reporter.say(
            "transfer",
            format!("the leader of set {} is in the new home already", set.id),
            None,
            false,
        );
        return Ok(Duration::ZERO);
    }
    let say = |step: Step, detail: String| {
        let (phase, point) = match step {
            Step::Paused => ("pause", Point::SwitchPaused),
            Step::CaughtUp => ("catch-up", Point::SwitchCaughtUp),
            Step::Asked => ("ask", Point::SwitchAsked),
        };
        reporter.say(phase, detail, None, false);
        faults::reached(point);
    };
    let (leader, paused) = handover::hand_over(group, Some(&ledger.proposer), targets, &say)
        .await
        .map_err(|error| failed(error.step, error.reason))?;
    if !targets.contains(&leader) {
        return Err(failed("transfer", format!("replica {leader} of the old home was elected instead")));
    }
    faults::reached(Point::SwitchTransferred);
    reporter.say("transfer", format!("set {} has a leader in the new home", set.id), Some(paused), false);
    Ok(paused)
}

/// Puts the voters back, if this replica still leads; otherwise the next leader does.
async fn restore(group: &Group, catalogue: &Catalogue, set: &Set) -> Result<(), String> {
    let undone = tokio::time::timeout(MEMBERSHIP_MAX, async {
        // A change that is not committed cannot be taken back, only followed by another one.
        let mut view = group.view();
        let settled = view.wait_for(|view| view.role != Role::Leader || !view.changing).await;
        if settled.is_ok_and(|view| view.role == Role::Leader) {
            group.change_voters(catalogue.placement(set).voters).await.map_err(|error| format!("{error:?}"))
        } else {
            Err("this node does not lead the set any more".into())
        }
    });
    undone.await.unwrap_or_else(|_| Err("the set commits nothing at the moment".into()))
}
