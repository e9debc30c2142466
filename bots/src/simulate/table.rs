//! The rows as a table to read, and what follows from them.

use std::fmt::Write as _;
use std::time::Duration;

use super::rows::{Name, Row, Rows, float};

/// The table; on top what it is about, below what follows.
pub(super) fn table(rows: &Rows) -> String {
    let mut out = String::new();
    let sessions = rows.rows.first().map_or(0, |row| row.sessions);
    let _ = writeln!(
        out,
        "{} touches of {sessions} sessions in {}; one load is worth {} of being hot (C)\n",
        rows.touches,
        short(rows.span),
        short(rows.cost)
    );
    let _ = writeln!(
        out,
        "{:<9} {:>8} {:>9} {:>7} {:>11} {:>9} {:>8} {:>8} {:>11}",
        "policy", "TTL or C", "misses", "%", "hot on avg", "MB hot", "÷ fixed", "÷ bytes", "cost"
    );
    for name in Name::ALL {
        for row in rows.of(name) {
            line(&mut out, rows, row);
        }
    }
    out.push_str(
        "\nhot on avg: sessions hot at a time, on average. ÷ fixed, ÷ bytes: residency and byte-seconds, of the fixed TTL's with as\n\
         many misses. cost: in hours of one hot session, misses included, at each row's own C (fixed: at the C above).\n",
    );
    verdict(&mut out, rows);
    out
}

fn line(out: &mut String, rows: &Rows, row: &Row) {
    let span = rows.span.as_secs_f64().max(1.0);
    let ratio = |measure: fn(&Row) -> f64| {
        let fixed = rows
            .fixed_at(row.misses, measure)
            .filter(|_| row.policy != Name::Fixed);
        fixed.map_or_else(String::new, |fixed| format!("{:.2}", measure(row) / fixed))
    };
    let _ = writeln!(
        out,
        "{:<9} {:>8} {:>9} {:>7.2} {:>11.2} {:>9.3} {:>8} {:>8} {:>11.0}",
        row.policy.text(),
        short(row.time()),
        row.misses,
        100.0 * float(row.misses) / float(row.touches),
        row.residency_s / span,
        row.byte_seconds / span / 1e6,
        ratio(|row| row.residency_s),
        ratio(|row| row.byte_seconds),
        row.cost / 3600.0,
    );
}

/// What the policies cost at the break-even time asked for.
fn verdict(out: &mut String, rows: &Rows) {
    let best = rows
        .of(Name::Fixed)
        .min_by(|a, b| a.cost.total_cmp(&b.cost));
    let Some(best) = best else { return };
    let _ = write!(
        out,
        "\nAt C = {} the best fixed TTL in hindsight is {}; against its cost:",
        short(rows.cost),
        short(best.time())
    );
    for name in [Name::Economic, Name::Learned, Name::Ewma, Name::Oracle] {
        if let Some(row) = rows.of(name).find(|row| row.c_s == Some(rows.cost)) {
            let more = 100.0 * (row.tally().cost(rows.cost) / best.cost - 1.0);
            let _ = write!(out, " {} {more:+.1} %", name.text());
        }
    }
    out.push('\n');
}

/// A time in its largest unit, or two: `90s`, `30m`, `1h40m`, `7d`.
pub(super) fn short(time: Duration) -> String {
    let seconds = time.as_secs();
    let units = [(86_400, "d"), (3600, "h"), (60, "m"), (1, "s")];
    let mut left = seconds;
    let mut text = String::new();
    let mut parts = 0;
    for (size, unit) in units {
        let n = left / size;
        left %= size;
        if n > 0 && parts < 2 {
            let _ = write!(text, "{n}{unit}");
        }
        parts += usize::from(n > 0 || parts > 0);
    }
    if text.is_empty() {
        format!("{}ms", time.as_millis())
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_shown_in_their_largest_units() {
        for (seconds, text) in [
            (60, "1m"),
            (6000, "1h40m"),
            (604_800, "7d"),
            (90_061, "1d1h"),
        ] {
            assert_eq!(short(Duration::from_secs(seconds)), text);
        }
    }
}
