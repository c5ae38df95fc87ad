//! Pages of what was booked: bounded work for each, however little was booked, and everything exactly once.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Ground, Load, append, catch_up};
use twinset_ledger::codec::{EntryBuilder, encode_command};
use twinset_ledger::command::Command;
use twinset_ledger::id::{Position, TransactionId};
use twinset_ledger::{FreezeMode, RULES_VERSION};
use twinset_store::{LedgerReplica, LogId, Record, RecordKind};

#[test]
fn nothing_comes_after_the_last_position_that_there_can_be() {
    for ground in Ground::both() {
        let store = ground.open();
        let (log, replica) = (store.log(1).unwrap(), store.ledger(1).unwrap());
        let last: TransactionId = "1-1-281474976710655-65535".parse().unwrap();
        assert_eq!(last.position, Position(u64::MAX));
        for records in [0, 10] {
            append(&log, (0..records).map(|index| Load { seed: 1, set: 1 }.record(index)).collect());
            catch_up(&log, &replica);
            for after in [u64::MAX, u64::MAX - 1, u64::MAX << 16, 1 << 40] {
                let page = replica.list(Some(Position(after)), 10).unwrap();
                assert_eq!((page.value.booked, page.value.next), (Vec::new(), None), "{after}");
                assert_eq!(page.index, records.saturating_sub(1));
            }
            // The same id in the other questions that name a position.
            assert_eq!(replica.transaction(last.position).unwrap().value, None);
            assert_eq!(replica.request(&last.scope(), "x").unwrap().value, None);
        }
    }
}

/// An entry of commands that book nothing: they name an account that there is not.
fn refusals(index: u64, count: usize) -> Record {
    let mut builder = EntryBuilder::new(RULES_VERSION, 1, 1_800_000_000_000_000_000 + index);
    for no in 0..count {
        let (account, request_id) = ("nobody".to_owned(), format!("{index}-{no}"));
        let mut bytes = Vec::new();
        let command = Command::Freeze { request_id, account, mode: FreezeMode::Both };
        encode_command(&command, &mut bytes);
        builder.push_command_bytes(&bytes);
    }
    let id = LogId { term: 1, leader: 1, index };
    Record { id, kind: RecordKind::Commands, payload: builder.finish().into() }
}

/// All pages, one after the other, each asked for by the id that the one before gave.
fn pages(replica: &LedgerReplica, limit: usize) -> Vec<Vec<Position>> {
    let mut pages = Vec::new();
    let mut after = String::new();
    loop {
        let after_position = after.parse().ok().map(|after: TransactionId| after.position);
        let page = replica.list(after_position, limit).unwrap().value;
        assert!(page.booked.len() <= limit);
        pages.push(page.iter().map(|booked| booked.id.position).collect());
        let Some(position) = page.next else { return pages };
        assert!(after_position < Some(position), "it goes on");
        after = TransactionId { set: 1, incarnation: 1, position }.to_string();
    }
}

#[test]
fn a_page_looks_at_so_much_and_the_next_one_goes_on() {
    for ground in Ground::both() {
        let store = ground.open();
        let (log, replica) = (store.log(1).unwrap(), store.ledger(1).unwrap());
        let load = Load { seed: 7, set: 1 };
        let record = |index: u64| match index {
            // Accounts and transactions, once more in the middle and at the end.
            0..=30 | 16_000..=16_010 | 29_990.. => load.record(index),
            100 => refusals(index, 30_000),
            _ if index.is_multiple_of(100) => refusals(index, 1),
            _ => Record { kind: RecordKind::Blank, payload: Vec::new().into(), ..load.record(index) },
        };
        append(&log, (0..30_000).map(record).collect());
        catch_up(&log, &replica);
        let booked = replica.totals().value.transactions as usize;
        let mut first = None;
        for limit in [1, 7, booked] {
            let pages = pages(&replica, limit);
            assert!(pages.iter().filter(|page| page.is_empty()).count() >= 3, "pages that found nothing");
            let listed = pages.concat();
            assert_eq!(listed.len(), booked);
            assert!(listed.is_sorted_by(|a, b| a < b), "each once, in order");
            assert_eq!(*first.get_or_insert_with(|| listed.clone()), listed);
        }
        let indices: Vec<u64> = first.unwrap().iter().map(|position| position.index()).collect();
        for range in [3..=30, 16_000..=16_010, 29_990..=29_999] {
            assert!(indices.iter().any(|index| range.contains(index)), "{range:?}");
        }
    }
}
