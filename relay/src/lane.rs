//! The way of one set's events to one sink: what waits, what is tried again and when, what becomes a dead letter, and how far the
//! cursor is. One task for each; they wait for nobody else. The cursor moves behind an event when the receiver has taken it, or
//! when it is safely among the dead letters, or when the sink does not want it, and never past one that is still to be delivered.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::backoff::Backoff;
use crate::config::{DeadLetters as Policy, OnDead, Retry};
use crate::cursor::{self, Cursor, Place};
use crate::dead::{self, Cause, DeadLetters, Letter};
use crate::event::{Event, Filter};
use crate::metrics::{Attempt, Fate, Lane as Metrics};
use crate::sink::{Failure, Sink};
use crate::source::{End, Told};

/// How often a lane looks at its dead letters, and how long a cursor may wait that only passes what the sink does not want.
const TICK: Duration = Duration::from_secs(1);
/// So many such events do not wait.
const UNSAVED_MAX: usize = 1_000;

/// The relay cannot go on: what it knows could get lost.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// A cursor.
    #[error(transparent)]
    Cursor(#[from] cursor::Error),
    /// A dead letter.
    #[error(transparent)]
    Dead(#[from] dead::Error),
    /// A task that reads events is gone.
    #[error("set {set}: the task that reads its events has ended unasked")]
    Source {
        /// The set.
        set: u32,
    },
}

/// What a lane is made of.
pub struct Options {
    /// The sink.
    pub sink: Arc<dyn Sink>,
    /// Its name.
    pub name: String,
    /// The set.
    pub set: u32,
    /// What the sink wants.
    pub filter: Filter,
    /// When a delivery is tried again.
    pub retry: Retry,
    /// What becomes of what cannot be delivered.
    pub policy: Policy,
    /// Where the sink's place is kept.
    pub cursor: Cursor,
    /// Where the sink is now.
    pub place: Option<Place>,
    /// What was refused.
    pub letters: DeadLetters,
    /// The set's events, behind `place`.
    pub told: mpsc::Receiver<Told>,
    /// What is counted.
    pub metrics: Metrics,
    /// Nothing more is begun from then on.
    pub stop: CancellationToken,
}

/// The way of one set's events to one sink.
pub struct Lane {
    on: Options,
    /// What is to be delivered, the first one next.
    waiting: VecDeque<Event>,
    /// The last event that was looked at.
    seen: Option<Place>,
    /// Nothing before and at it is to be delivered.
    passed: Option<Place>,
    saved: Option<Place>,
    saved_at: Instant,
    unsaved: usize,
    /// Events of the next attempt: one after a failure, and twice as many after each success.
    size: usize,
    tries: u32,
    failing_since: Option<Instant>,
    backoff: Backoff,
    /// Why the first of those that wait will become a dead letter.
    given_up: Option<Cause>,
    letters_seen: Option<Instant>,
    halted: bool,
    end: Option<End>,
}

impl Lane {
    /// A lane that begins to work when it runs.
    pub fn new(options: Options) -> Lane {
        Lane {
            waiting: VecDeque::new(),
            seen: options.place.clone(),
            passed: options.place.clone(),
            saved: options.place.clone(),
            saved_at: Instant::now(),
            unsaved: 0,
            size: options.sink.batch().events,
            tries: 0,
            failing_since: None,
            backoff: Backoff::new(options.retry.bounds()),
            given_up: None,
            letters_seen: None,
            halted: false,
            end: None,
            on: options,
        }
    }

    /// Delivers until it is to stop or the events have ended.
    pub async fn run(mut self) -> Result<(), Fault> {
        while !self.on.stop.is_cancelled() {
            self.look_at_letters().await?;
            if let Some(cause) = self.given_up.take() {
                self.bury(cause).await?;
            } else if self.halted {
                self.pause(TICK).await;
            } else if !self.waiting.is_empty() {
                self.deliver().await?;
            } else if let Some(end) = self.end.take() {
                self.save().await?;
                self.on.metrics.stopped.set(1);
                tracing::error!(
                    sink = self.on.name,
                    set = self.on.set,
                    "no more events of this set are delivered until the relay is restarted: {end}"
                );
                return Ok(());
            } else {
                self.wait_for_events().await?;
            }
            if self.saved_at.elapsed() >= TICK || self.unsaved >= UNSAVED_MAX {
                self.save().await?;
            }
        }
        self.save().await
    }

    /// Takes in what was told, or waits a little for something.
    async fn wait_for_events(&mut self) -> Result<(), Fault> {
        let told = tokio::select! {
            told = self.on.told.recv() => told,
            () = tokio::time::sleep(TICK) => return Ok(()),
            () = self.on.stop.cancelled() => return Ok(()),
        };
        self.hear(told.ok_or(Fault::Source { set: self.on.set })?);
        while self.waiting.len() < self.on.sink.batch().events
            && self.unsaved < UNSAVED_MAX
            && let Ok(told) = self.on.told.try_recv()
        {
            self.hear(told);
        }
        Ok(())
    }

    fn hear(&mut self, told: Told) {
        let event = match told {
            Told::Event(event) => event,
            Told::End(end) => {
                self.end = Some(end);
                return;
            }
        };
        self.seen = Some(Place::from(&event));
        if self.on.filter.wants(&event) {
            if self.waiting.is_empty() {
                self.on.metrics.head(true);
            }
            self.waiting.push_back(event);
            return;
        }
        self.on.metrics.events(Fate::Filtered, 1);
        if self.waiting.is_empty() {
            self.passed.clone_from(&self.seen);
            self.unsaved += 1;
        }
    }

    async fn deliver(&mut self) -> Result<(), Fault> {
        let count = self.next_batch();
        let batch = &self.waiting.make_contiguous()[..count];
        let began = Instant::now();
        let delivery = self.on.sink.deliver(self.on.set, batch).await;
        self.count_attempt(delivery.failure.as_ref(), began);
        if delivery.taken > 0 {
            self.on.metrics.events(Fate::Delivered, delivery.taken);
            self.pass(delivery.taken).await?;
        }
        match delivery.failure {
            None => self.size = (self.size * 2).min(self.on.sink.batch().events),
            Some(failure) => self.failed(failure, count - delivery.taken).await,
        }
        Ok(())
    }

    /// How many of those that wait go into the next attempt: at least one.
    fn next_batch(&self) -> usize {
        let mut bytes = 0;
        let fits = |event: &&Event| {
            bytes += event.text.len();
            bytes <= self.on.sink.batch().bytes
        };
        self.waiting.iter().take(self.size).take_while(fits).count().max(1)
    }

    fn count_attempt(&self, failure: Option<&Failure>, began: Instant) {
        let end = match failure {
            None => Attempt::Taken,
            Some(failure) if failure.refused => Attempt::Refused,
            Some(_) => Attempt::Failed,
        };
        self.on.metrics.attempt(end, began.elapsed());
    }

    /// The first `count` of those that wait are dealt with.
    async fn pass(&mut self, count: usize) -> Result<(), Fault> {
        let last = self.waiting.drain(..count).next_back();
        self.passed =
            if self.waiting.is_empty() { self.seen.clone() } else { last.as_ref().map(Place::from) };
        self.tries = 0;
        self.failing_since = None;
        self.backoff.reset();
        self.on.metrics.head(!self.waiting.is_empty());
        self.save().await
    }

    /// What follows from a failure with so many events.
    async fn failed(&mut self, failure: Failure, events: usize) {
        self.size = 1;
        if failure.refused && events > 1 {
            // Which of them it is shows when they go one by one.
            return;
        }
        self.tries += 1;
        let since = *self.failing_since.get_or_insert_with(Instant::now);
        let Retry { tries_max, age_max_s, .. } = self.on.retry;
        let too_often = tries_max > 0 && self.tries >= tries_max;
        let too_long = age_max_s > 0 && since.elapsed() >= Duration::from_secs(age_max_s);
        if failure.refused || too_often || too_long {
            self.given_up = Some(Cause { why: failure.why, tries: self.tries, unix_s: now() });
            return;
        }
        if self.tries == 1 {
            let (sink, set) = (&self.on.name, self.on.set);
            tracing::warn!(sink, set, "a delivery failed and is tried again: {}", failure.why);
        }
        let pause = self.backoff.pause().max(failure.after.unwrap_or_default());
        self.pause(pause.min(self.on.retry.bounds().1)).await;
    }

    /// Puts the first of those that wait among the dead letters, if there is room.
    async fn bury(&mut self, cause: Cause) -> Result<(), Fault> {
        let (letters, max) = (self.on.letters.clone(), self.on.policy.max);
        let all = blocking(move || letters.list_all()).await?;
        if all.len() >= max {
            if self.on.metrics.halted.get() == 0 {
                let (sink, set) = (&self.on.name, self.on.set);
                tracing::error!(
                    sink,
                    set,
                    "{max} dead letters are all that is allowed; the set waits for room"
                );
            }
            self.on.metrics.halted.set(1);
            self.given_up = Some(cause);
            self.pause(TICK).await;
            return Ok(());
        }
        let event = self.waiting.front().cloned().expect("only what waits is given up");
        let Cause { why, tries, .. } = cause.clone();
        let key = event.key;
        let (letters, letter) = (self.on.letters.clone(), Letter { cause, event });
        blocking(move || letters.put(&letter)).await?;
        // Who reads this finds the letter.
        let (sink, set) = (&self.on.name, self.on.set);
        tracing::error!(sink, set, "event {key} is a dead letter after {tries} tries: {why}");
        self.on.metrics.events(Fate::Dead, 1);
        self.letters_seen = None;
        self.pass(1).await
    }

    /// Once a tick: delivers letters that somebody has asked for again, and finds out whether the set may go on.
    async fn look_at_letters(&mut self) -> Result<(), Fault> {
        if self.letters_seen.is_some_and(|at| at.elapsed() < TICK) {
            return Ok(());
        }
        for entry in self.letters().await?.into_iter().filter(|entry| entry.again) {
            if self.on.stop.is_cancelled() {
                return Ok(());
            }
            self.redeliver(entry).await?;
        }
        let left = self.letters().await?.len();
        self.letters_seen = Some(Instant::now());
        self.halted = left > 0 && self.on.policy.on_dead == OnDead::Halt;
        self.on.metrics.dead_letters.set(left as i64);
        // A list without room has said so already.
        if self.given_up.is_none() {
            self.on.metrics.halted.set(i64::from(self.halted));
        }
        Ok(())
    }

    async fn letters(&self) -> Result<Vec<dead::Entry>, Fault> {
        let (letters, set) = (self.on.letters.clone(), self.on.set);
        Ok(blocking(move || letters.list(set)).await?)
    }

    async fn redeliver(&mut self, entry: dead::Entry) -> Result<(), Fault> {
        let letters = self.on.letters.clone();
        let Letter { cause, event } = match blocking(move || letters.read(&entry)).await {
            // Dropped meanwhile.
            Err(dead::Error::Missing { .. }) => return Ok(()),
            found => found?,
        };
        let began = Instant::now();
        let delivery = self.on.sink.deliver(self.on.set, std::slice::from_ref(&event)).await;
        self.count_attempt(delivery.failure.as_ref(), began);
        let (sink, set, key) = (&self.on.name, self.on.set, event.key);
        let Some(failure) = delivery.failure else {
            tracing::info!(sink, set, "dead letter {key} is delivered");
            self.on.metrics.events(Fate::Delivered, 1);
            let letters = self.on.letters.clone();
            return Ok(blocking(move || letters.remove(&entry)).await?);
        };
        tracing::warn!(sink, set, "dead letter {key} stays: {}", failure.why);
        let cause = Cause { why: failure.why, tries: cause.tries + 1, unix_s: now() };
        let (letters, letter) = (self.on.letters.clone(), Letter { cause, event });
        Ok(blocking(move || letters.put_back(&letter)).await?)
    }

    /// Writes down how far the sink is, if that has changed.
    async fn save(&mut self) -> Result<(), Fault> {
        self.saved_at = Instant::now();
        self.unsaved = 0;
        if self.passed == self.saved {
            return Ok(());
        }
        if let Some(place) = self.passed.clone() {
            let cursor = self.on.cursor.clone();
            blocking(move || cursor.save(&place)).await?;
        }
        self.saved.clone_from(&self.passed);
        Ok(())
    }

    async fn pause(&self, pause: Duration) {
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = self.on.stop.cancelled() => {}
        }
    }
}

/// On a thread that may wait for a disk.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
