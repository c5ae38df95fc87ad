//! A load that is a pure function of (seed, log index): any process can make any record of it again, so that a model
//! can be replayed after a kill. Accounts, short and general transactions, retries, reversals, rejections, holds, restricted funds,
//! attempts of both sides and buffered credits, of which the set next to it says what the load likes.
#![allow(dead_code)]

mod buffered;
mod events;
mod holds;
mod references;
mod restrictions;
pub mod statements;

use std::path::Path;
use std::sync::mpsc::channel;

use rust_decimal::Decimal;
use twinset_ledger::account::Side;
use twinset_ledger::attempt::{Ballot, Begin, Part, Step, Sum, Vote};
use twinset_ledger::codec::{EntryBuilder, PackedId, Short, ShortScope, encode_command};
use twinset_ledger::command::{Command, Leg, LegKind, LegPart, Metadata, REFERENCE, Reversal, Transaction};
use twinset_ledger::hold::Capture;
use twinset_ledger::id::{Position, TransactionId};
use twinset_ledger::memory::MemoryState;
use twinset_ledger::outcome::Posted;
use twinset_ledger::rejection::Rejection;
use twinset_ledger::{Effect, FreezeMode, Label, RULES_VERSION, State, apply};
use twinset_store::{LedgerReplica, Log, LogId, OpenError, Options, Record, RecordKind, SimDisk, Store};

pub const ACCOUNTS: u32 = 40;
const COMMANDS: u64 = 60;
/// The set is recovered by force now and then, so to speak.
const ENTRIES_PER_INCARNATION: u64 = 50;
/// Everything from here on is transactions.
const FIRST_LOAD: u64 = 3;

/// Options that make everything happen often.
pub fn options() -> Options {
    Options {
        checkpoint_commands: 300,
        tail_cache_bytes: 40_000,
        block_cache_bytes: 1 << 20,
        log_write_buffer_bytes: 1 << 20,
        ..Options::default()
    }
}

pub fn open(dir: &Path) -> Store {
    Store::open(dir, options()).unwrap()
}

/// What a store of a test stands on.
pub enum Ground {
    /// A directory of its own.
    Dir(tempfile::TempDir),
    /// A simulated disk that does its work as soon as there is some.
    Sim(SimDisk),
}

/// Both kinds of ground, to be made.
pub const GROUNDS: [fn() -> Ground; 2] = [Ground::dir, Ground::sim];

impl Ground {
    pub fn dir() -> Ground {
        Ground::Dir(tempfile::tempdir().unwrap())
    }

    pub fn sim() -> Ground {
        let disk = SimDisk::new("a1");
        disk.on_work(|disk| {
            disk.run_pending();
        });
        Ground::Sim(disk)
    }

    /// One of each.
    pub fn both() -> [Ground; 2] {
        GROUNDS.map(|make| make())
    }

    pub fn open(&self) -> Store {
        self.open_with(options()).unwrap()
    }

    pub fn open_with(&self, options: Options) -> Result<Store, OpenError> {
        match self {
            Ground::Dir(dir) => Store::open(dir.path(), options),
            Ground::Sim(disk) => Store::open_simulated(disk, options),
        }
    }
}

/// Small, seeded, and the same everywhere.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Dice {
        Dice(seed)
    }

    pub fn roll(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % below
    }
}

#[derive(Clone, Copy)]
pub struct Load {
    pub seed: u64,
    pub set: u32,
}

/// The kinds of command that begin an attempt or try to take one back, and one of those in short form.
const BEGIN: u64 = 13;
const TAKES_BACK: std::ops::RangeInclusive<u64> = 6..=7;
const SHORT: u64 = 39;
/// The kind of command that restricts something.
const RESTRICTS: u64 = 36;
/// What is paid to the set next to it.
const FAR_CENTS: i64 = 40;

enum Made {
    Short(Short),
    General(Command),
}

impl Load {
    pub fn id(self, index: u64) -> LogId {
        LogId { term: 1 + index / 100, leader: 7, index }
    }

    pub fn record(self, index: u64) -> Record {
        let (kind, payload) = match index {
            0 => (RecordKind::Blank, Vec::new()),
            1 => (RecordKind::Membership, b"three voters".to_vec()),
            _ if index.is_multiple_of(17) => (RecordKind::Blank, Vec::new()),
            _ => (RecordKind::Commands, self.entry(index)),
        };
        Record { id: self.id(index), kind, payload: payload.into() }
    }

    fn entry(self, index: u64) -> Vec<u8> {
        let mut builder = EntryBuilder::new(RULES_VERSION, incarnation(index), stamp(index));
        for offset in 0..self.count(index) {
            match self.command(index, offset) {
                Made::Short(short) => builder.push_short(&short),
                Made::General(command) => {
                    let mut bytes = Vec::new();
                    encode_command(&command, &mut bytes);
                    builder.push_command_bytes(&bytes);
                }
            }
        }
        builder.finish()
    }

    fn count(self, index: u64) -> u64 {
        if index < FIRST_LOAD {
            u64::from(ACCOUNTS) + buffered::FIRST
        } else {
            1 + self.dice(index, 999).roll(COMMANDS)
        }
    }

    fn dice(self, index: u64, offset: u64) -> Dice {
        let mut dice = Dice::new(self.seed ^ u64::from(self.set) << 48 ^ index << 16 ^ offset);
        dice.roll(2);
        dice
    }

    fn command(self, index: u64, offset: u64) -> Made {
        if index < FIRST_LOAD {
            return Made::General(match offset.checked_sub(ACCOUNTS.into()) {
                Some(no) => self.begin_buffering(no),
                None => opening(offset),
            });
        }
        if buffered::is_own(index) {
            return self.buffered(index, offset).map_or_else(|| self.short(index, offset), Made::General);
        }
        let mut dice = self.dice(index, offset);
        // Half of the entries are in short form alone.
        let kind = if index.is_multiple_of(2) { SHORT } else { dice.roll(40) };
        let earlier = earlier(index, &mut dice);
        match kind {
            // A retry of anything before, this entry included.
            0..=3 if !earlier.is_multiple_of(17) => {
                let limit = if earlier == index { offset } else { self.count(earlier) };
                if limit == 0 { self.short(index, offset) } else { self.command(earlier, dice.roll(limit)) }
            }
            4..=7 if !earlier.is_multiple_of(17) && earlier < index => {
                let (earlier, offset_there) =
                    match TAKES_BACK.contains(&kind).then(|| self.begun_before(index, &mut dice)) {
                        Some(Some(begun)) => begun,
                        _ => (earlier, dice.roll(self.count(earlier))),
                    };
                let position = Position::new(earlier, offset_there as u16);
                // Some are mistyped, with a request id that goes on to reverse something else, or did so before.
                let typo = u32::from(dice.roll(5) == 0);
                let incarnation = incarnation(earlier) + typo;
                let amount = (dice.roll(2) == 0).then(|| Decimal::new(1, 2));
                let part = |leg, cents| LegPart { leg, amount: Decimal::new(cents, 2) };
                let has_many = || match self.command(earlier, offset_there) {
                    Made::General(Command::Transaction(transaction)) => transaction.legs.len() > 2,
                    _ => false,
                };
                // Mostly so that they balance.
                let legs =
                    (amount.is_none() && dice.roll(2) == 0 && has_many()).then(|| match dice.roll(4) {
                        0 => vec![part(0, 7), part(1, 3), part(2, 4)],
                        1 => vec![part(1, 2), part(3, 1)],
                        _ => vec![part(0, 9), part(2, 9)],
                    });
                Made::General(Command::Reversal(Reversal {
                    request_id: format!("reversal-{}-{}", index / 2, offset / 2),
                    transaction: TransactionId { set: self.set, incarnation, position },
                    amount,
                    legs,
                    reason: 1,
                    metadata: order(index / 2, offset / 2),
                }))
            }
            8..=10 => Made::General(Command::Transaction(self.many_legs(index, offset, &mut dice))),
            11 => {
                let (account, mode) = (name(dice.roll(u64::from(ACCOUNTS)) as u32), FreezeMode::Debit);
                let request_id = format!("freeze-{index}-{offset}");
                Made::General(match dice.roll(2) {
                    0 => Command::Freeze { request_id, account, mode },
                    _ => Command::Unfreeze { request_id, account, mode },
                })
            }
            12 => Made::General(Command::DefineCurrency { code: format!("C{}", dice.roll(5)), scale: 3 }),
            BEGIN => Made::General(Command::Begin(self.begin(index, offset))),
            14..=22 => Made::General(self.step_on(index, &mut dice)),
            23..=26 => Made::General(self.take_part(index, &mut dice)),
            27..=28 => match self.begun_before(index, &mut dice) {
                Some((earlier, at)) => Made::General(Command::Begin(self.begin(earlier, at))),
                None => self.short(index, offset),
            },
            29..=31 => Made::General(self.place(index, offset)),
            32..=33 => match self.use_hold(index, offset, &mut dice) {
                Some(command) => Made::General(command),
                None => self.short(index, offset),
            },
            RESTRICTS => Made::General(Command::Transaction(self.restrict(index, offset))),
            37 => match self.use_restriction(index, offset, &mut dice) {
                Some(command) => Made::General(command),
                None => self.short(index, offset),
            },
            34 | 38 => match self.try_hold(index, &mut dice) {
                Some(command) => Made::General(command),
                None => self.short(index, offset),
            },
            35 => Made::General(Command::Together { count: 1 + dice.roll(3) as u16 }),
            _ => self.short(index, offset),
        }
    }

    /// An account here pays one elsewhere.
    fn begin(self, index: u64, offset: u64) -> Begin {
        let mut dice = self.dice(index, offset + 7000);
        let leg = |account: String, side| Leg::new(&account, side, Decimal::new(FAR_CENTS, 2));
        let held = if dice.roll(2) == 0 { self.placed_before(index, &mut dice) } else { None };
        let (capture, here) = match held {
            Some((hold, account)) => (Some(Capture { hold, is_final: dice.roll(4) == 0 }), account),
            None => (None, name(dice.roll(u64::from(ACCOUNTS)) as u32)),
        };
        let transaction = Transaction {
            request_id: format!("begin-{index}-{offset}"),
            scope_account: Some(here.clone()),
            capture,
            legs: vec![leg(here, Side::Debit), leg("far".to_owned(), Side::Credit)],
            metadata: order(index, offset),
            reason: 3,
            ..Transaction::default()
        };
        Begin { transaction, sets: vec![self.set, self.far()] }
    }

    /// What was begun a while ago, if something was in the entry that the dice name.
    fn begun_before(self, index: u64, dice: &mut Dice) -> Option<(u64, u64)> {
        let earlier = index.saturating_sub(2 * (4 + dice.roll(6))).max(FIRST_LOAD);
        let begun = (0..self.count(earlier)).filter(|&at| self.opens(earlier, at) == Some(Side::Credit));
        let begun: Vec<u64> = if is_mixed(earlier) { begun.collect() } else { Vec::new() };
        let at = begun.get(dice.roll(begun.len().max(1) as u64) as usize)?;
        Some((earlier, *at))
    }

    /// The set next to it.
    fn far(self) -> u32 {
        self.set + 100
    }

    /// A step of something that one of the last odd entries began; if it began nothing, of nothing.
    fn step_on(self, index: u64, dice: &mut Dice) -> Command {
        let entry = index.saturating_sub(2 * (1 + dice.roll(3))).max(FIRST_LOAD);
        let opened = (0..self.count(entry)).filter_map(|offset| Some((offset, self.opens(entry, offset)?)));
        let opened: Vec<(u64, Side)> = if is_mixed(entry) { opened.collect() } else { Vec::new() };
        let wanted = if dice.roll(2) == 0 { Side::Debit } else { Side::Credit };
        let opened: Vec<(u64, Side)> = opened.into_iter().filter(|(_, side)| *side == wanted).collect();
        let at = dice.roll(opened.len().max(1) as u64) as usize;
        let (offset, side) = opened.get(at).copied().unwrap_or((0, Side::Credit));
        let position = Position::new(entry, offset as u16);
        let attempt = TransactionId { set: self.set, incarnation: incarnation(entry), position };
        let set = self.far();
        let amount = if side == Side::Credit || dice.roll(2) == 0 { FAR_CENTS.into() } else { 1 };
        let vote = |said| Step::Decide(Ballot::Votes(vec![Vote { set, said }]));
        let step = match dice.roll(16) {
            0 | 1 => Step::Decide(Ballot::GivenUp { set }),
            2 => vote(Err(Rejection::AccountClosed { account: "far".to_owned() })),
            3..=8 => {
                let (debits, credits) = if side == Side::Debit { (amount, 0) } else { (0, amount) };
                vote(Ok(vec![Sum { currency: "EUR".to_owned(), scale: 2, debits, credits }]))
            }
            _ => {
                let after = i128::from(index);
                let account = "far".to_owned();
                let far = Posted { account, side, amount, scale: 2, posted: after, available: after };
                Step::Settle { parts: vec![Part { set, position: Position::new(index, 0), legs: vec![far] }] }
            }
        };
        Command::Step { attempt, step }
    }

    /// Whether the command there may open an attempt here: then what the far set would book in it.
    fn opens(self, index: u64, offset: u64) -> Option<Side> {
        let mut dice = self.dice(index, offset);
        if !is_mixed(index) {
            return None;
        }
        match dice.roll(40) {
            BEGIN => Some(Side::Credit),
            kind if TAKES_BACK.contains(&kind) => Some(Side::Debit),
            0..=3 => {
                let earlier = earlier(index, &mut dice);
                let limit = if earlier == index { offset } else { self.count(earlier) };
                let again = !earlier.is_multiple_of(17) && limit > 0;
                again.then(|| self.opens(earlier, dice.roll(limit))).flatten()
            }
            _ => None,
        }
    }

    /// A step of what the set next to it coordinates: few attempts at a time, so that steps meet.
    fn take_part(self, index: u64, dice: &mut Dice) -> Command {
        let position = Position::new(index / 8, dice.roll(6) as u16);
        let attempt = TransactionId { set: self.far(), incarnation: 1, position };
        let leg = |account: u64, side, cents| Leg::new(&name(account as u32), side, Decimal::new(cents, 2));
        let account = position.0 % u64::from(ACCOUNTS);
        let legs = match dice.roll(3) {
            0 => vec![leg(account, Side::Debit, 7)],
            1 => vec![Leg {
                kind: LegKind::Restricted { until_ns: Some(1_700_000_000_000_000_000 + index * 30) },
                ..leg(account, Side::Credit, 7)
            }],
            _ => vec![leg(account, Side::Debit, 9), leg((account + 1) % 40, Side::Credit, 4)],
        };
        let step = match dice.roll(5) {
            0..=2 => {
                let label = label(position.0);
                Step::Prepare { legs, accounting_date: 1, reverses: None, label }
            }
            3 => Step::Commit,
            _ => Step::Abort,
        };
        Command::Step { attempt, step }
    }

    fn short(self, index: u64, offset: u64) -> Made {
        let mut dice = self.dice(index, offset + 5000);
        let debit = dice.roll(u64::from(ACCOUNTS)) as u32;
        let credit = (debit + 1 + dice.roll(u64::from(ACCOUNTS) - 1) as u32) % ACCOUNTS;
        Made::Short(Short {
            request_id: PackedId::pack(&format!("{index}-{offset}")).unwrap(),
            debit,
            credit,
            amount: 1 + dice.roll(500),
            kind: 1 + (index % 3) as u16,
            reason: (offset % 4) as u16,
            accounting_date: offset.is_multiple_of(5).then_some(19_000 + (index % 7) as i32),
            scope: ShortScope::Default,
            credit_first: dice.roll(2) == 0,
        })
    }

    /// Four legs, two of them on one account; sometimes one of them is unknown.
    fn many_legs(self, index: u64, offset: u64, dice: &mut Dice) -> Transaction {
        let first = dice.roll(u64::from(ACCOUNTS)) as u32;
        let unknown = dice.roll(8) == 0;
        let leg = |account: String, side, cents| Leg::new(&account, side, Decimal::new(cents, 2));
        let other = if unknown { format!("nobody-{index}") } else { name((first + 1) % ACCOUNTS) };
        Transaction {
            request_id: format!("many-{index}-{offset}"),
            legs: vec![
                leg(name(first), Side::Debit, 30),
                leg(other, Side::Credit, 10),
                leg(name((first + 2) % ACCOUNTS), Side::Credit, 25),
                leg(name(first), Side::Debit, 5),
            ],
            metadata: order(index, offset),
            kind: 4,
            ..Transaction::default()
        }
    }
}

/// An entry that is not later.
fn earlier(index: u64, dice: &mut Dice) -> u64 {
    FIRST_LOAD + dice.roll(index - FIRST_LOAD + 1).min(index - FIRST_LOAD)
}

/// Whether an entry has commands of all kinds but those that have entries of their own.
fn is_mixed(index: u64) -> bool {
    !index.is_multiple_of(2) && !index.is_multiple_of(17) && !buffered::is_own(index)
}

fn incarnation(index: u64) -> u32 {
    1 + (index / ENTRIES_PER_INCARNATION) as u32
}

/// The time that the leader gives to an entry.
pub fn stamp(index: u64) -> u64 {
    1_700_000_000_000_000_000 + index
}

/// What a client knows a transaction by; not all have it.
fn order(index: u64, offset: u64) -> Metadata {
    let order = (!offset.is_multiple_of(3)).then(|| ("order".to_owned(), format!("o-{}", index % 9)));
    let of = (index * 7 + offset) % 31;
    let reference = (!offset.is_multiple_of(4)).then(|| (REFERENCE.to_owned(), format!("r-{of}")));
    order.into_iter().chain(reference).collect()
}

/// What a client has said of a transaction of another set; mostly something.
fn label(of: u64) -> Label {
    let (kind, reason) = ((of % 3) as u16, u16::from(of.is_multiple_of(5)));
    Label { kind, reason, metadata: order(of, of % 4) }
}

pub fn name(no: u32) -> String {
    format!("account-{no}")
}

fn opening(no: u64) -> Command {
    Command::OpenAccount {
        request_id: "open".to_owned(),
        account: name(no as u32),
        subject: "liability".to_owned(),
        currency: "EUR".to_owned(),
        normal_side: None,
        // Some run dry: rejections.
        limit: (!no.is_multiple_of(3)).then(|| Decimal::new(-50, 0)),
        metadata: Metadata::new(),
    }
}

/// The model after all records up to `last`.
pub fn model(load: Load, last: Option<u64>) -> MemoryState {
    let mut model = MemoryState::new(load.set);
    for index in 0..last.map_or(0, |last| last + 1) {
        let record = load.record(index);
        if record.kind == RecordKind::Commands {
            model.apply(index, &record.payload).unwrap();
        }
    }
    model
}

/// Appends and waits for the sync.
pub fn append(log: &Log, records: Vec<Record>) {
    let (tell, told) = channel();
    log.append(records, Box::new(move |result| tell.send(result).unwrap())).unwrap();
    told.recv().unwrap().unwrap();
}

/// Applies what the log has beyond the replica.
pub fn catch_up(log: &Log, replica: &LedgerReplica) {
    let end = log.last().map_or(0, |last| last.index + 1);
    let mut next = replica.applied().log_id.map_or(0, |last| last.index + 1);
    while next < end {
        for record in log.read(next, end, 100_000).unwrap() {
            replica.apply(&record).unwrap();
            next += 1;
        }
    }
}

/// Compares everything that can be asked with the model.
pub fn compare(replica: &LedgerReplica, model: &MemoryState, dice: &mut Dice) {
    let totals = replica.totals().value;
    assert_eq!(totals.currencies, model.totals());
    for account in model.accounts() {
        assert_eq!(replica.account(&account.id).value.as_ref(), Some(account));
    }
    let mut booked = Vec::new();
    for (position, command, outcome) in model.history() {
        let is_booked = matches!(
            outcome.result,
            Ok(Effect::Posted(_) | Effect::Buffered { .. } | Effect::Suspended { .. })
        );
        if outcome.is_remembered() && is_booked {
            booked.push(position);
        }
        if dice.roll(4) > 0 {
            continue;
        }
        let found = replica.transaction(position).unwrap().value;
        if !outcome.is_remembered() {
            assert_eq!(found, None, "{position:?}");
            continue;
        }
        let found = found.unwrap_or_else(|| panic!("{position:?} is remembered"));
        assert_eq!(found.command, *command);
        assert_eq!(found.outcome, apply::came_of(model, outcome.clone()).unwrap());
        assert_eq!(found.id.incarnation, incarnation(position.index()));
        assert_eq!(found.reversed, model.reversed(position).unwrap());
        if let (Some(scope), Some(request_id)) = (&found.scope_account, command.request_id()) {
            let by_id = replica.request(scope, request_id).unwrap().value.unwrap();
            let first = model.request(scope, request_id, Position(u64::MAX)).unwrap().unwrap();
            let newest = apply::newest_attempt(model, first, request_id).unwrap();
            assert_eq!(by_id.id.position, newest);
            assert!(first != position || newest >= position, "no attempt is before the first");
            if newest == position {
                assert_eq!(by_id, found);
            }
        }
    }
    assert_eq!(totals.transactions, booked.len() as u64);
    holds::compare(replica, model, dice);
    restrictions::compare(replica, model, dice);
    buffered::compare(replica, model, dice);
    assert_eq!(replica.attempts().value, *model.attempts());
    let (mut listed, mut after) = (Vec::new(), None);
    loop {
        let page = replica.list(after, 700).unwrap().value;
        for one in page.iter() {
            if dice.roll(4) == 0 {
                let whole = replica.transaction(one.id.position).unwrap().value.unwrap();
                assert_eq!(whole.listed().as_ref(), Some(one), "a list shows what a look-up does");
            }
            listed.push(one.id.position);
        }
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(listed, booked);
    statements::compare(replica, model, dice);
    events::compare(replica, model, dice);
    references::compare(replica, model, dice);
}
