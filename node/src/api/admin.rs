//! What operators ask of a node.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};
use twinset_control::{CONTROL_SET, Catalogue, Command, Proof};
use twinset_ledger::attempt::{Coordination, Role as Part};
use twinset_ledger::{Command as LedgerCommand, Durability, Effect};
use twinset_proto::cluster::v1 as wire;
use wire::admin_server::Admin;

use super::{audit, control_recovery, convert, verify};
use crate::birth::Refused;
use crate::durability::sentinel::Standing;
use crate::durability::{self, Change};
use crate::hosting::Fenced;
use crate::node::{BootstrapError, Node};
use crate::operators;
use crate::own_commands;
use crate::platform;
use crate::raft::Role;
use crate::set::{Fence, Kind, Ledger, Replica};
use crate::switch;

/// Attempts of one set in one reply.
const ATTEMPTS_MAX: usize = 1_000;
/// For another change of the set to end.
const ALONE_WITHIN: Duration = Duration::from_secs(2);
const VERIFY_MAX: Duration = Duration::from_secs(60);

/// The service.
pub struct AdminService {
    /// The node it speaks for.
    pub node: Arc<Node>,
}

#[tonic::async_trait]
impl Admin for AdminService {
    type SwitchStream = ReceiverStream<Result<wire::SwitchProgress, Status>>;

    async fn identify(
        &self,
        _: Request<wire::IdentifyRequest>,
    ) -> Result<Response<wire::IdentifyReply>, Status> {
        let catalogue = self.node.identified_catalogue();
        Ok(Response::new(wire::IdentifyReply {
            node: self.node.config.node.name.clone(),
            site: self.node.config.node.site.clone(),
            cluster_id: catalogue.as_ref().map(|c| c.cluster_id.clone()).unwrap_or_default(),
            version: env!("CARGO_PKG_VERSION").into(),
            catalogue_version: catalogue.map_or(0, |c| c.version),
        }))
    }

    async fn bootstrap(
        &self,
        request: Request<wire::BootstrapRequest>,
    ) -> Result<Response<wire::BootstrapReply>, Status> {
        let request = request.into_inner();
        let catalogue = Catalogue::from_json(&request.catalogue_json)
            .map_err(|error| Status::invalid_argument(format!("the catalogue: {error}")))?;
        if catalogue.cluster_id != request.cluster_id {
            return Err(Status::invalid_argument("the catalogue is of another cluster"));
        }
        match self.node.bootstrap(catalogue).await {
            Ok(already) => Ok(Response::new(wire::BootstrapReply { already })),
            Err(error @ BootstrapError::Failed(_)) => Err(Status::internal(error.to_string())),
            // Ask again when the other node answers.
            Err(error @ BootstrapError::Refused(Refused::Silent { .. } | Refused::Unconfirmed { .. })) => {
                Err(Status::unavailable(error.to_string()))
            }
            Err(error) => Err(Status::failed_precondition(error.to_string())),
        }
    }

    async fn status(
        &self,
        request: Request<wire::StatusRequest>,
    ) -> Result<Response<wire::StatusReply>, Status> {
        let wire::StatusRequest { without_catalogue, first_catalogue } = request.into_inner();
        let first_catalogue_json = match first_catalogue {
            true => self.node.first_catalogue().map_err(|error| Status::internal(error.to_string()))?,
            false => None,
        };
        let catalogue = self.node.identified_catalogue();
        let not_ready_because = self.node.not_ready().unwrap_or_default();
        Ok(Response::new(wire::StatusReply {
            node: self.node.config.node.name.clone(),
            site: self.node.config.node.site.clone(),
            cluster_id: catalogue.as_ref().map(|c| c.cluster_id.clone()).unwrap_or_default(),
            catalogue_version: catalogue.as_ref().map_or(0, |c| c.version),
            replicas: match &catalogue {
                Some(catalogue) => {
                    self.node.sets.all().iter().map(|r| replica_status(r, catalogue)).collect()
                }
                None => Vec::new(),
            },
            catalogue_json: catalogue
                .filter(|_| !without_catalogue)
                .map(|c| c.to_json().into())
                .unwrap_or_default(),
            resources: self.node.resources.used(),
            first_catalogue_json: first_catalogue_json.unwrap_or_default().into(),
            ready: not_ready_because.is_empty(),
            not_ready_because,
        }))
    }

    async fn switch(
        &self,
        request: Request<wire::SwitchRequest>,
    ) -> Result<Response<Self::SwitchStream>, Status> {
        let declared = or_default(&request.get_ref().who, "operator");
        // Who only looks needs no token.
        let (who, proof) = if request.get_ref().dry_run {
            (declared, Proof::Declared)
        } else {
            self.node.operators.sign(&request, &declared)?
        };
        let request = request.into_inner();
        let replica = self.leading(request.set)?;
        let lock = self.node.switch_lock(request.set);
        let guard = lock
            .try_lock_owned()
            .map_err(|_| Status::aborted("the set is being moved or tidied; ask again"))?;
        let (progress, mut reports) = mpsc::channel(64);
        let context = switch::Context {
            replica,
            cell: self.node.cell.clone(),
            control: self.node.control.clone(),
            me: self.node.config.node.name.clone(),
        };
        let asked = switch::Request {
            to: request.to_site,
            who,
            proof,
            why: or_default(&request.why, "planned switch"),
            dry_run: request.dry_run,
            plan: Some(request.plan).filter(|plan| *plan != 0),
        };
        let mut told = wire::Move {
            set: request.set,
            to_site: asked.to.clone(),
            plan: request.plan,
            began_unix_ms: self.node.platform.now_unix_ns() / 1_000_000,
            phases: Vec::new(),
        };
        tokio::spawn(async move {
            switch::run(context, asked, switch::Reporter::new(progress)).await;
            drop(guard);
        });
        let (out, stream) = mpsc::channel(64);
        let node = self.node.clone();
        tokio::spawn(async move {
            while let Some(report) = reports.recv().await {
                told.phases.push(report.clone());
                // Whoever asked may have hung up; the move goes on, and is told.
                let _ = out.send(Ok(report)).await;
            }
            if !request.dry_run {
                node.moves.add(told);
            }
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn list_moves(
        &self,
        request: Request<wire::ListMovesRequest>,
    ) -> Result<Response<wire::ListMovesReply>, Status> {
        let moves = self.node.moves.since(request.into_inner().since_unix_ms);
        Ok(Response::new(wire::ListMovesReply { moves }))
    }

    async fn set_durability(
        &self,
        request: Request<wire::SetDurabilityRequest>,
    ) -> Result<Response<wire::SetDurabilityReply>, Status> {
        let declared = or_default(&request.get_ref().who, "operator");
        let (who, proof) = self.node.operators.sign(&request, &declared)?;
        let request = request.into_inner();
        let replica = self.leading(request.set)?;
        let alone = tokio::time::timeout(ALONE_WITHIN, self.node.switch_lock(request.set).lock_owned());
        let _alone = alone.await.map_err(|_| {
            Status::unavailable(
                "the set is being moved, or its durability changed; ask again when that is over",
            )
        })?;
        let state = if request.degraded { Durability::Degraded } else { Durability::Sync };
        let why = or_default(&request.why, "by hand");
        let catalogue = self.node.cell.get().ok_or_else(|| Status::unavailable("no catalogue yet"))?;
        let wanted = Change { durability: state, pinned: request.degraded, who, proof, why };
        let marked =
            durability::change(&replica, &catalogue, &self.node.control, wanted).await.map_err(|error| {
                match error {
                    durability::Error::AwaySite(_) | durability::Error::Protected => {
                        Status::failed_precondition(error.to_string())
                    }
                    _ => Status::unavailable(error.to_string()),
                }
            })?;
        Ok(Response::new(wire::SetDurabilityReply {
            index: marked.index,
            last_safe_index: marked.last_safe_index,
        }))
    }

    async fn define_group(
        &self,
        request: Request<wire::DefineGroupRequest>,
    ) -> Result<Response<wire::DefineGroupReply>, Status> {
        let declared = or_default(&request.get_ref().who, "operator");
        self.node.operators.sign(&request, &declared)?;
        let request = request.into_inner();
        let replica = self.leading(request.set)?;
        let ledger = replica.ledger().expect("a set that can be led here has accounts");
        let command = LedgerCommand::DefineGroup { group: request.group };
        command.validate().map_err(|malformed| Status::invalid_argument(malformed.to_string()))?;
        let outcomes = own_commands::decide(&ledger.proposer, &[command]).await;
        let outcome = outcomes.and_then(|outcomes| outcomes.into_iter().next());
        match outcome.map(|outcome| outcome.result) {
            Some(Ok(Effect::Defined { changed })) => Ok(Response::new(wire::DefineGroupReply { changed })),
            Some(Err(rejection)) => Err(Status::already_exists(rejection.to_string())),
            _ => Err(Status::unavailable("the set's log has not taken it in yet; ask again")),
        }
    }

    async fn list_attempts(
        &self,
        _: Request<wire::ListAttemptsRequest>,
    ) -> Result<Response<wire::ListAttemptsReply>, Status> {
        let replicas = self.node.sets.all();
        let led = replicas.iter().filter(|replica| replica.group.is_leader());
        let sets = led.filter_map(|replica| Some(attempts(replica.ledger()?, &replica.fence)));
        Ok(Response::new(wire::ListAttemptsReply { sets: sets.collect() }))
    }

    async fn verify(
        &self,
        request: Request<wire::VerifyRequest>,
    ) -> Result<Response<wire::VerifyReply>, Status> {
        let request = request.into_inner();
        let replica =
            self.node.sets.get(request.set).ok_or_else(|| Status::not_found("the set is not hosted here"))?;
        let ledger =
            replica.ledger().ok_or_else(|| Status::invalid_argument("the control set has no accounts"))?;
        let deadline = Instant::now() + Duration::from_millis(request.deadline_ms.into()).min(VERIFY_MAX);
        let gate = &replica.fence.gate;
        let gated = async |index| {
            tokio::time::timeout_at(deadline, gate.wait(index)).await.map_err(|_| {
                Status::deadline_exceeded(format!(
                    "the gate of this replica is not open for index {index} yet"
                ))
            })
        };
        gated(request.at_least_index).await?;
        let state = ledger.state.clone();
        let read = platform::blocking(&*replica.fence.platform, move || state.totals())
            .await
            .map_err(|error| Status::internal(error.to_string()))?;
        // Like any other read: nothing of it leaves before the gate is open for all of it.
        gated(read.index).await?;
        if ledger.state.has_stopped() {
            return Err(Status::unavailable("a fault has stopped this replica"));
        }
        Ok(Response::new(verify::reply(request.set, replica.fence.replica, read)))
    }

    async fn control(
        &self,
        request: Request<wire::ControlRequest>,
    ) -> Result<Response<wire::ControlReply>, Status> {
        let (request, proof) = self.signed(request)?;
        let answer = self.node.control.take(request, &proof).await;
        Ok(Response::new(wire::ControlReply { result: Some(answer) }))
    }

    async fn alive(
        &self,
        request: Request<wire::AliveRequest>,
    ) -> Result<Response<wire::AliveReply>, Status> {
        let request = request.into_inner();
        check_cluster(&self.node, &request.cluster_id)?;
        self.node.vigil.take(request);
        Ok(Response::new(wire::AliveReply { now_unix_ns: self.node.platform.now_unix_ns() }))
    }

    async fn fence(
        &self,
        request: Request<wire::FenceRequest>,
    ) -> Result<Response<wire::FenceReply>, Status> {
        // The recovery that asks for it is on record; by itself it would be an act that nobody could see.
        operators::from_node(&request).ok_or(operators::Refused::OfNodes)?;
        let request = request.into_inner();
        check_cluster(&self.node, &request.cluster_id)?;
        if request.set == CONTROL_SET {
            return Err(Status::invalid_argument(
                "the control set is fenced for a plan of an operator alone",
            ));
        }
        let fenced = self.node.fence(request.set, request.replica, request.incarnation).await;
        let Fenced { end, safe } = fenced.map_err(Status::from)?;
        Ok(Response::new(wire::FenceReply { last_term: end.term, last_index: end.index, safe_index: safe }))
    }

    async fn list_tails(
        &self,
        _: Request<wire::ListTailsRequest>,
    ) -> Result<Response<wire::ListTailsReply>, Status> {
        let reports = self.node.tail_reports().map_err(|error| Status::internal(format!("{error:#}")))?;
        let reports_json = serde_json::to_vec(&reports).expect("plain data has a JSON form").into();
        Ok(Response::new(wire::ListTailsReply { reports_json }))
    }

    async fn inspect_control(
        &self,
        _: Request<wire::InspectControlRequest>,
    ) -> Result<Response<wire::InspectControlReply>, Status> {
        let copy = self.node.inspect_control();
        copy.map(Response::new).map_err(|error| Status::internal(format!("{error:#}")))
    }

    async fn fence_control(
        &self,
        request: Request<wire::FenceControlRequest>,
    ) -> Result<Response<wire::FenceControlReply>, Status> {
        control_recovery::fence(&self.node, request).await.map(Response::new)
    }

    async fn revive_control(
        &self,
        request: Request<wire::ReviveControlRequest>,
    ) -> Result<Response<wire::ReviveControlReply>, Status> {
        control_recovery::revive(&self.node, request).await.map(Response::new)
    }

    async fn list_audit(
        &self,
        request: Request<wire::ListAuditRequest>,
    ) -> Result<Response<wire::ListAuditReply>, Status> {
        audit::list(&self.node, request.into_inner()).await.map(Response::new)
    }

    async fn lease(
        &self,
        request: Request<wire::LeaseRequest>,
    ) -> Result<Response<wire::LeaseReply>, Status> {
        let result = self.node.control.take_lease(request.into_inner()).await;
        Ok(Response::new(wire::LeaseReply { result: Some(result) }))
    }
}

impl AdminService {
    /// A command for the control set with the name that it goes on record under, and what speaks for that.
    fn signed(&self, call: Request<wire::ControlRequest>) -> Result<(wire::ControlRequest, Proof), Status> {
        if let Some(proof) = operators::from_node(&call) {
            return Ok((call.into_inner(), proof));
        }
        let Ok(mut command) = serde_json::from_slice::<Command>(&call.get_ref().command_json) else {
            // It is no command, which is said to whoever asks in the right cluster.
            return Ok((call.into_inner(), Proof::Declared));
        };
        let who = command.who_mut().ok_or(operators::Refused::OfNodes)?;
        let (name, proof) = self.node.operators.sign(&call, who)?;
        *who = name;
        let mut request = call.into_inner();
        let json = serde_json::to_vec(&command).expect("plain data with string keys has a JSON form");
        request.command_json = json.into();
        Ok((request, proof))
    }

    fn leading(&self, set: u32) -> Result<Arc<Replica>, Status> {
        let replica =
            self.node.sets.get(set).ok_or_else(|| Status::not_found("the set is not hosted here"))?;
        if replica.ledger().is_none() {
            return Err(Status::invalid_argument("the control set cannot be moved"));
        }
        if !replica.group.is_leader() {
            return Err(Status::failed_precondition("this node does not lead the set"));
        }
        Ok(replica)
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

pub(super) fn or_default(text: &str, default: &str) -> String {
    if text.is_empty() { default } else { text }.to_owned()
}

/// A call that is for the nodes of one cluster.
pub(super) fn check_cluster(node: &Node, cluster_id: &str) -> Result<(), Status> {
    match node.identified_catalogue().is_some_and(|catalogue| catalogue.cluster_id == cluster_id) {
        true => Ok(()),
        false => Err(Status::failed_precondition(format!("wrong cluster {cluster_id}"))),
    }
}

fn replica_status(replica: &Replica, catalogue: &Catalogue) -> wire::ReplicaStatus {
    let view = replica.group.view().borrow().clone();
    let progress = replica.group.progress();
    let leader = view.leader.and_then(|id| catalogue.replica(replica.fence.set, id)).map(|r| r.node.clone());
    let role = match view.role {
        Role::Leader => "leader",
        Role::Follower => "follower",
        Role::Learner => "learner",
        Role::Candidate => "candidate",
        Role::Stopped => "stopped",
    };
    let (safe_index, accounts, standing) = match &replica.kind {
        Kind::Ledger(ledger) => {
            let standing = *ledger.standing.borrow();
            (replica.fence.gate.horizon().safe, ledger.state.account_count(), standing)
        }
        Kind::Control(_) => (progress.committed, 0, Standing::default()),
    };
    let leads = view.role == Role::Leader;
    wire::ReplicaStatus {
        set: replica.fence.set,
        replica: replica.fence.replica,
        role: role.into(),
        term: view.term,
        leader_node: leader.unwrap_or_default(),
        last_log_index: progress.last_log,
        committed_index: progress.committed,
        applied_index: progress.applied,
        safe_index,
        durability: convert::durability(replica.fence.gate.durability()).into(),
        incarnation: replica.fence.incarnation,
        matched: progress.matched.into_iter().collect(),
        voters: view.voters.into_iter().collect(),
        learners: view.learners.into_iter().collect(),
        accounts,
        fault: view.fault.unwrap_or_default(),
        phase: if leads { standing.phase.name().into() } else { String::new() },
        waited_ms: milliseconds(standing.waited),
        lease_ms: replica.fence.gate.leased().map_or(0, milliseconds),
    }
}

/// What a set that this node leads has open with others, as this replica has applied it: no gate is asked, because nothing is told
/// of any balance, and what hangs while the gate is shut is just what people look for.
fn attempts(ledger: &Ledger, fence: &Fence) -> wire::SetAttempts {
    let (set, now_unix_ns) = (fence.set, fence.platform.now_unix_ns());
    let (coordinated, others) = ledger.state.attempt_counts();
    let attempts = ledger.state.oldest_attempts_as(ATTEMPTS_MAX, |id, attempt| {
        let (phase, sets) = match &attempt.role {
            Part::Participant { .. } => ("waits", Vec::new()),
            Part::Coordinator(coordination @ Coordination { decided, .. }) => {
                let phase = if decided.is_some() { "books" } else { "asks" };
                (phase, coordination.other_sets(set).into_iter().collect())
            }
        };
        wire::OpenAttempt {
            attempt: id.to_string(),
            phase: phase.to_owned(),
            opened_unix_ns: attempt.opened_ns,
            age_ms: now_unix_ns.saturating_sub(attempt.opened_ns) / 1_000_000,
            sets,
        }
    });
    wire::SetAttempts { set, attempts, open: (coordinated + others) as u64 }
}
