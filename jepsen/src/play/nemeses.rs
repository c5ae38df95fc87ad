//! The table of nemeses: what `--nemesis` names, and how each draws its next fault from the seed. Does nothing to anybody.

use std::time::Duration;

use twinset_tools::cluster::admin::Survey;
use twinset_tools::cluster::layout::{Kind, Layout};
use twinset_tools::load::random::Random;

use crate::death::{self, Victim};
use crate::nemesis::links::Shape;
use crate::nemesis::{self, Fault, points};

/// What is drawn from.
#[derive(Clone, Copy)]
pub struct Scene<'a> {
    /// The processes.
    pub layout: &'a Layout,
    /// The sets that clients use.
    pub sets: &'a [u32],
    /// Who leads what.
    pub survey: &'a Survey,
    /// What clients do.
    pub workloads: &'a [String],
}

/// What `--nemesis` names.
pub struct Nemesis {
    /// Its name.
    pub name: &'static str,
    /// One line for `list`.
    pub about: &'static str,
    /// Whether it wants networks of our own, as root or in a user namespace.
    pub on_links: bool,
    /// Whether it is for sets that go on with one site, and are recovered when they have lost the other. In a run without such a
    /// nemesis they never do, and every answer has to be in both sites.
    pub goes_on: bool,
    /// Draws the next fault. Who leads a set is known only by then: the survey says.
    pub draw: fn(&mut Random, &Scene<'_>) -> Fault,
}

/// Every nemesis.
pub const ALL: &[Nemesis] = &[
    Nemesis {
        name: "kill",
        about: "SIGKILL of a leader, a node, the arbiter, a router or a site; sometimes once more in the recovery",
        on_links: false,
        goes_on: false,
        draw: |random, scene| {
            let death = death::next(random, scene.layout, scene.sets);
            let one = vec![name(&death.victim, scene.survey)];
            let a_site = random.below(100) < SITE_PERCENT;
            Fault::Kill {
                victims: if a_site { site(random, scene.layout) } else { one },
                down_ms: millis(death.down),
                again_ms: death.again.map(millis),
            }
        },
    },
    Nemesis {
        name: "pause",
        about: "SIGSTOP of a process, or of a site's nodes, for longer than the lease, then SIGCONT",
        on_links: false,
        goes_on: false,
        draw: |random, scene| {
            let death = death::next(random, scene.layout, scene.sets);
            let one = vec![name(&death.victim, scene.survey)];
            let a_site = random.below(100) < SITE_PERCENT;
            let for_ms = 600 + random.below(4_000) as u64;
            Fault::Pause { victims: if a_site { site(random, scene.layout) } else { one }, for_ms }
        },
    },
    Nemesis {
        name: "switches",
        about: "planned switches of all sets, one right after the other; each changes the voters",
        on_links: false,
        goes_on: false,
        draw: |random, _| Fault::Switches { count: 1 + random.below(4) as u32 },
    },
    Nemesis {
        name: "restart",
        about: "every process is asked to stop and started again, one after the other",
        on_links: false,
        goes_on: false,
        draw: |_, _| Fault::RollingRestart,
    },
    Nemesis {
        name: "partition",
        about: "links are cut: one node, one way, a bridge, a ring, clients from a site; silent or with resets",
        on_links: true,
        goes_on: false,
        draw: |random, scene| {
            let shape = SHAPES[random.below(SHAPES.len())];
            cut(random, scene, shape)
        },
    },
    Nemesis {
        name: "split",
        about: "the sites do not hear each other: nothing may be answered until they do",
        on_links: true,
        goes_on: false,
        draw: |random, scene| cut(random, scene, Shape::SiteSplit),
    },
    Nemesis {
        name: "isolate",
        about: "a leader does not hear the other nodes, while routers and clients reach it",
        on_links: true,
        goes_on: false,
        draw: |random, scene| cut(random, scene, Shape::Leader),
    },
    Nemesis {
        name: "delay",
        about: "links between sites or around a process are slow, and connections overtake each other",
        on_links: true,
        goes_on: false,
        draw: |random, scene| nemesis::links::delay(random, scene.layout),
    },
    Nemesis {
        name: "loss",
        about: "links lose packets",
        on_links: true,
        goes_on: false,
        draw: |random, scene| nemesis::links::loss(random, scene.layout),
    },
    Nemesis {
        name: "disk",
        about: "a node's sync fails, its disk is full, or slow",
        on_links: false,
        goes_on: false,
        draw: |random, scene| nemesis::disk::draw(random, scene.layout),
    },
    Nemesis {
        name: "power",
        about: "one node, a site or everything loses power, and with it what was not synced",
        on_links: false,
        goes_on: false,
        draw: |random, scene| nemesis::power::draw(random, scene.layout),
    },
    Nemesis {
        name: "clock",
        about: "a node's wall clock jumps, and jumps back",
        on_links: false,
        goes_on: false,
        draw: |random, scene| nemesis::clock::draw(random, scene.layout),
    },
    Nemesis {
        name: "corrupt",
        about: "a stopped node's log, table, manifest or marker is damaged; the node is judged, then made whole",
        on_links: false,
        goes_on: false,
        draw: |random, scene| nemesis::corrupt::draw(random, scene.layout),
    },
    Nemesis {
        name: "amid",
        about: "a kill, a pause or a power loss while links are cut, slow or lossy, a clock is wrong, or sets are switched",
        on_links: true,
        goes_on: false,
        draw: amid,
    },
    Nemesis {
        name: points::NAME,
        about: "a leader dies or stands still just where it gets to a point of a protocol, for the so manieth time",
        on_links: false,
        goes_on: false,
        draw: |random, scene| {
            let known = (scene.layout, scene.survey.catalogue.as_ref());
            points::draw(random, known, scene.sets, scene.workloads)
        },
    },
    Nemesis {
        name: "site",
        about: "all processes of a site die at once; its sets go on in the other one, and it comes back",
        on_links: false,
        goes_on: true,
        draw: |random, scene| nemesis::sites::loss(random, scene.layout, scene.survey.catalogue.as_ref()),
    },
    Nemesis {
        name: "arbiter",
        about: "the arbiter is away for seconds, now and then a whole site with it",
        on_links: false,
        goes_on: true,
        draw: |random, scene| nemesis::sites::arbiter(random, scene.layout, scene.survey.catalogue.as_ref()),
    },
    Nemesis {
        name: PLANS,
        about: "a site is evacuated by plan, or at once, and its sets brought home; some plans are stopped half-way",
        on_links: false,
        goes_on: true,
        draw: |random, scene| {
            nemesis::sites::evacuation(random, scene.layout, scene.survey.catalogue.as_ref())
        },
    },
];

/// Of a hundred kills and pauses, so many take all nodes of a site.
const SITE_PERCENT: usize = 8;

/// The nodes of one site that hold accounts.
fn site(random: &mut Random, layout: &Layout) -> Vec<String> {
    let sites: Vec<&String> = layout.routers().map(|router| &router.site).collect();
    let site = sites[random.below(sites.len())];
    let of_site = layout.nodes().filter(|node| node.kind == Kind::Node && node.site == *site);
    of_site.map(|node| node.name.clone()).collect()
}

/// What `partition` draws; the sites apart and a leader alone have nemeses of their own.
const SHAPES: [Shape; 5] = [Shape::Node, Shape::OneWay, Shape::Bridge, Shape::Ring, Shape::Client];

/// What happens around another fault, and what within.
const AROUND: &[&str] = &["partition", "split", "isolate", "delay", "loss", "clock", "switches"];
const WITHIN: &[&str] = &["kill", "pause", "power"];

fn amid(random: &mut Random, scene: &Scene<'_>) -> Fault {
    let mut one_of = |names: &[&str]| {
        let name = names[random.below(names.len())];
        let nemesis = ALL.iter().find(|nemesis| nemesis.name == name).expect("they are in the table");
        Box::new((nemesis.draw)(random, scene))
    };
    Fault::Amid { around: one_of(AROUND), within: one_of(WITHIN) }
}

fn cut(random: &mut Random, scene: &Scene<'_>, shape: Shape) -> Fault {
    let set = scene.sets[random.below(scene.sets.len())];
    let leader = name(&Victim::LeaderOf(set), scene.survey);
    nemesis::links::partition(random, scene.layout, &leader, shape)
}

/// The nemesis that moves sets by plan.
pub const PLANS: &str = "plans";

/// Stands for every nemesis that can be done here to sets of which every answer has to be in both sites.
pub const EVERY: &str = "all";

/// The nemeses of a list of names, [`EVERY`] among them where nothing needs links.
pub fn named(names: &[String], plain: bool) -> anyhow::Result<Vec<&'static Nemesis>> {
    let (every, named): (Vec<String>, Vec<String>) = names.iter().cloned().partition(|name| name == EVERY);
    let named = crate::named::named(ALL, |nemesis| nemesis.name, "nemesis", &named)?;
    let stays = ALL.iter().filter(|nemesis| !every.is_empty() && !nemesis.goes_on);
    Ok(stays.filter(|nemesis| !plain || !nemesis.on_links).chain(named).collect())
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
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_nemesis_has_a_name_and_whatever_it_draws_has_a_player() {
        let names: BTreeSet<&str> = ALL.iter().map(|nemesis| nemesis.name).collect();
        assert_eq!(names.len(), ALL.len());
        let layout = Layout::new("d".as_ref(), "b".as_ref(), 2, 7100);
        let survey = Survey::default();
        let workloads = ["mixed".to_owned()];
        let scene = Scene { layout: &layout, sets: &[1, 2], survey: &survey, workloads: &workloads };
        let mut random = Random::seeded(1);
        let (mut dark, mut around) = (0, BTreeSet::new());
        for nemesis in ALL {
            for _ in 0..200 {
                let fault = (nemesis.draw)(&mut random, &scene);
                assert_eq!(fault.nemesis(), nemesis.name, "{fault:?}");
                let alone = match &fault {
                    Fault::Amid { around: outer, within } => {
                        around.insert(outer.nemesis());
                        vec![&**outer, &**within]
                    }
                    alone => vec![alone],
                };
                for fault in alone {
                    let play = super::super::players().iter().filter(|player| player.plays(fault)).count();
                    assert_eq!(play, 1, "{fault:?}");
                }
                dark += usize::from(matches!(&fault, Fault::Kill { victims, .. } if victims.len() == 2));
            }
        }
        assert!((1..50).contains(&dark), "now and then a site is killed: {dark}");
        assert_eq!(around, AROUND.iter().copied().collect());
    }

    #[test]
    fn all_are_those_that_leave_every_answer_in_both_sites() {
        let names = |names: &[&str], plain| -> anyhow::Result<Vec<&str>> {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            Ok(named(&names, plain)?.iter().map(|nemesis| nemesis.name).collect())
        };
        assert_eq!(names(&["kill"], false).unwrap(), ["kill"]);
        assert!(names(&["earthquake"], false).is_err());
        let all = names(&["all"], false).unwrap();
        assert!(all.contains(&"split") && all.contains(&"amid") && !all.contains(&"site"), "{all:?}");
        let plain = names(&["all", "site"], true).unwrap();
        assert!(!plain.contains(&"split") && plain.contains(&"kill") && plain.contains(&"site"), "{plain:?}");
    }
}
