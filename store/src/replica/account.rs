//! Stored accounts, in two records each: who it is, written once, and how it stands, written by every checkpoint that
//! finds it touched.

use twinset_ledger::account::{Account, Side};
use twinset_ledger::command::Metadata;
use twinset_ledger::id::Position;

use crate::wire::{BadRecord, Fields, put_block};

/// Part of the key of who an account is.
pub(crate) const WHO: u8 = 0;
/// Part of the key of how an account stands.
pub(crate) const FIGURES: u8 = 1;

const VERSION: u8 = 1;
/// Of figures with something prepared. Others keep the first form, so that replicas of two builds say the same of them.
const WITH_PREPARED: u8 = 2;
const FROZEN_DEBIT: u8 = 1;
const FROZEN_CREDIT: u8 = 2;
const CLOSED: u8 = 4;
const LIMITED: u8 = 8;
/// Bytes of the second record without what is prepared.
const FIGURES_BYTES: usize = 2 + 6 * 16 + 8;

/// Who an account is: what never changes.
pub(crate) fn encode_who(account: &Account) -> Vec<u8> {
    let mut out = vec![VERSION];
    put_block(&mut out, account.id.as_bytes());
    put_block(&mut out, account.subject.as_bytes());
    put_block(&mut out, account.currency.as_bytes());
    out.push(account.scale);
    out.push(account.normal_side as u8);
    out.extend_from_slice(&account.opened_at.0.to_le_bytes());
    let count = u16::try_from(account.metadata.len()).expect("metadata has at most 32 pairs");
    out.extend_from_slice(&count.to_le_bytes());
    for (key, value) in &account.metadata {
        put_block(&mut out, key.as_bytes());
        put_block(&mut out, value.as_bytes());
    }
    out
}

/// Reads who an account is; its figures are all zero.
pub(crate) fn decode_who(bytes: &[u8]) -> Result<Account, BadRecord> {
    let mut fields = Fields::new(bytes);
    version(&mut fields)?;
    let id = fields.text("id")?.to_owned();
    let subject = fields.text("subject")?.to_owned();
    let currency = fields.text("currency")?.to_owned();
    let scale = fields.u8()?;
    let normal_side = side(&mut fields)?;
    let opened_at = Position(fields.u64()?);
    let mut metadata = Metadata::new();
    for _ in 0..fields.u16()? {
        let key = fields.text("metadata key")?.to_owned();
        metadata.insert(key, fields.text("metadata value")?.to_owned());
    }
    fields.end()?;
    Ok(Account {
        id,
        subject,
        currency,
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
        opened_at,
        metadata,
    })
}

/// How an account stands: what changes.
pub(crate) fn encode_figures(account: &Account) -> Vec<u8> {
    let mut out = Vec::with_capacity(FIGURES_BYTES + 16);
    out.push(if account.prepared == 0 { VERSION } else { WITH_PREPARED });
    let flags = [
        (account.frozen_debit, FROZEN_DEBIT),
        (account.frozen_credit, FROZEN_CREDIT),
        (account.closed, CLOSED),
        (account.limit.is_some(), LIMITED),
    ];
    out.push(flags.into_iter().filter(|(set, _)| *set).map(|(_, flag)| flag).sum());
    let figures = [
        account.limit.unwrap_or(0),
        account.debits,
        account.credits,
        account.held,
        account.incoming,
        account.restricted,
    ];
    figures.iter().for_each(|figure| out.extend_from_slice(&figure.to_le_bytes()));
    out.extend_from_slice(&account.version.to_le_bytes());
    if account.prepared != 0 {
        out.extend_from_slice(&account.prepared.to_le_bytes());
    }
    out
}

/// Reads how an account stands into it.
pub(crate) fn decode_figures(bytes: &[u8], account: &mut Account) -> Result<(), BadRecord> {
    let mut fields = Fields::new(bytes);
    let version = fields.u8()?;
    if ![VERSION, WITH_PREPARED].contains(&version) {
        return Err(BadRecord::Value { field: "version", value: version.into() });
    }
    let flags = fields.u8()?;
    if flags > FROZEN_DEBIT | FROZEN_CREDIT | CLOSED | LIMITED {
        return Err(BadRecord::Value { field: "flags", value: flags.into() });
    }
    let limit = fields.i128()?;
    account.limit = (flags & LIMITED != 0).then_some(limit);
    account.frozen_debit = flags & FROZEN_DEBIT != 0;
    account.frozen_credit = flags & FROZEN_CREDIT != 0;
    account.closed = flags & CLOSED != 0;
    account.debits = fields.i128()?;
    account.credits = fields.i128()?;
    account.held = fields.i128()?;
    account.incoming = fields.i128()?;
    account.restricted = fields.i128()?;
    account.version = fields.u64()?;
    account.prepared = if version == WITH_PREPARED { fields.i128()? } else { 0 };
    if version == WITH_PREPARED && account.prepared <= 0 {
        return Err(BadRecord::Value { field: "prepared", value: 0 });
    }
    fields.end()
}

/// Reads a side.
pub(crate) fn side(fields: &mut Fields<'_>) -> Result<Side, BadRecord> {
    match fields.u8()? {
        1 => Ok(Side::Debit),
        2 => Ok(Side::Credit),
        other => Err(BadRecord::Value { field: "side", value: other.into() }),
    }
}

fn version(fields: &mut Fields<'_>) -> Result<(), BadRecord> {
    match fields.u8()? {
        VERSION => Ok(()),
        other => Err(BadRecord::Value { field: "version", value: other.into() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Account {
        Account {
            id: "{m1}:cash".to_owned(),
            subject: "asset".to_owned(),
            currency: "EUR".to_owned(),
            scale: 2,
            normal_side: Side::Credit,
            limit: Some(-500),
            frozen_debit: true,
            frozen_credit: false,
            closed: true,
            debits: i128::MAX,
            credits: 7,
            held: 1,
            incoming: 2,
            restricted: 3,
            prepared: 0,
            version: 9,
            opened_at: Position::new(8, 1),
            metadata: Metadata::from([("k".to_owned(), "v".to_owned())]),
        }
    }

    fn load(who: &[u8], figures: &[u8]) -> Result<Account, BadRecord> {
        let mut account = decode_who(who)?;
        decode_figures(figures, &mut account)?;
        Ok(account)
    }

    #[test]
    fn round_trip() {
        let unlimited = Account { limit: None, closed: false, ..sample() };
        let open = Account { prepared: 1 << 90, ..sample() };
        for account in [sample(), unlimited, open] {
            assert_eq!(load(&encode_who(&account), &encode_figures(&account)), Ok(account));
        }
    }

    #[test]
    fn golden_figures() {
        let figures = encode_figures(&sample());
        assert_eq!(figures[..4], [1, 13, 12, 254]);
        assert_eq!(figures[98..], [9, 0, 0, 0, 0, 0, 0, 0]);
        let open = encode_figures(&Account { prepared: 5, ..sample() });
        assert_eq!((open[0], open[1..106] == figures[1..]), (2, true));
        assert_eq!(open[106..], 5i128.to_le_bytes());
    }

    #[test]
    fn bad_lengths_and_values_are_refused() {
        let (who, figures) = (encode_who(&sample()), encode_figures(&sample()));
        for cut in 0..who.len() {
            assert!(load(&who[..cut], &figures).is_err(), "who cut at {cut}");
        }
        for cut in 0..figures.len() {
            assert!(load(&who, &figures[..cut]).is_err(), "figures cut at {cut}");
        }
        assert_eq!(load(&[&who[..], &[0]].concat(), &figures), Err(BadRecord::Trailing { count: 1 }));
        assert_eq!(load(&who, &[&figures[..], &[0]].concat()), Err(BadRecord::Trailing { count: 1 }));
        for (at, bad) in [(0, 3), (1, 16)] {
            let mut changed = figures.clone();
            changed[at] = bad;
            assert!(matches!(load(&who, &changed), Err(BadRecord::Value { .. })));
        }
        let open = encode_figures(&Account { prepared: 5, ..sample() });
        for cut in 0..open.len() {
            assert!(load(&who, &open[..cut]).is_err(), "open figures cut at {cut}");
        }
        assert_eq!(load(&who, &[&open[..], &[0]].concat()), Err(BadRecord::Trailing { count: 1 }));
        let nothing = [&open[..106], &[0; 16]].concat();
        assert_eq!(load(&who, &nothing), Err(BadRecord::Value { field: "prepared", value: 0 }));
    }
}
