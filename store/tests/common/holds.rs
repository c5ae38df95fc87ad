//! Holds in a load, and what must be found of them.

use rust_decimal::Decimal;
use twinset_ledger::account::Side;
use twinset_ledger::check_back::{Came, CheckBack, CheckedBack, Failure, OnExpiry};
use twinset_ledger::command::{Command, Leg, Metadata, Transaction};
use twinset_ledger::hold::{Capture, Hold, PlaceHold};
use twinset_ledger::id::{Position, TransactionId};
use twinset_ledger::memory::MemoryState;
use twinset_ledger::state::State;
use twinset_store::{LedgerReplica, OverdueHolds};

use super::{ACCOUNTS, Dice, FIRST_LOAD, Load, incarnation, is_mixed, name};

/// Who is asked about overdue holds.
const INITIATOR: &str = "bank";
/// The kinds of command that place one.
const PLACES: std::ops::RangeInclusive<u64> = 29..=31;

/// Ledger time about that entry: it goes on by one for each command, of which an entry has so many, blank ones counted.
fn about(index: u64) -> u64 {
    1_700_000_000_000_000_000 + index * 28
}

impl Load {
    pub(super) fn place(self, index: u64, offset: u64) -> Command {
        let mut dice = self.dice(index, offset + 9000);
        let ends = about(index) + dice.roll(350);
        let no = dice.roll(u64::from(ACCOUNTS)) as u32;
        let (initiator, to) = (INITIATOR.to_owned(), name((no + 1) % ACCOUNTS));
        let on_expiry = match dice.roll(3) {
            0 => OnExpiry::CheckBack(CheckBack { initiator, to }),
            _ => OnExpiry::Release,
        };
        Command::PlaceHold(PlaceHold {
            request_id: format!("hold-{index}-{offset}"),
            account: name(no),
            amount: Decimal::new(60 + dice.roll(100) as i64, 2),
            currency: None,
            expires_ns: (on_expiry != OnExpiry::Release || dice.roll(2) == 0).then_some(ends),
            on_expiry,
            reason: 7,
            metadata: Metadata::new(),
        })
    }

    /// A hold that was placed a while ago, if one was in the entry that the dice name, and its account.
    pub(super) fn placed_before(self, index: u64, dice: &mut Dice) -> Option<(TransactionId, String)> {
        self.one_placed_before(index, dice, |_| true)
    }

    fn one_placed_before(
        self,
        index: u64,
        dice: &mut Dice,
        wanted: impl Fn(&PlaceHold) -> bool,
    ) -> Option<(TransactionId, String)> {
        let entry = index.saturating_sub(2 * (1 + dice.roll(12))).max(FIRST_LOAD);
        let kind = |offset| self.dice(entry, offset).roll(40);
        let placed = |offset| match self.place(entry, offset) {
            Command::PlaceHold(place) => wanted(&place).then_some((offset, place.account)),
            _ => unreachable!("it places a hold"),
        };
        let all = (0..self.count(entry)).filter(|&offset| is_mixed(entry) && PLACES.contains(&kind(offset)));
        let mut all: Vec<(u64, String)> = all.filter_map(placed).collect();
        let at = dice.roll(all.len().max(1) as u64) as usize;
        let (offset, account) = (at < all.len()).then(|| all.swap_remove(at))?;
        let position = Position::new(entry, offset as u16);
        Some((TransactionId { set: self.set, incarnation: incarnation(entry), position }, account))
    }

    /// What came of asking about such a hold.
    pub(super) fn try_hold(self, index: u64, dice: &mut Dice) -> Option<Command> {
        let (hold, _) = self.one_placed_before(index, dice, |place| place.on_expiry != OnExpiry::Release)?;
        let next_ns = about(index) + dice.roll(200);
        let came = match dice.roll(4) {
            0 => Came::Cancelled,
            1 => Came::Kept,
            2 => Came::Failed { why: Failure::TimedOut, next_ns },
            _ => Came::Pending { next_ns },
        };
        let no = 1 + u32::from(dice.roll(4) == 0);
        Some(Command::CheckedBack(CheckedBack { hold, no, came }))
    }

    /// Something about such a hold.
    pub(super) fn use_hold(self, index: u64, offset: u64, dice: &mut Dice) -> Option<Command> {
        let (hold, account) = self.placed_before(index, dice)?;
        let request_id = format!("use-{index}-{offset}");
        Some(match dice.roll(8) {
            0 => Command::ReleaseHold { request_id, account, hold, amount: None },
            1 => Command::ReleaseHold { request_id, account, hold, amount: Some(Decimal::new(3, 2)) },
            2 => Command::ExtendHold { request_id, account, hold, expires_ns: None },
            3 | 5 => Command::ExpireHold { hold },
            kind => {
                let amount = Decimal::new(5 + dice.roll(40) as i64, 2);
                let payee = name(dice.roll(u64::from(ACCOUNTS)) as u32);
                let payee = if payee == account { name(ACCOUNTS - 1 - dice.roll(2) as u32) } else { payee };
                if payee == account {
                    return None;
                }
                Command::Transaction(Transaction {
                    request_id,
                    legs: vec![
                        Leg::new(&account, Side::Debit, amount),
                        Leg::new(&payee, Side::Credit, amount),
                    ],
                    scope_account: Some(account),
                    capture: Some(Capture { hold, is_final: kind == 4 }),
                    ..Transaction::default()
                })
            }
        })
    }
}

/// Compares every hold with the model's, by name and by account.
pub(super) fn compare(replica: &LedgerReplica, model: &MemoryState, dice: &mut Dice) {
    for (no, account) in (0..).zip(model.accounts()) {
        let expected: Vec<&Hold> = model.holds().iter().filter(|hold| hold.account == no).collect();
        let even = dice.roll(2) == 0;
        let wanted = |hold: &Hold| !even || hold.id.position.offset().is_multiple_of(2);
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let page = replica.holds(&account.id, after, 3, |hold, _| wanted(hold)).unwrap().value.unwrap();
            found.extend(page.holds);
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        let listed: Vec<&Hold> = found.iter().map(|record| &record.hold).collect();
        let asked: Vec<&Hold> = expected.iter().copied().filter(|hold| wanted(hold)).collect();
        assert_eq!(listed, asked, "the holds of {}", account.id);
        for hold in expected {
            let record = replica.hold(&account.id, hold.id).unwrap().value.unwrap();
            assert_eq!(&record.hold, hold);
            let (command, outcome) = model.original(hold.id.position).unwrap().unwrap();
            assert_eq!(Command::PlaceHold(record.placed), command);
            assert_eq!(record.placed_ns, outcome.time_unix_ns);
            assert_eq!((record.currency.as_str(), record.scale), (account.currency.as_str(), account.scale));
            let other = TransactionId { incarnation: hold.id.incarnation + 1, ..hold.id };
            assert_eq!(replica.hold(&account.id, other).unwrap().value, None);
            assert_eq!(replica.hold("nobody", hold.id).unwrap().value, None);
        }
    }
    let last = model.last_time();
    let is_over = |hold: &&Hold| hold.ended.is_none() && hold.expires_ns.is_some_and(|end| end <= last);
    let is_due = |hold: &&Hold| is_over(hold) && hold.check_back.is_none();
    let mut due: Vec<TransactionId> = model.holds().iter().filter(is_due).map(|hold| hold.id).collect();
    let mut found = replica.due_holds(last, usize::MAX);
    due.sort();
    found.sort();
    assert_eq!(found, due);
    let is_asked = |hold: &&Hold| hold.asked_from_ns().is_some_and(|from| from <= last);
    let mut asked: Vec<TransactionId> = model.holds().iter().filter(is_asked).map(|hold| hold.id).collect();
    let mut found = replica.holds_to_ask(INITIATOR, last, usize::MAX);
    asked.sort();
    found.sort();
    assert_eq!(found, asked);
    let overdue = model.holds().iter().filter(|hold| hold.is_overdue(last));
    let (kept, waiting): (Vec<&Hold>, Vec<&Hold>) =
        overdue.partition(|hold| hold.check_back.as_ref().is_some_and(|asking| asking.kept));
    let expected = OverdueHolds { asked: waiting.len(), kept: kept.len(), unconfigured: 0 };
    assert_eq!(replica.overdue_holds(last, |initiator| initiator == INITIATOR), expected);
    let mut expected: Vec<&Hold> = model.holds().iter().filter(|hold| hold.is_overdue(last)).collect();
    expected.sort_by_key(|hold| (hold.expires_ns, hold.id.position));
    let (mut found, mut from) = (Vec::new(), (0, Position(0)));
    loop {
        // A clock that is behind changes nothing.
        let page = replica.overdue_page(from, dice.roll(last + 1), 2).unwrap().value;
        found.extend(page.holds.into_iter().map(|record| record.hold));
        let Some(end) = found.last().filter(|_| page.more) else { break };
        from = (end.expires_ns.unwrap(), Position(end.id.position.0 + 1));
    }
    assert_eq!(found.iter().collect::<Vec<_>>(), expected);
    let open = model.holds().iter().filter(|hold| !hold.is_over()).count();
    assert_eq!(replica.open_holds(), open);
}
