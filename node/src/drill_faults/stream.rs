//! A connection that drills may cut or slow down. A cut one is a black hole: what is sent vanishes from here, nothing
//! arrives, and it is neither closed nor reset, not even if this end gives up; as on a network that loses packets,
//! what was under way arrives after all if the cut ends before both ends have given up. Whether it is cut is for
//! [`super::lines`].
//!
//! One task drives a connection, as servers and clients of HTTP do: whatever it polls, bytes that are due go on.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use super::lines::{Line, Passage, Way};
use crate::platform::Stream;

/// Bytes under way in one direction; then the sender waits, as for a window that is full.
const UNDER_WAY_MAX: usize = 4 << 20;
/// Bytes read at once while they are late.
const READ_BYTES: usize = 16 << 10;

/// The connection.
pub(crate) struct Harmable {
    stream: Box<dyn Stream>,
    line: Arc<Line>,
    inbound: Transit,
    outbound: Transit,
    /// How the other end has ended what it sends, once that was read; what is under way comes before it.
    ended: Option<io::Result<()>>,
}

/// Bytes under way, each piece with the time when it was sent.
#[derive(Default)]
struct Transit {
    pieces: VecDeque<(Instant, Bytes)>,
    bytes: usize,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Transit {
    fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    fn room(&self) -> usize {
        UNDER_WAY_MAX.saturating_sub(self.bytes)
    }

    fn send(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len();
        self.pieces.push_back((Instant::now(), Bytes::copy_from_slice(bytes)));
    }

    /// The first piece, when it arrives. Unless bytes pass freely the caller watches the line as well.
    fn poll_first(&mut self, passage: Passage, cx: &mut Context<'_>) -> Poll<&mut Bytes> {
        let Some((sent, first)) = self.pieces.front_mut() else { return Poll::Pending };
        match passage {
            Passage::Shut => return Poll::Pending,
            Passage::Free => {}
            Passage::Late(by) => {
                let due = *sent + by;
                if Instant::now() < due {
                    let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(due)));
                    if timer.deadline() != due {
                        timer.as_mut().reset(due);
                    }
                    ready!(timer.as_mut().poll(cx));
                }
            }
        }
        Poll::Ready(first)
    }

    /// So many bytes of the first piece have arrived.
    fn arrived(&mut self, count: usize) {
        self.bytes -= count;
        let (_, first) = self.pieces.front_mut().expect("bytes of it have arrived");
        first.advance(count);
        if first.is_empty() {
            self.pieces.pop_front();
        }
    }
}

impl Harmable {
    /// Over a connection that was opened or accepted.
    pub(crate) fn new(stream: Box<dyn Stream>, line: Arc<Line>) -> Harmable {
        Harmable { stream, line, inbound: Transit::default(), outbound: Transit::default(), ended: None }
    }

    /// Whether it is as if it were not harmable.
    fn is_plain(&self) -> bool {
        self.line.is_free() && self.inbound.is_empty() && self.outbound.is_empty() && self.ended.is_none()
    }

    /// Sends on what is due, and has the task woken for what will be. The passage is what holds for the rest.
    fn send_on(&mut self, cx: &mut Context<'_>) -> io::Result<Passage> {
        let passage = self.line.watched(Way::Out, cx);
        if self.outbound.is_empty() {
            return Ok(passage);
        }
        while let Poll::Ready(first) = self.outbound.poll_first(passage, cx) {
            match Pin::new(&mut self.stream).poll_write(cx, first) {
                Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(count)) => self.outbound.arrived(count),
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Pending => return Ok(passage),
            }
        }
        // Pending means that the task is woken, and flushes again.
        if let Poll::Ready(flushed) = Pin::new(&mut self.stream).poll_flush(cx) {
            flushed?;
        }
        Ok(passage)
    }

    /// Reads what has been sent, as far as there is room for what is under way.
    fn fill(&mut self, cx: &mut Context<'_>) {
        let mut space = [0; READ_BYTES];
        while self.ended.is_none() && self.inbound.room() > 0 {
            let mut read = ReadBuf::new(&mut space);
            match Pin::new(&mut self.stream).poll_read(cx, &mut read) {
                Poll::Ready(Ok(())) if read.filled().is_empty() => self.ended = Some(Ok(())),
                Poll::Ready(Ok(())) => self.inbound.send(read.filled()),
                Poll::Ready(Err(error)) => self.ended = Some(Err(error)),
                Poll::Pending => return,
            }
        }
    }
}

impl AsyncRead for Harmable {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.is_plain() {
            return Pin::new(&mut this.stream).poll_read(cx, buf);
        }
        this.send_on(cx)?;
        let passage = this.line.watched(Way::In, cx);
        match passage {
            Passage::Shut => return Poll::Pending,
            Passage::Late(_) => this.fill(cx),
            Passage::Free => {}
        }
        if this.inbound.is_empty() {
            return match this.ended.take() {
                Some(Ok(())) => {
                    this.ended = Some(Ok(()));
                    Poll::Ready(Ok(()))
                }
                Some(Err(error)) => Poll::Ready(Err(error)),
                None if passage == Passage::Free => Pin::new(&mut this.stream).poll_read(cx, buf),
                None => Poll::Pending,
            };
        }
        let first = ready!(this.inbound.poll_first(passage, cx));
        let count = first.len().min(buf.remaining());
        buf.put_slice(&first[..count]);
        this.inbound.arrived(count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Harmable {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        if this.is_plain() {
            return Pin::new(&mut this.stream).poll_write(cx, bytes);
        }
        let passage = this.send_on(cx)?;
        if passage == Passage::Free && this.outbound.is_empty() {
            return Pin::new(&mut this.stream).poll_write(cx, bytes);
        }
        let count = bytes.len().min(this.outbound.room());
        match (count, bytes) {
            (0, []) => Poll::Ready(Ok(0)),
            (0, _) => Poll::Pending,
            _ => {
                this.outbound.send(&bytes[..count]);
                this.send_on(cx)?;
                Poll::Ready(Ok(count))
            }
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.is_plain() {
            return Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        }
        let first = bufs.iter().find(|buf| !buf.is_empty());
        self.poll_write(cx, first.map_or(&[][..], |buf| &**buf))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        // What is under way has left, as far as this end can tell.
        if !this.is_plain() && (this.send_on(cx)? != Passage::Free || !this.outbound.is_empty()) {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut this.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        // The end comes behind what is under way, and over a cut it does not come.
        if !this.is_plain() && (this.send_on(cx)? == Passage::Shut || !this.outbound.is_empty()) {
            return Poll::Pending;
        }
        Pin::new(&mut this.stream).poll_shutdown(cx)
    }
}

impl Drop for Harmable {
    fn drop(&mut self) {
        if self.line.passage(Way::Out) == Passage::Shut {
            let stream = std::mem::replace(&mut self.stream, Box::new(tokio::io::empty()));
            self.line.bury(stream);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures::FutureExt;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    use super::super::harm::{Far, Harm, Link};
    use super::super::lines::{Door, Lines};
    use super::*;

    const LATE: Duration = Duration::from_millis(40);

    /// A connection that b1 has opened, and b1's end of it.
    fn connection() -> (Arc<Lines>, Harmable, DuplexStream) {
        let lines = Lines::new("a1".to_owned());
        let line = lines.accepted(Door::Other);
        assert!(line.called(Some("twinset-node/b1/B")));
        let (here, there) = duplex(64);
        (lines, Harmable::new(Box::new(here), line), there)
    }

    fn link(inbound: bool, outbound: bool) -> Link {
        Link { far: Far::Process("b1".to_owned()), inbound, outbound }
    }

    /// What a server does: says something, hears something; gives what it heard.
    async fn serve(mut here: Harmable) -> (String, Harmable) {
        here.write_all(b"said").await.unwrap();
        here.flush().await.unwrap();
        let mut heard = [0; 5];
        here.read_exact(&mut heard).await.unwrap();
        (String::from_utf8(heard.to_vec()).unwrap(), here)
    }

    async fn hears(there: &mut DuplexStream, bytes: usize) -> String {
        let mut heard = vec![0; bytes];
        there.read_exact(&mut heard).await.unwrap();
        String::from_utf8(heard).unwrap()
    }

    #[tokio::test]
    async fn without_a_fault_it_is_a_connection_like_any_other() {
        let (_lines, here, mut there) = connection();
        there.write_all(b"asked").await.unwrap();
        let (heard, here) = serve(here).await;
        assert_eq!((heard.as_str(), hears(&mut there, 4).await.as_str()), ("asked", "said"));
        drop(here);
        assert_eq!(there.read(&mut [0]).await.unwrap(), 0, "closed");
    }

    #[tokio::test]
    async fn a_cut_is_a_black_hole_and_what_was_under_way_arrives_when_it_ends() {
        let (lines, here, mut there) = connection();
        lines.cut(1, &Harm::Drop(link(true, true)));
        there.write_all(b"asked").await.unwrap();
        let mut serving = Box::pin(serve(here));
        assert!(
            serving.as_mut().now_or_never().is_none(),
            "it has said what it had to say, and hears nothing"
        );
        assert!(there.read(&mut [0]).now_or_never().is_none(), "nothing arrives, not even an end");
        lines.mend(1);
        let (heard, _here) = serving.await;
        assert_eq!((heard.as_str(), hears(&mut there, 4).await.as_str()), ("asked", "said"));
    }

    #[tokio::test]
    async fn a_cut_of_one_way_leaves_the_other_one_open() {
        let (lines, here, mut there) = connection();
        lines.cut(1, &Harm::Drop(link(false, true)));
        there.write_all(b"asked").await.unwrap();
        let (heard, mut here) = serve(here).await;
        assert_eq!(heard, "asked");
        assert!(there.read(&mut [0]).now_or_never().is_none());
        lines.cut(1, &Harm::Drop(link(true, false)));
        there.write_all(b"again").await.unwrap();
        assert!(here.read(&mut [0]).now_or_never().is_none(), "this way it is open, and that way cut");
        assert_eq!(hears(&mut there, 4).await, "said");
    }

    #[tokio::test]
    async fn who_gives_up_over_a_cut_is_not_heard_to_before_it_ends() {
        let (lines, here, mut there) = connection();
        lines.cut(1, &Harm::Silence);
        drop(here);
        assert!(there.read(&mut [0]).now_or_never().is_none());
        lines.mend(1);
        assert_eq!(there.read(&mut [0]).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn what_is_late_arrives_whole_and_in_order_after_its_time() {
        let (lines, here, mut there) = connection();
        lines.cut(1, &Harm::Delay(link(true, true), LATE));
        let began = Instant::now();
        there.write_all(b"asked").await.unwrap();
        let serving = tokio::spawn(serve(here));
        assert_eq!(hears(&mut there, 4).await, "said");
        assert!(began.elapsed() >= LATE);
        let (heard, mut here) = serving.await.unwrap();
        assert_eq!(heard, "asked");
        assert!(began.elapsed() >= LATE);
        there.write_all(b"last").await.unwrap();
        drop(there);
        let mut rest = String::new();
        here.read_to_string(&mut rest).await.unwrap();
        assert_eq!(rest, "last", "and then the end");
    }

    #[tokio::test]
    async fn what_was_late_when_the_fault_ends_comes_before_what_is_said_after() {
        let (lines, mut here, mut there) = connection();
        lines.cut(1, &Harm::Delay(link(true, true), Duration::from_secs(60)));
        here.write_all(b"first ").await.unwrap();
        assert!(there.read(&mut [0]).now_or_never().is_none());
        lines.mend(1);
        here.write_all(b"second").await.unwrap();
        assert_eq!(hears(&mut there, 12).await, "first second");
    }

    #[tokio::test]
    async fn what_is_under_way_is_bounded() {
        let (lines, mut here, _there) = connection();
        lines.cut(1, &Harm::Silence);
        let much = vec![0; UNDER_WAY_MAX];
        here.write_all(&much).await.unwrap();
        assert!(here.write(b"x").now_or_never().is_none(), "the window is full");
    }
}
