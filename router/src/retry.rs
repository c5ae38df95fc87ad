//! The truth table of hold and retry, pure: given what happened to an item so far, what may still be said about it.
//! Never a guess: after one attempt without a definite answer, `not_applied` is never said again. Used by
//! [`crate::pending`], which keeps the items; it sends nothing itself.

use bytes::Bytes;
use twinset_ledger::canary::{self, Canary};
use twinset_proto::cluster::v1::{Refusal, RefusalReason, item_reply};

use crate::error::{Code, Error};

/// The definite good answer to an item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Done {
    /// One outcome per command, in the ledger's wire form.
    pub outcomes: Vec<Bytes>,
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
    /// Tell the client.
    Answer(Result<Done, Error>),
    /// Send it again, with the same request ids.
    Retry(Cause),
}

impl History {
    /// An attempt starts.
    pub fn sent(&mut self) {
        self.in_flight = true;
    }

    /// An attempt ended without an answer for the client.
    pub fn ended(&mut self, cause: Cause) {
        self.in_flight = false;
        self.indefinite |= !cause.is_definite();
        self.last = Some(cause);
    }

    /// Whether it may have happened.
    pub fn may_have_happened(&self) -> bool {
        self.indefinite || self.in_flight
    }

    /// What the client hears when its deadline passes.
    pub fn at_deadline(&self) -> Error {
        if self.may_have_happened() && !canary::on(Canary::UnknownToldAsNotApplied) {
            return Error::new(
                Code::Unknown,
                "sent, and no definite answer came before the deadline; ask again with the same request id",
            );
        }
        match self.last {
            Some(Cause::Overloaded | Cause::Late) => Error::new(
                Code::DeadlineExceeded,
                "the set had too much to do until the deadline; nothing was applied",
            ),
            Some(_) | None => Error::new(
                Code::NoLeader,
                "no leader of the set took the request before the deadline; nothing was applied",
            ),
        }
    }

    /// What a node's refusal for good may be told as.
    fn refused_for_good(&self, code: Code, detail: &str) -> Error {
        if self.indefinite {
            return Error::new(
                Code::Unknown,
                format!("an earlier attempt has no known end; the last was refused: {detail}"),
            );
        }
        Error::new(code, format!("refused by the node: {detail}"))
    }
}

/// What to do with a reply to an item of `commands` commands.
pub fn on_reply(history: &History, commands: usize, result: Option<item_reply::Result>) -> Next {
    match result {
        Some(item_reply::Result::Done(done)) if done.outcomes.len() == commands => {
            Next::Answer(Ok(Done { outcomes: done.outcomes }))
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
            Next::Answer(Err(history.refused_for_good(Code::Malformed, &refusal.detail)))
        }
        RefusalReason::WrongSet => {
            Next::Answer(Err(history.refused_for_good(Code::WrongSet, &refusal.detail)))
        }
        // A reason this build does not know proves nothing.
        RefusalReason::RefusalUnspecified => Next::Retry(Cause::Unknown),
    }
}

#[cfg(test)]
mod tests {
    use twinset_proto::cluster::v1::Outcomes;

    use super::*;
    use crate::error::Outcome;

    #[test]
    fn at_the_deadline_only_what_is_certain_is_said() {
        use Cause::*;
        let table: &[(&[Cause], bool, Code)] = &[
            (&[], false, Code::NoLeader),
            (&[], true, Code::Unknown),
            (&[NotLeader], false, Code::NoLeader),
            (&[Draining], false, Code::NoLeader),
            (&[NotLeader, Overloaded], false, Code::DeadlineExceeded),
            (&[Late], false, Code::DeadlineExceeded),
            (&[NotLeader], true, Code::Unknown),
            (&[Broken], false, Code::Unknown),
            (&[Unknown], false, Code::Unknown),
            (&[Superseded], false, Code::Unknown),
            (&[Broken, NotLeader, NotLeader], false, Code::Unknown),
            (&[NotLeader, Unknown, Overloaded], false, Code::Unknown),
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
            let error = history.at_deadline();
            assert_eq!(error.code(), expected.as_str(), "{attempts:?} in flight: {in_flight}");
            assert_eq!(error.outcome() == Outcome::Unknown, *expected == Code::Unknown);
        }
    }

    fn refused(reason: RefusalReason) -> Option<item_reply::Result> {
        let refusal = Refusal { reason: reason.into(), leader: String::new(), detail: "why".into() };
        Some(item_reply::Result::Refused(refusal))
    }

    #[test]
    fn every_reply_has_one_meaning() {
        let clean = History::default();
        let dirty = History { indefinite: true, ..History::default() };
        let code = |next: Next| match next {
            Next::Answer(Err(error)) => error.code(),
            Next::Answer(Ok(_)) => "ok",
            Next::Retry(cause) => cause.as_str(),
        };
        let done = |n| {
            Some(item_reply::Result::Done(Outcomes {
                outcomes: vec![Bytes::new(); n],
                ..Outcomes::default()
            }))
        };
        let table = [
            (done(2), "ok", "ok"),
            (done(1), "unknown", "unknown"),
            (None, "unknown", "unknown"),
            (Some(item_reply::Result::Unknown("x".into())), "unknown", "unknown"),
            (refused(RefusalReason::NotLeader), "not_leader", "not_leader"),
            (refused(RefusalReason::NotHosted), "not_leader", "not_leader"),
            (refused(RefusalReason::Draining), "draining", "draining"),
            (refused(RefusalReason::Overloaded), "overloaded", "overloaded"),
            (refused(RefusalReason::Deadline), "late", "late"),
            (refused(RefusalReason::Malformed), "malformed", "unknown"),
            (refused(RefusalReason::WrongSet), "wrong_set", "unknown"),
            (refused(RefusalReason::RefusalUnspecified), "unknown", "unknown"),
        ];
        for (reply, when_clean, when_dirty) in table {
            assert_eq!(code(on_reply(&clean, 2, reply.clone())), when_clean, "{reply:?}");
            assert_eq!(
                code(on_reply(&dirty, 2, reply.clone())),
                when_dirty,
                "{reply:?} after an indefinite attempt"
            );
        }
    }
}
