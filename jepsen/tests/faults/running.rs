//! Faults under traffic: switches, killed leaders, a leader that is asked to stop, a dark site.

use std::time::Duration;

use crate::support::{LONG, Stage, no_failure};
use twinset_control::{Durability, Policy};
use twinset_jepsen::history::{Answer, Ask, Level, Meta, Recorder};
use twinset_jepsen::{logs, wait};
use twinset_tools::cluster::local::Stopped;
use twinset_tools::cluster::process::Signal;
use twinset_tools::drama::{self, Script};

#[tokio::test]
async fn switches_and_killed_leaders_fail_no_request() {
    let mut stage = Stage::start().await;
    let pace = Duration::from_millis(300);
    let script = Script {
        switches: 4,
        kills: 2,
        connections: 8,
        accounts: 40,
        across: 30,
        held: 20,
        merchant: 20,
        pace,
    };
    let report = drama::play(&script, &mut stage.cluster, &mut |text| println!("{text}")).await.unwrap();
    assert!(report.load.requests > 0, "the traffic proves nothing: {report:?}");
    assert_eq!(report.load.failed_requests, 0, "{report:?}");
    assert_eq!(report.moves.len(), 6);
    stage.end(logs::AFTER_KILLS).await;
}

#[tokio::test]
async fn a_leader_that_is_asked_to_stop_hands_over() {
    let mut stage = Stage::start().await;
    let traffic = stage.traffic().await;
    let leader = stage.leader(1).await;
    assert_eq!(stage.cluster.stop_process(&leader).await.unwrap(), Stopped::Cleanly);
    let text = stage.log(&leader, 0);
    assert!(text.contains("drained") && !text.contains("not everything was handed over"), "{text}");
    let seeds = stage.cluster.layout().node_addrs();
    let led = wait::until(&seeds, wait::HEAL, |survey| match survey.leader(1) {
        Some(_) => Ok(()),
        None => Err("set 1 has no leader".to_owned()),
    });
    assert_ne!(led.await.unwrap().leader(1).unwrap().1.node, leader);
    stage.cluster.start_process(&leader).unwrap();
    stage.whole().await;
    no_failure(traffic).await;
    stage.end(logs::AFTER_KILLS).await;
}

#[tokio::test]
async fn leaders_that_freeze_and_wake_lose_nothing_and_answer_nothing_old() {
    let mut stage = Stage::start().await;
    let traffic = stage.journal(200).await;
    let seeds = stage.cluster.layout().node_addrs();
    for set in [1, 2, 1] {
        let leader = stage.leader(set).await;
        stage.cluster.signal(&leader, Signal::Stop).await.unwrap();
        let replaced = wait::until(&seeds, wait::HEAL, |survey| match survey.leader(set) {
            Some((_, reply)) if reply.node != leader => Ok(()),
            _ => Err(format!("nobody follows {leader}")),
        });
        replaced.await.unwrap();
        stage.cluster.signal(&leader, Signal::Cont).await.unwrap();
        stage.whole().await;
    }
    let stopped = traffic.stop().await.unwrap();
    stage.account_for(stopped).await;
    stage.end(logs::AFTER_KILLS).await;
}

const SHORT: Duration = Duration::from_millis(1_500);

#[tokio::test]
async fn a_dark_site_holds_every_answer_back_until_the_set_is_degraded() {
    let mut stage = Stage::start_protected().await;
    let recorder = Recorder::in_memory(Meta::default());
    let (payer, payee) = stage.open_pair(&recorder, 1).await;
    let pair = (payer, payee);
    let (mut here, mut there) = (stage.router("ra"), stage.router("rb"));
    let first = here.pay(&recorder, pair, "first", 100, LONG).await;
    assert!(matches!(first, Answer::Booked { replayed: false, .. }), "{first:?}");

    for node in ["b1", "b2"] {
        stage.cluster.signal(node, Signal::Stop).await.unwrap();
    }
    let held = here.pay(&recorder, pair, "held", 250, SHORT).await;
    assert!(held.is_open(), "site B has it on no disk: {held:?}");
    for router in [&mut here, &mut there] {
        let read = router.balance(&recorder, payee, Level::Linearizable, SHORT).await;
        assert!(read.is_err(), "site B did not confirm it: {read:?}");
        let look = Ask::ReadRequest { scope: payer, id: "held".into(), level: Level::Linearizable };
        let found = router.ask(&recorder, &look, SHORT.into()).await;
        // Not even that it was rejected.
        let nothing = found.is_open() || matches!(found, Answer::NotApplied { .. });
        assert!(nothing, "site B did not confirm it: {found:?}");
        let stale = router.balance(&recorder, payee, Level::Stale, SHORT).await;
        assert!(
            !matches!(stale, Ok((balance, _)) if balance != 100),
            "a stale read shows what is not safe: {stale:?}"
        );
    }

    assert_eq!(stage.recorded(1).await.durability, Durability::Sync, "its policy is max-protection");

    stage.set_policy(1, Policy::MaxAvailability).await;
    let again = there.pay(&recorder, pair, "held", 250, LONG).await;
    assert!(matches!(again, Answer::Booked { .. }), "{again:?}");
    for router in [&mut here, &mut there] {
        assert_eq!(router.balance(&recorder, payee, Level::Linearizable, LONG).await.unwrap().0, 350);
    }

    for node in ["b1", "b2"] {
        stage.cluster.signal(node, Signal::Cont).await.unwrap();
    }
    stage.becomes(1, Durability::Sync).await;
    stage.set_durability(1, true).await;
    assert!(stage.recorded(1).await.pinned, "an operator's word stays");
    stage.set_durability(1, false).await;
    let last = there.pay(&recorder, pair, "last", 1, LONG).await;
    assert!(matches!(last, Answer::Booked { .. }), "{last:?}");
    let survey = stage.whole().await;
    assert_eq!(wait::leader(&survey, 1).unwrap().durability, "SYNC");
    stage.end(&[logs::AFTER_KILLS, logs::AFTER_LOST_SITES].concat()).await;
}
