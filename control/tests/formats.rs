//! The stored and sent forms: golden bytes, and what is refused on reading. A golden text changes only with a new format
//! number or rules version.

mod common;

use twinset_control::audit::Audit;
use twinset_control::chain::{Hash, Head, Link};
use twinset_control::document::{Error, Inconsistent};
use twinset_control::drill;
use twinset_control::groups::Side;
use twinset_control::plan;
use twinset_control::{Catalogue, Command, Durability, Envelope, Group, Proof, Rejection, Role};
use twinset_control::{apply, decode_answer, encode_answer, envelope};

fn catalogue() -> Catalogue {
    common::topology(2, 2, 2, true).place("cluster-1").expect("the topology is valid")
}

fn begin() -> Command {
    Command::BeginSwitch {
        set: 1,
        to: "B".into(),
        owner: "a1".into(),
        who: "ops".into(),
        why: "drill".into(),
        expected_epoch: 1,
        plan: None,
    }
}

fn group(parts: &[&str]) -> Group {
    let parts = parts.iter().map(|part| part.to_string()).collect();
    Group { id: "g".into(), currency: "EUR".into(), normal_side: Side::Credit, parts }
}

#[test]
fn golden_catalogue() {
    let mut catalogue = catalogue();
    apply(&mut catalogue, 10, 11, begin()).unwrap();
    apply(&mut catalogue, 12, 13, Command::AbortSwitch { set: 1, id: 10, reason: "late".into() }).unwrap();
    apply(&mut catalogue, 14, 15, begin()).unwrap();
    let degrade = Command::RecordDurability {
        set: 2,
        durability: Durability::Degraded,
        last_safe_index: 9,
        expected_durability_epoch: 1,
        pinned: false,
        who: "ops".into(),
        why: "drill".into(),
    };
    apply(&mut catalogue, 16, 17, degrade).unwrap();
    let create = Command::CreateGroup { group: group(&["g.1", "g.2"]), who: "ops".into(), why: "hot".into() };
    apply(&mut catalogue, 18, 19, create).unwrap();
    let golden = include_str!("golden/catalogue.json");
    assert_eq!(String::from_utf8(catalogue.to_json()).unwrap(), golden.trim_end());
    assert_eq!(Catalogue::from_json(golden.as_bytes()).unwrap(), catalogue);
    let rules_1 = Catalogue::from_json(include_bytes!("golden/catalogue_rules_1.json")).unwrap();
    let audit = Audit { chain: None, ..catalogue.audit.clone() };
    assert_eq!(rules_1, Catalogue { audit, ..catalogue }, "the same without a chain");
}

/// What a recovery of the control set leaves in the catalogue, by itself: all else is as it was.
#[test]
fn golden_control_recovery() {
    let mut catalogue = catalogue();
    let command = Command::RecoverControl {
        plan: "p".into(),
        incarnation: 2,
        survivors: [(2, "b1".to_string())].into(),
        from: 2,
        end: twinset_control::LogEnd { term: 4, index: 50 },
        who: "ops".into(),
        why: "burnt".into(),
    };
    apply(&mut catalogue, 52, 11, command).unwrap();
    let text = String::from_utf8(catalogue.to_json()).unwrap();
    for part in [
        concat!(
            r#""control":{"incarnation":2,"replicas":[{"id":2,"node":"b1","role":"voter"}],"lives":[50],"#,
            r#""recovered":{"plan":"p","from":2,"end":{"term":4,"index":50},"term":1048580,"at_unix_ns":11,"lost":["#,
            r#"{"id":1,"node":"a1","kept":true},{"id":3,"node":"c1","kept":true}]},"#,
            r#""ids_from":4294967296,"set_incarnations_from":101}"#
        ),
        r#""version":4294967298,"#,
        r#""unproven_since_unix_ns":11,"#,
    ] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
    assert_eq!(Catalogue::from_json(text.as_bytes()).unwrap(), catalogue);
}

/// Of the sets at home in A, in a cluster of two.
fn evacuate() -> plan::Command {
    plan::Command::Begin {
        request_id: "r1".into(),
        kind: plan::Kind::Evacuate { site: "A".into(), emergency: false },
        pace: plan::Pace {
            stages: vec![50, 100],
            soak_ms: 5000,
            concurrency: 2,
            failures_max: 1,
            roll_back: true,
        },
        order: vec![plan::Planned { set: 1, epoch: 1, leader: "a1".into() }],
        who: "ops".into(),
        why: "drill".into(),
    }
}

#[test]
fn golden_plans() {
    let mut catalogue = catalogue();
    let mut tell = |index, command| apply(&mut catalogue, index, index + 1, Command::Plan(command)).unwrap();
    tell(10, evacuate());
    let (who, why) = (String::from("ops"), String::from("rain"));
    tell(12, plan::Command::Stop { who: who.clone(), why: why.clone() });
    tell(14, plan::Command::End { plan: 10, state: plan::State::Stopped, reason: None });
    tell(16, plan::Command::Resume { plan: 10, who, why });
    let state = plan::StepState::Done;
    let outcomes = vec![plan::StepOutcome { set: 1, state, pause_us: Some(7) }];
    tell(18, plan::Command::Record { plan: 10, outcomes });
    tell(20, plan::Command::RollBack { plan: 10, reason: "late".into() });
    catalogue.sites.get_mut("B").unwrap().isolated = true;
    let golden = include_str!("golden/plans.json");
    assert_eq!(String::from_utf8(catalogue.to_json()).unwrap(), golden.trim_end());
    assert_eq!(Catalogue::from_json(golden.as_bytes()).unwrap(), catalogue);
}

#[test]
fn golden_entries() {
    let golden = [
        (
            begin(),
            r#"{"begin_switch":{"set":1,"to":"B","owner":"a1","who":"ops","why":"drill","expected_epoch":1}}"#,
        ),
        (Command::CompleteSwitch { set: 1, id: 7 }, r#"{"complete_switch":{"set":1,"id":7}}"#),
        (
            Command::AbortSwitch { set: 1, id: 7, reason: "late".into() },
            r#"{"abort_switch":{"set":1,"id":7,"reason":"late"}}"#,
        ),
        (
            Command::RecordDurability {
                set: 1,
                durability: Durability::Degraded,
                last_safe_index: 41,
                expected_durability_epoch: 3,
                pinned: false,
                who: "ops".into(),
                why: "drill".into(),
            },
            r#"{"record_durability":{"set":1,"durability":"DEGRADED","last_safe_index":41,"expected_durability_epoch":3,"who":"ops","why":"drill"}}"#,
        ),
        (
            Command::UpsertNodeAddress {
                node: "a1".into(),
                site: "A".into(),
                api_addr: "h:1".into(),
                peer_addr: "h:2".into(),
                http_addr: "h:3".into(),
                who: "ops".into(),
                why: "moved".into(),
            },
            concat!(
                r#"{"upsert_node_address":{"node":"a1","site":"A","api_addr":"h:1","peer_addr":"h:2","#,
                r#""http_addr":"h:3","who":"ops","why":"moved"}}"#
            ),
        ),
        (
            Command::RecoverControl {
                plan: "p".into(),
                incarnation: 2,
                survivors: [(3, "b1".to_string())].into(),
                from: 3,
                end: twinset_control::LogEnd { term: 4, index: 50 },
                who: "ops".into(),
                why: "burnt".into(),
            },
            concat!(
                r#"{"recover_control":{"plan":"p","incarnation":2,"survivors":{"3":"b1"},"from":3,"#,
                r#""end":{"term":4,"index":50},"who":"ops","why":"burnt"}}"#
            ),
        ),
        (
            Command::BeginReplacement {
                set: 0,
                replica: 4,
                node: "a3".into(),
                who: "ops".into(),
                why: "burnt".into(),
            },
            r#"{"begin_replacement":{"set":0,"replica":4,"node":"a3","who":"ops","why":"burnt"}}"#,
        ),
        (
            Command::GiveUpReplacement { set: 1, id: 7, who: "ops".into(), why: "burnt".into() },
            r#"{"give_up_replacement":{"set":1,"id":7,"who":"ops","why":"burnt"}}"#,
        ),
        (
            Command::EndReplacement { set: 1, id: 7, replaced: true },
            r#"{"end_replacement":{"set":1,"id":7,"replaced":true}}"#,
        ),
        (
            Command::RemoveNode { node: "a1".into(), who: "ops".into(), why: "burnt".into() },
            r#"{"remove_node":{"node":"a1","who":"ops","why":"burnt"}}"#,
        ),
        (
            Command::RecordFault {
                node: "a1".into(),
                id: 7,
                fault: "pause".into(),
                deadline_ms: 3000,
                ended: false,
                who: "ops".into(),
                why: "drill".into(),
            },
            concat!(
                r#"{"record_fault":{"node":"a1","id":7,"fault":"pause","deadline_ms":3000,"#,
                r#""who":"ops","why":"drill"}}"#
            ),
        ),
        (
            Command::CreateGroup { group: group(&["g.1", "g.2"]), who: "ops".into(), why: "hot".into() },
            concat!(
                r#"{"create_group":{"group":{"id":"g","currency":"EUR","normal_side":"credit","#,
                r#""parts":["g.1","g.2"]},"who":"ops","why":"hot"}}"#
            ),
        ),
    ];
    let golden = golden.into_iter().chain(golden_plan_entries()).chain(golden_drill_entries());
    for (command, json) in golden {
        let proofs = [
            (Proof::Declared, ""),
            (Proof::Token, r#""proof":"token","#),
            (Proof::Node("a1".into()), r#""proof":{"node":"a1"},"#),
        ];
        for (proof, proven) in proofs {
            let envelope = Envelope::new(u64::MAX, proof, command.clone());
            let bytes =
                format!(r#"{{"rules":2,"time_unix_ns":18446744073709551615,{proven}"command":{json}}}"#);
            assert_eq!(String::from_utf8(envelope.encode()).unwrap(), bytes);
            assert_eq!(Envelope::decode(bytes.as_bytes()).unwrap(), envelope);
        }
        let bytes = format!(r#"{{"rules":1,"time_unix_ns":18446744073709551615,"command":{json}}}"#);
        let earlier = Envelope { rules: 1, ..Envelope::new(u64::MAX, Proof::Declared, command) };
        assert_eq!(Envelope::decode(bytes.as_bytes()).unwrap(), earlier);
    }
}

fn golden_drill_entries() -> Vec<(Command, &'static str)> {
    let (who, why) = (String::from("ops"), String::from("weekly"));
    let (request_id, scenario) = (String::from("r"), String::from("leader-killed"));
    let commands = [
        (
            drill::Command::Begin {
                request_id,
                scenario,
                set: 1,
                lease_ms: 30_000,
                who: who.clone(),
                why: why.clone(),
            },
            concat!(
                r#"{"drill":{"begin":{"request_id":"r","scenario":"leader-killed","set":1,"lease_ms":30000,"#,
                r#""who":"ops","why":"weekly"}}}"#
            ),
        ),
        (
            drill::Command::Extend { drill: 7, lease_ms: 30_000, who: who.clone() },
            r#"{"drill":{"extend":{"drill":7,"lease_ms":30000,"who":"ops"}}}"#,
        ),
        (
            drill::Command::Stop { who: who.clone(), why },
            r#"{"drill":{"stop":{"who":"ops","why":"weekly"}}}"#,
        ),
        (
            drill::Command::End { drill: 7, verdict: drill::Verdict::Passed, who },
            r#"{"drill":{"end":{"drill":7,"verdict":"passed","who":"ops"}}}"#,
        ),
    ];
    commands.map(|(command, json)| (Command::Drill(command), json)).into()
}

fn golden_plan_entries() -> Vec<(Command, &'static str)> {
    let (who, why) = (String::from("ops"), String::from("rain"));
    let failed = plan::StepState::Failed { reason: "late".into() };
    let outcomes = vec![plan::StepOutcome { set: 1, state: failed, pause_us: None }];
    let commands = [
        (
            evacuate(),
            concat!(
                r#"{"plan":{"begin":{"request_id":"r1","kind":{"evacuate":{"site":"A","emergency":false}},"#,
                r#""pace":{"stages":[50,100],"soak_ms":5000,"concurrency":2,"failures_max":1,"roll_back":true},"#,
                r#""order":[{"set":1,"epoch":1,"leader":"a1"}],"who":"ops","why":"drill"}}}"#
            ),
        ),
        (
            plan::Command::Record { plan: 7, outcomes },
            r#"{"plan":{"record":{"plan":7,"outcomes":[{"set":1,"state":{"failed":{"reason":"late"}},"pause_us":null}]}}}"#,
        ),
        (plan::Command::Advance { plan: 7, stage: 1 }, r#"{"plan":{"advance":{"plan":7,"stage":1}}}"#),
        (
            plan::Command::RollBack { plan: 7, reason: "late".into() },
            r#"{"plan":{"roll_back":{"plan":7,"reason":"late"}}}"#,
        ),
        (
            plan::Command::End { plan: 7, state: plan::State::RolledBack, reason: None },
            r#"{"plan":{"end":{"plan":7,"state":"rolled_back","reason":null}}}"#,
        ),
        (
            plan::Command::Stop { who: who.clone(), why: why.clone() },
            r#"{"plan":{"stop":{"who":"ops","why":"rain"}}}"#,
        ),
        (
            plan::Command::Resume { plan: 7, who, why },
            r#"{"plan":{"resume":{"plan":7,"who":"ops","why":"rain"}}}"#,
        ),
    ];
    commands.map(|(command, json)| (Command::Plan(command), json)).into()
}

#[test]
fn golden_answers() {
    let mut catalogue = catalogue();
    let done = apply(&mut catalogue, 10, 0, begin());
    let rejected = apply(&mut catalogue, 11, 0, begin());
    for (answer, json) in [
        (done, r#"{"done":{"version":2,"changed":true,"effect":{"switch_begun":{"id":10,"keep":4}}}}"#),
        (rejected, r#"{"rejected":{"switch_in_progress":{"set":1,"id":10,"owner":"a1"}}}"#),
    ] {
        assert_eq!(String::from_utf8(encode_answer(&answer)).unwrap(), json);
        assert_eq!(decode_answer(json.as_bytes()).unwrap(), answer);
    }
    assert!(decode_answer(b"{}").is_err());
}

#[test]
fn a_rejections_code_is_its_name_on_the_wire() {
    let (site, node, address) = (String::from("X"), String::from("x"), String::from("h:1"));
    let all = [
        Rejection::UnknownSet { set: 1 },
        Rejection::UnknownSite { site: site.clone() },
        Rejection::UnknownNode { node: node.clone() },
        Rejection::Malformed { field: "who".into(), reason: "it is empty".into() },
        Rejection::SwitchInProgress { set: 1, id: 2, owner: node.clone() },
        Rejection::EpochChanged { set: 1, expected: 2, epoch: 3 },
        Rejection::DurabilityEpochChanged { set: 1, expected: 2, epoch: 3 },
        Rejection::AlreadyHome { set: 1, site: site.clone() },
        Rejection::Degraded { set: 1 },
        Rejection::NoPlacement { set: 1, site: site.clone(), home: 1, away: 3 },
        Rejection::WrongSwitch { set: 1, id: 2, current: None },
        Rejection::SwitchEnded { set: 1, id: 2, completed: true },
        Rejection::MayLoseReplaced { set: 1, replica: 4 },
        Rejection::MayLoseUnproven { set: 1, last_safe_index: 7 },
        Rejection::Unproven { set: 1 },
        Rejection::NodeGone { node: node.clone() },
        Rejection::BeingReplaced { set: 1, replica: 4, id: 7 },
        Rejection::OtherSite { set: 1, replica: 4, site: site.clone(), node: node.clone() },
        Rejection::HostsAlready { node: node.clone(), set: 1, replica: 4 },
        Rejection::NoReplacement { set: 1, id: 7 },
        Rejection::NotGivenUp { set: 1, id: 7 },
        Rejection::StillHosts { node: node.clone(), set: 1, replica: 4 },
        Rejection::SiteFixed { node: node.clone(), site },
        Rejection::AddressTaken { address, node },
        Rejection::GroupExists { group: "g".into(), parts: 1, currency: "EUR".into() },
        Rejection::AccountOfGroup { account: "g.1".into(), group: "g".into() },
        Rejection::UnknownPlan { plan: 1 },
        Rejection::PlanInProgress { plan: 1, set: 1 },
        Rejection::PlanNotRunning { plan: 1, state: plan::State::Done },
        Rejection::NotInPlan { plan: 1, set: 1 },
        Rejection::PlanOutdated { set: 1 },
        Rejection::DrillInProgress { drill: 1 },
        Rejection::UnknownDrill { drill: 1 },
        Rejection::DrillEnded { drill: 1 },
        Rejection::DrillHeld { drill: 1 },
        Rejection::StillHome { set: 1, site: "A".into() },
        Rejection::SiteIsolated { site: "A".into() },
        Rejection::TooManyGroups { groups: 1, parts: 2 },
    ];
    for rejection in all {
        let json = serde_json::to_value(&rejection).unwrap();
        assert_eq!(json.as_object().unwrap().keys().collect::<Vec<_>>(), [rejection.code()]);
    }
}

#[test]
fn entries_of_other_builds_are_refused() {
    for found in [0, 3] {
        let other = format!(r#"{{"rules":{found},"anything":true}}"#);
        assert_eq!(Envelope::decode(other.as_bytes()), Err(envelope::Error::UnknownRules { found }));
    }
    let bad: [&[u8]; 6] = [
        b"",
        b"[]",
        b"{\"rules\":1}",
        br#"{"rules":1,"time_unix_ns":1,"command":{"unknown":{}}}"#,
        br#"{"rules":1,"time_unix_ns":1,"command":{"complete_switch":{"set":1,"id":1,"x":1}}}"#,
        br#"{"rules":1,"time_unix_ns":1,"command":{"complete_switch":{"set":1,"id":1}}} x"#,
    ];
    for bytes in bad {
        assert!(matches!(Envelope::decode(bytes), Err(envelope::Error::Unreadable { .. })));
    }
}

#[test]
fn catalogues_of_other_builds_and_damaged_ones_are_refused() {
    let newer = br#"{"format":2,"anything":true}"#;
    assert_eq!(Catalogue::from_json(newer), Err(Error::UnknownFormat { found: 2 }));
    let good = String::from_utf8(catalogue().to_json()).unwrap();
    let unknown_field = good.replacen("\"cluster_id\"", "\"extra\":1,\"cluster_id\"", 1);
    for bytes in ["", "[]", &good[..good.len() - 1], &format!("{good} x"), &unknown_field] {
        assert!(matches!(Catalogue::from_json(bytes.as_bytes()), Err(Error::Unreadable { .. })), "{bytes}");
    }
}

/// What is done to a good catalogue, and what reading it must say.
type Contradiction = (fn(&mut Catalogue), Inconsistent);

#[test]
fn catalogues_that_contradict_themselves_are_refused() {
    let (a1, x) = (String::from("a1"), String::from("X"));
    let table: Vec<Contradiction> = vec![
        (
            |c| c.nodes.get_mut("a1").unwrap().name = "a9".into(),
            Inconsistent::Misfiled { what: "node", key: a1.clone() },
        ),
        (
            |c| c.sites.get_mut("A").unwrap().name = "Z".into(),
            Inconsistent::Misfiled { what: "site", key: "A".into() },
        ),
        (|c| c.sets.get_mut(&1).unwrap().id = 2, Inconsistent::Misfiled { what: "set", key: "1".into() }),
        (|c| c.sites.get_mut("C").unwrap().arbiter = false, Inconsistent::DataSites { count: 3 }),
        (
            |c| c.nodes.get_mut("a1").unwrap().site = "X".into(),
            Inconsistent::Site { what: "node", name: a1.clone(), site: x },
        ),
        (
            |c| c.sets.get_mut(&2).unwrap().home = "C".into(),
            Inconsistent::Site { what: "set", name: "2".into(), site: "C".into() },
        ),
        (|c| c.sets.get_mut(&1).unwrap().slots[0].to = 2048, Inconsistent::Slot { slot: 2048, owners: 2 }),
        (|c| c.sets.get_mut(&1).unwrap().slots[0].to = 2046, Inconsistent::Slot { slot: 2047, owners: 0 }),
        (
            |c| c.sets.get_mut(&2).unwrap().slots[0].to = 4096,
            Inconsistent::Range { set: 2, from: 2048, to: 4096 },
        ),
        (|c| c.sets.get_mut(&1).unwrap().replicas[0].id = 1, Inconsistent::ReplicaId { set: 1, id: 1 }),
        (|c| c.next_replica_id = 11, Inconsistent::ReplicaId { set: 2, id: 11 }),
        (
            |c| c.sets.get_mut(&1).unwrap().replicas[1].node = "a1".into(),
            Inconsistent::ReplicaNode { set: 1, id: 5, node: a1 },
        ),
        (
            |c| c.sets.get_mut(&1).unwrap().replicas[0].node = "c1".into(),
            Inconsistent::ReplicaNode { set: 1, id: 4, node: "c1".into() },
        ),
        (
            |c| _ = c.groups.insert("h".into(), group(&["g.1"])),
            Inconsistent::Misfiled { what: "group", key: "h".into() },
        ),
        (|c| _ = c.groups.insert("g".into(), group(&[])), Inconsistent::Group { group: "g".into() }),
        (
            |c| {
                apply(c, 10, 11, Command::Plan(evacuate())).unwrap();
                c.plans.get_mut(&10).unwrap().id = 11;
            },
            Inconsistent::Misfiled { what: "plan", key: "10".into() },
        ),
        (
            |c| {
                apply(c, 10, 11, Command::Plan(evacuate())).unwrap();
                c.plans.get_mut(&10).unwrap().steps[0].set = 9;
            },
            Inconsistent::Plan { plan: 10, set: 9 },
        ),
        (
            |c| {
                let (who, why) = (String::from("ops"), String::from("weekly"));
                let (request_id, scenario) = (String::from("r"), String::from("leader-killed"));
                let begin = drill::Command::Begin { request_id, scenario, set: 1, lease_ms: 1, who, why };
                apply(c, 10, 11, Command::Drill(begin)).unwrap();
                c.drills.get_mut(&10).unwrap().id = 11;
            },
            Inconsistent::Misfiled { what: "drill", key: "10".into() },
        ),
        (
            |c| {
                let other = Group { id: "h".into(), ..group(&["h.1", "g.1"]) };
                c.groups.extend([("g".into(), group(&["g.1"])), ("h".into(), other)]);
            },
            Inconsistent::Group { group: "h".into() },
        ),
    ];
    for (spoil, expected) in table {
        let mut catalogue = catalogue();
        spoil(&mut catalogue);
        assert_eq!(Catalogue::from_json(&catalogue.to_json()), Err(Error::Inconsistent(expected)));
    }
}

#[test]
fn golden_links() {
    let mut catalogue = catalogue();
    let before = catalogue.audit.mark();
    apply(&mut catalogue, 10, 11, begin()).unwrap();
    let links = catalogue.audit.since(before, &catalogue.cluster_id);
    let record = concat!(
        r#"{"no":1,"index":10,"time_unix_ns":11,"who":"ops","why":"drill","#,
        r#""what":{"switch":{"set":1,"id":10,"from":"A","to":"B"}},"outcome":"begun"}"#
    );
    let [link] = &links[..] else { panic!("{links:?}") };
    assert_eq!(String::from_utf8(link.record.clone()).unwrap(), record);
    // printf 'twinset audit 1\0cluster-1' | sha256sum, then those bytes and the record.
    let genesis = "4f0e5eef59e44175c5426326c36ca05ec17d67f18b58ecbb2a036bab0fe7baaa";
    let hash = "f31f9124ab38bc6117d8139773710daedda2236d6828faa1af2630971900e372";
    assert_eq!(Hash::genesis("cluster-1").to_string(), genesis);
    assert_eq!(catalogue.audit.head("cluster-1").to_string(), format!("1:{hash}"));
    let bytes = link.to_bytes();
    assert_eq!(bytes[..32], *link.hash.as_bytes());
    assert_eq!(Link::from_bytes(1, &bytes).as_ref(), Some(link));
    assert_eq!(Link::from_bytes(1, &bytes[..31]), None);
    for wrong in ["", "1", "1:", "x:00", "1:GG", &format!("1:{}", &hash[1..]), &format!("-1:{hash}")] {
        assert!(wrong.parse::<Head>().is_err(), "{wrong}");
    }
}

#[test]
fn lookups() {
    let catalogue = catalogue();
    assert_eq!(catalogue.set_of_slot(2047).map(|s| s.id), Some(1));
    assert_eq!(catalogue.set_of_slot(2048).map(|s| s.id), Some(2));
    assert_eq!(catalogue.set_of_slot(4096), None);
    let table = catalogue.slot_table();
    assert!(
        (0..4096u16).all(|slot| Some(table[usize::from(slot)]) == catalogue.set_of_slot(slot).map(|s| s.id))
    );
    assert_eq!(catalogue.site_of_replica(0, 3), Some("C"));
    assert_eq!(catalogue.site_of_replica(1, 6), Some("B"));
    assert_eq!(catalogue.site_of_replica(2, 6), None);
    assert_eq!(catalogue.replica(1, 7).map(|r| r.role), Some(Role::Learner));
    assert_eq!(
        catalogue.replicas_on("a1").map(|(set, r)| (set, r.id)).collect::<Vec<_>>(),
        [(0, 1), (1, 4), (2, 10)]
    );
    assert_eq!(catalogue.replicas_on("c1").map(|(set, _)| set).collect::<Vec<_>>(), [0]);
    assert_eq!(catalogue.other_site("A"), Some("B"));
    assert_eq!(catalogue.other_site("C"), None);
    assert_eq!(
        (catalogue.incarnation(0), catalogue.incarnation(2), catalogue.incarnation(3)),
        (Some(1), Some(1), None)
    );
}
