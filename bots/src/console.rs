//! `console`: a chat in the terminal; from a pipe it reads lines and prints replies only.
//!
//! One session, one line after the other: the next line is read when the reply is out.

use std::io::{BufReader, IsTerminal as _};
use std::sync::Arc;

use anyhow::Context as _;
use scrollback::{Author, Cache, Message, Origin, Scope};
use scrollback_kit::bot::{Bot, BotConfig, Incoming};
use scrollback_kit::recall::Recall;
use tokio::sync::mpsc::{Receiver, channel};

use crate::config::Config;
use crate::control::Server;
use crate::exit::{Exit, warn};
use crate::lines::{Found, Lines};
use crate::open;
use crate::signals::{self, Stop};

mod terminal;

use terminal::Terminal;

/// Lines read ahead of the one that is answered.
const AHEAD: usize = 16;

/// Chats until the end of the input or a signal.
///
/// # Errors
/// The data directory cannot be opened, or stdout is gone.
pub(crate) async fn run(config: &Config) -> anyhow::Result<Exit> {
    let stop = Stop::new();
    let _watching = signals::watch(stop.clone())?;
    let cache = open::open(config).await?;
    let server = Server::start(&config.data, &cache);
    let chat = Chat::new(&cache, Terminal::new(&config.data));
    let chatted = chat.until_end(read_lines()?, &stop).await;
    if let Some(server) = server {
        server.stop().await;
    }
    let exit = chatted.as_ref().copied().unwrap_or(Exit::Failure);
    let closed = open::close(&cache, exit, stop.left()).await;
    chatted.and(closed)
}

/// Reads standard input on a thread of its own, which may wait for a line for ever.
fn read_lines() -> anyhow::Result<Receiver<Result<String, &'static str>>> {
    let (queue, lines) = channel(AHEAD);
    std::thread::Builder::new()
        .name("console-reader".to_owned())
        .spawn(move || {
            let mut input = Lines::new(Box::new(BufReader::new(std::io::stdin())));
            let mut line = Vec::new();
            loop {
                let read = match input.next(&mut line) {
                    Ok(Found::Line) => Ok(String::from_utf8_lossy(&line).into_owned()),
                    Ok(Found::TooLong) => Err("the line is too large for any message"),
                    Ok(Found::End) | Err(_) => return,
                };
                if queue.blocking_send(read).is_err() {
                    return;
                }
            }
        })
        .context("cannot start the thread that reads lines")?;
    Ok(lines)
}

/// The conversation at the terminal.
struct Chat {
    bot: Bot,
    user: String,
    terminal: Terminal,
}

impl Chat {
    fn new(cache: &Cache, terminal: Terminal) -> Self {
        let user = std::env::var("USER").ok().filter(|user| !user.is_empty());
        let config = BotConfig {
            scopes: Scope::UserInChannel.into(),
            rate: None,
            ..BotConfig::default()
        };
        Self {
            bot: Bot::new(cache.clone(), Arc::new(Recall::default()), config),
            user: user.unwrap_or_else(|| "you".to_owned()),
            terminal,
        }
    }

    /// Answers line after line. A line that was not taken is told, and from a pipe it makes the end a
    /// failure: nobody watched.
    async fn until_end(
        &self,
        mut lines: Receiver<Result<String, &'static str>>,
        stop: &Stop,
    ) -> anyhow::Result<Exit> {
        let mut exit = Exit::Ok;
        self.terminal.welcome().context("stdout")?;
        loop {
            self.terminal.prompt().context("stdout")?;
            let line = tokio::select! {
                biased;
                () = stop.wait() => break,
                line = lines.recv() => line,
            };
            let Some(line) = line else { break };
            let answered = match line {
                Ok(text) => tokio::select! {
                    answered = self.answer(text) => answered,
                    () = signals::overdue(stop) => break,
                },
                Err(why) => Err(anyhow::anyhow!(why)),
            };
            // The bot logs what it cannot send; only the terminal knows that it is over.
            self.terminal.check().context("cannot print the reply")?;
            if let Err(error) = answered {
                warn(format_args!("error: {error:#}"));
                if !std::io::stdin().is_terminal() {
                    exit = Exit::Failure;
                }
            }
        }
        self.terminal.farewell().context("stdout")?;
        Ok(exit)
    }

    /// Takes in a line, then answers it; both in this task, so that lines keep their order.
    async fn answer(&self, text: String) -> anyhow::Result<()> {
        if text.trim().is_empty() {
            return Ok(());
        }
        let author = Author::new("console", &self.user).named(&self.user);
        let origin = Origin {
            platform: "console".to_owned(),
            bot: "local".to_owned(),
            space: None,
            channel: "main".to_owned(),
            thread: None,
            user: self.user.clone(),
        };
        // A line has no id; with one of its own a forget finds the answers to it.
        let id = format!("typed-{}", jiff::Timestamp::now().as_nanosecond());
        let incoming = Incoming {
            addressed: true,
            private: true,
            ..Incoming::new(origin, Message::user(author, text).id(id))
        };
        let accepted = self.bot.accept(incoming).await.context("not taken")?;
        self.bot.handle(accepted, &self.terminal).await;
        Ok(())
    }
}
