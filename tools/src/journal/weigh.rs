//! One transaction: the weight of each posting, the amounts that are missing, and whether it balances. The rules are
//! beancount's: a posting weighs its cost, else its price, else its amount; half a unit of the last place is tolerated.
//! Above: [`super::book`], which walks the journal; below: [`super::lots`].

use std::collections::BTreeMap;

use rust_decimal::{Decimal, RoundingStrategy};

use super::lots::{Lot, Lots, Taking};
use super::model::{Booking, Format, Journal, Posting, Transaction};
use super::problem::Reason;

/// A posting with nothing missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Whole {
    /// The place of the posting in the transaction as read.
    pub nth: usize,
    /// Units, positive for debit.
    pub number: Decimal,
    /// The commodity of the units.
    pub commodity: String,
    /// Cost and price as an export has to write them.
    pub terms: String,
}

/// What a posting contributes to the balance; `amount` None: what is missing.
struct Weight {
    nth: usize,
    commodity: String,
    amount: Option<Decimal>,
}

/// Fills in what is missing and checks the balance; lots are taken and added.
pub fn complete(journal: &Journal, transaction: &Transaction, lots: &mut Lots) -> Result<Vec<Whole>, Reason> {
    let tolerances = tolerances(journal, transaction);
    let postings = with_commodities(transaction, lots)?;
    let mut weights = Vec::new();
    let mut without: Option<usize> = None;
    for (nth, posting) in postings.iter().enumerate() {
        if posting.number.is_none() && posting.commodity.is_none() && posting.price.is_none() {
            match without.replace(nth) {
                Some(_) => return Err(Reason::TwoWithoutAmount),
                None => continue,
            }
        }
        let (commodity, amount) = weight(journal, transaction, posting, lots)?;
        weights.push(Weight { nth, commodity, amount });
    }
    let residuals = residuals(&weights)?;
    let mut wholes = Vec::new();
    for (nth, posting) in postings.iter().enumerate() {
        let Some(own) = weights.iter().find(|weight| weight.nth == nth) else { continue };
        let fill = -residuals.get(&own.commodity).map_or(Decimal::ZERO, |residual| residual.sum);
        let missing = own.amount.is_none();
        let number = match posting.number {
            Some(number) => number,
            None => quantize(&tolerances, own, posting, units_of(posting, fill)?),
        };
        if missing && posting.cost.is_some() {
            add_filled_lot(transaction, posting, number, own, fill, lots)?;
        }
        let commodity = posting.commodity.clone().ok_or(Reason::NoCommodity)?;
        wholes.push(Whole { nth, number, commodity, terms: posting.terms.clone() });
    }
    settle(journal, &residuals, &tolerances, without, &mut wholes)?;
    wholes.sort_by_key(|whole| whole.nth);
    Ok(wholes)
}

/// The sum of the known weights of a commodity, and how many are missing.
struct Residual {
    sum: Decimal,
    missing: usize,
}

fn residuals(weights: &[Weight]) -> Result<BTreeMap<String, Residual>, Reason> {
    let mut residuals: BTreeMap<String, Residual> = BTreeMap::new();
    for weight in weights {
        let residual =
            residuals.entry(weight.commodity.clone()).or_insert(Residual { sum: Decimal::ZERO, missing: 0 });
        match weight.amount {
            Some(amount) => residual.sum = residual.sum.checked_add(amount).ok_or(Reason::Overflow)?,
            None => residual.missing += 1,
        }
        if residual.missing > 1 {
            return Err(Reason::TooManyMissing { commodity: weight.commodity.clone() });
        }
    }
    Ok(residuals)
}

/// The posting without amount takes what is left over, one leg per commodity; without such a posting nothing may be.
fn settle(
    journal: &Journal,
    residuals: &BTreeMap<String, Residual>,
    tolerances: &Tolerances,
    without: Option<usize>,
    wholes: &mut Vec<Whole>,
) -> Result<(), Reason> {
    let mut open: Vec<(&String, Decimal)> = Vec::new();
    for (commodity, residual) in residuals {
        match (without, residual.missing) {
            (Some(_), 1) => return Err(Reason::TooManyMissing { commodity: commodity.clone() }),
            (Some(nth), _) if !residual.sum.is_zero() => {
                let number = round(tolerances.of(commodity), -residual.sum);
                wholes.push(Whole { nth, number, commodity: commodity.clone(), terms: String::new() });
            }
            (None, 0) if residual.sum.abs() > tolerances.of(commodity) => {
                open.push((commodity, residual.sum))
            }
            _ => {}
        }
    }
    match open.first() {
        None => Ok(()),
        Some(_) if journal.format == Format::Ledger && exchange(&open, wholes) => Ok(()),
        Some((commodity, residual)) => {
            Err(Reason::Unbalanced { commodity: (*commodity).clone(), residual: residual.normalize() })
        }
    }
}

/// ledger-cli's reading of two commodities without a price: the one is exchanged for the other. Writes the price on
/// the posting that carries the whole of one commodity.
fn exchange(open: &[(&String, Decimal)], wholes: &mut [Whole]) -> bool {
    let [(first, one), (second, other)] = open else { return false };
    if one.is_sign_negative() == other.is_sign_negative() {
        return false;
    }
    for (commodity, number, against, total) in [(first, one, second, other), (second, other, first, one)] {
        let mut own = wholes.iter_mut().filter(|whole| whole.commodity == **commodity);
        if let (Some(whole), None) = (own.next(), own.next())
            && whole.terms.is_empty()
            && whole.number == *number
        {
            whole.terms = format!("@@ {} {against}", total.abs());
            return true;
        }
    }
    false
}

/// The postings with every commodity that can be inferred.
fn with_commodities(transaction: &Transaction, lots: &Lots) -> Result<Vec<Posting>, Reason> {
    let mut postings = transaction.postings.clone();
    for posting in &mut postings {
        let (Some(cost), Some(commodity)) = (&mut posting.cost, &posting.commodity) else { continue };
        let of_price = posting.price.as_ref().and_then(|price| price.commodity.clone());
        let inferred = || lots.cost_commodity(&posting.account, commodity).or(of_price);
        cost.commodity = cost.commodity.take().or_else(inferred);
    }
    let known: Vec<String> = postings.iter().filter_map(bucket).collect();
    let only = known.first().filter(|first| known.iter().all(|other| other == *first)).cloned();
    for posting in &mut postings {
        let auto = posting.number.is_none() && posting.commodity.is_none() && posting.price.is_none();
        if auto || bucket(posting).is_some() {
            continue;
        }
        let only = only.clone().ok_or(Reason::NoCommodity)?;
        match (&mut posting.cost, &mut posting.price) {
            (Some(cost), _) => cost.commodity = Some(only),
            (None, Some(price)) => price.commodity = Some(only),
            (None, None) => posting.commodity = Some(only),
        }
    }
    Ok(postings)
}

/// The commodity in which a posting weighs.
fn bucket(posting: &Posting) -> Option<String> {
    match (&posting.cost, &posting.price) {
        (Some(cost), _) => cost.commodity.clone(),
        (None, Some(price)) => price.commodity.clone(),
        (None, None) => posting.commodity.clone(),
    }
}

fn weight(
    journal: &Journal,
    transaction: &Transaction,
    posting: &Posting,
    lots: &mut Lots,
) -> Result<(String, Option<Decimal>), Reason> {
    let commodity = bucket(posting).ok_or(Reason::NoCommodity)?;
    let Some(number) = posting.number else { return Ok((commodity, None)) };
    let amount = match (&posting.cost, &posting.price) {
        (Some(_), _) => return Ok((commodity, at_cost(journal, transaction, posting, number, lots)?)),
        (None, Some(price)) if price.total => price.number.map(|total| signed(total.abs(), number)),
        (None, Some(price)) => match price.number {
            Some(each) => Some(product(each, number)?),
            None => None,
        },
        (None, None) => Some(number),
    };
    Ok((commodity, amount))
}

/// The weight of a posting with a cost: of the lots it takes, or of the lot it adds. None: the cost is missing.
fn at_cost(
    journal: &Journal,
    transaction: &Transaction,
    posting: &Posting,
    number: Decimal,
    lots: &mut Lots,
) -> Result<Option<Decimal>, Reason> {
    let (Some(cost), Some(commodity)) = (&posting.cost, &posting.commodity) else {
        return Err(Reason::NoCommodity);
    };
    let own = journal.accounts.get(&posting.account).and_then(|account| account.booking);
    let booking = own.unwrap_or(journal.options.booking);
    let matched = journal.format == Format::Beancount && booking != Booking::None;
    if matched && lots.reduces(&posting.account, commodity, number) {
        let taking = Taking { account: &posting.account, commodity, number, cost, booking };
        let mut sum = Decimal::ZERO;
        for (units, each) in lots.take(&taking)? {
            sum = sum.checked_add(product(units, each)?).ok_or(Reason::Overflow)?;
        }
        return Ok(Some(sum));
    }
    let amount = match (cost.per_unit, cost.total) {
        (None, None) => return Ok(None),
        (per_unit, total) => {
            let each = product(per_unit.unwrap_or_default(), number)?;
            each.checked_add(signed(total.unwrap_or_default(), number)).ok_or(Reason::Overflow)?
        }
    };
    if matched && !number.is_zero() {
        let each = match (cost.per_unit, cost.total) {
            (Some(each), None) => each,
            _ => amount.checked_div(number).ok_or(Reason::Overflow)?,
        };
        add_lot(transaction, posting, number, each, lots)?;
    }
    Ok(Some(amount))
}

fn add_lot(
    transaction: &Transaction,
    posting: &Posting,
    number: Decimal,
    each: Decimal,
    lots: &mut Lots,
) -> Result<(), Reason> {
    let (Some(cost), Some(commodity)) = (&posting.cost, &posting.commodity) else {
        return Err(Reason::NoCommodity);
    };
    let lot = Lot {
        number,
        cost: each,
        commodity: cost.commodity.clone().ok_or(Reason::NoCommodity)?,
        date: cost.date.unwrap_or(transaction.date),
        label: cost.label.clone(),
    };
    lots.add(&posting.account, commodity, lot)
}

/// A lot whose units or whose cost were just filled in.
fn add_filled_lot(
    transaction: &Transaction,
    posting: &Posting,
    number: Decimal,
    own: &Weight,
    fill: Decimal,
    lots: &mut Lots,
) -> Result<(), Reason> {
    if number.is_zero()
        || posting.cost.as_ref().is_none_or(|cost| cost.commodity.as_ref() != Some(&own.commodity))
    {
        return Err(Reason::NoCommodity);
    }
    let stated = posting.cost.as_ref().and_then(|cost| cost.per_unit);
    let each = stated.or_else(|| fill.checked_div(number)).ok_or(Reason::Overflow)?;
    add_lot(transaction, posting, number, each, lots)
}

/// The units that weigh `fill`.
fn units_of(posting: &Posting, fill: Decimal) -> Result<Decimal, Reason> {
    let cost = posting.cost.as_ref();
    let (each, fixed) = match (cost, &posting.price) {
        (Some(cost), _) => (cost.per_unit.ok_or(Reason::NoCommodity)?, cost.total.unwrap_or_default()),
        (None, Some(price)) => (price.number.ok_or(Reason::NoCommodity)?, Decimal::ZERO),
        (None, None) => return Ok(fill),
    };
    fill.checked_sub(fixed).and_then(|rest| rest.checked_div(each)).ok_or(Reason::Overflow)
}

fn product(a: Decimal, b: Decimal) -> Result<Decimal, Reason> {
    a.checked_mul(b).ok_or(Reason::Overflow)
}

fn signed(magnitude: Decimal, like: Decimal) -> Decimal {
    if like.is_sign_negative() { -magnitude } else { magnitude }
}

/// Differences that count as nothing, by commodity.
struct Tolerances {
    by_commodity: BTreeMap<String, Decimal>,
    otherwise: Decimal,
}

impl Tolerances {
    fn of(&self, commodity: &str) -> Decimal {
        self.by_commodity.get(commodity).copied().unwrap_or(self.otherwise)
    }
}

fn tolerances(journal: &Journal, transaction: &Transaction) -> Tolerances {
    let options = &journal.options;
    let mut found = options.tolerance_default.clone();
    let otherwise = found.remove("*").unwrap_or_default();
    let mut of_costs: BTreeMap<String, Decimal> = BTreeMap::new();
    for posting in &transaction.postings {
        let (Some(number), Some(commodity)) = (posting.number, &posting.commodity) else { continue };
        if journal.format == Format::Ledger || number.scale() == 0 {
            continue;
        }
        let half = Decimal::new(1, number.scale()) * options.tolerance_multiplier;
        let known = found.entry(commodity.clone()).or_insert(half);
        *known = half.max(*known);
        if !options.tolerance_from_cost {
            continue;
        }
        let cost = posting.cost.as_ref().and_then(|cost| cost.per_unit.zip(cost.commodity.clone()));
        let price = posting.price.as_ref().and_then(|price| price.number.zip(price.commodity.clone()));
        for (each, commodity) in [cost, price].into_iter().flatten() {
            let widest = Decimal::new(5, 1);
            let sum = of_costs.entry(commodity).or_default();
            *sum += half.checked_mul(each).unwrap_or(widest).min(widest);
        }
    }
    for (commodity, tolerance) in of_costs {
        let known = found.entry(commodity).or_insert(tolerance);
        *known = tolerance.max(*known);
    }
    Tolerances { by_commodity: found, otherwise }
}

fn quantize(tolerances: &Tolerances, own: &Weight, posting: &Posting, number: Decimal) -> Decimal {
    let commodity = posting.commodity.as_ref().unwrap_or(&own.commodity);
    round(tolerances.of(commodity), number)
}

/// Rounds an inferred number to the places that the tolerance speaks of, as beancount does: half to even.
fn round(tolerance: Decimal, number: Decimal) -> Decimal {
    let unit = tolerance.saturating_mul(Decimal::TWO).normalize();
    // A tolerance of many digits was computed, not meant as a unit.
    if unit.is_zero() || unit.mantissa().abs() >= 10_000 {
        return number;
    }
    let mut rounded = number.round_dp_with_strategy(unit.scale(), RoundingStrategy::MidpointNearestEven);
    if rounded.scale() < unit.scale() {
        rounded.rescale(unit.scale());
    }
    rounded
}
