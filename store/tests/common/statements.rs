//! Statements and balances of the past against the model: every posting of every account, in pages of any size, in both
//! directions, between times, filtered; and the balance at any moment.

use rust_decimal::Decimal;
use twinset_ledger::State;
use twinset_ledger::account::{Account, Side};
use twinset_ledger::attempt::{Begin, Step, VOTE};
use twinset_ledger::buffer::BufferStep;
use twinset_ledger::command::{Command, Reversal, Transaction};
use twinset_ledger::id::{Position, TransactionId};
use twinset_ledger::label::Label;
use twinset_ledger::memory::MemoryState;
use twinset_store::{LedgerReplica, Moment, StatementFilter, StatementLine, StatementQuery};

use super::Dice;

/// Compares what can be asked about the past of accounts with the model.
pub fn compare(replica: &LedgerReplica, model: &MemoryState, dice: &mut Dice) {
    let commands = times(model);
    for account in model.accounts() {
        let all = lines(model, account);
        let query = query(&all, dice);
        let (expected, ends) = expected(&all, &query);
        let mut found = Vec::new();
        let mut at = None;
        loop {
            let limit = 1 + dice.roll(90) as usize;
            let page = StatementQuery { limit, at, ..query.clone() };
            let page = replica.statement(&account.id, &page).unwrap().value.unwrap();
            assert_eq!(page.account, *account);
            assert!(page.lines.len() <= limit);
            assert_eq!(page.ends, ends, "{query:?} of {}", account.id);
            found.extend(page.lines);
            if page.next.is_none() {
                break;
            }
            assert_ne!(page.next, at, "a page gets on");
            at = page.next;
        }
        assert_eq!(found.len(), expected.len(), "{query:?} of {}", account.id);
        assert!(found == expected, "{query:?} of {}: {found:?} is not {expected:?}", account.id);
        for _ in 0..2 {
            balance(replica, account, &all, &commands, dice);
        }
    }
    assert_eq!(replica.statement("nobody", &whole()).unwrap().value, None);
    assert_eq!(replica.balance("nobody", Moment::Now).unwrap().value, None);
}

/// All of a statement, as one page.
fn whole() -> StatementQuery {
    let filter = StatementFilter::default();
    StatementQuery { times: (None, None), filter, newest_first: false, at: None, limit: 1000 }
}

/// Position and ledger time of every command.
fn times(model: &MemoryState) -> Vec<(Position, u64)> {
    let mut last = 0;
    let mut times = Vec::new();
    for (position, ..) in model.history() {
        last = if position.offset() > 0 { last + 1 } else { super::stamp(position.index()).max(last + 1) };
        times.push((position, last));
    }
    times
}

/// The lines of an account, in order.
fn lines(model: &MemoryState, account: &Account) -> Vec<StatementLine> {
    let no = model.account_no(&account.id).unwrap();
    let (mut posted, mut before, mut nth) = (0, None, 0);
    let mut line = |posting: &twinset_ledger::Posting| {
        posted += posting.delta;
        nth = if before == Some(posting.position) { nth + 1 } else { 0 };
        before = Some(posting.position);
        let (command, outcome) = model.original(posting.position).unwrap().unwrap();
        let inflow = posting.delta > 0;
        let (set, incarnation, position) = (model.set(), outcome.incarnation, posting.position);
        let mut line = StatementLine {
            transaction: TransactionId { set, incarnation, position },
            nth,
            time_unix_ns: outcome.time_unix_ns,
            side: if inflow == (account.normal_side == Side::Debit) { Side::Debit } else { Side::Credit },
            amount: posting.delta.abs(),
            posted,
            kind: 0,
            reason: 0,
            accounting_day: outcome.day(),
            request_id: String::new(),
            metadata: Default::default(),
            part_of: None,
            reverses: None,
        };
        match &command {
            Command::Step { attempt, step } => {
                line.part_of = Some(*attempt);
                if attempt.set == model.set() {
                    describe(&mut line, &model.original(attempt.position).unwrap().unwrap().0);
                }
                let (day, label) = said_of(model, *attempt, step);
                say(&mut line, day, label);
            }
            Command::BufferStep { by, step: BufferStep::Credit(credit) } => {
                line.part_of = Some(*by);
                say(&mut line, credit.accounting_date, credit.label.clone());
            }
            Command::ResolveSuspense { item, .. } => {
                describe(&mut line, &command);
                let (suspended, _) = model.original(item.position).unwrap().unwrap();
                let Command::BufferStep { step: BufferStep::Credit(credit), .. } = suspended else {
                    panic!("{suspended:?} is in no suspense")
                };
                let day = line.accounting_day;
                say(&mut line, day, credit.label);
            }
            command => describe(&mut line, command),
        }
        line
    };
    model.postings(no).iter().map(&mut line).collect()
}

fn describe(line: &mut StatementLine, command: &Command) {
    let transaction = match command {
        Command::Transaction(transaction) | Command::Begin(Begin { transaction, .. }) => transaction,
        Command::Reversal(reversal) => {
            line.request_id = reversal.request_id.clone();
            line.reason = reversal.reason;
            line.metadata = reversal.metadata.clone();
            line.reverses = Some(reversal.transaction);
            return;
        }
        Command::ResolveSuspense { request_id, .. } => {
            line.request_id.clone_from(request_id);
            return;
        }
        _ => panic!("{command:?} books nothing"),
    };
    let Transaction { request_id, kind, reason, accounting_date, metadata, .. } = transaction.clone();
    line.accounting_day = accounting_date.unwrap_or(line.accounting_day);
    (line.request_id, line.kind, line.reason, line.metadata) = (request_id, kind, reason, metadata);
}

fn say(line: &mut StatementLine, day: i32, Label { kind, reason, metadata }: Label) {
    (line.accounting_day, line.kind, line.reason, line.metadata) = (day, kind, reason, metadata);
}

/// The day of an attempt and what the client said of it, as whoever takes part was told, or as it began.
pub(super) fn said_of(model: &MemoryState, attempt: TransactionId, step: &Step) -> (i32, Label) {
    let told = match step {
        Step::Commit => model.request(&attempt.attempt_scope(), VOTE, Position(u64::MAX)).unwrap().unwrap(),
        _ => attempt.position,
    };
    match model.original(told).unwrap().unwrap() {
        (Command::Step { step: Step::Prepare { accounting_date, label, .. }, .. }, _) => {
            (accounting_date, label)
        }
        (Command::Begin(Begin { transaction, .. }), outcome) => {
            let Transaction { kind, reason, metadata, accounting_date, .. } = transaction;
            (accounting_date.unwrap_or(outcome.day()), Label { kind, reason, metadata })
        }
        (Command::Reversal(Reversal { reason, metadata, .. }), outcome) => {
            (outcome.day(), Label { kind: 0, reason, metadata })
        }
        (other, _) => panic!("{other:?} begins nothing"),
    }
}

/// Something to ask about these lines.
fn query(all: &[StatementLine], dice: &mut Dice) -> StatementQuery {
    let one = |dice: &mut Dice| all.get(dice.roll(all.len().max(1) as u64) as usize);
    let mut query = StatementQuery { newest_first: dice.roll(2) == 0, ..whole() };
    for side in 0..2 {
        if dice.roll(3) == 0
            && let Some(line) = one(dice)
        {
            let time = Some(line.time_unix_ns + dice.roll(3) - 1);
            if side == 0 { query.times.0 = time } else { query.times.1 = time }
        }
    }
    let Some(like) = one(dice) else { return query };
    let filter = &mut query.filter;
    match dice.roll(12) {
        0 => filter.kind = Some(like.kind),
        1 => filter.reason = Some(like.reason),
        2 => filter.amount_min = Some(Decimal::new(like.amount as i64 * 10 - 1, 3)),
        3 => filter.amount_max = Some(Decimal::new(like.amount as i64, 2)),
        4 => {
            let cents = Decimal::new(like.amount as i64, 2);
            (filter.amount_min, filter.amount_max) = (Some(cents), Some(cents));
            filter.kind = Some(like.kind);
        }
        5 => filter.metadata = Some(("order".to_owned(), None)),
        6 => filter.metadata = Some(("order".to_owned(), like.metadata.get("order").cloned())),
        7 => filter.from_day = Some(like.accounting_day),
        8 => (filter.from_day, filter.until_day) = (Some(like.accounting_day - 1), Some(like.accounting_day)),
        _ => {}
    }
    query
}

/// What a query must give, and the balances at its ends.
fn expected(all: &[StatementLine], query: &StatementQuery) -> (Vec<StatementLine>, Option<(i128, i128)>) {
    let from = query.times.0.unwrap_or(0);
    let until = query.times.1.unwrap_or(u64::MAX);
    let posted =
        |before: u64| all.iter().rev().find(|line| line.time_unix_ns < before).map_or(0, |line| line.posted);
    // Times the wrong way round leave nothing, and one place.
    let ends = (posted(from.min(until)), posted(until));
    let filter = &query.filter;
    let cents = |line: &StatementLine| Decimal::new(line.amount as i64, 2);
    let fits = |line: &&StatementLine| {
        (from..until).contains(&line.time_unix_ns)
            && filter.kind.is_none_or(|kind| kind == line.kind)
            && filter.reason.is_none_or(|reason| reason == line.reason)
            && filter.amount_min.is_none_or(|min| cents(line) >= min)
            && filter.amount_max.is_none_or(|max| cents(line) <= max)
            && filter.from_day.is_none_or(|day| line.accounting_day >= day)
            && filter.until_day.is_none_or(|day| line.accounting_day <= day)
            && filter.metadata.as_ref().is_none_or(|(key, value)| {
                line.metadata.contains_key(key)
                    && value.as_ref().is_none_or(|value| line.metadata[key] == *value)
            })
    };
    let mut lines: Vec<StatementLine> = all.iter().filter(fits).cloned().collect();
    if query.newest_first {
        lines.reverse();
    }
    (lines, (filter.from_day.is_none() && filter.until_day.is_none()).then_some(ends))
}

/// The balance at a time near a command, or after an entry.
fn balance(
    replica: &LedgerReplica,
    account: &Account,
    all: &[StatementLine],
    commands: &[(Position, u64)],
    dice: &mut Dice,
) {
    let (position, time) = commands[dice.roll(commands.len() as u64) as usize];
    let by_time = dice.roll(2) == 0;
    let time = time + dice.roll(3) - 1;
    let moment = if by_time { Moment::Time(time) } else { Moment::Index(position.index()) };
    let by_then =
        |at: Position, then: u64| if by_time { then <= time } else { at.index() <= position.index() };
    let posted = all.iter().rev().find(|line| by_then(line.transaction.position, line.time_unix_ns));
    let last = commands.iter().rev().find(|(at, then)| by_then(*at, *then));
    let found = replica.balance(&account.id, moment).unwrap();
    let balance = found.value.unwrap();
    assert_eq!(balance.posted, posted.map_or(0, |line| line.posted), "{moment:?} of {}", account.id);
    assert_eq!(balance.position, last.map(|(at, then)| (at.index(), *then)), "{moment:?}");
    let now = replica.balance(&account.id, Moment::Now).unwrap().value.unwrap();
    assert_eq!((now.posted, &now.account), (account.posted(), account));
    let ahead = replica.balance(&account.id, Moment::Index(found.index + 1)).unwrap();
    assert_eq!((ahead.value, ahead.index), (None, found.index));
}
