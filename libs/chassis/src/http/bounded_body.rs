//! A request's body that must arrive in time.

use std::{
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::BoxError;
use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};

/// Why a body was not read to its end.
#[derive(Debug, thiserror::Error)]
pub(super) enum TooSlow {
    #[error("Nothing of the body arrived for {} ms.", .0.as_millis())]
    Stalled(Duration),
    #[error("The body did not arrive whole within {} ms.", .0.as_millis())]
    TookTooLong(Duration),
}

/// The time in which a body must arrive whole, counted from when somebody begins to read. Whoever reads it piece by piece
/// can have it count anew.
#[derive(Clone, Debug)]
pub(super) struct BodyTime {
    total: Duration,
    /// Set when somebody has begun to read.
    end: Arc<Mutex<Option<Instant>>>,
}

impl BodyTime {
    fn new(total: Duration) -> Self {
        Self { total, end: Arc::default() }
    }

    /// What comes from now on has the time of a whole body.
    pub(super) fn count_anew(&self) {
        *self.end.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now() + self.total);
    }

    fn end(&self) -> Instant {
        let mut end = self.end.lock().unwrap_or_else(PoisonError::into_inner);
        *end.get_or_insert_with(|| Instant::now() + self.total)
    }
}

/// Fails with [`TooSlow`] when nothing arrives for `stall`, or not everything within its [`BodyTime`].
pub(super) struct BoundedBody {
    inner: Incoming,
    stall: Duration,
    time: BodyTime,
    /// Set while somebody waits for more: when it has stalled, and what wakes them then.
    stalled: Option<(Instant, Pin<Box<Sleep>>)>,
    progress: Progress,
}

/// How far a body was read.
#[derive(Clone, Default)]
pub(super) struct Progress(Arc<AtomicBool>);

impl Progress {
    /// Whether it was read to its end.
    pub(super) fn is_whole(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    fn whole(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl BoundedBody {
    pub(super) fn new(inner: Incoming, stall: Duration, total: Duration) -> Self {
        let progress = Progress::default();
        if inner.is_end_stream() {
            progress.whole();
        }
        Self { inner, stall, time: BodyTime::new(total), stalled: None, progress }
    }

    pub(super) fn time(&self) -> BodyTime {
        self.time.clone()
    }

    pub(super) fn progress(&self) -> Progress {
        self.progress.clone()
    }
}

impl Body for BoundedBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        let end = this.time.end();
        if let Poll::Ready(frame) = Pin::new(&mut this.inner).poll_frame(cx) {
            this.stalled = None;
            if frame.is_none() || this.inner.is_end_stream() {
                this.progress.whole();
            }
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        let stall = this.stall;
        let (stalls_at, sleep) = this.stalled.get_or_insert_with(|| {
            let stalls_at = Instant::now() + stall;
            (stalls_at, Box::pin(sleep_until(stalls_at)))
        });
        // The end may have moved since.
        let limit = end.min(*stalls_at);
        if sleep.deadline() != limit {
            sleep.as_mut().reset(limit);
        }
        ready!(sleep.as_mut().poll(cx));
        let too_slow =
            if Instant::now() >= end { TooSlow::TookTooLong(this.time.total) } else { TooSlow::Stalled(stall) };
        Poll::Ready(Some(Err(too_slow.into())))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
