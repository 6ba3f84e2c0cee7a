//! What keeps the record from being written and may pass by itself, told from what will not.

use std::io::{self, ErrorKind};

/// Primary result codes of [SQLite](https://www.sqlite.org/rescode.html).
mod code {
    pub(super) const BUSY: i32 = 5;
    pub(super) const LOCKED: i32 = 6;
    pub(super) const NO_MEMORY: i32 = 7;
    pub(super) const READ_ONLY: i32 = 8;
    pub(super) const INTERRUPTED: i32 = 9;
    pub(super) const IO_ERROR: i32 = 10;
    pub(super) const CORRUPT: i32 = 11;
    pub(super) const FULL: i32 = 13;
    pub(super) const CANNOT_OPEN: i32 = 14;
    pub(super) const TOO_BIG: i32 = 18;
    pub(super) const CONSTRAINT: i32 = 19;
    pub(super) const MISMATCH: i32 = 20;
    pub(super) const NOT_A_DATABASE: i32 = 26;
}

/// A damaged disk's answer; it has no kind of its own.
const EIO: i32 = 5;
/// Open files: the process has as many as it may,
const EMFILE: i32 = 24;
/// or the system has.
const ENFILE: i32 = 23;

/// Whether the place may be written again later: no room, mounted read-only, an error of the disk, busy.
pub fn may_pass(error: &sqlx::Error) -> bool {
    use code::{BUSY, CANNOT_OPEN, FULL, IO_ERROR, LOCKED, NO_MEMORY, READ_ONLY};
    match error {
        sqlx::Error::Io(error) => io_may_pass(error),
        error => primary(error)
            .is_some_and(|code| [BUSY, LOCKED, NO_MEMORY, READ_ONLY, IO_ERROR, FULL, CANNOT_OPEN].contains(&code)),
    }
}

/// The same of a file that was opened without SQLite.
pub(super) fn io_may_pass(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::ReadOnlyFilesystem)
        || matches!(error.raw_os_error(), Some(EIO | EMFILE | ENFILE))
}

/// Whether the file is not what was written to it, or nothing of SQLite's at all.
pub(super) fn is_damage(error: &sqlx::Error) -> bool {
    primary(error).is_some_and(|code| [code::CORRUPT, code::NOT_A_DATABASE].contains(&code))
}

/// Whether it is the rows themselves that cannot be written: the same ones never can.
pub fn is_of_rows(error: &sqlx::Error) -> bool {
    primary(error).is_some_and(|code| [code::TOO_BIG, code::CONSTRAINT, code::MISMATCH].contains(&code))
}

/// Whether a question took longer than questions may.
pub fn took_too_long(error: &sqlx::Error) -> bool {
    primary(error) == Some(code::INTERRUPTED)
}

/// The result code without what extends it.
fn primary(error: &sqlx::Error) -> Option<i32> {
    let code = error.as_database_error()?.code()?.parse::<i32>().ok()?;
    Some(code & 0xff)
}

#[cfg(test)]
mod tests {
    use std::{borrow::Cow, error::Error as StdError, fmt};

    use sqlx::error::{DatabaseError, ErrorKind as Kind};

    use super::*;

    /// An error as SQLite gives it; what a disk answers cannot be had from a sound one.
    #[derive(Debug)]
    struct Code(i32);

    impl fmt::Display for Code {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            self.0.fmt(f)
        }
    }

    impl StdError for Code {}

    impl DatabaseError for Code {
        fn message(&self) -> &str {
            "said SQLite"
        }

        fn code(&self) -> Option<Cow<'_, str>> {
            Some(self.0.to_string().into())
        }

        fn as_error(&self) -> &(dyn StdError + Send + Sync + 'static) {
            self
        }

        fn as_error_mut(&mut self) -> &mut (dyn StdError + Send + Sync + 'static) {
            self
        }

        fn into_error(self: Box<Self>) -> Box<dyn StdError + Send + Sync + 'static> {
            self
        }

        fn kind(&self) -> Kind {
            Kind::Other
        }
    }

    fn error(code: i32) -> sqlx::Error {
        sqlx::Error::Database(Box::new(Code(code)))
    }

    #[test]
    fn a_disk_that_fails_or_is_full_may_be_well_again() {
        // FULL; IOERR_WRITE, IOERR_FSYNC, IOERR_SHMSIZE; READONLY; BUSY_SNAPSHOT; CANTOPEN.
        for code in [13, 778, 1034, 4874, 8, 517, 14] {
            assert!(may_pass(&error(code)) && !is_damage(&error(code)), "{code}");
        }
        for errno in [5, 23, 24, 28, 30, 122] {
            assert!(io_may_pass(&io::Error::from_raw_os_error(errno)), "{errno}");
        }
    }

    #[test]
    fn what_is_wrong_with_the_file_or_the_data_does_not_pass() {
        // CONSTRAINT_UNIQUE, MISMATCH, ERROR, CORRUPT, NOTADB.
        for code in [2067, 20, 1, 11, 26] {
            assert!(!may_pass(&error(code)), "{code}");
        }
        assert!(is_of_rows(&error(2067)) && is_of_rows(&error(20)) && !is_of_rows(&error(1)));
        assert!(is_damage(&error(11)) && is_damage(&error(267)) && is_damage(&error(26)));
        // No such file, no permission, not a directory.
        for errno in [2, 13, 20] {
            assert!(!io_may_pass(&io::Error::from_raw_os_error(errno)), "{errno}");
        }
        assert!(took_too_long(&error(9)) && !took_too_long(&error(5)));
    }
}
