//! Laws of journals, for random ones: whatever balances is planned so that every commodity balances by itself, and the
//! plan's legs add up to what the journal says, account by account.

#![allow(clippy::unwrap_used, reason = "a test may panic anywhere, in its helpers too")]

use std::collections::BTreeMap;
use std::path::Path;

use proptest::prelude::*;
use rust_decimal::Decimal;
use twinset_ledger::command::Metadata;
use twinset_ledger::{Command, Leg, Side};
use twinset_tools::journal::book::book;
use twinset_tools::journal::plan::plan;
use twinset_tools::journal::{Format, Plan, Roots, Source, read};

const ACCOUNTS: [&str; 5] = ["Assets:A", "Assets:B:C", "Liabilities:D", "Income:E", "Expenses:F"];
const COMMODITIES: [&str; 4] = ["USD", "EUR", "JPY", "HOOL"];

#[derive(Clone, Debug)]
struct Line {
    account: usize,
    mantissa: i64,
    scale: u32,
    commodity: usize,
    /// 0 none, 1 price, 2 total price, 3 cost.
    terms: u8,
    each: u32,
}

fn line() -> impl Strategy<Value = Line> {
    (0..ACCOUNTS.len(), -1_000_000i64..1_000_000, 0u32..6, 0..COMMODITIES.len(), 0u8..4, 1u32..100_000)
        .prop_map(|(account, mantissa, scale, commodity, terms, each)| Line {
            account,
            mantissa,
            scale,
            commodity,
            terms,
            each,
        })
}

/// A journal in which a last posting without amount takes what is left over.
fn text(transactions: &[Vec<Line>]) -> String {
    let mut text = "option \"booking_method\" \"NONE\"\n".to_owned();
    for account in ACCOUNTS.into_iter().chain(["Equity:Rest"]) {
        text.push_str(&format!("2020-01-01 open {account}\n"));
    }
    for (nth, lines) in transactions.iter().enumerate() {
        text.push_str(&format!("2020-02-{:02} * \"{nth}\"\n", nth % 28 + 1));
        for line in lines {
            let number = Decimal::new(line.mantissa, line.scale);
            let each = Decimal::new(line.each.into(), 2);
            let terms = match line.terms {
                1 => format!("@ {each} CHF"),
                2 => format!("@@ {each} CHF"),
                3 if !number.is_zero() => format!("{{{each} CHF}}"),
                _ => String::new(),
            };
            let (account, commodity) = (ACCOUNTS[line.account], COMMODITIES[line.commodity]);
            text.push_str(&format!("  {account}  {number} {commodity} {terms}\n"));
        }
        text.push_str("  Equity:Rest\n");
    }
    text
}

type Sums = BTreeMap<(String, String), Decimal>;

/// What the legs of the plan put on each account of the journal, trading accounts not counted.
fn sums(plan: &Plan) -> Sums {
    let named: BTreeMap<&str, &Metadata> = openings(plan).map(|(id, _, metadata)| (id, metadata)).collect();
    let mut sums = Sums::new();
    for leg in plan.transactions.iter().flat_map(|planned| legs(&planned.command)) {
        let metadata = named[leg.account.as_str()];
        if !metadata.contains_key("trading") {
            let holding = (metadata["account"].clone(), metadata["commodity"].clone());
            *sums.entry(holding).or_default() += signed(leg);
        }
    }
    sums.retain(|_, sum| !sum.is_zero());
    sums
}

/// Id, currency and metadata of each account.
fn openings(plan: &Plan) -> impl Iterator<Item = (&str, &str, &Metadata)> {
    plan.accounts.iter().map(|planned| match &planned.command {
        Command::OpenAccount { account, currency, metadata, .. } => {
            (account.as_str(), currency.as_str(), metadata)
        }
        other => panic!("{other:?} opens nothing"),
    })
}

fn legs(command: &Command) -> &[Leg] {
    match command {
        Command::Transaction(transaction) => &transaction.legs,
        other => panic!("{other:?} books nothing"),
    }
}

fn signed(leg: &Leg) -> Decimal {
    if leg.side == Side::Debit { leg.amount } else { -leg.amount }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn plans_balance_by_commodity_and_lose_nothing(
        transactions in prop::collection::vec(prop::collection::vec(line(), 1..6), 1..8),
    ) {
        let text = text(&transactions);
        let load = |_: &Path| Ok(text.clone());
        let journal = read(Source {
            format: Format::Beancount,
            path: Path::new("j"),
            load: &load,
            roots: &Roots::new(),
        })
        .unwrap();
        let booked = book(&journal).map_err(|problems| TestCaseError::fail(problems.to_string()))?;
        let plan = plan(&journal, &booked, "law").map_err(|problems| TestCaseError::fail(problems.to_string()))?;
        let currency: BTreeMap<&str, &str> = openings(&plan).map(|(id, currency, _)| (id, currency)).collect();
        let scale: BTreeMap<&str, u8> = plan.currencies.iter().map(|c| (c.code.as_str(), c.scale)).collect();
        for planned in &plan.transactions {
            let mut by_currency: BTreeMap<&str, Decimal> = BTreeMap::new();
            let legs = legs(&planned.command);
            prop_assert!(legs.len() >= 2);
            for leg in legs {
                let code = currency[leg.account.as_str()];
                let number = signed(leg);
                prop_assert!(!number.is_zero() && number.scale() <= scale[code].into());
                *by_currency.entry(code).or_default() += number;
            }
            prop_assert!(by_currency.values().all(Decimal::is_zero), "{:?}\n{}", by_currency, text);
        }
        let mut expected = Sums::new();
        for posting in booked.iter().flat_map(|t| &t.postings) {
            *expected.entry((posting.account.clone(), posting.commodity.clone())).or_default() += posting.number;
        }
        expected.retain(|_, sum| !sum.is_zero());
        prop_assert_eq!(sums(&plan), expected);
    }
}
