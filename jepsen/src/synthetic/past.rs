//! What a made-up set shows of its past: holds with their journals, statements, balances, events.

use twinset_ledger::hold::HoldEvent;
use twinset_ledger::{Command, Position, TransactionId};

use super::{Log, STEP_NS};
use crate::check::model;
use crate::check::replay::holds;
use crate::history::event::Leg;
use crate::history::holds::{FoundHold, Held, HoldLine, Line, Told};
use crate::history::sweeps::{Refused, Turned};
use crate::history::{Answer, AsOf, Ask, History, Name};

/// A hold that was placed.
pub struct Placed {
    pub hold: TransactionId,
    pub account: u32,
    pub id: String,
}

/// What an event says beside its place.
#[derive(Default)]
pub struct News<'a> {
    pub kind: &'a str,
    pub id: &'a str,
    pub legs: &'a [Leg],
    pub balances: Vec<(i64, i64)>,
    pub held: Option<Held>,
    pub suspended: &'a str,
    pub turned: Option<Turned>,
    pub refused: Option<Refused>,
}

impl Log {
    /// An event at a position.
    pub(super) fn tell(&mut self, position: Position, news: News<'_>) {
        let News { kind, id, legs, balances, held, suspended, turned, refused } = news;
        let previous = self.events.last().map(|last: &Told| last.event);
        let (event, place) = (self.name(position), self.place_of(position));
        let (kind, id, legs) = (kind.to_owned(), id.to_owned(), legs.to_vec());
        let suspended = suspended.to_owned();
        self.events.push(Told {
            event,
            previous,
            place,
            kind,
            id,
            legs,
            balances,
            held,
            suspended,
            turned,
            refused,
        });
    }

    /// Puts holds away whose time has been over for some entries.
    pub(super) fn put_away(&mut self) {
        let late = self.time_ns.saturating_sub(3 * STEP_NS);
        let is_due = |log: &Log, hold: TransactionId| {
            let record = log.model.hold(hold).map(|(_, record)| record);
            record.is_some_and(|record| {
                record.ended.is_none() && record.expires_ns.is_some_and(|end| end <= late)
            })
        };
        let due: Vec<TransactionId> =
            self.placed.iter().map(|placed| placed.hold).filter(|hold| is_due(self, *hold)).collect();
        for hold in due {
            self.next_entry();
            let position = Position::new(self.index, 0);
            self.model.apply_at(position, self.time_ns, &Command::ExpireHold { hold });
            let held = self.found_hold(hold).map(|found| found.held);
            self.tell(position, News { kind: "hold_expired", held, ..News::default() });
        }
    }

    /// A hold as it is read now.
    pub(super) fn found_hold(&self, hold: TransactionId) -> Option<FoundHold> {
        let placed = self.placed.iter().find(|placed| placed.hold == hold)?;
        let (account, record) = self.model.hold(hold)?;
        let unit = self.model.accounts()[account].cents_of_a_minor_unit();
        let line =
            |line: &HoldEvent| HoldLine { place: self.place_of(line.at), change: holds::change(line, unit) };
        Some(FoundHold {
            held: holds::figures(&record, unit, self.place().time_ns),
            account: placed.account,
            placed: self.place_of(hold.position),
            id: placed.id.clone(),
            journal: record.journal.iter().map(line).collect(),
        })
    }

    /// Reads of the past.
    pub(super) fn read_past(&self, ask: &Ask, history: &History) -> Answer {
        let as_of = AsOf::now(self.place());
        let absent = Answer::Absent { as_of };
        let is_there =
            |account: &u32| self.model.accounts().contains_key(&history.accounts[*account as usize]);
        match ask {
            Ask::ReadHold { account, hold, .. } => match self.found_hold(hold.0) {
                Some(found) if found.account == *account => Answer::Hold { as_of, found: Box::new(found) },
                _ => absent,
            },
            Ask::ListHolds { account, after, page_size, .. } if is_there(account) => {
                let own = self.placed.iter().filter(|placed| placed.account == *account);
                let behind = own.filter(|placed| after.is_none_or(|after| placed.hold > after.0));
                let mut found: Vec<FoundHold> =
                    behind.filter_map(|placed| self.found_hold(placed.hold)).collect();
                let more = found.len() > *page_size as usize;
                found.truncate(*page_size as usize);
                let next = found.last().filter(|_| more).map(|last| last.held.hold);
                Answer::Holds { as_of, found, next }
            }
            Ask::Statement { account, cursor, page_size, .. } if is_there(account) => {
                let lines = self.lines(*account, history);
                let closing = lines.last().map_or(0, |line| line.posted);
                let from: usize = cursor.parse().unwrap_or(0);
                let to = lines.len().min(from + *page_size as usize);
                let next = if to < lines.len() { to.to_string() } else { String::new() };
                Answer::Statement { as_of, lines: lines[from..to].to_vec(), ends: (0, closing), next }
            }
            Ask::Balance { account, index, .. } if is_there(account) && *index <= self.index => {
                let lines = self.lines(*account, history);
                let by_then = lines.iter().rfind(|line| line.place.index <= *index);
                Answer::Balance { as_of, posted: by_then.map_or(0, |line| line.posted) }
            }
            _ => absent,
        }
    }

    fn lines(&self, account: u32, history: &History) -> Vec<Line> {
        let known: &model::Account = &self.model.accounts()[&history.accounts[account as usize]];
        let sign = if known.balance() == known.debits - known.credits { 1 } else { -1 };
        let mut posted = 0;
        let mut lines = Vec::new();
        for found in &self.booked {
            for (_, cents) in found.legs.iter().filter(|(own, _)| *own == account) {
                posted += sign * cents;
                lines.push(Line {
                    transaction: found.transaction,
                    place: found.place,
                    cents: *cents,
                    posted,
                });
            }
        }
        lines
    }

    /// Events behind the first `from`, `size` at most, and how many there are up to then.
    pub(super) fn events(&self, from: usize, size: usize) -> (Vec<Told>, usize) {
        let to = self.events.len().min(from + size);
        (self.events[from..to].to_vec(), to)
    }

    /// How many events stand up to the one of that name, this included; none are named by nothing.
    pub(super) fn events_upto(&self, name: &str) -> usize {
        let name: Option<Name> = name.to_owned().try_into().ok();
        name.map_or(0, |name| self.events.partition_point(|told| told.event <= name))
    }
}

/// How events call what a command does.
pub fn event_kind(ask: &Ask) -> &'static str {
    match ask {
        Ask::Open { .. } => "account_opened",
        Ask::SetLimit { .. } => "limit_changed",
        Ask::Freeze { on: true, .. } => "account_frozen",
        Ask::Freeze { .. } => "account_unfrozen",
        Ask::Close { .. } => "account_closed",
        Ask::SetMode { .. } => "posting_mode_changed",
        Ask::SetSweep { .. } => "sweep_set",
        Ask::RemoveSweep { .. } => "sweep_removed",
        Ask::PlaceHold { .. } => "hold_placed",
        Ask::ReleaseHold { .. } => "hold_released",
        Ask::ExtendHold { .. } => "hold_extended",
        other => unreachable!("{other:?} is told as what it books"),
    }
}
