//! The progress bar on a terminal's stderr, and nothing elsewhere.

use indicatif::{ProgressBar, ProgressStyle};

use super::input::Input;

/// How far the replay has come, in bytes of input; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Progress(ProgressBar);

impl Progress {
    /// A bar over all inputs; invisible when nobody watches.
    pub(crate) fn new(inputs: &[Input]) -> Self {
        if !super::watched() {
            return Self(ProgressBar::hidden());
        }
        let known: Option<u64> = inputs.iter().map(Input::size).sum();
        let bar = known.map_or_else(ProgressBar::no_length, ProgressBar::new);
        let form = "{bar:30} {bytes}/{total_bytes} {msg} [{elapsed} < {eta}]";
        if let Ok(style) = ProgressStyle::with_template(form) {
            bar.set_style(style);
        }
        Self(bar)
    }

    /// `bytes` more of the input were read.
    pub(crate) fn read(&self, bytes: u64) {
        self.0.inc(bytes);
    }

    /// Names the file being read.
    pub(crate) fn file(&self, name: &str) {
        self.0.set_message(name.to_owned());
    }

    /// Does something with stderr while the bar is out of the way.
    pub(crate) fn aside(&self, print: impl FnOnce()) {
        self.0.suspend(print);
    }

    /// Takes the bar away.
    pub(crate) fn finish(&self) {
        self.0.finish_and_clear();
    }
}
