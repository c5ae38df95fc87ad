//! The end of a run: what clients left open is asked again until it is decided, and everything that the API shows is read:
//! all transactions of each set through each router, every account, a sample of request ids; and the replicas are compared.
//! Asks and records only; [`crate::check`] judges.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, StreamExt};
use tokio::time::Instant;
use twinset_tools::cluster::LocalCluster;
use twinset_tools::verify;

use crate::api::Router;
use crate::clients::Left;
use crate::history::{Answer, Ask, Event, Level, Phase, Recorder, Retry, VerifyLine};
use crate::wait;

const DEADLINE: Duration = Duration::from_secs(10);
/// All that was open is resolved, and each reader has read, within this. What is left then stays unknown, which is red.
const PATIENCE: Duration = Duration::from_secs(180);
/// How long the replicas may take to stand at one index.
const VERIFY: Duration = Duration::from_secs(60);
/// Questions under way at once.
const AT_ONCE: usize = 32;
const PAGE_SIZE: u32 = 1_000;

/// Someone who asks in the end, with connections that are kept.
struct Asker<'a> {
    recorder: &'a Recorder,
    routers: Vec<Router>,
    process: u32,
    at: usize,
}

impl<'a> Asker<'a> {
    fn new(recorder: &'a Recorder, routers: &[String], number: usize) -> Self {
        Asker {
            recorder,
            routers: routers.iter().map(|addr| Router::new(addr)).collect(),
            process: recorder.process(),
            at: number % routers.len(),
        }
    }

    /// Asks one router after the other until there is a definite answer, or the patience is over.
    async fn ask(&mut self, ask: &Ask, retry: Option<Retry>, until: Instant) -> Answer {
        loop {
            let op = self.recorder.invoke(self.process, 0, self.at as u8, retry, ask);
            let answer = self.routers[self.at].ask(self.recorder, ask, DEADLINE.into()).await;
            self.recorder.end(op, &answer);
            if answer.is_open() {
                self.process = self.recorder.process();
            }
            if answer.is_final() || Instant::now() >= until {
                return answer;
            }
            self.at = (self.at + 1) % self.routers.len();
        }
    }
}

/// Waits until the cluster is whole, resolves what is open, reads everything, and compares the replicas. An error: it does not
/// become whole, and nothing more can be known.
pub async fn last_look(
    cluster: &LocalCluster,
    recorder: &Arc<Recorder>,
    left: &Left,
    narrate: &mut dyn FnMut(&str),
) -> anyhow::Result<()> {
    let routers: Vec<String> = cluster.layout().routers().map(|router| router.http.clone()).collect();
    let survey = wait::whole(cluster.layout()).await?;
    let resolved = resolve(recorder, left, &routers).await;
    narrate(&format!(
        "the traffic has stopped after {} operations; {resolved} were asked again",
        recorder.ops()
    ));
    recorder.phase(Phase::Final);
    let catalogue = survey.catalogue()?;
    let sets: Vec<u32> = catalogue.sets.keys().copied().collect();
    let listed = read(recorder, left, &routers, &sets).await;
    narrate(&format!("read everything: {listed} transactions"));
    let report = verify::verify(&survey, catalogue, VERIFY).await;
    if report.transactions != listed as u64 {
        recorder
            .note(format!("the replicas count {} transactions, {listed} are listed", report.transactions));
    }
    let line =
        |line: verify::Line| VerifyLine { subject: line.subject, clean: line.clean, detail: line.detail };
    recorder.add(Event::Verify { lines: report.lines.into_iter().map(line).collect() });
    recorder.phase(Phase::Done);
    Ok(())
}

/// Asks again, with the same id, whatever has an open end. Gives how many.
pub async fn resolve(recorder: &Arc<Recorder>, left: &Left, routers: &[String]) -> usize {
    let until = Instant::now() + PATIENCE;
    let chunk = left.open.len().div_ceil(AT_ONCE).max(1);
    let workers = left.open.chunks(chunk).enumerate().map(async |(number, asks)| {
        let mut asker = Asker::new(recorder, routers, number);
        for ask in asks {
            if Instant::now() >= until {
                break;
            }
            asker.ask(ask, Some(Retry::Resolving), until).await;
        }
    });
    futures::future::join_all(workers).await;
    left.open.len()
}

/// Reads all there is to read. Gives how many transactions the first router listed.
pub async fn read(recorder: &Arc<Recorder>, left: &Left, routers: &[String], sets: &[u32]) -> usize {
    let until = Instant::now() + PATIENCE;
    let mut listed = 0;
    for (number, router) in routers.iter().enumerate() {
        let through = std::slice::from_ref(router);
        let lists = sets.iter().map(async |set| list(recorder, through, number, *set, until).await);
        let found: usize = futures::future::join_all(lists).await.into_iter().sum();
        listed = listed.max(found);
    }
    let asks = last_reads(recorder, left);
    let chunk = asks.len().div_ceil(AT_ONCE).max(1);
    let workers = asks.chunks(chunk).enumerate().map(async |(number, asks)| {
        let mut asker = Asker::new(recorder, routers, number);
        for ask in asks {
            if Instant::now() >= until {
                break;
            }
            asker.ask(ask, None, until).await;
        }
    });
    stream::iter(workers).buffer_unordered(AT_ONCE).count().await;
    listed
}

/// Every account, and what became of the requests that were left.
pub fn last_reads(recorder: &Recorder, left: &Left) -> Vec<Ask> {
    let level = Level::Linearizable;
    let accounts = 0..recorder.accounts_from(0).len() as u32;
    let requests = left.open.iter().chain(&left.refused).chain(&left.sample);
    let keys: BTreeSet<_> = requests.flat_map(keys_of).collect();
    let lookups = keys.into_iter().map(|(scope, id)| Ask::ReadRequest { scope, id, level });
    accounts.map(|account| Ask::ReadAccount { account, level }).chain(lookups).collect()
}

/// Where what was asked may stand: its scope and request id.
fn keys_of(ask: &Ask) -> Vec<(u32, String)> {
    match ask {
        Ask::Open { id, account, .. }
        | Ask::SetLimit { id, account, .. }
        | Ask::Freeze { id, account, .. }
        | Ask::Close { id, account } => vec![(*account, id.clone())],
        Ask::Transfer(transfer) => {
            transfer.legs.iter().map(|(account, _)| (*account, transfer.id.clone())).collect()
        }
        _ => Vec::new(),
    }
}

/// All transactions of a set through one router, page by page.
async fn list(recorder: &Recorder, router: &[String], number: usize, set: u32, until: Instant) -> usize {
    let mut asker = Asker::new(recorder, router, 0);
    // The history numbers routers as the run does.
    asker.at = 0;
    let (mut after, mut listed) = (None, 0);
    loop {
        let ask = Ask::List { set, after, page_size: PAGE_SIZE, level: Level::Linearizable };
        let op = recorder.invoke(asker.process, 0, number as u8, None, &ask);
        let answer = asker.routers[0].ask(recorder, &ask, DEADLINE.into()).await;
        recorder.end(op, &answer);
        match answer {
            Answer::Page { found, next, .. } => {
                listed += found.len();
                match next {
                    Some(next) => after = Some(next),
                    None => return listed,
                }
            }
            answer => {
                if answer.is_open() {
                    asker.process = recorder.process();
                }
                if Instant::now() >= until {
                    return listed;
                }
            }
        }
    }
}
