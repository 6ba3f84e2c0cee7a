//! `ebs events`: what happens, as it happens.

mod sse;

use std::{process::ExitCode, time::Duration};

use clap::Args;
use reqwest::{Method, Response, header::ACCEPT};
use serde_json::{Value, json};
use tokio::{
    signal::ctrl_c,
    time::{sleep, timeout},
};

use self::sse::{Messages, Sent};
use crate::{
    client::{Address, Client, ClientError},
    failure::Failure,
    output::{self, Format, clock, compact, cut, milliseconds, one_line, style_of},
    time::RETRY,
};

/// Longer than this the system is never silent: it says so every 15 s if nothing happens.
const SILENCE: Duration = Duration::from_secs(50);
/// However long it is followed: it ends earlier by Ctrl-C, and otherwise begins anew.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);
/// The longest pause until it is tried to follow on.
const MAX_RETRY: Duration = Duration::from_secs(10);

const HELP: &str = "\
Routing keys are object.created.OPERATION, and the same with task.created,
task.started, task.finished and object.finished; in a pattern * is one word and
# any number of words.

An event is a line; with --json it is whole, a CloudEvent in a line of JSON. It
goes on until Ctrl-C. When the system goes away, it goes on after the last event
as soon as the system is back. Should events have been missed, it says so (with
--json as {\"type\":\"gap\",\"reason\":…}).

Exit codes: 0 ended by Ctrl-C, 1 the system says no, 64 wrong usage, 69 the
system cannot be reached at first.
A token, if the system wants one, is taken from API_TOKEN.";

/// Shows what happens, as it happens
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub struct Events {
    /// Only those whose routing key matches, such as 'task.#' or 'object.*.pow'
    #[arg(long, default_value = "#")]
    pattern: String,
    /// Begins where an earlier one ended, which said this ID, instead of now
    #[arg(long, value_name = "ID")]
    after: Option<String>,
    #[command(flatten)]
    address: Address,
    #[command(flatten)]
    format: Format,
}

/// Follows until Ctrl-C.
///
/// # Errors
/// If the system says no, or is not there at first.
pub async fn run(arguments: Events) -> Result<ExitCode, Failure> {
    let client = Client::of(&arguments.address)?;
    let mut last = arguments.after;
    tokio::select! {
        ended = follow(&client, &arguments.pattern, &mut last, arguments.format) => ended?,
        // For want of a signal nobody can end it so.
        Ok(()) = ctrl_c() => output::after_interrupt(),
    }
    if let Some(last) = last {
        output::tell(&format!("to go on from here: --after {last}"));
    }
    Ok(ExitCode::SUCCESS)
}

async fn follow(client: &Client, pattern: &str, last: &mut Option<String>, format: Format) -> Result<(), Failure> {
    let mut was_there = false;
    let mut pause = RETRY;
    loop {
        let error = match open(client, pattern, last.as_deref()).await {
            Ok(answer) => {
                if was_there {
                    output::tell("the system is back");
                }
                (was_there, pause) = (true, RETRY);
                read(client, answer, last, format).await?
            }
            Err(error) if was_there && error.may_pass() => {
                pause = (pause * 2).min(MAX_RETRY);
                error
            }
            Err(error) => return Err(error.into()),
        };
        if pause == RETRY {
            output::tell(&format!("{error}; going on when it is back"));
        }
        sleep(error.pause().unwrap_or(pause)).await;
    }
}

async fn open(client: &Client, pattern: &str, last: Option<&str>) -> Result<Response, ClientError> {
    let request = client.request(Method::GET, "api/events", &[("pattern", pattern.to_owned())])?;
    let request = request.header(ACCEPT, "text/event-stream").timeout(LONGEST);
    client
        .send(match last {
            Some(last) => request.header("last-event-id", last),
            None => request,
        })
        .await
}

/// Shows events until there are no more: why.
async fn read(
    client: &Client,
    mut answer: Response,
    last: &mut Option<String>,
    format: Format,
) -> Result<ClientError, Failure> {
    let mut messages = Messages::default();
    loop {
        match timeout(SILENCE, answer.chunk()).await {
            Ok(Ok(Some(chunk))) => messages.feed(&chunk).map_err(|_| client.not_ebs())?,
            Ok(Ok(None)) => {
                return Ok(ClientError::Unavailable("the system has ended the stream of events".to_owned()));
            }
            Ok(Err(error)) => return Ok(client.lost(&error)),
            Err(_) => return Ok(ClientError::Unavailable(format!("nothing was heard for {} s", SILENCE.as_secs()))),
        }
        let mut shown = String::new();
        while let Some(message) = messages.next() {
            if let Some(id) = &message.id {
                *last = Some(id.clone());
            }
            if !message.data.is_empty() {
                shown += &show(&message, format).ok_or_else(|| client.not_ebs())?;
            }
        }
        output::print(&shown)?;
    }
}

/// What is printed of it; none if it is not as it should be.
fn show(message: &Sent, format: Format) -> Option<String> {
    let data: Value = serde_json::from_str(&message.data).ok()?;
    if message.event == "gap" {
        let reason = data["reason"].as_str().unwrap_or_default();
        output::tell(&format!("events were missed: {reason}"));
        let gap = json!({"type": "gap", "reason": reason});
        return Some(if format.json { compact(&gap) + "\n" } else { String::new() });
    }
    Some(if format.json { compact(&data) } else { line(&data, output::width()) } + "\n")
}

/// An event in a line.
fn line(event: &Value, width: Option<usize>) -> String {
    let data = &event["data"];
    let text = |value: &Value| one_line(value.as_str().unwrap_or_default());
    let (kind, object) = (text(&event["type"]), text(&event["correlationid"]));
    let mut said = Vec::new();
    let task = if data["task"].is_object() { &data["task"] } else { data };
    // First: on a narrow terminal the rest of the line may not fit.
    let outcome = text(&data["outcome"]);
    if !outcome.is_empty() {
        said.push(outcome.replace('_', " "));
    }
    if let (Some(part), Some(parts)) = (task["part"].as_u64(), task["parts"].as_u64()) {
        said.push(format!("part {part} of {parts}"));
    }
    if let Some(count @ 2..) = data["attempt"].as_u64() {
        said.push(format!("attempt {count}"));
    }
    if !data["duration_ms"].is_null() {
        said.push(milliseconds(&data["duration_ms"]));
    }
    let object_data = &data["object"];
    let operation = [&data["operation"], &task["operation"], &object_data["operation"]];
    said.extend(operation.into_iter().find(|operation| operation.is_string()).map(text));
    for value in [&object_data["name"], &data["processor"], &data["error"]] {
        if value.is_string() {
            said.push(text(value));
        }
    }
    let line = format!("{}  {kind:<15}  {object}  {}", clock(&event["time"]), said.join(", "));
    let line = width.map_or(line.clone(), |width| cut(&line, width));
    style_of(data["outcome"].as_str().unwrap_or_default()).apply_to(line).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_a_line() {
        let event = json!({"type": "TASK_FINISHED", "time": "2001-02-03T04:05:06Z", "correlationid": "7", "data": {
            "part": 1, "parts": 3, "operation": "pow", "attempt": 2, "processor": "p\u{1b}0", "outcome": "failed",
            "error": "no\nnumber", "duration_ms": 12.0
        }});
        let line = line(&event, None);
        let said = "TASK_FINISHED    7  failed, part 1 of 3, attempt 2, 12 ms, pow, p\u{fffd}0, no number";
        assert!(line.ends_with(said), "{line}");
        let created = json!({"type": "OBJECT_CREATED", "correlationid": "7", "data": {"object": {"operation": "pow", "name": "n"}}});
        assert_eq!(super::line(&created, Some(30)), "-  OBJECT_CREATED   7  pow, n");
        assert_eq!(super::line(&created, Some(12)), "-  OBJECT_C…");
    }

    #[test]
    fn what_was_missed_is_said_to_programs_too() {
        let gap = Sent { id: None, event: "gap".to_owned(), data: r#"{"reason":"too long ago"}"#.to_owned() };
        assert_eq!(
            show(&gap, Format { json: true }).as_deref(),
            Some("{\"reason\":\"too long ago\",\"type\":\"gap\"}\n")
        );
        assert_eq!(show(&gap, Format::default()).as_deref(), Some(""));
    }
}
