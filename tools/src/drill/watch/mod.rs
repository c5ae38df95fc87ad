//! Reports of what nobody planned. Looks at a cluster every second for as long as it is asked to, and when sets lose leaders, sites or
//! safety without a plan or a drill, keeps a report of that as drills have one: as soon as every set serves again, and once more when
//! all is as before. What clients went through is what the routers count.

mod incident;
mod scrape;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use futures::future::join_all;
use tokio::time::{Instant, MissedTickBehavior};
use twinset_control::Catalogue;

use super::calendar::Time;
use super::cast::Process;
use super::moment::{self, EVERY, Moment, Payments};
use super::play::now_unix_ms;
use super::record::{FORMAT, Judgement, Record, Second, Span};
use super::scenario::{Criteria, Guardrails, Scenario};
use super::{before, judge, moves, shelf};
use crate::cluster::admin::{self, Survey};
use crate::verify;
use incident::{Incident, Look, News, Watcher};
use scrape::Counts;

/// How long a router may take to say what it counts.
const ANSWER: Duration = Duration::from_millis(700);
/// Within that every set serves again after the loss of a site with an arbiter (docs/reference/performance.md).
const SERVES_WITHIN_MS: u64 = 5_000;

/// What is looked at, and where reports go.
#[derive(Clone, Debug)]
pub struct Options {
    /// Nodes to ask.
    pub seeds: Vec<String>,
    /// Routers.
    pub routers: Vec<Process>,
    /// Directory of the records.
    pub records: PathBuf,
}

/// Looks until it is dropped; `hear` gets what happens. An error if a report cannot be kept.
pub async fn watch(options: &Options, hear: &mut dyn FnMut(&str)) -> anyhow::Result<()> {
    let (began, began_unix_ms) = (Instant::now(), now_unix_ms());
    let mut tick = tokio::time::interval(EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut watcher, mut catalogue) = (Watcher::default(), None);
    let mut counted: BTreeMap<String, Counts> = BTreeMap::new();
    loop {
        tick.tick().await;
        let Some(moment) = moment::one(&options.seeds, &options.routers, began, &mut catalogue).await else {
            continue;
        };
        let calls = calls(&options.routers, &mut counted).await;
        let planned = catalogue.as_ref().is_some_and(is_planned);
        let moment = Moment { payments: calls.payments(), ..moment };
        let incident = match watcher.look(Look { moment, calls, planned }) {
            News::None => continue,
            News::Began(what) => {
                hear(&format!("{} {what}", Time::from_unix_ms(now_unix_ms())));
                continue;
            }
            News::Serves(incident) | News::Over(incident) => incident,
        };
        let survey = admin::survey(&options.seeds).await;
        let record = record(&incident, &survey, began_unix_ms).await;
        let page = shelf::write(&options.records, &record)?;
        let state = match (incident.over, incident.served) {
            (Some(_), _) => "all is as before",
            (None, Some(_)) => "every set serves again",
            (None, None) => "it goes on, and is told as it stands",
        };
        hear(&format!("{} {state}: {}", Time::from_unix_ms(now_unix_ms()), page.display()));
    }
}

/// What routers have counted since the last look, together.
async fn calls(routers: &[Process], counted: &mut BTreeMap<String, Counts>) -> Counts {
    let asked = join_all(routers.iter().map(|router| scrape::ask(&router.http, ANSWER))).await;
    let mut all = Counts::default();
    for (router, counts) in routers.iter().zip(asked) {
        let Some(counts) = counts else { continue };
        // The first look says nothing of the time since the one before.
        if let Some(before) = counted.insert(router.name.clone(), counts.clone()) {
            all.add(&counts.since(&before));
        }
    }
    all
}

/// Whether sets move, are isolated or go on in one site because somebody wants it.
fn is_planned(catalogue: &Catalogue) -> bool {
    catalogue.active_plans().next().is_some()
        || catalogue.active_drill().is_some()
        || catalogue.sites.values().any(|site| site.isolated)
        || catalogue.sets.values().any(|set| set.switch.is_some() || set.pinned)
}

async fn record(incident: &Incident, survey: &Survey, watched_from_unix_ms: u64) -> Record {
    let from_ms = incident.looks.first().map_or(0, |look| look.moment.at_ms);
    let began_unix_ms = watched_from_unix_ms + from_ms;
    let moves = moves::since(survey, began_unix_ms).await;
    let audit = survey.catalogue.as_ref().map(|catalogue| before::audit_since(catalogue, began_unix_ms));
    let told = Record { moves, audit: audit.unwrap_or_default(), ..told(incident, began_unix_ms) };
    let touched = told.sets.iter().max_by_key(|set| set.course.len()).map_or(1, |set| set.set);
    let home = survey.catalogue.as_ref().and_then(|catalogue| catalogue.sets.get(&touched));
    let home = home.map(|set| set.configured_home.clone()).unwrap_or_default();
    let away = survey.catalogue.as_ref().and_then(|catalogue| catalogue.other_site(&home)).map(str::to_owned);
    Record {
        set: touched,
        away: away.unwrap_or_default(),
        home,
        cluster: survey.catalogue.as_ref().map(|c| c.cluster_name.clone()).unwrap_or_default(),
        ..told
    }
}

/// The record, from the looks alone. Pure.
fn told(incident: &Incident, began_unix_ms: u64) -> Record {
    let from_ms = incident.looks.first().map_or(0, |look| look.moment.at_ms);
    let moments: Vec<Moment> = incident.looks.iter().map(|look| rebased(&look.moment, from_ms)).collect();
    let took_ms = moments.last().map_or(0, |moment| moment.at_ms) + EVERY.as_millis() as u64;
    let at = |look: usize| moments.get(look).map_or(took_ms, |moment| moment.at_ms);
    let began_ms = at(incident.began);
    let over_ms = incident.over.map_or(took_ms, at);
    let served_ms = incident.served.map_or(over_ms, at).min(over_ms);
    let span = |name: &str, from_ms: u64, to_ms: u64| Span {
        name: name.to_owned(),
        from_ms,
        to_ms,
        pause_ms: None,
        failed: None,
    };
    let spans = [
        span("before", 0, began_ms),
        span("until every set serves", began_ms, served_ms),
        span("until all is as before", served_ms, over_ms),
        span("after", over_ms, took_ms),
    ];
    let spans: Vec<Span> = spans.into_iter().filter(|span| span.from_ms < span.to_ms).collect();
    let third = |from: usize, to: usize| {
        let mut all = Counts::default();
        incident.looks[from..to].iter().for_each(|look| all.add(&look.calls));
        all.payments()
    };
    let end = incident.over.unwrap_or(incident.looks.len());
    let payments = [third(0, incident.began), third(incident.began, end), third(end, incident.looks.len())];
    let books =
        Ok(verify::Report { clean: true, accounts: 0, transactions: 0, in_transit: 0, lines: Vec::new() });
    let seen = judge::Seen {
        criteria: &Criteria {
            failed_max: 0,
            pause_ms_max: SERVES_WITHIN_MS,
            p99_ms_max: None,
            unsafe_s_max: None,
        },
        patience: 1.0,
        spans: &spans,
        acted_ms: (began_ms, over_ms),
        ended_ms: took_ms,
        stopped: None,
        moments: &moments,
        payments: None,
        proof: None,
        books: &books,
    };
    let sets = seen.sets();
    let criteria = criteria(incident, &payments[1], served_ms - began_ms);
    Record {
        format: FORMAT,
        id: format!("{}-failover", Time::from_unix_ms(began_unix_ms + began_ms).compact()),
        scenario: Scenario {
            name: "failover".into(),
            title: format!("Nobody planned it: {}", incident.what),
            proves: "What sets went through, as it was seen every second, and clients, as routers count it: times are bounds of \
                     their histograms."
                .into(),
            criteria: seen.criteria.clone(),
            guardrails: Guardrails::default(),
            stages: Vec::new(),
        },
        cluster: String::new(),
        set: 0,
        home: String::new(),
        away: String::new(),
        who: "nobody".into(),
        why: incident.what.clone(),
        seed: None,
        began_unix_ms,
        took_ms,
        load: 0,
        patience: 1.0,
        spans,
        acts: Vec::new(),
        moves: Vec::new(),
        stopped: None,
        seconds: moments.iter().map(|m| Second { at_ms: m.at_ms, payments: m.payments }).collect(),
        payments,
        moments,
        repeated: 0,
        errors: BTreeMap::new(),
        sets,
        verdict: judge::verdict(&criteria, false),
        criteria,
        audit: Vec::new(),
    }
}

fn criteria(incident: &Incident, meanwhile: &Payments, served_after_ms: u64) -> Vec<Judgement> {
    let served = incident.served.is_some();
    let found = match served {
        true => format!("after {:.0} s", served_after_ms as f64 / 1e3),
        false => "not yet".to_owned(),
    };
    let failed = format!("{} of {}", meanwhile.failed, meanwhile.ended);
    let state = if incident.over.is_some() { "it is" } else { "not yet" };
    vec![
        judge::judgement(
            "every set serves again",
            format!("within {} s", SERVES_WITHIN_MS / 1_000),
            found,
            served && served_after_ms <= SERVES_WITHIN_MS,
        ),
        judge::judgement("calls that failed", "none", failed, meanwhile.failed == 0),
        judge::judgement(
            "in the end",
            "every set led and SYNC, every process there",
            state.to_owned(),
            incident.over.is_some(),
        ),
    ]
}

fn rebased(moment: &Moment, from_ms: u64) -> Moment {
    Moment { at_ms: moment.at_ms - from_ms, ..moment.clone() }
}
