//! What is said of an upload, as far as its client has not read it: it has a bound.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use bus::events::ObjectId;
use bytes::Bytes;
use chassis::http::Problem;
use futures_util::{Stream, stream};
use serde::Serialize;
use tokio::sync::mpsc;
use utoipa::ToSchema;

/// Of an answer that is not read, so many bytes have ids. An id takes 39, so that it is the answer to 200 000 objects.
const MAX_BYTES_WITH_IDS: usize = 8 << 20;
/// Of an answer that is not read, there are no more than so many bytes, and what one window adds.
const MAX_BYTES: usize = 9 << 20;

/// A line of the answer.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum BulkLine {
    /// Objects are durable.
    Accepted {
        /// How many are so far.
        #[schema(minimum = 1)]
        accepted: u64,
        /// The first and the last of their lines, counted from 1: none between them was refused.
        lines: [u64; 2],
        /// Their ids, one for each line; left out where the client has not read what came before.
        #[serde(skip_serializing_if = "Option::is_none")]
        #[schema(value_type = Option<Vec<Uuid>>)]
        ids: Option<Vec<ObjectId>>,
    },
    /// A line is refused; the next one is read.
    Refused {
        /// Which one, counted from 1.
        #[schema(minimum = 1)]
        line: u64,
        /// Why, as a problem.
        #[schema(value_type = Object)]
        error: Problem,
    },
    /// The last line, if everything was read.
    Done {
        /// Always true.
        done: bool,
        /// So many objects are durable.
        accepted: u64,
        /// So many lines were refused.
        refused: u64,
        /// The number of the last line: those that were blank are counted.
        lines: u64,
    },
    /// The last line, if the upload was stopped.
    Stopped {
        /// Always false.
        done: bool,
        /// Why, as a problem.
        #[schema(value_type = Object)]
        error: Problem,
        /// The first line of which nothing is known to be durable.
        #[schema(minimum = 1)]
        next_line: u64,
        /// So many objects are durable.
        accepted: u64,
        /// So many lines were refused.
        refused: u64,
    },
}

/// Why an upload ended early, and where.
#[derive(Debug)]
pub(super) struct Stopped {
    pub(super) problem: Problem,
    /// The first line that did not become an object and was not refused.
    pub(super) next_line: u64,
}

/// Objects of lines that follow one another.
#[derive(Debug, Default)]
pub(super) struct Run {
    pub(super) first: u64,
    pub(super) ids: Vec<ObjectId>,
}

impl Run {
    /// The line whose object would follow.
    pub(super) fn next_line(&self) -> u64 {
        self.first + self.ids.len() as u64
    }
}

/// Says what becomes of an upload. Never waits.
pub(super) struct Answers {
    /// Unbounded, but for [`Answers::is_full`].
    lines: mpsc::UnboundedSender<Bytes>,
    /// Bytes that were said and not read.
    unread: Arc<AtomicUsize>,
    /// Lines that are accepted, and not said to be: none between them was refused.
    unsaid: Option<[u64; 2]>,
    accepted: u64,
    refused: u64,
}

impl Answers {
    /// And what is to be sent: it ends when the former is dropped.
    pub(super) fn new() -> (Self, impl Stream<Item = Bytes> + Send + 'static) {
        let (lines, said) = mpsc::unbounded_channel::<Bytes>();
        let unread: Arc<AtomicUsize> = Arc::default();
        let answers = Self { lines, unread: Arc::clone(&unread), unsaid: None, accepted: 0, refused: 0 };
        let reading = stream::unfold((said, unread), async |(mut said, unread)| {
            let line = said.recv().await?;
            unread.fetch_sub(line.len(), Ordering::Relaxed);
            Some((line, (said, unread)))
        });
        (answers, reading)
    }

    /// Whether so much is unread that nothing more may come of the upload.
    pub(super) fn is_full(&self) -> bool {
        self.unread.load(Ordering::Relaxed) > MAX_BYTES
    }

    /// So many objects are durable.
    pub(super) fn count(&self) -> (u64, u64) {
        (self.accepted, self.refused)
    }

    pub(super) fn accepted(&mut self, run: Run) {
        if run.ids.is_empty() {
            return;
        }
        let lines = [run.first, run.next_line() - 1];
        let ids = run.ids;
        if self.unread.load(Ordering::Relaxed) <= MAX_BYTES_WITH_IDS {
            self.say_unsaid();
            self.accepted += ids.len() as u64;
            self.say(&BulkLine::Accepted { accepted: self.accepted, lines, ids: Some(ids) });
            return;
        }
        match &mut self.unsaid {
            // Lines in between were blank: of one that is refused or not taken is told, and of all before it.
            Some([_, last]) => *last = lines[1],
            None => self.unsaid = Some(lines),
        }
        self.accepted += ids.len() as u64;
    }

    /// A line was not taken: what is accepted behind it is told of apart.
    pub(super) fn skipped(&mut self) {
        self.say_unsaid();
    }

    pub(super) fn refused(&mut self, line: u64, error: Problem) {
        self.say_unsaid();
        self.refused += 1;
        self.say(&BulkLine::Refused { line, error });
    }

    /// The last line; `lines` is the number of the last one that was read.
    pub(super) fn ended(&mut self, ended: Result<(), Stopped>, lines: u64) {
        self.say_unsaid();
        let (accepted, refused) = self.count();
        self.say(&match ended {
            Ok(()) => BulkLine::Done { done: true, accepted, refused, lines },
            Err(Stopped { problem: error, next_line }) => {
                BulkLine::Stopped { done: false, error, next_line, accepted, refused }
            }
        });
    }

    fn say_unsaid(&mut self) {
        if let Some(lines) = self.unsaid.take() {
            self.say(&BulkLine::Accepted { accepted: self.accepted, lines, ids: None });
        }
    }

    fn say(&self, line: &BulkLine) {
        let mut line = serde_json::to_vec(line).expect("plain data is always JSON");
        line.push(b'\n');
        self.unread.fetch_add(line.len(), Ordering::Relaxed);
        // Whoever does not listen any more is not told.
        let _ = self.lines.send(line.into());
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::pin::pin;

    use futures_util::{FutureExt, StreamExt};
    use serde_json::{Value, json};

    use super::*;

    const WINDOW: u64 = 500;

    fn run(first: u64) -> Run {
        Run { first, ids: (0..WINDOW).map(|_| ObjectId::new()).collect() }
    }

    /// What can be read now.
    fn read(said: impl Stream<Item = Bytes>) -> Vec<Value> {
        let mut said = pin!(said);
        let mut lines = Vec::new();
        while let Some(Some(line)) = said.next().now_or_never() {
            lines.push(serde_json::from_slice(&line).unwrap());
        }
        lines
    }

    #[test]
    fn a_client_that_does_not_read_is_told_of_two_hundred_thousand_objects_and_then_only_how_many_there_are() {
        let (mut answers, said) = Answers::new();
        for window in 0..2000 {
            answers.accepted(run(1 + window * WINDOW));
            assert!(!answers.is_full());
        }
        assert!(answers.unread.load(Ordering::Relaxed) < MAX_BYTES);
        answers.ended(Ok(()), 2000 * WINDOW);
        let lines = read(said);
        let with_ids: u64 = lines.iter().filter_map(|line| Some(line["ids"].as_array()?.len() as u64)).sum();
        assert!((200_000..250_000).contains(&with_ids), "{with_ids}");
        let without = &lines[lines.len() - 2];
        assert_eq!(*without, json!({"accepted": 1_000_000, "lines": [with_ids + 1, 1_000_000]}));
        let done = json!({"done": true, "accepted": 1_000_000, "refused": 0, "lines": 1_000_000});
        assert_eq!(*lines.last().unwrap(), done);
    }

    #[test]
    fn a_client_that_reads_again_gets_ids_again() {
        let (mut answers, said) = Answers::new();
        let mut said = pin!(said);
        let mut window = 0;
        while answers.unsaid.is_none() {
            answers.accepted(run(1 + window * WINDOW));
            window += 1;
        }
        read(said.as_mut());
        answers.accepted(run(1 + window * WINDOW));
        let lines = read(said);
        assert_eq!(lines.len(), 2);
        assert_eq!(
            lines[0],
            json!({"accepted": window * WINDOW, "lines": [1 + (window - 1) * WINDOW, window * WINDOW]})
        );
        assert_eq!(lines[1]["ids"].as_array().unwrap().len() as u64, WINDOW);
    }

    #[test]
    fn blank_lines_make_nothing_longer_that_nobody_reads_and_a_line_that_was_not_taken_is_told_apart() {
        let (mut answers, said) = Answers::new();
        let mut line = 1;
        while answers.unsaid.is_none() {
            answers.accepted(run(line));
            line += WINDOW + 1;
        }
        let (first, unread) = (line - WINDOW - 1, answers.unread.load(Ordering::Relaxed));
        for _ in 0..1000 {
            answers.accepted(run(line));
            line += WINDOW + 1;
        }
        assert_eq!(answers.unread.load(Ordering::Relaxed), unread);
        answers.skipped();
        answers.accepted(run(line + 1));
        answers.ended(Ok(()), line + WINDOW);
        let lines = read(said);
        let [.., before, behind, _done] = &lines[..] else { panic!("{lines:?}") };
        assert_eq!(before["lines"], json!([first, line - 2]));
        assert_eq!(behind["lines"], json!([line + 1, line + WINDOW]));
    }

    #[test]
    fn refused_lines_that_nobody_reads_have_a_bound() {
        let (mut answers, _said) = Answers::new();
        let mut line = 0;
        while !answers.is_full() {
            line += 1;
            answers.refused(line, Problem::bad_request("x".repeat(1000)));
        }
        assert!(line > 5000, "{line}");
    }
}
