//! Topologies and commands, drawn at random: what the laws of the control set must hold for.

use std::collections::BTreeMap;

use proptest::prelude::*;
use twinset_control::drill;
use twinset_control::groups::Side;
use twinset_control::plan::{self, Kind, Pace, Planned, State, StepOutcome, StepState};
use twinset_control::{Catalogue, Command, Durability, Group, LogEnd, Policy, Role};

use crate::common::topology;

pub fn a_topology() -> impl Strategy<Value = Catalogue> {
    (2..=24u32, 2..=5u16, 2..=5u16, any::<bool>())
        .prop_map(|(sets, a, b, arbiter)| topology(sets, a, b, arbiter))
        .prop_map(|topology| topology.place("cluster-1").expect("the topology is valid"))
}

/// Mostly sensible: small numbers meet each other often.
pub fn a_command() -> impl Strategy<Value = Command> {
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

pub fn a_plan_command() -> impl Strategy<Value = plan::Command> {
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

pub fn a_drill_command() -> impl Strategy<Value = drill::Command> {
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
pub fn a_group() -> impl Strategy<Value = Group> {
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
pub fn commands() -> impl Strategy<Value = Vec<(Command, bool)>> {
    prop::collection::vec((a_command(), prop::bool::weighted(0.7)), 0..60)
}

pub fn aim(catalogue: &Catalogue, command: Command) -> Command {
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

pub fn aim_plan(catalogue: &Catalogue, command: plan::Command) -> plan::Command {
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
