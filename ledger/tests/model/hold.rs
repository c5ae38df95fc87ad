//! Holds: of each only what has happened to it is kept; its figures are summed up from that whenever somebody asks.

use std::collections::BTreeMap;

use rust_decimal::Decimal;
use twinset_ledger::check_back::{Came, CheckBack, OnExpiry};
use twinset_ledger::hold::{self as ledger, Capture, Ended, HoldChange, HoldEvent, PlaceHold};
use twinset_ledger::outcome::Held;
use twinset_ledger::{AccountNo, Command, Effect, Position, Rejection, Side, TransactionId};

use super::account::Account;
use super::booking::{Move, SUM_MAX, minor, opposite};
use super::check_back::Tries;
use super::{Here, Model};

/// What was set aside, and all that has come of it.
#[derive(Clone, Debug)]
struct Hold {
    id: TransactionId,
    amount: i128,
    expires_ns: Option<u64>,
    terms: Option<CheckBack>,
    past: Vec<Past>,
}

#[derive(Clone, Debug)]
pub(super) struct Past {
    at: Position,
    time_unix_ns: u64,
    pub what: Happened,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Happened {
    /// An attempt has this much in hand.
    InHand { by: TransactionId, amount: i128, confirms: Option<u32> },
    /// The attempt came to nothing.
    LetGo { by: TransactionId },
    /// This much was booked.
    Captured { by: TransactionId, amount: i128, is_final: bool },
    /// This much was given back.
    Released { amount: i128 },
    /// The time was over, and this much was given back.
    Expired { amount: i128 },
    /// It ends later, or never.
    Extended { expires_ns: Option<u64> },
    /// Somebody was asked about it.
    Tried { no: u32, came: Came },
}

/// What has become of a hold by now.
pub(super) struct Now {
    amount: i128,
    captured: i128,
    released: i128,
    in_hand: BTreeMap<TransactionId, i128>,
    expires_ns: Option<u64>,
    pub ended: Option<Ended>,
    pub checked_back: bool,
    pub tries: Tries,
}

impl Now {
    fn capturing(&self) -> i128 {
        self.in_hand.values().sum()
    }

    pub fn left(&self) -> i128 {
        self.amount - self.captured - self.capturing() - self.released
    }

    pub fn time_is_over(&self, here: Here) -> bool {
        self.expires_ns.is_some_and(|end| end <= here.time_unix_ns)
    }
}

impl Hold {
    fn now(&self) -> Now {
        let (amount, expires_ns) = (self.amount, self.expires_ns);
        let mut now = Now {
            amount,
            captured: 0,
            released: 0,
            in_hand: BTreeMap::new(),
            expires_ns,
            ended: None,
            checked_back: self.terms.is_some(),
            tries: Tries::of(&self.past),
        };
        for past in &self.past {
            let end = match past.what {
                Happened::InHand { by, amount, .. } => {
                    now.in_hand.insert(by, amount);
                    None
                }
                Happened::LetGo { by } => {
                    now.in_hand.remove(&by);
                    None
                }
                Happened::Captured { by, amount, is_final } => {
                    now.in_hand.remove(&by);
                    now.captured += amount;
                    let all = now.left() == 0 && now.in_hand.is_empty();
                    (is_final || all).then_some(Ended::Captured)
                }
                Happened::Released { amount } => {
                    now.released += amount;
                    (now.left() == 0).then_some(Ended::Released)
                }
                Happened::Expired { amount } => {
                    now.released += amount;
                    Some(Ended::Expired)
                }
                Happened::Extended { expires_ns } => {
                    now.expires_ns = expires_ns;
                    None
                }
                // What is given back then is on record by itself, though it be nothing.
                Happened::Tried { .. } => None,
            };
            now.ended = now.ended.or(end);
        }
        now
    }

    fn journal(&self) -> Vec<HoldEvent> {
        let line = |past: &Past| {
            let change = match past.what {
                // It is no one's business until it is decided.
                Happened::InHand { .. } | Happened::LetGo { .. } => return None,
                Happened::Captured { by, amount, .. } => HoldChange::Captured { amount, by },
                Happened::Released { amount } => HoldChange::Released { amount },
                Happened::Expired { amount } => HoldChange::Expired { amount },
                Happened::Extended { expires_ns } => HoldChange::Extended { expires_ns },
                Happened::Tried { no, came } => HoldChange::CheckedBack { no, came },
            };
            Some(HoldEvent { at: past.at, time_unix_ns: past.time_unix_ns, change })
        };
        self.past.iter().filter_map(line).collect()
    }

    /// As the ledger shows it.
    fn record(&self, account: AccountNo) -> ledger::Hold {
        let now = self.now();
        ledger::Hold {
            id: self.id,
            account,
            amount: self.amount,
            captured: now.captured,
            capturing: now.capturing(),
            released: now.released,
            expires_ns: now.expires_ns,
            check_back: self.terms.as_ref().map(|terms| now.tries.record(terms)),
            ended: now.ended,
            journal: self.journal(),
        }
    }
}

/// All holds of an account that ever were. Those that are over lie apart: what is held is asked for all the time.
#[derive(Clone, Debug, Default)]
pub(super) struct Holds {
    live: BTreeMap<TransactionId, Hold>,
    over: BTreeMap<TransactionId, Hold>,
}

impl Holds {
    /// What they keep from being available.
    pub fn held(&self) -> i128 {
        let now = self.live.values().map(Hold::now);
        now.filter(|now| now.ended.is_none()).map(|now| now.left()).sum()
    }

    /// One of them as the ledger shows it, for those who know no account numbers.
    #[allow(dead_code, reason = "the consistency suite asks")]
    pub fn record_of(&self, id: TransactionId) -> Option<ledger::Hold> {
        self.get(id).map(|hold| hold.record(0))
    }

    /// The names of all of them, in the order of placing.
    #[allow(dead_code, reason = "the consistency suite asks")]
    pub fn ids(&self) -> Vec<TransactionId> {
        let mut ids: Vec<TransactionId> = self.live.keys().chain(self.over.keys()).copied().collect();
        ids.sort_by_key(|hold| hold.position);
        ids
    }

    fn get(&self, id: TransactionId) -> Option<&Hold> {
        self.live.get(&id).or_else(|| self.over.get(&id))
    }

    pub fn now(&self, id: TransactionId) -> Now {
        self.get(id).expect("it was placed there").now()
    }

    pub fn terms(&self, id: TransactionId) -> Option<&CheckBack> {
        self.get(id)?.terms.as_ref()
    }

    fn happens(&mut self, here: Here, id: TransactionId, what: Happened) {
        let hold = self.live.get_mut(&id).expect("nothing happens to what is over");
        hold.past.push(Past { at: here.position, time_unix_ns: here.time_unix_ns, what });
    }

    fn put_away(&mut self, id: TransactionId) {
        let over = |hold: &Hold| {
            let now = hold.now();
            now.ended.is_some() && now.in_hand.is_empty()
        };
        if self.live.get(&id).is_some_and(over) {
            self.over.extend(self.live.remove_entry(&id));
        }
    }
}

/// What a transaction takes of a hold.
#[derive(Clone, Debug)]
pub(super) struct Taking {
    pub account: String,
    pub hold: TransactionId,
    pub amount: i128,
    pub is_final: bool,
    /// The number of the try that it confirms the hold by.
    pub confirms: Option<u32>,
}

impl Model {
    /// Every hold as the ledger shows it, in the order of placing.
    #[allow(dead_code, reason = "not every test asks")]
    pub fn holds(&self) -> Vec<ledger::Hold> {
        let numbers: BTreeMap<&str, AccountNo> = self.in_order().into_iter().zip(0..).collect();
        let record = |(id, account): (&TransactionId, &String)| {
            let hold = self.accounts[account].holds.get(*id).expect("it was placed there");
            hold.record(numbers[account.as_str()])
        };
        let mut holds: Vec<_> = self.held_account.iter().map(record).collect();
        holds.sort_by_key(|hold| hold.id.position);
        holds
    }

    /// What a client asks of a hold.
    pub(super) fn change_hold(&mut self, here: Here, command: &Command) -> Result<Effect, Rejection> {
        match command {
            Command::PlaceHold(place) => self.place(here, place),
            Command::ReleaseHold { account, hold, amount, .. } => {
                self.give_back(here, account, *hold, *amount)
            }
            Command::ExtendHold { account, hold, expires_ns, .. } => {
                self.extend(here, account, *hold, *expires_ns)
            }
            other => unreachable!("{other:?} is about no hold"),
        }
    }

    fn place(&mut self, here: Here, place: &PlaceHold) -> Result<Effect, Rejection> {
        let PlaceHold { account: id, expires_ns, .. } = place;
        let account = self.found(id)?;
        if place.currency.as_ref().is_some_and(|named| *named != account.currency) {
            let expected = account.currency.clone();
            return Err(Rejection::CurrencyMismatch { account: id.clone(), expected });
        }
        let amount = minor(place.amount, account.scale, id)?;
        if expires_ns.is_some_and(|end| end <= here.time_unix_ns) {
            return Err(Rejection::ExpiryTooEarly { after_ns: here.time_unix_ns });
        }
        if account.closed {
            return Err(Rejection::AccountClosed { account: id.clone() });
        }
        let outflow = opposite(account.normal);
        if account.frozen.contains(&outflow) {
            return Err(Rejection::AccountFrozen { account: id.clone(), side: outflow });
        }
        if amount > SUM_MAX - account.held() {
            return Err(Rejection::AmountOverflow { account: id.clone() });
        }
        let (available, scale) = (account.available(), account.scale);
        if let Some(limit) = account.limit.filter(|limit| available - amount < *limit) {
            let account = id.clone();
            return Err(Rejection::LimitExceeded { account, available, limit, needed: amount, scale });
        }
        let terms = match &place.on_expiry {
            OnExpiry::Release => None,
            OnExpiry::CheckBack(terms) => Some(terms.clone()),
        };
        let hold = Hold { id: here.id(), amount, expires_ns: *expires_ns, terms, past: Vec::new() };
        self.holds_of(id).live.insert(here.id(), hold);
        self.held_account.insert(here.id(), id.clone());
        Ok(self.held(here.id()))
    }

    fn give_back(
        &mut self,
        here: Here,
        id: &str,
        hold: TransactionId,
        amount: Option<Decimal>,
    ) -> Result<Effect, Rejection> {
        let scale = self.found(id)?.scale;
        let asked = amount.map(|amount| minor(amount, scale, id)).transpose()?;
        let left = self.open_hold(here, id, hold)?.left();
        let amount = asked.unwrap_or(left);
        if amount > left {
            return Err(Rejection::HoldExceeded { hold, left, needed: amount, scale });
        }
        if amount != left {
            self.has_room(id, hold)?;
        }
        self.happens(here, hold, Happened::Released { amount });
        Ok(self.held(hold))
    }

    fn extend(
        &mut self,
        here: Here,
        id: &str,
        hold: TransactionId,
        expires_ns: Option<u64>,
    ) -> Result<Effect, Rejection> {
        self.found(id)?;
        let present = self.open_hold(here, id, hold)?.expires_ns;
        match (present, expires_ns) {
            (_, None) => {}
            (Some(present), Some(end)) if end > present.max(here.time_unix_ns) => {}
            _ => {
                let after_ns = present.map_or(u64::MAX, |present| present.max(here.time_unix_ns));
                return Err(Rejection::ExpiryTooEarly { after_ns });
            }
        }
        self.has_room(id, hold)?;
        self.happens(here, hold, Happened::Extended { expires_ns });
        Ok(self.held(hold))
    }

    /// A thousand lines are enough for what does not end it.
    fn has_room(&self, account: &str, hold: TransactionId) -> Result<(), Rejection> {
        let hold = self.found(account)?.holds.get(hold).expect("it is open");
        if hold.journal().len() < 1_000 { Ok(()) } else { Err(Rejection::HoldJournalFull { hold: hold.id }) }
    }

    pub(super) fn expire(&mut self, here: Here, hold: TransactionId) -> Result<Effect, Rejection> {
        let out_of_place = Rejection::StepOutOfPlace { attempt: hold };
        let Some(account) = self.held_account.get(&hold) else { return Err(out_of_place) };
        let now = self.accounts[account].holds.get(hold).expect("it was placed there").now();
        if now.ended.is_some() || now.checked_back || !now.time_is_over(here) {
            return Err(out_of_place);
        }
        self.happens(here, hold, Happened::Expired { amount: now.left() });
        Ok(self.held(hold))
    }

    /// What a capture by these legs takes of its hold.
    pub(super) fn taking(
        &self,
        here: Here,
        account: &str,
        (capture, confirms): (Capture, Option<u32>),
        legs: &[Move],
    ) -> Result<Taking, Rejection> {
        let Capture { hold, is_final } = capture;
        let left = self.open_hold(here, account, hold)?.left();
        let held = self.found(account)?;
        let sum = |side: Side| {
            let mut own = legs.iter().filter(|leg| leg.account == account && leg.side == side);
            let overflow = || Rejection::AmountOverflow { account: account.to_owned() };
            own.try_fold(0i128, |sum, leg| sum.checked_add(leg.minor)).ok_or_else(overflow)
        };
        let amount = -held.rise(sum(Side::Debit)?, sum(Side::Credit)?);
        if amount <= 0 {
            return Err(Rejection::CaptureWithoutOutflow { account: account.to_owned() });
        }
        if amount > left {
            return Err(Rejection::HoldExceeded { hold, left, needed: amount, scale: held.scale });
        }
        if !is_final {
            self.has_room(account, hold)?;
        }
        Ok(Taking { account: account.to_owned(), hold, amount, is_final, confirms })
    }

    /// It is booked, by the transaction of that name.
    pub(super) fn capture(&mut self, here: Here, by: TransactionId, taking: &Taking) {
        let Taking { account, hold, amount, is_final, confirms } = taking;
        let holds = self.holds_of(account);
        holds.happens(here, *hold, Happened::Captured { by, amount: *amount, is_final: *is_final });
        if let Some(no) = *confirms {
            holds.happens(here, *hold, Happened::Tried { no, came: Came::Confirmed });
        }
        let rest = holds.live[hold].now().left();
        if *is_final && rest > 0 {
            holds.happens(here, *hold, Happened::Released { amount: rest });
        }
        holds.put_away(*hold);
    }

    /// An attempt that may yet book it has it in hand.
    pub(super) fn take_in_hand(&mut self, here: Here, taking: &Taking) {
        let Taking { hold, amount, confirms, .. } = *taking;
        self.happens(here, hold, Happened::InHand { by: here.id(), amount, confirms });
    }

    /// An attempt has this much of a hold in hand, as its own set says.
    pub(super) fn take_of(&mut self, here: Here, hold: TransactionId, by: TransactionId, amount: i128) {
        self.happens(here, hold, Happened::InHand { by, amount, confirms: None });
    }

    /// The attempt came to nothing.
    pub(super) fn let_go(&mut self, here: Here, by: TransactionId, taking: &Taking) {
        self.give_to(here, taking.hold, by, taking.amount);
    }

    pub(super) fn give_to(&mut self, here: Here, hold: TransactionId, by: TransactionId, amount: i128) {
        let account = self.held_account[&hold].clone();
        let holds = self.holds_of(&account);
        holds.happens(here, hold, Happened::LetGo { by });
        if holds.live[&hold].now().ended.is_some() {
            holds.happens(here, hold, Happened::Released { amount });
        }
        holds.put_away(hold);
    }

    /// A hold of that account that takes commands.
    fn open_hold(&self, here: Here, id: &str, hold: TransactionId) -> Result<Now, Rejection> {
        let missing = || Rejection::HoldNotFound { account: id.to_owned(), hold };
        let now = self.found(id)?.holds.get(hold).ok_or_else(missing)?.now();
        if now.ended.is_some() || now.time_is_over(here) && !now.checked_back {
            return Err(Rejection::HoldEnded { hold });
        }
        Ok(now)
    }

    fn found(&self, id: &str) -> Result<&Account, Rejection> {
        self.accounts.get(id).ok_or_else(|| Rejection::AccountNotFound { account: id.to_owned() })
    }

    fn holds_of(&mut self, account: &str) -> &mut Holds {
        &mut self.accounts.get_mut(account).expect("it was found before").holds
    }

    pub(super) fn happens(&mut self, here: Here, hold: TransactionId, what: Happened) {
        let account = self.held_account[&hold].clone();
        let holds = self.holds_of(&account);
        holds.happens(here, hold, what);
        holds.put_away(hold);
    }

    /// The answer to a command on a hold.
    pub(super) fn held(&self, hold: TransactionId) -> Effect {
        let account = &self.accounts[&self.held_account[&hold]];
        let now = account.holds.get(hold).expect("it was placed there").now();
        Effect::Held(Held {
            hold,
            scale: account.scale,
            amount: now.amount,
            captured: now.captured,
            capturing: now.capturing(),
            released: now.released,
            expires_ns: now.expires_ns,
            ended: now.ended,
            available: account.available(),
        })
    }
}
