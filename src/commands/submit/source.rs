//! What is submitted, and where it comes from.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

use super::{Kind, Submit, lines::Lines};
use crate::{
    failure::{EXIT_NO_INPUT, Failure},
    output::tell,
    up::NAME,
};

/// No event is longer, whatever the system's `MAX_EVENT_BYTES`.
const MAX_DATA_BYTES: u64 = 15 * 1024 * 1024;
/// The operation whose data is a text, whatever it looks like.
const OF_TEXTS: &str = "word-frequencies";

/// An object as it is asked for: what is absent is decided by the system.
#[derive(Serialize)]
struct Submission<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    operation: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tasks: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    deadline_ms: Option<u128>,
}

/// What the bytes are: as it is said, or else as the file's name says.
pub(super) fn kind(arguments: &Submit) -> Option<Kind> {
    let file = arguments.file.as_deref().filter(|file| !is_stdin(file));
    let extension = |file: &Path| Some(file.extension()?.to_str()?.to_ascii_lowercase());
    arguments.format.or_else(|| {
        Some(match extension(file?).as_deref() {
            Some("json") => Kind::Json,
            Some("ndjson" | "jsonl") => Kind::Ndjson,
            _ => Kind::Text,
        })
    })
}

/// The body of the request for one object.
pub(super) fn submission(arguments: &Submit) -> Result<Vec<u8>, Failure> {
    let parameters = arguments.parameters.as_deref().map(parameters).transpose()?;
    let data = read(arguments)?.map(|text| data(arguments, text)).transpose()?;
    let submission = Submission {
        name: arguments.name.as_deref(),
        operation: arguments.operation.as_deref(),
        parameters: parameters.as_deref(),
        data: data.as_deref(),
        tasks: arguments.tasks,
        deadline_ms: arguments.deadline.map(|deadline| deadline.duration().as_millis()),
    };
    serde_json::to_vec(&submission).map_err(|error| Failure::usage(error.to_string()))
}

/// Where the lines of many objects are.
pub(super) async fn lines(arguments: &Submit) -> Result<Lines, Failure> {
    match (&arguments.data, &arguments.file) {
        (Some(data), _) => Ok(Lines::of_text(data.clone())),
        (None, Some(file)) if !is_stdin(file) => Lines::of_file(file).await.map_err(|error| unreadable(file, &error)),
        (None, Some(_)) => Ok(Lines::of_stdin()),
        (None, None) => Err(Failure::usage("which lines? FILE, or - for standard input, says it")),
    }
}

fn is_stdin(file: &Path) -> bool {
    file.as_os_str() == "-"
}

fn parameters(text: &str) -> Result<Box<RawValue>, Failure> {
    let wrong =
        |what: String| Failure::usage(format!("--parameters: expected a JSON object like {{\"exponent\": 3}}: {what}"));
    let value: Box<RawValue> = serde_json::from_str(text).map_err(|error| wrong(error.to_string()))?;
    if value.get().starts_with('{') { Ok(value) } else { Err(wrong(format!("not {}", value.get()))) }
}

/// The text that is given or stands in the file; none if the system is to generate one.
fn read(arguments: &Submit) -> Result<Option<String>, Failure> {
    let (name, read) = match (&arguments.data, &arguments.file) {
        (Some(data), _) => return Ok(Some(data.clone())),
        (None, None) => {
            if holds_something(&io::stdin()) {
                tell(&format!("standard input is not read; `{NAME} submit -` does"));
            }
            return Ok(None);
        }
        (None, Some(file)) if is_stdin(file) => ("standard input".to_owned(), bounded(io::stdin().lock())),
        (None, Some(file)) => (file.display().to_string(), bounded(open(file)?)),
    };
    let failure = |what: String| Failure::told(EXIT_NO_INPUT, format!("{name}: {what}"));
    let bytes = read.map_err(|error| failure(error.to_string()))?;
    if bytes.len() as u64 > MAX_DATA_BYTES {
        return Err(failure("no object may be longer than 15 MiB; many short ones go into a .ndjson file".to_owned()));
    }
    let text = String::from_utf8(bytes).map_err(|error| failure(format!("not a text in UTF-8: {error}")))?;
    Ok(Some(text))
}

fn bounded(input: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    input.take(MAX_DATA_BYTES + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn open(file: &Path) -> Result<File, Failure> {
    File::open(file).map_err(|error| unreadable(file, &error))
}

fn unreadable(file: &Path, error: &io::Error) -> Failure {
    let mut message = format!("{}: {error}", file.display());
    if !file.exists() {
        message += &format!("; a text itself is given by `{NAME} submit --data`");
    }
    Failure::told(EXIT_NO_INPUT, message)
}

/// Whether somebody has put something there: a pipe or a file, and not a terminal or nothing.
#[cfg(unix)]
fn holds_something(stdin: &io::Stdin) -> bool {
    use std::os::{fd::AsFd, unix::fs::FileTypeExt};

    let Ok(file) = stdin.as_fd().try_clone_to_owned().map(File::from) else { return false };
    file.metadata()
        .is_ok_and(|metadata| metadata.file_type().is_fifo() || metadata.file_type().is_file() && metadata.len() > 0)
}

#[cfg(not(unix))]
fn holds_something(_stdin: &io::Stdin) -> bool {
    false
}

/// The text as JSON: itself, or the JSON that it is.
fn data(arguments: &Submit, text: String) -> Result<Box<RawValue>, Failure> {
    let is_of_texts = arguments.operation.as_deref().is_none_or(|operation| operation == OF_TEXTS);
    match kind(arguments) {
        Some(Kind::Json) => serde_json::from_str(&text)
            .map_err(|error| Failure::usage(format!("not JSON: {error}; --format text submits it as a text"))),
        None if !is_of_texts && let Ok(json) = serde_json::from_str(&text) => Ok(json),
        _ => to_raw_value(&text).map_err(|error| Failure::usage(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::fs;

    use super::{super::tests::parsed, *};

    fn body(arguments: &[&str]) -> Result<String, String> {
        let body = submission(&parsed(arguments)?).map_err(|failure| failure.to_string())?;
        Ok(String::from_utf8(body).unwrap())
    }

    #[test]
    fn data_is_a_text_for_the_default_operation_and_json_if_it_is_that_for_others() {
        for (arguments, expected) in [
            (&["--data", "a \"b\""][..], r#"{"data":"a \"b\""}"#),
            (&["--data", "[1, 2]"], r#"{"data":"[1, 2]"}"#),
            (&["--data", "12", "--operation", "word-frequencies"], r#"{"operation":"word-frequencies","data":"12"}"#),
            (&["--data", "[1, 2.50]", "--operation", "plusone"], r#"{"operation":"plusone","data":[1, 2.50]}"#),
            (&["--data", "null", "--operation", "nop"], r#"{"operation":"nop","data":null}"#),
            (&["--data", "a b", "--operation", "nop"], r#"{"operation":"nop","data":"a b"}"#),
            (&["--data", "12", "--operation", "nop", "--format", "text"], r#"{"operation":"nop","data":"12"}"#),
            (&["--data", "[1]", "--format", "json"], r#"{"data":[1]}"#),
        ] {
            assert_eq!(body(arguments).unwrap(), expected);
        }
    }

    #[test]
    fn everything_else_is_said_only_if_it_was_given() {
        let all = [
            "--data",
            "x",
            "--name",
            "n",
            "--tasks",
            "7",
            "--deadline",
            "5m",
            "--operation",
            "nop",
            "--parameters",
            r#" {"a": 1.0} "#,
        ];
        let expected =
            r#"{"name":"n","operation":"nop","parameters":{"a": 1.0},"data":"x","tasks":7,"deadline_ms":300000}"#;
        assert_eq!(body(&all).unwrap(), expected);
    }

    #[test]
    fn a_file_is_what_its_name_says() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &[u8]| {
            let path = folder.path().join(name);
            fs::write(&path, text).unwrap();
            path.display().to_string()
        };
        let (json, text) = (file("a.JSON", b"[1, 2]"), file("a.txt", b"[1, 2]\n"));
        assert_eq!(body(&[&json]).unwrap(), r#"{"data":[1, 2]}"#);
        assert_eq!(body(&[&text, "--operation", "nop"]).unwrap(), r#"{"operation":"nop","data":"[1, 2]\n"}"#);
        assert_eq!(kind(&parsed(&["a.ndjson"]).unwrap()), Some(Kind::Ndjson));
        assert_eq!(kind(&parsed(&["a.jsonl", "--format", "text"]).unwrap()), Some(Kind::Text));
        assert_eq!(kind(&parsed(&["README"]).unwrap()), Some(Kind::Text));
        assert_eq!(kind(&parsed(&["-"]).unwrap()), None);
        for (arguments, told) in [
            (vec![file("b.json", b"{")], "not JSON"),
            (vec![file("b.bin", &[0xff])], "UTF-8"),
            (vec![file("b.long", &vec![b'a'; 15 * 1024 * 1024 + 1])], "15 MiB"),
            (vec!["no/such/file".to_owned()], "--data"),
            (vec!["--data".to_owned(), "x".to_owned(), "--parameters".to_owned(), "[]".to_owned()], "object"),
        ] {
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            let said = body(&arguments).unwrap_err();
            assert!(said.contains(told), "{said}");
        }
    }
}
