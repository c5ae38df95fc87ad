//! Statements: what was posted to an account, with the balance after each posting and what is known of its transaction,
//! in pages; and the posted balance at a time or at a log index. As for lists, a page looks at so much and no more,
//! however little it finds, and holds the lock of the state for one piece of work at a time. Postings are never changed, so
//! pages of any age fit together. Below: `history` finds the postings, `moments` the positions of times.

use rust_decimal::Decimal;
use twinset_ledger::account::{Account, AccountNo, Side};
use twinset_ledger::buffer::BufferStep;
use twinset_ledger::canary::{self, Canary};
use twinset_ledger::command::{Command, Metadata, Transaction};
use twinset_ledger::id::{Position, TransactionId};
use twinset_ledger::label::Label;
use twinset_ledger::state::State;

use super::LedgerReplica;
use super::history::Piece;
use super::postings::{Found, Spot};
use super::reads::{Read, Said};
use super::rebuild::{Became, Decided, missing};
use super::state::ReplicaState;
use crate::fault::Fault;

/// Pieces of history that one page goes through, at most: all of what memory holds, or some hundred thousand postings.
const PIECES_PER_PAGE: usize = 128;
/// Postings that one page compares, at most.
const POSTINGS_PER_PAGE: usize = 20_000;
/// Transactions that one page reads, at most.
const READS_PER_PAGE: usize = 2_000;
/// Transactions that are read under one lock, at most.
const READS_PER_LOCK: usize = 32;
const NS_PER_DAY: u64 = 86_400_000_000_000;

/// What a statement is to show, and which page of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatementQuery {
    /// Ledger times, from the first one on and before the second one, in nanoseconds since the Unix epoch.
    pub times: (Option<u64>, Option<u64>),
    /// What the lines must be like.
    pub filter: StatementFilter,
    /// Backwards: the newest posting first.
    pub newest_first: bool,
    /// Where the page begins, as the page before it said; None: the first page.
    pub at: Option<Spot>,
    /// Lines at most; one at least.
    pub limit: usize,
}

/// What the lines of a statement must be like; what is None takes all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StatementFilter {
    /// The first accounting date, in days since 1970-01-01.
    pub from_day: Option<i32>,
    /// The last accounting date.
    pub until_day: Option<i32>,
    /// The client's kind of transaction.
    pub kind: Option<u16>,
    /// The client's reason code.
    pub reason: Option<u16>,
    /// The smallest amount, in major units.
    pub amount_min: Option<Decimal>,
    /// The largest amount.
    pub amount_max: Option<Decimal>,
    /// A key that the transaction's metadata have, with this value if there is one.
    pub metadata: Option<(String, Option<String>)>,
}

/// A page of a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// The account as it is.
    pub account: Account,
    /// In the order that was asked for. There may be none though more follow.
    pub lines: Vec<StatementLine>,
    /// Where the next page begins; None: this page reaches to the end.
    pub next: Option<Spot>,
    /// Posted balances before the first and after the last posting between the times that were asked for, whatever the
    /// filter takes. None if days were asked for: what belongs to a day is not together.
    pub ends: Option<(i128, i128)>,
}

/// A posting, and what is known of the transaction that made it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatementLine {
    /// What booked it in this set.
    pub transaction: TransactionId,
    /// Which of the account's postings by that transaction it is, from 0.
    pub nth: u32,
    /// Ledger time.
    pub time_unix_ns: u64,
    /// Debit or credit.
    pub side: Side,
    /// In minor units, above zero.
    pub amount: i128,
    /// Posted balance after it.
    pub posted: i128,
    /// The client's.
    pub kind: u16,
    /// The client's.
    pub reason: u16,
    /// In days since 1970-01-01.
    pub accounting_day: i32,
    /// The client's idempotency key; empty if another set coordinates it.
    pub request_id: String,
    /// The client's.
    pub metadata: Metadata,
    /// The transaction over several sets that this is a part of.
    pub part_of: Option<TransactionId>,
    /// The transaction that it takes back.
    pub reverses: Option<TransactionId>,
}

/// When a balance is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Now.
    Now,
    /// After everything up to this ledger time.
    Time(u64),
    /// After the entry of this log index.
    Index(u64),
}

/// A posted balance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Balance {
    /// The account as it is.
    pub account: Account,
    /// The posted balance then.
    pub posted: i128,
    /// Index and ledger time of the set's last command by then; None if there was none.
    pub position: Option<(u64, u64)>,
}

impl LedgerReplica {
    /// A page of an account's statement, as of one index though entries are applied meanwhile. None: there is no such account.
    pub fn statement(&self, account: &str, query: &StatementQuery) -> Result<Read<Option<Statement>>, Fault> {
        let Read { value, index: upto, time_unix_ns } = self.owned(account)?;
        let Some(Owned { no, account, posted }) = value else {
            return Ok(Read { value: None, index: upto, time_unix_ns });
        };
        let low = query.times.0.map(|time| self.first_at(time, upto)).transpose()?;
        let high = query.times.1.map(|time| self.first_at(time, upto)).transpose()?;
        let range = (low.unwrap_or(Position(0)), high.unwrap_or(Position::new(upto + 1, 0)));
        // Nothing lies between times that are the wrong way round.
        let range = (range.0.min(range.1), range.1);
        let ends = if query.filter.days() {
            None
        } else {
            let opening = low.map_or(Ok(0), |_| self.balance_before(no, range.0))?;
            let closing = high.map_or(Ok(posted), |_| self.balance_before(no, range.1))?;
            Some((opening, closing))
        };
        let mut page = Page { replica: self, query, no, account: &account, range, lines: Vec::new() };
        let next = page.fill(ends)?;
        let lines = page.lines;
        let value = Some(Statement { account, lines, next, ends });
        Ok(Read { value, index: upto, time_unix_ns })
    }

    /// The posted balance of an account at a moment. None: there is no such account, or the log has not come so far yet.
    pub fn balance(&self, account: &str, moment: Moment) -> Result<Read<Option<Balance>>, Fault> {
        let Read { value, index, time_unix_ns } = self.owned(account)?;
        let Some(Owned { no, account, posted }) = value else {
            return Ok(Read { value: None, index, time_unix_ns });
        };
        let end = match moment {
            Moment::Now => None,
            Moment::Time(time) => time.checked_add(1).map(|end| self.first_at(end, index)).transpose()?,
            Moment::Index(asked) if asked > index => {
                return Ok(Read { value: None, index, time_unix_ns });
            }
            Moment::Index(asked) => {
                Some(Position::new(asked + u64::from(!canary::on(Canary::BalanceTooEarly)), 0))
            }
        };
        let (posted, position) = match end {
            None => (posted, self.last_before(Position::new(index + 1, 0))?),
            Some(end) => (self.balance_before(no, end)?, self.last_before(end)?),
        };
        Ok(Read { value: Some(Balance { account, posted, position }), index, time_unix_ns })
    }

    /// An account and the sum of its postings, as of now.
    fn owned(&self, id: &str) -> Result<Read<Option<Owned>>, Fault> {
        self.check()?;
        let state = self.cell.state.read();
        Ok(state.answer(state.account_no(id).map(|no| {
            let posted = state.sides[no as usize].posted;
            Owned { no, account: state.account(no).clone(), posted }
        })))
    }
}

/// An account as it is, and the sum of its postings.
struct Owned {
    no: AccountNo,
    account: Account,
    posted: i128,
}

/// A page as it is filled.
struct Page<'a> {
    replica: &'a LedgerReplica,
    query: &'a StatementQuery,
    no: AccountNo,
    account: &'a Account,
    range: (Position, Position),
    lines: Vec<StatementLine>,
}

impl Page<'_> {
    /// Fills the page; gives where the next one begins. What is between the ends adds up to them, or something is damaged.
    fn fill(&mut self, ends: Option<(i128, i128)>) -> Result<Option<Spot>, Fault> {
        let backwards = self.query.newest_first;
        let (first, last) = self.range;
        let (first, last) = (Spot { position: first, nth: 0 }, Spot { position: last, nth: 0 });
        let mut at = match (self.query.at, backwards) {
            (Some(at), _) => at.clamp(first, last),
            (None, false) => first,
            (None, true) => last,
        };
        let (start, goal) = match ends {
            Some((opening, closing)) if backwards => (Some(closing), Some(opening)),
            Some((opening, closing)) => (Some(opening), Some(closing)),
            None => (None, None),
        };
        let mut balance = start.filter(|_| at == if backwards { last } else { first });
        let (mut compares, mut reads) = (POSTINGS_PER_PAGE, READS_PER_PAGE);
        for _ in 0..PIECES_PER_PAGE {
            let Piece { found, next } = {
                let state = self.replica.cell.state.read();
                match backwards {
                    true => state.backward(self.no, at, self.range.0)?,
                    false => state.forward(self.no, at, self.range.1)?,
                }
            };
            self.check(&found, &mut balance)?;
            let mut rest = &found[..];
            while let [one, ..] = rest {
                let room = self.query.limit.max(1) - self.lines.len();
                let count = room.min(READS_PER_LOCK).min(reads).min(compares).min(rest.len());
                if count == 0 {
                    let skips = canary::on(Canary::SkippedPosting);
                    return Ok(Some(if backwards || skips { one.end() } else { one.spot }));
                }
                let (group, more) = rest.split_at(count);
                reads -= self.take(group)?;
                compares -= count;
                rest = more;
            }
            let Some(next) = next else {
                return match balance.zip(goal) {
                    Some((balance, goal)) if balance != goal => Err(self.damaged(balance, goal)),
                    _ => Ok(None),
                };
            };
            at = next;
            if self.lines.len() >= self.query.limit {
                break;
            }
        }
        Ok(Some(at))
    }

    /// Adds those of a few postings that fit; gives how many transactions were read for it.
    fn take(&mut self, group: &[Found]) -> Result<usize, Fault> {
        let filter = &self.query.filter;
        let fits = |one: &&Found| filter.takes_amount(one.delta.unsigned_abs(), self.account.scale);
        let fitting: Vec<&Found> = group.iter().filter(fits).collect();
        if fitting.is_empty() {
            return Ok(0);
        }
        let state = self.replica.cell.state.read();
        for one in &fitting {
            let line = state.line(self.account.normal_side, one)?;
            if filter.takes(&line) {
                self.lines.push(line);
            }
        }
        Ok(fitting.len())
    }

    /// Each posting goes on from the balance that the one before it left.
    fn check(&self, found: &[Found], balance: &mut Option<i128>) -> Result<(), Fault> {
        for one in found {
            let (here, then) = match self.query.newest_first {
                true => (one.after, one.before()),
                false => (one.before(), one.after),
            };
            if let Some(balance) = balance.filter(|balance| *balance != here) {
                return Err(self.damaged(balance, here));
            }
            *balance = Some(then);
        }
        Ok(())
    }

    fn damaged(&self, one: i128, other: i128) -> Fault {
        let id = &self.account.id;
        Fault::damaged("the postings", format!("those of account {id} give {one} where {other} is kept"))
    }
}

impl StatementFilter {
    fn days(&self) -> bool {
        self.from_day.is_some() || self.until_day.is_some()
    }

    fn takes_amount(&self, minor: u128, scale: u8) -> bool {
        if self.amount_min.is_none() && self.amount_max.is_none() {
            return true;
        }
        // Sums of an account stay below 2^94, which a decimal can hold.
        let amount = i128::try_from(minor).ok();
        let amount = amount.and_then(|minor| Decimal::try_from_i128_with_scale(minor, u32::from(scale)).ok());
        amount.is_some_and(|amount| {
            self.amount_min.is_none_or(|min| amount >= min) && self.amount_max.is_none_or(|max| amount <= max)
        })
    }

    fn takes(&self, line: &StatementLine) -> bool {
        let has = |(key, value): &(String, Option<String>)| {
            line.metadata.get(key).is_some_and(|found| value.as_ref().is_none_or(|value| value == found))
        };
        self.from_day.is_none_or(|day| line.accounting_day >= day)
            && self.until_day.is_none_or(|day| line.accounting_day <= day)
            && self.kind.is_none_or(|kind| line.kind == kind)
            && self.reason.is_none_or(|reason| line.reason == reason)
            && self.metadata.as_ref().is_none_or(has)
    }
}

impl ReplicaState {
    /// A posting with what is known of its transaction.
    fn line(&self, normal_side: Side, posting: &Found) -> Result<StatementLine, Fault> {
        let position = posting.spot.position;
        let decided = self.decided(position)?.ok_or_else(|| missing(position))?;
        let (incarnation, time_unix_ns) = named(&decided);
        let side = match (posting.delta > 0, normal_side) {
            (true, side) => side,
            (false, Side::Debit) => Side::Credit,
            (false, Side::Credit) => Side::Debit,
        };
        let mut line = StatementLine {
            transaction: TransactionId { set: self.set, incarnation, position },
            nth: posting.spot.nth,
            time_unix_ns,
            side,
            amount: posting.delta.abs(),
            posted: posting.after,
            kind: 0,
            reason: 0,
            accounting_day: day(time_unix_ns),
            request_id: String::new(),
            metadata: Metadata::new(),
            part_of: None,
            reverses: None,
        };
        match &decided.command {
            command @ Command::Step { attempt, .. } => {
                line.part_of = Some(*attempt);
                // All that the client asked is known where it began; what it said of it, in every set.
                if attempt.set == self.set
                    && let Some(begun) = self.decided(attempt.position)?
                    && begun.incarnation == attempt.incarnation
                {
                    line.describe(&begun.command);
                }
                line.accounting_day = day(time_unix_ns);
                if let Some(said) = self.said_of_step(command)? {
                    line.say(said);
                }
            }
            Command::BufferStep { by, step: BufferStep::Credit(credit) } => {
                line.part_of = Some(*by);
                line.say(Said { day: credit.accounting_date, label: credit.label.clone() });
            }
            command => line.describe(command),
        }
        // What was in suspense is still what its payer said.
        if let Command::ResolveSuspense { item, .. } = &decided.command
            && let Some(suspended) = self.decided(item.position)?
            && let Command::BufferStep { step: BufferStep::Credit(credit), .. } = suspended.command
        {
            line.say(Said { day: line.accounting_day, label: credit.label });
        }
        Ok(line)
    }
}

impl StatementLine {
    /// Adds what the client has said.
    fn describe(&mut self, command: &Command) {
        match command {
            Command::Transaction(transaction) => self.describe_transaction(transaction),
            Command::Begin(begin) => self.describe_transaction(&begin.transaction),
            Command::Reversal(reversal) => {
                self.request_id.clone_from(&reversal.request_id);
                self.reason = reversal.reason;
                self.metadata.clone_from(&reversal.metadata);
                self.reverses = Some(reversal.transaction);
            }
            Command::ResolveSuspense { request_id, .. } => self.request_id.clone_from(request_id),
            _ => {}
        }
    }

    /// Adds what stands with a part.
    fn say(&mut self, Said { day, label: Label { kind, reason, metadata } }: Said) {
        (self.accounting_day, self.kind, self.reason, self.metadata) = (day, kind, reason, metadata);
    }

    fn describe_transaction(&mut self, transaction: &Transaction) {
        self.request_id.clone_from(&transaction.request_id);
        self.kind = transaction.kind;
        self.reason = transaction.reason;
        self.metadata.clone_from(&transaction.metadata);
        self.accounting_day = transaction.accounting_date.unwrap_or(self.accounting_day);
    }
}

/// Incarnation and ledger time of what was decided.
fn named(decided: &Decided) -> (u32, u64) {
    match &decided.became {
        Became::Booked { time_unix_ns } => (decided.incarnation, *time_unix_ns),
        Became::Other(outcome) => (outcome.incarnation, outcome.time_unix_ns),
    }
}

fn day(time_unix_ns: u64) -> i32 {
    i32::try_from(time_unix_ns / NS_PER_DAY).expect("days of 64-bit nanoseconds fit")
}
