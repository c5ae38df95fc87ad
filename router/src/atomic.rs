//! An atomic batch on its way: all of it is one item to one set, which books it in one entry or refuses it there. What the
//! batch may not be is refused before anything is sent; what becomes of the item, becomes of every transaction in it. Used
//! by [`crate::api`] and, for what such an item is made of, by [`crate::dry_run`].

use bytes::Bytes;
use tokio::time::Instant;
use twinset_dispatch::pending::Origin;
use twinset_dispatch::view::View;
use twinset_ledger::{Command, Effect, Malformed, Transaction};

use crate::api::{Api, Booked, accounts_of, booked, encode, not_rejected, read_outcome, unexpected, wait};
use crate::batch::check_size;
use crate::error::{Code, Error};
use crate::groups;
use crate::route::set_of_account;

/// Transactions of one atomic batch: its set books nothing else until it has tried and booked them all.
pub const TRANSACTIONS_MAX: usize = 8_000;

/// The set of an atomic batch of these transactions, and what it is sent: the announcement, and one command for each.
pub(crate) fn pack(view: &View, transactions: &[Command]) -> Result<(u32, Vec<Bytes>), Error> {
    check_size(transactions.len(), TRANSACTIONS_MAX, "an atomic batch")?;
    let count = u16::try_from(transactions.len()).expect("there are no more than that");
    let mut commands = vec![encode(&Command::Together { count })?];
    for (item, transaction) in transactions.iter().enumerate() {
        let encoded = encode(transaction);
        commands.push(encoded.map_err(|error| match error {
            Error::Malformed(malformed) => Error::MalformedItem { item, malformed },
            other => other,
        })?);
    }
    Ok((set_of(view, transactions)?, commands))
}

/// The one set of all accounts.
fn set_of(view: &View, transactions: &[Command]) -> Result<u32, Error> {
    let mut first: Option<(u32, &str)> = None;
    for (item, transaction) in transactions.iter().enumerate() {
        for account in transaction.accounts() {
            let set = set_of_account(view, account)?;
            let (expected, other) = *first.get_or_insert((set, account));
            if set != expected {
                let text = format!(
                    "an atomic batch stays within one set; {other} is of set {expected}, and {account} of \
                     transaction {item} is of set {set}"
                );
                return Err(Error::new(Code::BatchAcrossSets, text));
            }
        }
    }
    first.map(|(set, _)| set).ok_or_else(|| Malformed::EmptyGroup.into())
}

/// Books all transactions or none; one result for each, in their order.
pub(crate) async fn run(
    api: &Api,
    transactions: Vec<Transaction>,
    with_postings: bool,
    deadline: Instant,
) -> Result<Vec<Result<Booked, Error>>, Error> {
    let view = api.view();
    let mut transactions: Vec<Command> = transactions.into_iter().map(Command::Transaction).collect();
    groups::expand_all(&view, &mut transactions)?;
    let (set, commands) = pack(&view, &transactions)?;
    api.metrics.batch(transactions.len());
    let done = match api.dispatcher.submit(Origin::Client, set, commands, deadline) {
        Ok(answer) => wait(answer).await,
        Err(failure) => Err(failure.into()),
    };
    let done = done.and_then(|done| match done.outcomes.first().map(|bytes| read_outcome(bytes)) {
        Some(Ok(announced))
            if announced.result == Ok(Effect::Grouped) && done.outcomes.len() > transactions.len() =>
        {
            Ok(done)
        }
        Some(Err(error)) => Err(error),
        other => Err(unexpected(&other)),
    });
    let done = match done {
        Ok(done) => done,
        Err(error) => return Ok(vec![Err(error); transactions.len()]),
    };
    let results = transactions.into_iter().zip(&done.outcomes[1..]).map(|(transaction, outcome)| {
        let accounts = match transaction {
            Command::Transaction(transaction) if with_postings => Some(accounts_of(transaction)),
            _ => None,
        };
        let outcome = not_rejected(set, read_outcome(outcome)?, done.indefinite)?;
        Ok(groups::name(&view, booked(set, outcome, accounts)?))
    });
    Ok(results.collect())
}

#[cfg(test)]
mod tests {
    use twinset_ledger::account::Side;
    use twinset_ledger::codec::decode_command;
    use twinset_ledger::{Leg, SLOTS};

    use super::*;

    /// Two sets; the second has the upper half of the slots.
    fn view() -> View {
        let slots = (0..SLOTS).map(|slot| if slot < SLOTS / 2 { 1 } else { 2 });
        View { version: 1, slots: slots.collect(), ..View::default() }
    }

    fn account_in(set: u32) -> String {
        let mut ids = (0..).map(|n| format!("a{n}"));
        ids.find(|id| set_of_account(&view(), id) == Ok(set)).expect("some id hashes there")
    }

    fn transaction(debit: &str, credit: &str) -> Command {
        let leg = |account: &str, side| Leg::new(account, side, 1.into());
        let legs = vec![leg(debit, Side::Debit), leg(credit, Side::Credit)];
        Command::Transaction(Transaction { request_id: "r".into(), legs, ..Transaction::default() })
    }

    #[test]
    fn the_announcement_stands_in_front_and_all_is_of_one_set() {
        let braced = |name: &str| format!("{{{}}}:{name}", account_in(2));
        let (a, b, far) = (braced("a"), braced("b"), account_in(1));
        let (set, commands) = pack(&view(), &[transaction(&a, &b), transaction(&b, &a)]).expect("one set");
        assert_eq!((set, commands.len()), (2, 3));
        assert_eq!(decode_command(&commands[0]), Ok(Command::Together { count: 2 }));
        assert_eq!(decode_command(&commands[2]), Ok(transaction(&b, &a)));

        let code = |transactions: &[Command]| pack(&view(), transactions).map_err(|error| error.code());
        assert_eq!(code(&[]), Err("empty_batch"));
        assert_eq!(code(&[transaction(&a, &b), transaction(&a, &far)]), Err("batch_across_sets"));
        assert_eq!(code(&[transaction(&a, &b), transaction(&far, "{x}:y")]), Err("batch_across_sets"));
        assert_eq!(code(&vec![transaction(&a, &b); TRANSACTIONS_MAX + 1]), Err("batch_too_large"));
        assert!(code(&vec![transaction(&a, &b); TRANSACTIONS_MAX]).is_ok());
        let error = pack(&view(), &[transaction(&a, &b), transaction(&a, &a)]).expect_err("the same account");
        assert_eq!((error.code(), error.to_string().contains("transaction 1")), ("same_account", true));
    }
}
