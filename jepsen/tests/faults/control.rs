//! The control set loses its majority: a site dies at the same instant as the arbiter, and one copy of three is left. On an operator's
//! word it goes on alone, then the sets do; what was acknowledged is there. What the dead still have on their disks harms nothing
//! when they come back: two old copies of the control set would be a majority of the old ones.

use std::time::Duration;

use clap::Parser;
use serde_json::Value;
use twinset_control::{CONTROL_SET, Catalogue, Durability, Role};
use twinset_jepsen::logs::{self, Allowed};
use twinset_jepsen::wait;
use twinset_proto::cluster::v1::ListTailsRequest;
use twinset_tools::cli::Cli;
use twinset_tools::cluster::admin::{self, Survey};
use twinset_tools::cluster::layout::Kind;
use twinset_tools::cluster::process::Signal;
use twinset_tools::cmd::recover_control;
use twinset_tools::{cmd, recover};

use crate::probe::Probe;
use crate::support::Stage;

/// Long enough for an answer that can be given, short enough to wait for one that cannot.
const SHORT: Duration = Duration::from_millis(1_500);

/// What nodes may say beside what they say of lost sites.
const RECOVERED: &[Allowed] = &[
    Allowed { part: "the control set is being recovered", why: "an operator has asked for it" },
    Allowed { part: "no vote for the control set's learner yet", why: "it was electing" },
    Allowed { part: "the control set's voters are not changed yet", why: "a copy gets its vote" },
    Allowed { part: "this replica belongs to its set no more", why: "the arbiter is back and takes a place" },
    Allowed { part: "learner not added yet", why: "the lead has just gone over" },
    Allowed { part: "the replica has not left the group yet", why: "the lead has just gone over" },
    Allowed { part: "the end of the replacement is not recorded yet", why: "the control set was electing" },
];

fn seeds(stage: &Stage) -> Vec<String> {
    ["b1", "b2"].map(|name| stage.cluster.layout().process(name).unwrap().api.clone()).into()
}

/// Runs a command as an operator does, by way of the nodes that are left.
async fn twinset(stage: &Stage, line: &str) -> anyhow::Result<()> {
    let nodes = seeds(stage).join(",");
    let words = ["twinset", "--nodes", &nodes].into_iter().chain(line.split(' '));
    println!("twinset {line}");
    cmd::run(Cli::try_parse_from(words)?).await
}

/// Waits until the newest catalogue that anybody has is as wanted, and gives it.
async fn recorded(stage: &Stage, wanted: impl Fn(&Catalogue) -> bool) -> Catalogue {
    let holds = |survey: &Survey| {
        let catalogue = survey.catalogue().map_err(|error| error.to_string())?;
        if wanted(catalogue) { Ok(()) } else { Err(format!("{:?}", catalogue.control)) }
    };
    wait::until(&seeds(stage), wait::HEAL, holds).await.unwrap().catalogue.unwrap()
}

fn voters(catalogue: &Catalogue) -> Vec<&str> {
    let replicas = catalogue.control.replicas.iter().filter(|replica| replica.role == Role::Voter);
    replicas.map(|replica| replica.node.as_str()).collect()
}

#[tokio::test]
async fn a_control_set_without_its_majority_goes_on_and_what_comes_back_harms_nothing() {
    let mut stage = Stage::start().await;
    let traffic = stage.journal(50).await;
    let mut probes = [Probe::open(&stage, 1, &traffic).await, Probe::open(&stage, 2, &traffic).await];
    let mut balances = Vec::new();
    for probe in &mut probes {
        probe.must_pay(&stage, "rb", "before", 100).await;
        balances.push(probe.balance(&stage, "rb").await);
    }
    let before = stage.whole().await.catalogue.unwrap();
    assert!(recover_control::look(&seeds(&stage)).await.is_err(), "it has a leader");

    // At one instant: nobody may note anything of the others' death.
    let dies = |process: &&twinset_tools::cluster::layout::Process| {
        process.site == "A" || process.kind == Kind::Arbiter
    };
    let victims: Vec<_> = stage.cluster.layout().processes.iter().filter(dies).cloned().collect();
    for victim in &victims {
        victim.pid.unwrap().signal(Signal::Kill);
    }
    for victim in &victims {
        stage.ended(&victim.name).await;
    }
    for probe in &mut probes {
        probe.cannot_pay(&stage, "rb", "meanwhile", 250, SHORT).await;
    }
    twinset(&stage, "recover control plan").await.unwrap();
    let (_, plan) = recover_control::look(&seeds(&stage)).await.unwrap();
    let apply = |plan: &str, off: &str| {
        format!("recover control apply --plan {plan} --other-site-is-off {off} --yes --why fire")
    };
    for (plan, off) in [(&*plan.id, "A"), (&*plan.id, "B,C"), ("0123456789abcdef", "A,C")] {
        twinset(&stage, &apply(plan, off)).await.unwrap_err();
    }
    twinset(&stage, &apply(&plan.id, "A,C")).await.unwrap();
    let after = recorded(&stage, |known| known.control.incarnation == 2).await;
    assert!(after.version > before.version + (1 << 32), "none that the lost ones could have made is newer");
    assert!(after.sets.values().all(|set| set.is_unproven() && set.recovery.is_none()), "{:?}", after.sets);
    twinset(&stage, &apply(&plan.id, "A,C")).await.unwrap_err();

    // The other node of the site gets a copy and a vote. No set does anything by itself: nobody knows what the lost ones recorded.
    recorded(&stage, |known| voters(known) == ["b1", "b2"]).await;
    for probe in &mut probes {
        probe.cannot_pay(&stage, "rb", "unproven", 1, SHORT).await;
    }
    let copies = recorded(&stage, |_| true).await.control.replicas;
    assert_eq!(copies.len(), 2, "none on a node that is dead: {copies:?}");
    let survey = admin::survey(&seeds(&stage)).await;
    let plan = recover::plan(&survey, "B").unwrap();
    assert_eq!(plan.sets.len(), 2, "the one whose majority is here as well: {plan:?}");
    assert!(plan.sets.iter().all(|set| set.may_lose), "{plan:?}");
    let apply = format!("recover apply --site B --plan {} --other-site-is-off A --yes --why fire", plan.id);
    twinset(&stage, &apply).await.unwrap();
    for (probe, balance) in probes.iter_mut().zip(&mut balances) {
        probe.must_pay(&stage, "rb", "meanwhile", 250).await;
        probe.must_pay(&stage, "rb", "unproven", 1).await;
        *balance += 251;
        assert_eq!(probe.balance(&stage, "rb").await, *balance, "all that was acknowledged is there, once");
    }
    let alone = recorded(&stage, |_| true).await;
    for set in alone.sets.values() {
        assert!(
            set.incarnation > 100 && !set.is_unproven(),
            "none that the lost ones could have given: {set:?}"
        );
    }
    twinset(&stage, "recover control verify").await.unwrap();

    for victim in &victims {
        stage.cluster.start_process(&victim.name).unwrap();
    }
    comes_back(&stage, &mut probes, &before).await;
    for (probe, balance) in probes.iter_mut().zip(&balances) {
        assert_eq!(probe.balance(&stage, "ra").await, balance + 1);
    }
    let mut stopped = traffic.stop().await.unwrap();
    for probe in probes {
        probe.leave(&mut stopped);
    }
    stage.account_for(stopped).await;
    stage.end(&[logs::AFTER_KILLS, logs::AFTER_LOST_SITES, RECOVERED].concat()).await;
}

/// The sets of which a node has told what its old copies hold beyond what goes on.
async fn told(stage: &Stage, node: &str) -> Vec<u64> {
    let address = &stage.cluster.layout().process(node).unwrap().api;
    let tails = admin::client(address).unwrap().list_tails(ListTailsRequest {}).await.unwrap();
    let tails: Vec<Value> = serde_json::from_slice(&tails.into_inner().reports_json).unwrap();
    let mut told: Vec<u64> = tails.iter().map(|tail| tail["set"].as_u64().unwrap()).collect();
    told.sort_unstable();
    told
}

/// The dead are back, with all that they had. They are told of the recovery, and get new copies once somebody has seen the old ones.
async fn comes_back(stage: &Stage, probes: &mut [Probe; 2], before: &Catalogue) {
    let old_copy = |survey: &Survey| {
        let old = survey
            .replies()
            .find(|reply| reply.replicas.iter().any(|copy| copy.set == CONTROL_SET && copy.incarnation == 1));
        match old {
            _ if survey.replies().count() < 5 => Err("not all answer yet".to_owned()),
            Some(reply) => Err(format!("{} has an old copy", reply.node)),
            None => Ok(()),
        }
    };
    wait::until(&stage.cluster.layout().node_addrs(), wait::HEAL, old_copy).await.unwrap();
    for probe in probes {
        probe.must_pay(stage, "ra", "back", 1).await;
    }
    twinset(stage, "recover report").await.unwrap();
    for (node, sets) in [("a1", &[0, 1, 2][..]), ("a2", &[1, 2]), ("c1", &[0])] {
        let deadline = tokio::time::Instant::now() + wait::HEAL;
        while told(stage, node).await != sets {
            assert!(tokio::time::Instant::now() < deadline, "{node}: {:?}", told(stage, node).await);
        }
    }
    let known = recorded(stage, |_| true).await;
    for set in std::iter::once(CONTROL_SET).chain(known.sets.keys().copied()) {
        for lost in known.lost(set) {
            assert!(lost.kept, "set {set}: {lost:?}");
            let release = format!("recover release --set {set} --replica {} --yes --why seen", lost.id);
            twinset(stage, &release).await.unwrap();
        }
    }
    for set in [1, 2] {
        stage.becomes(set, Durability::Sync).await;
    }
    let spread = |known: &Catalogue| {
        let mut sites: Vec<&str> = voters(known).iter().filter_map(|node| known.site_of_node(node)).collect();
        sites.sort_unstable();
        sites == ["A", "B", "C"] && known.control.replacement.is_none()
    };
    let back = recorded(stage, spread).await;
    for set in std::iter::once(CONTROL_SET).chain(back.sets.keys().copied()) {
        let is_lost = |id: u64| back.lost(set).iter().any(|lost| lost.id == id);
        let (old, new) = (before.replicas(set), back.replicas(set));
        let again = new.iter().filter(|replica| is_lost(replica.id)).count();
        assert_eq!(again, 0, "an id is never used again: {new:?}");
        assert!(old.iter().any(|replica| is_lost(replica.id)), "{old:?}");
    }
    stage.whole().await;
    twinset(stage, "recover control verify").await.unwrap();
}
