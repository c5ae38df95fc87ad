//! Health, readiness and metrics over plain HTTP.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;

use crate::node::Node;

/// `/healthz` (the process runs), `/readyz` (every hosted set has a leader) and `/metrics`.
pub fn routes(node: Arc<Node>) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(node)
}

async fn ready(State(node): State<Arc<Node>>) -> (StatusCode, String) {
    match node.not_ready() {
        None => (StatusCode::OK, "ready\n".into()),
        Some(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
    }
}

async fn metrics(State(node): State<Arc<Node>>) -> impl IntoResponse {
    node.metrics.clock_ahead.set(node.vigil.clocks().ahead_ms(tokio::time::Instant::now()));
    if let Some(catalogue) = node.cell.get() {
        node.metrics.control.show(&catalogue);
    }
    let text = node.metrics.render(&node.sets, &node.initiators, node.not_ready().is_none());
    ([(CONTENT_TYPE, "text/plain; version=0.0.4")], text)
}
