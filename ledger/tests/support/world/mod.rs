//! Three sets, their clients and a network that loses, repeats, delays and reorders: what transactions over several sets
//! have to bear. Each set is one of the books of [`crate::support`]; its leader is nothing but what it has heard, and
//! forgets it now and then, as a new one would. What must hold after every entry is checked here.

use std::collections::{BTreeMap, BTreeSet};

use proptest::sample::Index;
use rust_decimal::Decimal;
use twinset_ledger::amount::to_minor;
use twinset_ledger::apply::{CLEARING_SUBJECT, clearing_account};
use twinset_ledger::attempt::{Attempt, Ballot, Coordination, Part, Role, Vote};
use twinset_ledger::{
    Begin, Command, Effect, Leg, Outcome, Position, Posted, Rejection, Reversal, Side, State, Step,
    Transaction, TransactionId,
};

use crate::support::{Books, INCARNATION};

/// The sets.
pub const SETS: [u32; 3] = [1, 2, 3];
/// Account ids, and the set that each lives in. The last is never opened.
pub const ACCOUNTS: [(&str, u32); 11] = [
    ("a", 1),
    ("b", 2),
    ("c", 3),
    ("d", 2),
    ("e", 3),
    ("f", 1),
    ("g", 3),
    ("h", 1),
    ("i", 2),
    ("k", 1),
    ("ghost", 2),
];

/// What happens next.
#[derive(Clone, Debug)]
pub enum Action {
    /// A client asks for something new.
    Ask(Ask),
    /// A client asks again what it or another has asked before.
    AskAgain(Index),
    /// A message arrives, or does not.
    Deliver(Index, Fate),
    /// The leader of a set looks at what is open in it, and sends again.
    Resend(u32),
    /// The leader of a coordinator has waited long enough.
    GiveUp(Index),
    /// A set gets another leader.
    Forget(u32),
    /// What was proposed to a set becomes an entry of its log.
    Entry(u32, u64),
}

/// What becomes of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It arrives.
    Once,
    /// It arrives, and will arrive again.
    Twice,
    /// It never arrives.
    Lost,
}

/// What a client asks.
#[derive(Clone, Debug)]
pub enum Ask {
    /// Legs of any accounts; the scope account is that of the leg named.
    Transaction {
        /// The rest of it.
        base: Transaction,
        /// Accounts by their place.
        legs: Vec<(usize, Side, Decimal)>,
        /// None: the default.
        scope: Option<Index>,
    },
    /// Of one that was booked.
    Reversal {
        /// The client's key.
        request_id: String,
        /// Among those that were answered so far.
        original: Index,
        /// None: what is left.
        amount: Option<Decimal>,
    },
    /// A command on an account.
    OnAccount(Command),
}

/// A message between leaders.
#[derive(Clone, Debug)]
enum Message {
    /// To be proposed.
    Step { to: u32, attempt: TransactionId, step: Step },
    /// To a coordinator.
    Vote(TransactionId, Vote),
    /// To a coordinator.
    Part(TransactionId, Part),
    /// To a coordinator, from a set that waits: what became of it?
    Inquiry(TransactionId, u32),
}

/// What was seen, for those who want to know that enough was.
pub type Seen = BTreeMap<&'static str, usize>;

/// What has an effect, by where it was decided: the legs by account.
type Effects = BTreeMap<(u32, Position), Vec<(String, Side, i128)>>;

/// All of it.
pub struct World {
    /// The sets' books.
    pub sets: BTreeMap<u32, Books>,
    /// Every outcome of each set, in order.
    pub outcomes: BTreeMap<u32, Vec<Outcome>>,
    /// What was seen.
    pub seen: Seen,
    /// What clients asked, and of which set.
    asked: Vec<(u32, Command)>,
    /// The last word on each.
    answers: BTreeMap<usize, Outcome>,
    /// Where attempts of each were begun.
    begun: BTreeMap<usize, BTreeSet<Position>>,
    effects: Effects,
    proposed: BTreeMap<u32, Vec<(Command, Option<usize>)>>,
    network: Vec<Message>,
    votes: BTreeMap<TransactionId, BTreeMap<u32, Vote>>,
    parts: BTreeMap<TransactionId, BTreeMap<u32, Part>>,
}

impl World {
    /// Sets with all accounts but one.
    pub fn new(openings: &[(Command, u32)]) -> Self {
        let mut world = World {
            sets: SETS.map(|set| (set, Books::of(set))).into(),
            outcomes: BTreeMap::new(),
            seen: Seen::new(),
            asked: Vec::new(),
            answers: BTreeMap::new(),
            begun: BTreeMap::new(),
            effects: Effects::new(),
            proposed: BTreeMap::new(),
            network: Vec::new(),
            votes: BTreeMap::new(),
            parts: BTreeMap::new(),
        };
        for (command, set) in openings {
            world.ask(*set, command.clone());
        }
        SETS.into_iter().for_each(|set| world.entry(set, 1));
        world
    }

    /// One thing happens.
    pub fn act(&mut self, action: &Action) {
        match action {
            Action::Ask(ask) => {
                if let Some((set, command)) =
                    self.command(ask).filter(|(_, command)| command.validate().is_ok())
                {
                    self.ask(set, command);
                }
            }
            Action::AskAgain(at) => self.ask_again(at.index(self.asked.len())),
            Action::Deliver(at, fate) if !self.network.is_empty() => {
                let at = at.index(self.network.len());
                let message = match fate {
                    Fate::Twice => self.network[at].clone(),
                    Fate::Once | Fate::Lost => self.network.swap_remove(at),
                };
                if *fate != Fate::Lost {
                    self.deliver(message);
                }
            }
            Action::Deliver(..) => {}
            Action::Resend(set) => self.resend(*set),
            Action::GiveUp(at) => self.give_up(at),
            Action::Forget(set) => {
                self.votes.retain(|attempt, _| attempt.set != *set);
                self.parts.retain(|attempt, _| attempt.set != *set);
            }
            Action::Entry(set, time) => self.entry(*set, *time),
        }
    }

    /// Everything arrives at last, and everybody asks again until there is a last word on everything.
    pub fn finish(&mut self) {
        loop {
            self.close_all();
            let before = self.begun.values().map(BTreeSet::len).sum::<usize>();
            (0..self.asked.len()).for_each(|request| self.ask_again(request));
            SETS.into_iter().for_each(|set| self.entry(set, 0));
            if before == self.begun.values().map(BTreeSet::len).sum::<usize>() {
                break;
            }
        }
        self.check_the_end();
    }

    fn close_all(&mut self) {
        for _ in 0..100 {
            for message in std::mem::take(&mut self.network) {
                self.deliver(message);
            }
            SETS.into_iter().for_each(|set| self.entry(set, 0));
            let open = self.sets.values().any(|books| !books.short.attempts().is_empty());
            if self.network.is_empty() && !open {
                return;
            }
            SETS.into_iter().for_each(|set| self.resend(set));
        }
        panic!("what is open ends: {:?}", self.sets.values().map(|b| b.short.attempts()).collect::<Vec<_>>());
    }

    fn saw(&mut self, what: &'static str) {
        *self.seen.entry(what).or_default() += 1;
    }

    // ---- Clients

    /// The command, and the set that it is sent to.
    fn command(&self, ask: &Ask) -> Option<(u32, Command)> {
        match ask {
            Ask::Transaction { base, legs, scope } => {
                let placed = legs.iter().map(|(at, side, amount)| {
                    let (account, set) = ACCOUNTS[*at];
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
            Ask::Reversal { request_id, original, amount } => {
                let known: Vec<(u32, Position)> = self.effects.keys().copied().collect();
                let (set, position) = *known.get(original.index(known.len().max(1)))?;
                let transaction = TransactionId { set, incarnation: INCARNATION, position };
                let request_id = request_id.clone();
                let reversal = Reversal {
                    request_id,
                    transaction,
                    amount: *amount,
                    reason: 0,
                    metadata: <_>::default(),
                };
                Some((set, Command::Reversal(reversal)))
            }
            Ask::OnAccount(command) => {
                let account = command.accounts().next()?;
                let (_, set) = ACCOUNTS.iter().find(|(id, _)| *id == account)?;
                Some((*set, command.clone()))
            }
        }
    }

    fn ask(&mut self, set: u32, command: Command) {
        self.asked.push((set, command));
        self.ask_again(self.asked.len() - 1);
    }

    fn ask_again(&mut self, request: usize) {
        let (set, command) = self.asked[request].clone();
        self.proposed.entry(set).or_default().push((command, Some(request)));
    }

    /// A client has heard something.
    fn hear(&mut self, request: usize, set: u32, outcome: &Outcome) {
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
            Err(rejection) => self.saw(rejection.code()),
            Ok(Effect::Posted(legs)) => self.effect(request, set, outcome.position, legs),
            Ok(Effect::Settled(legs)) => {
                self.saw("settled");
                if matches!(self.asked[request].1, Command::Reversal(_)) {
                    self.saw("settled reversal");
                }
                self.effect(request, set, outcome.position, legs);
            }
            Ok(_) => {}
        }
        let answer = Outcome { replayed: false, ..outcome.clone() };
        let known = self.answers.entry(request).or_insert_with(|| answer.clone());
        assert_eq!(*known, answer, "there is one answer to {:?}", self.asked[request]);
    }

    /// What a command did, by its own legs where it has some.
    fn effect(&mut self, request: usize, set: u32, position: Position, legs: &[Posted]) {
        let names: Vec<&str> = self.asked[request].1.accounts().collect();
        let name =
            |(at, leg): (usize, &Posted)| names.get(at).map_or(leg.account.clone(), |&name| name.to_owned());
        let effect: Vec<(String, Side, i128)> =
            legs.iter().enumerate().map(|(at, leg)| (name((at, leg)), leg.side, leg.amount)).collect();
        if let Command::Begin(Begin { transaction, .. }) | Command::Transaction(transaction) =
            &self.asked[request].1
        {
            let asked = transaction.legs.iter().zip(legs).map(|(leg, posted)| {
                let amount = to_minor(leg.amount, posted.scale).expect("it was booked");
                (leg.account.clone(), leg.side, amount)
            });
            assert!(effect.iter().cloned().eq(asked), "what was asked is what was booked");
            assert_eq!(legs.len(), transaction.legs.len(), "all of it");
        }
        let known = self.effects.entry((set, position)).or_insert_with(|| effect.clone());
        assert_eq!(*known, effect, "a position has one effect");
    }

    // ---- Leaders

    fn send(&mut self, to: u32, attempt: TransactionId, step: Step) {
        self.network.push(Message::Step { to, attempt, step });
    }

    fn propose(&mut self, attempt: TransactionId, set: u32, step: Step) {
        self.proposed.entry(set).or_default().push((Command::Step { attempt, step }, None));
    }

    fn coordination(&self, attempt: TransactionId) -> Option<(&Attempt, &Coordination)> {
        match self.sets[&attempt.set].short.attempts().get(attempt)? {
            open @ Attempt { role: Role::Coordinator(coordination), .. } => Some((open, coordination)),
            _ => None,
        }
    }

    fn deliver(&mut self, message: Message) {
        match message {
            Message::Step { to, attempt, step } => self.propose(attempt, to, step),
            Message::Vote(attempt, vote) => {
                let refused = vote.said.is_err();
                let votes = self.votes.entry(attempt).or_default();
                votes.insert(vote.set, vote.clone());
                let heard: Vec<Vote> = votes.values().cloned().collect();
                if refused {
                    self.propose(attempt, attempt.set, Step::Decide(Ballot::Votes(vec![vote])));
                } else if let Some((_, coordination)) = self.coordination(attempt)
                    && heard.len() == coordination.other_sets(attempt.set).len()
                {
                    self.propose(attempt, attempt.set, Step::Decide(Ballot::Votes(heard)));
                }
            }
            Message::Part(attempt, part) => {
                let parts = self.parts.entry(attempt).or_default();
                parts.insert(part.set, part);
                let parts: Vec<Part> = parts.values().cloned().collect();
                if let Some((_, coordination)) = self.coordination(attempt)
                    && parts.len() == coordination.other_sets(attempt.set).len()
                {
                    self.propose(attempt, attempt.set, Step::Settle { parts });
                }
            }
            Message::Inquiry(attempt, from) => match self.decision(attempt) {
                None => {}
                Some(true) => self.send(from, attempt, Step::Commit),
                Some(false) => self.send(from, attempt, Step::Abort),
            },
        }
    }

    /// What the coordinator's log says of an attempt.
    fn decision(&self, attempt: TransactionId) -> Option<bool> {
        let state = &self.sets[&attempt.set].short;
        let key = Step::Decide(Ballot::GivenUp { set: 0 }).key();
        let position = state.request(&attempt.attempt_scope(), key, Position(u64::MAX)).expect("no fault")?;
        let (_, outcome) = state.original(position).expect("no fault").expect("it is remembered");
        Some(outcome.result.is_ok())
    }

    fn resend(&mut self, set: u32) {
        let open: Vec<(TransactionId, Attempt)> =
            self.sets[&set].short.attempts().iter().map(|(id, attempt)| (id, attempt.clone())).collect();
        for (id, attempt) in open {
            match &attempt.role {
                Role::Participant => self.network.push(Message::Inquiry(id, set)),
                Role::Coordinator(coordination) => self.ask_others(id, &attempt, coordination),
            }
        }
    }

    fn ask_others(&mut self, id: TransactionId, attempt: &Attempt, coordination: &Coordination) {
        for other in coordination.other_sets(id.set) {
            let step = match coordination.decided {
                Some(_) => Step::Commit,
                None => Step::Prepare {
                    legs: coordination.legs_of(other).cloned().collect(),
                    accounting_date: attempt.accounting_date,
                },
            };
            self.send(other, id, step);
        }
    }

    fn give_up(&mut self, at: &Index) {
        let open = self.sets.values().flat_map(|books| books.short.attempts().iter());
        let asking = open.filter_map(|(id, attempt)| match &attempt.role {
            Role::Coordinator(coordination @ Coordination { decided: None, .. }) => {
                Some((id, coordination.other_sets(id.set)))
            }
            _ => None,
        });
        let asking: Vec<(TransactionId, BTreeSet<u32>)> = asking.collect();
        if !asking.is_empty() {
            let (attempt, others) = at.get(&asking);
            let set = *others.first().expect("there is another set");
            self.propose(*attempt, attempt.set, Step::Decide(Ballot::GivenUp { set }));
        }
    }

    /// What the leader does when it sees what became of a command.
    fn react(&mut self, set: u32, command: &Command, outcome: &Outcome) {
        let Command::Step { attempt, step } = command else {
            let here = TransactionId { set, incarnation: INCARNATION, position: outcome.position };
            if outcome.result == Ok(Effect::Begun)
                && let Some((open, coordination)) = self.coordination(here)
            {
                let (open, coordination) = (open.clone(), coordination.clone());
                self.ask_others(here, &open, &coordination);
            }
            return;
        };
        let attempt = *attempt;
        match (step, &outcome.result) {
            (_, Err(Rejection::StepOutOfPlace { .. })) => self.saw("out of place"),
            (Step::Prepare { .. }, Ok(Effect::Prepared(sums))) => {
                self.network.push(Message::Vote(attempt, Vote { set, said: Ok(sums.clone()) }));
            }
            (Step::Prepare { .. }, Err(refusal)) => {
                self.network.push(Message::Vote(attempt, Vote { set, said: Err(refusal.clone()) }));
            }
            (Step::Prepare { .. }, Ok(end)) => {
                assert!(matches!(end, Effect::Posted(_) | Effect::Aborted) && outcome.replayed);
                self.saw("late prepare");
            }
            (Step::Decide(_), Ok(Effect::Posted(_))) => {
                if let Some((open, coordination)) = self.coordination(attempt) {
                    let (open, coordination) = (open.clone(), coordination.clone());
                    self.ask_others(attempt, &open, &coordination);
                }
            }
            (Step::Decide(_), Err(rejection)) => {
                match rejection {
                    Rejection::SetUnavailable { .. } if !outcome.replayed => self.saw("given up"),
                    _ if !outcome.replayed => self.saw("refused across"),
                    _ => {}
                }
                SETS.into_iter()
                    .filter(|other| *other != set)
                    .for_each(|other| self.send(other, attempt, Step::Abort));
            }
            (Step::Commit, Ok(Effect::Posted(legs))) => {
                let part = Part { set, position: outcome.position, legs: legs.clone() };
                self.network.push(Message::Part(attempt, part));
            }
            (Step::Settle { .. }, Ok(Effect::Settled(_))) => self.tell(attempt),
            (Step::Abort, Ok(Effect::Aborted)) => {}
            other => panic!("a step came to another end than it was sent for: {other:?}"),
        }
    }

    /// Whoever waits for it looks again.
    fn tell(&mut self, attempt: TransactionId) {
        let waits =
            |request: &usize| self.asked[*request].0 == attempt.set && !self.answers.contains_key(request);
        let begun = self.begun.iter().filter(|(_, begun)| begun.contains(&attempt.position));
        let waiting: Vec<usize> = begun.map(|(request, _)| *request).filter(waits).collect();
        waiting.into_iter().for_each(|request| self.ask_again(request));
    }

    // ---- Sets

    fn entry(&mut self, set: u32, time: u64) {
        let proposed = self.proposed.remove(&set).unwrap_or_default();
        if proposed.is_empty() {
            return;
        }
        let commands: Vec<Command> = proposed.iter().map(|(command, _)| command.clone()).collect();
        let books = self.sets.get_mut(&set).expect("one of the three");
        let before: Vec<_> = books.short.accounts().cloned().collect();
        let outcomes = books.apply(time, &commands);
        for (before, after) in before.iter().zip(books.short.accounts()) {
            let fell = after.available() < before.available();
            let crossed = after.limit.is_some_and(|limit| after.available() < limit);
            assert!(!(fell && crossed && after.limit == before.limit), "a limit is crossed: {after:?}");
            assert!(!(before.closed && after.version != before.version), "{after:?} is closed");
        }
        self.outcomes.entry(set).or_default().extend(outcomes.iter().cloned());
        for ((command, request), outcome) in proposed.iter().zip(&outcomes) {
            if let Some(request) = request {
                self.hear(*request, set, outcome);
            }
            self.react(set, command, outcome);
        }
        self.check_clearing();
    }

    /// All clearing accounts together are what is decided, and not booked everywhere.
    fn check_clearing(&mut self) {
        let mut in_flight = BTreeMap::<String, i128>::new();
        let mut clearing = BTreeMap::<String, i128>::new();
        for (&set, books) in &self.sets {
            for account in books.short.accounts().filter(|account| account.subject == CLEARING_SUBJECT) {
                assert_eq!(account.id, clearing_account(set, &account.currency));
                *clearing.entry(account.currency.clone()).or_default() += account.debits - account.credits;
            }
            for (id, attempt) in books.short.attempts().iter() {
                if attempt.role != Role::Participant || self.decision(id) != Some(true) {
                    continue;
                }
                for leg in &attempt.reserved {
                    let account = books.short.account(leg.no);
                    if account.subject != CLEARING_SUBJECT {
                        let signed = if leg.side == Side::Debit { leg.amount } else { -leg.amount };
                        *in_flight.entry(account.currency.clone()).or_default() += signed;
                    }
                }
            }
        }
        clearing.retain(|_, sum| *sum != 0);
        in_flight.retain(|_, sum| *sum != 0);
        assert_eq!(clearing, in_flight, "the clearing accounts show what is in flight");
        if !clearing.is_empty() {
            self.saw("in flight");
        }
    }

    /// Nothing is open any more: balances are what the answers say, and nothing else.
    fn check_the_end(&self) {
        for (request, begun) in &self.begun {
            let answer = self.answers.get(request).expect("what has begun ends");
            let last = begun.last().expect("it has begun");
            assert!(answer.position >= *last, "the answer is that of the last attempt");
            let effects =
                begun.iter().filter(|at| self.effects.contains_key(&(self.asked[*request].0, **at)));
            assert!(effects.count() <= 1, "a request has effect once: {:?}", self.asked[*request]);
        }
        self.check_reversals();
        let mut expected = BTreeMap::<&str, (i128, i128, u64)>::new();
        for (account, side, amount) in self.effects.values().flatten() {
            let (debits, credits, legs) = expected.entry(account).or_default();
            *(if *side == Side::Debit { debits } else { credits }) += amount;
            *legs += 1;
        }
        for books in self.sets.values() {
            for account in books.short.accounts() {
                assert_eq!((account.held, account.incoming, account.prepared), (0, 0, 0), "{account:?}");
                if account.subject != CLEARING_SUBJECT {
                    let figures = (account.debits, account.credits, account.version);
                    let expected = expected.remove(account.id.as_str()).unwrap_or_default();
                    assert_eq!(figures, expected, "{} has what was answered", account.id);
                }
            }
        }
        assert!(expected.is_empty(), "nothing was booked nowhere: {expected:?}");
    }

    /// Reversals turn their original's legs round, and together never exceed it.
    fn check_reversals(&self) {
        let mut taken_back = BTreeMap::<(u32, Position), BTreeMap<Position, i128>>::new();
        for (request, answer) in &self.answers {
            let (set, command) = &self.asked[*request];
            let Some(effect) = self.effects.get(&(*set, answer.position)) else { continue };
            let Command::Reversal(reversal) = command else { continue };
            let original = &self.effects[&(*set, reversal.transaction.position)];
            let turned = |leg: &(String, Side, i128)| (leg.0.clone(), leg.1 != Side::Debit);
            let straight = |leg: &(String, Side, i128)| (leg.0.clone(), leg.1 == Side::Debit);
            assert!(effect.iter().map(turned).eq(original.iter().map(straight)), "the legs are turned round");
            let by = taken_back.entry((*set, reversal.transaction.position)).or_default();
            by.insert(answer.position, effect[0].2);
        }
        for ((set, original), by) in taken_back {
            let whole = self.effects[&(set, original)][0].2;
            let sum = by.values().sum::<i128>();
            assert!(sum <= whole, "{sum} of {whole} is taken back");
            let reversed = self.sets[&set].short.reversed(original).expect("no fault");
            assert_eq!((reversed.amount, reversed.by.len()), (sum, by.len()), "and the original knows of it");
        }
    }
}
