//! Restricted funds, without the model: each set's list, the releases that clients were told of and the times at which
//! restrictions were put away are followed in their order. What is left of a restriction must be what was told and what
//! is read in the end; and behind each withdrawal there is enough on the account for what is restricted there. Pure.

use std::collections::{BTreeMap, HashMap};

use twinset_ledger::TransactionId;

use super::limits::floors;
use super::statements::signs;
use super::witness::{Body, calls};
use super::{Case, Found};
use crate::history::marks::Mark;
use crate::history::restrictions::{FoundRestriction, Restricted, RestrictionState};
use crate::history::{Answer, Ask, Found as Row, Place};

/// Who got it, and the transaction that brought it.
type Key = (u32, TransactionId);

/// So long after its time, by its set's clock, a restriction is put away in the end.
const AT_LAST_NS: u64 = 1_000_000_000;

/// Something that happened in a set's log.
enum Step<'h> {
    /// It is listed there.
    Row(&'h Row),
    /// So much was released, and the restriction stood so then.
    Released(Key, i64, &'h Restricted),
    /// It was put away.
    Lapsed(Key),
}

/// What is known of a restriction.
struct Known {
    amount: i64,
    left: i64,
    until_ns: Option<u64>,
}

/// All of it, followed to the end.
#[derive(Default)]
struct Followed {
    known: BTreeMap<Key, Known>,
    /// What was left where it was put away.
    lapsed: Vec<(u32, Place, i64)>,
    /// What does not fit together.
    steps: Found,
    /// Withdrawals that left too little.
    withdrawals: Found,
}

/// What came restricted is so until it is released, its time comes or it is taken back.
pub fn restrictions(case: &Case<'_>) -> Found {
    let mut found = Found::default();
    for (number, op) in case.history.ops.iter().enumerate() {
        for one in told(&op.answer) {
            found.checked += 1;
            let Restricted { state, amount, left, .. } = *one;
            let adds_up = amount > 0 && (0..=amount).contains(&left);
            if !adds_up || (state == RestrictionState::Open) != (left > 0) {
                found.wrong(|| {
                    format!("operation {number} shows a restriction whose figures do not fit: {one:?}")
                });
            }
        }
    }
    if !is_asked(case) {
        return found;
    }
    let followed = follow(case);
    found = found.and(&followed.steps);
    for words in &case.witness.unlisted {
        found.missing(|| words.clone());
    }
    in_the_end(case, &followed, &mut found);
    found
}

/// A withdrawal takes nothing that is restricted.
pub fn withdrawals(case: &Case<'_>) -> Found {
    if !is_asked(case) {
        return Found::default();
    }
    let mut found = follow(case).withdrawals;
    for words in &case.witness.unlisted {
        found.missing(|| words.clone());
    }
    found
}

fn is_asked(case: &Case<'_>) -> bool {
    !case.witness.restricted.is_empty() || calls(case.history).any(|call| !call.body.marks().is_empty())
}

/// All figures of restrictions that an answer tells.
fn told(answer: &Answer) -> Vec<&Restricted> {
    match answer {
        Answer::Released { restricted, .. } => vec![restricted],
        Answer::Restriction { found, .. } => vec![&found.restricted],
        Answer::Restrictions { found, .. } => found.iter().map(|found| &found.restricted).collect(),
        _ => Vec::new(),
    }
}

fn steps<'h>(case: &Case<'h>) -> BTreeMap<u32, BTreeMap<Place, Step<'h>>> {
    let mut steps: BTreeMap<u32, BTreeMap<Place, Step<'h>>> = BTreeMap::new();
    for (set, listed) in &case.witness.listed {
        let rows = listed.iter().map(|row| (row.place, Step::Row(row)));
        steps.entry(*set).or_default().extend(rows);
    }
    for call in calls(case.history) {
        if let (
            Body::Other(Ask::ReleaseRestriction { account, restriction, .. }),
            Answer::Released { place, cents, restricted, .. },
        ) = (call.body, call.answer)
        {
            let step = Step::Released((*account, restriction.0), *cents, restricted);
            steps.entry(place.set).or_default().insert(*place, step);
        }
    }
    for found in case.witness.restricted.values().flat_map(|listed| &listed.found) {
        if let (RestrictionState::Expired, Some(ended)) = (found.restricted.state, found.ended) {
            let key = (found.account, found.restricted.restriction.0);
            steps.entry(ended.set).or_default().insert(ended, Step::Lapsed(key));
        }
    }
    steps
}

fn follow(case: &Case<'_>) -> Followed {
    let (signs, floors) = (signs(case.history), floors(case.history, |_| true));
    let mut followed = Followed::default();
    for steps in steps(case).into_values() {
        let mut balances: HashMap<u32, i64> = HashMap::new();
        for (place, step) in steps {
            match step {
                Step::Row(row) => followed.book(row, &mut balances, (&signs, &floors)),
                Step::Released(key, cents, told) => followed.release(place, key, cents, told),
                Step::Lapsed(key) => followed.lapse(place, key),
            }
        }
    }
    followed
}

impl Followed {
    fn book(
        &mut self,
        row: &Row,
        balances: &mut HashMap<u32, i64>,
        (signs, floors): (&HashMap<u32, i64>, &HashMap<u32, Option<i64>>),
    ) {
        let mut rises: HashMap<u32, i64> = HashMap::new();
        for (account, cents) in &row.legs {
            let rise = cents * signs.get(account).copied().unwrap_or(-1);
            *balances.entry(*account).or_default() += rise;
            *rises.entry(*account).or_default() += rise;
            let taken_back = row.reverses.and_then(|original| self.known.get_mut(&(*account, original.0)));
            if let Some(known) = taken_back {
                known.left -= known.left.min(cents.abs());
            }
        }
        for (number, mark) in &row.marks {
            let Some((account, cents)) = row.legs.get(usize::from(*number)).copied() else {
                self.steps.wrong(|| format!("it says something of a leg that it has not: {row:?}"));
                continue;
            };
            match mark {
                Mark::Restricted { until_ns } => {
                    self.steps.checked += 1;
                    let known = Known { amount: cents.abs(), left: cents.abs(), until_ns: *until_ns };
                    self.known.insert((account, row.transaction.0), known);
                }
                Mark::Withdrawal if rises[&account] < 0 => {
                    self.withdrawals.checked += 1;
                    let (balance, restricted) = (balances[&account], self.left(account));
                    let floor = floors.get(&account).copied().flatten();
                    if floor.is_some_and(|floor| balance - restricted < floor) {
                        self.withdrawals.wrong(|| {
                            format!("{row:?} leaves {balance} cents, of which {restricted} are restricted")
                        });
                    }
                }
                Mark::Withdrawal | Mark::Expects { .. } | Mark::Group { .. } => {}
            }
        }
    }

    /// What is restricted on an account.
    fn left(&self, account: u32) -> i64 {
        let first = TransactionId { set: 0, incarnation: 0, position: Default::default() };
        let own = self.known.range((account, first)..).take_while(|((of, _), _)| *of == account);
        own.map(|(_, known)| known.left).sum()
    }

    fn release(&mut self, place: Place, key: Key, cents: i64, told: &Restricted) {
        self.steps.checked += 1;
        match self.known.get_mut(&key) {
            Some(known) if cents > 0 && known.left - cents == told.left => known.left -= cents,
            other => {
                let left = other.map(|known| known.left);
                self.steps.wrong(|| {
                    format!(
                        "{left:?} cents of {key:?} were left; at {place:?} {cents} are released: {told:?}"
                    )
                });
            }
        }
    }

    fn lapse(&mut self, place: Place, key: Key) {
        self.steps.checked += 1;
        match self.known.get_mut(&key) {
            Some(known) if known.left > 0 && known.until_ns.is_some_and(|until| until <= place.time_ns) => {
                self.lapsed.push((key.0, place, known.left));
                known.left = 0;
            }
            other => {
                let known = other.map(|known| (known.left, known.until_ns));
                self.steps
                    .wrong(|| format!("{key:?} is put away at {place:?}, with left and time {known:?}"));
            }
        }
    }
}

fn in_the_end(case: &Case<'_>, followed: &Followed, found: &mut Found) {
    let mut seen: BTreeMap<Key, &FoundRestriction> = BTreeMap::new();
    for listed in case.witness.restricted.values() {
        for one in &listed.found {
            found.checked += 1;
            let Restricted { restriction, state, amount, left, until_ns } = one.restricted;
            let key = (one.account, restriction.0);
            if seen.insert(key, one).is_some() {
                found.wrong(|| format!("a restriction is listed twice: {one:?}"));
            }
            let known = followed.known.get(&key).map(|known| (known.amount, known.left, known.until_ns));
            if known != Some((amount, left, until_ns)) {
                found.wrong(|| format!("of {one:?} amount, rest and time should be {known:?}"));
            }
            if one.ended.is_some() != (state != RestrictionState::Open) {
                found.wrong(|| format!("it has ended, or not: {one:?}"));
            }
            let is_over = |until: u64| listed.as_of.time_ns >= until.saturating_add(AT_LAST_NS);
            if state == RestrictionState::Open && until_ns.is_some_and(is_over) {
                found.wrong(|| format!("its time had come, and at {:?} it is open: {one:?}", listed.as_of));
            }
        }
    }
    for key in followed.known.keys().filter(|key| case.witness.restricted.contains_key(&key.0)) {
        if !seen.contains_key(key) {
            found.wrong(|| format!("what came restricted as {key:?} is not there in the end"));
        }
    }
    for (account, answer) in case.last_accounts() {
        let Some(Answer::Account { as_of, figures }) = answer else { continue };
        // Where its set was listed, that is all there is to know of it.
        if !case.history.set_of(account).is_some_and(|set| case.witness.listed.contains_key(&set)) {
            continue;
        }
        found.checked += 1;
        let later =
            followed.lapsed.iter().filter(|(of, place, _)| *of == account && place.index > as_of.place.index);
        let left = followed.left(account) + later.map(|(.., cents)| cents).sum::<i64>();
        if figures.restricted != left {
            let id = &case.history.accounts[account as usize];
            found.wrong(|| {
                format!("{left} cents of {id} are restricted in the end, and it shows {figures:?}")
            });
        }
    }
}
