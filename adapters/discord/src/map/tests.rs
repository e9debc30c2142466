//! Messages as Discord sends them, as the kit gets them.

use serde_json::{Value, json};

use super::*;
use crate::news::{News, read, whole_message};

const BOT: u64 = 900_000_000_000_000_009;

fn me() -> Me {
    Me::new(BOT, BOT, "Scroll Bot")
}

fn directory() -> Directory {
    let guild = json!({
        "id": "81384788765712384",
        "roles": [
            {"id": "300", "name": "mods", "permissions": "0"},
            {"id": "301", "name": "Scroll Bot", "permissions": "0", "tags": {"bot_id": BOT.to_string()}},
        ],
        "channels": [{"id": "400", "type": 0, "name": "general"}],
    });
    let directory = Directory::default();
    if let Some(News::Guild(guild)) = read("GUILD_CREATE", guild) {
        directory.learn_guild(&guild);
    }
    directory
}

const GUILD: At = At::plain(Some(81_384_788_765_712_384), 400);
const PRIVATE: At = At::plain(None, 401);

/// A message with all that Discord sends, and the changes of one test.
#[expect(clippy::needless_pass_by_value, reason = "given as literals")]
fn said(changes: Value) -> Said {
    let mut message = json!({
        "type": 0, "tts": false, "timestamp": "2026-03-01T12:00:00.123000+00:00", "pinned": false,
        "nonce": "1151", "mentions": [], "mention_roles": [], "mention_everyone": false,
        "member": {"roles": ["300"], "premium_since": null, "pending": false, "nick": "Annie", "mute": false,
            "joined_at": "2025-01-01T00:00:00.000000+00:00", "flags": 0, "deaf": false, "avatar": null,
            "communication_disabled_until": null},
        "id": "1477640000000000000", "flags": 0, "embeds": [], "edited_timestamp": null,
        "content": "hello", "components": [], "channel_type": 0, "channel_id": "400",
        "author": {"username": "ann_1", "public_flags": 0, "id": "500", "global_name": "Ann",
            "discriminator": "0", "clan": null, "avatar": null, "avatar_decoration_data": null},
        "attachments": [], "guild_id": "81384788765712384",
    });
    for (key, value) in changes.as_object().unwrap() {
        message[key] = value.clone();
    }
    whole_message(&message).unwrap()
}

fn bot_user() -> Value {
    json!({"id": BOT.to_string(), "username": "Scroll Bot", "bot": true, "discriminator": "0001", "avatar": null})
}

fn taken(changes: Value) -> Incoming {
    incoming(&said(changes), GUILD, &me(), &directory())
}

#[test]
fn a_message_keeps_who_where_when_and_what() {
    let incoming = taken(json!({}));
    let origin = &incoming.origin;
    assert_eq!(
        (origin.platform.as_str(), origin.bot.as_str()),
        ("discord", "900000000000000009")
    );
    assert_eq!(origin.space.as_deref(), Some("81384788765712384"));
    assert_eq!(
        (origin.channel.as_str(), origin.thread.as_deref()),
        ("400", None)
    );
    assert_eq!(origin.user, "500");
    let message = &incoming.message;
    assert_eq!(message.id.as_deref(), Some("1477640000000000000"));
    assert_eq!(message.at_ms, made_at_ms(1_477_640_000_000_000_000));
    let author = message.author.as_ref().unwrap();
    assert_eq!(
        (author.id.as_str(), author.name.as_deref()),
        ("500", Some("Annie"))
    );
    assert_eq!((message.role, message.text.as_str()), (Role::User, "hello"));
    assert!(!incoming.addressed && !incoming.private && !incoming.moderator);
}

#[test]
fn names_fall_back_from_nick_to_global_name_to_username() {
    let name = |changes| taken(changes).message.author.unwrap().name.unwrap();
    assert_eq!(name(json!({"member": null})), "Ann");
    let author = json!({"id": "500", "username": "ann_1", "global_name": null});
    assert_eq!(name(json!({"member": null, "author": author})), "ann_1");
}

#[test]
fn a_thread_is_a_part_of_its_channel() {
    let at = At {
        thread: Some(402),
        ..GUILD
    };
    let incoming = incoming(&said(json!({"channel_id": "402"})), at, &me(), &directory());
    assert_eq!(incoming.origin.channel, "400");
    assert_eq!(incoming.origin.thread.as_deref(), Some("402"));
}

#[test]
fn the_bot_is_addressed_by_mention_role_reply_or_in_private() {
    let reply = |author: Value| {
        let to = json!({
            "id": "1477630000000000000", "channel_id": "400", "content": "?", "type": 0, "author": author,
            "timestamp": "2026-03-01T11:00:00.000000+00:00", "edited_timestamp": null, "tts": false,
            "mention_everyone": false, "mentions": [], "mention_roles": [], "attachments": [], "embeds": [],
            "pinned": false,
        });
        let reference =
            json!({"type": 0, "channel_id": "400", "message_id": "1477630000000000000"});
        json!({"type": 19, "referenced_message": to, "message_reference": reference})
    };
    let ann = json!({"id": "500", "username": "ann_1"});
    for (changes, addressed) in [
        (
            json!({"mentions": [bot_user()], "content": format!("<@{BOT}> hi")}),
            true,
        ),
        (json!({"mention_roles": ["301"]}), true),
        (json!({"mention_roles": ["300"]}), false),
        (
            json!({"mention_everyone": true, "content": "@everyone"}),
            false,
        ),
        (reply(bot_user()), true),
        (reply(ann), false),
        (json!({"content": format!("<@{BOT}>")}), false),
    ] {
        assert_eq!(taken(changes.clone()).addressed, addressed, "{changes}");
    }
    let private = incoming(
        &said(json!({"guild_id": null})),
        PRIVATE,
        &me(),
        &directory(),
    );
    assert!(private.addressed && private.private);
}

#[test]
fn bots_and_webhooks_are_never_answered() {
    let mention = json!([bot_user()]);
    let other = json!({"id": "600", "username": "other", "bot": true});
    assert!(!taken(json!({"mentions": mention, "author": other})).addressed);
    assert!(!taken(json!({"mentions": mention, "webhook_id": "700"})).addressed);
}

#[test]
fn a_command_after_a_mention_is_one() {
    use scrollback_kit::commands::{Command, Parsed, parse};
    let incoming = taken(json!({"mentions": [bot_user()], "content": format!("<@{BOT}> /help")}));
    assert_eq!(incoming.message.text, "@Scroll_Bot /help");
    let parsed = parse(
        &incoming.message.text,
        incoming.bot_name.as_deref(),
        true,
        false,
    );
    assert_eq!(parsed, Parsed::Command(Command::Help));
}

#[test]
fn replies_files_and_stickers_are_kept_and_a_forwarded_message_is_no_reply() {
    let message = taken(json!({
        "type": 19, "content": "look",
        "message_reference": {"type": 0, "channel_id": "400", "message_id": "77"},
        "sticker_items": [{"id": "1", "name": "Wave", "format_type": 1}],
        "attachments": [{"id": "2", "filename": "cat.png", "size": 1234, "url": "https://cdn/cat.png",
            "proxy_url": "https://media/cat.png", "content_type": "image/png", "width": 1, "height": 1}],
    }))
    .message;
    assert_eq!(message.reply_to.as_deref(), Some("77"));
    assert_eq!(message.text, "look\n[sticker: Wave]");
    let file = &message.attachments[0];
    assert_eq!(
        (file.reference.as_str(), file.size),
        ("https://cdn/cat.png", Some(1234))
    );
    assert_eq!(
        (file.name.as_deref(), file.media_type.as_deref()),
        (Some("cat.png"), Some("image/png"))
    );
    let forwarded =
        json!({"message_reference": {"type": 1, "channel_id": "400", "message_id": "77"}});
    assert_eq!(taken(forwarded).message.reply_to, None);
}

#[test]
fn notices_and_the_bots_own_words_are_told_apart() {
    let kind_of = |changes| kind(&said(changes), &me());
    assert_eq!(kind_of(json!({})), Kind::Talk);
    assert_eq!(kind_of(json!({"type": 19})), Kind::Talk);
    let file = json!([{"id": "1", "filename": "a.png", "size": 1, "url": "u", "proxy_url": "u"}]);
    let only_a_file = json!({"content": "", "attachments": file});
    assert_eq!(kind_of(only_a_file), Kind::Talk);
    assert_eq!(kind_of(json!({"content": ""})), Kind::Notice);
    assert_eq!(kind_of(json!({"author": bot_user()})), Kind::Own);
    for notice in [6, 7, 18, 20, 21, 23, 24, 46, 255] {
        assert_eq!(kind_of(json!({"type": notice})), Kind::Notice, "{notice}");
    }
}

#[test]
fn an_update_is_an_edit_only_when_somebody_edited() {
    let edit_of = |changes: Value| {
        let mut update = json!({"id": "1477640000000000000", "channel_id": "400", "guild_id": "81384788765712384"});
        for (key, value) in changes.as_object().unwrap() {
            update[key] = value.clone();
        }
        let Some(News::Changed(update)) = read("MESSAGE_UPDATE", update) else {
            panic!("no update");
        };
        edit(&update, GUILD, &me(), &directory())
    };
    let at = "2026-03-01T12:00:01.500000+00:00";
    let ann = json!({"id": "500", "username": "ann_1"});
    let edited =
        edit_of(json!({"edited_timestamp": at, "content": "in <#400>", "author": ann})).unwrap();
    assert_eq!(
        (edited.user, edited.text.as_str()),
        (Some(500), "in #general")
    );
    assert_eq!(edited.at_ms, 1_772_366_401_500);
    let unknown = edit_of(json!({"edited_timestamp": at, "content": "x"})).unwrap();
    assert_eq!(unknown.user, None);
    for none in [
        json!({"embeds": []}),
        json!({"content": "x", "edited_timestamp": null}),
        json!({"edited_timestamp": at}),
        json!({"edited_timestamp": at, "content": "x", "author": bot_user()}),
        json!({"edited_timestamp": at, "content": "x", "type": 18}),
    ] {
        assert_eq!(edit_of(none.clone()), None, "{none}");
    }
}
