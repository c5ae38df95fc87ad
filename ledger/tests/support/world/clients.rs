//! Clients: what they ask, what they hear, and that they are told one thing only.

use std::collections::BTreeMap;

use proptest::sample::Index;
use rust_decimal::Decimal;
use twinset_ledger::amount::to_minor;
use twinset_ledger::hold::{Capture, PlaceHold};
use twinset_ledger::{
    Account, Begin, Command, Effect, Leg, LegKind, Outcome, Posted, Rejection, Reversal, Side, State,
    Transaction, TransactionId,
};

use super::laws::home;
use super::{ACCOUNTS, Ask, OnHold, World};
use crate::parts::{Parts, legs_at};

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
            Ask::Transaction { base, legs, scope, expects, capture, kinds } => {
                let placed = legs.iter().map(|(at, side, amount)| {
                    let (account, set, _) = ACCOUNTS[*at];
                    (Leg::new(account, *side, *amount), set)
                });
                let (mut legs, mut sets): (Vec<Leg>, Vec<u32>) = placed.unzip();
                if let Some((at, one)) = expects {
                    legs[at.index(sets.len())].preconditions.push(one.clone());
                }
                kinds.iter().for_each(|(at, kind)| self.mark(at, *kind, &mut legs, &sets));
                let mut scope_account = scope.map(|at| at.get(&legs).account.clone());
                let held = capture.and_then(|(at, is_final)| Some((self.hold(&at)?, is_final)));
                let capture = held.map(|((hold, account), is_final)| {
                    self.take_from(&account, hold.set, &mut legs, &mut sets);
                    scope_account = Some(account);
                    Capture { hold, is_final }
                });
                let transaction = Transaction { legs, scope_account, capture, ..base.clone() };
                Some(sent_to(labelled(transaction), sets))
            }
            Ask::Reversal { request_id, original, across, amount } => {
                let parts = Parts::in_place_of(*amount, original);
                let known: Vec<TransactionId> = match across {
                    _ if amount.is_none() && original.index(2) == 0 => self.not_whole(),
                    true => self.settled_lately(),
                    false => self.effects.keys().copied().collect(),
                };
                let transaction = *known.get(original.index(known.len().max(1)))?;
                let legs = || legs_at(self.state(transaction.set), transaction.position);
                let amount = amount.filter(|_| parts.is_none());
                let reversal = Reversal {
                    request_id: request_id.clone(),
                    transaction,
                    amount,
                    legs: parts.map(|parts| parts.of(&legs(), |leg| home(&leg.account) != transaction.set)),
                    // What is asked alike is labelled alike.
                    reason: u16::from(amount.is_none()),
                    metadata: amount.iter().map(|n| ("part".to_owned(), n.to_string())).collect(),
                };
                Some((transaction.set, Command::Reversal(reversal)))
            }
            Ask::OnAccount(command) => {
                let account = command.accounts().next()?;
                let (_, set, _) = ACCOUNTS.iter().find(|(id, ..)| *id == account)?;
                Some((*set, command.clone()))
            }
            Ask::Order(order, at) => Some(self.order(order, at)),
            Ask::RemoveOrder(request_id, at) => self.remove_order(request_id, at),
            Ask::Resolve { request_id, item, to } => self.resolve(request_id, item, *to),
            Ask::Obstruct { request_id, payee } => self.obstruct(request_id, payee),
            Ask::Withdraw { request_id, from, to, asks_payee } => {
                self.withdraw(request_id, from, *to, *asks_payee)
            }
            Ask::PlaceForSoon { hold, soon } => {
                let set = home(&hold.account);
                let expires_ns = Some(self.state(set).last_time() + soon);
                Some((set, Command::PlaceHold(PlaceHold { expires_ns, ..hold.clone() })))
            }
            Ask::Unrestrict { request_id, restriction, amount } => {
                let all = self.sets.iter().flat_map(|(set, twin)| {
                    let state = &twin.books.short;
                    state.restrictions().iter().rev().map(move |one| {
                        let account = state.account(one.account).id.clone();
                        (one.ended.is_some(), *set, account, one.transaction)
                    })
                });
                let mut all: Vec<_> = all.collect();
                all.sort_by_key(|(ended, ..)| *ended);
                all.truncate(6);
                let (_, set, account, restriction) = all.get(restriction.index(all.len().max(1)))?.clone();
                let (request_id, amount) = (request_id.clone(), *amount);
                Some((set, Command::ReleaseRestriction { request_id, account, restriction, amount }))
            }
            Ask::OnHold { request_id, hold, what } => {
                let (hold, account) = self.hold(hold)?;
                let request_id = request_id.clone();
                let command = match *what {
                    OnHold::Release(amount) => Command::ReleaseHold { request_id, account, hold, amount },
                    OnHold::Extend(expires_ns) => {
                        Command::ExtendHold { request_id, account, hold, expires_ns }
                    }
                };
                Some((hold.set, command))
            }
        }
    }

    /// A hold that a client knows of, one of the newest, and its account.
    fn hold(&self, at: &Index) -> Option<(TransactionId, String)> {
        let placed = self.answers.iter().rev().filter_map(|(request, answer)| {
            match (&self.asked[*request].1, &answer.result) {
                (Command::PlaceHold(place), Ok(Effect::Held(held))) => {
                    Some((held.hold, place.account.clone()))
                }
                _ => None,
            }
        });
        let newest: Vec<_> = placed.take(4).collect();
        (!newest.is_empty()).then(|| at.get(&newest).clone())
    }

    /// A client takes a little more than may be withdrawn of what is there.
    fn withdraw(
        &self,
        request_id: &str,
        from: &Index,
        to: usize,
        asks_payee: bool,
    ) -> Option<(u32, Command)> {
        let bound = self.sets.iter().flat_map(|(set, twin)| {
            twin.books.short.accounts().filter_map(move |account| {
                let limit = account.limit?;
                let too_much = (account.withdrawable() - limit).max(0) + 1;
                let is_there = account.available() - limit >= too_much;
                is_there.then_some((account, *set, too_much))
            })
        });
        let bound: Vec<(&Account, u32, i128)> = bound.collect();
        let (from, from_set, amount) = *bound.get(from.index(bound.len().max(1)))?;
        let same_currency = |(id, set, _): &&(&str, u32, _)| {
            let known = self.state(*set).account_by_id(id);
            let fits = known.is_some_and(|known| known.id != from.id && known.currency == from.currency);
            fits && !(asks_payee && *set == from_set)
        };
        let (to, to_set, _) = ACCOUNTS.iter().cycle().skip(to).take(ACCOUNTS.len()).find(same_currency)?;
        let amount = Decimal::try_from_i128_with_scale(amount, from.scale.into()).ok()?;
        let legs = vec![
            Leg { kind: LegKind::Withdrawal, ..Leg::new(&from.id, from.normal_side.opposite(), amount) },
            Leg::new(to, from.normal_side, amount),
        ];
        let scope_account = Some(if asks_payee { (*to).to_owned() } else { from.id.clone() });
        let request_id = request_id.to_owned();
        let transaction = Transaction { request_id, legs, scope_account, ..Transaction::default() };
        Some(sent_to(transaction, vec![from_set, *to_set]))
    }

    /// Gives a leg that kind, mostly one that it makes sense for.
    fn mark(&self, at: &Index, kind: LegKind, legs: &mut [Leg], sets: &[u32]) {
        let makes_sense = |(leg, set): (&Leg, &u32)| {
            let known = self.state(*set).account_by_id(&leg.account);
            let inflow = known.is_some_and(|account| account.is_inflow(leg.side));
            let alone = legs.iter().filter(|other| other.account == leg.account).count() == 1;
            if kind == LegKind::Withdrawal { !inflow } else { inflow && alone }
        };
        let fits = legs.iter().zip(sets).map(makes_sense);
        let fitting: Vec<usize> = fits.enumerate().filter(|(_, fits)| *fits).map(|(at, _)| at).collect();
        let any = fitting.is_empty() || at.index(32) == 0;
        let at = if any { at.index(legs.len()) } else { *at.get(&fitting) };
        legs[at].kind = kind;
    }

    /// Makes the first leg one that takes from an account, and the others what they were to it.
    fn take_from(&self, account: &str, set: u32, legs: &mut [Leg], sets: &mut [u32]) {
        let known = self.state(set).account_by_id(account).expect("it has a hold");
        if known.is_inflow(legs[0].side) {
            for leg in legs.iter_mut() {
                leg.side = if leg.side == Side::Debit { Side::Credit } else { Side::Debit };
            }
        }
        account.clone_into(&mut legs[0].account);
        sets[0] = set;
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

    /// Transactions of which parts of legs were taken back; if there are none, any over several sets.
    fn not_whole(&self) -> Vec<TransactionId> {
        let taken = |id: &&TransactionId| {
            let reversed = self.state(id.set).reversed(id.position).expect("no fault");
            !reversed.taken.legs.is_empty()
        };
        let known: Vec<TransactionId> = self.effects.keys().filter(taken).copied().collect();
        if known.is_empty() { self.settled_lately() } else { known }
    }

    pub(super) fn ask(&mut self, set: u32, command: Command) {
        self.asked.push((set, command));
        self.ask_again(self.asked.len() - 1);
    }

    pub(super) fn ask_again(&mut self, request: usize) {
        if let Some(batch) = self.batches.get(&request) {
            return self.send_together(batch.clone());
        }
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
            Err(Rejection::SetUnavailable { .. } | Rejection::StepOutOfPlace { .. }) => return,
            Err(Rejection::RequestMismatch { .. }) => {
                let other = self.answers.get(&request).filter(|known| known.result.is_ok());
                assert!(other.is_none(), "what was done is not refused: {other:?}");
                return;
            }
            Err(_) => {}
            Ok(Effect::Posted(legs)) => {
                self.note_parts(request, legs);
                self.effect(request, outcome, legs);
            }
            Ok(Effect::Buffered { booked, sent }) => {
                self.saw("paid without asking");
                let Command::Begin(begin) = &self.asked[request].1 else {
                    panic!("only payments are sent");
                };
                let legs = World::all_legs(&begin.transaction, booked, sent);
                self.effect(request, outcome, &legs);
            }
            Ok(Effect::Settled(legs)) => {
                self.saw("settled");
                self.note_parts(request, legs);
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

    /// Counts what came of a reversal that names legs, or that takes what is left beside ones that did.
    fn note_parts(&mut self, request: usize, legs: &[Posted]) {
        let (set, command) = &self.asked[request];
        let Command::Reversal(Reversal { legs: named, transaction, .. }) = command else { return };
        let of_several = legs.iter().any(|leg| home(&leg.account) != *set);
        let own = legs.iter().any(|leg| home(&leg.account) == *set);
        let reversed = self.state(*set).reversed(transaction.position).expect("no fault");
        let what = match (named, of_several, own) {
            (Some(_), true, true) => "legs reversed over sets",
            (Some(_), true, false) => "legs reversed in others alone",
            (Some(_), false, _) => "legs reversed here",
            (None, ..) if !reversed.taken.legs.is_empty() => "all but what was reversed by legs",
            (None, ..) => return,
        };
        self.saw(what);
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

/// Says something of two in three, by what they ask: what is asked alike is labelled alike.
fn labelled(mut transaction: Transaction) -> Transaction {
    let amount = transaction.legs[0].amount;
    let order = amount.mantissa().unsigned_abs();
    (transaction.kind, transaction.reason) = match order % 3 {
        0 => (0, 0),
        1 => (7, 0),
        _ => (0, u16::from(transaction.legs.len() > 2)),
    };
    if order % 3 == 2 {
        transaction.metadata.insert("order".to_owned(), amount.to_string());
    }
    transaction
}

/// A transaction whose legs are of these sets, and the set that it is sent to.
fn sent_to(transaction: Transaction, sets: Vec<u32>) -> (u32, Command) {
    if sets.iter().all(|set| *set == sets[0]) {
        return (sets[0], Command::Transaction(transaction));
    }
    let begin = Begin { transaction, sets };
    (begin.coordinator(), Command::Begin(begin))
}
