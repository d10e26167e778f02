//! Progress: a bar or spinner on a terminal, lines elsewhere.

use std::borrow::Cow;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::outcome::say;
use super::output::clean;

/// Work that takes a while. Gone without a trace on a terminal when it is dropped.
pub(super) struct Progress {
    bar: ProgressBar,
    last: String,
}

impl Progress {
    /// Work of unknown length.
    pub(super) fn spinner() -> Self {
        // indicatif draws on standard error, and nothing at all where that is no terminal.
        let bar = ProgressBar::new_spinner();
        bar.enable_steady_tick(Duration::from_millis(100));
        Self {
            bar,
            last: String::new(),
        }
    }

    /// `total` pieces of work.
    pub(super) fn bar(total: usize, what: &str) -> Self {
        let bar = ProgressBar::new(u64::try_from(total).unwrap_or(u64::MAX));
        if let Ok(style) = ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len}") {
            bar.set_style(style);
        }
        bar.set_message(what.to_owned());
        Self {
            bar,
            last: String::new(),
        }
    }

    /// One piece is done.
    pub(super) fn step(&self) {
        self.bar.inc(1);
    }

    /// What is going on now; said once.
    pub(super) fn report(&mut self, text: impl Into<Cow<'static, str>>) {
        let text = clean(&text.into());
        if text == self.last {
            return;
        }
        if self.bar.is_hidden() {
            say(&text);
        } else {
            self.bar.set_message(text.clone());
        }
        self.last = text;
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
