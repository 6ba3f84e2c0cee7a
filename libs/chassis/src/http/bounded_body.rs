//! A request's body that must arrive in time.

use std::{
    pin::Pin,
    sync::{
        Arc,
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

/// Fails with [`TooSlow`] when nothing arrives for `stall`, or not everything within `total`, counted from when somebody
/// begins to read.
pub(super) struct BoundedBody {
    inner: Incoming,
    stall: Duration,
    total: Duration,
    /// Set while somebody waits for more.
    stalled: Option<Pin<Box<Sleep>>>,
    /// Set when somebody has begun to read.
    end: Option<Instant>,
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
        Self { inner, stall, total, stalled: None, end: None, progress }
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
        let end = *this.end.get_or_insert_with(|| Instant::now() + this.total);
        if let Poll::Ready(frame) = Pin::new(&mut this.inner).poll_frame(cx) {
            this.stalled = None;
            if frame.is_none() || this.inner.is_end_stream() {
                this.progress.whole();
            }
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        let stall = this.stall;
        let stalled = this.stalled.get_or_insert_with(|| Box::pin(sleep_until(end.min(Instant::now() + stall))));
        ready!(stalled.as_mut().poll(cx));
        let too_slow = if Instant::now() >= end { TooSlow::TookTooLong(this.total) } else { TooSlow::Stalled(stall) };
        Poll::Ready(Some(Err(too_slow.into())))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
