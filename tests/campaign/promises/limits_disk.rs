//! P11: what bounds the journal and what keeps room on the disk: appends are refused, reads go on.

use std::path::{Path, PathBuf};
use std::time::Duration;

use harness::faulty::Stall;
use scrollback::Error;

use crate::stage::{Stage, message, soon};
use crate::trial::{Outcome, Round, Trial};

pub(super) const TRIALS: &[Trial] = &[
    Trial {
        promise: "P11",
        fault: "the journal at its bytes - 1, 0, + 1, x 10 over a stalled store",
        ci: 1,
        full: 5,
        least: 100,
        alone: false,
        run: journal,
    },
    Trial {
        promise: "P11",
        fault: "free disk space over, at, under and at a tenth of the floor",
        ci: 1,
        full: 3,
        least: 4,
        alone: true,
        run: floor,
    },
];

fn size_of(dir: &Path) -> anyhow::Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(dir)? {
        bytes += entry?.metadata()?.len();
    }
    Ok(bytes)
}

fn journal(round: &Round) -> anyhow::Result<Outcome> {
    const BYTES: u64 = 1 << 20;
    let mut outcome = Outcome::default();
    let stage = Stage::open(&round.data(), 256 << 20, |b| {
        b.journal_limits(BYTES, 1 << 20)
    })?;
    let dir = round.data().join("journal");
    let session = stage.session("s");
    let say = |n: u64, bytes: usize| stage.runtime.block_on(session.append(message(n, bytes)));
    say(1, 1_000)?;
    stage.runtime.block_on(stage.cache.flush())?;
    stage.store.set_stall(Stall::Flushes);
    let mut said = 1;
    while say(said + 1, 10_000).is_ok() {
        said += 1;
    }
    let full = size_of(&dir)?;
    outcome.must(full <= BYTES && full + 10_300 > BYTES, || {
        format!("full at {full} bytes")
    });
    // What is smaller fits still, up to the last byte.
    let mut bytes = 9_000;
    while bytes > 0 {
        match say(said + 1, bytes) {
            Ok(_) => said += 1,
            Err(Error::Backpressure { unit: "bytes", .. }) => bytes /= 2,
            Err(error) => anyhow::bail!("refused with {error}"),
        }
    }
    let brim = size_of(&dir)?;
    outcome.must(brim <= BYTES && brim + 200 > BYTES, || {
        format!("brimful at {brim} bytes")
    });
    // Ten times as much again: refused, the same size, and reads go on.
    for n in 0..10 * BYTES / 10_000 {
        let refused = say(1_000_000 + n, 10_000);
        let right = matches!(refused, Err(Error::Backpressure { unit: "bytes", .. }));
        outcome.must(right, || format!("not refused: {:?}", refused.map(drop)));
    }
    outcome.must(size_of(&dir)? == brim, || {
        "refused appends are in the journal".to_owned()
    });
    let shown = stage.runtime.block_on(session.context())?.messages.len();
    outcome.must(shown > 10, || {
        format!("{shown} messages are shown while it is full")
    });
    stage.store.set_stall(Stall::No);
    stage.runtime.block_on(stage.cache.flush())?;
    // Room came back, also in a journal so small; and again and again.
    for n in 0..400 {
        say(2_000_000 + n, 10_000)?;
        if n % 20 == 0 {
            stage.runtime.block_on(stage.cache.flush())?;
        }
    }
    let there = stage.exported("s")?.len() as u64;
    outcome.must(there == said + 400, || {
        format!("{there} of {} are there", said + 400)
    });
    outcome.acked += there;
    stage.close()?;
    Ok(outcome)
}

/// A file system in memory where there is one: nobody else fills it meanwhile.
fn roomy(round: &Round) -> anyhow::Result<PathBuf> {
    let shared = Path::new("/dev/shm");
    if !shared.is_dir() {
        return Ok(round.data());
    }
    let dir = tempfile::Builder::new()
        .prefix("scrollback-faults-")
        .tempdir_in(shared)?;
    Ok(dir.keep())
}

fn free(dir: &Path) -> anyhow::Result<u64> {
    let stat = rustix::fs::statvfs(dir)?;
    Ok(stat.f_bavail * stat.f_frsize)
}

fn floor(round: &Round) -> anyhow::Result<Outcome> {
    let dir = roomy(round)?;
    if free(dir.parent().unwrap_or(&dir))? < 256 << 20 {
        return Ok(Outcome::not_run("less than 256 MiB are free"));
    }
    let outcome = floor_in(&dir);
    std::fs::remove_dir_all(&dir)?;
    outcome
}

fn floor_in(dir: &Path) -> anyhow::Result<Outcome> {
    /// Others may write a little meanwhile.
    const STEP: u64 = 16 << 20;
    let mut outcome = Outcome::default();
    let open = |floor: u64| Stage::open(dir, 64 << 20, |b| b.journal_limits(1 << 30, floor));
    open(0)?.close()?;
    let now = free(dir)?;
    for (what, floor, low) in [
        ("a tenth", now / 10, false),
        ("- 1", now - STEP, false),
        ("+ 1", now + STEP, true),
        ("x 10", now * 10, true),
    ] {
        let stage = open(floor)?;
        let session = stage.session("s");
        let say = || {
            stage
                .runtime
                .block_on(session.append(message(fastrand::u64(..), 100)))
        };
        // It is looked at every 100 ms.
        let right = soon(|| matches!(say(), Err(Error::DiskLow { .. })) == low);
        outcome.must(right, || {
            format!("a floor at {what} of what is free: {:?}", say().map(drop))
        });
        let shown = stage.runtime.block_on(session.context())?.messages.len();
        outcome.must(shown > 0, || {
            "nothing is shown while the disk is low".to_owned()
        });
        stage.close()?;
    }
    // It becomes low and has room again while the cache is open.
    let stage = open(free(dir)?.saturating_sub(2 * STEP))?;
    let session = stage.session("s");
    let say = || {
        stage
            .runtime
            .block_on(session.append(message(fastrand::u64(..), 100)))
    };
    say()?;
    let ballast = dir.join("ballast");
    std::fs::write(&ballast, vec![1; usize::try_from(4 * STEP)?])?;
    let low = soon(|| matches!(say(), Err(Error::DiskLow { .. })));
    outcome.must(low, || "appends are taken below the floor".to_owned());
    let before = stage.exported("s")?.len();
    crate::process::pause(Duration::from_millis(200));
    outcome.must(say().is_err(), || {
        "an append is taken below the floor".to_owned()
    });
    std::fs::remove_file(&ballast)?;
    outcome.must(soon(|| say().is_ok()), || {
        "not resumed though there is room".to_owned()
    });
    let there = stage.exported("s")?.len();
    outcome.must(there > before, || "what was taken is not there".to_owned());
    outcome.acked += there as u64;
    stage.close()?;
    Ok(outcome)
}
