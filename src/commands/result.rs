//! `ebs result`: waits until an object has finished, and prints its result.

use std::{
    fmt::Write as _,
    process::ExitCode,
    time::{Duration, Instant},
};

use clap::Args;
use reqwest::Method;
use serde_json::Value;
use tokio::time::sleep;
use uuid::Uuid;

use crate::{
    client::{self, Address, Client, ClientError},
    failure::{EXIT_NO, EXIT_NOT_YET, Failure},
    output::{self, Format, USUAL_WIDTH, clock, fitted, milliseconds, one_line},
    progress::Progress,
    time::{RETRY, Time},
    up::NAME,
};

/// The longest that one request waits; the system allows a minute.
const WAIT: Duration = Duration::from_secs(60);
/// The same where somebody watches how far it is.
const WATCHED_WAIT: Duration = Duration::from_secs(2);
/// The first one does not wait long for an object that there may not be, unless it is said how long.
const FIRST_WAIT: Duration = Duration::from_secs(5);
/// How long the system may be away in the meantime.
const OUTAGE: Duration = Duration::from_secs(60);
/// How long it usually takes at most until the record knows what was accepted.
const LAG: Duration = Duration::from_millis(300);
/// How long it may take when very much is on its way to the record.
const MAX_LAG: Duration = Duration::from_secs(600);
/// So many objects are named where one has to be chosen.
const MAX_NAMED: usize = 10;
/// So many errors are told; the object has them all.
const MAX_ERRORS: usize = 20;

const HELP: &str = "\
ID may be left out when one object is open, or when none is: then the newest is
meant. Which one that is, is said on standard error. Without --timeout it is
waited until the object has finished, which its deadline bounds. An ID that the
record does not know may be on its way there: for that it is waited 5 s, or as
long as --timeout says.

The result is printed as JSON. --json prints the whole object instead: with its
tasks, partial results, times and errors.

Exit codes: 0 it succeeded, 1 it failed, its deadline is over, or there is no
such object, 64 wrong usage, 69 the system cannot be reached, 75 it has not
finished, or is not in the record, in time.
A token, if the system wants one, is taken from API_TOKEN.";

/// Waits until an object has finished, and prints its result
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub struct Arguments {
    /// Which object: as `ebs submit` printed it
    #[arg(value_parser = client::id)]
    id: Option<Uuid>,
    /// How long it is waited at most: seconds, or a time like 5m; 0 does not wait
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<Time>,
    #[command(flatten)]
    address: Address,
    #[command(flatten)]
    format: Format,
}

/// Waits and prints.
///
/// # Errors
/// If it does not succeed, or not in time.
pub async fn run(arguments: Arguments) -> Result<ExitCode, Failure> {
    let client = Client::of(&arguments.address)?;
    let (id, is_known) = match arguments.id {
        Some(id) => (id.to_string(), false),
        None => (the_one(&client).await?, true),
    };
    let object = finished(&client, &id, arguments.timeout, is_known).await?;
    print(&object, arguments.format)
}

/// The object as it is when it has finished. One that is known to be accepted may not be in the record yet.
///
/// # Errors
/// If there is none, if the system is away for long, or if it has not finished in time.
pub async fn finished(client: &Client, id: &str, timeout: Option<Time>, is_known: bool) -> Result<Value, Failure> {
    let progress = Progress::of_waiting(&format!("waiting for {id}"));
    let longest = if progress.is_watched() { WATCHED_WAIT } else { WAIT };
    let began = Instant::now();
    let end = timeout.map(|timeout| began + timeout.duration());
    let mut away_since = None;
    let mut is_there = is_known;
    // Soon it shows whether there is such an object.
    let mut wait = timeout.map_or(FIRST_WAIT, |timeout| timeout.duration().min(FIRST_WAIT));
    let mut answered = is_known;
    loop {
        let asked_at = Instant::now();
        let error = match look(client, id, wait).await {
            Ok(object) if is_finished(&object) => return Ok(object),
            Ok(object) => {
                progress.show(0, &state(&object));
                (answered, is_there) = (true, true);
                None
            }
            Err(ClientError::Missing(_)) if end.is_some() || is_known && began.elapsed() < MAX_LAG => {
                answered = true;
                None
            }
            Err(ClientError::Missing(detail)) => return Err(missing(&detail, id)),
            Err(error)
                if error.may_pass() && answered && away_since.get_or_insert_with(Instant::now).elapsed() < OUTAGE =>
            {
                Some(error)
            }
            Err(error) => return Err(error.into()),
        };
        if error.is_none() {
            away_since = None;
        }
        let left = end.map_or(longest, |end| end.saturating_duration_since(Instant::now()));
        if left.is_zero() {
            return Err(match error {
                Some(error) => error.into(),
                None if is_there => not_yet(id),
                None => not_in_the_record(id),
            });
        }
        if let Some(error) = error {
            progress.show(0, &format!("{error}; trying again"));
            sleep(error.pause().unwrap_or(RETRY).min(left)).await;
            wait = Duration::ZERO;
            continue;
        }
        if asked_at.elapsed() < wait / 2 {
            // It did not wait: it is about to stop.
            sleep(RETRY.min(left)).await;
        }
        wait = left.min(longest);
    }
}

async fn look(client: &Client, id: &str, wait: Duration) -> Result<Value, ClientError> {
    let path = format!("api/objects/{}", client::segment(id));
    // Whole seconds, none of them too few.
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    client.ask(Method::GET, &path, &[("wait", seconds.to_string())], None).await
}

fn not_yet(id: &str) -> Failure {
    let id = one_line(id);
    Failure::told(EXIT_NOT_YET, format!("{id} has not finished in time. This goes on waiting:\n  {NAME} result {id}"))
}

/// Nobody can tell what will never come from what is on its way: whoever says how long, waits as long.
fn not_in_the_record(id: &str) -> Failure {
    let id = one_line(id);
    let message = format!("the record does not know {id} so far: it is on its way there, or there is no such object");
    Failure::told(EXIT_NOT_YET, message)
}

/// Nobody has said how long, and nobody wants to wait for ever for a slip of the pen.
fn missing(detail: &str, id: &str) -> Failure {
    let id = one_line(id);
    let message = format!("{detail} Was it accepted just now? This waits for it:\n  {NAME} result {id} --timeout 5m");
    Failure::told(EXIT_NO, message)
}

fn is_finished(object: &Value) -> bool {
    matches!(object["status"].as_str(), Some("succeeded" | "failed" | "timed_out"))
}

/// How far it is, in a line.
fn state(object: &Value) -> String {
    let tasks = object["tasks"].as_array().map(Vec::as_slice).unwrap_or_default();
    let ended = tasks.iter().filter(|task| !task["finished_at"].is_null()).count();
    let (id, status) = (object["id"].as_str().unwrap_or_default(), object["status"].as_str().unwrap_or_default());
    format!("{id} {status}: {ended} of {} tasks have ended", tasks.len())
}

/// The only object that is open, or the newest if none is.
async fn the_one(client: &Client) -> Result<String, Failure> {
    let mut open = open(client).await?;
    if open.is_empty() {
        sleep(LAG).await;
        open = self::open(client).await?;
    }
    if open.len() > 1 {
        let mut message = format!("several objects are open; which one? `{NAME} result ID`, with one of");
        for object in open.iter().take(MAX_NAMED) {
            let _ = write!(message, "\n  {}", named(object));
        }
        if open.len() > MAX_NAMED {
            let _ = write!(message, "\n  and more: `{NAME} objects`");
        }
        return Err(Failure::usage(message));
    }
    let object = match open.pop() {
        Some(object) => object,
        None => list(client, None, 1)
            .await?
            .pop()
            .ok_or_else(|| Failure::told(EXIT_NO, format!("there is no object yet: `{NAME} submit` makes one")))?,
    };
    let id = object["id"].as_str().ok_or_else(|| client.not_ebs())?.to_owned();
    output::tell(&format!("{} is meant", named(&object)));
    Ok(id)
}

async fn open(client: &Client) -> Result<Vec<Value>, ClientError> {
    let mut open = list(client, Some("created"), MAX_NAMED + 1).await?;
    open.extend(list(client, Some("running"), MAX_NAMED + 1).await?);
    // One that began to run in between is in both.
    let mut ids = Vec::new();
    open.retain(|object| {
        let is_new = !ids.contains(&object["id"]);
        ids.push(object["id"].clone());
        is_new
    });
    Ok(open)
}

async fn list(client: &Client, status: Option<&str>, limit: usize) -> Result<Vec<Value>, ClientError> {
    let mut query = vec![("limit", limit.to_string())];
    query.extend(status.map(|status| ("status", status.to_owned())));
    let mut answer = client.ask(Method::GET, "api/objects", &query, None).await?;
    Ok(answer["objects"].as_array_mut().map(std::mem::take).unwrap_or_default())
}

fn named(object: &Value) -> String {
    let text = |name: &str| one_line(object[name].as_str().unwrap_or_default());
    format!("{} ({}, {}, {})", text("id"), text("operation"), text("status"), clock(&object["created_at"]))
}

/// Prints a finished object: its result, or on standard error why it has none.
///
/// # Errors
/// If standard output takes no more.
pub fn print(object: &Value, format: Format) -> Result<ExitCode, Failure> {
    let has_succeeded = object["status"] == "succeeded";
    if has_succeeded || format.json {
        let shown = |object: &Value| fitted(&object["result"], output::width().unwrap_or(USUAL_WIDTH));
        output::report(&format.written(object, shown))?;
    }
    if has_succeeded {
        return Ok(ExitCode::SUCCESS);
    }
    output::tell(&why(object));
    Ok(ExitCode::from(EXIT_NO))
}

/// Why it did not succeed.
fn why(object: &Value) -> String {
    let id = one_line(object["id"].as_str().unwrap_or_default());
    let after = milliseconds(&object["duration_ms"]);
    let mut why = match object["status"].as_str() {
        Some("timed_out") => format!("{id} was given up: its deadline is over"),
        _ => format!("{id} failed after {after}"),
    };
    let errors = object["errors"].as_array().map(Vec::as_slice).unwrap_or_default();
    for error in errors.iter().take(MAX_ERRORS) {
        let text = one_line(error["error"].as_str().unwrap_or_default());
        let _ = match error["part"].as_u64() {
            Some(part) => write!(why, "\n  part {part}: {text}"),
            None => write!(why, "\n  {text}"),
        };
    }
    if errors.len() > MAX_ERRORS {
        let _ = write!(why, "\n  and {} more: `{NAME} result {id} --json`", errors.len() - MAX_ERRORS);
    }
    if object["dead_letters"].as_array().is_some_and(|letters| !letters.is_empty()) {
        let _ = write!(why, "\nWhat was set aside, and may be replayed:\n  {NAME} dead-letters list --object {id}");
    }
    why
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn it_is_said_why_an_object_did_not_succeed_and_what_to_look_at() {
        let errors: Vec<Value> = (0..25).map(|part| json!({"part": part, "error": "no\n\u{1b}number"})).collect();
        let failed =
            json!({"id": "7", "status": "failed", "duration_ms": 12.0, "errors": errors, "dead_letters": ["8"]});
        let told = why(&failed);
        assert!(told.starts_with("7 failed after 12 ms\n  part 0: no \u{fffd}number\n"), "{told}");
        assert!(told.contains("and 5 more") && told.ends_with("dead-letters list --object 7"), "{told}");
        let late = why(&json!({"id": "7", "status": "timed_out", "errors": [{"error": "1 of 3 tasks"}]}));
        assert_eq!(late, "7 was given up: its deadline is over\n  1 of 3 tasks");
    }

    #[test]
    fn it_is_said_how_far_it_is() {
        let object = json!({"id": "7", "status": "running", "tasks": [{"finished_at": "x"}, {"finished_at": null}]});
        assert_eq!(state(&object), "7 running: 1 of 2 tasks have ended");
        assert!(!is_finished(&object));
    }
}
