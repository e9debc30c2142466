//! The three scripts, for the steps whose condition must be atomic. All off the hot path.
//!
//! Invariant: every key a script touches is in KEYS and of one partition. Numbers are compared as
//! strings only: Lua's doubles would lose the low bits of large ones.

use std::sync::LazyLock;

use redis::Script;

/// KEYS: log, fence, dirty. ARGV: epoch, id of the copy, id of the log it replaces (or empty),
/// snapshot, TTL in ms (or empty), session, mark (or empty).
const PUBLISH: &str = r"
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return 'fenced' end
local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)
local ends = last[1] and last[1][1] or ''
if ends ~= ARGV[3] then return 'moved' end
redis.call('DEL', KEYS[1])
if ARGV[7] ~= '' then redis.call('ZADD', KEYS[3], 0, ARGV[7]) end
redis.call('XADD', KEYS[1], ARGV[2], 's', ARGV[4])
if ARGV[5] ~= '' and redis.call('ZLEXCOUNT', KEYS[3], '[' .. ARGV[6] .. ' ', '(' .. ARGV[6] .. '!') == 0 then
  redis.call('PEXPIRE', KEYS[1], ARGV[5])
end
return 'done'
";

/// KEYS: dirty, then logs. ARGV: writer, then for each log its session and TTL in ms (or empty).
const SETTLE: &str = r"
for i = 2, #KEYS do
  local session, ttl = ARGV[2 * i - 2], ARGV[2 * i - 1]
  redis.call('ZREM', KEYS[1], session .. ' ' .. ARGV[1])
  if redis.call('ZLEXCOUNT', KEYS[1], '[' .. session .. ' ', '(' .. session .. '!') == 0 then
    if ttl == '' then redis.call('PERSIST', KEYS[i]) else redis.call('PEXPIRE', KEYS[i], ttl) end
  end
end
return 'done'
";

/// KEYS: log, dirty. ARGV: session.
const RELEASE: &str = r"
if redis.call('ZLEXCOUNT', KEYS[2], '[' .. ARGV[1] .. ' ', '(' .. ARGV[1] .. '!') == 0 then
  redis.call('UNLINK', KEYS[1])
end
return 'done'
";

/// A script's source and digest.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) code: &'static str,
    script: Script,
}

impl Source {
    fn new(code: &'static str) -> Self {
        Self {
            code,
            script: Script::new(code),
        }
    }

    pub(super) fn sha(&self) -> &str {
        self.script.get_hash()
    }
}

pub(super) static PUBLISHING: LazyLock<Source> = LazyLock::new(|| Source::new(PUBLISH));
pub(super) static SETTLING: LazyLock<Source> = LazyLock::new(|| Source::new(SETTLE));
pub(super) static RELEASING: LazyLock<Source> = LazyLock::new(|| Source::new(RELEASE));

/// What a new connection loads.
pub(super) fn all() -> [&'static Source; 3] {
    [&PUBLISHING, &SETTLING, &RELEASING]
}
