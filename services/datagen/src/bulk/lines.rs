//! A body as lines, as they arrive.

use bytes::BytesMut;
use chassis::http::{Pieces, Problem};
use tokio_util::codec::{Decoder, LinesCodec, LinesCodecError};

/// Blank lines in a row. They are passed over, and are no progress; nobody needs more of them to tell lines apart.
const MAX_BLANK_LINES: u32 = 1000;

/// The lines of a body, numbered from 1. Blank ones count, and are passed over.
pub(super) struct Lines {
    pieces: Pieces,
    codec: LinesCodec,
    longest: usize,
    /// What of the body was read and not yet taken: a line, and a piece, at most.
    buffer: BytesMut,
    /// Nothing more comes.
    has_ended: bool,
    /// That of the last line.
    number: u64,
    blank: u32,
}

/// A line, or why it is none that can be read.
pub(super) struct Line {
    pub(super) number: u64,
    pub(super) text: Result<String, Problem>,
}

impl Lines {
    /// Waits until the body has begun. A line has `longest` bytes at most.
    ///
    /// # Errors
    /// As [`Pieces::next`].
    pub(super) async fn begin(pieces: Pieces, longest: usize) -> Result<Self, Problem> {
        let codec = LinesCodec::new_with_max_length(longest);
        let (buffer, has_ended) = (BytesMut::new(), false);
        let mut lines = Self { pieces, codec, longest, buffer, has_ended, number: 0, blank: 0 };
        lines.read().await?;
        Ok(lines)
    }

    /// The next line that is not blank; none at the end. Safe to drop while it waits.
    ///
    /// # Errors
    /// As [`Pieces::next`], and 400 if there are too many blank lines in a row. Nothing more comes then.
    pub(super) async fn next(&mut self) -> Result<Option<Line>, Problem> {
        loop {
            let decoded = match self.has_ended {
                false => self.codec.decode(&mut self.buffer),
                true => self.codec.decode_eof(&mut self.buffer),
            };
            let text = match decoded {
                Ok(None) if self.has_ended => return Ok(None),
                Ok(None) => {
                    self.read().await?;
                    continue;
                }
                Ok(Some(line)) if line.trim_ascii().is_empty() => {
                    self.number += 1;
                    self.blank += 1;
                    if self.blank > MAX_BLANK_LINES {
                        let detail = format!("At most {MAX_BLANK_LINES} blank lines in a row are allowed.");
                        return Err(Problem::bad_request(detail));
                    }
                    continue;
                }
                Ok(Some(line)) => Ok(line),
                Err(LinesCodecError::MaxLineLengthExceeded) => Err(Problem::payload_too_large(format!(
                    "The line is longer than is accepted here: {} bytes are allowed.",
                    self.longest
                ))),
                Err(LinesCodecError::Io(_)) => Err(Problem::bad_request("The line is not UTF-8.")),
            };
            self.number += 1;
            self.blank = 0;
            self.pieces.progress();
            return Ok(Some(Line { number: self.number, text }));
        }
    }

    /// The number of the line behind the last one that came whole.
    pub(super) fn next_number(&self) -> u64 {
        self.number + 1
    }

    /// Reads all that still comes, and throws it away.
    pub(super) async fn hear_out(&mut self) {
        while let Ok(Some(_unwanted)) = self.pieces.next().await {}
    }

    async fn read(&mut self) -> Result<(), Problem> {
        match self.pieces.next().await? {
            Some(piece) => self.buffer.extend_from_slice(&piece),
            None => self.has_ended = true,
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use axum::{
        RequestExt,
        body::{Body, Bytes},
        extract::Request,
    };
    use futures_util::stream;

    use super::*;

    async fn lines(pieces: Vec<Result<Bytes, std::io::Error>>, longest: usize) -> Lines {
        let request = Request::new(Body::from_stream(stream::iter(pieces)));
        Lines::begin(request.extract().await.unwrap(), longest).await.unwrap()
    }

    /// The lines of a body that comes byte by byte, and whole: those that are refused by their status.
    async fn all(body: &[u8], longest: usize) -> Vec<(u64, String)> {
        let mut found = Vec::new();
        for size in [1, body.len().max(1)] {
            let pieces = body.chunks(size).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
            let mut lines = lines(pieces, longest).await;
            let mut all = Vec::new();
            while let Some(Line { number, text }) = lines.next().await.unwrap() {
                all.push((number, text.unwrap_or_else(|problem| problem.status().as_str().to_owned())));
            }
            found.push(all);
        }
        assert_eq!(found[0], found[1]);
        found.remove(0)
    }

    fn expected(lines: &[(u64, &str)]) -> Vec<(u64, String)> {
        lines.iter().map(|(number, line)| (*number, (*line).to_owned())).collect()
    }

    #[tokio::test]
    async fn lines_have_numbers_and_blank_ones_are_passed_over() {
        assert_eq!(all(b"", 9).await, []);
        assert_eq!(all(b"\n \r\n\t", 9).await, []);
        assert_eq!(all(b"a\nb", 9).await, expected(&[(1, "a"), (2, "b")]));
        assert_eq!(all("a\r\n\n  \n\u{e4} \n".as_bytes(), 9).await, expected(&[(1, "a"), (4, "ä ")]));
    }

    #[tokio::test]
    async fn a_line_that_cannot_be_read_is_refused_and_the_next_one_is_not() {
        assert_eq!(
            all(b"1234\n12345\n123456789012\n1", 4).await,
            expected(&[(1, "1234"), (2, "413"), (3, "413"), (4, "1")])
        );
        assert_eq!(all(b"123456789012", 4).await, expected(&[(1, "413")]));
        assert_eq!(all(b"a\n\xff\nb\n", 4).await, expected(&[(1, "a"), (2, "400"), (3, "b")]));
    }

    #[tokio::test]
    async fn blank_lines_have_a_bound() {
        let blank = "\n".repeat(MAX_BLANK_LINES as usize);
        let allowed = all(format!("{blank}a\n{blank}b").as_bytes(), 9).await;
        assert_eq!(allowed.len(), 2);
        let mut lines = lines(vec![Ok(format!("{blank}\na").into())], 9).await;
        assert_eq!(lines.next().await.err().unwrap().status(), 400);
    }

    #[tokio::test]
    async fn half_a_line_is_none() {
        let broken = std::io::Error::other("gone");
        let mut lines = lines(vec![Ok("a\nb".into()), Err(broken)], 9).await;
        assert_eq!(lines.next().await.unwrap().unwrap().number, 1);
        assert_eq!(lines.next().await.err().unwrap().status(), 400);
        assert_eq!(lines.next_number(), 2);
    }
}
