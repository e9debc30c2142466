//! A file system of its own for a data directory: one that loses power, one that runs full.
//!
//! Invariant: what a value mounted it unmounts when it goes, also after an error or a panic; its loop device goes with
//! the mount. Whoever uses one ends its processes first. Knows no promise.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};

use crate::ledger::now_ms;
use crate::process::pause;

/// How long a file system may be busy after its last user was killed.
const BUSY: Duration = Duration::from_secs(10);

/// Waits for a line, then `EXT4_IOC_SHUTDOWN` with `EXT4_GOING_FLAGS_NOLOGFLUSH`: no page and no log entry that is not
/// on the disk by now gets there.
const SHUTDOWN: &str = r#"
open(my $root, "<", $ARGV[0]) or die "$ARGV[0]: $!";
$| = 1; print "ready\n"; <STDIN>;
my $flags = pack("L", 2);
ioctl($root, 0x8004587D, $flags) or die "EXT4_IOC_SHUTDOWN: $!";
"#;

/// A mounted file system.
#[derive(Debug)]
pub(crate) struct Volume {
    at: PathBuf,
    image: Option<PathBuf>,
    mounted: bool,
}

/// Why no file system can be mounted here, if so.
pub(crate) fn cannot_mount() -> Option<String> {
    let is_root = Command::new("id")
        .arg("-u")
        .output()
        .is_ok_and(|id| id.stdout.trim_ascii() == b"0");
    (!is_root).then(|| "only root can mount a file system".to_owned())
}

impl Volume {
    /// An ext4 file system of `mib` on a loop device, below `dir`.
    ///
    /// # Errors
    /// It cannot be made or mounted.
    pub(crate) fn ext4(dir: &Path, mib: u64) -> anyhow::Result<Self> {
        let image = dir.join("image");
        std::fs::File::create(&image)?.set_len(mib << 20)?;
        let quiet = ["-q", "-F", "-m", "0", "-E", "lazy_itable_init=0"];
        run(Command::new("mkfs.ext4").args(quiet).arg(&image))?;
        Self::mounted(dir, Some(image))
    }

    /// A file system of `mib` in memory, below `dir`.
    ///
    /// # Errors
    /// It cannot be mounted.
    pub(crate) fn memory(dir: &Path, mib: u64) -> anyhow::Result<Self> {
        let mut volume = Self::new(dir, None)?;
        let size = format!("size={mib}m");
        run(Command::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "scrollback-faults"])
            .arg(&volume.at))?;
        volume.mounted = true;
        Ok(volume)
    }

    fn new(dir: &Path, image: Option<PathBuf>) -> anyhow::Result<Self> {
        let at = dir.join("volume");
        std::fs::create_dir_all(&at)?;
        Ok(Self {
            at,
            image,
            mounted: false,
        })
    }

    fn mounted(dir: &Path, image: Option<PathBuf>) -> anyhow::Result<Self> {
        let mut volume = Self::new(dir, image)?;
        volume.mount()?;
        Ok(volume)
    }

    /// Where it is mounted.
    pub(crate) fn path(&self) -> &Path {
        &self.at
    }

    /// Mounts it (again).
    ///
    /// # Errors
    /// It cannot be mounted.
    pub(crate) fn mount(&mut self) -> anyhow::Result<()> {
        let image = self.image.as_ref().context("it has no image")?;
        // The loop device is the mount's: it goes with it.
        run(Command::new("mount")
            .args(["-t", "ext4", "-o", "loop"])
            .arg(image)
            .arg(&self.at))?;
        self.mounted = true;
        Ok(())
    }

    /// Unmounts it.
    ///
    /// # Errors
    /// Somebody still uses it.
    pub(crate) fn unmount(&mut self) -> anyhow::Result<()> {
        let until = Instant::now() + BUSY;
        loop {
            match run(Command::new("umount").arg(&self.at)) {
                Ok(()) => {
                    self.mounted = false;
                    return Ok(());
                }
                Err(error) if Instant::now() >= until => return Err(error),
                Err(_) => pause(Duration::from_millis(20)),
            }
        }
    }

    /// Makes ready to cut its power at a moment.
    ///
    /// # Errors
    /// The program that does it cannot be started.
    pub(crate) fn cutter(&self) -> anyhow::Result<Cutter> {
        let mut child = Command::new("perl")
            .args(["-e", SHUTDOWN])
            .arg(&self.at)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start perl")?;
        let line = child.stdin.take().context("no input")?;
        let mut ready = String::new();
        BufReader::new(child.stdout.take().context("no output")?).read_line(&mut ready)?;
        ensure!(ready == "ready\n", "perl cannot open {}", self.at.display());
        Ok(Cutter { child, line })
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        if self.mounted && self.unmount().is_err() {
            // Out of the way at least; it goes with its last user.
            let _ = run(Command::new("umount").arg("-l").arg(&self.at));
        }
    }
}

/// Waits to cut a file system's power.
#[derive(Debug)]
pub(crate) struct Cutter {
    child: Child,
    line: ChildStdin,
}

impl Cutter {
    /// Cuts the power; the machine's times before and after.
    ///
    /// # Errors
    /// It could not be cut.
    pub(crate) fn cut(self) -> anyhow::Result<(i64, i64)> {
        let Self { mut child, line } = self;
        let before = now_ms();
        drop(line);
        let status = child.wait()?;
        ensure!(status.success(), "the power could not be cut: {status}");
        Ok((before, now_ms()))
    }
}

fn run(command: &mut Command) -> anyhow::Result<()> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start {}", command.get_program().display()))?;
    ensure!(
        output.status.success(),
        "{}: {}",
        command.get_program().display(),
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}
