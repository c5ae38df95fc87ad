//! An operator's change of a set's durability state. A weaker state is recorded in the control set before it takes
//! effect; a stronger one takes effect before it is recorded.

use std::time::Duration;

use bytes::Bytes;
use twinset_control::Command as ControlCommand;
use twinset_ledger::codec::{EntryBuilder, encode_command};
use twinset_ledger::{Command, Durability, RULES_VERSION};

use crate::clock;
use crate::control_client::{self, ControlClient};
use crate::set::Replica;

/// For the mark to be committed, and to be safe when the set returns to SYNC.
const MARK_MAX: Duration = Duration::from_secs(5);

/// Why the state did not change, or is not known to have changed. Asking again is harmless.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The control set did not record it.
    #[error(transparent)]
    Control(#[from] control_client::Error),
    /// The mark did not get through the set's log.
    #[error("the mark in the set's log: {0}; ask again")]
    Mark(String),
}

/// What is in force afterwards.
pub struct Marked {
    /// The index of the mark.
    pub index: u64,
    /// The last index known to be safe before the change.
    pub last_safe_index: u64,
}

/// Changes the state of a set that this node leads.
pub async fn change(
    replica: &Replica,
    control: &ControlClient,
    durability: Durability,
    who: String,
    why: String,
) -> Result<Marked, Error> {
    let set = replica.fence.set;
    let last_safe_index = replica.fence.gate.safe();
    let recorded = match durability {
        Durability::Sync => twinset_control::Durability::Sync,
        Durability::Degraded => twinset_control::Durability::Degraded,
    };
    let record = |last_safe_index| ControlCommand::RecordDurability {
        set,
        durability: recorded,
        last_safe_index,
        who: who.clone(),
        why: why.clone(),
    };
    match durability {
        Durability::Degraded => {
            control.propose(&record(last_safe_index)).await?;
            let index = mark(replica, durability).await?;
            Ok(Marked { index, last_safe_index })
        }
        Durability::Sync => {
            let index = mark(replica, durability).await?;
            control.propose(&record(index)).await?;
            Ok(Marked { index, last_safe_index: index })
        }
    }
}

/// Puts the mark into the set's log and waits until it is safe: at once in DEGRADED, by the away site's disk in SYNC.
async fn mark(replica: &Replica, durability: Durability) -> Result<u64, Error> {
    let mut command = Vec::new();
    encode_command(&Command::MarkDurability { durability }, &mut command);
    let mut entry = EntryBuilder::new(RULES_VERSION, replica.fence.incarnation, clock::now_unix_ns());
    entry.push_command_bytes(&command);
    let marked = tokio::time::timeout(MARK_MAX, async {
        let proposal = replica.group.propose(Bytes::from(entry.finish())).await?;
        let (index, _) = proposal.result().await?;
        replica.fence.gate.wait(index).await;
        Ok::<_, crate::raft::ProposeError>(index)
    });
    match marked.await {
        Ok(Ok(index)) => Ok(index),
        Ok(Err(error)) => Err(Error::Mark(format!("{error:?}"))),
        Err(_) => Err(Error::Mark("not on disk in both sites in time".into())),
    }
}
