//! An initiator: a real HTTP server that answers, lies, hangs and dies.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hmac::{Hmac, Mac};
use parking_lot::Mutex;
use serde_json::{Value, json};
use sha2::Sha256;
use twinset_node::check_back::{InitiatorConfig, LastResort};

const SECRET: &[u8] = b"a secret of the test";

/// A call as it came in.
#[derive(Clone, Debug)]
pub struct Call {
    pub head: String,
    pub body: Value,
}

impl Call {
    pub fn header(&self, name: &str) -> &str {
        let line = self.head.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")));
        line.unwrap_or_else(|| panic!("no {name} in {}", self.head))
    }
}

/// What is done about a call.
pub enum Reaction {
    /// Status 200 and this.
    Say(Value),
    /// Just these bytes.
    Send(Vec<u8>),
    /// A byte now and then, for as long as anybody listens.
    Drip,
    /// Nothing, until the caller has gone.
    Hang,
    /// The connection ends.
    Close,
}

pub struct Initiator {
    pub name: &'static str,
    pub address: SocketAddr,
    calls: Arc<Mutex<Vec<Call>>>,
    alive: Arc<AtomicBool>,
}

impl Initiator {
    /// Starts one that is called by that name; the reaction may depend on how many calls there were before.
    pub fn start(
        name: &'static str,
        react: impl Fn(usize, &Call) -> Reaction + Send + Sync + 'static,
    ) -> Initiator {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (calls, alive) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(true)));
        let initiator = Initiator { name, address, calls: calls.clone(), alive: alive.clone() };
        let react = Arc::new(react);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (calls, react, alive) = (calls.clone(), react.clone(), alive.clone());
                // One that is dead takes connections, as a machine does, and ends them.
                std::thread::spawn(move || {
                    if alive.load(Ordering::Relaxed) {
                        let _ = serve(stream?, &calls, &*react);
                    }
                    std::io::Result::Ok(())
                });
            }
        });
        initiator
    }

    pub fn calls(&self) -> Vec<Call> {
        self.calls.lock().clone()
    }

    /// Dies, or comes back.
    pub fn lives(&self, alive: bool) {
        self.alive.store(alive, Ordering::Relaxed);
    }

    /// As it is configured: patient for half a second, asked often.
    pub fn config(&self, dir: &Path) -> InitiatorConfig {
        InitiatorConfig {
            name: self.name.to_owned(),
            url: format!("http://{}/holds?of=test", self.address),
            secret_file: secret(dir),
            timeout_ms: 500,
            tries: 40,
            back_off_first_ms: 10,
            back_off_max_ms: 100,
            last_resort: LastResort::Keep,
            concurrency: 2,
        }
    }
}

fn secret(dir: &Path) -> PathBuf {
    let file = dir.join("secret");
    std::fs::write(&file, [SECRET, b"\n"].concat()).unwrap();
    file
}

fn serve(
    mut stream: TcpStream,
    calls: &Mutex<Vec<Call>>,
    react: &(dyn Fn(usize, &Call) -> Reaction + Send + Sync),
) -> std::io::Result<()> {
    let mut read = Vec::new();
    let (head, body) = loop {
        let mut some = [0; 4096];
        let count = stream.read(&mut some)?;
        if count == 0 {
            return Ok(());
        }
        read.extend_from_slice(&some[..count]);
        let text = String::from_utf8(read.clone()).unwrap();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let head = head.to_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        if body.len() == length.parse::<usize>().unwrap() {
            break (head, body.to_owned());
        }
    };
    let call = Call { head, body: serde_json::from_str(&body).unwrap() };
    verify(&call, &body);
    let before = {
        let mut calls = calls.lock();
        calls.push(call.clone());
        calls.len() - 1
    };
    match react(before, &call) {
        Reaction::Say(value) => stream.write_all(&answer("200 OK", &value.to_string())),
        Reaction::Send(bytes) => stream.write_all(&bytes),
        Reaction::Hang => stream.read(&mut [0]).map(|_| ()),
        Reaction::Drip => {
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")?;
            stream.set_read_timeout(Some(Duration::from_millis(20)))?;
            // Until the caller has gone: a read that comes back at once, or a byte that cannot be sent.
            while !matches!(stream.read(&mut [0]), Ok(0)) {
                stream.write_all(b" ")?;
            }
            Ok(())
        }
        Reaction::Close => Ok(()),
    }
}

/// An answer with a body.
pub fn answer(status: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// The signature is what the page says that it is.
fn verify(call: &Call, body: &str) {
    assert!(call.head.starts_with("post /holds?of=test http/1.1"), "{}", call.head);
    let timestamp = call.header("twinset-timestamp");
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET).unwrap();
    mac.update(format!("{timestamp}.{body}").as_bytes());
    let expected: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(call.header("twinset-signature"), format!("v1={expected}"));
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    assert!(now.abs_diff(timestamp.parse().unwrap()) < 60, "{timestamp}");
}

pub fn confirm(call: &Call, amount: &str) -> Reaction {
    Reaction::Say(json!({ "hold": call.body["hold"], "answer": "confirm", "amount": amount }))
}

pub fn say(call: &Call, word: &str) -> Reaction {
    Reaction::Say(json!({ "hold": call.body["hold"], "answer": word }))
}
