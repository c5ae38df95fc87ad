//! The page of a run, from its history and its results. Pure; says no more than they do.

use std::collections::BTreeMap;

use super::{Band, Finding, Grid, Outcome, Page, Point, Reign};
use crate::check::Verdict;
use crate::history::{Answer, History, LeaderChange, Op};
use crate::nemesis::Fault;
use crate::results::Results;

/// Violations of a claim that stand on the page; all are counted, and more stand in the results.
const FIRST: usize = 5;

impl Page {
    /// Of a run.
    pub fn of(history: &History, results: &Results) -> Page {
        let last = history.ops.iter().filter_map(|op| op.end_ns).max().unwrap_or(0);
        let last = history.faults.iter().filter_map(|span| span.end_ns).max().unwrap_or(0).max(last);
        let end = seconds(last);
        let points: Vec<Point> = history.ops.iter().filter_map(point).collect();
        let finding = |one: &crate::check::Finding| Finding {
            checker: one.checker.to_owned(),
            claim: one.claim.to_owned(),
            verdict: word(one.verdict),
            checked: one.checked,
            violations: one.wrong,
            first: one.examples.iter().take(FIRST).cloned().collect(),
        };
        Page {
            verdict: word(results.verdict),
            facts: facts(results),
            tiles: tiles(history, results),
            seconds: end,
            grid: Grid::of(&points, end),
            bands: history.faults.iter().map(|span| band(span, end)).collect(),
            reigns: reigns(&history.leaders, end),
            findings: results.checkers.iter().map(finding).collect(),
        }
    }
}

fn word(verdict: Verdict) -> String {
    format!("{verdict:?}").to_lowercase()
}

fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

fn facts(results: &Results) -> Vec<(String, String)> {
    let facts = [
        ("workloads", results.workloads.join(", ")),
        ("nemeses", if results.nemeses.is_empty() { "none".to_owned() } else { results.nemeses.join(", ") }),
        ("seed", results.seed.to_string()),
        ("commit", results.commit.clone()),
        ("machine", results.machine.clone()),
        ("repeat with", results.repeat.clone()),
    ];
    facts.map(|(name, value)| (name.to_owned(), value)).into()
}

fn tiles(history: &History, results: &Results) -> Vec<(String, String)> {
    let counts = &results.counts;
    let acted = history.faults.iter().filter(|span| span.evidence.as_ref().is_some_and(|seen| seen.acted));
    let slowest = results.latency_us.get("all").map_or(0, |all| all.max);
    let tiles = [
        ("operations", counts.operations.to_string()),
        ("per second", format!("{:.0}", counts.per_second)),
        ("writes sent again", format!("{}%", counts.retries * 100 / counts.writes.max(1))),
        ("faults seen to act", format!("{} of {}", acted.count(), history.faults.len())),
        ("changes of leaders", results.leader_changes.to_string()),
        ("slowest call", format!("{:.2} s", slowest as f64 / 1e6)),
    ];
    tiles.map(|(name, value)| (name.to_owned(), value)).into()
}

fn point(op: &Op) -> Option<Point> {
    let outcome = match &op.answer {
        Answer::Rejected { .. } => Outcome::Rejected,
        Answer::GivenUp { .. } | Answer::NotApplied { .. } => Outcome::NotApplied,
        answer if answer.is_open() => Outcome::Unknown,
        _ => Outcome::Ok,
    };
    Some(Point { at_us: op.begin_ns / 1_000, took_us: (op.end_ns? - op.begin_ns) / 1_000, outcome })
}

fn band(span: &crate::history::FaultSpan, end: f64) -> Band {
    let (kind, label) = told(&span.fault);
    Band {
        kind: kind.to_owned(),
        label,
        from: seconds(span.begin_ns),
        to: span.end_ns.map_or(end, seconds),
        acted: span.evidence.as_ref().is_some_and(|evidence| evidence.acted),
        evidence: span.evidence.as_ref().map_or("it was never undone".to_owned(), |seen| seen.detail.clone()),
    }
}

/// The kind of a fault and whom it hits.
fn told(fault: &Fault) -> (&'static str, String) {
    let on_links = |count: usize| format!("{count} links");
    match fault {
        Fault::Kill { victims, .. } => ("kill", victims.join(" ")),
        Fault::Pause { victims, .. } => ("pause", victims.join(" ")),
        Fault::PowerLoss { victims, .. } => ("power", victims.join(" ")),
        Fault::Partition { shape, cut, .. } => ("partition", format!("{shape}, {}", on_links(cut.len()))),
        Fault::Delay { links, delay_ms, jitter_ms, .. } => {
            ("delay", format!("{delay_ms} to {} ms on {}", delay_ms + jitter_ms, on_links(links.len())))
        }
        Fault::Loss { links, percent, .. } => ("loss", format!("{percent}% on {}", on_links(links.len()))),
        Fault::ClockStep { victim, by_ms, .. } => ("clock", format!("{victim} by {by_ms} ms")),
        Fault::DiskFull { victim, .. } => ("disk full", victim.clone()),
        Fault::FsyncError { victim, .. } => ("failed sync", victim.clone()),
        Fault::SlowDisk { victim, by_ms, .. } => ("slow disk", format!("{victim} by {by_ms} ms")),
        Fault::Corrupt { victim, file, damage, .. } => {
            ("corrupt", format!("{file:?} of {victim}: {damage:?}"))
        }
        Fault::Switches { count } => ("switches", format!("all sets, {count} times")),
        Fault::RollingRestart => ("restart", "everybody".to_owned()),
        Fault::SiteLoss { site, arbiter: None, .. } => ("lost site", site.clone()),
        Fault::SiteLoss { site, .. } => ("lost site", format!("{site}, and the arbiter")),
        Fault::ArbiterLoss { victim, .. } => ("lost arbiter", victim.clone()),
        Fault::Evacuation { site, emergency, .. } => {
            ("plans", format!("{site} is left{}", if *emergency { ", at once" } else { "" }))
        }
        Fault::AtPoint { victim, point, freezes, .. } => {
            ("points", format!("{victim} {} at {point}", if *freezes { "stands still" } else { "dies" }))
        }
        Fault::Amid { around, within } => {
            let ((kind, whom), (inner, victim)) = (told(around), told(within));
            (kind, format!("{whom}, and amid it {inner} {victim}"))
        }
    }
}

/// Who led when. The site is the first letter of the node's name in a local cluster.
fn reigns(changes: &[LeaderChange], end: f64) -> Vec<Reign> {
    let mut by_set: BTreeMap<u32, Vec<Reign>> = BTreeMap::new();
    for change in changes {
        let of_set = by_set.entry(change.set).or_default();
        let at = seconds(change.at_ns);
        if let Some(before) = of_set.last_mut() {
            before.to = at;
        }
        let site = change.node.chars().next().map(|letter| letter.to_ascii_uppercase().to_string());
        of_set.push(Reign {
            set: change.set,
            node: change.node.clone(),
            site: site.unwrap_or_default(),
            from: at,
            to: end,
        });
    }
    by_set.into_values().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(set: u32, at_ns: u64, node: &str) -> LeaderChange {
        LeaderChange { at_ns, set, node: node.to_owned() }
    }

    #[test]
    fn a_reign_ends_where_the_next_one_of_its_set_begins() {
        let second = 1_000_000_000;
        let changes = [
            change(1, 0, "a1"),
            change(2, second, "b1"),
            change(1, 2 * second, ""),
            change(1, 3 * second, "b2"),
        ];
        let told = reigns(&changes, 9.0);
        let told: Vec<_> = told
            .iter()
            .map(|one| (one.set, one.node.as_str(), one.site.as_str(), one.from, one.to))
            .collect();
        let wanted = [
            (1, "a1", "A", 0.0, 2.0),
            (1, "", "", 2.0, 3.0),
            (1, "b2", "B", 3.0, 9.0),
            (2, "b1", "B", 1.0, 9.0),
        ];
        assert_eq!(told, wanted);
    }

    #[test]
    fn a_fault_that_was_never_undone_reaches_to_the_end_and_is_not_called_seen() {
        let fault = Fault::Kill { victims: vec!["a1".to_owned()], down_ms: 1, again_ms: None };
        let span = crate::history::FaultSpan {
            fault,
            begin_ns: 500_000_000,
            acts_ns: None,
            undone_ns: None,
            end_ns: None,
            evidence: None,
        };
        let band = band(&span, 4.0);
        assert_eq!((band.from, band.to, band.acted), (0.5, 4.0, false));
    }
}
