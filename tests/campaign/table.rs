//! What came out, for people and for programs.

use std::collections::BTreeMap;

use serde_json::json;

/// One fault's result.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) promise: &'static str,
    pub(crate) fault: &'static str,
    pub(crate) rounds: u64,
    pub(crate) acked: u64,
    /// Rounds in which something did not hold.
    pub(crate) violations: u64,
    /// False when too little was acknowledged for the result to mean anything.
    pub(crate) counts: bool,
    pub(crate) seconds: u64,
    pub(crate) figures: BTreeMap<&'static str, u64>,
    pub(crate) not_run: Option<String>,
}

impl Row {
    /// True when the fault was made often enough and nothing was violated.
    pub(crate) fn holds(&self, must_run: bool) -> bool {
        self.violations == 0 && self.counts && (self.not_run.is_none() || !must_run)
    }

    fn verdict(&self) -> String {
        match &self.not_run {
            Some(why) => format!("not run: {why}"),
            None if self.violations > 0 => "VIOLATED".to_owned(),
            None if !self.counts => "does not count: too little acknowledged".to_owned(),
            None => "holds".to_owned(),
        }
    }
}

/// Prints the table on stdout.
///
/// # Errors
/// It cannot be written.
#[expect(clippy::print_stdout, reason = "a command line program")]
pub(crate) fn print(rows: &[Row], as_json: bool) -> anyhow::Result<()> {
    if as_json {
        let rows: Vec<_> = rows
            .iter()
            .map(|row| {
                json!({
                    "promise": row.promise, "fault": row.fault, "rounds": row.rounds, "acked": row.acked,
                    "violations": row.violations, "not_run": row.not_run.is_some(),
                })
            })
            .collect();
        println!(
            "{}",
            serde_json::to_string_pretty(&json!({ "rows": rows }))?
        );
        return Ok(());
    }
    let width = rows
        .iter()
        .map(|row| row.fault.len())
        .max()
        .unwrap_or(5)
        .max(5);
    println!(
        "{:8} {:width$} {:>7} {:>9} {:>10} {:>6}  result",
        "promise", "fault", "rounds", "acked", "violations", "s"
    );
    for row in rows {
        let figures: String = row
            .figures
            .iter()
            .map(|(name, value)| format!(" · {name} {value}"))
            .collect();
        println!(
            "{:8} {:width$} {:>7} {:>9} {:>10} {:>6}  {}{figures}",
            row.promise,
            row.fault,
            row.rounds,
            row.acked,
            row.violations,
            row.seconds,
            row.verdict(),
        );
    }
    Ok(())
}
