//! What is looked at before a plan begins: named checks with results that programs can read. Pure: made from one
//! survey.

use std::collections::BTreeSet;

use serde::Serialize;
use twinset_control::plan::Kind;
use twinset_control::{CONTROL_SET, Catalogue, Durability, Node};

use super::{Draft, DraftStep};
use crate::cluster::admin::Survey;

/// Entries that a copy may lack unnoticed.
pub const LAG_NOTED: u64 = 500;
/// A site that would use more of its processors than this, in thousandths, does not take over.
pub const CPU_PERMILLE_MAX: u32 = 700;
/// Of a disk, in percent: less than the first is refused, less than the second is noted.
const DISK_FREE_PERCENT: (u64, u64) = (5, 20);

/// How a check came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// All is well.
    Pass,
    /// Worth a look; refused with `--strict`.
    Warn,
    /// Refused.
    Fail,
}

/// One check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// Its name, which never changes.
    pub check: &'static str,
    /// How it came out.
    pub verdict: Verdict,
    /// What was found.
    pub detail: String,
}

/// Names of the checks, in order.
pub const NAMES: [&str; 10] =
    ["control", "plans", "switches", "leaders", "durability", "nodes", "copies", "lag", "capacity", "disk"];
/// Those that hold even when a site is about to die: without them no plan could be carried out.
const ALWAYS: [&str; 2] = ["control", "plans"];

/// Runs all checks; what is in `overridden` warns instead of refusing.
pub fn run(survey: &Survey, catalogue: &Catalogue, draft: &Draft, overridden: &[String]) -> Vec<Check> {
    let look = Look { survey, catalogue, draft };
    let found = [
        look.control(),
        look.plans(),
        look.switches(),
        look.leaders(),
        look.durability(),
        look.nodes(),
        look.copies(),
        look.lag(),
        look.capacity(),
        look.disk(),
    ];
    let named = NAMES.into_iter().zip(found);
    named.map(|(check, found)| judged(check, found, draft.kind.is_emergency(), overridden)).collect()
}

fn judged(check: &'static str, found: Found, emergency: bool, overridden: &[String]) -> Check {
    let (verdict, detail) = found;
    let (verdict, detail) = match verdict {
        Verdict::Fail if overridden.iter().any(|name| name == check) => {
            (Verdict::Warn, format!("{detail} (overridden)"))
        }
        Verdict::Fail if emergency && !ALWAYS.contains(&check) => {
            (Verdict::Warn, format!("{detail} (an emergency goes on)"))
        }
        _ => (verdict, detail),
    };
    Check { check, verdict, detail }
}

/// The checks that refuse the plan.
pub fn refusing(checks: &[Check], strict: bool) -> Vec<&Check> {
    let refuses = |check: &&Check| match check.verdict {
        Verdict::Pass => false,
        Verdict::Warn => strict,
        Verdict::Fail => true,
    };
    checks.iter().filter(refuses).collect()
}

type Found = (Verdict, String);

fn pass(detail: impl Into<String>) -> Found {
    (Verdict::Pass, detail.into())
}

fn warn(detail: impl Into<String>) -> Found {
    (Verdict::Warn, detail.into())
}

/// Fails with what was found, if anything was.
fn none_of(found: Vec<String>, otherwise: &str) -> Found {
    if found.is_empty() { pass(otherwise) } else { (Verdict::Fail, found.join("; ")) }
}

struct Look<'a> {
    survey: &'a Survey,
    catalogue: &'a Catalogue,
    draft: &'a Draft,
}

impl Look<'_> {
    fn control(&self) -> Found {
        match self.survey.leader(CONTROL_SET) {
            Some((_, leader)) => pass(format!("{} leads the control set", leader.node)),
            None => (Verdict::Fail, "the control set has no leader that answers".to_owned()),
        }
    }

    fn plans(&self) -> Found {
        let plans = self
            .catalogue
            .active_plans()
            .map(|plan| format!("plan {} ({}) is {}", plan.id, plan.kind, plan.state));
        none_of(plans.collect(), "no other plan is under way")
    }

    fn switches(&self) -> Found {
        let open = |set: &twinset_control::Set| {
            let switch = set.switch.as_ref()?;
            Some(format!("switch {} of set {} is under way", switch.id, set.id))
        };
        none_of(self.catalogue.sets.values().filter_map(open).collect(), "no set is being switched")
    }

    fn leaders(&self) -> Found {
        let led = |set: &&u32| self.survey.leader(**set).is_none();
        let none =
            self.catalogue.sets.keys().filter(led).map(|set| format!("set {set} has no leader that answers"));
        none_of(none.collect(), "every set has a leader")
    }

    /// A return is there to mend that; an isolation finds it done.
    fn durability(&self) -> Found {
        let is_sync = |step: &&DraftStep| {
            let recorded = self.catalogue.sets[&step.set].durability == Durability::Sync;
            let in_force =
                self.survey.leader_status(step.set).is_none_or(|leader| leader.durability == "SYNC");
            recorded && in_force
        };
        let not = self.draft.steps.iter().filter(|step| !is_sync(step));
        let sets: Vec<String> = not.map(|step| format!("set {} is not SYNC", step.set)).collect();
        match self.draft.kind {
            Kind::Evacuate { .. } => none_of(sets, "every set of the plan is SYNC"),
            Kind::Isolate { .. } | Kind::Return { .. } => pass("this plan does not ask for SYNC"),
        }
    }

    /// The nodes of the sites that the plan relies on.
    fn relied_on(&self) -> Vec<&Node> {
        let mut sites: BTreeSet<&str> = self.draft.steps.iter().map(|step| step.to.as_str()).collect();
        if let Kind::Return { .. } = self.draft.kind {
            sites.extend(self.catalogue.data_sites());
        }
        self.catalogue.nodes.values().filter(|node| sites.contains(node.site.as_str())).collect()
    }

    fn nodes(&self) -> Found {
        let down = |node: &&Node| match self.survey.answers.get(&node.api_addr) {
            Some(Ok(reply)) if reply.ready => None,
            Some(Ok(reply)) => Some(format!("{} is not ready: {}", node.name, reply.not_ready_because)),
            Some(Err(reason)) => Some(format!("{} does not answer: {reason}", node.name)),
            None => Some(format!("{} was not asked", node.name)),
        };
        let relied_on = self.relied_on();
        none_of(relied_on.iter().filter_map(down).collect(), "the nodes that take over are ready")
    }

    fn copies(&self) -> Found {
        let mut missing = Vec::new();
        for step in &self.draft.steps {
            let Some(leader) = self.survey.leader_status(step.set) else { continue };
            let set = &self.catalogue.sets[&step.set];
            let there =
                set.replicas.iter().filter(|r| self.catalogue.site_of_node(&r.node) == Some(&step.to));
            for replica in there {
                let member = leader.voters.contains(&replica.id) || leader.learners.contains(&replica.id);
                let status = self.survey.reply_of(&replica.node);
                let status = status.and_then(|reply| reply.replicas.iter().find(|r| r.set == step.set));
                match status {
                    Some(status) if member && status.fault.is_empty() => {}
                    Some(status) if member => {
                        missing.push(format!("set {} on {}: {}", step.set, replica.node, status.fault));
                    }
                    _ => missing
                        .push(format!("the copy of set {} on {} does not answer", step.set, replica.node)),
                }
            }
        }
        none_of(missing, "both copies of every set answer where it is to be at home")
    }

    fn lag(&self) -> Found {
        let lags = self.draft.steps.iter().filter_map(|step| {
            let lag = step.lag.filter(|lag| *lag > LAG_NOTED)?;
            Some(format!("a copy of set {} in {} lacks {lag} entries", step.set, step.to))
        });
        let lags: Vec<String> = lags.collect();
        if lags.is_empty() {
            return pass("the copies follow");
        }
        warn(format!("{}; these sets are taken last", lags.join("; ")))
    }

    /// What leaves one site comes to the nodes of the other, evenly: more than they will need, as the copies that
    /// stay behind go on costing where they are.
    fn capacity(&self) -> Found {
        if let Kind::Isolate { .. } = self.draft.kind {
            return pass("nothing moves");
        }
        let mut worst: Option<(u32, &str)> = None;
        for site in self.catalogue.data_sites() {
            let other = self.catalogue.other_site(site).unwrap_or_default();
            let come = self.draft.steps.iter().filter(|step| step.to == site && step.from != site).count();
            let there = self.catalogue.sets.values().filter(|set| set.home == other).count();
            if come == 0 || there == 0 {
                continue;
            }
            let (Some(here), Some(leaves)) = (self.cpu_of(site), self.cpu_of(other)) else {
                return warn(format!(
                    "not every node of {site} and {other} says what it uses of its machine"
                ));
            };
            let comes = leaves.iter().map(|(_, cpu)| u64::from(*cpu)).sum::<u64>() * come as u64
                / (there * here.len()) as u64;
            for (node, cpu) in here {
                let predicted = cpu.saturating_add(u32::try_from(comes).unwrap_or(u32::MAX));
                if worst.is_none_or(|(known, _)| known < predicted) {
                    worst = Some((predicted, node));
                }
            }
        }
        let Some((predicted, node)) = worst else { return pass("nothing moves") };
        let (percent, max) = (predicted / 10, CPU_PERMILLE_MAX / 10);
        if predicted > CPU_PERMILLE_MAX {
            let detail = format!("{node} would use {percent}% of its processors, more than {max}%");
            return (Verdict::Fail, detail);
        }
        pass(format!("at most {percent}% of the processors of a node would be in use ({node})"))
    }

    fn cpu_of(&self, site: &str) -> Option<Vec<(&str, u32)>> {
        let nodes = self.catalogue.nodes.values().filter(|node| node.site == site);
        let cpu = nodes.map(|node| {
            let used = self.survey.reply_of(&node.name)?.resources.as_ref()?;
            Some((node.name.as_str(), used.cpu_permille))
        });
        cpu.collect()
    }

    fn disk(&self) -> Found {
        let (mut full, mut low) = (Vec::new(), Vec::new());
        for node in self.relied_on() {
            let Some(used) = self.survey.reply_of(&node.name).and_then(|reply| reply.resources.as_ref())
            else {
                low.push(format!("{} does not say what it has", node.name));
                continue;
            };
            let percent = (used.disk_free_bytes * 100).checked_div(used.disk_bytes).unwrap_or(0);
            let found = format!("{} has {percent}% of its disk left", node.name);
            match percent {
                _ if percent < DISK_FREE_PERCENT.0 => full.push(found),
                _ if percent < DISK_FREE_PERCENT.1 => low.push(found),
                _ => {}
            }
        }
        match (full.is_empty(), low.is_empty()) {
            (false, _) => (Verdict::Fail, full.join("; ")),
            (true, false) => warn(low.join("; ")),
            (true, true) => pass("the disks of the nodes that take over have room"),
        }
    }
}
