//! What may enter the log of a set. An entry that cannot be applied would stop every replica, and a command of another
//! set's account would be answered by the wrong books; so the proposer asks here, just before it packs an entry.

use twinset_control::Set;
use twinset_ledger::{Command, codec, slot_of};
use twinset_proto::cluster::v1::RefusalReason as Reason;

/// Checks an encoded command: nothing malformed, nothing that only nodes may say, nothing of another set.
pub fn check(command: &[u8], set: &Set) -> Result<(), (Reason, String)> {
    let malformed = |detail: String| (Reason::Malformed, detail);
    let command = codec::decode_command(command).map_err(|error| malformed(error.to_string()))?;
    match command {
        Command::MarkDurability { .. } => {
            return Err(malformed("only nodes mark the durability state".into()));
        }
        Command::Begin(_) | Command::Step { .. } => {
            return Err(malformed("only nodes take transactions over several sets a step on".into()));
        }
        _ => {}
    }
    command.validate().map_err(|error| malformed(error.to_string()))?;
    if let Command::Reversal(reversal) = &command
        && reversal.transaction.set != set.id
    {
        let detail = format!("transaction {} is not of set {}", reversal.transaction, set.id);
        return Err((Reason::WrongSet, detail));
    }
    match command.accounts().find(|account| !set.owns(slot_of(account))) {
        Some(account) => Err((Reason::WrongSet, format!("account {account} is not of set {}", set.id))),
        None => Ok(()),
    }
}

const _: () = assert!(twinset_control::SLOTS == twinset_ledger::SLOTS, "both hash to the same slots");

#[cfg(test)]
mod tests {
    use twinset_control::SlotRange;
    use twinset_ledger::codec::encode_command;
    use twinset_ledger::command::{Metadata, Reversal};
    use twinset_ledger::{Begin, Durability, Leg, Position, Side, Step, Transaction, TransactionId};

    use super::*;

    fn set() -> Set {
        Set {
            id: 1,
            slots: vec![SlotRange { from: 0, to: 2047 }],
            home: "A".to_owned(),
            configured_home: "A".to_owned(),
            epoch: 1,
            incarnation: 1,
            replicas: Vec::new(),
            durability: twinset_control::Durability::Sync,
            durability_epoch: 1,
            last_safe_index: 0,
            switch: None,
            last_switch: None,
        }
    }

    fn checked(command: &Command, set: &Set) -> Result<(), (Reason, String)> {
        let mut bytes = Vec::new();
        encode_command(command, &mut bytes);
        check(&bytes, set)
    }

    fn close(account: String) -> Command {
        Command::CloseAccount { request_id: "close".to_owned(), account }
    }

    fn reverse(set: u32) -> Command {
        Command::Reversal(Reversal {
            request_id: "reverse".to_owned(),
            transaction: TransactionId { set, incarnation: 1, position: Position::new(7, 0) },
            amount: None,
            reason: 0,
            metadata: Metadata::new(),
        })
    }

    #[test]
    fn only_well_formed_commands_of_the_set_pass() {
        let set = set();
        let account = |own| (0..).map(|n| format!("account-{n}")).find(|id| set.owns(slot_of(id)) == own);
        let (own, foreign) = (account(true).unwrap(), account(false).unwrap());
        assert_eq!(checked(&close(own.clone()), &set), Ok(()));
        assert_eq!(checked(&reverse(set.id), &set), Ok(()));
        let mark = Command::MarkDurability { durability: Durability::Degraded };
        let attempt = TransactionId { set: set.id, incarnation: 1, position: Position::new(7, 0) };
        let step = Command::Step { attempt, step: Step::Commit };
        let begin = Command::Begin(Begin {
            transaction: Transaction {
                request_id: "begin".to_owned(),
                legs: [(&own, Side::Debit), (&foreign, Side::Credit)]
                    .map(|(account, side)| Leg {
                        account: account.clone(),
                        side,
                        amount: 1.into(),
                        currency: None,
                    })
                    .into(),
                ..Transaction::default()
            },
            sets: vec![set.id, set.id + 1],
        });
        assert_eq!(begin.validate(), Ok(()), "it is not for its form that it is refused");
        let currency = Command::DefineCurrency { code: "EUR".to_owned(), scale: u8::MAX };
        for (command, reason, part) in [
            (close(foreign), Reason::WrongSet, "is not of set"),
            (reverse(set.id + 1), Reason::WrongSet, "is not of set"),
            (mark, Reason::Malformed, "only nodes"),
            (begin, Reason::Malformed, "only nodes"),
            (step, Reason::Malformed, "only nodes"),
            (currency, Reason::Malformed, ""),
        ] {
            let (found, detail) = checked(&command, &set).unwrap_err();
            assert!(found == reason && detail.contains(part), "{command:?}: {found:?}, {detail}");
        }
        assert_eq!(check(b"", &set).unwrap_err().0, Reason::Malformed);
    }
}
