//! Laws that hold after any commands in any order on any topology. A failure prints the shortest commands that break
//! one; `PROPTEST_CASES` raises the number of tries.

mod common;
mod drawn;
mod tampering;

use std::collections::{BTreeMap, BTreeSet};

use drawn::{a_topology, aim, commands};
use proptest::prelude::*;
use tampering::{Tampering, a_tampering, tamper, walk};
use twinset_control::audit::TAIL_RECORDS_MAX;
use twinset_control::chain::Walk;
use twinset_control::drill;
use twinset_control::plan::{self, State, StepState};
use twinset_control::{
    Catalogue, Command, Durability, Effect, Envelope, Policy, Proof, Replacement, Replica, Role, SLOTS, Set,
    SwitchEnd, apply, apply_entry,
};

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
