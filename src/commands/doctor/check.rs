//! What was looked at, and how it is.

use serde::Serialize;

use crate::output::{USUAL_WIDTH as WIDTH, one_line, wrapped};

/// Columns of the verdict and of the subject: what is to be done stands below what was seen.
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
        let (says, to_do) = (one_line(&says.into()), one_line(&to_do.into()));
        Self { subject: subject.to_owned(), verdict, says, to_do }
    }

    /// Lines for people.
    pub fn shown(&self) -> String {
        let verdict = match self.verdict {
            Verdict::Ok => "ok",
            Verdict::Warning => "WARNING",
            Verdict::Problem => "PROBLEM",
        };
        let Self { subject, says, to_do, .. } = self;
        let beside = |indent: usize, text: &str| wrapped(text, WIDTH, &" ".repeat(indent))[indent..].to_owned();
        let says = beside(MARGIN, says);
        let to_do = match to_do.as_str() {
            "" => String::new(),
            to_do => format!("{:MARGIN$}→ {}", "", beside(MARGIN + 2, to_do)),
        };
        format!("{verdict:<8} {subject:<9} {says}{to_do}")
    }
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
        assert_eq!(Check::ok("bus", "fine\u{1b}[31m").shown(), "ok       bus       fine\u{fffd}[31m\n");
    }
}
