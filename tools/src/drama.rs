//! Moves and wounds a local cluster under traffic, and says what the clients saw of each act. The demo plays it once;
//! the figures of switches and kills are measured with it; the cluster tests play it small. Prints nothing itself.

mod proof;

use std::time::Duration;

use futures::future::LocalBoxFuture;
use serde::Serialize;
use tokio::time::Instant;
use twinset_proto::cluster::v1::SwitchRequest;

use crate::cluster::LocalCluster;
use crate::cluster::admin::{self, Survey};
use crate::cmd::{account, switch, verify};
use crate::error;
use crate::load::plan::{Payee, Shape};
use crate::load::record::LoadReport;
use crate::load::{LoadOptions, Protocol, Running, Until};

/// What is played.
#[derive(Clone, Copy, Debug)]
pub struct Script {
    /// Planned moves of a set to the other site.
    pub switches: u32,
    /// Leaders killed with SIGKILL, each started again.
    pub kills: u32,
    /// Closed loops of traffic.
    pub connections: usize,
    /// Accounts of the traffic.
    pub accounts: usize,
    /// Of a hundred payments, how many go to another set.
    pub across: u8,
    /// Of a hundred payments, how many are set aside first.
    pub held: u8,
    /// Of a hundred payments, how many go to one merchant, which no set is asked about.
    pub merchant: u8,
    /// Undisturbed traffic between two acts.
    pub pace: Duration,
}

/// One act, and what the clients of its set saw.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Move {
    /// In words.
    pub what: String,
    /// The set it happened to.
    pub set: u32,
    /// Whether it was a kill.
    pub kill: bool,
    /// How long the leader took no writes, by its own word; none for a kill.
    pub leader_pause_us: Option<u64>,
    /// The longest time in which no request of the set succeeded.
    pub client_pause_us: u64,
    /// The slowest request that ended around it.
    pub slowest_us: u64,
}

/// The clients' pauses of acts of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Pauses {
    /// How many acts.
    pub count: usize,
    /// Half are shorter.
    pub p50_us: u64,
    /// 99% are no longer.
    pub p99_us: u64,
    /// The longest.
    pub max_us: u64,
}

/// What the clients saw.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Every act in order.
    pub moves: Vec<Move>,
    /// Over all switches, if there were any.
    pub switches: Option<Pauses>,
    /// Over all kills, if there were any.
    pub kills: Option<Pauses>,
    /// The traffic as a whole.
    pub load: LoadReport,
}

/// An act before its samples are known. Times are on the load's clock.
struct Act {
    what: String,
    set: u32,
    kill: bool,
    leader_pause_us: Option<u64>,
    from_us: u64,
    to_us: u64,
}

/// 24 bytes a sample: they stay below a gigabyte.
const SAMPLES_MAX: usize = 30_000_000;
/// How long a set may take to come back, and a node to catch up.
const HEAL: Duration = Duration::from_secs(60);
/// The account that everybody pays.
const MERCHANT: &str = "merchant";
const POLL: Duration = Duration::from_millis(20);
/// Requests that were held during an act end soon after it; they belong to it.
const AFTERMATH_US: u64 = 500_000;

/// Plays the script; `narrate` hears what happens.
pub fn play<'a>(
    script: &'a Script,
    cluster: &'a mut LocalCluster,
    narrate: &'a mut dyn FnMut(&str),
) -> LocalBoxFuture<'a, anyhow::Result<Report>> {
    Box::pin(async move {
        let seeds = cluster.layout().node_addrs();
        let survey = admin::survey(&seeds).await;
        let sets: Vec<u32> = survey.catalogue()?.sets.keys().copied().collect();
        let options = LoadOptions {
            protocol: Protocol::Http,
            routers: cluster.layout().router_urls(),
            connections: script.connections,
            shape: Shape {
                name: "demo".to_owned(),
                accounts: script.accounts,
                hot: false,
                into: (script.merchant > 0)
                    .then(|| Payee { account: MERCHANT.to_owned(), percent: script.merchant }),
                across: script.across,
                held: script.held,
                batch: 1,
                slots: survey.catalogue()?.slot_table(),
            },
            deadline_ms: None,
            samples_max: SAMPLES_MAX,
        };
        let routers = options.routers.clone();
        if script.merchant > 0 {
            account::open_buffered(&routers[0], MERCHANT).await?;
        }
        let load = crate::cmd::bench::prepare(options).await?;
        let payee = (script.merchant > 0).then_some(MERCHANT);
        let accounts = load.plan().account_ids().into_iter().map(|(_, id)| id).collect();
        let books = proof::Books::open(&routers, accounts, payee).await?;
        narrate(&format!("Opened {} accounts in {} sets.", script.accounts, sets.len()));
        let traffic = load.start(Until::Stopped)?;
        narrate(&format!(
            "{} clients now pay each other through both routers, without a break; {} of 100 payments go from one set to \
             another, and {} of 100 are set aside first and captured then.",
            script.connections, script.across, script.held
        ));
        if script.merchant > 0 {
            narrate(&format!(
                "{} of 100 payments go to one {MERCHANT}, and no set is asked about it.",
                script.merchant
            ));
        }
        let played = acts(script, cluster, &seeds, &sets, &traffic, narrate).await;
        let report = traffic.stop().await?;
        if script.merchant > 0 {
            until_shipped(&seeds).await?;
            narrate("All that was paid to the merchant has arrived.");
        }
        narrate(&proof::made(&report.kinds, payee));
        narrate(&books.judge(&report).await?);
        Ok(judged(played?, report))
    })
}

async fn acts(
    script: &Script,
    cluster: &mut LocalCluster,
    seeds: &[String],
    sets: &[u32],
    traffic: &Running,
    narrate: &mut dyn FnMut(&str),
) -> anyhow::Result<Vec<Act>> {
    let mut acts = Vec::new();
    tokio::time::sleep(script.pace).await;
    for number in 0..script.switches {
        // There and back with one set, then the next one.
        let set = sets[number as usize / 2 % sets.len()];
        acts.push(switch_one(seeds, set, traffic, narrate).await?);
        tokio::time::sleep(script.pace).await;
    }
    for number in 0..script.kills {
        let set = sets[number as usize % sets.len()];
        acts.push(kill_one(cluster, seeds, set, traffic, narrate).await?);
        tokio::time::sleep(script.pace).await;
    }
    Ok(acts)
}

async fn switch_one(
    seeds: &[String],
    set: u32,
    traffic: &Running,
    narrate: &mut dyn FnMut(&str),
) -> anyhow::Result<Act> {
    let survey = admin::survey(seeds).await;
    let catalogue = survey.catalogue()?;
    let home = catalogue.sets.get(&set).map(|s| s.home.clone()).unwrap_or_default();
    let Some(to) = catalogue.other_site(&home).map(str::to_owned) else {
        return Err(error::failure(format!("set {set} has no other site to go to"), "`twinset status`"));
    };
    narrate(&format!("Switch: set {set} moves from site {home} to site {to}, under that traffic."));
    let request = SwitchRequest {
        set,
        to_site: to.clone(),
        who: crate::cmd::who(),
        why: "demo".to_owned(),
        dry_run: false,
        plan: 0,
    };
    let from_us = traffic.now_us();
    let outcome = switch::switch(&survey, request, &mut |_| {}).await?;
    let to_us = traffic.now_us();
    let pause_us = outcome.pause_us();
    narrate(&format!("  done in {:.0} ms; writes paused for {:.1} ms.", ms(to_us - from_us), ms(pause_us)));
    let what = format!("switch set {set}: {home} to {to}");
    Ok(Act { what, set, kill: false, leader_pause_us: Some(pause_us), from_us, to_us })
}

async fn kill_one(
    cluster: &mut LocalCluster,
    seeds: &[String],
    set: u32,
    traffic: &Running,
    narrate: &mut dyn FnMut(&str),
) -> anyhow::Result<Act> {
    let before = until(seeds, "a leader", |survey| survey.leader(set).is_some()).await?;
    let leader = before.leader(set).map(|(_, reply)| reply.node.clone()).unwrap_or_default();
    narrate(&format!("Kill: SIGKILL to {leader}, which leads set {set}."));
    let from_us = traffic.now_us();
    cluster.kill(&leader).await?;
    let healed = until(seeds, "a new leader", |survey| {
        survey.leader(set).is_some_and(|(_, reply)| reply.node != leader)
    })
    .await?;
    let to_us = traffic.now_us();
    let heir = healed.leader(set).map(|(_, reply)| reply.node.clone()).unwrap_or_default();
    narrate(&format!("  {heir} took over; seen after {:.0} ms.", ms(to_us - from_us)));
    cluster.start_process(&leader)?;
    until(seeds, "the killed node to catch up", |survey| caught_up(survey, &healed, &leader)).await?;
    narrate(&format!("  {leader} is back and has caught up."));
    let what = format!("kill {leader}, leader of set {set}");
    Ok(Act { what, set, kill: true, leader_pause_us: None, from_us, to_us })
}

/// Waits until no set has anything on its way to another.
async fn until_shipped(seeds: &[String]) -> anyhow::Result<()> {
    let deadline = Instant::now() + HEAL;
    loop {
        let books = verify::report(seeds, HEAL).await?;
        if books.clean && books.in_transit == 0 {
            return Ok(());
        }
        if Instant::now() >= deadline {
            return Err(error::failure(
                format!("waited {HEAL:?} in vain for {} credits to arrive", books.in_transit),
                "`twinset status` shows the sets; the nodes' logs say why",
            ));
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Whether the replicas on `node` have applied all that was committed at the time of `then`.
fn caught_up(now: &Survey, then: &Survey, node: &str) -> bool {
    let Some(reply) = now.replies().find(|reply| reply.node == node) else { return false };
    !reply.replicas.is_empty()
        && reply.replicas.iter().all(|replica| {
            let committed = then.leader(replica.set).and_then(|(_, leader)| {
                leader.replicas.iter().find(|r| r.set == replica.set).map(|r| r.committed_index)
            });
            replica.applied_index >= committed.unwrap_or(0)
        })
}

async fn until(seeds: &[String], what: &str, holds: impl Fn(&Survey) -> bool) -> anyhow::Result<Survey> {
    let deadline = Instant::now() + HEAL;
    loop {
        let survey = admin::survey(seeds).await;
        if holds(&survey) {
            return Ok(survey);
        }
        if Instant::now() >= deadline {
            return Err(error::failure(
                format!("waited {HEAL:?} in vain for {what}"),
                "`twinset status` shows the sets; the nodes' logs say why",
            ));
        }
        tokio::time::sleep(POLL).await;
    }
}

fn ms(us: u64) -> f64 {
    us as f64 / 1e3
}

fn judged(acts: Vec<Act>, load: LoadReport) -> Report {
    let moves: Vec<Move> = acts
        .into_iter()
        .map(|act| {
            let to_us = act.to_us + AFTERMATH_US;
            Move {
                client_pause_us: micros(load.pause(act.set, act.from_us, to_us)),
                slowest_us: micros(load.slowest(act.from_us, to_us)),
                what: act.what,
                set: act.set,
                kill: act.kill,
                leader_pause_us: act.leader_pause_us,
            }
        })
        .collect();
    let of =
        |kill: bool| pauses(moves.iter().filter(|m| m.kill == kill).map(|m| m.client_pause_us).collect());
    Report { switches: of(false), kills: of(true), moves, load }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn pauses(mut all: Vec<u64>) -> Option<Pauses> {
    all.sort_unstable();
    let rank = |percent: usize| all.get((all.len() * percent).div_ceil(100).saturating_sub(1)).copied();
    Some(Pauses { count: all.len(), p50_us: rank(50)?, p99_us: rank(99)?, max_us: *all.last()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_ranks_of_what_was_measured() {
        assert_eq!(pauses(Vec::new()), None);
        let one = pauses(vec![7]).unwrap();
        assert_eq!((one.p50_us, one.p99_us, one.max_us), (7, 7, 7));
        let many = pauses((1..=200).rev().collect()).unwrap();
        assert_eq!((many.count, many.p50_us, many.p99_us, many.max_us), (200, 100, 198, 200));
    }
}
