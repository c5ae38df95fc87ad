//! The checkers: pure functions from a history and the books to violations. Each has tests with a wrong history that it
//! must catch. They send nothing and know nothing of processes.

mod answers;
mod held;
mod order;
mod reads;

use crate::books::Books;
use crate::history::History;

/// One broken promise, in words that name the request.
pub type Violation = String;

/// Everything that is wrong with a history and the books that it left behind, each with the name of its check.
pub fn all(history: &History, books: &Books) -> Vec<Violation> {
    let checks = [
        ("one result each", answers::one_result_each(history)),
        ("other bodies are refused", answers::other_bodies_are_refused(history)),
        ("wishes come out right", answers::wishes_come_out_right(history)),
        ("nothing stays open", answers::nothing_stays_open(history)),
        ("positions are unique", order::positions_are_unique(history)),
        ("time follows position", order::time_follows_position(history)),
        ("real-time order", order::real_time_order(history)),
        ("balances as of their position", reads::balances_are_as_of_their_position(history)),
        ("linearizable reads are fresh", reads::linearizable_reads_are_fresh(history)),
        ("found as answered", held::found_as_answered(history, books)),
        ("rejections are no transactions", held::rejections_are_no_transactions(history, books)),
        ("not applied is not there", held::what_was_not_applied_is_not_there(history, books)),
        ("listed exactly once", held::listed_exactly_once(history, books)),
        ("balances", held::balances(history, books)),
    ];
    let named = |(name, found): (&str, Vec<Violation>)| {
        found.into_iter().map(move |violation| format!("{name}: {violation}")).collect::<Vec<_>>()
    };
    checks.into_iter().flat_map(named).collect()
}

/// Short histories for the checkers' tests.
#[cfg(test)]
pub(crate) mod tests {
    use crate::history::{Answer, Asked, Call, History, Place, Wish};

    pub fn place(index: u64, time: u128) -> Place {
        Place { set: 1, index, time }
    }

    pub fn booked(index: u64, replayed: bool) -> Answer {
        let transaction = format!("1-1-{index}-0").parse().unwrap();
        Answer::Booked { transaction, place: place(index, index.into()), replayed }
    }

    pub fn rejected(code: &str, index: u64, replayed: bool) -> Answer {
        Answer::Rejected { code: code.into(), place: Some(place(index, index.into())), replayed }
    }

    pub fn not_applied() -> Answer {
        Answer::NotApplied { code: "no_leader".into() }
    }

    pub fn call(begin_us: u64, end_us: u64, answer: Answer) -> Call {
        Call { router: 0, other_body: false, begin_us, end_us, answer }
    }

    pub fn asked(id: &str, calls: Vec<Call>) -> Asked {
        Asked { id: id.into(), wish: Wish { debit: 0, credit: 1, cents: 150, doomed: false }, calls }
    }

    pub fn history(requests: Vec<Asked>) -> History {
        History { accounts: vec!["{t}:0".into(), "{t}:1".into()], requests, reads: Vec::new() }
    }

    /// A request that was booked at `index`, in a call from `begin_us` to `end_us`.
    pub fn one(id: &str, index: u64, begin_us: u64, end_us: u64) -> Asked {
        asked(id, vec![call(begin_us, end_us, booked(index, false))])
    }
}
