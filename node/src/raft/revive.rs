//! The new life of a log whose majority is lost: openraft has no way to change the voters without the old ones, so the entry that
//! does is put into the log while nobody has it open. The membership in effect is the last one in the log, committed or not.

use std::collections::BTreeMap;

use bytes::Bytes;
use openraft::impls::BasicNode;
use openraft::{EntryPayload, Membership};
use twinset_control::LogEnd;
use twinset_store::Log;

use super::log::{encode_vote, make_vote};
use super::types::{Commands, Entries, LogId, to_record};

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

/// Where a log ends.
pub fn log_end(log: &Log) -> LogEnd {
    log.last().map_or(LogEnd::default(), |last| LogEnd { term: last.term, index: last.index })
}

/// The last index up to which a log may be the same as one that has gone on after `end`. What has a greater term is none of that one's,
/// although its index may be smaller: its leader was elected by others. Terms only rise, so one look each halves what is left.
pub fn shared_until(log: &Log, end: LogEnd) -> Result<u64, twinset_store::Fault> {
    let last = log.last().map_or(0, |last| last.index);
    // Up to the first it is the same, from the second on it is not.
    let (mut same, mut other) = (0, end.index.min(last) + 1);
    while other - same > 1 {
        let middle = same + (other - same) / 2;
        // What a snapshot has taken the place of was committed by all of them.
        let term = log.read(middle, middle + 1, 1)?.first().map_or(0, |record| record.id.term);
        if term <= end.term {
            same = middle;
        } else {
            other = middle;
        }
    }
    Ok(same)
}

/// Lets the log of replica `own` go on after `end` in `term` with `voters` alone, by their nodes' names, and with `first` as the first
/// command of its new life, if there is one. On disk when this returns; done twice it changes nothing. Nobody may have the log
/// open.
pub fn revive(
    log: &Log,
    own: u64,
    end: LogEnd,
    term: u64,
    voters: BTreeMap<u64, String>,
    first: Option<Bytes>,
) -> Result<(), ReviveError> {
    let last = log_end(log);
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
    let first = first.map(|command| Entries {
        log_id: LogId::new_term_index(term, end.index + 2),
        payload: EntryPayload::Normal(Commands(command)),
    });
    let entries: Vec<_> = std::iter::once(entry).chain(first).collect();
    // The vote first: after a crash in between, all of this is done again.
    log.save_vote(&encode_vote(&make_vote(term, own, false)), Box::new(drop))?;
    log.append(entries.iter().map(to_record).collect(), Box::new(drop))?;
    log.sync()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use twinset_store::{Options, RecordKind, Store};

    use super::super::log::LogStore;
    use super::super::types::{decode_membership, store_id};
    use super::*;
    use openraft::storage::RaftLogReader;

    #[test]
    fn what_a_log_shares_with_the_one_that_goes_on_ends_where_its_terms_do() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), Options::default()).unwrap();
        let log = store.log(1).unwrap();
        let at = |term, index| LogEnd { term, index };
        assert_eq!(shared_until(&log, at(3, 4)).unwrap(), 0, "an empty one");
        let blank = |(term, index)| {
            to_record(&Entries { log_id: LogId::new_term_index(term, index), payload: EntryPayload::Blank })
        };
        let entries = [(1, 1), (1, 2), (2, 3), (2, 4), (5, 5), (5, 6), (7, 7)];
        log.append(entries.into_iter().map(blank).collect(), Box::new(drop)).unwrap();
        for (end, expected) in [
            (at(7, 7), 7),
            (at(9, 20), 7),
            (at(5, 6), 6),
            (at(2, 3), 3),
            // Theirs is longer, and by an older leader.
            (at(2, 9), 4),
            (at(4, 6), 4),
            (at(1, 4), 2),
            (at(0, 0), 0),
        ] {
            assert_eq!(shared_until(&log, end).unwrap(), expected, "{end:?}");
        }
        store.close();
    }

    #[tokio::test]
    async fn a_log_goes_on_with_the_survivors_once_and_only_where_it_was_fenced() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), Options::default()).unwrap();
        let log = store.log(1).unwrap();
        let blank = |index| {
            to_record(&Entries { log_id: LogId::new_term_index(3, index), payload: EntryPayload::Blank })
        };
        log.append((1..=4).map(blank).collect(), Box::new(drop)).unwrap();
        let voters = || BTreeMap::from([(6, "b1".to_owned()), (7, "b2".to_owned())]);
        let end = LogEnd { term: 3, index: 4 };
        for changed in [LogEnd { index: 3, ..end }, LogEnd { term: 2, ..end }] {
            let refused = revive(&log, 7, changed, 1_000, voters(), None).unwrap_err();
            assert!(matches!(refused, ReviveError::Changed(3, 4)), "{refused}");
        }
        // The second time is the one after a crash.
        for _ in 0..2 {
            revive(&log, 7, end, 1_000, voters(), Some(Bytes::from_static(b"first"))).unwrap();
            assert_eq!(log.last(), Some(store_id(&LogId::new_term_index(1_000, 6))));
            let mut records = log.read(5, 7, usize::MAX).unwrap();
            let command = records.remove(1);
            assert_eq!((command.kind, &command.payload[..]), (RecordKind::Commands, &b"first"[..]));
            let record = records.remove(0);
            assert_eq!(record.kind, RecordKind::Membership);
            let membership = decode_membership(&record.payload).unwrap();
            assert_eq!(membership.voter_ids().collect::<Vec<_>>(), [6, 7]);
            let vote = LogStore::new(log.clone()).read_vote().await.unwrap().unwrap();
            assert_eq!(vote, make_vote(1_000, 7, false));
        }
        store.close();
    }
}
