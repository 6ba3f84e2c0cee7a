//! Whether a file is a record, before anything of it is changed.

use std::{
    fs::{self, File},
    io::{self, Read},
    path::Path,
};

use sqlx::{ConnectOptions, Connection, SqliteConnection, sqlite::SqliteConnectOptions};

use super::{
    lock::beside,
    open::OpenError,
    trouble::{io_may_pass, is_damage, may_pass},
};

/// Says that a file is ours (`PRAGMA application_id`): "EBSr". A migration writes it; before, it was 0.
const APPLICATION_ID: u32 = 0x4542_5372;
/// The same of the file of an embedded bus: "EBSb".
const APPLICATION_ID_OF_A_BUS: u32 = 0x4542_5362;

/// The [header](https://www.sqlite.org/fileformat2.html#the_database_header) of a database: its length,
const HEADER_BYTES: usize = 100;
/// how it begins,
const MAGIC: &[u8; 16] = b"SQLite format 3\0";
/// where it says by what it is read, a WAL or not,
const READ_VERSION: usize = 19;
/// and where it says whose it is.
const APPLICATION_ID_AT: usize = 68;
/// Without a WAL.
const ROLLBACK_JOURNAL: u8 = 1;

/// Makes sure that there is a file which can be written, and that it is a record or empty.
pub(super) async fn check(path: &Path) -> Result<(), OpenError> {
    let place = |error: io::Error| match io_may_pass(&error) {
        true => OpenError::unavailable(path, error),
        false => OpenError::failed(path, error),
    };
    // SQLite would only say that it cannot open it.
    let mut file = File::options().read(true).write(true).create(true).truncate(false).open(path).map_err(place)?;
    let mut header = [0; HEADER_BYTES];
    let length = read_up_to(&mut file, &mut header).map_err(place)?;
    if length == 0 {
        return Ok(());
    }
    match refuse_foreign_header(path, &header[..length])? {
        APPLICATION_ID => Ok(()),
        // What it was marked with last may be in its log still.
        _ => match is_record(path).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(OpenError::unusable(path, "it is a database of something else")),
            Err(error) if is_damage(&error) => Err(OpenError::unusable(path, format!("it is damaged: {error}"))),
            Err(error) if may_pass(&error) => Err(OpenError::unavailable(path, error)),
            Err(error) => Err(OpenError::failed(path, error)),
        },
    }
}

/// By the beginning of a file that has one: the id of whom it says that it is, unless that is somebody else.
pub(super) fn refuse_foreign_header(path: &Path, header: &[u8]) -> Result<u32, OpenError> {
    if header.len() < HEADER_BYTES || !header.starts_with(MAGIC) {
        return Err(OpenError::unusable(path, "it is no SQLite database"));
    }
    if header[READ_VERSION] == ROLLBACK_JOURNAL {
        refuse_stray_log(path)?;
    }
    let id: [u8; 4] = std::array::from_fn(|index| header[APPLICATION_ID_AT + index]);
    match u32::from_be_bytes(id) {
        id @ (APPLICATION_ID | 0) => Ok(id),
        APPLICATION_ID_OF_A_BUS => Err(OpenError::unusable(path, "it is the file of a bus")),
        _ => Err(OpenError::unusable(path, "it is a database of something else")),
    }
}

/// A log beside a file that has none is another file's. SQLite would write what is in it over the pages of this one.
fn refuse_stray_log(path: &Path) -> Result<(), OpenError> {
    let log = beside(path, "-wal");
    match fs::metadata(&log) {
        Ok(metadata) if metadata.len() > 0 => {
            let (log, index) = (log.display(), beside(path, "-shm"));
            let reason = format!(
                "{log} is the log of another file, left when this one took its place: delete {log} and {}",
                index.display()
            );
            Err(OpenError::unusable(path, reason))
        }
        _ => Ok(()),
    }
}

/// Asks the tables; reads only, so that a foreign file stays as it is.
async fn is_record(path: &Path) -> sqlx::Result<bool> {
    let mut connection = SqliteConnectOptions::new().filename(path).read_only(true).connect().await?;
    let is_record = has_our_tables(&mut connection).await;
    connection.close().await?;
    is_record
}

/// Whether it is a record, of any version, or empty.
pub(super) async fn has_our_tables(connection: &mut SqliteConnection) -> sqlx::Result<bool> {
    let id: i64 = sqlx::query_scalar("PRAGMA application_id").fetch_one(&mut *connection).await?;
    if id == i64::from(APPLICATION_ID) {
        return Ok(true);
    }
    let (all, ours): (i64, i64) = sqlx::query_as(
        "SELECT count(*), count(*) FILTER (WHERE name IN ('objects', 'tasks', 'figures', '_sqlx_migrations'))
         FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'",
    )
    .fetch_one(connection)
    .await?;
    // A first start that was killed may have got no further than the table of migrations.
    Ok(id == 0 && (all == 0 || ours == 4 || (all == 1 && ours == 1)))
}

/// Fills the buffer as far as there is something; how far.
fn read_up_to(file: &mut File, buffer: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    while length < buffer.len() {
        match file.read(&mut buffer[length..])? {
            0 => break,
            more => length += more,
        }
    }
    Ok(length)
}
