//! Operations that are declared in a file, in TOML: read from its text, and understood before anything is offered.

use std::{collections::BTreeMap, fmt, ops::Range, path::Path, time::Duration};

use serde::{Deserialize, Deserializer, de};
use serde_json::Value;
use toml::Spanned;

use crate::command::{Command, Printed};
use crate::declared::{Declared, Gather, Scatter};
use crate::schema::Schema;
use crate::{Catalogue, Parameters};

/// The most operations of a file: each is a queue, and a processor's subscription to it, for ever.
const MAX_OPERATIONS: usize = 64;
/// The longest description, in characters: it is a sentence.
const MAX_DESCRIPTION_CHARS: usize = 500;
/// The longest that a part of a command may be: no operating system takes more for one argument or variable.
const MAX_ARGUMENT_BYTES: usize = 64 * 1024;
/// As long as events are unless MAX_EVENT_BYTES says otherwise.
const OUTPUT_BYTES_DEFAULT: usize = 4 * 1024 * 1024;
/// What the names of the variables begin with by which a command is told of its task.
const OWN_VARIABLES: &str = "EBS_";
/// What a date of TOML looks like to who reads JSON.
const DATE: &str = "$__toml_private_datetime";

/// Why a file of operations cannot be used: where, and what is allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct FileError {
    line: Option<usize>,
    reason: String,
}

impl FileError {
    fn at(text: &str, place: Option<Range<usize>>, reason: impl Into<String>) -> Self {
        let line = place.map(|place| 1 + text.bytes().take(place.start).filter(|byte| *byte == b'\n').count());
        Self { line, reason: reason.into() }
    }
}

impl fmt::Display for FileError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(formatter, "line {line}: ")?;
        }
        formatter.write_str(&self.reason)
    }
}

impl Catalogue {
    /// Adds the operations that a file declares, which has this text and is in this folder.
    ///
    /// # Errors
    /// The first thing in it that is not allowed; a name that is taken, too.
    pub fn with_file(mut self, text: &str, folder: &Path) -> Result<Self, FileError> {
        let file: File = toml::from_str(text)
            .map_err(|error| FileError::at(text, error.span(), error.message().trim().replace('\n', ", ")))?;
        if let Some((name, _)) = file.operations.iter().nth(MAX_OPERATIONS) {
            let reason = format!("{} operations; allowed: at most {MAX_OPERATIONS}", file.operations.len());
            return Err(FileError::at(text, Some(name.span()), reason));
        }
        for (name, entry) in file.operations {
            let place = name.span();
            let not_allowed = |reason| FileError::at(text, Some(place.clone()), reason);
            let declared = entry.declared(name.into_inner(), folder).map_err(not_allowed)?;
            self = self.with(declared).map_err(|error| not_allowed(error.to_string()))?;
        }
        Ok(self)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    operations: BTreeMap<Spanned<String>, Entry>,
}

/// An operation as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    #[serde(deserialize_with = "description")]
    description: String,
    command: Option<Words>,
    #[serde(default)]
    external: bool,
    #[serde(default)]
    scatter: WrittenScatter,
    gather: Option<WrittenGather>,
    /// As TASK_TIMEOUT, which bounds it.
    timeout_ms: Option<Within<100, { 8 * 60 * 1000 }>>,
    /// What is longer than the longest event there can be could not be published.
    max_output_bytes: Option<Within<1, { 15 * 1024 * 1024 }>>,
    pass_environment: Option<Vec<Variable>>,
    parameters: Option<Parameters>,
}

#[derive(Default, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum WrittenScatter {
    #[default]
    Whole,
    Array,
    Lines,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum WrittenGather {
    Concatenate,
    List,
}

impl Entry {
    fn declared(self, name: String, folder: &Path) -> Result<Declared, String> {
        let (scatter, gather, printed) = self.ways()?;
        self.is_executed_by_one()?;
        if self.parameters.as_ref().is_some_and(|schema| schema.values().any(has_date)) {
            return Err("parameters hold a date, which JSON does not have; allowed: a text".to_owned());
        }
        let command = self.command.map(|Words { program, arguments }| Command {
            program,
            arguments,
            folder: folder.to_owned(),
            timeout: self.timeout_ms.map(|Within(timeout)| Duration::from_millis(timeout)),
            max_output_bytes: self.max_output_bytes.map_or(OUTPUT_BYTES_DEFAULT, |Within(bytes)| bytes as usize),
            pass_environment: self.pass_environment.into_iter().flatten().map(|Variable(name)| name).collect(),
            printed,
        });
        let parameters = Schema::new(self.parameters)?;
        Ok(Declared { name, description: self.description, parameters, scatter, gather, command })
    }

    /// How it is cut and gathered, and what a command has to print for that.
    fn ways(&self) -> Result<(Scatter, Gather, Printed), String> {
        let list = self.gather == Some(WrittenGather::List);
        Ok(match self.scatter {
            WrittenScatter::Whole if self.gather.is_some() => {
                let allowed = "allowed with scatter = \"array\" or \"lines\": the result of what is whole is that of its one part";
                return Err(format!("gather; {allowed}"));
            }
            WrittenScatter::Whole => (Scatter::Whole, Gather::Single, Printed::Anything),
            WrittenScatter::Array if list => (Scatter::Array, Gather::List, Printed::Anything),
            WrittenScatter::Array => (Scatter::Array, Gather::Concatenate, Printed::Array),
            WrittenScatter::Lines if list => (Scatter::Lines, Gather::List, Printed::Anything),
            WrittenScatter::Lines => (Scatter::Lines, Gather::Concatenate, Printed::Text),
        })
    }

    fn is_executed_by_one(&self) -> Result<(), String> {
        let of_commands = [
            ("timeout_ms", self.timeout_ms.is_some()),
            ("max_output_bytes", self.max_output_bytes.is_some()),
            ("pass_environment", self.pass_environment.is_some()),
        ];
        if self.command.is_some() == self.external {
            return Err(
                "who executes it? allowed: command = [\"program\", \"argument\", …], or external = true".to_owned()
            );
        }
        match of_commands.into_iter().find(|(_, given)| self.external && *given) {
            Some((name, _)) => Err(format!("{name}; allowed with command: what is external bounds itself")),
            None => Ok(()),
        }
    }
}

fn has_date(value: &Value) -> bool {
    match value {
        Value::Object(object) => object.contains_key(DATE) || object.values().any(has_date),
        Value::Array(elements) => elements.iter().any(has_date),
        _ => false,
    }
}

/// A command as it is written: a program and its arguments.
#[derive(Deserialize)]
#[serde(try_from = "Vec<String>")]
struct Words {
    program: String,
    arguments: Vec<String>,
}

impl TryFrom<Vec<String>> for Words {
    type Error = String;

    fn try_from(words: Vec<String>) -> Result<Self, String> {
        let fits = |word: &String| word.len() <= MAX_ARGUMENT_BYTES && !word.contains('\0');
        let mut words = words.into_iter();
        match words.next() {
            Some(program) if !program.is_empty() && fits(&program) && words.as_slice().iter().all(fits) => {
                Ok(Self { program, arguments: words.collect() })
            }
            _ => Err(format!(
                "command; allowed: a program and its arguments, each of at most {MAX_ARGUMENT_BYTES} bytes"
            )),
        }
    }
}

/// A whole number within bounds, both included.
#[derive(Deserialize)]
#[serde(try_from = "i64")]
struct Within<const MIN: u64, const MAX: u64>(u64);

impl<const MIN: u64, const MAX: u64> TryFrom<i64> for Within<MIN, MAX> {
    type Error = String;

    fn try_from(number: i64) -> Result<Self, String> {
        let within = u64::try_from(number).ok().filter(|number| (MIN..=MAX).contains(number));
        within.map(Self).ok_or_else(|| format!("{number}; allowed: {MIN} to {MAX}"))
    }
}

/// The name of a variable of the environment.
#[derive(Deserialize)]
#[serde(try_from = "String")]
struct Variable(String);

impl TryFrom<String> for Variable {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        if !name.is_empty() && name.bytes().all(fits) && !name.starts_with(OWN_VARIABLES) {
            Ok(Self(name))
        } else {
            Err(format!("a variable; allowed: letters, digits and _, not beginning with {OWN_VARIABLES}"))
        }
    }
}

fn description<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    if !text.trim().is_empty() && text.chars().count() <= MAX_DESCRIPTION_CHARS && !text.contains(char::is_control) {
        Ok(text)
    } else {
        let allowed = format!("description; allowed: 1 to {MAX_DESCRIPTION_CHARS} characters in one line");
        Err(de::Error::custom(allowed))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::Execution;
    use serde_json::json;

    fn read(text: &str) -> Result<Catalogue, FileError> {
        Catalogue::built_in().with_file(text, Path::new("/etc/ebs"))
    }

    #[test]
    fn what_a_file_declares_is_added_to_what_is_built_in() {
        let catalogue = read(
            r#"
            [operations.shout]
            description = "Puts a text into capitals."
            command = ["./shout", "--loud"]
            scatter = "lines"
            timeout_ms = 30_000
            max_output_bytes = 1000
            pass_environment = ["MODEL"]

            [operations.shout.parameters]
            required = ["times"]
            properties.times = { type = "integer", minimum = 1 }

            [operations.rate]
            description = "Rates it, elsewhere."
            external = true
            "#,
        )
        .unwrap();
        let names: Vec<_> = catalogue.names().collect();
        assert_eq!(names, ["flaky", "nop", "plusone", "pow", "rate", "shout", "word-frequencies"]);
        let shout = catalogue.get("shout").unwrap();
        let Execution::Command(command) = shout.execution() else { panic!("it is executed by a command") };
        let expected = Command {
            program: "./shout".to_owned(),
            arguments: vec!["--loud".to_owned()],
            folder: "/etc/ebs".into(),
            timeout: Some(Duration::from_secs(30)),
            max_output_bytes: 1000,
            pass_environment: vec!["MODEL".to_owned()],
            printed: Printed::Text,
        };
        assert_eq!(command, &expected);
        assert_eq!(shout.parameters_schema()["properties"]["times"]["minimum"], 1);
        assert_eq!(shout.summary(), "Puts a text into capitals.");
        assert!(shout.is_offered_unasked());
        let rate = catalogue.get("rate").unwrap();
        assert!(matches!(rate.execution(), Execution::Elsewhere) && !rate.is_offered_unasked());
        assert!(rate.check(&json!({"any": "data"}), &Parameters::new()).is_ok());
    }

    #[test]
    fn what_the_documents_and_examples_show_can_be_used() {
        let documents = include_str!("../OWN_OPERATIONS.md");
        let shown = documents.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap());
        let files = [
            include_str!("../../../examples/operations/operations.toml"),
            include_str!("../../../kustomize/components/operations-file/operations.toml"),
        ];
        for text in shown.chain(files) {
            assert!(read(text).unwrap().get("reverse").is_ok(), "{text}");
        }
    }

    #[test]
    fn a_file_without_operations_adds_none() {
        assert_eq!(read("# none yet\n").unwrap().names().count(), Catalogue::built_in().names().count());
    }

    #[test]
    fn what_is_not_allowed_is_told_with_its_line_and_what_is() {
        let operation = |more: &str| format!("[operations.mine]\ndescription = \"Mine.\"\n{more}");
        let command = |more: &str| operation(&format!("command = [\"cat\"]\n{more}"));
        let dated = "[operations.mine.parameters]\nproperties.day.const = 2026-01-01";
        for (text, line, told) in [
            ("operations = 1".to_owned(), 1, "invalid type"),
            ("[operation.mine]".to_owned(), 1, "expected `operations`"),
            ("[operations.mine".to_owned(), 1, ""),
            ("\n[operations.mine]\ncommand = [\"cat\"]".to_owned(), 2, "missing field `description`"),
            (operation("colour = 1"), 3, "expected one of `description`, `command`"),
            (operation(""), 1, "external = true"),
            (operation("external = false"), 1, "external = true"),
            (command("external = true"), 1, "external = true"),
            (operation("external = true\ntimeout_ms = 1000"), 1, "timeout_ms; allowed with command"),
            (operation("command = []"), 3, "a program"),
            (operation("command = [\"\"]"), 3, "a program"),
            (operation("command = [\"cat\", \"\\u0000\"]"), 3, "a program"),
            (operation("command = \"cat\""), 3, "expected a sequence"),
            (command("scatter = \"words\""), 4, "expected one of `whole`, `array`, `lines`"),
            (command("gather = \"list\""), 1, "gather; allowed with scatter"),
            (command("scatter = \"array\"\ngather = \"sum\""), 5, "`concatenate` or `list`"),
            (command("timeout_ms = 99"), 4, "allowed: 100 to 480000"),
            (command("timeout_ms = -1"), 4, "allowed: 100 to 480000"),
            (command("timeout_ms = \"30s\""), 4, "invalid type"),
            (command("max_output_bytes = 0"), 4, "allowed: 1 to 15728640"),
            (command("pass_environment = [\"A=B\"]"), 4, "letters, digits and _"),
            (command("pass_environment = [\"EBS_PART\"]"), 4, "EBS_"),
            (command("parameters.type = \"array\""), 1, "object"),
            (command("parameters.properties.a.type = \"text\""), 1, "no JSON Schema"),
            (command(dated), 1, "date"),
            ("[operations.mine]\ndescription = \" \"".to_owned(), 2, "in one line"),
            (format!("\n{}\n[operations.mine]", command("")), 6, "duplicate key"),
            (command("").replace("mine", "nop"), 1, "an operation named `nop` already"),
            (command("").replace("mine", "\"Not A Name\""), 1, "cannot name an operation"),
        ] {
            let error = read(&text).expect_err(&text);
            assert_eq!(error.line, Some(line), "{text}: {error}");
            assert!(error.to_string().contains(told), "{text}: {error}");
            assert_eq!(error.to_string().lines().count(), 1, "{error:?}");
        }
    }

    #[test]
    fn there_is_a_most_operations() {
        let file = |count: usize| {
            let one = |number| format!("[operations.o{number}]\ndescription = \"One.\"\nexternal = true\n");
            (0..count).map(one).collect::<String>()
        };
        assert!(read(&file(MAX_OPERATIONS)).is_ok());
        let error = read(&file(MAX_OPERATIONS + 1)).unwrap_err().to_string();
        assert!(error.contains("65 operations; allowed: at most 64"), "{error}");
    }
}
