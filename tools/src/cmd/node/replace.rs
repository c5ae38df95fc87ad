//! `twinset node replace`: everything that a lost node hosts is given to another one of its site. What has to be done is worked out
//! in [`crate::replace`]; the sets' leaders do it. This command begins it set by set, and watches.

use std::collections::BTreeSet;
use std::time::Duration;

use clap::Args;
use serde_json::json;
use tokio::time::Instant;
use twinset_control::{Command, Durability};

use super::super::{Context, who};
use crate::cluster::admin::{self, Survey};
use crate::cluster::control;
use crate::replace::{self, Plan, Step, name};
use crate::{error, out};

/// What `twinset node replace --help` says.
pub(super) const HELP: &str = "Give everything that a lost node hosts to another one of its site, and take it out of the cluster.\n\n\
    Each replica of the lost node gets a successor under a new id on the other node: it is copied while the set serves, then takes \
    the other's place in one step, and only when its site can do without what the lost one held is that on record. Clients notice \
    nothing. The control set's place goes over as well. What the old node still has on its disk never counts again, whenever it \
    comes back.\n\n\
    The terminal only watches: Ctrl-C leaves what was begun under way, and the same command goes on with the rest. The other node \
    must host none of the sets; add one with `twinset node add`. If it is lost as well, --give-up takes back what has not got its \
    place yet.\n\n\
    Examples:\n  twinset node replace a1 --by a3 --dry-run\n  twinset node replace a1 --by a3 --yes --why 'a1 burnt'\n  \
    twinset node replace a1 --by a3 --give-up --yes --why 'a3 is lost too'\n  \
    twinset node replace a1 --by a3 --even-if-alive --yes --why 'a1 goes out of service'";

/// For the control set's answer to one command.
pub const PATIENCE: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(300);
/// Sets whose new replica is copied at the same time.
const AT_ONCE_DEFAULT: usize = 4;

/// Give everything that a lost node hosts to another one.
#[derive(Debug, Args)]
pub struct Replace {
    /// The node that does not come back.
    node: String,
    /// The node that takes its place.
    #[arg(long, value_name = "NODE")]
    by: String,
    /// Only say what would be done.
    #[arg(long, conflicts_with = "yes")]
    dry_run: bool,
    /// Replace it although it answers.
    #[arg(long)]
    even_if_alive: bool,
    /// Take back what was begun and has not got its place yet.
    #[arg(long)]
    give_up: bool,
    /// Leave the node in the cluster, hosting nothing.
    #[arg(long)]
    keep: bool,
    /// How many sets at the same time.
    #[arg(long, default_value_t = AT_ONCE_DEFAULT, value_name = "N")]
    at_once: usize,
    /// How long to watch, in seconds.
    #[arg(long, default_value_t = 3_600, value_name = "SECONDS")]
    patience: u64,
    /// Do it.
    #[arg(long)]
    yes: bool,
    /// Why, for the audit log.
    #[arg(long, value_name = "TEXT", default_value = "its node is lost")]
    why: String,
}

pub(super) async fn run(arguments: Replace, context: &Context) -> anyhow::Result<()> {
    let seeds = context.nodes()?;
    let survey = admin::survey(&seeds).await;
    if arguments.give_up {
        return give_up(&arguments, &seeds, &survey, context).await;
    }
    let plan = replace::plan(&survey, &arguments.node, &arguments.by, arguments.even_if_alive)?;
    if arguments.dry_run {
        return if context.json { out::json(&plan) } else { out::line(&text(&plan)) };
    }
    if !arguments.yes {
        out::say(&text(&plan));
        return Err(error::usage("nothing was done", "repeat it with --yes"));
    }
    let deadline = Instant::now() + Duration::from_secs(arguments.patience);
    let course = Course { plan: &plan, arguments: &arguments, seeds: &seeds, deadline };
    let survey = course.follow().await?;
    if !arguments.keep {
        let command = Command::RemoveNode { node: plan.node.clone(), who: who(), why: arguments.why.clone() };
        propose(&survey, &command, &format!("node {} was not taken out", plan.node)).await?;
    }
    let survey = course.in_sync().await?;
    let catalogue = survey.catalogue()?;
    let replaced = plan.steps.iter().map(|step| {
        let new = catalogue.replicas(step.set).iter().find(|it| it.node == plan.by).map(|it| it.id);
        let durability = catalogue.sets.get(&step.set).map(|set| set.durability);
        json!({ "set": step.set, "old": step.old, "new": new, "votes": step.votes, "durability": durability })
    });
    if context.json {
        let sets: Vec<_> = replaced.collect();
        let document = json!({ "node": plan.node, "by": plan.by, "sets": sets, "removed": !arguments.keep });
        return out::json(&document);
    }
    let after = if arguments.keep { "hosts nothing any more" } else { "is none of the cluster any more" };
    out::line(&format!(
        "node {} has the place of {} in {} sets; {} {after}",
        plan.by,
        plan.node,
        plan.steps.len(),
        plan.node
    ))
}

fn text(plan: &Plan) -> String {
    if plan.steps.is_empty() {
        return format!("node {} hosts nothing: it is only taken out of the cluster", plan.node);
    }
    let rows: Vec<Vec<String>> = plan.steps.iter().map(row).collect();
    format!(
        "plan: node {} takes the place of node {}; nothing was done yet\n\n{}",
        plan.by,
        plan.node,
        out::table(&["SET", "REPLICA", "ROLE", "LEADER", "SUCCESSOR"], &rows)
    )
}

fn row(step: &Step) -> Vec<String> {
    vec![
        if step.set == 0 { "control".to_owned() } else { step.set.to_string() },
        step.old.to_string(),
        if step.votes { "voter" } else { "learner" }.to_owned(),
        step.leader.clone().unwrap_or_else(|| "none: it waits until somebody leads".to_owned()),
        step.new.map_or_else(|| "a new id".to_owned(), |new| format!("{new}, under way")),
    ]
}

/// A replacement that is being watched.
struct Course<'a> {
    plan: &'a Plan,
    arguments: &'a Replace,
    seeds: &'a [String],
    deadline: Instant,
}

impl Course<'_> {
    /// Begins what is not begun, so many at a time, until the node hosts nothing.
    async fn follow(&self) -> anyhow::Result<Survey> {
        let mut told: BTreeSet<(u32, &str)> = BTreeSet::new();
        loop {
            let survey = admin::survey(self.seeds).await;
            let catalogue = survey.catalogue()?;
            let here = |step: &&Step| catalogue.replica(step.set, step.old).is_some();
            for step in self.plan.steps.iter().filter(|step| !here(step)) {
                if told.insert((step.set, "done")) {
                    out::say(&format!(
                        "{}: {} has the place of replica {}",
                        name(step.set),
                        self.plan.by,
                        step.old
                    ));
                }
            }
            let left: Vec<&Step> = self.plan.steps.iter().filter(here).collect();
            if left.is_empty() {
                return Ok(survey);
            }
            let (open, waiting): (Vec<&Step>, Vec<&Step>) =
                left.iter().copied().partition(|step| catalogue.replacement(step.set).is_some());
            for step in &open {
                if catalogue.replacement(step.set).is_some_and(|open| open.given_up) {
                    return Err(error::failure(
                        format!("the replacement in {} was given up", name(step.set)),
                        "`twinset audit` shows by whom; run the same command again to begin it anew",
                    ));
                }
            }
            for step in waiting.into_iter().take(self.arguments.at_once.max(1).saturating_sub(open.len())) {
                let command = Command::BeginReplacement {
                    set: step.set,
                    replica: step.old,
                    node: self.plan.by.clone(),
                    who: who(),
                    why: self.arguments.why.clone(),
                };
                propose(&survey, &command, &format!("no successor for {}", name(step.set))).await?;
                out::say(&format!("{}: {} learns, for replica {}", name(step.set), self.plan.by, step.old));
            }
            self.wait(&format!("{} sets are not done, {} first", left.len(), name(left[0].set))).await?;
        }
    }

    /// Waits until the sets are SYNC, but for those that an operator wants DEGRADED.
    async fn in_sync(&self) -> anyhow::Result<Survey> {
        loop {
            let survey = admin::survey(self.seeds).await;
            let catalogue = survey.catalogue()?;
            let sets = self.plan.steps.iter().filter_map(|step| catalogue.sets.get(&step.set));
            let late = sets
                .filter(|set| {
                    set.durability != Durability::Sync && !set.pinned && !catalogue.has_isolated(set)
                })
                .map(|set| set.id)
                .next();
            let Some(late) = late else { return Ok(survey) };
            self.wait(&format!("set {late} is not SYNC yet")).await?;
        }
    }

    async fn wait(&self, missing: &str) -> anyhow::Result<()> {
        if Instant::now() + POLL >= self.deadline {
            return Err(error::failure(
                format!("not over yet: {missing}"),
                "what was begun goes on by itself; run the same command again for the rest",
            ));
        }
        tokio::time::sleep(POLL).await;
        Ok(())
    }
}

async fn propose(survey: &Survey, command: &Command, failed: &str) -> anyhow::Result<()> {
    control::propose(survey, survey.catalogue()?, command, PATIENCE).await.map(drop).map_err(|error| {
        error::failure(
            format!("{failed}: {error}"),
            "`twinset status` shows what holds; run the same command again",
        )
    })
}

/// Takes back what was begun for this pair of nodes and has not got its place.
async fn give_up(
    arguments: &Replace,
    seeds: &[String],
    survey: &Survey,
    context: &Context,
) -> anyhow::Result<()> {
    let catalogue = survey.catalogue()?;
    let begun: Vec<(u32, u64)> = catalogue
        .replicas_on(&arguments.node)
        .filter_map(|(set, replica)| {
            let open = catalogue.replacement(set).filter(|open| open.old == replica.id)?;
            let by = catalogue.replica(set, open.new)?;
            (by.node == arguments.by).then_some((set, open.id))
        })
        .collect();
    if !arguments.yes {
        let sets: Vec<String> = begun.iter().map(|(set, _)| name(*set)).collect();
        out::say(&format!(
            "plan: {} is not to take the place of {} in {:?}",
            arguments.by, arguments.node, sets
        ));
        return Err(error::usage("nothing was done", "repeat it with --yes"));
    }
    for &(set, id) in &begun {
        let command = Command::GiveUpReplacement { set, id, who: who(), why: arguments.why.clone() };
        propose(survey, &command, &format!("the replacement in {} was not given up", name(set))).await?;
    }
    let deadline = Instant::now() + Duration::from_secs(arguments.patience);
    loop {
        let survey = admin::survey(seeds).await;
        let catalogue = survey.catalogue()?;
        let open = |(set, id): &&(u32, u64)| catalogue.replacement(*set).is_some_and(|open| open.id == *id);
        let Some((set, _)) = begun.iter().find(open) else { break };
        if Instant::now() + POLL >= deadline {
            return Err(error::failure(
                format!("the replacement in {} is not over yet", name(*set)),
                "it ends by itself as soon as somebody leads there; run the same command again to watch",
            ));
        }
        tokio::time::sleep(POLL).await;
    }
    if context.json {
        let sets: Vec<u32> = begun.iter().map(|(set, _)| *set).collect();
        return out::json(&json!({ "node": arguments.node, "by": arguments.by, "given_up": sets }));
    }
    out::line(&format!("{} replacements of {} by {} are over", begun.len(), arguments.node, arguments.by))
}
