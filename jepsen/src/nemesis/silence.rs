//! Which faults may silence a set for as long as they last, and which may not: the excuse that liveness takes. Others take over
//! from a process that dies, stands still, is slow or alone, and nobody has to wait for a planned step or a slow link. A set
//! has an excuse only where too few of its replicas are left that hear each other, or no router that hears them and is
//! heard by clients. Pure.

use std::collections::BTreeSet;

use super::{Fault, Link};
use crate::net::plan::clients_of;

/// Lost packets of a hundred that may stop a connection for seconds: each loss of what is sent again doubles its patience.
const HEAVY_LOSS_PERCENT: u8 = 15;

/// Where a set is, and how it is reached.
#[derive(Clone, Debug, Default)]
pub struct Ways<'a> {
    /// The nodes that hold a replica of it.
    pub replicas: &'a [String],
    /// The routers.
    pub routers: &'a [String],
    /// The sites that clients are in.
    pub sites: &'a [String],
}

/// What a fault takes away while it is in force.
#[derive(Default)]
struct Taken<'f> {
    processes: BTreeSet<&'f str>,
    links: BTreeSet<(&'f str, &'f str)>,
    /// Something that no count of processes and links tells.
    heavy: bool,
}

impl<'f> Taken<'f> {
    fn by(fault: &'f Fault) -> Self {
        let mut taken = Taken::default();
        taken.add(fault);
        taken
    }

    fn add(&mut self, fault: &'f Fault) {
        match fault {
            Fault::Kill { victims, .. }
            | Fault::Pause { victims, .. }
            | Fault::PowerLoss { victims, .. }
            | Fault::SiteLoss { victims, .. } => {
                self.processes.extend(victims.iter().map(String::as_str));
            }
            Fault::AtPoint { victim, silent, .. } => {
                self.processes.extend(silent.iter().chain([victim]).map(String::as_str));
            }
            Fault::Partition { cut, .. } => {
                self.links.extend(cut.iter().map(|Link { from, to }| (from.as_str(), to.as_str())));
            }
            Fault::Loss { percent, .. } => self.heavy |= *percent >= HEAVY_LOSS_PERCENT,
            Fault::Amid { around, within } => {
                self.add(around);
                self.add(within);
            }
            Fault::DiskFull { victim, .. }
            | Fault::FsyncError { victim, .. }
            | Fault::Corrupt { victim, .. }
            | Fault::ArbiterLoss { victim, .. } => {
                self.processes.insert(victim);
            }
            Fault::Delay { .. }
            | Fault::ClockStep { .. }
            | Fault::SlowDisk { .. }
            | Fault::Switches { .. }
            | Fault::Evacuation { .. }
            | Fault::RollingRestart => {}
        }
    }

    /// Whether two ends are there and hear each other.
    fn hear(&self, a: &str, b: &str) -> bool {
        let gone = self.processes.contains(a) || self.processes.contains(b);
        !gone && !self.links.contains(&(a, b)) && !self.links.contains(&(b, a))
    }
}

impl Fault {
    /// Whether a set that is reached on these ways may be silent for as long as this lasts. Of a set's replicas all but one,
    /// whichever that is, are a majority of the voters and have one in each site: as long as so many hear each other, and a
    /// router hears them and clients, it serves.
    pub fn may_silence(&self, ways: &Ways<'_>) -> bool {
        let taken = Taken::by(self);
        if taken.heavy {
            return true;
        }
        let reached = |all: &[&String]| {
            ways.routers.iter().any(|router| {
                let clients = || ways.sites.iter().any(|site| taken.hear(&clients_of(site), router));
                all.iter().all(|node| taken.hear(node, router)) && clients()
            })
        };
        let served = |without: Option<usize>| {
            let left: Vec<&String> = (0..ways.replicas.len())
                .filter(|at| Some(*at) != without)
                .map(|at| &ways.replicas[at])
                .collect();
            let all_hear = left
                .iter()
                .enumerate()
                .all(|(at, a)| taken.hear(a, a) && left[at + 1..].iter().all(|b| taken.hear(a, b)));
            all_hear && reached(&left)
        };
        !served(None) && !(0..ways.replicas.len()).any(|one| served(Some(one)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn silences(fault: &Fault) -> bool {
        let (replicas, routers) = (names(&["a1", "a2", "b1", "b2"]), names(&["ra", "rb"]));
        let sites = names(&["A", "B"]);
        fault.may_silence(&Ways { replicas: &replicas, routers: &routers, sites: &sites })
    }

    fn pause(victims: &[&str]) -> Fault {
        Fault::Pause { victims: names(victims), for_ms: 1 }
    }

    fn cut(links: &[(&str, &str)]) -> Fault {
        let link = |(from, to): &(&str, &str)| Link { from: (*from).into(), to: (*to).into() };
        Fault::Partition { shape: "any".into(), cut: links.iter().map(link).collect(), for_ms: 1 }
    }

    fn amid(around: Fault, within: Fault) -> Fault {
        Fault::Amid { around: Box::new(around), within: Box::new(within) }
    }

    #[test]
    fn one_process_that_is_gone_silences_no_set_and_two_do() {
        assert!(!silences(&pause(&["a1"])) && !silences(&pause(&["ra"])) && !silences(&pause(&["a1", "ra"])));
        assert!(silences(&pause(&["a1", "a2"])) && silences(&pause(&["a1", "b1"])));
        assert!(silences(&pause(&["ra", "rb"])));
        assert!(!silences(&Fault::RollingRestart) && !silences(&Fault::Switches { count: 3 }));
        let full = |victim: &str| Fault::DiskFull { victim: victim.into(), for_ms: 1 };
        assert!(!silences(&full("a1")) && silences(&amid(full("a1"), pause(&["b2"]))));
        assert!(!silences(&amid(full("a1"), pause(&["a1"]))));
    }

    #[test]
    fn links_silence_a_set_only_where_too_few_hear_each_other() {
        assert!(!silences(&cut(&[("a1", "b1")])), "three others hear each other");
        assert!(!silences(&cut(&[("a1", "a2"), ("a1", "b1"), ("a1", "b2"), ("a1", "ra")])), "one alone");
        let split = [("a1", "b1"), ("a1", "b2"), ("a2", "b1"), ("a2", "b2")];
        assert!(silences(&cut(&split)), "one way is enough");
        assert!(silences(&cut(&[("a1", "b1"), ("a2", "b2")])), "no three hear each other");
        assert!(silences(&amid(cut(&[("a1", "b1")]), pause(&["a2"]))));
        assert!(!silences(&amid(cut(&[("a1", "b1")]), pause(&["a1"]))));
    }

    #[test]
    fn clients_need_one_router_that_hears_them_and_the_set() {
        assert!(!silences(&cut(&[("client-A", "ra"), ("client-A", "rb")])), "clients of B are served");
        assert!(silences(&cut(&[
            ("client-A", "ra"),
            ("ra", "client-B"),
            ("client-A", "rb"),
            ("client-B", "rb")
        ])));
        assert!(!silences(&cut(&[("ra", "a1"), ("ra", "a2"), ("ra", "b1"), ("ra", "b2")])));
        assert!(silences(&amid(cut(&[("a1", "ra"), ("a2", "ra")]), pause(&["rb"]))));
    }

    #[test]
    fn a_slow_link_is_no_excuse_and_a_heavy_loss_is() {
        let links = vec![Link { from: "a1".into(), to: "b1".into() }];
        let loss = |percent| Fault::Loss { links: links.clone(), percent, for_ms: 1 };
        assert!(!silences(&loss(5)) && silences(&loss(15)));
        assert!(!silences(&Fault::Delay { links: links.clone(), delay_ms: 150, jitter_ms: 300, for_ms: 1 }));
    }
}
