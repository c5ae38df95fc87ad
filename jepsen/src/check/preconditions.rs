//! Preconditions and dry runs, beside the model: what an account had posted before a transaction, and how often something was booked on
//! it, is added up from the lists alone; so is what was available, where nothing was ever set aside. What was booked on a condition must
//! have met it there, and what was refused for one must have missed it. And what was only tried is nowhere. Pure.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::witness::{Body, Call, asked};
use super::{Case, Found};
use crate::history::marks::Figure;
use crate::history::{Answer, Ask, Place, Transfer};

/// What an account has behind each of its transactions.
type Courses = HashMap<u32, Vec<(Place, i64, u64)>>;

/// Every answer to a transaction with preconditions, of one set.
pub fn preconditions(case: &Case<'_>) -> Found {
    let mut found = Found::default();
    let conditional: Vec<(Call<'_>, &Transfer)> = asked(case.history)
        .filter_map(|call| match call.body {
            Body::Transfer(transfer) if transfer.expects().next().is_some() => Some((call, transfer)),
            _ => None,
        })
        .filter(|(_, transfer)| case.history.sets_across(transfer).is_none())
        .collect();
    if conditional.is_empty() {
        return found;
    }
    for words in &case.witness.unlisted {
        found.missing(|| words.clone());
    }
    let courses = courses(case);
    let aside = set_aside(case);
    for (call, transfer) in conditional {
        let Some((place, _)) = call.answer.decided() else { continue };
        if !case.witness.listed.contains_key(&place.set) {
            continue;
        }
        found.checked += 1;
        // Of those that can be told from the lists: what was there, and what was wanted.
        let mut met = Vec::new();
        let mut known = true;
        for (account, figure, wanted) in transfer.expects() {
            let is_available = matches!(figure, Figure::AvailableMin | Figure::AvailableMax);
            if is_available && aside.contains(&account) {
                known = false;
                continue;
            }
            let (posted, version) = before(&courses, account, place);
            met.push((figure.holds(posted, version, wanted), figure, wanted, posted, version));
        }
        let missed = met.iter().find(|(holds, ..)| !holds);
        match call.answer {
            Answer::Booked { .. } => {
                if let Some((_, figure, wanted, posted, version)) = missed {
                    found.wrong(|| {
                        format!(
                            "operation {} was booked at {place:?} on {figure:?} of {wanted}, where {posted} were posted by {version} postings: {transfer:?}",
                            call.at.op
                        )
                    });
                }
            }
            Answer::Rejected { code, .. } if code == CODE && known && missed.is_none() => {
                found.wrong(|| {
                    format!(
                        "operation {} was refused for a precondition at {place:?}, and all of them held: {met:?}: {transfer:?}",
                        call.at.op
                    )
                });
            }
            // Floors are looked at behind preconditions.
            Answer::Rejected { code, .. } if code == "limit_exceeded" => {
                if let Some((_, figure, wanted, posted, version)) = missed {
                    found.wrong(|| {
                        format!(
                            "operation {} was refused for a floor at {place:?} before {figure:?} of {wanted}, where {posted} were posted by {version} postings: {transfer:?}",
                            call.at.op
                        )
                    });
                }
            }
            _ => {}
        }
    }
    found
}

/// The code of a refusal for a precondition.
const CODE: &str = "precondition_failed";

/// What was posted by account, in the order of places, as its own side counts.
fn courses(case: &Case<'_>) -> Courses {
    let mut debit_normal = HashSet::new();
    for op in &case.history.ops {
        if let Ask::Open { account, subject, .. } = &op.ask
            && ["asset", "expense"].contains(&subject.as_str())
        {
            debit_normal.insert(*account);
        }
    }
    let mut courses = Courses::new();
    for row in case.witness.listed.values().flatten() {
        let mut moved: BTreeMap<u32, (i64, u64)> = BTreeMap::new();
        for (account, cents) in &row.legs {
            let (sum, count) = moved.entry(*account).or_default();
            *sum += if debit_normal.contains(account) { *cents } else { -cents };
            *count += 1;
        }
        for (account, (sum, count)) in moved {
            let course = courses.entry(account).or_default();
            let (posted, version) = course.last().map_or((0, 0), |(_, posted, version)| (*posted, *version));
            course.push((row.place, posted + sum, version + count));
        }
    }
    courses
}

fn before(courses: &Courses, account: u32, place: Place) -> (i64, u64) {
    let Some(course) = courses.get(&account) else { return (0, 0) };
    let earlier = course.partition_point(|(at, ..)| *at < place);
    earlier.checked_sub(1).map_or((0, 0), |last| (course[last].1, course[last].2))
}

/// Accounts on which something may be set aside some time.
fn set_aside(case: &Case<'_>) -> HashSet<u32> {
    let mut aside = HashSet::new();
    for op in &case.history.ops {
        if let Ask::PlaceHold { account, .. } = &op.ask {
            aside.insert(*account);
        }
    }
    for call in asked(case.history) {
        if let Body::Transfer(transfer) = call.body
            && case.history.sets_across(transfer).is_some()
        {
            aside.extend(transfer.legs.iter().map(|(account, _)| *account));
        }
    }
    aside
}

/// What the model says to dry runs where they looked, and that nothing came of them.
pub fn dry_runs(case: &Case<'_>) -> Found {
    let mut found = case.replay.foreseen.clone();
    let tried = case.history.ops.iter().filter_map(|op| match &op.ask {
        Ask::DryRun(transfer) => Some(transfer.id.as_str()),
        _ => None,
    });
    let mut tried: HashSet<&str> = tried.collect();
    for call in asked(case.history) {
        tried.remove(call.body.id());
    }
    found.checked += tried.len() as u64;
    for row in case.witness.listed.values().flatten().filter(|row| tried.contains(row.id.as_str())) {
        found.wrong(|| format!("nobody asked for it but by dry runs, and it is booked: {row:?}"));
    }
    found
}
