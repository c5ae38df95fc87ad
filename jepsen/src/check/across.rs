//! What is asked of several sets at once, and what that means for each of them: which legs are whose, where its attempts were
//! begun and what came of them, what each set may have set aside from when until when, and which refusals another set must
//! explain. Worked out from answers and final lists, before any set is replayed. Pure.
//!
//! No client is told when a set sets its part aside, nor when it gives it back. It does the first after the request was first
//! sent, and the second, if the part is booked, where it is booked; the coordinator sets its own legs aside where the attempt
//! begins, and has given them back before it answers. Between these moments both are possible, and nothing else is.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use twinset_ledger::{Position, TransactionId};

use super::limits::currencies;
use super::witness::{Body, Decided, What, Witness, calls};
use crate::history::event::{EURO, Leg};
use crate::history::{Answer, Ask, Found, History, Level, Phase, Place, Transfer, clearing, run_of};

/// Where in a set's log: index, then time.
pub type Spot = (u64, u64);

/// Behind every spot.
pub const NEVER: Spot = (u64::MAX, u64::MAX);
/// For the cent of a run that came to nothing: more than any account of these tests ever has.
const OF_A_RUN: i64 = 1_000_000_000_000;

/// No coordinator gives up sooner (`across.give_up_ms`), a little less for what its clock and ours differ: an attempt that nobody
/// was told of can only have ended within a call that took as long.
const GIVE_UP_NS: u64 = 2_900_000_000;
/// So many such attempts can a call have begun whose end nobody saw.
const OF_AN_OPEN_CALL: i64 = 3;

/// A transaction over several sets.
#[derive(Clone, Debug)]
pub struct Across {
    /// The set that decides it.
    pub coordinator: u32,
    /// In the client's order.
    pub legs: Vec<Leg>,
    /// The set of each leg.
    pub sets: Vec<u32>,
    /// Where what it takes back was begun.
    pub reverses: Option<Position>,
}

impl Across {
    /// What a command asks of several sets; None: it asks one. Of a reversal of all that is left, `cents` says how much that was,
    /// where somebody knows.
    pub fn of(witness: &Witness<'_>, body: Body<'_>, cents: Option<i64>) -> Option<Across> {
        let history = witness.history;
        match body {
            Body::Transfer(transfer) => {
                let (coordinator, sets) = (coordinator(history, transfer)?, history.sets_across(transfer)?);
                Some(Across { coordinator, legs: transfer.legs.clone(), sets, reverses: None })
            }
            Body::Other(Ask::Reverse { transaction, cents: asked, .. }) => {
                let (set, number) = witness.across.get(&transaction.0)?;
                let original = witness.call(witness.sets[set][*number].call);
                let Body::Transfer(original) = original.body else { return None };
                let part = asked.or(cents).filter(|_| original.legs.len() == 2);
                let back = |(account, cents): &Leg| (*account, -cents.signum() * part.unwrap_or(cents.abs()));
                Some(Across {
                    coordinator: *set,
                    legs: original.legs.iter().map(back).collect(),
                    sets: history.sets_across(original)?,
                    reverses: Some(transaction.0.position),
                })
            }
            Body::Other(_) => None,
        }
    }

    /// The legs of one set, in the client's order.
    pub fn legs_of(&self, set: u32) -> impl Iterator<Item = Leg> {
        self.legs.iter().zip(&self.sets).filter(move |(_, of)| **of == set).map(|(leg, _)| *leg)
    }

    /// All sets that take part, the coordinator included.
    pub fn all_sets(&self) -> BTreeSet<u32> {
        self.sets.iter().copied().collect()
    }

    /// The sets that take part beside the coordinator.
    pub fn others(&self) -> BTreeSet<u32> {
        self.sets.iter().copied().filter(|set| *set != self.coordinator).collect()
    }
}

/// The set that decides a transaction over several: that of the account which it names, or of the least that is debited, or of
/// the least. None: it is over one.
pub fn coordinator(history: &History, transfer: &Transfer) -> Option<u32> {
    history.sets_across(transfer)?;
    let least = |debits: bool| {
        let legs = transfer.legs.iter().filter(|(_, cents)| !debits || *cents > 0);
        legs.map(|(account, _)| *account).min_by_key(|account| &history.accounts[*account as usize])
    };
    history.set_of(transfer.scope.or(least(true)).or(least(false))?)
}

/// What came of an attempt, in the word of its coordinator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Came<'h> {
    /// It is booked.
    Booked,
    /// It was refused, with this code.
    Refused(&'h str),
    /// It was given up.
    GivenUp,
}

/// An attempt where it was begun.
#[derive(Clone, Debug)]
pub struct Begun<'h> {
    /// What it asks for.
    pub across: Across,
    /// What came of it.
    pub came: Came<'h>,
}

/// What may be set aside in a set: debits and credits in cents by account.
#[derive(Clone, Debug)]
pub struct Reserve {
    /// By account.
    pub accounts: Vec<(u32, i64, i64)>,
    /// Not yet at this spot.
    pub from: Spot,
    /// No more at this one.
    pub until: Spot,
    /// The number of the coordinator's attempt that it is of, in the coordinator's set.
    pub of: Option<usize>,
}

/// How much of an earlier transaction may count as being taken back.
#[derive(Clone, Copy, Debug)]
pub struct Reversing {
    /// The request, by the key of its body.
    pub by: u64,
    /// Of its first leg.
    pub cents: i64,
    /// Not yet at this spot.
    pub from: Spot,
    /// No more at this one.
    pub until: Spot,
}

/// How much of a hold an attempt may have in hand that came to nothing.
#[derive(Clone, Copy, Debug)]
pub struct Hand {
    /// The coordinator.
    pub set: u32,
    /// What its legs take out of the held account.
    pub cents: i64,
    /// Not yet at this spot.
    pub from: Spot,
    /// No more at this one.
    pub until: Spot,
}

/// A set that may be the one that refused.
#[derive(Clone, Debug)]
pub struct Doubt<'h> {
    /// The attempt: its coordinator, and its number in that one's log.
    pub of: (u32, usize),
    /// What was asked of the set.
    pub legs: Vec<Leg>,
    /// The reason that somebody was told.
    pub code: &'h str,
    /// It was asked behind this spot,
    pub from: Spot,
    /// and before this one.
    pub until: Spot,
}

/// All that is known of transactions over several sets before a replay.
#[derive(Default)]
pub struct Plans<'h> {
    /// Attempts, by coordinator and number in its log.
    pub begun: HashMap<(u32, usize), Begun<'h>>,
    /// What was paid without asking, by its name.
    pub paid: HashMap<TransactionId, Across>,
    /// Their places by their names.
    pub names: HashMap<TransactionId, (u32, usize)>,
    /// By set, in the order of their begins.
    pub reserves: BTreeMap<u32, Vec<Reserve>>,
    /// By coordinator and what is taken back.
    pub reversing: HashMap<(u32, Position), Vec<Reversing>>,
    /// By hold.
    pub hands: HashMap<TransactionId, Vec<Hand>>,
    /// By set, in the order of their begins.
    pub doubts: BTreeMap<u32, Vec<Doubt<'h>>>,
    /// Request ids under which attempts may have been begun that nobody was told of, and what was asked then.
    pub hidden: HashMap<&'h str, BTreeSet<u64>>,
    /// Rows of parts in the final lists, by transaction and set.
    pub rows: HashMap<(TransactionId, u32), Vec<&'h Found>>,
    /// The currency of each account.
    pub currencies: HashMap<u32, &'h str>,
    /// The number of each account.
    pub numbers: HashMap<&'h str, u32>,
}

/// Codes of the coordinator alone, before any other set is asked.
pub const AT_ONCE: [&str; 10] = [
    "hold_not_found",
    "hold_ended",
    "hold_exceeded",
    "capture_without_outflow",
    "hold_journal_full",
    "request_mismatch",
    "transaction_not_found",
    "not_reversible",
    "partial_reversal_of_many_legs",
    "reversal_exceeds",
];
/// Codes that come when all sets have said yes.
pub const AT_LAST: [&str; 2] = ["unbalanced", "currency_conflict"];

impl<'h> Plans<'h> {
    /// What the answers and the final lists of a witness say.
    pub fn of(witness: &Witness<'h>) -> Self {
        let mut plans = Plans::rows_of(witness);
        let bounds = Bounds::of(witness);
        for (set, log) in &witness.sets {
            for (number, decided) in log.iter().enumerate() {
                plans.attempt(witness, &bounds, (*set, number), decided);
            }
        }
        plans.hidden(witness, &bounds);
        plans.reserves.values_mut().for_each(|of_set| of_set.sort_by_key(|reserve| reserve.from));
        plans.doubts.values_mut().for_each(|of_set| of_set.sort_by_key(|doubt| doubt.from));
        plans
    }

    /// Only what the final lists say, and what accounts are.
    pub fn rows_of(witness: &Witness<'h>) -> Self {
        let numbers =
            (0..).zip(&witness.history.accounts).map(|(number, id)| (id.as_str(), number)).collect();
        let mut plans = Plans { currencies: currencies(witness.history), numbers, ..Plans::default() };
        for (set, found) in &witness.listed {
            for found in found {
                if let Some(part) = found.part_of {
                    plans.rows.entry((part.of.0, *set)).or_default().push(found);
                }
            }
        }
        plans
    }

    /// What squares legs of a set, as its list shows it: a leg on its clearing account of each currency that they leave open.
    pub fn clearing_legs(&self, set: u32, legs: &[Leg]) -> Vec<(String, i64)> {
        let mut sums: BTreeMap<&str, i64> = BTreeMap::new();
        for (account, cents) in legs {
            let currency = self.currencies.get(account).copied().unwrap_or(EURO);
            *sums.entry(currency).or_default() += cents;
        }
        let open = sums.into_iter().filter(|(_, sum)| *sum != 0);
        open.map(|(currency, sum)| (format!("@clearing-{set}:{currency}"), -sum)).collect()
    }

    fn attempt(&mut self, witness: &Witness<'h>, bounds: &Bounds, at: (u32, usize), decided: &Decided) {
        let body = witness.call(decided.call).body;
        if matches!(decided.what, What::Part(_)) {
            return;
        }
        let Some(came) = came(witness, decided) else { return };
        // How much the coordinator has taken back: its own first leg in its own part.
        let name = decided.name;
        let rows = |set: u32| name.and_then(|name| self.rows.get(&(name, set)));
        let cents = rows(at.0).and_then(|rows| rows.first()?.legs.first()).map(|(_, cents)| cents.abs());
        let Some(across) = Across::of(witness, body, cents) else { return };
        if let Some(name) = name.filter(|name| witness.unasked.contains(name)) {
            // Nothing is set aside for it.
            self.paid.insert(name, across);
            return;
        }
        let (spot, coordinator) = (spot(decided.place), at.0);
        let booked: HashMap<u32, Spot> =
            across.others().into_iter().filter_map(|set| Some((set, spot_of(rows(set)?.first()?)))).collect();
        let (others, last) = (across.others(), witness.history.phase(Phase::Final).unwrap_or(u64::MAX));
        let refused_by_one = match came {
            Came::Refused(code) => !AT_LAST.contains(&code),
            _ => false,
        };
        let at_once = matches!(came, Came::Refused(code) if AT_ONCE.contains(&code));
        // Of a sweep's run that came to nothing nobody knows how much it was.
        let times = if came != Came::Booked && run_of(body.id()).is_some() { OF_A_RUN } else { 1 };
        if came != Came::Booked && !at_once {
            let until = bounds.behind(coordinator, decided.end_ns);
            // Who reads that very spot reads what is set aside there.
            let begun = (spot.0, spot.1.saturating_sub(1));
            self.set_aside(coordinator, &across, times, (begun, until), Some(at.1));
            self.take_back(&across, body.key(), (spot, until));
            self.take_in_hand(&across, body, (begun, until));
        }
        for set in others.iter().copied().filter(|_| !at_once) {
            let from = bounds.before(set, decided.begin_ns);
            match came {
                Came::Booked => {
                    let until = booked.get(&set).copied().unwrap_or(NEVER);
                    self.set_aside(set, &across, 1, (from, until), None);
                }
                // Of two sets the one that refuses has set nothing aside.
                _ if refused_by_one && others.len() == 1 => {}
                _ => self.set_aside(set, &across, times, (from, bounds.behind(set, last)), None),
            }
            if let Came::Refused(code) = came
                && refused_by_one
            {
                let until = bounds.behind(set, decided.end_ns);
                let legs = across.legs_of(set).collect();
                self.doubts.entry(set).or_default().push(Doubt { of: at, legs, code, from, until });
            }
        }
        if let Some(name) = name {
            self.names.insert(name, at);
        }
        self.begun.insert(at, Begun { across, came });
    }

    /// A set may have set its part aside, so many times at most.
    fn set_aside(
        &mut self,
        set: u32,
        across: &Across,
        times: i64,
        (from, until): (Spot, Spot),
        of: Option<usize>,
    ) {
        let mut accounts: BTreeMap<u32, (i64, i64)> = BTreeMap::new();
        let own: Vec<Leg> = across.legs_of(set).collect();
        let clearing = self.clearing_legs(set, &own);
        let clearing =
            clearing.iter().filter_map(|(id, cents)| Some((*self.numbers.get(id.as_str())?, *cents)));
        for (account, cents) in own.iter().copied().chain(clearing) {
            let (debits, credits) = accounts.entry(account).or_default();
            *(if cents > 0 { debits } else { credits }) += cents.abs() * times;
        }
        let accounts = accounts.into_iter().map(|(account, (debits, credits))| (account, debits, credits));
        let reserve = Reserve { accounts: accounts.collect(), from, until, of };
        self.reserves.entry(set).or_default().push(reserve);
    }

    fn take_back(&mut self, across: &Across, by: u64, (from, until): (Spot, Spot)) {
        if let (Some(original), Some((_, cents))) = (across.reverses, across.legs.first()) {
            let reversing = Reversing { by, cents: cents.abs(), from, until };
            self.reversing.entry((across.coordinator, original)).or_default().push(reversing);
        }
    }

    /// Captured is what the legs on the held account, a liability, come to. Legs that would bring money in take nothing of the hold: such
    /// a request is refused where it would begin, and has nothing in hand anywhere.
    fn take_in_hand(&mut self, across: &Across, body: Body<'_>, (from, until): (Spot, Spot)) {
        let Body::Transfer(Transfer { capture: Some(capture), scope: Some(held), .. }) = body else { return };
        let own = across.legs_of(across.coordinator).filter(|(account, _)| account == held);
        let cents: i64 = own.map(|(_, cents)| cents).sum();
        if cents <= 0 {
            return;
        }
        let hand = Hand { set: across.coordinator, cents, from, until };
        self.hands.entry(capture.hold.0).or_default().push(hand);
    }

    /// Attempts that were given up without that anybody was told: a call that took long enough may have begun some.
    fn hidden(&mut self, witness: &Witness<'h>, bounds: &Bounds) {
        struct Request<'h> {
            body: Body<'h>,
            first_ns: u64,
            last_ns: u64,
            times: i64,
        }
        let last = witness.history.phase(Phase::Final).unwrap_or(u64::MAX);
        let mut requests: BTreeMap<u64, Request<'h>> = BTreeMap::new();
        // A run is begun once.
        for call in calls(witness.history).filter(|call| run_of(call.body.id()).is_none()) {
            let took = call.op.end_ns.unwrap_or(u64::MAX).saturating_sub(call.op.begin_ns);
            let times = match call.answer {
                Answer::NotApplied { .. } => continue,
                answer if answer.is_open() => OF_AN_OPEN_CALL,
                Answer::GivenUp { .. } => (took / GIVE_UP_NS).saturating_sub(1) as i64,
                _ => (took / GIVE_UP_NS) as i64,
            };
            let end_ns = if call.answer.is_open() { last } else { call.op.end_ns.unwrap_or(last) };
            let request = requests.entry(call.body.key()).or_insert(Request {
                body: call.body,
                first_ns: call.op.begin_ns,
                last_ns: 0,
                times: 0,
            });
            request.last_ns = request.last_ns.max(end_ns);
            request.times += times;
        }
        for (key, Request { body, first_ns, last_ns, times }) in requests {
            let Some(across) = Across::of(witness, body, None).filter(|_| times > 0) else { continue };
            self.hidden.entry(body.id()).or_default().insert(key);
            let own = across.coordinator;
            let window = (bounds.before(own, first_ns), bounds.behind(own, last_ns));
            // One after the other: the next one begins where the one before was given up.
            self.set_aside(own, &across, 1, window, None);
            self.take_back(&across, key, window);
            self.take_in_hand(&across, body, window);
            for set in across.others() {
                let window = (bounds.before(set, first_ns), bounds.behind(set, last));
                self.set_aside(set, &across, times, window, None);
            }
        }
    }
}

/// What the coordinator said of what was begun there.
fn came<'h>(witness: &Witness<'h>, decided: &Decided) -> Option<Came<'h>> {
    witness.replies[decided.replies.clone()].iter().find_map(|reply| match witness.call(*reply).answer {
        Answer::Booked { .. } => Some(Came::Booked),
        Answer::Rejected { code, .. } => Some(Came::Refused(code)),
        Answer::GivenUp { .. } => Some(Came::GivenUp),
        _ => None,
    })
}

/// Where a place is in its set's log.
pub fn spot(place: Place) -> Spot {
    (place.index, place.time_ns)
}

fn spot_of(found: &&Found) -> Spot {
    spot(found.place)
}

/// The legs of a part without those of clearing accounts.
pub fn own_legs(history: &History, legs: &[Leg]) -> Vec<Leg> {
    let is_own = |leg: &&Leg| clearing(&history.accounts[leg.0 as usize]).is_none();
    legs.iter().filter(is_own).copied().collect()
}

/// What real time says of a set's log: whoever begins after something was answered finds it there.
pub struct Bounds {
    sets: BTreeMap<u32, Bound>,
}

#[derive(Default)]
struct Bound {
    /// Ends, each with the furthest spot that was told by then.
    ends: Vec<(u64, Spot)>,
    /// Begins, each with the nearest spot of what began then or later.
    begins: Vec<(u64, Spot)>,
}

impl Bounds {
    /// By the decided commands and the linearizable reads of a history.
    pub fn of(witness: &Witness<'_>) -> Self {
        let mut sets: BTreeMap<u32, Bound> = BTreeMap::new();
        let mut add = |set: u32, spot: Spot, begin_ns: u64, end_ns: u64| {
            let bound = sets.entry(set).or_default();
            bound.begins.push((begin_ns, spot));
            if end_ns != u64::MAX {
                bound.ends.push((end_ns, spot));
            }
        };
        for (set, log) in &witness.sets {
            for decided in log {
                add(*set, spot(decided.place), decided.begin_ns, decided.end_ns);
            }
        }
        for op in &witness.history.ops {
            if let (Some(Level::Linearizable), Some(as_of)) = (op.ask.read_level(), op.answer.as_of()) {
                add(as_of.place.set, spot(as_of.place), op.begin_ns, op.end_ns.unwrap_or(u64::MAX));
            }
        }
        for bound in sets.values_mut() {
            bound.ends.sort_unstable();
            let mut furthest = (0, 0);
            for (_, spot) in &mut bound.ends {
                furthest = furthest.max(*spot);
                *spot = furthest;
            }
            bound.begins.sort_unstable();
            let mut nearest = NEVER;
            for (_, spot) in bound.begins.iter_mut().rev() {
                nearest = nearest.min(*spot);
                *spot = nearest;
            }
        }
        Bounds { sets }
    }

    /// What happens at this time or later stands behind this spot.
    fn before(&self, set: u32, at_ns: u64) -> Spot {
        let Some(bound) = self.sets.get(&set) else { return (0, 0) };
        let told = bound.ends.partition_point(|(end, _)| *end < at_ns);
        told.checked_sub(1).map_or((0, 0), |last| bound.ends[last].1)
    }

    /// What happens at this time or before stands before this spot.
    pub fn behind(&self, set: u32, at_ns: u64) -> Spot {
        let Some(bound) = self.sets.get(&set) else { return NEVER };
        let later = bound.begins.partition_point(|(begin, _)| *begin <= at_ns);
        bound.begins.get(later).map_or(NEVER, |(_, spot)| *spot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Name;
    use crate::history::holds::Capture;

    #[test]
    fn only_what_takes_something_of_a_hold_has_it_in_hand() {
        let hold = TransactionId { set: 1, incarnation: 1, position: Position::new(7, 0) };
        let in_hand = |cents: i64| {
            let legs = vec![(0, cents), (1, -cents)];
            let across = Across { coordinator: 1, legs: legs.clone(), sets: vec![1, 2], reverses: None };
            let capture = Some(Capture { hold: Name(hold), is_final: false });
            let transfer =
                Transfer { id: "c".into(), scope: Some(0), label: None, capture, marks: vec![], legs };
            let mut plans = Plans::default();
            plans.take_in_hand(&across, Body::Transfer(&transfer), ((1, 1), NEVER));
            plans.hands.get(&hold).map(|hands| hands.iter().map(|hand| hand.cents).collect::<Vec<_>>())
        };
        assert_eq!(in_hand(300), Some(vec![300]));
        // The journal of such a hold is known line for line.
        assert_eq!(in_hand(-300), None);
    }
}
