//! Holds, without the model: figures add up in every answer, captures together take no more than was held, nothing succeeds on a
//! hold that has ended, and in the end each is there once as it was asked for, with all that was done to it. What the model says
//! to figures and journals is the replay's finding. Pure.

use std::collections::{BTreeMap, HashMap};

use twinset_ledger::TransactionId;

use super::replay::holds::hold_of;
use super::witness::{Body, Call, calls};
use super::{Case, Found};
use crate::history::holds::{FoundHold, Held, HoldChange, HoldState};
use crate::history::{Answer, Ask, Name, Place};

/// What was told of one hold.
#[derive(Default)]
struct Story<'h> {
    /// The amount and the end, by who placed it.
    placed: Option<(i64, Option<u64>)>,
    /// What each capture took, told or listed.
    captures: BTreeMap<Name, i64>,
    /// Where commands on it succeeded, with what each came to.
    done: BTreeMap<Place, (Call<'h>, Option<Held>)>,
}

/// No more captured than held, nothing after the end, all there in the end.
pub fn holds(case: &Case<'_>) -> Found {
    let mut found = Found::default();
    for (number, op) in case.history.ops.iter().enumerate() {
        for held in told(&op.answer) {
            found.checked += 1;
            let Held { amount, captured, capturing, released, left, .. } = *held;
            let least = [amount - 1, captured, capturing, released, left].into_iter().min();
            if amount != captured + capturing + released + left || least < Some(0) {
                found.wrong(|| {
                    format!("operation {number} shows a hold whose figures do not add up: {held:?}")
                });
            }
        }
    }
    let stories = stories(case);
    for (hold, story) in &stories {
        found.checked += 1;
        captured(*hold, story, &mut found);
        after_the_end(case, *hold, story, &mut found);
    }
    if !stories.is_empty() {
        for words in &case.witness.unlisted {
            found.missing(|| words.clone());
        }
    }
    in_the_end(case, &stories, &mut found);
    found
}

/// All figures of holds that an answer tells.
fn told(answer: &Answer) -> Vec<&Held> {
    match answer {
        Answer::Held { held, .. } => vec![held],
        Answer::Hold { found, .. } => vec![&found.held],
        Answer::Holds { found, .. } => found.iter().map(|found| &found.held).collect(),
        Answer::Events { events, .. } => events.iter().filter_map(|told| told.held.as_ref()).collect(),
        _ => Vec::new(),
    }
}

fn stories<'h>(case: &Case<'h>) -> BTreeMap<TransactionId, Story<'h>> {
    let mut stories: BTreeMap<TransactionId, Story<'h>> = BTreeMap::new();
    for call in calls(case.history) {
        let (hold, place, held) = match (call.body, call.answer) {
            (Body::Other(Ask::PlaceHold { cents, expires_ns, .. }), Answer::Held { held, .. }) => {
                stories.entry(held.hold.0).or_default().placed = Some((*cents, *expires_ns));
                continue;
            }
            (body, Answer::Held { held, place, .. }) => (hold_of(body), place, Some(*held)),
            (body, Answer::Booked { place, .. }) => (hold_of(body), place, None),
            _ => continue,
        };
        let Some(hold) = hold else { continue };
        let story = stories.entry(hold).or_default();
        if let (Answer::Booked { transaction, .. }, Some(cents)) = (call.answer, taken(call.body)) {
            story.captures.insert(*transaction, cents);
        }
        story.done.insert(*place, (call, held));
    }
    for one in case.witness.listed.values().flatten() {
        if let Some(capture) = one.capture {
            let own = one.legs.iter().filter(|(account, _)| Some(*account) == one.scope);
            let cents = own.map(|(_, cents)| cents).sum();
            stories.entry(capture.hold.0).or_default().captures.insert(one.transaction, cents);
        }
    }
    stories
}

/// What a capture takes out of the held account, a liability.
fn taken(body: Body<'_>) -> Option<i64> {
    let Body::Transfer(transfer) = body else { return None };
    let own = transfer.legs.iter().filter(|(account, _)| Some(*account) == transfer.scope);
    transfer.capture.map(|_| own.map(|(_, cents)| cents).sum())
}

/// All captures together, those that were told and those that are listed.
fn captured(hold: TransactionId, story: &Story<'_>, found: &mut Found) {
    let sum: i64 = story.captures.values().sum();
    if story.placed.is_some_and(|(most, _)| sum > most) {
        let Story { captures, placed, .. } = story;
        found.wrong(|| format!("{sum} cents of hold {hold} are captured: {captures:?}; {placed:?}"));
    }
}

/// In the order of places: a hold takes no command once it has ended.
fn after_the_end(case: &Case<'_>, hold: TransactionId, story: &Story<'_>, found: &mut Found) {
    let mut ended: Option<Place> = None;
    for (place, (call, held)) in &story.done {
        if let Some(end) = ended {
            found.wrong(|| format!("hold {hold} had ended at {end:?}; at {place:?}: {:?}", call.body));
        }
        // A final capture over several sets ends it only when that is decided.
        let is_last = match call.body {
            Body::Transfer(transfer) => {
                transfer.capture.is_some_and(|capture| capture.is_final)
                    && case.history.sets_across(transfer).is_none()
            }
            Body::Other(_) => held.is_some_and(|held| held.state != HoldState::Open),
        };
        ended = ended.or(is_last.then_some(*place));
    }
}

fn in_the_end(case: &Case<'_>, stories: &BTreeMap<TransactionId, Story<'_>>, found: &mut Found) {
    let mut listed: HashMap<TransactionId, &FoundHold> = HashMap::new();
    for hold in case.witness.held.values().flatten() {
        if listed.insert(hold.held.hold.0, hold).is_some() {
            found.wrong(|| format!("a hold is listed twice: {hold:?}"));
        }
        if stories.get(&hold.held.hold.0).is_none_or(|story| story.placed.is_none()) {
            found.wrong(|| format!("nobody was told of that hold: {hold:?}"));
        }
        found.checked += 1;
        timely(hold, found);
    }
    for (hold, story) in stories.iter().filter(|(_, story)| story.placed.is_some()) {
        let Some(shown) = listed.get(hold) else {
            found.wrong(|| format!("hold {hold} was acknowledged, and is not there in the end"));
            continue;
        };
        let placed = story.placed.and_then(|(_, end)| end);
        for (place, (call, held)) in &story.done {
            let before = shown.journal.iter().rev().filter(|line| line.place < *place);
            let mut extended = before.filter_map(|line| match line.change {
                HoldChange::Extended { expires_ns } => Some(expires_ns),
                _ => None,
            });
            let end = extended.next().unwrap_or(placed);
            if end.is_some_and(|end| place.time_ns >= end) {
                found.wrong(|| {
                    format!("{:?} succeeded at {place:?}, and the hold's time was over at {end:?}", call.body)
                });
            }
            let is_line = |change: HoldChange| match (held, change) {
                (None, HoldChange::Captured { .. }) => true,
                (Some(_), HoldChange::Released { .. }) => {
                    matches!(call.body, Body::Other(Ask::ReleaseHold { .. }))
                }
                (Some(_), HoldChange::Extended { .. }) => {
                    matches!(call.body, Body::Other(Ask::ExtendHold { .. }))
                }
                _ => false,
            };
            // A capture over several sets is in the journal where it was decided.
            let is_there = shown.journal.iter().any(|line| {
                is_line(line.change)
                    && match line.change {
                        HoldChange::Captured { by, .. } => {
                            matches!(call.answer, Answer::Booked { transaction, .. } if *transaction == by)
                        }
                        _ => line.place == *place,
                    }
            });
            if !is_there {
                found.wrong(|| {
                    format!(
                        "{:?} succeeded at {place:?}, of which the hold knows nothing: {shown:?}",
                        call.body
                    )
                });
            }
        }
    }
}

/// A hold's own journal: nothing but what was in hand already is captured or given back once its time is over.
fn timely(hold: &FoundHold, found: &mut Found) {
    let mut times = hold.journal.iter().map(|line| line.place.time_ns);
    let rises = times.clone().zip(times.by_ref().skip(1)).all(|(one, next)| one <= next);
    let early = hold.journal.iter().any(|line| {
        matches!(line.change, HoldChange::Expired { .. })
            && hold.held.expires_ns.is_none_or(|end| line.place.time_ns < end)
    });
    if !rises || early {
        found.wrong(|| format!("the journal of {hold:?} is out of time"));
    }
}

/// In the end what an account holds back is what is left of its holds, and what is over was put away.
pub fn put_away(case: &Case<'_>) -> Found {
    let mut found = Found::default();
    for hold in case.witness.held.values().flatten() {
        found.checked += 1;
        let Held { state, left, capturing, .. } = hold.held;
        if capturing != 0 || state != HoldState::Open && left != 0 {
            found.wrong(|| format!("it is over, and keeps something back: {hold:?}"));
        }
    }
    for (account, answer) in case.last_accounts() {
        let (Some(Answer::Account { as_of, figures }), true) =
            (answer, case.witness.held.contains_key(&account))
        else {
            continue;
        };
        found.checked += 1;
        let left = left_at(case, account, as_of.place.index);
        if (figures.held, figures.incoming) != (left, 0) {
            let id = &case.history.accounts[account as usize];
            found.wrong(|| {
                format!("of the holds of {id} {left} are left in the end, and it shows {figures:?}")
            });
        }
    }
    found
}

/// What was left of the holds of an account as of an index, by their last list.
pub fn left_at(case: &Case<'_>, account: u32, index: u64) -> i64 {
    let holds = case.witness.held.get(&account).into_iter().flatten();
    let placed = holds.filter(|hold| hold.placed.index <= index);
    let left = placed.map(|hold| {
        let later = hold.journal.iter().filter(|line| line.place.index > index);
        hold.held.left + later.map(|line| line.change.cents()).sum::<i64>()
    });
    left.sum()
}
