//! Someone on a simulated machine who asks the routers, one thing at a time, and has each question and its end taken down. The
//! words are those of the Jepsen harness: its asks and answers, its spelling over HTTP, its recorder; only the way to
//! the router is the simulated network. Judges nothing.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Uri};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::task::JoinHandle;
use tracing::trace;
use twinset_jepsen::api::{Patience, answer, spell};
use twinset_jepsen::history::{Answer, Ask, Recorder, Retry};
use twinset_tools::http1;

use crate::cluster;
use crate::plan::{ROUTERS, in_site_a};
use crate::platform::Simulated;

/// For an answer that the router does not give.
const GRACE: Duration = Duration::from_secs(1);
const CONNECT: Duration = Duration::from_millis(500);
/// Whom a request is for: a router on a loopback address refuses to be called anything else.
const HOST: &str = "127.0.0.1";
/// Between two attempts of the same question.
const POLL: Duration = Duration::from_millis(50);

/// Who asks.
pub struct Asker {
    recorder: Arc<Recorder>,
    site: u8,
    routers: Vec<Router>,
    process: u32,
}

impl Asker {
    /// On that machine.
    pub fn new(recorder: &Arc<Recorder>, machine: &str) -> Asker {
        let routers = ROUTERS.into_iter().map(|name| Router { name, open: None }).collect();
        let (recorder, process) = (recorder.clone(), recorder.process());
        Asker { recorder, site: u8::from(!in_site_a(machine)), routers, process }
    }

    /// One question through one router, by its number. A process whose question has an open end asks no more.
    pub async fn ask(
        &mut self,
        ask: &Ask,
        router: usize,
        retry: Option<Retry>,
        patience: Patience,
    ) -> Answer {
        let op = self.recorder.invoke(self.process, self.site, router as u8, retry, ask);
        let answer = self.routers[router].ask(&self.recorder, ask, patience).await;
        self.recorder.end(op, &answer);
        trace!(op, ?ask, ?answer, "answer");
        if answer.is_open() {
            self.process = self.recorder.process();
        }
        answer
    }

    /// The same question through one router and the other until there is a definite answer.
    pub async fn insist(&mut self, ask: &Ask, retry: Option<Retry>, deadline: Duration) -> Answer {
        for turn in 0.. {
            let again = retry.or((turn > 0 && ask.is_write()).then_some(Retry::Again));
            let answer = self.ask(ask, turn % ROUTERS.len(), again, deadline.into()).await;
            if answer.ends(ask) {
                return answer;
            }
            tokio::time::sleep(POLL).await;
        }
        unreachable!("it asks for ever")
    }

    /// The same question through one router alone until there is a definite answer.
    pub async fn insist_on(&mut self, router: usize, ask: &Ask, deadline: Duration) -> Answer {
        loop {
            let answer = self.ask(ask, router, None, deadline.into()).await;
            if answer.ends(ask) {
                return answer;
            }
            tokio::time::sleep(POLL).await;
        }
    }
}

/// A way to one router, made when it is needed.
struct Router {
    name: &'static str,
    open: Option<Open>,
}

struct Open {
    sender: SendRequest<Full<Bytes>>,
    driver: JoinHandle<()>,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Router {
    async fn ask(&mut self, accounts: &Recorder, ask: &Ask, patience: Patience) -> Answer {
        if self.open.as_ref().is_none_or(|open| open.sender.is_closed()) {
            match tokio::time::timeout(CONNECT, connect(self.name)).await {
                Ok(Ok(open)) => self.open = Some(open),
                Ok(Err(_)) | Err(_) => return Answer::NotApplied { code: "unsent".to_owned() },
            }
        }
        let open = self.open.as_mut().expect("it was opened above");
        let (method, path, body) = spell::call(accounts, ask);
        let uri: Uri = path.parse().expect("ids have only what a path may have");
        let mut request = http1::request(method, HOST, &uri, body.into());
        let deadline_ms = u32::try_from(patience.deadline.as_millis()).unwrap_or(u32::MAX);
        request.headers_mut().insert("twinset-deadline-ms", HeaderValue::from(deadline_ms));
        let exchange = async {
            open.sender.ready().await?;
            let response = open.sender.send_request(request).await?;
            let status = response.status();
            Ok::<_, hyper::Error>((status, response.into_body().collect().await?.to_bytes()))
        };
        let wait = patience.hang_up.unwrap_or(patience.deadline + GRACE);
        let why = match tokio::time::timeout(wait, exchange).await {
            Ok(Ok((status, body))) => return answer(accounts, ask, status, &body),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no answer".to_owned(),
        };
        self.open = None;
        Answer::Unknown { why }
    }
}

async fn connect(router: &str) -> std::io::Result<Open> {
    let stream = Simulated::sound().stream_to(&cluster::http(router)).await?;
    let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(std::io::Error::other)?;
    // The sender learns of a broken connection by itself, so the driver's own result says nothing new.
    let driver = tokio::spawn(async move {
        let _ = connection.await;
    });
    Ok(Open { sender, driver })
}
