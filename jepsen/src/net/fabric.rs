//! The networks of one cluster, made and hurt: namespaces, cables, translation, and the rules of faults. Everything here
//! blocks for some milliseconds. The texts come from [`super::plan`] and [`super::rules`]; [`super::Net`] stands above.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use super::delay::Delayer;
use super::namespace::Namespace;
use super::nfqueue::Queue;
use super::plan::Plan;
use super::rules::{Counted, QUEUE, Rules};
use super::schedule::Path;
use crate::nemesis::{Evidence, Fault, Link};

/// How long new links may take.
const SETTLE: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(20);

/// The networks. Dropping them ends the delays; the kernel removes the rest with the last process in it.
pub struct Fabric {
    plan: Plan,
    ends: BTreeMap<String, Arc<Namespace>>,
    switches: BTreeMap<String, Namespace>,
    delayer: Delayer,
    active: Mutex<Active>,
}

/// Until the kernel has taken up all links of a network, up to a second after they were switched on, it drops what is sent.
fn settle(network: &Namespace) -> anyhow::Result<()> {
    let deadline = Instant::now() + SETTLE;
    loop {
        let links = network.command("ip", &["-br", "link"], "")?;
        let down = |line: &&str| !matches!(line.split_whitespace().nth(1), Some("UP" | "UNKNOWN"));
        let Some(waiting) = links.lines().find(down) else { return Ok(()) };
        anyhow::ensure!(Instant::now() < deadline, "after {SETTLE:?} a link is not up: {waiting}");
        std::thread::park_timeout(POLL);
    }
}

/// The faults that act now.
#[derive(Default)]
struct Active {
    last: u64,
    faults: Vec<(u64, Fault, Rules)>,
}

impl Fabric {
    /// Makes the networks of a plan.
    pub fn open(plan: Plan) -> anyhow::Result<Self> {
        let mut ends = BTreeMap::new();
        for end in &plan.ends {
            ends.insert(end.name.clone(), Arc::new(Namespace::new()?));
        }
        let mut switches = BTreeMap::new();
        for site in &plan.sites {
            switches.insert(site.clone(), Namespace::new()?);
        }
        for (site, switch) in &switches {
            let text = plan.switch(site, |end| ends[end].path(), |other| switches[other].path());
            switch.command("ip", &["-batch", "-"], &text)?;
        }
        for (site, switch) in &switches {
            switch.command("ip", &["-batch", "-"], &plan.switch_links(site))?;
            switch.set("net/ipv4/ip_forward", "1")?;
        }
        for end in &plan.ends {
            let network = &ends[&end.name];
            network.command("ip", &["-batch", "-"], &plan.cable(end))?;
            network.set("net/ipv4/conf/all/route_localnet", "1")?;
            network.command("iptables-restore", &[], &plan.translation(end))?;
            // What comes late, after a cut, is still translated, not answered by whoever does not know it.
            network.set("net/netfilter/nf_conntrack_tcp_be_liberal", "1")?;
        }
        for network in ends.values().map(Arc::as_ref).chain(switches.values()) {
            settle(network)?;
        }
        let queues = switches.values().map(|switch| anyhow::Ok(switch.run(|| Queue::bind(QUEUE))??));
        let delayer = Delayer::start(queues.collect::<anyhow::Result<_>>()?)?;
        Ok(Fabric { plan, ends, switches, delayer, active: Mutex::default() })
    }

    /// The network of an end.
    pub fn end(&self, name: &str) -> anyhow::Result<&Arc<Namespace>> {
        self.ends.get(name).ok_or_else(|| anyhow::anyhow!("no process or client is called {name}"))
    }

    /// Does a fault on links: all of it, or an error and none of it.
    pub fn inject(&self, fault: &Fault) -> anyhow::Result<()> {
        let mut active = self.active();
        anyhow::ensure!(
            active.faults.iter().all(|(_, other, _)| other != fault),
            "it acts already: {fault:?}"
        );
        active.last += 1;
        let number = active.last;
        let rules = Rules::new(&self.plan, number, fault)?;
        if let Fault::Delay { links, delay_ms, jitter_ms, .. } = fault {
            let paths = links.iter().map(|link| self.path(link)).collect::<anyhow::Result<_>>()?;
            let (delay, jitter) = (Duration::from_millis(*delay_ms), Duration::from_millis(*jitter_ms));
            self.delayer.delay(number, paths, delay, jitter);
        }
        let mut done: Vec<&String> = Vec::new();
        for site in rules.sites() {
            if let Err(error) = self.restore(site, &rules.install(site)) {
                for site in done {
                    // The first error is worth more.
                    let _ = self.restore(site, &rules.remove());
                }
                let _ = self.delayer.heal(number);
                return Err(error);
            }
            done.push(site);
        }
        active.faults.push((number, fault.clone(), rules));
        Ok(())
    }

    /// Undoes a fault and says what was seen of it. One that does not act has nothing to undo, and was not seen.
    pub fn heal(&self, fault: &Fault) -> anyhow::Result<Evidence> {
        let mut active = self.active();
        let Some(at) = active.faults.iter().position(|(_, other, _)| other == fault) else {
            return Ok(Evidence { acted: false, detail: "there was nothing to undo".to_owned() });
        };
        let (number, _, rules) = active.faults.remove(at);
        let mut counted = Counted::default();
        for site in rules.sites() {
            let saved = self.switches[site].command("iptables-save", &["-c", "-t", rules.table()], "")?;
            self.restore(site, &rules.remove())?;
            counted += rules.counted(&saved);
        }
        let of_all = rules.links();
        let Counted { mut packets, links } = counted;
        let words = match fault {
            Fault::Delay { .. } => {
                packets = self.delayer.heal(number)?;
                "delayed"
            }
            Fault::Loss { .. } => "lost",
            _ => "stopped",
        };
        let detail = format!("{words} {packets} packets on {links} of {of_all} links");
        // Not every two processes have something to say to each other in a second or two.
        Ok(Evidence { acted: packets > 0 && links * 2 >= of_all, detail })
    }

    fn restore(&self, site: &str, text: &str) -> anyhow::Result<()> {
        self.switches[site].command("iptables-restore", &["--noflush"], text).map(drop)
    }

    fn path(&self, link: &Link) -> anyhow::Result<Path> {
        Ok((self.plan.end(&link.from)?.ip, self.plan.end(&link.to)?.ip))
    }

    fn active(&self) -> MutexGuard<'_, Active> {
        self.active.lock().expect("nothing panics under this lock")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use twinset_tools::cluster::Layout;

    fn rules(fabric: &Fabric) -> String {
        let saved = |switch: &Namespace| switch.command("iptables-save", &[], "").unwrap();
        fabric.switches.values().map(saved).collect()
    }

    #[test]
    fn healing_leaves_no_rule_and_a_refusal_makes_none() {
        let layout = Layout::new("d".as_ref(), "b".as_ref(), 2, 7100);
        let fabric = Fabric::open(Plan::new(&layout)).unwrap();
        let link = |from: &str, to: &str| Link { from: from.to_owned(), to: to.to_owned() };
        let links = || vec![link("a1", "b1"), link("c1", "a1"), link("rb", "a2")];
        let faults = [
            Fault::Partition { shape: "x".to_owned(), cut: links(), for_ms: 0 },
            Fault::Loss { links: links(), percent: 5, for_ms: 0 },
            Fault::Delay { links: links(), delay_ms: 1, jitter_ms: 1, for_ms: 0 },
        ];
        for fault in &faults {
            fabric.inject(fault).unwrap();
        }
        // Each has its rules, and a jump to them, in every switch.
        assert_eq!(rules(&fabric).matches("-A ").count(), 3 * 3 * 2);
        for fault in &faults {
            fabric.heal(fault).unwrap();
        }
        assert!(!rules(&fabric).contains("fault"), "{}", rules(&fabric));
        let strange = Fault::Loss { links: vec![link("a1", "b1"), link("a1", "b9")], percent: 5, for_ms: 0 };
        fabric.inject(&strange).unwrap_err();
        assert!(!rules(&fabric).contains("fault"), "{}", rules(&fabric));
    }
}
