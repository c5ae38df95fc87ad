//! `twinset recover control`: the control set has lost its majority, and goes on with the copies that are left, on an operator's word.
//! What would be done is worked out in [`crate::control_recovery`]; each node does its part when it is asked, and remembers it, so
//! that this command may die anywhere and be given again.

use std::time::Duration;

use clap::{Args, Subcommand};
use futures::future::join_all;
use serde::Serialize;
use tokio::time::Instant;
use twinset_control::{CONTROL_SET, Catalogue, LogEnd, Role};
use twinset_proto::cluster::v1::{
    FenceControlRequest, InspectControlReply, InspectControlRequest, ReviveControlRequest,
};

use super::Context;
use crate::cluster::admin::{self, Survey};
use crate::cluster::operator;
use crate::control_recovery::{Plan, Survivor, plan};
use crate::{error, out};

/// For a node to fence its copy, or to open it: it waits a lease out before.
const STEP_WITHIN: Duration = Duration::from_secs(30);
/// For the control set to have a leader again, and for all to hear of it.
const LED_WITHIN: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(200);

/// What `twinset recover control --help` says.
pub const HELP: &str = "Let the control set go on without the majority of its copies.\n\n\
    Without the control set nothing can be recorded: no set is recovered or moved, and DEGRADED sets stop answering. `plan` changes \
    nothing: it asks every node directly which copy of the control set it has, and shows who goes on, who is left behind, and what \
    may be lost. `apply` wants the plan's id and your word, for each site (or node) of a copy that is left behind, that it is off or \
    reaches nobody: together they would go on as the old control set. It may be given again when it was interrupted. `verify` \
    shows what came of it, and fails if not all agree.\n\n\
    Afterwards nobody knows what those who were left behind recorded alone. So no set is degraded, moved or recovered by itself \
    before both sites have shown that they have all of it (which they do when both are there), or `twinset recover plan` and \
    `apply` have recovered it on your word.\n\n\
    Examples:\n  twinset recover control plan\n  \
    twinset recover control apply --plan 5f0c... --other-site-is-off A,C --yes --why 'A burnt down'\n  twinset recover control verify";

/// Let the control set go on without the majority of its copies.
#[derive(Debug, Subcommand)]
pub enum Control {
    /// Show what would be done, and what it may cost. Changes nothing.
    Plan,
    /// Do what a plan has shown, or go on with it.
    Apply(Apply),
    /// Show whether all nodes that answer agree on one control set, and what is known of each set.
    Verify,
}

/// Do what a plan has shown, or go on with it.
#[derive(Debug, Args)]
pub struct Apply {
    /// The plan's id, as `twinset recover control plan` has printed it.
    #[arg(long, value_name = "ID")]
    plan: String,
    /// Your word that these sites, or nodes, are off or reach nobody.
    #[arg(long, value_name = "SITE,...", value_delimiter = ',')]
    other_site_is_off: Vec<String>,
    /// Do it.
    #[arg(long)]
    yes: bool,
    /// Why, for the audit log.
    #[arg(long, value_name = "TEXT")]
    why: String,
}

/// Runs `twinset recover control`.
pub async fn run(command: Control, context: &Context) -> anyhow::Result<()> {
    match command {
        Control::Plan => {
            let (_, plan) = look(&context.nodes()?).await?;
            if context.json { out::json(&plan) } else { out::line(&plan.text()) }
        }
        Control::Apply(arguments) => apply(arguments, context).await,
        Control::Verify => verify(context).await,
    }
}

/// What these nodes, and those that they know of, say, and what would be done. Changes nothing.
pub async fn look(nodes: &[String]) -> anyhow::Result<(Survey, Plan)> {
    let survey = admin::survey(nodes).await;
    let catalogue = survey.catalogue()?;
    let copies = join_all(survey.answers.keys().map(|addr| inspect(addr))).await;
    let copies: Vec<InspectControlReply> = copies.into_iter().flatten().collect();
    let plan = plan(catalogue, &copies).map_err(|why| {
        error::failure(
            format!("there is nothing to recover: {why}"),
            "`twinset recover control verify` shows how the control set stands, `twinset status` which nodes answer",
        )
    })?;
    Ok((survey, plan))
}

async fn inspect(addr: &str) -> Option<InspectControlReply> {
    let mut client = admin::client(addr).ok()?;
    let asked = tokio::time::timeout(admin::ASK, client.inspect_control(InspectControlRequest {}));
    Some(asked.await.ok()?.ok()?.into_inner())
}

async fn apply(arguments: Apply, context: &Context) -> anyhow::Result<()> {
    let Apply { plan: id, other_site_is_off, yes, why } = arguments;
    let nodes = context.nodes()?;
    let (survey, plan) = look(&nodes).await?;
    if plan.id != id {
        return Err(error::failure(
            format!("the plan is {} by now, not {id}", plan.id),
            "look at it again: `twinset recover control plan`",
        ));
    }
    if let Some(missing) = plan.not_off(&other_site_is_off).next() {
        let (node, site) = (&missing.node, &missing.site);
        return Err(error::usage(
            format!("the copy on {node} in site {site} is left behind, and nobody has said that it is off"),
            format!("make sure that it is off or reaches nobody, then name {site} in --other-site-is-off"),
        ));
    }
    if !yes {
        out::say(&plan.text());
        return Err(error::usage("nothing was done", "repeat it with --yes"));
    }
    let catalogue = survey.catalogue()?;
    for survivor in &plan.survivors {
        let end = fence(catalogue, &plan, survivor, &why).await?;
        if end != survivor.end {
            return Err(error::failure(
                format!("the log of {} has changed: it ends at {}/{}", survivor.node, end.term, end.index),
                "it is fenced; look at it again: `twinset recover control plan`",
            ));
        }
        out::say(&format!("{}: fenced for incarnation {}", survivor.node, plan.incarnation));
    }
    // The one whose log goes on comes first: the others only follow it.
    let mut order: Vec<&Survivor> = plan.survivors.iter().collect();
    order.sort_by_key(|survivor| survivor.replica != plan.from);
    let end = order[0].end;
    for survivor in order {
        revive(catalogue, &plan, survivor, end).await?;
        out::say(&format!("{}: goes on", survivor.node));
    }
    let deadline = Instant::now() + LED_WITHIN;
    loop {
        let standing = standing(&admin::survey(&nodes).await)?;
        let reborn = standing.incarnation >= plan.incarnation;
        if reborn && standing.findings.is_empty() || Instant::now() >= deadline {
            break;
        }
        tokio::time::sleep(POLL).await;
    }
    verify(context).await
}

fn address<'a>(catalogue: &'a Catalogue, node: &str) -> anyhow::Result<&'a str> {
    let known = catalogue.nodes.get(node).map(|node| node.api_addr.as_str());
    known
        .ok_or_else(|| error::failure(format!("node {node} has no address"), "`twinset node list` shows all"))
}

async fn fence(catalogue: &Catalogue, plan: &Plan, survivor: &Survivor, why: &str) -> anyhow::Result<LogEnd> {
    let request = FenceControlRequest {
        cluster_id: catalogue.cluster_id.clone(),
        plan: plan.id.clone(),
        incarnation: plan.incarnation,
        replica: survivor.replica,
        survivors: plan.members().into_iter().collect(),
        who: super::who(),
        why: why.to_owned(),
    };
    let mut client = admin::client(address(catalogue, &survivor.node)?)?;
    let reply = within(client.fence_control(operator::signed(request)), &survivor.node, "fenced").await?;
    Ok(LogEnd { term: reply.last_term, index: reply.last_index })
}

async fn revive(catalogue: &Catalogue, plan: &Plan, survivor: &Survivor, end: LogEnd) -> anyhow::Result<()> {
    let request = ReviveControlRequest {
        cluster_id: catalogue.cluster_id.clone(),
        plan: plan.id.clone(),
        incarnation: plan.incarnation,
        from: plan.from,
        last_term: end.term,
        last_index: end.index,
    };
    let mut client = admin::client(address(catalogue, &survivor.node)?)?;
    within(client.revive_control(operator::signed(request)), &survivor.node, "opened").await.map(drop)
}

async fn within<T>(
    call: impl Future<Output = Result<tonic::Response<T>, tonic::Status>>,
    node: &str,
    what: &str,
) -> anyhow::Result<T> {
    let answer = match tokio::time::timeout(STEP_WITHIN, call).await {
        Ok(Ok(reply)) => return Ok(reply.into_inner()),
        Ok(Err(status)) => admin::explain(&status),
        Err(_) => format!("no answer within {STEP_WITHIN:?}"),
    };
    Err(error::failure(
        format!("{node}'s copy is not {what}: {answer}"),
        "`twinset recover control plan` shows what holds now; the same `apply` goes on with what was begun",
    ))
}

/// How the control set stands, as all who answer say.
#[derive(Debug, Serialize)]
struct Standing {
    incarnation: u32,
    version: u64,
    leader: Option<String>,
    voters: Vec<String>,
    learners: Vec<String>,
    /// Copies that were left behind.
    left_behind: Vec<String>,
    nodes: Vec<NodeStanding>,
    sets: Vec<SetStanding>,
    /// What does not fit together.
    findings: Vec<String>,
}

#[derive(Debug, Serialize)]
struct NodeStanding {
    node: String,
    version: u64,
    /// Of its copy of the control set; none: it has none that takes part.
    incarnation: Option<u32>,
    role: String,
}

#[derive(Debug, Serialize)]
struct SetStanding {
    set: u32,
    incarnation: u32,
    leader: Option<String>,
    /// As on record.
    recorded: String,
    /// As the leader says.
    in_force: String,
    /// Nobody knows whether the record is the last there was.
    unproven: bool,
}

async fn verify(context: &Context) -> anyhow::Result<()> {
    let standing = standing(&admin::survey(&context.nodes()?).await)?;
    if context.json {
        out::json(&standing)?
    } else {
        out::line(&text(&standing))?
    }
    match standing.findings.is_empty() {
        true => Ok(()),
        false => Err(error::failure(
            standing.findings.join("; "),
            "nodes that have just started hear of it within seconds; else docs/operating/lost-control.md",
        )),
    }
}

fn standing(survey: &Survey) -> anyhow::Result<Standing> {
    let catalogue = survey.catalogue()?;
    let control = &catalogue.control;
    let named = |id: u64, node: &str| format!("{node}#{id}");
    let of_role = |role: Role| {
        let of_role = control.replicas.iter().filter(move |replica| replica.role == role);
        of_role.map(|replica| named(replica.id, &replica.node)).collect::<Vec<_>>()
    };
    let mut findings = Vec::new();
    let mut nodes = Vec::new();
    for reply in survey.replies() {
        let copy = reply.replicas.iter().find(|replica| replica.set == CONTROL_SET);
        if reply.catalogue_version != catalogue.version {
            findings.push(format!(
                "{} has catalogue {}, not {}",
                reply.node, reply.catalogue_version, catalogue.version
            ));
        }
        if let Some(copy) = copy.filter(|copy| copy.incarnation != control.incarnation) {
            findings.push(format!(
                "{}'s copy of the control set is of incarnation {}",
                reply.node, copy.incarnation
            ));
        }
        nodes.push(NodeStanding {
            node: reply.node.clone(),
            version: reply.catalogue_version,
            incarnation: copy.map(|copy| copy.incarnation),
            role: copy.map_or_else(String::new, |copy| copy.role.clone()),
        });
    }
    let leader = survey.leader(CONTROL_SET).map(|(_, reply)| reply.node.clone());
    if leader.is_none() {
        findings.push("the control set has no leader".to_owned());
    }
    let sets = catalogue.sets.values().map(|set| SetStanding {
        set: set.id,
        incarnation: set.incarnation,
        leader: survey.leader(set.id).map(|(_, reply)| reply.node.clone()),
        recorded: set.durability.to_string(),
        in_force: survey.leader_status(set.id).map_or_else(String::new, |status| status.durability.clone()),
        unproven: set.is_unproven(),
    });
    let lost = catalogue.lost(CONTROL_SET).iter();
    let kept = |kept: bool| if kept { " (kept)" } else { "" };
    Ok(Standing {
        incarnation: control.incarnation,
        version: catalogue.version,
        leader,
        voters: of_role(Role::Voter),
        learners: of_role(Role::Learner),
        left_behind: lost.map(|lost| named(lost.id, &lost.node) + kept(lost.kept)).collect(),
        nodes,
        sets: sets.collect(),
        findings,
    })
}

fn text(standing: &Standing) -> String {
    let or_none = |text: &str| if text.is_empty() { "-".to_owned() } else { text.to_owned() };
    let mut text = format!(
        "control set: incarnation {}, catalogue {}, leader {}\nvoters {}, learners {}, left behind {}\n\n",
        standing.incarnation,
        standing.version,
        or_none(standing.leader.as_deref().unwrap_or_default()),
        or_none(&standing.voters.join(" ")),
        or_none(&standing.learners.join(" ")),
        or_none(&standing.left_behind.join(" ")),
    );
    let nodes = standing.nodes.iter().map(|node| {
        let incarnation = node.incarnation.map_or("-".to_owned(), |it| it.to_string());
        vec![node.node.clone(), node.version.to_string(), or_none(&node.role), incarnation]
    });
    text.push_str(&out::table(&["NODE", "CATALOGUE", "CONTROL SET", "INC"], &nodes.collect::<Vec<_>>()));
    let sets = standing.sets.iter().map(|set| {
        let recorded =
            if set.unproven { format!("{} (unproven)", set.recorded) } else { set.recorded.clone() };
        let leader = or_none(set.leader.as_deref().unwrap_or_default());
        vec![set.set.to_string(), set.incarnation.to_string(), leader, recorded, or_none(&set.in_force)]
    });
    text.push_str("\n\n");
    text.push_str(&out::table(&["SET", "INC", "LEADER", "ON RECORD", "IN FORCE"], &sets.collect::<Vec<_>>()));
    text
}
