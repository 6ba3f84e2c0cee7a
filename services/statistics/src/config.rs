//! The settings of statistics.

use std::{
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use chassis::{
    config::{NotAllowed, Span},
    deserialize_by_parsing,
};
use serde::Deserialize;

/// Settings, each one variable of the environment.
#[derive(Clone, Debug, Deserialize)]
#[serde(default)]
pub struct Config {
    /// `DATABASE_URL`: the file that the record is in.
    pub database_url: DatabasePath,
    /// `RETENTION`: how long objects are kept after they have finished, and their ids after that.
    pub retention: Retention,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            database_url: DatabasePath(PathBuf::from("stats.db")),
            retention: Retention(Span::seconds(7 * 24 * 60 * 60)),
        }
    }
}

/// How long something is kept: a second to ten years.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention(Span);

impl Retention {
    /// As the standard library has it.
    pub fn duration(self) -> Duration {
        self.0.duration()
    }
}

impl FromStr for Retention {
    type Err = NotAllowed;

    fn from_str(text: &str) -> Result<Self, NotAllowed> {
        match text.parse()? {
            span if span >= Span::seconds(1) => Ok(Self(span)),
            _ => Err(NotAllowed::new("expected a time from 1s to 3650d, like 12h or 7d")),
        }
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

deserialize_by_parsing!(DatabasePath, Retention);

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
    fn things_are_kept_for_a_second_at_least() {
        for (text, seconds) in [("1s", 1), ("2m", 120), ("7d", 604_800)] {
            assert_eq!(text.parse::<Retention>().unwrap().duration().as_secs(), seconds, "{text}");
        }
        for text in ["0s", "999ms", "7", "for ever"] {
            assert!(text.parse::<Retention>().is_err(), "{text}");
        }
        assert_eq!(Config::default().retention, "7d".parse().unwrap());
    }

    #[test]
    fn what_is_not_a_file_is_refused() {
        for text in ["", "sqlite://", "sqlite::memory:", "postgres://host/db", "data/", "a.db?mode=ro"] {
            assert!(text.parse::<DatabasePath>().is_err(), "{text}");
        }
    }
}
