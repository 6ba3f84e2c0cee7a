//! Many objects, a line each. They are sent some at a time, with a key of their own: what was lost is sent again and is the
//! same, as for a single object.

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use reqwest::{
    Method, Response, StatusCode,
    header::{CONTENT_TYPE, HeaderValue},
};
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use super::lines::{Chunk, Lines};
use crate::{
    client::{Client, ClientError},
    failure::{EXIT_NO, EXIT_NO_INPUT, EXIT_UNAVAILABLE, Failure},
    output::{self, Format, compact, number},
    progress::Progress,
    time::RETRY,
    up::NAME,
};

/// How long it is tried without a line being settled.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long the system may say nothing: it stops an upload by itself after 20 s without progress.
const SILENCE: Duration = Duration::from_secs(60);
/// However slowly lines are taken, some at a time are by then.
const LONGEST: Duration = Duration::from_secs(60 * 60);
/// The longest line of an answer, in bytes: some ids, or a problem.
const MAX_LINE_BYTES: usize = 1024 * 1024;

/// What has become of a line.
#[derive(Clone, Debug, PartialEq)]
enum Fate {
    /// It is an object, with this id.
    Accepted(Value),
    /// It cannot be one: the problem.
    Refused(Value),
}

/// How a request ends.
#[derive(Debug)]
enum End {
    Done,
    /// The system had to stop.
    Stopped {
        problem: Value,
    },
}

/// What has become of all lines so far.
struct Upload<'a> {
    client: &'a Client,
    format: Format,
    key: String,
    is_file: bool,
    progress: Progress,
    read_bytes: u64,
    accepted: u64,
    refused: u64,
    /// The number of the last line that is settled, as are all before it.
    settled: u64,
    /// The system has answered.
    was_there: bool,
}

/// Submits every line.
///
/// # Errors
/// If it cannot be done to the end.
pub(super) async fn submit(
    client: &Client,
    mut lines: Lines,
    key: String,
    format: Format,
) -> Result<ExitCode, Failure> {
    let mut upload = Upload {
        client,
        format,
        key,
        is_file: lines.is_file,
        progress: Progress::of_bytes(lines.total_bytes),
        read_bytes: 0,
        accepted: 0,
        refused: 0,
        settled: 0,
        was_there: false,
    };
    loop {
        let chunk = lines.chunk().await.map_err(|error| {
            let message = format!("line {}: {error}; those before it are submitted", upload.settled + 1);
            Failure::told(EXIT_NO_INPUT, message)
        })?;
        let Some(chunk) = chunk else { break };
        upload.read_bytes = lines.read_bytes;
        upload.settle(&chunk).await?;
    }
    let Upload { progress, accepted, refused, settled, .. } = upload;
    drop(progress);
    output::report(&if format.json {
        compact(&json!({"done": true, "accepted": accepted, "refused": refused, "lines": settled})) + "\n"
    } else {
        let [accepted, refused, lines] = [accepted, refused, settled].map(|count| number(&count.into()));
        format!("{accepted} accepted, {refused} refused, of {lines} lines\n")
    })?;
    Ok(if refused == 0 { ExitCode::SUCCESS } else { ExitCode::from(EXIT_NO) })
}

impl Upload<'_> {
    /// Sends lines until it is known of each what has become of it.
    async fn settle(&mut self, chunk: &Chunk) -> Result<(), Failure> {
        let mut fates = vec![None; chunk.lines.len()];
        let mut end = Instant::now() + PATIENCE;
        loop {
            let before = fates.iter().flatten().count();
            let (why, pause) = match self.request(chunk, &mut fates).await {
                Ok(End::Done) => break,
                Ok(End::Stopped { problem }) if is_final(&problem) => {
                    self.tell(chunk, &fates)?;
                    return Err(self.ended(EXIT_NO, detail(&problem)));
                }
                Ok(End::Stopped { problem }) => (detail(&problem).to_owned(), RETRY),
                // What never was there is not waited for: the address may be wrong.
                Err(error @ ClientError::Unreachable { .. }) if !self.was_there => return Err(error.into()),
                Err(error) if error.may_pass() => (error.to_string(), error.pause().unwrap_or(RETRY)),
                Err(error) if self.settled == 0 && before == 0 => return Err(error.into()),
                Err(error) => {
                    self.tell(chunk, &fates)?;
                    return Err(self.ended(EXIT_NO, &error.to_string()));
                }
            };
            self.was_there = true;
            if fates.iter().flatten().count() > before {
                end = Instant::now() + PATIENCE;
            }
            if Instant::now() + pause > end {
                self.tell(chunk, &fates)?;
                return Err(self.ended(EXIT_UNAVAILABLE, &why));
            }
            self.show(&fates, &format!("; {why}; trying again"));
            sleep(pause).await;
        }
        self.was_there = true;
        self.tell(chunk, &fates)?;
        self.settled = chunk.next() - 1;
        self.show(&[], "");
        Ok(())
    }

    /// Sends lines that are not settled, and hears what becomes of them.
    async fn request(&self, chunk: &Chunk, fates: &mut [Option<Fate>]) -> Result<End, ClientError> {
        let key = HeaderValue::from_str(&format!("{}.{}", self.key, chunk.first))
            .map_err(|_| ClientError::Refused("--key: 1 to 255 visible ASCII characters are allowed".to_owned()))?;
        let request = self.client.request(Method::POST, "api/objects", &[])?.header("idempotency-key", key);
        let request = request.header(CONTENT_TYPE, "application/x-ndjson").timeout(LONGEST);
        let request = request.body(chunk.body(|at| fates[at].is_some()));
        let mut answer = timeout(SILENCE, self.client.send(request)).await.unwrap_or_else(|_| Err(silent()))?;
        let mut buffer = Vec::new();
        while let Some(line) = self.next_line(&mut answer, &mut buffer).await? {
            let line: Value = serde_json::from_slice(&line).map_err(|_| self.client.not_ebs())?;
            match line["done"].as_bool() {
                Some(true) => return Ok(End::Done),
                Some(false) => return Ok(End::Stopped { problem: line["error"].clone() }),
                None => hear(&line, fates).ok_or_else(|| self.client.not_ebs())?,
            }
            self.show(fates, "");
        }
        Err(ClientError::Unavailable("the answer ended too early".to_owned()))
    }

    /// The next line of the answer; none at its end.
    async fn next_line(&self, answer: &mut Response, buffer: &mut Vec<u8>) -> Result<Option<Vec<u8>>, ClientError> {
        loop {
            if let Some(end) = buffer.iter().position(|byte| *byte == b'\n') {
                return Ok(Some(buffer.drain(..=end).collect()));
            }
            if buffer.len() > MAX_LINE_BYTES {
                return Err(self.client.not_ebs());
            }
            match timeout(SILENCE, answer.chunk()).await {
                Ok(Ok(Some(piece))) => buffer.extend_from_slice(&piece),
                Ok(Ok(None)) => return Ok(None),
                Ok(Err(error)) => return Err(self.client.lost(&error)),
                Err(_) => return Err(silent()),
            }
        }
    }

    fn show(&self, fates: &[Option<Fate>], more: &str) {
        let accepted = fates.iter().flatten().filter(|fate| matches!(fate, Fate::Accepted(_))).count() as u64;
        let accepted = number(&(self.accepted + accepted).into());
        self.progress.show(self.read_bytes, &format!("{accepted} accepted{more}"));
    }

    /// Prints what has become of lines, as the system says it, and counts it.
    fn tell(&mut self, chunk: &Chunk, fates: &[Option<Fate>]) -> Result<(), Failure> {
        let mut text = String::new();
        let mut run: Vec<Value> = Vec::new();
        for (line, fate) in (chunk.first..).zip(fates.iter().chain([&None])) {
            if let Some(Fate::Accepted(id)) = fate {
                run.push(id.clone());
                continue;
            }
            let ids = std::mem::take(&mut run);
            self.accepted += ids.len() as u64;
            if !ids.is_empty() && self.format.json {
                let lines = [line - ids.len() as u64, line - 1];
                text += &(compact(&json!({"accepted": self.accepted, "lines": lines, "ids": ids})) + "\n");
            }
            if let Some(Fate::Refused(error)) = fate {
                self.refused += 1;
                if self.format.json {
                    text += &(compact(&json!({"line": line, "error": error})) + "\n");
                } else {
                    self.progress.tell(&format!("line {line}: {}", detail(error)));
                }
            }
        }
        if !text.is_empty() {
            output::report(&text)?;
        }
        Ok(())
    }

    /// It is not known what has become of the lines that were sent last.
    fn ended(&self, code: u8, why: &str) -> Failure {
        let Self { accepted, refused, settled, key, is_file, .. } = self;
        let mut message = format!(
            "{why}\n{accepted} accepted and {refused} refused, all of the first {settled} lines among them; of the others some \
             may have been accepted, too."
        );
        if *is_file {
            message += &format!(" Done again as `{NAME} submit --key {key} …`, all of them are the same objects");
        }
        Failure::told(code, message)
    }
}

/// Takes down what a line of the answer says; none if it makes no sense.
fn hear(said: &Value, fates: &mut [Option<Fate>]) -> Option<()> {
    let index = |number: &Value| usize::try_from(number.as_u64()?.checked_sub(1)?).ok();
    if said["error"].is_object() {
        *fates.get_mut(index(&said["line"])?)? = Some(Fate::Refused(said["error"].clone()));
        return Some(());
    }
    let (first, last) = (index(&said["lines"][0])?, index(&said["lines"][1])?);
    for (at, fate) in fates.get_mut(first..=last)?.iter_mut().enumerate() {
        *fate = Some(Fate::Accepted(said["ids"][at].clone()));
    }
    Some(())
}

/// Whether a problem is the same however often one tries; 408 is that bytes did not come in time.
fn is_final(problem: &Value) -> bool {
    let status = problem["status"].as_u64();
    status.is_some_and(|status| status < 500 && status != u64::from(StatusCode::REQUEST_TIMEOUT.as_u16()))
}

/// What is wrong: the detail of a problem.
fn detail(problem: &Value) -> &str {
    problem["detail"].as_str().or(problem["title"].as_str()).unwrap_or("it does not say why")
}

fn silent() -> ClientError {
    ClientError::Unavailable(format!("nothing was heard for {} s", SILENCE.as_secs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_of_lines_is_taken_down_and_nonsense_is_not() {
        let mut fates = vec![None; 4];
        assert_eq!(hear(&json!({"accepted": 2, "lines": [1, 2], "ids": ["a", "b"]}), &mut fates), Some(()));
        assert_eq!(hear(&json!({"line": 4, "error": {"detail": "no"}}), &mut fates), Some(()));
        let accepted = |id: &str| Some(Fate::Accepted(id.into()));
        assert_eq!(fates, [accepted("a"), accepted("b"), None, Some(Fate::Refused(json!({"detail": "no"})))]);
        for said in [
            json!({"accepted": 1, "lines": [0, 1], "ids": []}),
            json!({"accepted": 1, "lines": [4, 5], "ids": []}),
            json!({"accepted": 1, "lines": [3, 1], "ids": []}),
            json!({"line": 5, "error": {}}),
            json!([]),
        ] {
            assert_eq!(hear(&said, &mut fates), None, "{said}");
        }
    }
}
