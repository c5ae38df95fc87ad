//! Sweeps (ADR 18): a standing order on an account. What may be withdrawn of it beyond what is to stay goes to another account,
//! again and again: by an interval, whenever it is above a threshold, or at the day-cut. This file keeps what is known of one, when its
//! next run is due, and how the transaction of a run is named; the rules are [`crate::apply`]'s, and the set's leader runs them.
//!
//! ```text
//! due --run--> nothing to move: it is counted
//!         `--> a transaction: booked at once, or sent on its way: it is counted
//!                        +--> over several sets: counted, and open until that has ended
//!                        `--> refused: counted, and open until the refusal is written down
//! ```

use std::collections::BTreeMap;

use rust_decimal::Decimal;

use crate::account::{Account, AccountNo};
use crate::canary::{self, Canary};
use crate::command::{Leg, LegKind, Metadata, Transaction};
use crate::id::TransactionId;
use crate::rejection::Rejection;

/// Sweeps of one set at most: its leader looks at all of them several times a second.
pub const SWEEPS_MAX: usize = 10_000;
/// Seconds between two runs at most: 366 days.
pub const INTERVAL_S_MAX: u32 = 366 * 86_400;
/// How long a sweep rests after a refused run if its schedule alone would have it run at once.
pub const PAUSE_NS: u64 = 60 * SECOND_NS;
/// The metadata of a run's transaction that names its sweep.
pub const SWEEP_KEY: &str = "twinset.sweep";

const SECOND_NS: u64 = 1_000_000_000;
const DAY_NS: u64 = 86_400 * SECOND_NS;

/// When a sweep runs, as asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Schedule {
    /// Every so many seconds.
    Every {
        /// 1 to [`INTERVAL_S_MAX`].
        seconds: u32,
        /// The ledger time that intervals are counted from, in nanoseconds since the Unix epoch, and the first run if it is still to come;
        /// None: when the sweep is set.
        from_ns: Option<u64>,
    },
    /// Whenever more may be withdrawn.
    Above {
        /// In major units; not less than what stays.
        amount: Decimal,
    },
    /// At the day-cut: when the day that entries without an accounting date are booked on has changed.
    Daily,
}

/// Sets the sweep of an account, in place of the one that it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetSweep {
    /// The client's idempotency key, within the account.
    pub request_id: String,
    /// The account that money is taken from.
    pub account: String,
    /// The account that gets it, of any set, in the same currency.
    pub to: String,
    /// What stays, in major units, not negative.
    pub keep: Decimal,
    /// When.
    pub schedule: Schedule,
}

/// When a sweep runs, in an account's minor units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timing {
    /// As of [`Schedule::Every`].
    Every {
        /// Of the interval.
        seconds: u32,
        /// That intervals are counted from.
        from_ns: u64,
    },
    /// As of [`Schedule::Above`].
    Above {
        /// In minor units.
        minor: i128,
    },
    /// As of [`Schedule::Daily`].
    Daily,
}

/// A sweep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sweep {
    /// Its name: where it was set.
    pub id: TransactionId,
    /// The account that money is taken from.
    pub account: AccountNo,
    /// The account that gets it.
    pub to: String,
    /// What stays, in minor units.
    pub keep: i128,
    /// When it runs.
    pub timing: Timing,
    /// The number of its last run; 0: none.
    pub runs: u32,
    /// It does not run before this ledger time, in nanoseconds since the Unix epoch.
    pub next_ns: u64,
    /// The last run's transaction, while what came of it is not written down.
    pub open: Option<TransactionId>,
}

/// What came of a run that was not booked at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunEnd {
    /// There was nothing to move.
    Nothing,
    /// Its transaction over several sets is booked.
    Booked,
    /// Its transaction was refused.
    Refused(Rejection),
}

impl Timing {
    /// When the next run is due after this ledger time.
    pub(crate) fn next_after(self, time_unix_ns: u64) -> u64 {
        let (from_ns, step) = match self {
            Timing::Every { seconds, from_ns } => (from_ns, u64::from(seconds) * SECOND_NS),
            Timing::Above { .. } => return time_unix_ns,
            Timing::Daily => (0, DAY_NS),
        };
        let Some(past) = time_unix_ns.checked_sub(from_ns) else { return from_ns };
        let steps = past / step + 1;
        steps.checked_mul(step).and_then(|later| from_ns.checked_add(later)).unwrap_or(u64::MAX)
    }
}

impl Sweep {
    /// What it may move of its account now, in minor units: what is withdrawable beyond what stays and beyond the floor. Zero or less:
    /// nothing.
    pub fn movable(&self, account: &Account) -> i128 {
        let keep = if canary::on(Canary::NothingStays) { 0 } else { self.keep };
        let stays = account.limit.map_or(keep, |limit| limit.max(keep));
        account.withdrawable().saturating_sub(stays)
    }

    /// Whether its next run is due at that ledger time.
    pub fn is_due(&self, account: &Account, time_unix_ns: u64) -> bool {
        let wanted = match self.timing {
            Timing::Above { minor } => account.withdrawable() > minor && self.movable(account) > 0,
            Timing::Every { .. } | Timing::Daily => true,
        };
        wanted && self.open.is_none() && self.next_ns <= time_unix_ns
    }

    /// Whether that is the number of its next run, and that is due.
    pub(crate) fn awaits(&self, run: u32, account: &Account, time_unix_ns: u64) -> bool {
        self.runs.checked_add(1) == Some(run) && self.is_due(account, time_unix_ns)
    }
}

/// Outside the alphabet of ids.
const RUNS: &str = "~sweep-";

/// The request id of the transaction of a sweep's run. No client can name it.
pub fn run_id(sweep: TransactionId, run: u32) -> String {
    format!("{RUNS}{sweep}-{run}")
}

/// The sweep and the run whose [`run_id`] the text is; no other spelling of it is one.
pub fn run_of(text: &str) -> Option<(TransactionId, u32)> {
    let (sweep, run) = text.strip_prefix(RUNS)?.rsplit_once('-')?;
    let (sweep, run) = (sweep.parse().ok()?, run.parse().ok()?);
    (run_id(sweep, run) == text).then_some((sweep, run))
}

/// The transaction of a sweep's next run that moves so many minor units; `account` is the one that is swept.
pub fn transaction(sweep: &Sweep, account: &Account, minor: i128) -> Transaction {
    let amount = Decimal::from_i128_with_scale(minor, account.scale.into());
    let leg = |account_id: &str, side, kind| Leg {
        currency: Some(account.currency.clone()),
        kind,
        ..Leg::new(account_id, side, amount)
    };
    let from = leg(&account.id, account.normal_side.opposite(), LegKind::Withdrawal);
    let to = leg(&sweep.to, account.normal_side, LegKind::Ordinary);
    Transaction {
        request_id: run_id(sweep.id, sweep.runs.saturating_add(1)),
        scope_account: Some(account.id.clone()),
        legs: vec![from, to],
        metadata: Metadata::from([(SWEEP_KEY.to_owned(), sweep.id.to_string())]),
        ..Transaction::default()
    }
}

/// The sweeps of a set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sweeps {
    by_account: BTreeMap<AccountNo, Sweep>,
}

impl Sweeps {
    /// That of an account.
    pub fn get(&self, account: AccountNo) -> Option<&Sweep> {
        self.by_account.get(&account)
    }

    /// All, in the order of their accounts' numbers.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Sweep> {
        self.by_account.values()
    }

    /// Those of accounts behind one; None: all. In the order of their accounts' numbers.
    pub fn behind(&self, account: Option<AccountNo>) -> impl Iterator<Item = &Sweep> {
        use std::ops::Bound::{Excluded, Unbounded};
        let from = account.map_or(Unbounded, Excluded);
        self.by_account.range((from, Unbounded)).map(|(_, sweep)| sweep)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.by_account.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.by_account.is_empty()
    }

    /// Puts one in the place of what its account had.
    pub(crate) fn put(&mut self, sweep: Sweep) {
        self.by_account.insert(sweep.account, sweep);
    }

    /// Takes away that of an account.
    pub(crate) fn remove(&mut self, account: AccountNo) -> Option<Sweep> {
        self.by_account.remove(&account)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{ID_BYTES_MAX, Position, is_valid};

    #[test]
    fn runs_have_one_name_that_no_client_can_use() {
        let sweep = TransactionId { set: 3, incarnation: 1, position: Position::new(77, 12) };
        assert_eq!(run_id(sweep, 4), "~sweep-3-1-77-12-4");
        assert_eq!(run_of("~sweep-3-1-77-12-4"), Some((sweep, 4)));
        let position = Position::new((1 << 48) - 1, u16::MAX);
        let longest = TransactionId { set: u32::MAX, incarnation: u32::MAX, position };
        let longest = run_id(longest, u32::MAX);
        assert!(longest.len() <= ID_BYTES_MAX && !is_valid(&longest), "{longest}");
        for other in ["3-1-77-12-4", "~sweep-3-1-77-12", "~sweep-3-1-77-12-04", "~sweep-3-1-77-12--4", "~end"]
        {
            assert_eq!(run_of(other), None, "{other}");
        }
    }

    #[test]
    fn the_next_run_is_after_now_whatever_was_missed() {
        let every = |seconds, from_ns| Timing::Every { seconds, from_ns };
        for (timing, now, next) in [
            (every(10, 5 * SECOND_NS), 0, 5 * SECOND_NS),
            (every(10, 5 * SECOND_NS), 5 * SECOND_NS - 1, 5 * SECOND_NS),
            (every(10, 5 * SECOND_NS), 5 * SECOND_NS, 15 * SECOND_NS),
            (every(10, 5 * SECOND_NS), 99 * SECOND_NS, 105 * SECOND_NS),
            (every(10, 5 * SECOND_NS), u64::MAX, u64::MAX),
            (Timing::Daily, 0, DAY_NS),
            (Timing::Daily, DAY_NS - 1, DAY_NS),
            (Timing::Daily, DAY_NS, 2 * DAY_NS),
            (Timing::Daily, u64::MAX, u64::MAX),
            (Timing::Above { minor: 3 }, 7, 7),
        ] {
            assert_eq!(timing.next_after(now), next, "{timing:?} at {now}");
        }
    }
}
