//! A command: which program executes an operation's tasks, and within which bounds. Running it is a processor's business.

use std::{path::PathBuf, time::Duration};

use serde_json::Value;

use crate::OperationError;
use crate::operation::kind;

/// A program that turns a part into its partial result. It may be started for the same part again, elsewhere too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// The program: a path if there is a slash in it, relative to the folder, else a name that is looked for in `PATH`.
    pub program: String,
    /// Its arguments, as they are: no shell reads them.
    pub arguments: Vec<String>,
    /// Where it runs.
    pub folder: PathBuf,
    /// How long it may take, if that is less than every task may.
    pub timeout: Option<Duration>,
    /// The longest result, in bytes of what it prints.
    pub max_output_bytes: usize,
    /// The variables of the environment that it is given beside those that every command is.
    pub pass_environment: Vec<String>,
    pub(crate) printed: Printed,
}

/// What a command has to print so that it can be gathered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Printed {
    Anything,
    Array,
    Text,
}

impl Command {
    /// Whether what it printed can be gathered.
    ///
    /// # Errors
    /// [`OperationError::Execution`] says what is allowed.
    pub fn check_result(&self, result: &Value) -> Result<(), OperationError> {
        let (fits, allowed) = match self.printed {
            Printed::Anything => return Ok(()),
            Printed::Array => (result.is_array(), "an array, because partial results are concatenated"),
            Printed::Text => (result.is_string(), "a string, because partial results are concatenated"),
        };
        if fits {
            Ok(())
        } else {
            Err(OperationError::Execution(format!("the command printed {}; allowed: {allowed}", kind(result))))
        }
    }
}
