//! Names of other formats, and of the ledger itself, as beancount allows them. Loses what beancount has no letters for;
//! whoever calls keeps the original where it matters.

use super::model::{Kind, Roots};
use super::text::is_account;

/// The beancount name for an account `written` freely, as in ledger-cli. The usual names of the five kinds are known;
/// another first part needs its kind in `roots`, and stays in the name below it. None: neither.
pub fn account(written: &str, roots: &Roots) -> Option<String> {
    let mut parts = written.split(':').map(str::trim);
    let root = root(written);
    match (usual(root), roots.get(root)) {
        (usual, Some(kind)) if usual != Some(*kind) => Some(below(*kind, parts)),
        (usual, _) => {
            parts.next();
            Some(below(usual?, parts))
        }
    }
}

/// The first part of an account's name.
pub fn root(written: &str) -> &str {
    written.split(':').next().unwrap_or_default().trim()
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

/// The kind that everybody means by this first part.
fn usual(root: &str) -> Option<Kind> {
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
            assert_eq!(account(written, &Roots::new()).as_deref(), Some(name));
        }
        assert_eq!(account("Funds:Car", &Roots::new()), None);
    }

    #[test]
    fn a_first_part_of_a_given_kind_stays_in_the_name() {
        let roots = Roots::from([
            ("Funds".to_owned(), Kind::Asset),
            ("Debts".to_owned(), Kind::Asset),
            ("Assets".to_owned(), Kind::Asset),
        ]);
        for (written, name) in [
            ("Funds:Car", "Assets:Funds:Car"),
            (" Funds ", "Assets:Funds"),
            ("Assets:Car", "Assets:Car"),
            ("Debts:Anna", "Assets:Debts:Anna"),
        ] {
            assert_eq!(account(written, &roots).as_deref(), Some(name));
        }
        assert_eq!(account("funds:Car", &roots), None, "ledger-cli tells capitals apart");
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
