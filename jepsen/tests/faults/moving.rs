//! Planned switches that are cut down in the middle, under traffic. The node that leads a set carries out its switch, so
//! that leader and coordinator are one process: it kills itself at every step. The others that a switch needs, the control
//! set's leader and the node that is to lead next, are killed while the switch is held at a step. Whatever happens, the
//! set is soon whole in one home, no switch stays open, and no client hears anything but the truth.

use std::time::{Duration, Instant};

use crate::probe::Probe;
use crate::support::{ARMED, Stage};
use twinset_control::{CONTROL_SET, Role, SwitchEnd};
use twinset_jepsen::history::{Answer, History, Op};
use twinset_jepsen::logs::{self, Allowed};
use twinset_jepsen::nemesis::GIVEN_UP;
use twinset_jepsen::traffic::Traffic;
use twinset_jepsen::{death, wait};
use twinset_proto::cluster::v1::SwitchRequest;
use twinset_tools::cluster::admin::Survey;
use twinset_tools::cluster::process::Signal;
use twinset_tools::cmd::switch;

/// By then a set whose switch was cut down serves at one home again: an election, the time that an open switch is left
/// to its owner, and the leader's way home.
const SETTLED: Duration = wait::HEAL;
/// By then a switch has got to its step, however often it was refused before.
const STRUCK: Duration = Duration::from_secs(180);
/// A patient client of the traffic has waited in vain when a call took longer.
const IN_VAIN_NS: u64 = 4_900_000_000;

/// What a node may say of a switch that is cut down.
fn given_up() -> Vec<Allowed> {
    [logs::AFTER_KILLS, GIVEN_UP, &[ARMED]].concat()
}

/// A step of a switch, and how it must end when its leader dies there; none: it may go either way.
const STEPS: [(&str, Option<SwitchEnd>); 8] = [
    ("switch.recorded", Some(SwitchEnd::Aborted)),
    ("switch.joint", None),
    ("switch.membership", None),
    ("switch.paused", None),
    ("switch.caught_up", None),
    ("switch.asked", None),
    ("switch.transferred", Some(SwitchEnd::Completed)),
    ("switch.completed", Some(SwitchEnd::Completed)),
];

#[tokio::test]
async fn a_leader_that_dies_at_any_step_of_its_switch_leaves_nothing_half_moved() {
    const SET: u32 = 1;
    let mut stage = Stage::start().await;
    let traffic = stage.journal(120).await;
    let mut probe = Probe::open(&stage, SET, &traffic).await;
    for (step, expected) in STEPS {
        let (before, began) = struck(&mut stage, SET, step).await;
        let end = settled(&stage, SET, &before).await;
        println!("{step}: {} died, {end:?} after {:?}", before.leader, began.elapsed());
        assert!(expected.is_none_or(|expected| expected == end), "{step}: {end:?}");
        // The dead node is not needed for it.
        probe.must_pay(&stage, "ra", step, 100).await;
        stage.cluster.start_process(&before.leader).unwrap();
        stage.whole().await;
    }
    end(stage, traffic, probe).await;
}

/// Who else dies while the switch is held at a step.
#[derive(Clone, Copy, Debug)]
enum Helper {
    /// Whoever records it.
    ControlLeader,
    /// The node that is asked first to lead next.
    Target,
}

const HELPERS: [(&str, Helper); 6] = [
    ("switch.recorded", Helper::ControlLeader),
    ("switch.joint", Helper::Target),
    ("switch.membership", Helper::Target),
    ("switch.caught_up", Helper::Target),
    ("switch.asked", Helper::Target),
    ("switch.transferred", Helper::ControlLeader),
];

#[tokio::test]
async fn a_switch_outlives_the_control_sets_leader_and_its_own_target() {
    const SET: u32 = 2;
    let mut stage = Stage::start().await;
    let traffic = stage.journal(120).await;
    let mut probe = Probe::open(&stage, SET, &traffic).await;
    for (step, helper) in HELPERS {
        let until = Instant::now() + STRUCK;
        let (before, victim, began, said) = loop {
            let before = arm(&mut stage, SET, &format!("[faults]\nfreeze_at = \"{step}\"\n")).await;
            let victim = match helper {
                Helper::ControlLeader => before.control_leader.clone(),
                Helper::Target => before.target.clone(),
            };
            let began = Instant::now();
            let said = {
                let mut asked = std::pin::pin!(ask(&before, SET));
                tokio::select! {
                    said = &mut asked => {
                        assert!(Instant::now() < until, "{step}: {} goes on: {said:?}", before.leader);
                        println!("{step}: it is asked for again: {said:?}");
                        continue;
                    }
                    () = stage.frozen(&before.leader) => {}
                }
                let act = async {
                    death::end(&mut stage.cluster, &victim).await.unwrap();
                    stage.cluster.signal(&before.leader, Signal::Cont).await.unwrap();
                };
                tokio::join!(asked, act).0
            };
            break (before, victim, began, said);
        };
        let end = settled(&stage, SET, &before).await;
        println!(
            "{step}: {helper:?} {victim} died, {end:?} after {:?}; the operator was told: {}",
            began.elapsed(),
            said.map_or_else(|error| error.to_string(), |outcome| format!("{} us", outcome.pause_us()))
        );
        probe.must_pay(&stage, "rb", step, 100).await;
        stage.cluster.start_process(&victim).unwrap();
        stage.whole().await;
    }
    end(stage, traffic, probe).await;
}

/// How long a busy target stands still while its switch is asked for.
const BUSY: Duration = Duration::from_millis(300);
/// One that stands still for so long may be refused.
const TOO_BUSY: Duration = Duration::from_millis(1_200);

#[tokio::test]
async fn a_target_that_is_busy_for_a_moment_is_waited_for_and_one_that_stays_silent_is_refused() {
    const SET: u32 = 1;
    let mut stage = Stage::start().await;
    let began = Instant::now();
    let before = loop {
        let before = arm(&mut stage, SET, "").await;
        stage.cluster.signal(&before.target, Signal::Stop).await.unwrap();
        let until = Instant::now() + SETTLED;
        let refused = loop {
            // Its last answer is not old enough at once.
            match request(&before, SET, true).await {
                Err(refused) => break refused.to_string(),
                Ok(passed) => assert!(Instant::now() < until, "{passed:?}"),
            }
        };
        assert!(refused.contains("does not answer"), "{refused}");
        let asked = Instant::now();
        let wake = async {
            tokio::time::sleep(BUSY).await;
            stage.cluster.signal(&before.target, Signal::Cont).await.unwrap();
            asked.elapsed()
        };
        let (said, busy) = tokio::join!(ask(&before, SET), wake);
        match said {
            Ok(_) => break before,
            // It was the machine that stood still.
            Err(refused) => assert!(
                busy > TOO_BUSY && began.elapsed() < STRUCK,
                "the target answers again after {busy:?}, and yet: {refused}"
            ),
        }
    };
    assert_eq!(settled(&stage, SET, &before).await, SwitchEnd::Completed);
    stage.end(&given_up()).await;
}

/// Nobody waited in vain, every request is accounted for, and everything is whole.
async fn end(stage: Stage, traffic: Traffic, probe: Probe) {
    let mut stopped = traffic.stop().await.unwrap();
    nobody_waited_in_vain(&History::from_events(stopped.recorder.events()).unwrap());
    probe.leave(&mut stopped);
    stage.account_for(stopped).await;
    stage.end(&given_up()).await;
}

/// How things stand before a switch.
struct Before {
    survey: Survey,
    leader: String,
    control_leader: String,
    to: String,
    target: String,
    last_switch: Option<u64>,
}

/// Gives the nodes at the set's home the faults, and waits until one of them leads the set there.
async fn arm(stage: &mut Stage, set: u32, faults: &str) -> Before {
    let home = stage.whole().await.catalogue().unwrap().sets[&set].home.clone();
    for node in stage.nodes_of(&home) {
        stage.reconfigure(&node, faults).await;
    }
    let seeds = stage.cluster.layout().node_addrs();
    let until = Instant::now() + STRUCK;
    let (survey, leader, control_leader) = loop {
        assert!(Instant::now() < until, "one node leads set {set} and the control set");
        wait::until(&seeds, SETTLED, |survey| at_rest(survey, set)).await.unwrap();
        let survey = stage.whole().await;
        let leader_of = |set| survey.leader(set).unwrap().1.node.clone();
        let (leader, control_leader) = (leader_of(set), leader_of(CONTROL_SET));
        if leader != control_leader {
            break (survey, leader, control_leader);
        }
        // Asked to stop, it hands over both.
        stage.cluster.stop_process(&leader).await.unwrap();
        stage.cluster.start_process(&leader).unwrap();
    };
    let catalogue = survey.catalogue().unwrap();
    let to = catalogue.other_site(&home).unwrap().to_owned();
    let known = &catalogue.sets[&set];
    let away = |replica: &&twinset_control::Replica| {
        replica.role == Role::Voter && catalogue.site_of_node(&replica.node) == Some(to.as_str())
    };
    Before {
        leader,
        control_leader,
        target: known.replicas.iter().find(away).unwrap().node.clone(),
        last_switch: known.last_switch.map(|ended| ended.id),
        to,
        survey,
    }
}

/// Asks for switches until one has got to the step, and the leader has died there; gives how things stood before, and when
/// it was asked for. One may end before that: it was refused for a target that was slow to answer or for a leader that had just
/// changed, or a step was over before anybody could see it.
async fn struck(stage: &mut Stage, set: u32, step: &str) -> (Before, Instant) {
    let until = Instant::now() + STRUCK;
    loop {
        let before = arm(stage, set, &format!("[faults]\ndie_at = \"{step}\"\n")).await;
        let began = Instant::now();
        let said = ask(&before, set).await;
        if stage.ends_now(&before.leader).await {
            assert!(said.is_err(), "{step}: {} died, and yet: {said:?}", before.leader);
            return (before, began);
        }
        assert!(Instant::now() < until, "{step}: {} goes on: {said:?}", before.leader);
        println!("{step}: it is asked for again: {said:?}");
    }
}

/// Asks for the switch; gives what the operator is told.
async fn ask(before: &Before, set: u32) -> anyhow::Result<switch::Outcome> {
    request(before, set, false).await
}

async fn request(before: &Before, set: u32, dry_run: bool) -> anyhow::Result<switch::Outcome> {
    let (who, why) = ("test".to_owned(), "a switch that is cut down".to_owned());
    let request = SwitchRequest { set, to_site: before.to.clone(), who, why, dry_run, plan: 0 };
    switch::switch(&before.survey, request, &mut |_| {}).await
}

/// Waits until the switch has ended, and the set is whole in one home; gives how it ended.
async fn settled(stage: &Stage, set: u32, before: &Before) -> SwitchEnd {
    let seeds = stage.cluster.layout().node_addrs();
    let survey = wait::until(&seeds, SETTLED, |survey| {
        let ended = survey.catalogue.as_ref().and_then(|catalogue| catalogue.sets[&set].last_switch);
        if ended.map(|ended| ended.id) == before.last_switch {
            return Err("the switch has not ended".to_owned());
        }
        at_rest(survey, set)
    });
    let survey = survey.await.unwrap();
    let known = &survey.catalogue().unwrap().sets[&set];
    let end = known.last_switch.unwrap().end;
    assert_eq!(known.home == before.to, end == SwitchEnd::Completed, "{known:?}");
    end
}

/// No switch is open, the leader is at home, two voters are there, one voter and one learner are in the other site, as the
/// catalogue says.
fn at_rest(survey: &Survey, set: u32) -> Result<(), String> {
    let catalogue = survey.catalogue.as_ref().ok_or("no node knows the catalogue")?;
    let known = &catalogue.sets[&set];
    if let Some(open) = &known.switch {
        return Err(format!("switch {} of set {set} is open", open.id));
    }
    let leader = wait::leader(survey, set).ok_or(format!("set {set} has no leader"))?;
    let at_home = |id: &u64| catalogue.site_of_replica(set, *id) == Some(&*known.home);
    if !at_home(&leader.replica) {
        return Err(format!("set {set} is at home in {}, not its leader {}", known.home, leader.leader_node));
    }
    let home_voters = leader.voters.iter().filter(|id| at_home(id)).count();
    let shape = (home_voters, leader.voters.len(), leader.learners.len());
    let placed = catalogue.placement(known).voters.into_iter().eq(leader.voters.iter().copied());
    if shape != (2, 3, 1) || !placed {
        return Err(format!("set {set} has voters {:?}, learners {:?}", leader.voters, leader.learners));
    }
    Ok(())
}

/// A patient client has an answer long before its deadline: nothing was held for longer than an election and its end.
fn nobody_waited_in_vain(history: &History) {
    let refused = |op: &&Op| op.answer.is_open() || matches!(op.answer, Answer::NotApplied { .. });
    let long = |op: &&Op| op.end_ns.is_none_or(|end| end - op.begin_ns > IN_VAIN_NS);
    let in_vain: Vec<&Op> =
        history.ops.iter().filter(|op| op.ask.is_write()).filter(refused).filter(long).collect();
    assert!(in_vain.is_empty(), "{in_vain:#?}");
}
