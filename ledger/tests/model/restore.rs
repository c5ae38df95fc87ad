//! What a recovered set has lost and others have booked. Built differently from the ledger on purpose: what the part must come to
//! is a pool of debits and credits, which legs draw from, and a stream keeps every place that it ever had.

use std::collections::BTreeMap;

use twinset_ledger::attempt::{Restore, Sum, Vote};
use twinset_ledger::buffer::ParcelName;
use twinset_ledger::{Effect, Leg, LegKind, Posted, Rejection, Side, TransactionId};

use super::account::Account;
use super::booking::{Move, SUM_MAX, minor, per_account};
use super::buffer::Parcel;
use super::{Here, Model};

/// What is left to be booked: debits and credits, by currency and scale.
type Pool = BTreeMap<(String, u8), (i128, i128)>;

impl Model {
    /// The verdict on an attempt that was begun here, and lost.
    pub(super) fn lost(
        &mut self,
        here: Here,
        id: TransactionId,
        votes: Option<&[Vote]>,
    ) -> Result<Effect, Rejection> {
        let out_of_place = Rejection::StepOutOfPlace { attempt: id };
        let stands = self.log.get(&id.position).is_some_and(|it| it.outcome.incarnation == id.incarnation);
        if id.incarnation >= here.incarnation || stands {
            return Err(out_of_place);
        }
        let Some(votes) = votes else { return Err(Rejection::SetUnavailable { set: self.set }) };
        // What this set has left open, everybody together has not.
        let mut open = Pool::new();
        for sum in votes.iter().flat_map(|vote| vote.said.clone().expect("it has agreed")) {
            let both = open.entry((sum.currency, sum.scale)).or_default();
            *both = (both.0 + sum.credits, both.1 + sum.debits);
        }
        let square =
            |(debits, credits): (i128, i128)| (debits - debits.min(credits), credits - debits.min(credits));
        let own =
            open.into_iter().map(|(unit, both)| (unit, square(both))).filter(|(_, both)| *both != (0, 0));
        let own: Vec<Sum> = own.map(of_pool).collect();
        match self.book_known(here, &[], &own) {
            Some((_, booked)) => Ok(Effect::Posted(booked)),
            None => Err(out_of_place),
        }
    }

    /// The lost part of what another set coordinates.
    pub(super) fn restore(
        &mut self,
        here: Here,
        id: TransactionId,
        part: &Restore,
    ) -> Result<Effect, Rejection> {
        let out_of_place = Rejection::StepOutOfPlace { attempt: id };
        if self.open.contains_key(&id) {
            return Err(out_of_place);
        }
        let sums =
            part.sums.clone().or_else(|| self.currencies_of(&part.legs)).ok_or(out_of_place.clone())?;
        let (legs, booked) = self.book_known(here, &part.legs, &sums).ok_or(out_of_place)?;
        match part.reverses {
            None => self.restrict(here, id, &legs),
            Some(original) => self.reverse_restrictions(here, original, &legs),
        }
        Ok(Effect::Posted(booked))
    }

    /// What legs come to, if the currency of each is known.
    fn currencies_of(&self, legs: &[Leg]) -> Option<Vec<Sum>> {
        let mut pool = Pool::new();
        for leg in legs {
            let unit = match self.accounts.get(&leg.account) {
                Some(account) => (account.currency.clone(), account.scale),
                None => {
                    let named = leg.currency.clone()?;
                    let scale = self.scale(&named)?;
                    (named, scale)
                }
            };
            let minor = minor(leg.amount, unit.1, &leg.account).ok()?;
            let both = pool.entry(unit).or_default();
            *(if leg.side == Side::Debit { &mut both.0 } else { &mut both.1 }) += minor;
        }
        Some(pool.into_iter().map(of_pool).collect())
    }

    /// Parcels of an earlier incarnation that only the payee knows.
    pub(super) fn lost_parcels(
        &mut self,
        here: Here,
        by: TransactionId,
        (to, through): (u32, u64),
        sums: &[Sum],
    ) -> Result<Effect, Rejection> {
        let out_of_place = Rejection::StepOutOfPlace { attempt: by };
        if by.set != self.set {
            let origin = (by.set, by.incarnation);
            if to != self.set || self.buffering.taken(origin) >= through {
                return Err(out_of_place);
            }
            let (_, booked) = self.book_known(here, &[], sums).ok_or(out_of_place)?;
            self.buffering.taken.entry(origin).or_default().resize(through as usize, here.position);
            return Ok(Effect::Posted(booked));
        }
        let stream = (to, by.incarnation);
        let known = self.buffering.sent.get(&stream).map_or(0, Vec::len) as u64;
        if by.incarnation >= here.incarnation || known >= through {
            return Err(out_of_place);
        }
        let (_, booked) = self.book_known(here, &[], sums).ok_or(out_of_place)?;
        let through = through as usize;
        self.buffering.sent.entry(stream).or_default().resize_with(through, Parcel::lost);
        self.buffering.acknowledged.insert(stream, through);
        Ok(Effect::Posted(booked))
    }

    /// Parcels that the payee has lost again.
    pub(super) fn send_again(
        &mut self,
        by: TransactionId,
        to: u32,
        parcels: &[ParcelName],
    ) -> Result<Effect, Rejection> {
        let out_of_place = Err(Rejection::StepOutOfPlace { attempt: by });
        let stream = (to, by.incarnation);
        let Some(done) = self.buffering.acknowledged.get_mut(&stream) else { return out_of_place };
        let sent = &self.buffering.sent[&stream][..*done];
        let names: Vec<ParcelName> =
            sent.iter().map(|parcel| ParcelName { position: parcel.position, leg: parcel.leg }).collect();
        if !names.ends_with(parcels) {
            return out_of_place;
        }
        *done -= parcels.len();
        Ok(Effect::Acknowledged)
    }

    /// Books what the sums say: the legs where they belong, or, where that cannot be and where no leg is known, on recovery
    /// accounts. Gives the legs, and what is booked with what squares them.
    fn book_known(&mut self, here: Here, legs: &[Leg], sums: &[Sum]) -> Option<(Vec<Move>, Vec<Posted>)> {
        let mut pool: Pool =
            sums.iter().map(|s| ((s.currency.clone(), s.scale), (s.debits, s.credits))).collect();
        let mut moves: Vec<Option<Move>> =
            legs.iter().map(|leg| self.where_it_belongs(leg, &mut pool)).collect();
        for (known, leg) in moves.iter_mut().zip(legs).filter(|(known, _)| known.is_none()) {
            let currencies: Vec<(String, u8)> = pool.keys().cloned().collect();
            let drawn = currencies.into_iter().find_map(|unit| Some((draw(&mut pool, &unit, leg)?, unit)));
            *known = drawn.map(|(minor, unit)| self.on_recovery(&unit, leg.side, minor));
        }
        let mut moves = moves.into_iter().collect::<Option<Vec<Move>>>()?;
        let rest = pool.iter().flat_map(|(unit, (debits, credits))| {
            [(unit, Side::Debit, *debits), (unit, Side::Credit, *credits)]
        });
        let rest: Vec<_> = rest.filter(|(.., minor)| *minor > 0).collect();
        if !legs.is_empty() && !rest.is_empty() {
            return None;
        }
        moves.extend(rest.into_iter().map(|(unit, side, minor)| self.on_recovery(unit, side, minor)));
        for (id, debits, credits) in per_account(&moves) {
            let (more_debits, more_credits) = self.accounts.get(id).map_or((SUM_MAX, SUM_MAX), Account::room);
            if debits > more_debits.max(0) || credits > more_credits.max(0) {
                return None;
            }
        }
        let squaring = self.squaring(here, sums, SUM_MAX).ok()?;
        for leg in moves.iter().filter(|leg| leg.account.starts_with("@recovery")) {
            let id = &leg.account;
            let unit = sums.iter().map(|sum| (sum.currency.as_str(), sum.scale));
            let unit = unit.into_iter().find(|(currency, scale)| {
                let plain = format!("@recovery-{}:{currency}", self.set);
                *id == plain && self.accounts.get(&plain).is_none_or(|known| known.scale == *scale)
                    || *id == format!("{plain}@{scale}")
            });
            let unit = unit.expect("it was drawn from there");
            let new = || Account::new("@recovery", unit, Side::Debit, here.position);
            self.accounts.entry(id.clone()).or_insert_with(new);
        }
        let all: Vec<Move> = moves.iter().cloned().chain(squaring).collect();
        let booked = self.book(&all);
        Some((moves, booked))
    }

    fn where_it_belongs(&self, leg: &Leg, pool: &mut Pool) -> Option<Move> {
        let account = self.accounts.get(&leg.account).filter(|account| !account.closed)?;
        let minor = draw(pool, &(account.currency.clone(), account.scale), leg)?;
        let stays = leg.side == account.normal && matches!(leg.kind, LegKind::Restricted { .. });
        let kind = if stays { leg.kind } else { LegKind::Ordinary };
        Some(Move { account: leg.account.clone(), side: leg.side, minor, expects: Vec::new(), kind })
    }

    fn on_recovery(&self, (currency, scale): &(String, u8), side: Side, minor: i128) -> Move {
        let account = self.in_scale(format!("@recovery-{}:{currency}", self.set), *scale);
        Move { account, side, minor, expects: Vec::new(), kind: LegKind::Ordinary }
    }
}

fn of_pool(((currency, scale), (debits, credits)): ((String, u8), (i128, i128))) -> Sum {
    Sum { currency, scale, debits, credits }
}

/// Takes a leg out of the pool of a currency; gives it in minor units.
fn draw(pool: &mut Pool, unit: &(String, u8), leg: &Leg) -> Option<i128> {
    let amount = minor(leg.amount, unit.1, &leg.account).ok()?;
    if leg.currency.as_ref().is_some_and(|named| *named != unit.0) {
        return None;
    }
    let (debits, credits) = pool.get_mut(unit)?;
    let there = if leg.side == Side::Debit { debits } else { credits };
    *there = Some(*there - amount).filter(|left| *left >= 0)?;
    Some(amount)
}
