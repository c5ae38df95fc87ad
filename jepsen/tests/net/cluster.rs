//! A whole cluster in networks of its own, under traffic from both sites: it loses links in every shape, and in the end
//! every request is accounted for and all replicas agree.

use std::time::Duration;

use twinset_control::Policy;
use twinset_jepsen::clients::Site;
use twinset_jepsen::history::{Answer, History, Op};
use twinset_jepsen::logs;
use twinset_jepsen::nemesis::links::{self, Shape};
use twinset_jepsen::nemesis::{Fault, Link};
use twinset_jepsen::net::Net;
use twinset_jepsen::of_cluster;
use twinset_jepsen::traffic::{self, Traffic};
use twinset_jepsen::wait;
use twinset_tools::cluster::{Layout, LocalCluster, LocalOptions, Ports};
use twinset_tools::load::random::Random;

/// Every run draws the same links; a long run elsewhere draws others.
const SEED: u64 = 3;
/// How long each fault acts: longer than an election.
const ACTS: Duration = Duration::from_secs(4);

/// What a fault did to the traffic.
struct Phase {
    name: String,
    from_ns: u64,
    to_ns: u64,
}

impl Phase {
    /// Requests that were sent and booked while it acted.
    fn booked(&self, history: &History) -> usize {
        let inside =
            |op: &&Op| op.begin_ns >= self.from_ns && op.end_ns.is_some_and(|end_ns| end_ns <= self.to_ns);
        let booked = |op: &&Op| matches!(op.answer, Answer::Booked { .. });
        history.ops.iter().filter(inside).filter(booked).count()
    }
}

/// The arbiter hears nobody: no set needs it.
fn without_arbiter(layout: &Layout) -> Fault {
    let others = layout.processes.iter().filter(|process| process.name != "c1");
    let link = |from: &str, to: &str| Link { from: from.to_owned(), to: to.to_owned() };
    let cut = others.flat_map(|other| [link("c1", &other.name), link(&other.name, "c1")]).collect();
    Fault::Partition { shape: "node".to_owned(), cut, for_ms: 0 }
}

/// The clients of a site, who know both routers.
pub fn clients_of(net: &Net, site: &str) -> Site {
    let routers = ["ra", "rb"].map(|router| net.router_addr(site, router).unwrap()).to_vec();
    Site { name: site.to_owned(), routers }
}

async fn play(net: &Net, cluster: &LocalCluster, traffic: &Traffic, fault: &Fault, name: &str) -> Phase {
    net.inject(fault).await.unwrap();
    let from_ns = traffic.recorder.now_ns();
    tokio::time::sleep(ACTS).await;
    // A busy node may be slow to answer.
    let seeds = cluster.layout().node_addrs();
    let reached = wait::until(&seeds, wait::HEAL, |survey| {
        let silent = survey.answers.iter().find(|(_, answer)| answer.is_err());
        silent.map_or(Ok(()), |silent| Err(format!("{name}: the harness does not reach {silent:?}")))
    });
    reached.await.unwrap();
    let to_ns = traffic.recorder.now_ns();
    let evidence = net.heal(fault).await.unwrap();
    println!("{name}: {}", evidence.detail);
    assert!(evidence.acted, "{name} was not seen to act: {fault:?}");
    wait::whole(cluster.layout()).await.unwrap();
    Phase { name: name.to_owned(), from_ns, to_ns }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_that_loses_its_links_in_every_shape_loses_nothing_else() {
    let _turn = super::TURN.lock().await;
    let dir = tempfile::tempdir().unwrap();
    let net = Net::open(Ports::Free).await.unwrap();
    let options = LocalOptions {
        ports: net.ports(),
        launch: net.launch(),
        // What sets do that go on without a site is looked at beside this.
        durability: Policy::MaxProtection,
        node_config: "[recovery]\nautomatic = false\n".to_owned(),
        ..LocalOptions::fresh(&dir.path().join("cluster"))
    };
    let mut narrate = |text: &str| println!("{text}");
    let cluster = LocalCluster::start(&options, &mut narrate).await.unwrap();
    let survey = wait::whole(cluster.layout()).await.unwrap();
    let catalogue = survey.catalogue().unwrap();
    let traffic = Traffic::start(
        &cluster,
        &traffic::Options {
            sites: ["A", "B"].map(|site| clients_of(&net, site)).to_vec(),
            meta: of_cluster::meta(cluster.layout(), catalogue),
            seed: SEED,
            clients: 24,
            rate: 300,
            requests_max: 100_000,
        },
    )
    .await
    .unwrap();
    let leader = survey.leader(1).map(|(_, reply)| reply.node.clone()).unwrap();
    let mut random = Random::seeded(SEED);
    let layout = cluster.layout();
    let arbiter = play(&net, &cluster, &traffic, &without_arbiter(layout), "without arbiter").await;
    let mut phases = Vec::new();
    for shape in Shape::ALL {
        let fault = links::partition(&mut random, layout, &leader, shape);
        phases.push(play(&net, &cluster, &traffic, &fault, &format!("{shape:?}")).await);
    }
    let (delay, loss) = (links::delay(&mut random, layout), links::loss(&mut random, layout));
    phases.push(play(&net, &cluster, &traffic, &delay, "delay").await);
    phases.push(play(&net, &cluster, &traffic, &loss, "loss").await);
    let history = traffic.stop().await.unwrap().account_for(&cluster).await.unwrap();
    let mut violations: Vec<String> =
        traffic::violations(&history).iter().map(|wrong| format!("{wrong:?}")).collect();
    for phase in &phases {
        println!("{}: {} booked while it acted", phase.name, phase.booked(&history));
    }
    violations.extend(logs::read(&layout.dir.join("log"), logs::AFTER_KILLS).unwrap());
    let forced = cluster.stop().await.unwrap();
    net.close().await;
    if !violations.is_empty() {
        println!("the cluster's directory stays: {}", dir.keep().display());
    }
    assert!(violations.is_empty(), "{:#?}", &violations[..violations.len().min(5)]);
    assert!(forced.is_empty(), "{forced:?} did not stop when asked to");
    // These leave every set its quorum, its away site and a way to it.
    for name in ["Client", "delay", "loss"] {
        let phase = phases.iter().find(|phase| phase.name == name).expect("it was played");
        assert!(phase.booked(&history) > 0, "{name}: nothing was booked");
    }
    // No set needs the arbiter; in SYNC no set may answer what only one site has.
    assert!(arbiter.booked(&history) > 0, "without the arbiter nothing was booked");
    let split = phases.iter().find(|phase| phase.name == "SiteSplit").expect("every shape was played");
    assert_eq!(split.booked(&history), 0, "booked while the sites were apart");
}
