//! Transactions over several sets in the replay of one: where its coordinator began one, the model begins it too, and says
//! the first word; where the set's list has a part, it is booked. Of what lies between, a vote, a refusal by another set, the
//! model is told what the answer and the lists say, and whether that can be is asked in the replays of the other sets.

use std::collections::BTreeMap;

use rust_decimal::Decimal;
use twinset_ledger::attempt::{Ballot, Part, Sum, Vote};
use twinset_ledger::{Command, Leg, Position, Posted, Rejection, Side, Step, TransactionId};

use super::super::across::{AT_LAST, Across, Came, Plans, Reversing, Spot, own_legs};
use super::super::model;
use super::super::witness::{Body, Call, Decided, Witness};
use super::{Booked, Replay, Run, in_cents};
use crate::history::event::EURO;
use crate::history::{Answer, Ask, Found};

/// A transaction over several sets as it was booked.
#[derive(Clone, Debug)]
pub struct Whole {
    /// Its number in its coordinator's log.
    pub number: usize,
    /// The index at which its coordinator decided that it is booked; none: no list shows that.
    pub decided: Option<u64>,
    /// The account that its request id belongs to.
    pub scope: Option<u32>,
    /// Account and cents, in the client's order.
    pub legs: Vec<(u32, i64)>,
    /// Where what it takes back was begun.
    pub reverses: Option<Position>,
}

/// A leg as a set has booked it, in cents.
#[derive(Clone, Copy, Debug)]
pub struct PartLeg {
    /// Account and cents, debits above zero.
    pub leg: (u32, i64),
    /// The balance afterwards.
    pub posted: i128,
    /// What was available then, at most.
    pub available: i128,
    /// How much less it may have been.
    pub slack: i128,
}

impl<'h> Run<'_, 'h> {
    /// An attempt that this set coordinates, where it was begun.
    pub(super) fn begin(&mut self, number: usize, decided: &Decided) {
        let plans = self.plans;
        let begun = &plans.begun[&(self.set, number)];
        let (across, came) = (&begun.across, begun.came);
        let call = self.witness.call(decided.call);
        let command = call.body.command(self.witness.history);
        if across.coordinator != self.set {
            // Another checker says whose answer it should have been.
            return;
        }
        if self.is_hidden_mismatch(decided, &call, &command) {
            self.replay.answers.checked += 1;
            return;
        }
        self.refused_at_once(number);
        let own: Vec<u32> = across.legs_of(self.set).map(|(account, _)| account).collect();
        let promised = match came {
            Came::Refused("limit_exceeded") => self.promise(&own),
            _ => Vec::new(),
        };
        self.count_as_taken_back(&call, across, came);
        let in_transit = self.in_transit(&call, came);
        let (place, lent) = (self.free(decided.position), self.lend(decided, &call));
        let first = self.model.apply_at(place, decided.place.time_ns, &command);
        self.unlend(lent);
        self.model.reserve(Position(0), 0);
        self.forgive(promised);
        let incarnation = self.witness.history.meta.incarnation_at(self.set, decided.place.index);
        let name = TransactionId { set: self.set, incarnation, position: decided.position };
        let answer = match &first.answer {
            model::Answer::Begun if !first.replayed => {
                self.begun_after_all(number);
                self.come(name, number, begun.came, across, &call)
            }
            _ => first.answer.clone(),
        };
        if came == Came::GivenUp {
            self.replay.answers.checked += 1;
            let is_open = first.answer == model::Answer::Begun && !first.replayed;
            let may_be = is_open || in_transit && first.answer == model::Answer::No("set_unavailable");
            if !may_be {
                self.replay.answers.wrong(|| {
                    format!("{:?} was given up at {:?}; the model says {first:?}", call.body, decided.place)
                });
            }
            return;
        }
        if first.replayed {
            self.replay.twice.wrong(|| {
                format!(
                    "{:?} is begun at {:?}, and was decided at {:?}",
                    call.body, decided.place, first.position
                )
            });
        }
        let verdict = model::Verdict { answer, ..first };
        self.answers(decided, &call, &verdict);
        self.spellings(decided, &call);
        if came == Came::Booked && !verdict.replayed {
            let scope = self.model.scope(decided.position, &command);
            let scope = self.plans.numbers.get(scope.as_str()).copied();
            let (legs, reverses) = (across.legs.clone(), across.reverses);
            self.replay.across.insert(name, Whole { number, decided: None, scope, legs, reverses });
        }
    }

    /// What came of an attempt that the model has begun as well; gives what it says then.
    fn come(
        &mut self,
        name: TransactionId,
        number: usize,
        came: Came<'h>,
        across: &Across,
        call: &Call<'h>,
    ) -> model::Answer {
        let other = across.others().first().copied().unwrap_or(self.set);
        let given_up = Step::Decide(Ballot::GivenUp { set: other });
        match came {
            Came::Booked => model::Answer::Begun,
            Came::GivenUp => self.unseen_step(name, given_up),
            Came::Refused(code) if AT_LAST.contains(&code) => {
                let votes = self.votes(across, None);
                self.unseen_step(name, Step::Decide(Ballot::Votes(votes)))
            }
            Came::Refused(code) => {
                let Some(rejection) = refusal(code) else {
                    self.unseen_step(name, given_up);
                    return model::Answer::Begun;
                };
                let words = format!(
                    "{:?} was refused with {code} at {}; the coordinator's own legs are right, and no other set had a reason",
                    call.body, name
                );
                self.replay.to_explain.push(((self.set, number), words));
                let said = Err(rejection);
                self.unseen_step(name, Step::Decide(Ballot::Votes(vec![Vote { set: other, said }])))
            }
        }
    }

    /// For a reversal: what attempts of other requests to take the same back may count for. Those of its own end before it begins.
    fn count_as_taken_back(&mut self, call: &Call<'_>, across: &Across, came: Came<'_>) {
        let Some(original) = across.reverses else { return };
        let reversing =
            self.plans.reversing.get(&(self.set, original)).map(Vec::as_slice).unwrap_or_default();
        let key = call.body.key();
        let counts = |one: &&Reversing| one.by != key && one.from < self.spot && self.spot < one.until;
        let most: i64 = reversing.iter().filter(counts).map(|one| one.cents).sum();
        let first = across.legs.first().map(|(account, _)| &self.witness.history.accounts[*account as usize]);
        let unit =
            first.and_then(|id| self.model.accounts().get(id)).map_or(1, |it| it.cents_of_a_minor_unit());
        let most = i128::from(most) / unit;
        let left = self.model.left(original).unwrap_or(0);
        let counted = match (call.body, came) {
            // More than there is nobody can be taking back.
            (_, Came::Refused("reversal_exceeds")) => most.min(left),
            (Body::Other(Ask::Reverse { cents: None, .. }), Came::Booked) => {
                let taken = across.legs.first().map_or(0, |(_, cents)| i128::from(cents.abs()) / unit);
                (left - taken).clamp(0, most)
            }
            _ => 0,
        };
        self.model.reserve(original, counted);
    }

    /// What this set has booked of a transaction over several.
    pub(super) fn part(&mut self, number: usize, decided: &Decided, row: usize) {
        let found: &Found = self.witness.listed[&self.set][row];
        let Some(part) = found.part_of else { return };
        let of = part.of.0;
        let plans = self.plans;
        if plans.paid.contains_key(&of) {
            return self.parcel(number, decided, found, of);
        }
        let begun = plans.names.get(&of).and_then(|at| plans.begun.get(at));
        let Some(across) = begun.filter(|begun| begun.came == Came::Booked).map(|begun| &begun.across) else {
            self.replay
                .answers
                .wrong(|| format!("{found:?} is a part of what was not booked over several sets"));
            return;
        };
        let booked = match of.set == self.set {
            true => {
                let votes = self.votes(across, Some(of));
                let (step, place) = (Step::Decide(Ballot::Votes(votes)), self.free(decided.position));
                let time_ns = decided.place.time_ns;
                match self.model.apply_at(place, time_ns, &Command::Step { attempt: of, step }).answer {
                    model::Answer::Booked(legs) => Ok(legs),
                    other => Err(format!("the model says {other:?}")),
                }
            }
            false => {
                let legs: Vec<Leg> = found.legs.iter().map(|leg| leg_of(self.witness, leg)).collect();
                let booked = self.model.book_given(decided.position, &legs);
                booked.ok_or_else(|| "one of its accounts is not there, or not in its currency".to_owned())
            }
        };
        let booked = booked.map(|legs| self.legs_in_cents(decided.position, legs));
        self.replay.answers.checked += 1;
        let legs: Vec<(u32, i64)> = match &booked {
            Ok(legs) => legs.iter().map(|leg| self.signed(leg)).collect(),
            Err(_) => Vec::new(),
        };
        if legs != found.legs {
            let why = booked.as_ref().err().cloned().unwrap_or_else(|| format!("the model has {legs:?}"));
            self.replay.answers.wrong(|| format!("{found:?} cannot have been booked: {why}"));
        }
        let own = own_legs(self.witness.history, &found.legs).len();
        let booked = booked.unwrap_or_default();
        let told = booked.iter().zip(&legs).take(own).map(|(booked, leg)| {
            let slack = self.slack(leg.0);
            PartLeg { leg: *leg, posted: booked.3, available: booked.4, slack }
        });
        let told: Vec<PartLeg> = told.collect();
        self.replay.parts.insert((of, self.set), told);
        if of.set == self.set {
            self.settle(of, across, decided.position);
            self.end_booked_run(decided);
        }
        self.replay.booked.entry(self.set).or_default().push(Booked {
            position: decided.position,
            decided: number as u32,
            call: decided.call,
            scope: None,
            legs: found.legs.clone(),
            reverses: None,
            part_of: Some(of),
        });
    }

    /// It was decided that all sets book: the model is told at once what they have booked, as nobody may ask in between.
    fn settle(&mut self, of: TransactionId, across: &Across, decided: Position) {
        if let Some(whole) = self.replay.across.get_mut(&of) {
            whole.decided = Some(decided.index());
        }
        if let Some(original) = across.reverses {
            let by = (decided.index(), of.position);
            self.replay.reversed_by.entry((self.set, original)).or_default().push(by);
        }
        let plans = self.plans;
        let part = |set: u32| {
            let row = plans.rows.get(&(of, set))?.first()?;
            let posted = |(account, cents): &(u32, i64)| {
                let scale = scale(plans.currencies.get(account).copied().unwrap_or(EURO));
                Posted {
                    account: self.witness.history.accounts[*account as usize].clone(),
                    side: if *cents > 0 { Side::Debit } else { Side::Credit },
                    amount: i128::from(cents.abs()) / unit(scale),
                    scale,
                    posted: 0,
                    available: 0,
                }
            };
            let legs = row.legs.iter().map(posted).collect();
            Some(Part { set, position: row.transaction.0.position, legs })
        };
        let parts: Option<Vec<Part>> = across.others().into_iter().map(part).collect();
        if let Some(parts) = parts {
            self.unseen_step(of, Step::Settle { parts });
        }
    }

    /// What the other sets have said to their legs: their sums, as they were booked or asked for.
    fn votes(&self, across: &Across, of: Option<TransactionId>) -> Vec<Vote> {
        let vote = |set: u32| {
            let row = of.and_then(|of| self.plans.rows.get(&(of, set))?.first().copied());
            let legs: Vec<(u32, i64)> = match row {
                Some(row) => own_legs(self.witness.history, &row.legs),
                None => across.legs_of(set).collect(),
            };
            let mut sums: BTreeMap<&str, Sum> = BTreeMap::new();
            for (account, cents) in legs {
                let currency = self.plans.currencies.get(&account).copied().unwrap_or(EURO);
                let scale = scale(currency);
                let none = Sum { currency: currency.to_owned(), scale, debits: 0, credits: 0 };
                let sum = sums.entry(currency).or_insert(none);
                let side = if cents > 0 { &mut sum.debits } else { &mut sum.credits };
                *side += i128::from(cents.abs()) / unit(scale);
            }
            Vote { set, said: Ok(sums.into_values().collect()) }
        };
        across.others().into_iter().map(vote).collect()
    }

    /// A step of which nobody was told where it stands.
    fn unseen_step(&mut self, attempt: TransactionId, step: Step) -> model::Answer {
        self.unseen -= 1;
        self.model.apply(Position(self.unseen), &Command::Step { attempt, step }).answer
    }

    pub(super) fn legs_in_cents(&self, position: Position, legs: Vec<model::Booked>) -> Vec<model::Booked> {
        let verdict = model::Verdict { position, replayed: false, answer: model::Answer::Booked(legs) };
        match in_cents(&verdict, &self.model).answer {
            model::Answer::Booked(legs) => legs,
            other => unreachable!("{other:?} is not what was handed over"),
        }
    }

    /// Whether a mismatch was told because of an attempt that nobody was told of: the same id was asked for with other content,
    /// and that call took so long that it may have begun one and given it up.
    pub(super) fn is_hidden_mismatch(&self, decided: &Decided, call: &Call<'_>, command: &Command) -> bool {
        let (id, key) = (call.body.id(), call.body.key());
        self.code_told(decided) == Some("request_mismatch")
            && self.plans.hidden.get(id).is_some_and(|keys| keys.iter().any(|other| *other != key))
            && self.model.first(&self.model.scope(decided.position, command), id).is_none()
    }

    /// Asks for the reasons of refusals that this set may have given behind the last spot and before the next one.
    pub(super) fn ask_doubts(&mut self, next: Spot) {
        let plan = self.plans.doubts.get(&self.set).map(Vec::as_slice).unwrap_or_default();
        while plan.get(self.doubts.0).is_some_and(|doubt| doubt.from < next) {
            self.doubts.1.push(self.doubts.0);
            self.doubts.0 += 1;
        }
        if self.doubts.1.is_empty() {
            return;
        }
        let behind = self.spot;
        self.reach(next);
        for number in std::mem::take(&mut self.doubts.1) {
            let doubt = &plan[number];
            if self.replay.explained.contains(&doubt.of) {
                continue;
            }
            let accounts: Vec<u32> = doubt.legs.iter().map(|(account, _)| *account).collect();
            let legs: Vec<Leg> = doubt.legs.iter().map(|leg| leg_of(self.witness, leg)).collect();
            let without = self.model.refusal(&legs);
            let promised = self.promise_behind(&accounts, behind);
            let with = self.model.refusal(&legs);
            self.forgive(promised);
            if [without, with].contains(&Some(doubt.code)) {
                self.replay.explained.insert(doubt.of);
            } else if next < doubt.until {
                self.doubts.1.push(number);
            }
        }
    }
}

impl Replay {
    /// Each refusal that its coordinator had no reason for needs another set that had one.
    pub(super) fn explain(&mut self) {
        for (attempt, words) in std::mem::take(&mut self.to_explain) {
            self.answers.checked += 1;
            if !self.explained.contains(&attempt) {
                self.answers.wrong(|| words);
            }
        }
    }

    /// What clients were told of each leg is what its set has, where it booked it.
    pub(super) fn balances_across(&mut self, witness: &Witness<'_>, plans: &Plans<'_>) {
        let mut wrong = Vec::new();
        for (name, whole) in self.across.iter().filter(|(name, _)| !plans.paid.contains_key(name)) {
            let across = &plans.begun[&(name.set, whole.number)].across;
            let mut left: BTreeMap<u32, _> = BTreeMap::new();
            for set in across.all_sets() {
                left.insert(set, self.parts.get(&(*name, set)).map(Vec::as_slice).unwrap_or_default().iter());
            }
            let expected: Option<Vec<PartLeg>> =
                across.sets.iter().map(|set| left.get_mut(set)?.next().copied()).collect();
            // A part that is missing is for another checker to say.
            let Some(expected) = expected else { continue };
            for reply in &witness.replies[witness.sets[&name.set][whole.number].replies.clone()] {
                let reply = witness.call(*reply);
                let Answer::Booked { balances, .. } = reply.answer else { continue };
                let agrees = |(told, leg): (&(i64, i64), &PartLeg)| {
                    let available = leg.available - leg.slack..=leg.available;
                    i128::from(told.0) == leg.posted && available.contains(&i128::from(told.1))
                };
                let alike = balances.len() == expected.len() && balances.iter().zip(&expected).all(agrees);
                if !balances.is_empty() && !alike {
                    wrong.push(format!(
                        "operation {} ({:?}) was answered {:?}, the sets have {expected:?}",
                        reply.at.op, reply.body, reply.answer
                    ));
                }
            }
        }
        wrong.into_iter().for_each(|words| self.answers.wrong(|| words));
    }
}

pub(super) fn leg_of(witness: &Witness<'_>, (account, cents): &(u32, i64)) -> Leg {
    let side = if *cents > 0 { Side::Debit } else { Side::Credit };
    Leg::new(&witness.history.accounts[*account as usize], side, Decimal::new(cents.abs(), 2))
}

pub(super) fn scale(currency: &str) -> u8 {
    if currency == "JPY" { 0 } else { 2 }
}

/// Hundredths that one minor unit has.
pub(super) fn unit(scale: u8) -> i128 {
    if scale == 0 { 100 } else { 1 }
}

/// A refusal with that code, for one that another set may give; nobody looks at the rest of it.
fn refusal(code: &str) -> Option<Rejection> {
    let account = String::new();
    Some(match code {
        "account_not_found" => Rejection::AccountNotFound { account },
        "excess_scale" => Rejection::ExcessScale { account, scale: 0 },
        "amount_overflow" => Rejection::AmountOverflow { account },
        "account_closed" => Rejection::AccountClosed { account },
        "account_frozen" => Rejection::AccountFrozen { account, side: Side::Debit },
        "limit_exceeded" => Rejection::LimitExceeded { account, available: 0, limit: 0, needed: 0, scale: 2 },
        _ => return None,
    })
}
