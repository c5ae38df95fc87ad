//! The new life of a log whose majority is lost: openraft has no way to change the voters without the old ones, so the entry that
//! does is put into the log while nobody has it open. The membership in effect is the last one in the log, committed or not.

use std::collections::BTreeMap;

use openraft::impls::BasicNode;
use openraft::{EntryPayload, Membership};
use twinset_control::LogEnd;
use twinset_store::Log;

use super::log::{encode_vote, make_vote};
use super::types::{Entries, LogId, to_record};

/// Why a log cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum ReviveError {
    /// The disk.
    #[error(transparent)]
    Fault(#[from] twinset_store::Fault),
    /// It has changed since it was chosen: it was not fenced.
    #[error("the log ends at term {0}, index {1}, not where it was fenced")]
    Changed(u64, u64),
    /// openraft refuses these voters.
    #[error("the new voters: {0}")]
    Voters(String),
}

/// Lets the log of replica `own` go on after `end` in `term` with `voters` alone, by their nodes' names. On disk when this
/// returns; done twice it changes nothing. Nobody may have the log open.
pub fn revive(
    log: &Log,
    own: u64,
    end: LogEnd,
    term: u64,
    voters: BTreeMap<u64, String>,
) -> Result<(), ReviveError> {
    let last = log.last().map_or(LogEnd::default(), |last| LogEnd { term: last.term, index: last.index });
    if last.term >= term {
        return Ok(());
    }
    if last != end {
        return Err(ReviveError::Changed(last.term, last.index));
    }
    let configs = vec![voters.keys().copied().collect()];
    let nodes: BTreeMap<u64, BasicNode> =
        voters.into_iter().map(|(id, addr)| (id, BasicNode { addr })).collect();
    let membership =
        Membership::new(configs, nodes).map_err(|error| ReviveError::Voters(error.to_string()))?;
    let log_id = LogId::new_term_index(term, end.index + 1);
    let entry = Entries { log_id, payload: EntryPayload::Membership(membership) };
    // The vote first: after a crash in between, all of this is done again.
    log.save_vote(&encode_vote(&make_vote(term, own, false)), Box::new(drop))?;
    log.append(vec![to_record(&entry)], Box::new(drop))?;
    log.sync()?;
    Ok(())
}
