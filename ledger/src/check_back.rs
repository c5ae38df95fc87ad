//! Check-back of overdue holds (ADR 15): whoever placed a hold may name an initiator, who is asked once its time is over,
//! instead of the hold ending by itself. This file keeps what is known of that, and how a confirmation is named; the rules are
//! [`crate::apply`]'s, and who calls whom is the node's business.
//!
//! ```text
//! overdue --try--> pending, failed: the next try is due later
//!            +---> cancelled: the hold is released
//!            +---> confirmed: a final capture, which is a transaction
//!            `---> after the last try: the last resort, which may be to keep it
//! ```

use crate::account::Account;
use crate::command::{Leg, Transaction};
use crate::hold::{Capture, Hold};
use crate::id::TransactionId;
use crate::rejection::CODES;

/// Tries between two extensions of a hold at most, those that a last resort takes included.
pub const TRIES_MAX: u32 = 100;

/// What comes of a hold when its time is over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum OnExpiry {
    /// It ends, and gives back what is left.
    #[default]
    Release,
    /// It is overdue until its initiator has said what is to come of it.
    CheckBack(CheckBack),
}

/// Who is asked about an overdue hold, and who is paid if it is confirmed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckBack {
    /// The name of an initiator in the nodes' configuration.
    pub initiator: String,
    /// The id of the account that confirmed money is paid to, of any set.
    pub to: String,
}

/// How far the check-back of a hold is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asking {
    /// As placed.
    pub terms: CheckBack,
    /// The number of the last try that is written down; 0: none.
    pub tries: u32,
    /// The same when the expiry was last moved: tries count from there.
    pub tries_before: u32,
    /// No try is taken before this ledger time, in nanoseconds since the Unix epoch.
    pub next_ns: u64,
    /// A confirmation over several sets is under way.
    pub confirming: bool,
    /// Nobody is asked any more: a person has to end it.
    pub kept: bool,
}

/// What came of a try. Proposed by nodes only, and counted once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckedBack {
    /// The hold.
    pub hold: TransactionId,
    /// The number of the try: the next one, or nothing comes of it.
    pub no: u32,
    /// What came of it.
    pub came: Came,
}

/// What can come of a try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Came {
    /// The initiator does not know yet.
    Pending {
        /// From this ledger time on the next try is due, in nanoseconds since the Unix epoch.
        next_ns: u64,
    },
    /// There was no answer that anything could be made of.
    Failed {
        /// Why.
        why: Failure,
        /// As of [`Came::Pending`].
        next_ns: u64,
    },
    /// The initiator wants nothing of it: the hold is released.
    Cancelled,
    /// The last resort: the hold is released.
    Released,
    /// The last resort: it stays as it is, and nobody is asked any more.
    Kept,
    /// It was captured, as the initiator or the last resort says. In journals only: the transaction does it.
    Confirmed,
}

/// Why a try has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The connection was refused, or broke.
    Unreachable,
    /// The answer did not come in time.
    TimedOut,
    /// Another HTTP status than 200.
    Status,
    /// The answer is not one that may be given.
    Answer,
    /// The ledger refuses the capture that was asked for.
    Refused {
        /// [`crate::Rejection::number`].
        number: u16,
    },
}

impl Failure {
    /// The name that people see; of a refusal its code. Never changes.
    pub fn name(self) -> &'static str {
        match self {
            Failure::Unreachable => "unreachable",
            Failure::TimedOut => "timed_out",
            Failure::Status => "bad_status",
            Failure::Answer => "bad_answer",
            Failure::Refused { number } => CODES[usize::from(number) - 1],
        }
    }

    /// Whether a refusal names one that there is.
    pub(crate) fn is_sound(self) -> bool {
        match self {
            Failure::Refused { number } => (1..=CODES.len()).contains(&usize::from(number)),
            _ => true,
        }
    }
}

impl Came {
    /// The name that people see. Never changes.
    pub fn name(self) -> &'static str {
        match self {
            Came::Pending { .. } => "pending",
            Came::Failed { .. } => "failed",
            Came::Cancelled => "cancelled",
            Came::Released => "released",
            Came::Kept => "kept",
            Came::Confirmed => "confirmed",
        }
    }

    /// Why it has failed, if it has.
    pub fn why(self) -> Option<Failure> {
        match self {
            Came::Failed { why, .. } => Some(why),
            _ => None,
        }
    }

    /// When the next try is due.
    pub fn next_ns(self) -> Option<u64> {
        match self {
            Came::Pending { next_ns } | Came::Failed { next_ns, .. } => Some(next_ns),
            _ => None,
        }
    }
}

impl Asking {
    /// Nobody was asked yet.
    pub(crate) fn new(terms: CheckBack) -> Self {
        Asking { terms, tries: 0, tries_before: 0, next_ns: 0, confirming: false, kept: false }
    }

    /// The expiry was moved: tries count anew.
    pub(crate) fn extended(&mut self) {
        (self.tries_before, self.next_ns, self.kept) = (self.tries, 0, false);
    }

    /// Tries since the expiry was last moved.
    pub fn tries_in_a_row(&self) -> u32 {
        self.tries - self.tries_before
    }
}

impl Hold {
    /// Whether its time is over at that ledger time and it waits for an answer.
    pub fn is_overdue(&self, time_unix_ns: u64) -> bool {
        let over = self.expires_ns.is_some_and(|end| end <= time_unix_ns);
        over && self.ended.is_none() && self.check_back.is_some()
    }

    /// From which ledger time on the next try is due; None: nobody is to be asked.
    pub fn asked_from_ns(&self) -> Option<u64> {
        let asking = self.check_back.as_ref().filter(|asking| !asking.confirming && !asking.kept)?;
        let end = self.expires_ns.filter(|_| self.ended.is_none())?;
        Some(end.max(asking.next_ns))
    }

    /// Whether that is the number of the next try, and the try is due.
    pub(crate) fn awaits(&self, no: u32, time_unix_ns: u64) -> bool {
        let due = self.asked_from_ns().is_some_and(|from| from <= time_unix_ns);
        due && self.check_back.as_ref().is_some_and(|asking| asking.tries.checked_add(1) == Some(no))
    }
}

/// Outside the alphabet of ids.
const CONFIRMS: &str = "~confirm-";

/// The request id of the capture that confirms a hold, by the try of that number. No client can name it.
pub fn confirmation_id(hold: TransactionId, no: u32) -> String {
    format!("{CONFIRMS}{hold}-{no}")
}

/// The hold and the try whose [`confirmation_id`] the text is; no other spelling of it is one.
pub fn confirmation_of(text: &str) -> Option<(TransactionId, u32)> {
    let (hold, no) = text.strip_prefix(CONFIRMS)?.rsplit_once('-')?;
    let (hold, no) = (hold.parse().ok()?, no.parse().ok()?);
    (confirmation_id(hold, no) == text).then_some((hold, no))
}

/// The final capture of so many minor units of a hold that is checked back, as the next try asks for; `account` is the held
/// one. Panics if the hold is not checked back.
pub fn confirmation(hold: &Hold, account: &Account, minor: i128) -> Transaction {
    let asking = hold.check_back.as_ref().expect("it is checked back");
    let amount = rust_decimal::Decimal::from_i128_with_scale(minor, account.scale.into());
    let outflow = account.normal_side.opposite();
    let to = Leg::new(&asking.terms.to, account.normal_side, amount);
    Transaction {
        request_id: confirmation_id(hold.id, asking.tries + 1),
        scope_account: Some(account.id.clone()),
        legs: vec![Leg::new(&account.id, outflow, amount), to],
        capture: Some(Capture { hold: hold.id, is_final: true }),
        ..Transaction::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{ID_BYTES_MAX, Position, is_valid};

    #[test]
    fn confirmations_have_one_name_that_no_client_can_use() {
        let hold = TransactionId { set: 3, incarnation: 1, position: Position::new(77, 12) };
        assert_eq!(confirmation_id(hold, 4), "~confirm-3-1-77-12-4");
        assert_eq!(confirmation_of("~confirm-3-1-77-12-4"), Some((hold, 4)));
        let position = Position::new((1 << 48) - 1, u16::MAX);
        let longest = TransactionId { set: u32::MAX, incarnation: u32::MAX, position };
        let longest = confirmation_id(longest, u32::MAX);
        assert!(longest.len() <= ID_BYTES_MAX && !is_valid(&longest), "{longest}");
        for other in
            ["3-1-77-12-4", "~confirm-3-1-77-12", "~confirm-3-1-77-12-04", "~confirm-3-1-77-12--4", "~end"]
        {
            assert_eq!(confirmation_of(other), None, "{other}");
        }
    }
}
