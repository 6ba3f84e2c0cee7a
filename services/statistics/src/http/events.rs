//! `GET /api/events`: what happens, as it happens, as
//! [server-sent events](https://html.spec.whatwg.org/multipage/server-sent-events.html).

use std::{io::Write, time::Duration};

use axum::{
    body::Body,
    extract::State,
    http::{
        HeaderMap, HeaderName, HeaderValue,
        header::{CACHE_CONTROL, CONTENT_TYPE},
    },
    response::{IntoResponse, Response},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use bus::Pattern;
use bytes::Bytes;
use chassis::http::{
    Problem, Query,
    responses::{BadRequest, Unavailable},
};
use futures_util::{Stream, stream};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{json, value::RawValue};
use tokio::time::{Instant, timeout_at};
use utoipa::IntoParams;

use super::Api;
use crate::live::{Gap, MAX_SUBSCRIBERS, Subscription, Taken, Told};

/// Where one who was away goes on; browsers send it by themselves.
const LAST_EVENT_ID: &str = "last-event-id";
/// A silence longer than this means that the connection is broken: whoever is in between often gives up after a minute.
const SILENCE: Duration = Duration::from_secs(15);
/// When one comes back for whom there was no place.
const RETRY_AFTER: Duration = Duration::from_secs(5);
/// AMQP has no longer routing keys.
const MAX_PATTERN_BYTES: usize = 255;
const PATTERN: &str = "pattern: 1 to 255 characters are allowed: words between dots, each of letters, digits, - and _, or * for \
                       any one word, or # for any number of words, as in object.finished.#";
/// Every event.
const EVERYTHING: &str = "#";

/// After the `?`.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct Parameters {
    /// Only events whose routing key, such as `object.finished.pow`, matches this: words between dots, where `*` is any one
    /// word and `#` any number of words. In a URL `#` is `%23`.
    #[param(
        min_length = 1,
        max_length = 255,
        pattern = r"^([A-Za-z0-9_-]+|\*|#)(\.([A-Za-z0-9_-]+|\*|#))*$",
        default = json!(EVERYTHING),
        example = "object.finished.#"
    )]
    pattern: Option<String>,
    /// Only events after the one of this `id`, for those who cannot send `Last-Event-ID`, which wins.
    after: Option<String>,
}

/// The events: what happens, as it happens, as server-sent events
///
/// Each has an `id`, the event's type (`event: TASK_FINISHED`) and, as `data`, the CloudEvent in a line of JSON: `specversion`,
/// `id`, `source`, `type`, `subject`, `time`, `datacontenttype`, `correlationid` (the object), `causationid`, `routingkey`,
/// `data`. An event is shown when the record has it. One that was delivered twice is shown twice, with the same `id` in its
/// `data`.
///
/// It begins with what happens from now on. One who comes back with `Last-Event-ID` misses nothing of the last 10 000 events;
/// where something is missing, also because it was read too slowly, it says so first: `event: gap` with `reason`
/// (`restarted`, `too_old`, `too_slow`, `unknown_id`) and `detail`. In a silence there is a comment every 15 s.
#[utoipa::path(
    get,
    path = "/api/events",
    tag = "events",
    operation_id = "follow_events",
    params(
        Parameters,
        ("Last-Event-ID" = Option<String>, Header, description = "Only events after the one of this `id`.")
    ),
    responses(
        (
            status = OK,
            description = "It has no end of its own.",
            body = String,
            content_type = "text/event-stream",
            example = "id: 0199c0a5d2f77c40a6a2e0f4f1d7a3b1.42\nevent: OBJECT_FINISHED\ndata: {\"specversion\":\"1.0\", …}\n\n"
        ),
        BadRequest,
        Unavailable
    )
)]
pub(super) async fn follow(
    State(api): State<Api>,
    Query(Parameters { pattern, after }): Query<Parameters>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let pattern = read_pattern(pattern.as_deref().unwrap_or(EVERYTHING))?;
    // Nothing happens as long as it is not open.
    api.record()?;
    let last = headers.get(LAST_EVENT_ID).map(|id| String::from_utf8_lossy(id.as_bytes()).into_owned());
    let after = last.filter(|id| !id.is_empty()).or(after);
    let subscription = api.live.subscribe(after.as_deref()).ok_or_else(|| {
        Problem::unavailable(RETRY_AFTER, format!("{MAX_SUBSCRIBERS} follow the events; no more do at a time."))
    })?;
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
        (CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        // nginx would keep them until it has many.
        (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
    ];
    Ok((headers, Body::from_stream(Lines { subscription, pattern, begun: false }.stream())).into_response())
}

fn read_pattern(text: &str) -> Result<Pattern, Problem> {
    let is_word = |word: &str| {
        let letters = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        matches!(word, "*" | "#") || !word.is_empty() && word.bytes().all(letters)
    };
    if text.len() > MAX_PATTERN_BYTES || !text.split('.').all(is_word) {
        return Err(Problem::bad_request(PATTERN));
    }
    Ok(Pattern::new(text))
}

/// What one who follows is sent.
struct Lines {
    subscription: Subscription,
    pattern: Pattern,
    begun: bool,
}

impl Lines {
    fn stream(self) -> impl Stream<Item = serde_json::Result<Bytes>> {
        stream::try_unfold(self, |mut lines| async move { Ok(Some((lines.next().await?, lines))) })
    }

    /// The next lines: as many as there are, or only one event if that is long.
    async fn next(&mut self) -> serde_json::Result<Bytes> {
        let silent_until = Instant::now() + SILENCE;
        let mut lines = Vec::new();
        if !self.begun {
            self.begun = true;
            // Whoever breaks off before the first event knows where to go on, too.
            self.write_position(&mut lines, "");
        }
        loop {
            let Taken { gap, events } = self.subscription.take();
            if let Some(gap) = gap {
                write_gap(&mut lines, gap)?;
            }
            for (number, told) in events.iter().filter(|(_, told)| self.pattern.matches(&told.routing_key)) {
                write_event(&mut lines, &self.subscription.id(*number), told)?;
            }
            if !lines.is_empty() {
                return Ok(lines.into());
            }
            if !events.is_empty() {
                // None of them matches, and there may be thousands more.
                tokio::task::yield_now().await;
            } else if timeout_at(silent_until, self.subscription.news()).await.is_err() {
                // With it, so that one who waits for rare events does not come back with an id of long ago.
                self.write_position(&mut lines, ": nothing new\n");
                return Ok(lines.into());
            }
        }
    }

    /// Without data it is no event, but browsers remember the id.
    fn write_position(&self, lines: &mut Vec<u8>, comment: &str) {
        lines.extend_from_slice(format!("{comment}id: {}\n\n", self.subscription.position()).as_bytes());
    }
}

fn write_gap(lines: &mut Vec<u8>, gap: Gap) -> serde_json::Result<()> {
    write_message(lines, "gap", &json!({"reason": gap.word(), "detail": gap.sentence()}))
}

fn write_event(lines: &mut Vec<u8>, id: &str, told: &Told) -> serde_json::Result<()> {
    lines.extend_from_slice(format!("id: {id}\n").as_bytes());
    // Of others' types nobody knows what stands in them.
    let kind = told.envelope.kind.replace(char::is_control, " ");
    let cloud_event = CloudEvent::of(told);
    write_message(lines, &kind, &cloud_event)
}

fn write_message(lines: &mut Vec<u8>, kind: &str, data: &impl Serialize) -> serde_json::Result<()> {
    write!(lines, "event: {kind}\ndata: ").map_err(serde_json::Error::io)?;
    let begin = lines.len();
    serde_json::to_writer(&mut *lines, data)?;
    // Outside of texts, where they are escaped, they mean nothing in JSON; here they would end the line.
    for byte in &mut lines[begin..] {
        if matches!(byte, b'\n' | b'\r') {
            *byte = b' ';
        }
    }
    lines.extend_from_slice(b"\n\n");
    Ok(())
}

/// An event as [CloudEvents' JSON format](https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md)
/// has it.
#[derive(Serialize)]
struct CloudEvent<'a> {
    specversion: &'static str,
    id: &'a str,
    source: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<&'a str>,
    time: Timestamp,
    datacontenttype: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    correlationid: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    causationid: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    traceparent: Option<&'a str>,
    routingkey: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a RawValue>,
    /// What says that it is JSON and is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    data_base64: Option<String>,
}

impl<'a> CloudEvent<'a> {
    fn of(Told { envelope, routing_key, data }: &'a Told) -> Self {
        let json = serde_json::from_slice(data).ok();
        Self {
            specversion: "1.0",
            id: &envelope.id,
            source: &envelope.source,
            kind: &envelope.kind,
            subject: envelope.subject.as_deref(),
            time: envelope.time,
            datacontenttype: "application/json",
            correlationid: envelope.correlation_id.as_deref(),
            causationid: envelope.causation_id.as_deref(),
            traceparent: envelope.traceparent.as_deref(),
            routingkey: routing_key,
            data_base64: json.is_none().then(|| BASE64_STANDARD.encode(data)),
            data: json,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_pattern_is_words_between_dots() {
        for good in ["#", "*", "object.finished.#", "a.*.B-c_1", &"a".repeat(255)] {
            assert!(read_pattern(good).is_ok(), "{good}");
        }
        for bad in ["", ".", "a.", "a..b", "a*", "a b", "ä", "a.#b", "a\n", &"a".repeat(256)] {
            let problem = read_pattern(bad).unwrap_err();
            assert_eq!(problem.status(), 400, "{bad}");
            assert!(problem.detail().contains("words between dots"), "{problem}");
        }
    }
}
