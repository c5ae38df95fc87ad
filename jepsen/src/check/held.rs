//! Whether the books hold exactly what was answered. Pure.

use std::collections::BTreeMap;

use super::Violation;
use crate::api::{Found, Lookup};
use crate::books::Books;
use crate::history::{Answer, Asked, History};

/// Every request that was answered as booked is found under its id, as it was answered.
pub fn found_as_answered(history: &History, books: &Books) -> Vec<Violation> {
    let mut violations = Vec::new();
    for (number, asked) in history.requests.iter().enumerate().filter(|(_, asked)| asked.booked().is_some()) {
        let lookup = books.lookups.get(&number);
        if !matches!(lookup, Some(Lookup::Found(found)) if as_answered(history, asked, found)) {
            violations.push(format!("request {} is held as {lookup:?}, but: {:?}", asked.id, asked.calls));
        }
    }
    violations
}

/// A request that was rejected is not held as a transaction; it may be told as the rejection that it was.
pub fn rejections_are_no_transactions(history: &History, books: &Books) -> Vec<Violation> {
    let mut violations = Vec::new();
    for (number, asked) in history.requests.iter().enumerate() {
        if asked.decided().is_none() || asked.booked().is_some() {
            continue;
        }
        let lookup = books.lookups.get(&number);
        let fine = match lookup {
            Some(Lookup::Nothing) => true,
            Some(Lookup::Rejected(code)) => was_rejected(asked, code),
            Some(Lookup::Found(_)) | None => false,
        };
        if !fine {
            violations.push(format!("request {} was rejected, but is held as {lookup:?}", asked.id));
        }
    }
    violations
}

fn was_rejected(asked: &Asked, code: &str) -> bool {
    asked.same_body().any(|call| matches!(&call.answer, Answer::Rejected { code: told, .. } if told == code))
}

fn as_answered(history: &History, asked: &Asked, found: &Found) -> bool {
    asked.booked() == Some((found.transaction, found.place))
        && found.request_id == asked.id
        && found.debit == history.scope(asked)
        && found.credit == history.accounts[asked.wish.credit as usize]
        && found.cents == i128::from(asked.wish.cents)
}

/// A request of which every call said that nothing happened is not there.
pub fn what_was_not_applied_is_not_there(history: &History, books: &Books) -> Vec<Violation> {
    let mut violations = Vec::new();
    for (number, asked) in history.requests.iter().enumerate() {
        if asked.was_unknown() || asked.decided().is_some() {
            continue;
        }
        let lookup = books.lookups.get(&number);
        if lookup != Some(&Lookup::Nothing) {
            violations.push(format!("request {} was not applied, but is held as {lookup:?}", asked.id));
        }
    }
    violations
}

/// The lists of all sets hold every booked request exactly once, and nothing else.
pub fn listed_exactly_once(history: &History, books: &Books) -> Vec<Violation> {
    let by_key: BTreeMap<(&str, &str), &Asked> =
        history.requests.iter().map(|asked| ((history.scope(asked), asked.id.as_str()), asked)).collect();
    let mut violations = Vec::new();
    let mut seen: BTreeMap<(&str, &str), u32> = BTreeMap::new();
    for found in &books.listed {
        let key = (found.debit.as_str(), found.request_id.as_str());
        *seen.entry(key).or_default() += 1;
        let known = by_key.get(&key).is_some_and(|asked| as_answered(history, asked, found));
        if !known {
            violations.push(format!("nobody was told of transaction {}: {found:?}", found.transaction));
        }
    }
    for asked in history.requests.iter().filter(|asked| asked.booked().is_some()) {
        let count = seen.get(&(history.scope(asked), asked.id.as_str())).copied().unwrap_or(0);
        if count != 1 {
            violations.push(format!("request {} is listed {count} times", asked.id));
        }
    }
    violations
}

/// Every account's balance is the sum of what was answered as booked.
pub fn balances(history: &History, books: &Books) -> Vec<Violation> {
    let mut expected = vec![0_i128; history.accounts.len()];
    for asked in history.requests.iter().filter(|asked| asked.booked().is_some()) {
        // Liability accounts: a credit raises the balance.
        expected[asked.wish.debit as usize] -= i128::from(asked.wish.cents);
        expected[asked.wish.credit as usize] += i128::from(asked.wish.cents);
    }
    let mut violations = Vec::new();
    for (number, (account, expected)) in history.accounts.iter().zip(expected).enumerate() {
        let held = books.balances.get(number);
        if held != Some(&expected) {
            violations.push(format!("account {account} has {held:?} cents instead of {expected}"));
        }
    }
    violations
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::tests::{asked, call, history, not_applied, one, rejected};

    /// The right books for [`request`].
    fn books() -> Books {
        let found = found("x", 7);
        let lookups = [(0, Lookup::Found(found.clone()))].into();
        Books { lookups, listed: vec![found], balances: vec![-150, 150] }
    }

    fn found(id: &str, index: u64) -> Found {
        Found {
            transaction: format!("1-1-{index}-0").parse().unwrap(),
            place: crate::check::tests::place(index, index.into()),
            request_id: id.into(),
            debit: "{t}:0".into(),
            credit: "{t}:1".into(),
            cents: 150,
        }
    }

    fn request() -> History {
        history(vec![one("x", 7, 0, 1)])
    }

    #[test]
    fn right_books_are_right() {
        assert_eq!(crate::check::all(&request(), &books()), Vec::<String>::new());
    }

    #[test]
    fn a_lost_or_changed_request_is_caught() {
        let (history, mut books) = (request(), books());
        for wrong in [Lookup::Nothing, Lookup::Found(found("x", 8)), Lookup::Found(found("y", 7))] {
            books.lookups.insert(0, wrong);
            assert_eq!(found_as_answered(&history, &books).len(), 1);
        }
        let changed = Found { cents: 151, ..found("x", 7) };
        books.lookups.insert(0, Lookup::Found(changed));
        assert_eq!(found_as_answered(&history, &books).len(), 1);
        books.lookups.clear();
        assert_eq!(
            found_as_answered(&history, &books).len(),
            1,
            "a request that was not looked up proves nothing"
        );
    }

    #[test]
    fn a_rejected_request_that_was_booked_is_caught() {
        let history = history(vec![asked("x", vec![call(0, 1, rejected("limit_exceeded", 7, false))])]);
        assert_eq!(rejections_are_no_transactions(&history, &books()).len(), 1);
        assert_eq!(rejections_are_no_transactions(&history, &Books::default()).len(), 1);
        assert_eq!(listed_exactly_once(&history, &books()).len(), 1);
    }

    #[test]
    fn a_rejection_that_is_told_otherwise_is_caught() {
        let history = history(vec![asked("x", vec![call(0, 1, rejected("limit_exceeded", 7, false))])]);
        let told =
            |code: &str| Books { lookups: [(0, Lookup::Rejected(code.into()))].into(), ..Books::default() };
        assert!(rejections_are_no_transactions(&history, &told("limit_exceeded")).is_empty());
        assert_eq!(rejections_are_no_transactions(&history, &told("account_closed")).len(), 1);
        assert_eq!(found_as_answered(&request(), &told("limit_exceeded")).len(), 1);
    }

    #[test]
    fn a_refusal_that_was_booked_is_caught() {
        let refused = history(vec![asked("x", vec![call(0, 1, not_applied())])]);
        assert_eq!(what_was_not_applied_is_not_there(&refused, &books()).len(), 1);
        let nothing = Books { lookups: [(0, Lookup::Nothing)].into(), ..Books::default() };
        assert!(what_was_not_applied_is_not_there(&refused, &nothing).is_empty());
        let open = history(vec![asked("x", vec![call(0, 1, not_applied()), call(2, 3, Answer::Unknown)])]);
        assert!(what_was_not_applied_is_not_there(&open, &books()).is_empty(), "it may have happened");
    }

    #[test]
    fn a_double_booking_a_phantom_and_a_gap_are_caught() {
        let mut twice = books();
        twice.listed.push(found("x", 7));
        assert_eq!(listed_exactly_once(&request(), &twice), ["request x is listed 2 times"]);
        let mut phantom = books();
        phantom.listed.push(found("y", 8));
        assert_eq!(listed_exactly_once(&request(), &phantom).len(), 1);
        let gap = Books { listed: Vec::new(), ..books() };
        assert_eq!(listed_exactly_once(&request(), &gap), ["request x is listed 0 times"]);
    }

    #[test]
    fn a_wrong_balance_is_caught() {
        for wrong in [vec![-150, 151], vec![-150], vec![0, 0]] {
            assert!(!balances(&request(), &Books { balances: wrong, ..books() }).is_empty());
        }
    }
}
