//! A command: the part on its standard input, the partial result on its standard output, and nothing of it left behind.

mod group;
mod guard;
mod output;
mod program;

use std::{
    ffi::OsString,
    io::{Error, ErrorKind},
    pin::pin,
    process::{ExitStatus, Stdio},
};

use bus::{
    Cause, Failure,
    events::{Attempt, Task},
};
use operations::Command;
use tokio::{
    io::AsyncWriteExt,
    process::{self, ChildStdin},
};
use tracing::debug;

pub(crate) use self::program::find;
use self::{
    group::{Exits, Group},
    guard::Guard,
    output::{Printed, all_of, last_of},
};
use crate::execute::Failed;

/// The exit code of a command that may succeed another time: `EX_TEMPFAIL` of BSD's `sysexits.h`.
const EXIT_TRANSIENT: i32 = 75;
/// The variables that every command is given, those of the locale (`LC_…`) beside. Whatever else a processor has in its
/// environment may be a secret: its broker's address, its tokens, those of others.
const PASSED: [&str; 8] = ["PATH", "HOME", "USER", "LOGNAME", "LANG", "LANGUAGE", "TZ", "TMPDIR"];

/// Runs a command on a part; what it printed. Whoever drops this kills it, and all that it started.
pub(crate) async fn run(command: &Command, task: &Task, attempt: &Attempt) -> Result<Vec<u8>, Failed> {
    let exits = Exits::listen().map_err(|error| not_now("processes cannot be watched", &error))?;
    let mut child = process(command, task, attempt)
        .spawn()
        .map_err(|error| not_now(&format!("{} cannot be started", command.program), &error))?;
    let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    // Dropped in this order, before the child is reaped: until then nobody else can have its number.
    let (guard, group) = (Guard::of(&child), Group::of(&child));
    let (Some(group), (Some(stdin), Some(stdout), Some(stderr))) = (group, pipes) else {
        return Err(not_now("it was started", &Error::other("and is not there")));
    };
    let lives = async {
        let mut exit = pin!(exits.exit_of(&group));
        // It need not read, and what it started may keep the pipe open.
        tokio::select! {
            () = give(stdin, task.data.as_str()) => exit.await,
            exited = &mut exit => exited,
        }
        .map_err(|error| not_now("it cannot be watched", &error))
    };
    let printed = async {
        match all_of(stdout, command.max_output_bytes).await {
            Ok(Printed::All(bytes)) => Ok(bytes),
            Ok(Printed::TooMuch) => Err(too_much(command.max_output_bytes)),
            Err(error) => Err(not_now("its standard output cannot be read", &error)),
        }
    };
    let said = async { Ok(last_of(stderr).await) };
    let ((), printed, said) = tokio::try_join!(lives, printed, said)?;
    drop((group, guard));
    let status = child.wait().await.map_err(|error| not_now("how it ended is not known", &error))?;
    debug!(object.id = %task.object_id, operation = %task.operation, "{status}: {said}");
    ended(status, &said).map(|()| printed)
}

/// The command as a process that does not run yet.
fn process(command: &Command, task: &Task, attempt: &Attempt) -> process::Command {
    let mut process = process::Command::new(program::path_of(command));
    process
        .args(&command.arguments)
        .current_dir(&command.folder)
        .env_clear()
        .envs(passed(command))
        .env("EBS_OPERATION", task.operation.as_str())
        .env("EBS_PARAMETERS", serde_json::Value::from(task.parameters.clone()).to_string())
        .env("EBS_OBJECT_ID", task.object_id.to_string())
        .env("EBS_TASK_ID", task.id.to_string())
        .env("EBS_PART", task.part.to_string())
        .env("EBS_PARTS", task.parts.to_string())
        .env("EBS_ATTEMPT", attempt.attempt.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // Its own, so that all that it starts can be killed with it, and Ctrl-C in a terminal does not kill it.
        .process_group(0);
    process
}

fn passed(command: &Command) -> impl Iterator<Item = (OsString, OsString)> {
    std::env::vars_os().filter(|(name, _)| {
        let name = name.to_str().unwrap_or_default();
        PASSED.contains(&name)
            || name.starts_with("LC_")
            || command.pass_environment.iter().any(|passed| passed == name)
    })
}

/// Writes the part and closes the pipe. A command that does not want it all closes it first.
async fn give(mut stdin: ChildStdin, part: &str) {
    let _ = stdin.write_all(part.as_bytes()).await;
}

fn ended(status: ExitStatus, said: &str) -> Result<(), Failed> {
    let told = if said.is_empty() { String::new() } else { format!(": {said}") };
    match status.code() {
        Some(0) => Ok(()),
        Some(EXIT_TRANSIENT) => Err(transient(format!("the command failed in passing (exit code 75){told}"))),
        Some(code) => Err(Failed::permanent(Cause::Rejected, format!("the command failed (exit code {code}){told}"))),
        // Somebody killed it, for want of memory perhaps, or it crashed: attempts have an end.
        None => Err(transient(format!("the command was ended ({status}){told}"))),
    }
}

fn transient(reason: String) -> Failed {
    Failed::Transient(Failure::new(Cause::Rejected, reason))
}

/// What this machine lacks, now: another one may have it, and this one later.
fn not_now(what: &str, error: &Error) -> Failed {
    if error.kind() == ErrorKind::ArgumentListTooLong {
        return Failed::permanent(Cause::TooLarge, "its parameters are too long for a variable of the environment");
    }
    transient(format!("{what}: {error}"))
}

fn too_much(max: usize) -> Failed {
    Failed::permanent(Cause::TooLarge, format!("the command printed more than {max} bytes (max_output_bytes)"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
