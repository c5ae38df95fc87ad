//! A drill's record in the control set, kept alive while it is played: one drill at a time, and whoever plays it says every
//! few seconds that it does. When that stops, the cluster ends the drill by itself; and an operator can ask from anywhere for
//! it to stop.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::task::AbortOnDropHandle;
use twinset_control::drill::{self, State, Verdict};
use twinset_control::{Command, Effect};

use super::record;
use crate::cluster::{admin, control};
use crate::error;

/// For how long a drill goes on without a word of whoever plays it.
const LEASE_MS: u64 = 30_000;
/// Between two words.
const EXTEND_EVERY: Duration = Duration::from_secs(10);
/// Between two looks at whether it is to stop.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long the control set may take to record one. The faults of a drill may have taken its leader.
const RECORD_WITHIN: Duration = Duration::from_secs(10);
/// The same for the end, which is not to be lost.
const END_WITHIN: Duration = Duration::from_secs(30);

/// A drill on record.
pub struct Hold {
    id: u64,
    who: String,
    seeds: Vec<String>,
    wanted: watch::Receiver<Option<String>>,
    _keeper: AbortOnDropHandle<()>,
}

impl Hold {
    /// Records that a drill begins; refused while another one is under way.
    pub async fn begin(
        seeds: &[String],
        (request_id, scenario): (&str, &str),
        set: u32,
        (who, why): (&str, &str),
    ) -> anyhow::Result<Hold> {
        let begin = drill::Command::Begin {
            request_id: request_id.to_owned(),
            scenario: scenario.to_owned(),
            set,
            lease_ms: LEASE_MS,
            who: who.to_owned(),
            why: why.to_owned(),
        };
        let id = match propose(seeds, begin, RECORD_WITHIN).await {
            Ok(Effect::DrillBegun { id }) => id,
            Ok(other) => anyhow::bail!("the control set answered something else: {other:?}"),
            Err(refused) => {
                return Err(error::failure(
                    format!("the drill does not begin: {refused}"),
                    "`twinset drill list` shows the one that is under way, `twinset drill stop` stops it",
                ));
            }
        };
        let (tell, wanted) = watch::channel(None);
        let keeper = AbortOnDropHandle::new(tokio::spawn(keep(seeds.to_vec(), id, who.to_owned(), tell)));
        Ok(Hold { id, who: who.to_owned(), seeds: seeds.to_vec(), wanted, _keeper: keeper })
    }

    /// Waits until somebody wants it to stop.
    pub async fn wanted(&self) -> String {
        let mut wanted = self.wanted.clone();
        match wanted.wait_for(Option::is_some).await {
            Ok(how) => how.clone().unwrap_or_default(),
            Err(_) => std::future::pending().await,
        }
    }

    /// Records how it has ended.
    pub async fn end(self, verdict: record::Verdict) -> Result<(), String> {
        let verdict = match verdict {
            record::Verdict::Passed => Verdict::Passed,
            record::Verdict::Failed => Verdict::Failed,
            record::Verdict::Stopped => Verdict::Stopped,
        };
        let end = drill::Command::End { drill: self.id, verdict, who: self.who.clone() };
        propose(&self.seeds, end, END_WITHIN).await.map(drop)
    }
}

/// Says again and again that the drill is played, and looks whether it is to stop.
async fn keep(seeds: Vec<String>, id: u64, who: String, tell: watch::Sender<Option<String>>) {
    let mut tick = tokio::time::interval(LOOK_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut due = Instant::now() + EXTEND_EVERY;
    loop {
        tick.tick().await;
        if Instant::now() >= due {
            // If it did not get through it is said again at the next look; what the control set thinks of it is seen in its catalogue.
            let extended = propose(
                &seeds,
                drill::Command::Extend { drill: id, lease_ms: LEASE_MS, who: who.clone() },
                RECORD_WITHIN,
            )
            .await;
            if extended.is_ok() {
                due = Instant::now() + EXTEND_EVERY;
            }
        }
        let survey = admin::survey_within(&seeds, LOOK_EVERY).await;
        let known = survey.catalogue.as_ref().and_then(|catalogue| catalogue.drills.get(&id));
        let how = match known.map(|drill| &drill.state) {
            None | Some(State::Running) => continue,
            Some(State::Stopping { who, why }) => format!("{who} wants it: {why}"),
            Some(State::Ended { verdict }) => format!("the control set has ended it: {verdict:?}"),
        };
        tell.send_replace(Some(how));
    }
}

/// Asks for the drill under way to stop; gives its number, if there is one.
pub async fn stop(seeds: &[String], who: &str, why: &str) -> anyhow::Result<Option<u64>> {
    let stop = drill::Command::Stop { who: who.to_owned(), why: why.to_owned() };
    match propose(seeds, stop, RECORD_WITHIN).await {
        Ok(Effect::DrillStopping { drill }) => Ok(drill),
        Ok(other) => anyhow::bail!("the control set answered something else: {other:?}"),
        Err(refused) => {
            let next = "it can be asked for again; Ctrl-C where the drill runs stops it as well";
            Err(error::failure(refused, next))
        }
    }
}

async fn propose(seeds: &[String], command: drill::Command, within: Duration) -> Result<Effect, String> {
    let survey = admin::survey(seeds).await;
    let catalogue = survey.catalogue().map_err(|error| error.to_string())?;
    let reply = control::propose(&survey, catalogue, &Command::Drill(command), within).await;
    reply.map(|reply| reply.effect).map_err(|refused| refused.to_string())
}
