//! Points of the protocols: a node that leads a set dies, or stands still, just where it has got to one of the named points that are
//! built into nodes (`node/src/faults.rs`), while clients do what they do. Draws; does nothing to anybody. Which points there are to
//! be struck hangs on the workloads: nobody gets to where no client ever sends him.

use twinset_control::Catalogue;
use twinset_tools::cluster::layout::{Kind, Layout};
use twinset_tools::load::random::Random;

use super::Fault;
use crate::logs::Allowed;

/// What `--nemesis` names it by.
pub const NAME: &str = "points";

/// What a node says at its start that is going to be struck.
pub const ARMED: &[Allowed] =
    &[Allowed { part: "a fault is armed", why: "it is to harm itself where it gets to a point" }];

/// How a leader gets to a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Met {
    /// With every transaction of its kind.
    Often,
    /// Now and then.
    Seldom,
    /// Where another set keeps it waiting: the other site stands still until then.
    InSilence,
}

/// A point of a protocol.
#[derive(Clone, Copy, Debug)]
struct Point {
    /// As nodes name it.
    name: &'static str,
    met: Met,
    /// The workloads whose clients bring leaders there.
    by: &'static [&'static str],
}

const fn point(name: &'static str, met: Met, by: &'static [&'static str]) -> Point {
    Point { name, met, by }
}

/// Whose clients pay over several sets.
const ASK: &[&str] = &["across", "holds", "buffered", "mixed"];
/// Whose clients have so much open between sets that a set which falls silent keeps some of it waiting.
const WAIT: &[&str] = &["across", "buffered"];
/// Whose clients are often refused by another set than the one that coordinates.
const ARE_REFUSED: &[&str] = &["across"];
/// Whose clients pay accounts that need not be asked.
const PAY: &[&str] = &["buffered", "mixed"];
/// Whose clients change the modes of such accounts again and again.
const CHANGE: &[&str] = &["buffered"];
/// Whose clients let things expire, so many that one does within the patience of a strike.
const LEAVE: &[&str] = &["holds", "restricted"];
/// Whose clients have accounts swept.
const SWEEP: &[&str] = &["sweeps"];

/// Those of transactions over several sets at the coordinator and at the others, of outboxes, of sweeps, and of what expires.
const POINTS: &[Point] = &[
    point("across.begin_proposed", Met::Often, ASK),
    point("across.begun", Met::Often, ASK),
    point("across.asked", Met::Often, ASK),
    point("across.first_vote", Met::Often, ASK),
    point("across.voted", Met::Often, ASK),
    point("across.decide_proposed", Met::Often, ASK),
    point("across.decided", Met::Often, ASK),
    point("across.refused", Met::Seldom, ARE_REFUSED),
    point("across.telling", Met::Often, ASK),
    point("across.undoing", Met::Seldom, ARE_REFUSED),
    point("across.first_booked", Met::Often, ASK),
    point("across.booked", Met::Often, ASK),
    point("across.settle_proposed", Met::Often, ASK),
    point("across.settled", Met::Often, ASK),
    point("across.giving_up", Met::InSilence, WAIT),
    point("across.resumed", Met::Seldom, WAIT),
    point("across.prepare_received", Met::Often, ASK),
    point("across.prepare_proposed", Met::Often, ASK),
    point("across.prepared", Met::Often, ASK),
    point("across.commit_received", Met::Often, ASK),
    point("across.commit_proposed", Met::Often, ASK),
    point("across.committed", Met::Often, ASK),
    point("across.abort_received", Met::Seldom, ARE_REFUSED),
    point("across.abort_proposed", Met::Seldom, ARE_REFUSED),
    point("across.aborted", Met::Seldom, ARE_REFUSED),
    point("across.inquiring", Met::InSilence, WAIT),
    point("across.inquired", Met::InSilence, WAIT),
    point("buffered.parcel_sent", Met::Often, PAY),
    point("buffered.credit_received", Met::Often, PAY),
    point("buffered.credit_proposed", Met::Often, PAY),
    point("buffered.credited", Met::Often, PAY),
    point("buffered.acknowledge_proposed", Met::Often, PAY),
    point("buffered.announced", Met::Seldom, CHANGE),
    point("buffered.withdrawn", Met::Seldom, CHANGE),
    point("buffered.drained", Met::Seldom, CHANGE),
    point("sweep.due", Met::Seldom, SWEEP),
    point("sweep.ran", Met::Seldom, SWEEP),
    point("expiry.due", Met::Seldom, LEAVE),
    point("expiry.put_away", Met::Seldom, LEAVE),
];

/// What is met often is passed unharmed so many times at most before it strikes.
const PASSES_MOST: usize = 24;
/// Of a hundred, so many stand still instead of dying: then another one leads, and this one comes back with what it knew.
const FREEZE_PERCENT: usize = 35;
/// Of a hundred, so many strike a little later: what comes after the point goes on until then.
const LATER_PERCENT: usize = 30;
/// So much later at most, in microseconds.
const LATER_MOST_US: usize = 5_000;

fn met_by(workloads: &[String]) -> Vec<&'static Point> {
    let brings = |point: &&Point| workloads.iter().any(|workload| point.by.contains(&workload.as_str()));
    POINTS.iter().filter(brings).collect()
}

/// Whether leaders get to any of the points in a run of these workloads.
pub fn are_met(workloads: &[String]) -> bool {
    !met_by(workloads).is_empty()
}

/// A point, a set, and a node of its home that is to lead it.
pub fn draw(
    random: &mut Random,
    (layout, catalogue): (&Layout, Option<&Catalogue>),
    sets: &[u32],
    workloads: &[String],
) -> Fault {
    let points = met_by(workloads);
    let (set, point) = (sets[random.below(sets.len())], points[random.below(points.len())]);
    let home = catalogue.and_then(|catalogue| catalogue.sets.get(&set)).map(|set| set.home.clone());
    let home = home.or_else(|| layout.routers().next().map(|router| router.site.clone()));
    let home = home.unwrap_or_default();
    let data = layout.nodes().filter(|node| node.kind == Kind::Node);
    let (own, others): (Vec<_>, Vec<_>) = data.partition(|node| node.site == home);
    let victim = own[random.below(own.len())].name.clone();
    let passes = match point.met {
        Met::Often => random.below(PASSES_MOST) as u32,
        Met::Seldom | Met::InSilence => 0,
    };
    let freezes = random.below(100) < FREEZE_PERCENT;
    let later = random.below(100) < LATER_PERCENT;
    let after_us = if later { random.below(LATER_MOST_US) as u64 } else { 0 };
    // Who stands still does so for longer than the lease of a leader.
    let for_ms = if freezes { 600 + random.below(4_000) as u64 } else { random.below(1_500) as u64 };
    let silent = match point.met {
        Met::InSilence => others.into_iter().map(|node| node.name.clone()).collect(),
        Met::Often | Met::Seldom => Vec::new(),
    };
    Fault::AtPoint { victim, set, point: point.name.to_owned(), passes, after_us, freezes, silent, for_ms }
}

/// The section of a node's configuration that lets it be struck.
pub fn section(fault: &Fault) -> String {
    let Fault::AtPoint { point, passes, after_us, freezes, .. } = fault else { return String::new() };
    let what = if *freezes { "freeze_at" } else { "die_at" };
    format!("\n[faults]\n{what} = \"{point}\"\npasses = {passes}\nafter_us = {after_us}\n")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Those that no workload gets to: nobody switches, needs a snapshot or asks for check-back by itself. Tests that let leaders die
    /// there: `moving.rs`, `snapshots.rs` and `holds.rs` in `jepsen/tests/faults/`.
    const ELSEWHERE: [&str; 3] = ["switch.", "snapshot.", "check_back."];

    #[test]
    fn every_point_of_the_nodes_is_struck_here_or_in_a_test_of_its_own() {
        let example = include_str!("../../../deploy/examples/node.toml");
        let (_, listed) = example.split_once("when it gets here. One of the two:").unwrap();
        let (listed, _) = listed.split_once("# die_at").unwrap();
        let names = listed.split([',', '\n']).map(|word| word.trim_matches(['#', ' ']));
        let names: BTreeSet<&str> = names.filter(|name| !name.is_empty()).collect();
        let is_here = |name: &&&str| !ELSEWHERE.iter().any(|part| name.starts_with(part));
        let known: BTreeSet<&str> = POINTS.iter().map(|point| point.name).collect();
        assert_eq!(names.iter().filter(is_here).copied().collect::<BTreeSet<_>>(), known);
        assert_eq!(known.len(), POINTS.len());
    }

    #[test]
    fn the_same_seed_draws_the_same_points_and_workloads_only_their_own() {
        let layout = Layout::new("d".as_ref(), "b".as_ref(), 2, 7100);
        let drawn = |seed, workload: &str| {
            let mut random = Random::seeded(seed);
            let mut draw = || draw(&mut random, (&layout, None), &[1, 2], &[workload.to_owned()]);
            (0..2_000).map(|_| draw()).collect::<Vec<_>>()
        };
        assert_eq!(drawn(1, "mixed"), drawn(1, "mixed"));
        assert_ne!(drawn(1, "mixed"), drawn(2, "mixed"));
        let names = |workload: &str| -> BTreeSet<String> {
            let name = |fault: Fault| match fault {
                Fault::AtPoint { point, .. } => point,
                other => panic!("{other:?}"),
            };
            drawn(3, workload).into_iter().map(name).collect()
        };
        let all: BTreeSet<String> =
            ["mixed", "across", "buffered", "holds", "sweeps"].into_iter().flat_map(names).collect();
        assert_eq!(all.len(), POINTS.len());
        assert!(names("sweeps").iter().all(|name| name.starts_with("sweep.")));
        assert!(!are_met(&["limits".to_owned()]) && are_met(&["limits".to_owned(), "holds".to_owned()]));
    }

    #[test]
    fn what_is_drawn_is_a_configuration() {
        let layout = Layout::new("d".as_ref(), "b".as_ref(), 2, 7100);
        let mut random = Random::seeded(5);
        for _ in 0..200 {
            let fault = draw(&mut random, (&layout, None), &[1, 2], &["mixed".to_owned()]);
            let Fault::AtPoint { victim, point, freezes, silent, .. } = &fault else { panic!("{fault:?}") };
            let section: toml::Table = toml::from_str(&section(&fault)).unwrap();
            let key = if *freezes { "freeze_at" } else { "die_at" };
            assert_eq!(section["faults"][key].as_str(), Some(point.as_str()));
            assert!(victim.starts_with('a') && silent.iter().all(|name| name.starts_with('b')), "{fault:?}");
        }
    }
}
