//! What came out, for people and for programs.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::measure::Round;

/// What was measured of one peer with so many tasks; medians over the rounds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// `r3`: redis-rs by hand, multiplexed, a pipeline a step; `redis`: Scrollback on Redis; `embedded`: Scrollback without;
    /// `teloxide`: its `RedisStorage`; `moka`: a map in this process, not durable. The reply is a call of its own, except in
    /// rows ending in `_1rt`.
    pub what: &'static str,
    /// How many tasks took turns at once.
    pub tasks: usize,
    /// Turns a second.
    pub turns_per_s: f64,
    /// Half of the turns took no longer than this, in µs.
    pub p50_us: f64,
    /// 99 of 100 turns took no longer than this, in µs.
    pub p99_us: f64,
    /// CPU time of this process for a turn, in µs.
    pub client_cpu_us: f64,
    /// CPU time of Redis for a turn, in µs.
    pub redis_cpu_us: f64,
    /// Redis commands for a turn.
    pub commands: f64,
    /// Bytes sent to Redis for a turn.
    pub bytes_to_redis: f64,
    /// Bytes received from Redis for a turn.
    pub bytes_from_redis: f64,
    /// Allocations for a turn, where they can be counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allocations: Option<f64>,
}

impl Row {
    pub(crate) fn of(what: &'static str, tasks: usize, rounds: &[Round]) -> Self {
        let each = |value: fn(&Round) -> f64| median(rounds.iter().map(value));
        Self {
            what,
            tasks,
            turns_per_s: each(|r| count(r.turns) / r.took.as_secs_f64()),
            p50_us: each(|r| percentile(&r.each_ns, 50)),
            p99_us: each(|r| percentile(&r.each_ns, 99)),
            client_cpu_us: each(|r| micros(r.cpu) / count(r.turns)),
            redis_cpu_us: each(|r| micros(r.redis.cpu) / count(r.turns)),
            commands: each(|r| count(r.redis.commands) / count(r.turns)),
            bytes_to_redis: each(|r| count(r.redis.bytes_in) / count(r.turns)),
            bytes_from_redis: each(|r| count(r.redis.bytes_out) / count(r.turns)),
            allocations: rounds
                .iter()
                .all(|r| r.allocations.is_some())
                .then(|| each(|r| count(r.allocations.unwrap_or_default()) / count(r.turns))),
        }
    }
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn count(n: u64) -> f64 {
    n as f64
}

/// In µs, of sorted nanoseconds.
pub(crate) fn percentile(sorted_ns: &[u64], percent: usize) -> f64 {
    let at = sorted_ns.len().saturating_sub(1) * percent / 100;
    sorted_ns.get(at).map_or(0.0, |ns| count(*ns) / 1e3)
}

/// The middle one, to three decimals.
pub(crate) fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut all: Vec<f64> = values.collect();
    all.sort_by(f64::total_cmp);
    let middle = all.get(all.len() / 2).copied().unwrap_or_default();
    (middle * 1e3).round() / 1e3
}

/// Everything that was measured.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Report {
    /// By tasks, then by peer.
    pub rows: Vec<Row>,
    /// False when there was neither a Redis nor a `redis-server` to start.
    #[serde(skip)]
    pub with_redis: bool,
}

impl Report {
    /// The row to compare with: `r3`, or `r3_1rt` for rows that take one round trip.
    fn yardstick(&self, row: &Row) -> Option<&Row> {
        let name = if row.what.ends_with("_1rt") {
            "r3_1rt"
        } else {
            "r3"
        };
        self.rows
            .iter()
            .find(|r| r.what == name && r.tasks == row.tasks)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let allocations = self.rows.iter().any(|r| r.allocations.is_some());
        write!(
            f,
            "{:10} {:>5} {:>9} {:>6} {:>8} {:>9} {:>9} {:>9} {:>8} {:>8} {:>8}",
            "what",
            "tasks",
            "turns/s",
            "x r3",
            "p50 us",
            "p99 us",
            "client us",
            "redis us",
            "commands",
            "to",
            "from"
        )?;
        if allocations {
            write!(f, " {:>6}", "allocs")?;
        }
        let mut tasks = 0;
        for row in &self.rows {
            if row.tasks != tasks {
                tasks = row.tasks;
                writeln!(f)?;
            }
            write!(
                f,
                "\n{:10} {:>5} {:>9.0}",
                row.what, row.tasks, row.turns_per_s
            )?;
            match self.yardstick(row) {
                Some(r3) => write!(f, " {:>6.2}", row.turns_per_s / r3.turns_per_s)?,
                None => write!(f, " {:>6}", "-")?,
            }
            write!(
                f,
                " {:>8.1} {:>9.1} {:>9.1}",
                row.p50_us, row.p99_us, row.client_cpu_us
            )?;
            if row.commands > 0.5 {
                write!(
                    f,
                    " {:>9.1} {:>8.2} {:>8.0} {:>8.0}",
                    row.redis_cpu_us, row.commands, row.bytes_to_redis, row.bytes_from_redis
                )?;
            } else {
                write!(f, " {:>9} {:>8} {:>8} {:>8}", "-", "-", "-", "-")?;
            }
            if let Some(allocations) = row.allocations {
                write!(f, " {allocations:>6.1}")?;
            }
        }
        writeln!(
            f,
            "\n\nof each turn: client, redis: CPU time in us; commands; bytes to and from redis. Medians over the rounds."
        )
    }
}
