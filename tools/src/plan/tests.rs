//! Checks, drafts and readiness over made-up surveys.

use twinset_control::plan::{Command as PlanCommand, Kind, Pace, State, StepOutcome, StepState};
use twinset_control::{Catalogue, Command, Durability, Role, Topology, apply};
use twinset_proto::cluster::v1::{ReplicaStatus, Resources, StatusReply};

use super::checks::{self, Verdict};
use super::{Draft, STAGES, ready};
use crate::cluster::Layout;
use crate::cluster::admin::Survey;

/// A cluster of four sets in which all is well, and what is changed about it.
struct Scene {
    catalogue: Catalogue,
    replies: Vec<StatusReply>,
    index: u64,
}

impl Scene {
    fn new() -> Scene {
        let text = Layout::new("d".as_ref(), "b".as_ref(), 4, 7100).topology();
        let catalogue = toml::from_str::<Topology>(&text).unwrap().place("id").unwrap();
        let mut scene = Scene { catalogue, replies: Vec::new(), index: 10 };
        scene.look();
        scene
    }

    /// Every node says how things are by the catalogue.
    fn look(&mut self) {
        let catalogue = &self.catalogue;
        let reply = |name: &String| StatusReply {
            node: name.clone(),
            cluster_id: "id".to_owned(),
            ready: true,
            replicas: catalogue
                .replicas_on(name)
                .map(|(set, replica)| status(catalogue, set, replica))
                .collect(),
            resources: Some(Resources { cpu_permille: 200, disk_free_bytes: 50, disk_bytes: 100 }),
            ..Default::default()
        };
        self.replies = catalogue.nodes.keys().map(reply).collect();
    }

    fn survey(&self) -> Survey {
        let mut survey = Survey::default();
        for reply in &self.replies {
            let addr = self.catalogue.nodes[&reply.node].api_addr.clone();
            survey.add(addr, Ok(reply.clone()));
        }
        for node in self.catalogue.nodes.values() {
            survey.answers.entry(node.api_addr.clone()).or_insert_with(|| Err("no answer".to_owned()));
        }
        survey.catalogue = Some(self.catalogue.clone());
        survey
    }

    fn reply(&mut self, node: &str) -> &mut StatusReply {
        self.replies.iter_mut().find(|reply| reply.node == node).unwrap()
    }

    fn silence(&mut self, node: &str) {
        self.replies.retain(|reply| reply.node != node);
    }

    fn change(&mut self, command: Command) {
        let index = self.index;
        self.index += 1;
        apply(&mut self.catalogue, index, index, command).unwrap();
    }

    fn switch(&mut self, set: u32, to: &str) {
        self.begin_switch(set, to);
        let id = self.index - 1;
        self.change(Command::CompleteSwitch { set, id });
    }

    fn begin_switch(&mut self, set: u32, to: &str) {
        self.change(Command::BeginSwitch {
            set,
            to: to.to_owned(),
            owner: "a1".to_owned(),
            who: "ops".to_owned(),
            why: "test".to_owned(),
            expected_epoch: self.catalogue.sets[&set].epoch,
            plan: None,
        });
    }

    fn begin(&mut self, kind: Kind) -> u64 {
        let at_once = Pace { stages: vec![100], ..pace() };
        let draft = Draft::new(&self.survey(), &self.catalogue, kind, at_once);
        let plan = self.index;
        self.change(Command::Plan(draft.command(&plan.to_string(), "ops", "test")));
        plan
    }

    fn checks(&self, kind: Kind, overridden: &[&str]) -> Vec<(&'static str, Verdict)> {
        let survey = self.survey();
        let draft = Draft::new(&survey, &self.catalogue, kind, pace());
        let overridden: Vec<String> = overridden.iter().map(|name| (*name).to_owned()).collect();
        let checks = checks::run(&survey, &self.catalogue, &draft, &overridden);
        assert!(checks.iter().all(|check| !check.detail.is_empty()));
        let loud = checks.into_iter().filter(|check| check.verdict != Verdict::Pass);
        loud.map(|check| (check.check, check.verdict)).collect()
    }

    /// Why a site is not ready, of the control set and of all sets.
    fn not_ready(&self, site: &str) -> Vec<String> {
        let readiness = ready::judge(&self.survey(), &self.catalogue, site);
        let parts = std::iter::once(&readiness.control).chain(&readiness.sets);
        let why: Vec<String> =
            parts.flat_map(|part| part.why_not.iter().map(|why| format!("{}: {why}", part.set))).collect();
        assert_eq!(readiness.ready, why.is_empty());
        why
    }
}

/// The first voter at home leads; every copy holds everything.
fn status(catalogue: &Catalogue, set: u32, replica: &twinset_control::Replica) -> ReplicaStatus {
    let replicas = catalogue.replicas(set);
    let at_home = |r: &&twinset_control::Replica| match catalogue.sets.get(&set) {
        Some(known) => catalogue.site_of_node(&r.node) == Some(&known.home),
        None => r.node == "c1",
    };
    let leads = replicas.iter().find(at_home).is_some_and(|leader| leader.id == replica.id);
    let ids = |role| replicas.iter().filter(|r| r.role == role).map(|r| r.id).collect();
    ReplicaStatus {
        set,
        replica: replica.id,
        role: if leads { "leader" } else { "follower" }.to_owned(),
        term: 1,
        incarnation: 1,
        last_log_index: 1_000,
        matched: replicas.iter().map(|r| (r.id, 1_000)).collect(),
        voters: ids(Role::Voter),
        learners: ids(Role::Learner),
        durability: catalogue.sets.get(&set).map_or(String::new(), |known| known.durability.to_string()),
        ..Default::default()
    }
}

fn pace() -> Pace {
    Pace { stages: STAGES.to_vec(), soak_ms: 0, concurrency: 4, failures_max: 0, roll_back: false }
}

fn evacuate() -> Kind {
    Kind::Evacuate { site: "A".to_owned(), emergency: false }
}

fn emergency() -> Kind {
    Kind::Evacuate { site: "A".to_owned(), emergency: true }
}

fn isolate() -> Kind {
    Kind::Isolate { site: "A".to_owned() }
}

#[test]
fn a_stage_that_takes_in_no_set_more_is_left_out() {
    for (sets, stages) in [
        (200, vec![1, 10, 50, 100]),
        (8, vec![1, 50, 100]),
        (4, vec![1, 50, 100]),
        (2, vec![1, 100]),
        (1, vec![100]),
        (0, vec![100]),
    ] {
        assert_eq!(super::useful(&STAGES, sets), stages, "{sets} sets");
    }
    assert_eq!(super::useful(&[60, 100], 1), [100]);
}

#[test]
fn nothing_is_wrong_with_a_cluster_that_is_well() {
    let scene = Scene::new();
    assert_eq!(scene.checks(evacuate(), &[]), []);
    let draft = Draft::new(&scene.survey(), &scene.catalogue, evacuate(), pace());
    let steps: Vec<_> = draft.steps.iter().map(|step| (step.stage, step.set, step.to.as_str())).collect();
    assert_eq!(steps, [(0, 1, "B"), (1, 3, "B")]);
    assert_eq!(draft.pace.stages, [1, 100], "stages that take in no set more are left out");
}

#[test]
fn every_check_finds_what_it_is_for() {
    type Spoil = (&'static str, Verdict, fn(&mut Scene));
    let spoils: [Spoil; 9] = [
        ("control", Verdict::Fail, |scene| scene.silence("c1")),
        ("switches", Verdict::Fail, |scene| scene.begin_switch(1, "B")),
        ("leaders", Verdict::Fail, |scene| {
            scene.reply("b1").replicas.iter_mut().for_each(|replica| replica.role = "follower".to_owned());
        }),
        ("durability", Verdict::Fail, |scene| {
            scene.catalogue.sets.get_mut(&3).unwrap().durability = Durability::Degraded;
        }),
        ("nodes", Verdict::Fail, |scene| scene.reply("b2").ready = false),
        ("copies", Verdict::Fail, |scene| {
            let copy = scene.reply("b2").replicas.iter_mut().find(|replica| replica.set == 1).unwrap();
            copy.fault = "its disk".to_owned();
        }),
        ("lag", Verdict::Warn, |scene| {
            let away = scene.catalogue.sets[&1].replicas[3].id;
            let replies = scene.replies.iter_mut().flat_map(|reply| &mut reply.replicas);
            replies
                .filter(|replica| replica.set == 1)
                .for_each(|replica| _ = replica.matched.insert(away, 10));
        }),
        ("capacity", Verdict::Fail, |scene| {
            scene.reply("b1").resources.as_mut().unwrap().cpu_permille = 501;
        }),
        ("disk", Verdict::Warn, |scene| {
            scene.reply("b1").resources.as_mut().unwrap().disk_free_bytes = 19;
        }),
    ];
    for (check, verdict, spoil) in spoils {
        let mut scene = Scene::new();
        spoil(&mut scene);
        let found = scene.checks(evacuate(), &[]);
        assert!(found.contains(&(check, verdict)), "{check}: {found:?}");
        let other = |name: &str| name != check && !(check == "control" && name == "nodes");
        assert!(found.iter().all(|(name, _)| !other(name)), "{check} alone is wrong: {found:?}");
        let warned = (check, Verdict::Warn);
        assert!(scene.checks(evacuate(), &[check]).contains(&warned), "{check} is overridden");
        let in_emergency = if check == "control" { (check, Verdict::Fail) } else { warned };
        assert!(scene.checks(emergency(), &[]).contains(&in_emergency), "{check} in an emergency");
    }
    let mut scene = Scene::new();
    scene.begin(evacuate());
    assert_eq!(scene.checks(emergency(), &[]), [("plans", Verdict::Fail)]);
}

#[test]
fn a_nodes_use_of_its_machine_grows_by_what_comes() {
    let mut scene = Scene::new();
    // Each node of B gets half of what both nodes of A use.
    scene.reply("b1").resources.as_mut().unwrap().cpu_permille = 500;
    assert_eq!(scene.checks(evacuate(), &[]), []);
    scene.reply("a2").resources.as_mut().unwrap().cpu_permille = 202;
    assert_eq!(scene.checks(evacuate(), &[]), [("capacity", Verdict::Fail)]);
    scene.reply("a2").resources = None;
    assert_eq!(scene.checks(evacuate(), &[]), [("capacity", Verdict::Warn)], "nobody knows");
}

#[test]
fn sets_whose_copies_lag_come_last() {
    let mut scene = Scene::new();
    let away = scene.catalogue.sets[&1].replicas[2].id;
    let replies = scene.replies.iter_mut().flat_map(|reply| &mut reply.replicas);
    replies.filter(|replica| replica.set == 1).for_each(|replica| _ = replica.matched.insert(away, 10));
    let draft = Draft::new(&scene.survey(), &scene.catalogue, evacuate(), pace());
    let order: Vec<_> = draft.steps.iter().map(|step| (step.set, step.lag)).collect();
    assert_eq!(order, [(3, Some(0)), (1, Some(990))]);
}

/// A is evacuated and isolated, and everybody has heard of it.
fn isolated() -> Scene {
    let mut scene = Scene::new();
    scene.switch(1, "B");
    scene.switch(3, "B");
    let plan = scene.begin(isolate());
    for set in scene.catalogue.sets.values_mut() {
        set.durability = Durability::Degraded;
    }
    let outcome = |set: &u32| StepOutcome { set: *set, state: StepState::Done, pause_us: None };
    let outcomes = scene.catalogue.sets.keys().map(outcome).collect();
    scene.change(Command::Plan(PlanCommand::Record { plan, outcomes }));
    scene.change(Command::Plan(PlanCommand::End { plan, state: State::Done, reason: None }));
    scene.look();
    scene
}

#[test]
fn a_site_is_ready_when_nothing_needs_it() {
    assert_eq!(isolated().not_ready("A"), Vec::<String>::new());
    let mut dark = isolated();
    dark.silence("a1");
    dark.silence("a2");
    assert_eq!(dark.not_ready("A"), Vec::<String>::new(), "it is off already");
    assert!(Scene::new().not_ready("A").len() >= 6, "as it is every day");
}

#[test]
fn whatever_needs_a_site_is_named_set_by_set() {
    type Spoil = (&'static str, fn(&mut Scene));
    let spoils: [Spoil; 9] = [
        ("0: plan 17 (return A) is running", |scene| {
            _ = scene.begin(Kind::Return { site: Some("A".to_owned()) })
        }),
        ("0: site A is not marked", |scene| scene.catalogue.sites.get_mut("A").unwrap().isolated = false),
        ("0: 2 of its 3 voters stand in A", |scene| {
            scene.catalogue.control.replicas.iter_mut().find(|r| r.node == "c1").unwrap().node =
                "a2".to_owned();
        }),
        ("0: a1 leads it", |scene| {
            let of_control = |reply: &mut StatusReply, role: &str| {
                let replica = reply.replicas.iter_mut().find(|replica| replica.set == 0).unwrap();
                replica.role = role.to_owned();
            };
            of_control(scene.reply("c1"), "follower");
            of_control(scene.reply("a1"), "leader");
        }),
        ("2: it has no leader", |scene| {
            let replicas = scene.replies.iter_mut().flat_map(|reply| &mut reply.replicas);
            replicas
                .filter(|replica| replica.set == 2)
                .for_each(|replica| replica.role = "follower".to_owned());
        }),
        ("1: 2 of its 3 voters stand in A", |scene| {
            let set = scene.catalogue.sets[&1].clone();
            let inside = set.replicas.iter().filter(|r| r.node.starts_with('a')).map(|r| r.id);
            let outside = set.replicas.iter().filter(|r| r.node.starts_with('b')).map(|r| r.id).take(1);
            let voters: Vec<u64> = inside.chain(outside).collect();
            let replicas = scene.replies.iter_mut().flat_map(|reply| &mut reply.replicas);
            replicas.filter(|r| r.set == 1).for_each(|r| r.voters.clone_from(&voters));
        }),
        ("4: it is SYNC on record", |scene| {
            scene.catalogue.sets.get_mut(&4).unwrap().durability = Durability::Sync;
        }),
        ("4: DEGRADED is on record and not in force", |scene| {
            let replicas = scene.replies.iter_mut().flat_map(|reply| &mut reply.replicas);
            replicas
                .filter(|replica| replica.set == 4)
                .for_each(|replica| replica.durability = "SYNC".to_owned());
        }),
        ("1: b2 is needed without A", |scene| scene.reply("b2").ready = false),
    ];
    for (why, spoil) in spoils {
        let mut scene = isolated();
        spoil(&mut scene);
        let found = scene.not_ready("A");
        assert!(found.iter().any(|found| found.starts_with(why)), "{why}: {found:?}");
    }
}
