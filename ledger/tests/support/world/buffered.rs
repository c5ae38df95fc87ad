//! Buffered accounts: what leaders do about them, and what must hold of parcels whatever becomes of messages and leaders.

use std::collections::BTreeMap;

use proptest::sample::Index;
use twinset_ledger::buffer::{Announcement, BufferStep, Credit, InboxEnd, Sent, StreamEnd, StreamName};
use twinset_ledger::{
    Begin, Command, Effect, FreezeMode, Outcome, Posted, Rejection, Side, State, Transaction, TransactionId,
};

use super::laws::home;
use super::{ACCOUNTS, Message, SETS, World};

/// Parcels of a stream that a leader sends at once; the network puts them out of their order.
const SENT_AT_ONCE: usize = 4;

/// From one set to another, in the order of the log: by which transaction, its number in its stream, and how much.
type Parcels = BTreeMap<(u32, u32), Vec<(TransactionId, u64, i128)>>;

/// What the payee's leader was told by the sets that have withdrawn an account, by the mode change.
pub type Withdrawn = BTreeMap<TransactionId, BTreeMap<u32, Vec<StreamEnd>>>;

impl World {
    fn say(&mut self, to: u32, by: TransactionId, step: BufferStep) {
        self.network.push(Message::Buffer { to, by, step });
    }

    pub(super) fn propose_buffer_step(&mut self, set: u32, by: TransactionId, step: BufferStep) {
        self.proposed.entry(set).or_default().push((Command::BufferStep { by, step }, None));
    }

    /// A leader sends what has not been acknowledged, but nothing of this incarnation to a set that has not taken in all of an earlier one.
    pub(super) fn send_parcels(&mut self, set: u32) {
        let waiting: Vec<StreamName> = {
            let streams = self.state(set).buffer().streams();
            streams.filter(|(_, stream)| stream.waiting() > 0).map(|(name, _)| name).collect()
        };
        let is_next = |name: &&StreamName| {
            !waiting.iter().any(|other| other.to == name.to && other.incarnation < name.incarnation)
        };
        for name in waiting.iter().filter(is_next).copied() {
            for (by, credit) in self.parcels(set, name) {
                self.say(name.to, by, BufferStep::Credit(credit));
            }
        }
    }

    /// A leader looks at what it has not been told of yet.
    pub(super) fn resend_buffered(&mut self, set: u32) {
        self.send_parcels(set);
        let own: Vec<(TransactionId, bool, Announcement)> = self.own_buffered(set);
        for (since, draining, account) in own {
            for other in SETS.into_iter().filter(|other| *other != set) {
                // What is said too often leaves no room for what follows from it.
                if !draining && self.has_heard(other, since, &account.account) {
                    continue;
                }
                let account = account.clone();
                let step = match draining {
                    false => BufferStep::Announce(account),
                    true => BufferStep::Withdraw(account),
                };
                self.say(other, since, step);
            }
            self.try_drained(set, since, &account.account);
        }
    }

    fn has_heard(&self, set: u32, version: TransactionId, account: &str) -> bool {
        self.state(set).buffer().announced(account).is_some_and(|known| known.version >= version)
    }

    /// All sets hear of all accounts that need not be asked.
    pub(super) fn announce_all(&mut self) {
        for set in SETS {
            for (by, _, account) in self.own_buffered(set) {
                for other in SETS.into_iter().filter(|other| *other != set) {
                    let step = BufferStep::Announce(account.clone());
                    self.proposed.entry(other).or_default().push((Command::BufferStep { by, step }, None));
                }
            }
        }
    }

    fn own_buffered(&self, set: u32) -> Vec<(TransactionId, bool, Announcement)> {
        let state = self.state(set);
        let own = state.buffer().all_own().map(|(no, own)| {
            let account = state.account(no);
            let (id, currency) = (account.id.clone(), account.currency.clone());
            let (scale, normal_side) = (account.scale, account.normal_side);
            (own.since, own.draining, Announcement { account: id, currency, scale, normal_side })
        });
        own.collect()
    }

    /// The first parcels of a stream that are not acknowledged, as they are read from the log.
    fn parcels(&self, set: u32, name: StreamName) -> Vec<(TransactionId, Credit)> {
        let state = self.state(set);
        let stream = state.buffer().stream(name).expect("it is there");
        let parcels = stream.after(stream.acknowledged()).take(SENT_AT_ONCE).map(|(number, parcel)| {
            let (command, outcome) =
                state.original(parcel.position).expect("no fault").expect("it is remembered");
            let (Command::Begin(Begin { transaction, .. }), Ok(Effect::Buffered { sent, .. })) =
                (&command, &outcome.result)
            else {
                panic!("{command:?} has sent nothing");
            };
            let is_it = |sent: &&Sent| (sent.to, sent.number) == (name.to, number);
            let sent = sent.iter().find(is_it).expect("it was sent");
            assert_eq!((sent.leg, sent.amount), (parcel.leg, parcel.amount), "it is kept as it was sent");
            let leg = &transaction.legs[usize::from(sent.leg)];
            let credit = Credit {
                number,
                leg: sent.leg,
                account: leg.account.clone(),
                side: leg.side,
                amount: sent.amount,
                currency: sent.currency.clone(),
                scale: sent.scale,
                accounting_date: transaction.accounting_date.unwrap_or_else(|| outcome.day()),
                label: transaction.into(),
            };
            (TransactionId { set, incarnation: name.incarnation, position: parcel.position }, credit)
        });
        parcels.collect()
    }

    /// All other sets have withdrawn it, as far as this leader has heard.
    fn try_drained(&mut self, set: u32, since: TransactionId, account: &str) {
        let Some(said) = self.withdrawn.get(&since).filter(|said| said.len() == SETS.len() - 1) else {
            return;
        };
        let ends =
            said.iter().flat_map(|(from, ends)| ends.iter().map(|end| InboxEnd { set: *from, end: *end }));
        let step = BufferStep::Drained { account: account.to_owned(), ends: ends.collect() };
        self.propose_buffer_step(set, since, step);
    }

    /// The payee's set has withdrawn, or taken something in.
    pub(super) fn deliver_answer(
        &mut self,
        from: u32,
        by: TransactionId,
        step: &BufferStep,
        result: &Effect,
    ) {
        match (step, result) {
            (BufferStep::Credit(credit), _) => {
                let step = BufferStep::Acknowledge { to: from, through: credit.number };
                self.propose_buffer_step(by.set, by, step);
            }
            (BufferStep::Withdraw(account), Effect::Withdrawn(ends)) => {
                self.withdrawn.entry(by).or_default().insert(from, ends.clone());
                self.try_drained(by.set, by, &account.account);
            }
            _ => {}
        }
    }

    /// What the leader does when it sees what became of a step.
    pub(super) fn react_buffer_step(
        &mut self,
        set: u32,
        by: TransactionId,
        step: &BufferStep,
        outcome: &Outcome,
    ) {
        let what = match (step, &outcome.result) {
            (BufferStep::Credit(_), Ok(Effect::Posted(_))) => "credited".to_owned(),
            (BufferStep::Credit(_), Ok(Effect::Suspended { reason, .. })) => {
                format!("suspended {}", reason.code())
            }
            (BufferStep::Credit(_), Ok(Effect::Taken)) => "credit again".to_owned(),
            (BufferStep::Credit(_), Err(Rejection::StepOutOfPlace { .. })) => "credit too early".to_owned(),
            (BufferStep::Drained { .. }, Ok(_)) => "drained".to_owned(),
            (BufferStep::Drained { .. }, Err(_)) => "drained too early".to_owned(),
            (BufferStep::Announce(_), Ok(_)) => "announced".to_owned(),
            (BufferStep::Withdraw(_), Ok(_)) => "withdrawn".to_owned(),
            (BufferStep::Acknowledge { .. }, Ok(_)) => "acknowledged".to_owned(),
            (BufferStep::Lost { .. } | BufferStep::SendAgain { .. }, Ok(_)) => return self.send_parcels(set),
            (_, Err(Rejection::StepOutOfPlace { .. })) if self.is_after_loss => return,
            other => panic!("a step came to another end than it was said for: {other:?}"),
        };
        self.saw(what);
        let told = matches!(step, BufferStep::Credit(_) | BufferStep::Withdraw(_));
        if let (true, Ok(effect)) = (told, &outcome.result) {
            let (step, result) = (step.clone(), effect.clone());
            self.network.push(Message::Answer { from: set, by, step, result });
        }
    }

    /// A client books on what is suspended.
    pub(super) fn resolve(&self, request_id: &str, item: &Index, to: usize) -> Option<(u32, Command)> {
        let suspended = |set: u32| {
            let history = self.state(set).history();
            let suspended = history.filter(|(.., one)| matches!(one.result, Ok(Effect::Suspended { .. })));
            suspended.map(move |(position, _, one)| TransactionId {
                set,
                incarnation: one.incarnation,
                position,
            })
        };
        let items: Vec<TransactionId> = SETS.into_iter().flat_map(suspended).collect();
        let item = *items.get(item.index(items.len().max(1)))?;
        let mut from_there = ACCOUNTS.iter().cycle().skip(to);
        let (account, ..) = from_there.find(|(_, set, _)| *set == item.set)?;
        let (request_id, account) = (request_id.to_owned(), (*account).to_owned());
        Some((item.set, Command::ResolveSuspense { request_id, item, account }))
    }

    /// A client freezes an account for what others pay it without asking.
    pub(super) fn obstruct(&self, request_id: &str, payee: &Index) -> Option<(u32, Command)> {
        let can_take = |account: &Announcement| {
            let known = self.state(home(&account.account)).account_by_id(&account.account);
            known.is_some_and(|known| match account.normal_side {
                Side::Debit => !known.frozen_debit,
                Side::Credit => !known.frozen_credit,
            })
        };
        let mut payees: Vec<Announcement> = self.under_way().map(|(account, _)| account.clone()).collect();
        payees.retain(can_take);
        if payees.is_empty() {
            let own = SETS.into_iter().flat_map(|set| self.own_buffered(set));
            payees = own.map(|(.., account)| account).filter(can_take).collect();
        }
        let Announcement { account, normal_side, .. } = payees.get(payee.index(payees.len().max(1)))?.clone();
        let mode = if normal_side == Side::Debit { FreezeMode::Debit } else { FreezeMode::Credit };
        let request_id = request_id.to_owned();
        Some((home(&account), Command::Freeze { request_id, account, mode }))
    }

    /// Whether nothing of buffered accounts is under way.
    pub(super) fn is_drained(&self) -> bool {
        SETS.into_iter().all(|set| {
            let buffer = self.state(set).buffer();
            buffer.streams().all(|(_, stream)| stream.waiting() == 0)
                && buffer.all_own().all(|(_, own)| !own.draining)
        })
    }

    /// Everything that was ever sent.
    pub(super) fn sent_count(&self) -> u64 {
        let streams = SETS.into_iter().flat_map(|set| self.state(set).buffer().streams());
        streams.map(|(_, stream)| stream.last()).sum()
    }

    /// What is in outboxes and not taken in, by currency, debits above zero.
    pub(super) fn parcels_in_flight(&self) -> Vec<(String, i128)> {
        let signed = |(account, amount): (&Announcement, i128)| {
            // What is announced is an inflow.
            let signed = if account.normal_side == Side::Debit { amount } else { -amount };
            (account.currency.clone(), signed)
        };
        self.under_way().map(signed).collect()
    }

    /// Who is paid by what is in outboxes and not taken in, and how much.
    fn under_way(&self) -> impl Iterator<Item = (&Announcement, i128)> {
        let streams = SETS.into_iter().flat_map(|set| {
            let buffer = self.state(set).buffer();
            buffer.streams().map(move |(name, stream)| (set, buffer, name, stream))
        });
        streams.flat_map(|(set, buffer, name, stream)| {
            let taken = self.state(name.to).buffer().taken(set, name.incarnation);
            assert!(stream.acknowledged() <= taken && taken <= stream.last(), "no parcel is lost or made up");
            let parcels = stream.after(taken);
            parcels.map(|(_, one)| (&buffer.all_announced()[one.payee as usize].account, one.amount))
        })
    }

    /// The legs of what was paid without asking, in the client's order, as they will be booked.
    pub(super) fn all_legs(transaction: &Transaction, booked: &[Posted], sent: &[Sent]) -> Vec<Posted> {
        let mut booked = booked.iter();
        let legs =
            transaction.legs.iter().zip(0u8..).map(|(leg, at)| match sent.iter().find(|s| s.leg == at) {
                None => booked.next().expect("an own leg").clone(),
                Some(sent) => Posted {
                    account: leg.account.clone(),
                    side: leg.side,
                    amount: sent.amount,
                    scale: sent.scale,
                    posted: 0,
                    available: 0,
                },
            });
        legs.collect()
    }

    /// At the end: each parcel was taken in once, those of one set to another in their order, and none that nobody sent. What an
    /// earlier incarnation has left comes before what the next one sends.
    pub(super) fn check_parcels(&self) {
        let (mut sent, mut taken) = (Parcels::new(), Parcels::new());
        for set in SETS {
            for (position, command, outcome) in self.state(set).history() {
                let incarnation = outcome.incarnation;
                match (command, &outcome.result) {
                    (Command::Begin(_), Ok(Effect::Buffered { sent: parcels, .. })) if !outcome.replayed => {
                        let by = TransactionId { set, incarnation, position };
                        for one in parcels {
                            sent.entry((set, one.to)).or_default().push((by, one.number, one.amount));
                        }
                    }
                    (
                        Command::BufferStep { by, step: BufferStep::Credit(credit) },
                        Ok(Effect::Posted(legs) | Effect::Suspended { booked: legs, .. }),
                    ) => {
                        let from_there = taken.entry((by.set, set)).or_default();
                        from_there.push((*by, credit.number, legs[0].amount));
                        assert_eq!(legs.len(), 2, "a leg and its clearing leg");
                    }
                    _ => {}
                }
            }
            for known in self.state(set).buffer().all_announced() {
                assert_eq!((known.transit.parcels, known.transit.amount), (0, 0), "nothing is on the way");
            }
        }
        assert_eq!(sent, taken, "each parcel is taken in once, in its order");
        for parcels in sent.values() {
            for stream in parcels.chunk_by(|(one, ..), (next, ..)| one.incarnation == next.incarnation) {
                let numbers = stream.iter().map(|(_, number, _)| *number);
                assert!(numbers.eq(1..=stream.len() as u64), "numbers count up: {stream:?}");
            }
        }
    }

    /// What suspended credits took from where they should have been booked, and where they stand instead.
    pub(super) fn detours(&self) -> Vec<(String, Side, i128, bool)> {
        let mut detours = Vec::new();
        for set in SETS {
            for (_, command, outcome) in self.state(set).history() {
                if let (
                    Command::BufferStep { step: BufferStep::Credit(credit), .. },
                    Ok(Effect::Suspended { booked, .. }),
                ) = (command, &outcome.result)
                {
                    detours.push((credit.account.clone(), credit.side, credit.amount, false));
                    detours.push((booked[0].account.clone(), credit.side, credit.amount, true));
                }
            }
        }
        detours
    }
}
