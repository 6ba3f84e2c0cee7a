//! This machine, as far as the system stands on it.

use std::time::SystemTime;

use nix::sys::resource::{Resource, getrlimit};

use super::check::Check;

/// Files that a process of the system may have open: its 640 connections, those to the bus, the record's files.
const FILES: u64 = 1024;
/// No clock that was ever set says less: when this was written, in seconds since 1970.
const LONG_AGO_S: u64 = 1_767_225_600;

/// What there is to see at once.
pub fn look() -> Vec<Check> {
    vec![Check::ok("version", format!("ebs {}", env!("CARGO_PKG_VERSION"))), files(), clock()]
}

fn files() -> Check {
    match getrlimit(Resource::RLIMIT_NOFILE) {
        Ok((now, most)) if now < FILES => {
            let to_do = format!("ulimit -n {} (here {most} are allowed)", FILES.min(most).max(now));
            Check::warning("limits", format!("a process may open {now} files; {FILES} may be needed"), to_do)
        }
        Ok((now, _)) => Check::ok("limits", format!("a process may open {now} files")),
        Err(error) => Check::warning("limits", format!("open files: {error}"), "see ulimit -n"),
    }
}

fn clock() -> Check {
    let now_s = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |now| now.as_secs());
    let shown = jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M:%S UTC").to_string();
    if now_s < LONG_AGO_S {
        return Check::problem("clock", format!("it says {shown}"), "set it, and keep it right by NTP");
    }
    Check::ok("clock", format!("it says {shown}"))
}
