//! JSON for programs, and for people who read it.

use std::fmt::Write as _;

use serde_json::Value;

use super::text::steers;

/// In one line.
pub fn compact(value: &Value) -> String {
    harmless_json(value.to_string())
}

/// A whole document, indented.
pub fn document(value: &Value) -> String {
    harmless_json(format!("{value:#}\n"))
}

/// Indented, but what fits into a line of so many columns stands in one.
pub fn fitted(value: &Value, columns: usize) -> String {
    let mut text = String::new();
    write_fitted(&mut text, value, columns, 0);
    text.push('\n');
    text
}

fn write_fitted(text: &mut String, value: &Value, columns: usize, indent: usize) {
    let line = compact(value);
    let too_long = indent + line.chars().count() > columns;
    let is_empty = matches!(value, Value::Array(items) if items.is_empty())
        || matches!(value, Value::Object(fields) if fields.is_empty());
    let inner = indent + 2;
    let begin = |text: &mut String, first: bool, bracket: char| {
        text.push(if first { bracket } else { ',' });
        let _ = write!(text, "\n{:inner$}", "");
    };
    match value {
        Value::Array(items) if too_long && !is_empty => {
            for (number, item) in items.iter().enumerate() {
                begin(text, number == 0, '[');
                write_fitted(text, item, columns, inner);
            }
            let _ = write!(text, "\n{:indent$}]", "");
        }
        Value::Object(fields) if too_long && !is_empty => {
            for (number, (name, value)) in fields.iter().enumerate() {
                begin(text, number == 0, '{');
                let _ = write!(text, "{}: ", compact(&name.as_str().into()));
                write_fitted(text, value, columns, inner);
            }
            let _ = write!(text, "\n{:indent$}}}", "");
        }
        _ => text.push_str(&line),
    }
}

/// The same JSON without characters that steer a terminal: they can only stand in strings, where an escape says the same.
fn harmless_json(json: String) -> String {
    if !json.contains(steers) {
        return json;
    }
    let mut harmless = String::with_capacity(json.len() + 16);
    for c in json.chars() {
        if steers(c) {
            let _ = write!(harmless, "\\u{:04x}", u32::from(c));
        } else {
            harmless.push(c);
        }
    }
    harmless
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;

    #[test]
    fn json_steers_no_terminal_and_says_the_same() {
        let value = json!({"a\u{9b}": "\u{1b}[2J\u{202e}\u{7f}\n"});
        for text in [compact(&value), document(&value), fitted(&value, 80), fitted(&value, 1)] {
            assert!(!text.contains(steers), "{text:?}");
            assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
        }
    }

    #[test]
    fn what_fits_into_a_line_stands_in_one() {
        assert_eq!(fitted(&json!([0, 1, 8]), 80), "[0,1,8]\n");
        let long = json!({"numbers": [1, 2, 3], "empty": [], "text": "x".repeat(20)});
        let shown = fitted(&long, 30);
        assert!(shown.lines().count() == 5 && shown.contains("\n  \"numbers\": [1,2,3],\n"), "{shown}");
        assert_eq!(serde_json::from_str::<Value>(&shown).unwrap(), long);
    }
}
