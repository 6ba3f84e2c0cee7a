//! A copy of the record as it is at one moment, taken while it is written: whole, checked, and in its place only then; and
//! the way back.
//!
//! Any process may take it, because it only reads. The copy is made beside its place (`VACUUM INTO`), checked
//! (`integrity_check`), synchronised with the disk and then renamed, so that whatever happens meanwhile, a backup that is there is good.
//! As long as it takes, the write-ahead log of the record grows.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use sqlx::{ConnectOptions, Connection, SqliteConnection, sqlite::SqliteConnectOptions};
use tempfile::NamedTempFile;
use tokio::task::spawn_blocking;

use super::{
    identity::has_our_tables,
    lock::{Lock, beside},
    trouble::is_damage,
};

/// How the names of files begin that have no other name yet.
const PREFIX: &str = ".ebs-copy-";

/// A copy that has been made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copied {
    /// How long it is.
    pub bytes: u64,
    /// How many objects it has.
    pub objects: i64,
}

/// Why there is no copy. Nothing was left behind, and what was in its place is there still.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CopyError {
    /// There is no such record.
    #[error("there is no record {}", .0.display())]
    NoRecord(PathBuf),
    /// The file is something else, or damaged.
    #[error("{} cannot be copied: {reason}", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// There is a file already, and it was not said that it may be replaced.
    #[error("{} exists: give another name, or --force to replace it", .0.display())]
    Exists(PathBuf),
    /// The copy would take its original's place.
    #[error("{} is the record itself: a copy is another file", .0.display())]
    Itself(PathBuf),
    /// A process works with the record that is to be replaced.
    #[error("{} is in use: stop the system first", .0.display())]
    InUse(PathBuf),
    /// The copy's place cannot be written.
    #[error("{} cannot be written: {reason}", path.display())]
    Target {
        /// The place.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The record could not be read, or the copy not be written or checked.
    #[error("copying failed: {0}")]
    Failed(String),
}

/// Where the copy is before it is in its place: a file in the same folder, which goes if it comes to nothing.
struct Draft {
    file: NamedTempFile,
    copied: Copied,
}

/// Copies the record `database` to the new file `target`, or in place of it if `force`.
///
/// # Errors
/// Why it came to nothing.
pub async fn backup(database: &Path, target: &Path, force: bool) -> Result<Copied, CopyError> {
    check_target(database, target, force)?;
    let draft = draft(database, folder_of(target)).await?;
    put(draft, target, force, || Ok(())).await
}

/// The same for whoever reads it at once: a file without a name.
///
/// # Errors
/// Why it came to nothing.
pub async fn backup_for_reading(database: &Path) -> Result<(File, Copied), CopyError> {
    check_source(database)?;
    // The record is written there, so that others are, too.
    let Draft { file, copied } = draft(database, folder_of(database)).await?;
    let open = file.reopen().map_err(|error| CopyError::Failed(error.to_string()))?;
    Ok((open, copied))
}

/// Makes the copy `source` the record `database`, or takes that one's place if `force`. What else was beside the old one,
/// its write-ahead log most of all, goes with it: it would be written over the new one.
///
/// # Errors
/// Why it came to nothing.
pub async fn restore(source: &Path, database: &Path, force: bool) -> Result<Copied, CopyError> {
    check_target(source, database, force)?;
    let failed =
        |error: io::Error| CopyError::Target { path: database.to_owned(), reason: format!("its lock: {error}") };
    let lock = Lock::try_take(database).map_err(failed)?;
    let lock = lock.ok_or_else(|| CopyError::InUse(database.to_owned()))?;
    let draft = draft(source, folder_of(database)).await?;
    let [log, index] = ["-wal", "-shm"].map(|suffix| beside(database, suffix));
    let put = put(draft, database, force, move || {
        for file in [log, index] {
            match fs::remove_file(&file) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    });
    let copied = put.await;
    drop(lock);
    copied
}

/// The same of what standard input, or anything else, has.
///
/// # Errors
/// Why it came to nothing.
pub async fn restore_from(
    mut input: impl io::Read + Send + 'static,
    database: &Path,
    force: bool,
) -> Result<Copied, CopyError> {
    let folder = folder_of(database);
    let kept = spawn_blocking(move || {
        let mut file = NamedTempFile::with_prefix_in(PREFIX, folder)?;
        io::copy(&mut input, &mut file)?;
        Ok(file)
    });
    let kept = kept.await.map_err(io::Error::other).and_then(|kept| kept);
    let kept = kept.map_err(|error: io::Error| CopyError::Failed(error.to_string()))?;
    restore(kept.path(), database, force).await
}

fn check_source(source: &Path) -> Result<(), CopyError> {
    if source.exists() { Ok(()) } else { Err(CopyError::NoRecord(source.to_owned())) }
}

fn check_target(source: &Path, target: &Path, force: bool) -> Result<(), CopyError> {
    let same =
        |path: &Path| fs::canonicalize(path).ok().is_some_and(|path| fs::canonicalize(target).ok() == Some(path));
    check_source(source)?;
    if same(source) {
        return Err(CopyError::Itself(target.to_owned()));
    }
    match fs::symlink_metadata(target) {
        Ok(metadata) if metadata.is_dir() => {
            Err(CopyError::Target { path: target.to_owned(), reason: "it is a directory".to_owned() })
        }
        Ok(_) if !force => Err(CopyError::Exists(target.to_owned())),
        _ => Ok(()),
    }
}

/// Makes and checks the copy.
async fn draft(database: &Path, folder: PathBuf) -> Result<Draft, CopyError> {
    let target = |error: io::Error| CopyError::Target { path: folder.clone(), reason: error.to_string() };
    // SQLite opens it by its name, wherever the process is.
    let absolute = std::path::absolute(&folder).map_err(target)?;
    let file = NamedTempFile::with_prefix_in(PREFIX, absolute).map_err(target)?;
    copy(database, file.path()).await?;
    let objects = check(file.path()).await?;
    let bytes = file.as_file().metadata().map_err(target)?.len();
    Ok(Draft { file, copied: Copied { bytes, objects } })
}

async fn copy(database: &Path, copy: &Path) -> Result<(), CopyError> {
    let failed = |error: sqlx::Error| match is_damage(&error) {
        true => CopyError::Unusable { path: database.to_owned(), reason: format!("it is damaged: {error}") },
        false => CopyError::Failed(error.to_string()),
    };
    let copy = copy.to_str().ok_or_else(|| CopyError::Target {
        path: copy.to_owned(),
        reason: "the name of its folder is not UTF-8".to_owned(),
    })?;
    let mut connection =
        SqliteConnectOptions::new().filename(database).read_only(true).connect().await.map_err(failed)?;
    if !has_our_tables(&mut connection).await.map_err(failed)? {
        let reason = "it is a database of something else".to_owned();
        return Err(CopyError::Unusable { path: database.to_owned(), reason });
    }
    sqlx::query("VACUUM INTO ?1").bind(copy).execute(&mut connection).await.map_err(failed)?;
    connection.close().await.map_err(failed)
}

/// Reads all of the copy; how many objects it has.
async fn check(copy: &Path) -> Result<i64, CopyError> {
    let failed = |error: sqlx::Error| CopyError::Failed(format!("the copy cannot be read: {error}"));
    // Nobody else knows it, so that it needs neither locks nor files beside it.
    let options = SqliteConnectOptions::new().filename(copy).read_only(true).immutable(true);
    let mut connection: SqliteConnection = options.connect().await.map_err(failed)?;
    let check: String =
        sqlx::query_scalar("PRAGMA integrity_check(1)").fetch_one(&mut connection).await.map_err(failed)?;
    if check != "ok" {
        return Err(CopyError::Failed(format!("the copy is damaged, and so the record may be: {check}")));
    }
    let objects =
        sqlx::query_scalar("SELECT count(*) FROM objects").fetch_one(&mut connection).await.map_err(failed)?;
    connection.close().await.map_err(failed)?;
    Ok(objects)
}

/// Puts the copy in its place, durably, and does what is to be done then.
async fn put(
    draft: Draft,
    target: &Path,
    force: bool,
    then: impl FnOnce() -> io::Result<()> + Send + 'static,
) -> Result<Copied, CopyError> {
    let (Draft { file, copied }, target) = (draft, target.to_owned());
    let put = spawn_blocking(move || {
        let failed = |error: io::Error| CopyError::Target { path: target.clone(), reason: error.to_string() };
        file.as_file().sync_all().map_err(failed)?;
        let placed = if force { file.persist(&target) } else { file.persist_noclobber(&target) };
        placed.map_err(|error| match error.error.kind() {
            // It came into being meanwhile.
            io::ErrorKind::AlreadyExists => CopyError::Exists(target.clone()),
            _ => failed(error.error),
        })?;
        then().and_then(|()| File::open(folder_of(&target))?.sync_all()).map_err(failed)
    });
    put.await.unwrap_or_else(|panic| Err(CopyError::Failed(panic.to_string()))).map(|()| copied)
}

fn folder_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(folder) if folder.as_os_str() != OsStr::new("") => folder.to_owned(),
        _ => PathBuf::from("."),
    }
}
