//! `twinset recover`: sets that have lost their majority with a site, on an operator's word. What would be done is worked out in
//! [`crate::recover`]; the control set's leader does it.

use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use tokio::time::Instant;
use twinset_control::{Catalogue, Command};
use twinset_proto::cluster::v1::ListTailsRequest;

use super::{Context, recover_control};
use crate::cluster::admin::Survey;
use crate::cluster::{admin, control};
use crate::recover::{Plan, plan};
use crate::{error, out};

/// For the control set's answer to one command.
const PATIENCE: Duration = Duration::from_secs(10);
/// For all sets to serve again: a lease is waited out, replicas are fenced, an election follows.
const SERVE_WITHIN: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(200);

/// What `twinset recover --help` says.
pub const HELP: &str = "Let sets that have lost their majority with a site go on in the other one.\n\n\
    With an arbiter, sets that were SYNC are recovered by themselves, with nothing lost. These commands are for the others: sets \
    that were DEGRADED when their site died, and clusters without an arbiter. `plan` changes nothing: it shows per set who \
    survives, the last index that both sites had, and what may be lost. `apply` wants the plan's id and your word that the other \
    site is off or cut off: a leader that goes on there could not be told of it. `verify` shows what came of it.\n\n\
    Where the control set has lost its majority as well, `control` comes first. When the lost site comes back, what its copies hold beyond what goes on is kept where it may have been acknowledged; `report` \
    lists it by request id, account and amount, and `release` lets a copy be thrown away and built anew.\n\n\
    A set that was recovered from DEGRADED asks all others what they have seen of the end that it has lost, and books what they have \
    booked, before it answers clients; `verify` says so, and `open` has it answer all the same.\n\n\
    Examples:\n  twinset recover plan --site B\n  \
    twinset recover apply --site B --plan 5f0c... --other-site-is-off A --yes --why 'A burnt down'\n  twinset recover verify\n  \
    twinset recover give-up --set 1 --node b1 --it-is-off --yes --why 'its disk is gone'\n  \
    twinset recover report --json | jq '.[].commands'\n  \
    twinset recover release --set 1 --replica 4 --yes --why 'booked by hand, ticket 7'";

/// Let sets that have lost their majority with a site go on in the other one.
#[derive(Debug, Subcommand)]
pub enum Recover {
    /// Show what would be done, and what it may cost. Changes nothing.
    Plan(PlanArgs),
    /// Do what a plan has shown.
    Apply(Apply),
    /// Let a recovery go on without a survivor that has died since.
    GiveUp(GiveUp),
    /// Let a recovered set answer clients without waiting for all of its peers.
    Open(Open),
    /// Show which sets were recovered, and whether they serve.
    Verify,
    /// Let the control set go on without the majority of its copies: before any set can be recovered.
    #[command(subcommand, long_about = recover_control::HELP)]
    Control(recover_control::Control),
    /// List what the lost copies hold beyond what goes on.
    Report,
    /// Let a lost copy be thrown away: what is in it was seen.
    Release(Release),
}

/// Show what would be done.
#[derive(Debug, Args)]
pub struct PlanArgs {
    /// The site that survives.
    #[arg(long)]
    site: String,
}

/// Do what a plan has shown.
#[derive(Debug, Args)]
pub struct Apply {
    /// The site that survives.
    #[arg(long)]
    site: String,
    /// The plan's id, as `twinset recover plan` has printed it.
    #[arg(long, value_name = "ID")]
    plan: String,
    /// Your word that this site is off, or reaches nobody.
    #[arg(long, value_name = "SITE")]
    other_site_is_off: String,
    /// Do it.
    #[arg(long)]
    yes: bool,
    /// Why, for the audit log.
    #[arg(long, value_name = "TEXT")]
    why: String,
}

/// Let a recovery go on without a survivor that has died since.
#[derive(Debug, Args)]
pub struct GiveUp {
    /// The set.
    #[arg(long)]
    set: u32,
    /// The node that has died, with its copy.
    #[arg(long)]
    node: String,
    /// Your word that this node is off, and comes back only where it reaches the control set: never with the lost site alone.
    #[arg(long)]
    it_is_off: bool,
    /// Do it.
    #[arg(long)]
    yes: bool,
    /// Why, for the audit log.
    #[arg(long, value_name = "TEXT")]
    why: String,
}

/// Let a recovered set answer clients without waiting for all of its peers.
///
/// A set that was recovered from DEGRADED first asks all other sets what they have seen of the end that it may have lost, and books what
/// they have booked. One that cannot answer keeps it waiting. Opened by your word, it does not ask any more: payments between it and
/// sets that did not answer may stay in doubt, and clearing accounts may not come to zero.
#[derive(Debug, Args)]
pub struct Open {
    /// The set.
    #[arg(long)]
    set: u32,
    /// Do it.
    #[arg(long)]
    yes: bool,
    /// Why, for the audit log.
    #[arg(long, value_name = "TEXT")]
    why: String,
}

/// Let a lost copy be thrown away.
#[derive(Debug, Args)]
pub struct Release {
    /// The set.
    #[arg(long)]
    set: u32,
    /// The lost replica.
    #[arg(long)]
    replica: u64,
    /// Do it.
    #[arg(long)]
    yes: bool,
    /// Why, for the audit log.
    #[arg(long, value_name = "TEXT")]
    why: String,
}

/// Runs `twinset recover`.
pub async fn run(command: Recover, context: &Context) -> anyhow::Result<()> {
    match command {
        Recover::Plan(arguments) => {
            let survey = admin::survey(&context.nodes()?).await;
            let plan = plan_for(&survey, &arguments.site)?;
            if context.json { out::json(&plan) } else { out::line(&text(&plan)) }
        }
        Recover::Apply(arguments) => apply(arguments, context).await,
        Recover::GiveUp(arguments) => give_up(arguments, context).await,
        Recover::Open(arguments) => open(arguments, context).await,
        Recover::Verify => verify(context).await,
        Recover::Control(command) => recover_control::run(command, context).await,
        Recover::Report => report(context).await,
        Recover::Release(arguments) => release(arguments, context).await,
    }
}

fn plan_for(survey: &Survey, site: &str) -> anyhow::Result<Plan> {
    if !survey.catalogue()?.is_data_site(site) {
        return Err(error::usage(
            format!("there is no data site {site}"),
            "`twinset status` shows the sites",
        ));
    }
    plan(survey, site)
}

fn text(plan: &Plan) -> String {
    let rows: Vec<Vec<String>> = plan
        .sets
        .iter()
        .map(|set| {
            let survivors = set.survivors.iter().map(|survivor| {
                format!(
                    "{}#{} up to {}",
                    survivor.node,
                    survivor.replica,
                    survivor.last_log_index.unwrap_or(0)
                )
            });
            vec![
                set.set.to_string(),
                set.durability.to_string(),
                set.last_safe_index.to_string(),
                survivors.collect::<Vec<_>>().join(", "),
                set.lost.join(" "),
                set.cost.clone(),
            ]
        })
        .collect();
    let mut text = match rows.is_empty() {
        true => format!("nothing to recover in site {}", plan.site),
        false => format!(
            "plan {}: these sets go on in site {}; nothing was done yet\n\n{}",
            plan.id,
            plan.site,
            out::table(&["SET", "DURABILITY", "SAFE UP TO", "SURVIVORS", "LEFT BEHIND", "COST"], &rows)
        ),
    };
    for other in &plan.others {
        text.push_str(&format!("\nset {}: {}", other.set, other.why));
    }
    text
}

async fn apply(arguments: Apply, context: &Context) -> anyhow::Result<()> {
    let nodes = context.nodes()?;
    let survey = admin::survey(&nodes).await;
    let plan = plan_for(&survey, &arguments.site)?;
    let catalogue = survey.catalogue()?;
    let other = catalogue.other_site(&arguments.site).unwrap_or_default();
    if arguments.other_site_is_off != other {
        return Err(error::usage(
            format!("the other site is {other}, not {}", arguments.other_site_is_off),
            format!("make sure that {other} is off or reaches nobody, then say --other-site-is-off {other}"),
        ));
    }
    if plan.id != arguments.plan {
        return Err(error::failure(
            format!("the plan is {} by now, not {}", plan.id, arguments.plan),
            format!("look at it again: `twinset recover plan --site {}`", arguments.site),
        ));
    }
    if !arguments.yes {
        out::say(&text(&plan));
        return Err(error::usage("nothing was done", "repeat it with --yes"));
    }
    for set in &plan.sets {
        let command = Command::BeginRecovery {
            set: set.set,
            site: plan.site.clone(),
            expected_incarnation: set.incarnation,
            accept_loss: set.may_lose,
            without_replaced: set.without_replaced,
            who: super::who(),
            why: arguments.why.clone(),
        };
        propose(&survey, catalogue, &command, &format!("set {} is not recovered", set.set)).await?;
        out::say(&format!("set {}: recorded; its copies in site {} are being fenced", set.set, plan.site));
    }
    let deadline = Instant::now() + SERVE_WITHIN;
    loop {
        let survey = admin::survey(&nodes).await;
        let missing = plan.sets.iter().find(|set| {
            let incarnation = survey.catalogue.as_ref().and_then(|known| known.incarnation(set.set));
            incarnation.is_none_or(|now| now <= set.incarnation) || survey.leader(set.set).is_none()
        });
        let Some(missing) = missing else { break };
        if Instant::now() >= deadline {
            return Err(error::failure(
                format!("set {} does not serve yet", missing.set),
                "it goes on by itself; `twinset recover verify` shows where it is, the log of the control set's leader why",
            ));
        }
        tokio::time::sleep(POLL).await;
    }
    verify(context).await
}

async fn propose(
    survey: &Survey,
    catalogue: &Catalogue,
    command: &Command,
    failed: &str,
) -> anyhow::Result<()> {
    control::propose(survey, catalogue, command, PATIENCE).await.map(drop).map_err(|error| {
        error::failure(
            format!("{failed}: {error}"),
            "`twinset recover plan` and `verify` show what holds now",
        )
    })
}

async fn give_up(arguments: GiveUp, context: &Context) -> anyhow::Result<()> {
    let GiveUp { set, node, it_is_off, yes, why } = arguments;
    let survey = admin::survey(&context.nodes()?).await;
    let catalogue = survey.catalogue()?;
    let known = catalogue.sets.get(&set).and_then(|known| Some((known, known.recovery.as_ref()?)));
    let Some((known, recovery)) = known else {
        return Err(error::usage(
            format!("set {set} is not being recovered"),
            "`twinset recover verify` shows what is under way",
        ));
    };
    let survives = |id: &u64| recovery.survivors.contains(id) || recovery.given_up.contains(id);
    let Some(replica) = known.replicas.iter().find(|replica| replica.node == node && survives(&replica.id))
    else {
        return Err(error::usage(
            format!("{node} has no copy that the recovery of set {set} waits for"),
            "`twinset recover verify --json` names the survivors",
        ));
    };
    if !yes || !it_is_off {
        out::say(&format!(
            "plan: set {set} goes on without replica {} on {node}; what it alone held is lost, also what was acknowledged in SYNC",
            replica.id
        ));
        return Err(error::usage(
            "nothing was done",
            "make sure that it is off, then repeat it with --it-is-off --yes",
        ));
    }
    let (id, replica) = (recovery.id, replica.id);
    let command = Command::GiveUpSurvivor { set, id, replica, who: super::who(), why };
    propose(&survey, catalogue, &command, "nothing was given up").await?;
    out::line(&format!("set {set} goes on without {node}: `twinset recover verify` shows how"))
}

async fn open(arguments: Open, context: &Context) -> anyhow::Result<()> {
    let Open { set, yes, why } = arguments;
    let survey = admin::survey(&context.nodes()?).await;
    let catalogue = survey.catalogue()?;
    let known = catalogue.sets.get(&set).and_then(|known| known.recovered.as_ref());
    let Some(recovered) = known.filter(|recovered| recovered.unreconciled) else {
        return Err(error::usage(
            format!("set {set} does not wait for its peers"),
            "`twinset recover verify` shows which sets do",
        ));
    };
    if !yes {
        out::say(&format!(
            "plan: set {set} answers clients, whatever its peers have seen of what it has lost"
        ));
        return Err(error::usage(
            "nothing was done",
            "mend the sets that do not answer if you can, else repeat it with --yes",
        ));
    }
    let command = Command::EndReconciliation { set, id: recovered.id, who: super::who(), why };
    propose(&survey, catalogue, &command, &format!("set {set} still waits")).await?;
    out::line(&format!(
        "set {set} answers clients; `twinset verify` shows whether its books and its peers' agree"
    ))
}

async fn verify(context: &Context) -> anyhow::Result<()> {
    let survey = admin::survey(&context.nodes()?).await;
    let catalogue = survey.catalogue()?;
    let sets: Vec<Value> = catalogue
        .sets
        .values()
        .filter(|set| set.recovered.is_some() || set.recovery.is_some())
        .map(|set| {
            json!({
                "set": set.id, "home": set.home, "incarnation": set.incarnation, "durability": set.durability,
                "leader": survey.leader(set.id).map(|(_, reply)| reply.node.clone()),
                "recovery": set.recovery, "recovered": set.recovered, "copies": set.replicas.len(),
            })
        })
        .collect();
    if context.json {
        return out::json(&sets);
    }
    let word = |value: &Value| value.as_str().unwrap_or("none").to_owned();
    let rows: Vec<Vec<String>> = sets
        .iter()
        .map(|set| {
            let recovered = &set["recovered"];
            let lost = recovered["lost"].as_array().into_iter().flatten().map(|lost| {
                let kept = if lost["kept"] == true { " (kept)" } else { "" };
                format!("{}#{}{kept}", word(&lost["node"]), lost["id"])
            });
            let phase = match (set["recovery"].is_null(), &recovered["unreconciled"]) {
                (false, _) => "under way",
                (true, Value::Bool(true)) => "asks its peers",
                (true, _) => "done",
            };
            vec![
                set["set"].to_string(),
                phase.to_owned(),
                word(&set["home"]),
                word(&set["leader"]),
                set["incarnation"].to_string(),
                format!("{} (was {})", word(&set["durability"]), word(&recovered["was"])),
                format!("{}/{}", recovered["end"]["term"], recovered["end"]["index"]),
                set["copies"].to_string(),
                lost.collect::<Vec<_>>().join(" "),
            ]
        })
        .collect();
    if rows.is_empty() {
        return out::line("no set was ever recovered");
    }
    let headings =
        ["SET", "RECOVERY", "HOME", "LEADER", "INC", "DURABILITY", "WENT ON AFTER", "COPIES", "LEFT BEHIND"];
    out::line(&out::table(&headings, &rows))
}

async fn report(context: &Context) -> anyhow::Result<()> {
    let mut reports: Vec<Value> = Vec::new();
    // Whoever was left behind is often none of those that were named.
    let survey = admin::survey(&context.nodes()?).await;
    for addr in survey.answers.keys() {
        let asked = admin::client(addr)?.list_tails(ListTailsRequest {}).await;
        match asked {
            Ok(reply) => {
                let of_node: Vec<Value> = serde_json::from_slice(&reply.into_inner().reports_json)?;
                reports.extend(of_node);
            }
            Err(status) => out::say(&format!("{addr}: {}", admin::explain(&status))),
        }
    }
    if context.json {
        return out::json(&reports);
    }
    if reports.is_empty() {
        return out::line("no copy was left behind");
    }
    let mut text = String::new();
    for report in &reports {
        let acknowledged = match report["may_be_acknowledged"] == true {
            true => "some of it may have been acknowledged",
            false => "nothing of it was acknowledged",
        };
        text.push_str(&format!(
            "set {}, replica {}: {} commands beyond what goes on; {acknowledged}\n",
            report["set"], report["replica"], report["count"]
        ));
        for command in report["commands"].as_array().into_iter().flatten() {
            let parts = |key: &str| {
                let parts = command[key].as_array().into_iter().flatten().filter_map(Value::as_str);
                parts.collect::<Vec<_>>().join(", ")
            };
            let what = if command["record"].is_string() {
                command["record"].as_str().unwrap_or_default().to_owned()
            } else if command["legs"].is_array() {
                parts("legs")
            } else {
                parts("accounts")
            };
            let id = command["request_id"].as_str().unwrap_or("-");
            text.push_str(&format!("  {} {id}: {what}\n", command["index"]));
        }
    }
    out::line(text.trim_end())
}

async fn release(arguments: Release, context: &Context) -> anyhow::Result<()> {
    let Release { set, replica, yes, why } = arguments;
    if !yes {
        out::say(&format!("plan: what replica {replica} of set {set} holds is thrown away and built anew"));
        return Err(error::usage(
            "nothing was done",
            "see `twinset recover report` first, then repeat it with --yes",
        ));
    }
    let survey = admin::survey(&context.nodes()?).await;
    let command = Command::ReleaseReplica { set, replica, who: super::who(), why };
    propose(&survey, survey.catalogue()?, &command, "nothing was released").await?;
    out::line(&format!("replica {replica} of set {set} may go; its node gets a new copy"))
}
