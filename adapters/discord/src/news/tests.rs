//! What Discord may send, and what it should not.

use super::*;

fn message() -> Value {
    json!({
        "id": "10", "channel_id": "5", "guild_id": "1", "content": "hi", "type": 0, "tts": false,
        "timestamp": "2026-03-01T12:00:00.000000+00:00", "edited_timestamp": null, "pinned": false,
        "mention_everyone": false, "mentions": [], "mention_roles": [], "attachments": [], "embeds": [],
        "author": {"id": "50", "username": "ann"},
    })
}

#[test]
fn a_message_with_a_part_of_an_unknown_form_is_read_without_it() {
    for (key, odd) in [
        (
            "components",
            json!([{"type": 17, "accent_color": "none"}, 7]),
        ),
        ("components", json!(null)),
        ("embeds", json!("odd")),
        ("attachments", json!({"odd": true})),
        ("flags", json!("odd")),
        ("tts", json!(null)),
        ("pinned", json!(null)),
        ("member", json!(7)),
        ("poll", json!("odd")),
        ("sticker_items", json!([{"id": 0}])),
    ] {
        let mut odd_message = message();
        odd_message[key] = odd;
        let Some(News::Said(said)) = read("MESSAGE_CREATE", odd_message) else {
            panic!("{key} makes a message unreadable");
        };
        assert_eq!((said.id.get(), said.content.as_str()), (10, "hi"), "{key}");
    }
}

#[test]
fn a_message_that_is_none_is_told_with_its_channel_where_it_has_one() {
    for (key, broken, channel) in [
        ("author", json!(null), Some(5)),
        ("id", json!("x"), Some(5)),
        ("content", json!(7), Some(5)),
        ("channel_id", json!({}), None),
    ] {
        let mut odd = message();
        odd[key] = broken;
        let Some(News::Unreadable {
            guild,
            channel: told,
        }) = read("MESSAGE_CREATE", odd)
        else {
            panic!("{key} is read");
        };
        assert_eq!((guild, told), (Some(1), channel), "{key}");
    }
}

#[test]
fn a_guild_is_read_however_odd_the_rest_of_it_is() {
    let guild = json!({
        "id": "1", "owner_id": null, "stage_instances": 7, "members": "many", "emojis": null,
        "channels": [{"id": "5", "type": 0, "last_message_id": null}, "odd", {"id": "6", "type": 4}],
        "threads": null,
        "roles": [{"id": "1", "permissions": "8"}],
    });
    let Some(News::Guild(guild)) = read("GUILD_CREATE", guild) else {
        panic!("no guild");
    };
    assert_eq!(
        (guild.channels.len(), guild.threads.len(), guild.roles.len()),
        (2, 0, 1)
    );
    assert!(guild.channels[0].holds_messages() && !guild.channels[1].holds_messages());
}

#[test]
fn a_guild_that_is_away_is_not_one_without_channels() {
    let away = read("GUILD_CREATE", json!({"id": "1", "unavailable": true}));
    assert!(matches!(away, Some(News::GuildGone { id: 1, away: true })));
    let there = json!({"id": "1", "unavailable": false, "channels": []});
    assert!(matches!(read("GUILD_CREATE", there), Some(News::Guild(_))));
}

#[test]
fn deletions_threads_and_guilds_are_told() {
    let bulk = json!({"guild_id": "1", "channel_id": "5", "ids": ["7", "8"]});
    let Some(News::Gone {
        guild,
        channel,
        ids,
    }) = read("MESSAGE_DELETE_BULK", bulk)
    else {
        panic!("no deletion");
    };
    assert_eq!((guild, channel, ids), (Some(1), 5, vec![7, 8]));
    let threads = json!({"guild_id": "1", "threads": [{"id": "9", "type": 11, "parent_id": "5"}], "members": []});
    let Some(News::Threads(threads)) = read("THREAD_LIST_SYNC", threads) else {
        panic!("no threads");
    };
    assert_eq!(
        (threads[0].guild_id, threads[0].parent_id),
        (Some(1), Some(5))
    );
    for (unavailable, away) in [(json!(true), true), (json!(null), false)] {
        let gone = read(
            "GUILD_DELETE",
            json!({"id": "1", "unavailable": unavailable}),
        );
        assert!(matches!(gone, Some(News::GuildGone { id: 1, away: told }) if told == away));
    }
}

#[test]
fn what_is_of_no_interest_is_nothing_and_nothing_panics() {
    for kind in [
        "TYPING_START",
        "PRESENCE_UPDATE",
        "VOICE_STATE_UPDATE",
        "NEW_IN_2027",
        "",
    ] {
        assert!(read(kind, json!({"id": "1"})).is_none(), "{kind}");
    }
    let deep = (0..100).fold(json!(1), |inner, _| json!([inner]));
    for kind in [
        "MESSAGE_CREATE",
        "MESSAGE_UPDATE",
        "MESSAGE_DELETE",
        "MESSAGE_DELETE_BULK",
        "INTERACTION_CREATE",
        "GUILD_CREATE",
        "GUILD_DELETE",
        "CHANNEL_CREATE",
        "CHANNEL_DELETE",
        "THREAD_CREATE",
        "THREAD_UPDATE",
        "THREAD_DELETE",
        "THREAD_LIST_SYNC",
        "GUILD_ROLE_UPDATE",
        "GUILD_ROLE_DELETE",
        "GUILD_MEMBER_UPDATE",
    ] {
        for odd in [
            json!(null),
            json!([]),
            json!({}),
            json!("x"),
            json!({"id": 0}),
            deep.clone(),
        ] {
            let _ = read(kind, odd);
        }
    }
}
