//! A node without its API: a store, the lanes between nodes, and one replica of one set, in a runtime of its own. Dropping
//! it is how its process would die: every task ends where it is.
#![allow(clippy::unwrap_used, dead_code)]

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;
use tokio::sync::watch;
use twinset_control::{Catalogue, Role, Topology};
use twinset_ledger::RULES_VERSION;
use twinset_ledger::codec::{EntryBuilder, encode_command};
use twinset_ledger::command::{Command, Metadata};
use twinset_node::config::{ProposerConfig, RaftConfig};
use twinset_node::gate::Gate;
use twinset_node::peer::{Links, PeerService};
use twinset_node::proposer::Proposer;
use twinset_node::raft::{Group, Machine};
use twinset_node::reader::Reader;
use twinset_node::set::{Fence, Kind, Ledger, Replica, Sets, replica_sites};
use twinset_proto::cluster::v1::peer_server::PeerServer;
use twinset_store::{Options, Store};

/// The set that is played with; its home is site A.
pub const SET: u32 = 1;
pub const CLUSTER: &str = "cluster-of-the-test";
const DEADLINE: Duration = Duration::from_secs(30);

/// A catalogue of four nodes, and an open port for the peer lanes of each.
pub fn cluster() -> (Catalogue, Vec<(String, TcpListener)>) {
    let mut text = "[cluster]\nname = \"test\"\n".to_owned();
    let mut listeners = Vec::new();
    for (n, name) in ["a1", "a2", "b1", "b2"].into_iter().enumerate() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let (site, peer) = (name[..1].to_uppercase(), listener.local_addr().unwrap());
        // Nobody listens at the other two; they only have to be different.
        let (api, http) = (format!("127.0.0.2:{}", 2 * n + 1), format!("127.0.0.2:{}", 2 * n + 2));
        text += &format!(
            "[[node]]\nname = {name:?}\nsite = {site:?}\napi = {api:?}\npeer = \"{peer}\"\nhttp = {http:?}\n"
        );
        listeners.push((name.to_owned(), listener));
    }
    let topology: Topology = toml::from_str(&text).unwrap();
    (topology.place(CLUSTER).unwrap(), listeners)
}

pub fn listener(listeners: &[(String, TcpListener)], name: &str) -> TcpListener {
    let (_, listener) = listeners.iter().find(|(node, _)| node == name).unwrap();
    listener.try_clone().unwrap()
}

/// Small caches and early checkpoints.
pub fn open(dir: &Path) -> Store {
    let options = Options {
        checkpoint_commands: 100,
        tail_cache_bytes: 4_000,
        block_cache_bytes: 1 << 20,
        log_write_buffer_bytes: 1 << 20,
        ..Options::default()
    };
    Store::open(dir, options).unwrap()
}

/// A node of the test.
pub struct Node {
    pub replica: Arc<Replica>,
    pub store: Store,
    pub peer: SocketAddr,
    // After what lives in it.
    pub runtime: Runtime,
}

impl Node {
    /// Opens the store and its replica of the set, which takes part, and serves the lanes.
    pub fn start(
        name: &str,
        dir: &Path,
        catalogue: &Catalogue,
        listener: TcpListener,
        raft: &RaftConfig,
    ) -> Node {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let store = open(dir);
        let id = catalogue.replicas(SET).iter().find(|replica| replica.node == name).unwrap().id;
        let peer = listener.local_addr().unwrap();
        let sets = Arc::new(Sets::default());
        let replica = runtime.block_on(replica(id, &store, catalogue, &sets, raft));
        runtime.block_on(async move {
            let incoming = tokio_stream::wrappers::TcpListenerStream::new(
                tokio::net::TcpListener::from_std(listener).unwrap(),
            );
            let lanes = PeerServer::new(PeerService::new(sets)).max_decoding_message_size(64 << 20);
            tokio::spawn(
                tonic::transport::Server::builder().add_service(lanes).serve_with_incoming(incoming),
            );
        });
        Node { replica, store, peer, runtime }
    }

    pub fn id(&self) -> u64 {
        self.replica.fence.replica
    }

    pub fn group(&self) -> &Group {
        &self.replica.group
    }

    /// Waits until something holds; it is looked at whenever the replica has come further.
    pub fn until(&self, what: &str, mut holds: impl FnMut(&Node) -> bool) {
        let began = Instant::now();
        while !holds(self) {
            assert!(
                began.elapsed() < DEADLINE,
                "{what}: not within {DEADLINE:?}; {:?}, {:?}",
                *self.group().view().borrow(),
                self.group().progress()
            );
            self.runtime.block_on(async { tokio::time::sleep(Duration::from_millis(5)).await });
        }
    }

    /// Ends the process, so to speak: nothing is closed and nothing is waited for.
    pub fn die(self) {
        let Node { replica, store, runtime, .. } = self;
        drop(replica);
        drop(store);
        runtime.shutdown_timeout(Duration::from_secs(10));
    }
}

async fn replica(
    id: u64,
    store: &Store,
    catalogue: &Catalogue,
    sets: &Sets,
    raft: &RaftConfig,
) -> Arc<Replica> {
    let state = store.ledger(SET).unwrap();
    let gate = Arc::new(Gate::new(replica_sites(catalogue, SET), state.durability()));
    let incarnation = catalogue.incarnation(SET).unwrap();
    let fence = Arc::new(Fence {
        cluster_id: catalogue.cluster_id.clone(),
        set: SET,
        incarnation,
        replica: id,
        gate: gate.clone(),
        state: Some(state.clone()),
        pulse: sets.pulse.clone(),
    });
    let links = Links::new(watch::Sender::new(Some(Arc::new(catalogue.clone()))).subscribe());
    let machine = Machine::Ledger(state.clone(), gate.clone());
    let log = store.log(SET).unwrap();
    let group = Group::open(fence.clone(), links, log, machine, raft, true).await.unwrap();
    let proposer = ProposerConfig::default();
    let proposer =
        Proposer::start(group.clone(), state.clone(), gate.clone(), incarnation, &proposer, |_| {
            String::new()
        });
    let reader = Reader::start(group.clone(), state.clone(), gate);
    group.run();
    sets.insert(Replica { fence, group, kind: Kind::Ledger(Ledger { state, proposer, reader }) })
}

/// Ids of the set's voters, as the catalogue places them, with their nodes.
pub fn voters(catalogue: &Catalogue) -> std::collections::BTreeMap<u64, String> {
    let voters = catalogue.replicas(SET).iter().filter(|replica| replica.role == Role::Voter);
    voters.map(|replica| (replica.id, replica.node.clone())).collect()
}

/// An entry that opens one account.
pub fn entry(n: u64) -> Vec<u8> {
    let mut entry = EntryBuilder::new(RULES_VERSION, 1, 1_700_000_000_000_000_000 + n);
    let mut command = Vec::new();
    let open = Command::OpenAccount {
        request_id: "open".to_owned(),
        account: format!("account-{n}"),
        subject: "liability".to_owned(),
        currency: "EUR".to_owned(),
        normal_side: None,
        limit: None,
        metadata: Metadata::from([("why".to_owned(), "x".repeat(500))]),
    };
    encode_command(&open, &mut command);
    entry.push_command_bytes(&command);
    entry.finish()
}
