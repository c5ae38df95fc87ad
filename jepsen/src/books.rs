//! The end of a run: what clients left open is asked again until it is decided, what sets have open with each other is waited
//! for, and everything that the API shows is read: all transactions of each set through each router and from each replica,
//! every account, a sample of request ids; and the replicas are compared. Asks and records only; [`crate::check`] judges.

pub mod buffered;
pub mod holds;
pub mod in_doubt;
pub mod replicas;
pub mod restrictions;
pub mod sweeps;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use parking_lot::Mutex;
use tokio::time::Instant;
use twinset_tools::cluster::{LocalCluster, admin};
use twinset_tools::verify;

use crate::api::Router;
use crate::clients::Left;
use crate::history::holds::Told;
use crate::history::{
    Answer, Ask, Event, Found, Level, Name, Phase, Recorder, Retry, Transfer, VerifyLine, is_readable,
};
use crate::wait;

const DEADLINE: Duration = Duration::from_secs(10);
/// So long after its last definite answer a reader gives up. What is left then stays unknown, which is red.
const PATIENCE: Duration = Duration::from_secs(60);
/// What sets have open with each other is waited for within that time as well, but for so long at least.
const IN_DOUBT: Duration = Duration::from_secs(10);
/// How long the replicas may take to stand at one index.
const VERIFY: Duration = Duration::from_secs(60);
/// Questions under way at once.
const AT_ONCE: usize = 32;
const PAGE_SIZE: u32 = 1_000;
/// Between two looks at what sets have to put away.
const PAUSE: Duration = Duration::from_millis(300);

/// Someone who asks in the end, with connections that are kept.
struct Asker<'a> {
    recorder: &'a Recorder,
    /// With their numbers in the history.
    routers: Vec<(u8, Router)>,
    process: u32,
    at: usize,
}

impl<'a> Asker<'a> {
    fn new(recorder: &'a Recorder, routers: &[String], number: usize) -> Self {
        let routers: Vec<_> = (0..).zip(routers).map(|(at, addr)| (at, Router::new(addr))).collect();
        let at = number % routers.len();
        Asker { recorder, routers, process: recorder.process(), at }
    }

    /// Who asks one router alone.
    fn of_one(recorder: &'a Recorder, router: &str, number: usize) -> Self {
        let routers = vec![(number as u8, Router::new(router))];
        Asker { recorder, routers, process: recorder.process(), at: 0 }
    }

    /// Asks for one after the other; gives up with the first that has no definite answer.
    async fn ask_all(&mut self, asks: &[Ask], retry: Option<Retry>) {
        for ask in asks {
            if !self.ask(ask, retry).await.ends(ask) {
                return;
            }
        }
    }

    /// Asks one router after the other until there is a definite answer, or the patience is over.
    async fn ask(&mut self, ask: &Ask, retry: Option<Retry>) -> Answer {
        let until = Instant::now() + PATIENCE;
        loop {
            let (number, router) = &mut self.routers[self.at];
            let op = self.recorder.invoke(self.process, 0, *number, retry, ask);
            let answer = router.ask(self.recorder, ask, DEADLINE.into()).await;
            self.recorder.end(op, &answer);
            if answer.is_open() {
                self.process = self.recorder.process();
            }
            if answer.ends(ask) || Instant::now() >= until {
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
    let began = Instant::now();
    let resolved = resolve(recorder, left, &routers).await;
    narrate(&format!(
        "the traffic has stopped after {} operations; {resolved} were asked again",
        recorder.ops()
    ));
    let catalogue = survey.catalogue()?;
    let channel = async |node: &str| admin::channel(&cluster.layout().process(node)?.api);
    let patience = PATIENCE.saturating_sub(began.elapsed()).max(IN_DOUBT);
    drained(recorder, left, &routers).await;
    sweeps_stopped(recorder, left, &routers).await;
    let all_over = in_doubt::wait(recorder, catalogue, patience, &channel).await;
    put_away(recorder, left, &routers).await;
    recorder.phase(Phase::Final);
    let sets: Vec<u32> = catalogue.sets.keys().copied().collect();
    let (listed, asks) = read(recorder, left, all_over, &routers, &sets).await;
    narrate(&format!("read everything: {listed} transactions"));
    let report = verify::verify(&survey, catalogue, VERIFY).await;
    if report.transactions != listed as u64 {
        recorder
            .note(format!("the replicas count {} transactions, {listed} are listed", report.transactions));
    }
    let line =
        |line: verify::Line| VerifyLine { subject: line.subject, clean: line.clean, detail: line.detail };
    recorder.add(Event::Verify { lines: report.lines.into_iter().map(line).collect() });
    replicas::read(recorder, catalogue, &asks, channel).await;
    narrate("read every replica for itself");
    recorder.phase(Phase::Done);
    Ok(())
}

/// Asks again, with the same id, whatever has an open end. Gives how many.
async fn resolve(recorder: &Arc<Recorder>, left: &Left, routers: &[String]) -> usize {
    let workers = shares(&left.open, AT_ONCE).enumerate().map(async |(number, asks)| {
        Asker::new(recorder, routers, number).ask_all(asks, Some(Retry::Resolving)).await;
    });
    join_all(workers).await;
    left.open.len()
}

/// Reads all there is to read. Gives how many transactions the first router listed, and what was asked besides.
async fn read(
    recorder: &Arc<Recorder>,
    left: &Left,
    all_over: bool,
    routers: &[String],
    sets: &[u32],
) -> (usize, Vec<Ask>) {
    let (mut listed, scopes) = (0, Mutex::new(Scopes::of(left)));
    for (number, router) in routers.iter().enumerate() {
        let lists = sets.iter().map(async |set| {
            let mut asker = Asker::of_one(recorder, router, number);
            list(*set, PAGE_SIZE, &scopes, async |ask| asker.ask(ask, None).await).await
        });
        let found: usize = join_all(lists).await.into_iter().sum();
        listed = listed.max(found);
    }
    let asks = last_reads(recorder, left, &scopes.into_inner(), all_over);
    let workers = shares(&asks, AT_ONCE).enumerate().map(async |(number, asks)| {
        Asker::new(recorder, routers, number).ask_all(asks, None).await;
    });
    join_all(workers).await;
    let held = left.held.iter().enumerate().map(async |(number, account)| {
        let mut asker = Asker::new(recorder, routers, number);
        holds::list(*account, async |ask| asker.ask(ask, None).await).await
    });
    join_all(held).await;
    let restricted = left.restricted.iter().enumerate().map(async |(number, account)| {
        let mut asker = Asker::new(recorder, routers, number);
        restrictions::list(*account, async |ask| asker.ask(ask, None).await).await;
    });
    join_all(restricted).await;
    let suspended = sets.iter().filter(|_| !left.buffered.is_empty()).enumerate();
    let suspended = suspended.map(async |(number, set)| {
        let mut asker = Asker::new(recorder, routers, number);
        buffered::list(*set, async |ask| asker.ask(ask, None).await).await;
    });
    join_all(suspended).await;
    let streams = sets.iter().filter(|_| left.follows).enumerate().map(async |(number, set)| {
        let mut asker = Asker::new(recorder, routers, number);
        let told = events(*set, PAGE_SIZE, async |ask| asker.ask(ask, None).await).await;
        sweeps::look_up(&told, async |ask| asker.ask(ask, None).await).await;
    });
    join_all(streams).await;
    (listed, asks)
}

/// Waits until nothing is on its way to any account, or the patience is over.
async fn drained(recorder: &Arc<Recorder>, left: &Left, routers: &[String]) {
    let until = Instant::now() + buffered::PATIENCE;
    let mut asker = Asker::new(recorder, routers, 0);
    for account in &left.buffered {
        while buffered::is_in_transit(*account, async |ask| asker.ask(ask, None).await).await
            && Instant::now() < until
        {
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// Waits until no sweep has anything to move, or the patience is over; then there are no sweeps any more.
async fn sweeps_stopped(recorder: &Arc<Recorder>, left: &Left, routers: &[String]) {
    let until = Instant::now() + sweeps::PATIENCE;
    let mut asker = Asker::new(recorder, routers, 0);
    for account in &left.swept {
        while sweeps::is_pending(*account, async |ask| asker.ask(ask, None).await).await
            && Instant::now() < until
        {
            tokio::time::sleep(PAUSE).await;
        }
    }
    for account in &left.swept {
        asker.ask(&sweeps::removal(*account), None).await;
    }
}

/// Waits until no set has a hold or a restriction to put away, or the patience is over.
async fn put_away(recorder: &Arc<Recorder>, left: &Left, routers: &[String]) {
    let until = Instant::now() + holds::PATIENCE;
    let mut asker = Asker::new(recorder, routers, 0);
    for account in &left.held {
        while holds::any_pending(*account, async |ask| asker.ask(ask, None).await).await
            && Instant::now() < until
        {
            tokio::time::sleep(PAUSE).await;
        }
    }
    let until = Instant::now() + restrictions::PATIENCE;
    for account in &left.restricted {
        while restrictions::any_pending(*account, async |ask| asker.ask(ask, None).await).await
            && Instant::now() < until
        {
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// Transactions over several sets that are read whole in the end, at most.
const WHOLE_MAX: usize = 2_000;

/// What only the lists know: where the request ids of reversals stand, by the account of what they reverse; and which
/// transactions over several sets there are.
pub struct Scopes {
    reversed: BTreeMap<Name, Option<u32>>,
    across: BTreeSet<Name>,
}

impl Scopes {
    /// Those that will be looked for.
    pub fn of(left: &Left) -> Self {
        let reversed = left.all().filter_map(|ask| match ask {
            Ask::Reverse { transaction, .. } => Some((*transaction, None)),
            _ => None,
        });
        Scopes { reversed: reversed.collect(), across: BTreeSet::new() }
    }

    /// A page was read.
    pub fn see(&mut self, page: &[Found]) {
        for found in page {
            if let Some(scope) = self.reversed.get_mut(&found.transaction) {
                *scope = found.scope;
            }
            self.across.extend(found.part_of.map(|part| part.of));
        }
    }

    /// Where what was asked may stand: its scope and request id. Nothing reverses what is not listed.
    fn keys_of(&self, ask: &Ask) -> Vec<(u32, String)> {
        let of_legs = |transfer: &Transfer| {
            let leg = |(account, _): &(u32, i64)| (*account, transfer.id.clone());
            transfer.legs.iter().map(leg).collect::<Vec<_>>()
        };
        match ask {
            Ask::Open { id, account, .. }
            | Ask::SetLimit { id, account, .. }
            | Ask::Freeze { id, account, .. }
            | Ask::Close { id, account }
            | Ask::PlaceHold { id, account, .. }
            | Ask::ReleaseHold { id, account, .. }
            | Ask::ExtendHold { id, account, .. }
            | Ask::SetSweep { id, account, .. }
            | Ask::RemoveSweep { id, account }
            | Ask::ReleaseRestriction { id, account, .. }
            | Ask::SetMode { id, account, .. } => vec![(*account, id.clone())],
            Ask::Transfer(transfer) => of_legs(transfer),
            Ask::Batch { items, .. } => items.iter().flat_map(of_legs).collect(),
            Ask::Reverse { id, transaction, .. } => {
                let scope = self.reversed.get(transaction).copied().flatten();
                scope.map(|scope| (scope, id.clone())).into_iter().collect()
            }
            // Its id belongs to what is in suspense, and to no account.
            Ask::ResolveSuspense { .. }
            | Ask::DryRun(_)
            | Ask::ReadTransit { .. }
            | Ask::ListSuspense { .. }
            | Ask::ReadSweep { .. }
            | Ask::ListSweeps { .. }
            | Ask::ReadAccount { .. }
            | Ask::ReadGroup { .. }
            | Ask::ReadTransaction { .. }
            | Ask::ReadRequest { .. }
            | Ask::List { .. }
            | Ask::ReadRestriction { .. }
            | Ask::ListRestrictions { .. }
            | Ask::ReadHold { .. }
            | Ask::ListHolds { .. }
            | Ask::Statement { .. }
            | Ask::Balance { .. }
            | Ask::Events { .. } => Vec::new(),
        }
    }
}

/// Every account and what is on its way to it, what became of the requests that were left, and some transactions over several sets whole. Unless all is
/// over: then the run is red, and who asks for what is open between sets waits in vain, so that there are accounts alone.
pub fn last_reads(recorder: &Recorder, left: &Left, scopes: &Scopes, all_over: bool) -> Vec<Ask> {
    let level = Level::Linearizable;
    let accounts = (0..).zip(recorder.accounts_from(0)).filter(|(_, id)| is_readable(id));
    let accounts = accounts.map(|(account, _)| Ask::ReadAccount { account, level });
    let transit = left.buffered.iter().map(|account| Ask::ReadTransit { account: *account, level });
    let groups = left.groups.iter().map(|group| Ask::ReadGroup { group: *group, level });
    let accounts = accounts.chain(transit).chain(groups);
    if !all_over {
        return accounts.collect();
    }
    let keys: BTreeSet<_> = left.all().flat_map(|ask| scopes.keys_of(ask)).collect();
    let lookups = keys.into_iter().map(|(scope, id)| Ask::ReadRequest { scope, id, level });
    // Evenly from all of them.
    let across = scopes.across.iter().step_by(scopes.across.len().div_ceil(WHOLE_MAX).max(1));
    let across = across.map(|transaction| Ask::ReadTransaction { transaction: *transaction, level });
    accounts.chain(lookups).chain(across).collect()
}

/// All transactions of a set, page by page, for as long as `ask` is answered; gives how many. Whoever asks stays with
/// one router: each has to show all of them.
pub async fn list(
    set: u32,
    page_size: u32,
    scopes: &Mutex<Scopes>,
    mut ask: impl AsyncFnMut(&Ask) -> Answer,
) -> usize {
    let (mut after, mut listed) = (None, 0);
    loop {
        let page = Ask::List { set, after, page_size, level: Level::Linearizable };
        let Answer::Page { found, next, .. } = ask(&page).await else { return listed };
        listed += found.len();
        scopes.lock().see(&found);
        match next {
            Some(next) => after = Some(next),
            None => return listed,
        }
    }
}

/// All events of a set, page by page, for as long as `ask` is answered.
pub async fn events(set: u32, page_size: u32, mut ask: impl AsyncFnMut(&Ask) -> Answer) -> Vec<Told> {
    let (mut after, mut all) = (String::new(), Vec::new());
    loop {
        let page = Ask::Events { set: Some(set), after, page_size, level: Level::Linearizable };
        let Answer::Events { events, next, more, .. } = ask(&page).await else { return all };
        all.extend(events);
        if !more {
            return all;
        }
        after = next;
    }
}

/// Equal shares of what is to be asked, for as many as ask at once.
pub fn shares(asks: &[Ask], at_once: usize) -> impl Iterator<Item = &[Ask]> {
    asks.chunks(asks.len().div_ceil(at_once).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::payment;
    use crate::history::{AsOf, Meta, Part, Place};

    fn name(text: &str) -> Name {
        Name(text.parse().unwrap())
    }

    fn found(text: &str, scope: u32) -> Found {
        Found {
            transaction: name(text),
            place: Place::from((1, 7, 0)),
            id: "x".into(),
            scope: Some(scope),
            label: None,
            legs: vec![(3, 5), (4, -5)],
            reverses: None,
            reversed_by: Vec::new(),
            capture: None,
            marks: vec![],
            part_of: None,
        }
    }

    #[test]
    fn a_list_is_read_page_by_page_to_its_end_or_as_far_as_there_are_answers() {
        let read = |pages: u32| {
            let (scopes, mut asked) = (Mutex::new(Scopes::of(&Left::default())), Vec::new());
            let listed = list(1, 2, &scopes, async |ask| {
                let Ask::List { set: 1, after, page_size: 2, .. } = ask else { panic!("{ask:?}") };
                asked.push(after.map(|after| after.to_string()));
                let found = vec![found("1-1-7-0", 3), found("1-1-8-0", 3)];
                let next = (asked.len() < 2).then(|| name("1-1-8-0"));
                match asked.len() as u32 <= pages {
                    true => Answer::Page { as_of: AsOf::default(), found, next },
                    false => Answer::NotApplied { code: "no_leader".into() },
                }
            });
            (futures::executor::block_on(listed), asked)
        };
        let behind = || Some("1-1-8-0".to_owned());
        assert_eq!(read(9), (4, vec![None, behind()]));
        assert_eq!(read(1), (2, vec![None, behind()]));
        assert_eq!(read(0), (0, vec![None]));
    }

    #[test]
    fn requests_are_looked_for_where_they_may_stand() {
        let Ask::Transfer(transfer) = payment((3, 4), "x", 5) else { panic!("a payment is a transfer") };
        let reversal = |id: &str, text: &str| Ask::Reverse {
            id: id.into(),
            transaction: name(text),
            cents: None,
            parts: vec![],
        };
        let left = Left {
            open: vec![Ask::Batch { items: vec![transfer], with_postings: false, atomic: false }],
            refused: vec![reversal("r", "1-1-7-0"), reversal("nothing", "1-1-8-0")],
            sample: vec![Ask::Close { id: "c".into(), account: 9 }],
            ..Left::default()
        };
        let mut scopes = Scopes::of(&left);
        let part = Part { of: name("2-1-5-0"), day: 0 };
        scopes.see(&[found("1-1-7-0", 4), Found { part_of: Some(part), ..found("1-1-9-0", 5) }]);
        let recorder = Recorder::in_memory(Meta::default());
        assert!(last_reads(&recorder, &left, &scopes, false).is_empty(), "there is no account yet");
        let asked = last_reads(&recorder, &left, &scopes, true);
        let whole = Ask::ReadTransaction { transaction: part.of, level: Level::Linearizable };
        assert_eq!(asked.last(), Some(&whole));
        let asked: Vec<(u32, String)> = asked
            .into_iter()
            .filter_map(|ask| match ask {
                Ask::ReadRequest { scope, id, .. } => Some((scope, id)),
                _ => None,
            })
            .collect();
        let expected = [(3, "x"), (4, "r"), (4, "x"), (9, "c")];
        assert_eq!(asked, expected.map(|(scope, id)| (scope, id.to_owned())));
    }
}
