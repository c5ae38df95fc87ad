//! The gRPC port: connections, limits, and what tonic refuses before a call begins. tonic's own errors (a message that
//! is too long or cannot be read, a call that does not exist) know nothing of the table of codes; they are put into
//! its words here. hyper is used directly, as for HTTP, so that both ports are bounded by the same means and no timer
//! but the router's own ends a call. The calls are [`crate::grpc`]'s.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, Request, Response, header};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::Service as _;
use tonic::server::NamedService;
use twinset_proto::cluster::v1::drill_faults_server::DrillFaultsServer;
use twinset_proto::ledger::v1::ledger_server::LedgerServer;

use crate::api::Api;
use crate::connections::{self, Bound};
use crate::drill_faults;
use crate::error::{Code, Error};
use crate::grpc::Service;
use crate::platform::Listener;
use crate::status;

type Server = LedgerServer<Service>;
type Drills = DrillFaultsServer<drill_faults::Service>;

/// How often a silent client is asked whether it is there.
const PING_EVERY: Duration = Duration::from_secs(20);

/// What a connection hears that finds no place: HTTP/2's settings, then "go away", for the reason "enhance your calm".
const FULL: &[u8] = b"\0\0\0\x04\0\0\0\0\0\
    \0\0\x1c\x07\0\0\0\0\0\0\0\0\0\0\0\0\x0btoo many connections";

/// Serves until `stop`, then lets the calls in progress end.
pub async fn serve(
    listener: Box<dyn Listener>,
    api: Arc<Api>,
    drills: drill_faults::Service,
    stop: CancellationToken,
) {
    let limits = &api.limits;
    let bound = Bound { connections_max: limits.connections_max, full: FULL };
    let server = LedgerServer::new(Service::new(api.clone()))
        .max_decoding_message_size(limits.body_bytes_max)
        .max_encoding_message_size(usize::MAX);
    let drills = DrillFaultsServer::new(drills);
    let mut builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_EVERY)
        .max_concurrent_streams(u32::try_from(limits.connections_max).unwrap_or(u32::MAX));
    connections::serve(listener, bound, &api.metrics, stop, |stream| {
        let (server, drills) = (server.clone(), drills.clone());
        let service = service_fn(move |request| {
            let (server, drills) = (server.clone(), drills.clone());
            async move { Ok::<_, Infallible>(answer(server, drills, request).await) }
        });
        builder.serve_connection(TokioIo::new(stream), service)
    })
    .await;
}

/// One call.
async fn answer(mut server: Server, mut drills: Drills, request: Request<Incoming>) -> Response<Body> {
    if let Err(error) = is_plain(request.headers()) {
        return status::grpc(&error).into_http();
    }
    let path = request.uri().path().to_string();
    // Operators' words, not those of the API.
    if path.strip_prefix('/').and_then(|path| path.split('/').next()) == Some(Drills::NAME) {
        let Ok(response) = drills.call(request).await;
        return response;
    }
    let Ok(response) = server.call(request).await;
    if response.headers().contains_key("twinset-code") {
        return response;
    }
    // A status in the head is one of tonic's: replies, and errors later on, have theirs in the trailers.
    match Status::from_header_map(response.headers()) {
        Some(refused) if refused.code() != tonic::Code::Ok => {
            status::grpc(&in_our_words(&refused, &path)).into_http()
        }
        _ => response,
    }
}

/// Whether the messages are what gRPC's own encoding says, uncompressed.
fn is_plain(headers: &HeaderMap) -> Result<(), Error> {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or(""));
    let refused = |detail: String| Err(Error::new(Code::UnsupportedMediaType, detail));
    match text(header::CONTENT_TYPE.as_str()) {
        Some("application/grpc" | "application/grpc+proto") => {}
        other => return refused(format!("the type is {other:?}; application/grpc is expected")),
    }
    match text("grpc-encoding") {
        None | Some("identity") => Ok(()),
        Some(other) => refused(format!("messages are encoded as {other:?}; plain ones are expected")),
    }
}

/// What tonic refused, before any of it reached the API: nothing was applied.
fn in_our_words(refused: &Status, path: &str) -> Error {
    match refused.code() {
        tonic::Code::OutOfRange => Error::new(Code::BodyTooLarge, refused.message()),
        tonic::Code::Unimplemented => Error::new(Code::RouteNotFound, format!("there is no call {path}")),
        _ => Error::malformed(format!("the message cannot be read: {}", refused.message())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_refusal_is_two_whole_frames() {
        let (settings, rest) = FULL.split_at(9);
        assert_eq!((settings[2], settings[3]), (0, 4), "empty settings");
        let (head, payload) = rest.split_at(9);
        assert_eq!((usize::from(head[2]), head[3]), (payload.len(), 7), "go away");
        assert_eq!(payload[..8], [0, 0, 0, 0, 0, 0, 0, 11]);
    }
}
