//! The index of references alone: what is found and what is not, and what was booked before it was kept.

use std::path::Path;

use twinset_ledger::account::Side;
use twinset_ledger::attempt::{Ballot, Step};
use twinset_ledger::command::{Command, Metadata};

use super::super::sample::{Fed, decide_and_settle, open, pay, pay_far, take_back_a_cent};
use super::*;
use crate::options::Options;
use crate::record::Record;
use crate::store::Store;

const ORDER: &str = "ORDER-1234";

fn referring(command: Command, reference: &str) -> Command {
    let with = |metadata: &mut Metadata| {
        metadata.insert(REFERENCE.to_owned(), reference.to_owned());
    };
    match command {
        Command::Transaction(mut transaction) => {
            with(&mut transaction.metadata);
            Command::Transaction(transaction)
        }
        Command::Begin(mut begin) => {
            with(&mut begin.transaction.metadata);
            Command::Begin(begin)
        }
        Command::Reversal(mut reversal) => {
            with(&mut reversal.metadata);
            Command::Reversal(reversal)
        }
        other => other,
    }
}

fn answer(replica: &LedgerReplica, reference: &str) -> Referred {
    replica.referred(reference, None, 100).unwrap().value
}

/// The entries of what is found on the first page.
fn entries(replica: &LedgerReplica, reference: &str) -> Vec<u64> {
    match answer(replica, reference) {
        Referred::Page(page) => page.iter().map(|listed| listed.id.position.index()).collect(),
        other => panic!("{other:?}"),
    }
}

/// A replica that is brought up by hand, over and over, and one entry of its log after the other.
struct Reopened {
    store: Store,
    replica: LedgerReplica,
}

impl Reopened {
    fn at(dir: &Path, background: bool) -> Reopened {
        let options = Options { background_checkpoints: background, ..Options::default() };
        let store = Store::open(dir, options).unwrap();
        let (log, replica) = (store.log(1).unwrap(), store.ledger(1).unwrap());
        let next = replica.applied().log_id.map_or(0, |last| last.index + 1);
        for record in log.read(next, u64::MAX, usize::MAX).unwrap() {
            replica.apply(&record).unwrap();
        }
        Reopened { store, replica }
    }

    fn feed(&self, fed: &Fed, commands: &[Command]) -> u64 {
        let log = self.store.log(1).unwrap();
        let record: Record = fed.record(log.last().map_or(0, |last| last.index + 1), commands);
        log.append(vec![record.clone()], Box::new(|result| result.unwrap())).unwrap();
        self.replica.apply(&record).unwrap();
        record.id.index
    }

    fn end(self) {
        drop(self.replica);
        self.store.close();
    }

    /// As a build that kept no index has left it.
    fn forget_the_index(&self) {
        let engine = self.replica.engine();
        let generation = self.replica.cell.log.generation();
        let mut batch = engine.batch();
        let ends = (keys::generation(generation), keys::generation_end(generation));
        batch.delete_range(Table::Reference, &ends.0, &ends.1);
        batch.delete(Table::Meta, &keys::named(keys::REFERENCES, generation));
        // Nor did it witness a table that it did not know.
        let mut about = super::super::load::load_about(engine, generation).unwrap();
        about.witnesses.retain(|(table, _)| *table != Table::Reference);
        batch.put(Table::Meta, &keys::named(keys::STATE, generation), &about.encode());
        engine.write(batch).unwrap();
    }
}

#[test]
fn the_record_of_what_is_covered_comes_back() {
    let coverage = Coverage { from: 0x0102, read: 7 };
    let bytes = coverage.encode();
    assert_eq!(bytes, [1, 2, 1, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(Coverage::decode(&bytes), Ok(coverage));
    for cut in 0..bytes.len() {
        assert!(Coverage::decode(&bytes[..cut]).is_err(), "cut at {cut}");
    }
    assert_eq!(Coverage::decode(&[&bytes[..], &[0]].concat()), Err(BadRecord::Trailing { count: 1 }));
    assert!(Coverage::decode(&[&[2], &bytes[1..]].concat()).is_err());
    assert_eq!(hash(ORDER), 0x0ceb_9f68_4215_236e, "keys of what is stored never change");
}

#[test]
fn a_booking_is_found_by_its_reference_and_nothing_else_is() {
    let fed = Fed::new();
    fed.feed(&[open("a"), open("b")]);
    let first = fed.feed(&[referring(pay("p", "a", "b", 5), ORDER)]);
    let position = Position::new(first, 0);
    fed.feed(&[pay("q", "a", "b", 5), referring(pay("r", "a", "b", 5), "another")]);
    // A retry, an id that was used for something else, and what is refused are not booked.
    fed.feed(&[referring(pay("p", "a", "b", 5), ORDER), referring(pay("q", "a", "b", 5), ORDER)]);
    fed.feed(&[referring(pay("s", "a", "nobody", 5), ORDER)]);
    let reversal = fed.feed(&[referring(take_back_a_cent("t", position), ORDER)]);
    let again = fed.feed(&[referring(pay("u", "b", "a", 5), ORDER)]);
    // In memory and on disk.
    for _ in 0..2 {
        assert_eq!(entries(&fed.replica, ORDER), [first, reversal, again]);
        assert_eq!(entries(&fed.replica, "order-1234"), [0; 0]);
        assert_eq!(entries(&fed.replica, "another").len(), 1);
        let next = |after: Option<Position>| match fed.replica.referred(ORDER, after, 1).unwrap().value {
            Referred::Page(page) => (page.booked[0].id.position, page.next),
            other => panic!("{other:?}"),
        };
        let (found, after) = next(None);
        assert_eq!((found, after), (position, Some(position)));
        assert_eq!(next(after), (Position::new(reversal, 0), Some(Position::new(reversal, 0))));
        assert_eq!(next(Some(Position::new(reversal, 0))), (Position::new(again, 0), None));
        assert_eq!(
            fed.replica.referred(ORDER, Some(Position(u64::MAX)), 1).unwrap().value,
            Referred::Page(Page::default())
        );
        let Referred::Page(page) = answer(&fed.replica, ORDER) else { unreachable!() };
        assert_eq!(page.booked[0].reversed.taken.evenly, 1);
        fed.replica.checkpoint().unwrap();
    }
}

#[test]
fn what_is_over_several_sets_is_found_once_and_when_its_end_is_known() {
    let fed = Fed::new();
    fed.feed(&[open("a")]);
    let pays = || referring(pay_far("p", "a", 5), ORDER);
    let attempt = |begun| TransactionId { set: 1, incarnation: 1, position: Position::new(begun, 0) };
    let given_up = fed.feed(&[pays()]);
    assert_eq!(answer(&fed.replica, ORDER), Referred::Begun(attempt(given_up)));
    let step = Step::Decide(Ballot::GivenUp { set: 2 });
    fed.feed(&[Command::Step { attempt: attempt(given_up), step }]);
    assert_eq!(entries(&fed.replica, ORDER), [0; 0]);
    let begun = fed.feed(&[pays()]);
    let [decide, settle] = decide_and_settle(begun, Side::Credit, 5);
    for step in [decide, settle] {
        assert_eq!(answer(&fed.replica, ORDER), Referred::Begun(attempt(begun)));
        fed.replica.checkpoint().unwrap();
        fed.feed(&[step]);
    }
    let Referred::Page(page) = answer(&fed.replica, ORDER) else { panic!("its end is known") };
    let whole = fed.replica.transaction(Position::new(begun, 0)).unwrap().value.unwrap();
    assert_eq!(page.booked, [whole.listed().unwrap()], "with the legs of both sets");
}

#[test]
fn another_reference_of_the_same_hash_is_looked_at_and_not_shown() {
    let fed = Fed::new();
    fed.feed(&[open("a"), open("b")]);
    let others: Vec<u64> =
        (0..40).map(|n| fed.feed(&[referring(pay(&format!("{n}"), "a", "b", 5), "another")])).collect();
    let own = fed.feed(&[referring(pay("p", "a", "b", 5), ORDER)]);
    let same = others.iter().map(|index| (hash(ORDER), Position::new(*index, 0).0));
    fed.replica.cell.state.write().fresh.references.extend(same);
    for _ in 0..2 {
        let first = fed.replica.referred(ORDER, None, 100).unwrap().value;
        let after = Position::new(others[READS_PER_LOCK - 1], 0);
        assert_eq!(first, Referred::Page(Page { booked: Vec::new(), next: Some(after) }));
        let Referred::Page(page) = fed.replica.referred(ORDER, Some(after), 100).unwrap().value else {
            unreachable!()
        };
        assert_eq!((page.booked[0].id.position, page.next), (Position::new(own, 0), None));
        fed.replica.checkpoint().unwrap();
    }
}

#[test]
fn a_store_without_an_index_says_nothing_until_it_is_built() {
    let (fed, dir) = (Fed::new(), tempfile::tempdir().unwrap());
    let old = Reopened::at(dir.path(), false);
    old.feed(&fed, &[open("a"), open("b")]);
    let mut paid: Vec<u64> =
        (0..3).map(|n| old.feed(&fed, &[referring(pay(&format!("{n}"), "a", "b", 5), ORDER)])).collect();
    let end = 3 * ENTRIES_PER_PIECE;
    while old.feed(&fed, &[pay("x", "a", "b", 5)]) < end {}
    old.replica.checkpoint().unwrap();
    // The log goes on above the checkpoint: what is applied again is kept.
    paid.push(old.feed(&fed, &[referring(pay("3", "a", "b", 5), ORDER)]));
    old.forget_the_index();
    old.end();
    let piece = ENTRIES_PER_PIECE;
    let new = Reopened::at(dir.path(), false);
    let building = |done| Referred::Building { done, of: end + 1 };
    assert_eq!(answer(&new.replica, ORDER), building(0));
    assert_eq!(new.replica.references_unread(), end + 1);
    assert_eq!(new.replica.index_references(), Ok(true));
    assert_eq!(answer(&new.replica, ORDER), building(piece));
    // A checkpoint and a restart in the middle lose nothing of it; one that is not synced may come to that.
    paid.push(new.feed(&fed, &[referring(pay("4", "a", "b", 5), ORDER)]));
    new.replica.checkpoint().unwrap();
    new.end();
    let new = Reopened::at(dir.path(), false);
    assert_eq!(answer(&new.replica, ORDER), building(piece));
    paid.push(new.feed(&fed, &[referring(pay("5", "a", "b", 5), ORDER)]));
    while new.replica.index_references().unwrap() {
        assert!(matches!(answer(&new.replica, ORDER), Referred::Building { .. }));
    }
    assert_eq!((new.replica.index_references(), new.replica.references_unread()), (Ok(false), 0));
    assert_eq!(entries(&new.replica, ORDER), paid);
    new.end();
    let new = Reopened::at(dir.path(), false);
    assert_eq!(entries(&new.replica, ORDER), paid, "it is built once");
}

#[test]
fn the_background_builds_what_is_missing() {
    let (fed, dir) = (Fed::new(), tempfile::tempdir().unwrap());
    let old = Reopened::at(dir.path(), false);
    old.feed(&fed, &[open("a"), open("b")]);
    let paid = old.feed(&fed, &[referring(pay("p", "a", "b", 5), ORDER)]);
    while old.feed(&fed, &[pay("x", "a", "b", 5)]) < 2 * ENTRIES_PER_PIECE {}
    old.replica.checkpoint().unwrap();
    old.forget_the_index();
    old.end();
    let new = Reopened::at(dir.path(), true);
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while matches!(answer(&new.replica, ORDER), Referred::Building { .. }) {
        assert!(std::time::Instant::now() < deadline, "nobody builds it");
        std::thread::yield_now();
    }
    assert_eq!(entries(&new.replica, ORDER), [paid]);
}

#[test]
fn a_checkpoint_that_died_leaves_nothing_that_counts() {
    let fed = Fed::new();
    fed.feed(&[open("a"), open("b")]);
    fed.replica.checkpoint().unwrap();
    let left = |index: u64| {
        let state = fed.replica.cell.state.read();
        let mut batch = state.engine.batch();
        let position = Position::new(index, 0).0;
        batch.put(Table::Reference, &keys::reference(state.generation, hash(ORDER), position), &[]);
        state.engine.write(batch).unwrap();
    };
    left(1);
    assert_eq!(entries(&fed.replica, ORDER), [0; 0]);
    let again = fed.feed(&[referring(pay("p", "a", "b", 5), ORDER)]);
    assert_eq!((again, entries(&fed.replica, ORDER)), (1, vec![1]));
    fed.replica.checkpoint().unwrap();
    assert_eq!(entries(&fed.replica, ORDER), [1]);
}

#[test]
fn a_snapshot_brings_the_index_along_and_one_without_it_is_read_again() {
    let near = Fed::new();
    near.feed(&[open("a"), open("b")]);
    let paid = near.feed(&[referring(pay("p", "a", "b", 5), ORDER)]);
    let bytes = || {
        let mut reader = near.replica.snapshot().unwrap();
        let mut bytes = Vec::new();
        while let Some(chunk) = reader.next_chunk(1 << 20).unwrap() {
            bytes.extend(chunk);
        }
        (reader.meta().clone(), bytes)
    };
    let install = |bytes: &[u8], meta| {
        let dir = tempfile::tempdir().unwrap();
        let far = Reopened::at(dir.path(), false);
        let mut writer = far.replica.begin_install().unwrap();
        writer.write_chunk(bytes).unwrap();
        far.replica.install(writer.finish(meta).unwrap()).unwrap();
        (dir, far)
    };
    let (meta, whole) = bytes();
    let (_dir, far) = install(&whole, &meta);
    assert_eq!(entries(&far.replica, ORDER), [paid]);
    let next = far.feed(&near, &[referring(pay("q", "a", "b", 5), ORDER)]);
    assert_eq!(entries(&far.replica, ORDER), [paid, next]);
    // One whose own index is not built yet sends none, as a build does that keeps none.
    near.replica.cell.state.write().coverage = Coverage::after(paid);
    let (meta, without) = bytes();
    assert!(without.len() < whole.len());
    let (_dir, far) = install(&without, &meta);
    assert_eq!(answer(&far.replica, ORDER), Referred::Building { done: 0, of: paid + 1 });
    let next = far.feed(&near, &[referring(pay("q", "a", "b", 5), ORDER)]);
    assert_eq!(far.replica.index_references(), Ok(false));
    assert_eq!(entries(&far.replica, ORDER), [paid, next]);
}

#[test]
fn an_entry_that_the_log_lost_stops_the_building() {
    let (fed, dir) = (Fed::new(), tempfile::tempdir().unwrap());
    let old = Reopened::at(dir.path(), false);
    old.feed(&fed, &[open("a"), open("b")]);
    let paid = old.feed(&fed, &[referring(pay("p", "a", "b", 5), ORDER)]);
    old.feed(&fed, &[pay("q", "a", "b", 5)]);
    old.replica.checkpoint().unwrap();
    old.forget_the_index();
    let generation = old.replica.cell.log.generation();
    let mut batch = old.replica.engine().batch();
    batch.delete(Table::Log, &keys::log(generation, paid, 0));
    old.replica.engine().write(batch).unwrap();
    old.end();
    let new = Reopened::at(dir.path(), false);
    assert!(matches!(new.replica.index_references(), Err(Fault::Damaged { .. })));
    assert!(matches!(answer(&new.replica, ORDER), Referred::Building { done: 0, .. }));
}
