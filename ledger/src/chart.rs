//! The chart that every set starts with: ISO 4217 currencies and the five subjects. What a set defines beyond these
//! stands in its [`State`]. Built-in entries cannot be redefined.

use crate::account::Side;
use crate::state::State;

/// Decimal places of a defined currency at most.
pub const SCALE_MAX: u8 = 12;

/// A built-in general-ledger subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subject {
    /// What accounts name it by.
    pub code: &'static str,
    /// For people.
    pub name: &'static str,
    /// The side that raises its accounts.
    pub normal_side: Side,
}

/// The built-in subjects, sorted by code.
pub const SUBJECTS: [Subject; 5] = [
    Subject { code: "asset", name: "Assets", normal_side: Side::Debit },
    Subject { code: "equity", name: "Equity", normal_side: Side::Credit },
    Subject { code: "expense", name: "Expenses", normal_side: Side::Debit },
    Subject { code: "income", name: "Income", normal_side: Side::Credit },
    Subject { code: "liability", name: "Liabilities", normal_side: Side::Credit },
];

/// The built-in subject of that code.
pub fn built_in_subject(code: &str) -> Option<&'static Subject> {
    SUBJECTS.iter().find(|subject| subject.code == code)
}

/// The scale of the built-in currency of that code.
pub fn built_in_scale(code: &str) -> Option<u8> {
    CURRENCIES.binary_search_by_key(&code, |&(code, _)| code).ok().map(|at| CURRENCIES[at].1)
}

/// The scale of a currency, built in or defined in the set.
pub fn currency_scale<S: State>(state: &S, code: &str) -> Option<u8> {
    built_in_scale(code).or_else(|| state.currency_scale(code))
}

/// The normal side of a subject, built in or defined in the set.
pub fn normal_side<S: State>(state: &S, code: &str) -> Option<Side> {
    match built_in_subject(code) {
        Some(subject) => Some(subject.normal_side),
        None => state.subject(code).map(|(_, side)| side),
    }
}

/// Currencies of ISO 4217 (list one of 2026-01-01) with their minor units, sorted by code; without those that have none by
/// definition (metals, funds, test codes), with ANG and BGN, which were withdrawn lately and still stand in open books.
#[rustfmt::skip]
pub const CURRENCIES: &[(&str, u8)] = &[
    ("AED", 2), ("AFN", 2), ("ALL", 2), ("AMD", 2), ("ANG", 2), ("AOA", 2), ("ARS", 2), ("AUD", 2),
    ("AWG", 2), ("AZN", 2), ("BAM", 2), ("BBD", 2), ("BDT", 2), ("BGN", 2), ("BHD", 3), ("BIF", 0),
    ("BMD", 2), ("BND", 2), ("BOB", 2), ("BOV", 2), ("BRL", 2), ("BSD", 2), ("BTN", 2), ("BWP", 2),
    ("BYN", 2), ("BZD", 2), ("CAD", 2), ("CDF", 2), ("CHE", 2), ("CHF", 2), ("CHW", 2), ("CLF", 4),
    ("CLP", 0), ("CNY", 2), ("COP", 2), ("COU", 2), ("CRC", 2), ("CUP", 2), ("CVE", 2), ("CZK", 2),
    ("DJF", 0), ("DKK", 2), ("DOP", 2), ("DZD", 2), ("EGP", 2), ("ERN", 2), ("ETB", 2), ("EUR", 2),
    ("FJD", 2), ("FKP", 2), ("GBP", 2), ("GEL", 2), ("GHS", 2), ("GIP", 2), ("GMD", 2), ("GNF", 0),
    ("GTQ", 2), ("GYD", 2), ("HKD", 2), ("HNL", 2), ("HTG", 2), ("HUF", 2), ("IDR", 2), ("ILS", 2),
    ("INR", 2), ("IQD", 3), ("IRR", 2), ("ISK", 0), ("JMD", 2), ("JOD", 3), ("JPY", 0), ("KES", 2),
    ("KGS", 2), ("KHR", 2), ("KMF", 0), ("KPW", 2), ("KRW", 0), ("KWD", 3), ("KYD", 2), ("KZT", 2),
    ("LAK", 2), ("LBP", 2), ("LKR", 2), ("LRD", 2), ("LSL", 2), ("LYD", 3), ("MAD", 2), ("MDL", 2),
    ("MGA", 2), ("MKD", 2), ("MMK", 2), ("MNT", 2), ("MOP", 2), ("MRU", 2), ("MUR", 2), ("MVR", 2),
    ("MWK", 2), ("MXN", 2), ("MXV", 2), ("MYR", 2), ("MZN", 2), ("NAD", 2), ("NGN", 2), ("NIO", 2),
    ("NOK", 2), ("NPR", 2), ("NZD", 2), ("OMR", 3), ("PAB", 2), ("PEN", 2), ("PGK", 2), ("PHP", 2),
    ("PKR", 2), ("PLN", 2), ("PYG", 0), ("QAR", 2), ("RON", 2), ("RSD", 2), ("RUB", 2), ("RWF", 0),
    ("SAR", 2), ("SBD", 2), ("SCR", 2), ("SDG", 2), ("SEK", 2), ("SGD", 2), ("SHP", 2), ("SLE", 2),
    ("SOS", 2), ("SRD", 2), ("SSP", 2), ("STN", 2), ("SVC", 2), ("SYP", 2), ("SZL", 2), ("THB", 2),
    ("TJS", 2), ("TMT", 2), ("TND", 3), ("TOP", 2), ("TRY", 2), ("TTD", 2), ("TWD", 2), ("TZS", 2),
    ("UAH", 2), ("UGX", 0), ("USD", 2), ("USN", 2), ("UYI", 0), ("UYU", 2), ("UYW", 4), ("UZS", 2),
    ("VED", 2), ("VES", 2), ("VND", 0), ("VUV", 0), ("WST", 2), ("XAD", 2), ("XAF", 0), ("XCD", 2), ("XCG", 2),
    ("XOF", 0), ("XPF", 0), ("YER", 2), ("ZAR", 2), ("ZMW", 2), ("ZWG", 2),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_sorted_and_found() {
        assert!(CURRENCIES.is_sorted_by(|a, b| a.0 < b.0));
        assert!(SUBJECTS.is_sorted_by(|a, b| a.code < b.code));
        assert_eq!(built_in_scale("EUR"), Some(2));
        assert_eq!(built_in_scale("JPY"), Some(0));
        assert_eq!(built_in_scale("KWD"), Some(3));
        assert_eq!(built_in_scale("eur"), None);
        assert!(CURRENCIES.iter().all(|&(code, scale)| code.len() == 3 && scale <= SCALE_MAX));
    }
}
