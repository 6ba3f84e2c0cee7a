//! Where a command's program is.

use std::{
    env,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use operations::Command;

/// Where the system looks for programs if `PATH` does not say.
const DEFAULT_PATH: &str = "/bin:/usr/bin";

/// What is to be started: a path, or a name that the system looks for in `PATH`.
pub(super) fn path_of(command: &Command) -> PathBuf {
    if command.program.contains('/') { command.folder.join(&command.program) } else { PathBuf::from(&command.program) }
}

/// The program, if it is here and can be executed by somebody.
pub(crate) fn find(command: &Command) -> Option<PathBuf> {
    let path = path_of(command);
    if command.program.contains('/') {
        return Some(path).filter(|path| is_program(path));
    }
    let folders = env::var_os("PATH").unwrap_or_else(|| DEFAULT_PATH.into());
    env::split_paths(&folders).map(|folder| folder.join(&path)).find(|path| is_program(path))
}

fn is_program(path: &Path) -> bool {
    path.metadata().is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}
