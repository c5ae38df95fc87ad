//! Which accounts the traffic uses and which transfers it makes. Pure but for the randomness it is handed.
//!
//! Accounts are called `{bench-K}:N`: those of one group share a tag in braces and so a set, and a transaction keeps to
//! one group unless it is to be one over two sets. With a slot table the groups are dealt evenly over the sets.

use std::collections::BTreeMap;

use super::random::Random;

/// Which accounts and transactions.
#[derive(Clone, Debug)]
pub struct Shape {
    /// The first part of every tag.
    pub name: String,
    /// How many accounts.
    pub accounts: usize,
    /// Every transaction credits one and the same account.
    pub hot: bool,
    /// Who is paid beside these accounts.
    pub into: Option<Payee>,
    /// Of a hundred transactions, how many credit an account of another set.
    pub across: u8,
    /// Of a hundred transactions that are alone in their request, how many are set aside first and captured then.
    pub held: u8,
    /// Transactions per request; 1: the plain call, not a batch of one.
    pub batch: usize,
    /// The owning set of every slot; empty if it is not known.
    pub slots: Vec<u32>,
}

/// An account of anybody's that is credited. It has the currency of the others, and is opened by somebody else.
#[derive(Clone, Debug)]
pub struct Payee {
    /// Its id.
    pub account: String,
    /// Of a hundred transactions, how many credit it.
    pub percent: u8,
}

impl Payee {
    /// All transactions credit it.
    pub fn of_all(account: String) -> Self {
        Payee { account, percent: 100 }
    }
}

/// Accounts that share a tag.
#[derive(Debug)]
struct Group {
    tag: String,
    /// Not known before the accounts are open, unless there is a slot table.
    set: u32,
}

/// Where a transaction goes, by how it was drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Between accounts of one set.
    Within,
    /// To an account of another set.
    Across,
    /// To the payee beside the traffic's own accounts, wherever that lives.
    Into,
}

/// A two-leg transaction.
#[derive(Debug, PartialEq, Eq)]
pub struct Transfer {
    /// The account that is debited.
    pub debit: String,
    /// The account that is credited.
    pub credit: String,
    /// In cents.
    pub cents: u32,
    /// The amount is set aside first, and captured then.
    pub held: bool,
    /// Where it goes.
    pub way: Way,
}

/// What is sent.
#[derive(Debug)]
pub struct Plan {
    groups: Vec<Group>,
    by_set: BTreeMap<u32, Vec<usize>>,
    accounts_per_group: usize,
    hot: bool,
    into: Option<Payee>,
    across: u8,
    held: u8,
    batch: usize,
}

const GROUP_ACCOUNTS: usize = 100;
/// Tags tried for an even spread before what was found is taken.
const CANDIDATES: usize = 100_000;

impl Plan {
    /// The plan for `shape`.
    pub fn new(shape: &Shape) -> Self {
        let sets: std::collections::BTreeSet<u32> = shape.slots.iter().copied().collect();
        let accounts = shape.accounts.max(2);
        // A hot account has all others in its own group. Few accounts still reach every set.
        let groups_min = if shape.hot { 1 } else { sets.len().max(1) };
        let largest = if shape.hot { accounts } else { GROUP_ACCOUNTS };
        let accounts_per_group = (accounts / groups_min).clamp(2, largest.max(2));
        let wanted = if shape.hot { 1 } else { accounts.div_ceil(accounts_per_group) };
        let per_set = wanted.div_ceil(sets.len().max(1));
        let mut dealt: BTreeMap<u32, usize> = BTreeMap::new();
        let mut groups = Vec::with_capacity(wanted);
        for number in 0..CANDIDATES {
            if groups.len() == wanted {
                break;
            }
            let tag = format!("{{{}-{number}}}", shape.name);
            let slot = usize::from(twinset_ledger::slot_of(&tag));
            let set = shape.slots.get(slot).copied().unwrap_or(0);
            let count = dealt.entry(set).or_default();
            if shape.slots.is_empty() || *count < per_set {
                *count += 1;
                groups.push(Group { tag, set });
            }
        }
        let mut plan = Plan {
            groups,
            by_set: BTreeMap::new(),
            accounts_per_group,
            hot: shape.hot,
            into: shape.into.clone(),
            across: shape.across,
            held: shape.held,
            batch: shape.batch.max(1),
        };
        plan.index_sets();
        plan
    }

    fn index_sets(&mut self) {
        self.by_set.clear();
        for (number, group) in self.groups.iter().enumerate() {
            self.by_set.entry(group.set).or_default().push(number);
        }
    }

    /// Every account with the number of its group.
    pub fn account_ids(&self) -> Vec<(usize, String)> {
        let of = |(number, group): (usize, &Group)| {
            let tag = group.tag.clone();
            (0..self.accounts_per_group).map(move |account| (number, format!("{tag}:{account}")))
        };
        self.groups.iter().enumerate().flat_map(of).collect()
    }

    /// Takes in the set of each group as the routers answered it.
    pub fn learn_sets(&mut self, sets: Vec<(usize, u32)>) {
        for (group, set) in sets {
            self.groups[group].set = set;
        }
        self.index_sets();
    }

    /// The sets that have accounts.
    pub fn sets(&self) -> Vec<u32> {
        self.by_set.keys().copied().collect()
    }

    /// The transfers of one request to `set`; of any set if it has no accounts.
    pub fn draw(&self, set: u32, random: &mut Random) -> Vec<Transfer> {
        (0..self.batch).map(|_| self.transfer(set, random)).collect()
    }

    fn transfer(&self, set: u32, random: &mut Random) -> Transfer {
        let group = match self.by_set.get(&set) {
            Some(groups) => groups[random.below(groups.len())],
            None => random.below(self.groups.len()),
        };
        let cents = 1 + random.below(9_999) as u32;
        let held = self.batch == 1 && self.held > 0 && random.below(100) < usize::from(self.held);
        let all = self.accounts_per_group;
        let named = |group: usize, account: usize| format!("{}:{account}", self.groups[group].tag);
        if let Some(payee) = self.into.as_ref().filter(|payee| random.below(100) < usize::from(payee.percent))
        {
            let (debit, credit) = (named(group, random.below(all)), payee.account.clone());
            return Transfer { debit, credit, cents, held, way: Way::Into };
        }
        if random.below(100) < usize::from(self.across)
            && let Some(other) = self.group_elsewhere(self.groups[group].set, random)
        {
            let (debit, credit) = (random.below(all), random.below(all));
            let (debit, credit) = (named(group, debit), named(other, credit));
            return Transfer { debit, credit, cents, held, way: Way::Across };
        }
        let credit = if self.hot { 0 } else { random.below(all) };
        // Any account but the credited one, each as likely.
        let debit = (credit + 1 + random.below(all - 1)) % all;
        let (debit, credit) = (named(group, debit), named(group, credit));
        Transfer { debit, credit, cents, held, way: Way::Within }
    }

    /// A group of another set, each set as likely; None: there is no other.
    fn group_elsewhere(&self, set: u32, random: &mut Random) -> Option<usize> {
        let others = self.by_set.len().checked_sub(1).filter(|others| *others > 0)?;
        let mut elsewhere = self.by_set.iter().filter(|(other, _)| **other != set);
        let (_, groups) = elsewhere.nth(random.below(others))?;
        Some(groups[random.below(groups.len())])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(accounts: usize, hot: bool, slots: Vec<u32>) -> Shape {
        Shape { name: "t".into(), accounts, hot, into: None, across: 0, held: 0, batch: 1, slots }
    }

    fn halves() -> Vec<u32> {
        (0..4096).map(|slot| if slot < 2048 { 1 } else { 2 }).collect()
    }

    #[test]
    fn groups_are_dealt_evenly_over_the_sets() {
        let plan = Plan::new(&shape(10_000, false, halves()));
        assert_eq!(plan.account_ids().len(), 10_000);
        assert_eq!(plan.by_set[&1].len(), 50);
        assert_eq!(plan.by_set[&2].len(), 50);
    }

    #[test]
    fn few_accounts_still_reach_every_set() {
        assert_eq!(Plan::new(&shape(4, false, halves())).sets(), [1, 2]);
    }

    #[test]
    fn a_transfer_keeps_to_one_tag_and_two_accounts() {
        let plan = Plan::new(&shape(300, false, halves()));
        let mut random = Random::seeded(3);
        for _ in 0..1000 {
            let transfer = plan.transfer(2, &mut random);
            assert_ne!(transfer.debit, transfer.credit);
            let slot = twinset_ledger::slot_of(&transfer.debit);
            assert_eq!(slot, twinset_ledger::slot_of(&transfer.credit));
            assert!(slot >= 2048);
            assert!((1..10_000).contains(&transfer.cents));
        }
    }

    #[test]
    fn as_many_as_asked_for_reach_another_set() {
        let set_of = |account: &str| halves()[usize::from(twinset_ledger::slot_of(account))];
        for (across, least, most) in [(0, 0, 0), (30, 200, 400), (100, 1000, 1000)] {
            let plan = Plan::new(&Shape { across, ..shape(300, false, halves()) });
            let mut random = Random::seeded(3);
            let transfers = (0..1000).map(|_| plan.transfer(2, &mut random));
            let over = transfers.filter(|transfer| {
                assert_eq!(set_of(&transfer.debit), 2, "who pays is of the set that is asked for");
                let over = set_of(&transfer.credit) != 2;
                assert_eq!(transfer.way, if over { Way::Across } else { Way::Within });
                over
            });
            let over = over.count();
            assert!((least..=most).contains(&over), "{over} of 1000 at {across} %");
        }
        let alone = Plan::new(&Shape { across: 100, ..shape(300, false, Vec::new()) });
        alone.transfer(0, &mut Random::seeded(3));
    }

    #[test]
    fn a_hot_plan_credits_one_account() {
        let plan = Plan::new(&shape(100, true, Vec::new()));
        let mut random = Random::seeded(3);
        assert!((0..100).all(|_| plan.transfer(0, &mut random).credit == "{t-0}:0"));
    }

    #[test]
    fn all_credit_the_account_that_is_named_and_any_pays() {
        let plan =
            Plan::new(&Shape { into: Some(Payee::of_all("pot".into())), ..shape(300, false, halves()) });
        let mut random = Random::seeded(3);
        let payers: std::collections::BTreeSet<String> = (0..1000)
            .map(|_| plan.transfer(2, &mut random))
            .map(|transfer| {
                assert_eq!((transfer.credit.as_str(), transfer.way), ("pot", Way::Into));
                assert!(
                    twinset_ledger::slot_of(&transfer.debit) >= 2048,
                    "who pays is of the set that is asked for"
                );
                transfer.debit
            })
            .collect();
        assert!(payers.len() > 90, "{} of a hundred", payers.len());
    }

    #[test]
    fn sets_are_learnt_where_no_slot_table_was_given() {
        let mut plan = Plan::new(&shape(200, false, Vec::new()));
        plan.learn_sets(vec![(0, 7), (1, 9)]);
        assert_eq!(plan.sets(), [7, 9]);
    }
}
