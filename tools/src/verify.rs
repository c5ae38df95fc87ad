//! Whether the books are right: every replica of every set is asked for its figures at one index, and the answers are
//! compared. Reads only. The judging is [`judge`], pure; the asking stands below it. `cmd/verify.rs` prints.

mod clearing;

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::future::join_all;
use serde::Serialize;
use tokio::time::Instant;
use twinset_control::Catalogue;
use twinset_proto::cluster::v1::{CurrencyTotal, VerifyReply, VerifyRequest};

use crate::cluster::admin::{self, Answer, Survey};

/// One line of the report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Line {
    /// What was checked: `set 1`, `all sets`.
    pub subject: String,
    /// Whether it holds.
    pub clean: bool,
    /// The figures, or what is wrong.
    pub detail: String,
}

/// The verdict on a cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Everything was read and everything holds.
    pub clean: bool,
    /// Accounts over all sets.
    pub accounts: u64,
    /// Transactions over all sets.
    pub transactions: u64,
    /// Credits that are on their way to buffered accounts.
    pub in_transit: u64,
    /// One line per check.
    pub lines: Vec<Line>,
}

/// What the replicas of one set said, by node.
pub type Answers = BTreeMap<String, Answer<VerifyReply>>;

/// The report from the answers of all sets.
pub fn judge(sets: &BTreeMap<u32, Answers>) -> Report {
    let mut lines = Vec::new();
    let (mut accounts, mut transactions) = (0, 0);
    let mut totals = Sums::default();
    let mut replies = clearing::Replies::new();
    for (set, answers) in sets {
        let wrong = wrong_in_set(answers);
        let first = answers.values().find_map(|answer| answer.as_ref().ok());
        let detail = match first {
            Some(reply) if wrong.is_empty() => format!(
                "{} replicas agree at index {}: {} accounts, {} transactions, debits = credits in {}, hash {}",
                answers.len(),
                reply.applied_index,
                reply.accounts,
                reply.transactions,
                currencies(reply),
                reply.state_hash.get(..12).unwrap_or(&reply.state_hash),
            ),
            _ => wrong.join("; "),
        };
        lines.push(Line { subject: format!("set {set}"), clean: wrong.is_empty(), detail });
        if let Some(reply) = first {
            accounts += reply.accounts;
            transactions += reply.transactions;
            totals.add(&reply.totals);
            replies.insert(*set, reply);
        }
    }
    let off = totals.off();
    lines.push(Line {
        subject: "all sets".to_owned(),
        clean: off.is_empty(),
        detail: match off.is_empty() {
            true => format!("sum to zero in {} currencies", totals.0.len()),
            false => format!("do not sum to zero in {}", off.join(", ")),
        },
    });
    lines.push(clearing::judge(&replies));
    let clean = lines.iter().all(|line| line.clean);
    let in_transit = replies.values().map(|reply| reply.parcels).sum();
    Report { clean, accounts, transactions, in_transit, lines }
}

/// Debits and credits by currency.
#[derive(Default)]
struct Sums(BTreeMap<String, (Sum, Sum)>);

impl Sums {
    fn add(&mut self, totals: &[CurrencyTotal]) {
        for total in totals {
            let sums = self.0.entry(total.currency.clone()).or_default();
            sums.0.add(&total.debits);
            sums.1.add(&total.credits);
        }
    }

    /// The currencies whose debits and credits differ.
    fn off(&self) -> Vec<&str> {
        let differs = |sums: &&(Sum, Sum)| sums.0 != sums.1;
        self.0.iter().filter(|(_, sums)| differs(sums)).map(|(code, _)| code.as_str()).collect()
    }
}

fn currencies(reply: &VerifyReply) -> String {
    match reply.totals.len() {
        0 => "no currency yet".to_owned(),
        1..=4 => reply.totals.iter().map(|t| t.currency.as_str()).collect::<Vec<_>>().join(", "),
        many => format!("{many} currencies"),
    }
}

/// Everything that is wrong in one set, in words.
fn wrong_in_set(answers: &Answers) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut first: Option<(&str, &VerifyReply)> = None;
    for (node, answer) in answers {
        let reply = match answer {
            Ok(reply) => reply,
            Err(reason) => {
                wrong.push(format!("{node} was not read: {reason}"));
                continue;
            }
        };
        wrong.extend(reply.findings.iter().map(|finding| format!("{node}: {finding}")));
        for total in &reply.totals {
            if Sum::of(&total.debits) != Sum::of(&total.credits) {
                wrong.push(format!(
                    "{node}: {} debits {} but credits {}",
                    total.currency, total.debits, total.credits
                ));
            }
        }
        let Some((other, reference)) = first else {
            first = Some((node, reply));
            continue;
        };
        if reply.applied_index != reference.applied_index {
            wrong.push(format!(
                "{node} stands at index {}, {other} at {}: not comparable",
                reply.applied_index, reference.applied_index
            ));
            continue;
        }
        for (what, ours, theirs) in [
            ("running hash", &reply.running_hash, &reference.running_hash),
            ("state hash", &reply.state_hash, &reference.state_hash),
        ] {
            if ours != theirs {
                let index = reply.applied_index;
                wrong.push(format!(
                    "{node} and {other} differ in {what} at index {index}: {ours} and {theirs}"
                ));
            }
        }
        if reply.totals != reference.totals {
            wrong.push(format!("{node} and {other} differ in totals at index {}", reply.applied_index));
        }
    }
    if answers.is_empty() {
        wrong.push("no replica".to_owned());
    }
    wrong
}

/// An exact sum of decimal texts, kept as digits of any length: totals may pass what 128 bits hold, and a verdict about
/// money rounds nothing. Kept in normal form: no leading zeros before, no trailing zeros behind the point.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Sum {
    /// Least significant first, counted from the 10^-`FRACTION` place.
    digits: Vec<u8>,
    /// A text that was no plain number: never equal to anything that is one.
    unreadable: Option<String>,
}

/// Decimal places kept; scales end at 12.
const FRACTION: usize = 12;

impl Sum {
    fn of(text: &str) -> Self {
        let mut sum = Sum::default();
        sum.add(text);
        sum
    }

    fn add(&mut self, text: &str) {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let plain = !whole.is_empty() && fraction.len() <= FRACTION;
        if !plain || !whole.bytes().chain(fraction.bytes()).all(|b| b.is_ascii_digit()) {
            self.unreadable = Some(text.to_owned());
            return;
        }
        let padded = format!("{whole}{fraction:0<FRACTION$}");
        let mut carry = 0;
        for (at, byte) in padded.bytes().rev().enumerate() {
            carry = self.add_digit(at, byte - b'0' + carry);
        }
        let mut at = padded.len();
        while carry > 0 {
            carry = self.add_digit(at, carry);
            at += 1;
        }
        while self.digits.last() == Some(&0) {
            self.digits.pop();
        }
    }

    fn add_digit(&mut self, at: usize, digit: u8) -> u8 {
        if self.digits.len() <= at {
            self.digits.resize(at + 1, 0);
        }
        let sum = self.digits[at] + digit;
        self.digits[at] = sum % 10;
        sum / 10
    }
}

/// Asks every replica of every set, again until those of a set stand at one index or the patience is over.
pub fn verify<'a>(survey: &'a Survey, catalogue: &'a Catalogue, patience: Duration) -> BoxFuture<'a, Report> {
    Box::pin(async move {
        let deadline = Instant::now() + patience;
        loop {
            let sets = join_all(catalogue.sets.keys().map(async |&set| {
                let leader_index = survey.leader(set).and_then(|(_, reply)| {
                    reply.replicas.iter().find(|r| r.set == set).map(|r| r.committed_index)
                });
                (set, ask_until_level(catalogue, set, leader_index.unwrap_or(0), deadline).await)
            }))
            .await;
            let report = judge(&sets.into_iter().collect());
            // Under traffic, what was booked between two sets' answers is booked in the later one alone: it is told another time.
            let between = report.lines.iter().all(|line| line.clean || line.subject == CLEARING);
            if report.clean || !between || Instant::now() >= deadline {
                return report;
            }
            tokio::time::sleep(AGAIN_AFTER).await;
        }
    })
}

/// The subject of the line about what is open between sets.
const CLEARING: &str = "clearing";
/// Between two rounds of questions.
const AGAIN_AFTER: Duration = Duration::from_millis(50);

async fn ask_until_level(catalogue: &Catalogue, set: u32, index: u64, deadline: Instant) -> Answers {
    let mut index = index;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let asked = catalogue.replicas(set).iter().map(async |replica| {
            let addr = catalogue.nodes.get(&replica.node).map_or("", |node| node.api_addr.as_str());
            (replica.node.clone(), ask(addr, set, index, left.min(ROUND)).await)
        });
        let answers: Answers = join_all(asked).await.into_iter().collect();
        let mut indexes = answers.values().filter_map(|a| a.as_ref().ok()).map(|reply| reply.applied_index);
        let first = indexes.next();
        let level = answers.values().all(Result::is_ok) && indexes.all(|other| Some(other) == first);
        if level || Instant::now() >= deadline {
            return answers;
        }
        // Traffic goes on, or a replica is behind: ask all for the furthest one seen.
        let seen = answers.values().filter_map(|a| a.as_ref().ok()).map(|reply| reply.applied_index);
        index = seen.max().unwrap_or(index).max(index);
        tokio::time::sleep(AGAIN_AFTER).await;
    }
}

/// One round of questions; a node that is started meanwhile gets its chance in the next.
const ROUND: Duration = Duration::from_secs(10);

async fn ask(addr: &str, set: u32, index: u64, patience: Duration) -> Answer<VerifyReply> {
    let mut client = admin::client(addr).map_err(|error| error.to_string())?;
    let deadline_ms = u32::try_from(patience.as_millis()).unwrap_or(u32::MAX);
    let request = VerifyRequest { set, at_least_index: index, deadline_ms };
    // The node keeps the deadline itself; a little more lets its own words arrive.
    match tokio::time::timeout(patience + admin::ASK, client.verify(request)).await {
        Ok(Ok(reply)) => Ok(reply.into_inner()),
        Ok(Err(status)) => Err(admin::explain(&status)),
        Err(_) => Err(format!("no answer within {patience:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(index: u64, hash: &str, debits: &str, credits: &str) -> Answer<VerifyReply> {
        let total = CurrencyTotal { currency: "USD".into(), debits: debits.into(), credits: credits.into() };
        Ok(VerifyReply {
            set: 1,
            applied_index: index,
            running_hash: "r".into(),
            state_hash: hash.into(),
            totals: vec![total],
            accounts: 2,
            transactions: 1,
            ..Default::default()
        })
    }

    fn report(answers: Vec<(&str, Answer<VerifyReply>)>) -> Report {
        let answers = answers.into_iter().map(|(node, answer)| (node.to_owned(), answer)).collect();
        judge(&BTreeMap::from([(1, answers)]))
    }

    #[test]
    fn replicas_that_agree_and_balance_are_clean() {
        let report = report(vec![("a1", reply(7, "h", "1.50", "1.5")), ("b1", reply(7, "h", "1.50", "1.5"))]);
        assert!(report.clean, "{report:?}");
        assert_eq!((report.accounts, report.transactions), (2, 1));
    }

    #[test]
    fn each_way_of_being_wrong_is_named() {
        let good = || ("a1", reply(7, "h", "1.50", "1.50"));
        for (other, words) in [
            (reply(7, "x", "1.50", "1.50"), "differ in state hash at index 7"),
            (reply(8, "h", "1.50", "1.50"), "not comparable"),
            (reply(7, "h", "1.50", "1.49"), "USD debits 1.50 but credits 1.49"),
            (Err("gone".to_owned()), "b1 was not read: gone"),
        ] {
            let report = report(vec![good(), ("b1", other)]);
            assert!(!report.clean);
            assert!(report.lines[0].detail.contains(words), "{}", report.lines[0].detail);
        }
    }

    #[test]
    fn a_set_without_replicas_is_not_clean() {
        assert!(!report(Vec::new()).clean);
    }

    #[test]
    fn sums_are_exact_at_any_length() {
        let mut sum = Sum::of("99999999999999999999999999999999999999999.99");
        sum.add("0.01");
        assert_eq!(sum, Sum::of("100000000000000000000000000000000000000000"));
        assert_ne!(sum, Sum::of("100000000000000000000000000000000000000000.01"));
        assert_eq!(Sum::of("0.00"), Sum::default());
        assert_ne!(Sum::of("-1"), Sum::of("1"));
    }
}
