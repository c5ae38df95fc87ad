//! From a command to the set that decides it, pure: account -> slot -> set. A transaction whose accounts live in
//! several sets goes to the one that coordinates it, its scope account's; what it may not be is refused here, before
//! anything is sent. Other commands name one account, or a transaction, whose id names its set.

use twinset_dispatch::view::View;
use twinset_ledger::apply::{CLEARING_SUBJECT, RECOVERY_SUBJECT, clearing_account, recovery_account};
use twinset_ledger::attempt::scope_across;
use twinset_ledger::id::is_valid;
use twinset_ledger::{Begin, Command, Transaction, TransactionId, slot_of};

use crate::error::{Code, Error};
use crate::groups;

/// Where a command goes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Way {
    /// The set that decides it.
    pub set: u32,
    /// The other sets that this one asks, in order of their numbers; none if all accounts are its own.
    pub others: Vec<u32>,
}

impl Way {
    fn to(set: u32) -> Way {
        Way { set, others: Vec::new() }
    }
}

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

/// The set and the currency of a clearing or a recovery account; None: the id is none of those that sets give them.
pub fn account_of_a_set(id: &str) -> Option<(u32, &str)> {
    type Named = fn(u32, &str) -> String;
    let kinds = [(CLEARING_SUBJECT, clearing_account as Named), (RECOVERY_SUBJECT, recovery_account)];
    let (rest, named) = kinds.iter().find_map(|(subject, named)| Some((id.strip_prefix(subject)?, named)))?;
    let (set, currency) = rest.strip_prefix('-')?.split_once(':')?;
    let set = set.parse().ok()?;
    (is_valid(currency) && named(set, currency) == id).then_some((set, currency))
}

/// The set that a transaction was booked in, or coordinated by.
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

/// The way of a valid command that names accounts or a transaction, and no group any more. Definitions go to every set and have
/// none.
pub fn way_of(view: &View, command: &Command) -> Result<Way, Error> {
    match command {
        Command::Reversal(reversal) => Ok(Way::to(set_of_transaction(view, reversal.transaction)?)),
        Command::Transaction(transaction) => way_of_transaction(view, transaction),
        _ => {
            let account = command.accounts().next();
            let account = account.ok_or_else(|| Error::malformed("the command names no account"))?;
            groups::single(&view.groups, account, "the command names")?;
            Ok(Way::to(set_of_account(view, account)?))
        }
    }
}

fn way_of_transaction(view: &View, transaction: &Transaction) -> Result<Way, Error> {
    let legs = transaction.legs.iter();
    let sets = legs.map(|leg| set_of_account(view, &leg.account)).collect::<Result<Vec<u32>, Error>>()?;
    match sets.as_slice() {
        [] => return Err(Error::malformed("the command names no account")),
        [first, rest @ ..] if rest.iter().all(|set| set == first) => return Ok(Way::to(*first)),
        _ => {}
    }
    // The coordinator's leader makes its own of it. This one only shows what would be refused there.
    Command::Begin(Begin { transaction: transaction.clone(), sets: sets.clone() }).validate()?;
    let set = set_of_account(view, scope_across(transaction))?;
    let mut others: Vec<u32> = sets.into_iter().filter(|other| *other != set).collect();
    others.sort_unstable();
    others.dedup();
    Ok(Way { set, others })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;
    use proptest::sample::Index;
    use twinset_ledger::Leg;
    use twinset_ledger::account::Side;
    use twinset_ledger::attempt::{LEGS_ACROSS_MAX, SETS_MAX};

    use super::*;

    /// A cluster whose sets have the same number of slots, one after the other.
    fn view_of(sets: usize) -> View {
        let slots = usize::from(twinset_ledger::SLOTS);
        let set_of = |slot| u32::try_from(slot * sets / slots + 1).expect("few sets");
        View { version: 1, slots: (0..slots).map(set_of).collect(), ..View::default() }
    }

    fn view() -> View {
        view_of(2)
    }

    fn leg(account: &str, side: Side) -> Leg {
        Leg::new(account, side, 1.into())
    }

    fn transaction(legs: Vec<Leg>, scope: Option<&str>) -> Transaction {
        let scope_account = scope.map(str::to_string);
        Transaction { request_id: "r".to_string(), scope_account, legs, ..Transaction::default() }
    }

    fn way(view: &View, transaction: Transaction) -> Result<(u32, Vec<u32>), &'static str> {
        let way = way_of(view, &Command::Transaction(transaction));
        way.map(|way| (way.set, way.others)).map_err(|error| error.code())
    }

    fn account_in(view: &View, set: u32, tag: &str) -> String {
        (0..)
            .map(|n| format!("{tag}{n}"))
            .find(|id| set_of_account(view, id) == Ok(set))
            .expect("some id hashes there")
    }

    #[test]
    fn accounts_decide_the_set() {
        let account = |set, tag| account_in(&view(), set, tag);
        let (one, other_one, two) = (account(1, "x"), account(1, "y"), account(2, "z"));
        let braced = |tag: &str, name: &str| format!("{{{tag}}}:{name}");
        let table: &[(&[&str], Result<u32, &str>)] = &[
            (&[&one, &other_one], Ok(1)),
            (&[&two], Ok(2)),
            (&[&braced(&one, "a"), &braced(&one, "b")], Ok(1)),
            (&[&braced(&two, "a"), &two], Ok(2)),
            (&[], Err("malformed")),
        ];
        for (accounts, expected) in table {
            let legs = accounts.iter().map(|account| leg(account, Side::Debit)).collect();
            let expected = expected.map(|set| (set, Vec::new()));
            assert_eq!(way(&view(), transaction(legs, None)), expected, "{accounts:?}");
        }
        let close = Command::CloseAccount { request_id: "c".to_string(), account: two };
        assert_eq!(way_of(&view(), &close).map(|way| way.set), Ok(2));
    }

    #[test]
    fn over_several_sets_the_scope_account_decides_who_coordinates() {
        use Side::{Credit, Debit};
        let view = view_of(3);
        let (one, two, three) =
            (account_in(&view, 1, "a"), account_in(&view, 2, "b"), account_in(&view, 3, "c"));
        let (one, two, three) = (one.as_str(), two.as_str(), three.as_str());
        let table = [
            (vec![(one, Debit), (two, Credit)], None, (1, vec![2])),
            (vec![(one, Credit), (two, Debit)], None, (2, vec![1])),
            (vec![(three, Debit), (two, Debit), (one, Credit)], None, (2, vec![1, 3])),
            (vec![(three, Credit), (two, Credit)], None, (2, vec![3])),
            (vec![(one, Debit), (two, Credit)], Some(two), (2, vec![1])),
            (vec![(one, Debit), (two, Credit), (three, Credit), (two, Credit)], Some(three), (3, vec![1, 2])),
        ];
        for (legs, scope, expected) in table {
            let asked = legs.iter().map(|(account, side)| leg(account, *side)).collect();
            assert_eq!(way(&view, transaction(asked, scope)), Ok(expected), "{legs:?} {scope:?}");
        }
    }

    #[test]
    fn what_several_sets_would_never_take_is_not_sent() {
        let (one, two) = (account_in(&view(), 1, "x"), account_in(&view(), 2, "z"));
        let legs = |count: usize| {
            let credits = vec![leg(&two, Side::Credit); count - 1];
            std::iter::once(leg(&one, Side::Debit)).chain(credits).collect::<Vec<Leg>>()
        };
        assert_eq!(way(&view(), transaction(legs(LEGS_ACROSS_MAX), None)), Ok((1, vec![2])));
        let too_many = transaction(legs(LEGS_ACROSS_MAX + 1), None);
        assert_eq!(way(&view(), too_many), Err("too_many_legs_across_sets"));
        let within = vec![leg(&one, Side::Debit); LEGS_ACROSS_MAX + 1];
        assert_eq!(way(&view(), transaction(within, None)), Ok((1, vec![])), "one set takes more");

        let view = view_of(2 * SETS_MAX);
        let legs = |count: usize| {
            let sets = 1..=u32::try_from(count).expect("few");
            sets.map(|set| leg(&account_in(&view, set, "a"), Side::Debit)).collect::<Vec<Leg>>()
        };
        let others = way(&view, transaction(legs(SETS_MAX), None)).map(|(_, others)| others.len());
        assert_eq!(others, Ok(SETS_MAX - 1));
        assert_eq!(way(&view, transaction(legs(SETS_MAX + 1), None)), Err("too_many_sets"));
        assert_eq!(
            way(&view, transaction(legs(2), Some("elsewhere"))),
            Err("scope_account_without_leg"),
            "its set is not asked for"
        );
    }

    #[test]
    fn an_account_of_a_set_has_one_spelling() {
        let longest = clearing_account(u32::MAX, &"x".repeat(64));
        assert_eq!(account_of_a_set(&longest), Some((u32::MAX, "x".repeat(64).as_str())));
        assert_eq!(account_of_a_set("@clearing-1:a:b"), Some((1, "a:b")));
        assert_eq!(account_of_a_set("@recovery-2:EUR"), Some((2, "EUR")));
        for other in [
            "a",
            "@clearing-1",
            "@clearing-1:",
            "@clearing-01:EUR",
            "@clearing-+1:EUR",
            "@clearing-1:E R",
            "@recovery-02:EUR",
        ] {
            assert_eq!(account_of_a_set(other), None, "{other}");
        }
    }

    #[test]
    fn without_a_catalogue_nothing_is_routed() {
        let legs = ["a", "b"].map(|account| leg(account, Side::Debit)).to_vec();
        assert_eq!(way(&View::default(), transaction(legs, None)), Err("no_catalogue"));
        assert_eq!(known_set(&View::default(), 1).map_err(|error| error.code()), Err("no_catalogue"));
        assert_eq!(known_set(&view(), 9).map_err(|error| error.code()), Err("not_found"));
    }

    proptest! {
        /// Whoever is asked is the one that the leader's own `Begin` will name, and every account's set is asked.
        #[test]
        fn the_way_is_the_coordinators_and_forgets_no_set(
            sets in 1usize..=2 * SETS_MAX,
            legs in proptest::collection::vec((0u16..200, any::<bool>()), 2..40),
            scope in proptest::option::of(any::<Index>()),
        ) {
            let view = view_of(sets);
            let side = |debit| if debit { Side::Debit } else { Side::Credit };
            let legs: Vec<Leg> =
                legs.into_iter().map(|(n, debit)| leg(&format!("account-{n}"), side(debit))).collect();
            prop_assume!(legs.len() > 2 || legs[0].account != legs[1].account);
            let sets: Vec<u32> = legs
                .iter()
                .map(|leg| set_of_account(&view, &leg.account).expect("there is a catalogue"))
                .collect();
            let touched: BTreeSet<u32> = sets.iter().copied().collect();
            let scope = scope.map(|scope| scope.get(&legs).account.clone());
            let transaction = transaction(legs, scope.as_deref());
            let found = way(&view, transaction.clone());
            if touched.len() > SETS_MAX {
                prop_assert_eq!(found, Err("too_many_sets"));
                return Ok(());
            }
            let (set, others) = found.expect("it is no longer than 64 legs");
            if touched.len() > 1 {
                prop_assert_eq!(set, Begin { transaction, sets }.coordinator());
            }
            prop_assert!(others.is_sorted() && !others.contains(&set), "{} asks {:?}", set, others);
            prop_assert_eq!(others.iter().copied().chain([set]).collect::<BTreeSet<u32>>(), touched);
        }
    }
}
