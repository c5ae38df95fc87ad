//! A place in a stream that many lanes write to: where the stream is full, it is waited for in turn, and kept until it is used.
//! Whoever let go of what it had waited for, to try again, would hand it to the next in the queue, who does the same: the
//! lanes would wake each other for ever, and none would send.

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::mpsc::error::SendError;
use tokio::sync::mpsc::{OwnedPermit, Sender};

use crate::pending::StreamId;

/// Why there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoPlace {
    /// The stream is full: [`Place::wait`] says when there is one.
    Full,
    /// The stream has ended.
    Closed,
}

/// What one lane has of a stream.
pub struct Place<T> {
    stream: Option<StreamId>,
    state: State<T>,
}

type Wanted<T> = BoxFuture<'static, Result<OwnedPermit<T>, SendError<()>>>;

enum State<T> {
    Nothing,
    Wanted(Wanted<T>),
    Had(Result<OwnedPermit<T>, SendError<()>>),
}

impl<T: Send + 'static> Place<T> {
    /// None yet, and none is waited for.
    pub fn new() -> Self {
        Place { stream: None, state: State::Nothing }
    }

    /// A place in that stream; what was waited for in another one is let go.
    pub fn take(&mut self, stream: StreamId, frames: &Sender<T>) -> Result<OwnedPermit<T>, NoPlace> {
        if self.stream.replace(stream) != Some(stream) {
            self.state = State::Nothing;
        }
        match std::mem::replace(&mut self.state, State::Nothing) {
            State::Had(place) => place.map_err(|SendError(())| NoPlace::Closed),
            State::Wanted(wanted) => self.had_or_wanted(wanted),
            // Asked once, it stands in the queue.
            State::Nothing => self.had_or_wanted(frames.clone().reserve_owned().boxed()),
        }
    }

    fn had_or_wanted(&mut self, mut wanted: Wanted<T>) -> Result<OwnedPermit<T>, NoPlace> {
        match (&mut wanted).now_or_never() {
            Some(place) => place.map_err(|SendError(())| NoPlace::Closed),
            None => {
                self.state = State::Wanted(wanted);
                Err(NoPlace::Full)
            }
        }
    }

    /// Returns when there is what was waited for, or the stream has ended; if nothing is, never. May be dropped and called again
    /// without a loss of the turn.
    pub async fn wait(&mut self) {
        let State::Wanted(wanted) = &mut self.state else { return std::future::pending().await };
        let place = wanted.await;
        self.state = State::Had(place);
    }

    /// Lets go of what was waited for.
    pub fn release(&mut self) {
        self.state = State::Nothing;
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;

    const STREAM: StreamId = StreamId(1);

    #[tokio::test]
    async fn what_was_waited_for_is_had_by_who_waited_also_where_others_wait_too() {
        let (frames, mut written) = mpsc::channel::<u32>(1);
        frames.try_send(0).unwrap();
        let mut lanes = [Place::new(), Place::new(), Place::new()];
        for lane in &mut lanes {
            assert_eq!(lane.take(STREAM, &frames).err(), Some(NoPlace::Full));
            assert!(lane.wait().now_or_never().is_none());
        }
        for (lane, number) in lanes.iter_mut().zip(1..) {
            written.recv().await.unwrap();
            assert!(lane.wait().now_or_never().is_some(), "each in its turn");
            lane.take(STREAM, &frames).expect("it is kept").send(number);
        }
        assert_eq!(written.recv().await, Some(3));
    }

    #[tokio::test]
    async fn what_is_not_used_is_the_next_ones() {
        let (frames, mut written) = mpsc::channel::<u32>(1);
        frames.try_send(0).unwrap();
        let (mut one, mut other) = (Place::new(), Place::new());
        for lane in [&mut one, &mut other] {
            assert_eq!(lane.take(STREAM, &frames).err(), Some(NoPlace::Full));
            assert!(lane.wait().now_or_never().is_none());
        }
        written.recv().await.unwrap();
        one.wait().await;
        assert!(other.wait().now_or_never().is_none());
        one.release();
        other.wait().await;
        // So is what was waited for in a stream that is another one now.
        assert_eq!(one.take(STREAM, &frames).err(), Some(NoPlace::Full));
        assert!(one.wait().now_or_never().is_none());
        let (next, _kept) = mpsc::channel::<u32>(1);
        assert!(other.take(StreamId(2), &next).is_ok());
        one.wait().await;
        assert!(one.take(STREAM, &frames).is_ok());
    }

    #[tokio::test]
    async fn a_stream_that_ends_says_so() {
        let (frames, written) = mpsc::channel::<u32>(1);
        frames.try_send(0).unwrap();
        let mut lane = Place::new();
        assert_eq!(lane.take(STREAM, &frames).err(), Some(NoPlace::Full));
        drop(written);
        lane.wait().await;
        assert_eq!(lane.take(STREAM, &frames).err(), Some(NoPlace::Closed));
        assert_eq!(lane.take(STREAM, &frames).err(), Some(NoPlace::Closed));
    }
}
