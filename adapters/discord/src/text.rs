//! Makes a message's text readable: mentions by id become names. Pure.

use serenity::all::User;

use crate::directory::Directory;

/// The bot itself, as Discord knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Me {
    /// Its user id.
    pub(crate) id: u64,
    /// Its application's id.
    pub(crate) application: u64,
    /// Its name as one word, by which it is called in `@name /help`.
    pub(crate) name: String,
}

impl Me {
    pub(crate) fn new(id: u64, application: u64, username: &str) -> Self {
        Self {
            id,
            application,
            name: username.split_whitespace().collect::<Vec<_>>().join("_"),
        }
    }
}

/// The name by which people there know a person.
pub(crate) fn name_of(user: &User, nick: Option<&str>) -> String {
    let nick = nick.or_else(|| user.member.as_ref()?.nick.as_deref());
    nick.or(user.global_name.as_deref())
        .unwrap_or(&user.name)
        .to_owned()
}

/// The text with `<@1>`, `<@&2>` and `<#3>` as `@name`, `@role` and `#channel`, where known.
pub(crate) fn readable(
    text: &str,
    mentions: &[User],
    guild: Option<u64>,
    me: &Me,
    directory: &Directory,
) -> String {
    let named = |mention: Mention| match mention {
        Mention::User(id) if id == me.id => Some(format!("@{}", me.name)),
        Mention::User(id) => {
            let user = mentions.iter().find(|user| user.id == id)?;
            Some(format!("@{}", name_of(user, None)))
        }
        Mention::Role(id) => Some(format!("@{}", directory.role_name(guild?, id)?)),
        Mention::Channel(id) => Some(format!("#{}", directory.channel_name(id)?)),
    };
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('<') {
        let (before, from) = rest.split_at(at);
        out.push_str(before);
        let name = mention(from).and_then(|(mention, len)| Some((named(mention)?, len)));
        match name {
            Some((name, len)) => {
                out.push_str(&name);
                rest = from.get(len..).unwrap_or_default();
            }
            None => {
                out.push('<');
                rest = from.get(1..).unwrap_or_default();
            }
        }
    }
    out.push_str(rest);
    out
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mention {
    User(u64),
    Role(u64),
    Channel(u64),
}

type Kind = fn(u64) -> Mention;

/// The mention at the start of a text, and its length in bytes.
fn mention(text: &str) -> Option<(Mention, usize)> {
    let inner = text.strip_prefix('<')?;
    let (inner, _) = inner.split_once('>')?;
    let len = inner.len() + 2;
    let kinds: [(&str, Kind); 4] = [
        ("@&", Mention::Role),
        ("@!", Mention::User),
        ("@", Mention::User),
        ("#", Mention::Channel),
    ];
    kinds.into_iter().find_map(|(sign, kind)| {
        let digits = inner.strip_prefix(sign)?;
        let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
        let id = digits.parse().ok().filter(|_| plain)?;
        Some((kind(id), len))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::news::{News, read};

    fn directory() -> Directory {
        let guild = json!({
            "id": "1",
            "roles": [{"id": "11", "name": "mods"}],
            "channels": [{"id": "5", "type": 0, "name": "general"}],
        });
        let Some(News::Guild(guild)) = read("GUILD_CREATE", guild) else {
            panic!("no guild");
        };
        let directory = Directory::default();
        directory.learn_guild(&guild);
        directory
    }

    fn read_as(text: &str) -> String {
        let me = Me::new(99, 98, "Scroll Bot");
        let user = |id: &str, name: Option<&str>| {
            serde_json::from_value(json!({"id": id, "username": "ann_1", "global_name": name}))
                .unwrap()
        };
        let mentions = [user("50", Some("Ann")), user("51", None)];
        readable(text, &mentions, Some(1), &me, &directory())
    }

    #[test]
    fn mentions_become_names() {
        for (text, readable) in [
            ("<@50> and <@!51>", "@Ann and @ann_1"),
            ("<@99> /help", "@Scroll_Bot /help"),
            ("ask <@&11> in <#5>.", "ask @mods in #general."),
        ] {
            assert_eq!(read_as(text), readable);
        }
    }

    #[test]
    fn what_is_not_known_or_no_mention_stays() {
        for text in [
            "",
            "<",
            "<>",
            "<@",
            "<@>",
            "<@x>",
            "<@52>",
            "<@&12>",
            "<#6>",
            "a < b > c",
            "<@50",
            "<:cat:5>",
            "<@+50>",
            "<@-1>",
            "<@99999999999999999999999>",
            "é<é@50>",
        ] {
            assert_eq!(read_as(text), text);
        }
    }
}
