//! What may be set aside for transactions over several sets while one set is replayed: nobody is told when, so that only bounds
//! are known. Where an answer or a read can be right with some of it and without the rest, it is right; where nothing explains
//! it, it is wrong.

use std::collections::{BTreeSet, HashMap, HashSet};

use twinset_ledger::{Position, TransactionId};

use super::super::across::Spot;
use super::super::model::Account;
use super::{Run, figures};
use crate::history::{Figures, clearing};

/// What may be set aside where the replay has come to.
#[derive(Default)]
pub struct Reserved {
    /// How many of the plan's reserves have begun.
    begun: usize,
    /// By account, those that may not be over.
    by_account: HashMap<u32, Vec<usize>>,
    /// Attempts of this set for which nothing is set aside: they were refused where they were begun, or are just being begun.
    refused: HashSet<usize>,
}

/// Something set aside in the model for as long as a question takes.
pub type Promised = Vec<(TransactionId, u32)>;

fn key(reserve: usize) -> TransactionId {
    TransactionId { set: u32::MAX, incarnation: 0, position: Position(reserve as u64) }
}

impl Run<'_, '_> {
    /// Goes on to a spot.
    pub(super) fn reach(&mut self, spot: Spot) {
        let plan = self.plans.reserves.get(&self.set).map(Vec::as_slice).unwrap_or_default();
        let Reserved { begun, by_account, .. } = &mut self.reserved;
        while let Some(reserve) = plan.get(*begun).filter(|reserve| reserve.from < spot) {
            for (account, ..) in &reserve.accounts {
                by_account.entry(*account).or_default().push(*begun);
            }
            *begun += 1;
        }
        self.spot = spot;
    }

    /// Nothing is set aside for an attempt of this set.
    pub(super) fn refused_at_once(&mut self, number: usize) {
        self.reserved.refused.insert(number);
    }

    /// It was begun after all.
    pub(super) fn begun_after_all(&mut self, number: usize) {
        self.reserved.refused.remove(&number);
    }

    /// All that may be set aside here on some accounts is.
    pub(super) fn promise(&mut self, accounts: &[u32]) -> Promised {
        self.promise_behind(accounts, self.spot)
    }

    /// The same of what may have been set aside at any time behind an earlier spot.
    pub(super) fn promise_behind(&mut self, accounts: &[u32], behind: Spot) -> Promised {
        let plan = self.plans.reserves.get(&self.set).map(Vec::as_slice).unwrap_or_default();
        let Reserved { by_account, refused, .. } = &mut self.reserved;
        let mut promised = Vec::new();
        for account in accounts.iter().copied().collect::<BTreeSet<u32>>() {
            let Some(reserves) = by_account.get_mut(&account) else { continue };
            reserves.retain(|at| plan[*at].until > behind);
            let id = &self.witness.history.accounts[account as usize];
            let unit = self.model.accounts().get(id).map_or(1, Account::cents_of_a_minor_unit);
            for at in reserves {
                if plan[*at].of.is_some_and(|number| refused.contains(&number)) {
                    continue;
                }
                let found = plan[*at].accounts.iter().find(|(other, ..)| *other == account);
                let (_, debits, credits) = found.expect("it is filed under that account");
                self.model.promise(key(*at), id, (i128::from(*debits) / unit, i128::from(*credits) / unit));
                promised.push((key(*at), account));
            }
        }
        promised
    }

    /// The question is over.
    pub(super) fn forgive(&mut self, promised: Promised) {
        for (attempt, account) in promised {
            self.model.forgive(attempt, &self.witness.history.accounts[account as usize]);
        }
    }

    /// How much less may be available to an account than the model says, in cents.
    pub(super) fn slack(&mut self, account: u32) -> i128 {
        let most = self.figures(account);
        let promised = self.promise(&[account]);
        let least = self.figures(account);
        self.forgive(promised);
        i128::from(most.available - least.available)
    }

    /// What the model shows of an account; of a clearing account that is not there zeros.
    fn figures(&self, account: u32) -> Figures {
        let Some(id) = self.witness.history.accounts.get(account as usize) else { return Figures::default() };
        self.model.accounts().get(id).map(figures).unwrap_or_default()
    }

    /// Whether an account may show these figures here.
    pub(super) fn shows(&mut self, account: u32, told: &Figures) -> bool {
        let id = &self.witness.history.accounts[account as usize];
        if !self.model.accounts().contains_key(id) && clearing(id).is_none() {
            return false;
        }
        let least = self.figures(account);
        let promised = self.promise(&[account]);
        let most = self.figures(account);
        self.forgive(promised);
        let without = |figures: &Figures| Figures { available: 0, held: 0, incoming: 0, ..*figures };
        without(told) == without(&least)
            && (least.held..=most.held).contains(&told.held)
            && (least.incoming..=most.incoming).contains(&told.incoming)
            && told.available == told.posted - told.held
    }

    /// Whether an account may be not there. A clearing account is, until something is set aside for the first time.
    pub(super) fn may_lack(&self, account: u32) -> bool {
        let id = &self.witness.history.accounts[account as usize];
        match self.model.accounts().get(id) {
            Some(_) if clearing(id).is_some() => self.figures(account) == Figures::default(),
            known => known.is_none(),
        }
    }
}
