//! The faults of a simulation as data, and how they are drawn. What they do to the simulated world is `world.rs`'s. Pure.

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
    /// These processes die and are started again at the end.
    Crash(Vec<&'static str>),
    /// The wall clock of a machine is off, by milliseconds.
    Clock(&'static str, i64),
    /// An operator switches a set to the other site.
    Switch(u32),
}

/// The kinds of faults.
pub const KINDS: [&str; 7] = ["isolate", "site-split", "one-way", "hold", "crash", "clock", "switch"];

impl Fault {
    /// Which kind it is.
    pub fn kind(&self) -> &'static str {
        match self {
            Fault::Isolate(_) => "isolate",
            Fault::SiteSplit => "site-split",
            Fault::OneWay(..) => "one-way",
            Fault::Hold(..) => "hold",
            Fault::Crash(_) => "crash",
            Fault::Clock(..) => "clock",
            Fault::Switch(_) => "switch",
        }
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
    match kind {
        "isolate" => Fault::Isolate(some(random)),
        "site-split" => Fault::SiteSplit,
        "one-way" | "hold" => {
            let (first, step) = (random.below(NODES.len()), 1 + random.below(NODES.len() - 1));
            let (one, other) = (NODES[first], NODES[(first + step) % NODES.len()]);
            if kind == "hold" { Fault::Hold(one, other) } else { Fault::OneWay(one, other) }
        }
        "crash" => Fault::Crash(some(random)),
        "clock" => {
            let by_ms = [30, 1_000, 60_000, 3_600_000][random.below(4)];
            Fault::Clock(node(random), if random.below(2) == 0 { by_ms } else { -by_ms })
        }
        _ => Fault::Switch(1 + random.below(sets as usize) as u32),
    }
}

/// Whom a fault hits: mostly one node, sometimes a site's nodes, a router, or every node.
fn some(random: &mut Random) -> Vec<&'static str> {
    match random.below(10) {
        0 => vec!["a1", "a2"],
        1 => vec!["b1", "b2"],
        2 => vec![ROUTERS[random.below(ROUTERS.len())]],
        3 => NODES.to_vec(),
        _ => vec![NODES[random.below(NODES.len())]],
    }
}
