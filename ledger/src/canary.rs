//! Bugs on purpose, to show that the consistency tests see them. They exist only in builds with the feature `canaries`, where
//! each process can switch on one by its name; in every other build [`on`] is always false and nothing of them is left. It is
//! here because every crate that has one can see this one.
//!
//! The same answer on every replica: a canary in apply is switched on for all nodes or for none.

use std::collections::BTreeSet;

use crate::attempt::Coordination;
use crate::command::Leg;
use crate::outcome::Posted;

/// A bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Canary {
    /// The gate opens when an entry is committed, not when it is on disk in each site.
    ReplyBeforeSafe = 1,
    /// A request id is forgotten after a hundred more entries.
    ForgottenRequests,
    /// A leader answers linearizable reads without asking anybody whether it still leads.
    StaleLeaderRead,
    /// A linearizable read does not wait until what was committed before is applied.
    ReadBeforeApply,
    /// Every unconfirmed answer says that it is of this very moment.
    NoAge,
    /// The limit is checked for the first command of an entry only.
    LimitOfTheFirst,
    /// At its deadline the router says `not_applied` of what it has sent.
    UnknownToldAsNotApplied,
    /// The sync of the log is left out, and reported as done.
    NoSync,
    /// Ledger time is the leader's clock, also where that went backwards.
    ClockAsLedgerTime,
    /// The last transaction of a page is left out.
    ShortPage,
    /// A known request id gives its first result, whatever is asked.
    AnyBodyIsTheSame,
    /// Rejections are not remembered.
    ForgottenRejections,
    /// A reversal may take back more than the original.
    EndlessReversal,
    /// A freeze does not stop two-leg transactions.
    IgnoredFreeze,
    /// The first two results of a batch are exchanged.
    ExchangedResults,
    /// A replay names the position and the time of its own command.
    ReplayInANewPlace,
    /// Every thousandth entry books a cent less on one side.
    LostCent,
    /// An account that is not empty can be closed.
    ClosedWithMoney,
    /// A snapshot leaves out which requests are known.
    SnapshotWithoutRequests,
    /// Reads do not wait for the gate.
    UngatedRead,
    /// Slots are counted from the other end: accounts live in sets that do not own them.
    SlotsBackwards,
    /// The router loses every other reply of a lane, the first thousand excepted.
    LostReplies,
    /// A leader that paused its writes for a switch never takes them up again.
    EndlessPause,
    /// A linearizable read does not wait for word from the away site.
    ReadWithoutAwaySite,
    /// A coordinator does not tell the last of the other sets to book.
    CommitToAllButOne,
    /// A new leader of a coordinator lets the other sets give back what was decided to be booked.
    DecisionForgotten,
    /// What squares a set's own legs of a transaction over several is not booked.
    ClearingLegLeftOut,
    /// To prepare a part sets nothing aside.
    NothingSetAside,
    /// A coordinator answers when it has decided, not when all sets have booked.
    AnsweredBeforeBooked,
    /// Who asks again for what was booked over several sets begins another attempt.
    RetryBeginsAnew,
    /// A set that has waited too long gives its part back without asking its coordinator.
    AbortsByItself,
    /// What attempts under way may take back is left for another one.
    OpenReversalsDoNotCount,
    /// Every twentieth entry in which a set is told to book its part does so twice.
    PartBookedTwice,
    /// What was set aside for a transaction that is not booked stays set aside.
    GivesNothingBack,
    /// Whether the legs of several sets balance together is not looked at.
    AnythingBalances,
    /// A capture within one set is booked, and its hold knows nothing of it.
    CaptureLeavesTheHold,
    /// A hold takes commands after its time, until it is put away.
    IgnoredExpiry,
    /// What is given back of a hold is not available again.
    ReleasedStaysHeld,
    /// A final capture ends a hold without giving the rest back.
    FinalKeepsTheRest,
    /// What the reversal of a capture gives back is held, not available.
    ReversalIntoTheHold,
    /// Nobody puts a hold away whose time is over.
    HoldsAreKept,
    /// Of an atomic batch that is refused, what stands before the culprit is booked.
    PartOfABatch,
    /// A page of a statement begins one posting too late.
    SkippedPosting,
    /// The balance after an entry is the one before it.
    BalanceTooEarly,
    /// A stream of events that is resumed passes over its first one.
    LostEvent,
    /// Outboxes send all twice, and what comes again is booked again.
    OutboxReplayed,
    /// Every twentieth entry puts none of its parcels into the outbox.
    ParcelForgotten,
    /// What squares a credit from another set is not booked.
    CreditWithoutClearingLeg,
    /// A run leaves the time of the next one as it was.
    SweptTwice,
    /// A sweep moves what is to stay, too.
    NothingStays,
    /// Leaders forget a sweep that has run twice.
    ForgottenSweep,
    /// A withdrawal may take what is restricted.
    WithdrawalOfRestricted,
    /// What a group has together lacks its last part.
    GroupWithoutAPart,
    /// A set goes on with one site before that is on record, and without a lease.
    DegradedBeforeRecord,
    /// A recovery does not wait until the last lease of a DEGRADED leader is over.
    LeaseNotWaitedOut,
    /// A recovery goes on with the log of the surviving voter, whatever the learner has.
    LearnerNotAsked,
    /// SYNC is recorded while answers still go out with one site.
    SyncBeforeGate,
    /// A replica that a recovery has left behind goes on with its old log when it is back.
    OldLogGoesOn,
    /// A plan that was stopped is resumed by whoever carries plans out, too.
    PlanResumedTwice,
    /// A version that a precondition asks for is not looked at.
    VersionOverlooked,
    /// What is to be posted at least must be more than that.
    AtLeastIsMore,
    /// What is only tried takes every request id for a new one.
    DryRunOfNewIds,
    /// What was to be tried is booked.
    DryRunBooks,
    /// What reversals took back by naming legs counts for none that comes later.
    LegSumsForgotten,
}

impl Canary {
    /// All of them.
    pub const ALL: [Canary; 64] = [
        Canary::ReplyBeforeSafe,
        Canary::ForgottenRequests,
        Canary::StaleLeaderRead,
        Canary::ReadBeforeApply,
        Canary::NoAge,
        Canary::LimitOfTheFirst,
        Canary::UnknownToldAsNotApplied,
        Canary::NoSync,
        Canary::ClockAsLedgerTime,
        Canary::ShortPage,
        Canary::AnyBodyIsTheSame,
        Canary::ForgottenRejections,
        Canary::EndlessReversal,
        Canary::IgnoredFreeze,
        Canary::ExchangedResults,
        Canary::ReplayInANewPlace,
        Canary::LostCent,
        Canary::ClosedWithMoney,
        Canary::SnapshotWithoutRequests,
        Canary::UngatedRead,
        Canary::SlotsBackwards,
        Canary::LostReplies,
        Canary::EndlessPause,
        Canary::ReadWithoutAwaySite,
        Canary::CommitToAllButOne,
        Canary::DecisionForgotten,
        Canary::ClearingLegLeftOut,
        Canary::NothingSetAside,
        Canary::AnsweredBeforeBooked,
        Canary::RetryBeginsAnew,
        Canary::AbortsByItself,
        Canary::OpenReversalsDoNotCount,
        Canary::PartBookedTwice,
        Canary::GivesNothingBack,
        Canary::AnythingBalances,
        Canary::CaptureLeavesTheHold,
        Canary::IgnoredExpiry,
        Canary::ReleasedStaysHeld,
        Canary::FinalKeepsTheRest,
        Canary::ReversalIntoTheHold,
        Canary::HoldsAreKept,
        Canary::PartOfABatch,
        Canary::SkippedPosting,
        Canary::BalanceTooEarly,
        Canary::LostEvent,
        Canary::OutboxReplayed,
        Canary::ParcelForgotten,
        Canary::CreditWithoutClearingLeg,
        Canary::SweptTwice,
        Canary::NothingStays,
        Canary::ForgottenSweep,
        Canary::WithdrawalOfRestricted,
        Canary::GroupWithoutAPart,
        Canary::DegradedBeforeRecord,
        Canary::LeaseNotWaitedOut,
        Canary::LearnerNotAsked,
        Canary::SyncBeforeGate,
        Canary::OldLogGoesOn,
        Canary::PlanResumedTwice,
        Canary::VersionOverlooked,
        Canary::AtLeastIsMore,
        Canary::DryRunOfNewIds,
        Canary::DryRunBooks,
        Canary::LegSumsForgotten,
    ];

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Canary::ReplyBeforeSafe => "reply-before-safe",
            Canary::ForgottenRequests => "forgotten-requests",
            Canary::StaleLeaderRead => "stale-leader-read",
            Canary::ReadBeforeApply => "read-before-apply",
            Canary::NoAge => "no-age",
            Canary::LimitOfTheFirst => "limit-of-the-first",
            Canary::UnknownToldAsNotApplied => "unknown-told-as-not-applied",
            Canary::NoSync => "no-sync",
            Canary::ClockAsLedgerTime => "clock-as-ledger-time",
            Canary::ShortPage => "short-page",
            Canary::AnyBodyIsTheSame => "any-body-is-the-same",
            Canary::ForgottenRejections => "forgotten-rejections",
            Canary::EndlessReversal => "endless-reversal",
            Canary::IgnoredFreeze => "ignored-freeze",
            Canary::ExchangedResults => "exchanged-results",
            Canary::ReplayInANewPlace => "replay-in-a-new-place",
            Canary::LostCent => "lost-cent",
            Canary::ClosedWithMoney => "closed-with-money",
            Canary::SnapshotWithoutRequests => "snapshot-without-requests",
            Canary::UngatedRead => "ungated-read",
            Canary::SlotsBackwards => "slots-backwards",
            Canary::LostReplies => "lost-replies",
            Canary::EndlessPause => "endless-pause",
            Canary::ReadWithoutAwaySite => "read-without-away-site",
            Canary::CommitToAllButOne => "commit-to-all-but-one",
            Canary::DecisionForgotten => "decision-forgotten",
            Canary::ClearingLegLeftOut => "clearing-leg-left-out",
            Canary::NothingSetAside => "nothing-set-aside",
            Canary::AnsweredBeforeBooked => "answered-before-booked",
            Canary::RetryBeginsAnew => "retry-begins-anew",
            Canary::AbortsByItself => "aborts-by-itself",
            Canary::OpenReversalsDoNotCount => "open-reversals-do-not-count",
            Canary::PartBookedTwice => "part-booked-twice",
            Canary::GivesNothingBack => "gives-nothing-back",
            Canary::AnythingBalances => "anything-balances",
            Canary::CaptureLeavesTheHold => "capture-leaves-the-hold",
            Canary::IgnoredExpiry => "ignored-expiry",
            Canary::ReleasedStaysHeld => "released-stays-held",
            Canary::FinalKeepsTheRest => "final-keeps-the-rest",
            Canary::ReversalIntoTheHold => "reversal-into-the-hold",
            Canary::HoldsAreKept => "holds-are-kept",
            Canary::PartOfABatch => "part-of-a-batch",
            Canary::SkippedPosting => "skipped-posting",
            Canary::BalanceTooEarly => "balance-too-early",
            Canary::LostEvent => "lost-event",
            Canary::OutboxReplayed => "outbox-replayed",
            Canary::ParcelForgotten => "parcel-forgotten",
            Canary::CreditWithoutClearingLeg => "credit-without-clearing-leg",
            Canary::SweptTwice => "swept-twice",
            Canary::NothingStays => "nothing-stays",
            Canary::ForgottenSweep => "forgotten-sweep",
            Canary::WithdrawalOfRestricted => "withdrawal-of-restricted",
            Canary::GroupWithoutAPart => "group-without-a-part",
            Canary::DegradedBeforeRecord => "degraded-before-record",
            Canary::LeaseNotWaitedOut => "lease-not-waited-out",
            Canary::LearnerNotAsked => "learner-not-asked",
            Canary::SyncBeforeGate => "sync-before-gate",
            Canary::OldLogGoesOn => "old-log-goes-on",
            Canary::PlanResumedTwice => "plan-resumed-twice",
            Canary::VersionOverlooked => "version-overlooked",
            Canary::AtLeastIsMore => "at-least-is-more",
            Canary::DryRunOfNewIds => "dry-run-of-new-ids",
            Canary::DryRunBooks => "dry-run-books",
            Canary::LegSumsForgotten => "leg-sums-forgotten",
        }
    }

    /// The canary of that name.
    pub fn named(name: &str) -> Option<Canary> {
        Canary::ALL.into_iter().find(|canary| canary.as_str() == name)
    }
}

#[cfg(feature = "canaries")]
static SWITCHED_ON: std::sync::atomic::AtomicU8 = std::sync::atomic::AtomicU8::new(0);

/// Where a process finds the name of its bug.
pub const VARIABLE: &str = "TWINSET_CANARY";

/// What ends the version of a program that has the bugs.
pub const MARK: &str = "+canaries";

/// The version that a program tells: one that has the bugs says so.
pub const VERSION: &str = match cfg!(feature = "canaries") {
    true => concat!(env!("CARGO_PKG_VERSION"), "+canaries"),
    false => env!("CARGO_PKG_VERSION"),
};

/// Switches the bug of that name on for the rest of this process. An empty name: none.
///
/// # Panics
/// If no bug is called so: a test of nothing would pass.
#[cfg(feature = "canaries")]
pub fn switch_on(name: &str) {
    if !name.is_empty() {
        let canary = Canary::named(name).unwrap_or_else(|| panic!("no canary is called {name}"));
        SWITCHED_ON.store(canary as u8, std::sync::atomic::Ordering::Relaxed);
    }
}

/// Whether this process has that bug.
#[cfg(feature = "canaries")]
pub fn on(canary: Canary) -> bool {
    SWITCHED_ON.load(std::sync::atomic::Ordering::Relaxed) == canary as u8
}

/// Whether this process has that bug: never in this build.
#[cfg(not(feature = "canaries"))]
pub const fn on(_: Canary) -> bool {
    false
}

/// What a coordinator that does not wait for the `others` tells the client, of its `own` legs and of what it asked them for; None
/// from every sound one.
pub fn told_too_soon(
    coordination: &Coordination,
    others: &BTreeSet<u32>,
    own: &[Posted],
) -> Option<Vec<Posted>> {
    if !on(Canary::AnsweredBeforeBooked) {
        return None;
    }
    let asked = |leg: &Leg| Posted {
        account: leg.account.clone(),
        side: leg.side,
        amount: leg.amount.mantissa(),
        scale: u8::try_from(leg.amount.scale()).unwrap_or(u8::MAX),
        posted: 0,
        available: 0,
    };
    let mut own = own.iter().cloned();
    let legs = coordination.legs.iter().zip(&coordination.sets);
    legs.map(|(leg, set)| if others.contains(set) { Some(asked(leg)) } else { own.next() }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_known_by_its_own_name() {
        for (number, canary) in (1..).zip(Canary::ALL) {
            assert_eq!(canary as u8, number, "{canary:?} is missing among all");
            assert_eq!(Canary::named(canary.as_str()), Some(canary));
        }
        assert_eq!(Canary::named(""), None);
    }
}
