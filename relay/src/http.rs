//! The relay's own port: health and metrics, for this machine only.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::service::State;

/// Who asks for metrics needs one; a few more wait here, the others in the system's queue.
const CONNECTIONS_MAX: usize = 16;
/// How long a client may take to ask.
const HEADER_WAIT: Duration = Duration::from_secs(10);
/// Before the next connection is taken after one could not be.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves until `stop`.
pub async fn serve(listener: TcpListener, state: Arc<State>, stop: CancellationToken) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEADER_WAIT);
    loop {
        let place = places.clone().acquire_owned().await.expect("it is never closed");
        let stream = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(_) => {
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            },
            () = stop.cancelled() => return,
        };
        let (state, stop) = (state.clone(), stop.clone());
        let service = service_fn(move |request| {
            let answer = answer(&state, &request);
            async move { Ok::<_, Infallible>(answer) }
        });
        let connection = builder.serve_connection(TokioIo::new(stream), service);
        tokio::spawn(async move {
            let _place = place;
            tokio::select! {
                // A client that went away took its answer with it.
                _ = connection => {}
                () = stop.cancelled() => {}
            }
        });
    }
}

fn answer(state: &State, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let known = state.sets.lock().len();
    let (status, text) = match (request.method(), request.uri().path()) {
        (&Method::GET, "/healthz") => (StatusCode::OK, Bytes::from_static(b"ok\n")),
        (&Method::GET, "/readyz") if known == 0 => (
            StatusCode::SERVICE_UNAVAILABLE,
            Bytes::from_static(b"no router has told which sets there are\n"),
        ),
        (&Method::GET, "/readyz") => (StatusCode::OK, format!("{known} sets\n").into()),
        (&Method::GET, "/metrics") => (StatusCode::OK, state.metrics.render().into()),
        _ => (StatusCode::NOT_FOUND, Bytes::from_static(b"GET /healthz, /readyz or /metrics\n")),
    };
    let mut answer = Response::new(Full::new(text));
    *answer.status_mut() = status;
    answer
}
