//! How a command ends that does not end well: a line that says what to do next, and an exit code that programs can tell apart.

use std::{io, process::ExitCode};

use chassis::config::EXIT_CONFIG;

use crate::{client::ClientError, output};

/// The system says no, or what was waited for failed.
pub const EXIT_NO: u8 = 1;
/// The command is used wrongly (`EX_USAGE` of [sysexits](https://man.freebsd.org/cgi/man.cgi?sysexits), as the others).
pub const EXIT_USAGE: u8 = EXIT_CONFIG;
/// A file that is to be submitted cannot be read (`EX_NOINPUT`).
pub const EXIT_NO_INPUT: u8 = 66;
/// The system cannot be reached, or cannot answer now (`EX_UNAVAILABLE`).
pub const EXIT_UNAVAILABLE: u8 = 69;
/// What is to be printed cannot be (`EX_IOERR`).
const EXIT_NO_OUTPUT: u8 = 74;
/// What was waited for is not finished in time (`EX_TEMPFAIL`).
pub const EXIT_NOT_YET: u8 = 75;

/// Why a command ends early.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The system does not answer, or not with yes.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// Standard output does not take more.
    #[error("cannot write: {0}")]
    Output(#[from] io::Error),
    /// Anything else.
    #[error("{message}")]
    Told {
        /// What the process ends with.
        code: u8,
        /// What is wrong, and what to do.
        message: String,
    },
}

impl Failure {
    /// The command cannot be meant like this.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::Told { code: EXIT_USAGE, message: message.into() }
    }

    /// Something else is wrong.
    pub fn told(code: u8, message: impl Into<String>) -> Self {
        Self::Told { code, message: message.into() }
    }

    /// What the process ends with.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Client(error) => error.exit_code(),
            // Whoever reads has read enough, such as `head`: that is no failure.
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
            Self::Output(_) => ExitCode::from(EXIT_NO_OUTPUT),
            Self::Told { code, .. } => ExitCode::from(*code),
        }
    }

    /// Says it on standard error, if there is anybody to be told.
    pub fn tell(&self) {
        match self {
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
            _ => output::tell(&self.to_string()),
        }
    }
}

/// Says what went wrong, if anything did; what the process ends with.
pub fn end(ended: Result<ExitCode, Failure>) -> ExitCode {
    ended.unwrap_or_else(|failure| {
        failure.tell();
        failure.exit_code()
    })
}
