//! The settings of datagen.

use std::{str::FromStr, time::Duration};

use bus::events::MAX_TASKS;
use chassis::{
    config::{Count, NotAllowed, Span},
    deserialize_by_parsing,
};
use http::Uri;
use serde::Deserialize;

/// How many tasks an object is split into.
pub(crate) type Tasks = Count<1, { MAX_TASKS as u64 }>;
/// How many messages may wait in a queue behind the door. More than the most would take days to work off.
pub(crate) type MaxBacklog = Count<1, 1_000_000_000>;

/// Settings, each one variable of the environment.
#[derive(Clone, Debug, Deserialize)]
#[serde(default)]
pub struct Config {
    /// `DISTRIBUTION_COUNT`: into how many tasks an object is split that does not say.
    pub(crate) distribution_count: Tasks,
    /// `OBJECT_DEADLINE`: how long an object may take that does not say.
    pub(crate) object_deadline: Deadline,
    /// `MAX_BACKLOG`: while more messages than this wait in a queue behind it, it accepts nothing.
    pub(crate) max_backlog: MaxBacklog,
    /// `STATISTICS_URL`: who answers what datagen does not.
    pub(crate) statistics_url: StatisticsUrl,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            distribution_count: Tasks::clamped(3),
            object_deadline: Deadline(Duration::from_secs(24 * 3600)),
            max_backlog: MaxBacklog::clamped(100_000),
            statistics_url: StatisticsUrl(Uri::from_static("http://127.0.0.1:8002")),
        }
    }
}

/// How long an object may take: 1 s to 30 days.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Deadline(Duration);

impl Deadline {
    /// Shorter than this, an object could be given up while it is merely on its way.
    pub(crate) const MIN: Duration = Duration::from_secs(1);
    /// Longer than this, nobody waits for it any more.
    pub(crate) const MAX: Duration = Duration::from_secs(30 * 24 * 3600);

    pub(crate) fn get(self) -> Duration {
        self.0
    }
}

impl FromStr for Deadline {
    type Err = NotAllowed;

    fn from_str(text: &str) -> Result<Self, NotAllowed> {
        let span = text.parse::<Span>()?.duration();
        if (Self::MIN..=Self::MAX).contains(&span) {
            Ok(Self(span))
        } else {
            Err(NotAllowed::new("expected a time from 1s to 30d"))
        }
    }
}

/// The address of statistics: `http://host` or `http://host:port`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StatisticsUrl(pub(crate) Uri);

impl FromStr for StatisticsUrl {
    type Err = NotAllowed;

    fn from_str(text: &str) -> Result<Self, NotAllowed> {
        let expected = || NotAllowed::new("expected an address like http://statistics:80, without a path");
        let uri: Uri = text.parse().map_err(|_| expected())?;
        let bare = uri.scheme_str() == Some("http") && uri.authority().is_some() && matches!(uri.path(), "" | "/");
        if bare && uri.query().is_none() { Ok(Self(uri)) } else { Err(expected()) }
    }
}

deserialize_by_parsing!(Deadline, StatisticsUrl);
