//! A set that was recovered from DEGRADED is brought together with its peers before it answers clients (ADR 30): they may have seen
//! the end of its log, which it has lost. Its leader asks each of them, and itself, what is known; what another has booked it
//! books, and what nobody has is given up. Whatever is done stands in the logs, so that the next leader asks anew and goes on.
//!
//! - `judgement`: what follows from what all know, pure.
//!
//! A peer is asked by a step first, which comes into its log behind whatever the old life has said: from then on it takes in nothing
//! more of that. It is asked until nothing has followed twice: what it decides meanwhile by words of the old life comes to an end.

mod judgement;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::{debug, info, warn};
use twinset_control::{Catalogue, Set};
use twinset_dispatch::pending::Origin;
use twinset_ledger::{Command, Outcome, Position, Rejection, Step, TransactionId, codec};
use twinset_proto::cluster::v1 as wire;
use twinset_store::{Question, Recollection};

use self::judgement::{Known, Proposals, judge};
use crate::across::Ways;
use crate::control_client::ControlClient;
use crate::duty::{Duty, Leads};
use crate::own_commands;
use crate::platform;

/// For one question to a peer.
const WAIT: Duration = Duration::from_secs(10);
/// Before all are asked anew, where something did not answer.
const AGAIN_AFTER: Duration = Duration::from_millis(500);
/// How often a part of an answer is asked for.
const TRIES: u32 = 3;
/// Commands that are proposed together.
const AT_ONCE: usize = 500;
/// How often nothing must have followed.
const QUIET: u32 = 2;
/// Who the control set's log says it was.
const WHO: &str = "reconciliation";

/// What the task of one hosted replica needs.
pub struct Reconciler {
    /// Of its set's leader.
    pub duty: Duty,
    /// The way to other sets.
    pub ways: Arc<Ways>,
    /// Says what was recovered.
    pub catalogue: watch::Receiver<Option<Arc<Catalogue>>>,
    /// Where it is recorded that the set is brought together.
    pub control: ControlClient,
}

/// One round of bringing it together is over, whatever came of it.
struct Ended;

/// What clients of such a set are told.
pub const UNRECONCILED: &str = "the set was recovered and is being brought together with its peers";

/// Whether a set answers no client yet.
pub fn is_closed(catalogue: &watch::Receiver<Option<Arc<Catalogue>>>, set: u32) -> bool {
    catalogue.borrow().as_ref().is_some_and(|all| all.is_unreconciled(set))
}

impl Reconciler {
    /// Runs until the node ends.
    pub async fn run(self) {
        let mut leads = self.duty.leads();
        while leads.begin().await {
            self.lead(&mut leads).await;
        }
    }

    async fn lead(&self, leads: &mut Leads) {
        let mut course: Option<BoxFuture<'_, ()>> = None;
        loop {
            let ended = async {
                let Some(course) = &mut course else { return std::future::pending().await };
                course.await;
                Some(Ended)
            };
            match leads.look(ended).await {
                None => return,
                Some(Some(Ended)) => course = None,
                Some(None) => {}
            }
            let catalogue = self.catalogue.borrow().clone();
            let own = self.duty.fence.set;
            let is_mine = |set: &Set| set.is_unreconciled() && set.incarnation == self.duty.fence.incarnation;
            if course.is_none()
                && let Some(catalogue) = catalogue.filter(|all| all.sets.get(&own).is_some_and(is_mine))
            {
                course = Some(self.course(catalogue).boxed());
            }
        }
    }

    async fn course(&self, catalogue: Arc<Catalogue>) {
        if let Err(why) = self.bring_together(&catalogue).await {
            warn!(set = self.duty.fence.set, why, "not brought together with its peers yet");
            // Not an answer to anything: who did not answer is left alone for a moment.
            tokio::time::sleep(AGAIN_AFTER).await;
        }
    }

    async fn bring_together(&self, catalogue: &Catalogue) -> Result<(), String> {
        let own = self.duty.fence.set;
        let set = catalogue.sets.get(&own).ok_or("the set is not in the catalogue")?;
        let recovered = set.recovered.as_ref().ok_or("the set was never recovered")?;
        let (mut quiet, mut proposed, mut left_open) = (0, 0, 0);
        while quiet < QUIET {
            let mut all = Vec::new();
            for peer in catalogue.sets.values().filter(|peer| peer.id != own) {
                all.push(self.known_of(set, peer).await.map_err(|why| format!("set {}: {why}", peer.id))?);
            }
            let proposals = judge(own, self.duty.fence.incarnation, all, |attempt| self.stands(attempt))?;
            let wanted = proposals.count();
            let taken = self.carry_out(proposals).await?;
            proposed += taken;
            // What no log takes, it will not take the next time either: it stays open, and is said.
            quiet = if taken == 0 { quiet + 1 } else { 0 };
            left_open = wanted - taken;
        }
        if left_open > 0 {
            warn!(set = own, left_open, "not all that was lost finds its place; `twinset indoubt` shows it");
        }
        let command = twinset_control::Command::EndReconciliation {
            set: own,
            id: recovered.id,
            who: WHO.to_owned(),
            why: format!("{proposed} steps were lost here and known to others, {left_open} find no place"),
        };
        self.control.propose(&command).await.map_err(|error| error.to_string())?;
        info!(
            set = own,
            incarnation = self.duty.fence.incarnation,
            proposed,
            "brought together with its peers"
        );
        Ok(())
    }

    /// What a peer knows of this set, and this set of that.
    async fn known_of(&self, set: &Set, peer: &Set) -> Result<Known, String> {
        let fence = &self.duty.fence;
        self.follow(peer.id).await?;
        let mut theirs = Vec::new();
        let mut question = self.duty.state.question_to(peer.id, set.lives.clone());
        let mut from = Some(Position(0));
        while let Some(at) = from {
            let part = self.part(peer.id, &question, at).await?;
            for statement in part.statements {
                // What stands here is most of it, and need not be kept.
                let is_here = match &statement {
                    Command::Step { attempt, step: Step::Restore(_) } => self.stands(*attempt)?.1,
                    _ => false,
                };
                theirs.extend((!is_here).then_some(statement));
            }
            from = part.next;
        }
        debug!(set = fence.set, peer = peer.id, statements = theirs.len(), "a peer has said what it knows");
        question = judgement::turned(&theirs, fence.set, peer.id, peer.lives.clone())?;
        let mut ours = Vec::new();
        let mut from = Some(Position(0));
        while let Some(at) = from {
            let (state, question) = (self.duty.state.clone(), question.clone());
            let read = move || state.recollect(&question, at);
            let read = platform::blocking(&*fence.platform, read).await.map_err(|error| error.to_string())?;
            let part = read.map_err(|fault| fault.to_string())?.value;
            ours.extend(part.statements);
            from = part.next;
        }
        Ok(Known { peer: peer.id, theirs, ours })
    }

    /// A part of an answer; it is asked for once more, as whoever answers may change.
    async fn part(&self, peer: u32, question: &Question, at: Position) -> Result<Recollection, String> {
        let mut tries = 0;
        loop {
            tries += 1;
            match self.ways.recollect(peer, question, at, Instant::now() + WAIT).await {
                Err(why) if tries < TRIES => debug!(peer, why, "a part is asked for once more"),
                answer => return answer,
            }
        }
    }

    /// Comes into the peer's log behind all that the old life has said there, and does nothing.
    async fn follow(&self, peer: u32) -> Result<(), String> {
        let fence = &self.duty.fence;
        let position = Position(0);
        let attempt = TransactionId { set: fence.set, incarnation: fence.incarnation, position };
        self.ask(peer, &[Command::Step { attempt, step: Step::Abort }]).await.map(drop)
    }

    async fn ask(&self, peer: u32, commands: &[Command]) -> Result<Vec<Outcome>, String> {
        let fence = &self.duty.fence;
        let encoded = |command: &Command| {
            let mut bytes = Vec::new();
            codec::encode_command(command, &mut bytes);
            Bytes::from(bytes)
        };
        let from = Origin::Set { set: fence.set, incarnation: fence.incarnation };
        let commands = commands.iter().map(encoded).collect();
        let answers = self.ways.ask(peer, from, commands, Instant::now() + WAIT).await?;
        let outcomes = answers.iter().map(|bytes| codec::decode_outcome(bytes));
        outcomes.collect::<Result<_, _>>().map_err(|error| error.to_string())
    }

    fn stands(&self, attempt: TransactionId) -> Result<(Option<bool>, bool), String> {
        self.duty.state.stands(attempt).map_err(|fault| fault.to_string())
    }

    /// Puts them into the logs; gives how many of them these have taken.
    async fn carry_out(&self, Proposals { own, peers }: Proposals) -> Result<usize, String> {
        let mut taken = 0;
        for commands in sound(own).chunks(AT_ONCE) {
            let done = own_commands::decide(&self.duty.proposer, commands).await;
            taken += count(&done.ok_or("the own log does not take it in")?);
        }
        for (peer, commands) in peers {
            for commands in sound(commands).chunks(AT_ONCE) {
                let done = self.ask(peer, commands).await.map_err(|why| format!("set {peer}: {why}"))?;
                taken += count(&done);
            }
        }
        Ok(taken)
    }
}

/// Those that may be put into a log: what is malformed there stops every replica. They come of what other sets say.
fn sound(commands: Vec<Command>) -> Vec<Command> {
    let is_sound = |command: &Command| match command.validate() {
        Ok(()) => true,
        Err(error) => {
            warn!(?command, %error, "what peers say does not fit together; it is left open");
            false
        }
    };
    commands.into_iter().filter(is_sound).collect()
}

/// What did not fit in what stands in the log may fit later, or never.
fn count(outcomes: &[Outcome]) -> usize {
    let refused = |outcome: &Outcome| matches!(outcome.result, Err(Rejection::StepOutOfPlace { .. }));
    outcomes.iter().filter(|outcome| !refused(outcome)).count()
}

/// A question in its form for the wire, and back.
pub mod form {
    use super::*;

    /// As it is sent.
    pub fn encode(question: &Question, from: Position) -> wire::Recollect {
        wire::Recollect {
            of: question.of,
            ends: question.ends.clone(),
            asking: question.asking.iter().map(ToString::to_string).collect(),
            taken: question.taken.iter().map(|(incarnation, taken)| (*incarnation, *taken)).collect(),
            from: from.0,
        }
    }

    /// As it was sent; the error is what is wrong with it.
    pub fn decode(asked: wire::Recollect) -> Result<(Question, Position), String> {
        let asking = asked.asking.iter().map(|id| id.parse::<TransactionId>().map_err(|e| e.to_string()));
        let question = Question {
            of: asked.of,
            ends: asked.ends,
            asking: asking.collect::<Result<_, _>>()?,
            taken: asked.taken.into_iter().collect(),
        };
        Ok((question, Position(asked.from)))
    }
}
