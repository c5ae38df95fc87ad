//! What has to be done, and what stands in the way, to give the replicas of a node that is lost to another one, as the nodes that
//! answer say it. Pure: asks nobody. `cmd/node/replace.rs` stands above.

use serde::Serialize;
use twinset_control::{CONTROL_SET, Catalogue, Node, Replacement, Role};

use crate::cluster::admin::Survey;
use crate::error;

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// The node that leaves.
    pub node: String,
    /// The node that takes its place.
    pub by: String,
    /// A replica each, the control set's first.
    pub steps: Vec<Step>,
}

/// One replica that is replaced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Step {
    /// The set; 0: the control set.
    pub set: u32,
    /// The replica that leaves.
    pub old: u64,
    /// Whether it votes.
    pub votes: bool,
    /// Who leads the set.
    pub leader: Option<String>,
    /// The successor, if that was begun already.
    pub new: Option<u64>,
}

/// What people call a set.
pub fn name(set: u32) -> String {
    if set == CONTROL_SET { "the control set".to_owned() } else { format!("set {set}") }
}

/// Plans to give what `node` hosts to `by`, or says what is in the way.
pub fn plan(survey: &Survey, node: &str, by: &str, even_if_alive: bool) -> anyhow::Result<Plan> {
    let catalogue = survey.catalogue()?;
    let (lost, successor) = (known(catalogue, node)?, known(catalogue, by)?);
    check_pair(lost, successor)?;
    check_alive(survey, node, by, even_if_alive)?;
    let mut steps = Vec::new();
    for (set, replica) in catalogue.replicas_on(node) {
        let open = catalogue.replacement(set);
        steps.push(Step {
            set,
            old: replica.id,
            votes: replica.role == Role::Voter,
            leader: survey.leader(set).map(|(_, reply)| reply.node.clone()),
            new: begun(catalogue, set, open, (replica.id, by))?,
        });
    }
    if steps.iter().any(|step| step.new.is_none()) {
        check_at_rest(catalogue)?;
    }
    Ok(Plan { node: node.to_owned(), by: by.to_owned(), steps })
}

fn known<'a>(catalogue: &'a Catalogue, name: &str) -> anyhow::Result<&'a Node> {
    catalogue.nodes.get(name).ok_or_else(|| match catalogue.removed_nodes.contains(name) {
        true => error::usage(
            format!("node {name} was taken out of the cluster already"),
            "`twinset node list` shows who belongs to it",
        ),
        false => error::usage(
            format!("there is no node {name}"),
            "`twinset node list` shows them; `twinset node add` adds one",
        ),
    })
}

fn check_pair(lost: &Node, by: &Node) -> anyhow::Result<()> {
    if lost.arbiter || by.arbiter {
        return Err(error::usage(
            "an arbiter neither is replaced nor replaces: it hosts the control set alone",
            "start a lost arbiter again with its data directory (docs/operating/lost-arbiter.md)",
        ));
    }
    if lost.name == by.name || lost.site != by.site {
        return Err(error::usage(
            format!(
                "{} of site {} cannot take the place of {} of site {}",
                by.name, by.site, lost.name, lost.site
            ),
            "name another node of the same site; `twinset node add` adds one",
        ));
    }
    Ok(())
}

fn check_alive(survey: &Survey, node: &str, by: &str, even_if_alive: bool) -> anyhow::Result<()> {
    match survey.reply_of(by) {
        Some(reply) if reply.ready => {}
        Some(reply) => {
            return Err(error::failure(
                format!("node {by} is not ready: {}", reply.not_ready_because),
                "wait for it, then run the same command again",
            ));
        }
        None => {
            return Err(error::failure(
                format!("node {by}, which is to take over, does not answer"),
                "start it; a node that is new is added with `twinset node add`",
            ));
        }
    }
    let Some(reply) = survey.reply_of(node).filter(|_| !even_if_alive) else { return Ok(()) };
    let led = reply.replicas.iter().filter(|replica| replica.role == "leader").map(|it| it.set.to_string());
    let led: Vec<String> = led.collect();
    let leads = if led.is_empty() { String::new() } else { format!(" and leads {}", led.join(", ")) };
    Err(error::failure(
        format!("node {node} answers{leads}: it is not lost"),
        "stop it first; --even-if-alive replaces it while it runs",
    ))
}

/// The successor that was begun for this replica; an error if the set is in the way.
fn begun(
    catalogue: &Catalogue,
    set: u32,
    open: Option<&Replacement>,
    (old, by): (u64, &str),
) -> anyhow::Result<Option<u64>> {
    let on_by = catalogue.replicas(set).iter().find(|replica| replica.node == by).map(|replica| replica.id);
    match (open, on_by) {
        (Some(open), Some(new)) if open.old == old && open.new == new && !open.given_up => Ok(Some(new)),
        (Some(open), _) if open.given_up => Err(error::failure(
            format!("a replacement in {} was given up and is not over yet", name(set)),
            "wait until `twinset status` shows it no more, then run the same command again",
        )),
        (Some(open), _) => Err(error::failure(
            format!("replica {} of {} is being replaced by replica {}", open.old, name(set), open.new),
            "wait for its end, or give it up: `twinset node replace NODE --by NODE --give-up`",
        )),
        (None, Some(_)) => Err(error::usage(
            format!("node {by} hosts a replica of {} already: one for each node", name(set)),
            "name another node of the same site; `twinset node add` adds one",
        )),
        (None, None) => Ok(None),
    }
}

fn check_at_rest(catalogue: &Catalogue) -> anyhow::Result<()> {
    let busy = |what: String| Err(error::failure(what, "wait for its end, then run the same command again"));
    if let Some(plan) = catalogue.active_plans().next() {
        return busy(format!("plan {} ({}) is {}", plan.id, plan.kind, plan.state));
    }
    if let Some(drill) = catalogue.active_drill() {
        return busy(format!("drill {} is under way", drill.id));
    }
    for set in catalogue.sets.values() {
        if let Some(open) = &set.recovery {
            return busy(format!("set {} is being recovered in site {}", set.id, open.site));
        }
        if let Some(open) = &set.switch {
            return busy(format!("set {} is being switched to {}", set.id, open.to));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use twinset_control::{Command, Topology, apply};
    use twinset_proto::cluster::v1::{ReplicaStatus, StatusReply};

    use super::*;
    use crate::cluster::Layout;

    /// Two sets in the usual cluster and a node a3 that hosts nothing; only these nodes answer.
    fn survey(alive: &[&str], change: impl FnOnce(&mut Catalogue)) -> Survey {
        let text = Layout::new("d".as_ref(), "b".as_ref(), 2, 7100).topology();
        let mut catalogue = toml::from_str::<Topology>(&text).unwrap().place("id").unwrap();
        tell(
            &mut catalogue,
            Command::UpsertNodeAddress {
                node: "a3".into(),
                site: "A".into(),
                api_addr: "h:1".into(),
                peer_addr: "h:2".into(),
                http_addr: "h:3".into(),
                who: "ops".into(),
                why: "test".into(),
            },
        );
        change(&mut catalogue);
        let mut survey = Survey::default();
        for node in catalogue.nodes.values() {
            let hosted = catalogue.replicas_on(&node.name).map(|(set, replica)| ReplicaStatus {
                set,
                replica: replica.id,
                role: if node.name.ends_with('1') { "leader" } else { "follower" }.into(),
                ..Default::default()
            });
            let reply = StatusReply {
                node: node.name.clone(),
                ready: true,
                catalogue_json: catalogue.to_json().into(),
                replicas: hosted.collect(),
                ..Default::default()
            };
            let answers = alive.contains(&node.name.as_str());
            survey.add(node.api_addr.clone(), if answers { Ok(reply) } else { Err("silent".into()) });
        }
        survey
    }

    fn tell(catalogue: &mut Catalogue, command: Command) {
        let index = 100 + catalogue.version;
        apply(catalogue, index, index, command).unwrap();
    }

    fn begin(set: u32, replica: u64) -> Command {
        let (who, why) = ("ops".into(), "test".into());
        Command::BeginReplacement { set, replica, node: "a3".into(), who, why }
    }

    const WITHOUT_A1: [&str; 5] = ["a2", "a3", "b1", "b2", "c1"];

    fn refused(survey: &Survey, node: &str, by: &str, words: &str) {
        let said = plan(survey, node, by, false).unwrap_err().to_string();
        assert!(said.contains(words), "{words:?} is not in {said:?}");
    }

    #[test]
    fn every_replica_of_a_lost_node_is_planned_and_what_was_begun_goes_on() {
        let planned = plan(&survey(&WITHOUT_A1, |_| ()), "a1", "a3", false).unwrap();
        let sets: Vec<_> = planned.steps.iter().map(|step| (step.set, step.new)).collect();
        assert_eq!(sets, [(0, None), (1, None), (2, None)]);
        let old = planned.steps[1].old;
        let again = survey(&WITHOUT_A1, |catalogue| tell(catalogue, begin(1, old)));
        let again = plan(&again, "a1", "a3", false).unwrap();
        assert_eq!(again.steps[1].new, Some(12), "{again:?}");
    }

    #[test]
    fn what_is_not_lost_or_cannot_take_over_is_refused() {
        let alive = survey(&["a1", "a2", "a3", "b1", "b2", "c1"], |_| ());
        refused(&alive, "a1", "a3", "answers and leads");
        assert!(plan(&alive, "a1", "a3", true).is_ok());
        let lost = survey(&WITHOUT_A1, |_| ());
        refused(&lost, "a9", "a3", "no node a9");
        refused(&lost, "a1", "b1", "cannot take the place");
        refused(&lost, "c1", "a3", "arbiter");
        refused(&lost, "a1", "a2", "hosts a replica of set 1 already");
        refused(&survey(&["a2", "b1", "b2", "c1"], |_| ()), "a1", "a3", "does not answer");
        let switched = |catalogue: &mut Catalogue| {
            tell(
                catalogue,
                Command::BeginSwitch {
                    set: 2,
                    to: "A".into(),
                    owner: "b1".into(),
                    who: "ops".into(),
                    why: "test".into(),
                    expected_epoch: 1,
                    plan: None,
                },
            );
        };
        refused(&survey(&WITHOUT_A1, switched), "a1", "a3", "set 2 is being switched to A");
    }
}
