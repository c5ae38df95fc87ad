//! Clients: what they ask, what they hear, and that they are told one thing only.

use std::collections::BTreeMap;

use twinset_ledger::amount::to_minor;
use twinset_ledger::{
    Begin, Command, Effect, Leg, Outcome, Posted, Rejection, Reversal, Side, Transaction, TransactionId,
};

use super::{ACCOUNTS, Ask, World};

impl World {
    /// The command, and the set that it is sent to. `id_of`: the request whose id it takes over. None if it is malformed, or
    /// there is nothing that it could be about.
    pub(super) fn command(&self, ask: &Ask, id_of: Option<usize>) -> Option<(u32, Command)> {
        let (set, mut command) = self.command_of(ask)?;
        if let Some(request) = id_of {
            let taken = self.asked[request].1.request_id().expect("it was asked").to_owned();
            match &mut command {
                Command::Transaction(transaction) | Command::Begin(Begin { transaction, .. }) => {
                    transaction.request_id = taken;
                }
                Command::Reversal(reversal) => reversal.request_id = taken,
                _ => {}
            }
        }
        command.validate().is_ok().then_some((set, command))
    }

    fn command_of(&self, ask: &Ask) -> Option<(u32, Command)> {
        match ask {
            Ask::Transaction { base, legs, scope } => {
                let placed = legs.iter().map(|(at, side, amount)| {
                    let (account, set, _) = ACCOUNTS[*at];
                    (Leg { account: account.to_owned(), side: *side, amount: *amount, currency: None }, set)
                });
                let (legs, sets): (Vec<Leg>, Vec<u32>) = placed.unzip();
                let scope_account = scope.map(|at| at.get(&legs).account.clone());
                let transaction = Transaction { legs, scope_account, ..base.clone() };
                if sets.iter().all(|set| *set == sets[0]) {
                    return Some((sets[0], Command::Transaction(transaction)));
                }
                let begin = Begin { transaction, sets };
                let coordinator = begin.coordinator();
                Some((coordinator, Command::Begin(begin)))
            }
            Ask::Reversal { request_id, original, across, amount } => {
                let known: Vec<TransactionId> = match across {
                    true => self.settled_lately(),
                    false => self.effects.keys().copied().collect(),
                };
                let transaction = *known.get(original.index(known.len().max(1)))?;
                let reversal = Reversal {
                    request_id: request_id.clone(),
                    transaction,
                    amount: *amount,
                    reason: 0,
                    metadata: <_>::default(),
                };
                Some((transaction.set, Command::Reversal(reversal)))
            }
            Ask::OnAccount(command) => {
                let account = command.accounts().next()?;
                let (_, set, _) = ACCOUNTS.iter().find(|(id, ..)| *id == account)?;
                Some((*set, command.clone()))
            }
        }
    }

    /// Some transactions over several sets that clients know of, the newest of each set.
    fn settled_lately(&self) -> Vec<TransactionId> {
        let settled = |(request, answer): (&usize, &Outcome)| {
            let (set, command) = &self.asked[*request];
            let (incarnation, position) = (answer.incarnation, answer.position);
            let is_one = matches!(command, Command::Begin(_)) && answer.result.is_ok();
            is_one.then_some((*set, TransactionId { set: *set, incarnation, position }))
        };
        let mut newest = BTreeMap::<u32, TransactionId>::new();
        for (set, id) in self.answers.iter().filter_map(settled) {
            let newest = newest.entry(set).or_insert(id);
            *newest = id.max(*newest);
        }
        newest.into_values().collect()
    }

    pub(super) fn ask(&mut self, set: u32, command: Command) {
        self.asked.push((set, command));
        self.ask_again(self.asked.len() - 1);
    }

    pub(super) fn ask_again(&mut self, request: usize) {
        let (set, command) = self.asked[request].clone();
        self.proposed.entry(set).or_default().push((command, Some(request)));
    }

    /// A client has heard something.
    pub(super) fn hear(&mut self, request: usize, outcome: &Outcome) {
        match &outcome.result {
            Ok(Effect::Begun) => {
                let begun = self.begun.entry(request).or_default();
                begun.insert(outcome.position);
                if begun.len() > 1 && !outcome.replayed {
                    self.saw("second attempt");
                }
                return;
            }
            Err(Rejection::SetUnavailable { .. }) => return,
            Err(Rejection::RequestMismatch { .. }) => {
                let other = self.answers.get(&request).filter(|known| known.result.is_ok());
                assert!(other.is_none(), "what was done is not refused: {other:?}");
                return;
            }
            Err(_) => {}
            Ok(Effect::Posted(legs)) => self.effect(request, outcome, legs),
            Ok(Effect::Settled(legs)) => {
                self.saw("settled");
                if matches!(self.asked[request].1, Command::Reversal(_)) {
                    self.saw("settled reversal");
                }
                self.effect(request, outcome, legs);
            }
            Ok(_) => {}
        }
        let answer = Outcome { replayed: false, ..outcome.clone() };
        let known = self.answers.entry(request).or_insert_with(|| answer.clone());
        assert_eq!(*known, answer, "there is one answer to {:?}", self.asked[request]);
    }

    /// What a command did, by its own legs where it has some.
    fn effect(&mut self, request: usize, outcome: &Outcome, legs: &[Posted]) {
        let (set, command) = &self.asked[request];
        let names: Vec<&str> = command.accounts().collect();
        let name =
            |(at, leg): (usize, &Posted)| names.get(at).map_or(leg.account.clone(), |&name| name.to_owned());
        let effect: Vec<(String, Side, i128)> =
            legs.iter().enumerate().map(|(at, leg)| (name((at, leg)), leg.side, leg.amount)).collect();
        if let Command::Begin(Begin { transaction, .. }) | Command::Transaction(transaction) = command {
            let asked = transaction.legs.iter().zip(legs).map(|(leg, posted)| {
                let amount = to_minor(leg.amount, posted.scale).expect("it was booked");
                (leg.account.clone(), leg.side, amount)
            });
            assert!(effect.iter().cloned().eq(asked), "what was asked is what was booked");
            assert_eq!(legs.len(), transaction.legs.len(), "all of it");
        }
        let (incarnation, position) = (outcome.incarnation, outcome.position);
        let id = TransactionId { set: *set, incarnation, position };
        let known = self.effects.entry(id).or_insert_with(|| effect.clone());
        assert_eq!(*known, effect, "a transaction has one effect");
    }
}
