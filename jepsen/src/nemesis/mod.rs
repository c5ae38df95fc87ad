//! Faults as data. A nemesis draws them from the seed; the files beside this one do them to a cluster and undo them. Drawing
//! is pure. A fault says what was seen of it when it is undone: one that nobody saw act makes a run invalid, not green.

pub mod clock;
pub mod corrupt;
pub mod disk;
pub mod links;
pub mod points;
pub mod power;
pub mod silence;
pub mod sites;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use self::links::Shape;
use crate::logs::{self, Allowed};
use crate::net::rules::RESET;

/// One direction between two ends: processes by their names, and `client-A` and `client-B` for the clients of a site.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Link {
    /// Who sends.
    pub from: String,
    /// Who would hear it.
    pub to: String,
}

/// Which of a node's files is hurt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FileKind {
    /// The newest write-ahead log.
    Log,
    /// A table file.
    Table,
    /// The database's list of its files.
    Manifest,
    /// The marker of what was synced.
    Marker,
}

/// How a file is hurt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Damage {
    /// One bit is turned over.
    BitFlip,
    /// A part of it holds what another part holds.
    CopiedChunk,
    /// Its end is missing.
    Truncated,
}

/// Switches of all sets take about so long.
const SWITCHES_LAST: Duration = Duration::from_millis(60);

/// What nodes say of a switch whose target, leader or control set has died. Any node may be the one that carried it out, or
/// the next one that settles it.
pub const GIVEN_UP: &[Allowed] = &[
    Allowed { part: "switch given up", why: "a switch whose target or control set has died is undone" },
    Allowed { part: "the end of the switch is not recorded yet", why: "the control set was electing" },
    Allowed {
        part: "open switch not settled yet",
        why: "the control set was electing; the keeper tries again",
    },
];

/// What is done to a cluster. Times in milliseconds; who is meant is a process's name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "fault")]
#[expect(missing_docs, reason = "the words of a variant and the names of its fields say it all")]
pub enum Fault {
    /// SIGKILL, and started again after a while; maybe once more in the middle of the recovery.
    Kill { victims: Vec<String>, down_ms: u64, again_ms: Option<u64> },
    /// SIGSTOP for longer than the lease, then SIGCONT.
    Pause { victims: Vec<String>, for_ms: u64 },
    /// SIGKILL, and everything that was not synced is lost (`seed` says how much of the unsynced tails survives).
    PowerLoss { victims: Vec<String>, down_ms: u64, seed: u64 },
    /// Nothing passes these links.
    Partition { shape: String, cut: Vec<Link>, for_ms: u64 },
    /// What passes these links arrives later, by up to so much more at random: connections overtake each other.
    Delay { links: Vec<Link>, delay_ms: u64, jitter_ms: u64, for_ms: u64 },
    /// So many of a hundred packets on these links are lost.
    Loss { links: Vec<Link>, percent: u8, for_ms: u64 },
    /// The wall clock of a process jumps, and jumps back at the end.
    ClockStep { victim: String, by_ms: i64, for_ms: u64 },
    /// Every write that needs room fails.
    DiskFull { victim: String, for_ms: u64 },
    /// The next sync of its store fails, as a dying disk would.
    FsyncError { victim: String, down_ms: u64 },
    /// Every sync takes so much longer.
    SlowDisk { victim: String, by_ms: u64, for_ms: u64 },
    /// A file of a stopped node is hurt; the node is started, judged, stopped, and started once more with the whole file.
    Corrupt { victim: String, file: FileKind, damage: Damage, seed: u64 },
    /// Planned switches of all sets, one right after the other.
    Switches { count: u32 },
    /// Every process is asked to stop and started again, one after the other.
    RollingRestart,
    /// A whole site dies at once, and the arbiter with it if one is named. Its sets go on in the other site; then it is back, and is
    /// copied anew. One node of the other site may stand still for a while just before.
    SiteLoss { site: String, victims: Vec<String>, arbiter: Option<String>, lame: Option<Lame>, down_ms: u64 },
    /// The arbiter is away, and no set misses it.
    ArbiterLoss { victim: String, down_ms: u64 },
    /// A plan moves all sets out of a site, and another one brings them home. It may be stopped and resumed, and whoever carries it out
    /// may die.
    Evacuation { site: String, emergency: bool, stopped: bool, conductor_dies: bool },
    /// A node that was given the lead of a set dies, or stands still, where it has passed a point of a protocol so many times unharmed; a
    /// little after that, if it is to be later. Others stand still until then where only that brings it there.
    AtPoint {
        victim: String,
        set: u32,
        point: String,
        passes: u32,
        after_us: u64,
        freezes: bool,
        silent: Vec<String>,
        for_ms: u64,
    },
    /// One begins and is undone in the middle of another.
    Amid { around: Box<Fault>, within: Box<Fault> },
}

/// Who stands still before a site is lost, and for how long.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lame {
    /// The process.
    pub victim: String,
    /// In milliseconds.
    pub for_ms: u64,
}

impl Fault {
    /// How long it is in force at least before it is undone.
    pub fn lasts(&self) -> Duration {
        let ms = match self {
            Fault::Amid { around, .. } => return around.lasts(),
            Fault::Kill { down_ms, .. }
            | Fault::PowerLoss { down_ms, .. }
            | Fault::FsyncError { down_ms, .. }
            | Fault::SiteLoss { down_ms, .. }
            | Fault::ArbiterLoss { down_ms, .. } => down_ms,
            Fault::Pause { for_ms, .. }
            | Fault::AtPoint { for_ms, .. }
            | Fault::Partition { for_ms, .. }
            | Fault::Delay { for_ms, .. }
            | Fault::Loss { for_ms, .. }
            | Fault::ClockStep { for_ms, .. }
            | Fault::DiskFull { for_ms, .. }
            | Fault::SlowDisk { for_ms, .. } => for_ms,
            Fault::Switches { count } => return SWITCHES_LAST * *count,
            Fault::Corrupt { .. } | Fault::RollingRestart | Fault::Evacuation { .. } => &0,
        };
        Duration::from_millis(*ms)
    }

    /// Whether a process ends by it, and another one begins.
    pub fn ends_processes(&self) -> bool {
        match self {
            Fault::Kill { .. }
            | Fault::PowerLoss { .. }
            | Fault::DiskFull { .. }
            | Fault::FsyncError { .. }
            | Fault::Corrupt { .. }
            | Fault::RollingRestart
            | Fault::AtPoint { .. }
            | Fault::SiteLoss { .. }
            | Fault::ArbiterLoss { .. } => true,
            Fault::Evacuation { conductor_dies, .. } => *conductor_dies,
            Fault::Amid { around, within } => around.ends_processes() || within.ends_processes(),
            Fault::Pause { .. }
            | Fault::Partition { .. }
            | Fault::Delay { .. }
            | Fault::Loss { .. }
            | Fault::ClockStep { .. }
            | Fault::SlowDisk { .. }
            | Fault::Switches { .. } => false,
        }
    }

    /// The nemesis that draws such faults.
    pub fn nemesis(&self) -> &'static str {
        match self {
            Fault::Kill { .. } => "kill",
            Fault::Pause { .. } => "pause",
            Fault::PowerLoss { .. } => "power",
            Fault::Partition { shape, .. } => match shape.trim_end_matches(RESET) {
                shape if shape == Shape::SiteSplit.word() => "split",
                shape if shape == Shape::Leader.word() => "isolate",
                _ => "partition",
            },
            Fault::Delay { .. } => "delay",
            Fault::Loss { .. } => "loss",
            Fault::ClockStep { .. } => "clock",
            Fault::DiskFull { .. } | Fault::FsyncError { .. } | Fault::SlowDisk { .. } => "disk",
            Fault::Corrupt { .. } => "corrupt",
            Fault::Switches { .. } => "switches",
            Fault::RollingRestart => "restart",
            Fault::SiteLoss { arbiter: None, .. } => "site",
            Fault::SiteLoss { .. } | Fault::ArbiterLoss { .. } => "arbiter",
            Fault::Evacuation { .. } => "plans",
            Fault::AtPoint { .. } => points::NAME,
            Fault::Amid { .. } => "amid",
        }
    }

    /// What a process may say of it in its log.
    pub fn excuses(&self, process: &str) -> Vec<Allowed> {
        match self {
            Fault::DiskFull { victim, .. } | Fault::FsyncError { victim, .. } if victim == process => {
                disk::ALLOWED.to_vec()
            }
            Fault::AtPoint { victim, .. } if victim == process => points::ARMED.to_vec(),
            Fault::ClockStep { victim, .. } if victim == process => clock::WRONG.to_vec(),
            Fault::Corrupt { victim, .. } if victim == process => corrupt::ALLOWED.to_vec(),
            Fault::SiteLoss { .. } => logs::AFTER_LOST_SITES.to_vec(),
            Fault::Evacuation { .. } => GIVEN_UP.to_vec(),
            Fault::Amid { around, within } => {
                let given_up = if matches!(**around, Fault::Switches { .. }) { GIVEN_UP } else { &[] };
                [given_up.to_vec(), around.excuses(process), within.excuses(process)].concat()
            }
            _ => Vec::new(),
        }
    }

    /// Whether it keeps one site from telling another that it has something on disk: a site is dark, or does not reach the
    /// other. `nodes` gives the site of each node that holds accounts.
    pub fn parts_sites(&self, nodes: &BTreeMap<String, String>) -> bool {
        nodes.values().any(|site| self.deafens(site, nodes))
    }

    /// Whether no node of a site can hear any node of another one while it is in force.
    pub fn deafens(&self, site: &str, nodes: &BTreeMap<String, String>) -> bool {
        let mut sites: BTreeMap<&str, BTreeSet<&String>> = BTreeMap::new();
        for (name, site) in nodes {
            sites.entry(site).or_default().insert(name);
        }
        let Some(own) = sites.remove(site) else { return false };
        match self {
            Fault::Kill { victims, .. }
            | Fault::Pause { victims, .. }
            | Fault::PowerLoss { victims, .. }
            | Fault::SiteLoss { victims, .. } => {
                sites.values().any(|names| names.iter().all(|name| victims.contains(*name)))
            }
            Fault::Partition { cut, .. } => {
                let cut: BTreeSet<(&String, &String)> =
                    cut.iter().map(|link| (&link.from, &link.to)).collect();
                let silent = |from: &BTreeSet<&String>| {
                    from.iter().all(|from| own.iter().all(|to| cut.contains(&(*from, *to))))
                };
                sites.values().any(silent)
            }
            Fault::Amid { around, .. } => around.deafens(site, nodes),
            _ => false,
        }
    }
}

/// What was seen of a fault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// Whether it acted at all.
    pub acted: bool,
    /// What shows it: a counter, a state of the process, a refusal in the log.
    pub detail: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full(victim: &str) -> Fault {
        Fault::DiskFull { victim: victim.into(), for_ms: 1 }
    }

    fn pause(victims: &[&str]) -> Fault {
        Fault::Pause { victims: victims.iter().map(|name| (*name).to_owned()).collect(), for_ms: 1 }
    }

    fn amid(around: Fault, within: Fault) -> Fault {
        Fault::Amid { around: Box::new(around), within: Box::new(within) }
    }

    #[test]
    fn a_fault_excuses_its_victim_alone() {
        for fault in [full("a1"), amid(pause(&["b1"]), full("a1"))] {
            assert!(!fault.excuses("a1").is_empty() && fault.excuses("b1").is_empty(), "{fault:?}");
        }
        assert!(pause(&["a1"]).excuses("a1").is_empty(), "who stood still has nothing to complain of");
    }
}
