//! Check-back of overdue holds, from the words of ADR 15: what is known of the tries is read from what has happened to the hold.

use twinset_ledger::check_back::{Asking, Came, CheckBack, CheckedBack};
use twinset_ledger::{Begin, Command, Effect, Rejection, Transaction, TransactionId};

use super::hold::{Happened, Now, Past};
use super::{Here, Model};

/// Tries between two extensions.
const ENOUGH: usize = 100;

/// The tries of a hold since the beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tries {
    /// The number of the last one.
    pub last: u32,
    /// That when the expiry was last moved.
    pub before: u32,
    pub next_ns: u64,
    pub kept: bool,
    /// The attempt that is to confirm it.
    pub confirming: Option<TransactionId>,
}

impl Tries {
    pub fn of(past: &[Past]) -> Tries {
        let mut tries = Tries::default();
        for Past { what, .. } in past {
            match *what {
                Happened::Tried { no, came } => {
                    tries.last = no;
                    tries.kept = came == Came::Kept;
                    if let Came::Pending { next_ns } | Came::Failed { next_ns, .. } = came {
                        tries.next_ns = next_ns;
                    }
                }
                Happened::Extended { .. } => {
                    (tries.before, tries.next_ns, tries.kept) = (tries.last, 0, false);
                }
                Happened::InHand { by, confirms: Some(_), .. } => tries.confirming = Some(by),
                Happened::LetGo { by } | Happened::Captured { by, .. } if tries.confirming == Some(by) => {
                    tries.confirming = None;
                }
                _ => {}
            }
        }
        tries
    }

    pub fn record(self, terms: &CheckBack) -> Asking {
        Asking {
            terms: terms.clone(),
            tries: self.last,
            tries_before: self.before,
            next_ns: self.next_ns,
            confirming: self.confirming.is_some(),
            kept: self.kept,
        }
    }
}

impl Now {
    /// Whether its initiator may be asked for the try of that number.
    fn waits_for(&self, here: Here, no: u32) -> bool {
        let Tries { last, next_ns, kept, confirming, .. } = self.tries;
        self.checked_back
            && self.ended.is_none()
            && self.time_is_over(here)
            && next_ns <= here.time_unix_ns
            && !kept
            && confirming.is_none()
            && u64::from(no) == u64::from(last) + 1
    }
}

impl Model {
    pub(super) fn checked_back(&mut self, here: Here, done: &CheckedBack) -> Result<Effect, Rejection> {
        let CheckedBack { hold, no, came } = *done;
        let out_of_place = Rejection::StepOutOfPlace { attempt: hold };
        let Some(account) = self.held_account.get(&hold).cloned() else { return Err(out_of_place) };
        let now = self.accounts[&account].holds.now(hold);
        if !now.waits_for(here, no) {
            return Err(out_of_place);
        }
        let again = matches!(came, Came::Pending { .. } | Came::Failed { .. });
        if again && (now.tries.last - now.tries.before) as usize >= ENOUGH {
            return Err(Rejection::HoldJournalFull { hold });
        }
        self.happens(here, hold, Happened::Tried { no, came });
        if matches!(came, Came::Cancelled | Came::Released) {
            self.happens(here, hold, Happened::Released { amount: now.left() });
        }
        Ok(self.held(hold))
    }

    /// Why a new transaction that is named as a confirmation may not be taken in now.
    pub(super) fn confirms_wrongly(&self, here: Here, command: &Command) -> Option<Rejection> {
        let (Command::Transaction(transaction) | Command::Begin(Begin { transaction, .. })) = command else {
            return None;
        };
        let (hold, no) = confirmed(transaction)?;
        let account = self.held_account.get(&hold)?;
        let holds = &self.accounts[account].holds;
        let now = holds.now(hold);
        if now.ended.is_some() {
            return None;
        }
        let normal = self.accounts[account].normal;
        let to = holds.terms(hold).map(|terms| &terms.to);
        let pays = match transaction.legs.as_slice() {
            [from, into] => from.account == *account && from.side != normal && Some(&into.account) == to,
            _ => false,
        };
        let right = pays && now.waits_for(here, no);
        (!right).then_some(Rejection::StepOutOfPlace { attempt: hold })
    }
}

/// Which try of which hold a transaction is named by.
pub(super) fn confirmed(transaction: &Transaction) -> Option<(TransactionId, u32)> {
    let (hold, no) = transaction.request_id.strip_prefix("~confirm-")?.rsplit_once('-')?;
    Some((hold.parse().ok()?, no.parse().ok()?))
}
