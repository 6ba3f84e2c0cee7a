//! Reads lines and publishes them in windows, until there are no more or there is no progress.

use std::{sync::Arc, time::Duration};

use bus::{
    Message, PublishError,
    events::{Object, ObjectCreated, ObjectId, OperationName},
};
use chassis::http::Problem;
use tokio::time::{Instant, timeout};
use tracing::info;

use super::{
    answers::{Answers, Run, Stopped},
    lines::{Line, Lines},
};
use crate::{
    backlog::Admitted,
    door::Door,
    identity::{Identity, Key},
    publish::{not_taken, too_large},
    room::Taken,
    submission::Submission,
};

/// Objects that are published together: many share a commit of the bus, and few wait for the others.
const WINDOW_OBJECTS: usize = 500;
/// Bytes of messages that are published together, at most, but for the last one.
pub(super) const WINDOW_BYTES: usize = 1 << 20;
/// Objects wait so long for others, at most but for the last one.
const WINDOW_TIME: Duration = Duration::from_millis(200);
/// A pause of the client so long ends a window: whoever sends objects one by one hears of each soon.
const WINDOW_PAUSE: Duration = Duration::from_millis(20);
/// How long there may be no room behind the door, or no confirmation by the bus, before an upload is stopped.
pub(super) const NO_PROGRESS: Duration = Duration::from_secs(20);
/// How long whoever was stopped may go on sending before they read why.
const HEAR_OUT: Duration = Duration::from_secs(5);
/// When to come back after a service was stopped: another one may take its place.
const RETRY_AFTER: Duration = Duration::from_secs(2);

/// An upload.
pub(super) struct Upload {
    pub(super) door: Arc<Door>,
    pub(super) key: Option<Key>,
    pub(super) lines: Lines,
    pub(super) answers: Answers,
    /// Free again when all has ended.
    pub(super) room: Taken,
}

/// Lines whose fate is told together.
struct Window<'a> {
    door: &'a Arc<Door>,
    began: Instant,
    lines: Vec<(u64, Fate)>,
    /// Of those that become objects.
    messages: Vec<Message>,
    bytes: usize,
    admitted: Vec<Admitted<'a>>,
}

/// What a line becomes.
enum Fate {
    Object(ObjectId),
    Refused(Problem),
}

impl Upload {
    pub(super) async fn run(self) {
        let Self { door, key, mut lines, mut answers, room: _room } = self;
        let ended = all(&door, key.as_ref(), &mut lines, &mut answers).await;
        let was_stopped = ended.is_err();
        let (accepted, refused) = answers.count();
        match &ended {
            Ok(()) => info!(objects.accepted = accepted, lines.refused = refused, "an upload has ended"),
            Err(Stopped { problem, next_line }) => {
                info!(
                    objects.accepted = accepted,
                    lines.refused = refused,
                    "an upload was stopped at line {next_line}: {problem}"
                );
            }
        }
        answers.ended(ended, lines.next_number() - 1);
        if was_stopped {
            // Until then the answer goes on: with its end, the connection would be closed.
            let _ = timeout(HEAR_OUT, lines.hear_out()).await;
        }
    }
}

async fn all(door: &Arc<Door>, key: Option<&Key>, lines: &mut Lines, answers: &mut Answers) -> Result<(), Stopped> {
    let mut window = Window::new(door);
    loop {
        let next = async {
            let pause = if window.lines.is_empty() { Duration::MAX } else { WINDOW_PAUSE };
            timeout(pause, lines.next()).await
        };
        let line = match door.stopping.run_until_cancelled(next).await {
            Some(Ok(Ok(Some(line)))) => line,
            Some(Err(_pause)) => {
                window.publish(answers).await?;
                continue;
            }
            Some(Ok(Ok(None))) => return window.publish(answers).await,
            Some(Ok(Err(problem))) => {
                window.publish(answers).await?;
                return Err(Stopped { problem, next_line: lines.next_number() });
            }
            None => {
                window.publish(answers).await?;
                return Err(stopping(lines.next_number()));
            }
        };
        window.take(key, line, answers).await?;
        if window.is_full() {
            window.publish(answers).await?;
        }
    }
}

fn stopping(next_line: u64) -> Stopped {
    Stopped { problem: Problem::unavailable(RETRY_AFTER, "This service is stopping."), next_line }
}

impl<'a> Window<'a> {
    fn new(door: &'a Arc<Door>) -> Self {
        Self { door, began: Instant::now(), lines: Vec::new(), messages: Vec::new(), bytes: 0, admitted: Vec::new() }
    }

    fn is_full(&self) -> bool {
        let count = self.lines.len();
        count >= WINDOW_OBJECTS || self.bytes >= WINDOW_BYTES || count > 0 && self.began.elapsed() >= WINDOW_TIME
    }

    /// Takes a line in. Publishes what it has if there is no room for another object, and then waits for some.
    async fn take(&mut self, key: Option<&Key>, line: Line, answers: &mut Answers) -> Result<(), Stopped> {
        let number = line.number;
        if self.lines.is_empty() {
            self.began = Instant::now();
        }
        match self.read(key, line).await {
            Ok((object, message)) => {
                let admitted = match self.door.backlog.admit(&object) {
                    Ok(admitted) => admitted,
                    Err(_full) => {
                        self.publish(answers).await?;
                        self.wait_for_room(number, &object).await?
                    }
                };
                self.admitted.push(admitted);
                self.bytes += message.body.len();
                self.messages.push(message);
                self.lines.push((number, Fate::Object(object.id)));
            }
            Err(problem) => self.lines.push((number, Fate::Refused(problem))),
        }
        Ok(())
    }

    async fn read(&self, key: Option<&Key>, line: Line) -> Result<(Object, Message), Problem> {
        let text = line.text?;
        let identity = key.map_or_else(Identity::new, |key| key.of_line(line.number, &text));
        let submission = Submission::from_json(text.as_bytes())?;
        drop(text);
        let event = ObjectCreated { object: self.door.accept(identity, submission).await? };
        let message = self.door.bus.encode(&event, bus::now(), None).map_err(|error| too_large(&error))?;
        Ok((event.object, message))
    }

    async fn wait_for_room(&self, line: u64, object: &Object) -> Result<Admitted<'a>, Stopped> {
        let admitted = self.door.backlog.admit_within(NO_PROGRESS, object);
        match self.door.stopping.run_until_cancelled(admitted).await {
            Some(admitted) => admitted.map_err(|problem| Stopped { problem, next_line: line }),
            None => Err(stopping(line)),
        }
    }

    /// Publishes what was taken in, tells what became of each line, and is empty again.
    async fn publish(&mut self, answers: &mut Answers) -> Result<(), Stopped> {
        let Self { lines, messages, admitted, .. } = std::mem::replace(self, Self::new(self.door));
        let next_line = lines.last().map_or(1, |(line, _)| line + 1);
        let results = publish(self.door, messages).await;
        drop(admitted);
        tell(lines, results, answers)?;
        if answers.is_full() {
            let problem = Problem::bad_request("Too many lines are refused, and why is not read.");
            return Err(Stopped { problem, next_line });
        }
        Ok(())
    }
}

/// Publishes messages, each with a result of its own.
async fn publish(door: &Door, messages: Vec<Message>) -> Vec<Result<(), PublishError>> {
    if messages.is_empty() {
        return Vec::new();
    }
    let count = messages.len();
    let ensured = timeout(NO_PROGRESS, async {
        for name in door.catalogue.names() {
            // All of them are names.
            if let Ok(operation) = name.parse::<OperationName>() {
                door.bus.ensure::<ObjectCreated>(&operation).await;
            }
        }
    });
    match ensured.await {
        Ok(()) => door.bus.publish_messages(messages, NO_PROGRESS).await,
        Err(_elapsed) => vec![Err(PublishError::Unknown(NO_PROGRESS)); count],
    }
}

/// Tells of each line in its turn. Those that are accepted behind one that is not are told of, too.
fn tell(lines: Vec<(u64, Fate)>, results: Vec<Result<(), PublishError>>, answers: &mut Answers) -> Result<(), Stopped> {
    let mut results = results.into_iter();
    let (mut run, mut first_failed) = (Run::default(), None);
    for (line, fate) in lines {
        match fate {
            Fate::Object(id) => match results.next() {
                Some(Ok(())) => {
                    if run.next_line() != line {
                        answers.accepted(std::mem::replace(&mut run, Run { first: line, ids: Vec::new() }));
                    }
                    run.ids.push(id);
                }
                failed => {
                    answers.accepted(std::mem::take(&mut run));
                    answers.skipped();
                    let error = failed.and_then(Result::err).unwrap_or(PublishError::Closed);
                    first_failed.get_or_insert((line, error));
                }
            },
            Fate::Refused(problem) => {
                answers.accepted(std::mem::take(&mut run));
                answers.refused(line, problem);
            }
        }
    }
    answers.accepted(run);
    match first_failed {
        None => Ok(()),
        // It may have been taken, or may yet be: with a key, it is the same object when it is sent again.
        Some((next_line, error)) => Err(Stopped { problem: not_taken(&error), next_line }),
    }
}
