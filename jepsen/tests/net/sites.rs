//! Sites that are cut off, with everybody in them alive: the difference to a dead site is that somebody there could answer. All
//! that clients of both sites were told, reads among it, is held against the books in the end.

use std::path::PathBuf;
use std::time::Duration;

use twinset_control::{CONTROL_SET, Command, Durability, Set};
use twinset_jepsen::history::{Answer, History, Level, Op, Place};
use twinset_jepsen::logs;
use twinset_jepsen::nemesis::{Fault, Link};
use twinset_jepsen::net::Net;
use twinset_jepsen::net::plan::clients_of as clients_end;
use twinset_jepsen::of_cluster;
use twinset_jepsen::traffic::{self, Traffic};
use twinset_jepsen::wait;
use twinset_tools::cluster::admin::Survey;
use twinset_tools::cluster::control;
use twinset_tools::cluster::{LocalCluster, LocalOptions, Ports};

use crate::cluster::clients_of;

const SEED: u64 = 5;
/// So many calls are made before anything is cut.
const FLOWING: u64 = 800;
/// Sets go on, one way or the other, well within this.
const ACTS: Duration = Duration::from_secs(8);

struct Scene {
    dir: tempfile::TempDir,
    net: Net,
    cluster: LocalCluster,
    traffic: Traffic,
}

impl Scene {
    async fn open() -> Scene {
        let dir = tempfile::tempdir().unwrap();
        let net = Net::open(Ports::Free).await.unwrap();
        let options = LocalOptions {
            ports: net.ports(),
            launch: net.launch(),
            // Of `make canaries`, which has set nodes aside that have bugs on purpose.
            bin_dir: std::env::var_os("TWINSET_TEST_BIN_DIR").map(PathBuf::from),
            ..LocalOptions::fresh(&dir.path().join("cluster"))
        };
        let cluster = LocalCluster::start(&options, &mut |text| println!("{text}")).await.unwrap();
        let survey = wait::whole(cluster.layout()).await.unwrap();
        let options = traffic::Options {
            sites: ["A", "B"].map(|site| clients_of(&net, site)).to_vec(),
            meta: of_cluster::meta(cluster.layout(), survey.catalogue().unwrap()),
            seed: SEED,
            // Whoever pays over a cut waits as long as it lasts: there must be some left who do not.
            clients: 128,
            rate: 150,
            requests_max: 100_000,
        };
        let traffic = Traffic::start(&cluster, &options).await.unwrap();
        // Clients begin with accounts that all of them need: whoever is cut off in the middle of that holds up the others.
        let deadline = tokio::time::Instant::now() + wait::HEAL;
        while traffic.recorder.ops() < FLOWING {
            assert!(tokio::time::Instant::now() < deadline, "there is no traffic");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Scene { dir, net, cluster, traffic }
    }

    /// Nothing passes between a site and these others.
    fn apart(&self, site: &str, sites: &[&str]) -> Fault {
        let of = |site: &str| {
            let processes = self.cluster.layout().processes.iter().filter(|process| process.site == site);
            let mut ends: Vec<String> = processes.map(|process| process.name.clone()).collect();
            if site != "C" {
                ends.push(clients_end(site));
            }
            ends
        };
        let link = |from: &String, to: &String| Link { from: from.clone(), to: to.clone() };
        let others: Vec<String> = sites.iter().flat_map(|site| of(site)).collect();
        let pairs = of(site).into_iter().flat_map(|a| others.iter().map(move |b| (a.clone(), b.clone())));
        let cut = pairs.flat_map(|(a, b)| [link(&a, &b), link(&b, &a)]).collect();
        Fault::Partition { shape: "site".to_owned(), cut, for_ms: 0 }
    }

    async fn survey(&self) -> Survey {
        wait::until(&self.cluster.layout().node_addrs(), wait::HEAL, |survey| {
            survey.catalogue.as_ref().map(drop).ok_or_else(|| "nobody answers".to_owned())
        })
        .await
        .unwrap()
    }

    async fn until(&self, what: &str, mut holds: impl FnMut(&Set) -> bool) -> [Set; 2] {
        let seeds = self.cluster.layout().node_addrs();
        let survey = wait::until(&seeds, wait::HEAL, |survey| {
            let catalogue = survey.catalogue.as_ref().ok_or("nobody answers")?;
            let missing = catalogue.sets.values().find(|set| !holds(set));
            missing.map_or(Ok(()), |set| Err(format!("{what}: {set:?}")))
        });
        let survey = survey.await.unwrap();
        [1, 2].map(|set| survey.catalogue().unwrap().sets[&set].clone())
    }

    /// Heals, and holds everything that was answered against the books.
    async fn end(self, fault: &Fault, (from_ns, to_ns): (u64, u64)) -> usize {
        let evidence = self.net.heal(fault).await.unwrap();
        assert!(evidence.acted, "{evidence:?}");
        wait::whole(self.cluster.layout()).await.unwrap();
        self.until("it is SYNC again by itself", |set| set.durability == Durability::Sync).await;
        let history = self.traffic.stop().await.unwrap().account_for(&self.cluster).await.unwrap();
        let mut violations: Vec<String> =
            traffic::violations(&history).iter().map(|wrong| format!("{wrong:?}")).collect();
        let allowed = [logs::AFTER_KILLS, logs::AFTER_LOST_SITES].concat();
        violations.extend(logs::read(&self.cluster.layout().dir.join("log"), &allowed).unwrap());
        self.cluster.stop().await.unwrap();
        self.net.close().await;
        if !violations.is_empty() {
            println!("the cluster's directory stays: {}", self.dir.keep().display());
        }
        assert!(violations.is_empty(), "{:#?}", &violations[..violations.len().min(5)]);
        booked(&history, from_ns, to_ns)
    }
}

/// Requests that were sent and booked in that time.
fn booked(history: &History, from_ns: u64, to_ns: u64) -> usize {
    let inside = history.ops.iter().filter(|op| op.begin_ns >= from_ns);
    let inside = inside.filter(|op| op.end_ns.is_some_and(|end_ns| end_ns <= to_ns));
    inside.filter(|op| matches!(op.answer, Answer::Booked { .. })).count()
}

fn leaders(survey: &Survey) -> [(String, u64); 2] {
    [1, 2].map(|set| {
        let (_, reply) = survey.leader(set).unwrap();
        (reply.node.clone(), wait::leader(survey, set).unwrap().term)
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_only_the_link_between_the_sites_is_cut_each_keeps_its_own_sets_and_no_leader_moves() {
    let _turn = super::TURN.lock().await;
    let scene = Scene::open().await;
    let before = leaders(&scene.survey().await);
    let fault = scene.apart("A", &["B"]);
    scene.net.inject(&fault).await.unwrap();
    scene.until("it goes on alone", |set| set.durability == Durability::Degraded).await;
    let from_ns = scene.traffic.recorder.now_ns();
    tokio::time::sleep(ACTS).await;
    let to_ns = scene.traffic.recorder.now_ns();
    let survey = scene.survey().await;
    assert_eq!(leaders(&survey), before, "a leader moved");
    for set in survey.catalogue().unwrap().sets.values() {
        assert_eq!((set.incarnation, &set.home), (1, &set.configured_home), "{set:?}");
        assert!(set.last_safe_index > 0, "{set:?}");
    }
    assert!(scene.end(&fault, (from_ns, to_ns)).await > 0, "nothing was booked while the sites were apart");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_site_that_reaches_nobody_answers_nothing_and_its_sets_go_on_in_the_other_one() {
    let _turn = super::TURN.lock().await;
    let scene = Scene::open().await;
    let fault = scene.apart("A", &["B", "C"]);
    scene.net.inject(&fault).await.unwrap();
    // The old leader of set 1 lives, has its majority, and takes itself for the leader all the time.
    let [of_a, of_b] =
        scene.until("it goes on in B", |set| set.home == "B" && set.durability == Durability::Degraded).await;
    assert_eq!((of_a.incarnation, of_b.incarnation), (2, 1));
    let recovered = of_a.recovered.expect("it was recovered");
    assert_eq!((recovered.was, recovered.lost.len()), (Durability::Sync, 2));
    let from_ns = scene.traffic.recorder.now_ns();
    tokio::time::sleep(ACTS).await;
    let to_ns = scene.traffic.recorder.now_ns();
    assert!(scene.end(&fault, (from_ns, to_ns)).await > 0, "nothing was booked while the site was away");
}

/// Where an answer of a set stands that somebody who leads it must have given.
fn led(op: &Op) -> Option<Place> {
    let read = || op.answer.as_of().filter(|_| op.ask.read_level() == Some(Level::Linearizable));
    op.answer.decided().map(|(place, _)| place).or_else(|| read().map(|as_of| as_of.place))
}

/// The old leader lives, and may have been given a lease a moment before it was cut off; an operator lets its set go on in the other
/// site at once, and accepts what that loses. From the first answer there on, this one answers nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_site_that_is_cut_off_answers_nothing_once_its_set_has_answered_in_the_other_one() {
    let _turn = super::TURN.lock().await;
    let scene = Scene::open().await;
    // Whoever leads the control set is not cut off: the intent is on record before any lease is over.
    let control = scene.survey().await.leader(CONTROL_SET).map(|(_, reply)| reply.node.clone()).unwrap();
    let (lost, kept, set) = if control.starts_with('a') { ("B", "A", 2) } else { ("A", "B", 1) };
    let first = scene.apart(lost, &[kept]);
    scene.net.inject(&first).await.unwrap();
    scene.until("it goes on alone", |set| set.durability == Durability::Degraded).await;
    let survey = scene.survey().await;
    let incarnation = survey.catalogue().unwrap().sets[&set].incarnation;
    let cut = scene.apart(lost, &["C"]);
    scene.net.inject(&cut).await.unwrap();
    let begin = Command::BeginRecovery {
        set,
        site: kept.to_owned(),
        expected_incarnation: incarnation,
        accept_loss: true,
        without_replaced: false,
        who: "test".to_owned(),
        why: "the site does not come back".to_owned(),
    };
    control::propose(&survey, survey.catalogue().unwrap(), &begin, wait::HEAL).await.unwrap();
    let seeds = scene.cluster.layout().node_addrs();
    wait::until(&seeds, wait::HEAL, |survey| {
        let known = survey.catalogue.as_ref().and_then(|catalogue| catalogue.sets.get(&set));
        let goes_on = known.is_some_and(|set| set.incarnation > incarnation);
        if goes_on { Ok(()) } else { Err(format!("set {set} does not go on in {kept}: {known:?}")) }
    })
    .await
    .unwrap();
    tokio::time::sleep(ACTS).await;
    let stopped = scene.traffic.stop().await.unwrap();
    let history = History::from_events(stopped.recorder.events()).unwrap();
    scene.cluster.stop().await.unwrap();
    scene.net.close().await;

    let of_set = |op: &&Op| led(op).is_some_and(|place| place.set == set);
    let anew = |op: &&Op| match &op.answer {
        Answer::Booked { transaction, .. } => {
            transaction.0.set == set && transaction.0.incarnation > incarnation
        }
        _ => false,
    };
    let began_ns = history.ops.iter().filter(anew).filter_map(|op| op.end_ns).min();
    let began_ns = began_ns.expect("the set answered in the other site");
    // Routers of the two sites do not hear each other's nodes.
    let router = history.meta.sites.iter().position(|site| site == lost).unwrap();
    let there = |op: &&Op| usize::from(op.router) == router;
    let before = history.ops.iter().filter(of_set).filter(there).count();
    assert!(before > 0, "nobody was ever answered in {lost}");
    let late: Vec<&Op> =
        history.ops.iter().filter(of_set).filter(there).filter(|op| op.begin_ns > began_ns).collect();
    assert!(late.is_empty(), "{} answers of the old incarnation, the first {:?}", late.len(), late[0]);
}
