//! Laws that hold after any commands in any order on any topology. A failure prints the shortest commands that break
//! one; `PROPTEST_CASES` raises the number of tries.

mod common;
mod tampering;

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use tampering::{Tampering, a_tampering, tamper, walk};
use twinset_control::audit::TAIL_RECORDS_MAX;
use twinset_control::chain::Walk;
use twinset_control::drill;
use twinset_control::groups::Side;
use twinset_control::plan::{self, Kind, Pace, Planned, State, StepOutcome, StepState};
use twinset_control::{
    Catalogue, Command, Durability, Effect, Envelope, Group, LogEnd, Policy, Proof, Replacement, Replica,
    Role, SLOTS, Set, SwitchEnd, apply, apply_entry,
};

fn a_topology() -> impl Strategy<Value = Catalogue> {
    (2..=24u32, 2..=5u16, 2..=5u16, any::<bool>())
        .prop_map(|(sets, a, b, arbiter)| common::topology(sets, a, b, arbiter))
        .prop_map(|topology| topology.place("cluster-1").expect("the topology is valid"))
}

/// Mostly sensible: small numbers meet each other often.
fn a_command() -> impl Strategy<Value = Command> {
    let set = 0..=4u32;
    let id = 1..=60u64;
    let site = prop::sample::select(vec!["A", "B", "C", "X"]).prop_map(String::from);
    let node = prop::sample::select(vec!["a1", "a2", "b1", "b2", "b9", "c1"]).prop_map(String::from);
    let who = prop::sample::select(vec!["ops", "ops", "ops", ""]).prop_map(String::from);
    let port = 1..=40u32;
    let a_node = node.clone();
    prop_oneof![
        4 => (set.clone(), site.clone(), node.clone(), who.clone(), 1..=4u64).prop_map(
            |(set, to, owner, who, expected_epoch)| Command::BeginSwitch {
                set, to, owner, who, why: "law".into(), expected_epoch, plan: None,
            }
        ),
        4 => (set.clone(), id.clone()).prop_map(|(set, id)| Command::CompleteSwitch { set, id }),
        2 => (set.clone(), id.clone(), who.clone()).prop_map(|(set, id, reason)| Command::AbortSwitch { set, id, reason }),
        2 => (set.clone(), any::<bool>(), 0..=9u64, 1..=4u64, who.clone()).prop_map(
            |(set, sync, last_safe_index, epoch, who)| {
                let durability = if sync { Durability::Sync } else { Durability::Degraded };
                Command::RecordDurability {
                    set,
                    durability,
                    last_safe_index,
                    expected_durability_epoch: epoch,
                    pinned: last_safe_index % 2 == 0,
                    who,
                    why: "law".into(),
                }
            }
        ),
        2 => (set.clone(), site.clone(), 1..=3u32, any::<bool>(), who.clone()).prop_map(
            |(set, site, expected_incarnation, accept_loss, who)| Command::BeginRecovery {
                set, site, expected_incarnation, accept_loss, who, why: "law".into(),
                without_replaced: accept_loss && expected_incarnation % 2 == 0,
            }
        ),
        3 => (set.clone(), id.clone(), 4..=12u64, 0..=3u64).prop_map(|(set, id, from, term)| {
            Command::CompleteRecovery { set, id, from, end: LogEnd { term, index: term * 7 }, last_safe_index: term }
        }),
        2 => (set.clone(), id.clone(), who.clone()).prop_map(|(set, id, who)| Command::EndReconciliation {
            set, id, who, why: "law".into(),
        }),
        1 => (set.clone(), id, 4..=12u64, who.clone()).prop_map(|(set, id, replica, who)| Command::GiveUpSurvivor {
            set, id, replica, who, why: "law".into(),
        }),
        1 => (set.clone(), 4..=20u64, who.clone()).prop_map(|(set, replica, who)| Command::ReleaseReplica {
            set, replica, who, why: "law".into(),
        }),
        2 => (set.clone(), node.clone(), who.clone()).prop_map(|(set, node, who)| Command::PlaceReplica {
            set, node, who, why: "law".into(),
        }),
        2 => (set.clone(), 4..=20u64, who.clone()).prop_map(|(set, replica, who)| Command::PromoteReplica {
            set, replica, who, why: "law".into(),
        }),
        3 => (set.clone(), 1..=40u64, node.clone(), who.clone()).prop_map(|(set, replica, node, who)| {
            Command::BeginReplacement { set, replica, node, who, why: "law".into() }
        }),
        1 => (set.clone(), 1..=60u64, who.clone()).prop_map(|(set, id, who)| Command::GiveUpReplacement {
            set, id, who, why: "law".into(),
        }),
        2 => (set.clone(), 1..=60u64, any::<bool>()).prop_map(|(set, id, replaced)| Command::EndReplacement {
            set, id, replaced,
        }),
        1 => (node.clone(), who.clone()).prop_map(|(node, who)| Command::RemoveNode {
            node, who, why: "law".into(),
        }),
        1 => (set, any::<bool>(), who.clone()).prop_map(|(set, protect, who)| {
            let policy = if protect { Policy::MaxProtection } else { Policy::MaxAvailability };
            Command::SetPolicy { set, policy, who, why: "law".into() }
        }),
        1 => (node, site, port, who).prop_map(|(node, site, port, who)| Command::UpsertNodeAddress {
            node,
            site,
            api_addr: format!("h:{port}"),
            peer_addr: format!("h:{}", port + 1),
            http_addr: format!("h:{}", port + 2),
            who,
            why: "law".into(),
        }),
        1 => (a_node, 1..=3u64, any::<bool>()).prop_map(|(node, id, ended)| Command::RecordFault {
            node, id, fault: "pause".into(), deadline_ms: 1000, ended, who: "ops".into(), why: "law".into(),
        }),
        1 => (2..=3u32, 1..=3u64, "[a-c]").prop_map(|(incarnation, from, plan)| Command::RecoverControl {
            plan,
            incarnation,
            survivors: BTreeMap::from([(from, "a1".to_owned())]),
            from,
            end: LogEnd { term: from, index: from * 7 },
            who: "ops".into(),
            why: "law".into(),
        }),
        4 => a_plan_command().prop_map(Command::Plan),
        2 => a_drill_command().prop_map(Command::Drill),
        2 => a_group().prop_map(|group| Command::CreateGroup { group, who: "ops".into(), why: "law".into() }),
    ]
}

fn a_plan_command() -> impl Strategy<Value = plan::Command> {
    let plan = 1..=60u64;
    let site = prop::sample::select(vec!["A", "B", "C"]).prop_map(String::from);
    let kind = prop_oneof![
        3 => (site.clone(), any::<bool>()).prop_map(|(site, emergency)| Kind::Evacuate { site, emergency }),
        1 => site.clone().prop_map(|site| Kind::Isolate { site }),
        1 => prop::option::of(site).prop_map(|site| Kind::Return { site }),
    ];
    let reason = || String::from("law");
    let state = prop::sample::select(vec![State::Done, State::Failed, State::Stopped, State::RolledBack]);
    let step = prop_oneof![
        Just(StepState::Done),
        Just(StepState::Back),
        Just(StepState::Failed { reason: reason() }),
    ];
    let outcomes = prop::collection::vec((0..=4u32, step), 0..4);
    prop_oneof![
        3 => (kind, any::<bool>(), 1..=40u64).prop_map(move |(kind, roll_back, request)| {
            let stages = if kind.is_emergency() { vec![100] } else { vec![1, 50, 100] };
            let roll_back = roll_back && !kind.is_emergency();
            let pace = Pace { stages, soak_ms: 0, concurrency: 2, failures_max: 0, roll_back };
            let (request_id, order) = (request.to_string(), Vec::new());
            plan::Command::Begin { request_id, kind, pace, order, who: "ops".into(), why: "law".into() }
        }),
        4 => (plan.clone(), outcomes).prop_map(|(plan, outcomes)| {
            let outcome = |(set, state)| StepOutcome { set, state, pause_us: None };
            plan::Command::Record { plan, outcomes: outcomes.into_iter().map(outcome).collect() }
        }),
        2 => (plan.clone(), 0..=3u32).prop_map(|(plan, stage)| plan::Command::Advance { plan, stage }),
        1 => plan.clone().prop_map(move |plan| plan::Command::RollBack { plan, reason: reason() }),
        2 => (plan.clone(), state).prop_map(|(plan, state)| plan::Command::End { plan, state, reason: None }),
        1 => Just(plan::Command::Stop { who: "ops".into(), why: "law".into() }),
        1 => plan.prop_map(|plan| plan::Command::Resume { plan, who: "ops".into(), why: "law".into() }),
    ]
}

fn a_drill_command() -> impl Strategy<Value = drill::Command> {
    use drill::Verdict::{Abandoned, Failed, Passed, Stopped};
    let verdict = prop::sample::select(vec![Passed, Failed, Stopped, Abandoned]);
    prop_oneof![
        // A lease of so many nanoseconds that some are over soon: an index is 7 of them.
        2 => (1..=20u64, 0..=4u32).prop_map(|(request, set)| drill::Command::Begin {
            request_id: request.to_string(),
            scenario: "law".into(),
            set,
            lease_ms: 1 + request % 2 * drill::LEASE_MS_MAX,
            who: "ops".into(),
            why: "law".into(),
        }),
        1 => (1..=60u64, 1..=9u64).prop_map(|(drill, lease_ms)| drill::Command::Extend { drill, lease_ms, who: "ops".into() }),
        1 => Just(drill::Command::Stop { who: "ops".into(), why: "law".into() }),
        2 => (1..=60u64, verdict).prop_map(|(drill, verdict)| drill::Command::End { drill, verdict, who: "ops".into() }),
    ]
}

/// Of so few names that groups meet, and contradict, each other often.
fn a_group() -> impl Strategy<Value = Group> {
    let name =
        prop::sample::select(vec!["g", "h", "g.1", "g.2", "h.1", "h.2", "x", ""]).prop_map(String::from);
    (name.clone(), any::<bool>(), prop::collection::vec(name, 0..4)).prop_map(|(id, debit, parts)| Group {
        id,
        currency: "EUR".into(),
        normal_side: if debit { Side::Debit } else { Side::Credit },
        parts,
    })
}

/// A command, and whether to point it at the switch or the epoch that its set has now, so that many succeed.
fn commands() -> impl Strategy<Value = Vec<(Command, bool)>> {
    prop::collection::vec((a_command(), prop::bool::weighted(0.7)), 0..60)
}

fn aim(catalogue: &Catalogue, command: Command) -> Command {
    let of = |set: &u32| catalogue.sets.get(set);
    let current = |set: &u32, id| of(set).and_then(|s| s.switch.as_ref()).map_or(id, |s| s.id);
    match command {
        Command::BeginSwitch { set, to, owner, who, why, expected_epoch, plan } => {
            let expected_epoch = of(&set).map_or(expected_epoch, |s| s.epoch);
            Command::BeginSwitch { set, to, owner, who, why, expected_epoch, plan }
        }
        Command::CompleteSwitch { set, id } => Command::CompleteSwitch { set, id: current(&set, id) },
        Command::AbortSwitch { set, id, reason } => {
            Command::AbortSwitch { set, id: current(&set, id), reason }
        }
        Command::BeginRecovery {
            set,
            site,
            accept_loss,
            without_replaced,
            who,
            why,
            expected_incarnation,
        } => {
            let expected_incarnation = of(&set).map_or(expected_incarnation, |s| s.incarnation);
            Command::BeginRecovery {
                set,
                site,
                accept_loss,
                without_replaced,
                who,
                why,
                expected_incarnation,
            }
        }
        Command::GiveUpSurvivor { set, id, replica, who, why } => {
            let open = of(&set).and_then(|s| s.recovery.as_ref());
            let (id, replica) = open.map_or((id, replica), |open| (open.id, open.survivors[0]));
            Command::GiveUpSurvivor { set, id, replica, who, why }
        }
        Command::CompleteRecovery { set, id, from, end, last_safe_index } => {
            let open = of(&set).and_then(|s| s.recovery.as_ref());
            let (id, from) = open.map_or((id, from), |open| (open.id, open.survivors[0]));
            Command::CompleteRecovery { set, id, from, end, last_safe_index }
        }
        // The first replica of a set, by a node of its site that has none, where there is one.
        Command::BeginReplacement { set, replica, node, who, why } => {
            let replicas = catalogue.replicas(set);
            let old = replicas.iter().find(|known| known.id == replica).or(replicas.first());
            let free = old.and_then(|old| {
                let site = catalogue.site_of_node(&old.node);
                catalogue.nodes.values().find(|known| {
                    Some(known.site.as_str()) == site && replicas.iter().all(|it| it.node != known.name)
                })
            });
            let (replica, node) =
                (old.map_or(replica, |old| old.id), free.map_or(node, |it| it.name.clone()));
            Command::BeginReplacement { set, replica, node, who, why }
        }
        Command::GiveUpReplacement { set, id, who, why } => {
            let id = catalogue.replacement(set).map_or(id, |open| open.id);
            Command::GiveUpReplacement { set, id, who, why }
        }
        Command::EndReplacement { set, id, replaced } => {
            let id = catalogue.replacement(set).map_or(id, |open| open.id);
            Command::EndReplacement { set, id, replaced }
        }
        // One of its copies, or two, as they are.
        Command::RecoverControl { plan, from, end, who, why, .. } => {
            let copies = catalogue.control.replicas.iter().take(1 + from as usize % 2);
            let survivors: BTreeMap<u64, String> = copies.map(|it| (it.id, it.node.clone())).collect();
            let from = catalogue.control.replicas[0].id;
            let again = catalogue.control.recovered.as_ref().is_some_and(|it| it.plan == plan);
            let incarnation = catalogue.control.incarnation + u32::from(!again);
            Command::RecoverControl { plan, incarnation, survivors, from, end, who, why }
        }
        Command::PromoteReplica { set, replica, who, why } if set == 0 => {
            let learner = catalogue.control.replicas.iter().find(|it| it.role == Role::Learner);
            Command::PromoteReplica { set, replica: learner.map_or(replica, |it| it.id), who, why }
        }
        Command::PromoteReplica { set, replica, who, why } => {
            let learner = of(&set).and_then(|s| s.ids(Role::Learner).next());
            Command::PromoteReplica { set, replica: learner.unwrap_or(replica), who, why }
        }
        Command::Plan(command) => Command::Plan(aim_plan(catalogue, command)),
        Command::Drill(drill::Command::End { verdict, who, .. }) => {
            let drill = catalogue.drills.keys().next_back().copied().unwrap_or(1);
            Command::Drill(drill::Command::End { drill, verdict, who })
        }
        other => other,
    }
}

fn aim_plan(catalogue: &Catalogue, command: plan::Command) -> plan::Command {
    use plan::Command::{Advance, Begin, End, Record, Resume, RollBack};
    let newest = catalogue.plans.keys().next_back().copied().unwrap_or(1);
    match command {
        Begin { request_id, kind, pace, who, why, .. } => {
            let planned =
                |(set, _)| Planned { set, epoch: catalogue.sets[&set].epoch, leader: String::new() };
            let order = kind.sets(catalogue).into_iter().map(planned).collect();
            Begin { request_id, kind, pace, order, who, why }
        }
        Record { outcomes, .. } => Record { plan: newest, outcomes },
        Advance { stage, .. } => Advance { plan: newest, stage },
        RollBack { reason, .. } => RollBack { plan: newest, reason },
        End { state, reason, .. } => End { plan: newest, state, reason },
        Resume { who, why, .. } => Resume { plan: newest, who, why },
        stop => stop,
    }
}

/// Plans under way share no set, and an ended one is at rest.
fn check_plans(catalogue: &Catalogue) {
    let mut taken = BTreeSet::new();
    for plan in catalogue.plans.values() {
        let active = plan.state.is_active();
        assert_eq!(plan.ended_unix_ns.is_none(), active, "{plan:?}");
        assert!(!active || plan.steps.iter().all(|step| taken.insert(step.set)), "{plan:?}");
        let waits = plan.count(|state| *state == StepState::Waiting) > 0;
        assert!(!(waits && matches!(plan.state, State::Done | State::RolledBack)), "{plan:?}");
    }
    assert!(catalogue.plans.values().filter(|p| !p.state.is_active()).count() <= plan::ENDED_PLANS_MAX);
}

/// One drill at a time; what has ended never goes on, and none is abandoned before its lease is over.
fn check_drills(catalogue: &Catalogue, before: &Catalogue) {
    assert!(catalogue.drills.values().filter(|drill| drill.is_active()).count() <= 1);
    let ended = catalogue.drills.values().filter(|drill| !drill.is_active());
    assert!(ended.clone().count() <= drill::ENDED_DRILLS_MAX);
    for drill in ended {
        let abandoned = drill.state == drill::State::Ended { verdict: drill::Verdict::Abandoned };
        assert!(!abandoned || drill.ended_unix_ns > Some(drill.until_unix_ns), "{drill:?}");
    }
    for drill in before.drills.values().filter(|drill| !drill.is_active()) {
        assert!(catalogue.drills.get(&drill.id).is_none_or(|now| now == drill), "{drill:?}");
    }
}

/// After a recovery of the control set: it has a voter, no more copies than nodes can have, and what was counted is not counted again.
fn check_control(catalogue: &Catalogue, before: &Catalogue) {
    let control = &catalogue.control;
    assert!(control.replicas.iter().any(|replica| replica.role == Role::Voter), "{control:?}");
    assert!(control.replicas.len() <= 3 + usize::from(control.replacement.is_some()), "{control:?}");
    assert_eq!(control.lives.len() as u32, control.incarnation - 1, "{control:?}");
    if control.incarnation == before.control.incarnation {
        return;
    }
    assert!(catalogue.version > before.version + u64::from(u32::MAX));
    assert!(catalogue.next_replica_id > before.next_replica_id + 1_000_000);
    assert!(control.ids_from > before.control.ids_from + u64::from(u32::MAX));
    assert!(before.sets.values().all(|set| set.incarnation + 100 <= control.set_incarnations_from));
    for (set, old) in catalogue.sets.values().zip(before.sets.values()) {
        assert!(set.is_unproven() && set.recovery.is_none(), "{set:?}");
        assert!(set.epoch > old.epoch + u64::from(u32::MAX) && set.durability_epoch > old.durability_epoch);
        assert_eq!((&set.replicas, set.incarnation, &set.home), (&old.replicas, old.incarnation, &old.home));
    }
    assert!(catalogue.plans.values().all(|plan| plan.state != State::Running));
}

/// A set of which the record may be old: nothing but the mark of SYNC, or a recovery, says more of it.
fn check_unproven(set: &Set, old: &Set) {
    if !old.is_unproven() || set.incarnation != old.incarnation {
        return;
    }
    assert_eq!((&set.replicas, &set.replacement), (&old.replicas, &old.replacement));
    assert!(set.switch.is_none() || set.switch == old.switch, "{set:?}");
    assert!(set.durability == old.durability || set.durability == Durability::Sync, "{set:?}");
    assert!(set.is_unproven() || set.durability == Durability::Sync, "{set:?}");
}

/// Of a set that was recovered: never more than two copies in a site, never more votes than it should have, and always some.
fn check_what_is_left(catalogue: &Catalogue) {
    for set in catalogue.sets.values() {
        for site in catalogue.data_sites() {
            let there = |replica: &&Replica| catalogue.site_of_node(&replica.node) == Some(site);
            let votes = set.replicas.iter().filter(there).filter(|r| r.role == Role::Voter).count();
            let leaving = set.replacement.as_ref().map(Replacement::discounted);
            let stays = |replica: &&Replica| Some(replica.id) != leaving;
            let copies = set.replicas.iter().filter(there).filter(stays).count();
            assert!(copies <= 2, "set {}: {:?}", set.id, set.replicas);
            assert!(votes <= 2, "set {}: {:?}", set.id, set.replicas);
        }
        // One survivor is left alone only where an operator has given up the other, and then something may be lost.
        let least = match &set.recovered {
            Some(recovered) if recovered.was == Durability::Degraded => 1,
            _ => 2,
        };
        assert!((least..=3).contains(&set.ids(Role::Voter).count()), "set {}: {:?}", set.id, set.replicas);
    }
}

fn check_placement(catalogue: &Catalogue) {
    for set in catalogue.sets.values().filter(|set| set.recovered.is_none()) {
        let sites = |role| {
            let mut sites: BTreeMap<&str, u32> = BTreeMap::new();
            // One that is to take another's place is an additional learner until it has it.
            let new = set.replacement.as_ref().map(|open| open.new);
            for id in set.ids(role).filter(|id| Some(*id) != new) {
                *sites.entry(catalogue.site_of_replica(set.id, id).expect("it has a site")).or_default() += 1;
            }
            sites
        };
        let away = catalogue.other_site(&set.home).expect("a home is a data site");
        assert_eq!(sites(Role::Voter), BTreeMap::from([(set.home.as_str(), 2), (away, 1)]), "set {}", set.id);
        assert_eq!(sites(Role::Learner), BTreeMap::from([(away, 1)]), "set {}", set.id);
    }
}

/// Counts owners on its own: it does not trust the lookups of the catalogue.
fn check_slots(catalogue: &Catalogue) {
    let mut owners = vec![0u32; usize::from(SLOTS)];
    for range in catalogue.sets.values().flat_map(|set| &set.slots) {
        owners[usize::from(range.from)..=usize::from(range.to)].iter_mut().for_each(|count| *count += 1);
    }
    assert!(owners.iter().all(|count| *count == 1), "each slot has exactly one set");
}

fn replica_ids(catalogue: &Catalogue) -> Vec<u64> {
    let sets = catalogue.sets.values().flat_map(|set| &set.replicas);
    catalogue.control.replicas.iter().chain(sets).map(|r| r.id).collect()
}

proptest! {
    #[test]
    fn a_placement_is_right_and_even(catalogue in a_topology()) {
        catalogue.check().unwrap();
        check_slots(&catalogue);
        check_placement(&catalogue);
        let ids = replica_ids(&catalogue);
        prop_assert_eq!(&ids, &(1..catalogue.next_replica_id).collect::<Vec<_>>());
        prop_assert_eq!(catalogue.control.replicas.len(), 3);
        let homes = |site: &str| catalogue.sets.values().filter(|s| s.home == site).count();
        prop_assert!(homes("A") - homes("B") <= 1);
        let sizes: Vec<u16> = catalogue.sets.values().map(|s| s.slots[0].to - s.slots[0].from).collect();
        prop_assert!(sizes.iter().max().unwrap() - sizes.iter().min().unwrap() <= 1);
        for site in catalogue.data_sites() {
            let nodes = catalogue.nodes.values().filter(|n| n.site == site);
            let counts: Vec<usize> =
                nodes.map(|n| catalogue.replicas_on(&n.name).filter(|(set, _)| *set != 0).count()).collect();
            prop_assert!(counts.iter().max().unwrap() - counts.iter().min().unwrap() <= 1, "{:?}", counts);
        }
    }

    #[test]
    fn laws_hold_after_every_command(start in a_topology(), commands in commands()) {
        let mut catalogue = start;
        let mut ids: BTreeSet<u64> = replica_ids(&catalogue).into_iter().collect();
        let (mut index, mut ids_from, mut begun) = (0, 0, 0);
        for (command, aimed) in commands {
            // The log of a recovered control set goes on at an index that the lost one has had as well; no id is given twice all the same.
            index = if catalogue.control.ids_from == ids_from { index + 1 } else { 1 };
            ids_from = catalogue.control.ids_from;
            // Only nodes tell of a recovery of the control set, and only of what there is.
            let aimed = aimed || matches!(command, Command::RecoverControl { .. });
            let command = if aimed { aim(&catalogue, command) } else { command };
            let envelope = Envelope::new(index * 7, Proof::Declared, command);
            prop_assert_eq!(&Envelope::decode(&envelope.encode()).unwrap(), &envelope);
            let before = catalogue.clone();
            match apply(&mut catalogue, index, envelope.time_unix_ns, envelope.command) {
                Ok(reply) if reply.changed => {
                    let ahead = catalogue.control.ids_from - before.control.ids_from;
                    prop_assert_eq!(catalogue.version, before.version + 1 + ahead);
                    // How far a plan or a drill has come is no act of anybody.
                    let course = matches!(reply.effect, Effect::PlanRecorded | Effect::DrillRecorded);
                    let records = catalogue.audit.total - before.audit.total;
                    prop_assert!(records == 1 || course && records == 0);
                    prop_assert_eq!(reply.version, catalogue.version);
                    if let Effect::SwitchBegun { id, .. }
                    | Effect::RecoveryBegun { id, .. }
                    | Effect::ReplacementBegun { id, .. }
                    | Effect::PlanBegun { id }
                    | Effect::DrillBegun { id } = reply.effect
                    {
                        prop_assert!(id > begun, "{} after {}", id, begun);
                        begun = id;
                    }
                }
                Ok(reply) => {
                    prop_assert_eq!(&catalogue, &before);
                    prop_assert_eq!(reply.version, catalogue.version);
                }
                Err(_) => prop_assert_eq!(&catalogue, &before),
            }
            catalogue.check().unwrap();
            check_slots(&catalogue);
            check_placement(&catalogue);
            check_what_is_left(&catalogue);
            check_plans(&catalogue);
            check_drills(&catalogue, &before);
            check_control(&catalogue, &before);
            let control_reborn = catalogue.control.incarnation != before.control.incarnation;
            for (set, old) in catalogue.sets.values().zip(before.sets.values()) {
                let reborn = set.incarnation != old.incarnation;
                let moved = set.home != old.home && !reborn;
                check_unproven(set, old);
                if control_reborn {
                    continue;
                }
                let epoch = old.epoch + u64::from(moved || reborn);
                prop_assert_eq!(set.epoch, epoch, "the epoch counts changes of home, and recoveries");
                if reborn {
                    let open = old.recovery.as_ref().expect("it was begun");
                    prop_assert_eq!(set.lives.len() as u32, set.incarnation - 1, "each life but this one has an end");
                    let next = (old.incarnation + 1).max(catalogue.control.set_incarnations_from);
                    prop_assert_eq!((set.incarnation, &set.home), (next, &open.site));
                    prop_assert!(!set.is_unproven());
                    prop_assert_eq!(set.durability, Durability::Degraded, "one site proves nothing");
                    prop_assert!(set.recovery.is_none() && set.switch.is_none());
                    let voters: BTreeSet<u64> = set.ids(Role::Voter).collect();
                    let mut out: BTreeSet<u64> = open.survivors.iter().copied().collect();
                    prop_assert!(voters.is_subset(&out), "only who was fenced goes on");
                    out.retain(|id| !voters.contains(id));
                    // Of a replica and the one in its place, both fenced, one goes on: a site has two copies.
                    let pair = old.replacement.as_ref().map(|r| [r.old, r.new]);
                    let pair = pair.filter(|pair| pair.iter().all(|id| open.survivors.contains(id)));
                    prop_assert_eq!(out.len(), usize::from(pair.is_some()));
                    prop_assert!(out.iter().all(|id| pair.is_some_and(|pair| pair.contains(id))), "{:?}", out);
                    let recovered = set.recovered.as_ref().expect("it is over");
                    let was_safe = old.durability == Durability::Sync && open.given_up.is_empty();
                    prop_assert!(recovered.unreconciled || was_safe, "it may have lost what its peers have seen");
                    let from = recovered.from;
                    prop_assert!(voters.contains(&from), "the greatest log goes on");
                } else if old.recovery.is_some() {
                    prop_assert_eq!(set.durability_epoch, old.durability_epoch, "closed until it is over");
                    prop_assert_eq!(&set.replicas, &old.replicas);
                    prop_assert!(!moved);
                }
                let completed = set.last_switch != old.last_switch
                    && set.last_switch.is_some_and(|s| s.end == SwitchEnd::Completed);
                prop_assert_eq!(moved, completed, "only a completed switch moves a home");
                prop_assert!(set.last_safe_index >= old.last_safe_index);
            }
            prop_assert!(before.groups.iter().all(|(id, group)| catalogue.groups.get(id) == Some(group)), "groups stay");
            let (now, then) = (replica_ids(&catalogue), replica_ids(&before));
            let new: Vec<u64> = now.iter().copied().filter(|id| !then.contains(id)).collect();
            prop_assert!(new.iter().all(|id| ids.insert(*id)), "an id is never used again: {:?}", new);
        }
        prop_assert_eq!(&Catalogue::from_json(&catalogue.to_json()).unwrap(), &catalogue);
    }

    #[test]
    fn a_repeated_end_changes_nothing(start in a_topology(), commands in commands()) {
        let mut catalogue = start;
        for (index, (command, _)) in (1u64..).zip(commands) {
            let command = aim(&catalogue, command);
            // The same extension of a lease reaches further when it comes later.
            let repeatable = !matches!(
                command,
                Command::BeginSwitch { .. }
                    | Command::BeginRecovery { .. }
                    | Command::Drill(drill::Command::Extend { .. })
            );
            if apply(&mut catalogue, index, 0, command.clone()).is_ok() && repeatable {
                let before = catalogue.clone();
                let again = apply(&mut catalogue, index + 1000, 1, command).unwrap();
                prop_assert!(!again.changed);
                prop_assert_eq!(&catalogue, &before);
            }
        }
    }

    #[test]
    fn a_history_is_one_chain_and_any_tampering_breaks_it(
        start in a_topology(),
        commands in commands(),
        tamperings in prop::collection::vec(a_tampering(), 8),
    ) {
        let mut catalogue = start;
        let mut history = Vec::new();
        for (index, (command, _)) in (1u64..).zip(commands) {
            let (command, before) = (aim(&catalogue, command), catalogue.audit.mark());
            let proof = [Proof::Declared, Proof::Token, Proof::Node("a1".into())][index as usize % 3].clone();
            // A rejection appends nothing, which the chain shows.
            drop(apply_entry(&mut catalogue, index, Envelope::new(index * 7, proof, command)));
            history.extend(catalogue.audit.since(before, "cluster-1"));
        }
        prop_assert_eq!(history.len() as u64, catalogue.audit.total);
        let head = catalogue.audit.head("cluster-1");
        prop_assert_eq!(walk(&history), Ok(head));
        prop_assert_eq!(head.to_string().parse(), Ok(head));
        if history.len() < 2 {
            return Ok(());
        }
        prop_assert!(Walk::new("cluster-2", 1).step(&history[0]).is_err(), "another cluster's");
        for tampering in tamperings {
            let mut tampered = history.clone();
            let number = tamper(&mut tampered, tampering);
            match walk(&tampered) {
                // The last record is no more, or all was made to fit: the head is another one.
                Ok(found) => {
                    prop_assert!(matches!(tampering, Tampering::Drop(_) | Tampering::Forge(..)), "{:?}", tampering);
                    prop_assert_ne!(found, head);
                }
                // A forged record may be none at all, or say another number.
                Err(broken) => prop_assert_eq!(broken, number, "{:?}", tampering),
            }
        }
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(Envelope::decode(&bytes).is_err());
        prop_assert!(Catalogue::from_json(&bytes).is_err());
        prop_assert!(twinset_control::decode_answer(&bytes).is_err());
    }
}

#[test]
fn the_audit_tail_is_bounded_and_counts_all() {
    let mut catalogue = common::topology(2, 2, 2, true).place("cluster-1").unwrap();
    for index in 1..=400u64 {
        let durability = if index % 2 == 0 { Durability::Sync } else { Durability::Degraded };
        let (who, why) = (String::from("ops"), String::from("law"));
        let expected_durability_epoch = index;
        let last_safe_index = 0;
        let command = Command::RecordDurability {
            set: 1,
            durability,
            last_safe_index,
            expected_durability_epoch,
            pinned: false,
            who,
            why,
        };
        apply(&mut catalogue, index, index, command).unwrap();
    }
    let numbers: Vec<u64> = catalogue.audit.tail.iter().map(|r| r.no).collect();
    assert_eq!(catalogue.audit.total, 400);
    assert_eq!(numbers, (400 - TAIL_RECORDS_MAX as u64 + 1..=400).collect::<Vec<_>>());
}

/// As long ago as some voters may have to start from: entries of rules that did not chain.
#[test]
fn a_log_without_a_chain_gets_one_from_its_tail_on_whatever_build_has_kept_it() {
    let mut catalogue = common::topology(2, 2, 2, true).place("cluster-1").unwrap();
    let entry = |catalogue: &mut Catalogue, index: u64, rules| {
        let policy = if index.is_multiple_of(2) { Policy::MaxAvailability } else { Policy::MaxProtection };
        let command = Command::SetPolicy { set: 1, policy, who: "ops".into(), why: "law".into() };
        let before = catalogue.audit.mark();
        let entry = Envelope { rules, ..Envelope::new(index, Proof::Declared, command) };
        assert!(apply_entry(catalogue, index, entry).unwrap().changed);
        catalogue.audit.since(before, "cluster-1")
    };
    for index in 1..=300 {
        assert!(entry(&mut catalogue, index, 1).is_empty());
        assert_eq!(catalogue.audit.chain, None);
    }
    let mut history = entry(&mut catalogue, 301, 2);
    let first = 301 - TAIL_RECORDS_MAX as u64 + 1;
    assert_eq!(history.iter().map(|link| link.number).collect::<Vec<_>>(), (first..=301).collect::<Vec<_>>());
    for (index, rules) in [(302, 2), (303, 1), (304, 2)] {
        history.extend(entry(&mut catalogue, index, rules));
    }
    let mut walk = Walk::new("cluster-1", catalogue.audit.first());
    history.iter().try_for_each(|link| walk.step(link)).unwrap();
    assert_eq!(walk.head(), catalogue.audit.head("cluster-1"));
    assert_eq!(walk.head().number, 304);
}
