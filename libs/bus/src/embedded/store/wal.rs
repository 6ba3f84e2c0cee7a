//! Whether SQLite's write-ahead log is whole.
//!
//! SQLite takes a log up to the first frame whose checksum is wrong and silently forgets the rest: right for a last commit
//! that never got to the disk, wrong for commits that did and were damaged there. A commit is only begun when the one
//! before is on the disk; so if after the first bad frame more than one commit ends, one of them was told of.
//!
//! The [format](https://www.sqlite.org/fileformat2.html#the_write_ahead_log): a header of 32 bytes, then frames, each a
//! header of 24 bytes and a page. A frame belongs to the log if it repeats the header's salts; its checksum goes on from
//! that of the frame before.

use std::{
    fs::File,
    io::{self, BufReader, ErrorKind, Read},
    path::Path,
};

const HEADER_BYTES: usize = 32;
const FRAME_HEADER_BYTES: usize = 24;
/// The last bit says in which order the checksum takes the bytes of a word.
const MAGIC: u32 = 0x377f_0682;
const MAX_PAGE_BYTES: u32 = 65536;

/// What the log of a database that nobody has open looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Log {
    /// There is none, or it is whole, or what is wrong with it was never committed.
    Whole,
    /// Its last commit cannot be read. It never was told of, or it was damaged.
    Torn,
    /// Commits that were told of cannot be read.
    Damaged,
}

/// Reads the log beside a database, all of it: at most as much as is written between two checkpoints.
pub(super) fn inspect(database: &Path) -> io::Result<Log> {
    let mut path = database.as_os_str().to_owned();
    path.push("-wal");
    match File::open(path) {
        Ok(file) => read(BufReader::with_capacity(1 << 20, file)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Log::Whole),
        Err(error) => Err(error),
    }
}

fn read(mut log: impl Read) -> io::Result<Log> {
    let mut header = [0; HEADER_BYTES];
    if !filled(&mut log, &mut header)? {
        return Ok(Log::Whole);
    }
    let big_endian = word(&header, 0) & 1 == 1;
    let page_bytes = word(&header, 2);
    let mut sum = checksum((0, 0), &header[..24], big_endian);
    if word(&header, 0) & !1 != MAGIC || page_bytes > MAX_PAGE_BYTES || sum != (word(&header, 6), word(&header, 7)) {
        // The header is on the disk before the first commit begins.
        return Ok(Log::Damaged);
    }
    let mut frame = vec![0; FRAME_HEADER_BYTES + page_bytes as usize];
    let (mut is_valid, mut lost_commits) = (true, 0);
    while filled(&mut log, &mut frame)? {
        if frame[8..16] != header[16..24] {
            is_valid = false;
            continue;
        }
        let ends_a_commit = word(&frame, 1) != 0;
        if is_valid {
            sum = checksum(sum, &frame[..8], big_endian);
            sum = checksum(sum, &frame[FRAME_HEADER_BYTES..], big_endian);
            is_valid = sum == (word(&frame, 4), word(&frame, 5));
        }
        lost_commits += usize::from(!is_valid && ends_a_commit);
    }
    Ok(match lost_commits {
        0 => Log::Whole,
        1 => Log::Torn,
        _ => Log::Damaged,
    })
}

/// Fills the buffer, or says that there is not enough.
fn filled(log: &mut impl Read, buffer: &mut [u8]) -> io::Result<bool> {
    match log.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    bytes.chunks_exact(4).nth(at).map_or(0, |word| u32::from_be_bytes(array(word)))
}

fn checksum(mut sum: (u32, u32), bytes: &[u8], big_endian: bool) -> (u32, u32) {
    let number = |word: &[u8]| match big_endian {
        true => u32::from_be_bytes(array(word)),
        false => u32::from_le_bytes(array(word)),
    };
    for pair in bytes.chunks_exact(8) {
        sum.0 = sum.0.wrapping_add(number(&pair[..4])).wrapping_add(sum.1);
        sum.1 = sum.1.wrapping_add(number(&pair[4..])).wrapping_add(sum.0);
    }
    sum
}

fn array(word: &[u8]) -> [u8; 4] {
    [word[0], word[1], word[2], word[3]]
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use sqlx::{Connection, SqliteConnection};

    use super::*;

    /// The log after ten commits, taken while the database is open, as a kill would leave it.
    async fn log_of_ten_commits() -> Vec<u8> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.db");
        let mut connection = SqliteConnection::connect(&format!("sqlite://{}?mode=rwc", path.display())).await.unwrap();
        sqlx::raw_sql("PRAGMA journal_mode = WAL; CREATE TABLE t (x)").execute(&mut connection).await.unwrap();
        for number in 0..9 {
            sqlx::query("INSERT INTO t VALUES (?)").bind(number).execute(&mut connection).await.unwrap();
        }
        assert_eq!(inspect(&path).unwrap(), Log::Whole);
        std::fs::read(folder.path().join("a.db-wal")).unwrap()
    }

    #[tokio::test]
    async fn a_whole_log_is_whole_also_without_its_end() {
        let log = log_of_ten_commits().await;
        assert_eq!(read(log.as_slice()).unwrap(), Log::Whole);
        for bytes in [0, 10, 32, 100, log.len() / 2, log.len() - 1] {
            assert_eq!(read(&log[..bytes]).unwrap(), Log::Whole, "{bytes}");
        }
    }

    #[tokio::test]
    async fn a_damaged_byte_is_noticed_wherever_commits_that_were_told_of_follow() {
        let log = log_of_ten_commits().await;
        for at in (0..HEADER_BYTES).chain((HEADER_BYTES..log.len() / 2).step_by(97)) {
            let mut damaged = log.clone();
            damaged[at] ^= 0x10;
            assert_eq!(read(damaged.as_slice()).unwrap(), Log::Damaged, "byte {at} of {}", log.len());
        }
        let mut torn = log.clone();
        *torn.last_mut().unwrap() ^= 1;
        assert_eq!(read(torn.as_slice()).unwrap(), Log::Torn);
    }
}
