//! A request's body that must arrive in time.

use std::{
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::BoxError;
use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};

use super::turn::Turn;

/// Why a body was not read to its end.
#[derive(Debug, thiserror::Error)]
pub(super) enum TooSlow {
    #[error("Nothing of the body arrived for {} ms.", .0.as_millis())]
    Stalled(Duration),
    #[error("The body did not arrive whole within {} ms.", .0.as_millis())]
    TookTooLong(Duration),
}

/// How a body arrives: in which time it must, and whether it has. Clones are the same.
///
/// The time for all of it is counted from when somebody begins to read. Whoever reads it piece by piece can have it count
/// anew.
#[derive(Clone, Debug)]
pub(super) struct Arrival(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    stall: Duration,
    total: Duration,
    turn: Turn,
    /// Set when somebody has begun to read.
    end: Mutex<Option<Instant>>,
    is_whole: AtomicBool,
}

impl Arrival {
    pub(super) fn new(stall: Duration, total: Duration, turn: Turn) -> Self {
        Self(Arc::new(Inner { stall, total, turn, end: Mutex::default(), is_whole: AtomicBool::new(false) }))
    }

    /// Whether it was read to its end.
    pub(super) fn is_whole(&self) -> bool {
        self.0.is_whole.load(Ordering::Relaxed)
    }

    /// What comes from now on has the time of a whole body.
    pub(super) fn count_anew(&self) {
        *self.end_at() = Some(Instant::now() + self.0.total);
    }

    /// Somebody waits for what comes next, until this is dropped. The next one waits anew.
    pub(super) fn wait(&self) -> Wait<'_> {
        Wait(self)
    }

    fn whole(&self) {
        self.0.is_whole.store(true, Ordering::Relaxed);
        self.0.turn.theirs();
    }

    /// What came is to be done before anything else comes.
    fn ours(&self) {
        if !self.is_whole() {
            self.0.turn.ours();
        }
    }

    fn stalls_at(&self) -> Instant {
        self.0.turn.theirs() + self.0.stall
    }

    fn end(&self) -> Instant {
        *self.end_at().get_or_insert_with(|| Instant::now() + self.0.total)
    }

    fn end_at(&self) -> MutexGuard<'_, Option<Instant>> {
        self.0.end.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// See [`Arrival::wait`].
pub(super) struct Wait<'a>(&'a Arrival);

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        self.0.ours();
    }
}

/// Fails with [`TooSlow`] when nothing arrives for too long while somebody waits for it, or not everything in time.
pub(super) struct BoundedBody<B = Incoming> {
    inner: B,
    arrival: Arrival,
    /// Set while somebody waits for more.
    wakes: Option<Pin<Box<Sleep>>>,
}

impl<B: Body> BoundedBody<B> {
    pub(super) fn new(inner: B, arrival: Arrival) -> Self {
        if inner.is_end_stream() {
            arrival.whole();
        } else {
            arrival.ours();
        }
        Self { inner, arrival, wakes: None }
    }
}

impl<B> Drop for BoundedBody<B> {
    fn drop(&mut self) {
        // Nobody reads it any more.
        if !self.arrival.is_whole() {
            self.arrival.0.turn.theirs();
        }
    }
}

impl<B: Body<Data = Bytes, Error: Into<BoxError>> + Unpin> Body for BoundedBody<B> {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        let end = this.arrival.end();
        if let Poll::Ready(frame) = Pin::new(&mut this.inner).poll_frame(cx) {
            this.wakes = None;
            if frame.is_none() || this.inner.is_end_stream() {
                this.arrival.whole();
            } else {
                this.arrival.ours();
            }
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        // Both may have moved since.
        let limit = end.min(this.arrival.stalls_at());
        let wakes = this.wakes.get_or_insert_with(|| Box::pin(sleep_until(limit)));
        if wakes.deadline() != limit {
            wakes.as_mut().reset(limit);
        }
        ready!(wakes.as_mut().poll(cx));
        let Inner { stall, total, .. } = *this.arrival.0;
        let too_slow = if Instant::now() >= end { TooSlow::TookTooLong(total) } else { TooSlow::Stalled(stall) };
        Poll::Ready(Some(Err(too_slow.into())))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
