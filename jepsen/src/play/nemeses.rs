//! The table of nemeses: what `--nemesis` names, and how each draws its next fault from the seed. Does nothing to anybody.

use std::time::Duration;

use twinset_tools::cluster::admin::Survey;
use twinset_tools::load::random::Random;

use super::Stage;
use crate::death::{self, Victim};
use crate::nemesis::links::Shape;
use crate::nemesis::{self, Fault};

/// What `--nemesis` names.
pub struct Nemesis {
    /// Its name.
    pub name: &'static str,
    /// One line for `list`.
    pub about: &'static str,
    /// Whether it wants networks of our own, as root or in a user namespace.
    pub on_links: bool,
    /// Draws the next fault. Who leads a set is known only by then: the survey says.
    pub draw: fn(&mut Random, &Stage, &Survey) -> Fault,
}

/// Every nemesis.
pub const ALL: &[Nemesis] = &[
    Nemesis {
        name: "kill",
        about: "SIGKILL of a leader, a node, the arbiter or a router; sometimes once more while it recovers",
        on_links: false,
        draw: |random, stage, survey| {
            let death = death::next(random, stage.cluster.layout(), &stage.sets);
            Fault::Kill {
                victims: vec![name(&death.victim, survey)],
                down_ms: millis(death.down),
                again_ms: death.again.map(millis),
            }
        },
    },
    Nemesis {
        name: "pause",
        about: "SIGSTOP of a process for longer than its lease, then SIGCONT",
        on_links: false,
        draw: |random, stage, survey| {
            let death = death::next(random, stage.cluster.layout(), &stage.sets);
            let for_ms = 600 + random.below(4_000) as u64;
            Fault::Pause { victims: vec![name(&death.victim, survey)], for_ms }
        },
    },
    Nemesis {
        name: "switches",
        about: "planned switches of all sets, one right after the other; each changes the voters",
        on_links: false,
        draw: |random, _, _| Fault::Switches { count: 1 + random.below(4) as u32 },
    },
    Nemesis {
        name: "restart",
        about: "every process is asked to stop and started again, one after the other",
        on_links: false,
        draw: |_, _, _| Fault::RollingRestart,
    },
    Nemesis {
        name: "partition",
        about: "links are cut: one node, one way, a bridge, a ring, clients from a site; silent or with resets",
        on_links: true,
        draw: |random, stage, survey| {
            let shape = SHAPES[random.below(SHAPES.len())];
            cut(random, stage, survey, shape)
        },
    },
    Nemesis {
        name: "split",
        about: "the sites do not hear each other: nothing may be answered until they do",
        on_links: true,
        draw: |random, stage, survey| cut(random, stage, survey, Shape::SiteSplit),
    },
    Nemesis {
        name: "isolate",
        about: "a leader does not hear the other nodes, while routers and clients reach it",
        on_links: true,
        draw: |random, stage, survey| cut(random, stage, survey, Shape::Leader),
    },
    Nemesis {
        name: "delay",
        about: "links between sites or around a process are slow, and connections overtake each other",
        on_links: true,
        draw: |random, stage, _| nemesis::links::delay(random, stage.cluster.layout()),
    },
    Nemesis {
        name: "loss",
        about: "links lose packets",
        on_links: true,
        draw: |random, stage, _| nemesis::links::loss(random, stage.cluster.layout()),
    },
    Nemesis {
        name: "disk",
        about: "a node's sync fails, its disk is full, or slow",
        on_links: false,
        draw: |random, stage, _| nemesis::disk::draw(random, stage.cluster.layout()),
    },
    Nemesis {
        name: "power",
        about: "one node, a site or everything loses power, and with it what was not synced",
        on_links: false,
        draw: |random, stage, _| nemesis::power::draw(random, stage.cluster.layout()),
    },
    Nemesis {
        name: "clock",
        about: "a node's wall clock jumps, and jumps back",
        on_links: false,
        draw: |random, stage, _| nemesis::clock::draw(random, stage.cluster.layout()),
    },
    Nemesis {
        name: "corrupt",
        about: "a stopped node's log, table, manifest or marker is damaged; the node is judged, then made whole",
        on_links: false,
        draw: |random, stage, _| nemesis::corrupt::draw(random, stage.cluster.layout()),
    },
    Nemesis {
        name: "amid",
        about: "a kill, a pause or a power loss while links are cut, slow or lossy, or a clock is wrong",
        on_links: true,
        draw: amid,
    },
];

/// What `partition` draws; the sites apart and a leader alone have nemeses of their own.
const SHAPES: [Shape; 5] = [Shape::Node, Shape::OneWay, Shape::Bridge, Shape::Ring, Shape::Client];

/// What happens around another fault, and what within.
const AROUND: &[&str] = &["partition", "split", "isolate", "delay", "loss", "clock"];
const WITHIN: &[&str] = &["kill", "pause", "power"];

fn amid(random: &mut Random, stage: &Stage, survey: &Survey) -> Fault {
    let mut one_of = |names: &[&str]| {
        let name = names[random.below(names.len())];
        let nemesis = ALL.iter().find(|nemesis| nemesis.name == name).expect("they are in the table");
        Box::new((nemesis.draw)(random, stage, survey))
    };
    Fault::Amid { around: one_of(AROUND), within: one_of(WITHIN) }
}

fn cut(random: &mut Random, stage: &Stage, survey: &Survey, shape: Shape) -> Fault {
    let set = stage.sets[random.below(stage.sets.len())];
    let leader = name(&Victim::LeaderOf(set), survey);
    nemesis::links::partition(random, stage.cluster.layout(), &leader, shape)
}

/// Stands for every nemesis that can be done here.
pub const EVERY: &str = "all";

/// The nemeses of a list of names.
pub fn named(names: &[String]) -> anyhow::Result<Vec<&'static Nemesis>> {
    crate::named::named(ALL, |nemesis| nemesis.name, "nemesis", names)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn name(victim: &Victim, survey: &Survey) -> String {
    match victim {
        Victim::Process(name) => name.clone(),
        Victim::LeaderOf(set) => {
            survey.leader(*set).map(|(_, reply)| reply.node.clone()).unwrap_or_else(|| "a1".to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_nemesis_has_a_player_and_a_name_of_its_own() {
        let names: std::collections::BTreeSet<&str> = ALL.iter().map(|nemesis| nemesis.name).collect();
        assert_eq!(names.len(), ALL.len());
        let layout = twinset_tools::cluster::Layout::new("d".as_ref(), "b".as_ref(), 2, 7100);
        let mut random = Random::seeded(1);
        let mut drawn = vec![
            Fault::Kill { victims: vec!["a1".into()], down_ms: 1, again_ms: None },
            Fault::Pause { victims: vec!["a1".into()], for_ms: 1 },
            Fault::Switches { count: 1 },
            Fault::RollingRestart,
        ];
        for draw in [
            |random: &mut Random, layout: &_| nemesis::links::partition(random, layout, "a1", Shape::Bridge),
            nemesis::links::delay,
            nemesis::links::loss,
            nemesis::disk::draw,
            nemesis::power::draw,
            nemesis::clock::draw,
            nemesis::corrupt::draw,
        ] {
            drawn.extend((0..20).map(|_| draw(&mut random, &layout)));
        }
        for fault in &drawn {
            assert_eq!(
                super::super::players().iter().filter(|player| player.plays(fault)).count(),
                1,
                "{fault:?}"
            );
        }
        for name in AROUND.iter().chain(WITHIN) {
            assert!(names.contains(name), "{name}");
        }
        assert!(named(&["kill".into()]).is_ok());
        assert!(named(&["earthquake".into()]).is_err());
    }
}
