//! A fault on links as rules of `iptables`, in the switch of the site that sends: their texts, and what their counters
//! say. Pure; [`super::fabric`] hands the texts over.
//!
//! Each fault has a chain of its own, so that healing removes exactly what injecting added. Of two faults that cut the same
//! link, only the later one sees its packets.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use super::plan::Plan;
use crate::nemesis::{Fault, Link};

/// A partition whose shape ends so answers what it cuts with a reset, where others are silent.
pub const RESET: &str = "+reset";
/// The queue that delayed packets wait in.
pub const QUEUE: u16 = 0;

/// The rules of one fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    table: &'static str,
    hook: &'static str,
    chain: String,
    /// By the site whose switch has them.
    lines: BTreeMap<String, Vec<String>>,
    links: usize,
}

/// What counters say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Packets that met the rules.
    pub packets: u64,
    /// Links that had one.
    pub links: usize,
}

impl Rules {
    /// The rules of `fault`, under a number that no other active fault has. An error if it is none on links, or names ends
    /// that there are not.
    pub fn new(plan: &Plan, number: u64, fault: &Fault) -> anyhow::Result<Self> {
        let (table, hook, links, target) = match fault {
            Fault::Partition { shape, cut, .. } if shape.ends_with(RESET) => {
                ("filter", "FORWARD", cut, "-p tcp -j REJECT --reject-with tcp-reset".to_owned())
            }
            Fault::Partition { cut, .. } => ("filter", "FORWARD", cut, "-j DROP".to_owned()),
            Fault::Loss { links, percent, .. } => {
                anyhow::ensure!((1..=100).contains(percent), "{percent} of a hundred packets cannot be lost");
                let share = f64::from(*percent) / 100.0;
                let target = format!("-m statistic --mode random --probability {share:.2} -j DROP");
                ("filter", "FORWARD", links, target)
            }
            // Behind the cuts: what a queue lets go meets no further rule.
            Fault::Delay { links, .. } => {
                ("mangle", "POSTROUTING", links, format!("-j NFQUEUE --queue-num {QUEUE}"))
            }
            other => anyhow::bail!("no fault on links: {other:?}"),
        };
        let chain = format!("fault-{number}");
        let mut lines: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let unique: BTreeSet<&Link> = links.iter().collect();
        anyhow::ensure!(!unique.is_empty(), "a fault on no link: {fault:?}");
        for link in &unique {
            let (from, to) = (plan.end(&link.from)?, plan.end(&link.to)?);
            anyhow::ensure!(from.name != to.name, "{} has no link to itself", from.name);
            let rule = format!("-A {chain} -s {}/32 -d {}/32 {target}", from.ip, to.ip);
            lines.entry(from.site.clone()).or_default().push(rule);
        }
        let links = unique.len();
        Ok(Rules { table, hook, chain, lines, links })
    }

    /// The table that they are in.
    pub fn table(&self) -> &'static str {
        self.table
    }

    /// How many links.
    pub fn links(&self) -> usize {
        self.links
    }

    /// The sites whose switches have some.
    pub fn sites(&self) -> impl Iterator<Item = &String> {
        self.lines.keys()
    }

    /// What `iptables-restore --noflush` reads to put them in place, all at once.
    pub fn install(&self, site: &str) -> String {
        let (table, hook, chain) = (self.table, self.hook, &self.chain);
        let mut text = format!("*{table}\n:{chain} - [0:0]\n");
        for line in self.lines.get(site).into_iter().flatten() {
            writeln!(text, "{line}").expect("a string takes every line");
        }
        writeln!(text, "-I {hook} 1 -j {chain}\nCOMMIT").expect("a string takes every line");
        text
    }

    /// What `iptables-restore --noflush` reads to take them away.
    pub fn remove(&self) -> String {
        let (table, hook, chain) = (self.table, self.hook, &self.chain);
        format!("*{table}\n-D {hook} -j {chain}\n-F {chain}\n-X {chain}\nCOMMIT\n")
    }

    /// The counters of the rules in what `iptables-save -c` prints.
    pub fn counted(&self, saved: &str) -> Counted {
        let of_us = format!(" -A {} ", self.chain);
        let packets = saved.lines().filter(|line| line.contains(&of_us)).filter_map(|line| {
            let counters = line.strip_prefix('[')?;
            counters.split_once(':')?.0.parse::<u64>().ok()
        });
        packets.filter(|&packets| packets > 0).fold(Counted::default(), |sum, packets| Counted {
            packets: sum.packets + packets,
            links: sum.links + 1,
        })
    }
}

impl std::ops::AddAssign for Counted {
    fn add_assign(&mut self, other: Self) {
        self.packets += other.packets;
        self.links += other.links;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use twinset_tools::cluster::Layout;

    fn plan() -> Plan {
        Plan::new(&Layout::new("d".as_ref(), "b".as_ref(), 2, 7100))
    }

    fn link(from: &str, to: &str) -> Link {
        Link { from: from.to_owned(), to: to.to_owned() }
    }

    fn cut(shape: &str, cut: Vec<Link>) -> Fault {
        Fault::Partition { shape: shape.to_owned(), cut, for_ms: 1 }
    }

    #[test]
    fn a_cut_stands_in_the_switch_of_who_sends_and_in_one_direction() {
        let links = vec![link("a1", "b1"), link("b1", "a2"), link("a1", "b1")];
        let rules = Rules::new(&plan(), 3, &cut("one_way", links)).unwrap();
        assert_eq!(rules.sites().collect::<Vec<_>>(), ["A", "B"]);
        assert_eq!(
            rules.install("A"),
            "*filter\n:fault-3 - [0:0]\n-A fault-3 -s 10.99.1.10/32 -d 10.99.2.12/32 -j DROP\n\
             -I FORWARD 1 -j fault-3\nCOMMIT\n"
        );
        assert!(rules.install("B").contains("-s 10.99.2.12/32 -d 10.99.1.11/32 -j DROP"));
        assert_eq!(rules.links(), 2);
    }

    #[test]
    fn each_kind_of_fault_has_its_target() {
        let links = || vec![link("a1", "b1")];
        let text = |fault: Fault| Rules::new(&plan(), 1, &fault).unwrap().install("A");
        assert!(text(cut("node+reset", links())).contains("-p tcp -j REJECT --reject-with tcp-reset"));
        let loss = Fault::Loss { links: links(), percent: 7, for_ms: 1 };
        assert!(text(loss).contains("--probability 0.07 -j DROP"));
        let delay = Fault::Delay { links: links(), delay_ms: 5, jitter_ms: 5, for_ms: 1 };
        assert!(text(delay).starts_with("*mangle"));
    }

    #[test]
    fn what_cannot_be_done_is_refused() {
        let refused = |fault: Fault| assert!(Rules::new(&plan(), 1, &fault).is_err(), "{fault:?}");
        refused(cut("x", vec![link("a1", "a1")]));
        refused(cut("x", vec![link("a1", "nobody")]));
        refused(cut("x", Vec::new()));
        refused(Fault::RollingRestart);
        refused(Fault::Loss { links: vec![link("a1", "b1")], percent: 0, for_ms: 1 });
        refused(Fault::Loss { links: vec![link("a1", "b1")], percent: 101, for_ms: 1 });
    }

    #[test]
    fn only_the_counters_of_its_own_rules_count() {
        let rules = Rules::new(&plan(), 3, &cut("x", vec![link("a1", "b1")])).unwrap();
        let saved = "*filter\n:FORWARD ACCEPT [9:9]\n:fault-3 - [0:0]\n[99:9] -A FORWARD -j fault-3\n\
                     [8:1032] -A fault-3 -s 10.99.1.10/32 -d 10.99.2.12/32 -j DROP\n\
                     [0:0] -A fault-3 -s 10.99.1.10/32 -d 10.99.2.13/32 -j DROP\n\
                     [5:5] -A fault-33 -s 10.99.1.10/32 -d 10.99.2.12/32 -j DROP\nCOMMIT\n";
        assert_eq!(rules.counted(saved), Counted { packets: 8, links: 1 });
    }
}
