//! The lines of many objects, as a body that is read while it is sent.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Cursor, Read},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use futures_util::stream;
use http_body_util::StreamBody;
use hyper::body::Frame;
use reqwest::Body;
use tokio::{sync::mpsc, task::spawn_blocking};

/// So much is read at a time, in bytes.
const CHUNK_BYTES: usize = 64 * 1024;
/// So many chunks are read ahead of the network.
const AHEAD: usize = 4;

/// Where the lines are.
#[derive(Debug)]
pub(super) enum Lines {
    /// Here.
    Text(String),
    /// In a file.
    File(PathBuf),
    /// Where they can be read once only.
    Stdin,
}

/// How far the reading is.
#[derive(Debug, Default)]
pub(super) struct Reading {
    bytes: AtomicU64,
    waits: AtomicBool,
}

impl Lines {
    /// How many bytes they have, if that is known.
    pub(super) fn bytes(&self) -> Option<u64> {
        match self {
            Self::Text(text) => Some(text.len() as u64),
            Self::File(file) => {
                file.metadata().ok().filter(|metadata| metadata.is_file()).map(|metadata| metadata.len())
            }
            Self::Stdin => None,
        }
    }

    /// Whether they can be read again from some line on.
    pub(super) fn can_be_read_again(&self) -> bool {
        self.bytes().is_some()
    }

    /// A body of the lines but the first `skipped`.
    ///
    /// # Errors
    /// If they cannot be read.
    pub(super) fn body(&self, skipped: u64) -> io::Result<(Body, Arc<Reading>)> {
        let input: Box<dyn Read + Send> = match self {
            Self::Text(text) => Box::new(Cursor::new(text.clone())),
            Self::File(file) => Box::new(File::open(file)?),
            Self::Stdin => Box::new(io::stdin()),
        };
        let reading = Arc::new(Reading::default());
        let (sender, receiver) = mpsc::channel(AHEAD);
        let progress = reading.clone();
        spawn_blocking(move || {
            let mut input = BufReader::with_capacity(CHUNK_BYTES, input);
            let ended = progress.skip(&mut input, skipped).and_then(|()| progress.read(&mut input, &sender));
            if let Err(error) = ended {
                // It breaks the request off: half of the lines are not to pass for all.
                let _ = sender.blocking_send(Err(error));
            }
        });
        let chunks = stream::unfold(receiver, async |mut receiver| Some((receiver.recv().await?, receiver)));
        Ok((Body::wrap(StreamBody::new(chunks)), reading))
    }
}

impl Reading {
    /// How many bytes were read.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Whether it is waited for whoever writes the lines.
    pub(super) fn waits(&self) -> bool {
        self.waits.load(Ordering::Relaxed)
    }

    fn skip(&self, input: &mut impl BufRead, mut lines: u64) -> io::Result<()> {
        while lines > 0 {
            let buffer = input.fill_buf()?;
            if buffer.is_empty() {
                return Ok(());
            }
            let end = buffer.iter().position(|byte| *byte == b'\n');
            let length = end.map_or(buffer.len(), |end| end + 1);
            lines -= u64::from(end.is_some());
            input.consume(length);
            self.bytes.fetch_add(length as u64, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Until there is no more, or nobody who takes it.
    fn read(&self, input: &mut impl BufRead, chunks: &mpsc::Sender<io::Result<Frame<Bytes>>>) -> io::Result<()> {
        loop {
            self.waits.store(true, Ordering::Relaxed);
            let buffer = input.fill_buf();
            self.waits.store(false, Ordering::Relaxed);
            let chunk = Bytes::copy_from_slice(buffer?);
            input.consume(chunk.len());
            self.bytes.fetch_add(chunk.len() as u64, Ordering::Relaxed);
            if chunk.is_empty() || chunks.blocking_send(Ok(Frame::data(chunk))).is_err() {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test]
    async fn they_are_read_from_any_line_on_and_counted() {
        let lines = Lines::Text("one\ntwo\n\nfour".to_owned());
        for (skipped, left) in [(0, "one\ntwo\n\nfour"), (2, "\nfour"), (3, "four"), (9, "")] {
            let (body, reading) = lines.body(skipped).unwrap();
            assert_eq!(body.collect().await.unwrap().to_bytes(), left);
            assert_eq!(reading.bytes(), 13, "those that were skipped, too");
        }
    }
}
