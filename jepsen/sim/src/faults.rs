//! The faults of a simulation as data, and how they are drawn. What they do to the simulated world is `world.rs`'s. Pure.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use twinset_tools::load::random::Random;

use crate::plan::{NODES, Planned, ROUTERS};

/// What goes wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing comes to these machines or from them.
    Isolate(Vec<&'static str>),
    /// The sites do not hear each other; both hear the arbiter.
    SiteSplit,
    /// The first is not heard by the second.
    OneWay(&'static str, &'static str),
    /// What two machines say to each other arrives when it is over.
    Hold(&'static str, &'static str),
    /// These processes are killed and started again at the end.
    Crash(Vec<&'static str>),
    /// These machines lose their power, and what was not synced with it, until the end.
    PowerLoss(Vec<&'static str>),
    /// The next sync of a machine fails: its process ends itself, and is started again at the end.
    SyncError(&'static str),
    /// A disk has no room: the process ends itself.
    DiskFull(&'static str),
    /// Each sync of a disk takes so much longer, in milliseconds.
    SlowDisk(&'static str, u64),
    /// The process dies at the so manieth thing that it does to its disk.
    DeathAtWork(&'static str, u64),
    /// The wall clock of a machine is off, by milliseconds.
    Clock(&'static str, i64),
    /// An operator switches a set to the other site.
    Switch(u32),
}

/// The kinds of faults.
pub const KINDS: [&str; 12] = [
    "isolate",
    "site-split",
    "one-way",
    "hold",
    "crash",
    "power-loss",
    "sync-error",
    "disk-full",
    "slow-disk",
    "death-at-work",
    "clock",
    "switch",
];

impl Fault {
    /// Which kind it is.
    pub fn kind(&self) -> &'static str {
        match self {
            Fault::Isolate(_) => "isolate",
            Fault::SiteSplit => "site-split",
            Fault::OneWay(..) => "one-way",
            Fault::Hold(..) => "hold",
            Fault::Crash(_) => "crash",
            Fault::PowerLoss(_) => "power-loss",
            Fault::SyncError(_) => "sync-error",
            Fault::DiskFull(_) => "disk-full",
            Fault::SlowDisk(..) => "slow-disk",
            Fault::DeathAtWork(..) => "death-at-work",
            Fault::Clock(..) => "clock",
            Fault::Switch(_) => "switch",
        }
    }

    /// Whose processes die with its begin.
    pub fn victims(&self) -> &[&'static str] {
        match self {
            Fault::Crash(victims) | Fault::PowerLoss(victims) => victims,
            _ => &[],
        }
    }

    /// Whether the process on a machine may end by itself because of it.
    pub fn may_end(&self, machine: &str) -> bool {
        match self {
            Fault::SyncError(victim) | Fault::DiskFull(victim) | Fault::DeathAtWork(victim, _) => {
                *victim == machine
            }
            _ => false,
        }
    }
}

/// How many faults of each kind there were, and how many were seen to act.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally(BTreeMap<&'static str, (u64, u64)>);

impl Tally {
    /// One more has begun.
    pub fn begun(&mut self, kind: &'static str) {
        self.0.entry(kind).or_default().0 += 1;
    }

    /// One more was seen to act.
    pub fn acted(&mut self, kind: &'static str) {
        self.0.entry(kind).or_default().1 += 1;
    }

    /// Those of another run on top.
    pub fn add(&mut self, other: &Tally) {
        for (kind, (begun, acted)) in &other.0 {
            let sums = self.0.entry(kind).or_default();
            *sums = (sums.0 + begun, sums.1 + acted);
        }
    }

    /// What [`Display`](fmt::Display) writes; None if it is anything else.
    pub fn parse(text: &str) -> Option<Tally> {
        let one = |word: &str| {
            let (name, counts) = word.split_once('=')?;
            let (acted, begun) = counts.split_once('/')?;
            let kind = KINDS.into_iter().find(|kind| *kind == name)?;
            Some((kind, (begun.parse().ok()?, acted.parse().ok()?)))
        };
        text.split_whitespace().map(one).collect::<Option<_>>().map(Tally)
    }

    /// Kinds of which at least `least` have begun and none was seen to act.
    pub fn idle(&self, least: u64) -> Vec<&'static str> {
        let idle = self.0.iter().filter(|(_, (begun, acted))| *begun >= least && *acted == 0);
        idle.map(|(kind, _)| *kind).collect()
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, (kind, (begun, acted))) in self.0.iter().enumerate() {
            write!(f, "{}{kind}={acted}/{begun}", if n == 0 { "" } else { " " })?;
        }
        Ok(())
    }
}

/// Draws the faults of a run: some kinds of all, one after the other or overlapping, all over when the safety phase is.
pub fn schedule(random: &mut Random, safety: Duration, sets: u32) -> Vec<Planned> {
    let kinds: Vec<&str> = KINDS.into_iter().filter(|_| random.below(2) == 0).collect();
    if kinds.is_empty() {
        return Vec::new();
    }
    let (every_ms, longest_ms) = ([1_000, 3_000][random.below(2)], [500, 2_500, 6_000][random.below(3)]);
    let end_ms = usize::try_from(safety.as_millis()).expect("a run is shorter than years");
    let mut planned = Vec::new();
    let mut at_ms = random.below(every_ms);
    while at_ms + 100 < end_ms {
        let kind = random.below(kinds.len());
        let fault = draw(random, kinds[kind], sets);
        let for_ms = (100 + random.below(longest_ms)).min(end_ms - at_ms);
        let [at, for_] = [at_ms, for_ms].map(|ms| Duration::from_millis(ms as u64));
        planned.push(Planned { at, for_, fault });
        at_ms += 1 + random.below(every_ms * 2);
    }
    planned
}

fn draw(random: &mut Random, kind: &str, sets: u32) -> Fault {
    let node = |random: &mut Random| NODES[random.below(NODES.len())];
    // The last one is the arbiter, whose disk has little to do.
    let busy = |random: &mut Random| NODES[random.below(17) / 4];
    match kind {
        "isolate" => Fault::Isolate(some(random, true)),
        "site-split" => Fault::SiteSplit,
        "one-way" | "hold" => {
            let (first, step) = (random.below(NODES.len()), 1 + random.below(NODES.len() - 1));
            let (one, other) = (NODES[first], NODES[(first + step) % NODES.len()]);
            if kind == "hold" { Fault::Hold(one, other) } else { Fault::OneWay(one, other) }
        }
        "crash" => Fault::Crash(some(random, true)),
        "power-loss" => Fault::PowerLoss(some(random, false)),
        "sync-error" => Fault::SyncError(busy(random)),
        "disk-full" => Fault::DiskFull(busy(random)),
        "slow-disk" => Fault::SlowDisk(busy(random), [20, 200, 1_500][random.below(3)]),
        "death-at-work" => {
            let most = [30, 1_000][random.below(2)];
            Fault::DeathAtWork(busy(random), 1 + random.below(most) as u64)
        }
        "clock" => {
            let by_ms = [30, 1_000, 60_000, 3_600_000][random.below(4)];
            Fault::Clock(node(random), if random.below(2) == 0 { by_ms } else { -by_ms })
        }
        _ => Fault::Switch(1 + random.below(sets as usize) as u32),
    }
}

/// Whom a fault hits: mostly one node, sometimes a site's nodes, a router if it can be one, or every node.
fn some(random: &mut Random, or_router: bool) -> Vec<&'static str> {
    match random.below(10) {
        0 => vec!["a1", "a2"],
        1 => vec!["b1", "b2"],
        2 if or_router => vec![ROUTERS[random.below(ROUTERS.len())]],
        3 => NODES.to_vec(),
        _ => vec![NODES[random.below(NODES.len())]],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tally_is_read_as_it_is_written_and_knows_what_never_acted() {
        let mut tally = Tally::default();
        (0..3).for_each(|_| tally.begun("crash"));
        (0..3).for_each(|_| tally.begun("hold"));
        tally.acted("crash");
        assert_eq!(tally.to_string(), "crash=1/3 hold=0/3");
        assert_eq!(Tally::parse(&tally.to_string()), Some(tally.clone()));
        assert_eq!((tally.idle(3), tally.idle(4)), (vec!["hold"], vec![]));
        tally.add(&Tally::parse("hold=1/1").unwrap());
        assert_eq!((tally.to_string().as_str(), tally.idle(1)), ("crash=1/3 hold=1/4", vec![]));
        assert_eq!((Tally::parse("crash"), Tally::parse("earthquake=1/1")), (None, None));
    }
}
