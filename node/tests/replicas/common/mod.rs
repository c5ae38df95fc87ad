//! A node without its API: a store, the lanes between nodes, and one replica of one set, in a runtime of its own. Dropping
//! it is how its process would die: every task ends where it is.
#![allow(clippy::unwrap_used, dead_code)]

pub mod cables;

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
use twinset_node::across::{Across, AcrossConfig};
use twinset_node::check_back::Initiators;
use twinset_node::config::{ProposerConfig, RaftConfig};
use twinset_node::gate::Gate;
use twinset_node::peer::{Links, PeerService};
use twinset_node::platform::system;
use twinset_node::proposer::Proposer;
use twinset_node::raft::{Group, Machine};
use twinset_node::reader::Reader;
use twinset_node::set::{Fence, Kind, Ledger, Replica, Sets, replica_sites};
use twinset_proto::cluster::v1::peer_server::PeerServer;
use twinset_store::{OpenError, Options, Store};

/// The set that is played with; its home is site A.
pub const SET: u32 = 1;
/// One test at a time: each has a cluster of its own, and together they would keep each other waiting.
pub fn alone() -> parking_lot::MutexGuard<'static, ()> {
    static ONE: parking_lot::Mutex<()> = parking_lot::Mutex::new(());
    ONE.lock()
}

pub const CLUSTER: &str = "cluster-of-the-test";
const DEADLINE: Duration = Duration::from_secs(60);

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
#[expect(
    clippy::disallowed_methods,
    reason = "it polls, with a deadline: nothing tells when a directory is free"
)]
pub fn open(dir: &Path) -> Store {
    let options = Options {
        checkpoint_commands: 100,
        tail_cache_bytes: 4_000,
        block_cache_bytes: 1 << 20,
        log_write_buffer_bytes: 1 << 20,
        ..Options::default()
    };
    // A process takes its threads along when it dies. Here those that write for a dead node, a snapshot or a checkpoint,
    // see it end at their next step, and only then is the directory free.
    let began = Instant::now();
    loop {
        match Store::open(dir, options.clone()) {
            Err(OpenError::Locked { .. }) if began.elapsed() < DEADLINE => {
                std::thread::sleep(Duration::from_millis(5));
            }
            opened => return opened.unwrap(),
        }
    }
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

    /// Waits until something holds. It is looked at when the replica's view has changed, and every few milliseconds: how
    /// far the log and the state have come changes too often for a view.
    pub fn until(&self, what: &str, mut holds: impl FnMut(&Node) -> bool) {
        let began = Instant::now();
        let mut view = self.group().view();
        while !holds(self) {
            assert!(
                began.elapsed() < DEADLINE,
                "{what}: not within {DEADLINE:?}; {:?}, {:?}",
                *self.group().view().borrow(),
                self.group().progress()
            );
            let news = async { tokio::time::timeout(Duration::from_millis(5), view.changed()).await };
            assert!(!matches!(self.runtime.block_on(news), Ok(Err(_))), "{what}: the replica has ended");
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
    let gate = Arc::new(Gate::new(id, replica_sites(catalogue, SET), state.durability()));
    let incarnation = catalogue.incarnation(SET).unwrap();
    let fence = Arc::new(Fence {
        cluster_id: catalogue.cluster_id.clone(),
        set: SET,
        incarnation,
        replica: id,
        gate: gate.clone(),
        state: Some(state.clone()),
        pulse: sets.pulse.clone(),
        platform: system(),
    });
    let catalogue = watch::Sender::new(Some(Arc::new(catalogue.clone()))).subscribe();
    sets.follow(catalogue.clone());
    let links = Links::new(system(), catalogue.clone());
    let machine = Machine::Ledger(state.clone(), gate.clone(), system());
    let log = store.log(SET).unwrap();
    let group = Group::open(fence.clone(), links, log, machine, raft, true).await.unwrap();
    let proposer = ProposerConfig::default();
    let (across, _) = Across::new(fence.set, &AcrossConfig::default());
    let nobody = Initiators::default();
    let proposer = Proposer::start(
        group.clone(),
        state.clone(),
        fence.clone(),
        &proposer,
        catalogue,
        across.clone(),
        nobody,
    );
    let reader = Reader::start(group.clone(), state.clone(), gate);
    group.run();
    let standing = watch::Sender::default();
    let ledger = Ledger { state, proposer, reader, across, standing };
    sets.insert(Replica { fence, group, kind: Kind::Ledger(ledger) })
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
