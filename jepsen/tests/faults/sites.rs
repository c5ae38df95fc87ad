//! A site whose nodes and router die at the same instant. Sets at home there pause and say so; sets whose away site it is
//! go on alone once that is on record, or acknowledge nothing until it is back, as their policy is. Afterwards everything serves, in
//! SYNC again by itself, and nothing acknowledged is lost.

use std::time::{Duration, Instant};

use futures::future::join_all;

use crate::probe::Probe;
use crate::support::{LONG, Stage};
use twinset_control::{Command, Durability, Policy, Replica};
use twinset_jepsen::history::Level;
use twinset_jepsen::logs::Allowed;
use twinset_jepsen::{logs, wait};
use twinset_tools::cluster::layout::Kind;
use twinset_tools::cluster::process::Signal;

/// Long enough for an answer that can be given, short enough to wait for one that cannot.
const SHORT: Duration = Duration::from_millis(1_500);

struct Case {
    /// The site that dies.
    dead: &'static str,
    /// A router of the other site.
    router: &'static str,
    /// The set at home in the dead site.
    paused: u32,
    /// The set at home in the other site.
    held: u32,
    /// Whether that set may go on with one site.
    policy: Policy,
}

#[tokio::test]
async fn where_nobody_recovers_them_the_sets_of_a_dead_site_pause_and_lose_nothing() {
    let mut stage = Stage::start_unrecovered().await;
    let traffic = stage.journal(100).await;
    let mut probes = [Probe::open(&stage, 1, &traffic).await, Probe::open(&stage, 2, &traffic).await];
    let cases = [
        Case { dead: "B", router: "ra", paused: 2, held: 1, policy: Policy::MaxAvailability },
        Case { dead: "A", router: "rb", paused: 1, held: 2, policy: Policy::MaxProtection },
    ];
    for case in &cases {
        play(&mut stage, case, &mut probes).await;
    }
    let mut stopped = traffic.stop().await.unwrap();
    for probe in probes {
        probe.leave(&mut stopped);
    }
    stage.account_for(stopped).await;
    stage.end(&[logs::AFTER_KILLS, logs::AFTER_LOST_SITES].concat()).await;
}

/// Both sites in turn. What was acknowledged is there, each set serves before the site is back, and what the site brings back
/// is thrown away and copied anew.
#[tokio::test]
async fn sets_that_were_at_home_in_a_dead_site_go_on_in_the_other_one() {
    let mut stage = Stage::start().await;
    let traffic = stage.journal(100).await;
    let mut probes = [Probe::open(&stage, 1, &traffic).await, Probe::open(&stage, 2, &traffic).await];
    for (dead, router, lost) in [("A", "rb", 1), ("B", "ra", 2)] {
        let before = stage.recorded(lost).await;
        assert_eq!(before.home, dead, "{before:?}");
        let mut balances = [0; 2];
        for (number, probe) in probes.iter_mut().enumerate() {
            probe.must_pay(&stage, router, &format!("before-{dead}"), 100).await;
            balances[number] = probe.balance(&stage, router).await;
        }
        let victims = kill_site(&stage, dead).await;
        for (number, probe) in probes.iter_mut().enumerate() {
            probe.must_pay(&stage, router, &format!("meanwhile-{dead}"), 250).await;
            assert_eq!(probe.balance(&stage, router).await, balances[number] + 250, "set {}", number + 1);
        }
        let meanwhile = stage.recorded(lost).await;
        let recovered = meanwhile.recovered.as_ref().expect("it was recovered");
        assert_ne!(meanwhile.home, dead);
        assert_eq!(meanwhile.incarnation, before.incarnation + 1);
        assert_eq!((recovered.was, meanwhile.durability), (Durability::Sync, Durability::Degraded));
        assert_eq!(recovered.lost.len(), 2, "{recovered:?}");
        assert!(
            recovered.lost.iter().all(|lost| !lost.kept),
            "nothing of it was acknowledged: {recovered:?}"
        );

        for name in &victims {
            stage.cluster.start_process(name).unwrap();
        }
        stage.whole().await;
        for set in [1, 2] {
            let back = stage.becomes(set, Durability::Sync).await;
            let old = |replica: &Replica| before.replicas.iter().any(|old| old.id == replica.id);
            let kept = back.replicas.iter().filter(|replica| old(replica)).count();
            assert_eq!(kept, if set == lost { 2 } else { 0 }, "an id is never used again: {back:?}");
        }
        for (number, probe) in probes.iter_mut().enumerate() {
            probe.must_pay(&stage, router, &format!("after-{dead}"), 1).await;
            assert_eq!(probe.balance(&stage, router).await, balances[number] + 251, "set {}", number + 1);
        }
        stage.switch(lost, "back home").await;
    }
    let mut stopped = traffic.stop().await.unwrap();
    for probe in probes {
        probe.leave(&mut stopped);
    }
    stage.account_for(stopped).await;
    stage.end(&[logs::AFTER_KILLS, logs::AFTER_LOST_SITES].concat()).await;
}

async fn play(stage: &mut Stage, case: &Case, probes: &mut [Probe; 2]) {
    let &Case { dead, router, paused, held, policy } = case;
    let degraded = policy == Policy::MaxAvailability;
    stage.set_policy(held, policy).await;
    let of = |set: u32| set as usize - 1;
    let id = |what: &str| format!("{what}-{dead}");
    let mut before = [0; 2];
    for (number, probe) in probes.iter_mut().enumerate() {
        probe.must_pay(stage, router, &id("before"), 100).await;
        before[number] = probe.balance(stage, router).await;
    }

    let victims = kill_site(stage, dead).await;
    let died = Instant::now();
    let (seen, meanwhile) = (&*stage, id("meanwhile"));
    let waiting = |number: &usize| number + 1 != held as usize || !degraded;
    let asked = probes.iter_mut().zip(before).enumerate().filter(|(number, _)| waiting(number));
    let asked = asked.map(async |(_, (probe, before))| {
        probe.cannot_pay(seen, router, &meanwhile, 250, SHORT).await;
        let read = probe.read(seen, router, Level::Linearizable, SHORT).await;
        assert!(read.is_err(), "site {dead} did not confirm it: {read:?}");
        let stale = probe.read(seen, router, Level::Stale, SHORT).await;
        assert!(!matches!(&stale, Ok((cents, _)) if *cents != before), "not safe yet, but shown: {stale:?}");
    });
    join_all(asked).await;
    // What was acknowledged there is on disk here, and here it can be known to be: it is shown, with its age.
    let silent_ms = u64::try_from(died.elapsed().as_millis()).unwrap();
    let (cents, age_ms) = probes[of(paused)].read(stage, router, Level::Stale, LONG).await.unwrap();
    assert_eq!(cents, before[of(paused)], "set {paused}");
    assert!(age_ms >= silent_ms, "site {dead} is dead for {silent_ms} ms, the answer says {age_ms}");
    if degraded {
        let probe = &mut probes[of(held)];
        probe.must_pay(stage, router, &id("meanwhile"), 250).await;
        let recorded = stage.recorded(held).await;
        assert_eq!(recorded.durability, Durability::Degraded, "on record before it is in force");
        assert!(recorded.last_safe_index > 0 && !recorded.pinned, "{recorded:?}");
        assert_eq!(probe.balance(stage, router).await, before[of(held)] + 250);
        probes[of(paused)].cannot_pay(stage, router, &id("still"), 10, SHORT).await;
    } else {
        // The second time they begin at their own checkpoint and apply nothing: they answer all the same, from what they knew
        // to be committed when they died, which may lack the last.
        for _ in 0..2 {
            restart_nodes_outside(stage, dead).await;
            let (cents, _) = probes[of(paused)].read(stage, router, Level::Stale, LONG).await.unwrap();
            assert!((1..=before[of(paused)]).contains(&cents), "set {paused} after a restart: {cents} cents");
        }
    }

    for name in &victims {
        stage.cluster.start_process(name).unwrap();
    }
    stage.whole().await;
    stage.becomes(held, Durability::Sync).await;
    for (number, probe) in probes.iter_mut().enumerate() {
        probe.must_pay(stage, router, &id("meanwhile"), 250).await;
        let set = number + 1;
        let ours = before[number] + 250;
        let with_the_last = ours + 10;
        let found = probe.balance(stage, router).await;
        assert!(found == ours || found == with_the_last, "set {set} has {found} cents instead of {ours}");
    }
    let survey = stage.whole().await;
    for set in [1, 2] {
        assert_eq!(wait::leader(&survey, set).unwrap().durability, "SYNC", "set {set}");
    }
}

/// Kills and starts the data nodes that a dead site has left.
async fn restart_nodes_outside(stage: &mut Stage, dead: &str) {
    let processes = stage.cluster.layout().processes.iter();
    let left = processes.filter(|process| process.kind == Kind::Node && process.site != dead);
    let left: Vec<String> = left.map(|process| process.name.clone()).collect();
    for name in &left {
        stage.cluster.kill(name).await.unwrap();
    }
    for name in &left {
        stage.cluster.start_process(name).unwrap();
    }
}

/// Kills the nodes and the router of a site before any of them can notice that the others die; gives their names.
pub async fn kill_site(stage: &Stage, site: &str) -> Vec<String> {
    let layout = stage.cluster.layout();
    let victims: Vec<_> = layout.processes.iter().filter(|process| process.site == site).collect();
    for victim in &victims {
        victim.pid.unwrap().signal(Signal::Kill);
    }
    for victim in &victims {
        stage.ended(&victim.name).await;
    }
    victims.iter().map(|victim| victim.name.clone()).collect()
}

const VOTES_COME_BACK: &[Allowed] = &[Allowed {
    part: "a change of membership is under way",
    why: "a copy gets its vote, and a switch waits for that",
}];

/// A recovery waits for every survivor, and one of them is dead: on an operator's word the other goes on alone. What both sites
/// held is there; what comes back is kept until somebody has seen it.
#[tokio::test]
async fn a_recovery_goes_on_without_a_survivor_that_has_died() {
    let mut stage = Stage::start_unrecovered().await;
    let traffic = stage.journal(50).await;
    let mut probe = Probe::open(&stage, 1, &traffic).await;
    probe.must_pay(&stage, "rb", "before", 100).await;
    let mut stopped = traffic.stop().await.unwrap();
    let balance = probe.balance(&stage, "rb").await;
    // Every copy has it.
    stage.whole().await;
    let victims = ["a1", "a2", "b2"];
    for name in victims {
        stage.cluster.kill(name).await.unwrap();
    }
    let (who, why) = (|| "test".to_owned(), || "a2 and b2 are gone".to_owned());
    stage
        .propose(Command::BeginRecovery {
            set: 1,
            site: "B".into(),
            expected_incarnation: 1,
            accept_loss: false,
            without_replaced: false,
            who: who(),
            why: why(),
        })
        .await;
    let set = stage.recorded(1).await;
    let id = set.recovery.as_ref().expect("it waits for b2").id;
    let replica = set.replicas.iter().find(|replica| replica.node == "b2").unwrap().id;
    stage.propose(Command::GiveUpSurvivor { set: 1, id, replica, who: who(), why: why() }).await;
    // The other set has no majority: it cannot be asked what it has seen, and it is an operator's word that the set answers.
    let waiting = stage.becomes(1, Durability::Degraded).await;
    assert!(waiting.recovered.is_some_and(|recovered| recovered.unreconciled));
    probe.cannot_pay(&stage, "rb", "not-yet", 250, SHORT).await;
    stage.propose(Command::EndReconciliation { set: 1, id, who: who(), why: why() }).await;
    probe.must_pay(&stage, "rb", "alone", 250).await;
    assert_eq!(probe.balance(&stage, "rb").await, balance + 250);
    let alone = stage.recorded(1).await;
    let lost = alone.recovered.as_ref().unwrap().lost.clone();
    assert_eq!((lost.len(), alone.replicas.len()), (3, 1), "{alone:?}");
    assert!(lost.iter().all(|lost| lost.kept), "what was acknowledged may be in any of them: {lost:?}");

    for name in victims {
        stage.cluster.start_process(name).unwrap();
    }
    for lost in lost {
        stage.propose(Command::ReleaseReplica { set: 1, replica: lost.id, who: who(), why: why() }).await;
    }
    let back = stage.becomes(1, Durability::Sync).await;
    assert_eq!(back.home, "B");
    stage.becomes(2, Durability::Sync).await;
    stage.whole().await;
    probe.must_pay(&stage, "ra", "after", 1).await;
    assert_eq!(probe.balance(&stage, "ra").await, balance + 251);
    stage.switch(1, "back home").await;
    probe.leave(&mut stopped);
    stage.account_for(stopped).await;
    stage.end(&[logs::AFTER_KILLS, logs::AFTER_LOST_SITES, VOTES_COME_BACK].concat()).await;
}
