//! Leaders: they propose, send, hear, wait and die. All that they know of an attempt is in their set's books, or they have
//! heard it and will hear it again.

use std::collections::BTreeSet;

use proptest::sample::Index;
use twinset_ledger::attempt::{Attempt, Ballot, Coordination, Part, Role, Vote};
use twinset_ledger::buffer::BufferStep;
use twinset_ledger::{Command, Effect, Outcome, Position, Rejection, State, Step, TransactionId};

use super::losses::is_on_recovery;
use super::{Message, SETS, World};

impl World {
    fn send(&mut self, to: u32, attempt: TransactionId, step: Step) {
        self.network.push(Message::Step { to, attempt, step });
    }

    fn propose(&mut self, attempt: TransactionId, set: u32, step: Step) {
        self.proposed.entry(set).or_default().push((Command::Step { attempt, step }, None));
    }

    fn coordination(&self, attempt: TransactionId) -> Option<(&Attempt, &Coordination)> {
        match self.state(attempt.set).attempts().get(attempt)? {
            open @ Attempt { role: Role::Coordinator(coordination), .. } => Some((open, coordination)),
            _ => None,
        }
    }

    /// What a leader has heard, and what it has proposed, goes with it. What is in its set's log stays.
    pub(super) fn crash(&mut self, set: u32) {
        self.votes.retain(|attempt, _| attempt.set != set);
        self.parts.retain(|attempt, _| attempt.set != set);
        self.withdrawn.retain(|since, _| since.set != set);
        let lost = self.proposed.remove(&set).unwrap_or_default().into_iter().map(|(command, _)| command);
        let lost: Vec<Command> = lost.collect();
        self.saw_crash_of_tries(set, &lost);
        self.saw_crash_of_batches(&lost, "before");
        for command in &lost {
            match command {
                Command::Step { step, .. } => self.saw(format!("crash before {}", name(step))),
                Command::BufferStep { step: BufferStep::Credit(_), .. } => self.saw("crash before credit"),
                Command::BufferStep { step: BufferStep::Acknowledge { .. }, .. } => {
                    self.saw("crash before acknowledge");
                }
                Command::Begin(_) => self.saw("crash before begin"),
                _ => {}
            }
        }
        let asking = |attempt: &Attempt| match &attempt.role {
            Role::Participant { .. } => "prepared",
            Role::Coordinator(Coordination { decided: None, .. }) => "asking",
            Role::Coordinator(_) => "decided",
        };
        let open: Vec<&str> = self.state(set).attempts().iter().map(|(_, attempt)| asking(attempt)).collect();
        open.into_iter().for_each(|role| self.saw(format!("crash while {role}")));
    }

    /// The leader has died, and nobody has heard of this.
    pub(super) fn saw_untold(&mut self, command: &Command, outcome: &Outcome) {
        self.saw_untold_try(command, outcome);
        match (command, &outcome.result) {
            (Command::Step { step, .. }, Ok(_)) if !outcome.replayed => {
                self.saw(format!("crash after {}", name(step)));
            }
            (_, Ok(Effect::Begun)) if !outcome.replayed => self.saw("crash after begin"),
            (Command::Begin(_), Ok(Effect::Buffered { .. })) => self.saw("crash after paying"),
            (Command::BufferStep { step: BufferStep::Credit(_), .. }, Ok(Effect::Posted(_))) => {
                self.saw("crash after credit");
            }
            _ => {}
        }
    }

    pub(super) fn deliver(&mut self, message: Message) {
        match message {
            Message::Step { to, attempt, step } => self.propose(attempt, to, step),
            Message::Vote(attempt, vote) => {
                let refused = vote.said.is_err();
                let votes = self.votes.entry(attempt).or_default();
                votes.insert(vote.set, vote);
                let heard: Vec<Vote> = votes.values().cloned().collect();
                let all = |(_, coordination): (_, &Coordination)| {
                    heard.len() == coordination.other_sets(attempt.set).len()
                };
                if refused || self.coordination(attempt).is_some_and(all) {
                    self.propose(attempt, attempt.set, Step::Decide(Ballot::Votes(heard)));
                }
            }
            Message::Part(attempt, part) => {
                let parts = self.parts.entry(attempt).or_default();
                parts.insert(part.set, part);
                let parts: Vec<Part> = parts.values().cloned().collect();
                if let Some((_, coordination)) = self.coordination(attempt)
                    && parts.len() == coordination.other_sets(attempt.set).len()
                {
                    self.propose(attempt, attempt.set, Step::Settle { parts });
                }
            }
            Message::Buffer { to, by, step } => self.propose_buffer_step(to, by, step),
            Message::Answer { from, by, step, result } => self.deliver_answer(from, by, &step, &result),
            Message::Inquiry(attempt, from) => match self.decision(attempt) {
                None => {}
                Some(true) => self.send(from, attempt, Step::Commit),
                Some(false) => self.send(from, attempt, Step::Abort),
            },
        }
    }

    /// What the coordinator's log says of an attempt.
    pub(super) fn decision(&self, attempt: TransactionId) -> Option<bool> {
        let key = Step::Decide(Ballot::GivenUp { set: 0 }).key();
        self.step_taken(attempt.set, attempt, key).map(|outcome| outcome.result.is_ok())
    }

    /// What a step of an attempt came to in a set, if it was taken there.
    pub(super) fn step_taken(&self, set: u32, attempt: TransactionId, key: &str) -> Option<Outcome> {
        let state = self.state(set);
        let position = state.request(&attempt.attempt_scope(), key, Position(u64::MAX)).expect("no fault")?;
        let (_, outcome) = state.original(position).expect("no fault").expect("it is remembered");
        Some(outcome)
    }

    pub(super) fn resend(&mut self, set: u32) {
        self.resend_buffered(set);
        let open = self.state(set).attempts().iter();
        let open: Vec<(TransactionId, Attempt)> = open.map(|(id, attempt)| (id, attempt.clone())).collect();
        for (id, attempt) in open {
            match &attempt.role {
                Role::Participant { .. } => self.network.push(Message::Inquiry(id, set)),
                Role::Coordinator(coordination) => self.ask_others(id, &attempt, coordination),
            }
        }
    }

    fn ask_others(&mut self, id: TransactionId, attempt: &Attempt, coordination: &Coordination) {
        for other in coordination.other_sets(id.set) {
            let step = match coordination.decided {
                Some(_) => Step::Commit,
                None => Step::Prepare {
                    legs: coordination.legs_of(other).cloned().collect(),
                    accounting_date: attempt.accounting_date,
                    reverses: coordination.reverses.as_ref().map(|(original, _)| *original),
                    label: coordination.label.clone(),
                },
            };
            self.send(other, id, step);
        }
    }

    fn ask_others_of(&mut self, attempt: TransactionId) {
        if let Some((open, coordination)) = self.coordination(attempt) {
            let (open, coordination) = (open.clone(), coordination.clone());
            self.ask_others(attempt, &open, &coordination);
        }
    }

    pub(super) fn expire(&mut self, set: u32) {
        let state = self.state(set);
        let due: Vec<TransactionId> = state.holds().due(state.last_time() + 5).map(|hold| hold.id).collect();
        for hold in due {
            self.proposed.entry(set).or_default().push((Command::ExpireHold { hold }, None));
        }
        let state = self.state(set);
        let due = state.restrictions().due(state.last_time() + 5).map(|due| Command::ExpireRestriction {
            account: state.account(due.account).id.clone(),
            restriction: due.transaction,
        });
        let due: Vec<Command> = due.collect();
        self.proposed.entry(set).or_default().extend(due.into_iter().map(|command| (command, None)));
    }

    pub(super) fn give_up(&mut self, at: &Index) {
        let open = self.sets.values().flat_map(|twin| twin.books.short.attempts().iter());
        let asking = open.filter_map(|(id, attempt)| match &attempt.role {
            Role::Coordinator(coordination @ Coordination { decided: None, .. }) => {
                Some((id, coordination.other_sets(id.set)))
            }
            _ => None,
        });
        let asking: Vec<(TransactionId, BTreeSet<u32>)> = asking.collect();
        if !asking.is_empty() {
            let (attempt, others) = at.get(&asking);
            let set = *others.first().expect("there is another set");
            self.propose(*attempt, attempt.set, Step::Decide(Ballot::GivenUp { set }));
        }
    }

    /// What the leader does when it sees what became of a command.
    pub(super) fn react(&mut self, set: u32, command: &Command, outcome: &Outcome) {
        if let Command::BufferStep { by, step } = command {
            return self.react_buffer_step(set, *by, step, outcome);
        }
        let Command::Step { attempt, step } = command else {
            if outcome.result == Ok(Effect::Begun) {
                let (incarnation, position) = (outcome.incarnation, outcome.position);
                self.ask_others_of(TransactionId { set, incarnation, position });
            }
            if matches!(outcome.result, Ok(Effect::Buffered { .. })) && !outcome.replayed {
                self.send_parcels(set);
            }
            return;
        };
        let attempt = *attempt;
        match (step, &outcome.result) {
            (_, Err(Rejection::StepOutOfPlace { .. })) => {}
            (Step::Prepare { .. }, Ok(Effect::Prepared(sums))) => {
                self.network.push(Message::Vote(attempt, Vote { set, said: Ok(sums.clone()) }));
            }
            (Step::Prepare { .. }, Err(refusal)) => {
                self.network.push(Message::Vote(attempt, Vote { set, said: Err(refusal.clone()) }));
            }
            (Step::Prepare { .. }, Ok(end)) => {
                assert!(matches!(end, Effect::Posted(_) | Effect::Aborted) && outcome.replayed);
            }
            (Step::Decide(_), Ok(Effect::Posted(_))) => self.ask_others_of(attempt),
            (Step::Decide(_), Err(_)) => {
                SETS.into_iter()
                    .filter(|other| *other != set)
                    .for_each(|other| self.send(other, attempt, Step::Abort));
            }
            (Step::Commit, Ok(Effect::Posted(legs))) => {
                let part = Part { set, position: outcome.position, legs: legs.clone() };
                self.network.push(Message::Part(attempt, part));
            }
            (Step::Settle { .. }, Ok(Effect::Settled(_))) if self.is_after_loss => {}
            (Step::Settle { .. }, Ok(Effect::Settled(_))) => self.tell(attempt),
            (Step::Lost { .. }, _) => {}
            (Step::Restore(_), Ok(Effect::Posted(legs))) => {
                if is_on_recovery(legs) {
                    self.saw("restored on a recovery account");
                }
                let part = Part { set, position: outcome.position, legs: legs.clone() };
                self.network.push(Message::Part(attempt, part));
            }
            (Step::Abort, Ok(Effect::Aborted)) => {}
            other => panic!("a step came to another end than it was sent for: {other:?}"),
        }
    }

    /// Whoever waits for it looks again.
    fn tell(&mut self, attempt: TransactionId) {
        let waits =
            |request: &usize| self.asked[*request].0 == attempt.set && !self.answers.contains_key(request);
        let begun = self.begun.iter().filter(|(_, begun)| begun.contains(&attempt.position));
        let waiting: Vec<usize> = begun.map(|(request, _)| *request).filter(waits).collect();
        waiting.into_iter().for_each(|request| self.ask_again(request));
    }
}

/// What a step is called where it is counted.
pub(super) fn name(step: &Step) -> &'static str {
    match step {
        Step::Prepare { .. } => "prepare",
        Step::Decide(_) => "decide",
        Step::Commit => "commit",
        Step::Abort => "abort",
        Step::Settle { .. } => "settle",
        Step::Lost { .. } => "lost",
        Step::Restore(_) => "restore",
    }
}
