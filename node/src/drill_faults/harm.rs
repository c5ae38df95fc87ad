//! What a node can do to itself for a drill, and how that is asked for. Decides nothing about who may ask.

use std::time::Duration;

use twinset_proto::cluster::v1 as wire;
use twinset_store::Strain;

/// Every kind, as calls, commands and metrics name it.
pub const KINDS: [&str; 9] =
    ["kill", "pause", "stall-disk", "slow-disk", "fill-disk", "drop", "delay", "step-clock", "silence"];

/// The longest that a sync or a message is held up, in milliseconds.
const BY_MS_MAX: i64 = 60_000;
/// The farthest that the clock goes, in milliseconds: a day.
const STEP_MS_MAX: i64 = 86_400_000;

/// What a node does to itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Harm {
    /// The process dies, as by kill -9.
    Kill,
    /// It stands still.
    Pause,
    /// Syncs stall or are slow, or the disk is full.
    Disk(Strain),
    /// Nothing passes on its connections with others.
    Drop(Link),
    /// What passes there is late by so much.
    Delay(Link, Duration),
    /// Its wall clock is ahead by so many nanoseconds, or behind.
    StepClock(i64),
    /// Nothing passes on any of its connections.
    Silence,
}

/// Connections with others, in one direction or both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// At the other end.
    pub far: Far,
    /// What they send here.
    pub inbound: bool,
    /// What is sent to them.
    pub outbound: bool,
}

/// Who is at the other end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Far {
    /// A node, or a router that says its name.
    Process(String),
    /// All nodes of a site, and its routers that say where they are.
    Site(String),
}

impl Harm {
    /// From a call; the error says what is wrong with it.
    pub fn asked(asked: &wire::DrillFault) -> Result<Harm, String> {
        let kind = asked.kind.as_str();
        let harm = match kind {
            "kill" => Harm::Kill,
            "pause" => Harm::Pause,
            "stall-disk" => Harm::Disk(Strain::Stall),
            "slow-disk" => Harm::Disk(Strain::Slow(late(asked)?)),
            "fill-disk" => Harm::Disk(Strain::Full),
            "drop" => Harm::Drop(link(asked)?),
            "delay" => Harm::Delay(link(asked)?, late(asked)?),
            "step-clock" => Harm::StepClock(step(asked)?),
            "silence" => Harm::Silence,
            _ => return Err(format!("there is no kind {kind:?}; there are {}", KINDS.join(", "))),
        };
        let by = matches!(harm, Harm::Disk(Strain::Slow(_)) | Harm::Delay(..) | Harm::StepClock(_));
        if !by && asked.by_ms != 0 {
            return Err(format!("{kind} takes no milliseconds"));
        }
        let linked = matches!(harm, Harm::Drop(_) | Harm::Delay(..));
        let named = [&asked.node, &asked.site, &asked.direction].iter().any(|name| !name.is_empty());
        if !linked && named {
            return Err(format!("{kind} is of this node alone: it takes no node, site or direction"));
        }
        Ok(harm)
    }

    /// As calls name it.
    pub fn kind(&self) -> &'static str {
        match self {
            Harm::Kill => "kill",
            Harm::Pause => "pause",
            Harm::Disk(Strain::Stall) => "stall-disk",
            Harm::Disk(Strain::Slow(_)) => "slow-disk",
            Harm::Disk(Strain::Full) => "fill-disk",
            Harm::Drop(_) => "drop",
            Harm::Delay(..) => "delay",
            Harm::StepClock(_) => "step-clock",
            Harm::Silence => "silence",
        }
    }
}

fn late(asked: &wire::DrillFault) -> Result<Duration, String> {
    let sensible = (1..=BY_MS_MAX).contains(&asked.by_ms);
    let by = u64::try_from(asked.by_ms).ok().filter(|_| sensible);
    by.map(Duration::from_millis).ok_or_else(|| format!("{} takes 1 to {BY_MS_MAX} milliseconds", asked.kind))
}

fn step(asked: &wire::DrillFault) -> Result<i64, String> {
    let sensible = asked.by_ms != 0 && (-STEP_MS_MAX..=STEP_MS_MAX).contains(&asked.by_ms);
    sensible.then(|| asked.by_ms * 1_000_000).ok_or_else(|| {
        format!("{} takes milliseconds, not 0 and at most {STEP_MS_MAX} ahead or back", asked.kind)
    })
}

fn link(asked: &wire::DrillFault) -> Result<Link, String> {
    let far = match (asked.node.as_str(), asked.site.as_str()) {
        (node, "") if !node.is_empty() => Far::Process(node.to_owned()),
        ("", site) if !site.is_empty() => Far::Site(site.to_owned()),
        _ => return Err(format!("{} takes a node or a site, one of the two", asked.kind)),
    };
    let (inbound, outbound) = match asked.direction.as_str() {
        "both" => (true, true),
        "in" => (true, false),
        "out" => (false, true),
        _ => return Err(format!("{} takes a direction: in, out or both", asked.kind)),
    };
    Ok(Link { far, inbound, outbound })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(kind: &str) -> wire::DrillFault {
        wire::DrillFault { kind: kind.to_owned(), ..wire::DrillFault::default() }
    }

    fn on_link(kind: &str, by_ms: i64) -> wire::DrillFault {
        wire::DrillFault { by_ms, site: "B".into(), direction: "in".into(), ..fault(kind) }
    }

    #[test]
    fn every_kind_is_understood_by_its_name() {
        for kind in KINDS {
            let asked = match kind {
                "drop" => on_link(kind, 0),
                "delay" => on_link(kind, 1),
                "slow-disk" | "step-clock" => wire::DrillFault { by_ms: 1, ..fault(kind) },
                _ => fault(kind),
            };
            assert_eq!(Harm::asked(&asked).map(|harm| harm.kind()), Ok(kind));
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_the_reason() {
        let with = |asked: wire::DrillFault, by_ms| wire::DrillFault { by_ms, ..asked };
        for (asked, reason) in [
            (fault(""), "there is no kind"),
            (fault("reboot"), "there are kill, pause"),
            (with(fault("kill"), 1), "takes no milliseconds"),
            (fault("slow-disk"), "1 to 60000"),
            (with(fault("slow-disk"), -5), "1 to 60000"),
            (on_link("delay", 60_001), "1 to 60000"),
            (fault("step-clock"), "not 0"),
            (with(fault("step-clock"), i64::MIN), "not 0"),
            (on_link("silence", 0), "of this node alone"),
            (wire::DrillFault { node: "a1".into(), ..on_link("drop", 0) }, "one of the two"),
            (wire::DrillFault { site: String::new(), ..on_link("drop", 0) }, "one of the two"),
            (wire::DrillFault { direction: "up".into(), ..on_link("drop", 0) }, "in, out or both"),
        ] {
            let refused = Harm::asked(&asked).unwrap_err();
            assert!(refused.contains(reason), "{asked:?}: {refused}");
        }
    }
}
