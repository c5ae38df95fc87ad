//! What fake nodes tell of buffered accounts, and what they tell each other of them.

use twinset_ledger::amount::to_decimal_string;
use twinset_ledger::buffer::{Announcement, BufferStep, Credit};
use twinset_ledger::memory::MemoryState;
use twinset_ledger::{Command, Effect, Label, Side, State, TransactionId, date};
use twinset_proto::cluster::v1::{ListSuspense, NotFound, read_reply};
use twinset_proto::ledger::v1 as wire;

use super::across::{Truth, enter};

type AsOf = Option<wire::Position>;

/// What a set has on its way to an account.
pub fn in_transit(state: &MemoryState, account: &str, as_of: AsOf, age_ms: u64) -> read_reply::Result {
    let Some(known) = state.buffer().announced(account) else {
        return read_reply::Result::NotFound(NotFound { as_of, age_ms });
    };
    let amount = to_decimal_string(known.transit.amount, known.account.scale);
    read_reply::Result::InTransit(wire::GetInTransitReply {
        account: account.into(),
        currency: known.account.currency.clone(),
        from: vec![wire::InTransit {
            set: state.set(),
            credits: known.transit.parcels,
            amount: amount.clone(),
            as_of,
            age_ms,
        }],
        amount,
        silent: Vec::new(),
    })
}

/// What stands on a set's suspense accounts.
pub fn suspense(state: &MemoryState, asked: &ListSuspense, as_of: AsOf, age_ms: u64) -> read_reply::Result {
    let after: Option<TransactionId> = asked.after.parse().ok();
    let behind = |position: &_| after.is_none_or(|after| *position > after.position);
    let credit = |position| {
        let Ok(original) = state.original(position);
        let (command, outcome) = original.expect("what is suspended is remembered");
        let Command::BufferStep { by, step: BufferStep::Credit(credit) } = command else {
            panic!("{command:?} is no credit")
        };
        let Ok(Effect::Suspended { reason, .. }) = outcome.result else { panic!("{outcome:?}") };
        let item = TransactionId { set: state.set(), incarnation: outcome.incarnation, position };
        wire::SuspendedCredit {
            item: item.to_string(),
            side: if credit.side == Side::Debit { 1 } else { 2 },
            amount: to_decimal_string(credit.amount, credit.scale),
            account: credit.account,
            currency: credit.currency,
            transaction: by.to_string(),
            accounting_date: date::format(credit.accounting_date),
            reason: reason.code().into(),
            detail: reason.to_string(),
            position: None,
        }
    };
    let credits = state.buffer().suspended().filter(behind).take(asked.page_size as usize).map(credit);
    read_reply::Result::Suspense(wire::ListSuspenseReply {
        credits: credits.collect(),
        next: String::new(),
        as_of,
        age_ms,
    })
}

/// Tells all other sets that an account need not be asked.
pub fn announce(truth: &mut Truth, set: u32, account: &str) {
    let state = &truth[&set].0;
    let found = state.account_by_id(account).expect("it is open");
    let no = state.account_no(account).expect("it is open");
    let version = state.buffer().own(no).expect("it is buffered").since;
    let announcement = Announcement {
        account: account.into(),
        currency: found.currency.clone(),
        scale: found.scale,
        normal_side: found.normal_side,
    };
    let others: Vec<u32> = truth.keys().copied().filter(|other| *other != set).collect();
    for other in others {
        let step = BufferStep::Announce(announcement.clone());
        enter(truth, other, &[Command::BufferStep { by: version, step }]);
    }
}

/// Ships what one set has on its way to another.
pub fn ship(truth: &mut Truth, from: u32, to: u32) {
    let mut steps = Vec::new();
    let state = &truth[&from].0;
    for (name, stream) in state.buffer().streams().filter(|(name, _)| name.to == to) {
        for (number, parcel) in stream.after(stream.acknowledged()) {
            let known = &state.buffer().all_announced()[parcel.payee as usize].account;
            let by = TransactionId { set: from, incarnation: name.incarnation, position: parcel.position };
            let credit = Credit {
                number,
                leg: parcel.leg,
                account: known.account.clone(),
                side: known.normal_side,
                amount: parcel.amount,
                currency: known.currency.clone(),
                scale: known.scale,
                accounting_date: 20_000,
                label: Label::default(),
            };
            steps.push(Command::BufferStep { by, step: BufferStep::Credit(credit) });
        }
    }
    if let Some(Command::BufferStep { by, step: BufferStep::Credit(last) }) = steps.last().cloned() {
        enter(truth, to, &steps);
        let step = BufferStep::Acknowledge { to, through: last.number };
        enter(truth, from, &[Command::BufferStep { by, step }]);
    }
}
