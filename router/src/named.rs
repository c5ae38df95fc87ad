//! What clients name: the state of a hold or a restriction by a word, and what has the id of a transaction by that. Pure. Whose
//! state and whose id it is, the modules of the calls say.

use twinset_ledger::TransactionId;

use crate::error::Error;

/// A state that has a word.
pub trait State: Copy + PartialEq + TryFrom<i32> + 'static {
    /// What it is a state of.
    const OF: &'static str;
    /// The states and their words, in the order in which a refusal lists them. One that is not told has none.
    const WORDS: &'static [(&'static str, Self)];
}

/// A state in a word; empty if it is not told.
pub fn word<S: State>(state: S) -> &'static str {
    S::WORDS.iter().find(|(_, other)| *other == state).map_or("", |(word, _)| word)
}

/// Reads such a word.
pub fn state<S: State>(text: &str) -> Result<S, Error> {
    let found = S::WORDS.iter().find(|(word, _)| *word == text).map(|(_, state)| *state);
    found.ok_or_else(|| {
        let words: Vec<_> = S::WORDS.iter().map(|(word, _)| format!("{word:?}")).collect();
        let (last, others) = words.split_last().expect("there are states");
        Error::malformed(format!("state is {} or {last}, not {text:?}", others.join(", ")))
    })
}

/// Refuses a number that stands for no such state.
pub fn known<S: State>(state: i32) -> Result<(), Error> {
    let none = |_| Error::malformed(format!("state {state} is none of a {}", S::OF));
    S::try_from(state).map(|_| ()).map_err(none)
}

/// Reads the id of something that has a transaction's. `what` says in a refusal what it should be, up to its form.
pub fn id(text: &str, what: &str) -> Result<TransactionId, Error> {
    let form = "set-incarnation-index-offset: four decimal numbers";
    text.parse().map_err(|_| Error::malformed(format!("{text:?} is no {what} {form}")))
}

#[cfg(test)]
mod tests {
    use twinset_proto::ledger::v1::{HoldState, RestrictionState};

    use super::*;
    use crate::holds::parse_hold;
    use crate::restrictions::parse_restriction;

    fn said<T: std::fmt::Debug>(refused: Result<T, Error>) -> String {
        refused.expect_err("it is refused").to_string()
    }

    #[test]
    fn states_have_one_word_each() {
        for (word, state) in HoldState::WORDS {
            assert_eq!((super::word(*state), super::state(word)), (*word, Ok(*state)));
        }
        for (word, state) in RestrictionState::WORDS {
            assert_eq!((super::word(*state), super::state(word)), (*word, Ok(*state)));
        }
        assert_eq!((word(HoldState::Unspecified), word(RestrictionState::Unspecified)), ("", ""));
        assert_eq!(
            said(state::<HoldState>("Open")),
            "state is \"open\", \"overdue\", \"captured\", \"released\" or \"expired\", not \"Open\""
        );
        assert_eq!(
            said(state::<RestrictionState>("")),
            "state is \"open\", \"released\", \"expired\" or \"reversed\", not \"\""
        );
    }

    #[test]
    fn states_of_no_number_are_refused() {
        assert_eq!((known::<HoldState>(5), known::<RestrictionState>(0)), (Ok(()), Ok(())));
        assert_eq!(said(known::<HoldState>(6)), "state 6 is none of a hold");
        assert_eq!(said(known::<RestrictionState>(-1)), "state -1 is none of a restriction");
    }

    #[test]
    fn ids_of_another_form_are_refused() {
        assert_eq!(parse_hold("1-2-3-4"), "1-2-3-4".parse().map_err(|_| unreachable!()));
        assert_eq!(
            said(parse_hold("7")),
            "\"7\" is no hold's id, which is set-incarnation-index-offset: four decimal numbers"
        );
        assert_eq!(
            said(parse_restriction("1-1-1")),
            "\"1-1-1\" is no restriction's id, which is its transaction's, set-incarnation-index-offset: four decimal numbers"
        );
    }
}
