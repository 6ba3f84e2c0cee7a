//! A connection whose other end must read, and is heard out at the end.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep},
};

use super::turn::Turn;

/// What is read at a time of what nobody wants.
const UNWANTED_BYTES: usize = 4096;

/// Fails with [`io::ErrorKind::TimedOut`] when the other end has not taken a byte for `stall`, nor sent one, although it could:
/// it was its [`Turn`]. hyper has a timeout for what it reads, but none for what it writes. Many clients send all that they
/// have before they read anything: as long as they send, or have to wait before they can, what they do not take is no stall.
/// How long they may send, and have to wait, is bounded elsewhere.
///
/// Shutting down says that nothing more comes, and then reads and throws away what the other end goes on sending, until it
/// has had enough or `linger` is over: a socket that is closed with bytes unread is reset, and whoever was sending them
/// then may never see what it was answered.
pub(super) struct BoundedStream<S> {
    inner: S,
    stall: Duration,
    turn: Turn,
    /// Set while a write waits.
    stalled: Option<Stalled>,
    linger: Duration,
    /// Set when the other end was told that nothing more comes.
    lingers: Option<Pin<Box<Sleep>>>,
}

/// A write that waits.
struct Stalled {
    /// Since when nothing moves, in either direction.
    since: Instant,
    wakes: Pin<Box<Sleep>>,
}

impl<S> BoundedStream<S> {
    pub(super) fn new(inner: S, stall: Duration, linger: Duration, turn: Turn) -> Self {
        Self { inner, stall, turn, stalled: None, linger, lingers: None }
    }

    /// What `write` says, unless it has waited for too long.
    fn bounded<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let stall = self.stall;
        let begun = || Stalled { since: Instant::now(), wakes: Box::pin(sleep(stall)) };
        let Stalled { since, wakes } = self.stalled.get_or_insert_with(begun);
        loop {
            ready!(wakes.as_mut().poll(cx));
            let end = self.turn.since().max(*since) + stall;
            if end <= Instant::now() {
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client does not read")));
            }
            wakes.as_mut().reset(end);
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for BoundedStream<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buf.filled().len();
        let read = Pin::new(&mut this.inner).poll_read(cx, buf);
        if let Some(stalled) = this.stalled.as_mut().filter(|_| buf.filled().len() > before) {
            stalled.since = Instant::now();
        }
        read
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for BoundedStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write(cx, bytes);
        self.bounded(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write_vectored(cx, slices);
        self.bounded(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.inner).poll_flush(cx);
        self.bounded(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.lingers.is_none() {
            let shut = Pin::new(&mut this.inner).poll_shutdown(cx);
            ready!(this.bounded(cx, shut))?;
        }
        let linger = this.linger;
        let lingers = this.lingers.get_or_insert_with(|| Box::pin(sleep(linger)));
        while lingers.as_mut().poll(cx).is_pending() {
            let mut unwanted = [0; UNWANTED_BYTES];
            let mut unwanted = ReadBuf::new(&mut unwanted);
            let read = ready!(Pin::new(&mut this.inner).poll_read(cx, &mut unwanted));
            if read.is_err() || unwanted.filled().is_empty() {
                break;
            }
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    const STALL: Duration = Duration::from_secs(30);
    const LINGER: Duration = Duration::from_secs(2);

    #[tokio::test(start_paused = true)]
    async fn a_write_that_nobody_reads_fails() {
        let (ours, _theirs) = tokio::io::duplex(16);
        let mut ours = BoundedStream::new(ours, STALL, LINGER, Turn::new());
        let error = ours.write_all(&[0; 17]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test(start_paused = true)]
    async fn a_write_that_is_read_slowly_succeeds() {
        let (ours, mut theirs) = tokio::io::duplex(16);
        let mut ours = BoundedStream::new(ours, STALL, LINGER, Turn::new());
        let reader = async {
            for _ in 0..100 {
                tokio::time::sleep(Duration::from_secs(29)).await;
                theirs.read_exact(&mut [0; 16]).await.unwrap();
            }
        };
        let (written, ()) = tokio::join!(ours.write_all(&[0; 1600]), reader);
        written.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_write_to_whoever_goes_on_sending_waits_and_fails_when_that_has_ended() {
        const SENDS: u32 = 10;
        let (ours, mut theirs) = tokio::io::duplex(16);
        let (mut reading, mut writing) = tokio::io::split(BoundedStream::new(ours, STALL, LINGER, Turn::new()));
        let sending = async {
            for _ in 0..SENDS {
                tokio::time::sleep(STALL / 2).await;
                theirs.write_all(&[0; 16]).await.unwrap();
            }
        };
        let receiving = async {
            for _ in 0..SENDS {
                reading.read_exact(&mut [0; 16]).await.unwrap();
            }
        };
        let began = Instant::now();
        let (written, (), ()) = tokio::join!(writing.write_all(&[0; 17]), sending, receiving);
        assert_eq!(written.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(began.elapsed(), SENDS * STALL / 2 + STALL);
    }

    #[tokio::test(start_paused = true)]
    async fn a_write_to_whoever_has_to_wait_for_us_waits_and_fails_when_it_could_have_gone_on() {
        let (ours, _theirs) = tokio::io::duplex(16);
        let turn = Turn::new();
        let mut stream = BoundedStream::new(ours, STALL, LINGER, turn.clone());
        turn.ours();
        let working = async {
            tokio::time::sleep(3 * STALL + STALL / 2).await;
            turn.theirs();
        };
        let began = Instant::now();
        let (written, ()) = tokio::join!(stream.write_all(&[0; 17]), working);
        assert_eq!(written.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(began.elapsed(), 4 * STALL + STALL / 2);
    }

    #[tokio::test(start_paused = true)]
    async fn the_other_end_is_heard_out_but_not_for_ever() {
        let (mut ours, mut theirs) = tokio::io::duplex(16);
        let mut stream = BoundedStream::new(&mut ours, STALL, LINGER, Turn::new());
        let sending = async {
            for _ in 0..100 {
                theirs.write_all(&[0; 16]).await.unwrap();
            }
            theirs.shutdown().await.unwrap();
        };
        let began = Instant::now();
        let (shut, ()) = tokio::join!(stream.shutdown(), sending);
        shut.unwrap();
        assert!(began.elapsed() < LINGER, "it has ended");

        let (ours, _theirs) = tokio::io::duplex(16);
        let mut stream = BoundedStream::new(ours, STALL, LINGER, Turn::new());
        let began = Instant::now();
        stream.shutdown().await.unwrap();
        assert_eq!(began.elapsed(), LINGER);
    }
}
