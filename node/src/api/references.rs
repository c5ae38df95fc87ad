//! Reads of what was booked with a reference of the client's own.

use twinset_ledger::TransactionId;
use twinset_proto::cluster::v1 as wire;
use twinset_proto::ledger::v1 as api;
use twinset_store::Referred;
use wire::RefusalReason as Reason;
use wire::read_reply::Result as ReadResult;

use super::convert;
use super::sets::{after, as_of, refused, under_way};
use crate::freshness::Basis;
use crate::set::{Fence, Ledger};

/// A page of it. There is no answer while anything of it is under way, as there is none for who asks for that by its name; nor
/// while the index of an older store is being built: what is missing in it would look as if it had never been booked.
pub async fn find(
    ledger: &Ledger,
    fence: &Fence,
    asked: wire::FindTransactions,
    basis: Basis,
) -> Result<ReadResult, String> {
    let set = fence.set;
    let after = after(&asked.after)?.map(|after| after.position);
    // The store gives no more than it reads at once.
    let size = usize::try_from(asked.page_size).unwrap_or(usize::MAX);
    let read = ledger.reader.read_at_disk(move |state| state.referred(&asked.reference, after, size)).await;
    let (as_of, age_ms) = as_of(ledger, &read, set, basis);
    let page = match read.value {
        Referred::Page(page) => page,
        Referred::Begun(attempt) => return Ok(under_way(ledger, attempt).await),
        Referred::Building { done, of } => {
            let detail = format!(
                "the index of references of set {set} is being built: {done} of {of} entries of the log are read"
            );
            return Ok(refused(Reason::IndexBuilding, String::new(), &detail));
        }
    };
    // It names a place in the log, whatever was booked there.
    let next = page.next.map(|position| TransactionId { set, incarnation: fence.incarnation, position });
    Ok(ReadResult::List(api::ListTransactionsReply {
        transactions: page.iter().filter_map(convert::transaction).collect(),
        next: next.map_or_else(String::new, |next| next.to_string()),
        as_of,
        age_ms,
    }))
}
