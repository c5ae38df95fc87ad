//! The durability state of a set, and how it changes: on an operator's word ([`change`]), or by itself ([`sentinel`]). A weaker
//! state is recorded in the control set before it takes effect; a stronger one takes effect before it is recorded.

mod judgement;
pub mod sentinel;

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;
use twinset_control::Command as ControlCommand;
use twinset_control::{Catalogue, Policy, Proof, Replacement};
use twinset_ledger::canary::{self, Canary};
use twinset_ledger::codec::{EntryBuilder, encode_command};
use twinset_ledger::{Command, Durability, RULES_PROPOSED};

use crate::control_client::{self, ControlClient};
use crate::set::Replica;

/// For the mark to be committed, and to be safe when the set returns to SYNC.
const MARK_MAX: Duration = Duration::from_secs(5);

/// For the away site to get what it lacks before that.
const CATCH_UP_MAX: Duration = Duration::from_secs(3);
const POLL: Duration = Duration::from_millis(5);
/// A replica that has not answered for longer than this is not there.
const SILENCE_MAX: Duration = Duration::from_secs(1);
/// Entries that the away site may lack when the gate closes; new answers wait for them.
const LAG_MAX: u64 = 2_000;

/// Why the state did not change, or is not known to have changed. Asking again is harmless.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The control set did not record it.
    #[error(transparent)]
    Control(#[from] control_client::Error),
    /// The set's policy says that it never goes on with one site alone.
    #[error(
        "the policy of the set is max-protection: it is never DEGRADED. `twinset durability --policy max-availability` changes that"
    )]
    Protected,
    /// The away site could not hold what SYNC asks of it; nothing was changed.
    #[error("the set cannot become SYNC now: {0}; nothing was changed")]
    AwaySite(String),
    /// The mark did not get through the set's log.
    #[error("the mark in the set's log: {0}; ask again")]
    Mark(String),
    /// The mark is in force, and the away site does not follow.
    #[error(
        "the set is SYNC from index {0} on and its answers wait for the away site, which does not have that entry yet; \
         when it does, ask again, so that it is recorded; or ask for DEGRADED"
    )]
    Waiting(u64),
}

/// What is in force afterwards.
pub struct Marked {
    /// The index of the mark.
    pub index: u64,
    /// The last index known to be safe before the change.
    pub last_safe_index: u64,
}

/// What is wanted of a set, and by whom.
pub struct Change {
    /// The state.
    pub durability: Durability,
    /// A DEGRADED that stays until an operator wants SYNC.
    pub pinned: bool,
    /// Who wants it.
    pub who: String,
    /// What speaks for that.
    pub proof: Proof,
    /// Why.
    pub why: String,
}

/// Changes the state of a set that this node leads.
pub async fn change(
    replica: &Replica,
    catalogue: &Catalogue,
    control: &ControlClient,
    Change { durability, pinned, who, proof, why }: Change,
) -> Result<Marked, Error> {
    let set = replica.fence.set;
    // Before anything is done: whoever records a durability meanwhile makes this attempt come too late.
    let recorded_set = catalogue.sets.get(&set);
    let expected_durability_epoch = recorded_set.map_or(0, |set| set.durability_epoch);
    if durability == Durability::Degraded
        && recorded_set.is_some_and(|set| set.policy == Policy::MaxProtection)
    {
        return Err(Error::Protected);
    }
    let last_safe_index = replica.fence.gate.horizon().safe;
    let recorded = match durability {
        Durability::Sync => twinset_control::Durability::Sync,
        Durability::Degraded => twinset_control::Durability::Degraded,
    };
    let record = |last_safe_index| ControlCommand::RecordDurability {
        set,
        durability: recorded,
        last_safe_index,
        expected_durability_epoch,
        pinned,
        who: who.clone(),
        why: why.clone(),
    };
    match durability {
        Durability::Degraded if canary::on(Canary::DegradedBeforeRecord) => {
            // The keeper records it when it has seen it for a second.
            Ok(Marked { index: mark(replica, durability).await?, last_safe_index })
        }
        Durability::Degraded => {
            control.propose_for(&proof, &record(last_safe_index)).await?;
            let index = mark(replica, durability).await?;
            Ok(Marked { index, last_safe_index })
        }
        Durability::Sync => {
            away_site_follows(replica, catalogue).map_err(Error::AwaySite)?;
            catch_up(replica).await?;
            let was = recorded_set.map(|set| set.durability);
            if was == Some(twinset_control::Durability::Degraded) && canary::on(Canary::SyncBeforeGate) {
                control.propose(&record(last_safe_index)).await?;
                return Ok(Marked { index: last_safe_index, last_safe_index });
            }
            let index = mark(replica, durability).await?;
            control.propose_for(&proof, &record(index)).await?;
            Ok(Marked { index, last_safe_index: index })
        }
    }
}

/// Lets the away site get what the log holds by now, while the set goes on without it: once the mark is in force every answer
/// waits for what is still lacking.
async fn catch_up(replica: &Replica) -> Result<(), Error> {
    let wanted = replica.group.progress().last_log;
    let deadline = Instant::now() + CATCH_UP_MAX;
    while replica.fence.gate.horizon().safe < wanted {
        if Instant::now() >= deadline {
            return Err(Error::AwaySite(format!("the away site does not have entry {wanted} yet")));
        }
        tokio::time::sleep(POLL).await;
    }
    Ok(())
}

/// Puts the mark into the set's log and waits until the gate is open for it: at once in DEGRADED, with the away
/// site's disk in SYNC.
async fn mark(replica: &Replica, durability: Durability) -> Result<u64, Error> {
    let mut command = Vec::new();
    encode_command(&Command::MarkDurability { durability }, &mut command);
    let mut entry =
        EntryBuilder::new(RULES_PROPOSED, replica.fence.incarnation, replica.fence.platform.now_unix_ns());
    entry.push_command_bytes(&command);
    let deadline = Instant::now() + MARK_MAX;
    let applied = tokio::time::timeout_at(deadline, async {
        let proposal = replica.group.propose(Bytes::from(entry.finish())).await?;
        Ok::<_, crate::raft::ProposeError>(proposal.result().await?.0)
    });
    let index = match applied.await {
        Ok(Ok(index)) => index,
        Ok(Err(error)) => return Err(Error::Mark(format!("{error:?}"))),
        Err(_) => return Err(Error::Mark("not committed in time".into())),
    };
    let gate = &replica.fence.gate;
    let open = tokio::time::timeout_at(deadline, gate.wait(index)).await;
    open.map_err(|_| Error::Waiting(index))?;
    // Another leader's mark may have opened the gate meanwhile.
    if gate.durability() != durability || durability == Durability::Sync && gate.horizon().safe < index {
        return Err(Error::Mark("another mark came after it".into()));
    }
    Ok(index)
}

/// In SYNC answers wait for the away site, so it must be there: in each site a replica that has answered lately and lacks
/// little of the log.
pub(crate) fn away_site_follows(replica: &Replica, catalogue: &Catalogue) -> Result<(), String> {
    let set = catalogue.sets.get(&replica.fence.set).ok_or("the catalogue does not have the set")?;
    let progress = replica.group.progress();
    let follows = |id: u64| {
        let answers = replica.fence.gate.silence(id).is_some_and(|silence| silence <= SILENCE_MAX);
        answers && progress.lag(id) <= LAG_MAX
    };
    let own = replica.fence.replica;
    let leaving = set.replacement.as_ref().map(Replacement::discounted);
    let with: BTreeSet<_> = set
        .replicas
        .iter()
        .filter(|r| r.id == own || follows(r.id) && Some(r.id) != leaving)
        .filter_map(|r| catalogue.site_of_node(&r.node))
        .collect();
    let of: BTreeSet<_> = set.replicas.iter().filter_map(|r| catalogue.site_of_node(&r.node)).collect();
    if of.len() < 2 {
        return Err("the catalogue has the set in one site only".into());
    }
    match of.difference(&with).next() {
        None => Ok(()),
        Some(site) => Err(format!("no replica in site {site} answers and is nearly caught up")),
    }
}

/// Entries that the away site lacks: those of its replica that lacks least.
fn lag_of_away_site(replica: &Replica, catalogue: &Catalogue) -> u64 {
    let (set, progress) = (replica.fence.set, replica.group.progress());
    let own = catalogue.site_of_replica(set, replica.fence.replica);
    let away = catalogue.replicas(set).iter().filter(|r| catalogue.site_of_node(&r.node) != own);
    away.map(|r| progress.lag(r.id)).min().unwrap_or(u64::MAX)
}
