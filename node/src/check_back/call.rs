//! One call of an initiator: a signed POST over a connection of its own. It follows no redirect, reads no more than it must,
//! and is over when its time is.

use std::fmt::Write;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use hmac::{Hmac, Mac};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, CONTENT_TYPE, HOST};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use sha2::Sha256;
use twinset_ledger::check_back::Failure;

use super::config::{Initiator, Target};
use crate::platform::Platform;

/// Bytes of an answer at most.
pub const ANSWER_BYTES_MAX: usize = 4_096;
/// Bytes of its head at most, about.
const HEAD_BYTES_MAX: usize = 16_384;
/// Seconds since the Unix epoch, as the caller's clock has it.
const TIMESTAMP: &str = "twinset-timestamp";
/// `v1=` and the signature in hexadecimal.
const SIGNATURE: &str = "twinset-signature";
/// The same for every call of the same try.
const KEY: &str = "idempotency-key";

/// Why a call has failed, and what people are told of it.
pub type Failed = (Failure, String);

/// HMAC-SHA256 over the timestamp, a dot and the body, in lower-case hexadecimal.
pub fn signature(secret: &[u8], timestamp: u64, body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("keys may have any length");
    mac.update(format!("{timestamp}.").as_bytes());
    mac.update(body);
    mac.finalize().into_bytes().iter().fold(String::new(), |mut out, byte| {
        write!(out, "{byte:02x}").expect("texts take all");
        out
    })
}

/// Calls an initiator, and gives the body of its answer.
pub async fn call(
    platform: &dyn Platform,
    initiator: &Initiator,
    key: &str,
    body: Vec<u8>,
) -> Result<Bytes, Failed> {
    let timestamp = platform.now_unix_ns() / 1_000_000_000;
    let signature = format!("v1={}", signature(&initiator.secret, timestamp, &body));
    let request = Request::post(&initiator.target.path)
        .header(HOST, &initiator.target.authority)
        .header(CONTENT_TYPE, "application/json")
        .header(CONNECTION, "close")
        .header(TIMESTAMP, timestamp)
        .header(SIGNATURE, signature)
        .header(KEY, key)
        .body(Full::new(Bytes::from(body)))
        .expect("all of it was checked");
    let limit = Duration::from_millis(initiator.config.timeout_ms);
    match tokio::time::timeout(limit, exchange(platform, &initiator.target, request)).await {
        Ok(done) => done,
        Err(_) => Err((Failure::TimedOut, format!("not within {} ms", initiator.config.timeout_ms))),
    }
}

async fn exchange(
    platform: &dyn Platform,
    target: &Target,
    request: Request<Full<Bytes>>,
) -> Result<Bytes, Failed> {
    let broken = |error: &dyn std::error::Error| (Failure::Unreachable, chain(error));
    let stream =
        platform.connect(&target.host, target.port).await.map_err(|error: io::Error| broken(&error))?;
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(HEAD_BYTES_MAX)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|error| broken(&error))?;
    let answer = async {
        let response = sender.send_request(request).await.map_err(|error| broken(&error))?;
        if response.status() != StatusCode::OK {
            return Err((Failure::Status, format!("HTTP status {}", response.status())));
        }
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
        body.map(|body| body.to_bytes()).map_err(|error| match error.downcast_ref::<hyper::Error>() {
            Some(error) => broken(error),
            None => (Failure::Answer, format!("more than {ANSWER_BYTES_MAX} bytes")),
        })
    };
    // The connection ends with the answer: what it would still say is nobody's business.
    tokio::pin!(answer);
    tokio::select! {
        answer = &mut answer => answer,
        ended = connection => match ended {
            // All of the answer may have come with the end.
            Ok(()) => answer.await,
            Err(error) => Err(broken(&error)),
        },
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `printf '1700000000.{"hold":"1-1-8-0"}' | openssl dgst -sha256 -hmac 0123456789abcdef`
    #[test]
    fn a_signature_is_what_openssl_says() {
        let found = signature(b"0123456789abcdef", 1_700_000_000, br#"{"hold":"1-1-8-0"}"#);
        assert_eq!(found, "2abf64913c5647c9d94b17455e844e7f77f484888ff32a4ba276446b2f8303a6");
        assert_ne!(found, signature(b"0123456789abcdef", 1_700_000_001, br#"{"hold":"1-1-8-0"}"#));
        assert_ne!(found, signature(b"0123456789abcdeg", 1_700_000_000, br#"{"hold":"1-1-8-0"}"#));
    }
}
