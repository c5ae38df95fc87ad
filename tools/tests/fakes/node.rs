//! A node that speaks the operators' service. Once bootstrapped it leads the sets whose first replica it hosts.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};
use twinset_control::{Catalogue, Command, LogEnd, Topology};
use twinset_proto::OPERATOR_TOKEN;
use twinset_proto::cluster::v1::admin_server::{Admin, AdminServer};
use twinset_proto::cluster::v1::*;

/// What a test may change at any time.
#[derive(Default)]
pub struct Script {
    pub name: String,
    pub site: String,
    pub cluster_id: String,
    pub catalogue: Option<Catalogue>,
    /// So many bootstraps are answered with "unavailable" first.
    pub busy: u32,
    /// So many commands for the control set have no known end first.
    pub mute: u32,
    /// So many switches are answered with "ask again" first.
    pub tidying: u32,
    /// Ids that are kept for groups, by set.
    pub kept: BTreeSet<(u32, String)>,
    /// The phases of a switch.
    pub phases: Vec<SwitchProgress>,
    /// Switches asked for.
    pub switches: Vec<SwitchRequest>,
    /// Its audit log, newest last, and how far it says that it goes; none: it has no replica of the control set.
    pub audit: Option<ListAuditReply>,
    /// Operators' tokens that came with commands for the control set.
    pub tokens: Vec<String>,
    /// It takes commands with a token alone.
    pub required: bool,
    /// Its copy of the control set, for who asks of that directly; whoever says what it holds decides what is done.
    pub control: InspectControlReply,
    /// The figures of each set; the applied index grows to the one asked for.
    pub figures: VerifyReply,
}

impl Script {
    /// As a node does it: one plan for one incarnation.
    fn fence_control(&mut self, asked: FenceControlRequest) -> Result<FenceControlReply, Status> {
        let FenceControlRequest { plan, incarnation, survivors, who, .. } = asked;
        match &self.control.promise {
            Some(kept) if kept.plan != plan => {
                return Err(Status::failed_precondition("another plan is under way"));
            }
            Some(_) => {}
            None => {
                self.control.promise =
                    Some(ControlPromise { plan, incarnation, survivors, who, revived: false });
                (self.control.incarnation, self.control.open) = (incarnation, false);
            }
        }
        let (last_term, last_index) = (self.control.last_term, self.control.last_index);
        Ok(FenceControlReply { last_term, last_index })
    }

    fn revive_control(&mut self, asked: ReviveControlRequest) -> Result<ReviveControlReply, Status> {
        let ReviveControlRequest { plan, incarnation, from, last_term, last_index, .. } = asked;
        let promise = self.control.promise.as_mut().filter(|kept| kept.plan == plan && !self.control.open);
        let promise = promise.ok_or_else(|| Status::failed_precondition("not fenced for that plan"))?;
        promise.revived = true;
        self.control.open = true;
        let catalogue = self.catalogue.as_mut().expect("it has a place in a cluster");
        let (survivors, end) =
            (promise.survivors.clone().into_iter().collect(), LogEnd { term: last_term, index: last_index });
        let (who, why) = (promise.who.clone(), "test".to_owned());
        let command = Command::RecoverControl { plan, incarnation, survivors, from, end, who, why };
        twinset_control::apply(catalogue, last_index + 2, 7, command).unwrap();
        Ok(ReviveControlReply {})
    }
}

#[derive(Clone)]
pub struct FakeNode {
    pub addr: String,
    pub script: Arc<Mutex<Script>>,
}

impl FakeNode {
    pub async fn start(name: &str, site: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap().to_string();
        let script = Script { name: name.into(), site: site.into(), ..Default::default() };
        let node = FakeNode { addr, script: Arc::new(Mutex::new(script)) };
        let serve = tonic::transport::Server::builder()
            .add_service(AdminServer::new(node.clone()))
            .serve_with_incoming(TcpListenerStream::new(listener));
        tokio::spawn(serve);
        node
    }

    pub fn with<T>(&self, act: impl FnOnce(&mut Script) -> T) -> T {
        act(&mut self.script.lock().unwrap())
    }
}

/// Two sites of two nodes and an arbiter, and the topology that names them.
pub async fn five() -> (Vec<FakeNode>, Topology) {
    let mut nodes = Vec::new();
    let mut text = "[cluster]\nname = \"test\"\nsets = 2\n".to_owned();
    for (number, (name, site)) in
        [("a1", "A"), ("a2", "A"), ("b1", "B"), ("b2", "B"), ("c1", "C")].into_iter().enumerate()
    {
        let node = FakeNode::start(name, site).await;
        text.push_str(&format!(
            "[[node]]\nname = \"{name}\"\nsite = \"{site}\"\narbiter = {}\napi = \"{}\"\n\
             peer = \"127.0.0.1:{}\"\nhttp = \"127.0.0.1:{}\"\n",
            site == "C",
            node.addr,
            1 + number,
            11 + number,
        ));
        nodes.push(node);
    }
    (nodes, toml::from_str(&text).unwrap())
}

#[tonic::async_trait]
impl Admin for FakeNode {
    type SwitchStream = tokio_stream::Iter<std::vec::IntoIter<Result<SwitchProgress, Status>>>;

    async fn identify(&self, _: Request<IdentifyRequest>) -> Result<Response<IdentifyReply>, Status> {
        Ok(Response::new(self.with(|script| IdentifyReply {
            node: script.name.clone(),
            site: script.site.clone(),
            cluster_id: script.cluster_id.clone(),
            ..Default::default()
        })))
    }

    async fn bootstrap(
        &self,
        request: Request<BootstrapRequest>,
    ) -> Result<Response<BootstrapReply>, Status> {
        let request = request.into_inner();
        self.with(|script| {
            if script.busy > 0 {
                script.busy -= 1;
                return Err(Status::unavailable("busy"));
            }
            if !script.cluster_id.is_empty() && script.cluster_id != request.cluster_id {
                return Err(Status::failed_precondition("belongs to another cluster"));
            }
            let already = !script.cluster_id.is_empty();
            script.cluster_id = request.cluster_id;
            script.catalogue = Some(Catalogue::from_json(&request.catalogue_json).unwrap());
            Ok(Response::new(BootstrapReply { already }))
        })
    }

    async fn status(&self, _: Request<StatusRequest>) -> Result<Response<StatusReply>, Status> {
        Ok(Response::new(self.with(|script| {
            let Some(catalogue) = &script.catalogue else {
                return StatusReply {
                    node: script.name.clone(),
                    site: script.site.clone(),
                    ..Default::default()
                };
            };
            let replicas = catalogue.replicas_on(&script.name).map(|(set, replica)| {
                let first = catalogue.replicas(set)[0].id == replica.id;
                ReplicaStatus {
                    set,
                    replica: replica.id,
                    role: if first { "leader" } else { "follower" }.into(),
                    term: 1,
                    committed_index: 5,
                    safe_index: 5,
                    last_log_index: 5,
                    applied_index: 5,
                    durability: "SYNC".into(),
                    incarnation: catalogue.incarnation(set).unwrap(),
                    ..Default::default()
                }
            });
            StatusReply {
                node: script.name.clone(),
                site: script.site.clone(),
                cluster_id: script.cluster_id.clone(),
                catalogue_version: catalogue.version,
                replicas: replicas.collect(),
                catalogue_json: catalogue.to_json().into(),
                ready: true,
                ..Default::default()
            }
        })))
    }

    async fn list_attempts(
        &self,
        _: Request<ListAttemptsRequest>,
    ) -> Result<Response<ListAttemptsReply>, Status> {
        Ok(Response::new(ListAttemptsReply::default()))
    }

    async fn switch(&self, request: Request<SwitchRequest>) -> Result<Response<Self::SwitchStream>, Status> {
        let phases = self.with(|script| {
            if script.tidying > 0 {
                script.tidying -= 1;
                return Err(Status::aborted("ask again"));
            }
            script.switches.push(request.into_inner());
            Ok(script.phases.clone())
        })?;
        Ok(Response::new(tokio_stream::iter(phases.into_iter().map(Ok).collect::<Vec<_>>())))
    }

    async fn set_durability(
        &self,
        _: Request<SetDurabilityRequest>,
    ) -> Result<Response<SetDurabilityReply>, Status> {
        Ok(Response::new(SetDurabilityReply { index: 9, last_safe_index: 7 }))
    }

    async fn list_moves(&self, _: Request<ListMovesRequest>) -> Result<Response<ListMovesReply>, Status> {
        Ok(Response::new(ListMovesReply::default()))
    }

    async fn define_group(
        &self,
        request: Request<DefineGroupRequest>,
    ) -> Result<Response<DefineGroupReply>, Status> {
        let request = request.into_inner();
        Ok(Response::new(
            self.with(|script| DefineGroupReply {
                changed: script.kept.insert((request.set, request.group)),
            }),
        ))
    }

    async fn verify(&self, request: Request<VerifyRequest>) -> Result<Response<VerifyReply>, Status> {
        let request = request.into_inner();
        Ok(Response::new(self.with(|script| {
            script.figures.applied_index = script.figures.applied_index.max(request.at_least_index);
            VerifyReply { set: request.set, ..script.figures.clone() }
        })))
    }

    async fn alive(&self, _: Request<AliveRequest>) -> Result<Response<AliveReply>, Status> {
        Ok(Response::new(AliveReply::default()))
    }

    async fn fence(&self, _: Request<FenceRequest>) -> Result<Response<FenceReply>, Status> {
        Err(Status::unimplemented("a fake node has no logs"))
    }

    async fn list_tails(&self, _: Request<ListTailsRequest>) -> Result<Response<ListTailsReply>, Status> {
        Err(Status::unimplemented("a fake node was never left behind"))
    }

    async fn inspect_control(
        &self,
        _: Request<InspectControlRequest>,
    ) -> Result<Response<InspectControlReply>, Status> {
        Ok(Response::new(self.with(|script| script.control.clone())))
    }

    async fn fence_control(
        &self,
        request: Request<FenceControlRequest>,
    ) -> Result<Response<FenceControlReply>, Status> {
        self.with(|script| script.fence_control(request.into_inner())).map(Response::new)
    }

    async fn revive_control(
        &self,
        request: Request<ReviveControlRequest>,
    ) -> Result<Response<ReviveControlReply>, Status> {
        self.with(|script| script.revive_control(request.into_inner())).map(Response::new)
    }

    async fn list_audit(
        &self,
        request: Request<ListAuditRequest>,
    ) -> Result<Response<ListAuditReply>, Status> {
        let ListAuditRequest { from, backwards, limit } = request.into_inner();
        let Some(mut log) = self.with(|script| script.audit.clone()) else {
            return Err(Status::failed_precondition("no replica of the control set"));
        };
        if backwards {
            log.records.reverse();
            log.records.retain(|record| from == 0 || record.number <= from);
        } else {
            log.records.retain(|record| record.number >= from);
        }
        // Pages are short, so that there are several.
        log.records.truncate(limit.min(3) as usize);
        Ok(Response::new(log))
    }

    async fn lease(&self, _: Request<LeaseRequest>) -> Result<Response<LeaseReply>, Status> {
        Err(Status::unimplemented("a fake node leads no sets"))
    }

    async fn control(&self, request: Request<ControlRequest>) -> Result<Response<ControlReply>, Status> {
        use control_reply::Result as Answer;
        let token = request.metadata().get(OPERATOR_TOKEN).map(|token| token.to_str().unwrap().to_owned());
        let request = request.into_inner();
        if token.is_none() && self.with(|script| script.required) {
            return Err(Status::unauthenticated("a token is required"));
        }
        let answer = self.with(|script| {
            script.tokens.extend(token);
            let Some(catalogue) = &mut script.catalogue else {
                return Answer::Unavailable("blank".into());
            };
            if script.mute > 0 {
                script.mute -= 1;
                return Answer::Unknown("not committed in time".into());
            }
            let leader = catalogue.control.replicas[0].node.clone();
            if script.name != leader {
                return Answer::NotLeaderHint(leader);
            }
            let command = serde_json::from_slice(&request.command_json).unwrap();
            let index = 100 + catalogue.version;
            let answer = twinset_control::apply(catalogue, index, index, command);
            Answer::ReplyJson(twinset_control::encode_answer(&answer).into())
        });
        Ok(Response::new(ControlReply { result: Some(answer) }))
    }
}
