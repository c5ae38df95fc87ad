//! From a command to its set, pure: account -> slot -> set. A command whose accounts live in different sets has no
//! single log that could order it and is refused; a transaction id names its set itself.

use twinset_dispatch::view::View;
use twinset_ledger::{Command, TransactionId, slot_of};

use crate::error::{Code, Error};

/// The set of an account.
pub fn set_of_account(view: &View, account: &str) -> Result<u32, Error> {
    match view.slots.get(usize::from(slot_of(account))) {
        Some(set) => Ok(*set),
        None => Err(Error::new(
            Code::NoCatalogue,
            "no node has told this router about the cluster yet; nothing was applied",
        )),
    }
}

/// The set that a transaction was booked in.
pub fn set_of_transaction(view: &View, transaction: TransactionId) -> Result<u32, Error> {
    known_set(view, transaction.set)
}

/// `set`, if the catalogue knows it.
pub fn known_set(view: &View, set: u32) -> Result<u32, Error> {
    if view.version == 0 {
        return Err(Error::new(Code::NoCatalogue, "no node has told this router about the cluster yet"));
    }
    match view.sets.contains_key(&set) {
        true => Ok(set),
        false => Err(Error::new(Code::NotFound, format!("there is no set {set}"))),
    }
}

/// The one set of a command that names accounts or a transaction. Definitions go to every set and have none.
pub fn set_of_command(view: &View, command: &Command) -> Result<u32, Error> {
    if let Command::Reversal(reversal) = command {
        return set_of_transaction(view, reversal.transaction);
    }
    let mut found: Option<(&str, u32)> = None;
    for account in command.accounts() {
        let set = set_of_account(view, account)?;
        match found {
            None => found = Some((account, set)),
            Some((_, first)) if first == set => {}
            Some((other, first)) => {
                return Err(Error::new(
                    Code::CrossSetNotSupported,
                    format!(
                        "{other} lives in set {first} and {account} in set {set}; give both the same part in braces, such as {{m42}}:fees, to keep them together"
                    ),
                ));
            }
        }
    }
    found.map(|(_, set)| set).ok_or_else(|| Error::malformed("the command names no account"))
}

#[cfg(test)]
mod tests {
    use twinset_ledger::account::Side;
    use twinset_ledger::{Leg, Transaction};

    use super::*;

    fn view() -> View {
        let half = usize::from(twinset_ledger::SLOTS) / 2;
        let slots: Vec<u32> = (0..half).map(|_| 1).chain((0..half).map(|_| 2)).collect();
        View { version: 1, slots: slots.into(), ..View::default() }
    }

    fn transaction(accounts: &[&str]) -> Command {
        let leg = |account: &&str| Leg {
            account: (*account).to_string(),
            side: Side::Debit,
            amount: 1.into(),
            currency: None,
        };
        Command::Transaction(Transaction {
            legs: accounts.iter().map(leg).collect(),
            ..Transaction::default()
        })
    }

    fn account_in(set: u32, tag: &str) -> String {
        (0..)
            .map(|n| format!("{tag}{n}"))
            .find(|id| set_of_account(&view(), id) == Ok(set))
            .expect("some id hashes there")
    }

    #[test]
    fn accounts_decide_the_set() {
        let (one, other_one, two) = (account_in(1, "x"), account_in(1, "y"), account_in(2, "z"));
        let braced = |tag: &str, name: &str| format!("{{{tag}}}:{name}");
        let table: &[(&[&str], Result<u32, &str>)] = &[
            (&[&one, &other_one], Ok(1)),
            (&[&two], Ok(2)),
            (&[&one, &two], Err("cross_set_not_supported")),
            (&[&one, &other_one, &two], Err("cross_set_not_supported")),
            (&[&braced(&one, "a"), &braced(&one, "b")], Ok(1)),
            (&[&braced(&two, "a"), &two], Ok(2)),
            (&[], Err("malformed")),
        ];
        for (accounts, expected) in table {
            let result = set_of_command(&view(), &transaction(accounts));
            assert_eq!(result.map_err(|error| error.code()), *expected, "{accounts:?}");
        }
    }

    #[test]
    fn without_a_catalogue_nothing_is_routed() {
        let result = set_of_command(&View::default(), &transaction(&["a", "b"]));
        assert_eq!(result.map_err(|error| error.code()), Err("no_catalogue"));
        assert_eq!(known_set(&View::default(), 1).map_err(|error| error.code()), Err("no_catalogue"));
        assert_eq!(known_set(&view(), 9).map_err(|error| error.code()), Err("not_found"));
    }
}
