//! A second ledger, written from the rules alone and as plainly as possible: one thread, owned commands, ordered maps,
//! no bytes, no State. Of the ledger it uses the plain types of what is asked, answered and shown; it shares no code with
//! `apply`, so that the same mistake is unlikely in both. Three things are built differently on purpose: `apply` counts what
//! is set aside up and down, and here an account lists what each open attempt may yet book on it; `apply` counts the figures
//! of a hold or a restriction up and down, and here each is the list of what has happened to it; `apply` remembers steps under texts, beside
//! request ids, and here an attempt is a record of its four steps.
//!
//! There is one such model. The ledger's tests hold it against `apply`, outcome for outcome and figure for figure: random
//! entries of one set in `properties.rs`, three sets in `across.rs`. The consistency suite (`jepsen/src/check/`, by
//! `#[path]`) replays whole histories in it, in the words of [`Verdict`]. It must stay fast enough for the second.

mod account;
mod attempt;
mod booking;
mod buffer;
mod check_back;
mod given;
mod hold;
mod memory;
mod restore;
mod restriction;
mod reversal;
mod sweep;
mod together;
mod verdict;

use std::collections::{BTreeMap, BTreeSet};

use twinset_ledger::attempt::{self as ledger, Planned};
use twinset_ledger::{
    AccountNo, Command, Effect, Outcome, Position, Posted, Rejection, Side, Transaction, TransactionId,
};

pub use account::Account;
use attempt::{Attempt, Open};
use booking::Move;
use buffer::Buffering;
#[allow(unused_imports, reason = "not every test names it")]
pub use buffer::Standing;
use memory::Recalled;
#[allow(unused_imports, reason = "the consistency suite asks")]
pub use sweep::Course;
#[allow(unused_imports, reason = "the consistency suite names them all")]
pub use verdict::{Answer, Booked, Verdict};

/// The books of one set.
#[derive(Clone)]
pub struct Model {
    set: u32,
    last_time: u64,
    accounts: BTreeMap<String, Account>,
    currencies: BTreeMap<String, u8>,
    subjects: BTreeMap<String, (String, Side)>,
    groups: BTreeSet<String>,
    /// By scope, by request id.
    answered: BTreeMap<String, BTreeMap<String, Position>>,
    log: BTreeMap<Position, Decided>,
    /// By what was reversed: each reversal, with what it took back of each leg.
    taken_back: BTreeMap<Position, Vec<(TransactionId, Vec<i128>)>>,
    /// All that were ever heard of.
    attempts: BTreeMap<TransactionId, Attempt>,
    /// Those that are under way.
    open: BTreeMap<TransactionId, Open>,
    /// The account of every hold that was ever placed.
    held_account: BTreeMap<TransactionId, String>,
    buffering: Buffering,
    orders: sweep::Orders,
    /// What else counts as being taken back of one transaction: see `given`.
    reserved: Option<(Position, i128)>,
    /// The last index of each incarnation before the last.
    lives: Vec<u64>,
}

/// A command, and what was said to it where it was decided.
#[derive(Clone)]
struct Decided {
    command: Command,
    outcome: Outcome,
}

/// The place of a command.
#[derive(Clone, Copy, Debug)]
struct Here {
    set: u32,
    incarnation: u32,
    position: Position,
    time_unix_ns: u64,
}

impl Here {
    /// What an attempt or a transaction is called that begins here.
    fn id(self) -> TransactionId {
        TransactionId { set: self.set, incarnation: self.incarnation, position: self.position }
    }

    fn day(self) -> i32 {
        let days = self.time_unix_ns / 1_000_000_000 / 86_400;
        i32::try_from(days).expect("tests end before the year 5,000,000")
    }

    fn says(self, result: Result<Effect, Rejection>) -> Outcome {
        let Here { incarnation, position, time_unix_ns, .. } = self;
        Outcome { position, incarnation, time_unix_ns, replayed: false, result }
    }
}

impl Model {
    /// The empty books of a set.
    pub fn new(set: u32) -> Self {
        Model {
            set,
            last_time: 0,
            accounts: BTreeMap::new(),
            currencies: BTreeMap::new(),
            subjects: BTreeMap::new(),
            groups: BTreeSet::new(),
            answered: BTreeMap::new(),
            log: BTreeMap::new(),
            taken_back: BTreeMap::new(),
            attempts: BTreeMap::new(),
            open: BTreeMap::new(),
            held_account: BTreeMap::new(),
            buffering: Buffering::default(),
            orders: sweep::Orders::new(),
            reserved: None,
            lives: Vec::new(),
        }
    }

    /// What comes of an entry, command for command; indexes must rise.
    #[allow(dead_code, reason = "the consistency suite knows no entries")]
    pub fn entry(
        &mut self,
        index: u64,
        incarnation: u32,
        clock_ns: u64,
        commands: &[Command],
    ) -> Vec<Outcome> {
        let start = clock_ns.max(self.last_time + 1);
        let mut outcomes = Vec::new();
        let set = self.set;
        let at = |((command, offset), time_unix_ns)| {
            let position = Position::new(index, offset);
            (Here { set, incarnation, position, time_unix_ns }, command)
        };
        let placed: Vec<(Here, &Command)> = commands.iter().zip(0u16..).zip(start..).map(at).collect();
        let mut rest = &placed[..];
        while let Some(((here, command), following)) = rest.split_first() {
            outcomes.push(self.turn(*here, command));
            let (group, after) = following.split_at(Self::group(command, following.len()));
            outcomes.extend(self.together(group));
            rest = after;
        }
        self.last_time = placed.last().map_or(self.last_time, |(here, _)| here.time_unix_ns);
        outcomes
    }

    /// Decides a command at its place in the log, for those who know no times: places must rise.
    #[allow(dead_code, reason = "not every test asks")]
    pub fn apply(&mut self, position: Position, command: &Command) -> Verdict {
        self.apply_at(position, 0, command)
    }

    /// The same at a ledger time, which decides what has expired.
    pub fn apply_at(&mut self, position: Position, time_unix_ns: u64, command: &Command) -> Verdict {
        let here = self.here(position, time_unix_ns);
        Verdict::of(&self.turn(here, command), command)
    }

    fn here(&self, position: Position, time_unix_ns: u64) -> Here {
        Here { set: self.set, incarnation: self.incarnation_at(position), position, time_unix_ns }
    }

    /// Lets the set have been recovered: these are the last indexes of its incarnations before the last.
    #[allow(dead_code, reason = "the consistency suite asks")]
    pub fn with_lives(self, lives: Vec<u64>) -> Self {
        Model { lives, ..self }
    }

    /// The incarnation of what stands at a position.
    fn incarnation_at(&self, position: Position) -> u32 {
        1 + self.lives.iter().filter(|&&end| end < position.index()).count() as u32
    }

    /// Every account, clearing accounts included.
    #[allow(dead_code, reason = "the consistency suite asks")]
    pub fn accounts(&self) -> &BTreeMap<String, Account> {
        &self.accounts
    }

    /// Every account as the ledger shows it, in the order of opening.
    #[allow(dead_code, reason = "not every test asks")]
    pub fn records(&self) -> Vec<twinset_ledger::Account> {
        self.in_order().into_iter().map(|id| self.accounts[id].record(id)).collect()
    }

    /// Every open attempt as the ledger shows it.
    #[allow(dead_code, reason = "not every test asks")]
    pub fn open_attempts(&self) -> Vec<(TransactionId, ledger::Attempt)> {
        let numbers: BTreeMap<&str, AccountNo> = self.in_order().into_iter().zip(0..).collect();
        let planned = |leg: &Move| Planned {
            no: numbers[&*leg.account],
            side: leg.side,
            amount: leg.minor,
            kind: leg.kind,
        };
        self.open.iter().map(|(id, open)| (*id, open.record(planned))).collect()
    }

    /// The reversals of the transaction at a position, with what each took back of each leg, in their order.
    #[allow(dead_code, reason = "not every test asks")]
    pub fn reversals(&self, original: Position) -> &[(TransactionId, Vec<i128>)] {
        self.taken_back.get(&original).map_or(&[], Vec::as_slice)
    }

    /// Where a request id was first used in a scope.
    pub fn first(&self, scope: &str, id: &str) -> Option<Position> {
        self.answered.get(scope)?.get(id).copied()
    }

    /// What has come by now of what was decided at a position.
    #[allow(dead_code, reason = "the consistency suite asks")]
    pub fn answer(&self, position: Position) -> Option<Answer> {
        let decided = self.log.get(&position)?;
        Some(Answer::of(&self.last_word(position).result, &decided.command))
    }

    /// The same in full.
    #[allow(dead_code, reason = "not every test asks")]
    pub fn told(&self, position: Position) -> Option<Outcome> {
        self.log.contains_key(&position).then(|| self.last_word(position))
    }

    /// Where the newest attempt of a request was begun that was first decided at `first`.
    #[allow(dead_code, reason = "not every test asks")]
    pub fn newest_attempt(&self, first: Position) -> Position {
        self.newest(first).0.position
    }

    /// What stands in the books about buffered accounts.
    #[allow(dead_code, reason = "not every test asks")]
    pub fn buffered(&self) -> Standing {
        let numbers: BTreeMap<&str, AccountNo> = self.in_order().into_iter().zip(0..).collect();
        self.buffering.standing(|account| numbers[account])
    }

    /// Accounts are numbered as they are opened, a suspense account before the clearing account of the same command, and clearing
    /// accounts of one command by their currencies.
    fn in_order(&self) -> Vec<&str> {
        let mut ids: Vec<&str> = self.accounts.keys().map(String::as_str).collect();
        ids.sort_by_key(|id| (self.accounts[*id].opened_at(), id.starts_with("@clearing")));
        ids
    }

    fn turn(&mut self, here: Here, command: &Command) -> Outcome {
        match command {
            Command::DefineCurrency { .. } | Command::DefineSubject { .. } | Command::DefineGroup { .. } => {
                here.says(self.define(command))
            }
            Command::MarkDurability { .. } => here.says(Ok(Effect::Marked)),
            Command::ExpireHold { hold } => here.says(self.expire(here, *hold)),
            Command::ExpireRestriction { account, restriction } => {
                here.says(self.expire_restriction(here, account, *restriction))
            }
            Command::CheckedBack(done) => here.says(self.checked_back(here, done)),
            Command::EndRun { account, sweep, run } => here.says(self.end_run(here, account, *sweep, *run)),
            Command::Together { .. } => here.says(together::ANNOUNCED),
            Command::BufferStep { by, step } => here.says(self.buffer_step(here, *by, step)),
            Command::Step { attempt, step } => self.step(here, *attempt, step, command),
            Command::Begin(begin) if attempt::home(begin) != self.set => {
                here.says(Err(Rejection::StepOutOfPlace { attempt: here.id() }))
            }
            _ => match self.group_in(command) {
                Some(group) => self.not_on_parts(here, command, &group),
                None => self.request(here, command),
            },
        }
    }

    /// What comes of a transaction that names a group, or is in a batch with one that does.
    fn not_on_parts(&mut self, here: Here, command: &Command, group: &str) -> Outcome {
        let id = command.request_id().expect("a transaction has one");
        match self.recall(here, command, id) {
            Recalled::Known(outcome) if outcome.replayed => *outcome,
            _ => here.says(Err(Rejection::LegOnGroup { group: group.to_owned() })),
        }
    }

    /// The first group of accounts that a transaction has a leg on.
    fn group_in(&self, command: &Command) -> Option<String> {
        let transaction = match command {
            Command::Transaction(transaction) => transaction,
            Command::Begin(begin) => &begin.transaction,
            _ => return None,
        };
        if sweep::run_of(command).is_some() {
            return None;
        }
        let mut named = transaction.legs.iter().map(|leg| &leg.account);
        named.find(|account| self.groups.contains(*account)).cloned()
    }

    /// What has a client's request id.
    fn request(&mut self, here: Here, command: &Command) -> Outcome {
        self.request_as(here, command, |books| books.decide(here, command))
    }

    /// The same with another's decision, should it be new.
    fn request_as(
        &mut self,
        here: Here,
        command: &Command,
        decide: impl FnOnce(&mut Self) -> Result<Effect, Rejection>,
    ) -> Outcome {
        let id = command.request_id().expect("what a client asks for has one");
        let recalled = match self.recall(here, command, id) {
            Recalled::Known(outcome) => return *outcome,
            other => other,
        };
        let wrong = self.confirms_wrongly(here, command).or_else(|| self.sweeps_wrongly(here, command));
        if let Some(out_of_place) = wrong {
            return here.says(Err(out_of_place));
        }
        let outcome = here.says(decide(self));
        match recalled {
            Recalled::Known(_) => unreachable!("it was told"),
            Recalled::GivenUp(attempt) => {
                // A reversal may be told to come again without having begun anything.
                self.attempts.entry(attempt).or_default().next = Some(here.position);
            }
            Recalled::New(scopes) => {
                for scope in scopes {
                    self.answered.entry(scope).or_default().insert(id.to_owned(), here.position);
                }
            }
        }
        self.keep(here, command, &outcome);
        self.has_run(here, command, &outcome.result);
        outcome
    }

    fn keep(&mut self, here: Here, command: &Command, outcome: &Outcome) {
        let decided = Decided { command: command.clone(), outcome: outcome.clone() };
        // Who replays what clients have heard may hear of a place twice: that is for him to find wrong.
        self.log.insert(here.position, decided);
    }

    fn decide(&mut self, here: Here, command: &Command) -> Result<Effect, Rejection> {
        match command {
            Command::Transaction(transaction) => self.book_transaction(here, transaction).map(Effect::Posted),
            Command::Reversal(reversal) => self.reverse(here, reversal),
            Command::Begin(begin) if self.need_not_ask(begin) => self.pay(here, begin),
            Command::Begin(begin) => self.begin(here, begin),
            Command::SetPostingMode { account, mode, .. } => self.set_mode(here, account, *mode),
            Command::SetSweep(asked) => self.set_sweep(here, asked),
            Command::RemoveSweep { account, .. } => self.remove_sweep(account),
            Command::ResolveSuspense { item, account, .. } => self.resolve(*item, account),
            Command::PlaceHold(_) | Command::ReleaseHold { .. } | Command::ExtendHold { .. } => {
                self.change_hold(here, command)
            }
            Command::ReleaseRestriction { account, restriction, amount, .. } => {
                self.release_restriction(here, account, *restriction, *amount)
            }
            _ => self.change(here, command),
        }
    }

    fn book_transaction(&mut self, here: Here, transaction: &Transaction) -> Result<Vec<Posted>, Rejection> {
        let legs = self.plan(&transaction.legs)?;
        let taking = transaction.capture.map(|capture| {
            let held = attempt::scope(transaction);
            let confirms = check_back::confirmed(transaction).map(|(_, no)| no);
            self.taking(here, held, (capture, confirms), &legs)
        });
        let taking = taking.transpose()?;
        booking::balanced(self.sums(&legs)?)?;
        self.check(&legs, taking.as_ref())?;
        if let Some(taking) = &taking {
            self.capture(here, here.id(), taking);
        }
        // Of a transaction the client knows the names.
        let mut posted = self.book(&legs);
        self.restrict(here, here.id(), &legs);
        posted.iter_mut().for_each(|leg| leg.account.clear());
        Ok(posted)
    }
}
