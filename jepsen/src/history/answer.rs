//! What an answer means, whatever was asked: whether it is the last word, where it was decided, as of when it is.

use super::{Answer, AsOf, Ask, Place};

/// The codes of `not_applied` that name a passing trouble.
const PASSING: [&str; 9] = [
    "group_unknown",
    "leg_on_group",
    "unsent",
    "no_leader",
    "overloaded",
    "set_queue_full",
    "no_catalogue",
    "deadline_exceeded",
    "wrong_set",
];

impl Answer {
    /// Whether it, or a part of it, may still happen.
    pub fn is_open(&self) -> bool {
        match self {
            Answer::Unknown { .. } => true,
            Answer::Batch(answers) => answers.iter().any(Answer::is_open),
            _ => false,
        }
    }

    /// Where it was decided, by a definite answer to a write.
    pub fn decided(&self) -> Option<(Place, bool)> {
        match self {
            Answer::Done { place, replayed }
            | Answer::Booked { place, replayed, .. }
            | Answer::Held { place, replayed, .. }
            | Answer::Released { place, replayed, .. }
            | Answer::Rejected { place, replayed, .. } => Some((*place, *replayed)),
            _ => None,
        }
    }

    /// Where an attempt was begun that was given up.
    pub fn given_up(&self) -> Option<Place> {
        match self {
            Answer::GivenUp { place } => Some(*place),
            _ => None,
        }
    }

    /// Whether nothing happened, by a definite word that is not the ledger's last one.
    pub fn is_nothing(&self) -> bool {
        matches!(self, Answer::GivenUp { .. } | Answer::NotApplied { .. })
    }

    /// As of when a read is.
    pub fn as_of(&self) -> Option<AsOf> {
        match self {
            Answer::Account { as_of, .. }
            | Answer::Transaction { as_of, .. }
            | Answer::Page { as_of, .. }
            | Answer::Hold { as_of, .. }
            | Answer::Holds { as_of, .. }
            | Answer::Restriction { as_of, .. }
            | Answer::Restrictions { as_of, .. }
            | Answer::Statement { as_of, .. }
            | Answer::Balance { as_of, .. }
            | Answer::Suspense { as_of, .. }
            | Answer::Swept { as_of, .. }
            | Answer::Foreseen { as_of, .. }
            | Answer::ForeseenRefusal { as_of, .. }
            | Answer::Absent { as_of } => Some(*as_of),
            Answer::Transit { from, .. } => match from.as_slice() {
                [one] => Some(one.as_of),
                _ => None,
            },
            Answer::Events { as_of, age_ms, .. } => match as_of.as_slice() {
                [place] => Some(AsOf { place: *place, age_ms: *age_ms }),
                _ => None,
            },
            _ => None,
        }
    }

    /// The same of each thing that a read puts together: the parts of a group are read for themselves.
    pub fn each_as_of(&self) -> Vec<AsOf> {
        match self {
            Answer::Group(found) => found.parts.iter().map(|part| part.as_of).collect(),
            answer => answer.as_of().into_iter().collect(),
        }
    }

    /// Whether asking the same once more can bring nothing new.
    pub fn ends(&self, ask: &Ask) -> bool {
        match self {
            Answer::Batch(items) => items.iter().all(|item| item.ends(ask)),
            // Nobody tries it again: that is how it stands.
            Answer::GivenUp { .. } => !ask.is_write(),
            answer => !answer.is_open() && !answer.will_pass(),
        }
    }

    /// A `not_applied` that says something of the moment, not of what was asked: later it may be done.
    pub fn will_pass(&self) -> bool {
        match self {
            Answer::NotApplied { code } => PASSING.contains(&code.as_str()),
            answer => answer.given_up().is_some(),
        }
    }

    /// How it ended, in a word.
    pub fn kind(&self) -> &'static str {
        match self {
            Answer::Rejected { .. } => "rejected",
            Answer::GivenUp { .. } | Answer::NotApplied { .. } => "not_applied",
            Answer::Unknown { .. } => "unknown",
            _ => "ok",
        }
    }
}
