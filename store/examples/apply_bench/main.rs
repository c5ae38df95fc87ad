//! What the layout costs: appends, applies and checkpoints batches of random two-leg transactions on one replica, and
//! prints microseconds per transfer. No network, no Raft. Run with
//! `cargo run --release -p twinset-store --example apply_bench -- [batches] [batch] [accounts]`; with `across` before the numbers
//! the transactions are over two sets, and it prints what each step costs.

mod across;

use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use rust_decimal::Decimal;
use twinset_ledger::account::Side;
use twinset_ledger::codec::{EntryBuilder, encode_command};
use twinset_ledger::command::{Command, Leg, Metadata, Transaction};
use twinset_ledger::{Position, RULES_VERSION};
use twinset_store::{EncodedOutcomes, LedgerReplica, Log, LogId, Options, Record, RecordKind, Store};

/// Transactions that are read in the end.
const READS: u32 = 2000;

fn main() {
    let mut arguments = std::env::args().skip(1).peekable();
    let over_two_sets = arguments.next_if(|first| first == "across").is_some();
    let mut numbers = arguments.map(|text| text.parse::<u64>().expect("arguments are numbers"));
    let batches = numbers.next().unwrap_or(200);
    let batch = numbers.next().unwrap_or(8192);
    let accounts = numbers.next().unwrap_or(10_000);
    let dir = tempfile::tempdir().expect("a temporary directory can be made");
    if over_two_sets {
        return across::run(dir.path(), batches, batch, accounts);
    }
    let store = Store::open(dir.path(), Options::default()).expect("the store opens");
    let bench = Bench::open(&store, 1);
    let index = bench.open_accounts(accounts);
    bench.run(index, batches, batch, accounts);
    store.close();
}

/// One replica.
struct Bench {
    log: Log,
    replica: LedgerReplica,
}

#[derive(Default)]
struct Spent {
    make: Duration,
    shorten: Duration,
    append: Duration,
    apply: Duration,
    apply_max: Duration,
}

impl Bench {
    fn open(store: &Store, set: u32) -> Bench {
        let log = store.log(set).expect("the log opens");
        let replica = store.ledger(set).expect("the replica opens");
        Bench { log, replica }
    }

    /// Opens that many accounts; gives the next index.
    fn open_accounts(&self, accounts: u64) -> u64 {
        let mut index = 0;
        for first in (0..accounts).step_by(8192) {
            let commands = (first..accounts.min(first + 8192)).map(opening);
            self.append(entry(index, commands, |_| None));
            index += 1;
        }
        self.apply_rest();
        index
    }

    fn append(&self, record: Record) {
        let (tell, told) = channel();
        let done = Box::new(move |result| tell.send(result).expect("the bench waits"));
        self.log.append(vec![record], done).expect("the log takes it");
        told.recv().expect("the syncer calls").expect("the sync succeeds");
    }

    /// Applies what is not applied yet; gives what the last entry came to.
    fn apply_rest(&self) -> EncodedOutcomes {
        let from = self.replica.applied().log_id.map_or(0, |last| last.index + 1);
        let records = self.log.read(from, u64::MAX, usize::MAX).expect("the log is read");
        let mut last = None;
        for record in &records {
            last = Some(self.replica.apply(record).expect("the record is applied"));
        }
        last.expect("there was one to apply")
    }

    fn run(&self, first: u64, batches: u64, batch: u64, accounts: u64) {
        let mut spent = Spent::default();
        let mut dice = Dice(1);
        let cpu = cpu();
        let begin = Instant::now();
        for index in first..first + batches {
            let from = Instant::now();
            let commands: Vec<Command> = (0..batch).map(|_| transfer(&mut dice, accounts)).collect();
            let made = Instant::now();
            let record = entry(index, commands, |bytes| self.replica.shorten(bytes));
            let shortened = Instant::now();
            self.append(record);
            let appended = Instant::now();
            self.apply_rest();
            let applied = appended.elapsed();
            spent.make += made - from;
            spent.shorten += shortened - made;
            spent.append += appended - shortened;
            spent.apply += applied;
            spent.apply_max = spent.apply_max.max(applied);
        }
        self.replica.checkpoint().expect("the checkpoint succeeds");
        let total = begin.elapsed();
        let count = batches * batch;
        let each = |time: Duration| time.as_secs_f64() * 1e6 / count as f64;
        let booked = self.replica.totals().value.transactions;
        println!("{count} transfers, {booked} booked, {accounts} accounts, batches of {batch}");
        println!("us each: make {:.2}, encode+shorten {:.2}", each(spent.make), each(spent.shorten));
        println!("us each: append+sync {:.2}, apply {:.2}", each(spent.append), each(spent.apply));
        println!("slowest apply of a batch: {:.1} ms", spent.apply_max.as_secs_f64() * 1e3);
        let store = total - spent.make - spent.shorten;
        println!("us each: {:.2} for append, apply and checkpoint, wall clock", each(store));
        println!(
            "us each: {:.2} of CPU, all threads, making the load included",
            each(self::cpu().saturating_sub(cpu))
        );
        println!("{:.0} transfers/s", count as f64 / store.as_secs_f64());
        self.read(&mut dice, first, batches, batch);
    }

    /// Reads transactions here and there.
    fn read(&self, dice: &mut Dice, first: u64, batches: u64, batch: u64) {
        let begin = Instant::now();
        for _ in 0..READS {
            let offset = u16::try_from(dice.roll() % batch).expect("a batch has at most 65,535 commands");
            let position = Position::new(first + dice.roll() % batches, offset);
            let found = self.replica.transaction(position).expect("the transaction is read").value;
            assert!(found.is_some(), "every command was a transaction");
        }
        println!("{:.0} us to read a transaction", begin.elapsed().as_secs_f64() * 1e6 / f64::from(READS));
    }
}

/// CPU time of this process, all threads.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
    // User and system time in hundredths of a second, as Linux counts them everywhere.
    Duration::from_millis((ticks(11) + ticks(12)) * 10)
}

fn entry(
    index: u64,
    commands: impl IntoIterator<Item = Command>,
    shorten: impl Fn(&[u8]) -> Option<twinset_ledger::codec::Short>,
) -> Record {
    let mut builder = EntryBuilder::new(RULES_VERSION, 1, 1_700_000_000_000_000_000 + index * 1_000_000);
    let mut bytes = Vec::new();
    for command in commands {
        bytes.clear();
        encode_command(&command, &mut bytes);
        match shorten(&bytes) {
            Some(short) => builder.push_short(&short),
            None => builder.push_command_bytes(&bytes),
        }
    }
    let id = LogId { term: 1, leader: 1, index };
    Record { id, kind: RecordKind::Commands, payload: builder.finish().into() }
}

fn opening(no: u64) -> Command {
    Command::OpenAccount {
        request_id: "open".to_owned(),
        account: format!("account-{no}"),
        subject: "liability".to_owned(),
        currency: "EUR".to_owned(),
        normal_side: None,
        limit: None,
        metadata: Metadata::new(),
    }
}

fn transfer(dice: &mut Dice, accounts: u64) -> Command {
    let debit = dice.roll() % accounts;
    let credit = (debit + 1 + dice.roll() % (accounts - 1)) % accounts;
    let (a, b) = (dice.roll(), dice.roll());
    let amount = Decimal::new((dice.roll() % 100_000) as i64 + 1, 2);
    let leg = |no: u64, side| Leg::new(&format!("account-{no}"), side, amount);
    Command::Transaction(Transaction {
        request_id: request_id(a, b),
        legs: vec![leg(debit, Side::Debit), leg(credit, Side::Credit)],
        ..Transaction::default()
    })
}

/// As clients make them: a UUID.
fn request_id(a: u64, b: u64) -> String {
    let (first, second, third) = (a >> 32, (a >> 16) & 0xffff, a & 0xffff);
    format!("{first:08x}-{second:04x}-{third:04x}-{:04x}-{:012x}", b >> 48, b & 0xffff_ffff_ffff)
}

/// SplitMix64.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}
