//! The format of a scenario: what a drill does, in which stages, what it must prove, and what stops it. Read from TOML and
//! checked as a whole before anything begins. Types and their rules only: who the roles are is found in `cast.rs`, what is
//! done in `play.rs`. Described for people in docs/reference/drills.md.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error;

/// A drill as it is written down.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// Its name, which is the file's name without `.toml`.
    pub name: String,
    /// What happens, in a few words.
    pub title: String,
    /// What has been shown when it passes.
    pub proves: String,
    /// What it must show to pass.
    pub criteria: Criteria,
    /// What stops it.
    #[serde(default)]
    pub guardrails: Guardrails,
    /// In order.
    #[serde(rename = "stage")]
    pub stages: Vec<Stage>,
}

/// What a drill must show. Books that balance, every acknowledged payment in its accounts, and sets that are back home and
/// SYNC in the end are asked of every drill.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Criteria {
    /// Payments that may fail: not applied, or never answered, for a client that repeats them for ten seconds.
    #[serde(default)]
    pub failed_max: u64,
    /// The longest time in which no payment of a set succeeded, in milliseconds.
    pub pause_ms_max: u64,
    /// 99 of a hundred payments of the whole drill take no longer, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p99_ms_max: Option<u64>,
    /// How long sets may not be SYNC, each for itself, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unsafe_s_max: Option<u64>,
}

/// What stops a drill. Looked at every second.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Guardrails {
    /// Of the payments that ended within [`SUSTAINED_S`] seconds, how many percent may have failed.
    pub failed_percent_max: f64,
    /// So many times its baseline may the 99th percentile of a second be, for [`SUSTAINED_S`] seconds in a row.
    pub p99_factor_max: f64,
    /// How long a set may have no leader, in seconds.
    pub leaderless_s_max: u64,
    /// How long a set may not be SYNC, in seconds.
    pub unsafe_s_max: u64,
    /// How long a process may not answer that this drill has not touched, in seconds: a real failure.
    pub silent_s_max: u64,
}

/// Seconds for which rates and latencies must be bad before they count.
pub const SUSTAINED_S: usize = 3;

impl Default for Guardrails {
    fn default() -> Self {
        Guardrails {
            failed_percent_max: 5.0,
            p99_factor_max: 200.0,
            leaderless_s_max: 15,
            unsafe_s_max: 120,
            silent_s_max: 5,
        }
    }
}

impl Guardrails {
    /// With every limit of time stretched.
    pub fn stretched(&self, factor: f64) -> Guardrails {
        let longer = |seconds: u64| (seconds as f64 * factor).ceil() as u64;
        Guardrails {
            leaderless_s_max: longer(self.leaderless_s_max),
            unsafe_s_max: longer(self.unsafe_s_max),
            silent_s_max: longer(self.silent_s_max),
            ..self.clone()
        }
    }
}

/// What is done at once, and what is waited for then.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stage {
    /// In a few words.
    pub name: String,
    /// How often the stage is played, one after the other.
    #[serde(default = "once", skip_serializing_if = "is_once")]
    pub repeat: u32,
    /// All of these are begun together.
    #[serde(rename = "do", default)]
    pub acts: Vec<Act>,
    /// All of these must hold at the same moment before the stage is over.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub until: Vec<Condition>,
    /// How long that may take, acts included, in seconds.
    #[serde(default = "patience_s")]
    pub within_s: u64,
    /// How long traffic is watched afterwards, in seconds.
    #[serde(default)]
    pub soak_s: u64,
}

fn once() -> u32 {
    1
}

fn is_once(times: &u32) -> bool {
    *times == 1
}

fn patience_s() -> u64 {
    60
}

/// One thing that is done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "act", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Act {
    /// A fault, begun on every process of a role.
    Fault {
        /// Which processes.
        on: Role,
        /// As `twinset fault begin` names it.
        kind: FaultKind,
        /// Its deadline, in seconds.
        for_s: u64,
        /// How much, for those that take it, in milliseconds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by_ms: Option<i64>,
        /// The other end, for drop and delay.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        with: Option<Role>,
        /// Which way, for drop and delay, as the process itself sees it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        direction: Option<Direction>,
    },
    /// Starts again whatever has died.
    Start {},
    /// Ends every fault of this drill that still acts.
    Heal {},
    /// Moves the drill's set to its other site.
    Switch {},
    /// Moves every set out of a site, by a plan.
    Evacuate {
        /// Which site.
        site: Place,
        /// All at once.
        #[serde(default)]
        emergency: bool,
        /// In percent of the sets.
        #[serde(default = "stages")]
        stages: Vec<u8>,
        /// Between stages, in milliseconds.
        #[serde(default)]
        soak_ms: u64,
        /// Goes on with the scenario as soon as the plan is recorded; the end of plans can be waited for.
        #[serde(default)]
        detach: bool,
    },
    /// Lets every set acknowledge without a site, by a plan.
    Isolate {
        /// Which site.
        site: Place,
    },
    /// Fails unless the site can be powered off.
    IsolateReady {
        /// Which site.
        site: Place,
    },
    /// Takes evacuations and isolations back, by a plan.
    Return {
        /// Goes on as soon as the plan is recorded.
        #[serde(default)]
        detach: bool,
    },
    /// Halts all plans, as `twinset stop` does; fails if one still begins anything a second later.
    Stop {},
}

fn stages() -> Vec<u8> {
    vec![100]
}

/// A fault, by the name that it has in a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs, reason = "docs/reference/drill-faults.md describes each")]
pub enum FaultKind {
    Kill,
    Pause,
    StallDisk,
    SlowDisk,
    FillDisk,
    Drop,
    Delay,
    StepClock,
    Silence,
}

/// Which way a link is harmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs, reason = "they say it")]
pub enum Direction {
    In,
    Out,
    Both,
}

/// Processes by what they are for the drill's set, at the moment of the act.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// The node that leads the drill's set.
    Leader,
    /// The nodes with its other copies in the site of the leader.
    Follower,
    /// The nodes with its copies in the other site.
    AwayCopies,
    /// All nodes of its home.
    HomeNodes,
    /// All nodes of the other site.
    AwayNodes,
    /// The nodes and routers of its home.
    HomeSite,
    /// The nodes and routers of the other site.
    AwaySite,
    /// The routers of its home.
    HomeRouter,
    /// The arbiter.
    Arbiter,
    /// The node that leads the control set.
    ControlLeader,
}

/// A site by what it is for the drill's set when the drill begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs, reason = "they say it")]
pub enum Place {
    Home,
    Away,
}

/// What can be waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Condition {
    /// Every set has a leader that answers.
    Leaders,
    /// Every set is SYNC, by its leader and on record.
    Sync,
    /// The drill's set is DEGRADED, by its leader and on record.
    Degraded,
    /// Every set is in its configured home.
    Home,
    /// Every set is led by the node that led it when the drill began.
    SameLeaders,
    /// The drill's set is led by another node than when the drill began.
    OtherLeader,
    /// The drill's set is at home in its other site.
    Moved,
    /// The drill's set has been recovered since the drill began, and has a leader.
    Recovered,
    /// Every node of the catalogue answers and serves.
    Answering,
    /// No plan is under way.
    NoPlan,
}

impl Act {
    /// In a few words.
    pub fn text(&self) -> String {
        match self {
            Act::Fault { on, kind, for_s, by_ms, with, direction } => {
                let by = by_ms.map_or(String::new(), |ms| format!(" by {ms} ms"));
                let with = with.map_or(String::new(), |with| format!(" with {}", word(&with)));
                let way = direction.map_or(String::new(), |way| format!(", {}", word(&way)));
                format!("{}{by} on {}{with}{way}, for {for_s} s at most", word(kind), word(on))
            }
            Act::Start {} => "start what has died".to_owned(),
            Act::Heal {} => "end all faults".to_owned(),
            Act::Switch {} => "switch the set to its other site".to_owned(),
            Act::Evacuate { site, emergency: true, .. } => format!("evacuate {}, at once", word(site)),
            Act::Evacuate { site, stages, .. } => format!("evacuate {}, stages {stages:?} %", word(site)),
            Act::Isolate { site } => format!("isolate {}", word(site)),
            Act::IsolateReady { site } => format!("prove that {} can be powered off", word(site)),
            Act::Return { .. } => "bring the sets home".to_owned(),
            Act::Stop {} => "halt all plans".to_owned(),
        }
    }

    /// Whether it harms a process.
    pub fn is_fault(&self) -> bool {
        matches!(self, Act::Fault { .. })
    }
}

/// The word by which a value is written in a scenario.
pub fn word(value: &impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        other => unreachable!("{other:?} is no word"),
    }
}

impl Scenario {
    /// Reads a scenario and checks it as a whole.
    pub fn parse(text: &str) -> Result<Scenario, String> {
        let scenario: Scenario = toml::from_str(text).map_err(|error| error.to_string())?;
        scenario.check()?;
        Ok(scenario)
    }

    /// Reads the scenario of a file.
    pub fn load(path: &Path) -> anyhow::Result<Scenario> {
        let next =
            "`twinset drill list` shows the scenarios that there are; docs/reference/drills.md the format";
        let named = |why: String| error::usage(format!("{}: {why}", path.display()), next);
        let text = std::fs::read_to_string(path).map_err(|cause| named(cause.to_string()))?;
        let scenario = Scenario::parse(&text).map_err(named)?;
        if path.file_stem().and_then(|stem| stem.to_str()) != Some(&scenario.name) {
            return Err(named(format!("it calls itself {}, which is not the file's name", scenario.name)));
        }
        Ok(scenario)
    }

    /// All acts, in order.
    pub fn acts(&self) -> impl Iterator<Item = &Act> {
        self.stages.iter().flat_map(|stage| &stage.acts)
    }

    /// Whether it harms processes.
    pub fn has_faults(&self) -> bool {
        self.acts().any(Act::is_fault)
    }

    fn check(&self) -> Result<(), String> {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if self.name.is_empty() || !self.name.chars().all(plain) {
            return Err(format!("name {:?} has other characters than a-z, 0-9 and -", self.name));
        }
        if self.stages.is_empty() {
            return Err("it has no stage".to_owned());
        }
        for stage in &self.stages {
            stage.check().map_err(|why| format!("stage {:?}: {why}", stage.name))?;
        }
        let figures = [self.guardrails.failed_percent_max, self.guardrails.p99_factor_max];
        if figures.iter().any(|figure| !figure.is_finite() || *figure <= 0.0) {
            return Err("a guardrail is not above 0".to_owned());
        }
        Ok(())
    }
}

impl Stage {
    fn check(&self) -> Result<(), String> {
        if self.acts.is_empty() && self.until.is_empty() && self.soak_s == 0 {
            return Err("it does nothing and waits for nothing".to_owned());
        }
        if self.repeat == 0 || self.repeat > 1_000 {
            return Err("repeat is not within 1 and 1000".to_owned());
        }
        if self.within_s == 0 || self.within_s > 3_600 {
            return Err("within_s is not within 1 and 3600".to_owned());
        }
        for act in &self.acts {
            act.check().map_err(|why| format!("{}: {why}", act.text()))?;
        }
        Ok(())
    }
}

impl Act {
    fn check(&self) -> Result<(), String> {
        match self {
            Act::Fault { kind, for_s, by_ms, with, direction, .. } => {
                if *for_s == 0 || *for_s > 600 {
                    return Err("for_s is not within 1 and 600".to_owned());
                }
                let takes_by = matches!(kind, FaultKind::SlowDisk | FaultKind::Delay | FaultKind::StepClock);
                if by_ms.is_some() != takes_by {
                    return Err(if takes_by { "it wants by_ms" } else { "it takes no by_ms" }.to_owned());
                }
                let takes_with = matches!(kind, FaultKind::Drop | FaultKind::Delay);
                if with.is_some() != takes_with {
                    return Err(if takes_with { "it wants with" } else { "it takes no with" }.to_owned());
                }
                if direction.is_some() && !takes_with {
                    return Err("it takes no direction".to_owned());
                }
                Ok(())
            }
            Act::Evacuate { stages, .. } => {
                let rises = stages.windows(2).all(|pair| pair[0] < pair[1]);
                match rises && stages.last() == Some(&100) {
                    true => Ok(()),
                    false => Err("its stages do not rise to 100".to_owned()),
                }
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &str = r#"
        name = "leader-killed"
        title = "A leader dies"
        proves = "Others go on."
        [criteria]
        pause_ms_max = 2000
        [[stage]]
        name = "it dies"
        do = [{ act = "fault", on = "leader", kind = "kill", for_s = 10 }]
        until = ["leaders"]
        within_s = 5
        [[stage]]
        name = "it comes back"
        do = [{ act = "start" }]
        until = ["sync", "answering"]
    "#;

    #[test]
    fn a_scenario_is_read_with_its_defaults() {
        let scenario = Scenario::parse(WHOLE).unwrap();
        assert_eq!((scenario.stages.len(), scenario.stages[1].within_s), (2, 60));
        assert_eq!(scenario.criteria.failed_max, 0);
        assert_eq!(scenario.guardrails, Guardrails::default());
        assert!(scenario.has_faults());
        assert_eq!(scenario.stages[0].acts[0].text(), "kill on leader, for 10 s at most");
        let again = toml::to_string(&scenario).unwrap();
        assert_eq!(Scenario::parse(&again).unwrap(), scenario);
    }

    #[test]
    fn what_makes_no_sense_is_refused_and_named() {
        let cases = [
            ("kind = \"kill\"", "kind = \"kick\"", "unknown variant `kick`"),
            ("for_s = 10", "for_s = 0", "for_s is not within"),
            ("kind = \"kill\"", "kind = \"drop\"", "it wants with"),
            ("kind = \"kill\"", "kind = \"slow-disk\"", "it wants by_ms"),
            ("for_s = 10", "for_s = 10, by_ms = 3", "it takes no by_ms"),
            ("for_s = 10", "for_s = 10, for_ever = true", "unknown field `for_ever`"),
            ("act = \"start\"", "act = \"start\", on = \"leader\"", "unknown field `on`"),
            (
                "act = \"start\"",
                "act = \"evacuate\", site = \"home\", stages = [50, 10]",
                "do not rise to 100",
            ),
            ("within_s = 5", "within_s = 0", "within_s is not within"),
            ("pause_ms_max = 2000", "", "missing field `pause_ms_max`"),
            ("leader-killed", "Leader killed", "other characters"),
        ];
        for (from, to, why) in cases {
            let error = Scenario::parse(&WHOLE.replacen(from, to, 1)).unwrap_err();
            assert!(error.contains(why), "{to}: {error}");
        }
    }
}
