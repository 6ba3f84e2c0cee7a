//! `POST /add-frequencies`: a text in, the most frequent words of all texts so far out.

use std::fmt;

use axum::{
    Extension,
    body::to_bytes,
    extract::State,
    response::{IntoResponse, Response},
};
use bus::events::ObjectId;
use chassis::http::{
    Form, Json, Problem, Submitter,
    responses::{BadRequest, PayloadTooLarge, RequestTimeout, Unavailable, Unprocessable, UnsupportedMediaType},
};
use http::{HeaderMap, Method, StatusCode, header::LOCATION};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tracing::{debug, info};
use utoipa::ToSchema;

use crate::{
    create_object::{Headers, location},
    door::{Entered, Front},
    identity::Identity,
    prefer::{PREFERENCE_APPLIED, Wait},
    submission::Submission,
};

/// How long a text may take to be counted before it is answered that it is on its way: less than most clients wait.
const DEFAULT_WAIT: Wait = Wait::seconds(30);
/// The words of the report.
const MOST_FREQUENT: &str = "/api/totals/word-frequencies?limit=10";
/// What is read of an answer of the record at most: ten words have a thousand characters each.
const MAX_ANSWER_BYTES: usize = 256 * 1024;
/// What the log shows of a word.
const MAX_SHOWN_CHARS: usize = 40;
/// In a form a byte of a text may be three: `%20`.
pub(crate) const FORM_ENCODED: usize = 3;

/// A text whose words are to be counted.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Text {
    /// What `&`, `+` and `%` mean in a form must be encoded: `curl --data-urlencode text=…` does so.
    #[schema(examples("Row, row, row your boat"))]
    text: String,
}

/// The text is counted.
#[derive(Serialize, ToSchema)]
pub(crate) struct Report {
    /// What the text has become.
    #[schema(value_type = Uuid)]
    object: ObjectId,
    /// The ten most frequent words of all texts so far, this one included; the most frequent first, equal ones by name.
    frequencies: Vec<Frequency>,
}

/// How often a word occurred.
#[derive(Serialize, Deserialize, ToSchema)]
struct Frequency {
    /// The word, in lower case.
    name: String,
    count: u64,
}

/// The text is accepted, and not counted yet.
#[derive(Serialize, ToSchema)]
pub(crate) struct OnItsWay {
    /// What the text has become.
    #[schema(value_type = Uuid)]
    object: ObjectId,
}

/// Count the words of a text, and report the ten most frequent ones of all texts so far
///
/// The same as submitting it as an object, waiting for that, and asking for the totals. The report also stands in the log.
#[utoipa::path(
    post,
    path = "/add-frequencies",
    tag = "words",
    params(Headers),
    request_body(content = Text, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = OK, description = "It is counted.", body = Report),
        (
            status = ACCEPTED,
            description = "It is accepted, but takes longer than 30 seconds, or what `Prefer: wait=N` says. It will be counted.",
            body = OnItsWay,
            headers(("Location" = String, description = "Where it is, relative to this address."))
        ),
        BadRequest,
        RequestTimeout,
        PayloadTooLarge,
        UnsupportedMediaType,
        Unprocessable,
        Unavailable
    )
)]
pub(crate) async fn add_frequencies(
    State(front): State<Front>,
    submitter: Option<Extension<Submitter>>,
    headers: HeaderMap,
    entered: Entered<FORM_ENCODED>,
    Form(Text { text }): Form<Text>,
) -> Result<Response, Problem> {
    let submitter = submitter.map(|Extension(submitter)| submitter);
    let identity = Identity::of_text(submitter, &headers, text.as_bytes())?;
    let submission = Submission::of_text(&text)?;
    drop(text);
    let object = front.door.accept(identity, submission).await?;
    let object = front.door.publish(object).await?.id;
    // Whoever waits now takes no room.
    drop(entered);
    let preferred = Wait::preferred(&headers);
    let report = front.report(object, preferred.unwrap_or(DEFAULT_WAIT), &headers);
    let answer = match front.door.stopping.run_until_cancelled(report).await.flatten().transpose()? {
        Some(report) => {
            info!(object.id = %object, "the most frequent words: {}", Shown(&report.frequencies));
            Json(report).into_response()
        }
        None => (StatusCode::ACCEPTED, [(LOCATION, location(object))], Json(OnItsWay { object })).into_response(),
    };
    let applied = preferred.map(|wait| Ok::<_, http::Error>([(PREFERENCE_APPLIED, wait.applied()?)])).transpose()?;
    Ok((applied, answer).into_response())
}

impl Front {
    /// What is to be said when the text is counted; none if it is not in time, or the record cannot be asked: it is
    /// accepted all the same.
    async fn report(&self, object: ObjectId, wait: Wait, user: &HeaderMap) -> Option<Result<Report, Problem>> {
        #[derive(Deserialize)]
        struct Standing {
            status: String,
        }
        #[derive(Deserialize)]
        struct Totals {
            totals: Vec<Frequency>,
        }
        let Standing { status } = read(object, self.record.status(object, wait, user).await).await?;
        match status.as_str() {
            "succeeded" => {}
            "failed" | "timed_out" => {
                let detail = format!("The text was not counted: {} says why.", location(object));
                return Some(Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, detail).with("object", object)));
            }
            _ => return None,
        }
        let totals = self.record.ask(Method::GET, MOST_FREQUENT, user).await;
        let Totals { totals } = read(object, totals).await?;
        Some(Ok(Report { object, frequencies: totals }))
    }
}

/// What the record says, if it says that all is well.
async fn read<T: DeserializeOwned>(object: ObjectId, answer: Result<Response, Problem>) -> Option<T> {
    let read = async {
        let answer = answer?;
        if answer.status() != StatusCode::OK {
            return Err(Problem::bad_gateway(format!("the record answers {}", answer.status())));
        }
        let body = to_bytes(answer.into_body(), MAX_ANSWER_BYTES).await?;
        Ok::<T, Problem>(serde_json::from_slice(&body)?)
    };
    read.await.inspect_err(|problem| debug!(object.id = %object, "not reported: {problem}")).ok()
}

/// For people.
struct Shown<'a>(&'a [Frequency]);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, Frequency { name, count }) in self.0.iter().enumerate() {
            let separator = if place == 0 { "" } else { ", " };
            write!(f, "{separator}{name:.MAX_SHOWN_CHARS$} {count}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_report_is_a_line_that_is_not_long() {
        let frequency = |name: &str, count| Frequency { name: name.to_owned(), count };
        let frequencies = [frequency("a", 12), frequency(&"ä".repeat(1000), 3)];
        assert_eq!(Shown(&frequencies).to_string(), format!("a 12, {} 3", "ä".repeat(40)));
        assert_eq!(Shown(&[]).to_string(), "");
    }
}
