//! Atomic batches: transactions of one set that clients send together, and send again together.

use std::ops::Range;

use twinset_ledger::{Command, Outcome};

use super::{ACCOUNTS, Ask, World};

impl World {
    /// A client asks for transactions that are to be booked together; each is made one of this set, or left out.
    pub(super) fn ask_together(&mut self, set: u32, asks: &[Ask]) {
        // Of those that mostly have the same currency.
        let is_own = |at: &usize| ACCOUNTS[*at].1 == set && ACCOUNTS[*at].2.is_none();
        let own: Vec<usize> = (0..ACCOUNTS.len() - 1).filter(is_own).collect();
        let first = self.asked.len();
        for ask in asks {
            if let Some(command) = self.within(set, &own, ask) {
                self.asked.push((set, command));
            }
        }
        let batch = first..self.asked.len();
        if !batch.is_empty() {
            self.batches.extend(batch.clone().map(|request| (request, batch.clone())));
            self.send_together(batch);
        }
    }

    /// The announcement, and then each.
    pub(super) fn send_together(&mut self, batch: Range<usize>) {
        let count = u16::try_from(batch.len()).expect("a few");
        let set = self.asked[batch.start].0;
        let proposed = self.proposed.entry(set).or_default();
        proposed.push((Command::Together { count }, None));
        proposed.extend(batch.map(|request| (self.asked[request].1.clone(), Some(request))));
    }

    /// The transaction with its legs on accounts of that set.
    fn within(&self, set: u32, own: &[usize], ask: &Ask) -> Option<Command> {
        let mut ask = ask.clone();
        let Ask::Transaction { legs, .. } = &mut ask else { return None };
        legs.iter_mut().for_each(|(at, ..)| *at = own[*at % own.len()]);
        let (at, command) = self.command(&ask, None)?;
        // What captures a hold of another set is that one's.
        (at == set && matches!(command, Command::Transaction(_))).then_some(command)
    }

    /// After an entry: of a batch all is booked, or nothing is that was not booked before.
    pub(super) fn check_batches(&mut self, commands: &[Command], outcomes: &[Outcome]) {
        for (at, command) in commands.iter().enumerate() {
            let Command::Together { count } = command else { continue };
            let members = &outcomes[at + 1..][..usize::from(*count)];
            let booked = members.iter().filter(|one| one.result.is_ok()).count();
            let news = members.iter().filter(|one| one.result.is_ok() && !one.replayed).count();
            assert!(booked == members.len() || news == 0, "a part of a batch is booked: {members:?}");
            let refused = members.iter().any(|one| one.result.is_err() && !one.replayed);
            self.saw(if members.len() == 1 {
                "batch of one"
            } else if news > 0 {
                "batch booked"
            } else if refused {
                "batch refused"
            } else {
                "batch again"
            });
        }
    }

    /// Whether a batch goes with its leader: before it got into the log, or untold.
    pub(super) fn saw_crash_of_batches(&mut self, commands: &[Command], when: &str) {
        let count = commands.iter().filter(|command| matches!(command, Command::Together { .. })).count();
        (0..count).for_each(|_| self.saw(format!("crash {when} a batch")));
    }
}
