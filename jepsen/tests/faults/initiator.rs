//! An initiator, who is asked about overdue holds: he says of each what its amount stands for, the same however often he is asked,
//! and keeps what he was asked.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::support::Stage;

/// What the nodes call him.
pub const NAME: &str = "shop";

/// A call as it came in: its idempotency key, and what it asks.
#[derive(Clone, Debug)]
pub struct Call {
    pub key: String,
    pub body: Value,
}

/// Answers until the test ends.
pub struct Initiator {
    address: SocketAddr,
    calls: Arc<Mutex<Vec<Call>>>,
}

impl Initiator {
    /// `says`: his answer to what he is asked, without the name of the hold.
    pub async fn start(says: fn(&Value) -> Value) -> Initiator {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, calls) = (listener.local_addr().unwrap(), Arc::<Mutex<Vec<Call>>>::default());
        let book = calls.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let book = book.clone();
                let service = service_fn(move |request| answer(book.clone(), says, request));
                // Who asks may be killed in between.
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service),
                );
            }
        });
        Initiator { address, calls }
    }

    /// The section of a node's configuration that allows it to call him. He is patient, and is asked again soon.
    pub fn section(&self, stage: &Stage) -> String {
        let secret = stage.scratch("secret");
        std::fs::write(&secret, "a secret of the tests, long enough for it").unwrap();
        format!(
            "[[initiators]]\nname = \"{NAME}\"\nurl = \"http://{}/holds\"\nsecret_file = {secret:?}\n\
             timeout_ms = 60000\ntries = 40\nback_off_first_ms = 100\nback_off_max_ms = 1000\n",
            self.address
        )
    }

    /// What he was asked about a hold, in the order in which it came.
    pub fn calls(&self, hold: &str) -> Vec<Call> {
        self.calls.lock().iter().filter(|call| call.body["hold"] == hold).cloned().collect()
    }
}

async fn answer(
    book: Arc<Mutex<Vec<Call>>>,
    says: fn(&Value) -> Value,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let key = request.headers()["idempotency-key"].to_str().unwrap().to_owned();
    // A request that breaks off is not answered, and comes again.
    let Ok(body) = request.into_body().collect().await else { return Ok(Response::default()) };
    let body: Value = serde_json::from_slice(&body.to_bytes()).unwrap();
    let mut said = says(&body);
    said["hold"] = json!(body["hold"]);
    book.lock().push(Call { key, body });
    Ok(Response::new(Full::new(Bytes::from(said.to_string()))))
}
