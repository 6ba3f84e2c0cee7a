//! Who kills a command when this process was killed and cannot do so any more.
//!
//! A process that is killed with SIGKILL does nothing more, and what it started goes on. So each command has a guard: a shell
//! that waits at a pipe whose other end is here. When this process is gone, however it went, the pipe is closed, and the guard
//! kills the command's group. A command is given its part only when its guard stands: without it, it reads an empty input.
//! Where there is no shell, as in many containers, this process is the first one of the container, and the system ends all
//! of it together.

use std::{process::Stdio, sync::Once};

use tokio::process::{Child, Command};
use tracing::warn;

const SHELL: &str = "/bin/sh";
/// `$0` is the group. Whatever ends the waiting, it is never a line.
const SCRIPT: &str = r#"read -r _; kill -s KILL -- "-$0""#;

/// A guard, which leaves when this is dropped.
pub(super) struct Guard {
    _shell: Option<Child>,
}

impl Guard {
    /// Guards a child with a group of its own.
    pub(super) fn of(child: &Child) -> Self {
        static WARN: Once = Once::new();
        let shell = child.id().and_then(|group| {
            let mut guard = Command::new(SHELL);
            guard.args(["-c", SCRIPT]).arg(group.to_string());
            guard.env_clear().current_dir("/").stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
            // It must outlive whoever kills the group of this process.
            let shell = guard.process_group(0).kill_on_drop(true).spawn();
            shell
                .inspect_err(|error| {
                    WARN.call_once(|| {
                        warn!(
                            "commands would outlive this process if it were killed: no {SHELL} to guard them: {error}"
                        );
                    });
                })
                .ok()
        });
        Self { _shell: shell }
    }
}
