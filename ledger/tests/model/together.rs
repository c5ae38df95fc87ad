//! Transactions that are booked together or not at all: tried, and undone where one is refused.

use std::collections::BTreeMap;

use twinset_ledger::{Command, Effect, Outcome, Position, Rejection};

use super::account::Account;
use super::sweep::Orders;
use super::{Decided, Here, Model};

/// What the books had before a group was tried.
pub(super) struct Before {
    accounts: BTreeMap<String, Account>,
    orders: Orders,
    /// The place and the id of each command, and what stood there before: something does, and places are the same, only where
    /// what clients heard contradicts itself.
    log: Vec<(Position, Option<String>, Option<Decided>)>,
}

impl Model {
    /// How many of the commands that follow belong to the group that a command announces.
    pub(super) fn group(command: &Command, following: usize) -> usize {
        match command {
            Command::Together { count } => usize::from(*count).min(following),
            _ => 0,
        }
    }

    /// What comes of a group, one outcome for each.
    pub(super) fn together(&mut self, group: &[(Here, &Command)]) -> Vec<Outcome> {
        let all_transactions = group.iter().all(|(_, command)| matches!(command, Command::Transaction(_)));
        let on_group = group.iter().find_map(|(_, command)| self.group_in(command));
        if let Some(named) = on_group.filter(|_| all_transactions) {
            return group.iter().map(|(here, command)| self.not_on_parts(*here, command, &named)).collect();
        }
        let before = self.before(group);
        let (culprit, reason) = match self.tried(group) {
            Ok(outcomes) => return outcomes,
            Err(refused) => refused,
        };
        self.undo(before);
        let item = u16::try_from(culprit).expect("an entry is not that long");
        let says = |at| if at == culprit { reason.clone() } else { Rejection::BatchRefused { item } };
        let outcomes = group.iter().enumerate().map(|(at, (here, command))| match command {
            Command::Transaction(_) if let Some(named) = self.group_in(command) => {
                self.not_on_parts(*here, command, &named)
            }
            Command::Transaction(_) => self.request_as(*here, command, |_| Err(says(at))),
            _ => here.says(Err(Rejection::StepOutOfPlace { attempt: here.id() })),
        });
        outcomes.collect()
    }

    /// Transactions touch the accounts of their legs, with the holds on these, and what is remembered of themselves.
    pub(super) fn before(&self, group: &[(Here, &Command)]) -> Before {
        let named = group.iter().flat_map(|(_, command)| command.accounts());
        let known = named.filter_map(|id| Some((id.to_owned(), self.accounts.get(id)?.clone())));
        let log = group.iter().map(|(here, command)| {
            let id = command.request_id().map(str::to_owned);
            (here.position, id, self.log.get(&here.position).cloned())
        });
        Before { accounts: known.collect(), orders: self.orders.clone(), log: log.collect() }
    }

    pub(super) fn undo(&mut self, before: Before) {
        self.accounts.extend(before.accounts);
        self.orders = before.orders;
        for (at, tried, earlier) in before.log {
            self.log.remove(&at);
            let kept = earlier.as_ref().and_then(|earlier| earlier.command.request_id());
            if let Some(id) = tried.filter(|id| kept != Some(id.as_str())) {
                for ids in self.answered.values_mut().filter(|ids| ids.get(&id) == Some(&at)) {
                    ids.remove(&id);
                }
            }
            self.log.extend(earlier.map(|earlier| (at, earlier)));
        }
    }

    /// One outcome for each, or the first that is refused with its reason.
    fn tried(&mut self, group: &[(Here, &Command)]) -> Result<Vec<Outcome>, (usize, Rejection)> {
        let stranger = group.iter().position(|(_, command)| !matches!(command, Command::Transaction(_)));
        if let Some(at) = stranger {
            let item = u16::try_from(at).expect("an entry is not that long");
            return Err((at, Rejection::BatchRefused { item }));
        }
        let mut outcomes = Vec::new();
        for (at, (here, command)) in group.iter().enumerate() {
            let outcome = self.turn(*here, command);
            match outcome.result {
                Err(reason) => return Err((at, reason)),
                Ok(_) => outcomes.push(outcome),
            }
        }
        Ok(outcomes)
    }
}

/// The announcement itself.
pub(super) const ANNOUNCED: Result<Effect, Rejection> = Ok(Effect::Grouped);
