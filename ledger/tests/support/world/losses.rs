//! A set is recovered without the end of its log, which others have seen: what its new life asks the others, what it books by
//! their words, and what must hold of all sets then. Clients are not asked any more: some of what they were told is lost.

use std::collections::{BTreeMap, BTreeSet};

use rust_decimal::Decimal;
use twinset_ledger::attempt::{Attempt, Ballot, Coordination, Restore, Role, Sum, Vote};
use twinset_ledger::buffer::{BufferStep, ParcelName, StreamName};
use twinset_ledger::reversed::Taken;
use twinset_ledger::{
    Begin, Command, Effect, Leg, Outcome, Position, Posted, Side, State, Step, TransactionId,
};

use super::laws::home;
use super::{Message, SETS, World};
use crate::twin::Twin;

/// Debits less credits, by currency and scale.
type Net = BTreeMap<(String, u8), i128>;
/// A set and its incarnation, and the set that its parcels go to.
type Stream = ((u32, u32), u32);

/// Parcels that are sent again by one command here: few, so that there are several.
const AT_ONCE: usize = 3;

impl World {
    /// The set loses its last `lost` entries, and whatever its leader has said and not logged.
    pub fn lose(&mut self, set: u32, lost: usize) {
        let journal = self.journal.get_mut(&set).expect("accounts were opened");
        // The accounts are opened by the first.
        let kept = journal.len().saturating_sub(lost).max(1);
        let incarnation = self.sets[&set].books.incarnation + 1;
        journal.truncate(kept);
        let mut twin = Twin::of(set);
        let mut outcomes = Vec::new();
        for (incarnation, time, commands) in journal.iter() {
            twin.books.incarnation = *incarnation;
            outcomes.extend(twin.apply(*time, commands));
        }
        twin.books.incarnation = incarnation;
        self.sets.insert(set, twin);
        self.outcomes.insert(set, outcomes);
        self.crash(set);
        self.is_after_loss = true;
        self.is_reconciled = false;
        // Others answer only when what they had proposed before is decided.
        SETS.into_iter().filter(|other| *other != set).for_each(|other| self.entry(other, 0, false));
        // What the old life has said is refused from now on, what it was answered finds nobody, and what it had said is forgotten
        // where nothing was decided by it.
        self.network.retain(|message| match message {
            Message::Step { attempt, .. } => attempt.set != set,
            Message::Vote(attempt, vote) => attempt.set != set && vote.set != set,
            Message::Part(attempt, part) => attempt.set != set && part.set != set,
            Message::Inquiry(_, from) => *from != set,
            Message::Answer { from, by, .. } => *from != set && by.set != set,
            Message::Buffer { by, .. } => by.set != set,
        });
        self.votes.values_mut().for_each(|votes| drop(votes.remove(&set)));
        self.parts.values_mut().for_each(|parts| drop(parts.remove(&set)));
        self.withdrawn.values_mut().for_each(|said| drop(said.remove(&set)));
        let rounds = (0..1_000).take_while(|_| {
            let anything = self.reconcile(set);
            SETS.into_iter().for_each(|set| self.entry(set, 0, false));
            anything
        });
        assert!(rounds.count() < 1_000, "what is brought together stays so");
        self.is_reconciled = true;
        self.check_conserved();
        self.check_clearing();
    }

    /// What was decided in a set, and not said again.
    fn decided_in(&self, set: u32) -> impl Iterator<Item = (Position, &Command, &Outcome)> {
        self.state(set).history().filter(|(.., outcome)| !outcome.replayed)
    }

    /// What the new life of a set, and the others for it, propose by what all have; whether that is anything.
    fn reconcile(&mut self, set: u32) -> bool {
        let mut proposals = self.verdicts(set);
        for other in SETS.into_iter().filter(|other| *other != set) {
            proposals.extend(self.lost_parcels(set, other));
            for (one, two) in [(set, other), (other, set)] {
                proposals.extend(self.restored(one, two));
                proposals.extend(self.sent_again(one, two));
            }
        }
        let anything = !proposals.is_empty();
        for (set, command) in proposals {
            self.proposed.entry(set).or_default().push((command, None));
        }
        anything
    }

    /// Of what the set coordinated: the end of what it has lost, and of what it has not decided and another has booked.
    fn verdicts(&mut self, set: u32) -> Vec<(u32, Command)> {
        let others = || SETS.into_iter().filter(|other| *other != set);
        let heard_of = others().flat_map(|other| {
            let steps = self.state(other).history().filter_map(|(_, command, _)| match command {
                Command::Step { attempt, .. } if attempt.set == set => Some(*attempt),
                _ => None,
            });
            steps.collect::<Vec<_>>()
        });
        let heard_of: BTreeSet<TransactionId> = heard_of.collect();
        let mut proposals = Vec::new();
        for attempt in heard_of {
            let open = self.state(set).attempts().get(attempt);
            let asking =
                open.is_some_and(|open| matches!(&open.role, Role::Coordinator(it) if it.decided.is_none()));
            let stands = self.state(set).original(attempt.position).expect("no fault");
            let stands = stands.is_some_and(|(_, outcome)| outcome.incarnation == attempt.incarnation);
            if self.decision(attempt).is_some() || stands && !asking {
                continue;
            }
            let booked = others().find(|other| self.has_booked(*other, attempt));
            let (step, what) = match (booked, stands) {
                (Some(set), true) => {
                    let votes = others().filter_map(|other| self.voted(other, attempt)).collect();
                    (Step::Decide(Ballot::Booked { set, votes }), "decided as another has booked")
                }
                (None, true) => continue,
                (None, false) => (Step::Lost { votes: None }, "lost and given up"),
                (Some(_), false) => {
                    let agreed =
                        |other| self.voted(other, attempt).or_else(|| self.left_open(other, attempt));
                    (Step::Lost { votes: Some(others().filter_map(agreed).collect()) }, "lost and booked")
                }
            };
            self.saw(what);
            proposals.push((set, Command::Step { attempt, step }));
        }
        proposals
    }

    fn has_booked(&self, set: u32, attempt: TransactionId) -> bool {
        let end = self.step_taken(set, attempt, Step::Commit.key());
        end.is_some_and(|end| matches!(end.result, Ok(Effect::Posted(_))))
    }

    /// What a set has agreed to, if it still knows.
    fn voted(&self, set: u32, attempt: TransactionId) -> Option<Vote> {
        match self.step_taken(set, attempt, twinset_ledger::attempt::VOTE)?.result {
            Ok(Effect::Prepared(sums)) => Some(Vote { set, said: Ok(sums) }),
            _ => None,
        }
    }

    /// What a set has booked without knowing any more what it had agreed to: what its clearing legs show.
    fn left_open(&self, set: u32, attempt: TransactionId) -> Option<Vote> {
        let Ok(Effect::Posted(booked)) = self.step_taken(set, attempt, Step::Commit.key())?.result else {
            return None;
        };
        let clearing = booked.iter().filter(|leg| leg.account.starts_with("@clearing"));
        let sums = clearing.map(|leg| {
            let currency = &self.state(set).account_by_id(&leg.account).expect("it was booked on").currency;
            turned(&sum_of(leg.side, leg.amount, (currency, leg.scale)))
        });
        let mut sums: Vec<Sum> = sums.collect();
        sums.sort_by(|a, b| (&a.currency, a.scale).cmp(&(&b.currency, b.scale)));
        Some(Vote { set, said: Ok(sums) })
    }

    /// What `other` has decided and `set` has lost its part of.
    fn restored(&mut self, set: u32, other: u32) -> Vec<(u32, Command)> {
        let decided = self.decided_in(other).filter_map(|(_, command, outcome)| match command {
            Command::Step {
                attempt,
                step:
                    Step::Decide(Ballot::Votes(votes) | Ballot::Booked { votes, .. })
                    | Step::Lost { votes: Some(votes) },
            } if outcome.result.is_ok() => Some((*attempt, votes.clone())),
            _ => None,
        });
        let decided: Vec<(TransactionId, Vec<Vote>)> = decided.collect();
        let mut proposals = Vec::new();
        for (attempt, votes) in decided {
            let vote = votes.into_iter().find(|vote| vote.set == set);
            let sums = vote.map(|vote| vote.said.expect("nobody refused"));
            if self.state(set).attempts().get(attempt).is_some() || self.has_booked(set, attempt) {
                continue;
            }
            let stands = self.state(other).original(attempt.position).expect("no fault");
            let Some((begun, outcome)) = stands.filter(|(_, it)| it.incarnation == attempt.incarnation)
            else {
                // Its legs are lost with its beginning.
                let Some(sums) = sums else { continue };
                let accounting_date = 0;
                let (label, legs) = (<_>::default(), Vec::new());
                let restore = Restore { legs, sums: Some(sums), accounting_date, reverses: None, label };
                self.saw("restored without legs");
                proposals.push((set, Command::Step { attempt, step: Step::Restore(restore) }));
                continue;
            };
            let asked = self.asked_of(other, attempt, &begun);
            let legs: Vec<Leg> = asked.legs_of(set).cloned().collect();
            if legs.is_empty() {
                continue;
            }
            let restore = Restore {
                legs,
                sums,
                accounting_date: outcome.day(),
                reverses: asked.reverses.as_ref().map(|(original, _)| *original),
                label: asked.label,
            };
            self.saw("restored");
            proposals.push((set, Command::Step { attempt, step: Step::Restore(restore) }));
        }
        proposals
    }

    /// What was asked of all sets in an attempt, settled or not.
    fn asked_of(&self, set: u32, attempt: TransactionId, begun: &Command) -> Coordination {
        if let Some(Attempt { role: Role::Coordinator(asked), .. }) = self.state(set).attempts().get(attempt)
        {
            return asked.clone();
        }
        let (begin, reversal) = match begun {
            Command::Begin(begin) => (begin.clone(), None),
            Command::Reversal(reversal) => {
                let (original, _) = self
                    .state(set)
                    .original(reversal.transaction.position)
                    .expect("no fault")
                    .expect("it is");
                let Command::Begin(begin) = original else {
                    panic!("only what spans sets asks: {original:?}")
                };
                (begin, Some(reversal))
            }
            other => panic!("nothing was begun by {other:?}"),
        };
        let Begin { transaction, sets } = begin;
        let (mut legs, mut of_sets) = (transaction.legs.clone(), sets);
        if reversal.is_some() {
            let end = self.step_taken(set, attempt, Step::Settle { parts: Vec::new() }.key());
            let Some(Outcome { result: Ok(Effect::Settled(posted)), .. }) = end else {
                panic!("it is settled")
            };
            // Perhaps of some of the legs.
            let leg = |posted: &Posted| {
                let amount = Decimal::from_i128_with_scale(posted.amount, posted.scale.into());
                Leg::new(&posted.account, posted.side, amount)
            };
            legs = posted.iter().filter(|posted| !posted.account.starts_with('@')).map(leg).collect();
            of_sets = legs.iter().map(|leg| home(&leg.account)).collect();
        }
        let reverses = reversal.map(|reversal| (reversal.transaction, Taken::Evenly(0)));
        let label = reversal.map_or_else(|| (&transaction).into(), Into::into);
        Coordination { legs, sets: of_sets, reverses, captures: None, decided: None, label }
    }

    /// Parcels that `other` has taken in and `set` does not know that it has sent.
    fn lost_parcels(&mut self, set: u32, other: u32) -> Vec<(u32, Command)> {
        let mut proposals = Vec::new();
        for incarnation in 1..self.sets[&set].books.incarnation {
            let known = self.state(set).buffer().stream(StreamName { to: other, incarnation });
            let known = known.map_or(0, |stream| stream.last());
            let through = self.state(other).buffer().taken(set, incarnation);
            if through > known {
                let name = ((set, incarnation), other);
                let mut open = self.taken_of(name);
                self.sent_of(name, known)
                    .into_iter()
                    .for_each(|(unit, sum)| *open.entry(unit).or_default() -= sum);
                self.saw("lost parcels");
                let by = TransactionId { set, incarnation, position: Position(0) };
                let step = BufferStep::Lost { to: other, through, sums: sums_of(&open, -1) };
                proposals.push((set, Command::BufferStep { by, step }));
            }
        }
        proposals
    }

    /// What was booked of a stream where it goes, as it counts there.
    fn taken_of(&self, ((from, incarnation), to): Stream) -> Net {
        let mut net = Net::new();
        for (_, command, outcome) in self.decided_in(to) {
            let Command::BufferStep { by, step } = command else { continue };
            if (by.set, by.incarnation) != (from, incarnation) {
                continue;
            }
            match (step, &outcome.result) {
                (BufferStep::Credit(credit), Ok(Effect::Posted(_) | Effect::Suspended { .. })) => {
                    let unit = (credit.currency.clone(), credit.scale);
                    *net.entry(unit).or_default() += signed(credit.side, credit.amount);
                }
                (BufferStep::Lost { sums, .. }, Ok(_)) => add(&mut net, sums, 1),
                _ => {}
            }
        }
        net
    }

    /// What was booked of a stream where it comes from, up to a number, as it counts where it goes.
    fn sent_of(&self, ((from, incarnation), to): Stream, through: u64) -> Net {
        let mut net = Net::new();
        for (_, command, outcome) in self.decided_in(from) {
            match (command, &outcome.result) {
                (Command::Begin(begin), Ok(Effect::Buffered { sent, .. }))
                    if outcome.incarnation == incarnation =>
                {
                    for sent in sent.iter().filter(|sent| sent.to == to && sent.number <= through) {
                        let side = begin.transaction.legs[usize::from(sent.leg)].side;
                        let unit = (sent.currency.clone(), sent.scale);
                        *net.entry(unit).or_default() += signed(side, sent.amount);
                    }
                }
                (Command::BufferStep { by, step: BufferStep::Lost { to: there, sums, .. } }, Ok(_))
                    if (by.set, by.incarnation, *there) == (from, incarnation, to) =>
                {
                    add(&mut net, sums, -1);
                }
                _ => {}
            }
        }
        net
    }

    /// Parcels that `set` had taken in and has lost, of those of `other`.
    fn sent_again(&mut self, set: u32, other: u32) -> Vec<(u32, Command)> {
        let streams = self.state(other).buffer().streams();
        let behind = streams.filter(|(name, stream)| {
            name.to == set && stream.acknowledged() > self.state(set).buffer().taken(other, name.incarnation)
        });
        let behind: Vec<(StreamName, u64)> =
            behind.map(|(name, stream)| (name, stream.acknowledged())).collect();
        let mut proposals = Vec::new();
        for (StreamName { incarnation, .. }, acknowledged) in behind {
            let taken = self.state(set).buffer().taken(other, incarnation);
            let sent = self.decided_in(other).filter(|(.., outcome)| outcome.incarnation == incarnation);
            let sent = sent.flat_map(|(position, _, outcome)| match &outcome.result {
                Ok(Effect::Buffered { sent, .. }) => {
                    let there = sent.iter().filter(|sent| sent.to == set);
                    there.map(|sent| (sent.number, ParcelName { position, leg: sent.leg })).collect()
                }
                _ => Vec::new(),
            });
            let lost = sent.filter(|(number, _)| taken < *number && *number <= acknowledged);
            let lost: Vec<ParcelName> = lost.map(|(_, name)| name).collect();
            let by = TransactionId { set: other, incarnation, position: Position(0) };
            if (lost.len() as u64) < acknowledged - taken {
                // The payer's set has lost them as well.
                let name = ((other, incarnation), set);
                let mut open = self.sent_of(name, acknowledged);
                self.taken_of(name).into_iter().for_each(|(unit, sum)| *open.entry(unit).or_default() -= sum);
                self.saw("lost by both");
                let step = BufferStep::Lost { to: set, through: acknowledged, sums: sums_of(&open, 1) };
                proposals.push((set, Command::BufferStep { by, step }));
                continue;
            }
            let parcels = lost[lost.len().saturating_sub(AT_ONCE)..].to_vec();
            self.saw("sent again");
            let by = TransactionId { position: parcels[0].position, ..by };
            let step = BufferStep::SendAgain { to: set, parcels };
            proposals.push((other, Command::BufferStep { by, step }));
        }
        proposals
    }

    /// What is under way ends, if need be because its coordinator waits no longer.
    pub fn end_all(&mut self) {
        for round in 0..60 {
            for message in std::mem::take(&mut self.network) {
                self.deliver(message);
            }
            SETS.into_iter().for_each(|set| self.entry(set, 0, false));
            let open = SETS.iter().any(|set| !self.state(*set).attempts().is_empty());
            if self.network.is_empty() && !open && self.is_drained() {
                return;
            }
            if round % 10 == 9 {
                self.give_up_all();
            }
            SETS.into_iter().for_each(|set| self.resend(set));
        }
        panic!("what is open ends: {:?}", SETS.map(|set| self.state(set).attempts()));
    }

    fn give_up_all(&mut self) {
        for set in SETS {
            let asking = self.state(set).attempts().iter().filter_map(|(id, open)| match &open.role {
                Role::Coordinator(it) if it.decided.is_none() => Some((id, *it.other_sets(set).first()?)),
                _ => None,
            });
            for (attempt, silent) in asking.collect::<Vec<_>>() {
                let step = Step::Decide(Ballot::GivenUp { set: silent });
                self.proposed.entry(set).or_default().push((Command::Step { attempt, step }, None));
            }
        }
    }

    /// Nothing is in doubt: what any set has booked of an attempt, all have that agreed to it, and its coordinator says so;
    /// nothing is on the way, and each credit was taken in once that is known to be sent.
    pub fn check_after_loss(&self) {
        let mut ends = BTreeMap::<TransactionId, BTreeMap<u32, bool>>::new();
        for set in SETS {
            for (_, command, outcome) in self.decided_in(set) {
                if let Command::Step { attempt, step } = command
                    && step.key() == Step::Commit.key()
                    && outcome.is_remembered()
                {
                    let booked = matches!(outcome.result, Ok(Effect::Posted(_)));
                    // Others are told as well, and take no part.
                    if booked || self.voted(set, *attempt).is_some() {
                        ends.entry(*attempt).or_default().insert(set, booked);
                    }
                }
            }
        }
        for (attempt, ends) in &ends {
            if ends.values().all(|booked| !booked) {
                assert_ne!(self.decision(*attempt), Some(true), "{attempt} is booked nowhere else: {ends:?}");
                continue;
            }
            assert_eq!(self.decision(*attempt), Some(true), "{attempt} is booked by {ends:?}");
            assert!(ends.values().all(|booked| *booked), "{attempt} is booked by all or by none: {ends:?}");
        }
        for set in SETS {
            let decided = self.decided_in(set).filter(|(_, command, outcome)| {
                matches!(command, Command::Step { step: Step::Decide(_), .. }) && outcome.result.is_ok()
            });
            for (_, command, _) in decided {
                let Command::Step { attempt, .. } = command else { unreachable!("it was matched") };
                assert!(ends.contains_key(attempt), "{attempt} is booked by others, too");
            }
            for account in self.state(set).accounts() {
                assert_eq!((account.incoming, account.prepared), (0, 0), "{account:?}");
            }
        }
        self.check_sent_once();
        self.check_clearing_is_zero();
    }

    /// Each credit that is known to be sent was taken in once, in the order of its numbers; or, where both sets had lost some of a
    /// stream, lies behind what was booked together as what it came to.
    fn check_sent_once(&self) {
        let (mut sent, mut taken) = (BTreeMap::<Stream, u64>::new(), BTreeMap::<Stream, u64>::new());
        for set in SETS {
            for (_, command, outcome) in self.decided_in(set) {
                match (command, &outcome.result) {
                    (_, Ok(Effect::Buffered { sent: parcels, .. })) => {
                        for one in parcels {
                            let stream = ((set, outcome.incarnation), one.to);
                            let before = sent.insert(stream, one.number);
                            assert_eq!(one.number, before.unwrap_or(0) + 1, "{stream:?}: numbers count up");
                        }
                    }
                    (
                        Command::BufferStep { by, step: BufferStep::Credit(credit) },
                        Ok(Effect::Posted(_) | Effect::Suspended { .. }),
                    ) => {
                        let before = taken.insert(((by.set, by.incarnation), set), credit.number);
                        assert_eq!(credit.number, before.unwrap_or(0) + 1, "{by} to {set}, in order");
                    }
                    (Command::BufferStep { by, step: BufferStep::Lost { through, .. } }, Ok(_))
                        if by.set != set =>
                    {
                        let before = taken.insert(((by.set, by.incarnation), set), *through);
                        assert!(*through > before.unwrap_or(0), "{by} to {set}: nothing is booked again");
                    }
                    _ => {}
                }
            }
        }
        for (stream, last) in sent {
            let taken = taken.get(&stream).copied().unwrap_or(0);
            assert!(last <= taken, "{stream:?}: {last} are sent, {taken} are taken in");
        }
    }

    fn check_clearing_is_zero(&self) {
        let mut sums = BTreeMap::<&str, i128>::new();
        for account in SETS.iter().flat_map(|set| self.state(*set).accounts()) {
            if account.id.starts_with("@clearing") {
                *sums.entry(&account.currency).or_default() += account.debits - account.credits;
            }
        }
        assert!(sums.values().all(|sum| *sum == 0), "nothing is in flight: {sums:?}");
    }
}

fn sum_of(side: Side, amount: i128, (currency, scale): (&str, u8)) -> Sum {
    let (debits, credits) = if side == Side::Debit { (amount, 0) } else { (0, amount) };
    Sum { currency: currency.to_owned(), scale, debits, credits }
}

/// The same on the other side.
fn turned(sum: &Sum) -> Sum {
    Sum { debits: sum.credits, credits: sum.debits, ..sum.clone() }
}

fn signed(side: Side, amount: i128) -> i128 {
    if side == Side::Debit { amount } else { -amount }
}

fn add(net: &mut Net, sums: &[Sum], sign: i128) {
    for Sum { currency, scale, debits, credits } in sums {
        *net.entry((currency.clone(), *scale)).or_default() += sign * (debits - credits);
    }
}

/// What has not come to nothing, on its own side or (-1) on the other.
fn sums_of(net: &Net, sign: i128) -> Vec<Sum> {
    let open = net.iter().map(|(unit, net)| (unit, sign * net)).filter(|(_, net)| *net != 0);
    let sum = |((currency, scale), net): (&(String, u8), i128)| {
        let side = if net > 0 { Side::Debit } else { Side::Credit };
        sum_of(side, net.abs(), (currency, *scale))
    };
    open.map(sum).collect()
}

/// Whether all that was booked is of one kind of account. For those who count.
pub fn is_on_recovery(posted: &[Posted]) -> bool {
    posted.iter().any(|leg| leg.account.starts_with("@recovery"))
}
