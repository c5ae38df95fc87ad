//! The account record: who it is, what it may do, and its figures in minor units of its currency.

use crate::command::Metadata;
use crate::id::Position;

/// The dense number of an account inside its set: 0, 1, 2, ... in the order of opening. Never given twice.
pub type AccountNo = u32;

/// Debit or credit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Side {
    /// Left.
    Debit = 1,
    /// Right.
    Credit = 2,
}

impl Side {
    /// The other one.
    pub fn opposite(self) -> Side {
        match self {
            Side::Debit => Side::Credit,
            Side::Credit => Side::Debit,
        }
    }
}

/// Which legs a freeze refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum FreezeMode {
    /// Debit legs.
    Debit = 1,
    /// Credit legs.
    Credit = 2,
    /// All legs.
    Both = 3,
}

/// The floor of the available balance in minor units; None: no floor.
pub type Limit = Option<i128>;

/// An account. `posted` and the other figures are in minor units, positive on the account's normal side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// 1-64 of `A-Za-z0-9._:-{}`.
    pub id: String,
    /// General-ledger subject code.
    pub subject: String,
    /// Currency code.
    pub currency: String,
    /// Decimal places of a minor unit.
    pub scale: u8,
    /// The side that raises the balance.
    pub normal_side: Side,
    /// Floor of the available balance.
    pub limit: Limit,
    /// Refuses debit legs.
    pub frozen_debit: bool,
    /// Refuses credit legs.
    pub frozen_credit: bool,
    /// Refuses everything, for good.
    pub closed: bool,
    /// Sum of all debit legs, never negative.
    pub debits: i128,
    /// Sum of all credit legs, never negative.
    pub credits: i128,
    /// Set aside: by holds, and by open attempts that lower the balance.
    pub held: i128,
    /// Announced by open attempts that raise the balance. Not available yet.
    pub incoming: i128,
    /// Available but not withdrawable.
    pub restricted: i128,
    /// Sum of all legs, of both sides, that open attempts may yet book: what balances must have room for.
    pub prepared: i128,
    /// Count of postings; rises with every one.
    pub version: u64,
    /// Where it was opened.
    pub opened_at: Position,
    /// Free.
    pub metadata: Metadata,
}

impl Account {
    /// A new one: nothing is booked, there is no floor, and nothing is refused.
    pub(crate) fn new(
        id: &str,
        subject: &str,
        currency: (&str, u8),
        normal_side: Side,
        at: Position,
    ) -> Self {
        let (currency, scale) = currency;
        Account {
            id: id.to_owned(),
            subject: subject.to_owned(),
            currency: currency.to_owned(),
            scale,
            normal_side,
            limit: None,
            frozen_debit: false,
            frozen_credit: false,
            closed: false,
            debits: 0,
            credits: 0,
            held: 0,
            incoming: 0,
            restricted: 0,
            prepared: 0,
            version: 0,
            opened_at: at,
            metadata: Metadata::new(),
        }
    }

    /// The balance on the normal side.
    pub fn posted(&self) -> i128 {
        match self.normal_side {
            Side::Debit => self.debits - self.credits,
            Side::Credit => self.credits - self.debits,
        }
    }

    /// What may still be used: posted less held.
    pub fn available(&self) -> i128 {
        self.posted() - self.held
    }

    /// What may leave: available less restricted.
    pub fn withdrawable(&self) -> i128 {
        self.available() - self.restricted
    }

    /// Whether a leg on `side` raises (inflow) the balance.
    pub fn is_inflow(&self, side: Side) -> bool {
        side == self.normal_side
    }
}
