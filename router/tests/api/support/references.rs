//! What the fake nodes answer to questions for a reference, from the ledger in memory.

use twinset_ledger::apply::came_of;
use twinset_ledger::memory::MemoryState;
use twinset_ledger::{Effect, State, TransactionId};
use twinset_proto::cluster::v1::{FindTransactions, read_reply};
use twinset_proto::ledger::v1 as wire;

use super::holds::{AsOf, transaction};

/// What was booked with that reference, in order.
pub fn page(state: &MemoryState, asked: &FindTransactions, as_of: AsOf, age_ms: u64) -> read_reply::Result {
    let after = asked.after.parse().ok().map(|after: TransactionId| after.position);
    let booked = state.history().filter(|(position, command, outcome)| {
        let Ok(came) = came_of(state, (*outcome).clone());
        after.is_none_or(|after| *position > after)
            && !outcome.replayed
            && command.reference() == Some(asked.reference.as_str())
            && matches!(came.result, Ok(Effect::Posted(_) | Effect::Settled(_) | Effect::Buffered { .. }))
    });
    let mut found: Vec<wire::Transaction> = booked
        .map(|(position, _, outcome)| {
            let id = TransactionId { set: state.set(), incarnation: outcome.incarnation, position };
            match transaction(state, &id.to_string(), None, 0) {
                read_reply::Result::Transaction(found) => found.transaction.expect("it is told"),
                other => panic!("{other:?}"),
            }
        })
        .collect();
    let more = found.len() > asked.page_size as usize;
    found.truncate(asked.page_size as usize);
    let next = found.last().filter(|_| more).map(|last| last.transaction.clone()).unwrap_or_default();
    read_reply::Result::List(wire::ListTransactionsReply { transactions: found, next, as_of, age_ms })
}
