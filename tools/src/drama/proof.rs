//! What the accounts of the traffic say of it when it is over: how much of each kind was booked, that they add up to what they had
//! before, that nothing is set aside any more, and that whoever was paid beside them has got what the clients say they paid.
//! Read through a router, as anybody would. What the replicas have is `twinset verify`'s to say.

use futures::future::try_join_all;
use rust_decimal::Decimal;
use serde_json::Value;

use crate::cmd::router::{Router, segment};
use crate::error;
use crate::load::CURRENCY;
use crate::load::record::{Kinds, LoadReport};

/// Accounts that are read; of more, `twinset verify` has the sums.
const ACCOUNTS_MAX: usize = 10_000;
/// Connections that read them.
const READERS: usize = 8;

/// The accounts before the traffic.
pub struct Books {
    routers: Vec<String>,
    accounts: Vec<String>,
    payee: Option<String>,
    before: Option<Figures>,
}

/// Of all of them together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Figures {
    /// What they have, the payee's included.
    posted: Decimal,
    /// What is set aside on them.
    held: Decimal,
    /// What the payee has.
    payee: Decimal,
}

impl Books {
    /// Reads them. They may have been there before.
    pub async fn open(
        routers: &[String],
        accounts: Vec<String>,
        payee: Option<&str>,
    ) -> anyhow::Result<Self> {
        let (routers, payee) = (routers.to_vec(), payee.map(str::to_owned));
        let mut books = Books { routers, accounts, payee, before: None };
        if books.accounts.len() <= ACCOUNTS_MAX {
            books.before = Some(books.read().await?);
        }
        Ok(books)
    }

    /// Reads them again: in words, that all is as it should be after this traffic; or what is not.
    pub async fn judge(&self, report: &LoadReport) -> anyhow::Result<String> {
        let Some(before) = self.before else {
            let count = self.accounts.len();
            return Ok(format!("{count} accounts are not read one by one: the books have their sums."));
        };
        if report.failed_requests > 0 {
            let failed = report.failed_requests;
            return Ok(format!(
                "{failed} requests failed, so that nothing is said of what the accounts should have."
            ));
        }
        let after = self.read().await?;
        let wrong = wrong(before, after, &report.kinds);
        if let Some(wrong) = wrong {
            return Err(error::failure(wrong, "keep the cluster (--keep), and look with `twinset verify`"));
        }
        let all = self.accounts.len();
        let mut said =
            format!("The {all} accounts add up to what they had before, and nothing is set aside any more.");
        if let Some(payee) = &self.payee {
            let paid = after.payee - before.payee;
            said = format!(
                "The {all} accounts and the {payee} add up to what they had before, nothing is set aside any more, and \
                 the {payee} has got the {paid} {CURRENCY} that were paid to it."
            );
        }
        Ok(said)
    }

    async fn read(&self) -> anyhow::Result<Figures> {
        let share = self.accounts.len().div_ceil(READERS).max(1);
        let readers = self.accounts.chunks(share).zip(self.routers.iter().cycle());
        let read = readers.map(|(accounts, url)| async move {
            let mut router = Router::new(url)?;
            let mut sum = Figures::default();
            for account in accounts {
                let (posted, held) = figures(&mut router, account).await?;
                sum.posted += posted;
                sum.held += held;
            }
            anyhow::Ok(sum)
        });
        let mut all = Figures::default();
        for part in try_join_all(read).await? {
            all.posted += part.posted;
            all.held += part.held;
        }
        if let Some(payee) = &self.payee {
            let (posted, held) = figures(&mut Router::new(&self.routers[0])?, payee).await?;
            all = Figures { posted: all.posted + posted, held: all.held + held, payee: posted };
        }
        Ok(all)
    }
}

/// What an account has, and what of it is set aside.
async fn figures(router: &mut Router, account: &str) -> anyhow::Result<(Decimal, Decimal)> {
    let reply = router
        .read(&format!("/v1/accounts/{}", segment(account)), &format!("{account} cannot be read"))
        .await?;
    let figure = |name: &str| {
        let text = reply["account"][name].as_str();
        text.and_then(|text| text.parse().ok()).ok_or_else(|| unreadable(account, &reply))
    };
    Ok((figure("posted")?, figure("held")?))
}

fn unreadable(account: &str, reply: &Value) -> anyhow::Error {
    error::failure(
        format!("what a router says of {account} cannot be read: {reply}"),
        "is it of this version?",
    )
}

/// What is not as it should be.
fn wrong(before: Figures, after: Figures, kinds: &Kinds) -> Option<String> {
    let (made, got) = (Decimal::from_i128_with_scale(kinds.into.cents.into(), 2), after.payee - before.payee);
    if before.posted != after.posted {
        let (before, after) = (before.posted, after.posted);
        return Some(format!(
            "the accounts had {before} together, and have {after}, though each payment gives what it takes"
        ));
    }
    if after.held != before.held {
        let held = after.held - before.held;
        return Some(format!("{held} is set aside still, though every hold was captured for good"));
    }
    (made != got).then(|| format!("{made} were paid to one account, and it has got {got}"))
}

/// How much of each kind was booked, in words.
pub fn made(kinds: &Kinds, payee: Option<&str>) -> String {
    let Kinds { within, across, into, held } = kinds;
    let into = payee.map(|payee| format!(", {} to the {payee}", into.transfers)).unwrap_or_default();
    format!(
        "{} payments are booked: {} within a set, {} from one set to another{into}; {} of them were set aside first, as a hold, \
         and captured then.",
        kinds.transfers(),
        within.transfers,
        across.transfers,
        held.transfers
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::record::Made;

    fn kinds() -> Kinds {
        let made = |transfers, cents| Made { transfers, cents };
        Kinds { within: made(5, 100), across: made(3, 50), into: made(2, 1_250), held: made(4, 70) }
    }

    #[test]
    fn each_kind_is_told_with_its_count() {
        let told = made(&kinds(), Some("merchant"));
        assert!(
            told.starts_with("10 payments are booked: 5 within a set, 3 from one set to another, 2 to the"),
            "{told}"
        );
        assert!(told.contains("; 4 of them were set aside first"), "{told}");
        assert!(!made(&kinds(), None).contains("to the"), "nobody is named");
    }

    #[test]
    fn what_is_missing_or_left_over_is_said() {
        let figures = |posted: i64, held: i64, payee: i64| Figures {
            posted: Decimal::new(posted, 2),
            held: Decimal::new(held, 2),
            payee: Decimal::new(payee, 2),
        };
        let before = figures(300, 0, 100);
        let said = |after| wrong(before, after, &kinds()).unwrap_or_default();
        assert_eq!(said(figures(300, 0, 1_350)), "");
        assert!(said(figures(301, 0, 1_350)).contains("had 3.00 together, and have 3.01"));
        assert!(said(figures(300, 1, 1_350)).contains("0.01 is set aside still"));
        assert!(
            said(figures(300, 0, 1_349)).contains("12.50 were paid to one account, and it has got 12.49")
        );
    }
}
