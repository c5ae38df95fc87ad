//! Who asked first: where a request id is remembered, what makes two requests the same, and what has become of the first.

use std::collections::{BTreeMap, BTreeSet};

use twinset_ledger::{
    Command, Effect, Leg, LegKind, LegPart, Outcome, Position, Rejection, Reversal, Schedule, Side,
    Transaction, TransactionId,
};

use super::{Here, Model, attempt};

/// What is known of a request.
pub(super) enum Recalled {
    /// Its answer.
    Known(Box<Outcome>),
    /// It is new, and is to be remembered in these scopes.
    New(Vec<String>),
    /// Its newest attempt, this one, was given up: it may try again.
    GivenUp(TransactionId),
}

/// Where the id of a request stands.
struct Scopes {
    /// Where it is looked for, most telling first.
    look: Vec<String>,
    /// Where it is remembered, unless something else is there.
    keep: Vec<String>,
}

impl Model {
    /// The scope under which a command is remembered, if it is decided at `position`: of several, the least.
    #[allow(dead_code, reason = "not every test asks")]
    pub fn scope(&self, position: Position, command: &Command) -> String {
        match command {
            Command::Step { attempt, .. } => attempt.attempt_scope(),
            _ => self.scopes(position, command).keep.remove(0),
        }
    }

    pub(super) fn recall(&self, here: Here, command: &Command, id: &str) -> Recalled {
        let Scopes { look, keep } = self.scopes(here.position, command);
        let found = |scopes: &[String]| -> Vec<Position> {
            scopes.iter().filter_map(|scope| self.first(scope, id)).collect()
        };
        let open_scope = keep.len() > 1;
        let mut seen = found(&look);
        if open_scope {
            seen.sort();
        }
        let differs = |first: &Position| self.difference(&self.log[first].command, command);
        if let Some(first) = seen.iter().find(|first| differs(first).is_none()) {
            return self.again(*first);
        }
        let free: Vec<String> = keep.into_iter().filter(|scope| self.first(scope, id).is_none()).collect();
        let blocked = if open_scope { free.is_empty() } else { !seen.is_empty() };
        if !blocked {
            return Recalled::New(free);
        }
        // The scope may have been open when the same was asked first, and another one been free.
        if let Command::Transaction(Transaction { scope_account: None, legs, .. }) = command {
            let mut elsewhere = legs.iter().filter_map(|leg| self.first(&leg.account, id));
            if let Some(first) = elsewhere.find(|first| differs(first).is_none()) {
                return self.again(first);
            }
        }
        let original = seen[0];
        let field = differs(&original).expect("it was compared");
        Recalled::Known(Box::new(here.says(Err(Rejection::RequestMismatch { field, original }))))
    }

    /// What has come by now of a request that was first decided at `first`: of its newest attempt, and whether that was given
    /// up.
    pub(super) fn newest(&self, first: Position) -> (Outcome, bool) {
        let mut outcome = self.last_word(first);
        while matches!(outcome.result, Err(Rejection::SetUnavailable { .. })) {
            let attempt = self.attempts.get(&self.called(&outcome));
            let Some(next) = attempt.and_then(|attempt| attempt.next) else { return (outcome, true) };
            outcome = self.last_word(next);
        }
        (outcome, false)
    }

    fn again(&self, first: Position) -> Recalled {
        match self.newest(first) {
            (outcome, true) => Recalled::GivenUp(self.called(&outcome)),
            (outcome, false) => Recalled::Known(Box::new(Outcome { replayed: true, ..outcome })),
        }
    }

    /// What has come by now of what was decided at a position: of an attempt its end.
    pub(super) fn last_word(&self, position: Position) -> Outcome {
        let outcome = self.log[&position].outcome.clone();
        if outcome.result != Ok(Effect::Begun) {
            return outcome;
        }
        let end = self.attempts.get(&self.called(&outcome)).and_then(|attempt| {
            let told = |at: Position| &self.log[&at].outcome.result;
            let refused = attempt.decided.map(told).filter(|decision| decision.is_err());
            attempt.settled.map(told).or(refused)
        });
        match end {
            Some(end) => Outcome { result: end.clone(), ..outcome },
            None => outcome,
        }
    }

    /// What an attempt is called that began with this.
    fn called(&self, begun: &Outcome) -> TransactionId {
        TransactionId { set: self.set, incarnation: begun.incarnation, position: begun.position }
    }

    fn scopes(&self, position: Position, command: &Command) -> Scopes {
        let one = |scope: String| Scopes { look: vec![scope.clone()], keep: vec![scope] };
        match command {
            Command::Transaction(transaction) => {
                let scopes = self.transaction_scopes(transaction);
                Scopes { look: scopes.clone(), keep: scopes }
            }
            Command::Reversal(reversal) => match self.original(position, reversal.transaction) {
                Ok(original) => {
                    let scope = match original.sets {
                        None => self.transaction_scopes(&original.transaction).remove(0),
                        Some(_) => attempt::scope(&original.transaction).to_owned(),
                    };
                    Scopes { look: vec![scope.clone(), refusals(reversal)], ..one(scope) }
                }
                Err(_) => one(refusals(reversal)),
            },
            Command::ResolveSuspense { item, .. } => one(format!("resolutions of {item}")),
            Command::Begin(begin) => one(attempt::scope(&begin.transaction).to_owned()),
            other => one(other.accounts().next().expect("one account").to_owned()),
        }
    }

    /// One scope, or all accounts if unknown ones leave it open.
    fn transaction_scopes(&self, transaction: &Transaction) -> Vec<String> {
        if let Some(named) = &transaction.scope_account {
            return vec![named.clone()];
        }
        let all: BTreeSet<&String> = transaction.legs.iter().map(|leg| &leg.account).collect();
        let unknown: Vec<&String> =
            all.iter().copied().filter(|id| !self.accounts.contains_key(*id)).collect();
        if unknown.is_empty() {
            let outflow = |leg: &&Leg| self.accounts[&leg.account].normal != leg.side;
            let least = transaction.legs.iter().filter(outflow).map(|leg| &leg.account).min();
            return vec![least.unwrap_or(all.first().expect("legs")).to_string()];
        }
        // Try every combination of what the unknown accounts may turn out to be.
        let scope_if = |normals: &BTreeMap<&String, Side>| {
            let outflow = |account: &String, side: Side| match self.accounts.get(account) {
                Some(known) => known.normal != side,
                None => normals[account] != side,
            };
            let outflows = transaction.legs.iter().filter(|leg| outflow(&leg.account, leg.side));
            outflows.map(|leg| &leg.account).min().unwrap_or(all.iter().min().expect("legs")).clone()
        };
        let scopes: BTreeSet<String> = (0..1u32 << unknown.len())
            .map(|bits| {
                let side = |at: usize| if bits >> at & 1 == 0 { Side::Debit } else { Side::Credit };
                scope_if(&unknown.iter().enumerate().map(|(at, id)| (*id, side(at))).collect())
            })
            .collect();
        let least_outflow = transaction
            .legs
            .iter()
            .filter(|leg| self.accounts.get(&leg.account).is_some_and(|known| known.normal != leg.side))
            .map(|leg| &leg.account)
            .min();
        match least_outflow {
            Some(outflow) if unknown.iter().all(|id| outflow < *id) => {
                assert_eq!(scopes, BTreeSet::from([outflow.clone()]), "no combination changes it");
                vec![outflow.clone()]
            }
            _ => all.into_iter().cloned().collect(),
        }
    }

    /// The first field in which two requests differ; None if they ask for the same.
    fn difference(&self, first: &Command, second: &Command) -> Option<String> {
        let (first, second) = (self.meaning(first), self.meaning(second));
        let differs = first.iter().zip(&second).find(|(a, b)| a != b).map(|(a, _)| a.0.clone());
        assert!(differs.is_some() || first.len() == second.len(), "what has other fields differs before");
        differs
    }

    /// What a command asks for, however it is written, field for field. Equal texts mean the same.
    fn meaning(&self, command: &Command) -> Vec<(String, String)> {
        let named = |name: &str, value: String| (name.to_owned(), value);
        match command {
            Command::Transaction(transaction) => {
                let scopes = self.transaction_scopes(transaction);
                let scope = if scopes.len() == 1 { Some(&scopes[0]) } else { None };
                let mut fields = self.content(transaction, "in one set");
                fields.push(named("scope_account", format!("{scope:?}")));
                fields
            }
            // Its id is looked for in its scope alone.
            Command::Begin(begin) => self.content(&begin.transaction, "over several sets"),
            Command::Reversal(r) => vec![
                named("command", "reversal".to_owned()),
                named("transaction", r.transaction.to_string()),
                named("amount", format!("{:?}", r.amount.map(|amount| amount.normalize()))),
            ]
            .into_iter()
            .chain(parts(r.legs.as_deref()))
            .chain([named("reason", r.reason.to_string()), named("metadata", format!("{:?}", r.metadata))])
            .collect(),
            Command::OpenAccount { subject, currency, normal_side, limit, metadata, .. } => {
                let side = normal_side.or_else(|| self.subject_side(subject));
                vec![
                    named("command", "open".to_owned()),
                    named("subject", subject.clone()),
                    named("currency", currency.clone()),
                    named("normal_side", format!("{side:?}")),
                    named("limit", format!("{:?}", limit.map(|limit| limit.normalize()))),
                    named("metadata", format!("{metadata:?}")),
                ]
            }
            Command::SetLimit { limit, .. } => vec![
                named("command", "limit".to_owned()),
                named("limit", format!("{:?}", limit.map(|limit| limit.normalize()))),
            ],
            Command::Freeze { mode, .. } => {
                vec![named("command", "freeze".to_owned()), named("mode", format!("{mode:?}"))]
            }
            Command::Unfreeze { mode, .. } => {
                vec![named("command", "unfreeze".to_owned()), named("mode", format!("{mode:?}"))]
            }
            Command::CloseAccount { .. } => vec![named("command", "close".to_owned())],
            Command::SetPostingMode { mode, .. } => {
                vec![named("command", "mode".to_owned()), named("mode", format!("{mode:?}"))]
            }
            Command::ResolveSuspense { account, .. } => {
                vec![named("command", "resolve".to_owned()), named("account", account.clone())]
            }
            Command::RemoveSweep { .. } => vec![named("command", "remove a sweep".to_owned())],
            Command::SetSweep(asked) => vec![
                named("command", "set a sweep".to_owned()),
                named("to", asked.to.clone()),
                named("keep", asked.keep.normalize().to_string()),
                named("schedule", format!("{:?}", schedule(&asked.schedule))),
            ],
            Command::PlaceHold(place) => vec![
                named("command", "place a hold".to_owned()),
                named("amount", place.amount.normalize().to_string()),
                named("currency", self.other_currency(&place.account, &place.currency)),
                named("expires_at", format!("{:?}", place.expires_ns)),
                named("on_expiry", format!("{:?}", place.on_expiry)),
                named("reason", place.reason.to_string()),
                named("metadata", format!("{:?}", place.metadata)),
            ],
            Command::ReleaseHold { hold, amount, .. } => vec![
                named("command", "release a hold".to_owned()),
                named("hold", hold.to_string()),
                named("amount", format!("{:?}", amount.map(|amount| amount.normalize()))),
            ],
            Command::ReleaseRestriction { restriction, amount, .. } => vec![
                named("command", "release a restriction".to_owned()),
                named("restriction", restriction.to_string()),
                named("amount", format!("{:?}", amount.map(|amount| amount.normalize()))),
            ],
            Command::ExtendHold { hold, expires_ns, .. } => vec![
                named("command", "extend a hold".to_owned()),
                named("hold", hold.to_string()),
                named("expires_at", format!("{expires_ns:?}")),
            ],
            other => unreachable!("{other:?} has no request id of a client"),
        }
    }

    fn content(&self, transaction: &Transaction, extent: &str) -> Vec<(String, String)> {
        let Transaction { legs, kind, reason, accounting_date, capture, metadata, .. } = transaction;
        let mut fields = vec![
            ("command".to_owned(), "transaction".to_owned()),
            ("legs".to_owned(), format!("{} {extent}", legs.len())),
        ];
        for (at, leg) in legs.iter().enumerate() {
            let currency = self.other_currency(&leg.account, &leg.currency);
            let expects = leg.preconditions.iter().map(|one| (one.expected, one.value.normalize()));
            let mut field = |name: &str, value: String| fields.push((format!("legs[{at}].{name}"), value));
            field("account", leg.account.clone());
            field("side", format!("{:?}", leg.side));
            field("amount", leg.amount.normalize().to_string());
            field("currency", currency);
            field("preconditions", format!("{:?}", expects.collect::<Vec<_>>()));
            field("withdrawal", format!("{}", leg.kind == LegKind::Withdrawal));
            let restricted = matches!(leg.kind, LegKind::Restricted { .. }).then_some(leg.kind);
            field("restricted", format!("{restricted:?}"));
        }
        fields.push(("kind".to_owned(), kind.to_string()));
        fields.push(("reason".to_owned(), reason.to_string()));
        fields.push(("accounting_date".to_owned(), format!("{accounting_date:?}")));
        fields.push(("capture".to_owned(), format!("{capture:?}")));
        fields.push(("metadata".to_owned(), format!("{metadata:?}")));
        fields
    }

    /// To name the account's own currency says nothing.
    fn other_currency(&self, account: &str, named: &Option<String>) -> String {
        let own = self.accounts.get(account).map(|account| &account.currency);
        format!("{:?}", named.as_ref().filter(|named| Some(*named) != own))
    }
}

/// The legs that a reversal names, if it does.
fn parts(legs: Option<&[LegPart]>) -> Vec<(String, String)> {
    let mut fields = vec![("legs".to_owned(), format!("{:?}", legs.map(<[_]>::len)))];
    for (at, part) in legs.unwrap_or_default().iter().enumerate() {
        fields.push((format!("legs[{at}].leg"), part.leg.to_string()));
        fields.push((format!("legs[{at}].amount"), part.amount.normalize().to_string()));
    }
    fields
}

/// As it is meant, however its threshold is written.
fn schedule(asked: &Schedule) -> Schedule {
    match asked {
        Schedule::Above { amount } => Schedule::Above { amount: amount.normalize() },
        other => other.clone(),
    }
}

/// Where reversals of a transaction are remembered that is not there, or cannot be reversed: no account is called that.
fn refusals(reversal: &Reversal) -> String {
    format!("refused reversals of {}", reversal.transaction)
}
