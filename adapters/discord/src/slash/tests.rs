//! Commands as Discord lists them and as it tells of their use.

use super::*;
use crate::news::{News, read};

#[test]
fn discord_takes_the_list() {
    let listed = listed();
    let listed = listed.as_array().unwrap();
    assert_eq!(listed.len(), COMMANDS.len());
    for command in listed {
        let name = command["name"].as_str().unwrap();
        assert!((1..=32).contains(&name.chars().count()), "{name}");
        assert_eq!(command["contexts"], json!([0, 1]));
        match command["type"].as_u64() {
            Some(1) => {
                assert!(name.bytes().all(|b| b.is_ascii_lowercase()), "{name}");
                let described = command["description"].as_str().unwrap();
                assert!((1..=100).contains(&described.chars().count()), "{name}");
            }
            kind => assert_eq!((kind, name), (Some(3), REMOVE)),
        }
    }
    let history = listed.iter().find(|c| c["name"] == "history").unwrap();
    assert_eq!(history["options"][0]["max_value"], 50);
}

#[expect(clippy::needless_pass_by_value, reason = "given as literals")]
fn used(data: Value, guild: bool) -> Box<CommandInteraction> {
    let user = json!({"id": "50", "username": "ann_1", "global_name": "Ann", "discriminator": "0", "avatar": null});
    let mut interaction = json!({
        "id": "1477640000000000000", "application_id": "9", "type": 2, "version": 1, "token": "canary-token",
        "channel_id": "5", "channel": {"id": "5", "type": 0}, "locale": "en-GB", "entitlements": [],
        "authorizing_integration_owners": {}, "context": 1, "data": data, "attachment_size_limit": 10_485_760,
    });
    if guild {
        interaction["guild_id"] = json!("1");
        interaction["member"] = json!({
            "user": user, "roles": [], "joined_at": "2025-01-01T00:00:00.000000+00:00", "deaf": false,
            "mute": false, "flags": 0, "permissions": "8192", "nick": "Annie",
        });
    } else {
        interaction["user"] = user;
    }
    match read("INTERACTION_CREATE", interaction) {
        Some(News::Used(used)) => used,
        other => panic!("{other:?}"),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "given as literals")]
fn slash(name: &str, options: Value) -> Value {
    json!({"id": "70", "type": 1, "name": name, "options": options})
}

fn menu() -> Value {
    json!({"id": "71", "type": 3, "name": REMOVE, "target_id": "1477630000000000000", "resolved": {}})
}

#[test]
fn a_use_is_the_text_that_a_person_would_type() {
    for (data, text, ephemeral) in [
        (slash("help", json!([])), "/help", false),
        (
            slash(
                "history",
                json!([{"name": "count", "type": 4, "value": 20}]),
            ),
            "/history 20",
            true,
        ),
        (slash("history", json!([])), "/history", true),
        (
            slash(
                "forget",
                json!([{"name": "confirm", "type": 5, "value": true}]),
            ),
            "/forget yes",
            true,
        ),
        (
            slash(
                "forget",
                json!([{"name": "confirm", "type": 5, "value": false}]),
            ),
            "/forget",
            true,
        ),
        (menu(), "/delete", true),
    ] {
        let call = Call::of(&used(data, true)).unwrap();
        assert_eq!((call.text.as_str(), call.ephemeral), (text, ephemeral));
    }
    assert!(Call::of(&used(slash("delete", json!([])), true)).is_none());
    assert!(Call::of(&used(slash("dance", json!([])), true)).is_none());
}

#[test]
fn a_use_tells_who_where_and_what_they_may() {
    let me = Me::new(9, 9, "Scrollback");
    let used_in_guild = used(menu(), true);
    let call = Call::of(&used_in_guild).unwrap();
    let incoming = call.incoming(&used_in_guild, At::plain(Some(1), 5), &me);
    assert!(incoming.addressed && incoming.moderator && !incoming.private);
    assert_eq!(
        incoming.message.reply_to.as_deref(),
        Some("1477630000000000000")
    );
    assert_eq!(incoming.message.id.as_deref(), Some("1477640000000000000"));
    assert_eq!(
        incoming.message.author.unwrap().name.as_deref(),
        Some("Annie")
    );
    let used_in_private = used(slash("stats", json!([])), false);
    let call = Call::of(&used_in_private).unwrap();
    let incoming = call.incoming(&used_in_private, At::plain(None, 5), &me);
    assert!(incoming.private && !incoming.moderator);
    assert_eq!(
        incoming.message.author.unwrap().name.as_deref(),
        Some("Ann")
    );
    assert!(!format!("{call:?}").contains("canary"));
}
