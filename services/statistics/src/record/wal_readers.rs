//! Who reads from the write-ahead log, as the system's table of locks tells.
//!
//! Every read transaction holds a shared lock on one of five bytes of the log's index
//! ([format](https://www.sqlite.org/walformat.html#wal_locks)).

use std::{fs, ops::RangeInclusive, os::unix::fs::MetadataExt, path::Path, process};

use super::lock::beside;

/// The bytes of the index that readers lock.
const READ_MARKS: RangeInclusive<u64> = 123..=127;

/// Names and numbers of the processes that read from the database's log now; never empty, because somebody does.
pub(super) fn wal_readers(database: &Path) -> Vec<String> {
    let locks = fs::read_to_string("/proc/locks").unwrap_or_default();
    let mut readers: Vec<String> = match fs::metadata(beside(database, "-shm")) {
        Ok(index) => processes(&locks, index.ino()).into_iter().map(described).collect(),
        Err(_) => Vec::new(),
    };
    readers.sort();
    readers.dedup();
    if readers.is_empty() {
        readers.push("a reader that this system does not name".to_owned());
    }
    readers
}

/// The processes with a shared lock on a reader's byte of the file `inode`.
fn processes(locks: &str, inode: u64) -> Vec<i64> {
    let process = |line: &str| {
        let mut words = line.split_whitespace().skip(1);
        let kind = words.next()?;
        let mode = words.nth(1)?;
        let process: i64 = words.next()?.parse().ok()?;
        let file: u64 = words.next()?.rsplit(':').next()?.parse().ok()?;
        let first: u64 = words.next()?.parse().ok()?;
        let reads = kind == "POSIX" && mode == "READ" && file == inode && READ_MARKS.contains(&first);
        reads.then_some(process)
    };
    locks.lines().filter_map(process).collect()
}

fn described(number: i64) -> String {
    if number == i64::from(process::id()) {
        return "a query of this process".to_owned();
    }
    match fs::read_to_string(format!("/proc/{number}/comm")) {
        Ok(name) => format!("{} (process {number})", name.trim()),
        // It is in another container.
        Err(_) => "a process that cannot be seen from here".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readers_are_those_with_a_shared_lock_on_a_read_mark_of_this_file() {
        let locks = "\
            1: POSIX  ADVISORY  READ  101 fe:00:777 124 124\n\
            2: POSIX  ADVISORY  READ  102 fe:00:777 128 128\n\
            3: POSIX  ADVISORY  WRITE 103 fe:00:777 124 124\n\
            4: FLOCK  ADVISORY  READ  104 fe:00:777 0 EOF\n\
            5: POSIX  ADVISORY  READ  105 fe:00:778 124 124\n\
            5: -> POSIX  ADVISORY  READ  106 fe:00:777 124 124\n\
            6: POSIX  ADVISORY  READ  107 fe:00:777 123 123\n";
        assert_eq!(processes(locks, 777), [101, 107]);
    }
}
