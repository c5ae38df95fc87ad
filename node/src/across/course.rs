//! The course of one attempt at its coordinator, pure: what has been heard decides what is asked for next. Nothing here is
//! kept: a leader that knows less than its set's log asks again for what it lacks, and every set repeats its first answer.
//!
//! ```text
//! Asking --all votes, or one no--> Deciding --booked----> Booking --all parts--> Settling --> Over
//!     `--waited too long-----------^     `--not booked--> Undoing --all have given back-----^
//! ```
//!
//! The client's answer leaves when all parts are booked, beside the entry that settles the attempt: what that will say is known by
//! then, and a leader that has not heard all of it waits for the entry.

use std::collections::{BTreeMap, BTreeSet};

use twinset_ledger::apply::told;
use twinset_ledger::attempt::{Attempt, Ballot, Coordination, Part, Restore, Role, Vote};
use twinset_ledger::canary::{self, Canary};
use twinset_ledger::{Effect, Outcome, Rejection, Step};

/// Whose log takes in a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// The coordinator's own.
    Own,
    /// Another set's.
    Set(u32),
}

/// A step, and whose log is to take it in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// Whose log.
    pub to: Target,
    /// The step.
    pub step: Step,
}

/// What follows from an answer.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Next {
    /// What is asked for now.
    pub orders: Vec<Order>,
    /// What the client is told, once, as soon as that is known.
    pub result: Option<Result<Effect, Rejection>>,
}

/// An answer does not fit: another leader has gone on meanwhile, and only the log says how far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stale;

/// How far an attempt is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The other sets are asked.
    Asking(BTreeMap<u32, Vote>),
    /// The decision is on its way into the log.
    Deciding(Ballot),
    /// It is booked; the other sets are told.
    Booking(BTreeMap<u32, Part>),
    /// The answer is on its way into the log.
    Settling(Vec<Part>),
    /// It is not booked; these sets have not said yet that they have given back.
    Undoing(BTreeSet<u32>),
    /// Nothing is left to do.
    Over,
}

/// One attempt that a set coordinates.
#[derive(Clone, Debug)]
pub struct Course {
    set: u32,
    coordination: Coordination,
    /// The sets beside the own.
    others: BTreeSet<u32>,
    accounting_date: i32,
    /// What the own log has booked, if this leader has heard it.
    own: Option<Part>,
    /// Sets that are told their parts once more, because they have lost them.
    restoring: BTreeSet<u32>,
    /// It was begun in an incarnation that is over.
    is_of_earlier_life: bool,
    /// Sets that have given back, as that incarnation had told them.
    aborted: BTreeSet<u32>,
    phase: Phase,
}

impl Course {
    /// From what the log of the set `own` says of an attempt; None if another set coordinates it.
    ///
    /// `is_of_earlier_life`: it was begun in an incarnation that is over, which may have decided it, and lost that. Then it is not given
    /// up before all have said that they have not booked.
    pub fn of(own: u32, attempt: &Attempt, is_of_earlier_life: bool) -> Option<Course> {
        let Role::Coordinator(coordination) = &attempt.role else { return None };
        let phase = match coordination.decided {
            None => Phase::Asking(BTreeMap::new()),
            Some(_) if canary::on(Canary::DecisionForgotten) => Phase::Undoing(coordination.other_sets(own)),
            Some(_) => Phase::Booking(BTreeMap::new()),
        };
        Some(Course {
            set: own,
            coordination: coordination.clone(),
            others: coordination.other_sets(own),
            accounting_date: attempt.accounting_date,
            own: None,
            restoring: BTreeSet::new(),
            is_of_earlier_life,
            aborted: BTreeSet::new(),
            phase,
        })
    }

    /// How far it is.
    pub fn phase(&self) -> &Phase {
        &self.phase
    }

    /// The sets beside the own.
    pub fn others(&self) -> &BTreeSet<u32> {
        &self.others
    }

    /// Whether nothing is left to do.
    pub fn is_over(&self) -> bool {
        self.phase == Phase::Over
    }

    /// Everything that it waits for.
    pub fn orders(&self) -> Vec<Order> {
        let targets = self.others.iter().map(|&set| Target::Set(set)).chain([Target::Own]);
        targets.filter_map(|to| Some(Order { to, step: self.wants(to)? })).collect()
    }

    /// What it waits for from that log, if anything.
    pub fn wants(&self, from: Target) -> Option<Step> {
        match (&self.phase, from) {
            (Phase::Asking(votes), Target::Set(set))
                if !votes.contains_key(&set) && !self.aborted.contains(&set) =>
            {
                let legs = self.coordination.legs_of(set).cloned().collect();
                let reverses = self.coordination.reverses.as_ref().map(|(original, _)| *original);
                let label = self.coordination.label.clone();
                Some(Step::Prepare { legs, accounting_date: self.accounting_date, reverses, label })
            }
            (Phase::Deciding(ballot), Target::Own) => Some(Step::Decide(ballot.clone())),
            (Phase::Booking(_), Target::Set(set))
                if canary::on(Canary::CommitToAllButOne) && self.others.last() == Some(&set) =>
            {
                None
            }
            (Phase::Booking(parts), Target::Set(set)) if !parts.contains_key(&set) => Some(Step::Commit),
            (Phase::Settling(parts), Target::Own) => Some(Step::Settle { parts: parts.clone() }),
            (Phase::Undoing(left), Target::Set(set)) if left.contains(&set) => Some(Step::Abort),
            _ => None,
        }
    }

    /// Waits for no further vote.
    pub fn give_up(&mut self) -> Vec<Order> {
        let Phase::Asking(votes) = &self.phase else { return Vec::new() };
        if self.is_of_earlier_life {
            return Vec::new();
        }
        let Some(&set) = self.others.iter().find(|set| !votes.contains_key(set)) else { return Vec::new() };
        self.enter(Phase::Deciding(Ballot::GivenUp { set }))
    }

    /// Takes in what a log answered to a step of this attempt.
    pub fn heard(&mut self, from: Target, outcome: Outcome) -> Result<Next, Stale> {
        let Outcome { position, result, .. } = outcome;
        match (&mut self.phase, from, result) {
            (Phase::Asking(votes), Target::Set(_), said) if self.is_of_earlier_life => {
                let votes = std::mem::take(votes);
                self.heard_again(from, votes, said)
            }
            (Phase::Asking(votes), Target::Set(set), said) => {
                let said = match said {
                    Ok(Effect::Prepared(sums)) => Ok(sums),
                    Err(rejection) if rejection.is_remembered() => Err(rejection),
                    _ => return Err(Stale),
                };
                let refused = said.is_err();
                votes.insert(set, Vote { set, said });
                if !refused && votes.len() < self.others.len() {
                    return Ok(Next::default());
                }
                let votes = std::mem::take(votes).into_values().collect();
                Ok(self.enter(Phase::Deciding(Ballot::Votes(votes))).into())
            }
            (Phase::Deciding(_), Target::Own, Ok(Effect::Posted(legs))) => {
                let told = canary::told_too_soon(&self.coordination, &self.others, &legs);
                self.own = Some(Part { set: self.set, position, legs });
                let orders = self.enter(Phase::Booking(BTreeMap::new()));
                Ok(Next { orders, result: told.map(|legs| Ok(Effect::Settled(legs))) })
            }
            (Phase::Deciding(ballot), Target::Own, Err(rejection)) if rejection.is_remembered() => {
                // Who has refused has set nothing aside.
                let ballot = &*ballot;
                let refused = |set: u32| match ballot {
                    Ballot::Votes(votes) => votes.iter().any(|vote| vote.set == set && vote.said.is_err()),
                    Ballot::GivenUp { .. } | Ballot::Booked { .. } => false,
                };
                let left: BTreeSet<u32> = self.others.iter().copied().filter(|&set| !refused(set)).collect();
                let orders = self.enter(if left.is_empty() { Phase::Over } else { Phase::Undoing(left) });
                Ok(Next { orders, result: Some(Err(rejection)) })
            }
            (Phase::Booking(parts), Target::Set(set), Ok(Effect::Posted(mut legs))) => {
                // Clearing legs are that set's own business: nobody is told of them.
                legs.truncate(self.coordination.legs_of(set).count());
                parts.insert(set, Part { set, position, legs });
                if parts.len() < self.others.len() {
                    return Ok(Next::default());
                }
                let parts: Vec<Part> = std::mem::take(parts).into_values().collect();
                let told = self.own.as_ref().and_then(|own| told(&self.coordination, own, &parts));
                let orders = self.enter(Phase::Settling(parts));
                Ok(Next { orders, result: told.map(|legs| Ok(Effect::Settled(legs))) })
            }
            // What it had set aside was lost in a recovery.
            (Phase::Booking(_), Target::Set(set), Err(Rejection::StepOutOfPlace { .. }))
                if self.restoring.insert(set) =>
            {
                let part = Restore {
                    legs: self.coordination.legs_of(set).cloned().collect(),
                    sums: None,
                    accounting_date: self.accounting_date,
                    reverses: self.coordination.reverses.as_ref().map(|(original, _)| *original),
                    label: self.coordination.label.clone(),
                };
                Ok(vec![Order { to: Target::Set(set), step: Step::Restore(part) }].into())
            }
            (Phase::Settling(_), Target::Own, result @ Ok(Effect::Settled(_))) => {
                self.phase = Phase::Over;
                Ok(Next { orders: Vec::new(), result: self.own.is_none().then_some(result) })
            }
            (Phase::Undoing(left), Target::Set(set), Ok(Effect::Aborted)) => {
                left.remove(&set);
                if left.is_empty() {
                    self.phase = Phase::Over;
                }
                Ok(Next::default())
            }
            // Late answers to what was asked before.
            (
                Phase::Deciding(_) | Phase::Settling(_) | Phase::Undoing(_) | Phase::Over,
                Target::Set(_),
                _,
            )
            | (Phase::Booking(_), Target::Set(_), Ok(Effect::Prepared(_))) => Ok(Next::default()),
            _ => Err(Stale),
        }
    }

    /// A vote on what an earlier incarnation may have decided. What it has had booked is booked; nobody's refusal counts before all
    /// have answered.
    fn heard_again(
        &mut self,
        from: Target,
        mut votes: BTreeMap<u32, Vote>,
        said: Result<Effect, Rejection>,
    ) -> Result<Next, Stale> {
        let Target::Set(set) = from else { return Err(Stale) };
        match said {
            Ok(Effect::Prepared(sums)) => drop(votes.insert(set, Vote { set, said: Ok(sums) })),
            Ok(Effect::Aborted) => drop(self.aborted.insert(set)),
            Err(refusal) if refusal.is_remembered() => {
                votes.insert(set, Vote { set, said: Err(refusal) });
            }
            Ok(Effect::Posted(_)) => {
                let votes = votes.into_values().filter(|vote| vote.said.is_ok()).collect();
                return Ok(self.enter(Phase::Deciding(Ballot::Booked { set, votes })).into());
            }
            _ => return Err(Stale),
        }
        if votes.len() + self.aborted.len() < self.others.len() {
            self.phase = Phase::Asking(votes);
            return Ok(Next::default());
        }
        let refused = votes.values().any(|vote| vote.said.is_err());
        let ballot = match self.aborted.first() {
            Some(&set) if !refused => Ballot::GivenUp { set },
            _ => Ballot::Votes(votes.into_values().collect()),
        };
        Ok(self.enter(Phase::Deciding(ballot)).into())
    }

    fn enter(&mut self, phase: Phase) -> Vec<Order> {
        self.phase = phase;
        self.orders()
    }
}

impl From<Vec<Order>> for Next {
    fn from(orders: Vec<Order>) -> Self {
        Next { orders, result: None }
    }
}

#[cfg(test)]
mod tests {
    use twinset_ledger::attempt::Sum;
    use twinset_ledger::{Label, Leg, Position, Posted, Side, TransactionId};

    use super::*;

    const OWN: u32 = 1;

    fn leg(account: &str) -> Leg {
        Leg::new(account, Side::Debit, 1.into())
    }

    fn label() -> Label {
        Label { kind: 3, reason: 4, metadata: [("order".to_owned(), "1".to_owned())].into() }
    }

    fn attempt(decided: Option<Position>) -> Attempt {
        let legs = ["x", "y", "z"].map(leg).into();
        let role = Role::Coordinator(Coordination {
            legs,
            sets: vec![2, OWN, 3],
            reverses: None,
            captures: None,
            decided,
            label: label(),
        });
        Attempt { reserved: Vec::new(), accounting_date: 7, opened_ns: 0, role }
    }

    fn course() -> Course {
        Course::of(OWN, &attempt(None), false).unwrap()
    }

    fn outcome(result: Result<Effect, Rejection>) -> Outcome {
        Outcome { position: Position::new(9, 0), incarnation: 1, time_unix_ns: 1, replayed: false, result }
    }

    fn yes() -> Outcome {
        outcome(Ok(Effect::Prepared(Vec::<Sum>::new())))
    }

    fn no() -> Rejection {
        Rejection::AccountNotFound { account: "x".to_owned() }
    }

    fn part(account: &str) -> Posted {
        let account = account.to_owned();
        Posted { account, side: Side::Debit, amount: 1, scale: 0, posted: 7, available: 7 }
    }

    fn booked(account: &str) -> Outcome {
        outcome(Ok(Effect::Posted(vec![part(account)])))
    }

    fn posted() -> Outcome {
        outcome(Ok(Effect::Posted(Vec::<Posted>::new())))
    }

    fn steps(orders: &[Order]) -> Vec<(Target, &'static str)> {
        orders.iter().map(|order| (order.to, order.step.key())).collect()
    }

    #[test]
    fn a_coordinator_without_a_leg_of_its_own_decides_for_the_others() {
        use Target::{Own, Set};
        let mut attempt = attempt(None);
        let Role::Coordinator(coordination) = &mut attempt.role else { unreachable!("it decides") };
        (coordination.legs, coordination.sets) = (vec![leg("x"), leg("z")], vec![2, 3]);
        let mut course = Course::of(OWN, &attempt, false).unwrap();
        assert_eq!(steps(&course.orders()), [(Set(2), "~vote"), (Set(3), "~vote")]);
        assert_eq!(course.heard(Set(2), yes()), Ok(Next::default()));
        assert_eq!(steps(&course.heard(Set(3), yes()).unwrap().orders), [(Own, "~decision")]);
        let next = course.heard(Own, posted()).unwrap();
        assert_eq!(steps(&next.orders), [(Set(2), "~end"), (Set(3), "~end")]);
        assert_eq!(course.heard(Set(2), booked("x")), Ok(Next::default()));
        let next = course.heard(Set(3), booked("z")).unwrap();
        assert_eq!(steps(&next.orders), [(Own, "~result")]);
        assert_eq!(next.result, Some(Ok(Effect::Settled(vec![part("x"), part("z")]))));
    }

    #[test]
    fn all_say_yes_and_the_answer_leaves_when_all_have_booked() {
        use Target::{Own, Set};
        let mut course = course();
        let asked = course.orders();
        assert_eq!(steps(&asked), [(Set(2), "~vote"), (Set(3), "~vote")]);
        let (legs, label) = (vec![leg("x")], label());
        assert_eq!(asked[0].step, Step::Prepare { legs, accounting_date: 7, reverses: None, label });
        assert_eq!(course.heard(Set(3), yes()), Ok(Next::default()));
        assert_eq!(course.wants(Set(3)), None, "it has answered");
        let next = course.heard(Set(2), yes()).unwrap();
        assert_eq!(steps(&next.orders), [(Own, "~decision")]);
        assert_eq!(course.heard(Set(2), yes()), Ok(Next::default()), "again, and too late");
        let next = course.heard(Own, booked("y")).unwrap();
        assert_eq!((steps(&next.orders), next.result), (vec![(Set(2), "~end"), (Set(3), "~end")], None));
        assert_eq!(course.heard(Set(2), yes()), Ok(Next::default()), "later still");
        assert_eq!(course.heard(Set(2), booked("x")), Ok(Next::default()));
        let with_clearing = outcome(Ok(Effect::Posted(vec![part("z"), part("@clearing-3:EUR")])));
        let next = course.heard(Set(3), with_clearing).unwrap();
        let Step::Settle { parts } = &next.orders[0].step else { panic!("{next:?}") };
        assert_eq!(parts[1].legs, [part("z")], "without the clearing leg");
        let settled = Ok(Effect::Settled(["x", "y", "z"].map(part).into()));
        assert_eq!((steps(&next.orders), next.result), (vec![(Own, "~result")], Some(settled.clone())));
        assert_eq!(course.heard(Own, outcome(settled)), Ok(Next::default()), "it was told");
        assert!(course.is_over() && course.orders().is_empty());
    }

    #[test]
    fn who_has_not_heard_the_decision_waits_for_the_last_entry() {
        use Target::{Own, Set};
        let mut course = Course::of(OWN, &attempt(Some(Position::new(8, 0))), false).unwrap();
        course.heard(Set(2), booked("x")).unwrap();
        assert_eq!(course.heard(Set(3), booked("z")).unwrap().result, None);
        let settled = Ok(Effect::Settled(["x", "y", "z"].map(part).into()));
        let next = course.heard(Own, outcome(settled.clone())).unwrap();
        assert_eq!(next, Next { orders: Vec::new(), result: Some(settled) });
        assert!(course.is_over());
    }

    #[test]
    fn one_no_is_enough_and_who_said_it_has_nothing_to_give_back() {
        use Target::{Own, Set};
        let mut course = course();
        let next = course.heard(Set(2), outcome(Err(no()))).unwrap();
        let ballot = Ballot::Votes(vec![Vote { set: 2, said: Err(no()) }]);
        assert_eq!(next.orders, [Order { to: Own, step: Step::Decide(ballot) }]);
        let next = course.heard(Own, outcome(Err(no()))).unwrap();
        assert_eq!(next.orders, [Order { to: Set(3), step: Step::Abort }]);
        assert_eq!(next.result, Some(Err(no())));
        assert_eq!(course.heard(Set(3), yes()), Ok(Next::default()), "the late vote of who is undone");
        assert!(!course.is_over());
        course.heard(Set(3), outcome(Ok(Effect::Aborted))).unwrap();
        assert!(course.is_over());
    }

    #[test]
    fn who_is_silent_is_named_and_undone() {
        use Target::{Own, Set};
        let mut course = course();
        course.heard(Set(2), yes()).unwrap();
        let orders = course.give_up();
        assert_eq!(orders, [Order { to: Own, step: Step::Decide(Ballot::GivenUp { set: 3 }) }]);
        assert!(course.give_up().is_empty(), "once");
        // A leader before this one had all votes, and decided otherwise.
        let mut booked = course.clone();
        let next = booked.heard(Own, posted()).unwrap();
        assert_eq!(steps(&next.orders), [(Set(2), "~end"), (Set(3), "~end")]);
        let next = course.heard(Own, outcome(Err(Rejection::SetUnavailable { set: 3 }))).unwrap();
        assert_eq!(steps(&next.orders), [(Set(2), "~end"), (Set(3), "~end")]);
        assert!(next.orders.iter().all(|order| order.step == Step::Abort));
    }

    #[test]
    fn what_was_decided_before_is_not_asked_for_again() {
        let mut course = Course::of(OWN, &attempt(Some(Position::new(8, 0))), false).unwrap();
        assert!(course.orders().iter().all(|order| order.step == Step::Commit) && course.orders().len() == 2);
        course.heard(Target::Set(2), posted()).unwrap();
        let next = course.heard(Target::Set(3), posted()).unwrap();
        assert_eq!((steps(&next.orders), next.result), (vec![(Target::Own, "~result")], None));
        let participant = Attempt { role: Role::Participant { reverses: None }, ..attempt(None) };
        assert!(Course::of(OWN, &participant, false).is_none());
    }

    #[test]
    fn what_fits_nothing_is_stale() {
        use Target::{Own, Set};
        let out_of_place = || {
            let position = Position::new(1, 0);
            let attempt = twinset_ledger::TransactionId { set: OWN, incarnation: 1, position };
            outcome(Err(Rejection::StepOutOfPlace { attempt }))
        };
        assert_eq!(course().heard(Set(2), posted()), Err(Stale), "it has booked what was not decided here");
        assert_eq!(course().heard(Set(2), out_of_place()), Err(Stale));
        let mut deciding = course();
        deciding.give_up();
        assert_eq!(deciding.clone().heard(Own, out_of_place()), Err(Stale));
        deciding.heard(Own, posted()).unwrap();
        assert_eq!(deciding.heard(Set(2), outcome(Ok(Effect::Aborted))), Err(Stale));
    }

    fn earlier() -> Course {
        Course::of(OWN, &attempt(None), true).unwrap()
    }

    #[test]
    fn what_an_earlier_life_has_had_booked_is_booked() {
        use Target::{Own, Set};
        let mut course = earlier();
        assert_eq!(course.heard(Set(3), yes()), Ok(Next::default()));
        assert_eq!(course.give_up(), [], "nobody knows what it has decided");
        let next = course.heard(Set(2), booked("x")).unwrap();
        let votes = vec![Vote { set: 3, said: Ok(Vec::new()) }];
        let step = Step::Decide(Ballot::Booked { set: 2, votes });
        assert_eq!(next.orders, [Order { to: Own, step }]);
        assert_eq!(steps(&course.heard(Own, posted()).unwrap().orders), [(Set(2), "~end"), (Set(3), "~end")]);
    }

    #[test]
    fn no_refusal_counts_before_all_have_said_that_they_have_not_booked() {
        use Target::Set;
        let mut course = earlier();
        assert_eq!(course.heard(Set(2), outcome(Err(no()))), Ok(Next::default()));
        assert_eq!(course.wants(Set(2)), None, "it has answered");
        let next = course.heard(Set(3), yes()).unwrap();
        let Step::Decide(Ballot::Votes(votes)) = &next.orders[0].step else { panic!("{next:?}") };
        assert_eq!(votes.len(), 2);

        // One that was told to give back has: nothing can be booked any more.
        let mut course = earlier();
        assert_eq!(course.heard(Set(3), outcome(Ok(Effect::Aborted))), Ok(Next::default()));
        assert_eq!(course.wants(Set(3)), None);
        let next = course.heard(Set(2), yes()).unwrap();
        assert_eq!(next.orders[0].step, Step::Decide(Ballot::GivenUp { set: 3 }));
        let mut course = earlier();
        assert_eq!(course.heard(Set(3), outcome(Ok(Effect::Aborted))), Ok(Next::default()));
        let next = course.heard(Set(2), booked("x")).unwrap();
        assert!(matches!(next.orders[0].step, Step::Decide(Ballot::Booked { set: 2, .. })), "{next:?}");
    }

    #[test]
    fn a_part_that_a_set_has_lost_is_told_in_full_once() {
        use Target::Set;
        let mut course = Course::of(OWN, &attempt(Some(Position::new(8, 0))), false).unwrap();
        let lost = || {
            outcome(Err(Rejection::StepOutOfPlace {
                attempt: TransactionId { set: OWN, incarnation: 1, position: Position(0) },
            }))
        };
        let next = course.heard(Set(2), lost()).unwrap();
        let Step::Restore(part) = &next.orders[0].step else { panic!("{next:?}") };
        assert_eq!((&part.legs[..], part.accounting_date, &part.label), (&[leg("x")][..], 7, &label()));
        assert_eq!(course.heard(Set(2), lost()), Err(Stale), "it is looked at again later");
        assert_eq!(course.heard(Set(2), booked("x")), Ok(Next::default()));
    }
}
