//! What hyper cannot parse never reaches the router: hyper answers it itself, with a status and nothing else, and
//! closes the connection. This wraps the connection and puts the problem document of the one table in place of those
//! bare answers. Everything else passes as it is. Used by [`crate::http`] alone.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::LazyLock;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::error::{Code, Error};
use crate::http::closing;
use crate::platform::Stream;

/// The starts of hyper's bare answers, and what is said in their place.
static ANSWERS: LazyLock<[(&[u8], Vec<u8>); 3]> = LazyLock::new(|| {
    [
        (&b"HTTP/1.1 400 "[..], closing(&Error::malformed("this is no HTTP/1.1 request"))),
        (&b"HTTP/1.1 414 "[..], closing(&Error::new(Code::UrlTooLong, "the URL is too long"))),
        (
            &b"HTTP/1.1 431 "[..],
            closing(&Error::new(Code::HeadersTooLarge, "the request has too many headers, or too long ones")),
        ),
    ]
});

/// What a bare answer should have been; None if `written` is none. The router's own replies all have a length.
fn whole(written: &[u8]) -> Option<&'static [u8]> {
    let (_, answer) = ANSWERS.iter().find(|(start, _)| written.starts_with(start))?;
    let text = std::str::from_utf8(written).ok()?;
    (text.ends_with("\r\n\r\n") && text.contains("\r\ncontent-length: 0\r\n")).then_some(answer)
}

/// A client's connection.
pub struct Connection {
    stream: Box<dyn Stream>,
    /// What is still to be written in place of a bare answer.
    instead: Option<&'static [u8]>,
}

impl Connection {
    /// Wraps a connection.
    pub fn new(stream: Box<dyn Stream>) -> Self {
        Connection { stream, instead: None }
    }

    fn poll_instead(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(left) = self.instead.filter(|left| !left.is_empty()) {
            let written = ready!(Pin::new(&mut self.stream).poll_write(cx, left))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.instead = Some(&left[written..]);
        }
        self.instead = None;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.instead.is_none() {
            self.instead = whole(bytes);
        }
        if self.instead.is_none() {
            return Pin::new(&mut self.stream).poll_write(cx, bytes);
        }
        // A write that was not finished is tried again with the same bytes.
        ready!(self.poll_instead(cx))?;
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match slices {
            [only] => self.poll_write(cx, only),
            _ => Pin::new(&mut self.stream).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_bare_answers_are_replaced() {
        let date = "date: Fri, 20 Nov 2026 10:00:00 GMT\r\n\r\n";
        for (status, code) in [(400, "malformed"), (414, "url_too_long"), (431, "headers_too_large")] {
            let bare =
                format!("HTTP/1.1 {status} Reason\r\nconnection: close\r\ncontent-length: 0\r\n{date}");
            let instead = whole(bare.as_bytes()).expect("a bare answer");
            let text = std::str::from_utf8(instead).expect("text");
            let (head, body) = text.split_once("\r\n\r\n").expect("head and body");
            assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}");
            assert!(head.contains(&format!("content-length: {}", body.len())), "{head}");
            let body: serde_json::Value = serde_json::from_str(body).expect("JSON");
            assert_eq!((&body["code"], &body["status"]), (&code.into(), &status.into()));
            assert_eq!(whole(bare.replace("length: 0", "length: 12").as_bytes()), None, "of a HEAD");
            assert_eq!(whole(format!("{bare}{{}}").as_bytes()), None, "with a body");
        }
        assert_eq!(whole(format!("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n{date}").as_bytes()), None);
    }
}
