//! The gRPC spelling of dry runs: as [`crate::grpc`].

use tokio::time::Instant;
use twinset_proto::ledger::v1 as wire;
use wire::batch_item_reply::Result as Item;

use super::{Foreseen, ForeseenLeg};
use crate::api::Api;
use crate::batch::Batch;
use crate::convert;
use crate::error::{At, Error};

/// Of a transaction.
pub async fn transaction(
    api: &Api,
    request: wire::PostTransactionRequest,
    deadline: Instant,
) -> Result<wire::TransactionReply, Error> {
    let told = async || {
        let asked = Batch::of(convert::transaction(request)?);
        let (foreseen, as_of) = api.dry_run(asked, deadline).await?.only()?;
        Ok(wire::TransactionReply { as_of: positions(as_of), ..reply(foreseen) })
    };
    told().await.map_err(Error::of_dry_run)
}

/// Of a batch.
pub async fn batch(
    api: &Api,
    request: wire::PostBatchRequest,
    deadline: Instant,
) -> Result<wire::PostBatchReply, Error> {
    let told = async || api.dry_run(convert::batch(request)?, deadline).await;
    let told = told().await.map_err(Error::of_dry_run)?;
    let item = |result| match result {
        Ok(foreseen) => Item::Ok(reply(foreseen)),
        Err(error) => Item::Problem(convert::problem(&Error::of_dry_run(error))),
    };
    let results = told.results.into_iter().map(|result| wire::BatchItemReply { result: Some(item(result)) });
    Ok(wire::PostBatchReply { results: results.collect(), dry_run: true, as_of: positions(told.as_of) })
}

fn positions(as_of: Vec<At>) -> Vec<wire::Position> {
    as_of.into_iter().map(convert::position).collect()
}

fn reply(foreseen: Foreseen) -> wire::TransactionReply {
    let Foreseen { before, replayed, postings } = foreseen;
    wire::TransactionReply {
        transaction: before.map(|(transaction, _)| transaction.to_string()).unwrap_or_default(),
        position: before.map(|(_, at)| convert::position(at)),
        replayed,
        postings: postings.unwrap_or_default().into_iter().map(posting).collect(),
        dry_run: true,
        as_of: Vec::new(),
    }
}

fn posting(leg: ForeseenLeg) -> wire::Posting {
    let (posted, available) = leg.balances.unwrap_or_default();
    let side = convert::side_on_wire(leg.side).into();
    let group = leg.group.unwrap_or_default();
    let in_transit = false;
    wire::Posting { account: leg.account, group, side, amount: leg.amount, posted, available, in_transit }
}
