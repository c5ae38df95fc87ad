//! Drills on a cluster of real processes: a few of the scenarios that ship, and how a drill ends that goes wrong. `make drills`
//! plays all of them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::Instant;
use twinset_control::drill::{self, State, Verdict};
use twinset_jepsen::logs::{self, Allowed};
use twinset_jepsen::wait;
use twinset_tools::cluster::admin;
use twinset_tools::drill::cast::local_routers;
use twinset_tools::drill::hold::{self, Hold};
use twinset_tools::drill::play::{self, Options};
use twinset_tools::drill::record::{self, Record, Stopped};
use twinset_tools::drill::scenario::Scenario;
use twinset_tools::drill::{shelf, watch};

use crate::support::{LONG, Stage};

const SAID: &[Allowed] = &[
    Allowed { part: "drill faults are enabled", why: "that is how this cluster was started" },
    Allowed { part: "a drill's fault", why: "that is what a drill does" },
    Allowed { part: "whoever plays a drill has fallen silent", why: "that is what this test does" },
];

/// Limits of time are for benchmarks: here they only tell a pause from a set that does not come back.
const PATIENCE: f64 = 10.0;

fn shipped() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/drills")
}

fn options(stage: &Stage, scenario: Scenario) -> Options {
    let local = Options::local(stage.cluster.layout(), scenario, ("test", "test")).unwrap();
    Options {
        load: 50,
        accounts: 40,
        baseline: Duration::from_secs(2),
        after: Duration::from_secs(1),
        patience: PATIENCE,
        ..local
    }
}

async fn played(stage: &Stage, scenario: Scenario) -> Record {
    let record = play::play(&options(stage, scenario), &mut |line| println!("{line}")).await.unwrap();
    let page = shelf::write(&stage.scratch("drills"), &record).unwrap();
    let page = std::fs::read_to_string(page).unwrap();
    assert!(page.contains(&format!("{}</span>", record.verdict)) && page.ends_with("</html>\n"));
    // Times come back but for their last bit.
    let kept = shelf::record(&stage.scratch("drills"), Some(&record.id)).unwrap();
    assert_eq!(
        (&kept.criteria, &kept.acts.len(), &kept.moments.len()),
        (&record.criteria, &record.acts.len(), &record.moments.len())
    );
    record
}

async fn ended(stage: &Stage) -> Verdict {
    let catalogue = wait::whole(stage.cluster.layout()).await.unwrap().catalogue.unwrap();
    assert!(catalogue.sets.values().all(|set| set.home == set.configured_home), "{:?}", catalogue.sets);
    match catalogue.drills.values().next_back().map(|drill| drill.state.clone()) {
        Some(State::Ended { verdict }) => verdict,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn scenarios_that_ship_pass_one_after_the_other() {
    let stage = Stage::start_for_drills().await;
    for name in ["switch-and-back", "leader-killed", "power-off", "link-cut-inward"] {
        let record = played(&stage, shelf::scenario(&shipped(), name).unwrap()).await;
        let bad: Vec<_> = record.criteria.iter().filter(|one| !one.held).collect();
        assert_eq!(record.verdict, record::Verdict::Passed, "{name}: {bad:#?}");
        assert!(record.payments[1].ended > 0 && !record.moments.is_empty(), "{name}");
        assert_eq!(ended(&stage).await, Verdict::Passed);
    }
    stage.end(&[logs::AFTER_KILLS, logs::AFTER_LOST_SITES, SAID].concat()).await;
}

/// A guardrail, an operator and a criterion: each ends the drill in its own way, and all is home afterwards.
#[tokio::test]
async fn a_drill_that_goes_wrong_says_so_and_brings_everything_home() {
    let stage = Stage::start_for_drills().await;
    let shelved = |name| shelf::scenario(&shipped(), name).unwrap();

    let mut strict = shelved("link-cut");
    // Patience would stretch anything more beyond the time for which the link is cut.
    strict.guardrails.unsafe_s_max = 0;
    let record = played(&stage, strict).await;
    let Some(Stopped::Guardrail(breach)) = &record.stopped else { panic!("{:?}", record.stopped) };
    assert_eq!(breach.guardrail, "unsafe_s_max", "{breach:?}");
    assert_eq!((record.verdict, ended(&stage).await), (record::Verdict::Stopped, Verdict::Stopped));

    let mut hasty = shelved("switch-and-back");
    hasty.criteria.pause_ms_max = 0;
    let record = played(&stage, hasty).await;
    assert_eq!((record.verdict, ended(&stage).await), (record::Verdict::Failed, Verdict::Failed));

    let mut slow = shelved("evacuate-staged");
    slow.stages[0].soak_s = 600;
    let seeds = stage.cluster.layout().node_addrs();
    let stopping = async {
        let moved = async || stage.recorded(1).await.home == "B";
        let deadline = Instant::now() + LONG * 4;
        while !moved().await && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        hold::stop(&seeds, "test", "enough").await.unwrap().unwrap();
    };
    let (record, ()) = tokio::join!(played(&stage, slow), stopping);
    let Some(Stopped::Operator { how }) = &record.stopped else { panic!("{:?}", record.stopped) };
    assert_eq!(how, "test wants it: enough");
    assert_eq!(ended(&stage).await, Verdict::Stopped);
    stage.end(&[logs::AFTER_KILLS, logs::AFTER_LOST_SITES, SAID].concat()).await;
}

/// Whoever plays it dies: his lease ends, and the cluster brings the sets home.
#[tokio::test]
async fn a_drill_whose_player_dies_is_ended_by_the_cluster() {
    let mut stage = Stage::start_for_drills().await;
    let seeds = stage.cluster.layout().node_addrs();
    let lease = twinset_control::Command::Drill(drill::Command::Begin {
        request_id: "r".into(),
        scenario: "evacuate-staged".into(),
        set: 1,
        lease_ms: 3_000,
        who: "test".into(),
        why: "test".into(),
    });
    let survey = admin::survey(&seeds).await;
    let catalogue = survey.catalogue().unwrap();
    twinset_tools::cluster::control::propose(&survey, catalogue, &lease, LONG).await.unwrap();
    let other = Hold::begin(&seeds, ("s", "leader-killed"), 1, ("test", "test")).await;
    assert!(other.is_err(), "one drill at a time");
    stage.switch(1, "as a drill would").await;
    // The one that leads the control set dies as well: the next one sees to it.
    let leader = survey.leader(0).unwrap().1.node.clone();
    stage.cluster.kill(&leader).await.unwrap();
    stage.cluster.start_process(&leader).unwrap();
    let deadline = Instant::now() + LONG * 4;
    while stage.recorded(1).await.home != "A" {
        assert!(Instant::now() < deadline, "it is still away");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(ended(&stage).await, Verdict::Abandoned);
    stage.end(&[logs::AFTER_KILLS, logs::AFTER_LOST_SITES, SAID].concat()).await;
}

/// What nobody planned has a report as well: a leader dies while somebody looks on.
#[tokio::test]
async fn a_failover_that_nobody_planned_has_its_report() {
    let mut stage = Stage::start().await;
    let layout = stage.cluster.layout();
    let options = watch::Options {
        seeds: layout.node_addrs(),
        routers: local_routers(layout),
        records: stage.scratch("reports"),
    };
    let leader = stage.whole().await.leader(1).unwrap().1.node.clone();
    let (heard, mut news) = tokio::sync::mpsc::channel(64);
    let mut hear = |line: &str| heard.try_send(line.to_owned()).unwrap();
    let dying = async {
        stage.cluster.kill(&leader).await.unwrap();
        println!("{}", news.recv().await.unwrap());
        stage.cluster.start_process(&leader).unwrap();
        let over = async {
            loop {
                let line = news.recv().await.unwrap();
                println!("{line}");
                if line.contains("all is as before") {
                    break;
                }
            }
        };
        tokio::time::timeout(LONG * 6, over).await.unwrap();
    };
    tokio::select! {
        ended = watch::watch(&options, &mut hear) => panic!("{ended:?}"),
        () = dying => {}
    }
    let record = shelf::record(&options.records, None).unwrap();
    assert_eq!(record.scenario.name, "failover");
    let course = &record.sets.iter().find(|set| set.set == 1).unwrap().course;
    assert!(course.last().unwrap().1.contains("SYNC"), "{course:?}");
    let held = |name: &str| record.criteria.iter().find(|one| one.name == name).unwrap().held;
    assert!(held("in the end") && held("calls that failed"), "{:?}", record.criteria);
    let page = std::fs::read_to_string(shelf::page_of(&options.records, &record.id)).unwrap();
    assert!(page.contains("Nobody planned it: ") && page.ends_with("</html>\n"));
    stage.end(logs::AFTER_KILLS).await;
}
