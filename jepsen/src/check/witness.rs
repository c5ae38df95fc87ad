//! The order that the answers claim: every command that some answer places, sorted by its position in its set's log. Built by
//! sorting, never by searching. A write whose end stayed open is placed by the final list, if it stands there; so is what each
//! set booked of a transaction over several, which itself stands where its coordinator began it. What does not fit together while
//! the order is built is kept for the checker whose claim it breaks.

use std::collections::{BTreeMap, HashMap, HashSet};

use twinset_ledger::{Position, TransactionId};

mod body;
mod held;
mod restricted;
mod runs;

pub(super) use body::schedule;

use super::Found as Findings;
use super::across::own_legs;
use crate::history::event::Leg;
use crate::history::holds::FoundHold;
use crate::history::{Answer, Ask, Found, History, Meta, Name, Op, Phase, Place, Transfer};

/// One command of one call: an operation, or one item of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallRef {
    /// The operation.
    pub op: u32,
    /// The item of a batch; 0 for any other.
    pub item: u32,
}

/// What a command asks for.
#[derive(Clone, Copy, Debug, Hash)]
pub enum Body<'h> {
    /// A transaction.
    Transfer(&'h Transfer),
    /// Any other write.
    Other(&'h Ask),
}

/// A command with what it was answered.
#[derive(Clone, Copy, Debug)]
pub struct Call<'h> {
    /// Which.
    pub at: CallRef,
    /// In which operation.
    pub op: &'h Op,
    /// What it asks for.
    pub body: Body<'h>,
    /// What came back; for a batch without an answer what the whole of it got.
    pub answer: &'h Answer,
}

/// What stands at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// A command that was decided there; if it is over several sets, it was begun there.
    Command,
    /// An attempt was begun there that was given up.
    GivenUp,
    /// The set's part of a transaction over several sets was booked there: its number in the final list.
    Part(usize),
    /// The set itself put a hold away there, whose time was over.
    Expired(TransactionId),
    /// The set itself wrote down there that a run of a sweep was refused.
    RunEnded,
    /// The same of what a transaction has restricted on an account.
    Lapsed(u32, TransactionId),
}

/// A command at its place in its set's log.
#[derive(Clone, Debug)]
pub struct Decided {
    /// Of which kind it is.
    pub what: What,
    /// Where the answers say that it was decided.
    pub place: Place,
    /// The same as the log counts.
    pub position: Position,
    /// The name of the transaction or hold, if it is one and was booked or placed.
    pub name: Option<TransactionId>,
    /// A call that asked for it.
    pub call: CallRef,
    /// When it was first asked for, in nanoseconds.
    pub begin_ns: u64,
    /// When it was first answered for certain; never: `u64::MAX`.
    pub end_ns: u64,
    /// Its answers: a range of [`Witness::replies`].
    pub replies: std::ops::Range<usize>,
}

/// All sets' logs as far as clients know them.
pub struct Witness<'h> {
    /// Of what it is.
    pub history: &'h History,
    /// By set, in the order of positions.
    pub sets: BTreeMap<u32, Vec<Decided>>,
    /// Calls with a definite answer, by place.
    pub replies: Vec<CallRef>,
    /// Calls whose outcome nobody knows.
    pub open: Vec<CallRef>,
    /// Where each transaction over several sets that somebody was told of is: set and number in its log.
    pub across: BTreeMap<TransactionId, (u32, usize)>,
    /// Transactions that were paid without asking the other sets: by the list of the payers' set or, where that is not whole, by
    /// an answer.
    pub unasked: HashSet<TransactionId>,
    /// What the final lists say, by set, where they are complete.
    pub listed: BTreeMap<u32, Vec<&'h Found>>,
    /// The holds of each account on which somebody placed one, as they are in the end, where the list is whole.
    pub held: BTreeMap<u32, Vec<&'h FoundHold>>,
    /// As of which index that list is.
    pub held_as_of: BTreeMap<u32, u64>,
    /// The names of sweeps, by where they were set.
    pub sweeps: HashMap<Place, Name>,
    /// What was restricted on each account that has got such money, as it is in the end, where the list is whole.
    pub restricted: BTreeMap<u32, restricted::Listed<'h>>,
    /// Final lists that end before their end, in words.
    pub unlisted: Vec<String>,
    /// Listed, but answered to nobody.
    pub phantoms: Vec<&'h Found>,
    /// Breaks of "exactly once" that show while places are given.
    pub shared: Findings,
    /// Breaks of "time rises with positions".
    pub misplaced: Findings,
}

/// Every write of a history, batches taken apart, and then what sets have asked of themselves.
pub fn calls(history: &History) -> impl Iterator<Item = Call<'_>> {
    let all = history.ops.iter().chain(&history.runs).enumerate();
    all.filter(|(_, op)| op.ask.is_write()).flat_map(|(number, op)| {
        let count = match &op.ask {
            Ask::Batch { items, .. } => items.len(),
            _ => 1,
        };
        (0..count).map(move |item| call_of(number as u32, item as u32, op))
    })
}

/// Every write of a client, batches taken apart.
pub fn asked(history: &History) -> impl Iterator<Item = Call<'_>> {
    calls(history).take_while(|call| (call.at.op as usize) < history.ops.len())
}

fn call_of(number: u32, item: u32, op: &Op) -> Call<'_> {
    let body = match &op.ask {
        Ask::Batch { items, .. } => Body::Transfer(&items[item as usize]),
        Ask::Transfer(transfer) => Body::Transfer(transfer),
        other => Body::Other(other),
    };
    let answer = match &op.answer {
        Answer::Batch(answers) => &answers[item as usize],
        answer => answer,
    };
    Call { at: CallRef { op: number, item }, op, body, answer }
}

impl<'h> Witness<'h> {
    /// The witness order of a history.
    pub fn of(history: &'h History) -> Self {
        let mut witness = Witness {
            history,
            sets: BTreeMap::new(),
            replies: Vec::new(),
            open: Vec::new(),
            across: BTreeMap::new(),
            unasked: HashSet::new(),
            listed: BTreeMap::new(),
            held: BTreeMap::new(),
            held_as_of: BTreeMap::new(),
            sweeps: history.sweeps_set(),
            restricted: BTreeMap::new(),
            unlisted: Vec::new(),
            phantoms: Vec::new(),
            shared: Findings::default(),
            misplaced: Findings::default(),
        };
        let requests = witness.place_replies();
        witness.read_final_lists();
        witness.unasked = witness.find_unasked();
        witness.place_open(&requests);
        witness.place_parts();
        witness.read_final_holds();
        witness.place_expiries();
        witness.place_ends_of_runs();
        witness.read_final_restrictions();
        witness.place_lapses();
        for (set, log) in &mut witness.sets {
            log.sort_by_key(|decided| decided.place);
            number_positions(&witness.history.meta, *set, log, &mut witness.misplaced);
        }
        witness.across = witness.find_across();
        witness
    }

    /// Transactions over several sets that were booked, and then the reversals of these.
    fn find_across(&self) -> BTreeMap<TransactionId, (u32, usize)> {
        let mut across = BTreeMap::new();
        for of_reversals in [false, true] {
            for (set, log) in &self.sets {
                for (number, decided) in log.iter().enumerate() {
                    let (What::Command, Some(name)) = (decided.what, decided.name) else { continue };
                    let is_one = match self.call(decided.call).body {
                        Body::Transfer(transfer) => {
                            !of_reversals && self.history.sets_across(transfer).is_some()
                        }
                        Body::Other(Ask::Reverse { transaction, .. }) => {
                            of_reversals && across.contains_key(&transaction.0)
                        }
                        Body::Other(_) => false,
                    };
                    if is_one {
                        across.insert(name, (*set, number));
                    }
                }
            }
        }
        across
    }

    fn find_unasked(&self) -> HashSet<TransactionId> {
        let listed = self.listed.values().flatten().filter(|found| found.is_paid());
        let told = calls(self.history).filter_map(|call| match (call.body, call.answer) {
            (Body::Transfer(transfer), Answer::Booked { transaction, balances, .. }) => {
                let some = (1..transfer.legs.len()).contains(&balances.len());
                (some && !self.listed.contains_key(&transaction.0.set)).then_some(transaction.0)
            }
            _ => None,
        });
        listed.map(|found| found.transaction.0).chain(told).collect()
    }

    /// A call by its number.
    pub fn call(&self, at: CallRef) -> Call<'h> {
        let History { ops, runs, .. } = self.history;
        let number = at.op as usize;
        let op = ops.get(number).unwrap_or_else(|| &runs[number - ops.len()]);
        call_of(at.op, at.item, op)
    }

    /// The name of what a call has brought about, if that has one.
    fn name_in(&self, call: &Call<'_>) -> Option<TransactionId> {
        match (call.body, call.answer) {
            (_, Answer::Booked { transaction, .. }) => Some(transaction.0),
            (Body::Other(Ask::PlaceHold { .. }), Answer::Held { held, .. }) => Some(held.hold.0),
            (Body::Other(Ask::SetSweep { .. }), Answer::Done { place, .. }) => {
                self.sweeps.get(place).map(|name| name.0)
            }
            _ => None,
        }
    }

    /// Gives every definitely answered request its place; says what is known of each.
    fn place_replies(&mut self) -> HashMap<u64, Asked> {
        let mut requests: HashMap<u64, Asked> = HashMap::new();
        let mut placed: Vec<(Place, u64, CallRef, u64)> = Vec::new();
        for call in calls(self.history) {
            let key = call.body.key();
            let request = requests.entry(key).or_default();
            request.first_ns = request.first_ns.min(call.op.begin_ns);
            // A call that was told `not_applied` did nothing: what is there was done by a later one.
            if !call.answer.is_nothing() {
                request.begin_ns = request.begin_ns.min(call.op.begin_ns);
            }
            let decided = call.answer.decided().map(|(place, _)| place);
            request.decided |= decided.is_some();
            if let Some(place) = decided.or(call.answer.given_up()) {
                placed.push((place, call.op.end_ns.unwrap_or(u64::MAX), call.at, key));
            }
        }
        placed.sort_unstable();
        self.replies = placed.iter().map(|(_, _, at, _)| *at).collect();
        let mut from = 0;
        for group in placed.chunk_by(|a, b| a.0 == b.0) {
            let &(place, end_ns, call, _) = group.first().expect("a group has a first");
            let given_up =
                group.iter().filter(|reply| self.call(reply.2).answer.given_up().is_some()).count();
            if given_up != 0 && given_up != group.len() {
                self.shared.wrong(|| format!("what stands at {place:?} is told as given up and as decided"));
            }
            let what = if given_up == group.len() { What::GivenUp } else { What::Command };
            // The same may be asked for in two spellings: the replay says whether they mean the same.
            let begins = group.iter().map(|(.., key)| match what {
                What::GivenUp => requests[key].first_ns,
                _ => requests[key].begin_ns,
            });
            let begin_ns = begins.min().expect("a group has a first");
            let replies = from..from + group.len();
            from = replies.end;
            let names = || group.iter().filter_map(|reply| self.name_in(&self.call(reply.2)));
            let name = names().next();
            if let Some(other) = names().find(|other| Some(*other) != name) {
                let first = name.expect("there is another");
                self.shared.wrong(|| format!("what stands at {place:?} is told as {first} and as {other}"));
            }
            let log = self.sets.entry(place.set).or_default();
            let position = Position::default();
            log.push(Decided { what, place, position, name, call, begin_ns, end_ns, replies });
        }
        requests
    }

    /// Takes the pages of each set's final list together, through each router.
    fn read_final_lists(&mut self) {
        let Some(from) = self.history.phase(Phase::Final) else {
            self.unlisted.push("there are no final reads".into());
            return;
        };
        let mut chains: BTreeMap<(u32, u8), Chain<'h>> = BTreeMap::new();
        for set in &self.history.meta.sets {
            for router in 0..self.history.meta.routers.len() {
                chains.insert((*set, router as u8), Chain::default());
            }
        }
        for op in self.history.ops.iter().filter(|op| op.begin_ns >= from) {
            let (Ask::List { set, after, .. }, Answer::Page { found, next, .. }) = (&op.ask, &op.answer)
            else {
                continue;
            };
            let chain = chains.entry((*set, op.router)).or_default();
            if chain.whole || chain.after != *after {
                continue;
            }
            chain.found.extend(found);
            (chain.after, chain.whole) = (*next, next.is_none());
        }
        for ((set, router), chain) in chains {
            match (chain.whole, self.listed.get(&set)) {
                (false, _) => {
                    self.unlisted
                        .push(format!("the final list of set {set} through router {router} is not whole"));
                }
                (true, None) => {
                    self.listed.insert(set, chain.found);
                }
                (true, Some(first)) if *first != chain.found => {
                    self.shared.wrong(|| format!("set {set} is listed differently through router {router}"));
                }
                _ => {}
            }
        }
    }

    /// Places what each set booked of transactions over several sets that somebody was told of.
    fn place_parts(&mut self) {
        let mut told: HashMap<TransactionId, (CallRef, u64, u64)> = HashMap::new();
        for decided in self.sets.values().flatten() {
            if let Some(name) = decided.name {
                told.insert(name, (decided.call, decided.begin_ns, decided.end_ns));
            }
        }
        for (set, found) in &self.listed {
            for (number, found) in found.iter().enumerate() {
                let Some(part) = found.part_of.filter(|_| !found.is_paid()) else { continue };
                let Some((call, begin_ns, end_ns)) = told.get(&part.of.0).copied() else {
                    self.phantoms.push(found);
                    continue;
                };
                // What was paid without asking may arrive at any time after the answer.
                let end_ns = if self.unasked.contains(&part.of.0) { u64::MAX } else { end_ns };
                self.sets.entry(*set).or_default().push(Decided {
                    what: What::Part(number),
                    place: found.place,
                    position: Position::default(),
                    name: Some(found.transaction.0),
                    call,
                    begin_ns,
                    end_ns,
                    replies: 0..0,
                });
            }
        }
    }

    /// Places what has an open end by the final lists; keeps what is nowhere.
    fn place_open(&mut self, requests: &HashMap<u64, Asked>) {
        let undecided = |call: &Call<'_>| !requests[&call.body.key()].decided && call.answer.is_open();
        let open: Vec<Call<'h>> = calls(self.history).filter(undecided).collect();
        let mut by_id: HashMap<&str, Vec<&Call<'h>>> = HashMap::new();
        for call in &open {
            by_id.entry(call.body.id()).or_default().push(call);
        }
        let mut resolved = HashSet::new();
        for (set, found) in &self.listed {
            let known: HashSet<Place> =
                self.sets.get(set).into_iter().flatten().map(|decided| decided.place).collect();
            let whole = found.iter().filter(|found| found.part_of.is_none() || found.is_paid());
            for found in whole.filter(|found| !known.contains(&found.place)) {
                let asked = by_id.get(found.id.as_str()).into_iter().flatten();
                let Some(call) = asked.into_iter().find(|call| asks_for(self.history, call.body, found))
                else {
                    self.phantoms.push(found);
                    continue;
                };
                let key = call.body.key();
                resolved.insert(key);
                self.sets.entry(*set).or_default().push(Decided {
                    what: What::Command,
                    place: found.place,
                    position: Position::default(),
                    name: Some(found.transaction.0),
                    call: call.at,
                    begin_ns: requests[&key].begin_ns,
                    end_ns: u64::MAX,
                    replies: 0..0,
                });
            }
        }
        self.open =
            open.iter().filter(|call| !resolved.contains(&call.body.key())).map(|call| call.at).collect();
    }
}

/// What is known of a request while places are given.
struct Asked {
    /// When it was first asked.
    first_ns: u64,
    /// The same of calls that may have done something.
    begin_ns: u64,
    /// Whether some answer says that it is decided.
    decided: bool,
}

impl Default for Asked {
    fn default() -> Self {
        Asked { first_ns: u64::MAX, begin_ns: u64::MAX, decided: false }
    }
}

#[derive(Default)]
struct Chain<'h> {
    after: Option<Name>,
    whole: bool,
    found: Vec<&'h Found>,
}

/// Whether a listed transaction is what a request asked for.
fn asks_for(history: &History, body: Body<'_>, found: &Found) -> bool {
    match body {
        Body::Transfer(transfer) => {
            let is_own = |leg: &&Leg| history.set_of(leg.0) == Some(found.place.set);
            let is_booked = match found.is_paid() {
                true => transfer.legs.iter().filter(is_own).eq(own_legs(history, &found.legs).iter()),
                false => transfer.legs == found.legs,
            };
            is_booked
                && (transfer.label, transfer.capture) == (found.label, found.capture)
                && (found.is_paid() || transfer.shown_marks() == found.marks)
                && found.reverses.is_none()
        }
        Body::Other(Ask::ResolveSuspense { account, .. }) => {
            found.legs.get(1).is_some_and(|leg| leg.0 == *account) && found.reverses.is_none()
        }
        Body::Other(Ask::Reverse { transaction, cents, parts, .. }) => {
            let named = parts.iter().map(|(_, cents)| *cents);
            found.reverses == Some(*transaction)
                && (parts.is_empty() || found.legs.iter().map(|(_, leg)| leg.abs()).eq(named))
                && cents.is_none_or(|cents| found.legs.first().is_some_and(|(_, leg)| leg.abs() == cents))
        }
        Body::Other(_) => false,
    }
}

/// The greatest index that a position can have.
const INDEX_MAX: u64 = (1 << 48) - 1;

/// Positions in the log: a transaction's name says its own; those of the same entry follow from the times, which count up by
/// one from command to command. In an entry without a transaction they count from the first that is known.
fn number_positions(meta: &Meta, set: u32, log: &mut [Decided], misplaced: &mut Findings) {
    for entry in log.chunk_by_mut(|a, b| a.place.index == b.place.index) {
        let named = entry.iter().find_map(|decided| Some((decided.name?, decided.place)));
        let base = match named {
            Some((name, place)) => place.time_ns.wrapping_sub(u64::from(name.position.offset())),
            None => entry[0].place.time_ns,
        };
        for decided in entry {
            let offset = u16::try_from(decided.place.time_ns.wrapping_sub(base));
            let index = decided.place.index.min(INDEX_MAX);
            if offset.is_err() || index != decided.place.index {
                misplaced.wrong(|| {
                    format!("set {set}: {:?} is not of one entry with its neighbours", decided.place)
                });
            }
            decided.position = Position::new(index, offset.unwrap_or(u16::MAX));
            if let Some(name) = decided.name
                && (name.set != set
                    || name.incarnation != meta.incarnation_at(set, decided.place.index)
                    || name.position != decided.position)
            {
                misplaced.wrong(|| format!("transaction {name} stands at {:?}", decided.place));
            }
        }
    }
}
