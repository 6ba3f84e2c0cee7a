//! What was looked at, and how it is.

use serde::Serialize;

/// Columns of a line, so that what is to be done stands below what was seen.
const WIDTH: usize = 80;
/// Columns of the verdict and of the subject.
const MARGIN: usize = 19;

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What was looked at.
    pub subject: String,
    /// How it is.
    pub verdict: Verdict,
    /// What was seen.
    pub says: String,
    /// What to do, if something is wrong.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub to_do: String,
}

/// How something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// It works, or may, and yet somebody should look at it.
    Warning,
    /// It does not work.
    Problem,
}

impl Check {
    /// All is well.
    pub fn ok(subject: &str, says: impl Into<String>) -> Self {
        Self::new(subject, Verdict::Ok, says, "")
    }

    /// All may be well.
    pub fn warning(subject: &str, says: impl Into<String>, to_do: impl Into<String>) -> Self {
        Self::new(subject, Verdict::Warning, says, to_do)
    }

    /// All is not well.
    pub fn problem(subject: &str, says: impl Into<String>, to_do: impl Into<String>) -> Self {
        Self::new(subject, Verdict::Problem, says, to_do)
    }

    /// As it turned out.
    pub fn new(subject: &str, verdict: Verdict, says: impl Into<String>, to_do: impl Into<String>) -> Self {
        // What others wrote must not steer the terminal.
        let harmless = |text: String| text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        Self { subject: subject.to_owned(), verdict, says: harmless(says.into()), to_do: harmless(to_do.into()) }
    }

    /// Lines for people.
    pub fn shown(&self) -> String {
        let verdict = match self.verdict {
            Verdict::Ok => "ok",
            Verdict::Warning => "WARNING",
            Verdict::Problem => "PROBLEM",
        };
        let mut shown = String::new();
        for (number, line) in wrapped(&self.says).into_iter().enumerate() {
            let (verdict, subject) = if number == 0 { (verdict, self.subject.as_str()) } else { ("", "") };
            shown += format!("{verdict:<8} {subject:<9} {line}").trim_end();
            shown.push('\n');
        }
        for (number, line) in wrapped(&self.to_do).into_iter().enumerate().filter(|_| !self.to_do.is_empty()) {
            let arrow = if number == 0 { "→ " } else { "  " };
            shown += &format!("{:MARGIN$}{arrow}{line}\n", "");
        }
        shown
    }
}

/// Broken between words, so that it fits beside the margin. A word that is longer stays whole: it may be an address.
fn wrapped(text: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines
            .last_mut()
            .filter(|line| line.is_empty() || MARGIN + 2 + line.chars().count() + 1 + word.chars().count() <= WIDTH);
        match line {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) => *line = format!("{line} {word}"),
            None => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_is_shown_in_lines_that_fit_with_what_to_do_below() {
        let shown = Check::problem("bus", "word ".repeat(40), "do ".repeat(40)).shown();
        assert!(shown.starts_with("PROBLEM  bus       word word"), "{shown}");
        assert!(shown.contains("\n                   → do do"), "{shown}");
        assert!(shown.lines().all(|line| line.chars().count() <= WIDTH), "{shown}");
        assert_eq!(Check::ok("bus", "fine\u{1b}[31m").shown(), "ok       bus       fine [31m\n");
    }
}
