//! Balance assertions and pads of beancount: checks the ones, turns the others into transactions. Works on steps that
//! already balance; the last part of [`super::book`]. Sums saturate here: a balance out of range meets no assertion, and is
//! reported where it is added up.

use rust_decimal::Decimal;

use super::book::{Balances, Booked, BookedPosting, Step, add};
use super::lots::Lots;
use super::model::{Assertion, Journal, Pad};
use super::problem::{Problem, Problems, Reason, unless};

/// The transactions, those of pads included, if every assertion holds.
pub(super) fn resolve(journal: &Journal, steps: Vec<Step<'_>>, lots: &Lots) -> Result<Vec<Booked>, Problems> {
    let mut problems = Vec::new();
    let made: Vec<Vec<Booked>> = (0..steps.len())
        .map(|at| match &steps[at] {
            Step::Pad(pad) => match fill(journal, &steps[at + 1..], pad, &before(&steps[..at], pad), lots) {
                Ok(made) => made,
                Err(reason) => {
                    problems.push(Problem { place: pad.place.clone(), reason });
                    Vec::new()
                }
            },
            _ => Vec::new(),
        })
        .collect();
    let mut balances = Balances::new();
    let mut all = Vec::new();
    for (step, made) in steps.into_iter().zip(made) {
        let booked = match step {
            Step::Booked(booked) => vec![booked],
            Step::Pad(_) => made,
            Step::Balance(balance) => {
                let actual = held(&balances, &balance.account, &balance.commodity);
                problems.extend(check(journal, balance, actual));
                continue;
            }
        };
        for booked in booked {
            if let Err(reason) = add(&mut balances, &booked) {
                problems.push(Problem { place: booked.place.clone(), reason });
            }
            all.push(booked);
        }
    }
    unless(problems, all)
}

/// What the account and all accounts below it hold.
fn held(balances: &Balances, account: &str, commodity: &str) -> Decimal {
    let within = |name: &str| match name.strip_prefix(account) {
        Some(rest) => rest.is_empty() || rest.starts_with(':'),
        None => false,
    };
    let own = balances.iter().filter(|((name, of), _)| of == commodity && within(name));
    own.fold(Decimal::ZERO, |sum, (_, number)| sum.saturating_add(*number))
}

fn tolerance(journal: &Journal, balance: &Assertion) -> Decimal {
    balance.tolerance.unwrap_or(match balance.number.scale() {
        0 => Decimal::ZERO,
        scale => Decimal::new(1, scale) * journal.options.tolerance_multiplier * Decimal::TWO,
    })
}

fn check(journal: &Journal, balance: &Assertion, actual: Decimal) -> Option<Problem> {
    let off = actual.saturating_sub(balance.number).abs();
    (off > tolerance(journal, balance)).then(|| Problem {
        place: balance.place.clone(),
        reason: Reason::Assertion {
            account: balance.account.clone(),
            commodity: balance.commodity.clone(),
            expected: balance.number,
            actual,
        },
    })
}

/// What a padded account holds when the pad takes effect. An earlier pad of the same account has done its part then:
/// the last assertion before this pad holds, and everything after it is counted from there.
fn before(steps: &[Step<'_>], pad: &Pad) -> Balances {
    let mut balances = Balances::new();
    for step in steps {
        match step {
            // A sum out of range is reported when the whole is added up.
            Step::Booked(booked) => drop(add(&mut balances, booked)),
            Step::Balance(balance) if balance.account == pad.account => {
                let known = held(&balances, &balance.account, &balance.commodity);
                let key = (balance.account.clone(), balance.commodity.clone());
                let own = balances.entry(key).or_default();
                *own = own.saturating_add(balance.number.saturating_sub(known));
            }
            _ => {}
        }
    }
    balances
}

/// The transactions of a pad: one for each commodity, at the first assertion that would fail before the next pad.
fn fill(
    journal: &Journal,
    later: &[Step<'_>],
    pad: &Pad,
    before: &Balances,
    lots: &Lots,
) -> Result<Vec<Booked>, Reason> {
    let mut balances = before.clone();
    let mut asserted: Vec<&str> = Vec::new();
    let mut made = Vec::new();
    for step in later {
        match step {
            Step::Booked(booked) => add(&mut balances, booked)?,
            Step::Pad(next) if next.account == pad.account => break,
            Step::Balance(balance) if balance.account == pad.account => {
                if asserted.contains(&balance.commodity.as_str()) {
                    continue;
                }
                asserted.push(&balance.commodity);
                let known = held(&balances, &pad.account, &balance.commodity);
                let missing = balance.number.saturating_sub(known);
                if missing.abs() <= tolerance(journal, balance) {
                    continue;
                }
                if lots.holds(&pad.account, &balance.commodity) {
                    return Err(Reason::Unsupported { what: "a pad of lots held at cost" });
                }
                let booked = padding(pad, balance, missing);
                add(&mut balances, &booked)?;
                made.push(booked);
            }
            _ => {}
        }
    }
    if made.is_empty() {
        return Err(Reason::UnusedPad { account: pad.account.clone() });
    }
    Ok(made)
}

fn padding(pad: &Pad, balance: &Assertion, missing: Decimal) -> Booked {
    let posting = |account: &str, number| BookedPosting {
        account: account.to_owned(),
        number,
        commodity: balance.commodity.clone(),
        flag: None,
        terms: String::new(),
        metadata: Vec::new(),
    };
    let commodity = &balance.commodity;
    Booked {
        place: pad.place.clone(),
        date: pad.date,
        flag: 'P',
        payee: None,
        narration: format!(
            "(Padding inserted for Balance of {} {commodity} for difference {missing} {commodity})",
            balance.number
        ),
        tags: Vec::new(),
        links: Vec::new(),
        metadata: Vec::new(),
        postings: vec![posting(&pad.account, missing), posting(&pad.source, -missing)],
    }
}
