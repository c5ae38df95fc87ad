//! What the router's tests share: a cluster of fake nodes that do as they are told, a router in front of it, and a
//! plain HTTP client. Nothing here waits for time to pass; tests wait for conditions.
#![allow(dead_code, missing_docs)]

pub mod across;
pub mod buffered;
pub mod dry_run;
pub mod events;
pub mod holds;
pub mod node;
pub mod references;
pub mod restrictions;
pub mod statement;
pub mod sweeps;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;
use tokio::sync::watch;
use twinset_control::{Catalogue, Group, Topology};
use twinset_ledger::memory::MemoryState;
use twinset_ledger::{Effect, Outcome, slot_of};
use twinset_proto::cluster::v1::SetView;
use twinset_router::config::Config;
use twinset_router::service::{self, Handle};

use across::Truth;
use node::{FakeNode, Mode};

/// How long a condition may take to come true before the test fails.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub const NODES: [(&str, &str); 4] = [("a1", "A"), ("a2", "A"), ("b1", "B"), ("b2", "B")];

/// What all fake nodes have in common: the ledger of each set, and who is said to lead.
pub struct Shared {
    pub catalogue: Catalogue,
    pub truth: Mutex<Truth>,
    pub leaders: watch::Sender<Vec<SetView>>,
    pub announce: bool,
    /// Sets of which nobody can be read.
    pub withheld: Mutex<BTreeSet<u32>>,
    /// Sets whose index of references is being built.
    pub unbuilt: Mutex<BTreeSet<u32>>,
}

pub struct Cluster {
    pub shared: Arc<Shared>,
    pub nodes: Vec<Arc<FakeNode>>,
}

impl Cluster {
    /// Four nodes, two sets; a1 leads both and says so.
    pub async fn start() -> Cluster {
        let cluster = Cluster::start_silent(true).await;
        cluster.lead("a1", 1);
        cluster
    }

    /// Nobody leads. Without `announce`, the nodes never say who leads, so that it must be found out.
    pub async fn start_silent(announce: bool) -> Cluster {
        Cluster::start_as(announce, |_| Vec::new()).await
    }

    /// As [`Cluster::start`], with groups of accounts.
    pub async fn start_with(groups: impl FnOnce(&Catalogue) -> Vec<Group>) -> Cluster {
        let cluster = Cluster::start_as(true, groups).await;
        cluster.lead("a1", 1);
        cluster
    }

    async fn start_as(announce: bool, groups: impl FnOnce(&Catalogue) -> Vec<Group>) -> Cluster {
        let mut listeners = Vec::new();
        let mut text = String::from("[cluster]\nname = \"test\"\nsets = 2\n");
        for (n, (name, site)) in NODES.iter().enumerate() {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
            let api = listener.local_addr().expect("bound");
            text.push_str(&format!("[[node]]\nname = \"{name}\"\nsite = \"{site}\"\napi = \"{api}\"\n"));
            text.push_str(&format!("peer = \"peer:{}\"\nhttp = \"http:{}\"\n", n + 1, n + 1));
            listeners.push(listener);
        }
        let topology: Topology = toml::from_str(&text).expect("a topology");
        let mut catalogue = topology.place("cluster-1").expect("a catalogue");
        for group in groups(&catalogue) {
            catalogue.groups.insert(group.id.clone(), group);
        }
        let truth = BTreeMap::from([1, 2].map(|set| (set, (MemoryState::new(set), 1))));
        let (leaders, _) = watch::channel(Vec::new());
        let (truth, withheld, unbuilt) = (Mutex::new(truth), Mutex::default(), Mutex::default());
        let shared = Arc::new(Shared { catalogue, truth, leaders, announce, withheld, unbuilt });
        let start =
            |((name, _), listener): (&(&str, &str), _)| FakeNode::start(name, listener, shared.clone());
        let nodes = NODES.iter().zip(listeners).map(start).collect();
        Cluster { shared, nodes }
    }

    pub fn node(&self, name: &str) -> &Arc<FakeNode> {
        self.nodes.iter().find(|node| node.name == name).expect("a node of the cluster")
    }

    /// From now on `leader` leads both sets, in this term.
    pub fn lead(&self, leader: &str, term: u64) {
        for node in &self.nodes {
            node.set_mode(if node.name == leader { Mode::Lead } else { Mode::NotLeader(String::new()) });
        }
        self.announce(leader, term);
    }

    /// All nodes say that `leader` leads both sets.
    pub fn announce(&self, leader: &str, term: u64) {
        let views = [1, 2].map(|set| SetView { set, leader: leader.into(), term });
        self.shared.leaders.send_replace(views.to_vec());
    }

    pub fn config(&self) -> Config {
        let seed = &self.shared.catalogue.nodes["b2"].api_addr;
        let text = format!(
            "seeds = [\"{seed}\"]\n[router]\nname = \"r\"\nsite = \"B\"\n[listen]\nhttp = \"127.0.0.1:0\"\ngrpc = \"127.0.0.1:0\"\n"
        );
        toml::from_str(&text).expect("a configuration")
    }

    /// A router that has found the cluster.
    pub async fn router(&self) -> Router {
        self.router_with(self.config()).await
    }

    pub async fn router_that_may_be_lost(&self, config: Config) -> Router {
        config.validate().expect("a valid configuration");
        let handle = service::start(&config, prometheus::Registry::new()).await.expect("free ports");
        Router { http: handle.http.to_string(), handle, client: client() }
    }

    pub async fn router_with(&self, config: Config) -> Router {
        let router = self.router_that_may_be_lost(config).await;
        eventually("the router knows the cluster", async || router.has_catalogue().await).await;
        router
    }

    /// An account id that begins with `tag` and lives in `set`.
    pub fn account_in(&self, set: u32, tag: &str) -> String {
        account_in(&self.shared.catalogue, set, tag)
    }

    /// How many transactions over several sets were booked.
    pub fn settled(&self) -> usize {
        let truth = self.shared.truth.lock().expect("no test panicked with it");
        let outcomes = truth.values().flat_map(|(state, _)| state.history()).map(|(.., outcome)| outcome);
        outcomes
            .filter(|outcome| matches!(outcome.result, Ok(Effect::Settled(_))) && !outcome.replayed)
            .count()
    }

    /// How many commands took effect, over all sets.
    pub fn booked(&self) -> usize {
        let truth = self.shared.truth.lock().expect("no test panicked with it");
        let took_effect = |outcome: &Outcome| outcome.result.is_ok() && !outcome.replayed;
        truth
            .values()
            .flat_map(|(state, _)| state.history())
            .filter(|(_, _, outcome)| took_effect(outcome))
            .count()
    }
}

/// An account id that begins with `tag` and lives in `set`.
pub fn account_in(catalogue: &Catalogue, set: u32, tag: &str) -> String {
    let slots = catalogue.slot_table();
    let mut ids = (0..).map(|n| format!("{tag}{n}"));
    ids.find(|id| slots[usize::from(slot_of(id))] == set).expect("some id hashes there")
}

pub struct Router {
    pub http: String,
    pub handle: Handle,
    client: Client<HttpConnector, Full<Bytes>>,
}

pub fn client() -> Client<HttpConnector, Full<Bytes>> {
    Client::builder(TokioExecutor::new()).build_http()
}

pub struct Answer {
    pub status: u16,
    pub headers: http::HeaderMap,
    pub body: Bytes,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {:?}", self.body))
    }

    /// Status, code and outcome of a problem.
    pub fn problem(&self) -> (u16, String, String) {
        assert_eq!(self.headers["content-type"], "application/problem+json", "{:?}", self.body);
        let body = self.json();
        assert_eq!(body["status"], self.status);
        let text = |key: &str| body[key].as_str().unwrap_or_default().to_string();
        (self.status, text("code"), text("outcome"))
    }
}

impl Router {
    async fn has_catalogue(&self) -> bool {
        let metrics = self.call("GET", "/metrics", "", None).await;
        let text = String::from_utf8_lossy(&metrics.body).into_owned();
        !text.contains("twinset_router_catalogue_version 0")
    }

    pub async fn call(&self, method: &str, path: &str, body: &str, deadline_ms: Option<u64>) -> Answer {
        send(&self.client, &self.http, method, path, body, deadline_ms).await
    }

    /// A request with these headers and no others than a client must have.
    pub async fn call_with(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let start = http::Request::builder().method(method).uri(format!("http://{}{path}", self.http));
        let request = headers.iter().fold(start, |request, (name, value)| request.header(*name, *value));
        let body = Full::from(Bytes::copy_from_slice(body.as_bytes()));
        exchange(&self.client, request.body(body).expect("a request")).await
    }

    pub async fn post(&self, path: &str, body: &str) -> Answer {
        self.call("POST", path, body, None).await
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.call("GET", path, "", None).await
    }

    /// Two accounts without floor that live together.
    pub async fn open_accounts(&self) {
        self.open("{t}:a").await;
        self.open("{t}:b").await;
    }

    /// An account without floor.
    pub async fn open(&self, account: &str) {
        let body = format!(
            r#"{{"request_id":"open-{account}","account":"{account}","subject":"asset","currency":"EUR","limit":"none"}}"#
        );
        let answer = self.post("/v1/accounts", &body).await;
        assert_eq!(answer.status, 200, "{:?}", answer.body);
    }

    /// One transaction of 1 EUR, with a deadline.
    pub async fn pay(&self, request_id: &str, deadline_ms: u64) -> Answer {
        self.call("POST", "/v1/transactions", &payment(request_id), Some(deadline_ms)).await
    }

    pub fn spawn_pay(&self, request_id: &str, deadline_ms: u64) -> tokio::task::JoinHandle<Answer> {
        let (client, http, body) = (self.client.clone(), self.http.clone(), payment(request_id));
        tokio::spawn(async move {
            send(&client, &http, "POST", "/v1/transactions", &body, Some(deadline_ms)).await
        })
    }
}

async fn send(
    client: &Client<HttpConnector, Full<Bytes>>,
    http: &str,
    method: &str,
    path: &str,
    body: &str,
    deadline_ms: Option<u64>,
) -> Answer {
    let mut request = http::Request::builder().method(method).uri(format!("http://{http}{path}"));
    if !body.is_empty() {
        request = request.header("Content-Type", "application/json");
    }
    if let Some(ms) = deadline_ms {
        request = request.header("Twinset-Deadline-Ms", ms);
    }
    exchange(client, request.body(Full::from(Bytes::copy_from_slice(body.as_bytes()))).expect("a request"))
        .await
}

async fn exchange(
    client: &Client<HttpConnector, Full<Bytes>>,
    request: http::Request<Full<Bytes>>,
) -> Answer {
    let response = client.request(request).await.expect("an answer");
    let (parts, body) = response.into_parts();
    let body = body.collect().await.expect("a body").to_bytes();
    Answer { status: parts.status.as_u16(), headers: parts.headers, body }
}

pub fn payment(request_id: &str) -> String {
    format!(
        r#"{{"request_id":"{request_id}","legs":[{{"account":"{{t}}:a","side":"debit","amount":"1"}},{{"account":"{{t}}:b","side":"credit","amount":"1.00"}}]}}"#
    )
}

/// Looks until something is so.
pub async fn eventually(what: &str, condition: impl AsyncFn() -> bool) {
    let looked = tokio::time::timeout(PATIENCE, async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    assert!(looked.await.is_ok(), "never came true: {what}");
}
