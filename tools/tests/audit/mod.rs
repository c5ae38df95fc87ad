//! `twinset audit` and `twinset audit verify` against voters whose logs are what they should be, and against others.

use std::process::Output;
use std::time::Duration;

use serde_json::Value;
use twinset_control::chain::{Hash, Head, Link};
use twinset_control::{Command, Envelope, Policy, Proof, apply_entry};
use twinset_proto::cluster::v1::{AuditRecord, ListAuditReply};
use twinset_tools::cluster::bootstrap;

use crate::fakes::node::{FakeNode, five};
use crate::{beside, stderr};

/// Records of the log, in several pages.
const RECORDS: u64 = 8;

fn reply(cluster_id: &str, links: Vec<Link>, head: Head) -> ListAuditReply {
    let record = |Link { number, record, hash }| AuditRecord {
        number,
        record_json: record.into(),
        hash: hash.as_bytes().to_vec().into(),
    };
    ListAuditReply {
        cluster_id: cluster_id.to_owned(),
        first: 1,
        head_number: head.number,
        head_hash: head.hash.as_bytes().to_vec().into(),
        records: links.into_iter().map(record).collect(),
    }
}

/// A cluster with some acts on record; the voters have them all, one of them is a record behind.
async fn cluster() -> (Vec<FakeNode>, Head) {
    let (nodes, topology) = five().await;
    let done = bootstrap::bootstrap(&topology, Duration::from_secs(10)).await.unwrap();
    let mut catalogue = done.survey.catalogue().unwrap().clone();
    let id = catalogue.cluster_id.clone();
    let mut links = Vec::new();
    let mut heads = Vec::new();
    for index in 1..=RECORDS {
        let policy = if index.is_multiple_of(2) { Policy::MaxAvailability } else { Policy::MaxProtection };
        let (set, who) = if index <= 4 { (1, "alice") } else { (2, "bob") };
        let command = Command::SetPolicy { set, policy, who: who.into(), why: format!("act {index}") };
        let time_unix_ns = (1_795_996_800 + index * 3_600) * 1_000_000_000;
        let proof = if who == "alice" { Proof::Token } else { Proof::Declared };
        let before = catalogue.audit.mark();
        apply_entry(&mut catalogue, index, Envelope::new(time_unix_ns, proof, command)).unwrap();
        links.extend(catalogue.audit.since(before, &id));
        heads.push(catalogue.audit.head(&id));
    }
    let head = catalogue.audit.head(&id);
    let voters: Vec<&str> = catalogue.control.replicas.iter().map(|replica| replica.node.as_str()).collect();
    for (voter, behind) in voters.iter().zip([0, 1, 0]) {
        let known = RECORDS as usize - behind;
        let log = reply(&id, links[..known].to_vec(), heads[known - 1]);
        let node = nodes.iter().find(|node| node.with(|script| script.name == *voter)).unwrap();
        node.with(|script| script.audit = Some(log));
    }
    (nodes, head)
}

/// The voters, in the order in which they are asked.
fn voters(nodes: &[FakeNode]) -> Vec<&FakeNode> {
    let order = nodes[0].with(|script| script.catalogue.clone().unwrap().control.replicas);
    let of = |name: &str| nodes.iter().find(|node| node.with(|script| script.name == name)).unwrap();
    order.iter().map(|replica| of(&replica.node)).collect()
}

async fn twinset(nodes: &[FakeNode], asked: &[&str]) -> Output {
    let mut arguments: Vec<String> = asked.iter().map(|text| (*text).to_owned()).collect();
    arguments.extend(["--nodes".to_owned(), nodes[0].addr.clone()]);
    beside(arguments).await
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_is_whole_is_clean_and_its_head_can_be_written_down() {
    let (nodes, head) = cluster().await;
    let output = twinset(&nodes, &["audit", "verify"]).await;
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(stdout(&output).contains(&format!("clean: 8 records, head {head}")), "{}", stdout(&output));
    let written = twinset(&nodes, &["audit", "verify", "--json"]).await;
    let report: Value = serde_json::from_slice(&written.stdout).unwrap();
    assert_eq!((report["clean"].as_bool(), report["head"].as_str()), (Some(true), Some(&*head.to_string())));
    let known = report["head"].as_str().unwrap();
    assert_eq!(twinset(&nodes, &["audit", "verify", "--head", known]).await.status.code(), Some(0));
    // A voter that is silent is told, and is no fault of the log.
    voters(&nodes)[2].with(|script| script.audit = None);
    let output = twinset(&nodes, &["audit", "verify"]).await;
    assert_eq!(output.status.code(), Some(0));
    assert!(stdout(&output).contains("no replica of the control set"), "{}", stdout(&output));
}

/// What is done to the log of one voter; of all, if it is none.
type Tampering = (&'static str, Option<usize>, fn(&mut ListAuditReply), &'static str);

/// The hashes are made anew from the changed record on, and the head as well.
fn forge(log: &mut ListAuditReply) {
    let mut hash = Hash::genesis(&log.cluster_id);
    for record in &mut log.records {
        hash = hash.next(&record.record_json);
        record.hash = hash.as_bytes().to_vec().into();
    }
    log.head_hash = hash.as_bytes().to_vec().into();
}

fn rename(log: &mut ListAuditReply) {
    let record = &mut log.records[2];
    let text = String::from_utf8(record.record_json.to_vec()).unwrap();
    record.record_json = text.replace("alice", "mallet").into();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_was_tampered_with_is_not_clean_and_the_record_is_named() {
    let tamperings: [Tampering; 8] = [
        ("a record was changed", None, rename, "record 3 does not fit"),
        ("one was dropped", None, |log| _ = log.records.remove(4), "record 5 is missing"),
        ("two were swapped", None, |log| log.records.swap(3, 4), "record 4 is missing"),
        ("the newest is gone", None, |log| _ = log.records.pop(), "is missing: nothing stands behind"),
        ("a hash was changed", None, |log| log.records[6].hash = vec![7; 32].into(), "record 7 does not fit"),
        (
            "the catalogue has another hash",
            None,
            |log| log.head_hash = vec![7; 32].into(),
            "is not the one that its catalogue has the hash of",
        ),
        (
            "one voter was forged",
            Some(2),
            |log| {
                rename(log);
                forge(log);
            },
            "record 3 is not the same on both",
        ),
        (
            "the one that is read was forged",
            Some(0),
            |log| {
                rename(log);
                forge(log);
            },
            "record 3 is not the same on both",
        ),
    ];
    for (what, which, tamper, finding) in tamperings {
        let (nodes, _) = cluster().await;
        for (number, voter) in voters(&nodes).into_iter().enumerate() {
            if which.is_none_or(|which| which == number) {
                voter.with(|script| tamper(script.audit.as_mut().unwrap()));
            }
        }
        let output = twinset(&nodes, &["audit", "verify"]).await;
        assert_eq!(output.status.code(), Some(1), "{what}: {}", stdout(&output));
        let said = stdout(&output);
        assert!(said.contains(finding) && said.contains("NOT CLEAN"), "{what}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_was_written_down_finds_a_log_that_all_voters_agree_to_forge() {
    let (nodes, head) = cluster().await;
    for voter in voters(&nodes) {
        voter.with(|script| {
            let log = script.audit.as_mut().unwrap();
            rename(log);
            forge(log);
        });
    }
    assert_eq!(
        twinset(&nodes, &["audit", "verify"]).await.status.code(),
        Some(0),
        "the chain itself is whole"
    );
    let output = twinset(&nodes, &["audit", "verify", "--head", &head.to_string()]).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(stdout(&output).contains("the log up to record 8 is not the one"), "{}", stdout(&output));
    let later = Head { number: 9, ..head };
    let output = twinset(&nodes, &["audit", "verify", "--head", &later.to_string()]).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stdout(&output).contains("record 9, whose hash was written down, is gone"),
        "{}",
        stdout(&output)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn records_are_shown_newest_first_and_can_be_chosen() {
    let (nodes, _) = cluster().await;
    let text = stdout(&twinset(&nodes, &["audit", "--limit", "2"]).await);
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with("NO") && lines[1].starts_with('8') && lines.len() == 3, "{text}");
    assert!(lines[1].contains("2026-11-30T08:00:00Z") && lines[1].contains("bob"), "{text}");
    let numbers = async |asked: &[&str]| {
        let output = twinset(&nodes, &[&["audit", "--json"], asked].concat()).await;
        let shown: Value = serde_json::from_slice(&output.stdout).unwrap();
        let records = shown["records"].as_array().unwrap().clone();
        records.iter().map(|record| record["no"].as_u64().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(numbers(&[]).await, [8, 7, 6, 5, 4, 3, 2, 1]);
    assert_eq!(numbers(&["--who", "alice", "--limit", "3"]).await, [4, 3, 2]);
    assert_eq!(numbers(&["--set", "2"]).await, [8, 7, 6, 5]);
    assert_eq!(numbers(&["--since", "2026-11-30T06:00:00Z"]).await, [8, 7, 6]);
    assert_eq!(numbers(&["--who", "nobody"]).await, [] as [u64; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operators_token_is_shown_with_acts_and_with_nothing_else() {
    let (nodes, _) = cluster().await;
    nodes.iter().for_each(|node| node.with(|script| script.required = true));
    let act = ["durability", "--set", "1", "--policy", "max-protection", "--yes"];
    let output = twinset(&nodes, &act).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("a token is required"), "{}", stderr(&output));
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("token");
    std::fs::write(&file, "0123456789abcdef\n").unwrap();
    let named = ["--operator-token-file", file.to_str().unwrap()];
    let output = twinset(&nodes, &[&act[..], &named].concat()).await;
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let tokens =
        || nodes.iter().flat_map(|node| node.with(|script| script.tokens.clone())).collect::<Vec<_>>();
    let shown = tokens();
    assert!(!shown.is_empty() && shown.iter().all(|token| token == "0123456789abcdef"), "{shown:?}");
    twinset(&nodes, &[&["audit", "verify"][..], &named].concat()).await;
    assert_eq!(tokens(), shown, "who only reads shows none");
}
