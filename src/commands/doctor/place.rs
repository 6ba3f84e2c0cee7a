//! The place of a file: who holds it, what room there is, on what it stands.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use nix::{
    sys::statvfs::statvfs,
    unistd::{AccessFlags, access},
};

use super::check::Check;

/// With less room than this it will soon stand still,
const LITTLE_BYTES: u64 = 64 << 20;
/// and with less than this somebody should look.
const SOME_BYTES: u64 = 1 << 30;

/// Room, and what the file system is, for a file that is or will be there.
pub fn look(subject: &str, file: &Path) -> Vec<Check> {
    let file = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
    let folder = file.parent().unwrap_or(&file);
    if !folder.is_dir() {
        let says = format!("there is no folder {}", folder.display());
        return vec![Check::problem(subject, says, "make it, or name another one")];
    }
    let mut checks = Vec::new();
    if access(folder, AccessFlags::W_OK).is_err() {
        let says = format!("{} cannot be written by this user", folder.display());
        checks.push(Check::problem(subject, says, "give the right to, or start the system as the user who has it"));
    }
    if let Some(kind) = network_file_system(folder) {
        let says = format!("{} is on {kind}, where locks do not hold", folder.display());
        checks.push(Check::problem(subject, says, "put it on a local file system"));
    }
    let Ok(room) = statvfs(folder) else { return checks };
    // The fields are of different widths on different systems.
    #[allow(clippy::useless_conversion, reason = "not everywhere")]
    let bytes = u64::from(room.blocks_available()).saturating_mul(u64::from(room.fragment_size()));
    let says = format!("{} free at {}", size(bytes), folder.display());
    checks.push(match bytes {
        0..LITTLE_BYTES => Check::problem(subject, says, "make room: without it nothing is accepted, or recorded"),
        LITTLE_BYTES..SOME_BYTES => Check::warning(subject, says, "make room before it is full"),
        _ => Check::ok(subject, says),
    });
    checks
}

/// Who holds the lock of a file, as the system's table of locks tells.
pub fn holder(file: &Path) -> String {
    let mut lock = file.as_os_str().to_owned();
    lock.push(".lock");
    let locks = fs::read_to_string("/proc/locks").unwrap_or_default();
    match fs::metadata(PathBuf::from(lock)).ok().and_then(|lock| process(&locks, lock.ino())) {
        Some(number) => match fs::read_to_string(format!("/proc/{number}/comm")) {
            Ok(name) => format!("{} (process {number})", name.trim()),
            Err(_) => format!("process {number}"),
        },
        None => "a process that cannot be seen from here".to_owned(),
    }
}

/// The process with a lock on the whole of the file `inode`.
fn process(locks: &str, inode: u64) -> Option<u32> {
    locks.lines().find_map(|line| {
        let mut words = line.split_whitespace().skip(1);
        let kind = words.next()?;
        let process = words.nth(2)?.parse().ok()?;
        let file: u64 = words.next()?.rsplit(':').next()?.parse().ok()?;
        (kind == "FLOCK" && file == inode).then_some(process)
    })
}

#[cfg(target_os = "linux")]
fn network_file_system(folder: &Path) -> Option<&'static str> {
    use nix::sys::statfs::{NFS_SUPER_MAGIC, SMB_SUPER_MAGIC, statfs};
    /// Of the [kernel's list](https://www.kernel.org/doc/html/latest/filesystems/index.html): SMB 2 and later,
    const SMB2: i64 = 0xfe53_4d42;
    /// and Plan 9, by which some virtual machines share folders.
    const PLAN_9: i64 = 0x0102_1997;
    let kind = statfs(folder).ok()?.filesystem_type();
    match kind {
        NFS_SUPER_MAGIC => Some("NFS"),
        SMB_SUPER_MAGIC => Some("SMB"),
        nix::sys::statfs::FsType(SMB2) => Some("SMB"),
        nix::sys::statfs::FsType(PLAN_9) => Some("9P"),
        _ => None,
    }
}

#[cfg(not(target_os = "linux"))]
fn network_file_system(_: &Path) -> Option<&'static str> {
    None
}

/// A number of bytes for people.
pub fn size(bytes: u64) -> String {
    match bytes {
        0..1024 => format!("{bytes} bytes"),
        1024..1_048_576 => format!("{:.1} KiB", bytes as f64 / 1024.0),
        1_048_576..1_073_741_824 => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
        _ => format!("{:.1} GiB", bytes as f64 / 1_073_741_824.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_holder_is_who_has_the_whole_file_locked() {
        let locks = "\
            1: POSIX  ADVISORY  WRITE 101 fe:00:777 124 124\n\
            2: FLOCK  ADVISORY  WRITE 102 fe:00:778 0 EOF\n\
            3: FLOCK  ADVISORY  WRITE 103 fe:00:777 0 EOF\n";
        assert_eq!(process(locks, 777), Some(103));
        assert_eq!(process(locks, 779), None);
    }

    #[test]
    fn sizes_are_for_people() {
        assert_eq!([5, 2048, 3 << 20, 5 << 30].map(size), ["5 bytes", "2.0 KiB", "3.0 MiB", "5.0 GiB"]);
    }
}
