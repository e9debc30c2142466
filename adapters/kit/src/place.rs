//! Which session a message belongs to, and by which id it is known there.
//!
//! Invariant: in one session no two messages of a platform share an id. Platforms number messages per
//! chat, so where a session spans chats an id is qualified by its chat.

use std::collections::HashMap;
use std::str::FromStr;

use scrollback::{Message, Origin, Scope};

/// What tells sessions apart, per space where it is to differ.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scopes {
    /// Everywhere else (default: one session per channel).
    pub default: Scope,
    /// By platform and space (a Discord guild, a Telegram group).
    pub spaces: HashMap<(String, String), Scope>,
}

impl From<Scope> for Scopes {
    fn from(default: Scope) -> Self {
        Self {
            default,
            spaces: HashMap::new(),
        }
    }
}

impl Scopes {
    /// Adds what a line of configuration says: `discord:1234=user_in_channel`.
    ///
    /// # Errors
    /// What is wrong with the line.
    pub fn add(&mut self, line: &str) -> Result<(), String> {
        let wrong = || {
            format!(
                "`{line}` is not PLATFORM:SPACE=SCOPE, such as discord:1234=user_in_channel; \
                 scopes are channel, user_in_channel and user"
            )
        };
        let (place, scope) = line.split_once('=').ok_or_else(wrong)?;
        let (platform, space) = place.split_once(':').ok_or_else(wrong)?;
        let scope = scope_named(scope).ok_or_else(wrong)?;
        if platform.is_empty() || space.is_empty() {
            return Err(wrong());
        }
        self.spaces.insert((platform.into(), space.into()), scope);
        Ok(())
    }

    /// The scope at a place.
    #[must_use]
    pub fn at(&self, origin: &Origin) -> Scope {
        let own = origin.space.as_ref().and_then(|space| {
            let place = (origin.platform.clone(), space.clone());
            self.spaces.get(&place)
        });
        own.copied().unwrap_or(self.default)
    }

    /// The id by which the session at `origin` knows a message.
    #[must_use]
    pub fn id(&self, origin: &Origin, id: &str) -> String {
        match self.at(origin) {
            Scope::User => format!("{}:{id}", origin.channel),
            Scope::Channel | Scope::UserInChannel => id.to_owned(),
        }
    }

    /// Gives a message the ids by which its session knows it and the one it replies to.
    pub(crate) fn qualify(&self, origin: &Origin, message: &mut Message) {
        for id in [&mut message.id, &mut message.reply_to]
            .into_iter()
            .flatten()
        {
            *id = self.id(origin, id);
        }
    }
}

/// A scope by its name in configuration.
#[must_use]
pub fn scope_named(name: &str) -> Option<Scope> {
    match name {
        "channel" => Some(Scope::Channel),
        "user_in_channel" => Some(Scope::UserInChannel),
        "user" => Some(Scope::User),
        _ => None,
    }
}

/// Part of what a [`Rule`] names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Space,
    Channel,
    User,
}

/// Names places or persons: `telegram`, `discord:space=1`, `telegram:channel=-100`, `discord:user=5`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    platform: String,
    part: Option<(Part, String)>,
}

impl FromStr for Rule {
    type Err = String;

    fn from_str(line: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "`{line}` is not PLATFORM, PLATFORM:space=ID, PLATFORM:channel=ID or PLATFORM:user=ID"
            )
        };
        let (platform, rest) = match line.split_once(':') {
            Some((platform, rest)) => (platform, Some(rest)),
            None => (line, None),
        };
        let plain = |s: &str| !s.is_empty() && !s.contains(char::is_whitespace);
        if !plain(platform) || platform.contains('=') {
            return Err(wrong());
        }
        let part = match rest {
            None => None,
            Some(rest) => {
                let (name, id) = rest.split_once('=').ok_or_else(wrong)?;
                let part = match name {
                    "space" => Part::Space,
                    "channel" => Part::Channel,
                    "user" => Part::User,
                    _ => return Err(wrong()),
                };
                if !plain(id) {
                    return Err(wrong());
                }
                Some((part, id.to_owned()))
            }
        };
        Ok(Self {
            platform: platform.to_owned(),
            part,
        })
    }
}

impl Rule {
    fn names(&self, origin: &Origin) -> bool {
        if self.platform != origin.platform {
            return false;
        }
        match &self.part {
            None => true,
            Some((Part::Space, id)) => origin.space.as_ref() == Some(id),
            // A thread belongs to its channel; it may also be named itself.
            Some((Part::Channel, id)) => {
                origin.channel == *id || origin.thread.as_ref() == Some(id)
            }
            Some((Part::User, id)) => origin.user == *id,
        }
    }
}

/// Who may talk to the bot. What is not allowed is neither kept nor answered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Access {
    /// When there are any, one of these must name the message's place or person.
    pub allow: Vec<Rule>,
    /// None of these may; stronger than `allow`.
    pub deny: Vec<Rule>,
}

impl Access {
    /// True when a message from there is taken in.
    #[must_use]
    pub fn permits(&self, origin: &Origin) -> bool {
        let names = |rule: &Rule| rule.names(origin);
        !self.deny.iter().any(names) && (self.allow.is_empty() || self.allow.iter().any(names))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(platform: &str, space: Option<&str>, user: &str) -> Origin {
        Origin {
            platform: platform.into(),
            bot: "b".into(),
            space: space.map(String::from),
            channel: "7".into(),
            thread: Some("8".into()),
            user: user.into(),
        }
    }

    #[test]
    fn a_space_may_have_its_own_scope() {
        let mut scopes = Scopes::default();
        scopes.add("discord:1=user").unwrap();
        assert_eq!(scopes.at(&origin("discord", Some("1"), "a")), Scope::User);
        for other in [
            origin("telegram", Some("1"), "a"),
            origin("discord", Some("2"), "a"),
            origin("discord", None, "a"),
        ] {
            assert_eq!(scopes.at(&other), Scope::Channel);
        }
    }

    #[test]
    fn where_a_session_spans_chats_ids_name_their_chat() {
        let mut message = Message::assistant("x").id(5).reply_to("4");
        let scopes = Scopes::from(Scope::User);
        scopes.qualify(&origin("t", None, "a"), &mut message);
        assert_eq!(message.id.as_deref(), Some("7:5"));
        assert_eq!(message.reply_to.as_deref(), Some("7:4"));
        let plain = Scopes::from(Scope::UserInChannel);
        assert_eq!(plain.id(&origin("t", None, "a"), "5"), "5");
    }

    #[test]
    fn a_denied_place_or_person_is_shut_out_even_when_allowed() {
        let rules = |lines: &[&str]| lines.iter().map(|l| l.parse().unwrap()).collect();
        let access = Access {
            allow: rules(&["discord:space=1", "telegram"]),
            deny: rules(&["discord:user=9", "telegram:channel=8"]),
        };
        assert!(access.permits(&origin("discord", Some("1"), "2")));
        assert!(!access.permits(&origin("discord", Some("1"), "9")));
        assert!(!access.permits(&origin("discord", Some("2"), "2")));
        assert!(!access.permits(&origin("telegram", None, "2")));
        assert!(Access::default().permits(&origin("x", None, "2")));
    }

    #[test]
    fn a_line_that_is_no_rule_or_scope_is_refused_with_its_form() {
        for line in [
            "",
            ":",
            "discord:",
            "discord:server=1",
            "discord:user=",
            "a b",
            "x=1",
            "t:user=a b",
        ] {
            let error = line.parse::<Rule>().unwrap_err();
            assert!(error.contains("PLATFORM:user=ID"), "{error}");
        }
        for line in [
            "",
            "discord",
            "discord:1",
            "discord:1=guild",
            ":1=user",
            "discord:=user",
        ] {
            let error = Scopes::default().add(line).unwrap_err();
            assert!(error.contains("PLATFORM:SPACE=SCOPE"), "{error}");
        }
    }
}
