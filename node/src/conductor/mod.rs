//! Who carries out the plans that the catalogue holds: the node whose replica of the control set leads. It looks at
//! the catalogue and at the nodes, decides (`decide.rs`), asks the leaders of sets, and records what came of it. It
//! keeps nothing that the next conductor would need: when this node dies, the one that leads the control set next
//! goes on with the same plans.

mod decide;
mod known;
mod nodes;
mod orphan;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};
use tracing::{info, warn};
use twinset_control::plan::{self, State};
use twinset_control::{CONTROL_SET, Catalogue, Command, Plan, Role};
use twinset_ledger::canary::{self, Canary};
use twinset_proto::cluster::v1::StatusReply;

use crate::catalogue::CatalogueCell;
use crate::control_client::ControlClient;
use crate::handover;
use crate::raft::Group;
pub(crate) use decide::cut;
use decide::{Action, Ask, Now, decide};
use known::Known;
use nodes::Nodes;

/// Between two decisions, if nothing happens.
const PERIOD: Duration = Duration::from_millis(50);
/// Between two looks at a node.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Between two looks at the lease of a drill.
const LEASES_EVERY: Duration = Duration::from_secs(1);
/// Between two attempts to hand over the control set.
const HAND_OVER_EVERY: Duration = Duration::from_secs(1);

/// The conductor of a node that hosts a replica of the control set.
pub struct Conductor {
    /// That replica.
    pub group: Group,
    /// The catalogue.
    pub cell: CatalogueCell,
    /// The way into the control set's log.
    pub control: ControlClient,
    /// This node's name.
    pub me: String,
}

/// What has come of asking the leader of a set.
struct Answer {
    plan: u64,
    set: u32,
    what: Ask,
    result: Result<Option<u64>, String>,
}

impl Conductor {
    /// Runs until the node stops.
    pub async fn run(self) {
        let (mut changes, mut view) = (self.cell.watch(), self.group.view());
        loop {
            if let Some(catalogue) = self.on_duty() {
                if at_work(&catalogue).next().is_some() {
                    self.conduct().await;
                    continue;
                }
                if let Some(command) = orphan::next(&catalogue, self.cell.platform().now_unix_ns(), &self.me)
                {
                    self.go_on_for_another(command).await;
                    continue;
                }
                if self.stands_in_isolation(&catalogue) {
                    self.hand_over(&catalogue).await;
                    tokio::time::sleep(HAND_OVER_EVERY).await;
                    continue;
                }
            }
            let now_unix_ns = self.cell.platform().now_unix_ns();
            let drilled =
                self.on_duty().is_some_and(|catalogue| orphan::is_due_by_time(&catalogue, now_unix_ns));
            let ended = tokio::select! {
                // A lease ends without a word.
                () = tokio::time::sleep(LEASES_EVERY), if drilled => false,
                changed = changes.changed() => changed.is_err(),
                // The group may end before the node does.
                changed = view.changed() => changed.is_err(),
            };
            if ended {
                return;
            }
        }
    }

    /// The catalogue, while this node is the one to carry plans out.
    fn on_duty(&self) -> Option<Arc<Catalogue>> {
        self.group.is_leader().then(|| self.cell.get()).flatten()
    }

    /// Carries plans out until none is left, or another node leads the control set. What leaders are doing then ends
    /// there.
    async fn conduct(&self) {
        info!("conducting");
        let nodes = Arc::new(Nodes::new(self.cell.clone()));
        let (mut known, mut asked, mut looks) = (Known::default(), JoinSet::new(), JoinSet::new());
        let mut changes = self.cell.watch();
        let mut tick = tokio::time::interval(PERIOD);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        if let Some(catalogue) = self.on_duty() {
            catalogue.nodes.keys().for_each(|node| look(&mut looks, &nodes, node, Duration::ZERO));
        }
        while let Some(catalogue) = self.on_duty() {
            if at_work(&catalogue).next().is_none() {
                info!("no plan is left");
                return;
            }
            let now_unix_ns = self.cell.platform().now_unix_ns();
            if let Some(command) = orphan::next(&catalogue, now_unix_ns, &self.me) {
                self.go_on_for_another(command).await;
            }
            self.turn(&catalogue, &nodes, &mut known, &mut asked).await;
            tokio::select! {
                _ = tick.tick() => {}
                _ = changes.changed() => {}
                Some(Ok(Answer { plan, set, what, result })) = asked.join_next() => {
                    if let Err(reason) = &result {
                        info!(plan, set, reason, "refused; it is asked for again");
                    }
                    known.answered((plan, set), what, result, Instant::now());
                }
                Some(Ok((node, reply))) = looks.join_next() => {
                    if let Some(reply) = reply {
                        known.heard(&reply, Instant::now());
                    }
                    look(&mut looks, &nodes, &node, LOOK_EVERY);
                }
            }
        }
        info!("another node leads the control set");
    }

    async fn turn(
        &self,
        catalogue: &Catalogue,
        nodes: &Arc<Nodes>,
        known: &mut Known,
        asked: &mut JoinSet<Answer>,
    ) {
        for plan in at_work(catalogue) {
            let now = Now { instant: Instant::now(), unix_ns: self.cell.platform().now_unix_ns() };
            known.look(catalogue, plan, now.instant);
            for action in decide(catalogue, plan, known, now) {
                match action {
                    Action::Ask { set, what, .. } => {
                        let Some(leader) = known.leader(set).map(str::to_owned) else {
                            let reason = "no leader is known".to_owned();
                            known.in_vain((plan.id, set), what, reason, now.instant);
                            continue;
                        };
                        known.ask(set);
                        let (nodes, plan) = (nodes.clone(), plan.clone());
                        asked.spawn(async move {
                            let result = nodes.ask(&leader, &plan, set, &what).await;
                            Answer { plan: plan.id, set, what, result }
                        });
                    }
                    Action::Tell(command) => self.tell(plan, command).await,
                }
            }
        }
    }

    async fn tell(&self, plan: &Plan, command: plan::Command) {
        match &command {
            plan::Command::RollBack { reason, .. } => {
                warn!(plan = plan.id, kind = %plan.kind, reason, "the plan is given up, and brings its sets home");
            }
            plan::Command::End { state: State::Failed, reason, .. } => {
                warn!(plan = plan.id, kind = %plan.kind, reason, "the plan has failed");
            }
            command => info!(plan = plan.id, ?command, "plan"),
        }
        if let Err(error) = self.control.propose(&Command::Plan(command)).await {
            info!(plan = plan.id, %error, "not recorded yet");
        }
    }

    /// Records what is to become of a drill whose player fell silent.
    async fn go_on_for_another(&self, command: Command) {
        warn!(?command, "whoever plays a drill has fallen silent");
        if let Err(error) = self.control.propose(&command).await {
            info!(%error, "not recorded yet");
            tokio::time::sleep(LEASES_EVERY).await;
        }
    }

    /// Whether the control set's leader stands where the power is to go off.
    fn stands_in_isolation(&self, catalogue: &Catalogue) -> bool {
        let site = catalogue.site_of_node(&self.me).and_then(|site| catalogue.sites.get(site));
        site.is_some_and(|site| site.isolated)
    }

    async fn hand_over(&self, catalogue: &Catalogue) {
        let own = catalogue.site_of_node(&self.me);
        let voters = catalogue.replicas(CONTROL_SET).iter().filter(|replica| replica.role == Role::Voter);
        let outside = voters.filter(|replica| catalogue.site_of_node(&replica.node) != own);
        let targets: Vec<u64> = outside.map(|replica| replica.id).collect();
        match handover::hand_over(&self.group, None, &targets, &|_, _| {}).await {
            Ok(_) => info!("the control set is led from outside the isolated site"),
            Err(error) => info!(%error, "the control set is led from the isolated site yet"),
        }
    }
}

/// The plans that somebody has to carry out.
fn at_work(catalogue: &Catalogue) -> impl Iterator<Item = &Plan> {
    let again = |plan: &&Plan| plan.state == State::Stopped && canary::on(Canary::PlanResumedTwice);
    catalogue.active_plans().chain(catalogue.plans.values().filter(again))
}

/// Asks a node how it is, after a while.
fn look(looks: &mut JoinSet<(String, Option<StatusReply>)>, nodes: &Arc<Nodes>, node: &str, after: Duration) {
    let (nodes, node) = (nodes.clone(), node.to_owned());
    looks.spawn(async move {
        tokio::time::sleep(after).await;
        let reply = nodes.status(&node).await.ok();
        (node, reply)
    });
}
