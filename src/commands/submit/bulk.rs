//! Many objects, a line each: sent while they are read, and answered while they are sent.

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use reqwest::{Method, Response, header::CONTENT_TYPE};
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use super::{
    code_of, detail,
    lines::{Lines, Reading},
};
use crate::{
    client::{Client, ClientError},
    failure::{EXIT_UNAVAILABLE, Failure},
    output::{self, Format, compact, number},
    patience::RETRY,
    progress::Progress,
};

/// How long the system may say nothing while there is something to say.
const SILENCE: Duration = Duration::from_secs(120);
/// How long it is tried again without a line being accepted.
const PATIENCE: Duration = Duration::from_secs(120);
/// However many objects there are: a week.
const LONGEST: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// The longest line of an answer, in bytes: a window of ids is far shorter.
const MAX_LINE_BYTES: usize = 16 * 1024 * 1024;

/// What has become of the lines so far, in all requests together.
struct Upload {
    format: Format,
    progress: Progress,
    accepted: u64,
    refused: u64,
    /// Of these it is known what became of them.
    settled: u64,
    /// Where the request begins that runs.
    skipped: u64,
    accepted_before: u64,
}

/// How a request for many objects ends.
enum End {
    /// All lines are settled.
    Done,
    /// The system had to stop; the rest can be submitted later.
    Stopped { why: String, after: Option<Duration> },
}

/// Submits every line. Where the system had to stop, it is gone on from there, as long as lines are accepted.
pub(super) async fn submit(client: &Client, lines: Lines, format: Format) -> Result<ExitCode, Failure> {
    let progress = Progress::of_bytes(lines.bytes());
    let mut upload = Upload { format, progress, accepted: 0, refused: 0, settled: 0, skipped: 0, accepted_before: 0 };
    let mut end = Instant::now() + PATIENCE;
    loop {
        upload.skipped = upload.settled;
        upload.accepted_before = upload.accepted;
        let (why, after) = match upload.request(client, &lines).await {
            Ok(End::Done) => return upload.finish(),
            Ok(End::Stopped { why, after }) => (why, after),
            // Nothing was read yet.
            Err(Failure::Client(error @ ClientError::Later { .. })) => (error.to_string(), error.pause()),
            Err(failure) => return Err(upload.broken(failure)),
        };
        if upload.settled > upload.skipped {
            end = Instant::now() + PATIENCE;
        }
        let pause = after.unwrap_or(RETRY);
        if !lines.can_be_read_again() || Instant::now() + pause > end {
            return Err(upload.stopped(&why));
        }
        upload.progress.show(0, &format!("{why}; going on at line {} in a moment", upload.settled + 1));
        sleep(pause).await;
    }
}

impl Upload {
    async fn request(&mut self, client: &Client, lines: &Lines) -> Result<End, Failure> {
        let (body, reading) = lines.body(self.skipped)?;
        let request = client.request(Method::POST, "api/objects", &[])?;
        let request = request.header(CONTENT_TYPE, "application/x-ndjson").body(body).timeout(LONGEST);
        let silent = || ClientError::Unavailable(format!("nothing was heard for {} s", SILENCE.as_secs()));
        let mut answer = patiently(client.send(request), &reading).await.unwrap_or_else(|| Err(silent()))?;
        let mut buffer = Vec::new();
        while let Some(line) = next_line(client, &mut answer, &mut buffer, &reading).await.ok_or_else(silent)?? {
            if let Some(end) = self.heard(client, &line, &reading)? {
                return Ok(end);
            }
        }
        Err(ClientError::Unavailable("the answer ended too early".to_owned()).into())
    }

    /// One line of the answer.
    fn heard(&mut self, client: &Client, line: &[u8], reading: &Reading) -> Result<Option<End>, Failure> {
        let mut line: Value = serde_json::from_slice(line).map_err(|_| client.not_ebs())?;
        if let Some(done) = line["done"].as_bool() {
            let next = line["next_line"].as_u64();
            return Ok(Some(if done {
                let lines = line["lines"].as_u64().unwrap_or_default();
                self.settled = self.skipped + lines;
                End::Done
            } else {
                self.settled = next.map_or(self.settled, |next| self.skipped + next.saturating_sub(1));
                let error = &line["error"];
                let after = error["retry_after"].as_u64().map(Duration::from_secs);
                End::Stopped { why: detail(error).to_owned(), after }
            }));
        }
        self.number_from_the_beginning(&mut line);
        if let Some(accepted) = line["accepted"].as_u64() {
            self.accepted = accepted;
            self.settled = line["lines"][1].as_u64().unwrap_or(self.settled).max(self.settled);
        }
        let error = &line["error"];
        if !error.is_null() {
            self.refused += 1;
            self.settled = line["line"].as_u64().unwrap_or(self.settled).max(self.settled);
            if !self.format.json {
                self.progress.tell(&format!("line {}: {}", number(&line["line"]), detail(error)));
            }
        }
        if self.format.json {
            output::print(&(compact(&line) + "\n"))?;
        }
        let accepted = format!("{} accepted", number(&self.accepted.into()));
        self.progress.show(reading.bytes(), &accepted);
        Ok(None)
    }

    /// The system counts from the first line of the request.
    fn number_from_the_beginning(&self, line: &mut Value) {
        let (skipped, before) = (self.skipped, self.accepted_before);
        let raise = |value: &mut Value, by: u64| {
            if let Some(number) = value.as_u64() {
                *value = (number + by).into();
            }
        };
        if let Some(fields) = line.as_object_mut() {
            if let Some(accepted) = fields.get_mut("accepted") {
                raise(accepted, before);
            }
            if let Some(number) = fields.get_mut("line") {
                raise(number, skipped);
            }
            for number in fields.get_mut("lines").and_then(Value::as_array_mut).into_iter().flatten() {
                raise(number, skipped);
            }
        }
    }

    fn finish(self) -> Result<ExitCode, Failure> {
        let Self { format, progress, accepted, refused, settled, .. } = self;
        drop(progress);
        output::print(&if format.json {
            let summary = json!({"done": true, "accepted": accepted, "refused": refused, "lines": settled});
            compact(&summary) + "\n"
        } else {
            let [accepted, refused, lines] = [accepted, refused, settled].map(|count| number(&count.into()));
            format!("{accepted} accepted, {refused} refused, of {lines} lines\n")
        })?;
        Ok(code_of(refused))
    }

    /// The system does not take more, and says where it stopped.
    fn stopped(self, why: &str) -> Failure {
        let next = self.settled + 1;
        let accepted = self.accepted;
        Failure::told(
            EXIT_UNAVAILABLE,
            format!(
                "{why}\n{accepted} accepted; it stopped before line {next}. The rest: tail -n +{next} FILE | ebs submit --format ndjson -"
            ),
        )
    }

    /// It is not known what has become of the lines that were on their way.
    fn broken(self, failure: Failure) -> Failure {
        let Failure::Client(error) = failure else { return failure };
        if self.settled == 0 && !matches!(error, ClientError::Lost { .. } | ClientError::Unavailable(_)) {
            return error.into();
        }
        let (accepted, settled, next) = (self.accepted, self.settled, self.settled + 1);
        let message = format!(
            "{error}\n{accepted} accepted, lines 1 to {settled} are settled; of those from line {next} on, some may have been \
             accepted, too"
        );
        match error.may_pass() {
            true => Failure::told(EXIT_UNAVAILABLE, message),
            false => Failure::told(crate::failure::EXIT_NO, message),
        }
    }
}

/// The next line of the answer; none at its end.
async fn next_line(
    client: &Client,
    answer: &mut Response,
    buffer: &mut Vec<u8>,
    reading: &Reading,
) -> Option<Result<Option<Vec<u8>>, ClientError>> {
    loop {
        if let Some(end) = buffer.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = buffer.drain(..=end).collect();
            if line.trim_ascii().is_empty() {
                continue;
            }
            return Some(Ok(Some(line)));
        }
        if buffer.len() > MAX_LINE_BYTES {
            return Some(Err(client.not_ebs()));
        }
        match patiently(answer.chunk(), reading).await? {
            Ok(Some(chunk)) => buffer.extend_from_slice(&chunk),
            Ok(None) => return Some(Ok(None)),
            Err(error) => return Some(Err(client.lost(&error))),
        }
    }
}

/// What comes of it; nothing if it takes too long, and not because it is waited for whoever writes the lines.
async fn patiently<T>(future: impl Future<Output = T>, reading: &Reading) -> Option<T> {
    let mut future = std::pin::pin!(future);
    loop {
        match timeout(SILENCE, &mut future).await {
            Ok(output) => return Some(output),
            Err(_) if reading.waits() => {}
            Err(_) => return None,
        }
    }
}
