//! For tests that feed the adapter with anything: what a gateway payload means, without a bot and a cache.

use scrollback::{Message, Origin};
use scrollback_kit::Incoming;

use crate::directory::{At, Directory};
use crate::gateway;
use crate::map::{self, Kind};
use crate::news::{self, News};
use crate::slash::Call;
use crate::text::Me;

/// What a payload means.
#[derive(Debug, Default)]
pub struct Meaning {
    /// Where it happened, when it is one of a session's.
    pub origin: Option<Origin>,
    /// What was said or is said now.
    pub said: Option<Message>,
    /// True for an event of interest that cannot be read.
    pub unreadable: bool,
}

/// Reads payloads as a bot with id 7 named `ScrollBot` does.
#[derive(Debug)]
pub struct Reader {
    me: Me,
    directory: Directory,
}

impl Default for Reader {
    fn default() -> Self {
        Self {
            me: Me::new(7, 8, "ScrollBot"),
            directory: Directory::default(),
        }
    }
}

impl Reader {
    /// Reads a payload; `None` when it is no event, or one of no interest.
    pub fn read(&self, payload: &[u8]) -> Option<Meaning> {
        let (kind, data) = gateway::event(payload)?;
        Some(self.meaning(news::read(&kind, data)?))
    }

    fn at(&self, guild: Option<u64>, channel: u64) -> At {
        let known = self.directory.at(channel);
        known.unwrap_or_else(|| At::plain(guild, channel))
    }

    fn meaning(&self, news: News) -> Meaning {
        let directory = &self.directory;
        match news {
            News::Said(said) => {
                let at = self.at(said.guild_id.map(u64::from), said.channel_id.get());
                match map::kind(&said, &self.me) {
                    Kind::Talk => incoming(map::incoming(&said, at, &self.me, directory)),
                    Kind::Own => Meaning {
                        origin: Some(map::origin(at, &self.me, None)),
                        said: Some(map::own(&said, at, &self.me, directory)),
                        ..Meaning::default()
                    },
                    Kind::Notice => Meaning::default(),
                }
            }
            News::Changed(update) => {
                let at = self.at(update.guild_id.map(u64::from), update.channel_id.get());
                let edit = map::edit(&update, at, &self.me, directory);
                let said = edit.map(|e| Message::assistant(e.text).id(e.id).at_ms(e.at_ms));
                Meaning {
                    origin: Some(map::origin(at, &self.me, None)),
                    said,
                    ..Meaning::default()
                }
            }
            News::Gone { guild, channel, .. } => Meaning {
                origin: Some(map::origin(self.at(guild, channel), &self.me, None)),
                ..Meaning::default()
            },
            News::Used(used) => {
                let at = self.at(used.guild_id.map(u64::from), used.channel_id.get());
                let call = Call::of(&used);
                call.map(|call| incoming(call.incoming(&used, at, &self.me)))
                    .unwrap_or_default()
            }
            other => self.learn(other),
        }
    }

    /// What guilds, channels and roles are now.
    fn learn(&self, news: News) -> Meaning {
        let directory = &self.directory;
        match news {
            News::Guild(guild) => directory.learn_guild(&guild),
            News::GuildGone { id, away: false } => directory.forget_guild(id),
            News::Channel { channel, .. } => directory.learn(&channel, None),
            News::Threads(threads) => threads.iter().for_each(|t| directory.learn(t, None)),
            News::Role { guild, role } => directory.learn_role(guild, role),
            News::RoleGone { guild, id } => directory.forget_role(guild, id),
            News::Unreadable { .. } => {
                return Meaning {
                    unreadable: true,
                    ..Meaning::default()
                };
            }
            _ => {}
        }
        Meaning::default()
    }
}

fn incoming(incoming: Incoming) -> Meaning {
    Meaning {
        origin: Some(incoming.origin),
        said: Some(incoming.message),
        unreadable: false,
    }
}
