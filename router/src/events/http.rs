//! Events over HTTP: JSON in pages or, for who accepts `text/event-stream`, server-sent events without end. `id` is what resumes
//! the stream; comments tell a quiet stream from a dead one.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::unfold;
use http::request::Parts;
use http::{HeaderValue, Method, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use tokio::time::Instant;
use twinset_proto::ledger::v1 as wire;

use super::Events;
use crate::api::Api;
use crate::error::Error;
use crate::handlers::{number_of_set, written};
use crate::json::events::{Event, EventPage};
use crate::metrics::Protocol;
use crate::query::Query;
use crate::routes::{Params, Route};
use crate::status;

/// A stream's body.
pub type Body = UnsyncBoxBody<Bytes, Infallible>;

/// How long nothing comes before a comment does.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// What is put into one frame, if so much is there.
const FRAME_BYTES: usize = 64 << 10;
/// When a browser that has lost the stream opens it again.
const OPENING: &str = "retry: 1000\n\n";

/// Whether a request is for a stream of events.
pub fn wants_stream(route: Route, parts: &Parts) -> bool {
    let streams = |value: &HeaderValue| {
        let kinds = value.to_str().unwrap_or("").split(',');
        kinds.map(|kind| kind.split(';').next().unwrap_or("").trim()).any(|kind| kind == "text/event-stream")
    };
    matches!(route, Route::ListEvents | Route::ListAllEvents)
        && parts.method == Method::GET
        && parts.headers.get_all(header::ACCEPT).iter().any(streams)
}

/// A page.
pub async fn page(api: &Api, params: Params, query: &Query, deadline: Instant) -> Result<Vec<u8>, Error> {
    let asked = wire::ListEventsRequest {
        set: set(params)?,
        after: query.after(),
        page_size: query.page_size()?,
        consistency: query.consistency()?.into(),
    };
    Ok(written(&EventPage::from(api.events(asked, deadline).await?)))
}

/// A stream.
pub async fn stream(
    api: &Arc<Api>,
    params: Params,
    parts: &Parts,
    deadline: Instant,
) -> Result<Response<Body>, Error> {
    let query = Query::parse(parts.uri.query().unwrap_or(""), &["after"])?;
    let mut seen = parts.headers.get_all("last-event-id").iter();
    // A browser opens a lost stream again as it was opened first, and adds what it has seen.
    let after = match seen.next() {
        Some(seen) => {
            seen.to_str().map_err(|_| Error::malformed("Last-Event-ID is no text of ASCII"))?.to_owned()
        }
        None => query.after(),
    };
    let events = {
        let _place = api.admit()?;
        Events::open(api.clone(), Protocol::Http, set(params)?, &after, deadline).await?
    };
    let frames = unfold(State { events: Some(events), opened: false }, async |mut state| {
        let text = state.next().await?;
        Some((Ok::<_, Infallible>(Frame::data(Bytes::from(text))), state))
    });
    let mut reply = Response::new(StreamBody::new(frames).boxed_unsync());
    *reply.status_mut() = StatusCode::OK;
    let headers = reply.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(reply)
}

fn set(params: Params) -> Result<Option<u32>, Error> {
    params.into_iter().next().map(|text| number_of_set(&text)).transpose()
}

struct State {
    /// None: an error was told.
    events: Option<Events>,
    opened: bool,
}

impl State {
    /// What is sent next.
    async fn next(&mut self) -> Option<String> {
        if !std::mem::replace(&mut self.opened, true) {
            return Some(OPENING.into());
        }
        let events = self.events.as_mut()?;
        match tokio::time::timeout(HEARTBEAT, events.next()).await {
            Err(_) => Some(": nothing happens\n\n".into()),
            Ok(None) => None,
            Ok(Some(Ok(event))) => {
                let mut text = String::new();
                put(&mut text, event);
                while text.len() < FRAME_BYTES
                    && let Some(event) = events.next_ready()
                {
                    put(&mut text, event);
                }
                Some(text)
            }
            Ok(Some(Err(error))) => {
                self.events = None;
                let problem =
                    serde_json::to_string(&status::problem(&error)).expect("a problem is plain JSON");
                Some(format!("event: problem\ndata: {problem}\n\n"))
            }
        }
    }
}

fn put(text: &mut String, event: wire::Event) {
    let event = Event::from(event);
    let data = serde_json::to_string(&event).expect("events are plain JSON");
    // JSON has no line ends of its own.
    text.extend(["id: ", &event.resume, "\ndata: ", &data, "\n\n"]);
}
