//! Synthetic payments between test accounts while a drill runs, as a well-behaved application makes them: at a steady
//! rate, and what is not answered for certain is asked again under the same request id, through the other router. It keeps
//! what each payment's client saw, and what every account must hold in the end. Judges nothing.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use http::{Method, Uri};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::load::client::amount;
use crate::load::plan::{Plan, Shape, Transfer};
use crate::load::random::Random;
use crate::load::record::{Class, Sample};
use crate::load::{Load, LoadOptions, Protocol};
use crate::{error, http1};

/// How long an application repeats a payment before it gives up.
pub const GIVEN_UP: Duration = Duration::from_secs(10);
/// More than the deadline that a router sets where none is named.
const ANSWER: Duration = Duration::from_secs(6);
/// Between two attempts of one payment.
const REPEAT: Duration = Duration::from_millis(25);
const CONNECT: Duration = Duration::from_secs(1);
/// How long what is decided may take to reach every set.
const SETTLED: Duration = Duration::from_secs(15);
/// Payments kept one by one: 24 bytes each, and more than an hour at a thousand per second.
const SAMPLES_MAX: usize = 5_000_000;
/// Of so many clients, one pays accounts of other sets; the others keep to their own, so that a set that cannot be reached holds up nobody
/// who does not pay it.
const ACROSS_EVERY: usize = 5;
/// The set of payments over two sets, among samples: they say nothing of one set alone.
pub const ACROSS: u32 = 0;
/// The first part of the test accounts' tags. They belong to drills alone.
const ACCOUNTS: &str = "drill";

/// What is to flow.
#[derive(Clone, Debug)]
pub struct Options {
    /// The routers' URLs.
    pub routers: Vec<String>,
    /// Payments per second.
    pub rate: u32,
    /// Test accounts.
    pub accounts: usize,
    /// The owning set of every slot.
    pub slots: Vec<u32>,
}

impl Options {
    /// The payments of which so many percent go to another set. The accounts are the same.
    async fn plan(&self, across: u8) -> anyhow::Result<Arc<Plan>> {
        let load = LoadOptions {
            protocol: Protocol::Http,
            routers: self.routers.clone(),
            connections: 1,
            shape: Shape {
                name: ACCOUNTS.to_owned(),
                accounts: self.accounts,
                hot: false,
                into: None,
                across,
                held: 0,
                batch: 1,
                slots: self.slots.clone(),
            },
            deadline_ms: None,
            samples_max: 0,
        };
        Ok(Load::prepare(load, |_| {}).await?.plan())
    }
}

/// What an account must hold, in cents beyond what it held when the traffic began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Owed {
    /// By the payments that were acknowledged.
    pub acknowledged: i64,
    /// The least that payments without a certain end may have added (or taken: below 0).
    pub least: i64,
    /// The most.
    pub most: i64,
}

impl Owed {
    fn add(&mut self, cents: i64, certain: bool) {
        match certain {
            true => self.acknowledged += cents,
            false if cents < 0 => self.least += cents,
            false => self.most += cents,
        }
    }

    /// Whether an account that has `change` more than in the beginning lacks nothing and has nothing twice.
    pub fn allows(&self, change: i64) -> bool {
        (self.acknowledged + self.least..=self.acknowledged + self.most).contains(&change)
    }
}

/// What the clients have seen.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Every payment, in the order of their ends.
    pub samples: Vec<Sample>,
    /// Payments that were asked more than once.
    pub repeated: u64,
    /// How those that failed ended, by code.
    pub errors: BTreeMap<String, u64>,
    owed: BTreeMap<String, Owed>,
}

/// What is wrong with the test accounts in the end.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Proof {
    /// Accounts that were compared.
    pub accounts: usize,
    /// Those that hold other money than was acknowledged, in words.
    pub wrong: Vec<String>,
}

/// Payments that flow until they are stopped.
pub struct Traffic {
    shared: Arc<Shared>,
    clients: JoinSet<()>,
    before: BTreeMap<String, i64>,
    routers: Vec<String>,
}

struct Shared {
    began: Instant,
    stop: AtomicBool,
    seen: Mutex<Seen>,
}

impl Shared {
    /// Counts and lists: whoever panicked with them in hand has left them usable.
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Traffic {
    /// Opens the accounts, reads what they hold, and lets payments flow.
    pub async fn start(options: &Options, began: Instant) -> anyhow::Result<Traffic> {
        let routers = addresses(&options.routers)?;
        let within = options.plan(0).await?;
        let across = options.plan(100).await?;
        let ids: Vec<String> = within.account_ids().into_iter().map(|(_, id)| id).collect();
        let before = balances(&routers, &ids).await?;
        let shared = Arc::new(Shared { began, stop: AtomicBool::new(false), seen: Mutex::default() });
        let sets = within.sets();
        // One payment at a time for each client: enough of them that a slow set does not slow the rate of the others.
        let round = sets.len() * ACROSS_EVERY;
        let count = (options.rate as usize / 10).clamp(round, 512.max(round)).next_multiple_of(round);
        let is_across = |number: usize| number.is_multiple_of(ACROSS_EVERY);
        let pace = Duration::from_secs_f64(count as f64 / f64::from(options.rate.max(1)));
        let mut clients = JoinSet::new();
        for number in 0..count {
            let client = Client {
                shared: shared.clone(),
                routers: routers.clone(),
                at: number % routers.len(),
                open: None,
                set: sets[number / ACROSS_EVERY % sets.len()],
                plan: if is_across(number) { across.clone() } else { within.clone() },
                across: is_across(number) && sets.len() > 1,
                random: Random::new(),
                next: Instant::now() + pace.mul_f64(number as f64 / count as f64),
                pace,
            };
            clients.spawn(client.run());
        }
        Ok(Traffic { shared, clients, before, routers })
    }

    /// A view on what is seen, for whoever looks at it while it flows.
    pub fn watch(&self) -> Watch {
        Watch { shared: self.shared.clone(), taken: 0 }
    }

    /// Sends nothing new, waits for what is under way, and gives all that was seen.
    pub async fn stop(mut self) -> anyhow::Result<(Seen, Settled)> {
        self.shared.stop.store(true, Ordering::Relaxed);
        while let Some(ended) = self.clients.join_next().await {
            ended?;
        }
        let mut seen = std::mem::take(&mut *self.shared.seen());
        seen.samples.sort_unstable_by_key(|sample| sample.end_us);
        let owed = std::mem::take(&mut seen.owed);
        Ok((seen, Settled { before: self.before, owed, routers: self.routers }))
    }
}

/// Accounts that no payment changes any more.
pub struct Settled {
    before: BTreeMap<String, i64>,
    owed: BTreeMap<String, Owed>,
    routers: Vec<String>,
}

impl Settled {
    /// Compares what every account holds with what was acknowledged. A payment between two sets is acknowledged when it is
    /// decided, and reaches the second one a moment later: that is waited for.
    pub async fn prove(&self) -> Proof {
        let ids: Vec<String> = self.before.keys().cloned().collect();
        let deadline = Instant::now() + SETTLED;
        loop {
            let proof = match balances(&self.routers, &ids).await {
                Ok(now) => self.judge(&now),
                Err(error) => Proof { accounts: ids.len(), wrong: vec![error.to_string()] },
            };
            if proof.wrong.is_empty() || Instant::now() >= deadline {
                return proof;
            }
            tokio::time::sleep(REPEAT).await;
        }
    }

    fn judge(&self, now: &BTreeMap<String, i64>) -> Proof {
        let mut wrong = Vec::new();
        for (id, before) in &self.before {
            let owed = self.owed.get(id).copied().unwrap_or_default();
            let change = now.get(id).map(|now| now - before);
            if !change.is_some_and(|change| owed.allows(change)) {
                let found =
                    change.map_or("cannot be read".to_owned(), |change| format!("changed by {change}"));
                wrong.push(format!("{id} {found} cents; acknowledged are {}", owed.acknowledged));
            }
        }
        Proof { accounts: self.before.len(), wrong }
    }
}

/// What one look at the traffic shows: the payments that have ended since the last one.
pub struct Watch {
    shared: Arc<Shared>,
    taken: usize,
}

impl Watch {
    /// The payments that have ended since the last look.
    pub fn new_ones(&mut self) -> Vec<Sample> {
        let seen = self.shared.seen();
        let new = seen.samples.get(self.taken..).unwrap_or_default().to_vec();
        self.taken = self.taken.max(seen.samples.len());
        new
    }
}

struct Client {
    shared: Arc<Shared>,
    routers: Vec<String>,
    at: usize,
    open: Option<http1::Connection>,
    /// Where the accounts are that it pays from.
    set: u32,
    plan: Arc<Plan>,
    /// Whether it pays accounts of other sets.
    across: bool,
    random: Random,
    next: Instant,
    pace: Duration,
}

/// How one attempt ended.
enum Attempt {
    Done,
    Refused(String),
    Again { certain: bool, code: String },
}

impl Client {
    async fn run(mut self) {
        loop {
            tokio::time::sleep_until(self.next).await;
            if self.shared.stop.load(Ordering::Relaxed) {
                return;
            }
            // From when it was due: payments that had to wait for one that was held have waited too.
            let due = self.next;
            self.next += self.pace;
            for transfer in self.plan.draw(self.set, &mut self.random) {
                self.pay(&transfer, due).await;
            }
        }
    }

    async fn pay(&mut self, transfer: &Transfer, due: Instant) {
        let id = self.random.request_id().to_string();
        let body = body(&id, transfer);
        let sent = Instant::now();
        let (mut class, mut code, mut attempts) = (Class::NotApplied, String::new(), 0);
        while attempts == 0 || sent.elapsed() < GIVEN_UP {
            attempts += 1;
            match self.attempt(body.clone()).await {
                Attempt::Done => {
                    class = Class::Done;
                    break;
                }
                Attempt::Refused(by) => {
                    (class, code) = (Class::Rejected, by);
                    break;
                }
                Attempt::Again { certain, code: why } => {
                    class = if certain { class } else { Class::Unknown };
                    code = why;
                    self.open = None;
                    self.at = (self.at + 1) % self.routers.len();
                    tokio::time::sleep(REPEAT).await;
                }
            }
        }
        self.put_down(transfer, due, class, code, attempts);
    }

    fn put_down(&self, transfer: &Transfer, due: Instant, class: Class, code: String, attempts: u32) {
        let us = |time: Instant| micros(time.saturating_duration_since(self.shared.began));
        let sample = Sample {
            start_us: us(due),
            end_us: us(Instant::now()),
            set: if self.across { ACROSS } else { self.set },
            class,
        };
        let mut seen = self.shared.seen();
        seen.repeated += u64::from(attempts > 1);
        if seen.samples.len() < SAMPLES_MAX {
            seen.samples.push(sample);
        }
        if class != Class::Done {
            *seen.errors.entry(code).or_default() += 1;
        }
        if matches!(class, Class::Done | Class::Unknown) {
            let (cents, certain) = (i64::from(transfer.cents), class == Class::Done);
            seen.owed.entry(transfer.credit.clone()).or_default().add(cents, certain);
            seen.owed.entry(transfer.debit.clone()).or_default().add(-cents, certain);
        }
    }

    async fn attempt(&mut self, body: Bytes) -> Attempt {
        let addr = &self.routers[self.at];
        let request = http1::request(Method::POST, addr, &Uri::from_static("/v1/transactions"), body);
        let again = |certain, code: &str| Attempt::Again { certain, code: code.to_owned() };
        if self.open.is_none() {
            match http1::Connection::open(addr, CONNECT).await {
                Ok(connection) => self.open = Some(connection),
                Err(_) => return again(true, "no connection"),
            }
        }
        let Some(connection) = &mut self.open else { return again(true, "no connection") };
        let (status, reply) = match connection.call(request, ANSWER).await {
            Ok(answer) => answer,
            Err(error) => return again(error.unsent(), "no answer"),
        };
        if status.is_success() {
            return Attempt::Done;
        }
        let problem: Value = serde_json::from_slice(&reply).unwrap_or_default();
        let code = problem["code"].as_str().unwrap_or("unreadable answer");
        match problem["outcome"].as_str() {
            Some("rejected") => Attempt::Refused(code.to_owned()),
            Some("not_applied") => again(true, code),
            _ => again(false, code),
        }
    }
}

fn body(id: &str, transfer: &Transfer) -> Bytes {
    let amount = amount(transfer.cents);
    let leg = |account: &str, side: &str| json!({ "account": account, "side": side, "amount": amount });
    let legs = [leg(&transfer.debit, "debit"), leg(&transfer.credit, "credit")];
    json!({ "request_id": id, "legs": legs }).to_string().into()
}

fn addresses(urls: &[String]) -> anyhow::Result<Vec<String>> {
    let next = "give routers as --router http://ADDRESS:PORT";
    let one = |url: &String| http1::authority(url).map_err(|cause| error::usage(cause.to_string(), next));
    urls.iter().map(one).collect()
}

/// What accounts hold, in cents, read at several at a time.
async fn balances(routers: &[String], ids: &[String]) -> anyhow::Result<BTreeMap<String, i64>> {
    const READERS: usize = 16;
    let share = ids.len().div_ceil(READERS).max(1);
    let readers = ids.chunks(share).enumerate().map(async |(number, ids)| {
        let mut all = Vec::new();
        for id in ids {
            all.push((id.clone(), balance(routers, number, id).await?));
        }
        anyhow::Ok(all)
    });
    let mut all = BTreeMap::new();
    for read in join_all(readers).await {
        all.extend(read?);
    }
    Ok(all)
}

async fn balance(routers: &[String], first: usize, id: &str) -> anyhow::Result<i64> {
    let path: Uri = format!("/v1/accounts/{}", crate::journal::api::segment(id)).parse()?;
    let begun = Instant::now();
    let (mut at, mut why) = (first % routers.len(), String::new());
    while begun.elapsed() < GIVEN_UP {
        let addr = &routers[at];
        let read = async {
            let mut connection = http1::Connection::open(addr, CONNECT).await?;
            connection.call(http1::request(Method::GET, addr, &path, Bytes::new()), ANSWER).await
        };
        match read.await {
            Ok((status, reply)) if status.is_success() => {
                let account: Value = serde_json::from_slice(&reply)?;
                if let Some(cents) = account["account"]["posted"].as_str().and_then(cents) {
                    return Ok(cents);
                }
                why = format!("its balance cannot be read from {account}");
            }
            Ok((status, _)) => why = status.to_string(),
            Err(error) => why = error.to_string(),
        }
        at = (at + 1) % routers.len();
        tokio::time::sleep(REPEAT).await;
    }
    Err(error::failure(format!("account {id} cannot be read: {why}"), "`twinset status` shows the sets"))
}

/// A decimal of two places, in cents.
fn cents(text: &str) -> Option<i64> {
    let (negative, digits) = text.strip_prefix('-').map_or((false, text), |digits| (true, digits));
    let (whole, part) = digits.split_once('.').unwrap_or((digits, "00"));
    if part.len() != 2 {
        return None;
    }
    let cents = whole.parse::<i64>().ok()?.checked_mul(100)?.checked_add(part.parse().ok()?)?;
    Some(if negative { -cents } else { cents })
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_is_read_to_the_cent() {
        assert_eq!(cents("12.05"), Some(1205));
        assert_eq!(cents("-0.01"), Some(-1));
        assert_eq!(cents("7"), Some(700));
        assert_eq!((cents("1.5"), cents(""), cents("x.00")), (None, None, None));
    }

    fn settled(owed: &[(&str, Owed)], before: &[(&str, i64)]) -> Settled {
        let owed = owed.iter().map(|(id, owed)| ((*id).to_owned(), *owed)).collect();
        Settled { before: numbers(before), owed, routers: Vec::new() }
    }

    fn numbers(all: &[(&str, i64)]) -> BTreeMap<String, i64> {
        all.iter().map(|(id, cents)| ((*id).to_owned(), *cents)).collect()
    }

    #[test]
    fn what_was_acknowledged_must_be_there_once_and_nothing_else() {
        let mut payer = Owed::default();
        payer.add(-500, true);
        let settled = settled(&[("a", payer)], &[("a", 100), ("b", 7)]);
        assert_eq!(settled.judge(&numbers(&[("a", -400), ("b", 7)])).wrong, Vec::<String>::new());
        for (a, b) in [(100, 7), (-900, 7), (-400, 8)] {
            assert_eq!(settled.judge(&numbers(&[("a", a), ("b", b)])).wrong.len(), 1, "{a} {b}");
        }
        assert!(settled.judge(&numbers(&[("a", -400)])).wrong[0].contains("b cannot be read"));
    }

    #[test]
    fn a_payment_without_a_certain_end_may_be_there_or_not() {
        let mut payee = Owed::default();
        payee.add(500, true);
        payee.add(30, false);
        payee.add(-4, false);
        for (change, allowed) in
            [(500, true), (530, true), (496, true), (526, true), (531, false), (495, false)]
        {
            assert_eq!(payee.allows(change), allowed, "{change}");
        }
    }
}
