//! What clients asked and what they were told, judged as it comes: an answer is never older than what was known when its call
//! began, and all answers to one request id agree. What can be judged only when everything is known is `books.rs`'s.

use std::collections::BTreeMap;

use twinset_ledger::TransactionId;

/// One transfer, under one request id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transfer {
    /// Who pays: the scope of the request id.
    pub from: String,
    /// Who gets it.
    pub to: String,
    /// How much, in cents.
    pub cents: i64,
}

/// An account as some answer shows it, in cents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// Which.
    pub account: String,
    /// Its balance.
    pub posted: i64,
    /// What it can spend.
    pub available: i64,
}

/// A definite answer to a transfer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decided {
    /// It was booked.
    Booked(TransactionId),
    /// The ledger said no, in this entry of this set.
    Rejected {
        /// Why.
        code: String,
        /// The set.
        set: u32,
        /// The index of the entry.
        index: u64,
    },
}

impl Decided {
    fn place(&self) -> (u32, u64) {
        match self {
            Decided::Booked(id) => (id.set, id.position.index()),
            Decided::Rejected { set, index, .. } => (*set, *index),
        }
    }
}

/// A request id and what is known of it.
#[derive(Debug)]
pub struct Request {
    /// What it asks for.
    pub transfer: Transfer,
    /// The first definite answer.
    pub decided: Option<Decided>,
    /// The accounts as they were right after it.
    pub shown: Vec<Shown>,
    /// What the final look-up said; an inner None: there is no such request.
    pub found: Option<Option<Decided>>,
    floors: BTreeMap<u32, u64>,
}

/// A read of one account that was answered.
#[derive(Debug)]
pub struct Look {
    /// The set.
    pub set: u32,
    /// What the answer stands for: everything up to this entry.
    pub index: u64,
    /// The answer.
    pub shown: Shown,
}

/// The highest entry of each set that anybody had been told of when a call began.
pub type Floors = BTreeMap<u32, u64>;

/// The history of a run.
#[derive(Default)]
pub struct History {
    /// All transfers, by request id.
    pub requests: BTreeMap<String, Request>,
    /// All reads.
    pub looks: Vec<Look>,
    /// Calls that got a definite answer.
    pub answered: u64,
    /// Calls that did not.
    pub unanswered: u64,
    told: Floors,
    violations: Vec<String>,
}

impl History {
    /// What was found wrong so far.
    pub fn violations(&mut self) -> Vec<String> {
        std::mem::take(&mut self.violations)
    }

    /// A call begins.
    pub fn floors(&self) -> Floors {
        self.told.clone()
    }

    /// A transfer is about to be sent for the first time.
    pub fn begin(&mut self, request_id: &str, transfer: &Transfer) {
        let floors = self.told.clone();
        let request =
            Request { transfer: transfer.clone(), decided: None, shown: Vec::new(), found: None, floors };
        self.requests.insert(request_id.to_owned(), request);
    }

    /// A transfer was answered; `floors` are those of this attempt.
    pub fn decided(&mut self, request_id: &str, decided: Decided, shown: Vec<Shown>, replayed: bool) {
        self.answered += 1;
        let (set, index) = decided.place();
        let Some(request) = self.requests.get_mut(request_id) else { return };
        // Whatever attempt it was: it cannot have been decided before the first one was sent.
        let floor = request.floors.get(&set).copied().unwrap_or(0);
        if index <= floor {
            self.violations.push(format!(
                "real time: {request_id} was decided at {set}/{index}, but {set}/{floor} was known before it was sent"
            ));
        }
        match &request.decided {
            Some(first) if *first != decided => self
                .violations
                .push(format!("exactly once: {request_id} was answered {first:?} and then {decided:?}")),
            Some(_) if !replayed => {
                self.violations
                    .push(format!("exactly once: {request_id} was decided a second time at {set}/{index}"));
            }
            Some(_) => {}
            None => {
                request.decided = Some(decided);
                request.shown = shown;
            }
        }
        self.heard(set, index);
    }

    /// An account was read.
    pub fn looked(&mut self, floors: &Floors, look: Look) {
        self.answered += 1;
        let floor = floors.get(&look.set).copied().unwrap_or(0);
        if look.index < floor {
            self.violations.push(format!(
                "real time: a read of {} stands for {}/{}, but {}/{floor} was known before it was sent",
                look.shown.account, look.set, look.index, look.set
            ));
        }
        self.heard(look.set, look.index);
        self.looks.push(look);
    }

    /// A call has no definite answer.
    pub fn open(&mut self) {
        self.unanswered += 1;
    }

    /// The same request id with another body was not refused.
    pub fn wrong_body_taken(&mut self, request_id: &str, answer: &str) {
        self.violations.push(format!("exactly once: {request_id} with another body was answered {answer}"));
    }

    /// An account that was opened is not there.
    pub fn lost(&mut self, account: &str) {
        self.violations.push(format!("lost: there is no account {account}"));
    }

    fn heard(&mut self, set: u32, index: u64) {
        let told = self.told.entry(set).or_default();
        *told = (*told).max(index);
    }
}

#[cfg(test)]
mod tests {
    use twinset_ledger::Position;

    use super::*;

    fn booked(index: u64) -> Decided {
        Decided::Booked(TransactionId { set: 1, incarnation: 1, position: Position::new(index, 0) })
    }

    fn begun() -> History {
        let mut history = History::default();
        let transfer = Transfer { from: "a".to_owned(), to: "b".to_owned(), cents: 1 };
        history.begin("first", &transfer);
        history.decided("first", booked(5), Vec::new(), false);
        history.begin("second", &transfer);
        assert!(history.violations().is_empty());
        history
    }

    #[test]
    fn an_answer_from_before_its_call_is_noticed() {
        let mut history = begun();
        history.decided("second", booked(6), Vec::new(), false);
        assert!(history.violations().is_empty());
        let mut history = begun();
        history.decided("second", booked(5), Vec::new(), false);
        assert_eq!(history.violations().len(), 1);
        let shown = Shown { account: "a".to_owned(), posted: 0, available: 0 };
        let floors = history.floors();
        history.looked(&floors, Look { set: 1, index: 5, shown: shown.clone() });
        assert!(history.violations().is_empty());
        history.looked(&floors, Look { set: 1, index: 4, shown });
        assert_eq!(history.violations().len(), 1);
    }

    #[test]
    fn a_second_decision_is_noticed() {
        let mut history = begun();
        history.decided("first", booked(5), Vec::new(), true);
        assert!(history.violations().is_empty(), "the first answer again");
        history.decided("first", booked(5), Vec::new(), false);
        assert_eq!(history.violations().len(), 1, "decided anew");
        history.decided("first", booked(7), Vec::new(), true);
        assert_eq!(history.violations().len(), 1, "somewhere else");
    }
}
