//! What a drill looks at every second: each set's leader, home and durability, processes that do not answer, and the
//! payments that have ended since the last look. Made by one task beside the drill; nothing here waits for the drill or is
//! waited for by it.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::{join, join_all};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};
use twinset_control::Catalogue;

use super::cast::Process;
use super::traffic::Watch;
use crate::cluster::admin::{self, Survey};
use crate::http1;
use crate::load::record::{Class, Sample};

/// Between two looks.
pub const EVERY: Duration = Duration::from_secs(1);
/// How long a process may take to answer one. Shorter than the time between two, so that a silent one delays none.
const ANSWER: Duration = Duration::from_millis(700);

/// One look.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Moment {
    /// Milliseconds since the drill began.
    pub at_ms: u64,
    /// By number.
    pub sets: BTreeMap<u32, SetMoment>,
    /// Names of nodes and routers that did not answer.
    pub silent: Vec<String>,
    /// The payments that have ended since the look before.
    pub payments: Payments,
}

/// One set at one look.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SetMoment {
    /// The node that leads it, if one that answers says so.
    pub leader: Option<String>,
    /// Its home on record.
    pub home: String,
    /// SYNC, DEGRADING, DEGRADED or RESYNC, as its leader says; as is on record if nobody leads it.
    pub phase: String,
    /// Its incarnation on record.
    pub incarnation: u32,
}

/// Payments that ended within some time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Payments {
    /// All of them.
    pub ended: u64,
    /// Those that were not booked for certain.
    pub failed: u64,
    /// Half took at most so many milliseconds.
    pub p50_ms: f64,
    /// 99 of a hundred did.
    pub p99_ms: f64,
    /// 999 of a thousand did.
    pub p999_ms: f64,
    /// All did.
    pub max_ms: f64,
}

impl Payments {
    /// Of these.
    pub fn of<'s>(samples: impl IntoIterator<Item = &'s Sample>) -> Payments {
        let (mut took, mut failed) = (Vec::new(), 0);
        for sample in samples {
            took.push(sample.end_us.saturating_sub(sample.start_us));
            failed += u64::from(sample.class != Class::Done);
        }
        took.sort_unstable();
        let rank = |share: f64| {
            let at = ((took.len() as f64 * share).ceil() as usize).saturating_sub(1);
            took.get(at).map_or(0.0, |us| *us as f64 / 1e3)
        };
        Payments {
            ended: took.len() as u64,
            failed,
            p50_ms: rank(0.5),
            p99_ms: rank(0.99),
            p999_ms: rank(0.999),
            max_ms: rank(1.0),
        }
    }
}

impl SetMoment {
    /// Whether an acknowledgement may stand in one site only, or may have.
    pub fn is_unsafe(&self) -> bool {
        self.phase != "SYNC"
    }
}

/// The sets of a cluster as a survey shows them.
pub fn sets(survey: &Survey, catalogue: &Catalogue) -> BTreeMap<u32, SetMoment> {
    let one = |set: &twinset_control::Set| {
        let led = survey.leader_status(set.id);
        let said = led.map(|status| if status.phase.is_empty() { &status.durability } else { &status.phase });
        let moment = SetMoment {
            leader: survey.leader(set.id).map(|(_, reply)| reply.node.clone()),
            home: set.home.clone(),
            phase: said.map_or_else(|| set.durability.to_string(), String::clone),
            incarnation: set.incarnation,
        };
        (set.id, moment)
    };
    catalogue.sets.values().map(one).collect()
}

/// One look, without payments: `last` is the newest catalogue that was ever seen. None while there was none.
pub async fn one(
    seeds: &[String],
    routers: &[Process],
    began: Instant,
    last: &mut Option<Catalogue>,
) -> Option<Moment> {
    let answering = routers.iter().map(async |router| {
        let listens = http1::listens(&router.http, ANSWER).await;
        (!listens).then(|| router.name.clone())
    });
    let (survey, silent) = join(admin::survey_within(seeds, ANSWER), join_all(answering)).await;
    *last = survey.catalogue.clone().or(last.take());
    let catalogue = last.as_ref()?;
    let unanswered =
        |node: &&twinset_control::Node| !matches!(survey.answers.get(&node.api_addr), Some(Ok(_)));
    let nodes = catalogue.nodes.values().filter(unanswered).map(|node| node.name.clone());
    Some(Moment {
        at_ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
        sets: sets(&survey, catalogue),
        silent: nodes.chain(silent.into_iter().flatten()).collect(),
        payments: Payments::default(),
    })
}

/// Looks every second until it is dropped; every look goes to `shown`.
pub async fn look(
    seeds: Vec<String>,
    routers: Vec<Process>,
    mut traffic: Option<Watch>,
    began: Instant,
    shown: watch::Sender<Vec<Moment>>,
) {
    let mut tick = tokio::time::interval(EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last: Option<Catalogue> = None;
    loop {
        tick.tick().await;
        let Some(moment) = one(&seeds, &routers, began, &mut last).await else { continue };
        let ended = traffic.as_mut().map(Watch::new_ones).unwrap_or_default();
        let moment = Moment { payments: Payments::of(&ended), ..moment };
        shown.send_modify(|all| all.push(moment));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_ranks_and_failures_are_counted() {
        let sample = |ms: u64, class| Sample { start_us: 5_000, end_us: 5_000 + ms * 1_000, set: 1, class };
        let mut all: Vec<Sample> = (1..=1_000).map(|ms| sample(ms, Class::Done)).collect();
        all[3].class = Class::Unknown;
        let found = Payments::of(&all);
        assert_eq!((found.ended, found.failed), (1_000, 1));
        assert_eq!((found.p50_ms, found.p99_ms, found.p999_ms, found.max_ms), (500.0, 990.0, 999.0, 1_000.0));
        assert_eq!(Payments::of(&[]), Payments::default());
    }
}
