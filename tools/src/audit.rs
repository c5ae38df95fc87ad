//! The audit log, read from the voters of the control set: pages of it, and whether all of it is what was once
//! written. The rules of the chain are `twinset_control::chain`'s; this reads, compares and says which record breaks
//! it.

use std::collections::BTreeMap;

use futures::future::join_all;
use serde::Serialize;
use twinset_control::Catalogue;
use twinset_control::chain::{Hash, Head, Link, Walk};
use twinset_proto::cluster::v1::{AuditRecord, ListAuditReply, ListAuditRequest};

use crate::cluster::admin::{self, Answer};

/// Records of a page at most.
pub const PAGE_MAX: u32 = 1_000;

/// How far the log of one voter goes.
#[derive(Clone, Debug, Serialize)]
pub struct Voter {
    /// Its node.
    pub node: String,
    /// Where it is asked.
    #[serde(skip)]
    pub addr: String,
    /// The number of the first record that is chained.
    pub first: u64,
    /// `NUMBER:HASH` of the newest record; none if the voter said nothing.
    #[serde(serialize_with = "as_text")]
    pub head: Option<Head>,
    /// Why it said nothing.
    pub silent: Option<String>,
}

/// What was found.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Nothing is wrong with what was read.
    pub clean: bool,
    /// The node whose log was read as a whole.
    pub read_from: String,
    /// Its records.
    pub records: u64,
    /// `NUMBER:HASH` of its newest record, to be written down elsewhere.
    #[serde(serialize_with = "as_text")]
    pub head: Option<Head>,
    /// Every voter.
    pub voters: Vec<Voter>,
    /// What is wrong, a sentence each.
    pub findings: Vec<String>,
}

fn as_text<S: serde::Serializer>(head: &Option<Head>, serializer: S) -> Result<S::Ok, S::Error> {
    head.map(|head| head.to_string()).serialize(serializer)
}

/// A page of the log as the node at `addr` has it.
pub async fn page(addr: &str, from: u64, backwards: bool, limit: u32) -> Answer<ListAuditReply> {
    let mut client = admin::client(addr).map_err(|error| error.to_string())?;
    let asked = client.list_audit(ListAuditRequest { from, backwards, limit });
    match tokio::time::timeout(admin::ASK, asked).await {
        Ok(Ok(reply)) => Ok(reply.into_inner()),
        Ok(Err(status)) => Err(admin::explain(&status)),
        Err(_) => Err(format!("no answer within {:?}", admin::ASK)),
    }
}

/// How far each voter's log goes.
pub async fn voters(catalogue: &Catalogue) -> Vec<Voter> {
    let asked = catalogue.control.replicas.iter().map(async |replica| {
        let (node, addr) = (replica.node.clone(), address(catalogue, &replica.node));
        let (first, head, silent) = match page(&addr, 0, true, 0).await.and_then(|reply| of(catalogue, reply))
        {
            Ok((first, head)) => (first, Some(head), None),
            Err(why) => (0, None, Some(why)),
        };
        Voter { node, addr, first, head, silent }
    });
    join_all(asked).await
}

fn address(catalogue: &Catalogue, node: &str) -> String {
    catalogue.nodes.get(node).map_or_else(String::new, |node| node.api_addr.clone())
}

fn of(catalogue: &Catalogue, reply: ListAuditReply) -> Answer<(u64, Head)> {
    if reply.cluster_id != catalogue.cluster_id {
        return Err(format!("it has the log of cluster {}", reply.cluster_id));
    }
    let hash = Hash::from_bytes(&reply.head_hash).ok_or("its newest hash is none")?;
    Ok((reply.first, Head { number: reply.head_number, hash }))
}

/// The voter whose log goes furthest, of those that answer.
pub fn furthest(voters: &[Voter]) -> Option<&Voter> {
    voters.iter().rev().filter(|voter| voter.head.is_some()).max_by_key(|voter| voter.head.map(|h| h.number))
}

/// Reads a log as a whole, checks every record of it, and compares its head with what every voter says, and with one
/// that was written down elsewhere. None if no voter answers.
pub async fn verify(catalogue: &Catalogue, known: Option<Head>) -> Option<Report> {
    let voters = voters(catalogue).await;
    let source = furthest(&voters)?;
    let head = source.head?;
    let mut report = Report {
        clean: true,
        read_from: source.node.clone(),
        records: 0,
        head: Some(head),
        voters: voters.clone(),
        findings: Vec::new(),
    };
    let chain = Chain::read(catalogue, source, head).await;
    report.records = chain.hashes.len() as u64;
    report.findings.extend(chain.broken.iter().map(|broken| format!("{}: {broken}", source.node)));
    for voter in voters.iter().filter(|voter| voter.node != source.node) {
        let Some(told) = voter.head else { continue };
        // Where the chain is broken there is nothing to compare with.
        if chain.hash(told.number).is_some_and(|hash| hash != told.hash) {
            let other = Chain::read(catalogue, voter, told).await;
            let differs = chain.hashes.iter().find(|(number, hash)| other.hash(**number) != Some(**hash));
            let which = match differs {
                Some((number, _)) => format!("record {number} is not the same on both"),
                None => format!("its newest hash is not that of its record {}", told.number),
            };
            report.findings.push(format!("{} and {}: {which}", source.node, voter.node));
        }
    }
    if let Some(known) = known {
        match chain.hash(known.number) {
            Some(hash) if hash == known.hash => {}
            Some(_) => report.findings.push(format!(
                "the log up to record {} is not the one whose hash was written down",
                known.number
            )),
            None if known.number > head.number => report.findings.push(format!(
                "the log ends with record {}: record {}, whose hash was written down, is gone",
                head.number, known.number
            )),
            // That it was not read is a finding already, or it is older than the chain.
            None => report.findings.push(format!("record {} was not read", known.number)),
        }
    }
    report.clean = report.findings.is_empty();
    Some(report)
}

/// The hashes of a log, as far as it holds.
struct Chain {
    before: Head,
    hashes: BTreeMap<u64, Hash>,
    broken: Option<String>,
}

impl Chain {
    /// Up to the head that the voter has told: its log may grow meanwhile.
    async fn read(catalogue: &Catalogue, voter: &Voter, head: Head) -> Chain {
        let mut walk = Walk::new(&catalogue.cluster_id, voter.first);
        let mut chain = Chain { before: walk.head(), hashes: BTreeMap::new(), broken: None };
        while walk.head().number < head.number && chain.broken.is_none() {
            let next = walk.head().number + 1;
            let records = match page(&voter.addr, next, false, PAGE_MAX).await {
                Ok(page) => page.records,
                Err(why) => {
                    chain.broken = Some(format!("record {next} was not read: {why}"));
                    break;
                }
            };
            if records.is_empty() {
                chain.broken =
                    Some(format!("record {next} is missing: nothing stands behind the one before it"));
            }
            for AuditRecord { number, record_json, hash } in records {
                let Some(hash) = Hash::from_bytes(&hash) else {
                    chain.broken = Some(format!("record {number} has no hash"));
                    break;
                };
                if let Err(broken) = walk.step(&Link { number, record: record_json.into(), hash }) {
                    chain.broken = Some(broken.to_string());
                    break;
                }
                chain.hashes.insert(number, hash);
            }
        }
        let ends = chain.hash(head.number);
        if chain.broken.is_none() && ends != Some(head.hash) {
            chain.broken =
                Some(format!("record {} is not the one that its catalogue has the hash of", head.number));
        }
        chain
    }

    /// The hash of a record; of the number before the first one, what that follows.
    fn hash(&self, number: u64) -> Option<Hash> {
        if number == self.before.number { Some(self.before.hash) } else { self.hashes.get(&number).copied() }
    }
}
