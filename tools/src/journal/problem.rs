//! What is wrong with a journal, and where. Every reader and every check of this module reports [`Problem`]s, as many as
//! it finds, so that a person mends a file in one go. Holds no rules itself.

use std::fmt;
use std::sync::Arc;

use rust_decimal::Decimal;

use super::date::Date;

/// A line of a file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The file, as the journal or the command line names it.
    pub file: Arc<str>,
    /// Counted from 1.
    pub line: u32,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {reason}")]
pub struct Problem {
    /// Where.
    pub place: Place,
    /// What.
    pub reason: Reason,
}

/// Problems shown at most when they are printed; the rest is counted.
const SHOWN_MAX: usize = 20;

/// Everything that is wrong with a journal; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = self.0.iter().take(SHOWN_MAX).map(Problem::to_string).collect();
        write!(f, "{}", lines.join("\n"))?;
        match self.0.len().saturating_sub(SHOWN_MAX) {
            0 => Ok(()),
            more => write!(f, "\n(and {more} more)"),
        }
    }
}

impl std::error::Error for Problems {}

/// `value`, unless problems were found.
pub fn unless<T>(mut problems: Vec<Problem>, value: T) -> Result<T, Problems> {
    if problems.is_empty() {
        return Ok(value);
    }
    problems.sort_by(|a, b| a.place.cmp(&b.place));
    Err(Problems(problems))
}

/// What can be wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// The text is not what the format allows here.
    #[error("expected {expected}, found {found}")]
    Expected {
        /// What the format wants.
        expected: &'static str,
        /// The text that stands there.
        found: String,
    },
    /// A string without its closing quote.
    #[error("this string is never closed")]
    OpenString,
    /// A number with more digits than can be kept exactly, or a division by zero.
    #[error("{text} has no exact value of at most 28 digits")]
    Number {
        /// The number or expression as written.
        text: String,
    },
    /// Part of the format, but not of what is imported.
    #[error("{what} cannot be imported")]
    Unsupported {
        /// The feature.
        what: &'static str,
    },
    /// An included file cannot be read.
    #[error("{file} cannot be read: {why}")]
    Unreadable {
        /// The file.
        file: String,
        /// What the system says.
        why: String,
    },
    /// A file that includes itself.
    #[error("{file} includes itself")]
    IncludesItself {
        /// The file.
        file: String,
    },
    /// An account used without, or before, its opening.
    #[error("account {account} is not open on {date}")]
    NotOpen {
        /// The account.
        account: String,
        /// The day of use.
        date: Date,
    },
    /// An account opened twice.
    #[error("account {account} was opened already, at {first}")]
    OpenedTwice {
        /// The account.
        account: String,
        /// Where it was opened first.
        first: Place,
    },
    /// A posting in a commodity that the account's opening does not list.
    #[error("account {account} does not take {commodity}")]
    CommodityNotTaken {
        /// The account.
        account: String,
        /// The commodity.
        commodity: String,
    },
    /// An account whose first part is none of the five kinds.
    #[error(
        "account {account} does not begin with the name of assets, liabilities, equity, income or expenses"
    )]
    UnknownRoot {
        /// The account.
        account: String,
    },
    /// The same where names are free: ledger-cli.
    #[error(
        "nothing says what kind of account {account} is: give --subject {root}=SUBJECT, with asset, liability, equity, \
         income or expense as the SUBJECT"
    )]
    RootWithoutSubject {
        /// The account.
        account: String,
        /// Its first part.
        root: String,
    },
    /// A transaction whose weights do not sum to zero.
    #[error("the transaction does not balance: {residual} {commodity} left over")]
    Unbalanced {
        /// The commodity of the weights.
        commodity: String,
        /// What is left over.
        residual: Decimal,
    },
    /// More amounts are missing than can be filled in.
    #[error("more than one amount is missing for {commodity}")]
    TooManyMissing {
        /// The commodity of the weights.
        commodity: String,
    },
    /// More than one posting without any amount.
    #[error("more than one posting has no amount")]
    TwoWithoutAmount,
    /// Nothing in the transaction tells which commodity is meant.
    #[error("the commodity is missing and cannot be inferred")]
    NoCommodity,
    /// A lot to be reduced that is not there.
    #[error("account {account} holds no lot of {commodity} that matches")]
    NoLot {
        /// The account.
        account: String,
        /// The commodity.
        commodity: String,
    },
    /// Several lots match and the booking method does not choose.
    #[error("several lots of {commodity} in {account} match: name the cost or the date")]
    AmbiguousLot {
        /// The account.
        account: String,
        /// The commodity.
        commodity: String,
    },
    /// The matching lots hold less than is taken.
    #[error("the matching lots of {commodity} in {account} hold {missing} too little")]
    LotTooSmall {
        /// The account.
        account: String,
        /// The commodity.
        commodity: String,
        /// How much is missing.
        missing: Decimal,
    },
    /// A balance assertion that does not hold.
    #[error("account {account} holds {actual} {commodity}, not {expected}")]
    Assertion {
        /// The account.
        account: String,
        /// The commodity.
        commodity: String,
        /// What the journal asserts.
        expected: Decimal,
        /// What its transactions sum up to.
        actual: Decimal,
    },
    /// A `pad` that no later balance assertion needs.
    #[error("this pad of {account} is never used")]
    UnusedPad {
        /// The account.
        account: String,
    },
    /// More decimal places than any currency of the ledger has.
    #[error("{amount} {commodity} has more than {max} decimal places")]
    TooManyDecimals {
        /// The amount.
        amount: Decimal,
        /// The commodity.
        commodity: String,
        /// Decimal places at most.
        max: u8,
    },
    /// A sum left the range of exact numbers.
    #[error("a sum of this transaction has no exact value of at most 28 digits")]
    Overflow,
    /// The ledger would say no.
    #[error("the ledger refuses this: {why} ({code})")]
    Refused {
        /// The ledger's reason.
        why: String,
        /// Its code, as in the list of errors.
        code: &'static str,
    },
    /// Two names of the journal that become the same name in the ledger.
    #[error("{first} and {second} cannot be told apart in the ledger")]
    SameName {
        /// The one.
        first: String,
        /// The other.
        second: String,
    },
}
