//! `twinset indoubt`: what several sets are doing together right now, and for how long. Reads only: nobody ends such a
//! transaction by hand, its coordinator's log does.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Duration;

use clap::Args;
use futures::future::join_all;
use serde_json::json;
use twinset_control::Catalogue;
use twinset_proto::cluster::v1::{ListAttemptsReply, OpenAttempt, SetAttempts};

use super::Context;
use crate::cluster::admin::{self, Answer};
use crate::{error, out};

/// What `twinset indoubt --help` says.
pub const HELP: &str = "List transactions over several sets that are under way, with their age.\n\n\
    A transaction over several sets is open for milliseconds: its coordinator asks the other sets to set their part aside \
    (asks), decides, and has all of them book it (books); a set that has its part set aside waits for that decision \
    (waits). What stays open for seconds waits for a set without a leader, and ends by itself when that is back: a set \
    that waits asks the coordinator, and only the coordinator's log decides. There is nothing to do by hand, and no way \
    to.\n\n\
    Examples:\n  twinset indoubt\n  twinset indoubt --older-than 5\n  twinset indoubt --json | jq '.attempts[].attempt'";

/// List transactions over several sets that are under way, with their age.
#[derive(Debug, Args)]
pub struct Indoubt {
    /// Only those that have been open for at least so many seconds.
    #[arg(long, default_value_t = 0, value_name = "SECONDS")]
    older_than: u64,
}

/// One set's part in one transaction.
#[derive(Debug, PartialEq, Eq)]
struct Row {
    attempt: String,
    set: u32,
    phase: String,
    age_ms: u64,
    others: Vec<u32>,
}

/// What the leaders have said.
#[derive(Debug, Default, PartialEq, Eq)]
struct Found {
    /// The oldest first.
    rows: Vec<Row>,
    /// Open in all sets that were read, those that are not shown included.
    open: u64,
    /// Sets whose leader did not answer.
    unread: Vec<u32>,
}

/// Runs `twinset indoubt`.
pub async fn run(arguments: Indoubt, context: &Context) -> anyhow::Result<()> {
    let survey = admin::survey(&context.nodes()?).await;
    let catalogue = survey.catalogue()?;
    let hosts = catalogue.nodes.values().filter(|node| !node.arbiter);
    let replies = join_all(hosts.map(|node| admin::attempts(&node.api_addr))).await;
    let found = found(catalogue, replies, Duration::from_secs(arguments.older_than));
    if context.json {
        let row = |row: &Row| {
            json!({
                "attempt": row.attempt, "set": row.set, "phase": row.phase, "age_ms": row.age_ms,
                "sets": row.others,
            })
        };
        let attempts: Vec<serde_json::Value> = found.rows.iter().map(row).collect();
        out::json(&json!({ "attempts": attempts, "open": found.open, "unread": found.unread }))?;
    } else {
        out::line(&text(&found))?;
    }
    if found.unread.is_empty() {
        return Ok(());
    }
    let unread: Vec<String> = found.unread.iter().map(u32::to_string).collect();
    Err(error::failure(
        format!("no leader of set {} answers: what is open there is not known", unread.join(", ")),
        "`twinset status` shows the sets and their leaders",
    ))
}

fn found(catalogue: &Catalogue, replies: Vec<Answer<ListAttemptsReply>>, older_than: Duration) -> Found {
    // Two nodes may both take themselves for the leader of a set: what either has open counts.
    let mut sets: BTreeMap<u32, SetAttempts> = BTreeMap::new();
    for set in replies.into_iter().flatten().flat_map(|reply| reply.sets) {
        let known = sets.entry(set.set).or_default();
        if set.open >= known.open {
            *known = set;
        }
    }
    let mut found = Found {
        unread: catalogue.sets.keys().copied().filter(|set| !sets.contains_key(set)).collect(),
        open: sets.values().map(|set| set.open).sum(),
        rows: Vec::new(),
    };
    for (number, set) in sets {
        let row = |open: OpenAttempt| Row {
            attempt: open.attempt,
            set: number,
            phase: open.phase,
            age_ms: open.age_ms,
            others: open.sets,
        };
        let old = |row: &Row| u128::from(row.age_ms) >= older_than.as_millis();
        found.rows.extend(set.attempts.into_iter().map(row).filter(old));
    }
    found.rows.sort_by_key(|row| (Reverse(row.age_ms), row.attempt.clone(), row.set));
    found
}

fn text(found: &Found) -> String {
    if found.rows.is_empty() {
        return match found.open {
            0 => "nothing is open between sets".to_owned(),
            open => format!("nothing that old; {open} open in all"),
        };
    }
    let rows: Vec<Vec<String>> = found.rows.iter().map(cells).collect();
    let mut lines = vec![out::table(&["age", "transaction", "set", "phase", "with sets"], &rows)];
    let shown = found.rows.len() as u64;
    if shown < found.open {
        lines.push(format!("{} more are open", found.open - shown));
    }
    lines.join("\n")
}

fn cells(row: &Row) -> Vec<String> {
    let others: Vec<String> = row.others.iter().map(u32::to_string).collect();
    let age = format!("{}.{:03} s", row.age_ms / 1_000, row.age_ms % 1_000);
    vec![age, row.attempt.clone(), row.set.to_string(), row.phase.clone(), others.join(" ")]
}

#[cfg(test)]
mod tests {
    use super::*;
    use twinset_control::Topology;

    fn open(attempt: &str, phase: &str, age_ms: u64, sets: &[u32]) -> OpenAttempt {
        OpenAttempt {
            attempt: attempt.into(),
            phase: phase.into(),
            opened_unix_ns: 1,
            age_ms,
            sets: sets.into(),
        }
    }

    fn replies() -> Vec<Answer<ListAttemptsReply>> {
        let first = SetAttempts { set: 1, attempts: vec![open("1-1-7-0", "asks", 1_234, &[2])], open: 3 };
        let second = SetAttempts { set: 2, attempts: vec![open("1-1-7-0", "waits", 5_100, &[])], open: 1 };
        // Whoever led set 2 before does not know yet.
        let behind = SetAttempts { set: 2, ..SetAttempts::default() };
        vec![
            Ok(ListAttemptsReply { sets: vec![first, behind] }),
            Err("gone".to_owned()),
            Ok(ListAttemptsReply { sets: vec![second] }),
        ]
    }

    fn catalogue(sets: u32) -> Catalogue {
        let text = include_str!("../../../deploy/examples/topology.toml");
        let mut topology: Topology = toml::from_str(text).expect("it parses");
        topology.cluster.sets = sets;
        topology.place("c").expect("it is valid")
    }

    #[test]
    fn the_oldest_come_first_and_what_was_not_read_is_named() {
        let found = found(&catalogue(3), replies(), Duration::ZERO);
        assert_eq!((found.open, &found.unread[..]), (4, &[3][..]));
        let shown: Vec<_> = found.rows.iter().map(|row| (row.set, row.phase.as_str())).collect();
        assert_eq!(shown, [(2, "waits"), (1, "asks")]);
        let text = text(&found);
        assert!(text.contains("\n5.100 s  1-1-7-0      2    waits\n"), "{text}");
        assert!(text.ends_with("2 more are open"), "{text}");
    }

    #[test]
    fn young_ones_can_be_left_out() {
        let found = found(&catalogue(2), replies(), Duration::from_secs(9));
        assert_eq!(text(&found), "nothing that old; 4 open in all");
        assert_eq!(text(&Found::default()), "nothing is open between sets");
    }
}
