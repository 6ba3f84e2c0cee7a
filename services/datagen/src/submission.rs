//! What people submit: read from whatever form it came in, and understood before anything is accepted.

use bus::events::{Json, MAX_TASKS, Milliseconds, OperationName, Parameters, check_parameters, read_parameters};
use chassis::http::{FromObject, Problem};
use http::{HeaderMap, header::CONTENT_TYPE};
use serde::Deserialize;
use utoipa::ToSchema;

use crate::config::Deadline;

/// The operation of an object that does not name one.
pub(crate) const DEFAULT_OPERATION: &str = "word-frequencies";
/// The longest name of an object, in characters.
const MAX_NAME_CHARS: usize = 200;
const ACCEPTED: [&str; 3] = ["application/json", TEXT, NDJSON];
/// What is the data of the default operation as it is.
pub(crate) const TEXT: &str = "text/plain";
/// What many objects are sent as, each in a line.
pub(crate) const NDJSON: &str = "application/x-ndjson";

/// An object as it is asked for. What is absent is decided for you.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Submission {
    /// What people call it: no control characters.
    #[schema(max_length = 200)]
    pub(crate) name: Option<String>,
    /// What is to be done to it: one of those that `GET /api/operations` lists.
    #[schema(value_type = Option<String>, pattern = "^[a-z0-9][a-z0-9_-]{0,63}$", default = json!(DEFAULT_OPERATION))]
    pub(crate) operation: Option<OperationName>,
    /// The operation's parameters.
    #[serde(default, deserialize_with = "read_parameters")]
    #[schema(value_type = Object)]
    pub(crate) parameters: Parameters,
    /// What it is to be done to: a kind of JSON that the operation takes. For the default operation it may be absent, and is
    /// generated.
    // `null` is data, and absent is not.
    #[serde(default, deserialize_with = "Json::present")]
    #[schema(value_type = Option<Value>)]
    pub(crate) data: Option<Json>,
    /// Into how many tasks it is split, if it has as many elements.
    #[schema(minimum = 1, maximum = 10000)]
    pub(crate) tasks: Option<u32>,
    /// How long it may take before it is given up, in milliseconds: a second to 30 days.
    #[schema(value_type = Option<f64>, minimum = 1000.0, maximum = 2592000000.0)]
    pub(crate) deadline_ms: Option<Milliseconds>,
}

impl Submission {
    /// Reads a body of this [`media_type`]: none, JSON, or text, which is the data of the default operation.
    pub(crate) fn read(media_type: &str, body: &[u8]) -> Result<Self, Problem> {
        if body.is_empty() {
            return Ok(Self::default());
        }
        match media_type {
            "application/json" => Self::from_json(body),
            TEXT => {
                let text = std::str::from_utf8(body)
                    .map_err(|error| Problem::bad_request(format!("The text is not UTF-8: {error}.")))?;
                Self::of_text(text)
            }
            _ => Err(Problem::unsupported_media_type(&ACCEPTED)),
        }
    }

    /// Reads JSON: an object, and nothing else.
    pub(crate) fn from_json(json: &[u8]) -> Result<Self, Problem> {
        let FromObject(submission) = serde_json::from_slice::<FromObject<Self>>(json).map_err(|error| {
            if error.is_data() {
                Problem::unprocessable(error.to_string())
            } else {
                Problem::bad_request(format!("The body is not JSON: {error}."))
            }
        })?;
        submission.check()
    }

    /// A text, which is the data of the default operation.
    pub(crate) fn of_text(text: &str) -> Result<Self, Problem> {
        let data = Json::of(text).map_err(Problem::internal)?;
        Ok(Self { data: Some(data), ..Self::default() })
    }

    fn check(self) -> Result<Self, Problem> {
        if let Some(name) = &self.name
            && (name.chars().count() > MAX_NAME_CHARS || name.chars().any(char::is_control))
        {
            return Err(Problem::unprocessable(format!(
                "name: at most {MAX_NAME_CHARS} characters are allowed, and no control characters."
            )));
        }
        if let Some(tasks) = self.tasks
            && !(1..=MAX_TASKS).contains(&tasks)
        {
            return Err(Problem::unprocessable(format!("tasks: 1 to {MAX_TASKS} are allowed, not {tasks}.")));
        }
        check_parameters(&self.parameters).map_err(|error| Problem::unprocessable(format!("{error}.")))?;
        if let Some(deadline) = self.deadline_ms {
            let (min, max) = (Milliseconds::from(Deadline::MIN), Milliseconds::from(Deadline::MAX));
            if deadline < min || deadline > max {
                return Err(Problem::unprocessable(format!(
                    "deadline_ms: {} to {} are allowed, not {}.",
                    min.get(),
                    max.get(),
                    deadline.get()
                )));
            }
        }
        Ok(self)
    }
}

/// What the body is, without its parameters, in lower case; empty if that is not said.
pub(crate) fn media_type(headers: &HeaderMap) -> String {
    let media_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn read(media_type: &str, body: &str) -> Result<Submission, Problem> {
        let mut headers = HeaderMap::new();
        if !media_type.is_empty() {
            headers.insert(CONTENT_TYPE, media_type.parse().unwrap());
        }
        Submission::read(&super::media_type(&headers), body.as_bytes())
    }

    #[test]
    fn no_body_asks_for_nothing_in_particular() {
        assert!(read("", "").unwrap().data.is_none());
        assert!(read("application/json", "").unwrap().data.is_none());
    }

    #[test]
    fn text_is_data_and_null_is_data_too() {
        assert_eq!(read("text/plain; charset=utf-8", "a \"b\"").unwrap().data.unwrap().as_str(), r#""a \"b\"""#);
        assert_eq!(read("application/json", r#"{"data":null}"#).unwrap().data.unwrap().as_str(), "null");
        assert!(read("application/json", "{}").unwrap().data.is_none());
    }

    #[test]
    fn bad_input_is_told_what_is_allowed() {
        for (media_type, body, status, told) in [
            ("application/x-www-form-urlencoded", "text=a", 415, "text/plain"),
            ("application/json", "{", 400, "JSON"),
            ("application/json", r#"{"task":3}"#, 422, "tasks"),
            ("application/json", r#"["a","nop",{},[1],1,1000]"#, 422, "expected a JSON object"),
            ("application/json", "null", 422, "expected a JSON object"),
            ("application/json", r#"{"tasks":0}"#, 422, "10000"),
            ("application/json", r#"{"tasks":10001}"#, 422, "10000"),
            ("application/json", r#"{"deadline_ms":1}"#, 422, "1000"),
            ("application/json", r#"{"operation":"a.b"}"#, 422, "a-z"),
            ("application/json", r#"{"name":"a\nb"}"#, 422, "control"),
        ] {
            let problem = read(media_type, body).unwrap_err();
            assert_eq!(problem.status().as_u16(), status, "{body}");
            assert!(problem.detail().contains(told), "{body}: {}", problem.detail());
        }
        for (levels, is_allowed) in [(63, true), (64, false), (125, false)] {
            let body = format!(r#"{{"parameters":{{"a":{}{}}}}}"#, "[".repeat(levels), "]".repeat(levels));
            let submission = read("application/json", &body);
            assert_eq!(submission.is_ok(), is_allowed, "{levels}: {submission:?}");
        }
        let body = format!(r#"{{"parameters":{{"a":"{}"}}}}"#, "x".repeat(16 * 1024));
        let problem = read("application/json", &body).unwrap_err();
        assert_eq!(problem.status(), 422);
        assert!(problem.detail().contains("16384"), "{problem}");
    }
}
