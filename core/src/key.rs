//! Session keys: what names one conversation.
//!
//! Invariant: two different keys never have the same printed form, whatever the ids contain, and the
//! printed form holds only printable ASCII without space, `!`, `{`, `}`, so that it can be part of a
//! Redis key, a log line or a command line as it is. Knows no tier.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};

/// How many partitions sessions hash into: the number of Redis hash tags, fixed for ever.
pub const PARTITIONS: u16 = 256;

/// What must be escaped in a part so that the whole stays parseable and printable.
const ESCAPED: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'!')
    .add(b'"')
    .add(b'%')
    .add(b'\'')
    .add(b'/')
    .add(b'=')
    .add(b'\\')
    .add(b'{')
    .add(b'}')
    .add(b'*')
    .add(b'?')
    .add(b'[')
    .add(b']')
    .add(b'`')
    .add(b'$');

/// Names one conversation: platform and bot, and as much of the place and person as the scope says.
///
/// Prints as `platform/bot/space=…/channel=…/thread=…/user=…` with absent parts left out and every
/// awkward byte percent-encoded; [`FromStr`] reads it back.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SessionKey {
    platform: String,
    bot: String,
    space: Option<String>,
    channel: Option<String>,
    thread: Option<String>,
    user: Option<String>,
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "ids are given as literals and numbers: `.channel(7)`"
)]
impl SessionKey {
    /// The most bytes of one part of a key to which something can be appended (64 KiB: far beyond any
    /// platform's ids; the key is written with each entry).
    pub const MAX_PART_BYTES: usize = 64 << 10;

    /// A key for a platform (`discord`, `telegram`, …) and one bot account on it.
    pub fn new(platform: impl Into<String>, bot: impl ToString) -> Self {
        Self {
            platform: platform.into(),
            bot: bot.to_string(),
            space: None,
            channel: None,
            thread: None,
            user: None,
        }
    }

    /// Adds the space: a Discord guild, a workspace.
    #[must_use]
    pub fn space(mut self, id: impl ToString) -> Self {
        self.space = Some(id.to_string());
        self
    }

    /// Adds the channel or chat.
    #[must_use]
    pub fn channel(mut self, id: impl ToString) -> Self {
        self.channel = Some(id.to_string());
        self
    }

    /// Adds the thread or forum topic.
    #[must_use]
    pub fn thread(mut self, id: impl ToString) -> Self {
        self.thread = Some(id.to_string());
        self
    }

    /// Adds the person.
    #[must_use]
    pub fn user(mut self, id: impl ToString) -> Self {
        self.user = Some(id.to_string());
        self
    }

    /// Bytes of its largest part.
    pub(crate) fn largest_part(&self) -> usize {
        let places = [&self.space, &self.channel, &self.thread, &self.user];
        let places = places.into_iter().flatten().map(String::len);
        let longest = self.platform.len().max(self.bot.len());
        places.fold(longest, usize::max)
    }

    /// Its printed form.
    fn text(&self) -> String {
        let places = [
            ("/space=", &self.space),
            ("/channel=", &self.channel),
            ("/thread=", &self.thread),
            ("/user=", &self.user),
        ];
        let all = places
            .iter()
            .filter_map(|(name, value)| Some((name.len(), value.as_ref()?.len())));
        let length: usize = all.map(|(name, value)| name + value).sum();
        // Just enough for what needs no escape, as the ids of every platform.
        let mut text = String::with_capacity(self.platform.len() + 1 + self.bot.len() + length);
        text.extend(utf8_percent_encode(&self.platform, ESCAPED));
        text.push('/');
        text.extend(utf8_percent_encode(&self.bot, ESCAPED));
        for (name, value) in places {
            if let Some(value) = value {
                text.push_str(name);
                text.extend(utf8_percent_encode(value, ESCAPED));
            }
        }
        text
    }

    /// The platform's name.
    #[must_use]
    pub fn platform(&self) -> &str {
        &self.platform
    }

    /// The bot account's id.
    #[must_use]
    pub fn bot(&self) -> &str {
        &self.bot
    }

    /// The channel, when the key has one.
    #[must_use]
    pub fn channel_id(&self) -> Option<&str> {
        self.channel.as_deref()
    }

    /// The space, when the key has one.
    #[must_use]
    pub fn space_id(&self) -> Option<&str> {
        self.space.as_deref()
    }

    /// The thread, when the key has one.
    #[must_use]
    pub fn thread_id(&self) -> Option<&str> {
        self.thread.as_deref()
    }

    /// The person, when the key has one.
    #[must_use]
    pub fn user_id(&self) -> Option<&str> {
        self.user.as_deref()
    }
}

impl fmt::Display for SessionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text())
    }
}

impl FromStr for SessionKey {
    type Err = Error;

    /// Reads the printed form; anything else, also another spelling of the same key, is refused.
    fn from_str(s: &str) -> Result<Self> {
        let bad = |why: &str| {
            Error::Invalid(format!(
                "not a session key: {why}; expected platform/bot/channel=…"
            ))
        };
        let part = |p: &str| {
            percent_decode_str(p)
                .decode_utf8()
                .map(String::from)
                .map_err(|_| bad("a part is not UTF-8"))
        };
        let mut pieces = s.split('/');
        let platform = part(pieces.next().unwrap_or_default())?;
        let bot = part(pieces.next().ok_or_else(|| bad("no bot"))?)?;
        let mut key = Self::new(platform, bot);
        for piece in pieces {
            let (name, value) = piece
                .split_once('=')
                .ok_or_else(|| bad("a part has no `=`"))?;
            let slot = match name {
                "space" => &mut key.space,
                "channel" => &mut key.channel,
                "thread" => &mut key.thread,
                "user" => &mut key.user,
                _ => return Err(bad("unknown part")),
            };
            *slot = Some(part(value)?);
        }
        if key.to_string() == s {
            Ok(key)
        } else {
            Err(bad("not in canonical form"))
        }
    }
}

/// How much of an [`Origin`] tells sessions apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// One session per channel, thread or private chat: all who talk there share it.
    #[default]
    Channel,
    /// One session per person in each channel or thread.
    UserInChannel,
    /// One session per person, wherever they talk to this bot.
    User,
}

/// Where a message came from, as a platform tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The platform's name.
    pub platform: String,
    /// The bot account.
    pub bot: String,
    /// The guild or workspace, if any.
    pub space: Option<String>,
    /// The channel or chat.
    pub channel: String,
    /// The thread or topic, if any.
    pub thread: Option<String>,
    /// The person.
    pub user: String,
}

impl Scope {
    /// The key of the session to which a message from `origin` belongs.
    #[must_use]
    pub fn key(self, origin: &Origin) -> SessionKey {
        let mut key = SessionKey::new(&origin.platform, &origin.bot);
        if self != Self::User {
            key.space.clone_from(&origin.space);
            key.channel = Some(origin.channel.clone());
            key.thread.clone_from(&origin.thread);
        }
        if self != Self::Channel {
            key.user = Some(origin.user.clone());
        }
        key
    }
}

/// A session key in the form the tiers use: printed once, hashed once, cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Address(Arc<Inner>);

/// Of a SHA-256 already: nobody chooses keys that fall together.
impl std::hash::Hash for Address {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        state.write_u64(self.0.hash);
    }
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Inner {
    text: String,
    hash: u64,
    partition: u16,
}

impl Address {
    /// The printed session key.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0.text
    }

    /// A 64-bit hash of the key that every record of the session carries, so that a record which
    /// turns up under another key is noticed. Part of the stored format.
    #[must_use]
    pub fn hash64(&self) -> u64 {
        self.0.hash
    }

    /// The partition, below [`PARTITIONS`]. Part of the stored format.
    #[must_use]
    pub fn partition(&self) -> u16 {
        self.0.partition
    }

    /// The session key itself.
    ///
    /// # Errors
    /// [`Error::Invalid`] when this address was made from a text that is no session key.
    pub fn key(&self) -> Result<SessionKey> {
        self.0.text.parse()
    }

    /// The address whose printed key is `text`, which a tier handed back.
    #[must_use]
    pub fn from_text(text: &str) -> Self {
        Self::of_text(text.to_owned())
    }

    fn of_text(mut text: String) -> Self {
        // It may stay in memory for long.
        text.shrink_to_fit();
        let digest = Sha256::digest(text.as_bytes());
        let mut head = [0u8; 8];
        head.iter_mut()
            .zip(digest.iter())
            .for_each(|(to, from)| *to = *from);
        let hash = u64::from_be_bytes(head);
        let partition = u16::try_from(hash % u64::from(PARTITIONS)).unwrap_or_default();
        Self(Arc::new(Inner {
            text,
            hash,
            partition,
        }))
    }
}

impl From<&SessionKey> for Address {
    fn from(key: &SessionKey) -> Self {
        Self::of_text(key.text())
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.text)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_id() -> impl Strategy<Value = String> {
        prop_oneof![
            Just(String::new()),
            "[a-z0-9]{1,8}",
            "[:/=%\\x00\\r\\n*?\\[\\].{}! ]{1,6}",
            any::<String>(),
        ]
    }

    prop_compose! {
        fn any_key()(platform in any_id(), bot in any_id(), space in proptest::option::of(any_id()),
                     channel in proptest::option::of(any_id()), thread in proptest::option::of(any_id()),
                     user in proptest::option::of(any_id())) -> SessionKey {
            SessionKey { platform, bot, space, channel, thread, user }
        }
    }

    proptest! {
        #[test]
        fn a_printed_key_reads_back_as_itself(key in any_key()) {
            let text = key.to_string();
            let printable = text.bytes().all(|b| b.is_ascii_graphic() && !b"!{}".contains(&b));
            prop_assert!(printable, "{}", text);
            prop_assert_eq!(text.parse::<SessionKey>().unwrap(), key);
        }

        #[test]
        fn different_keys_print_differently(a in any_key(), b in any_key()) {
            prop_assert_eq!(a == b, a.to_string() == b.to_string());
        }
    }

    #[test]
    fn scopes_of_one_origin_never_collide() {
        let origin = Origin {
            platform: "discord".into(),
            bot: "1".into(),
            space: Some("g".into()),
            channel: "7".into(),
            thread: None,
            user: "7".into(),
        };
        let keys =
            [Scope::Channel, Scope::UserInChannel, Scope::User].map(|s| s.key(&origin).to_string());
        assert_eq!(
            keys,
            [
                "discord/1/space=g/channel=7",
                "discord/1/space=g/channel=7/user=7",
                "discord/1/user=7"
            ]
        );
    }

    #[test]
    fn a_key_in_another_spelling_is_refused() {
        for text in [
            "",
            "x",
            "a/b/c",
            "a/b/channel=%61",
            "a/b/user=1/channel=2",
            "a/b/user=1/user=2",
            "a/b/%",
        ] {
            assert!(text.parse::<SessionKey>().is_err(), "{text}");
        }
    }
}
