//! Places, names and permissions from what Discord says of a guild.

use serde_json::{Value, json};

use super::*;
use crate::news::{News, read};

const MANAGE: &str = "8192";

fn learned(guild: Value) -> Directory {
    let Some(News::Guild(guild)) = read("GUILD_CREATE", guild) else {
        panic!("no guild");
    };
    let directory = Directory::default();
    directory.learn_guild(&guild);
    directory
}

fn guild() -> Value {
    json!({
        "id": "1", "owner_id": "50", "name": "Cats",
        "roles": [
            {"id": "1", "name": "@everyone", "permissions": "1024"},
            {"id": "11", "name": "mods", "permissions": MANAGE},
            {"id": "12", "name": "admins", "permissions": "8"},
            {"id": "13", "name": "ScrollBot", "permissions": "0", "tags": {"bot_id": "99"}},
            {"id": "broken", "name": 7},
        ],
        "channels": [
            {"id": "5", "type": 0, "name": "general", "parent_id": "4"},
            {"id": "6", "type": 0, "name": "strict", "permission_overwrites": [
                {"id": "11", "type": 0, "allow": "0", "deny": MANAGE},
                {"id": "52", "type": 1, "allow": MANAGE, "deny": "0"},
            ]},
        ],
        "threads": [{"id": "7", "type": 11, "name": "chat", "parent_id": "5", "last_message_id": "70"}],
    })
}

#[test]
fn a_thread_stands_in_its_channel_and_a_channel_not_in_its_category() {
    let directory = learned(guild());
    let thread = At {
        guild: Some(1),
        channel: 5,
        thread: Some(7),
    };
    assert_eq!(directory.at(7), Some(thread));
    assert_eq!(directory.at(5), Some(At::plain(Some(1), 5)));
    assert_eq!(directory.at(8), None);
    assert_eq!((thread.itself(), At::plain(None, 3).itself()), (7, 3));
}

#[test]
fn names_and_own_roles_are_known_also_when_one_role_cannot_be_read() {
    let directory = learned(guild());
    assert_eq!(directory.channel_name(6).as_deref(), Some("strict"));
    assert_eq!(directory.role_name(1, 11).as_deref(), Some("mods"));
    assert!(directory.is_role_of(1, 13, 99));
    assert!(!directory.is_role_of(1, 11, 99));
    assert!(!directory.is_role_of(1, 13, 98));
}

#[test]
fn a_moderator_is_who_discord_says_is_one() {
    let directory = learned(guild());
    let at = |channel| At::plain(Some(1), channel);
    for (channel, user, roles, may) in [
        (5, 51, &[11][..], true),
        (5, 51, &[], false),
        (5, 50, &[], true),
        (6, 51, &[11], false),
        (6, 51, &[12], true),
        (6, 52, &[], true),
        (5, 52, &[], false),
    ] {
        assert_eq!(
            directory.may_moderate(at(channel), user, roles),
            may,
            "{channel} {user} {roles:?}"
        );
    }
    assert!(!directory.may_moderate(At::plain(None, 5), 50, &[]));
    assert!(!directory.may_moderate(At::plain(Some(2), 5), 50, &[]));
}

#[test]
fn a_role_that_changes_or_goes_counts_at_once() {
    let directory = learned(guild());
    let at = At::plain(Some(1), 5);
    directory.forget_role(1, 11);
    assert!(!directory.may_moderate(at, 51, &[11]));
    let changed =
        json!({"guild_id": "1", "role": {"id": "11", "name": "mods", "permissions": MANAGE}});
    let Some(News::Role { guild, role }) = read("GUILD_ROLE_UPDATE", changed) else {
        panic!("no role");
    };
    directory.learn_role(guild, role);
    assert!(directory.may_moderate(at, 51, &[11]));
}
