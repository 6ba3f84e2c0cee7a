//! What lapin reads from a connection: the broker's frames, each mended before.

use std::{
    io::{self, Read, Write},
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use async_rs::{Tokio, traits::Reactor};
use futures_util::{
    Stream,
    io::{AsyncRead, AsyncWrite},
};
use lapin::AsyncTcpStream;

use super::frames::{Head, mend};

/// How much is asked for at once, in bytes.
const READ_BYTES: usize = 16 * 1024;

/// A connection, in the clear or over TLS.
pub(super) type Connected = AsyncTcpStream<<Tokio as Reactor>::TcpStream>;

/// A connection whose frames can be read.
pub(super) struct Readable<S = Connected> {
    inner: S,
    /// What was read and not passed on.
    buffer: Vec<u8>,
    /// From where, and how far, it may be passed on.
    from: usize,
    to: usize,
    /// How many bytes are still to come of a frame that needs no mending.
    passing: usize,
}

impl<S> Readable<S> {
    pub fn new(inner: S) -> Self {
        Self { inner, buffer: Vec::new(), from: 0, to: 0, passing: 0 }
    }

    /// Sees how much more may be passed on: whole frames, mended, and what there is of those that need no mending.
    fn advance(&mut self) {
        loop {
            let passed = self.passing.min(self.buffer.len() - self.to);
            self.passing -= passed;
            self.to += passed;
            let Some(head) = Head::read(&self.buffer[self.to..]) else { return };
            if !head.may_need_mending() {
                self.passing = head.bytes;
            } else if let Some(frame) = self.buffer[self.to..].get_mut(..head.bytes) {
                mend(frame);
                self.to += head.bytes;
            } else {
                return;
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Readable<S> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, out: &mut [u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        loop {
            if this.from < this.to {
                let bytes = out.len().min(this.to - this.from);
                out[..bytes].copy_from_slice(&this.buffer[this.from..this.from + bytes]);
                this.from += bytes;
                return Poll::Ready(Ok(bytes));
            }
            this.buffer.drain(..this.from);
            (this.from, this.to) = (0, 0);
            // The middle of a body goes where it belongs at once.
            if this.passing > 0 && this.buffer.is_empty() {
                let most = out.len().min(this.passing);
                let bytes = ready!(Pin::new(&mut this.inner).poll_read(context, &mut out[..most]))?;
                this.passing -= bytes;
                return Poll::Ready(Ok(bytes));
            }
            let before = this.buffer.len();
            this.buffer.resize(before + READ_BYTES, 0);
            let read = Pin::new(&mut this.inner).poll_read(context, &mut this.buffer[before..]);
            let bytes = if let Poll::Ready(Ok(bytes)) = read { bytes } else { 0 };
            this.buffer.truncate(before + bytes);
            match ready!(read)? {
                0 if before == 0 => return Poll::Ready(Ok(0)),
                // The connection broke in the middle of a frame.
                0 => this.to = before,
                _ => this.advance(),
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Readable<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write_vectored(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(context)
    }

    fn poll_close(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_close(context)
    }
}

/// tokio, but for its connections: lapin takes those that its runtime makes.
#[derive(Clone, Debug)]
pub(super) struct Wire(pub Tokio);

impl Reactor for Wire {
    type TcpStream = Readable;
    type Sleep = <Tokio as Reactor>::Sleep;

    fn register<H: Read + Write + Send + 'static>(
        &self,
        _: H,
    ) -> io::Result<impl AsyncRead + AsyncWrite + Send + Unpin + 'static> {
        Err::<Self::TcpStream, _>(io::Error::from(io::ErrorKind::Unsupported))
    }

    fn sleep(&self, duration: Duration) -> Self::Sleep {
        self.0.sleep(duration)
    }

    fn interval(&self, duration: Duration) -> impl Stream<Item = Instant> + Send + 'static {
        self.0.interval(duration)
    }

    fn tcp_connect_addr(
        &self,
        address: SocketAddr,
    ) -> impl Future<Output = io::Result<Self::TcpStream>> + Send + 'static {
        let connected = self.0.tcp_connect_addr(address);
        async move { Ok(Readable::new(AsyncTcpStream::Plain(connected.await?))) }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use futures_util::{AsyncReadExt, FutureExt};
    use proptest::prelude::*;

    use super::*;

    /// Gives what it has in pieces of these lengths, over and over.
    struct Pieces(Vec<u8>, Vec<usize>);

    impl AsyncRead for Pieces {
        fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, out: &mut [u8]) -> Poll<io::Result<usize>> {
            self.1.rotate_left(1);
            let bytes = self.1[0].min(out.len()).min(self.0.len());
            out[..bytes].copy_from_slice(&self.0[..bytes]);
            self.0.drain(..bytes);
            Poll::Ready(Ok(bytes))
        }
    }

    fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
        [&[kind, 0, 1], &u32::try_from(payload.len()).unwrap().to_be_bytes()[..], payload, &[0xce]].concat()
    }

    /// A content header with nothing but an app id.
    fn header(app: &[u8]) -> Vec<u8> {
        let length = u8::try_from(app.len()).unwrap();
        frame(2, &[&[0, 60, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 8, length], app].concat())
    }

    proptest! {
        #[test]
        fn frames_come_whole_and_mended_in_whatever_pieces_they_arrive(
            bodies in prop::collection::vec(prop_oneof![0..40_usize, 0..60_000_usize], 1..6),
            lengths in prop::collection::vec(prop_oneof![1..20_usize, 1..40_000_usize], 1..5),
            room in prop_oneof![1..20_usize, 1..100_000_usize],
            cut in 0..30_usize,
        ) {
            let stream = |app: &[u8]| -> Vec<u8> {
                bodies.iter().flat_map(|bytes| [header(app), frame(3, &vec![0xff; *bytes])]).flatten().collect()
            };
            let (mut came, mut expected) = (stream(b"\xff"), stream(b"?"));
            // The connection may break anywhere.
            came.truncate(came.len() - cut);
            expected.truncate(expected.len() - cut);
            let mut readable = Readable::new(Pieces(came, lengths));
            let (mut read, mut out) = (Vec::new(), vec![0; room]);
            loop {
                let bytes = readable.read(&mut out).now_or_never().unwrap().unwrap();
                if bytes == 0 {
                    break;
                }
                read.extend_from_slice(&out[..bytes]);
            }
            prop_assert_eq!(read.len(), expected.len());
            // A content header that was cut off, which is among the last bytes then, stays as it came.
            let whole = expected.len().saturating_sub(30);
            prop_assert!(read[..whole] == expected[..whole]);
        }
    }
}
