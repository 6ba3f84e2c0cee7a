//! The lines of many objects, read some at a time: as many as it costs little to send again.

use std::{
    io::{self, Cursor},
    path::Path,
    time::Duration,
};

use tokio::{
    fs::File,
    io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, BufReader, stdin},
    time::{Instant, timeout_at},
};

/// So many lines are sent at a time. No more: settled lines are sent again as blank ones, of which the system takes 1000 in a
/// row.
pub(super) const CHUNK_LINES: usize = 1000;
/// So many bytes are sent at a time, at most but for the last line.
const CHUNK_BYTES: usize = 4 * 1024 * 1024;
/// No line may be longer, in bytes: no event is, whatever the system's `MAX_EVENT_BYTES`.
const MAX_LINE_BYTES: u64 = 16 * 1024 * 1024;
/// Lines wait so long for others where somebody writes them as they come.
const PAUSE: Duration = Duration::from_millis(500);

/// Where the lines come from.
pub(super) struct Lines {
    input: Box<dyn AsyncBufRead + Send + Unpin>,
    /// How many bytes they have, if that is known.
    pub(super) total_bytes: Option<u64>,
    /// So many of them were read.
    pub(super) read_bytes: u64,
    /// The chunks are the same each time, because they do not depend on when lines come.
    pub(super) is_file: bool,
    /// The number of the next one, from 1.
    next: u64,
    /// What was read of a line that did not come whole yet.
    begun: Vec<u8>,
    has_ended: bool,
}

/// Lines that follow one another.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Chunk {
    /// The number of the first one.
    pub(super) first: u64,
    /// Without what ends them.
    pub(super) lines: Vec<Vec<u8>>,
}

impl Lines {
    /// Those of a file.
    pub(super) async fn of_file(file: &Path) -> io::Result<Self> {
        let file = File::open(file).await?;
        let metadata = file.metadata().await?;
        let total_bytes = metadata.is_file().then_some(metadata.len());
        Ok(Self { total_bytes, is_file: metadata.is_file(), ..Self::of(BufReader::new(file)) })
    }

    /// Those of standard input.
    pub(super) fn of_stdin() -> Self {
        Self::of(BufReader::new(stdin()))
    }

    /// Those of a text.
    pub(super) fn of_text(text: String) -> Self {
        Self { total_bytes: Some(text.len() as u64), is_file: true, ..Self::of(Cursor::new(text)) }
    }

    fn of(input: impl AsyncBufRead + Send + Unpin + 'static) -> Self {
        let (total_bytes, begun) = (None, Vec::new());
        Self { input: Box::new(input), total_bytes, read_bytes: 0, is_file: false, next: 1, begun, has_ended: false }
    }

    /// The next ones; none at the end.
    ///
    /// # Errors
    /// If they cannot be read.
    pub(super) async fn chunk(&mut self) -> io::Result<Option<Chunk>> {
        let mut chunk = Chunk { first: self.next, lines: Vec::new() };
        let (mut bytes, mut end) = (0, None);
        while chunk.lines.len() < CHUNK_LINES && bytes < CHUNK_BYTES {
            let line = match end {
                None => self.line().await?,
                Some(end) => match timeout_at(end, self.line()).await {
                    Ok(line) => line?,
                    Err(_pause) => break,
                },
            };
            let Some(line) = line else { break };
            bytes += line.len();
            chunk.lines.push(line);
            if !self.is_file {
                end.get_or_insert_with(|| Instant::now() + PAUSE);
            }
        }
        self.next += chunk.lines.len() as u64;
        Ok(Some(chunk).filter(|chunk| !chunk.lines.is_empty()))
    }

    /// The next one; none at the end. Can be given up and begun again.
    async fn line(&mut self) -> io::Result<Option<Vec<u8>>> {
        while !self.has_ended && self.begun.last() != Some(&b'\n') {
            let room = MAX_LINE_BYTES.saturating_sub(self.begun.len() as u64);
            if room == 0 {
                return Err(io::Error::other("a line is longer than any object may be, 15 MiB"));
            }
            self.has_ended = (&mut self.input).take(room).read_until(b'\n', &mut self.begun).await? == 0;
        }
        if self.begun.is_empty() {
            return Ok(None);
        }
        let mut line = std::mem::take(&mut self.begun);
        self.read_bytes += line.len() as u64;
        if line.last() == Some(&b'\n') {
            line.pop();
        }
        Ok(Some(line))
    }
}

impl Chunk {
    /// The number of the line behind it.
    pub(super) fn next(&self) -> u64 {
        self.first + self.lines.len() as u64
    }

    /// What is sent: lines that are settled are blank, so that the others keep their numbers.
    pub(super) fn body(&self, is_settled: impl Fn(usize) -> bool) -> Vec<u8> {
        let mut body = Vec::new();
        for (at, line) in self.lines.iter().enumerate() {
            if !is_settled(at) {
                body.extend_from_slice(line);
            }
            body.push(b'\n');
        }
        body
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use tokio::io::{AsyncWriteExt, duplex};

    use super::*;

    fn chunk(first: u64, lines: &[&str]) -> Chunk {
        Chunk { first, lines: lines.iter().map(|line| line.as_bytes().to_vec()).collect() }
    }

    #[tokio::test]
    async fn lines_are_counted_blank_ones_too_and_the_last_one_needs_no_end() {
        let mut lines = Lines::of_text("one\n\n\r\nfour".to_owned());
        let all = lines.chunk().await.unwrap().unwrap();
        assert_eq!(all, chunk(1, &["one", "", "\r", "four"]));
        assert_eq!((lines.read_bytes, lines.total_bytes, all.next()), (11, Some(11), 5));
        assert_eq!(all.body(|at| at == 0), b"\n\n\r\nfour\n");
        assert_eq!(lines.chunk().await.unwrap(), None);
    }

    #[tokio::test]
    async fn so_many_are_read_at_a_time() {
        let mut lines = Lines::of_text("x\n".repeat(CHUNK_LINES + 1));
        assert_eq!(lines.chunk().await.unwrap().unwrap().lines.len(), CHUNK_LINES);
        assert_eq!(lines.chunk().await.unwrap(), Some(chunk(1 + CHUNK_LINES as u64, &["x"])));
        let long = "x".repeat(CHUNK_BYTES);
        let mut lines = Lines::of_text(format!("{long}\n{long}\n"));
        assert_eq!(lines.chunk().await.unwrap().unwrap().lines.len(), 1);
        let mut lines = Lines::of_text("x".repeat(17 * 1024 * 1024));
        assert!(lines.chunk().await.unwrap_err().to_string().contains("15 MiB"));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_written_as_it_comes_is_sent_soon_and_half_a_line_waits_for_the_other() {
        let (mut writer, reader) = duplex(100);
        let mut lines = Lines::of(BufReader::new(reader));
        writer.write_all(b"one\ntw").await.unwrap();
        assert_eq!(lines.chunk().await.unwrap(), Some(chunk(1, &["one"])));
        writer.write_all(b"o\n").await.unwrap();
        assert_eq!(lines.chunk().await.unwrap(), Some(chunk(2, &["two"])));
        drop(writer);
        assert_eq!(lines.chunk().await.unwrap(), None);
    }
}
