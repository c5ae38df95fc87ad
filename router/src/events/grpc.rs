//! Streams of events over gRPC.

use std::pin::Pin;
use std::sync::Arc;

use futures::Stream;
use futures::stream::unfold;
use tokio::time::Instant;
use tonic::Status;
use twinset_proto::ledger::v1 as wire;

use super::Events;
use crate::api::Api;
use crate::error::Error;
use crate::metrics::Protocol;
use crate::status;

/// What a client hears.
pub type Heard = Pin<Box<dyn Stream<Item = Result<wire::Event, Status>> + Send>>;

/// Opens a stream.
pub async fn stream(
    api: Arc<Api>,
    asked: wire::StreamEventsRequest,
    deadline: Instant,
) -> Result<Heard, Error> {
    let events = Events::open(api, Protocol::Grpc, asked.set, &asked.after, deadline).await?;
    Ok(Box::pin(unfold(Some(events), async |events| {
        let mut events = events?;
        match events.next().await? {
            Ok(event) => Some((Ok(event), Some(events))),
            Err(error) => Some((Err(status::grpc(&error)), None)),
        }
    })))
}
