//! What is recorded of the durability of a set, and by which policy it changes by itself. Why a weaker state is recorded
//! before it takes effect and a stronger one after it is the node's business; here it is one record after the other.

use serde::{Deserialize, Serialize};

use crate::apply::{self, At, Done, Effect, find, find_mut};
use crate::audit::{Action, Outcome};
use crate::catalogue::{Catalogue, Durability};
use crate::rejection::Rejection;

/// How long a DEGRADED leader may answer on the word of the control set, in milliseconds: it counts from when it asked.
/// Whoever recovers a set waits so long after the control set has recorded that it is being recovered.
pub const LEASE_MS: u64 = 3_000;

/// Whether a set may go on with one site alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Policy {
    /// It becomes DEGRADED by itself when its away site does not follow.
    #[default]
    MaxAvailability,
    /// It never does: writes and reads wait for the away site.
    MaxProtection,
}

impl Policy {
    /// Whether it is the one that a set has unless somebody chose.
    pub fn is_default(&self) -> bool {
        *self == Policy::default()
    }
}

impl std::fmt::Display for Policy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Policy::MaxAvailability => "max-availability",
            Policy::MaxProtection => "max-protection",
        })
    }
}

/// What is to be recorded.
pub(crate) struct Wanted {
    pub(crate) durability: Durability,
    pub(crate) last_safe_index: u64,
    pub(crate) pinned: bool,
}

/// A safe index that was reported once is safe for ever within an incarnation, so a sender that knows less (a leader just
/// elected) never lowers it, and is not refused either: an operator's degrade must not fail on it. A record that was made
/// already is found again; one that was overtaken by another is refused.
pub(crate) fn record(
    catalogue: &mut Catalogue,
    at: At<'_>,
    set: u32,
    Wanted { durability, last_safe_index, pinned }: Wanted,
    expected: u64,
    who_why: (String, String),
) -> Result<Done, Rejection> {
    let known = find(catalogue, set)?;
    let (from, epoch) = (known.durability, known.durability_epoch);
    let pinned = pinned && durability == Durability::Degraded;
    if expected.checked_add(1) == Some(epoch) && from == durability && known.pinned == pinned {
        return Ok((Effect::DurabilityRecorded { last_safe_index: known.last_safe_index }, None));
    }
    if let Some(open) = &known.recovery {
        return Err(Rejection::BeingRecovered { set, id: open.id });
    }
    // SYNC is marked in the set's log first, and both sites have that: whatever was on record before, it holds now.
    if durability == Durability::Degraded {
        catalogue.check_proven(set)?;
    }
    if expected != epoch {
        return Err(Rejection::DurabilityEpochChanged { set, expected, epoch });
    }
    let now = find_mut(catalogue, set);
    let safe = now.last_safe_index.max(last_safe_index);
    let effect = Effect::DurabilityRecorded { last_safe_index: safe };
    now.durability = durability;
    now.durability_epoch += 1;
    now.last_safe_index = safe;
    now.pinned = pinned;
    now.unproven_since_unix_ns = 0;
    if durability == Durability::Sync && from == Durability::Degraded {
        now.synced_unix_ns = at.time_unix_ns;
    }
    let what = Action::Durability { set, from, to: durability, last_safe_index: safe };
    Ok((effect, Some(apply::record(at, who_why, what, Outcome::Done))))
}

pub(crate) fn set_policy(
    catalogue: &mut Catalogue,
    at: At<'_>,
    set: u32,
    policy: Policy,
    who_why: (String, String),
) -> Result<Done, Rejection> {
    if find(catalogue, set)?.policy == policy {
        return Ok((Effect::PolicySet, None));
    }
    find_mut(catalogue, set).policy = policy;
    let what = Action::Policy { set, policy };
    Ok((Effect::PolicySet, Some(apply::record(at, who_why, what, Outcome::Done))))
}
