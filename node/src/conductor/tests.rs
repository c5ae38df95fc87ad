//! What a conductor decides: tables over catalogues and what is known.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::Instant;
use twinset_control::plan::{Command, Kind, Pace, Planned, State, StepOutcome, StepState};
use twinset_control::{Catalogue, Command as Change, Durability, Policy, Topology, apply};
use twinset_proto::cluster::v1::{ReplicaStatus, StatusReply};

use super::decide::{Action, Ask, Now, decide, guardrail};
use super::known::Known;

const SECOND: Duration = Duration::from_secs(1);

/// A cluster with sets of odd number at home in A, a plan over them, and a conductor.
struct Scene {
    catalogue: Catalogue,
    known: Known,
    plan: u64,
    index: u64,
    now: Instant,
    unix_ns: u64,
}

impl Scene {
    fn new(sets: u32, kind: Kind, pace: Pace) -> Scene {
        let mut text = format!("[cluster]\nname = \"test\"\nsets = {sets}\n");
        for (n, name) in ["a1", "a2", "b1", "b2"].into_iter().enumerate() {
            let (site, port) = (name[..1].to_uppercase(), 10 * (n + 1));
            let [api, peer, http] = [1, 2, 3].map(|lane| format!("127.0.0.1:{}", port + lane));
            text += &format!(
                "[[node]]\nname = {name:?}\nsite = {site:?}\napi = {api:?}\npeer = {peer:?}\nhttp = {http:?}\n"
            );
        }
        let topology: Topology = toml::from_str(&text).unwrap();
        let catalogue = topology.place("cluster-of-the-test").unwrap();
        let mut scene = Scene {
            catalogue,
            known: Known::default(),
            plan: 0,
            index: 10,
            now: Instant::now(),
            unix_ns: 1_000_000_000_000,
        };
        scene.begin(kind, pace);
        scene.look();
        scene
    }

    fn begin(&mut self, kind: Kind, pace: Pace) {
        let planned = |(set, _): (u32, String)| {
            let epoch = self.catalogue.sets[&set].epoch;
            Planned { set, epoch, leader: String::new() }
        };
        let order = kind.sets(&self.catalogue).into_iter().map(planned).collect();
        let (who, why) = ("ops".to_owned(), "test".to_owned());
        self.plan = self.index;
        let request_id = self.index.to_string();
        self.tell(Command::Begin { request_id, kind, pace, order, who, why });
    }

    fn change(&mut self, command: Change) -> u64 {
        let index = self.index;
        self.index += 1;
        apply(&mut self.catalogue, index, self.unix_ns, command).unwrap();
        index
    }

    fn tell(&mut self, command: Command) {
        self.change(Change::Plan(command));
    }

    /// Every set is led by the node of its first replica at home.
    fn look(&mut self) {
        for set in self.catalogue.sets.clone().values() {
            let at_home =
                |r: &&twinset_control::Replica| self.catalogue.site_of_node(&r.node) == Some(&set.home);
            let replica = set.replicas.iter().find(at_home).unwrap();
            let matched = set.replicas.iter().map(|r| (r.id, 1_000)).collect();
            self.heard(set.id, &replica.node.clone(), 1, matched);
        }
        self.see();
    }

    fn heard(&mut self, set: u32, node: &str, term: u64, matched: std::collections::HashMap<u64, u64>) {
        let status = ReplicaStatus {
            set,
            role: "leader".to_owned(),
            term,
            last_log_index: 1_000,
            matched,
            ..Default::default()
        };
        let reply = StatusReply { node: node.to_owned(), replicas: vec![status], ..Default::default() };
        self.known.heard(&reply, self.now);
    }

    fn see(&mut self) {
        let plan = self.catalogue.plans[&self.plan].clone();
        self.known.look(&self.catalogue, &plan, self.now);
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.unix_ns += u64::try_from(time.as_nanos()).unwrap();
    }

    fn decide(&self) -> Vec<Action> {
        let now = Now { instant: self.now, unix_ns: self.unix_ns };
        decide(&self.catalogue, &self.catalogue.plans[&self.plan], &self.known, now)
    }

    /// Does what is decided, as a cluster does in which all goes well, until nothing is; gives it in short form.
    fn play(&mut self) -> Vec<String> {
        let mut done = Vec::new();
        loop {
            let actions = self.decide();
            if actions.is_empty() {
                return done;
            }
            for action in actions {
                match action {
                    Action::Ask { set, what: Ask::Switch { to }, .. } => {
                        done.push(format!("{set} to {to}"));
                        self.switch(set, &to);
                    }
                    Action::Ask { set, what: Ask::Mark { degraded }, .. } => {
                        done.push(format!("{set} {}", if degraded { "degraded" } else { "sync" }));
                        self.mark(set, degraded);
                    }
                    Action::Tell(command) => {
                        done.push(match &command {
                            Command::Record { outcomes, .. } => format!("record {}", outcomes.len()),
                            Command::Advance { stage, .. } => format!("stage {stage}"),
                            Command::RollBack { reason, .. } => format!("roll back: {reason}"),
                            Command::End { state, reason, .. } => format!("end {state} {reason:?}"),
                            other => panic!("a conductor does not say {other:?}"),
                        });
                        self.tell(command);
                    }
                }
                if !self.catalogue.plans[&self.plan].state.is_active() {
                    return done;
                }
            }
        }
    }

    fn begin_switch(&mut self, set: u32, to: &str) -> u64 {
        let now = &self.catalogue.sets[&set];
        let command = Change::BeginSwitch {
            set,
            to: to.to_owned(),
            owner: now.replicas[0].node.clone(),
            who: "ops".to_owned(),
            why: "test".to_owned(),
            expected_epoch: now.epoch,
            plan: Some(self.plan),
        };
        self.change(command)
    }

    fn switch(&mut self, set: u32, to: &str) {
        let id = self.begin_switch(set, to);
        self.change(Change::CompleteSwitch { set, id });
    }

    fn mark(&mut self, set: u32, degraded: bool) {
        let durability = if degraded { Durability::Degraded } else { Durability::Sync };
        self.change(Change::RecordDurability {
            set,
            durability,
            last_safe_index: 1,
            expected_durability_epoch: self.catalogue.sets[&set].durability_epoch,
            pinned: false,
            who: "ops".to_owned(),
            why: "test".to_owned(),
        });
    }

    /// The set's leader says no, if it is asked for anything now.
    fn refuse(&mut self, set: u32) {
        let asked = self.decide().into_iter().find_map(|action| match action {
            Action::Ask { set: of, what, .. } if of == set => Some(what),
            _ => None,
        });
        if let Some(what) = asked {
            self.known.answered((self.plan, set), what, Err("no".to_owned()), self.now);
        }
    }

    /// And again, for so long.
    fn refuse_for(&mut self, set: u32, time: Duration) {
        let until = self.now + time;
        self.refuse(set);
        while self.now < until {
            self.pass(SECOND * 2);
            self.look();
            self.refuse(set);
        }
    }

    fn state(&self) -> State {
        self.catalogue.plans[&self.plan].state
    }
}

fn evacuate(emergency: bool) -> Kind {
    Kind::Evacuate { site: "A".to_owned(), emergency }
}

fn pace(stages: &[u8], concurrency: u32) -> Pace {
    Pace { stages: stages.to_vec(), soak_ms: 1_000, concurrency, failures_max: 0, roll_back: false }
}

fn at_once() -> Pace {
    Pace { stages: vec![100], soak_ms: 0, concurrency: 64, failures_max: 0, roll_back: false }
}

#[test]
fn an_evacuation_goes_stage_by_stage_and_soaks_in_between() {
    let mut scene = Scene::new(8, evacuate(false), pace(&[1, 50, 100], 1));
    assert_eq!(scene.play(), ["1 to B", "record 1"]);
    scene.pass(SECOND / 2);
    scene.look();
    assert_eq!(scene.play(), Vec::<String>::new(), "it soaks");
    scene.pass(SECOND / 2);
    scene.look();
    assert_eq!(scene.play(), ["stage 1", "3 to B", "record 1"]);
    scene.pass(SECOND);
    scene.look();
    assert_eq!(scene.play(), ["stage 2", "5 to B", "7 to B", "record 1", "record 1", "end done None"]);
    assert!(scene.catalogue.sets.values().all(|set| set.home == "B"));
}

#[test]
fn a_soak_begins_anew_when_a_guardrail_was_broken() {
    let mut scene = Scene::new(4, evacuate(false), pace(&[50, 100], 1));
    scene.play();
    scene.pass(SECOND * 9 / 10);
    scene.look();
    // Set 2 is not heard of for longer than a look may miss it.
    scene.pass(SECOND * 11 / 10);
    scene.see();
    assert_eq!(scene.play(), Vec::<String>::new());
    scene.look();
    assert_eq!(scene.play(), Vec::<String>::new(), "all is well again, and for how long?");
    scene.pass(SECOND);
    scene.look();
    assert_eq!(scene.play()[0], "stage 1");
}

#[test]
fn no_more_sets_move_at_a_time_than_may() {
    let mut scene = Scene::new(16, evacuate(false), pace(&[100], 3));
    let asked = |scene: &Scene| -> Vec<u32> {
        let sets = scene.decide().into_iter().filter_map(|action| match action {
            Action::Ask { set, .. } => Some(set),
            Action::Tell(_) => None,
        });
        sets.collect()
    };
    assert_eq!(asked(&scene), [1, 3, 5]);
    scene.known.ask(1);
    assert_eq!(asked(&scene), [3, 5]);
    // One that an earlier conductor has asked for counts, too.
    scene.begin_switch(3, "B");
    assert_eq!(asked(&scene), [5]);
    scene.known.ask(5);
    assert_eq!(asked(&scene), Vec::<u32>::new());
}

#[test]
fn sets_whose_copies_lag_are_asked_last() {
    let mut scene = Scene::new(8, evacuate(false), pace(&[100], 64));
    let behind = scene.catalogue.sets[&1].replicas.iter().map(|r| (r.id, 100)).collect();
    scene.heard(1, "a1", 2, behind);
    let asked: Vec<Action> = scene.decide();
    let order: Vec<u32> = asked
        .iter()
        .map(|action| match action {
            Action::Ask { set, .. } => *set,
            Action::Tell(command) => panic!("{command:?}"),
        })
        .collect();
    assert_eq!(order, [3, 5, 7, 1]);
}

#[test]
fn nothing_begins_while_a_guardrail_is_broken_but_in_an_emergency() {
    for (emergency, asked) in [(false, 0), (true, 4)] {
        let pace = if emergency { at_once() } else { pace(&[100], 64) };
        let mut scene = Scene::new(8, evacuate(emergency), pace);
        scene.pass(SECOND * 2);
        scene.see();
        assert_eq!(scene.decide().len(), asked, "emergency: {emergency}");
        scene.pass(SECOND * 91);
        scene.see();
        let end = scene.decide().pop().unwrap();
        assert_eq!(
            matches!(end, Action::Tell(Command::End { state: State::Failed, .. })),
            !emergency,
            "{end:?}"
        );
    }
}

#[test]
fn the_guardrails_are_leaders_and_sync() {
    let mut scene = Scene::new(4, evacuate(false), pace(&[100], 1));
    let mut led: BTreeSet<u32> = [1, 2, 3, 4].into();
    let plan = scene.catalogue.plans[&scene.plan].clone();
    assert_eq!(guardrail(&scene.catalogue, &plan, &led), None);
    scene.mark(2, true);
    assert_eq!(guardrail(&scene.catalogue, &plan, &led), None, "the plan is not about set 2");
    scene.mark(3, true);
    assert_eq!(guardrail(&scene.catalogue, &plan, &led).unwrap(), "set 3 is not SYNC");
    led.remove(&4);
    assert!(guardrail(&scene.catalogue, &plan, &led).unwrap().contains("set 4 has no leader"));
}

#[test]
fn what_is_refused_is_asked_for_again_for_a_while_and_has_failed_then() {
    let mut scene = Scene::new(2, evacuate(false), pace(&[100], 1));
    scene.refuse(1);
    assert_eq!(scene.decide(), [], "not at once");
    scene.pass(SECOND / 2);
    scene.look();
    assert!(matches!(scene.decide()[..], [Action::Ask { set: 1, .. }]));
    scene.refuse_for(1, SECOND * 27);
    scene.pass(SECOND * 2);
    scene.look();
    assert!(matches!(scene.decide()[..], [Action::Ask { set: 1, .. }]), "there is patience left");
    scene.refuse_for(1, SECOND * 2);
    assert_eq!(scene.play(), ["record 1", "end failed Some(\"set 1: no\")"]);
}

#[test]
fn patience_begins_anew_when_the_plan_has_held() {
    let mut scene = Scene::new(2, evacuate(false), pace(&[100], 1));
    scene.refuse_for(1, SECOND * 20);
    scene.pass(SECOND * 60);
    scene.look();
    scene.refuse_for(1, SECOND * 20);
    scene.pass(SECOND * 2);
    scene.look();
    assert!(matches!(scene.decide()[..], [Action::Ask { set: 1, .. }]));
}

#[test]
fn a_plan_that_fails_brings_home_what_it_has_moved_if_it_says_so() {
    let roll_back = Pace { roll_back: true, ..pace(&[50, 100], 1) };
    let mut scene = Scene::new(4, evacuate(false), roll_back);
    assert_eq!(scene.play(), ["1 to B", "record 1"]);
    scene.pass(SECOND);
    scene.look();
    let advance = scene.decide().pop().unwrap();
    assert_eq!(advance, Action::Tell(Command::Advance { plan: scene.plan, stage: 1 }));
    scene.tell(Command::Advance { plan: scene.plan, stage: 1 });
    scene.refuse_for(3, SECOND * 32);
    assert_eq!(
        scene.play(),
        ["record 1", "roll back: set 3: no", "1 to A", "record 1", "end rolled back Some(\"set 3: no\")"]
    );
    assert!(scene.catalogue.sets[&1].home == "A" && scene.catalogue.sets[&3].home == "A");
}

#[test]
fn a_plan_that_is_to_stop_begins_nothing_and_waits_for_what_is_under_way() {
    let mut scene = Scene::new(4, evacuate(false), pace(&[100], 1));
    let id = scene.begin_switch(1, "B");
    scene.known.ask(1);
    scene.tell(Command::Stop { who: "ops".to_owned(), why: "test".to_owned() });
    assert_eq!(scene.decide(), []);
    // The next conductor does not know who was asked, and sees the switch.
    scene.known = Known::default();
    scene.look();
    assert_eq!(scene.decide(), []);
    scene.change(Change::CompleteSwitch { set: 1, id });
    assert_eq!(scene.play(), ["record 1", "end stopped None"]);
    assert_eq!(scene.catalogue.plans[&scene.plan].step(3).unwrap().state, StepState::Waiting);
}

#[test]
fn the_next_conductor_goes_on_where_the_catalogue_is() {
    let mut scene = Scene::new(8, evacuate(false), pace(&[100], 64));
    // Set 1 has moved and nobody has recorded it; set 3 is moving.
    scene.switch(1, "B");
    let id = scene.begin_switch(3, "B");
    scene.known = Known::default();
    scene.look();
    let actions = scene.decide();
    let outcome = StepOutcome { set: 1, state: StepState::Done, pause_us: None };
    let record = Action::Tell(Command::Record { plan: scene.plan, outcomes: vec![outcome] });
    assert_eq!(actions.last(), Some(&record));
    assert_eq!(actions.len(), 3, "sets 5 and 7 are asked for: {actions:?}");
    scene.change(Change::CompleteSwitch { set: 3, id });
    scene.play();
    assert_eq!(scene.state(), State::Done);
}

#[test]
fn a_set_that_somebody_else_has_moved_is_left_out() {
    let mut scene = Scene::new(4, evacuate(false), pace(&[100], 64));
    scene.tell(Command::Stop { who: "ops".to_owned(), why: "test".to_owned() });
    scene.play();
    for to in ["B", "A"] {
        let id = scene.change(Change::BeginSwitch {
            set: 1,
            to: to.to_owned(),
            owner: "a1".to_owned(),
            who: "ops".to_owned(),
            why: "by hand".to_owned(),
            expected_epoch: scene.catalogue.sets[&1].epoch,
            plan: None,
        });
        scene.change(Change::CompleteSwitch { set: 1, id });
    }
    let (who, why) = ("ops".to_owned(), "test".to_owned());
    scene.tell(Command::Resume { plan: scene.plan, who, why });
    scene.look();
    scene.play();
    let plan = &scene.catalogue.plans[&scene.plan];
    assert!(matches!(plan.step(1).unwrap().state, StepState::Skipped { .. }));
    assert_eq!((plan.state, plan.done()), (State::Done, 1));
}

#[test]
fn a_site_is_emptied_isolated_and_comes_back() {
    let mut scene = Scene::new(4, evacuate(true), at_once());
    assert_eq!(scene.play(), ["1 to B", "3 to B", "record 2", "end done None"]);
    scene.begin(Kind::Isolate { site: "A".to_owned() }, at_once());
    scene.look();
    let all: Vec<String> = (1..=4).map(|set| format!("{set} degraded")).collect();
    assert_eq!(scene.play()[..4], all);
    assert_eq!(scene.state(), State::Done);
    scene.begin(Kind::Return { site: Some("A".to_owned()) }, at_once());
    scene.look();
    assert_eq!(
        scene.play(),
        ["1 sync", "2 sync", "3 sync", "4 sync", "1 to A", "3 to A", "record 2", "record 2", "end done None"]
    );
    assert!(scene.catalogue.sets.values().all(|set| set.home == set.configured_home));
    assert!(scene.catalogue.sites.values().all(|site| !site.isolated));
}

#[test]
fn a_set_that_never_degrades_is_left_out_of_an_isolation() {
    let mut scene = Scene::new(2, evacuate(true), at_once());
    scene.play();
    scene.catalogue.sets.get_mut(&2).unwrap().policy = Policy::MaxProtection;
    scene.begin(Kind::Isolate { site: "A".to_owned() }, at_once());
    scene.look();
    scene.play();
    let plan = &scene.catalogue.plans[&scene.plan];
    assert!(matches!(plan.step(2).unwrap().state, StepState::Skipped { .. }), "{plan:?}");
    assert_eq!((plan.state, plan.done()), (State::Done, 1));
}

#[test]
fn a_return_waits_long_for_a_site_that_has_to_catch_up() {
    let mut scene = Scene::new(2, evacuate(true), at_once());
    scene.play();
    scene.begin(Kind::Isolate { site: "A".to_owned() }, at_once());
    scene.look();
    scene.play();
    scene.begin(Kind::Return { site: Some("A".to_owned()) }, at_once());
    scene.look();
    scene.refuse_for(1, SECOND * 60);
    scene.pass(SECOND * 2);
    scene.look();
    assert!(matches!(scene.decide()[0], Action::Ask { set: 1, what: Ask::Mark { degraded: false }, .. }));
    scene.refuse_for(1, SECOND * 560);
    let (outcome, failed) = (scene.decide(), |state: &StepState| matches!(state, StepState::Failed { .. }));
    let Some(Action::Tell(Command::Record { outcomes, .. })) = outcome.last() else { panic!("{outcome:?}") };
    assert!(failed(&outcomes[0].state), "{outcomes:?}");
}

#[test]
fn what_was_refused_of_a_mark_is_no_reason_against_the_switch() {
    let mut scene = Scene::new(2, evacuate(true), at_once());
    scene.play();
    scene.begin(Kind::Isolate { site: "A".to_owned() }, at_once());
    scene.look();
    scene.play();
    scene.begin(Kind::Return { site: Some("A".to_owned()) }, at_once());
    scene.look();
    scene.refuse_for(1, SECOND * 60);
    scene.pass(SECOND * 2);
    scene.mark(1, false);
    scene.look();
    let to = "A".to_owned();
    let switch = Action::Ask { plan: scene.plan, set: 1, what: Ask::Switch { to } };
    assert_eq!(scene.decide()[0], switch);
}

#[test]
fn a_leader_of_an_earlier_term_is_not_believed() {
    let mut known = Known::default();
    let now = Instant::now();
    for (node, term) in [("a2", 3), ("a1", 2)] {
        let status = ReplicaStatus { set: 1, role: "leader".to_owned(), term, ..Default::default() };
        let reply = StatusReply { node: node.to_owned(), replicas: vec![status], ..Default::default() };
        known.heard(&reply, now);
    }
    assert_eq!(known.leader(1), Some("a2"));
}
