//! The books at the end of a run: every transfer that was found is replayed in the order of its position, and everything that
//! anybody was told is compared with that: acknowledged transfers, balances after them, refusals for want of money, reads at
//! their index, limits at every position. Pure.

use std::collections::BTreeMap;

use twinset_ledger::TransactionId;

use crate::history::{Decided, History, Request};

/// What one account had after each transfer that touched it, in the order of positions (index and place in the entry).
type Course = BTreeMap<String, Vec<((u64, u16), i64)>>;

/// The transfers of one set by position, with their request ids.
type Booked<'a> = BTreeMap<(u64, u16), (&'a str, &'a Request)>;

/// What is wrong; nothing, if the books balance.
pub fn check(history: &History) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut booked: BTreeMap<u32, Booked<'_>> = BTreeMap::new();
    for (id, request) in &history.requests {
        let found = request.found.as_ref();
        match (found, &request.decided) {
            (None, _) => wrong.push(format!("liveness: {id} was not looked up")),
            (Some(found), Some(decided)) if found.as_ref() != Some(decided) => {
                wrong.push(format!("lost: {id} was answered {decided:?} and is now {found:?}"));
            }
            _ => {}
        }
        if let Some(Some(Decided::Booked(transaction))) = found {
            let before = booked.entry(transaction.set).or_default().insert(place(transaction), (id, request));
            if let Some((other, _)) = before {
                wrong.push(format!("unique positions: {id} and {other} are both at {transaction}"));
            }
        }
    }
    let mut courses: BTreeMap<u32, Course> = BTreeMap::new();
    for (set, transfers) in &booked {
        courses.insert(*set, replay(*set, transfers, &mut wrong));
    }
    for (id, request) in &history.requests {
        if let Some(Some(Decided::Rejected { code, set, index })) = &request.found {
            let refused = (id.as_str(), code.as_str(), *index);
            check_rejection(refused, request, courses.get(set), &mut wrong);
        }
    }
    for look in &history.looks {
        let course = courses.get(&look.set).and_then(|course| course.get(&look.shown.account));
        let expected = course.map_or(0, |course| at(course, (look.index, u16::MAX)));
        if (look.shown.posted, look.shown.available) != (expected, expected) {
            wrong.push(format!(
                "reads: {} had {expected} at {}/{}, but {:?} was read",
                look.shown.account, look.set, look.index, look.shown
            ));
        }
    }
    wrong
}

fn place(transaction: &TransactionId) -> (u64, u16) {
    (transaction.position.index(), transaction.position.offset())
}

/// Books the transfers of one set, one after the other.
fn replay(set: u32, transfers: &Booked<'_>, wrong: &mut Vec<String>) -> Course {
    let mut course = Course::new();
    for (position, (id, request)) in transfers {
        let transfer = &request.transfer;
        for (account, change) in [(&transfer.from, -transfer.cents), (&transfer.to, transfer.cents)] {
            let steps = course.entry(account.clone()).or_default();
            let balance = steps.last().map_or(0, |(_, balance)| *balance) + change;
            steps.push((*position, balance));
            if balance < 0 && !account.ends_with("bank") {
                wrong.push(format!("limits: {account} has {balance} after {id} at {set}/{position:?}"));
            }
            let told = request.shown.iter().find(|shown| shown.account == *account);
            if let Some(told) = told.filter(|told| (told.posted, told.available) != (balance, balance)) {
                wrong.push(format!(
                    "balances: {account} has {balance} after {id}, but the answer said {told:?}"
                ));
            }
        }
    }
    course
}

/// The balance after everything up to `position`.
fn at(course: &[((u64, u16), i64)], position: (u64, u16)) -> i64 {
    let after = course.partition_point(|(step, _)| *step <= position);
    after.checked_sub(1).map_or(0, |last| course[last].1)
}

/// A refusal tells its entry, not its place in it: some balance that the account had in that entry must have been too small.
fn check_rejection(
    (id, code, index): (&str, &str, u64),
    request: &Request,
    course: Option<&Course>,
    wrong: &mut Vec<String>,
) {
    let transfer = &request.transfer;
    if code != "limit_exceeded" {
        wrong.push(format!("rejections: {id} was refused: {code}"));
        return;
    }
    let steps = course.and_then(|course| course.get(&transfer.from)).map_or(&[][..], |steps| &steps[..]);
    let before = index.checked_sub(1).map_or(0, |before| at(steps, (before, u16::MAX)));
    let within = steps.iter().filter(|((step, _), _)| *step == index).map(|(_, balance)| *balance);
    let least = within.fold(before, i64::min);
    if transfer.from.ends_with("bank") || least >= transfer.cents {
        wrong.push(format!(
            "rejections: {id} was refused {} at {index}, although {} had at least {least}",
            transfer.cents, transfer.from
        ));
    }
}

#[cfg(test)]
mod tests {
    use twinset_ledger::Position;

    use super::*;
    use crate::history::{Look, Shown, Transfer};

    fn booked(index: u64) -> Decided {
        Decided::Booked(TransactionId { set: 1, incarnation: 1, position: Position::new(index, 0) })
    }

    fn refused(index: u64) -> Decided {
        Decided::Rejected { code: "limit_exceeded".to_owned(), set: 1, index }
    }

    fn add(history: &mut History, id: &str, from: &str, cents: i64, decided: Decided) {
        let transfer = Transfer { from: from.to_owned(), to: "x".to_owned(), cents };
        history.begin(id, &transfer);
        history.requests.get_mut(id).unwrap().found = Some(Some(decided.clone()));
        history.decided(id, decided, Vec::new(), false);
    }

    fn good() -> History {
        let mut history = History::default();
        add(&mut history, "1", "bank", 100, booked(1));
        add(&mut history, "2", "y", 50, refused(2));
        add(&mut history, "3", "bank", 10, booked(3));
        look(&mut history, 2, 100);
        history
    }

    fn look(history: &mut History, index: u64, cents: i64) {
        let shown = Shown { account: "x".to_owned(), posted: cents, available: cents };
        history.looks.push(Look { set: 1, index, shown });
    }

    #[track_caller]
    fn finds(what: &str, spoil: impl FnOnce(&mut History)) {
        let mut history = good();
        spoil(&mut history);
        let wrong = check(&history);
        assert!(wrong.iter().any(|wrong| wrong.starts_with(what)), "{what}: {wrong:?}");
    }

    #[test]
    fn books_that_balance_are_fine_and_every_other_is_noticed() {
        assert_eq!(check(&good()), Vec::<String>::new());
        finds("lost", |history| history.requests.get_mut("1").unwrap().found = Some(None));
        finds("lost", |history| history.requests.get_mut("1").unwrap().found = Some(Some(booked(9))));
        finds("liveness", |history| history.requests.get_mut("1").unwrap().found = None);
        finds("unique", |history| add(history, "4", "bank", 1, booked(3)));
        finds("limits", |history| add(history, "4", "z", 1, booked(4)));
        finds("reads", |history| look(history, 3, 100));
        finds("reads", |history| look(history, 2, 110));
        finds("rejections", |history| add(history, "4", "bank", 1, refused(4)));
        finds("rejections", |history| {
            history.requests.get_mut("2").unwrap().transfer.from = "x".to_owned();
        });
        finds("balances", |history| {
            let shown = Shown { account: "x".to_owned(), posted: 109, available: 110 };
            history.requests.get_mut("3").unwrap().shown = vec![shown];
        });
    }
}
