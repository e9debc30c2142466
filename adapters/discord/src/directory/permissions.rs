//! How Discord computes what a member may do in a channel. Pure.

use std::collections::HashMap;

use serenity::all::Permissions;

use crate::news::{Overwrite, Role};

/// True when a member with these roles may delete others' messages; `guild` is also the id of everybody's role.
pub(super) fn may_moderate(
    guild: u64,
    known: &HashMap<u64, Role>,
    user: u64,
    roles: &[u64],
    overwrites: &[Overwrite],
) -> bool {
    let own = || roles.iter().copied().filter(|role| *role != guild);
    let of = |role: u64| known.get(&role).map_or(0, |role| role.permissions);
    let base = own().fold(of(guild), |all, role| all | of(role));
    if allows_anything(base) {
        return true;
    }
    let over = |id: u64| overwrites.iter().find(|over| over.id == id);
    let applied = |base: u64, allow: u64, deny: u64| (base & !deny) | allow;
    let mut all = over(guild).map_or(base, |o| applied(base, o.allow, o.deny));
    let (allow, deny) = own()
        .filter_map(over)
        .fold((0, 0), |(allow, deny), o| (allow | o.allow, deny | o.deny));
    all = applied(all, allow, deny);
    all = over(user).map_or(all, |o| applied(all, o.allow, o.deny));
    all & Permissions::MANAGE_MESSAGES.bits() != 0
}

fn allows_anything(permissions: u64) -> bool {
    permissions & Permissions::ADMINISTRATOR.bits() != 0
}
