//! What the commands that begin a plan share: evacuate, isolate and return. They look, record the plan, and watch it;
//! the cluster carries it out.

use std::time::Duration;

use clap::Args;
use serde_json::json;
use twinset_control::plan::{Kind, Pace};
use twinset_control::{Catalogue, Command, Effect, Plan, Rejection};

use super::Context;
use crate::cluster::admin::{self, Survey};
use crate::cluster::control;
use crate::load::random::Random;
use crate::plan::checks::{self, Check, Verdict};
use crate::plan::{Draft, follow};
use crate::{error, out};

/// How long the control set may take to record a plan.
const RECORD_WITHIN: Duration = Duration::from_secs(10);
/// A plan is made anew so often when the sets have changed meanwhile.
const MADE_ANEW: usize = 3;

/// How a plan is begun.
#[derive(Debug, Args)]
pub struct Beginning {
    /// Only run the checks and show the plan.
    #[arg(long)]
    dry_run: bool,
    /// Refuse for warnings too.
    #[arg(long)]
    strict: bool,
    /// Go on although this check refuses; wants --why.
    #[arg(long = "override", value_name = "CHECK", value_delimiter = ',', requires = "why")]
    #[arg(value_parser = checks::NAMES)]
    overridden: Vec<String>,
    /// Do it.
    #[arg(long)]
    yes: bool,
    /// Begin the plan and do not watch it.
    #[arg(long)]
    detach: bool,
    /// Why, for the audit log.
    #[arg(long, value_name = "TEXT")]
    why: Option<String>,
}

/// How fast a plan goes.
#[derive(Debug, Args)]
pub struct PaceArguments {
    /// How much of the sets each stage takes in, in percent.
    #[arg(long, value_delimiter = ',', value_name = "PERCENT,...", default_values_t = crate::plan::STAGES)]
    stages: Vec<u8>,
    /// How long all must be well after a stage: 500ms, 5s, 10m.
    #[arg(long, value_parser = duration, default_value = "5s", value_name = "TIME")]
    soak: Duration,
    /// Sets that are under way at a time.
    #[arg(long, default_value_t = 4, value_name = "N")]
    concurrency: u32,
    /// Steps that may fail before the plan is given up.
    #[arg(long, default_value_t = 0, value_name = "N")]
    failures: u32,
}

impl PaceArguments {
    /// The pace that they ask for.
    pub fn pace(&self, roll_back: bool) -> Pace {
        Pace {
            stages: self.stages.clone(),
            soak_ms: u64::try_from(self.soak.as_millis()).unwrap_or(u64::MAX),
            concurrency: self.concurrency,
            failures_max: self.failures,
            roll_back,
        }
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: u64 = digits.parse().map_err(|_| "write it as 500ms, 5s or 10m".to_owned())?;
    match &text[digits.len()..] {
        "ms" => Ok(Duration::from_millis(number)),
        "s" => Ok(Duration::from_secs(number)),
        "m" => Ok(Duration::from_secs(number.saturating_mul(60))),
        _ => Err("write it as 500ms, 5s or 10m".to_owned()),
    }
}

/// Checks, records the plan and watches it until its end.
pub async fn run(kind: Kind, pace: Pace, beginning: Beginning, context: &Context) -> anyhow::Result<()> {
    let seeds = context.nodes()?;
    let survey = admin::survey(&seeds).await;
    let catalogue = survey.catalogue()?;
    check_site(catalogue, &kind)?;
    let draft = Draft::new(&survey, catalogue, kind, pace);
    let checks = checks::run(&survey, catalogue, &draft, &beginning.overridden);
    let refusing = checks::refusing(&checks, beginning.strict);
    let changes = !beginning.dry_run && beginning.yes && refusing.is_empty();
    if !context.json || !beginning.dry_run {
        say_checks(&checks);
    }
    if !changes {
        show_draft(&draft, &checks, &beginning, refusing.is_empty(), context)?;
    }
    if !refusing.is_empty() {
        let names: Vec<&str> = refusing.iter().map(|check| check.check).collect();
        return Err(error::failure(
            format!("nothing was done: {} refused by {}", draft.kind, names.join(", ")),
            format!(
                "mend that and ask again, or go on all the same with --override {} --why TEXT",
                names.join(",")
            ),
        ));
    }
    if beginning.dry_run {
        return Ok(());
    }
    if !beginning.yes {
        return Err(error::usage("nothing was done", "repeat it with --yes, or look first with --dry-run"));
    }
    let why = beginning.why.clone().unwrap_or_else(|| "by hand".to_owned());
    let id = begin(&seeds, survey, draft, &why).await?;
    out::say(&format!("plan {id} is recorded; the cluster carries it out"));
    if beginning.detach {
        return match context.json {
            true => out::json(&json!({ "plan": id, "checks": checks })),
            false => out::line(&format!("{id}")),
        };
    }
    watch(&seeds, id, &checks, context).await
}

fn check_site(catalogue: &Catalogue, kind: &Kind) -> anyhow::Result<()> {
    let (Kind::Evacuate { site, .. } | Kind::Isolate { site } | Kind::Return { site: Some(site) }) = kind
    else {
        return Ok(());
    };
    if catalogue.is_data_site(site) {
        return Ok(());
    }
    let sites: Vec<&str> = catalogue.data_sites().collect();
    Err(error::usage(format!("there is no data site {site}"), format!("choose one of {}", sites.join(", "))))
}

fn say_checks(checks: &[Check]) {
    for check in checks {
        let verdict = match check.verdict {
            Verdict::Pass => "pass",
            Verdict::Warn => "WARN",
            Verdict::Fail => "FAIL",
        };
        out::say(&format!("check {:<10} {verdict}  {}", check.check, check.detail));
    }
}

fn show_draft(
    draft: &Draft,
    checks: &[Check],
    beginning: &Beginning,
    would_begin: bool,
    context: &Context,
) -> anyhow::Result<()> {
    if context.json {
        return out::json(&json!({
            "plan": draft, "checks": checks, "dry_run": beginning.dry_run, "would_begin": would_begin,
        }));
    }
    let row = |step: &crate::plan::DraftStep| {
        let percent = draft.pace.stages.get(step.stage).copied().unwrap_or(100);
        let lag = step.lag.map_or("?".to_owned(), |lag| lag.to_string());
        let leader = if step.leader.is_empty() { "none".to_owned() } else { step.leader.clone() };
        vec![
            format!("{} ({percent}%)", step.stage + 1),
            step.set.to_string(),
            step.from.clone(),
            step.to.clone(),
            leader,
            lag,
        ]
    };
    let rows: Vec<Vec<String>> = draft.steps.iter().map(row).collect();
    out::line(&format!(
        "plan: {}, {} sets, {} at a time",
        draft.kind,
        draft.steps.len(),
        draft.pace.concurrency
    ))?;
    out::line(&out::table(&["STAGE", "SET", "FROM", "TO", "LEADER", "LAG"], &rows))
}

/// Checks and records a plan for whoever has said yes already; gives its number.
pub async fn begin_checked(
    seeds: &[String],
    kind: Kind,
    pace: Pace,
    overridden: &[String],
    why: &str,
) -> anyhow::Result<u64> {
    let survey = admin::survey(seeds).await;
    let catalogue = survey.catalogue()?;
    check_site(catalogue, &kind)?;
    let draft = Draft::new(&survey, catalogue, kind, pace);
    let checks = checks::run(&survey, catalogue, &draft, overridden);
    let refusing = checks::refusing(&checks, false);
    if !refusing.is_empty() {
        let each = refusing.iter().map(|check| format!("{}: {}", check.check, check.detail));
        let each: Vec<String> = each.collect();
        return Err(error::failure(
            format!("{} is refused by {}", draft.kind, each.join("; ")),
            "mend that, or override the check by its name",
        ));
    }
    begin(seeds, survey, draft, why).await
}

/// Records the plan. It is made anew if the sets have changed since it was made.
async fn begin(seeds: &[String], first: Survey, draft: Draft, why: &str) -> anyhow::Result<u64> {
    let request_id = Random::new().request_id().to_string();
    let (mut survey, mut draft) = (first, draft);
    for turn in 1.. {
        let catalogue = survey.catalogue()?;
        let command = Command::Plan(draft.command(&request_id, &super::who(), why));
        let stale = match control::propose(&survey, catalogue, &command, RECORD_WITHIN).await {
            Ok(reply) => match reply.effect {
                Effect::PlanBegun { id } => return Ok(id),
                other => anyhow::bail!("the control set answered something else: {other:?}"),
            },
            Err(control::Error::Rejected(
                stale @ (Rejection::PlanOutdated { .. } | Rejection::EpochChanged { .. }),
            )) if turn < MADE_ANEW => stale,
            Err(refused) => {
                return Err(error::failure(
                    format!("no plan was begun: {refused}"),
                    "`twinset plan list` shows what is under way, `twinset status` the sets",
                ));
            }
        };
        out::say(&format!("{stale}"));
        survey = admin::survey(seeds).await;
        draft = Draft::new(&survey, survey.catalogue()?, draft.kind, draft.pace);
    }
    unreachable!("the last turn returns")
}

/// Watches a plan until its end; the plan does not need that.
pub async fn watch(seeds: &[String], id: u64, checks: &[Check], context: &Context) -> anyhow::Result<()> {
    let mut hear = |line: &str| out::say(line);
    let plan: Plan = tokio::select! {
        plan = follow::follow(seeds, id, &mut hear) => plan?,
        _ = tokio::signal::ctrl_c() => {
            return Err(error::failure(
                format!("plan {id} goes on without this terminal"),
                format!("`twinset plan watch {id}` watches it again, `twinset stop` halts it"),
            ));
        }
    };
    let end = follow::end(&plan);
    if context.json {
        out::json(&json!({ "plan": plan, "checks": checks }))?;
        return end.map(|_| ());
    }
    out::line(&end?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_name_their_unit() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("5s"), Ok(Duration::from_secs(5)));
        assert_eq!(duration("10m"), Ok(Duration::from_secs(600)));
        for text in ["5", "s", "", "5 s", "-1s", "1h", "1.5s"] {
            assert!(duration(text).is_err(), "{text:?}");
        }
    }
}
