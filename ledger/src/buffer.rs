//! Buffered credits (ADR 16): an account that may be paid from other sets without being asked. Here are what travels between
//! the sets, and what each of them keeps: its own accounts of that kind, those of other sets, what it has sent and what it has
//! taken in. When these may change is [`crate::apply`]'s to say; who sends what to whom is the node's business.
//!
//! ```text
//! payee's set    mode ---.                        .--> Credit        mode ---.              .--> Drained
//!                         \                      /          \                 \            /
//! payer's set              `--> Announce   Begin             `--> Acknowledge  `--> Withdraw
//! ```
//!
//! Invariant: of a stream the payee's set takes number n + 1 after n and nothing else, and the payer's set forgets a parcel only
//! when it has been taken in.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::account::{AccountNo, Side};
use crate::attempt::Sum;
use crate::id::{Position, TransactionId};
use crate::label::Label;

/// Parcels to one set that are not acknowledged, at most. Who would pay beyond that asks (ADR 11).
pub const PARCELS_MAX: u64 = 1_000_000;

/// What is paid without asking, in minor units of the payee's currency, at most. Who would pay more asks (ADR 11). A parcel is
/// refused only where neither the payee nor the suspense account has room, or the clearing account has none, and then all
/// that is behind it in its stream waits: so none may be so great that a few of them fill an account, and what is asked for
/// leaves them a part of the clearing accounts.
pub const PARCEL_MAX: i128 = 1 << 64;

/// Parcels that are sent again by one command, at most.
pub const SENT_AGAIN_MAX: usize = 1_000;

/// How an account may be paid from other sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum PostingMode {
    /// It is asked first (ADR 11).
    Strict = 1,
    /// It is not asked.
    Buffered = 2,
}

/// What nodes put into the logs about buffered accounts. Each kind may come again, late or out of its order, and counts once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BufferStep {
    /// To every other set: the account need not be asked. Named by the mode change.
    Announce(Announcement),
    /// To every other set: the account is to be asked again. Named by the mode change.
    Withdraw(Announcement),
    /// In the account's own log: all other sets have withdrawn it, and what they had sent by then is taken in. Named by the mode
    /// change.
    Drained {
        /// The account's id.
        account: String,
        /// The ends of the other sets' streams to this one, as they said when they withdrew it.
        ends: Vec<InboxEnd>,
    },
    /// To the payee's set: the next parcel of a stream. Named by the payer's transaction.
    Credit(Credit),
    /// In the payer's log: the parcels up to this one are taken in. Named by the transaction of the last of them.
    Acknowledge {
        /// The payee's set.
        to: u32,
        /// The number of the last parcel.
        through: u64,
    },
    /// In the log of a recovered set: of a stream the other side knows more parcels than this set, which was there when they were
    /// sent, or taken in, and what they were is lost. Named by the stream's incarnation; the position says nothing.
    Lost {
        /// The payee's set.
        to: u32,
        /// The number of the last parcel that is known.
        through: u64,
        /// What those beyond its own last number must come to in this set.
        sums: Vec<Sum>,
    },
    /// In a payer's log: the payee's set has lost the end of what it had taken in, and is sent it again. Named by the transaction
    /// of the first of the parcels.
    SendAgain {
        /// The payee's set.
        to: u32,
        /// The last ones that were acknowledged, in order.
        parcels: Vec<ParcelName>,
    },
}

/// Where a parcel was sent from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParcelName {
    /// Where its transaction was booked.
    pub position: Position,
    /// Which leg of it, from 0.
    pub leg: u8,
}

/// What other sets must know of an account that they pay without asking. None of it ever changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announcement {
    /// The account's id.
    pub account: String,
    /// Its currency.
    pub currency: String,
    /// Decimal places of its minor unit.
    pub scale: u8,
    /// The side that raises its balance.
    pub normal_side: Side,
}

/// A parcel as it travels: one leg of a transaction that the payer's set has booked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credit {
    /// Its number in the stream, from 1.
    pub number: u64,
    /// Which leg of the transaction it is, from 0.
    pub leg: u8,
    /// The payee's account.
    pub account: String,
    /// Debit or credit.
    pub side: Side,
    /// In minor units, above zero.
    pub amount: i128,
    /// The currency that the account was announced with.
    pub currency: String,
    /// Decimal places of its minor unit.
    pub scale: u8,
    /// The day on which the payer's set booked, in days since 1970-01-01.
    pub accounting_date: i32,
    /// What the client says of the transaction.
    pub label: Label,
}

/// How far a stream reaches, as the set that it comes from says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamEnd {
    /// The incarnation of the set that it was filled in.
    pub incarnation: u32,
    /// The last number in it.
    pub number: u64,
}

/// How far a stream reaches, as the set that it goes to knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InboxEnd {
    /// The set that it comes from.
    pub set: u32,
    /// Its end.
    pub end: StreamEnd,
}

/// A parcel that was put into an outbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// Which leg of the transaction it is, from 0.
    pub leg: u8,
    /// The payee's set.
    pub to: u32,
    /// Its number in the stream to that set.
    pub number: u64,
    /// In minor units, above zero.
    pub amount: i128,
    /// The currency that the account was announced with.
    pub currency: String,
    /// Decimal places of its minor unit.
    pub scale: u8,
}

/// An own account that is not strict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Buffered {
    /// The mode change that made it what it is: its version.
    pub since: TransactionId,
    /// Whether it is leaving: other sets are told to ask it again.
    pub draining: bool,
}

/// An account of another set, as that set has announced it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announced {
    /// What never changes of it.
    pub account: Announcement,
    /// The newest mode change that was heard of; its set is the account's.
    pub version: TransactionId,
    /// Whether it is paid without being asked.
    pub is_open: bool,
    /// What is on the way to it.
    pub transit: Transit,
}

/// What this set has sent to an account and the account's set has not acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Transit {
    /// How many parcels.
    pub parcels: u64,
    /// In minor units.
    pub amount: i128,
}

/// A parcel as its sender keeps it. What is sent is read from the transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parcel {
    /// Where the transaction was booked.
    pub position: Position,
    /// Which leg of it, from 0.
    pub leg: u8,
    /// The payee: its place among the announced accounts.
    pub payee: u32,
    /// In minor units, above zero.
    pub amount: i128,
}

/// Where a stream goes, and in which incarnation of this set it was filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StreamName {
    /// The payee's set.
    pub to: u32,
    /// Of this set.
    pub incarnation: u32,
}

/// The parcels to one set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stream {
    /// The last number that is acknowledged.
    acknowledged: u64,
    /// The last number that was given.
    last: u64,
    /// Those between, in order.
    parcels: VecDeque<Parcel>,
}

impl Stream {
    /// The last number that is acknowledged.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged
    }

    /// The last number that was given.
    pub fn last(&self) -> u64 {
        self.last
    }

    /// How many are not acknowledged.
    pub fn waiting(&self) -> u64 {
        self.last - self.acknowledged
    }

    /// A parcel that is not acknowledged.
    pub fn get(&self, number: u64) -> Option<&Parcel> {
        let at = number.checked_sub(self.acknowledged)?.checked_sub(1)?;
        self.parcels.get(usize::try_from(at).ok()?)
    }

    /// Parcels behind a number that are not acknowledged, in order, with their numbers.
    pub fn after(&self, number: u64) -> impl Iterator<Item = (u64, &Parcel)> {
        let behind = number.saturating_sub(self.acknowledged).min(self.waiting());
        let from = usize::try_from(behind).unwrap_or(usize::MAX).min(self.parcels.len());
        (self.acknowledged + behind + 1..).zip(self.parcels.range(from..))
    }

    pub(crate) fn from_parts(acknowledged: u64, parcels: VecDeque<Parcel>) -> Option<Stream> {
        let last = acknowledged.checked_add(parcels.len() as u64)?;
        Some(Stream { acknowledged, last, parcels })
    }
}

/// What a set keeps about buffered accounts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Buffer {
    /// Own accounts that are not strict.
    pub(crate) own: BTreeMap<AccountNo, Buffered>,
    /// Accounts of other sets, in the order in which they were first heard of; none is ever taken out.
    pub(crate) announced: Vec<Announced>,
    /// Where they are in that order.
    pub(crate) places: BTreeMap<String, u32>,
    /// To other sets.
    pub(crate) streams: BTreeMap<StreamName, Stream>,
    /// From other sets, by set and incarnation: the last number that was taken in.
    pub(crate) inboxes: BTreeMap<(u32, u32), u64>,
    /// Credits that stand on a suspense account, by where they were taken in.
    pub(crate) suspended: BTreeSet<Position>,
}

impl Buffer {
    /// Whether nothing was ever heard of a buffered account, its own or another's.
    pub fn is_empty(&self) -> bool {
        *self == Buffer::default()
    }

    /// What is kept of an own account that is not strict.
    pub fn own(&self, no: AccountNo) -> Option<Buffered> {
        self.own.get(&no).copied()
    }

    /// All own accounts that are not strict.
    pub fn all_own(&self) -> impl Iterator<Item = (AccountNo, Buffered)> {
        self.own.iter().map(|(no, own)| (*no, *own))
    }

    /// What another set has announced of an account.
    pub fn announced(&self, account: &str) -> Option<&Announced> {
        self.places.get(account).map(|&place| &self.announced[place as usize])
    }

    /// The place of an account among those of other sets that were ever announced.
    pub(crate) fn place(&self, account: &str) -> Option<u32> {
        self.places.get(account).copied()
    }

    /// All accounts of other sets that were ever announced.
    pub fn all_announced(&self) -> &[Announced] {
        &self.announced
    }

    /// A stream to another set.
    pub fn stream(&self, name: StreamName) -> Option<&Stream> {
        self.streams.get(&name)
    }

    /// All streams to other sets.
    pub fn streams(&self) -> impl Iterator<Item = (StreamName, &Stream)> {
        self.streams.iter().map(|(name, stream)| (*name, stream))
    }

    /// All streams to a set, one for each incarnation of this one that has sent there.
    fn streams_to(&self, to: u32) -> impl Iterator<Item = (&StreamName, &Stream)> {
        self.streams.range(StreamName { to, incarnation: 0 }..=StreamName { to, incarnation: u32::MAX })
    }

    /// How many parcels to a set are not acknowledged.
    pub fn waiting(&self, to: u32) -> u64 {
        self.streams_to(to).map(|(_, stream)| stream.waiting()).sum()
    }

    /// The ends of all streams to a set.
    pub fn ends(&self, to: u32) -> Vec<StreamEnd> {
        let end = |(name, stream): (&StreamName, &Stream)| StreamEnd {
            incarnation: name.incarnation,
            number: stream.last,
        };
        self.streams_to(to).map(end).collect()
    }

    /// The last number that was taken in of a set's stream.
    pub fn taken(&self, set: u32, incarnation: u32) -> u64 {
        self.inboxes.get(&(set, incarnation)).copied().unwrap_or(0)
    }

    /// By set and incarnation: the last number that was taken in.
    pub fn inboxes(&self) -> impl Iterator<Item = ((u32, u32), u64)> {
        self.inboxes.iter().map(|(name, taken)| (*name, *taken))
    }

    /// Credits that stand on a suspense account: where they were taken in.
    pub fn suspended(&self) -> impl DoubleEndedIterator<Item = Position> + ExactSizeIterator {
        self.suspended.iter().copied()
    }

    /// Whether a parcel that was sent is not acknowledged.
    pub fn is_in_transit(&self, sent: &Sent, incarnation: u32) -> bool {
        let stream = self.streams.get(&StreamName { to: sent.to, incarnation });
        stream.is_none_or(|stream| sent.number > stream.acknowledged)
    }

    /// The same without the parcels, of which there may be very many. For trying what is then thrown away.
    pub(crate) fn outline(&self) -> Buffer {
        let outline =
            |(name, stream): (&StreamName, &Stream)| (*name, Stream { parcels: VecDeque::new(), ..*stream });
        Buffer {
            own: self.own.clone(),
            announced: self.announced.clone(),
            places: self.places.clone(),
            streams: self.streams.iter().map(outline).collect(),
            inboxes: self.inboxes.clone(),
            suspended: self.suspended.clone(),
        }
    }

    /// Takes in what another set says of its account, unless something later was heard.
    pub(crate) fn hear(&mut self, version: TransactionId, account: &Announcement, is_open: bool) {
        let Some(&place) = self.places.get(&account.account) else {
            let place = u32::try_from(self.announced.len()).expect("fewer than 2^32 accounts");
            self.places.insert(account.account.clone(), place);
            let (account, transit) = (account.clone(), Transit::default());
            self.announced.push(Announced { account, version, is_open, transit });
            return;
        };
        let known = &mut self.announced[place as usize];
        if known.version < version {
            known.version = version;
            known.is_open = is_open;
        }
    }

    /// Puts a parcel to an announced account behind the others; gives its number.
    pub(crate) fn send(
        &mut self,
        name: StreamName,
        position: Position,
        leg: u8,
        payee: &str,
        amount: i128,
    ) -> u64 {
        let payee = self.places[payee];
        let transit = &mut self.announced[payee as usize].transit;
        transit.parcels += 1;
        transit.amount += amount;
        let stream = self.streams.entry(name).or_default();
        stream.last += 1;
        stream.parcels.push_back(Parcel { position, leg, payee, amount });
        stream.last
    }

    /// Forgets the parcels of a stream up to a number.
    pub(crate) fn acknowledge(&mut self, name: StreamName, through: u64) {
        let stream = self.streams.get_mut(&name).expect("what is acknowledged was sent");
        while stream.acknowledged < through {
            let parcel = stream.parcels.pop_front().expect("what is acknowledged was sent");
            stream.acknowledged += 1;
            let transit = &mut self.announced[parcel.payee as usize].transit;
            transit.parcels -= 1;
            transit.amount -= parcel.amount;
        }
    }

    /// The stream had gone on to a number before its end was lost, and all of it is taken in.
    pub(crate) fn was_taken(&mut self, name: StreamName, through: u64) {
        if let Some(stream) = self.streams.get(&name) {
            self.acknowledge(name, stream.last);
        }
        let stream = self.streams.entry(name).or_default();
        (stream.acknowledged, stream.last) = (through, through);
    }

    /// Parcels that were forgotten are sent again, before those that wait; `parcels` are the last that were acknowledged, in
    /// order, each with the place of its payee.
    pub(crate) fn send_again(&mut self, name: StreamName, parcels: Vec<Parcel>) {
        for parcel in parcels.into_iter().rev() {
            let transit = &mut self.announced[parcel.payee as usize].transit;
            transit.parcels += 1;
            transit.amount += parcel.amount;
            let stream = self.streams.get_mut(&name).expect("it was sent");
            stream.acknowledged -= 1;
            stream.parcels.push_front(parcel);
        }
    }

    /// The next parcel of a set's stream is taken in.
    pub(crate) fn take(&mut self, set: u32, incarnation: u32, number: u64) {
        self.inboxes.insert((set, incarnation), number);
    }
}
