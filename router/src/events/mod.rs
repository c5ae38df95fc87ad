//! Events: pages of them and endless streams, of one set or of all. The order of a set is its log's; between sets there is none.
//! A stream reads page after page from the sets' leaders, whoever they are, and is as resumable as a page: its state is
//! [`Cursors`]. The HTTP spelling is [`http`] over [`crate::json::events`], the other one [`grpc`]; above them is what
//! [`crate::api`] has above it.

mod cursor;
pub mod grpc;
pub mod http;
mod stream;

use futures::future::try_join_all;
use tokio::time::Instant;
use twinset_proto::cluster::v1::{ReadEvents, ReadReply, read_reply, read_request};
use twinset_proto::ledger::v1 as wire;

use crate::api::{Api, PAGE_DEFAULT, PAGE_MAX, missing, page_of};
use crate::convert;
use crate::error::Error;

pub use cursor::Cursors;
pub use stream::Events;

impl Api {
    /// Events of a set, or of each, behind `after` (empty: from the first one).
    pub async fn events(
        &self,
        asked: wire::ListEventsRequest,
        deadline: Instant,
    ) -> Result<wire::ListEventsReply, Error> {
        let consistency = convert::consistency(asked.consistency)?;
        let size = page_of(asked.page_size, PAGE_DEFAULT, PAGE_MAX)?;
        let mut cursors = Cursors::read(&asked.after, asked.set, &self.view())?;
        let pages = cursors.sets().map(|(set, after)| async move {
            let asked = ReadEvents { after: after.into(), page_size: size, wait_ms: 0 };
            Ok::<_, Error>((set, self.page_of_events(set, asked, consistency, deadline).await?))
        });
        let pages = try_join_all(pages).await?;
        let mut whole = wire::ListEventsReply::default();
        for (set, page) in pages {
            for mut event in page.events {
                event.resume = cursors.pass(set, &event.event);
                whole.events.push(event);
            }
            cursors.pass(set, &page.next);
            whole.more |= page.more;
            whole.as_of.extend(page.as_of);
            whole.age_ms = whole.age_ms.max(page.age_ms);
        }
        whole.next = cursors.text();
        Ok(whole)
    }

    async fn page_of_events(
        &self,
        set: u32,
        asked: ReadEvents,
        consistency: wire::Consistency,
        deadline: Instant,
    ) -> Result<wire::ListEventsReply, Error> {
        let none = format!("{} is no event of set {set}", asked.after);
        match self.reads.read(set, consistency, read_request::Query::Events(asked), deadline).await? {
            ReadReply { result: Some(read_reply::Result::Events(reply)) } => Ok(reply),
            reply => Err(missing(&reply, &none)),
        }
    }
}
