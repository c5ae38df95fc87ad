//! The simulated disk against the real one: the same random script of everything that a node does to its store, through
//! restarts, power cuts and logs that end anywhere. Every result, hash, index, error and byte of a snapshot is equal.
#![allow(clippy::unwrap_used)]

mod common;
mod floors;
mod power;

use std::fmt::Debug;

use common::{Dice, Load, compare, model, name, options};
use floors::{End, Home, SETS};
use twinset_ledger::id::Position;
use twinset_store::{Fault, Identity, LogId, Options, Record, ReplicaRecord, SnapshotMeta};

const SEED: &str = "TWINSET_STORE_SEED";
const SEEDS: u64 = 8;
const ROUNDS: usize = 7;
const STEPS_PER_ROUND: u64 = 40;
/// Terms of a log whose tail was replaced.
const TERMS_PER_BRANCH: u64 = 1_000;

#[test]
fn both_floors_answer_alike() {
    let only: Option<u64> = std::env::var(SEED).ok().map(|seed| seed.parse().unwrap());
    for seed in only.map_or(0..SEEDS, |seed| seed..seed + 1) {
        println!("seed {seed}: {SEED}={seed} cargo test --release --workspace --test differential");
        Script::new(seed).run();
    }
}

/// A sender and a receiver of snapshots on the same kind of disk.
struct Side {
    near: Home,
    far: Home,
}

struct Script {
    seed: u64,
    dice: Dice,
    steps: u64,
    real: Side,
    sim: Side,
    /// How often the tail of the first set's log was replaced.
    branch: u64,
}

impl Script {
    fn new(seed: u64) -> Script {
        // Checkpoints come when the script says so, or when four are due; nothing goes to a table file by itself.
        let options = Options {
            background_checkpoints: false,
            log_write_buffer_bytes: 64 << 20,
            checkpoint_commands: 200,
            ..options()
        };
        let real = Side { near: Home::real(options.clone()), far: Home::real(options.clone()) };
        let sim = Side { near: Home::sim(options.clone()), far: Home::sim(options) };
        Script { seed, dice: Dice::new(seed), steps: 0, real, sim, branch: 0 }
    }

    fn run(mut self) {
        for round in 0..ROUNDS {
            for _ in 0..STEPS_PER_ROUND {
                self.step();
            }
            let end = match (round as u64 + self.seed) % 4 {
                0 => End::Close,
                1 => End::Drop,
                2 => End::Power(self.dice.roll(2) == 0),
                _ => self.loose_time(),
            };
            self.restart(end);
            // What an open has found is on disk, whatever it was before.
            if self.dice.roll(2) == 0 {
                self.restart(End::Power(false));
            }
        }
        let last = self.real.near.now().logs[1].last().map(|last| last.index);
        self.both("catch up", |side| side.catch_up());
        for side in [&self.real, &self.sim] {
            let load = Load { seed: self.seed, set: SETS[1] };
            compare(&side.near.now().replicas[1], &model(load, last), &mut Dice::new(self.seed));
        }
    }

    /// Does something to both, and compares what comes of it.
    fn both<T: PartialEq + Debug>(&mut self, what: &str, act: impl Fn(&mut Side) -> T) {
        self.steps += 1;
        let (real, sim) = (act(&mut self.real), act(&mut self.sim));
        let show = |answer: &T| format!("{answer:?}").chars().take(2_000).collect::<String>();
        let at = format!("seed {}, step {}, {what}", self.seed, self.steps);
        assert!(real == sim, "{at}:\nreal {}\nsimulated {}", show(&real), show(&sim));
    }

    fn step(&mut self) {
        match self.dice.roll(16) {
            0..=3 => self.append(),
            4..=6 => self.apply(),
            7 => self.truncate(),
            8 => self.purge(),
            9 => self.vote_and_commit(),
            10 => self.both("checkpoint", |side| {
                side.near.now().replicas.each_ref().map(|replica| kind(replica.checkpoint()))
            }),
            11 => self.transfer(),
            12 => self.small_records(),
            13 => self.mistakes(),
            _ => self.ask(),
        }
    }

    fn append(&mut self) {
        let at = self.dice.roll(2) as usize;
        let from = self.real.near.now().logs[at].last().map_or(0, |last| last.index + 1);
        let records: Vec<_> =
            (from..from + 1 + self.dice.roll(4)).map(|index| self.record(at, index)).collect();
        self.both("append", |side| kind(side.near.append(at, records.clone())));
    }

    fn record(&self, at: usize, index: u64) -> Record {
        let branch = if at == 0 { self.branch } else { 0 };
        let mut record = Load { seed: self.seed + (branch << 32), set: SETS[at] }.record(index);
        record.id.term += branch * TERMS_PER_BRANCH;
        record
    }

    fn apply(&mut self) {
        let (at, count) = (self.dice.roll(2) as usize, 1 + self.dice.roll(12));
        self.both("apply", |side| side.apply(at, count));
    }

    /// Of the first set, what was never applied: after a crash, what was purged still stands above what is applied.
    fn truncate(&mut self) {
        let opened = self.real.near.now();
        let Some(last) = opened.logs[0].last().map(|last| last.index) else { return };
        let keep = opened.replicas[0].applied().log_id.max(opened.logs[0].purged());
        let keep = keep.map_or(0, |keep| keep.index);
        let keep = keep + self.dice.roll(1 + last.saturating_sub(keep));
        self.branch += 1;
        self.both("truncate", |side| {
            let log = &side.near.now().logs[0];
            (kind(log.truncate_after(Some(keep))), log.last(), log.committed())
        });
    }

    fn purge(&mut self) {
        let at = self.dice.roll(2) as usize;
        let opened = self.real.near.now();
        let Some(applied) = opened.replicas[at].applied().log_id else { return };
        let index = self.dice.roll(applied.index + 1);
        self.both("purge", |side| {
            let log = &side.near.now().logs[at];
            let found = log.read(index, index + 1, 0).unwrap();
            let purged = found.first().map(|record| kind(log.purge(record.id)));
            (purged, log.purged(), log.last())
        });
    }

    fn vote_and_commit(&mut self) {
        let (at, vote) = (self.dice.roll(2) as usize, self.dice.roll(1000).to_le_bytes());
        let last = self.real.near.now().logs[at].last();
        self.both("vote", |side| {
            let log = &side.near.now().logs[at];
            last.into_iter().for_each(|last| log.save_committed(last));
            let saved = kind(log.save_vote(&vote, Box::new(|_| {})));
            (saved, kind(log.sync()), log.vote(), log.committed())
        });
    }

    /// A snapshot of the first set, whole, damaged, or given up.
    fn transfer(&mut self) {
        let next = self.real.near.now().logs[0].last().map_or(0, |last| last.index + 1);
        let plan = Transfer {
            meanwhile: (next..next + self.dice.roll(4)).map(|index| self.record(0, index)).collect(),
            chunk: 1 + self.dice.roll(60_000) as usize,
            damage: (self.dice.roll(4) == 0).then(|| (self.dice.roll(40_000), self.dice.roll(8))),
            given_up: self.dice.roll(6) == 0,
        };
        self.both("transfer", |side| side.transfer(&plan));
        // The receiver goes on with the log, if it has it.
        let records = self.dice.roll(5);
        self.both("follow", |side| {
            let next = side.far.now().logs[0].last().map_or(0, |last| last.index + 1);
            let found = side.near.now().logs[0].read(next, next + records, 40_000).unwrap();
            let found: Vec<Record> = found.iter().map(|record| (**record).clone()).collect();
            (kind(side.far.append(0, found)), side.far_log())
        });
    }

    fn small_records(&mut self) {
        let (no, number) = (self.dice.roll(3), self.dice.roll(1000));
        let id = LogId { term: 1, leader: 1, index: self.steps };
        self.both("small records", |side| {
            let opened = side.near.now();
            let identity = Identity { cluster_id: "c-1".to_owned(), node: format!("a{}", no.min(1)) };
            let record = ReplicaRecord { set: no as u32, replica_id: number, incarnation: 1 };
            let blob = opened.store.put_blob(&format!("blob-{no}"), &number.to_le_bytes());
            let membership = (no == 0).then(|| (Some(id), b"members".to_vec()));
            let committed = opened.document.commit(id, membership, vec![no as u8; number as usize], &[]);
            let (meta, bytes) = opened.document.snapshot();
            let installed = (no == 2).then(|| kind(side.far.now().document.install(&meta, bytes)));
            (
                (kind(opened.store.set_identity(&identity)), kind(opened.store.put_replica(record))),
                (kind(blob), kind(committed), meta, installed),
            )
        });
    }

    fn mistakes(&mut self) {
        let (hole, early) = (self.record(1, 1 << 20), self.record(1, 0));
        self.both("mistakes", |side| {
            let hole =
                (side.near.now().logs[1].last().is_some()).then(|| side.near.append(1, vec![hole.clone()]));
            let replica = &side.near.now().replicas[1];
            let early = replica.applied().log_id.is_some().then(|| replica.apply(&early));
            (hole.map(kind), early.map(kind))
        });
    }

    /// Questions of every kind, about anything.
    fn ask(&mut self) {
        let at = self.dice.roll(2) as usize;
        let applied = self.real.near.now().replicas[at].applied().log_id.map_or(0, |applied| applied.index);
        let position = Position::new(self.dice.roll(applied + 2), self.dice.roll(30) as u16);
        let (from, bytes) = (self.dice.roll(applied + 4), self.dice.roll(60_000) as usize);
        let (limit, account) = (1 + self.dice.roll(60) as usize, name(self.dice.roll(45) as u32));
        self.both("read the log", |side| {
            let log = &side.near.now().logs[at];
            let read = kind(log.read(from, from + 40, bytes));
            (read, log.last(), log.purged(), log.committed(), log.vote())
        });
        self.both("look up", |side| {
            let replica = &side.near.now().replicas[at];
            let found = kind(replica.transaction(position));
            let named = found.as_ref().ok().and_then(|read| read.value.as_ref());
            let named = named.and_then(|booked| {
                let scope = booked.scope_account.as_deref()?;
                booked.command.request_id().map(|id| kind(replica.request(scope, id)))
            });
            (found, named, replica.account(&account), replica.hash_at(from), replica.last_snapshot())
        });
        self.both("list", |side| {
            let replica = &side.near.now().replicas[at];
            (kind(replica.list(Some(position), limit)), replica.durability(), replica.last_time())
        });
        self.both("totals", |side| side.near.now().replicas[at].totals());
    }

    /// Writes that nobody waits for; then a part of them is all that there is.
    fn loose_time(&mut self) -> End {
        self.real.near.loosen();
        self.sim.near.loosen();
        let operations = 2 + self.dice.roll(8);
        for _ in 0..operations {
            match self.dice.roll(6) {
                0 => self.truncate(),
                1 => self.purge(),
                2 => self.apply_undisturbed(),
                _ => self.append(),
            }
            self.real.near.point();
            self.sim.near.point();
        }
        let end = End::Cut { point: self.dice.roll(operations + 1) as usize, torn: self.dice.roll(1000) };
        // The other store has no part in it.
        self.both("restart of the receiver", |side| side.far.restart(End::Drop));
        end
    }

    /// A checkpoint in between would be a sync.
    fn apply_undisturbed(&mut self) {
        if self.real.near.now().replicas.iter().all(|replica| !replica.checkpoint_due()) {
            let at = self.dice.roll(2) as usize;
            self.both("apply", |side| side.apply(at, 1));
        }
    }

    fn restart(&mut self, end: End) {
        self.both(&format!("restart: {end:?}"), |side| {
            if !matches!(end, End::Cut { .. }) {
                side.far.restart(end);
            }
            side.near.restart(end);
            side.everything()
        });
    }
}

/// How a snapshot is sent.
struct Transfer {
    /// Appended, applied and checkpointed when the first bytes are out.
    meanwhile: Vec<Record>,
    chunk: usize,
    /// The byte and the bit that flips on the way.
    damage: Option<(u64, u64)>,
    given_up: bool,
}

impl Side {
    /// Applies the next records, `count` at most.
    fn apply(&mut self, at: usize, count: u64) -> Result<Vec<impl PartialEq + Debug + use<>>, String> {
        let opened = self.near.now();
        let (log, replica) = (&opened.logs[at], &opened.replicas[at]);
        let next = replica.applied().log_id.map_or(0, |applied| applied.index + 1);
        let records = kind(log.read(next, next + count, usize::MAX))?;
        let apply = |record: &std::sync::Arc<Record>| {
            let outcomes = kind(replica.apply(record))?;
            Ok((outcomes, replica.hash_at(record.id.index), replica.applied()))
        };
        records.iter().map(apply).collect()
    }

    fn catch_up(&mut self) -> Vec<impl PartialEq + Debug + use<>> {
        [self.apply(0, u64::MAX >> 1), self.apply(1, u64::MAX >> 1)].into()
    }

    /// Gives the hash of the bytes that were sent as well.
    fn transfer(
        &mut self,
        plan: &Transfer,
    ) -> (SnapshotMeta, u32, Result<(), String>, impl PartialEq + Debug + use<>) {
        let mut reader = self.near.now().replicas[0].snapshot().unwrap();
        let far = &self.far.now().replicas[0];
        let mut writer = Some(far.begin_install().unwrap());
        let (mut sum, mut sent, mut result) = (0, 0, Ok(()));
        while let Some(mut chunk) = reader.next_chunk(plan.chunk).unwrap() {
            sum = crc32c::crc32c_append(sum, &chunk);
            if let Some((byte, bit)) = plan.damage
                && let Some(hit) = byte.checked_sub(sent).and_then(|at| chunk.get_mut(at as usize))
            {
                *hit ^= 1 << bit;
            }
            if sent == 0 {
                self.go_on(&plan.meanwhile);
            }
            sent += chunk.len() as u64;
            if let (Some(taker), Ok(())) = (&mut writer, &result) {
                result = kind(taker.write_chunk(&chunk));
            }
            if plan.given_up && sent > 100_000 {
                writer = None;
            }
        }
        let meta = reader.meta().clone();
        if let (Some(writer), Ok(())) = (writer, &result) {
            result = kind(writer.finish(&meta).and_then(|staged| far.install(staged)));
        }
        (meta, sum, result, (self.far_log(), far.applied(), far.totals()))
    }

    /// The sender's life goes on.
    fn go_on(&self, records: &[Record]) {
        self.near.append(0, records.to_vec()).unwrap();
        let opened = self.near.now();
        let from = opened.replicas[0].applied().log_id.map_or(0, |applied| applied.index + 1);
        for record in opened.logs[0].read(from, u64::MAX, usize::MAX).unwrap() {
            opened.replicas[0].apply(&record).unwrap();
        }
        opened.replicas[0].checkpoint().unwrap();
    }

    fn far_log(&self) -> (Option<LogId>, Option<LogId>) {
        let log = &self.far.now().logs[0];
        (log.last(), log.purged())
    }

    /// All that a store has to say after it was opened.
    fn everything(&mut self) -> impl PartialEq + Debug + use<> {
        [&self.near, &self.far].map(|home| {
            let opened = home.now();
            let sets = [0, 1].map(|at| {
                let (log, replica) = (&opened.logs[at], &opened.replicas[at]);
                let read = kind(log.read(0, u64::MAX, usize::MAX));
                let pointers = (log.last(), log.purged(), log.committed(), log.vote());
                (read, pointers, replica.applied(), replica.totals(), replica.last_snapshot())
            });
            let blobs = [0, 1, 2].map(|no| kind(opened.store.get_blob(&format!("blob-{no}"))));
            let small = (opened.store.identity(), kind(opened.store.replicas()), blobs);
            (sets, small, opened.document.snapshot())
        })
    }
}

/// A fault without the words of the layer below.
fn kind<T>(result: Result<T, Fault>) -> Result<T, String> {
    result.map_err(|fault| match fault {
        Fault::Damaged { what, .. } => format!("{what} is damaged"),
        Fault::Disk { operation, .. } => format!("the disk failed: {operation}"),
        other => format!("{other:?}"),
    })
}
