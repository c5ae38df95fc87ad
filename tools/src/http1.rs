//! One HTTP/1.1 connection to a router, as thin as it can be: the traffic generator shares two cores with what it
//! measures. Retries, pools and TLS are not its business.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

/// Why a call has no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address is not `http://ADDRESS:PORT`.
    #[error("{url} is not of the form http://ADDRESS:PORT")]
    Url {
        /// What was given.
        url: String,
    },
    /// Nothing was sent.
    #[error("no connection to {addr}")]
    Connect {
        /// Where to.
        addr: String,
        /// Why not.
        source: std::io::Error,
    },
    /// The request may have arrived: its end is not known.
    #[error("the connection to {addr} broke")]
    Broken {
        /// Where to.
        addr: String,
        /// How it broke.
        source: hyper::Error,
    },
    /// The request may have arrived: its end is not known.
    #[error("no answer from {addr} within {after:?}")]
    Silent {
        /// Where to.
        addr: String,
        /// The patience it was given.
        after: Duration,
    },
}

impl Error {
    /// Whether the request certainly never left.
    pub fn unsent(&self) -> bool {
        matches!(self, Error::Url { .. } | Error::Connect { .. })
    }
}

/// `ADDRESS:PORT` of `http://ADDRESS:PORT`.
pub fn authority(url: &str) -> Result<String, Error> {
    let bad = || Error::Url { url: url.to_owned() };
    let rest = url.strip_prefix("http://").ok_or_else(bad)?.trim_end_matches('/');
    match rest.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => Ok(rest.to_owned()),
        _ => Err(bad()),
    }
}

/// How long whoever has taken a connection may take to close it again, if nobody is behind it.
const CLOSED_WITHIN: Duration = Duration::from_millis(50);

/// Whether somebody is there, frozen or not. A proxy, or whatever else takes connections for others, closes them where nobody is.
pub async fn listens(addr: &str, patience: Duration) -> bool {
    let Ok(Ok(mut stream)) = tokio::time::timeout(patience, TcpStream::connect(addr)).await else {
        return false;
    };
    match tokio::time::timeout(CLOSED_WITHIN, stream.read_u8()).await {
        Ok(first) => first.is_ok(),
        Err(_) => true,
    }
}

/// An open connection; one call at a time.
pub struct Connection {
    addr: String,
    sender: SendRequest<Full<Bytes>>,
    driver: JoinHandle<()>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Connection {
    /// Connects to `ADDRESS:PORT`.
    pub async fn open(addr: &str, patience: Duration) -> Result<Self, Error> {
        let connect = |source| Error::Connect { addr: addr.to_owned(), source };
        let stream = tokio::time::timeout(patience, TcpStream::connect(addr))
            .await
            .map_err(|_| connect(std::io::Error::from(std::io::ErrorKind::TimedOut)))?
            .map_err(connect)?;
        stream.set_nodelay(true).map_err(connect)?;
        let (sender, connection) = handshake(TokioIo::new(stream))
            .await
            .map_err(|source| Error::Broken { addr: addr.to_owned(), source })?;
        // The sender learns of a broken connection by itself, so the driver's own result says nothing new.
        let driver = tokio::spawn(async move {
            let _ = connection.await;
        });
        Ok(Connection { addr: addr.to_owned(), sender, driver })
    }

    /// Whether the router has not closed it yet.
    pub fn is_open(&self) -> bool {
        !self.sender.is_closed()
    }

    /// Sends one request and reads the head of an answer whose body may have no end.
    pub async fn begin(
        &mut self,
        request: Request<Full<Bytes>>,
        patience: Duration,
    ) -> Result<Response<Incoming>, Error> {
        let addr = &self.addr;
        let broken = |source| Error::Broken { addr: addr.clone(), source };
        match tokio::time::timeout(patience, self.sender.send_request(request)).await {
            Ok(answer) => answer.map_err(broken),
            Err(_) => Err(Error::Silent { addr: addr.clone(), after: patience }),
        }
    }

    /// Sends one request and reads the whole answer.
    pub async fn call(
        &mut self,
        request: Request<Full<Bytes>>,
        patience: Duration,
    ) -> Result<(StatusCode, Bytes), Error> {
        let addr = &self.addr;
        let broken = |source| Error::Broken { addr: addr.clone(), source };
        let sender = &mut self.sender;
        let exchange = async {
            sender.ready().await.map_err(broken)?;
            let response = sender.send_request(request).await.map_err(broken)?;
            let status = response.status();
            let body = response.into_body().collect().await.map_err(broken)?.to_bytes();
            Ok((status, body))
        };
        match tokio::time::timeout(patience, exchange).await {
            Ok(answer) => answer,
            Err(_) => Err(Error::Silent { addr: addr.clone(), after: patience }),
        }
    }
}

/// A request with a JSON body (or none).
pub fn request(method: Method, authority: &str, path: &Uri, body: Bytes) -> Request<Full<Bytes>> {
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = method;
    *request.uri_mut() = path.clone();
    let headers = request.headers_mut();
    let host = http::HeaderValue::from_str(authority).expect("an address is a valid header value");
    headers.insert(http::header::HOST, host);
    headers.insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
    request
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_http_with_a_port_is_taken() {
        assert_eq!(authority("http://127.0.0.1:7401").unwrap(), "127.0.0.1:7401");
        assert_eq!(authority("http://127.0.0.1:7401/").unwrap(), "127.0.0.1:7401");
        for bad in ["127.0.0.1:7401", "https://127.0.0.1:7401", "http://127.0.0.1", "http://:1", "http://a:b"]
        {
            assert!(authority(bad).is_err(), "{bad}");
        }
    }
}
