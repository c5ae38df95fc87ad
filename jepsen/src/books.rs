//! What the cluster holds when the traffic has ended: resolves what was left open, looks every request up, lists every
//! transaction, reads every balance. Asks only; [`crate::check`] judges.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::stream::{self, StreamExt};
use tokio::time::Instant;

use crate::api::{Found, Lookup, Router};
use crate::history::{Asked, Call, History};

/// What was found.
#[derive(Clone, Debug, Default)]
pub struct Books {
    /// By number of the request.
    pub lookups: BTreeMap<usize, Lookup>,
    /// Every transaction of every set.
    pub listed: Vec<Found>,
    /// In cents, by number of the account.
    pub balances: Vec<i128>,
}

const DEADLINE: Duration = Duration::from_secs(10);
/// All that was open is resolved within this.
const RESOLVE: Duration = Duration::from_secs(120);
/// Questions under way at once.
const AT_ONCE: usize = 32;

/// Asks again, with the same id, whatever has an open end; half of what was only ever refused, too.
pub async fn resolve(history: &mut History, routers: &[String], now_us: impl Fn() -> u64) -> usize {
    let deadline = Instant::now() + RESOLVE;
    let accounts = &history.accounts;
    let open = |number: usize, asked: &Asked| {
        asked.decided().is_none() && (asked.was_unknown() || number.is_multiple_of(2))
    };
    let todo = history.requests.iter_mut().enumerate().filter(|(number, asked)| open(*number, asked));
    let resolved = stream::iter(todo.map(async |(number, asked)| {
        let mut at = number % routers.len();
        while asked.decided().is_none() && Instant::now() < deadline {
            let begin_us = now_us();
            let answer =
                Router::new(&routers[at]).book(accounts, &asked.id, &asked.wish, DEADLINE, None).await;
            let call = Call { router: at, other_body: false, begin_us, end_us: now_us(), answer };
            asked.calls.push(call);
            at = (at + 1) % routers.len();
        }
    }));
    resolved.buffer_unordered(AT_ONCE).count().await
}

/// Reads all there is to read about the history's requests and accounts.
pub async fn read(history: &History, routers: &[String], sets: &[u32]) -> anyhow::Result<Books> {
    let mut books = Books::default();
    let numbers: Vec<usize> = (0..history.requests.len()).collect();
    let chunk = numbers.len().div_ceil(AT_ONCE).max(1);
    let lookups = numbers.chunks(chunk).enumerate().map(async |(worker, numbers)| {
        let mut router = Router::new(&routers[worker % routers.len()]);
        let mut found = Vec::with_capacity(numbers.len());
        for &number in numbers {
            let asked = &history.requests[number];
            found.push((number, router.lookup(history.scope(asked), &asked.id, DEADLINE).await?));
        }
        anyhow::Ok(found)
    });
    for found in futures::future::join_all(lookups).await {
        books.lookups.extend(found?);
    }
    for &set in sets {
        let mut router = Router::new(&routers[set as usize % routers.len()]);
        let mut after = String::new();
        loop {
            let (page, next) = router.page(set, &after, DEADLINE).await?;
            books.listed.extend(page);
            if next.is_empty() {
                break;
            }
            after = next;
        }
    }
    for (number, account) in history.accounts.iter().enumerate() {
        let mut router = Router::new(&routers[number % routers.len()]);
        books.balances.push(router.balance(account, "linearizable", DEADLINE).await?);
    }
    Ok(books)
}
