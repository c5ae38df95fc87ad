//! Restricted funds in a load, and what must be found of them.

use rust_decimal::Decimal;
use twinset_ledger::account::Side;
use twinset_ledger::command::{Command, Leg, LegKind, Transaction};
use twinset_ledger::id::{Position, TransactionId};
use twinset_ledger::memory::MemoryState;
use twinset_ledger::restriction::Restriction;
use twinset_ledger::state::State;
use twinset_store::LedgerReplica;

use super::{ACCOUNTS, Dice, FIRST_LOAD, Load, RESTRICTS, incarnation, is_mixed, name};

impl Load {
    /// One account gets something restricted of another, which may withdraw it.
    pub(super) fn restrict(self, index: u64, offset: u64) -> Transaction {
        let mut dice = self.dice(index, offset + 11_000);
        let from = dice.roll(u64::from(ACCOUNTS)) as u32;
        let to = (from + 1 + dice.roll(u64::from(ACCOUNTS) - 1) as u32) % ACCOUNTS;
        let amount = Decimal::new(20 + dice.roll(100) as i64, 2);
        // Ledger time goes on by one for each command, of which an entry has thirty.
        let until = 1_700_000_000_000_000_000 + index * 30 + dice.roll(700);
        let until_ns = (dice.roll(2) == 0).then_some(until);
        let kind = if dice.roll(3) == 0 { LegKind::Withdrawal } else { LegKind::Ordinary };
        Transaction {
            request_id: format!("restrict-{index}-{offset}"),
            legs: vec![
                Leg { kind, ..Leg::new(&name(from), Side::Debit, amount) },
                Leg { kind: LegKind::Restricted { until_ns }, ..Leg::new(&name(to), Side::Credit, amount) },
            ],
            ..Transaction::default()
        }
    }

    /// Something about what was restricted a while ago, if something was in the entry that the dice name.
    pub(super) fn use_restriction(self, index: u64, offset: u64, dice: &mut Dice) -> Option<Command> {
        let entry = index.saturating_sub(2 * (1 + dice.roll(12))).max(FIRST_LOAD);
        let kind = |offset| self.dice(entry, offset).roll(40);
        let made = (0..self.count(entry)).filter(|&offset| is_mixed(entry) && kind(offset) == RESTRICTS);
        let made: Vec<u64> = made.collect();
        let there = *made.get(dice.roll(made.len().max(1) as u64) as usize)?;
        let account = self.restrict(entry, there).legs.pop()?.account;
        let position = Position::new(entry, there as u16);
        let restriction = TransactionId { set: self.set, incarnation: incarnation(entry), position };
        let request_id = format!("unrestrict-{index}-{offset}");
        let amount = Some(Decimal::new(7, 2));
        Some(match dice.roll(4) {
            0 => Command::ReleaseRestriction { request_id, account, restriction, amount: None },
            1 => Command::ReleaseRestriction { request_id, account, restriction, amount },
            _ => Command::ExpireRestriction { account, restriction },
        })
    }
}

/// Compares every restriction with the model's, by name and by account.
pub(super) fn compare(replica: &LedgerReplica, model: &MemoryState, dice: &mut Dice) {
    for (no, account) in (0..).zip(model.accounts()) {
        let of_account = |one: &&Restriction| one.account == no;
        let expected: Vec<&Restriction> = model.restrictions().iter().filter(of_account).collect();
        let even = dice.roll(2) == 0;
        let wanted = |one: &Restriction| !even || one.made_at.offset().is_multiple_of(2);
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let page = replica.restrictions(&account.id, after, 3, wanted).unwrap().value.unwrap();
            found.extend(page.restrictions);
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        let listed: Vec<&Restriction> = found.iter().map(|record| &record.restriction).collect();
        let asked: Vec<&Restriction> = expected.iter().copied().filter(|one| wanted(one)).collect();
        assert_eq!(listed, asked, "the restrictions of {}", account.id);
        for one in expected {
            let record = replica.restriction(&account.id, one.transaction).unwrap().value.unwrap();
            assert_eq!(&record.restriction, one);
            assert_eq!((record.currency.as_str(), record.scale), (account.currency.as_str(), account.scale));
            let other = TransactionId { incarnation: one.transaction.incarnation + 1, ..one.transaction };
            assert_eq!(replica.restriction(&account.id, other).unwrap().value, None);
            assert_eq!(replica.restriction("nobody", one.transaction).unwrap().value, None);
        }
    }
    let last = model.last_time();
    let is_due = |one: &&Restriction| one.ended.is_none() && one.until_ns.is_some_and(|until| until <= last);
    let expire = |one: &Restriction| Command::ExpireRestriction {
        account: model.account(one.account).id.clone(),
        restriction: one.transaction,
    };
    let due: Vec<Command> = model.restrictions().iter().filter(is_due).map(expire).collect();
    let found = replica.due_restrictions(last, usize::MAX);
    assert_eq!(found.len(), due.len());
    assert!(due.iter().all(|one| found.contains(one)), "{found:?} are due, and not {due:?}");
    let open = model.restrictions().iter().filter(|one| one.ended.is_none()).count();
    assert_eq!(replica.open_restrictions(), open);
}
