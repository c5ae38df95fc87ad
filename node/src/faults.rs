//! Faults built into the node, for tests of whole clusters: at a named point the process kills or freezes itself, so that
//! a test meets the very instant it means. Off unless `[faults]` of the configuration names a point; then the log says so
//! at the start. It changes nothing before the point is reached. Armed by `main`; reached from the switch, from the
//! receiving side of snapshots, from both sides of transactions over several sets, and from what a leader does of itself.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tracing::warn;

/// Where a fault can strike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Point {
    /// The switch is recorded in the control set; nothing has moved yet.
    #[serde(rename = "switch.recorded")]
    SwitchRecorded,
    /// The change of voters is in the log, joint or not committed yet.
    #[serde(rename = "switch.joint")]
    SwitchJoint,
    /// The change of voters is committed.
    #[serde(rename = "switch.membership")]
    SwitchMembership,
    /// New writes wait, and nothing is in flight.
    #[serde(rename = "switch.paused")]
    SwitchPaused,
    /// A target holds the whole log.
    #[serde(rename = "switch.caught_up")]
    SwitchCaughtUp,
    /// The target is being asked to lead: the message may have left the process or not.
    #[serde(rename = "switch.asked")]
    SwitchAsked,
    /// The set has a leader in its new home; the end is not recorded yet.
    #[serde(rename = "switch.transferred")]
    SwitchTransferred,
    /// The end is recorded; nobody was told yet.
    #[serde(rename = "switch.completed")]
    SwitchCompleted,
    /// The first part of a set's snapshot has arrived.
    #[serde(rename = "snapshot.receiving")]
    SnapshotReceiving,
    /// The whole of a set's snapshot has arrived; its install comes next.
    #[serde(rename = "snapshot.received")]
    SnapshotReceived,
    /// A set's snapshot is installed; its sender was not told yet.
    #[serde(rename = "snapshot.installed")]
    SnapshotInstalled,
    /// The beginning of an attempt is handed to the coordinator's log.
    #[serde(rename = "across.begin_proposed")]
    AcrossBeginProposed,
    /// The attempt has begun, safely; nobody was asked yet.
    #[serde(rename = "across.begun")]
    AcrossBegun,
    /// The other sets are being asked to prepare.
    #[serde(rename = "across.asked")]
    AcrossAsked,
    /// The first of them has answered.
    #[serde(rename = "across.first_vote")]
    AcrossFirstVote,
    /// There is enough to decide by; nothing is proposed yet.
    #[serde(rename = "across.voted")]
    AcrossVoted,
    /// The decision is handed to the coordinator's log.
    #[serde(rename = "across.decide_proposed")]
    AcrossDecideProposed,
    /// It is decided, safely, that it is booked; nobody was told yet.
    #[serde(rename = "across.decided")]
    AcrossDecided,
    /// It is decided, safely, that nothing is booked; nobody was told yet.
    #[serde(rename = "across.refused")]
    AcrossRefused,
    /// The other sets are being told to book.
    #[serde(rename = "across.telling")]
    AcrossTelling,
    /// The other sets are being told to give back.
    #[serde(rename = "across.undoing")]
    AcrossUndoing,
    /// The first of them has booked.
    #[serde(rename = "across.first_booked")]
    AcrossFirstBooked,
    /// All have booked; the answer is not in the log yet.
    #[serde(rename = "across.booked")]
    AcrossBooked,
    /// The answer is handed to the coordinator's log.
    #[serde(rename = "across.settle_proposed")]
    AcrossSettleProposed,
    /// The answer is in the log, safely; the client was not told yet.
    #[serde(rename = "across.settled")]
    AcrossSettled,
    /// The coordinator has waited long enough for a set; nothing is proposed yet.
    #[serde(rename = "across.giving_up")]
    AcrossGivingUp,
    /// A leader has found an attempt that it did not begin; it has done nothing yet.
    #[serde(rename = "across.resumed")]
    AcrossResumed,
    /// A set is asked to prepare; nothing is proposed yet.
    #[serde(rename = "across.prepare_received")]
    AcrossPrepareReceived,
    /// What it is asked for is handed to its log.
    #[serde(rename = "across.prepare_proposed")]
    AcrossPrepareProposed,
    /// Its part is set aside, safely; the coordinator was not told yet.
    #[serde(rename = "across.prepared")]
    AcrossPrepared,
    /// A set is told to book; nothing is proposed yet.
    #[serde(rename = "across.commit_received")]
    AcrossCommitReceived,
    /// What it is told is handed to its log.
    #[serde(rename = "across.commit_proposed")]
    AcrossCommitProposed,
    /// Its part is booked, safely; the coordinator was not told yet.
    #[serde(rename = "across.committed")]
    AcrossCommitted,
    /// A set is told to give back; nothing is proposed yet.
    #[serde(rename = "across.abort_received")]
    AcrossAbortReceived,
    /// What it is told is handed to its log.
    #[serde(rename = "across.abort_proposed")]
    AcrossAbortProposed,
    /// Its part is given back, safely; the coordinator was not told yet.
    #[serde(rename = "across.aborted")]
    AcrossAborted,
    /// A set has waited too long and is about to ask the coordinator.
    #[serde(rename = "across.inquiring")]
    AcrossInquiring,
    /// The coordinator has answered it; nothing is proposed yet.
    #[serde(rename = "across.inquired")]
    AcrossInquired,
    /// Parcels of an outbox are on their way to the payee's set.
    #[serde(rename = "buffered.parcel_sent")]
    BufferedParcelSent,
    /// The payee's set is sent parcels; nothing is proposed yet.
    #[serde(rename = "buffered.credit_received")]
    BufferedCreditReceived,
    /// What it is sent is handed to its log.
    #[serde(rename = "buffered.credit_proposed")]
    BufferedCreditProposed,
    /// The parcels are taken in, safely; the payer's set was not told yet.
    #[serde(rename = "buffered.credited")]
    BufferedCredited,
    /// That they are taken in is handed to the payer's log.
    #[serde(rename = "buffered.acknowledge_proposed")]
    BufferedAcknowledgeProposed,
    /// A set knows, safely, that an account need not be asked; the account's set was not told yet.
    #[serde(rename = "buffered.announced")]
    BufferedAnnounced,
    /// A set asks an account again, safely; the account's set was not told yet.
    #[serde(rename = "buffered.withdrawn")]
    BufferedWithdrawn,
    /// A buffered account is strict again, safely.
    #[serde(rename = "buffered.drained")]
    BufferedDrained,
    /// A sweep is due; nothing is proposed yet.
    #[serde(rename = "sweep.due")]
    SweepDue,
    /// The transaction of its run is decided, or may be; the leader has done nothing about that yet.
    #[serde(rename = "sweep.ran")]
    SweepRan,
    /// The time of holds or restrictions is over; nothing is proposed yet.
    #[serde(rename = "expiry.due")]
    ExpiryDue,
    /// They are put away, or may be; the leader has done nothing about that yet.
    #[serde(rename = "expiry.put_away")]
    ExpiryPutAway,
    /// An initiator is about to be asked about an overdue hold; the call has not begun.
    #[serde(rename = "check_back.asking")]
    CheckBackAsking,
    /// It has answered, or has not; nothing is proposed yet.
    #[serde(rename = "check_back.answered")]
    CheckBackAnswered,
    /// What came of a try that confirms nothing is in the log, or may be; the leader has done nothing about that yet.
    #[serde(rename = "check_back.counted")]
    CheckBackCounted,
    /// The transaction of a confirmation is decided, or may be; the leader has done nothing about that yet.
    #[serde(rename = "check_back.confirmed")]
    CheckBackConfirmed,
}

/// Which fault, and where. Never for a node that holds money.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FaultsConfig {
    /// The process dies here, by SIGKILL to itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub die_at: Option<Point>,
    /// The process freezes here, once, by SIGSTOP to itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub freeze_at: Option<Point>,
    /// It passes the point unharmed so many times before.
    pub passes: u32,
    /// This node's copy of that set takes in nothing more of its leader's log, though it hears that there is a leader.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deaf_to: Option<u32>,
    /// So long after the point, in microseconds; what comes after the point goes on until then.
    pub after_us: u64,
}

impl FaultsConfig {
    /// Whether no fault is wanted.
    pub fn is_off(&self) -> bool {
        *self == FaultsConfig::default()
    }

    /// The key that makes no sense, and why.
    pub fn mistake(&self) -> Option<(&'static str, &'static str)> {
        const ALONE: &str = "makes sense only with die_at or freeze_at";
        match (self.die_at, self.freeze_at) {
            (Some(_), Some(_)) => Some(("faults.freeze_at", "cannot be given together with die_at")),
            (None, None) if self.passes > 0 => Some(("faults.passes", ALONE)),
            (None, None) if self.after_us > 0 => Some(("faults.after_us", ALONE)),
            _ => None,
        }
    }

    fn signal_at(&self, point: Point) -> Option<libc::c_int> {
        if self.die_at == Some(point) {
            return Some(libc::SIGKILL);
        }
        (self.freeze_at == Some(point)).then_some(libc::SIGSTOP)
    }
}

struct Armed {
    config: FaultsConfig,
    passed: AtomicU32,
}

static ARMED: OnceLock<Armed> = OnceLock::new();

/// Takes the configuration of the process; what is armed first stays.
pub fn arm(config: FaultsConfig) {
    if !config.is_off() {
        warn!(?config, "a fault is armed: this node will harm itself");
        ARMED.get_or_init(|| Armed { config, passed: AtomicU32::new(0) });
    }
}

/// Strikes, if the fault of this process is meant for `point`. Called from within the runtime.
pub fn reached(point: Point) {
    let Some(armed) = ARMED.get() else { return };
    let Some(signal) = armed.config.signal_at(point) else { return };
    if armed.passed.fetch_add(1, Ordering::Relaxed) != armed.config.passes {
        return;
    }
    match armed.config.after_us {
        0 => strike(signal),
        after_us => drop(tokio::spawn(async move {
            tokio::time::sleep(Duration::from_micros(after_us)).await;
            strike(signal);
        })),
    }
}

/// Whether this node's copy of a set is to take in nothing more.
pub fn is_deaf_to(set: u32) -> bool {
    ARMED.get().is_some_and(|armed| armed.config.deaf_to == Some(set))
}

/// Strikes as soon as `holds` of what is watched.
pub fn reached_when<T: Send + Sync + 'static>(
    point: Point,
    mut watched: watch::Receiver<T>,
    holds: impl FnMut(&T) -> bool + Send + 'static,
) {
    if ARMED.get().is_some_and(|armed| armed.config.signal_at(point).is_some()) {
        tokio::spawn(async move {
            if watched.wait_for(holds).await.is_ok() {
                reached(point);
            }
        });
    }
}

/// Sends a signal to the calling thread: SIGKILL ends the process, SIGSTOP stops it before this returns.
#[allow(unsafe_code)]
pub(crate) fn strike(signal: libc::c_int) {
    // SAFETY: raise takes an integer and touches no memory of ours.
    let raised = unsafe { libc::raise(signal) };
    assert_eq!(raised, 0, "a process may signal itself");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn off_by_default_and_each_fault_is_for_its_point_alone() {
        assert!(FaultsConfig::default().is_off());
        let die: FaultsConfig =
            toml::from_str("die_at = \"switch.paused\"\npasses = 2\nafter_us = 5").unwrap();
        assert!(!die.is_off() && die.mistake().is_none());
        assert_eq!(die.signal_at(Point::SwitchPaused), Some(libc::SIGKILL));
        assert_eq!(die.signal_at(Point::SwitchAsked), None);
        let alone: FaultsConfig = toml::from_str("passes = 1").unwrap();
        assert_eq!(alone.mistake().map(|(key, _)| key), Some("faults.passes"));
        let freeze: FaultsConfig = toml::from_str("freeze_at = \"snapshot.receiving\"").unwrap();
        assert_eq!(freeze.signal_at(Point::SnapshotReceiving), Some(libc::SIGSTOP));
        // Nothing is armed in this process: the tests go on.
        reached(Point::SwitchPaused);
    }
}
