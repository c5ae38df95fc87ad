//! Pages of events: what was decided in the set and changed it, in the order of the log. One command makes one event at
//! most, so that a position names it, and each names the one before it. A page is a pure function of the log up to the index
//! that it is asked for. Below are `list`, which looks for them, and `rebuild`.

use twinset_ledger::account::Side;
use twinset_ledger::attempt::{Begin, Step, VOTE};
use twinset_ledger::buffer::BufferStep;
use twinset_ledger::canary::{self, Canary};
use twinset_ledger::command::{Command, Leg, LegKind, Transaction};
use twinset_ledger::hold::HoldEvent;
use twinset_ledger::id::{Position, TransactionId};
use twinset_ledger::outcome::{Effect, Outcome};
use twinset_ledger::state::State;
use twinset_ledger::sweep::RunEnd;

use super::LedgerReplica;
use super::list::{LOOKS_PER_LOCK, LOOKS_PER_PAGE};
use super::reads::{Read, Said};
use super::rebuild::{Became, missing};
use super::state::ReplicaState;
use crate::fault::Fault;

/// Events that are read under one lock, at most: the balances after each are looked up.
const READS_PER_LOCK: usize = 16;
/// Legs of a page after which it takes no more events.
const LEGS_PER_PAGE: usize = 4_000;

/// What was decided in a set and changed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Its name: where it was decided.
    pub id: TransactionId,
    /// The set's event before it; None: it is the first.
    pub previous: Option<TransactionId>,
    /// Ledger time.
    pub time_unix_ns: u64,
    /// What was asked.
    pub command: Command,
    /// What it did then, whatever has come of it since.
    pub effect: Effect,
    /// As [`super::Booked::scope_account`].
    pub scope_account: Option<String>,
    /// As [`super::Booked::said_of_step`].
    pub said_of_step: Option<Said>,
    /// Of a step that books: what began it, if this set did.
    pub begun: Option<Command>,
    /// Currencies of the legs that were booked, in their order.
    pub currencies: Vec<String>,
    /// Of a part of a transaction over several sets: the kinds of the legs that were asked of this set, in their order. Of a
    /// transaction of this set alone they stand in the command.
    pub kinds: Vec<LegKind>,
    /// Of a command on an account, a hold, a restriction or a sweep: the account.
    pub about: Option<About>,
    /// Of a command on a hold, and of a capture: what the hold's journal has of it. Nothing for its placing.
    pub hold_changes: Vec<HoldEvent>,
}

/// What never changes of an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About {
    /// Its id.
    pub account: String,
    /// Its currency.
    pub currency: String,
    /// The side that raises its balance.
    pub normal_side: Side,
}

/// Between two events of a set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EventPlace {
    /// The last event before it; None: there is none.
    pub last: Option<TransactionId>,
    /// Up to where, this included, none follows that one.
    pub looked: Option<Position>,
}

/// Some events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventPage {
    /// In the order of their positions. There may be none though more follow.
    pub events: Vec<Event>,
    /// Where the next page begins.
    pub next: EventPlace,
    /// Whether the page ends before what was asked for does.
    pub more: bool,
}

/// Whether what a command did is an event: what changed something, but for the steps that lead to a booking.
fn is_event(effect: &Effect) -> bool {
    match effect {
        Effect::Posted(_) | Effect::Buffered { .. } | Effect::Suspended { .. } => effect.books(),
        Effect::Account
        | Effect::Held(_)
        | Effect::Restricted(_)
        | Effect::Marked
        | Effect::Ran(RunEnd::Refused(_)) => true,
        Effect::Defined { changed } => *changed,
        Effect::Ran(RunEnd::Nothing | RunEnd::Booked)
        | Effect::Begun
        | Effect::Prepared(_)
        | Effect::Aborted
        | Effect::Settled(_)
        | Effect::Grouped
        | Effect::Taken
        | Effect::Announced
        | Effect::Withdrawn(_)
        | Effect::Acknowledged => false,
    }
}

impl LedgerReplica {
    /// Events behind a place, `limit` at most and one at least, of entries up to `upto` and no later ones: as of that index,
    /// or as of what is applied, if that is less. None: what the place names is no event of this set, though the log
    /// reaches to it.
    pub fn events(
        &self,
        after: EventPlace,
        limit: usize,
        upto: u64,
    ) -> Result<Read<Option<EventPage>>, Fault> {
        self.check()?;
        let mut page = EventPage { next: after, ..EventPage::default() };
        let (applied, last_time) = {
            let state = self.cell.state.read();
            let Some(applied) = state.about.applied.log_id else { return Ok(state.answer(Some(page))) };
            (applied.index, state.about.last_time)
        };
        let index = applied.min(upto);
        let time_unix_ns = match index < applied {
            // Of what is not asked for nothing is told, not even its time.
            true => self.last_before(Position::new(index + 1, 0))?.map_or(0, |(_, time)| time),
            false => last_time,
        };
        let read = |value| Ok(Read { value, index, time_unix_ns });
        if let Some(last) = after.last {
            if last.position.index() > index {
                return read(Some(page));
            }
            if !self.cell.state.read().has_event(last)? {
                return read(None);
            }
        }
        let from = after.last.map(|last| last.position).max(after.looked);
        // Clients name positions as they like, the last one that there can be as well.
        let Some(from) = from.map_or(Some(0), |from| from.0.checked_add(1)) else { return read(Some(page)) };
        page.more = self.fill(&mut page, Position(from), limit, index)?;
        if canary::on(Canary::LostEvent) && after.last.is_some() && page.events.len() > 1 {
            page.events.remove(0);
        }
        read(Some(page))
    }

    /// Adds events from a position on; gives whether it stopped before the end of entry `upto`.
    fn fill(&self, page: &mut EventPage, from: Position, limit: usize, upto: u64) -> Result<bool, Fault> {
        let (mut at, mut looks, mut legs) = (from, LOOKS_PER_PAGE, 0);
        while at.index() <= upto {
            let room = limit.max(1) - page.events.len();
            if room == 0 || looks == 0 {
                return Ok(true);
            }
            let looked = self.cell.state.read().look(at, looks.min(LOOKS_PER_LOCK), room, is_event)?;
            for offsets in looked.booked.chunks(READS_PER_LOCK) {
                let state = self.cell.state.read();
                for offset in offsets {
                    if legs >= LEGS_PER_PAGE {
                        return Ok(true);
                    }
                    let event = state.event(Position::new(at.index(), *offset), page.next.last)?;
                    legs += event.currencies.len();
                    page.next = EventPlace { last: Some(event.id), looked: Some(event.id.position) };
                    page.events.push(event);
                }
            }
            at = looked.next;
            page.next.looked = Some(Position(at.0 - 1)).max(page.next.looked);
            looks = looks.saturating_sub(looked.looks);
        }
        Ok(false)
    }
}

impl ReplicaState {
    /// Whether there is an event of that name.
    fn has_event(&self, id: TransactionId) -> Result<bool, Fault> {
        let Some(decided) = self.decided(id.position)? else { return Ok(false) };
        let (incarnation, is_event) = match &decided.became {
            Became::Booked { .. } => (decided.incarnation, true),
            Became::Other(outcome) => (outcome.incarnation, outcome.result.as_ref().is_ok_and(is_event)),
        };
        Ok(is_event && id.set == self.set && id.incarnation == incarnation)
    }

    fn event(&self, position: Position, previous: Option<TransactionId>) -> Result<Event, Fault> {
        let (command, outcome) = self.remembered(position)?.ok_or_else(|| missing(position))?;
        let Outcome { incarnation, time_unix_ns, result, .. } = outcome;
        let Ok(effect) = result else { return Err(missing(position)) };
        let begun = match &command {
            // Its beginning is lost, and something else may stand there.
            Command::Step { step: Step::Lost { .. }, .. } => None,
            Command::Step { attempt, .. } if attempt.set == self.set => {
                Some(self.decided(attempt.position)?.ok_or_else(|| missing(attempt.position))?.command)
            }
            _ => None,
        };
        Ok(Event {
            id: TransactionId { set: self.set, incarnation, position },
            previous,
            time_unix_ns,
            scope_account: self.scope_of(&command, None)?,
            said_of_step: self.said_of_step(&command)?,
            currencies: self.currencies(&command, &effect),
            kinds: self.kinds(&command, begun.as_ref())?,
            about: self.about(&command, &effect)?,
            hold_changes: self.hold_changes(begun.as_ref().unwrap_or(&command), &effect, position)?,
            begun,
            command,
            effect,
        })
    }

    fn currencies(&self, command: &Command, effect: &Effect) -> Vec<String> {
        let (Effect::Posted(legs)
        | Effect::Buffered { booked: legs, .. }
        | Effect::Suspended { booked: legs, .. }) = effect
        else {
            return Vec::new();
        };
        let currency = |account: &str| {
            self.account_by_id(account).map_or_else(String::new, |account| account.currency.clone())
        };
        match command {
            Command::Transaction(transaction) => {
                transaction.legs.iter().map(|leg| currency(&leg.account)).collect()
            }
            _ => legs.iter().map(|leg| currency(&leg.account)).collect(),
        }
    }

    fn kinds(&self, command: &Command, begun: Option<&Command>) -> Result<Vec<LegKind>, Fault> {
        let kinds = |legs: &[Leg]| legs.iter().map(|leg| leg.kind).collect();
        Ok(match (command, begun) {
            (_, Some(Command::Begin(begin))) => begin.legs_of(self.set).map(|leg| leg.kind).collect(),
            (Command::Step { step: Step::Restore(part), .. }, None) => kinds(&part.legs),
            (Command::Step { attempt, step: Step::Commit }, None) => {
                let told = self.request(&attempt.attempt_scope(), VOTE, Position(u64::MAX))?;
                match told.map(|position| self.remembered(position)).transpose()?.flatten() {
                    Some((Command::Step { step: Step::Prepare { legs, .. }, .. }, _)) => kinds(&legs),
                    _ => return Err(missing(attempt.position)),
                }
            }
            _ => Vec::new(),
        })
    }

    fn about(&self, command: &Command, effect: &Effect) -> Result<Option<About>, Fault> {
        let account = match (effect, command) {
            (Effect::Held(held), Command::ExpireHold { .. } | Command::CheckedBack(_)) => {
                self.holder(held.hold)?
            }
            (Effect::Account, Command::BufferStep { step: BufferStep::Drained { account, .. }, .. }) => {
                Some(account.clone())
            }
            (Effect::Restricted(_), Command::ExpireRestriction { account, .. })
            | (Effect::Ran(_), Command::EndRun { account, .. }) => Some(account.clone()),
            (Effect::Account | Effect::Held(_) | Effect::Restricted(_), command) => {
                command.accounts().next().map(str::to_owned)
            }
            _ => None,
        };
        Ok(account.and_then(|id| self.account_by_id(&id)).map(|account| About {
            account: account.id.clone(),
            currency: account.currency.clone(),
            normal_side: account.normal_side,
        }))
    }

    /// What the journal of a hold has of the command at a position, if it is on one or captures one.
    fn hold_changes(
        &self,
        command: &Command,
        effect: &Effect,
        position: Position,
    ) -> Result<Vec<HoldEvent>, Fault> {
        let (hold, account) = match (effect, command) {
            (Effect::Held(held), Command::ExpireHold { .. } | Command::CheckedBack(_)) => {
                (held.hold, self.holder(held.hold)?)
            }
            (Effect::Held(held), command) => (held.hold, command.accounts().next().map(str::to_owned)),
            (
                _,
                Command::Transaction(Transaction { capture: Some(capture), scope_account, .. })
                | Command::Begin(Begin {
                    transaction: Transaction { capture: Some(capture), scope_account, .. },
                    ..
                }),
            ) => (capture.hold, scope_account.clone()),
            _ => return Ok(Vec::new()),
        };
        let hold = match account.and_then(|account| self.account_no(&account)) {
            Some(no) => self.hold_at(no, hold.position)?,
            None => None,
        };
        let journal = hold.map(|hold| hold.journal).unwrap_or_default();
        Ok(journal.into_iter().filter(|event| event.at == position).collect())
    }

    /// The account that a hold is on.
    fn holder(&self, hold: TransactionId) -> Result<Option<String>, Fault> {
        let placed = self.decided(hold.position)?.ok_or_else(|| missing(hold.position))?;
        Ok(placed.command.accounts().next().map(str::to_owned))
    }
}
