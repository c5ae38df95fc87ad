//! Three sets, their clients and a network that loses, repeats, delays and reorders: what transactions over several sets
//! have to bear. Each set is a [`Twin`]: every entry is held against the model. Its leader is nothing but what it has heard and
//! what it has proposed, and loses both when it dies. What clients do is in `clients`, what leaders do in `leaders`, and what
//! must hold after every entry, and at the end, in `laws`.

mod batches;
mod buffered;
mod check_back;
mod clients;
mod labels;
mod laws;
mod leaders;
mod losses;
mod sweeps;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use proptest::sample::Index;
use rust_decimal::Decimal;
use twinset_ledger::attempt::{Part, Vote};
use twinset_ledger::buffer::BufferStep;
use twinset_ledger::command::Precondition;
use twinset_ledger::hold::PlaceHold;
use twinset_ledger::memory::MemoryState;
use twinset_ledger::{
    Command, Effect, LegKind, Outcome, Position, SetSweep, Side, State, Step, Transaction, TransactionId,
};

use crate::tally::Seen;
use crate::twin::Twin;
use buffered::Withdrawn;

/// The sets.
pub const SETS: [u32; 3] = [1, 2, 3];
/// Account ids, the set that each lives in, and its currency, where that is not drawn. The last is never opened.
pub const ACCOUNTS: [(&str, u32, Option<&str>); 18] = [
    ("a", 1, None),
    ("b", 2, None),
    ("c", 3, None),
    ("d", 2, None),
    ("e", 3, None),
    ("f", 1, None),
    ("g", 3, None),
    ("h", 1, None),
    ("i", 2, None),
    ("k", 1, None),
    ("yen1", 1, Some("JPY")),
    ("yen2", 2, Some("JPY")),
    ("dinar2", 2, Some("KWD")),
    ("dinar3", 3, Some("KWD")),
    ("token1", 1, Some("TKN")),
    ("token2", 2, Some("TKN")),
    ("token3", 3, Some("TKN")),
    ("ghost", 2, None),
];
/// Decimal places of the currency that the sets define themselves: not all the same.
const TOKEN_SCALES: [(u32, u8); 3] = [(1, 2), (2, 2), (3, 4)];

/// What happens next.
#[derive(Clone, Debug)]
pub enum Action {
    /// A client asks for something new; perhaps under a request id that it or another has used.
    Ask(Box<Ask>, Option<Index>),
    /// A client asks again what it or another has asked before.
    AskAgain(Index),
    /// A message arrives, or does not.
    Deliver(Index, Fate),
    /// The leader of a set looks at what is open in it, and sends again.
    Resend(u32),
    /// The leader of a coordinator has waited long enough.
    GiveUp(Index),
    /// The leader of a set dies: what it has heard, and what it has proposed, is lost.
    Crash(u32),
    /// What was proposed to a set becomes an entry of its log. Perhaps its leader dies before it tells anybody.
    Entry(u32, u64, bool),
    /// A set goes into its next incarnation.
    Recover(u32),
    /// The leader of a set puts holds and restrictions away whose time is over, or nearly.
    Expire(u32),
    /// The leader of a set runs its sweeps; not always just so.
    Sweep(u32, u8),
    /// A leader asks about an overdue hold of its set; what it is told, and not always just so.
    CheckBack(Index, u8),
    /// A client asks for transactions of one set that are booked together or not at all.
    Together(u32, Vec<Ask>),
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
        /// What a leg expects.
        expects: Option<(Index, Precondition)>,
        /// It captures a hold, perhaps for the last time: the first leg is of the held account then.
        capture: Option<(Index, bool)>,
        /// What legs mean for restricted funds.
        kinds: Vec<(Index, LegKind)>,
    },
    /// Of one that was booked.
    Reversal {
        /// The client's key.
        request_id: String,
        /// Among those that were answered so far.
        original: Index,
        /// Among the newest over several sets.
        across: bool,
        /// None: what is left. In place of some, parts of legs.
        amount: Option<Decimal>,
    },
    /// The release of a restriction.
    Unrestrict {
        /// The client's key.
        request_id: String,
        /// Among some, open ones first.
        restriction: Index,
        /// None: what is left.
        amount: Option<Decimal>,
    },
    /// A command on an account.
    OnAccount(Command),
    /// A sweep of an account that has something, if there is one.
    Order(SetSweep, Index),
    /// The removal of one that there is.
    RemoveOrder(String, Index),
    /// Books on what is suspended.
    Resolve {
        /// The client's key.
        request_id: String,
        /// Among all that ever was.
        item: Index,
        /// The account, by its place; the next one that lives where the item is.
        to: usize,
    },
    /// A freeze of an account that is paid without being asked, for what it is paid.
    Obstruct {
        /// The client's key.
        request_id: String,
        /// Among those that can take something as yet; if something is on its way, of those that it is for.
        payee: Index,
    },
    /// A withdrawal of what is there, the least that takes of what is restricted.
    Withdraw {
        /// The client's key.
        request_id: String,
        /// Among the accounts where there is that much.
        from: Index,
        /// Who gets it, by its place; the next account of that currency.
        to: usize,
        /// Whether the payee is of another set, which coordinates it.
        asks_payee: bool,
    },
    /// A hold whose time is over so long from now on.
    PlaceForSoon {
        /// The rest of it.
        hold: PlaceHold,
        /// In nanoseconds.
        soon: u64,
    },
    /// On a hold that was placed.
    OnHold {
        /// The client's key.
        request_id: String,
        /// Among the newest.
        hold: Index,
        /// What is asked of it.
        what: OnHold,
    },
}

/// What a client asks of a hold.
#[derive(Clone, Debug)]
pub enum OnHold {
    /// A part of it back, or all.
    Release(Option<Decimal>),
    /// Another expiry, or none.
    Extend(Option<u64>),
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
    /// About a buffered account; to be proposed.
    Buffer { to: u32, by: TransactionId, step: BufferStep },
    /// What came of it, to whoever said it.
    Answer { from: u32, by: TransactionId, step: BufferStep, result: Effect },
}

/// What has an effect, by the name of the transaction: the legs by account.
type Effects = BTreeMap<TransactionId, Vec<(String, Side, i128)>>;

/// All of it.
pub struct World {
    /// The sets' books.
    pub sets: BTreeMap<u32, Twin>,
    /// Every outcome of each set, in order.
    pub outcomes: BTreeMap<u32, Vec<Outcome>>,
    /// What was seen.
    pub seen: Seen,
    /// What clients asked, and of which set.
    asked: Vec<(u32, Command)>,
    /// The last word on each.
    answers: BTreeMap<usize, Outcome>,
    /// Where attempts of each were begun, as far as its client has heard.
    begun: BTreeMap<usize, BTreeSet<Position>>,
    /// The requests of each batch, by each of them.
    batches: BTreeMap<usize, Range<usize>>,
    effects: Effects,
    proposed: BTreeMap<u32, Vec<(Command, Option<usize>)>>,
    network: Vec<Message>,
    votes: BTreeMap<TransactionId, BTreeMap<u32, Vote>>,
    parts: BTreeMap<TransactionId, BTreeMap<u32, Part>>,
    withdrawn: Withdrawn,
    /// Each entry of each set: its incarnation, its time and its commands.
    journal: BTreeMap<u32, Vec<(u32, u64, Vec<Command>)>>,
    /// Something was lost that clients were told: they are not listened to any more.
    is_after_loss: bool,
    /// All sets are at one about what is in flight.
    is_reconciled: bool,
}

impl World {
    /// Sets with all accounts but one.
    pub fn new(openings: &[(Command, u32)]) -> Self {
        let mut world = World {
            sets: SETS.map(|set| (set, Twin::of(set))).into(),
            outcomes: BTreeMap::new(),
            seen: Seen::new(),
            asked: Vec::new(),
            answers: BTreeMap::new(),
            begun: BTreeMap::new(),
            batches: BTreeMap::new(),
            effects: Effects::new(),
            proposed: BTreeMap::new(),
            network: Vec::new(),
            votes: BTreeMap::new(),
            parts: BTreeMap::new(),
            withdrawn: Withdrawn::new(),
            journal: BTreeMap::new(),
            is_after_loss: false,
            is_reconciled: true,
        };
        for (set, scale) in TOKEN_SCALES {
            let define = Command::DefineCurrency { code: "TKN".to_owned(), scale };
            world.proposed.entry(set).or_default().push((define, None));
        }
        for (command, set) in openings {
            world.ask(*set, command.clone());
        }
        SETS.into_iter().for_each(|set| world.entry(set, 1, false));
        world.announce_all();
        SETS.into_iter().for_each(|set| world.entry(set, 1, false));
        world
    }

    /// One thing happens.
    pub fn act(&mut self, action: &Action) {
        match action {
            Action::Ask(ask, id_of) => {
                let id_of = id_of.map(|at| at.index(self.asked.len()));
                if let Some((set, command)) = self.command(ask, id_of) {
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
            Action::Crash(set) => self.crash(*set),
            Action::Entry(set, time, last) => self.entry(*set, *time, *last),
            Action::Recover(set) => {
                self.sets.get_mut(set).expect("one of the three").books.incarnation += 1;
                self.saw("incarnation");
            }
            Action::Expire(set) => self.expire(*set),
            Action::Sweep(set, how) => self.sweep(*set, *how),
            Action::CheckBack(at, how) => self.check_back(at, *how),
            Action::Together(set, asks) => self.ask_together(*set, asks),
        }
    }

    /// All that is under way ends, and then clients ask once more.
    pub fn come_to_rest(&mut self, asks: &[Ask]) {
        self.close_all();
        for ask in asks {
            if let Some((set, command)) = self.command(ask, None) {
                self.ask(set, command);
                self.entry(set, 0, false);
            }
        }
    }

    /// Everything arrives at last, and everybody asks again until there is a last word on everything.
    pub fn finish(&mut self) {
        loop {
            self.close_all();
            let under_way =
                |world: &World| (world.begun.values().map(BTreeSet::len).sum::<usize>(), world.sent_count());
            let before = under_way(self);
            (0..self.asked.len()).for_each(|request| self.ask_again(request));
            SETS.into_iter().for_each(|set| self.entry(set, 0, false));
            if before == under_way(self) {
                break;
            }
        }
        self.check_the_end();
        self.check_labels();
    }

    fn close_all(&mut self) {
        for _ in 0..100 {
            for message in std::mem::take(&mut self.network) {
                self.deliver(message);
            }
            SETS.into_iter().for_each(|set| self.entry(set, 0, false));
            let open = SETS.iter().any(|set| !self.state(*set).attempts().is_empty());
            if self.network.is_empty() && !open && self.is_drained() {
                return;
            }
            SETS.into_iter().for_each(|set| self.resend(set));
        }
        panic!("what is open ends: {:?}", SETS.map(|set| self.state(set).attempts()));
    }

    fn state(&self, set: u32) -> &MemoryState {
        &self.sets[&set].books.short
    }

    fn saw(&mut self, what: impl Into<String>) {
        *self.seen.entry(what.into()).or_default() += 1;
    }

    /// What was proposed to a set becomes an entry. `last`: it is the last that its leader does.
    fn entry(&mut self, set: u32, time: u64, last: bool) {
        let proposed = self.proposed.remove(&set).unwrap_or_default();
        if proposed.is_empty() {
            return;
        }
        let commands: Vec<Command> = proposed.iter().map(|(command, _)| command.clone()).collect();
        let before: Vec<_> = self.state(set).accounts().cloned().collect();
        let twin = self.sets.get_mut(&set).expect("one of the three");
        self.journal.entry(set).or_default().push((twin.books.incarnation, time, commands.clone()));
        let outcomes = twin.apply(time, &commands);
        self.outcomes.entry(set).or_default().extend(outcomes.iter().cloned());
        self.check_entry(set, &before);
        self.check_batches(&commands, &outcomes);
        self.note(set, &commands, &outcomes, &before);
        if last {
            commands.iter().zip(&outcomes).for_each(|(command, outcome)| self.saw_untold(command, outcome));
            self.saw_crash_of_batches(&commands, "after");
            self.crash(set);
            return;
        }
        for ((command, request), outcome) in proposed.iter().zip(&outcomes) {
            if let Some(request) = request.filter(|_| !self.is_after_loss) {
                self.hear(request, outcome);
            }
            self.react(set, command, outcome);
        }
    }
}
