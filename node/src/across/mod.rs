//! Transactions over several sets, as the leaders of the sets carry them on: what is proposed to which log, and when. The
//! rules are the ledger's ([`twinset_ledger::attempt`]); whatever is lost here is found again in the logs.
//!
//! - `course`: one attempt at its coordinator, pure: what has been heard decides what is asked for next;
//! - `driver`: the task of one hosted replica. While that leads, it carries on the attempts that its set coordinates, and
//!   asks what became of those that its set has waited for too long;
//! - `inquiries`: whose turn it is when those are asked about, pure;
//! - `ways`: how the leaders of other sets are reached.
//!
//! A message to another set leaves only after what it rests on is safe: it goes out when the proposer, whose answers pass
//! the gate, has answered. So does every answer to it. Each carries the incarnation of the set that asks.

mod course;
mod driver;
mod inquiries;
mod ways;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};
use twinset_ledger::{Effect, Outcome, Rejection, TransactionId, codec};
use twinset_proto::cluster::v1 as wire;

pub use driver::Driver;
pub use ways::Ways;

/// Calls whose attempts wait to be taken over by the driver; the proposer's answers wait when it is full.
const INBOX: usize = 1_024;

/// Timers and bounds of transactions over several sets.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AcrossConfig {
    /// A coordinator gives an attempt up when a set has not answered for so long.
    pub give_up_ms: u64,
    /// A set that has set its part aside asks the coordinator after so long, and again.
    pub inquire_ms: u64,
    /// Attempts under way in one set; more are refused as overloaded.
    pub attempts_max: usize,
}

impl Default for AcrossConfig {
    fn default() -> Self {
        // A change of leaders takes two seconds at most, and a router's clients wait for five by default.
        AcrossConfig { give_up_ms: 3_000, inquire_ms: 2_000, attempts_max: 20_000 }
    }
}

/// What comes of an attempt in the end.
type Ended = Result<Effect, Rejection>;

/// Somebody waits for the end of an attempt.
struct Registration {
    attempt: TransactionId,
    ended: oneshot::Sender<Ended>,
}

/// Handle to the driver of one replica.
#[derive(Clone)]
pub struct Across {
    set: u32,
    inbox: mpsc::Sender<Vec<Registration>>,
    open: Arc<AtomicUsize>,
    attempts_max: usize,
}

/// The driver's end of it.
pub struct Inbox {
    registrations: mpsc::Receiver<Vec<Registration>>,
    open: Arc<AtomicUsize>,
}

impl Across {
    /// A handle, and what the driver is made with.
    pub fn new(set: u32, config: &AcrossConfig) -> (Across, Inbox) {
        let (inbox, registrations) = mpsc::channel(INBOX);
        let open = Arc::new(AtomicUsize::new(0));
        let across = Across { set, inbox, open: open.clone(), attempts_max: config.attempts_max };
        (across, Inbox { registrations, open })
    }

    /// Whether another attempt may begin.
    pub fn has_room(&self) -> bool {
        self.open.load(Ordering::Relaxed) < self.attempts_max
    }

    /// Waits for the end of what the answers of a call have begun.
    pub async fn awaited(&self, outcomes: wire::Outcomes) -> Awaited {
        let wire::Outcomes { index, outcomes } = outcomes;
        let mut registrations = Vec::new();
        let mut answers = Vec::with_capacity(outcomes.len());
        for bytes in outcomes {
            let outcome = codec::decode_outcome(&bytes).expect("this replica has just encoded it");
            if outcome.result != Ok(Effect::Begun) {
                answers.push(Answer::Given(bytes));
                continue;
            }
            let Outcome { incarnation, position, .. } = outcome;
            let attempt = TransactionId { set: self.set, incarnation, position };
            let (ended, end) = oneshot::channel();
            registrations.push(Registration { attempt, ended });
            answers.push(Answer::Begun(outcome, end));
        }
        if !registrations.is_empty() {
            // Without a driver the node is about to end, and whoever waits hears that nothing more comes.
            let _ = self.inbox.send(registrations).await;
        }
        Awaited { index, answers }
    }

    /// The end of one attempt; None: this replica leads no more.
    pub async fn end_of(&self, attempt: TransactionId) -> Option<Ended> {
        let (ended, end) = oneshot::channel();
        self.inbox.send(vec![Registration { attempt, ended }]).await.ok()?;
        end.await.ok()
    }
}

/// The answers of one call, some of which come later.
pub struct Awaited {
    index: u64,
    answers: Vec<Answer>,
}

enum Answer {
    Given(Bytes),
    Begun(Outcome, oneshot::Receiver<Ended>),
}

impl Awaited {
    /// All answers. None: of one of them nobody here can tell any more.
    pub async fn all(self) -> Option<wire::Outcomes> {
        let mut outcomes = Vec::with_capacity(self.answers.len());
        for answer in self.answers {
            outcomes.push(match answer {
                Answer::Given(bytes) => bytes,
                Answer::Begun(begun, end) => {
                    let outcome = Outcome { result: end.await.ok()?, ..begun };
                    let mut bytes = Vec::new();
                    codec::encode_outcome(&outcome, &mut bytes);
                    bytes.into()
                }
            });
        }
        Some(wire::Outcomes { index: self.index, outcomes })
    }
}
