//! What would come of transactions, told without doing them.

use bytes::Bytes;
use twinset_control::Catalogue;
use twinset_ledger::{Command, Effect, Label, Outcome, Position, Step, TransactionId, codec, slot_of};
use twinset_proto::cluster::v1 as wire;
use twinset_store::{LedgerReplica, Tried};
use wire::read_reply::Result as ReadResult;

use super::convert;
use crate::admission;
use crate::set::{Fence, Ledger};

/// Commands of one dry run, the announcement of an atomic batch among them. The state is held still while they are tried, as it
/// is while an atomic batch of as many is booked.
const COMMANDS_MAX: usize = 8_001;
/// In whose name a set is asked what it says to its legs. No set is called that.
const NOBODY: u32 = u32::MAX;

/// Tells it of encoded transactions.
pub async fn dry_run(
    ledger: &Ledger,
    fence: &Fence,
    catalogue: &Catalogue,
    asked: wire::DryRun,
) -> Result<ReadResult, String> {
    if asked.commands.len() > COMMANDS_MAX {
        return Err(format!("a dry run has at most {COMMANDS_MAX} commands"));
    }
    let commands =
        asked.commands.iter().zip(0..).map(|(bytes, no)| understood(bytes, no, fence.set, catalogue));
    let commands = commands.collect::<Result<Vec<_>, _>>()?;
    let count = u32::try_from(commands.len()).expect("there are no more than that");
    let turn = ledger.reader.turn_to_try(count).await;
    let (incarnation, now) = (fence.incarnation, fence.platform.now_unix_ns());
    let tried = move |state: &LedgerReplica| {
        let tried = state.dry_run(incarnation, now, &commands);
        drop(turn);
        tried
    };
    let read = ledger.reader.read_at_disk(tried).await;
    let outcomes = read.value.into_iter().map(|Tried { outcome, sums }| {
        let vote = sums.map(|sums| Outcome { result: Ok(Effect::Prepared(sums)), ..outcome.clone() });
        wire::DryOutcome { outcome: encoded(&outcome), vote: vote.as_ref().map(encoded).unwrap_or_default() }
    });
    Ok(ReadResult::DryRun(wire::DryRunReply {
        outcomes: outcomes.collect(),
        as_of: Some(convert::position(fence.set, read.index, read.time_unix_ns)),
    }))
}

/// What this set would be asked: a transaction, the beginning of one over several sets or its own part of it, or the
/// announcement of an atomic batch. `no` tells apart what is asked at once.
fn understood(bytes: &Bytes, no: u64, set: u32, catalogue: &Catalogue) -> Result<Command, String> {
    let command = codec::decode_command(bytes).map_err(|error| error.to_string())?;
    command.validate_of_client().map_err(|error| error.to_string())?;
    let transaction = match command {
        Command::Together { .. } => return Ok(command),
        Command::Transaction(transaction) => transaction,
        _ => return Err("a dry run is of transactions".to_owned()),
    };
    let own = catalogue.sets.get(&set).ok_or("the set is not in the catalogue")?;
    if transaction.legs.iter().all(|leg| own.owns(slot_of(&leg.account))) {
        return Ok(Command::Transaction(transaction));
    }
    let begin = admission::beginning(transaction, catalogue).map_err(|(_, detail)| detail)?;
    if begin.coordinator() == set {
        return Ok(Command::Begin(begin));
    }
    let legs: Vec<_> = begin.legs_of(set).cloned().collect();
    if legs.is_empty() {
        return Err(format!("set {set} has no part in it"));
    }
    let accounting_date = begin.transaction.accounting_date.unwrap_or_default();
    let attempt = TransactionId { set: NOBODY, incarnation: 0, position: Position(no) };
    let label = Label::from(&begin.transaction);
    Ok(Command::Step { attempt, step: Step::Prepare { legs, accounting_date, reverses: None, label } })
}

fn encoded(outcome: &Outcome) -> Bytes {
    let mut bytes = Vec::new();
    codec::encode_outcome(outcome, &mut bytes);
    bytes.into()
}

#[cfg(test)]
mod tests {
    use twinset_control::Topology;
    use twinset_ledger::codec::encode_command;
    use twinset_ledger::hold::Capture;
    use twinset_ledger::{Leg, Side, Transaction};

    use super::*;

    #[test]
    fn the_names_of_nodes_are_refused_as_the_real_call_refuses_them() {
        let topology: Topology =
            toml::from_str(include_str!("../../../deploy/examples/topology.toml")).unwrap();
        let catalogue = topology.place("cluster").unwrap();
        let own = &catalogue.sets[&1];
        let mut ids = (0..).map(|n| format!("a-{n}")).filter(|id| own.owns(slot_of(id)));
        let (from, to) = (ids.next().unwrap(), ids.next().unwrap());
        let pay = |request_id: &str| Transaction {
            request_id: request_id.to_owned(),
            scope_account: Some(from.clone()),
            legs: vec![Leg::new(&from, Side::Debit, 1.into()), Leg::new(&to, Side::Credit, 1.into())],
            ..Transaction::default()
        };
        let said = |transaction: Transaction| {
            let mut bytes = Vec::new();
            encode_command(&Command::Transaction(transaction), &mut bytes);
            understood(&bytes.into(), 0, 1, &catalogue)
        };
        let hold = TransactionId { set: 1, incarnation: 1, position: Position::new(5, 0) };
        let capture = Some(Capture { hold, is_final: true });
        for named in [pay("~sweep-1-1-5-0-1"), Transaction { capture, ..pay("~confirm-1-1-5-0-1") }] {
            let refused = said(named.clone()).unwrap_err();
            assert!(refused.contains("request id"), "{named:?}: {refused}");
        }
        assert_eq!(said(pay("p-1")), Ok(Command::Transaction(pay("p-1"))));
    }
}
