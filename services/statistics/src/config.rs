//! The settings of statistics.

use std::{
    path::{Path, PathBuf},
    str::FromStr,
};

use chassis::{config::NotAllowed, deserialize_by_parsing};
use serde::Deserialize;

/// Settings, each one variable of the environment.
#[derive(Clone, Debug, Deserialize)]
#[serde(default)]
pub struct Config {
    /// `DATABASE_URL`: the file that the record is in.
    pub database_url: DatabasePath,
}

impl Default for Config {
    fn default() -> Self {
        Self { database_url: DatabasePath(PathBuf::from("stats.db")) }
    }
}

/// A SQLite file: `sqlite://stats.db`, `sqlite:stats.db` or `stats.db`; `sqlite:///data/stats.db` is absolute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatabasePath(PathBuf);

impl DatabasePath {
    /// The path of the file.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl FromStr for DatabasePath {
    type Err = NotAllowed;

    fn from_str(text: &str) -> Result<Self, NotAllowed> {
        let expected = || NotAllowed::new("expected a SQLite file like sqlite://stats.db or /data/stats.db");
        let scheme = ["sqlite://", "sqlite:"];
        let path = scheme.iter().find_map(|scheme| text.strip_prefix(scheme)).unwrap_or(text);
        // Whoever writes it wants what is done anyway.
        let path = path.strip_suffix("?mode=rwc").unwrap_or(path);
        if path.is_empty() || path.ends_with('/') || path.contains(['?', '\0', ':']) {
            return Err(expected());
        }
        Ok(Self(PathBuf::from(path)))
    }
}

deserialize_by_parsing!(DatabasePath);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_database_is_a_file_with_or_without_a_scheme() {
        for (text, path) in [
            ("sqlite://stats.db", "stats.db"),
            ("sqlite:stats.db", "stats.db"),
            ("stats.db", "stats.db"),
            ("sqlite:///data/stats.db", "/data/stats.db"),
            ("/data/stats.db", "/data/stats.db"),
            ("sqlite://stats.db?mode=rwc", "stats.db"),
        ] {
            assert_eq!(text.parse::<DatabasePath>().unwrap().path(), Path::new(path), "{text}");
        }
    }

    #[test]
    fn what_is_not_a_file_is_refused() {
        for text in ["", "sqlite://", "sqlite::memory:", "postgres://host/db", "data/", "a.db?mode=ro"] {
            assert!(text.parse::<DatabasePath>().is_err(), "{text}");
        }
    }
}
