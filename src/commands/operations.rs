//! `ebs operations`: what can be done to objects.

use std::{fmt::Write as _, process::ExitCode};

use clap::Args;
use reqwest::Method;
use serde_json::Value;

use crate::{
    client::{Address, Client, EXIT_CODES},
    failure::Failure,
    output::{self, Format, USUAL_WIDTH, compact, heading, one_line, wrapped},
};

/// Lists what can be done to objects
#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub struct Operations {
    #[command(flatten)]
    address: Address,
    #[command(flatten)]
    format: Format,
}

/// Lists them.
///
/// # Errors
/// If the system does not answer.
pub async fn run(arguments: Operations) -> Result<ExitCode, Failure> {
    let client = Client::of(&arguments.address)?;
    let answer = client.ask(Method::GET, "api/operations", &[], None).await?;
    arguments.format.print(&answer, |answer| shown(answer, output::width().unwrap_or(USUAL_WIDTH)))?;
    Ok(ExitCode::SUCCESS)
}

fn shown(answer: &Value, width: usize) -> String {
    let operations = answer["operations"].as_array().map(Vec::as_slice).unwrap_or_default();
    let shown: Vec<String> = operations.iter().map(|operation| shown_one(operation, width)).collect();
    shown.join("\n")
}

fn shown_one(operation: &Value, width: usize) -> String {
    let text = |name: &str| one_line(operation[name].as_str().unwrap_or_default());
    let mut shown = heading(&text("name"));
    if operation["default"] == true {
        shown += "  (of an object that names none)";
    }
    shown.push('\n');
    shown += &wrapped(&text("summary"), width, "  ");
    let schema = &operation["parameters"];
    let required = schema["required"].as_array().map(Vec::as_slice).unwrap_or_default();
    for (name, parameter) in schema["properties"].as_object().into_iter().flatten() {
        let mut line = format!("{}: {}", one_line(name), kind(parameter));
        if required.iter().any(|required| required == name) {
            line += ", required";
        }
        if let Some(description) = parameter["description"].as_str() {
            let _ = write!(line, ". {}", one_line(description));
        }
        shown += &wrapped(&line, width, "    ");
    }
    shown
}

/// What a parameter may be, in short.
fn kind(parameter: &Value) -> String {
    let mut kind = match (&parameter["type"], &parameter["enum"]) {
        (_, Value::Array(values)) => values.iter().map(compact).collect::<Vec<_>>().join(" or "),
        (Value::String(kind), _) => one_line(kind),
        (Value::Array(kinds), _) => {
            kinds.iter().filter_map(Value::as_str).map(one_line).collect::<Vec<_>>().join(" or ")
        }
        _ => "any".to_owned(),
    };
    match (&parameter["minimum"], &parameter["maximum"]) {
        (Value::Null, Value::Null) => {}
        (least, Value::Null) => {
            let _ = write!(kind, " from {least}");
        }
        (Value::Null, most) => {
            let _ = write!(kind, " up to {most}");
        }
        (least, most) => {
            let _ = write!(kind, " from {least} to {most}");
        }
    }
    kind
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_operation_is_shown_with_its_parameters() {
        let pow = json!({"name": "pow", "summary": "Raises each number to a power.", "default": false, "parameters": {
            "type": "object",
            "required": ["exponent"],
            "properties": {"exponent": {"type": "integer", "minimum": 0, "maximum": 9, "description": "The power."}}
        }});
        let nop = json!({"name": "nop", "summary": "Nothing.", "default": true, "parameters": {"type": "object"}});
        assert_eq!(
            shown(&json!({"operations": [pow, nop]}), 40),
            "pow\n  Raises each number to a power.\n    exponent: integer from 0 to 9,\n    required. The power.\n\nnop  (of an \
             object that names none)\n  Nothing.\n"
        );
    }
}
