//! Names of other formats, and of the ledger itself, as beancount allows them. Loses what beancount has no letters for;
//! whoever calls keeps the original where it matters.

use super::model::Kind;
use super::text::is_account;

/// The beancount name for an account whose first part is `written` freely, as in ledger-cli; None if the first part is
/// no known kind.
pub fn account(written: &str) -> Option<String> {
    let mut parts = written.split(':').map(str::trim);
    let kind = kind(parts.next()?)?;
    Some(below(kind, parts))
}

/// The beancount name for an account of a kind with these parts below it.
pub fn below<'a>(kind: Kind, parts: impl Iterator<Item = &'a str>) -> String {
    let mut name = kind.root().to_owned();
    for part in parts.map(part).filter(|part| !part.is_empty()) {
        name.push(':');
        name.push_str(&part);
    }
    if !name.contains(':') {
        name.push_str(":General");
    }
    debug_assert!(is_account(&name), "{name} is an account of beancount");
    name
}

fn part(text: &str) -> String {
    let fits = |c: char| c.is_alphabetic() || c.is_ascii_digit();
    let name: String = text.chars().map(|c| if fits(c) { c } else { '-' }).collect();
    let mut letters = name.trim_matches('-').chars();
    match letters.next() {
        None => String::new(),
        Some(first) if first.is_uppercase() || first.is_ascii_digit() => {
            format!("{first}{}", letters.as_str())
        }
        Some(first) => {
            let upper: String = first.to_uppercase().collect();
            // Scripts without capitals get one in front.
            let front = if upper.starts_with(char::is_uppercase) { upper } else { format!("X{first}") };
            format!("{front}{}", letters.as_str())
        }
    }
}

fn kind(root: &str) -> Option<Kind> {
    match root.to_lowercase().as_str() {
        "asset" | "assets" => Some(Kind::Asset),
        "liability" | "liabilities" | "debt" | "debts" => Some(Kind::Liability),
        "equity" => Some(Kind::Equity),
        "income" | "incomes" | "revenue" | "revenues" => Some(Kind::Income),
        "expense" | "expenses" => Some(Kind::Expense),
        _ => None,
    }
}

/// The beancount commodity for a symbol written freely: `$` is `USD`, `"my fund"` is `MY-FUND`.
pub fn commodity(symbol: &str) -> String {
    match symbol {
        "$" => return "USD".to_owned(),
        "€" => return "EUR".to_owned(),
        "£" => return "GBP".to_owned(),
        "¥" => return "JPY".to_owned(),
        _ => {}
    }
    let fits = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || "'._-".contains(c);
    let upper = symbol.to_ascii_uppercase();
    let name: String = upper.chars().map(|c| if fits(c) { c } else { '-' }).collect();
    let name = name.trim_matches(|c: char| !c.is_ascii_alphanumeric());
    match name.starts_with(|c: char| c.is_ascii_uppercase()) {
        true => name.to_owned(),
        false => format!("X{name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_become_beancounts() {
        for (written, name) in [
            ("Assets:My Bank:checking", "Assets:My-Bank:Checking"),
            ("expenses:food & drink", "Expenses:Food---drink"),
            ("revenues:salary", "Income:Salary"),
            ("Assets", "Assets:General"),
            ("assets:現金", "Assets:X現金"),
        ] {
            assert_eq!(account(written).as_deref(), Some(name));
        }
        assert_eq!(account("Funds:Car"), None);
    }

    #[test]
    fn commodities_become_beancounts() {
        for (symbol, name) in
            [("$", "USD"), ("EUR", "EUR"), ("my fund", "MY-FUND"), ("1x", "X1X"), ("h", "H")]
        {
            assert_eq!(commodity(symbol), name);
        }
    }
}
