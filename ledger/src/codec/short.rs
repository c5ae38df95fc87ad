//! The short form: a two-leg transaction between known accounts in 64 bytes that never move. It says exactly what the
//! general form would have said, or it is not used. Made on the leader for every transaction and applied on every
//! replica, so nothing here allocates but `expand`.
//!
//! | at | bytes | field |
//! |---|---|---|
//! | 0 | 1 | record tag (1) |
//! | 1 | 1 | flags: scope in bits 0-1, credit leg first in bit 2, date given in bit 3 |
//! | 2 | 2 | kind |
//! | 4 | 2 | reason |
//! | 6 | 17 | packed request id |
//! | 23 | 1 | zero |
//! | 24 | 4 | debit account number |
//! | 28 | 4 | credit account number |
//! | 32 | 8 | amount in minor units |
//! | 40 | 4 | accounting date, zero if not given |
//! | 44 | 20 | zero |

use rust_decimal::Decimal;

use super::DecodeError;
use super::command::{HAS_DATE, HAS_SCOPE, kind};
use super::leg::HAS_CURRENCY;
use super::request_id::PackedId;
use super::wire::{Reader, side_of};
use crate::account::{Account, AccountNo, Side};
use crate::amount::minor_from_parts;
use crate::command::{Leg, Metadata, Transaction};
use crate::malformed::DATES;
use crate::state::State;

/// The length of the short form, its tag included.
pub const SHORT_BYTES: usize = 64;
/// The tag that leads it.
pub(super) const TAG: u8 = 1;

const SCOPE_MASK: u8 = 0b0011;
const CREDIT_FIRST: u8 = 0b0100;
const DATED: u8 = 0b1000;

/// Which scope account the client named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ShortScope {
    /// None: the default applies.
    Default = 0,
    /// The account of the debit leg.
    Debit = 1,
    /// The account of the credit leg.
    Credit = 2,
}

/// A two-leg transaction by account numbers, amount in minor units of the currency that both accounts share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Short {
    /// The client's idempotency key.
    pub request_id: PackedId,
    /// The account that is debited.
    pub debit: AccountNo,
    /// The account that is credited; another one.
    pub credit: AccountNo,
    /// In minor units, above zero.
    pub amount: u64,
    /// The client's kind of transaction.
    pub kind: u16,
    /// The client's reason code.
    pub reason: u16,
    /// Days since 1970-01-01; None: the day of the ledger time.
    pub accounting_date: Option<i32>,
    /// Which scope account the client named.
    pub scope: ShortScope,
    /// Whether the client named the credit leg first.
    pub credit_first: bool,
}

impl Short {
    /// Account number and side of both legs in the client's order.
    pub(crate) fn legs(&self) -> [(AccountNo, Side); 2] {
        let (debit, credit) = ((self.debit, Side::Debit), (self.credit, Side::Credit));
        if self.credit_first { [credit, debit] } else { [debit, credit] }
    }

    /// The 64 bytes.
    pub(super) fn encode(&self) -> [u8; SHORT_BYTES] {
        let mut bytes = [0; SHORT_BYTES];
        bytes[0] = TAG;
        bytes[1] = self.scope as u8
            | if self.credit_first { CREDIT_FIRST } else { 0 }
            | self.accounting_date.map_or(0, |_| DATED);
        bytes[2..4].copy_from_slice(&self.kind.to_le_bytes());
        bytes[4..6].copy_from_slice(&self.reason.to_le_bytes());
        bytes[6..23].copy_from_slice(self.request_id.as_bytes());
        bytes[24..28].copy_from_slice(&self.debit.to_le_bytes());
        bytes[28..32].copy_from_slice(&self.credit.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.amount.to_le_bytes());
        bytes[40..44].copy_from_slice(&self.accounting_date.unwrap_or(0).to_le_bytes());
        bytes
    }

    /// Takes 64 bytes that are not trusted.
    pub(super) fn decode(bytes: &[u8; SHORT_BYTES]) -> Result<Self, DecodeError> {
        let refuse = |field| Err(DecodeError::OutOfRange { field });
        let mut r = Reader::new(bytes);
        if r.u8()? != TAG {
            return refuse("record tag");
        }
        let flags = r.u8()?;
        let scope = match flags & SCOPE_MASK {
            0 => ShortScope::Default,
            1 => ShortScope::Debit,
            2 => ShortScope::Credit,
            _ => return refuse("flags"),
        };
        let (kind, reason) = (r.u16()?, r.u16()?);
        let request_id = PackedId::from_bytes(r.array()?)?;
        let padding = r.u8()?;
        let (debit, credit, amount, date) = (r.u32()?, r.u32()?, r.u64()?, r.i32()?);
        if flags & !(SCOPE_MASK | CREDIT_FIRST | DATED) != 0 {
            return refuse("flags");
        }
        if padding != 0 || r.array::<20>()? != [0; 20] {
            return refuse("padding");
        }
        if debit == credit || amount == 0 {
            return refuse("legs");
        }
        let accounting_date = (flags & DATED != 0).then_some(date);
        if accounting_date.map_or(date != 0, |date| !DATES.contains(&date)) {
            return refuse("accounting date");
        }
        let credit_first = flags & CREDIT_FIRST != 0;
        Ok(Short { request_id, debit, credit, amount, kind, reason, accounting_date, scope, credit_first })
    }
}

/// A leg as it stands in the wire form.
struct RawLeg<'a> {
    side: Side,
    account: &'a str,
    mantissa: i128,
    places: u8,
    currency: Option<&'a str>,
}

/// The short form of an encoded command, if it would mean exactly the same when applied to any later state. None for
/// every other command, malformed bytes included: the general way has the words for those.
pub fn shorten<S: State>(command_bytes: &[u8], state: &S) -> Option<Short> {
    let mut r = Reader::new(command_bytes);
    if r.u8().ok()? != kind::TRANSACTION {
        return None;
    }
    let flags = r.u8().ok()?;
    if flags & !(HAS_SCOPE | HAS_DATE) != 0 {
        return None;
    }
    let kind = r.u16().ok()?;
    let reason = r.u16().ok()?;
    let accounting_date = if flags & HAS_DATE != 0 { Some(r.i32().ok()?) } else { None };
    if accounting_date.is_some_and(|date| !DATES.contains(&date)) {
        return None;
    }
    let request_id = PackedId::pack(r.text().ok()?)?;
    let scope_account = if flags & HAS_SCOPE != 0 { Some(r.text().ok()?) } else { None };
    if r.u16().ok()? != 2 {
        return None;
    }
    let first = raw_leg(&mut r)?;
    let second = raw_leg(&mut r)?;
    let no_metadata = r.u8().ok()? == 0;
    if !no_metadata || r.left() != 0 || first.side == second.side {
        return None;
    }
    let credit_first = first.side == Side::Credit;
    let (debit, credit) = if credit_first { (second, first) } else { (first, second) };
    let scope = match scope_account {
        None => ShortScope::Default,
        Some(scope) if scope == debit.account => ShortScope::Debit,
        Some(scope) if scope == credit.account => ShortScope::Credit,
        Some(_) => return None,
    };
    let (debit_no, credit_no) = (state.account_no(debit.account)?, state.account_no(credit.account)?);
    let (debit_account, credit_account) = (state.account(debit_no), state.account(credit_no));
    let amount = minor_of(&debit, debit_account)?;
    if debit_no == credit_no
        || debit_account.currency != credit_account.currency
        || amount != minor_of(&credit, credit_account)?
    {
        return None;
    }
    Some(Short {
        request_id,
        debit: debit_no,
        credit: credit_no,
        amount,
        kind,
        reason,
        accounting_date,
        scope,
        credit_first,
    })
}

fn raw_leg<'a>(r: &mut Reader<'a>) -> Option<RawLeg<'a>> {
    let head = r.u8().ok()?;
    let side = side_of(head & !HAS_CURRENCY).ok()?;
    let account = r.text().ok()?;
    let (mantissa, places) = r.amount_parts().ok()?;
    let currency = if head & HAS_CURRENCY != 0 { Some(r.text().ok()?) } else { None };
    Some(RawLeg { side, account, mantissa, places, currency })
}

/// The leg's amount in minor units of its account, if the account takes it and it fits.
fn minor_of(leg: &RawLeg<'_>, account: &Account) -> Option<u64> {
    if leg.currency.is_some_and(|currency| currency != account.currency) {
        return None;
    }
    let minor = minor_from_parts(leg.mantissa, leg.places, account.scale).ok()?;
    u64::try_from(minor).ok().filter(|&minor| minor > 0)
}

/// The owned form that the short form stands for.
pub fn expand<S: State>(short: &Short, state: &S) -> Transaction {
    let leg = |(no, side): (AccountNo, Side)| {
        let account = state.account(no);
        let amount = Decimal::from_i128_with_scale(i128::from(short.amount), u32::from(account.scale));
        Leg::new(&account.id, side, amount)
    };
    let scope_account = match short.scope {
        ShortScope::Default => None,
        ShortScope::Debit => Some(state.account(short.debit).id.clone()),
        ShortScope::Credit => Some(state.account(short.credit).id.clone()),
    };
    Transaction {
        request_id: short.request_id.to_string(),
        scope_account,
        legs: short.legs().map(leg).into(),
        kind: short.kind,
        reason: short.reason,
        accounting_date: short.accounting_date,
        capture: None,
        metadata: Metadata::new(),
    }
}
