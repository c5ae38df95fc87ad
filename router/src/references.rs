//! Transactions by a reference of the client's own, of one set or of all, without an account. A page asks every set that it
//! may show something of, all at once, and shows what they have in the order of sets and positions; the place between two
//! pages is one in that order. A set that stays silent is named; but where nothing is found, its silence is the answer:
//! nobody may read "it was never booked" out of it.

use futures::future::join_all;
use tokio::time::Instant;
use twinset_proto::cluster::v1::{FindTransactions, ReadReply, read_reply, read_request};
use twinset_proto::ledger::v1 as wire;

use crate::api::{Api, missing, page_of, parse_transaction};
use crate::convert;
use crate::error::{Code, Error};
use crate::handlers::written;
use crate::json::reply;
use crate::query::Query;
use crate::route;

/// Transactions in one page at most, and as many as one has by default.
const PAGE_MAX: u32 = 100;
/// As long as a value of metadata may be.
const REFERENCE_BYTES_MAX: usize = 512;

/// Over HTTP.
pub async fn find(api: &Api, query: &Query, deadline: Instant) -> Result<Vec<u8>, Error> {
    let asked = wire::FindTransactionsRequest {
        reference: query.value("reference").unwrap_or_default().to_owned(),
        set: query.number("set")?,
        after: query.after(),
        page_size: query.page_size()?,
        consistency: query.consistency()?.into(),
    };
    Ok(written(&reply::FoundTransactions::from(api.find(asked, deadline).await?)))
}

impl Api {
    /// Transactions with a reference, behind `after` (empty: from the first one).
    pub async fn find(
        &self,
        asked: wire::FindTransactionsRequest,
        deadline: Instant,
    ) -> Result<wire::FindTransactionsReply, Error> {
        let consistency = convert::consistency(asked.consistency)?;
        let wire::FindTransactionsRequest { reference, set, after, page_size, .. } = asked;
        if reference.is_empty() || reference.len() > REFERENCE_BYTES_MAX {
            let detail = format!(
                "reference is what a transaction's metadata have under \"reference\": 1 to {REFERENCE_BYTES_MAX} bytes"
            );
            return Err(Error::malformed(detail));
        }
        let size = page_of(page_size, PAGE_MAX, PAGE_MAX)?;
        let after = (!after.is_empty()).then(|| parse_transaction(&after)).transpose()?;
        let view = self.view();
        let sets = match set {
            Some(set) => vec![route::known_set(&view, set)?],
            None if view.sets.is_empty() => {
                let detail = "no node has told this router about the cluster yet";
                return Err(Error::new(Code::NoCatalogue, detail));
            }
            None => view.sets.keys().copied().collect(),
        };
        let left = sets.into_iter().filter(|set| after.is_none_or(|after| *set >= after.set));
        let left: Vec<u32> = left.collect();
        let pages = left.iter().map(async |set| {
            let after = after.filter(|after| after.set == *set).map(|after| after.to_string());
            let (reference, after) = (reference.clone(), after.unwrap_or_default());
            let asked = FindTransactions { reference, after, page_size: size };
            match self.reads.read(*set, consistency, read_request::Query::Find(asked), deadline).await {
                Ok(ReadReply { result: Some(read_reply::Result::List(page)) }) => Ok(page),
                Ok(reply) => Err(missing(&reply, "there is no such page")),
                Err(failure) => Err(Error::new(
                    failure.kind.into(),
                    format!("set {set} does not answer, and what is there is not known: {}", failure.detail),
                )),
            }
        });
        together(left.iter().copied().zip(join_all(pages).await), size as usize)
    }
}

/// The first `size` of all that the sets have answered, which come in their order. Behind a set that has more to tell, nothing
/// is shown, nor missed, on this page.
fn together(
    answers: impl Iterator<Item = (u32, Result<wire::ListTransactionsReply, Error>)>,
    size: usize,
) -> Result<wire::FindTransactionsReply, Error> {
    let mut whole = wire::FindTransactionsReply::default();
    let mut failed = None;
    for (set, answer) in answers {
        let page = match answer {
            Ok(page) => page,
            Err(error) => {
                whole.silent.push(set);
                failed = failed.or(Some(error));
                continue;
            }
        };
        whole.as_of.extend(page.as_of);
        whole.age_ms = whole.age_ms.max(page.age_ms);
        let room = size - whole.transactions.len();
        let more = page.transactions.len() > room;
        whole.transactions.extend(page.transactions.into_iter().take(room));
        if more {
            // With no room at all the last one is of a set before it.
            whole.next = whole.transactions.last().map(|last| last.transaction.clone()).unwrap_or_default();
            break;
        }
        if !page.next.is_empty() {
            whole.next = page.next;
            break;
        }
    }
    match failed {
        Some(error) if whole.transactions.is_empty() => Err(error),
        _ => Ok(whole),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(names: &[&str], next: &str) -> Result<wire::ListTransactionsReply, Error> {
        let transaction =
            |name: &&str| wire::Transaction { transaction: (*name).into(), ..wire::Transaction::default() };
        let transactions = names.iter().map(transaction).collect();
        Ok(wire::ListTransactionsReply { transactions, next: next.into(), as_of: None, age_ms: 0 })
    }

    fn silent() -> Result<wire::ListTransactionsReply, Error> {
        Err(Error::new(Code::NoLeader, "silent"))
    }

    type Answers = Vec<Result<wire::ListTransactionsReply, Error>>;

    fn told(answers: Answers, size: usize) -> (Vec<String>, String, Vec<u32>) {
        let whole = together((1..).zip(answers), size).expect("there is an answer");
        let names = whole.transactions.into_iter().map(|found| found.transaction).collect();
        (names, whole.next, whole.silent)
    }

    #[test]
    fn sets_come_one_after_the_other_and_a_page_ends_where_the_next_goes_on() {
        let (one, two) = (|| page(&["1-1-5-0", "1-1-9-0"], ""), || page(&["2-1-3-0"], ""));
        let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        let all = names(&["1-1-5-0", "1-1-9-0", "2-1-3-0"]);
        assert_eq!(told(vec![one(), two()], 3), (all, String::new(), vec![]));
        assert_eq!(told(vec![one(), two()], 1), (names(&["1-1-5-0"]), "1-1-5-0".into(), vec![]));
        // The page is full, and the next set has something: it goes on there, behind the last one shown.
        assert_eq!(told(vec![one(), two()], 2), (names(&["1-1-5-0", "1-1-9-0"]), "1-1-9-0".into(), vec![]));
        assert_eq!(told(vec![one(), page(&[], "")], 2).1, "");
        // A set that has more to tell is told to its end first.
        let more = page(&["1-1-5-0"], "1-1-7-0");
        assert_eq!(told(vec![more, two()], 9), (names(&["1-1-5-0"]), "1-1-7-0".into(), vec![]));
        let none_yet = page(&[], "1-1-7-0");
        assert_eq!(told(vec![none_yet, two()], 9), (vec![], "1-1-7-0".into(), vec![]));
    }

    #[test]
    fn who_is_silent_is_named_and_nothing_found_is_no_answer_then() {
        let found = || page(&["2-1-3-0"], "");
        assert_eq!(told(vec![silent(), found()], 9), (vec!["2-1-3-0".into()], String::new(), vec![1]));
        // What comes behind the page is asked again for the next one.
        let more = page(&["1-1-5-0"], "1-1-5-0");
        assert_eq!(told(vec![more, silent()], 9).2, Vec::<u32>::new());
        for answers in [vec![silent(), page(&[], "")], vec![page(&[], ""), silent()], vec![silent()]] {
            let refused = together((1..).zip(answers), 9).expect_err("nothing was found");
            assert_eq!(refused.code(), "no_leader");
        }
        assert_eq!(told(vec![page(&[], ""), page(&[], "")], 9), (vec![], String::new(), vec![]));
    }
}
