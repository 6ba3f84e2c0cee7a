//! How far long work is: in place on a terminal, and as a line from time to time elsewhere; always on standard error.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};

use crate::output::{self, one_line};

/// How often it is said where it cannot be shown in place.
const PAUSE: Duration = Duration::from_secs(5);
/// How often the terminal shows that something still happens.
const TICK: Duration = Duration::from_millis(120);

/// How far something is. Nothing of it stays on a terminal.
pub struct Progress {
    bar: ProgressBar,
    /// When it was said last; not needed on a terminal.
    said_at: Mutex<Instant>,
}

impl Progress {
    /// Of what has so many bytes, if that is known.
    pub fn of_bytes(total: Option<u64>) -> Self {
        let bar = total.map_or_else(ProgressBar::no_length, ProgressBar::new);
        let known = "{spinner} {bar:16} {percent:>3} %  {eta} left  {wide_msg}";
        Self::with(bar, if total.is_some() { known } else { "{spinner} {bytes}  {wide_msg}" })
    }

    /// Of what is a part of a whole: [`show_part`](Self::show_part).
    pub fn of_parts() -> Self {
        Self::with(ProgressBar::new(1), "{spinner} {bar:16} {wide_msg}")
    }

    /// Of what ends when it ends; what it is.
    pub fn of_waiting(what: &str) -> Self {
        let progress = Self::with(ProgressBar::no_length(), "{spinner} {wide_msg}");
        progress.bar.set_message(one_line(what));
        progress
    }

    fn with(bar: ProgressBar, template: &str) -> Self {
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.enable_steady_tick(TICK);
        Self { bar, said_at: Mutex::new(Instant::now()) }
    }

    /// Whether somebody can see it move.
    pub fn is_watched(&self) -> bool {
        !self.bar.is_hidden()
    }

    /// It is there now.
    pub fn show(&self, position: u64, message: &str) {
        let message = one_line(message);
        let mut said_at = self.said_at.lock().unwrap_or_else(PoisonError::into_inner);
        if self.bar.is_hidden() && said_at.elapsed() >= PAUSE {
            *said_at = Instant::now();
            output::tell(&message);
        }
        self.bar.set_position(position);
        self.bar.set_message(message);
    }

    /// So much is done of so much.
    pub fn show_part(&self, done: u64, of: u64, message: &str) {
        self.bar.set_length(of);
        self.show(done, message);
    }

    /// Says something that stays, above it.
    pub fn tell(&self, message: &str) {
        self.bar.suspend(|| output::tell(message));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
