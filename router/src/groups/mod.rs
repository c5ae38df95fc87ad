//! Groups of accounts: a leg on a group is put on one of its parts before the request goes anywhere, so that all below knows
//! only accounts. Which part that is depends on the request and the group's definition alone, and both stay what they are: at
//! every router, and however often it is sent, a request means the same legs. Reads that add up the parts are in [`read`].

pub(crate) mod read;

use twinset_dispatch::groups::{Group, Groups};
use twinset_dispatch::view::View;
use twinset_ledger::{Command, Leg, Side, Transaction};

use crate::api::{Api, Booked, valid};
use crate::dry_run::Foreseen;
use crate::error::Error;
use crate::route;

/// Puts the legs of a transaction that are on groups on their parts, and names the scope account if the client has not. Any
/// other command stays as it is.
pub(crate) fn expand(view: &View, command: &mut Command) -> Result<(), Error> {
    match command {
        Command::Transaction(transaction) if !view.groups.is_empty() => expand_legs(view, transaction),
        _ => Ok(()),
    }
}

/// The same for every transaction of a batch that is taken or refused as a whole.
pub(crate) fn expand_all(view: &View, transactions: &mut [Command]) -> Result<(), Error> {
    for (item, transaction) in transactions.iter_mut().enumerate() {
        expand(view, transaction)
            .map_err(|error| Error::malformed(format!("transaction {item} of the batch: {error}")))?;
    }
    Ok(())
}

fn expand_legs(view: &View, transaction: &mut Transaction) -> Result<(), Error> {
    let groups = &view.groups;
    if let Some(scope) = &transaction.scope_account {
        single(groups, scope, "scope_account is")?;
    }
    if transaction.legs.iter().all(|leg| groups.get(&leg.account).is_none()) {
        return Ok(());
    }
    let payer = payer(groups, transaction).map(str::to_owned);
    let set = payer.as_deref().map(|payer| route::set_of_account(view, payer)).transpose()?;
    let number = number_of(&transaction.request_id);
    for leg in &mut transaction.legs {
        if let Some(group) = groups.get(&leg.account) {
            check(group, leg)?;
            leg.account = part(group, set, number).to_owned();
        }
    }
    // The default hangs on what the parts are, which the client does not know.
    transaction.scope_account = payer;
    Ok(())
}

/// Refuses a group where one account is meant.
pub(crate) fn single(groups: &Groups, account: &str, what: &str) -> Result<(), Error> {
    match groups.get(account) {
        None => Ok(()),
        Some(group) => Err(Error::malformed(format!(
            "{what} {account}, which is a group: name one of its {} parts ({}, ...)",
            group.definition.parts.len(),
            group.definition.parts[0]
        ))),
    }
}

impl Api {
    /// The set of an account that commands can name, and no group.
    pub(crate) fn set_of_single(&self, id: &str) -> Result<u32, Error> {
        let view = self.view();
        single(&view.groups, id, "the account is")?;
        route::set_of_account(&view, valid(id)?)
    }
}

/// The account whose set takes the credits, and which is the scope account: named, or the smallest that is debited and is no
/// group, or the smallest that is none.
fn payer<'a>(groups: &Groups, transaction: &'a Transaction) -> Option<&'a str> {
    let smallest = |debited_only: bool| {
        let accounts = transaction.legs.iter().filter(|leg| groups.get(&leg.account).is_none());
        accounts.filter(|leg| !debited_only || leg.side == Side::Debit).map(|leg| leg.account.as_str()).min()
    };
    transaction.scope_account.as_deref().or_else(|| smallest(true)).or_else(|| smallest(false))
}

fn check(group: &Group, leg: &Leg) -> Result<(), Error> {
    let id = &group.definition.id;
    if leg.side != side_of(group) {
        return Err(Error::malformed(format!(
            "{id} is a group, which takes inflows only: an outflow names one of its parts, or the account that they are swept to"
        )));
    }
    if !leg.preconditions.is_empty() {
        return Err(Error::malformed(format!(
            "{id} is a group: a leg with preconditions names one of its parts"
        )));
    }
    Ok(())
}

/// The normal side of a group's parts.
pub(crate) fn side_of(group: &Group) -> Side {
    match group.definition.normal_side {
        twinset_control::groups::Side::Debit => Side::Debit,
        twinset_control::groups::Side::Credit => Side::Credit,
    }
}

/// The part for a request of this number, by preference one that lives in `set`.
fn part(group: &Group, set: Option<u32>, number: u64) -> &str {
    let parts = &group.definition.parts;
    let near = set.map_or(&[][..], |set| group.places_in(set));
    let among = if near.is_empty() { parts.len() } else { near.len() };
    let nth = usize::try_from(number % among as u64).expect("it is below a usize");
    &parts[near.get(nth).copied().unwrap_or(nth)]
}

/// FNV-1a, folded so that its low bits hang on all of it. It decides which account a request meant: it never changes.
fn number_of(request_id: &str) -> u64 {
    let hash = request_id
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
    hash ^ (hash >> 32)
}

/// Says of each posting whose account is a part, of which group.
pub(crate) fn name(view: &View, mut booked: Booked) -> Booked {
    for leg in booked.postings.iter_mut().flatten() {
        leg.group = view.groups.of_part(&leg.account).map(str::to_owned);
    }
    booked
}

/// The same of what would be booked.
pub(crate) fn name_foreseen(view: &View, mut foreseen: Foreseen) -> Foreseen {
    for leg in foreseen.postings.iter_mut().flatten() {
        leg.group = view.groups.of_part(&leg.account).map(str::to_owned);
    }
    foreseen
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use proptest::prelude::*;
    use twinset_control::groups::Side as GroupSide;
    use twinset_control::{Catalogue, Topology};
    use twinset_ledger::SLOTS;

    use super::*;

    /// Three sets; "pot" takes credits with two parts in sets 1 and 2 each, "till" debits with one in set 1.
    fn view() -> View {
        let slots: Arc<[u32]> = (0..u32::from(SLOTS)).map(|slot| slot * 3 / u32::from(SLOTS) + 1).collect();
        let find = |set: u32, tag: &str| account_in(&slots, set, tag);
        let pot = vec![find(1, "pot.a"), find(2, "pot.b"), find(1, "pot.c"), find(2, "pot.d")];
        let definitions =
            [("pot", GroupSide::Credit, pot), ("till", GroupSide::Debit, vec![find(1, "till.")])];
        let mut catalogue = catalogue();
        for (id, normal_side, parts) in definitions {
            let group = twinset_control::Group { id: id.into(), currency: "EUR".into(), normal_side, parts };
            catalogue.groups.insert(id.into(), group);
        }
        let groups = Arc::new(Groups::of(&catalogue, &slots));
        View { version: 1, slots, groups, ..View::default() }
    }

    fn catalogue() -> Catalogue {
        let node = |(n, (name, site)): (usize, (&str, &str))| twinset_control::topology::TopologyNode {
            name: name.into(),
            site: site.into(),
            api: format!("h:{}", 3 * n + 1),
            peer: format!("h:{}", 3 * n + 2),
            http: format!("h:{}", 3 * n + 3),
            arbiter: false,
        };
        let nodes = [("a1", "A"), ("a2", "A"), ("b1", "B"), ("b2", "B")].into_iter().enumerate().map(node);
        let cluster = twinset_control::topology::Cluster {
            name: "t".into(),
            sets: 2,
            durability: twinset_control::Policy::default(),
        };
        Topology { cluster, nodes: nodes.collect() }.place("c").expect("a catalogue")
    }

    fn account_in(slots: &[u32], set: u32, tag: &str) -> String {
        let mut ids = (0..).map(|n| format!("{tag}{n}"));
        ids.find(|id| slots[usize::from(twinset_ledger::slot_of(id))] == set).expect("some id hashes there")
    }

    fn transaction(request_id: &str, legs: &[(&str, Side)], scope: Option<&str>) -> Command {
        let legs = legs.iter().map(|(account, side)| Leg::new(account, *side, 1.into())).collect();
        let scope_account = scope.map(str::to_owned);
        Command::Transaction(Transaction {
            request_id: request_id.into(),
            scope_account,
            legs,
            ..Transaction::default()
        })
    }

    fn expanded(view: &View, mut command: Command) -> Result<Transaction, Error> {
        expand(view, &mut command)?;
        match command {
            Command::Transaction(transaction) => Ok(transaction),
            _ => unreachable!("it stays a transaction"),
        }
    }

    /// Once a router has chosen a part for a request, every other one chooses it too: these numbers stay.
    #[test]
    fn the_number_of_a_request_never_changes() {
        let table = [
            ("", 0xcbf2_9ce4_4fd0_bfc1),
            ("a", 0xaf63_dc4c_2962_30c0),
            ("order-4711", 0xe1e9_ab68_1c33_a255),
        ];
        for (id, number) in table {
            assert_eq!(number_of(id), number, "{id}: {:#x}", number_of(id));
        }
    }

    #[test]
    fn the_payer_decides_the_set_and_is_the_scope() {
        use Side::{Credit, Debit};
        let view = view();
        let in_set = |set, tag: &str| account_in(&view.slots, set, tag);
        let (one, two, three) = (in_set(1, "x"), in_set(2, "y"), in_set(3, "z"));
        let (one, two, three) = (one.as_str(), two.as_str(), three.as_str());
        let set = |account: &str| route::set_of_account(&view, account).expect("there is a catalogue");
        type Case<'a> = (&'a [(&'a str, Side)], Option<&'a str>, Option<&'a str>, Option<u32>);
        let table: [Case<'_>; 8] = [
            (&[(one, Debit), ("pot", Credit)], None, Some(one), Some(1)),
            (&[(two, Debit), ("pot", Credit)], None, Some(two), Some(2)),
            (&[(two, Debit), ("pot", Credit), (one, Debit)], None, Some(one), Some(1)),
            (&[(two, Debit), ("pot", Credit), (one, Debit)], Some(two), Some(two), Some(2)),
            (&[(one, Credit), ("pot", Credit), (two, Debit)], None, Some(two), Some(2)),
            (&[(two, Credit), ("till", Debit), ("pot", Credit)], None, Some(two), Some(2)),
            (&[(three, Debit), ("pot", Credit)], None, Some(three), None),
            (&[("till", Debit), ("pot", Credit)], None, None, None),
        ];
        for (legs, scope, payer, near) in table {
            let booked = expanded(&view, transaction("r", legs, scope)).expect("each may be");
            assert_eq!(booked.scope_account.as_deref(), payer, "{legs:?}");
            for (leg, (asked, side)) in booked.legs.iter().zip(legs) {
                let group = view.groups.get(asked);
                assert_eq!(leg.side, *side);
                match group {
                    None => assert_eq!(leg.account, *asked),
                    Some(group) => assert!(group.definition.parts.contains(&leg.account), "{legs:?}"),
                }
                if let Some(near) = near.filter(|_| *asked == "pot") {
                    assert_eq!(set(&leg.account), near, "{legs:?}");
                }
            }
        }
    }

    #[test]
    fn requests_spread_evenly_over_the_parts_of_a_set_and_over_all() {
        let view = view();
        let group = view.groups.get("pot").expect("it is there");
        for (set, share) in [(Some(1), 2), (Some(3), 4), (None, 4)] {
            let mut counts = BTreeMap::<&str, u32>::new();
            for n in 0..4_000 {
                *counts.entry(part(group, set, number_of(&format!("order-{n}")))).or_default() += 1;
            }
            assert_eq!(counts.len(), share);
            let even = 4_000 / u32::try_from(share).expect("few");
            assert!(counts.values().all(|count| count.abs_diff(even) < even / 5), "{counts:?}");
        }
    }

    #[test]
    fn without_a_group_nothing_is_touched() {
        let view = view();
        let plain = transaction("r", &[("x", Side::Debit), ("y", Side::Credit)], None);
        let mut after = plain.clone();
        expand(&view, &mut after).expect("nothing is wrong with it");
        assert_eq!(after, plain);
        let scoped = transaction("r", &[("x", Side::Debit), ("y", Side::Credit)], Some("pot"));
        assert_eq!(expanded(&view, scoped).map_err(|error| error.code()), Err("malformed"));
    }

    proptest! {
        /// What is expanded names no group, differs from what was asked in nothing but parts and scope, is what it is for
        /// ever, and stays as it is when it is expanded again.
        #[test]
        fn an_expansion_is_the_request_itself(
            request_id in "[a-z0-9]{1,12}",
            legs in prop::collection::vec((prop::sample::select(vec!["pot", "till", "a", "b", "c", "d", "e"]), any::<bool>()), 1..8),
            scope in prop::option::of(prop::sample::select(vec!["a", "b"])),
        ) {
            let view = view();
            let side = |account: &str, debit: bool| match account {
                "pot" => Side::Credit,
                "till" => Side::Debit,
                _ => if debit { Side::Debit } else { Side::Credit },
            };
            let legs: Vec<(&str, Side)> = legs.iter().map(|(account, debit)| (*account, side(account, *debit))).collect();
            let asked = transaction(&request_id, &legs, scope);
            let first = expanded(&view, asked.clone()).expect("each leg is an inflow of its group");
            prop_assert_eq!(&expanded(&view, asked).expect("the same"), &first);
            prop_assert_eq!(&expanded(&view, Command::Transaction(first.clone())).expect("the same"), &first);
            prop_assert_eq!(first.legs.len(), legs.len());
            for (leg, (account, side)) in first.legs.iter().zip(&legs) {
                prop_assert_eq!(leg.side, *side);
                prop_assert!(view.groups.get(&leg.account).is_none());
                let of = view.groups.of_part(&leg.account).unwrap_or(&leg.account);
                prop_assert_eq!(of, *account);
            }
        }
    }
}
