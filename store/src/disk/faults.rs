//! Faults of a simulated disk: which operation fails, counted from when the fault was asked for, and what its failing is
//! like. Pure counting; [`super`] carries a crash out.

use super::Crash;
use crate::fault::Fault;

/// What a store does to its disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// A batch is written.
    Write,
    /// The log is synced.
    Sync,
    /// A record is read, or a cursor moves.
    Read,
    /// A record goes into a file that is being built.
    Build,
    /// A built file is taken over.
    Ingest,
}

/// How an operation fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The disk refuses. Nothing is written.
    Error,
    /// The disk has no space. Nothing is written.
    Full,
    /// The process dies, or the power fails, before the operation.
    Crash(Crash),
}

/// Faults that wait for their operation.
#[derive(Default)]
pub(super) struct Plan(Vec<Planned>);

struct Planned {
    operation: Option<Operation>,
    left: u64,
    failure: Failure,
}

impl Plan {
    /// The `nth` operation of a kind, or of any kind, is to fail; the next one is the first.
    pub(super) fn add(&mut self, operation: Option<Operation>, nth: u64, failure: Failure) {
        self.0.push(Planned { operation, left: nth.max(1), failure });
    }

    /// Nothing fails any more.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// Counts an operation; how it fails, if it does.
    pub(super) fn count(&mut self, operation: Operation) -> Option<Failure> {
        let mut failure = None;
        self.0.retain_mut(|planned| {
            if planned.operation.is_some_and(|only| only != operation) {
                return true;
            }
            planned.left -= 1;
            if planned.left == 0 && failure.is_none() {
                failure = Some(planned.failure);
            }
            planned.left > 0
        });
        failure
    }
}

/// The fault that a store is told of, in the words of `what` it was doing.
pub(super) fn refused(what: &'static str, failure: Failure) -> Fault {
    match failure {
        Failure::Error => Fault::Disk { operation: what, detail: "a fault on purpose".to_owned() },
        Failure::Full => Fault::DiskFull { operation: what },
        Failure::Crash(_) => Fault::Closed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nth_operation_fails_once() {
        let mut plan = Plan::default();
        plan.add(Some(Operation::Sync), 2, Failure::Error);
        plan.add(None, 4, Failure::Full);
        let counted = [Operation::Sync, Operation::Write, Operation::Sync, Operation::Read, Operation::Sync]
            .map(|operation| plan.count(operation));
        assert_eq!(counted, [None, None, Some(Failure::Error), Some(Failure::Full), None]);
    }
}
