//! A process and all that it starts, to be killed together.

use std::io;

use rustix::{
    io::Errno,
    process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid},
};
use tokio::{
    process::Child,
    signal::unix::{self, SignalKind, signal},
};

/// A group of processes, which is killed when this is dropped. Its first process must not have been reaped before: its number
/// would be free for others.
pub(super) struct Group(Pid);

impl Group {
    /// The group of a child that has one of its own; none if it was reaped.
    pub(super) fn of(child: &Child) -> Option<Self> {
        i32::try_from(child.id()?).ok().and_then(Pid::from_raw).map(Self)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Nobody is left, or nobody of them is ours to kill.
        let _ = kill_process_group(self.0, Signal::KILL);
    }
}

/// Hears of children that exit, without reaping them.
pub(super) struct Exits(unix::Signal);

impl Exits {
    /// Hears of whoever exits from now on.
    ///
    /// # Errors
    /// If signals cannot be heard.
    pub(super) fn listen() -> io::Result<Self> {
        signal(SignalKind::child()).map(Self)
    }

    /// Completes when the first process of a group has exited. It stays what it is until somebody waits for it.
    ///
    /// # Errors
    /// If it is not a child of this process.
    pub(super) async fn exit_of(mut self, group: &Group) -> io::Result<()> {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        loop {
            match waitid(WaitId::Pid(group.0), options) {
                Ok(Some(_)) => return Ok(()),
                Ok(None) => {
                    self.0.recv().await;
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}
