//! Where touches come from: the lines of logs, in order of time, or the store.

use std::collections::HashMap;
use std::str::FromStr;

use std::path::PathBuf;

use anyhow::Context as _;
use indicatif::{ProgressBar, ProgressStyle};
use scrollback::simulate::Event;
use scrollback::window::Sizes;
use scrollback::{Page, Role, Window};

use super::rows::{Rows, Trial};
use crate::config::Config;
use crate::exit::{Exit, Failed};
use crate::lines::Found;
use crate::open;
use crate::replay::input::Input;
use crate::replay::line::Line;
use crate::replay::progress::Progress;
use crate::replay::watched;
use crate::signals::{DEADLINE, Stop};

/// Sessions named, and messages read, at a time.
const SESSIONS: usize = 256;
const PAGE: usize = 10_000;

/// Lines between two looks whether to stop.
const LOOK: u64 = 4096;

/// What tells sessions of a log apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Space,
    Channel,
    Stream,
    Author,
}

/// Which parts of a line make its session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Key(Vec<Part>);

impl FromStr for Key {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let part = |name: &str| match name.trim() {
            "space" => Ok(Part::Space),
            "channel" | "topic" => Ok(Part::Channel),
            "stream" => Ok(Part::Stream),
            "author" => Ok(Part::Author),
            other => Err(Failed::usage(format!(
                "--key: `{other}` is not space, channel, stream or author"
            ))),
        };
        text.split(',')
            .map(part)
            .collect::<anyhow::Result<_>>()
            .map(Self)
    }
}

impl Key {
    /// Writes a line's session into `name`; each part after its length, so that no two sessions share a name.
    fn write(&self, line: &Line, name: &mut Vec<u8>) {
        name.clear();
        let mut put = |text: &str| {
            let size = u32::try_from(text.len()).unwrap_or(u32::MAX);
            name.extend_from_slice(&size.to_be_bytes());
            name.extend_from_slice(text.as_bytes());
        };
        // A channel's name says nothing outside its space.
        if self
            .0
            .iter()
            .any(|part| matches!(part, Part::Channel | Part::Stream | Part::Space))
        {
            put(line.space());
        }
        for part in &self.0 {
            match part {
                Part::Space => {}
                Part::Channel => put(line.channel()),
                Part::Stream => put(line.channel().split('/').next().unwrap_or_default()),
                Part::Author => put(line.author()),
            }
        }
    }
}

/// A touch before its context's size is known.
#[derive(Debug, Clone, Copy)]
pub(super) struct Said {
    at_ms: u64,
    session: usize,
    bytes: usize,
    user: bool,
}

/// Where touches come from.
#[derive(Debug)]
pub(super) enum Source {
    Files(Vec<Input>),
    /// In order of time.
    Store(Vec<Said>),
}

impl Source {
    /// Logs; a wrong name is told at once.
    pub(super) fn files(paths: &[PathBuf]) -> anyhow::Result<Self> {
        Input::check_all(paths).map(Self::Files)
    }

    /// Hands every touch to the trial; `None` when stopped.
    pub(super) fn feed(
        self,
        trial: Trial,
        key: &Key,
        window: usize,
        stop: &Stop,
    ) -> anyhow::Result<Option<Rows>> {
        let mut feed = Feed {
            trial,
            window: Window::messages(window),
            sizes: Vec::new(),
        };
        match self {
            Self::Files(inputs) => {
                let progress = Progress::new(&inputs);
                let read = files(&mut feed, &inputs, key, &progress, stop);
                progress.finish();
                read?;
            }
            Self::Store(said) => said.into_iter().for_each(|said| feed.take(said)),
        }
        Ok((!stop.raised()).then(|| feed.trial.rows()))
    }
}

/// Works out the contexts' sizes.
struct Feed {
    trial: Trial,
    window: Window,
    sizes: Vec<Sizes>,
}

impl Feed {
    fn take(&mut self, said: Said) {
        if self.sizes.len() <= said.session {
            self.sizes.resize_with(said.session + 1, Sizes::default);
        }
        let sizes = self.sizes.get_mut(said.session);
        let bytes = sizes.map_or(0, |s| s.push(&self.window, said.bytes, said.user));
        self.trial.event(Event {
            at_ms: said.at_ms,
            session: said.session,
            bytes,
        });
    }
}

fn files(
    feed: &mut Feed,
    inputs: &[Input],
    key: &Key,
    progress: &Progress,
    stop: &Stop,
) -> anyhow::Result<()> {
    let mut sessions: HashMap<Vec<u8>, usize> = HashMap::new();
    let (mut text, mut name, mut before) = (Vec::new(), Vec::new(), 0);
    for input in inputs {
        let file = input.name();
        progress.file(&file);
        let mut lines = input
            .open(progress.clone())
            .with_context(|| format!("cannot read {file}"))?;
        for number in 1_u64.. {
            if number % LOOK == 0 && stop.raised() {
                return Ok(());
            }
            let wrong = |why: &str| Failed::usage(format!("{file}, line {number}: {why}"));
            let found = lines
                .next(&mut text)
                .with_context(|| format!("cannot read {file}, line {number}"))?;
            let line = match found {
                Found::End => break,
                Found::TooLong => Err("longer than any message".to_owned()),
                Found::Line => Line::parse(&text, usize::MAX),
            };
            let line = line.map_err(|why| wrong(&why))?;
            let at_ms = line.at_ms();
            if at_ms < before {
                return Err(wrong(&format!(
                    "its time is {} s before that of the message before it; sort the log by ts",
                    Seconds(before - at_ms)
                )));
            }
            before = at_ms;
            key.write(&line, &mut name);
            let next = sessions.len();
            let session = match sessions.get(&name) {
                Some(known) => *known,
                None => *sessions.entry(name.clone()).or_insert(next),
            };
            feed.take(Said {
                at_ms,
                session,
                bytes: line.bytes(),
                user: !line.is_answer(),
            });
        }
    }
    Ok(())
}

/// Milliseconds, shown as seconds.
struct Seconds(u64);

impl std::fmt::Display for Seconds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{:03}", self.0 / 1000, self.0 % 1000)
    }
}

/// Every message in the store as a touch: its time, its size and whose it is, 32 bytes each.
pub(super) async fn from_store(config: &Config) -> anyhow::Result<Source> {
    if !config.data.is_dir() {
        return Err(Failed::usage(format!(
            "there is no data directory {}; name it with --data",
            config.data.display()
        )));
    }
    let cache = open::open(config).await?;
    let read = read_store(&cache).await;
    open::close(&cache, Exit::Ok, DEADLINE).await?;
    read.map(Source::Store)
}

async fn read_store(cache: &scrollback::Cache) -> anyhow::Result<Vec<Said>> {
    let bar = if watched() {
        ProgressBar::no_length()
    } else {
        ProgressBar::hidden()
    };
    if let Ok(style) = ProgressStyle::with_template("{pos} messages read [{elapsed}]") {
        bar.set_style(style);
    }
    let (mut all, mut after, mut number) = (Vec::new(), None, 0);
    loop {
        let keys = cache
            .sessions(after.as_ref(), SESSIONS)
            .await
            .context("cannot list the sessions")?;
        for key in &keys {
            let session = cache.session(key.clone());
            let mut before = None;
            loop {
                let limit = PAGE;
                let page = session
                    .history(Page { before, limit })
                    .await
                    .with_context(|| format!("cannot read the session {key}"))?;
                before = page.first().map(|(seq, _)| *seq);
                bar.inc(u64::try_from(page.len()).unwrap_or_default());
                all.extend(page.iter().map(|(_, m)| Said {
                    at_ms: m.at_ms,
                    session: number,
                    bytes: m.bytes(),
                    user: m.role == Role::User,
                }));
                if page.len() < PAGE {
                    break;
                }
            }
            number += 1;
        }
        match keys.into_iter().next_back() {
            Some(last) => after = Some(last),
            None => break,
        }
    }
    bar.finish_and_clear();
    all.sort_by_key(|said| said.at_ms);
    // Sessions are numbered as they appear, which is what a simulation counts on.
    let mut numbers = HashMap::new();
    for said in &mut all {
        let next = numbers.len();
        said.session = *numbers.entry(said.session).or_insert(next);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_names_parts_and_nothing_else() {
        assert!("channel,author".parse::<Key>().is_ok());
        for bad in ["", "channel,", "chanel", "channel author"] {
            let error = bad.parse::<Key>().unwrap_err().to_string();
            assert!(
                error.contains("space, channel, stream or author"),
                "{bad}: {error}"
            );
        }
    }

    #[test]
    fn a_stream_is_a_channel_up_to_its_slash_and_no_two_sessions_share_a_name() {
        let name = |key: &str, channel: &str, author: &str| {
            let text = format!(
                r#"{{"ts":1,"space":"s","channel":"{channel}","author":"{author}","text":"x"}}"#
            );
            let line = Line::parse(text.as_bytes(), 100).unwrap();
            let mut name = Vec::new();
            key.parse::<Key>().unwrap().write(&line, &mut name);
            name
        };
        assert_eq!(name("stream", "a/1", "u"), name("stream", "a/2", "v"));
        assert_ne!(name("channel", "a/1", "u"), name("channel", "a/2", "u"));
        assert_ne!(
            name("channel,author", "a", "bc"),
            name("channel,author", "ab", "c")
        );
    }
}
