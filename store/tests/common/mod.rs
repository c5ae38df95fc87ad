//! A load that is a pure function of (seed, log index): any process can make any record of it again, so that a model
//! can be replayed after a kill. Accounts, short and general transactions, retries, reversals, rejections.
#![allow(dead_code)]

use std::path::Path;
use std::sync::mpsc::channel;

use rust_decimal::Decimal;
use twinset_ledger::account::Side;
use twinset_ledger::codec::{EntryBuilder, PackedId, Short, ShortScope, encode_command};
use twinset_ledger::command::{Command, Leg, Metadata, Reversal, Transaction};
use twinset_ledger::id::{Position, TransactionId};
use twinset_ledger::memory::MemoryState;
use twinset_ledger::{FreezeMode, RULES_VERSION, State};
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
        let mut builder =
            EntryBuilder::new(RULES_VERSION, incarnation(index), 1_700_000_000_000_000_000 + index);
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
        if index < FIRST_LOAD { u64::from(ACCOUNTS) } else { 1 + self.dice(index, 999).roll(COMMANDS) }
    }

    fn dice(self, index: u64, offset: u64) -> Dice {
        let mut dice = Dice::new(self.seed ^ u64::from(self.set) << 48 ^ index << 16 ^ offset);
        dice.roll(2);
        dice
    }

    fn command(self, index: u64, offset: u64) -> Made {
        if index < FIRST_LOAD {
            return Made::General(opening(offset));
        }
        let mut dice = self.dice(index, offset);
        // Half of the entries are in short form alone.
        let kind = if index.is_multiple_of(2) { 20 } else { dice.roll(40) };
        let earlier = FIRST_LOAD + dice.roll(index - FIRST_LOAD + 1).min(index - FIRST_LOAD);
        match kind {
            // A retry of anything before, this entry included.
            0..=3 if !earlier.is_multiple_of(17) => {
                let limit = if earlier == index { offset } else { self.count(earlier) };
                if limit == 0 { self.short(index, offset) } else { self.command(earlier, dice.roll(limit)) }
            }
            4..=7 if !earlier.is_multiple_of(17) && earlier < index => {
                let position = Position::new(earlier, dice.roll(self.count(earlier)) as u16);
                // Some are mistyped, with a request id that goes on to reverse something else, or did so before.
                let typo = u32::from(dice.roll(5) == 0);
                let incarnation = incarnation(earlier) + typo;
                Made::General(Command::Reversal(Reversal {
                    request_id: format!("reversal-{}-{}", index / 2, offset / 2),
                    transaction: TransactionId { set: self.set, incarnation, position },
                    amount: (dice.roll(2) == 0).then(|| Decimal::new(1, 2)),
                    reason: 1,
                    metadata: Metadata::new(),
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
            _ => self.short(index, offset),
        }
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
            kind: 2,
            reason: 0,
            accounting_date: None,
            scope: ShortScope::Default,
            credit_first: dice.roll(2) == 0,
        })
    }

    /// Four legs, two of them on one account; sometimes one of them is unknown.
    fn many_legs(self, index: u64, offset: u64, dice: &mut Dice) -> Transaction {
        let first = dice.roll(u64::from(ACCOUNTS)) as u32;
        let unknown = dice.roll(8) == 0;
        let leg = |account: String, side, cents| Leg {
            account,
            side,
            amount: Decimal::new(cents, 2),
            currency: None,
        };
        let other = if unknown { format!("nobody-{index}") } else { name((first + 1) % ACCOUNTS) };
        Transaction {
            request_id: format!("many-{index}-{offset}"),
            legs: vec![
                leg(name(first), Side::Debit, 30),
                leg(other, Side::Credit, 10),
                leg(name((first + 2) % ACCOUNTS), Side::Credit, 25),
                leg(name(first), Side::Debit, 5),
            ],
            ..Transaction::default()
        }
    }
}

fn incarnation(index: u64) -> u32 {
    1 + (index / ENTRIES_PER_INCARNATION) as u32
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
        let is_booked = matches!(outcome.result, Ok(twinset_ledger::Effect::Posted(_)));
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
        assert_eq!(found.outcome, *outcome);
        assert_eq!(found.id.incarnation, incarnation(position.index()));
        assert_eq!(found.reversed, model.reversed(position).unwrap());
        if let (Some(scope), Some(request_id)) = (&found.scope_account, command.request_id()) {
            assert_eq!(replica.request(scope, request_id).unwrap().value.as_ref(), Some(&found));
        }
    }
    assert_eq!(totals.transactions, booked.len() as u64);
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
}
