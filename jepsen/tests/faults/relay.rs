//! A relay over a whole cluster while money moves: a leader is killed, a set is switched, the relay itself gets SIGKILL. Its webhook
//! has seen every event, each in its turn, and they are what the routers list afterwards.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::time::Instant;

use crate::support::Stage;
use twinset_jepsen::{death, logs};

/// How long events may take to get to the receiver, a change of leaders included.
const ARRIVAL: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(20);

/// What came, by set, in the order in which it came.
type Taken = Arc<Mutex<BTreeMap<u32, Vec<Value>>>>;

/// Takes whatever comes.
struct Receiver {
    address: SocketAddr,
    taken: Taken,
}

impl Receiver {
    async fn start() -> Receiver {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, taken) = (listener.local_addr().unwrap(), Taken::default());
        let book = taken.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let book = book.clone();
                let service = service_fn(move |request| take(book.clone(), request));
                // The relay that asks is killed in between.
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service),
                );
            }
        });
        Receiver { address, taken }
    }

    /// A set's events in the order in which each came first, and how many came again.
    fn once(&self, set: u32) -> (Vec<Value>, usize) {
        let taken = self.taken.lock().get(&set).cloned().unwrap_or_default();
        let all = taken.len();
        let mut known = std::collections::BTreeSet::new();
        let once: Vec<Value> = taken.into_iter().filter(|event| known.insert(key(event))).collect();
        let again = all - once.len();
        (once, again)
    }

    /// Waits until so many events of a set have come.
    async fn has(&self, set: u32, count: usize) {
        let deadline = Instant::now() + ARRIVAL;
        while self.once(set).0.len() < count {
            assert!(
                Instant::now() < deadline,
                "set {set}: {} of {count} events came",
                self.once(set).0.len()
            );
            tokio::time::sleep(POLL).await;
        }
    }

    /// Waits until more events of a set have come than now.
    async fn has_more(&self, set: u32, by: usize) {
        self.has(set, self.once(set).0.len() + by).await;
    }
}

async fn take(book: Taken, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    // A request that breaks off is not answered, and comes again.
    if let Ok(body) = request.into_body().collect().await {
        let batch: Value = serde_json::from_slice(&body.to_bytes()).unwrap();
        let set = batch["set"].as_u64().unwrap() as u32;
        book.lock().entry(set).or_default().extend(batch["events"].as_array().unwrap().iter().cloned());
    }
    Ok(Response::default())
}

fn key(event: &Value) -> String {
    event["event"].as_str().unwrap().to_owned()
}

fn configured(stage: &Stage, receiver: &Receiver) -> PathBuf {
    let secret = stage.scratch("secret");
    std::fs::write(&secret, "a secret of the tests, long enough for it").unwrap();
    std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o600)).unwrap();
    let (routers, data) = (stage.cluster.layout().router_urls(), stage.scratch("relay"));
    let text = format!(
        "routers = {routers:?}\ndata_dir = {data:?}\nlisten = {{ http = \"127.0.0.1:0\" }}\n[[webhook]]\nname = \"hook\"\n\
         url = \"http://{}/\"\nsecrets = [{{ id = \"k\", file = {secret:?} }}]\nretry = {{ max_ms = 500 }}\n",
        receiver.address
    );
    let path = stage.scratch("relay.toml");
    std::fs::write(&path, text).unwrap();
    path
}

/// What the relay says goes on in one file over its lives.
fn start(stage: &Stage) -> Child {
    let log = std::fs::File::options().create(true).append(true).open(stage.scratch("relay.log")).unwrap();
    Command::new(stage.cluster.layout().bin_dir.join("twinset-relay"))
        .arg("--config")
        .arg(stage.scratch("relay.toml"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

#[tokio::test]
async fn a_webhook_misses_nothing_while_a_leader_dies_a_set_moves_and_the_relay_is_killed() {
    let mut stage = Stage::start().await;
    let receiver = Receiver::start().await;
    configured(&stage, &receiver);
    let mut relay = start(&stage);
    let traffic = stage.journal(120).await;
    receiver.has(1, 50).await;
    receiver.has(2, 50).await;

    let leader = stage.leader(1).await;
    death::end(&mut stage.cluster, &leader).await.unwrap();
    receiver.has_more(1, 20).await;
    stage.cluster.start_process(&leader).unwrap();

    stage.switch(2, "a switch under a relay").await;
    receiver.has_more(2, 20).await;

    for set in [1, 2] {
        relay.kill().await.unwrap();
        relay = start(&stage);
        receiver.has_more(set, 20).await;
    }
    let stopped = traffic.stop().await.unwrap();
    stage.account_for(stopped).await;

    for set in [1, 2] {
        let expected = stage.events(set).await;
        receiver.has(set, expected.len()).await;
        let (once, again) = receiver.once(set);
        println!("set {set}: {} events, {again} came again", once.len());
        for two in once.windows(2) {
            assert_eq!(two[1]["previous"], two[0]["event"], "nothing is between them");
        }
        assert_eq!(once[0]["previous"], "");
        assert!(once == expected, "what came is not what is listed");
    }
    let said = std::fs::read_to_string(stage.scratch("relay.log")).unwrap();
    assert!(!said.contains(" ERROR "), "{said}");
    stage.end(logs::AFTER_KILLS).await;
}
