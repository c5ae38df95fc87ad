//! The truth table of hold and retry, pure: given what happened to an item so far, what may still be said about it.
//! Never a guess: after one attempt without a definite answer, `not_applied` is never said again. Used by
//! [`crate::pending`], which keeps the items; it sends nothing itself.

use bytes::Bytes;
use twinset_ledger::canary::{self, Canary};
use twinset_proto::cluster::v1::{Refusal, RefusalReason, item_reply};

use crate::failure::{Failure, Kind};

/// The definite good answer to an item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Done {
    /// One outcome per command, in the ledger's wire form.
    pub outcomes: Vec<Bytes>,
    /// An attempt to send it before this one ended without a definite answer: it may have done, or may yet do, what
    /// these outcomes do not tell.
    pub indefinite: bool,
}

/// Why an item is sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Cause {
    /// The node does not lead the set (or does not host it).
    NotLeader,
    /// The node, or the set at the node, is being emptied.
    Draining,
    /// The node has too much to do.
    Overloaded,
    /// The node dropped it because its deadline was near.
    Late,
    /// The node handed it to the log and cannot say what became of it.
    Unknown,
    /// The stream ended with the item on it.
    Broken,
    /// Another node leads by now and the old one stays silent.
    Superseded,
}

impl Cause {
    /// Every cause, for metrics.
    pub const ALL: [Cause; 7] = [
        Cause::NotLeader,
        Cause::Draining,
        Cause::Overloaded,
        Cause::Late,
        Cause::Unknown,
        Cause::Broken,
        Cause::Superseded,
    ];

    /// The label in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Cause::NotLeader => "not_leader",
            Cause::Draining => "draining",
            Cause::Overloaded => "overloaded",
            Cause::Late => "late",
            Cause::Unknown => "unknown",
            Cause::Broken => "broken",
            Cause::Superseded => "superseded",
        }
    }

    /// Whether the attempt certainly left no trace.
    pub fn is_definite(self) -> bool {
        !matches!(self, Cause::Unknown | Cause::Broken | Cause::Superseded)
    }
}

/// What happened to an item so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// Some attempt ended without a definite answer.
    pub indefinite: bool,
    /// It is on its way now.
    pub in_flight: bool,
    /// Why the last attempt that ended did not do.
    pub last: Option<Cause>,
}

/// What to do after a reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Tell the caller.
    Answer(Result<Done, Failure>),
    /// Send it again, with the same request ids.
    Retry(Cause),
}

impl History {
    /// An attempt starts.
    pub fn sent(&mut self) {
        self.in_flight = true;
    }

    /// An attempt ended without an answer for the caller.
    pub fn ended(&mut self, cause: Cause) {
        self.in_flight = false;
        self.indefinite |= !cause.is_definite();
        self.last = Some(cause);
    }

    /// Whether it may have happened.
    pub fn may_have_happened(&self) -> bool {
        self.indefinite || self.in_flight
    }

    /// What the caller hears when its deadline passes.
    pub fn at_deadline(&self) -> Failure {
        if self.may_have_happened() && !canary::on(Canary::UnknownToldAsNotApplied) {
            return Failure::new(
                Kind::Unknown,
                "sent, and no definite answer came before the deadline; ask again with the same request id",
            );
        }
        match self.last {
            Some(Cause::Overloaded | Cause::Late) => Failure::new(
                Kind::DeadlineExceeded,
                "the set had too much to do until the deadline; nothing was applied",
            ),
            Some(_) | None => Failure::new(
                Kind::NoLeader,
                "no leader of the set took the request before the deadline; nothing was applied",
            ),
        }
    }

    /// What a node's refusal for good may be told as.
    fn refused_for_good(&self, kind: Kind, detail: &str) -> Failure {
        if self.indefinite {
            return Failure::new(
                Kind::Unknown,
                format!("an earlier attempt has no known end; the last was refused: {detail}"),
            );
        }
        Failure::new(kind, format!("refused by the node: {detail}"))
    }
}

/// What to do with a reply to an item of `commands` commands.
pub fn on_reply(history: &History, commands: usize, result: Option<item_reply::Result>) -> Next {
    match result {
        Some(item_reply::Result::Done(done)) if done.outcomes.len() == commands => {
            Next::Answer(Ok(Done { outcomes: done.outcomes, indefinite: history.indefinite }))
        }
        // A reply that cannot be read says nothing about what happened.
        Some(item_reply::Result::Done(_) | item_reply::Result::Unknown(_)) | None => {
            Next::Retry(Cause::Unknown)
        }
        Some(item_reply::Result::Refused(refusal)) => on_refusal(history, &refusal),
    }
}

fn on_refusal(history: &History, refusal: &Refusal) -> Next {
    match refusal.reason() {
        RefusalReason::NotLeader | RefusalReason::NotHosted => Next::Retry(Cause::NotLeader),
        RefusalReason::Draining => Next::Retry(Cause::Draining),
        RefusalReason::Overloaded => Next::Retry(Cause::Overloaded),
        RefusalReason::Deadline => Next::Retry(Cause::Late),
        RefusalReason::Malformed => {
            Next::Answer(Err(history.refused_for_good(Kind::Malformed, &refusal.detail)))
        }
        RefusalReason::WrongSet => {
            Next::Answer(Err(history.refused_for_good(Kind::WrongSet, &refusal.detail)))
        }
        // A reason this build does not know proves nothing, nor does one that only a question is refused for.
        RefusalReason::IndexBuilding | RefusalReason::RefusalUnspecified => Next::Retry(Cause::Unknown),
    }
}

#[cfg(test)]
mod tests {
    use twinset_proto::cluster::v1::Outcomes;

    use super::*;

    #[test]
    fn at_the_deadline_only_what_is_certain_is_said() {
        use Cause::*;
        let table: &[(&[Cause], bool, Kind)] = &[
            (&[], false, Kind::NoLeader),
            (&[], true, Kind::Unknown),
            (&[NotLeader], false, Kind::NoLeader),
            (&[Draining], false, Kind::NoLeader),
            (&[NotLeader, Overloaded], false, Kind::DeadlineExceeded),
            (&[Late], false, Kind::DeadlineExceeded),
            (&[NotLeader], true, Kind::Unknown),
            (&[Broken], false, Kind::Unknown),
            (&[Unknown], false, Kind::Unknown),
            (&[Superseded], false, Kind::Unknown),
            (&[Broken, NotLeader, NotLeader], false, Kind::Unknown),
            (&[NotLeader, Unknown, Overloaded], false, Kind::Unknown),
        ];
        for (attempts, in_flight, expected) in table {
            let mut history = History::default();
            for cause in *attempts {
                history.sent();
                history.ended(*cause);
            }
            if *in_flight {
                history.sent();
            }
            assert_eq!(history.at_deadline().kind, *expected, "{attempts:?} in flight: {in_flight}");
        }
    }

    fn refused(reason: RefusalReason) -> Option<item_reply::Result> {
        let refusal = Refusal { reason: reason.into(), leader: String::new(), detail: "why".into() };
        Some(item_reply::Result::Refused(refusal))
    }

    /// What a reply means.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum Meaning {
        Done { indefinite: bool },
        Told(Kind),
        Again(Cause),
    }

    fn meaning(next: Next) -> Meaning {
        match next {
            Next::Answer(Ok(done)) => Meaning::Done { indefinite: done.indefinite },
            Next::Answer(Err(failure)) => Meaning::Told(failure.kind),
            Next::Retry(cause) => Meaning::Again(cause),
        }
    }

    #[test]
    fn every_reply_has_one_meaning() {
        use Meaning::{Again, Told};
        let clean = History::default();
        let dirty = History { indefinite: true, ..History::default() };
        let done = |n| {
            Some(item_reply::Result::Done(Outcomes {
                outcomes: vec![Bytes::new(); n],
                ..Outcomes::default()
            }))
        };
        let same = |meaning| (meaning, meaning);
        let table = [
            (done(2), (Meaning::Done { indefinite: false }, Meaning::Done { indefinite: true })),
            (done(1), same(Again(Cause::Unknown))),
            (None, same(Again(Cause::Unknown))),
            (Some(item_reply::Result::Unknown("x".into())), same(Again(Cause::Unknown))),
            (refused(RefusalReason::NotLeader), same(Again(Cause::NotLeader))),
            (refused(RefusalReason::NotHosted), same(Again(Cause::NotLeader))),
            (refused(RefusalReason::Draining), same(Again(Cause::Draining))),
            (refused(RefusalReason::Overloaded), same(Again(Cause::Overloaded))),
            (refused(RefusalReason::Deadline), same(Again(Cause::Late))),
            (refused(RefusalReason::Malformed), (Told(Kind::Malformed), Told(Kind::Unknown))),
            (refused(RefusalReason::WrongSet), (Told(Kind::WrongSet), Told(Kind::Unknown))),
            (refused(RefusalReason::RefusalUnspecified), same(Again(Cause::Unknown))),
        ];
        for (reply, (when_clean, when_dirty)) in table {
            assert_eq!(meaning(on_reply(&clean, 2, reply.clone())), when_clean, "{reply:?}");
            assert_eq!(
                meaning(on_reply(&dirty, 2, reply.clone())),
                when_dirty,
                "{reply:?} after an indefinite attempt"
            );
        }
    }
}
